"""The loom draws what the manifest says, the same every time, and keeps its promises about splits and held factors."""

import csv
import os
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import asdict, fields, replace
from itertools import combinations

import cv2
import numpy as np
import pytest

from saree_vae import loom
from saree_vae.errors import SareeError

PLAIN_SHOT = loom.Shot(
    kind="closeup", span=40, x=0.5, y=0.3, turn=0, tilt=0, folds=0, light="studio", azimuth=40, exposure=1,
    background="white", blur=0.5, noise=0, quality=95, seed=1,
)  # fmt: skip
PLAIN_DESIGN = loom.Design(
    motif="lotus", variant=3, layout="grid", pitch=18, figure="lotus", technique="brocade", weave="plain", zari="gold",
    ink="zari", border="creeper", border_width=9, pallu="rows", pallu_length=40, fringe="threads",
    palette="peacock_blue", body_colour="#0f5e78", border_colour="#5a1f5c", pallu_colour="#5a1f5c",
    motif_colour="#f0c75e", second_colour="#39a2ae",
)  # fmt: skip


def rows_of(manifest):
    with manifest.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def difference(one, other):
    """Mean absolute difference in grey levels."""
    return float(np.abs(one.astype(float) - other).mean())


def plan(count, seed=0, same=None):
    """Manifest rows without drawing."""
    return [row for row, _, _ in loom._pictures(seed, count, same)]


def read_back(cls, row, **renamed):
    cast = {"str": str, "int": int, "float": float}
    return cls(**{f.name: cast[f.type](row[renamed.get(f.name, f.name)]) for f in fields(cls)})


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    out = tmp_path_factory.mktemp("loom") / "small"
    loom.render(out, 12, 5, size=64)
    return out


def test_the_same_seed_gives_the_same_bytes_and_another_seed_gives_others(small, tmp_path):
    loom.render(tmp_path / "again", 12, 5, size=64)
    loom.render(tmp_path / "other", 12, 6, size=64)
    assert files_of(tmp_path / "again") == files_of(small)
    pictures = set(files_of(small).values())
    assert not pictures & set(files_of(tmp_path / "other").values())
    assert len(pictures) == 13, "12 pictures, all different, and the manifest"


def test_another_process_plans_and_draws_the_same_pictures():
    code = (
        "import hashlib; from saree_vae import loom;"
        "told = [(row, loom.draw(design, shot, 48).tobytes()) for row, design, shot in loom._pictures(8, 6, 'motif')];"
        "print(hashlib.sha256(repr(told).encode()).hexdigest())"
    )
    environments = [os.environ | {"PYTHONHASHSEED": seed} for seed in ("1", "77")]
    one, other = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment).stdout
        for environment in environments
    )
    assert one == other
    assert len(one.strip()) == 64


def test_a_picture_does_not_depend_on_how_many_follow(small, tmp_path):
    loom.render(tmp_path / "few", 4, 5, size=64)
    many, few = files_of(small), files_of(tmp_path / "few")
    assert rows_of(small / "manifest.csv")[:4] == rows_of(tmp_path / "few" / "manifest.csv")
    assert all(many[name] == few[name] for name in few if name.endswith(".jpg"))


def test_the_manifest_alone_is_enough_to_draw_every_picture_again(small):
    rows = rows_of(small / "manifest.csv")
    assert list(rows[0])[:6] == ["path", "cluster", "item_id", "split", "source", "view"]
    for row in rows:
        design, shot = read_back(loom.Design, row), read_back(loom.Shot, row, kind="view")
        picture = loom.draw(design, shot, 64)
        _, jpeg = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, shot.quality])
        assert jpeg.tobytes() == (small / row["path"]).read_bytes()


def test_every_motif_family_draws_something_distinct():
    assert len(loom.MOTIFS) >= 12
    flat = replace(PLAIN_SHOT, span=36)
    drawn = {}
    for motif in loom.MOTIFS:
        layout = "grid" if motif in loom.FIGURES else "allover"
        drawn[motif] = loom.draw(replace(PLAIN_DESIGN, motif=motif, layout=layout, ink="colour"), flat, 128)
    body = np.full(3, (15, 94, 120))
    for motif, picture in drawn.items():
        coloured = np.abs(picture.astype(float) - body).max(axis=2) > 60
        assert 0.04 < coloured.mean() < 0.9, f"{motif}: neither blank nor solid"
    for one, other in combinations(drawn, 2):
        assert difference(drawn[one], drawn[other]) > 6, (one, other)


@pytest.mark.parametrize("motif", loom.FIELDS)
def test_a_field_goes_on_where_its_tile_begins_again(motif):
    """No seam: the step from the last row (or column) to the first is like the steps between others."""
    inks = {"ground": (240, 240, 238), "main": (163, 21, 42), "second": (30, 90, 160), "dark": (40, 30, 30)}
    for variant in range(40):
        surface = loom.skia.Surface(96, 96)
        with surface as canvas:
            canvas.scale(96 / 20, 96 / 20)
            pen = loom.Pen(canvas, inks)
            pen.rect(0, 0, 20, 20, "ground")
            loom.FIELDS[motif](pen, np.random.default_rng(variant), 20.0, 20.0)
        tile = surface.toarray(colorType=loom.skia.ColorType.kRGBA_8888_ColorType)[:, :, :3].astype(float)
        for axis in (0, 1):
            steps = np.abs(np.diff(tile, axis=axis, append=np.take(tile, [0], axis))).mean((1 - axis, 2))
            assert steps[-1] < 2 * max(np.quantile(steps[:-1], 0.98), 1), (variant, axis)


@pytest.mark.parametrize("motif", ["damask", "mosaic", "diagonal", "scatter"])
def test_a_field_without_end_is_another_one_with_every_variant(motif):
    shot = replace(PLAIN_SHOT, span=40)
    design = replace(PLAIN_DESIGN, motif=motif, layout="allover", ink="colour", pitch=24.0)
    drawn = [loom.draw(replace(design, variant=v), shot, 64) for v in range(12)]
    assert min(difference(one, other) for one, other in combinations(drawn, 2)) > 4


def test_a_motif_varies_with_its_seed_but_stays_nearer_to_itself_than_to_others():
    shot = replace(PLAIN_SHOT, span=30)
    for motif in ("paisley", "peacock", "lotus", "rosette", "kawung"):
        layout = "grid" if motif in loom.FIGURES else "allover"
        design = replace(PLAIN_DESIGN, motif=motif, layout=layout, ink="colour")
        one, other = (loom.draw(replace(design, variant=v), shot, 96) for v in (1, 2))
        stripes = loom.draw(replace(design, motif="check", layout="allover"), shot, 96)
        assert 1 < difference(one, other) < difference(one, stripes)


@pytest.mark.parametrize(
    ("factor", "value"),
    [
        ("motif", "fish"), ("variant", 4), ("layout", "jaal"), ("pitch", 23.0), ("figure", "elephant"),
        ("technique", "ikat"), ("weave", "slub"), ("zari", "silver"), ("ink", "colour"), ("border", "temple"),
        ("border_width", 14.0), ("pallu", "bands"), ("pallu_length", 52.0), ("fringe", "none"),
        ("body_colour", "#a3152a"), ("border_colour", "#14713f"), ("pallu_colour", "#14713f"),
        ("motif_colour", "#ffffff"), ("second_colour", "#e8882f"),
    ],
)  # fmt: skip
def test_every_factor_of_a_design_shows_in_the_picture(factor, value):
    whole = replace(PLAIN_SHOT, kind="whole")
    design = replace(PLAIN_DESIGN, ink="colour") if factor.endswith("_colour") else PLAIN_DESIGN
    design = replace(design, zari="none") if factor == "motif_colour" else design
    before, after = (loom.draw(d, whole, 192) for d in (design, replace(design, **{factor: value})))
    assert difference(before, after) > 0.15


def test_every_factor_of_a_design_was_asked_about_above():
    asked = {pair[0] for pair in test_every_factor_of_a_design_shows_in_the_picture.pytestmark[0].args[1]}
    assert asked | {"palette"} == {field.name for field in fields(loom.Design)}


@pytest.mark.parametrize(
    ("factor", "value"),
    [
        ("kind", "draped"), ("kind", "border"), ("kind", "pallu"), ("kind", "whole"), ("kind", "folded"),
        ("span", 28.0), ("x", 0.9), ("y", 0.9), ("turn", 12.0), ("tilt", 0.15), ("folds", 0.9), ("light", "lamp"),
        ("azimuth", 200.0), ("exposure", 1.1), ("blur", 4.0), ("noise", 3.0), ("seed", 2),
    ],
)  # fmt: skip
def test_every_nuisance_shows_in_the_picture(factor, value):
    shot = replace(PLAIN_SHOT, folds=0.4)
    assert difference(*(loom.draw(PLAIN_DESIGN, s, 128) for s in (shot, replace(shot, **{factor: value})))) > 0.5


def test_the_background_lies_behind_the_cloth_only():
    design = replace(PLAIN_DESIGN, body_colour="#ffffff")
    white, dark = (loom.draw(design, replace(PLAIN_SHOT, kind="whole", background=b), 128) for b in ("white", "dark"))
    change = np.abs(white.astype(int) - dark).max(axis=2)
    assert change[:, :8].min() > 60
    assert change[40:80, 50:78].max() <= 1


def test_a_colourway_keeps_the_drawing_and_changes_the_colours():
    design = replace(PLAIN_DESIGN, ink="colour", zari="none")
    recoloured = replace(
        design, palette="madder_ecru", body_colour="#7c2f25", motif_colour="#e5d3ae", second_colour="#c98a4b"
    )
    redrawn = replace(design, motif="paisley")
    one, other, third = (
        loom.draw(d, replace(PLAIN_SHOT, span=30), 128).astype(float) for d in (design, recoloured, redrawn)
    )
    assert np.abs(one.mean((0, 1)) - other.mean((0, 1))).max() > 40
    assert np.abs(one.mean((0, 1)) - third.mean((0, 1))).max() < 15

    def edges(picture):
        across, down = np.gradient(cv2.GaussianBlur(picture, (0, 0), 1.5).mean(axis=2))
        return np.hypot(across, down).ravel()

    alike, unlike = np.corrcoef([edges(one), edges(other), edges(third)])[0, 1:]
    assert alike > 0.8 > 0.5 > unlike


def test_same_motif_holds_the_motif_under_many_palettes(tmp_path):
    rows = rows_of(loom.render(tmp_path / "m", 10, 3, size=32, same="motif"))
    assert all(len({row[factor] for row in rows}) == 1 for factor in ("motif", "variant", "layout", "figure"))
    many = plan(100, seed=3, same="motif")
    assert many[0]["motif"] == rows[0]["motif"]
    assert len({row["palette"] for row in many}) > 12


def test_same_palette_holds_the_colours_under_many_motifs():
    rows = plan(100, seed=3, same="palette")
    assert len({tuple(row[factor] for factor in loom.HELD["palette"]) for row in rows}) == 1
    assert len({row["motif"] for row in rows}) > 10


def test_fixing_one_factor_of_a_design_does_not_move_the_others():
    free = loom.sample_design(np.random.default_rng(4), cluster="loom_check", motif="stripe")
    fixed = loom.sample_design(np.random.default_rng(4), cluster="loom_check", motif="stripe", border="temple")
    assert free.border != "temple"
    assert fixed == replace(free, border="temple")


def test_splits_never_part_a_design_and_are_seven_one_two():
    rows = plan(1500)
    sides, items, designs = defaultdict(set), defaultdict(set), {}
    for row in rows:
        sides[row["design"]].add(row["split"])
        items[row["item_id"]].add(tuple(row[f.name] for f in fields(loom.Design)))
        designs[row["design"]] = row["split"]
    assert all(len(split) == 1 for split in sides.values())
    assert all(len(factors) == 1 for factors in items.values()), "an item is one saree"
    splits = [designs[design] for design in sorted(designs)][:400]
    for ten in zip(*[iter(splits)] * 10, strict=True):
        assert Counter(ten) == {"train": 7, "val": 1, "test": 2}


def test_items_have_one_to_three_photographs_and_some_designs_several_colourways():
    rows = plan(1500)[:-10]
    photographs = Counter(row["item_id"] for row in rows)
    assert set(photographs.values()) == {1, 2, 3}
    colourways, palettes = defaultdict(set), defaultdict(set)
    for row in rows:
        colourways[row["design"]].add(row["item_id"])
        palettes[row["design"]].add(row["palette"])
    assert {len(items) for items in colourways.values()} == {1, 2, 3}
    assert all(len(palettes[design]) == len(colourways[design]) for design in colourways)
    assert len({row["path"] for row in rows}) == len(rows)


def test_every_class_appears_and_tells_something_about_motif_and_palette_but_not_everything():
    assert {row["cluster"] for row in plan(100)} == set(loom.CLUSTERS)
    rows = list({row["item_id"]: row for row in plan(3000)}.values())
    for factor, values in (("motif", loom.MOTIFS), ("palette", loom.PALETTES)):
        seen = defaultdict(Counter)
        for row in rows:
            seen[row["cluster"]][row[factor]] += 1
        guessed = sum(counts.most_common(1)[0][1] for counts in seen.values()) / len(rows)
        assert 3 / len(values) < guessed < 0.7, factor


def test_zari_answers_the_light_more_than_a_thread_of_the_same_colour():
    gold = replace(PLAIN_DESIGN, motif="stripe", layout="allover", ink="zari", weave="plain")
    thread = replace(gold, zari="none", ink="colour", motif_colour="#cea24a")

    def change(design):
        shots = (replace(PLAIN_SHOT, folds=0.8, azimuth=azimuth) for azimuth in (20, 200))
        return difference(*(loom.draw(design, shot, 128) for shot in shots))

    assert change(gold) > 1.15 * change(thread)


def test_a_fringe_lets_the_background_through_and_a_hem_does_not():
    def change(fringe):
        shots = (replace(PLAIN_SHOT, kind="whole", background=background) for background in ("white", "dark"))
        one, other = (loom.draw(replace(PLAIN_DESIGN, fringe=fringe), shot, 256) for shot in shots)
        return float((np.abs(one.astype(int) - other).max(axis=2)[:, 100:156] > 40).mean(axis=1)[200:248].max())

    assert change("none") == 0
    assert change("threads") > 0.2


def test_designs_are_plain_values_and_a_figure_is_repeated_on_the_pallu():
    rng = np.random.default_rng(0)
    for _ in range(60):
        design, shot = loom.sample_design(rng), loom.sample_shot(rng)
        for value in (asdict(design) | asdict(shot)).values():
            assert type(value) in (str, int, float)
        assert design.figure == design.motif or design.motif in loom.FIELDS


@pytest.mark.parametrize("size", [32, 65, 224])
def test_a_picture_is_square_and_has_the_asked_size(size):
    for kind in loom.VIEWS:
        picture = loom.draw(PLAIN_DESIGN, replace(PLAIN_SHOT, kind=kind), size)
        assert picture.shape == (size, size, 3)
        assert picture.dtype == np.uint8
        assert picture.std() > 10


def test_render_refuses_a_folder_that_holds_a_manifest(small):
    before = files_of(small)
    with pytest.raises(SareeError, match=r"already holds a manifest\.csv; choose another folder"):
        loom.render(small, 3, 0, size=32)
    assert files_of(small) == before


def test_an_interrupted_render_leaves_no_manifest_and_can_be_done_again(tmp_path):
    def stop(done, count):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loom.render(tmp_path / "set", 5, 0, size=32, progress=stop)
    assert not (tmp_path / "set" / "manifest.csv").exists()
    told = []
    loom.render(tmp_path / "set", 5, 0, size=32, progress=lambda done, count: told.append((done, count)))
    assert told == [(i, 5) for i in range(1, 6)]
    assert len(rows_of(tmp_path / "set" / "manifest.csv")) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count 0: must be at least 1"),
        ({"seed": -1}, "seed -1"),
        ({"size": 16}, "size 16: the loom draws 32 to 1024"),
        ({"same": "motiff"}, "did you mean 'motif'"),
    ],
)
def test_render_says_what_is_wrong_with_its_arguments(tmp_path, arguments, message):
    with pytest.raises(SareeError, match=message):
        loom.render(tmp_path / "set", **({"count": 1, "seed": 0, "size": 32} | arguments))
    assert not (tmp_path / "set").exists()


def test_unknown_names_are_told_with_the_nearest_known_one():
    rng = np.random.default_rng(0)
    with pytest.raises(SareeError, match="'peacok' is not a motif; did you mean 'peacock'"):
        loom.sample_design(rng, motif="peacok")
    with pytest.raises(SareeError, match="'loom_ikats' is not a cluster; did you mean 'loom_ikat'"):
        loom.sample_design(rng, cluster="loom_ikats")
    with pytest.raises(SareeError, match="'jaal' is not a layout; choose one of allover"):
        loom.sample_design(rng, motif="check", layout="jaal")
    with pytest.raises(SareeError, match="'colour' is not a factor"):
        loom.sample_design(rng, colour="#000000")
    with pytest.raises(SareeError, match="is not a background"):
        replace(PLAIN_SHOT, background="beach")


def test_without_skia_the_loom_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(loom, "skia", None)
    monkeypatch.setattr(loom, "MISSING", "libEGL.so.1: cannot open shared object file", raising=False)
    with pytest.raises(SareeError, match="libEGL"):
        loom.draw(PLAIN_DESIGN, PLAIN_SHOT, 64)
