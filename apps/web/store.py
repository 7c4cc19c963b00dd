"""What all visitors share, opened once: the catalogue with its model, the head, the graph, and what is made of them."""

from __future__ import annotations

import functools
import json
import os
import threading
from pathlib import Path

import networkx as nx
import numpy as np
import streamlit as st
from pydantic import BaseModel

from kg.graph import load_graph
from kg.head import Head
from saree_vae import indexing
from saree_vae.catalogue import Catalogue
from saree_vae.checkpoint import Run
from saree_vae.data import Item
from saree_vae.errors import SareeError
from saree_vae.images import read_image
from saree_vae.latents import Latents
from saree_vae.palette import Palettes
from saree_vae.query import Nearness

from .serve import VARIABLE


class Settings(BaseModel):
    """What the app was started with.

    edit: whether visitors may change what is on the disk.
    """

    catalogue: Path | None = None
    head: Path | None = None
    run: Path | None = None
    edit: bool = False


def settings() -> Settings:
    return Settings(**json.loads(os.environ.get(VARIABLE, "{}")))


class Collection:
    """A catalogue and its model, and what is made of its present content; safe to use from several threads.

    Attributes:
        version: of the content; another one is another Collection.
        working: held where a model is looked at from within, or anything takes a core for seconds.
    """

    def __init__(self, catalogue: Catalogue, run: Run, version: str):
        self.catalogue, self.run, self.version, self.working = catalogue, run, version, threading.RLock()

    @functools.cached_property
    def pieces(self) -> dict[str, Item]:
        """By key, in the order of the keys; where they lie on the disk is nobody's business."""
        return self.catalogue.items()

    def source(self, key: str) -> Path | bytes:
        """A piece's photograph, or its thumbnail where that is gone."""
        path = self.pieces[key].path
        return path if path.is_file() else self.catalogue.thumbnail(key)

    def picture(self, key: str, side: int) -> np.ndarray:
        """A piece to look at, (H, W, 3), its shorter side at least `side` if there is so much of it."""
        try:
            return read_image(self.source(key), min_side=side)
        except SareeError:  # damaged since
            return read_image(self.catalogue.thumbnail(key))

    @functools.cached_property
    def latents(self) -> Latents:
        """Of whole pictures, in the order of `pieces`."""
        return Latents(*self.catalogue.latents(), self.catalogue.motif_dim)

    @functools.cached_property
    def embedding(self) -> np.ndarray:
        return self.latents.embedding()

    @functools.cached_property
    def nearness(self) -> Nearness:
        return Nearness(self.embedding, self.catalogue.motif_dim)

    def palettes(self) -> Palettes:
        """Of every piece's thumbnail, in the order of `pieces`; seconds for thousands, the first time."""
        with self.working:
            if not hasattr(self, "_palettes"):
                self._palettes = Palettes([self.catalogue.thumbnail(key) for key in self.pieces])
        return self._palettes


def collection() -> Collection | None:
    """The catalogue that the app was started with, as it is now; None where there is none.

    Raises:
        SareeError: it cannot be opened, or its model is missing.
    """
    folder = settings().catalogue
    if folder is None:
        return None
    catalogue, run = _opened(folder)
    return _collection(folder, catalogue.version, catalogue, run)


@st.cache_resource(show_spinner="Opening the catalogue and its model …")
def _opened(folder: Path) -> tuple[Catalogue, Run]:
    return indexing.open_catalogue(folder)


@st.cache_resource(show_spinner=False, max_entries=1)
def _collection(folder: Path, version: str, _catalogue: Catalogue, _run: Run) -> Collection:
    return Collection(_catalogue, _run, version)


@st.cache_resource(show_spinner=False)
def graph() -> nx.MultiDiGraph:
    """The curated facts."""
    return load_graph()


def head() -> Head | None:
    """The head that the app was started with; None where there is none.

    Raises:
        SareeError: it is not a head, or one of another model or of other facts.
    """
    folder = settings().head
    return None if folder is None else _head(folder)


@st.cache_resource(show_spinner="Opening the head …")
def _head(folder: Path) -> Head:
    from apps.crafts import require_facts

    found, opened = Head.load(folder), collection()
    require_facts(found, graph())
    if opened:
        found.require(opened.run.fingerprint)
    return found


@st.cache_resource(show_spinner="Asking the head about pieces without a label …", max_entries=1)
def named(_collection: Collection, version: str) -> dict[str, tuple[str, float]]:
    """What the head names surely enough among pieces without a label: cluster and probability, by key."""
    from apps.crafts import named as by_head

    return by_head(settings().head, _collection.catalogue) if settings().head else {}
