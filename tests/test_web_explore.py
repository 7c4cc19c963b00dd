"""The page Explore as a visitor meets it, without a browser: the map, one dimension, what stands apart, colourways."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from apps.web import explore as page_of
from apps.web import store
from saree_vae import explore
from saree_vae.anomaly import Strangeness
from saree_vae.catalogue import Catalogue, Entry
from saree_vae.errors import SareeError

KEY = "stripes/0_0.png"
WILD = "<img src=x onerror=alert(1)>![x](http://a.example/x.png).png"


def words(page) -> str:
    kinds = ("markdown", "caption", "info", "error", "warning")
    return "\n".join(one.value for kind in kinds for one in page.get(kind))


def chart(page, number: int = 0) -> dict:
    return json.loads(page.get("plotly_chart")[number].proto.spec)


def searches(page) -> list[str]:
    """Keys of the pieces below which stands a button to search from them."""
    keys = (button.key or "" for button in page.button)
    return [key.removeprefix("search  ") for key in keys if key.startswith("search  ")]


@pytest.fixture
def pages(monkeypatch) -> list:
    """What a click opens."""
    opened = []
    monkeypatch.setattr(page_of.search.st, "switch_page", lambda page: opened.append(page.title))
    return opened


def pictures(page) -> list[str]:
    """What a screen reader says of each picture."""
    found = (node for node in page.main if node.type in ("imgs", "image", "image_list"))
    return [image.alt for node in found for image in node.proto.imgs]


def choose(page, label: str, value: str):
    return page.segmented_control(key=label).set_value(value).run()


@pytest.fixture(autouse=True)
def fresh():
    """What pages keep for all visitors would outlive a test."""
    yield
    for kept in (page_of._judgements, page_of._turn, page_of._places, page_of._drawn, page_of._groups):
        kept.clear()


@pytest.fixture
def wild_catalogue(shop, tmp_path):
    """The shop's catalogue with one more piece, whose names are an attack."""
    folder = tmp_path / "catalogue"
    shutil.copytree(shop / "catalogue", folder)
    with Catalogue.open(folder) as catalogue:
        mu, _ = catalogue.vectors(KEY)
        thumbnail = catalogue.thumbnail(KEY)
        catalogue.add(
            [Entry(WILD, "/nowhere/at/all.png", "0" * 64, None, None, {"title": WILD}, thumbnail, mu[:1], mu[:1] ** 0)]
        )
    return folder


def test_the_map_shows_every_piece_once_with_its_name_and_key(front):
    page = front("explore")
    assert not page.exception
    traces = chart(page)["data"]
    assert sorted(key for trace in traces for key in trace["customdata"]) == sorted(store_keys())
    assert {trace["name"] for trace in traces} == {"jamdani", "paithani", "patola", "bandhani"}
    assert len({trace["marker"]["symbol"] for trace in traces}) == 4, "not told by colour alone"
    [told] = [
        text for trace in traces for text, key in zip(trace["text"], trace["customdata"], strict=True) if key == KEY
    ]
    assert told == f"<b>jamdani</b><br>{KEY}"
    assert "Draw a box" in words(page)


def store_keys():
    return list(store.collection().pieces)


def test_each_way_of_colouring_draws_the_same_pieces(front, monkeypatch):
    page = front("explore")
    everything = set(store_keys())
    for colouring in ("Colour", "Standing apart"):
        page = choose(page, "colouring", colouring)
        assert not page.exception
        [trace] = chart(page)["data"]
        assert set(trace["customdata"]) == everything
    strange = dict(zip(trace["customdata"], sizes(trace), strict=True))
    apart = explore.apartness(store.collection().embedding)
    assert strange[store_keys()[int(apart.argmax())]] == max(strange.values())


def sizes(trace) -> list[float]:
    from base64 import b64decode

    kept = trace["marker"]["size"]
    return np.frombuffer(b64decode(kept["bdata"]), kept["dtype"]).tolist()


def test_neighbours_are_laid_out_on_request_only(front, monkeypatch):
    asked = []
    monkeypatch.setattr(page_of.explore, "plane", lambda e, way: asked.append(way) or np.zeros((len(e), 2)))
    page = front("explore")
    assert asked == ["pca"]
    page = choose(page, "layout", "Neighbours")
    assert not page.exception
    assert asked == ["pca", "umap"]
    choose(choose(page, "layout", "Widest directions"), "layout", "Neighbours")
    assert asked == ["pca", "umap"], "laid out once"


def test_with_many_pieces_a_sample_is_shown_and_said(front, monkeypatch):
    draw = explore.sample
    monkeypatch.setattr(page_of.explore, "sample", lambda count: draw(count, 10))
    page_of._apartness.clear()
    page = front("explore")
    assert sum(len(trace["customdata"]) for trace in chart(page)["data"]) == 10
    assert "10 of 32 pieces, drawn at random" in words(page)
    page = choose(page, "look", "What stands apart")
    assert len(searches(page)) == 10 and not page.exception
    page_of._apartness.clear()


def test_more_points_than_shapes_can_be_drawn_go_to_the_graphics_card(front, monkeypatch):
    monkeypatch.setattr(page_of, "DRAWN", 5)
    assert {trace["type"] for trace in chart(front("explore"))["data"]} == {"scattergl"}


def test_with_many_clusters_the_largest_have_colours_and_others_can_be_chosen(front, monkeypatch):
    monkeypatch.setattr(page_of, "NAMED", 2)
    page = front("explore")
    names = [trace["name"] for trace in chart(page)["data"]]
    assert names[0] == "others" and len(names) == 3
    page = page.multiselect(key="named clusters").set_value(["patola"]).run()
    assert [trace["name"] for trace in chart(page)["data"]] == ["others", "patola"]


def test_what_is_drawn_round_is_shown_and_can_be_searched_from(front, monkeypatch, pages):
    points = [{"customdata": key} for key in (KEY, "dots/1_0.png", KEY, "gone.png")]
    drawn = SimpleNamespace(selection=SimpleNamespace(points=points))
    show = page_of.st.plotly_chart
    monkeypatch.setattr(page_of.st, "plotly_chart", lambda *given, **more: show(*given, **more) and drawn)
    page = front("explore")
    assert [one.value for one in page.subheader] == ["2 pieces chosen"]
    assert searches(page) == [KEY, "dots/1_0.png"]
    page = page.button(key="search  dots/1_0.png").click().run()
    assert pages == ["Search"] and page.session_state.liked == ["dots/1_0.png"]
    page = page.button(key=f"vary {KEY}").click().run()
    assert not page.exception
    assert page.segmented_control(key="look").value == "One dimension"
    assert "stripes\\/0\\_0\\.png" in words(page)


def test_one_dimension_shows_seven_pictures_the_most_varied_dimension_first(front):
    page = choose(front("explore"), "look", "One dimension")
    assert not page.exception
    others = sum(button.label == "This one" for button in page.button)
    assert len(pictures(page)) == 1 + 7 + others  # the piece, the strip, and those to choose from
    std = store.collection().latents.motif.std(0)
    options = page.selectbox(key="dimension of Design").options
    assert [int(one.split()[1]) for one in options] == np.argsort(-std, kind="stable").tolist()
    assert "−3 sigma" in words(page) and "\\+3 sigma" in words(page)
    page = choose(page, "half", "Colours")
    assert not page.exception
    assert page.selectbox(key="dimension of Colours").options[0].startswith("colour ")


def test_another_piece_can_be_varied_and_a_strip_is_drawn_once(front, monkeypatch):
    drawn = []
    draw = page_of.traversed
    monkeypatch.setattr(page_of, "traversed", lambda *given, **more: drawn.append(given[2]) or draw(*given, **more))
    page = choose(front("explore"), "look", "One dimension")
    page = page.button(key="choose dots/1_0.png").click().run()
    assert not page.exception
    assert "dots\\/1\\_0\\.png" in words(page)
    assert len(drawn) == 2
    page.run()
    assert len(drawn) == 2


def test_a_piece_whose_photograph_is_gone_is_varied_from_its_thumbnail(front, wild_catalogue):
    page = front("explore", catalogue=str(wild_catalogue))
    page = choose(page, "look", "One dimension")
    page = page.button(key=f"choose {WILD}").click().run()
    assert not page.exception and not page.error


def test_what_stands_apart_comes_first_with_how_alike_its_neighbours_are(front):
    page = choose(front("explore"), "look", "What stands apart")
    found = store.collection()
    apart = explore.apartness(found.embedding)
    order = [store_keys()[row] for row in np.argsort(-apart, kind="stable")]
    assert searches(page) == order[:24]
    assert f"nearest ten {1 - apart.max():.0%} alike".replace("%", "%") in words(page).replace("\\", "")


def judged(keys, glow=True):
    score = np.linspace(5, -1, len(keys))
    parts = dict.fromkeys(("far", "plain", "damaged"), score)
    reasons = (("far", "damaged"),) + ((),) * (len(keys) - 1)
    scorer = SimpleNamespace(limit=lambda: 4.9, notes=("No val split.",), tells_where=glow)
    scorer.run = SimpleNamespace(read_size=80)
    scorer.heat_maps = lambda images: np.ones((1, 4, 4))
    return Strangeness(tuple(keys), score, np.linspace(1, 0, len(keys)), parts, reasons), scorer, ()


def test_the_collection_is_judged_on_request_once_for_everybody(front, monkeypatch):
    calls = []

    def outliers(run, dataset, progress):
        calls.append((run, [item.key for item in dataset.items]))
        progress("learning", 1, 2)
        return judged(calls[-1][1])

    monkeypatch.setattr(page_of, "outliers", outliers)
    page = choose(choose(front("explore"), "look", "What stands apart"), "apart by", "Strange to look at")
    assert not calls and "minutes" in words(page)
    page = page.button[0].click().run()
    assert not page.exception
    [(run, keys)] = calls
    assert sorted(keys) == sorted(store_keys())
    assert run.model is not store.collection().run.model, "nobody else waits for, or looks into, this one"
    told = words(page).replace("\\", "")
    assert "1 of 32 pieces are called strange" in told
    assert "strange, more than 100%" in told and "far from every picture it was shown" in told
    assert "like a damaged picture" in told and "No val split." in told
    page = page.toggle(key="glow").set_value(True).run()
    assert not page.exception
    another = choose(choose(front("explore"), "look", "What stands apart"), "apart by", "Strange to look at")
    assert "1 of 32 pieces" in words(another) and len(calls) == 1


def test_two_visitors_do_not_judge_at_once_and_trouble_is_told(front, monkeypatch):
    page = choose(choose(front("explore"), "look", "What stands apart"), "apart by", "Strange to look at")
    page_of._turn().acquire()
    page = page.button[0].click().run()
    assert "Somebody else" in words(page)
    page_of._turn().release()

    def fails(*given, **more):
        raise SareeError("10 pictures are needed [x](y)")

    monkeypatch.setattr(page_of, "outliers", fails)
    page = page.button[0].click().run()
    assert [one.value for one in page.error] == ["10 pictures are needed \\[x\\]\\(y\\)"]
    assert not page_of._turn().locked()


def test_without_photographs_nothing_is_judged_and_the_page_says_why(front, monkeypatch):
    page = choose(choose(front("explore"), "look", "What stands apart"), "apart by", "Strange to look at")
    found = store.collection()
    gone = {key: replace(piece, path=found.catalogue.folder / "gone.png") for key, piece in found.pieces.items()}
    monkeypatch.setitem(found.__dict__, "pieces", gone)
    page = page.button[0].click().run()
    assert "no photograph of this catalogue" in page.error[0].value.replace("\\", "")


def test_designs_in_many_colours_are_rows_to_search_for_more_of_them(front, monkeypatch, pages):
    groups = [np.array([0, 4, 6]), np.array([1, 2])]
    asked = []
    monkeypatch.setattr(
        page_of.explore, "in_many_colours", lambda rows, dim, alike: asked.append((dim, alike)) or groups
    )
    page = choose(front("explore"), "look", "One design, many colours")
    assert not page.exception
    told = words(page)
    assert "2 designs come in two colours" in told and "**3 colourways**" in told and "**2 colourways**" in told
    page = page.button(key=f"search design 0 {store_keys()[0]}").click().run()
    assert pages == ["Search"]
    assert (page.session_state.slant, page.session_state.differ) == (0.0, True)
    page.slider(key="alike").set_value(0.9).run()
    assert asked == [(store.collection().catalogue.motif_dim, 0.8), (store.collection().catalogue.motif_dim, 0.9)]
    groups.clear()
    assert "No design is found" in words(page.slider(key="alike").set_value(0.95).run())


def test_without_a_colour_half_colourways_are_explained_away(front, monkeypatch):
    page = front("explore")
    found = store.collection()
    monkeypatch.setitem(found.__dict__, "latents", replace(found.latents, motif_dim=found.latents.mu.shape[1]))
    monkeypatch.setattr(found.catalogue, "motif_dim", found.latents.mu.shape[1])
    page = choose(page, "look", "One design, many colours")
    assert "keeps no colours apart" in words(page)
    page = choose(page, "look", "One dimension")
    assert page.segmented_control(key="half").options == ["Design"]


def test_names_from_the_data_are_shown_as_they_are(front, wild_catalogue):
    page = front("explore", catalogue=str(wild_catalogue))
    [trace] = [one for one in chart(page)["data"] if one["name"] == "others"]
    assert "<img" not in trace["text"][0] and "&lt;img" in trace["text"][0]
    for look in ("One dimension", "What stands apart", "One design, many colours"):
        page = choose(page, "look", look)
        assert not page.exception
        assert "![x](" not in words(page)
        assert "/nowhere" not in words(page)
    assert not any(one.proto.allow_html for one in page.markdown)


def test_without_a_catalogue_the_page_says_how_to_make_one(front):
    page = front("explore", catalogue=None)
    assert not page.exception
    assert "There is no catalogue yet" in words(page)
