"""Regions of a picture: square boxes on the cloth, at two scales, with plain background cut away.

One photograph shows the whole draped figure, the next a close-up: what both share is a part. So an item can be stored
as the whole picture and some squares of it, and found by the best matching squares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from .images import WHOLE, Box, ImageError, read_image, square

CROPS = 12  # small squares of a picture at most
LARGE = 5  # squares as wide as the cloth at most: more lie in a long picture
LOOK = 96  # the longest side at which the background is looked for
LIKE = 14  # of 255: a pixel no further than this from the background's Lab colour in any channel is like it
PLAIN = 0.6  # share of the border that must be alike before it is called a plain background
CLOTH = 0.6  # share of a square that must be cloth
GAP = 9  # pixels of the reduced picture: a gap in the cloth narrower than this is cloth
LEAST = 0.08  # with less cloth than this the background was guessed wrong


class Parts(NamedTuple):
    """A picture (H, W, 3) uint8, boxes on it, and what lies in them, (V, size, size, 3) uint8."""

    picture: np.ndarray | None
    boxes: list[Box]
    squares: np.ndarray


def read(source: str | Path | bytes | np.ndarray, size: int, crops: int) -> Parts:
    """Read a picture and cut its regions; with no crops only its central square.

    Args:
        source: as for `read_image`, or pixels (H, W, 3) uint8.

    Raises:
        ImageError: as `read_image`, or pixels of another shape or kind.
    """
    if isinstance(source, np.ndarray):
        if source.ndim != 3 or source.shape[2] != 3 or 0 in source.shape or source.dtype != np.uint8:
            raise ImageError("image", f"not (height, width, 3) uint8, but {source.shape} {source.dtype}")
        picture = source
    else:
        # Twice as large where parts are cut: a small one is half as wide as the cloth.
        picture = read_image(source, min_side=2 * size if crops else size)
    boxes = find(picture, crops)
    return Parts(picture, boxes, cut(picture, boxes, size))


def find(image: np.ndarray, crops: int = CROPS) -> list[Box]:
    """The whole picture, then square boxes on its cloth: as wide as the cloth, then half as wide, overlapping.

    Args:
        image: (H, W, 3) uint8.
        crops: how many of the small ones at most, those with most cloth first; 0 gives the whole picture alone.

    Returns:
        (x0, y0, x1, y1) in [0, 1], WHOLE first; 1 to 1 + LARGE + crops of them.
    """
    if not crops:
        return [WHOLE]
    cloth = cloth_mask(image)
    height, width = cloth.shape
    rows, columns = np.flatnonzero(cloth.any(1)), np.flatnonzero(cloth.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    sums = cv2.integral(cloth.astype(np.uint8))  # (H + 1, W + 1)
    boxes = [WHOLE]
    for share, step, most in ((1.0, 0.6, LARGE), (0.5, 0.5, crops)):
        side = max(1, round(share * min(bottom - top, right - left)))
        found = []
        for y in _starts(top, bottom, side, step):
            for x in _starts(left, right, side, step):
                here = sums[y + side, x + side] - sums[y, x + side] - sums[y + side, x] + sums[y, x]
                if here >= CLOTH * side * side:
                    found.append((-int(here), (x / width, y / height, (x + side) / width, (y + side) / height)))
        boxes += [box for _, box in sorted(found)[:most] if box != WHOLE]
    return boxes


def cut(image: np.ndarray, boxes: Sequence[Box], size: int) -> np.ndarray:
    """The boxes of an (H, W, 3) uint8 image as (V, size, size, 3) uint8; WHOLE gives its central square."""
    height, width = image.shape[:2]
    pictures = []
    for x0, y0, x1, y1 in boxes:
        top, left = min(int(y0 * height), height - 1), min(int(x0 * width), width - 1)
        bottom, right = max(round(y1 * height), top + 1), max(round(x1 * width), left + 1)
        pictures.append(square(image[top:bottom, left:right], size))
    return np.stack(pictures)


def cloth_mask(image: np.ndarray) -> np.ndarray:
    """Where there is no plain background, (h, w) bool, the longer side LOOK at most; all True where none is found.

    Background is what has the colour of the border (top and sides: cloth often runs out at the bottom) and is connected
    to it.
    """
    scale = min(1.0, LOOK / max(image.shape[:2]))
    size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
    lab = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB).astype(np.int16)
    border = np.concatenate([lab[0], lab[:, 0], lab[:, -1]])
    ground = np.median(border, axis=0)
    if (np.abs(border - ground).max(1) < LIKE).mean() < PLAIN:
        return np.ones(lab.shape[:2], dtype=bool)
    like = (np.abs(lab - ground).max(2) < LIKE).astype(np.uint8)
    _, parts = cv2.connectedComponents(like, connectivity=4)
    edge = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    cloth = ~np.isin(parts, edge[edge > 0])
    cloth = cv2.morphologyEx(cloth.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))  # no specks and hairs
    # Stripes of the cloth that have the colour of the background run into it; narrow gaps are closed again.
    cloth = cv2.morphologyEx(cloth, cv2.MORPH_CLOSE, np.ones((GAP, GAP), np.uint8)) > 0
    return cloth if cloth.mean() >= LEAST else np.ones_like(cloth)


def _starts(low: int, high: int, side: int, step: float) -> Iterator[int]:
    """Where squares of `side` begin so that they cover [low, high) evenly, `step` of a side apart at most."""
    count = int(np.ceil((high - low - side) / (step * side) - 1e-6)) + 1
    yield from np.linspace(low, high - side, count).round().astype(int).tolist()
