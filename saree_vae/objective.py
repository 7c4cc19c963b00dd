"""What training minimises: the ELBO, and the contrast that tells motif from colour."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .distributions import Likelihood, Normal, kl_to_standard_normal


class Elbo(NamedTuple):
    """recon: E_q[log p(x|z)] by one sample, (B,) nats. kl: KL(q||p) per latent dimension, (B, D) nats."""

    recon: Tensor
    kl: Tensor

    @property
    def value(self) -> Tensor:
        """The ELBO of each image, (B,) nats: higher is better."""
        return self.recon - self.kl.sum(1)

    def loss(self, *, beta: float = 1.0, free_bits: float = 0.0) -> Tensor:
        """The negative ELBO of the batch, () nats per image; true with beta=1 and free_bits=0.

        Args:
            beta: weight of the KL (Higgins et al. 2017).
            free_bits: KL, in nats per latent dimension, that costs nothing (Kingma et al. 2016, arXiv:1606.04934).
        """
        # The floor is on the batch mean: one image may use a dimension that others leave idle.
        paid_kl = self.kl.mean(0).clamp(min=free_bits).sum()
        return beta * paid_kl - self.recon.mean()


def elbo(x: Tensor, posterior: Normal, likelihood: Likelihood) -> Elbo:
    """Evidence lower bound of a batch of images, in nats.

    ELBO(x) = E_q[log p(x|z)] - KL(q(z|x) || p(z)),  p(z) = N(0, I)

    Args:
        x: images, (B, C, H, W), values in [0, 1].
        posterior: q(z|x), (B, D).
        likelihood: p(x|z) for one z ~ q(z|x), broadcast over x.

    Raises:
        ValueError: x does not have the likelihood's shape (a Bernoulli likelihood also wants values in [0, 1]).
    """
    if likelihood.mean.shape != x.shape:
        raise ValueError(f"x is {tuple(x.shape)} but the likelihood is of {tuple(likelihood.mean.shape)}")
    recon = likelihood.log_prob(x).flatten(1).sum(1)  # (B,)
    return Elbo(recon, kl_to_standard_normal(posterior))


def info_nce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """InfoNCE on cosines, () nats: row i of `a` should find row i of `b` among all rows, and the reverse.

    The mean of both directions over (B, D) inputs; log B for random rows, 0 at best (van den Oord et al. 2018,
    arXiv:1807.03748; symmetric as in Radford et al. 2021).
    """
    scores = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / temperature  # (B, B)
    own = torch.arange(len(a), device=a.device)
    return 0.5 * (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own))


def supervised_contrast(rows: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Each row should find all rows of its own label, () nats (SupCon, Khosla et al. 2020, arXiv:2004.11362).

    Args:
        rows: (N, D), scaled to length one here.
        labels: (N,) whole numbers; a negative one is unknown: such a row asks for nothing, and only stands among those
            that others must tell apart from their own.

    Returns:
        The mean over rows that have a partner; 0 where none has.
    """
    rows = F.normalize(rows, dim=1)
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    scores = (rows @ rows.T / temperature).masked_fill(itself, float("-inf"))  # (N, N)
    partners = (labels[:, None] == labels) & (labels[:, None] >= 0) & ~itself
    asks = partners.any(1)
    log_share = scores - scores.logsumexp(1, keepdim=True)
    # -inf on the diagonal times 0 would be NaN.
    found = log_share.masked_fill(~partners, 0.0).sum(1) / partners.sum(1).clamp(min=1)
    return -(found * asks).sum() / asks.sum().clamp(min=1)
