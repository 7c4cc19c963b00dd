"""Pictures that no cloth is: made up of the cloths themselves, to learn from, and damaged copies, to measure with.

A scorer that has seen no strangers cannot know which of all differences from the usual matter. So some are made up, as
Hendrycks et al. 2019 (outlier exposure), Li et al. 2021 (CutPaste) and Baradad et al. 2021 (dead leaves) do: scenes of
things before a ground, and cloths that something has happened to. No photograph of anything else is needed.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Made = tuple[np.ndarray, np.ndarray]  # a picture (S, S, 3) in [0, 1], and where it is strange, (S, S) in [0, 1]
Give = Callable[[], np.ndarray]  # one more cloth, (S, S, 3) in [0, 1]
MOST_THINGS = 8  # in a scene


def made_up(images: np.ndarray, random: np.random.Generator, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """One stranger made of cloths (N, S, S, 3) uint8: (S, S, 3) uint8, and where it is strange, (S, S) in [0, 1]."""

    def give() -> np.ndarray:
        return np.float32(images[random.integers(len(images))]) / 255

    picture, where = KINDS[kind](give, random)
    return _eight_bit(picture), where


def _scene(give: Give, random: np.random.Generator) -> Made:
    """Things before a ground: shapes of stuff, lit from a side."""
    picture = _stuff(give, random)
    size = len(picture)
    for _ in range(random.integers(1, MOST_THINGS + 1)):
        shape, light = _blob(size, random, 0.05, 0.45), _slope(size, random)[..., :1]
        picture = picture + shape * (_stuff(give, random) * (0.6 + 0.8 * light) - picture)
    if random.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), random.uniform(0.3, 1.5))
    return picture, np.ones((size, size), np.float32)


def _blurred(give: Give, random: np.random.Generator) -> Made:
    cloth = give()
    return cv2.GaussianBlur(cloth, (0, 0), random.uniform(0.01, 0.05) * len(cloth)), np.ones(cloth.shape[:2])


def _noisy(give: Give, random: np.random.Generator) -> Made:
    cloth = give()
    return cloth + random.normal(0, random.uniform(0.06, 0.25), cloth.shape), np.ones(cloth.shape[:2])


def _coarse(give: Give, random: np.random.Generator) -> Made:
    cloth, side = give(), random.uniform(0.06, 0.3)
    small = cv2.resize(cloth, None, fx=side, fy=side, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, cloth.shape[1::-1], interpolation=cv2.INTER_NEAREST), np.ones(cloth.shape[:2])


def _blocked(give: Give, random: np.random.Generator) -> Made:
    cloth = give()
    size, where = len(cloth), np.zeros(cloth.shape[:2], np.float32)
    height, width = random.integers(size // 6, size // 2, 2)
    top, left = random.integers(0, size - height), random.integers(0, size - width)
    where[top : top + height, left : left + width] = 1
    return _laid(cloth, random.uniform(0, 1, 3), where), where


def _stained(give: Give, random: np.random.Generator) -> Made:
    cloth = give()
    where = _blob(len(cloth), random, 0.08, 0.35)[..., 0] * random.uniform(0.5, 1)
    return _laid(cloth, cloth * random.uniform(0, 0.6, 3), where), where


def _patched(give: Give, random: np.random.Generator) -> Made:
    cloth = give()
    where = _blob(len(cloth), random, 0.1, 0.4)[..., 0]
    return _laid(cloth, give(), where), where


def _joined(give: Give, random: np.random.Generator) -> Made:
    """Two cloths side by side or one above the other; the smaller part is what is strange."""
    cloth, other = give(), give()
    size, where = len(cloth), np.zeros(cloth.shape[:2], np.float32)
    where[: round(random.uniform(0.2, 0.5) * size)] = 1
    where = np.ascontiguousarray(np.rot90(where, random.integers(4)))
    return _laid(cloth, other, where), where


KINDS = {
    "scene": _scene,
    "blur": _blurred,
    "noise": _noisy,
    "coarse": _coarse,
    "block": _blocked,
    "stain": _stained,
    "patch": _patched,
    "joined": _joined,
}


def _stuff(give: Give, random: np.random.Generator) -> np.ndarray:
    """What things are filled with: a slope of colours, clouds, cloth from very near, out of focus or as it is."""
    cloth, kind = give(), random.integers(5)
    if kind == 0:
        cloth = _slope(len(cloth), random)
    elif kind == 1:
        cloth = _clouds(len(cloth), random)
    elif kind == 2:
        side = max(4, round(random.uniform(0.1, 0.35) * len(cloth)))
        top, left = random.integers(0, len(cloth) - side + 1, 2)
        near = cloth[top : top + side, left : left + side]
        cloth = cv2.resize(near, cloth.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    elif kind == 3:
        cloth = cv2.GaussianBlur(cloth, (0, 0), random.uniform(0.02, 0.1) * len(cloth))
    if random.random() < 0.5:  # most things are less colourful than a saree
        grey = cloth.mean(2, keepdims=True)
        cloth = grey + (cloth - grey) * random.uniform(0, 0.8)
    return cloth


def _slope(size: int, random: np.random.Generator) -> np.ndarray:
    """From one colour to another across the picture, (S, S, 3)."""
    y, x = np.mgrid[-0.5 : 0.5 : size * 1j, -0.5 : 0.5 : size * 1j].astype(np.float32)
    angle = random.uniform(0, 2 * np.pi)
    along = (x * np.cos(angle) + y * np.sin(angle)) * random.uniform(0.5, 1.5) + 0.5
    low, high = random.uniform(0, 1, (2, 3)).astype(np.float32)
    return low + (high - low) * along.clip(0, 1)[..., None]


def _clouds(size: int, random: np.random.Generator) -> np.ndarray:
    """Noise whose amplitude falls with a power of the frequency, as in pictures of nature, (S, S, 3)."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    frequency[0, 0] = 1 / size
    waves = np.fft.fft2(random.standard_normal((3, size, size))) / frequency ** random.uniform(1.0, 2.2)
    noise = np.fft.ifft2(waves).real.transpose(1, 2, 0)
    noise = (noise / noise.std((0, 1))) @ random.dirichlet((0.6,) * 3, 3).T
    return np.float32(0.15 * noise + random.uniform(0.1, 0.9, 3)).clip(0, 1)


def _blob(size: int, random: np.random.Generator, smallest: float, largest: float) -> np.ndarray:
    """A round thing with an uneven, more or less soft edge, (S, S, 1) in [0, 1]; its radius is a share of the side."""
    y, x = np.mgrid[0 : 1 : size * 1j, 0 : 1 : size * 1j].astype(np.float32)
    (top, left), turn = random.uniform(0, 1, 2), random.uniform(0, np.pi)
    across = (x - left) * np.cos(turn) + (y - top) * np.sin(turn)
    down = ((y - top) * np.cos(turn) - (x - left) * np.sin(turn)) / random.uniform(0.4, 1)
    angle = np.arctan2(down, across)
    edge = sum(random.uniform(-0.25, 0.25) / k * np.cos(k * angle + random.uniform(0, 2 * np.pi)) for k in range(1, 6))
    reach = np.hypot(across, down) / (random.uniform(smallest, largest) * (1 + edge))
    return ((1 - reach) * random.uniform(5, 60) + 0.5).clip(0, 1)[..., None].astype(np.float32)


def _laid(cloth: np.ndarray, over: np.ndarray, where: np.ndarray) -> np.ndarray:
    return cloth + where[..., None] * (over - cloth)


def _eight_bit(picture: np.ndarray) -> np.ndarray:
    return (255 * picture.clip(0, 1)).round().astype(np.uint8)


# --- to measure with ---


def damaged(images: np.ndarray, kind: str, *, seed: int = 0) -> np.ndarray:
    """Copies of pictures (N, S, S, 3) uint8 to each of which one kind of DAMAGES has happened; the same by seed."""
    random = np.random.default_rng([seed, DAMAGES.index(kind)])
    others = np.roll(np.arange(len(images)), 1)
    return np.stack([_damage(kind, image, images[other], random) for image, other in zip(images, others, strict=True)])


DAMAGES = ("blur", "block", "stain", "wrong half")
STAINS = np.array(
    [[0.35, 0.23, 0.12], [0.12, 0.1, 0.08], [0.47, 0.35, 0.16], [0.23, 0.08, 0.08]]
)  # tea, ink, oil, wine


def _damage(kind: str, image: np.ndarray, other: np.ndarray, random: np.random.Generator) -> np.ndarray:
    size, changed = len(image), image.copy()
    if kind == "blur":  # as a hand that shook: two or three threads run into one
        return cv2.GaussianBlur(image, (0, 0), random.uniform(0.016, 0.032) * size)
    if kind == "block":  # as a label, or a file that lost a part
        side = round(random.uniform(0.2, 0.4) * size)
        top, left = random.integers(0, size - side, 2)
        changed[top : top + side, left : left + side] = random.integers(0, 256, 3)
    elif kind == "stain":
        where = _blob(size, random, 0.12, 0.25)[..., 0] * random.uniform(0.6, 0.95)
        colour = STAINS[random.integers(len(STAINS))]
        return _eight_bit(_laid(np.float32(image) / 255, (0.6 + 0.4 * np.float32(image) / 255) * colour, where))
    else:  # as a photograph that was put together of two
        half = np.zeros((size, size), bool)
        half[: size // 2] = True
        half = np.rot90(half, random.integers(4))
        changed[half] = other[half]
    return changed
