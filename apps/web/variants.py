"""The page Variants: pictures that the decoder changed, for training classifiers, behind a gate."""

from __future__ import annotations

import random
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import IO

import numpy as np
import streamlit as st

from apps.variants import told as told_of
from saree_vae.errors import SareeError
from saree_vae.images import ImageError, thumbnail
from saree_vae.variants import BATCH, REASONS, SIDE, VARY, Known, Made, Maker, archive

from . import parts
from .parts import plain
from .store import Collection

LIMIT = 500  # variants of one training set in the browser: some minutes of one core
PREVIEWED = 3  # pieces
SEED = 0  # of a training set; a preview counts on from it
WAYS = {"colour": "Other colours", "motif": "Another design", "both": "Both"}
TAKEN = {"design_of": "design of", "colours_of": "colours of"}
SEEN = 256  # pixels of a preview
PASSED = ":material/check_circle: "
LOOKING, TRYING, VARYING = "Looking at the collection", "Trying", "Varying"
STARTS = ("A cluster", "Some pieces")


@dataclass(frozen=True)
class Tried:
    """What became of a piece in one way, and what the gate said.

    picture: JPEG, or None where no draw passed; taken: keys of the pieces whose design or colours it has, by what.
    """

    way: str
    picture: bytes | None
    taken: dict[str, str]
    refused: Counter


@dataclass(frozen=True)
class Ready:
    """A training set to take away."""

    file: IO[bytes]
    made: Made
    about: str


def page() -> None:
    parts.title("Variants", "More pictures where photographs are few, to train classifiers on, and for nothing else.")
    found = parts.needed()
    if found is None:
        return
    with parts.told():  # no fragments: in one a click would wait for the work and not stop it
        known, gone = _known(found)
        asking, answer = st.columns([1, 3], gap="large")
        with asking:
            rows = _chosen(known)
            if gone:
                st.caption(f"{gone:,} pieces cannot be varied: their photographs are no longer where they were.")
        with answer:
            if not len(rows):
                st.info("Choose a cluster or some pieces to see what could be made of them.", icon=":material/west:")
                return
            _preview(found, known, rows)
            _training_set(found, known, rows)


@st.cache_resource(show_spinner=False, max_entries=1)
def _place(folder: str, version: str) -> dict[str, tuple[Known, int]]:
    """Where what is known of a collection is kept; empty at first."""
    del folder, version
    return {}


def _known(found: Collection) -> tuple[Known, int]:
    """What variants are made from and held against, and how many pieces have no photograph any more."""
    place = _place(str(found.catalogue.folder), found.version)
    if "known" not in place:
        with parts.waiting(LOOKING) as progress, found.working:
            if "known" not in place:
                known, gone = Known.of_catalogue(found.catalogue, lambda _, done, total: progress(LOOKING, done, total))
                place["known"] = known, len(gone)
    return place["known"]


# --- of what ---


def _chosen(known: Known) -> np.ndarray:
    """Rows of the pieces that are to be varied."""
    start = st.segmented_control("Vary", STARTS, default=STARTS[0], required=True, key="vary", persist_state="session")
    if start == STARTS[0]:
        counts = Counter(known.clusters.tolist())
        names = sorted(counts, key=lambda name: (not name, name))  # those without a cluster last
        name = st.selectbox(
            "Cluster",
            names,
            key="varied cluster",
            format_func=lambda name: f"{name.replace('_', ' ') or 'without a cluster'} ({counts[name]})",
            persist_state="session",
        )
        rows = np.flatnonzero(known.clusters == name)
    else:
        by_key = {item.key: row for row, item in enumerate(known.items)}
        keys = st.multiselect(
            "Pieces",
            [*by_key],
            key="varied pieces",
            max_selections=LIMIT,
            placeholder="Type a part of a name",
            format_func=lambda key: f"{_name(known, by_key[key])} · {key}",
            persist_state="session",
        )
        rows = np.array([by_key[key] for key in keys if key in by_key], int)
    st.caption("Only pieces of the train split, if the catalogue tells one: tests must not see what was trained on.")
    return rows


def _name(known: Known, row: int) -> str:
    item = known.items[row]
    return (item.cluster or "").replace("_", " ") or item.key.rpartition("/")[2]


def _maker(found: Collection, known: Known, way: str, seed: int) -> Maker:
    read = lru_cache(maxsize=2 * BATCH)(lambda row: known.picture(row, SIDE))
    return Maker(found.run, known, read, vary=way, seed=seed)


def _ways(found: Collection) -> tuple[str, ...]:
    return VARY if found.run.config.model.colour_dim else ("motif",)  # such a model does not tell colours apart


# --- a few, to look at ---


def _preview(found: Collection, known: Known, rows: np.ndarray) -> None:
    st.subheader("A few, beside their originals", anchor=False)
    seed = st.session_state.setdefault("preview seed", SEED)
    shown = sorted(random.Random(seed).sample(rows.tolist(), min(PREVIEWED, len(rows))))
    with parts.told():
        tried = _tried(found, known, shown, seed)
        if tried is None:
            return
        for row in shown:
            original, ways = tried[row]
            with st.grid(4, min_column_width=140, key=f"preview {row}"):
                _original(known, row, original)
                for one in ways:
                    _beside(found, _name(known, row), one)
    st.button("Show others", icon=":material/refresh:", on_click=_others)


def _others() -> None:
    st.session_state["preview seed"] += 1


def _tried(
    found: Collection, known: Known, rows: Sequence[int], seed: int
) -> dict[int, tuple[bytes, list[Tried]]] | None:
    """Each piece as the model sees it, and a variant in each way; None where that was stopped."""
    state, mark = st.session_state, (found.version, tuple(rows), seed)
    if state.get("preview mark") != mark:
        if state.get(f"stop {TRYING}"):
            st.button("Show them after all", icon=":material/replay:")  # any click does
            return None
        with _by_key(known):
            tried = {row: (thumbnail(known.picture(row, SEEN), SEEN), []) for row in rows}
        wanted = [(row, way) for row in rows for way in _ways(found)]
        with parts.waiting(TRYING) as progress:
            for done, (row, way) in enumerate(wanted):
                progress(TRYING, done, len(wanted))
                with found.working, _by_key(known):
                    tried[row][1].append(_one(_maker(found, known, way, seed), row))
        state.update({"preview": tried, "preview mark": mark})
    return state["preview"]


def _one(maker: Maker, row: int) -> Tried:
    made, refused = maker.make([row], 1)
    if not made:
        return Tried(maker.vary, None, {}, refused)
    return Tried(maker.vary, thumbnail(made[0].picture, SEEN), made[0].parameters, refused)


@contextmanager
def _by_key(known: Known) -> Iterator[None]:
    """A photograph that cannot be read is told by its key, not by where it lies."""
    try:
        yield
    except ImageError as error:
        keys = [item.key for item in known.items if str(item.path) == error.name]
        raise SareeError(f"{keys[0] if keys else 'a photograph'}: {error.reason}") from None


def _original(known: Known, row: int, picture: bytes) -> None:
    with st.container(gap="xsmall"):
        parts.image(picture, alt=f"The original: {_name(known, row)}, {known.items[row].key}", width="stretch")
        st.markdown(f"**Original**  \n:small[{plain(_name(known, row))}]")


def _beside(found: Collection, name: str, one: Tried) -> None:
    """One variant, what it took from whom, and the gate's verdict."""
    with st.container(gap="xsmall"):
        if one.picture:
            parts.image(one.picture, alt=f"{WAYS[one.way]}: a variant of {name}", width="stretch")
        st.markdown(f"**{WAYS[one.way]}**  \n:small[{_verdict(one)}]")
        for what, key in one.taken.items():
            with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
                st.caption(TAKEN[what], width="content")
                parts.image(found.catalogue.thumbnail(key), alt=f"{TAKEN[what]} this piece, {key}", width=48)


def _verdict(one: Tried) -> str:
    """What the gate said, in words."""
    why = [f"{words} ({one.refused[reason]})" for reason, words in REASONS.items() if one.refused[reason]]
    if one.picture:
        return PASSED + (f"passed; draws refused before: {'; '.join(why)}" if why else "passed")
    return f":material/block: no draw passed: {'; '.join(why)}"


# --- a training set ---


def _training_set(found: Collection, known: Known, rows: np.ndarray) -> None:
    st.subheader("A training set", anchor=False)
    left, right = st.columns(2, gap="large")
    way = left.segmented_control(
        "What changes",
        _ways(found),
        default=_ways(found)[-1],
        required=True,
        format_func=WAYS.get,
        key="set way",
        persist_state="session",
    )
    count = right.slider("Variants of each piece", 1, 8, 4, key="set count", persist_state="session")
    some = _some(rows, count)
    st.markdown(
        f"At most {len(some) * count:,} variants of {len(some):,} pieces, with a manifest that tells of each "
        "what it was made from, how, with which seed and by which model."
    )
    if len(some) < len(rows):
        st.caption(
            f"A browser makes {LIMIT} at most, here of {len(some):,} of {len(rows):,} pieces, by chance. "
            f"More makes the command line: `saree-vae augment RUN --data D --out D2 --vary {way} --per-image {count}`"
        )
    stopped = st.session_state.get(f"stop {VARYING}")  # the click before it comes again with the one that stops
    asked = st.button("Make the training set", type="primary", icon=":material/auto_awesome_mosaic:")
    if asked and not stopped:
        with parts.told():
            about = f"{WAYS[way].lower()}, {len(some):,} pieces"
            st.session_state["set ready"] = _made(found, known, some, way, count, about)
    elif stopped:
        st.caption("Stopped; nothing of it was kept.")
    if st.session_state.get("set ready"):
        _take_away(st.session_state["set ready"])


def _some(rows: np.ndarray, count: int) -> list[int]:
    """As many of the pieces as a browser's training set takes; always the same."""
    most = LIMIT // count
    return rows.tolist() if len(rows) <= most else sorted(random.Random(SEED).sample(rows.tolist(), most))


def _made(found: Collection, known: Known, rows: Sequence[int], way: str, count: int, about: str) -> Ready:
    file = tempfile.TemporaryFile()  # noqa: SIM115 (it is there as long as the session offers it)
    steps = archive(_maker(found, known, way, SEED), rows, count, file)
    try:
        with parts.waiting(VARYING) as progress:
            for _ in rows:
                with found.working:  # for one piece at a time: others may search in between
                    made = next(steps)
                progress(VARYING, made.sources, len(rows))
            next(steps, None)  # closes the archive
        ready = Ready(file, made, about)
        weakref.finalize(ready, file.close)
        return ready
    except BaseException as error:  # a click that stops it is one
        steps.close()
        file.close()
        if isinstance(error, OSError):
            raise SareeError(f"the training set could not be kept: {error.strerror}") from None
        raise


def _take_away(ready: Ready) -> None:
    made = ready.made
    st.success(f"{made.kept:,} of {made.asked:,} variants passed the gate ({plain(ready.about)}).")
    st.markdown("  \n".join(f":gray[{plain(line)}]" for line in told_of(made)))
    if made.bad:
        st.caption(f"{len(made.bad):,} pieces were left out: a photograph that they need cannot be read.")
    st.download_button(
        "Pictures and manifest (ZIP)",
        lambda: _whole(ready.file),
        "variants.zip",
        "application/zip",
        icon=":material/folder_zip:",
        on_click="ignore",
    )


def _whole(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
