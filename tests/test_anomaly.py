"""What is strange, where, and how surely: the scorer, the made-up strangers, the figures, and the command."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MARKS, paint
from PIL import Image
from sklearn.metrics import roc_auc_score, roc_curve
from test_cli import refused
from typer.testing import CliRunner, Result

from apps import cli
from saree_vae import anomaly, checkpoint, config, data, detection, judge, strangers
from saree_vae.anomaly import PARTS, AnomalyScorer, outliers
from saree_vae.encoding import encode
from saree_vae.errors import SareeError
from saree_vae.vae import VAE


def run(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(cli.app, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result


@pytest.fixture(scope="module", autouse=True)
def quick():
    """A judge of painted squares needs few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "STEPS", 60)
        patch.setattr(judge, "BATCH", 32)
        yield


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """Painted squares, 48 to learn from, 24 to set the threshold on and 24 to ask, at random shifts."""
    folder, random = tmp_path_factory.mktemp("many"), np.random.default_rng(0)
    rows = ["path,cluster,split"]
    for i in range(96):
        split = ("train", "train", "val", "test")[i % 4]
        mark, ground = MARKS[random.integers(4)], "#{:02x}{:02x}{:02x}".format(*random.integers(20, 200, 3))
        paint(mark, ground, int(random.integers(0, 24))).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{mark},{split}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def own_run(tiny_run, tmp_path_factory) -> Path:
    """A copy, as scorers are kept in the run folder."""
    return Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("anomaly") / "tiny"))


@pytest.fixture(scope="module")
def loaded(own_run):
    return checkpoint.load(own_run, "cpu")


@pytest.fixture(scope="module")
def scorer(loaded, many) -> AnomalyScorer:
    return AnomalyScorer.fit(loaded, data.read_data(many))


@pytest.fixture(scope="module")
def tests(loaded, many) -> np.ndarray:
    return detection.pictures(loaded, data.read_data(many).of("test"))


def noise_pictures(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


# --- the score ---


def test_what_is_no_cloth_is_stranger_than_cloth(scorer, tests):
    usual, strange = scorer.score(tests), scorer.score(noise_pictures(8, 64))
    assert strange.score.min() > usual.score.max()
    assert set(usual.parts) == set(PARTS)
    # Noise is anything but plain, and what has learnt four steps of edges sees edges in it as in cloth.
    assert strange.parts["damaged"].min() > usual.parts["damaged"].max()
    assert (strange.score > scorer.limit()).all()
    assert (strange.beyond == 1).all() and all({"far", "damaged"} & set(reasons) for reasons in strange.reasons)


def test_what_it_was_shown_is_nearer_than_what_it_was_not(scorer, loaded, many, tests):
    shown = data.load(data.read_data(many).of("train"), loaded.read_size).images
    assert np.median(scorer.score(shown).parts["far"]) < np.median(scorer.score(tests).parts["far"]) - 0.1


def test_a_plain_sheet_is_plainer_than_all(scorer):
    found = scorer.score(np.full((1, 64, 64, 3), 90, np.uint8))
    assert found.parts["plain"][0] > 3 and "plain" in found.reasons[0]
    assert PARTS["plain"] in found.words(0)


def test_the_score_is_the_sum_of_its_parts_and_the_same_at_every_call(scorer, tests):
    once, alone = scorer.score(tests), scorer.score(tests[:1])
    counted = sum(w * np.maximum(one, -1) for w, one in zip((1, 1, 2), once.parts.values(), strict=True))
    np.testing.assert_allclose(once.score, counted, rtol=1e-5)
    np.testing.assert_allclose(once.score[0], alone.score[0], rtol=1e-3)


def test_pictures_may_come_as_they_are_read_or_as_the_model_sees_them(scorer, loaded, many):
    items = data.read_data(many).of("test")[:3]
    large, small = data.load(items, loaded.read_size).images, detection.pictures(loaded, items)
    np.testing.assert_allclose(scorer.score(large).score, scorer.score(small).score, rtol=1e-6)


def test_a_stain_of_another_colour_is_seen_where_it_is(loaded):
    side = loaded.config.model.image_size
    cloth = np.full((1, side, side, 3), (120, 60, 60), np.uint8)
    stained, cell = cloth.copy(), side // judge.SIDE
    stained[:, 2 * cell : 3 * cell, 5 * cell : 6 * cell] = (40, 90, 90)
    clean, seen = (judge.look(loaded, one).maps[0, -6:-3].float() for one in (cloth, stained))
    changed = (clean - seen).abs().amax(0) > 0.01
    assert changed.nonzero().tolist() == [[2, 5]]


def test_the_judge_minds_how_what_a_picture_shows_is_parted():
    torch.manual_seed(0)
    eye = judge.Judge(1, judge.HIDDEN).eval()
    eye.stages = torch.nn.ModuleList([torch.nn.Identity()])  # cells as they are, none beside its neighbours
    halves = torch.zeros(1, judge.HIDDEN, judge.SIDE, judge.SIDE)
    halves[..., : judge.SIDE // 2] = 1
    mixed = halves[..., [0, 4, 1, 5, 2, 6, 3, 7]]
    with torch.inference_mode():
        told = [eye(torch.zeros(1, 1), one)[0].item() for one in (halves, halves.flip(3), halves.mT, mixed)]
    assert told[:3] == pytest.approx([told[0]] * 3, abs=1e-6)
    assert told[3] != pytest.approx(told[0], abs=1e-3)


def test_fitting_again_with_the_same_seed_gives_the_same_scores(loaded, many, scorer, tests):
    again = AnomalyScorer.fit(loaded, data.read_data(many))
    np.testing.assert_allclose(again.score(tests).score, scorer.score(tests).score, rtol=1e-4)


def test_a_scorer_that_is_read_back_says_the_same(scorer, loaded, tests, tmp_path):
    scorer.save(tmp_path / "s.safetensors")
    back = AnomalyScorer.load(tmp_path / "s.safetensors", loaded)
    np.testing.assert_array_equal(back.score(tests).score, scorer.score(tests).score)
    np.testing.assert_array_equal(back.heat_maps(tests), scorer.heat_maps(tests))
    assert back.limit() == scorer.limit() and back.calibrated_on == 24
    with pytest.raises(SareeError, match="another model"):
        AnomalyScorer.load(tmp_path / "s.safetensors", replace(loaded, fingerprint="0" * 64))
    with pytest.raises(SareeError, match="not written by this version"):
        AnomalyScorer.load(loaded.path / "model.safetensors", loaded)


def test_a_scorer_is_fitted_once_for_a_data_set_and_anew_for_another(own_run, loaded, many, monkeypatch):
    dataset = data.read_data(many)
    first = AnomalyScorer.of(loaded, dataset)
    fitted = []
    monkeypatch.setattr(AnomalyScorer, "fit", lambda *given, **more: fitted.append(1) or first)
    AnomalyScorer.of(loaded, dataset)
    assert not fitted
    AnomalyScorer.of(loaded, replace(dataset, items=dataset.items[:-1]))
    assert fitted == [1]
    (own_run / anomaly.FILE).write_bytes(b"damaged")
    AnomalyScorer.of(loaded, dataset)
    assert fitted == [1, 1]


# --- the threshold ---


def test_no_more_usual_pictures_are_called_strange_than_was_asked():
    scorer, random = object.__new__(AnomalyScorer), np.random.default_rng(0)
    called = []
    for _ in range(400):
        scorer._state = {"usual": random.normal(size=(99, 3))}
        called.append((anomaly._sum(random.normal(size=(200, 3))) > scorer.limit(0.1)).mean())
    assert np.mean(called) == pytest.approx(0.1, abs=0.01)
    assert scorer.promised(0.1) == 0.1
    scorer._state = {"usual": random.normal(size=(9, 3))}
    assert scorer.limit(0.05) == anomaly._sum(scorer._state["usual"]).max() and scorer.promised(0.05) == 0.1


def test_the_middle_of_the_calibration_pictures_scores_nothing(scorer, loaded, many):
    held = scorer.score(detection.pictures(loaded, data.read_data(many).of("val")))
    for part in held.parts.values():
        assert np.median(part) == pytest.approx(0, abs=1e-3)
    assert (held.score > scorer.limit()).sum() <= 1


def test_without_a_val_split_training_pictures_stand_in_and_it_is_said(loaded, many):
    dataset = data.read_data(many)
    scorer = AnomalyScorer.fit(loaded, replace(dataset, items=dataset.of("train", "test")))
    assert scorer.calibrated_on == 9 and "no val split" in scorer.notes[0]


def test_without_pictures_to_learn_from_nothing_is_said(loaded, many):
    dataset = data.read_data(many)
    with pytest.raises(SareeError, match="10 pictures of a train split are needed.* 0 can be read"):
        AnomalyScorer.fit(loaded, replace(dataset, items=dataset.of("val", "test")))


def test_variants_are_not_taken_for_what_is_usual(loaded, many):
    dataset = data.read_data(many)
    variants = [replace(item, metadata={"made_from": "0.png"}) for item in dataset.of("train")]
    with pytest.raises(SareeError, match="0 can be read"):
        AnomalyScorer.fit(loaded, replace(dataset, items=(*variants, *dataset.of("val"))))


# --- where ---


def test_a_heat_map_glows_where_the_cloth_is_blocked(scorer, tests):
    blocked = tests.copy()
    blocked[:, 8:32, 8:32] = 255 - blocked[:, 8:32, 8:32].mean((1, 2), keepdims=True).astype(np.uint8)
    heat = scorer.heat_maps(blocked) - scorer.heat_maps(tests)
    side = heat.shape[1]
    corner = heat[:, : side // 2, : side // 2].mean()
    assert heat.shape == (len(tests), side, side) and corner > 2 * abs(heat[:, side // 2 :, side // 2 :].mean())


# --- other runs ---


def made_run(**settings):
    """An untrained model as a run."""
    torch.manual_seed(0)
    model = config.load("tiny").model.model_copy(update=settings)
    made = config.load("tiny").model_copy(update={"model": model})
    return checkpoint.Run(Path("made"), made, VAE(model).eval(), "f" * 64)


@pytest.mark.parametrize("posterior", ["vq", "point"])
def test_runs_without_a_density_are_scored_by_the_same_parts(many, posterior):
    run, dataset = made_run(posterior=posterior), data.read_data(many)
    found = AnomalyScorer.fit(run, dataset).score(noise_pictures(3, 64))
    assert set(found.parts) == set(PARTS) and np.isfinite(found.score).all()
    rows = detection.uncounted(run, dataset)(noise_pictures(3, 64))
    assert "reconstruction probability" in rows and not any("ELBO" in name for name in rows)


def test_a_fully_connected_run_for_grey_pictures_has_no_heat_map(many):
    run = made_run(encoder="mlp", channels=1, colour_dim=0, image_size=28)
    scorer = AnomalyScorer.fit(run, data.read_data(many))
    found = scorer.score(noise_pictures(3, 28))
    assert set(found.parts) == set(PARTS) and np.isfinite(found.score).all()
    np.testing.assert_allclose(
        scorer.score(noise_pictures(3, 28).mean(3, keepdims=True).round().astype("u1")).score.shape, 3
    )
    assert not scorer.tells_where
    with pytest.raises(SareeError, match="keeps no maps"):
        scorer.heat_maps(noise_pictures(1, 28))


def test_damaged_weights_and_pictures_of_another_shape_are_named(scorer, loaded, many):
    with pytest.raises(SareeError, match="encodes pictures of"):
        scorer.score(noise_pictures(1, 50))
    with pytest.raises(SareeError, match="encodes pictures of"):
        scorer.score(noise_pictures(1, 64)[..., :2])
    broken = made_run()
    with torch.no_grad():
        next(broken.model.motif_encoder.parameters()).fill_(float("nan"))
    with pytest.raises(SareeError, match="weights of made are damaged"):
        AnomalyScorer.fit(broken, data.read_data(many))


# --- made-up strangers ---


@pytest.mark.parametrize("kind", strangers.KINDS)
def test_a_made_up_stranger_says_where_it_is_strange(kind, tests):
    made = [strangers.made_up(tests, np.random.default_rng(seed), kind) for seed in range(5)]
    again, _ = strangers.made_up(tests, np.random.default_rng(4), kind)
    np.testing.assert_array_equal(made[4][0], again)
    for picture, where in made:
        assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
        assert where.shape == (64, 64) and where.min() >= 0 and where.max() <= 1
        if kind in ("block", "stain", "patch", "joined"):
            untouched = (tests == picture).all(3)[:, where == 0]  # elsewhere it is one of the cloths
            assert not untouched.size or untouched.mean(1).max() == 1


@pytest.mark.parametrize("kind", strangers.DAMAGES)
def test_damages_are_the_same_by_seed_and_change_every_picture(kind, tests):
    once, again = (strangers.damaged(tests, kind, seed=3) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    changed = (once != tests).any((1, 2, 3))
    assert changed.mean() > 0.9  # two alike may lie beside each other, and a half of one is the half of both
    assert (strangers.damaged(tests, kind, seed=4) != once).any()


# --- figures ---


def test_figures_are_those_of_scikit_learn(noise):
    usual, strange = noise.normal(0, 1, 300).round(1), noise.normal(1, 1, 200).round(1)
    found = detection.figures(usual, strange)
    labels, scores = np.r_[np.zeros(300), np.ones(200)], np.r_[usual, strange]
    assert found["AUROC"]["value"] == pytest.approx(roc_auc_score(labels, scores))
    false, recall, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert found[detection.FALSE]["value"] == pytest.approx(false[np.argmax(recall >= 0.95)])
    for figure in found.values():
        assert figure["low"] < figure["value"] < figure["high"] and figure["n"] == 200


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    random, held = np.random.default_rng(0), 0
    truth = 0.7602499  # of normals one standard deviation apart: Phi(1 / sqrt 2)
    for seed in range(100):
        found = detection.figures(random.normal(0, 1, 60), random.normal(1, 1, 60), seed=seed)["AUROC"]
        held += found["low"] <= truth <= found["high"]
    assert held >= 88


def test_few_pictures_get_no_interval():
    found = detection.figures(np.arange(9.0), np.arange(5.0, 14.0))
    assert found["AUROC"]["low"] is None and found["AUROC"]["value"] > 0.5


# --- the command ---


def test_strange_pictures_are_told_first_and_why(own_run, many, tmp_path):
    Image.fromarray(noise_pictures(1, 96)[0]).save(tmp_path / "noise.png")
    result = run("anomaly", own_run, "--data", many, many / "3.png", tmp_path / "noise.png")
    first, second = result.stdout.splitlines()
    assert "strange" in first and "noise.png" in first and "3.png" in second
    assert PARTS["far"] in first or PARTS["damaged"] in first
    assert "24 pictures that this was set on" in " ".join(result.stderr.split())


def test_one_json_document_holds_every_part(own_run, many, tmp_path):
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    result = run("anomaly", own_run, "--data", many, many / "3.png", tmp_path / "one.png", "--json")
    found = json.loads(result.stdout)
    assert found["pictures"][0]["key"] == str(tmp_path / "one.png")
    for one in found["pictures"]:
        assert one["strange"] == (one["score"] > found["limit"]) and set(one["parts"]) == set(PARTS)
        far, plain, damaged = (max(part, -1) for part in one["parts"].values())
        assert one["score"] == pytest.approx(far + plain + 2 * damaged, rel=1e-5)
    assert found["calibrated_on"] == 24 and found["false_alarms"] == 0.05 and not found["unreadable"]


def test_one_unreadable_picture_does_not_stop_the_others(own_run, many, tmp_path, capsys, monkeypatch):
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    result = run("anomaly", own_run, "--data", many, tmp_path / "torn.jpg", many / "3.png", "--json", status=1)
    found = json.loads(result.stdout)
    assert len(found["pictures"]) == 1 and found["unreadable"][0]["key"].endswith("torn.jpg")
    assert "skipped" in result.stderr
    assert "torn.jpg" in refused(capsys, monkeypatch, "anomaly", own_run, "--data", many, tmp_path / "torn.jpg")


def test_a_look_over_a_data_set_lists_what_is_strange_in_it(own_run, many, tmp_path):
    odd = Path(shutil.copytree(many, tmp_path / "odd"))
    Image.new("RGB", (96, 96), (90, 90, 90)).save(odd / "odd.png")
    manifest = odd / "manifest.csv"
    header = manifest.read_text().splitlines()[0].split(",")
    named = {"path": "odd.png", "split": "test"}
    manifest.write_text(manifest.read_text() + ",".join(named.get(column, "") for column in header) + "\n")
    told = run("check", odd, "--run", own_run).stdout
    assert "strange: odd.png (" in told
    found = json.loads(run("check", odd, "--run", own_run, "--json").stdout)
    assert "odd.png" in [one["key"] for one in found["strange"]]
    assert "strange" not in json.loads(run("check", odd, "--json").stdout)


def test_ten_pictures_to_set_it_on_promise_no_more_than_they_can(own_run, many, tmp_path):
    few = Path(shutil.copytree(many, tmp_path / "few"))
    rows = (few / "manifest.csv").read_text().splitlines()
    val = [row for row in rows if row.endswith("val")]
    (few / "manifest.csv").write_text("\n".join(row for row in rows if row not in val[10:]) + "\n")
    result = run("anomaly", own_run, "--data", few, few / "3.png", "--json")
    found = json.loads(result.stdout)
    assert found["false_alarms"] == pytest.approx(1 / 11) and "Only 10 pictures" in found["notes"][0]


def test_a_data_sets_own_outlier_is_found_among_training_pictures_too(own_run, loaded, many, tmp_path):
    folder = Path(shutil.copytree(many, tmp_path / "many"))
    Image.fromarray(noise_pictures(1, 96)[0]).save(folder / "0.png")  # of train
    found, _, bad = outliers(loaded, data.read_data(folder))
    assert "0.png" in found.keys[:3] and len(found.keys) == 96 and not bad
    assert (np.diff(found.score) <= 0).all()
    result = run("anomaly", own_run, "--data", folder, "-k", 3, "--sheet", tmp_path / "s.png")
    assert len(result.stdout.splitlines()) == 3
    assert re.search(r"\d+ of 96 (is|are) strange", " ".join(result.stderr.split()))
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.width > 800


def test_a_sheet_of_another_kind_is_refused(own_run, many, tmp_path, capsys, monkeypatch):
    assert "s.txt" in refused(
        capsys, monkeypatch, "anomaly", own_run, "--data", many, many / "3.png", "--sheet", tmp_path / "s.txt"
    )


# --- evaluate ---


def test_evaluate_measures_it_beside_what_does_not_count(own_run, cloth, tmp_path, capsys, monkeypatch):
    strange = tmp_path / "strange"
    strange.mkdir()
    for i, picture in enumerate(noise_pictures(12, 80)):
        Image.fromarray(picture).save(strange / f"{i}.png")
    file = tmp_path / "e.json"
    run("evaluate", own_run, "--data", cloth, "--task", "anomaly", "--strange", strange, "--json", file)
    rows = json.loads(file.read_text())["tasks"]["anomaly"]["rows"]
    assert {row["part"] for row in rows} == {"something else", *strangers.DAMAGES}
    names = {row["name"] for row in rows}
    assert {
        detection.OURS,
        "reconstruction probability",
        "ELBO, less complexity",
        "colour histogram and LBP, kNN",
    } < names
    assert len(rows) == 5 * len(names)
    told = {row["name"]: row["figures"]["AUROC"]["value"] for row in rows if row["part"] == "something else"}
    assert told[detection.OURS] > 0.9
    assert "no such file" in refused(
        capsys, monkeypatch, "evaluate", own_run, "--data", cloth, "--strange", tmp_path / "none"
    )


def test_latents_are_read_by_no_other_way_than_search_does(scorer, loaded, tests):
    np.testing.assert_allclose(judge.look(loaded, tests).embedding, encode(loaded, tests).embedding(), rtol=1e-5)


# --- the study ---


@pytest.fixture
def study(monkeypatch):
    """benchmarks/ is no package, and its `anomaly` is not ours."""
    folder = Path(__file__).parent.parent / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location("anomaly_study", folder / "anomaly.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_study_measures_every_kind_of_stranger(study, own_run, many, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyod", None)
    arguments = [str(own_run), "--data", str(many), "--strange", str(many), "--config", "tiny", "--epochs", "1"]
    arguments += ["--unseen", "dots", "--work", str(tmp_path / "work"), "--json", str(tmp_path / "a.json")]
    study.main(arguments)
    report = json.loads((tmp_path / "a.json").read_text())
    found = {(row["part"], row["name"]): row["figures"] for row in report["rows"]}
    parts = {part for part, _ in found}
    assert parts == {"not textiles", *strangers.DAMAGES, study.UNSEEN}
    assert all((part, "pixel MSE of a plain autoencoder") in found for part in parts)
    assert all((damage, f"{detection.OURS}, not learnt") in found for damage in strangers.DAMAGES)
    assert report["missing"][0].startswith("pyod is not here")
    table = capsys.readouterr().out
    assert "| Isolation Forest on our latents |" in table and "pyod is not here" in table
    held_out = checkpoint.load(tmp_path / "work/without_classes")
    items = data.read_data(many).items
    assert not any(held_out.trained_on(item) for item in items if item.cluster == "dots")
    assert any(held_out.trained_on(item) for item in items)
    dots = sum(item.cluster == "dots" for item in items)
    named = ("far from labelled pieces", "fits no labelled class")
    assert all(found[study.UNSEEN, name]["AUROC"]["n"] == dots for name in (detection.OURS, *named))
    assert found[study.UNSEEN, named[0]] != found[study.UNSEEN, named[1]]


def test_classes_to_leave_out_are_drawn_by_the_seed_among_the_large_ones(study, many):
    items = data.read_data(many).of("test")
    large = [replace(item, key=f"{name}{i}", cluster=name) for name in "abcde" for i, item in enumerate(items)]
    dataset = data.DataSet(many, (*large, *items[:2]))
    first = study.drawn(dataset, 0)
    assert first == study.drawn(dataset, 0) and len(first) == 3 and set(first) < set("abcde")
    assert len({tuple(study.drawn(dataset, seed)) for seed in range(9)}) > 1
    with pytest.raises(SareeError, match="name classes with --unseen"):
        study.drawn(data.read_data(many), 0)
