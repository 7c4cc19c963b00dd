"""All of a kind: likeness that passes on from piece to piece, not from the query alone.

What looks most like a picture is found by its cosine. Two pieces of one craft may look little alike, though, and yet be
joined by others between them: ranked along those, more of the query's kind come up. Labels pass on so, too (`spread`).
"""

from __future__ import annotations

import numpy as np

NEAREST = 2000  # stored rows that take part, those nearest to the query: a quarter of a second
NEIGHBOURS = 10  # of each row, to which it passes likeness on
POWER = 3  # of a cosine: how much less is passed on to what is less alike
BLOCK = 1000  # rows that are compared with all others at once
PASSED_ON = 0.9  # the rest stays with the query
LISTENED_TO, SPREAD, ROUNDS, WARMTH = 20, 0.95, 50, 0.1  # of spreading labels, see `spread`


def mutual(rows: np.ndarray, count: int) -> list[np.ndarray]:
    """For each of N rows (N, D) the others that it is among the `count` nearest of, and that are among its own.

    Inner products are taken for cosines. Nearest neighbours that hold in both directions are of one class more often
    than those of one (Jegou et al. 2007).
    """
    count = max(0, min(count, len(rows) - 1))
    near = np.zeros((len(rows), count), np.int64)
    for start in range(0, len(rows), BLOCK):
        cosines = rows[start : start + BLOCK] @ rows.T
        cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = -np.inf
        near[start : start + BLOCK] = np.argpartition(-cosines, max(count - 1, 0), axis=1)[:, :count]
    return [found[(near[found] == number).any(1)] for number, found in enumerate(near)]


def kinship(query: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """How near of kin each stored row is to a query, (N,) in [0, 1]; 1 for the nearest, 0 where no likeness came to.

    Every row is joined to its NEIGHBOURS nearest, the query too, with the cosine to the power of POWER as weight.
    What a walk from the query brings to each row, PASSED_ON of it going on at every step, is its kinship: manifold
    ranking (Zhou et al. 2003, "Ranking on data manifolds"), among the NEAREST rows as in Iscen et al. 2017
    (arXiv:1611.05113).

    Args:
        query: (D,); stored: (N, D). Inner products are taken for cosines (`latents.weighted`).
    """
    scores = stored @ query  # (N,)
    near = np.argsort(-scores, kind="stable")[:NEAREST]
    joined = _joined(np.concatenate([query[None], stored[near]]))
    reached = _walked(joined)[1:]
    found = np.zeros(len(stored), np.float32)
    found[near] = reached / max(reached.max(initial=0), 1e-12)
    return found


def _joined(rows: np.ndarray):
    """The graph of rows, (M, M) sparse, symmetric, each weight divided by the root of both rows' sums."""
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -1)
    count = min(NEIGHBOURS, len(rows) - 1)
    near = np.argpartition(-cosines, count - 1, axis=1)[:, :count] if count else np.zeros((len(rows), 0), int)
    weights = np.take_along_axis(cosines, near, 1).clip(0, 1) ** POWER
    return _balanced(weights, near)


def _balanced(weights: np.ndarray, near: np.ndarray):
    """The graph of N rows and those near to each (N, K), both ways: (N, N) sparse, by the root of both rows' sums."""
    from scipy.sparse import coo_matrix, diags

    count, each = near.shape
    places = np.repeat(np.arange(count), each), near.ravel()
    graph = coo_matrix((weights.ravel(), places), shape=(count, count)).tocsr()
    graph = graph + graph.T
    scale = diags(np.asarray(graph.sum(1)).ravel().clip(1e-12) ** -0.5)
    return scale @ graph @ scale


def _walked(joined) -> np.ndarray:
    """What comes to each row from the first, (M,): the solution of f = PASSED_ON * joined f + start."""
    from scipy.sparse import identity
    from scipy.sparse.linalg import cg

    start = np.zeros(joined.shape[0])
    start[0] = 1
    reached, _ = cg(identity(len(start)) - PASSED_ON * joined, start, rtol=1e-6)
    return reached.clip(min=0).astype(np.float32)


def spread(embedding: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Labels for pictures that have none, from those of their neighbours, and theirs, (N, K) probabilities.

    F <- SPREAD * S F + (1 - SPREAD) * targets, with S the normalised likeness of each picture's LISTENED_TO nearest
    (Zhou et al. 2004, "Learning with local and global consistency"); then every class is given the same mass, and what
    is likely is made likelier. A picture that no label reaches gets zeros.

    Args:
        embedding: unit rows, (N, D); targets: (N, K), rows of zeros where there is no label.
    """
    from sklearn.neighbors import NearestNeighbors

    count = min(LISTENED_TO, len(embedding) - 1)
    distance, near = NearestNeighbors(n_neighbors=count + 1).fit(embedding).kneighbors(embedding)
    likeness = np.exp(-(distance**2) / 2 / WARMTH)  # of cosine c: exp((c - 1) / WARMTH)
    likeness[near == np.arange(len(near))[:, None]] = 0
    links, found = _balanced(likeness, near), targets.copy()
    for _ in range(ROUNDS):
        found = SPREAD * (links @ found) + (1 - SPREAD) * targets
    found = (found / found.sum(0).clip(1e-12)) ** 2
    return found / found.sum(1, keepdims=True).clip(1e-300)
