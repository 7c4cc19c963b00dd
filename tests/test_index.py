"""The index finds what plain arithmetic finds, and refuses what is not an embedding."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saree_vae.errors import SareeError
from saree_vae.index import LatentIndex, read_stamp
from saree_vae.latents import unit

MOTIF, COLOUR = 5, 3


def embeddings(count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, MOTIF + COLOUR))
    return np.concatenate([unit(rows[:, :MOTIF]), unit(rows[:, MOTIF:])], axis=1)


def filled(count: int = 40) -> tuple[LatentIndex, np.ndarray, np.ndarray]:
    index, rows, ids = LatentIndex(MOTIF, COLOUR), embeddings(count), np.arange(count) * 7 + 1000
    index.add(rows[: count // 2], ids[: count // 2])
    index.add(rows[count // 2 :], ids[count // 2 :])
    return index, rows, ids


@settings(max_examples=60, deadline=None)
@given(
    motif=st.floats(0, 10),
    colour=st.floats(0, 10),
    k=st.integers(1, 60),
    chosen=st.none() | st.sets(st.integers(0, 39), max_size=40),
)
def test_search_agrees_with_two_cosines_weighed_by_hand(motif, colour, k, chosen):
    if motif + colour < 1e-3:
        colour = 1.0
    index, rows, ids = filled()
    among = None if chosen is None else ids[sorted(chosen)]
    scores, found = index.search(embeddings(3, seed=1), k, motif=motif, colour=colour, among=among)
    assert scores.shape == found.shape == (3, k)
    for query, row_scores, row_ids in zip(embeddings(3, seed=1), scores, found, strict=True):
        truth = (motif * rows[:, :MOTIF] @ query[:MOTIF] + colour * rows[:, MOTIF:] @ query[MOTIF:]) / (motif + colour)
        kept = (
            {}
            if chosen == set()
            else {int(i): s for i, s in zip(ids, truth, strict=True) if among is None or i in among}
        )
        hits = min(k, len(kept))
        assert np.all(row_ids[hits:] == -1)
        assert np.all(row_scores[hits:] == -np.inf)
        assert len(set(row_ids[:hits])) == hits
        np.testing.assert_allclose(row_scores[:hits], sorted(kept.values(), reverse=True)[:hits], atol=1e-5)
        np.testing.assert_allclose(row_scores[:hits], [kept[int(i)] for i in row_ids[:hits]], atol=1e-5)


def test_every_stored_row_is_its_own_nearest_under_any_weights():
    index, rows, ids = filled()
    for motif, colour in [(1, 1), (1, 0), (0, 1), (3, 0.2)]:
        scores, found = index.search(rows, 1, motif=motif, colour=colour)
        assert np.array_equal(found[:, 0], ids)
        np.testing.assert_allclose(scores, 1, atol=1e-5)


def test_an_empty_index_answers_with_nothing():
    scores, ids = LatentIndex(MOTIF, COLOUR).search(embeddings(2), 3)
    assert np.all(ids == -1)
    assert np.all(scores == -np.inf)


def test_ids_asked_for_that_are_not_there_are_no_hits():
    index, rows, ids = filled()
    scores, found = index.search(rows[:1], 3, among=np.array([5, ids[0], 6]))
    assert found.tolist() == [[ids[0], -1, -1]]
    assert np.all(scores[0, 1:] == -np.inf)


def test_a_saved_index_comes_back_with_its_stamp(tmp_path):
    index, rows, _ = filled()
    path = tmp_path / "लाल index.faiss"
    index.save(path, stamp="7-abc")
    again = LatentIndex.load(path)
    assert (again.motif_dim, again.colour_dim, len(again), again.stamp) == (MOTIF, COLOUR, 40, "7-abc")
    assert read_stamp(path) == "7-abc"
    for before, after in zip(index.search(rows, 5), again.search(rows, 5), strict=True):
        assert np.array_equal(before, after)
    again.add(embeddings(1, seed=9), np.array([1]))
    assert len(again) == 41


@pytest.mark.parametrize("harm", ["cut", "empty", "flip", "other", "tail"])
def test_a_damaged_file_is_one_sentence(tmp_path, harm):
    path = tmp_path / "index.faiss"
    filled()[0].save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    whole = path.read_bytes()
    path.write_bytes(
        {"cut": whole[:-9], "empty": b"", "flip": bytes(data), "other": b"GIF89a" * 99, "tail": whole + b" "}[harm]
    )
    with pytest.raises(SareeError, match="not an index made here, or damaged"):
        LatentIndex.load(path)
    with pytest.raises(SareeError, match="there is no such index"):
        LatentIndex.load(tmp_path / "nowhere")


def test_a_failed_save_leaves_the_older_file(tmp_path, monkeypatch):
    index, _, _ = filled()
    index.save(tmp_path / "index.faiss", stamp="old")

    def full(*_):
        raise RuntimeError("write error: No space left on device")

    monkeypatch.setattr("faiss.write_index", full)
    with pytest.raises(SareeError, match=r"could not be written: .*No space left"):
        index.save(tmp_path / "index.faiss", stamp="new")
    assert read_stamp(tmp_path / "index.faiss") == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda rows: rows.__setitem__((3, 1), np.nan), "embedding 3: its motif half has a value that is not finite"),
        (lambda rows: rows.__setitem__((2, -1), np.inf), "embedding 2: its colour half has a value that is not finite"),
        (lambda rows: rows.__setitem__(4, rows[4] * 2), "embedding 4: its motif half has length 2"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_stored(harm, says):
    index, rows = LatentIndex(MOTIF, COLOUR), embeddings(6)
    harm(rows)
    with pytest.raises(SareeError, match=says):
        index.add(rows, np.arange(6))
    assert len(index) == 0


def test_wrong_shapes_ids_weights_and_k_are_told():
    index, rows, _ = filled()
    with pytest.raises(SareeError, match=r"row 0 has 7 values; expected \(N, 8\)"):
        index.add(rows[:, :-1], np.arange(40))
    with pytest.raises(SareeError, match=r"shape \(8,\)"):
        index.search(rows[0], 1)
    with pytest.raises(SareeError, match="as many ids"):
        index.add(rows, np.arange(39))
    with pytest.raises(SareeError, match="as many ids"):
        index.add(rows[:1], np.array([-1]))
    with pytest.raises(SareeError, match="k is 0"):
        index.search(rows, 0)
    for motif, colour in [(0, 0), (-1, 2), (float("nan"), 1), (float("inf"), 1)]:
        with pytest.raises(SareeError, match="weights are"):
            index.search(rows, 1, motif=motif, colour=colour)


def test_a_row_of_zeros_is_stored_and_has_cosine_zero():
    index, rows = LatentIndex(MOTIF, COLOUR), embeddings(2)
    rows[1, :MOTIF] = 0  # a picture without any structure
    index.add(rows, np.array([0, 1]))
    scores, ids = index.search(rows[:1], 2, colour=0)
    assert ids.tolist() == [[0, 1]]
    assert scores[0, 1] == 0


def test_without_faiss_one_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(SareeError, match=r"install saree-vae\[cpu\], or saree-vae\[gpu\]"):
        LatentIndex(MOTIF, COLOUR)


def test_importing_the_module_does_not_import_faiss():
    code = (
        "import sys, saree_vae.index, saree_vae.catalogue; sys.exit('faiss' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_the_gpu_path_gives_the_same_ids(monkeypatch):
    """No GPU here: a stand-in for faiss-gpu, which searches a copy by place, checks how its answers become ids."""
    import faiss

    copies = []
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(
        faiss,
        "index_cpu_to_gpu",
        lambda _, __, flat: copies.append(faiss.clone_index(flat)) or copies[-1],
        raising=False,
    )
    index, rows, ids = filled()
    assert np.array_equal(index.search(rows, 2)[1][:, 0], ids)
    assert np.array_equal(index.search(rows, 1)[1][:, 0], ids)
    assert len(copies) == 1
    index.add(embeddings(1, seed=3), np.array([5]))
    assert index.search(embeddings(1, seed=3), 1)[1].tolist() == [[5]]
    assert len(copies) == 2


def test_without_a_colour_half_the_weight_of_colour_counts_for_nothing():
    index = LatentIndex(4, 0)
    rows = unit(np.random.default_rng(0).standard_normal((3, 4)))
    index.add(rows, np.arange(3))
    scores, ids = index.search(rows, 1)
    assert ids[:, 0].tolist() == [0, 1, 2]
    np.testing.assert_allclose(scores[:, 0], 1, atol=1e-6)
    with pytest.raises(SareeError, match="nor both be 0"):
        index.search(rows, 1, motif=0)
