"""Queries: put together of pictures, parts and pieces; what they find; and what near means."""

from __future__ import annotations

import inspect
import io

import numpy as np
import pytest
from conftest import paint
from PIL import Image

from apps import cli
from saree_vae import indexing, query, retouch
from saree_vae.catalogue import Catalogue, Entry
from saree_vae.errors import SareeError
from saree_vae.images import ImageError
from saree_vae.latents import WEIGHTS
from saree_vae.palette import Palettes
from saree_vae.query import Nearness, Query
from saree_vae.verification import overlap, sight

RED, BLUE = (1.0, 0.0), (0.0, 1.0)  # colour halves; the designs are angles
DESIGNS = {"dots": (1.0, 0.0), "nearly dots": (0.9, 0.4), "checks": (0.0, 1.0)}


@pytest.fixture
def catalogue(tmp_path):
    """Three designs, each in two colours, as exact latents."""
    with Catalogue.create(tmp_path / "cat", fingerprint="f", motif_dim=2, colour_dim=2) as made:
        made.add(
            Entry(f"{design} {name}", "", "", design, None, {"shade": name}, b"", mu, np.ones_like(mu))
            for design, motif in DESIGNS.items()
            for name, colour in (("red", RED), ("blue", BLUE))
            for mu in [np.float32([[*motif, *colour]])]
        )
        yield made


@pytest.fixture(scope="module")
def opened(shop):
    found, run = indexing.open_catalogue(shop / "catalogue")
    with found:
        yield found, run


def found(catalogue, asked, **how) -> list[str]:
    return [hit.key for hit in query.find(catalogue, asked, 9, **how)]


def test_a_piece_is_not_found_by_itself_and_the_slant_decides_what_counts(catalogue):
    asked = query.of_piece(catalogue, "dots red")
    assert found(catalogue, asked, slant=0)[0] == "dots blue"
    assert set(found(catalogue, asked, slant=1)[:2]) == {"nearly dots red", "checks red"}
    assert found(catalogue, asked)[0] == "nearly dots red"  # alike in both
    assert "dots red" not in found(catalogue, asked)


def test_who_says_nothing_of_weights_gets_the_same_everywhere(catalogue):
    asked = query.of_piece(catalogue, "dots red")
    motif, colour = WEIGHTS["motif"], WEIGHTS["colour"]
    for hits in (catalogue.search_one(asked.embeddings, k=9), catalogue.search(asked.embeddings, 9)[0]):
        meant = {hit.key: (motif * hit.motif + colour * hit.colour) / (motif + colour) for hit in hits}
        assert {hit.key: hit.score for hit in hits} == pytest.approx(meant, abs=1e-6)
        assert len(set(meant.values())) > 2
    assert inspect.signature(cli.search).parameters["colour"].default == colour
    assert abs(query.SLANT - colour / (motif + colour)) < 0.025  # half a step of the slider


def test_the_same_design_in_other_colours_leaves_the_same_colours_out(catalogue):
    asked = query.of_piece(catalogue, "dots red")
    assert found(catalogue, asked, slant=0, differ=True) == ["dots blue", "nearly dots blue", "checks blue"]
    assert found(catalogue, asked, slant=1, differ=True)[0] == "checks red"
    for slant in (query.SLANT, 0.5):  # the design counts as much or more: what differs is the colours
        assert not any("red" in key for key in found(catalogue, asked, slant=slant, differ=True))


def test_what_is_disliked_pushes_away_and_is_not_found(catalogue):
    liked, disliked = (query.of_piece(catalogue, key) for key in ("dots red", "nearly dots red"))
    asked = query.mixed([liked], [disliked], 2)
    np.testing.assert_allclose(np.linalg.norm(asked.embeddings.reshape(2, 2), axis=1), 1, rtol=1e-5)
    assert asked.embeddings[0, 1] < 0 < liked.embeddings[0, 0]  # past the dots, away from checks
    assert not {"dots red", "nearly dots red"} & set(found(catalogue, asked))


def test_two_liked_pieces_meet_in_the_middle(catalogue):
    both = query.mixed([query.of_piece(catalogue, key) for key in ("dots red", "checks blue")], [], 2)
    np.testing.assert_allclose(both.embeddings[0], np.float32([1, 1, 1, 1]) / np.sqrt(2), rtol=1e-5)
    one = query.of_piece(catalogue, "dots red")
    assert query.mixed([one], [], 2) is one
    with pytest.raises(SareeError, match="nothing is liked"):
        query.mixed([], [one], 2)


def test_filters_hold(catalogue):
    asked = query.of_piece(catalogue, "dots red")
    assert set(found(catalogue, asked, where="shade == 'blue'")) == {f"{design} blue" for design in DESIGNS}
    assert catalogue.matching("shade == 'blue' and cluster == 'dots'") == ["dots blue"]
    assert catalogue.matching("cluster == 'silk'") == []


def test_a_query_survives_a_link(catalogue):
    asked = query.mixed([query.of_piece(catalogue, key) for key in ("dots red", "checks blue")], [], 2)
    back = Query.of_text(asked.text(), catalogue)
    np.testing.assert_allclose(back.embeddings, asked.embeddings, atol=1e-3)
    for damaged in (asked.text()[:-3], "", "%%%", "AAAA" * 9, Query(np.full((1, 4), np.nan, np.float32)).text()):
        with pytest.raises(SareeError, match="link"):
            Query.of_text(damaged, catalogue)


def test_the_picture_itself_is_found_first_by_its_bytes(opened, shop):
    catalogue, run = opened
    asked = query.of_pictures(run, [(shop / "data/stripes/0_0.png").read_bytes()])
    assert query.find(catalogue, asked, 1)[0].key == "stripes/0_0.png"
    with pytest.raises(ImageError):
        query.of_pictures(run, [b"no picture"])


def test_a_long_part_is_looked_at_through_several_squares_and_nothing_else(opened):
    _, run = opened
    cloth = Image.new("RGB", (200, 100), "#8c1c2b")
    cloth.paste(paint("dots", "#1f4e79", side=100), (0, 0))
    box = (0.0, 0.0, 0.5, 1.0)
    part = query.of_part(run, _png(cloth), box)
    alone = query.of_pictures(run, [_png(paint("dots", "#1f4e79", side=100))])
    np.testing.assert_allclose(part.embeddings, alone.embeddings, atol=0.02)
    assert (
        overlap(sight(part.pictures[0]), sight(alone.pictures[0])).share > 0.9
    )  # hits are verified by the part, not by the picture
    strip = query.of_part(run, _png(cloth), (0, 0, 1, 0.125))  # 200 x 12 pixels
    assert len(strip.embeddings) == query.LONGEST == len(strip.boxes)
    assert query.of_part(run, _png(cloth), (0.99, 0.99, 1, 1)).embeddings.shape[0] >= 1  # a speck


def test_near_is_what_is_nearer_than_pieces_are_to_their_nearest():
    ring = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    rows = np.float32(np.stack([np.cos(ring), np.sin(ring), np.ones(40), np.zeros(40)], 1))
    nearness = Nearness(rows, 2)
    step = np.cos(ring[1])
    assert nearness.beyond(step + 1e-4, 0) == 1 and nearness.beyond(step - 1e-3, 0) == 0
    assert nearness.beyond(0.999, 1) == 0  # all have the same colours


def jpeg(*colours: str) -> bytes:
    """Stripes of equal width."""
    image = Image.new("RGB", (192, 96))
    for i, colour in enumerate(colours):
        image.paste(colour, (i * 192 // len(colours), 0, 192, 96))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def test_a_mean_colour_is_that_of_the_eye():
    plain, mixed = Palettes([jpeg("#8e2b3e"), jpeg("#ff0000", "#0000ff")]).means
    assert np.abs(plain.astype(int) - (0x8E, 0x2B, 0x3E)).max() <= 3
    ends = retouch.to_oklab(np.uint8([[255, 0, 0], [0, 0, 255]]))
    assert np.abs(retouch.to_oklab(mixed[None])[0] - ends.mean(0)).max() < 0.03


def test_colours_are_found_where_all_of_them_are():
    palettes = Palettes([jpeg("#a01020"), jpeg("#a01020", "#104080"), jpeg("#104080"), jpeg("#a01020", "#f0e0b0")])
    red, blue = (160, 16, 32), (16, 64, 128)
    one, two = palettes.score(np.array([red])), palettes.score(np.array([red, blue]))
    assert one.argmax() == 0 and one[1] == pytest.approx(one[3], abs=0.05) and one[2] < 0.05
    assert two.argmax() == 1 and two[1] > 0.8 and two[[0, 2, 3]].max() < 0.3
    assert ((two >= 0) & (two <= 1)).all()


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
