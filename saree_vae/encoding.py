"""From pictures to latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from . import regions
from .checkpoint import Run
from .data import Bad, Item, read_ahead
from .errors import SareeError
from .images import square
from .latents import WEIGHTS, Latents, weighted

BATCH = 64


def encode(run: Run, images: np.ndarray, keys: Sequence[str] | None = None) -> Latents:
    """Posteriors of pictures in memory.

    Args:
        images: (N, M, M, 3) uint8; M is run.read_size, or run.config.model.image_size for pictures shrunk before.
        keys: names of the pictures; "0", "1", ... if not given.

    Raises:
        SareeError: pictures of another size, or a latent that is not finite.
    """
    keys = tuple(map(str, range(len(images)))) if keys is None else tuple(keys)
    size = run.config.model.image_size
    known = {(side, side, channels) for side in (size, run.read_size) for channels in (3, run.config.model.channels)}
    if images.shape[1:] not in known:
        sides = f"{run.read_size} x {run.read_size} or {size} x {size}"
        raise SareeError(f"{run.path} encodes pictures of {sides} x 3, got {images.shape[1:]}")
    mu = np.empty((len(images), run.model.latent_dim), np.float32)
    sigma = np.empty_like(mu)
    for start in range(0, len(images), BATCH):
        rows = slice(start, start + BATCH)
        mu[rows], sigma[rows] = _posterior(run, shrunk(images[rows], size))
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        worst = keys[int(np.argmin(np.isfinite(mu).all(1) & np.isfinite(sigma).all(1)))]
        raise SareeError(f"{worst}: its latent is not finite; the weights of {run.path} are damaged")
    return Latents(keys, mu, sigma, run.config.model.motif_dim)


def encode_items(
    run: Run,
    items: Sequence[Item],
    *,
    crops: int = 0,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Latents, tuple[Bad, ...]]:
    """Posteriors of a data set's items, streamed from disk; unreadable pictures are left out and named.

    With `crops` each picture gives several rows, one for each of its regions (`regions.find`), whole picture first.

    Raises:
        SareeError: nothing could be read, or with `strict` something could not.
    """
    bad: list[Bad] = []
    parts: list[Latents] = []
    keys: list[str] = []
    seen: list[regions.Parts] = []
    for done, (item, result) in enumerate(
        read_ahead(items, lambda item: regions.read(item.path, run.read_size, crops), strict=strict), 1
    ):
        if isinstance(result, Bad):
            bad.append(result)
        else:
            seen.append(result._replace(picture=None))  # only its squares are wanted; it may be large
            keys += [item.key] * len(result.boxes)
        if seen and (sum(len(part.boxes) for part in seen) >= BATCH or done == len(items)):
            parts.append(_encoded(run, seen, keys))
            keys, seen = [], []
        if progress:
            progress(done, len(items))
    if not parts:
        raise SareeError(
            f"none of {len(items)} pictures could be read" + (f" ({bad[0].key}: {bad[0].reason})" if bad else "")
        )
    all_keys = tuple(key for part in parts for key in part.keys)
    mu, sigma, boxes = (np.concatenate([getattr(part, name) for part in parts]) for name in ("mu", "sigma", "boxes"))
    return Latents(all_keys, mu, sigma, parts[0].motif_dim, boxes if crops else None), tuple(bad)


def vectors(
    run: Run,
    pictures: Sequence[str | Path | bytes | np.ndarray],
    *,
    motif: float = WEIGHTS["motif"],
    colour: float = WEIGHTS["colour"],
    crops: int = 0,
) -> np.ndarray:
    """One vector of length one for each picture, (N, D) float32, for an index or a classifier elsewhere.

    The inner product of two is what `search` scores two whole pictures by.

    Args:
        pictures: files, their bytes, or (H, W, 3) uint8 sRGB.
        motif, colour: how much each half counts, as in `search`.
        crops: the mean of all regions, of which so many are small ones at most; 0 takes the whole picture alone.

    Raises:
        ImageError: a picture cannot be read; pixels are called "image".
        SareeError: a weight is negative or not finite, or none is left.
    """
    rows = [np.empty((0, run.model.latent_dim), np.float32)]
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(pictures), BATCH):
            read = partial(regions.read, size=run.read_size, crops=crops)
            squares = [part.squares for part in pool.map(read, pictures[start : start + BATCH])]
            keys = [str(number) for number, own in enumerate(squares) for _ in own]
            rows.append(encode(run, np.concatenate(squares), keys).means())
    return weighted(np.concatenate(rows), run.config.model.motif_dim, motif, colour)


def _encoded(run: Run, seen: Sequence[regions.Parts], keys: Sequence[str]) -> Latents:
    latents = encode(run, np.concatenate([part.squares for part in seen]), keys)
    return replace(latents, boxes=np.array([box for part in seen for box in part.boxes], dtype=np.float32))


def shrunk(images: np.ndarray, size: int) -> np.ndarray:
    """Squares (N, M, M, 3) as the model sees them, (N, size, size, 3)."""
    return images if images.shape[1] == size else np.stack([square(image, size) for image in images])


@torch.inference_mode()
def decode(run: Run, z: np.ndarray, detail_of: np.ndarray | None = None) -> np.ndarray:
    """Mean images (N, S, S, C) uint8 of latents (N, D).

    Args:
        detail_of: N pictures as for `encode`, whose lower latents are taken; without, what is usual for these latents.

    Raises:
        SareeError: the model draws from a map of codes.
    """
    if run.config.model.posterior == "vq":
        raise SareeError(f"{run.path} is a VQ-VAE: it draws from a map of codes, not from a latent; redraw pictures")
    size, channels = run.config.model.image_size, run.config.model.channels
    drawn = []
    for start in range(0, len(z), BATCH):
        rows = slice(start, start + BATCH)
        part, lower = torch.from_numpy(np.ascontiguousarray(z[rows])).to(run.device), ()
        if detail_of is not None and run.config.model.levels > 1:
            lower = run.model.look(to_tensor(shrunk(detail_of[rows], size), run.device, channels)).detail
        drawn.append(to_images(run.model.decode(part, detail=lower)))
    return np.concatenate(drawn)


@torch.inference_mode()
def redraw(
    run: Run,
    images: np.ndarray,
    *,
    colour_of: np.ndarray | None = None,
    clusters: Sequence[str | None] | None = None,
    as_cluster: str | None = None,
) -> np.ndarray:
    """Pictures drawn again from the means of all their latents, lower ones too, (N, S, S, C) uint8.

    Args:
        images: (N, M, M, 3) uint8, as for `encode`.
        colour_of: N pictures alike, in whose colours to draw.
        clusters: what the pictures are, as far as known, and
        as_cluster: what to draw them as; both for a run that was trained with model.conditional.

    Raises:
        SareeError: the run knows no clusters, or not this one.
    """
    names, size, channels = run.config.model.classes, run.config.model.image_size, run.config.model.channels
    if as_cluster is not None and as_cluster not in names:
        known = f"it knows {', '.join(names)}" if names else "train with --set model.conditional=true"
        raise SareeError(f"{run.path} cannot draw as '{as_cluster}'; {known}")
    number = {name: place for place, name in enumerate(names, 1)}  # 0 is unknown
    told = torch.tensor([number.get(name, 0) for name in clusters or [None] * len(images)], device=run.device)
    drawn = []
    for start in range(0, len(images), BATCH):
        rows = slice(start, start + BATCH)
        x = to_tensor(shrunk(images[rows], size), run.device, channels)
        other = None if colour_of is None else to_tensor(shrunk(colour_of[rows], size), run.device, channels)
        as_classes = None if as_cluster is None else torch.full_like(told[rows], number[as_cluster])
        drawn.append(to_images(run.model.reconstruct(x, other, told[rows], as_classes)))
    return np.concatenate(drawn)


def to_tensor(images: np.ndarray | torch.Tensor, device: torch.device | str = "cpu", channels: int = 3) -> torch.Tensor:
    """(B, S, S, C) uint8 -> (B, channels, S, S) float32 in [0, 1], channels last in memory; grey is the mean of all."""
    x = torch.as_tensor(images).to(device).permute(0, 3, 1, 2).float().div_(255)
    return x.mean(1, keepdim=True) if channels < x.shape[1] else x


def to_images(tensor: torch.Tensor) -> np.ndarray:
    """(B, 3, S, S) in [0, 1] -> (B, S, S, 3) uint8."""
    return tensor.detach().float().clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


@torch.inference_mode()
def _posterior(run: Run, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    channels = run.config.model.channels
    posterior = run.model.encode(to_tensor(np.ascontiguousarray(images), run.device, channels))
    return posterior.mu.cpu().numpy(), posterior.sigma.cpu().numpy()
