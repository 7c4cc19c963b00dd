from __future__ import annotations

import cv2
import numpy as np
import pytest
from conftest import paint

from saree_vae import metrics, retouch

RED, BLUE = "#8c1c2b", "#1f4e79"


def picture(mark: str, ground: str, side: int = 96) -> np.ndarray:
    return np.asarray(paint(mark, ground, side=side))


def soft(image: np.ndarray, size: int = 24) -> np.ndarray:
    """What a poor decoder would draw of it."""
    return cv2.resize(cv2.GaussianBlur(image, (0, 0), image.shape[0] / 24), (size, size), interpolation=cv2.INTER_AREA)


@pytest.fixture
def cloths() -> np.ndarray:
    return np.stack([picture("dots", RED), picture("stripes", RED)])


def test_oklab_is_as_published_and_loses_no_level():
    # Ottosson's own table: L, a, b of white and of the three primaries of sRGB, rounded to three digits.
    known = {(255, 255, 255): (1, 0, 0), (255, 0, 0): (0.628, 0.225, 0.126), (0, 255, 0): (0.866, -0.234, 0.179)}
    for colour, lab in known.items():
        np.testing.assert_allclose(retouch.to_oklab(np.uint8(colour)), lab, atol=1e-3)
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    every = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    np.testing.assert_array_equal(retouch.from_oklab(retouch.to_oklab(every)), every)


def test_a_drawing_that_does_not_change_leaves_the_photograph_as_it_is(cloths):
    drawing = soft(cloths[0])
    np.testing.assert_array_equal(retouch.recoloured(cloths[0], drawing, drawing), cloths[0])


def test_a_photograph_takes_the_colours_that_its_drawing_takes_and_keeps_every_thread():
    red, blue = picture("dots", RED), picture("dots", BLUE)
    made = retouch.recoloured(red, soft(red), soft(blue))
    left, all_there_was = (np.abs(retouch.to_oklab(one) - retouch.to_oklab(blue)).mean() for one in (made, red))
    assert left < 0.3 * all_there_was
    assert metrics.detail_kept(red[None], made[None]) > 0.7
    white = (red == 255).all(2)
    assert made[white].mean() > 235 > 150 > made[~white].mean()  # threads that no drawing shows stay white


def test_what_a_drawing_misses_of_the_old_colours_does_not_stay_in_the_new_ones():
    red, blue = picture("dots", RED), picture("dots", BLUE)
    paler = (0.6 * soft(red) + 0.4 * 110).astype(np.uint8)
    made = retouch.recoloured(red, paler, soft(blue))
    hues = [retouch.to_oklab(one)[..., 1:].mean((0, 1)) for one in (made, blue, red)]
    assert np.linalg.norm(hues[0] - hues[1]) < 0.15 * np.linalg.norm(hues[2] - hues[1])
    assert made[(red == 255).all(2)].min() > 225  # white threads stay white


def test_a_picture_takes_the_very_colours_of_another_and_as_much_of_each(cloths):
    other = picture("checks", BLUE)
    changed = retouch.to_oklab(cloths[0]) + retouch.palette_change(cloths[0], other)
    for mine, theirs in zip(changed.reshape(-1, 3).T, retouch.to_oklab(other).reshape(-1, 3).T, strict=True):
        np.testing.assert_allclose(np.sort(mine), np.sort(theirs), atol=0.05)
    np.testing.assert_array_equal(retouch.palette_change(cloths[0], other), retouch.palette_change(cloths[0], other))
    assert np.abs(retouch.palette_change(cloths[0], cloths[0])).max() < 0.01


def test_colours_known_in_small_are_carried_to_every_thread():
    large, goal = (picture("dots", ground, 192) for ground in (RED, BLUE))
    small, blue = (cv2.resize(one, (64, 64), interpolation=cv2.INTER_AREA) for one in (large, goal))
    made = retouch.repainted(large, retouch.palette_change(small, blue))
    left, all_there_was = (np.abs(retouch.to_oklab(one) - retouch.to_oklab(goal)).mean() for one in (made, large))
    assert left < 0.15 * all_there_was
    assert metrics.detail_kept(large[None], made[None]) > 0.6
    assert retouch.repainted(large, np.zeros((64, 64, 3), np.float32)) is large


def test_one_ground_in_two_colours_is_evened_out_and_no_noise():
    flat, two = picture("dots", RED), np.concatenate([np.full((96, 48, 3), c, np.uint8) for c in (40, 220)], 1)
    flat = np.full_like(flat, 128)
    change = retouch.palette_change(flat, two)
    assert change[..., 0].std() > 0.2  # half of the ground goes to each
    assert retouch.repainted(flat, change).std() < 12


def test_one_picture_alone_is_fused_to_itself(cloths):
    for weights, which in (([1, 0], 0), ([0, 2], 1)):
        np.testing.assert_array_equal(retouch.fused(cloths, np.array(weights), None), cloths[which])
    np.testing.assert_allclose(retouch.fused(cloths[[0, 0]], np.array([0.3, 0.7])), cloths[0], atol=1)


def test_two_designs_lie_in_each_other_sharper_than_in_a_cross_fade(cloths):
    fused = retouch.fused(cloths, np.array([0.5, 0.5]))
    faded = cloths.mean(0).astype(np.uint8)
    sharp = [np.mean(metrics.detail_kept(cloths, np.stack([made, made]))) for made in (fused, faded)]
    assert sharp[0] > 0.8 > 0.6 > sharp[1]
    dots, stripes = ((cloth == 255).all(2) for cloth in cloths)
    assert fused[dots & ~stripes].mean() > 1.1 * faded[dots & ~stripes].mean()  # no ghosts


def test_faint_lines_of_one_design_are_no_relief_on_the_bold_areas_of_another(monkeypatch):
    areas, lines = np.full((2, 128, 128, 3), 60, np.uint8)
    areas[(np.indices((128, 128)) // 16).sum(0) % 2 == 0] = 220
    lines[::4] = 75

    def relief() -> float:
        fused = retouch.fused(np.stack([areas, lines]), np.array([0.6, 0.4])).astype(float)
        return np.abs(np.diff(fused[18:30, 20:28], axis=0)).mean()  # within one of the squares

    seen = relief()
    monkeypatch.setattr(retouch, "COARSER", 0)
    assert seen < 0.5 * relief()


def test_a_shift_is_added_in_oklab():
    grey = np.full((2, 32, 32, 3), 128, np.uint8)
    shift = np.zeros((4, 4, 3), np.float32)
    shift[..., 0] = -0.1
    for weights in ([1, 0], [0.5, 0.5]):
        moved = retouch.to_oklab(retouch.fused(grey, np.array(weights), shift)) - retouch.to_oklab(grey[0])
        np.testing.assert_allclose(moved.mean((0, 1)), (-0.1, 0, 0), atol=3e-3)


@pytest.mark.parametrize("side", [33, 96, 127])
def test_any_side_can_be_fused(side):
    pair = np.stack([picture("dots", RED, side), picture("checks", BLUE, side)])
    assert retouch.fused(pair, np.array([0.5, 0.5])).shape == (side, side, 3)
