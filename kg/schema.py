"""How facts are written down: files, columns and words; and `validate`, which names every mistake in them.

A folder of facts holds the CSV files of `FILES` (UTF-8, commas, a header). One cell may hold several values, parted by
semicolons. An empty cell means "not known", never "no".
"""

from __future__ import annotations

import csv
import difflib
import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from saree_vae.errors import SareeError

FACTS = Path(__file__).parent / "facts"

CONFIDENCE = (
    "high",
    "medium",
    "low",
    "convention",
)  # "convention": our own wording or grouping, neither true nor false
LOOKALIKE = "x_"  # begins the name of something a cluster is confused with that has no row of its own

# Which column of a cluster holds which kind of term, and what the graph calls the edge.
TERM_COLUMNS = {
    "fibres": ("fibre", "made_of"),
    "techniques": ("technique", "uses_technique"),
    "zari": ("zari", "has_zari"),
    "motifs": ("motif", "shows_motif"),
    "borders": ("border", "has_border"),
    "pallus": ("pallu", "has_pallu"),
    "layouts": ("layout", "has_layout"),
    "palette": ("palette", "has_palette"),
}
TERM_KINDS = tuple(kind for kind, _ in TERM_COLUMNS.values())
GROUP_LEVELS = ("subgroup", "parent_group", "super_group")

NODE_KINDS = {
    "cluster": "a craft cluster or another class of textiles; an umbrella stands for several whose centre is not known",
    "fibre": "what it is made of",
    "technique": "how it is made",
    "zari": "metal thread",
    "motif": "a figure on it",
    "border": "the bands along its edges",
    "pallu": "its end piece",
    "layout": "how the field is filled",
    "palette": "its usual colours",
    "attribute": "something a photograph can show",
    "place": "a town or district",
    "state": "a state or province",
    "country": "a country",
    **dict.fromkeys(GROUP_LEVELS, "clusters that look alike, from the narrowest group to the widest"),
    "label": "a name that photographs carry",
    "lookalike": "something a cluster is mistaken for that is no cluster here",
}
EDGE_KINDS = {
    **{edge: f"cluster -> {kind}" for kind, edge in TERM_COLUMNS.values()},
    "broader": "term -> the next broader term of its kind",
    "has_attribute": "cluster or label -> attribute, with a value: yes, no or sometimes",
    "confused_with": "cluster -> cluster or lookalike; written once, true both ways",
    "unites": "umbrella cluster -> cluster",
    "member_of": "cluster -> subgroup, parent_group or super_group",
    "located_in": "cluster -> place, state or country; state -> country",
    "label_of": "label -> cluster",
}


@dataclass(frozen=True)
class Column:
    """What a column holds.

    Attributes:
        what: one phrase for people.
        needed: an empty cell is a mistake.
        many: several values, parted by semicolons.
        words: the only values allowed.
        pattern: a regular expression that a value matches as a whole, with `like` as an example of it.
        number: a value is a decimal number.
        names: what a value is the name of: cluster, subject (a cluster or a label), state, country, attribute,
            column (of clusters.csv) or a kind of term.
    """

    what: str
    needed: bool = False
    many: bool = False
    words: tuple[str, ...] = ()
    pattern: str = ""
    like: str = ""
    number: bool = False
    names: str = ""


_SOURCES = Column("where it was read; web addresses or a plain phrase", needed=True, many=True)
_SURE = Column("how sure it is", needed=True, words=CONFIDENCE)
_BY_HAND = {"sources": _SOURCES, "confidence": _SURE}

FILES: dict[str, dict[str, Column]] = {
    "clusters.csv": {
        "id": Column("short name, for good", needed=True, pattern="[a-z][a-z0-9_]*", like="bagh_print"),
        "name": Column("name", needed=True),
        "alt_names": Column("other names and spellings", many=True),
        "kind": Column("what the row is", needed=True, words=("saree", "textile", "umbrella")),
        "members": Column("clusters that an umbrella stands for", many=True, names="cluster"),
        "countries": Column("countries", needed=True, many=True, names="country"),
        "states": Column("states or provinces", many=True, names="state"),
        "place": Column("town or district"),
        "latitude": Column("degrees north", number=True),
        "longitude": Column("degrees east", number=True),
        "gi_registered": Column("geographical indication", needed=True, words=("yes", "no", "unknown")),
        "gi_application_no": Column("number of its application", pattern="[0-9]+", like="137"),
        "gi_year": Column("year of its registration", pattern="[0-9]{4}(-[0-9]{2})?", like="2005 or 2005-06"),
        **{column: Column(f"{kind} terms", many=True, names=kind) for column, (kind, _) in TERM_COLUMNS.items()},
        "origin_period": Column("since when"),
        **_BY_HAND,
        "general_knowledge": Column("columns filled from general knowledge", many=True, names="column"),
        "note": Column("anything else"),
    },
    "vocabulary.csv": {
        "kind": Column("kind of term", needed=True, words=TERM_KINDS),
        "term": Column("term", needed=True),
        "alt_names": Column("other names", many=True),
        "broader": Column("the next broader term of the same kind; empty at the top"),
        "definition": Column("what it means", needed=True),
        "aat": Column("Getty AAT concepts", many=True, pattern="aat:[0-9]+", like="aat:300053642"),
        "aat_match": Column(
            "how the AAT concept fits; unsettled: several carry this name",
            words=("exact", "close", "related", "unsettled"),
        ),
        **_BY_HAND,
    },
    "confusions.csv": {
        "cluster_a": Column("one cluster", needed=True, names="cluster"),
        "cluster_b": Column("the other, or x_ and a name where there is no row for it", needed=True, names="cluster"),
        "features_a": Column("what tells the one", needed=True),
        "features_b": Column("what tells the other", needed=True),
        "visible": Column("whether a photograph shows it", needed=True, words=("yes", "part", "no")),
        "visible_note": Column("when, or which part"),
        **_BY_HAND,
    },
    "attributes.csv": {
        "attribute": Column("short name", needed=True, pattern="[a-z][a-z0-9_]*", like="dark_ground"),
        "definition": Column("what is to be seen", needed=True),
        **_BY_HAND,
    },
    "visual_attributes.csv": {
        "subject": Column(
            "a cluster, or a label where its photographs were graded apart", needed=True, names="subject"
        ),
        "attribute": Column("attribute", needed=True, names="attribute"),
        "value": Column("whether it is there", needed=True, words=("yes", "no", "sometimes", "unknown")),
        "basis": Column("what says so", needed=True),
        "sources": _SOURCES,
        "confidence": Column("how sure it is; empty where unknown", words=CONFIDENCE),
    },
    "labels.csv": {
        "label": Column("name of a folder or class of photographs", needed=True),
        "cluster": Column("the cluster it means", names="cluster"),
        "role": Column("what the label is for", needed=True, words=("craft", "control", "unlabelled")),
        "shows": Column("what a control shows"),
        **_BY_HAND,
        "note": Column("how well the photographs fit"),
    },
    "groups.csv": {
        "cluster": Column("cluster", needed=True, names="cluster"),
        **{level: Column("group", needed=True) for level in GROUP_LEVELS},
        **_BY_HAND,
    },
    "states.csv": {
        "state": Column("state or province", needed=True),
        "country": Column("country", needed=True, names="country"),
        **_BY_HAND,
    },
    "countries.csv": {
        "country": Column("country", needed=True),
        **{
            side: Column(f"{side}ernmost degree", needed=True, number=True)
            for side in ("south", "north", "west", "east")
        },
        **_BY_HAND,
    },
}
# Columns that together tell one row from another.
KEYS = {
    "clusters.csv": ("id",),
    "vocabulary.csv": ("kind", "term"),
    "confusions.csv": ("cluster_a", "cluster_b"),  # in either order
    "attributes.csv": ("attribute",),
    "visual_attributes.csv": ("subject", "attribute"),
    "labels.csv": ("label",),
    "groups.csv": ("cluster",),
    "states.csv": ("state",),
    "countries.csv": ("country",),
}


@dataclass(frozen=True)
class Mistake:
    """One thing to put right: `row` as a spreadsheet numbers it (the header is 1; 0 is the file), `column` or ""."""

    file: str
    row: int
    column: str
    value: str
    message: str

    def __str__(self) -> str:
        row = f", row {self.row}" if self.row else ""
        column = f", column '{self.column}'" if self.column else ""
        return f"{self.file}{row}{column}: {self.message}"


@dataclass(frozen=True)
class Record:
    """One row: `cells` by column, stripped."""

    file: str
    row: int
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")

    def values(self, column: str) -> tuple[str, ...]:
        """The values in a cell, without the empty ones."""
        known = FILES[self.file].get(column)
        if known is None or not known.many:
            return (self[column],) if self[column] else ()
        return tuple(value.strip() for value in self[column].split(";") if value.strip())

    def mistake(self, column: str, message: str, value: str | None = None) -> Mistake:
        return Mistake(self.file, self.row, column, self[column] if value is None else value, message)


@dataclass(frozen=True)
class Facts:
    """All rows that could be read, by file; what could not be read; and the files whose rows are not all there."""

    rows: dict[str, list[Record]]
    unread: list[Mistake]
    broken: frozenset[str]


def validate(folder: str | Path | None = None) -> list[Mistake]:
    """Every mistake in a folder of facts, in the order of files and rows; [] when all is well.

    What refers to a file that could not be read whole is not checked, so that one bad row does not look like a hundred.

    Args:
        folder: the folder; None is the facts that come with this package.

    Raises:
        SareeError: there is no such folder.
    """
    return mistakes(read(folder))


def read(folder: str | Path | None = None) -> Facts:
    """Read the files of a folder; what is wrong with them as files is in `unread`.

    Raises:
        SareeError: there is no such folder.
    """
    folder = FACTS if folder is None else Path(folder)
    if not folder.is_dir():
        raise SareeError(f"{folder}: no such folder; expected one with {', '.join(FILES)}")
    rows: dict[str, list[Record]] = {}
    unread: list[Mistake] = []
    for file in FILES:
        rows[file], bad = _read(folder / file, file)
        unread += bad
    return Facts(rows, unread, frozenset(mistake.file for mistake in unread))


def mistakes(facts: Facts) -> list[Mistake]:
    """Every mistake in facts that were read, in the order of files and rows."""
    found = list(facts.unread)
    for records in facts.rows.values():
        for record in records:
            found += _cell_mistakes(record)
    for check, files in _CHECKS:
        if not facts.broken & set(files):
            found += check(facts.rows)
    found += _reference_mistakes(facts)
    order = list(FILES)
    return sorted(found, key=lambda mistake: (order.index(mistake.file), mistake.row))


def spelled(name: str) -> str:
    """A name without case, accents, spaces and marks: two that are equal so are one name."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    return "".join(letter for letter in plain if letter.isalnum())


def nearest(name: str, names: list[str] | set[str]) -> str:
    """'; did you mean ...?' with the nearest of the names, or ''."""
    near = difflib.get_close_matches(name, sorted(names), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


# --- one file ---


def _read(path: Path, file: str) -> tuple[list[Record], list[Mistake]]:
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")  # spreadsheets begin a file with a byte-order mark
        lines = [
            (row, cells) for row, cells in enumerate(csv.reader(io.StringIO(text, ""), strict=True), 1) if any(cells)
        ]
    except OSError as error:
        return [], [Mistake(file, 0, "", "", f"cannot be read: {error.strerror or error}")]
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        return [], [Mistake(file, row, "", "", "is not UTF-8 text; save it as 'CSV UTF-8'")]
    except csv.Error as error:
        return [], [Mistake(file, 0, "", "", f"is not a CSV file: {error}; is a quotation mark left open?")]
    if not lines:
        return [], [Mistake(file, 1, "", "", f"is empty; expected the columns {', '.join(FILES[file])}")]
    header = [cell.strip() for cell in lines[0][1]]
    bad = list(_header_mistakes(file, header))
    records = []
    for row, cells in lines[1:]:
        if len(cells) != len(header):
            message = f"has {len(cells)} cells where the header has {len(header)}; a comma inside a cell needs quotes"
            bad.append(Mistake(file, row, "", "", message))
        else:
            stripped = (cell.strip() for cell in cells)
            records.append(Record(file, row, dict(zip(header, stripped, strict=True))))
    return records, bad


def _header_mistakes(file: str, header: list[str]) -> Iterator[Mistake]:
    for column in FILES[file]:
        if column not in header:
            yield Mistake(file, 1, column, "", f"the column '{column}' is missing")
    for place, column in enumerate(header):
        if column not in FILES[file]:
            yield Mistake(
                file, 1, column, column, f"'{column}' is not a column here{nearest(column, set(FILES[file]))}"
            )
        elif column in header[:place]:
            yield Mistake(file, 1, column, column, f"the column '{column}' is there twice")


def _cell_mistakes(record: Record) -> Iterator[Mistake]:
    for name, column in FILES[record.file].items():
        if name not in record.cells:
            continue  # told once, of the header
        values = record.values(name)
        if column.needed and not values:
            yield record.mistake(name, f"is empty; expected {column.what}")
        for value in values:
            problem = _problem(value, column)
            if problem:
                yield record.mistake(name, problem, value)
        for value in dict.fromkeys(value for at, value in enumerate(values) if value in values[:at]):
            yield record.mistake(name, f"'{value}' is there twice", value)


def _problem(value: str, column: Column) -> str:
    if column.words and value not in column.words:
        return f"'{value}' is not one of {', '.join(column.words)}"
    if column.pattern and not re.fullmatch(column.pattern, value):
        return f"'{value}' is not written like {column.like}"
    if column.number and not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value):
        return f"'{value}' is not a decimal number"
    return ""


# --- between rows and files ---

Rows = dict[str, list[Record]]
_HOMES = {"cluster": ("clusters.csv",), "subject": ("clusters.csv", "labels.csv"), "state": ("states.csv",)}
_HOMES |= {"country": ("countries.csv",), "attribute": ("attributes.csv",), "column": ()}
_HOMES |= dict.fromkeys(TERM_KINDS, ("vocabulary.csv",))


def _reference_mistakes(facts: Facts) -> Iterator[Mistake]:
    """Values that should be the name of something, and are not."""
    known = _known(facts.rows)
    for file, columns in FILES.items():
        for name, column in columns.items():
            if not column.names or facts.broken & set(_HOMES[column.names]):
                continue
            for record in facts.rows[file]:
                for value in record.values(name):
                    lookalike = name == "cluster_b" and value.startswith(LOOKALIKE)
                    if value not in known[column.names] and not lookalike:
                        yield record.mistake(name, _not_known(value, column.names, known[column.names]), value)


def _known(rows: Rows) -> dict[str, set[str]]:
    clusters = {record["id"] for record in rows["clusters.csv"]}
    return {
        "cluster": clusters,
        "subject": clusters | {record["label"] for record in rows["labels.csv"]},
        "state": {record["state"] for record in rows["states.csv"]},
        "country": {record["country"] for record in rows["countries.csv"]},
        "attribute": {record["attribute"] for record in rows["attributes.csv"]},
        "column": set(FILES["clusters.csv"]),
        **{kind: {r["term"] for r in rows["vocabulary.csv"] if r["kind"] == kind} for kind in TERM_KINDS},
    }


def _not_known(value: str, what: str, known: set[str]) -> str:
    home = " or ".join(_HOMES[what]) or "clusters.csv"
    article = "an" if what[0] in "aeiou" else "a"
    return f"'{value}' is not {article} {what} in {home}{nearest(value, known)}"


def _two_rows_for_one_thing(rows: Rows) -> Iterator[Mistake]:
    for file, columns in KEYS.items():
        first: dict[tuple[str, ...], int] = {}
        for record in rows[file]:
            key = tuple(record[column] for column in columns)
            key = tuple(sorted(key)) if file == "confusions.csv" else key
            if first.setdefault(key, record.row) != record.row:
                yield record.mistake(columns[-1], f"'{record[columns[-1]]}' has a row already, row {first[key]}")


def _claimed_names(rows: Rows) -> Iterator[Mistake]:
    """Names of two clusters; a label is a name of its cluster."""
    claims: dict[str, tuple[str, Record]] = {}
    for record in rows["clusters.csv"]:
        yield from _claim(claims, record, record["id"], ("id", "name", "alt_names"))
    known = {record["id"] for record in rows["clusters.csv"]}
    for record in rows["labels.csv"]:
        if record["cluster"] in known:
            yield from _claim(claims, record, record["cluster"], ("label",))


def _claimed_terms(rows: Rows) -> Iterator[Mistake]:
    claims: dict[str, dict[str, tuple[str, Record]]] = defaultdict(dict)
    for record in rows["vocabulary.csv"]:
        yield from _claim(claims[record["kind"]], record, record["term"], ("term", "alt_names"))


def _claim(
    claims: dict[str, tuple[str, Record]], record: Record, owner: str, columns: tuple[str, ...]
) -> Iterator[Mistake]:
    for column in columns:
        for name in record.values(column):
            other, at = claims.setdefault(spelled(name), (owner, record))
            if other != owner:
                yield record.mistake(column, f"'{name}' is a name of '{other}' already ({at.file}, row {at.row})", name)


def _broader_links(rows: Rows) -> Iterator[Mistake]:
    records = {(record["kind"], record["term"]): record for record in rows["vocabulary.csv"]}
    told: set[str] = set()
    for (kind, term), record in records.items():
        above = record["broader"]
        if above and (kind, above) not in records:
            yield record.mistake("broader", _not_known(above, kind, {t for k, t in records if k == kind}))
        chain = [term]
        while above and (kind, above) in records and above not in chain:
            chain.append(above)
            above = records[kind, above]["broader"]
        if above == term and not told & set(chain):
            told |= set(chain)
            yield record.mistake("broader", f"goes round in a circle: {' < '.join([*chain, term])}")


def _places(rows: Rows) -> Iterator[Mistake]:
    home = {record["state"]: record["country"] for record in rows["states.csv"]}
    boxes = {record["country"]: record for record in rows["countries.csv"]}
    for record in rows["clusters.csv"]:
        countries = record.values("countries")
        for state in record.values("states"):
            if home.get(state, countries[0] if countries else "") not in countries:
                yield record.mistake("states", f"'{state}' lies in {home[state]}, not in {record['countries']}", state)
        yield from _coordinates(record, [boxes[country] for country in countries if country in boxes])


def _coordinates(record: Record, boxes: list[Record]) -> Iterator[Mistake]:
    given = [column for column in ("latitude", "longitude") if record[column]]
    if len(given) == 1:
        missing = {"latitude": "longitude", "longitude": "latitude"}[given[0]]
        yield record.mistake(missing, f"is empty, but {given[0]} is not")
    within = {"latitude": ("south", "north"), "longitude": ("west", "east")}
    for column in given:
        low, high = within[column]
        sides = [(_number(box[low]), _number(box[high])) for box in boxes]
        value = _number(record[column])
        if value is not None and sides and not any(None in s or s[0] <= value <= s[1] for s in sides):
            yield record.mistake(column, f"{record[column]} is outside {' and '.join(record.values('countries'))}")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None  # told of its own cell


def _umbrellas(rows: Rows) -> Iterator[Mistake]:
    """An umbrella names its members and has no evidence of its own; no other row has members."""
    umbrellas = {record["id"] for record in rows["clusters.csv"] if record["kind"] == "umbrella"}
    for record in rows["clusters.csv"]:
        umbrella = record["id"] in umbrellas
        if umbrella != bool(record["members"]):
            yield record.mistake(
                "members", "is empty; an umbrella needs members" if umbrella else "belongs to an umbrella"
            )
        for member in record.values("members"):
            if member in umbrellas:
                yield record.mistake("members", f"'{member}' is an umbrella itself", member)
        for column in TERM_COLUMNS if umbrella else ():
            if record[column]:
                yield record.mistake(column, "an umbrella has no terms of its own; write them at its members")


def _cells_that_go_together(rows: Rows) -> Iterator[Mistake]:
    for record in rows["vocabulary.csv"]:
        if bool(record["aat"]) != bool(record["aat_match"]):
            yield record.mistake("aat_match", "is needed where 'aat' is filled, and only there")
    for record in rows["labels.csv"]:
        if (record["role"] == "craft") != bool(record["cluster"]):
            yield record.mistake("cluster", "is needed where 'role' is craft, and only there")
    for record in rows["visual_attributes.csv"]:
        if (record["value"] == "unknown") == bool(record["confidence"]):
            yield record.mistake("confidence", "is needed unless 'value' is unknown, and only then")
    for record in rows["confusions.csv"]:
        if record["cluster_a"] == record["cluster_b"]:
            yield record.mistake("cluster_b", "a cluster is not confused with itself")


def _subgroups(rows: Rows) -> Iterator[Mistake]:
    first: dict[str, Record] = {}
    for record in rows["groups.csv"]:
        at = first.setdefault(record["subgroup"], record)
        if at["parent_group"] != record["parent_group"]:
            message = f"'{record['subgroup']}' is under '{at['parent_group']}' in row {at.row}"
            yield record.mistake("parent_group", message)


_CHECKS: tuple[tuple[Callable[[Rows], Iterator[Mistake]], tuple[str, ...]], ...] = (
    (_two_rows_for_one_thing, ()),
    (_claimed_names, ("clusters.csv", "labels.csv")),
    (_claimed_terms, ("vocabulary.csv",)),
    (_broader_links, ("vocabulary.csv",)),
    (_places, ("clusters.csv", "states.csv", "countries.csv")),
    (_umbrellas, ("clusters.csv",)),
    (_cells_that_go_together, ("vocabulary.csv", "labels.csv", "visual_attributes.csv", "confusions.csv")),
    (_subgroups, ("groups.csv",)),
)
