"""How good ways between photographs are: smooth, true to the half that stays, sharp, never turning back.

    PYTHONPATH=. python benchmarks/interpolation.py --data textiles/manifest.csv --run RUN --run LADDER \
        --json benchmarks/results/interpolation.json

Random pairs of test photographs that no run was trained on, seven frames each, beside a cross-fade of their pixels.
Every frame is shrunk and encoded again, always by the first run; "place" is its embedding (motif and colour, each of
length one).

* smooth: the steps between places, added, over the distance between the ends' places; 1 is a straight line.
* motif stays: along colour, the least cosine of a frame's motif to the first frame's; colour stays: along motif.
* colour arrives: along colour, the cosine of the last frame's colour to that of the second photograph; motif arrives:
  along motif, of its motif.
* sharp: energy of the Laplacian of the middle frame over the mean of both photographs'.
* onward: share of pairs where no step comes nearer to the start or goes further from the end.
* geodesic: length under the decoder over that of the straight way, for the first pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import study

from saree_vae import checkpoint, data, metrics
from saree_vae.checkpoint import Run
from saree_vae.encoding import encode, shrunk
from saree_vae.errors import SareeError
from saree_vae.interpolate import interpolate
from saree_vae.latents import Latents, unit

STEPS, SIDE = 7, 160
GEODESICS = 5  # pairs: each takes seconds
GOALS = {"motif stays": 0.9, "colour stays": 0.9, "sharp": 0.8}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = study.parser(__doc__)
    parser.add_argument("--run", action="append", required=True, help="a run; may be repeated: the first encodes")
    parser.add_argument("--pairs", type=int, default=100)
    options = parser.parse_args(arguments)
    runs = {Path(path).name: checkpoint.load(path) for path in options.run}
    pairs = chosen(data.read_data(options.data), list(runs.values()), options.pairs)
    first = next(iter(runs.values()))
    rows = {"cross-fade of pixels": measured(first, pairs, cross_fade)}
    for name, run in runs.items():
        for kind, detail in (("plain decodes", False), ("with detail", True)):
            study.say(f"{name}, {kind}")
            rows[f"{name}, {kind}"] = measured(first, pairs, partial(frames, run, detail))
        rows[f"{name}, with detail"]["geodesic"] = shortened(run, pairs[:GEODESICS])
    figures = {name: {what: figure(values) for what, values in row.items()} for name, row in rows.items()}
    report = {"pairs": len(pairs), "steps": STEPS, "side": SIDE, "goals": GOALS, "rows": figures}
    study.tell(report, markdown, options.json)


def chosen(dataset: data.DataSet, runs: Sequence[Run], count: int) -> np.ndarray:
    """Pairs of test photographs, (count, 2, SIDE, SIDE, 3)."""
    items = [item for item in dataset.of("test") if not any(run.trained_on(item) for run in runs)]
    some = np.random.default_rng(0).permutation(len(items))[: 2 * count]
    pictures = data.load([items[i] for i in some], SIDE).images
    if len(pictures) < 2:
        raise SareeError(f"{dataset.root}: no two test pictures that no run was trained on")
    return np.array(pictures[: len(pictures) // 2 * 2]).reshape(-1, 2, SIDE, SIDE, 3)


def frames(run: Run, detail: bool, pair: np.ndarray, along: str) -> np.ndarray:
    return interpolate(run, pair, along=along, steps=STEPS, detail=detail).frames


def cross_fade(pair: np.ndarray, along: str) -> np.ndarray | None:
    """Pixels know no halves."""
    shares = np.linspace(0, 1, STEPS)[:, None, None, None]
    return np.uint8(((1 - shares) * pair[0] + shares * pair[1]).round()) if along == "both" else None


def measured(encoder: Run, pairs: np.ndarray, draw) -> dict[str, list[float]]:
    """Figures of each pair, by name."""
    found: dict[str, list[float]] = {}
    for number, pair in enumerate(pairs, 1):
        ends, told = seen(encoder, pair), {}
        for along in ("both", "colour", "motif"):
            shown = draw(pair, along)
            if shown is None:
                continue
            at = seen(encoder, shown)
            if along == "both":
                told |= of_way(at.embedding()) | {"sharp": sharpness(pair, shown[STEPS // 2])}
            else:
                stays = "motif" if along == "colour" else "colour"
                told[f"{stays} stays"] = float(cosines(at, at, 0, stays).min())
                told[f"{along} arrives"] = float(cosines(at, ends, 1, along)[-1])
        for name, value in told.items():
            found.setdefault(name, []).append(value)
        if number % 10 == 0:
            study.say(f"  {number} of {len(pairs)} pairs")
    return found


def seen(encoder: Run, pictures: np.ndarray) -> Latents:
    return encode(encoder, shrunk(pictures, encoder.config.model.image_size))


def cosines(rows: Latents, others: Latents, which: int, half: str) -> np.ndarray:
    """Of every row's half to that of one of the others."""
    return unit(getattr(rows, half)) @ unit(getattr(others, half))[which]


def of_way(places: np.ndarray) -> dict[str, float]:
    """smooth and onward, of places (T, D)."""
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    from_start, to_end = (np.linalg.norm(places - places[end], axis=1) for end in (0, -1))
    onward = (np.diff(from_start) >= -1e-6).all() and (np.diff(to_end) <= 1e-6).all()
    return {"smooth": float(steps.sum() / max(from_start[-1], 1e-9)), "onward": float(onward)}


def sharpness(pair: np.ndarray, frame: np.ndarray) -> float:
    """Over the mean of both energies, from the ratio to each: the harmonic mean of these."""
    large = shrunk(frame[None], SIDE)
    ratios = metrics.detail_kept(pair, np.concatenate([large, large]))
    return float(2 / (1 / np.maximum(ratios, 1e-12)).sum())


def shortened(run: Run, pairs: np.ndarray) -> list[float]:
    """Lengths of geodesics over those of straight ways."""
    ways = [
        [interpolate(run, pair, steps=STEPS, way=way, detail=False).length for way in ("geodesic", "straight")]
        for pair in pairs
    ]
    return [geodesic / straight for geodesic, straight in ways]


def figure(values: list[float]) -> dict[str, float]:
    low, high = metrics.bootstrap_interval(np.array(values))
    return {"value": float(np.mean(values)), "low": low, "high": high}


def markdown(report: dict) -> str:
    names = list(dict.fromkeys(name for row in report["rows"].values() for name in row))
    lines = (
        [row, *(study.cell(told[n], 2) if n in told else "" for n in names)] for row, told in report["rows"].items()
    )
    goals = ", ".join(f"{name} {goal:g}" for name, goal in report["goals"].items())
    return (
        f"{report['pairs']} pairs, {report['steps']} frames of {report['side']} pixels; goals: {goals}\n\n"
        + study.table(["", *names], lines)
    )


if __name__ == "__main__":
    study.run(main)
