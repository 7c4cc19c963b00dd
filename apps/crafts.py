"""The commands `fit-head` and `predict`: which craft cluster a piece comes from, and why."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saree_vae.errors import SareeError

from .knowledge import FactsOption, graph, seen_line
from .showing import (
    DataOption,
    DeviceOption,
    RunArgument,
    SeedOption,
    StrictOption,
    bar,
    console,
    print_json,
    print_text,
    run_and_data,
    task_bar,
    tell_bad,
    words,
)

# Everything heavy is imported inside the commands: `--help` must answer at once.
if TYPE_CHECKING:
    import networkx as nx

    from kg.explain import Fact, Reason, Why
    from kg.head import Head, Prediction
    from saree_vae.catalogue import Catalogue
    from saree_vae.checkpoint import Run
    from saree_vae.data import Bad, DataSet, Item
    from saree_vae.latents import Latents

HEAD_FILES = {"head.yaml", "head.safetensors", "model"}
CROPS = 4  # small regions of a picture that a head looks at beside the whole and the large ones
HeadArgument = Annotated[Path, typer.Argument(metavar="HEAD", help="A head, as `fit-head` writes it.")]


def fit_head(
    run: RunArgument,
    data: DataOption,
    out: Annotated[Path, typer.Option(metavar="HEAD", help="The folder to write: the head, and a copy of the model.")],
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Take a label that the graph does not know for none.")
    ] = False,
    crops: Annotated[
        int, typer.Option(help="Small regions of each picture to look at beside the whole; 0: the whole only.", min=0)
    ] = CROPS,
    facts: FactsOption = None,
    seed: SeedOption = 0,
    strict: StrictOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Learn to name craft clusters, from labelled pictures and from what the graph knows of the crafts.

    The labels are the class folders, or the manifest's column 'cluster': ids, names or other names of clusters (see
    `saree-vae kg show paithani`). It learns from the train split, and sets how sure it may be on the val split; test
    pictures are not looked at. A few pictures of each cluster will do; those without a label then help as well.
    """
    opened = graph(facts)
    loaded, dataset = run_and_data(run, data, device, strict)
    with task_bar() as progress:
        head, bad = write(
            *(loaded, dataset, out, opened),
            **{"crops": crops, "seed": seed, "strict": strict, "skip_unknown": skip_unknown, "progress": progress},
        )
    tell_bad([*dataset.bad, *bad])
    console().print(f"{out}: {len(head.counts)} clusters from {len(head.keys)} pictures; {sureness(head)}")
    console().print(f"next: saree-vae predict {out} --why IMAGE")


def predict(
    head: HeadArgument,
    pictures: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures; each is a piece of its own.")],
    why: Annotated[bool, typer.Option("--why", help="Say what speaks for it, and where that was read.")] = False,
    risk: Annotated[
        float, typer.Option(help="Share of answers that may be wrong: less is 'unsure' more often.", min=0, max=1)
    ] = 0.1,
    unseen: Annotated[
        bool, typer.Option("--unseen", help="Clusters that no picture was shown of compete too, by the graph alone.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    rdf: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the answers as statements, in JSON-LD.")
    ] = None,
    facts: FactsOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Name the craft cluster of each picture, with a probability; or its group; or say "unsure".

    A prediction is never written into the facts. With --rdf each answer becomes a statement of its own, with its
    probability, the model and the hash of the picture.
    """
    from kg.explain import explain
    from kg.export import predicted
    from kg.head import Head
    from saree_vae import checkpoint
    from saree_vae.files import atomic_write

    opened, fitted_head = graph(facts), Head.load(head)
    require_facts(fitted_head, opened)
    run = checkpoint.load(head / "model", device)
    fitted_head.require(run.fingerprint)
    latents, hashes, bad = embedded(run, pictures, fitted_head.crops)
    tell_bad(bad)
    told = fitted_head.predict(latents, risk=risk, unseen=unseen)
    reasons = [explain(fitted_head, opened, latents.of([i]), one) if why else None for i, one in enumerate(told)]
    if rdf:
        with atomic_write(rdf) as temporary:
            text = predicted(opened, statements(told, hashes), model=run.fingerprint)
            temporary.write_text(text, encoding="utf-8")
    if as_json:
        about = [
            asdict(one) | ({"why": asdict(reason)} if reason else {}) for one, reason in zip(told, reasons, strict=True)
        ]
        print_json({"head": str(head), "risk": risk, "predictions": about, "unreadable": [asdict(one) for one in bad]})
    else:
        for one, reason in zip(told, reasons, strict=True):
            print_prediction(opened, one, reason)
    if rdf:
        console().print(f"statements in {rdf}")
    if not told:
        raise typer.Exit(1)


def write(
    run: Run, dataset: DataSet, folder: Path, opened: nx.MultiDiGraph, **settings: object
) -> tuple[Head, tuple[Bad, ...]]:
    """Fit a head and write its folder: the head, and a copy of the model; also gives what could not be read.

    Raises:
        SareeError: the folder holds something else than a head; or as `fit`.
    """
    from saree_vae.indexing import keep_model

    others = {path.name for path in folder.iterdir()} - HEAD_FILES if folder.is_dir() else set()
    if others:
        raise SareeError(f"{folder}: holds '{min(others)}', which is no part of a head; choose another folder")
    head, bad = fitted(run, dataset, opened, **settings)
    shutil.rmtree(folder / "model", ignore_errors=True)  # of a head that was there before
    keep_model(run, folder / "model")
    head.save(folder)
    return head, bad


def sureness(head: Head) -> str:
    """When it names a cluster, in half a sentence."""
    from kg.head import RISK, threshold

    if not len(head.checked):
        return "not calibrated, so always unsure"
    few = "" if threshold(*head.checked.T, RISK) <= 1 else f", too few to promise that at most {RISK:.0%} are wrong"
    return f"calibrated on {len(head.checked)} pictures of val{few}; it names a cluster from {head.limit():.2f} on"


def promise(head: Head, told: Prediction, risk: float) -> str:
    """How far an answer can be relied on, in a sentence or two: what was checked, and no more."""
    from kg.head import CONFIDENCE, threshold

    share, checked = f"1 in {round(1 / risk)}", len(head.checked)
    if told.unlike:
        return "It is less like any labelled piece than nearly all pictures that were checked, so nothing is named."
    if not checked:
        return "This head was checked on no picture, so it names nothing."
    limit = head.limit(risk)
    if told.level is None and told.novel:
        return "No cluster fits it as well as one fits nearly every picture that was checked, so none is named."
    if told.level is None:
        return f"Clusters are named from {limit:.0%} on and groups from {1 - risk:.0%} on; nothing here reaches that."
    if told.level != "cluster":
        new = ", perhaps one that was never shown" if told.novel else ""
        return f"Groups are named from {1 - risk:.0%} on. Which cluster of the group it is, is unsure{new}."
    if told.unseen:
        return "It was checked without the clusters that it was never shown, so with them nothing is promised."
    sure = head.checked[:, 0] >= limit
    wrong = int((1 - head.checked[sure, 1]).sum())
    counted = f"It was so sure of {int(sure.sum()):,} of {checked:,} checked pictures, and wrong on {wrong:,} of those."
    if threshold(*head.checked.T, risk) > 1:
        return f"{counted} That is too little to promise that at most {share} such answers is wrong."
    return f"At most {share} such answers is wrong ({CONFIDENCE:.0%} sure, for pictures like those checked). {counted}"


def fitted(
    run: Run,
    dataset: DataSet,
    opened: nx.MultiDiGraph,
    *,
    crops: int = CROPS,
    progress: Callable[[str, int, int], None],
    strict: bool = False,
    **settings: object,
) -> tuple[Head, tuple[Bad, ...]]:
    """A head fitted on the train and val split of a data set, and what could not be read."""
    from kg.fit import fit
    from saree_vae.encoding import encode_items

    items = [item for item in dataset.items if item.split != "test"]
    require_labels(dataset, items)
    latents, bad = encode_items(
        run, items, crops=crops, strict=strict, progress=lambda done, total: progress("encoding", done, total)
    )
    head = fit(
        latents,
        {item.key: item.cluster for item in items},
        {item.key: item.split for item in items},
        opened,
        model=run.fingerprint,
        crops=crops,
        tell=console().print,
        progress=lambda done, total: progress("fitting", done, total),
        **settings,
    )
    return head, bad


def measured(run: Run, dataset: DataSet, *, seed: int, progress: Callable[[str, int, int], None]) -> dict:
    """The task 'cluster' of `evaluate`: a head fitted on train and val, measured on the test split."""
    from kg.graph import resolve
    from kg.measure import measure
    from saree_vae.encoding import encode_items

    opened = graph(None)
    try:
        head, _ = fitted(run, dataset, opened, seed=seed, skip_unknown=True, progress=progress)
    except SareeError as error:
        return {"skipped": f"No head could be fitted: {error}."}

    def cluster(label: str | None) -> str:
        try:
            return resolve(opened, label or "").removeprefix("cluster:")
        except SareeError:
            return ""

    latents, bad = encode_items(
        run, dataset.of("test"), crops=CROPS, progress=lambda done, total: progress("encoding test", done, total)
    )
    unreadable = {one.key for one in bad}
    asked = [cluster(item.cluster) for item in dataset.of("test") if item.key not in unreadable]
    return measure(head, latents, asked, seed=seed)


def cluster_lines(task: dict) -> Iterator[str]:
    """What `measured` tells of the head alone, in Markdown: its answers, and its clusters, worst first."""
    answers, told = task["answers"], []
    for row in answers["levels"]:
        right = f" (right {row['right']['value']:.0%})" if row["right"] else ""
        told.append(f"{words(row['level'])} {row['share']['value']:.0%}{right}")
    yield f"Answers where at most {answers['risk']:.0%} may be wrong: {', '.join(told)}.\n"
    yield "| cluster | pictures | F1 | recall | most often taken for |"
    yield "| --- | ---: | ---: | ---: | --- |"
    for row in task["by_cluster"]:
        figures = " | ".join(f"{row['figures'][name]['value']:.2f}" for name in ("F1", "recall"))
        taken = f"{row['taken_for'][0]} ({row['taken_for'][1]})" if row["taken_for"] else ""
        yield f"| {row['name']} | {row['n']} | {figures} | {taken} |"


def require_labels(dataset: DataSet, items: Sequence[Item]) -> None:
    """Raises SareeError, before minutes of encoding, if no picture has a label."""
    if not any(item.cluster for item in items):
        raise SareeError(
            f"{dataset.root}: no picture has a label to learn from; labels are class folders, or a column 'cluster'"
        )


def require_facts(head: Head, opened: nx.MultiDiGraph) -> None:
    """Say where the facts are no longer those that the head was fitted with.

    Raises:
        SareeError: the graph has no such cluster any more.
    """
    from kg import graph_hash

    gone = [name for name in head.knowledge.clusters if f"cluster:{name}" not in opened]
    if gone:
        raise SareeError(f"the facts know no cluster '{gone[0]}', which the head does; fit it again, or take --facts")
    if graph_hash(opened) != head.knowledge.digest:
        console().print("the facts have changed since the head was fitted; it still goes by the old ones: fit it again")


def embedded(run: Run, pictures: Sequence[Path], crops: int) -> tuple[Latents, dict[str, str], list[Bad]]:
    """Latents of pictures, each a key of its own; the SHA-256 of each file; and what could not be read."""
    from saree_vae.data import Item
    from saree_vae.encoding import encode_items

    paths = list(dict.fromkeys(pictures))
    with bar("encoding") as step:
        latents, bad = encode_items(run, [Item(str(path), path) for path in paths], crops=crops, progress=step)
    unreadable = {one.key for one in bad}
    hashes = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if str(path) not in unreadable}
    return latents, hashes, list(bad)


def looked_at(run: Run, picture: Path | bytes, crops: int, key: str) -> Latents:
    """Latents of one picture and its regions. Raises ImageError where it cannot be read."""
    from saree_vae import regions
    from saree_vae.encoding import encode

    part = regions.read(picture, run.read_size, crops)
    return encode(run, part.squares, [key] * len(part.boxes))


def named(head: Path, catalogue: Catalogue) -> dict[str, tuple[str, float]]:
    """What a head names surely enough among the items of a catalogue that have no label: cluster and probability."""
    from kg.head import Head
    from saree_vae.latents import Latents

    fitted_head = Head.load(head)
    fitted_head.require(catalogue.fingerprint)
    labelled = {key for key, item in catalogue.items().items() if item.cluster}
    keys, mu, sigma = catalogue.latents(regions=True)
    latents = Latents(keys, mu, sigma, catalogue.motif_dim)
    asked = [i for i, start in enumerate(latents.starts) if keys[start] not in labelled]
    told = fitted_head.predict(latents.of(asked))
    return {one.key: (one.answer, one.probability) for one in told if one.level == "cluster"}


def statements(told: Sequence[Prediction], hashes: dict[str, str]) -> list[tuple[str, str, str, float]]:
    """(key, hash of the picture, node of the answer, probability); "unsure" states nothing."""
    return [(one.key, hashes[one.key], f"{one.level}:{one.answer}", one.probability) for one in told if one.answer]


# --- showing ---


def print_prediction(opened: nx.MultiDiGraph, told: Prediction, why: Why | None) -> None:
    name = {cluster: opened.nodes[f"cluster:{cluster}"]["name"] for cluster, _ in told.clusters}
    first, *others = (f"{name[cluster]} {p:.2f}" for cluster, p in told.clusters if p >= 0.005)
    groups = " < ".join(group for group, _ in told.groups.values() if group)
    new = ", perhaps one it was never shown" if told.novel else ""
    if told.level == "cluster":
        print_text(f"{told.key}: {first} ({groups})")
    elif told.level:
        group = f"{told.answer} {told.probability:.2f} ({words(told.level)})"
        print_text(f"{told.key}: {group}; which cluster is unsure{new}")
    else:
        print_text(f"{told.key}: unsure{', and unlike anything seen' if told.unlike else new}")
    listed = others if told.level == "cluster" else [first, *others]
    if listed:
        print_text(f"  {'or' if told.level == 'cluster' else 'likeliest'}: {', '.join(listed)}")
    if told.never_shown:
        others = (opened.nodes[f"cluster:{cluster}"]["name"] for cluster, _ in told.never_shown)
        print_text(f"  of clusters it was never shown, by the graph alone: {', '.join(others)}")
    if why:
        print_why(opened, why, name)
        near = (f"{piece.key} ({piece.cluster}, {piece.likeness:.2f})" for piece in told.nearest)
        print_text(f"  nearest labelled pieces: {', '.join(near)}")


def print_why(opened: nx.MultiDiGraph, why: Why, name: dict[str, str]) -> None:
    surest = sorted(why.attributes.items(), key=lambda one: -one[1])
    seen = ", ".join(f"{words(attribute)} {strength:.0%}" for attribute, strength in surest if strength >= 0.5)
    print_text(f"  to be seen, as far as can be told: {seen or 'nothing surely'}")
    looks = f"by its looks alone {why.by_looks:.2f}"
    if not why.reasons:
        print_text(f"  nothing in the graph speaks for {name[why.cluster]}; {looks}")
    else:
        print_text(
            f"  what speaks for {name[why.cluster]} ({looks}, with what is known of the craft {why.probability:.2f}):"
        )
    rows: dict[tuple[str, int], Fact] = {}
    for reason in why.reasons:
        rows |= {(fact.file, fact.row): fact for fact in reason.facts}
        numbers = ", ".join(str(1 + list(rows).index((fact.file, fact.row))) for fact in reason.facts)
        print_text(f"    {reason_line(opened, reason)} [{numbers}]")
    for number, fact in enumerate(rows.values(), 1):
        basis = f"{fact.basis}; " if fact.basis else ""
        where = f"{fact.file}, row {fact.row} ({fact.confidence})"
        print_text(f"    [{number}] {basis}{where}: {'; '.join(fact.sources)}")
    if why.runner_up:
        other = name[why.runner_up]
        for one in why.apart:
            print_text(f"  or {other}? {seen_line(one)}")
            print_text(f"    {words(one.a)}: {one.features_a}\n    {words(one.b)}: {one.features_b}")
        if why.contrasts and not why.apart:
            told = (f"{words(attribute)}: {a}, of {other} {b}" for attribute, a, b in why.contrasts)
            print_text(f"  what would tell it from {other}: {'; '.join(told)}")


def reason_line(opened: nx.MultiDiGraph, reason: Reason) -> str:
    path = " - ".join(opened.nodes[node]["name"] for node in reason.path)
    return f"{reason_seen(reason)}: {reason_odds(reason)}; {path}"


def reason_seen(reason: Reason) -> str:
    """What speaks for a cluster, in a few words."""
    kind, _, name = reason.node.partition(":")
    if reason.strength is None:
        return f"looks like cloths with {kind} {name}"
    return f"{words(name)}, seen {reason.strength:.0%} surely"


def reason_odds(reason: Reason) -> str:
    """How much it speaks for the cluster."""
    odds = f"{reason.odds:.1f}" if reason.odds < 1000 else "over 1,000"
    return f"odds times {odds} (without it {reason.without:.2f})"
