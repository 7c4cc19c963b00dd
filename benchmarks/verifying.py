"""What verification finds and costs: a catalogue with regions, asked by changed pictures with and without it.

    PYTHONPATH=. python benchmarks/verifying.py RUN --data textiles/manifest.csv --json verifying.json

Some test pictures are changed as `evaluate` changes them, a phone photo, a recoloured design or a shuffled palette, and
look for themselves in a catalogue of all pictures by motif and colour, by motif, or by colour. A query's time is from
its vectors to its hits, in one process, in which nothing has been seen before.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence

import numpy as np
import study
from PIL import Image

from saree_vae import checkpoint, data, indexing, metrics, query, regions, views
from saree_vae.catalogue import Catalogue
from saree_vae.checkpoint import Run
from saree_vae.latents import WEIGHTS

ASKED = {
    "phone_photo": WEIGHTS,
    "recoloured": {"motif": 1.0, "colour": 0.0},
    "shuffled": {"motif": 0.0, "colour": 1.0},
}
WAYS = ("as found", "verified")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = study.parser(__doc__)
    parser.add_argument("run", help="a run, or loom")
    parser.add_argument("--queries", type=int, default=300, help="test pictures of each view")
    options = parser.parse_args(arguments)
    run, dataset = checkpoint.load(options.run), data.read_data(options.data)
    report = {"run": run.path.name, "pictures": len(dataset.items), "cores": os.cpu_count(), "rows": []}
    with tempfile.TemporaryDirectory() as folder:
        indexing.index(run, dataset, f"{folder}/catalogue", crops=regions.CROPS, progress=_told)
        with indexing.open_catalogue(f"{folder}/catalogue")[0] as catalogue:
            for view, weights in ASKED.items():
                asked = list(_queries(run, dataset, view, options.queries))
                report["queries"] = len(asked)
                for way in WAYS:
                    report["rows"].append({"view": view, "way": way} | measured(catalogue, asked, way, weights))
    study.tell(report, markdown, options.json)


def measured(catalogue: Catalogue, asked: list[tuple[str, query.Query]], way: str, weights: dict[str, float]) -> dict:
    """How often the first hit is the picture itself, with its interval, and milliseconds a query."""
    found, began = [], time.perf_counter()
    for key, wanted in asked:
        how = {"pictures": () if way == WAYS[0] else wanted.pictures, **weights}
        found.append(catalogue.search_one(wanted.embeddings, wanted.boxes, 10, **how)[0].key == key)
    took = (time.perf_counter() - began) / len(asked)
    low, high = metrics.bootstrap_interval(np.float64(found))
    return {"R@1": float(np.mean(found)), "low": low, "high": high, "ms": 1000 * took}


def _queries(run: Run, dataset: data.DataSet, view: str, most: int) -> Iterator[tuple[str, query.Query]]:
    """Key and query of some test pictures, read twice as large, as regions are, and changed."""
    tests = dataset.of("test")
    for number in np.sort(np.random.default_rng(0).permutation(len(tests))[:most]):
        [picture] = data.load([tests[number]], 2 * run.read_size).images
        changed = views.evaluation_view(view, picture, 2 * run.config.model.image_size, index=int(number))
        with tempfile.NamedTemporaryFile(suffix=".png") as file:
            Image.fromarray(changed).save(file.name)
            yield tests[number].key, query.of_pictures(run, [file.name], regions.CROPS)


def markdown(report: dict) -> str:
    lines = [
        f"{report['pictures']:,} pictures, {report['queries']} queries of each kind, {report['cores']} cores, "
        f"run `{report['run']}`; 95 % bootstrap intervals. Times: of the same row as found.",
        "",
        "| | first hits | finds itself, R@1 | ms a query | times |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for row in report["rows"]:
        [plain] = [one for one in report["rows"] if (one["view"], one["way"]) == (row["view"], WAYS[0])]
        cells = [row["view"].replace("_", " "), row["way"], f"{row['R@1']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"]
        lines.append(f"| {' | '.join(cells)} | {row['ms']:.0f} | {row['ms'] / plain['ms']:.1f} |")
    return "\n".join(lines)


def _told(done: int, total: int) -> None:
    if done % 640 == 0:
        study.say(f"indexed {done} of {total}")


if __name__ == "__main__":
    study.run(main)
