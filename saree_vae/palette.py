"""Pieces by the colours that are in them, as somebody chooses colours from a card of yarns."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from . import retouch

LOOK = 48  # pixels: a thumbnail's longer side when its colours are counted
LEVELS = (8, 12, 12)  # bins of OKLab's L, a and b
LOW, HIGH = np.float32([0.0, -0.3, -0.3]), np.float32([1.0, 0.3, 0.3])
BLOCK = 8192  # pictures at a time: 40 MB
ALIKE = 0.08  # in OKLab: at this distance two colours count as half the same


class Palettes:
    """The colours of N pictures: how much of each they have, (N, bins) float16, 2 kB a picture; and their mean.

    Args:
        thumbnails: JPEG.

    Attributes:
        means: the mean colour of each picture as the eye would mix it (in OKLab), (N, 3) sRGB uint8.
    """

    def __init__(self, thumbnails: Sequence[bytes]):
        self.shares = np.zeros((len(thumbnails), int(np.prod(LEVELS))), np.float16)
        means = np.zeros((1, len(thumbnails), 3), np.float32)
        for row, file in enumerate(thumbnails):
            pixels = _pixels(file)
            self.shares[row], means[0, row] = _shares(pixels), pixels.mean(0)
        self.means = retouch.from_oklab(means)[0]

    def score(self, colours: np.ndarray) -> np.ndarray:
        """How far pictures consist of all of these colours, (N,) in [0, 1].

        1 where each of C colours has at least a C-th of the picture; 0 where one is missing: the geometric mean.

        Args:
            colours: (C, 3) sRGB uint8, C >= 1.
        """
        middles = _middles()
        wanted = retouch.to_oklab(np.asarray(colours, np.uint8))  # (C, 3)
        apart = np.linalg.norm(middles[:, None] - wanted, axis=2) / ALIKE
        same = np.float32(0.5) ** (apart**2)  # (bins, C)
        blocks = (self.shares[start : start + BLOCK].astype(np.float32) for start in range(0, len(self.shares), BLOCK))
        had = np.concatenate([block @ same for block in blocks])
        return np.exp(np.log(np.minimum(len(wanted) * had, 1) + 1e-6).mean(1)).clip(0, 1)


def _pixels(file: bytes) -> np.ndarray:
    """(pixels, 3) OKLab of a small copy."""
    with Image.open(io.BytesIO(file)) as image:
        image.draft("RGB", (LOOK, LOOK))
        image.thumbnail((LOOK, LOOK))
        return retouch.to_oklab(np.asarray(image.convert("RGB"))).reshape(-1, 3)


def _shares(pixels: np.ndarray) -> np.ndarray:
    place = ((pixels - LOW) / (HIGH - LOW) * LEVELS).astype(int).clip(0, np.array(LEVELS) - 1)
    return np.bincount(np.ravel_multi_index(place.T, LEVELS), minlength=int(np.prod(LEVELS))) / len(pixels)


def _middles() -> np.ndarray:
    """The colour in the middle of each bin, (bins, 3) OKLab."""
    bins = np.stack(np.unravel_index(np.arange(int(np.prod(LEVELS))), LEVELS), 1)
    return np.float32(LOW + (bins + 0.5) / LEVELS * (HIGH - LOW))
