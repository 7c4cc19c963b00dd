"""Measuring a head on pictures whose cluster is known: how often it is right, how sure it is, what it mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from saree_vae.latents import Latents
from saree_vae.metrics import bootstrap_interval

from .head import LEVELS, RISK, Head, embedded
from .schema import GROUP_LEVELS

HEAD = "head"
BINS = 15  # of confidence, equally wide (Guo et al. 2017, arXiv:1706.04599)
COVERED = 0.8  # share of pictures, the surest, that "accuracy at 80 %" is of
DRAWS = 1000  # of the bootstrap, as in `metrics`
FEW = 10  # fewer pictures than this get no interval
FOLDS = 5
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # C of the logistic regression; on textiles the best lies inside
NEIGHBOURS, WARMTH = (1, 3, 5, 10, 20), 0.1
LOWER_IS_BETTER = "ECE"

Classify = Callable[[np.ndarray], np.ndarray]  # rows (N, D) -> probabilities (N, S)


def measure(
    head: Head,
    latents: Latents,
    clusters: Sequence[str],
    *,
    beside: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
) -> dict:
    """Figures of a head on pictures that it was not fitted on, as a task of `evaluate` is told.

    Macro-F1 is the mean over the clusters that the pictures have, each counting alike; of the clusters that were shown
    to the head, all can be answered. ECE is the expected calibration error of the likeliest cluster, from 0 to 1.
    Beside the head stand itself without its temperature, and logistic regression and nearest neighbours on the same
    latents and the same labelled pictures (`logistic`, `nearest`).

    Args:
        latents: of N pictures, one or more rows each, in the order of `Latents.starts`.
        clusters: the N true ids; pictures of a cluster that the head was shown no picture of are left out and counted.
        beside: other answers to the same question by name, probabilities (N, S) in the order of `head.shown`.
        seed: of the bootstrap, and of the folds by which C and k are chosen.

    Returns:
        {"about", "queries", "left_out", "rows", "notes"}, and of the head alone "by_cluster" (worst first), "confusion"
        (as `confusion_picture` takes it) and "answers" (what it says at the risk `RISK`); or {"skipped": why}.
    """
    number = {name: at for at, name in enumerate(head.shown)}
    true = np.array([number.get(name, -1) for name in clusters], dtype=int)
    asked = np.flatnonzero(true >= 0)
    if not len(asked):
        return {"skipped": "No picture has a cluster that the head was shown pictures of."}
    chosen, true = latents.of(asked), true[asked]
    found = _answers(head, chosen, seed) | {name: p[asked] for name, p in (beside or {}).items()}
    draws = np.random.default_rng(seed).integers(0, len(true), (DRAWS, len(true)))
    parents = head.knowledge.groups["parent_group"][: len(number)]
    rows = [
        {"part": "", "name": name, "ours": name == HEAD, "figures": _figures(p, true, parents, draws, seed)}
        for name, p in found.items()
    ]
    guess = found[HEAD].argmax(1)
    left_out = len(clusters) - len(asked)
    return {
        "about": "Each test picture is named one of the clusters that the head was shown pictures of.",
        "queries": len(asked),
        "left_out": left_out,
        "rows": _best_marked(rows),
        "notes": [
            f"{left_out} pictures have no cluster, or one that the head was shown no picture of; they are not asked.",
            f"ECE by {BINS} bins; it has no interval, as bootstrap samples are noisier and so less calibrated than the "
            "pictures are.",
            "C of the logistic regression and k of the neighbours are chosen by cross-validation on the pictures that "
            "the head was fitted on.",
        ],
        "by_cluster": _by_cluster(head.shown, true, guess, draws, seed),
        "confusion": _confusion(head, true, guess),
        "answers": _told(head, chosen, true, seed),
    }


def logistic(rows: np.ndarray, labels: np.ndarray, count: int, *, seed: int = 0) -> Classify:
    """Logistic regression on standardised rows (P, D) of classes 0 to `count` - 1; C, and whether classes count alike
    in its loss, have the best macro-F1 in cross-validation."""
    made = [
        lambda c=c, weight=weight: make_pipeline(
            StandardScaler(), LogisticRegression(C=c, class_weight=weight, max_iter=2000)
        )
        for c in STRENGTHS
        for weight in (None, "balanced")
    ]
    return _chosen(made, rows, labels, count, seed)


def nearest(rows: np.ndarray, labels: np.ndarray, count: int, *, seed: int = 0) -> Classify:
    """As `logistic`: the k nearest by cosine vote with exp((cosine - 1) / WARMTH); k is chosen as C is.

    Votes by inverse distance, which scikit-learn offers, had a macro-F1 lower by 0.01 on textiles, equal ones by 0.03.
    """
    fit = [k for k in NEIGHBOURS if k <= max(1, len(rows) // 2)]  # a fold's rest has as many
    made = [lambda k=k: KNeighborsClassifier(k, metric="cosine", weights=_vote) for k in fit]
    return _chosen(made, rows, labels, count, seed)


def macro_f1(true: np.ndarray, guess: np.ndarray, count: int) -> float:
    """Mean F1, 0 to 1, of the classes that are true of any of N pictures; `true` and `guess` are (N,) numbers below
    `count`."""
    return float(np.nanmean(_f1(true, guess, count)))


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error: mean gap of confidence and accuracy over BINS bins, each by its share of pictures.

    Args:
        confidence: (N,) probability of the likeliest, 0 to 1; right: (N,) whether it was true.
    """
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return float(np.abs(np.bincount(bins, weights=right - confidence, minlength=BINS)).sum() / len(bins))


# --- who answers ---


def _answers(head: Head, latents: Latents, seed: int) -> dict[str, np.ndarray]:
    """Probabilities (N, S) by name."""
    rows, count = embedded(latents), len(head.shown)
    return {
        HEAD: np.exp(head.log_probabilities(latents)),
        "head before calibration": np.exp(replace(head, temperature=1.0).log_probabilities(latents)),
        "logistic regression": logistic(head.pieces, head.owners, count, seed=seed)(rows),
        "nearest neighbours": nearest(head.pieces, head.owners, count, seed=seed)(rows),
    }


def _chosen(made: Sequence[Callable], rows: np.ndarray, labels: np.ndarray, count: int, seed: int) -> Classify:
    """The model with the best macro-F1 in cross-validation, fitted on all rows; the first where they are alike."""
    folds = _folds(labels, seed)
    best = made[0]
    if all(len(np.unique(labels[folds != fold])) > 1 for fold in range(FOLDS)):
        best = max(made, key=lambda make: macro_f1(labels, _cross_validated(make, rows, labels, folds), count))
    model = best().fit(rows, labels)

    def classify(asked: np.ndarray) -> np.ndarray:
        p = np.zeros((len(asked), count))
        p[:, model.classes_] = model.predict_proba(asked)
        return p

    return classify


def _vote(distance: np.ndarray) -> np.ndarray:
    return np.exp(-distance / WARMTH)


def _folds(labels: np.ndarray, seed: int) -> np.ndarray:
    """A fold of FOLDS for each label, (P,), every class spread over them evenly."""
    fold, order = np.empty(len(labels), dtype=int), np.random.default_rng(seed).permutation(len(labels))
    fold[order[np.argsort(labels[order], kind="stable")]] = np.arange(len(labels)) % FOLDS
    return fold


def _cross_validated(make: Callable, rows: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    guess = np.empty_like(labels)
    for fold in np.unique(folds):
        out = folds == fold
        guess[out] = make().fit(rows[~out], labels[~out]).predict(rows[out])
    return guess


# --- figures ---


def _figures(p: np.ndarray, true: np.ndarray, parents: Sequence[str], draws: np.ndarray, seed: int) -> dict[str, dict]:
    guess, confidence = p.argmax(1), p.max(1)
    right = (guess == true).astype(float)
    group, group_guess = _grouped(p, parents)
    surest = np.argsort(-confidence, kind="stable")[: max(1, round(COVERED * len(p)))]
    f1 = [macro_f1(true[at], guess[at], p.shape[1]) for at in draws]
    return {
        "macro-F1": _interval(macro_f1(true, guess, p.shape[1]), f1, len(p)),
        "accuracy": _mean(right, seed),
        "parent group": _mean((group_guess == group[true]).astype(float), seed),
        f"accuracy at {COVERED:.0%}".replace("%", " %"): _mean(right[surest], seed),
        "ECE": {"value": calibration_error(confidence, right), "low": None, "high": None, "n": len(p)},
    }


def _grouped(p: np.ndarray, groups: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Groups as numbers: that of each cluster (S,), and the likeliest of each row (N,)."""
    names, number = np.unique(np.array(groups, dtype=str), return_inverse=True)
    return number, (p @ np.eye(len(names))[number]).argmax(1)


def _f1(true: np.ndarray, guess: np.ndarray, count: int) -> np.ndarray:
    """F1 of each class (S,), nan for one that is true of no picture."""
    both = np.bincount(true[true == guess], minlength=count)
    asked, told = np.bincount(true, minlength=count), np.bincount(guess, minlength=count)
    return np.divide(2 * both, asked + told, out=np.full(count, np.nan), where=asked > 0)


def _mean(values: np.ndarray, seed: int) -> dict:
    low, high = bootstrap_interval(values, seed=seed) if len(values) >= FEW else (None, None)
    return {"value": float(np.mean(values)), "low": low, "high": high, "n": len(values)}


def _interval(value: float, drawn: Sequence[float], count: int) -> dict:
    """A figure with the middle 95 % of what bootstrap samples gave."""
    low, high = map(float, np.nanquantile(drawn, [0.025, 0.975])) if count >= FEW else (None, None)
    return {"value": float(value), "low": low, "high": high, "n": count}


def _best_marked(rows: list[dict]) -> list[dict]:
    """The same rows, with "best" on the highest figure of each column."""
    for column in set(rows[0]["figures"]) - {LOWER_IS_BETTER}:
        highest = max(row["figures"][column]["value"] for row in rows)
        for row in rows:
            row["figures"][column]["best"] = row["figures"][column]["value"] == highest > 0
    return rows


# --- of the head alone ---


def _by_cluster(shown: Sequence[str], true: np.ndarray, guess: np.ndarray, draws: np.ndarray, seed: int) -> list[dict]:
    """F1 and recall of each cluster, worst first, and the cluster that it is most often taken for."""
    f1, drawn = _f1(true, guess, len(shown)), np.stack([_f1(true[at], guess[at], len(shown)) for at in draws])
    table = []
    for at in np.unique(true):
        told = guess[true == at]
        wrong = Counter(shown[k] for k in told if k != at)
        figures = {"F1": _interval(f1[at], drawn[:, at], len(told)), "recall": _mean((told == at).astype(float), seed)}
        taken_for = wrong.most_common(1)[0] if wrong else None
        table.append({"name": shown[at], "n": len(told), "figures": figures, "taken_for": taken_for})
    return sorted(table, key=lambda row: (row["figures"]["F1"]["value"], row["name"]))


def _confusion(head: Head, true: np.ndarray, guess: np.ndarray) -> dict:
    """Counts of pictures, true clusters in rows, those of one group beside each other."""
    groups = head.knowledge.groups

    def place(at: int) -> tuple[str, ...]:
        return (*(groups[level][at] for level in reversed(GROUP_LEVELS)), head.shown[at])

    order = sorted(np.union1d(true, guess).tolist(), key=place)
    matrix = np.zeros((len(head.shown),) * 2, dtype=int)
    np.add.at(matrix, (true, guess), 1)
    return {
        "clusters": [head.shown[at] for at in order],
        "groups": {level: [groups[level][at] for at in order] for level in GROUP_LEVELS},
        "matrix": matrix[np.ix_(order, order)].tolist(),
    }


def _told(head: Head, latents: Latents, true: np.ndarray, seed: int) -> dict:
    """At each level, the share of pictures that is answered there, and how often that is right."""
    predictions = head.predict(latents, risk=RISK)
    names = {"cluster": head.shown} | head.knowledge.groups
    right = np.array(
        [p.level is not None and p.answer == names[p.level][at] for p, at in zip(predictions, true, strict=True)]
    )
    level = np.array([p.level or "unsure" for p in predictions])
    table = [
        {
            "level": name,
            "share": _mean((level == name).astype(float), seed),
            "right": _mean(right[level == name].astype(float), seed) if (level == name).any() else None,
        }
        for name in LEVELS
    ]
    answered = level != "unsure"
    table.append({"level": "unsure", "share": _mean((~answered).astype(float), seed), "right": None})
    every = _mean(right[answered].astype(float), seed) if answered.any() else None
    return {"risk": RISK, "levels": table, "right": every, "unlike": float(np.mean([p.unlike for p in predictions]))}


# --- the picture ---

PAPER, INK, SOFT = (252, 251, 248), (38, 35, 31), (110, 104, 96)
GROUND, FULL = (246, 243, 236), (122, 24, 40)  # of cells: none, all of a cluster's pictures
CELL, LETTER, MARGIN = 30, 15, 24


def confusion_picture(confusion: dict) -> Image.Image:
    """`measure`'s confusion as a heat map: true clusters down, answers across, numbers of pictures in the cells.

    Cells are coloured by their share of the row. Lines part the groups of the graph, thick ones super groups and thin
    ones parent groups, whose names stand at the right.
    """
    names, counts = confusion["clusters"], np.array(confusion["matrix"])
    outer, inner = (_spans(confusion["groups"][level]) for level in ("super_group", "parent_group"))
    font = ImageFont.load_default(LETTER)
    longest = round(max(font.getlength(name) for name in names))
    beyond = round(max(font.getlength(name) for name, *_ in inner + outer))
    left, top, side = MARGIN + longest + 10, MARGIN + 2 * LETTER + longest + 10, CELL * len(names)
    picture = Image.new("RGB", (left + side + 24 + beyond + MARGIN, top + side + MARGIN), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN, MARGIN), "down: what it is; across: what it was taken for", font=font, fill=SOFT)
    for row, name in enumerate(names):
        middle = top + CELL * row + CELL // 2
        draw.text((left - 10, middle), name, font=font, fill=INK, anchor="rm")
        _upright(picture, name, (left + CELL * row + CELL // 2, top - 10), font)
        for column, count in enumerate(counts[row]):
            _cell(draw, (left + CELL * column, top + CELL * row), int(count), count / max(1, counts[row].sum()))
    for spans, width in ((inner, 1), (outer, 3)):
        for _, start, end in spans:
            for at in (CELL * start, CELL * end):
                draw.line((left + at, top, left + at, top + side), fill=INK, width=width)
                draw.line((left, top + at, left + side, top + at), fill=INK, width=width)
    for name, start, end in inner:
        x, y = left + side + 10, top + CELL * start
        draw.line((x, y + 5, x, top + CELL * end - 5), fill=SOFT, width=2)
        draw.text((x + 10, (y + top + CELL * end) // 2), name, font=font, fill=SOFT, anchor="lm")
    return picture


def _spans(groups: Sequence[str]) -> list[tuple[str, int, int]]:
    """Runs of one group: its name, where it starts and where it ends."""
    starts = [at for at, name in enumerate(groups) if not at or groups[at - 1] != name]
    return [(groups[a], a, b) for a, b in zip(starts, [*starts[1:], len(groups)], strict=True)]


def _cell(draw: ImageDraw.ImageDraw, at: tuple[int, int], count: int, share: float) -> None:
    depth = np.sqrt(share)  # so that one picture of twenty is seen
    colour = tuple(round(a + depth * (b - a)) for a, b in zip(GROUND, FULL, strict=True))
    draw.rectangle((*at, at[0] + CELL - 1, at[1] + CELL - 1), fill=colour, outline=PAPER)
    if count:
        middle = at[0] + CELL // 2, at[1] + CELL // 2
        font = ImageFont.load_default(LETTER - 2)
        draw.text(middle, str(count), font=font, fill=PAPER if depth > 0.5 else INK, anchor="mm")


def _upright(picture: Image.Image, text: str, foot: tuple[int, int], font: ImageFont.ImageFont) -> None:
    """Text that runs upwards from the middle of its foot."""
    width = round(font.getlength(text)) + 2
    label = Image.new("RGB", (width, LETTER + 5), PAPER)
    ImageDraw.Draw(label).text((0, (LETTER + 5) // 2), text, font=font, fill=INK, anchor="lm")
    turned = label.transpose(Image.Transpose.ROTATE_90)
    picture.paste(turned, (foot[0] - turned.width // 2, foot[1] - turned.height))
