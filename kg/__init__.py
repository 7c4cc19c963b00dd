"""What is known of textile crafts, as a graph with sources: load it, ask it, turn it into vectors, export it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .graph import graph_hash as graph_hash
    from .graph import load_graph as load_graph
    from .graph import resolve as resolve
    from .schema import validate as validate

_HOMES = {"load_graph": "graph", "graph_hash": "graph", "resolve": "graph", "validate": "schema"}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    # On first use: `saree-vae --help` does not need networkx.
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
