"""The graph for other tools: GraphML, JSON-LD with CIDOC-CRM and SKOS names, and a picture for the browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote

import networkx as nx

from saree_vae.errors import SareeError
from saree_vae.files import atomic_write

from .graph import graph_hash
from .schema import EDGE_KINDS, GROUP_LEVELS, NODE_KINDS, TERM_KINDS


def write(graph: nx.MultiDiGraph, path: str | Path) -> Path:
    """Write the graph in the format that the name ends in: .graphml, .jsonld or .html.

    Raises:
        SareeError: another ending, or the file cannot be written; a file that was there is then as it was.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise SareeError(f"{path}: the name must end in one of {', '.join(FORMATS)}")
    text = FORMATS[path.suffix](graph)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def graphml(graph: nx.MultiDiGraph) -> str:
    """GraphML as networkx reads it back, also with Gephi, yEd or igraph; several values are joined by "; "."""
    flat = nx.MultiDiGraph()
    for node, data in graph.nodes(data=True):
        flat.add_node(node, **_flat(data))
    for a, b, key, data in graph.edges(keys=True, data=True):
        flat.add_edge(a, b, key, **_flat(data))
    return "\n".join(nx.generate_graphml(flat)) + "\n"


def _flat(data: dict) -> dict:
    return {name: "; ".join(value) if isinstance(value, tuple) else value for name, value in data.items()}


# --- JSON-LD ---

BASE = "urn:saree-vae:kg:"
# What a node is. A craft cluster is a type of object, and what it is known by are types too (E55), or materials (E57).
_TYPES = {
    **{kind: ["crm:E55_Type", "skos:Concept"] for kind in (*TERM_KINDS, *GROUP_LEVELS, "cluster", "attribute")},
    **{kind: ["crm:E57_Material", "skos:Concept"] for kind in ("fibre", "zari")},
    **{kind: ["crm:E53_Place"] for kind in ("place", "state", "country")},
    "label": ["crm:E41_Appellation"],
    "lookalike": ["crm:E55_Type"],
}
# Edges that CIDOC-CRM or SKOS has a name for, by kind; the others have names of ours. CIDOC-CRM relates places to
# places (P89), but has nothing between a type and the place it is made at.
_NAMES = {"broader": "skos:broader", "member_of": "skos:broader", "unites": "skos:narrower"}
_MATCH = {"exact": "skos:exactMatch", "close": "skos:closeMatch", "related": "skos:relatedMatch"}
_CONTEXT = {
    "crm": "http://www.cidoc-crm.org/cidoc-crm/",
    "skos": "http://www.w3.org/2004/02/skos/core#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "aat": "http://vocab.getty.edu/aat/",
    "geo": "http://www.w3.org/2003/01/geo/wgs84_pos#",
    "kg": BASE,
}


def jsonld(graph: nx.MultiDiGraph) -> str:
    """JSON-LD 1.1: nodes with their edges, and every edge once more as a statement that tells where it was read.

    A statement is a crm:E13_Attribute_Assignment: P140 what it is about, P177 the property, P141 what it says, P70i the
    sources, and our confidence, file, row and (of an attribute) value. An attribute with the value "no" is an edge of
    its own kind, kg:lacks_attribute. AAT concepts are skos:closeMatch where only their name was compared,
    skos:relatedMatch where they are the living animal, and rdfs:seeAlso where several carry the name.
    """
    nodes = [_jsonld_node(graph, node) for node in graph]
    scheme = {"@id": f"{BASE}vocabulary", "@type": "skos:ConceptScheme", "skos:prefLabel": "Terms of textile crafts"}
    scheme["kg:graph_hash"] = graph_hash(graph)
    statements = [_statement(*edge) for edge in graph.edges(keys=True, data=True)]
    # No "@id" beside "@graph": that would name a graph apart, which most tools do not look into.
    document = {"@context": _CONTEXT, "@graph": [scheme, *nodes, *statements]}
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _jsonld_node(graph: nx.MultiDiGraph, node: str) -> dict:
    data = graph.nodes[node]
    found: dict[str, object] = {"@id": _iri(node), "@type": _TYPES[data["kind"]], "kg:kind": data["kind"]}
    name = "skos:prefLabel" if "skos:Concept" in _TYPES[data["kind"]] else "rdfs:label"
    found |= {name: data["name"], "skos:altLabel": list(data.get("alt_names", ()))}
    found |= {"skos:definition": data.get("definition", ""), "skos:note": data.get("note", "")}
    if data["kind"] in TERM_KINDS:
        found["skos:inScheme"] = {"@id": f"{BASE}vocabulary"}
        match = _MATCH.get(data.get("aat_match", ""), "rdfs:seeAlso")
        found[match] = [{"@id": concept} for concept in data.get("aat", ())]
    if "latitude" in data:
        found |= {"geo:lat": data["latitude"], "geo:long": data["longitude"]}
    for _, b, kind, edge in graph.out_edges(node, keys=True, data=True):
        found.setdefault(_property(node, kind, edge), []).append({"@id": _iri(b)})
    return {key: value for key, value in found.items() if value not in ("", [])}


def _statement(a: str, b: str, kind: str, data: dict) -> dict:
    more = ("value", "basis", "features_a", "features_b", "visible", "visible_note")
    return {
        "@id": f"{BASE}statement/{quote(f'{a}/{kind}/{b}', safe='/:')}",
        "@type": "crm:E13_Attribute_Assignment",
        "crm:P140_assigned_attribute_to": {"@id": _iri(a)},
        "crm:P177_assigned_property_of_type": {"@id": _property(a, kind, data)},
        "crm:P141_assigned": {"@id": _iri(b)},
        "crm:P70i_is_documented_in": [_source(source) for source in data["sources"]],
        **{f"kg:{name}": data[name] for name in ("confidence", "file", "row")},
        **{f"kg:{name}": data[name] for name in more if data.get(name)},
    }


def predicted(
    graph: nx.MultiDiGraph,
    statements: Iterable[tuple[str, str, str, float]],
    *,
    model: str,
    when: datetime | None = None,
) -> str:
    """Predictions as JSON-LD, apart from the facts: each a statement with its probability, model, graph and picture.

    As in `jsonld` a statement is a crm:E13_Attribute_Assignment, here of a type (P2) to what is pictured; who made it
    is the model (prov:wasAssociatedWith), as SILKNOW keeps its predictions.

    Args:
        statements: (name of the picture, SHA-256 of its file, node of a cluster or group, probability).
        model: fingerprint; when: now, if not said.
    """
    at = (when or datetime.now(timezone.utc)).isoformat(timespec="seconds")
    digest = graph_hash(graph)
    found = [
        {
            "@id": f"{BASE}prediction/{sha256}/{model[:16]}/{digest[:16]}/{quote(node, safe=':')}",
            "@type": ["crm:E13_Attribute_Assignment", "prov:Activity"],
            "crm:P140_assigned_attribute_to": {
                "@id": f"urn:sha256:{sha256}",
                "@type": "crm:E36_Visual_Item",
                "rdfs:label": name,
            },
            "crm:P177_assigned_property_of_type": {"@id": "crm:P2_has_type"},
            "crm:P141_assigned": {"@id": _iri(node)},
            "kg:probability": probability,
            "prov:wasAssociatedWith": {"@id": f"{BASE}model/{model}", "@type": "prov:SoftwareAgent"},
            "prov:endedAtTime": {"@value": at, "@type": "http://www.w3.org/2001/XMLSchema#dateTime"},
            "kg:graph_hash": digest,
        }
        for name, sha256, node, probability in statements
    ]
    context = _CONTEXT | {"prov": "http://www.w3.org/ns/prov#"}
    return json.dumps({"@context": context, "@graph": found}, ensure_ascii=False, indent=1) + "\n"


def _iri(node: str) -> str:
    return BASE + quote(node, safe=":")


def _property(node: str, kind: str, data: dict) -> str:
    if data.get("value") == "no":
        return "kg:lacks_attribute"
    within = kind == "located_in" and not node.startswith("cluster:")
    return "crm:P89_falls_within" if within else _NAMES.get(kind, f"kg:{kind}")


def _source(source: str) -> dict | str:
    is_address = source.startswith(("http://", "https://")) and " " not in source
    return {"@id": source} if is_address else source


# --- a picture ---


def html(graph: nx.MultiDiGraph) -> str:
    """One page that needs nothing else: search, click for neighbours and sources, kinds to show or hide."""
    index = {node: at for at, node in enumerate(graph)}
    nodes = [
        {"n": data["name"], "k": data["kind"], "i": node, "a": list(data.get("alt_names", ())), "d": _about(data)}
        for node, data in graph.nodes(data=True)
    ]
    sources: dict[tuple[str, ...], int] = {}
    edges = [
        [
            *(index[a], index[b], kind),
            data.get("value", ""),
            data["confidence"],
            sources.setdefault(data["sources"], len(sources)),
            f"{data['file']}, row {data['row']}",
        ]
        for a, b, kind, data in graph.edges(keys=True, data=True)
    ]
    facts = {"nodes": nodes, "edges": edges, "sources": list(sources), "kinds": NODE_KINDS, "relations": EDGE_KINDS}
    text = json.dumps(facts, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")  # never ends a <script>
    return (Path(__file__).parent / "picture.html").read_text(encoding="utf-8").replace("/* FACTS */", text)


def _about(data: dict) -> str:
    parts = [data.get(name, "") for name in ("definition", "origin_period", "note")]
    return " · ".join(part for part in parts if part)


FORMATS: dict[str, Callable[[nx.MultiDiGraph], str]] = {".graphml": graphml, ".jsonld": jsonld, ".html": html}
