"""The page Search: from a picture, from pieces that are liked, or from colours."""

from __future__ import annotations

import csv
import io
import re
import time
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from PIL import Image

from apps.knowledge import labels_with
from kg.graph import clusters, resolve
from kg.queries import telling
from saree_vae import indexing
from saree_vae import query as queries
from saree_vae.catalogue import Box, Hit
from saree_vae.errors import SareeError
from saree_vae.images import read_image
from saree_vae.query import SLANT, Query
from saree_vae.where import parse, quoted, written

from . import parts, store
from .parts import Card, Picture, plain
from .store import Collection

SHOWN = 24
DRAWN_ON = 320  # pixels: the height of a picture to draw a box on
BOTH, KIND = "Alike in both", "All of its kind"
DESIGN, COLOURS = "This design, in other colours", "These colours, in other designs"


class How(NamedTuple):
    """How pieces are compared: as `query.find` says."""

    slant: float
    differ: bool = False
    kin: bool = False


PRESETS = {
    BOTH: How(SLANT),
    KIND: How(SLANT, kin=True),
    DESIGN: How(0.0, differ=True),
    COLOURS: How(1.0, differ=True),
}
STARTS = ("Picture", "Collection", "Colours")
YARNS = ("#8e1b2f", "#d9a441", "#1f5f5b", "#f2e8d5", "#22294f")  # madder, turmeric, peacock, cotton, indigo
FEW = 40  # values of a column that can be chosen from
ZIPPED = 200 * 1024 * 1024  # bytes of photographs in one archive at most


def page() -> None:
    parts.title("Search", "Find pieces by their design, by their colours, or by both.")
    found = parts.needed()
    if found is None:
        return
    _from_link(found)
    if store.settings().edit:
        _put_back(found)
    st.session_state.setdefault("start", STARTS[0])
    asking, answer = st.columns([2, 5], gap="large")
    with asking:
        start = st.segmented_control("Start from", STARTS, required=True, key="start", persist_state="session")
        {"Picture": _a_picture, "Collection": _the_collection, "Colours": _colours}[start](found)
    with answer:
        if start == "Colours":
            _by_colours(found)
        else:
            _by_likeness(found)


def as_page() -> st.Page:
    return st.Page(page, title="Search", icon=":material/search:", default=True)


def opener(piece: str, words: str, *, preset: str = BOTH, key: str = "") -> None:
    """A button, on any page, that opens this one with one piece liked."""
    asked = {"on_click": _start_from, "args": (piece, preset), "type": "tertiary"}
    if st.button(words, key=f"search {key} {piece}", **asked):
        st.switch_page(as_page())  # in a fragment the click alone would not leave it


def _start_from(piece: str, preset: str) -> None:
    _only(piece)
    st.session_state.setdefault("where", "")  # a visitor may come from another page and find no filters yet
    st.session_state.update(PRESETS[preset]._asdict(), preset=preset, start=STARTS[1])


# --- what is looked for ---


def _from_link(found: Collection) -> None:
    """Take over the search that a link holds, once a session."""
    state, asked = st.session_state, st.query_params
    if "liked" in state:
        return
    named = {name: list(dict.fromkeys(asked.get_all(name))) for name in ("like", "unlike")}
    state.liked = [key for key in named["like"] if key in found.pieces]
    state.disliked = [key for key in named["unlike"] if key in found.pieces and key not in state.liked]
    state.link = asked.get("q")
    state.part = (state.liked[0], box) if len(state.liked) == 1 and (box := _typed_box(asked.get("part", ""))) else None
    state.start = asked["start"] if asked.get("start") in STARTS else STARTS[1 if state.liked else 0]
    state.where = asked.get("where", "")
    for number, colour in enumerate(asked.get_all("colour")[:3]):
        if re.fullmatch("[0-9a-f]{6}", colour):
            state[f"colour {number}"], state["how many"] = f"#{colour}", number + 1
    state.slant = _slant(asked.get("slant", ""))
    state.differ = asked.get("differ") == "1"
    state.kin = asked.get("kin") == "1"
    how = How(state.slant, state.differ, state.kin)
    state.preset = next((name for name, preset in PRESETS.items() if preset == how), None)
    if any(key not in found.pieces for key in named["like"]):
        st.warning("Some pieces of this link are no longer in the catalogue.")


def _typed_box(typed: str) -> Box | None:
    with suppress(ValueError):
        x0, y0, x1, y1 = map(float, typed.split(","))
        return _box({"x": (x0, x1), "y": (y0, y1)})
    return None


def _slant(typed: str) -> float:
    """As the slider has it: any number, in its steps and between its ends."""
    with suppress(ValueError):
        return round(20 * min(1.0, max(0.0, float(typed)))) / 20
    return SLANT


def _a_picture(found: Collection) -> None:
    picture = parts.brought("search", "A picture of a textile")
    if picture and st.session_state.get("picture mark") != picture.mark:
        st.session_state.update({"picture": picture, "picture mark": picture.mark, "part": None, "link": None})
        st.session_state.update(liked=[], disliked=[])
    if st.session_state.get("picture"):
        _shown_picture(st.session_state.picture)


def _shown_picture(picture: Picture) -> None:
    parts.image(parts.small(picture), alt=f"Your picture, {picture.name}", width=220)
    _part(picture, picture.mark)
    if store.settings().edit:
        _added(picture)
    if st.button("Without this picture", icon=":material/close:", type="tertiary"):
        st.session_state.update({"picture": None, "part": None})
        st.rerun()


def _added(picture: Picture) -> None:
    """Put a visitor's picture into the catalogue, with a file of its own there."""
    found, name = store.collection(), f"added/{picture.mark}"
    if any(key.startswith(name) for key in found.pieces):
        st.caption("This picture is in the catalogue.")
    elif st.button("Add to the catalogue", icon=":material/add_photo_alternate:"):
        with parts.told():
            indexing.add(found.run, found.catalogue.folder, name, picture.file)
            st.rerun()


def _part(picture: Picture, mark: str) -> None:
    """Let a visitor draw a box on a picture; the search is then for what is in it."""
    state = st.session_state
    if state.get("part") and state.part[0] != mark:
        state.part = None
    with st.popover("Only a part of it", icon=":material/crop:"):
        st.markdown("Draw a box round the pallu, the border or a motif.")
        asked = {"on_select": "rerun", "selection_mode": "box", "alt": f"{picture.name}, to draw a box on"}
        drawing = _canvas(picture, state.part[1] if state.get("part") else None)
        event = st.plotly_chart(drawing, key=f"canvas {mark} {state.get('canvas', 0)}", width="content", **asked)
    drawn = event.selection.box if event else []
    if drawn and (box := _box(drawn[0])) and state.get("part") != (mark, box):
        state.part = (mark, box)
        st.rerun()  # to see it on the canvas
    if state.get("part"):
        st.caption("Only the part that you drew is looked for.")
        st.button("The whole picture", icon=":material/crop_free:", type="tertiary", on_click=_whole)


def _whole() -> None:
    """Forget what was drawn; a canvas of another name has nothing on it."""
    st.session_state.update({"part": None, "canvas": st.session_state.get("canvas", 0) + 1})


def _canvas(picture: Picture, box: Box | None) -> go.Figure:
    """A picture to draw a box on, and the box; coordinates in [0, 1]."""
    image = Image.fromarray(read_image(picture.file, min_side=256))
    image.thumbnail((480, 480))
    figure = parts.canvas(image, round(DRAWN_ON * image.width / image.height), DRAWN_ON)
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="markers", marker_opacity=0, hoverinfo="skip")  # or no box is drawn
    if box:
        parts.framed(figure, *box)
    return figure.update_layout(dragmode="select")


def _box(drawn: dict) -> Box | None:
    (x0, x1), (y0, y1) = (np.clip(sorted(map(float, drawn[axis])), 0, 1).round(3).tolist() for axis in ("x", "y"))
    return (x0, y0, x1, y1) if x1 - x0 > 0.02 and y1 - y0 > 0.02 else None


def _the_collection(found: Collection) -> None:
    state = st.session_state
    clusters = parts.clusters_of(found)
    chosen = st.selectbox("Leaf through", ["everything", *clusters], format_func=lambda name: name.replace("_", " "))
    keys = [key for key, piece in found.pieces.items() if chosen == "everything" or piece.cluster == chosen]

    def below(card: Card) -> None:
        st.button("Like this", key=f"leaf {card.key}", type="tertiary", on_click=_only, args=(card.key,))

    with st.container(height=420 if not (state.liked or state.link) else 260):
        parts.leafed(found, "collection", keys, below)
    if len(state.liked) == 1 and state.liked[0] in found.pieces:
        _part(_photograph(found, state.liked[0]), state.liked[0])


def _only(key: str) -> None:
    st.session_state.update(liked=[key], disliked=[], picture=None, part=None, link=None)


def _also(name: str, other: str, key: str) -> None:
    state = st.session_state
    state[name] = [*(one for one in state[name] if one != key), key]
    state[other] = [one for one in state[other] if one != key]


def _drop(name: str, key: str) -> None:
    st.session_state[name] = [one for one in st.session_state[name] if one != key]


def _asked(found: Collection) -> Query | None:
    """The query of this session; None where nothing is asked yet."""
    state, catalogue = st.session_state, found.catalogue
    mark, box = state.get("part") or ("", None)
    liked = [_of_piece(found, key, box if key == mark else None) for key in state.liked if key in found.pieces]
    disliked = [queries.of_piece(catalogue, key) for key in state.disliked if key in found.pieces]
    picture = state.get("picture")
    if picture:
        liked.append(_encoded(found, picture.mark, box if picture.mark == mark else None, picture))
    elif state.link:
        liked.append(Query.of_text(state.link, catalogue))
    return queries.mixed(liked, disliked, catalogue.motif_dim) if liked else None


def _of_piece(found: Collection, key: str, box: tuple | None) -> Query:
    if box is None:
        return queries.of_piece(found.catalogue, key)
    return replace(_encoded(found, key, box, _photograph(found, key)), keys=(key,))


def _photograph(found: Collection, key: str) -> Picture:
    source = found.source(key)
    return Picture(key.rpartition("/")[2], source if isinstance(source, bytes) else source.read_bytes())


@st.cache_data(show_spinner=False, max_entries=200)
def _encoded(_found: Collection, mark: str, part: tuple | None, _picture: Picture) -> Query:
    if part:
        return queries.of_part(_found.run, _picture.file, part)
    return queries.of_pictures(_found.run, [_picture.file], _found.catalogue.crops)


# --- what is found ---


@st.fragment
def _by_likeness(found: Collection) -> None:
    how = _how()
    where = _filters(found)
    _tray(found)
    with parts.told():
        query = _asked(found)
        if query is None:
            st.info("Bring a picture, or choose a piece of the collection to start from.", icon=":material/west:")
            return
        start = time.perf_counter()
        hits = queries.find(found.catalogue, query, SHOWN, where=where, **how._asdict())
        took = time.perf_counter() - start
        _link(found, how)
        if not hits:
            st.info("Nothing in this catalogue fits these filters. Take one away.", icon=":material/filter_alt_off:")
            return
        st.caption(f"{len(hits)} of {len(found.pieces):,} pieces, in {1000 * took:.0f} ms")
        _show_hits(found, hits, how.slant)


def _how() -> How:
    """As a preset says, or the slider."""
    state = st.session_state
    choice = st.segmented_control(
        "Find", [*PRESETS], key="preset", label_visibility="collapsed", on_change=_preset, persist_state="session"
    )
    st.slider(
        "From the same design to the same colours",
        0.0,
        1.0,
        key="slant",
        persist_state="session",
        step=0.05,
        format=" ",
        help="On the left only the design counts, on the right only the colours.",
        on_change=lambda: state.update(preset=None, differ=False, kin=False),
    )
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        st.caption("same design", width="content")
        st.caption("same colours", width="content")
    return PRESETS[choice] if choice else How(state.slant, state.differ, state.kin)


def _preset() -> None:
    if st.session_state.preset:
        st.session_state.update(PRESETS[st.session_state.preset]._asdict())


def _filters(found: Collection):
    """What hits must match, as a parsed expression; None for all."""
    state = st.session_state
    with st.popover("Filters" + (" · on" if state.get("filtered") else ""), icon=":material/filter_alt:"):
        choices = _choices(found)
        said = []
        for column, values in choices.items():
            picked = st.multiselect(column.replace("_", " "), values, key=f"filter {column}", persist_state="session")
            said += [written(column, picked)] if picked else []
        for kind, terms in _terms(tuple(parts.clusters_of(found))).items():
            picked = st.multiselect(f"{kind} (or narrower)", terms, key=f"term {kind}", persist_state="session")
            said += [f"{kind} ~ {quoted(term)}" for term in picked]
        typed = st.text_input("Or in words", state.where, placeholder="cluster == 'paithani' and year > 1950")
    text = " and ".join([*said, *([f"({typed})"] if typed and said else [typed] if typed else [])])
    state.where, state.filtered = typed, text
    if not text:
        return None
    st.caption(plain(text))
    with parts.told():
        wanted = parse(text)
        if not wanted.asks:
            return wanted
        thought = {key: cluster for key, (cluster, _) in store.named(found, found.version).items()}
        return wanted.answered(labels_with([*parts.clusters_of(found), *thought.values()]), thought)
    st.stop()  # what was typed is no expression: nothing is searched


def _choices(found: Collection) -> dict[str, list[str]]:
    """Columns of the catalogue's own metadata that can be chosen from, with their values."""
    values: dict[str, set[str]] = {"cluster": set()}
    for piece in found.pieces.values():
        values["cluster"] |= {piece.cluster} if piece.cluster else set()
        for name, value in piece.metadata.items():
            values.setdefault(name, set()).add(value)
    writable = {name: sorted(some) for name, some in values.items() if "`" not in name}  # see `where.written`
    return {name: some for name, some in writable.items() if 1 < len(some) <= FEW or (name == "cluster" and some)}


@st.cache_data(show_spinner=False, max_entries=4)
def _terms(clusters: Sequence[str]) -> dict[str, list[str]]:
    """Terms of the graph that some but not all of these labels' clusters have, by kind."""
    opened, known = store.graph(), []
    for cluster in clusters:
        with suppress(SareeError):  # a label that the graph does not know
            known.append(resolve(opened, cluster))
    found = [node.partition(":") for node in telling(opened, known)]
    return {kind: [name for one, _, name in found if one == kind] for kind in sorted({one for one, _, _ in found})}


def _tray(found: Collection) -> None:
    """What is liked and disliked, each to be taken back; and what a link cannot bring back."""
    state = st.session_state
    if state.link:
        st.caption(
            "This link leads to a search by a picture. It holds what the model saw of the whole picture, and not the "
            "picture: parts of it are not compared, and no piece is called the very same."
        )
    chosen = [(name, key) for name in ("liked", "disliked") for key in state[name] if key in found.pieces]
    if not chosen:
        return
    with st.grid(min_column_width=84, gap="xsmall"):
        for name, key in chosen:
            piece, sign = found.pieces[key], "Like" if name == "liked" else "Not like"
            with st.container(gap="xxsmall", key=f"tray {name} {key}"):
                parts.image(found.catalogue.thumbnail(key), alt=f"{sign} {parts.name_of(piece)}", width=76)
                asked = {"key": f"drop {name} {key}", "icon": ":material/close:", "type": "tertiary"}
                st.button(sign, on_click=_drop, args=(name, key), help="Take it back", **asked)


def _show_hits(found: Collection, hits: Sequence[Hit], slant: float) -> None:
    predicted = store.named(found, found.version)
    cards = []
    for hit in hits:
        surer = found.nearness.beyond((1 - slant) * hit.motif + slant * hit.colour, slant)
        words = "strong" if surer >= 0.5 else "fair" if surer >= 0.1 else "weak"
        thought = predicted.get(hit.key)
        told = f"the very same {'design' if slant < 1 else 'colours'}" if hit.same else f"{words} match"
        lines = [f"design {max(0, hit.motif):.0%} · colours {max(0, hit.colour):.0%}", told]
        lines += [f"perhaps {thought[0].replace('_', ' ')}, {thought[1]:.0%}"] if thought and not hit.cluster else []
        card = parts.card_of(found, found.pieces[hit.key], *lines)
        cards.append(replace(card, picture=parts.boxed(card.picture, hit.box)))
    parts.gallery(cards, "hits", lambda card: _actions(card))
    st.caption(
        "The very same design: laid over the picture you ask by, edges meet edges. The very same colours: this piece "
        "has nearly all of its shades. "
        "Match: strong where half of this catalogue's pieces are less like the piece that is nearest to them; "
        "weak where nine of ten are more like it."
    )
    _compare(found, [hit.key for hit in hits])
    _export(found, hits)


def _actions(card: Card) -> None:
    """More like this, also like this, less like this."""
    with st.container(horizontal=True, gap="xxsmall"):
        if st.button("More like this", key=f"only {card.key}", type="tertiary"):
            _only(card.key)
            st.rerun()
        for words, icon, name, other in (
            ("Also like this", ":material/thumb_up:", "liked", "disliked"),
            ("Less like this", ":material/thumb_down:", "disliked", "liked"),
        ):
            told = {"key": f"{name} {card.key}", "icon": icon, "type": "tertiary", "help": words}
            st.button("", on_click=_also, args=(name, other, card.key), **told)


def _compare(found: Collection, keys: Sequence[str]) -> None:
    """Two or three of what was found, large, side by side."""
    chosen = st.multiselect(
        "Side by side",
        keys,
        max_selections=3,
        key="compared",
        format_func=lambda key: f"{parts.name_of(found.pieces[key])} ({key.rpartition('/')[2]})",
    )
    if not chosen:
        return
    for column, key in zip(st.columns(len(chosen)), chosen, strict=True):
        piece = found.pieces[key]
        with column:
            parts.image(found.picture(key, parts.LOOK), alt=f"{parts.name_of(piece)}, large", width="stretch")
        rows = {"key": key, "cluster": piece.cluster, "item": piece.item_id} | piece.metadata
        column.markdown("  \n".join(f":gray[{plain(name)}] {plain(value)}" for name, value in rows.items() if value))
        if store.settings().edit:
            with column:
                _edited(found, key)


def _edited(found: Collection, key: str) -> None:
    """Correct a piece's label, or take it out; the photographs and the data set are not touched."""
    known = found.pieces[key].cluster
    names = sorted({*parts.clusters_of(found), *(name.removeprefix("cluster:") for name in clusters(store.graph()))})
    asked = {"index": names.index(known) if known else None, "accept_new_options": True, "placeholder": "no cluster"}
    label = st.selectbox("Cluster", names, key=f"label {key}", **asked)
    with st.container(horizontal=True), parts.told():
        if st.button("Save", key=f"save {key}", icon=":material/save:", disabled=label == known):
            found.catalogue.relabel(key, label)
            st.rerun()
        if st.button("Take out of the catalogue", key=f"out {key}", icon=":material/delete:"):
            entry = found.catalogue.entry(key)
            came_with = found.catalogue.corrections().get(key, entry.cluster)
            found.catalogue.remove([key])
            st.session_state.out = entry, came_with
            st.rerun()


def _put_back(found: Collection) -> None:
    """The piece that this visitor took out last can be put back as it was, with its corrected label."""
    entry, came_with = st.session_state.get("out") or (None, None)
    if entry is None or entry.key in found.pieces:
        return
    with st.container(horizontal=True, vertical_alignment="center"), parts.told():
        st.markdown(f"{plain(entry.key)} was taken out.")
        if st.button("Put it back", icon=":material/undo:"):
            found.catalogue.add([replace(entry, cluster=came_with)])
            found.catalogue.relabel(entry.key, entry.cluster)
            st.rerun()


def _export(found: Collection, hits: Sequence[Hit]) -> None:
    columns = ("rank", "key", "cluster", "item_id", "score", "motif", "colour", "same")
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(columns)
    for rank, hit in enumerate(hits, 1):
        figures = (f"{value:.4f}" for value in (hit.score, hit.motif, hit.colour, hit.same))
        writer.writerow([rank, _cell(hit.key), _cell(hit.cluster or ""), _cell(hit.item_id or ""), *figures])
    table = file.getvalue().encode("utf-8")
    icon = ":material/{}:".format
    with st.container(horizontal=True):  # made when they are asked for, and not at every move of the slider
        st.download_button("Table (CSV)", lambda: table, "found.csv", "text/csv", icon=icon("table"), on_click="ignore")
        st.download_button(
            "Pictures (ZIP)",
            lambda: _zipped(found, hits, table),
            "found.zip",
            "application/zip",
            icon=icon("folder_zip"),
            on_click="ignore",
        )


def _cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in "=+-@\t\r" else text


def _zipped(found: Collection, hits: Sequence[Hit], table: bytes) -> bytes:
    """The table and the pictures, as they were photographed where that is still there and not too much."""
    file, size = io.BytesIO(), 0
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("found.csv", table)
        for rank, hit in enumerate(hits, 1):
            path = found.pieces[hit.key].path
            try:
                size += path.stat().st_size
                picture, suffix = (path.read_bytes(), path.suffix) if size <= ZIPPED else (None, "")
            except OSError:
                picture, suffix = None, ""
            archive.writestr(f"{rank:02d}_{path.stem}{suffix or '.jpg'}", picture or found.catalogue.thumbnail(hit.key))
    return file.getvalue()


def _link(found: Collection, how: How) -> None:
    """Put the search into the page's address."""
    state = st.session_state
    asked: dict[str, str | list[str]] = {"slant": f"{how.slant:g}"}
    asked |= {"like": state.liked} if state.liked else {}
    asked |= {"unlike": state.disliked} if state.disliked else {}
    asked |= ({"differ": "1"} if how.differ else {}) | ({"kin": "1"} if how.kin else {})
    asked |= {"where": state.filtered} if state.filtered else {}
    mark, box = state.get("part") or ("", None)
    asked |= {"part": ",".join(f"{edge:g}" for edge in box)} if state.liked == [mark] else {}
    if state.get("picture"):
        asked["q"] = _encoded(
            found, state.picture.mark, box if mark == state.picture.mark else None, state.picture
        ).text()
    elif state.link:
        asked["q"] = state.link
    st.query_params.from_dict(asked)


# --- by colours ---


def _colours(found: Collection) -> None:
    del found
    st.session_state.setdefault("how many", 2)
    count = st.segmented_control("How many", (1, 2, 3), required=True, key="how many", persist_state="session")
    for number in range(count):
        st.session_state.setdefault(f"colour {number}", YARNS[number])
        st.color_picker(f"Colour {number + 1}", key=f"colour {number}", persist_state="session")
    st.caption("Pieces come first that consist of all of these colours.")


@st.fragment
def _by_colours(found: Collection) -> None:
    where = _filters(found)
    count = st.session_state["how many"]
    chosen = [st.session_state[f"colour {n}"] for n in range(count)]
    filtered = st.session_state.filtered
    st.query_params.from_dict(
        {"start": STARTS[2], "colour": [one[1:] for one in chosen]} | ({"where": filtered} if filtered else {})
    )
    with parts.told():
        with st.spinner("Counting colours …"):  # once; a thousand pieces a second
            palettes = found.palettes()
        scores = palettes.score(np.array([[int(one[i : i + 2], 16) for i in (1, 3, 5)] for one in chosen], np.uint8))
        keys = list(found.pieces)
        fits = set(found.catalogue.matching(where)) if where else set(keys)
        best = [row for row in np.argsort(-scores, kind="stable") if keys[row] in fits][:SHOWN]
        if not best:
            st.info("Nothing in this catalogue fits these filters. Take one away.", icon=":material/filter_alt_off:")
            return
        cards = [parts.card_of(found, found.pieces[keys[row]], f"{scores[row]:.0%} of these colours") for row in best]
        parts.gallery(cards, "coloured", lambda card: opener(card.key, "More like this", key="from colours"))
