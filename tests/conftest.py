"""What several tests share: a few painted pictures, and one tiny run trained on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the same arithmetic on every machine
os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach for the network
os.environ.setdefault("OMP_NUM_THREADS", "1")  # pictures of 64 pixels: threads would only wait for each other

import hypothesis
import numpy as np
import pytest
from PIL import Image, ImageDraw

hypothesis.settings.register_profile("plain", deadline=None)  # never fail on time
hypothesis.settings.load_profile("plain")

GROUNDS = ("#8c1c2b", "#1f4e79", "#e0a526", "#2f6b3a")
MARKS = ("stripes", "checks", "dots", "diamonds")


def paint(mark: str, ground: str, shift: int = 0, side: int = 96) -> Image.Image:
    """A square of cloth with one simple motif."""
    image = Image.new("RGB", (side, side), ground)
    draw = ImageDraw.Draw(image)
    for a in range(shift - 24, side + 24, 24):
        if mark in ("stripes", "checks"):
            draw.rectangle((a, 0, a + 9, side), fill="white")
        for b in range(shift - 24, side + 24, 24) if mark != "stripes" else ():
            if mark == "checks":
                draw.rectangle((0, b, side, b + 9), fill="white")
            if mark == "dots":
                draw.ellipse((a, b, a + 12, b + 12), fill="white")
            if mark == "diamonds":
                draw.polygon([(a + 9, b), (a + 18, b + 9), (a + 9, b + 18), (a, b + 9)], fill="white")
    return image


@pytest.fixture(scope="session")
def cloth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with 32 painted squares: four motifs in four colours, twice."""
    folder = tmp_path_factory.mktemp("cloth")
    rows = ["path,cluster,split,item_id"]
    for i, mark in enumerate(MARKS):
        (folder / mark).mkdir()
        for j, ground in enumerate(GROUNDS):
            for shift, split in ((0, "train" if j else "val"), (7, "test" if (i + j) % 2 else "train")):
                name = f"{mark}/{j}_{shift}.png"
                paint(mark, ground, shift).save(folder / name)
                rows.append(f"{name},{mark},{split},{mark}{j}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="session")
def tiny_run(cloth: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of the tiny config, two epochs on the painted squares."""
    from saree_vae import config, data, train

    run = tmp_path_factory.mktemp("runs") / "tiny"
    return train.train(config.load("tiny"), data.read_data(cloth), run, tell=lambda _: None)


@contextmanager
def head_steps(count: int) -> Iterator[None]:
    """Heads learn for so many steps."""
    import kg.fit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kg.fit, "STEPS", count)
        patch.setattr(kg.fit, "FEWEST_STEPS", count)
        yield


@pytest.fixture
def noise() -> np.random.Generator:
    return np.random.default_rng(0)
