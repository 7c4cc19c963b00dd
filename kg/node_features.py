"""One vector per class from the graph, so that classes with the same rare evidence lie close together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np

from .graph import broader_terms, clusters, members, rarity, resolve, terms_of
from .schema import TERM_KINDS

# How much a kind of evidence counts. Palette is weak (most crafts come in many colours), fibres are shared by half of
# all clusters and zari is hardly known; what is to be seen and how it is made tells most.
KIND_WEIGHTS = {
    **dict.fromkeys(("technique", "motif", "layout", "border", "pallu", "attribute"), 1.0),
    **dict.fromkeys(("fibre", "zari", "palette"), 0.5),
}
DECAY = 0.5  # of what a term passes on to the next broader term
SHARED = 0.25  # of a vector that comes from classes with like evidence
VALUES = {"yes": 1.0, "sometimes": 0.5, "no": -1.0}


@dataclass(frozen=True)
class Features:
    """Vectors of classes.

    Attributes:
        ids: (K,) ids of clusters, as "kanchipuram".
        columns: (G,) nodes of terms and attributes, sorted.
        matrix: (K, G) float32; rows have unit length, or are 0 where nothing at all is known.
    """

    ids: tuple[str, ...]
    columns: tuple[str, ...]
    matrix: np.ndarray


def node_features(graph: nx.MultiDiGraph, classes: Sequence[str] | None = None) -> Features:
    """Spread each class's evidence over the graph; the same graph gives the same bytes, whatever the order of its rows.

    1. A term that a row names gets 1, the next broader one DECAY, the next DECAY^2, ...; the largest counts.
    2. Times its rarity, log((1 + N) / n) for n of N clusters with it or anything narrower (`graph.rarity`).
    3. Each kind is divided by the square root of how many terms of that kind the row names, so that a long list of
       motifs does not drown the technique, and weighted by KIND_WEIGHTS.
    4. An attribute is +1 (yes), +1/2 (sometimes) or -1 (no), times the rarity of that answer among clusters with any
       answer (among all, classes would be alike for having been graded), divided as in 3; unknown is 0.
    5. As unknown is not absent, a vector takes a share SHARED of the mean of all others, each weighted by its cosine
       with it where that is above 0. So a thin row leans towards classes with like evidence.
    6. An umbrella has no evidence of its own: it is the mean of its members, and no class leans towards it.

    Photo labels' own attributes are left out: they tell of pictures, not of the craft.

    Args:
        classes: ids, names or photo labels, as `graph.resolve` takes them; None is every cluster, by id.

    Raises:
        SareeError: no or several clusters are called so.
    """
    owners = clusters(graph)
    columns = sorted(node for node, data in graph.nodes(data=True) if data["kind"] in KIND_WEIGHTS)
    own = _unit(_terms(graph, owners, columns) + _attributes(graph, owners, columns))
    matrix = dict(zip(owners, _unit(_shared(own)), strict=True))
    asked = sorted(_everyone(graph)) if classes is None else [resolve(graph, name) for name in classes]
    rows = [np.mean([matrix[member] for member in members(graph, node)], axis=0) for node in asked]
    whole = _unit(np.array(rows).reshape(-1, len(columns))).astype(np.float32)  # (K, G)
    return Features(tuple(node.removeprefix("cluster:") for node in asked), tuple(columns), whole)


def _everyone(graph: nx.MultiDiGraph) -> list[str]:
    return [node for node, data in graph.nodes(data=True) if data["kind"] == "cluster"]


def _terms(graph: nx.MultiDiGraph, owners: list[str], columns: list[str]) -> np.ndarray:
    """Steps 1 to 3: (N, G) of the owners' terms."""
    place, weights = {node: at for at, node in enumerate(columns)}, rarity(graph)
    matrix = np.zeros((len(owners), len(columns)))
    for row, owner in zip(matrix, owners, strict=True):
        for kind in TERM_KINDS:
            named = [term for term in terms_of(graph, owner) if graph.nodes[term]["kind"] == kind]
            scale = KIND_WEIGHTS[kind] / np.sqrt(max(1, len(named)))
            for term in named:
                for step, above in enumerate(broader_terms(graph, term)):
                    row[place[above]] = max(row[place[above]], scale * DECAY**step * weights[above])
    return matrix


def _attributes(graph: nx.MultiDiGraph, owners: list[str], columns: list[str]) -> np.ndarray:
    """Step 4: (N, G) of the owners' attributes."""
    place = {node: at for at, node in enumerate(columns)}
    matrix = np.zeros((len(owners), len(columns)))
    for row, owner in zip(matrix, owners, strict=True):
        for _, attribute, kind, data in graph.out_edges(owner, keys=True, data=True):
            if kind == "has_attribute":
                row[place[attribute]] = VALUES[data["value"]]
    known = (matrix != 0).sum(axis=0)  # (G,)
    scale = np.zeros_like(matrix)
    for answered in (matrix > 0, matrix < 0):
        scale += answered * np.log((1 + known) / np.maximum(1, answered.sum(axis=0)))
    answers = np.maximum(1, (matrix != 0).sum(axis=1, keepdims=True))
    return matrix * scale * KIND_WEIGHTS["attribute"] / np.sqrt(answers)


def _shared(own: np.ndarray) -> np.ndarray:
    """Step 5: (N, G) of unit rows, each mixed with the others."""
    alike = np.maximum(own @ own.T, 0)
    np.fill_diagonal(alike, 0)
    total = alike.sum(axis=1, keepdims=True)
    others = np.divide(alike @ own, total, out=np.zeros_like(own), where=total > 0)
    return (1 - SHARED) * own + SHARED * others


def _unit(matrix: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.divide(matrix, length, out=np.zeros_like(matrix), where=length > 0)
