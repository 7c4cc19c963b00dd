"""The distributions of the model: q(z|x), p(z) and p(x|z), with the KL written once."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


class Normal(NamedTuple):
    """Independent normals; `mu` and `sigma` broadcast. Log densities and entropies are per element, in nats."""

    mu: Tensor
    sigma: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        return -0.5 * ((x - self.mu) / self.sigma) ** 2 - (self.sigma.log() + 0.5 * LOG_2PI)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Reparameterised: mu + sigma * noise (Kingma & Welling 2014)."""
        noise = torch.randn(self.mu.shape, generator=generator, device=self.mu.device, dtype=self.mu.dtype)
        return self.mu + self.sigma * noise

    @property
    def mean(self) -> Tensor:
        return self.mu

    def split(self, size: int) -> list[Normal]:
        """Parts of `size` rows."""
        return [Normal(m, s) for m, s in zip(self.mu.split(size), _split(self.sigma, self.mu, size), strict=True)]

    @staticmethod
    def join(first: Normal, second: Normal) -> Normal:
        """Dimensions side by side: (B, D1) and (B, D2) give (B, D1 + D2)."""
        return Normal(torch.cat([first.mu, second.mu], 1), torch.cat([first.sigma, second.sigma], 1))


class Laplace(NamedTuple):
    """Independent Laplace distributions with scale `b`."""

    mu: Tensor
    b: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        return -(x - self.mu).abs() / self.b - (2 * self.b).log()

    @property
    def mean(self) -> Tensor:
        return self.mu

    def split(self, size: int) -> list[Laplace]:
        return [Laplace(m, b) for m, b in zip(self.mu.split(size), _split(self.b, self.mu, size), strict=True)]


class Bernoulli(NamedTuple):
    """Bernoulli by logits; `x` in [0, 1] is read as the chance of a one."""

    logits: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        if x.min() < 0 or x.max() > 1:
            raise ValueError(f"a Bernoulli likelihood needs values in [0, 1], got {x.min():.3g} to {x.max():.3g}")
        return -F.binary_cross_entropy_with_logits(self.logits, x, reduction="none")

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    def split(self, size: int) -> list[Bernoulli]:
        return [Bernoulli(logits) for logits in self.logits.split(size)]


Likelihood = Normal | Laplace | Bernoulli


def _split(scale: Tensor, mu: Tensor, size: int) -> list[Tensor]:
    """The scales of each part of `mu`: a scale that all share stays one number, which saves a pass over the picture."""
    return list(scale.split(size)) if scale.ndim else [scale] * len(mu.split(size))


def kl_to_standard_normal(q: Normal) -> Tensor:
    """KL(q || N(0, I)) per dimension in nats, the shape of `q.mu` (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (q.mu**2 + q.sigma**2 - 1) - q.sigma.log()
