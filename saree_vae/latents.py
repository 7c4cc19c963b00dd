"""The latents of many pictures: what `encode` gives, and everything above the model works on."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import SareeError
from .files import atomic_write


@dataclass(frozen=True)
class Latents:
    """Posteriors q(z|x) of N pictures.

    keys: the pictures' keys, N of them.
    mu, sigma: posterior means and standard deviations, (N, D) float32.
    motif_dim: how many leading dimensions are `motif`; the rest are `colour`.
    boxes: where rows are parts of pictures, which part each is: (N, 4) of x0, y0, x1, y1 in [0, 1]. A picture's rows
        then share its key and follow one another.
    """

    keys: tuple[str, ...]
    mu: np.ndarray
    sigma: np.ndarray
    motif_dim: int
    boxes: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.mu.shape != self.sigma.shape or len(self.keys) != len(self.mu):
            raise ValueError(f"{len(self.keys)} keys, mu {self.mu.shape} and sigma {self.sigma.shape} do not agree")

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def motif(self) -> np.ndarray:
        """Posterior means of the motif half, (N, motif_dim)."""
        return self.mu[:, : self.motif_dim]

    @property
    def colour(self) -> np.ndarray:
        """Posterior means of the colour half, (N, D - motif_dim)."""
        return self.mu[:, self.motif_dim :]

    @property
    def starts(self) -> np.ndarray:
        """Where each picture's rows begin, rising from 0: one for every run of equal keys."""
        keys = np.array(self.keys, dtype=str)
        return np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]][: len(keys)])

    def of(self, pictures: Sequence[int] | np.ndarray) -> Latents:
        """The rows of some pictures, by their numbers in the order of `starts`."""
        starts = self.starts
        ends = np.r_[starts[1:], len(self)]
        rows = np.concatenate([np.arange(starts[i], ends[i]) for i in pictures] or [np.zeros(0, int)])
        boxes = None if self.boxes is None else self.boxes[rows]
        return Latents(tuple(self.keys[row] for row in rows), self.mu[rows], self.sigma[rows], self.motif_dim, boxes)

    def embedding(self) -> np.ndarray:
        """Unit motif and unit colour side by side, (N, D) float32: what the index stores."""
        return np.concatenate([unit(self.motif), unit(self.colour)], axis=1)

    def means(self) -> np.ndarray:
        """Of each picture the mean of its rows' embeddings, each half of length one again, in the order of `starts`."""
        sums = np.add.reduceat(self.embedding(), self.starts, axis=0)
        return np.concatenate([unit(sums[:, : self.motif_dim]), unit(sums[:, self.motif_dim :])], axis=1)

    def save(self, path: str | Path) -> None:
        """Write an npz with keys, mu, sigma, the slices "motif" and "colour", and the boxes if there are any."""
        bounds = {"motif": (0, self.motif_dim), "colour": (self.motif_dim, self.mu.shape[1])}
        slices = {name: np.array(bound) for name, bound in bounds.items()}
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            parts = {} if self.boxes is None else {"boxes": self.boxes}
            np.savez(file, keys=np.array(self.keys, dtype=str), mu=self.mu, sigma=self.sigma, **slices, **parts)

    @staticmethod
    def load(path: str | Path) -> Latents:
        """Read what `save` wrote.

        Raises:
            SareeError: not a latents file.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                keys = tuple(file["keys"].tolist())
                boxes = file["boxes"] if "boxes" in file.files else None
                return Latents(keys, file["mu"], file["sigma"], int(file["motif"][1]), boxes)
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise SareeError(f"{path}: not a latents file made by `saree-vae encode` ({error})") from None


# How much each half counts where nobody says otherwise, chosen on val: colours that count as much as the design find
# less of a craft, and the very piece no better where regions are compared.
WEIGHTS = {"motif": 1.0, "colour": 0.3}


def shares(motif: float, colour: float) -> tuple[float, float]:
    """The two weights as parts of one.

    Raises:
        SareeError: a weight is negative or not finite, or none is left.
    """
    total = motif + colour
    if not (motif >= 0 and colour >= 0 and 0 < total < float("inf")):
        raise SareeError(f"weights are motif {motif:g}, colour {colour:g}; they cannot be negative, nor both be 0")
    return motif / total, colour / total


def weighted(rows: np.ndarray, motif_dim: int, motif: float, colour: float) -> np.ndarray:
    """Rows of unit halves, (..., D), scaled: their inner products are the mean of both cosines by these weights."""
    motif, colour = shares(motif, colour)
    return rows * np.sqrt(np.float32([motif] * motif_dim + [colour] * (rows.shape[-1] - motif_dim)))


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length one, (N, D) float32; a row of zeros stays zero."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(length, 1e-12)).astype(np.float32)


WHOLES = 0.25  # of a match that the whole pictures decide, the rest their parts; chosen on val


def match(scores: np.ndarray, starts: np.ndarray, wholes: Sequence[int] = ()) -> np.ndarray:
    """How well items match a query of several vectors, (N,): the mean of `scores` over what `pairing` joins."""
    return np.add.reduceat((scores * pairing(scores, starts, wholes)).sum(0), starts)


def pairing(scores: np.ndarray, starts: np.ndarray, wholes: Sequence[int] = ()) -> np.ndarray:
    """How much each vector of a query counts with each of an item's, (V, T); 1 in sum over each item's columns.

    Each of the query's vectors counts with that of the item which is most like it, so a close-up may be found in the
    figure that it is of; where the query is a whole picture, it counts by WHOLES with the whole picture of the item.

    Args:
        scores: query vectors against stored vectors, (V, T).
        starts: (N,) where each item's columns begin, rising from 0; its whole picture is the first of them.
        wholes: rows of the query that saw a whole picture; none where it is a part of one.
    """
    item = np.repeat(np.arange(len(starts)), np.diff(starts, append=scores.shape[1]))
    weights = np.float32(scores == np.maximum.reduceat(scores, starts, axis=1)[:, item])
    weights /= np.add.reduceat(weights, starts, axis=1)[:, item] * len(scores)  # equally like ones share
    if len(wholes):
        wholes = np.asarray(wholes)
        best = wholes[scores[np.ix_(wholes, starts)].argmax(0)]  # of several pictures, that which is most like it
        weights *= 1 - WHOLES
        weights[best, starts] += WHOLES
    return weights
