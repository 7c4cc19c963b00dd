"""The command line as people use it: each command in the order of the README, then what goes wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from conftest import paint
from PIL import Image
from typer.testing import CliRunner

from apps import cli
from saree_vae import catalogue as catalogues
from saree_vae import checkpoint, data, indexing
from saree_vae.errors import SareeError
from saree_vae.latents import Latents

runner = CliRunner()


def saree(*arguments) -> str:
    """Run a command that should end well; its standard output."""
    result = runner.invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(capsys, monkeypatch, *arguments) -> str:
    """Run a command that should fail as the console script does; the one or two lines on standard error."""
    monkeypatch.setattr(sys, "argv", ["saree-vae", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, captured.err
    assert "Traceback" not in captured.err
    return lines[0]


@pytest.fixture(scope="session")
def shop(tiny_run, cloth, tmp_path_factory) -> Path:
    """A catalogue of the painted squares."""
    folder = tmp_path_factory.mktemp("shop") / "catalogue"
    saree("index", tiny_run, "--data", cloth, "--out", folder)
    return folder


def test_help_lists_every_command():
    listed = saree("--help")
    for name in ("quickstart", "render", "check", "train", "encode", "index", "search", "info", "evaluate"):
        assert name in listed


def test_render_check_train_encode_in_a_row(tmp_path):
    saree("render", "--out", tmp_path / "d", "--count", 24, "--seed", 1, "--size", 96)
    found = json.loads(saree("check", tmp_path / "d", "--json"))
    assert found
    assert saree("check", tmp_path / "d")
    saree("train", "--config", "tiny", "--data", tmp_path / "d", "--out", tmp_path / "run", "--set", "train.epochs=1")
    further = ("--from", tmp_path / "run", "--data", tmp_path / "d", "--out", tmp_path / "further")
    saree("train", *further, "--set", "train.learning_rate=1e-4")
    settings = [(tmp_path / name / "config.yaml").read_text() for name in ("run", "further")]
    assert settings[1] == settings[0].replace("learning_rate: 0.0015", "learning_rate: 0.0001").replace(
        "epochs: 1\n", f"epochs: {cli.FURTHER}\n"
    )
    saree("encode", tmp_path / "further", "--data", tmp_path / "d", "--out", tmp_path / "latents.npz")
    assert len(Latents.load(tmp_path / "latents.npz")) == 24


def test_a_stored_picture_is_its_own_nearest_neighbour(shop, cloth):
    for key in ("dots/0_0.png", "checks/2_7.png"):
        document = json.loads(saree("search", shop, cloth / key, "--json", "-k", 3))
        assert document["hits"][0]["key"] == key and document["hits"][0]["same"] > 0.9
        assert document["hits"][0]["score"] == pytest.approx(1, abs=1e-4)
        assert len(document["hits"]) == 3


def test_weights_and_where_choose_what_is_found(shop, cloth):
    query = cloth / "dots/1_0.png"
    motif = json.loads(saree("search", shop, query, "--colour", 0, "--json"))["hits"]
    assert [hit["score"] for hit in motif] == pytest.approx([hit["motif"] for hit in motif], abs=1e-5)
    some = json.loads(saree("search", shop, query, "--where", "cluster == 'checks' and split != 'test'", "--json"))[
        "hits"
    ]
    assert {hit["cluster"] for hit in some} == {"checks"}
    assert {hit["metadata"]["split"] for hit in some} <= {"train", "val"}


def test_kin_of_a_picture_are_asked_with_as_much_colour_as_the_picture_itself(shop, cloth):
    query = cloth / "dots/1_0.png"
    hits = json.loads(saree("search", shop, query, "--kin", "--json", "-k", 8))["hits"]
    assert hits == json.loads(saree("search", shop, query, "--kin", "--colour", 0.3, "--json", "-k", 8))["hits"]
    found = json.loads(saree("search", shop, query, "--json", "-k", 8))["hits"]
    assert found == json.loads(saree("search", shop, query, "--colour", 0.3, "--json", "-k", 8))["hits"] != hits
    assert hits[0]["score"] == 1 and len(hits) == 8


def test_search_asks_the_graph_what_a_cluster_uses(tiny_run, cloth, tmp_path, capsys, monkeypatch):
    for name in ("Patan Patola", "kanjivaram", "pochampally_ikat", "dots"):
        (tmp_path / "named" / name).mkdir(parents=True)
        shutil.copy(cloth / "dots/1_0.png", tmp_path / "named" / name / f"{name}.png")
    saree("index", tiny_run, "--data", tmp_path / "named", "--out", tmp_path / "cat")
    question = ("search", tmp_path / "cat", cloth / "dots/1_0.png", "--json", "--where")

    def found(where):
        return {hit["cluster"] for hit in json.loads(saree(*question, where))["hits"]}

    assert found("technique ~ 'ikat'") == {"Patan Patola", "pochampally_ikat"}  # by name and by id; double ikat is ikat
    assert found("technique ~ 'korvai' or cluster == 'dots'") == {"kanjivaram", "dots"}  # by the label of photographs
    told = refused(capsys, monkeypatch, *question[:-2], "--where", "technique ~ 'ikot'")
    assert "no term is called 'technique:ikot'" in told and "ikat" in told
    assert "no question to the graph" in refused(capsys, monkeypatch, *question[:-2], "--where", "year ~ 'ikat'")


def test_more_than_there_are_is_all_there_are(shop, cloth):
    assert len(json.loads(saree("search", shop, cloth / "dots/1_0.png", "-k", 500, "--json"))["hits"]) == 32


def test_several_pictures_are_averaged(shop, cloth):
    pair = [cloth / "dots/1_0.png", cloth / "stripes/3_0.png"]
    hits = json.loads(saree("search", shop, *pair, "--json", "-k", 32))["hits"]
    catalogue, run = indexing.open_catalogue(shop)
    with catalogue:
        [expected] = catalogue.search(np.mean([indexing.embed(run, [path])[0] for path in pair], axis=0), 32)
    scores = {hit.key: hit.score for hit in expected}
    assert {hit["key"]: hit["score"] for hit in hits} == pytest.approx(scores, abs=1e-5)


def test_a_sheet_is_drawn(shop, cloth, tmp_path):
    saree("search", shop, cloth / "dots/1_0.png", "--sheet", tmp_path / "found.png")
    with Image.open(tmp_path / "found.png") as sheet:
        assert sheet.width > 400


def test_search_prints_a_table_for_people(shop, cloth):
    told = saree("search", shop, cloth / "dots/0_0.png", "-k", 2)
    assert "dots/0_0.png" in told
    assert "1.000" in told


def test_a_catalogue_moves_with_its_model(shop, cloth, tmp_path):
    moved = shutil.copytree(shop, tmp_path / "elsewhere")
    assert json.loads(saree("search", moved, cloth / "dots/0_0.png", "--json"))["hits"][0]["key"] == "dots/0_0.png"


def test_info_tells_what_is_there(shop):
    about = json.loads(saree("info", shop, "--json"))
    assert about["items"] == 32
    assert about["clusters"] == {"checks": 8, "diamonds": 8, "dots": 8, "stripes": 8}
    assert "32" in saree("info", shop)


def test_indexing_again_stores_only_what_changed(shop, tiny_run, cloth, tmp_path):
    copy, folder = shutil.copytree(cloth, tmp_path / "cloth"), tmp_path / "catalogue"
    call = ["index", str(tiny_run), "--data", str(copy), "--out", str(folder)]
    assert "32 stored, 0 unchanged" in runner.invoke(cli.app, call).output
    assert "0 stored, 32 unchanged" in runner.invoke(cli.app, call).output
    paint("dots", "#000000").save(copy / "dots" / "0_0.png")
    manifest = (copy / "manifest.csv").read_text()
    (copy / "manifest.csv").write_text(manifest.replace("stripes/1_0.png,stripes", "stripes/1_0.png,bands"))
    assert "2 stored, 30 unchanged" in runner.invoke(cli.app, call).output
    assert json.loads(saree("info", folder, "--json"))["clusters"]["bands"] == 1
    assert json.loads(saree("info", folder, "--json"))["index"] == "fresh"


def test_indexing_again_keeps_a_label_that_was_corrected_in_the_catalogue(tiny_run, cloth, tmp_path):
    call = ["index", str(tiny_run), "--data", str(cloth), "--out", str(tmp_path / "catalogue")]
    runner.invoke(cli.app, call, catch_exceptions=False)
    with catalogues.Catalogue.open(tmp_path / "catalogue") as catalogue:
        catalogue.relabel("dots/0_0.png", "bandhani")
    assert "0 stored, 32 unchanged" in runner.invoke(cli.app, call).output
    about = json.loads(saree("info", tmp_path / "catalogue", "--json"))
    assert about["clusters"]["bandhani"] == 1 and about["corrected"] == 1


def test_a_piece_taken_out_stays_out_until_it_changes_or_is_asked_for_again(tiny_run, cloth, tmp_path):
    copy, folder = shutil.copytree(cloth, tmp_path / "cloth"), tmp_path / "catalogue"
    call = ["index", str(tiny_run), "--data", str(copy), "--out", str(folder)]
    runner.invoke(cli.app, call, catch_exceptions=False)
    with catalogues.Catalogue.open(folder) as catalogue:
        catalogue.remove(["dots/0_0.png", "dots/1_0.png", "dots/2_0.png"])
    paint("dots", "#000000").save(copy / "dots" / "0_0.png")
    (copy / "dots" / "2_0.png").write_bytes(b"no picture")
    told = runner.invoke(cli.app, call).output
    assert "1 stored, 29 unchanged, 1 unreadable" in told and "taken out of the catalogue before: 1;" in told
    run = checkpoint.load(tiny_run, "cpu")
    item = next(item for item in data.read_data(copy).items if item.key == "dots/1_0.png")
    assert indexing.index(run, data.DataSet(copy, (item,)), folder, again=True).stored == 1  # as when a visitor adds it
    told = runner.invoke(cli.app, [*call, "--again"]).output
    assert "0 stored, 31 unchanged, 1 unreadable" in told and "taken out" not in told


def _names(told: str) -> set[str]:
    return set(told.split())


def test_pieces_are_taken_out_by_name_or_by_what_holds_of_them(shop, tmp_path, capsys, monkeypatch):
    folder = shutil.copytree(shop, tmp_path / "catalogue")
    assert _names(saree("remove", folder, "dots/0_0.png", "dots/1_0.png", "dots/0_0.png")) == {
        "dots/0_0.png",
        "dots/1_0.png",
    }
    assert len(_names(saree("remove", folder, "--where", "cluster == 'stripes'"))) == 8
    assert saree("remove", folder, "--where", "cluster == 'stripes'") == ""
    told = refused(capsys, monkeypatch, "remove", folder, "dots/2_0.png", "dots/0_0.png")
    assert "dots/0_0.png" in told and "nothing was removed" in told
    about = json.loads(saree("info", folder, "--json"))
    assert about["clusters"] == {"checks": 8, "diamonds": 8, "dots": 6} and about["index"] == "fresh"
    for wrong in ([], ["dots/2_0.png", "--gone"]):
        assert runner.invoke(cli.app, ["remove", str(folder), *wrong]).exit_code == 2
    assert json.loads(saree("info", folder, "--json"))["clusters"]["dots"] == 6


def test_pieces_whose_photographs_are_gone_are_told_of_and_taken_out(tiny_run, cloth, tmp_path, capsys, monkeypatch):
    copy, folder = shutil.copytree(cloth, tmp_path / "cloth"), tmp_path / "catalogue"
    call = ["index", str(tiny_run), "--data", str(copy), "--out", str(folder)]
    assert "gone" not in runner.invoke(cli.app, call).output
    gone = {"dots/0_0.png", "stripes/0_0.png"}
    for name in gone:
        (copy / name).unlink()
    assert "photographs that are gone: 2;" in runner.invoke(cli.app, call).output
    assert _names(saree("remove", folder, "--gone", "--where", "cluster == 'dots'")) == {"dots/0_0.png"}
    assert _names(saree("remove", folder, "--gone")) == {"stripes/0_0.png"}
    assert saree("remove", folder, "--gone") == ""
    copy.rename(tmp_path / "moved")
    assert "have they been moved?" in refused(capsys, monkeypatch, "remove", folder, "--gone")
    assert json.loads(saree("info", folder, "--json"))["items"] == 30


def test_verify_names_what_is_no_longer_as_it_was_stored(tiny_run, cloth, tmp_path):
    copy, folder = shutil.copytree(cloth, tmp_path / "cloth"), tmp_path / "catalogue"
    saree("index", tiny_run, "--data", copy, "--out", folder)
    assert json.loads(saree("verify", folder, "--json")) == []
    (copy / "dots/0_0.png").unlink()
    paint("dots", "#000000").save(copy / "dots/1_0.png")
    with sqlite3.connect(folder / "items.db") as database:
        of = "(SELECT id FROM items WHERE key = ?)"
        database.execute("UPDATE items SET thumbnail = ? WHERE key = ?", [b"torn", "dots/2_0.png"])
        database.execute(f"UPDATE vectors SET mu = ? WHERE item = {of}", [b"torn", "stripes/0_0.png"])
        nothing = np.full(_width(folder), np.nan, "<f4").tobytes()
        database.execute(f"UPDATE vectors SET sigma = ? WHERE item = {of}", [nothing, "stripes/1_0.png"])
        database.execute(f"DELETE FROM vectors WHERE item = {of}", ["stripes/2_0.png"])
    told = runner.invoke(cli.app, ["verify", str(folder)])
    assert told.exit_code == 1 and "all is" not in told.output
    reasons = dict(line.split(": ", 1) for line in told.stdout.splitlines())
    assert reasons.pop("dots/2_0.png").startswith("its thumbnail")
    assert reasons == {
        "dots/0_0.png": "its photograph is gone",
        "dots/1_0.png": "its photograph has changed",
        "stripes/0_0.png": "a vector is of another length",
        "stripes/1_0.png": "its latents are not finite",
        "stripes/2_0.png": "it has no vector",
    }
    assert len(json.loads(runner.invoke(cli.app, ["verify", str(folder), "--json"]).stdout)) == 6
    copy.rename(tmp_path / "moved")
    told = runner.invoke(cli.app, ["verify", str(folder)]).stdout.splitlines()
    assert len(told) == 5 and told[-1] == "all photographs: none of the 32 is where it was"


def _width(folder: Path) -> int:
    about = json.loads(saree("info", folder, "--json"))
    return about["motif_dim"] + about["colour_dim"]


def test_compact_gives_back_the_room_of_pieces_taken_out(shop, tmp_path):
    folder = shutil.copytree(shop, tmp_path / "catalogue")
    saree("remove", folder, "--where", "cluster != 'stripes'")
    before = (folder / "items.db").stat().st_size
    saree("compact", folder)
    assert (folder / "items.db").stat().st_size < 0.7 * before
    assert json.loads(saree("verify", folder, "--json")) == []
    about = json.loads(saree("info", folder, "--json"))
    assert about["clusters"] == {"stripes": 8} and about["index"] == "fresh"


def test_a_killed_indexing_loses_nothing_acknowledged_and_goes_on(tiny_run, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    for i in range(400):
        paint("dots", "#1f4e79", shift=i % 24, side=64 + i % 7).save(many / f"{i:03}.png")
        (many / f"{i:03}.png").write_bytes((many / f"{i:03}.png").read_bytes() + bytes([i % 256, i // 256]))
    folder = tmp_path / "catalogue"
    command = [sys.executable, "-m", "apps.cli", "index", str(tiny_run), "--data", str(many), "--out", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    stored, until = 0, time.monotonic() + 60
    while not stored and time.monotonic() < until and process.poll() is None:
        with suppress(SareeError), catalogues.Catalogue.open(folder) as opened:  # at first there is none yet
            stored = opened.info()["items"]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert stored
    with catalogues.Catalogue.open(folder) as opened:
        assert opened.info()["items"] >= stored
    saree("index", tiny_run, "--data", many, "--out", folder)
    assert json.loads(saree("info", folder, "--json"))["items"] == 400


def test_evaluate_writes_figures_beside_the_baselines(tiny_run, cloth, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    told = saree(
        "evaluate", run, "--data", cloth, "--task", "retrieval", "--task", "views", "--json", tmp_path / "out.json"
    )
    results = json.loads((tmp_path / "out.json").read_text())
    assert set(results["tasks"]) == {"retrieval", "views"}
    assert "LBP" in told


def test_another_models_catalogue_is_refused(shop, tiny_run, cloth, tmp_path, capsys, monkeypatch):
    other = shutil.copytree(tiny_run, tmp_path / "other")
    weights = (other / "model.safetensors").read_bytes()
    (other / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    told = refused(capsys, monkeypatch, "index", other, "--data", cloth, "--out", shop)
    assert "is a catalogue of model" in told
    harmed = shutil.copytree(shop, tmp_path / "harmed")
    shutil.copy(other / "model.safetensors", harmed / "model")
    told = refused(capsys, monkeypatch, "search", harmed, cloth / "dots/0_0.png")
    assert "model" in told


BAD_FILES = {
    "truncated.jpg": "truncated",
    "empty.jpg": "empty",
    "text.jpg": "not an image",
    "missing.jpg": "no such file",
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_query_is_named_with_its_reason(shop, tmp_path, capsys, monkeypatch, name):
    path = tmp_path / name
    if name == "truncated.jpg":
        paint("dots", "red", side=256).save(path)
        path.write_bytes(path.read_bytes()[:3000])
    elif name != "missing.jpg":
        path.write_bytes(b"" if name == "empty.jpg" else b"just some words\n" * 20)
    told = refused(capsys, monkeypatch, "search", shop, path)
    assert name in told
    assert BAD_FILES[name] in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["check", "{tmp}/nothing"], "no such file or folder"),
        (["check", "{tmp}"], "no images in this folder"),
        (["search", "{tmp}", "x.jpg"], "catalogue"),
        (["encode", "{run}", "--data", "{cloth}", "--device", "gpu"], "expected auto, cpu or cuda"),
        (["search", "{shop}", "{cloth}/dots/0_0.png", "--where", "clustr == 'dots'"], "cluster"),
        (["search", "{shop}", "{cloth}/dots/0_0.png", "--where", "cluster =="], "after =="),
        (["search", "{shop}", "{cloth}/dots/0_0.png", "--motif", "0", "--colour", "0"], "both"),
        (["encode", "{tmp}", "--data", "{cloth}"], "not a run folder"),
        (["train", "--data", "{cloth}", "--out", "{run}", "--config", "tiny"], "--resume"),
        (
            ["train", "--data", "{cloth}", "--out", "{tmp}/r", "--config", "tiny", "--set", "model.motif_dims=3"],
            "motif_dim",
        ),
        (["train", "--data", "{cloth}", "--out", "{tmp}/r", "--config", "tiny", "--set", "train.device=cuda"], "GPU"),
        (["evaluate", "{run}", "--data", "{cloth}", "--task", "retreival"], "retrieval"),
        (["render", "--out", "{cloth}", "--count", "2"], "manifest.csv"),
    ],
)
def test_mistakes_are_told_in_a_sentence(shop, cloth, tiny_run, tmp_path, capsys, monkeypatch, arguments, told):
    places = {"tmp": tmp_path, "shop": shop, "cloth": cloth, "run": tiny_run}
    assert told in refused(capsys, monkeypatch, *(a.format(**places) for a in arguments))


# Run the command line where no file may grow beyond a size: what a full disk does, at the level of the system.
CRAMPED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from apps import cli
cli.main()
"""


def cramped(size: int, *arguments) -> str:
    """The error line of a command that runs out of room for files."""
    command = [sys.executable, "-c", CRAMPED, str(size), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_a_full_disk_while_encoding_leaves_no_half_a_file(tiny_run, cloth, tmp_path):
    assert "latents.npz: could not be written" in cramped(
        1000, "encode", tiny_run, "--data", cloth, "--out", tmp_path / "latents.npz"
    )
    assert not list(tmp_path.iterdir())


def test_a_full_disk_while_indexing_keeps_what_was_there(shop, tiny_run, cloth, tmp_path):
    folder, copy = shutil.copytree(shop, tmp_path / "c"), shutil.copytree(cloth, tmp_path / "cloth")
    for path in copy.rglob("*.png"):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)).save(path)
    before = saree("search", folder, cloth / "dots/0_0.png", "--json")
    assert str(folder) in cramped(30_000, "index", tiny_run, "--data", copy, "--out", folder)
    assert saree("search", folder, cloth / "dots/0_0.png", "--json") == before


def test_a_full_disk_while_training_keeps_the_last_good_epoch(cloth, tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    state = (run / "last" / "state.safetensors").read_bytes()
    room = len(state) // 2  # enough for the model, not for what resuming needs
    new = tmp_path / "new"
    assert "could not be written" in cramped(room, "train", "--config", "tiny", "--data", cloth, "--out", new)
    assert not list((new / "last").glob("*"))
    assert (run / "last" / "state.safetensors").read_bytes() == state


def test_wrong_usage_exits_with_two():
    assert runner.invoke(cli.app, ["search"]).exit_code == 2
    assert runner.invoke(cli.app, ["serach"]).exit_code == 2
