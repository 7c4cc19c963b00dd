"""How fast each stage is, side by side with what it could be at best, in one run.

    PYTHONPATH=. python benchmarks/throughput.py --data D [--config textiles] [--json out.json]

Training is compared with the same network fed one batch again and again, without loader and views; search with the very
FAISS index inside ours. Speeds depend on the machine and on what else runs there, the ratios less so: each is the
median over rounds in which the sides take turns.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import numpy as np
import study
import torch

from saree_vae import checkpoint, config, data, images, train
from saree_vae.encoding import encode
from saree_vae.index import LatentIndex
from saree_vae.kin import NEAREST, kinship
from saree_vae.latents import WEIGHTS, unit, weighted
from saree_vae.optimizer import OPTIMIZERS
from saree_vae.vae import VAE

ROUNDS = 5


def main() -> None:
    parser = study.parser(__doc__)
    parser.add_argument("--config", default="textiles")
    options = parser.parse_args()
    settings = config.load(options.config)
    items = data.read_data(options.data).of("train")[:1024]
    figures = {"threads": torch.get_num_threads(), "device": checkpoint.pick_device("auto"), "pictures": len(items)}
    figures |= decoding(items, settings) | training(items, settings) | encoding(settings) | searching(settings)
    study.tell(figures, markdown, options.json)


def markdown(figures: dict) -> str:
    rows = [
        f"| {name.replace('_', ' ')} | {value:,.2f} |" for name, value in figures.items() if isinstance(value, float)
    ]
    return "\n".join([f"On {figures['device']}, with {figures['threads']} threads.", "", "| | |", "|---|---:|", *rows])


def decoding(items: tuple[data.Item, ...], settings: config.Config) -> dict[str, float]:
    """Decoding scaled while reading, beside decoding whole pictures and scaling then."""
    side = images.margin_side(settings.model.image_size)
    paths = [item.path for item in items[:256]]
    scaled, whole = alternate(
        lambda: [images.read_square(path, side) for path in paths],
        lambda: [images.square(images.read_image(path), side) for path in paths],
    )
    return {"decode_images_per_s": len(paths) / scaled, "decode_over_whole_decode": whole / scaled}


def training(items: tuple[data.Item, ...], settings: config.Config) -> dict[str, float]:
    """The loader alone, the network alone, and both together, on the same pictures."""
    read, unknown = data.load(items, images.margin_side(settings.model.image_size)).images, [None] * len(items)
    pictures = train.Material(read, unknown[: len(read)], unknown[: len(read)], read[:0])
    settings = settings.model_copy(update={"train": settings.train.model_copy(update={"epochs": 10_000})})
    plan = train.Plan(len(pictures.images), settings.train, 0, 1)
    learn, device = _learner(settings, len(read))
    steps, ahead = 10, 8 * max(1, settings.train.workers)  # `ahead`: more than the loader makes before it is asked

    def stream() -> Iterator[dict]:
        return iter(train._loader(settings, pictures, plan, device))

    batches = stream()
    one = next(batches)
    for _ in itertools.islice(batches, ahead):
        pass
    loading = timed(lambda: list(itertools.islice(batches, 2 * steps))) / (2 * steps)
    batches = None  # ends its workers: they would take from the network's time
    for _ in range(3):
        learn(one)
    times = []
    for _ in range(ROUNDS):
        alone = timed(lambda: [learn(one) for _ in range(steps)])
        batches = stream()
        for batch in itertools.islice(batches, ahead):
            learn(batch)
        times.append((alone, timed(lambda: [learn(batch) for batch in itertools.islice(batches, steps)])))  # noqa: B023
        batches = None
    return {
        "loader_images_per_s": plan.batch / loading,
        "network_alone_images_per_s": plan.batch * steps / statistics.median(alone for alone, _ in times),
        "train_images_per_s": plan.batch * steps / statistics.median(both for _, both in times),
        "train_over_network_alone": statistics.median(alone / both for alone, both in times),
    }


def _learner(settings: config.Config, count: int) -> tuple[Callable[[dict], None], str]:
    """The training step of `train`, and the device it runs on."""
    train._keep_freed_memory()
    fabric = train._fabric(settings.train)
    model = VAE(settings.model).to(memory_format=torch.channels_last).train()
    own = OPTIMIZERS[settings.train.optimizer](model, 1e-4, settings.train.weight_decay)
    stepper, optimizer = fabric.setup(model, own)

    learner = train.Learner(settings, fabric, stepper, optimizer, count)
    return lambda batch: learner(batch, 1, 2, lambda values: None), fabric.device.type


def encoding(settings: config.Config) -> dict[str, float]:
    """Encoding pictures in memory."""
    model = VAE(settings.model).to(checkpoint.pick_device("auto")).eval()
    run = checkpoint.Run(Path(tempfile.gettempdir()), settings, model, "")
    size = settings.model.image_size
    pictures = np.random.default_rng(0).integers(0, 256, (256, size, size, 3), dtype=np.uint8)
    encode(run, pictures)
    return {
        "encode_images_per_s": len(pictures)
        / statistics.median(timed(lambda: encode(run, pictures)) for _ in range(ROUNDS))
    }


def searching(settings: config.Config) -> dict[str, float]:
    """Weighted search in LatentIndex, beside raw FAISS on the same 100,000 vectors; and by kin, one query at a time."""
    motif, colour = settings.model.motif_dim, settings.model.colour_dim
    draw = np.random.default_rng(0)

    def embeddings(count: int) -> np.ndarray:
        halves = (unit(draw.standard_normal((count, width)).astype(np.float32)) for width in (motif, colour))
        return np.ascontiguousarray(np.concatenate(list(halves), 1))

    stored, queries = embeddings(100_000), embeddings(512)
    ours = LatentIndex(motif, colour)
    ours.add(stored, np.arange(len(stored)))
    raw = faiss.downcast_index(ours._index.index)  # the very same memory: two copies differ by where they happen to lie
    mine, theirs = alternate(lambda: ours.search(queries, 10), lambda: raw.search(queries, 10))
    some = queries[:8]

    def by_kin() -> None:
        for query in some:
            near = ours.rows(ours.search(query[None], NEAREST, **WEIGHTS)[1][0])
            kinship(*(weighted(rows, motif, **WEIGHTS) for rows in (query, near)))

    kin, one = alternate(by_kin, lambda: [ours.search(query[None], 10) for query in some])
    return {
        "search_queries_per_s": len(queries) / mine,
        "search_over_raw_faiss": theirs / mine,
        "kin_queries_per_s": len(some) / kin,
        "kin_over_search_one_by_one": one / kin,
    }


def alternate(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of two calls that take turns, after one turn to warm up."""
    first(), second()
    times = [(timed(first), timed(second)) for _ in range(ROUNDS)]
    return statistics.median(t[0] for t in times), statistics.median(t[1] for t in times)


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    study.run(main)
