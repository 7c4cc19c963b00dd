"""What several tests share: a few painted pictures, and one tiny run trained on them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
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
CRAFTS = dict(zip(MARKS, ("jamdani", "paithani", "patola", "bandhani"), strict=True))


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


@pytest.fixture(scope="session")
def shop(cloth: Path, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a quickstart leaves: the folders data (the painted squares under names of crafts), catalogue, head, run."""
    from typer.testing import CliRunner

    from apps import cli

    folder = tmp_path_factory.mktemp("shop")
    shutil.copytree(cloth, folder / "data")
    shutil.copytree(tiny_run, folder / "run")
    manifest = folder / "data" / "manifest.csv"
    text = manifest.read_text()
    for mark, craft in CRAFTS.items():
        text = text.replace(f",{mark},", f",{craft},")
    manifest.write_text(text)
    run, data = str(folder / "run"), ["--data", str(folder / "data")]
    with head_steps(20):
        for asked in (["index", run, *data, "--out", str(folder / "catalogue")],
                      ["fit-head", run, *data, "--out", str(folder / "head"), "--crops", "0"]):  # fmt: skip
            told = CliRunner().invoke(cli.app, asked)
            assert told.exit_code == 0, told.stderr
    return folder


@pytest.fixture
def front(shop: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Opens a page of the front end, on the shop unless told otherwise: front("search", catalogue=None) -> AppTest."""
    from streamlit.testing.v1 import AppTest

    def opened(name: str, *, query: dict | None = None, **changes):
        settings = {part: str(shop / part) for part in ("catalogue", "head", "run")} | changes
        monkeypatch.setenv("SAREE_VAE_APP", json.dumps({name: value for name, value in settings.items() if value}))
        page = AppTest.from_string(f"from apps.web import {name}\n{name}.page()", default_timeout=60)
        for key, value in (query or {}).items():
            page.query_params[key] = value
        return page.run()

    return opened


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
