"""Runs as other libraries would have them: scikit-learn, LanceDB. Each file imports its library alone."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from .. import checkpoint


def loaded(run: str | Path, device: str) -> checkpoint.Run:
    """A run, read once in each process and again when it was trained anew; SareeError as `checkpoint.load`."""
    return _read(str(run), device, (checkpoint.folder_of(run) / "model.safetensors").stat().st_mtime_ns)


@lru_cache(maxsize=4)  # pipelines and grid searches clone their steps, and pickle them to other processes
def _read(run: str, device: str, written: int) -> checkpoint.Run:
    return checkpoint.load(run, device)
