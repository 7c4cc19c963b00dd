"""The small language of `--where`: conditions on an item's columns, turned into SQL with every value as a parameter.

    cluster == 'patola' and (year < 1950 or not `dye type` in ('natural', 'madder'))

    expression = term { "or" term }
    term       = factor { "and" factor }
    factor     = "not" factor | "(" expression ")" | comparison
    comparison = column ("==" | "!=" | "<" | "<=" | ">" | ">=") value
               | column ["not"] "in" ("(" | "[") value { "," value } (")" | "]")
               | kind "~" text

A column is a bare word, or anything in backquotes. A value is a number, or a text in single or double quotes (a doubled
quote stands for itself). A number compares with stored texts that look like numbers, as numbers ('007' == 7), and with
no others; a text compares as text, by code point. An item without a value in a column has the empty text there. So it
matches `!=`, `not in`, `not` and `== ''`, and never `==` anything else nor `<`, `<=`, `>`, `>=`.

`technique ~ 'ikat'` means: of a cluster that has ikat or anything narrower, says somebody who knows crafts. Who that is
comes by `Where.answered`, and with them, if wanted, which items are thought to be of which cluster; until then such an
expression has no SQL.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NoReturn

from .errors import SareeError

ITEM_COLUMNS = ("key", "path", "cluster", "item_id")  # columns of the table items; any other name is in its metadata


@dataclass(frozen=True)
class Where:
    """A parsed expression: `text` as it was typed, `columns` it names."""

    text: str
    tree: Comparison | Joined | Negated

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(comparison.column for comparison in _comparisons(self.tree)))

    @property
    def asks(self) -> bool:
        """Whether it holds a `~`, to be answered before it can be SQL."""
        return any(comparison.operator == "~" for comparison in _comparisons(self.tree))

    def answered(
        self, clusters: Callable[[str, str], Collection[str]], predicted: Mapping[str, str] | None = None
    ) -> Where:
        """The same with every `kind ~ 'term'` turned into `cluster in (...)` by clusters(kind, term).

        Args:
            predicted: what items without a cluster are thought to be, by key: those match as well.
        """
        return Where(self.text, _answered(self.tree, clusters, predicted or {}))

    def sql(self, known: Collection[str] | None = None) -> tuple[str, list[str | int | float]]:
        """A condition on the table `items` (metadata a JSON object of texts), and its parameters.

        Args:
            known: names in the catalogue's metadata; None takes any name.

        Raises:
            SareeError: a column that is not among `known`, with what it may have meant; or a `~` nobody answered.
        """
        for comparison in _comparisons(self.tree):
            if comparison.operator == "~":
                _fail(self.text, comparison.at, "`~` asks the knowledge graph, which this search was not given")
            if known is not None and comparison.column not in ITEM_COLUMNS and comparison.column not in known:
                _unknown(self.text, comparison, [*ITEM_COLUMNS, *sorted(known)])
        parameters: list[str | int | float] = []
        return _sql(self.tree, parameters), parameters


def parse(text: str) -> Where:
    """Read an expression.

    Raises:
        SareeError: it is not one; the message says where it stops making sense, and what would.
    """
    return Where(text, _Parser(text).whole())


def written(column: str, values: Collection[str]) -> str:
    """`column in (...)` as `parse` reads it, whatever is in the names; a column's own must hold no backquote."""
    return f"`{column}` in ({', '.join(map(quoted, values))})"


def quoted(value: str) -> str:
    """A text as `parse` reads it."""
    return "'" + value.replace("'", "''") + "'"


@dataclass(frozen=True)
class Comparison:
    """column operator value; `values` holds one, or for "in" any number, even none."""

    column: str
    operator: str
    values: tuple[str | int | float, ...]
    at: int


@dataclass(frozen=True)
class Joined:
    """Two or more parts that must all hold ("AND"), or of which one must ("OR")."""

    word: str
    parts: tuple[Comparison | Joined | Negated, ...]


@dataclass(frozen=True)
class Negated:
    part: Comparison | Joined | Negated


# SQL of one comparison: with a text, then with a number. {x} is the column's text, {n} the same as a number.
_OPERATORS = {
    "==": ("{x} = ?", "{n} = ?"),
    "<": ("({x} <> '' AND {x} < ?)", "{n} < ?"),
    "<=": ("({x} <> '' AND {x} <= ?)", "{n} <= ?"),
    ">": ("({x} <> '' AND {x} > ?)", "{n} > ?"),
    ">=": ("({x} <> '' AND {x} >= ?)", "{n} >= ?"),
    "in": ("{x} IN ({marks})", "{n} IN ({marks})"),
    # A list in JSON, which may be longer than SQLite takes parameters; nobody types it.
    "among": ("{x} IN (SELECT value FROM json_each({marks}))", ""),
}
# SQLite gives a comparison with a CAST a number's affinity: a text that wholly looks like a number becomes one, and
# any other text stays a text, which is greater than every number. (CAST alone would read '12abc' as 12.)
_LOOKS_LIKE_A_NUMBER = "{x} <= CAST(9e999 AS REAL)"
# Not json_extract: its paths cannot name a column with a quotation mark in it.
_METADATA = "(SELECT value FROM json_each(items.metadata) WHERE key = ?)"


def _sql(tree: Comparison | Joined | Negated, parameters: list) -> str:
    if isinstance(tree, Negated):
        return f"NOT {_sql(tree.part, parameters)}"
    if isinstance(tree, Joined):
        return "(" + f" {tree.word} ".join(_sql(part, parameters) for part in tree.parts) + ")"
    if tree.operator in ("!=", "not in"):
        opposite = {"!=": "==", "not in": "in"}[tree.operator]
        return f"NOT {_sql(Comparison(tree.column, opposite, tree.values, tree.at), parameters)}"
    texts = [value for value in tree.values if isinstance(value, str)]
    numbers = [value for value in tree.values if not isinstance(value, str)]
    on_text, on_number = _OPERATORS[tree.operator]
    on_number = f"({_LOOKS_LIKE_A_NUMBER} AND {on_number})"
    sides = [_filled(on_text, tree.column, texts, parameters)] if texts else []
    sides += [_filled(on_number, tree.column, numbers, parameters)] if numbers else []
    return "(" + " OR ".join(sides or ["0"]) + ")"


def _answered(
    tree: Comparison | Joined | Negated,
    clusters: Callable[[str, str], Collection[str]],
    predicted: Mapping[str, str],
) -> Comparison | Joined | Negated:
    if isinstance(tree, Negated):
        return Negated(_answered(tree.part, clusters, predicted))
    if isinstance(tree, Joined):
        return Joined(tree.word, tuple(_answered(part, clusters, predicted) for part in tree.parts))
    if tree.operator != "~":
        return tree
    names = clusters(tree.column, *tree.values)
    labelled = Comparison("cluster", "in", tuple(names), tree.at)
    keys = [key for key, cluster in predicted.items() if cluster in names]
    return Joined("OR", (labelled, Comparison("key", "among", (json.dumps(keys),), tree.at))) if keys else labelled


def _filled(template: str, column: str, values: list, parameters: list) -> str:
    """The template with its column in place, never a value: values, and names in metadata, go into `parameters`."""
    template = template.replace("{n}", "CAST({x} AS NUMERIC)")
    own = column in ITEM_COLUMNS
    parameters += ([] if own else [column] * template.count("{x}")) + values
    return template.format(x=f"COALESCE({f'items.{column}' if own else _METADATA}, '')", marks=_marks(values))


def _marks(values: list) -> str:
    return ", ".join("?" * len(values))


def _comparisons(tree: Comparison | Joined | Negated) -> list[Comparison]:
    if isinstance(tree, Comparison):
        return [tree]
    parts = (tree.part,) if isinstance(tree, Negated) else tree.parts
    return [comparison for part in parts for comparison in _comparisons(part)]


_TOKEN = re.compile(
    r"""\s* (?: (?P<text> '(?:[^']|'')*' | "(?:[^"]|"")*" )
              | (?P<quoted> `[^`]+` )
              | (?P<operator> == | != | <= | >= | < | > | ~ )
              | (?P<mark> [()\[\],] )
              | (?P<word> [^\s'"`()\[\],=!<>~]+ )
              | (?P<end> $ )
              | (?P<bad> . ) )""",
    re.VERBOSE | re.DOTALL,
)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_KEYWORDS = ("and", "or", "not", "in")
_DEEPEST, _MOST = 50, 500  # SQLite nests at most 1000 deep, and a chain of n "and" is n deep
_MOST_VALUES = 10_000  # SQLite takes at most 32766 parameters


@dataclass(frozen=True)
class _Token:
    kind: str  # text, number, name, keyword, operator, mark, end or bad
    value: str | int | float
    at: int
    typed: str


class _Parser:
    """One method for each line of the grammar."""

    def __init__(self, text: str):
        self.text, self.depth, self.place = text, 0, 0
        if "\0" in text or not _is_unicode(text):
            raise SareeError("--where: the expression holds bytes that are not text")
        self.tokens = list(_tokens(text))
        starts = [token for token in self.tokens if token.kind == "operator" or token.value == "in"]
        if len(starts) > _MOST:
            raise SareeError(f"--where: more than {_MOST} comparisons; say it with `in (..., ...)`")
        if sum(token.kind in ("text", "number") for token in self.tokens) > _MOST_VALUES:
            raise SareeError(f"--where: more than {_MOST_VALUES:,} values in one expression")

    def whole(self) -> Comparison | Joined | Negated:
        tree = self.expression()
        if self.token.kind != "end":
            self.fail("'and', 'or' or the end")
        return tree

    def expression(self) -> Comparison | Joined | Negated:
        return self.joined("or", self.term)

    def term(self) -> Comparison | Joined | Negated:
        return self.joined("and", self.factor)

    def joined(self, word: str, part) -> Comparison | Joined | Negated:
        parts = [part()]
        while self.took("keyword", word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Joined(word.upper(), tuple(parts))

    def factor(self) -> Comparison | Joined | Negated:
        self.depth += 1
        if self.depth > _DEEPEST:
            _fail(self.text, self.token.at, f"nested more than {_DEEPEST} deep")
        if self.took("keyword", "not"):
            tree = Negated(self.factor())
        elif self.took("mark", "("):
            tree = self.expression()
            if not self.took("mark", ")"):
                self.fail("')'")
        else:
            tree = self.comparison()
        self.depth -= 1
        return tree

    def comparison(self) -> Comparison:
        column = self.token
        if column.kind != "name":
            self.fail("a column's name")
        self.place += 1
        if self.token.kind == "operator":
            operator = self.taken().value
            if operator == "~" and self.token.kind != "text":
                self.fail("a quoted term after ~")
            return Comparison(column.value, operator, (self.value(f"after {operator}"),), column.at)
        operator = "not in" if self.took("keyword", "not") else "in"
        if not self.took("keyword", "in"):
            self.fail("==, !=, <, <=, >, >=, ~ or in" if operator == "in" else "'in' after 'not'")
        return Comparison(column.value, operator, self.values(), column.at)

    def values(self) -> tuple[str | int | float, ...]:
        closing = ")" if self.took("mark", "(") else "]" if self.took("mark", "[") else None
        if closing is None:
            self.fail("a list in brackets, as in ('a', 'b')")
        values = [self.value("in the list")]
        while self.took("mark", ","):
            values.append(self.value("in the list"))
        if not self.took("mark", closing):
            self.fail(f"',' or '{closing}'")
        return tuple(values)

    def value(self, where: str) -> str | int | float:
        if self.token.kind in ("text", "number"):
            return self.taken().value
        hint = f"; write '{self.token.value}'" if self.token.kind == "name" else ""
        self.fail(f"a quoted text or a number {where}{hint}")

    @property
    def token(self) -> _Token:
        return self.tokens[self.place]

    def taken(self) -> _Token:
        self.place += 1
        return self.tokens[self.place - 1]

    def took(self, kind: str, value: str) -> bool:
        found = self.token.kind == kind and self.token.value == value
        self.place += found
        return found

    def fail(self, expected: str) -> NoReturn:
        token = self.token
        hints = {"'": " (a quotation mark is not closed)", '"': " (a quotation mark is not closed)", "=": " (write ==)"}
        hint = hints.get(token.typed, "") if token.kind == "bad" else ""
        _fail(self.text, token.at, f"expected {expected}{hint}")


def _tokens(text: str):
    place = 0
    while True:
        match = _TOKEN.match(text, place)
        kind, typed, at = match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)
        value: str | int | float = typed
        if kind == "text":
            value = typed[1:-1].replace(typed[0] * 2, typed[0])
        elif kind == "quoted":
            kind, value = "name", typed[1:-1]
        elif kind == "word" and _NUMBER.fullmatch(typed):
            kind, value = "number", _number(text, at, typed)
        elif kind == "word":
            kind, value = ("keyword", typed.lower()) if typed.lower() in _KEYWORDS else ("name", typed)
        yield _Token(kind, value, at, typed)
        if kind == "end":
            return
        place = match.end()


def _number(text: str, at: int, typed: str) -> int | float:
    value = float(typed)
    if abs(value) == float("inf"):
        _fail(text, at, f"'{_cut(typed)}' is too large a number")
    whole = int(typed) if re.fullmatch(r"[+-]?[0-9]{1,18}", typed) else None  # SQLite's integers have 64 bits
    return value if whole is None else whole


def _unknown(text: str, comparison: Comparison, names: list[str]) -> NoReturn:
    near = difflib.get_close_matches(comparison.column, names, n=1)
    instead = f"did you mean '{near[0]}'?" if near else f"there are {_cut(', '.join(names), 200)}"
    _fail(text, comparison.at, f"'{_cut(comparison.column)}' is not a column of this catalogue; {instead}")


def _fail(text: str, at: int, problem: str) -> NoReturn:
    rest = " ".join(text[at:].split())
    place = f"at `{_cut(rest)}`" if rest else "at the end"
    raise SareeError(f"--where: {place} (character {at + 1}): {problem}")


def _cut(text: str, most: int = 40) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _is_unicode(text: str) -> bool:
    """Whether SQLite can hold it: bytes of a terminal that are not UTF-8 reach Python as halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
