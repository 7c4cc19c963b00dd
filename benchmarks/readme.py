"""Write the README's figures from what `evaluate` and `throughput.py` wrote, so that no number is typed.

python benchmarks/readme.py [--check]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from saree_vae.evaluate import markdown

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
START, END = "<!-- figures: written by benchmarks/readme.py -->\n", "<!-- end of figures -->"

TEXTILES = """\
On {test:,} test photographs of craft textiles ({train:,} to train on, labels unused in training), one run from scratch
on 2 CPU cores. Every figure stands beside four baselines measured on the same pictures; all of them are in
[benchmarks/results/textiles.json](benchmarks/results/textiles.json).

    saree-vae train --config textiles --data textiles/manifest.csv --out runs/textiles
    saree-vae evaluate runs/textiles --data textiles/manifest.csv --json benchmarks/results/textiles.json
"""

SHOWN = ("all", "sareez")  # parts of the task `items` in the README; the file of figures has them all

SPEED = """\
### Speed

    python benchmarks/throughput.py --data textiles/manifest.csv --json benchmarks/results/throughput.json

On {device}, with {threads} threads:

"""


def figures() -> str:
    results = json.loads((RESULTS / "textiles.json").read_text(encoding="utf-8"))
    speed = json.loads((RESULTS / "throughput.json").read_text(encoding="utf-8"))
    items = results["tasks"]["items"]
    items["rows"] = [row for row in items["rows"] if row["part"] in SHOWN]
    rows = [f"| {name.replace('_', ' ')} | {value:,.2f} |" for name, value in speed.items() if isinstance(value, float)]
    pictures = results["data"]["pictures"]
    return "\n".join(
        [
            TEXTILES.format(test=pictures["test"], train=pictures["train"]),
            markdown(results),
            SPEED.format(**speed) + "\n".join(["| | |", "|---|---:|", *rows, ""]),
        ]
    )


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
