"""What each part earns: the same training with one part taken away or resized at a time, in one table.

    PYTHONPATH=. python benchmarks/ablations.py --data textiles/manifest.csv --epochs 4 --work ablations_work

Every row is trained alike (peers.py says how) and measured at once, so rows can be compared with the first one; a
single seed moves figures by about 0.02. Below them, what storing the first row's vectors smaller would cost. An
interrupted command goes on where it was when it is given the same --work again.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from unittest import mock

import numpy as np
import peers
import study
import torch
from torch import Tensor, nn

from saree_vae import data, evaluate, metrics, networks, views
from saree_vae.checkpoint import Run
from saree_vae.encoding import encode, shrunk, to_images
from saree_vae.evaluate import OURS
from saree_vae.latents import WEIGHTS, unit, weighted

FIRST = "as it is"
HALF = {"both": OURS[0], "motif": "motif", "colour": "colour"}
FIGURES = {  # our own names of rows of the task `likelihood`
    "ELBO, nats": "ELBO",
    "bits per dimension": "bits/dim",
    "PSNR of the reconstruction, dB": "PSNR",
}


class Variant(NamedTuple):
    """One row: settings, and what is replaced in the code while it is trained and loaded."""

    changes: tuple[str, ...] = ()
    replaced: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext


def without_view(name: str) -> Callable[[], contextlib.AbstractContextManager]:
    """Training sees the clean crop where this view would be."""
    made = views.training_views

    def views_without(*arguments, **named) -> dict[str, np.ndarray]:
        those = made(*arguments, **named)
        return those | {name: those["clean"]}

    return lambda: mock.patch.object(views, "training_views", views_without)


class Flattened(networks.MotifEncoder):
    """The last map as it lies (8 x 8 from 128 pixels), instead of statistics of all maps beside a coarse layout."""

    def __init__(self, features: nn.Module, outputs: int):
        super().__init__(features, outputs)
        self.layout = nn.Sequential(nn.Conv2d(features.channels[-1], 64, 1), nn.AdaptiveAvgPool2d(8), nn.Flatten())
        self.head = nn.Sequential(nn.Linear(64 * 8 * 8, 512), nn.SiLU(), nn.Linear(512, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layout(self.features(x)[-1]))


class SeenAsTheyAre(networks.Colours):
    def __init__(self):
        super().__init__((0.5,) * 3, (0.25,) * 3)


VARIANTS = {
    FIRST: Variant(),
    "without swap": Variant(("objective.swap=0",)),
    "without KL": Variant(("objective.beta=0",)),
    "without decoder (contrast alone)": Variant(("objective.reconstruct=0", "objective.swap=0")),
    "ELBO alone": Variant(("objective.swap=0", "objective.contrast_motif=0", "objective.contrast_colour=0")),
    **{f"without the view {name.replace('_', ' ')}": Variant((), without_view(name)) for name in views.NAMES},
    "motif from colours, not edges": Variant((), lambda: mock.patch.object(networks, "Edges", SeenAsTheyAre)),
    "AdamW, not Muon": Variant(("train.optimizer=adamw",)),
    "flattened, not pooled": Variant((), lambda: mock.patch.object(networks, "MotifEncoder", Flattened)),
    "motif 96, colour 32": Variant(("model.motif_dim=96",)),
    "motif 43, colour 21": Variant(("model.motif_dim=43", "model.colour_dim=21")),
    "motif 21, colour 11": Variant(("model.motif_dim=21", "model.colour_dim=11")),
}


@dataclass
class Halves:
    """The three embeddings of one run, from one encoding of the same pictures; `change` is applied to each half."""

    run: Run
    change: Callable[[str, np.ndarray], np.ndarray] = lambda name, rows: rows
    last: tuple = field(default=(None, None))

    def __call__(self, half: str, pictures: np.ndarray) -> np.ndarray:
        if self.last[0] is not pictures:
            latents = encode(self.run, pictures)
            parts = [self.change(name, unit(getattr(latents, name))) for name in ("motif", "colour")]
            both = weighted(np.concatenate(parts, axis=1), parts[0].shape[1], **WEIGHTS)
            self.last = pictures, {"motif": parts[0], "colour": parts[1], "both": both}
        return self.last[1][half]


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    dataset = data.read_data(options.data)
    runs = {name: trained(name, variant, options, dataset) for name, variant in VARIANTS.items()}
    first = runs[FIRST]
    described = {name: Halves(run) for name, run in runs.items()} | smaller(first, dataset)
    beside = {
        f"{name}, {half}": (lambda pictures, halves=halves, half=half: halves(half, pictures))
        for name, halves in described.items()
        for half in HALF
    }
    study.say("measuring")
    found = evaluate.evaluate(first, dataset, peers.TASKS, beside=beside)
    columns = [column._asdict() for column in peers.goals(found)]
    report = {
        "epochs": first.config.train.epochs,
        "seed": first.config.train.seed,
        "image_size": first.config.model.image_size,
        "data": found["data"],
        "columns": columns,
        "rows": [row(name, halves, found, columns, dataset, name in runs) for name, halves in described.items()],
    }
    study.tell(report, markdown, options.json)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = study.parser(__doc__, work="ablations_work")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def trained(name: str, variant: Variant, options: argparse.Namespace, dataset: data.DataSet) -> Run:
    """A run of this variant."""
    with variant.replaced():
        return study.trained(name, options, dataset, *variant.changes, seed=options.seed)


def smaller(run: Run, dataset: data.DataSet) -> dict[str, Halves]:
    """The same vectors in 8 bits a number, and projected on what training pictures vary in most."""
    from sklearn.decomposition import TruncatedSVD

    sample = shrunk(data.load(dataset.of("train")[:2000], run.read_size).images, run.config.model.image_size)
    latents = encode(run, sample)
    seen = {name: unit(getattr(latents, name)) for name in ("motif", "colour")}

    def eight_bits(name: str, rows: np.ndarray) -> np.ndarray:
        low, high = seen[name].min(0), seen[name].max(0)
        step = np.maximum(high - low, 1e-9) / 255
        return unit(np.clip(np.round((rows - low) / step), 0, 255) * step + low)

    def projected(share: float) -> Callable[[str, np.ndarray], np.ndarray]:
        fitted = {name: TruncatedSVD(max(1, round(share * rows.shape[1]))).fit(rows) for name, rows in seen.items()}
        return lambda name, rows: unit(fitted[name].transform(rows))

    whole = sum(rows.shape[1] for rows in seen.values())
    made = {f"{FIRST}, 8 bits a number": Halves(run, eight_bits)}
    for share in (2 / 3, 1 / 3):
        made[f"{FIRST}, projected to {round(share * whole)} numbers"] = Halves(run, projected(share))
    return made


def row(name: str, halves: Halves, found: dict, columns: list[dict], dataset: data.DataSet, own: bool) -> dict:
    """The goal figures of one row, their mean, and for a trained one what its decoder does."""
    figures = {}
    for column in columns:
        half = next(short for short, meant in HALF.items() if meant == column["half"])
        rows = found["tasks"][column["task"]]["rows"]
        one = next(r for r in rows if (r["part"], r["name"]) == (column["part"], f"{name}, {half}"))
        figures[column["title"]] = one["figures"][column["figure"]]["value"]
    about = {"name": name, "figures": figures, "mean": float(np.mean(list(figures.values())))}
    decodes = own and halves.run.config.objective.reconstruct > 0
    return about | ({"decoder": decoding(halves.run, dataset)} if decodes else {})


def decoding(run: Run, dataset: data.DataSet) -> dict[str, float | None]:
    """ELBO, bits per dimension, PSNR, active units, and how near an exchange comes to the donor's colour."""
    likelihood = evaluate.evaluate(run, dataset, ("likelihood",))["tasks"]["likelihood"]
    values = {r["name"]: r["figures"]["mean"]["value"] for r in likelihood["rows"]}
    told = {short: values[long] for long, short in FIGURES.items()}
    told["active units"] = sum(value for name, value in values.items() if name.startswith("active units"))
    images = shrunk(data.load(dataset.of("test"), run.read_size).images, run.config.model.image_size)
    return told | {"exchange": exchanged(run, images)}


@torch.inference_mode()
def exchanged(run: Run, images: np.ndarray) -> float:
    """Chroma distance to the colour donor over the distance of the pair, as the task `exchange` measures it."""
    order = np.random.default_rng(0).permutation(len(images))[: evaluate.PAIRS]
    donors, half, mu = np.roll(order, -1), run.config.model.motif_dim, encode(run, images).mu
    mixed = torch.from_numpy(np.concatenate([mu[order, :half], mu[donors, half:]], axis=1)).to(run.device)
    drawn = np.concatenate([to_images(run.model.decode(part)) for part in mixed.split(64)])
    chroma = metrics.mean_chroma(images)
    gaps = metrics.mean_chroma(drawn) - chroma[donors], chroma[order] - chroma[donors]
    near, apart = (float(np.linalg.norm(gap, axis=1).mean()) for gap in gaps)
    return near / max(apart, 1e-9)


def markdown(report: dict) -> str:
    """What the figures were made with, and the table."""
    titles, extra = [column["title"] for column in report["columns"]], [*FIGURES.values(), "active units", "exchange"]
    about = f"Seed {report['seed']}, {report['epochs']} epochs each; goals by the half that is meant, and their mean. "
    about += 'Exchange: distance to the colour donor. "-": no decoder of its own, or none that was trained.'
    rows = []
    for one in report["rows"]:
        goals = [f"{one['figures'][title]:.3f}" for title in titles]
        decoder = one.get("decoder", {})
        rows.append([one["name"], *goals, f"{one['mean']:.3f}", *(_short(decoder.get(name)) for name in extra)])
    return f"{about}\n\n{study.table(['', *titles, 'mean', *extra], rows)}"


def _short(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    study.run(main)
