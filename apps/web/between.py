"""The page Interpolate: what lies between two pieces, or among three or four."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from apps.interpolation import sheet, write_film
from saree_vae.catalogue import Hit
from saree_vae.encoding import shrunk
from saree_vae.images import read_image, square, thumbnail
from saree_vae.interpolate import Path, interpolate, nearest
from saree_vae.sheets import grid

from . import parts, search
from .parts import Card, Picture, plain
from .store import Collection

SIDE = 256  # pixels of a frame: more would not feel live
STEPS, PLACES, FILM = 7, 5, 24  # frames of a strip, of a side of the pad, and of a film one way
CELL, PAD = 68, 340  # pixels of a frame on the pad, and of the pad
LETTERS = "ABCD"
CHANGES = {  # what changes: its name in the library, and what a designer would say of it
    "Design and colours": ("both", "{a} turns into {b}."),
    "Only the colours": ("colour", "Every thread of {a} stays; it takes on the palette of {b}."),
    "Only the design": ("motif", "The palette of {a} stays; it takes on the design of {b}."),
}
ENDS = {"both": "{b}", "colour": "{a} in the colours of {b}", "motif": "{b} in the colours of {a}"}
DRAWING = {False: "Drawing the strip", True: "Drawing the square"}

Chosen = str | Picture  # a piece by its key, or a picture that was brought


@dataclass
class Drawn:
    """Pieces as they are drawn from, (P, SIDE, SIDE, 3), and what was drawn of them; kept for one choice of pieces.

    own: SHA-256 of the pieces' files.
    """

    marks: tuple[str, ...]
    squares: np.ndarray
    own: frozenset[str]
    painted: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    ways: dict[tuple[str, bool], tuple[Path, list[Hit]]] = field(default_factory=dict)


def page() -> None:
    parts.title("Interpolate", "See what lies between pieces: in design, in colours, or in both.")
    found = parts.needed()
    if found is None:
        return
    _from_link(found)
    asking, answer = st.columns([1, 3], gap="large")
    with asking:
        _tray(found)
        with st.expander("Choose pieces", expanded=len(_chosen()) < 2, icon=":material/add_photo_alternate:"):
            _chooser(found)
    with answer:
        _to_link()
        if len(_chosen()) < 2:
            st.info(
                "Choose two pieces, and see one turn into the other; three or four make a square. "
                "For a first look, let chance choose.",
                icon=":material/gradient:",
            )
        else:
            _between(found)


# --- which pieces ---


def _chosen() -> list[Chosen]:
    return st.session_state.setdefault("between", [])


def _from_link(found: Collection) -> None:
    if "between" not in st.session_state:
        keys = dict.fromkeys(st.query_params.get_all("piece"))
        st.session_state.between = [key for key in keys if key in found.pieces][: len(LETTERS)]
    _chosen()[:] = [one for one in _chosen() if isinstance(one, Picture) or one in found.pieces]


def _to_link() -> None:
    if all(isinstance(one, str) for one in _chosen()):
        st.query_params.from_dict({"piece": _chosen()})
    else:
        st.query_params.clear()  # a picture that was brought is not in any link


def _tray(found: Collection) -> None:
    """What is chosen, each to be taken back."""
    chosen = _chosen()
    if chosen:
        with st.grid(min_column_width=100, gap="small", key="between tray"):
            for number, one in enumerate(chosen):
                with st.container(gap="xxsmall", key=f"between tray {number}"):
                    name = _name(found, one)
                    parts.image(_small(found, one), alt=f"{LETTERS[number]}: {name}", width="stretch")
                    st.markdown(f"**{LETTERS[number]}** :small[{plain(name)}]")
                    told = {"key": f"between drop {number}", "icon": ":material/close:", "type": "tertiary"}
                    st.button("Take away", on_click=_drop, args=(number,), **told)
    with st.container(horizontal=True, gap="small"):
        st.button(
            "Surprise me",
            icon=":material/casino:",
            on_click=_surprise,
            args=(found,),
            help="Two pieces of different clusters, by chance",
        )
        if len(chosen) > 1:
            st.button("Turn round", icon=":material/swap_horiz:", on_click=chosen.reverse)


def _chooser(found: Collection) -> None:
    if len(_chosen()) == len(LETTERS):
        st.caption("Four pieces at most: take one away to choose another.")
        return
    start = st.segmented_control(
        "From",
        ("Collection", "Picture"),
        default="Collection",
        required=True,
        key="between from",
        persist_state="session",
    )
    if start == "Picture":
        picture = parts.brought("between", "A picture of a textile")
        if picture and st.session_state.get("between mark") != picture.mark:
            st.session_state["between mark"] = picture.mark
            _add(picture)
            st.rerun()
        return
    clusters = parts.clusters_of(found)
    leaf = st.selectbox("Leaf through", ["everything", *clusters], format_func=_spoken, key="between leaf through")
    keys = [key for key, piece in found.pieces.items() if leaf == "everything" or piece.cluster == leaf]
    st.selectbox(
        "Or find a piece by its name",
        keys,
        index=None,
        key="between named",
        placeholder="Type a part of its name",
        format_func=lambda key: f"{_name(found, key)} · {key}",
        on_change=_add_named,
    )

    def below(card: Card) -> None:
        st.button("Choose", key=f"between choose {card.key}", type="tertiary", on_click=_add, args=(card.key,))

    with st.container(height=360):
        parts.leafed(found, "between", [key for key in keys if key not in _chosen()], below)


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def _add(one: Chosen) -> None:
    if one not in _chosen() and len(_chosen()) < len(LETTERS):
        _chosen().append(one)


def _add_named() -> None:
    key = st.session_state["between named"]
    if key:
        _add(key)
        st.session_state["between named"] = None


def _drop(number: int) -> None:
    del _chosen()[number]


def _surprise(found: Collection) -> None:
    """Two pieces of two clusters; where there are no two, any two pieces."""
    by_cluster: dict[str, list[str]] = {}
    for key, piece in found.pieces.items():
        by_cluster.setdefault(piece.cluster or "", []).append(key)
    named = [keys for cluster, keys in by_cluster.items() if cluster]
    two = [random.choice(keys) for keys in random.sample(named, 2)] if len(named) > 1 else None
    st.session_state.between = two or random.sample([*found.pieces], min(2, len(found.pieces)))


def _name(found: Collection, one: Chosen) -> str:
    return f"your {one.name}" if isinstance(one, Picture) else parts.name_of(found.pieces[one])


def _small(found: Collection, one: Chosen) -> bytes:
    return parts.small(one) if isinstance(one, Picture) else found.catalogue.thumbnail(one)


# --- what lies between them ---


def _between(found: Collection) -> None:
    """What is drawn here; no fragment, because in one a click would wait for the drawing and not stop it."""
    chosen = list(_chosen())
    along = _what_changes(found, len(chosen))
    with parts.told():
        drawn = _prepared(found, chosen)
        two = len(chosen) == 2
        known = _way(found, drawn, along, pad=not two)
        if known is None:
            return
        if two:
            _strip(found, along, *known)
        else:
            _pad(found, *known, len(chosen), ("Across", "Down"))
        _downloads(found, chosen, along, drawn)
        if two and found.run.config.model.colour_dim:
            st.subheader("Every design in every palette", anchor=False)
            known = _way(found, drawn, "both", pad=True)
            if known:
                _pad(found, *known, len(chosen), ("Colours", "Design"))


def _what_changes(found: Collection, count: int) -> str:
    if not found.run.config.model.colour_dim:
        return "both"  # this model does not tell design from colours
    said = st.segmented_control(
        "What changes", [*CHANGES], default="Design and colours", required=True, key="along", persist_state="session"
    )
    along, words = CHANGES[said]
    st.caption(words.format(a="A", b=", ".join(LETTERS[1 : count - 1]) + " or " * (count > 2) + LETTERS[count - 1]))
    return along


def _prepared(found: Collection, chosen: Sequence[Chosen]) -> Drawn:
    """The pieces, read; what was drawn of them before goes with them."""
    marks = (found.version, *(one.mark if isinstance(one, Picture) else one for one in chosen))
    known = st.session_state.get("between drawn")
    if known is None or known.marks != marks:
        sha256 = found.catalogue.keys()
        files = (o.sha256 if isinstance(o, Picture) else sha256[o] for o in chosen)
        squares = np.stack([_square(found, one) for one in chosen])
        known = st.session_state["between drawn"] = Drawn(marks, squares, frozenset(files))
    return known


def _square(found: Collection, one: Chosen) -> np.ndarray:
    return square(read_image(one.file, min_side=SIDE) if isinstance(one, Picture) else found.picture(one, SIDE), SIDE)


def _way(found: Collection, drawn: Drawn, along: str, *, pad: bool) -> tuple[Path, list[Hit]] | None:
    """A strip or a pad, and the nearest real piece of each of its places; None where it was stopped."""
    if (along, pad) not in drawn.ways:
        what, steps = DRAWING[pad], PLACES if pad else STEPS
        if st.session_state.get(f"stop {what}"):
            st.button("Draw it after all", key=f"again {what}", icon=":material/replay:")  # any click does
            return None
        with parts.waiting(what) as progress, found.working:
            way = interpolate(
                found.run,
                drawn.squares,
                along=along,
                steps=steps,
                grid=pad and len(drawn.squares) == 2,
                painted=drawn.painted,
                progress=lambda done, total: progress(what, done, total),
            )
        drawn.ways[along, pad] = way, nearest(found.catalogue, way.z, drawn.own)
    return drawn.ways[along, pad]


def _strip(found: Collection, along: str, way: Path, hits: Sequence[Hit]) -> None:
    last = len(way.frames) - 1
    with st.grid(min_column_width=104, gap="small", key="strip"):
        for t, frame in enumerate(way.frames):
            words = "A" if t == 0 else ENDS[along].format(a="A", b="B") if t == last else f"{t / last:.0%}"
            with st.container(gap="xsmall", key=f"strip {t}"):
                parts.image(thumbnail(frame, SIDE), alt=f"{words}, between A and B", width="stretch")
                st.markdown(f"**{words}**" if t in (0, last) else f":gray[{words}]")
                if hits:
                    _real(found, hits[t], f"strip {t}")


def _real(found: Collection, hit: Hit, key: str) -> None:
    """The nearest real piece, and the way to more like it."""
    piece = found.pieces.get(hit.key)
    if piece is None:
        return  # it came a moment ago
    name = parts.name_of(piece)
    parts.image(found.catalogue.thumbnail(hit.key), alt=f"The nearest real piece: {name}, {hit.key}", width=72)
    st.markdown(f":small[:gray[nearest:] {plain(name)}]")
    search.opener(hit.key, "More like it", key=key)


# --- the pad ---


@st.fragment
def _pad(found: Collection, way: Path, hits: Sequence[Hit], count: int, axes: tuple[str, str]) -> None:
    """All places of a square: two sliders, or a click, choose one that is shown large."""
    across, down = axes
    table, large = st.columns(2, gap="large")
    with table:
        for axis, end in ((across, "B"), (down, "B" if count == 2 else "C")):
            st.session_state.setdefault(f"between {axis}", PLACES // 2)
            st.select_slider(
                f"{axis}, from A to {end}",
                range(PLACES),
                key=f"between {axis}",
                format_func=lambda step: f"{step / (PLACES - 1):.0%}",
                persist_state="session",
            )
        row, column = (st.session_state[f"between {axis}"] for axis in (down, across))
        st.plotly_chart(
            _canvas(way.frames, row, column),
            key="pad",
            on_select=lambda: _picked(axes),
            selection_mode="points",
            config={"displayModeBar": False},
            width="content",
            alt="All places of the pad, in rows and columns; the sliders choose the same",
        )
    with large:
        place = row * PLACES + column
        words = f"{down} {row / (PLACES - 1):.0%}, {across.lower()} {column / (PLACES - 1):.0%}"
        parts.image(thumbnail(way.frames[place], SIDE), alt=f"The chosen place: {words}", width=420)
        st.markdown(f"**{words}**")
        if hits:
            _real(found, hits[place], "pad")


def _picked(axes: tuple[str, str]) -> None:
    points = st.session_state.pad.selection.points
    if points:
        row, column = divmod(points[0]["point_index"], PLACES)
        st.session_state.update({f"between {axes[0]}": column, f"between {axes[1]}": row})


def _canvas(frames: np.ndarray, row: int, column: int) -> go.Figure:
    """The pad as one picture, with a point in the middle of each place and a line round the chosen one."""
    figure = parts.canvas(grid(shrunk(frames, CELL), PLACES, pad=0), PAD, PAD, PLACES, PLACES)
    y, x = (axis.ravel() + 0.5 for axis in np.indices((PLACES, PLACES)))
    figure.add_scatter(x=x, y=y, mode="markers", marker={"opacity": 0, "size": 40}, hoverinfo="none")
    parts.framed(figure, column, row, column + 1, row + 1)
    return figure.update_layout(dragmode=False, hovermode="closest", hoverdistance=-1, clickmode="event+select")


# --- to take away ---


def _downloads(found: Collection, chosen: Sequence[Chosen], along: str, drawn: Drawn) -> None:
    names, two = [_name(found, one) for one in chosen], len(chosen) == 2
    told = {"on_click": "ignore", "icon": ":material/download:"}
    with st.container(horizontal=True):
        st.download_button(
            "Strip (PNG)" if two else "Square (PNG)",
            lambda: _png(found, names, along, drawn),
            "between.png",
            "image/png",
            key="between png",
            **told,
        )
        if two:
            st.download_button(
                "Film (GIF)",
                lambda: _gif(found, along, drawn),
                "between.gif",
                "image/gif",
                key="between gif",
                **told,
            )


def _png(found: Collection, names: Sequence[str], along: str, drawn: Drawn) -> bytes:
    """The strip or square on one sheet, with the nearest real pieces."""
    way, hits = drawn.ways[along, len(names) > 2]
    pieces = [(hit, found.catalogue.thumbnail(hit.key)) for hit in hits]
    file = BytesIO()
    sheet(way, names, drawn.squares, " · ".join(names), pieces).save(file, "PNG")
    return file.getvalue()


def _gif(found: Collection, along: str, drawn: Drawn) -> bytes:
    """There and back again, in more steps than the strip has."""
    with found.working:
        way = interpolate(found.run, drawn.squares, along=along, steps=FILM, painted=drawn.painted)
    file = BytesIO()
    write_film(file, way.frames, ".gif")
    return file.getvalue()
