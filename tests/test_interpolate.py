"""Ways between pictures, in the library and by the command; then what goes wrong."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import paint
from PIL import Image
from test_cli import refused, saree, shop  # noqa: F401
from typer.testing import CliRunner

from apps import cli
from saree_vae import anomaly, catalogue, checkpoint, config, data, interpolate, metrics, retouch
from saree_vae.encoding import decode, encode, shrunk
from saree_vae.errors import SareeError
from saree_vae.latents import unit
from saree_vae.vae import VAE

SIDE = 96
HALF = 8  # motif dimensions of the tiny config; 4 of colour follow


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    """Most tests do not mind how well a palette is tuned."""
    monkeypatch.setattr(interpolate, "TUNING", 1)


@pytest.fixture(scope="module")
def run(tiny_run) -> checkpoint.Run:
    return checkpoint.load(tiny_run, "cpu")


@pytest.fixture(scope="module")
def pair() -> np.ndarray:
    return np.stack([np.asarray(paint("dots", "#8c1c2b")), np.asarray(paint("stripes", "#1f4e79"))])


@pytest.fixture(scope="module")
def four(pair) -> np.ndarray:
    more = [np.asarray(paint(mark, ground)) for mark, ground in (("checks", "#e0a526"), ("diamonds", "#2f6b3a"))]
    return np.concatenate([pair, more])


def untrained(tmp_path: Path, **changes: object) -> checkpoint.Run:
    """A run of the tiny config with other settings, random weights."""
    asked = [f"model.{name}={value}" for name, value in changes.items()]
    if changes.get("colour_dim") == 0:
        asked += [f"objective.{name}=0" for name in ("swap", "contrast_colour", "contrast_motif")]
    settings = config.load("tiny", asked)
    torch.manual_seed(0)
    return checkpoint.Run(tmp_path, settings, VAE(settings.model).eval(), "none")


@pytest.fixture(scope="module")
def lively(tmp_path_factory) -> checkpoint.Run:
    """A run whose decoder draws a lot; that of the tiny run has learnt too little to."""
    made = untrained(tmp_path_factory.mktemp("lively"))
    with torch.no_grad():
        for layer in (made.model.decoder.last, made.model.decoder.colours[0], made.model.decoder.colours[2]):
            layer.weight.mul_(6)
        for encoder in (made.model.motif_encoder, made.model.colour_encoder):
            layer = [part for part in encoder.modules() if isinstance(part, torch.nn.Linear)][-1]
            layer.weight.mul_(20)
    return made


@pytest.fixture
def ladder(tmp_path) -> checkpoint.Run:
    made = untrained(tmp_path, levels=3, level_dim=2)
    with torch.no_grad():
        for level in made.model.decoder.levels:
            level.change.weight.mul_(30)
    return made


def mu(run: checkpoint.Run, pictures: np.ndarray) -> np.ndarray:
    return encode(run, shrunk(pictures, run.read_size)).mu


# --- strips ---


def test_the_ends_are_the_photographs_and_their_latents(run, pair):
    found = interpolate.interpolate(run, pair, steps=4)
    np.testing.assert_array_equal(found.frames[[0, -1]], pair)
    np.testing.assert_allclose(found.z[[0, -1]], mu(run, pair), atol=1e-6)
    assert found.frames.shape == (4, SIDE, SIDE, 3) and found.columns == 4
    assert found.ends == ("the first picture", "the second picture")
    assert found.places == ("0%", "33%", "67%", "100%")


def test_rounding_in_the_decoder_does_not_change_the_photographs_at_the_ends(run, pair, monkeypatch):
    drawn, calls = interpolate._drawn, itertools.count()
    monkeypatch.setattr(interpolate, "_drawn", lambda *asked: drawn(*asked) + np.uint8(next(calls)))
    found = interpolate.interpolate(run, pair, steps=2)
    np.testing.assert_array_equal(found.frames, pair)
    found = interpolate.moved(run, pair[0], np.ones(12, np.float32), steps=2)
    np.testing.assert_array_equal(found.frames[0], pair[0])


def test_without_detail_the_ends_are_the_two_reconstructions(run, ladder, pair):
    for model in (run, ladder):
        found = interpolate.interpolate(model, pair, steps=3, detail=False)
        assert found.frames.shape == (3, 64, 64, 3)
        drawn = decode(model, mu(model, pair), shrunk(pair, 64))
        np.testing.assert_allclose(found.frames[[0, -1]].astype(int), drawn, atol=1)
    assert np.abs(drawn.astype(int) - decode(ladder, mu(ladder, pair))).max() > 5  # lower latents do matter


def test_a_path_along_one_half_leaves_the_other(run, pair):
    first, second = mu(run, pair)
    for along, moves, stays in (
        ("motif", slice(0, HALF), slice(HALF, None)),
        ("colour", slice(HALF, None), slice(HALF)),
    ):
        found = interpolate.interpolate(run, pair, along=along, steps=3)
        np.testing.assert_allclose(found.z[:, stays], np.stack([first[stays]] * 3), atol=1e-6)
        np.testing.assert_allclose(found.z[:, moves], np.linspace(first[moves], second[moves], 3), atol=1e-5)
        np.testing.assert_array_equal(found.frames[0], pair[0])
    assert found.ends[1] == "the first picture in the colours of the second picture"


def test_a_colour_path_keeps_the_threads_of_the_first_picture(lively, pair):
    found = interpolate.interpolate(lively, pair, along="colour", steps=3)
    assert (found.weights == [1, 0]).all()
    edges = [np.abs(cv2.Laplacian(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.CV_32F)) for frame in found.frames]
    for edge in edges[1:]:
        assert np.corrcoef(edge.ravel(), edges[0].ravel())[0, 1] > 0.95
    assert np.abs(found.frames[-1].astype(int) - found.frames[0]).mean() > 5


def test_a_photograph_takes_the_colours_that_the_encoder_sees_in_another_and_keeps_its_motif(lively, four, monkeypatch):
    monkeypatch.setattr(interpolate, "TUNING", 20)
    picture, other = four[3], four[2]
    made = interpolate.in_colours_of(lively, picture, other)
    pixels = retouch.repainted(picture, retouch.palette_change(*shrunk(np.stack([picture, other]), 64)))
    wanted = encode(lively, shrunk(np.stack([picture, other]), 64))

    def seen(image: np.ndarray) -> tuple[float, float]:
        found = encode(lively, shrunk(image[None], 64))
        motif, colour = (
            (unit(getattr(found, half)) @ unit(getattr(wanted, half)).T)[0] for half in ("motif", "colour")
        )
        return motif[0], colour[1]

    assert 2 - sum(seen(made)) < 0.8 * (2 - sum(seen(pixels)))
    assert interpolate.in_colours_of(lively, picture, picture) is picture
    monkeypatch.setattr(interpolate, "STAY", (1e9, 1e9, 1e9))  # too dear to move any colour
    np.testing.assert_array_equal(interpolate.in_colours_of(lively, picture, other), pixels)


def test_photographs_laid_into_each_other_have_the_colours_of_the_place_again(lively, pair, monkeypatch):
    monkeypatch.setattr(interpolate, "TUNING", 20)
    monkeypatch.setattr(interpolate, "SETTLE", (0.0, 0.0, 0.0))  # the untrained encoder tells colours hardly apart
    settled = interpolate.interpolate(lively, pair, along="motif", steps=3)
    monkeypatch.setattr(interpolate, "SETTLE", (1e9, 1e9, 1e9))  # as they were laid
    found = interpolate.interpolate(lively, pair, along="motif", steps=3)
    seen = [encode(lively, shrunk(way.frames, 64)) for way in (found, settled)]
    stays, stays_settled = ((unit(one.colour) @ unit(one.colour)[0])[1] for one in seen)
    assert stays_settled > stays
    np.testing.assert_array_equal(settled.frames[0], pair[0])


def test_colours_that_torch_sees_are_those_of_the_photograph(noise):
    image = noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    seen = interpolate._srgb(torch.from_numpy(retouch.to_oklab(image)))
    np.testing.assert_allclose(seen.numpy() * 255, image, atol=0.1)


def test_the_middle_is_as_sharp_as_the_ends_and_a_cross_fade_is_not(run, pair):
    middle = interpolate.interpolate(run, pair, steps=3).frames[1]
    faded = pair.mean(0).astype(np.uint8)
    sharp, soft = (metrics.detail_kept(pair, np.stack([one, one])).mean() for one in (middle, faded))
    assert sharp > 0.8 and sharp > 1.5 * soft


def test_a_spherical_way_turns_evenly_and_changes_its_length_evenly():
    a, b, t = np.float64([[3, 0]]), np.float64([[0, 1]]), np.linspace(0, 1, 5)[:, None]
    found = interpolate._slerp(a, b, t)
    angles = np.degrees(np.arctan2(found[:, 1], found[:, 0]))
    np.testing.assert_allclose(angles, np.linspace(0, 90, 5), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.linspace(3, 1, 5))
    for other in (2 * a, -a, 0 * a):  # no angle between them, or every one: straight
        np.testing.assert_allclose(interpolate._slerp(a, other, t), interpolate._lerp(a, other, t), atol=1e-6)


def test_the_ends_of_a_spherical_way_are_those_of_a_straight_one(run, pair):
    straight, round_about = (interpolate.interpolate(run, pair, steps=5, way=way) for way in ("straight", "spherical"))
    np.testing.assert_allclose(round_about.z[[0, -1]], straight.z[[0, -1]], atol=1e-5)
    assert np.abs(round_about.z[2] - straight.z[2]).max() > 1e-3


@pytest.mark.parametrize("along", interpolate.ALONG)
def test_a_geodesic_is_shorter_under_the_decoder_and_its_steps_are_more_alike(lively, pair, along):
    straight, geodesic = (
        interpolate.interpolate(lively, pair, along=along, steps=6, way=way, detail=False)
        for way in ("straight", "geodesic")
    )
    assert geodesic.length < straight.length
    spread = [np.nanstd(found.lengths) / np.nanmean(found.lengths) for found in (straight, geodesic)]
    assert spread[1] < 0.8 * spread[0]
    np.testing.assert_array_equal(geodesic.z[[0, -1]], straight.z[[0, -1]])
    stays = {"motif": slice(HALF, None), "colour": slice(HALF), "both": slice(0)}[along]
    np.testing.assert_array_equal(geodesic.z[:, stays], straight.z[:, stays])
    assert all(parameter.grad is None for parameter in lively.model.parameters())


def test_a_geodesic_that_is_not_found_is_the_straight_way(run, pair, monkeypatch):
    monkeypatch.setattr(
        torch.optim.LBFGS, "step", lambda self, closure: self.param_groups[0]["params"][0].data.add_(9.0)
    )
    straight, geodesic = (
        interpolate.interpolate(run, pair, steps=4, way=way, detail=False) for way in ("straight", "geodesic")
    )
    np.testing.assert_array_equal(geodesic.z, straight.z)


def test_the_length_is_what_decoded_pictures_move(lively, pair):
    found = interpolate.interpolate(lively, pair, steps=3)
    drawn = decode(lively, found.z).astype(float) / 255
    moved = np.sqrt(np.square(np.diff(drawn, axis=0)).mean((1, 2, 3)))
    assert math.isnan(found.lengths[0])
    np.testing.assert_allclose(found.lengths[1:], moved, rtol=0.03)
    assert found.length == pytest.approx(moved.sum(), rel=0.03)


def test_the_log_likelihood_is_that_of_the_frame_given_its_latent(run, pair):
    found = interpolate.interpolate(run, pair, steps=3, detail=False)
    scale = float(run.model.log_scale.exp())
    # Each frame is the mean of its own likelihood, but for rounding: its density is the highest there is.
    highest = -64 * 64 * 3 * math.log(scale * math.sqrt(2 * math.pi))
    np.testing.assert_allclose(found.log_likelihood, highest, rtol=1e-3)
    other = interpolate.log_likelihood(run, found.frames[::-1].copy(), found.z)
    assert (other[[0, 2]] < found.log_likelihood[[0, 2]]).all()


def test_the_same_picture_twice_is_a_way_on_which_nothing_moves(run, pair):
    for way in interpolate.WAYS:
        found = interpolate.interpolate(run, pair[[0, 0]], steps=3, way=way)
        np.testing.assert_allclose(found.frames.astype(int), np.stack([pair[0]] * 3), atol=1)
        assert found.length == pytest.approx(0, abs=1e-6)


def test_a_path_is_the_same_when_asked_again(run, pair):
    once, again = (interpolate.interpolate(run, pair, steps=3, way="geodesic") for _ in range(2))
    np.testing.assert_array_equal(once.frames, again.frames)


def test_progress_counts_every_frame(run, pair):
    seen = []
    interpolate.interpolate(run, pair, steps=3, progress=lambda *step: seen.append(step))
    assert seen == [(1, 3), (2, 3), (3, 3)]


# --- squares ---


def test_a_square_has_its_pictures_at_its_corners(run, four):
    found = interpolate.interpolate(run, four, steps=3)
    corners = [0, 2, 6, 8]
    np.testing.assert_array_equal(found.frames[corners], four)
    np.testing.assert_allclose(found.z[4], mu(run, four).mean(0), atol=1e-5)
    np.testing.assert_allclose(found.weights.sum(1), 1, rtol=1e-6)
    assert found.columns == 3 and len(found.frames) == 9
    assert np.isnan(found.lengths[::3]).all() and np.isfinite(np.delete(found.lengths, [0, 3, 6])).all()


def test_between_three_pictures_the_fourth_corner_is_half_way(run, four):
    found = interpolate.interpolate(run, four[:3], steps=2)
    np.testing.assert_array_equal(found.frames[:3], four[:3])
    np.testing.assert_allclose(found.z[3], mu(run, four)[1:3].mean(0), atol=1e-5)
    assert found.ends[3] == "half-way between the second and the third picture"


def test_rows_of_a_grid_change_the_design_and_columns_the_palette(run, pair):
    found = interpolate.interpolate(run, pair, steps=3, grid=True)
    z = found.z.reshape(3, 3, -1)
    assert np.ptp(z[:, :, :HALF], axis=1).max() < 1e-6 < 0.01 < np.ptp(z[:, :, :HALF], axis=0).max()
    assert np.ptp(z[:, :, HALF:], axis=0).max() < 1e-6 < 0.01 < np.ptp(z[:, :, HALF:], axis=1).max()
    np.testing.assert_array_equal(found.frames[[0, -1]], pair)
    assert found.ends[1] == "the first picture in the colours of the second picture"
    strip = interpolate.interpolate(run, pair, along="colour", steps=3)
    np.testing.assert_array_equal(found.frames[:3], strip.frames)


# --- one picture ---


def test_a_direction_is_the_difference_of_two_groups_means(shop):  # noqa: F811
    with catalogue.Catalogue.open(shop) as opened:
        keys, stored, _ = opened.latents()
        dots, rest = (np.array([("dots" in key) is wanted for key in keys]) for wanted in (True, False))
        found = interpolate.difference(opened, "cluster == 'dots'", "cluster != 'dots'")
        np.testing.assert_allclose(found, stored[dots].mean(0) - stored[rest].mean(0), atol=1e-5)
        alone = interpolate.difference(opened, "cluster == 'dots'")
        np.testing.assert_allclose(alone, stored[dots].mean(0) - stored.mean(0), atol=1e-5)
        with pytest.raises(SareeError, match="no item with cluster == 'silk'"):
            interpolate.difference(opened, "cluster == 'silk'")


def test_a_picture_moves_along_a_direction_from_where_it_is(run, pair, noise):
    direction = noise.normal(size=12).astype(np.float32)
    found = interpolate.moved(run, pair[0], direction, steps=3)
    start = mu(run, pair[:1])[0]
    np.testing.assert_array_equal(found.frames[0], pair[0])
    np.testing.assert_allclose(found.z[-1] - start, interpolate.STRONGEST * direction, rtol=1e-3, atol=1e-5)
    only = interpolate.moved(run, pair[0], direction, along="motif", steps=3)
    np.testing.assert_allclose(only.z[:, HALF:], np.stack([start[HALF:]] * 3), atol=1e-6)
    np.testing.assert_allclose(only.z[:, :HALF], found.z[:, :HALF], atol=1e-6)


def test_one_number_goes_from_three_sigma_below_its_mean_to_three_above(run, pair, noise):
    start = mu(run, pair[:1])[0]
    found = interpolate.traversed(run, pair[0], "colour:1", steps=3)
    np.testing.assert_allclose(found.z[:, HALF + 1], (-3, 0, 3), atol=1e-6)  # the prior is standard normal
    others = np.delete(found.z, HALF + 1, axis=1)
    np.testing.assert_allclose(others, np.stack([np.delete(start, HALF + 1)] * 3), atol=1e-6)
    assert found.ends[0] == "colour:1 at -3.00, -3 sigma of the prior"
    among = noise.normal(5, 2, (4000, 12)).astype(np.float32)
    found = interpolate.traversed(run, pair[0], "motif:0", among=among, steps=2)
    np.testing.assert_allclose(found.z[:, 0], (-1, 11), atol=0.3)
    assert "of 4000 stored latents" in found.ends[1]


def test_mean_and_sigma_of_a_mixture_prior_are_those_of_its_draws(tmp_path):
    model = untrained(tmp_path, prior="mixture", components=3)
    with torch.no_grad():
        model.model.priors["motif"].logits.copy_(torch.tensor([0.0, 1.0, -1.0]))
        draws = model.model.prior()["motif"].sample(200_000, torch.Generator().manual_seed(0))
    mean, sigma = interpolate._of_prior(model, 2)
    assert mean == pytest.approx(float(draws[:, 2].mean()), abs=0.02)
    assert sigma == pytest.approx(float(draws[:, 2].std()), abs=0.02)


def test_grey_models_and_ladders_draw_ways_too(tmp_path, ladder, pair):
    grey = untrained(tmp_path, encoder="mlp", channels=1, colour_dim=0, width=16)
    for model, along in ((grey, "motif"), (ladder, "both"), (ladder, "colour")):
        found = interpolate.interpolate(model, pair, along=along, steps=3)
        np.testing.assert_array_equal(found.frames[0], pair[0])
        assert np.isfinite(found.log_likelihood).all()


def test_without_a_colour_half_the_design_takes_its_colours_along(tmp_path, pair):
    found = interpolate.interpolate(untrained(tmp_path, colour_dim=0), pair, along="motif", steps=2)
    np.testing.assert_array_equal(found.frames, pair)


# --- what cannot be ---


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"steps": 1}, "steps is 1; from one end to the other it takes at least 2"),
        ({"steps": 300}, "a strip has at most 225, a side of a square 15"),
        ({"grid": True, "steps": 16}, "a side of a square 15"),
        ({"along": "texture"}, "along is 'texture'; expected motif, colour, both"),
        ({"way": "shortest"}, "way is 'shortest'; expected straight, spherical, geodesic"),
        ({"grid": True, "along": "motif"}, "a grid shows two pictures' designs in their colours"),
        ({"grid": True, "way": "geodesic"}, "a geodesic leads from one picture to another"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(run, pair, asked, told):
    with pytest.raises(SareeError, match=told.replace("(", r"\(")):
        interpolate.interpolate(run, pair, **asked)


def test_runs_that_cannot_are_refused_in_a_sentence(tmp_path, pair, run):
    with pytest.raises(SareeError, match="VQ-VAE"):
        interpolate.interpolate(untrained(tmp_path, posterior="vq"), pair)
    with pytest.raises(SareeError, match="no colour half"):
        interpolate.interpolate(untrained(tmp_path, colour_dim=0), pair, along="colour")
    with pytest.raises(SareeError, match="no prior"):
        interpolate.traversed(untrained(tmp_path, posterior="point"), pair[0], "motif:0")
    for name in ("motif:8", "colour:4", "motif", "shape:1", "motif:-1"):
        with pytest.raises(
            SareeError, match=f"no dimension '{name}'; expected motif:0 to motif:7 or colour:0 to colour:3"
        ):
            interpolate.traversed(run, pair[0], name)
    with pytest.raises(SareeError, match="5 pictures"):
        interpolate.interpolate(run, pair[[0, 1, 0, 1, 0]])


# --- the command ---


@pytest.fixture
def files(tmp_path, four) -> list[Path]:
    paths = [tmp_path / f"{name}.png" for name in ("dots", "stripes", "checks", "diamonds")]
    for path, picture in zip(paths, four, strict=True):
        Image.fromarray(picture).save(path)
    return paths


def told(*arguments: object, status: int = 0) -> str:
    """What people read on standard error."""
    result = CliRunner().invoke(cli.app, ["interpolate", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == status, result.output
    assert status or result.stdout == ""
    return result.stderr


def test_a_strip_is_drawn_and_its_ends_are_named(tiny_run, files, tmp_path):
    out = tmp_path / "strip.png"
    said = told(tiny_run, *files[:2], "--along", "colour", "--steps", 4, "--out", out)
    assert "from: dots.png\nto: dots.png in the colours of stripes.png\n" in said
    with Image.open(out) as sheet:
        wide = sheet.width
    told(tiny_run, *files[:2], "--steps", 4, "--out", out)  # overwrites; its ends are both pictures, shown once
    with Image.open(out) as sheet:
        assert sheet.width < wide and (np.asarray(sheet) == (0x1F, 0x4E, 0x79)).all(2).sum() > 1000


def test_squares_and_grids_are_drawn(tiny_run, files, tmp_path):
    for pictures, more in ((files[:2], ["--grid"]), (files[:3], []), (files, ["--no-detail"])):
        said = told(tiny_run, *pictures, *more, "--steps", 2, "--out", tmp_path / "square.jpg")
        assert said.count("corner: ") == 4
        with Image.open(tmp_path / "square.jpg") as sheet:
            assert sheet.format == "JPEG" and sheet.height > 150


@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_a_film_goes_there_and_back(tiny_run, files, tmp_path, ending, pair):
    out = tmp_path / f"film{ending}"
    told(tiny_run, *files[:2], "--steps", 4, "--out", out)
    with Image.open(out) as film:
        assert film.n_frames == 6 and film.size == (SIDE, SIDE) and film.info["loop"] == 0
        film.seek(3)
        there = np.asarray(film.convert("RGB")).astype(int)
    assert np.abs(there - pair[1]).mean() < 8


def test_an_mp4_is_written_and_can_be_read(tiny_run, files, tmp_path, pair):
    out = tmp_path / "film.mp4"
    told(tiny_run, *files[:2], "--steps", 4, "--out", out)
    film = cv2.VideoCapture(str(out))
    frames = []
    while (step := film.read())[0]:
        frames.append(step[1][..., ::-1].astype(int))
    assert len(frames) == 16 and np.abs(frames[0] - pair[0]).mean() < 10 and np.abs(frames[-1] - pair[1]).mean() < 10


def test_json_tells_latents_steps_ends_and_the_nearest_pieces(tiny_run, shop, cloth, tmp_path):  # noqa: F811
    pair = [cloth / "dots/1_0.png", cloth / "stripes/2_0.png"]
    document = json.loads(saree("interpolate", tiny_run, *pair, "--steps", 3, "--catalogue", shop, "--json"))
    steps = document["steps"]
    assert [step["place"] for step in steps] == ["0%", "50%", "100%"] and document["columns"] == 3
    with catalogue.Catalogue.open(shop) as opened:  # none of the two themselves
        hits = opened.search(np.float32([step["z"] for step in steps]), 1, exclude=["dots/1_0.png", "stripes/2_0.png"])
    assert [step["nearest"]["key"] for step in steps] == [found.key for [found] in hits]
    assert steps[0]["length"] is None and document["length"] == pytest.approx(sum(s["length"] for s in steps[1:]))
    assert all(len(step["z"]) == 12 and math.isfinite(step["log_likelihood"]) for step in steps)
    assert document["ends"] == ["1_0.png", "2_0.png"]
    told(tiny_run, *pair, "--steps", 3, "--catalogue", shop, "--out", tmp_path / "strip.png")
    told(tiny_run, *pair, "--steps", 3, "--out", tmp_path / "bare.png")
    with Image.open(tmp_path / "strip.png") as sheet, Image.open(tmp_path / "bare.png") as bare:
        assert sheet.height > 1.7 * bare.height  # a second row, of real pieces


def test_one_picture_moves_by_groups_or_by_one_number(tiny_run, shop, cloth):  # noqa: F811
    one, groups = cloth / "dots/1_0.png", ["--plus", "cluster == 'stripes'", "--minus", "cluster == 'dots'"]
    document = json.loads(saree("interpolate", tiny_run, one, *groups, "--catalogue", shop, "--steps", 3, "--json"))
    assert document["ends"] == ["1_0.png", "3 times the difference away"]
    assert document["steps"][0]["nearest"]["key"] != "dots/1_0.png"
    document = json.loads(saree("interpolate", tiny_run, one, "--dim", "motif:3", "--steps", 3, "--json"))
    assert [step["z"][3] for step in document["steps"]] == pytest.approx([-3, 0, 3], abs=1e-5)
    asked = json.loads(saree("interpolate", tiny_run, one, "--dim", "motif:3", "-c", shop, "--steps", 2, "--json"))
    assert "of 32 stored latents" in asked["ends"][0]


def test_pictures_that_are_not_square_are_cut_and_the_same_one_twice_is_noticed(tiny_run, files, tmp_path, pair):
    wide = tmp_path / "wide.png"
    Image.fromarray(np.concatenate([np.full((SIDE, 40, 3), 9, np.uint8), pair[0], pair[0][:, :40]], 1)).save(wide)
    said = told(tiny_run, files[0], wide, "--steps", 2, "--out", tmp_path / "same.png")
    assert f"{wide}: 176 x 96; only its middle square is seen and drawn" in said
    assert "the same picture is given twice" in said


def test_a_picture_that_is_strange_to_the_model_is_told(tiny_run, files, tmp_path, monkeypatch):
    asked = (*files[:2], "--steps", 2, "--out", tmp_path / "strip.png")
    assert "strange to" not in told(tiny_run, *asked)  # nobody has told what is usual
    found = anomaly.Strangeness(("0", "1"), np.array([0.0, 9.0]), np.ones(2), {}, ((), ("neighbours",)))
    scorer = SimpleNamespace(score=lambda images: found, limit=lambda: 5.0)
    monkeypatch.setattr(anomaly.AnomalyScorer, "load", lambda path, run: scorer)
    monkeypatch.setattr(anomaly.Strangeness, "words", lambda self, number: "no neighbours")
    said = told(tiny_run, *asked)
    assert f"{files[1]}: strange to this model (no neighbours); what is drawn from it may be no cloth" in said
    assert f"{files[0]}: strange" not in said


def test_frames_are_as_large_as_the_smaller_photograph(tiny_run, files, tmp_path):
    paint("checks", "#e0a526", side=700).save(tmp_path / "large.png")
    told(tiny_run, tmp_path / "large.png", files[0], "--steps", 2, "--out", tmp_path / "a.webp")
    paint("dots", "#e0a526", side=800).save(tmp_path / "larger.png")
    told(tiny_run, tmp_path / "large.png", tmp_path / "larger.png", "--steps", 2, "--out", tmp_path / "b.webp")
    paint("dots", "#e0a526", side=20).save(tmp_path / "tiny.png")
    told(tiny_run, tmp_path / "large.png", tmp_path / "tiny.png", "--steps", 2, "--out", tmp_path / "c.webp")
    for name, side in (("a", SIDE), ("b", 512), ("c", 64)):
        with Image.open(tmp_path / f"{name}.webp") as film:
            assert film.size == (side, side)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{0}", "{1}", "--steps", "1", "--out", "s.png"], "steps is 1; from one end to the other it takes at least 2"),
        (["{0}", "{1}", "--out", "s.bmp"], "s.bmp: expected an ending among .png, .jpg, .jpeg, .gif, .webp, .mp4"),
        (["{0}", "{1}", "--grid", "--out", "s.gif"], "s.gif: a square makes no film; give a .png or .jpg"),
        (["{0}", "{1}", "--out", "{1}"], "stripes.png is one of the pictures; give --out another name"),
        (["{0}", "nowhere.png", "--out", "s.png"], "nowhere.png: no such file"),
    ],
)
def test_the_command_refuses_in_a_sentence(tiny_run, files, arguments, sentence, capsys, monkeypatch):
    filled = [argument.format(*files) for argument in arguments]
    assert refused(capsys, monkeypatch, "interpolate", tiny_run, *filled).endswith(sentence)
    assert not Path("s.png").exists() and files[1].stat().st_size > 0


def test_a_catalogue_of_another_model_is_refused(tiny_run, shop, files, tmp_path, capsys, monkeypatch):  # noqa: F811
    other = Path(shutil.copytree(shop, tmp_path / "other"))
    about = json.loads((other / "catalogue.json").read_text())
    (other / "catalogue.json").write_text(json.dumps(about | {"fingerprint": "0" * 64}))
    asked = (*files[:2], "--catalogue", other, "--json")
    assert "was made with model 00000000" in refused(capsys, monkeypatch, "interpolate", tiny_run, *asked)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "say --out FILE, or --json"),
        (["--minus", "x == 1", "--json"], "--minus goes with --plus"),
        (["--plus", "x == 1", "--json"], "--plus with --catalogue"),
        (["--dim", "motif:0", "--json"], "changes one picture"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tiny_run, files, arguments, reason):
    assert reason in " ".join(told(tiny_run, *files[:2], *arguments, status=2).replace("│", " ").split())


def test_a_full_disk_leaves_the_file_that_was_there(tiny_run, files, tmp_path, capsys, monkeypatch):
    out = tmp_path / "film.mp4"
    out.write_bytes(b"the old film")
    monkeypatch.setattr(cv2.VideoWriter, "write", lambda self, frame: None)
    said = refused(capsys, monkeypatch, "interpolate", tiny_run, *files[:2], "--steps", 2, "--out", out)
    assert "film.mp4: could not be written" in said and out.read_bytes() == b"the old film"


def test_a_frozen_path_says_what_it_holds(run, pair):
    found = interpolate.interpolate(run, pair, steps=2)
    with pytest.raises(AttributeError):
        found.z = None
    assert replace(found, lengths=np.float32([np.nan, 2])).length == 2


# --- the study ---


@pytest.fixture
def study(monkeypatch):
    """benchmarks/ is no package."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    import interpolation

    monkeypatch.setattr(interpolation, "GEODESICS", 1)
    return interpolation


def test_every_way_is_measured_beside_a_cross_fade(study, tiny_run, cloth, tmp_path, capsys):
    asked = ["--data", str(cloth), "--run", str(tiny_run), "--pairs", "2", "--json", str(tmp_path / "i.json")]
    study.main(asked)
    report = json.loads((tmp_path / "i.json").read_text())
    assert capsys.readouterr().out.rstrip() == study.markdown(report).rstrip()
    rows = report["rows"]
    assert [*rows] == ["cross-fade of pixels", "tiny, plain decodes", "tiny, with detail"] and report["pairs"] == 2
    assert set(rows["cross-fade of pixels"]) == {"smooth", "onward", "sharp"}
    full = rows["tiny, with detail"]
    assert set(study.GOALS) < set(full) and 0 < full["geodesic"]["value"] <= 1
    assert (
        full["sharp"]["value"]
        > rows["cross-fade of pixels"]["sharp"]["value"]
        > rows["tiny, plain decodes"]["sharp"]["value"]
    )
    assert all(told["low"] <= told["value"] <= told["high"] for row in rows.values() for told in row.values())


def test_a_straight_way_is_smooth_and_onward_and_one_that_turns_back_is_not(study):
    straight = np.linspace((0, 0), (3, 4), 5)
    assert study.of_way(straight) == {"smooth": pytest.approx(1), "onward": 1.0}
    assert study.of_way(straight[[0, 2, 1, 3, 4]]) == {"smooth": pytest.approx(1.5), "onward": 0.0}
    assert study.of_way(np.float64([(0, 0), (0, 3), (4, 3)]))["smooth"] == pytest.approx(7 / 5)


def test_a_frame_is_as_sharp_as_the_mean_of_both_photographs(study, noise):
    fine, coarse = (noise.integers(0, top, (160, 160, 3), dtype=np.uint8) for top in (256, 128))
    assert study.sharpness(np.stack([fine, fine]), fine) == pytest.approx(1)
    assert study.sharpness(np.stack([fine, coarse]), coarse) == pytest.approx(2 / 5, rel=0.05)  # energies 4 and 1
    assert study.sharpness(np.stack([fine, coarse]), np.zeros((64, 64, 3), np.uint8)) < 1e-6


def test_only_pictures_that_no_run_was_trained_on_are_measured(study, run, cloth):
    pictures = data.read_data(cloth)
    assert len(study.chosen(pictures, [run], 100)) == len(pictures.of("test")) // 2
    with pytest.raises(SareeError, match="no two test pictures"):
        study.chosen(replace(pictures, items=pictures.of("train")), [run], 100)
