"""Questions to the graph, answered on facts small enough to check by eye, and on the real ones."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import networkx as nx
import pytest
from test_kg_schema import small

from kg import load_graph
from kg.queries import compare, neighbours, path, show, telling, using
from saree_vae.errors import SareeError

TERMS = [
    ("fibre", "cotton", ""),
    ("technique", "interlock", ""),
    ("technique", "korvai", "interlock"),
    ("technique", "kuttu", "interlock"),
    ("motif", "crab", ""),
    ("motif", "flower", ""),
]
# Everybody has cotton; a and b share the rare crab; c and d each have a kind of interlock; e is known by cotton only.
CLUSTERS = [
    {"id": "a", "fibres": "cotton", "motifs": "crab;flower"},
    {"id": "b", "fibres": "cotton", "motifs": "crab"},
    {"id": "c", "fibres": "cotton", "techniques": "korvai"},
    {"id": "d", "fibres": "cotton", "techniques": "kuttu", "motifs": "flower"},
    {"id": "e", "fibres": "cotton"},
]


@pytest.fixture(scope="module")
def real() -> nx.MultiDiGraph:
    return load_graph()


@pytest.fixture
def tiny(tmp_path: Path) -> nx.MultiDiGraph:
    return load_graph(small(tmp_path / "facts", CLUSTERS, TERMS))


def nodes(chain) -> list[str]:
    return [chain.steps[0].start, *(step.end for step in chain.steps)]


def test_a_path_takes_the_rare_shared_term(tiny):
    chain = path(tiny, "a", "b")
    assert nodes(chain) == ["cluster:a", "motif:crab", "cluster:b"]
    assert [step.forward for step in chain.steps] == [True, False]
    assert chain.clusters == {"motif:crab": 2}


def test_a_path_climbs_to_a_rare_broader_term_rather_than_take_a_common_one(tiny):
    assert nodes(path(tiny, "c", "d")) == [
        *("cluster:c", "technique:korvai", "technique:interlock", "technique:kuttu", "cluster:d")
    ]
    assert [step.relation for step in path(tiny, "c", "d").steps] == [
        *("uses_technique", "broader", "broader", "uses_technique")
    ]


def test_a_common_term_is_better_than_none(tiny):
    assert nodes(path(tiny, "a", "e")) == ["cluster:a", "fibre:cotton", "cluster:e"]


TELLS = {"features_a": "x", "features_b": "y", "visible": "yes"}


def test_a_confusion_is_the_last_resort(tmp_path):
    rows = [
        {"id": "a", "motifs": "crab", "states": "Goa"},
        {"id": "b", "motifs": "crab;flower"},
        {"id": "c", "motifs": "flower", "states": "Goa"},
        {"id": "d"},
        {"id": "e"},
    ]
    confusions = [{"cluster_a": one, "cluster_b": other, **TELLS} for one, other in ("ac", "ad", "ba")]
    states = [{"state": "Goa", "country": "India"}]
    graph = load_graph(small(tmp_path / "facts", rows, TERMS, confusions=confusions, states=states))
    assert nodes(path(graph, "a", "b")) == ["cluster:a", "motif:crab", "cluster:b"]
    assert nodes(path(graph, "a", "c")) == ["cluster:a", "state:Goa", "cluster:c"]
    assert [step.relation for step in path(graph, "a", "d").steps] == ["confused_with"]
    with pytest.raises(SareeError, match="no path in the graph from 'a' to 'e'"):
        path(graph, "a", "e")


def test_evidence_shared_with_a_third_cluster_is_better_than_a_confusion(tmp_path):
    rows = [{"id": "a", "motifs": "crab"}, {"id": "b", "motifs": "crab;flower"}, {"id": "c", "motifs": "flower"}]
    confusions = [{"cluster_a": "a", "cluster_b": "c", **TELLS}]
    graph = load_graph(small(tmp_path / "facts", rows, TERMS, confusions=confusions))
    assert nodes(path(graph, "a", "c")) == ["cluster:a", "motif:crab", "cluster:b", "motif:flower", "cluster:c"]


def test_every_step_of_a_path_is_an_edge_with_its_sources(real):
    for a, b in (("gadwal", "molakalmuru"), ("rajkot patola", "batik dayak"), ("bandhani", "madurai sungudi")):
        chain = path(real, a, b)
        assert chain.steps[0].start == f"cluster:{chain.a}" and chain.steps[-1].end == f"cluster:{chain.b}"
        for step in chain.steps:
            ends = (step.start, step.end) if step.forward else (step.end, step.start)
            data = real.edges[(*ends, step.relation)]
            assert (step.sources, step.file, step.row) == (data["sources"], data["file"], data["row"])


def test_an_umbrella_is_tied_by_what_its_members_share_rather_than_by_its_state(real):
    relations = [step.relation for step in path(real, "patola", "bandhani_kutch").steps]
    assert relations[0] == "unites"
    assert "located_in" not in relations


def test_a_cluster_has_no_path_to_itself(real):
    with pytest.raises(SareeError, match="'Kanjivaram' and 'kanchipuram' are one cluster, Kanchipuram silk"):
        path(real, "Kanjivaram", "kanchipuram")
    with pytest.raises(SareeError, match="are one cluster"):
        compare(real, "Kanjivaram", "kanchipuram")


def test_show_tells_all_of_a_cluster(real):
    shown = show(real, "kanjivaram")
    assert (shown.id, shown.kind, shown.labels) == ("kanchipuram", "saree", ("kanjivaram",))
    assert shown.places == {"place": ("Kanchipuram",), "state": ("Tamil Nadu",), "country": ("India",)}
    assert shown.groups["parent_group"] == "South Indian bordered silk"
    assert {"korvai", "petni", "yali"} <= {one.name for one in shown.evidence}
    assert {"powerloom kanchipuram", "arani"} <= {one.b for one in shown.differences}
    assert all(one.sources and one.clusters >= 1 and one.rarity > 0 for one in shown.evidence)


def test_show_tells_what_is_not_known(real):
    assert set(show(real, "gopalpur_tussar").not_known) == {
        *("technique", "zari", "motif", "border", "pallu", "layout", "palette")
    }


def test_show_of_an_umbrella_tells_of_how_many_members_a_term_holds(real):
    shown = show(real, "bandhani")
    assert shown.members == ("bandhani_jamnagar", "bandhani_kutch", "bandhej_jodhpur")
    of = {one.name: one.of for one in shown.evidence}
    assert of["bandhani"] == shown.members
    assert of["peacock"] == ("bandhani_kutch",)


def test_show_lists_what_photographs_show_otherwise(real):
    said = {(one.of, one.name): one.value for one in show(real, "patola").attributes}
    assert said["cluster:patola_generic", "blurred_edges"] == "yes"
    assert said["label:patola", "blurred_edges"] == "no"
    assert {of for of, _ in said} == {"cluster:patola_generic", "label:patola"}
    assert "label:kanjivaram" not in {one.of for one in show(real, "kanjivaram").attributes}  # they agree


def test_compare_by_hand(tiny):
    compared = compare(tiny, "a", "d")
    assert [one.name for one in compared.shared] == ["cotton", "flower"]
    assert [one.name for one in compared.only_a] == ["crab"]
    assert [one.name for one in compared.only_b] == ["kuttu"]
    assert "technique" in compared.not_known_a and "technique" not in compared.not_known_b
    assert compared.shared[1].of == ("a", "d")


def test_compare_is_the_same_the_other_way_round(real):
    one, other = compare(real, "gadwal", "ilkal"), compare(real, "ilkal", "gadwal")
    assert one.score == other.score
    assert [e.node for e in one.only_a] == [e.node for e in other.only_b]
    assert {e.node for e in one.shared} == {e.node for e in other.shared}
    assert [(c.name, c.a, c.b) for c in one.contrasts] == [(c.name, c.b, c.a) for c in other.contrasts]


def test_compare_names_only_the_narrowest_shared_terms(real):
    shared = {one.name for one in compare(real, "gadwal", "molakalmuru").shared}
    assert "kuttu interlock" in shared
    assert not {"three-shuttle interlocked border", "interlocked weft", "weaving"} & shared


def test_compare_turns_the_features_of_a_confusion_to_the_side_that_was_asked(real):
    (forth,) = compare(real, "banarasi", "kanchipuram").differences
    (back,) = compare(real, "kanchipuram", "banarasi").differences
    assert forth.features_a == back.features_b
    assert "jaal" in forth.features_a
    assert (forth.visible, forth.a, forth.b) == ("yes", "banarasi_brocade", "kanchipuram")


def test_compare_finds_the_confusions_of_an_umbrellas_members(real):
    (found,) = compare(real, "bandhani", "leheriya").differences
    assert (found.a, found.b) == ("bandhani_kutch", "leheriya")


def test_a_clear_contrast_is_yes_against_no_and_unknown_is_none(real):
    contrasts = {one.name: one for one in compare(real, "bandhani_kutch", "kanchipuram").contrasts}
    assert contrasts["resist_dots"].clear
    assert (contrasts["resist_dots"].a, contrasts["resist_dots"].b) == ("yes", "no")
    known = {one.name for one in show(real, "kanchipuram").attributes}
    assert set(contrasts) <= known


def test_neighbours_weigh_rare_evidence_more(tiny):
    found = neighbours(tiny, "a")
    assert [one.id for one in found[:2]] == [
        "b",
        "d",
    ]  # the crab of two, before the flower of two and another technique
    assert all(0 < one.score <= 1 for one in found)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert "a" not in {one.id for one in found}


def test_neighbours_score_by_hand(tiny):
    # log(6/2) for crab and flower, log(6/5) for cotton: shared crab + cotton, over crab + cotton + flower
    rare, common = 1.0986122887, 0.1823215568
    assert neighbours(tiny, "b", 1)[0].score == pytest.approx((rare + common) / (2 * rare + common))


def test_neighbours_leave_umbrellas_and_their_members_out(real):
    found = {one.id for one in neighbours(real, "bandhani", 99)}
    assert not {"bandhani_kutch", "bandhani_generic", "patola_generic"} & found
    assert "madurai_sungudi" in found


def test_using_takes_narrower_terms_with_it(tiny):
    found = using(tiny, "interlock")
    assert [(one.id, [e.name for e in one.terms]) for one in found.clusters] == [("c", ["korvai"]), ("d", ["kuttu"])]
    assert found.narrower == ("korvai", "kuttu")
    assert [one.id for one in using(tiny, "korvai").clusters] == ["c"]


def test_an_umbrella_uses_what_all_its_members_use(real):
    assert {one.id: one.labels for one in using(real, "ikat").clusters}["patola_generic"] == ("patola",)
    assert "patola_generic" not in {one.id for one in using(real, "double ikat").clusters}


def test_answers_are_json_and_the_same_every_time(real):
    for ask in (
        lambda: asdict(show(real, "gadwal")),
        lambda: asdict(path(real, "gadwal", "ilkal")),
        lambda: asdict(compare(real, "gadwal", "ilkal")),
        lambda: [asdict(one) for one in neighbours(real, "gadwal", 3)],
        lambda: asdict(using(real, "ikat")),
    ):
        assert json.dumps(ask()) == json.dumps(ask())


def test_terms_that_tell_some_clusters_from_others_are_those_that_some_but_not_all_use():
    graph = load_graph()
    some = {"paithani", "patola_generic", "patan_patola", "bandhani_generic"}
    found = telling(graph, [f"cluster:{name}" for name in sorted(some)])
    users = {term: some & {user.id for user in using(graph, term).clusters} for term in found}
    assert found and all(users.values()) and not any(users[term] == some for term in found)
    assert users["technique:double ikat"] == {"patan_patola"}
    silk = using(graph, "fibre:silk")
    assert ("fibre:silk" in found) == (0 < len(some & {user.id for user in silk.clusters}) < len(some))
    assert telling(graph, []) == () and telling(graph, ["cluster:paithani"]) == ()
