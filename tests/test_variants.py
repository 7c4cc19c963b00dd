"""Variants: colours change and threads stay, the gate holds, and a folder of them is for learning from only."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import MARKS, head_steps
from PIL import Image
from typer.testing import CliRunner

from apps import cli
from saree_vae import checkpoint, config, data, evaluate, files, images, indexing, train, variants
from saree_vae.catalogue import Catalogue
from saree_vae.errors import SareeError
from saree_vae.images import read_square
from saree_vae.latents import Latents
from saree_vae.variants import Known, Maker

runner = CliRunner()


@pytest.fixture(scope="module")
def run(tiny_run):
    return checkpoint.load(tiny_run, "cpu")


@pytest.fixture(scope="module")
def known(run, cloth):
    return Known.read(run, data.read_data(cloth).of("train"))[0]


def opened(patch: pytest.MonkeyPatch, *, copies: bool = True) -> None:
    """Everything passes: a run of two epochs hardly changes a picture, and of its neighbours little can be asked."""
    patch.setattr(variants, "KEPT", 0.0)
    patch.setattr(Known, "strangeness", lambda self, latents, apart: np.zeros(len(latents)))
    if copies:
        patch.setattr(data.Looks, "near", lambda self, others: np.zeros((len(self.shape), len(others.shape)), bool))


@pytest.fixture
def open_gate(monkeypatch):
    opened(monkeypatch)


def maker(run, known, **settings) -> Maker:
    return Maker(run, known, lambda row: read_square(known.items[row].path, 96), **settings)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# --- what is made ---


def test_a_variant_has_the_colours_of_another_and_its_own_threads(run, known, open_gate, monkeypatch):
    # Drawings of plain colour, so that what must come out is known: red becomes blue, and white marks stay light.
    red, blue = np.full((1, 64, 64, 3), (150, 30, 40), np.uint8), np.full((1, 64, 64, 3), (40, 60, 150), np.uint8)
    drawn = iter([red, blue])
    monkeypatch.setattr(Maker, "_decoded", lambda self, z, *_: np.repeat(next(drawn), len(z), 0))
    made, _ = maker(run, known, vary="colour").make([0], 1)
    before, after = read_square(known.items[0].path, 96).astype(int), made[0].picture.astype(int)
    white = before.min(2) > 200
    assert (after[~white][:, 2] - before[~white][:, 2]).mean() > 60
    edges = [np.abs(np.diff(picture.sum(2), axis=0)) > 60 for picture in (before, after)]
    assert (edges[0] == edges[1]).mean() > 0.99
    assert made[0].method == "colours of another" and set(made[0].parameters) == {"colours_of"}


def test_a_design_is_that_of_a_neighbour_of_its_cluster_in_its_own_colours(run, known, open_gate):
    made, _ = maker(run, known, vary="motif").make(list(range(len(known.items))), 1)
    assert made
    for one in made:
        assert known.clusters[one.design_of] == known.clusters[one.source] and one.design_of != one.source
        assert one.parameters == {"design_of": known.items[one.design_of].key}
    plan, half = maker(run, known, vary="motif")._plan(0, np.random.default_rng(0)), known.latents.motif_dim
    assert (plan.z[:half] == known.latents.motif[plan.row]).all() and (plan.z[half:] == known.latents.colour[0]).all()


def test_without_a_cluster_any_design_near_will_do(run, known):
    unlabelled = known.telling(np.array([], int))
    near = maker(run, unlabelled, vary="both")._neighbours(3)
    all_of_it = unlabelled.embedding
    assert 3 not in near and near[0] == np.delete(np.argsort(-all_of_it @ all_of_it[3], kind="stable"), 0)[0]
    assert maker(run, unlabelled, vary="motif")._plan(3, np.random.default_rng(0)).row in near


def test_by_both_half_of_the_variants_keep_their_own_design(run, known):
    made = maker(run, known, vary="both")
    plans = [made._plan(3, np.random.default_rng(seed)) for seed in range(100)]
    theirs = [plan for plan in plans if plan.row != 3]
    assert 30 < len(theirs) < 70 and {plan.row for plan in theirs} <= set(made._neighbours(3).tolist())
    assert all(
        "colours_of" in plan.parameters and ("design_of" in plan.parameters) == (plan.row != 3) for plan in plans
    )


def test_variants_of_a_picture_do_not_depend_on_others(run, known, open_gate):
    several, _ = maker(run, known, seed=3).make([5, 2, 9], 3)
    alone, _ = maker(run, known, seed=3).make([2], 3)
    other, _ = maker(run, known, seed=4).make([2], 3)
    same = [one for one in several if one.source == 2]
    assert [one.parameters for one in same] == [one.parameters for one in alone] != [one.parameters for one in other]
    assert all((a.picture == b.picture).all() for a, b in zip(same, alone, strict=True))


def test_white_studio_ground_stays_white():
    picture = np.full((96, 96, 3), 252, np.uint8)
    picture[30:, 30:66] = (150, 30, 40)
    blue = np.full_like(picture, (40, 60, 150))
    kept = variants._on_its_ground(picture, blue, variants._cloth(picture))
    assert (kept[:, :20] > 245).all() and (kept[60, 48] == blue[0, 0]).all()
    red_ground = np.where(picture > 245, np.uint8([150, 30, 40]), np.uint8([250, 240, 230]))
    assert variants._cloth(red_ground) is None  # cloth with a plain ground of its own is cloth


def test_a_conditional_run_is_told_the_cluster(cloth, tmp_path, monkeypatch):
    dataset = data.read_data(cloth)
    settings = config.load("tiny", ["model.conditional=true", "model.levels=2", "train.epochs=1"])
    run = checkpoint.load(train.train(settings, dataset, tmp_path / "run", tell=lambda _: None), "cpu")
    known = Known.read(run, dataset.of("train"))[0]
    told, draw = [], type(run.model).decode
    monkeypatch.setattr(type(run.model), "decode", lambda self, z, c, d: told.append(c.tolist()) or draw(self, z, c, d))
    maker(run, known)._drawn([(0, 0), (len(known.items) - 1, 0)], 0)
    number = {name: place for place, name in enumerate(run.config.model.classes, 1)}
    ends = [number[known.clusters[row]] for row in (0, -1)]
    assert told == [ends, ends] and ends[0] != ends[1]


# --- from what a catalogue keeps ---


@pytest.fixture(scope="module")
def stored(run, cloth, tmp_path_factory):
    """A catalogue of copies of the painted squares, and the folder of these."""
    folder = tmp_path_factory.mktemp("stored")
    shutil.copytree(cloth, folder / "data")
    indexing.index(run, data.read_data(folder / "data"), folder / "catalogue")
    with Catalogue.open(folder / "catalogue") as catalogue:
        yield catalogue, folder / "data"


def test_a_catalogue_knows_what_its_photographs_tell(stored, known):
    of_stored, bad = Known.of_catalogue(stored[0])
    place = {item.key: row for row, item in enumerate(known.items)}
    rows = [place[item.key] for item in of_stored.items]
    assert not bad and sorted(rows) == list(range(len(known.items)))
    for name in ("cluster", "item_id", "split"):
        told = [getattr(item, name) for item in of_stored.items]
        assert told == [getattr(known.items[row], name) for row in rows]
    assert np.allclose(of_stored.latents.mu, known.latents.mu[rows], atol=1e-4)
    # Thumbnails are JPEG, and plain surfaces have waves of any sign in it: looks differ, but most only by a little.
    near = of_stored.looks.near(known.looks)[:, rows]
    assert near.diagonal().mean() > 0.5 and near.sum() == near.diagonal().sum()


def test_pieces_whose_photographs_are_gone_are_named(stored, tmp_path):
    catalogue, folder = stored
    (folder / "dots" / "1_0.png").rename(tmp_path / "away.png")
    told, bad = Known.of_catalogue(catalogue)
    (tmp_path / "away.png").rename(folder / "dots" / "1_0.png")
    assert [one.key for one in bad] == ["dots/1_0.png"] and "gone" in bad[0].reason
    assert len(told.items) == len(Known.of_catalogue(catalogue)[0].items) - 1


def test_a_copy_of_its_own_photograph_is_refused_whatever_the_thumbnails_show(run, known, monkeypatch):
    opened(monkeypatch, copies=False)
    blind = Known(known.items, known.latents, known.looks._replace(colour=255 - known.looks.colour))
    own = read_square(known.items[0].path, 96)
    tried = [variants.Variant(0, 0, own, "", {}, 5), variants.Variant(5, 0, own, "", {}, 0)]
    assert maker(run, blind)._judged(tried, {}) == ["copy", "copy"]


def test_an_archive_holds_what_a_folder_would(run, known, cloth, tmp_path, open_gate):
    variants.augment(run, data.read_data(cloth), tmp_path / "folder", per_image=2, seed=3)
    made = Maker(run, known, lambda row: known.picture(row, variants.SIDE), seed=3)
    with (tmp_path / "a.zip").open("wb") as file:
        *_, last = variants.archive(made, range(len(known.items)), 2, file)
    with zipfile.ZipFile(tmp_path / "a.zip") as zipped:
        inside = {name: zipped.read(name) for name in zipped.namelist()}
    folder = everything(tmp_path / "folder")
    assert inside == {name: file for name, file in folder.items() if name != variants.STATE}
    assert last.sources == len(known.items) and last.kept == len(inside) - 1 and last.asked == 2 * last.sources


def test_a_picture_that_breaks_is_left_out_of_an_archive(run, known, tmp_path, open_gate):
    def picture(row: int) -> np.ndarray:
        if row == 1:
            raise images.ImageError("somewhere/private.png", "truncated")
        return known.picture(row, 96)

    with (tmp_path / "a.zip").open("wb") as file:
        *_, last = variants.archive(Maker(run, known, picture, vary="colour"), [0, 1, 2], 1, file)
    assert [(one.key, one.reason) for one in last.bad] == [(known.items[1].key, "truncated")]
    assert last.kept == 2 and zipfile.ZipFile(tmp_path / "a.zip").testzip() is None


# --- the gate ---


def judged(run, known, pictures: list[np.ndarray], **settings) -> list[str]:
    tried = [variants.Variant(0, i, picture, "", {}, 0) for i, picture in enumerate(pictures)]
    return maker(run, known, **settings)._judged(tried, {})


def test_near_copies_are_refused_of_the_source_of_others_and_of_one_another(run, known, monkeypatch):
    opened(monkeypatch, copies=False)
    own, other = (read_square(known.items[row].path, 96) for row in (0, 7))
    new = np.roll(np.array(Image.fromarray(own).rotate(90)), 40, axis=2)
    lighter = np.clip(other.astype(int) + 3, 0, 255).astype(np.uint8)
    assert judged(run, known, [own, lighter, new, new]) == ["copy", "copy", "", "copy"]


def test_what_has_left_its_cluster_is_refused(run, known, monkeypatch):
    monkeypatch.setattr(Known, "strangeness", lambda self, latents, apart: np.zeros(len(latents)))
    own = np.array(Image.fromarray(read_square(known.items[0].path, 96)).rotate(90))[..., ::-1]
    for after, reason in ((0.49, "class"), (0.51, "")):
        p = iter([np.array([0.8]), np.array([0.8 * after])])
        assert judged(run, known, [own], evidence=lambda pictures, clusters, p=p: next(p)) == [reason]


def test_neighbours_vote_without_the_source_itself(known):
    rows = np.arange(len(known.items))[:, None]
    mine = known.evidence(known.latents, known.clusters, rows)
    assert (mine >= 0).all() and (mine <= 1).all() and mine.mean() > 0
    items = [replace(known.items[0], cluster="alone"), *known.items[1:]]
    alone = Known(items, known.latents, known.looks)
    assert alone.evidence(known.latents.of([0]), np.array(["alone"]), rows[:1]) == 0
    assert alone.evidence(known.latents.of([0]), np.array(["alone"]), rows[1:2]) > 0
    assert known.telling(np.array([], int)).evidence(known.latents, known.clusters, rows).sum() == 0


def test_what_is_stranger_than_training_pictures_is_refused(run, known, monkeypatch, noise):
    monkeypatch.setattr(variants, "KEPT", 0.0)
    monkeypatch.setattr(known, "usual", -1.0)
    assert judged(run, known, [noise.integers(0, 256, (96, 96, 3)).astype(np.uint8)]) == ["strange"]
    monkeypatch.setattr(known, "usual", 3.0)
    assert judged(run, known, [noise.integers(0, 256, (96, 96, 3)).astype(np.uint8)]) == [""]


def test_a_label_is_believed_of_what_is_joined_to_it_by_pictures_between(known):
    """Two arcs side by side, each told at one end; its other end lies nearer to the other's label than to its own."""
    along = np.linspace(0, np.pi, 60)
    mu = np.concatenate([np.stack([np.cos(along), np.sin(along), 0 * along + z], 1) for z in (-0.6, 0.6)])
    latents = Latents(tuple(map(str, range(120))), np.float32(mu), np.float32(mu * 0 + 1), 3)
    names = np.repeat(["one", "other"], 60)
    told = {0: "one", 119: "other"}
    items = [data.Item(str(i), Path(str(i)), told.get(i), split="train") for i in range(120)]
    looks = data.Looks(np.zeros((120, *known.looks.shape.shape[1:])), np.zeros((120, *known.looks.colour.shape[1:])))
    assert (Known(items, latents, looks).believed == names).all()


def test_believed_clusters_are_some_that_were_told_and_told_ones_stay(known):
    told = np.array([i for i in range(len(known.items)) if i % 2])
    some = known.telling(told)
    assert (some.believed[told] == known.clusters[told]).all()
    assert set(some.believed) <= {*known.clusters, ""}
    assert (known.telling(np.array([], int)).believed == "").all()


def test_what_was_refused_is_drawn_again_and_counted(run, known, monkeypatch):
    answers = iter([["copy", "class"], ["", "class"], ["class"], ["strange"], ["class"]])
    monkeypatch.setattr(Maker, "_judged", lambda self, tried, passed: next(answers))
    made, refused = maker(run, known).make([0], 2)
    assert [one.number for one in made] == [0]
    assert refused == {"copy": 1, "class": 4, "strange": 1, "given up": 1}


# --- the folder ---


@pytest.fixture(scope="module")
def folder(run, cloth, tmp_path_factory):
    """Variants of all training pictures, and the originals."""
    with pytest.MonkeyPatch.context() as patch:
        opened(patch)
        out = tmp_path_factory.mktemp("made") / "d2"
        variants.augment(run, data.read_data(cloth), out, per_image=2, originals=True)
    return out


def test_every_variant_tells_where_it_comes_from(folder, run, cloth):
    originals = {item.key: item for item in data.read_data(cloth).items}
    made = [row for row in rows(folder) if row["made_from"]]
    assert made and len(rows(folder)) == len(made) + len(originals)
    for row in made:
        source = originals[row["made_from"]]
        assert source.split == row["split"] == "train"
        assert (row["cluster"], row["item_id"]) == (source.cluster, source.item_id)
        assert row["model"] == run.fingerprint and row["seed"] == "0" and "colours of another" in row["method"]
        donor = originals[json.loads(row["parameters"])["colours_of"]]
        assert donor.split == "train" and donor.cluster == source.cluster and donor.key != source.key
        assert images.image_size(folder / row["path"]) == (96, 96)


def test_a_folder_with_originals_trains_and_measures_no_variant(folder, tmp_path, cloth):
    dataset = data.read_data(folder)
    made = sum(item.made_from is not None for item in dataset.items)
    settings = config.load("tiny", ["train.epochs=1"])
    again = checkpoint.load(train.train(settings, dataset, tmp_path / "run", tell=lambda _: None), "cpu")
    measured = evaluate.evaluate(again, dataset, ("retrieval",))
    plain = evaluate.evaluate(again, data.read_data(cloth), ("retrieval",))
    assert measured["data"]["variants"] == made > 0
    assert measured["tasks"]["retrieval"]["gallery"] == plain["tasks"]["retrieval"]["gallery"]
    assert measured["data"]["pictures"] == plain["data"]["pictures"]
    done = indexing.index(again, dataset, tmp_path / "catalogue")
    assert done.variants == made and done.stored == len(dataset.items) - made
    with Catalogue.open(tmp_path / "catalogue") as catalogue:
        assert not any(key.startswith("variants/") for key in catalogue.items())


def changed(folder: Path, tmp_path: Path, change) -> Path:
    """A copy of a manifest with its rows changed."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    table = rows(copy)
    change(table)
    with (copy / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)
    return copy


@pytest.mark.parametrize("split", ["test", "val"])
def test_a_variant_in_another_split_is_refused_by_name_and_listed_by_check(folder, tmp_path, split):
    copy = changed(folder, tmp_path, lambda table: table[-1].update(split=split))
    with pytest.raises(SareeError, match=f"{rows(copy)[-1]['path']} is a variant.*its split is {split}"):
        data.read_data(copy)
    found = data.check(copy)
    assert list(found.astray) == [rows(copy)[-1]["path"]]
    assert "variants astray" in "\n".join(found.lines())
    assert data.check(folder).astray == {}


def test_a_variant_of_a_test_picture_is_refused(folder, tmp_path):
    copy = changed(folder, tmp_path, lambda table: table[-1].update(made_from=of_the_test_split(table)))
    with pytest.raises(SareeError, match="which it was made from, is in test"):
        data.read_data(copy)


def of_the_test_split(table: list[dict[str, str]]) -> str:
    return next(row["path"] for row in table if row["split"] == "test")


def test_without_a_split_a_variant_is_for_training_and_takes_its_piece_along(folder, tmp_path):
    copy = changed(folder, tmp_path, lambda table: [row.update(split="") for row in table])
    items = {item.key: item for item in data.read_data(copy).items}
    made = [item for item in items.values() if item.made_from]
    assert made and all(item.split == items[item.made_from].split == "train" for item in made)


def test_variants_alone_make_no_catalogue(run, cloth, tmp_path, open_gate):
    variants.augment(run, data.read_data(cloth), tmp_path / "d2", per_image=1)
    alone = data.read_data(tmp_path / "d2")
    assert all(item.made_from for item in alone.items)
    with pytest.raises(SareeError, match="nothing but variants"):
        indexing.index(run, alone, tmp_path / "catalogue")


# --- interrupted, full, wrong ---


def stopped(run, dataset, out, monkeypatch, at: int) -> None:
    """Killed after so many pictures."""
    written, count = variants._written, []

    def write(*arguments):
        count.append(1)
        if len(count) > at:
            raise KeyboardInterrupt
        return written(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(variants, "_written", write)
        with pytest.raises(KeyboardInterrupt):
            variants.augment(run, dataset, out, per_image=2, originals=True)


def test_a_killed_call_goes_on_and_ends_as_if_it_had_not_been(run, cloth, tmp_path, monkeypatch, open_gate):
    monkeypatch.setattr(variants, "BATCH", 4)
    dataset = data.read_data(cloth)
    whole = variants.augment(run, dataset, tmp_path / "whole", per_image=2, originals=True)
    stopped(run, dataset, tmp_path / "parts", monkeypatch, at=11)
    halfway = data.read_data(tmp_path / "parts")
    assert 0 < sum(item.made_from is not None for item in halfway.items) < whole.kept and not halfway.bad
    # A kill between manifest and state: rows that the state does not count.
    with (tmp_path / "parts" / "manifest.csv").open("a") as file:
        file.write("variants/00/torn.jp")
    assert variants.augment(run, dataset, tmp_path / "parts", per_image=2, originals=True) == whole
    assert everything(tmp_path / "parts") == everything(tmp_path / "whole")
    monkeypatch.setattr(Known, "read", None)  # nothing is left to do
    assert variants.augment(run, dataset, tmp_path / "parts", per_image=2, originals=True) == whole


def test_a_full_disk_is_told_in_a_sentence_and_what_is_there_stays(run, cloth, tmp_path, monkeypatch, open_gate):
    monkeypatch.setattr(variants, "BATCH", 4)
    dataset, out, replaced, room = data.read_data(cloth), tmp_path / "d2", files.os.replace, [12]

    def full(*paths):
        room[0] -= 1
        if room[0] < 0:
            raise OSError(28, "No space left on device")
        replaced(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", full)
        with pytest.raises(SareeError, match="could not be written: No space left on device"):
            variants.augment(run, dataset, out, per_image=2)
    there = data.read_data(out)
    assert there.items and not there.bad and all(read_square(item.path, 64).any() for item in there.items)
    variants.augment(run, dataset, out, per_image=2)
    assert len(data.read_data(out).items) > len(there.items)


def test_a_folder_of_something_else_or_made_otherwise_is_left_alone(run, cloth, tmp_path, open_gate):
    dataset, other = data.read_data(cloth), tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    with pytest.raises(SareeError, match="holds no variants; choose another folder"):
        variants.augment(run, dataset, other)
    assert everything(other) == {"letter.txt": b"dear"}
    variants.augment(run, dataset, tmp_path / "d2", per_image=1)
    before = everything(tmp_path / "d2")
    with pytest.raises(SareeError, match="made with seed 0, not 1; choose another folder"):
        variants.augment(run, dataset, tmp_path / "d2", per_image=1, seed=1)
    assert everything(tmp_path / "d2") == before


@pytest.mark.parametrize(
    ("settings", "vary", "why"),
    [
        (["model.colour_dim=0", "objective.swap=0", "objective.contrast_colour=0"], "both", "no colour half"),
        (["model.posterior=vq", "model.motif_dim=16"], "colour", "map of codes"),
        ([], "border", "'border' cannot be varied; choose colour, motif, both"),
    ],
)
def test_a_run_that_cannot_is_told_before_anything_is_written(cloth, tmp_path, settings, vary, why):
    from saree_vae.vae import VAE

    resolved = config.load("tiny", settings)
    run = checkpoint.Run(tmp_path / "run", resolved, VAE(resolved.model), "f00")
    with pytest.raises(SareeError, match=why):
        variants.augment(run, data.read_data(cloth), tmp_path / "d2", vary=vary)
    assert not (tmp_path / "d2").exists()


# --- the command ---


def test_the_command_tells_what_was_kept_and_refused(tiny_run, cloth, tmp_path):
    asked = ["augment", str(tiny_run), "--data", str(cloth), "--out", str(tmp_path / "d2"), "--per-image", "1"]
    told = runner.invoke(cli.app, [*asked, "--json"])
    assert told.exit_code == 0, told.stderr
    document = json.loads(told.stdout)
    assert document["asked"] == len(data.read_data(cloth).of("train"))
    assert document["kept"] == len(rows(tmp_path / "d2")) == document["asked"] - document["refused"].get("given up", 0)
    assert f"{document['kept']} variants, without the originals" in told.stderr
    assert all(f"refused {count}" in told.stderr for name, count in document["refused"].items() if name != "given up")


def test_evaluate_says_where_there_is_too_little_to_measure_by(tiny_run, cloth):
    told = runner.invoke(cli.app, ["evaluate", str(tiny_run), "--data", str(cloth), "--task", "augment"])
    assert told.exit_code == 0, told.stderr
    assert "### augment" in told.stdout and "Two classes with 20 training pictures" in told.stdout
    unknown = runner.invoke(cli.app, ["evaluate", str(tiny_run), "--data", str(cloth), "--task", "aug"])
    assert "augment" in str(unknown.exception)


def test_a_head_judges_where_it_is_given_and_must_be_of_the_run(tiny_run, run, cloth, tmp_path, monkeypatch):
    from apps.variants import by_head

    with head_steps(20):
        asked = ["fit-head", str(tiny_run), "--data", str(named(cloth, tmp_path)), "--out", str(tmp_path / "head")]
        assert runner.invoke(cli.app, [*asked, "--crops", "0"]).exit_code == 0
    evidence = by_head(tmp_path / "head", run)
    picture = read_square(cloth / "dots/1_0.png", 96)
    p = evidence([picture] * 3, ["paithani", "patola", "no craft of this name"])
    assert 0 <= p[0] <= 1 and 0 <= p[1] <= 1 and p[0] != p[1] and p[2] == 1
    with pytest.raises(SareeError, match="fit it again"):
        by_head(tmp_path / "head", replace(run, fingerprint="f00"))


def named(cloth: Path, tmp_path: Path) -> Path:
    """The painted squares under names of crafts."""
    copy, crafts = (
        tmp_path / "crafts",
        dict(zip(sorted(MARKS), ("paithani", "patola", "bandhani", "jamdani"), strict=True)),
    )
    shutil.copytree(cloth, copy)
    text = (copy / "manifest.csv").read_text()
    for mark, craft in crafts.items():
        text = text.replace(f",{mark},", f",{craft},")
    (copy / "manifest.csv").write_text(text)
    return copy
