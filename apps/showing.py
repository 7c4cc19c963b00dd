"""What the commands share: options, progress bars, tables, and where people read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

# Everything heavy is imported inside the commands: `--help` must answer at once.
if TYPE_CHECKING:
    from rich.console import Console

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder, as `train` writes it; or loom, a model in the box.")
]
CatalogueArgument = Annotated[Path, typer.Argument(metavar="CAT", help="A catalogue, as `index` writes it.")]
DataOption = Annotated[Path, typer.Option("--data", "-d", metavar="D", help="A folder of images or a manifest.csv.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="Stop at the first picture that cannot be read.")]
RegionsOption = Annotated[
    bool, typer.Option("--regions", help="Also parts of each picture: squares of its cloth, with their boxes.")
]
CropsOption = Annotated[
    int | None, typer.Option(help="With --regions: small squares of a picture at most, 12 if not said.", min=1)
]
SeedOption = Annotated[int, typer.Option(help="Seed of every random choice.", min=0)]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def run_and_data(run: Path, data: Path, device: str, strict: bool = False) -> tuple:
    """A run and a data set, with the very split that the run was trained with where the set has none."""
    from saree_vae import checkpoint
    from saree_vae.data import read_data

    loaded = checkpoint.load(run, device)
    with bar("looking") as step:
        return loaded, read_data(data, seed=loaded.config.train.seed, strict=strict, progress=step)


def console() -> Console:
    """Where people read: standard error, so that standard output stays clean; of several processes only the first."""
    from rich.console import Console

    quiet = os.environ.get("RANK", "0") != "0"
    return Console(stderr=True, soft_wrap=True, highlight=False, markup=False, quiet=quiet)  # paths hold [brackets]


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error, moved by step(done, total)."""
    with task_bar() as progress:
        yield lambda done, total: progress(what, done, total)


@contextmanager
def task_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Progress bars on standard error, one for each thing that is being done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(), transient=False) as progress:
        rows: dict[str, int] = {}

        def step(what: str, done: int, total: int) -> None:
            if what not in rows:
                rows[what] = progress.add_task(what, total=total)
            progress.update(rows[what], completed=done, total=total)

        yield step


@contextmanager
def training_bar() -> Iterator[tuple[Callable[[int, int], None], Callable, Callable[[str], None]]]:
    """A bar with images a second and the time left, and a line for every epoch above it: (opening, watch, tell)."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        *(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %")),
        *(TextColumn("{task.fields[rate]:.0f} images/s"), TimeElapsedColumn(), TimeRemainingColumn()),
    )
    with Progress(*columns, console=console()) as progress:
        row = progress.add_task("reading pictures", total=None, rate=0.0)

        def opening(done: int, total: int) -> None:
            progress.update(row, completed=done, total=total)

        def watch(at) -> None:
            if at.row:
                progress.print(epoch_line(at.row))
            rate = at.row["images_per_s"] if at.row else at.images_per_s
            progress.update(
                row,
                description="trained" if at.step == at.steps else f"epoch {at.epoch + 1}",
                completed=at.step,
                total=at.steps,
                rate=rate,
            )

        yield opening, watch, progress.print


def epoch_line(row: dict) -> str:
    """One epoch in a line: what was minimised and, when measured, how often a changed picture found itself."""
    minimised = ("reconstruct", "swap", "contrast_motif", "contrast_colour", "labels", "total_correlation", "commit")
    terms = ", ".join(f"{name} {row[name]:.3f}" for name in minimised if name in row)
    line = f"epoch {row['epoch']}: {terms}; {row['images_per_s']:.0f} images/s"
    if "val_phone_photo" in row:
        views = ("phone_photo", "recoloured", "shuffled")
        found = ", ".join(f"{name} {row[f'val_{name}']:.2f}" for name in views if f"val_{name}" in row)
        active = ", ".join(f"{half} {row[f'active_{half}']}" for half in ("motif", "colour") if f"active_{half}" in row)
        line += f"\n  val R@1: {found}" + (f"; active units: {active}" if active else "")
    return line


def print_json(document: object) -> None:
    print(json.dumps(document, indent=1, ensure_ascii=False))


def tell_bad(bad) -> None:
    for one in bad:
        console().print(f"skipped {one.key}: {one.reason}")


def print_table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", show_header=any(header))
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    if table.row_count:
        Console(highlight=False, markup=False).print(table)


def print_text(text: str) -> None:
    from rich.console import Console

    Console(highlight=False, markup=False, soft_wrap=True).print(text)  # an address must not be broken


def words(name: str) -> str:
    return name.replace("_", " ")
