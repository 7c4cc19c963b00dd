"""The latents of many pictures: what `encode` gives, and everything above the model works on."""

from __future__ import annotations

import zipfile
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
    """

    keys: tuple[str, ...]
    mu: np.ndarray
    sigma: np.ndarray
    motif_dim: int

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

    def embedding(self) -> np.ndarray:
        """Unit motif and unit colour side by side, (N, D) float32: what the index stores."""
        return np.concatenate([unit(self.motif), unit(self.colour)], axis=1)

    def save(self, path: str | Path) -> None:
        """Write an npz with keys, mu, sigma and the slices "motif" and "colour"."""
        bounds = {"motif": (0, self.motif_dim), "colour": (self.motif_dim, self.mu.shape[1])}
        slices = {name: np.array(bound) for name, bound in bounds.items()}
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez(file, keys=np.array(self.keys, dtype=str), mu=self.mu, sigma=self.sigma, **slices)

    @staticmethod
    def load(path: str | Path) -> Latents:
        """Read what `save` wrote.

        Raises:
            SareeError: not a latents file.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                keys = tuple(file["keys"].tolist())
                return Latents(keys, file["mu"], file["sigma"], int(file["motif"][1]))
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise SareeError(f"{path}: not a latents file made by `saree-vae encode` ({error})") from None


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length one, (N, D) float32; a row of zeros stays zero."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(length, 1e-12)).astype(np.float32)
