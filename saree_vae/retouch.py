"""Changes that are known small and soft, carried over to the photograph itself, so that every thread of it stays.

A decoder's two pictures of one photograph, before and after a change of the latent, tell how colours move; or another
photograph tells what they are to become. Colours are compared and mixed in OKLab (Ottosson 2020), where equal steps
look equal: L in [0, 1], a and b in about [-0.4, 0.4].
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

REACH = 8  # a window of the local fit reaches this part of the picture's side from its middle
RIDGE = 0.06**2  # a colour that varies by less within a window, in OKLab, moves as the window's mean does
# The same where the photograph itself is the guide. Lightness follows less closely: it carries the design.
PALETTE_RIDGES = (0.08**2, 0.01**2, 0.01**2)
TURNS = 30  # of the colour space; more change what is painted by 0.1 of 255 levels
COARSER = 1 / 4  # of a detail's energy counts at the next finer scale; 0 embosses fine lines, 1 leaves ghosts
COARSEST = 8  # pixels across which pictures are mixed, not chosen from
FAINT = 1e-8  # energy of a detail, in OKLab squared, that nobody sees: below it, the weights decide

LMS_OF_RGB = np.float32(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
LAB_OF_ROOTS = np.float32(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def to_oklab(image: np.ndarray) -> np.ndarray:
    """(..., 3) sRGB uint8 -> OKLab, float32."""
    levels = np.arange(256) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4).astype(np.float32)
    return np.cbrt(linear[image] @ LMS_OF_RGB.T) @ LAB_OF_ROOTS.T


def from_oklab(lab: np.ndarray) -> np.ndarray:
    """OKLab (..., 3) -> sRGB uint8; colours that no screen shows are clipped."""
    linear = ((lab @ np.linalg.inv(LAB_OF_ROOTS).T) ** 3 @ np.linalg.inv(LMS_OF_RGB).T).clip(0, 1)
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (255 * srgb).round().astype(np.uint8)


def recoloured(picture: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The photograph with its colours changed as those of its drawing change, (H, W, 3) uint8.

    In every window the change is fitted as an affine function of the colour before: a guided filter (He et al. 2013) on
    the small drawings, whose coefficients are applied to the large picture (He and Sun 2015). So a white thread in red
    cloth is a white thread in blue cloth when red becomes blue, though no drawing shows it. A drawing is off the
    photograph's hues on average, too; what that would leave of the old ones goes where colours change.

    Args:
        picture: (H, W, 3) uint8, the square that the drawings are of.
        before, after: (S, S, 3) uint8, what the decoder draws of it, and of the changed latent.
    """
    guide, goal = to_oklab(before), to_oklab(after)
    lab, moved = _carried(picture, guide, goal - guide, (RIDGE,) * 3)
    missing = goal.mean((0, 1)) - (lab + moved).mean((0, 1))
    missing[0] = 0  # lightness carries the design
    how_far = np.linalg.norm(moved, axis=2, keepdims=True)
    return from_oklab(lab + moved + missing * how_far / (how_far.mean() + np.linalg.norm(missing) + FAINT))


def palette_change(picture: np.ndarray, other: np.ndarray) -> np.ndarray:
    """By what each place of a small picture (S, S, 3) uint8 changes to have the colours of another, (S, S, 3) in OKLab.

    As much of the picture takes each colour as of the other has it, and colours move as little as may be: optimal
    transport, by turns of the colour space that are each matched axis by axis (Pitie et al. 2007). Equal places get
    different changes where the other has more colours; `repainted` evens that out.
    """
    random = np.random.default_rng(0)
    before, goal = (to_oklab(part).reshape(-1, 3) for part in (picture, other))
    now = before
    for _ in range(TURNS):
        turn = np.linalg.qr(random.normal(size=(3, 3)))[0].astype(np.float32)
        now = now + random.normal(0, 1e-4, now.shape).astype(np.float32)  # equal colours in any order, not by rows
        turned, wanted = now @ turn, np.sort(goal @ turn, axis=0)
        np.put_along_axis(turned, turned.argsort(axis=0), wanted, axis=0)
        now = turned @ turn.T
    return (now - before).reshape(picture.shape)


def repainted(picture: np.ndarray, change: np.ndarray) -> np.ndarray:
    """The photograph (H, W, 3) uint8 with its colours changed by what is known of it in small, (S, S, 3) in OKLab.

    As `recoloured`, but the photograph is its own guide.
    """
    if not change.any():
        return picture
    guide = cv2.resize(picture, change.shape[1::-1], interpolation=cv2.INTER_AREA)
    lab, moved = _carried(picture, to_oklab(guide), change, PALETTE_RIDGES)
    return from_oklab(lab + moved)


def fused(pictures: np.ndarray, weights: np.ndarray, shift: np.ndarray | None = None) -> np.ndarray:
    """Several pictures in one, (H, W, 3) uint8: each place shows, at each scale, the detail that is strongest there.

    A Laplacian pyramid (Burt and Adelson 1983) whose bands are chosen softly by weight and local energy; only what is
    coarsest is mixed. So two designs lie in each other in full strength, where a cross-fade shows the ghosts of both.

    Args:
        pictures: (N, H, W, 3) uint8; weights: (N,), not negative, together more than 0; 1 and 0s give the one picture.
        shift: (S, S, 3) in OKLab, added to what comes out.
    """
    weights = np.asarray(weights, np.float32) / np.sum(weights)
    labs = [to_oklab(picture) for picture, weight in zip(pictures, weights, strict=True) if weight > 0]
    lab = labs[0] if len(labs) == 1 else _laid_into_each_other(labs, weights[weights > 0])
    return from_oklab(lab if shift is None else lab + _large(shift, lab.shape[1::-1]))


def _laid_into_each_other(labs: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    bands = [_bands(lab) for lab in labs]
    lab = np.tensordot(weights, np.stack([levels.pop() for levels in bands]), 1)
    energies = [np.zeros((1, 1), np.float32)] * len(labs)
    for alike in zip(*(reversed(levels) for levels in bands), strict=True):
        size = alike[0].shape[1::-1]
        energies = [COARSER * _large(was, size) + _energy(band) for was, band in zip(energies, alike, strict=True)]
        shares = _shares(energies, weights)
        lab = cv2.pyrUp(lab, dstsize=size) + sum(
            share[..., None] * band for share, band in zip(shares, alike, strict=True)
        )
    return lab


def _bands(lab: np.ndarray) -> list[np.ndarray]:
    """A Laplacian pyramid, finest first; the last is what is left."""
    found = []
    while min(lab.shape[:2]) > COARSEST:
        smaller = cv2.pyrDown(lab)
        found.append(lab - cv2.pyrUp(smaller, dstsize=lab.shape[1::-1]))
        lab = smaller
    return [*found, lab]


def _energy(band: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(np.square(band).sum(2), (0, 0), 1) + FAINT


def _shares(energies: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """How much of each picture a place takes, (N, h, w), together 1."""
    # By the root of its mean: a bold design comes before a faint one, but not all the way through.
    fair = [energy / np.sqrt(energy.mean()) for energy in energies]
    chances = np.stack([(weight * energy) ** 2 for weight, energy in zip(weights, fair, strict=True)])
    return chances / chances.sum(0)


def _carried(
    picture: np.ndarray, guide: np.ndarray, change: np.ndarray, ridges: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """The photograph, and how it changes where its guide (S, S, 3) does by `change` (S, S, 3), all in OKLab."""
    slope, offset = _local_fit(guide, change, ridges)
    lab, size = to_oklab(picture), picture.shape[1::-1]
    moved = sum(_large(slope[..., channel], size) * lab[..., channel, None] for channel in range(3))
    return lab, moved + _large(offset, size)


def _local_fit(guide: np.ndarray, target: np.ndarray, ridges: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Slope (S, S, 3 of target, 3 of guide) and offset (S, S, 3) of target = slope guide + offset, window by window.

    `ridges`: of each channel of the target.
    """
    side = 2 * (guide.shape[0] // REACH) + 1

    def mean(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(*values.shape[:2], -1)
        parts = [cv2.blur(flat[..., at], (side, side), borderType=cv2.BORDER_REFLECT) for at in range(flat.shape[2])]
        return np.dstack(parts).reshape(values.shape)

    middle, goal = mean(guide), mean(target)
    spread = mean(guide[..., :, None] * guide[..., None, :]) - middle[..., :, None] * middle[..., None, :]
    together = mean(target[..., :, None] * guide[..., None, :]) - goal[..., :, None] * middle[..., None, :]
    stiff = np.float32(ridges)[:, None, None] * np.eye(3, dtype=np.float32)  # one for each channel of the target
    slope = np.linalg.solve(spread[..., None, :, :] + stiff, together[..., None])[..., 0]
    return mean(slope), mean(goal - (slope @ middle[..., None])[..., 0])


def _large(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)
