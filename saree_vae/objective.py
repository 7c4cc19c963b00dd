"""What training minimises: the ELBO, and the contrast that tells motif from colour."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .distributions import Draw, Likelihood, Normal, Posterior, Prior, kl_divergence


class Elbo(NamedTuple):
    """recon: log p(x|z) of one z ~ q(z|x), (B,) nats. kl: of each part of z ("motif", "colour", "level_2", ...), (B, D)
    nats by dimension or (B, 1) as a whole; KL(q||p), or log q(z|x) - log p(z) at that same z, whose mean it is."""

    recon: Tensor
    kl: dict[str, Tensor]

    @property
    def rate(self) -> Tensor:
        """What z costs, (B,) nats."""
        return sum((part.sum(1) for part in self.kl.values()), torch.zeros_like(self.recon))

    @property
    def value(self) -> Tensor:
        """The ELBO of each image, (B,) nats: higher is better."""
        return self.recon - self.rate

    def loss(self, *, beta: float = 1.0, free_bits: float = 0.0, capacity: float | None = None) -> Tensor:
        """The negative ELBO of the batch, () nats per image; true with beta=1, free_bits=0 and no capacity.

        Args:
            beta: weight of the KL (Higgins et al. 2017).
            free_bits: KL, in nats per dimension, that costs nothing (Kingma et al. 2016, arXiv:1606.04934); of parts
                that are known as a whole, for the whole.
            capacity: nats; in place of the KL, how far it is from this (Burgess et al. 2018, arXiv:1804.03599).
        """
        # The floor is on the batch mean: one image may use a dimension that others leave idle.
        paid = (part.mean(0).clamp(min=free_bits).sum() for part in self.kl.values())
        paid_kl = sum(paid, self.recon.new_zeros(()))
        if capacity is not None:
            paid_kl = (paid_kl - capacity).abs()
        return beta * paid_kl - self.recon.mean()


def elbo(x: Tensor, likelihood: Likelihood, kl: dict[str, Tensor]) -> Elbo:
    """Evidence lower bound of a batch of images, in nats.

    ELBO(x) = E_q[log p(x|z)] - KL(q(z|x) || p(z))

    Args:
        x: images, (B, C, H, W), values in [0, 1].
        likelihood: p(x|z) for one z ~ q(z|x), broadcast over x.
        kl: as `Elbo` says.

    Raises:
        ValueError: x does not have the likelihood's shape (a Bernoulli likelihood also wants values in [0, 1]).
    """
    if likelihood.shape != x.shape:
        raise ValueError(f"x is {tuple(x.shape)} but the likelihood is of {tuple(likelihood.shape)}")
    return Elbo(likelihood.log_prob(x).flatten(1).sum(1), kl)


def divergence(posterior: Posterior, prior: Prior, draw: Draw) -> Tensor:
    """KL(q||p), by formula where there is one, else `log_ratio`: (B, D) or (B, 1) nats."""
    if isinstance(posterior, Normal) and isinstance(prior, Normal):
        return kl_divergence(posterior, prior)
    return log_ratio(prior, draw)


def log_ratio(prior: Prior, draw: Draw) -> Tensor:
    """log q(z|x) - log p(z) of what was drawn, (B, D) nats, or (B, 1) where either is known as a whole only."""
    log_p = prior.log_prob(draw.z)
    if log_p.shape == draw.log_q.shape:
        return draw.log_q - log_p
    return draw.log_q.sum(1, keepdim=True) - log_p.sum(1, keepdim=True)


def importance_bound(log_weights: Tensor) -> Tensor:
    """The importance-weighted bound on log p(x), (B,) nats in float64 (Burda et al. 2016, arXiv:1509.00519).

    Args:
        log_weights: log p(x, z) - log q(z|x) of K draws of z, (K, B). With K = 1 it is the ELBO; it rises with K.
    """
    return log_weights.double().logsumexp(0) - math.log(len(log_weights))


def total_correlation(posterior: Normal, z: Tensor, pictures: int) -> Tensor:
    """KL(q(z) || prod_d q(z_d)) over the data, () nats, estimated on a batch by weighted sampling.

    The estimate of Chen et al. 2018 (arXiv:1802.04942, section 4.1); it is biased, but enough to minimise.

    Args:
        posterior: q(z|x), (B, D).
        z: one draw of each, (B, D).
        pictures: how many the training set has.
    """
    pairs = Normal(posterior.mu[None], posterior.sigma[None]).log_prob(z[:, None])  # (B, B, D): z_i under q(.|x_j)
    log_count = math.log(len(z) * pictures)
    whole = pairs.sum(2).logsumexp(1) - log_count
    return (whole - (pairs.logsumexp(1) - log_count).sum(1)).mean()


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
