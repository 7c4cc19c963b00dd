"""Priors p(z) of one half of the latent space: each gives a distribution with `log_prob` and `sample`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from .distributions import Normal, NormalMixture, standard_noise

Encode = Callable[[Tensor], Normal]  # pictures (K, C, S, S) -> q(z|x) of this half


class StandardNormal(nn.Module):
    """N(0, I)."""

    def __init__(self, dim: int, components: int, picture: tuple[int, int, int]):
        super().__init__()
        self.register_buffer("zero", torch.zeros(dim), persistent=False)

    def forward(self, encode: Encode) -> Normal:
        return Normal(self.zero, self.zero + 1)


class Mixture(nn.Module):
    """A mixture of K normals with independent dimensions, learned along with the rest."""

    def __init__(self, dim: int, components: int, picture: tuple[int, int, int]):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.mu = nn.Parameter(torch.randn(components, dim) if components > 1 else torch.zeros(1, dim))
        self.log_sigma = nn.Parameter(torch.zeros(components, dim))

    def forward(self, encode: Encode) -> NormalMixture:
        return NormalMixture(self.logits, self.mu, self.log_sigma.clamp(-4, 2).exp())


class Vamp(nn.Module):
    """The mean of q(z|u) over K learned pictures u (VampPrior, Tomczak & Welling 2018, arXiv:1705.07120)."""

    def __init__(self, dim: int, components: int, picture: tuple[int, int, int]):
        super().__init__()
        # Dim pictures with a little noise: where all are alike they would learn alike.
        self.raw = nn.Parameter(torch.randn(components, *picture) * 0.5 - 1.5)

    @torch.no_grad()
    def start_at(self, pictures: Tensor) -> None:
        """Begin with pictures (K, C, S, S) in [0, 1] of the training set, which is far less to learn."""
        self.raw.copy_(torch.logit(pictures, eps=0.02))

    @property
    def pictures(self) -> Tensor:
        """The learned pictures, (K, C, S, S) in [0, 1]."""
        return self.raw.sigmoid()

    def forward(self, encode: Encode) -> NormalMixture:
        q = encode(self.pictures)
        return NormalMixture(self.raw.new_zeros(len(self.raw)), q.mu, q.sigma)


PRIORS = {"normal": StandardNormal, "mixture": Mixture, "vamp": Vamp}


def sample(prior: Normal | NormalMixture, count: int, generator: torch.Generator | None = None) -> Tensor:
    """z ~ p(z), (count, D)."""
    if isinstance(prior, NormalMixture):
        return prior.sample(count, generator)
    many = Normal(prior.mu.expand(count, -1), prior.sigma.expand(count, -1))
    return many.draw(standard_noise(many.mu, generator)).z


def fit_mixture(mu: np.ndarray, sigma: np.ndarray, components: int, *, seed: int = 0) -> NormalMixture:
    """The mixture that fits the aggregate posterior best, by EM, after training: draws from it look more like the data.

    Args:
        mu, sigma: posteriors q(z|x) of training pictures, (N, D) each; one z is drawn from every one.
        components: K, at most N.
    """
    from sklearn.mixture import GaussianMixture

    z = mu + sigma * np.random.default_rng(seed).standard_normal(mu.shape)
    fitted = GaussianMixture(min(components, len(z)), covariance_type="diag", random_state=seed, reg_covar=1e-4).fit(z)
    parts = (np.log(fitted.weights_), fitted.means_, np.sqrt(fitted.covariances_))
    return NormalMixture(*(torch.from_numpy(part).float() for part in parts))
