"""A source never seen: its pictures left out of training, then asked among labelled pictures of all other sources.

    PYTHONPATH=. python benchmarks/sources.py --data textiles/manifest.csv --from loom --epochs 3 --prefix batik

One model for each of the largest sources of clusters whose names begin with the prefix; the queries are that source's
test pictures of such clusters, the gallery is train and val of the others. By regions, CROPS small ones of a picture at
most. LBP and the colour histogram are asked the same. An interrupted command goes on where it was when it is given the
same --work again.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import study

from saree_vae import baselines, data, metrics
from saree_vae.checkpoint import Run
from saree_vae.encoding import encode, encode_items, shrunk
from saree_vae.errors import SareeError
from saree_vae.evaluate import OURS, REGIONS, Describe, by_regions
from saree_vae.kin import kinship
from saree_vae.latents import WEIGHTS, weighted

CROPS = 4  # small regions of a picture: a third faster than the usual, and finds about as much
KIN = f"{OURS[0]}, {REGIONS}, by kin"
FIGURES = ("R@1", "mAP@R")


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    dataset = data.read_data(options.data)
    rows = [one(source, options, dataset) for source in largest(dataset, options.prefix, options.sources)]
    means = {
        name: {figure: float(np.mean([row["figures"][name][figure] for row in rows])) for figure in FIGURES}
        for name in rows[0]["figures"]
    }
    report = {
        "epochs": rows[0]["epochs"],
        "start": options.start,
        "seed": options.seed,
        "prefix": options.prefix,
        "rows": rows,
        "mean": means,
    }
    study.tell(report, markdown, options.json)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = study.parser(__doc__, work="sources_work")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prefix", default="", help="only clusters whose names begin so")
    parser.add_argument("--sources", type=int, default=4, help="how many sources, the largest first")
    return parser.parse_args(arguments)


def largest(dataset: data.DataSet, prefix: str, count: int) -> list[str]:
    """The sources with most test pictures of these clusters.

    Raises:
        SareeError: fewer than two sources have any.
    """
    found = Counter(item.source for item in _asking(dataset, prefix) if item.source)
    if len(found) < 2:
        raise SareeError(f"{dataset.root}: {len(found)} sources with test pictures of clusters {prefix}*; 2 are needed")
    return [source for source, _ in sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:count]]


def _asking(dataset: data.DataSet, prefix: str) -> list[data.Item]:
    return [item for item in dataset.of("test") if item.cluster and item.cluster.startswith(prefix)]


def one(source: str, options: argparse.Namespace, dataset: data.DataSet) -> dict:
    """Figures of one source that training did not see."""
    others = replace(dataset, items=tuple(item for item in dataset.items if item.source != source))
    run = study.trained(source, options, others, seed=options.seed)
    asking = data.load([item for item in _asking(dataset, options.prefix) if item.source == source], run.read_size)
    stored = data.load(others.of("train", "val"), run.read_size)
    size = run.config.model.image_size
    queries, gallery = shrunk(asking.images, size), shrunk(stored.images, size)
    labels = [item.cluster for item in asking.items], [item.cluster for item in stored.items]
    measured = {
        name: metrics.retrieval(describe(queries), labels[0], describe(gallery), labels[1], ks=(1,))
        for name, describe in described(run).items()
    }
    parts = [encode_items(run, pictures.items, crops=CROPS)[0] for pictures in (asking, stored)]
    asked, among = (weighted(part.means(), part.motif_dim, **WEIGHTS) for part in parts)
    scores = {f"{name}, {REGIONS}": found for name, found in by_regions(*parts).items() if name != "colour"}
    scores[KIN] = np.stack([kinship(query, among) for query in asked])
    measured |= {name: metrics.retrieval_by_scores(found, *labels, ks=(1,)) for name, found in scores.items()}
    figures, kept = {}, 0
    for name, found in measured.items():
        if not found.kept.any():
            raise SareeError(f"{source}: no other source has any of its clusters")
        figures[name] = dict(zip(FIGURES, map(float, (found.recall[1].mean(), found.map_at_r.mean())), strict=True))
        kept = int(found.kept.sum())
    study.say(f"{source}: {figures}")
    return {"source": source, "epochs": run.config.train.epochs, "queries": kept, "figures": figures}


def described(run: Run) -> dict[str, Describe]:
    half = run.config.model.motif_dim
    return {
        "motif and colour": lambda pictures: weighted(encode(run, pictures).embedding(), half, **WEIGHTS),
        "motif": lambda pictures: encode(run, pictures).embedding()[:, :half],
        "LBP": baselines.lbp,
        "colour histogram": baselines.colour_histogram,
    }


def markdown(report: dict) -> str:
    """What the figures were made with, and the table; the mean counts every source alike."""
    names = list(report["mean"])
    start = f" after {report['start']}" if report["start"] else ""
    about = f"Seed {report['seed']}, {report['epochs']} epochs{start}; R@1 / mAP@R of clusters {report['prefix']}*."
    whole = {"source": "mean", "queries": sum(row["queries"] for row in report["rows"]), "figures": report["mean"]}
    rows = [
        [
            row["source"],
            f"{row['queries']:,}",
            *(" / ".join(f"{row['figures'][name][figure]:.3f}" for figure in FIGURES) for name in names),
        ]
        for row in (*report["rows"], whole)
    ]
    return f"{about}\n\n{study.table(['source left out', 'queries', *names], rows)}"


if __name__ == "__main__":
    study.run(main)
