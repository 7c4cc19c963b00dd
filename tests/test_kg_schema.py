"""The facts have no mistake, and every kind of mistake is named with its file, row and column."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from kg import schema
from saree_vae.errors import SareeError


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def write(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def plant(folder: Path, file: str, key: str, column: str, value: str) -> int:
    """Write a value into the row that begins with `key`, values joined by "/"; return the row a spreadsheet shows."""
    rows = rows_of(folder / file)
    starts = key.split("/")
    at = next(at for at, row in enumerate(rows) if row[: len(starts)] == starts)
    rows[at][rows[0].index(column)] = value
    write(folder / file, rows)
    return at + 1


def small(folder: Path, clusters: list[dict], terms: list[tuple[str, str, str]] = (), **others: list[dict]) -> Path:
    """A folder of facts with these clusters and (kind, term, broader) terms; what else is needed is added."""
    told = {"sources": "somebody", "confidence": "high"}
    filled = {"kind": "saree", "countries": "India", "gi_registered": "unknown", **told}
    rows = {file: [] for file in schema.FILES}
    rows["clusters.csv"] = [{**filled, "name": row["id"], **row} for row in clusters]
    rows["vocabulary.csv"] = [
        {"kind": kind, "term": term, "broader": broader, "definition": term, **told} for kind, term, broader in terms
    ]
    rows["countries.csv"] = [{"country": "India", "south": "6", "north": "37", "west": "68", "east": "98", **told}]
    for name, more in others.items():
        rows[f"{name}.csv"] = [{**told, **row} for row in more]
    folder.mkdir(exist_ok=True)
    for file, columns in schema.FILES.items():
        write(folder / file, [list(columns), *([row.get(column, "") for column in columns] for row in rows[file])])
    assert schema.validate(folder) == []
    return folder


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    return Path(shutil.copytree(schema.FACTS, tmp_path / "facts"))


def test_the_facts_that_come_with_the_package_have_no_mistake():
    assert schema.validate() == []


def test_every_file_of_the_layout_is_there_and_no_other():
    assert {path.name for path in schema.FACTS.iterdir()} == set(schema.FILES) == set(schema.KEYS)


PLANTED = [
    (
        "clusters.csv",
        "gadwal",
        "techniques",
        "kutu interlock",
        "not a technique in vocabulary.csv; did you mean 'kuttu",
    ),
    ("clusters.csv", "gadwal", "fibres", "cotton;korvai", "'korvai' is not a fibre"),
    ("clusters.csv", "gadwal", "motifs", "peacock;peacock", "'peacock' is there twice"),
    ("clusters.csv", "gadwal", "id", "Gadwal!", "'Gadwal!' is not written like bagh_print"),
    ("clusters.csv", "gadwal", "name", "", "is empty"),
    ("clusters.csv", "gadwal", "alt_names", "Kanjivaram", "'Kanjivaram' is a name of 'kanchipuram' already"),
    ("clusters.csv", "gadwal", "alt_names", "KANJI-VARAM", "'KANJI-VARAM' is a name of 'kanchipuram' already"),
    ("clusters.csv", "gadwal", "latitude", "61.23", "61.23 is outside India"),
    ("clusters.csv", "gadwal", "longitude", "16.23", "16.23 is outside India"),
    ("clusters.csv", "gadwal", "longitude", "", "is empty, but latitude is not"),
    ("clusters.csv", "gadwal", "latitude", "16°14'", "is not a decimal number"),
    ("clusters.csv", "gadwal", "countries", "Inda", "'Inda' is not a country in countries.csv; did you mean 'India'?"),
    ("clusters.csv", "gadwal", "states", "Telengana", "'Telengana' is not a state"),
    ("clusters.csv", "gadwal", "states", "Bali", "'Bali' lies in Indonesia, not in India"),
    ("clusters.csv", "gadwal", "sources", "", "is empty; expected where it was read"),
    ("clusters.csv", "gadwal", "sources", " ; ", "is empty; expected where it was read"),
    ("clusters.csv", "gadwal", "confidence", "hihg", "'hihg' is not one of high, medium, low, convention"),
    ("clusters.csv", "gadwal", "kind", "sari", "'sari' is not one of saree, textile, umbrella"),
    ("clusters.csv", "gadwal", "gi_registered", "maybe", "'maybe' is not one of"),
    ("clusters.csv", "gadwal", "gi_year", "05", "'05' is not written like 2005"),
    ("clusters.csv", "gadwal", "general_knowledge", "lattitude", "'lattitude' is not a column in clusters.csv"),
    ("clusters.csv", "gadwal", "members", "ilkal", "belongs to an umbrella"),
    ("clusters.csv", "patola_generic", "members", "", "an umbrella needs members"),
    ("clusters.csv", "patola_generic", "members", "patan", "'patan' is not a cluster"),
    ("clusters.csv", "patola_generic", "members", "bandhani_generic", "is an umbrella itself"),
    ("clusters.csv", "patola_generic", "motifs", "elephant", "an umbrella has no terms of its own"),
    ("vocabulary.csv", "technique/korvai", "broader", "three shuttles", "'three shuttles' is not a technique"),
    ("vocabulary.csv", "technique/korvai", "broader", "cotton", "'cotton' is not a technique"),
    ("vocabulary.csv", "technique/korvai", "broader", "korvai", "goes round in a circle: korvai < korvai"),
    ("vocabulary.csv", "technique/weaving", "broader", "jamdani", "goes round in a circle: weaving < jamdani < "),
    ("vocabulary.csv", "technique/korvai", "alt_names", "petni", "is a name of 'korvai' already"),
    ("vocabulary.csv", "technique/korvai", "definition", "", "is empty"),
    ("vocabulary.csv", "technique/weaving", "aat", "300053642", "is not written like aat:300053642"),
    ("vocabulary.csv", "technique/korvai", "aat", "aat:300053642", "needed where 'aat' is filled"),
    ("vocabulary.csv", "technique/weaving", "aat_match", "same", "is not one of exact, close, related, unsettled"),
    ("confusions.csv", "kanchipuram/arani", "cluster_b", "arni", "'arni' is not a cluster in clusters.csv; did you"),
    ("confusions.csv", "kanchipuram/arani", "cluster_b", "kanchipuram", "not confused with itself"),
    ("confusions.csv", "kanchipuram/arani", "visible", "perhaps", "is not one of yes, part, no"),
    ("confusions.csv", "kanchipuram/arani", "features_b", "", "is empty"),
    ("visual_attributes.csv", "gadwal/dots", "value", "often", "'often' is not one of yes, no, sometimes, unknown"),
    ("visual_attributes.csv", "gadwal/dots", "value", "unknown", "is needed unless 'value' is unknown"),
    ("visual_attributes.csv", "gadwal/dots", "confidence", "", "is needed unless 'value' is unknown"),
    ("visual_attributes.csv", "gadwal/dots", "attribute", "spots", "'spots' is not an attribute"),
    ("visual_attributes.csv", "gadwal/stripes", "attribute", "dots", "'dots' has a row already"),
    (
        "visual_attributes.csv",
        "gadwal/dots",
        "subject",
        "gadval",
        "'gadval' is not a subject in clusters.csv or labels",
    ),
    ("labels.csv", "kanjivaram", "cluster", "kanchi", "'kanchi' is not a cluster"),
    ("labels.csv", "kanjivaram", "cluster", "", "is needed where 'role' is craft"),
    ("labels.csv", "ulos", "label", "Yeola Paithani", "is a name of 'paithani' already"),
    ("groups.csv", "ilkal", "parent_group", "Karnataka", "'Gadwal type' is under 'Deccan interlocked-border saree'"),
    ("groups.csv", "ilkal", "cluster", "gadwal", "'gadwal' has a row already, row 5"),
    ("states.csv", "Goa", "country", "Nowhere", "'Nowhere' is not a country"),
    ("countries.csv", "India", "north", "high", "'high' is not a decimal number"),
]
COLUMN_TOLD = {  # where a mistake is told of another column than the one that was changed
    "is needed where 'role' is craft": "cluster",
    "needed where 'aat' is filled": "aat_match",
    "is needed unless 'value' is unknown": "confidence",
    "is a name of 'korvai' already": "term",
}


@pytest.mark.parametrize(("file", "key", "column", "value", "says"), PLANTED)
def test_a_mistake_is_named_with_file_row_and_column(facts, file, key, column, value, says):
    if key == "Goa":
        write(facts / file, [*rows_of(facts / file), ["Goa", "India", "somebody", "high"]])
    row = plant(facts, file, key, column, value)
    if "is a name of 'korvai' already" in says:
        row = next(at for at, cells in enumerate(rows_of(facts / file), 1) if cells[:2] == ["technique", "petni"])
    told = next((other for start, other in COLUMN_TOLD.items() if start in says), column)
    found = schema.validate(facts)
    # A changed name is also missed where it was used; every other mistake stands alone.
    alone = [mistake for mistake in found if column not in ("id", "label", "attribute") or mistake.row == row]
    assert [(m.file, m.row, m.column) for m in alone if says in m.message] == [(file, row, told)]
    renamed = column in ("id", "label") or (file, column) == ("clusters.csv", "countries")
    assert renamed or len(found) == 1, [str(mistake) for mistake in found]


def test_two_rows_with_one_id_are_a_mistake_of_the_second(facts):
    rows = rows_of(facts / "clusters.csv")
    write(facts / "clusters.csv", [*rows, rows[1]])
    (mistake,) = schema.validate(facts)
    assert (mistake.file, mistake.row, mistake.column) == ("clusters.csv", 101, "id")
    assert mistake.message == "'kanchipuram' has a row already, row 2"


def test_a_confusion_may_not_stand_twice_the_other_way_round(facts):
    rows = rows_of(facts / "confusions.csv")
    write(facts / "confusions.csv", [*rows, ["arani", "kanchipuram", *rows[1][2:]]])
    (mistake,) = schema.validate(facts)
    assert (mistake.row, mistake.message) == (82, "'kanchipuram' has a row already, row 2")


def test_a_confusion_with_something_that_has_no_row_is_none(facts):
    plant(facts, "confusions.csv", "kanchipuram/arani", "cluster_b", "x_something_new")
    assert schema.validate(facts) == []


def test_several_mistakes_are_all_named_in_the_order_of_files_and_rows(facts):
    late = plant(facts, "groups.csv", "ulos", "sources", "")
    second = plant(facts, "clusters.csv", "ulos", "confidence", "sure")
    first = plant(facts, "clusters.csv", "ilkal", "motifs", "lotos")
    plant(facts, "clusters.csv", "ilkal", "sources", "")
    found = [(m.file, m.row, m.column) for m in schema.validate(facts)]
    assert sorted(found[:2]) == [("clusters.csv", first, "motifs"), ("clusters.csv", first, "sources")]
    assert found[2:] == [("clusters.csv", second, "confidence"), ("groups.csv", late, "sources")]


def change(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def test_a_file_that_is_not_there_is_named(facts):
    (facts / "groups.csv").unlink()
    (mistake,) = schema.validate(facts)
    assert (mistake.file, mistake.row, mistake.column) == ("groups.csv", 0, "")
    assert "No such file" in mistake.message


def test_an_empty_file_is_named(facts):
    (facts / "groups.csv").write_text("")
    assert [str(m) for m in schema.validate(facts)] == [
        "groups.csv, row 1: is empty; expected the columns "
        "cluster, subgroup, parent_group, super_group, sources, confidence"
    ]


def test_missing_unknown_and_doubled_columns_are_named(facts):
    change(facts / "clusters.csv", b",motifs,borders,", b",motiffs,pallus,")
    found = [(m.row, m.column, m.message) for m in schema.validate(facts)]
    assert found == [
        (1, "motifs", "the column 'motifs' is missing"),
        (1, "borders", "the column 'borders' is missing"),
        (1, "motiffs", "'motiffs' is not a column here; did you mean 'motifs'?"),
        (1, "pallus", "the column 'pallus' is there twice"),
    ]


def test_text_that_is_not_utf8_is_named_with_its_row(facts):
    change(facts / "clusters.csv", b"Maheshwar sarees", "Mahéshwar".encode("latin-1"))
    (mistake,) = schema.validate(facts)
    assert (mistake.file, mistake.row) == ("clusters.csv", 19)
    assert "UTF-8" in mistake.message


def test_a_row_with_a_cell_too_many_is_named_and_nothing_that_refers_to_it(facts):
    change(facts / "clusters.csv", b"\nilkal,Ilkal,", b"\nilkal,Ilkal, Bagalkot,")
    (mistake,) = schema.validate(facts)
    assert (mistake.file, mistake.row) == ("clusters.csv", 6)
    assert mistake.message.startswith("has 27 cells where the header has 26")


def test_a_term_whose_row_cannot_be_read_is_not_missed_where_it_is_used(facts):
    change(facts / "vocabulary.csv", b"\ntechnique,weaving,", b"\ntechnique,weaving,,")
    (mistake,) = schema.validate(facts)
    assert mistake.message.startswith("has 10 cells where the header has 9")


def test_a_quotation_mark_left_open_is_named(facts):
    change(facts / "groups.csv", b"\nulos,", b'\nulos,"')
    (mistake,) = schema.validate(facts)
    assert (mistake.file, mistake.column) == ("groups.csv", "")
    assert "quotation mark" in mistake.message


def test_other_mistakes_are_still_named_beside_a_broken_file(facts):
    (facts / "vocabulary.csv").unlink()
    row = plant(facts, "labels.csv", "ulos", "confidence", "sure")
    assert [(m.file, m.row) for m in schema.validate(facts)] == [("vocabulary.csv", 0), ("labels.csv", row)]


def test_what_a_spreadsheet_adds_is_no_mistake(facts):
    for path in facts.iterdir():
        cells = rows_of(path)
        spaced = [[f" {cell} " for cell in row] for row in cells]
        write(path, [*spaced, [""] * len(cells[0])])  # csv writes \r\n
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # a byte-order mark
    assert schema.validate(facts) == []


def test_a_cell_with_a_line_break_counts_as_one_row(facts):
    plant(facts, "clusters.csv", "kanchipuram", "note", "one\ntwo")
    row = plant(facts, "clusters.csv", "ulos", "confidence", "sure")
    assert [m.row for m in schema.validate(facts)] == [row]


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(SareeError, match="no such folder; expected one with clusters.csv"):
        schema.validate(tmp_path / "nowhere")
