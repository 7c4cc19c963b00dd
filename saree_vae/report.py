"""The report of a run: one HTML file that needs nothing from outside itself, for people."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from .errors import SareeError
from .files import atomic_write

Picture = tuple[
    str, str, bytes
]  # title, caption (also read aloud in place of the picture), PNG, JPEG, WebP or GIF file

TASKS = {
    "retrieval": "Pictures of the same class",
    "views": "Finding itself again",
    "items": "Another photograph of the same piece",
    "exchange": "Exchanging colours",
    "leakage": "Whether the motif half knows colours",
    "likelihood": "Likelihood",
}
# What the first screen shows: task, part, which of our rows, and the question in plain words.
HEADLINES = (
    ("retrieval", "", "motif and colour", "Is the first hit of the same class?"),
    ("views", "phone_photo", "motif and colour", "Does a phone photo find its piece first?"),
    ("views", "recoloured", "motif", "Does a design find itself in other colours?"),
    ("views", "shuffled", "colour", "Does a palette find itself in another design?"),
    ("items", "all", "motif and colour", "Does a photograph find another of the same piece first?"),
)
CURVES = {
    "loss": "Loss",
    "reconstruct": "Negative ELBO, nats per value",
    "swap": "Swap reconstruction, nats per value",
    "contrast_motif": "Contrast of motif, nats",
    "contrast_colour": "Contrast of colour, nats",
    "labels": "Contrast of labelled clusters, nats",
    "recon": "Reconstruction term, nats",
    "kl": "KL, nats",
    "kl_motif": "KL of motif, nats",
    "kl_colour": "KL of colour, nats",
    "val_elbo": "ELBO of val pictures, nats",
    "val_phone_photo": "Phone photos found first, val",
    "val_recoloured": "Recoloured designs found first, val",
    "val_shuffled": "Palettes found first, val",
    "active_motif": "Active units of motif",
    "active_colour": "Active units of colour",
    "images_per_s": "Pictures a second",
}
CHART = (300.0, 96.0)  # width and height of a curve, in SVG units
SIGNATURES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp", b"GIF8": "gif"}


def write_report(
    path: str | Path,
    *,
    title: str,
    run_path: str | Path,
    results: dict,
    regions: bool = False,
    pictures: Mapping[str, Picture] | None = None,
    next_steps: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
) -> Path:
    """Write a self-contained report.html; gives its path.

    Args:
        run_path: the run folder; its metrics.jsonl is drawn, if it is there.
        results: as `evaluate.evaluate` gives them.
        regions: the first screen is of a catalogue with regions, not of whole pictures.
        pictures: sections in their order, by a name for the link to them.
        next_steps: what to try, each as (what it does, command).
        notes: sentences that a reader should see first, such as a warning.

    Raises:
        SareeError: a picture is of no known format, or the file cannot be written.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"number": number, "count": "{:,}".format, "prose": _prose}
    html = environment.get_template("report.html.j2").render(
        title=title,
        results=results,
        tasks=[table(name, task) for name, task in results["tasks"].items()],
        headlines=headlines(results["tasks"], regions=regions),
        pictures=[_picture(name, *picture) for name, picture in (pictures or {}).items()],
        curves=[_curve(*curve) for curve in curves(run_path)],
        chart=CHART,
        next_steps=next_steps,
        notes=notes,
    )
    path = Path(path)
    with atomic_write(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path


def headlines(tasks: dict, *, regions: bool = False) -> list[dict]:
    """R@1 of the row that answers each question, beside the best baseline of the same part, none of them by kin."""
    lines = []
    for task, part, name, question in HEADLINES:
        rows = [row for row in tasks.get(task, {}).get("rows", ()) if row["part"] == part]
        # As a search of such a catalogue is, where it was measured.
        ways = (f"{name}, by regions, verified", f"{name}, by regions") if regions else (name,)
        ours = next((row for way in ways for row in rows if row["ours"] and row["name"] == way), None)
        others = [row for row in rows if not row["ours"] and not row["name"].endswith("by kin")]
        if ours is None:
            continue
        best = max(others, key=lambda row: row["figures"]["R@1"]["value"], default=None)
        marks = [{"name": ours["name"], "ours": True, "figure": ours["figures"]["R@1"]}]
        if best is not None:
            marks.append({"name": best["name"], "ours": False, "figure": best["figures"]["R@1"]})
        lines.append({"question": question, "task": task, "marks": marks})
    return lines


def table(name: str, task: dict) -> dict:
    """A task with its rows gathered by part."""
    rows = task.get("rows", [])
    return {
        "name": name,
        "title": TASKS.get(name, name),
        "skipped": task.get("skipped"),
        "about": task.get("about", ""),
        "queries": task.get("queries"),
        "gallery": task.get("gallery"),
        "notes": task.get("notes", []),
        "columns": list(rows[0]["figures"]) if rows else [],
        "parts": [(part, list(some)) for part, some in groupby(rows, key=lambda row: row["part"])],
    }


def _picture(name: str, title: str, caption: str, file: bytes) -> dict:
    kind = next((kind for signature, kind in SIGNATURES.items() if file.startswith(signature)), None)
    if kind is None:
        raise SareeError(f"picture '{name}' of the report is no PNG, JPEG, WebP or GIF (it begins with {file[:8]!r})")
    address = f"data:image/{kind};base64,{base64.b64encode(file).decode()}"
    return {"name": name, "title": title, "caption": caption, "address": address}


def _rows(path: Path) -> list[dict]:
    """The lines of metrics.jsonl; a last line cut off by a killed process is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return [row for row in rows if isinstance(row, dict)]


def curves(run: str | Path) -> list[tuple[str, list[tuple[float, float]]]]:
    """What two epochs or more of a run have told: titles and points (epoch, value), known quantities first."""
    rows = _rows(Path(run) / "metrics.jsonl")
    told = dict.fromkeys(key for row in rows for key in row)
    names = [key for key in CURVES if key in told] + [key for key in told if key not in (*CURVES, "epoch", "step")]
    found = []
    for name in names:
        points = [(row.get("epoch", i + 1), row[name]) for i, row in enumerate(rows) if _is_number(row.get(name))]
        if len(points) > 1:
            found.append((CURVES.get(name, name.replace("_", " ")), points))
    return found


def _curve(title: str, points: list[tuple[float, float]]) -> dict:
    """Points (epoch, value) placed in the chart, with what its axes say."""
    (width, height), (epochs, values) = CHART, zip(*points, strict=True)
    low, high = min(values), max(values)
    first, wide, tall = epochs[0], (epochs[-1] - epochs[0]) or 1, (high - low) or 1
    middle = height / 2 if high == low else height  # a flat line lies in the middle
    placed = [((e - first) / wide * width, middle - (v - low) / tall * height) for e, v in points]
    return {
        "title": title,
        "line": " ".join(f"{x:.1f},{y:.1f}" for x, y in placed),
        "end": placed[-1],
        "low": low,
        "high": high,
        "first": epochs[0],
        "last": epochs[-1],
        "value": values[-1],
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _prose(text: str) -> str:
    """Text that is no markup, with what stands between backticks set as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def number(value: float | None, *, whole: bool = False) -> str:
    """A figure as people read it."""
    if value is None:
        return "–"
    if whole or isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.{3 if abs(value) < 10 else 1}f}".replace("-", "−")
