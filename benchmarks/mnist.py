"""The family on MNIST, beside published numbers: negative log-likelihood of the 10,000 test digits, in nats.

    PYTHONPATH=. python benchmarks/mnist.py --data mnist --work mnist_work --json benchmarks/results/mnist.json

--data is a folder with the four files of MNIST (train-images-idx3-ubyte.gz and so on). Every model is 784-200-200-50
and back, trained by `saree_vae.train` as configs/mnist.yaml says, with what SETTINGS names changed. Pixels are drawn
anew as 0 or 1 at every look ("dynamic", as in Burda et al. 2016), or once and for all ("fixed"): these differ by 2 to 3
nats and are not to be compared. Test digits are drawn once, the same for all models of one kind.

pythae (`pip install pythae==0.1.2`; its row says so where it is missing) stands beside ours with our own encoder and
decoder, their start, the order of pictures, batches, epochs, learning rate and its schedule. What is pythae's is the
way from pictures to a loss; plain Adam moves the weights, neither averaging them nor clipping gradients. Its own
trainer is not taken: it would change order and schedule too.

An interrupted command goes on where it was when it is given the same --work again, only pythae's model begins anew.
What was measured is kept beside the model and not measured again. Progress goes to stderr, the tables to stdout.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import peers
import study
import torch
from torch import Tensor, nn

from saree_vae import checkpoint, config, likelihood, metrics, train
from saree_vae.checkpoint import Run
from saree_vae.config import Config
from saree_vae.encoding import to_tensor
from saree_vae.errors import SareeError
from saree_vae.files import atomic_write
from saree_vae.vae import VAE

HELD_OUT = 1000  # training digits that are only watched
SEED_OF_PIXELS = 20  # of the fixed binarisation, and of the test digits'
FEW, MANY = 500, 5000  # draws of z in the bound that stands for the likelihood: of every model, and of long ones
ELBO_DRAWS = 10  # single draws of which the ELBO is the mean
PART = 500  # test digits between two words of progress


@dataclass(frozen=True)
class Setting:
    """One model of the table."""

    name: str
    changes: tuple[str, ...] = ()
    fixed: bool = False  # binarised once
    epochs: int = 30
    long: bool = False  # beside published numbers; the others are compared among themselves
    start: str = ""  # the setting whose weights are trained further; none: from the beginning
    pythae: bool = False  # trained by pythae


# What must pay from the start is given up before it is of use (Sonderby et al. 2016): without, a ladder is 5 nats worse
# after 10 epochs, and flows gain nothing. One layer of independent normals, after 30, is 0.7 better without.
WARM_UP = ("objective.kl_warmup=0.4",)

SETTINGS = (
    Setting("VAE, long", epochs=400, long=True),
    # With 50 draws a step takes eight times as long, so the first epochs are those with one.
    Setting(
        "IWAE, 50 draws, long",
        ("objective.samples=50", "train.learning_rate=7e-4"),
        epochs=30,
        long=True,
        start="VAE, long",
    ),
    Setting("VAE"),
    Setting("IAF", ("model.posterior=iaf", *WARM_UP)),
    Setting("ladder of 2", ("model.levels=2", "model.level_dim=100", *WARM_UP)),
    Setting("VAE, fixed", fixed=True),
    Setting("pythae VAE, fixed", fixed=True, pythae=True),
    Setting("VampPrior, fixed", ("model.prior=vamp", "model.components=500"), fixed=True),
)


class Goal(NamedTuple):
    """That the NLL of `model` is at most `limit`, or that it is lower than that of `than` by at least so much."""

    title: str
    published: str
    limit: float  # nats
    model: str
    than: str = ""


GOALS = (
    Goal("VAE, dynamic", "86.76 (Burda et al. 2016)", 88.0, "VAE, long"),
    Goal("IWAE, 50 draws, dynamic", "84.78 (Burda et al. 2016)", 86.3, "IWAE, 50 draws, long"),
    Goal("ours over pythae's VAE, fixed", "89.78 (pythae, another network)", 0.0, "VAE, fixed", "pythae VAE, fixed"),
    Goal("IAF over independent normals", "81.08 to 79.10 (Kingma et al. 2016, another network)", 0.8, "IAF", "VAE"),
    Goal(
        "VampPrior over standard normal, fixed",
        "89.9 to 85.57 (as pythae quotes; its own: 89.78 to 85.79)",
        1.0,
        "VampPrior, fixed",
        "VAE, fixed",
    ),
    Goal("two layers of latents over one", "86.76 to 85.33 (Burda et al. 2016)", 0.8, "ladder of 2", "VAE"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    models, bounds = [], {}
    for setting in SETTINGS:
        if not options.only or setting.name in options.only:
            row, bounds[setting.name] = _row(setting, options)
            models.append(row)
    report = {"digits": len(digits(options.data, "t10k")[0]), "models": models, "goals": goals(bounds)}
    study.tell(report, markdown, options.json)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with the files of MNIST")
    parser.add_argument("--work", default="mnist_work", help="folder of what was trained, used again if it is there")
    parser.add_argument("--epochs", type=int, help="of every model, for a quick look")
    parser.add_argument("--only", action="append", choices=[s.name for s in SETTINGS], help="may be given again")
    parser.add_argument("--json", help="also write the figures here")
    return parser.parse_args(arguments)


# --- pictures ---


def digits(folder: str | Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, 28, 28, 1) uint8 and labels (N,) of "train" or "t10k".

    Raises:
        SareeError: a file is missing, or is no such file.
    """
    found = []
    for kind, start, shape in (("images-idx3", 16, (-1, 28, 28, 1)), ("labels-idx1", 8, -1)):
        path = Path(folder) / f"{part}-{kind}-ubyte.gz"
        try:
            values = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=start)
            found.append(values.reshape(shape).copy())
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise SareeError(f"{path}: not a file of MNIST ({error})") from None
    return found[0], found[1]


def fixed(pictures: np.ndarray, part: str) -> np.ndarray:
    """Each pixel drawn once as 0 or 255 by its brightness."""
    draw = np.random.default_rng((SEED_OF_PIXELS, part == "train"))
    return (draw.random(pictures.shape, np.float32) < pictures / np.float32(255)).astype(np.uint8) * 255


def to_learn(folder: str, *, once: bool = False) -> train.Arrays:
    """What is trained on and what is only watched; binarised `once`, or grey for a model that draws anew."""
    pictures, _ = digits(folder, "train")
    pictures = fixed(pictures, "train") if once else pictures
    return train.Arrays(pictures[:-HELD_OUT], pictures[-HELD_OUT:])


def observed(setting: Setting, model: VAE, folder: str) -> Tensor:
    """The test digits as 0 and 1, (N, 1, 28, 28): the same for all models of one binarisation."""
    pictures, _ = digits(folder, "t10k")
    x = to_tensor(fixed(pictures, "t10k") if setting.fixed else pictures, channels=1)
    return model.observed(x, torch.Generator().manual_seed(SEED_OF_PIXELS))


# --- training ---


def trained(setting: Setting, options: argparse.Namespace) -> Run:
    """The run of a setting: gone on with if it was begun, only loaded if it is complete.

    Raises:
        peers.Missing: pythae is not here.
    """
    binary = ["model.binary=false"] if setting.fixed else []
    epochs = options.epochs or setting.epochs
    settings = config.load("mnist", [f"train.epochs={epochs}", *binary, *setting.changes])
    arrays = to_learn(options.data, once=setting.fixed)
    folder = folder_of(setting.name, options)

    def watch(progress: train.Progress) -> None:
        if progress.row and progress.epoch % 10 == 0:
            say_epoch(folder, progress.row)

    if setting.pythae:
        _train_pythae(settings, arrays, folder)
    else:
        start = checkpoint.load(folder_of(setting.start, options)) if setting.start else None
        train.train(settings, arrays, folder, start=start, resume=True, watch=watch, tell=study.say)
    return checkpoint.load(folder)


def folder_of(name: str, options: argparse.Namespace) -> Path:
    return Path(options.work) / name.replace(", ", "_").replace(" ", "_")


def say_epoch(folder: Path, row: dict) -> None:
    study.say(f"{folder}: epoch {row['epoch']}, {row['reconstruct'] * 784:.2f} nats, {row['images_per_s']:.0f}/s")


def _train_pythae(settings: Config, arrays: train.Arrays, folder: Path) -> None:
    """Train our networks as pythae's VAE, and write them as a run folder, which is complete or has no model."""
    peers.need_pythae()
    file, about = folder / "model.safetensors", {"settings": config.save_text(settings), "data": arrays.digest()}
    if file.exists():
        was = checkpoint.load_tensors(file)[1]
        if config.of_text(was["settings"]) != settings or was["data"] != about["data"]:
            raise SareeError(f"{file} was made with other settings or other data; choose another --work")
        return
    torch.manual_seed(settings.train.seed)
    net = VAE(settings.model)
    net.centre(to_tensor(arrays.train.mean(0, keepdims=True), channels=1)[0])
    model, plan = _in_pythae(net), train.Plan(len(arrays.train), settings.train, 0, 1)
    rate = settings.train.learning_rate
    adam = torch.optim.Adam(net.parameters(), lr=rate)
    log = train.Log(folder, 0)
    for step, keys in enumerate(plan):
        adam.param_groups[0]["lr"] = rate * train.warm_cosine(step / plan.steps, settings.train.warmup)
        loss = model({"data": to_tensor(arrays.train[[index for _, index in keys]], channels=1)}).loss
        adam.zero_grad()
        loss.backward()
        adam.step()
        log.add({"reconstruct": loss.item() / 784}, plan.batch)
        epoch, within = divmod(step + 1, plan.per_epoch)
        if not within:
            row = log.end_epoch(epoch, step + 1, {})
            if epoch % 10 == 0:
                say_epoch(folder, row)
    checkpoint.save_config(folder, settings)
    checkpoint.save_tensors(file, net.state_dict(), about)


def _in_pythae(net: VAE) -> nn.Module:
    """pythae's VAE around our encoder and decoder: it draws z and makes the loss."""
    from pythae.models import VAE as PythaeVAE
    from pythae.models import VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def forward(self, x: Tensor) -> ModelOutput:
            posterior = net.encode(x)
            return ModelOutput(embedding=posterior.mu, log_covariance=2 * posterior.sigma.log())

    class Decoder(BaseDecoder):
        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=net.decode(z))

    shape = VAEConfig(input_dim=(1, 28, 28), latent_dim=net.latent_dim, reconstruction_loss="bce")
    return PythaeVAE(shape, Encoder(), Decoder())


# --- measuring ---


def _row(setting: Setting, options: argparse.Namespace) -> tuple[dict, dict[int, np.ndarray]]:
    """What is told of a model, and its bound on log p(x) of each test digit by how many draws it was made."""
    about = {"name": setting.name, "binarisation": "fixed" if setting.fixed else "dynamic"}
    try:
        run = trained(setting, options)
    except peers.Missing as reason:
        return about | {"missing": str(reason)}, {}
    x = observed(setting, run.model, options.data)
    bounds = {samples: bound(run, x, samples) for samples in ((FEW, MANY) if setting.long else (FEW,))}
    nll = {str(samples): _figure(-values) for samples, values in bounds.items()}
    return about | {"epochs": run.config.train.epochs, "nll": nll} | facts(run, x) | cost(run), bounds


def bound(run: Run, x: Tensor, samples: int) -> np.ndarray:
    """The importance-weighted bound on log p(x) of each digit, (N,) nats; kept in the run folder."""
    known_as = hashlib.sha256(run.fingerprint.encode() + x.numpy().tobytes()).hexdigest()[:16]
    file = run.path / f"bound_{samples}_{known_as}.json"
    if not file.exists():
        noise, found = torch.Generator(run.device).manual_seed(0), []
        for part in x.split(PART):
            found += likelihood.bound(run.model, part.to(run.device), samples, noise).tolist()
            study.say(f"{run.path}: {len(found):,} of {len(x):,} digits by {samples:,} draws")
        with atomic_write(file) as temporary:
            temporary.write_text(json.dumps([round(nats, 4) for nats in found]), encoding="utf-8")
    return np.array(json.loads(file.read_text(encoding="utf-8")))


@torch.inference_mode()
def facts(run: Run, x: Tensor) -> dict[str, float]:
    """ELBO and rate in nats, means over digits; and how many of the first layer's latents are active."""
    noise, draws, means = torch.Generator(run.device).manual_seed(0), [], []
    for part in x.to(run.device).split(PART):
        draws += [run.model.elbo(part, noise) for _ in range(ELBO_DRAWS)]
        means.append(run.model.encode(part).mu)
    elbo, rate = (float(torch.cat(each).mean()) for each in zip(*((one.value, one.rate) for one in draws), strict=True))
    return {"elbo": elbo, "rate": rate, "active": int((torch.cat(means).var(0) > likelihood.VARIES).sum())}


def cost(run: Run) -> dict[str, float]:
    """Wall clock of training, and the size of the model."""
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    epoch = rows[0]["step"] * run.config.train.batch_size  # pictures
    seconds = sum(epoch / row["images_per_s"] for row in rows)
    speed = {"minutes": seconds / 60, "images_per_s": epoch * len(rows) / seconds}
    return speed | {"parameters": sum(parameter.numel() for parameter in run.model.parameters())}


def goals(bounds: dict[str, dict[int, np.ndarray]]) -> list[dict]:
    """What was asked and what came out, of bounds by model and draws; digits of a pair are compared one by one."""
    found = []
    for goal in GOALS:
        row = {"name": goal.title, "published": goal.published}
        row["required"] = f"gain >= {goal.limit}" if goal.than else f"<= {goal.limit}"
        pair = [bounds.get(name) for name in (goal.model, goal.than) if name]
        if all(pair):
            ours, *other = (-each[max(each)] for each in pair)
            row["ours"] = _figure(other[0] - ours if other else ours)
            row["of"] = [float(each.mean()) for each in (*other, ours)]
            value = row["ours"]["value"]
            row["met"] = bool(value >= goal.limit if other else value <= goal.limit)
        found.append(row)
    return found


def _figure(values: np.ndarray) -> dict[str, float]:
    low, high = metrics.bootstrap_interval(values)
    return {"value": float(values.mean()), "low": low, "high": high}


# --- the tables ---


def markdown(report: dict) -> str:
    """What the figures were made with, what was asked, and the models."""
    made = (
        f"Negative log-likelihood (NLL) in nats of {report['digits']:,} test digits, each binarised once, as the "
        f"importance-weighted bound gives it: by {MANY:,} draws of z for each digit for the long runs, by {FEW:,} for "
        "the others. Mean and 95 % bootstrap interval over digits, of one training each."
    )
    asked = study.table(["", "published", "required", "ours", "verdict"], map(_goal_cells, report["goals"]))
    draws = [f"NLL, {samples:,} draws" for samples in (FEW, MANY)]
    head = ["", "binarisation", "epochs", "ELBO", *draws, "rate", "active", "parameters", "minutes", "images/s"]
    notes = (
        "ELBO: mean of single draws. Rate: KL in nats. Active: latents of the first layer whose posterior mean varies "
        f"over digits by more than {likelihood.VARIES} (Burda et al. 2016). Minutes: wall clock of training."
    )
    models = study.table(head, (_model_cells(row, len(head)) for row in report["models"]))
    return f"{made}\n\n{asked}\n\n{models}\n\n{notes}"


def _goal_cells(row: dict) -> list[str]:
    cells = [row["name"], row["published"], row["required"]]
    if "ours" not in row:
        return [*cells, "", "not measured"]
    between = f" ({row['of'][0]:.2f} to {row['of'][1]:.2f})" if len(row["of"]) > 1 else ""
    return [*cells, study.cell(row["ours"], 2) + between, "met" if row["met"] else "missed"]


def _model_cells(row: dict, columns: int) -> list[str]:
    cells = [row["name"], row["binarisation"]]
    if "missing" in row:
        return [*cells, row["missing"], *[""] * (columns - 3)]
    nll = [study.cell(row["nll"][str(samples)], 2) if str(samples) in row["nll"] else "" for samples in (FEW, MANY)]
    cells += [str(row["epochs"]), f"{row['elbo']:.2f}", *nll, f"{row['rate']:.2f}", str(row["active"])]
    return [*cells, f"{row['parameters']:,}", f"{row['minutes']:.1f}", f"{row['images_per_s']:,.0f}"]


if __name__ == "__main__":
    study.run(main)
