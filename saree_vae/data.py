"""Data sets: a folder of images, a folder of class folders, or a manifest.csv; their splits, their pictures, their faults."""

from __future__ import annotations

import csv
import hashlib
import itertools
import tempfile
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath

import cv2
import numpy as np

from . import images
from .errors import SareeError
from .images import ImageError

SPLITS = ("train", "val", "test")
SHARES = {"val": 0.1, "test": 0.2}  # of the pictures, where no split is given
ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"}
KNOWN = ("path", "item_id", "cluster", "split", "source", "view")  # columns of a manifest with a meaning of their own
# Bits of 255 in which hashes of one picture may differ. On 4,283 photographs of textiles, 93 % of copies saved as JPEG of
# quality 50, and as many at 60 % of their size, differ by at most 20 (flat cloth differs by more); of all pairs of
# different photographs 12 did, 8 of them of one piece.
NEAR = 20
TINY = 64  # pixels of the shorter side
IN_MEMORY = 2 << 30  # bytes of decoded pictures; more go to a temporary file
WORKERS = 2

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Item:
    """One picture. `key` is its posix path relative to the data set and unique; None is unknown."""

    key: str
    path: Path
    cluster: str | None
    item_id: str | None
    split: str
    source: str | None
    view: str | None
    metadata: dict[str, str]


@dataclass(frozen=True)
class Bad:
    """A picture that is left out, and why."""

    key: str
    reason: str


@dataclass(frozen=True)
class DataSet:
    root: Path
    items: tuple[Item, ...]
    bad: tuple[Bad, ...] = ()

    def of(self, *splits: str) -> tuple[Item, ...]:
        """The items of these splits, in their order."""
        return tuple(item for item in self.items if item.split in splits)

    def digest(self) -> str:
        """64 hex digits that follow the keys, splits, clusters and file sizes."""
        digest = hashlib.sha256()
        for item in sorted(self.items, key=lambda item: item.key):
            digest.update(f"{item.key}\0{item.split}\0{item.cluster}\0{item.path.stat().st_size}\n".encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Pictures:
    """Decoded squares of the items that could be read: images (N, size, size, 3) uint8."""

    items: tuple[Item, ...]
    images: np.ndarray
    bad: tuple[Bad, ...]


def read_data(where: str | Path, *, seed: int = 0, strict: bool = False) -> DataSet:
    """List a data set. Where a split is missing a seeded one is made: val 10 %, test 20 %, clusters in proportion.

    Pictures of one `item_id`, and near-duplicates by perceptual hash, are never parted. Only a split to be made opens the
    pictures.

    Raises:
        SareeError: nothing there, a manifest that cannot be understood (file, row and column are named), or with `strict`
            a picture that is missing or unreadable.
    """
    where = Path(where)
    if not where.exists():
        raise SareeError(f"{where}: no such file or folder; expected a folder of images or a manifest.csv")
    if where.is_dir() and not (where / "manifest.csv").is_file():
        root, (items, bad) = where, (_walk(where), [])
    else:
        manifest = where / "manifest.csv" if where.is_dir() else where
        root, (items, bad) = manifest.parent, _read_manifest(manifest)
    if strict and bad:
        raise ImageError(bad[0].key, bad[0].reason)
    if any(not item.split for item in items):
        items, unreadable = _with_splits(items, seed, strict)
        bad += unreadable
    if not items:
        why = f": {bad[0].key}: {bad[0].reason}" if bad else f" ({', '.join(sorted(e[1:] for e in ENDINGS))})"
        raise SareeError(f"{where} holds no picture that can be read{why}")
    return DataSet(root, tuple(items), tuple(bad))


def load(
    items: Sequence[Item], size: int, *, strict: bool = False, progress: Progress | None = None
) -> Pictures:
    """Decode the central squares of items; what cannot be read is left out and named.

    Raises:
        ImageError: with `strict`, the first picture that cannot be read.
    """
    shape = (len(items), size, size, 3)
    if np.prod(shape, dtype=np.int64) > IN_MEMORY:
        with tempfile.TemporaryFile() as file:  # unlinked: gone when the array is
            squares = np.memmap(file, np.uint8, "w+", shape=shape)
    else:
        squares = np.empty(shape, np.uint8)
    kept: list[Item] = []
    bad: list[Bad] = []
    for batch, pictures in batches(items, size, 64, bad=bad, strict=strict):
        squares[len(kept) : len(kept) + len(batch)] = pictures
        kept += batch
        if progress:
            progress(len(kept) + len(bad), len(items))
    return Pictures(tuple(kept), squares[: len(kept)], tuple(bad))


def batches(
    items: Iterable[Item], size: int, batch: int, *, bad: list[Bad], strict: bool = False
) -> Iterator[tuple[list[Item], np.ndarray]]:
    """Stream decoded squares: up to `batch` items and (b, size, size, 3) uint8; unreadable ones are added to `bad`."""
    waiting = iter(items)
    while chunk := list(itertools.islice(waiting, batch)):
        kept, squares = [], []
        for item, square in _each(lambda item: images.read_square(item.path, size), chunk):
            if isinstance(square, ImageError):
                if strict:
                    raise square
                bad.append(Bad(item.key, square.reason))
            else:
                kept.append(item)
                squares.append(square)
        if kept:
            yield kept, np.stack(squares)


# --- listing ---


def _walk(root: Path) -> list[Item]:
    """All images below a folder; where every one lies in a subfolder, the first folder's name is its cluster."""
    paths = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in ENDINGS and path.is_file() and not any(p[0] == "." for p in path.relative_to(root).parts)
    )
    keys = [path.relative_to(root) for path in paths]
    classes = bool(keys) and all(len(key.parts) > 1 for key in keys)
    return [
        Item(key.as_posix(), path, key.parts[0] if classes else None, None, "", None, None, {})
        for path, key in zip(paths, keys, strict=True)
    ]


def _read_manifest(manifest: Path) -> tuple[list[Item], list[Bad]]:
    items: dict[str, Item] = {}
    bad: list[Bad] = []
    for number, row in _rows(manifest):
        key = (row.get("path") or "").strip()
        place = f"{manifest.name}, row {number}"
        if not key:
            raise SareeError(f"{place}: column 'path' is empty")
        windows, posix = PureWindowsPath(key), PurePosixPath(key)
        if windows.is_absolute() or posix.is_absolute() or ".." in windows.parts:
            raise SareeError(f"{place}: path {key!r} leads out of {manifest.parent}; paths are relative to the manifest")
        key = PurePosixPath(key.replace("\\", "/")).as_posix()
        values = {name: (value or "").strip() for name, value in row.items() if name}
        if values.get("split") and values["split"] not in SPLITS:
            raise SareeError(f"{place}: split {values['split']!r}; expected one of {', '.join(SPLITS)}, or nothing")
        path = manifest.parent / key
        if key in items:
            bad.append(Bad(key, f"listed twice (again in row {number}); the first is kept"))
        elif not path.is_file():
            bad.append(Bad(key, f"no such file (row {number})"))
        else:
            known = {name: values.get(name) or None for name in KNOWN[1:]}
            known["split"] = known["split"] or ""
            metadata = {name: value for name, value in values.items() if name not in KNOWN and value}
            items[key] = Item(key=key, path=path, metadata=metadata, **known)
    return list(items.values()), bad


def _rows(manifest: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows with their line numbers in the file's table, the header being 1."""
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if "path" not in (reader.fieldnames or ()):
                raise SareeError(f"{manifest}: no column 'path'; found: {', '.join(reader.fieldnames or ['nothing'])}")
            yield from enumerate(reader, start=2)
    except UnicodeDecodeError:
        raise SareeError(f"{manifest}: not UTF-8 text; save it as CSV in UTF-8") from None
    except (csv.Error, OSError) as error:
        raise SareeError(f"{manifest}: not readable as CSV: {error}") from None


# --- splitting ---


def _with_splits(items: list[Item], seed: int, strict: bool) -> tuple[list[Item], list[Bad]]:
    """Give every item without a split one, by groups; an item whose group has a split takes that."""
    hashes, bad = _hashes(items, strict)
    readable = [item for item in items if item.key in hashes]
    groups = _groups(readable, np.stack([hashes[item.key][0] for item in readable])) if readable else []
    split_of = _dealt(groups, seed)
    return [replace(item, split=item.split or split_of[item.key]) for item in readable], bad


def _dealt(groups: list[list[Item]], seed: int) -> dict[str, str]:
    """A split for every key: groups in a random order, each cluster's in turn, to the split that lacks most."""
    random = np.random.default_rng(seed)
    given, free = {}, defaultdict(list)
    for group in groups:
        known = [item.split for item in group if item.split]
        if known:
            given |= dict.fromkeys((item.key for item in group), known[0])
        else:
            free[Counter(item.cluster for item in group).most_common(1)[0][0]].append(group)
    totals = Counter(dict.fromkeys(SPLITS, 0.0))  # over all clusters: many small ones must not all round to train
    shares = {"train": 1 - sum(SHARES.values()), **SHARES}
    for cluster in sorted(free, key=lambda c: (c is None, c or "")):
        some = free[cluster]
        counts = Counter(dict.fromkeys(SPLITS, 0))
        for place, number in enumerate(random.permutation(len(some))):
            group = some[number]
            # The first group of a cluster is for training: what is never seen cannot be learned.
            lacking = {s: shares[s] * sum(counts.values()) - counts[s] + 0.5 * totals[s] for s in SPLITS}
            split = "train" if place == 0 else max(SPLITS, key=lambda s: (round(lacking[s], 9), shares[s]))
            counts[split] += len(group)
            for s in SPLITS:
                totals[s] += shares[s] * len(group) - (len(group) if s == split else 0)
            given |= dict.fromkeys((item.key for item in group), split)
    return given


def _groups(items: Sequence[Item], bits: np.ndarray) -> list[list[Item]]:
    """Items that may not be parted: of one item_id, or near-duplicates, directly or by others between them."""
    parent = list(range(len(items)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[str, int] = {}
    for i, item in enumerate(items):
        if item.item_id:
            parent[root(i)] = root(first.setdefault(item.item_id, i))
    for i, j in _near_pairs(bits):
        parent[root(i)] = root(j)
    members = defaultdict(list)
    for i, item in enumerate(items):
        members[root(i)].append(item)
    return list(members.values())


def _near_pairs(bits: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs i < j of rows (N, 255) that differ in at most NEAR bits; by matrix products, never N x N at once."""
    signs = np.where(bits, 1, -1).astype(np.float32)
    for start in range(0, len(signs), 512):
        alike = signs[start : start + 512] @ signs[start:].T >= signs.shape[1] - 2 * NEAR
        for i, j in zip(*np.nonzero(alike), strict=True):
            if i < j:
                yield start + int(i), start + int(j)


def _hashes(items: Sequence[Item], strict: bool, progress: Progress | None = None) -> tuple[dict, list[Bad]]:
    """Per key the hash (255,) of bool, the picture's (height, width) and its file's sha256; and what cannot be read."""
    found, bad = {}, []
    for item, seen in _each(_hash, items):
        if isinstance(seen, ImageError):
            if strict:
                raise seen
            bad.append(Bad(item.key, seen.reason))
        else:
            found[item.key] = seen
        if progress:
            progress(len(found) + len(bad), len(items))
    return found, bad


def _hash(item: Item) -> tuple[np.ndarray, tuple[int, int], str]:
    """A perceptual hash: signs of the low frequencies of a 64 x 64 grey picture about their median."""
    content = item.path.read_bytes()
    picture = images.read_image(content, min_side=64)
    shape = picture.shape[:2]
    grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (64, 64), interpolation=cv2.INTER_AREA)
    waves = cv2.dct(grey.astype(np.float32))[:16, :16].ravel()[1:]  # (255,), the mean left out
    return waves > np.median(waves), shape, hashlib.sha256(content).hexdigest()


def _each(call: Callable[[Item], object], items: Iterable[Item]) -> Iterator[tuple[Item, object]]:
    """call(item) for each in order, by threads a little ahead; an ImageError is given, not raised."""

    def quiet(item: Item) -> object:
        try:
            return call(item)
        except ImageError as error:
            return ImageError(item.key, error.reason)

    with ThreadPoolExecutor(WORKERS) as pool:
        ahead: deque = deque()
        for item in items:
            ahead.append((item, pool.submit(quiet, item)))
            if len(ahead) > 4 * WORKERS:
                item, future = ahead.popleft()
                yield item, future.result()
        for item, future in ahead:
            yield item, future.result()
