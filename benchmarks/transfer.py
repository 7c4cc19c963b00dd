"""From the loom to photographs and back: what drawn sarees teach, and what photographs teach of drawn ones.

    PYTHONPATH=. python benchmarks/transfer.py RUN --data textiles/manifest.csv --epochs 20 --work transfer_work

RUN was trained on the photographs. Pictures are drawn on the loom, a model of RUN's own settings is trained on them
alone, and both are asked the goals of the photographs' test split. Then both are asked the loom's known factors: how
well a linear probe on each half tells them on unseen designs (informativeness, Eastwood and Williams 2018), and the
mutual information gap of single dimensions (MIG, Chen et al. 2018).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import peers

from saree_vae import checkpoint, config, data, evaluate, loom, train
from saree_vae.checkpoint import Run
from saree_vae.encoding import encode_items
from saree_vae.errors import SareeError
from saree_vae.files import atomic_write
from saree_vae.latents import Latents, unit

FACTORS = {"motif": ("motif", "layout", "technique", "border"), "colour": ("palette",)}  # by the half that should know
BINS = 20  # of each dimension, for mutual information: as Chen et al. and Locatello et al. 2019
RENDERED = 3000


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    run, photographs = checkpoint.load(options.run), data.read_data(options.data)
    drawn = data.read_data(_rendered(Path(options.work) / "loom", options.pictures))
    settings = run.config.model_dump()
    settings["train"] |= {"epochs": options.epochs or run.config.train.epochs}
    folder = Path(options.work) / "run"
    train.train(config.Config.model_validate(settings), drawn, folder, resume=True, tell=peers._say)
    runs = {"trained on photographs": run, "trained on the loom": checkpoint.load(folder)}
    results = {name: evaluate.evaluate(one, photographs, peers.TASKS) for name, one in runs.items()}
    columns = peers.goals(next(iter(results.values())))
    report = {
        "epochs": {name: one.config.train.epochs for name, one in runs.items()},
        "pictures": {name: Counter(item.split for item in those.items) for name, those in _named(photographs, drawn)},
        "photographs": {name: goal_figures(found, columns) for name, found in results.items()},
        "loom": {name: known_factors(one, drawn) for name, one in runs.items()},
    }
    if options.json:
        with atomic_write(options.json) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(markdown(report))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run trained on the photographs")
    parser.add_argument("--data", required=True, help="the photographs, with a test split")
    parser.add_argument("--epochs", type=int, help="on the loom; those of RUN, if not given")
    parser.add_argument("--pictures", type=int, default=RENDERED, help="drawn on the loom, all splits together")
    parser.add_argument(
        "--work", default="transfer_work", help="folder of the drawn pictures and their run, used again"
    )
    parser.add_argument("--json", help="also write the figures here")
    return parser.parse_args(arguments)


def _named(photographs: data.DataSet, drawn: data.DataSet) -> tuple[tuple[str, data.DataSet], ...]:
    return ("photographs", photographs), ("loom", drawn)


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
    for factor in (factor for those in FACTORS.values() for factor in those):
        values = np.array([items[key].metadata[factor] for key in latents.keys])
        told[factor] = {half: _probed(unit(getattr(latents, half)), values, seen) for half in FACTORS}
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
    names = list(report["photographs"])
    titles = list(report["photographs"][names[0]])
    lines = [peers._line(["photographs", *titles]), peers._line(["---", *["---:"] * len(titles)])]
    for name in names:
        lines.append(peers._line([name, *(f"{report['photographs'][name][title]:.3f}" for title in titles)]))
    lines += ["", peers._line(["the loom's factors", "", "by motif", "by colour", "chance", "MIG"])]
    lines.append(peers._line(["---", "---", *["---:"] * 4]))
    for name in names:
        for factor, one in report["loom"][name].items():
            lines.append(peers._line([factor, name, *(f"{value:.3f}" for value in one.values())]))
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        main()
    except SareeError as error:
        sys.exit(f"error: {error}")
