"""How well a search finds and how well a picture is redrawn: numbers per query, and intervals for their means.

Scores are inner products (cosines, for unit rows). Two that differ by less than float32 can tell apart are a tie, and
**ties are broken against us**: what is wrong and scores as well as what is right stands before it. So an embedding that
puts every picture in one point gets the worst figures there are, not those of a lucky order.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# An inner product of unit rows is off by about 1e-7 in float32; BLAS may score two equal rows that far apart.
TIE = 1e-6
_CHUNK_SCORES = 4_000_000  # 16 MiB of float32 scores at a time


@dataclass(frozen=True)
class Retrieval:
    """Figures per query that counts: Q' of the Q queries have something right to find.

    Attributes:
        recall: for each k, (Q',) 1.0 where something right is among the first k, else 0.0.
        map_at_r: (Q',) average precision over the first R hits, R being how many right ones there are
            (Musgrave et al. 2020, arXiv:2003.08505).
        kept: (Q,) which queries counted.
    """

    recall: dict[int, np.ndarray]
    map_at_r: np.ndarray
    kept: np.ndarray

    @property
    def left_out(self) -> int:
        """How many queries had nothing right to find."""
        return int((~self.kept).sum())


def retrieval(
    queries: np.ndarray,
    query_labels: Sequence[Hashable],
    gallery: np.ndarray,
    gallery_labels: Sequence[Hashable],
    *,
    ks: Sequence[int] = (1, 5, 10),
) -> Retrieval:
    """How well queries (Q, D) find gallery items (N, D) of their own label; a label of None is never right.

    Raises:
        ValueError: shapes do not fit, or an embedding holds NaN or infinity.
    """
    right, found = _codes(query_labels, gallery_labels)
    return _retrieve(queries, right, gallery, found, ks, itself=None)


def retrieval_by_scores(
    scores: np.ndarray,
    query_labels: Sequence[Hashable],
    gallery_labels: Sequence[Hashable],
    *,
    ks: Sequence[int] = (1, 5, 10),
) -> Retrieval:
    """As `retrieval`, from scores (Q, N), however they were made; only equal ones are a tie.

    Raises:
        ValueError: shapes do not fit, or a score is not finite.
    """
    scores = np.asarray(scores)
    if scores.shape != (len(query_labels), len(gallery_labels)) or not np.isfinite(scores).all():
        expected = (len(query_labels), len(gallery_labels))
        raise ValueError(f"scores are {scores.shape}, or not finite; expected {expected}")
    right, found = _codes(query_labels, gallery_labels)
    kept = _can_find(right, found, None)
    return _figures([(0, scores[kept], np.zeros(kept.sum()))], kept, right, found, ks, None)


def same_item(
    embeddings: np.ndarray,
    items: Sequence[Hashable],
    *,
    queries: np.ndarray | None = None,
    ks: Sequence[int] = (1, 5, 10),
) -> Retrieval:
    """How well each photograph finds another of the same item among all the others, itself taken away.

    Args:
        embeddings: (N, D).
        items: (N,) what each photograph shows; None is nobody's item.
        queries: (Q,) rows that ask; all by default.
    """
    asking = np.arange(len(embeddings)) if queries is None else np.asarray(queries, dtype=np.int64)
    right, found = _codes([items[row] for row in asking], items)
    return _retrieve(np.asarray(embeddings)[asking], right, embeddings, found, ks, itself=asking)


def same_item_by_scores(
    scores: np.ndarray, items: Sequence[Hashable], queries: np.ndarray, *, ks: Sequence[int] = (1, 5, 10)
) -> Retrieval:
    """As `same_item`, from scores (Q, N) of the queries against all N photographs, however they were made.

    Raises:
        ValueError: shapes do not fit, or a score is not finite.
    """
    scores, asking = np.asarray(scores, dtype=np.float32), np.asarray(queries, dtype=np.int64)
    if scores.shape != (len(asking), len(items)) or not np.isfinite(scores).all():
        raise ValueError(f"scores are {scores.shape}, or not finite; expected {(len(asking), len(items))}")
    right, found = _codes([items[row] for row in asking], items)
    kept = _can_find(right, found, asking)
    return _figures([(0, scores[kept], np.full(kept.sum(), TIE))], kept, right, found, ks, asking)


def find(
    queries: np.ndarray, gallery: np.ndarray, targets: Sequence[int], *, ks: Sequence[int] = (1, 5, 10)
) -> dict[int, np.ndarray]:
    """For each k, (Q,) 1.0 where query q finds row `targets[q]` of the gallery among its first k, else 0.0.

    A copy of the target elsewhere in the gallery counts as a wrong hit that ties with it.
    """
    targets = np.asarray(targets, dtype=np.int64)
    queries, gallery = _checked(queries, gallery)
    if len(targets) != len(queries):
        raise ValueError(f"{len(queries)} queries have {len(targets)} targets")
    ranks = np.zeros(len(queries), dtype=np.int64)
    for start, scores, tie in _scores(queries, gallery):
        rows = np.arange(len(scores))
        aim = scores[rows, targets[start : start + len(scores)]]  # (b,)
        ranks[start : start + len(scores)] = (scores >= (aim - tie)[:, None]).sum(1)  # the target counts itself: from 1
    return {k: (ranks <= k).astype(np.float64) for k in ks}


def nearest(queries: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gallery row that stands first for each query, (Q,), and its score, (Q,)."""
    queries, gallery = _checked(queries, gallery)
    first, score = np.zeros(len(queries), dtype=np.int64), np.zeros(len(queries), dtype=np.float32)
    for start, scores, _ in _scores(queries, gallery):
        rows = slice(start, start + len(scores))
        first[rows], score[rows] = scores.argmax(1), scores.max(1)
    return first, score


def bootstrap_interval(
    values: np.ndarray,
    *,
    over: np.ndarray | None = None,
    seed: int = 0,
    draws: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of mean(values), or of mean(values) / mean(over) with pairs drawn together.

    Values (n,) are taken as independent. None at all, or one that is not finite, give (nan, nan); values all alike give
    an interval of no width.
    """
    values = np.asarray(values, dtype=np.float64)
    over = None if over is None else np.asarray(over, dtype=np.float64)
    if len(values) == 0 or not np.isfinite(values).all():
        return (float("nan"), float("nan"))
    random = np.random.default_rng(seed)
    means = []
    per_chunk = max(1, _CHUNK_SCORES // len(values))
    for start in range(0, draws, per_chunk):
        drawn = random.integers(0, len(values), (min(per_chunk, draws - start), len(values)))
        mean = values[drawn].mean(1)
        means.append(mean if over is None else mean / over[drawn].mean(1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def psnr(images: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each picture, (N,) in dB, infinite where both are equal.

    Both are (N, ...), uint8 or floats in [0, 1].
    """
    if images.shape != reconstructions.shape:
        raise ValueError(f"images are {images.shape}, reconstructions {reconstructions.shape}")
    error = np.array([np.mean(np.square(_unit(a) - _unit(b))) for a, b in zip(images, reconstructions, strict=True)])
    with np.errstate(divide="ignore"):
        return -10 * np.log10(error)


def mean_chroma(images: np.ndarray) -> np.ndarray:
    """Mean colour without lightness, (N, 2): a and b of `mean_lab`."""
    return mean_lab(images)[:, 1:]


def mean_lab(images: np.ndarray) -> np.ndarray:
    """Mean CIE Lab colour (D65) of (N, H, W, 3) sRGB pictures, (N, 3); uint8, or floats in [0, 1]."""
    import cv2

    return np.array(
        [cv2.cvtColor(_unit(i).astype(np.float32), cv2.COLOR_RGB2LAB).mean((0, 1), dtype=np.float64) for i in images]
    ).reshape(-1, 3)


def detail_kept(images: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """Energy of the Laplacian of lightness in each reconstruction over that in its picture, (N,); 1 is as sharp.

    Both are (N, H, W, 3), uint8 or floats in [0, 1]; a picture without any detail gives nan.
    """
    import cv2

    def energy(image: np.ndarray) -> float:
        grey = cv2.cvtColor(_unit(image).astype(np.float32), cv2.COLOR_RGB2GRAY)
        return float(np.square(cv2.Laplacian(grey, cv2.CV_32F)).mean())

    own = np.array([energy(image) for image in images])
    drawn = np.array([energy(image) for image in reconstructions])
    return np.divide(drawn, own, out=np.full(len(own), np.nan), where=own > 1e-9)


def predicted(rows: np.ndarray, values: np.ndarray, asking: np.ndarray, *, k: int = 10) -> float:
    """R2 of values (Q, V) predicted as the mean over the k nearest rows that are not asking.

    Args:
        rows: (N, D) embeddings; values: (N, V); asking: (Q,) which rows are predicted, from all the others.

    Returns:
        1 - squared error / squared distance to the mean: 1 is exact, 0 knows nothing.
    """
    rest = np.setdiff1d(np.arange(len(rows)), asking)
    queries, gallery = _checked(rows[asking], rows[rest])
    k = min(k, len(rest))
    guess = np.concatenate(
        [
            values[rest][np.argpartition(-scores, k - 1, axis=1)[:, :k]].mean(1)
            for _, scores, _ in _scores(queries, gallery)
        ]
    )
    truth = values[asking]
    return float(1 - np.square(truth - guess).sum() / np.square(truth - truth.mean(0)).sum())


def _retrieve(queries, right, gallery, found, ks, *, itself) -> Retrieval:
    """`right` (Q,) and `found` (N,) are label codes; `itself` (Q,) is the gallery row that is the query, or None."""
    queries, gallery = _checked(queries, gallery)
    if len(right) != len(queries) or len(found) != len(gallery):
        raise ValueError(f"{len(queries)} and {len(gallery)} embeddings have {len(right)} and {len(found)} labels")
    kept = _can_find(right, found, itself)
    return _figures(_scores(queries[kept], gallery), kept, right, found, ks, itself)


def _can_find(right: np.ndarray, found: np.ndarray, itself: np.ndarray | None) -> np.ndarray:
    """Which queries have something right to find, (Q,)."""
    there = np.bincount(found[found >= 0], minlength=max(right.max(initial=0), 0) + 1)
    return (right >= 0) & (there[np.maximum(right, 0)] > (0 if itself is None else 1))


def _figures(chunks, kept, right, found, ks, itself) -> Retrieval:
    """Figures of the kept queries, whose scores come in chunks as `_scores` gives them."""
    recall = {k: np.zeros(kept.sum()) for k in ks}
    map_at_r = np.zeros(kept.sum())
    rows = np.flatnonzero(kept)
    for start, scores, tie in chunks:
        for offset, score in enumerate(scores):
            query = rows[start + offset]
            candidates = np.ones(len(found), dtype=bool)
            if itself is not None:
                candidates[itself[query]] = False
            ranks = _ranks(score[candidates], found[candidates] == right[query], tie[offset])
            for k in ks:
                recall[k][start + offset] = ranks[0] <= k
            map_at_r[start + offset] = _average_precision_at_r(ranks)
    return Retrieval(recall, map_at_r, kept)


def _ranks(scores: np.ndarray, right: np.ndarray, tie: float) -> np.ndarray:
    """Ranks of the right ones, best first, (R,) from 1; wrong ones that tie with a right one stand before it."""
    good = np.sort(scores[right])[::-1]
    bad = np.sort(scores[~right])
    before = len(bad) - np.searchsorted(bad, good - tie, side="left")
    return before + np.arange(1, len(good) + 1)


def _average_precision_at_r(ranks: np.ndarray) -> float:
    """1/R * sum over i = 1..R of precision at i where hit i is right; `ranks` (R,) are the right ones' ranks."""
    precision = np.arange(1, len(ranks) + 1) / ranks
    return float(precision[ranks <= len(ranks)].sum() / len(ranks))


def _scores(queries: np.ndarray, gallery: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Chunks of queries: first row, scores (b, N), and per query the difference that counts as a tie (b,)."""
    longest = np.sqrt(np.einsum("nd,nd->n", gallery, gallery).max(initial=0.0))
    chunk = max(1, _CHUNK_SCORES // max(1, len(gallery)))
    for start in range(0, len(queries), chunk):
        part = queries[start : start + chunk]
        yield start, part @ gallery.T, TIE * longest * np.linalg.norm(part, axis=1)


def _checked(queries: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    queries, gallery = np.asarray(queries, dtype=np.float32), np.asarray(gallery, dtype=np.float32)
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(f"queries are {queries.shape} and gallery {gallery.shape}; expected (Q, D) and (N, D)")
    for name, rows in (("queries", queries), ("gallery", gallery)):
        if not np.isfinite(rows).all():
            raise ValueError(f"{name}: {int((~np.isfinite(rows).all(1)).sum())} rows hold NaN or infinity")
    return queries, gallery


def _codes(query_labels: Sequence[Hashable], gallery_labels: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    """Labels as numbers, equal where the labels are equal; None is -1 among queries and -2 in the gallery."""
    number = {label: code for code, label in enumerate(dict.fromkeys([*gallery_labels, *query_labels]))}
    right = np.array([-1 if label is None else number[label] for label in query_labels], dtype=np.int64)
    found = np.array([-2 if label is None else number[label] for label in gallery_labels], dtype=np.int64)
    return right, found


def _unit(image: np.ndarray) -> np.ndarray:
    return image / 255.0 if image.dtype == np.uint8 else image.astype(np.float64)
