"""Ablations, sources left out, transfer, heads, MNIST: every row is there, and its figures can move."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import kg
from kg import fit, measure
from saree_vae import checkpoint, config, data, likelihood, train
from saree_vae.errors import SareeError
from saree_vae.latents import Latents
from saree_vae.vae import VAE


@pytest.fixture
def studies(monkeypatch):
    """benchmarks/ is no package."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    import ablations
    import cluster_head
    import latent_pictures
    import mnist
    import sources
    import study
    import transfer
    import verifying

    return SimpleNamespace(
        ablations=ablations,
        cluster_head=cluster_head,
        latent_pictures=latent_pictures,
        mnist=mnist,
        sources=sources,
        study=study,
        transfer=transfer,
        verifying=verifying,
    )


def test_verification_is_measured_beside_hits_as_they_were_found(studies, cloth, tiny_run, tmp_path, capsys):
    arguments = [str(tiny_run), "--data", str(cloth), "--json", str(tmp_path / "v.json")]
    studies.verifying.main([*arguments, "--queries", "5"])
    report = json.loads((tmp_path / "v.json").read_text())
    ways = [(view, way) for view in ("phone_photo", "recoloured", "shuffled") for way in ("as found", "verified")]
    assert [(row["view"], row["way"]) for row in report["rows"]] == ways
    assert (report["pictures"], report["queries"]) == (32, 5)
    assert all(0 <= row["low"] <= row["R@1"] <= row["high"] <= 1 and row["ms"] > 0 for row in report["rows"])
    assert "| recoloured | verified |" in capsys.readouterr().out


def test_every_part_that_is_taken_away_has_its_row(studies, cloth, tmp_path, capsys):
    ablations, tiny = studies.ablations, tmp_path / "tiny.yaml"
    tiny.write_text(config.save_text(config.load("tiny", ["train.optimizer=muon"])), encoding="utf-8")
    arguments = ["--data", str(cloth), "--config", str(tiny), "--epochs", "1"]
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


CRAFTS = {"stripes": "batik_parang", "checks": "batik_kawung", "dots": "batik_truntum", "diamonds": "kanjivaram"}


@pytest.fixture
def crafts(studies, cloth, tmp_path, monkeypatch):
    """The painted squares under names that the graph knows, from two sources; heads are hardly trained."""
    manifest = shutil.copytree(cloth, tmp_path / "crafts") / "manifest.csv"
    head, *rows = manifest.read_text().splitlines()
    for mark, name in CRAFTS.items():
        rows = [row.replace(f",{mark},", f",{name},") for row in rows]
    rows = [f"{row},shop{int(row.partition('/')[2][0]) // 2}" for row in rows]  # by colour
    manifest.write_text("\n".join([f"{head},source", *rows]) + "\n")
    for name in ("STEPS", "FEWEST_STEPS"):
        monkeypatch.setattr(fit, name, 20)
    monkeypatch.setattr(measure, "STRENGTHS", (0.1,))
    for name, value in {"LEAST": 3, "FEW": 2, "HELD": 2, "SOURCES": 2, "TWINS": 2.0}.items():
        monkeypatch.setattr(studies.cluster_head, name, value)
    return manifest


@pytest.fixture
def bench(studies, crafts, tiny_run, tmp_path):
    run, dataset = checkpoint.load(tiny_run), data.read_data(crafts)
    return studies.cluster_head.opened(run, dataset, kg.load_graph(), tmp_path / "bench")


def test_heads_stand_beside_others_with_all_labels_with_few_and_with_none(
    studies, crafts, tiny_run, cloth, tmp_path, capsys
):
    cluster_head = studies.cluster_head
    arguments = [
        str(tiny_run),
        "--data",
        str(crafts),
        "--seeds",
        "2",
        "--epochs",
        "1",
        "--work",
        str(tmp_path / "work"),
    ]
    more = ["--labelled-run", str(tiny_run), "--others", str(cloth), "--picture", str(tmp_path / "c.png")]
    cluster_head.main([*arguments, *more, "--json", str(tmp_path / "c.json")])
    report = json.loads((tmp_path / "c.json").read_text())
    assert report["classes"] == {"batik_kawung": 5, "batik_parang": 5, "batik_truntum": 5, "kanchipuram": 5}
    others = {cluster_head.NO_GRAPH, cluster_head.SHUFFLED, "logistic regression, colour + LBP"}
    assert {cluster_head.HEAD, cluster_head.ENCODER, *others} < set(report["all"]["rows"])
    assert {cluster_head.HEAD, *others} < set(report["few"]["rows"])
    assert cluster_head.NO_GRAPH in report["labelled"]["rows"]
    assert report["all"]["queries"] == 8
    for row in report["all"]["rows"].values():
        assert all(0 <= f["low"] <= f["mean"] <= f["high"] <= 1 for f in row.values())
    # With four classes, the right one is among the first five of the candidates, or one of them is no class.
    assert report["never_shown"][cluster_head.HEAD]["hit@5"]["low"] == 1
    assert {one["source"] for one in report["sources"]} == {"shop0", "shop1"}
    assert report["others"]["pictures"] == 32 and (tmp_path / "c.png").stat().st_size > 0
    table = capsys.readouterr().out
    assert table.rstrip() == cluster_head.markdown(report).rstrip()
    assert all(f"| {name} |" in table for name in report["all"]["rows"])


def test_a_head_is_not_shown_what_is_hidden_or_left_out(studies, bench):
    cluster_head = studies.cluster_head
    assert cluster_head.fitted(bench, 0).shown == bench.classes
    held = cluster_head.fitted(bench, 0, gone=bench.owner == "batik_kawung")
    assert set(held.shown) == {*bench.classes} - {"batik_kawung"}
    shown = cluster_head.few(bench, 0)
    assert sorted(bench.owner[shown]) == sorted(2 * [*bench.classes])
    assert {bench.items[i].split for i in shown} == {"train"}
    assert cluster_head.few(bench, 1).tolist() != shown.tolist()
    hidden = ~np.isin(np.arange(len(bench.items)), shown) & np.array([item.split == "train" for item in bench.items])
    assert cluster_head.fitted(bench, 0, hidden=hidden).counts == (2, 2, 2, 2)


def test_a_source_left_out_takes_what_is_nearly_a_copy_along(studies, bench, monkeypatch):
    keys = {item.key: at for at, item in enumerate(bench.items)}
    groups = dict.fromkeys(("dots/1_0.png", "dots/3_7.png"), "twins")  # of shop0 and of shop1
    items = tuple(replace(item, metadata={"group": groups.get(item.key, item.key)}) for item in bench.items)
    bench = replace(bench, items=items, latents=_alike(bench.latents, keys["checks/1_0.png"], keys["checks/3_0.png"]))
    seen = []
    monkeypatch.setattr(studies.cluster_head, "TWINS", 0.97)
    monkeypatch.setattr(studies.cluster_head, "fitted", lambda bench, seed, *, gone, **_: seen.append(gone) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        studies.cluster_head._without(bench, "shop1", 0)
    out = {item.key for item, gone in zip(items, seen[0], strict=True) if gone}
    others = {"dots/1_0.png", "checks/1_0.png"}
    assert out == {item.key for item in items if item.source == "shop1"} | others


def _alike(latents: Latents, a: int, b: int) -> Latents:
    """One row for each picture, no two alike but those two."""
    keys = tuple(latents.keys[start] for start in latents.starts)
    mu = np.random.default_rng(0).normal(size=(len(keys), 96)).astype(np.float32)
    mu[a] = mu[b]
    return Latents(keys, mu, np.ones_like(mu), motif_dim=64)


def test_a_shuffled_graph_keeps_every_degree_and_hardly_an_edge(studies):
    graph = kg.load_graph()
    other = studies.cluster_head.shuffled(graph, 0)
    kinds = {*studies.cluster_head.TERM_EDGES, "has_attribute"}
    for degrees in (lambda g: g.out_edges, lambda g: g.in_edges):
        end = 0 if degrees(graph) is graph.out_edges else 1
        counted = [Counter((e[end], e[2]) for e in degrees(g)(keys=True)) for g in (graph, other)]
        assert counted[0] == counted[1]
    before, after = (
        {(a, b, kind, about.get("value")) for a, b, kind, about in g.edges(keys=True, data=True) if kind in kinds}
        for g in (graph, other)
    )
    assert len(after) == len(before) and len(before & after) < len(before) / 2
    rest = [{(a, b, kind) for a, b, kind in g.edges(keys=True) if kind not in kinds} for g in (graph, other)]
    assert rest[0] == rest[1]
    values = [Counter((b, d["value"]) for _, b, d in g.edges(data=True) if "value" in d) for g in (graph, other)]
    assert values[0] == values[1]  # what was answered goes with the attribute
    again, differently = (studies.cluster_head.shuffled(graph, seed) for seed in (0, 1))
    assert kg.graph_hash(again) == kg.graph_hash(other) != kg.graph_hash(differently)


def test_names_that_are_spelled_alike_lie_close_and_say_nothing_else(studies):
    graph = kg.load_graph()
    about = studies.cluster_head.by_names(graph)(graph, ["batik_sidomukti", "batik_sidoluhur", "lungi"])
    near = about.vectors @ about.vectors.T
    assert near[0, 1] > near[0, 2] and not about.shows.any()
    assert about.vectors.shape == (3, len(about.columns))


def test_seeds_are_told_by_their_mean_and_both_ends(studies):
    tasks = [
        {"queries": 9, "left_out": 0, "rows": [{"name": "a", "figures": {"F1": {"value": v}}}]} for v in (0.2, 0.5)
    ]
    told = studies.cluster_head.summary(tasks)["rows"]["a"]["F1"]
    assert told == {"mean": pytest.approx(0.35), "low": 0.2, "high": 0.5}


def test_hits_are_counted_over_pictures_and_over_classes(studies):
    # class, held out, first, among five: three pictures of a held-out class 0, one of a held-out 1, two seen of class 2
    asked = np.array([[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 0, 1], [1, 1, 0, 0], [2, 0, 1, 1], [2, 0, 0, 1]]).T
    found = studies.cluster_head._hits(asked, "abc")
    assert found["hit@1"] == 0.5 and found["hit@5"] == 0.75 and found["seen"] == 0.5 and found["harmonic"] == 0.5
    assert found["hit@1, by class"] == pytest.approx(1 / 3) and found["hit@5, by class"] == 0.5
    assert found["harmonic, by class"] == pytest.approx(2 * (1 / 3) * 0.5 / (1 / 3 + 0.5))


@pytest.fixture
def digits(studies, tmp_path, monkeypatch, noise):
    """Made-up files of MNIST, of which few are held out, and few draws."""
    folder = tmp_path / "digits"
    folder.mkdir()
    for part, count in (("train", 220), ("t10k", 30)):
        labels = np.arange(count, dtype=np.uint8) % 10
        pictures = noise.integers(0, 60, (count, 28, 28), dtype=np.uint8)
        for picture, label in zip(pictures, labels, strict=True):
            picture[2 * label + 2 : 2 * label + 6, 6:22] = 240
        for kind, header, values in (("images-idx3", 16, pictures), ("labels-idx1", 8, labels)):
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(bytes(header) + values.tobytes()))
    for name, value in {"HELD_OUT": 20, "FEW": 20, "MANY": 60}.items():
        monkeypatch.setattr(studies.mnist, name, value)
    return folder


def never(*_, **__):
    raise AssertionError("this was done already")


def test_the_family_is_measured_and_judged_and_that_only_once(studies, digits, tmp_path, capsys, monkeypatch):
    mnist = studies.mnist
    monkeypatch.setitem(sys.modules, "pythae", None)
    arguments = ["--data", str(digits), "--work", str(tmp_path / "work"), "--epochs", "1"]
    mnist.main([*arguments, "--json", str(tmp_path / "m.json")])
    report = json.loads((tmp_path / "m.json").read_text())
    assert capsys.readouterr().out.rstrip() == mnist.markdown(report).rstrip()
    rows = {row["name"]: row for row in report["models"]}
    assert [*rows] == [setting.name for setting in mnist.SETTINGS]
    assert rows.pop("pythae VAE, fixed")["missing"] == "pythae is not installed"
    for setting in mnist.SETTINGS:
        if row := rows.get(setting.name):
            assert set(row["nll"]) == ({"20", "60"} if setting.long else {"20"})
            assert 0 < row["nll"]["20"]["value"] < -row["elbo"] + 1 and row["rate"] > 0 and row["images_per_s"] > 0
    by_title = {goal["name"]: goal for goal in report["goals"]}
    assert "ours" not in by_title["ours over pythae's VAE, fixed"]
    plain, two = (rows[name]["nll"]["20"]["value"] for name in ("VAE", "ladder of 2"))
    assert by_title["two layers of latents over one"]["ours"]["value"] == pytest.approx(plain - two)
    monkeypatch.setattr(train.Learner, "__call__", never)
    monkeypatch.setattr(likelihood, "bound", never)
    mnist.main([*arguments, "--json", str(tmp_path / "again.json")])
    assert json.loads((tmp_path / "again.json").read_text()) == report


def test_a_gain_is_that_of_a_pair_digit_by_digit_and_must_be_large_enough(studies):
    easy_to_hard = np.linspace(-150, -50, 40)
    bounds = {"VAE": {500: easy_to_hard}, "IAF": {500: easy_to_hard + 0.9}, "ladder of 2": {500: easy_to_hard + 0.7}}
    bounds["VAE, long"] = {500: np.full(40, -89.0), 5000: np.full(40, -87.9)}
    found = {goal["name"]: goal for goal in studies.mnist.goals(bounds)}
    gain = found["IAF over independent normals"]
    assert gain["met"] and gain["ours"] == pytest.approx({"value": 0.9, "low": 0.9, "high": 0.9})
    assert gain["of"] == pytest.approx([100, 99.1])
    assert not found["two layers of latents over one"]["met"]
    assert found["VAE, dynamic"]["met"] and found["VAE, dynamic"]["ours"]["value"] == pytest.approx(87.9)
    assert "met" not in found["IWAE, 50 draws, dynamic"]


def test_fixed_pixels_are_drawn_once_by_their_brightness(studies):
    grey = np.full((50, 28, 28, 1), 51, np.uint8)
    drawn = studies.mnist.fixed(grey, "train")
    assert set(np.unique(drawn)) == {0, 255} and drawn.mean() == pytest.approx(51, abs=2)
    np.testing.assert_array_equal(drawn, studies.mnist.fixed(grey, "train"))
    assert (drawn != studies.mnist.fixed(grey, "t10k")).any()
    assert not studies.mnist.fixed(0 * grey, "train").any()


def test_test_digits_are_drawn_alike_for_all_models(studies, digits):
    mnist, dynamic = studies.mnist, [s for s in studies.mnist.SETTINGS if not s.fixed]
    model = VAE(config.load("mnist").model)
    first, *rest = (mnist.observed(setting, model, str(digits)) for setting in dynamic)
    assert set(first.unique().tolist()) == {0, 1} and all((x == first).all() for x in rest)


def test_a_latent_is_active_where_its_mean_moves_with_the_digit(studies, noise):
    model = VAE(config.load("mnist").model).eval()
    last = model.motif_encoder.body[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()  # all posteriors are the prior,
        last.weight[3] = 1  # but for the mean of one latent
        x = torch.from_numpy(noise.integers(0, 2, (40, 1, 28, 28))).float()
        moved = model.encode(x).mu[:, 3]
    told = studies.mnist.facts(SimpleNamespace(model=model, device=x.device), x)
    assert told["active"] == 1 and told["rate"] == pytest.approx(0.5 * moved.square().mean().item(), rel=1e-4)


def test_digits_that_are_not_there_are_missed_in_one_sentence(studies, digits, tmp_path, monkeypatch):
    file = digits / "t10k-labels-idx1-ubyte.gz"
    arguments = ["--data", str(digits), "--work", str(tmp_path / "work"), "--epochs", "1", "--only", "VAE"]
    for broken in (file.read_bytes()[:20], b"no gzip", None):
        file.unlink() if broken is None else file.write_bytes(broken)
        with pytest.raises(SystemExit, match=r"error: .*t10k-labels-idx1-ubyte.gz: not a file of MNIST") as stopped:
            studies.study.run(lambda: studies.mnist.main(arguments))
        assert len(str(stopped.value).splitlines()) == 1


@pytest.mark.filterwarnings("ignore")  # pythae's own
def test_pythae_has_our_networks_and_the_same_loss_for_the_same_draw(studies, digits):
    pytest.importorskip("pythae.models")
    model = VAE(config.load("mnist", ["model.binary=false"]).model)
    x = torch.rand(5, 1, 28, 28).round()
    theirs = studies.mnist._in_pythae(model)
    torch.manual_seed(3)
    loss = theirs({"data": x}).loss
    torch.manual_seed(3)
    ours = model.sampled(model.look(x), {"motif": torch.randn(5, 50)}).elbo(x).loss()
    assert loss.item() == pytest.approx(ours.item(), rel=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_pythae_is_trained_as_long_as_ours_and_is_read_back(studies, digits, tmp_path, capsys, monkeypatch):
    pytest.importorskip("pythae.models")
    arguments = ["--data", str(digits), "--work", str(tmp_path / "work"), "--only", "pythae VAE, fixed"]
    both = [*arguments, "--only", "VAE, fixed", "--epochs", "2"]
    studies.mnist.main(both)
    table = capsys.readouterr().out
    ours, theirs = (checkpoint.load(tmp_path / "work" / name) for name in ("VAE_fixed", "pythae_VAE_fixed"))
    rows = [(run.path / "metrics.jsonl").read_text().splitlines() for run in (ours, theirs)]
    assert ours.config == theirs.config and ours.fingerprint != theirs.fingerprint
    assert json.loads(rows[0][-1])["step"] == json.loads(rows[1][-1])["step"] == 4
    monkeypatch.setattr(studies.mnist, "_in_pythae", never)
    studies.mnist.main(both)
    assert capsys.readouterr().out == table
    with pytest.raises(SareeError, match="other settings"):
        studies.mnist.main([*arguments, "--epochs", "3"])


def test_a_latent_plane_is_learned_once_and_drawn(studies, digits, tmp_path, monkeypatch):
    arguments = ["--data", str(digits), "--work", str(tmp_path / "work"), "--out", str(tmp_path), "--epochs", "3"]
    names = [tmp_path / f"latent_{name}.png" for name in ("grid", "scatter", "density")]
    for name, value in {"TILES": 3, "SIDE": 120, "PANEL": 80}.items():
        monkeypatch.setattr(studies.latent_pictures, name, value)
    studies.latent_pictures.main(arguments)
    drawn = [name.read_bytes() for name in names]
    monkeypatch.setattr(train.Learner, "__call__", never)
    studies.latent_pictures.main(arguments)
    assert [name.read_bytes() for name in names] == drawn


def test_posteriors_that_meet_the_prior_are_told_to_be_no_nats_away(studies):
    mu = np.zeros((3, 2), np.float32)
    at = Latents(("a", "b", "c"), mu, np.ones_like(mu), 2)
    assert studies.latent_pictures._density(at)[1] == pytest.approx(0, abs=1e-2)
    aside = replace(at, mu=np.full_like(mu, [1, 0]))
    assert studies.latent_pictures._density(aside)[1] == pytest.approx(0.5, abs=1e-2)
