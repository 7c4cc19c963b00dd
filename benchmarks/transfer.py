"""From the loom to photographs and back: what drawn sarees teach, and what photographs teach of drawn ones.

    PYTHONPATH=. python benchmarks/transfer.py RUN --data textiles/manifest.csv --epochs 20 --work transfer_work

RUN was trained on the photographs. Pictures are drawn on the loom, a model of --config is trained on them alone, and
both are asked the goals of the photographs' test split. Then both are asked the loom's known factors: how well a linear
probe on each half tells them on unseen designs (informativeness, Eastwood and Williams 2018), and the mutual
information gap of single dimensions (MIG, Chen et al. 2018).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import peers
import study

from saree_vae import checkpoint, data, evaluate, loom
from saree_vae.checkpoint import Run
from saree_vae.encoding import encode_items
from saree_vae.latents import Latents, unit

FACTORS = ("motif", "layout", "technique", "border", "palette")  # the last is what the colour half should know
HALVES = ("motif", "colour")
BINS = 20  # of each dimension, for mutual information: as Chen et al. and Locatello et al. 2019
RENDERED = 3000


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    run, photographs = checkpoint.load(options.run), data.read_data(options.data)
    drawn = data.read_data(_rendered(Path(options.work) / "loom", options.pictures))
    runs = {"trained on photographs": run, "trained on the loom": study.trained("run", options, drawn)}
    results = {name: evaluate.evaluate(one, photographs, peers.TASKS) for name, one in runs.items()}
    columns = peers.goals(next(iter(results.values())))
    report = {
        "epochs": {name: one.config.train.epochs for name, one in runs.items()},
        "pictures": {"photographs": len(photographs.items), "loom": len(drawn.items)},
        "photographs": {name: goal_figures(found, columns) for name, found in results.items()},
        "loom": {name: known_factors(one, drawn) for name, one in runs.items()},
    }
    study.tell(report, markdown, options.json)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = study.parser(__doc__, work="transfer_work")
    parser.add_argument("run", help="a run trained on the photographs")
    parser.add_argument("--pictures", type=int, default=RENDERED, help="drawn on the loom, all splits together")
    return parser.parse_args(arguments)


def _rendered(folder: Path, count: int) -> Path:
    manifest = folder / "manifest.csv"
    return manifest if manifest.exists() else loom.render(folder, count, seed=0)


def goal_figures(results: dict, columns: Sequence[peers.Column]) -> dict[str, float]:
    """The goals of the photographs, each by the half that is meant."""
    figures = {}
    for column in columns:
        rows = results["tasks"][column.task]["rows"]
        one = next(row for row in rows if (row["part"], row["name"]) == (column.part, column.half))
        figures[column.title] = one["figures"][column.figure]["value"]
    return figures


def known_factors(run: Run, drawn: data.DataSet) -> dict[str, dict[str, float]]:
    """By factor: how well each half tells it (balanced accuracy over unseen designs), chance, and its MIG."""
    latents, _ = encode_items(run, drawn.items)
    items = {item.key: item for item in drawn.items}
    seen = np.array([items[key].split != "test" for key in latents.keys])
    told = {}
    for factor in FACTORS:
        values = np.array([items[key].metadata[factor] for key in latents.keys])
        told[factor] = {half: _probed(unit(getattr(latents, half)), values, seen) for half in HALVES}
        told[factor] |= {"chance": 1 / len(set(values[~seen])), "MIG": mutual_information_gap(latents, values)}
    return told


def _probed(rows: np.ndarray, values: np.ndarray, seen: np.ndarray) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import recall_score

    probe = LogisticRegression(C=100.0, max_iter=1000, class_weight="balanced").fit(rows[seen], values[seen])
    predicted = probe.predict(rows[~seen])
    return float(recall_score(values[~seen], predicted, labels=sorted(set(values[~seen])), average="macro"))


def mutual_information_gap(latents: Latents, values: np.ndarray) -> float:
    """How much more the best dimension tells of a factor than the next one, over the factor's entropy; 0 to 1."""
    from sklearn.metrics import mutual_info_score

    edges = np.quantile(latents.mu, np.linspace(0, 1, BINS + 1)[1:-1], axis=0)  # as many pictures in every bin
    binned = [np.searchsorted(edges[:, d], latents.mu[:, d]) for d in range(latents.mu.shape[1])]
    information = np.sort([mutual_info_score(values, column) for column in binned])
    return float((information[-1] - information[-2]) / mutual_info_score(values, values))


def markdown(report: dict) -> str:
    """Both tables."""
    photographs = [
        [name, *(f"{value:.3f}" for value in figures.values())] for name, figures in report["photographs"].items()
    ]
    factors = [
        [f"{factor}, {name}", *(f"{value:.3f}" for value in one.values())]
        for name, told in report["loom"].items()
        for factor, one in told.items()
    ]
    titles = list(next(iter(report["photographs"].values())))
    return "\n\n".join(
        [
            study.table(["photographs", *titles], photographs),
            study.table(["the loom's factors", "by motif", "by colour", "chance", "MIG"], factors),
        ]
    )


if __name__ == "__main__":
    study.run(main)
