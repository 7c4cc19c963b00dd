"""Strange pictures told from usual ones: no textiles, damaged ones, crafts never seen; beside other ways to tell them.

    PYTHONPATH=. python benchmarks/anomaly.py RUN --data textiles/manifest.csv --strange not_textiles --epochs 20

RUN was trained on the photographs. "Not learnt" is our score by a scorer to which just this kind of damage was never
made up. For crafts never seen, a model is trained without --unseen classes (three, drawn by the seed, if not named);
their pictures are strange, and test pictures of all other classes usual. There the last two rows have labels, unlike
all others: "fits no labelled class" is by what `saree-vae predict` says that a craft may be new. That model is trained
with --config and --epochs, after --from if that is given, and then --kin epochs more by kin; the plain autoencoder with
a convolutional encoder, from nothing. An interrupted command goes on where it was when it is given the same --work
again.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import study
from peers import Missing

from kg.fit import claimed
from kg.head import embedded, speaking
from saree_vae import checkpoint, config, data, detection
from saree_vae.anomaly import AnomalyScorer
from saree_vae.checkpoint import Run
from saree_vae.data import DataSet
from saree_vae.detection import FALSE, Method
from saree_vae.encoding import encode, encode_items, redraw
from saree_vae.errors import SareeError
from saree_vae.strangers import DAMAGES, KINDS, damaged

STUDIES = ("pictures", "unseen")
HELD_OUT, ENOUGH = 3, 20  # classes that are left out, and test pictures that each of them has
LEARNT_AS = {"blur": ("blur", "coarse"), "block": ("block",), "stain": ("stain",), "wrong half": ("joined", "patch")}
UNSEEN = "unseen classes"
CROPS = 4  # small regions of a picture, as in `fit-head`


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    dataset, run = data.read_data(options.data), checkpoint.load(options.run)
    report: dict = {"seed": options.seed, "missing": [], "rows": []}
    chosen = options.only or STUDIES
    epochs = options.epochs or config.load(options.config).train.epochs
    report |= {"config": Path(options.config).stem, "epochs": epochs, "start": options.start, "kin": options.kin}
    if "pictures" in chosen:
        report["rows"] += of_pictures(run, dataset, options, report["missing"])
    if "unseen" in chosen:
        classes = options.unseen or drawn(dataset, options.seed)
        report["unseen"] = classes
        report["rows"] += of_unseen(classes, dataset, options, report["missing"])
    study.tell(report, markdown, options.json)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = study.parser(__doc__, work="anomaly_work")
    parser.add_argument("run", help="a run trained on the photographs")
    parser.add_argument("--strange", help="a folder of pictures that show no textile")
    parser.add_argument("--unseen", action="append", help="a class to leave out; may be repeated")
    parser.add_argument("--only", action="append", choices=STUDIES, help="this study only")
    parser.add_argument("--kin", type=int, default=0, help="epochs more by kin, of the model that has not seen classes")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def of_pictures(run: Run, dataset: DataSet, options: argparse.Namespace, missing: list[str]) -> Iterator[dict]:
    """Rows of strange pictures and of each damage."""
    plain = autoencoder("plain autoencoder", options, dataset)
    usual = detection.pictures(run, dataset.of("test"))
    strange = data.read_data(options.strange).items if options.strange else ()
    groups = {"not textiles": detection.pictures(run, strange)} if strange else {}
    groups |= {kind: damaged(usual, kind, seed=options.seed) for kind in DAMAGES}
    methods = [*_methods(run, dataset, options.seed, missing), pixel_error(plain)]
    yield from detection.compared(methods, usual, groups, seed=options.seed, progress=_watch("scoring"))
    for damage, kinds in LEARNT_AS.items():
        left = tuple(kind for kind in KINDS if kind not in kinds)
        scorer = AnomalyScorer.fit(run, dataset, seed=options.seed, kinds=left)
        method = detection.ours(scorer, f"{detection.OURS}, not learnt", parts=False)
        only = {damage: groups[damage]}
        rows = detection.compared([method], usual, only, seed=options.seed, progress=_watch(f"without {damage}"))
        for figure in (figure for row in rows for figure in row["figures"].values()):
            del figure["best"]  # of one
        yield from rows


def of_unseen(classes: Sequence[str], dataset: DataSet, options: argparse.Namespace, missing: list[str]) -> list[dict]:
    """Rows of classes that neither the models nor the scorers have seen; all their pictures are strange."""
    others = replace(dataset, items=tuple(item for item in dataset.items if item.cluster not in classes))
    asked = [item for item in dataset.items if item.cluster in classes]
    if not asked:
        raise SareeError(f"{dataset.root}: no picture is of class {', '.join(classes)}")
    run = study.trained("without classes", options, others, seed=options.seed)
    if options.kin:
        more = argparse.Namespace(**vars(options) | {"start": run.path, "epochs": options.kin})
        run = study.trained("without classes, by kin", more, others, "objective.kin=true", seed=options.seed)
    plain = autoencoder("autoencoder without classes", options, others)
    tests = [item for item in others.of("test") if item.cluster]
    usual = detection.pictures(run, tests)
    methods = [*_methods(run, others, options.seed, missing), pixel_error(plain)]
    groups = {UNSEEN: detection.pictures(run, asked)}
    rows = detection.compared(methods, usual, groups, seed=options.seed, progress=_watch("scoring unseen"))
    labelled = [item for item in others.of("train") if item.cluster]
    known, *asking = (encode_items(run, items, crops=CROPS)[0] for items in (labelled, tests, asked))
    pieces, asking = embedded(known), [embedded(some) for some in asking]
    label = {item.key: item.cluster for item in labelled}
    names, owners = np.unique([label[known.keys[start]] for start in known.starts], return_inverse=True)
    claims = claimed(pieces, owners, len(names), seed=options.seed)
    scores = {
        "far from labelled pieces": [-(some @ pieces.T).max(1) for some in asking],
        "fits no labelled class": [-(speaking(some, pieces) @ claims).max(1) for some in asking],
    }
    figures = {name: detection.figures(*pair, seed=options.seed) for name, pair in scores.items()}
    return [*rows, *({"part": UNSEEN, "name": name, "ours": True, "figures": f} for name, f in figures.items())]


def autoencoder(name: str, options: argparse.Namespace, dataset: DataSet) -> Run:
    """A plain one, from nothing: a model with other latents is nothing that it could begin with."""
    options = argparse.Namespace(**vars(options) | {"start": None})
    plain = ("model.posterior=point", "model.encoder=conv", "model.pretrained=false")
    return study.trained(name, options, dataset, *plain, seed=options.seed)


def drawn(dataset: DataSet, seed: int) -> list[str]:
    """Classes to leave out.

    Raises:
        SareeError: there are too few of enough pictures.
    """
    counts = Counter(item.cluster for item in dataset.of("test") if item.cluster)
    large = sorted(name for name, count in counts.items() if count >= ENOUGH)
    if len(large) <= HELD_OUT:
        raise SareeError(
            f"{dataset.root}: {len(large)} classes have {ENOUGH} test pictures; more than {HELD_OUT} are needed, "
            "or name classes with --unseen"
        )
    return sorted(np.random.default_rng(seed).choice(large, HELD_OUT, replace=False).tolist())


def _methods(run: Run, dataset: DataSet, seed: int, missing: list[str]) -> list[Method]:
    scorer = AnomalyScorer.fit(run, dataset, seed=seed, progress=_watch("fitting"))
    found = [detection.ours(scorer), detection.uncounted(run, dataset, seed), *detection.beside(run, dataset, seed)]
    try:
        found.append(ecod(run, dataset))
    except Missing as reason:
        missing.append(str(reason))
    return found


def ecod(run: Run, dataset: DataSet) -> Method:
    """Tails of each dimension (Li et al. 2022), by PyOD on our latents.

    Raises:
        Missing: there is no PyOD here.
    """
    try:
        from pyod.models.ecod import ECOD
    except ImportError:
        raise Missing("pyod is not here, so ECOD has no row") from None
    known = encode(run, detection.pictures(run, dataset.of("train"))).embedding()
    model = ECOD().fit(known)
    return lambda images: {"ECOD on our latents": model.decision_function(encode(run, images).embedding())}


def pixel_error(plain: Run) -> Method:
    """Mean square error of a plain autoencoder's reconstruction."""

    def score(images: np.ndarray) -> dict[str, np.ndarray]:
        gap = np.float32(redraw(plain, images)) - images
        return {"pixel MSE of a plain autoencoder": np.square(gap / 255).mean((1, 2, 3))}

    return score


def _watch(what: str):
    def watch(step: str, done: int, total: int) -> None:
        if done >= total:
            study.say(f"{what}: {step}, {total}")

    return watch


def markdown(report: dict) -> str:
    """One row for each score; AUROC and FPR of each group of strange pictures."""
    parts = list(dict.fromkeys(row["part"] for row in report["rows"]))
    names = list(dict.fromkeys(row["name"] for row in report["rows"]))
    found = {(row["part"], row["name"]): row["figures"] for row in report["rows"]}
    damages = ["mean of damages"] if any(part in DAMAGES for part in parts) else []
    tables = []
    for figure in ("AUROC", FALSE):
        lines = []
        for name in names:
            told = [found.get((part, name)) for part in parts]
            lines.append([name.strip(), *(study.cell(one[figure]) if one else "" for one in told)])
            means = [one[figure]["value"] for part, one in zip(parts, told, strict=True) if part in DAMAGES and one]
            if damages:
                lines[-1].append(f"{np.mean(means):.3f}" if len(means) == len(DAMAGES) else "")
        tables.append(study.table([figure, *parts, *damages], lines))
    held = f"; unseen: {', '.join(report['unseen'])}" if "unseen" in report else ""
    start = f" (without classes: after {report['start']})" if report.get("start") else ""
    kin = f", then {report['kin']} by kin" if report.get("kin") else ""
    learnt = f"Seed {report['seed']}, `{report['config']}`, {report['epochs']} epochs{start}{kin}{held}"
    about = f"{learnt}; 95 % bootstrap intervals; strange is positive."
    return "\n\n".join([about, *tables, *dict.fromkeys(report["missing"])])


if __name__ == "__main__":
    study.run(main)
