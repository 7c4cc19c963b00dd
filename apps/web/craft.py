"""The page Craft cluster: which craft a piece may come from, and why; and what is known of the crafts."""

from __future__ import annotations

import math
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import networkx as nx
import streamlit as st

from apps.crafts import looked_at, promise, reason_odds, reason_seen
from apps.showing import words
from kg.explain import Fact, Reason, Why, explain
from kg.head import RISK, Head, Prediction
from saree_vae import checkpoint
from saree_vae.checkpoint import Run
from saree_vae.data import Item
from saree_vae.errors import SareeError
from saree_vae.latents import Latents

from . import browse, parts, store
from .browse import BROWSING, NAMING
from .parts import Card, Picture, plain
from .store import Collection

RISKS = {0.05: "1 in 20", RISK: "1 in 10", 0.2: "1 in 5"}
STARTS = ("Picture", "Collection")
LEAST = 0.005  # a probability that is worth a bar
PLACED = 0.1  # a probability that is worth a dot on the map, where nothing is sure
# Cards that carry their own ground, so that the graph reads in the light and in the dark.
SEEN, BETWEEN, NAMED, LINE = ("#f1e3c8", "#2b2422"), ("#fbf8f3", "#2b2422"), ("#8e2b3e", "#ffffff"), "#8a7d72"


@dataclass(frozen=True)
class Asked:
    """What is to be named: a visitor's picture, or a piece of the catalogue (`thumb`: its photograph is gone)."""

    mark: str
    name: str
    source: Path | bytes
    piece: Item | None = None
    thumb: bool = False


def page() -> None:
    parts.title("Craft cluster", "Name the craft that a piece may come from and see why, or read what is known of it.")
    state = st.session_state
    browse.linked()
    if "craft next" in state:
        state["craft part"] = state.pop("craft next")
    state.setdefault("craft part", state.get("craft was") or (NAMING if store.settings().head else BROWSING))
    asked = {"label_visibility": "collapsed", "required": True}
    part = state["craft was"] = st.segmented_control("Part", (NAMING, BROWSING), key="craft part", **asked)
    if part == BROWSING:
        browse.browse()
        return
    st.query_params.pop("cluster", None)
    state.pop("craft linked", None)
    with parts.told():
        _naming()


def _naming() -> None:
    head, folder = store.head(), store.settings().head
    if head is None or folder is None:
        st.info(
            "Nothing here has learnt to name crafts yet. Fit a head on your labelled photographs and open it:",
            icon=":material/school:",
        )
        fit = "saree-vae fit-head saree-quickstart/run --data FOLDER --out saree-quickstart/head"
        st.code(f"{fit}\nsaree-vae app", language="bash")
        st.markdown("Without it you can browse the graph.")
        return
    found = store.collection()
    asking, answer = st.columns([1, 3], gap="large")
    with asking:
        asked = _asked(found)
    with answer:
        if asked is None:
            st.info("Bring a picture, or choose a piece of the collection.", icon=":material/west:")
        else:
            _answer(head, str(folder), asked)


# --- what is to be named ---


def _asked(found: Collection | None) -> Asked | None:
    """What this session asks about, with the ways to ask for something else."""
    state = st.session_state
    start = STARTS[0]
    if found and found.pieces:
        begin = STARTS[state.get("craft asked", ("",))[0] == "piece"]
        start = st.segmented_control("Start from", STARTS, default=begin, required=True, key="craft start")
    if start == STARTS[0]:
        picture = parts.brought("craft")
        if picture and state.get("craft mark") != picture.mark:
            state.update({"craft asked": ("picture", picture), "craft mark": picture.mark})
    elif found:
        _leaf(found)
    kind, what = state.get("craft asked", (None, None))
    if kind == "picture":
        return _shown_picture(what)
    return _shown_piece(found, found.pieces[what]) if found and what in found.pieces else None


def _leaf(found: Collection) -> None:
    clusters = parts.clusters_of(found)
    asked = {"format_func": words, "key": "craft labelled"}
    chosen = st.selectbox("Leaf through", ["everything", "without a label", *clusters], **asked)
    label = {"without a label": None}.get(chosen, chosen)
    keys = [key for key, piece in found.pieces.items() if chosen == "everything" or piece.cluster == label]

    def below(card: Card) -> None:
        st.button("Name it", key=f"craft leaf {card.key}", type="tertiary", on_click=_ask, args=(card.key,))

    with st.container(height=260 if "craft asked" in st.session_state else 420):
        parts.leafed(found, "craft", keys, below)


def _ask(key: str) -> None:
    st.session_state["craft asked"] = ("piece", key)


def _shown_picture(picture: Picture) -> Asked:
    parts.image(parts.small(picture), alt=f"Your picture, {picture.name}", width=260)
    st.caption(plain(picture.name))
    return Asked(picture.mark, picture.name, picture.file)


def _shown_piece(found: Collection, piece: Item) -> Asked:
    """A piece as it was photographed, or where that is gone, its thumbnail."""
    name, source = parts.name_of(piece), found.source(piece.key)
    parts.image(found.catalogue.thumbnail(piece.key), alt=f"{name}: {piece.key}", width=260)
    st.caption(plain(f"{name} · {piece.key.rpartition('/')[2]}"))
    gone = isinstance(source, bytes)
    return Asked(f"{found.version} {piece.key} {gone}", name, source, piece, gone)


# --- what is said of it ---


@st.fragment
def _answer(head: Head, folder: str, asked: Asked) -> None:
    with st.container(horizontal=True, gap="large", vertical_alignment="bottom"):
        risk = st.segmented_control(
            "Answers that may be wrong",
            list(RISKS),
            default=RISK,
            required=True,
            format_func=RISKS.get,
            key="craft risk",
            help="Fewer wrong answers means 'unsure' more often.",
        )
        unseen = st.toggle("Clusters never shown to it compete too", key="craft unseen", help=_NEVER)
    with parts.told():
        with st.spinner("Looking at it …"):
            told, why = _looked(head, folder, asked, risk, unseen)
        _said(head, told, risk, asked)
        _reasons(why, told)
        _apart(why)
        _nearest(told, asked)


_NEVER = "It knows them from the graph alone. What it was shown is then recognised less often."


def _looked(head: Head, folder: str, asked: Asked, risk: float, unseen: bool) -> tuple[Prediction, Why]:
    """The answer and its reasons; each is worked out once."""
    run, working = _eyes(folder)
    head.require(run.fingerprint)
    with working:
        latents = _latents(folder, asked.mark, run, head.crops, asked.source)
        told = _told(folder, asked.mark, risk, unseen, head, latents)
        return told, _why(folder, asked.mark, unseen, head, latents, told)


def _eyes(folder: str) -> tuple[Run, threading.RLock]:
    """The catalogue's model; without a catalogue, the one that came with the head."""
    found = store.collection()
    return (found.run, found.working) if found else _own_eyes(folder)


@st.cache_resource(show_spinner="Opening the model …", max_entries=1)
def _own_eyes(folder: str) -> tuple[Run, threading.RLock]:
    return checkpoint.load(Path(folder) / "model"), threading.RLock()


@st.cache_data(show_spinner=False, max_entries=50)
def _latents(folder: str, mark: str, _run: Run, _crops: int, _source: Path | bytes) -> Latents:
    try:
        return looked_at(_run, _source, _crops, mark)
    except SareeError as error:
        raise SareeError(f"it cannot be looked at: {getattr(error, 'reason', error)}") from None  # names no file


@st.cache_data(show_spinner=False, max_entries=200)
def _told(folder: str, mark: str, risk: float, unseen: bool, _head: Head, _latents: Latents) -> Prediction:
    return _head.predict(_latents, risk=risk, unseen=unseen)[0]


@st.cache_data(show_spinner=False, max_entries=50)
def _why(folder: str, mark: str, unseen: bool, _head: Head, _latents: Latents, _told: Prediction) -> Why:
    return explain(_head, store.graph(), _latents, _told)  # the risk changes nothing here


def _said(head: Head, told: Prediction, risk: float, asked: Asked) -> None:
    """The answer, how far it can be relied on, what else it may be, and where that is."""
    said, place = st.columns([3, 2], gap="large")
    with said:
        st.header(plain(_answer_words(told)), anchor=False)
        st.markdown(plain(promise(head, told, risk)))
        if asked.piece and asked.piece.cluster:
            st.caption(plain(f"Its label in the catalogue: {words(asked.piece.cluster)}."))
        if asked.piece and asked.piece.key in head.keys:
            st.caption("It learnt from this very piece, so this answer tells nothing of how good it is.")
        if asked.thumb:
            st.caption("The photograph is no longer where it was, so the catalogue's small copy was looked at.")
        _bars(told)
    with place:
        likely = [cluster for cluster, p in told.clusters if p >= PLACED] or [told.clusters[0][0]]
        browse.place_map(likely[:1] if told.level == "cluster" else likely[:3])


def _answer_words(told: Prediction) -> str:
    if told.level == "cluster":
        return browse.named(told.answer)
    if told.level:
        return f"Unsure which, but of the {words(told.level)} {told.answer}"
    if told.unlike:
        return "Unsure: unlike anything seen"
    return "Unsure: perhaps of a cluster it was never shown" if told.novel else "Unsure"


def _bars(told: Prediction) -> None:
    """Probabilities of clusters, each a way to its page, then of the groups they are in."""
    for cluster, p in told.clusters:
        if p >= LEAST:
            st.progress(p, text=plain(f"{browse.named(cluster)} {_share(p)}"))
    groups = (f"{words(level)} {name} {_share(p)}" for level, (name, p) in told.groups.items() if name)
    st.caption(plain(f"Likeliest groups: {'; '.join(groups)}"))
    if told.never_shown:
        new = ", ".join(browse.named(cluster) for cluster, _ in told.never_shown)
        st.caption(plain(f"Of clusters it was never shown, by the graph alone: {new}"))
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.markdown(":gray[Read about]", width="content")
        for cluster, p in told.clusters[:3]:
            if p >= LEAST and browse.opener(cluster, "likely"):
                st.rerun()


def _share(p: float) -> str:
    """A probability in words; nothing is certain."""
    return f"{p:.0%}" if p < 0.995 else "over 99%"


# --- why ---


def _reasons(why: Why, told: Prediction) -> None:
    """What speaks for the likeliest, drawn and in words, with where it was read."""
    name = browse.named(why.cluster)
    asks = f"Why {name}?" if told.level == "cluster" else f"What speaks for {name}, the likeliest"
    st.subheader(plain(asks), anchor=False)
    seen = [f"{words(attribute)} {p:.0%}" for attribute, p in _surest(why) if p >= 0.5]
    st.markdown(f":gray[To be seen, as far as can be told:] {plain(', '.join(seen) or 'nothing surely')}")
    st.markdown(
        plain(f"By its looks alone {_share(why.by_looks)}, with what is known of it {_share(why.probability)}.")
    )
    if not why.reasons:
        st.info(f"Nothing in the graph speaks for {plain(name)}; only its looks do.", icon=":material/visibility:")
        return
    spoken = "; ".join(f"{reason_seen(reason)}, {reason_odds(reason)}" for reason in why.reasons)
    drawing, said = st.columns(2, gap="large")
    drawing.graphviz_chart(paths(store.graph(), why), width="content", alt=f"What speaks for {name}: {spoken}")
    with said:
        _in_words(why)


def _in_words(why: Why) -> None:
    """Each reason, numbered with the facts that tie it to the cluster, and where these were read."""
    rows: dict[tuple[str, int], Fact] = {}
    lines = []
    for reason in why.reasons:
        rows |= {(fact.file, fact.row): fact for fact in reason.facts}
        numbers = ", ".join(str(1 + list(rows).index((fact.file, fact.row))) for fact in reason.facts)
        lines.append(f"- **{plain(reason_seen(reason))}:** {plain(f'{reason_odds(reason)} [{numbers}]')}")
    st.markdown("\n".join(lines))
    with st.expander(f"Where this was read ({len(rows)})"):
        for number, fact in enumerate(rows.values(), 1):
            basis = f"{fact.basis}; " if fact.basis else ""
            about = f"[{number}] {words(fact.cluster.partition(':')[2])}: {basis}{fact.file}, row {fact.row}"
            st.markdown(f"{plain(f'{about} ({fact.confidence})')}\n{browse.sources(fact.sources)}")


def _surest(why: Why) -> list[tuple[str, float]]:
    return sorted(why.attributes.items(), key=lambda one: -one[1])


def paths(graph: nx.MultiDiGraph, why: Why) -> str:
    """The ways from what is seen to the cluster as a DOT graph; the thicker a line, the more it tells."""
    nodes, edges = {}, {}
    for reason in why.reasons:
        for node in reason.path:
            nodes.setdefault(node, _node(graph, node, None, BETWEEN))
        nodes[reason.path[0]] = _node(graph, reason.path[0], reason, SEEN)
        for a, b in pairwise(reason.path):
            edges[a, b] = max(edges.get((a, b), 0), 1 + min(4.0, math.log2(reason.odds)))
    nodes[f"cluster:{why.cluster}"] = _node(graph, f"cluster:{why.cluster}", None, NAMED)
    return "\n".join(_dot(nodes, edges))


def _dot(nodes: dict[str, str], edges: dict[tuple[str, str], float]) -> Iterator[str]:
    yield "digraph {"
    yield "graph [rankdir=LR bgcolor=transparent nodesep=0.18 ranksep=0.45 margin=0]"
    yield 'node [shape=box style="rounded,filled" fontname="Helvetica,Arial" fontsize=12 margin="0.12,0.07"]'
    yield f'edge [color="{LINE}" arrowsize=0.6] node [color="{LINE}"]'
    for node, look in nodes.items():
        yield f"{_quoted(node)} [{look}]"
    for (a, b), width in edges.items():
        yield f"{_quoted(a)} -> {_quoted(b)} [penwidth={width:.1f}]"
    yield "}"


def _node(graph: nx.MultiDiGraph, node: str, reason: Reason | None, look: tuple[str, str]) -> str:
    name = words(graph.nodes[node]["name"])
    lines = textwrap.wrap(f"photographs labelled {name}" if node.startswith("label:") else name, 18)
    if reason:
        kind = node.partition(":")[0] if reason.strength is None else f"seen {reason.strength:.0%}"
        lines.append(f"{kind}, odds × {reason.odds:.1f}" if reason.odds < 1000 else f"{kind}, odds over × 1000")
    ground, ink = look
    return f'label={_quoted(chr(10).join(lines))} fillcolor="{ground}" fontcolor="{ink}"'


def _quoted(text: str) -> str:
    r"""A string of DOT; "\n" is its line break."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _apart(why: Why) -> None:
    if not why.runner_up or not (why.apart or why.contrasts):
        return
    name, other = browse.named(why.cluster), browse.named(why.runner_up)
    st.subheader(f"Or {plain(other)}?", anchor=False)
    browse.differences(why.apart)
    browse.contrasts(why.contrasts, name, other)


def _nearest(told: Prediction, asked: Asked) -> None:
    """The labelled pieces that are most like it; as pictures where the catalogue has them."""
    found = store.collection()
    st.subheader("Labelled pieces that are most like it", anchor=False)
    owned, elsewhere = [], []
    for piece in told.nearest:
        if asked.piece and piece.key == asked.piece.key:
            continue
        line = f"likeness {piece.likeness:.2f}"
        if found and piece.key in found.pieces:
            here = found.pieces[piece.key]
            owned.append(Card(found.catalogue.thumbnail(piece.key), f"{here.key}", (browse.named(piece.cluster), line)))
        else:
            elsewhere.append(f"{browse.named(piece.cluster)}, {piece.key.rpartition('/')[2]}, {line}")
    parts.gallery(owned, "nearest")
    if elsewhere:
        st.caption(plain(f"Not in this catalogue: {'; '.join(elsewhere)}"))
