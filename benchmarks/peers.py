"""Peers, in one table from one command: ours beside what else one could use, on the same pictures.

    PYTHONPATH=. python benchmarks/peers.py --data textiles/manifest.csv --epochs 8 --seed 0 --work peers_work

Whatever learns here learns on the same train split, the same flipped crops (ours, SimCLR and the plain VAE see their
changed views too), at one picture size, with as many epochs, one optimiser and one schedule. `evaluate` then measures
all of them at once for each seed. A peer that cannot be had here keeps its row, which says why. An interrupted command
goes on where it was when it is given the same --work again. Progress goes to stderr, the table to stdout.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # weights that are not here are said to be missing, not waited for

import numpy as np
import study
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saree_vae import baselines, checkpoint, config, data, evaluate, images, regions, train, views
from saree_vae.checkpoint import Run
from saree_vae.data import DataSet
from saree_vae.encoding import encode, shrunk, to_tensor
from saree_vae.errors import SareeError
from saree_vae.evaluate import OURS, VIEW_KEEPS, Describe
from saree_vae.latents import WEIGHTS, unit, weighted
from saree_vae.optimizer import OPTIMIZERS

TASKS = ("retrieval", "views", "items")
BOTH = OURS[0]
ITEMS = ("sareez", "lstearns86")  # shops whose second photographs are goals; without them, all shops there are
TIMM = "mobilenetv3_small_100"
HOG_SIDE = 64
GRID = 4  # cells a side in which the VQ-VAE's quantised map is pooled, beside its mean
CODE = 64  # channels of a quantised vector: as van den Oord et al. 2017
BATCH, ROUNDS = 64, 5
TIMED = 512  # pictures for timing, at most; PCA needs to see some hundreds to have its 64 components
OBJECTIVES = {
    "ours": (),
    "plain VAE": ("objective.swap=0", "objective.contrast_motif=0", "objective.contrast_colour=0"),
    "SimCLR alone": ("objective.reconstruct=0", "objective.swap=0"),
}
TRAINING = (
    "pythae: pythae's own loss, our optimizer, learning rate, decay and schedule, the crops and the order of pictures "
    "that ours has, float32, neither averaged weights nor clipped gradients; plain VAE and SimCLR: as ours"
)


class Missing(Exception):
    """A peer that cannot be measured here, and why."""


@dataclass(frozen=True)
class Peer:
    """One row of the table, for one seed."""

    name: str
    about: str
    describe: Describe | None = None
    by_half: Mapping[str, str] = field(default_factory=dict)  # names of its rows in `evaluate`, where not its own
    beside: Mapping[str, Describe] = field(default_factory=dict)  # what `evaluate` does not measure by itself
    facts: Mapping[str, int | str] = field(default_factory=dict)
    missing: str = ""

    @property
    def ours(self) -> bool:
        return self.name.startswith("ours")


class Column(NamedTuple):
    """A goal: a figure of a part of a task, and the half of the embedding that it is about."""

    title: str
    task: str
    part: str
    figure: str
    half: str


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    dataset = data.read_data(options.data)
    peers, found = [], []
    for seed in options.seed:
        run, row = _peers(options, dataset, seed)
        peers.append(row)
        study.say(f"seed {seed}: measuring")
        beside = {name: describe for peer in row for name, describe in peer.beside.items()}
        found.append(evaluate.evaluate(run, dataset, TASKS, seed=seed, beside=beside))
    columns = goals(found[0])
    report = {
        "seeds": options.seed,
        "config": options.config,
        "epochs": run.config.train.epochs,
        "image_size": run.config.model.image_size,
        "train_pictures": found[0]["data"]["pictures"]["train"],
        "threads": torch.get_num_threads(),
        "device": str(run.device),
        "data": found[0]["data"],
        "training": TRAINING,
        "interval": interval_kind(options.seed),
        "columns": [column._asdict() for column in columns],
    } | summary(peers, found, columns, costs(peers[0], _timed_pictures(dataset, run)))
    study.tell(report, markdown, options.json)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = study.parser(__doc__, work="peers_work")
    parser.add_argument("--seed", type=int, action="append", help="may be given several times; 0, if not given")
    parser.add_argument("--timm", default=TIMM, help="the timm model, random and pretrained")
    parser.add_argument("--weights", help="a local file of pretrained weights of the timm model")
    options = parser.parse_args(arguments)
    options.seed = list(dict.fromkeys(options.seed or [0]))
    if options.weights and not Path(options.weights).is_file():
        raise SareeError(f"--weights: no such file: {options.weights}")
    return options


# --- the peers ---


def _peers(options: argparse.Namespace, dataset: DataSet, seed: int) -> tuple[Run, list[Peer]]:
    """Our run and all rows, trained where they must be."""
    work = Path(options.work) / f"seed{seed}"
    runs = {
        name: study.trained(name, options, dataset, *own, seed=seed, within=work.name)
        for name, own in OBJECTIVES.items()
    }
    run = runs["ours"]
    rows = [*_our_rows(run), _plain_row(runs["plain VAE"]), _simclr_row(runs["SimCLR alone"])]
    rows += [_pythae_row(kind, run, dataset, work) for kind in PYTHAE]
    rows += [_timm_row(options, run.device, seed, pretrained) for pretrained in (False, True)]
    return run, [
        *rows,
        _alone("HOG", f"gradients of grey, {HOG_SIDE} x {HOG_SIDE}", hog),
        *_evaluated_rows(dataset, run),
    ]


def _our_rows(run: Run) -> list[Peer]:
    describe, facts = _embedding(run), {"parameters": _count(run.model)}
    one, found = dict.fromkeys(OURS, BOTH), {half: f"{half}, {evaluate.VERIFIED}" for half in OURS}
    searched = "as `search` does in a catalogue with regions; each goal by the half that is meant"
    return [
        Peer("ours", "each goal by the half that is meant", describe, {half: half for half in OURS}, facts=facts),
        Peer("ours, one embedding", "each goal by motif and colour", describe, one, facts=facts),
        Peer(f"ours, {evaluate.VERIFIED}", searched, _by_regions(describe), found, facts=facts),
    ]


def _plain_row(run: Run) -> Peer:
    facts = {"parameters": _count(run.model)}
    return _alone("plain VAE", "our network with the ELBO alone; motif and colour", _embedding(run), facts)


def _simclr_row(run: Run) -> Peer:
    name, half = "SimCLR alone", run.config.model.motif_dim
    both = _embedding(run)
    parts = {
        "motif": lambda pictures: unit(both(pictures)[:, :half]),
        "colour": lambda pictures: unit(both(pictures)[:, half:]),
    }
    by_half = {part: f"{name}, {part}" for part in parts}
    beside = {name: both} | {by_half[part]: describe for part, describe in parts.items()}
    about = "our encoders and contrasts without decoder; each goal by the half that is meant"
    # The decoder is there, but neither trained nor used.
    return Peer(name, about, both, by_half, beside, {"parameters": _count(run.model) - _count(run.model.decoder)})


def _embedding(run: Run) -> Describe:
    half = run.config.model.motif_dim
    return lambda pictures: weighted(encode(run, pictures).embedding(), half, **WEIGHTS)


def _by_regions(embed: Describe) -> Describe:
    """What a catalogue keeps of pictures' regions, side by side; of a picture that has fewer, some again."""

    def describe(pictures: np.ndarray) -> np.ndarray:
        squares = [regions.cut(picture, regions.find(picture), len(picture)) for picture in pictures]
        counts = [len(own) for own in squares]
        rows = np.split(embed(np.concatenate(squares)), np.cumsum(counts)[:-1])
        return np.stack([np.resize(part, (max(counts), part.shape[1])).ravel() for part in rows])

    return describe


def _alone(name: str, about: str, describe: Describe, facts: Mapping[str, int | str] | None = None) -> Peer:
    """A peer with one embedding."""
    return Peer(name, about, describe, beside={name: describe}, facts=facts or {})


def hog(pictures: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients (Dalal and Triggs 2005), (N, 1764)."""
    import cv2
    from skimage.feature import hog as histogram

    small = [cv2.cvtColor(baselines.shrink(picture, HOG_SIDE), cv2.COLOR_RGB2GRAY) for picture in pictures]
    return unit(np.stack([histogram(grey, cells_per_block=(2, 2)) for grey in small]))


def _evaluated_rows(dataset: DataSet, run: Run) -> list[Peer]:
    """What `evaluate` measures by itself; here only for names and costs."""
    rows = [
        Peer("colour histogram", "joint CIE Lab", baselines.colour_histogram),
        Peer("LBP", "uniform patterns at two radii", baselines.lbp),
        Peer("colour histogram and LBP", "side by side", baselines.both),
    ]
    seen = _timed_pictures(dataset, run)
    if len(seen) < 2:
        return rows
    return [*rows, Peer(evaluate.PCA, "up to 64 components", baselines.pca(seen))]


def _timm_row(options: argparse.Namespace, device: torch.device, seed: int, pretrained: bool) -> Peer:
    name = f"{'pretrained' if pretrained else 'random'} {options.timm}"
    about = "timm's pooled features at our picture size"
    try:
        net = _timm_model(options, seed, pretrained)
    except Missing as reason:
        return Peer(name, about, missing=str(reason))
    mean, std = (torch.tensor(net.pretrained_cfg[key]).view(1, 3, 1, 1).to(device) for key in ("mean", "std"))
    net = net.to(device).eval()
    facts = {"parameters": _count(net)}
    if pretrained and options.weights:
        facts["weights"] = Path(options.weights).name
    return _alone(name, about, _describe(lambda x: net((x - mean) / std), device), facts)


def _timm_model(options: argparse.Namespace, seed: int, pretrained: bool) -> nn.Module:
    import timm

    overlay = {"pretrained_cfg_overlay": {"file": options.weights}} if pretrained and options.weights else {}
    torch.manual_seed(seed)
    try:
        return timm.create_model(options.timm, pretrained=pretrained, num_classes=0, **overlay)
    except (OSError, AttributeError, KeyError, RuntimeError) as error:
        if pretrained and not options.weights:
            raise Missing("no weights here") from None
        raise SareeError(f"timm model {options.timm}: {str(error).splitlines()[0]}") from None


def _describe(embed: Callable[[Tensor], Tensor], device: torch.device) -> Describe:
    @torch.inference_mode()
    def describe(pictures: np.ndarray) -> np.ndarray:
        return unit(embed(to_tensor(np.ascontiguousarray(pictures), device)).float().cpu().numpy())

    return describe


def _count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


# --- pythae, with convolutions of our own, as its default networks have none ---


def _pythae_row(name: str, run: Run, dataset: DataSet, work: Path) -> Peer:
    about, make, embed = PYTHAE[name]
    try:
        need_pythae()
        torch.manual_seed(run.config.train.seed)
        model = make(run.config.model).to(run.device)
        _fit(model, run, dataset, work / f"{name.replace(' ', '_')}.safetensors")
    except Missing as reason:
        return Peer(name, about, missing=str(reason))
    model.eval()
    facts = {"parameters": _count(model)}
    if hasattr(model, "quantizer"):
        facts["codes_used"] = _codes_used(model, to_tensor(_timed_pictures(dataset, run), run.device))
    return _alone(name, about, _describe(lambda x: embed(model, x), run.device), facts)


def need_pythae() -> None:
    try:
        import pythae.models  # noqa: F401
    except ImportError as error:
        if (error.name or "pythae").partition(".")[0] == "pythae":
            raise Missing("pythae is not installed") from None
        raise Missing(f"pythae cannot be imported: {error}") from None


def _pythae_vae(cfg: config.Model) -> nn.Module:
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    def posterior(raw: Tensor) -> ModelOutput:
        mu, log_variance = raw.chunk(2, dim=1)
        return ModelOutput(embedding=mu, log_covariance=log_variance)

    side, latent = cfg.image_size // 32, cfg.motif_dim + cfg.colour_dim
    channels = [cfg.width * times for times in (1, 2, 4, 8, 8)]
    flat = channels[-1] * side**2
    encoder = nn.Sequential(*_down([3, *channels]), nn.Flatten(), nn.Linear(flat, 2 * latent))
    back = nn.Unflatten(1, (channels[-1], side, side))
    decoder = nn.Sequential(nn.Linear(latent, flat), back, *_up([*channels[::-1], 3]))
    shape = VAEConfig(input_dim=(3, cfg.image_size, cfg.image_size), latent_dim=latent)
    drawing = _wrapped(BaseDecoder, decoder, lambda mean: ModelOutput(reconstruction=mean))
    return VAE(shape, _wrapped(BaseEncoder, encoder, posterior), drawing)


def _pythae_vqvae(cfg: config.Model) -> nn.Module:
    from pythae.models import VQVAE, VQVAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    channels = [cfg.width * times for times in (2, 4, 8)]
    last = channels[-1]
    encoder = nn.Sequential(*_down([3, *channels]), *_same(last, last), nn.Conv2d(last, CODE, 1))
    decoder = nn.Sequential(*_same(CODE, last), *_up([*channels[::-1], 3]))
    # With pythae's default, codes learned by gradients, a short trial on the loom used 11 of 512 codes; this used 85.
    shape = VQVAEConfig(input_dim=(3, cfg.image_size, cfg.image_size), latent_dim=CODE, use_ema=True)
    looking = _wrapped(BaseEncoder, encoder, lambda maps: ModelOutput(embedding=maps))
    return VQVAE(shape, looking, _wrapped(BaseDecoder, decoder, lambda mean: ModelOutput(reconstruction=mean)))


def _wrapped(kind: type[nn.Module], net: nn.Module, answer: Callable[[Tensor], dict]) -> nn.Module:
    """A network in the base class, and with the answer, that pythae asks for."""

    class Wrapped(kind):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> dict:
            return answer(self.net(x))

    return Wrapped()


def _down(channels: list[int]) -> Iterator[nn.Module]:
    for i, o in itertools.pairwise(channels):
        yield from (nn.Conv2d(i, o, 4, stride=2, padding=1), nn.BatchNorm2d(o), nn.SiLU())


def _up(channels: list[int]) -> Iterator[nn.Module]:
    for i, o in itertools.pairwise(channels):
        yield nn.ConvTranspose2d(i, o, 4, stride=2, padding=1)
        yield from (nn.Sigmoid(),) if o == 3 else (nn.BatchNorm2d(o), nn.SiLU())


def _same(inward: int, outward: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inward, outward, 3, padding=1), nn.BatchNorm2d(outward), nn.SiLU()


def _posterior_mean(model: nn.Module, x: Tensor) -> Tensor:
    return model.encoder(x).embedding


def _pooled_codes(model: nn.Module, x: Tensor) -> Tensor:
    """The quantised map's mean and its means in 4 x 4 cells, each of unit length, side by side."""
    maps = model.quantizer(model.encoder(x).embedding.permute(0, 2, 3, 1)).quantized_vector  # (B, C, h, w)
    cells = F.adaptive_avg_pool2d(maps, GRID).flatten(1)
    return torch.cat([F.normalize(maps.mean((2, 3))), F.normalize(cells)], dim=1)


@torch.inference_mode()
def _codes_used(model: nn.Module, x: Tensor) -> int:
    """How many of the codes occur in some pictures; a few mean that the codebook has collapsed."""
    used = [
        model.quantizer(model.encoder(part).embedding.permute(0, 2, 3, 1)).quantized_indices for part in x.split(BATCH)
    ]
    return len(torch.cat(used).unique())


PYTHAE = {
    "pythae VAE": ("posterior mean", _pythae_vae, _posterior_mean),
    "pythae VQ-VAE": (
        "codes by moving averages; quantised map: its mean and its means in 4 x 4 cells",
        _pythae_vqvae,
        _pooled_codes,
    ),
}


def _fit(model: nn.Module, run: Run, dataset: DataSet, file: Path) -> None:
    """Train a pythae model as long as ours, or read it from `file` if that was done before."""
    about = {"settings": config.save_text(run.config), "data": dataset.digest()}
    if file.exists():
        weights, was = checkpoint.load_tensors(file)
        if any(was.get(key) != value for key, value in about.items()):
            raise SareeError(f"{file} was made with other settings or other data; choose another --work")
        model.load_state_dict(weights)
        return
    _train_pythae(model, run, dataset, file.stem)
    checkpoint.save_tensors(file, model.state_dict(), about)


def _train_pythae(model: nn.Module, run: Run, dataset: DataSet, name: str) -> None:
    settings, size = run.config.train, run.config.model.image_size
    pictures = data.load(dataset.of("train"), images.margin_side(size)).images
    plan = train.Plan(len(pictures), settings, 0, 1)
    own = OPTIMIZERS[settings.optimizer](model, settings.learning_rate, settings.weight_decay)
    model.train()
    for step, keys in enumerate(plan):
        for group in own.param_groups:
            group["lr"] = settings.learning_rate * train.warm_cosine(step / plan.steps, settings.warmup)
        crops = np.stack([_flipped_crop(pictures[index], size, settings.seed, epoch, index) for epoch, index in keys])
        loss = model({"data": to_tensor(crops, run.device)}).loss
        if not math.isfinite(loss.item()):
            raise Missing(f"its loss was {loss.item()} at step {step + 1} of {plan.steps}")
        own.zero_grad()
        loss.backward()
        own.step()
        if (step + 1) % plan.per_epoch == 0:
            study.say(f"{name}, seed {settings.seed}: epoch {(step + 1) // plan.per_epoch}, loss {loss.item():.1f}")


def _flipped_crop(picture: np.ndarray, size: int, seed: int, epoch: int, index: int) -> np.ndarray:
    """The clean view of our own training step: the very same crop."""
    return views._run(views._crop(size), picture, views._random(views.TRAINING, seed, epoch, index))


# --- what they cost ---


def costs(peers: Sequence[Peer], pictures: np.ndarray) -> dict[str, dict[str, float]]:
    """Bytes of a stored item and milliseconds to embed a picture in a batch of 64, by peer."""
    batch = np.resize(pictures, (BATCH, *pictures.shape[1:]))  # repeats them where there are fewer
    known: dict[Describe, dict[str, float]] = {}
    for peer in peers:
        if peer.describe and peer.describe not in known:
            bytes_each = 4 * peer.describe(batch).shape[1]  # which also warms up
            seconds = statistics.median(_seconds(peer.describe, batch) for _ in range(ROUNDS))
            known[peer.describe] = {"bytes_per_item": bytes_each, "embed_ms_per_picture": 1000 * seconds / BATCH}
    return {peer.name: known[peer.describe] for peer in peers if peer.describe}


def _seconds(describe: Describe, batch: np.ndarray) -> float:
    began = time.perf_counter()
    describe(batch)
    return time.perf_counter() - began


def _timed_pictures(dataset: DataSet, run: Run) -> np.ndarray:
    return shrunk(data.load(dataset.of("train")[:TIMED], run.read_size).images, run.config.model.image_size)


# --- the table ---


def goals(results: dict) -> list[Column]:
    """The goal columns that this data set has.

    Raises:
        SareeError: it has none.
    """
    parts = {task: {row["part"] for row in found.get("rows", ())} for task, found in results["tasks"].items()}
    columns = [
        Column(f"{view.replace('_', ' ')} R@1", "views", view, "R@1", half)
        for view, half in VIEW_KEEPS.items()
        if view in parts["views"]
    ]
    if parts["retrieval"]:
        columns += [Column(f"class {figure}", "retrieval", "", figure, BOTH) for figure in ("R@1", "mAP@R")]
    shops = parts["items"] - {"all"}
    shown = [shop for shop in ITEMS if shop in shops] or sorted(shops) or sorted(parts["items"])
    columns += [Column(f"items {shop} R@1", "items", shop, "R@1", BOTH) for shop in shown]
    if not columns:
        raise SareeError("this data set has nothing to compare by: no test split, or nothing to find in it")
    return columns


def interval_kind(seeds: Sequence[int]) -> str:
    if len(seeds) >= 3:
        return "lowest and highest of the seeds"
    return f"95 % bootstrap interval of seed {seeds[0]}"


def summary(
    peers: Sequence[Sequence[Peer]], found: Sequence[dict], columns: Sequence[Column], costs: Mapping[str, dict]
) -> dict:
    """Rows of the table, the best mean of the goal columns first, those that are missing last.

    Args:
        peers: the rows of each seed.
        found: what `evaluate` gave for each seed.
        costs: as `costs` gives them.
    """
    rows, gone = [], []
    for each in zip(*peers, strict=True):
        about = {"name": each[0].name, "about": each[0].about, "ours": each[0].ours}
        reasons = [peer.missing for peer in each if peer.missing]
        if reasons:
            gone.append(about | {"missing": reasons[0]})
            continue
        figures = {column.title: _figure(each[0], column, found) for column in columns}
        by_seed = [float(np.mean(values)) for values in zip(*(f["by_seed"] for f in figures.values()), strict=True)]
        goal = {"mean": float(np.mean(by_seed)), "mean_by_seed": by_seed, "figures": figures}
        rows.append(about | goal | costs[each[0].name] | {"facts": [dict(peer.facts) for peer in each]})
    rows.sort(key=lambda row: -row["mean"])
    best = next(row for row in rows if not row["ours"])
    for row in rows:
        row["over_best_baseline"] = row["mean"] / best["mean"] if best["mean"] else None
    return {"best_baseline": best["name"], "rows": rows + gone}


def _figure(peer: Peer, column: Column, found: Sequence[dict]) -> dict:
    """The mean over seeds, with the ends that `interval_kind` names."""
    name = peer.by_half.get(column.half, peer.name)
    figures = [
        next(row for row in one["tasks"][column.task]["rows"] if (row["part"], row["name"]) == (column.part, name))
        for one in found
    ]
    figures = [row["figures"][column.figure] for row in figures]
    values = [figure["value"] for figure in figures]
    low, high = (min(values), max(values)) if len(values) >= 3 else (figures[0]["low"], figures[0]["high"])
    return {"value": float(np.mean(values)), "low": low, "high": high, "n": figures[0]["n"], "by_seed": values}


def markdown(report: dict) -> str:
    """What the figures were made with, and the table."""
    titles = [column["title"] for column in report["columns"]]
    seeds = ", ".join(map(str, report["seeds"]))
    made = (
        f"Seeds {seeds}; {report['epochs']} epochs; {report['image_size']} px; {report['train_pictures']:,} train "
        f"pictures; {report['threads']} torch threads on {report['device']}; mean over seeds and, in brackets, "
        f"{report['interval']}. Baselines are all rows but ours; the best is {report['best_baseline']}. Whole pictures "
        f"are compared, {evaluate.VERIFIED} as `search` does in a catalogue with regions, whose bytes are those of a "
        "picture with the most regions, its thumbnail apart."
    )
    head = ["", *titles, "mean", "over best baseline", "bytes per item", "ms per picture"]
    return f"{made}\n\n{study.table(head, [_cells(row, titles) for row in report['rows']])}"


def _cells(row: dict, titles: list[str]) -> list[str]:
    if "missing" in row:
        return [row["name"], row["missing"], *[""] * (len(titles) + 3)]
    ratio = row["over_best_baseline"]
    figures = [study.cell(row["figures"][title]) for title in titles]
    cost = [f"{row['bytes_per_item']:,}", f"{row['embed_ms_per_picture']:.2f}"]
    return [row["name"], *figures, f"{row['mean']:.3f}", "-" if ratio is None else f"{ratio:.2f}", *cost]


if __name__ == "__main__":
    study.run(main)
