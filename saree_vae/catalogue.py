"""A folder of everything a collection's search needs: SQLite holds the truth, FAISS an index made from it."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from .data import Item
from .errors import SareeError
from .files import atomic_write
from .images import WHOLE, Box, ImageError, read_image
from .index import LatentIndex, read_stamp
from .kin import NEAREST, kinship
from .latents import WEIGHTS, pairing, unit, weighted
from .verification import FIRST, Same, small, verified, ways
from .where import ITEM_COLUMNS, Where, parse

log = logging.getLogger(__name__)

FORMAT = 1  # of the folder; a newer one is refused
CANDIDATES = 100  # items that each vector of a query of several puts forward


@dataclass(frozen=True)
class Entry:
    """One item to store, with one or more vectors.

    key: unique in the catalogue; an entry with a known key replaces it.
    path: where the picture lies, as text; sha256: of the picture's file, so that a caller knows what has changed.
    cluster, item_id: None where unknown; metadata: any other columns.
    thumbnail: JPEG.
    mu, sigma: posteriors of the vectors, (V, D), V >= 1; the whole picture first.
    boxes: which part of the picture each vector saw, V of (x0, y0, x1, y1) in [0, 1].
    """

    key: str
    path: str
    sha256: str
    cluster: str | None
    item_id: str | None
    metadata: dict[str, str]
    thumbnail: bytes
    mu: np.ndarray
    sigma: np.ndarray
    boxes: tuple[Box, ...] = (WHOLE,)


@dataclass(frozen=True)
class Hit:
    """One item found: `score` orders hits, `motif` and `colour` are the cosines behind it, all in [-1, 1].

    A score by kin is of `kin.kinship`, in [0, 1]: how hits stand to each other, not how like the query they are.
    box: the part of the item that matched; query_box: the part of the query that it matched. Where both show the very
        same design, the parts that lie on each other.
    same: where the search verified its first hits, how much of the query this one holds: 0 unless it shows the very
        same design (`verification.overlap`), or asked by colours alone the very same colours (`contained`). Such hits
        come first.
    """

    key: str
    path: str
    score: float
    motif: float
    colour: float
    cluster: str | None
    item_id: str | None
    metadata: dict[str, str]
    box: Box
    query_box: Box
    same: float = 0.0


class Catalogue:
    """Made by `create` or `open`; a context manager. Several processes may read while one writes.

    Every method raises SareeError, in a sentence, where the folder is damaged, locked or full. Whatever `add` or
    `remove` has returned from is on the disk; an interrupted call has changed nothing.
    """

    def __init__(self, folder: Path, about: dict):
        """Use `create` or `open`."""
        self.folder = folder
        self.fingerprint: str = about["fingerprint"]
        self.motif_dim: int = about["motif_dim"]
        self.colour_dim: int = about["colour_dim"]
        self.crops: int = about.get("crops", 0)  # small regions stored of each picture at most; 0: whole pictures only
        self._lock = threading.RLock()  # a web page may search from any of its threads
        self._loaded: _Loaded | None = None
        self._columns: tuple[str, frozenset[str]] = ("", frozenset())
        with _in_plain_words(folder):
            self._database = sqlite3.connect(
                _address(folder), uri=True, timeout=30, isolation_level=None, check_same_thread=False
            )
            with _closed_on_error(self):
                self._database.execute("PRAGMA foreign_keys = ON")
                self._database.execute("PRAGMA synchronous = FULL")  # what was acknowledged outlives a power cut, too

    @staticmethod
    def create(folder: str | Path, *, fingerprint: str, motif_dim: int, colour_dim: int, crops: int = 0) -> Catalogue:
        """Make an empty catalogue, or go on with one of the same model in `folder`.

        Args:
            crops: how many small regions of a picture its entries may have; remembered, so that all later entries and
                queries are cut alike. 0 goes on with whatever an existing catalogue has.

        Raises:
            SareeError: `folder` holds something else, or a catalogue of another model or of other regions.
        """
        folder = Path(folder)
        if (folder / _ABOUT).exists():
            about = _about(folder)
            if about["fingerprint"] != fingerprint:
                raise SareeError(
                    f"{folder} is a catalogue of model {about['fingerprint'][:8]}, this is model {fingerprint[:8]}; "
                    "index into a new folder, or use that run"
                )
            if crops not in (0, about["crops"]):
                has = f"{about['crops']} regions" if about["crops"] else "no regions"
                raise SareeError(f"{folder} was made with {has} of a picture, not {crops}; index into a new folder")
        else:
            # Hidden files do not count: systems leave some in every folder, and a killed process a temporary one.
            if folder.exists() and (not folder.is_dir() or any(p.name[0] != "." for p in folder.iterdir())):
                raise SareeError(f"{folder} is not a catalogue and not empty; give --out a new folder")
            about = {"format": FORMAT, "fingerprint": fingerprint, "motif_dim": motif_dim, "colour_dim": colour_dim}
            about |= {"crops": crops} if crops else {}
            with atomic_write(folder / _ABOUT) as temporary:
                temporary.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        catalogue = Catalogue(folder, about)
        with _closed_on_error(catalogue), _in_plain_words(folder):
            catalogue._database.execute("PRAGMA journal_mode = WAL")
            with catalogue._writing(bump=False) as database:
                for statement in _SCHEMA:
                    database.execute(statement)
        return catalogue

    @staticmethod
    def open(folder: str | Path) -> Catalogue:
        """Open what `create` made.

        Raises:
            SareeError: not a catalogue, of a newer format, or damaged.
        """
        folder = Path(folder)
        about = _about(folder)
        if not (folder / _DATABASE).exists():
            raise SareeError(f"{folder}: {_DATABASE} is missing; index again, or restore it from a copy")
        catalogue = Catalogue(folder, about)
        with _closed_on_error(catalogue), catalogue._reading():
            catalogue._stamp()
        return catalogue

    def close(self) -> None:
        self._database.close()
        self._loaded = None

    def __enter__(self) -> Catalogue:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def require(self, fingerprint: str) -> None:
        """Raise SareeError unless the catalogue was made with the model of this fingerprint."""
        if fingerprint != self.fingerprint:
            raise SareeError(
                f"{self.folder}: the catalogue was made with model {self.fingerprint[:8]}, "
                f"the query with {fingerprint[:8]}; index again or use that run"
            )

    def keys(self) -> dict[str, str]:
        """sha256 by key, of every item."""
        with self._reading() as database:
            return dict(database.execute("SELECT key, sha256 FROM items ORDER BY key"))

    def items(self) -> dict[str, Item]:
        """What is stored as items of a data set, by key; `path` is where the photograph lay when it was added."""
        with self._reading() as database:
            rows = database.execute("SELECT key, path, cluster, item_id, metadata FROM items ORDER BY key")
            return {key: _item(key, *known, json.loads(text)) for key, *known, text in rows}

    def entry(self, key: str) -> Entry:
        """All that is stored of an item, with its present label, as `add` takes it after `remove`.

        Raises:
            SareeError: there is no such item.
        """
        with self._reading() as database:
            item = database.execute(_SELECT_ITEM, [key]).fetchone()
            rows = database.execute(_SELECT_VECTORS, [key]).fetchall()
        if item is None:
            raise SareeError(f"{self.folder} has no item {key!r}")
        *known, metadata, thumbnail = item
        mu, sigma = (self._array([row[place] for row in rows]) for place in (4, 5))
        return Entry(key, *known, json.loads(metadata), thumbnail, mu, sigma, tuple(row[:4] for row in rows))

    def corrections(self) -> dict[str, str | None]:
        """The label that it came with, of every item whose label was corrected here, by key."""
        return self._by_hand("SELECT key, given FROM corrections JOIN items USING (key)")

    def taken_out(self) -> dict[str, str]:
        """sha256 by key, of items that were removed and have not been added again."""
        return self._by_hand("SELECT key, sha256 FROM taken_out")

    def _by_hand(self, query: str) -> dict[str, str | None]:
        with self._reading() as database:
            known = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'taken_out'").fetchone()
            return dict(database.execute(query)) if known else {}  # older catalogues lack these tables until written to

    def add(self, entries: Iterable[Entry]) -> int:
        """Insert entries, or replace those whose key is known, all in one transaction; returns how many.

        A label that was corrected here stays so for as long as the item comes with the one that was wrong.

        Raises:
            SareeError: an entry does not fit, or the disk is full; then nothing has changed.
        """
        # All of it before the transaction begins: entries may be encoded as they are asked for, and writing locks.
        prepared = [(entry, self._vectors(entry)) for entry in entries]
        with self._writing() as database:
            for entry, vectors in prepared:
                try:
                    database.execute("DELETE FROM items WHERE key = ?", [entry.key])
                    item = database.execute(_INSERT_ITEM, _columns_of(entry)).lastrowid
                except UnicodeEncodeError:
                    raise SareeError(f"{entry.key!r}: not a name in Unicode; rename the file") from None
                database.execute("DELETE FROM corrections WHERE key = ? AND given IS NOT ?", [entry.key, entry.cluster])
                database.execute(_CORRECT, [entry.key])
                database.execute("DELETE FROM taken_out WHERE key = ?", [entry.key])
                database.executemany(_INSERT_VECTOR, [(item, *row) for row in vectors])
        return len(prepared)

    def remove(self, keys: Iterable[str]) -> int:
        """Remove items, all in one transaction, and remember them as `taken_out`; returns how many.

        Raises:
            SareeError: a key is not in the catalogue; then nothing has changed.
        """
        with self._writing() as database:
            keys = list(dict.fromkeys(keys))
            for key in keys:
                database.execute("REPLACE INTO taken_out SELECT key, sha256 FROM items WHERE key = ?", [key])
                if not database.execute("DELETE FROM items WHERE key = ?", [key]).rowcount:
                    raise SareeError(f"{self.folder} has no item {key!r}; nothing was removed")
                database.execute("DELETE FROM corrections WHERE key = ?", [key])
        return len(keys)

    def relabel(self, key: str, cluster: str | None) -> None:
        """Say of an item that it is of another cluster, or of none known; see `add` for how long.

        Raises:
            SareeError: there is no such item.
        """
        with self._writing() as database:
            given = database.execute("SELECT cluster FROM items WHERE key = ?", [key]).fetchone()
            if given is None:
                raise SareeError(f"{self.folder} has no item {key!r}; nothing was changed")
            database.execute("INSERT OR IGNORE INTO corrections VALUES (?, ?, NULL)", [key, *given])
            database.execute("UPDATE corrections SET cluster = ? WHERE key = ?", [cluster or None, key])
            database.execute(_CORRECT, [key])
            database.execute("DELETE FROM corrections WHERE given IS cluster")

    def search(
        self,
        embeddings: np.ndarray,
        k: int,
        *,
        motif: float = WEIGHTS["motif"],
        colour: float = WEIGHTS["colour"],
        where: str | Where | None = None,
        exclude: Collection[str] = (),
    ) -> list[list[Hit]]:
        """The k best items for each of Q query items; an item's score is that of its best vector.

        Args:
            embeddings: (Q, D) posterior means or embeddings; each half is scaled to length one here.
            k: how many items; more than there are is allowed.
            motif, colour: weights of the two cosines, not negative and not both 0.
            where: only items that match, in the language of `where.py`.
            exclude: keys never to find, such as the query's own.

        Returns:
            Q lists of at most k hits, best first.
        """
        with self._reading() as database:
            loaded = self._current(database)
            queries = self._unit_halves(embeddings)
            among = self._among(database, where)
            excluded = _items_of(database, exclude)
            found = _best_by_item(loaded, queries, k, (motif, colour), among, excluded)
            return self._hits(database, loaded, queries, found, [WHOLE] * len(queries))

    def search_one(
        self,
        embeddings: np.ndarray,
        boxes: Sequence[Box] = (WHOLE,),
        k: int = 10,
        *,
        motif: float = WEIGHTS["motif"],
        colour: float = WEIGHTS["colour"],
        kin: bool = False,
        pictures: Sequence[np.ndarray] = (),
        where: str | Where | None = None,
        exclude: Collection[str] = (),
    ) -> list[Hit]:
        """The k best items for ONE query item seen through V vectors.

        Candidates are the max(k, 100) best items of each query vector. A hit's score and cosines are means over the
        vectors that `latents.pairing` joins; its boxes are those of the very best pair.

        Args:
            embeddings: (V, D), as in `search`; boxes: the V parts of the query's picture that they saw.
            kin: rank by `kin.kinship` instead, among the items that match `where`, each the mean of its vectors.
            pictures: the query's, each (H, W, 3) uint8; the first hits are then verified by them (`verification`),
                unless kin are asked for.
        """
        if len(boxes) != len(embeddings):
            raise SareeError(f"{len(embeddings)} query vectors need as many boxes, got {len(boxes)}")
        if kin:
            return self._kin(embeddings, k, (motif, colour), where, exclude)
        with self._reading() as database:
            loaded = self._current(database)
            queries = self._unit_halves(embeddings)
            among = self._among(database, where)
            excluded = _items_of(database, exclude)
            found = _best_by_item(loaded, queries, max(k, CANDIDATES), (motif, colour), among, excluded)
            # Some more than k: among equal scores the key decides, and the keys are in the database.
            wholes = [row for row, box in enumerate(boxes) if box == WHOLE]
            matches = self._matches(loaded, queries, wholes, found, 2 * max(k, FIRST), (motif, colour))
            rows = self._rows(database, [match.vector for match in matches])
            hits = [_hit(rows[m.vector], m.score, m.motif, m.colour, boxes[m.query]) for m in matches]
            hits.sort(key=_order)
            if not pictures:
                return hits[:k]
            thumbnails = self._thumbnails(database, [hit.key for hit in hits[:FIRST]])
        # No lock is held: looking takes longer than all before it.
        return _verified(hits, thumbnails, pictures, loaded.index.shares(motif, colour))[:k]

    def _kin(
        self,
        embeddings: np.ndarray,
        k: int,
        weights: tuple[float, float],
        where: str | Where | None,
        exclude: Collection[str],
    ) -> list[Hit]:
        _require_some(k)
        with self._reading() as database:
            loaded = self._current(database)
            query = self._unit_halves(self._unit_halves(embeddings).mean(0, keepdims=True))
            items, first = np.unique(loaded.items, return_index=True)  # an item's whole picture is its first vector
            wholes = loaded.ids[first[~np.isin(items, _items_of(database, exclude))]]
            among = self._among(database, where)
            wholes = wholes if among is None else np.intersect1d(wholes, among)
            if not len(wholes):
                return []
            asked = {"motif": weights[0], "colour": weights[1], "among": wholes}
            near = np.unique(loaded.index.search(query, min(NEAREST, len(wholes)), **asked)[1])
            ids, starts = loaded.vectors_of(near)
            shares = loaded.index.shares(*weights)
            means = self._unit_halves(np.add.reduceat(loaded.index.rows(ids), starts, axis=0))
            scores = kinship(*(weighted(rows, self.motif_dim, *shares) for rows in (query[0], means)))
            # Some more than k: among equal scores the key decides, and the keys are in the database.
            best = np.argsort(-scores, kind="stable")[: 2 * k]
            vectors = ids[starts[best]].tolist()
            rows = self._rows(database, vectors)
        motif, colour = (
            (means[best, half] @ query[0, half]).tolist()
            for half in (slice(self.motif_dim), slice(self.motif_dim, None))
        )
        told = zip(vectors, scores[best].tolist(), motif, colour, strict=True)
        return sorted((_hit(rows[vector], *figures, WHOLE) for vector, *figures in told), key=_order)[:k]

    def _matches(
        self,
        loaded: _Loaded,
        queries: np.ndarray,
        wholes: Sequence[int],
        found: list[list[tuple[float, int]]],
        most: int,
        weights: tuple[float, float],
    ) -> list[_Match]:
        """The best of the items of which any vector was found, matched with all their vectors, best first."""
        vectors = np.unique([vector for row in found for _, vector in row]).astype(np.int64)
        if not len(vectors):
            return []
        ids, starts = loaded.vectors_of(vectors)
        stored, half, shares = loaded.index.rows(ids), self.motif_dim, loaded.index.shares(*weights)
        motif, colour = queries[:, :half] @ stored[:, :half].T, queries[:, half:] @ stored[:, half:].T  # (V, T)
        scores = shares[0] * motif + shares[1] * colour
        joined = pairing(scores, starts, wholes)
        totals = np.stack([np.add.reduceat((joined * part).sum(0), starts) for part in (scores, motif, colour)], 1)
        columns = np.split(np.arange(len(ids)), starts[1:])
        matches = []
        for item in np.argsort(-totals[:, 0], kind="stable")[:most]:
            own = scores[:, columns[item]]
            query, nearest = np.unravel_index(own.argmax(), own.shape)
            vector = int(ids[columns[item][nearest]])
            matches.append(_Match(*totals[item].tolist(), vector=vector, query=int(query)))
        return matches

    def thumbnail(self, key: str) -> bytes:
        """The item's thumbnail, JPEG.

        Raises:
            SareeError: there is no such item.
        """
        with self._reading() as database:
            found = database.execute("SELECT thumbnail FROM items WHERE key = ?", [key]).fetchone()
        if found is None:
            raise SareeError(f"{self.folder} has no item {key!r}")
        return found[0]

    def vectors(self, key: str) -> tuple[np.ndarray, list[Box]]:
        """The posterior means (V, D) of one item, the whole picture first, and the part of it that each saw.

        Raises:
            SareeError: there is no such item.
        """
        with self._reading() as database:
            rows = database.execute(
                "SELECT mu, x0, y0, x1, y1 FROM vectors "
                "WHERE item = (SELECT id FROM items WHERE key = ?) ORDER BY vectors.id",
                [key],
            ).fetchall()
        if not rows:
            raise SareeError(f"{self.folder} has no item {key!r}")
        return self._array([row[0] for row in rows]), [row[1:] for row in rows]

    def matching(self, where: str | Where) -> list[str]:
        """Keys of the items that match, in the language of `where.py`, in order."""
        where = parse(where) if isinstance(where, str) else where
        with self._reading() as database:
            known = None if set(where.columns) <= set(ITEM_COLUMNS) else self._metadata_columns(database)
            condition, parameters = where.sql(known)
            rows = database.execute(f"SELECT key FROM items WHERE {condition} ORDER BY key", parameters).fetchall()
        return [key for (key,) in rows]

    def damaged(self) -> list[tuple[str, str]]:
        """What is not as `add` leaves it: the item, or the database's own name, and in words what is wrong with it."""
        with self._reading() as database:
            lines = [line for (line,) in database.execute("PRAGMA integrity_check") if line != "ok"]
            told = [(_DATABASE, " ".join(line.split())) for line in lines]
            rows = database.execute(
                "SELECT key, mu, sigma FROM items LEFT JOIN vectors ON items.id = item ORDER BY key"
            )
            for key, stored in groupby(rows, itemgetter(0)):
                told.append((key, self._unfit([blob for _, *blobs in stored for blob in blobs if blob is not None])))
            rows = database.execute("SELECT key, thumbnail FROM items ORDER BY key")
            told += [(key, _no_picture(thumbnail)) for key, thumbnail in rows]
        return [(key, reason) for key, reason in told if reason]

    def _unfit(self, blobs: list[bytes]) -> str:
        """What is wrong with the vectors of an item; nothing where they are whole."""
        if not blobs:
            return "it has no vector"
        try:
            return "" if np.isfinite(self._array(blobs)).all() else "its latents are not finite"
        except SareeError:
            return "a vector is of another length"

    def compact(self) -> int:
        """Give back the room of what was removed or replaced; returns how many bytes. Meanwhile as much is needed."""
        before = _size(self.folder / _DATABASE)
        with self._lock, _in_plain_words(self.folder):
            self._database.execute("VACUUM")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return before - _size(self.folder / _DATABASE)

    def gone(self) -> list[str]:
        """Keys of the items whose photograph is no longer where it was when it was added, in order."""
        return [key for key, item in self.items().items() if _is_missing(item.path)]

    @property
    def version(self) -> str:
        """Names the present content; it changes with every change of it."""
        with self._reading():
            return self._stamp()

    def latents(self, *, regions: bool = False) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
        """Keys, mu (N, D) and sigma (N, D) float32, ordered by key: each item's first vector, or with `regions` all."""
        chosen = "" if regions else "WHERE vectors.id = (SELECT min(id) FROM vectors WHERE item = items.id)"
        with self._reading() as database:
            rows = database.execute(
                f"SELECT key, mu, sigma FROM vectors JOIN items ON items.id = item {chosen} ORDER BY key, vectors.id"
            ).fetchall()
        mu, sigma = (self._array([row[place] for row in rows]) for place in (1, 2))
        return tuple(row[0] for row in rows), mu, sigma

    def info(self) -> dict:
        """How many items, vectors and corrected labels, items per cluster; the model, bytes, the index's state.

        `index` is "fresh", or "stale", "missing" or "damaged" until the next search rebuilds it.
        """
        corrected = len(self.corrections())
        with self._reading() as database:
            clusters = database.execute(
                "SELECT cluster, count(*) FROM items WHERE cluster <> '' GROUP BY cluster ORDER BY 2 DESC, 1"
            ).fetchall()
            return {
                "folder": str(self.folder),
                "format": FORMAT,
                "fingerprint": self.fingerprint,
                "motif_dim": self.motif_dim,
                "colour_dim": self.colour_dim,
                "crops": self.crops,
                "items": database.execute("SELECT count(*) FROM items").fetchone()[0],
                "vectors": database.execute("SELECT count(*) FROM vectors").fetchone()[0],
                "corrected": corrected,
                "clusters": dict(clusters),
                "bytes": sum(map(_size, self.folder.rglob("*"))),
                "index": self._index_state(self._stamp()),
            }

    def reindex(self) -> None:
        """Bring index.faiss up to date now, rather than at the next search."""
        with self._reading() as database:
            self._current(database)

    # ---- transactions

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """One unchanging view of the database, whatever another process writes meanwhile."""
        with self._lock, _in_plain_words(self.folder):
            self._database.execute("BEGIN")
            try:
                yield self._database
            finally:
                self._undo()

    @contextmanager
    def _writing(self, *, bump: bool = True) -> Iterator[sqlite3.Connection]:
        """All of the block, or on any error nothing. Moves the generation on if a row has changed."""
        with self._lock, _in_plain_words(self.folder):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                for table in _BY_HAND:  # older catalogues have none
                    self._database.execute(table)
                before = self._database.total_changes
                yield self._database
                if bump and self._database.total_changes > before:
                    self._database.execute(
                        "UPDATE meta SET generation = generation + 1, token = ?", [uuid.uuid4().hex[:8]]
                    )
                self._database.execute("COMMIT")
            finally:
                self._undo()

    def _undo(self) -> None:
        if self._database.in_transaction:  # SQLite ends it by itself where the disk is full
            self._database.execute("ROLLBACK")

    # ---- the index

    def _stamp(self) -> str:
        """Names the present content; the token tells two histories apart that have the same length."""
        found = self._database.execute("SELECT generation, token FROM meta").fetchone()
        if found is None:
            raise SareeError(f"{self.folder}: {_DATABASE} is unfinished; index again to complete it")
        return f"{found[0]}-{found[1]}"

    def _current(self, database: sqlite3.Connection) -> _Loaded:
        """The index of the present content: from memory, else from index.faiss, else rebuilt from the database."""
        stamp = self._stamp()
        if self._loaded is None or self._loaded.stamp != stamp:
            rows = database.execute("SELECT id, item FROM vectors ORDER BY id").fetchall()
            ids, items = np.array(rows, dtype=np.int64).reshape(-1, 2).T
            index = self._saved_index(stamp)
            if index is None:
                index = self._rebuilt(stamp, ids)
            per_item = -(-len(ids) // max(1, len(np.unique(items))))
            self._loaded = _Loaded(stamp, index, ids, items, per_item)
        return self._loaded

    def _index_state(self, stamp: str) -> str:
        path = self.folder / _INDEX
        if not path.exists():
            return "missing"
        try:
            return "fresh" if read_stamp(path) == stamp else "stale"
        except SareeError:
            return "damaged"

    def _saved_index(self, stamp: str) -> LatentIndex | None:
        try:
            index = LatentIndex.load(self.folder / _INDEX)
        except SareeError:
            return None
        return index if index.stamp == stamp else None

    def _rebuilt(self, stamp: str, ids: np.ndarray) -> LatentIndex:
        log.info("%s: %s is %s; rebuilding it", self.folder, _INDEX, self._index_state(stamp))
        index = LatentIndex(self.motif_dim, self.colour_dim)
        cursor = self._database.execute("SELECT mu FROM vectors ORDER BY id")
        for start in range(0, len(ids), _CHUNK):
            mu = self._array([blob for (blob,) in cursor.fetchmany(_CHUNK)])
            index.add(self._unit_halves(mu), ids[start : start + len(mu)])
        try:
            index.save(self.folder / _INDEX, stamp=stamp)
        except SareeError as error:  # it only saves time: a read-only folder or a full disk can still be searched
            log.warning("%s", error)
        return index

    # ---- from and to rows

    def _vectors(self, entry: Entry) -> list[tuple]:
        """Rows (box, mu, sigma) of an entry, checked."""
        mu, sigma = np.asarray(entry.mu, dtype=np.float32), np.asarray(entry.sigma, dtype=np.float32)
        shape = (len(entry.boxes), self.motif_dim + self.colour_dim)
        if mu.shape != shape or sigma.shape != shape or not shape[0]:
            raise SareeError(
                f"{entry.key}: mu {mu.shape}, sigma {sigma.shape}, {shape[0]} boxes; expected (V, {shape[1]}), V >= 1"
            )
        if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
            raise SareeError(f"{entry.key}: its latents are not finite; nothing was added")
        if not all(0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 for x0, y0, x1, y1 in entry.boxes):
            raise SareeError(f"{entry.key}: a box is not (x0, y0, x1, y1) within [0, 1]: {entry.boxes}")
        blobs = zip(entry.boxes, mu.astype("<f4"), sigma.astype("<f4"), strict=True)
        return [(*map(float, box), row.tobytes(), spread.tobytes()) for box, row, spread in blobs]

    def _array(self, blobs: list[bytes]) -> np.ndarray:
        """(N, D) float32 of N blobs."""
        width = self.motif_dim + self.colour_dim
        if any(len(blob) != 4 * width for blob in blobs):
            raise SareeError(f"{self.folder}: a vector in {_DATABASE} does not have {width} values; it is damaged")
        return np.frombuffer(b"".join(blobs), dtype="<f4").reshape(-1, width).astype(np.float32, copy=False)

    def _unit_halves(self, mu: np.ndarray) -> np.ndarray:
        mu = np.asarray(mu, dtype=np.float32)
        width = self.motif_dim + self.colour_dim
        if mu.ndim != 2 or mu.shape[1] != width:
            raise SareeError(f"{self.folder}: queries have shape {mu.shape}; this catalogue's are (N, {width})")
        return np.concatenate([unit(mu[:, : self.motif_dim]), unit(mu[:, self.motif_dim :])], axis=1)

    def _among(self, database: sqlite3.Connection, where: str | Where | None) -> np.ndarray | None:
        """Ids of the vectors whose items match, or None for all."""
        if where is None:
            return None
        where = parse(where) if isinstance(where, str) else where
        known = None if set(where.columns) <= set(ITEM_COLUMNS) else self._metadata_columns(database)
        condition, parameters = where.sql(known)
        matching = f"SELECT id FROM vectors WHERE item IN (SELECT id FROM items WHERE {condition})"
        return np.array(database.execute(matching, parameters).fetchall(), dtype=np.int64).reshape(-1)

    def _metadata_columns(self, database: sqlite3.Connection) -> frozenset[str]:
        stamp = self._stamp()
        if self._columns[0] != stamp:
            names = database.execute("SELECT DISTINCT json_each.key FROM items, json_each(items.metadata)")
            self._columns = stamp, frozenset(name for (name,) in names)
        return self._columns[1]

    def _hits(
        self,
        database: sqlite3.Connection,
        loaded: _Loaded,
        queries: np.ndarray,
        found: list[list[tuple[float, int]]],
        boxes: Sequence[Box],
    ) -> list[list[Hit]]:
        """Hits of the (score, vector id) pairs found for each query."""
        rows = self._rows(database, [vector for pairs in found for _, vector in pairs])
        units = dict(zip(rows, self._unit_halves(self._array([row[0] for row in rows.values()])), strict=True))
        answer = []
        for query, pairs, query_box in zip(queries, found, boxes, strict=True):
            hits = []
            for score, vector in pairs:
                product = query * units[vector]
                motif, colour = float(product[: self.motif_dim].sum()), float(product[self.motif_dim :].sum())
                hits.append(_hit(rows[vector], score, motif, colour, query_box))
            answer.append(sorted(hits, key=_order))
        return answer

    def _thumbnails(self, database: sqlite3.Connection, keys: Iterable[str]) -> list[bytes]:
        return [database.execute("SELECT thumbnail FROM items WHERE key = ?", [key]).fetchone()[0] for key in keys]

    def _rows(self, database: sqlite3.Connection, vectors: Iterable[int]) -> dict[int, tuple]:
        """What `_SELECT_HITS` gives of each vector, by its id."""
        rows: dict[int, tuple] = {}
        wanted = sorted(set(vectors))
        for start in range(0, len(wanted), _CHUNK):
            part = wanted[start : start + _CHUNK]
            rows |= {row[0]: row[1:] for row in database.execute(_SELECT_HITS.format(",".join("?" * len(part))), part)}
        return rows


_ABOUT, _DATABASE, _INDEX = "catalogue.json", "items.db", "index.faiss"
_THREADS = 4  # OpenCV and numpy let go of the interpreter
_CHUNK = 500  # rows at a time: SQLite before 3.32 takes at most 999 parameters
_SCORES = 10_000_000  # scores held at a time, 120 MB with their ids
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS items (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, path TEXT NOT NULL, sha256 TEXT NOT NULL,
        cluster TEXT, item_id TEXT, metadata TEXT NOT NULL, thumbnail BLOB NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS vectors (
        id INTEGER PRIMARY KEY, item INTEGER NOT NULL REFERENCES items (id) ON DELETE CASCADE,
        x0 REAL NOT NULL, y0 REAL NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL,
        mu BLOB NOT NULL, sigma BLOB NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS vectors_of_item ON vectors (item)",
    "CREATE TABLE IF NOT EXISTS meta (id INTEGER PRIMARY KEY CHECK (id = 1), generation INTEGER, token TEXT)",
    "INSERT OR IGNORE INTO meta VALUES (1, 0, '')",
)
_BY_HAND = (
    "CREATE TABLE IF NOT EXISTS corrections (key TEXT PRIMARY KEY, given TEXT, cluster TEXT)",
    "CREATE TABLE IF NOT EXISTS taken_out (key TEXT PRIMARY KEY, sha256 TEXT NOT NULL)",
)
_CORRECT = """
    UPDATE items SET cluster = (SELECT cluster FROM corrections WHERE corrections.key = items.key)
    WHERE key = ? AND key IN (SELECT key FROM corrections)"""
_INSERT_ITEM = (
    "INSERT INTO items (key, path, sha256, cluster, item_id, metadata, thumbnail) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_VECTOR = "INSERT INTO vectors (item, x0, y0, x1, y1, mu, sigma) VALUES (?, ?, ?, ?, ?, ?, ?)"
_SELECT_ITEM = "SELECT path, sha256, cluster, item_id, metadata, thumbnail FROM items WHERE key = ?"
_SELECT_VECTORS = """
    SELECT x0, y0, x1, y1, mu, sigma FROM vectors JOIN items ON items.id = item WHERE key = ? ORDER BY vectors.id"""
_SELECT_HITS = """
    SELECT vectors.id, mu, key, path, cluster, item_id, metadata, x0, y0, x1, y1
    FROM vectors JOIN items ON items.id = item WHERE vectors.id IN ({})"""


@dataclass(frozen=True)
class _Loaded:
    """An index in memory: of which content, and the item of each vector id (both in the order of `ids`)."""

    stamp: str
    index: LatentIndex
    ids: np.ndarray
    items: np.ndarray
    per_item: int  # vectors, on average, rounded up

    def vectors_of(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all vectors of the items that these belong to, an item's side by side, and where each item begins."""
        asked = np.unique(self.items[np.searchsorted(self.ids, vectors)])
        places = np.flatnonzero(np.isin(self.items, asked))
        places = places[np.argsort(self.items[places], kind="stable")]
        return self.ids[places], np.flatnonzero(np.diff(self.items[places], prepend=-1))


class _Match(NamedTuple):
    """How one item matched: means over the vectors that are joined, and the very best pair."""

    score: float
    motif: float
    colour: float
    vector: int  # id of the item's
    query: int  # row of the query's


def _best_by_item(
    loaded: _Loaded,
    queries: np.ndarray,
    k: int,
    weights: tuple[float, float],
    among: np.ndarray | None,
    excluded: np.ndarray,
) -> list[list[tuple[float, int]]]:
    """For each query, (score, vector id) of the best vector of each of the k best items, best first.

    The n best vectors, each item's first kept, are its best items. Where they are fewer than k, n grows.
    """
    _require_some(k)
    total = len(loaded.ids) if among is None else len(among)
    fetch = k * loaded.per_item + (int(np.isin(loaded.items, excluded).sum()) if len(excluded) else 0)
    fetch = max(1, min(total, fetch))
    answer: list[list[tuple[float, int]]] = [[] for _ in queries]
    waiting = list(range(len(queries)))
    while waiting:
        size = max(1, _SCORES // fetch)
        block, waiting = waiting[:size], waiting[size:]
        scores, ids = loaded.index.search(queries[block], fetch, motif=weights[0], colour=weights[1], among=among)
        for query, row_scores, row_ids in zip(block, scores, ids, strict=True):
            answer[query] = _first_of_each_item(loaded, row_scores, row_ids, excluded)[:k]
        short = [query for query in block if len(answer[query]) < k]
        if fetch < total and short:
            waiting, fetch = short + waiting, min(total, 4 * fetch)
    return answer


def _require_some(k: int) -> None:
    if k < 1:
        raise SareeError(f"k is {k}; ask for at least 1 neighbour")


def _first_of_each_item(
    loaded: _Loaded, scores: np.ndarray, ids: np.ndarray, excluded: np.ndarray
) -> list[tuple[float, int]]:
    found = ids >= 0
    scores, ids = scores[found], ids[found]
    items = loaded.items[np.searchsorted(loaded.ids, ids)]
    first = np.sort(np.unique(items, return_index=True)[1])
    first = first[~np.isin(items[first], excluded)]
    return list(zip(scores[first].tolist(), ids[first].tolist(), strict=True))


def _hit(row: tuple, score: float, motif: float, colour: float, query_box: Box) -> Hit:
    _, key, path, cluster, item_id, metadata, *box = row
    return Hit(key, path, score, motif, colour, cluster, item_id, json.loads(metadata), tuple(box), tuple(query_box))


def _order(hit: Hit) -> tuple[float, str]:
    return -hit.score, hit.key


def _verified(
    hits: list[Hit], thumbnails: list[bytes], pictures: Sequence[np.ndarray], shares: tuple[float, float]
) -> list[Hit]:
    """The same hits, those that are the very same before others, as far as there are thumbnails.

    Args:
        shares: of motif and colour in a score.
    """
    by_design = shares[0] > 0
    asked = [cv2.imencode(".png", small(picture)[..., ::-1])[1].tobytes() for picture in pictures]
    for picture in asked:
        _looked_at(by_design, picture)  # once, before many threads ask for it

    def same(thumbnail: bytes) -> Same:
        return max(_compared(by_design, picture, thumbnail) for picture in asked)

    first, rest = hits[: len(thumbnails)], hits[len(thumbnails) :]
    with ThreadPoolExecutor(_THREADS) as pool:
        told = [(_same_as(hit, how), how) for hit, how in zip(first, pool.map(same, thumbnails), strict=True)]
    told.sort(key=lambda pair: (-verified(pair[0].score, pair[1], shares[1] > 0), pair[0].key))
    return [hit for hit, _ in told] + rest


def _same_as(hit: Hit, how: Same) -> Hit:
    box, query_box = how.boxes or (hit.box, hit.query_box)
    return replace(hit, same=how.share, box=box, query_box=query_box)


@lru_cache(maxsize=2000)  # 60 MB: who moves the app's slider meets the same pieces again
def _compared(by_design: bool, picture: bytes, thumbnail: bytes) -> Same:
    _, compare = ways(by_design)
    one, stored = (_looked_at(by_design, file) for file in (picture, thumbnail))
    return Same() if one is None or stored is None else compare(one, stored)


@lru_cache(maxsize=500)  # 125 MB: who searches often comes by the same pieces
def _looked_at(by_design: bool, file: bytes) -> tuple | None:
    look, _ = ways(by_design)
    try:
        return look(read_image(file))
    except ImageError:  # the item is no less found for it
        return None


def _items_of(database: sqlite3.Connection, keys: Collection[str]) -> np.ndarray:
    found = [database.execute("SELECT id FROM items WHERE key = ?", [key]).fetchone() for key in keys]
    return np.array([row[0] for row in found if row is not None], dtype=np.int64)


def _size(path: Path) -> int:
    """Bytes of a file; none of a folder, or of a file that another process has just put in its place."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


def _no_picture(thumbnail: bytes) -> str:
    try:
        read_image(thumbnail)
    except ImageError as error:
        return f"its thumbnail: {error.reason}"
    return ""


def _is_missing(path: Path) -> bool:
    """Whether no file is there; one that cannot be reached just now, as on a server that does not answer, may be."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _columns_of(entry: Entry) -> tuple:
    metadata = {str(name): str(value) for name, value in entry.metadata.items() if value is not None}
    text = json.dumps(metadata, ensure_ascii=False)
    return entry.key, entry.path, entry.sha256, entry.cluster, entry.item_id, text, entry.thumbnail


def _item(key: str, path: str, cluster: str | None, item_id: str | None, about: dict[str, str]) -> Item:
    known = {name: about.get(name) for name in ("source", "view")}
    return Item(key, Path(path), cluster, item_id, about.get("split", ""), metadata=about, **known)


def _about(folder: Path) -> dict:
    """The contents of catalogue.json, checked."""
    path = folder / _ABOUT
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        version = about["format"]
        if isinstance(version, int) and version > FORMAT:
            raise SareeError(
                f"{folder}: a catalogue of format {version}, and this saree-vae reads {FORMAT}; upgrade saree-vae"
            )
        about.setdefault("crops", 0)  # only catalogues with regions name them
        kinds = {"format": int, "fingerprint": str, "motif_dim": int, "colour_dim": int, "crops": int}
        for name, kind in kinds.items():
            if not isinstance(about[name], kind):
                raise TypeError(f"{name} is {about[name]!r}")
    except (FileNotFoundError, NotADirectoryError):
        raise SareeError(f"{folder}: not a catalogue (it has no {_ABOUT}); make one with `saree-vae index`") from None
    except OSError as error:
        raise SareeError(f"{path}: could not be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SareeError(f"{path}: damaged ({error}); restore it from a copy, or index into a new folder") from None
    return about


# What SQLite says, and what to do about it.
_REMEDIES = {
    "disk is full": "the disk is full; nothing has changed: make room, and run it again",
    "malformed": f"{_DATABASE} is damaged ({{error}}); restore it from a copy, or index into a new folder",
    "not a database": f"{_DATABASE} is damaged ({{error}}); restore it from a copy, or index into a new folder",
    "no such table": f"{_DATABASE} is unfinished; index again to complete it",
    "locked": "another process has been writing for 30 seconds; try again",
    "readonly": "the folder cannot be written to",
    "unable to open": f"{_DATABASE} could not be opened; the folder must be writable, as SQLite keeps a log beside it",
}


@contextmanager
def _in_plain_words(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # our mistake
    except sqlite3.Error as error:
        known = (remedy for words, remedy in _REMEDIES.items() if words in str(error))
        raise SareeError(f"{folder}: {next(known, '{error}').format(error=error)}") from error


def _address(folder: Path) -> str:
    """The database for SQLite; in a folder that cannot be written to, without the files that it puts beside it."""
    file = folder / _DATABASE
    unwritten = file.with_name(f"{file.name}-wal")  # what a killed process left: taken over where that can be done
    alone = not os.access(folder, os.W_OK) and not (unwritten.exists() and unwritten.stat().st_size)
    return file.resolve().as_uri() + ("?immutable=1" if alone and file.exists() else "")


@contextmanager
def _closed_on_error(catalogue: Catalogue) -> Iterator[None]:
    try:
        yield
    except BaseException:
        catalogue.close()
        raise
