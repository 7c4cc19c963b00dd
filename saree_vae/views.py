"""Views: changed copies of a picture that teach, and later test, what a latent half must keep.

    phone_photo  crop, perspective, folds, uneven light, white balance, blur, noise, JPEG     keeps motif and colour
    recoloured   another palette on the same structure                                        keeps motif
    shuffled     tiles shuffled and flipped                                                   keeps colour

Random numbers come from numpy SeedSequences keyed by (stream, seed, epoch, picture), so a view depends on nothing else:
not on the number of workers, not on where a run was interrupted. Training and evaluation are two streams.
"""

from __future__ import annotations

import os
import random
from functools import cache

import cv2
import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for a newer version

import albumentations as A

NAMES = ("phone_photo", "recoloured", "shuffled")
GREY = 25  # mean saturation of 255 below which turning the hue changes nothing that one could see
TRAINING, EVALUATION = 1, 2  # the two streams
SMALLEST_CROP = 0.2  # of the picture's area, in the phone photo of a training step


def training_views(
    image: np.ndarray,
    size: int,
    *,
    index: int,
    epoch: int,
    seed: int = 0,
    other: np.ndarray | None = None,
    kin: np.ndarray | None = None,
    only_clean: bool = False,
) -> dict[str, np.ndarray]:
    """The views of a training step from one picture (H, W, 3) uint8, each (size, size, 3) uint8.

    "clean" is a flipped crop; "recoloured" and "shuffled" are made from that same crop, so that a decoder can be asked
    for "clean" from the motif of the one and the colour of the other; "phone_photo" has a crop of its own, as small as
    SMALLEST_CROP: a part of a cloth is to be known for the whole. It is taken from `other`, another photograph of the
    same piece, if that is given. "kin" is a phone photo, too, of another piece with a like motif, where one is given.
    """
    streams, photograph = _random(TRAINING, seed, epoch, index), image if other is None else other
    clean = _run(_crop(size), image, streams)
    if only_clean:
        return {"clean": clean}
    views = {"clean": clean, "phone_photo": _run(_phone_photo(size, SMALLEST_CROP), photograph, streams)}
    for name, recipe in (("recoloured", _recoloured()), ("shuffled", _shuffled())):
        views[name] = _run(recipe, clean, streams)
    if kin is not None:
        views["kin"] = _run(_phone_photo(size, SMALLEST_CROP), kin, streams)
    return views


def evaluation_view(name: str, image: np.ndarray, size: int, *, index: int, seed: int = 0) -> np.ndarray:
    """One view for measuring, (size, size, 3) uint8: "recoloured" and "shuffled" are of a crop of 60 to 100 %."""
    if name not in NAMES:
        raise ValueError(f"no view is called {name!r}; known: {', '.join(NAMES)}")
    streams = _random(EVALUATION, seed, NAMES.index(name), index)
    if name == "phone_photo":
        return _run(_phone_photo(size, 0.45), image, streams)
    crop = _run(_mild_crop(size), image, streams)
    return _run(_recoloured() if name == "recoloured" else _shuffled(), crop, streams)


class Light(A.ImageOnlyTransform):
    """Light on cloth: soft folds across the picture, a brighter side, and a lamp's tint."""

    def __init__(self, folds: float = 0.35, slope: float = 0.3, tint: float = 0.12, p: float = 1.0):
        super().__init__(p=p)
        self.folds, self.slope, self.tint = folds, slope, tint

    def get_params(self) -> dict:
        draw = self.random_generator
        angle, side = draw.uniform(0, 2 * np.pi, 2)
        field = {"angle": angle, "side": side, "depth": draw.uniform(0, self.folds)}
        field["waves"] = draw.uniform((1.0, 0.0), (6.0, 2 * np.pi), (3, 2))  # cycles a picture, phase
        return field | {
            "slope": draw.uniform(0, self.slope),
            "tint": 1 + draw.uniform(-self.tint, self.tint, 3),
            "gain": draw.uniform(0.75, 1.2),
        }

    def apply(self, img: np.ndarray, angle, side, depth, waves, slope, tint, gain, **params) -> np.ndarray:
        # Light varies slowly: a 32 x 32 field, enlarged, looks the same and costs a tenth.
        y, x = np.mgrid[-0.5:0.5:32j, -0.5:0.5:32j].astype(np.float32)
        along = x * np.cos(angle) + y * np.sin(angle)
        across = y * np.cos(angle) - x * np.sin(angle)
        phase = 2 * np.pi * waves[:, :1, None] * (along + 0.15 * np.sin(5 * across)) + waves[:, 1:, None]
        ridge = np.sin(phase).mean(0)
        light = gain * (1 + depth * ridge) * (1 + slope * 2 * (x * np.cos(side) + y * np.sin(side)))
        light = cv2.resize(light.astype(np.float32), img.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        lit = img * (light[..., None] * tint.astype(np.float32))
        return np.clip(lit, 0, 255).astype(np.uint8)


class Recolour(A.ImageOnlyTransform):
    """Another palette on the same structure: hues turned, a palette laid over the lightness, or channels mixed."""

    def get_params(self) -> dict:
        draw = self.random_generator
        kind = ("hue", "palette", "mix")[draw.choice(3, p=(0.3, 0.4, 0.3))]
        # A turn below 40 degrees is hardly another colour.
        return {"kind": kind, "turn": draw.uniform(20, 160), "saturation": draw.uniform(0.5, 1.5), "draw": draw}

    def apply(self, img: np.ndarray, kind, turn, saturation, draw, **params) -> np.ndarray:
        if kind == "hue" and cv2.cvtColor(img[::4, ::4], cv2.COLOR_RGB2HSV)[..., 1].mean() > GREY:
            return _turn_hue(img, turn, saturation)
        if kind == "mix":
            return _mix_channels(img, draw)
        return _lay_palette(img, draw)


class ShuffleTiles(A.ImageOnlyTransform):
    """Cut into tiles, shuffle, flip and turn them: the pixels stay, the drawing goes."""

    def get_params(self) -> dict:
        return {"draw": self.random_generator, "across": int(self.random_generator.integers(4, 11))}

    def apply(self, img: np.ndarray, draw, across, **params) -> np.ndarray:
        side = img.shape[0] // across
        square = cv2.resize(img, (side * across,) * 2, interpolation=cv2.INTER_AREA)
        tiles = square.reshape(across, side, across, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
        tiles = tiles[draw.permutation(len(tiles))]
        for turn, some in enumerate(np.array_split(np.arange(len(tiles)), 4)):
            tiles[some] = np.rot90(tiles[some], turn, axes=(1, 2))
        tiles[::2] = tiles[::2, :, ::-1]
        tiles = tiles[draw.permutation(len(tiles))]
        whole = tiles.reshape(across, across, side, side, 3).swapaxes(1, 2).reshape(square.shape)
        return cv2.resize(whole, img.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def _random(*key: int) -> tuple[np.random.Generator, random.Random]:
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
    return generator, random.Random(int(generator.integers(2**63)))


def _run(recipe: A.Compose, image: np.ndarray, streams: tuple[np.random.Generator, random.Random]) -> np.ndarray:
    recipe.set_random_state(*streams)
    return recipe(image=image)["image"]


@cache
def _crop(size: int) -> A.Compose:
    """Nearly the whole picture: search looks at whole ones."""
    crop = A.RandomResizedCrop((size, size), scale=(0.7, 1.0), ratio=(0.9, 1.11), interpolation=cv2.INTER_AREA)
    return A.Compose([crop, A.HorizontalFlip(p=0.5)])


@cache
def _mild_crop(size: int) -> A.Compose:
    return A.Compose(
        [A.RandomResizedCrop((size, size), scale=(0.6, 1.0), ratio=(0.9, 1.11), interpolation=cv2.INTER_AREA)]
    )


@cache
def _phone_photo(size: int, smallest: float) -> A.Compose:
    return A.Compose(
        [
            A.RandomResizedCrop((size, size), scale=(smallest, 1.0), ratio=(0.8, 1.25), interpolation=cv2.INTER_AREA),
            A.OneOf(
                [
                    A.Perspective(scale=(0.03, 0.1), keep_size=True, border_mode=cv2.BORDER_REFLECT_101),
                    A.Rotate(limit=12, border_mode=cv2.BORDER_REFLECT_101),
                ],
                p=0.8,
            ),
            Light(),
            A.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.2, p=0.5),
            A.OneOf([A.GaussianBlur(blur_limit=(3, 5)), A.MotionBlur(blur_limit=(3, 5))], p=0.4),
            A.GaussNoise(std_range=(0.01, 0.04), noise_scale_factor=0.5, p=0.4),
            A.ImageCompression(quality_range=(35, 90), p=0.7),
        ]
    )


@cache
def _recoloured() -> A.Compose:
    return A.Compose([Recolour(p=1.0)])


@cache
def _shuffled() -> A.Compose:
    return A.Compose([ShuffleTiles(p=1.0)])


def _turn_hue(image: np.ndarray, turn: float, saturation: float) -> np.ndarray:
    hue, level, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    hue = ((hue.astype(np.float32) + turn) % 180).astype(np.uint8)  # OpenCV's hue counts half degrees
    level = np.clip(level * np.float32(saturation), 0, 255).astype(np.uint8)
    return cv2.cvtColor(cv2.merge((hue, level, value)), cv2.COLOR_HSV2RGB)


def _mix_channels(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A random matrix whose rows sum to one (so greys stay grey), channels inverted one by one now and then."""
    noise = draw.uniform(-0.4, 0.4, (3, 3))
    mix = np.eye(3)[draw.permutation(3)] + noise - noise.mean(1, keepdims=True)
    mixed = cv2.transform(image, mix.astype(np.float32))
    inverted = draw.random(3) < 0.2
    gamma = draw.uniform(0.6, 1.6, 3)
    levels = np.linspace(0, 1, 256)[:, None] ** gamma  # (256, 3)
    levels = np.where(inverted, 1 - levels, levels)
    return cv2.LUT(mixed, (255 * levels).astype(np.uint8)[:, None])


def _lay_palette(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Lightness keeps its order (sometimes reversed), and random colours are laid along it."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    low, high = np.percentile(grey[::4, ::4], (2, 98))
    stops = int(draw.integers(2, 5))
    lightness = np.sort(draw.uniform(0.05, 0.95, stops))
    if lightness[-1] - lightness[0] < 0.35:  # keep the structure visible
        lightness = np.linspace(draw.uniform(0.05, 0.3), draw.uniform(0.65, 0.95), stops)
    if draw.random() < 0.3:
        lightness = lightness[::-1]
    chroma = draw.uniform(-60, 60, (stops, 2))
    lab = np.concatenate([100 * lightness[:, None], chroma], 1).astype(np.float32)
    colours = cv2.cvtColor(lab[None], cv2.COLOR_LAB2RGB)[0]
    position = np.clip((np.arange(256) - low) / max(high - low, 1.0), 0, 1) * (stops - 1)
    levels = np.stack([np.interp(position, np.arange(stops), colours[:, c]) for c in range(3)], 1)
    return cv2.LUT(cv2.merge([grey] * 3), (255 * levels.clip(0, 1)).astype(np.uint8)[:, None])
