"""The graph says what the facts say, where each edge was read, and nothing that is not known."""

from __future__ import annotations

import csv
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pytest
from test_kg_schema import plant, rows_of, small, write

from kg import graph_hash, load_graph, resolve, schema
from kg.graph import broader_terms, closed_terms, clusters, counts, members, narrower_terms, rarity, resolve_term
from saree_vae.errors import SareeError

TERMS = [("technique", "weaving", ""), ("technique", "ikat", ""), ("technique", "double ikat", "ikat")]


@pytest.fixture(scope="module")
def graph() -> nx.MultiDiGraph:
    return load_graph()


def records(file: str) -> list[tuple[int, dict[str, str]]]:
    with (schema.FACTS / file).open(newline="", encoding="utf-8") as opened:
        return list(enumerate(csv.DictReader(opened), 2))


def test_every_fact_is_an_edge_with_its_provenance(graph):
    for row, record in records("clusters.csv"):
        for column, (kind, edge) in schema.TERM_COLUMNS.items():
            for term in filter(None, record[column].split(";")):
                data = graph.edges[f"cluster:{record['id']}", f"{kind}:{term}", edge]
                assert data["sources"] == tuple(record["sources"].split(";"))
                assert (data["confidence"], data["file"], data["row"]) == (record["confidence"], "clusters.csv", row)


def test_every_edge_tells_where_it_comes_from_and_points_to_that_row(graph):
    rows = {file: dict(records(file)) for file in schema.FILES}
    for a, b, key, data in graph.edges(keys=True, data=True):
        assert key == data["kind"] in schema.EDGE_KINDS
        assert data["sources"] and all(data["sources"])
        assert data["confidence"] in schema.CONFIDENCE
        cells = " ".join(rows[data["file"]][data["row"]].values())
        for node in (a, b):
            name = node.partition(":")[2]
            assert name in cells or name.replace(" ", "_") in cells


def test_every_node_has_a_kind_and_a_name(graph):
    for node, data in graph.nodes(data=True):
        assert data["kind"] in schema.NODE_KINDS
        assert node.startswith(f"{data['kind']}:")
        assert data["name"]


def test_the_graph_has_as_many_edges_as_the_facts_have_statements(graph):
    kinds = [kind for *_, kind in graph.edges(keys=True)]
    answers = sum(record["value"] != "unknown" for _, record in records("visual_attributes.csv"))
    assert kinds.count("has_attribute") == answers
    assert kinds.count("confused_with") == len(records("confusions.csv"))
    assert kinds.count("broader") == sum(bool(record["broader"]) for _, record in records("vocabulary.csv"))
    assert kinds.count("member_of") == 3 * len(records("groups.csv"))


def test_what_is_not_known_has_no_edge(graph):
    unknown = [r for _, r in records("visual_attributes.csv") if r["value"] == "unknown"]
    assert unknown
    for record in unknown:
        for kind in ("cluster", "label"):
            assert not graph.has_edge(f"{kind}:{record['subject']}", f"attribute:{record['attribute']}")
    silent = [record["id"] for _, record in records("clusters.csv") if not record["zari"]]
    assert silent
    for cluster in silent:
        assert not [b for b in graph[f"cluster:{cluster}"] if b.startswith("zari:")]


def test_a_known_no_is_an_edge_that_says_no(graph):
    assert graph.edges["cluster:kanchipuram", "attribute:resist_dots", "has_attribute"]["value"] == "no"
    assert "zari:none" in graph["cluster:baluchari"]


def test_umbrellas_have_members_and_no_evidence(graph):
    umbrellas = [node for node, data in graph.nodes(data=True) if data.get("row_kind") == "umbrella"]
    assert len(umbrellas) == 4
    for umbrella in umbrellas:
        assert closed_terms(graph, umbrella) == {}
        assert umbrella not in clusters(graph)
        assert set(members(graph, umbrella)) <= set(clusters(graph))
    assert members(graph, "cluster:patola_generic") == ["cluster:patan_patola", "cluster:rajkot_patola"]
    assert members(graph, "cluster:gadwal") == ["cluster:gadwal"]


def test_photographs_graded_apart_from_their_craft_stay_apart(graph):
    said = graph.get_edge_data("label:patola", "attribute:blurred_edges")["has_attribute"]["value"]
    known = graph.get_edge_data("cluster:patola_generic", "attribute:blurred_edges")["has_attribute"]["value"]
    assert (said, known) == ("no", "yes")


def test_facts_cannot_be_added_to_a_loaded_graph(graph):
    with pytest.raises(nx.NetworkXError, match="Frozen"):
        graph.add_edge("cluster:gadwal", "technique:ikat")
    copy = graph.copy()
    copy.add_edge("cluster:gadwal", "technique:ikat", "uses_technique")
    assert not graph.has_edge("cluster:gadwal", "technique:ikat")


def test_broader_and_narrower_close_over_several_steps(graph):
    assert broader_terms(graph, "technique:korvai") == [
        *("technique:korvai", "technique:three-shuttle interlocked border"),
        *("technique:interlocked weft", "technique:weaving"),
    ]
    assert "technique:korvai" in narrower_terms(graph, "technique:weaving")
    assert "technique:ikat" not in narrower_terms(graph, "technique:weaving")


def test_rarity_by_hand(tmp_path):
    rows = [
        {"id": "a", "techniques": "double ikat"},
        {"id": "b", "techniques": "ikat;weaving"},
        {"id": "c", "techniques": "weaving"},
        {"id": "u", "kind": "umbrella", "members": "a;b"},
    ]
    graph = load_graph(small(tmp_path / "facts", rows, TERMS))
    assert closed_terms(graph, "cluster:a") == {"technique:double ikat": 0, "technique:ikat": 1}
    assert counts(graph) == {"technique:double ikat": 1, "technique:ikat": 2, "technique:weaving": 2}
    assert rarity(graph)["technique:double ikat"] == pytest.approx(1.3862943611)  # log(4 / 1)
    assert rarity(graph)["technique:ikat"] == pytest.approx(0.6931471806)  # log(4 / 2)


def test_a_mistake_stops_loading_with_one_sentence(tmp_path):
    facts = Path(shutil.copytree(schema.FACTS, tmp_path / "facts"))
    row = plant(facts, "clusters.csv", "gadwal", "techniques", "korvay;petny")
    with pytest.raises(SareeError) as caught:
        load_graph(facts)
    assert str(caught.value).startswith(f"clusters.csv, row {row}, column 'techniques': 'korvay' is not a technique")
    assert str(caught.value).endswith("(and 1 more; see `saree-vae kg validate`)")


def test_the_hash_tells_content_apart_and_not_the_order_of_rows(graph, tmp_path):
    facts = Path(shutil.copytree(schema.FACTS, tmp_path / "facts"))
    for path in facts.iterdir():
        header, *rows = rows_of(path)
        random.Random(0).shuffle(rows)
        write(path, [header, *rows])
    shuffled = load_graph(facts)
    assert graph_hash(shuffled) == graph_hash(graph)
    assert shuffled.edges["cluster:gadwal", "technique:kuttu interlock", "uses_technique"]["row"] != 5
    for key, column, value in (("gadwal", "note", "seen"), ("gadwal", "sources", "me"), ("ulos", "confidence", "low")):
        plant(facts, "clusters.csv", key, column, value)
        changed = graph_hash(load_graph(facts))
        assert changed != graph_hash(shuffled)
        shuffled = load_graph(facts)


@pytest.mark.parametrize(
    ("name", "cluster"),
    [
        ("kanchipuram", "kanchipuram"),
        ("cluster:kanchipuram", "kanchipuram"),
        ("Kanchipuram silk", "kanchipuram"),
        ("KANJIVARAM", "kanchipuram"),
        ("kancheepuram-silk", "kanchipuram"),
        ("Kāñjīvaram", "kanchipuram"),
        ("kanji varam", "kanchipuram"),
        ("Kancipuram", "kanchipuram"),
        ("paithanee", "paithani"),
        ("Ajrakh", "ajrakh_kutch"),
        ("bandhani", "bandhani_generic"),
        ("Bandhej", "bandhani_generic"),
        ("patola", "patola_generic"),
        ("batik_nitik_karawitan", "batik_nitik"),
        ("Kasavu", "kasavu_kerala"),
    ],
)
def test_a_cluster_goes_by_many_names(graph, name, cluster):
    assert resolve(graph, name) == f"cluster:{cluster}"


def test_every_label_and_name_of_the_facts_resolves(graph):
    for _, record in records("labels.csv"):
        if record["cluster"]:
            assert resolve(graph, record["label"]) == f"cluster:{record['cluster']}"
    for _, record in records("clusters.csv"):
        for name in (record["id"], record["name"], *filter(None, record["alt_names"].split(";"))):
            assert resolve(graph, name) == f"cluster:{record['id']}"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("paithni", "no cluster is called 'paithni'; the nearest are Paithani, "),
        ("pattern_solid", "no cluster is called 'pattern_solid'"),
        ("", "no cluster is called ''"),
        ("qqqq", "no cluster is called 'qqqq'"),
    ],
)
def test_an_unknown_name_is_an_error_with_the_nearest(graph, name, says):
    with pytest.raises(SareeError) as caught:
        resolve(graph, name)
    assert str(caught.value).startswith(says)


def test_a_name_of_several_things_is_an_error_that_lists_them(tmp_path):
    rows = [{"id": "a", "name": "Ajrakh (Kutch)"}, {"id": "b", "name": "Ajrakh (Sindh)"}]
    graph = load_graph(small(tmp_path / "facts", rows, [("motif", "check", ""), ("layout", "check", "")]))
    with pytest.raises(SareeError, match=r"more than one cluster: Ajrakh \(Kutch\) \(cluster:a\), Ajrakh \(Sindh\)"):
        resolve(graph, "ajrakh")
    with pytest.raises(SareeError, match="more than one term: check"):
        resolve_term(graph, "check")
    assert resolve_term(graph, "layout:check") == "layout:check"


def test_a_term_goes_by_its_other_names(graph):
    assert resolve_term(graph, "paisley") == resolve_term(graph, "Mango") == "motif:mango (ambi/paisley)"
    assert resolve_term(graph, "tie dye") == "technique:tie-dye"


def test_the_data_card_counts_right(graph):
    card = (Path(__file__).parent.parent / "data_cards" / "kg.md").read_text(encoding="utf-8")
    told = 0
    for line in card.splitlines():
        files = re.findall(r"`(\w+\.csv)`", line.partition("|")[2].partition("|")[0])
        if files:
            numbers = [int(number) for number in line.split("|")[2].split(",")]
            assert numbers == [len(records(file)) for file in files]
            told += len(files)
    assert told == len(schema.FILES)
    assert f"The graph has {len(graph)} nodes and {graph.number_of_edges()} edges." in card


def test_loading_is_quick_and_needs_nothing_heavy():
    code = (
        "import sys, time, networkx, kg.graph as g; start = time.perf_counter(); g.load_graph();"
        "print(time.perf_counter() - start, {'torch', 'pandas', 'numpy', 'scipy'} & set(sys.modules))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent
    ).stdout
    seconds, heavy = out.strip().split(" ", 1)
    assert heavy == "set()"
    assert float(seconds) < 0.3 * 3  # a busy machine may be slow; alone it takes 0.1
