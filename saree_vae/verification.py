"""Whether two photographs show the very same design, or the very same colours.

Embeddings find what looks alike; which of twenty cloths that look alike it *is*, small things tell. So the first hits
of a search are verified (Philbin et al. 2007). Where the design counts, one picture is laid over the other: keypoints
of both that look alike (SIFT, Lowe 2004) vote for where it would lie, a homography is fitted to what most speak for
(MAGSAC++, Barath et al. 2020), and through it the edges of the one are correlated with those of the other. Colours do
not matter, nor whether light and dark are exchanged; but where colours count as well as the design, of several pictures
of one design that comes first whose hues change where those of the query do. Where colours alone count, those of the
one must be found in the other, shade by shade (histogram intersection, Swain and Ballard 1991); where they lie does not
matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from .images import Box

FIRST = 20  # hits that are verified: on val the right picture is among them for all phone photos and shuffled palettes
SAME = 0.5  # overlaps from here on tell one design; below, on val, outlines of mannequins met as well
SIDE = 256  # pixels of the longer side at which pictures are looked at
KEYPOINTS = 1200  # a picture at most; with 800 a hundredth fewer of val's phone photos find themselves
CONTRAST = 0.02  # SIFT's threshold, half of OpenCV's: folds and shade leave little contrast
ALIKE = 0.8  # cosines of keypoints' descriptors from here on
CELL, SCALE, TURN = 24.0, 0.35, 2 * np.pi / 31  # pixels, octaves and radians that a cell of votes spans
CELLS = 6  # that are looked into; with 3 a few less of val's phone photos are verified, with 1 many
WITHIN = 4.0  # pixels by which matched keypoints may miss each other
EDGE = 0.02  # of a picture's side that a box leaves out is not worth a box
HUES = (0.75, 3.0)  # pixels of half a picture: finer changes of hue are noise, coarser ones are the lamp's
HALF = np.float64([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])  # places in a picture to places in half of it
FEWEST = 8  # keypoints that agree: four lie on one homography by chance
NARROWEST = 16  # pixels of the shorter side: narrower pictures have no keypoints worth the name
SHADE = 3  # units of Lab that one shade spans: with 5 or 8, val's shuffled palettes find themselves less often
PART = 0.8  # of a stored picture may be what the query shows: its shades are then a little more of the query
HELD = 0.8  # colours from here on are the very same; below, a lamp's tint decides and not the cloth


def small(picture: np.ndarray) -> np.ndarray:
    """A picture as it is looked at, its longer side SIDE pixels."""
    height, width = picture.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


class Sight(NamedTuple):
    """What of a picture is compared, all but the places uint8.

    places, descriptors: of P keypoints, (P, 4) x and y in pixels, log2 of the size, the angle; and (P, 128).
    edges: (h, w); hues: a and b of Lab in half of the picture, (h / 2, w / 2, 2).
    """

    places: np.ndarray
    descriptors: np.ndarray
    edges: np.ndarray
    hues: np.ndarray


class Same(NamedTuple):
    """How far a stored picture is the very same.

    share: how much of the query is in it, in [0, 1]; 0 where it is another design, or by colours has other colours.
    hues: how its hues change where the query's do, times the share of the query that lies in it, in [-1, 1].
    boxes: by design, the part of the stored picture and that of the query that lie on each other.
    """

    share: float = 0.0
    hues: float = 0.0
    boxes: tuple[Box, Box] | None = None


def sight(picture: np.ndarray) -> Sight:
    """Keypoints, edges and hues of a picture (H, W, 3) uint8, about 20 ms and 250 KB."""
    picture = small(picture)
    grey, lab = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    half = [max(1, side // 2) for side in grey.shape[::-1]]
    seen = {"edges": _edges(grey), "hues": cv2.resize(lab, half, interpolation=cv2.INTER_AREA)[..., 1:]}
    if min(grey.shape) < NARROWEST:
        return Sight(np.zeros((0, 4), np.float32), np.zeros((0, 128), np.uint8), **seen)
    grey = cv2.createCLAHE(2.0, (4, 4)).apply(grey)
    keypoints, found = cv2.SIFT_create(nfeatures=KEYPOINTS, contrastThreshold=CONTRAST).detectAndCompute(grey, None)
    found = np.zeros((0, 128), np.float32) if found is None else found
    # Square roots compare better (RootSIFT, Arandjelovic and Zisserman 2012); the largest is about 0.5.
    roots = np.sqrt(found / np.maximum(found.sum(1, keepdims=True), 1e-7))
    places = np.float32([(*one.pt, np.log2(one.size), np.deg2rad(one.angle)) for one in keypoints]).reshape(-1, 4)
    return Sight(places, (roots * 511).clip(0, 255).astype(np.uint8), **seen)


def overlap(query: Sight, stored: Sight) -> Same:
    """How much of the query lies, edge on edge, in a stored picture; nothing below SAME, where it means nothing.

    The correlation of edges where both pictures are, times the share of the query that is there; and so of hues.
    """
    return max((_laid(query, stored, way) for way in _placings(query, stored)), default=Same())


def _laid(query: Sight, stored: Sight, homography: np.ndarray) -> Same:
    to, flags = query.edges.shape[::-1], cv2.WARP_INVERSE_MAP
    there = cv2.warpPerspective(np.ones_like(stored.edges), homography, to, flags=flags | cv2.INTER_NEAREST) > 0
    lies = float(there.mean())
    if lies < SAME:
        return Same()
    laid = cv2.warpPerspective(stored.edges, homography, to, flags=flags | cv2.INTER_LINEAR)
    share = lies * _correlation(*(edges[there][:, None] for edges in (query.edges, laid)))
    if share < SAME:
        return Same()
    return Same(share, lies * _hues(query, stored, homography), _boxes(query, stored, homography, there))


def _boxes(query: Sight, stored: Sight, homography: np.ndarray, there: np.ndarray) -> tuple[Box, Box]:
    """Around the pixels (h, w) of the query that are in the stored picture: there, and in the query."""
    outlines, _ = cv2.findContours(there.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    places = np.concatenate(outlines).astype(np.float32)  # (N, 1, 2), x and y
    around = []
    for found, seen in ((cv2.perspectiveTransform(places, homography), stored), (places, query)):
        sides = (found.min((0, 1)), found.max((0, 1)) + 1) / np.float32(seen.edges.shape[::-1])
        sides[sides < EDGE], sides[sides > 1 - EDGE] = 0, 1
        around.append(tuple(sides.ravel().tolist()))
    return around[0], around[1]


class Palette(NamedTuple):
    """The shades of a picture: their numbers (B,) int64, ascending, and shares (B,) that sum to one."""

    shades: np.ndarray
    shares: np.ndarray


def palette(picture: np.ndarray) -> Palette:
    """The shades of a picture (H, W, 3) uint8, about 3 ms."""
    soft = cv2.GaussianBlur(small(picture), (0, 0), 0.8).astype(np.float32) / 255
    lab = cv2.cvtColor(soft, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    # Dithered: a flat colour becomes the shades around it, by how near they are, and does not jump between them.
    lab += np.random.default_rng(0).uniform(-SHADE / 2, SHADE / 2, lab.shape)
    steps = ((lab + np.float32((SHADE, 128, 128))) / SHADE).astype(np.int64)
    shades, counts = np.unique(steps @ (1_000_000, 1000, 1), return_counts=True)
    return Palette(shades, counts / counts.sum())


def contained(query: Palette, stored: Palette) -> Same:
    """How much of the query's colours a stored picture has, shade by shade; nothing below HELD."""
    places = np.searchsorted(stored.shades, query.shades).clip(max=len(stored.shades) - 1)
    there = np.where(stored.shades[places] == query.shades, stored.shares[places], 0) / PART
    share = float(np.minimum(query.shares, there).sum())
    return Same(share) if share >= HELD else Same()


def ways(motif: float) -> tuple[Callable[[np.ndarray], tuple], Callable[[tuple, tuple], Same]]:
    """What of a picture is looked at, and how two looks compare: the design where it counts, else the colours."""
    return (sight, overlap) if motif else (palette, contained)


def verified(score: float, same: Same, coloured: bool) -> float:
    """What orders hits: those that are the very same first, by how much is, and by their hues where colours count.

    Args:
        score: the weighted mean of two cosines, in [-1, 1]; coloured: whether colours have a weight in it.
    """
    return 3 + same.share + same.hues * coloured if same.share else score


def _hues(query: Sight, stored: Sight, homography: np.ndarray) -> float:
    """Correlation of how hues change from place to place, where both pictures are, in [-1, 1]."""
    way, to = HALF @ homography @ np.linalg.inv(HALF), query.hues.shape[1::-1]
    laid = cv2.warpPerspective(stored.hues, way, to, flags=cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
    there = cv2.warpPerspective(np.ones(stored.hues.shape[:2], np.uint8), way, to, flags=cv2.WARP_INVERSE_MAP) > 0
    one, other = (_detail(hues)[there] for hues in (query.hues, laid))
    return _correlation(one, other) if there.any() else 0.0


def _detail(hues: np.ndarray) -> np.ndarray:
    fine, coarse = (cv2.GaussianBlur(hues.astype(np.float32), (0, 0), size) for size in HUES)
    return fine - coarse


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Of two pictures' places (N, C), all channels together, in [-1, 1]."""
    # The mean by a product: numpy's own, over few channels, takes ten times as long.
    share = np.full(len(one), 1 / len(one), np.float32)
    one, other = (part - share @ part for part in (one.astype(np.float32), other.astype(np.float32)))
    return float((one * other).sum()) / max(math.sqrt(float((one**2).sum()) * float((other**2).sum())), 1e-6)


def _placings(query: Sight, stored: Sight) -> Iterator[np.ndarray]:
    """Homographies (3, 3) of pixels of the query to pixels of the stored picture, what most votes speak for first.

    Motifs repeat, so the keypoint most like one is often another than is meant, and no ratio of likenesses tells: each
    pair votes for the turn, the scale and the place that would bring one onto the other (Lowe 2004), and many agree.
    """
    if min(len(query.places), len(stored.places)) < FEWEST:
        return
    rows, columns = _pairs(query, stored)
    start, end = _both_ways(query.places, np.pi)[rows], stored.places[columns]
    size, turn = end[:, 2] - start[:, 2], end[:, 3] - start[:, 3]
    # Where the middle of the query's keypoints would lie.
    across, down = (query.places[:, :2].mean(0) - start[:, :2]).T * 2**size
    x = end[:, 0] + np.cos(turn) * across - np.sin(turn) * down
    y = end[:, 1] + np.sin(turn) * across + np.cos(turn) * down
    votes = np.stack([x / CELL, y / CELL, size / SCALE, turn % (2 * np.pi) / TURN], 1).round().astype(int)
    _, one, counts = np.unique(votes @ (1, 1 << 12, 1 << 24, 1 << 32), return_index=True, return_counts=True)
    for cell in votes[one[np.argsort(-counts, kind="stable")[:CELLS]]]:
        apart = np.abs(votes - cell)
        apart[:, 3] = np.minimum(apart[:, 3], round(2 * np.pi / TURN) - apart[:, 3])
        near = (apart <= 1).all(1)
        if len(np.unique(rows[near])) < FEWEST:
            continue
        ends = start[near, :2], end[near, :2]
        found, agree = cv2.findHomography(*ends, cv2.USAC_MAGSAC, WITHIN, maxIters=300, confidence=0.99)
        if found is not None and agree.sum() >= FEWEST and 0.05 < abs(np.linalg.det(found[:2, :2])) < 20:
            yield found


def _pairs(query: Sight, stored: Sight) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints that look alike: rows of `_both_ways` of the query's places, and the stored one most like each."""
    cosines = _unit(_turned(query.descriptors)) @ _unit(stored.descriptors).T
    best = cosines.argmax(1)
    [rows] = np.nonzero(cosines[np.arange(len(best)), best] > ALIKE)
    return rows, best[rows]


def _turned(descriptors: np.ndarray) -> np.ndarray:
    """Descriptors (P, 128), and those of the same places with light and dark exchanged, (2 P, 128).

    Gradients then point the other way, and with them the frame that the 4 x 4 cells of a descriptor are laid in.
    """
    turned = descriptors.reshape(-1, 4, 4, 8)[:, ::-1, ::-1].reshape(-1, 128)
    return np.concatenate([descriptors, turned])


def _both_ways(places: np.ndarray, turn: float) -> np.ndarray:
    """Places (P, 4), and the same with their angles turned, (2 P, 4)."""
    return np.concatenate([places, places + np.float32([0, 0, 0, turn])])


def _edges(grey: np.ndarray) -> np.ndarray:
    """How strong edges are among those around them, (h, w) uint8: a fold's shade is no edge."""
    soft = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.0)
    strength = np.hypot(cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1))
    return (50 * strength / (cv2.GaussianBlur(strength, (0, 0), 8.0) + 4)).clip(0, 255).astype(np.uint8)


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-7)
