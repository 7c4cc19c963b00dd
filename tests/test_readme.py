"""What the README says runs, and its figures are those that were measured."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from conftest import paint

from apps import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_in_the_readme_runs(tiny_run, tmp_path, monkeypatch):
    shutil.copytree(tiny_run, tmp_path / "saree-quickstart" / "run")
    paint("dots", "#8c1c2b", side=256).save(tmp_path / "phone.jpg")
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    names: dict = {}
    exec(code, names)
    assert names["latents"].mu.shape == (1, 12)


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
