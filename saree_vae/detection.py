"""How well strange pictures are told from usual ones: by our score, by each of its parts, and by what stands beside it.

The strange are the positive class. AUROC is the chance that a strange picture scores higher than a usual one; FPR at
95 % recall is the share of usual pictures that are called strange where 95 % of the strange ones are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import torch

from . import baselines, data
from .anomaly import AnomalyScorer
from .checkpoint import Run
from .data import DataSet, Item
from .encoding import BATCH, encode, shrunk, to_tensor
from .strangers import DAMAGES, damaged

RECALL = 0.95
FALSE = "FPR at 95 % recall"
OURS = "all parts"
DRAWS = 4  # of z a picture, for its reconstruction probability
NEIGHBOURS = 5
REFERENCE = 5000  # training pictures that baselines learn from, at most
FEW = 10  # fewer pictures than this get no interval
RESAMPLED = 1000

Method = Callable[[np.ndarray], Mapping[str, np.ndarray]]  # pictures (N, S, S, 3) -> scores (N,) by names of rows
Progress = Callable[[str, int, int], object]


def measured(
    run: Run,
    dataset: DataSet,
    strange: Sequence[Item] = (),
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict:
    """The task 'anomaly' of `evaluate`: test pictures against damaged copies of them, and against strange pictures.

    Args:
        strange: pictures of something else, such as no textiles at all.
    """
    progress = progress or (lambda what, done, total: None)
    scorer = AnomalyScorer.of(run, dataset, seed=seed, progress=progress)
    usual = pictures(run, dataset.of("test"))
    groups = {"something else": pictures(run, strange)} if strange else {}
    groups |= {kind: damaged(usual, kind, seed=seed) for kind in DAMAGES}
    methods = [ours(scorer), uncounted(run, dataset, seed), *beside(run, dataset, seed)]
    rows = compared(methods, usual, groups, seed=seed, progress=progress)
    return {
        "about": "Test pictures against strange ones, which are the positive class: "
        + ("pictures of something else, and " if strange else "")
        + "copies of the test pictures that something has happened to.",
        "queries": len(usual),
        "rows": rows,
        "notes": [
            "AUROC: higher is better, 0.5 is chance. FPR at 95 % recall: lower is better. The score learnt from "
            "made-up damages of like kinds, drawn otherwise and on training pictures; `benchmarks/anomaly.py` also "
            "measures each kind with a score that had not learnt from it.",
            *([] if strange else ["With --strange FOLDER also against pictures of something else."]),
            *scorer.notes,
        ],
    }


def compared(
    methods: Sequence[Method],
    usual: np.ndarray,
    groups: Mapping[str, np.ndarray],
    *,
    seed: int,
    progress: Progress,
) -> list[dict]:
    """A row for each group of strange pictures and each score, as `evaluate` tells them."""
    total = len(usual) + sum(map(len, groups.values()))
    done = 0

    def scored(images: np.ndarray) -> dict[str, np.ndarray]:
        nonlocal done
        parts = []
        for start in range(0, len(images), BATCH):
            some = images[start : start + BATCH]
            parts.append({name: score for method in methods for name, score in method(some).items()})
            done += len(some)
            progress("scoring", done, total)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    expected, rows = scored(usual), []
    for part, images in groups.items():
        for name, score in scored(images).items():
            found = figures(expected[name], score, seed=seed)
            rows.append({"part": part, "name": name, "ours": name.startswith(OURS), "figures": found})
    for part in groups:
        for figure, better in (("AUROC", max), (FALSE, min)):
            told = [row["figures"][figure] for row in rows if row["part"] == part]
            best = better(one["value"] for one in told)
            for one in told:
                one["best"] = one["value"] == best
    return rows


def figures(usual: np.ndarray, strange: np.ndarray, *, seed: int = 0) -> dict[str, dict]:
    """AUROC and FPR at 95 % recall of scores (N,) and (M,), with 95 % bootstrap intervals over both groups."""
    usual, strange = np.sort(usual), np.sort(strange)
    places = np.searchsorted(usual, strange, "left"), np.searchsorted(usual, strange, "right")
    auroc, false = _weighed(np.ones((1, len(usual))), np.ones((1, len(strange))), *places)
    told = {"AUROC": float(auroc[0]), FALSE: float(false[0])}
    random, ends = np.random.default_rng(seed), dict.fromkeys(told, (None, None))
    if min(len(usual), len(strange)) >= FEW:
        drawn = [random.multinomial(n, np.full(n, 1 / n), RESAMPLED) for n in (len(usual), len(strange))]
        for name, values in zip(told, _weighed(*drawn, *places), strict=True):
            ends[name] = tuple(map(float, np.quantile(values, (0.025, 0.975))))
    return {
        name: {"value": value, "low": ends[name][0], "high": ends[name][1], "n": len(strange)}
        for name, value in told.items()
    }


def _weighed(
    usual: np.ndarray, strange: np.ndarray, below: np.ndarray, upto: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both figures for each of R weightings (R, N) and (R, M) of scores in rising order, (R,).

    `below` and `upto` (M,): how many usual scores are lower than each strange one, and how many are no higher.
    """
    passed = np.concatenate([np.zeros((len(usual), 1)), usual.cumsum(1)], 1) / usual.sum(1, keepdims=True)
    weights = strange / strange.sum(1, keepdims=True)
    auroc = ((passed[:, below] + passed[:, upto]) / 2 * weights).sum(1)  # ties count half
    missed = weights.cumsum(1) <= 1 - RECALL + 1e-9
    first = np.minimum(missed.sum(1), strange.shape[1] - 1)  # the lowest strange score that must be found
    return auroc, 1 - passed[np.arange(len(usual)), below[first]]


# --- what is compared ---


def ours(scorer: AnomalyScorer, name: str = OURS, *, parts: bool = True) -> Method:
    """The score, and with `parts` each of its parts."""

    def score(images: np.ndarray) -> dict[str, np.ndarray]:
        found = scorer.score(images)
        alone = {f"  {part} alone": value for part, value in found.parts.items()} if parts else {}
        return {name: found.score} | alone

    return score


def uncounted(run: Run, dataset: DataSet, seed: int = 0) -> Method:
    """What is usual to ask a VAE, and was measured, and does not count in our score as it told too little."""
    known = encode(run, pictures(run, _some(dataset, seed))).mu
    mean, inverse = known.mean(0), np.linalg.pinv(np.cov(known.T) + 1e-6 * np.eye(known.shape[1]))
    model, density = run.model, run.config.model.posterior not in ("point", "vq")

    @torch.inference_mode()
    def score(images: np.ndarray) -> dict[str, np.ndarray]:
        away = encode(run, images).mu - mean
        x, noise = to_tensor(images, run.device, run.config.model.channels), torch.Generator(run.device)
        seen, noise = model.look(x), noise.manual_seed(seed)
        drawn = [model.sampled(seen, model.noise(len(x), noise)).elbo(x) for _ in range(DRAWS if density else 1)]
        found = {
            "Mahalanobis distance of mu": np.einsum("nd,de,ne->n", away, inverse, away),
            "reconstruction probability": -np.mean([one.recon.cpu().numpy() for one in drawn], 0),
        }
        if density:  # without, there is no bound on the likelihood
            elbo = np.mean([one.value.cpu().numpy() for one in drawn], 0)
            found |= {"ELBO": -elbo, "ELBO, less complexity": -elbo - complexity(images)}
        return found

    return score


def complexity(images: np.ndarray) -> np.ndarray:
    """Nats of a lossless PNG of each picture, (N,) (Serra et al. 2020, arXiv:1909.11480)."""
    return np.array([8 * np.log(2) * len(cv2.imencode(".png", image)[1]) for image in images])


def beside(run: Run, dataset: DataSet, seed: int = 0) -> list[Method]:
    """Colour and LBP by their nearest neighbours, and an Isolation Forest on our latents."""
    from sklearn.ensemble import IsolationForest

    known = pictures(run, _some(dataset, seed))
    described, forest = baselines.both(known), IsolationForest(random_state=seed).fit(encode(run, known).embedding())

    def score(images: np.ndarray) -> dict[str, np.ndarray]:
        like = np.sort(baselines.both(images) @ described.T, 1)[:, -NEIGHBOURS:].mean(1)
        return {
            "colour histogram and LBP, kNN": -like,
            "Isolation Forest on our latents": -forest.score_samples(encode(run, images).embedding()),
        }

    return [score]


def pictures(run: Run, items: Sequence[Item]) -> np.ndarray:
    """What can be read of items, (N, S, S, 3) uint8, as the model sees it."""
    return shrunk(data.load(items, run.read_size).images, run.config.model.image_size)


def _some(dataset: DataSet, seed: int) -> list[Item]:
    train = dataset.of("train")
    chosen = np.random.default_rng(seed).permutation(len(train))[:REFERENCE]
    return [train[i] for i in chosen]
