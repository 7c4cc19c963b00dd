"""Measuring a head: figures by hand on a head that says what it is told to say."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from sklearn.metrics import f1_score

from kg.head import Head, Knowledge, Network
from kg.measure import CELL, FULL, calibration_error, confusion_picture, logistic, macro_f1, measure, nearest
from saree_vae.latents import Latents

GROUPS = {  # in no order, so that one sees the order of the graph
    "subgroup": ("s2", "s1", "s3", "s4"),
    "parent_group": ("north", "north", "south", "south"),
    "super_group": ("woven", "woven", "dyed", "dyed"),
}


@dataclass(frozen=True)
class Told(Head):
    """A head that gives each picture, by the number in its latent, a row of these probabilities."""

    p: np.ndarray = field(default=None)

    def log_probabilities(self, latents, *, unseen=False, without=(), flat=1.0):
        logits = np.log(self.p[latents.mu[latents.starts, 0].astype(int)]) / self.temperature
        return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def head(p: list[list[float]], temperature: float = 1.0, checked=()) -> Told:
    """Of clusters a to d; twelve labelled pieces lie in two directions."""
    known = Knowledge(tuple("abcd"), ("seen",), np.zeros((4, 1)), ("term",), np.zeros((4, 1)), GROUPS, digest="")
    owners = np.tile(np.arange(4), 3)
    pieces = np.stack([np.cos(owners), np.sin(owners)], 1).astype(np.float32)
    return Told(
        network=Network(2, 4, 1, 1),
        knowledge=known,
        model="",
        motif_dim=1,
        crops=0,
        counts=(3, 3, 3, 3),
        trust=0.0,
        temperature=temperature,
        offset=0.0,
        checked=np.array(checked, dtype=np.float32).reshape(-1, 2),
        keys=tuple(map(str, range(12))),
        owners=owners,
        pieces=pieces,
        claims=np.zeros((12, 4), np.float32),
        novel=float("-inf"),
        lonely=-1.0,
        p=np.array(p),
    )


def pictures(count: int) -> Latents:
    """Two rows each."""
    number = np.repeat(np.arange(count), 2)
    mu = np.stack([number, np.ones(2 * count)], 1).astype(np.float32)
    return Latents(tuple(map(str, number)), mu, np.ones_like(mu), motif_dim=1)


def sure(at: int, confidence: float = 0.91) -> list[float]:
    return [confidence if k == at else (1 - confidence) / 3 for k in range(4)]


SIX = [sure(0), sure(1), sure(1), sure(1), sure(2), sure(3, 0.7)]  # of which the second and the last are wrong
TRUE = list("aabbcc")


def row(task: dict, name: str = "head") -> dict:
    return next(r["figures"] for r in task["rows"] if r["name"] == name)


def test_figures_are_those_that_one_reckons_by_hand():
    figures = row(measure(head(SIX), pictures(6), TRUE))
    # F1 of a: 2 * 1 / (2 + 1), of b: 2 * 2 / (2 + 3), of c: 2 * 1 / (2 + 1); d is asked of no picture.
    assert figures["macro-F1"]["value"] == pytest.approx((2 / 3 + 4 / 5 + 2 / 3) / 3)
    assert figures["accuracy"]["value"] == pytest.approx(4 / 6)
    assert figures["parent group"]["value"] == 1
    assert figures["accuracy at 80 %"] == {"value": 4 / 5, "low": None, "high": None, "n": 5, "best": True}
    # Five at 0.91 of which four are right, in one bin; one at 0.7 that is wrong, in another.
    assert figures["ECE"]["value"] == pytest.approx((5 * abs(0.91 - 4 / 5) + 0.7) / 6)


def test_the_parent_group_is_the_one_with_most_probability_not_that_of_the_likeliest_cluster():
    torn = [[0.4, 0.02, 0.3, 0.28]] * 4
    figures = row(measure(head(torn), pictures(4), list("accd")))
    assert figures["accuracy"]["value"] == 0.25
    assert figures["parent group"]["value"] == 0.75


def test_macro_f1_is_that_of_scikit_learn(noise):
    true, guess = noise.integers(0, 7, 60), noise.integers(0, 9, 60)
    expected = f1_score(true, guess, labels=np.unique(true), average="macro", zero_division=0)
    assert macro_f1(true, guess, 9) == pytest.approx(expected)


def test_calibration_error_is_nothing_where_each_bin_is_as_often_right_as_it_says():
    confidence = np.repeat([0.25, 0.75], 4)
    assert calibration_error(confidence, np.array([1, 0, 0, 0, 1, 1, 1, 0])) == pytest.approx(0)
    assert calibration_error(np.ones(4), np.array([1, 1, 1, 0])) == pytest.approx(0.25)
    # Over- and underconfidence in one bin take each other back; in two bins they do not.
    assert calibration_error(np.array([0.5, 0.5]), np.array([0, 1])) == pytest.approx(0)
    assert calibration_error(np.array([0.4, 0.6]), np.array([1, 0])) == pytest.approx(0.6)


def test_calibration_moves_the_error_but_no_answer():
    task = measure(head(SIX, temperature=2.0), pictures(6), TRUE)
    after, before = row(task), row(task, "head before calibration")
    assert after["macro-F1"]["value"] == before["macro-F1"]["value"]
    assert before["ECE"]["value"] == row(measure(head(SIX), pictures(6), TRUE))["ECE"]["value"]
    assert after["ECE"]["value"] != before["ECE"]["value"]


def test_intervals_hold_their_figure_and_few_pictures_have_none(noise):
    true = noise.integers(0, 4, 200)
    told = np.where(noise.random(200) < 0.7, true, noise.integers(0, 4, 200))
    p = [sure(k, 0.8) for k in told]
    figures = row(measure(head(p), pictures(200), ["abcd"[k] for k in true]))
    assert all(f["low"] < f["value"] < f["high"] for name, f in figures.items() if name != "ECE")
    assert 0.05 < figures["macro-F1"]["high"] - figures["macro-F1"]["low"] < 0.25
    assert all(f["low"] is None for f in row(measure(head(SIX), pictures(6), TRUE)).values())


def test_pictures_of_other_clusters_are_left_out_and_others_stand_in_line():
    perfect = np.array([sure(k) for k in (3, 0, 0, 3, 1, 1, 2, 2)])
    p = [sure(3), *SIX[:2], sure(3), *SIX[2:]]
    task = measure(head(p), pictures(8), ["x", *"aa", "", *"bbcc"], beside={"perfect": perfect})
    assert (task["queries"], task["left_out"]) == (6, 2)
    alone = row(measure(head(SIX), pictures(6), TRUE))
    assert all(row(task)[column]["value"] == pytest.approx(figure["value"]) for column, figure in alone.items())
    assert row(task, "perfect")["macro-F1"] == {"value": 1.0, "low": None, "high": None, "n": 6, "best": True}
    assert measure(head(SIX), pictures(6), ["x"] * 6) == {
        "skipped": "No picture has a cluster that the head was shown pictures of."
    }


def test_clusters_come_worst_first_with_what_they_are_taken_for():
    table = measure(head(SIX), pictures(6), TRUE)["by_cluster"]
    assert [(r["name"], r["n"], r["taken_for"]) for r in table] == [
        ("a", 2, ("b", 1)),
        ("c", 2, ("d", 1)),
        ("b", 2, None),
    ]
    assert [r["figures"]["recall"]["value"] for r in table] == [0.5, 0.5, 1]
    assert [r["figures"]["F1"]["value"] for r in table] == pytest.approx([2 / 3, 2 / 3, 4 / 5])


def test_confusions_stand_in_the_order_of_the_graph():
    told = measure(head(SIX), pictures(6), TRUE)["confusion"]
    assert told["clusters"] == ["c", "d", "b", "a"]  # dyed before woven, and s1 before s2
    assert told["groups"]["super_group"] == ["dyed", "dyed", "woven", "woven"]
    assert told["matrix"] == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 2, 0], [0, 0, 1, 1]]


def test_what_is_answered_is_counted_by_level():
    unsure, group = [0.3, 0.2, 0.3, 0.2], [0.5, 0.45, 0.03, 0.02]
    checked = [(0.9, 1)] * 40  # from 0.9 on, all were right
    told = measure(head([sure(0, 0.95), sure(0, 0.95), group, group, unsure], 1.0, checked), pictures(5), list("abbca"))
    levels = {one["level"]: one for one in told["answers"]["levels"]}
    assert {name: one["share"]["value"] for name, one in levels.items()} == {
        "cluster": 0.4,
        "subgroup": 0.0,
        "parent_group": 0.4,
        "super_group": 0.0,
        "unsure": 0.2,
    }
    assert levels["cluster"]["right"]["value"] == 0.5  # the second is b
    assert levels["parent_group"]["right"]["value"] == 0.5  # c is in the south
    assert levels["unsure"]["right"] is None and levels["subgroup"]["right"] is None
    assert told["answers"]["right"]["value"] == 0.5
    assert told["answers"]["unlike"] == 0


@pytest.mark.parametrize("made", [logistic, nearest])
def test_others_learn_what_can_be_learned_and_keep_the_numbers_of_classes(made, noise):
    labels = np.repeat([0, 2], 20)
    rows = noise.normal(size=(40, 3)) + np.where(labels == 2, 3.0, -3.0)[:, None]
    p = made(rows, labels, 4)(np.array([[-3.0, -3, -3], [3, 3, 3]]))
    assert p.argmax(1).tolist() == [0, 2]
    assert (p[:, [1, 3]] == 0).all() and p.sum(1) == pytest.approx(1)
    alone = made(rows[[0, 39]], labels[[0, 39]], 4)(rows)  # one picture a class cannot be cross-validated
    assert alone.shape == (40, 4)


def test_the_number_of_neighbours_is_chosen_where_one_alone_errs(noise):
    angle = noise.uniform(0, 0.5, 200) + np.repeat([0, 1], 100)
    labels = np.repeat([0, 1], 100) ^ (noise.random(200) < 0.25)  # a quarter of them are wrong
    asked = noise.uniform(0, 0.5, 100) + np.repeat([0, 1], 50)
    guess = nearest(_turned(angle), labels, 2)(_turned(asked)).argmax(1)
    assert (guess == np.repeat([0, 1], 50)).mean() > 0.95


def _turned(angle: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def test_a_confusion_is_drawn_with_full_colour_where_all_go():
    told = measure(head(SIX), pictures(6), TRUE)["confusion"]
    drawn = np.array(confusion_picture(told))
    # Row b of the matrix goes to b alone: one cell of the fullest colour, its number apart.
    full = (drawn == FULL).all(2)
    assert 0.5 * CELL**2 < full.sum() < CELL**2
    wider = confusion_picture(told | {"clusters": ["a_very_long_name_of_a_cluster", *told["clusters"][1:]]})
    assert wider.width > drawn.shape[1] and wider.height > drawn.shape[0]
