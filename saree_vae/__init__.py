"""Latents of sarees and other textiles, told apart into motif and colour, and search over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .checkpoint import load as load
    from .encoding import encode as encode
    from .index import LatentIndex as LatentIndex
    from .vae import VAE as VAE

_HOMES = {"VAE": "vae", "load": "checkpoint", "encode": "encoding", "LatentIndex": "index"}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> object:
    # On first use: torch takes seconds to import, and `saree-vae --help` needs none of it.
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
