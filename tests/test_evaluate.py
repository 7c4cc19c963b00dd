"""Measuring: figures that are known beforehand, and what must never leak into them."""

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from saree_vae import baselines, checkpoint, config, evaluate, images, likelihood, model_card, verification
from saree_vae.data import read_data
from saree_vae.errors import SareeError
from saree_vae.kin import kinship
from saree_vae.latents import WEIGHTS, Latents, match, unit, weighted
from saree_vae.objective import Elbo
from saree_vae.vae import VAE

SIZE = 64
LARGE = SIZE * 5 // 4
CLUSTERS = ("checks", "stripes", "dots")
SETTINGS = config.Config(model=config.Model(image_size=SIZE, width=8, motif_dim=8, colour_dim=4))


def painted(cluster, seed):
    """A picture of a design in two random colours, (80, 80, 3)."""
    random = np.random.default_rng(seed)
    ground, figure = random.integers(0, 256, (2, 3))
    y, x = np.mgrid[:LARGE, :LARGE] + random.integers(0, 16)
    design = {
        "checks": (x // 8 + y // 8) % 2 == 0,
        "stripes": x // 5 % 2 == 0,
        "dots": (x % 16 - 8) ** 2 + (y % 16 - 8) ** 2 < 20,
    }[cluster]
    return np.where(design[..., None], figure, ground).astype(np.uint8)


def flat(colour):
    return np.broadcast_to(np.array(colour, dtype=np.uint8), (LARGE, LARGE, 3))


def make_set(folder, pictures):
    """A data set of (picture, cluster, item_id, split); a picture of None is an empty file."""
    folder.mkdir()
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "cluster", "item_id", "split"])
        for number, (picture, *row) in enumerate(pictures):
            name = f"{number:03d}.png"
            if picture is None:
                (folder / name).touch()
            else:
                Image.fromarray(np.ascontiguousarray(picture)).save(folder / name)
            writer.writerow([name, *row])
    return read_data(folder)


@pytest.fixture
def painted_set(tmp_path):
    """36 pictures, 12 of them test; two test pictures show one piece, as do two in train."""
    rows = []
    for number in range(36):
        cluster, split = CLUSTERS[number % 3], ("train", "test", "val")[number // 3 % 3 if number < 27 else number % 2]
        rows.append(
            (painted(cluster, number), cluster, {3: "shop:1", 4: "shop:1", 0: "other:2"}.get(number, ""), split)
        )
    return make_set(tmp_path / "set", rows)


@pytest.fixture
def run(tmp_path):
    torch.manual_seed(0)
    checkpoint.save(tmp_path / "run", SETTINGS, VAE(SETTINGS.model).state_dict())
    return checkpoint.load(tmp_path / "run", device="cpu")


class Known(nn.Module):
    """A stand-in for a model, with one parameter so that it has a device."""

    def __init__(self, **functions):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        for name, function in functions.items():
            setattr(self, name, function)


def known_run(tmp_path, motif_dim, colour_dim, **functions):
    model = config.Model(image_size=SIZE, width=8, motif_dim=motif_dim, colour_dim=colour_dim)
    return checkpoint.Run(tmp_path, config.Config(model=model), Known(**functions), "known")


def use_encoder(monkeypatch, mean_of):
    """Let `evaluate` encode each picture by mean_of(picture) -> (D,), and know no other regions than whole pictures."""

    def encode(run, pictures, keys=None):
        mu = np.stack([mean_of(picture) for picture in pictures]).astype(np.float32)
        return Latents(tuple(map(str, range(len(mu)))), mu, np.ones_like(mu), run.config.model.motif_dim)

    def wholes(bench):
        items, rows = bench.everything
        mu = np.concatenate([rows["motif"], rows["colour"]], 1)
        return Latents(tuple(item.key for item in items), mu, np.ones_like(mu), rows["motif"].shape[1])

    monkeypatch.setattr(evaluate, "encode", encode)
    monkeypatch.setattr(evaluate._Bench, "regions", property(wholes))
    monkeypatch.setattr(
        evaluate._Bench, "regions_of_views", lambda bench, view, some: (bench.regions.of(some), [None] * len(some))
    )
    nothing_is_the_same = (lambda picture: (), lambda query, stored: verification.Same())
    monkeypatch.setattr(evaluate.verification, "ways", lambda motif: nothing_is_the_same)


def own_axis(count):
    """Every picture gets a direction of its own in both halves: it is like itself and like nothing else."""
    seen = {}

    def mean_of(picture):
        axis = seen.setdefault(picture.tobytes(), len(seen))
        return np.tile(np.eye(count)[axis], 2)

    return mean_of


def row(task, name, part=""):
    return next(row for row in task["rows"] if row["name"] == name and row["part"] == part)["figures"]


def test_a_real_model_is_measured_on_every_task_and_the_result_is_json(run, painted_set, tmp_path):
    moves = []
    results = evaluate.evaluate(run, painted_set, ("all",), progress=lambda *move: moves.append(move))
    assert json.loads(json.dumps(results, allow_nan=False)) == results | json.loads(json.dumps(results))
    assert set(results["tasks"]) == set(evaluate.TASKS)
    assert all("skipped" not in task for task in results["tasks"].values())
    for task in ("retrieval", "views", "items"):
        names = {row["name"] for row in results["tasks"][task]["rows"]}
        simple = {"colour histogram", "LBP", "colour histogram and LBP", "PCA of pixels"}
        ours = {"motif and colour", "motif", "colour"}
        regions = {f"{name}, by regions" for name in ours}
        kin = {f"{name}, by kin" for name in ("motif and colour", "motif and colour, by regions", "LBP")}
        verified = {f"{name}, by regions, verified" for name in ours}
        assert names == ours | simple | regions | verified | (kin if task == "retrieval" else set())
    figures = [f for task in results["tasks"].values() for row in task["rows"] for f in row["figures"].values()]
    assert all(f["low"] is None or f["low"] <= f["value"] <= f["high"] for f in figures)
    assert all(0 < done <= total for _, done, total in moves)
    assert {what: (done, total) for what, done, total in moves}["describing pictures"] == (36, 36)


def test_the_same_seed_gives_the_same_figures_and_another_seed_other_views(run, painted_set):
    first, again, other = (evaluate.evaluate(run, painted_set, ("views",), seed=s)["tasks"]["views"] for s in (0, 0, 1))
    assert first == again
    values = [[row["figures"]["R@5"]["value"] for row in task["rows"]] for task in (first, other)]
    assert values[0] != values[1]


def test_pca_learns_from_training_pictures_only(monkeypatch, run, painted_set):
    learnt = []
    monkeypatch.setattr(
        evaluate.baselines, "pca", lambda train: learnt.extend(train) or (lambda some: np.eye(len(some)))
    )
    evaluate.evaluate(run, painted_set, ("retrieval",))
    pictures = [images.square(images.read_square(item.path, LARGE), SIZE) for item in painted_set.of("train")]
    small = [baselines.shrink(picture, baselines.PCA_SIDE).tobytes() for picture in pictures]
    assert sorted(picture.tobytes() for picture in learnt) == sorted(small)


def test_the_query_is_never_in_the_gallery(monkeypatch, tmp_path, painted_set):
    use_encoder(monkeypatch, own_axis(64))
    known = known_run(tmp_path, 64, 64)
    results = evaluate.evaluate(known, painted_set, ("retrieval", "items"))["tasks"]
    # Nothing but itself is like a query, so whoever finds anything at rank 1 was let see itself.
    for task, part in (("retrieval", ""), ("items", "all")):
        assert row(results[task], "motif and colour", part)["R@1"]["value"] == 0


def test_an_unchanged_picture_finds_itself_among_all_others(monkeypatch, tmp_path, painted_set):
    use_encoder(monkeypatch, own_axis(64))
    monkeypatch.setattr(evaluate.views, "evaluation_view", lambda name, image, size, **_: images.square(image, size))
    task = evaluate.evaluate(known_run(tmp_path, 64, 64), painted_set, ("views",))["tasks"]["views"]
    for view in ("phone_photo", "recoloured", "shuffled"):
        for name in evaluate.OURS:
            assert row(task, name, view)["R@1"] == {
                "value": 1.0, "low": 1.0, "high": 1.0, "n": len(painted_set.of("test")), "best": True
            }  # fmt: skip
    assert task["gallery"] == len(painted_set.items)
    assert [r["name"] for r in task["rows"] if r["meant"]] == ["motif and colour", "motif", "colour"]


def test_another_photograph_of_the_piece_is_wrong_as_the_picture_and_right_as_the_piece(monkeypatch, tmp_path):
    pictures = [(painted("dots", n), "", "shop:1" if n < 2 else "", "test" if n < 4 else "train") for n in range(6)]
    # The first two pictures, both of one piece, are taken for each other.
    swapped = {0: 1, 1: 0}
    monkeypatch.setattr(
        evaluate.views, "evaluation_view", lambda name, image, size, index, **_: 255 - image[:size, :size]
    )
    monkeypatch.setattr(evaluate, "shrunk", lambda images, size: images[:, :size, :size])
    small = {picture[:SIZE, :SIZE].tobytes(): place for place, (picture, *_) in enumerate(pictures)}

    def mean_of(picture):
        inverted = (255 - picture).tobytes()
        axis = small.get(picture.tobytes())
        axis = swapped.get(small[inverted], small[inverted]) if axis is None else axis
        return np.tile(np.eye(8)[axis], 2)

    use_encoder(monkeypatch, mean_of)
    task = evaluate.evaluate(known_run(tmp_path, 8, 8), make_set(tmp_path / "set", pictures), ("views",))["tasks"][
        "views"
    ]
    figures = row(task, "motif", "phone_photo")
    assert (figures["R@1"]["value"], figures["piece R@1"]["value"]) == (0.5, 1.0)


def test_only_test_pictures_ask_and_train_and_val_pictures_answer(monkeypatch, tmp_path):
    pictures = [(painted("dots", n), "dots", "", split) for n, split in enumerate(["train", "val", "test", "test"])]
    pictures.append((painted("dots", 9), "nowhere else", "", "test"))
    pictures.append((painted("dots", 10), "", "", "test"))
    use_encoder(monkeypatch, lambda picture: np.ones(8))
    results = evaluate.evaluate(known_run(tmp_path, 4, 4), make_set(tmp_path / "set", pictures), ("retrieval",))
    task = results["tasks"]["retrieval"]
    assert (task["queries"], task["left_out"], task["gallery"]) == (2, 2, 2)
    assert row(task, "motif")["R@1"]["value"] == 1  # the gallery is all of their class
    assert row(task, "motif")["R@1"]["low"] is None  # two queries tell no interval


def test_kin_are_found_among_the_same_pictures(monkeypatch, tmp_path):
    """Two crafts side by side along their designs, as in test_kin, all in one colour."""
    count = 40
    along = np.linspace(0, np.pi / 2, count)
    arcs = [np.stack([np.cos(along), np.sin(along), np.full(count, side)], 1) for side in (-0.25, 0.25)]
    drawn, pictures = {}, []
    for craft, arc in zip(("dots", "checks"), arcs, strict=True):
        for n, motif in enumerate(arc):
            picture = painted(craft, len(pictures))
            pictures.append((picture, craft, "", "test" if n == 0 else "train"))
            drawn[images.square(np.asarray(picture), SIZE).tobytes()] = np.r_[motif, 1, 0]
    use_encoder(monkeypatch, lambda picture: drawn.get(picture.tobytes(), np.ones(5)))
    known = known_run(tmp_path, 3, 2)
    task = evaluate.evaluate(known, make_set(tmp_path / "set", pictures), ("retrieval",))["tasks"]["retrieval"]
    assert row(task, "motif and colour, by kin")["mAP@R"]["value"] > row(task, "motif and colour")["mAP@R"]["value"]
    monkeypatch.setattr(evaluate, "SLOWLY", 1)
    task = evaluate.evaluate(known, make_set(tmp_path / "again", pictures), ("retrieval",))["tasks"]["retrieval"]
    assert row(task, "LBP, by kin")["R@1"]["n"] == 1 and row(task, "LBP")["R@1"]["n"] == 2


def test_a_second_photograph_is_asked_for_by_test_pictures_only_and_by_item_prefix(monkeypatch, tmp_path):
    photographs = [
        ("a:1", "test"),
        ("a:1", "test"),
        ("b:1", "test"),
        ("b:1", "test"),
        ("b:2", "train"),
        ("b:2", "train"),
    ]
    rows = [(painted("dots", n), "", item, split) for n, (item, split) in enumerate(photographs)]
    rows.append((painted("dots", 9), "", "", "test"))
    dataset = make_set(tmp_path / "set", rows)
    place = {
        images.square(images.read_square(item.path, LARGE), SIZE).tobytes(): item.item_id for item in dataset.items
    }
    # The pieces of shop a are told apart, all pieces of shop b look alike, and the last is one of those.
    use_encoder(monkeypatch, lambda p: np.tile([1.0, 0.0] if place[p.tobytes()] == "a:1" else [0.0, 1.0], 2))
    task = evaluate.evaluate(known_run(tmp_path, 2, 2), dataset, ("items",))["tasks"]["items"]
    assert [row(task, "motif", part)["R@1"]["n"] for part in ("all", "a", "b")] == [4, 2, 2]
    assert [row(task, "motif", part)["R@1"]["value"] for part in ("all", "a", "b")] == [0.5, 1, 0]
    assert row(task, "motif", "b")["R@5"]["value"] == 1


def test_by_regions_a_picture_is_nearest_to_itself_and_scores_are_cosines(run, painted_set):
    bench = evaluate._Bench(run, painted_set, 0, lambda what, done, total: None, {})
    items, _ = bench.everything
    for scores in evaluate.by_regions(bench.regions.of([0, 5]), bench.regions).values():
        assert scores.shape == (2, len(items))
        assert scores[0, 0] == pytest.approx(1, abs=1e-4)
        assert scores[1, 5] == scores[1].max() == pytest.approx(1, abs=1e-4)
        latents = bench.regions.of([0, 5])
    rows, stored = unit(latents.motif), unit(bench.regions.motif)
    first = match(rows[: latents.starts[1]] @ stored.T, bench.regions.starts, wholes=[0])  # as a catalogue does
    np.testing.assert_allclose(evaluate.by_regions(latents, bench.regions)["motif"][0], first, atol=1e-6)
    among = evaluate.by_regions(latents, bench.regions.of([5, 7]))
    assert among["colour"].shape == (2, 2) and (among["colour"] == scores[:, [5, 7]]).all()


def test_motif_and_colour_are_weighed_as_a_search_weighs_them():
    random = np.random.default_rng(0)
    motif, colour = (unit(random.normal(size=(6, d)).astype(np.float32)) for d in (4, 3))
    rows = evaluate._by_half(np.concatenate([motif, colour], 1), 4)["motif and colour"]
    expected = (WEIGHTS["motif"] * motif @ motif.T + WEIGHTS["colour"] * colour @ colour.T) / sum(WEIGHTS.values())
    np.testing.assert_allclose(rows @ rows.T, expected, atol=1e-6)


def test_kin_by_regions_are_those_of_the_means_of_regions(run, painted_set):
    bench = evaluate._Bench(run, painted_set, 0, lambda what, done, total: None, {})
    latents, half = bench.regions, bench.regions.motif_dim
    own = latents.embedding()[: latents.starts[1]].mean(0)
    means = latents.means()
    np.testing.assert_allclose(
        means[0], np.concatenate([unit(own[None, :half]), unit(own[None, half:])], 1)[0], atol=1e-6
    )
    stored = list(range(1, 30))
    found = bench.by_kin([0], stored)
    rows = weighted(means, half, **WEIGHTS)
    np.testing.assert_allclose(found["motif and colour, by regions"][0], kinship(rows[0], rows[stored]), atol=1e-6)
    assert not np.allclose(found["motif and colour"], found["motif and colour, by regions"], atol=1e-3)


def test_regions_of_a_view_are_those_of_the_very_view_drawn_twice_as_large(monkeypatch, run, painted_set):
    numbers = []

    def unchanged(name, image, size, index, **_):
        numbers.append(index)
        return images.square(image, size)

    bench = evaluate._Bench(run, painted_set, 0, lambda what, done, total: None, {})
    asked, items = bench.tests[0], bench.everything[0]
    real, pictures = bench.regions_of_views("phone_photo", [2, 7])
    assert len(pictures) == 2
    assert list(dict.fromkeys(real.keys)) == [asked[2].key, asked[7].key]
    monkeypatch.setattr(evaluate.views, "evaluation_view", unchanged)
    found = evaluate.by_regions(bench.regions_of_views("phone_photo", [2, 7])[0], bench.regions)["motif"]
    assert [items[place].key for place in found.argmax(1)] == [asked[2].key, asked[7].key]
    assert numbers == [2, 7]  # as when whole pictures are asked: a picture's view does not depend on the others
    assert not np.allclose(real.mu[0], bench.regions_of_views("phone_photo", [2, 7])[0].mu[0], atol=1e-3)


def test_the_first_by_regions_are_verified_and_no_picture_against_itself(monkeypatch, run, painted_set):
    bench = evaluate._Bench(run, painted_set, 0, lambda what, done, total: None, {})
    stored, asking = range(len(bench.everything[0])), [3, 30]
    looked_at: list[tuple[int, int]] = []
    before = bench.by_regions(asking, stored)
    among = [set(np.argsort(-rows[0], kind="stable")[: verification.FIRST]) for rows in before.values()]
    lies, has_hues, *_ = sorted(set.intersection(*among) - {*asking})
    told = {lies: verification.Same(0.9, 0.2), has_hues: verification.Same(0.8, 0.5)}

    by_colours: list[tuple[int, int]] = []

    def same(query: int, place: int) -> verification.Same:
        looked_at.append((query, place))
        return told.get(place, verification.Same())

    def same_colours(query: int, place: int) -> verification.Same:
        by_colours.append((query, place))
        return same(query, place)

    monkeypatch.setattr(evaluate._Bench, "_likenesses", property(lambda bench: [same, same_colours]))
    after = bench.by_verified_regions(asking, stored)
    assert set(after) == {"motif and colour", "motif", "colour"}
    assert len(looked_at) == 2 * len(after) * verification.FIRST
    assert len(by_colours) == 2 * verification.FIRST
    assert all(query in asking and query != place for query, place in looked_at)
    for name, scores in after.items():
        for row, (query, old) in enumerate(zip(asking, before[name], strict=True)):
            first = np.argsort(-np.where(stored == np.array(query), -np.inf, old), kind="stable")[: verification.FIRST]
            order = (lies, has_hues) if name == "motif" else (has_hues, lies)  # hues count where colours do
            expected = next((place for place in order if place in first), first[0])
            assert scores[row].argmax() == expected
            assert scores[row].argmin() == query
            others = np.setdiff1d(stored, [query, lies, has_hues])
            np.testing.assert_array_equal(scores[row, others], old[others])


def test_other_embeddings_are_measured_beside_ours(run, painted_set):
    def first_pixel(images):
        return unit(images[:, 0, 0].astype(np.float32) + 1)

    task = evaluate.evaluate(run, painted_set, ("retrieval",), beside={"first pixel": first_pixel})["tasks"][
        "retrieval"
    ]
    assert row(task, "first pixel")["R@1"]["n"] == row(task, "motif")["R@1"]["n"]
    assert not next(r for r in task["rows"] if r["name"] == "first pixel")["ours"]


def test_leakage_tells_an_embedding_that_knows_the_palette_from_one_that_does_not(run, painted_set):
    task = evaluate.evaluate(run, painted_set, ("leakage",))["tasks"]["leakage"]
    assert row(task, "colour histogram")["R2"]["value"] > row(task, "LBP")["R2"]["value"]


def flat_set(tmp_path):
    """Twelve flat colours, and an encoder whose halves both hold the picture's colour, in [0, 1]."""
    random = np.random.default_rng(0)
    colours = random.integers(30, 226, (12, 3))
    return make_set(tmp_path / "set", [(flat(colour), "", "", "test") for colour in colours])


@pytest.mark.parametrize(("half", "to_donor", "to_own"), [("colour", 0, 1), ("motif", 1, 0)])
def test_exchange_tells_which_half_the_decoder_takes_colours_from(monkeypatch, tmp_path, half, to_donor, to_own):
    use_encoder(monkeypatch, lambda picture: np.tile(picture[0, 0] / 255, 2))

    def reconstruct(x, colour_of, *classes):
        source = x if half == "motif" or colour_of is None else colour_of
        return source[:, :, :1, :1].expand(-1, -1, SIZE, SIZE)

    known = known_run(tmp_path, 3, 3, reconstruct=reconstruct)
    results = evaluate.evaluate(known, flat_set(tmp_path), ("exchange",))
    donor, own, itself, kept, painted, photograph = results["tasks"]["exchange"]["rows"]
    assert donor["figures"]["distance"]["value"] == pytest.approx(to_donor, abs=0.01)
    assert own["figures"]["distance"]["value"] == pytest.approx(to_own, abs=0.01)
    assert itself["figures"]["distance"]["value"] == pytest.approx(0, abs=0.01)
    assert donor["figures"]["distance"]["n"] == 12
    assert kept["figures"]["distance"]["value"] == pytest.approx(to_donor, abs=0.05)
    assert painted["figures"]["distance"]["value"] == pytest.approx(0, abs=0.05) and not painted["ours"]
    assert photograph["figures"]["distance"]["value"] == pytest.approx(1, abs=1e-6)


def known_likelihood(monkeypatch, tmp_path, *, samples=7, **changes):
    """The rows of `likelihood` of twelve flat pictures, where all terms are known and redrawing is perfect."""
    values = 3 * SIZE * SIZE
    kl = {"motif": torch.tensor([0.5, 0.03, 0.01]), "colour": torch.tensor([0.0, 0.021])}
    recon = values * math.log(2) + torch.arange(12).double() - 5.5  # of which part of the pictures matters
    terms = Elbo(recon, {n: v.double().expand(12, -1) for n, v in kl.items()})
    moves = torch.tensor([[1.0], [-1.0]]).repeat(6, 1)
    mu = {"motif": moves * torch.tensor([1.0, 0.05, 0.2]), "colour": moves * torch.tensor([1.0, 1.0])}
    told = {"motif": torch.full((12,), 0.25), "colour": torch.zeros(12), "z": torch.full((12,), 0.25)}
    seen = []

    def bound(model, x, samples, noise):
        return samples * math.log(2) + torch.stack([terms.value[(seen[0] == one).all((1, 2, 3))][0] for one in x])

    def measured(model, batches, noise):
        seen.append(torch.cat([*batches]))
        return likelihood.Measured(terms, mu, told)

    monkeypatch.setattr(likelihood, "measured", measured)
    monkeypatch.setattr(likelihood, "bound", bound)
    run = known_run(tmp_path, 3, 2, observed=lambda x, noise: x, reconstruct=lambda x: x)
    model = run.config.model.model_copy(update=changes)
    run = replace(run, config=run.config.model_copy(update={"model": model}))
    task = evaluate.evaluate(run, flat_set(tmp_path), ("likelihood",), samples=samples)["tasks"]["likelihood"]
    return {row["name"]: row["figures"]["mean"]["value"] for row in task["rows"]}, task["notes"]


def test_likelihood_adds_up_and_counts_the_units_in_use(monkeypatch, tmp_path):
    figures, notes = known_likelihood(monkeypatch, tmp_path)
    values = 3 * SIZE * SIZE
    assert figures["ELBO, nats"] == pytest.approx(values * math.log(2) - 0.561, rel=1e-7)
    assert figures["distortion, nats"] == pytest.approx(-values * math.log(2))
    assert figures["rate, nats"] == pytest.approx(0.561)
    assert figures["KL of motif, nats"] == pytest.approx(0.54)
    assert figures["KL of colour, nats"] == pytest.approx(0.021)
    assert figures["mutual information of picture and motif, nats"] == pytest.approx(0.25)
    assert figures["KL(q(z) || p(z)) of all pictures' z, nats"] == pytest.approx(0.561 - 0.25)
    assert figures["bits per dimension"] == pytest.approx(8 - 1, abs=1e-3)  # a density of 2 saves one bit of eight
    assert (figures["active units of motif, of 3"], figures["active units of colour, of 2"]) == (2, 1)
    assert figures["motif units whose mean varies, of 3"] == 2
    assert figures["PSNR of the reconstruction, dB"] is None  # a perfect copy: infinite, which JSON cannot say
    assert figures["SSIM of the reconstruction"] == pytest.approx(1)
    assert notes[0].startswith("motif partly collapsed: 1 of 3 dimensions")
    assert "log 12 = 2.48 nats" in "".join(notes)


def test_the_bound_of_a_part_of_the_pictures_is_told_as_the_gain_over_their_elbo(monkeypatch, tmp_path):
    monkeypatch.setattr(evaluate, "BOUNDED", 5 * 3 * SIZE * SIZE)
    figures, notes = known_likelihood(monkeypatch, tmp_path, samples=4)
    assert figures["gain of that bound over the ELBO, nats"] == pytest.approx(4 * math.log(2))
    bound = figures["importance-weighted bound of 4 draws, nats"]
    assert bound == pytest.approx(figures["ELBO, nats"] + 4 * math.log(2))
    bits = figures["bits per dimension"] - figures["bits per dimension, importance-weighted bound of 4 draws"]
    assert bits == pytest.approx(4 / (3 * SIZE * SIZE))
    assert "4 of 12 test pictures" in "".join(notes)


@pytest.mark.parametrize(
    ("changes", "bits"),
    [
        ({"likelihood": "discretised_logistic"}, -1),  # probabilities of levels as they are, of 2 here
        ({"likelihood": "laplace"}, 7),
        ({"likelihood": "bernoulli"}, None),
        ({"likelihood": "bernoulli", "binary": True}, -1),
    ],
)
def test_bits_are_exact_for_levels_and_zeros_and_ones_estimated_for_densities_and_none_for_grey_chances(
    monkeypatch, tmp_path, changes, bits
):
    figures, notes = known_likelihood(monkeypatch, tmp_path, **changes)
    assert figures.get("bits per dimension") == (None if bits is None else pytest.approx(bits, abs=1e-3))
    assert ("an estimate, not a bound" in "".join(notes)) == (bits == 7)


def trained_nothing(tmp_path, **changes):
    """A run of a model as it starts."""
    torch.manual_seed(0)
    model = SETTINGS.model.model_copy(update=changes)
    objective = {} if model.colour_dim else {"swap": 0, "contrast_colour": 0, "contrast_motif": 0}
    settings = config.Config(model=model.model_dump(), objective=objective)
    checkpoint.save(tmp_path / "run", settings, VAE(settings.model).state_dict())
    return checkpoint.load(tmp_path / "run", device="cpu")


BOUNDS, TELLS = "importance-weighted bound of 3 draws, nats", "mutual information of picture and z, nats"
MOVING, ACTIVE = "motif units whose mean varies, of 8", "active units of motif, of 8"
VARIANTS = {
    "point": ({"posterior": "point"}, {"distortion, nats", MOVING}, {"rate, nats", BOUNDS}),
    "vq": ({"posterior": "vq"}, {"rate, nats", "perplexity of codes, of 8"}, {"ELBO, nats", "bits per dimension"}),
    "vq without colour": ({"posterior": "vq", "colour_dim": 0}, {"ELBO, nats", "bits per dimension"}, {BOUNDS}),
    "ladder": ({"levels": 3}, {"KL of level_2, nats", "KL of level_3, nats", BOUNDS}, set()),
    "iaf": ({"posterior": "iaf"}, {ACTIVE, BOUNDS}, {TELLS}),
    "full": ({"posterior": "full"}, {TELLS}, {ACTIVE}),
    "vamp": ({"prior": "vamp", "components": 3}, {"KL of motif, nats", BOUNDS}, {ACTIVE}),
    "conditional": ({"conditional": True, "classes": ("dots",)}, {BOUNDS, ACTIVE}, set()),
    "no colour": ({"colour_dim": 0}, {BOUNDS, ACTIVE}, {"KL of colour, nats"}),
    "grey": (
        {"encoder": "mlp", "channels": 1, "colour_dim": 0, "image_size": 16},
        {"gain of annealed importance sampling over that bound, nats"},
        set(),
    ),
    "binary": (
        {"encoder": "mlp", "channels": 1, "colour_dim": 0, "image_size": 8, "binary": True, "likelihood": "bernoulli"},
        {"bits per dimension"},
        {"SSIM of the reconstruction"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_measured_by_the_rows_that_mean_something_for_it(monkeypatch, name, painted_set, tmp_path):
    monkeypatch.setattr(evaluate, "ANNEALED", {"chains": 2, "steps": 3})
    changes, there, absent = VARIANTS[name]
    run = trained_nothing(tmp_path, **changes)
    results = evaluate.evaluate(run, painted_set, ("likelihood", "exchange", "leakage"), samples=3)["tasks"]
    figures = {row["name"]: row["figures"]["mean"] for row in results["likelihood"]["rows"]}
    assert there <= set(figures)
    assert not absent & set(figures)
    assert ("skipped" in results["exchange"]) == (not run.config.model.colour_dim)
    assert json.dumps(results, allow_nan=False)
    if "ELBO, nats" in figures:
        terms = figures["distortion, nats"]["value"] + figures["rate, nats"]["value"]
        assert figures["ELBO, nats"]["value"] == pytest.approx(-terms, rel=1e-6)
    if "rate, nats" in figures:
        parts = sum(figure["value"] for name, figure in figures.items() if name.startswith("KL of "))
        assert figures["rate, nats"]["value"] == pytest.approx(parts, rel=1e-6)


def test_a_model_without_colour_half_has_no_rows_of_colour(painted_set, tmp_path):
    results = evaluate.evaluate(trained_nothing(tmp_path, colour_dim=0), painted_set, ("all",))["tasks"]
    for task in ("retrieval", "views", "items", "leakage"):
        names = {row["name"] for row in results[task]["rows"]}
        assert {"motif and colour", "motif"} < names
        assert not names & {"colour", "colour, by regions"}
    assert "colour_dim is 0" in results["exchange"]["skipped"]


def test_a_mixture_of_normals_stands_beside_our_bits(run, tmp_path):
    rows = [(painted("dots", n), "", "", "train" if n < 24 else "test") for n in range(30)]
    task = evaluate.evaluate(run, make_set(tmp_path / "set", rows), ("likelihood",), samples=1)["tasks"]["likelihood"]
    beside = next(row for row in task["rows"] if "mixture of normals" in row["name"])
    assert not beside["ours"]
    assert 0 < beside["figures"]["mean"]["value"] < 9


def test_a_task_with_nothing_to_do_says_so_in_a_sentence(run, tmp_path):
    rows = [(painted("dots", n), "", "", split) for n, split in enumerate(["train", "train", "val", "test"])]
    results = evaluate.evaluate(run, make_set(tmp_path / "set", rows), ("retrieval", "items", "exchange"))
    said = {name: task["skipped"] for name, task in results["tasks"].items()}
    assert "no class to find" in said["retrieval"]
    assert "item_id" in said["items"]
    assert "two test pictures" in said["exchange"]
    assert said["items"] in model_card.markdown(results)
    no_test = evaluate.evaluate(run, make_set(tmp_path / "other", rows[:3]), ("all",))
    assert {task["skipped"] for task in no_test["tasks"].values()} == {"The data set has no test pictures."}


def test_an_unreadable_picture_is_named_and_the_rest_is_measured(run, tmp_path):
    rows = [
        (painted("dots", n), "dots", "", split) for n, split in enumerate(["train", "val", "test", "test", "train"])
    ]
    rows += [(None, "dots", "", "test"), (None, "dots", "", "train")]
    results = evaluate.evaluate(run, make_set(tmp_path / "set", rows), ("retrieval", "views"))
    assert [bad["key"] for bad in results["data"]["unreadable"]] == ["005.png", "006.png"]
    assert results["tasks"]["retrieval"]["queries"] == results["tasks"]["views"]["queries"] == 2
    assert results["tasks"]["retrieval"]["gallery"] == 3


def test_an_unknown_task_is_refused_by_name(run, painted_set):
    with pytest.raises(SareeError, match="'retreival' is not a task; known: retrieval, views"):
        evaluate.evaluate(run, painted_set, ("retreival",))


def test_the_best_of_each_part_and_column_is_bold_ties_included():
    table = [
        evaluate._row("", name, {"R@1": {"value": value, "low": None, "high": None, "n": 5}})
        for name, value in (("motif", 0.5), ("LBP", 0.5), ("colour", 0.25))
    ]
    task = {"about": "About.", "queries": 5, "rows": evaluate._best_marked(table), "notes": []}
    text = model_card.markdown({"tasks": {"retrieval": task}})
    assert "| motif | **0.500** |" in text
    assert "| LBP | **0.500** |" in text
    assert "| colour | 0.250 |" in text


def test_the_model_card_tells_the_results_worst_first_and_draws_the_mistakes(run, tmp_path):
    rows = [(painted(cluster, n), cluster, "", split) for n, (cluster, split) in enumerate(
        [(cluster, split) for cluster in CLUSTERS for split in ("train", "train", "val", "test", "test")])]  # fmt: skip
    rows += [(painted("dots", 90 + n), "wild | <b>card</b>", "", split) for n, split in enumerate(["train", "test"])]
    dataset = make_set(tmp_path / "set", rows)
    results = evaluate.evaluate(run, dataset, ("all",))
    epochs = ({"epoch": n, "step": 300 * n, "images_per_s": 7.0} for n in (1, 2))
    (run.path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in epochs))
    card = model_card.write(run, dataset, results).read_text(encoding="utf-8")
    assert run.fingerprint in card
    assert dataset.digest() in card
    assert model_card.markdown(results) in card
    table = results["tasks"]["retrieval"]["by_cluster"]
    recalls = [row["figures"]["R@1"]["value"] for row in table]
    assert recalls == sorted(recalls)
    names = [row["name"].replace("|", "\\|").replace("<", "\\<").replace(">", "\\>") for row in table]
    positions = [card.index(f"| {name} | ") for name in names]
    assert positions == sorted(positions)
    assert "<b>" not in card.replace("\\<b", "")
    minutes = 600 * run.config.train.batch_size / 7 / 60
    assert f"2 epochs at 7 pictures a second (median): about {minutes:.1f} minutes" in card
    assert (run.path / "failures.png").exists() == bool(results["tasks"]["retrieval"]["failures"])


@pytest.mark.parametrize(("labels", "said"), [(False, "never to train"), (True, "were used in training")])
def test_the_model_card_says_whether_labels_were_trained_on(run, painted_set, tmp_path, labels, said):
    objective = run.config.objective.model_copy(update={"labels": labels})
    known = replace(run, path=tmp_path, config=run.config.model_copy(update={"objective": objective}))
    card = model_card.write(known, painted_set, evaluate.evaluate(known, painted_set, ("likelihood",)))
    assert said in card.read_text(encoding="utf-8")
