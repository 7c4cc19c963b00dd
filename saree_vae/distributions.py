"""The distributions of the model, q(z|x), p(z) and p(x|z): densities in nats, each formula written once.

A density keeps the axes of what it is the density of where its numbers are independent (so it can be summed by
dimension), and a last axis of one where they are not.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)
HALF_LEVEL = 1 / 510  # half the step between two of 256 levels, on [0, 1]


class Draw(NamedTuple):
    """A sample z ~ q(z|x) with log q(z|x), (B, D) by dimension or (B, 1) as a whole."""

    z: Tensor
    log_q: Tensor


class Prior(Protocol):
    """p(z) of a part of z."""

    def log_prob(self, z: Tensor) -> Tensor: ...


class Posterior(Protocol):
    """q(z|x) of a part of z: where it lies and how wide it is, (B, D) each, and draws from it."""

    @property
    def mu(self) -> Tensor: ...

    @property
    def sigma(self) -> Tensor: ...

    def draw(self, noise: Tensor | None = None) -> Draw: ...


class Normal(NamedTuple):
    """Independent normals; `mu` and `sigma` broadcast. Log densities and entropies are per element, in nats."""

    mu: Tensor
    sigma: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        return -0.5 * ((x - self.mu) / self.sigma) ** 2 - (self.sigma.log() + 0.5 * LOG_2PI)

    def entropy(self) -> Tensor:
        return self.sigma.log() + 0.5 * (LOG_2PI + 1)

    def draw(self, noise: Tensor | None = None) -> Draw:
        """Reparameterised: mu + sigma * noise (Kingma & Welling 2014); the mean without noise."""
        z = self.mu if noise is None else self.mu + self.sigma * noise
        return Draw(z, self.log_prob(z))

    @property
    def mean(self) -> Tensor:
        return self.mu

    @property
    def shape(self) -> torch.Size:
        return self.mu.shape

    def split(self, size: int) -> list[Normal]:
        """Parts of `size` rows."""
        return [Normal(m, s) for m, s in zip(self.mu.split(size), _split(self.sigma, self.mu, size), strict=True)]


class FullNormal(NamedTuple):
    """A normal with any covariance, that of `tril @ tril.T`: mu (B, D), tril (B, D, D), positive on its diagonal."""

    mu: Tensor
    tril: Tensor

    @property
    def sigma(self) -> Tensor:
        """Standard deviation by dimension, (B, D)."""
        return self.tril.square().sum(-1).sqrt()

    def log_prob(self, z: Tensor) -> Tensor:
        """(B, 1)."""
        noise = torch.linalg.solve_triangular(self.tril, (z - self.mu)[..., None], upper=False)[..., 0]
        log_scale = self.tril.diagonal(dim1=-2, dim2=-1).log()
        return (-0.5 * noise**2 - log_scale - 0.5 * LOG_2PI).sum(-1, keepdim=True)

    def draw(self, noise: Tensor | None = None) -> Draw:
        if noise is None:
            return Draw(self.mu, self.log_prob(self.mu))
        with exactly(self.mu):
            z = self.mu + (self.tril @ noise[..., None])[..., 0]
        return Draw(z, self.log_prob(z))


class NormalMixture(NamedTuple):
    """K normals with independent dimensions, of which one is drawn: weights (K,) as logits, mu and sigma (K, D)."""

    logits: Tensor
    mu: Tensor
    sigma: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        """(B, D) -> (B, 1)."""
        # One product of matrices for all pairs: (B, K, D) numbers would fill the memory with many samples.
        with exactly(z):
            precision = self.sigma**-2
            square = z.square() @ precision.T - 2 * z @ (self.mu * precision).T + (self.mu.square() * precision).sum(1)
        log_norm = self.sigma.log().sum(1) + 0.5 * LOG_2PI * z.shape[1]
        return (self.logits.log_softmax(0) - 0.5 * square - log_norm).logsumexp(1, keepdim=True)

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """(count, D)."""
        which = torch.multinomial(self.logits.softmax(0), count, replacement=True, generator=generator)
        return Normal(self.mu[which], self.sigma[which]).draw(standard_noise(self.mu[which], generator)).z


class Laplace(NamedTuple):
    """Independent Laplace distributions with scale `b`."""

    mu: Tensor
    b: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        return -(x - self.mu).abs() / self.b - (2 * self.b).log()

    @property
    def mean(self) -> Tensor:
        return self.mu

    @property
    def shape(self) -> torch.Size:
        return self.mu.shape

    def split(self, size: int) -> list[Laplace]:
        return [Laplace(m, b) for m, b in zip(self.mu.split(size), _split(self.b, self.mu, size), strict=True)]


class Bernoulli(NamedTuple):
    """Bernoulli by logits; `x` in [0, 1] is read as the chance of a one."""

    logits: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        if x.min() < 0 or x.max() > 1:
            raise ValueError(f"a Bernoulli likelihood needs values in [0, 1], got {x.min():.3g} to {x.max():.3g}")
        return self.logits * x - F.softplus(self.logits)

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    @property
    def shape(self) -> torch.Size:
        return self.logits.shape

    def split(self, size: int) -> list[Bernoulli]:
        return [Bernoulli(logits) for logits in self.logits.split(size)]


class DiscretisedLogistics(NamedTuple):
    """A mixture of K logistics over the 256 levels of a pixel (Salimans et al. 2017, arXiv:1701.05517).

    The channels of a pixel share the component that is drawn, and are independent given it.

    logits: (B, K, H, W); mu and scale: (B, K, C, H, W), on [0, 1].
    """

    logits: Tensor
    mu: Tensor
    scale: Tensor

    def log_prob(self, x: Tensor) -> Tensor:
        """Log probability of each pixel's level, (B, 1, H, W), for x (B, C, H, W) of whole levels / 255."""
        x = x[:, None]
        upper, lower = (x + HALF_LEVEL - self.mu) / self.scale, (x - HALF_LEVEL - self.mu) / self.scale
        # The level takes the mass between its two edges, s(upper) - s(lower), in a form that nothing rounds away; the
        # outermost take all that lies beyond.
        above, below = F.logsigmoid(upper), F.logsigmoid(-lower)
        within = (-torch.expm1(-2 * HALF_LEVEL / self.scale)).log() + above + below
        log_p = torch.where(x < HALF_LEVEL, above, within)
        log_p = torch.where(x > 1 - HALF_LEVEL, below, log_p).sum(2)  # (B, K, H, W)
        return (self.logits.log_softmax(1) + log_p).logsumexp(1, keepdim=True)

    @property
    def mean(self) -> Tensor:
        """(B, C, H, W)."""
        return (self.logits.softmax(1)[:, :, None] * self.mu.clamp(0, 1)).sum(1)

    @property
    def shape(self) -> torch.Size:
        return self.mu[:, 0].shape

    def split(self, size: int) -> list[DiscretisedLogistics]:
        parts = (self.logits.split(size), self.mu.split(size), self.scale.split(size))
        return [DiscretisedLogistics(*part) for part in zip(*parts, strict=True)]


Likelihood = Normal | Laplace | Bernoulli | DiscretisedLogistics


def exactly(like: Tensor) -> torch.autocast:
    """Products of matrices in full precision, also where training takes half: a density is no place for that."""
    return torch.autocast(like.device.type, enabled=False)


def standard_noise(like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal numbers of the shape, kind and device of `like`."""
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def kl_divergence(q: Normal, p: Normal) -> Tensor:
    """KL(q || p) per dimension in nats (Kingma & Welling 2014, appendix B, for any p)."""
    return 0.5 * (((q.mu - p.mu) / p.sigma) ** 2 + (q.sigma / p.sigma) ** 2 - 1) - q.sigma.log() + p.sigma.log()


def _split(scale: Tensor, mu: Tensor, size: int) -> list[Tensor]:
    """The scales of each part of `mu`: a scale that all share stays one number, which saves a pass over the picture."""
    return list(scale.split(size)) if scale.ndim else [scale] * len(mu.split(size))
