"""A small network that tells made-up strangers from cloth by what a run's encoder sees of them, and tells where."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checkpoint import Run
from .encoding import encode, shrunk
from .retouch import to_oklab

SIDE = 8  # cells a side of what is kept of an encoder's maps
QUALITY = 85  # of the JPEG whose size is taken for complexity
HIDDEN, WIDE, DROPPED, DROPPED_MAPS = 64, 128, 0.5, 0.2
MIRRORS = ((), (3,), (2,), (2, 3))  # axes of maps: cloth is cloth in a mirror, and upside down
PARTED = (2, 4)  # pieces a side whose means are held against each other: of a photograph put together of two
STEPS, BATCH, RATE, DECAY = 2500, 64, 2e-3, 0.05  # of learning, chosen on val: 1300 found fewer of all damages

Progress = Callable[[str, int, int], object]


class Look(NamedTuple):
    """What the encoder and a file's size tell of B pictures."""

    embedding: np.ndarray  # (B, D), as search compares
    size: np.ndarray  # (B,) log of the bytes of a JPEG: how complex they are (Serra et al. 2020, arXiv:1909.11480)
    numbers: Tensor  # (B, F) about the whole picture
    maps: Tensor  # (B, C, G, G) float16, of each cell; C is 0 where a fully connected encoder keeps no maps

    @staticmethod
    def join(looks: list[Look]) -> Look:
        embedding, size, numbers, maps = zip(*looks, strict=True)
        return Look(np.concatenate(embedding), np.concatenate(size), torch.cat(numbers), torch.cat(maps))


def look(run: Run, images: np.ndarray) -> Look:
    """Of pictures as `encode` takes them, a batch; the encoder runs once.

    Raises:
        SareeError: as `encode`.
    """
    maps: list[Tensor] = []
    features = getattr(run.model.motif_encoder, "features", None)
    handle = features and features.register_forward_hook(lambda module, given, out: maps.extend(out))
    try:
        latents = encode(run, images)
    finally:
        if handle:
            handle.remove()
    images = shrunk(images, run.config.model.image_size)
    jpeg = (cv2.IMWRITE_JPEG_QUALITY, QUALITY)
    size = np.log([len(cv2.imencode(".jpg", image[..., ::-1], jpeg)[1]) for image in images])
    numbers = [torch.from_numpy(part) for part in (latents.mu, np.log(latents.sigma + 1e-6), np.float32(size)[:, None])]
    with torch.inference_mode():
        for part in maps:
            numbers += [part.float().mean((2, 3)).cpu(), part.float().std((2, 3)).cpu()]
        return Look(latents.embedding(), size, torch.cat(numbers, 1), _cells(maps, images))


def _cells(maps: list[Tensor], images: np.ndarray) -> Tensor:
    """The last two maps in SIDE x SIDE cells, of the finer one mean and highest value of each; and the cells' colours.

    Maps alone would not show a stain: the motif encoder has learnt not to mind colours.
    """
    if not maps:
        return torch.zeros(len(images), 0, SIDE, SIDE, dtype=torch.float16)
    fine, coarse = (part.float() for part in maps[-2:])
    parts = [F.adaptive_avg_pool2d(fine, SIDE), F.adaptive_max_pool2d(fine, SIDE)]
    parts.append(F.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear", align_corners=False))
    return torch.cat([torch.cat(parts, 1).cpu(), *_colours(images)], 1).half()


def _colours(images: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each cell in OKLab, (B, 3, G, G) each."""
    lab = torch.from_numpy(np.stack([to_oklab(np.broadcast_to(image, (*image.shape[:2], 3))) for image in images]))
    lab = lab.permute(0, 3, 1, 2).float()
    mean = F.adaptive_avg_pool2d(lab, SIDE)
    return mean, (F.adaptive_avg_pool2d(lab.square(), SIDE) - mean.square()).clamp(min=0).sqrt()


class Judge(nn.Module):
    """(numbers, maps) of pictures -> how surely each is strange, (B,), and each of its cells, (B, G, G); logits."""

    def __init__(self, numbers: int, channels: int):
        super().__init__()
        self.numbers, self.cells = _Scaled((numbers,)), _Scaled((channels, 1, 1))
        self.whole = nn.Sequential(nn.Dropout(DROPPED), nn.Linear(numbers, WIDE), nn.SiLU())
        # 1x1, then 3x3: what a cell shows, then how it sits among its neighbours.
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, HIDDEN, k, padding=k // 2), nn.BatchNorm2d(HIDDEN), nn.SiLU())
            for i, k in ((channels, 1), (HIDDEN, 3), (HIDDEN, 3))
            if channels
        )
        self.place = nn.Conv2d(HIDDEN, 1, 1)
        inputs = WIDE + ((3 + len(PARTED)) * HIDDEN if channels else 0)
        self.verdict = nn.Sequential(nn.Dropout(DROPPED), nn.Linear(inputs, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 1))

    def forward(self, numbers: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        told, where = [self.whole(self.numbers(numbers))], maps.new_zeros(len(maps), *maps.shape[2:])
        if self.stages:
            x = self.stages[0](F.dropout2d(self.cells(maps.float()), DROPPED_MAPS, self.training))
            for stage in self.stages[1:]:
                x = x + stage(x)
            told += [x.mean((2, 3)), x.std((2, 3)), x.amax((2, 3))]
            told += [F.adaptive_avg_pool2d(x, side).std((2, 3)) for side in PARTED]
            where = self.place(x)[:, 0]
        return self.verdict(torch.cat(told, 1))[:, 0], where


class _Scaled(nn.Module):
    """Features less their mean, by their spread."""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("spread", torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.spread

    def fit(self, x: Tensor) -> None:
        over = [axis for axis in range(x.ndim) if axis != 1]
        self.mean.copy_(x.float().mean(over).view_as(self.mean))
        self.spread.copy_(x.float().std(over).clamp(min=1e-5).view_as(self.spread))


def learn(usual: Look, strange: Look, where: Tensor, *, seed: int, progress: Progress) -> Judge:
    """A judge that has learnt to tell strange pictures from usual ones.

    Args:
        where: how strange each cell of the strange ones is, (N, G, G) in [0, 1].
    """
    numbers, maps = torch.cat([usual.numbers, strange.numbers]), torch.cat([usual.maps, strange.maps])
    count = len(usual.numbers)
    target = torch.cat([torch.zeros(count), torch.ones(len(strange.numbers))])
    places = torch.cat([torch.zeros(count, *where.shape[1:]), where])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = Judge(numbers.shape[1], maps.shape[1])
        judge.numbers.fit(numbers)
        if judge.stages:
            judge.cells.fit(maps[torch.randperm(len(maps))[:2000]])
        optimiser = torch.optim.AdamW(judge.parameters(), RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS)
        for step in range(STEPS):
            rows = torch.cat([torch.randint(*ends, (BATCH // 2,)) for ends in ((0, count), (count, len(numbers)))])
            way = MIRRORS[step % len(MIRRORS)]
            verdict, cells = judge(numbers[rows], maps[rows].flip(way))
            loss = F.binary_cross_entropy_with_logits(verdict, target[rows])
            if judge.stages:
                loss = loss + F.binary_cross_entropy_with_logits(cells, places[rows].flip([axis - 1 for axis in way]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            progress("learning to tell them", step + 1, STEPS)
    return judge.eval()
