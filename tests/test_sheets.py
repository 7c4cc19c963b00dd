"""Sheets show whole pictures where they say, and any words without falling over."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from saree_vae import sheets
from saree_vae.errors import SareeError
from saree_vae.sheets import MAT, PAPER, Tile, contact_sheet, grid, save, search_sheet

RED, GREEN, BLUE = (200, 20, 20), (20, 160, 20), (20, 20, 200)


def plain(colour, height=40, width=40) -> np.ndarray:
    return np.full((height, width, 3), colour, dtype=np.uint8)


def count(sheet: Image.Image, colour) -> int:
    return int((np.asarray(sheet) == colour).all(-1).sum())


def place(sheet: Image.Image, colour) -> tuple[int, int, int, int]:
    """left, top, right, bottom of all pixels of a colour, the last two exclusive."""
    rows, columns = np.nonzero((np.asarray(sheet) == colour).all(-1))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def file_of(colour) -> bytes:
    buffer = BytesIO()
    Image.fromarray(plain(colour)).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class Found:
    key: str
    cluster: str | None = None
    motif: float = 0.934
    colour: float = -0.06
    same: float = 0.0
    box: tuple = (0, 0, 1, 1)


@pytest.mark.parametrize(("height", "width"), [(40, 40), (10, 40), (900, 300), (1, 1), (1, 500)])
def test_a_picture_is_shown_whole_in_the_middle_of_its_square(height, width):
    sheet = contact_sheet([[Tile(plain(RED, height, width))]], side=200)
    left, top, right, bottom = place(sheet, RED)
    scale = 200 / max(height, width)
    assert (right - left, bottom - top) == (max(1, round(width * scale)), max(1, round(height * scale)))
    assert count(sheet, RED) + count(sheet, MAT) == 200 * 200
    mat = place(sheet, MAT) if height != width else (left, top, right, bottom)
    assert abs((left + right) - (mat[0] + mat[2])) <= 2
    assert abs((top + bottom) - (mat[1] + mat[3])) <= 2


def test_rows_and_columns_are_in_order():
    rows = [[Tile(plain(RED), "one"), Tile(plain(GREEN), "two", "quiet\nquieter")], [Tile(plain(BLUE))]]
    sheet = contact_sheet(rows, labels=["by motif", "by colour"], title="Two ways to look", side=100)
    red, green, blue = place(sheet, RED), place(sheet, GREEN), place(sheet, BLUE)
    assert red[1] == green[1]
    assert red[2] < green[0]
    assert blue[0] == red[0]
    assert blue[1] > red[3]
    assert count(sheet, RED) == count(sheet, GREEN) == count(sheet, BLUE) == 100 * 100
    label = np.asarray(sheet)[red[1] : red[3], : red[0] - 5]
    assert (label != PAPER).any()


def test_a_box_is_drawn_where_it_lies_and_hides_almost_nothing():
    bare = contact_sheet([[Tile(plain(RED), box=(0, 0, 1, 1))]])
    boxed = contact_sheet([[Tile(plain(RED), box=(0.25, 0.5, 0.75, 1.0))]])
    left, top, *_ = place(bare, RED)
    rows, columns = np.nonzero((np.asarray(bare) != np.asarray(boxed)).any(-1))
    changed = (columns.min() - left, rows.min() - top, columns.max() + 1 - left, rows.max() + 1 - top)
    np.testing.assert_allclose(changed, (50, 100, 150, 200), atol=1)
    assert len(rows) < 0.05 * 200 * 200
    contact_sheet([[Tile(plain(RED), box=(0.5, 0.5, 0.501, 0.501))]])


def test_a_frame_stands_outside_the_picture():
    framed = contact_sheet([[Tile(plain(RED), frame=True)]])
    assert count(framed, RED) == 200 * 200
    assert count(framed, sheets.INK) > 4 * 200


WORDS = [
    "",
    " ",
    "a caption that goes on " * 400,
    "W" * 5000,
    "काञ्चीपुरम् पट्टु साड़ी",
    "பட்டோலா",
    "Łódź – é “quoted” ½ ß",
    "\u200d\u0301\u202e",
    "two\nlines\tand tabs",
    "\0\x07",
    "织锦 🧵",
    "\udcff",
]


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("fonts", ["of this machine", "Pillow's alone"])
def test_any_words_fit_under_their_tile(words, fonts, monkeypatch):
    if fonts == "Pillow's alone":
        monkeypatch.setattr(sheets, "_FONTS", ())
    tiles = [Tile(plain(RED), words, words), Tile(plain(RED), frame=True)]
    sheet = contact_sheet([tiles], labels=[words], title=words, side=120)
    plainly = contact_sheet([tiles[1:]], side=120)
    gap_between = np.asarray(sheet)[:, place(sheet, RED)[0] + 120 + 2 : place(sheet, RED)[0] + 120 + 8]
    below = gap_between[place(sheet, RED)[3] + 4 :]
    assert (below == PAPER).all()
    assert sheet.width < 4 * plainly.width


def test_a_text_too_long_ends_in_an_ellipsis_and_keeps_its_beginning():
    font = sheets._font("", 14)
    cut = sheets._cut("a caption that goes on and on", font, 100)
    assert cut.startswith("a caption")
    assert cut.endswith("…")
    assert font.getlength(cut) <= 100
    assert sheets._cut("short", font, 100) == "short"
    assert sheets._cut("पट्टु", font, 1) == "…"


@pytest.mark.parametrize(
    ("written", "read"),
    [("पटोला", "patola"), ("बांधनी", "bandhani"), ("பட்டோலா", "pattola"), ("ইক্কত २०", "ikkata 20"), ("Ikat", "Ikat")],
)
def test_without_a_font_for_it_an_indian_script_is_spelled_out(written, read, monkeypatch):
    monkeypatch.setattr(sheets, "_FONTS", ())
    assert sheets._with_font(written, 14)[0] == read


def test_a_search_sheet_shows_the_query_then_the_hits_in_order():
    colours = {"b/green.png": GREEN, "a/blue.png": BLUE, **{f"{n}.png": (n, 90, 90) for n in range(4)}}
    hits = [Found(key, cluster="patola" if "/" in key else None) for key in colours]
    asked = []

    def thumbnails(key: str) -> bytes:
        asked.append(key)
        return file_of(colours[key])

    sheet = search_sheet([Tile(plain(RED), "yours")], hits, thumbnails, columns=5, title="Found", side=100)
    assert asked == list(colours)
    assert place(sheet, RED)[3] < place(sheet, GREEN)[1] == place(sheet, BLUE)[1]
    assert place(sheet, GREEN)[2] < place(sheet, BLUE)[0]
    assert place(sheet, (3, 90, 90))[1] > place(sheet, (2, 90, 90))[3]  # the sixth begins a row


def test_cosines_are_told_briefly(monkeypatch):
    told = []
    monkeypatch.setattr(sheets, "contact_sheet", lambda rows, **_: told.extend(rows))
    hits = [Found("a/one.jpg", "patola", box=(0, 0, 0.5, 0.5)), Found("two.jpg", motif=1.0, colour=0.0, same=0.873)]
    search_sheet([Tile(plain(RED))], hits, lambda key: b"", columns=1)
    query, one, two = (row[0] for row in told)
    assert query.frame
    assert not one.frame
    assert one.box == (0, 0, 0.5, 0.5)
    assert (one.caption, one.sub) == ("patola", "one.jpg\nmotif .93 · colour -.06")
    assert (two.caption, two.sub) == ("two.jpg", "motif 1.00 · colour .00\nthe very same, 87%")


def test_a_search_that_found_nothing_says_so():
    nothing = search_sheet([Tile(plain(RED))], [], lambda key: b"")
    assert count(nothing, RED) == 200 * 200
    assert count(search_sheet([], [], lambda key: b""), RED) == 0


def test_a_sheet_without_rows_is_a_blank_sheet():
    assert count(contact_sheet([]), PAPER) == contact_sheet([]).width * contact_sheet([]).height


def test_a_picture_that_cannot_be_read_is_told():
    with pytest.raises(SareeError):
        contact_sheet([[Tile(b"not a picture", "broken")]])


def test_a_grid_pads_and_wraps():
    images = np.stack([plain(RED, 8, 8), plain(GREEN, 8, 8), plain(BLUE, 8, 8)])
    sheet = grid(images, 2, pad=3)
    assert sheet.size == (2 * 8 + 3 * 3, 2 * 8 + 3 * 3)
    assert place(sheet, RED) == (3, 3, 11, 11)
    assert place(sheet, GREEN) == (14, 3, 22, 11)
    assert place(sheet, BLUE) == (3, 14, 11, 22)
    assert grid(images, 9, pad=0).size == (24, 8)


def test_saving_is_atomic_and_goes_by_the_ending(tmp_path):
    sheet = contact_sheet([[Tile(plain(RED))]])
    for name, kind in (("a.png", "PNG"), ("a.JPG", "JPEG"), ("deep/a.webp", "WEBP")):
        save(sheet, tmp_path / name)
        with Image.open(tmp_path / name) as again:
            assert again.format == kind
            assert again.size == sheet.size
    with pytest.raises(SareeError, match=r"a.txt: a sheet can be written as .png, .jpg"):
        save(sheet, tmp_path / "a.txt")
    (tmp_path / "file").touch()
    with pytest.raises(SareeError, match="could not be written"):
        save(sheet, tmp_path / "file" / "a.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.JPG", "a.png", "deep", "file"]
