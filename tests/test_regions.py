"""Regions lie on the cloth, and a part of a picture finds the whole that it was cut from."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import paint
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from saree_vae import data, indexing, regions
from saree_vae.catalogue import Catalogue
from saree_vae.checkpoint import load
from saree_vae.encoding import encode_items
from saree_vae.errors import SareeError
from saree_vae.images import ImageError, square
from saree_vae.latents import Latents, match, pairing
from saree_vae.regions import WHOLE


def figure(height: int = 300, width: int = 200) -> np.ndarray:
    """A strip of cloth, 80 x 240, in the middle of a white studio."""
    image = np.full((height, width, 3), 255, np.uint8)
    image[30:270, 60:140] = np.array(paint("checks", "#8c1c2b", side=240))[:, :80]
    return image


def test_squares_lie_on_the_cloth_and_leave_the_background():
    boxes = regions.find(figure())
    assert boxes[0] == WHOLE
    assert len(boxes) > 5
    for x0, y0, x1, y1 in boxes[1:]:
        assert x0 >= 60 / 200 - 0.03
        assert x1 <= 140 / 200 + 0.03
        assert y0 >= 30 / 300 - 0.03
        assert y1 <= 270 / 300 + 0.03
        assert (x1 - x0) * 200 == pytest.approx((y1 - y0) * 300, abs=8)  # a square, in pixels
    widths = [(x1 - x0) * 200 / 80 for x0, _, x1, _ in boxes[1:]]  # in widths of the cloth; the mask is coarse
    assert all(min(abs(width - 0.5), abs(width - 1)) < 0.2 for width in widths)
    assert max(widths) - min(widths) > 0.3


def test_cloth_that_fills_the_picture_is_all_cloth():
    cloth = np.random.default_rng(0).integers(0, 255, (120, 90, 3), dtype=np.uint8)
    assert regions.cloth_mask(cloth).all()
    blank = np.full((50, 50, 3), 200, np.uint8)  # all background would leave nothing
    assert regions.cloth_mask(blank).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 6), st.integers(0, 2**32 - 1))
def test_boxes_of_any_picture_are_boxes_and_can_be_cut(height, width, crops, seed):
    image = np.random.default_rng(seed).integers(0, 2, (height, width, 3), dtype=np.uint8) * np.uint8(255)
    boxes = regions.find(image, crops)
    assert len(boxes) <= 1 + (regions.LARGE + crops if crops else 0)
    assert all(0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 for x0, y0, x1, y1 in boxes)
    pictures = regions.cut(image, boxes, 16)
    assert pictures.shape == (len(boxes), 16, 16, 3)
    np.testing.assert_array_equal(pictures[0], square(image, 16))


def test_reading_names_what_cannot_be_read(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(ImageError, match=r"a\.jpg: empty file"):
        regions.read(tmp_path / "a.jpg", 64, 4)


def test_each_part_counts_with_the_most_like_one_and_wholes_a_quarter():
    scores = np.array([[0.9, 0.1, 0.8], [0.2, 0.6, 0.0], [0.3, 0.1, 0.7]])
    starts = np.array([0, 2])  # an item of two vectors and an item of one
    parts = np.array([(0.9 + 0.6 + 0.3) / 3, (0.8 + 0.0 + 0.7) / 3])
    np.testing.assert_allclose(match(scores, starts), parts)
    for wholes, whole in (([0], (0.9, 0.8)), ([2], (0.3, 0.7)), ([1, 2], (0.3, 0.7))):
        expected = parts * 3 / 4 + np.array(whole) / 4
        np.testing.assert_allclose(match(scores, starts, wholes), expected)


@pytest.mark.parametrize("wholes", [(), (0,), (0, 2)])
def test_what_is_paired_counts_once_though_many_are_equal(wholes):
    scores, starts = np.round(np.random.default_rng(0).normal(size=(4, 9)), 0), np.array([0, 1, 5])
    weights = pairing(scores, starts, wholes)
    assert (weights >= 0).all()
    np.testing.assert_allclose(np.add.reduceat(weights.sum(0), starts), 1, rtol=1e-6)
    np.testing.assert_allclose(match(np.ones((4, 9)), starts, wholes), 1, rtol=1e-6)


def test_encoded_regions_are_rows_with_boxes_and_survive_the_file(cloth, tiny_run, tmp_path):
    run, items = load(tiny_run), data.read_data(cloth).items[:5]
    plain, _ = encode_items(run, items)
    latents, _ = encode_items(run, items, crops=3)
    assert plain.boxes is None
    assert list(dict.fromkeys(latents.keys)) == [item.key for item in items]
    whole = (latents.boxes == np.float32(WHOLE)).all(1)
    assert whole.sum() == 5
    assert len(latents) > 10
    np.testing.assert_allclose(latents.mu[whole], plain.mu, atol=1e-4)
    latents.save(tmp_path / "l.npz")
    np.testing.assert_array_equal(Latents.load(tmp_path / "l.npz").boxes, latents.boxes)


def test_a_part_finds_the_part_that_it_looks_like_and_says_where(tiny_run, tmp_path):
    (tmp_path / "shop").mkdir()
    for name, left, right in (
        ("two", "#8c1c2b", "#1f4e79"),
        ("gold", "#e0a526", "#e0a526"),
        ("red", "#8c1c2b", "#8c1c2b"),
    ):
        halves = (np.array(paint("dots", ground, side=192)) for ground in (left, right))
        image = np.concatenate([half[:, :96] for half in halves], axis=1)
        Image.fromarray(image).save(tmp_path / "shop" / f"{name}.png")
    run, dataset = load(tiny_run), data.read_data(tmp_path / "shop")
    assert indexing.index(run, dataset, tmp_path / "cat", crops=9).stored == 3
    paint("dots", "#1f4e79").save(tmp_path / "blue.png")
    opened, run = indexing.open_catalogue(tmp_path / "cat")
    with opened:
        assert opened.crops == opened.info()["crops"] == 9
        query, boxes = indexing.embed(run, [tmp_path / "blue.png"], opened.crops)
        hits = opened.search_one(query, boxes, 3, motif=0)
    assert hits[0].key == "two.png"
    assert hits[0].box[0] >= 0.49  # the blue half
    assert hits[0].colour == hits[0].score > hits[1].score + 0.1


def test_a_catalogue_goes_on_as_it_was_made(cloth, tiny_run, tmp_path):
    run, dataset = load(tiny_run), data.read_data(cloth)
    indexing.index(run, dataset, tmp_path / "parts", crops=2)
    assert indexing.index(run, dataset, tmp_path / "parts").unchanged == 32  # no crops named: those it has
    with pytest.raises(SareeError, match="made with 2 regions of a picture, not 5"):
        indexing.index(run, dataset, tmp_path / "parts", crops=5)
    indexing.index(run, dataset, tmp_path / "whole")
    with pytest.raises(SareeError, match="made with no regions of a picture, not 2"):
        indexing.index(run, dataset, tmp_path / "whole", crops=2)
    with Catalogue.open(tmp_path / "whole") as catalogue:
        assert catalogue.crops == 0


def test_the_cost_of_regions_is_told_in_one_table(cloth, tiny_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["regions.py", str(tiny_run), "--data", str(cloth), "--json", str(tmp_path / "r.json")]
    )
    benchmarks = Path(__file__).parent.parent / "benchmarks"
    monkeypatch.syspath_prepend(str(benchmarks))
    runpy.run_path(str(benchmarks / "regions.py"), run_name="__main__")
    rows = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert "| crops |" in capsys.readouterr().out
    whole, most = rows[0], next(row for row in rows if (row["crops"], row["way"]) == (24, "regions"))
    assert (whole["vectors"], whole["bytes"]) == (1, 4 * 12)  # twelve latent dimensions of the tiny config
    assert most["vectors"] > 3
    assert all(row["bytes"] * 4 == rows[n - 1]["bytes"] for n, row in enumerate(rows) if row["way"] == "8 bits")
