"""Why a head says what it says: what it sees, how the graph ties that to the cluster, what would tell another apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import networkx as nx
import numpy as np

from saree_vae.latents import Latents

from .graph import broader_terms, members, terms_of
from .head import Head, Prediction, shown
from .queries import Difference, compare
from .schema import TERM_KINDS

TOLD = 6  # reasons at most
LEAST = 1.05  # how many times higher a reason must make the odds of a cluster to be told


@dataclass(frozen=True)
class Fact:
    """A fact that ties a reason to a cluster: where it was read, and how sure it is."""

    cluster: str
    basis: str
    confidence: str
    sources: tuple[str, ...]
    file: str
    row: int


@dataclass(frozen=True)
class Reason:
    """Something that speaks for a cluster: an attribute that is seen, or a term of cloths that this one looks like.

    Attributes:
        node: in the graph, as "attribute:circles" or "technique:warp ikat".
        strength: how surely an attribute is seen, 0 to 1; None of a term, which no photograph was graded for.
        without: the cluster's probability when this is taken for not seen at all.
        odds: how many times higher the odds of the cluster are with it than without.
        path: nodes from what is seen to the cluster.
        facts: what ties them.
    """

    node: str
    strength: float | None
    without: float
    odds: float
    path: tuple[str, ...]
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Why:
    """Reasons for a cluster, the strongest first, and what sets the runner-up apart.

    Attributes:
        probability: of the cluster, among those that the prediction chose from.
        by_looks: its probability when all evidence is left out, by the direct path alone.
        reasons: may be none: then the graph does not speak for this cluster, and only its looks do.
        attributes: how surely each visible attribute is seen, 0 to 1.
        apart: what tells it and the runner-up apart; contrasts: attributes that one shows and the other does not.
    """

    cluster: str
    probability: float
    by_looks: float
    reasons: tuple[Reason, ...]
    attributes: dict[str, float]
    runner_up: str | None
    apart: tuple[Difference, ...]
    contrasts: tuple[tuple[str, str, str], ...]


def explain(head: Head, graph: nx.MultiDiGraph, latents: Latents, told: Prediction) -> Why:
    """Why `told` has its likeliest cluster.

    Faithful by construction: the effect of a reason is measured, by asking the head again with that evidence left out.

    Args:
        latents: those of the one picture that `told` is of.
    """
    name = told.clusters[0][0]
    at, unseen = head.knowledge.clusters.index(name), told.unseen
    p, whole = _odds(head, latents, at, unseen)
    without = {node: _odds(head, latents, at, unseen, {node}) for node in _speaking(head, graph, at)}
    odds = {node: float(np.exp(min(whole - less, 700.0))) for node, (_, less) in without.items()}  # 700: no overflow
    best = sorted((node for node in odds if odds[node] >= LEAST), key=lambda node: -odds[node])[:TOLD]
    strength = dict(zip(head.knowledge.attributes, head.attributes_seen(latents)[0].tolist(), strict=True))
    runner_up = told.clusters[1][0] if len(told.clusters) > 1 else None
    compared = compare(graph, name, runner_up) if runner_up else None
    return Why(
        cluster=name,
        probability=p,
        by_looks=_odds(head, latents, at, unseen, set(head.knowledge.evidence))[0],
        reasons=tuple(
            Reason(node, strength.get(node), without[node][0], odds[node], *_path(graph, f"cluster:{name}", node))
            for node in best
        ),
        attributes={node.partition(":")[2]: value for node, value in strength.items()},
        runner_up=runner_up,
        apart=compared.differences if compared else (),
        contrasts=tuple((c.name, c.a, c.b) for c in compared.contrasts if c.clear) if compared else (),
    )


def _odds(head: Head, latents: Latents, at: int, unseen: bool, without: Iterable[str] = ()) -> tuple[float, float]:
    """Probability and log-odds of a cluster, with some evidence left out."""
    scores = head.log_probabilities(latents, unseen=unseen, without=without)[0]
    others = np.logaddexp.reduce(np.delete(scores, at))  # not 1 - p, which rounds to 0 where a head is very sure
    return float(np.exp(scores[at])), float(scores[at] - others)


def _speaking(head: Head, graph: nx.MultiDiGraph, at: int) -> list[str]:
    """Nodes that the graph ties to the cluster: attributes it shows, terms it has and what is broader.

    What only leans on other clusters' evidence (`node_features`, step 5) has no fact to show, and is not told.
    """
    known, cluster = head.knowledge, f"cluster:{head.knowledge.clusters[at]}"
    # By the head and by the graph: the facts may have changed since it was fitted.
    both = zip(known.attributes, known.shows[at], shown(graph, cluster, known.attributes), strict=True)
    attributes = {node for node, fitted, now in both if fitted > 0 and now > 0}
    terms = {
        above
        for owner in members(graph, cluster)
        for term in terms_of(graph, owner)
        for above in broader_terms(graph, term)
    }
    return [node for node in known.evidence if node in attributes or node in terms]


def _path(graph: nx.MultiDiGraph, cluster: str, node: str) -> tuple[tuple[str, ...], tuple[Fact, ...]]:
    return (_term_path if node.partition(":")[0] in TERM_KINDS else _attribute_path)(graph, cluster, node)


def _term_path(graph: nx.MultiDiGraph, cluster: str, node: str) -> tuple[tuple[str, ...], tuple[Fact, ...]]:
    """From a term down to the narrower one that the cluster's row (or that of one it unites) names; all that do."""
    found = [
        (owner, broader_terms(graph, term), data)
        for owner in members(graph, cluster)
        for _, term, data in graph.out_edges(owner, data=True)
        if term.partition(":")[0] in TERM_KINDS and node in broader_terms(graph, term)
    ]
    owner, above, _ = min(found, key=lambda one: one[1].index(node))
    path = (*reversed(above[: above.index(node) + 1]), owner, *([cluster] if owner != cluster else []))
    return path, tuple(_fact(owner, data) for owner, _, data in found)


def _attribute_path(graph: nx.MultiDiGraph, cluster: str, node: str) -> tuple[tuple[str, ...], tuple[Fact, ...]]:
    labels = sorted(a for a, _, kind in graph.in_edges(cluster, keys=True) if kind == "label_of")
    said = {
        subject: graph.edges[subject, node, "has_attribute"]
        for subject in (cluster, *labels)
        if graph.has_edge(subject, node, "has_attribute")
    }
    subject = list(said)[-1]  # what its photographs show goes before what is known of the craft
    path = (node, subject) if subject == cluster else (node, subject, cluster)
    return path, (_fact(subject, said[subject]),)


def _fact(owner: str, data: Mapping) -> Fact:
    return Fact(*(owner, data.get("basis", ""), data["confidence"], data["sources"], data["file"], data["row"]))
