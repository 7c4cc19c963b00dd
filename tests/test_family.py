"""Every variant of the VAE from one class and one training loop: trained, kept, read again, searched."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from saree_vae import checkpoint, config, data, loom, train
from saree_vae.encoding import encode, to_images
from saree_vae.errors import SareeError
from saree_vae.index import LatentIndex

MLP = "model.encoder=mlp model.image_size=32"
NO_COLOUR = "model.colour_dim=0 objective.swap=0 objective.contrast_colour=0"
ONLY_CLEAN = "objective.swap=0 objective.contrast_motif=0 objective.contrast_colour=0"
VARIANTS = {
    "plain": "",
    "laplace": "model.likelihood=laplace",
    "gaussian_pixel": "model.likelihood=gaussian_pixel",
    "bernoulli": "model.likelihood=bernoulli",
    "discretised_logistic": "model.likelihood=discretised_logistic",
    "fixed sigma": "model.sigma=0.1",
    "learned sigma": "model.sigma=learned",
    "full": "model.posterior=full",
    "iaf": "model.posterior=iaf model.flows=2",
    "point": "model.posterior=point",
    "vq": "model.posterior=vq",
    "vq without views": f"model.posterior=vq {ONLY_CLEAN}",
    "mixture": "model.prior=mixture model.components=4",
    "vamp": "model.prior=vamp model.components=4",
    "2 levels": "model.levels=2",
    "3 levels, vamp": "model.levels=3 model.prior=vamp model.components=4",
    "4 levels": "model.levels=4",
    "5 levels, 3 samples": "model.levels=5 objective.samples=3 model.sigma=learned",
    "conditional": "model.conditional=true",
    "conditional vq in half precision": "model.conditional=true model.posterior=vq train.precision=bf16",
    "no colour": NO_COLOUR,
    "mlp, binary": f"{MLP} model.likelihood=bernoulli model.binary=true",
    "mlp, 3 levels, iaf and mixture": f"{MLP} model.levels=3 model.posterior=iaf model.prior=mixture",
    "timm, vq": "model.encoder=timm:lcnet_035 model.posterior=vq",
    "timm, 2 levels": "model.encoder=timm:lcnet_035 model.levels=2",
    "beta": "objective.beta=4",
    "free bits": "objective.free_bits=0.5",
    "capacity": "objective.capacity=5",
    "cyclical": "objective.kl_cycles=3",
    "samples": "objective.samples=3 model.sigma=learned",
    "total correlation": "objective.total_correlation=3",
}
TOLD = {  # what a variant is to say of itself in metrics.jsonl
    "vq": {"commit", "perplexity", "kl_motif"},
    "vq without views": {"commit", "perplexity"},
    "5 levels, 3 samples": {"bound", *(f"kl_level_{level}" for level in range(2, 6))},
    "samples": {"bound"},
    "total correlation": {"total_correlation"},
}


@pytest.fixture(scope="session")
def sarees(tmp_path_factory: pytest.TempPathFactory) -> data.DataSet:
    """Sixteen pictures of the loom to train on."""
    pictures = data.read_data(loom.render(tmp_path_factory.mktemp("loom"), 25, 3, size=80).parent)
    assert len(pictures.of("train")) == 16
    return pictures


def fit(pictures: data.DataSet | train.Arrays, run: Path, settings: str, name: str = "tiny", **options) -> Path:
    steps = ["train.epochs=5", "train.batch_size=4", "train.pictures_every=5"] if name == "tiny" else []
    told: list[str] = []
    return train.train(
        config.load(name, [*steps, *settings.split()]), pictures, run, **({"tell": told.append} | options)
    )


def rows_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_trains_is_read_again_as_it_was_and_finds_its_pictures(sarees, tmp_path, monkeypatch, name):
    kept: list[train.State] = []
    save = train.State.save
    monkeypatch.setattr(train.State, "save", lambda state: (kept.append(state), save(state))[1])
    path = fit(sarees, tmp_path / "run", VARIANTS[name])
    rows = rows_of(path)
    assert rows[-1]["step"] == 20
    assert all(np.isfinite(value).all() for row in rows for value in row.values())
    assert TOLD.get(name, set()) <= set(rows[-1])

    run = checkpoint.load(path)
    pictures = data.load(sarees.of("train"), run.read_size).images
    before, latents = encode(kept[-1].averaged(), pictures), encode(run, pictures)
    np.testing.assert_allclose(latents.mu, before.mu, atol=1e-5)
    np.testing.assert_allclose(latents.sigma, before.sigma, atol=1e-5)

    index = LatentIndex(latents.motif_dim, colours := latents.colour.shape[1])
    index.add(latents.embedding(), np.arange(len(latents)))
    scores, found = index.search(latents.embedding(), 1, colour=1.0 if colours else 0.0)
    np.testing.assert_array_equal(found[:, 0], np.arange(len(latents)))
    np.testing.assert_allclose(scores, 1, atol=1e-5)


@pytest.mark.parametrize("settings", ["model.posterior=vq", "model.levels=3 model.prior=vamp model.components=4"])
def test_an_interrupted_run_of_a_variant_ends_where_an_uninterrupted_one_does(sarees, tmp_path, settings):
    def interrupt(at: train.Progress) -> None:
        if at.step == 6:  # within the second epoch
            os.kill(os.getpid(), signal.SIGINT)

    settings += " train.epochs=3"
    whole = fit(sarees, tmp_path / "whole", settings)
    with pytest.raises(SareeError, match="stopped after step 6 of 12"):
        fit(sarees, tmp_path / "halves", settings, watch=interrupt)
    halves = fit(sarees, tmp_path / "halves", settings, resume=True)
    one, other = (checkpoint.load_tensors(run / "last" / "state.safetensors")[0] for run in (whole, halves))
    assert set(one) == set(other)
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-5, msg=name)


def digits(count: int, seed: int) -> np.ndarray:
    """Figures from 0 to 9 somewhere in the middle of (count, 28, 28, 1) uint8."""
    rng, made = np.random.default_rng(seed), np.zeros((count, 28, 28), np.uint8)
    for number, picture in enumerate(made):
        place = (int(rng.integers(4, 9)), int(rng.integers(21, 25)))
        cv2.putText(picture, str(number % 10), place, cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2, cv2.LINE_AA)
    return made[..., None]


def test_digits_in_memory_are_learned_by_the_mnist_config(tmp_path):
    pictures = train.Arrays(digits(200, 0), digits(40, 1))
    path = fit(pictures, tmp_path / "run", "train.epochs=40 train.pictures_every=20 train.ema=0.9", "mnist")
    first, last = (row for row in rows_of(path) if "val_elbo" in row)
    assert last["recon"] > rows_of(path)[0]["recon"] + 20
    assert last["val_elbo"] > first["val_elbo"] + 1
    assert {"swap", "contrast_motif", "val_phone_photo"}.isdisjoint(last)
    run = checkpoint.load(path)
    latents = encode(run, pictures.val)
    assert latents.mu.shape == (40, 50) and np.isfinite(latents.mu).all()
    with torch.no_grad():
        drawn = to_images(run.model.sample(3, torch.Generator().manual_seed(0)))
    assert drawn.shape == (3, 28, 28, 1)
    # Another set of digits is no reason to go on.
    with pytest.raises(SareeError, match="other data"):
        fit(train.Arrays(digits(200, 2), digits(40, 1)), path, "train.epochs=40 train.pictures_every=20 train.ema=0.9",
            "mnist", resume=True)  # fmt: skip


def test_a_conditional_model_draws_as_the_cluster_it_is_told(tmp_path):
    rng = np.random.default_rng(0)
    light = np.arange(128) % 2 == 0
    shapes = rng.integers(0, 100, (128, 8, 8, 1))
    squares = (shapes + 150 * light[:, None, None, None]).astype(np.uint8)
    names = tuple("light" if is_light else "dark" for is_light in light[:-8]) + (None,) * 8
    settings = (
        "model.conditional=true model.image_size=8 model.width=32 model.motif_dim=2 model.binary=false "
        "train.batch_size=32 train.epochs=60 train.pictures_every=60 train.ema=0.9"
    )
    path = fit(train.Arrays(squares, squares[:8], names), tmp_path / "run", settings, "mnist")
    model = checkpoint.load(path).model
    assert model.cfg.classes == ("dark", "light")
    drawn = {}
    for number, name in enumerate(model.cfg.classes, 1):
        drawn[name] = model.sample(64, torch.Generator().manual_seed(0), torch.full((64,), number)).mean()
    assert drawn["light"] > drawn["dark"] + 0.2
    with torch.no_grad():
        x = torch.from_numpy(squares[1:9:2]).permute(0, 3, 1, 2) / 255  # dark ones
        as_light = model.reconstruct(x, classes=torch.full((4,), 1), as_classes=torch.full((4,), 2))
        assert as_light.mean() > model.reconstruct(x, classes=torch.full((4,), 1)).mean() + 0.2
