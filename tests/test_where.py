"""`--where` answers as plain Python would, and no text typed or stored can be anything but a text."""

from __future__ import annotations

import json
import operator
import re
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saree_vae.errors import SareeError
from saree_vae.where import ITEM_COLUMNS, parse
from saree_vae.where import written as listed

METADATA = ["year", "dye type", 'the "odd" one', "रंग", "in"]
# Values that meet often, and are numbers, nearly numbers, quotes, or somebody's attempt to break out.
TEXTS = ["", "patola", "Patola", "10", "9", "9.0", " 9 ", "-3", ".5", "1e1", "12abc", "1 2", "0x9", "nan", "inf", "लाल"]
TEXTS += ["'", '"', "''", "'; DROP TABLE items; --", '" OR 1=1 --', "%", "?", ":a", "\\'", "a\nb", "{x}", "`"]
values = st.sampled_from(TEXTS) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)
numbers = st.sampled_from([9, 10, -3, 0.5, 9.0, 0, 12]) | st.integers(-20, 20)
rows = st.fixed_dictionaries(
    {"path": values, "cluster": st.none() | values, "item_id": st.none() | values},
    optional=dict.fromkeys(METADATA, values),
)


def table(items: list[dict]) -> sqlite3.Connection:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE items (key TEXT, path TEXT, cluster TEXT, item_id TEXT, metadata TEXT)")
    for number, item in enumerate(items):
        metadata = json.dumps({name: value for name, value in item.items() if name not in ITEM_COLUMNS})
        own = [item.get(name) for name in ITEM_COLUMNS[1:]]
        database.execute("INSERT INTO items VALUES (?, ?, ?, ?, ?)", [str(number), *own, metadata])
    return database


def matches(items: list[dict], text: str) -> list[int]:
    condition, parameters = parse(text).sql(METADATA)
    database = table(items)
    found = database.execute(f"SELECT key FROM items WHERE {condition}", parameters).fetchall()
    assert database.execute("SELECT count(*) FROM items").fetchone() == (len(items),)
    database.close()
    return sorted(int(key) for (key,) in found)


# ---- a second opinion: the meaning in plain Python, over trees that are then written out as text


ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
NUMBER = re.compile(r"[\t\n\v\f\r ]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[\t\n\v\f\r ]*")


def compares(stored: str | None, word: str, value: str | int | float) -> bool:
    stored = stored or ""
    if not isinstance(value, str):
        if not NUMBER.fullmatch(stored):
            return False
        stored = float(stored)
    elif word != "==" and not stored:
        return False
    return stored == value if word == "==" else ORDER[word](stored, value)


def holds(tree: tuple, row: dict) -> bool:
    match tree:
        case ("not", part):
            return not holds(part, row)
        case ("and" | "or" as word, *parts):
            return (all if word == "and" else any)(holds(part, row) for part in parts)
        case (column, "in" | "not in" as word, list(members)):
            return any(compares(row.get(column), "==", member) for member in members) == (word == "in")
        case (column, "!=", value):
            return not compares(row.get(column), "==", value)
        case (column, word, value):
            return compares(row.get(column), word, value)


def written(tree: tuple) -> str:
    def literal(value) -> str:
        return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)

    match tree:
        case ("not", part):
            return f"not ({written(part)})"
        case ("and" | "or" as word, *parts):
            return f" {word} ".join(f"({written(part)})" for part in parts)
        case (column, "in" | "not in" as word, list(members)):
            return f"`{column}` {word} [{', '.join(map(literal, members))}]"
        case (column, word, value):
            return f"`{column}` {word}{literal(value)}"


columns = st.sampled_from(["path", "cluster", "item_id", *METADATA])
leaves = st.tuples(columns, st.sampled_from(["==", "!=", *ORDER]), values | numbers) | st.tuples(
    columns, st.sampled_from(["in", "not in"]), st.lists(values | numbers, min_size=1, max_size=3)
)
trees = st.recursive(
    leaves,
    lambda part: (
        st.tuples(st.just("not"), part)
        | st.tuples(st.just("and"), part, part)
        | st.tuples(st.just("or"), part, part, part)
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(items=st.lists(rows, max_size=6), tree=trees)
def test_sql_answers_as_plain_python_does(items, tree):
    assert matches(items, written(tree)) == [number for number, row in enumerate(items) if holds(tree, row)]


PIECES = [*"ab1'\"`()[],=!<>;-\\ \n\0~.%", " and ", " or ", " not ", " in ", " == ", "('a')", "लाल"]


@settings(max_examples=300, deadline=None)
@given(text=st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_any_typed_text_is_an_expression_or_a_short_plain_error(text):
    problem = ""
    try:
        condition, parameters = parse(text).sql()
    except SareeError as error:
        problem = str(error)
    if problem:
        assert problem.startswith("--where")
        assert len(problem) < 200
        assert "\n" not in problem
    else:
        table([{"path": "a", "b": "1"}]).execute(f"SELECT key FROM items WHERE {condition}", parameters)


SAREES = [
    {"path": "0.jpg", "cluster": "patola", "year": "1900", "dye type": "natural"},
    {"path": "1.jpg", "cluster": "patola", "year": "about 1900"},
    {"path": "2.jpg", "cluster": "it's", "year": "2001.5", "dye type": ""},
    {"path": "3.jpg", "cluster": None, "year": "0950"},
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cluster == 'patola'", [0, 1]),
        ('cluster == "it\'s"', [2]),
        ("cluster == 'it''s'", [2]),
        ("cluster != 'patola'", [2, 3]),
        ("not cluster == 'patola' and path != '2.jpg'", [3]),
        ("cluster in ('patola', \"it's\")", [0, 1, 2]),
        ("cluster NOT IN ['patola']", [2, 3]),
        ("cluster == ''", [3]),
        ("cluster < 'z' or cluster >= ''", [0, 1, 2]),
        ("year < 1000", [3]),
        ("year > 1899.5", [0, 2]),
        ("year == 950", [3]),
        ("year in (950, 'about 1900')", [1, 3]),
        ("year != 1900", [1, 2, 3]),
        ("`dye type` == 'natural'", [0]),
        ("`dye type` == ''", [1, 2, 3]),
        ("year == 950 or year == 1900 and cluster == 'none'", [3]),
        ("(year == 950 or year == 1900) and cluster == 'none'", []),
    ],
)
def test_examples_read_off_the_page(text, expected):
    assert matches(SAREES, text) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cluster = 'x'", "`= 'x'` (character 9): expected ==, !=, <, <=, >, >=, ~ or in (write ==)"),
        (
            "cluster == patola",
            "at `patola` (character 12): expected a quoted text or a number after ==; write 'patola'",
        ),
        ("yaer < 3", "'yaer' is not a column of this catalogue; did you mean 'year'?"),
        ("zzzzzz < 3", "there are key, path, cluster, item_id, "),
        ("", "at the end (character 1): expected a column's name"),
        ("(year == 1", "at the end (character 11): expected ')'"),
        ("cluster == 'x", "a quotation mark is not closed"),
        ("cluster in 'x'", "expected a list in brackets"),
        ("cluster in ('x' 'y')", "at `'y')` (character 17): expected ',' or ')'"),
        ("cluster in ()", "expected a quoted text or a number in the list"),
        ("cluster not == 'x'", "expected 'in' after 'not'"),
        ("year == 1 year == 2", "expected 'and', 'or' or the end"),
        ("year == 1; DROP TABLE items", "(character 9)"),
        ("year == 1e999", "too large a number"),
        ("technique ~ ikat", "expected a quoted term after ~"),
        ("year == 1 or technique ~ 'ikat'", "(character 14): `~` asks the knowledge graph"),
        ("(" * 5000, "nested more than 50 deep"),
        ("not " * 5000, "nested more than 50 deep"),
        (" and ".join(["year == 1"] * 501), "more than 500 comparisons"),
        (f"year in ({', '.join(['1'] * 10_001)})", "more than 10,000 values"),
        ("cluster == '\udcff'", "bytes that are not text"),
    ],
)
def test_errors_name_the_place_and_what_would_do(text, says):
    with pytest.raises(SareeError) as caught:
        parse(text).sql(METADATA)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 300


def test_the_longest_expression_that_is_allowed_runs():
    assert matches(SAREES, " or ".join(["year == 950"] * 500)) == [3]
    assert matches(SAREES, f"year in ({', '.join(['1', *['950'] * 9_999])})") == [3]
    assert matches(SAREES, "not " * 48 + "(year == 950)") == [3]


def test_an_expression_tells_which_columns_it_reads():
    assert parse("cluster == 'a' or `dye type` == 'b' and cluster == 'c'").columns == ("cluster", "dye type")


def test_what_is_asked_of_the_graph_is_answered_by_clusters():
    asked = []

    def clusters(kind, term):
        asked.append((kind, term))
        return {"ikat": ["patola", "sambalpuri"], "batik": []}[term]

    where = parse("not technique ~ 'ikat' and (motif ~ 'batik' or cluster != 'ilkal')")
    assert where.asks and not parse("cluster == '~'").asks
    answered = where.answered(clusters)
    assert asked == [("technique", "ikat"), ("motif", "batik")]
    assert not answered.asks and answered.columns == ("cluster",)
    condition, parameters = answered.sql(())
    items = [{"cluster": name} for name in ("patola", "sambalpuri", "ilkal", "paithani", None)]
    found = table(items).execute(f"SELECT key FROM items WHERE {condition}", parameters).fetchall()
    assert [int(key) for (key,) in found] == [3, 4]  # nothing is known of the last: it is not in a list of ikats


def test_what_is_predicted_of_pieces_without_a_label_matches_too():
    items = [{"cluster": name} for name in ("patola", "ilkal", None, None, None)]
    predicted = {"2": "patola", "3": "ilkal"}
    where = parse("technique ~ 'ikat'").answered(lambda kind, term: ["patola"], predicted)
    condition, parameters = where.sql(())
    found = table(items).execute(f"SELECT key FROM items WHERE {condition}", parameters).fetchall()
    assert [int(key) for (key,) in found] == [0, 2]
    many = {str(key): "patola" for key in range(40_000)}  # more than SQLite takes parameters
    condition, parameters = parse("not technique ~ 'ikat'").answered(lambda kind, term: ["patola"], many).sql(())
    assert table(items).execute(f"SELECT key FROM items WHERE {condition}", parameters).fetchall() == []


letters = st.characters(codec="utf-8", exclude_characters="\0")


@given(st.text(letters, min_size=1).filter(lambda name: "`" not in name), st.lists(st.text(letters), min_size=1))
def test_what_is_written_is_read_as_it_was_meant(column, values):
    read = parse(listed(column, values)).tree
    assert (read.column, read.operator, list(read.values)) == (column, "in", values)
