"""The front end as a visitor meets it, without a browser: search and its links, what comes in, what is said."""

from __future__ import annotations

KEY = "stripes/0_0.png"


SAID = ("markdown", "caption", "info", "error", "warning")


def words(page) -> str:
    return "\n".join(one.value for kind in SAID for one in page.get(kind))


def test_a_search_from_a_link_finds_the_piece_again(front):
    page = front("search", query={"like": KEY, "slant": "0"})
    assert not page.exception
    assert "jamdani" in words(page) and "of 32 pieces" in words(page)
