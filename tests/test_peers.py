"""The table of peers: every row is there or says why not, and the order is that of the means."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from saree_vae import config
from saree_vae.errors import SareeError

ROOT = Path(__file__).parent.parent
NAMES = {
    *(
        "ours",
        "ours, one embedding",
        "ours, by regions, verified",
        "plain VAE",
        "SimCLR alone",
        "pythae VAE",
        "pythae VQ-VAE",
        "HOG",
    ),
    *("random mobilenetv3_small_100", "pretrained mobilenetv3_small_100"),
    *("colour histogram", "LBP", "colour histogram and LBP", "PCA of pixels"),
}


@pytest.fixture(scope="module")
def peers():
    """benchmarks/ is no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import peers

        yield peers


@pytest.fixture(scope="module")
def told(peers, cloth, tmp_path_factory):
    """(the report, the table, the command's arguments) of painted squares, where pythae is not installed."""
    folder = tmp_path_factory.mktemp("peers")
    arguments = ["--data", str(cloth), "--config", "tiny", "--epochs", "1", "--work", str(folder / "work")]
    arguments += ["--json", str(folder / "peers.json")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pythae", None)
        lines: list[str] = []
        patch.setattr("builtins.print", lambda text, file=None, **_: lines.append(text) if file is None else None)
        peers.main(arguments)
    return json.loads((folder / "peers.json").read_text()), "\n".join(lines), arguments


def test_every_peer_has_a_row_and_the_missing_ones_say_why(told):
    report, table, _ = told
    rows = {row["name"]: row for row in report["rows"]}
    assert rows.keys() == NAMES
    missing = {name: row["missing"] for name, row in rows.items() if "missing" in row}
    assert missing == {
        "pythae VAE": "pythae is not installed",
        "pythae VQ-VAE": "pythae is not installed",
        "pretrained mobilenetv3_small_100": "no weights here",
    }
    assert all(f"| {name} |" in table for name in NAMES)


def test_rows_are_ranked_by_the_mean_of_their_goals(told):
    report, table, _ = told
    rows = [row for row in report["rows"] if "missing" not in row]
    for row in rows:
        assert row["mean"] == pytest.approx(np.mean([figure["value"] for figure in row["figures"].values()]))
    assert [row["mean"] for row in rows] == sorted((row["mean"] for row in rows), reverse=True)
    best = next(row for row in rows if not row["ours"])
    assert report["best_baseline"] == best["name"] and best["over_best_baseline"] == 1
    places = [table.index(f"| {row['name']} |") for row in report["rows"]]
    assert places == sorted(places)


def test_the_report_says_what_it_was_made_with(told):
    report, table, _ = told
    assert (report["seeds"], report["epochs"], report["image_size"], report["train_pictures"]) == ([0], 1, 64, 20)
    assert table.startswith("Seeds 0; 1 epochs; 64 px; 20 train pictures;")
    ours = next(row for row in report["rows"] if row["name"] == "ours")
    assert ours["bytes_per_item"] == 4 * (8 + 4)
    assert ours["embed_ms_per_picture"] > 0


def test_ours_is_asked_by_the_half_that_is_meant_and_once_by_one_embedding(told):
    report = told[0]
    rows = {row["name"]: row["figures"] for row in report["rows"] if "missing" not in row}
    halves = {column["title"]: column["half"] for column in report["columns"]}
    assert halves["recoloured R@1"] == "motif" and halves["shuffled R@1"] == "colour"
    for title in (title for title, half in halves.items() if half == "motif and colour"):
        assert rows["ours"][title] == rows["ours, one embedding"][title]


def test_a_row_of_ours_is_what_search_finds_in_a_catalogue_with_regions(told, peers):
    rows = {row["name"]: row for row in told[0]["rows"]}
    found, whole = rows["ours, by regions, verified"], rows["ours"]
    assert any(found["figures"][title]["value"] != figure["value"] for title, figure in whole["figures"].items())
    assert found["bytes_per_item"] % whole["bytes_per_item"] == 0 and found["bytes_per_item"] > whole["bytes_per_item"]
    # A plain background is cut away, so pictures have more and fewer regions.
    pictures = np.full((2, 64, 64, 3), 255, np.uint8)
    pictures[0] = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
    pictures[1, 16:, 40:] = pictures[0, 16:, 40:]
    own = peers._by_regions(lambda squares: squares.mean((1, 2)))(pictures)
    counts = [len(peers.regions.find(picture)) for picture in pictures]
    assert counts[0] != counts[1] and own.shape == (2, 3 * max(counts))


def test_a_second_command_trains_nothing_again_and_other_settings_are_refused(told, peers, monkeypatch):
    report, _, arguments = told
    monkeypatch.setitem(sys.modules, "pythae", None)
    weights = sorted(Path(arguments[arguments.index("--work") + 1]).glob("*/*/model.safetensors"))
    made = [path.stat().st_mtime_ns for path in weights]
    peers.main(arguments)
    assert len(weights) == 3 and [path.stat().st_mtime_ns for path in weights] == made
    again = json.loads(Path(arguments[-1]).read_text())
    assert {r["name"]: r.get("mean") for r in again["rows"]} == {r["name"]: r.get("mean") for r in report["rows"]}
    with pytest.raises(SareeError, match="other settings"):
        peers.main([*arguments, "--epochs", "2"])


def test_with_three_seeds_the_brackets_are_the_lowest_and_the_highest(peers):
    def found(value: float) -> dict:
        figure = {"value": value, "low": 0.0, "high": 1.0, "n": 20}
        rows = [{"part": "", "name": name, "figures": {"R@1": figure}} for name in ("motif and colour", "LBP")]
        return {"tasks": {"retrieval": {"rows": rows}}}

    rows = [peers.Peer("ours", "", by_half={"motif and colour": "motif and colour"}), peers.Peer("LBP", "")]
    column = peers.Column("class R@1", "retrieval", "", "R@1", "motif and colour")
    cost = {"ours": {}, "LBP": {}}
    for values, ends in (((0.2, 0.4, 0.9), (0.2, 0.9)), ((0.2, 0.4), (0.0, 1.0))):
        told = peers.summary([rows] * len(values), [found(v) for v in values], [column], cost)
        figure = told["rows"][0]["figures"]["class R@1"]
        assert figure["value"] == pytest.approx(np.mean(values)) and (figure["low"], figure["high"]) == ends
    assert "lowest" in peers.interval_kind([0, 1, 2]) and "seed 4" in peers.interval_kind([4, 5])


@pytest.mark.filterwarnings("ignore")  # pythae's own
def test_pythae_learns_on_our_crops_and_is_read_back(peers, cloth, tiny_run, tmp_path):
    pytest.importorskip("pythae.models")
    from saree_vae import checkpoint, data

    run, dataset = checkpoint.load(tiny_run), data.read_data(cloth)
    pictures = np.zeros((3, 64, 64, 3), np.uint8)
    for name, width in (("pythae VAE", 12), ("pythae VQ-VAE", 64 * 17)):
        rows = [peers._pythae_row(name, run, dataset, tmp_path).describe(pictures) for _ in range(2)]
        assert rows[0].shape == (3, width)
        np.testing.assert_allclose(np.linalg.norm(rows[0], axis=1), 1, atol=1e-5)
        np.testing.assert_array_equal(rows[0], rows[1])  # the second was read, not trained


def test_pythae_sees_the_crops_that_ours_sees(peers, noise):
    from saree_vae import views

    picture = noise.integers(0, 256, (80, 80, 3), dtype=np.uint8)
    ours = views.training_views(picture, config.load("tiny").model.image_size, index=5, epoch=2, seed=1)["clean"]
    np.testing.assert_array_equal(peers._flipped_crop(picture, 64, 1, 2, 5), ours)
