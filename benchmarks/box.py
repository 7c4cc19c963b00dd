"""Put a run into the box, as a model that comes with saree-vae: in half precision, with its card.

    saree-vae render --count 16000 --seed 2 --out loom
    saree-vae train --config textiles --set train.epochs=3 --data loom --out runs/loom
    PYTHONPATH=. python benchmarks/box.py runs/loom --data textiles/manifest.csv --json benchmarks/results/loom.json

What it has trained on stays with it, so that nothing of it is ever measured on; no photograph of --data does.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import peers
import study

from saree_vae import checkpoint, data, evaluate, model_card

ABOUT = """\
## What it is

A model to begin with: it learnt from made-up sarees that `saree-vae render` drew, and never saw a photograph. It
searches photographs at once (`saree-vae index loom`), and training on yours can begin with it (`--from loom`).
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = study.parser(__doc__)
    parser.add_argument("run", type=Path, help="a trained run; its folder's name is what the model will be called")
    parser.add_argument("--out", type=Path, default=checkpoint.MODELS, help="the folder of such models")
    options = parser.parse_args(arguments)
    run, folder = checkpoint.load(options.run), options.out / options.run.resolve().name
    weights = run.model.state_dict().items()
    halves = {name: value.half() if value.is_floating_point() else value for name, value in weights}
    if not all(value.isfinite().all() for value in halves.values()):
        raise SystemExit(f"{options.run}: half precision does not hold all its numbers")
    checkpoint.save(folder, run.config, halves)
    shutil.copyfile(options.run / checkpoint.SEEN, folder / checkpoint.SEEN)
    boxed, photographs = checkpoint.load(folder), data.read_data(options.data)
    results = evaluate.evaluate(boxed, photographs, peers.TASKS)
    del results["tasks"]["retrieval"]["failures"]  # which the card would draw
    card = model_card.write(boxed, photographs, results)
    card.write_text(card.read_text(encoding="utf-8").replace("## What it is\n", ABOUT), encoding="utf-8")
    study.tell(results, model_card.markdown, options.json)


if __name__ == "__main__":
    study.run(main)
