"""The baselines see what they are meant to see, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from saree_vae import baselines

TEXTILES = Path(__file__).resolve().parents[2] / "shared" / "data" / "textiles"
SIDE = 48


def stripes(period, colours, *, upright=True):
    """A picture (48, 48, 3) of stripes in two colours."""
    along = (np.arange(SIDE) // period) % 2
    picture = np.asarray(colours, dtype=np.uint8)[np.broadcast_to(along, (SIDE, SIDE))]
    return picture if upright else picture.swapaxes(0, 1)


RED, BLUE = ((200, 30, 40), (240, 220, 200)), ((30, 50, 190), (220, 230, 240))


def cosines(embedding):
    return embedding @ embedding.T


@pytest.mark.parametrize("describe", [baselines.colour_histogram, baselines.lbp, baselines.both])
def test_each_gives_unit_rows_of_float32_and_is_the_same_twice(describe):
    pictures = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    rows = describe(pictures)
    assert rows.dtype == np.float32
    assert len(rows) == 3
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(rows, describe(pictures))
    np.testing.assert_allclose(rows[1:2], describe(pictures[1:2]), atol=1e-6)  # a picture's neighbours do not matter


def test_the_colour_histogram_does_not_see_where_a_colour_is():
    picture = stripes(6, RED)
    shuffled = np.random.default_rng(0).permutation(picture.reshape(-1, 3)).reshape(picture.shape)
    near = cosines(baselines.colour_histogram(np.stack([picture, shuffled, stripes(6, BLUE)])))
    assert near[0, 1] == pytest.approx(1, abs=1e-5)
    assert near[0, 2] < 0.5


def test_the_colour_histogram_hardly_moves_when_a_colour_does():
    reds = np.stack([np.full((8, 8, 3), (red, 40, 40), dtype=np.uint8) for red in range(100, 256, 5)])
    near = cosines(baselines.colour_histogram(reds))
    assert np.diagonal(near, 1).min() > 0.75  # bins with hard edges would give 0 at every edge
    assert near[0, -1] < 0.3


def test_the_texture_histogram_sees_direction_but_not_colour():
    upright, recoloured, lying = stripes(4, RED), stripes(4, BLUE), stripes(4, RED, upright=False)
    near = cosines(baselines.lbp(np.stack([upright, recoloured, lying])))
    assert near[0, 1] > 0.99 > near[0, 2] + 0.1


def test_both_is_the_mean_of_the_two_cosines():
    pictures = np.stack([stripes(4, RED), stripes(4, BLUE), stripes(6, RED)])
    mean = (cosines(baselines.colour_histogram(pictures)) + cosines(baselines.lbp(pictures))) / 2
    np.testing.assert_allclose(cosines(baselines.both(pictures)), mean, atol=1e-5)


def test_pca_learns_from_its_training_pictures_and_tells_pictures_apart():
    random = np.random.default_rng(0)
    train = random.integers(0, 256, (20, SIDE, SIDE, 3), dtype=np.uint8)
    describe = baselines.pca(train)
    rows = describe(train)
    assert rows.shape == (20, 19)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    noisy = (train.astype(int) + random.integers(-20, 21, train.shape)).clip(0, 255).astype(np.uint8)
    assert (np.argmax(describe(noisy) @ rows.T, axis=1) == np.arange(20)).all()
    np.testing.assert_array_equal(baselines.pca(train)(train), rows)


def test_pca_does_not_blow_up_what_hardly_varies():
    dark, bright = (np.full((32, 32, 3), level, dtype=np.uint8) for level in (60, 200))
    almost = dark.copy()
    almost[0, 0, 0] += 1
    train = np.stack([dark, almost, bright])
    near = cosines(baselines.pca(train)(train))
    assert near[0, 1] > 0.9
    assert near[0, 2] < -0.9


def test_pca_of_equal_pictures_gives_numbers_and_of_one_picture_says_no():
    same = np.tile(stripes(4, RED), (3, 1, 1, 1))
    assert np.isfinite(baselines.pca(same)(same)).all()
    with pytest.raises(ValueError, match="at least 2"):
        baselines.pca(same[:1])


def small_pictures(count):
    """Grey pictures (count, 4, 4, 1) that vary along two patterns, with a little noise."""
    random = np.random.default_rng(0)
    patterns = 30 * random.standard_normal((2, 16))
    pixels = 120 + random.standard_normal((count, 2)) @ patterns + 5 * random.standard_normal((count, 16))
    return pixels.round().clip(0, 255).astype(np.uint8).reshape(-1, 4, 4, 1)


@pytest.mark.parametrize("count", [60, 400])  # one normal on 3 components, two on 15
def test_the_mixture_is_the_density_that_its_parts_written_out_give(count):
    pictures = small_pictures(count)
    fitted = baselines.mixture(pictures)
    axes, normals = fitted.components.components_, fitted.normals
    outside = fitted.variance * (np.eye(16) - axes.T @ axes)
    x = baselines._filled(pictures[:9], seed=0)
    parts = [
        weight * multivariate_normal(fitted.components.mean_ + mean @ axes, axes.T @ cov @ axes + outside).pdf(x)
        for weight, mean, cov in zip(normals.weights_, normals.means_, normals.covariances_, strict=True)
    ]
    assert len(parts) == count // 200 or count == 60
    np.testing.assert_allclose(fitted.log_prob(pictures[:9]), np.log(np.sum(parts, axis=0)), rtol=1e-3)


def test_draws_of_the_mixture_vary_as_its_training_pictures_do():
    pictures = small_pictures(1000)
    x, drawn = pictures.reshape(1000, -1) / 255, baselines.mixture(pictures).sample(4000)
    assert drawn.shape == (4000, 16)
    np.testing.assert_allclose(drawn.mean(0), x.mean(0), atol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(x.T), atol=0.004)
    few = baselines.mixture(pictures[:100])
    axes = few.components.components_
    rest = (few.sample(4000) - few.components.mean_) @ (np.eye(16) - axes.T @ axes)
    assert np.square(rest).sum(1).mean() == pytest.approx(few.variance * (16 - len(axes)), rel=0.05)


def test_the_mixture_finds_pictures_like_its_own_more_probable_and_wants_a_few():
    pictures = small_pictures(420)
    fitted = baselines.mixture(pictures[:400])
    shuffled = np.random.default_rng(0).permuted(pictures[400:].reshape(20, -1), axis=1).reshape(-1, 4, 4, 1)
    assert fitted.log_prob(pictures[400:]).mean() > fitted.log_prob(shuffled).mean() + 10
    with pytest.raises(ValueError, match="at least 20"):
        baselines.mixture(pictures[:5])


@pytest.mark.skipif(not TEXTILES.is_dir(), reason=f"needs the measuring photographs in {TEXTILES}")
def test_on_real_textiles_texture_finds_more_of_a_class_than_chance():
    from saree_vae import data, metrics

    items = [item for item in data.read_data(TEXTILES).items if item.cluster is not None][:240]
    pictures = data.load(items, 128)
    labels = [item.cluster for item in pictures.items]
    chance = np.mean([labels.count(label) / len(labels) for label in labels])
    for describe in (baselines.lbp, baselines.colour_histogram):
        found = metrics.same_item(describe(pictures.images), labels, ks=(1,))
        assert found.recall[1].mean() > 2 * chance
