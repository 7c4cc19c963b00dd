"""Sheets of pictures for people: rows of captioned tiles, a search and what it found, and plain grids."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .errors import SareeError
from .files import atomic_write
from .images import WHOLE, Box, read_image

PAPER, MAT = (252, 251, 248), (241, 238, 231)  # warm near-whites: cloth looks grey on pure white
INK, SOFT = (38, 35, 31), (110, 104, 96)


@dataclass(frozen=True)
class Tile:
    """One picture with its words.

    image: (H, W, 3) uint8, or the bytes of an image file; shown whole, never cropped.
    caption, sub: a line under the picture, and quieter ones under that; too long a line ends in an ellipsis.
    box: (x0, y0, x1, y1) in [0, 1], drawn as a thin line; None or the whole picture draws nothing.
    frame: sets the picture apart, as the query among its hits.
    """

    image: np.ndarray | bytes
    caption: str = ""
    sub: str = ""
    box: Box | None = None
    frame: bool = False


def contact_sheet(
    rows: Sequence[Sequence[Tile]], *, labels: Sequence[str] = (), title: str = "", side: int = 200
) -> Image.Image:
    """Rows of tiles, each with a label at its left, under a title.

    Args:
        rows: may differ in length, and may be empty.
        labels: one for each row, or none at all.
        side: of the square that holds a picture, in pixels.

    Raises:
        SareeError: a picture's bytes cannot be read.
    """
    if labels and len(labels) != len(rows):
        raise ValueError(f"{len(rows)} rows need as many labels, got {len(labels)}")
    gap, margin = side // 10, side // 5
    label_size = max(10, side // 13)
    longest = max((_length(label, label_size) for label in labels), default=0)
    left = margin + (min(round(longest), side) + gap if longest else 0)
    top = margin + (side // 4 if title else 0)
    heights = [side + _words_height(row, side) + gap for row in rows]
    columns = max((len(row) for row in rows), default=0)
    width = max(left + columns * (side + gap) - gap, 3 * side) + margin
    sheet = Image.new("RGB", (width, top + sum(heights) + margin - gap), PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (margin, margin - side // 20), title, side // 9, INK, width - 2 * margin)
    for number, (row, y) in enumerate(zip(rows, accumulate(heights, initial=top), strict=False)):
        if labels:
            _write(draw, (margin, y), labels[number], label_size, SOFT, left - gap - margin)
        for column, tile in enumerate(row):
            _draw_tile(sheet, draw, (left + column * (side + gap), y), tile, side)
    return sheet


def search_sheet(
    queries: Sequence[Tile],
    hits: Sequence[Any],
    thumbnails: Callable[[str], bytes],
    *,
    columns: int = 5,
    title: str = "",
    side: int = 200,
) -> Image.Image:
    """The query's pictures, framed, above the hits in their order, with the two cosines of each.

    Args:
        hits: of `Catalogue.search`, or anything with key, cluster, motif, colour, same and box.
        thumbnails: gives an image file's bytes for a hit's key, as `Catalogue.thumbnail` does.
    """
    found = [
        Tile(
            thumbnails(hit.key),
            caption=hit.cluster or Path(hit.key).name,
            sub=(f"{Path(hit.key).name}\n" if hit.cluster else "")
            + f"motif {_short(hit.motif)} · colour {_short(hit.colour)}"
            + (f"\nthe very same, {hit.same:.0%}" if hit.same else ""),
            box=hit.box,
        )
        for hit in hits
    ]
    rows = [[replace(tile, frame=True) for tile in part] for part in _parts(queries, columns)]
    labels = ["query"] * bool(rows) + [""] * (len(rows) - 1)
    for start, part in enumerate(_parts(found, columns)):
        rows.append(part)
        first = start * columns + 1
        labels.append(f"{first} to {first + len(part) - 1}" if len(part) > 1 else str(first))
    if not hits:
        rows.append([])
        labels.append("nothing found")
    return contact_sheet(rows, labels=labels, title=title, side=side)


def grid(images: np.ndarray, columns: int, pad: int = 4) -> Image.Image:
    """(N, H, W, 3) uint8 pictures, `columns` in a row, `pad` pixels apart."""
    count, height, width, _ = images.shape
    columns = max(1, min(columns, count))
    rows = max(1, -(-count // columns))
    sheet = Image.new("RGB", (columns * (width + pad) + pad, rows * (height + pad) + pad), PAPER)
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        sheet.paste(Image.fromarray(image), (pad + column * (width + pad), pad + row * (height + pad)))
    return sheet


def save(image: Image.Image, path: str | Path) -> None:
    """Write a PNG, JPEG or WebP, by the path's ending, atomically.

    Raises:
        SareeError: another ending, or the file cannot be written.
    """
    kinds = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
    kind = kinds.get(Path(path).suffix.lower())
    if kind is None:
        raise SareeError(f"{path}: a sheet can be written as {', '.join(kinds)}; give it one of these endings")
    with atomic_write(path) as temporary:
        image.save(temporary, kind, quality=92, optimize=True)


def _draw_tile(sheet: Image.Image, draw: ImageDraw.ImageDraw, at: tuple[int, int], tile: Tile, side: int) -> None:
    x, y = at
    draw.rectangle((x, y, x + side - 1, y + side - 1), fill=MAT)
    image = Image.fromarray(tile.image if isinstance(tile.image, np.ndarray) else read_image(tile.image))
    scale = side / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    left, top = x + (side - width) // 2, y + (side - height) // 2
    sheet.paste(image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS), (left, top))
    if tile.box is not None and tuple(tile.box) != WHOLE:
        x0, y0, x1, y1 = tile.box
        corners = [left + x0 * width, top + y0 * height, left + x1 * width - 1, top + y1 * height - 1]
        for inset, colour in ((0, INK), (1, PAPER), (2, INK)):  # a light line between two dark ones shows on any cloth
            inner = (corners[0] + inset, corners[1] + inset, corners[2] - inset, corners[3] - inset)
            if inner[0] < inner[2] and inner[1] < inner[3]:
                draw.rectangle(inner, outline=colour)
    if tile.frame:
        draw.rectangle((x - 4, y - 4, x + side + 3, y + side + 3), outline=INK, width=2)
    line = y + side + side // 20
    for text, size, colour in _lines(tile, side):
        _write(draw, (x, line), text, size, colour, side)
        line += round(size * 1.35)


def _lines(tile: Tile, side: int) -> list[tuple[str, int, tuple[int, int, int]]]:
    lines = [(tile.caption, max(10, side // 13), INK)] if tile.caption else []
    return lines + [(text, max(9, side // 15), SOFT) for text in tile.sub.split("\n") if text]


def _words_height(row: Sequence[Tile], side: int) -> int:
    tallest = max((sum(round(size * 1.35) for _, size, _ in _lines(tile, side)) for tile in row), default=0)
    return tallest + side // 20 if tallest else 0


def _parts(tiles: Sequence[Tile], columns: int) -> list[list[Tile]]:
    return [list(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]


def _short(cosine: float) -> str:
    return f"{cosine:.2f}".replace("0.", ".", 1)


# ---- words


# Pillow's own font draws ASCII and little more. These are asked for by name where a text needs them; the first that
# has every character of it is taken.
_FONTS = (
    "NotoSans-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansTamil-Regular.ttf",
    "NotoSansTelugu-Regular.ttf",
    "NotoSansKannada-Regular.ttf",
    "NotoSansBengali-Regular.ttf",
    "NotoSansGujarati-Regular.ttf",
    "Nirmala.ttc",  # Windows, Indian scripts
    "Nirmala.ttf",
    "Kohinoor.ttc",  # macOS, Devanagari
    "Arial Unicode.ttf",
    "DejaVuSans.ttf",
    "arial.ttf",
)
_PLAIN = str.maketrans({"–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "×": "x", "ß": "ss"})
_INDIAN = re.compile(
    "(DEVANAGARI|BENGALI|GUJARATI|GURMUKHI|KANNADA|MALAYALAM|ORIYA|TAMIL|TELUGU) "
    "(?P<kind>LETTER|VOWEL SIGN|SIGN VIRAMA|SIGN) ?(?P<sound>[A-Z]*)"
)
_SIGNS = {"ANUSVARA": "n", "CANDRABINDU": "n", "VISARGA": "h", "NUKTA": ""}
_LONGEST = 400  # characters; more cannot be shown on any tile


def _write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, colour: tuple, width: float) -> None:
    """One line of text from its top left corner, cut to `width` pixels."""
    text, font = _with_font(text, size)
    if text:
        draw.text((at[0], at[1] + size), _cut(text, font, width), font=font, fill=colour, anchor="ls")


def _length(text: str, size: int) -> float:
    text, font = _with_font(text, size)
    return font.getlength(text) + 1 if text else 0


def _cut(text: str, font: Any, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    end = len(text)
    while end and font.getlength(text[:end].rstrip() + "…") > width:
        end -= 1
    while end and unicodedata.category(text[end])[0] == "M":  # a vowel sign stays with its letter
        end -= 1
    return text[:end].rstrip() + "…"


def _with_font(text: str, size: int) -> tuple[str, Any]:
    """The text on one line, and a font that can draw it; where there is none, the nearest plain letters."""
    text = " ".join(text[:_LONGEST].split())
    for name in ("", *_FONTS):
        if all(_draws(name, letter) for letter in set(text)):
            return text, _font(name, size)
    bare = unicodedata.normalize("NFKD", _romanised(text).translate(_PLAIN))
    letters = (letter for letter in bare if unicodedata.category(letter)[0] not in "MC")
    return "".join(letter if _draws("", letter) else "?" for letter in letters), _font("", size)


def _romanised(text: str) -> str:
    """Indian scripts in rough Latin letters, for want of a font: the names of their characters tell the sounds."""
    parts: list[str] = []
    for letter in text:
        name = _INDIAN.fullmatch(unicodedata.name(letter, ""))
        if name is None:
            parts.append(str(unicodedata.decimal(letter, letter)))
            continue
        sound = _SIGNS.get(name["sound"], re.sub(r"^(.)\1", r"\1", name["sound"].lower()))  # TTA, AA: t and a will do
        if name["kind"] in ("VOWEL SIGN", "SIGN VIRAMA") and parts:
            parts[-1] = parts[-1].removesuffix("a")  # the sign takes the place of the consonant's own vowel
        parts += [sound] if sound else []
    return "".join(parts)


@lru_cache(maxsize=256)
def _font(name: str, size: int) -> Any:
    """The font, or None where this machine does not have it; Pillow's own for an empty name."""
    if not name:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@lru_cache(maxsize=8192)
def _draws(name: str, letter: str) -> bool:
    """Whether the font has a glyph of its own for the letter."""
    font = _font(name, 16)
    if font is None:
        return False
    return letter == " " or unicodedata.category(letter) == "Cf" or _glyph(font, letter) != _glyph(font, "\uffff")


def _glyph(font: Any, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)
