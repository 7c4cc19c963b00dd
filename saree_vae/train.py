"""The training loop, whole: what happens in a step is answered by reading `train` once."""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import json
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from . import checkpoint, data, images, kin, metrics, sheets, views
from .checkpoint import Run
from .config import Config, Objective, Train
from .config import of_text as config_of_text
from .config import save_text as config_text
from .distributions import Normal
from .encoding import encode, encode_items, shrunk, to_images, to_tensor
from .errors import SareeError
from .files import atomic_write
from .latents import WEIGHTS, Latents, unit, weighted
from .likelihood import ACTIVE, active_units
from .networks import motif_features
from .objective import Elbo, info_nce, supervised_contrast, total_correlation
from .optimizer import OPTIMIZERS
from .vae import VAE, Encoded
from .views import NAMES

EXPLODED = 1e4  # the terms are of order 1 per pixel value; nothing healthy comes near
WATCHED = 200  # validation pictures measured during training
SAMPLE = 64  # training pictures by which the latents are fitted to their priors
# Streams of random numbers, beside the two of `views`: order, another photograph of the piece, a piece of its kin.
ORDER, OTHER, KIN = 3, 4, 5
RELATIVES = 8  # pieces that may be kin to a piece at most
AMONG = 400  # pieces for each of these: the nearest of few are mostly strangers
PARTS = 4  # small ones of a picture, whose mean with the whole it is told by
MOTIF = "motif_encoder."  # where the names of its weights begin
UNTOLD = 0.2  # share of pictures whose class a conditional model is not told: so it learns to do without


@dataclass(frozen=True)
class Progress:
    """One finished step, for whoever watches. `row` is set when an epoch ended: the line of metrics.jsonl."""

    step: int
    steps: int
    epoch: int
    images_per_s: float
    row: dict | None = None


@dataclass(frozen=True)
class Arrays:
    """Pictures in memory, in place of a data set: (N, S, S, C) uint8 of the model's own size, seen as they are."""

    train: np.ndarray
    val: np.ndarray
    clusters: tuple[str | None, ...] = ()  # of `train`, where they are known

    def digest(self) -> str:
        return hashlib.sha256(self.train.tobytes()).hexdigest()


def train(
    config: Config,
    dataset: data.DataSet | Arrays,
    run: str | Path,
    *,
    start: Run | None = None,
    resume: bool = False,
    strict: bool = False,
    opening: Callable[[int, int], None] | None = None,
    watch: Callable[[Progress], None] | None = None,
    tell: Callable[[str], None] = print,
) -> Path:
    """Train on the `train` split, watch the `val` split, and write the run folder.

    The averaged weights go to `model.safetensors` after every epoch, all that resuming needs to `last/`. Order, views
    and noise depend only on the seed and the step, so a resumed run ends where an uninterrupted one does.

    Args:
        start: a run of the same model settings, whose weights are trained further; of another motif encoder, all
            weights but that encoder's.
        strict: stop at the first picture that cannot be read, instead of leaving it out and saying so.
        opening: called with (done, total) while the pictures are read.
        watch: called after every step by the first process.
        tell: takes warnings and remarks for people.

    Raises:
        SareeError: the run folder is taken, the start's weights do not fit, too few pictures, a loss that is not finite
            or explodes, an interruption.
    """
    run, settings = Path(run), config.train
    if config.objective.kin and (start is None or isinstance(dataset, Arrays)):
        raise SareeError("objective.kin needs a model to begin with, which tells what is like what: add --from RUN")
    _keep_freed_memory()
    fabric = _fabric(settings)
    first = fabric.is_global_zero
    tell = tell if first else _say_nothing
    fetched = _fetched(config, run, start, resume)
    if first:
        _claim(run, config, resume)
    if config.objective.kin:
        start.model.to(fabric.device)  # it looks at every picture
    material = _material(config, dataset, start, strict, opening, tell)
    config = _with_classes(config, material)
    model = _fresh_model(config, material, start, fetched).to(memory_format=torch.channels_last)
    learnt = model.motif_encoder.features.parameters() if config.model.pretrained else ()
    own = OPTIMIZERS[settings.optimizer](model, settings.learning_rate, settings.weight_decay, learnt)
    stepper, optimizer = fabric.setup(model, own)
    plan = Plan(len(material.images), settings, fabric.global_rank, fabric.world_size)
    known = f"{dataset.digest()}, {len(material.images)} readable"
    state = State(run, config, known, plan, model, own, start, _sample(material, config))
    if resume:
        tell(state.restore())
    plan.start = state.step
    if first and isinstance(dataset, data.DataSet):
        checkpoint.save_seen(run, dataset.of("train"), start.seen if start else frozenset())
    log = Log(run, state.step)
    learn = Learner(config, fabric, stepper, optimizer, len(material.images))
    with _stop_signals() as stop:
        for batch in _loader(config, material, plan, fabric.device.type):
            rate = settings.learning_rate * warm_cosine(state.step / plan.steps, settings.warmup)
            for group in own.param_groups:
                group["lr"] = group["pace"] * rate
            told = learn(batch, state.step, plan.steps, partial(_refuse_broken, state=state))
            state.follow()
            log.add(told, plan.batch)
            epoch, within = divmod(state.step, plan.per_epoch)
            row = None
            if first and within == 0:
                drawn = epoch % settings.pictures_every == 0 or state.step == plan.steps
                row = log.end_epoch(epoch, state.step, _watch(state, material, epoch, tell) if drawn else {})
                state.save()
            if first and watch:
                watch(Progress(state.step, plan.steps, epoch, log.images_per_s, row))
            if _anyone(fabric, bool(stop)) and state.step < plan.steps:
                if first and within:
                    state.save()
                done = f"stopped after step {state.step} of {plan.steps}, and saved"
                raise SareeError(f"{run}: {done}; add --resume to go on, or call a quickstart again")
    _part_ways(fabric)
    return run


@dataclass(frozen=True)
class Learner:
    """One step of training: forward, terms, backward, a move of the weights."""

    config: Config
    fabric: Fabric
    model: torch.nn.Module  # as `fabric.setup` gave it
    optimizer: torch.optim.Optimizer
    pictures: int  # in the training set

    def __call__(self, batch: dict[str, Tensor], step: int, steps: int, check: Callable) -> dict[str, float]:
        """The value of every term; `check` sees those that are minimised, and the gradient's norm, before the move."""
        fabric, objective, settings = self.fabric, self.config.objective, self.config.train
        noise = torch.Generator(fabric.device).manual_seed(_seed(settings.seed, step, fabric.global_rank))
        views = {name: self._picture(batch[name], noise) for name in ("clean", *NAMES, "kin") if name in batch}
        clusters = batch["cluster"].to(fabric.device)
        hidden = torch.rand(clusters.shape, generator=noise, device=clusters.device) < UNTOLD
        out = self.model(
            views,
            noise,
            decode=objective.decode,
            samples=objective.samples,
            swap=objective.swap > 0,
            classes=(clusters + 1).masked_fill(hidden, 0) if self.config.model.conditional else None,
        )
        terms = _terms(out, clusters, self.config, step / steps, self.pictures, _gather(fabric))
        told = dict(zip(terms, torch.stack([*terms.values()]).tolist(), strict=True))
        weighted = {name: float(getattr(objective, name)) for name in terms if hasattr(objective, name)}
        check({name: told[name] for name in weighted})
        self.optimizer.zero_grad()
        fabric.backward(sum(weight * terms[name] for name, weight in weighted.items()))
        norm = fabric.clip_gradients(self.model, self.optimizer, max_norm=settings.clip, error_if_nonfinite=False)
        check({"gradient norm": norm.item()})
        self.optimizer.step()
        return told

    def _picture(self, images: Tensor, noise: torch.Generator) -> Tensor:
        x = to_tensor(images, self.fabric.device, self.config.model.channels)
        return torch.bernoulli(x, generator=noise) if self.config.model.binary else x


def _terms(
    out: Encoded,
    clusters: Tensor,
    config: Config,
    progress: float,
    pictures: int,
    gather: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """The parts of the loss, each (); ELBO and swap are per pixel value, contrasts in nats.

    `clusters` (B,) are numbers, negative where unknown; they count only with `objective.labels`.
    """
    objective, values = config.objective, out.recon[0].numel()
    motif = {name: gather(mu) for name, mu in out.motif.items()}
    colour = {name: gather(mu) for name, mu in out.colour.items()}
    held = {} if objective.capacity is None else {"capacity": objective.capacity * min(1.0, 2 * progress)}
    beta = objective.beta * (1.0 if held else _warmed(progress, objective))
    terms = {"reconstruct": out.elbo.loss(beta=beta, free_bits=objective.free_bits, **held) / values}
    if out.swap is not None:
        terms["swap"] = -out.swap.mean() / values
    for name, means, weight in (
        ("contrast_motif", motif, objective.contrast_motif),
        ("contrast_colour", colour, objective.contrast_colour),
    ):
        if weight and len(means) > 1:
            terms[name] = _contrast(means, objective.temperature)
    if objective.labels:
        terms["labels"] = _labelled(motif, gather(clusters), objective)
    if objective.total_correlation:
        terms["total_correlation"] = total_correlation(*_side_by_side(out), pictures) / values
    if out.codes:
        terms["commit"] = out.codes.away.mean()
    return terms | {name: value.detach() for name, value in _only_watched(out).items()}


def _only_watched(out: Encoded) -> dict[str, Tensor]:
    told = {"recon": out.elbo.recon.mean()}
    told |= {f"kl_{name}": kl.sum(1).mean() for name, kl in out.elbo.kl.items()}
    if out.bound is not None:
        told["bound"] = out.bound.mean().float()
    if out.codes:
        told["perplexity"] = out.codes.perplexity
    return told


def _warmed(progress: float, objective: Objective) -> float:
    """How much of beta counts: it rises over `kl_warmup` of training, or of each cycle's part of it."""
    share = progress * objective.kl_cycles
    share -= min(int(share), objective.kl_cycles - 1)
    warmup = objective.kl_warmup
    return min(1.0, share / warmup) if warmup else 1.0


def _side_by_side(out: Encoded) -> tuple[Normal, Tensor]:
    """Posterior and draw of all halves together, (B, D)."""
    halves = list(out.posterior)
    parts = [out.posterior[half] for half in halves]
    whole = Normal(torch.cat([q.mu for q in parts], 1), torch.cat([q.sigma for q in parts], 1))
    return whole, torch.cat([out.draws[half].z for half in halves], 1)


def _contrast(means: dict[str, Tensor], temperature: float) -> Tensor:
    """InfoNCE between every two views of a half, averaged."""
    pairs = list(itertools.combinations(means.values(), 2))
    return sum(info_nce(a, b, temperature) for a, b in pairs) / len(pairs)


def _labelled(motif: dict[str, Tensor], clusters: Tensor, objective: Objective) -> Tensor:
    """All views of all pictures of a cluster should lie together in the motif half."""
    return supervised_contrast(torch.cat([*motif.values()]), clusters.repeat(len(motif)), objective.temperature)


def _refuse_broken(values: dict[str, float], state: State) -> None:
    for name, value in values.items():
        if not abs(value) < (EXPLODED if name in Objective.model_fields else math.inf):  # also catches NaN
            kept = (
                f"The last good model is in {state.run}"
                if (state.run / "model.safetensors").exists()
                else "None is kept"
            )
            raise SareeError(
                f"training stopped at step {state.step}: '{name}' is {value:.3g}; try a lower train.learning_rate or "
                f"train.precision float32. {kept}"
            )


class State:
    """All that changes while training: weights, their average, the optimizer, the step."""

    def __init__(
        self,
        run: Path,
        config: Config,
        pictures: str,
        plan: Plan,
        model: VAE,
        optimizer: torch.optim.Optimizer,
        start: Run | None,
        sample: Tensor,
    ):
        self.run, self.config, self.model, self.optimizer = run, config, model, optimizer
        self.sample = sample  # of the training pictures
        self.step = 0
        self.average = checkpoint.weights_of(model)
        # Where and by how many workers the views are made changes nothing; all else must be as it was.
        settings = config.train.model_copy(update={"device": "auto", "workers": 0})
        self.same = {
            "data": pictures,
            "settings": config_text(config.model_copy(update={"train": settings})),
            "batch": f"{plan.batch} pictures by {plan.world} processes",
            "start": start.fingerprint if start else "none",
            "optimizer": config.train.optimizer,
        }

    def follow(self) -> None:
        """Count a finished step and move the averaged weights towards the present ones."""
        self.step += 1
        # A young average forgets faster, or the random start would linger in it.
        decay = min(self.config.train.ema, self.step / (self.step + 10))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def averaged(self) -> Run:
        """The averaged model, its halves as wide as their priors, in evaluation mode."""
        model = VAE(self.config.model.model_copy(update={"pretrained": False}))
        model.load_state_dict(self.average)
        device = next(self.model.parameters()).device
        model = model.to(device, memory_format=torch.channels_last).eval()
        model.fit_to_prior(self.sample.to(device))
        return Run(self.run, self.config, model, fingerprint="")

    def save(self) -> None:
        """Write the averaged model, then all that resuming needs, each file atomically."""
        checkpoint.save(self.run, self.config, self.averaged().model.state_dict())
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for number, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{k}": v for k, v in values.items()}
        checkpoint.save_tensors(self.run / "last" / "state.safetensors", tensors, {"step": str(self.step)} | self.same)

    def restore(self) -> str:
        """Go back to what `save` wrote, if it did; says in a sentence where that is.

        Raises:
            SareeError: the run was made with other settings or other data.
        """
        path = self.run / "last" / "state.safetensors"
        if not path.exists():
            return f"{self.run} holds no finished epoch; starting from the beginning"
        tensors, about = checkpoint.load_tensors(path)
        for what, mine in self.same.items():
            theirs = about.get(what)
            # Settings that are newer than the run stood, unsaid, at their defaults.
            newer = what == "settings" and theirs and config_of_text(theirs) == config_of_text(mine)
            if theirs != mine and not newer and not (theirs is None and mine == "none"):
                raise SareeError(
                    f"{self.run} was made with other {what}"
                    + (f" ({theirs}, now {mine})" if what == "batch" else "")
                    + "; resume with what it was made with, or choose another folder"
                )
        parts: dict[str, dict] = {"model": {}, "average": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        self.model.load_state_dict(parts["model"])
        for name, tensor in parts["average"].items():
            self.average[name].copy_(tensor)
        moments: dict[int, dict] = {}
        for name, tensor in parts["optimizer"].items():
            number, _, field = name.partition(".")
            moments.setdefault(int(number), {})[field] = tensor
        self.optimizer.load_state_dict({"state": moments, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.step = int(about["step"])
        return f"{self.run}: going on from step {self.step}"


class Plan:
    """Which pictures each step sees, as (epoch, index), seeded by epoch; each process takes every world-th one."""

    def __init__(self, count: int, settings: Train, rank: int, world: int, start: int = 0):
        self.count, self.start, self.rank, self.world = count, start, rank, world
        self.seed, self.batch = settings.seed, min(settings.batch_size, count) // world * world
        if not self.batch:
            raise SareeError(f"{world} processes cannot share batches of {min(settings.batch_size, count)} pictures")
        self.per_epoch = count // self.batch
        self.steps = settings.epochs * self.per_epoch

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in range(self.start, self.steps):
            epoch, within = divmod(step, self.per_epoch)
            order = np.random.default_rng((self.seed, ORDER, epoch)).permutation(self.count)
            batch = order[within * self.batch : (within + 1) * self.batch]
            yield [(epoch, int(index)) for index in batch[self.rank :: self.world]]


class TrainingViews(Dataset):
    """The views of a picture in an epoch, by (epoch, index), each (S, S, C) uint8, and "cluster", its number.

    All, or "clean" alone where no other teaches; of `Arrays`, which need no reading, whole batches at once.
    """

    def __init__(self, config: Config, material: Material):
        self.pictures, self.size, self.seed = material.images, config.model.image_size, config.train.seed
        self.clusters = _numbers(material.clusters)
        self.kin = material.kin
        self.pieces = _numbers(material.pieces if config.objective.items else [None] * len(material.pieces))
        objective, self.as_they_are = config.objective, material.as_they_are
        taught = (objective.swap, objective.contrast_motif, objective.contrast_colour, objective.labels)
        self.compared = any(taught)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, np.ndarray]:
        epoch, index = key
        named = {"index": index, "epoch": epoch, "seed": self.seed, "only_clean": not self.compared}
        others = {"other": self._other(epoch, index), "kin": self._relative(epoch, index)}
        made = views.training_views(self.pictures[index], self.size, **others, **named)
        return made | {"cluster": self.clusters[index]}

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[dict[str, np.ndarray]] | dict[str, np.ndarray]:
        if not self.as_they_are:
            return [self[key] for key in keys]
        rows = [index for _, index in keys]
        return {"clean": self.pictures[rows], "cluster": self.clusters[rows]}

    def _other(self, epoch: int, index: int) -> np.ndarray | None:
        """Every second time another photograph of the same piece, where there is one."""
        others = np.flatnonzero((self.pieces == self.pieces[index]) & (self.pieces >= 0))
        others = others[others != index]
        draw = np.random.default_rng((self.seed, OTHER, epoch, index))
        return self.pictures[draw.choice(others)] if len(others) and draw.random() < 0.5 else None

    def _relative(self, epoch: int, index: int) -> np.ndarray | None:
        """One of the pictures like it, or itself where there is none; None where nobody asks."""
        if not len(self.kin):
            return None
        draw = np.random.default_rng((self.seed, KIN, epoch, index))
        return self.pictures[draw.choice(self.kin[index]) if len(self.kin[index]) else index]


class Log:
    """Means over an epoch, kept as one line of `metrics.jsonl` each."""

    def __init__(self, run: Path, step: int):
        self.path = run / "metrics.jsonl"
        rows = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        self.rows = [row for row in map(json.loads, rows) if row["step"] <= step]
        self._start_epoch()

    def _start_epoch(self) -> None:
        self.sums: dict[str, float] = {}
        self.steps, self.images, self.began = 0, 0, time.perf_counter()

    @property
    def images_per_s(self) -> float:
        return self.images / (time.perf_counter() - self.began)

    def add(self, terms: dict[str, float], images: int) -> None:
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.steps, self.images = self.steps + 1, self.images + images

    def end_epoch(self, epoch: int, step: int, measured: dict) -> dict:
        means = {name: total / self.steps for name, total in self.sums.items()}
        row = {"epoch": epoch, "step": step, **means, "images_per_s": self.images_per_s, **measured}
        self.rows.append(row)
        with atomic_write(self.path) as temporary:
            temporary.write_text("".join(json.dumps(r) + "\n" for r in self.rows), encoding="utf-8")
        self._start_epoch()
        return row


def _watch(state: State, material: Material, epoch: int, tell: Callable[[str], None]) -> dict:
    """Measure the averaged model on validation pictures, draw a grid, and warn of collapse."""
    run, size = state.averaged(), state.config.model.image_size
    clean = shrunk(material.watched, size)
    terms = _mean_terms(run, clean)
    measured = {"val_elbo": float(terms.value)} | ({} if material.as_they_are else _found(run, material.watched))
    for half, dim in run.model.halves:
        values = terms.kl.get(half, torch.empty(1, 0))[0]
        if len(values) != dim:  # the KL is known as a whole only, or there is none
            continue
        active = int(active_units(terms.kl[half]).sum())
        measured[f"active_{half}"] = active
        measured[f"kl_{half}_each"] = [round(float(value), 4) for value in values]
        if active < len(values) / 2:
            tell(
                f"epoch {epoch}: only {active} of {len(values)} {half} dimensions are active (KL above {ACTIVE} nat): "
                "the posterior is collapsing; lower objective.beta or raise objective.free_bits"
            )
    _draw(run, clean[:8], state.run / "pictures" / f"epoch_{epoch:04d}.png")
    return measured


def _found(run: Run, watched: np.ndarray) -> dict[str, float]:
    """R@1 of each changed picture among the clean ones."""
    size, found, clean = run.config.model.image_size, {}, _embedded(encode(run, watched))
    for name, half in (("phone_photo", "both"), ("recoloured", "motif"), ("shuffled", "colour")):
        if half == "colour" and not run.config.model.colour_dim:
            continue
        changed = np.stack([views.evaluation_view(name, p, size, index=i) for i, p in enumerate(watched)])
        asked = _embedded(encode(run, changed))
        found[f"val_{name}"] = float(metrics.find(asked[half], clean[half], range(len(changed)))[1].mean())
    return found


def _embedded(latents: Latents) -> dict[str, np.ndarray]:
    both = weighted(latents.embedding(), latents.motif_dim, **WEIGHTS)
    return {"motif": unit(latents.motif), "colour": unit(latents.colour), "both": both}


@torch.inference_mode()
def _mean_terms(run: Run, clean: np.ndarray) -> Elbo:
    """The terms of the ELBO, averaged over pictures: recon (1,), and of each part of z (1, D)."""
    noise, channels = torch.Generator(run.device).manual_seed(0), run.config.model.channels
    parts = []
    for i in range(0, len(clean), 64):
        x = run.model.observed(to_tensor(clean[i : i + 64], run.device, channels), noise)
        parts.append(run.model.elbo(x, noise))
    kl = {name: torch.cat([part.kl[name] for part in parts]).mean(0, keepdim=True) for name in parts[0].kl}
    return Elbo(torch.cat([part.recon for part in parts]).mean(0, keepdim=True), kl)


@torch.inference_mode()
def _draw(run: Run, clean: np.ndarray, path: Path) -> None:
    """Rows of pictures and their reconstructions; with a colour half also the next picture, and this in its colours."""
    x = to_tensor(clean, run.device, run.config.model.channels)
    rows = [to_images(x), to_images(run.model.reconstruct(x))]
    if run.config.model.colour_dim:
        following = x.roll(-1, 0)
        rows += [to_images(following), to_images(run.model.reconstruct(x, following))]
    tiles = np.concatenate(rows)
    sheets.save(sheets.grid(np.repeat(tiles, 3 // tiles.shape[3], 3), len(clean)), path)


class Material(NamedTuple):
    """What is trained on and what is watched: (N, M, M, C) uint8 each, M a margin larger than the model's size."""

    images: np.ndarray
    clusters: Sequence[str | None]
    pieces: Sequence[str | None]
    watched: np.ndarray
    as_they_are: bool = False  # at the model's size, without views
    kin: Sequence[np.ndarray] = ()  # of each picture the numbers of those like it; empty where nobody asks


def _material(
    config: Config,
    dataset: data.DataSet | Arrays,
    start: Run | None,
    strict: bool,
    opening: Callable[[int, int], None] | None,
    tell: Callable[[str], None],
) -> Material:
    if isinstance(dataset, Arrays):
        named = dataset.clusters or [None] * len(dataset.train)
        return Material(dataset.train, named, [None] * len(named), dataset.val[:WATCHED], as_they_are=True)
    side = images.margin_side(config.model.image_size)
    training = data.load(dataset.of("train"), side, strict=strict, progress=opening)
    val = dataset.of("val")
    watched = data.load(val[:: math.ceil(len(val) / WATCHED) or 1], side, strict=strict)
    for bad in (*dataset.bad, *training.bad, *watched.bad):
        tell(f"skipped {bad.key}: {bad.reason}")
    if len(training.images) < 2:
        raise SareeError(
            f"{dataset.root}: training needs at least 2 readable pictures on the train split, "
            f"found {len(training.images)}"
        )
    for lacking in _nothing_to_learn(config, training.items):
        tell(lacking)
    kin = _kin(start, training.items, opening) if config.objective.kin else ()
    chosen = watched.images
    if not len(chosen):
        tell("no val split: what is watched while training (val_...) is measured on training pictures")
        chosen = training.images[:: math.ceil(len(training.images) / WATCHED)]
    clusters, pieces = [item.cluster for item in training.items], [item.item_id for item in training.items]
    return Material(training.images, clusters, pieces, chosen, kin=kin)


def _kin(start: Run, items: Sequence[data.Item], opening: Callable[[int, int], None] | None) -> list[np.ndarray]:
    """Of each item the numbers of those that the start holds for kin, as `search --kin` compares regions."""
    latents, _ = encode_items(start, items, crops=PARTS, progress=opening)
    rows = weighted(latents.means(), latents.motif_dim, **WEIGHTS)
    count = min(RELATIVES, math.ceil(len(items) / AMONG))
    place = {item.key: number for number, item in enumerate(items)}
    read = np.array([place[latents.keys[first]] for first in latents.starts])  # all, unless a file went meanwhile
    none = np.zeros(0, np.int64)
    found = dict(zip(read.tolist(), (read[near] for near in kin.mutual(rows, count)), strict=True))
    return [found.get(number, none) for number in range(len(items))]


def _sample(material: Material, config: Config) -> Tensor:
    """Training pictures to fit the halves of the latent space by, (at most SAMPLE, C, S, S)."""
    chosen = material.images[:: math.ceil(len(material.images) / SAMPLE)]
    clean = chosen if material.as_they_are else shrunk(chosen, config.model.image_size)
    return to_tensor(clean, channels=config.model.channels)


def _with_classes(config: Config, material: Material) -> Config:
    """The same with the clusters that a conditional model is to know."""
    if not config.model.conditional:
        return config
    named = config.model.model_copy(update={"classes": tuple(sorted({c for c in material.clusters if c}))})
    return config.model_copy(update={"model": named})


def _fetched(config: Config, run: Path, start: Run | None, resume: bool) -> bool:
    """Whether the motif encoder begins with weights learnt elsewhere; raises SareeError if these cannot be had.

    So that is told before anything is written or any picture read.
    """
    goes_on = resume and (run / "last" / "state.safetensors").exists()
    if goes_on or not config.model.pretrained or not _begins_anew(config, start):
        return False
    motif_features(config.model)
    return True


def _begins_anew(config: Config, start: Run | None) -> bool:
    """Whether the motif encoder is not the start's."""
    return start is None or start.config.model.encoder != config.model.encoder


def _fresh_model(config: Config, material: Material, start: Run | None, fetched: bool) -> VAE:
    """A model at its start, `fetched` with weights learnt elsewhere; a run of another encoder lends all but that."""
    torch.manual_seed(config.train.seed)
    model = VAE(config.model if fetched else config.model.model_copy(update={"pretrained": False}))
    if start is not None:
        kept = (MOTIF,) if _begins_anew(config, start) else ()
        own = {name: value for name, value in model.state_dict().items() if name.startswith(kept)}
        lent = {name: value for name, value in start.model.state_dict().items() if not name.startswith(kept)}
        try:
            model.load_state_dict(lent | own)
        except RuntimeError:
            was, now = start.config.model.model_dump(), config.model.model_dump()
            other = ", ".join(f"{name} {was[name]}, not {now[name]}" for name in now if was[name] != now[name])
            raise SareeError(f"{start.path}: its weights do not fit; it was made with {other}") from None
        return model

    def seen(pictures: np.ndarray) -> Tensor:
        return to_tensor(shrunk(pictures, config.model.image_size), channels=config.model.channels)

    if config.model.encoder == "mlp":
        model.centre(seen(material.images.mean(0, keepdims=True).round().astype(np.uint8))[0])
    if config.model.prior == "vamp":
        order = np.random.default_rng(config.train.seed).permutation(len(material.images))
        for prior in model.priors.values():
            prior.start_at(seen(material.images[np.sort(np.resize(order, config.model.components))]))
    return model


def _nothing_to_learn(config: Config, items: Sequence[data.Item]) -> Iterator[str]:
    clusters = {item.cluster for item in items if item.cluster}
    if config.model.conditional and not clusters:
        yield "model.conditional: no training picture names a cluster, so there is none that one could draw as"
    if config.objective.labels and len(clusters) < 2:
        yield "objective.labels: the training pictures do not name two clusters, so there are no labels to learn from"
    pieces = [item.item_id for item in items if item.item_id]
    if config.objective.items and len(set(pieces)) == len(pieces):
        yield "objective.items: no two training pictures share an item_id, so no second photographs are learned from"


def _numbers(names: Sequence[str | None]) -> np.ndarray:
    """Equal names as equal numbers from 0 on, (N,); -1 where there is none."""
    number = {name: place for place, name in enumerate(sorted({name for name in names if name}))}
    return np.array([number.get(name, -1) for name in names], dtype=np.int64)


def _loader(config: Config, material: Material, plan: Plan, device: str) -> DataLoader:
    workers = min(config.train.workers, _cores())
    return DataLoader(
        TrainingViews(config, material),
        collate_fn=_collated,
        batch_sampler=plan,
        num_workers=workers,
        worker_init_fn=_quiet_worker,
        pin_memory=device == "cuda",
        prefetch_factor=3 if workers else None,
        # Forked workers share the pictures' memory; a spawned one would get a copy.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
    )


def _cores() -> int:
    """That this process may use; more workers than that wait for each other."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _collated(batch: list[dict[str, np.ndarray]] | dict[str, np.ndarray]) -> dict[str, Tensor]:
    return default_collate(batch) if isinstance(batch, list) else {k: torch.from_numpy(v) for k, v in batch.items()}


def _quiet_worker(_: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the loop decides when to stop
    cv2.setNumThreads(0)


def _claim(run: Path, config: Config, resume: bool) -> None:
    """Take the folder before minutes of work; a run that can be gone on with is left as it is."""
    if run.exists() and not run.is_dir():
        raise SareeError(f"{run} is a file; a run needs a folder")
    if run.exists() and any(run.iterdir()):
        if not resume:
            raise SareeError(f"{run} exists and is not empty; add --resume to go on with it, or choose another folder")
        if not (run / "config.yaml").exists():
            raise SareeError(f"{run} is not a run folder; choose another one")
        if (run / "model.safetensors").exists() and not (run / "last" / "state.safetensors").exists():
            raise SareeError(
                f"{run} holds a model, but not its folder last/ that resuming needs; choose another folder"
            )
    else:
        checkpoint.save_config(run, config)


def _fabric(settings: Train) -> Fabric:
    device = checkpoint.pick_device(settings.device)
    world, here = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it tells every run which precision was asked for
    half = settings.precision == "bf16" or (settings.precision == "auto" and _bf16_pays(device))
    fabric = Fabric(
        accelerator=device,
        devices=here,
        num_nodes=world // here,
        strategy="ddp" if world > 1 else "auto",
        precision="bf16-mixed" if half else "32-true",
    )
    fabric.launch()
    return fabric


def _bf16_pays(device: str) -> bool:
    """On a GPU of 2020 or later, or a processor with bf16 instructions; elsewhere it is emulated and slow."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def warm_cosine(progress: float, warmup: float) -> float:
    """Share of the peak learning rate: it rises over `warmup` of training, then falls to 0 as a cosine does."""
    if progress < warmup:
        return (progress + 1e-3) / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def _seed(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


def _gather(fabric: Fabric) -> Callable[[Tensor], Tensor]:
    """Rows of all processes with their gradients, so that InfoNCE sees the whole batch."""
    if fabric.world_size == 1:
        return lambda rows: rows
    return lambda rows: fabric.all_gather(rows, sync_grads=rows.requires_grad).flatten(0, 1)


def _anyone(fabric: Fabric, here: bool) -> bool:
    if fabric.world_size == 1:
        return here
    return bool(fabric.all_reduce(torch.tensor(float(here), device=fabric.device), reduce_op="sum") > 0)


def _part_ways(fabric: Fabric) -> None:
    """Processes end together: one that leaves while threads of the others still speak to it is now and then aborted."""
    if fabric.world_size > 1:
        fabric.barrier()
        torch.distributed.destroy_process_group()


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """The first Ctrl-C (or SIGTERM) is noted, for the loop to finish its step and save; the second stops at once."""
    caught: list[int] = []

    def note(number: int, _frame: object) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    watched = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, note) for number in watched}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _keep_freed_memory() -> None:
    """Ask glibc to keep large freed blocks: returning them each step cost a quarter of the speed on a CPU."""
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            libc = ctypes.CDLL(None)
            libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
            libc.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD


def _say_nothing(_: str) -> None: ...
