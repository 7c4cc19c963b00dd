"""The quickstart, small: everything it promises is there, and a second call keeps what the first made."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from apps import cli, quickstart
from saree_vae import checkpoint, regions
from saree_vae.catalogue import Catalogue

runner = CliRunner()


@pytest.fixture(scope="module")
def small():
    patch = pytest.MonkeyPatch()
    patch.setattr(quickstart, "PICTURES", 48)
    patch.setattr(quickstart, "SEEN", dict.fromkeys(quickstart.SEEN, 64))
    patch.setattr(quickstart, "FEWEST", 2)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def made(small, tmp_path_factory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("quick") / "my start"
    result = runner.invoke(cli.app, ["quickstart", "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return out, result.output


def test_it_makes_a_set_a_run_a_catalogue_figures_and_a_report(made):
    out, told = made
    for name in (
        "data/manifest.csv",
        "run/model.safetensors",
        "run/model_card.md",
        "catalogue/items.db",
        "report.html",
    ):
        assert (out / name).is_file(), name
    assert "report.html" in told
    results = json.loads((out / "results.json").read_text())
    assert {row["name"] for row in results["tasks"]["retrieval"]["rows"]} >= {"colour histogram", "LBP", "motif"}


def test_the_report_stands_alone(made):
    html = (made[0] / "report.html").read_text()
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", html)
    assert html.count("data:image/png;base64,") >= 6  # three search sheets, what the decoder draws, two kinds of view
    for word in ("colour histogram", "LBP", "The same design, in any colours", "The same colours, in any design"):
        assert word in html


def test_the_commands_it_ends_with_run(made, tmp_path, monkeypatch):
    commands = re.findall(r"^\s*saree-vae (search|check) (.+)$", made[1], flags=re.M)
    assert len(commands) == 2
    monkeypatch.chdir(tmp_path)
    for name, rest in commands:
        result = runner.invoke(cli.app, [name, *shlex.split(rest)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert (tmp_path / "found.png").exists()


def test_called_again_it_keeps_what_is_there(made, small):
    out, _ = made
    weights = (out / "run" / "model.safetensors").stat().st_mtime_ns
    drawn = (out / "data" / "manifest.csv").stat().st_mtime_ns
    result = runner.invoke(cli.app, ["quickstart", "--out", str(out)], catch_exceptions=False)
    assert result.exit_code == 0
    assert (out / "data" / "manifest.csv").stat().st_mtime_ns == drawn
    assert (out / "run" / "model.safetensors").stat().st_mtime_ns == weights


def test_it_takes_a_folder_of_photographs_with_faults(made, small, cloth, tmp_path):
    photos = tmp_path / "photos"
    for path in cloth.rglob("*.png"):
        shutil.copy(path, photos.mkdir(exist_ok=True) or photos / f"{path.parent.name}_{path.name}")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    result = runner.invoke(
        cli.app, ["quickstart", "--data", str(photos), "--out", str(tmp_path / "out")], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert "broken.jpg" in result.output
    assert "1 of 33 pictures" in (tmp_path / "out" / "report.html").read_text()
    short = (tmp_path / "out" / "report.html").read_text().partition("In short</h2>")[2].partition("</section>")[0]
    assert "<small>motif and colour, by regions</small>" in short
    with Catalogue.open(tmp_path / "out" / "catalogue") as photographs, Catalogue.open(made[0] / "catalogue") as drawn:
        assert (photographs.crops, drawn.crops) == (regions.CROPS, 0)
    begun = checkpoint.load(tmp_path / "out" / "run", "cpu")
    assert begun.seen > checkpoint.load(quickstart.BEGINNING, "cpu").seen


def test_drawn_sarees_begin_anew(made):
    seen = checkpoint.load(made[0] / "run", "cpu").seen
    assert len(seen) < 48 < len(checkpoint.load(quickstart.BEGINNING, "cpu").seen)
