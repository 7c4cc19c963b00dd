"""Kinship: what a walk from piece to piece finds that the cosine to the query does not; labels that pass on so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from saree_vae import kin
from saree_vae.kin import kinship, spread
from saree_vae.latents import unit, weighted


def arcs(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows (2 * count, 3) on two arcs of a sphere that run side by side, and which arc each is on."""
    along = np.linspace(0, np.pi / 2, count)
    rows = [np.stack([np.cos(along), np.sin(along), np.full(count, height)], 1) for height in (-0.25, 0.25)]
    return unit(np.concatenate(rows)), np.repeat([0, 1], count)


def test_kin_are_found_along_the_pieces_between_where_cosines_stray():
    rows, arc = arcs()
    query, stored, own = rows[0], rows[1:], arc[1:] == arc[0]
    count = own.sum()
    by_cosine = np.argsort(-(stored @ query))[:count]
    by_kin = np.argsort(-kinship(query, stored))[:count]
    assert own[by_kin].all() and own[by_cosine].mean() < 0.8


@pytest.mark.parametrize("block", [3, 1000])
def test_those_are_kin_that_hold_each_other_for_near(monkeypatch, block):
    monkeypatch.setattr(kin, "BLOCK", block)
    angles = np.deg2rad([0, 1, 3, 10, 40, 41, 90])
    rows = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    found = [sorted(near.tolist()) for near in kin.mutual(rows, 2)]
    assert found == [[1, 2], [0, 2], [0, 1], [], [5], [4], []]  # the fourth is near to nobody that is near to it
    assert [sorted(near.tolist()) for near in kin.mutual(rows, 50)] == [
        [other for other in range(7) if other != number] for number in range(7)
    ]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_rows_have_few_kin(count):
    assert [near.tolist() for near in kin.mutual(np.ones((count, 3), np.float32), 8)] == [[], [[]], [[1], [0]]][count]


def test_kinship_is_what_a_walk_brings(monkeypatch):
    monkeypatch.setattr(kin, "NEIGHBOURS", 3)
    rows = unit(np.random.default_rng(0).normal(size=(12, 4)))
    cosines = rows @ rows.T - 2 * np.eye(12)
    weights = np.zeros((12, 12))
    for row, near in enumerate(np.argsort(-cosines)[:, :3]):
        weights[row, near] = np.maximum(cosines[row, near], 0) ** kin.POWER
    weights = weights + weights.T
    steps = weights / np.sqrt(np.outer(weights.sum(0), weights.sum(0)))
    brought, start = np.zeros(12), np.eye(12)[0]
    for _ in range(400):
        brought = kin.PASSED_ON * steps @ brought + start
    np.testing.assert_allclose(kinship(rows[0], rows[1:]), brought[1:] / brought[1:].max(), atol=1e-5)


def test_only_the_nearest_rows_take_part(monkeypatch):
    rows, _ = arcs()
    monkeypatch.setattr(kin, "NEAREST", 20)
    found = kinship(rows[0], rows[1:])
    near = np.argsort(-(rows[1:] @ rows[0]))[:20]
    assert found.max() == 1 and set(np.flatnonzero(found)) <= set(near.tolist())


@pytest.mark.parametrize("stored", [np.zeros((0, 3)), np.zeros((4, 3)), np.ones((30, 3)), np.float32([[1, 0, 0]])])
def test_few_equal_or_empty_rows_have_finite_kinship(stored):
    found = kinship(np.float32([1, 0, 0]), stored.astype(np.float32))
    assert found.shape == (len(stored),) and np.isfinite(found).all() and (found <= 1).all()


def test_weighted_rows_have_the_mean_of_both_cosines():
    rows = np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32)
    halves = unit(rows[:, :4]), unit(rows[:, 4:])
    scaled = weighted(np.concatenate(halves, 1), 4, 1.0, 0.3)
    motif, colour = (half @ half.T for half in halves)
    np.testing.assert_allclose(scaled @ scaled.T, (motif + 0.3 * colour) / 1.3, atol=1e-6)


def blobs(counts: Sequence[int], noise: np.random.Generator) -> np.ndarray:
    """Unit rows in blobs around the axes."""
    rows = np.concatenate(
        [np.eye(len(counts))[i] + 0.05 * noise.normal(size=(n, len(counts))) for i, n in enumerate(counts)]
    )
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_label_spreads_over_its_blob(noise):
    targets = np.zeros((100, 2))
    targets[0, 0] = targets[30, 1] = 1
    found = spread(blobs([30, 70], noise), targets)
    np.testing.assert_allclose(found.sum(1), 1)
    assert found[:30, 0].min() > 0.99 and found[30:, 1].min() > 0.99


def test_spreading_comes_to_the_closed_form(noise, monkeypatch):
    # Zhou et al.: F = (1 - a) (I - a S)^-1 Y; then each class gets the same mass, and squares make likely likelier.
    monkeypatch.setattr(kin, "ROUNDS", 3000)
    x = noise.normal(size=(9, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    targets = np.zeros((9, 2))
    targets[[0, 1, 2], [0, 0, 1]] = 1
    w = np.exp((x @ x.T - 1) / kin.WARMTH) * (1 - np.eye(9))
    s = w / np.sqrt(np.outer(w.sum(0), w.sum(0)))
    f = np.linalg.solve(np.eye(9) - kin.SPREAD * s, targets)
    f = (f / f.sum(0)) ** 2
    np.testing.assert_allclose(spread(x, targets), f / f.sum(1, keepdims=True), atol=1e-6)


def test_a_picture_that_no_label_reaches_gets_none(noise, monkeypatch):
    monkeypatch.setattr(kin, "LISTENED_TO", 3)
    targets = np.zeros((30, 2))
    targets[0, 0] = targets[10, 1] = 1
    found = spread(blobs([10, 10, 10], noise), targets)
    assert not found[20:].any()
    np.testing.assert_allclose(found[:20].sum(1), 1)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_pictures_have_few_neighbours(count):
    targets = np.zeros((count, 2))
    targets[0, 0] = 1
    found = spread(np.eye(5)[:count], targets)
    assert found.shape == (count, 2) and found[0].tolist() == [1, 0] and np.isfinite(found).all()
