"""The procedural loom: pictures of cloth drawn from named factors, for trials, tests and checks of the model.

A `Design` says what was woven, a `Shot` how it was photographed; `draw` turns the two into one picture and `render`
writes a whole data set whose manifest records every factor. The patterns are made up: they borrow the vocabulary of
sarees and are evidence about no craft. Lengths of cloth are in centimetres, positions in a picture are fractions of its
side.
"""

from __future__ import annotations

import csv
import difflib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import cv2
import numpy as np

from .errors import SareeError
from .files import atomic_write

try:
    import skia
except ImportError as error:  # the wheel is installed but a library of the system is not: told when something is drawn
    skia, MISSING = None, str(error)

LAYOUTS = ("grid", "half_drop", "rows", "jaal", "checks", "stripes", "plain_buta")  # how a figure is repeated
ALLOVER = "allover"  # the only layout of a motif that fills the field by itself
TECHNIQUES = ("brocade", "print", "resist", "ikat")
WEAVES = ("plain", "twill", "satin", "slub")
ZARI = {"none": (0, 0, 0), "gold": (206, 162, 74), "silver": (190, 192, 198), "copper": (188, 118, 82)}
BORDERS = ("solid", "lines", "temple", "creeper", "figures", "beads", "diamonds")
PALLUS = ("bands", "rows", "panel", "dense")
FRINGES = ("none", "threads", "tassels")
VIEWS = ("whole", "folded", "draped", "pallu", "border", "closeup")
LIGHTS = {  # name: (red, green, blue) gain, fall-off across the picture
    "studio": ((1.0, 1.0, 1.0), 0.10),
    "window": ((0.96, 1.0, 1.06), 0.35),
    "lamp": ((1.07, 1.0, 0.86), 0.30),
    "flash": ((1.02, 1.02, 1.02), 0.45),
}
BACKGROUNDS = ("white", "grey", "cream", "wood", "floor", "dark")

WIDTH, LENGTH = 100.0, 165.0  # of the cloth shown, cm: a saree is five times longer, but body repeats and would be tiny
FRINGE = 5.0  # cm of loose warp past the last weft
YARN = 0.21  # cm between threads: coarser than real yarn (0.03), so that the weave shows in 256 pixels
SIDES = (32, 1024)  # sizes that `draw` accepts, pixels
OUTPUT_MARGIN = 1.15  # cloth is rasterised a little finer than the picture needs, so that perspective does not blur it

# body, border, pallu, motif, second colour
PALETTES = {
    "rani_pink_green": "#c2185b #14713f #14713f #f2c14e #3d9b63",
    "red_gold_cream": "#a3152a #7b0f24 #7b0f24 #efd9a3 #d98e2b",
    "vermilion_black": "#d23a1e #1d1a1c #1d1a1c #f5d7a0 #e88b2f",
    "mustard_maroon": "#d99a1c #6a1228 #6a1228 #7d1b2f #f4e2b4",
    "turmeric_green": "#eab21f #20683a #20683a #b3261e #2e7d4f",
    "parrot_red": "#2f8f46 #b01c2e #b01c2e #f1cf5a #e4572e",
    "bottle_green_gold": "#0f4a3a #7a1f2b #0b382c #d9b65d #a8c686",
    "peacock_blue": "#0f5e78 #5a1f5c #5a1f5c #f0c75e #39a2ae",
    "royal_blue_pink": "#1f3a93 #c2266d #c2266d #f3d27a #7fa6e8",
    "indigo_white": "#1e2a56 #141d3d #24346e #eef0f2 #7f93c7",
    "indigo_rust": "#27335f #8c3b1e #8c3b1e #e9dcc3 #c06a36",
    "purple_orange": "#5b2470 #d9661f #d9661f #f2b84b #b06fc4",
    "aubergine_sage": "#43173a #6f8a5c #6f8a5c #e6d3a7 #a58bab",
    "cream_gold": "#f1e8d2 #c79c3d #f1e8d2 #b98a2c #a8462f",
    "cream_green": "#f0e9d6 #2f6b45 #2f6b45 #c1922f #4f8a63",
    "cream_red": "#f2e9d8 #a61c2b #a61c2b #b3262f #d58a3a",
    "white_blue": "#eef0ee #2a4b8d #2a4b8d #2f5aa8 #8fb0d8",
    "white_coral": "#f4f0ea #e0705a #e0705a #db6a55 #6f9a8d",
    "pale_pink_grey": "#e7bfc0 #8a8f99 #8a8f99 #fbf4ee #b2606f",
    "mint_lilac": "#b9d8c4 #9a86b8 #9a86b8 #fbfaf2 #6d5d97",
    "sky_sand": "#a9c8dd #c9a877 #c9a877 #fdf8ea #4d7ea8",
    "peach_teal": "#f0b892 #1f7a7a #1f7a7a #fdf3df #c6543f",
    "madder_ecru": "#7c2f25 #2b1d1a #2b1d1a #e5d3ae #c98a4b",
    "ecru_madder": "#e3d2ad #6e2a20 #6e2a20 #8a3526 #2f4858",
    "brown_sogan": "#4a2c1c #2a1a13 #2a1a13 #e6cf9f #b9793e",
    "ecru_indigo": "#e2d6b8 #22305c #22305c #27386d #8a4a2a",
    "charcoal_red": "#2d2c30 #a2172a #a2172a #e8e1d4 #c94f43",
    "black_gold": "#161417 #5d1326 #1f1a1d #d8b45a #b3405a",
    "magenta_yellow": "#ab1a6b #e8b21c #e8b21c #f6d860 #f08a4b",
    "orange_magenta": "#e5731d #a3195b #a3195b #fbe09a #c2255c",
    "olive_brick": "#6c6f2e #8f3a26 #8f3a26 #efe0b0 #b5a642",
    "grey_yellow": "#7d838c #e0b02c #e0b02c #f4ead0 #3f4750",
}


@dataclass(frozen=True)
class Design:
    """What was woven: every factor that two photographs of one saree share. Colours are '#rrggbb' in sRGB.

    Raises:
        SareeError: a name is unknown, or the layout does not fit the motif.
    """

    motif: str  # a name in MOTIFS
    variant: int  # seed of the motif's inner detail: petals, dots, proportions
    layout: str  # one of LAYOUTS for a figure, "allover" for a field
    pitch: float  # cm from one repeat to the next, 12 to 30
    figure: str  # the figure on pallu and border; the motif itself if that is a figure
    technique: str  # brocade: stepped by the threads; print: crisp; resist: soft; ikat: feathered along the warp
    weave: str  # one of WEAVES
    zari: str  # metal thread in border and pallu: a name in ZARI
    ink: str  # thread of the body's motif: "colour" or "zari"
    border: str  # one of BORDERS
    border_width: float  # cm, 3 to 18
    pallu: str  # one of PALLUS
    pallu_length: float  # cm, 30 to 60
    fringe: str  # one of FRINGES
    palette: str  # a name in PALETTES, from which the five colours are varied a little
    body_colour: str
    border_colour: str
    pallu_colour: str
    motif_colour: str
    second_colour: str

    def __post_init__(self) -> None:
        known = {
            "motif": MOTIFS,
            "figure": FIGURES,
            "technique": TECHNIQUES,
            "weave": WEAVES,
            "zari": ZARI,
            "border": BORDERS,
            "pallu": PALLUS,
            "fringe": FRINGES,
            "palette": PALETTES,
            "ink": ("colour", "zari"),
            "layout": LAYOUTS if self.motif in FIGURES else (ALLOVER,),
        }
        for factor, names in known.items():
            _check_name(factor, getattr(self, factor), names)


@dataclass(frozen=True)
class Shot:
    """How it was photographed: every nuisance. Two shots of one design differ only here."""

    kind: str  # one of VIEWS
    span: float  # cm of cloth across the picture in a close-up, 24 to 48
    x: float  # where a close-up looks, fraction of the cloth's free width and length
    y: float
    turn: float  # rotation in the picture, degrees
    tilt: float  # perspective: how much shorter the far edge is, -0.2 to 0.2
    folds: float  # depth of folds, 0 (ironed) to 1
    light: str  # a name in LIGHTS
    azimuth: float  # where the light comes from, degrees
    exposure: float  # gain, about 1
    background: str  # one of BACKGROUNDS
    blur: float  # standard deviation in thousandths of the picture's side
    noise: float  # standard deviation of sensor noise, grey levels
    quality: int  # JPEG quality that `render` writes
    seed: int  # of folds, background and noise

    def __post_init__(self) -> None:
        for factor, names in {"kind": VIEWS, "light": LIGHTS, "background": BACKGROUNDS}.items():
            _check_name(factor, getattr(self, factor), names)


def draw(design: Design, shot: Shot, size: int = 256) -> np.ndarray:
    """One photograph of one saree: (size, size, 3) uint8 sRGB. The same arguments give the same pixels.

    Raises:
        SareeError: `size` is not 32 to 1024.
    """
    if not SIDES[0] <= size <= SIDES[1]:
        raise SareeError(f"size {size}: the loom draws {SIDES[0]} to {SIDES[1]} pixels a side")
    if skia is None:
        raise SareeError(f"the loom draws with skia-python: {MISSING}; on Debian or Ubuntu: apt install libegl1 libgl1")
    rng = np.random.default_rng(shot.seed)
    picture = _background(shot, size, rng)
    for sheet in _sheets(design, shot):
        picture = _lay(picture, design, shot, sheet, rng)
    return _camera(picture, shot, rng)


def sample_design(rng: np.random.Generator, *, cluster: str | None = None, **fixed: object) -> Design:
    """Draw a design as the made-up craft `cluster` (a name in CLUSTERS; a random one if None) would make it.

    `fixed` holds any fields of Design; a fixed palette still varies its five colours unless they are fixed too.

    Raises:
        SareeError: unknown names, or a fixed layout that does not fit the motif.
    """
    if cluster is not None:
        _check_name("cluster", cluster, CLUSTERS)
    recipe = CLUSTERS[cluster if cluster is not None else _pick(rng, sorted(CLUSTERS))]
    for factor in fixed:
        _check_name("factor", factor, [field.name for field in fields(Design)])
    # Every factor is drawn even where it is fixed, so that fixing one does not move the others.
    free = {factor: _choose(rng, recipe, factor) for factor in GENERAL}
    free["variant"] = int(rng.integers(1 << 30))
    free["pitch"] = round(float(rng.uniform(14, 26)), 1)
    free["border_width"] = round(float(rng.uniform(*recipe.get("border_width", (4, 13)))), 1)
    free["pallu_length"] = round(float(rng.uniform(32, 55)), 1)
    free |= fixed
    if free["motif"] not in FIGURES:
        free["layout"] = fixed.get("layout", ALLOVER)
    else:
        free["figure"] = fixed.get("figure", free["motif"])
    if free["zari"] == "none":
        free["ink"] = fixed.get("ink", "colour")
    _check_name("palette", free["palette"], PALETTES)
    return Design(**(_vary(rng, free["palette"]) | free))


def sample_shot(rng: np.random.Generator, kind: str | None = None) -> Shot:
    """Draw the nuisances of one photograph; `kind` (one of VIEWS) can be held."""
    drawn = _pick(rng, VIEWS, (0.22, 0.16, 0.16, 0.16, 0.12, 0.18))
    kind = kind or drawn
    near = kind in ("closeup", "border", "pallu")
    values = rng.uniform(size=9).tolist()
    return Shot(
        kind=kind,
        span=round(28 + 20 * values[0] + (12 if kind == "pallu" else 0), 1),
        x=round(values[1], 3),
        y=round(values[2], 3),
        turn=round(float(rng.normal(0, 9 if near else 3)), 1),
        tilt=round(0.36 * values[3] - 0.18, 3),
        folds=round(values[4] ** 1.3, 3),
        light=_pick(rng, list(LIGHTS), (0.4, 0.3, 0.2, 0.1)),
        azimuth=round(360 * values[5], 1),
        exposure=round(0.86 + 0.26 * values[6], 3),
        background=_pick(rng, BACKGROUNDS, (0.28, 0.18, 0.16, 0.16, 0.14, 0.08)),
        blur=round(1.0 + 3.0 * values[7] ** 3, 2),
        noise=round(0.5 + 2.5 * values[8] ** 2, 2),
        quality=int(rng.integers(82, 96)),
        seed=int(rng.integers(1 << 30)),
    )


HELD = {  # what `render(same=...)` keeps the same in every picture
    "motif": ("motif", "variant", "layout", "figure"),
    "palette": ("palette", "body_colour", "border_colour", "pallu_colour", "motif_colour", "second_colour"),
}


def render(
    out: str | Path,
    count: int,
    seed: int,
    *,
    size: int = 256,
    same: str | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Path:
    """Write `count` pictures and their manifest; return the path of `manifest.csv`, which is written last.

    Picture i depends on `seed`, `size` and `same`, not on `count`. Photographs of one saree share `item_id`, colourways
    of one design share `design`, and a design is on one side of the split (7 train, 1 val, 2 test in every ten).

    Args:
        count: pictures, 1 or more. From about 100 on, every class in CLUSTERS has some.
        size: pixels a side, 32 to 1024.
        same: "motif" or "palette" holds those factors (see HELD) alike in every picture; `cluster` tells only the rest.
        progress: called as progress(done, count) after every picture.

    Raises:
        SareeError: `out` already holds a manifest or cannot be written, or an argument is out of range.
    """
    out = Path(out)
    manifest = out / "manifest.csv"
    if manifest.exists():
        raise SareeError(f"{out}: already holds a manifest.csv; choose another folder, or remove this one first")
    if count < 1:
        raise SareeError(f"count {count}: must be at least 1")
    if seed < 0:
        raise SareeError(f"seed {seed}: must be 0 or more")
    if same is not None:
        _check_name("same", same, HELD)
    rows = []
    for row, design, shot in _pictures(seed, count, same):
        picture = draw(design, shot, size)
        _, jpeg = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, shot.quality])
        with atomic_write(out / row["path"]) as temporary:
            temporary.write_bytes(jpeg.tobytes())
        rows.append(row)
        if progress is not None:
            progress(len(rows), count)
    with atomic_write(manifest) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return manifest


# --- the plan of a data set ------------------------------------------------------------------------


def _pictures(seed: int, count: int, same: str | None) -> Iterator[tuple[dict, Design, Shot]]:
    """The first `count` pictures of the endless set that `seed` names."""
    held = {}
    if same is not None:
        model = sample_design(_stream(seed, 2))
        held = {factor: getattr(model, factor) for factor in HELD[same]}
    done = 0
    number = 0
    while True:
        for picture in _saree(seed, number, held):
            if done == count:
                return
            yield picture
            done += 1
        number += 1


def _saree(seed: int, number: int, held: dict) -> Iterator[tuple[dict, Design, Shot]]:
    """Every picture of design `number`: one to three colourways, each photographed one to three times."""
    rng = _stream(seed, 0, number)
    cluster = _dealt(seed, number, sorted(CLUSTERS))
    split = _dealt(seed, number, ["train"] * 7 + ["val"] + ["test"] * 2)
    first = sample_design(rng, cluster=cluster, **held)
    colourways = 1 if "palette" in held else _pick(rng, (1, 2, 3), (0.75, 0.17, 0.08))
    palettes = [first.palette]
    for way in range(colourways):
        design = first
        if way:
            others = [name for name in PALETTES if name not in palettes]
            palettes.append(_pick(rng, others))
            design = replace(first, palette=palettes[-1], **_vary(rng, palettes[-1]))
        item = f"{number:05d}{'abc'[way]}"
        for photograph, kind in enumerate(_album(rng)):
            shot = sample_shot(rng, kind)
            row = {
                "path": f"images/{item}{photograph}.jpg",
                "cluster": cluster,
                "item_id": item,
                "split": split,
                "source": "loom",
                "view": kind,
                "design": f"{number:05d}",
            }
            yield row | asdict(design) | {k: v for k, v in asdict(shot).items() if k != "kind"}, design, shot


def _album(rng: np.random.Generator) -> list[str]:
    """The kinds of one to three photographs: the saree from afar first, then from near, as shops do."""
    wide = _pick(rng, ("whole", "folded", "draped"))
    near = [str(kind) for kind in rng.permutation(("pallu", "border", "closeup"))]
    if rng.random() < 0.3:
        near.insert(1, next(kind for kind in ("draped", "whole") if kind != wide))
    return ([wide] if rng.random() < 0.8 else []) + near[: int(rng.integers(1, 3))]


def _dealt(seed: int, number: int, cards: list[str]) -> str:
    """Deal a shuffled pack of `cards` again and again: every stretch of len(cards) designs has them all."""
    deal, place = divmod(number, len(cards))
    return cards[int(_stream(seed, 1, len(cards), deal).permutation(len(cards))[place])]


def _stream(*key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(key))


def _pick(rng: np.random.Generator, names: Sequence, weights: Sequence[float] | None = None):
    """One of `names`, as the plain Python value it is."""
    if weights is None:
        return names[int(rng.integers(len(names)))]
    return names[int(np.searchsorted(np.cumsum(weights) / np.sum(weights), rng.random(), side="right"))]


def _check_name(what: str, got: object, names) -> None:
    if got in names:
        return
    near = difflib.get_close_matches(str(got), [str(name) for name in names], 1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(names)}"
    raise SareeError(f"loom: {got!r} is not a {what}; {hint}")


def _choose(rng: np.random.Generator, recipe: dict, factor: str):
    """A factor as the recipe prefers it; about one time in nine anything goes, for crafts overlap."""
    names, stray = recipe.get(factor, GENERAL[factor]), rng.random() < 0.11
    usual, other = _pick(rng, list(names)), _pick(rng, list(GENERAL[factor]))
    return other if stray else usual


def _vary(rng: np.random.Generator, palette: str) -> dict[str, str]:
    """The five colours of a palette, each moved a little in Lab as dye lots are."""
    lab = cv2.cvtColor(_rgb(*PALETTES[palette].split())[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    lab += rng.normal(0, (2.5, 2.5, 2.5), (5, 3)).astype(np.float32)
    rgb = np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)[0] * 255, 0, 255).round().astype(int)
    names = ("body_colour", "border_colour", "pallu_colour", "motif_colour", "second_colour")
    return {name: f"#{r:02x}{g:02x}{b:02x}" for name, (r, g, b) in zip(names, rgb.tolist(), strict=True)}


def _rgb(*colours: str) -> np.ndarray:
    """Hex colours -> (n, 3) int, 0 to 255."""
    return np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours])


# --- drawing with vectors --------------------------------------------------------------------------


class Pen:
    """Draws shapes by role (ground, main, second ...), so that one drawing serves every palette and the zari mask."""

    def __init__(self, canvas: skia.Canvas, inks: dict[str, tuple[int, int, int]]):
        self.canvas = canvas
        self.inks = inks

    def shape(self, points, role: str, *, smooth: bool = True, width: float | None = None, closed: bool = True) -> None:
        """Fill the outline through `points`, or with `width` draw along it."""
        self.path(_smooth(points, closed) if smooth else _polygon(points, closed), role, width)

    def line(self, points, width: float, role: str, *, smooth: bool = False) -> None:
        self.shape(points, role, smooth=smooth, width=width, closed=False)

    def path(self, path: skia.Path, role: str, width: float | None = None) -> None:
        self.canvas.drawPath(path, self._paint(role, width))

    def disc(self, x: float, y: float, radius: float, role: str, width: float | None = None) -> None:
        self.canvas.drawCircle(x, y, radius, self._paint(role, width))

    def rect(self, left: float, top: float, right: float, bottom: float, role: str) -> None:
        self.canvas.drawRect(skia.Rect.MakeLTRB(left, top, right, bottom), self._paint(role))

    def oval(self, left: float, top: float, right: float, bottom: float, role: str) -> None:
        self.canvas.drawOval(skia.Rect.MakeLTRB(left, top, right, bottom), self._paint(role))

    def petal(self, x: float, y: float, length: float, breadth: float, degrees: float, role: str) -> None:
        """A pointed leaf from (x, y); at 0 degrees it points up."""
        with self.at(x, y, turn=degrees):
            path = skia.Path()
            path.moveTo(0, 0)
            path.cubicTo(breadth, -0.25 * length, 0.7 * breadth, -0.75 * length, 0, -length)
            path.cubicTo(-0.7 * breadth, -0.75 * length, -breadth, -0.25 * length, 0, 0)
            self.canvas.drawPath(path, self._paint(role))

    @contextmanager
    def at(self, x: float, y: float, scale: float = 1.0, turn: float = 0.0, flip: bool = False):
        self.canvas.save()
        self.canvas.translate(x, y)
        if turn:
            self.canvas.rotate(turn)
        self.canvas.scale(-scale if flip else scale, scale)
        yield self
        self.canvas.restore()

    @contextmanager
    def roles(self, **inks: str):
        """Let roles borrow one another's ink for a while: pen.roles(main="second")."""
        kept = self.inks
        self.inks = kept | {role: kept[other] for role, other in inks.items()}
        yield self
        self.inks = kept

    def _paint(self, role: str, width: float | None = None) -> skia.Paint:
        paint = skia.Paint(AntiAlias=True, Color=skia.ColorSetRGB(*self.inks[role]))
        if width is not None:
            paint.setStyle(skia.Paint.kStroke_Style)
            paint.setStrokeWidth(width)
            paint.setStrokeCap(skia.Paint.kRound_Cap)
            paint.setStrokeJoin(skia.Paint.kRound_Join)
        return paint


def _polygon(points, closed: bool) -> skia.Path:
    path = skia.Path()
    path.moveTo(*points[0])
    for point in points[1:]:
        path.lineTo(*point)
    if closed:
        path.close()
    return path


def _smooth(points, closed: bool) -> skia.Path:
    """A curve through every point (Catmull-Rom, drawn as cubics)."""
    n = len(points)
    path = skia.Path()
    path.moveTo(*points[0])
    for i in range(n if closed else n - 1):
        before, here, there, after = (
            points[j % n] if closed else points[min(max(j, 0), n - 1)] for j in range(i - 1, i + 3)
        )
        path.cubicTo(
            here[0] + (there[0] - before[0]) / 6,
            here[1] + (there[1] - before[1]) / 6,
            there[0] - (after[0] - here[0]) / 6,
            there[1] - (after[1] - here[1]) / 6,
            there[0],
            there[1],
        )
    if closed:
        path.close()
    return path


def _scaled(points, scale: float, x: float = 0.0, y: float = 0.0):
    return [(x + scale * (px - x), y + scale * (py - y)) for px, py in points]


# --- figures: drawn in the square from -1 to 1, y down; `rng` gives the inner detail ---------------


def _flower(pen: Pen, x: float, y: float, radius: float, petals: int, heart: str = "second", turn: float = 0.0) -> None:
    for i in range(petals):
        pen.petal(x, y, radius, 0.62 * math.pi * radius / petals, turn + 360 * i / petals, "main")
    pen.disc(x, y, 0.28 * radius, heart)


def _paisley(pen: Pen, rng: np.random.Generator) -> None:
    tip = rng.uniform(0.42, 0.62)
    outline = [(tip, -0.56), (0.26, -0.94), (-0.20, -0.70), (-0.55, -0.15), (-0.62, 0.40), (-0.30, 0.86), (0.20, 0.90)]
    outline += [(0.60, 0.52), (0.56, 0.08), (0.26, -0.30), (0.12, -0.56), (0.24, -0.68)]
    pen.shape(outline, "main")
    if rng.random() < 0.5:
        for x, y in _scaled(outline[2:10], 1.14, 0, 0.2):
            pen.disc(x, y, 0.055, "main")
    pen.shape(_scaled(outline, 0.74, 0.02, 0.36), "ground")
    pen.shape(_scaled(outline, 0.60, 0.02, 0.40), "second")
    petals = int(rng.integers(5, 9))
    with pen.at(0.0, 0.40):
        _flower(pen, 0, 0, 0.36, petals, "dark")
    if rng.random() < 0.6:
        pen.petal(-0.02, 0.08, 0.42, 0.09, 16, "main")


def _peacock(pen: Pen, rng: np.random.Generator) -> None:
    feathers = int(rng.integers(6, 10))
    spread = rng.uniform(95, 125)
    for ring, reach in ((0, 1.02), (1, 0.70)):
        for i in range(feathers - ring):
            angle = math.radians(-62 + spread * (i + 0.5 * ring) / (feathers - 1))
            x, y = 0.02 + reach * math.sin(angle + 0.9), 0.30 - reach * math.cos(angle + 0.9) * 0.95
            pen.line([(0.0, 0.32), (x, y)], 0.035, "main")
            pen.disc(x, y, 0.135 - 0.03 * ring, "main")
            pen.disc(x, y, 0.08, "second")
            pen.disc(x, y, 0.035, "dark")
    body = [(-0.66, -0.58), (-0.58, -0.70), (-0.45, -0.62), (-0.40, -0.32), (-0.22, -0.06), (0.12, 0.14), (0.20, 0.42)]
    body += [(-0.05, 0.64), (-0.36, 0.56), (-0.56, 0.26), (-0.60, -0.10), (-0.60, -0.42)]
    pen.shape(body, "ground", width=0.10)
    pen.shape(body, "main")
    pen.shape(_scaled(body[4:10], 0.62, -0.18, 0.30), "second")
    pen.shape([(-0.64, -0.64), (-0.86, -0.52), (-0.62, -0.54)], "main", smooth=False)
    for i in range(3):
        x, y = -0.62 + 0.10 * i, -0.92 + 0.02 * abs(i - 1)
        pen.line([(-0.55, -0.66), (x, y)], 0.03, "main")
        pen.disc(x, y, 0.045, "main")
    pen.disc(-0.56, -0.60, 0.04, "dark")
    pen.line([(-0.22, 0.60), (-0.26, 0.92), (-0.40, 0.94)], 0.05, "main")
    pen.line([(-0.06, 0.60), (-0.08, 0.92), (-0.22, 0.94)], 0.05, "main")


def _elephant(pen: Pen, rng: np.random.Generator) -> None:
    lift = rng.uniform(-0.25, 0.35)  # trunk down or raised in salute
    outline = [(-0.62, -0.52), (-0.34, -0.50), (0.05, -0.58), (0.52, -0.48), (0.82, -0.14), (0.84, 0.30), (0.80, 0.80)]
    outline += [(0.52, 0.80), (0.48, 0.36), (0.12, 0.32), (0.0, 0.40), (-0.04, 0.80), (-0.34, 0.80), (-0.38, 0.30)]
    outline += [(-0.56, 0.14), (-0.70, 0.38 - lift), (-0.78, 0.62 - 2 * lift), (-0.96, 0.58 - 2.4 * lift)]
    outline += [(-0.92, 0.28 - lift), (-0.92, -0.05), (-0.86, -0.36)]
    pen.shape(outline, "main")
    pen.shape([(-0.02, -0.60), (0.46, -0.54), (0.50, 0.10), (-0.02, 0.14)], "second", smooth=False)
    for i in range(int(rng.integers(2, 5))):
        pen.line([(0.0, -0.42 + 0.14 * i), (0.47, -0.38 + 0.13 * i)], 0.04, "dark")
    pen.shape([(-0.52, -0.36), (-0.22, -0.42), (-0.16, -0.06), (-0.34, 0.14), (-0.50, -0.06)], "ground", width=0.06)
    pen.disc(-0.68, -0.24, 0.05, "dark")
    pen.shape([(-0.60, 0.10), (-0.76, 0.26), (-0.82, 0.16)], "second", smooth=False)
    pen.line([(0.84, -0.05), (0.95, 0.30)], 0.05, "main")
    if rng.random() < 0.6:
        pen.shape([(0.04, -0.60), (0.22, -0.98), (0.42, -0.58)], "main", smooth=False)


def _fish(pen: Pen, rng: np.random.Generator) -> None:
    deep = rng.uniform(0.8, 1.2)
    body = [(-0.88, 0.0), (-0.48, -0.32), (0.02, -0.38), (0.42, -0.13), (0.42, 0.13), (0.02, 0.38), (-0.48, 0.32)]
    body = [(x, deep * y) for x, y in body]
    pen.shape([(0.34, 0), (0.92, -0.44), (0.76, 0), (0.92, 0.44)], "main", smooth=False)
    pen.shape([(-0.25, -0.32 * deep), (0.10, -0.66 * deep), (0.26, -0.24 * deep)], "second", smooth=False)
    pen.shape([(-0.20, 0.32 * deep), (0.08, 0.62 * deep), (0.22, 0.26 * deep)], "second", smooth=False)
    pen.shape(body, "main")
    rows = int(rng.integers(3, 6))
    for i in range(rows):
        x = -0.30 + 0.62 * i / rows
        half = deep * (0.30 - 0.12 * i / rows)
        pen.line([(x, -half), (x + 0.12, 0), (x, half)], 0.05, "ground", smooth=True)
    pen.disc(-0.60, -0.06, 0.09, "ground")
    pen.disc(-0.60, -0.06, 0.045, "dark")
    pen.line([(0.50, 0), (0.72, 0)], 0.05, "second")


def _lotus(pen: Pen, rng: np.random.Generator) -> None:
    petals = int(rng.choice((5, 7, 9)))
    for ring, (length, role) in enumerate(((1.0, "main"), (0.72, "second"), (0.45, "main"))):
        count = max(3, petals - 2 * ring)
        for i in sorted(range(count), key=lambda i, middle=(count - 1) / 2: -abs(i - middle)):
            angle = 176 * (i - (count - 1) / 2) / (count - 1) * (1 - 0.16 * ring)
            pen.petal(0, 0.30, length * 1.06, 0.25, angle, "ground")
            pen.petal(0, 0.30, length, 0.20, angle, role)
    pen.shape([(-0.30, 0.34), (0, 0.26), (0.30, 0.34), (0, 0.52)], "second")
    pen.line([(0, 0.45), (rng.uniform(-0.15, 0.15), 0.95)], 0.07, "main", smooth=True)
    for side in (-1, 1):
        pen.petal(0, 0.86, 0.62, 0.15, 78 * side, "main")


def _buta(pen: Pen, rng: np.random.Generator) -> None:
    bend = rng.uniform(-0.22, 0.22)
    stem = [(0, 0.95), (bend, 0.45), (0, -0.25)]
    pen.line(stem, 0.06, "main", smooth=True)
    pairs = int(rng.integers(2, 4))
    for i in range(pairs):
        y = 0.75 - 0.62 * i / pairs
        for side in (-1, 1):
            pen.petal(bend * 0.7, y, 0.52 - 0.09 * i, 0.14, side * rng.uniform(48, 70), "main")
    _flower(pen, 0, -0.42, 0.52, int(rng.integers(5, 10)))
    for side in (-1, 1):
        pen.line([(bend * 0.5, 0.1), (0.42 * side, -0.10)], 0.04, "main")
        pen.disc(0.46 * side, -0.14, 0.10, "second")


def _temple(pen: Pen, rng: np.random.Generator) -> None:
    steps = int(rng.integers(4, 8))
    for i in range(steps):
        half = 0.92 * (1 - i / steps)
        top = 0.85 - 1.45 * (i + 1) / steps
        pen.rect(-half, top, half, 0.85 - 1.45 * i / steps + 0.01, "main" if i % 2 == 0 else "second")
    door = rng.uniform(0.14, 0.24)
    pen.rect(-door, 0.85 - 2.9 / steps, door, 0.86, "ground")
    pen.line([(0, -0.58), (0, -0.96)], 0.06, "main")
    pen.disc(0, -0.74, 0.10, "main")
    pen.rect(-0.98, 0.85, 0.98, 0.95, "main")


def _rosette(pen: Pen, rng: np.random.Generator) -> None:
    petals = int(rng.choice((8, 10, 12, 16)))
    _flower(pen, 0, 0, 0.95, petals)
    with pen.roles(main="second", second="dark"):
        _flower(pen, 0, 0, rng.uniform(0.48, 0.66), petals // 2, turn=180 / petals)
    pen.disc(0, 0, 0.16, "main")
    if rng.random() < 0.5:
        pen.disc(0, 0, 0.97, "main", 0.05)


def _leaf(pen: Pen, rng: np.random.Generator) -> None:
    lean = rng.uniform(-28, 28)
    with pen.at(0, 0, turn=lean):
        pen.petal(0, 0.72, 1.66, 0.62, 0, "main")
        pen.line([(0, 0.98), (0, -0.72)], 0.06, "second")
        for i in range(int(rng.integers(3, 6))):
            y = 0.50 - 0.28 * i
            reach = 0.34 - 0.045 * i
            for side in (-1, 1):
                pen.line([(0, y), (reach * side, y - 0.22)], 0.045, "ground")


def _diamond(pen: Pen, rng: np.random.Generator) -> None:
    steps = int(rng.integers(4, 7))
    for ring, role in enumerate(("main", "ground", "second", "main")):
        reach = 0.96 - 0.25 * ring
        for i in range(steps):
            half = reach * (1 - i / steps)
            y = reach * (i + 1) / steps
            pen.rect(-half, -y, half, y, role)
    for x, y in ((-0.78, -0.78), (0.78, -0.78), (-0.78, 0.78), (0.78, 0.78)):
        pen.rect(x - 0.1, y - 0.1, x + 0.1, y + 0.1, "second")


def _parrot(pen: Pen, rng: np.random.Generator) -> None:
    droop = rng.uniform(0.75, 0.98)
    for i in range(3):
        pen.petal(0.20, 0.25, 0.98, 0.13, 118 + 14 * i, "second" if i == 1 else "main")
    body = [(-0.58, -0.60), (-0.30, -0.80), (-0.02, -0.60), (0.06, -0.25), (0.36, 0.10), (0.34, 0.42), (0.02, 0.48)]
    body += [(-0.30, 0.30), (-0.42, -0.05), (-0.44, -0.35)]
    pen.shape(body, "main")
    pen.shape([(-0.14, -0.22), (0.12, -0.06), (0.52, droop - 0.42), (0.08, 0.30), (-0.16, 0.08)], "second")
    pen.shape([(-0.52, -0.66), (-0.78, -0.50), (-0.66, -0.32), (-0.50, -0.46)], "dark")
    pen.disc(-0.32, -0.58, 0.075, "ground")
    pen.disc(-0.32, -0.58, 0.035, "dark")
    pen.line([(-0.34, -0.30), (-0.16, -0.34), (-0.02, -0.44)], 0.06, "second", smooth=True)
    pen.line([(-0.75, 0.62), (0.55, 0.50)], 0.06, "main", smooth=True)
    for x, angle in ((-0.6, 150), (-0.3, 20), (-0.75, -60)):
        pen.petal(x, 0.60, 0.34, 0.10, angle, "main")


# --- fields: drawn in a tile `w` by `h` cm that repeats --------------------------------------------


def _wrapped(w: float, h: float) -> list[tuple[float, float]]:
    """The centre of the tile and its four corners: the places of a half drop."""
    return [(w / 2, h / 2), (0, 0), (w, 0), (0, h), (w, h)]


def _ikat(pen: Pen, rng: np.random.Generator, w: float, h: float) -> None:
    hooks = rng.random() < 0.5
    rings = ("main", "ground", "second", "main") if rng.random() < 0.5 else ("main", "second", "ground", "dark")
    for x, y in _wrapped(w, h):
        for reach, role in zip((0.50, 0.38, 0.27, 0.12), rings, strict=True):
            a, b = reach * w * 0.92, reach * h * 0.92
            pen.shape([(x - a, y), (x, y - b), (x + a, y), (x, y + b)], role, smooth=False)
    for x, y in ((0, h / 2), (w, h / 2), (w / 2, 0), (w / 2, h)):
        a = 0.06 * w
        pen.shape([(x - a, y), (x, y - 2 * a), (x + a, y), (x, y + 2 * a)], "second", smooth=False)
        if hooks:
            pen.line([(x - 2.2 * a, y), (x + 2.2 * a, y)], 0.4 * a, "main")


def _bandhani(pen: Pen, rng: np.random.Generator, w: float, h: float) -> None:
    def dot(x, y, role="main"):
        x, y = x + rng.normal(0, 0.006 * w), y + rng.normal(0, 0.006 * h)
        pen.disc(x, y, 0.034 * w, role)
        pen.disc(x, y, 0.012 * w, "ground")

    rings = int(rng.integers(1, 4))
    square = rng.random() < 0.5
    for ring in range(1, rings + 1):
        for i in range(6 * ring + 2):
            angle = 2 * math.pi * i / (6 * ring + 2)
            reach = 0.125 * ring * w
            if square:
                reach /= abs(math.cos(angle)) + abs(math.sin(angle))
                reach *= 1.25
            dot(w / 2 + reach * math.cos(angle), h / 2 + reach * math.sin(angle), "second" if ring % 2 else "main")
    dot(w / 2, h / 2)
    for i in range(8):  # the lattice that joins the rosettes: half a dot off the edge, so that tiles meet evenly
        t = (i + 0.5) / 8
        dot(t * w, 0.05 * h)
        dot(0.05 * w, t * h)


def _chevron(pen: Pen, rng: np.random.Generator, w: float, h: float) -> None:
    peaks = int(rng.integers(1, 4))
    bands = int(rng.integers(2, 5))
    rise = h * rng.uniform(0.22, 0.45) / peaks
    roles = [("main", "second", "dark")[int(rng.integers(3))] for _ in range(bands)]
    roles[0] = "main"
    for band in range(-2 * bands, 2 * bands):
        y = h * band / bands
        points = [(w * i / (2 * peaks), y + rise * (i % 2)) for i in range(-1, 2 * peaks + 2)]
        pen.line(points, 0.30 * h / bands, roles[band % bands])
        pen.line([(px, py + 0.3 * h / bands) for px, py in points], 0.06 * h / bands, "second")


def _kawung(pen: Pen, rng: np.random.Generator, w: float, h: float) -> None:
    fat, dots = rng.uniform(0.17, 0.24), int(rng.integers(1, 4))
    cell = w / 2
    for cx in (0.5, 1.5):
        for cy in (0.5, 1.5):
            with pen.at(cx * cell, cy * cell, cell):
                for angle in (45, 135, 225, 315):
                    with pen.at(0, 0, turn=angle):
                        pen.oval(-fat, -0.68, fat, -0.06, "main")
                        for i in range(dots):
                            pen.disc(0, -0.22 - 0.15 * i, 0.05, "dark")
                pen.disc(0, 0, 0.07, "second")
                for x, y in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)):
                    pen.disc(x, y, 0.06, "second")


def _vine(pen: Pen, rng: np.random.Generator, w: float, h: float) -> None:
    leaves, petals = int(rng.integers(3, 6)), int(rng.integers(5, 9))
    _trellis(pen, w, h, leaves)
    for x, y in _wrapped(w, h):
        pen.line([(x, y + 0.1 * h), (x, y + 0.3 * h)], 0.03 * w, "main")
        for side in (-1, 1):
            pen.petal(x, y + 0.29 * h, 0.24 * w, 0.07 * w, 52 * side, "main")
        with pen.at(x, y, 0.25 * w), pen.roles(second="dark"):
            _flower(pen, 0, 0, 1.0, petals)
        with pen.at(x, y, 0.14 * w), pen.roles(main="second", second="main"):
            _flower(pen, 0, 0, 1.0, petals, turn=180 / petals)


def _trellis(pen: Pen, w: float, h: float, leaves: int) -> None:
    """Two stems that sway apart and together (an ogee), with leaves on both sides."""
    for side in (-1, 1):
        for shift in (-w / 2, w / 2):

            def stem(t, start=w / 2 + shift, side=side):
                """The stem at t of the height: flat where two meet and where the eye is widest."""
                swing = 0.5 + 0.5 * math.cos(2 * math.pi * t)
                return start + side * w * (0.03 + 0.45 * (3 * swing**2 - 2 * swing**3) ** 0.8), h * t

            pen.line([stem(i / 12) for i in range(-1, 14)], 0.035 * w, "main", smooth=True)
            for i in range(2 * leaves):
                x, y = stem((i + 0.5) / (2 * leaves))
                lean = side * (1 if y < h / 2 else -1)
                pen.petal(x, y, 0.17 * w, 0.055 * w, 50 * lean, "second")
                pen.petal(x, y, 0.15 * w, 0.05 * w, 190 + 60 * lean, "main")


def _check(pen: Pen, rng: np.random.Generator, w: float, h: float) -> None:
    plan = _bands(rng, int(rng.integers(2, 5)))
    for along in (True, False):
        for start, stop, role in plan:
            ink = skia.ColorSetARGB(255 if along else 140, *pen.inks[role])
            box = (start * w, 0, stop * w, h) if along else (0, start * h, w, stop * h)
            pen.canvas.drawRect(skia.Rect.MakeLTRB(*box), skia.Paint(Color=ink))


def _stripe(pen: Pen, rng: np.random.Generator, w: float, h: float) -> None:
    upright = rng.random() < 0.6
    for start, stop, role in _bands(rng, int(rng.integers(3, 7))):
        pen.rect(*((start * w, 0, stop * w, h) if upright else (0, start * h, w, stop * h)), role)


def _bands(rng: np.random.Generator, count: int) -> list[tuple[float, float, str]]:
    """Bands across a tile: (start, stop, role) with 0 <= start < stop <= 1; the first is broad."""
    bands = []
    for i in range(count):
        width = (0.26 if i == 0 else rng.choice((0.03, 0.05, 0.10))) * (1 if count < 4 else 0.8)
        start = (i + rng.uniform(0.05, 0.4)) / count
        bands.append((start, min(start + width, 1.0), "main" if i == 0 else ("second", "main", "dark")[i % 3]))
    return bands


def _wave(pen: Pen, rng: np.random.Generator, w: float, h: float) -> None:
    lanes = int(rng.integers(2, 5))
    sway = rng.uniform(0.0, 0.16) * w / lanes
    knives = rng.random() < 0.5  # the slanted row of blades between two bands, or plain waves
    for lane in range(-lanes, 2 * lanes + 1):
        points = []
        for i in range(-2, 27):
            t = i / 24
            bend = sway * math.sin(2 * math.pi * t * lanes)
            points.append((w * (t + lane / lanes) + bend, h * (1 - t) + bend))
        pen.line(points, 0.26 * w / lanes, "main", smooth=True)
        step = 0.5 * w / lanes
        if knives:
            for i in range(3 * lanes):
                t = (i + 0.5) / (3 * lanes)
                pen.petal(w * (t + lane / lanes) + step, h * (1 - t), 0.34 * w / lanes, 0.09 * w / lanes, 100, "second")
        else:
            pen.line([(x + step, y) for x, y in points], 0.09 * w / lanes, "second", smooth=True)


# --- fields without end: `rng` gives the whole drawing, not only its detail ------------------------


def _damask(pen: Pen, rng: np.random.Generator, w: float, h: float) -> None:
    """Level lines of a random surface that repeats and is mirrored, turned or half dropped, as wallpaper is."""
    _filling(pen, rng, w, h)
    surface = _surface(rng, 160)
    levels = np.sort(rng.uniform(0.45, 0.92, int(rng.integers(1, 5))))
    roles = ["main", *(_pick(rng, ("main", "second", "dark", "ground")) for _ in levels[1:])]
    for level, role in zip(np.quantile(surface, levels), roles, strict=True):
        pen.path(_above(surface, level, w, h), role)
    if rng.random() < 0.5:
        pen.path(_above(surface, np.quantile(surface, levels[0] - 0.1), w, h), "second", 0.012 * w)


def _surface(rng: np.random.Generator, n: int) -> np.ndarray:
    """A random smooth function on a torus, (n, n): a few waves, made as symmetric as chance has it."""
    y, x = np.mgrid[0:n, 0:n] * (2 * math.pi / n)
    low, high = _pick(rng, ((0.5, 2.5), (1.5, 4.5), (3.5, 7.5)))
    waves = [(i, j) for i in range(8) for j in range(-7, 8) if low < math.hypot(i, j) < high]
    f = np.zeros((n, n))
    for k in rng.choice(len(waves), min(len(waves), 12), replace=False):
        i, j = waves[k]
        f += rng.normal() * np.cos(i * x + j * y + rng.uniform(0, 2 * math.pi))
    for chance, other in (
        (0.7, lambda f: np.roll(f[:, ::-1], 1, 1)),
        (0.5, lambda f: np.roll(f[::-1], 1, 0)),
        (0.4, lambda f: f.T),
        (0.3, lambda f: np.roll(f, (n // 2, n // 2), (0, 1))),
    ):
        if rng.random() < chance:
            f = f + other(f)
    return f


def _above(surface: np.ndarray, level: float, w: float, h: float) -> skia.Path:
    """Where a surface that fills the tile is higher than `level`, islands and lakes alike."""
    n, margin = len(surface), 4
    inside = np.pad(surface > level, margin, "wrap").astype(np.uint8)
    path = skia.Path()
    for outline in cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_TC89_L1)[0]:
        if len(outline) > 2:
            points = (outline[:, 0] - margin) * (w / n, h / n)
            path.addPath(_polygon(points.tolist(), closed=True))
    path.setFillType(skia.PathFillType.kEvenOdd)
    return path


def _filling(pen: Pen, rng: np.random.Generator, w: float, h: float) -> None:
    """What keeps the ground from being empty: dots, a hatching, a net; often nothing."""
    kind, count = _pick(rng, ("none", "none", "dots", "hatch", "net")), 2 * int(rng.integers(3, 8))
    if kind == "dots":
        for i in range(count + 1):
            for j in range(count + 1):
                pen.disc((i + 0.5 * (j % 2)) * w / count, j * h / count, 0.12 * w / count, "second")
    elif kind != "none":
        for i in range(-count, count, 1 if kind == "hatch" else 2):
            x = i * w / count
            pen.line([(x, 0), (x + w, h)], 0.15 * w / count, "second")
            if kind == "net":
                pen.line([(x + w, 0), (x, h)], 0.15 * w / count, "second")


def _mosaic(pen: Pen, rng: np.random.Generator, w: float, h: float) -> None:
    """A lattice of cells, each of shapes about its middle, as tiles and block prints have them."""
    _filling(pen, rng, w, h)
    cells, frame = int(rng.integers(1, 5)), _pick(rng, ("none", "square", "diamond", "circle"))
    kinds = [int(rng.integers(1 << 30)) for _ in range(2 - cells % 2)]  # of an odd number, two kinds would not meet
    dropped = rng.random() < 0.3
    for i in range(-1, cells + 1):
        for j in range(-1, cells + 1):
            x = i + 0.5 + (0.5 * (j % 2) if dropped and cells % 2 == 0 else 0)
            with pen.at(x * w / cells, (j + 0.5) * h / cells, 0.5 * w / cells):
                if frame == "circle":
                    pen.disc(0, 0, 1.0, "main", 0.08)
                elif frame != "none":
                    reach, turn = (2**0.5, 45) if frame == "square" else (1.0, 0)
                    corners = [_polar(reach, 90 * k + turn) for k in range(4)]
                    pen.shape(corners, "main", smooth=False, width=0.08)
                _rings(pen, np.random.default_rng(kinds[(i + j) % len(kinds)]))


def _rings(pen: Pen, rng: np.random.Generator) -> None:
    """Shapes about a middle, from the outermost in, within a circle of radius 1."""
    fold = _pick(rng, (4, 4, 6, 8, 8, 12))
    for reach in np.sort(rng.uniform(0.15, 0.98, int(rng.integers(2, 5))))[::-1].tolist():
        role, turn = _pick(rng, ("main", "main", "second", "dark", "ground")), _pick(rng, (0.0, 180 / fold))
        kind, round_tips = _pick(rng, ("petals", "discs", "arms", "star", "plate", "ring")), rng.random() < 0.5
        places = [turn + 360 * k / fold for k in range(fold)]
        match kind:
            case "petals":
                for angle in places:
                    pen.petal(0, 0, reach, min(0.5, 2.2 / fold) * reach, angle, role)
            case "discs":
                for angle in places:
                    pen.disc(*_polar(0.85 * reach, angle), 0.9 * reach / fold, role)
            case "arms":
                for angle in places:
                    pen.line([_polar(0.35 * reach, angle), _polar(reach, angle)], 0.07, role)
            case "star":
                tips = [_polar(reach * (0.6 if k % 2 else 1), turn + 180 * k / fold) for k in range(2 * fold)]
                pen.shape(tips, role, smooth=round_tips)
            case "plate":
                pen.disc(0, 0, reach, role)
            case "ring":
                pen.disc(0, 0, 0.95 * reach, role, 0.06)


def _diagonal(pen: Pen, rng: np.random.Generator, w: float, h: float) -> None:
    """Slanted bands of one hooked shape, with a row of beads or a line between them."""
    lanes, beads, flip = int(rng.integers(1, 5)), rng.random() < 0.6, rng.random() < 0.5
    along = lanes * int(rng.integers(1, 5))  # shapes in a band
    width, seed = 0.7 * w / lanes, int(rng.integers(1 << 30))
    with pen.at(w if flip else 0, 0, flip=flip):
        for lane in range(-lanes, 2 * lanes):
            for i in range(-1, along + 1):
                t = (i + 0.5) / along
                with pen.at(w * (t + lane / lanes), h * (1 - t), 0.5 * width, turn=45):
                    pen.canvas.scale(min(1.0, 1.6 * lanes / along), 1.0)
                    _blob(pen, np.random.default_rng(seed), 3.0 * lanes / along)
                between = w * (t + (lane + 0.5) / lanes), h * (1 - t)
                if beads:
                    pen.disc(*between, 0.09 * width, "second")
            if not beads:
                start = w * (lane + 0.5) / lanes
                pen.line([(start - w, 2 * h), (start + 2 * w, -h)], 0.12 * width, "second")


def _blob(pen: Pen, rng: np.random.Generator, hook: float = 0.0) -> None:
    """A round outline that chance has dented and bent, with its own echoes inside, within about 1 of the middle."""
    corners = int(rng.integers(5, 12))
    reach = rng.uniform(0.45, 1.0, corners)
    outline = np.array([_polar(r, 360 * k / corners) for k, r in enumerate(reach)])
    outline[:, 0] += 0.3 * min(hook, 1.5) * np.sin(2.2 * outline[:, 1])
    roles = ("main", *(_pick(rng, ("ground", "second", "dark", "main")) for _ in range(int(rng.integers(0, 4)))))
    for ring, role in enumerate(roles):
        pen.shape(_scaled(outline.tolist(), 1 - 0.24 * ring), role)


def _scatter(pen: Pen, rng: np.random.Generator, w: float, h: float) -> None:
    """Flowers, leaves, discs and odd shapes strewn one over another, as dead leaves lie."""
    _filling(pen, rng, w, h)
    kinds = [_pick(rng, ("flower", "spray", "blob", "rings", "disc")) for _ in range(3)]
    largest = rng.uniform(0.08, 0.3)
    for _ in range(int(rng.integers(5, 12) / largest**1.3 / 3)):
        x, y, turn = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0, 360)
        kind, scale, seed = _pick(rng, kinds), w * largest * rng.uniform(0.35, 1), int(rng.integers(1 << 30))
        for a, b in [(x + i * w, y + j * h) for i in (-1, 0, 1) for j in (-1, 0, 1)]:  # what leaves enters opposite
            if max(abs(a - w / 2) - w / 2, abs(b - h / 2) - h / 2) < 1.5 * scale:
                with pen.at(a, b, scale, turn=turn):
                    _strewn(pen, kind, np.random.default_rng(seed))


def _strewn(pen: Pen, kind: str, rng: np.random.Generator) -> None:
    match kind:
        case "flower":
            _flower(pen, 0, 0, 1.0, int(rng.integers(4, 9)), heart=_pick(rng, ("second", "dark")))
        case "spray":
            role = _pick(rng, ("main", "second"))
            pen.line([(0, 1), (0.15, 0), (0, -0.8)], 0.07, role, smooth=True)
            for k in range(int(rng.integers(4, 8))):
                pen.petal(0.1, 0.8 - 0.25 * k, 0.6, 0.14, 55 if k % 2 else -55, role)
        case "blob":
            _blob(pen, rng)
        case "rings":
            _rings(pen, rng)
        case "disc":
            pen.disc(0, 0, 0.7, _pick(rng, ("main", "second", "dark", "ground")))
            pen.disc(0, 0, 0.7, "main", 0.1)


def _polar(reach: float, degrees: float) -> tuple[float, float]:
    """A point at a distance from the middle; at 0 degrees it is above it."""
    return reach * math.sin(math.radians(degrees)), -reach * math.cos(math.radians(degrees))


FIGURES = {
    "paisley": _paisley,
    "peacock": _peacock,
    "elephant": _elephant,
    "fish": _fish,
    "parrot": _parrot,
    "lotus": _lotus,
    "buta": _buta,
    "temple": _temple,
    "rosette": _rosette,
    "leaf": _leaf,
    "diamond": _diamond,
}
FIELDS = {
    "ikat_diamond": _ikat,
    "bandhani": _bandhani,
    "chevron": _chevron,
    "kawung": _kawung,
    "vine": _vine,
    "check": _check,
    "stripe": _stripe,
    "wave": _wave,
    "damask": _damask,
    "mosaic": _mosaic,
    "diagonal": _diagonal,
    "scatter": _scatter,
}
MOTIFS = FIGURES | FIELDS


# --- the cloth, flat -------------------------------------------------------------------------------

Box = tuple[float, float, float, float]  # left, top, right, bottom in cm of cloth


def _cloth(design: Design, box: Box, density: float) -> np.ndarray:
    """The flat cloth inside `box` -> (h, w, 4) float32: sRGB 0 to 255, and how much of the pixel is zari, 0 to 1."""
    stepped = design.technique == "brocade" and density * YARN > 1.2
    fine = 1 / YARN if stepped else density
    size = _pixels(box, fine)
    body = _raster(design, box, fine, _paint_body)
    trim = _raster(design, box, fine, _paint_trim)
    body = _handwork(design, body, box, fine)
    x = box[0] + (np.arange(size[0]) + 0.5) / fine
    y = box[1] + (np.arange(size[1]) + 0.5) / fine
    edge = (x < design.border_width) | (x > WIDTH - design.border_width)
    body[:, edge] = trim[:, edge]
    end = y > LENGTH - design.pallu_length
    body[end] = trim[end]
    if stepped:  # a figured weave changes colour only from thread to thread
        body = cv2.resize(body, _pixels(box, density), interpolation=cv2.INTER_NEAREST)
    return _weave(design, body, density)


def _pixels(box: Box, density: float) -> tuple[int, int]:
    return max(2, round((box[2] - box[0]) * density)), max(2, round((box[3] - box[1]) * density))


def _raster(design: Design, box: Box, density: float, paint: Callable) -> np.ndarray:
    """Draw twice, in colours and with only the zari white -> (h, w, 4) float32."""
    w, h = _pixels(box, density)
    out = np.zeros((h, w, 4), np.float32)
    for part in ("colours", "zari"):
        if part == "zari" and design.zari == "none":
            break
        surface = skia.Surface(w, h)
        with surface as canvas:
            canvas.scale(density, density)
            canvas.translate(-box[0], -box[1])
            paint(design, canvas, density, part)
        pixels = surface.toarray(colorType=skia.ColorType.kRGBA_8888_ColorType)
        if part == "colours":
            out[:, :, :3] = pixels[:, :, :3]
        else:
            out[:, :, 3] = pixels[:, :, 0] / np.float32(255)
    return out


def _inks(design: Design, ground: str, part: str, *, zari: bool) -> dict[str, tuple[int, int, int]]:
    """Which colour each role has on this ground; of the colours that could serve, one that shows against it."""
    names = ("motif_colour", "second_colour", "body_colour", "border_colour", "pallu_colour")
    colours = _rgb(*(getattr(design, name) for name in names))
    under = _rgb(getattr(design, ground))[0]
    main = next((c for c in colours if _distance(c, under) > 95), colours[0])
    second = next((c for c in colours[1:] if _distance(c, under) > 85 and _distance(c, main) > 60), (under + main) // 2)
    dark = under * 45 // 100
    metal = np.array(ZARI[design.zari])
    if _distance(metal, under) < 75:  # gold on yellow would vanish: it is set off as old, darker zari
        metal = metal * 55 // 100
    zari = zari and design.zari != "none"
    roles = {"ground": under, "main": metal if zari else main, "second": second, "dark": dark}
    roles |= {"metal": metal if design.zari != "none" else main, "body": colours[2]}
    if part == "zari":
        shiny = {"main"} if zari else set()
        shiny |= {"metal"} if design.zari != "none" else set()
        return {role: (255, 255, 255) if role in shiny else (0, 0, 0) for role in roles}
    return {role: tuple(int(v) for v in colour) for role, colour in roles.items()}


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """How far apart two sRGB colours look, roughly: green counts most, blue least."""
    return float(np.sqrt((np.array((0.9, 1.3, 0.5)) * (one - other) ** 2).sum()))


def _shader(
    w: float, h: float, density: float, x: float, y: float, paint: Callable[[skia.Canvas], None]
) -> skia.Shader:
    """A tile of `w` by `h` cm drawn once and repeated from (x, y)."""
    columns, rows = max(4, round(w * density)), max(4, round(h * density))
    surface = skia.Surface(columns, rows)
    with surface as canvas:
        canvas.scale(columns / w, rows / h)
        paint(canvas)
    matrix = skia.Matrix.Translate(x, y)
    matrix.preScale(w / columns, h / rows)
    image = surface.makeImageSnapshot()
    repeat = skia.TileMode.kRepeat
    return image.makeShader(repeat, repeat, skia.SamplingOptions(skia.FilterMode.kLinear), matrix)


def _cover(canvas: skia.Canvas, box: Box, shader: skia.Shader) -> None:
    canvas.drawRect(skia.Rect.MakeLTRB(*box), skia.Paint(Shader=shader))


def _detail(design: Design) -> np.random.Generator:
    return np.random.default_rng(design.variant)


def _paint_body(design: Design, canvas: skia.Canvas, density: float, part: str) -> None:
    inks = _inks(design, "body_colour", part, zari=design.ink == "zari")
    w, h = _tile_size(design)

    def tile(canvas: skia.Canvas) -> None:
        pen = Pen(canvas, inks)
        pen.rect(0, 0, w, h, "ground")
        if design.motif in FIELDS:
            FIELDS[design.motif](pen, _detail(design), w, h)
        else:
            _lay_out(design, pen, w, h)

    _cover(canvas, (0, 0, WIDTH, LENGTH), _shader(w, h, density, WIDTH / 2, LENGTH / 2, tile))


def _tile_size(design: Design) -> tuple[float, float]:
    pitch = design.pitch
    shapes = {"jaal": (1.15, 1.6), "half_drop": (1.3, 1.3), "rows": (1.0, 1.7), "stripes": (1.4, 1.0)}
    shapes |= {"plain_buta": (1.4, 1.4), "ikat_diamond": (0.9, 1.35), "vine": (1.1, 1.5), "bandhani": (1.2, 1.2)}
    wide, high = shapes.get(design.layout if design.motif in FIGURES else design.motif, (1.0, 1.0))
    return wide * pitch, high * pitch


def _lay_out(design: Design, pen: Pen, w: float, h: float) -> None:
    """Repeat a figure in the tile as the layout says."""

    def figure(x, y, scale, flip=False):
        with pen.at(x, y, scale, flip=flip):
            FIGURES[design.motif](pen, _detail(design))

    match design.layout:
        case "grid":
            figure(w / 2, h / 2, 0.37 * w)
            for x, y in _wrapped(w, h)[1:]:
                with pen.at(x, y, 0.11 * w), pen.roles(main="second", second="main"):
                    _flower(pen, 0, 0, 1.0, 8)
        case "half_drop" | "plain_buta":
            scale = (0.235 if design.layout == "half_drop" else 0.165) * w
            for x, y in _wrapped(w, h):
                figure(x, y, scale, flip=x != w / 2)
        case "rows":
            figure(w / 2, h * 0.27, 0.38 * w)
            figure(0, h * 0.77, 0.38 * w, flip=True)
            figure(w, h * 0.77, 0.38 * w, flip=True)
            for y in (0.02, 0.52):
                pen.rect(0, h * y - 0.02 * w, w, h * y, "second")
                pen.rect(0, h * y + 0.02 * w, w, h * y + 0.03 * w, "main")
        case "jaal":
            _trellis(pen, w, h, 4)
            for x, y in _wrapped(w, h):
                figure(x, y, 0.25 * w, flip=x != w / 2)
        case "checks":
            for role, at, width in (("second", 0.02, 0.05), ("main", 0.10, 0.015)):
                pen.rect(at * w, 0, (at + width) * w, h, role)
                pen.rect(0, at * h, w, (at + width) * h, role)
            figure(0.56 * w, 0.56 * h, 0.30 * w)
        case "stripes":
            pen.rect(0.56 * w, 0, 0.96 * w, h, "second")
            for x in (0.52, 0.985):
                pen.rect(x * w, 0, (x + 0.02) * w, h, "main")
            figure(0.27 * w, h / 2, 0.21 * w)


def _paint_trim(design: Design, canvas: skia.Canvas, density: float, part: str) -> None:
    """Everything but the body: two borders along the cloth and the pallu across its end."""
    width, top = design.border_width, LENGTH - design.pallu_length
    pen = Pen(canvas, _inks(design, "border_colour", part, zari=design.zari != "none"))
    repeat = max(2.5, 0.8 * width)

    def strip(canvas: skia.Canvas) -> None:
        _paint_border(design, Pen(canvas, pen.inks), width, repeat)

    shader = _shader(width, repeat, density, 0, 0, strip)
    _cover(canvas, (0, 0, width, LENGTH), shader)
    canvas.save()  # the other border looks inwards too
    canvas.translate(WIDTH, 0)
    canvas.scale(-1, 1)
    _cover(canvas, (0, 0, width, LENGTH), shader)
    canvas.restore()
    canvas.save()
    canvas.translate(0, top)
    pallu = Pen(canvas, _inks(design, "pallu_colour", part, zari=design.zari != "none"))
    pallu.rect(0, 0, WIDTH, design.pallu_length + FRINGE, "ground")
    _paint_pallu(design, pallu, density, part)
    canvas.restore()


def _paint_border(design: Design, pen: Pen, w: float, h: float) -> None:
    """One repeat of the left border: outer edge at 0, body at `w`."""
    pen.rect(0, 0, w, h, "ground")
    for left, right in ((0.04, 0.09), (0.13, 0.15), (0.85, 0.87), (0.91, 0.96)):
        pen.rect(left * w, 0, right * w, h, "metal")
    match design.border:
        case "solid":
            pen.rect(0.22 * w, 0, 0.78 * w, h, "main")
            for i in range(6):
                pen.rect(0.22 * w, (i + 0.5) / 6 * h, 0.78 * w, (i + 0.62) / 6 * h, "ground")
        case "lines":
            for i in range(6):
                pen.rect((0.22 + 0.1 * i) * w, 0, (0.26 + 0.1 * i + 0.02 * (i % 2)) * w, h, ("main", "second")[i % 2])
        case "temple":
            pen.rect(0.82 * w, 0, w, h, "body")
            pen.rect(0.20 * w, 0, 0.30 * w, h, "main")
            for i in range(2):
                steps = 5
                for j in range(steps):
                    half = (1 - j / steps) * 0.25 * h
                    x = (0.40 + 0.60 * j / steps) * w
                    middle = (i + 0.5) / 2 * h
                    pen.rect(x, middle - half, x + 0.62 * w / steps, middle + half, "ground" if j < 4 else "main")
                    pen.rect(x, middle - half * 0.5, x + 0.62 * w / steps, middle + half * 0.5, "main")
        case "creeper":
            points = [(w * (0.5 + 0.17 * math.sin(2 * math.pi * i / 8)), h * i / 8) for i in range(-1, 10)]
            pen.line(points, 0.05 * w, "main", smooth=True)
            for i, (x, angle) in enumerate(((0.60, -70), (0.40, 70))):
                pen.petal(x * w, (0.35 + 0.45 * i) * h, 0.30 * w, 0.10 * w, angle, "second")
                pen.disc((1.08 - x) * w - 0.04 * w, (0.25 + 0.5 * i) * h, 0.08 * w, "main")
        case "figures":
            with pen.at(w / 2, h / 2, 0.36 * min(w, h)):
                FIGURES[design.figure](pen, _detail(design))
        case "beads":
            for i in range(3):
                pen.disc(w / 2, (i + 0.5) / 3 * h, 0.13 * h, "main")
                pen.disc(w / 2, (i + 0.5) / 3 * h, 0.06 * h, "second")
                pen.disc(0.26 * w, (i + 0.5) / 3 * h, 0.05 * h, "second")
                pen.disc(0.74 * w, (i + 0.5) / 3 * h, 0.05 * h, "second")
        case "diamonds":
            for scale, role in ((0.30, "main"), (0.19, "ground"), (0.11, "second")):
                points = [(w / 2 - scale * w, h / 2), (w / 2, h / 2 - scale * 1.6 * h), (w / 2 + scale * w, h / 2)]
                pen.shape([*points, (w / 2, h / 2 + scale * 1.6 * h)], role, smooth=False)


def _paint_pallu(design: Design, pen: Pen, density: float, part: str) -> None:
    """The end piece, from its top (0) to the end of the cloth."""
    long = design.pallu_length
    for top, bottom, role in ((0, 0.9, "metal"), (1.6, 2.0, "metal"), (2.6, 4.6, "second"), (5.2, 5.6, "metal")):
        pen.rect(0, top, WIDTH, bottom, role)
        pen.rect(0, long - 1.5 - bottom, WIDTH, long - 1.5 - top, role)
    top, bottom = 7.0, long - 8.5
    if design.pallu == "bands":
        rng, y = _detail(design), top
        while y < bottom:
            thick = float(rng.choice((0.6, 1.2, 2.5)))
            pen.rect(0, y, WIDTH, min(y + thick, bottom), ("main", "second", "metal")[int(rng.integers(3))])
            y += thick + float(rng.choice((0.8, 1.6, 3.0)))
    elif design.pallu == "dense":
        small = replace(design, pitch=design.pitch * 0.55)
        w, h = _tile_size(small)

        def tile(canvas: skia.Canvas) -> None:
            inner = Pen(canvas, pen.inks)
            inner.rect(0, 0, w, h, "ground")
            if design.motif in FIELDS:
                FIELDS[design.motif](inner, _detail(design), w, h)
            else:
                _lay_out(small, inner, w, h)

        _cover(pen.canvas, (0, top, WIDTH, bottom), _shader(w, h, density, WIDTH / 2, top, tile))
    else:
        _paint_figures(design, pen, top, bottom)


def _paint_figures(design: Design, pen: Pen, top: float, bottom: float) -> None:
    """Figures across the pallu in pairs that face each other: one row of large ones (panel) or rows of small ones."""
    rows = 1 if design.pallu == "panel" else max(2, round((bottom - top) / 12))
    high = (bottom - top) / rows
    count = 2 * max(1, round(WIDTH / high / 2.2))
    for row in range(rows):
        for i in range(count):
            x, y = WIDTH * (i + 0.5) / count, top + high * (row + 0.5)
            with pen.at(x, y, 0.43 * min(high, WIDTH / count), flip=i % 2 == 1):
                FIGURES[design.figure](pen, _detail(design))
        if design.pallu == "panel":
            for i in range(count + 1):
                _flower(pen, WIDTH * i / count, (top + bottom) / 2, 0.11 * high, 6)
        elif row:
            pen.rect(0, top + high * row - 0.25, WIDTH, top + high * row + 0.25, "metal")


def _handwork(design: Design, body: np.ndarray, box: Box, density: float) -> np.ndarray:
    """What the hand does to edges: an ikat's threads slip along the warp, dye creeps, a block wobbles."""
    rng = np.random.default_rng((design.variant, 7))
    h, w = body.shape[:2]
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    if design.technique == "ikat":
        bundles = rng.normal(0, 0.55, 1024)  # cm each bundle of threads slipped before weaving
        column = box[0] + (np.arange(w) + 0.5) / density
        slip = bundles[(column / 0.45).astype(int) % 1024] + 0.35 * bundles[(column / YARN).astype(int) * 7 % 1024]
        body = cv2.remap(
            body, x, y + (density * slip[None]).astype(np.float32), cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT
        )
        return cv2.GaussianBlur(body, (0, 0), sigmaX=0.05 + 0.04 * density, sigmaY=0.05 + 0.28 * density)
    if design.technique in ("print", "resist"):
        reach = 0.10 if design.technique == "print" else 0.18
        coarse = rng.normal(0, reach, (2, 24, 24)).astype(np.float32)
        dx, dy = (np.float32(density) * cv2.resize(c, (w, h), interpolation=cv2.INTER_CUBIC) for c in coarse)
        body = cv2.remap(body, x + dx, y + dy, cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT)
        if design.technique == "resist":
            body = cv2.GaussianBlur(body, (0, 0), 0.05 + 0.13 * density)
    return body


def _weave(design: Design, cloth: np.ndarray, density: float) -> np.ndarray:
    """Shade the threads: one by one where they are wide enough to see, and their unevenness always."""
    h, w = cloth.shape[:2]
    rng = np.random.default_rng((design.variant, 11))
    across, along = np.arange(w) / (density * YARN), np.arange(h) / (density * YARN)  # in threads
    shade = np.ones((h, w), np.float32)
    seen = float(np.clip((density * YARN - 1.1) / 0.9, 0, 1))
    if seen > 0:
        size = 5 if design.weave == "satin" else 4
        i, j = np.arange(size)[:, None], np.arange(size)[None]
        up = {"twill": (i + j) % 4 < 2, "satin": (2 * i + j) % 5 > 0}.get(design.weave, (i + j) % 2 == 0)
        warp, weft = (1 - (2 * (t % 1) - 1) ** 2 for t in (across, along))  # round threads
        over = up[(along.astype(int) % size)[:, None], (across.astype(int) % size)[None]]
        relief = np.where(over, warp[None] + 0.25 * weft[:, None], 0.82 * weft[:, None] + 0.2 * warp[None])
        shade += seen * 0.42 * (relief.astype(np.float32) - 0.75)
    rough = {"plain": 0.030, "twill": 0.022, "satin": 0.012, "slub": 0.055}[design.weave]
    yarns = rng.normal(0, rough, (2, 2048)).astype(np.float32)
    shade += yarns[0][along.astype(int) % 2048][:, None] + 0.7 * yarns[1][across.astype(int) % 2048][None]
    if design.weave == "slub":  # thick places a few centimetres long
        slubs = rng.normal(0, 1, (max(4, int(h / density / 0.5)), max(2, int(w / density / 5)))).astype(np.float32)
        slubs = np.clip(np.abs(slubs) - 1.5, 0, None) * np.sign(slubs)
        shade += 0.22 * cv2.resize(slubs, (w, h), interpolation=cv2.INTER_LINEAR)
    cloth[:, :, :3] *= shade[:, :, None]
    return cloth


# --- the photograph --------------------------------------------------------------------------------

# How far a slope of 1 moves the cloth sideways, fractions of the picture: (folds, pleats). More than the slope's own
# change from place to place would turn the map over itself and tear scraps off the edges.
PUSH = (0.018, 0.008)


@dataclass(frozen=True)
class Sheet:
    """A rectangle of cloth and the four corners where it lies in the picture (clockwise from top left)."""

    box: Box
    corners: np.ndarray  # (4, 2), fractions of the picture's side


def _sheets(design: Design, shot: Shot) -> list[Sheet]:
    """What lies in the picture, from the bottom up."""
    length = LENGTH + (0 if design.fringe == "none" else FRINGE)
    if shot.kind in ("whole", "draped"):
        return [Sheet((0, 0, WIDTH, length), _corners(shot, 0.5, 0.5, 0.94 * WIDTH / length, 0.94))]
    if shot.kind == "folded":  # the body in a stack, the pallu turned over it
        top, scale = LENGTH - design.pallu_length, 0.0112
        body, pallu = (0, top - 80, 50, top), (WIDTH - 50, top - 8, WIDTH, LENGTH)
        high = scale * (pallu[3] - pallu[1])
        return [
            Sheet(body, _corners(shot, 0.33, 0.5, 0.56, 80 * scale)),
            Sheet(pallu, _corners(shot, 0.69, 0.95 - high / 2, 0.56, high)),
        ]
    return [_near(design, shot, length)]


def _near(design: Design, shot: Shot, length: float) -> Sheet:
    """The stretch of cloth that a close-up needs, cut where the cloth ends."""
    span, top = shot.span, LENGTH - design.pallu_length
    x = design.border_width + shot.x * (WIDTH - 2 * design.border_width - span) + span / 2
    y = span / 2 + shot.y * max(top - span, 1)
    if shot.kind == "border":
        x = 0.40 * span if shot.x < 0.5 else WIDTH - 0.40 * span
    elif shot.kind == "pallu":
        y = top + (0.05 + 0.3 * shot.y) * span
    reach = 1.5 * span  # more than the picture shows, for rotation, perspective and folds
    left, above = x - reach / 2, y - reach / 2
    box = (max(left, 0), max(above, 0), min(left + reach, WIDTH), min(above + reach, length))
    u0, v0, u1, v1 = (np.array(box) - (left, above, left, above)) / reach
    whole = _corners(shot, 0.5, 0.5, 1.5, 1.5).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(np.float32([(0, 0), (1, 0), (1, 1), (0, 1)]), whole)
    return Sheet(box, cv2.perspectiveTransform(np.float32([[(u0, v0), (u1, v0), (u1, v1), (u0, v1)]]), matrix)[0])


def _corners(shot: Shot, x: float, y: float, w: float, h: float) -> np.ndarray:
    """A rectangle round (x, y), seen at an angle and turned."""
    near, far = 1 + shot.tilt / 2, 1 - shot.tilt / 2
    quad = np.array([(-far * w, -h), (far * w, -h), (near * w, h), (-near * w, h)]) / 2
    angle = math.radians(shot.turn)
    turn = np.array([(math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))])
    return quad @ turn + (x, y)


def _lay(picture: np.ndarray, design: Design, shot: Shot, sheet: Sheet, rng: np.random.Generator) -> np.ndarray:
    """Lay one sheet of cloth into the picture: folds, light, shadow."""
    size = picture.shape[0]
    corners = sheet.corners * size
    wide = max(np.linalg.norm(corners[1] - corners[0]), np.linalg.norm(corners[2] - corners[3]))
    density = OUTPUT_MARGIN * wide / (sheet.box[2] - sheet.box[0])
    cloth = _cloth(design, sheet.box, density)
    h, w = cloth.shape[:2]
    across, down = _folds(shot, size, rng)
    x, y = np.meshgrid(np.arange(size, dtype=np.float32) + 0.5, np.arange(size, dtype=np.float32) + 0.5)
    push = PUSH[shot.kind == "draped"] * size
    square = np.float32([(0, 0), (w, 0), (w, h), (0, h)])
    m = cv2.getPerspectiveTransform(corners.astype(np.float32), square).astype(np.float32)
    x, y = x + push * across, y + push * down
    depth = m[2, 0] * x + m[2, 1] * y + m[2, 2]
    u = (m[0, 0] * x + m[0, 1] * y + m[0, 2]) / depth
    v = (m[1, 0] * x + m[1, 1] * y + m[1, 2]) / depth
    pixels = cv2.remap(cloth, u - 0.5, v - 0.5, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    cover = _coverage(design, sheet, u, v, w, h, density)
    lit = _light(design, shot, pixels, across, down, _creases(shot, u / w, v / h), rng)
    lit *= (
        1 - 0.35 * np.exp(-np.maximum(_inside(u, v, w, h), 0) / (0.006 * size))[:, :, None]
    )  # the hem turns away from the light
    if cover.min() < 1:
        picture = picture * (1 - 0.42 * _shadow(cover, shot))[:, :, None]
    return picture + cover[:, :, None] * (lit - picture)


def _coverage(design: Design, sheet: Sheet, u, v, w: int, h: int, density: float) -> np.ndarray:
    """How much of each pixel the cloth covers: its edges, and at the end of the pallu its fringe."""
    cover = np.clip(_inside(u, v, w, h) + 0.5, 0, 1)
    beyond = v / density + sheet.box[1] - LENGTH  # cm past the last weft
    if design.fringe != "none" and sheet.box[3] > LENGTH:
        x = u / density
        pitch, share = (2.5, 0.45) if design.fringe == "tassels" else (0.9, 0.5)
        gap = np.abs((x / pitch + 0.06 * np.sin(2.1 * beyond + x)) % 1 - 0.5) * 2
        threads = np.clip((share - gap) * pitch * density + 0.5, 0, 1)
        cover = cover * np.where(beyond > 0, threads, 1)
    return cover.astype(np.float32)


def _inside(u: np.ndarray, v: np.ndarray, w: int, h: int) -> np.ndarray:
    """How far inside the sheet a pixel lies, in pixels of the cloth; negative outside."""
    return np.minimum(np.minimum(u, w - u), np.minimum(v, h - v))


def _folds(shot: Shot, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The slope of the cloth's surface across and down the picture, each (size, size) float32, about -1 to 1."""
    n = 96
    y, x = np.mgrid[0:n, 0:n].astype(np.float32) / n
    wander = cv2.resize(rng.normal(0, 1, (4, 4)).astype(np.float32), (n, n), interpolation=cv2.INTER_CUBIC)
    height = 0.012 * wander
    if shot.kind == "draped":  # pleats that open downwards
        t = (x - 0.5) / (0.75 + 0.5 * y) + 0.03 * wander
        count = rng.uniform(5, 9)
        wave = np.sin(2 * math.pi * count * t + rng.uniform(0, 6))
        height = height + (0.35 + 0.65 * shot.folds) * 0.055 / count * (wave + 0.35 * wave**2 * np.sign(wave)) * 2.2
    else:
        main = rng.uniform(0, math.pi)
        for _ in range(int(rng.integers(2, 6))):
            angle = main + rng.normal(0, 0.35)
            t = x * math.cos(angle) + y * math.sin(angle) + 0.10 * wander
            narrow = rng.uniform(0.06, 0.16)
            centre = rng.uniform(-0.2, 1.2)
            height += shot.folds * 0.9 * narrow * rng.uniform(0.3, 1.0) * np.exp(-(((t - centre) / narrow) ** 2))
    down, across = np.gradient(height, 1 / n)
    return tuple(cv2.resize(s.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC) for s in (across, down))


def _creases(shot: Shot, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The sharp lines left by folding for storage, as a change of shade."""
    if shot.kind not in ("whole", "folded"):
        return np.zeros_like(u)
    shade = np.zeros_like(u)
    for t, places in ((u, (0.5,)), (v, (0.25, 0.5, 0.75))):
        for place in places:
            gap = (t - place) * 40
            shade += 0.05 * gap * np.exp(-(gap**2))
    return shade


def _light(design: Design, shot: Shot, pixels, across, down, creases, rng: np.random.Generator) -> np.ndarray:
    """Colours under the light: slopes brighten towards it, satin and zari shine."""
    size = pixels.shape[0]
    angle = math.radians(shot.azimuth)
    facing = -(across * math.cos(angle) + down * math.sin(angle))
    shade = 1 + 0.62 * np.tanh(1.3 * facing) - 0.10 * (across**2 + down**2) + creases
    gloss = {"satin": 0.34, "twill": 0.14, "plain": 0.08, "slub": 0.10}[design.weave]
    shine = gloss * np.clip(facing * 1.4, 0, 1) ** 2
    zari = pixels[:, :, 3]
    glint = cv2.resize(
        rng.normal(0, 1, (size // 4 + 2, 6)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC
    )
    metal = 0.92 + 1.1 * np.clip(facing + 0.12, -0.3, 0.8) + 0.13 * glint
    shade = shade + zari * (metal - shade)
    shine = shine + zari * 0.9 * np.clip(facing + 0.10 * glint - 0.02, 0, 1)
    return pixels[:, :, :3] * shade[:, :, None] + (shine * 255)[:, :, None] * np.float32((1.0, 0.97, 0.88))


def _shadow(cover: np.ndarray, shot: Shot) -> np.ndarray:
    size = cover.shape[0]
    angle = math.radians(shot.azimuth)
    shift = np.float32(
        [(1, 0, -0.014 * size * math.cos(angle)), (0, 1, -0.014 * size * math.sin(angle) + 0.006 * size)]
    )
    moved = cv2.warpAffine(cover, shift, (size, size))
    return cv2.GaussianBlur(moved, (0, 0), 0.018 * size)


def _background(shot: Shot, size: int, rng: np.random.Generator) -> np.ndarray:
    """What lies behind the cloth: (size, size, 3) float32, 0 to 255."""
    plain = {"white": (240, 240, 238), "grey": (160, 162, 165), "cream": (226, 214, 192), "dark": (52, 48, 50)}
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    if shot.background in plain:
        tone = 1 - 0.10 * y + 0.015 * _noise(rng, (5, 5), size)
        colour = plain[shot.background]
    elif shot.background == "wood":
        planks = np.floor(5 * y + 0.3)
        grain = _noise(rng, (size // 2, 5), size)
        tone = 0.9 + 0.055 * grain + 0.06 * np.sin(planks * 12.9) - 0.35 * (np.abs((5 * y + 0.3) % 1 - 0.5) > 0.485)
        colour = ((150, 104, 66), (112, 78, 54), (186, 150, 108))[int(rng.integers(3))]
    else:
        speckle = cv2.GaussianBlur(rng.normal(0, 1, (size, size)).astype(np.float32), (0, 0), 1.0)
        joints = (np.abs((3 * x) % 1 - 0.5) > 0.488) | (np.abs((3 * y + 0.4) % 1 - 0.5) > 0.488)
        tone = 0.95 + 0.05 * speckle + 0.03 * _noise(rng, (6, 6), size) - 0.16 * joints
        colour = ((196, 190, 180), (150, 140, 130), (176, 120, 96))[int(rng.integers(3))]
    return (tone[:, :, None] * np.float32(colour)).astype(np.float32)


def _noise(rng: np.random.Generator, cells: tuple[int, int], size: int) -> np.ndarray:
    return cv2.resize(rng.normal(0, 1, cells).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)


def _camera(picture: np.ndarray, shot: Shot, rng: np.random.Generator) -> np.ndarray:
    """Light that falls off, its tint, exposure, blur, noise -> uint8."""
    size = picture.shape[0]
    tint, fall = LIGHTS[shot.light]
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    angle = math.radians(shot.azimuth)
    if shot.light == "flash":
        even = 1.05 - fall * (x * x + y * y)
    else:
        even = 1 + fall * (x * math.cos(angle) + y * math.sin(angle)) - 0.12 * (x * x + y * y)
    picture = picture * (shot.exposure * even)[:, :, None] * np.float32(tint)
    picture = cv2.GaussianBlur(picture, (0, 0), max(0.05, shot.blur * size / 1000))
    picture += shot.noise * rng.standard_normal(picture.shape, np.float32)
    over = np.maximum(picture - 205, 0)  # highlights roll off as film's do, so that white cloth keeps its folds
    picture -= over - over / (1 + over / 75)
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


# --- the made-up crafts ----------------------------------------------------------------------------

GENERAL = {  # what a factor can be at all; a craft that names no preference draws from here
    "motif": tuple(MOTIFS),
    "layout": LAYOUTS,
    "figure": tuple(FIGURES),
    "technique": TECHNIQUES,
    "weave": WEAVES,
    "zari": ("none", "gold", "gold", "silver", "copper"),
    "ink": ("colour", "zari"),
    "border": BORDERS,
    "pallu": PALLUS,
    "fringe": FRINGES,
    "palette": tuple(PALETTES),
}

_BRIGHT = ("rani_pink_green", "magenta_yellow", "orange_magenta", "turmeric_green", "parrot_red", "red_gold_cream")
_RICH = ("red_gold_cream", "peacock_blue", "royal_blue_pink", "bottle_green_gold", "purple_orange", "black_gold")
_EARTH = ("madder_ecru", "ecru_madder", "brown_sogan", "ecru_indigo", "indigo_rust", "olive_brick")
_PALE = ("white_blue", "white_coral", "pale_pink_grey", "mint_lilac", "sky_sand", "peach_teal", "cream_green")
_DEEP = ("vermilion_black", "mustard_maroon", "charcoal_red", "aubergine_sage", "indigo_white", "parrot_red")

CLUSTERS = {  # a made-up craft prefers some values of some factors; a value listed twice is liked twice as much
    "loom_ikat": {
        "motif": ("ikat_diamond", "ikat_diamond", "ikat_diamond", "chevron", "diamond", "elephant"),
        "layout": ("grid", "rows"),
        "technique": ("ikat",),
        "weave": ("plain", "slub"),
        "zari": ("none", "none", "gold"),
        "ink": ("colour",),
        "border": ("lines", "diamonds", "figures"),
        "palette": (*_DEEP, "madder_ecru", "ecru_madder", "indigo_white"),
        "fringe": ("threads", "none"),
    },
    "loom_bandhani": {
        "motif": ("bandhani", "bandhani", "bandhani", "bandhani", "wave", "rosette"),
        "technique": ("resist",),
        "weave": ("satin", "plain"),
        "zari": ("gold", "none"),
        "ink": ("colour",),
        "border": ("beads", "solid", "lines"),
        "pallu": ("dense", "bands"),
        "palette": (*_BRIGHT, "vermilion_black", "black_gold"),
    },
    "loom_temple_border": {
        "motif": ("check", "stripe", "temple", "buta", "rosette"),
        "layout": ("plain_buta", "checks"),
        "figure": ("temple", "peacock", "elephant"),
        "technique": ("brocade",),
        "weave": ("satin", "plain"),
        "zari": ("gold",),
        "border": ("temple",),
        "border_width": (9, 18),
        "pallu": ("bands", "rows"),
        "palette": (*_RICH, "rani_pink_green", "mustard_maroon", "turmeric_green"),
    },
    "loom_brocade": {
        "motif": ("paisley", "paisley", "buta", "lotus", "rosette", "vine"),
        "layout": ("jaal", "jaal", "half_drop", "grid"),
        "technique": ("brocade",),
        "weave": ("satin",),
        "zari": ("gold", "gold", "silver"),
        "ink": ("zari",),
        "border": ("creeper", "figures"),
        "border_width": (8, 16),
        "pallu": ("dense", "panel"),
        "palette": _RICH,
    },
    "loom_peacock_pallu": {
        "motif": ("peacock", "parrot", "lotus", "peacock"),
        "layout": ("plain_buta", "half_drop"),
        "technique": ("brocade",),
        "weave": ("satin", "plain"),
        "zari": ("gold",),
        "border": ("creeper", "figures", "solid"),
        "pallu": ("panel",),
        "palette": (
            "purple_orange",
            "turmeric_green",
            "rani_pink_green",
            "peacock_blue",
            "magenta_yellow",
            "parrot_red",
        ),
    },
    "loom_print": {
        "motif": ("vine", "vine", "leaf", "lotus", "parrot", "fish", "scatter"),
        "layout": ("jaal", "half_drop"),
        "technique": ("print",),
        "weave": ("plain", "slub"),
        "zari": ("none",),
        "border": ("creeper", "figures"),
        "pallu": ("dense", "rows"),
        "palette": (*_EARTH, "cream_red"),
    },
    "loom_jamdani": {
        "motif": ("diamond", "buta", "leaf", "paisley", "fish"),
        "layout": ("plain_buta", "plain_buta", "half_drop"),
        "technique": ("brocade",),
        "weave": ("slub", "plain"),
        "zari": ("none", "silver"),
        "ink": ("colour",),
        "border": ("diamonds", "creeper"),
        "border_width": (3, 8),
        "pallu": ("rows", "dense"),
        "palette": _PALE,
        "fringe": ("threads", "tassels"),
    },
    "loom_check": {
        "motif": ("check", "check", "check", "stripe"),
        "technique": ("brocade",),
        "weave": ("plain", "twill"),
        "zari": ("none",),
        "ink": ("colour",),
        "border": ("solid", "lines"),
        "border_width": (3, 9),
        "pallu": ("bands",),
        "palette": (*_DEEP, "grey_yellow", "white_blue", "olive_brick"),
    },
    "loom_wax": {
        "motif": ("kawung", "kawung", "wave", "wave", "leaf", "rosette", "mosaic", "damask"),
        "layout": ("grid", "half_drop"),
        "technique": ("resist",),
        "weave": ("plain",),
        "zari": ("none",),
        "border": ("figures", "beads", "solid"),
        "pallu": ("dense", "rows"),
        "palette": ("brown_sogan", "ecru_indigo", "ecru_madder", "indigo_white", "madder_ecru"),
        "fringe": ("none",),
    },
    "loom_zigzag": {
        "motif": ("chevron", "chevron", "wave", "stripe", "diagonal"),
        "technique": ("resist", "print"),
        "weave": ("plain", "satin"),
        "zari": ("none", "gold"),
        "ink": ("colour",),
        "border": ("solid", "lines", "beads"),
        "pallu": ("dense", "bands"),
        "palette": (*_BRIGHT, "peach_teal", "sky_sand", "royal_blue_pink"),
    },
    "loom_cream_gold": {
        "motif": ("buta", "temple", "peacock", "elephant", "lotus", "stripe"),
        "layout": ("plain_buta", "plain_buta", "stripes"),
        "technique": ("brocade",),
        "weave": ("plain", "slub"),
        "zari": ("gold", "gold", "copper"),
        "border": ("solid", "lines", "temple", "figures"),
        "border_width": (6, 16),
        "pallu": ("bands", "panel"),
        "palette": ("cream_gold", "cream_gold", "cream_green", "cream_red"),
        "fringe": ("tassels", "none"),
    },
    "loom_damask": {
        "motif": ("damask", "damask", "damask", "vine"),
        "technique": ("brocade", "print"),
        "weave": ("satin", "plain"),
        "border": ("creeper", "lines", "solid"),
        "pallu": ("dense", "panel"),
        "palette": (*_RICH, *_PALE),
    },
    "loom_mosaic": {
        "motif": ("mosaic", "mosaic", "mosaic", "kawung"),
        "technique": ("resist", "print"),
        "weave": ("plain",),
        "zari": ("none",),
        "border": ("beads", "figures", "diamonds"),
        "pallu": ("dense", "rows"),
        "palette": (*_EARTH, "indigo_white", "white_blue", "charcoal_red"),
        "fringe": ("none",),
    },
    "loom_diagonal": {
        "motif": ("diagonal", "diagonal", "diagonal", "wave"),
        "technique": ("resist", "resist", "print"),
        "weave": ("plain", "twill"),
        "zari": ("none",),
        "border": ("solid", "figures"),
        "pallu": ("dense", "bands"),
        "palette": (*_EARTH, *_DEEP),
        "fringe": ("none",),
    },
    "loom_scatter": {
        "motif": ("scatter", "scatter", "scatter", "leaf"),
        "technique": ("print", "print", "resist", "brocade"),
        "weave": ("plain", "slub", "satin"),
        "border": ("creeper", "solid", "lines"),
        "pallu": ("dense", "panel"),
        "palette": (*_BRIGHT, *_PALE, "black_gold"),
    },
}
