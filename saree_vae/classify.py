"""What variants are worth: classifiers that learn from few pictures of a class, with and without them.

    results = measure(run, dataset)       as a task of `evaluate`

A small convolutional network is trained from scratch, and a linear probe on the run's embeddings, on 5, 10 and 20
pictures a class: on these alone; with the usual changes of albumentations; with variants; and with both. A cell, one
choice of pictures, trains all four from the same start for the same number of steps. The few pictures are the only ones
whose cluster is told to anybody; variants may take colours from all training pictures, as the run was trained on all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from functools import cache, cached_property

import albumentations as A
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .checkpoint import Run
from .data import DataSet, batches
from .encoding import encode, to_tensor
from .images import square
from .variants import Known, Maker

SIZES, SEEDS, CLASSES = (5, 10, 20), 5, 10  # pictures of a class, choices of them, classes at most
PER_IMAGE = 8  # variants of a picture; and for the probe, which learns once, changed copies
ARMS = ("none", "albumentations", "variants", "both")
GAIN = "both less albumentations"
STARTS = 2  # networks of each arm, whose mean counts: where one begins is luck
SIDE = 64  # of the pictures that the network looks at, in pixels
STEPS, BATCH = 300, 32  # of 50 pictures 192 rounds; a quarter of a minute of one CPU core
RATE, DECAY, SMOOTHING = 2e-3, 0.05, 0.1  # the highest learning rate of the cycle, weight decay, label smoothing
WIDTHS = (16, 32, 64, 128)  # channels, halving the side each time
SHARE = 0.5  # of what is shown, where variants are; chosen on val, as the kind of variant
PROBE_C = 10.0  # inverse strength of the probe's L2 penalty
KINDS = ("network", "probe")

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # one picture, changed
Progress = Callable[[str, int, int], None]


def measure(
    run: Run,
    dataset: DataSet,
    *,
    vary: str = "both",
    seed: int = 0,
    sizes: Sequence[int] = SIZES,
    seeds: int = SEEDS,
    cells: MutableMapping[str, dict] | None = None,
    progress: Progress | None = None,
) -> dict:
    """Macro-F1 on the test split, as a task of `evaluate`; or {"skipped": why}.

    Args:
        vary: as of `variants.augment`.
        seed: of the first choice of pictures; the others follow.
        cells: what is measured is kept here, and not measured again.
        progress: called with (what, done, total).
    """
    tell = progress or (lambda what, done, total: None)
    classes = _classes(dataset, max(sizes))
    if len(classes) < 2:
        return {"skipped": f"Two classes with {max(sizes)} training pictures each and a test picture are needed."}
    cells, study = {} if cells is None else cells, None
    wanted = [(size, seed + i) for size in sizes for i in range(seeds)]
    for done, (size, one) in enumerate(wanted):
        name = f"{vary} {size} {one}"
        if name not in cells:
            study = study or Study(run, dataset, classes, tell)
            cells[name] = study.cell(size, one, vary)
        tell("training classifiers", done + 1, len(wanted))
    tests = sum(item.cluster in classes for item in dataset.of("test"))
    return {
        "about": f"Small classifiers of {len(classes)} classes, trained on few pictures of each: macro-F1 on the test "
        f"split over {seeds} choices of these.",
        "queries": tests,
        "rows": [
            row for size in sizes for row in _rows(size, [cells[f"{vary} {size} {seed + i}"] for i in range(seeds)])
        ],
        "notes": [
            f"Intervals are those of Student's t over the {seeds} choices, and of paired differences in the rows "
            f"'{GAIN}'. {PER_IMAGE} variants a picture ({vary}); {STARTS} networks, each of {STEPS} steps of {BATCH} "
            "pictures.",
            "The probe is linear, on the run's embeddings, frozen. The run was trained without labels on all training "
            "pictures, these among them.",
        ],
        "classes": classes,
    }


class Study:
    """Pictures and latents that all cells share, read once."""

    def __init__(self, run: Run, dataset: DataSet, classes: Sequence[str], progress: Progress):
        self.run, self.classes = run, list(classes)
        self.known, _ = Known.read(run, dataset.of("train"), progress)
        self.rows = [np.flatnonzero(self.known.clusters == name) for name in classes]
        asked = [item for item in dataset.of("test") if item.cluster in classes]
        items, images = zip(*batches(asked, run.read_size, 64, bad=[]), strict=True)
        self.labels = np.array([self.classes.index(item.cluster) for some in items for item in some])
        self.tests = np.concatenate(images)

    def cell(self, size: int, seed: int, vary: str) -> dict:
        """Macro-F1 of each arm, of the network and of the probe, and what the gate did."""
        draw = np.random.default_rng(seed)
        rows = np.concatenate([draw.permutation(of_class)[:size] for of_class in self.rows])  # 5 are of the 10
        labels = np.repeat(np.arange(len(self.classes)), size)
        pictures = np.stack([self._picture(row) for row in rows.tolist()])
        maker = Maker(self.run, self.known.telling(rows), self._picture, vary=vary, seed=seed)
        made, refused = maker.make(rows.tolist(), PER_IMAGE)
        place = {row: number for number, row in enumerate(rows.tolist())}
        variants = np.stack([one.picture for one in made] or [pictures[0]])[: len(made)]
        theirs = labels[[place[one.source] for one in made]]
        told = {"network": {}, "probe": {}, "variants": len(made), "refused": dict(refused)}
        for arm in ARMS:
            shown, known_as, weights, change = pictures, labels, None, None
            if arm in ("variants", "both") and made:
                shown, known_as = np.concatenate([pictures, variants]), np.r_[labels, theirs]
                weights = np.repeat([(1 - SHARE) / len(labels), SHARE / len(made)], [len(labels), len(made)])
            if arm in ("albumentations", "both"):
                change = usual
            asked = {"weights": weights, "augment": change, "classes": len(self.classes), "steps": STEPS}
            nets = [learn(shown, known_as, seed=STARTS * seed + start, **asked) for start in range(STARTS)]
            told["network"][arm] = float(np.mean([macro_f1(predict(net, self.tests), self.labels) for net in nets]))
        changed = np.stack([square(usual(one, draw), self.run.read_size) for one in pictures for _ in range(PER_IMAGE)])
        parts = {"none": (pictures, labels), "variants": (variants, theirs)}
        parts["albumentations"] = (changed, labels.repeat(PER_IMAGE))
        rows_of = {
            name: (encode(self.run, some).embedding(), known_as)
            for name, (some, known_as) in parts.items()
            if len(some)
        }
        for arm in ARMS:
            names = ("none", *{"none": (), "both": ("albumentations", "variants")}.get(arm, (arm,)))
            used = [rows_of[name] for name in names if name in rows_of]
            told["probe"][arm] = self._probed(*map(np.concatenate, zip(*used, strict=True)))
        return told

    def _picture(self, row: int) -> np.ndarray:
        return square(self.known.picture(row, self.run.read_size), self.run.read_size)

    def _probed(self, embedding: np.ndarray, labels: np.ndarray) -> float:
        """Macro-F1 of a linear probe."""
        from sklearn.linear_model import LogisticRegression

        probe = LogisticRegression(C=PROBE_C, max_iter=2000).fit(embedding, labels)
        return macro_f1(probe.predict(self._test_embedding), self.labels)

    @cached_property
    def _test_embedding(self) -> np.ndarray:
        return encode(self.run, self.tests).embedding()


def learn(
    pictures: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int,
    seed: int,
    weights: np.ndarray | None = None,
    augment: Augment | None = None,
    steps: int,
) -> nn.Module:
    """A convolutional network from a random start, after `steps` batches.

    Args:
        pictures: (N, M, M, 3) uint8.
        labels: (N,) whole numbers below `classes`.
        seed: of the start, of the order, and of what `augment` draws.
        weights: how often each picture is drawn, (N,), in proportion; all alike if not given.
        augment: changes a picture each time that it is shown.
    """
    draw = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _network(classes)
        optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.2)
        share = None if weights is None else weights / weights.sum()
        small = pictures if augment else np.stack([square(picture, SIDE) for picture in pictures])
        for _ in range(steps):
            rows = draw.choice(len(pictures), BATCH, p=share)
            shown = small[rows] if augment is None else np.stack([augment(pictures[row], draw) for row in rows])
            loss = F.cross_entropy(net(_seen(shown)), torch.from_numpy(labels[rows]), label_smoothing=SMOOTHING)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()


@torch.inference_mode()
def predict(net: nn.Module, pictures: np.ndarray) -> np.ndarray:
    """The likeliest class of pictures (N, M, M, 3) uint8, (N,)."""
    small = [square(picture, SIDE) for picture in pictures]
    parts = (np.stack(small[start : start + 256]) for start in range(0, len(small), 256))
    return np.concatenate([net(_seen(part)).argmax(1).numpy() for part in parts])


def usual(picture: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A picture (M, M, 3) changed by the usual recipe of albumentations, photometric and geometric, (SIDE, SIDE, 3)."""
    recipe = _recipe()
    recipe.set_random_seed(int(draw.integers(2**31)))
    return recipe(image=picture)["image"]


def macro_f1(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Mean over classes of the harmonic mean of precision and recall; a class that nobody names counts 0."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predicted, average="macro", zero_division=0))


@cache
def _recipe() -> A.Compose:
    return A.Compose(
        [
            A.RandomResizedCrop((SIDE, SIDE), scale=(0.4, 1.0), ratio=(0.8, 1.25), interpolation=cv2.INTER_AREA),
            A.HorizontalFlip(p=0.5),
            A.Rotate(limit=20, border_mode=cv2.BORDER_REFLECT_101, p=0.5),
            A.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.4, hue=0.1, p=0.8),
            A.GaussianBlur(blur_limit=(3, 3), p=0.2),
        ]
    )


def _network(classes: int) -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in zip((3, *WIDTHS), WIDTHS, strict=False):
        layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(WIDTHS[-1], classes)
    )


def _seen(pictures: np.ndarray) -> torch.Tensor:
    return to_tensor(pictures).sub_(0.5).div_(0.25)


def _classes(dataset: DataSet, most: int) -> list[str]:
    """The classes of most pictures that have `most` training pictures and one to test."""
    train, test = (Counter(item.cluster for item in dataset.of(split) if item.cluster) for split in ("train", "test"))
    there = Counter(item.cluster for item in dataset.items if item.cluster)
    able = [name for name in there if train[name] >= most and test[name]]
    return sorted(able, key=lambda name: (-there[name], name))[:CLASSES]


def _rows(size: int, cells: Sequence[dict]) -> Iterator[dict]:
    """A row for each arm, and one for what both gain, with the figures of network and probe."""
    part = f"{size} pictures a class"
    by_arm = {arm: {kind: np.array([cell[kind][arm] for cell in cells]) for kind in KINDS} for arm in ARMS}
    by_arm[GAIN] = {kind: by_arm["both"][kind] - by_arm["albumentations"][kind] for kind in KINDS}
    for arm, of in by_arm.items():
        figures = {f"{kind}, macro-F1": _figure(values) for kind, values in of.items()}
        yield {"part": part, "name": arm, "ours": arm in ("variants", "both"), "figures": figures}


def _figure(values: np.ndarray) -> dict:
    """Mean and 95 % interval of Student's t."""
    from scipy.stats import t

    count, mean = len(values), float(values.mean())
    half = float(t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count)) if count > 1 else None
    ends = {"low": None, "high": None} if half is None else {"low": mean - half, "high": mean + half}
    return {"value": mean, **ends, "n": count}
