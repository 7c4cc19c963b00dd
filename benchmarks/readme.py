"""Write the README's figures and RESULTS.md from what `evaluate` and the benchmarks wrote: no number is typed.

PYTHONPATH=. python benchmarks/readme.py [--check]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from apps.cli import FURTHER
from saree_vae.latents import WEIGHTS

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
START, END = "<!-- figures: written by benchmarks/readme.py -->\n", "<!-- end of figures -->"

TEXTILES = """\
On {test:,} test photographs of craft textiles ({train:,} to train on, labels unused in training): runs that began
with the model in the box, saw the training photographs {before} times, and then {epochs} times more beside those that
they had come to hold for kin, mean of {seeds} seeds, the lowest and the highest; one whose motif encoder began with
ImageNet's weights, {pretrained} times; and the box itself, which never saw a photograph. By motif and colour, colour
counts {colour:g} of motif, as in a search that is told nothing else. Verified, the first twenty hits are looked at once
more, as `search` does: laid over the picture that asks, or by colour compared shade by shade. A blank was not measured.
Peers, ablations, regions and speed are in [benchmarks/RESULTS.md](benchmarks/RESULTS.md), every table in
[benchmarks/results](benchmarks/results), and what was tried in [benchmarks/LOG.md](benchmarks/LOG.md).

    saree-vae train --from loom --data textiles/manifest.csv --out runs/first
    saree-vae train --from runs/first --set objective.kin=true --set train.epochs={epochs} \
--data textiles/manifest.csv --out runs/textiles
    saree-vae evaluate runs/textiles --data textiles/manifest.csv --json benchmarks/results/textiles.json
    saree-vae train --from loom --config pretrained --data textiles/manifest.csv --out runs/pretrained
    saree-vae evaluate runs/pretrained --data textiles/manifest.csv --json benchmarks/results/pretrained.json
    PYTHONPATH=. python benchmarks/box.py runs/loom --data textiles/manifest.csv --json benchmarks/results/loom.json
"""

SEEDS = ("textiles", "textiles1", "textiles2")  # the same two commands, each with train.seed 0, 1, 2
SEARCHED = {"textiles": "trained on these", "pretrained": "begun with ImageNet", "loom": "in the box"}
BASELINES = ("colour histogram", "LBP", "colour histogram and LBP", "PCA of pixels")
KIN = ", by kin"  # is compared with what others find by kin
# The question in plain words; task and part; our row that is meant to answer it; the figure.
QUESTIONS = (
    ("first hit of the same class", "retrieval", "", "motif and colour", "R@1"),
    ("first hit of the same class", "retrieval", "", "motif and colour, by regions", "R@1"),
    ("first hit of the same class", "retrieval", "", "motif, by regions", "R@1"),
    ("first hit of the same class", "retrieval", "", "motif and colour, by regions, verified", "R@1"),
    ("all hits of the same class", "retrieval", "", "motif and colour", "mAP@R"),
    ("all hits of the same class", "retrieval", "", "motif and colour, by regions", "mAP@R"),
    ("all hits of the same class", "retrieval", "", "motif, by regions", "mAP@R"),
    ("first hit of the same class, by kin", "retrieval", "", "motif and colour, by regions, by kin", "R@1"),
    ("all hits of the same class, by kin", "retrieval", "", "motif and colour, by kin", "mAP@R"),
    ("all hits of the same class, by kin", "retrieval", "", "motif and colour, by regions, by kin", "mAP@R"),
    ("a phone photo finds its own picture", "views", "phone_photo", "motif and colour", "R@1"),
    ("a phone photo finds its own picture", "views", "phone_photo", "motif and colour, by regions", "R@1"),
    ("a phone photo finds its own picture", "views", "phone_photo", "motif and colour, by regions, verified", "R@1"),
    (
        "or another photograph of its piece",
        "views",
        "phone_photo",
        "motif and colour, by regions, verified",
        "piece R@1",
    ),
    ("its own picture among the first five", "views", "phone_photo", "motif and colour", "R@5"),
    ("a recoloured design finds its own picture", "views", "recoloured", "motif", "R@1"),
    ("a recoloured design finds its own picture", "views", "recoloured", "motif, by regions", "R@1"),
    ("a recoloured design finds its own picture", "views", "recoloured", "motif, by regions, verified", "R@1"),
    ("a shuffled palette finds its own picture", "views", "shuffled", "colour", "R@1"),
    ("a shuffled palette finds its own picture", "views", "shuffled", "colour, by regions", "R@1"),
    ("a shuffled palette finds its own picture", "views", "shuffled", "colour, by regions, verified", "R@1"),
    ("close-ups of one garment (lstearns86)", "items", "lstearns86", "motif", "R@1"),
    ("close-ups of one garment (lstearns86)", "items", "lstearns86", "motif, by regions", "R@1"),
    ("close-ups of one garment (lstearns86)", "items", "lstearns86", "motif, by regions, verified", "R@1"),
    ("second studio photograph (sareez)", "items", "sareez", "colour", "R@1"),
    ("second studio photograph (sareez)", "items", "sareez", "colour, by regions", "R@1"),
    ("second studio photograph (sareez)", "items", "sareez", "colour, by regions, verified", "R@1"),
    ("second studio photograph (sareez)", "items", "sareez", "motif and colour, by regions", "R@1"),
)
BEYOND = ("exchange", "leakage", "likelihood")  # tasks of which only our own rows are shown

TABLES = {  # by the script that measures, and prints, them, or that SCRIPTS names
    "peers": ("Beside other models", "--epochs {epochs} --seed {seed}"),
    "ablations": ("What each part earns", "--epochs {epochs} --seed {seed}"),
    "sources": ("A source never seen", "--from {start} --epochs {epochs} --seed {seed} --prefix {prefix}"),
    "transfer": ("The loom and the photographs", "--epochs {epochs[trained on the loom]}"),
    "cluster_head": (
        "Naming the craft",
        "{labels}--others not_textiles --seeds {count} --epochs {epochs}",
    ),
    "regions": ("What regions cost", ""),
    "verifying": ("What verification finds and costs", ""),
    "family": ("The family on photographs", "--epochs {epochs} --seed {seed}"),
    "mnist": ("The family on MNIST", "--work mnist_work"),
    "interpolation": ("What lies between", "--run runs/textiles --pairs {pairs}"),
    "augment": ("What variants are worth", "--vary both"),
    "anomaly": ("What does not belong", "--only pictures --strange not_textiles --epochs {epochs}"),
    "unseen": ("Crafts never seen", "--only unseen --from {start} --epochs {epochs} --kin {kin}"),
    "unseen_pretrained": (
        "Crafts never seen, begun with ImageNet",
        "--only unseen --config {config} --from {start} --epochs {epochs}",
    ),
    "front": ("The front end", "--catalogue shop"),
    "throughput": ("Speed", ""),
}
DATA, OTHER_DATA = "--data textiles/manifest.csv ", {"mnist": "--data mnist ", "front": ""}
SCRIPTS = {"unseen": "anomaly", "unseen_pretrained": "anomaly"}
RUNS = {  # that a script is told first
    **dict.fromkeys(("regions", "verifying", "transfer", "cluster_head", "augment", "anomaly"), "runs/textiles "),
    **dict.fromkeys(SCRIPTS, "loom "),
}
# What was measured before the motif encoder saw edges and learned by Muon says so, and is to be measured again.
EARLIER = "Measured with an earlier network, whose motif encoder saw colours, trained by AdamW"
AT_FIRST = {
    **dict.fromkeys(("ablations", "family", "throughput"), f"{EARLIER}."),
    "transfer": f"{EARLIER}; `runs/textiles` was 50 epochs of it, from nothing.",
    "regions": f"{EARLIER}; `runs/textiles` was 50 epochs of it, from nothing, and the three best pairs counted.",
    "sources": "Where both halves ask, colour counted as much as motif here.",
}
# The question in plain words; part of cluster_head.json; the figure; our row.
NAMING = (
    ("all labels, macro-F1", "all", "macro-F1"),
    ("all labels, latents learned with labels, macro-F1", "labelled", "macro-F1"),
    ("5 pictures of each, macro-F1", "few", "macro-F1"),
    ("all labels, the parent group", "all", "parent group"),
    ("the parent group, latents learned with labels", "labelled", "parent group"),
    ("never shown a picture of it, hit@1", "never_shown", "hit@1"),
    ("never shown a picture of it, hit@5", "never_shown", "hit@5"),
)
NAMERS = (
    *("head", "head without graph", "head with shuffled graph", "logistic regression", "nearest neighbours"),
    *("logistic regression, colour + LBP", "classifier with the same encoder", "class names alone"),
)
PLANE = """\
## A latent plane

    PYTHONPATH=. python benchmarks/latent_pictures.py --data mnist --work mnist_work --out benchmarks/results

configs/mnist.yaml with two latents, 40 epochs, a few minutes. What the decoder draws over the plane; where the encoder
puts test digits; and the posteriors of all training digits together, q(z), at three epochs beside the prior: the weight
of the KL rises over the first quarter of training, and q(z), far too wide at first, comes to the prior.

![The decoder's digits over the latent plane](results/latent_grid.png)
![Posterior means of the test digits, coloured by digit](results/latent_scatter.png)
![q(z) at epochs 1, 5 and 40, and the prior](results/latent_density.png)
"""
HEAD = """\
# Results

Written by `benchmarks/readme.py` from `benchmarks/results`, where more is. Every script says in its first lines how it
measures. What is drawn, leaks and is likely, of the run of the README:

"""


def figures() -> str:
    results, pretrained = _read("textiles"), _read("pretrained")
    pictures, seeds = results["data"]["pictures"], [_read(name)["tasks"] for name in SEEDS]
    head = TEXTILES.format(
        test=pictures["test"],
        train=pictures["train"],
        before=FURTHER,
        epochs=_epochs(results),
        pretrained=_epochs(pretrained),
        seeds=len(seeds),
        colour=WEIGHTS["colour"],
    )
    others = [_read(name)["tasks"] for name in list(SEARCHED)[1:]]
    return f"{head}\n{questions(seeds, *others)}\n\n{naming(_read('cluster_head'))}\n"


def tables() -> str:
    """The whole of RESULTS.md; a table that was not measured is left out."""
    parts = [HEAD + beyond(_read("textiles")["tasks"]), with_labels(_read("labels"))]
    for name, (title, options) in TABLES.items():
        if (RESULTS / f"{name}.json").exists():
            report = _read(name)
            if "seeds" in report:
                report |= {"seed": " --seed ".join(map(str, report["seeds"])), "count": len(report["seeds"])}
            script, run = SCRIPTS.get(name, name), RUNS.get(name, "")
            told = report | {"labels": "--labelled-run runs/labels " if "labelled" in report else ""}
            command = f"benchmarks/{script}.py {run}{OTHER_DATA.get(name, DATA)}{options.format_map(told)}"
            table = _at_first(name) + _script(script).markdown(report)
            parts.append(f"## {title}\n\n    PYTHONPATH=. python {command.rstrip()}\n\n{table}")
    return "\n\n".join([*parts, PLANE])


def questions(seeds: Sequence[dict], *runs: dict) -> str:
    """The tasks of each of SEARCHED beside the baselines, one row for each question; a blank where it was not asked."""
    heads = (*SEARCHED.values(), *BASELINES)
    lines = [f"| | by | {' | '.join(heads)} |", f"|---|---|{'---:|' * len(heads)}"]
    for question, task, part, name, column in QUESTIONS:
        several = [_rows(tasks[task], part, column) for tasks in seeds]
        first, others = several[0], [_rows(tasks[task], part, column) if task in tasks else {} for tasks in runs]
        beside = [f"{one}{KIN}" if name.endswith(KIN) else one for one in BASELINES]
        more = [*(rows.get(name) for rows in others), *map(first.get, beside)]
        cells = [
            _mean(rows[name]["value"] for rows in several),
            *(f"{figure['value']:.3f}" if figure else "" for figure in more),
        ]
        lines.append(f"| {question}, {column} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _rows(task: dict, part: str, column: str) -> dict[str, dict]:
    return {row["name"]: row["figures"][column] for row in task["rows"] if row["part"] == part}


def naming(report: dict) -> str:
    """The head beside others, one row for each question; mean over seeds."""
    about = (
        f"{_at_first('cluster_head')}"
        f"Naming the craft, one of {len(report['classes'])} clusters, on {report['pictures']['test']:,} of these test "
        f"photographs, mean of {len(report['seeds'])} seeds of the head (`benchmarks/cluster_head.py`):"
    )
    lines = [f"| | {' | '.join(NAMERS)} |", f"|---|{'---:|' * len(NAMERS)}"]
    for question, part, column in (row for row in NAMING if row[1] in report):
        rows = report[part].get("rows", report[part])
        cells = [f"{rows[name][column]['mean']:.3f}" if name in rows else "" for name in NAMERS]
        lines.append(f"| {question} | {' | '.join(cells)} |")
    return about + "\n\n" + "\n".join(lines)


def beyond(tasks: dict) -> str:
    """What there is to say of the model beside search."""
    lines = ["| task | | |", "|---|---|---:|"]
    for task in BEYOND:
        for row in (row for row in tasks[task]["rows"] if row["ours"]):
            lines += [
                f"| {task} | {row['name']}, {name} | {_cell(figure)} |" for name, figure in row["figures"].items()
            ]
    return "\n".join(lines)


def with_labels(results: dict) -> str:
    """Class search by a run that was told the labels of the train split."""
    ours = [row for row in results["tasks"]["retrieval"]["rows"] if row["ours"]]
    epochs = results["run"]["config"]["train"]["epochs"]
    lines = [f"| | {' | '.join(ours[0]['figures'])} |", f"|---|{'---:|' * len(ours[0]['figures'])}"]
    lines += [f"| {row['name']} | {' | '.join(map(_cell, row['figures'].values()))} |" for row in ours]
    command = (
        f"saree-vae train --from runs/first --set objective.labels=true --set train.epochs={epochs} "
        "--data textiles/manifest.csv --out runs/labels"
    )
    return f"## Search, with training labels used\n\n    {command}\n\n{_at_first('labels')}" + "\n".join(lines)


def _at_first(name: str) -> str:
    return f"{AT_FIRST[name]}\n\n" if name in AT_FIRST else ""


def _cell(figure: dict) -> str:
    digits = 0 if figure.get("count") or abs(figure["value"]) >= 1000 else 3
    value = f"{figure['value']:,.{digits}f}"
    return value if figure["low"] is None else f"{value} [{figure['low']:,.{digits}f}, {figure['high']:,.{digits}f}]"


def _mean(values: Iterable[float]) -> str:
    values = list(values)
    spread = f" ({min(values):.3f}-{max(values):.3f})" if len(values) > 1 else ""
    return f"{sum(values) / len(values):.3f}{spread}"


def _epochs(results: dict) -> int:
    return results["run"]["config"]["train"]["epochs"]


def _read(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _script(name: str):
    """A benchmark beside this one: they are no package."""
    sys.path.insert(0, str(Path(__file__).parent))
    return __import__(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail if a file is stale, and write nothing")
    options = parser.parse_args()
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(START)
    fresh = {
        readme: f"{before}{START}\n{figures()}\n{END}{rest.split(END)[1]}",
        RESULTS.parent / "RESULTS.md": tables(),
    }
    for path, text in fresh.items():
        if options.check and (not path.exists() or path.read_text(encoding="utf-8") != text):
            sys.exit(f"{path.name} is stale: run python benchmarks/readme.py")
        if not options.check:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
