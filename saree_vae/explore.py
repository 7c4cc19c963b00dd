"""A whole collection at a glance: a map of it, pieces that stand apart, and designs that come in several colours."""

from __future__ import annotations

import numpy as np

MOST = 20_000  # pieces that a map shows; more are drawn from at random
NEIGHBOURS = 10
SAME_DESIGN, OTHER_COLOURS = 0.8, 0.6  # cosines: at least so alike in motif, at most so alike in colour


def plane(embedding: np.ndarray, way: str = "pca", seed: int = 0) -> np.ndarray:
    """Places (N, 2) in the plane: of "pca", the two widest directions; of "umap", neighbours stay near each other.

    UMAP (McInnes et al. 2018, arXiv:1802.03426) shows who is near whom; distances between far groups say nothing.
    """
    if way == "pca" or len(embedding) <= NEIGHBOURS:
        from sklearn.decomposition import PCA

        flat = PCA(min(2, *embedding.shape), random_state=seed).fit_transform(embedding)
        return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    from umap import UMAP

    return UMAP(n_neighbors=NEIGHBOURS, random_state=seed, n_jobs=1).fit_transform(embedding)


def apartness(embedding: np.ndarray) -> np.ndarray:
    """How far each of N pieces is from its nearest NEIGHBOURS others, (N,): the mean of 1 - cosine, halves alike.

    Args:
        embedding: (N, D), halves of unit length.
    """
    unit = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
    count = min(NEIGHBOURS, len(unit) - 1)
    found = np.zeros(len(unit), np.float32)
    for start in range(0, len(unit) if count else 0, 1024):
        rows = np.arange(start, min(start + 1024, len(unit)))
        cosine = unit[rows] @ unit.T
        cosine[np.arange(len(rows)), rows] = -2
        found[rows] = 1 - np.partition(cosine, -count, axis=1)[:, -count:].mean(1)
    return found


def in_many_colours(
    embedding: np.ndarray, motif_dim: int, *, alike: float = SAME_DESIGN, apart: float = OTHER_COLOURS
) -> list[np.ndarray]:
    """Groups of pieces of one design in different colours, as rows, the largest first.

    Two pieces belong together where their motifs are at least `alike` and their colours at most `apart` (cosines); a
    group is what hangs together by such pairs, each piece through its NEIGHBOURS nearest designs.

    Args:
        embedding: (N, D), halves of unit length.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    motif, colour = embedding[:, :motif_dim], embedding[:, motif_dim:]
    count, pairs = min(NEIGHBOURS, len(embedding) - 1), []
    for start in range(0, len(embedding) if count else 0, 1024):
        rows = np.arange(start, min(start + 1024, len(embedding)))
        designs = motif[rows] @ motif.T
        designs[np.arange(len(rows)), rows] = -2
        nearest = np.argpartition(-designs, count - 1, axis=1)[:, :count]
        own = np.repeat(rows, count)
        others = nearest.ravel()
        fits = (np.take_along_axis(designs, nearest, 1).ravel() >= alike) & (
            (colour[own] * colour[others]).sum(1) <= apart
        )
        pairs.append(np.stack([own[fits], others[fits]]))
    ends = np.concatenate(pairs, 1) if pairs else np.zeros((2, 0), int)
    links = coo_matrix((np.ones(ends.shape[1]), ends), shape=(len(embedding),) * 2)
    _, group = connected_components(links, directed=False)
    order = np.argsort(group, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return sorted((rows for rows in groups if len(rows) > 1), key=lambda rows: (-len(rows), rows[0]))
