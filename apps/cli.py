"""The command line `saree-vae`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from saree_vae.errors import SareeError

from . import anomalies, crafts, interpolation, knowledge, variants
from .showing import (
    CatalogueArgument,
    CropsOption,
    DataOption,
    DeviceOption,
    RegionsOption,
    RunArgument,
    SeedOption,
    StrictOption,
    bar,
    console,
    print_json,
    run_and_data,
    task_bar,
    tell_bad,
    training_bar,
)
from .web import serve

FURTHER = 15  # epochs of a model that was trained before

# Everything heavy is imported inside the commands: `--help` must answer at once.
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find sarees that look alike: by motif, by colour, or by both.\n\n"
    "Start with `saree-vae quickstart`, or with your own photographs: `saree-vae quickstart --data FOLDER`.\n\n"
    "A data set is a folder of images, a folder of class folders (also below train, val and test), or a manifest.csv "
    "with a column 'path'.",
)

app.add_typer(knowledge.app, name="kg")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and stop.", is_eager=True)] = False,
) -> None:
    if version:
        from saree_vae import __version__

        print(__version__)
        raise typer.Exit


@app.command()
def quickstart(
    data: Annotated[
        Path | None, typer.Option("--data", "-d", metavar="D", help="Your photographs; without it, a set is rendered.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where everything is written.")] = Path("saree-quickstart"),
    pretrained: Annotated[
        bool,
        typer.Option("--pretrained", help="Begin with what a small network has learnt from ImageNet, fetched once."),
    ] = False,
) -> None:
    """From a folder of photographs to a search that works: check, train, index, evaluate and report.

    On drawn sarees it takes about ten minutes on two cores. Interrupted, it goes on from there when called again.

    With --pretrained it finds more of the same craft by motif, and training takes longer; these weights (18 MB, Apache
    licence) need a network once.
    """
    from . import quickstart

    quickstart.run(data, out, console(), pretrained)


@app.command()
def render(
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder for the pictures and their manifest.csv.")],
    count: Annotated[int, typer.Option(help="How many pictures.", min=1)] = 700,
    seed: SeedOption = 0,
    size: Annotated[int, typer.Option(help="Side of the pictures in pixels.", min=64, max=1024)] = 256,
    same: Annotated[
        str | None, typer.Option(help="Hold factors fixed: 'motif' (one design, many colours) or 'palette'.")
    ] = None,
) -> None:
    """Draw a data set of made-up sarees on the procedural loom; its manifest records every factor."""
    from saree_vae import loom

    with bar("drawing") as step:
        manifest = loom.render(out, count, seed, size=size, same=same, progress=step)
    console().print(f"{count} pictures and {manifest}")


@app.command()
def check(
    data: Annotated[Path, typer.Argument(metavar="D", help="A folder of images or a manifest.csv.")],
    run: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Also list what is strange to this model; takes a minute or more."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Look a data set over: unreadable, tiny, duplicate, leaking between splits, lonely in their class."""
    from saree_vae.data import check as look_over

    with bar("looking") as step:
        found = look_over(data, progress=step)
    strange = anomalies.outlying(run, data) if run else []
    if as_json:
        print_json(found.to_dict() | ({"strange": strange} if run else {}))
    else:
        print("\n".join(found.lines()))
        for one in strange:
            print(f"strange: {one['key']} ({one['why']})")


@app.command()
def train(
    data: DataOption,
    out: Annotated[Path, typer.Option(metavar="RUN", help="The run folder to write.")],
    config: Annotated[
        str | None,
        typer.Option(
            "--config", "-c", metavar="C", help="A YAML file, or textiles (if not said), pretrained, ladder, gpu, ..."
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help=f"Train this run's model (or loom) further: its settings, {FURTHER} epochs.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="a.b=v", help="Override a setting; may be repeated.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    strict: StrictOption = False,
) -> None:
    """Learn motif and colour latents from the pictures of the train split.

    Labels are not used, unless you ask for it: --set objective.labels=true draws pictures of one cluster together,
    and --set objective.items=true photographs of one item.

    With --from a model that was trained before learns on, here on your pictures, for which fewer epochs are enough;
    --config or --set say otherwise. --from loom is the model in the box, which has learnt from drawn sarees. With --set
    objective.kin=true pictures that it finds most alike are drawn together: five epochs of that find more of a craft.
    With --config pretrained the motif encoder begins with what a small network has learnt from ImageNet, fetched once.

    Several processes: torchrun --standalone --nproc_per_node=2 -m apps.cli train ...
    """
    from saree_vae import checkpoint
    from saree_vae import config as configs
    from saree_vae.data import read_data
    from saree_vae.train import train as learn

    first, said = checkpoint.load(start, "cpu") if start else None, settings or []
    if start and not config:
        config, said = str(checkpoint.folder_of(start) / "config.yaml"), [f"train.epochs={FURTHER}", *said]
    resolved = configs.load(config or "textiles", said)
    with bar("looking") as step:
        dataset = read_data(data, seed=resolved.train.seed, strict=strict, progress=step)
    with training_bar() as (opening, watch, tell):
        told = {"opening": opening, "watch": watch, "tell": tell}
        run = learn(resolved, dataset, out, start=first, resume=resume, strict=strict, **told)
    console().print(f"the model is in {run}; next: saree-vae index {run} --data {data} --out CATALOGUE")


@app.command()
def encode(
    run: RunArgument,
    data: DataOption,
    out: Annotated[Path, typer.Option(metavar="NPZ", help="The latents file to write.")] = Path("latents.npz"),
    regions: RegionsOption = False,
    crops: CropsOption = None,
    strict: StrictOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Write the latents of every picture: keys, mu, sigma, and the bounds of the slices "motif" and "colour"."""
    from saree_vae.encoding import encode_items

    loaded, dataset = run_and_data(run, data, device, strict)
    with bar("encoding") as step:
        latents, bad = encode_items(
            loaded, dataset.items, crops=crops_asked(regions, crops), strict=strict, progress=step
        )
    tell_bad([*dataset.bad, *bad])
    latents.save(out)
    console().print(f"{len(latents)} latents of {latents.mu.shape[1]} dimensions in {out}")


@app.command()
def index(
    run: RunArgument,
    data: DataOption,
    out: Annotated[Path, typer.Option(metavar="CAT", help="The catalogue: a new folder, or one to bring up to date.")],
    regions: RegionsOption = False,
    crops: CropsOption = None,
    again: Annotated[bool, typer.Option("--again", help="Also pieces that were taken out of the catalogue.")] = False,
    strict: StrictOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Make a catalogue that searches on its own, or bring one up to date; interrupted, call it again.

    Labels that were corrected in the catalogue stay, and pieces that were taken out of it stay out.

    With --regions parts of a cloth find each other too, such as a close-up and the whole draped figure, and more of a
    craft is found; that stores 8 vectors of a picture on average with --crops 4, and 13 with 12.
    """
    from saree_vae.catalogue import Catalogue
    from saree_vae.indexing import index as fill

    loaded, dataset = run_and_data(run, data, device, strict)
    with bar("indexing") as step:
        cut = {"crops": crops_asked(regions, crops), "again": again}
        done = fill(loaded, dataset, out, **cut, strict=strict, progress=step)
    tell_bad(done.bad)
    console().print(f"{out}: {done.stored} stored, {done.unchanged} unchanged, {len(done.bad)} unreadable")
    if done.variants:
        console().print(f"{done.variants} variants were left out: a catalogue holds real pieces")
    if done.taken_out:
        console().print(f"left out, as taken out of the catalogue before: {done.taken_out}; --again adds them")
    with Catalogue.open(out) as filled:
        gone = len(filled.gone())
    if gone:
        console().print(f"photographs that are gone: {gone}; `saree-vae remove {out} --gone` takes them out")


@app.command()
def search(
    catalogue: CatalogueArgument,
    pictures: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="One picture, or several of one piece.")],
    k: Annotated[int, typer.Option("-k", help="How many to find.", min=1)] = 10,
    motif: Annotated[float, typer.Option(help="Weight of the motif half.", min=0)] = 1.0,
    colour: Annotated[float, typer.Option(help="Weight of the colour half.", min=0)] = 0.3,
    kin: Annotated[
        bool, typer.Option("--kin", help="All of its kind: likeness passes on from piece to piece of the catalogue.")
    ] = False,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="EXPR",
            help="Only items that match: \"cluster == 'paithani' and year > 1950\", or by what is known of their "
            "cluster: \"technique ~ 'ikat'\" (see `saree-vae kg using ikat`).",
        ),
    ] = None,
    head: Annotated[
        Path | None,
        typer.Option(metavar="HEAD", help='With --where "technique ~ ...": also pieces that this head names so.'),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    sheet: Annotated[Path | None, typer.Option(metavar="PNG", help="Also draw the query and what was found.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Find the pieces that look most like a picture.

    Same design in any colours: --colour 0. Same colours in any design: --motif 0. Unless told otherwise the design
    counts most. In a catalogue made with --regions parts are compared, and the boxes tell which part matched which: a
    close-up that looks for its whole figure is told best by colour, --colour 4.

    The first hits are looked at once more: those that show the very same design, edge on edge, come first, and "same"
    tells how much of the picture lies in them. With --motif 0 those of the very same colours come first, shade by
    shade. With --kin none are.

    With --kin more pieces of the query's craft come up, and first not always what looks most like the picture: for the
    very piece leave it out. Scores then say how the hits stand to each other.
    """
    from saree_vae import indexing, query
    from saree_vae.where import parse

    wanted = parse(where) if where else None
    asks = wanted is not None and wanted.asks
    if head and not asks:
        raise typer.BadParameter("--head goes with a question to the graph, as in --where \"technique ~ 'ikat'\"")
    opened, run = indexing.open_catalogue(catalogue, device)
    with opened:
        predicted = crafts.named(head, opened) if head else {}
        if asks:
            thought = {key: cluster for key, (cluster, _) in predicted.items()}
            wanted = wanted.answered(knowledge.labels_with([*opened.info()["clusters"], *thought.values()]), thought)
        asked = query.of_pictures(run, pictures, opened.crops)
        how = {"motif": motif, "colour": colour, "kin": kin, "pictures": asked.pictures, "where": wanted}
        hits = opened.search_one(asked.embeddings, asked.boxes, k, **how)
        if sheet:
            from saree_vae import images, sheets

            # The part of the query that the first hit matched; with several pictures nobody could tell on which it is.
            box = hits[0].query_box if hits and len(pictures) == 1 else None
            tiles = [
                sheets.Tile(images.thumbnail(images.read_image(p, min_side=256)), p.name, box=box) for p in pictures
            ]
            title = " · ".join(
                [f"motif {motif:g}", f"colour {colour:g}", *(["by kin"] if kin else []), *([where] if where else [])]
            )
            sheets.save(sheets.search_sheet(tiles, hits, opened.thumbnail, title=title), sheet)
    if as_json:
        told = [asdict(hit) | predicted_of(hit.key, predicted) for hit in hits]
        print_json({"catalogue": str(catalogue), "query": [str(p) for p in pictures], "hits": told})
    else:
        print_hits(hits, predicted)
    if sheet:
        console().print(f"drawn in {sheet}")


@app.command()
def remove(
    catalogue: CatalogueArgument,
    keys: Annotated[list[str] | None, typer.Argument(metavar="KEY", help="Pieces, as `search` names them.")] = None,
    where: Annotated[
        str | None, typer.Option(metavar="EXPR", help="All pieces that match, as in `search`: \"sold == 'yes'\".")
    ] = None,
    gone: Annotated[bool, typer.Option("--gone", help="All pieces whose photograph is no longer there.")] = False,
) -> None:
    """Take pieces out of a catalogue; their names are printed. Photographs are left alone.

    A later `index` leaves them out, too, unless their files have changed or it is told --again. With both --where and
    --gone those pieces go of which both hold.
    """
    from saree_vae.catalogue import Catalogue

    if bool(keys) == bool(where or gone):
        raise typer.BadParameter("name pieces, or say which by --where, --gone or both")
    with Catalogue.open(catalogue) as opened:
        chosen = keys or (opened.matching(where) if where else list(opened.keys()))
        if gone:
            missing = set(opened.gone())
            if missing and missing == set(opened.keys()):
                raise SareeError(f"{catalogue}: all photographs are gone; have they been moved? Nothing was taken out")
            chosen = [key for key in chosen if key in missing]
        count = opened.remove(chosen)
        opened.reindex()
    for key in dict.fromkeys(chosen):
        print(key)
    console().print(f"{catalogue}: {count} taken out")


@app.command()
def verify(
    catalogue: CatalogueArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Look whether all is as it was stored: the catalogue, its model, and the photographs that it was made from.

    What is not is named; and then the exit status is 1. Photographs that have changed are taken in anew by `index`.
    """
    from saree_vae.indexing import verify as look_over

    with bar("verifying") as step:
        found = look_over(catalogue, progress=step)
    if as_json:
        print_json([{"key": one.key, "reason": one.reason} for one in found])
    else:
        for one in found:
            print(f"{one.key}: {one.reason}")
    if found:
        raise typer.Exit(1)
    console().print(f"{catalogue}: all is as it was stored")


@app.command()
def compact(catalogue: CatalogueArgument) -> None:
    """Give back the room on the disk that pieces took that have been taken out or replaced."""
    from saree_vae.catalogue import Catalogue

    with Catalogue.open(catalogue) as opened:
        given = opened.compact()
    console().print(f"{catalogue}: {given:,} bytes given back")


@app.command()
def info(
    catalogue: CatalogueArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Tell what a catalogue holds and which model filled it."""
    from saree_vae.catalogue import Catalogue

    with Catalogue.open(catalogue) as opened:
        about = opened.info()
    if as_json:
        print_json(about)
        return
    clusters = about.pop("clusters")
    for name, value in about.items():
        print(f"{name:12} {value}")
    for name, count in clusters.items():
        print(f"{'':12} {count:6} {name}")


@app.command()
def evaluate(
    run: RunArgument,
    data: DataOption,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="retrieval, views, items, exchange, leakage, likelihood, cluster, anomaly, augment; "
            "or all, but augment."
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures here.")
    ] = None,
    samples: Annotated[
        int,
        typer.Option(metavar="K", help="Draws of z a picture for the importance-weighted bound of likelihood.", min=1),
    ] = 50,
    strange: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="For anomaly: pictures that show something else than the data set's."),
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
) -> None:
    """Measure a run on the test split, beside colour histogram, LBP, both and PCA; writes the run's model card.

    The task 'cluster' fits a head that names craft clusters, and measures it beside the same latents without one.
    The task 'augment' trains small classifiers on few pictures with and without variants; it takes a quarter of an hour
    of one CPU core or more, and 'all' leaves it out.
    """
    from saree_vae import evaluate as measuring
    from saree_vae import model_card
    from saree_vae.files import atomic_write

    loaded, dataset = run_and_data(run, data, device)
    others = anomalies.strangers(strange)
    with task_bar() as progress:
        more = {"cluster": lambda measured: crafts.measured(loaded, measured, seed=seed, progress=progress)}
        more["anomaly"] = lambda measured: anomalies.measured(loaded, measured, others, seed=seed, progress=progress)
        more["augment"] = lambda measured: variants.measured(loaded, measured, seed=seed, progress=progress)
        asked = {"seed": seed, "samples": samples, "progress": progress, "more": more}
        results = measuring.evaluate(loaded, dataset, tuple(task or ["all"]), **asked)
    if json_file:
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(model_card.markdown(results))
    named = results["tasks"].get("cluster", {})
    if "confusion" in named:
        from kg.measure import confusion_picture
        from saree_vae import sheets

        print("\n".join(crafts.cluster_lines(named)))
        sheets.save(confusion_picture(named["confusion"]), run / "confusion.png")
        console().print(f"what was taken for what: {run / 'confusion.png'}")
    if results["data"]["seen"]:
        console().print(f"{results['data']['seen']} test pictures had been trained on, and were not measured")
    if "all" in (task or ["all"]):
        console().print(f"model card: {model_card.write(loaded, dataset, results)}")


app.command()(crafts.fit_head)
app.command()(crafts.predict)
app.command()(interpolation.interpolate)
app.command()(anomalies.anomaly)
app.command()(variants.augment)
app.command("app")(serve.app)


def crops_asked(regions: bool, crops: int | None) -> int:
    """How many small regions of a picture are wanted; 0 without any."""
    from saree_vae.regions import CROPS

    if crops is not None and not regions:
        raise typer.BadParameter("--crops goes with --regions")
    return (crops or CROPS) if regions else 0


def predicted_of(key: str, predicted: dict[str, tuple[str, float]]) -> dict:
    """Marked as what it is: a label is one thing, what a head thinks another."""
    if key not in predicted:
        return {}
    cluster, probability = predicted[key]
    return {"predicted": {"cluster": cluster, "probability": probability}}


def print_hits(hits: list, predicted: dict[str, tuple[str, float]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for name in ("", "score", "motif", "colour", "same"):
        table.add_column(name, justify="right")
    table.add_column("cluster")
    table.add_column("key", overflow="fold")
    for rank, hit in enumerate(hits, 1):
        figures = (f"{value:.3f}" for value in (hit.score, hit.motif, hit.colour))
        same = f"{hit.same:.2f}" if hit.same else ""
        thought = f"{predicted[hit.key][0]}? {predicted[hit.key][1]:.2f}" if hit.key in predicted else ""
        table.add_row(str(rank), *figures, same, hit.cluster or thought, hit.key)
    Console(highlight=False, markup=False).print(table if hits else "nothing found")


def main() -> None:
    """The console script: an error that is the user's to mend is told in a line or two, exit 1."""
    try:
        app()
    except SareeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # such as `| head`
        sys.stderr.close()
        sys.exit(1)
    except (OSError, MemoryError) as error:
        name = f"{error.filename}: " if getattr(error, "filename", None) else ""
        print(f"error: {name}{getattr(error, 'strerror', None) or 'not enough memory'}", file=sys.stderr)
        sys.exit(1)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's own, not imported here
            raise
        print("error: the GPU's memory is full; lower train.batch_size, or take --device cpu", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
