"""What is written for other tools reads back as the same graph, and the picture needs nothing else."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path

import networkx as nx
import pytest
from test_kg_schema import plant, small

from kg import graph_hash, load_graph
from kg.export import jsonld, predicted, write
from saree_vae.errors import SareeError


@pytest.fixture(scope="module")
def graph() -> nx.MultiDiGraph:
    return load_graph()


@pytest.fixture(scope="module")
def linked(graph) -> dict:
    return json.loads(jsonld(graph))


def test_graphml_reads_back_as_the_same_graph(graph, tmp_path):
    read = nx.read_graphml(write(graph, tmp_path / "kg.graphml"), force_multigraph=True)
    assert set(read) == set(graph)
    assert set(read.edges(keys=True)) == set(graph.edges(keys=True))
    for a, b, key, data in graph.edges(keys=True, data=True):
        again = read.edges[a, b, key]
        assert again["sources"].split("; ") == "; ".join(data["sources"]).split("; ")
        assert {name: again[name] for name in again if name != "sources"} == {
            name: value for name, value in data.items() if name != "sources"
        }
    assert read.nodes["cluster:kanchipuram"]["latitude"] == 12.8342


def by_id(linked: dict) -> dict[str, dict]:
    return {node["@id"]: node for node in linked["@graph"]}


def test_jsonld_has_a_context_for_every_prefix_it_uses(linked):
    used = {key.partition(":")[0] for node in linked["@graph"] for key in node if not key.startswith("@")}
    used |= {kind.partition(":")[0] for node in linked["@graph"] for kind in [node["@type"]] if isinstance(kind, str)}
    used |= {
        kind.partition(":")[0] for node in linked["@graph"] if isinstance(node["@type"], list) for kind in node["@type"]
    }
    assert {"crm", "skos", "rdfs", "geo", "kg"} <= used <= set(linked["@context"])
    assert all(address.startswith(("http://", "urn:")) for address in linked["@context"].values())


def test_jsonld_ids_are_unique_and_every_reference_to_a_node_of_ours_is_there(linked):
    ids = [node["@id"] for node in linked["@graph"]]
    assert len(ids) == len(set(ids))
    text = json.dumps(linked["@graph"])
    assert set(re.findall(r'"@id": "(urn:saree-vae:kg:[^"]+)"', text)) <= set(ids)
    assert not re.search(r'"@id": "[^"]*[ <>]', text)


def test_jsonld_says_broader_terms_and_other_names_in_skos(linked):
    korvai = by_id(linked)["urn:saree-vae:kg:technique:korvai"]
    assert "skos:Concept" in korvai["@type"]
    assert korvai["skos:prefLabel"] == "korvai"
    assert korvai["skos:broader"] == [{"@id": "urn:saree-vae:kg:technique:three-shuttle%20interlocked%20border"}]
    assert korvai["skos:inScheme"] == {"@id": "urn:saree-vae:kg:vocabulary"}
    assert by_id(linked)["urn:saree-vae:kg:cluster:kanchipuram"]["skos:altLabel"][0] == "Kanjivaram"


def test_jsonld_matches_aat_only_as_far_as_it_was_checked(linked, tmp_path):
    nodes = by_id(linked)
    assert nodes["urn:saree-vae:kg:technique:ikat"]["skos:closeMatch"] == [{"@id": "aat:300249861"}]
    assert nodes["urn:saree-vae:kg:motif:peacock"]["skos:relatedMatch"] == [{"@id": "aat:300250082"}]
    assert [one["@id"] for one in nodes["urn:saree-vae:kg:fibre:wool"]["rdfs:seeAlso"]] == [
        *("aat:300014074", "aat:300243430")
    ]
    facts = small(tmp_path / "facts", [{"id": "a"}], [("technique", "ikat", "")])
    plant(facts, "vocabulary.csv", "technique/ikat", "aat", "aat:300249861")
    plant(facts, "vocabulary.csv", "technique/ikat", "aat_match", "exact")
    (ikat,) = (node for node in json.loads(jsonld(load_graph(facts)))["@graph"] if node["@id"].endswith(":ikat"))
    assert ikat["skos:exactMatch"] == [{"@id": "aat:300249861"}]


def test_jsonld_states_every_edge_with_its_sources(graph, linked):
    statements = [node for node in linked["@graph"] if node["@type"] == "crm:E13_Attribute_Assignment"]
    assert len(statements) == graph.number_of_edges()
    for statement in statements:
        assert statement["crm:P70i_is_documented_in"]
        assert statement["kg:confidence"] and statement["kg:file"] and statement["kg:row"] >= 2


def test_jsonld_is_one_plain_graph_that_carries_the_hash(graph, linked):
    assert set(linked) == {"@context", "@graph"}
    assert linked["@graph"][0]["@type"] == "skos:ConceptScheme"
    assert linked["@graph"][0]["kg:graph_hash"] == graph_hash(graph)


def test_jsonld_keeps_a_no_apart_from_a_yes(linked):
    kanchipuram = by_id(linked)["urn:saree-vae:kg:cluster:kanchipuram"]
    has, lacks = (
        {one["@id"].rpartition(":")[2] for one in kanchipuram[name]}
        for name in ("kg:has_attribute", "kg:lacks_attribute")
    )
    assert "border_contrast" in has - lacks
    assert lacks == {"resist_dots", "blurred_edges"}
    statement = by_id(linked)["urn:saree-vae:kg:statement/cluster:kanchipuram/has_attribute/attribute:resist_dots"]
    assert statement["crm:P177_assigned_property_of_type"] == {"@id": "kg:lacks_attribute"}


def test_jsonld_uses_cidoc_crm_for_places_and_materials(linked):
    nodes = by_id(linked)
    assert nodes["urn:saree-vae:kg:fibre:cotton"]["@type"] == ["crm:E57_Material", "skos:Concept"]
    state = nodes["urn:saree-vae:kg:state:Tamil%20Nadu"]
    assert state["@type"] == ["crm:E53_Place"]
    assert state["crm:P89_falls_within"] == [{"@id": "urn:saree-vae:kg:country:India"}]


MODEL, WHEN = "3f9c" * 16, datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=timezone.utc)
ANSWERS = (  # name of the picture, its hash, what it was taken for, how probably
    ('shop/"a" ñ.jpg', "ab" * 32, "cluster:lungi", 0.93),
    ("b.jpg", "cd" * 32, "parent_group:central Javanese court batik", 0.75),
)


@pytest.fixture(scope="module")
def answers(graph) -> dict:
    return json.loads(predicted(graph, ANSWERS, model=MODEL, when=WHEN))


def test_a_prediction_is_a_statement_with_probability_model_graph_picture_and_time(graph, answers):
    assert set(answers) == {"@context", "@graph"}
    for statement, (name, sha256, node, probability) in zip(answers["@graph"], ANSWERS, strict=True):
        assert statement["@type"][0] == "crm:E13_Attribute_Assignment"
        pictured = statement["crm:P140_assigned_attribute_to"]
        assert (pictured["@id"], pictured["rdfs:label"]) == (f"urn:sha256:{sha256}", name)
        assert statement["crm:P177_assigned_property_of_type"] == {"@id": "crm:P2_has_type"}
        assert statement["crm:P141_assigned"]["@id"].endswith(node.replace(" ", "%20"))
        assert statement["kg:probability"] == probability
        assert statement["prov:wasAssociatedWith"]["@id"].endswith(f"/{MODEL}")
        assert statement["prov:endedAtTime"]["@value"] == "2026-02-03T04:05:06+00:00"
        assert statement["kg:graph_hash"] == graph_hash(graph)


def test_what_is_predicted_are_things_of_the_facts_and_no_statement_is_one_of_them(linked, answers):
    facts = {node["@id"] for node in linked["@graph"]}
    assert {statement["crm:P141_assigned"]["@id"] for statement in answers["@graph"]} <= facts
    assert facts.isdisjoint(statement["@id"] for statement in answers["@graph"])


def test_statements_of_predictions_are_linked_data(answers):
    ids = [statement["@id"] for statement in answers["@graph"]]
    assert len(set(ids)) == len(ids) and not any(re.search(r'[ <>"]', one) for one in ids)
    names = set(re.findall(r'"(\w+):\w+": ', json.dumps(answers["@graph"]))) | {
        kind.partition(":")[0] for statement in answers["@graph"] for kind in statement["@type"]
    }
    assert names <= set(answers["@context"])


def test_another_model_picture_answer_or_graph_makes_another_statement(graph, tmp_path):
    def name(graph, sha256="ab" * 32, node="cluster:lungi", model=MODEL) -> str:
        (statement,) = json.loads(predicted(graph, [("a", sha256, node, 0.5)], model=model))["@graph"]
        return statement["@id"]

    other = load_graph(small(tmp_path / "facts", [{"id": "lungi"}]))
    found = [name(graph), name(graph, sha256="cd" * 32), name(graph, node="cluster:ulos"), name(graph, model="81" * 32)]
    assert len({*found, name(other)}) == 5 and name(graph) == found[0]


def test_no_prediction_is_a_document_that_states_nothing(graph):
    assert json.loads(predicted(graph, [], model=MODEL))["@graph"] == []


def test_a_prediction_is_made_now_if_no_time_is_said(graph):
    before = datetime.now(timezone.utc).replace(microsecond=0)
    (statement,) = json.loads(predicted(graph, ANSWERS[:1], model=MODEL))["@graph"]
    at = datetime.fromisoformat(statement["prov:endedAtTime"]["@value"])
    assert before <= at <= datetime.now(timezone.utc)


class Page(HTMLParser):
    """Tags with what they load, and the text of scripts."""

    def __init__(self, text: str):
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = [""]
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "action", "data")]

    def handle_data(self, data):
        if self.tags[-1] == "script":
            self.scripts.append(data)


def test_the_picture_holds_the_whole_graph_and_loads_nothing(graph, tmp_path):
    text = write(graph, tmp_path / "kg.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.loads == [] and "link" not in page.tags and page.tags.count("script") == 2
    facts = json.loads(page.scripts[0])
    assert [node["i"] for node in facts["nodes"]] == list(graph)
    assert len(facts["edges"]) == graph.number_of_edges()
    for a, b, kind, *_ in facts["edges"]:
        assert graph.has_edge(facts["nodes"][a]["i"], facts["nodes"][b]["i"], kind)
    code = page.scripts[1]
    assert not re.search(r"fetch\(|XMLHttpRequest|import |innerHTML|url\(|@import", code + text.split("<script")[0])


def test_every_kind_has_a_colour_in_the_picture(graph, tmp_path):
    text = write(graph, tmp_path / "kg.html").read_text(encoding="utf-8")
    coloured = set(re.findall(r"(\w+): \"#", re.search(r"const COLOURS = \{.*?\};", text, re.DOTALL)[0]))
    assert {data["kind"] for _, data in graph.nodes(data=True)} <= coloured


def test_no_fact_can_break_out_of_the_picture(tmp_path):
    rows = [{"id": "a", "name": "</script><script>alert(1)</script>", "note": "<!-- <b>"}]
    text = write(load_graph(small(tmp_path / "facts", rows)), tmp_path / "kg.html").read_text()
    page = Page(text)
    assert page.tags.count("script") == 2
    assert json.loads(page.scripts[0])["nodes"][1]["n"] == rows[0]["name"]


@pytest.mark.parametrize("suffix", [".graphml", ".jsonld", ".html"])
def test_the_same_facts_are_the_same_file(tmp_path, suffix):
    facts = small(tmp_path / "facts", [{"id": "a", "motifs": "dot"}], [("motif", "dot", "")])
    one, two = (write(load_graph(facts), tmp_path / f"{name}{suffix}") for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_another_ending_is_an_error_that_names_the_right_ones(graph, tmp_path):
    with pytest.raises(SareeError, match=r"must end in one of \.graphml, \.jsonld, \.html"):
        write(graph, tmp_path / "kg.rdf")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_leaves_what_was_there(graph, tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SareeError, match="could not be written"):
        write(graph, tmp_path / "file" / "kg.html")
    assert (tmp_path / "file").read_text() == "mine"
