"""How probable pictures are under a model: bounds on log p(x), and what the latents carry."""

from __future__ import annotations

import torch
from torch import Tensor

from .objective import importance_bound
from .vae import VAE

ROWS = 5000  # pictures times draws that are decoded at a time, of 28 x 28 values; larger pictures, fewer


@torch.inference_mode()
def bound(model: VAE, x: Tensor, samples: int, generator: torch.Generator | None = None) -> Tensor:
    """The importance-weighted lower bound on log p(x) of each picture, (B,) nats in float64 (Burda et al. 2016).

    Args:
        x: pictures (B, C, S, S), as `model.observed` gives them.
        samples: K, draws of z for each; 1 gives a draw of the ELBO, and the bound rises with K. Chunked: any K fits.
    """
    rows = max(1, ROWS * 784 // x[0].numel())
    found = []
    for part in x.split(max(1, rows // samples)):
        seen, left, log_weights = model.look(part), samples, []
        while left:
            draws = min(left, max(1, rows // len(part)))
            noise = model.noise(draws * len(part), generator)
            log_weights.append(model.log_weights(part, seen, draws, noise).double())
            left -= draws
        found.append(importance_bound(torch.cat(log_weights)))
    return torch.cat(found)
