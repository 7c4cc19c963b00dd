"""The model in the box: found by its name, as good as its word, and nothing is written where it lies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import paint
from test_cli import saree

from saree_vae import checkpoint, data, evaluate, model_card
from saree_vae.catalogue import Catalogue
from saree_vae.encoding import encode
from saree_vae.errors import SareeError


@pytest.fixture
def drawn(tmp_path):
    saree("render", "--out", tmp_path / "drawn", "--count", 120, "--seed", 5, "--size", 160)
    return tmp_path / "drawn"


def test_without_any_training_a_picture_finds_its_own(cloth, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saree("index", "loom", "--data", cloth, "--out", "shop")
    found = json.loads(saree("search", "shop", cloth / "dots/0_0.png", "--json", "-k", 1))
    assert [hit["key"] for hit in found["hits"]] == ["dots/0_0.png"]
    with Catalogue.open("shop") as shop:
        shop.require(checkpoint.load("loom").fingerprint)
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


def test_it_searches_better_than_colours_do(drawn):
    run, dataset = checkpoint.load("loom"), data.read_data(drawn)
    rows = evaluate.evaluate(run, dataset, ("views",))["tasks"]["views"]["rows"]
    of = {(row["part"], row["name"]): row["figures"]["R@1"]["value"] for row in rows}
    assert of["phone_photo", "motif and colour"] > of["phone_photo", "colour histogram"] + 0.2
    assert of["recoloured", "motif"] > of["recoloured", "colour histogram"] + 0.3


def test_what_is_written_of_it_lies_in_a_folder_of_its_name(tiny_run, cloth, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "MODELS", tiny_run.parent)
    monkeypatch.chdir(tmp_path)
    before = sorted(tiny_run.iterdir())
    run, dataset = checkpoint.load("tiny"), data.read_data(cloth)
    assert run.fingerprint == checkpoint.load(tiny_run).fingerprint
    model_card.write(run, dataset, evaluate.evaluate(run, dataset, ("retrieval",)))
    assert (tmp_path / "tiny" / "model_card.md").is_file() and sorted(tiny_run.iterdir()) == before
    assert checkpoint.load("tiny").fingerprint == run.fingerprint  # that folder holds no model


def test_putting_a_run_into_the_box_halves_it_and_brings_no_photograph_along(tiny_run, cloth, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    import box

    box.main(
        [str(tiny_run), "--data", str(cloth), "--out", str(tmp_path / "models"), "--json", str(tmp_path / "f.json")]
    )
    made = tmp_path / "models" / tiny_run.name
    assert {path.name for path in made.iterdir()} == {
        "config.yaml",
        "model.safetensors",
        "model_card.md",
        checkpoint.SEEN,
    }
    whole, half = checkpoint.load(tiny_run, "cpu"), checkpoint.load(made, "cpu")
    assert (made / "model.safetensors").stat().st_size < 0.6 * (tiny_run / "model.safetensors").stat().st_size
    assert half.seen == whole.seen
    some = data.load(data.read_data(cloth).items, whole.read_size).images
    ours, theirs = (encode(run, some).embedding() for run in (whole, half))
    assert (ours * theirs).sum(1).min() > 0.999 * (ours * ours).sum(1).max()
    views = json.loads((tmp_path / "f.json").read_text())["tasks"]["views"]
    assert model_card.markdown({"tasks": {"views": views}}) in (made / "model_card.md").read_text()


def test_a_folder_of_ones_own_comes_before_it(tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loom").symlink_to(tiny_run)
    assert checkpoint.load("loom").fingerprint == checkpoint.load(tiny_run).fingerprint


def test_training_goes_on_from_it_by_its_settings(cloth, tmp_path):
    further = ("--from", "loom", "--data", cloth, "--out", tmp_path / "run")
    saree("train", *further, "--set", "train.epochs=1", "--set", "train.learning_rate=1e-12")
    run, box = checkpoint.load(tmp_path / "run"), checkpoint.load("loom")
    assert run.config.model == box.config.model and run.seen > box.seen
    ours, theirs = dict(run.model.named_parameters()), dict(box.model.named_parameters())
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in theirs)


def test_a_name_that_is_neither_is_told_what_there_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paint("dots", "#8c1c2b").save("a.png")
    with pytest.raises(SareeError, match=r"^lom: not a run folder.*; or loom, which comes with saree-vae$"):
        checkpoint.load("lom")
