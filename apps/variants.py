"""The command `augment`: variants of the training pictures, for training other people's classifiers."""

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
    console,
    print_json,
    run_and_data,
    task_bar,
    tell_bad,
)

# Everything heavy is imported inside the commands: `--help` must answer at once.
if TYPE_CHECKING:
    import numpy as np

    from saree_vae.checkpoint import Run
    from saree_vae.data import DataSet
    from saree_vae.variants import Made


def augment(
    run: RunArgument,
    data: DataOption,
    out: Annotated[Path, typer.Option(metavar="D2", help="A new folder for the variants and their manifest.csv.")],
    per_image: Annotated[int, typer.Option(help="Variants of each picture of the train split.", min=1)] = 4,
    vary: Annotated[
        str,
        typer.Option(
            help="colour: the picture in the colours of another of its cluster, every thread kept. motif: a neighbour "
            "of its cluster in its colours. both: its own design or a neighbour's in the colours of another."
        ),
    ] = "both",
    with_originals: Annotated[
        bool,
        typer.Option(
            "--with-originals",
            help="Also copy the pictures of all splits, so that D2 can be trained on and measured as it is.",
        ),
    ] = False,
    head: Annotated[
        Path | None,
        typer.Option(metavar="HEAD", help="Whether a variant kept its cluster tells this head, not its neighbours."),
    ] = None,
    seed: SeedOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    device: DeviceOption = "auto",
) -> None:
    """Make variants of the training pictures, to train classifiers on where photographs are few.

    A variant is kept only if what speaks for its cluster stays, if it is no near-copy of a training picture, and if it
    is no stranger than training pictures are; what was refused is counted by reason. The manifest tells of each what it
    was made from, how, with which seed and by which model, and puts it in the train split; no other command takes it
    anywhere else. Interrupted, call it again.

    \b
    saree-vae augment RUN --data D --out D2                    variants alone, to add to your own training set
    saree-vae augment RUN --data D --out D2 --with-originals   everything, to train on as it is
    saree-vae evaluate RUN --data D --task augment             what they are worth to a small classifier
    """
    from dataclasses import asdict

    from saree_vae import variants

    loaded, dataset = run_and_data(run, data, device)
    with task_bar() as progress:
        asked = {"per_image": per_image, "vary": vary, "seed": seed, "originals": with_originals, "progress": progress}
        if head:
            asked |= {"evidence": by_head(head, loaded), "evidence_by": head_name(head)}
        made = variants.augment(loaded, dataset, out, **asked)
    tell_bad([*dataset.bad, *made.bad])
    if as_json:
        print_json({"folder": str(out)} | asdict(made))
    for line in told(made):
        console().print(line)
    copied = f", beside {made.originals} originals" if with_originals else ", without the originals"
    console().print(f"{out / variants.MANIFEST}: {made.kept} variants{copied}")


def measured(run: Run, dataset: DataSet, *, seed: int, progress: Callable[[str, int, int], None]) -> dict:
    """The task 'augment' of `evaluate`."""
    from saree_vae.classify import measure

    return measure(run, dataset, seed=seed, progress=progress)


def told(made: Made) -> list[str]:
    """What the gate refused, by reason."""
    from saree_vae.variants import REASONS

    lines = [f"refused {made.refused[name]}: {why}" for name, why in REASONS.items() if made.refused.get(name)]
    if made.refused.get("given up"):
        lines.append(f"{made.refused['given up']} of {made.asked} variants were given up: no draw passed")
    return lines


def by_head(folder: Path, run: Run) -> Callable[[Sequence[np.ndarray], Sequence[str]], np.ndarray]:
    """A head's probability of pictures' own clusters; 1 for a label that it does not know.

    Raises:
        SareeError: the head is of another model.
    """
    import numpy as np

    from kg.graph import resolve
    from kg.head import Head
    from saree_vae import regions
    from saree_vae.encoding import encode

    from .knowledge import graph

    fitted, opened = Head.load(folder), graph(None)
    fitted.require(run.fingerprint)
    place = {name: i for i, name in enumerate(fitted.shown)}

    def number(label: str) -> int | None:
        try:
            return place.get(resolve(opened, label).removeprefix("cluster:"))
        except SareeError:
            return None

    def evidence(pictures: Sequence[np.ndarray], clusters: Sequence[str]) -> np.ndarray:
        parts = [regions.cut(one, regions.find(one, fitted.crops), run.read_size) for one in pictures]
        latents = encode(run, np.concatenate(parts), [str(i) for i, part in enumerate(parts) for _ in part])
        p, own = np.exp(fitted.log_probabilities(latents)), [number(label) for label in clusters]
        return np.array([1.0 if k is None else row[k] for row, k in zip(p, own, strict=True)])

    return evidence


def head_name(folder: Path) -> str:
    """The head's own fingerprint."""
    import hashlib

    return hashlib.sha256((folder / "head.safetensors").read_bytes()).hexdigest()[:12]
