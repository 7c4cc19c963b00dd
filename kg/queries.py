"""Questions to the graph: one cluster, two clusters, what is near, what uses a term; answers are plain, frozen values.

Every answer becomes a JSON document with `dataclasses.asdict`. What is not known is missing from an answer or listed as
not known; it is never a "no".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx

from saree_vae.errors import SareeError

from .graph import (
    TERM_EDGES,
    broader_terms,
    closed_terms,
    clusters,
    counts,
    members,
    narrower_terms,
    rarity,
    resolve,
    resolve_term,
    terms_of,
)
from .schema import CONFIDENCE, GROUP_LEVELS, TERM_COLUMNS, TERM_KINDS

_RELATION = dict(TERM_COLUMNS.values())  # kind of term -> kind of edge


@dataclass(frozen=True)
class Evidence:
    """A term that holds of some clusters: because their rows name it, or anything narrower.

    Attributes:
        node, name, relation: the term, as in "technique:korvai", "korvai", "uses_technique".
        of: ids of the clusters it holds of.
        clusters: how many clusters in the whole graph have it or anything narrower.
        rarity: `graph.rarity` of it, in nats.
        confidence: of the surest row that says so.
        sources: of all rows that say so.
    """

    node: str
    name: str
    relation: str
    of: tuple[str, ...]
    clusters: int
    rarity: float
    confidence: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Attribute:
    """Whether something can be seen: yes, no or sometimes; `of` is a cluster, or a label whose photographs say so."""

    name: str
    value: str
    of: str
    basis: str
    confidence: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """What tells two things apart that are confused; `visible` in a photograph: yes, part or no, and when."""

    a: str
    b: str
    features_a: str
    features_b: str
    visible: str
    visible_note: str
    confidence: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Shown:
    """All that is known of a cluster; of an umbrella, what is known of its members. `not_known` are kinds of terms."""

    id: str
    name: str
    kind: str
    alt_names: tuple[str, ...]
    labels: tuple[str, ...]
    members: tuple[str, ...]
    groups: dict[str, str]
    places: dict[str, tuple[str, ...]]
    about: dict[str, str | float | tuple[str, ...]]
    evidence: tuple[Evidence, ...]
    not_known: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    differences: tuple[Difference, ...]
    confidence: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One edge of a chain from `start` to `end`; it points that way if `forward`."""

    start: str
    end: str
    relation: str
    forward: bool
    confidence: str
    sources: tuple[str, ...]
    file: str
    row: int


@dataclass(frozen=True)
class Path:
    """A chain of edges between two clusters; `clusters` tells of how many clusters each term on it holds."""

    a: str
    b: str
    steps: tuple[Step, ...]
    clusters: dict[str, int]


@dataclass(frozen=True)
class Contrast:
    """An attribute that is known of both and differs; `clear` if it is yes against no."""

    name: str
    a: str
    b: str
    clear: bool


@dataclass(frozen=True)
class Comparison:
    """What two clusters share and what sets them apart, as far as is known.

    `only_a` is known of a and not known of b: that alone does not say that b has it not. `not_known_b` are the kinds of
    terms of which nothing is known of b at all.
    """

    a: str
    b: str
    score: float
    shared: tuple[Evidence, ...]
    only_a: tuple[Evidence, ...]
    only_b: tuple[Evidence, ...]
    not_known_a: tuple[str, ...]
    not_known_b: tuple[str, ...]
    differences: tuple[Difference, ...]
    contrasts: tuple[Contrast, ...]


@dataclass(frozen=True)
class Neighbour:
    """A cluster and how much evidence it shares, from 0 to 1; `shared` has the narrowest shared terms, rarest first."""

    id: str
    name: str
    score: float
    shared: tuple[Evidence, ...]


@dataclass(frozen=True)
class User:
    """A cluster that uses a term, its photo labels, and which of the terms its row (or its members' rows) names."""

    id: str
    name: str
    labels: tuple[str, ...]
    terms: tuple[Evidence, ...]


@dataclass(frozen=True)
class Using:
    """Clusters that have a term or anything narrower."""

    node: str
    name: str
    definition: str
    narrower: tuple[str, ...]
    clusters: tuple[User, ...]


def show(graph: nx.MultiDiGraph, cluster: str) -> Shown:
    """All that is known of one cluster, with sources.

    Raises:
        SareeError: no or several clusters are called so.
    """
    node = resolve(graph, cluster)
    data = graph.nodes[node]
    owners = members(graph, node)
    named = {term for owner in owners for term in terms_of(graph, owner)}
    labels = _labels(graph, node)
    out = [(b, kind) for _, b, kind in graph.out_edges(node, keys=True)]
    told = ("gi_registered", "gi_application_no", "gi_year", "origin_period", "latitude", "longitude")
    return Shown(
        id=_id(node),
        name=data["name"],
        kind=data["row_kind"],
        alt_names=data.get("alt_names", ()),
        labels=tuple(_id(label) for label in labels),
        members=tuple(_id(owner) for owner in owners if owner != node),
        groups={
            level: _id(b) for level in GROUP_LEVELS for b, kind in out if kind == "member_of" and _kind(b) == level
        },
        places={
            level: found
            for level in ("place", "state", "country")
            if (found := tuple(_id(b) for b, kind in out if kind == "located_in" and _kind(b) == level))
        },
        about={name: data[name] for name in (*told, "general_knowledge", "note") if name in data},
        evidence=_evidence(graph, _weighed(graph), owners, named),
        not_known=_not_known(graph, owners),
        attributes=_all_attributes(graph, node, labels),
        differences=_differences(graph, {node, *owners}),
        confidence=data["confidence"],
        sources=data["sources"],
    )


def path(graph: nx.MultiDiGraph, a: str, b: str) -> Path:
    """The chain that ties two clusters best.

    A chain runs over terms and their broader terms, and takes the rare ones: a term costs the share of clusters that
    have it, and each step a little. So korvai - three-shuttle border - kuttu beats cotton. Where they share no term, a
    common town or state is taken, then evidence shared with a cluster between them, and only where there is nothing
    else at all a confusion. Groups are our own ordering and visible attributes follow from the terms, so neither is a
    link. An umbrella is tied by the evidence of its members.

    Raises:
        SareeError: a name is unknown, both are one cluster, or nothing ties them.
    """
    start, end = resolve(graph, a), resolve(graph, b)
    if start == end:
        raise SareeError(f"'{a}' and '{b}' are one cluster, {graph.nodes[start]['name']}")
    held = counts(graph)
    try:
        nodes = nx.shortest_path(_links(graph, held, (start, end)), start, end, weight="cost")
    except nx.NetworkXNoPath:
        raise SareeError(f"no path in the graph from '{a}' to '{b}'; too little is known of one of them") from None
    steps = tuple(_step(graph, first, second) for first, second in pairwise(nodes))
    return Path(_id(start), _id(end), steps, {node: held[node] for node in nodes if node in held})


def compare(graph: nx.MultiDiGraph, a: str, b: str) -> Comparison:
    """What two clusters share, what sets them apart, and what of it a photograph can show.

    Raises:
        SareeError: a name is unknown, or both are one cluster.
    """
    first, second = resolve(graph, a), resolve(graph, b)
    if first == second:
        raise SareeError(f"'{a}' and '{b}' are one cluster, {graph.nodes[first]['name']}")
    of_a, of_b = members(graph, first), members(graph, second)
    closed_a, closed_b = _closed(graph, of_a), _closed(graph, of_b)
    weighed = _weighed(graph)
    shared = _narrowest(graph, closed_a & closed_b)
    seen_a, seen_b = ({x.name: x.value for x in _attributes(graph, node)} for node in (first, second))
    contrasts = (
        Contrast(name, seen_a[name], seen_b[name], {seen_a[name], seen_b[name]} == {"yes", "no"})
        for name in seen_a
        if seen_a[name] != seen_b.get(name, seen_a[name])
    )
    return Comparison(
        a=_id(first),
        b=_id(second),
        score=_overlap(weighed[1], closed_a, closed_b),
        shared=_evidence(graph, weighed, dict.fromkeys([*of_a, *of_b]), shared),
        only_a=_evidence(graph, weighed, of_a, _narrowest(graph, closed_a - closed_b)),
        only_b=_evidence(graph, weighed, of_b, _narrowest(graph, closed_b - closed_a)),
        not_known_a=_not_known(graph, of_a),
        not_known_b=_not_known(graph, of_b),
        differences=_differences(graph, {first, *of_a}, {second, *of_b}),
        contrasts=tuple(sorted(contrasts, key=lambda contrast: (not contrast.clear, contrast.name))),
    )


def neighbours(graph: nx.MultiDiGraph, cluster: str, k: int = 10) -> tuple[Neighbour, ...]:
    """The k clusters that share most evidence, the nearest first; umbrellas and their members' umbrella are left out.

    The score is the rarity of terms that both have, over the rarity of terms that either has (weighted Jaccard),
    broader terms included: 0 shares nothing, 1 everything.

    Raises:
        SareeError: no or several clusters are called so.
    """
    node = resolve(graph, cluster)
    owners = members(graph, node)
    own, weighed = _closed(graph, owners), _weighed(graph)
    closed = {other: _closed(graph, [other]) for other in clusters(graph) if other not in owners}
    scores = {other: _overlap(weighed[1], own, terms) for other, terms in closed.items()}
    best = [other for other in sorted(scores, key=lambda other: (-scores[other], other)) if scores[other] > 0][:k]
    return tuple(
        Neighbour(
            id=_id(other),
            name=graph.nodes[other]["name"],
            score=scores[other],
            shared=_evidence(graph, weighed, [*owners, other], _narrowest(graph, own & closed[other])),
        )
        for other in best
    )


def using(graph: nx.MultiDiGraph, term: str) -> Using:
    """All clusters that have a term or anything narrower, by id; an umbrella counts when all its members do.

    Raises:
        SareeError: no or several terms are called so.
    """
    node = resolve_term(graph, term)
    narrower = narrower_terms(graph, node)
    having = {cluster for cluster in clusters(graph) if not set(narrower).isdisjoint(terms_of(graph, cluster))}
    users = [node for node, data in graph.nodes(data=True) if data["kind"] == "cluster"]
    users = sorted(user for user in users if having.issuperset(members(graph, user)))
    weighed = _weighed(graph)
    return Using(
        node=node,
        name=_id(node),
        definition=graph.nodes[node]["definition"],
        narrower=tuple(_id(one) for one in narrower if one != node),
        clusters=tuple(_user(graph, weighed, user, set(narrower)) for user in users),
    )


def telling(graph: nx.MultiDiGraph, clusters: Iterable[str]) -> tuple[str, ...]:
    """Terms that some but not all of these clusters have, in order; all are nodes. Who has one: as in `using`."""
    held = [set.intersection(*(set(closed_terms(graph, one)) for one in members(graph, node))) for node in clusters]
    return tuple(sorted(set().union(*held) - set.intersection(*held))) if held else ()


# --- terms and what says so ---

Weighed = tuple[dict[str, int], dict[str, float]]  # counts and rarity of all terms, worked out once for a question


def _weighed(graph: nx.MultiDiGraph) -> Weighed:
    return counts(graph), rarity(graph)


def _kind(node: str) -> str:
    return node.partition(":")[0]


def _id(node: str) -> str:
    return node.partition(":")[2]


def _closed(graph: nx.MultiDiGraph, owners: Iterable[str]) -> set[str]:
    return {term for owner in owners for term in closed_terms(graph, owner)}


def _narrowest(graph: nx.MultiDiGraph, terms: set[str]) -> set[str]:
    """Terms without those that another one of them implies."""
    return terms - {above for term in terms for above in broader_terms(graph, term)[1:]}


def _overlap(weights: dict[str, float], a: set[str], b: set[str]) -> float:
    either = sum(weights[term] for term in sorted(a | b))
    return sum(weights[term] for term in sorted(a & b)) / either if either else 0.0


def _evidence(graph: nx.MultiDiGraph, weighed: Weighed, owners: Iterable[str], terms: set[str]) -> tuple[Evidence, ...]:
    """Evidence for terms that hold of some of the owners: by kind, the rarest first."""
    held, weights = weighed
    found = []
    for term in terms:
        edges = {}  # owner -> the edges of its row that name the term or anything narrower
        for owner in owners:
            said = [
                data
                for _, b, data in graph.out_edges(owner, data=True)
                if data["kind"] in TERM_EDGES and term in broader_terms(graph, b)
            ]
            edges |= {owner: said} if said else {}
        rows = [data for said in edges.values() for data in said]
        found.append(
            Evidence(
                node=term,
                name=_id(term),
                relation=_RELATION[_kind(term)],
                of=tuple(_id(owner) for owner in edges),
                clusters=held[term],
                rarity=weights[term],
                confidence=min((data["confidence"] for data in rows), key=CONFIDENCE.index),
                sources=tuple(dict.fromkeys(source for data in rows for source in data["sources"])),
            )
        )
    return tuple(sorted(found, key=lambda one: (TERM_KINDS.index(_kind(one.node)), -one.rarity, one.node)))


def _user(graph: nx.MultiDiGraph, weighed: Weighed, user: str, asked: set[str]) -> User:
    owners = members(graph, user)
    named = {term for owner in owners for term in terms_of(graph, owner)}
    labels = tuple(_id(label) for label in _labels(graph, user))
    return User(_id(user), graph.nodes[user]["name"], labels, _evidence(graph, weighed, owners, named & asked))


def _labels(graph: nx.MultiDiGraph, cluster: str) -> list[str]:
    return sorted(a for a, _, kind in graph.in_edges(cluster, keys=True) if kind == "label_of")


def _not_known(graph: nx.MultiDiGraph, owners: list[str]) -> tuple[str, ...]:
    known = {_kind(term) for owner in owners for term in terms_of(graph, owner)}
    return tuple(kind for kind in TERM_KINDS if kind not in known)


def _attributes(graph: nx.MultiDiGraph, subject: str) -> tuple[Attribute, ...]:
    return tuple(
        Attribute(_id(b), data["value"], subject, data["basis"], data["confidence"], data["sources"])
        for _, b, kind, data in graph.out_edges(subject, keys=True, data=True)
        if kind == "has_attribute"
    )


def _all_attributes(graph: nx.MultiDiGraph, cluster: str, labels: list[str]) -> tuple[Attribute, ...]:
    """The cluster's own, and those of its labels' photographs that say something else."""
    own = _attributes(graph, cluster)
    said = {attribute.name: attribute.value for attribute in own}
    others = (attribute for label in labels for attribute in _attributes(graph, label))
    return own + tuple(attribute for attribute in others if said.get(attribute.name) != attribute.value)


def _differences(graph: nx.MultiDiGraph, ours: set[str], theirs: set[str] | None = None) -> tuple[Difference, ...]:
    """What tells ours from theirs (None: from anything), ours first; what a photograph shows comes before the rest."""
    found = []
    for a, b, kind, data in graph.edges(keys=True, data=True):
        if kind != "confused_with":
            continue
        for us, them, side, other in ((a, b, "features_a", "features_b"), (b, a, "features_b", "features_a")):
            if us in ours and them not in ours and (theirs is None or them in theirs):
                about = (data["visible"], data["visible_note"], data["confidence"], data["sources"])
                found.append(Difference(_id(us), _id(them), data[side], data[other], *about))
    return tuple(sorted(found, key=lambda one: (("yes", "part", "no").index(one.visible), one.a, one.b)))


# --- links of a path ---

# Costs of passing a node or edge. The share of clusters that have a term lies between 0 and 1, so each is a class of
# its own: any chain over terms beats one over a place, that one a cluster in between, and that one a confusion.
_STEP, _PLACE, _BETWEEN, _CONFUSED = 0.02, 10.0, 100.0, 10_000.0


def _links(graph: nx.MultiDiGraph, held: dict[str, int], ends: tuple[str, str]) -> nx.Graph:
    """An undirected graph whose edges cost half of what either end does."""
    everyone = clusters(graph)
    costs = dict.fromkeys(everyone, _BETWEEN)
    costs |= {node: _PLACE for node, data in graph.nodes(data=True) if data["kind"] in ("place", "state")}
    costs |= {term: _STEP + count / len(everyone) for term, count in held.items()}
    costs |= {node: _STEP for end in ends for node in (end, *members(graph, end))}  # an umbrella's members are its own
    links = nx.Graph()
    links.add_nodes_from(ends)
    for a, b, kind in graph.edges(keys=True):
        if a in costs and b in costs and kind in (*TERM_EDGES, "broader", "located_in", "unites", "confused_with"):
            cost = (costs[a] + costs[b]) / 2 + (_CONFUSED if kind == "confused_with" else 0)
            if not links.has_edge(a, b) or cost < links.edges[a, b]["cost"]:
                links.add_edge(a, b, cost=cost)
    return links


def _step(graph: nx.MultiDiGraph, start: str, end: str) -> Step:
    """The edge between two nodes, of those that can be links; a confusion only if there is no other."""
    forward = graph.has_edge(start, end)
    edges = graph.get_edge_data(start, end) if forward else graph.get_edge_data(end, start)
    kind = min(edges, key=lambda kind: (kind == "confused_with", kind))
    data = edges[kind]
    return Step(start, end, kind, forward, data["confidence"], data["sources"], data["file"], data["row"])
