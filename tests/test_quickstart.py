"""The quickstart, small: everything it promises is there, and a second call keeps what the first made."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from apps import cli, quickstart
from saree_vae import checkpoint, data, regions
from saree_vae.catalogue import Catalogue
from saree_vae.errors import SareeError

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
    assert "<small>motif and colour, by regions, verified</small>" in short
    with Catalogue.open(tmp_path / "out" / "catalogue") as photographs, Catalogue.open(made[0] / "catalogue") as drawn:
        assert (photographs.crops, drawn.crops) == (regions.CROPS, 0)
    begun = checkpoint.load(tmp_path / "out" / "run", "cpu")
    assert begun.seen > checkpoint.load(quickstart.BEGINNING, "cpu").seen


def test_drawn_sarees_begin_anew(made):
    seen = checkpoint.load(made[0] / "run", "cpu").seen
    assert len(seen) < 48 < len(checkpoint.load(quickstart.BEGINNING, "cpu").seen)


def test_pretrained_photographs_begin_with_weights_learnt_elsewhere_and_with_the_rest_of_the_box(
    small, cloth, tmp_path, monkeypatch
):
    import timm
    from safetensors.torch import save_file

    learnt = timm.create_model("resnet10t").state_dict()
    save_file(learnt, tmp_path / "learnt.safetensors")
    net = {"encoder": "timm:resnet10t", "pretrained": str(tmp_path / "learnt.safetensors")}
    settings = {"model": net, "train": {"learning_rate": 1e-12, "workers": 0}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(settings))
    name = str(tmp_path / "mine.yaml")
    monkeypatch.setitem(quickstart.SEEN, name, 64)
    monkeypatch.setitem(quickstart.MOST, name, 1)
    run = quickstart._trained(data.read_data(cloth), tmp_path / "run", name)
    weights, box = run.model.state_dict(), checkpoint.load(quickstart.BEGINNING, "cpu").model.state_dict()
    stem = "motif_encoder.features.net.conv1.0.weight"
    torch.testing.assert_close(weights[stem], learnt["conv1.0.weight"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(weights["decoder.first.weight"], box["decoder.first.weight"], rtol=1e-4, atol=1e-6)


def test_weights_that_cannot_be_had_are_told_before_the_pictures_are_read(cloth, tmp_path):
    asked = ["quickstart", "--pretrained", "--out", str(tmp_path / "out")]
    with pytest.raises(SareeError, match="--pretrained is for photographs"):
        runner.invoke(cli.app, asked, catch_exceptions=False)
    with pytest.raises(SareeError, match="timm:tf_efficientnet_lite0: pretrained weights could not be loaded"):
        runner.invoke(cli.app, [*asked, "--data", str(cloth)], catch_exceptions=False)
    assert not (tmp_path / "out" / "run").exists()
