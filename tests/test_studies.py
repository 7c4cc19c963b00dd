"""Ablations, sources left out, transfer from and to the loom: every row is there, and its figures can move."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from saree_vae import checkpoint, data
from saree_vae.errors import SareeError
from saree_vae.latents import Latents


@pytest.fixture
def studies(monkeypatch):
    """benchmarks/ is no package."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    import ablations
    import sources
    import transfer

    return SimpleNamespace(ablations=ablations, sources=sources, transfer=transfer)


def test_every_part_that_is_taken_away_has_its_row(studies, cloth, tmp_path, capsys):
    ablations = studies.ablations
    arguments = ["--data", str(cloth), "--config", "tiny", "--epochs", "1"]
    ablations.main([*arguments, "--work", str(tmp_path / "work"), "--json", str(tmp_path / "a.json")])
    rows = {row["name"]: row for row in json.loads((tmp_path / "a.json").read_text())["rows"]}
    table = capsys.readouterr().out
    assert set(ablations.VARIANTS) < set(rows) and all(f"| {name} |" in table for name in rows)
    assert "decoder" not in rows["without decoder (contrast alone)"]  # it drew nothing, so nothing is said of it
    first = rows[ablations.FIRST]
    assert first["decoder"]["PSNR"] > 3
    changed = [name for name in ablations.VARIANTS if name != ablations.FIRST and "decoder" in rows[name]]
    # Views and networks are replaced in the code, not in the settings: here one sees that they were.
    assert all(rows[name]["decoder"]["ELBO"] != first["decoder"]["ELBO"] for name in changed)


def test_what_is_replaced_for_one_row_is_put_back(studies):
    ablations = studies.ablations
    from saree_vae import views

    picture = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    with ablations.without_view("recoloured")():
        made = views.training_views(picture, 64, index=0, epoch=0)
    usual = views.training_views(picture, 64, index=0, epoch=0)
    np.testing.assert_array_equal(made["recoloured"], usual["clean"])
    assert (usual["recoloured"] != usual["clean"]).any()


def test_a_source_that_is_left_out_is_neither_trained_on_nor_found(studies, cloth, tmp_path, capsys):
    manifest = shutil.copytree(cloth, tmp_path / "cloth") / "manifest.csv"
    rows = manifest.read_text().splitlines()
    marked = [f"{row},{'source' if not i else f'shop{i % 3}'}" for i, row in enumerate(rows)]
    manifest.write_text("\n".join(marked) + "\n")
    arguments = ["--data", str(manifest), "--config", "tiny", "--epochs", "1", "--sources", "2"]
    studies.sources.main([*arguments, "--work", str(tmp_path), "--json", str(tmp_path / "s.json")])
    report = json.loads((tmp_path / "s.json").read_text())
    for row in report["rows"]:
        seen = checkpoint.load(tmp_path / row["source"])
        items = data.read_data(manifest).items
        assert not any(seen.trained_on(item) for item in items if item.source == row["source"])
        assert any(seen.trained_on(item) for item in items)
        assert row["queries"] == sum(item.split == "test" for item in items if item.source == row["source"])
    colours = [row["figures"]["LBP"]["R@1"] for row in report["rows"]]
    assert report["mean"]["LBP"]["R@1"] == pytest.approx(sum(colours) / 2)
    assert "| mean |" in capsys.readouterr().out
    with pytest.raises(SareeError, match="0 sources"):
        studies.sources.main([*arguments, "--prefix", "none", "--work", str(tmp_path)])


def test_the_loom_and_the_photographs_ask_each_other(studies, cloth, tiny_run, tmp_path, capsys):
    transfer = studies.transfer
    arguments = [str(tiny_run), "--data", str(cloth), "--config", "tiny", "--epochs", "1", "--pictures", "60"]
    transfer.main([*arguments, "--work", str(tmp_path / "work"), "--json", str(tmp_path / "t.json")])
    report = json.loads((tmp_path / "t.json").read_text())
    assert set(report["photographs"]) == set(report["loom"]) == {"trained on photographs", "trained on the loom"}
    assert "| palette, trained on the loom |" in capsys.readouterr().out
    told = report["loom"]["trained on photographs"]["palette"]
    assert 0 < told["chance"] < 1 and 0 <= told["motif"] <= 1 and 0 <= told["MIG"] <= 1


def test_the_gap_is_wide_where_one_dimension_alone_knows_the_factor(studies):
    transfer = studies.transfer
    noise = np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32)
    values = np.array(["low", "high"])[(noise[:, 2] > 0).astype(int)]
    keys = tuple(map(str, range(2000)))
    assert transfer.mutual_information_gap(Latents(keys, noise, noise, 2), values) > 0.9
    twice = np.concatenate([noise, noise[:, 2:3]], axis=1)
    assert transfer.mutual_information_gap(Latents(keys, twice, twice, 2), values) < 0.01
