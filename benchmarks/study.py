"""What every study does alike: options, runs of our network with other settings, figures that are kept and told."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from saree_vae import checkpoint, config, train
from saree_vae.checkpoint import Run
from saree_vae.data import DataSet
from saree_vae.errors import SareeError
from saree_vae.files import atomic_write


def parser(about: str, work: str = "") -> argparse.ArgumentParser:
    """--data and --json; with `work`, the folder of the runs it trains, also --config, --from, --epochs and --work."""
    made = argparse.ArgumentParser(description=about.splitlines()[0])
    made.add_argument("--data", required=True, help="photographs with a test split")
    made.add_argument("--json", help="also write the figures here")
    if work:
        made.add_argument("--config", default="textiles")
        made.add_argument("--from", dest="start", metavar="RUN", help="everything of ours begins with its weights")
        made.add_argument("--epochs", type=int, help="of everything that learns; as the config says, if not given")
        made.add_argument("--work", default=work, help="folder of what was trained, used again if it is there")
    return made


def trained(
    name: str, options: argparse.Namespace, dataset: DataSet, *changes: str, seed: int = 0, within: str = ""
) -> Run:
    """The run `name` with these changed settings: gone on with if it was begun, only loaded if it is complete.

    Args:
        options: of `parser`; its epochs count.
        within: a folder inside --work.
    """
    epochs = [] if options.epochs is None else [f"train.epochs={options.epochs}"]
    settings = config.load(options.config, [f"train.seed={seed}", *epochs, *changes])
    folder = Path(options.work) / within / name.replace(" ", "_").replace("/", "_")

    def watch(progress: train.Progress) -> None:
        if progress.row:
            say(f"{folder}: epoch {progress.epoch}, {progress.row['images_per_s']:.0f} pictures a second")

    start = checkpoint.load(options.start, "cpu") if options.start else None
    train.train(settings, dataset, folder, start=start, resume=True, watch=watch, tell=say)
    return checkpoint.load(folder, settings.train.device)


def tell(report: dict, markdown: Callable[[dict], str], file: str | None) -> None:
    """Keep the report in a file, if one is named, and print it."""
    if file:
        with atomic_write(file) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(markdown(report))


def speed(run: str | Path) -> float:
    """Pictures a second while training, the median of its epochs."""
    rows = (Path(run) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return statistics.median(json.loads(row)["images_per_s"] for row in rows)


def cell(figure: dict, digits: int = 3) -> str:
    """The value and its interval, if it has one."""
    value = f"{figure['value']:,.{digits}f}"
    return value if figure["low"] is None else f"{value} [{figure['low']:,.{digits}f}, {figure['high']:,.{digits}f}]"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: names on the left, numbers to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def say(text: str) -> None:
    """Progress, away from the table."""
    print(text, file=sys.stderr, flush=True)


def run(main: Callable[[], None]) -> None:
    """Call it, and end with one sentence where something is wrong."""
    try:
        main()
    except SareeError as error:
        sys.exit(f"error: {error}")
