"""The command `interpolate`: what lies between two pieces, drawn for people who design."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from saree_vae.errors import SareeError

from .showing import DeviceOption, RunArgument, bar, console, print_json

# Everything heavy is imported inside the commands: `--help` must answer at once.
if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from saree_vae.catalogue import Catalogue, Hit
    from saree_vae.checkpoint import Run
    from saree_vae.interpolate import Path as Way
    from saree_vae.where import Where

LARGEST = 512  # pixels: the side of a frame, if the photographs are as large
WIDEST = 320  # pixels: of a frame on a sheet
SHEETS, FILMS = (".png", ".jpg", ".jpeg"), (".gif", ".webp", ".mp4")
HELD, MOVED = 800, 120  # milliseconds that a film shows its ends, and each step between
CROOKED = 1.05  # a picture whose sides differ by more than this loses what is worth a word


def interpolate(
    run: RunArgument,
    pictures: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE...", help="Two for a strip, up to four for a square; one for --plus or --dim."),
    ],
    along: Annotated[str, typer.Option(help="What changes: motif (the design), colour or both.")] = "both",
    steps: Annotated[int, typer.Option(help="Pictures of a strip, or of a side of a square.")] = 7,
    way: Annotated[
        str, typer.Option(help="straight, spherical, or geodesic: the shortest way under the decoder.")
    ] = "straight",
    grid: Annotated[
        bool, typer.Option("--grid", help="Of two pictures: rows change the design, columns the palette.")
    ] = False,
    plus: Annotated[
        str | None,
        typer.Option(metavar="EXPR", help="Move one picture towards these items of the catalogue, as in `search`,"),
    ] = None,
    minus: Annotated[
        str | None, typer.Option(metavar="EXPR", help="and away from these; if not said, from the mean of all.")
    ] = None,
    dim: Annotated[
        str | None,
        typer.Option(metavar="HALF:N", help="Change one number of one picture's latent, such as motif:3 or colour:0."),
    ] = None,
    catalogue: Annotated[
        Path | None,
        typer.Option(
            "--catalogue", "-c", metavar="CAT", help="Of this model: show the real piece nearest to each step."
        ),
    ] = None,
    detail: Annotated[
        bool, typer.Option("--detail/--no-detail", help="Keep the threads of the photographs, or draw without them.")
    ] = True,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A strip or square as .png or .jpg; a film as .gif, .webp or .mp4."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document, latents and all.")] = False,
    device: DeviceOption = "auto",
) -> None:
    """Draw what lies between two pieces: their designs, their colours, or both.

    The ends are the photographs themselves, and colours change without losing a thread; with --no-detail all is as the
    decoder draws it. The model sees the middle square of each picture.

    \b
    saree-vae interpolate RUN a.jpg b.jpg --along colour --steps 9 --out strip.png
    saree-vae interpolate RUN a.jpg b.jpg --grid --out grid.png
    saree-vae interpolate RUN a.jpg b.jpg --steps 48 --out film.mp4
    saree-vae interpolate RUN a.jpg --plus "cluster == 'ikat'" --catalogue CAT --out more_ikat.png
    """
    from saree_vae import checkpoint, sheets
    from saree_vae.catalogue import Catalogue

    _check(pictures, along, way, grid, plus, minus, dim, catalogue, out, as_json)
    loaded = checkpoint.load(run, device)
    with ExitStack() as stack:
        opened = stack.enter_context(Catalogue.open(catalogue)) if catalogue else None
        if opened:
            opened.require(loaded.fingerprint)
        squares = _squares(pictures, loaded.config.model.image_size)
        _warn_of_strange(loaded, pictures, squares)
        told = {"steps": steps, "detail": detail, "progress": stack.enter_context(bar("drawing"))}
        if dim:
            found = _traversed(loaded, squares[0], dim, opened, told)
        elif plus:
            found = _moved(loaded, squares[0], opened, plus, minus, told | {"along": along})
        else:
            found = _between(loaded, squares, told | {"along": along, "way": way, "grid": grid})
        nearest = _nearest(opened, found, pictures) if opened else []
        if out and out.suffix.lower() in FILMS:
            _draw_film(out, found.frames)
        elif out:
            title = " · ".join([*(path.name for path in pictures), plus or dim or f"{along} · {way}"])
            thumbnails = [(hit, opened.thumbnail(hit.key)) for hit in nearest]
            sheets.save(sheet(found, [path.name for path in pictures], squares, title, thumbnails), out)
    if as_json:
        print_json(_document(run, pictures, found, nearest))
    for number, end in enumerate(found.ends):
        console().print(f"{('from', 'to')[number] if len(found.ends) == 2 else 'corner'}: {_named(end, pictures)}")
    if out:
        console().print(f"drawn in {out}")


def _check(
    pictures: Sequence[Path],
    along: str,
    way: str,
    grid: bool,
    plus: str | None,
    minus: str | None,
    dim: str | None,
    catalogue: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Say at once what cannot work, before anything is computed."""
    ending = out.suffix.lower() if out else ""
    changes_one = plus or dim
    if not out and not as_json:
        raise typer.BadParameter("say --out FILE, or --json")
    if (minus and not plus) or (plus and not catalogue):
        raise typer.BadParameter("--minus goes with --plus, and --plus with --catalogue")
    if changes_one and (len(pictures) != 1 or grid or way != "straight" or (plus and dim)):
        raise typer.BadParameter("--plus or --dim changes one picture, one of the two, and takes no --grid or --way")
    if dim and along != "both":
        raise typer.BadParameter("--dim says itself which half changes; leave --along away")
    if not changes_one and not 2 <= len(pictures) <= 4:
        raise typer.BadParameter(f"pictures given: {len(pictures)}; two make a strip, three or four a square")
    if out and ending not in SHEETS + FILMS:
        raise SareeError(f"{out}: expected an ending among {', '.join(SHEETS + FILMS)}")
    if ending in FILMS and (grid or len(pictures) > 2):
        raise SareeError(f"{out}: a square makes no film; give a .png or .jpg")
    if out and out.absolute() in [picture.absolute() for picture in pictures]:
        raise SareeError(f"{out} is one of the pictures; give --out another name")


def _squares(paths: Sequence[Path], least: int) -> np.ndarray:
    """The middle squares of pictures, all as large as the smallest, (P, M, M, 3)."""
    import numpy as np

    from saree_vae import images

    read = [images.read_image(path, min_side=LARGEST) for path in paths]
    side = max(least, min(LARGEST, *(min(image.shape[:2]) for image in read)))
    for path, image in zip(paths, read, strict=True):
        height, width = image.shape[:2]
        if max(height, width) > CROOKED * min(height, width):
            console().print(f"{path}: {width} x {height}; only its middle square is seen and drawn")
    return np.stack([images.square(image, side) for image in read])


def _warn_of_strange(run: Run, pictures: Sequence[Path], squares: np.ndarray) -> None:
    """Say which pictures are none that the model knows; only once `anomaly` has learnt what is usual for this run."""
    import numpy as np

    from saree_vae.anomaly import FILE, AnomalyScorer
    from saree_vae.encoding import shrunk

    with suppress(SareeError):  # never called, or for another model: then nothing is known
        scorer = AnomalyScorer.load(run.path / FILE, run)
        found = scorer.score(shrunk(squares, run.read_size))
        for number in np.flatnonzero(found.score > scorer.limit()):
            why = f" ({found.words(number)})" if found.reasons[number] else ""
            console().print(f"{pictures[number]}: strange to this model{why}; what is drawn from it may be no cloth")


def _between(run: Run, squares: np.ndarray, asked: dict) -> Way:
    from saree_vae.interpolate import interpolate

    if any((squares[0] == other).all() for other in squares[1:]):
        console().print("the same picture is given twice: between it and itself nothing changes")
    return interpolate(run, squares, **asked)


def _moved(run: Run, square: np.ndarray, opened: Catalogue, plus: str, minus: str | None, asked: dict) -> Way:
    from saree_vae.interpolate import difference, moved

    return moved(
        run, square, difference(opened, _asked(opened, plus), _asked(opened, minus) if minus else None), **asked
    )


def _asked(opened: Catalogue, text: str) -> Where:
    from saree_vae.where import parse

    from . import knowledge

    wanted = parse(text)
    return wanted.answered(knowledge.labels_with(opened.info()["clusters"])) if wanted.asks else wanted


def _traversed(run: Run, square: np.ndarray, dim: str, opened: Catalogue | None, asked: dict) -> Way:
    from saree_vae.interpolate import traversed

    return traversed(run, square, dim, among=opened.latents()[1] if opened else None, **asked)


def _nearest(opened: Catalogue, found: Way, pictures: Sequence[Path]) -> list[Hit]:
    """The nearest real piece of each place, none of the pictures that the way is drawn from; or none at all."""
    from saree_vae.interpolate import nearest

    return nearest(opened, found.z, {hashlib.sha256(path.read_bytes()).hexdigest() for path in pictures})


# --- showing ---


def sheet(
    found: Way, names: Sequence[str], squares: np.ndarray, title: str, nearest: Sequence[tuple[Hit, bytes]]
) -> Image.Image:
    """Frames in rows; under each, where asked, the nearest real piece; beside a strip, pieces that are not its ends."""
    import numpy as np

    from saree_vae import sheets

    tiles = [sheets.Tile(frame, place) for frame, place in zip(found.frames, found.places, strict=True)]
    pieces = [
        sheets.Tile(thumbnail, hit.cluster or Path(hit.key).name, f"{Path(hit.key).name}\n{likely:,.0f} nats")
        for (hit, thumbnail), likely in zip(nearest, found.log_likelihood, strict=False)
    ]
    ends = zip(squares, (found.frames[0], found.frames[-1]), names, strict=False) if len(found.ends) == 2 else ()
    real = [sheets.Tile(own, name, frame=True) for own, end, name in ends if not np.array_equal(own, end)]
    rows, labels = [], []
    for start in range(0, len(tiles), found.columns):
        part = slice(start, start + found.columns)
        rows += [tiles[part] + real] + ([pieces[part]] if pieces else [])
        labels += [""] + (["nearest piece"] if pieces else [])
    side = min(found.frames.shape[1], WIDEST)
    return sheets.contact_sheet(rows, labels=labels if pieces else (), title=title, side=side)


def _draw_film(out: Path, frames: np.ndarray) -> None:
    """There and back again, without end; an MP4 goes there only."""
    from saree_vae.files import atomic_write

    with atomic_write(out) as temporary:
        if out.suffix.lower() == ".mp4":
            _write_mp4(temporary, out, frames)
        else:
            write_film(temporary, frames, out.suffix.lower())


def write_film(file: Path | IO[bytes], frames: np.ndarray, ending: str) -> None:
    """There and back again, without end, as .gif or .webp."""
    from PIL import Image

    order = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    first, *others = (Image.fromarray(frames[t]) for t in order)
    kind = {"format": "GIF"} if ending == ".gif" else {"format": "WEBP", "quality": 90}
    lasts = [HELD if t in (0, len(frames) - 1) else MOVED for t in order]
    first.save(file, save_all=True, append_images=others, duration=lasts, loop=0, **kind)


def _write_mp4(temporary: Path, out: Path, frames: np.ndarray) -> None:
    import cv2
    import numpy as np

    frames = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]  # the format wants even sides
    pause = round(HELD / MOVED)
    held = np.r_[np.zeros(pause, int), np.arange(1, len(frames) - 1), np.full(pause, len(frames) - 1)]
    film = cv2.VideoWriter(str(temporary), cv2.VideoWriter_fourcc(*"mp4v"), 1000 / MOVED, frames.shape[2:0:-1])
    for frame in frames[held]:
        film.write(frame[..., ::-1])
    film.release()
    written = cv2.VideoCapture(str(temporary))  # the writer says nothing of a full disk
    if int(written.get(cv2.CAP_PROP_FRAME_COUNT)) != len(held):
        raise SareeError(f"{out}: could not be written: the disk is full, or OpenCV has no MP4 encoder; take .webp")


def _named(end: str, pictures: Sequence[Path]) -> str:
    """The end of a way with the pictures' own names in it."""
    from saree_vae.interpolate import NAMES

    names = dict(zip(NAMES, (picture.name for picture in pictures), strict=False))
    told = re.sub(rf"the ({'|'.join(NAMES)})( picture)?", lambda found: names[found[1]], end)
    return told.replace("the picture", pictures[0].name, 1) if told == end else told


def _document(run: Path, pictures: Sequence[Path], found: Way, nearest: Sequence[Hit]) -> dict:
    steps = []
    for t, place in enumerate(found.places):
        moved = None if found.lengths[t] != found.lengths[t] else float(found.lengths[t])
        step = {
            "place": place,
            "weights": found.weights[t].tolist(),
            "length": moved,
            "log_likelihood": float(found.log_likelihood[t]),
            "z": found.z[t].tolist(),
        }
        steps.append(step | ({"nearest": asdict(nearest[t])} if nearest else {}))
    return {
        "run": str(run),
        "pictures": [str(picture) for picture in pictures],
        "columns": found.columns,
        "ends": [_named(end, pictures) for end in found.ends],
        "length": found.length,
        "steps": steps,
    }
