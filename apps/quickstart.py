"""The quickstart: every step from a folder of photographs to a search, in one go, and a report to look at."""

from __future__ import annotations

import io
import json
import shlex
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from saree_vae import (
    checkpoint,
    config,
    data,
    evaluate,
    indexing,
    loom,
    model_card,
    query,
    regions,
    report,
    sheets,
    train,
    views,
)
from saree_vae.catalogue import Catalogue
from saree_vae.encoding import decode, encode, shrunk
from saree_vae.errors import SareeError
from saree_vae.files import atomic_write
from saree_vae.index import LatentIndex
from saree_vae.latents import WEIGHTS

from . import crafts, knowledge
from .showing import bar, task_bar, tell_bad, training_bar

PICTURES = 700  # drawn when no data is given
DRAWN, PHOTOGRAPHS, PRETRAINED = "quickstart", "textiles", "pretrained"  # configs
SEEN = {DRAWN: 18_000, PHOTOGRAPHS: 9_000, PRETRAINED: 9_000}  # pictures that training sees: minutes on 2 cores
FEWEST, MOST = 3, {DRAWN: 60, PHOTOGRAPHS: 15, PRETRAINED: 8}  # epochs; more of few photographs find less than the box
BEGINNING = "loom"  # of a model of photographs
QUERIES = 4  # rows of a search sheet
HALVES = {
    "both": ("Alike in motif and colour", f"Colour counts {WEIGHTS['colour']:g} of motif.", tuple(WEIGHTS.values())),
    "motif": ("The same design, in any colours", "Only the motif half: --colour 0.", (1.0, 0.0)),
    "colour": ("The same colours, in any design", "Only the colour half: --motif 0.", (0.0, 1.0)),
}


def run(where: Path | None, out: Path, console: Console, pretrained: bool = False) -> None:
    """Data -> run -> catalogue -> figures -> report.html; every step that is done already is kept.

    Args:
        pretrained: the motif encoder begins with what a small network has learnt from ImageNet.

    Raises:
        SareeError: nothing readable, or `out` holds the run of other data or settings; weights that cannot be had.
    """
    LatentIndex(2, 2)  # says now, not after training, where FAISS is missing
    if pretrained and where is None:
        raise SareeError("--pretrained is for photographs: name them with --data")
    console.print("1/5 data", style="bold")
    where = where or _rendered(out / "data")
    with bar("opening pictures") as step:
        dataset = data.read_data(where, progress=step)
    if where != out / "data":
        with bar("looking them over") as step:
            console.print("\n".join(data.check(where, progress=step).lines()))
    console.print("2/5 training", style="bold")
    catalogue, drawn = out / "catalogue", where == out / "data"
    loaded = _trained(dataset, out / "run", DRAWN if drawn else PRETRAINED if pretrained else PHOTOGRAPHS)
    console.print("3/5 catalogue", style="bold")
    crops = 0 if drawn or catalogue.exists() else regions.CROPS  # one that is there goes on as it was made
    with bar("indexing") as step:
        indexed = indexing.index(loaded, dataset, catalogue, crops=crops, progress=step)
    tell_bad(indexed.bad)
    named = not drawn and _head(loaded, dataset, out / "head", console)
    console.print("4/5 measuring", style="bold")
    with task_bar() as progress:
        results = evaluate.evaluate(loaded, dataset, ("all",), progress=progress)
    with atomic_write(out / "results.json") as temporary:
        temporary.write_text(json.dumps(results, indent=1), encoding="utf-8")
    model_card.write(loaded, dataset, results)
    console.print("5/5 report", style="bold")
    steps = _next_steps(where, out, dataset, named)
    pictures = _pictures(loaded, dataset, catalogue)
    with Catalogue.open(catalogue) as opened:
        by_regions = bool(opened.crops)
    report.write_report(
        out / "report.html",
        title="saree-vae quickstart",
        run_path=loaded.path,
        results=results,
        regions=by_regions,
        pictures=pictures,
        next_steps=steps,
        notes=_notes(dataset, indexed),
    )
    console.print(f"\nopen {out / 'report.html'}, then try:", style="bold")
    for what, command in steps:
        console.print(f"  # {what}\n  {command}")


def _rendered(folder: Path) -> Path:
    if not (folder / "manifest.csv").exists():
        with bar("drawing sarees") as step:
            loom.render(folder, PICTURES, seed=0, progress=step)
    return folder


def _trained(dataset: data.DataSet, folder: Path, name: str) -> checkpoint.Run:
    """Photographs begin where the loom ended; drawn sarees, which it knows, begin anew with smaller networks."""
    start = None if name == DRAWN else checkpoint.load(BEGINNING, "cpu")
    count = max(1, len(dataset.of("train")))
    epochs = min(max(round(SEEN[name] / count), FEWEST), MOST[name])
    batch = min(config.load(name).train.batch_size, max(8, count // 4))  # a few steps an epoch, at least
    settings = config.load(name, [f"train.epochs={epochs}", f"train.batch_size={batch}"])
    with training_bar() as (opening, watch, tell):
        told = {"opening": opening, "watch": watch, "tell": tell}
        train.train(settings, dataset, folder, start=start, resume=folder.exists(), **told)
    return checkpoint.load(folder)


def _head(run: checkpoint.Run, dataset: data.DataSet, folder: Path, console: Console) -> bool:
    """A head that names craft clusters, if the labels are names of some; whether there is one."""
    if not any(item.cluster for item in dataset.items):
        return False
    try:
        with task_bar() as progress:
            crafts.write(run, dataset, folder, knowledge.graph(None), skip_unknown=True, progress=progress)
    except SareeError as error:
        console.print(f"no head that names craft clusters: {error}")
        return False
    return True


def _pictures(run: checkpoint.Run, dataset: data.DataSet, catalogue: Path) -> dict[str, tuple[str, str, bytes]]:
    """Sections of the report, as (title, caption, PNG): search sheets by half, what the decoder draws, the views."""
    asking = _spread(dataset.of("test") or dataset.of("val") or dataset.items, 8)
    size = run.config.model.image_size
    pictures = data.load(asking, run.read_size)
    clean = shrunk(pictures.images, size)
    sections = {
        f"search_{half}": (title, caption, _png(_search_sheet(run, pictures.items[:QUERIES], catalogue, weights)))
        for half, (title, caption, weights) in HALVES.items()
    }
    grids = {
        "drawn": (
            "What the decoder draws",
            "From the top: pictures that the model never trained on; their reconstructions; the same motifs in the "
            "colours of the next picture to the right.",
            _drawn(run, clean),
        ),
        "training_views": (
            "Views that teach",
            "From the top: a crop, a phone photo, recoloured, tiles shuffled.",
            _training_views(pictures.images, size),
        ),
        "evaluation_views": (
            "Views that measure",
            "From the top: a phone photo, recoloured, tiles shuffled; each must find its own clean picture.",
            _evaluation_views(pictures.images, size),
        ),
    }
    for name, (title, caption, rows) in grids.items():
        sections[name] = (title, caption, _png(sheets.grid(rows, len(clean))))
    return sections


def _search_sheet(run: checkpoint.Run, items: tuple[data.Item, ...], folder: Path, weights: tuple[float, float]):
    """One row a query: the query framed, then the five pieces found first, itself left out."""
    rows = []
    with indexing.open_catalogue(folder)[0] as catalogue:
        for item in items:
            asked = query.of_pictures(run, [item.path], catalogue.crops)
            how = {"motif": weights[0], "colour": weights[1], "pictures": asked.pictures, "exclude": [item.key]}
            hits = catalogue.search_one(asked.embeddings, asked.boxes, 5, **how)
            row = [sheets.Tile(catalogue.thumbnail(item.key), item.cluster or Path(item.key).name, "query", frame=True)]
            for hit in hits:
                cosines = f"motif {hit.motif:.2f} · colour {hit.colour:.2f}"
                row.append(sheets.Tile(catalogue.thumbnail(hit.key), hit.cluster or Path(hit.key).name, cosines))
            rows.append(row)
    return sheets.contact_sheet(rows, side=160)


def _drawn(run: checkpoint.Run, clean: np.ndarray) -> np.ndarray:
    latents = encode(run, clean)
    exchanged = np.concatenate([latents.motif, np.roll(latents.colour, -1, axis=0)], 1)
    return np.concatenate([clean, decode(run, latents.mu), decode(run, exchanged)])


def _training_views(pictures: np.ndarray, size: int) -> np.ndarray:
    made = [views.training_views(picture, size, index=i, epoch=0) for i, picture in enumerate(pictures)]
    return np.stack([some[name] for name in ("clean", *views.NAMES) for some in made])


def _evaluation_views(pictures: np.ndarray, size: int) -> np.ndarray:
    pairs = [(name, i) for name in views.NAMES for i in range(len(pictures))]
    return np.stack([views.evaluation_view(name, pictures[i], size, index=i) for name, i in pairs])


def _spread(items: tuple[data.Item, ...], count: int) -> list[data.Item]:
    """`count` items, one a cluster as far as they go."""
    seen: dict[str | None, int] = {}
    turn = []
    for place, item in enumerate(items):
        seen[item.cluster] = seen.get(item.cluster, 0) + 1
        turn.append((seen[item.cluster], place, item))
    return [item for _, _, item in sorted(turn, key=lambda t: t[:2])[:count]]


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _notes(dataset: data.DataSet, indexed: indexing.Indexed) -> list[str]:
    notes = []
    if indexed.bad:
        bad = f"{len(indexed.bad)} of {len(dataset.items) + len(dataset.bad)} pictures"
        notes.append(f"Left out, as they cannot be read: {bad}; `saree-vae check` names them.")
    if len(dataset.items) < 200:
        notes.append(f"Only {len(dataset.items)} pictures: the figures below have wide intervals, read those first.")
    return notes


def _next_steps(where: Path, out: Path, dataset: data.DataSet, named: bool) -> list[tuple[str, str]]:
    picture = (dataset.of("test") or dataset.items)[0].path
    head = ["--head", out / "head"] if named else []
    steps = {
        "look rather than type": ("app", "--catalogue", out / "catalogue", *head),
        "the same design in other colours": (
            "search",
            out / "catalogue",
            picture,
            "--colour",
            0,
            "--sheet",
            "found.png",
        ),
        "look the data set over": ("check", where),
        "a better model, in an hour or more": (
            "train",
            "--from",
            BEGINNING,
            "--config",
            "textiles",
            "--data",
            where,
            "--out",
            "runs/textiles",
        ),
    }
    if named:
        steps = {"which craft it comes from, and why": ("predict", out / "head", "--why", picture)} | steps
    # As it was called: without an activated environment the bare name is not found.
    me = sys.argv[0] if Path(sys.argv[0]).name == "saree-vae" else "saree-vae"
    return [(what, shlex.join([me, *map(str, words)])) for what, words in steps.items()]
