"""Families of q(z|x): each turns an encoder's raw outputs into a distribution with `mu`, `sigma` and `draw(noise)`."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .distributions import Draw, FullNormal, Normal, exactly

LOG_VARIANCE = (-9.0, 4.0)  # posterior log-variances are clamped to this: sigma between 0.011 and 7.4
GATE = 2.0  # the gates of a flow start at sigmoid(2) = 0.88 of the old value (Kingma et al. 2016, section 4)


class Gaussian(nn.Module):
    """Independent normals: raw (B, 2 D) of mu and log-variance."""

    def __init__(self, dim: int):
        super().__init__()
        self.outputs = 2 * dim

    def forward(self, raw: Tensor) -> Normal:
        return normal(raw)


class FullCovariance(nn.Module):
    """A normal with any covariance: raw (B, D + D (D + 1) / 2) of mu and its Cholesky factor."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim, self.outputs = dim, dim + dim * (dim + 1) // 2

    def forward(self, raw: Tensor) -> FullNormal:
        mu, log_variance, below = raw.float().split([self.dim, self.dim, self.outputs - 2 * self.dim], dim=1)
        tril = torch.diag_embed((0.5 * log_variance.clamp(*LOG_VARIANCE)).exp())
        row, column = torch.tril_indices(self.dim, self.dim, -1, device=raw.device)
        # Scaled so that the sum over a row stays of the order of one, whatever the dimension.
        return FullNormal(mu, tril.index_put((torch.arange(len(raw))[:, None], row, column), below / self.dim**0.5))


class Point(NamedTuple):
    """All of q at one place, as a plain autoencoder has it; it has no density, and its rate counts as 0."""

    mu: Tensor

    @property
    def sigma(self) -> Tensor:
        return torch.zeros_like(self.mu)

    def draw(self, noise: Tensor | None = None) -> Draw:
        return Draw(self.mu, torch.zeros_like(self.mu))


class Deterministic(nn.Module):
    """No distribution at all: raw (B, D) is z. Makes the model a plain autoencoder."""

    def __init__(self, dim: int):
        super().__init__()
        self.outputs = dim

    def forward(self, raw: Tensor) -> Point:
        return Point(raw.float())


class Flowed(NamedTuple):
    """Independent normals sent through flows, which see `context` (B, C)."""

    base: Normal
    context: Tensor
    flows: nn.ModuleList

    @property
    def mu(self) -> Tensor:
        """Where the flows take the mean of the base: what search compares. Not the mean of q, which has no formula."""
        return self.draw().z

    @property
    def sigma(self) -> Tensor:
        """Of the base."""
        return self.base.sigma

    def draw(self, noise: Tensor | None = None) -> Draw:
        z, log_q = self.base.draw(noise)
        for flow in self.flows:
            z, log_gain = flow(z, self.context)
            log_q = log_q - log_gain
            # Each flow lets a number see those before it, so every second one looks from the other end.
            z, log_q = z.flip(1), log_q.flip(1)
        return Draw(z, log_q) if len(self.flows) % 2 == 0 else Draw(z.flip(1), log_q.flip(1))


class InverseAutoregressive(nn.Module):
    """A normal with a stack of inverse autoregressive flows (Kingma et al. 2016, arXiv:1606.04934).

    Raw (B, 4 D): mu and log-variance of the base, and 2 D numbers that all flows see. At the start they do nothing.
    """

    def __init__(self, dim: int, flows: int):
        super().__init__()
        self.dim, self.outputs = dim, 4 * dim
        self.flows = nn.ModuleList(Flow(dim, 2 * dim) for _ in range(flows))

    def forward(self, raw: Tensor) -> Flowed:
        base, context = raw.float().split(2 * self.dim, dim=1)
        return Flowed(normal(base), context, self.flows)


class Flow(nn.Module):
    """One step: z_i -> gate_i z_i + (1 - gate_i) m_i, with gate and m of z_<i by a masked network.

    The network is MADE's (Germain et al. 2015, arXiv:1502.03509).

    The gate is a sigmoid, the numerically stable form of the paper's section 4, divided by where it starts: so an
    untrained flow is the identity.
    """

    def __init__(self, dim: int, context: int):
        super().__init__()
        hidden = max(64, 6 * dim)
        order = torch.arange(dim)
        degree = torch.arange(hidden) % max(1, dim - 1)  # hidden unit h sees the numbers up to its degree
        self.enter = Masked(dim, hidden, degree[:, None] >= order)
        self.hear = nn.Linear(context, hidden)
        self.middle = Masked(hidden, hidden, degree[:, None] >= degree)
        self.leave = Masked(hidden, 2 * dim, order.repeat(2)[:, None] > degree)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """z (B, D) -> the new z, and the log of what each number's own factor is, (B, D)."""
        with exactly(z):
            hidden = F.elu(self.enter(z) + self.hear(context))
            hidden = F.elu(self.middle(hidden)) + hidden
            shift, raw = self.leave(hidden).chunk(2, dim=1)
            gate, start = torch.sigmoid(raw + GATE), 1 / (1 + math.exp(-GATE))
            return gate / start * z + (1 - gate) * shift, F.logsigmoid(raw + GATE) - math.log(start)


class Masked(nn.Linear):
    """A linear layer of which only the weights under `mask` (outputs, inputs) count."""

    def __init__(self, inputs: int, outputs: int, mask: Tensor):
        super().__init__(inputs, outputs)
        self.register_buffer("mask", mask.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


def normal(raw: Tensor) -> Normal:
    """Of (B, 2 D, ...) of mu and log-variance, which is clamped."""
    mu, log_variance = raw.float().chunk(2, dim=1)
    return Normal(mu, (0.5 * log_variance.clamp(*LOG_VARIANCE)).exp())


POSTERIORS = {
    "gaussian": lambda dim, flows: Gaussian(dim),
    "full": lambda dim, flows: FullCovariance(dim),
    "iaf": InverseAutoregressive,
    "point": lambda dim, flows: Deterministic(dim),
}
