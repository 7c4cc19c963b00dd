"""The page Explore: a map of the collection, what dimensions mean, what stands apart, what comes in many colours."""

from __future__ import annotations

import copy
import html
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from apps.anomalies import glowing
from saree_vae import explore
from saree_vae.anomaly import AnomalyScorer, Strangeness, outliers
from saree_vae.data import DataSet, Item
from saree_vae.errors import SareeError
from saree_vae.images import read_square, square, thumbnail
from saree_vae.interpolate import traversed

from . import parts, search
from .parts import Card, Progress, plain
from .store import Collection

LAYOUTS = {
    "Widest directions": ("pca", "Along the two directions in which the collection varies most (PCA)."),
    "Neighbours": ("umap", "Who is near whom (UMAP). How far apart two far groups lie says nothing."),
}
COLOURINGS = ("Cluster", "Colour", "Standing apart")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "triangle-down")
NAMED = len(SYMBOLS)  # clusters with a colour of their own; the others are grey
DRAWN = 5000  # points that are drawn as shapes; more need the graphics card
GREY = "rgba(128, 120, 112, 0.45)"
EDGE = {"width": 0.6, "color": "rgba(128, 120, 112, 0.9)"}  # white cloth on white paper
MAP_HEIGHT = 560
FRAMES, SIDE = 7, 320  # of a strip, and the pixels of each
HALVES = {"Design": "motif", "Colours": "colour"}
DETAIL = {"The photograph": True, "The model's drawing": False}
APART = 24 * 5  # pieces that stand most apart
LEARNING, JUDGING = 230, 0.1  # seconds of one core: for any collection, and for each piece of it
ROWS = 6  # designs at once


def page() -> None:
    parts.title("Explore", "The whole collection at a glance, and what is unusual in it.")
    found = parts.needed()
    if found is None:
        return
    views = {
        "The map": _map,
        "One dimension": _dimension,
        "What stands apart": _apart,
        "One design, many colours": _many,
    }
    st.session_state.setdefault("look", "The map")
    look = st.segmented_control("Look at", views, required=True, key="look", label_visibility="collapsed")
    # A click in a fragment waits until what is running has ended: the one long work here must stop at once.
    (_view if look == "What stands apart" else _quick_view)(views[look], found)


def _view(view: Callable[[Collection], None], found: Collection) -> None:
    with parts.told():  # within: what goes wrong in a fragment does not leave it
        view(found)


_quick_view = st.fragment(_view)


def _below(card: Card) -> None:
    """What can be done with a piece: search from it, or vary it."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        search.opener(card.key, "Search from it")
        vary = {"key": f"vary {card.key}", "type": "tertiary", "help": "See what single dimensions do to it"}
        if st.button("Vary", on_click=_vary, args=(card.key,), **vary):
            st.rerun()


def _vary(key: str) -> None:
    st.session_state.update({"varied": key, "look": "One dimension"})


# --- the map ---


def _map(found: Collection) -> None:
    rows = explore.sample(len(found.pieces))
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        layout = st.segmented_control("Laid out by", LAYOUTS, default="Widest directions", required=True, key="layout")
        colouring = st.segmented_control("Coloured by", COLOURINGS, default="Cluster", required=True, key="colouring")
        named = _named(found) if colouring == "Cluster" else []
    way, about = LAYOUTS[layout]
    wait = "Finding neighbours: a minute or two the first time …" if way == "umap" else "Laying out …"
    with st.spinner(wait):
        places = _places(found, found.version, way)
    figure = go.Figure(_traces(found, rows, places, colouring, named))
    figure.update_layout(**_look_of_map())
    told = f"A map of {len(rows):,} pieces, one point each. {about}"
    event = st.plotly_chart(
        figure,
        key=f"map {way} {colouring}",
        on_select="rerun",
        selection_mode=("box", "lasso", "points"),
        config={"displaylogo": False, "modeBarButtonsToRemove": ["toImage", "autoScale2d"]},
        alt=told,
    )
    some = f" {len(rows):,} of {len(found.pieces):,} pieces, drawn at random." if len(rows) < len(found.pieces) else ""
    st.caption(f"{about}{some}")
    _chosen(found, [point["customdata"] for point in (event.selection.points if event else [])])


def _look_of_map() -> dict:
    axis = {"visible": False, "showgrid": False, "zeroline": False}
    legend = {"orientation": "h", "yanchor": "top", "y": -0.02, "x": 0, "title": None, "itemsizing": "constant"}
    margin = dict.fromkeys("lrb", 0) | {"t": 30}
    return {
        "xaxis": axis,
        "yaxis": axis,
        "dragmode": "select",
        "height": MAP_HEIGHT,
        "margin": margin,
        "legend": legend,
        "hovermode": "closest",
    }


@st.cache_resource(show_spinner=False, max_entries=4)
def _places(_found: Collection, version: str, way: str) -> np.ndarray:
    return explore.plane(_found.embedding[explore.sample(len(_found.pieces))], way)


@st.cache_resource(show_spinner=False, max_entries=2)
def _apartness(_found: Collection, version: str) -> np.ndarray:
    return explore.apartness(_found.embedding[explore.sample(len(_found.pieces))])


def _named(found: Collection) -> list[str]:
    """Which clusters have colours of their own: the largest, unless somebody chooses others."""
    sizes = Counter(piece.cluster for piece in found.pieces.values() if piece.cluster)
    named = [cluster for cluster, _ in sizes.most_common(NAMED)]
    if len(sizes) <= NAMED:
        return named
    with st.popover("Which clusters", icon=":material/palette:"):
        return st.multiselect(
            "Clusters in colour",
            sorted(sizes),
            named,
            max_selections=NAMED,
            key="named clusters",
            format_func=lambda name: f"{name.replace('_', ' ')} ({sizes[name]:,})",
        )


def _traces(
    found: Collection, rows: np.ndarray, places: np.ndarray, colouring: str, named: Sequence[str]
) -> list[go.Scatter]:
    everything = list(found.pieces.values())
    pieces = [everything[row] for row in rows]
    if colouring == "Cluster":
        return _by_cluster(pieces, places, named)
    if colouring == "Colour":
        with st.spinner("Looking at colours …"):
            colours = found.palettes().means[rows]
        return [_points(pieces, places, color=[f"rgb({r}, {g}, {b})" for r, g, b in colours], line=EDGE, size=8)]
    with st.spinner("Comparing …"):
        apart = _apartness(found, found.version)
    order = np.argsort(apart, kind="stable")  # those that stand apart are drawn last, on top
    rank = np.linspace(0, 1, len(order))
    scale = st.get_option("theme.chartSequentialColors") or ["#f6eee3", "#5a1a2c"]
    bar = {
        "orientation": "h",
        "y": -0.1,
        "x": 0,
        "xanchor": "left",
        "len": 0.4,
        "thickness": 10,
        "tickvals": [0.02, 0.98],
    }
    bar |= {"ticktext": ["like its neighbours", "stands apart"], "tickfont": {"size": 13}, "outlinewidth": 0}
    marker = {"colorscale": scale[::-1] if st.context.theme.type == "dark" else scale, "showscale": True}
    marker |= {"color": rank, "size": 4 + 8 * rank**4, "line": EDGE, "colorbar": bar}
    return [_points([pieces[row] for row in order], places[order], **marker)]


def _by_cluster(pieces: Sequence[Item], places: np.ndarray, named: Sequence[str]) -> list[go.Scatter]:
    """Some clusters in colours and shapes of their own, over all others in grey."""
    others = np.array([piece.cluster not in named for piece in pieces], bool)
    traces = [_points(_some(pieces, others), places[others], "others", color=GREY, size=5)] if others.any() else []
    colours = st.get_option("theme.chartCategoricalColors") or [None] * NAMED
    for cluster, symbol, colour in zip(named, SYMBOLS, colours, strict=False):
        mine = np.array([piece.cluster == cluster for piece in pieces], bool)
        name = cluster.replace("_", " ")
        traces.append(_points(_some(pieces, mine), places[mine], name, symbol=symbol, color=colour, size=8, line=EDGE))
    return traces


def _some(pieces: Sequence[Item], which: np.ndarray) -> list[Item]:
    return [pieces[row] for row in np.flatnonzero(which)]


def _points(pieces: Sequence[Item], places: np.ndarray, name: str = "", **marker) -> go.Scatter:
    """A point for each piece, that tells its name and key; what plotly takes for HTML in them is shown as it is."""
    kind = go.Scatter if len(pieces) <= DRAWN else go.Scattergl
    return kind(
        x=places[:, 0],
        y=places[:, 1],
        mode="markers",
        name=html.escape(name, quote=False),
        showlegend=bool(name),
        text=[f"<b>{_shown(parts.name_of(piece))}</b><br>{_shown(piece.key)}" for piece in pieces],
        customdata=[piece.key for piece in pieces],
        hovertemplate="%{text}<extra></extra>",
        marker=marker,
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 0.15}},
    )


def _shown(text: str) -> str:
    return html.escape(" ".join(text.split())[:80], quote=False)


def _chosen(found: Collection, keys: Sequence[str]) -> None:
    """The pieces that somebody drew a line round."""
    keys = [key for key in dict.fromkeys(keys) if key in found.pieces]
    if not keys:
        st.info("Draw a box round some points, or a line with the lasso, to see the pieces.", icon=":material/gesture:")
        return
    st.subheader(f"{len(keys):,} piece{'s' * (len(keys) > 1)} chosen", anchor=False)
    parts.leafed(found, "chosen", keys, _below, width=150)


# --- one dimension ---


def _dimension(found: Collection) -> None:
    st.markdown(
        ":gray[One number of a piece's latent moves; all others stay. What changes in the picture is what that number "
        "stands for.]"
    )
    piece = found.pieces.get(st.session_state.get("varied", "")) or next(iter(found.pieces.values()))
    with st.container(horizontal=True, gap="medium"):
        parts.image(found.catalogue.thumbnail(piece.key), alt=f"{parts.name_of(piece)}: {piece.key}", width=150)
        with st.container(width="content"):
            name, key = plain(parts.name_of(piece)), plain(piece.key)
            st.markdown(f"**{name}**  \n:small[{key}]")
            search.opener(piece.key, "Search from it", key="varied")
            with st.popover("Another piece", icon=":material/swap_horiz:"):
                parts.leafed(found, "vary", list(found.pieces), _choose)
    _strip(found, piece)


def _choose(card: Card) -> None:
    st.button("This one", key=f"choose {card.key}", type="tertiary", on_click=_vary, args=(card.key,))


def _strip(found: Collection, piece: Item) -> None:
    cut, mu = found.catalogue.motif_dim, found.latents.mu
    halves = list(HALVES) if mu.shape[1] > cut else ["Design"]
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        half = st.segmented_control("Half", halves, default="Design", required=True, key="half")
        first, last = (0, cut) if half == "Design" else (cut, mu.shape[1])
        varies = mu[:, first:last].std(0)
        number = st.selectbox(
            "Dimension, the most varied first",
            np.argsort(-varies, kind="stable").tolist(),
            format_func=lambda n: f"{HALVES[half]} {n} · varies by {varies[n]:.2f}",
            key=f"dimension of {half}",
            width=280,
        )
        shown = st.segmented_control("Shown in", DETAIL, default="The photograph", required=True, key="shown in")
    with st.spinner("Drawing …"):
        frames, places = _drawn(found, found.version, piece.key, f"{HALVES[half]}:{number}", DETAIL[shown])
    with st.grid(min_column_width=130, gap="xsmall"):
        for frame, place in zip(frames, places, strict=True):
            with st.container(gap="xxsmall"):
                parts.image(frame, alt=f"{HALVES[half]} {number} at {place}", width="stretch")
                st.caption(plain(place.replace("-", "−").replace("+0", "0")), text_alignment="center")
    own = mu[list(found.pieces).index(piece.key), first + number] - mu[:, first + number].mean()
    st.caption(
        f"From three standard deviations (sigma) below the collection's mean to three above. "
        f"The piece itself lies at {own / max(varies[number], 1e-9):+.1f} sigma."
    )


@st.cache_data(show_spinner=False, max_entries=100)
def _drawn(_found: Collection, version: str, key: str, dimension: str, detail: bool) -> tuple[list[bytes], list[str]]:
    """The frames, JPEG, and where each lies; of the thumbnail where the photograph is gone."""
    picture = square(_found.picture(key, SIDE), SIDE)
    with _found.working:
        path = traversed(_found.run, picture, dimension, among=_found.latents.mu, steps=FRAMES, detail=detail)
    return [thumbnail(frame, SIDE) for frame in path.frames], list(path.places)


# --- what stands apart ---


def _apart(found: Collection) -> None:
    ways = {"Far from its neighbours": _far, "Strange to look at": _strange}
    way = st.segmented_control("Found by", ways, default="Far from its neighbours", required=True, key="apart by")
    ways[way](found)


def _far(found: Collection) -> None:
    st.markdown(
        ":gray[Pieces that are least like the ten nearest to them, in design and colours together: rare crafts, single "
        "finds, and now and then a picture that does not belong.]"
    )
    keys, rows = list(found.pieces), explore.sample(len(found.pieces))
    apart = _apartness(found, found.version)
    order = np.argsort(-apart, kind="stable")[:APART]
    lines = {keys[rows[row]]: (f"nearest ten {1 - apart[row]:.0%} alike",) for row in order}
    parts.leafed(found, "apart", list(lines), _below, lines=lines, width=150)


@dataclass(frozen=True)
class _Judged:
    """What the scorer thinks of a collection: everything of the strangest, JPEG with a glow where they are strange."""

    strange: Strangeness
    limit: float
    notes: tuple[str, ...]
    glows: dict[str, bytes]
    unreadable: int

    @property
    def called(self) -> int:
        """How many are called strange."""
        return int((self.strange.score > self.limit).sum())


@st.cache_resource(show_spinner=False, max_entries=2)
def _judgements(version: str) -> dict[str, _Judged]:
    """Where the judgement of this content is kept for all visitors, as "whole"."""
    return {}


@st.cache_resource(show_spinner=False)
def _turn() -> threading.Lock:
    """Held by the one visitor who has a collection judged."""
    return threading.Lock()


def _strange(found: Collection) -> None:
    kept = _judgements(f"{found.catalogue.folder} {found.version}")
    if "whole" in kept:
        _show_judged(found, kept["whole"])
        return
    count = min(len(found.pieces), explore.JUDGED)
    drawn = f" ({count:,} pieces, drawn at random)" if count < len(found.pieces) else ""
    st.markdown(
        f":gray[A small network learns from the collection itself{drawn} what is usual, and says which pieces are not, "
        f"and why: unlike all others, plain, damaged, or no textile at all. For this collection it takes about "
        f"{round((LEARNING + count * JUDGING) / 60)} minutes; then it is there for everybody.]"
    )
    if not st.button("Judge the collection", icon=":material/search_insights:", type="primary"):
        return
    if not _turn().acquire(blocking=False):
        st.info("Somebody else is having it judged; look again in a few minutes.", icon=":material/hourglass_top:")
        return
    try:
        with parts.waiting("Learning what is usual") as progress:
            kept["whole"] = _judge(found, progress)
    finally:
        _turn().release()
    st.rerun()


def _judge(found: Collection, progress: Progress) -> _Judged:
    """Minutes; with a model of its own, so that nobody else waits for it."""
    dataset = explore.as_data(found.catalogue.folder, found.pieces)
    if not dataset.items:
        raise SareeError("no photograph of this catalogue is where it was, and thumbnails are too small to judge")
    run = replace(found.run, model=copy.deepcopy(found.run.model))
    strange, scorer, bad = outliers(run, dataset, progress=progress)
    return _Judged(strange, scorer.limit(), scorer.notes, _glows(scorer, dataset, strange, progress), len(bad))


def _glows(scorer: AnomalyScorer, dataset: DataSet, strange: Strangeness, progress: Progress) -> dict[str, bytes]:
    paths, glows = {item.key: item.path for item in dataset.items}, {}
    for done, key in enumerate(strange.keys[: parts.PAGE] if scorer.tells_where else (), 1):
        try:
            heat = scorer.heat_maps(read_square(paths[key], scorer.run.read_size)[None])[0]
            large = read_square(paths[key], SIDE)
        except SareeError:
            continue  # gone since
        glows[key] = thumbnail(glowing(large, heat), SIDE)
        progress("Looking where", done, parts.PAGE)
    return glows


def _show_judged(found: Collection, judged: _Judged) -> None:
    strange = judged.strange
    lines = {}
    for number, key in enumerate(strange.keys[: parts.PAGE]):
        called = "strange" if strange.score[number] > judged.limit else "usual"
        reasons = strange.words(number).split("; ") if strange.reasons[number] else []
        if key in found.pieces:
            lines[key] = (f"{called}, more than {strange.beyond[number]:.0%}", *reasons)
    gone = f" {judged.unreadable:,} could not be read." if judged.unreadable else ""
    st.caption(f"{judged.called:,} of {len(strange.keys):,} pieces are called strange; the strangest first.{gone}")
    where = bool(judged.glows) and st.toggle("Show where", key="glow", help="What glows is what looks strange.")
    glows = judged.glows if where else None
    parts.leafed(found, "strange", list(lines), _below, lines=lines, pictures=glows, width=150)
    for note in judged.notes:
        st.caption(plain(note))


# --- one design, many colours ---


def _many(found: Collection) -> None:
    if found.latents.mu.shape[1] == found.catalogue.motif_dim:
        st.info("The model of this catalogue keeps no colours apart, so designs cannot be told from colourways.")
        return
    alike = st.slider(
        "How alike the designs must be",
        0.6,
        0.95,
        explore.SAME_DESIGN,
        0.05,
        format="percent",
        key="alike",
        width=360,
        help="Further left more designs are found, and they are less surely the same.",
    )
    groups = _groups(found, found.version, alike)
    if not groups:
        st.info("No design is found in two colours. Ask for less likeness.", icon=":material/palette:")
        return
    st.caption(f"{len(groups):,} designs come in two colours or more.")
    pages = -(-len(groups) // ROWS)
    page = min(st.pagination(pages, key="designs page"), pages) if pages > 1 else 1
    for number in range((page - 1) * ROWS, min(page * ROWS, len(groups))):
        _design(found, [found.pieces[key] for key in groups[number]], number)


@st.cache_data(show_spinner="Comparing designs …", max_entries=16)
def _groups(_found: Collection, version: str, alike: float) -> list[list[str]]:
    keys, rows = list(_found.pieces), explore.sample(len(_found.pieces))
    groups = explore.in_many_colours(_found.embedding[rows], _found.catalogue.motif_dim, alike=alike)
    return [[keys[rows[row]] for row in group] for group in groups]


def _design(found: Collection, pieces: Sequence[Item], number: int) -> None:
    clusters = Counter(piece.cluster.replace("_", " ") for piece in pieces if piece.cluster)
    name = clusters.most_common(1)[0][0] if clusters else ""
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{len(pieces)} colourways**{f' · {plain(name)}' if name else ''}", width="content")
            search.opener(pieces[0].key, "Search for more", preset=search.DESIGN, key=f"design {number}")
        with st.grid(min_column_width=92, gap="xsmall"):
            for piece in pieces:
                with st.container(gap="xxsmall", key=f"colourway {number} {piece.key}"):
                    alt = f"{parts.name_of(piece)}: {piece.key}"
                    parts.image(found.catalogue.thumbnail(piece.key), alt=alt, width="stretch")
                    search.opener(piece.key, "Search", key=f"colourway {number}")
