"""Pieces of pages: how pictures come in, how pieces are shown, how trouble and waiting are told."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from PIL import Image, ImageDraw
from streamlit.runtime.uploaded_file_manager import UploadedFile

from saree_vae.catalogue import WHOLE, Box
from saree_vae.data import Item
from saree_vae.errors import SareeError
from saree_vae.images import read_image, thumbnail

from .store import Collection, collection

PIXELS = 60_000_000  # of a picture that a visitor brings: 180 MB once decoded
LOOK = 512  # pixels: the shorter side of a picture that is looked at closely
KINDS = ["jpg", "jpeg", "png", "webp", "tif", "tiff", "bmp", "gif", "avif", "heic"]
PAGE = 24  # pieces at once, when somebody leafs through the collection

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Picture:
    """A picture that a visitor brought: checked, and small enough to keep."""

    name: str
    file: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.file).hexdigest()

    @property
    def mark(self) -> str:
        return self.sha256[:16]


@dataclass(frozen=True)
class Card:
    """A picture with words under it.

    picture: JPEG or (H, W, 3) uint8; alt: what a screen reader says; lines: text, not Markdown.
    """

    picture: bytes | np.ndarray
    alt: str
    lines: Sequence[str] = ()
    key: str = ""


def plain(text: object) -> str:
    """Text as Markdown that shows it as it is: no link, no picture, no colour, no HTML comes of it."""
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~$:&^=\"'@/])", r"\\\1", " ".join(str(text).split()))


def trouble(error: Exception) -> None:
    """An error in its one sentence."""
    st.error(plain(error), icon=":material/error:")


@contextmanager
def told() -> Iterator[None]:
    """What goes wrong within is said, and the page goes on after it."""
    try:
        yield
    except SareeError as error:
        trouble(error)


@contextmanager
def waiting(what: str) -> Iterator[Progress]:
    """A bar that moves by progress(what, done, total), and a button that stops the work.

    Not in a fragment: there a click waits until the work is done. Where work begins by itself, the page must look for
    st.session_state["stop <what>"], or it begins again.
    """
    place = st.empty()
    with place.container():
        bar = st.progress(0.0, text=f"{what} …")
        st.button("Stop", icon=":material/stop_circle:", key=f"stop {what}")  # any click ends the run at its next word

    def progress(now: str, done: int, total: int) -> None:
        bar.progress(min(1.0, done / max(1, total)), text=f"{now}: {done:,} of {total:,}")

    try:
        yield progress
    finally:
        place.empty()


def title(name: str, about: str) -> None:
    """A page's head: its name and what it is for."""
    st.title(name, anchor=False)
    st.markdown(f":gray[{about}]")


def needed() -> Collection | None:
    """The catalogue; where there is none, the page says how one is made."""
    try:
        found = collection()
    except SareeError as error:
        trouble(error)
        return None
    if found is None or not found.pieces:
        st.info("There is no catalogue yet. Make one of your photographs and open it:", icon=":material/image:")
        st.code(
            "saree-vae quickstart --data FOLDER\nsaree-vae app --catalogue saree-quickstart/catalogue", language="bash"
        )
        return None
    return found


def brought(key: str, label: str = "A picture of a textile") -> Picture | None:
    """A picture by upload, camera or paste; what cannot be read is told in words."""
    upload, camera, paste = st.tabs(["Upload", "Camera", "Paste"])
    with upload:
        one = st.file_uploader(label, type=KINDS, key=f"{key} upload")
    with camera:
        asked = st.toggle("Use the camera", key=f"{key} camera on")  # nobody is asked for a camera unasked
        two = st.camera_input(label, key=f"{key} camera") if asked else None
    with paste:
        said = st.chat_input("Paste, then Enter", accept_file=True, file_type=KINDS, max_chars=1, key=f"{key} paste")
    if said and said.files:
        st.session_state[f"{key} pasted"] = said.files[0]
    seen = st.session_state.setdefault(f"{key} seen", {})
    file = newest(seen, {"upload": one, "camera": two, "paste": st.session_state.get(f"{key} pasted")})
    return checked(file.name, file.getvalue()) if file else None


def newest(seen: dict[str, str], files: Mapping[str, UploadedFile | None]) -> UploadedFile | None:
    """Of the pictures that stand in several widgets the one that came last; `seen` is kept from time to time."""
    for way, file in files.items():
        mark = file.file_id if file else None
        if mark != seen.get(way):
            seen.pop(way, None)
            seen |= {way: mark} if mark else {}  # at the end: the newest
    return files[list(seen)[-1]] if seen else None


def checked(name: str, file: bytes) -> Picture | None:
    """A picture that can be read, by its content and not by its name; else words."""
    if not file:
        trouble(SareeError(f"{name}: is empty"))
        return None
    try:
        read_image(file, min_side=64, max_pixels=PIXELS)
    except SareeError as error:
        reason = getattr(error, "reason", str(error))
        trouble(SareeError(f"{name}: {reason}"))
        return None
    return Picture(name, file)


def small(picture: Picture | np.ndarray) -> bytes:
    """Its thumbnail, JPEG."""
    return thumbnail(read_image(picture.file, min_side=384) if isinstance(picture, Picture) else picture)


def image(picture: bytes | np.ndarray, *, alt: str, width: int | Literal["stretch"]) -> None:
    """A picture, JPEG or PNG or (H, W, 3) uint8, with words for those who cannot see it.

    It travels inside the page: Streamlit's own files of pictures are gone as soon as the page changes, and a browser
    that asks for one a moment later shows a hole.
    """
    if isinstance(picture, np.ndarray):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=92, subsampling=0)
        picture = file.getvalue()
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
    st.image(f"data:image/{kind};base64,{base64.b64encode(picture).decode()}", alt=alt, width=width)


def canvas(picture: Image.Image, width: int, height: int, across: float = 1, down: float = 1) -> go.Figure:
    """A picture to click or draw on, that many pixels large; its own coordinates go to `across` and `down`."""
    figure = go.Figure()
    figure.add_layout_image(source=picture, xref="x", yref="y", x=0, y=0, sizex=across, sizey=down, sizing="stretch")
    figure.layout.images[0].layer = "below"
    figure.update_xaxes(visible=False, range=[0, across], fixedrange=True)
    figure.update_yaxes(visible=False, range=[down, 0], fixedrange=True)
    bare = {"plot_bgcolor": "rgba(0,0,0,0)", "paper_bgcolor": "rgba(0,0,0,0)", "showlegend": False}
    figure.update_layout(margin=dict.fromkeys("lrtb", 0), width=width, height=height, **bare)
    return figure


def framed(figure: go.Figure, x0: float, y0: float, x1: float, y1: float) -> None:
    """A line round a part of a canvas, in light and dark: seen on any cloth."""
    for colour, width in (("#ffffff", 7), ("#2b2422", 3)):
        figure.add_shape(type="rect", x0=x0, x1=x1, y0=y0, y1=y1, line={"color": colour, "width": width})


def card_of(found: Collection, piece: Item, *lines: str) -> Card:
    """A stored piece, with its cluster or else its name, and more lines."""
    name = name_of(piece)
    return Card(found.catalogue.thumbnail(piece.key), f"{name}: {piece.key}", (name, *lines), piece.key)


def boxed(file: bytes, box: Box) -> bytes:
    """A thumbnail with a frame round the part that matched; as it is where that is the whole."""
    if box == WHOLE:
        return file
    with Image.open(io.BytesIO(file)) as opened:
        image = opened.convert("RGB")
    corners = [round(value * side) for value, side in zip(box, image.size * 2, strict=True)]
    draw = ImageDraw.Draw(image)
    for inset, colour in ((0, "#2b2422"), (1, "#fbf8f3"), (2, "#fbf8f3"), (3, "#2b2422")):  # seen on any cloth
        draw.rectangle(
            (corners[0] + inset, corners[1] + inset, corners[2] - 1 - inset, corners[3] - 1 - inset), None, colour
        )
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


def name_of(piece: Item) -> str:
    """What people call it: its cluster, or its title, or its file."""
    return piece.metadata.get("title") or (piece.cluster or "").replace("_", " ") or piece.key.rpartition("/")[2]


def gallery(cards: Sequence[Card], key: str, below: Callable[[Card], None] | None = None, width: int = 150) -> None:
    """Cards in as many columns as fit; `below` draws what somebody can do with each."""
    with st.grid(min_column_width=width, gap="small", key=key):
        for number, card in enumerate(cards):
            with st.container(key=f"{key} {number}", gap="xsmall"):
                image(card.picture, alt=card.alt, width="stretch")
                name, *lines = [plain(line) for line in card.lines] or [""]
                st.markdown("  \n".join([f"**{name}**", *(f":small[{line}]" for line in lines)]))
                if below:
                    below(card)


def leafed(
    found: Collection,
    key: str,
    keys: Sequence[str],
    below: Callable[[Card], None],
    *,
    lines: Mapping[str, Sequence[str]] | None = None,
    pictures: Mapping[str, bytes] | None = None,
    width: int = 96,
) -> None:
    """The collection, or some of it, a page at a time; with more words, and other pictures, for some."""
    pages = max(1, -(-len(keys) // PAGE))
    page = st.pagination(pages, key=f"{key} page") if pages > 1 else 1
    some = keys[(min(page, pages) - 1) * PAGE : min(page, pages) * PAGE]
    cards = [card_of(found, found.pieces[one], *(lines or {}).get(one, ())) for one in some]
    cards = [replace(card, picture=(pictures or {}).get(card.key, card.picture)) for card in cards]
    gallery(cards, f"{key} leaf", below, width)


def clusters_of(found: Collection) -> list[str]:
    """Clusters that pieces are labelled with, in order."""
    return sorted({piece.cluster for piece in found.pieces.values() if piece.cluster})
