"""What was measured, for people: tables in Markdown, and the model card of a run.

model_card.write(run, dataset, evaluate.evaluate(run, dataset, ("all",)))
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL.Image import Image

from . import sheets
from .checkpoint import Run
from .data import DataSet
from .files import atomic_write
from .images import read_square

LABELS = {
    False: "labels are used to measure only, never to train",
    True: "the labels of the train split were used in training (objective.labels)",
}


def markdown(results: dict) -> str:
    """The tables of all tasks, in Markdown: mean and 95 % interval, the best of each part in bold."""
    return "\n".join(line for name, task in results["tasks"].items() for line in _task_lines(name, task))


def write(run: Run, dataset: DataSet, results: dict) -> Path:
    """Write `model_card.md` into the run folder, every number in it taken from `results`; gives its path.

    The surest mistakes are drawn beside it, in `failures.png`.
    """
    folder, retrieval = Path(run.path), results["tasks"].get("retrieval", {})
    if retrieval.get("failures"):
        sheets.save(_failure_sheet(retrieval["failures"], dataset), folder / "failures.png")
    sections = [
        f"# Model card: {_escape(folder.resolve().name)}\n",
        INTENDED_USE,
        "## What it is\n",
        *_provenance(run, results),
        "\n## Numbers\n",
        f"All on the test split, which training did not see; {LABELS[run.config.objective.labels]}.\n",
        markdown(results),
        *_weak_spots(retrieval),
        LIMITS,
        "## Cost to train\n",
        _cost(run),
    ]
    path = folder / "model_card.md"
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(sections) + "\n", encoding="utf-8")
    return path


INTENDED_USE = """\
## Intended use

Finding textile pictures that look alike, by motif, by colour or by both, in a catalogue encoded by this same model;
decoding mixtures of two pictures as a sketch. Not for telling where, when or by whom a cloth was made, whether it is
genuine, or what it is worth: pictures that look alike are no proof of a shared origin.
"""

LIMITS = """\
## What these numbers do not mean

* Labels are taken from the data set as they are. Where class and source are tangled (all pictures of a class from one
  shop), a model can score by recognising the shop; the table by source helps to see that. A source never seen in
  training does worse.
* An interval says how far the mean would move with other test pictures like these. It treats queries as independent, so
  near copies and series of one cloth make it too narrow, and it says nothing about another training seed.
  An interval of no width says that all queries did alike, not that the figure is certain.
* Views are made by a program: a phone photo made so is easier than a real one taken in a shop.
* The ELBO says nothing about how well a model searches, and compares only models of one likelihood and picture size.
"""


def _provenance(run: Run, results: dict) -> Iterator[str]:
    model, about = run.config.model, results["data"]
    pictures = ", ".join(f"{about['pictures'].get(split, 0):,} {split}" for split in ("train", "val", "test"))
    latents = f"{model.motif_dim} motif and {model.colour_dim} colour latents"
    learnt = ", from weights learnt elsewhere (model.pretrained)" if model.pretrained else ""
    yield f"* Encoder {model.encoder}{learnt}, {model.image_size} px, {latents}"
    yield f"* Likelihood {model.likelihood}; {run.config.train.epochs} epochs, seed {run.config.train.seed}"
    yield f"* Model fingerprint `{results['run']['fingerprint']}`"
    yield f"* Config digest `{results['run']['config_digest']}` (config.yaml beside this card)"
    if run.seen:
        yield f"* Trained on {len(run.seen):,} pictures"
    yield f"* Measured on {_escape(about['name'])}: {pictures} pictures; digest `{about['digest']}`"
    if run.config.objective.kin:
        yield "* Motifs of training pictures that an earlier model found most alike were drawn together (objective.kin)"
    if run.config.objective.items:
        yield "* Photographs of the train split that share an item_id were drawn together in training (objective.items)"
    if about["seen"]:
        yield f"* {about['seen']} pictures of the test split had been trained on, and are not measured"
    if about["variants"]:
        yield f"* {about['variants']} variants of training pictures are left out"
    if about["unreadable"]:
        yield f"* {len(about['unreadable'])} files could not be read and are left out"
    yield f"* Evaluation seed {results['seed']}; {_code()}"


def _weak_spots(task: dict) -> Iterator[str]:
    """Results by cluster and by source, worst first, and the surest mistakes; nothing if retrieval was not measured."""
    if "by_cluster" not in task:
        return
    for title, name in (("By cluster, worst first", "by_cluster"), ("By source, worst first", "by_source")):
        yield f"## {title}\n"
        yield "Motif and colour together.\n"
        yield _line([name.removeprefix("by_"), "queries", "R@1", "mAP@R", "most often taken for"])
        yield _line(["---", "---:", "---:", "---:", "---"])
        for row in task[name]:
            cells = [_cell(row["figures"][figure]) for figure in ("R@1", "mAP@R")]
            taken = f"{_escape(row['taken_for'][0])} ({row['taken_for'][1]})" if row["taken_for"] else ""
            yield _line([_escape(row["name"]), f"{row['figures']['R@1']['n']}", *cells, taken])
        yield ""
    if "failures" not in task:
        return
    yield "## Failures\n"
    if not task["failures"]:
        yield "Every first hit was of the right cluster.\n"
        return
    yield "Wrong first hits, the surest first:\n"
    yield "![Pairs of a query, framed, and its wrong first hit](failures.png)\n"
    for one in task["failures"]:
        asked, hit = (
            f"{_escape(one[a])} ({_escape(one[b] or 'no cluster')})"
            for a, b in (("query", "cluster"), ("hit", "hit_cluster"))
        )
        yield f"* {asked} found {hit}, score {one['score']:.3f}"
    yield ""


def _failure_sheet(failures: list[dict], dataset: DataSet) -> Image:
    """Pairs of a query, framed, and the wrong picture that it found; three pairs in a row."""
    paths = {item.key: item.path for item in dataset.items}
    tiles = []
    for one in failures:
        query, hit = (read_square(paths[one[which]], 200) for which in ("query", "hit"))
        tiles.append(sheets.Tile(query, one["cluster"], frame=True))
        tiles.append(sheets.Tile(hit, one["hit_cluster"] or "no cluster", f"score {one['score']:.3f}"))
    return sheets.contact_sheet([tiles[i : i + 6] for i in range(0, len(tiles), 6)], title="Wrong first hits")


def _cost(run: Run) -> str:
    """What metrics.jsonl tells about time; what it does not tell is not guessed."""
    rows = [json.loads(line) for line in _lines(run.path / "metrics.jsonl")]
    rows = [row for row in rows if row.get("images_per_s") and "step" in row]
    if not rows:
        return "Not recorded: the run folder has no metrics.jsonl that tells it."
    batch = min(run.config.train.batch_size, len(run.seen) or run.config.train.batch_size)
    speeds, steps = [row["images_per_s"] for row in rows], np.diff([0, *(row["step"] for row in rows)])
    minutes = (batch * steps / speeds).sum() / 60
    return f"{len(speeds)} epochs at {np.median(speeds):.0f} pictures a second (median): about {minutes:.1f} minutes."


def _task_lines(name: str, task: dict) -> Iterator[str]:
    yield f"### {name}\n"
    if "skipped" in task:
        yield f"{task['skipped']}\n"
        return
    gallery = f", gallery of {task['gallery']:,}" if "gallery" in task else ""
    yield f"{task['about']} {task['queries']:,} queries{gallery}; mean and 95 % bootstrap interval.\n"
    first = ["part"] if any(row["part"] for row in task["rows"]) else []
    columns = list(task["rows"][0]["figures"])
    yield _line([*first, "", *columns])
    yield _line(["---"] * (len(first) + 1) + ["---:"] * len(columns))
    for row in task["rows"]:
        label = _escape(row["name"]) + (" (meant)" if row.get("meant") else "")
        cells = (_cell(row["figures"][c]) if c in row["figures"] else "" for c in columns)
        yield _line([*(_escape(row[key]) for key in first), label, *cells])
    yield ""
    for note in task["notes"]:
        yield f"{note}\n"


def _cell(figure: dict) -> str:
    if figure["value"] is None:
        return "-"
    value = f"{figure['value']:.0f}" if figure.get("count") else _number(figure["value"])
    value = f"**{value}**" if figure.get("best") else value
    return value if figure["low"] is None else f"{value} [{_number(figure['low'])}, {_number(figure['high'])}]"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    """Text from a data set, harmless in a Markdown table."""
    text = " ".join(str(text).split())
    for mark in "\\`*|<>[]":
        text = text.replace(mark, f"\\{mark}")
    return text


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _code() -> str:
    """Which code measured: the commit of a checkout, else the version that is installed."""
    folder = Path(__file__).parent
    ours = ["git", "-C", str(folder), "ls-files", "--error-unmatch", Path(__file__).name]
    try:
        subprocess.run(ours, check=True, capture_output=True)
        head = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
        )
        return f"code of commit `{head.stdout.strip()}`"
    except (OSError, subprocess.CalledProcessError):  # no git, or the package lies in no repository of its own
        return f"saree-vae {sys.modules[__package__].__version__}"
