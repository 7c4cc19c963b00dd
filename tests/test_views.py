from __future__ import annotations

import cv2
import numpy as np
import pytest
from conftest import paint

from saree_vae import views

SIZE = 64


@pytest.fixture
def picture() -> np.ndarray:
    red = np.asarray(paint("diamonds", "#8c1c2b", side=96)).copy()
    red[:40, :50] = np.asarray(paint("stripes", "#1f4e79", side=96))[:40, :50]
    return red


def edges(image: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)).ravel()


def palette(image: np.ndarray) -> np.ndarray:
    return cv2.calcHist([image], [0, 1, 2], None, [4] * 3, [0, 256] * 3).ravel() / image[..., 0].size


def test_a_view_depends_on_its_own_seed_alone(picture):
    first = views.training_views(picture, SIZE, index=3, epoch=2, seed=1)
    views.training_views(picture, SIZE, index=9, epoch=5, seed=1)  # other calls leave no trace
    again = views.training_views(picture, SIZE, index=3, epoch=2, seed=1)
    assert set(first) == {"clean", *views.NAMES}
    for name, image in first.items():
        assert image.shape == (SIZE, SIZE, 3)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, again[name])


def test_the_clean_view_alone_is_the_one_beside_the_others(picture):
    key = {"index": 3, "epoch": 2, "seed": 1}
    alone = views.training_views(picture, SIZE, only_clean=True, **key)
    assert set(alone) == {"clean"}
    np.testing.assert_array_equal(alone["clean"], views.training_views(picture, SIZE, **key)["clean"])


@pytest.mark.parametrize("other", [{"index": 4}, {"epoch": 3}, {"seed": 2}])
def test_another_picture_epoch_or_seed_gives_another_view(picture, other):
    key = {"index": 3, "epoch": 2, "seed": 1}
    first = views.training_views(picture, SIZE, **key)
    second = views.training_views(picture, SIZE, **(key | other))
    assert all((first[name] != second[name]).any() for name in first)


def test_evaluation_never_draws_the_numbers_of_training():
    keys = [(views.TRAINING, seed, epoch, index) for seed in range(3) for epoch in range(3) for index in range(20)]
    keys += [(views.EVALUATION, seed, name, index) for seed in range(3) for name in range(3) for index in range(20)]
    draws = {views._random(*key)[0].integers(2**63) for key in keys}
    assert len(draws) == len(keys)


@pytest.mark.parametrize("index", range(12))
def test_recoloured_changes_the_palette_and_keeps_the_edges(picture, index):
    made = views.training_views(picture, SIZE, index=index, epoch=0)
    clean, recoloured = made["clean"], made["recoloured"]
    assert np.corrcoef(edges(clean), edges(recoloured))[0, 1] > 0.5
    assert np.abs(clean.astype(int) - recoloured).mean() > 8


@pytest.mark.parametrize("index", range(6))
def test_shuffled_keeps_the_palette_and_breaks_the_drawing(picture, index):
    made = views.training_views(picture, SIZE, index=index, epoch=0)
    clean, shuffled = made["clean"], made["shuffled"]
    assert np.abs(palette(clean) - palette(shuffled)).sum() < 0.35  # resampling to whole tiles blends a few pixels
    assert np.corrcoef(edges(clean), edges(shuffled))[0, 1] < 0.5


def test_a_phone_photo_keeps_about_the_colours_and_is_another_picture(picture):
    photo = views.evaluation_view("phone_photo", picture, SIZE, index=0)
    assert np.abs(photo.mean((0, 1)) - picture.mean((0, 1))).max() < 70
    small = cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    assert np.abs(photo.astype(int) - small).mean() > 5


def test_a_flat_picture_survives_every_view():
    flat = np.full((80, 80, 3), 200, np.uint8)
    for index in range(20):
        for image in views.training_views(flat, SIZE, index=index, epoch=0).values():
            assert image.shape == (SIZE, SIZE, 3)


def test_an_unknown_view_is_refused():
    with pytest.raises(ValueError, match="phone_photo"):
        views.evaluation_view("sepia", np.zeros((80, 80, 3), np.uint8), SIZE, index=0)
