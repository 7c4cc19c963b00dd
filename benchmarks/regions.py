"""What regions cost and what they find: recall of second photographs beside vectors, bytes and time an item.

    PYTHONPATH=. python benchmarks/regions.py RUN --data textiles/manifest.csv --json benchmarks/results/regions.json

Every test picture with a second photograph asks among all pictures, as `latents.match` compares them. All pictures are
encoded once with the most regions; fewer regions are the first of those. `8 bits` rounds every stored number to one of
256 steps of its dimension, as faiss' QT_8bit does; `whole then regions` matches regions of only the 200 items that the
whole pictures find.
"""

from __future__ import annotations

import itertools
import time

import faiss
import numpy as np
import study

from saree_vae import checkpoint, data, metrics
from saree_vae.encoding import encode_items
from saree_vae.latents import WEIGHTS, Latents, match

CROPS = (0, 4, 12, 24)
SHORT = 200
HALVES = {"motif": (1, 0), "colour": (0, 1), "both": tuple(WEIGHTS.values()), "quarter motif": (0.2, 0.8)}  # weights
ABOUT = ("crops", "way", "vectors", "bytes", "queries_a_second")
SHOPS = ("lstearns86", "sareez")
SIZES = {"regions": 4, "8 bits": 1}  # bytes of a stored number


def main() -> None:
    parser = study.parser(__doc__)
    parser.add_argument("run", help="a run trained on the photographs")
    options = parser.parse_args()
    run, dataset = checkpoint.load(options.run), data.read_data(options.data)
    started = time.perf_counter()
    latents, _ = encode_items(run, dataset.items, crops=max(CROPS), progress=_told)
    encoding = (time.perf_counter() - started) / len(latents)
    rows = [row for crops in CROPS for row in measured(latents, dataset, crops)]
    report = {
        "pictures": len(dataset.items),
        "threads": faiss.omp_get_max_threads(),
        "encode_ms_a_vector": 1000 * encoding,
        "rows": rows,
    }
    study.tell(report, markdown, options.json)


def measured(latents: Latents, dataset: data.DataSet, crops: int) -> list[dict]:
    """Rows of the table for this many small regions at most."""
    kept = _first(latents, crops)
    stored, keys = latents.embedding()[kept], np.array(latents.keys)[kept]
    items = {item.key: item for item in dataset.items}
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    owners = [items[key] for key in keys[starts]]
    names = [item.item_id for item in owners]
    shared = {n for n in names if n and names.count(n) > 1}
    asking = [i for i, item in enumerate(owners) if item.split == "test" and item.item_id in shared]
    half = latents.motif_dim
    rows = []
    for way in ("regions", "8 bits", "whole then regions") if crops else ("regions", "8 bits"):
        gallery = _eight_bits(stored) if way == "8 bits" else stored
        row = {
            "crops": crops,
            "way": way,
            "vectors": len(stored) / len(owners),
            "bytes": SIZES.get(way, 4) * stored.size / len(owners),
        }
        for part, (motif, colour) in HALVES.items():
            shares = np.repeat([motif, colour], [half, stored.shape[1] - half]).astype(np.float32)
            query = stored * shares
            began = time.perf_counter()
            scores = np.stack([_scores(query, gallery, starts, i, way) for i in asking])
            row["queries_a_second"] = len(asking) / (time.perf_counter() - began)
            for shop in sorted({names[i].partition(":")[0] for i in asking if ":" in names[i]}):
                some = [place for place, i in enumerate(asking) if names[i].startswith(f"{shop}:")]
                found = metrics.same_item_by_scores(scores[some], names, np.array(asking)[some])
                row[f"{shop} {part}"] = float(found.recall[1].mean())
        rows.append(row)
    return rows


def _scores(query: np.ndarray, stored: np.ndarray, starts: np.ndarray, which: int, way: str) -> np.ndarray:
    """Item `which` against all items, (N,)."""
    ends = np.r_[starts[1:], len(stored)]
    own = query[starts[which] : ends[which]]
    if way != "whole then regions":
        return match(own @ stored.T, starts, wholes=[0])
    whole = stored[starts] @ own[0]
    scores = whole - 10.0  # behind all that are matched
    best = np.argpartition(-whole, min(SHORT, len(whole) - 1))[:SHORT]
    rows = np.concatenate([np.arange(starts[i], ends[i]) for i in best])
    lengths = (ends - starts)[best]
    scores[best] = match(own @ stored[rows].T, np.r_[0, np.cumsum(lengths)[:-1]], wholes=[0])
    return scores


def _first(latents: Latents, crops: int) -> np.ndarray:
    """Rows that `regions.find` would have given with so many small regions at most."""
    kept = []
    for start, end in itertools.pairwise([*latents.starts, len(latents)]):
        sides = latents.boxes[start:end, 2] - latents.boxes[start:end, 0]
        large = sides > 0.75 * sides[1:].max(initial=0)  # the small ones are half as wide
        large[0] = True
        places = np.arange(start, end)
        kept.append(places[:1] if not crops else np.r_[places[large], places[~large][:crops]])
    return np.concatenate(kept)


def _eight_bits(rows: np.ndarray) -> np.ndarray:
    low, high = rows.min(0), rows.max(0)
    step = np.maximum(high - low, 1e-9) / 255
    return (np.round((rows - low) / step) * step + low).astype(np.float32)


def markdown(report: dict) -> str:
    """The rows; where there are many shops, of the two with real second photographs."""
    columns = list(report["rows"][0])
    columns = [c for c in columns if c in ABOUT or c.startswith(SHOPS)] if len(columns) > 15 else columns
    about = (
        f"{report['pictures']:,} pictures, {report['threads']} threads. Vectors and bytes are those of an item, the "
    )
    about += "rest R@1 of second photographs by shop and half."
    lines = [about, "", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for row in report["rows"]:
        lines.append("| " + " | ".join(f"{row[c]:,.3f}" if c not in ABOUT else _short(row[c]) for c in columns) + " |")
    return "\n".join(lines)


def _short(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _told(done: int, total: int) -> None:
    if done % 500 == 0:
        study.say(f"encoded {done} of {total}")


if __name__ == "__main__":
    study.run(main)
