"""What a search must beat: descriptors that learn nothing, or next to nothing.

Each takes pictures (N, S, S, 3) uint8 sRGB and gives embeddings (N, D) float32 with rows of unit length. Histograms are
compared as square roots (Hellinger), which on textiles raised class R@1 of `lbp` from 0.58 to 0.64 over plain counts:
a claim is only worth as much as the baseline that stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .latents import unit

if TYPE_CHECKING:
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

# On textiles, 5x8x8 to 16x24x24 bins, 32 to 128 pixels and Lab marginals gave class R@1 of 0.47 to 0.49; this 0.49.
LIGHTNESS_BINS, CHROMA_BINS, CHROMA_RANGE, COLOUR_SIDE = 8, 12, 80.0, 64
LBP_RADII, LBP_NEIGHBOURS = (1, 2), 8
PCA_SIDE, PCA_COMPONENTS = 32, 64
# Of `mixture`, and training pictures for each component. On 2,000 textiles 20 to 300 components and 1 to 30 normals
# gave 7.56 to 7.69 bits per dimension of test pictures, this 7.57; on 1,000, more than 100 components gave up to 8.5.
MIXTURE_COMPONENTS, MIXTURE_NORMALS, MIXTURE_FEWEST = 100, 10, 20
LEVEL_VARIANCE = 1 / 12 / 256**2  # of the noise within a level: no variance is smaller


def colour_histogram(images: np.ndarray) -> np.ndarray:
    """Joint CIE Lab histogram, (N, 1152): each pixel is shared among the eight nearest of 8 x 12 x 12 bins."""
    import cv2

    shape = (LIGHTNESS_BINS, CHROMA_BINS, CHROMA_BINS)
    low = np.array([0.0, -CHROMA_RANGE, -CHROMA_RANGE])
    width = np.array([100.0, 2 * CHROMA_RANGE, 2 * CHROMA_RANGE]) / (np.array(shape) - 1)
    counts = np.zeros((len(images), int(np.prod(shape))), dtype=np.float32)
    for row, image in enumerate(images):
        small = shrink(image, COLOUR_SIDE).astype(np.float32) / 255
        lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).reshape(-1, 3)
        counts[row] = _shared_counts((lab - low) / width, shape)
    return unit(np.sqrt(counts))


def lbp(images: np.ndarray) -> np.ndarray:
    """Uniform local binary patterns of lightness at radii 1 and 2, (N, 118) (Ojala et al. 2002, Ahonen et al. 2006).

    Patterns keep their direction: the rotation-invariant ones found 0.52 of classes first on textiles, these 0.64.
    """
    import cv2
    from skimage.feature import local_binary_pattern

    patterns = LBP_NEIGHBOURS * (LBP_NEIGHBOURS - 1) + 3
    counts = np.zeros((len(images), len(LBP_RADII), patterns), dtype=np.float32)
    for row, image in enumerate(images):
        grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
        for which, radius in enumerate(LBP_RADII):
            codes = local_binary_pattern(grey, LBP_NEIGHBOURS, radius, method="nri_uniform").astype(np.int64)
            counts[row, which] = np.bincount(codes.ravel(), minlength=patterns)
    return unit(np.sqrt(counts.reshape(len(images), len(LBP_RADII) * patterns)))


def both(images: np.ndarray) -> np.ndarray:
    """`colour_histogram` and `lbp` side by side: an inner product is the mean of the two cosines."""
    return join(colour_histogram(images), lbp(images))


def join(colour: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """`both`, from what `colour_histogram` and `lbp` gave for the same pictures."""
    return np.concatenate([colour, texture], axis=1) * np.float32(np.sqrt(0.5))


def pca(train_images: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The 64 principal components (fewer for a few pictures) of 32 x 32 pixels, each scaled to unit variance.

    Raises:
        ValueError: fewer than two pictures to learn from.
    """
    from sklearn.decomposition import PCA

    if len(train_images) < 2:
        raise ValueError(f"PCA needs at least 2 pictures to learn from, got {len(train_images)}")
    pixels = _pixels(train_images)
    components = min(PCA_COMPONENTS, len(pixels) - 1)  # n pictures less their mean span n - 1 dimensions
    # Seeded and randomised: the exact solver takes minutes at 3072 dimensions and finds the same 64.
    model = PCA(components, svd_solver="randomized", random_state=0).fit(pixels)
    # A component along which nothing varies (equal pictures) would be rounding error, scaled up.
    spread = np.sqrt(np.maximum(model.explained_variance_, 1e-6 * model.explained_variance_[0] + 1e-12))
    return lambda images: unit(model.transform(_pixels(images)) / spread)


@dataclass(frozen=True)
class Mixture:
    """p(x) of whole pictures: a mixture of normals on their principal components, one variance for all outside these.

    Pictures are (N, S, S, C) uint8; densities are of values in [0, 1], each of 256 levels filled with uniform noise, so
    that 8 - log_prob / values / log 2 is a bound on the bits per dimension.
    """

    components: PCA
    normals: GaussianMixture
    variance: float

    def log_prob(self, images: np.ndarray, seed: int = 0) -> np.ndarray:
        """Log density of each picture, (N,) nats."""
        x = _filled(images, seed)
        z = self.components.transform(x).astype(np.float64)
        outside = x.shape[1] - z.shape[1]
        away = np.square(x - self.components.mean_).sum(1, dtype=np.float64) - np.square(z).sum(1)
        rest = -0.5 * (away / self.variance + outside * np.log(2 * np.pi * self.variance))
        return self.normals.score_samples(z) + rest

    def sample(self, count: int, seed: int = 0) -> np.ndarray:
        """Draws, values of pictures (count, values): not kept to [0, 1], which the density is not either."""
        noise = np.random.default_rng(seed).standard_normal((count, self.components.n_features_in_))
        noise -= self.components.inverse_transform(self.components.transform(noise)) - self.components.mean_
        z, _ = self.normals.set_params(random_state=seed).sample(count)
        return self.components.inverse_transform(z) + np.sqrt(self.variance) * noise


def mixture(train_images: np.ndarray) -> Mixture:
    """Fit `Mixture` to pictures (N, S, S, C) uint8.

    Raises:
        ValueError: fewer than MIXTURE_FEWEST pictures.
    """
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    count = len(train_images)
    if count < MIXTURE_FEWEST:
        raise ValueError(f"a mixture needs at least {MIXTURE_FEWEST} pictures to learn from, got {count}")
    x = _filled(train_images, seed=1)
    kept = min(MIXTURE_COMPONENTS, count // MIXTURE_FEWEST, x.shape[1] - 1)
    components = PCA(kept, svd_solver="randomized", random_state=0).fit(x)
    z = components.transform(x).astype(np.float64)
    away = np.square(x - components.mean_).sum(1, dtype=np.float64) - np.square(z).sum(1)
    variance = max(float(away.mean()) / (x.shape[1] - kept), LEVEL_VARIANCE)
    # No normal is narrower than what lies outside the components.
    normals = GaussianMixture(max(1, min(MIXTURE_NORMALS, count // 200)), reg_covar=variance, random_state=0)
    return Mixture(components, normals.fit(z), variance)


def shrink(image: np.ndarray, side: int) -> np.ndarray:
    """A square picture averaged down to (side, side, 3); a smaller one is left alone."""
    import cv2

    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) if len(image) > side else image


def _shared_counts(position: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Histogram of `position` (P, 3), in bins, each point shared linearly among the eight bins around it."""
    bins = np.array(shape)
    position = np.clip(position, 0, bins - 1)
    below = np.minimum(position.astype(np.int64), bins - 2)
    beyond = position - below  # (P, 3) in [0, 1]
    counts = np.zeros(bins.prod())
    for corner in np.ndindex(2, 2, 2):
        weight = np.where(corner, beyond, 1 - beyond).prod(1)
        where = np.ravel_multi_index((below + corner).T, shape)
        counts += np.bincount(where, weight, minlength=len(counts))
    return counts


def _pixels(images: np.ndarray) -> np.ndarray:
    small = [shrink(image, PCA_SIDE) for image in images]
    return np.stack(small).reshape(len(images), -1).astype(np.float32) / 255


def _filled(images: np.ndarray, seed: int) -> np.ndarray:
    """Values of pictures in [0, 1), (N, values) float32, anywhere within their levels."""
    noise = np.random.default_rng(seed).random(images.shape, dtype=np.float32)
    return ((images + noise) / 256).reshape(len(images), -1)
