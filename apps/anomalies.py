"""The command `anomaly`: how strange pictures are beside a data set, why, and where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saree_vae.errors import SareeError

from .showing import (
    DataOption,
    DeviceOption,
    RunArgument,
    SeedOption,
    bar,
    console,
    print_json,
    print_text,
    run_and_data,
    task_bar,
    tell_bad,
)

# Everything heavy is imported inside the commands: `--help` must answer at once.
if TYPE_CHECKING:
    import numpy as np

    from saree_vae.anomaly import AnomalyScorer, Strangeness
    from saree_vae.checkpoint import Run
    from saree_vae.data import Bad, DataSet, Item
    from saree_vae.sheets import Tile

DRAWN = 24  # pictures on a sheet, the strangest
COLUMNS = 4  # pictures, each with its heat map, in a row of it
SIDE = 256  # pixels of a picture as it is drawn
FALSE_ALARMS = 0.05  # share of usual pictures that may be called strange


def anomaly(
    run: RunArgument,
    data: DataOption,
    pictures: Annotated[
        list[Path] | None, typer.Argument(metavar="[IMAGE...]", help="Without any, the data set's own are judged.")
    ] = None,
    false_alarms: Annotated[
        float, typer.Option(help="Share of usual pictures that may be called strange.", min=0.001, max=0.5)
    ] = FALSE_ALARMS,
    k: Annotated[int, typer.Option("-k", help="How many of the data set's own to list, strangest first.", min=1)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document, of all pictures.")] = False,
    sheet: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Also draw the strangest, and where they are strange.")
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
) -> None:
    """Tell how strange pictures are: no textile at all, of a craft never seen, damaged, put together wrongly.

    The train split of D says what is usual, its val split how strange is too strange. What was learnt of D is kept in
    the run folder, so that the second call is quick.

    A catalogue's own outliers: saree-vae anomaly RUN --data D --sheet outliers.png
    """
    from saree_vae.anomaly import AnomalyScorer, outliers

    loaded, dataset = run_and_data(run, data, device)
    tell_bad(dataset.bad)
    with task_bar() as progress:
        if pictures:
            scorer = AnomalyScorer.of(loaded, dataset, seed=seed, progress=progress)
            found, bad = judged(loaded, scorer, items_of(pictures))
        else:
            found, scorer, bad = outliers(loaded, dataset, seed=seed, progress=progress)
    tell_bad(bad)
    limit = scorer.limit(false_alarms)
    for note in notes(scorer, false_alarms):
        console().print(note)
    if sheet:
        paths = {str(path): path for path in pictures or ()} or {item.key: item.path for item in dataset.items}
        draw(loaded, scorer, found, paths, limit, sheet)
    if as_json:
        print_json(document(run, dataset, scorer, found, bad, false_alarms))
    else:
        print_found(scorer, found, limit, len(found.keys) if pictures else k)
    if sheet:
        console().print(f"drawn in {sheet}")
    if bad and pictures:
        raise typer.Exit(1)


def strangers(folder: Path | None) -> tuple[Item, ...]:
    """Pictures that show something else; none without a folder."""
    from saree_vae.data import read_data

    return read_data(folder).items if folder else ()


def measured(
    run: Run, dataset: DataSet, strange: Sequence[Item], *, seed: int, progress: Callable[[str, int, int], None]
) -> dict:
    """The task 'anomaly' of `evaluate`."""
    from saree_vae.detection import measured as measure

    return measure(run, dataset, strange, seed=seed, progress=progress)


def outlying(run: Path, data: Path) -> list[dict]:
    """Pictures of a data set that are strange to a model, strangest first, and why."""
    from saree_vae.anomaly import outliers

    loaded, dataset = run_and_data(run, data, "auto")
    with task_bar() as progress:
        found, scorer, _ = outliers(loaded, dataset, progress=progress)
    for note in notes(scorer, FALSE_ALARMS):
        console().print(note)
    strange = (i for i in range(len(found.keys)) if found.score[i] > scorer.limit(FALSE_ALARMS))
    return [{"key": found.keys[i], "score": float(found.score[i]), "why": found.words(i)} for i in strange]


def items_of(pictures: Sequence[Path]) -> list[Item]:
    from saree_vae.data import Item

    return [Item(str(path), path) for path in dict.fromkeys(pictures)]


def judged(run: Run, scorer: AnomalyScorer, items: Sequence[Item]) -> tuple[Strangeness, list[Bad]]:
    """Pictures of files, strangest first, and what could not be read.

    Raises:
        SareeError: nothing could be read.
    """
    from saree_vae.anomaly import joined
    from saree_vae.data import batches
    from saree_vae.encoding import BATCH

    bad: list[Bad] = []
    with bar("judging") as step:
        parts = []
        for some, images in batches(items, run.read_size, BATCH, bad=bad):
            parts.append(scorer.score(images, [item.key for item in some]))
            step(sum(len(part.keys) for part in parts), len(items))
    if not parts:
        raise SareeError(f"{bad[0].key}: {bad[0].reason}")
    return joined(parts), bad


def notes(scorer: AnomalyScorer, false_alarms: float) -> list[str]:
    """What a reader must know before believing a figure."""
    told, promised = list(scorer.notes), scorer.promised(false_alarms)
    if promised > false_alarms:
        told.append(
            f"Only {scorer.calibrated_on} pictures to set the threshold on: what is stranger than all of them is "
            f"called strange, and so are up to {promised:.0%} of usual pictures; {false_alarms:.0%} cannot be promised."
        )
    return told


def document(
    run: Path,
    dataset: DataSet,
    scorer: AnomalyScorer,
    found: Strangeness,
    bad: Sequence[Bad],
    false_alarms: float,
) -> dict:
    limit = scorer.limit(false_alarms)
    return {
        "run": str(run),
        "data": str(dataset.root),
        "false_alarms": scorer.promised(false_alarms),
        "limit": limit,
        "calibrated_on": scorer.calibrated_on,
        "notes": notes(scorer, false_alarms),
        "pictures": [
            {
                "key": key,
                "score": float(found.score[i]),
                "strange": bool(found.score[i] > limit),
                "beyond": float(found.beyond[i]),
                "parts": {name: float(part[i]) for name, part in found.parts.items()},
                "why": list(found.reasons[i]),
            }
            for i, key in enumerate(found.keys)
        ],
        "unreadable": [{"key": one.key, "reason": one.reason} for one in bad],
    }


def print_found(scorer: AnomalyScorer, found: Strangeness, limit: float, count: int) -> None:
    for i, key in enumerate(found.keys[:count]):
        called = "strange" if found.score[i] > limit else "usual"
        why = f" ({found.words(i)})" if found.reasons[i] else ""
        print_text(f"{found.score[i]:6.1f}  {called:7}  stranger than {found.beyond[i]:4.0%}  {key}{why}")
    strange = int((found.score > limit).sum())
    console().print(
        f"{strange} of {len(found.keys)} {'is' if strange == 1 else 'are'} strange, from {limit:.1f} on; "
        f"'stranger than' is of the {scorer.calibrated_on} pictures that this was set on"
    )


def draw(
    run: Run,
    scorer: AnomalyScorer,
    found: Strangeness,
    paths: dict[str, Path],
    limit: float,
    sheet: Path,
) -> None:
    """The strangest pictures, each beside its heat map; a run whose encoder keeps no maps has none."""
    from saree_vae import sheets
    from saree_vae.images import read_square

    tiles: list[Tile] = []
    for i, key in enumerate(found.keys[:DRAWN]):
        large = read_square(paths[key], SIDE)
        told = f"stranger than {found.beyond[i]:.0%}"
        sub = "\n".join((told, *(found.words(i).split("; ") if found.reasons[i] else ())))
        tiles.append(sheets.Tile(large, Path(key).name, sub, frame=bool(found.score[i] > limit)))
        if scorer.tells_where:
            heat = scorer.heat_maps(read_square(paths[key], run.read_size)[None])[0]
            tiles.append(sheets.Tile(glowing(large, heat)))
    row = COLUMNS * (1 + scorer.tells_where)
    rows = [tiles[start : start + row] for start in range(0, len(tiles), row)]
    title = "Strangest first; framed: strange; glowing: where"
    sheets.save(sheets.contact_sheet(rows, title=title), sheet)


def glowing(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 in pale grey, glowing where heat (G, G) in [0, 1] is high."""
    import cv2
    import numpy as np

    large = cv2.resize(np.float32(heat), picture.shape[1::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1)[..., None]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None] * 0.6 + 90
    glow = cv2.cvtColor(cv2.applyColorMap(np.uint8(255 * large), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    return np.uint8(grey + large**0.7 * 0.85 * (glow - grey))
