"""The commands `saree-vae kg`: check facts, ask the graph, export it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saree_vae.errors import SareeError

from .showing import print_json, print_table, print_text, words

# Everything heavy is imported inside the commands: `--help` must answer at once.
if TYPE_CHECKING:
    import networkx as nx

    from kg.queries import Attribute, Comparison, Difference, Evidence, Shown, Step

app = typer.Typer(
    no_args_is_help=True,
    help="What is known of textile crafts, and where it was read.\n\n"
    "Clusters go by id, name, other name or photo label, whatever the case: kanchipuram, Kanjivaram. Terms are words "
    "of the craft: korvai, ikat, peacock.\n\n"
    "The facts are plain CSV files. To correct one: copy the folder kg/facts, edit it in a spreadsheet, run "
    "`saree-vae kg validate FOLDER`, and look at the result with --facts FOLDER. What is not known is left empty: "
    "it is not a no.",
)

ClusterArgument = Annotated[str, typer.Argument(metavar="CLUSTER", help="A craft cluster, such as paithani.")]
FactsOption = Annotated[
    Path | None, typer.Option("--facts", metavar="FOLDER", help="Other facts than those that come with saree-vae.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def validate(
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="Facts; those that come with saree-vae if not said.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Name every mistake in the facts: file, row (as a spreadsheet numbers it), column, and what is wrong.

    Exit status 1 if there is any.
    """
    from kg import schema

    facts = schema.read(folder)
    found = schema.mistakes(facts)
    if as_json:
        print_json({"mistakes": [asdict(mistake) for mistake in found]})
    elif found:
        rows = ((m.file, str(m.row or ""), m.column, m.message) for m in found)
        print_table(("file", "row", "column", "what is wrong"), rows)
        print_text(f"{len(found)} {'mistake' if len(found) == 1 else 'mistakes'}")
    else:
        counts = (f"{len(rows)} {file.removesuffix('.csv').replace('_', ' ')}" for file, rows in facts.rows.items())
        print_text(f"no mistake in {', '.join(counts)}")
    if found:
        raise typer.Exit(1)


@app.command()
def show(cluster: ClusterArgument, facts: FactsOption = None, as_json: JsonOption = False) -> None:
    """All that is known of a cluster, with sources: how rare each term is, what a photograph can show, its doubles."""
    from kg.queries import show as asked

    shown = asked(graph(facts), cluster)
    print_json(asdict(shown)) if as_json else print_shown(shown)


@app.command()
def path(
    a: Annotated[str, typer.Argument(metavar="A", help="A craft cluster.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    facts: FactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """The chain of evidence that ties two clusters best: rare terms rather than common ones, with the sources."""
    from kg.queries import path as asked

    opened = graph(facts)
    chain = asked(opened, a, b)
    if as_json:
        print_json(asdict(chain))
        return
    for step in chain.steps:
        print_text(step_line(opened, step, chain.clusters))
        print_text(f"    {step.file}, row {step.row} ({step.confidence}): {'; '.join(step.sources)}")


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A craft cluster.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    facts: FactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """What two clusters share, what sets them apart, and what of it a photograph can show."""
    from kg.queries import compare as asked

    compared = asked(graph(facts), a, b)
    print_json(asdict(compared)) if as_json else print_comparison(compared)


@app.command()
def near(
    cluster: ClusterArgument,
    k: Annotated[int, typer.Option("-k", help="How many to find.", min=1)] = 10,
    facts: FactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """The clusters that share most evidence with one; a rare term that is shared counts more than a common one."""
    from kg.queries import neighbours

    opened = graph(facts)
    found = neighbours(opened, cluster, k)
    if as_json:
        print_json({"neighbours": [asdict(one) for one in found]})
        return
    rows = ((f"{one.score:.2f}", one.name, names(sorted(one.shared, key=lambda e: -e.rarity))) for one in found)
    print_table(("shared", "cluster", "by"), rows)


@app.command()
def using(
    term: Annotated[str, typer.Argument(metavar="TERM", help="A term, such as ikat, or motif:check.")],
    facts: FactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """All clusters that use a term or anything narrower: `using ikat` finds warp ikat and double ikat too."""
    from kg.queries import using as asked

    found = asked(graph(facts), term)
    if as_json:
        print_json(asdict(found))
        return
    print_text(f"{found.node}: {found.definition}")
    if found.narrower:
        print_text(f"narrower: {', '.join(found.narrower)}")
    rows = ((user.id, user.name, ", ".join(e.name for e in user.terms)) for user in found.clusters)
    print_table(("id", "cluster", "uses"), rows)


@app.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A file that ends in .graphml, .jsonld or .html.")],
    facts: FactsOption = None,
) -> None:
    """Write the graph for other tools; the name's ending tells the format.

    .graphml for Gephi, yEd, igraph; .jsonld with CIDOC-CRM and SKOS names for linked data; .html a picture to click
    through in a browser, which needs nothing else.
    """
    from kg.export import write

    opened = graph(facts)
    print_text(f"{len(opened)} nodes and {opened.number_of_edges()} edges in {write(opened, out)}")


def graph(facts: Path | None) -> nx.MultiDiGraph:
    from kg import load_graph

    return load_graph(facts)


def labels_with(labels: Iterable[str]) -> Callable[[str, str], list[str]]:
    """For `Where.answered`: asked for a kind and a term, gives the labels whose clusters have it or anything narrower.

    Labels are ids, names or other names; one that the graph does not know has no term. The answer raises SareeError
    where there is no such kind or term.
    """
    from kg.graph import resolve
    from kg.queries import using
    from kg.schema import TERM_KINDS

    opened, meant = graph(None), {}
    for label in set(labels):
        with suppress(SareeError):
            meant[label] = resolve(opened, label)

    def asked(kind: str, term: str) -> list[str]:
        if kind not in TERM_KINDS:
            raise SareeError(f"--where: '{kind} ~' is no question to the graph; it knows {', '.join(TERM_KINDS)}")
        users = {f"cluster:{user.id}" for user in using(opened, f"{kind}:{term}").clusters}
        return sorted(label for label, cluster in meant.items() if cluster in users)

    return asked


# --- showing ---


def print_shown(shown: Shown) -> None:
    places = [place for level in ("place", "state", "country") for place in shown.places.get(level, ())]
    print_text(f"{shown.name} ({shown.id}), {shown.kind}: {', '.join(places)}")
    gi = ("gi_registered", "gi_year", "gi_application_no")
    lines = {
        "also": "; ".join(shown.alt_names),
        "photo labels": ", ".join(shown.labels),
        "stands for": ", ".join(shown.members),
        "since": shown.about.get("origin_period", ""),
        "geographical indication": ", ".join(str(shown.about[name]) for name in gi if name in shown.about),
        "groups": " < ".join(shown.groups.values()),
        "note": shown.about.get("note", ""),
    }
    for name, value in lines.items():
        if value:
            print_text(f"{name}: {value}")
    print_evidence(shown.evidence, len(shown.members))
    if shown.not_known:
        print_text(f"not known: {', '.join(shown.not_known)}")
    print_attributes(shown.attributes)
    print_differences(shown.differences)
    print_text(f"\nconfidence {shown.confidence}; sources:")
    for source in shown.sources:
        print_text(f"  {source}")


def print_evidence(evidence: Iterable[Evidence], members: int) -> None:
    """One line for each term; of an umbrella, with how many of its members have it."""
    rows = []
    for one in evidence:
        others = f"{one.clusters} cluster{'s' * (one.clusters != 1)}"
        rows.append((words(one.relation), one.name, others, f"{len(one.of)} of {members}" if members else ""))
    print_table(("", "", "known of", "of its members" if members else ""), rows)


def print_attributes(attributes: Iterable[Attribute]) -> None:
    for title, found in attribute_lists(attributes).items():
        print_text(f"{title}: {', '.join(found)}")


def attribute_lists(attributes: Iterable[Attribute]) -> dict[str, list[str]]:
    """Attributes by where they are to be seen, and whether."""
    lists: dict[str, list[str]] = {}
    for attribute in attributes:
        kind, _, name = attribute.of.partition(":")
        where = "in a photograph" if kind == "cluster" else f"but in those labelled {name}"
        lists.setdefault(f"{where}, {attribute.value}", []).append(words(attribute.name))
    return lists


def print_differences(differences: Iterable[Difference]) -> None:
    for one in differences:
        print_text(f"\n{words(one.a)} or {words(one.b)}? {seen_line(one)}; confidence {one.confidence}")
        print_text(f"  {words(one.a)}: {one.features_a}")
        print_text(f"  {words(one.b)}: {one.features_b}")


def seen_line(one: Difference) -> str:
    """Whether a photograph shows what tells two apart."""
    return f"to be seen in a photograph: {one.visible}" + (f" ({one.visible_note})" if one.visible_note else "")


def print_comparison(compared: Comparison) -> None:
    a, b = words(compared.a), words(compared.b)
    print_text(f"{a} and {b} share {compared.score:.0%} of their evidence")
    print_text(f"both: {names(sorted(compared.shared, key=lambda e: -e.rarity))}")
    for one, only, other, unknown in (
        (a, compared.only_a, b, compared.not_known_b),
        (b, compared.only_b, a, compared.not_known_a),
    ):
        print_text(f"known of {one} only: {names(only)}")
        if unknown:
            print_text(f"  (of {other} nothing is known about: {', '.join(unknown)})")
    if compared.contrasts:
        print_text("\nto be seen in a photograph:")
        rows = ((words(c.name), c.a, c.b, "clear" if c.clear else "") for c in compared.contrasts)
        print_table(("", a, b, ""), rows)
    print_differences(compared.differences)


def step_line(opened: nx.MultiDiGraph, step: Step, clusters: dict[str, int]) -> str:
    start, end = (step.start, step.end) if step.forward else (step.end, step.start)
    many = clusters.get(step.end)
    held = f" ({many} {'cluster' if many == 1 else 'clusters'})" if many else ""
    name = {node: opened.nodes[node]["name"] for node in (start, end)}
    return f"{name[start]} - {words(step.relation)} - {name[end]}{held}"


def names(evidence: Iterable[Evidence]) -> str:
    found = Counter({one.name: one.clusters for one in evidence})
    return ", ".join(f"{name} ({count})" for name, count in found.items()) or "nothing"
