"""Whether variants help a classifier that has few pictures to learn from, and which of them.

    PYTHONPATH=. python benchmarks/augment.py RUN --data textiles/manifest.csv --work augment_work

The task 'augment' of `evaluate`, for each way of varying pictures. Each finished cell is kept in --work: an interrupted
command goes on where it was. A sheet of variants, in rows of a picture and what each way makes of it, is drawn there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import study

from saree_vae import checkpoint, classify, data, sheets, variants
from saree_vae.checkpoint import Run
from saree_vae.data import DataSet
from saree_vae.files import atomic_write

SHOWN, EACH = 10, 3  # pictures on the sheet, and variants of each for each way


class Cells(dict):
    """What is measured, kept in a file as it comes."""

    def __init__(self, file: Path):
        super().__init__(json.loads(file.read_text(encoding="utf-8")) if file.exists() else {})
        self.file = file

    def __setitem__(self, name: str, cell: dict) -> None:
        super().__setitem__(name, cell)
        study.say(f"{name}: {json.dumps(cell)}")
        with atomic_write(self.file) as temporary:
            temporary.write_text(json.dumps(self, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    run, dataset, ways = checkpoint.load(options.run), data.read_data(options.data), options.vary or list(variants.VARY)
    settings = [run.fingerprint, dataset.digest(), classify.STEPS, classify.PER_IMAGE, classify.SHARE, classify.STARTS]
    known_by = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]
    cells = Cells(Path(options.work) / f"cells_{known_by}.json")
    asked = {"seed": options.seed, "sizes": options.sizes, "seeds": options.seeds, "cells": cells}
    report = {vary: classify.measure(run, dataset, vary=vary, **asked) for vary in ways}
    sheets.save(sheet(run, dataset, ways, options.seed), Path(options.work) / "variants.png")
    study.tell(report, markdown, options.json)


def _options(arguments: Sequence[str] | None):
    parser = study.parser(__doc__)
    parser.add_argument("run", help="a run trained on the train split of these photographs")
    parser.add_argument("--work", default="augment_work", help="folder of finished cells, used again if it is there")
    parser.add_argument("--vary", action="append", choices=variants.VARY, help="this way only; may be repeated")
    parser.add_argument("--sizes", type=int, nargs="+", default=classify.SIZES, help="pictures of a class")
    parser.add_argument("--seeds", type=int, default=classify.SEEDS, help="choices of these pictures")
    parser.add_argument("--seed", type=int, default=0, help="of the first choice")
    return parser.parse_args(arguments)


def sheet(run: Run, dataset: DataSet, ways: Sequence[str], seed: int):
    """Rows of a picture and its variants, those of each way side by side; a blank where the gate let none pass."""
    known, _ = variants.Known.read(run, dataset.of("train"))
    rows = np.random.default_rng(seed).permutation(len(known.items))[:SHOWN].tolist()
    tiles = {row: [sheets.Tile(known.picture(row, run.read_size), known.items[row].cluster or "")] for row in rows}
    for vary in ways:
        maker = variants.Maker(run, known, lambda row: known.picture(row, run.read_size), vary=vary, seed=seed)
        made, _ = maker.make(rows, EACH)
        for row in rows:
            mine = [sheets.Tile(one.picture, vary) for one in made if one.source == row]
            tiles[row] += mine + [sheets.Tile(np.full((8, 8, 3), sheets.MAT, np.uint8))] * (EACH - len(mine))
    return sheets.contact_sheet(list(tiles.values()), side=120)


def markdown(report: dict) -> str:
    """A table for each way of varying."""
    return "\n\n".join(f"{vary}: {_table(task)}" for vary, task in report.items())


def _table(task: dict) -> str:
    if "skipped" in task:
        return task["skipped"]
    columns = list(task["rows"][0]["figures"])
    lines = [[row["part"], row["name"], *(study.cell(row["figures"][c]) for c in columns)] for row in task["rows"]]
    about = f"{task['about']} {task['queries']} test pictures. {' '.join(task['notes'])}"
    return f"{about}\n\n{study.table(['', 'learned from', *columns], lines)}"


if __name__ == "__main__":
    study.run(main)
