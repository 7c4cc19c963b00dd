"""The page Craft cluster without a browser: naming a piece and why, and leafing through the graph."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import paint
from test_web import words

from apps.crafts import promise
from apps.web import atlas, browse, craft
from kg.explain import Fact, Reason, Why
from kg.graph import load_graph
from kg.head import Head, Prediction
from kg.queries import show, using

KEY = "stripes/0_0.png"  # labelled jamdani; of the val split, so the head did not learn from it
LEARNT = "stripes/1_0.png"


@pytest.fixture(scope="module")
def graph():
    return load_graph()


@pytest.fixture(scope="module")
def head(shop) -> Head:
    return Head.load(shop / "head")


def asked(page, key: str):
    """The page after somebody chose a piece of the collection."""
    page.session_state["craft asked"] = ("piece", key)
    return page.run()


def read(page) -> str:
    """What is said, without the marks that keep Markdown from being taken for such."""
    return words(page).replace("\\", "")


def headings(page) -> list[str]:
    return [one.value for kind in ("header", "subheader") for one in page.get(kind)]


def answered(page) -> bool:
    return any(one.startswith(("Why ", "What speaks for ")) for one in headings(page))


def told(**changes) -> Prediction:
    groups = {"subgroup": ("Paithani", 0.9), "parent_group": ("tapestry-pallu silk", 0.92), "super_group": ("x", 0.95)}
    usual = {"key": "a", "answer": "paithani", "level": "cluster", "probability": 0.9, "groups": groups}
    usual |= {"clusters": (("paithani", 0.9), ("jamdani", 0.1)), "never_shown": (), "unseen": False}
    usual |= {"fit": 0.7, "novel": False, "unlike": False}
    return Prediction(**usual | {"nearest": ()} | changes)


def checked(head: Head, right: int, wrong: int, sure: float = 0.9) -> Head:
    from dataclasses import replace

    rows = [[sure, 1.0]] * right + [[0.2, 0.0]] * wrong
    return replace(head, checked=np.array(rows, dtype=np.float64).reshape(-1, 2))


# --- how sure it is ---


def test_a_promise_is_made_only_where_enough_pictures_were_checked(head):
    many = promise(checked(head, 200, 50), told(), 0.1)
    assert many.startswith("At most 1 in 10 such answers is wrong (90% sure")
    assert "so sure of 200 of 250 checked pictures, and wrong on 0 of those" in many
    few = promise(checked(head, 5, 1), told(), 0.1)
    assert "too little to promise that at most 1 in 10" in few and "At most" not in few
    assert "on no picture" in promise(checked(head, 0, 0), told(answer=None, level=None), 0.1)


def test_groups_unsure_and_unlike_are_never_told_as_a_promise(head):
    sure = checked(head, 200, 50)
    group = promise(sure, told(answer="tapestry-pallu silk", level="parent_group"), 0.1)
    unsure = promise(sure, told(answer=None, level=None), 0.1)
    new = promise(sure, told(answer=None, level=None, novel=True), 0.1)
    assert "No cluster fits it" in new and "At most" not in new
    of_group = promise(sure, told(answer="x", level="parent_group", novel=True), 0.1)
    assert of_group.startswith("Groups are named from 90%") and "perhaps one that was never shown" in of_group
    unlike = promise(sure, told(answer=None, level=None, unlike=True), 0.1)
    with_new = promise(sure, told(unseen=True), 0.1)
    assert "Groups are named from 90% on" in group and "nothing here reaches that" in unsure
    assert "less like any labelled piece" in unlike and "nothing is promised" in with_new
    assert not any("At most" in one for one in (group, unsure, unlike, with_new))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "Paithani"),
        ({"answer": "tapestry-pallu silk", "level": "parent_group"}, "Unsure which, but of the parent group tapestry"),
        ({"answer": None, "level": None}, "Unsure"),
        ({"answer": None, "level": None, "unlike": True}, "Unsure: unlike anything seen"),
    ],
)
def test_the_answer_is_a_cluster_or_its_group_or_unsure(changes, says):
    assert craft._answer_words(told(**changes)).startswith(says)


# --- naming ---


def test_a_piece_gets_an_answer_with_bars_reasons_and_its_nearest_pieces(front):
    page = asked(front("craft"), KEY)
    assert not page.exception
    said = read(page)
    assert answered(page)
    assert "Likeliest groups" in said and "By its looks alone" in said and "Its label in the catalogue: jamdani" in said
    assert any("likeness" in one.value for one in page.markdown)
    assert "learnt from this very piece" not in said
    assert not any(str(one) in said for one in ("/data/", "/tmp"))  # where the photograph lies is nobody's business


def test_it_says_when_it_learnt_from_the_piece_itself(front):
    page = asked(front("craft"), LEARNT)
    assert "learnt from this very piece" in words(page)
    assert not page.exception


def test_an_uploaded_picture_is_named_and_a_broken_one_told_in_words(front, tmp_path):
    paint("dots", "#1f4e79", 3).save(tmp_path / "a.png")
    page = front("craft")
    page.file_uploader(key="craft upload").upload("<b>a</b>.png", (tmp_path / "a.png").read_bytes(), "image/png").run()
    assert not page.exception and answered(page)
    assert "<b>" not in words(page)
    broken = front("craft")
    broken.file_uploader(key="craft upload").upload("a.png", b"no picture", "image/png").run()
    assert not broken.exception and broken.error and not headings(broken)


def test_without_a_catalogue_the_heads_own_model_looks(front, tmp_path):
    paint("dots", "#1f4e79", 3).save(tmp_path / "a.png")
    page = front("craft", catalogue=None)
    page.file_uploader(key="craft upload").upload("a.png", (tmp_path / "a.png").read_bytes(), "image/png").run()
    assert not page.exception and answered(page)
    assert "Not in this catalogue" in words(page)


def test_a_piece_whose_photograph_is_gone_is_named_by_its_small_copy(front, monkeypatch):
    page, looked, sources = front("craft"), craft.looked_at, []
    monkeypatch.setattr(Path, "is_file", lambda self: self.suffix != ".png")
    monkeypatch.setattr(
        craft, "looked_at", lambda run, source, *more: sources.append(source) or looked(run, source, *more)
    )
    assert "small copy was looked at" in words(asked(page, KEY))
    assert [type(source) for source in sources] == [bytes]


def test_without_a_head_it_says_how_to_get_one_and_the_graph_works(front):
    page = front("craft", head=None)
    assert page.session_state["craft part"] == craft.BROWSING  # what works comes first
    page.session_state["craft part"] = craft.NAMING
    page.run()
    assert not page.exception and any("saree-vae fit-head" in one.value for one in page.code)
    bare = front("craft", head=None, catalogue=None, query={"cluster": "paithani"})
    assert not bare.exception and "Paithani" in headings(bare)
    assert "saree-vae app" in read(bare)


# --- what speaks for it, drawn ---


def why(*reasons: Reason) -> Why:
    return Why("paithani", 0.9, 0.4, reasons, {}, None, (), ())


def reason(node: str, strength: float | None, *path: str, odds: float = 2.0) -> Reason:
    return Reason(node, strength, 0.5, odds, (node, *path), (Fact("cluster:paithani", "", "high", (), "f.csv", 2),))


def test_only_the_ways_that_matter_are_drawn_and_a_thicker_line_tells_more(graph):
    weak = reason("motif:peacock", None, "cluster:paithani", odds=1.2)
    strong = reason("attribute:floral", 0.8, "label:paithani", "cluster:paithani", odds=4.0)
    drawn = craft.paths(graph, why(weak, strong))
    edges = dict(re.findall(r'^("[^"]+" -> "[^"]+") \[penwidth=([\d.]+)\]', drawn, re.M))
    assert {one: float(width) for one, width in edges.items()} == {
        '"motif:peacock" -> "cluster:paithani"': 1.3,
        '"attribute:floral" -> "label:paithani"': 3.0,
        '"label:paithani" -> "cluster:paithani"': 3.0,
    }
    assert "seen 80%, odds × 4.0" in drawn and "motif, odds × 1.2" in drawn


def test_names_cannot_break_out_of_the_drawing():
    assert craft._quoted('a"];b\\') == '"a\\"];b\\\\"'


@pytest.mark.parametrize("pair", [craft.SEEN, craft.BETWEEN, craft.NAMED, (atlas.PAPER, atlas.INK)])
def test_words_on_cards_have_contrast_aa(pair):
    assert contrast(*pair) >= 4.5


@pytest.mark.parametrize("ground", ["#fbf8f3", "#191615"])
@pytest.mark.parametrize("mark", [craft.LINE, atlas.DOT, atlas.OTHERS])
def test_lines_and_dots_are_seen_in_the_light_and_in_the_dark(mark, ground):
    assert contrast(mark, ground) >= 3


def contrast(a: str, b: str) -> float:
    """By WCAG 2.2."""

    def light(colour: str) -> float:
        parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(a), light(b)))
    return (high + 0.05) / (low + 0.05)


# --- leafing through the graph ---


def test_a_link_opens_a_cluster_by_any_of_its_names_and_the_address_says_its_id(front):
    page = front("craft", query={"cluster": "Kanjivaram"})
    assert not page.exception
    assert "Kanchipuram silk" in headings(page)
    assert page.query_params["cluster"] in ("kanchipuram", ["kanchipuram"])


def test_an_unknown_name_in_a_link_is_a_sentence(front):
    page = front("craft", query={"cluster": "[x](javascript:alert)"})
    assert not page.exception
    assert any("no cluster is called" in one.value.replace("\\", "") for one in page.error)
    assert not any("[x](javascript" in one.value for one in page.error)


def test_a_cluster_page_has_its_facts_and_what_is_not_known(front, graph):
    page = front("craft", query={"cluster": "gadwal"})
    said = read(page)
    assert "Kotakomma" in said and "registered, application 137" in said and "Not known, which is not a no" in said
    assert "Gadwal, Jogulamba Gadwal, Telangana, India" in said
    shown = show(graph, "gadwal")
    for source in shown.sources:
        assert source.removeprefix("https://").removeprefix("http://")[:20] in said


def test_what_is_unknown_of_the_registration_is_no_claim():
    assert browse._registered({"gi_registered": "unknown"}) == "not known whether it is registered"
    assert browse._registered({"gi_registered": "no"}) == "not registered"


def test_a_term_tells_who_uses_it_and_opens_them(front, graph):
    page = front("craft", query={"cluster": "paithani"})
    page.selectbox(key="craft term").set_value("technique:double ikat").run()
    users = using(graph, "technique:double ikat").clusters
    assert any(one.value == f"{len(users)} clusters" for one in page.caption)
    others = [one for one in page.button if one.key.startswith("open user ")]
    assert {one.key.rpartition(" ")[2] for one in others} == {user.id for user in users}
    others[0].click().run()
    assert not page.exception
    assert page.session_state["craft opened"] == others[0].key.rpartition(" ")[2]


def test_two_clusters_are_compared(front):
    page = front("craft", query={"cluster": "paithani"})
    page.selectbox(key="compared paithani").set_value("kanchipuram").run()
    said = read(page)
    assert not page.exception
    assert "Known of Paithani only" in said and "Known of Kanchipuram silk only" in said
    assert "coin" in said and "shows motif" in said  # the chain that ties them


def test_pieces_are_found_under_any_label_of_a_cluster_and_of_what_it_stands_for(front):
    page = front("craft", query={"cluster": "jamdani"})
    assert not page.exception and "8 pieces labelled so" in words(page)
    labels = {"a": "Khatri bandhani", "b": "bandhani_jamnagar", "c": "paithani", "d": None, "e": "no such craft"}
    some = SimpleNamespace(pieces={key: SimpleNamespace(cluster=label) for key, label in labels.items()})
    assert browse.pieces_of(some, "bandhani_jamnagar") == ["b"]
    assert browse.pieces_of(some, "bandhani_generic") == ["a", "b"]
    assert browse.pieces_of(some, "gadwal") == []


def test_a_piece_of_a_cluster_can_be_named_from_its_page(front):
    page = front("craft", query={"cluster": "paithani"})
    first = next(one for one in page.button if one.key.startswith("name "))
    first.click().run()
    assert not page.exception
    assert answered(page)


def test_a_source_that_is_an_address_is_a_link_and_nothing_else_is():
    assert browse.sources(["https://a.org/b(c)"]) == "- [a\\.org\\/b\\(c\\)](https://a.org/b%28c%29)"
    assert browse.sources(["javascript:alert(1)"]).startswith("- javascript\\:alert")
    assert browse.sources(["https://a.org/x)[y](javascript:z)"]).count("](") == 1


# --- the map ---


def test_each_cluster_with_coordinates_has_its_dot_where_the_facts_say(graph):
    everywhere = atlas.places(graph)
    known = [data for _, data in graph.nodes(data=True) if data["kind"] == "cluster" and "latitude" in data]
    assert len(everywhere) == len(known) > 90
    java = next(place for place in everywhere if place.cluster == "batik_megamendung")
    figure = atlas.drawn([java], everywhere)
    (west, east), (south, north) = figure.layout.xaxis.range, figure.layout.yaxis.range
    assert west < 108.49 < east and south < -6.7 < north and west > 90  # Indonesia, not India
    assert (figure.data[-1].x, figure.data[-1].y) == ((108.49,), (-6.7,))
    assert {trace.type for trace in figure.data} == {"scatter"}  # no map that would be fetched
    assert "Batik megamendung at 6.7° S, 108.5° E" in atlas.alt([java])


def test_names_of_near_towns_do_not_lie_on_one_another(graph):
    everywhere = atlas.places(graph)
    near = [place for place in everywhere if place.cluster in ("batik_ceplok", "batik_truntum", "batik_buketan")]
    figure = atlas.drawn(near, everywhere)
    shifts = [label.yshift for label in figure.layout.annotations]
    assert len(shifts) == 3 and len(set(shifts)) == 3


def test_an_umbrella_is_where_its_members_are(graph):
    members = atlas.of(graph, ["patola_generic"])
    assert len(members) > 1 and all("India" in place.countries for place in members)


def test_the_outlines_are_land():
    rings = atlas._rings()
    card = (Path(__file__).parent.parent / "data_cards" / "land.md").read_text(encoding="utf-8")
    assert f"{len(rings)} closed outlines of land with {sum(map(len, rings)):,} points" in card
    assert all(np.abs(ring[:, 0]).max() <= 180 and np.abs(ring[:, 1]).max() <= 90 for ring in rings)
    assert any(holds(ring, 78.0, 20.0) for ring in rings) and not any(holds(ring, 70.0, 5.0) for ring in rings)


def holds(ring: np.ndarray, x: float, y: float) -> bool:
    """Whether a point lies within an outline: a ray from it crosses the line an odd number of times."""
    (x1, y1), (x2, y2) = ring.T, np.roll(ring, -1, 0).T
    crosses = (y1 > y) != (y2 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        return bool((crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)).sum() % 2)
