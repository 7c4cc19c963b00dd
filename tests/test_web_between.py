"""The page Interpolate: choosing pieces, what lies between them, what is real there, and what is taken away."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
import streamlit as st
from conftest import paint
from PIL import Image
from test_web import words

from apps.web import between
from apps.web.parts import Picture
from saree_vae import interpolate

PAIR = ["dots/0_0.png", "stripes/1_7.png"]
THREE = [*PAIR, "checks/2_0.png"]


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> list:
    """No test here minds how well a palette is tuned; ways that are drawn are counted."""
    asked, draw = [], interpolate.interpolate

    def counted(*args, **settings):
        asked.append(settings)
        return draw(*args, **settings)

    monkeypatch.setattr(interpolate, "TUNING", 1)
    monkeypatch.setattr(between, "interpolate", counted)
    return asked


def pressed(page, label: str):
    return next(one for one in page.button if one.label == label).click().run()


def kept(page) -> between.Drawn:
    return page.session_state["between drawn"]


def test_nothing_chosen_says_what_to_do(front):
    page = front("between")
    assert not page.exception and "Choose two pieces" in words(page)
    assert "There is no catalogue yet" in words(front("between", catalogue=None, head=None, run=None))


def test_a_link_names_its_pieces_and_a_strip_leads_from_one_to_the_other(front):
    page = front("between", query={"piece": [*PAIR, "no such piece"]})
    assert not page.exception and not page.error
    assert page.session_state["between"] == PAIR and page.query_params["piece"] == PAIR
    way, hits = kept(page).ways["both", False]
    ends = [paint(mark, ground, shift) for mark, ground, shift in (("dots", "#8c1c2b", 0), ("stripes", "#1f4e79", 7))]
    for frame, end in zip((way.frames[0], way.frames[-1]), ends, strict=True):
        small = np.asarray(Image.fromarray(frame).resize((96, 96), Image.Resampling.BOX), int)
        assert np.abs(small - np.asarray(end)).mean() < 10
    assert len(hits) == between.STEPS and not {hit.key for hit in hits} & set(PAIR)
    assert "nearest:" in words(page)


@pytest.mark.parametrize("said", [*between.CHANGES])
def test_what_changes_is_what_was_asked_for(front, quick, said):
    page = front("between", query={"piece": PAIR})
    page.segmented_control(key="along").set_value(said).run()
    along, _ = between.CHANGES[said]
    way, _ = kept(page).ways[along, False]
    moved = [bool((way.z[0, half] != way.z[-1, half]).any()) for half in (slice(0, 8), slice(8, 12))]
    assert moved == [along != "colour", along != "motif"]


def test_nothing_is_drawn_twice_and_pictures_are_painted_once(front, quick, monkeypatch):
    painted, paint = [], interpolate.in_colours_of
    monkeypatch.setattr(interpolate, "in_colours_of", lambda *args: painted.append(1) or paint(*args))
    page = front("between", query={"piece": PAIR})
    drawn = len(quick)
    page.segmented_control(key="along").set_value("Only the colours").run()
    assert len(quick) == drawn + 1 and len(painted) == 4  # each in its own colours, and in those of the other
    page.segmented_control(key="along").set_value("Design and colours").run()
    page.select_slider(key="between Colours").set_value(0).run()
    assert len(quick) == drawn + 1


def test_the_pad_shows_the_place_that_the_sliders_choose_in_rows_of_designs_and_columns_of_palettes(front):
    page = front("between", query={"piece": PAIR})
    page.select_slider(key="between Design").set_value(4)
    page.select_slider(key="between Colours").set_value(1).run()
    assert "Design 100%, colours 25%" in words(page)
    way, _ = kept(page).ways["both", True]
    z = way.z.reshape(5, 5, -1)
    assert np.allclose(z[4, :, :8], z[4, 0, :8]) and np.allclose(z[:, 1, 8:], z[0, 1, 8:])


def test_a_click_on_the_pad_moves_the_sliders(monkeypatch):
    state = type("State", (dict,), {"__getattr__": dict.__getitem__})()
    chosen = type("Chosen", (), {"points": [{"point_index": 13}]})
    state["pad"] = type("Event", (), {"selection": chosen})
    monkeypatch.setattr(st, "session_state", state)
    between._picked(("Colours", "Design"))
    assert (state["between Design"], state["between Colours"]) == (2, 3)


def test_three_pieces_make_a_square(front, quick):
    page = front("between", query={"piece": THREE})
    assert not page.exception and not page.error
    assert len(quick) == 1 and kept(page).ways["both", True][0].columns == between.PLACES
    assert "Across, from A to B" in [slider.label for slider in page.select_slider]


def test_pieces_are_chosen_turned_round_and_taken_back(front):
    page = front("between")
    page.selectbox(key="between named").set_value(PAIR[0]).run()
    assert page.session_state["between"] == PAIR[:1] and "Film (GIF)" not in str(page)
    page.selectbox(key="between named").set_value(PAIR[1]).run()
    page = pressed(page, "Turn round")
    assert page.session_state["between"] == PAIR[::-1]
    page = pressed(page, "Take away")
    assert page.session_state["between"] == PAIR[:1]


def test_a_surprise_is_two_pieces_of_different_clusters(front):
    page = pressed(front("between"), "Surprise me")
    assert not page.exception
    assert len({key.partition("/")[0] for key in page.session_state["between"]}) == 2


def test_an_uploaded_picture_is_an_end_and_not_its_own_nearest_piece(front, shop):
    file = (shop / "data" / PAIR[0]).read_bytes()
    page = front("between", query={"piece": PAIR[1]})
    page.session_state["between"] = [PAIR[1], Picture("<b>mine</b>.png", file)]
    page.run()
    assert not page.exception and not page.error
    assert "<b>" not in words(page) and "piece" not in page.query_params
    assert hashlib.sha256(file).hexdigest() in kept(page).own
    assert not {hit.key for hit in kept(page).ways["both", False][1]} & set(PAIR)


def test_stopped_work_is_not_begun_again_by_itself(front, quick):
    page = front("between")
    page.session_state["stop Drawing the strip"] = True
    page.session_state["between"] = PAIR
    page.run()
    assert not quick and "Draw it after all" in [button.label for button in page.button]


def test_more_like_a_real_piece_opens_the_search_with_it(front, monkeypatch):
    opened = []
    monkeypatch.setattr(st, "switch_page", opened.append)
    page = pressed(front("between", query={"piece": PAIR}), "More like it")
    assert opened[0].url_path == "search" or opened[0].title == "Search"
    assert page.session_state["liked"] == [kept(page).ways["both", False][1][0].key]
    assert page.session_state["start"] == "Collection"


def test_strip_and_film_are_pictures(front):
    page = front("between", query={"piece": PAIR})
    assert {"Strip (PNG)", "Film (GIF)"} <= {button.label for button in page.get("download_button")}
    from apps.web.store import collection

    found, drawn = collection(), kept(page)
    strip = Image.open(io.BytesIO(between._png(found, ["A", "B"], "both", drawn)))
    film = Image.open(io.BytesIO(between._gif(found, "both", drawn)))
    assert strip.format == "PNG" and strip.width > 7 * 200
    assert film.format == "GIF" and film.n_frames == 2 * between.FILM - 2 and film.size == (256, 256)
