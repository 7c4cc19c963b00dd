"""The facts as one graph of typed nodes and edges, each edge with where it was read and how sure it is."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import networkx as nx

from saree_vae.errors import SareeError

from .schema import GROUP_LEVELS, TERM_COLUMNS, TERM_KINDS, Facts, Record, mistakes, read, spelled

TERM_EDGES = tuple(edge for _, edge in TERM_COLUMNS.values())


def load_graph(folder: str | Path | None = None) -> nx.MultiDiGraph:
    """Read facts, check them, and join them into a graph that cannot be changed (`graph.copy()` can).

    Nodes are strings such as "cluster:kanchipuram" and "technique:korvai", with `kind` and `name`; `schema.NODE_KINDS`
    and `EDGE_KINDS` list the kinds. An edge's key is its kind; every edge has `kind`, `sources` (a tuple), `confidence`
    (high, medium, low, or convention for our own wording and grouping), and the `file` and `row` it comes from.
    The world is open: what is not known has no edge. "No" is an edge, `has_attribute` with the value "no".

    Args:
        folder: of CSV files as in `schema.FILES`; None is the facts that come with this package.

    Raises:
        SareeError: there is no such folder, or a mistake in it: the first one, and how many more.
    """
    facts = read(folder)
    found = mistakes(facts)
    if found:
        more = f" (and {len(found) - 1} more; see `saree-vae kg validate`)" if len(found) > 1 else ""
        raise SareeError(f"{found[0]}{more}")
    graph = nx.MultiDiGraph()
    for add in (
        _add_vocabulary,
        _add_places,
        _add_clusters,
        _add_groups,
        _add_labels,
        _add_attributes,
        _add_confusions,
    ):
        add(graph, facts)
    return nx.freeze(graph)


def graph_hash(graph: nx.MultiDiGraph) -> str:
    """SHA-256 (hex) of nodes and edges with all they carry, except row numbers: the order of rows does not count."""
    nodes = sorted((node, sorted(data.items())) for node, data in graph.nodes(data=True))
    edges = sorted(
        (a, b, kind, sorted((name, value) for name, value in data.items() if name != "row"))
        for a, b, kind, data in graph.edges(keys=True, data=True)
    )
    return hashlib.sha256(json.dumps([nodes, edges], ensure_ascii=False).encode()).hexdigest()


def resolve(graph: nx.MultiDiGraph, name: str) -> str:
    """The node of the cluster with this id, name, other name or photo label, whatever its case, marks and accents.

    Where no name is written so, the part of a name before its brackets will do ("Ajrakh" for "Ajrakh (Kutch)"), and
    then common spellings of one sound (w for v, ee for i, aa for a, doubled letters, h after a consonant), if only
    one cluster fits.

    Raises:
        SareeError: no cluster, or more than one, is called so; with the nearest names.
    """
    return _resolved(_cluster_names(graph), name, "cluster")


def resolve_term(graph: nx.MultiDiGraph, name: str) -> str:
    """The node of a vocabulary term, found as `resolve` finds clusters; "motif:check" tells kinds apart.

    Raises:
        SareeError: no term, or more than one, is called so; with the nearest names.
    """
    return _resolved(_term_names(graph), name, "term")


def clusters(graph: nx.MultiDiGraph) -> list[str]:
    """Nodes of clusters with evidence of their own, sorted: all but umbrellas."""
    return sorted(
        node for node, data in graph.nodes(data=True) if data["kind"] == "cluster" and data["row_kind"] != "umbrella"
    )


def members(graph: nx.MultiDiGraph, cluster: str) -> list[str]:
    """The clusters that an umbrella unites, sorted; of any other cluster, itself."""
    return sorted(b for _, b, kind in graph.out_edges(cluster, keys=True) if kind == "unites") or [cluster]


def terms_of(graph: nx.MultiDiGraph, cluster: str) -> list[str]:
    """Terms that a cluster's row names, sorted."""
    return sorted(term for _, term, kind in graph.out_edges(cluster, keys=True) if kind in TERM_EDGES)


def broader_terms(graph: nx.MultiDiGraph, term: str) -> list[str]:
    """A term and all that is broader, from the narrowest to the broadest."""
    chain = [term]
    while above := [b for _, b, kind in graph.out_edges(chain[-1], keys=True) if kind == "broader"]:
        chain += above
    return chain


def narrower_terms(graph: nx.MultiDiGraph, term: str) -> list[str]:
    """A term and all that is narrower, sorted."""
    found, todo = set(), [term]
    while todo:
        found.add(todo[-1])
        todo += [a for a, _, kind in graph.in_edges(todo.pop(), keys=True) if kind == "broader"]
    return sorted(found)


def closed_terms(graph: nx.MultiDiGraph, cluster: str) -> dict[str, int]:
    """Terms that hold of a cluster, in sorted order: those its row names (0), and those that are 1, 2, ... broader."""
    steps: dict[str, int] = {}
    for term in terms_of(graph, cluster):
        for step, above in enumerate(broader_terms(graph, term)):
            steps[above] = min(step, steps.get(above, step))
    return dict(sorted(steps.items()))


def counts(graph: nx.MultiDiGraph) -> dict[str, int]:
    """How many clusters have a term or anything narrower, in sorted order; umbrellas and unused terms are left out."""
    found = Counter(term for cluster in clusters(graph) for term in closed_terms(graph, cluster))
    return dict(sorted(found.items()))


def rarity(graph: nx.MultiDiGraph) -> dict[str, float]:
    """How much a term tells: log((1 + N) / n) of `counts` n among N clusters; in nats, above 0.

    The inverse document frequency of Sparck Jones (1972).
    """
    everyone = len(clusters(graph))
    return {term: math.log((1 + everyone) / count) for term, count in counts(graph).items()}


# --- from rows to nodes and edges ---


def _node(graph: nx.MultiDiGraph, kind: str, name: str, /, **more: object) -> str:
    node = f"{kind}:{name}"
    graph.add_node(node, kind=kind, **{"name": name, **more})
    return node


def _edge(graph: nx.MultiDiGraph, a: str, kind: str, b: str, record: Record, **more: object) -> None:
    graph.add_edge(
        *(a, b, kind),
        kind=kind,
        sources=record.values("sources"),
        confidence=record["confidence"],
        file=record.file,
        row=record.row,
        **more,
    )


def _add_vocabulary(graph: nx.MultiDiGraph, facts: Facts) -> None:
    for record in facts.rows["vocabulary.csv"]:
        about = {column: record[column] for column in ("definition", "aat_match") if record[column]}
        many = {column: record.values(column) for column in ("alt_names", "aat", "sources") if record[column]}
        _node(graph, record["kind"], record["term"], **about, **many)
    for record in facts.rows["vocabulary.csv"]:
        if record["broader"]:
            kind = record["kind"]
            _edge(graph, f"{kind}:{record['term']}", "broader", f"{kind}:{record['broader']}", record)


def _add_places(graph: nx.MultiDiGraph, facts: Facts) -> None:
    for record in facts.rows["countries.csv"]:
        _node(graph, "country", record["country"])
    for record in facts.rows["states.csv"]:
        state = _node(graph, "state", record["state"])
        _edge(graph, state, "located_in", f"country:{record['country']}", record)


_ABOUT = ("place", "gi_registered", "gi_application_no", "gi_year", "origin_period", "confidence", "note")


def _add_clusters(graph: nx.MultiDiGraph, facts: Facts) -> None:
    for record in facts.rows["clusters.csv"]:
        about: dict[str, object] = {column: record[column] for column in _ABOUT if record[column]}
        about |= {name: record.values(name) for name in ("alt_names", "sources", "general_knowledge") if record[name]}
        about |= {name: float(record[name]) for name in ("latitude", "longitude") if record[name]}
        cluster = _node(graph, "cluster", record["id"], **about | {"name": record["name"], "row_kind": record["kind"]})
        for column, (kind, edge) in TERM_COLUMNS.items():
            for term in record.values(column):
                _edge(graph, cluster, edge, f"{kind}:{term}", record)
        if record["place"]:
            _edge(graph, cluster, "located_in", _node(graph, "place", record["place"]), record)
        for kind, column in (("state", "states"), ("country", "countries")):
            for place in record.values(column):
                _edge(graph, cluster, "located_in", f"{kind}:{place}", record)
    for record in facts.rows["clusters.csv"]:
        for member in record.values("members"):
            _edge(graph, f"cluster:{record['id']}", "unites", f"cluster:{member}", record)


def _add_groups(graph: nx.MultiDiGraph, facts: Facts) -> None:
    for record in facts.rows["groups.csv"]:
        for level in GROUP_LEVELS:
            group = _node(graph, level, record[level])
            _edge(graph, f"cluster:{record['cluster']}", "member_of", group, record)


def _add_labels(graph: nx.MultiDiGraph, facts: Facts) -> None:
    for record in facts.rows["labels.csv"]:
        about = {column: record[column] for column in ("role", "shows", "note") if record[column]}
        label = _node(graph, "label", record["label"], **about)
        if record["cluster"]:
            _edge(graph, label, "label_of", f"cluster:{record['cluster']}", record)


def _add_attributes(graph: nx.MultiDiGraph, facts: Facts) -> None:
    for record in facts.rows["attributes.csv"]:
        _node(graph, "attribute", record["attribute"], definition=record["definition"])
    for record in facts.rows["visual_attributes.csv"]:
        if record["value"] == "unknown":
            continue
        # A name that is both a cluster's id and a label was graded once, for the cluster.
        cluster = f"cluster:{record['subject']}"
        subject = cluster if cluster in graph else f"label:{record['subject']}"
        about = {"value": record["value"], "basis": record["basis"]}
        _edge(graph, subject, "has_attribute", f"attribute:{record['attribute']}", record, **about)


def _add_confusions(graph: nx.MultiDiGraph, facts: Facts) -> None:
    for record in facts.rows["confusions.csv"]:
        a, b = (f"cluster:{record[column]}" for column in ("cluster_a", "cluster_b"))
        if b not in graph:
            b = _node(graph, "lookalike", record["cluster_b"].removeprefix("x_").replace("_", " "))
        about = {column: record[column] for column in ("features_a", "features_b", "visible", "visible_note")}
        _edge(graph, a, "confused_with", b, record, **about)


# --- from names to nodes ---

Names = Mapping[str, tuple[str, ...]]  # node -> its names, the first for people


def _cluster_names(graph: nx.MultiDiGraph) -> Names:
    labels: dict[str, list[str]] = {}
    for label, cluster, kind in graph.edges(keys=True):
        if kind == "label_of":
            labels.setdefault(cluster, []).append(graph.nodes[label]["name"])
    return {
        node: (data["name"], node, node.removeprefix("cluster:"), *data.get("alt_names", ()), *labels.get(node, ()))
        for node, data in graph.nodes(data=True)
        if data["kind"] == "cluster"
    }


def _term_names(graph: nx.MultiDiGraph) -> Names:
    return {
        node: (data["name"], node, *others, *(f"{data['kind']}:{other}" for other in others))
        for node, data in graph.nodes(data=True)
        for others in [data.get("alt_names", ())]
        if data["kind"] in TERM_KINDS
    }


def _resolved(names: Names, asked: str, what: str) -> str:
    for form in (spelled, _before_brackets, _sound):
        found = [node for node, known in names.items() if form(asked) and form(asked) in map(form, known)]
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(f"{names[node][0]} ({node})" for node in sorted(found))
            raise SareeError(f"'{asked}' is more than one {what}: {several}")
    near = _nearest(names, asked)
    raise SareeError(f"no {what} is called '{asked}'" + (f"; the nearest are {', '.join(near)}" if near else ""))


def _nearest(names: Names, asked: str) -> list[str]:
    """Up to three names for people, nearest first, of different nodes."""
    owners = {spelled(name): node for node, known in reversed(names.items()) for name in known}
    near = difflib.get_close_matches(spelled(asked), owners, n=9, cutoff=0.5)
    return list(dict.fromkeys(names[owners[form]][0] for form in near))[:3]


@cache
def _before_brackets(name: str) -> str:
    return spelled(re.sub(r"\(.*?\)", "", name))


@cache
def _sound(name: str) -> str:
    """A rough key of how a name sounds, for spellings in Latin letters of words from Indian languages."""
    key = spelled(name)
    for pattern, sound in (("ee|ie", "i"), ("oo|ou", "u"), ("w", "v"), ("ph", "f"), (r"([bcdgjkst])h", r"\1")):
        key = re.sub(pattern, sound, key)
    return re.sub(r"(.)\1+", r"\1", key)
