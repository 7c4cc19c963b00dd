"""Write the README's figures from what `evaluate` and the benchmarks wrote, so that no number is typed.

python benchmarks/readme.py [--check]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
START, END = "<!-- figures: written by benchmarks/readme.py -->\n", "<!-- end of figures -->"

TEXTILES = """\
On {test:,} test photographs of craft textiles ({train:,} to train on, labels unused in training), one run from scratch
on 2 CPU cores, mean and 95 % bootstrap interval. All tables are in
[benchmarks/results/textiles.json](benchmarks/results/textiles.json); what was tried is in
[benchmarks/LOG.md](benchmarks/LOG.md).

    saree-vae train --config textiles --data textiles/manifest.csv --out runs/textiles
    saree-vae evaluate runs/textiles --data textiles/manifest.csv --json benchmarks/results/textiles.json
"""

BASELINES = ("colour histogram", "LBP", "colour histogram and LBP", "PCA of pixels")
# The question in plain words; task and part; our row that is meant to answer it; the figure.
QUESTIONS = (
    ("first hit of the same class", "retrieval", "", "motif and colour", "R@1"),
    ("all hits of the same class", "retrieval", "", "motif and colour", "mAP@R"),
    ("all hits of the same class", "retrieval", "", "motif", "mAP@R"),
    ("a phone photo finds its piece", "views", "phone_photo", "motif and colour", "R@1"),
    ("the same among the first five", "views", "phone_photo", "motif and colour", "R@5"),
    ("a recoloured design finds its piece", "views", "recoloured", "motif", "R@1"),
    ("a shuffled palette finds its piece", "views", "shuffled", "colour", "R@1"),
    ("close-ups of one garment (lstearns86)", "items", "lstearns86", "motif", "R@1"),
    ("close-ups of one garment (lstearns86)", "items", "lstearns86", "motif, by regions", "R@1"),
    ("second studio photograph (sareez)", "items", "sareez", "colour", "R@1"),
    ("second studio photograph (sareez)", "items", "sareez", "colour, by regions", "R@1"),
    ("second studio photograph (sareez)", "items", "sareez", "motif and colour, by regions", "R@1"),
)
BEYOND = ("exchange", "leakage", "likelihood")  # tasks of which only our own rows are shown

PEERS = """\
### Beside other models

    python benchmarks/peers.py --data textiles/manifest.csv --epochs {epochs} --seed {seed}

"""

REGIONS = """\
### What regions cost

    python benchmarks/regions.py runs/textiles --data textiles/manifest.csv --json benchmarks/results/regions.json

R@1 of second photographs by shop and half, {pictures:,} pictures, {threads} threads. Vectors, bytes: of an item.

"""

SPEED = """\
### Speed

    python benchmarks/throughput.py --data textiles/manifest.csv --json benchmarks/results/throughput.json

On {device}, with {threads} threads:

"""


def figures() -> str:
    results, speed = _read("textiles"), _read("throughput")
    pictures = results["data"]["pictures"]
    parts = [
        TEXTILES.format(test=pictures["test"], train=pictures["train"]),
        *(questions(results["tasks"]), "", beyond(results["tasks"]), ""),
    ]
    if (RESULTS / "peers.json").exists():
        peers = _read("peers")
        parts.append(PEERS.format(epochs=peers["epochs"], seed=" --seed ".join(map(str, peers["seeds"]))))
        parts += [_script("peers").markdown(peers), ""]
    if (RESULTS / "regions.json").exists():
        regions = _read("regions")
        parts += [REGIONS.format(**regions) + _script("regions").table(regions), ""]
    rows = [f"| {name.replace('_', ' ')} | {value:,.2f} |" for name, value in speed.items() if isinstance(value, float)]
    return "\n".join([*parts, SPEED.format(**speed) + "\n".join(["| | |", "|---|---:|", *rows, ""])])


def questions(tasks: dict) -> str:
    """Ours beside the baselines, one row for each question."""
    lines = [f"| | ours, by | | {' | '.join(BASELINES)} |", f"|---|---|{'---:|' * (1 + len(BASELINES))}"]
    for question, task, part, name, column in QUESTIONS:
        rows = {row["name"]: row["figures"][column] for row in tasks[task]["rows"] if row["part"] == part}
        cells = [_cell(rows[name]), *(f"{rows[other]['value']:.3f}" for other in BASELINES)]
        lines.append(f"| {question}, {column} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def beyond(tasks: dict) -> str:
    """What there is to say of the model beside search."""
    lines = ["| task | | |", "|---|---|---:|"]
    for task in BEYOND:
        for row in (row for row in tasks[task]["rows"] if row["ours"]):
            lines += [
                f"| {task} | {row['name']}, {name} | {_cell(figure)} |" for name, figure in row["figures"].items()
            ]
    return "\n".join(lines)


def _cell(figure: dict) -> str:
    digits = 0 if figure.get("count") or abs(figure["value"]) >= 1000 else 3
    value = f"{figure['value']:,.{digits}f}"
    return value if figure["low"] is None else f"{value} [{figure['low']:,.{digits}f}, {figure['high']:,.{digits}f}]"


def _read(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _script(name: str):
    """A benchmark beside this one: they are no package."""
    sys.path.insert(0, str(Path(__file__).parent))
    return __import__(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail if the README is stale, and write nothing")
    options = parser.parse_args()
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    fresh = f"{before}{START}\n{figures()}\n{END}{after}"
    if options.check and fresh != text:
        sys.exit("README.md is stale: run python benchmarks/readme.py")
    if not options.check:
        path.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main()
