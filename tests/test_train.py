from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import paint

from saree_vae import checkpoint, config, data, train
from saree_vae.encoding import encode, shrunk, to_tensor
from saree_vae.errors import SareeError
from saree_vae.vae import VAE


def silent(_: str) -> None: ...


def fit(cloth, run, *overrides, **options):
    return train.train(config.load("tiny", overrides), data.read_data(cloth), run, **({"tell": silent} | options))


def weights(run):
    return checkpoint.load_tensors(run / "model.safetensors")[0]


def test_a_run_folder_holds_what_the_design_says(tiny_run):
    rows = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert {"reconstruct", "swap", "contrast_motif", "contrast_colour", "images_per_s", "val_phone_photo"} <= set(
        rows[-1]
    )
    assert (tiny_run / "config.yaml").exists()
    assert (tiny_run / "last" / "state.safetensors").exists()
    assert (tiny_run / "pictures" / "epoch_0002.png").exists()


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_training_learns(cloth, tmp_path, optimizer):
    fit(cloth, tmp_path / "run", "train.epochs=12", "train.pictures_every=12", f"train.optimizer={optimizer}")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["contrast_motif"] < rows[0]["contrast_motif"] - 0.1
    assert rows[-1]["reconstruct"] < rows[0]["reconstruct"] - 0.03


def test_the_same_seed_trains_the_same_model_and_another_does_not(cloth, tiny_run, tmp_path):
    again, other = fit(cloth, tmp_path / "again"), fit(cloth, tmp_path / "other", "train.seed=1")
    for name, value in weights(tiny_run).items():
        torch.testing.assert_close(weights(again)[name], value, rtol=1e-4, atol=1e-5)
    assert any(not torch.equal(weights(other)[name], value) for name, value in weights(tiny_run).items())


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("after", [1, 2, 3])  # within an epoch, at its end, within the next
def test_an_interrupted_run_resumes_to_the_result_of_an_uninterrupted_one(cloth, tmp_path, after, workers, optimizer):
    def interrupt(at: train.Progress) -> None:
        if at.step == after:
            os.kill(os.getpid(), signal.SIGINT)

    run, settings = tmp_path / "run", (f"train.workers={workers}", f"train.optimizer={optimizer}")
    plain = weights(fit(cloth, tmp_path / "plain", *settings))
    with pytest.raises(SareeError, match=f"stopped after step {after} of 4.*resume"):
        fit(cloth, run, *settings, watch=interrupt)
    fit(cloth, run, *settings, resume=True)
    for name, value in weights(run).items():
        torch.testing.assert_close(value, plain[name], rtol=1e-4, atol=1e-5)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores can be taken from a process on Linux only")
def test_a_single_core_gets_no_more_workers_than_one(cloth, tmp_path, monkeypatch):
    made: list[int] = []
    loader = train.DataLoader
    monkeypatch.setattr(
        train, "DataLoader", lambda *data, **how: made.append(how["num_workers"]) or loader(*data, **how)
    )
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        fit(cloth, tmp_path / "run", "train.workers=8", "train.epochs=1")
    finally:
        os.sched_setaffinity(0, cores)
    assert made[0] == 1 and len(weights(tmp_path / "run"))


def test_a_run_is_saved_with_its_latents_as_wide_as_their_prior(cloth, tiny_run, tmp_path):
    def width(folder, half: str) -> float:
        run = checkpoint.load(folder)
        seen = encode(run, data.load(data.read_data(cloth).of("train"), run.read_size).images)
        rows = slice(0, seen.motif_dim) if half == "motif" else slice(seen.motif_dim, None)
        return float((seen.mu[:, rows] ** 2 + seen.sigma[:, rows] ** 2).mean())

    further = fit(cloth, tmp_path / "further", "train.epochs=1", start=checkpoint.load(tiny_run))
    for folder in (tiny_run, further):
        assert width(folder, "motif") == pytest.approx(1, abs=1e-3)
        assert width(folder, "colour") == pytest.approx(1, abs=1e-3)
    assert 1 not in weights(tiny_run)["spread"].tolist()


def test_a_finished_run_resumes_to_itself(cloth, tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    before = (run / "model.safetensors").read_bytes()
    fit(cloth, run, resume=True)
    assert (run / "model.safetensors").read_bytes() == before


def test_a_killed_run_keeps_its_last_epoch_and_goes_on(cloth, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "apps.cli", "train", "--config", "tiny", "--data", str(cloth), "--out", str(run)]
    process = subprocess.Popen([*command, "--set", "train.epochs=400"], stderr=subprocess.DEVNULL)
    state = run / "last" / "state.safetensors"
    until = time.monotonic() + 90
    while not state.exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert state.exists()
    checkpoint.load(run)
    _, about = checkpoint.load_tensors(state)
    told: list[str] = []
    steps: list[int] = []
    with pytest.raises(SareeError, match="stopped"):
        fit(
            cloth,
            run,
            "train.epochs=400",
            resume=True,
            tell=told.append,
            watch=lambda at: (steps.append(at.step), os.kill(os.getpid(), signal.SIGINT)),
        )
    assert f"going on from step {about['step']}" in told[0]
    assert steps == [int(about["step"]) + 1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_process_group_saves_and_says_so(cloth, tmp_path, number):
    run = tmp_path / "run"
    settings = [part for each in ("epochs=4000", "workers=2", "batch_size=4") for part in ("--set", f"train.{each}")]
    command = [sys.executable, "-m", "apps.cli", "train", "--config", "tiny", "--data", str(cloth), "--out", str(run)]
    process = subprocess.Popen([*command, *settings], stderr=subprocess.PIPE, text=True, start_new_session=True)
    until = time.monotonic() + 90
    while not (run / "last" / "state.safetensors").exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, number)
    told = " ".join(process.communicate(timeout=60)[1].split())
    assert (
        re.search(r"stopped after step (\d+) of \d+, and saved; add --resume to go on", told)
        and "Traceback" not in told
    )
    _, about = checkpoint.load_tensors(run / "last" / "state.safetensors")
    assert about["step"] == re.search(r"stopped after step (\d+)", told)[1]


def test_a_run_from_before_the_motif_encoder_saw_edges_is_refused_in_a_sentence(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    checkpoint.save_tensors(run / "model.safetensors", weights(run) | {"motif_encoder.std": torch.ones(3)}, {})
    with pytest.raises(SareeError, match="run: trained by an earlier saree-vae, .*; train the run again$"):
        checkpoint.load(run)


def test_an_existing_run_folder_is_refused_and_left_alone(cloth, tiny_run):
    before = {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*")}
    with pytest.raises(SareeError, match="exists and is not empty; add --resume"):
        fit(cloth, tiny_run)
    assert {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*")} == before


@pytest.mark.parametrize("change", ["settings", "data", "optimizer"])
def test_resuming_something_else_is_refused(cloth, tiny_run, tmp_path, change):
    folder = shutil.copytree(cloth, tmp_path / "cloth")
    run = shutil.copytree(tiny_run, tmp_path / "run")
    if change == "data":
        manifest = folder / "manifest.csv"
        manifest.write_text("\n".join(manifest.read_text().splitlines()[:-1]) + "\n")
    if change == "optimizer":  # a run from before there was a choice
        state = run / "last" / "state.safetensors"
        tensors, about = checkpoint.load_tensors(state)
        del about["optimizer"]
        checkpoint.save_tensors(state, tensors, about)
    with pytest.raises(SareeError, match=f"other {change}"):
        fit(folder, run, *(["train.learning_rate=0.5"] if change == "settings" else []), resume=True)


def test_a_loss_that_explodes_stops_with_the_step_the_term_and_a_remedy(cloth, tmp_path):
    with pytest.raises(SareeError, match=r"stopped at step \d+: '[\w ]+' is .* lower train.learning_rate"):
        fit(cloth, tmp_path / "run", "train.learning_rate=1e12", "train.clip=1e12", "train.epochs=6", "train.warmup=0")


def test_nan_is_caught_before_it_reaches_the_weights(cloth, tmp_path, monkeypatch):
    def broken(model, *given, **named):
        out = plain(model, *given, **named)
        return out._replace(swap=out.swap * (float("nan") if len(calls) >= 2 else 1)) if not calls.append(1) else out

    calls: list[int] = []
    plain = VAE.forward
    monkeypatch.setattr(VAE, "forward", broken)
    with pytest.raises(SareeError, match="'swap' is nan"):
        fit(cloth, tmp_path / "run", "train.epochs=3")


def test_collapse_is_told_with_a_remedy(cloth, tmp_path):
    told: list[str] = []
    fit(cloth, tmp_path / "run", "objective.beta=1e7", "objective.kl_warmup=0", "train.epochs=8", tell=told.append)
    assert any("dimensions are active" in line and "objective.beta" in line for line in told)


def test_a_set_without_enough_pictures_is_refused(tmp_path):
    from conftest import paint

    paint("dots", "red").save(tmp_path / "one.png")
    with pytest.raises(SareeError, match="at least 2"):
        fit(tmp_path, tmp_path / "run")


def test_a_bad_picture_is_named_and_training_goes_on_unless_strict(cloth, tmp_path):
    folder = shutil.copytree(cloth, tmp_path / "cloth")
    (folder / "dots" / "1_0.png").write_bytes(b"not a picture")
    told: list[str] = []
    fit(folder, tmp_path / "run", tell=told.append)
    assert any("dots/1_0.png" in line for line in told)
    with pytest.raises(SareeError, match=r"1_0\.png"):
        fit(folder, tmp_path / "strict", strict=True)


def test_the_plan_shows_every_picture_once_an_epoch_and_processes_share_it():
    settings = config.Train(epochs=2, batch_size=8)
    whole = list(train.Plan(24, settings, 0, 1))
    for epoch in (0, 1):
        seen = [index for batch in whole for e, index in batch if e == epoch]
        assert sorted(seen) == list(range(24))
    assert whole[:3] != whole[3:]
    halves = [list(train.Plan(24, settings, rank, 2)) for rank in (0, 1)]
    for batch, first, second in zip(whole, *halves, strict=True):
        assert sorted(batch) == sorted(first + second)
    assert list(train.Plan(24, settings, 0, 1, start=4)) == whole[4:]


# Two processes see half of the rows each; their averaged gradient of the gathered InfoNCE must be that of one process.
GATHERED = """
import torch
from lightning_fabric import Fabric
from saree_vae.objective import info_nce
from saree_vae.train import _gather
fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
fabric.launch()
rows = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
torch.manual_seed(0)
alone = torch.nn.Linear(5, 3)
torch.manual_seed(0)
shared = fabric.setup(torch.nn.Linear(5, 3))
info_nce(alone(rows), alone(rows + 1), 0.1).backward()
mine = rows[fabric.global_rank :: 2]
gather = _gather(fabric)
out = shared(torch.cat([mine, mine + 1])).chunk(2)
fabric.backward(info_nce(gather(out[0]), gather(out[1]), 0.1))
torch.testing.assert_close(shared.module.weight.grad, alone.weight.grad, rtol=1e-4, atol=1e-5)
print("the same")
"""


def test_the_gathered_contrast_has_the_gradient_of_one_process(tmp_path):
    script = tmp_path / "gathered.py"
    script.write_text(GATHERED)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    environment = os.environ | {"PYTHONPATH": str(Path(train.__file__).parent.parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.stdout.count("the same") == 2, done.stderr


def test_a_run_without_what_resuming_needs_is_not_overwritten(cloth, tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    shutil.rmtree(run / "last")
    before = (run / "model.safetensors").read_bytes()
    with pytest.raises(SareeError, match="last/"):
        fit(cloth, run, resume=True)
    assert (run / "model.safetensors").read_bytes() == before


def test_a_folder_that_is_no_run_is_refused_even_to_resume(cloth, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SareeError, match="not a run folder"):
        fit(cloth, tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_gradient_that_is_not_finite_is_told(cloth, tmp_path, monkeypatch):
    monkeypatch.setattr(train.Fabric, "clip_gradients", lambda *_a, **_k: torch.tensor(float("inf")))
    with pytest.raises(SareeError, match="'gradient norm' is inf"):
        fit(cloth, tmp_path / "run")


def test_without_a_val_split_training_pictures_are_watched_and_it_says_so(cloth, tmp_path):
    folder = shutil.copytree(cloth, tmp_path / "cloth")
    manifest = folder / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",val,", ",train,"))
    told: list[str] = []
    fit(folder, tmp_path / "run", tell=told.append)
    assert any("no val split" in line for line in told)
    assert (tmp_path / "run" / "pictures" / "epoch_0002.png").exists()


def test_a_run_knows_which_pictures_it_was_trained_on(cloth, tiny_run):
    run, dataset = checkpoint.load(tiny_run), data.read_data(cloth)
    assert {item.split for item in dataset.items if run.trained_on(item)} == {"train"}
    assert sum(map(run.trained_on, dataset.items)) == len(dataset.of("train"))


def test_a_run_trained_further_starts_at_its_weights_and_remembers_what_these_were_trained_on(
    cloth, tiny_run, tmp_path
):
    first = checkpoint.load(tiny_run)
    run = fit(cloth, tmp_path / "further", "train.learning_rate=1e-12", "train.epochs=1", start=first)
    for name, value in weights(run).items():
        if name.endswith(("weight", "bias")):
            torch.testing.assert_close(value, weights(tiny_run)[name], rtol=1e-4, atol=1e-6)
    shutil.copytree(cloth, tmp_path / "others" / "more")
    later = checkpoint.load(fit(tmp_path / "others", tmp_path / "later", "train.epochs=1", start=first))
    assert all(map(later.trained_on, data.read_data(cloth).of("train")))
    assert all(map(later.trained_on, data.read_data(tmp_path / "others").of("train")))
    with pytest.raises(SareeError, match="made with other start"):
        fit(tmp_path / "others", tmp_path / "later", "train.epochs=1", resume=True)
    with pytest.raises(SareeError, match="weights do not fit; it was made with motif_dim 8, not 20$"):
        fit(cloth, tmp_path / "wider", "model.motif_dim=20", start=first)


def test_a_start_with_another_motif_encoder_lends_all_but_that_and_what_was_learnt_elsewhere_moves_slowly(
    cloth, tiny_run, tmp_path
):
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(3)
    learnt = timm.create_model("resnet10t").state_dict()
    save_file(learnt, tmp_path / "learnt.safetensors")
    other = ("model.encoder=timm:resnet10t", f"model.pretrained={tmp_path / 'learnt.safetensors'}", "train.epochs=1")
    first = checkpoint.load(tiny_run)
    still = weights(fit(cloth, tmp_path / "still", "train.learning_rate=1e-12", *other, start=first))
    for name, value in weights(tiny_run).items():
        if name.startswith(("decoder.", "colour_encoder.")) and name.endswith(("weight", "bias")):
            torch.testing.assert_close(still[name], value, rtol=1e-4, atol=1e-6)
    net = "motif_encoder.features.net."
    for name, value in still.items():
        if name.startswith(net) and name.endswith(("weight", "bias")):
            torch.testing.assert_close(value, learnt[name.removeprefix(net)], rtol=1e-4, atol=1e-6)

    moved = weights(fit(cloth, tmp_path / "moved", "train.optimizer=adamw", "train.ema=0", *other, start=first))
    learnt_moved, lent_moved = (
        (moved[name] - still[name]).abs().median() for name in (f"{net}conv1.0.weight", "decoder.first.weight")
    )
    assert 0 < learnt_moved < 0.3 * lent_moved


def test_two_processes_train_one_model(cloth, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "apps.cli"]
    command += ["train", "--config", "tiny", "--data", str(cloth), "--out", str(run), "--set", "train.device=cpu"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    rows = (run / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 2
    assert checkpoint.load(run).model.latent_dim == 12


def test_labels_are_learned_from_and_missed_where_there_are_none(cloth, tiny_run, tmp_path):
    labelled = fit(cloth, tmp_path / "labelled", "train.epochs=12", "objective.labels=true")
    rows = [json.loads(line) for line in (labelled / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["labels"] < rows[0]["labels"] - 0.1
    assert "labels" not in json.loads((tiny_run / "metrics.jsonl").read_text().splitlines()[0])
    told: list[str] = []
    (tmp_path / "flat").mkdir()
    for number in range(4):
        paint("dots", "#8c1c2b", number).save(tmp_path / "flat" / f"{number}.png")
    wanted = ("objective.labels=true", "objective.items=true")
    fit(tmp_path / "flat", tmp_path / "bare", "train.epochs=1", *wanted, tell=told.append)
    assert any("do not name two clusters" in line for line in told)
    assert any("no two training pictures share an item_id" in line for line in told)


def test_another_photograph_of_the_piece_stands_for_the_phone_photo_every_second_time(cloth):
    pictures = data.load(data.read_data(cloth).of("train"), 80)
    pieces = [item.item_id for item in pictures.items]
    alone = np.flatnonzero([pieces.count(piece) == 1 for piece in pieces])
    material = train.Material(pictures.images, [None] * len(pieces), pieces, pictures.images)
    usual, wanted = (train.TrainingViews(config.load("tiny", s), material) for s in ([], ["objective.items=true"]))
    changed = np.zeros(len(pieces))
    for epoch in range(20):
        for index in range(len(pieces)):
            views, same = wanted[epoch, index], usual[epoch, index]
            changed[index] += (views["phone_photo"] != same["phone_photo"]).any()
            assert all((views[name] == same[name]).all() for name in ("clean", "recoloured", "shuffled"))
    assert len(alone) and not changed[alone].any()
    pairs = np.delete(changed, alone)
    assert len(pairs) and 6 < pairs.mean() < 14


def test_a_picture_of_its_kin_is_one_more_view_and_changes_no_other(cloth):
    pictures = data.load(data.read_data(cloth).of("train"), 80).images
    black = np.zeros_like(pictures[:1])
    nobody = [None] * (len(pictures) + 1)
    kin = [np.array([len(pictures)])] * 2 + [np.zeros(0, np.int64)] * (len(pictures) - 1)
    material = train.Material(np.concatenate([pictures, black]), nobody, nobody, black, kin=kin)
    usual, wanted = (train.TrainingViews(config.load("tiny"), one) for one in (material._replace(kin=()), material))
    for index in range(3):
        views, same = wanted[0, index], usual[0, index]
        assert set(views) == {*same, "kin"}
        assert all((views[name] == value).all() for name, value in same.items())
        assert (views["kin"].mean() < 10) == (index < 2)  # who has no kin is its own


def test_motifs_of_kin_are_drawn_together_and_colours_are_not(cloth, tiny_run, tmp_path):
    model = VAE(config.load("tiny").model).train()
    out = model({name: torch.rand(4, 3, 64, 64) for name in ("clean", "shuffled", "kin")}, torch.Generator())
    assert "kin" in out.motif and "kin" not in out.colour
    first = checkpoint.load(tiny_run)
    run = fit(cloth, tmp_path / "kin", "objective.kin=true", start=first)
    usual = fit(cloth, tmp_path / "usual", start=first)
    rows = [json.loads((one / "metrics.jsonl").read_text().splitlines()[0]) for one in (run, usual)]
    assert rows[0]["contrast_motif"] != rows[1]["contrast_motif"]
    again = weights(fit(cloth, tmp_path / "again", "objective.kin=true", start=first))
    assert all(torch.equal(value, again[name]) for name, value in weights(run).items())


def test_the_fewer_pictures_the_fewer_are_kin(cloth, tiny_run, monkeypatch):
    start, items = checkpoint.load(tiny_run), data.read_data(cloth).of("train")
    most = []
    for among in (len(items), len(items) // 3, 1):
        monkeypatch.setattr(train, "AMONG", among)
        most.append(max(map(len, train._kin(start, items, None))))
    assert most[0] == 1 < most[1] <= 4 < most[2] <= train.RELATIVES


def test_kin_are_told_by_a_model_so_there_must_be_one(cloth, tmp_path):
    with pytest.raises(SareeError, match=r"objective\.kin needs a model to begin with.*--from RUN"):
        fit(cloth, tmp_path / "run", "objective.kin=true")
    assert not (tmp_path / "run").exists()


def test_a_part_of_the_batch_is_decoded_and_all_of_it_contrasted(cloth):
    model = VAE(config.load("tiny").model).train()
    views = {name: torch.rand(6, 3, 64, 64) for name in ("clean", "phone_photo", "recoloured", "shuffled")}
    out = model(views, torch.Generator().manual_seed(0), 0.5)
    assert len(out.recon) == len(out.swap) == len(out.elbo.recon) == 3
    assert all(len(mu) == 6 for mu in (*out.motif.values(), *out.colour.values()))


@pytest.mark.parametrize(
    ("settings", "shares"),
    [
        ({}, {0: 0, 0.05: 0.5, 0.1: 1, 0.7: 1, 1: 1}),
        ({"kl_warmup": 0}, {0: 1, 1: 1}),
        ({"kl_warmup": 0.5, "kl_cycles": 4}, {0: 0, 0.0625: 0.5, 0.125: 1, 0.2: 1, 0.25: 0, 0.8125: 0.5, 1: 1}),
    ],
)
def test_beta_rises_at_the_start_or_at_the_start_of_every_cycle(settings, shares):
    objective = config.Objective(**settings)
    for progress, share in shares.items():
        assert train._warmed(progress, objective) == pytest.approx(share)


def test_a_run_from_before_a_setting_was_known_goes_on(cloth, tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    state = run / "last" / "state.safetensors"
    tensors, about = checkpoint.load_tensors(state)
    lines = about["settings"].splitlines(keepends=True)
    older = "".join(line for line in lines if "kl_cycles" not in line and "posterior" not in line)
    assert older.count("\n") == len(lines) - 2
    checkpoint.save_tensors(state, tensors, about | {"settings": older})
    told: list[str] = []
    fit(cloth, run, resume=True, tell=told.append)
    assert "going on from step 4" in told[0]
    for other in ("objective.kl_cycles=2", "model.posterior=full"):
        with pytest.raises(SareeError, match="other settings"):
            fit(cloth, run, other, resume=True)


def test_the_pictures_of_a_vampprior_begin_as_different_training_pictures(cloth, tmp_path):
    settings = ("model.prior=vamp", "model.components=4", "train.learning_rate=1e-12", "train.epochs=1")
    run = checkpoint.load(fit(cloth, tmp_path / "run", *settings))
    size = run.config.model.image_size
    known = to_tensor(shrunk(data.load(data.read_data(cloth).of("train"), run.read_size).images, size)).clamp(
        0.02, 0.98
    )
    for prior in run.model.priors.values():
        apart = (prior.pictures[:, None] - known[None]).abs().amax((2, 3, 4))  # (K, N)
        assert (apart.amin(1) < 1e-3).all()
        assert len(set(apart.argmin(1).tolist())) == 4


def test_labels_teach_without_any_other_contrast(cloth, tmp_path):
    alone = ("objective.swap=0", "objective.contrast_motif=0", "objective.contrast_colour=0", "objective.labels=true")
    run = fit(cloth, tmp_path / "run", "train.epochs=1", *alone)
    assert json.loads((run / "metrics.jsonl").read_text())["labels"] > 0
