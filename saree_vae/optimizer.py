"""The optimizers: AdamW, and Muon, which finds as much in about half the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
FASTER = 4  # times the learning rate of the vectors: by trial, in benchmarks/LOG.md
LIKE_ADAM = 0.2  # root mean square of a step at a learning rate of 1, as AdamW's usually is (Liu et al. 2025)
QUINTIC = (3.4445, -4.7750, 2.0315)  # of Jordan et al. 2024: takes singular values near one in the fewest products
LEARNT = 0.1  # of the learning rate, for weights that were learnt elsewhere
SMALLEST = 4  # rows and columns; of fewer there is little to make orthogonal


class Muon(torch.optim.AdamW):
    """Weights of linear and convolutional layers step along an orthogonal matrix by their momentum; the rest is AdamW.

    So every direction of a layer's inputs is learned at the same pace, not only the few that all pictures share
    (Jordan et al. 2024; scaled to AdamW's steps as in Liu et al. 2025, arXiv:2502.16982). In float32: in bf16, as
    libraries have it, a step takes seconds on a processor without bf16.
    """

    def __init__(self, model: nn.Module, learning_rate: float, weight_decay: float, learnt: Iterable[Tensor] = ()):
        matrices = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d) and _mixes(m.weight)}
        kinds = _groups(model, weight_decay, learnt)
        groups = [
            group | {"params": [p for p in group["params"] if (id(p) in matrices) == turned], "orthogonal": turned}
            for turned in (False, True)
            for group in kinds
        ]
        super().__init__([group for group in groups if group["params"]], learning_rate)

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> float | None:
        for group in self.param_groups:
            if group["orthogonal"]:
                for weight in group["params"]:
                    if weight.grad is not None:
                        self._turn(weight, FASTER * group["lr"], group["weight_decay"])
        return super().step(closure)

    def _turn(self, weight: Tensor, rate: float, weight_decay: float) -> None:
        state = self.state[weight]
        if not state:
            # AdamW looks for a step in every state that it loads.
            state |= {"step": torch.zeros(()), "momentum": torch.zeros_like(weight)}
        momentum = state["momentum"].lerp_(weight.grad, 1 - MOMENTUM)
        ahead = weight.grad.lerp(momentum, MOMENTUM).flatten(1)
        weight.mul_(1 - rate * weight_decay)
        weight.add_(orthogonal(ahead).view_as(weight), alpha=-rate * LIKE_ADAM * max(ahead.shape) ** 0.5)
        weight.grad = None  # AdamW passes over it


def adamw(
    model: nn.Module, learning_rate: float, weight_decay: float, learnt: Iterable[Tensor] = ()
) -> torch.optim.AdamW:
    return torch.optim.AdamW(_groups(model, weight_decay, learnt), learning_rate)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"muon": Muon, "adamw": adamw}


def orthogonal(matrix: Tensor) -> Tensor:
    """Near the matrix of orthonormal rows or columns next to this one, (M, N): singular values of about 0.7 to 1.2.

    Five steps of a Newton-Schulz iteration, products only; directions that the matrix hardly has stay smaller.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
    a, b, c = QUINTIC
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = wide @ wide.mT
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.mT


def _mixes(weight: Tensor) -> bool:
    """Whether a layer mixes its inputs; one that takes each channel for itself does not."""
    return weight.shape[1] > 1 and min(weight.flatten(1).shape) >= SMALLEST


def _groups(model: nn.Module, weight_decay: float, learnt: Iterable[Tensor] = ()) -> list[dict]:
    """Weights decay; biases and the scales of normalisation do not. What was learnt before steps at a slower pace."""
    known = {id(p) for p in learnt}
    groups = [
        {
            "params": [p for p in model.parameters() if (p.ndim > 1) == decays and (id(p) in known) == slow],
            "weight_decay": weight_decay if decays else 0.0,
            "pace": LEARNT if slow else 1.0,
        }
        for slow in (False, True)
        for decays in (True, False)
    ]
    return [group for group in groups if group["params"]]
