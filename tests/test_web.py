"""The front end as a visitor meets it, without a browser: search and its links, what comes in, what is said."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import CRAFTS, paint
from PIL import Image
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from apps import cli
from apps.knowledge import labels_with
from apps.web import parts, search, serve, store
from saree_vae.catalogue import Catalogue
from saree_vae.errors import SareeError
from saree_vae.query import Query

KEY, OTHER = "stripes/0_0.png", "dots/1_0.png"
SAID = ("markdown", "caption", "info", "error", "warning")
SCRIPT = str(Path(serve.__file__).with_name("main.py"))


def words(page: AppTest) -> str:
    return "\n".join(one.value for kind in SAID for one in page.get(kind))


def png(side: int = 96, **more) -> bytes:
    file = io.BytesIO()
    paint("dots", "#1f4e79", side=side).save(file, "PNG", **more)
    return file.getvalue()


def uploaded(page: AppTest, name: str, file: bytes) -> AppTest:
    return page.file_uploader(key="search upload").upload(name, file, "image/png").run()


def pressed(page: AppTest, key: str) -> AppTest:
    return page.button(key=key).click().run()


# --- searching ---


def test_asked_by_colours_alone_the_very_same_colours_are_told(front, cloth):
    page = uploaded(front("search"), "mine.png", (cloth / KEY).read_bytes())
    told = words(page.slider(key="slant").set_value(1.0).run())
    assert "the very same colours" in told and "the very same design" not in told


def test_an_uploaded_picture_finds_its_like_and_the_address_leads_back(front):
    page = uploaded(front("search"), "mine.png", png())
    assert not page.exception and "24 of 32 pieces" in words(page)
    assert "patola" in page.get("markdown")[-1].value or "patola" in words(page)
    assert "the very same design" in words(page)
    assert "the very same" not in words(page.slider(key="slant").set_value(1.0).run())  # in other colours
    page.slider(key="slant").set_value(0.25).run()
    again = front("search", query={"q": page.query_params["q"]})
    assert not again.exception and first(again) == first(page)
    assert "This link leads to a search by a picture" in words(again) and "the very same design" not in words(again)
    assert "This link leads" not in words(page)


def found(page: AppTest) -> list[str]:
    """Keys of the pieces that were found, best first, by the buttons below their cards."""
    keys = [button.key or "" for button in page.button]
    return [key.removeprefix("only ") for key in keys if key.startswith("only ")]


def first(page: AppTest) -> str:
    return found(page)[0]


def test_a_link_brings_back_likes_dislikes_and_the_slant(front):
    page = front("search", query={"like": [KEY, KEY], "unlike": OTHER, "slant": "0.2", "where": "split == 'train'"})
    assert not page.exception
    assert page.session_state.liked == [KEY] and page.session_state.disliked == [OTHER]
    assert page.slider(key="slant").value == 0.2
    assert "split" in words(page)
    assert page.query_params["like"] == KEY and page.query_params["slant"] == "0.2"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"q": "AAAA"}, "link"),
        ({"like": KEY, "where": "year >"}, "year"),
        ({"like": "../../etc/passwd"}, "no longer"),
        ({"slant": "1e9", "like": KEY}, "of 32 pieces"),
        ({"slant": "nan", "like": KEY}, "of 32 pieces"),
        ({"slant": "²", "like": KEY}, "of 32 pieces"),
        ({"start": "nonsense", "like": KEY}, "of 32 pieces"),
    ],
)
def test_a_link_that_was_tampered_with_is_told_in_words(front, query, said):
    page = front("search", query=query)
    assert not page.exception
    assert said in words(page).replace("\\", "")


def test_likes_and_dislikes_change_what_is_found_and_can_be_taken_back(front):
    page = front("search", query={"like": KEY})
    before = first(page)
    pressed(page, f"disliked {before}")
    assert page.session_state.disliked == [before] and first(page) != before
    pressed(page, f"drop disliked {before}")
    assert page.session_state.disliked == [] and first(page) == before
    pressed(page, f"only {before}")
    assert page.session_state.liked == [before] and first(page) != before


def test_a_preset_moves_the_slider_and_the_slider_leaves_the_preset(front):
    page = front("search", query={"like": KEY})
    name = "This design, in other colours"
    page.segmented_control(key="preset").set_value(name).run()
    assert page.slider(key="slant").value == 0 and page.session_state.differ
    page.slider(key="slant").set_value(0.7).run()
    assert not page.session_state.differ and page.query_params["slant"] == "0.7"


def test_all_of_its_kind_is_asked_by_kin_and_kept_in_the_link(front, monkeypatch):
    asked = []
    find = Catalogue.search_one

    def watched(*args, kin: bool = False, **more):
        asked.append(kin)
        return find(*args, kin=kin, **more)

    monkeypatch.setattr(Catalogue, "search_one", watched)
    page = front("search", query={"like": KEY})
    page.segmented_control(key="preset").set_value("All of its kind").run()
    assert found(page) and (asked[0], asked[-1]) == (False, True)
    assert page.slider(key="slant").value == 0.25 and page.query_params["kin"] == "1"
    again = front("search", query={"like": KEY, "slant": "0.25", "kin": "1"})
    assert again.segmented_control(key="preset").value == "All of its kind" and found(again) == found(page)


def test_filters_by_the_catalogue_and_by_the_graph_hold(front):
    page = front("search", query={"like": KEY})
    page.multiselect(key="filter cluster").set_value(["patola"]).run()
    assert all(key.startswith("dots/") for key in found(page)) and found(page)
    page.multiselect(key="filter cluster").set_value([]).run()
    box = page.multiselect(key="term technique")
    term = next(one for one in box.options if "tapestry" in one)
    box.set_value([term]).run()
    having = {mark for mark, craft in CRAFTS.items() if craft in labels_with(CRAFTS.values())("technique", term)}
    assert {key.split("/")[0] for key in found(page)} == having and 0 < len(having) < len(CRAFTS)


def test_the_address_holds_every_filter(front):
    page = front("search", query={"like": KEY, "where": "year > 1 or cluster != ''"})
    page.multiselect(key="filter cluster").set_value(["patola"]).run()
    page.multiselect(key="term technique").set_value([page.multiselect(key="term technique").options[0]]).run()
    again = front("search", query={name: page.query_params[name] for name in ("like", "where")})
    assert not again.exception and found(again) == found(page)
    assert again.query_params["where"] == page.query_params["where"]


def test_pieces_are_found_by_chosen_colours(front):
    page = front("search", query={"start": "Colours"})
    page.color_picker(key="colour 0").set_value("#1f4e79").run()
    page.color_picker(key="colour 1").set_value("#ffffff").run()
    assert not page.exception
    best = [button.key for button in page.button if "from colours" in (button.key or "")][:8]
    assert best and all("/1_" in key for key in best)  # the blue ground
    again = front("search", query={name: page.query_params[name] for name in ("start", "colour")})
    assert [button.key for button in again.button if "from colours" in (button.key or "")][:8] == best


@pytest.mark.parametrize("colours", [["000000"] * 9, ["#ffffff", "<b>"], ["", "1f4e79"]])
def test_colours_of_a_link_that_are_none_are_left_out(front, colours):
    page = front("search", query={"start": "Colours", "colour": colours})
    assert not page.exception and any("from colours" in (button.key or "") for button in page.button)


def test_going_on_from_a_colour_search_keeps_its_filters(front, monkeypatch):
    monkeypatch.setattr(search.st, "switch_page", lambda page: None)
    page = front("search", query={"start": "Colours", "where": "split == 'train'"})
    page.multiselect(key="filter cluster").set_value(["patola"]).run()
    key = next(button.key for button in page.button if "from colours" in (button.key or ""))
    pressed(page, key).run()
    assert page.session_state.start == "Collection"
    assert found(page) and all(key.startswith("dots/") for key in found(page))
    assert page.query_params["where"] == "`cluster` in ('patola') and (split == 'train')"


def test_in_a_catalogue_of_regions_the_part_that_matched_is_framed(front, shop, tmp_path):
    asked = ["index", shop / "run", "--data", shop / "data", "--out", tmp_path / "parts", "--regions", "--crops", "2"]
    assert CliRunner().invoke(cli.app, [str(word) for word in asked]).exit_code == 0
    page = uploaded(front("search", catalogue=str(tmp_path / "parts"), head=None), "mine.png", png())
    assert not page.exception and found(page)[0].startswith("dots/1")
    thumbnail = parts.small(parts.Picture("x", png(side=192)))
    assert parts.boxed(thumbnail, (0.0, 0.0, 1.0, 1.0)) == thumbnail
    framed = np.array(Image.open(io.BytesIO(parts.boxed(thumbnail, (0.25, 0.25, 0.75, 0.5))))).astype(int)
    changed = np.abs(framed - np.array(Image.open(io.BytesIO(thumbnail)))).max(2) > 60
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == pytest.approx((48, 95, 48, 143), abs=3)


# --- what comes in ---


@pytest.mark.parametrize(
    ("name", "file", "said"),
    [
        ("empty.png", b"", "is empty"),
        ("text.png", b"<script>alert(1)</script>" * 9, "text.png"),
        ("half.png", png()[:200], "half.png"),
    ],
)
def test_what_is_no_picture_is_told_in_words_and_nothing_is_searched(front, name, file, said):
    page = uploaded(front("search"), name, file)
    assert not page.exception
    assert said in "".join(error.value for error in page.error).replace("\\", "")
    assert not found(page)


def test_of_several_pictures_the_last_one_counts(front):
    def file(mark: str):
        return SimpleNamespace(file_id=mark)

    seen = {}

    def came(**files):
        return parts.newest(seen, files)

    one, two, three = file("1"), file("2"), file("3")
    assert came(upload=None, camera=None, paste=None) is None
    assert came(upload=one, camera=None, paste=None) is one
    assert came(upload=one, camera=None, paste=two) is two
    assert came(upload=three, camera=None, paste=two) is three
    assert came(upload=three, camera=None, paste=two) is three, "a rerun changes nothing"
    assert came(upload=None, camera=None, paste=two) is two, "an upload that was taken back"


def test_a_picture_of_too_many_pixels_is_refused(front, monkeypatch):
    monkeypatch.setattr(parts, "PIXELS", 1000)
    page = uploaded(front("search"), "vast.png", png())
    assert "vast" in "".join(error.value for error in page.error)
    assert not found(page)


# --- with --edit ---


@pytest.fixture
def own_catalogue(shop, tmp_path) -> str:
    """A copy that may be changed."""
    return str(shutil.copytree(shop / "catalogue", tmp_path / "catalogue"))


def compared(front, **settings) -> tuple[AppTest, str]:
    """A page with what was found first, large, and its key."""
    page = front("search", query={"like": KEY}, **settings)
    return page.multiselect(key="compared").set_value(found(page)[:1]).run(), found(page)[0]


def test_nothing_can_be_changed_unless_it_was_asked_for(front):
    page, key = compared(front)
    assert key.replace("_", "") in words(page).replace("\\", "").replace("_", "")
    page = uploaded(page.segmented_control(key="start").set_value("Picture").run(), "mine.png", png())
    assert not [button.key for button in page.button if (button.key or "").startswith(("save ", "out "))]
    assert "Add to the catalogue" not in [button.label for button in page.button]


def test_with_edit_a_label_is_corrected_and_a_piece_taken_out(front, own_catalogue):
    page, key = compared(front, catalogue=own_catalogue, edit=True)
    page.selectbox(key=f"label {key}").set_value("bandhani").run()
    pressed(page, f"save {key}")
    assert not page.exception and store.collection().pieces[key].cluster == "bandhani"
    before = store.collection()
    pressed(page, f"out {key}")
    assert not page.exception and key not in store.collection().pieces and len(store.collection().pieces) == 31
    assert "was taken out" in words(page)
    [back] = [button for button in page.button if button.label == "Put it back"]
    back.click().run()
    assert not page.exception and "was taken out" not in words(page)
    again = store.collection()
    assert again.pieces == before.pieces and np.array_equal(again.latents.mu, before.latents.mu)
    assert again.pieces[key].cluster == "bandhani" and key in again.catalogue.corrections()
    assert not again.catalogue.taken_out()


def test_with_edit_a_picture_is_added_and_found(front, own_catalogue):
    page = uploaded(front("search", catalogue=own_catalogue, edit=True), "mine.png", png(side=120))
    [add] = [button for button in page.button if button.label == "Add to the catalogue"]
    add.click().run()
    assert not page.exception and "is in the catalogue" in words(page)
    [key] = [key for key in store.collection().pieces if key.startswith("added/")]
    assert key.endswith(".png") and store.collection().pieces[key].path.is_file()


def test_nothing_of_a_user_becomes_markup():
    for text in (
        "![](http://evil/x.png)",
        "<b>x</b>",
        "[a](javascript:1)",
        ":red[x]",
        "$x$",
        "`a`",
        "http://evil",
        "# x",
    ):
        shown = parts.plain(text)
        assert shown.replace("\\", "") == text
        unescaped = re.sub(r"\\.", "", shown)
        assert not set("[]()<>!`$:#/*_") & set(unescaped)
    assert parts.plain("two\n\nlines") == "two lines"


def test_no_spreadsheet_runs_a_name():
    assert search._cell("=cmd|' /C calc'!A0").startswith("'=") and search._cell("saree.jpg") == "saree.jpg"


def test_the_archive_holds_the_table_and_the_photographs(front, shop):
    front("search")
    collection = store.collection()
    hits = collection.catalogue.search(collection.latents.mu[:1], 3)[0]
    archive = zipfile.ZipFile(io.BytesIO(search._zipped(collection, hits, b"table")))
    assert archive.read("found.csv") == b"table" and len(archive.namelist()) == 4
    name = next(name for name in archive.namelist() if name.startswith("01_"))
    assert archive.read(name) == (shop / "data" / hits[0].key).read_bytes()


def test_a_part_that_was_drawn_is_looked_for(front):
    page = front("search", query={"like": KEY, "start": "Collection"})
    collection, before = store.collection(), found(page)
    page.session_state.part = (KEY, (0.0, 0.0, 0.2, 1.0))
    part = search._of_piece(collection, KEY, (0.0, 0.0, 0.2, 1.0))
    assert part.keys == (KEY,) and len(part.embeddings) > 1 and before
    assert search._box({"x": [0.9, 0.1], "y": [-0.3, 0.5]}) == (0.1, 0.0, 0.9, 0.5)
    assert search._box({"x": [0.5, 0.505], "y": [0, 1]}) is None  # a click is no box


# --- the whole ---


@pytest.mark.parametrize(("typed", "box"), [("0.2,0,1,0.5", (0.2, 0, 1, 0.5)), ("nan,0,1,1", None), ("1,2", None)])
def test_a_link_keeps_the_part_that_was_drawn(front, typed, box):
    page = front("search", query={"like": KEY, "part": typed})
    assert not page.exception and page.session_state.start == "Collection"
    assert page.session_state.part == (box and (KEY, box))
    assert page.query_params.get("part") == (typed if box else None)
    if box:
        page = next(button for button in page.button if button.label == "The whole picture").click().run()
        assert page.session_state.part is None and "part" not in page.query_params


def test_every_page_opens_without_a_catalogue_and_says_what_to_do(front):
    for name in ("search", "between", "craft", "variants", "explore", "record"):
        page = front(name, catalogue=None, head=None, run=None)
        assert not page.exception, name
        assert words(page), name
    assert "saree-vae quickstart" in "".join(code.value for code in front("search", catalogue=None).code)


def test_a_catalogue_that_is_gone_is_told(front, tmp_path):
    page = front("search", catalogue=str(tmp_path / "gone"))
    assert not page.exception and "catalogue" in page.error[0].value


def test_the_app_has_all_its_pages(front, monkeypatch, shop):
    monkeypatch.setenv(store.VARIABLE, json.dumps({"catalogue": str(shop / "catalogue")}))
    page = AppTest.from_file(SCRIPT, default_timeout=60).run()
    assert not page.exception and page.title[0].value == "Search"


def test_whoever_must_sign_in_sees_nothing_before(monkeypatch, shop):
    monkeypatch.setenv(store.VARIABLE, json.dumps({"catalogue": str(shop / "catalogue")}))
    page = AppTest.from_file(SCRIPT, default_timeout=60)
    page.secrets["auth"] = {"redirect_uri": "http://127.0.0.1:8501/oauth2callback", "cookie_secret": "x"}
    page.run()
    assert not page.exception and [button.label for button in page.button] == ["Sign in"]
    assert "Search" not in words(page) and len(page.title) == 1


def test_the_command_finds_the_quickstart_and_names_what_is_missing(tmp_path, monkeypatch, shop):
    monkeypatch.chdir(tmp_path)
    assert json.loads(serve.settings(None, None, None, False)) == {"edit": False}
    (tmp_path / "saree-quickstart").symlink_to(shop)
    assert {*json.loads(serve.settings(None, None, None, True))} == {"catalogue", "head", "run", "edit"}
    own = json.loads(serve.settings(shop / "catalogue", None, None, False))
    assert {*own} == {"catalogue", "edit"}  # another model's head would not fit
    told = CliRunner().invoke(cli.app, ["app", "--catalogue", str(tmp_path)])
    assert isinstance(told.exception, SareeError) and "catalogue.json" in str(told.exception)


def test_with_nothing_to_show_it_offers_to_make_something(tmp_path, monkeypatch):
    from apps import quickstart

    monkeypatch.chdir(tmp_path)
    made, started = [], []
    monkeypatch.setattr(quickstart, "run", lambda *asked: made.append(asked[:2]))
    monkeypatch.setattr(subprocess, "call", lambda command, env: started.append(command) or 0)
    for typed, times in (("n\n", 0), ("y\n", 1)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(serve, "_terminal", lambda: True)
            assert CliRunner().invoke(cli.app, ["app"], input=typed).exit_code == 0
        assert made == [(None, serve.QUICKSTART)] * times
    assert len(started) == 2 and CliRunner().invoke(cli.app, ["app"]).exit_code == 0 and len(made) == 1


def test_visitors_do_not_see_each_others_choices(front):
    one = front("search", query={"like": KEY})
    other = front("search")
    pressed(one, f"liked {first(one)}")
    other.run()
    assert len(one.session_state.liked) == 2 and other.session_state.liked == []


def test_it_listens_to_this_machine_alone_and_tells_nobody():
    import tomllib

    config = tomllib.loads(Path(SCRIPT).with_name(".streamlit").joinpath("config.toml").read_text())
    assert config["server"]["address"] == "127.0.0.1" and config["browser"]["gatherUsageStats"] is False
    assert config["server"]["maxUploadSize"] <= 25


def test_text_can_be_read_in_both_themes():
    import tomllib

    theme = tomllib.loads(Path(SCRIPT).with_name(".streamlit").joinpath("config.toml").read_text())["theme"]
    for shade in ("light", "dark"):
        colours = theme[shade]
        for ground in (colours["backgroundColor"], colours["secondaryBackgroundColor"]):
            for text in (colours["textColor"], colours["primaryColor"], colours["linkColor"]):
                assert contrast(text, ground) >= 4.5, (shade, text, ground)


def contrast(one: str, other: str) -> float:
    """WCAG 2.1's ratio."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    levels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels]
    return sum(share * level for share, level in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_a_link_is_of_this_catalogue_only(front):
    front("search")
    assert isinstance(
        Query.of_text(Query(store.collection().embedding[:1]).text(), store.collection().catalogue), Query
    )
    assert Image.open(io.BytesIO(parts.small(parts.Picture("x", png())))).size == (96, 96)
