"""Data sets: which pictures there are, which belong together, their splits; loading them; looking them over."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import posixpath
import re
import shutil
import tempfile
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from .errors import SareeError
from .images import ImageError, image_size, read_image, read_square

SPLITS = ("train", "val", "test")
SHARES = {"test": 0.2, "val": 0.1}  # of a data set that comes without a split; train has the rest
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")
KNOWN_COLUMNS = ("path", "item_id", "cluster", "split", "source", "view")
TINY = 64  # a shorter side below this, in pixels, shows no motif
RAM = 2 << 30  # bytes of pictures kept in memory; more go to a temporary file

Progress = Callable[[int, int], object]  # (done, total)


@dataclass(frozen=True)
class Item:
    """One picture: `key` is its posix path below the data set's root, and unique; None is unknown."""

    key: str
    path: Path
    cluster: str | None = None
    item_id: str | None = None
    split: str = ""  # train, val or test once `read_data` has returned it
    source: str | None = None
    view: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)  # all other columns of the manifest

    @property
    def made_from(self) -> str | None:
        """Of a variant, the key of the picture that it was made from: it may be learned from, and nothing else."""
        return self.metadata.get("made_from") or None


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
        """The items on any of these splits, in order."""
        return tuple(item for item in self.items if item.split in splits)

    def digest(self) -> str:
        """SHA-256 (hex) of keys, splits, clusters and file sizes: tells data sets apart without reading them."""
        digest = hashlib.sha256()
        for item in sorted(self.items, key=lambda item: item.key):
            line = f"{item.key}\0{item.split}\0{item.cluster}\0{_bytes(item.path)}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


@dataclass(frozen=True)
class Pictures:
    """What could be read of some items: `images` (N, size, size, 3) uint8, one for each of `items`."""

    items: tuple[Item, ...]
    images: np.ndarray
    bad: tuple[Bad, ...]


def read_data(where: str | Path, *, seed: int = 0, strict: bool = False, progress: Progress | None = None) -> DataSet:
    """List a data set: a folder of images, one of class folders, or a manifest.csv (or a folder that holds one).

    Class folders may lie in folders train, val and test, which are then the splits.

    If any picture has no split, all are opened: near-duplicates and pictures of one item stay together, and groups
    without a split get a seeded one (test 20 %, val 10 %, stratified by cluster). Otherwise none is opened.

    Args:
        where: the folder or manifest.
        seed: of the split.
        strict: the first bad file is an error; otherwise bad files are left out and listed in `bad`.
        progress: called with (done, total) while pictures are opened.

    Raises:
        SareeError: the manifest is malformed, a variant is on another side than train, or no picture is left.
        ImageError: `strict`, and a picture is missing, named twice or unreadable.
    """
    root, items, bad = _listed(Path(where))
    astray = _astray(items)
    if astray:
        key, why = next(iter(astray.items()))
        raise SareeError(f"{where}: {key} is a variant, which only the train split may hold, but {why}")
    if strict and bad:
        raise ImageError(str(root / bad[0].key), bad[0].reason)
    if not all(item.split for item in items):
        items, looks, unreadable = _looked_at(items, strict, progress)
        bad += unreadable
        items = _split(items, _groups(items, looks), seed)
    if not items:
        raise SareeError(f"{where}: none of its {len(bad)} pictures can be used ({bad[0].key}: {bad[0].reason})")
    return DataSet(root, tuple(items), tuple(bad))


def load(items: Sequence[Item], size: int, *, strict: bool = False, progress: Progress | None = None) -> Pictures:
    """Decode the central squares of items, `size` pixels wide, with several threads; bad ones are skipped and named.

    More than 2 GB of pictures are kept in a temporary file, which vanishes with the array.

    Raises:
        SareeError: the temporary folder has no room for them.
        ImageError: `strict`, and a picture cannot be read.
    """
    images = _room((len(items), size, size, 3))
    kept: list[Item] = []
    bad: list[Bad] = []
    for done, (item, result) in enumerate(_decoded(items, size, strict), 1):
        if isinstance(result, Bad):
            bad.append(result)
        else:
            images[len(kept)] = result
            kept.append(item)
        if progress:
            progress(done, len(items))
    return Pictures(tuple(kept), images[: len(kept)], tuple(bad))


def batches(
    items: Sequence[Item], size: int, batch: int, *, bad: list[Bad], strict: bool = False
) -> Iterator[tuple[list[Item], np.ndarray]]:
    """Stream the central squares of items, in order, as (items, (b, size, size, 3) uint8) with b up to `batch`.

    Bad files are skipped and appended to `bad`; with `strict` the first one raises its ImageError.
    """
    kept: list[Item] = []
    pictures: list[np.ndarray] = []
    for item, result in _decoded(items, size, strict):
        if isinstance(result, Bad):
            bad.append(result)
            continue
        kept.append(item)
        pictures.append(result)
        if len(kept) == batch:
            yield kept, np.stack(pictures)
            kept, pictures = [], []
    if kept:
        yield kept, np.stack(pictures)


# --- looking a data set over ---


@dataclass(frozen=True)
class Leak:
    """Pictures that belong together (`why`) but stand on several splits: {split: keys}."""

    why: str
    splits: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Check:
    """What `check` found. Groups are tuples of keys; near-duplicates differ in their bytes."""

    data: str
    pictures: int  # that can be read
    split_given: bool  # by the data set; otherwise `splits` is the seeded one, which cannot leak
    splits: dict[str, int]
    clusters: dict[str, int]  # largest first; "" where unknown
    sizes: dict[str, list[int]]  # width, height of the smallest, the middle and the largest by area
    unreadable: tuple[Bad, ...]
    leaks: tuple[Leak, ...]
    disagreements: tuple[dict[str, str], ...]  # copies of one picture under several clusters: key -> cluster
    duplicates: tuple[tuple[str, ...], ...]
    near_duplicates: tuple[tuple[str, ...], ...]
    tiny: dict[str, list[int]]  # key -> width, height
    lonely: tuple[str, ...]  # clusters with a single picture
    variants: int  # of the pictures
    astray: dict[str, str]  # variants that no other command takes: key -> why
    beside: tuple[str, ...]  # pictures beside folders, which therefore are taken for no classes

    def to_dict(self) -> dict:
        """Everything, ready for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people: a summary, then what to mend, worst first, with a few examples of each kind."""
        return [*_summary(self), *_findings(self)]


def check(where: str | Path, *, progress: Progress | None = None) -> Check:
    """Look a data set over, opening every picture; see `Check` for what is found.

    Raises:
        SareeError: there is no such data set, or its manifest is malformed.
    """
    _, items, bad = _listed(Path(where))
    by_folder = Path(where).is_dir() and not Path(where, "manifest.csv").is_file()
    beside = _beside([item.key for item in items]) if by_folder else ()
    given = any(item.split for item in items)
    items, looks, unreadable = _looked_at(items, False, progress)
    near = _near_groups(looks)
    exact = _numbered(look.sha256 for look in looks)
    if not all(item.split for item in items):
        items = _split(items, _groups(items, looks), 0)
    clusters = Counter(item.cluster or "" for item in items)
    return Check(
        data=str(where),
        pictures=len(items),
        split_given=given,
        splits={split: sum(item.split == split for item in items) for split in SPLITS},
        clusters=dict(sorted(clusters.items(), key=lambda pair: (-pair[1], pair[0]))),
        sizes=_sizes(looks),
        unreadable=(*bad, *unreadable),
        leaks=_leaks(items, exact, near),
        disagreements=_disagreements(items, near),
        duplicates=_keys(items, _members(exact)),
        near_duplicates=_keys(items, [group for group in _members(near) if len({exact[i] for i in group}) > 1]),
        tiny={item.key: list(look.size) for item, look in zip(items, looks, strict=True) if min(look.size) < TINY},
        lonely=tuple(sorted(name for name, count in clusters.items() if name and count == 1)),
        variants=sum(item.made_from is not None for item in items),
        astray=_astray(items),
        beside=beside,
    )


def _beside(keys: Sequence[str]) -> tuple[str, ...]:
    """Pictures in no folder where others are in one."""
    alone = tuple(key for key, folders in zip(keys, _folders(keys), strict=True) if not folders)
    return alone if len(alone) < len(keys) else ()


def _astray(items: Iterable[Item]) -> dict[str, str]:
    """Variants outside of the train split, or made from a picture outside of it, and why they may not be there."""
    split = {item.key: item.split for item in items}
    why = {}
    for item in items:
        if item.made_from and item.split not in ("", "train"):
            why[item.key] = f"its split is {item.split}"
        elif item.made_from and split.get(item.made_from, "") not in ("", "train"):
            why[item.key] = f"{item.made_from}, which it was made from, is in {split[item.made_from]}"
    return why


def _leaks(items: list[Item], exact: Sequence[int], near: Sequence[int]) -> tuple[Leak, ...]:
    """Groups on several splits; what is told as an exact duplicate is not told again as a near one."""
    ways = {
        "identical files": exact,
        "near-duplicates": near,
        "one item_id": _numbered(item.item_id or (i,) for i, item in enumerate(items)),
    }
    found, told = [], set()
    for why, numbers in ways.items():
        for group in _members(numbers):
            splits = {split: tuple(items[i].key for i in group if items[i].split == split) for split in SPLITS}
            splits = {split: keys for split, keys in splits.items() if keys}
            if len(splits) > 1 and tuple(group) not in told:
                told.add(tuple(group))
                found.append(Leak(why, splits))
    return tuple(found)


def _disagreements(items: list[Item], near: Sequence[int]) -> tuple[dict[str, str], ...]:
    labels = ({items[i].key: items[i].cluster for i in group if items[i].cluster} for group in _members(near))
    return tuple(group for group in labels if len(set(group.values())) > 1)


def _sizes(looks: Sequence[_Look]) -> dict[str, list[int]]:
    sizes = sorted((look.size for look in looks), key=lambda size: (size[0] * size[1], size))
    places = {"smallest": 0, "middle": len(sizes) // 2, "largest": -1}
    return {name: list(sizes[at]) for name, at in places.items()} if sizes else {}


SHOWN = 10  # examples of a kind that a person reads before the rest is a number


def _summary(found: Check) -> list[str]:
    classes = {name: count for name, count in found.clusters.items() if name}
    splits = ", ".join(f"{name} {count:,}" for name, count in found.splits.items())
    lines = [
        f"{found.data}: readable pictures: {found.pictures:,}",
        f"  splits: {splits}" + ("" if found.split_given else " (none given; this is the seeded one)"),
    ]
    if classes:
        named = ", ".join(f"{name} {count:,}" for name, count in list(classes.items())[:SHOWN])
        more = f" ... and {len(classes) - SHOWN:,} more" if len(classes) > SHOWN else ""
        lines.append(f"  classes: {len(classes):,} ({named}{more}); without a class: {found.clusters.get('', 0):,}")
    if found.variants:
        lines.append(f"  variants, only to learn from: {found.variants:,}")
    if found.sizes:
        lines.append("  sizes: " + ", ".join(f"{name} {w} x {h}" for name, (w, h) in found.sizes.items()))
    return lines


def _findings(found: Check) -> list[str]:
    def labels(group: dict[str, str]) -> str:
        return _by({label: [key for key in group if group[key] == label] for label in sorted(set(group.values()))})

    kinds = {
        "unreadable, left out": [f"{bad.key}: {bad.reason}" for bad in found.unreadable],
        "leaks: the same thing on several splits, so test figures look too good": [
            f"{leak.why}: {_by(leak.splits)}" for leak in found.leaks
        ],
        "variants astray; nothing else reads this data set until they are in train": [
            f"{key}: {why}" for key, why in found.astray.items()
        ],
        "copies of one picture under several classes": [labels(group) for group in found.disagreements],
        "groups of identical files": [_some(group) for group in found.duplicates],
        "groups of near-duplicates (re-saved or resized; never parted by a seeded split)": [
            _some(group) for group in found.near_duplicates
        ],
        "pictures beside folders; move them into one, or away, for the folders to be classes": list(found.beside),
        f"tiny, under {TINY} pixels wide or high": [f"{key}: {w} x {h}" for key, (w, h) in found.tiny.items()],
        "classes with a single picture, which no search can find": list(found.lonely),
    }
    lines = []
    for title, examples in kinds.items():
        if examples:
            lines += [f"{title}: {len(examples):,}", *(f"  {example}" for example in examples[:SHOWN])]
        if len(examples) > SHOWN:
            lines.append(f"  ... and {len(examples) - SHOWN:,} more")
    return lines or ["nothing to mend"]


def _by(groups: dict[str, Sequence[str]]) -> str:
    return "; ".join(f"{name}: {_some(keys)}" for name, keys in groups.items())


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (f" ... and {len(keys) - 3:,} more" if len(keys) > 3 else "")


# --- listing ---


def _listed(where: Path) -> tuple[Path, list[Item], list[Bad]]:
    """The root, what there is (split "" where none is given) and what is missing; no picture is opened."""
    if where.is_dir():
        manifest = where / "manifest.csv"
        return _from_manifest(manifest) if manifest.is_file() else _from_folder(where)
    if not where.exists():
        raise SareeError(f"{where}: no such file or folder; expected a folder of images or a manifest.csv")
    if where.suffix.lower() != ".csv":
        raise SareeError(f"{where}: expected a folder of images or a manifest.csv")
    return _from_manifest(where)


SPLIT_FOLDERS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
SPLIT_FOLDERS |= {"test": "test", "testing": "test"}
OURS = {"model.safetensors", "catalogue.json", "augment.json"}  # files that mark a run, a catalogue, variants


def _from_folder(root: Path) -> tuple[Path, list[Item], list[Bad]]:
    bad: list[Bad] = []

    def closed(error: OSError) -> None:
        bad.append(Bad(Path(error.filename).relative_to(root).as_posix(), (error.strerror or str(error)).lower()))

    keys = []
    for folder, folders, names in os.walk(root, onerror=closed):
        if OURS & set(names):  # a run's own pictures are no data
            folders[:], names = [], []
        folders[:] = [name for name in folders if not name.startswith(".")]
        pictures = (n for n in names if not n.startswith(".") and n.lower().endswith(EXTENSIONS))
        for key in ((Path(folder) / name).relative_to(root).as_posix() for name in pictures):
            if key.isprintable() or not any("\ud800" <= letter <= "\udfff" for letter in key):
                keys.append(key)
            else:
                readable = key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
                bad.append(Bad(readable, "its name is not in Unicode; rename it"))
    if not keys and not bad:
        raise SareeError(f"{root}: no images in this folder; looked for {', '.join(e[1:] for e in EXTENSIONS)}")
    return root, _sorted_by_folder(root, sorted(keys)), bad


def _sorted_by_folder(root: Path, keys: Sequence[str]) -> list[Item]:
    """Pictures with the class that their folder names, and where those lie in folders train, val and test, the split.

    Folders say something only if they sort every picture; a stray one beside them says that they do not.
    """
    splits = _split_folders(keys)
    if len(set(splits)) == 1 or not all(splits):  # what all are called tells nothing of one
        splits = [""] * len(keys)
    folders = _folders(keys)
    classes = all(folders)
    return [
        Item(key, root / key, cluster=folder[0] if classes else None, split=split)
        for key, folder, split in zip(keys, folders, splits, strict=True)
    ]


def _split_folders(keys: Sequence[str]) -> list[str]:
    return [SPLIT_FOLDERS.get(key.lower().split("/")[0], "") for key in keys]


def _folders(keys: Sequence[str]) -> list[list[str]]:
    """In which each picture lies, below train, val and test if all lie in these."""
    parted = all(_split_folders(keys))
    return [key.split("/")[parted:-1] for key in keys]


def _from_manifest(manifest: Path) -> tuple[Path, list[Item], list[Bad]]:
    root = manifest.parent
    items, bad = [], []
    rows: dict[str, int] = {}
    for row, cells in _rows(manifest):
        if not cells["path"]:
            bad.append(Bad(f"row {row}", "its column 'path' is empty"))
            continue
        key = _key(cells["path"], f"{manifest}, row {row}, column 'path'")
        split = cells.get("split", "").lower()
        if split not in ("", *SPLITS):
            named = repr(cells["split"])
            raise SareeError(f"{manifest}, row {row}, column 'split': {named} is not one of train, val, test")
        if key in rows:
            bad.append(Bad(key, f"row {row} names it again, after row {rows[key]}"))
            continue
        rows[key] = row
        path = root / key
        if not os.path.isfile(path):  # noqa: PTH113  Path.is_file raises in a folder that may not be entered
            bad.append(Bad(key, f"{'a folder, not a file' if path.is_dir() else 'no such file'} (row {row})"))
            continue
        known = {name: cells.get(name) or None for name in ("cluster", "item_id", "source", "view")}
        other = {name: cell for name, cell in cells.items() if name not in KNOWN_COLUMNS}
        split = split or ("train" if other.get("made_from") else "")
        items.append(Item(key, path, split=split, metadata=other, **known))
    if not items and not bad:
        raise SareeError(f"{manifest}: no rows below the header")
    return root, items, bad


def _rows(manifest: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows as {column: stripped cell}, numbered as a spreadsheet does; rows without any content are passed over."""
    table = _table(manifest)
    columns = [name.strip() for name in table[0]] if table else []
    if "path" not in columns:
        raise SareeError(f"{manifest}: no column 'path' in its first row; found {', '.join(columns) or 'nothing'}")
    twice = [name for name, count in Counter(columns).items() if count > 1 and name]
    if twice:
        raise SareeError(f"{manifest}: column '{twice[0]}' stands there twice")
    for row, cells in enumerate(table[1:], 2):
        cells = [cell.strip() for cell in cells]
        if any(cells[len(columns) :]):
            raise SareeError(
                f"{manifest}, row {row}: {len(cells)} cells for {len(columns)} columns; put text with commas in quotes"
            )
        if any(cells):
            cells += [""] * (len(columns) - len(cells))
            yield row, {name: cell for name, cell in zip(columns, cells, strict=False) if name}


def _table(manifest: Path) -> list[list[str]]:
    try:
        text = manifest.read_bytes().decode("utf-8-sig")  # with or without the mark that Excel writes
        first = text.split("\n", 1)[0]
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count)))
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SareeError(f"{manifest}, line {line}: not UTF-8; save it as 'CSV UTF-8'") from error
    except csv.Error as error:
        raise SareeError(f"{manifest}: not a CSV file ({error})") from error
    except OSError as error:
        raise SareeError(f"{manifest}: could not be read: {error.strerror or error}") from error


def _key(path: str, place: str) -> str:
    key = posixpath.normpath(path.replace("\\", "/"))
    if key.startswith("/") or key == ".." or key.startswith("../") or re.match(r"[A-Za-z]:/", key):
        raise SareeError(f"{place}: '{path}' lies outside; paths are relative to the manifest and stay in its folder")
    return key


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


# --- splitting ---


def _split(items: list[Item], groups: Sequence[int], seed: int) -> list[Item]:
    """Give every item a split, the same to a whole group of those that have none.

    A group in which a member has a split follows it. The others are dealt out by cluster, in an order that depends on
    the seed and their names only, so that it is the same on every machine.
    """
    decided: dict[str, str] = {}
    undecided = []
    for places in _members(groups, alone=True):
        group = [items[i] for i in places]
        given = next((item.split for item in group if item.split), None)
        if given is None:
            undecided.append(group)
        else:
            decided |= {item.key: item.split or given for item in group}
    for group, split in _dealt(undecided, seed):
        decided |= {item.key: split for item in group}
    return [replace(item, split=decided[item.key]) for item in items]


def _dealt(groups: list[list[Item]], seed: int) -> Iterator[tuple[list[Item], str]]:
    strata: dict[str, list[list[Item]]] = defaultdict(list)
    for group in groups:
        strata[Counter(item.cluster or "" for item in group).most_common(1)[0][0]].append(group)
    # A class of one group cannot be on two sides: such classes are dealt out together, as if they were one.
    lone = [name for name, found in strata.items() if name and len(found) == 1]
    strata[""] += [strata.pop(name)[0] for name in lone]
    owed = dict.fromkeys(SHARES, 0.0)
    for name in sorted(strata):
        found = sorted(strata[name], key=lambda group: _lot(group, seed))
        count = sum(map(len, found))
        for split, share in SHARES.items():
            owed[split] = min(owed[split], 1.0) + share * count  # fractions carry over, for classes of three
        kept = max(range(len(found)), key=lambda i: len(found[i]), default=0)  # train has the largest of each class
        for i, group in enumerate(found):
            split = next((split for split in SHARES if i != kept and owed[split] >= len(group) - 0.5), "train")
            if split in owed:
                owed[split] -= len(group)
            yield group, split


def _lot(group: list[Item], seed: int) -> bytes:
    first = min(item.key for item in group)
    return hashlib.sha256(f"{seed}/{first}".encode("utf-8", "surrogateescape")).digest()


def _groups(items: list[Item], looks: Sequence[_Look]) -> list[int]:
    """A number for every item, the same for near-duplicates and for pictures of one item."""
    by_item: dict[str, int] = {}
    links = list(enumerate(_near_groups(looks)))
    links += [(i, by_item.setdefault(item.item_id, i)) for i, item in enumerate(items) if item.item_id]
    return _linked(len(items), links)


def _linked(count: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """Union-find: for each of `count` things the smallest number that links lead to."""
    parent = list(range(count))

    def top(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in links:
        low, high = sorted((top(a), top(b)))
        parent[high] = low
    return [top(i) for i in range(count)]


def _numbered(names: Iterable) -> list[int]:
    """For each name the place where it first occurs."""
    first: dict = {}
    return [first.setdefault(name, i) for i, name in enumerate(names)]


def _members(numbers: Sequence[int], alone: bool = False) -> list[list[int]]:
    """The groups that share a number, as lists of places, in order; with `alone` also those of one."""
    groups: dict[int, list[int]] = defaultdict(list)
    for i, number in enumerate(numbers):
        groups[number].append(i)
    return [group for group in groups.values() if alone or len(group) > 1]


def _keys(items: list[Item], groups: Iterable[list[int]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(items[i].key for i in group) for group in groups)


# --- near-duplicates ---

# Two pictures are near-duplicates if their shape AND their colour agree: shape is the signs of 255 waves of a cosine
# transform, colour an 8 x 8 thumbnail. Measured on 4,283 photographs of textiles: of copies saved as JPEG of quality 35
# to 90 at 0.6 to 1.3 times the size, 98 % are found (93 % at half the bound on shape); of 9.2 million pairs of
# photographs 21 are, each the same cloth to the eye. Shape alone joins 7,000 pairs: many sarees on one mannequin.
SHAPE = 64  # signs of 255 that may differ
COLOUR = 5.0  # root mean square difference of the thumbnails that is allowed, in 8-bit levels
LOOK = 128  # pixels of the shorter side that they are computed from, at least; from 64, 4 % fewer copies are found
BLOCK = 512  # pictures compared at once with those behind them: at most 0.2 GB for 100,000 pictures


@dataclass(frozen=True)
class _Look:
    """What one opening of a picture tells."""

    sha256: str
    size: tuple[int, int]  # width, height
    shape: np.ndarray  # (255,) int8, -1 or 1
    colour: np.ndarray  # (192,) uint8


def _looked_at(items: list[Item], strict: bool, progress: Progress | None) -> tuple[list[Item], list[_Look], list[Bad]]:
    """Open all pictures: those that can be read, what they look like, and the others."""
    seen, looks, bad = [], [], []
    for done, (item, result) in enumerate(read_ahead(items, lambda item: _look(item.path), strict=strict), 1):
        if isinstance(result, Bad):
            bad.append(result)
        else:
            seen.append(item)
            looks.append(result)
        if progress:
            progress(done, len(items))
    return seen, looks, bad


def _look(path: Path) -> _Look:
    try:
        state = path.stat()
    except OSError:
        read_image(path)  # says in plain words what is wrong
        raise
    return _look_once(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=50_000)  # about 50 MB; quickstart lists a data set and then looks it over
def _look_once(path: Path, size: int, mtime: int) -> _Look:
    traits = _traits(read_image(path, min_side=LOOK))
    return _Look(hashlib.sha256(path.read_bytes()).hexdigest(), image_size(path), *traits)


class Looks(NamedTuple):
    """What near-duplicates are told by, of N pictures."""

    shape: np.ndarray  # (N, 255) int8
    colour: np.ndarray  # (N, 192) uint8

    @staticmethod
    def of(images: Iterable[np.ndarray]) -> Looks:
        """Of pictures (H, W, 3) uint8, at least one."""
        return Looks(*map(np.stack, zip(*map(_traits, images), strict=True)))

    def near(self, others: Looks) -> np.ndarray:
        """Which of these are near-duplicates of which others, (N, M) bool."""
        agree = self.shape.astype(np.float32) @ others.shape.astype(np.float32).T
        apart = [np.square(others.colour - one).mean(1) for one in self.colour.astype(np.float32)]
        return (agree >= self.shape.shape[1] - 2 * SHAPE) & (np.sqrt(apart) <= COLOUR)


def _traits(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shape and colour of a picture (H, W, 3) uint8, as in `Looks`."""
    picture = Image.fromarray(image)
    grey = np.asarray(picture.convert("L").resize((32, 32), Image.Resampling.BOX), np.float32)
    # Rounded, so that the noise of arithmetic does not decide the signs of a plain surface.
    waves = np.round(_COSINES @ grey @ _COSINES.T).ravel()[1:]  # (16 x 16 without the mean,)
    shape = np.where(waves > np.median(waves), 1, -1).astype(np.int8)
    return shape, np.asarray(picture.resize((8, 8), Image.Resampling.BOX)).ravel()


# The 16 lowest waves of a discrete cosine transform of 32 values, (16, 32).
_COSINES = np.cos(np.pi * (2 * np.arange(32) + 1) * np.arange(16)[:, None] / 64).astype(np.float32)


def _near_groups(looks: Sequence[_Look]) -> list[int]:
    """A number for each look, the same for near-duplicates, and for near-duplicates of those."""
    same = _numbered(look.shape.tobytes() + look.colour.tobytes() for look in looks)
    different = [i for i, first in enumerate(same) if i == first]
    pairs = ((different[a], different[b]) for a, b in _near_pairs([looks[i] for i in different]))
    return _linked(len(looks), [*enumerate(same), *pairs])


def _near_pairs(looks: Sequence[_Look]) -> Iterator[tuple[int, int]]:
    """All pairs within both bounds. Neighbours in brightness only are compared, a block of rows at a time.

    Nothing is missed: the means of two thumbnails lie no farther apart than the root mean square of their differences.
    """
    if not looks:
        return
    shape, colour = np.stack([look.shape for look in looks]), np.stack([look.colour for look in looks])
    brightness = colour.mean(1)
    order = np.argsort(brightness, kind="stable")
    shape, colour, brightness = shape[order], colour[order], brightness[order]
    for start in range(0, len(order), BLOCK):
        rows = slice(start, start + BLOCK)
        reach = slice(start, int(np.searchsorted(brightness, brightness[rows][-1] + COLOUR, "right")))
        agree = (
            shape[rows].astype(np.float32) @ shape[reach].astype(np.float32).T
        )  # (BLOCK, reach): 255 - 2 x differing
        a, b = np.nonzero(np.triu(agree >= shape.shape[1] - 2 * SHAPE, 1))
        apart = colour[start + a].astype(np.float32) - colour[start + b]
        close = np.sqrt((apart**2).mean(1)) <= COLOUR
        yield from zip(order[start + a[close]].tolist(), order[start + b[close]].tolist(), strict=True)


# --- decoding ---

Result = TypeVar("Result")


def _decoded(items: Sequence[Item], size: int, strict: bool) -> Iterator[tuple[Item, np.ndarray | Bad]]:
    return read_ahead(items, lambda item: read_square(item.path, size), strict=strict)


def read_ahead(
    items: Sequence[Item], read: Callable[[Item], Result], *, strict: bool = False
) -> Iterator[tuple[Item, Result | Bad]]:
    """What `read` gives for each item, in order; threads work a little ahead (Pillow decodes without the GIL).

    An ImageError becomes a Bad, or with `strict` is raised.
    """
    threads = min(8, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads)
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(read, item)))
            if len(waiting) > 8 * threads:
                yield _outcome(*waiting.popleft(), strict)
        while waiting:
            yield _outcome(*waiting.popleft(), strict)
    finally:
        pool.shutdown(cancel_futures=True)


def _outcome(item: Item, future: Future[Result], strict: bool) -> tuple[Item, Result | Bad]:
    try:
        return item, future.result()
    except ImageError as error:
        if strict:
            raise
        return item, Bad(item.key, error.reason)


def _room(shape: tuple[int, int, int, int]) -> np.ndarray:
    """An uninitialised uint8 array, in memory or, if it is large, in a temporary file that has no name."""
    needed = int(np.prod(shape, dtype=np.int64))
    if needed <= RAM:
        return np.empty(shape, np.uint8)
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SareeError(
            f"{shape[0]:,} pictures need {needed / 1e9:.1f} GB in {folder}, which has {free / 1e9:.1f} GB left; "
            "set TMPDIR to a larger disk, or use fewer or smaller pictures"
        )
    with tempfile.TemporaryFile() as file:  # the mapping outlives the closed file
        return np.memmap(file, np.uint8, "w+", shape=shape)
