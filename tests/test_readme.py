"""What the README says runs, and its figures are those that were measured."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from conftest import paint

from apps import cli
from saree_vae import encode

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_in_the_readme_runs_and_gives_what_it_says(shop, tmp_path, monkeypatch):
    shutil.copytree(shop / "catalogue", tmp_path / "saree-quickstart" / "catalogue")
    paint("dots", "#8c1c2b", side=256).save(tmp_path / "phone.jpg")
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    names: dict = {}
    exec(code, names)
    assert len(names["hits"]) == 5
    latents = names["latents"]
    shapes = [half.shape for half in (latents.motif, latents.colour, latents.sigma)]
    assert str(shapes)[1:-1] in code
    mu = names["run"].model.encode(names["to_tensor"](names["pictures"])).mu
    mu.sum().backward()
    np.testing.assert_allclose(mu.detach(), encode(names["run"], names["pictures"]).mu, atol=1e-4)


def test_every_command_and_option_in_the_readme_exists():
    commands = typer.main.get_command(cli.app).commands
    shown = re.findall(r"^ +(?:.*\s)?saree-vae (\w[\w-]*)(.*)$", README, flags=re.M)
    assert len(shown) >= 8
    for name, rest in shown:
        assert name in commands, name
        known = {option for parameter in commands[name].params for option in parameter.opts}
        used = {word for word in shlex.split(rest.split("#")[0]) if re.match(r"--?[a-z]", word)}
        assert used <= known, (name, used - known)


def test_the_figures_are_those_that_were_measured():
    if not (ROOT / "benchmarks" / "results" / "textiles.json").exists():
        pytest.fail("benchmarks/results/textiles.json is missing: the README has no figures")
    done = subprocess.run([sys.executable, "benchmarks/readme.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", re.findall(r"!\[[^]]*\]\(([^)]+)\)", README))
def test_every_picture_in_the_readme_is_there(path):
    assert (ROOT / path).is_file()


def test_where_variants_are_said_to_help_they_did_and_nowhere_else():
    [named] = re.findall(
        r"variants helped a small classifier that had (\w+ or \w+) photographs of a class", " ".join(README.split())
    )
    rows = json.loads((ROOT / "benchmarks" / "results" / "augment.json").read_text())["both"]["rows"]
    gains = {row["part"]: row["figures"]["network, macro-F1"] for row in rows if row["name"].startswith("both less")}
    helped = [part for part, gain in gains.items() if gain["low"] > 0]
    assert (named, helped, len(gains)) == ("five or ten", ["5 pictures a class", "10 pictures a class"], 3)


def test_the_model_in_the_box_finds_more_phone_photos_than_histograms_do():
    assert (
        "never saw a photograph, and still finds the piece on a phone photo far more often than histograms do"
        in " ".join(README.split())
    )
    rows = json.loads((ROOT / "benchmarks" / "results" / "loom.json").read_text())["tasks"]["views"]["rows"]
    found = {row["name"]: row["figures"]["R@1"]["value"] for row in rows if row["part"] == "phone_photo"}
    assert found["motif and colour"] > 2 * max(found[name] for name in found if "histogram" in name)
