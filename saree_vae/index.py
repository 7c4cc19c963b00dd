"""Nearest latents by motif, by colour, or by any mixture of the two, from one exact FAISS index."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np

from .errors import SareeError
from .files import atomic_write
from .latents import WEIGHTS, shares


class LatentIndex:
    """Embeddings (unit motif and unit colour side by side) under an inner product, each with an id.

        score = (motif cos_motif + colour cos_colour) / (motif + colour)

    The stored rows never change with the weights: a query scales its own halves, so one index answers every mixture.
    Search runs on the GPU where faiss has one (not with `among`, which FAISS only knows on the CPU).

    Raises:
        SareeError: FAISS is not installed.
    """

    def __init__(self, motif_dim: int, colour_dim: int):
        faiss = _faiss()
        self.motif_dim, self.colour_dim = motif_dim, colour_dim
        self.stamp = ""
        self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(motif_dim + colour_dim))
        self._gpu = None

    def __len__(self) -> int:
        return self._index.ntotal

    def add(self, embedding: np.ndarray, ids: np.ndarray) -> None:
        """Store rows under ids.

        Args:
            embedding: (N, motif_dim + colour_dim); each half has length one, or is all zeros.
            ids: (N,) integers, not negative; the caller keeps them unique.

        Raises:
            SareeError: a wrong shape, or a row that is not finite or not of unit halves; nothing is stored.
        """
        embedding = self._checked(embedding, "embedding")
        ids = np.ascontiguousarray(ids, dtype=np.int64)
        if ids.shape != (len(embedding),) or (ids < 0).any():
            raise SareeError(f"{len(embedding)} embeddings need as many ids that are not negative, got {ids.shape}")
        if len(ids):
            self._index.add_with_ids(embedding, ids)
            self._gpu = None  # the copy on the device lacks the new rows

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        motif: float = WEIGHTS["motif"],
        colour: float = WEIGHTS["colour"],
        among: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best stored rows for each query.

        Args:
            queries: (Q, motif_dim + colour_dim) embeddings.
            k: how many; more than there are is allowed.
            motif, colour: weights of the two cosines, not negative and not both 0.
            among: only rows with these ids, if given.

        Returns:
            scores (Q, k) float32 in [-1, 1], best first, and ids (Q, k) int64; where there are no more, -inf and -1.

        Raises:
            SareeError: a wrong shape, weight or k, or a query that is not finite or not of unit halves.
        """
        motif, colour = self.shares(motif, colour)
        if k < 1:
            raise SareeError(f"k is {k}; ask for at least 1 neighbour")
        scaled = self._checked(queries, "query") * np.float32([motif] * self.motif_dim + [colour] * self.colour_dim)
        found = min(k, len(self) if among is None else len(among), len(self))
        scores = np.full((len(scaled), k), -np.inf, dtype=np.float32)
        ids = np.full((len(scaled), k), -1, dtype=np.int64)
        if found and len(scaled):
            scores[:, :found], ids[:, :found] = self._neighbours(scaled, found, among)
            scores[ids < 0] = -np.inf  # FAISS says -3.4e38 where `among` named rows that are not here
        return scores, ids

    def shares(self, motif: float, colour: float) -> tuple[float, float]:
        """How much each cosine counts, together 1; colour not at all where there is no colour half.

        Raises:
            SareeError: a weight is negative or not finite, or none is left.
        """
        return shares(motif, colour if self.colour_dim else 0.0)

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """The stored rows under these ids, (N, motif_dim + colour_dim); ids must be there."""
        return self._index.reconstruct_batch(np.ascontiguousarray(ids, dtype=np.int64))

    def save(self, path: str | Path, *, stamp: str = "") -> None:
        """Write a FAISS file atomically; `stamp` is any text by which the owner knows what the rows were made from.

        Dimensions, stamp and a checksum lie behind the FAISS data, where `faiss.read_index` does not look.

        Raises:
            SareeError: the file cannot be written; an older file is as it was.
        """
        with atomic_write(path) as temporary:
            try:
                _faiss().write_index(self._index, str(temporary))
            except RuntimeError as error:
                raise SareeError(f"{path}: could not be written: {_first_line(error)}") from error
            about = {"motif_dim": self.motif_dim, "colour_dim": self.colour_dim, "stamp": stamp}
            about["crc32"] = _crc32(temporary, temporary.stat().st_size)
            text = json.dumps(about).encode()
            with temporary.open("ab") as file:
                file.write(text + _TAIL.pack(len(text), _MAGIC))
        self.stamp = stamp

    @staticmethod
    def load(path: str | Path) -> LatentIndex:
        """Read what `save` wrote.

        Raises:
            SareeError: there is no such file, it is not ours, or it is damaged; or FAISS is not installed.
        """
        faiss, about = _faiss(), _about(Path(path))
        index = LatentIndex(about["motif_dim"], about["colour_dim"])
        try:
            index._index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise SareeError(f"{path}: FAISS cannot read this index: {_first_line(error)}") from error
        index.stamp = about["stamp"]
        return index

    def _checked(self, rows: np.ndarray, what: str) -> np.ndarray:
        """`rows` as FAISS wants them: (N, D) float32, contiguous, finite, of unit halves."""
        rows = np.asarray(rows)
        width = self.motif_dim + self.colour_dim
        if rows.ndim != 2 or rows.shape[1] != width:
            row = f"row 0 has {rows.shape[1]} values" if rows.ndim == 2 else f"the array has shape {rows.shape}"
            raise SareeError(f"{what}: {row}; expected (N, {width}): {self.motif_dim} motif, {self.colour_dim} colour")
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        for name, half in (("motif", rows[:, : self.motif_dim]), ("colour", rows[:, self.motif_dim :])):
            length = np.sqrt(np.einsum("nd,nd->n", half, half))
            # 1e-2 lets half-precision embeddings pass and stops posterior means that were never scaled.
            wrong = ~((np.abs(length - 1) < 1e-2) | (length == 0))
            if wrong.any():
                row = int(wrong.argmax())
                got = f"length {length[row]:.3g}" if np.isfinite(half[row]).all() else "a value that is not finite"
                raise SareeError(f"{what} {row}: its {name} half has {got}; an embedding's has length 1")
        return rows

    def _neighbours(self, scaled: np.ndarray, k: int, among: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        faiss = _faiss()
        if among is not None:
            selector = faiss.IDSelectorBatch(np.ascontiguousarray(among, dtype=np.int64))
            return self._index.search(scaled, k, params=faiss.SearchParameters(sel=selector))
        if k > _GPU_K or not _has_gpu(faiss):
            return self._index.search(scaled, k)
        if self._gpu is None:
            resources = faiss.StandardGpuResources()
            flat = faiss.downcast_index(self._index.index)
            ids = faiss.vector_to_array(self._index.id_map).copy()
            self._gpu = (faiss.index_cpu_to_gpu(resources, 0, flat), ids, resources)  # resources must outlive the copy
        scores, places = self._gpu[0].search(scaled, k)
        return scores, self._gpu[1][places]


def read_stamp(path: str | Path) -> str:
    """The stamp of a saved index, its checksum verified; needs no FAISS.

    Raises:
        SareeError: there is no such file, it is not ours, or it is damaged.
    """
    return _about(Path(path))["stamp"]


_MAGIC = b"SAREEIDX"
_TAIL = struct.Struct("<I8s")  # length of the JSON before it, magic
_GPU_K = 2048  # FAISS selects at most so many on a GPU


def _about(path: Path) -> dict:
    """The JSON behind the FAISS data, if the data before it are what was written."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - _TAIL.size))
            length, magic = _TAIL.unpack(file.read())
            start = size - _TAIL.size - length
            if magic != _MAGIC or start < 0:
                raise ValueError("no end mark")
            file.seek(start)
            about = json.loads(file.read(length))
        if _crc32(path, start) != about["crc32"]:
            raise ValueError("wrong checksum")
    except FileNotFoundError:
        raise SareeError(f"{path}: there is no such index") from None
    except OSError as error:
        raise SareeError(f"{path}: could not be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise SareeError(f"{path}: not an index made here, or damaged ({error}); build it again") from None
    return about


def _crc32(path: Path, count: int) -> int:
    """Checksum of the first `count` bytes."""
    crc = 0
    with path.open("rb") as file:
        while count > 0 and (chunk := file.read(min(count, 1 << 20))):
            crc = zlib.crc32(chunk, crc)
            count -= len(chunk)
    return crc


def _faiss():
    try:
        import faiss
    except ImportError:
        raise SareeError(
            "searching needs FAISS; install saree-vae[cpu], or saree-vae[gpu] on a machine with a GPU"
        ) from None
    return faiss


def _has_gpu(faiss) -> bool:
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
