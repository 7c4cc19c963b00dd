"""What variants are worth: the classifier learns, all arms are treated alike, what is told follows from the cells."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import GROUNDS, MARKS, paint

from saree_vae import checkpoint, classify, data, evaluate, images, model_card, variants

SMALL = {"sizes": (2,), "seeds": 2}


@pytest.fixture(scope="module")
def run(tiny_run):
    return checkpoint.load(tiny_run, "cpu")


@pytest.fixture
def few_steps(monkeypatch):
    monkeypatch.setattr(classify, "STEPS", 3)


def painted(shifts: range) -> tuple[np.ndarray, np.ndarray]:
    """Squares of four motifs, the same colours in each class."""
    pictures = [paint(mark, ground, shift) for mark in MARKS for ground in GROUNDS for shift in shifts]
    return np.stack([np.array(one) for one in pictures]), np.repeat(np.arange(4), len(GROUNDS) * len(shifts))


def test_the_network_learns_motifs_and_is_the_same_for_the_same_seed():
    pictures, labels = painted(range(0, 24, 3))
    net, again = (classify.learn(pictures, labels, classes=4, seed=0, steps=60) for _ in range(2))
    tests, known_as = painted(range(1, 24, 7))
    assert classify.macro_f1(classify.predict(net, tests), known_as) > 0.9
    assert all((a == b).all() for a, b in zip(net.parameters(), again.parameters(), strict=True))


def test_learning_leaves_the_random_numbers_of_others_alone():
    pictures, labels = painted(range(1))
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    classify.learn(pictures, labels, classes=4, seed=0, steps=2)
    assert (torch.random.get_rng_state() == before).all()


def test_pictures_are_shown_as_often_as_their_weights_say(monkeypatch):
    pictures = np.stack([np.full((8, 8, 3), level, np.uint8) for level in (0, 100, 200)])
    shown = []

    def watch(picture, draw):
        shown.append(int(picture[0, 0, 0]))
        return np.zeros((64, 64, 3), np.uint8)

    classify.learn(
        pictures, np.array([0, 1, 1]), classes=2, seed=0, weights=np.array([2, 1, 1]), augment=watch, steps=30
    )
    share = np.bincount(shown, minlength=201)[[0, 100, 200]] / len(shown)
    assert share == pytest.approx([0.5, 0.25, 0.25], abs=0.05)


def test_the_usual_recipe_changes_a_picture_anew_each_time_and_by_the_seed():
    picture = np.array(paint("dots", GROUNDS[0]))
    first, second = (classify.usual(picture, np.random.default_rng(0)) for _ in range(2))
    draw = np.random.default_rng(0)
    one, other = classify.usual(picture, draw), classify.usual(picture, draw)
    assert first.shape == (64, 64, 3) and (first == second).all() and (one == first).all() and (one != other).any()


def test_macro_f1_counts_classes_alike_whatever_their_number():
    labels, predicted = np.array([0] * 8 + [1] * 2), np.array([0] * 8 + [0] * 2)
    assert classify.macro_f1(predicted, labels) == pytest.approx((16 / 18 + 0) / 2)


def test_a_gain_is_paired_and_its_interval_is_students():
    cells = [{kind: dict.fromkeys(classify.ARMS, 0.0) for kind in classify.KINDS} for _ in range(3)]
    for cell, base, gain in zip(cells, (0.2, 0.5, 0.8), (0.04, 0.05, 0.06), strict=True):
        cell["network"] |= {"albumentations": base, "both": base + gain}
    gained = next(row for row in classify._rows(5, cells) if row["name"] == classify.GAIN)["figures"]
    half = 4.303 * 0.01 / np.sqrt(3)  # t of two degrees of freedom, from a printed table
    assert gained["network, macro-F1"] == {
        "value": pytest.approx(0.05),
        "low": pytest.approx(0.05 - half, abs=1e-5),
        "high": pytest.approx(0.05 + half, abs=1e-5),
        "n": 3,
    }


def test_only_the_chosen_pictures_tell_their_cluster(run, cloth, monkeypatch, few_steps):
    dataset, told = data.read_data(cloth), []
    monkeypatch.setattr(
        classify, "Maker", lambda run, known, *_, **__: told.append(known) or SimpleNamespace(make=lambda *_: ([], {}))
    )
    study = classify.Study(run, dataset, sorted(MARKS), lambda *_: None)
    two, three = (study.cell(size, 0, "colour") for size in (2, 3))
    assert [sum(known.clusters != "") for known in told] == [2 * 4, 3 * 4]
    assert {*np.flatnonzero(told[0].clusters != "")} < {*np.flatnonzero(told[1].clusters != "")}
    assert two["network"]["variants"] == two["network"]["none"]  # there were none
    assert two["probe"]["both"] == two["probe"]["albumentations"] and three["variants"] == 0


def test_all_arms_start_alike_and_take_as_many_steps(run, cloth, monkeypatch):
    seen = []

    def learn(pictures, labels, **settings):
        seen.append((len(pictures), settings))
        return None

    monkeypatch.setattr(classify, "learn", learn)
    monkeypatch.setattr(classify, "predict", lambda net, pictures: np.zeros(len(pictures), int))
    monkeypatch.setattr(variants.Maker, "_judged", lambda self, tried, passed: [""] * len(tried))
    classify.Study(run, data.read_data(cloth), sorted(MARKS), lambda *_: None).cell(2, 1, "colour")
    starts, seen = [s["seed"] for _, s in seen], seen[:: classify.STARTS]
    assert starts == [classify.STARTS + start for start in range(classify.STARTS)] * len(classify.ARMS)
    assert [count for count, _ in seen] == [8, 8, 8 * (1 + classify.PER_IMAGE), 8 * (1 + classify.PER_IMAGE)]
    assert all(s["classes"] == 4 and s["steps"] == classify.STEPS for _, s in seen)
    assert [s["augment"] is not None for _, s in seen] == [False, True, False, True]
    assert [s["weights"] is not None for _, s in seen] == [False, False, True, True]
    assert seen[2][1]["weights"][8:].sum() == pytest.approx(classify.SHARE)


def test_evaluate_measures_it_only_where_it_is_named(run, cloth, few_steps):
    dataset, kept = data.read_data(cloth), {}
    more = {"augment": lambda measured: classify.measure(run, measured, **SMALL, cells=kept)}
    assert "augment" not in evaluate.evaluate(run, dataset, ("all",), more=more, samples=2)["tasks"]
    results = evaluate.evaluate(run, dataset, ("augment",), more=more)
    [*arms, gain] = results["tasks"]["augment"]["rows"]
    assert [row["name"] for row in arms] == [*classify.ARMS] and gain["name"] == classify.GAIN
    assert len(kept) == 2 and "2 pictures a class | both less albumentations" in model_card.markdown(results)
    for row in arms:
        values = [cell["network"][row["name"]] for cell in kept.values()]
        assert row["figures"]["network, macro-F1"]["value"] == pytest.approx(np.mean(values))


def test_kept_cells_are_not_measured_again(run, cloth, few_steps, monkeypatch):
    dataset, kept = data.read_data(cloth), {}
    first = classify.measure(run, dataset, **SMALL, cells=kept)
    monkeypatch.setattr(classify, "Study", None)
    assert classify.measure(run, dataset, **SMALL, cells=kept) == first


def test_too_few_pictures_are_told(run, cloth):
    assert "Two classes with 20 training pictures" in classify.measure(run, data.read_data(cloth))["skipped"]


@pytest.fixture
def augment(monkeypatch):
    """benchmarks/ is no package."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    import augment

    return augment


def test_the_study_keeps_each_cell_and_tells_the_same_again(
    augment, tiny_run, cloth, tmp_path, capsys, few_steps, monkeypatch
):
    work, arguments = tmp_path / "work", [str(tiny_run), "--data", str(cloth), "--sizes", "2", "--seeds", "2"]
    arguments += ["--vary", "colour", "--work", str(work)]
    augment.main([*arguments, "--json", str(tmp_path / "a.json")])
    table = capsys.readouterr().out
    report = json.loads((tmp_path / "a.json").read_text())
    assert table.rstrip() == augment.markdown(report).rstrip()
    assert [row["name"] for row in report["colour"]["rows"]] == [*classify.ARMS, classify.GAIN]
    assert images.image_size(work / "variants.png")[0] > 4 * 120
    [kept] = work.glob("cells_*.json")
    assert set(json.loads(kept.read_text())) == {"colour 2 0", "colour 2 1"}
    monkeypatch.setattr(classify, "Study", None)
    augment.main(arguments)
    assert capsys.readouterr().out == table
    monkeypatch.setattr(classify, "STEPS", 4)  # measured otherwise, so measured anew
    with pytest.raises(TypeError):
        augment.main(arguments)
