"""How strange a picture is to a run, and where. Higher is stranger, everywhere.

    scorer = AnomalyScorer.fit(run, dataset)         # train: what is usual; val: how strange is too strange
    found = scorer.score(pictures)                   # found.score, found.reasons
    found.score > scorer.limit()                     # of usual pictures, 5 % are
    scorer.heat_maps(pictures)                       # where

Three parts look at the picture, each in its own unit; on val each is brought to a common one, and the score is their
sum, in which the last counts twice. What the decoder thinks of it does not count: that a picture is improbable, or
drawn badly, says next to nothing of whether it shows a cloth (Nalisnick et al. 2019), as `evaluate --task anomaly`
measures beside the score.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import data
from .checkpoint import Run, load_tensors, save_tensors
from .data import Bad, DataSet, Item
from .encoding import BATCH, shrunk
from .errors import SareeError
from .judge import Judge, Look, learn, look
from .strangers import KINDS, made_up

PARTS = {  # and what each says in words
    "far": "far from every picture it was shown",
    "plain": "plainer than nearly all of them",
    "damaged": "like a damaged picture, or one of something else",
}
WEIGHTS = np.float32([1, 1, 2])  # of the parts; chosen on val, as is MADE_UP: the last tells most
EXCUSE = -1.0  # no part speaks for a picture by more: noise is anything but plain, which excuses nothing
FALSE_ALARMS = 0.05  # share of usual pictures that may be called strange, if nothing else is asked
FEWEST = 10  # training pictures, below which nothing can be said of what is usual
KNOWN = 4000  # training pictures that are looked at, at most: with their strangers 900 MB
MADE_UP = 2  # strangers for each of them
NEIGHBOURS = 5
SHARE = 0.84  # of val; from the middle to there is one standard deviation of a normal
SCENES = 0.5  # of the strangers that are made up; the others are cloths that something has happened to
HOT = 0.999  # of the cells of usual pictures, the share that is colder than the top of the scale
FILE, FORMAT = "anomaly.safetensors", 3  # change the number with what is learnt or kept

Progress = Callable[[str, int, int], object]


@dataclass(frozen=True)
class Strangeness:
    """How strange N pictures are.

    keys: the pictures' keys, N of them.
    score: (N,) the sum of all parts by WEIGHTS, none of them lower than EXCUSE; comparable within one scorer.
    beyond: (N,) the share of the calibration pictures that are less strange.
    parts: by the names of PARTS, (N,) each, in standard deviations of usual pictures from their middle.
    reasons: for each picture the parts in which it is stranger than 95 % of the calibration pictures, strongest first.
    """

    keys: tuple[str, ...]
    score: np.ndarray
    beyond: np.ndarray
    parts: dict[str, np.ndarray]
    reasons: tuple[tuple[str, ...], ...]

    def words(self, number: int) -> str:
        """Why a picture is strange, for people; nothing where no part says so."""
        return "; ".join(PARTS[name] for name in self.reasons[number])


class AnomalyScorer:
    """Made by `fit`, `of` or `load`; see the module.

    Attributes:
        run: whose encoder looks.
        calibrated_on: how many usual pictures the threshold was set on.
        notes: what a reader must know of the calibration, in sentences; often none.
    """

    def __init__(self, run: Run, state: dict[str, np.ndarray], judge: Judge, about: dict):
        self.run, self._state, self._judge, self._about = run, state, judge, about
        self.notes: tuple[str, ...] = tuple(about["notes"])

    @property
    def calibrated_on(self) -> int:
        return len(self._state["usual"])

    @property
    def tells_where(self) -> bool:
        """Whether there are heat maps; a fully connected encoder keeps no maps."""
        return bool(self._judge.stages)

    @staticmethod
    def fit(
        run: Run,
        dataset: DataSet,
        *,
        seed: int = 0,
        kinds: Sequence[str] = tuple(KINDS),
        progress: Progress | None = None,
    ) -> AnomalyScorer:
        """Learn from the train split what is usual, and from val how strange is strange; variants are no such pictures.

        Args:
            kinds: of strangers that are made up to learn from.

        Raises:
            SareeError: fewer than FEWEST training pictures, or damaged weights.
        """
        progress = progress or (lambda what, done, total: None)
        known, held, notes = _sides(dataset, seed)
        images = _pictures(run, known, progress)
        if len(images) < FEWEST:
            raise SareeError(
                f"{dataset.root}: {FEWEST} pictures of a train split are needed to tell what is usual; "
                f"{len(images)} can be read"
            )
        checked = _pictures(run, held, progress)
        if not len(checked):
            raise SareeError(f"{dataset.root}: none of the pictures that a threshold could be set on can be read")
        usual = _seen(run, images, progress)
        strange, where = _strangers(run, images, kinds, seed, progress)
        judge = learn(usual, strange, where, seed=seed, progress=progress)
        about = {"format": FORMAT, "notes": notes, "model": run.fingerprint, "data": dataset.digest(), "seed": seed}
        scorer = AnomalyScorer(run, _whitened(usual.embedding), judge, about)
        scorer._calibrate(checked)
        return scorer

    @staticmethod
    def of(run: Run, dataset: DataSet, *, seed: int = 0, progress: Progress | None = None) -> AnomalyScorer:
        """As `fit`, but kept in the run folder, and read from there if model, data and seed are still the same."""
        path = run.path / FILE
        if path.is_file():
            try:
                kept = AnomalyScorer.load(path, run)
                if (kept._about["data"], kept._about["seed"]) == (dataset.digest(), seed):
                    return kept
            except SareeError:
                pass  # of another model, or damaged: made anew
        scorer = AnomalyScorer.fit(run, dataset, seed=seed, progress=progress)
        with suppress(SareeError):  # a run folder that may only be read still tells what is strange
            scorer.save(path)
        return scorer

    def save(self, path: str | Path) -> None:
        """Write what was learnt into one safetensors file, atomically; the model is not in it."""
        tensors = {f"state.{name}": torch.from_numpy(np.ascontiguousarray(part)) for name, part in self._state.items()}
        tensors |= {f"judge.{name}": part for name, part in self._judge.state_dict().items()}
        save_tensors(Path(path), tensors, {"about": json.dumps(self._about)})

    @staticmethod
    def load(path: str | Path, run: Run) -> AnomalyScorer:
        """Read what `save` wrote.

        Raises:
            SareeError: no such file, or one that belongs to another model or version.
        """
        tensors, metadata = load_tensors(Path(path))
        about = json.loads(metadata.get("about", "{}"))
        if about.get("format") != FORMAT:
            raise SareeError(f"{path}: was not written by this version of saree-vae; fit it again")
        if about.get("model") != run.fingerprint:
            raise SareeError(f"{path}: was fitted with another model than {run.path}; fit it again")
        weights = _below(tensors, "judge")
        judge = Judge(len(weights["numbers.mean"]), len(weights["cells.mean"]))
        judge.load_state_dict(weights)
        state = {name: part.numpy() for name, part in _below(tensors, "state").items()}
        return AnomalyScorer(run, state, judge.eval(), about)

    def score(self, images: np.ndarray, keys: Sequence[str] | None = None) -> Strangeness:
        """How strange pictures are; see `Strangeness`.

        Args:
            images: (N, M, M, 3) uint8, as for `encoding.encode`.
            keys: names of the pictures; "0", "1", ... if not given.

        Raises:
            SareeError: pictures of another size.
        """
        parts = [self._parts(one)[0] for one in _looks(self.run, images)]
        keys = tuple(map(str, range(len(images)))) if keys is None else tuple(keys)
        return self._told(keys, np.concatenate(parts))

    def limit(self, false_alarms: float = FALSE_ALARMS) -> float:
        """A score that at most this share of usual pictures exceeds (split conformal, Vovk et al. 2005).

        With too few calibration pictures to promise it, the highest of theirs: see `promised`.
        """
        usual = np.sort(_sum(self._state["usual"]))
        rank = int(np.ceil((len(usual) + 1) * (1 - false_alarms)))
        return float(usual[min(rank, len(usual)) - 1])

    def promised(self, false_alarms: float = FALSE_ALARMS) -> float:
        """The share of usual pictures that exceeds the limit at most: what was asked, or more with few pictures."""
        return max(false_alarms, 1 / (self.calibrated_on + 1))

    def heat_maps(self, images: np.ndarray) -> np.ndarray:
        """Where pictures are strange, (N, G, G) in [0, 1]: 0 up to the middle of usual ones, 1 hotter than most.

        Raises:
            SareeError: the encoder keeps no maps.
        """
        if not self.tells_where:
            raise SareeError(
                f"{self.run.path}: its encoder keeps no maps, so it cannot tell where a picture is strange"
            )
        low, high = self._state["heat"]
        heat = np.concatenate([self._parts(one)[1] for one in _looks(self.run, images)])
        return ((heat - low) / max(high - low, 1e-6)).clip(0, 1)

    def _calibrate(self, images: np.ndarray) -> None:
        parts, heat = map(np.concatenate, zip(*map(self._parts, _looks(self.run, images)), strict=True))
        middle = np.median(parts, 0)
        self._state["middle"] = middle
        self._state["spread"] = np.maximum(np.quantile(parts, SHARE, axis=0) - middle, 1e-6)
        self._state["usual"] = (parts - middle) / self._state["spread"]
        self._state["heat"] = np.quantile(heat, (0.5, HOT))
        self._state = {name: np.float32(part) for name, part in self._state.items()}  # as it is saved

    def _parts(self, seen: Look) -> tuple[np.ndarray, np.ndarray]:
        """Each part in its own unit, (B, P) in the order of PARTS; and how strange each cell is, (B, G, G)."""
        far = _distance((seen.embedding - self._state["far.mean"]) @ self._state["far.way"], self._state["far.known"])
        with torch.inference_mode():
            damaged, heat = self._judge(seen.numbers, seen.maps)
        return np.stack([far, -seen.size, damaged.numpy()], 1), heat.float().numpy()

    def _told(self, keys: tuple[str, ...], raw: np.ndarray) -> Strangeness:
        parts, usual = (raw - self._state["middle"]) / self._state["spread"], self._state["usual"]
        score, names = _sum(parts), list(PARTS)
        beyond = np.searchsorted(np.sort(_sum(usual)), score) / len(usual)
        high = parts > np.quantile(usual, 1 - FALSE_ALARMS, axis=0)
        order = np.argsort(-parts, axis=1)
        reasons = tuple(
            tuple(names[part] for part in ranked if row[part]) for ranked, row in zip(order, high, strict=True)
        )
        return Strangeness(keys, score, beyond, dict(zip(names, parts.T, strict=True)), reasons)


def outliers(
    run: Run, dataset: DataSet, *, seed: int = 0, progress: Progress | None = None
) -> tuple[Strangeness, AnomalyScorer, tuple[Bad, ...]]:
    """A data set's own pictures, each judged by a scorer that did not learn from it, and one of the two scorers.

    Each of two scorers learns from every other training picture. (The model itself has seen them all, so what is told
    of training pictures is told with a milder eye than of others.)
    """
    progress = progress or (lambda what, done, total: None)
    dataset = replace(dataset, items=tuple(item for item in dataset.items if item.made_from is None))
    known = [item.key for item in dataset.of("train")]
    sides = [frozenset(known[start::2]) for start in (0, 1)]  # what the first learns from, the second judges
    scorers = [
        AnomalyScorer.fit(run, _without(dataset, sides[1 - side]), seed=seed, progress=progress) for side in (0, 1)
    ]
    bad: list[Bad] = []
    found: list[Strangeness] = []
    done = 0
    for items, images in data.batches(dataset.items, run.read_size, BATCH, bad=bad):
        for side, scorer in enumerate(scorers):
            mine = [i for i, item in enumerate(items) if (item.key in sides[0]) == (side == 1)]
            if mine:
                found.append(scorer.score(images[mine], [items[i].key for i in mine]))
        done += len(items)
        progress("judging", done, len(dataset.items))
    return joined(found), scorers[0], tuple(bad)


def joined(parts: Sequence[Strangeness]) -> Strangeness:
    """Pictures of several, strangest first."""
    score = np.concatenate([part.score for part in parts])
    order = np.argsort(-score, kind="stable")
    keys = [key for part in parts for key in part.keys]
    reasons = [reason for part in parts for reason in part.reasons]
    return Strangeness(
        tuple(keys[i] for i in order),
        score[order],
        np.concatenate([part.beyond for part in parts])[order],
        {name: np.concatenate([part.parts[name] for part in parts])[order] for name in parts[0].parts},
        tuple(reasons[i] for i in order),
    )


def _sum(parts: np.ndarray) -> np.ndarray:
    """The score (N,) of parts (N, P)."""
    return np.maximum(parts, EXCUSE) @ WEIGHTS


# --- looking ---


def _looks(run: Run, images: np.ndarray) -> Iterator[Look]:
    return (look(run, images[start : start + BATCH]) for start in range(0, len(images), BATCH))


def _pictures(run: Run, items: Sequence[Item], progress: Progress) -> np.ndarray:
    """What can be read of items, (N, S, S, 3) uint8, as the model sees it."""
    size, kept, bad = run.config.model.image_size, [], []
    for _, images in data.batches(items, run.read_size, BATCH, bad=bad):
        kept.append(shrunk(images, size))
        progress("reading", sum(map(len, kept)), len(items))
    return np.concatenate(kept) if kept else np.empty((0, size, size, 3), np.uint8)


def _sides(dataset: DataSet, seed: int) -> tuple[list[Item], list[Item], list[str]]:
    """What is learnt from, what the threshold is set on, and what is to be said of that."""
    random = np.random.default_rng(seed)
    train = [item for item in dataset.of("train") if item.made_from is None]
    train = [train[i] for i in np.sort(random.permutation(len(train))[:KNOWN])]
    held = list(dataset.of("val"))
    if held:
        return train, held, []
    chosen = set(random.permutation(len(train))[: len(train) // 5].tolist())
    held = [item for i, item in enumerate(train) if i in chosen]
    note = (
        f"There is no val split: the threshold is set on {len(held)} training pictures, which look more familiar than "
        "new ones do, so more usual pictures are called strange than is said."
    )
    return [item for i, item in enumerate(train) if i not in chosen], held, [note]


def _without(dataset: DataSet, keys: frozenset[str]) -> DataSet:
    return replace(dataset, items=tuple(item for item in dataset.items if item.key not in keys))


# --- learning ---


def _seen(run: Run, images: np.ndarray, progress: Progress) -> Look:
    looks: list[Look] = []
    for one in _looks(run, images):
        looks.append(one)
        progress("looking at what is usual", sum(len(part.size) for part in looks), len(images))
    return Look.join(looks)


def _strangers(
    run: Run, images: np.ndarray, kinds: Sequence[str], seed: int, progress: Progress
) -> tuple[Look, Tensor]:
    """MADE_UP strangers for each picture (N, S, S, 3), as they are seen; and where they are strange, (M, G, G)."""
    random = np.random.default_rng([seed, 2])
    damages = [kind for kind in kinds if kind != "scene"]
    looks: list[Look] = []
    places: list[Tensor] = []
    total = MADE_UP * len(images)
    for start in range(0, total, BATCH):
        made = []
        for _ in range(start, min(start + BATCH, total)):
            kind = "scene" if "scene" in kinds and random.random() < SCENES else random.choice(damages)
            made.append(made_up(images, random, kind))
        pictures, where = zip(*made, strict=True)
        looks.append(look(run, np.stack(pictures)))
        places.append(F.adaptive_avg_pool2d(torch.from_numpy(np.float32(where)), looks[-1].maps.shape[-1]))
        progress("making up strangers", start + len(made), total)
    return Look.join(looks), torch.cat(places)


def _whitened(rows: np.ndarray) -> dict[str, np.ndarray]:
    """The known pictures (N, D) in directions that vary alike, so that a distance there is a Mahalanobis distance."""
    mean = rows.mean(0)
    _, lengths, ways = np.linalg.svd(rows - mean, full_matrices=False)
    kept = lengths > 1e-3 * lengths[0]  # halves of length one vary in one direction less than they have
    way = ways[kept].T / np.maximum(lengths[kept] / np.sqrt(len(rows)), 1e-12)
    return {"far.mean": mean, "far.way": way, "far.known": (rows - mean) @ way}


def _distance(rows: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mean distance of rows (B, D) to their nearest known ones, (B,)."""
    count = min(NEIGHBOURS, len(known))
    square = np.square(rows).sum(1)[:, None] + np.square(known).sum(1) - 2 * rows @ known.T
    return np.sqrt(np.partition(square, count - 1, axis=1)[:, :count].clip(0)).mean(1)


def _below(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Those whose names begin with `name`, without it."""
    return {key.removeprefix(f"{name}."): part for key, part in tensors.items() if key.startswith(f"{name}.")}
