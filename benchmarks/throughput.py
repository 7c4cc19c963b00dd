"""How fast each stage is, side by side with what it could be at best, in one run.

    python benchmarks/throughput.py --data D [--config textiles] [--json out.json]

Training is compared with the same network fed the same batch again and again, without loader and views; search with
FAISS itself on the same vectors. Speeds depend on the machine and on what else runs there; the ratios less so: each is the
median of rounds that alternate between the two sides.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from saree_vae import checkpoint, config, data, images, train
from saree_vae.encoding import encode
from saree_vae.latents import unit
from saree_vae.vae import VAE

ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a data set of at least a few hundred pictures")
    parser.add_argument("--config", default="textiles")
    parser.add_argument("--json", help="also write the figures here")
    options = parser.parse_args()
    settings = config.load(options.config)
    items = data.read_data(options.data).of("train")[:1024]
    figures = {"threads": torch.get_num_threads(), "device": checkpoint.pick_device("auto"), "pictures": len(items)}
    figures |= decoding(items, settings) | training(items, settings) | encoding(settings) | searching(settings)
    for name, value in figures.items():
        print(f"{name:32} {value:,.2f}" if isinstance(value, float) else f"{name:32} {value}")
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def decoding(items: tuple[data.Item, ...], settings: config.Config) -> dict[str, float]:
    """Decoding scaled while reading, beside decoding whole pictures and scaling then."""
    side = round(settings.model.image_size * train.MARGIN)
    paths = [item.path for item in items[:256]]
    scaled, whole = alternate(
        lambda: [images.read_square(path, side) for path in paths],
        lambda: [images.square(images.read_image(path), side) for path in paths],
    )
    return {"decode_images_per_s": len(paths) / scaled, "decode_over_whole_decode": whole / scaled}


def training(items: tuple[data.Item, ...], settings: config.Config) -> dict[str, float]:
    """The loader alone, the network alone, and both, on the same pictures."""
    pictures = data.load(items, round(settings.model.image_size * train.MARGIN)).images
    long = settings.train.model_copy(update={"epochs": 10_000})
    settings = settings.model_copy(update={"train": long})
    train._keep_freed_memory()
    fabric = train._fabric(long)
    model = VAE(settings.model).to(memory_format=torch.channels_last)
    stepper, optimizer = fabric.setup(model, torch.optim.AdamW(model.parameters(), lr=1e-4))
    batch = long.batch_size if len(pictures) >= long.batch_size else len(pictures)
    steps = 8

    def learn(one: dict) -> None:
        tensors = {name: train.to_tensor(array, fabric.device) for name, array in one.items()}
        terms = train._terms(stepper(tensors, torch.Generator(fabric.device).manual_seed(0)), settings, 0.5, lambda r: r)
        optimizer.zero_grad()
        fabric.backward(sum(terms[name] for name in train.WEIGHTED))
        fabric.clip_gradients(stepper, optimizer, max_norm=1.0)
        optimizer.step()
        terms["reconstruct"].item()  # waits for the device

    plan = train.Plan(len(pictures), long, 0, 0, 1)
    loader = train._loader(settings, pictures, plan, fabric.device.type)
    began = time.perf_counter()
    stream = iter(loader)
    same = next(stream)
    ahead = (loader.prefetch_factor or 0) * max(1, loader.num_workers)  # batches that were made before we looked
    for _ in itertools.islice(stream, ahead + steps):
        pass
    loading = (time.perf_counter() - began) / (1 + ahead + steps)
    for _ in range(3):
        learn(same)

    def piped() -> None:
        for one in itertools.islice(stream, steps):
            learn(one)

    def alone() -> None:
        for _ in range(steps):
            learn(same)

    # While the network runs alone, no worker may be making views: each side has the machine to itself.
    with_views, network = [], []
    for _ in range(ROUNDS):
        stream = iter(train._loader(settings, pictures, plan, fabric.device.type))
        for one in itertools.islice(stream, ahead + 1):  # use up what was made ahead
            learn(one)
        with_views.append(timed(piped))
        del stream
        network.append(timed(alone))
    per_step = statistics.median(with_views) / steps
    ratio = statistics.median(a / b for a, b in zip(network, with_views, strict=True))
    return {
        "loader_images_per_s": batch / loading,
        "train_images_per_s": batch / per_step,
        "train_over_network_alone": ratio,
    }


def encoding(settings: config.Config) -> dict[str, float]:
    """Encoding pictures in memory."""
    model = VAE(settings.model).to(checkpoint.pick_device("auto")).eval()
    run = checkpoint.Run(Path(tempfile.gettempdir()), settings, model, "")
    size = settings.model.image_size
    pictures = np.random.default_rng(0).integers(0, 256, (256, size, size, 3), dtype=np.uint8)
    encode(run, pictures)
    return {"encode_images_per_s": len(pictures) / statistics.median(timed(lambda: encode(run, pictures)) for _ in range(ROUNDS))}


def searching(settings: config.Config) -> dict[str, float]:
    """Weighted search in LatentIndex, beside raw FAISS on the same 100,000 vectors."""
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
    return {"search_queries_per_s": len(queries) / mine, "search_over_raw_faiss": theirs / mine}


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
    main()
