"""A run as a scikit-learn transformer: pictures in, one row of numbers for each out.

    make_pipeline(SareeEncoder("runs/a"), LogisticRegression()).fit(files, clusters)

It can be cloned and pickled: what is kept of the run is its name, and each process loads it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from ..encoding import vectors
from ..latents import WEIGHTS
from . import loaded


class SareeEncoder(TransformerMixin, BaseEstimator):
    """Vectors of pictures, as `encoding.vectors` gives them. Learns nothing: `fit` only looks whether the run is there.

    Args:
        run: a run's folder, or "loom".
        motif, colour: how much each half counts; 1 and 0.3 as in `search`.
        crops: with so many small regions of a picture its vector is the mean of all of them, which tells more.
        device: as for `train`: "auto", "cpu", "cuda".
    """

    def __init__(
        self,
        run: str | Path = "loom",
        *,
        motif: float = WEIGHTS["motif"],
        colour: float = WEIGHTS["colour"],
        crops: int = 0,
        device: str = "auto",
    ):
        self.run, self.motif, self.colour, self.crops, self.device = run, motif, colour, crops, device

    def fit(self, pictures: Sequence, clusters: object = None) -> SareeEncoder:
        """Look whether the run can be loaded; SareeError where it cannot."""
        self.n_features_out_ = loaded(self.run, self.device).model.latent_dim
        return self

    def transform(self, pictures: Sequence[str | Path | bytes | np.ndarray]) -> np.ndarray:
        """(N, D) float32; see `encoding.vectors`, also for what it raises."""
        run = loaded(self.run, self.device)
        return vectors(run, pictures, motif=self.motif, colour=self.colour, crops=self.crops)

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """Names (D,), from motif0 on and then from colour0 on."""
        model = loaded(self.run, self.device).config.model
        halves = {"motif": model.motif_dim, "colour": model.colour_dim}
        return np.array([f"{half}{place}" for half, size in halves.items() for place in range(size)], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True
