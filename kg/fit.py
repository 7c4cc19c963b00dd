"""Fitting a craft-cluster head to latents and labels: what it learns from, how it is trained, how it is checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import networkx as nx
import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from sklearn.kernel_ridge import KernelRidge
from torch import Tensor

from saree_vae.errors import SareeError
from saree_vae.kin import spread
from saree_vae.latents import Latents

from .graph import resolve
from .head import Head, Knowledge, Network, embedded, knowledge, never_shown, require_finite, shown, speaking

STEPS, FEWEST_STEPS, PASSES = 2500, 600, 200  # of BATCH latents: PASSES over the pictures, within these bounds
BATCH = 128
LEARNING_RATE, WEIGHT_DECAY, WARMUP = 3e-3, 0.02, 50
BY_GRAPH = 0.5  # weight of naming the cluster by the graph alone: without it the direct path does all the work
ATTRIBUTES = 1.0  # weight of telling what is to be seen
HELD_OUT = 5  # one in so many clusters is held out to set what a cluster never shown gets
CLUSTERS = 10  # fewer than this are too few to hold some out
FEW = 20  # labelled pictures of a cluster, on average
UNLABELLED = 0.5  # share of training that pictures without a label get at most
TRUST = (0.0, 1.0, 2.0, 4.0, 8.0)  # weights of what labelled pieces claim that are tried
# Of temperatures, before any picture of val is seen, and the spread of their logarithm: a few pictures that are all
# named rightly would else make every answer certain.
USUAL, SPREAD = 2.5, 0.3
RIDGE = 0.1  # noise of what labelled pieces say; chosen on val
HEARD = 5000  # labelled pieces that say something, at most: the time grows with their cube
NOVEL = 0.05  # share of pictures like the checked ones that may be called of a cluster never shown
LONELY = 0.01  # share of checked pictures that are called unlike anything

Progress = Callable[[int, int], None]


def fit(
    latents: Latents,
    labels: Mapping[str, str | None],
    splits: Mapping[str, str],
    graph: nx.MultiDiGraph,
    *,
    model: str,
    crops: int = 0,
    by_graph: bool = True,
    unlabelled: bool | None = None,
    skip_unknown: bool = False,
    seed: int = 0,
    tell: Callable[[str], None] = print,
    progress: Progress | None = None,
) -> Head:
    """Fit a head on the pictures of the train split, and calibrate and check it on those of val.

    Labels are names of clusters as `graph.resolve` takes them. A label that the facts call a control, such as
    "pattern_striped", is no cluster, but teaches what stripes look like. Where labels are few, pictures of the train
    split that have none learn from their neighbours (`spread`).

    Args:
        latents: one or more rows for each picture.
        labels, splits: by key of the latents: train, val or test; test pictures are not looked at.
        model: fingerprint of the run that made the latents; crops: regions of a picture it was asked for.
        by_graph: False leaves the graph out, to measure what it is worth.
        unlabelled: whether pictures without a label count; None is where there are fewer than FEW labelled ones for
            each cluster: with many they cost more than they bring, as they may be of no cluster that is known.
        skip_unknown: take a label that the graph does not know for none, instead of stopping.

    Raises:
        SareeError: labels the graph does not know, fewer than two clusters, or latents that are not finite.
    """
    require_finite(latents)
    task = _task(latents, labels, splits, graph, by_graph, skip_unknown, tell)
    about, classes = task.about, len(task.ids)
    if unlabelled is None:
        unlabelled = (task.train & task.named).sum() < FEW * classes
    learning = task.train if unlabelled else task.train & (task.owner >= 0)
    taught = _taught(latents, task.owner, learning, task.shows, classes)
    held = np.random.default_rng(seed).permutation(classes)[::HELD_OUT] if classes >= CLUSTERS and by_graph else []
    count = _counter(progress, _steps(taught) * (2 if len(held) else 1))
    offset = 0.0
    if len(held):
        others = task.val & task.named & ~np.isin(task.owner, held)
        asked = np.flatnonzero((task.train & np.isin(task.owner, held)) | others)
        trial = _train(_without(taught, held), about, classes, seed, by_graph, count)
        offset = _offset(trial, about, latents.of(asked), task.owner[asked], held)
    whole, pieces = embedded(latents), np.flatnonzero(task.train & task.named)
    head = Head(
        network=_train(taught, about, classes, seed, by_graph, count),
        knowledge=about,
        model=model,
        motif_dim=latents.motif_dim,
        crops=crops,
        counts=tuple(np.bincount(task.owner[pieces], minlength=classes).tolist()),
        trust=0.0,
        temperature=1.0,
        offset=offset,
        checked=np.zeros((0, 2), np.float32),
        keys=tuple(task.keys[i] for i in pieces),
        owners=task.owner[pieces],
        pieces=whole[pieces],
        claims=claimed(whole[pieces], task.owner[pieces], classes, seed=seed),
        novel=float("-inf"),
        lonely=-1.0,
    )
    asked = np.flatnonzero(task.val & task.named)
    return _checked(head, latents.of(asked), task.owner[asked], whole[asked], tell)


class _Task(NamedTuple):
    """What the labels ask a head to learn."""

    ids: list[str]  # clusters that pictures are shown of, K
    about: Knowledge  # of these, and of those never shown
    shows: np.ndarray  # attributes of the K clusters, then of the controls
    keys: list[str]  # of the N pictures
    owner: np.ndarray  # (N,) row of `shows`; -1 where there is no label
    named: np.ndarray  # (N,) whether that is one of the clusters
    train: np.ndarray  # (N,) whether in this split
    val: np.ndarray


def _task(
    latents: Latents,
    labels: Mapping[str, str | None],
    splits: Mapping[str, str],
    graph: nx.MultiDiGraph,
    by_graph: bool,
    skip_unknown: bool,
    tell: Callable[[str], None],
) -> _Task:
    keys = [latents.keys[start] for start in latents.starts]
    split = np.array([splits[key] for key in keys])
    meant, controls = _resolved(graph, labels, skip_unknown, tell)
    names = np.array([meant.get(labels.get(key) or "", "") for key in keys], dtype=str)
    ids = sorted(set(names[split == "train"].tolist()) - {"", *controls})
    if len(ids) < 2:
        what = f"only {ids[0]}" if ids else "none"
        raise SareeError(f"a head needs pictures of two clusters or more in the train split; the labels name {what}")
    about = knowledge(graph, [*ids, *never_shown(graph, ids)])
    shows = [*about.shows[: len(ids)], *(shown(graph, f"label:{name}", about.attributes) for name in controls)]
    if not by_graph:
        about = replace(about, shows=np.zeros_like(about.shows), vectors=np.zeros_like(about.vectors))
    number = {name: at for at, name in enumerate([*ids, *controls])}
    owner = np.array([number.get(name, -1) for name in names])
    named = (owner >= 0) & (owner < len(ids))
    return _Task(ids, about, np.stack(shows), keys, owner, named, split == "train", split == "val")


def _resolved(
    graph: nx.MultiDiGraph, labels: Mapping[str, str | None], skip_unknown: bool, tell: Callable[[str], None]
) -> tuple[dict[str, str], list[str]]:
    """What each label stands for: the id of a cluster, or itself if it is a control; and the controls."""
    found, controls, wrong = {}, [], []
    for label in sorted({label for label in labels.values() if label}):
        role = graph.nodes.get(f"label:{label}", {}).get("role")
        if role == "unlabelled":
            continue
        if role == "control":
            found[label] = label
            controls.append(label)
            continue
        try:
            found[label] = resolve(graph, label).removeprefix("cluster:")
        except SareeError as error:
            wrong.append(str(error))
    if wrong and not skip_unknown:
        raise SareeError(
            f"{len(wrong)} of {len(found) + len(wrong)} labels are not in the graph: {'. '.join(wrong)}. Mend them, "
            "or leave their pictures without a label: --skip-unknown"
        )
    for message in wrong:
        tell(f"{message}; its pictures count as having no label")
    return found, controls


@dataclass(frozen=True)
class Taught:
    """What N pictures teach: C classes are S clusters, then labels that show an attribute but are no craft.

    Attributes:
        mu, sigma, of: latents (R, D), and the number of the picture that each is of, (R,).
        targets: (N, C) probabilities of classes; shows: (C, A) as `Knowledge.shows`.
        weights: (N,) how often a picture is looked at.
    """

    mu: Tensor
    sigma: Tensor
    of: np.ndarray
    targets: Tensor
    shows: Tensor
    weights: np.ndarray


def _taught(latents: Latents, owner: np.ndarray, used: np.ndarray, shows: np.ndarray, clusters: int) -> Taught:
    pictures = np.flatnonzero(used)
    of_class = owner[pictures]
    labelled = of_class >= 0
    targets = np.zeros((len(pictures), len(shows)))
    targets[labelled, of_class[labelled]] = 1
    weights = labelled.astype(float)
    if not labelled.all():
        guessed = spread(embedded(latents.of(pictures)), targets[:, :clusters])[~labelled]
        targets[~labelled, :clusters] = guessed
        most = UNLABELLED / (1 - UNLABELLED) * labelled.sum()
        weights[~labelled] = guessed.max(1) * min(1.0, most / max(guessed.max(1).sum(), 1e-12))
    chosen = latents.of(pictures)
    of = np.repeat(np.arange(len(pictures)), np.diff(np.r_[chosen.starts, len(chosen)]))
    mu, sigma, targets, shows = (torch.from_numpy(x).float() for x in (chosen.mu, chosen.sigma, targets, shows))
    return Taught(mu, sigma, of, targets, shows, weights)


def _without(taught: Taught, held: np.ndarray) -> Taught:
    """The same without the pictures that are, or are thought to be, of some classes."""
    gone = np.isin(taught.targets.argmax(1).numpy(), held)
    targets = taught.targets.clone()
    targets[:, held] = 0
    return replace(taught, targets=targets, weights=np.where(gone, 0.0, taught.weights))


def _steps(taught: Taught) -> int:
    return int(np.clip(PASSES * len(taught.weights) / BATCH, FEWEST_STEPS, STEPS))


def claimed(pieces: np.ndarray, owners: np.ndarray, clusters: int, *, seed: int = 0) -> np.ndarray:
    """What labelled pieces say of each cluster, so that together they are right about themselves: (P, S) float32.

    Kernel ridge regression of the clusters, which is the mean of a Gaussian process. Where the highest of its values is
    low, a picture is of no class that was shown (Kemmler et al. 2013, "One-class classification with Gaussian
    processes"). Of more than HEARD pieces some are drawn by the seed, and the others say nothing.

    Args:
        pieces: unit rows, (P, D); owners: (P,) the number of each one's cluster.
    """
    chosen = np.arange(len(pieces))
    if len(chosen) > HEARD:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, HEARD, replace=False))
    ridge = KernelRidge(alpha=RIDGE, kernel="precomputed")
    ridge.fit(speaking(pieces[chosen], pieces[chosen]), np.eye(clusters)[owners[chosen]])
    claims = np.zeros((len(pieces), clusters), np.float32)
    claims[chosen] = ridge.dual_coef_
    return claims


def _train(
    taught: Taught, about: Knowledge, clusters: int, seed: int, by_graph: bool, count: Callable[[], None]
) -> Network:
    """Cross-entropy of the two paths together and of the graph's alone, and of the attributes.

    Clusters are as unequal as pictures of them: the logits are raised by the log of each one's share in training, and
    not in use, which is best for the mean over clusters (logit adjustment, Menon et al. 2021, arXiv:2007.07314).
    """
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    network = Network(taught.mu.shape[1], clusters, len(about.attributes), len(about.columns))
    network.mean.copy_(taught.mu.mean(0))
    # Not below sigma: a dimension that the model left unused has one mu and much noise, which must not be blown up.
    network.std.copy_(torch.maximum(taught.mu.std(0), taught.sigma.square().mean(0).sqrt()).clamp(min=1e-6))
    adam = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = _steps(taught)
    weights = taught.weights[taught.of] / np.bincount(taught.of)[taught.of]
    ends = np.cumsum(weights / weights.sum())
    mass = torch.from_numpy(taught.weights).float() @ taught.targets  # (C,)
    prior = mass[:clusters].clamp(min=1e-6).div(mass.sum()).log()
    knows = (~taught.shows.isnan()).float()  # (C, A)
    shows, vectors = (torch.from_numpy(x[:clusters]) for x in (about.shows, about.vectors))
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + np.cos(np.pi * step / steps))
        rows = np.searchsorted(ends, draw.random(BATCH)).clip(max=len(ends) - 1)
        target = taught.targets[taught.of[rows]]  # (B, C)
        z = taught.mu[rows] + taught.sigma[rows] * torch.randn(BATCH, taught.mu.shape[1])
        seen = network(z)
        known = network.by_graph(seen, shows, vectors) if by_graph else torch.zeros(())
        loss = _cross_entropy(seen.direct + known + prior, target[:, :clusters])
        if by_graph:
            loss = loss + BY_GRAPH * _cross_entropy(known + prior, target[:, :clusters])
            loss = loss + ATTRIBUTES * _attribute_loss(seen.attributes, target / mass.clamp(min=1e-6), taught, knows)
        adam.zero_grad()
        loss.backward()
        adam.step()
        count()
    return network.eval()


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return -(target * logits.log_softmax(1)).sum(1).mean()


def _attribute_loss(logits: Tensor, share: Tensor, taught: Taught, knows: Tensor) -> Tensor:
    """Binary cross-entropy of attributes, every class counting alike; what is not known of a class does not count."""
    weight = share @ knows  # (B, A)
    wanted = share @ ((taught.shows.nan_to_num() + knows) / 2) / weight.clamp(min=1e-12)
    each = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (weight * each).sum() / weight.sum().clamp(min=1e-12)


@torch.inference_mode()
def _offset(network: Network, about: Knowledge, latents: Latents, owner: np.ndarray, held: np.ndarray) -> float:
    """What a cluster never shown gets in place of a direct logit, set on clusters `held` out of this network's fit.

    The one with which pictures of clusters held out and of the others are recognised alike often: the largest harmonic
    mean of both accuracies (Chao et al. 2016, arXiv:1605.04253).
    """
    parts = [np.isin(owner, held), ~np.isin(owner, held)]
    if not all(part.any() for part in parts):  # no labelled picture in val
        return 0.0
    seen = network(torch.from_numpy(latents.mu))
    shows, vectors = (torch.from_numpy(x[: seen.direct.shape[1]]) for x in (about.shows, about.vectors))
    known, out = network.by_graph(seen, shows, vectors).numpy(), np.isin(np.arange(len(shows)), held)
    sizes = np.diff(np.r_[latents.starts, len(latents)])[:, None]
    best, score = 0.0, -1.0
    for offset in np.arange(-15.0, 15.1, 0.25):
        logits = torch.from_numpy(known + np.where(out, offset, seen.direct)).log_softmax(1).numpy()
        right = (np.add.reduceat(logits, latents.starts) / sizes).argmax(1) == owner
        accuracies = [right[part].mean() for part in parts]
        harmonic = 2 * np.prod(accuracies) / max(sum(accuracies), 1e-12)
        if harmonic > score:
            best, score = float(offset), harmonic
    return best


def _checked(head: Head, latents: Latents, right: np.ndarray, whole: np.ndarray, tell: Callable[[str], None]) -> Head:
    """Set on labelled pictures of val: trust in pieces, temperature, the record of answers, what is new or lonely.

    Args:
        right: (V,) the number of each picture's cluster; whole: (V, D) as `embedded`.
    """
    if not len(right):
        tell("no labelled picture in the val split: probabilities are not calibrated, and no answer is sure enough")
        return replace(head, temperature=USUAL)
    truth = torch.from_numpy(right)
    found = []
    for trust in TRUST:
        scores = torch.from_numpy(replace(head, trust=trust).log_probabilities(latents))

        def loss(temperature: float, scores: torch.Tensor = scores) -> float:
            wrong = F.nll_loss((scores / temperature).log_softmax(1), truth, reduction="sum")
            return float(wrong) + math.log(temperature / USUAL) ** 2 / (2 * SPREAD**2)

        tried = minimize_scalar(loss, bounds=(0.2, 10.0), method="bounded")
        found.append((tried.fun, trust, float(tried.x), scores))
    _, trust, temperature, scores = min(found, key=lambda one: one[0])
    p, fits = (scores / temperature).softmax(1).numpy(), head.fits(whole).max(1)
    rank = int(NOVEL * (len(fits) + 1))  # split conformal
    novel = float(np.sort(fits)[rank - 1]) if rank else float("-inf")
    return replace(
        head,
        trust=trust,
        temperature=temperature,
        checked=np.stack([p.max(1), p.argmax(1) == right], 1).astype(np.float32)[fits >= novel],
        novel=novel,
        lonely=float(np.quantile((whole @ head.pieces.T).max(1), LONELY)),
    )


def _counter(progress: Progress | None, total: int) -> Callable[[], None]:
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if progress and (done % 20 == 0 or done == total):
            progress(done, total)

    return count
