"""A whole collection at a glance: a map of it, pieces that stand apart, and designs that come in several colours."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from .data import DataSet, Item

MOST = 20_000  # pieces that are looked at together; of more, so many are drawn at random
JUDGED = 1500  # pieces that a scorer of strangeness learns from and judges: minutes of one core
NEIGHBOURS = 10
EPOCHS = 200  # of UMAP, which takes 500 for small sets: from a good start the rest moves little
WIDEST = 64  # other colours of one piece's design that are looked at
BLOCK = 1024  # rows of cosines at a time: 80 MB against 20,000
SAME_DESIGN, OTHER_COLOURS = 0.8, 0.6  # cosines: at least so alike in motif, at most so alike in colour
SPLITS = ("train", "val", "test")

_alone = threading.Lock()  # two calls of UMAP at once end the process, where numba has but its simplest threads


def sample(count: int, most: int = MOST, seed: int = 0) -> np.ndarray:
    """Rows of `count` to look at, rising: all, or `most` drawn at random."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def plane(embedding: np.ndarray, way: str = "pca", seed: int = 0) -> np.ndarray:
    """Places (N, 2) in the plane: of "pca", the two widest directions; of "umap", neighbours stay near each other.

    UMAP (McInnes et al. 2018, arXiv:1802.03426) shows who is near whom; distances between far groups say nothing. Of
    so few pieces that each is everybody's neighbour, "umap" gives what "pca" does.
    """
    flat = _widest(embedding)
    if way == "pca" or len(embedding) <= NEIGHBOURS + 1:
        return flat
    with _alone:
        from umap import UMAP

        start = 10 * flat / max(float(np.abs(flat).max()), 1e-12)  # which also spares the search for a start
        settings = {"n_neighbors": NEIGHBOURS, "n_epochs": EPOCHS, "init": start, "random_state": seed, "n_jobs": 1}
        return UMAP(**settings).fit_transform(embedding)


def apartness(embedding: np.ndarray) -> np.ndarray:
    """How far each of N pieces is from its nearest NEIGHBOURS others, (N,): the mean of 1 - cosine, halves alike.

    Args:
        embedding: (N, D), halves of unit length.
    """
    unit = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
    count = min(NEIGHBOURS, len(unit) - 1)
    found = np.zeros(len(unit), np.float32)
    for rows in _blocks(len(unit)) if count > 0 else ():
        cosine = unit[rows] @ unit.T
        cosine[np.arange(len(rows)), rows] = -2
        found[rows] = 1 - np.partition(cosine, -count, axis=1)[:, -count:].mean(1)
    return found


def in_many_colours(
    embedding: np.ndarray, motif_dim: int, *, alike: float = SAME_DESIGN, apart: float = OTHER_COLOURS
) -> list[np.ndarray]:
    """Groups of pieces of one design in different colours, as rows, the largest first and then the most alike.

    In a group all motifs are at least `alike` to that of the first piece (cosine), and no two colours are more than
    `apart` alike, so that each colourway stands there once. A piece is in one group at most. Those with the most
    colourways are first pieces before others.

    Args:
        embedding: (N, D), halves of unit length; without a colour half there is no such group.
    """
    motif, colour = embedding[:, :motif_dim], embedding[:, motif_dim:]
    if not colour.shape[1]:
        return []
    near = [found for rows in _blocks(len(embedding)) for found in _colourways(motif, colour, rows, alike, apart)]
    free = np.ones(len(embedding), bool)
    groups: list[tuple[float, np.ndarray]] = []
    for first in np.argsort([-len(others) for others in near], kind="stable"):
        group = [int(first)]
        for other in near[first] if free[first] else ():
            if free[other] and (colour[group] @ colour[other]).max() <= apart:
                group.append(int(other))
        if len(group) > 1:
            free[group] = False
            groups.append((float((motif[group[1:]] @ motif[first]).mean()), np.array(group)))
    return [group for _, group in sorted(groups, key=lambda one: (-len(one[1]), -one[0], one[1][0]))]


def as_data(root: Path, stored: Mapping[str, Item], most: int = JUDGED, seed: int = 0) -> DataSet:
    """The stored pieces whose photographs are still there as a data set, at most so many, drawn at random.

    A piece is on the split that it was stored with; where too few are on the train split to learn from, all are.

    Args:
        root: the catalogue's folder, which errors name.
        stored: as `Catalogue.items` gives them.
    """
    everything, items = list(stored.values()), []
    for row in np.random.default_rng(seed).permutation(len(everything)):
        item = everything[row]
        if len(items) < most and item.path.is_file():
            items.append(item if item.split in SPLITS else replace(item, split="train"))
    items.sort(key=lambda item: item.key)
    if 2 * sum(item.split == "train" for item in items) < len(items):
        items = [replace(item, split="train") for item in items]
    return DataSet(root, tuple(items))


# --- helpers ---


def _widest(embedding: np.ndarray) -> np.ndarray:
    """(N, 2) along the two directions in which rows vary most, with the signs that make them repeatable."""
    centred = embedding - embedding.mean(0)
    ways = np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1]
    ways = ways * np.where(ways[np.abs(ways).argmax(0), np.arange(ways.shape[1])] < 0, -1, 1)
    flat = centred @ ways
    return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1]))).astype(np.float32)


def _blocks(count: int) -> Iterator[np.ndarray]:
    return (np.arange(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK))


def _colourways(
    motif: np.ndarray, colour: np.ndarray, rows: np.ndarray, alike: float, apart: float
) -> Iterator[np.ndarray]:
    """Of each row those of its design in other colours, the most alike first, WIDEST at most."""
    designs = motif[rows] @ motif.T
    designs[(designs < alike) | (colour[rows] @ colour.T > apart)] = -2
    designs[np.arange(len(rows)), rows] = -2
    for row in designs:
        fits = np.flatnonzero(row > -2)
        yield fits[np.argsort(-row[fits], kind="stable")[:WIDEST]]
