"""The family on MNIST, beside published numbers: negative log-likelihood of the 10,000 test digits, in nats.

    PYTHONPATH=. python benchmarks/mnist.py --data mnist --work mnist_work --json benchmarks/results/mnist.json

--data is a folder with the four files of MNIST (train-images-idx3-ubyte.gz and so on). Every model is 784-200-200-50 and
back, trained by `saree_vae.train` as configs/mnist.yaml says, with what the table below names changed. Pixels are drawn
anew as 0 or 1 at every look ("dynamic", as in Burda et al. 2016), or once and for all ("fixed"): these differ by 2 to 3
nats and are not to be compared. An interrupted command goes on where it was when it is given the same --work again.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import study

from saree_vae import checkpoint, config, train
from saree_vae.checkpoint import Run
from saree_vae.errors import SareeError

HELD_OUT = 1000  # training digits that are only watched
SEED_OF_PIXELS = 20 # of the fixed binarisation


@dataclass(frozen=True)
class Setting:
    """One model of the table."""

    name: str
    changes: tuple[str, ...] = ()
    fixed: bool = False  # binarised once
    long: bool = False  # of the long runs, beside published numbers; the others are compared among themselves


SETTINGS = (
    Setting("VAE, long", long=True),
    Setting("IWAE, 50 draws, long", ("objective.samples=50",), long=True),
    Setting("VAE"),
    Setting("IAF", ("model.posterior=iaf",)),
    Setting("ladder of 2", ("model.levels=2", "model.level_dim=100")),
    Setting("VAE, fixed", fixed=True),
    Setting("VampPrior, fixed", ("model.prior=vamp", "model.components=500"), fixed=True),
)


def digits(folder: str | Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, 28, 28, 1) uint8 and labels (N,) of "train" or "t10k".

    Raises:
        SareeError: a file is missing, or is no such file.
    """
    found = []
    for kind, start in (("images-idx3", 16), ("labels-idx1", 8)):
        path = Path(folder) / f"{part}-{kind}-ubyte.gz"
        try:
            found.append(np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=start))
        except (OSError, EOFError, ValueError) as error:
            raise SareeError(f"{path}: not a file of MNIST ({error})") from None
    return found[0].reshape(-1, 28, 28, 1).copy(), found[1].copy()


def fixed(pictures: np.ndarray, part: str) -> np.ndarray:
    """Each pixel drawn once as 0 or 255 by its brightness."""
    draw = np.random.default_rng((SEED_OF_PIXELS, part == "train"))
    return (draw.random(pictures.shape, np.float32) < pictures / np.float32(255)).astype(np.uint8) * 255


def trained(setting: Setting, options: argparse.Namespace) -> Run:
    """The run of a setting: gone on with if it was begun, only loaded if it is complete."""
    epochs = options.long if setting.long else options.epochs
    binary = ["model.binary=false"] if setting.fixed else []
    settings = config.load("mnist", [f"train.epochs={epochs}", *binary, *setting.changes])
    pictures, _ = digits(options.data, "train")
    pictures = fixed(pictures, "train") if setting.fixed else pictures
    arrays = train.Arrays(pictures[:-HELD_OUT], pictures[-HELD_OUT:])
    folder = Path(options.work) / setting.name.replace(", ", "_").replace(" ", "_")

    def watch(progress: train.Progress) -> None:
        if progress.row and progress.epoch % 10 == 0:
            row = progress.row
            study.say(f"{folder}: epoch {progress.epoch}, {row['reconstruct'] * 784:.2f} nats, {row['images_per_s']:.0f}/s")

    train.train(settings, arrays, folder, resume=True, watch=watch, tell=study.say)
    return checkpoint.load(folder)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with the files of MNIST")
    parser.add_argument("--work", default="mnist_work", help="folder of what was trained, used again if it is there")
    parser.add_argument("--epochs", type=int, default=100, help="of the models that are compared among themselves")
    parser.add_argument("--long", type=int, default=400, help="of those beside published numbers")
    parser.add_argument("--only", action="append", help="train only this setting; may be given again")
    parser.add_argument("--json", help="also write the figures here")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    for setting in SETTINGS:
        if not options.only or setting.name in options.only:
            trained(setting, options)


if __name__ == "__main__":
    study.run(main)
