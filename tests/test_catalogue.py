"""A catalogue keeps what it acknowledged, finds what arithmetic finds, and rebuilds its index from the truth."""

from __future__ import annotations

import itertools
import json
import logging
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saree_vae.catalogue import FORMAT, WHOLE, Catalogue, Entry
from saree_vae.errors import SareeError
from saree_vae.index import read_stamp
from saree_vae.kin import kinship
from saree_vae.latents import unit, weighted

MOTIF, COLOUR = 4, 3
MODEL = {"fingerprint": "3f9c0123456789", "motif_dim": MOTIF, "colour_dim": COLOUR}


def entry(number: int, vectors: int = 1, **changes) -> Entry:
    random = np.random.default_rng(number)
    values = {
        "key": f"{number:03}.jpg",
        "path": f"/photos/{number:03}.jpg",
        "sha256": f"{number:064x}",
        "cluster": ("patola", "ikat", None)[number % 3],
        "item_id": f"piece-{number // 2}",
        "metadata": {"year": str(1900 + number), "रंग": "लाल"},
        "thumbnail": b"\xff\xd8 thumbnail %d" % number,
        "mu": random.normal(size=(vectors, MOTIF + COLOUR)).astype(np.float32) * 3,
        "sigma": random.uniform(0.1, 1, size=(vectors, MOTIF + COLOUR)).astype(np.float32),
        "boxes": (WHOLE, *((0.0, 0.0, 1 / (v + 2), 0.5) for v in range(vectors - 1))),
    }
    return Entry(**values | changes)


@pytest.fixture
def folder(tmp_path) -> Path:
    with Catalogue.create(tmp_path / "cat", **MODEL) as catalogue:
        catalogue.add([entry(number) for number in range(12)])
    return tmp_path / "cat"


def keys(hits) -> list[str]:
    return [hit.key for hit in hits]


def cosines(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    halves = (slice(None, MOTIF), slice(MOTIF, None))
    return tuple(float(unit(a[None, half])[0] @ unit(b[None, half])[0]) for half in halves)


# ---- what goes in comes out


def test_a_label_is_corrected_and_nothing_else(folder):
    with Catalogue.open(folder) as catalogue:
        before, version = catalogue.items(), catalogue.version
        catalogue.relabel("007.jpg", "patola")
        assert catalogue.items() == before | {"007.jpg": replace(before["007.jpg"], cluster="patola")}
        assert catalogue.version != version
        catalogue.relabel("007.jpg", None)
        assert catalogue.items()["007.jpg"].cluster is None
        with pytest.raises(SareeError, match="no item"):
            catalogue.relabel("none.jpg", "ikat")


def test_a_corrected_label_outlives_the_wrong_one_it_came_with(folder):
    with Catalogue.open(folder) as catalogue:
        for key, label in (("006.jpg", "bandhani"), ("007.jpg", "patola"), ("008.jpg", "patola"), ("009.jpg", None)):
            catalogue.relabel(key, label)
        catalogue.relabel("006.jpg", "kanchipuram")
        came = {"006.jpg": "patola", "007.jpg": "ikat", "008.jpg": None, "009.jpg": "patola"}
        assert catalogue.corrections() == came
        catalogue.relabel("009.jpg", "patola")  # right after all
        catalogue.remove(["008.jpg"])
        catalogue.add([entry(6), entry(7, cluster="jamdani"), entry(8), entry(9)])
        assert catalogue.corrections() == {"006.jpg": "patola"}
        told = {key: item.cluster for key, item in catalogue.items().items()}
        assert [told[f"00{n}.jpg"] for n in (6, 7, 8, 9)] == ["kanchipuram", "jamdani", None, "patola"]


def test_a_file_that_vanishes_while_bytes_are_counted_counts_for_none(folder, monkeypatch):
    with Catalogue.open(folder) as catalogue:
        before, listed = catalogue.info()["bytes"], Path.rglob
        monkeypatch.setattr(Path, "rglob", lambda self, pattern: [*listed(self, pattern), self / "gone.safetensors"])
        monkeypatch.setattr(Path, "is_file", lambda self: self.suffix != "")  # it was there a moment ago
        assert before == catalogue.info()["bytes"] > 0


def test_what_was_removed_can_be_added_again_as_it_was(folder):
    with Catalogue.open(folder) as catalogue:
        catalogue.add([entry(8, vectors=3)])
        kept, before = catalogue.entry("008.jpg"), catalogue.latents(regions=True)
        catalogue.remove(["008.jpg"])
        with pytest.raises(SareeError, match="has no item '008.jpg'"):
            catalogue.entry("008.jpg")
        catalogue.add([kept])
        again, expected = catalogue.entry("008.jpg"), entry(8, vectors=3)
        for field in fields(Entry):
            np.testing.assert_equal(getattr(again, field.name), getattr(expected, field.name), field.name)
        for one, other in zip(catalogue.latents(regions=True), before, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_catalogue_from_before_there_were_corrections_takes_them(folder):
    with sqlite3.connect(folder / "items.db") as database:
        database.executescript("DROP TABLE corrections; DROP TABLE taken_out")
    with Catalogue.open(folder) as catalogue:
        assert catalogue.corrections() == catalogue.taken_out() == {}
        catalogue.relabel("007.jpg", "patola")
        catalogue.remove(["008.jpg"])
        assert catalogue.corrections() == {"007.jpg": "ikat"} and list(catalogue.taken_out()) == ["008.jpg"]
        catalogue.add([entry(8)])
        assert catalogue.taken_out() == {}


def test_an_items_vectors_come_with_their_boxes(folder):
    with Catalogue.open(folder) as catalogue:
        catalogue.add([entry(20, vectors=3)])
        mu, boxes = catalogue.vectors("020.jpg")
        np.testing.assert_array_equal(mu, entry(20, vectors=3).mu)
        assert boxes == list(entry(20, vectors=3).boxes)
        with pytest.raises(SareeError, match="no item"):
            catalogue.vectors("none.jpg")


def test_a_stored_item_comes_back_whole(folder):
    with Catalogue.open(folder) as catalogue:
        assert catalogue.keys() == {f"{n:03}.jpg": f"{n:064x}" for n in range(12)}
        assert catalogue.thumbnail("007.jpg") == entry(7).thumbnail
        names, mu, sigma = catalogue.latents()
        assert names == tuple(sorted(catalogue.keys()))
        assert mu.dtype == sigma.dtype == np.float32
        np.testing.assert_array_equal(mu, np.concatenate([entry(n).mu for n in range(12)]))
        np.testing.assert_array_equal(sigma, np.concatenate([entry(n).sigma for n in range(12)]))
        (hit,) = catalogue.search(entry(7).mu, 1)[0]
        assert (hit.key, hit.path, hit.cluster, hit.item_id) == ("007.jpg", "/photos/007.jpg", "ikat", "piece-3")
        assert hit.metadata == {"year": "1907", "रंग": "लाल"}
        assert hit.box == hit.query_box == WHOLE
        assert hit.score == pytest.approx(1)
        assert hit.motif == pytest.approx(1)
        assert hit.colour == pytest.approx(1)


def test_info_counts_and_names_the_model(folder):
    with Catalogue.open(folder) as catalogue:
        catalogue.add([entry(20, vectors=3, cluster="ikat")])
        info = catalogue.info()
        assert (info["items"], info["vectors"], info["clusters"]) == (13, 15, {"ikat": 5, "patola": 4})
        assert (info["fingerprint"], info["motif_dim"], info["colour_dim"]) == (MODEL["fingerprint"], MOTIF, COLOUR)
        assert info["bytes"] > 10_000
        assert info["index"] == "missing"
        catalogue.reindex()
        assert catalogue.info()["index"] == "fresh"
        json.dumps(info)


def test_an_empty_catalogue_answers_with_nothing(tmp_path):
    with Catalogue.create(tmp_path / "cat", **MODEL) as catalogue:
        assert catalogue.search(entry(0).mu, 3) == [[]]
        assert catalogue.search_one(entry(0).mu) == catalogue.search_one(entry(0).mu, kin=True) == []
        assert catalogue.keys() == {}
        assert catalogue.latents()[1].shape == (0, MOTIF + COLOUR)
        assert catalogue.add([]) == 0
        assert catalogue.info()["items"] == 0


# ---- search against arithmetic


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.sampled_from([1, 1, 2, 30]), min_size=1, max_size=8),
    query_vectors=st.integers(1, 4),
    wholes=st.integers(0, 2),
    k=st.integers(1, 10),
    weights=st.sampled_from([(1, 1), (1, 0), (0, 1), (0.3, 2)]),
    excluded=st.sets(st.integers(0, 9), max_size=3),
)
def test_an_items_score_is_that_of_vectors_and_those_most_like_them(
    tmp_path_factory, counts, query_vectors, wholes, k, weights, excluded
):
    entries = [entry(number, vectors) for number, vectors in enumerate(counts)]
    if counts[0] > 1:  # many vectors near one another crowd out every other item
        entries[0] = replace(entries[0], mu=entries[0].mu[:1] + np.float32(0.001) * entries[0].mu)
    query = np.concatenate([entry(0).mu, entry(50, query_vectors).mu])[:query_vectors]
    boxes = [(0.0, 0.0, 1.0, (v + 1) / (query_vectors + 1)) for v in range(query_vectors)]
    boxes[:wholes] = [WHOLE] * len(boxes[:wholes])
    truth = {}
    for stored in entries:
        pairs = {}  # score, motif, colour and both boxes, by row and column
        for row, column in itertools.product(range(query_vectors), range(len(stored.mu))):
            halves = cosines(query[row], stored.mu[column])
            score = np.dot(weights, halves) / sum(weights)
            pairs[row, column] = (score, *halves, stored.boxes[column], boxes[row])
        nearest = [max(pairs[row, column] for column in range(len(stored.mu))) for row in range(query_vectors)]
        figures = np.mean([pair[:3] for pair in nearest], axis=0)
        if wholes:
            whole = max(pairs[row, 0] for row in range(query_vectors) if boxes[row] == WHOLE)
            figures = 0.75 * figures + 0.25 * np.array(whole[:3])
        if int(stored.key[:3]) not in excluded:
            truth[stored.key] = (*figures, *max(pairs.values())[3:])
    with Catalogue.create(tmp_path_factory.mktemp("cat"), **MODEL) as catalogue:
        catalogue.add(entries)
        options = {"motif": weights[0], "colour": weights[1], "exclude": [f"{n:03}.jpg" for n in excluded]}
        hits = catalogue.search_one(query, boxes, k, **options)
        separate = catalogue.search(query, k, **options)
    expected = sorted(truth, key=lambda key: -truth[key][0])[:k]
    assert sorted(set(keys(hits))) == sorted(keys(hits))
    assert len(hits) == len(expected)
    np.testing.assert_allclose([hit.score for hit in hits], [truth[key][0] for key in expected], atol=1e-4)
    for hit in hits:
        best = truth[hit.key]
        np.testing.assert_allclose((hit.score, hit.motif, hit.colour), best[:3], atol=1e-3)
        assert (hit.box, hit.query_box) == best[3:] or counts[int(hit.key[:3])] > 2
    for row, vector in zip(separate, query, strict=True):
        assert len(row) == len(expected)
        assert all(hit.query_box == WHOLE for hit in row)
        assert all((hit.motif, hit.colour) <= (1.001, 1.001) for hit in row)
        assert [hit.score for hit in row] == sorted((hit.score for hit in row), reverse=True), vector


def test_kin_are_ranked_by_the_mean_of_their_vectors_among_what_matches(folder):
    with Catalogue.open(folder) as catalogue:
        catalogue.add([entry(20, vectors=3, cluster="ikat")])
        query = entry(3).mu
        found, mu, _ = catalogue.latents(regions=True)
        halves = catalogue._unit_halves(mu)
        stored = sorted(set(found))
        means = np.stack([halves[[name == key for name in found]].mean(0) for key in stored])
        rows = [weighted(catalogue._unit_halves(part), MOTIF, 1.0, 0.3) for part in (query, means)]
        expected = dict(zip(stored, kinship(rows[0][0], rows[1]).tolist(), strict=True))
        hits = catalogue.search_one(query, k=99, kin=True, colour=0.3)
        assert {hit.key: hit.score for hit in hits} == pytest.approx(expected, abs=1e-5)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert (hits[0].key, hits[0].motif, hits[0].box) == ("003.jpg", pytest.approx(1), WHOLE)
        assert keys(catalogue.search_one(query, k=2, kin=True, colour=0.3)) == keys(hits)[:2]
        parts = np.concatenate([entry(5).mu, query])
        mean = catalogue._unit_halves(parts).mean(0, keepdims=True)
        by_parts = catalogue.search_one(parts, [(0, 0, 0.5, 0.5), WHOLE], 99, kin=True, colour=0.3)
        own = catalogue.search_one(*catalogue.vectors("020.jpg"), 99, kin=True, colour=0.3)
        itself = next(hit for hit in own if hit.key == "020.jpg")
        assert (itself.motif, itself.colour) == pytest.approx((1, 1))  # of the means, not of the whole picture
        assert keys(by_parts) == keys(catalogue.search_one(mean, k=99, kin=True, colour=0.3)) != keys(hits)
        some = keys(catalogue.search_one(query, k=99, kin=True, where="cluster == 'ikat'", exclude=["001.jpg"]))
        assert sorted(some) == sorted(set(catalogue.matching("cluster == 'ikat'")) - {"001.jpg"})
        assert catalogue.search_one(query, kin=True, where="cluster == 'nobody'") == []
        with pytest.raises(SareeError, match="k is 0"):
            catalogue.search_one(query, k=0, kin=True)


def test_k_larger_than_the_catalogue_gives_every_item_once(folder):
    with Catalogue.open(folder) as catalogue:
        for row in catalogue.search(np.concatenate([entry(1).mu, entry(2).mu]), 5000):
            assert sorted(keys(row)) == sorted(catalogue.keys())


def test_where_filters_before_the_k_best_are_chosen(folder):
    with Catalogue.open(folder) as catalogue:
        query = entry(0).mu
        assert sorted(keys(catalogue.search(query, 3, where="year >= 1909")[0])) == ["009.jpg", "010.jpg", "011.jpg"]
        assert keys(catalogue.search(query, 3, where="cluster == 'patola'")[0])[0] == "000.jpg"
        missing = keys(catalogue.search_one(query, k=9, where="cluster == ''", exclude=["002.jpg", "not here"]))
        assert sorted(missing) == ["005.jpg", "008.jpg", "011.jpg"]
        assert catalogue.search(query, 3, where="year > 3000") == [[]]
        assert len(catalogue.search(query, 20, where="`रंग` == 'लाल' and key != '000.jpg'")[0]) == 11
        with pytest.raises(SareeError, match="'yaer' is not a column of this catalogue; did you mean 'year'"):
            catalogue.search(query, 3, where="yaer > 3000")


def test_columns_of_new_items_can_be_filtered_on_at_once(folder):
    with Catalogue.open(folder) as catalogue:
        with pytest.raises(SareeError, match="'weaver' is not a column"):
            catalogue.search(entry(0).mu, 1, where="weaver == 'Meera'")
        catalogue.add([entry(30, metadata={"weaver": "Meera"})])
        assert keys(catalogue.search(entry(0).mu, 5, where="weaver == 'Meera'")[0]) == ["030.jpg"]


# ---- changes


def test_a_replaced_item_is_found_where_it_now_lies_and_only_once(folder):
    with Catalogue.open(folder) as catalogue:
        catalogue.search(entry(3).mu, 1)
        catalogue.add([entry(3, vectors=2, mu=-entry(3, vectors=2).mu, sha256="new", thumbnail=b"new")])
        assert catalogue.keys()["003.jpg"] == "new"
        assert catalogue.thumbnail("003.jpg") == b"new"
        assert catalogue.search(-entry(3, vectors=2).mu[:1], 1)[0][0].score == pytest.approx(1)
        assert catalogue.search(entry(3).mu, 1)[0][0].score < 0.99
        assert catalogue.info()["vectors"] == 13
        assert len(catalogue.search(entry(3).mu, 99)[0]) == 12


def test_the_last_of_two_entries_with_one_key_stays(folder):
    with Catalogue.open(folder) as catalogue:
        catalogue.add([entry(3, sha256="first"), entry(3, sha256="last")])
        assert catalogue.keys()["003.jpg"] == "last"
        assert len(catalogue.keys()) == 12


def test_removed_items_are_gone_with_their_vectors(folder):
    with Catalogue.open(folder) as catalogue:
        assert catalogue.remove(["003.jpg", "004.jpg", "003.jpg"]) == 2
        assert "003.jpg" not in keys(catalogue.search(entry(3).mu, 99)[0])
        assert (catalogue.info()["items"], catalogue.info()["vectors"]) == (10, 10)
        with pytest.raises(SareeError, match=r"has no item '003.jpg'; nothing was removed"):
            catalogue.remove(["005.jpg", "003.jpg"])
        assert len(catalogue.keys()) == 10
        with pytest.raises(SareeError, match=r"has no item '003.jpg'"):
            catalogue.thumbnail("003.jpg")


def test_each_transaction_that_changes_something_is_one_generation(folder):
    def generation() -> int:
        return int(catalogue._stamp().split("-")[0])

    with Catalogue.open(folder) as catalogue:
        start = generation()
        catalogue.add([entry(20), entry(21)])
        assert generation() == start + 1
        catalogue.remove(["020.jpg"])
        assert generation() == start + 2
        catalogue.add([])
        catalogue.remove([])
        assert generation() == start + 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mu": np.full((1, MOTIF + COLOUR), np.nan)}, "099.jpg: its latents are not finite"),
        ({"mu": np.zeros((1, 5))}, r"099.jpg: mu \(1, 5\)"),
        ({"mu": np.zeros((0, 7)), "sigma": np.zeros((0, 7)), "boxes": ()}, "0 boxes; expected"),
        ({"boxes": ((0.5, 0, 0.2, 1),)}, "099.jpg: a box is not"),
        ({"key": "bad \udcff.jpg"}, "not a name in Unicode"),
    ],
)
def test_one_bad_entry_refuses_the_batch(folder, changes, says):
    with Catalogue.open(folder) as catalogue:
        before = catalogue._stamp()
        with pytest.raises(SareeError, match=says):
            catalogue.add([entry(98), entry(99, **changes)])
        assert len(catalogue.keys()) == 12
        assert catalogue._stamp() == before


def test_bad_queries_are_told(folder):
    with Catalogue.open(folder) as catalogue:
        for call, says in [
            (lambda: catalogue.search(np.zeros((2, 5)), 3), r"shape \(2, 5\); this catalogue's are \(N, 7\)"),
            (lambda: catalogue.search(np.full((1, 7), np.nan), 3), "query 0: its motif half has a value that is not"),
            (lambda: catalogue.search(entry(0).mu, 0), "k is 0"),
            (lambda: catalogue.search(entry(0).mu, 1, motif=0, colour=0), "weights are"),
            (lambda: catalogue.search_one(entry(0, 2).mu, [WHOLE]), "2 query vectors need as many boxes, got 1"),
        ]:
            with pytest.raises(SareeError, match=says):
                call()


# ---- the model it belongs to


def test_another_models_images_are_refused(folder):
    with Catalogue.open(folder) as catalogue:
        catalogue.require(MODEL["fingerprint"])
        with pytest.raises(SareeError, match="made with model 3f9c0123, the query with 81d0aaaa; index again"):
            catalogue.require("81d0aaaabbbb")
    with pytest.raises(
        SareeError, match="catalogue of model 3f9c0123, this is model 81d0aaaa; index into a new folder"
    ):
        Catalogue.create(folder, **MODEL | {"fingerprint": "81d0aaaabbbb"})


def test_creating_again_with_the_same_model_goes_on(folder):
    with Catalogue.create(folder, **MODEL) as catalogue:
        assert len(catalogue.keys()) == 12


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(SareeError, match="not a catalogue and not empty"):
        Catalogue.create(tmp_path, **MODEL)
    with pytest.raises(SareeError, match="not a catalogue and not empty"):
        Catalogue.create(tmp_path / "holiday.jpg", **MODEL)
    for nothing in (tmp_path, tmp_path / "nowhere", tmp_path / "holiday.jpg"):
        with pytest.raises(SareeError, match=r"not a catalogue .it has no catalogue.json"):
            Catalogue.open(nothing)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (json.dumps({"format": FORMAT + 1}), f"a catalogue of format {FORMAT + 1}, and this saree-vae reads {FORMAT}"),
        ("{", "damaged"),
        ("[]", "damaged"),
        (json.dumps({"format": FORMAT, "fingerprint": "a", "motif_dim": "4", "colour_dim": 3}), "motif_dim is '4'"),
        ("{}", "damaged .'format'"),
    ],
)
def test_a_catalogue_json_that_cannot_be_used_is_told(folder, text, says):
    (folder / "catalogue.json").write_text(text)
    with pytest.raises(SareeError, match=says):
        Catalogue.open(folder)


# ---- the index is only derived


def test_the_saved_index_is_used_again_while_it_is_fresh(folder, caplog):
    with Catalogue.open(folder) as catalogue:
        catalogue.reindex()
    caplog.set_level(logging.INFO, "saree_vae")
    with Catalogue.open(folder) as catalogue:
        assert keys(catalogue.search(entry(5).mu, 1)[0]) == ["005.jpg"]
    assert not caplog.records


def test_an_index_that_is_missing_damaged_or_stale_is_rebuilt(folder, caplog):
    index = folder / "index.faiss"
    with Catalogue.open(folder) as catalogue:
        catalogue.reindex()
    older = index.read_bytes()
    with Catalogue.open(folder) as catalogue:
        catalogue.remove(["000.jpg"])
        catalogue.add([entry(40)])
        catalogue.reindex()
    harms = {
        "missing": index.unlink,
        "damaged": lambda: index.write_bytes(older[:200] + b"?" + older[201:]),
        "stale": lambda: index.write_bytes(older),
    }
    caplog.set_level(logging.INFO, "saree_vae")
    for state, harm in harms.items():
        harm()
        with Catalogue.open(folder) as catalogue:
            assert catalogue.info()["index"] == state
            assert keys(catalogue.search(entry(40).mu, 1)[0]) == ["040.jpg"]
            assert "000.jpg" not in keys(catalogue.search(entry(0).mu, 99)[0])
            assert catalogue.info()["index"] == "fresh"
        assert f"index.faiss is {state}; rebuilding it" in caplog.messages[-1]


def test_the_index_of_another_history_of_the_same_length_is_stale(folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)  # a restored copy, say
    for place, number in ((folder, 41), (other, 42)):
        with Catalogue.open(place) as catalogue:
            catalogue.add([entry(number)])
            catalogue.reindex()
    shutil.copy(other / "index.faiss", folder / "index.faiss")
    with Catalogue.open(folder) as catalogue:
        assert catalogue.info()["index"] == "stale"
        assert keys(catalogue.search(entry(41).mu, 1)[0]) == ["041.jpg"]


def test_a_folder_that_cannot_be_written_to_is_searched_and_left_as_it_is(folder, monkeypatch):
    with Catalogue.open(folder) as catalogue:
        catalogue.search(entry(5).mu, 1)  # builds the index
    before = sorted(path.name for path in folder.iterdir())
    monkeypatch.setattr("saree_vae.catalogue.os.access", lambda *_: False)
    with Catalogue.open(folder) as catalogue:
        assert keys(catalogue.search(entry(5).mu, 1)[0]) == ["005.jpg"]
        with pytest.raises(SareeError, match="cannot be written to"):
            catalogue.remove(["005.jpg"])
        assert sorted(path.name for path in folder.iterdir()) == before


def test_what_a_killed_process_left_unwritten_is_not_passed_over(folder, monkeypatch):
    held = Catalogue.open(folder)
    held.add([entry(12)])  # still in the log: not yet in the database's own file
    assert (folder / "items.db-wal").stat().st_size
    monkeypatch.setattr("saree_vae.catalogue.os.access", lambda *_: False)
    with Catalogue.open(folder) as catalogue:
        assert "012.jpg" in catalogue.items()
    held.close()


def test_an_index_that_cannot_be_saved_still_answers(folder, monkeypatch, caplog):
    def full(self, path, *, stamp):
        raise SareeError(f"{path}: could not be written: No space left on device")

    monkeypatch.setattr("saree_vae.index.LatentIndex.save", full)
    with Catalogue.open(folder) as catalogue:
        assert keys(catalogue.search(entry(5).mu, 1)[0]) == ["005.jpg"]
    assert "No space left" in caplog.text
    assert not (folder / "index.faiss").exists()


# ---- harm


@pytest.mark.parametrize("harm", [b"GIF89a" * 4000, None])
def test_a_damaged_database_is_one_sentence(folder, harm):
    database = folder / "items.db"
    if harm is None:  # a page in the middle overwritten
        data = bytearray(database.read_bytes())
        data[4096:] = b"\x5a" * (len(data) - 4096)
        harm = bytes(data)
    database.write_bytes(harm)
    with pytest.raises(SareeError, match=r"items.db is damaged .*restore it from a copy") as caught:
        Catalogue.open(folder)
    assert "\n" not in str(caught.value)


def test_a_database_that_is_missing_or_unfinished_is_told_and_create_completes_it(folder):
    (folder / "items.db").unlink()
    with pytest.raises(SareeError, match=r"items.db is missing; index again"):
        Catalogue.open(folder)
    (folder / "items.db").touch()
    with pytest.raises(SareeError, match=r"items.db is unfinished; index again"):
        Catalogue.open(folder)
    with Catalogue.create(folder, **MODEL) as catalogue:
        assert catalogue.add([entry(1)]) == 1


def test_a_temporary_file_of_a_killed_process_does_not_stop_create(tmp_path):
    (tmp_path / ".catalogue.x1.json").touch()
    with Catalogue.create(tmp_path, **MODEL) as catalogue:
        assert catalogue.keys() == {}


def test_a_full_disk_loses_nothing(folder):
    with Catalogue.open(folder) as catalogue:
        pages = catalogue._database.execute("PRAGMA page_count").fetchone()[0]
        catalogue._database.execute(f"PRAGMA max_page_count = {pages + 2}")  # SQLite then meets a full disk
        with pytest.raises(SareeError, match="the disk is full; nothing has changed"):
            catalogue.add([entry(number, thumbnail=bytes(9000)) for number in range(100, 110)])
        assert len(catalogue.keys()) == 12
        assert len(catalogue.search(entry(1).mu, 99)[0]) == 12
        catalogue._database.execute("PRAGMA max_page_count = 100000")
        assert catalogue.add([entry(100)]) == 1
    assert intact(folder)


def test_a_writer_that_waits_too_long_is_told(folder):
    with Catalogue.open(folder) as first, Catalogue.open(folder) as second:
        second._database.execute("PRAGMA busy_timeout = 10")
        with first._writing(), pytest.raises(SareeError, match="another process has been writing"):
            second.add([entry(50)])
        assert second.add([entry(50)]) == 1
        assert len(first.keys()) == 13


def intact(folder: Path) -> bool:
    database = sqlite3.connect(folder / "items.db")
    verdicts = [database.execute(f"PRAGMA {check}").fetchall() for check in ("integrity_check", "foreign_key_check")]
    database.close()
    return verdicts == [[("ok",)], []]


WRITER = """
    import sys
    sys.path.insert(0, {tests!r})
    from test_catalogue import MODEL, Catalogue, entry

    with Catalogue.create({folder!r}, **MODEL) as catalogue:
        for start in range({first}, {last}, 5):
            catalogue.add([entry(number, vectors=2) for number in range(start, start + 5)])
            if start % 20 == 0:
                catalogue.reindex()
            print(*(entry(number).key for number in range(start, start + 5)), flush=True)
"""


def writer(folder: Path, first: int, last: int) -> subprocess.Popen:
    values = {"tests": str(Path(__file__).parent), "folder": str(folder), "first": first, "last": last}
    code = textwrap.dedent(WRITER).format(**values)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    )


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path):
    acknowledged: list[str] = []
    for round_ in range(3):  # killed at three different places, each time going on from what is there
        with writer(tmp_path / "cat", 1000 * round_, 1000 * round_ + 995) as process:
            for _ in range(4 + 3 * round_):
                acknowledged += process.stdout.readline().split()
            process.kill()
            acknowledged += process.stdout.read().split()
        assert process.returncode == -9
        assert intact(tmp_path / "cat")
        with Catalogue.open(tmp_path / "cat") as catalogue:
            stored = catalogue.keys()
            assert set(acknowledged) <= set(stored)
            assert len(stored) % 5 == 0
            for key in acknowledged[-3:]:
                assert keys(catalogue.search(entry(int(key[:-4]), vectors=2).mu[1:], 1)[0]) == [key]
            assert catalogue.info()["vectors"] == 2 * len(stored)
            assert read_stamp(tmp_path / "cat" / "index.faiss") == catalogue._stamp()


@pytest.mark.parametrize("statement", ["DELETE FROM items", "INSERT INTO vectors", "UPDATE meta", "COMMIT"])
def test_kill_9_within_a_transaction_leaves_the_state_before_it(folder, statement):
    code = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_catalogue import Catalogue, entry

        catalogue = Catalogue.open({str(folder)!r})
        kill = lambda sql: sql.startswith({statement!r}) and os.kill(os.getpid(), signal.SIGKILL)
        catalogue._database.set_trace_callback(kill)
        catalogue.add([entry(3, sha256="half done"), entry(60)])
        """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=Path(__file__).parents[1], timeout=60)
    assert run.returncode == -9
    assert intact(folder)
    with Catalogue.open(folder) as catalogue:
        assert catalogue.keys() == {f"{n:03}.jpg": f"{n:064x}" for n in range(12)}
        assert keys(catalogue.search(entry(3).mu, 1)[0]) == ["003.jpg"]


def test_readers_see_whole_batches_while_another_process_writes(folder):
    with writer(folder, 1000, 1060) as process, Catalogue.open(folder) as one, Catalogue.open(folder) as two:
        seen = 0
        while process.poll() is None:
            for reader in (one, two):
                count = len(reader.search(entry(2).mu, 10_000)[0])
                assert count >= seen
                assert (count - 12) % 5 == 0
                seen = count
                assert keys(reader.search(entry(2).mu, 1)[0]) == ["002.jpg"]
        assert process.returncode == 0
        assert len(one.search(entry(2).mu, 10_000)[0]) == len(two.keys()) == 72
