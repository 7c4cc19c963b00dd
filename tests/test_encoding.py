from __future__ import annotations

import shutil

import numpy as np
import pytest
from conftest import paint

from saree_vae import checkpoint, data
from saree_vae.encoding import decode, encode, encode_items, to_images, to_tensor
from saree_vae.errors import SareeError
from saree_vae.images import square
from saree_vae.latents import Latents


@pytest.fixture(scope="module")
def run(tiny_run) -> checkpoint.Run:
    return checkpoint.load(tiny_run)


@pytest.fixture
def pictures() -> np.ndarray:
    return np.stack([np.asarray(paint(mark, "#1f4e79", side=64)) for mark in ("stripes", "dots", "checks")])


def test_a_picture_encodes_the_same_alone_and_in_company(run, pictures):
    together, alone = encode(run, pictures), encode(run, pictures[1:2])
    np.testing.assert_allclose(together.mu[1], alone.mu[0], atol=1e-5)
    assert together.keys == ("0", "1", "2")


def test_a_picture_read_with_its_margin_is_shrunk_as_training_shrinks_it(run):
    large = np.asarray(paint("dots", "#1f4e79", side=run.read_size))[None]
    assert large.shape[1] == 80
    small = square(large[0], 64)[None]
    np.testing.assert_allclose(encode(run, large).mu, encode(run, small).mu, atol=1e-6)


def test_the_embedding_has_two_unit_halves(run, pictures):
    latents = encode(run, pictures)
    embedding = latents.embedding()
    np.testing.assert_allclose(np.linalg.norm(embedding[:, : latents.motif_dim], axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embedding[:, latents.motif_dim :], axis=1), 1, rtol=1e-5)
    assert latents.motif.shape == (3, 8)
    assert latents.colour.shape == (3, 4)


def test_latents_written_are_the_latents_read(run, pictures, tmp_path):
    latents = encode(run, pictures, ["a", "b/ß", "साड़ी"])
    latents.save(tmp_path / "latents.npz")
    back = Latents.load(tmp_path / "latents.npz")
    assert back.keys == latents.keys
    assert back.motif_dim == latents.motif_dim
    np.testing.assert_array_equal(back.mu, latents.mu)
    with np.load(tmp_path / "latents.npz") as file:
        assert set(file.files) == {"keys", "mu", "sigma", "motif", "colour"}
        np.testing.assert_array_equal(file["mu"][:, slice(*file["colour"])], latents.colour)


def numbered(*keys: str, boxes: bool = False) -> Latents:
    """Latents whose mu and box say which row they were."""
    mu = np.arange(len(keys), dtype=np.float32)[:, None].repeat(3, 1)
    return Latents(keys, mu, mu + 100, 2, mu[:, :1].repeat(4, 1) if boxes else None)


def test_some_pictures_are_taken_with_all_their_rows_in_the_order_asked():
    latents = numbered("a", "a", "b", "c", "c", "c", boxes=True)
    some = latents.of([2, 0])
    assert some.keys == ("c", "c", "c", "a", "a")
    for part, first in ((some.mu, 0), (some.sigma, 100), (some.boxes, 0)):
        np.testing.assert_array_equal(part[:, 0], np.array([3, 4, 5, 0, 1]) + first)
    assert some.starts.tolist() == [0, 3] and some.motif_dim == 2
    assert latents.of(np.array([1])).keys == ("b",) and latents.of([1, 2, 0]).of([0]).keys == ("b",)


def test_all_pictures_taken_are_the_latents_and_none_are_none():
    latents = numbered("a", "b", "b")
    every, none = latents.of(range(2)), latents.of([])
    assert every.keys == latents.keys and every.boxes is None
    np.testing.assert_array_equal(every.mu, latents.mu)
    assert len(none) == 0 and none.mu.shape == none.sigma.shape == (0, 3) and none.starts.tolist() == []
    assert numbered("a", boxes=True).of([]).boxes.shape == (0, 4)


def test_a_picture_that_is_not_there_cannot_be_taken():
    with pytest.raises(IndexError):
        numbered("a", "b", "b").of([2])


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_another_file_is_no_latents_file(tmp_path, content):
    path = tmp_path / "x.npz"
    if content is None:
        np.savez(path, other=np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(SareeError, match="not a latents file"):
        Latents.load(path)


def test_pictures_of_another_size_are_refused(run):
    with pytest.raises(SareeError, match="64 x 64"):
        encode(run, np.zeros((1, 96, 96, 3), np.uint8))


def test_a_data_set_is_streamed_and_its_bad_pictures_named(run, cloth, tmp_path):
    folder = shutil.copytree(cloth, tmp_path / "cloth")
    (folder / "dots" / "1_0.png").write_bytes(b"")
    items = data.read_data(folder).items
    steps: list[tuple[int, int]] = []
    latents, bad = encode_items(run, items, progress=lambda *at: steps.append(at))
    assert len(latents) == 31
    assert [b.key for b in bad] == ["dots/1_0.png"]
    assert steps[-1] == (32, 32)
    with pytest.raises(SareeError, match=r"1_0\.png"):
        encode_items(run, items, strict=True)


def test_decoding_gives_pictures(run, pictures):
    assert decode(run, encode(run, pictures).mu).shape == pictures.shape


def test_pictures_become_tensors_and_back_in_colour_and_in_grey(pictures):
    colour, grey = to_tensor(pictures), to_tensor(pictures, channels=1)
    assert colour.shape == (3, 3, 64, 64) and grey.shape == (3, 1, 64, 64)
    assert colour.min() >= 0 and colour.max() <= 1
    np.testing.assert_array_equal(to_images(colour), pictures)
    np.testing.assert_allclose(grey[:, 0] * 255, pictures.mean(3), atol=1e-3)
    alone = to_images(grey)
    assert alone.shape == (3, 64, 64, 1)
    np.testing.assert_array_equal(to_images(to_tensor(alone, channels=1)), alone)


def test_a_loaded_run_encodes_as_it_did(run, tiny_run, pictures, tmp_path):
    moved = checkpoint.load(shutil.copytree(tiny_run, tmp_path / "moved"))
    assert moved.fingerprint == run.fingerprint
    np.testing.assert_array_equal(encode(moved, pictures).mu, encode(run, pictures).mu)


def test_the_fingerprint_follows_the_weights(run, tiny_run, tmp_path):
    other = shutil.copytree(tiny_run, tmp_path / "other")
    weights, _ = checkpoint.load_tensors(other / "model.safetensors")
    weights["log_scale"] += 1
    checkpoint.save_tensors(other / "model.safetensors", weights)
    assert checkpoint.load(other).fingerprint != run.fingerprint


@pytest.mark.parametrize("harm", ["missing", "truncated", "not safetensors", "other config"])
def test_a_damaged_run_is_told_in_one_sentence(tiny_run, tmp_path, harm):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    weights = run / "model.safetensors"
    if harm == "missing":
        weights.unlink()
    elif harm == "truncated":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif harm == "not safetensors":
        weights.write_text("hello")
    else:
        (run / "config.yaml").write_text("model: {image_size: 64, width: 8, motif_dim: 9, colour_dim: 4}")
    with pytest.raises(SareeError) as error:
        checkpoint.load(run)
    assert str(run) in str(error.value)
    assert "\n" not in str(error.value)


def test_asking_for_a_gpu_that_is_not_there_says_so():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(SareeError, match="no GPU"):
        checkpoint.pick_device("cuda")
