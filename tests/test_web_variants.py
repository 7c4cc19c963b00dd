"""The page Variants: what a visitor sees of them, what the gate said, and the training set that is taken away."""

from __future__ import annotations

import csv
import io
import shutil
import sqlite3
import zipfile

import pytest
import streamlit as st
from test_variants import opened
from test_web import words

from apps.web import variants as shown
from saree_vae.variants import COLUMNS, Maker


@pytest.fixture
def open_gate(monkeypatch):
    opened(monkeypatch)


@pytest.fixture(autouse=True)
def afresh():
    """What is known of one collection is kept for all visitors: here not from test to test."""
    st.cache_resource.clear()


def pressed(page, label: str):
    [button] = [one for one in page.button if one.label == label]
    return button.click().run()


def test_each_way_stands_beside_the_original_with_the_verdict_of_the_gate(front, open_gate):
    page = front("variants")
    assert not page.exception and not page.error
    told = words(page)
    for name in ("Original", *shown.WAYS.values()):
        assert told.count(f"**{name}**") == shown.PREVIEWED
    assert told.count(shown.PASSED) == 3 * shown.PREVIEWED
    assert "colours of" in told and "design of" in told


def test_what_the_gate_refused_is_told_in_words(front, open_gate, monkeypatch):
    monkeypatch.setattr(Maker, "_judged", lambda self, tried, passed: ["strange"] * len(tried))
    told = words(front("variants"))
    assert told.count("no draw passed: stranger than training pictures (5)") == 3 * shown.PREVIEWED
    assert shown.PASSED not in told


def test_only_pieces_of_the_train_split_are_offered(front, open_gate):
    page = front("variants")
    options = page.selectbox(key="varied cluster").options
    assert len(options) == 4 and sum(int(one.rpartition("(")[2][:-1]) for one in options) == 20
    page = page.segmented_control(key="vary").set_value(shown.STARTS[1]).run()
    assert "Choose a cluster or some pieces" in words(page)
    assert len(page.multiselect(key="varied pieces").options) == 20


def test_others_are_shown_when_asked_for(front, open_gate):
    page = front("variants")
    before = page.session_state["preview mark"]
    page = pressed(page, "Show others")
    assert not page.exception and page.session_state["preview mark"] != before


def test_a_training_set_is_a_zip_of_pictures_and_their_lineage(front, open_gate, shop, monkeypatch):
    monkeypatch.setattr(shown, "LIMIT", 4)
    page = front("variants")
    page.slider(key="set count").set_value(2).run()
    assert "At most 4 variants of 2 pieces" in words(page) and "saree-vae augment" in words(page)
    page = pressed(page, "Make the training set")
    assert "4 of 4 variants passed the gate" in page.success[0].value
    with zipfile.ZipFile(io.BytesIO(shown._whole(page.session_state["set ready"].file))) as zipped:
        rows = list(csv.DictReader(io.StringIO(zipped.read("manifest.csv").decode())))
        assert tuple(rows[0]) == COLUMNS
        assert {row["path"] for row in rows} | {"manifest.csv"} == set(zipped.namelist())
        assert {row["split"] for row in rows} == {"train"}
        assert all((shop / "data" / row["made_from"]).is_file() for row in rows)


def test_nothing_is_made_on_the_click_that_stops_it(front, open_gate):
    page = front("variants")
    page.session_state[f"stop {shown.VARYING}"] = True
    page = pressed(page, "Make the training set")
    assert "nothing of it was kept" in words(page) and not page.success
    assert "set ready" not in page.session_state


@pytest.fixture
def own_shop(shop, tmp_path):
    """A catalogue of its own, whose photographs can be taken away."""
    shutil.copytree(shop / "catalogue", tmp_path / "catalogue")
    shutil.copytree(shop / "data", tmp_path / "data")
    database = sqlite3.connect(tmp_path / "catalogue" / "items.db")
    with database:
        database.execute("UPDATE items SET path = replace(path, ?, ?)", [str(shop / "data"), str(tmp_path / "data")])
    database.close()
    return tmp_path


def test_pieces_whose_photograph_is_gone_are_counted_and_one_that_broke_is_named_without_its_place(
    front, own_shop, open_gate
):
    (own_shop / "data" / "stripes" / "1_0.png").unlink()
    for path in (own_shop / "data" / "diamonds").iterdir():
        path.write_bytes(b"no picture")
    page = front("variants", catalogue=str(own_shop / "catalogue"))
    assert "1 pieces cannot be varied" in words(page)
    assert "diamonds" in page.error[0].value and "own_shop" not in page.error[0].value
    assert str(own_shop).replace("/", "\\/") not in page.error[0].value


def test_without_a_catalogue_the_page_says_how_one_is_made(front):
    page = front("variants", catalogue=None, head=None, run=None)
    assert "There is no catalogue yet" in words(page)


def test_without_photographs_nothing_can_be_varied(front, own_shop):
    shutil.rmtree(own_shop / "data")
    page = front("variants", catalogue=str(own_shop / "catalogue"))
    assert not page.exception and "still there, got 0" in page.error[0].value
