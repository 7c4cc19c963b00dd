"""Vector-quantised codes: the motif half of a VQ-VAE (van den Oord et al. 2017, arXiv:1711.00937)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .distributions import Draw, exactly

CODE_CHANNELS = 32  # of the map that is quantised
DECAY = 0.99  # of the averages that codes are moved by
DEAD = 0.02  # a code with less than this share of its fair share of cells is put elsewhere
SHARPNESS = 10.0  # of the soft histogram that gradients pass through, on unit vectors


class UniformCodes(NamedTuple):
    """p(z): each cell takes any of `count` codes alike, so a map of them costs `cells` log `count` nats."""

    count: int
    cells: int

    def log_prob(self, z: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, 1)."""
        return z.new_full((len(z), 1), -self.cells * math.log(self.count))


class Quantised(NamedTuple):
    """A picture's map of codes: mu (B, K) is how often each occurs, z (B, channels, h, w) the codes themselves."""

    mu: Tensor
    z: Tensor
    away: Tensor  # mean square distance of the encoder's map from its codes, (B,)
    taken: Tensor  # which code each cell takes, (N,) for N cells of all pictures
    rows: Tensor  # what the encoder gave there, (N, channels), without gradients

    @property
    def used(self) -> Tensor:
        """Share of each code in this batch, (K,)."""
        return F.one_hot(self.taken, self.mu.shape[1]).to(self.mu.dtype).mean(0)

    @property
    def sigma(self) -> Tensor:
        return torch.zeros_like(self.mu)

    def draw(self, noise: Tensor | None = None) -> Draw:
        return Draw(self.z, self.z.new_zeros(len(self.z), 1))

    @property
    def perplexity(self) -> Tensor:
        """How many codes are in use, as exp of their entropy over the batch, ()."""
        return (-(self.used * (self.used + 1e-10).log()).sum()).exp()


class Codebook(nn.Module):
    """K codes on the unit sphere, moved towards what they stand for by running averages, the dead ones revived.

    On the sphere (Yu et al. 2022, arXiv:2110.04627) all codes can be reached from the start.
    """

    def __init__(self, count: int):
        super().__init__()
        self.outputs = CODE_CHANNELS  # channels that it wants of an encoder
        self.register_buffer("codes", F.normalize(torch.randn(count, CODE_CHANNELS), dim=1))
        self.register_buffer("sums", self.codes.clone())
        self.register_buffer("counts", torch.ones(count))

    def forward(self, raw: Tensor) -> Quantised:
        """(B, channels, h, w) -> its codes; gradients pass straight through."""
        with exactly(raw):
            return self._quantised(F.normalize(raw.float(), dim=1))

    def _quantised(self, raw: Tensor) -> Quantised:
        book = self.codes.clone()  # which gradients need after `learn` has moved it
        rows = raw.permute(0, 2, 3, 1).flatten(0, 2)  # (N, channels)
        likeness = rows @ book.T  # (N, K)
        nearest = likeness.argmax(1)
        hard = F.one_hot(nearest, len(book)).to(raw.dtype)
        codes = book[nearest].view(len(raw), *raw.shape[2:], -1).permute(0, 3, 1, 2)
        soft = (SHARPNESS * likeness).softmax(1)
        histogram = (hard + soft - soft.detach()).view(len(raw), -1, len(book)).mean(1)
        return Quantised(
            mu=histogram,
            z=raw + (codes - raw).detach(),
            away=(raw - codes).square().flatten(1).mean(1),
            taken=nearest,
            rows=rows.detach(),
        )

    def prior(self, cells: int) -> UniformCodes:
        return UniformCodes(len(self.codes), cells)

    @torch.no_grad()
    def learn(self, found: Quantised) -> None:
        """Move the codes towards what took them; once for each step of training."""
        rows, hard = found.rows, F.one_hot(found.taken, len(self.codes)).to(found.rows.dtype)
        with exactly(rows):
            counts, sums = hard.sum(0), hard.T @ rows
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            for part in (counts, sums):
                torch.distributed.all_reduce(part)
        self.counts.lerp_(counts, 1 - DECAY)
        self.sums.lerp_(sums, 1 - DECAY)
        dead = self.counts < DEAD * self.counts.mean()
        if dead.any():
            # Somewhere the encoder is now: rows of this batch, spread evenly over it, the same in every process.
            chosen = rows[torch.arange(int(dead.sum()), device=rows.device) * len(rows) // int(dead.sum())].clone()
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                torch.distributed.broadcast(chosen, 0)
            self.sums[dead] = chosen * self.counts.mean()
            self.counts[dead] = self.counts.mean()
        self.codes.copy_(F.normalize(self.sums, dim=1))
