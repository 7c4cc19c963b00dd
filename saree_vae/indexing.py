"""From a run and a data set to a catalogue that searches alone: pictures in, vectors and thumbnails stored."""

from __future__ import annotations

import hashlib
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from . import checkpoint, images, regions
from .catalogue import Catalogue, Entry
from .checkpoint import Run
from .data import Bad, DataSet, Item
from .encoding import encode
from .errors import SareeError
from .files import atomic_write
from .index import LatentIndex
from .latents import Latents, unit

MODEL = "model"  # the catalogue's copy of the run, so that the folder can be moved and searched anywhere
BATCH = 64  # items in one transaction: what a kill can cost


@dataclass(frozen=True)
class Indexed:
    """How many items were stored, how many were there already as they are, and what could not be read, was taken out
    before, or is a variant: nobody searches for what nobody wove."""

    stored: int
    unchanged: int
    bad: tuple[Bad, ...]
    variants: int = 0
    taken_out: int = 0


def index(
    run: Run,
    dataset: DataSet,
    folder: str | Path,
    *,
    crops: int = 0,
    again: bool = False,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Indexed:
    """Make a catalogue of every picture of a data set, or bring an existing one of the same model up to date.

    With `crops` each picture is stored as the whole and its regions, so many small ones at most (`regions.find`); an
    existing catalogue goes on as it was made.

    A killed call loses at most the batch it was on; call again to go on. Nothing is removed. Variants are left out, and
    what was taken out of the catalogue, unless its file has changed or it is asked for `again`.

    Raises:
        SareeError: the folder holds something else or another model's catalogue, nothing is readable, or, with
            `strict`, a picture cannot be read.
    """
    folder = Path(folder)
    items = [item for item in dataset.items if not item.made_from]
    if not items:
        raise SareeError(f"{dataset.root}: holds nothing but variants, which no catalogue takes")
    bad, stored, unchanged = list(dataset.bad), 0, 0
    widths = {"motif_dim": run.config.model.motif_dim, "colour_dim": run.config.model.colour_dim}
    LatentIndex(**widths)  # says now, not after minutes, where FAISS is missing
    with Catalogue.create(folder, fingerprint=run.fingerprint, crops=crops, **widths) as catalogue:
        keep_model(run, folder / MODEL)
        there = catalogue.items()
        there |= {key: replace(there[key], cluster=given) for key, given in catalogue.corrections().items()}
        # Where the data set tells something else than before the picture counts as changed, whatever its file says.
        same = {item.key for item in items if item.key in there and _labels(there[item.key]) == _labels(item)}
        known = {} if again else catalogue.taken_out()
        known |= {key: sha256 for key, sha256 in catalogue.keys().items() if key in same}
        for done, batch in _in_batches(items, run.read_size, catalogue.crops, known):
            seen = [picture for picture in batch if isinstance(picture, _Picture)]
            bad += [picture for picture in batch if isinstance(picture, Bad)]
            if strict and bad:
                raise SareeError(f"{bad[0].key}: {bad[0].reason}")
            if seen:
                names = [p.item.key for p in seen for _ in p.parts.boxes]
                latents = encode(run, np.concatenate([p.parts.squares for p in seen]), names)
                catalogue.add(_entries(seen, latents))
            stored, unchanged = stored + len(seen), unchanged + batch.count(None)
            if progress:
                progress(done, len(items))
        if bad and not catalogue.keys():
            raise SareeError(
                f"{dataset.root}: none of {len(items)} pictures could be read ({bad[0].key}: {bad[0].reason})"
            )
        catalogue.reindex()
        out = len(catalogue.taken_out().keys() & ({item.key for item in items} - {one.key for one in bad}))
    return Indexed(stored, unchanged - out, tuple(bad), len(dataset.items) - len(items), out)


def add(run: Run, folder: str | Path, name: str, file: bytes) -> str:
    """Add one picture to an existing catalogue, its file kept in the catalogue's folder; gives its key.

    Args:
        name: of that file, below the folder, without an ending: the picture's own kind decides it.

    Raises:
        SareeError: it cannot be read, or the disk is full.
    """
    path = Path(folder) / f"{name}.{images.kind(file)}"
    with atomic_write(path) as temporary:
        temporary.write_bytes(file)
    item = Item(path.relative_to(folder).as_posix(), path)
    try:
        index(run, DataSet(Path(folder), (item,)), folder, again=True, strict=True)
    except SareeError:
        path.unlink()
        raise
    return item.key


def verify(folder: str | Path, *, progress: Callable[[int, int], object] | None = None) -> list[Bad]:
    """All that is no longer as it was stored: pieces damaged in a catalogue, photographs that are gone or have changed.

    Raises:
        SareeError: not a catalogue, its database cannot be read, or its model is missing, damaged or another.
    """
    catalogue, _ = open_catalogue(folder, "cpu")
    with catalogue:
        found, items, known = [Bad(*one) for one in catalogue.damaged()], catalogue.items(), catalogue.keys()
        gone = catalogue.gone()
    if len(gone) == len(items) > 1:  # as after a move: said once
        return [*found, Bad("all photographs", f"none of the {len(gone)} is where it was")]
    found += [Bad(key, "its photograph is gone") for key in gone]
    for done, key in enumerate(there := sorted(items.keys() - set(gone)), 1):
        if reason := _changed(items[key].path, known[key]):
            found.append(Bad(key, reason))
        if progress:
            progress(done, len(there))
    return found


def _changed(path: Path, sha256: str) -> str:
    try:
        return "" if hashlib.sha256(path.read_bytes()).hexdigest() == sha256 else "its photograph has changed"
    except OSError as error:
        return f"its photograph cannot be read: {error.strerror or error}"


def open_catalogue(folder: str | Path, device: str = "auto") -> tuple[Catalogue, Run]:
    """A catalogue and its model, ready to search.

    Raises:
        SareeError: not a catalogue, its model is missing, or the model is not the one that filled it.
    """
    catalogue = Catalogue.open(folder)
    try:
        run = checkpoint.load(Path(folder) / MODEL, device)
        catalogue.require(run.fingerprint)
    except SareeError:
        catalogue.close()
        raise
    return catalogue, run


def embed(run: Run, sources: Sequence[str | Path | bytes], crops: int = 0) -> tuple[np.ndarray, list[regions.Box]]:
    """One query for `Catalogue.search_one` from one or more pictures of a piece: embeddings (V, D) and V boxes.

    Whole pictures are averaged into one vector, each half of unit length again; with `crops` (those of the catalogue)
    every region of every picture is a vector.

    Raises:
        ImageError: a picture cannot be read.
    """
    parts = [regions.read(source, run.read_size, crops) for source in sources]
    names = [str(number) for number, part in enumerate(parts) for _ in part.boxes]
    latents = encode(run, np.concatenate([part.squares for part in parts]), names)
    if crops:
        return latents.embedding(), [box for part in parts for box in part.boxes]
    motif, colour = (unit(unit(half).mean(0, keepdims=True)) for half in (latents.motif, latents.colour))
    return np.concatenate([motif, colour], 1), [regions.WHOLE]


@dataclass(frozen=True)
class _Picture:
    item: Item
    sha256: str
    parts: regions.Parts
    thumbnail: bytes


def _in_batches(
    items: Sequence[Item], size: int, crops: int, known: dict[str, str]
) -> Iterator[tuple[int, list[_Picture | Bad | None]]]:
    """Batches of what became of items (None: unchanged), each with how many items are done; two threads read ahead."""
    with ThreadPoolExecutor(2) as pool:
        reading: deque = deque()
        done = 0
        for start in range(0, len(items) + BATCH, BATCH):
            reading.append(
                [pool.submit(_read, item, size, crops, known.get(item.key)) for item in items[start : start + BATCH]]
            )
            if start:
                batch = [future.result() for future in reading.popleft()]
                done += len(batch)
                yield done, batch


def _read(item: Item, size: int, crops: int, known: str | None) -> _Picture | Bad | None:
    try:
        content = item.path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 == known:
            return None
        parts = regions.read(content, size, crops)  # as a query is read: the same pixels
    except images.ImageError as error:
        return Bad(item.key, error.reason)
    except OSError as error:
        return Bad(item.key, error.strerror or str(error))
    return _Picture(item, sha256, parts._replace(picture=None), images.thumbnail(parts.picture))


def _entries(seen: list[_Picture], latents: Latents) -> Iterator[Entry]:
    start = 0
    for picture in seen:
        rows = slice(start, start + len(picture.parts.boxes))
        start = rows.stop
        path, cluster, item_id, metadata = _labels(picture.item)
        yield Entry(
            key=picture.item.key,
            path=path,
            sha256=picture.sha256,
            cluster=cluster,
            item_id=item_id,
            metadata=metadata,
            thumbnail=picture.thumbnail,
            mu=latents.mu[rows],
            sigma=latents.sigma[rows],
            boxes=tuple(picture.parts.boxes),
        )


def _labels(item: Item) -> tuple[str, str | None, str | None, dict[str, str]]:
    """path, cluster, item_id and metadata as a catalogue keeps them."""
    extra = {"split": item.split, "source": item.source, "view": item.view}
    known = {name: value for name, value in extra.items() if value}
    return str(item.path.absolute()), item.cluster, item.item_id, item.metadata | known


def keep_model(run: Run, folder: Path) -> None:
    """Copy a run's model, so that what was made with it can be moved and used anywhere; one that is there stays."""
    for name in ("config.yaml", "model.safetensors"):
        if not (folder / name).exists():
            with atomic_write(folder / name) as temporary:
                shutil.copyfile(checkpoint.folder_of(run.path) / name, temporary)
                weights = name.endswith(".safetensors")
                if weights and checkpoint.fingerprint(temporary, run.config.model) != run.fingerprint:
                    raise SareeError(f"{run.path} changed while it was read: is it still training? index again then")
