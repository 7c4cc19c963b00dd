"""Variants: pictures that a decoder changed, for training other people's classifiers, and for nothing else.

    augment(checkpoint.load(run), read_data(folder), "more", per_image=4)

colour  the photograph in the colours of another of its cluster: its colour half is exchanged, and every thread moves as
        the drawing does (`retouch.recoloured`)
motif   the other way about: a neighbour of its cluster in this picture's colours
both    its own design or, as often, such a neighbour's, in the colours of another of the cluster

A neighbour is one of the pictures of its cluster that are most like it, in motif and colour.

Pictures whose cluster nobody told take part as of the cluster whose label comes to them from picture to picture
(`kin.spread`): so few labels are enough. Colours of other clusters are not taken: colours tell clusters, too, and
classifiers lost by it.

A gate lets no variant pass that its cluster's evidence has left, that is a near-copy of a training picture, or that is
stranger than training pictures are. What is made of a picture depends on the seed and on how many are asked, and not on
its turn.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import IO, NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image

from . import regions, retouch
from .catalogue import Catalogue
from .checkpoint import Run
from .data import Bad, DataSet, Item, Looks, batches
from .encoding import decode, encode, to_images, to_tensor
from .errors import SareeError
from .files import atomic_write
from .images import ImageError, image_size, read_image, read_square, square
from .kin import spread
from .latents import WEIGHTS, Latents, weighted

VARY = ("colour", "motif", "both")
SIDE = 512  # of a variant at most, in pixels: twice what most classifiers look at
TRIES = 5  # draws for one variant before it is given up
NEIGHBOURS = 15  # of its cluster, of which one is drawn
OTHERS = 0.5  # of variants by "both" have a neighbour's design
VOTERS = 10  # nearest training pictures that vote, and whose mean distance is the strangeness
SHARPNESS = 0.1  # a voter counts exp(cosine / this)
KEPT = 0.5  # of the evidence that the picture itself has for its cluster, a variant must have this part
USUAL = 0.99  # the part of the training pictures that are less strange than a variant may be
WHITE, GREY = 0.9, 0.03  # a plain background at least this light and at most this coloured, in OKLab, is a studio's
FITTED = 64  # pixels of a drawing's side that colour changes are fitted on
COLUMNS = ("path", "cluster", "item_id", "split", "source", "made_from", "method", "parameters", "seed", "model")
STATE, MANIFEST = "augment.json", "manifest.csv"
BATCH = 16  # pictures varied at once: what a kill can cost

REASONS = {
    "class": "their cluster's evidence left them",
    "copy": "near-copies of a picture that is there",
    "strange": "stranger than training pictures",
}

Evidence = Callable[[Sequence[np.ndarray], Sequence[str]], np.ndarray]  # pictures, their clusters -> p of these, (N,)
Progress = Callable[[str, int, int], None]  # what is being done, how many are done, of how many


@dataclass(frozen=True)
class Variant:
    """A picture (side, side, 3) uint8 made from picture number `source`, and how."""

    source: int
    number: int
    picture: np.ndarray
    method: str
    parameters: dict[str, str]
    design_of: int  # whose threads it has


class Known:
    """The N pictures that variants are made from and held against: items, latents, and looks."""

    def __init__(self, items: Sequence[Item], latents: Latents, looks: Looks):
        self.items, self.latents, self.looks = tuple(items), latents, looks
        self.embedding = _embedded(latents)
        self.clusters = np.array([item.cluster or "" for item in items])
        self.usual = float(np.quantile(self.strangeness(latents, np.arange(len(items))[:, None]), USUAL))

    @staticmethod
    def read(run: Run, items: Sequence[Item], progress: Progress | None = None) -> tuple[Known, list[Bad]]:
        """Of the items that can be read, and what cannot."""
        bad: list[Bad] = []
        kept: list[Item] = []
        parts: list[tuple[Latents, Looks]] = []
        for some, images in batches(items, run.read_size, 64, bad=bad):
            parts.append((encode(run, images, [item.key for item in some]), Looks.of(images)))
            kept += some
            if progress:
                progress("encoding", len(kept) + len(bad), len(items))
        if len(kept) < 3:
            raise SareeError(f"variants need three pictures on the train split that can be read, got {len(kept)}")
        mu, sigma = (np.concatenate([getattr(latents, name) for latents, _ in parts]) for name in ("mu", "sigma"))
        latents = Latents(tuple(item.key for item in kept), mu, sigma, run.config.model.motif_dim)
        return Known(kept, latents, _joined([looks for _, looks in parts])), bad

    @staticmethod
    def of_catalogue(catalogue: Catalogue, progress: Progress | None = None) -> tuple[Known, list[Bad]]:
        """Of the train split of a catalogue, or of all where it tells no split; and pieces whose photograph is gone.

        No photograph is opened: latents are as stored, and looks are those of thumbnails.
        """
        (keys, mu, sigma), items = catalogue.latents(), list(catalogue.items().values())
        splits = any(item.split for item in items)
        wanted = [row for row, item in enumerate(items) if not item.made_from and (item.split == "train" or not splits)]
        kept = [row for row in wanted if items[row].path.is_file()]
        bad = [Bad(items[row].key, "its photograph is gone") for row in sorted({*wanted} - {*kept})]
        if len(kept) < 3:
            raise SareeError(f"variants need three pieces whose photographs are still there, got {len(kept)}")
        looks = []
        for row in kept:
            thumbnail = read_image(catalogue.thumbnail(keys[row]))
            looks.append(Looks.of([square(thumbnail, min(thumbnail.shape[:2]))]))
            if progress and (len(looks) % 50 == 0 or len(looks) == len(kept)):
                progress("looking", len(looks), len(kept))
        latents = Latents(tuple(keys[row] for row in kept), mu[kept], sigma[kept], catalogue.motif_dim)
        return Known([items[row] for row in kept], latents, _joined(looks)), bad

    def picture(self, row: int, side: int) -> np.ndarray:
        """The central square of a picture, `side` pixels wide, or less where the photograph is smaller."""
        path = self.items[row].path
        return read_square(path, min(side, *image_size(path)))

    def telling(self, rows: np.ndarray) -> Known:
        """The same pictures, but with the clusters of these only."""
        told = set(np.asarray(rows).tolist())
        items = [item if row in told else replace(item, cluster=None) for row, item in enumerate(self.items)]
        return Known(items, self.latents, self.looks)

    @cached_property
    def believed(self) -> np.ndarray:
        """The cluster of each picture: as told, or whose label comes to it; "" where others together are likelier."""
        names = np.unique(self.clusters[self.clusters != ""])
        if not len(names) or (self.clusters != "").all():
            return self.clusters
        shares = spread(self.embedding, (self.clusters[:, None] == names).astype(float))
        likeliest = np.where(shares.max(1) > 0.5, names[shares.argmax(1)], "")
        return np.where(self.clusters != "", self.clusters, likeliest)

    def strangeness(self, latents: Latents, apart: np.ndarray) -> np.ndarray:
        """Mean distance (1 - cosine) to the nearest pictures, (N,); but for those `apart` (N, A), which each is of."""
        return 1 - self._nearest(latents, apart, np.arange(len(self.items)))[1].mean(1)

    def evidence(self, latents: Latents, clusters: np.ndarray, apart: np.ndarray) -> np.ndarray:
        """The part of the nearest pictures' votes that goes to each one's cluster, (N,); those `apart` have none."""
        labelled = np.flatnonzero(self.clusters != "")
        if len(labelled) <= apart.shape[1]:  # none can vote
            return np.zeros(len(clusters))
        rows, cosines = self._nearest(latents, apart, labelled)
        weights = np.exp((cosines - 1) / SHARPNESS)
        return (weights * (self.clusters[rows] == clusters[:, None])).sum(1) / weights.sum(1)

    def _nearest(self, latents: Latents, apart: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and cosines of the VOTERS nearest of some pictures, (N, VOTERS) each."""
        embedding, found = _embedded(latents), []
        count = min(VOTERS, len(among) - apart.shape[1])
        for start in range(0, len(latents), 256):  # among a quarter of a million pictures 256 MB
            rows = slice(start, start + 256)
            cosine = embedding[rows] @ self.embedding[among].T
            cosine[(apart[rows, :, None] == among).any(1)] = -2
            best = np.argpartition(-cosine, count - 1, axis=1)[:, :count]
            found.append((among[best], np.take_along_axis(cosine, best, 1)))
        return np.concatenate([rows for rows, _ in found]), np.concatenate([cosines for _, cosines in found])


def _embedded(latents: Latents) -> np.ndarray:
    """Unit rows whose inner products compare pictures as a search does, (N, D)."""
    colour = WEIGHTS["colour"] if latents.colour.shape[1] else 0.0
    return weighted(latents.embedding(), latents.motif_dim, WEIGHTS["motif"], colour)


def _joined(looks: Sequence[Looks]) -> Looks:
    return Looks(*map(np.concatenate, zip(*looks, strict=True)))


def _each(looks: Looks) -> list[Looks]:
    return [Looks(looks.shape[i : i + 1], looks.colour[i : i + 1]) for i in range(len(looks.shape))]


class Maker:
    """Makes variants of known pictures, and asks the gate.

    Args:
        picture: the square (side, side, 3) uint8 of a known picture by its number.
        vary: one of VARY.
        seed: of what is drawn.
        evidence: for a cluster, in place of the votes of the nearest known pictures.

    Raises:
        SareeError: the run cannot vary pictures so.
    """

    def __init__(
        self,
        run: Run,
        known: Known,
        picture: Callable[[int], np.ndarray],
        *,
        vary: str = "both",
        seed: int = 0,
        evidence: Evidence | None = None,
    ):
        _require(run, vary)
        self.run, self.known, self.picture, self.vary, self.seed = run, known, picture, vary, seed
        self._evidence = evidence
        self._neighbours = lru_cache(maxsize=BATCH)(self._nearest_pieces)
        self._looks = lru_cache(maxsize=8 * BATCH)(lambda row: Looks.of([square(picture(row), run.read_size)]))

    def make(self, sources: Sequence[int], count: int) -> tuple[list[Variant], Counter]:
        """`count` variants of each known picture that the gate lets pass, and how many it refused by reason."""
        kept: list[Variant] = []
        refused: Counter = Counter()
        passed: dict[int, list[Looks]] = {}
        missing = [(source, number) for source in sources for number in range(count)]
        for attempt in range(TRIES):
            if not missing:
                break
            tried = [variant for part in _parts(missing, 64) for variant in self._drawn(part, attempt)]
            why = self._judged(tried, passed)
            kept += [variant for variant, reason in zip(tried, why, strict=True) if not reason]
            refused.update(reason for reason in why if reason)
            missing = [at for at, reason in zip(missing, why, strict=True) if reason]
        refused["given up"] = len(missing)
        return sorted(kept, key=lambda one: (one.source, one.number)), +refused

    def _drawn(self, wanted: Sequence[tuple[int, int]], attempt: int) -> list[Variant]:
        plans = [self._plan(source, self._random(source, number, attempt)) for source, number in wanted]
        rows = [plan.row for plan in plans]
        pictures = {row: self.picture(row) for row in set(rows)}
        cloths = {row: _cloth(picture) for row, picture in pictures.items()}
        before = self._decoded(self.known.latents.mu[rows], rows, pictures)
        after = self._decoded(np.stack([plan.z for plan in plans]), rows, pictures)
        made = []
        for (source, number), plan, *pair in zip(wanted, plans, before, after, strict=True):
            changed = retouch.recoloured(pictures[plan.row], *map(_small, pair))
            picture = _on_its_ground(pictures[plan.row], changed, cloths[plan.row])
            made.append(Variant(source, number, picture, plan.method, plan.parameters, plan.row))
        return made

    def _plan(self, source: int, draw: np.random.Generator) -> _Plan:
        latents, row, colours, methods, parameters = self.known.latents, source, source, [], {}
        if self.vary == "motif" or (self.vary == "both" and draw.random() < OTHERS):
            neighbours = self._neighbours(source)
            row = int(draw.choice(neighbours)) if len(neighbours) else source
            methods.append("design of a neighbour")
            parameters |= {"design_of": self.known.items[row].key}
        if self.vary != "motif":
            donors = self._same(source)
            colours = int(draw.choice(donors)) if len(donors) else source
            methods.append("colours of another")
            parameters |= {"colours_of": self.known.items[colours].key}
        z = np.concatenate([latents.motif[row], latents.colour[colours]])
        return _Plan(row, z, " and ".join(methods), parameters)

    def _same(self, source: int) -> np.ndarray:
        """Other pictures that are of its cluster or believed to be; all others, where that is not known."""
        cluster, others = self.known.clusters[source], np.arange(len(self.known.items)) != source
        return np.flatnonzero(others & (self.known.believed == cluster) if cluster else others)

    def _nearest_pieces(self, source: int) -> np.ndarray:
        same, embedding = self._same(source), self.known.embedding
        return same[np.argsort(-embedding[same] @ embedding[source], kind="stable")[:NEIGHBOURS]]

    @torch.inference_mode()
    def _decoded(self, z: np.ndarray, rows: Sequence[int], pictures: dict[int, np.ndarray]) -> np.ndarray:
        """Drawings of latents with the lower latents of known pictures, and told their cluster if the run knows it."""
        model, lower = self.run.config.model, self.run.config.model.levels > 1
        images = np.stack([square(pictures[row], model.image_size if lower else 1) for row in rows])
        if not model.conditional:
            return decode(self.run, z, images)
        number = {name: place for place, name in enumerate(model.classes, 1)}  # 0 is unknown
        told = torch.tensor([number.get(self.known.clusters[row], 0) for row in rows], device=self.run.device)
        seen = self.run.model.look(to_tensor(images, self.run.device)).detail if lower else ()
        return to_images(self.run.model.decode(torch.from_numpy(z).to(self.run.device), told, seen))

    def _judged(self, tried: Sequence[Variant], passed: dict[int, list[Looks]]) -> list[str]:
        """Why each may not stay, a key of REASONS, or "": its looks then join those of its source that passed."""
        images = np.stack([square(one.picture, self.run.read_size) for one in tried])
        latents, apart = encode(self.run, images), np.array([[one.source, one.design_of] for one in tried])
        left, looks = self._left(tried, latents, apart), Looks.of(images)
        # The pictures that it was made from are at hand: their own looks tell more than those of thumbnails.
        own = [one.near(_joined([*map(self._looks, of)])).any() for one, of in zip(_each(looks), apart, strict=True)]
        copy = looks.near(self.known.looks).any(1) | np.array(own)
        strange = self.known.strangeness(latents, apart) > self.known.usual
        why = [
            "class" if a else "copy" if b else "strange" if c else ""
            for a, b, c in zip(left, copy, strange, strict=True)
        ]
        for i, one in enumerate(_each(looks)):
            others = passed.setdefault(tried[i].source, [])
            if not why[i] and any(one.near(other).any() for other in others):
                why[i] = "copy"
            elif not why[i]:
                others.append(one)
        return why

    def _left(self, tried: Sequence[Variant], latents: Latents, apart: np.ndarray) -> np.ndarray:
        """Of which variants the cluster's evidence is too little, (N,) bool; never where no cluster is known."""
        sources = [one.source for one in tried]
        clusters = self.known.clusters[sources]
        if self._evidence is None:
            own = self.known.evidence(self.known.latents.of(sources), clusters, apart)
            found = self.known.evidence(latents, clusters, apart)
        else:
            own = self._evidence([self.picture(row) for row in sources], clusters)
            found = self._evidence([one.picture for one in tried], clusters)
        return (clusters != "") & (found < KEPT * own)

    def _random(self, source: int, number: int, attempt: int) -> np.random.Generator:
        name = hashlib.sha256(self.known.items[source].key.encode("utf-8", "surrogateescape")).digest()
        return np.random.default_rng([self.seed, int.from_bytes(name[:8], "big"), number, attempt])


class _Plan(NamedTuple):
    """The known picture whose photograph is taken, and as which latent (D,) it is drawn."""

    row: int
    z: np.ndarray
    method: str
    parameters: dict[str, str]


def _require(run: Run, vary: str) -> None:
    model = run.config.model
    if vary not in VARY:
        raise SareeError(f"'{vary}' cannot be varied; choose {', '.join(VARY)}")
    if model.posterior == "vq" or model.channels != 3:
        what = "draws from a map of codes, not from a latent" if model.posterior == "vq" else "draws grey pictures"
        raise SareeError(f"{run.path} {what}, so it makes no variants; train one with configs/textiles.yaml")
    if not model.colour_dim and vary != "motif":
        raise SareeError(f"{run.path} has no colour half (model.colour_dim is 0) to exchange; take motif")


def _small(drawing: np.ndarray) -> np.ndarray:
    """A drawing is soft: what moves in it is fitted on a quarter of its pixels as well."""
    return square(drawing, min(len(drawing), FITTED))


def _cloth(picture: np.ndarray) -> np.ndarray | None:
    """Where cloth is before a studio's plain white ground, (h, w) in [0, 1]; None without such a ground."""
    cloth = regions.cloth_mask(picture)
    if cloth.all():
        return None
    small = cv2.resize(picture, cloth.shape[::-1], interpolation=cv2.INTER_AREA)
    light, *colour = np.median(retouch.to_oklab(small[~cloth]), axis=0)
    return cloth.astype(np.float32) if light >= WHITE and np.hypot(*colour) <= GREY else None


def _on_its_ground(picture: np.ndarray, changed: np.ndarray, cloth: np.ndarray | None) -> np.ndarray:
    """The changed cloth on the picture's own ground: only cloth changes its colours."""
    if cloth is None:
        return changed
    share = cv2.resize(cloth, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)[..., None]
    return (share * changed + (1 - share) * picture).round().astype(np.uint8)


def _parts(things: Sequence, size: int) -> Iterator[Sequence]:
    return (things[start : start + size] for start in range(0, len(things), size))


# --- a folder of them ---


@dataclass(frozen=True)
class Made:
    """What a call of `augment` left in its folder."""

    originals: int  # copied
    sources: int  # pictures that variants were asked of
    asked: int
    kept: int
    refused: dict[str, int]  # by reason, one for each draw; and "given up", variants that no draw gave
    bad: tuple[Bad, ...]  # of this call; none where nothing was left to do


def augment(
    run: Run,
    dataset: DataSet,
    folder: str | Path,
    *,
    per_image: int = 4,
    vary: str = "both",
    seed: int = 0,
    originals: bool = False,
    evidence: Evidence | None = None,
    evidence_by: str = "neighbours",
    progress: Progress | None = None,
) -> Made:
    """Write variants of each picture of the train split, and a manifest.csv that tells how each was made.

    Pictures are the central squares, SIDE pixels wide at most, as JPEG: what photographs are saved as, and a fifth of
    PNG. A killed call, or a full disk, costs at most a batch, and leaves a folder that reads as a data set; called
    again it goes on, and ends as if it had never stopped.

    Args:
        per_image: variants of each picture.
        originals: copy the pictures of all splits into the folder, too, so that it can be trained on as it is.
        evidence, evidence_by: as of `Maker`, and what that is: a folder is gone on with by the same only.
        progress: called with (what, done, total).

    Raises:
        SareeError: the folder holds something else, or variants made otherwise; no picture can be varied; no room.
    """
    _require(run, vary)
    folder, tell = Path(folder), progress or (lambda what, done, total: None)
    sources = [item for item in dataset.of("train") if not item.made_from]
    settings = {
        "model": run.fingerprint,
        "data": dataset.digest()[:12],
        "per_image": per_image,
        "vary": vary,
        "seed": seed,
    }
    state = _State.opened(folder, settings | {"originals": originals, "evidence": evidence_by})
    if not state.settled:
        state.begin(_copied(dataset, folder, tell) if originals else [])
    if state.done == len(sources):
        return state.made(per_image, ())
    known, bad = Known.read(run, sources, tell)
    place = {item.key: row for row, item in enumerate(known.items)}
    read = lru_cache(maxsize=2 * BATCH)(lambda row: known.picture(row, SIDE))
    maker = Maker(run, known, read, vary=vary, seed=seed, evidence=evidence)
    for some in _parts(sources[state.done :], BATCH):
        made, refused = maker.make([place[item.key] for item in some if item.key in place], per_image)
        state.add(len(some), [_written(folder, known.items[one.source], one, seed, run) for one in made], refused)
        tell("varying", state.done, len(sources))
    return state.made(per_image, tuple(bad))


def archive(maker: Maker, sources: Sequence[int], per_image: int, file: IO[bytes]) -> Iterator[Made]:
    """Write variants of some known pictures into a ZIP file, as `augment` writes them into a folder.

    After each picture it says what there is so far, so that somebody may stop it, or others work in between; the file
    is whole after the last. A picture that cannot be read any more is left out.
    """
    rows, refused, bad = [COLUMNS], Counter(), []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as zipped:
        for done, row in enumerate(sources, 1):
            try:
                made, why = maker.make([row], per_image)
            except ImageError as error:
                made, why = [], Counter()
                bad.append(Bad(maker.known.items[row].key, error.reason))
            for one in made:
                rows.append(_about(maker.known.items[row], one, maker.seed, maker.run))
                zipped.writestr(rows[-1][0], _jpeg(one.picture))
            refused.update(why)
            if done == len(sources):
                zipped.writestr(MANIFEST, _table(rows))
            yield Made(0, done, done * per_image, len(rows) - 1, dict(refused), tuple(bad))


def _written(folder: Path, item: Item, one: Variant, seed: int, run: Run) -> list[str]:
    """Its row of the manifest, once its picture is there."""
    row = _about(item, one, seed, run)
    with atomic_write(folder / row[0]) as temporary:
        temporary.write_bytes(_jpeg(one.picture))
    return row


def _about(item: Item, one: Variant, seed: int, run: Run) -> list[str]:
    """A variant's row of the manifest; its path first."""
    name = hashlib.sha256(item.key.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    path, parameters = f"variants/{name[:2]}/{name}_{one.number}.jpg", json.dumps(one.parameters, ensure_ascii=False)
    about = (item.cluster or "", item.item_id or item.key, "train", item.source or "", item.key)
    return [path, *about, one.method, parameters, str(seed), run.fingerprint]


def _jpeg(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    # Colours at full resolution: they are what was changed.
    Image.fromarray(picture).save(file, "JPEG", quality=92, subsampling=0)
    return file.getvalue()


def _table(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _copied(dataset: DataSet, folder: Path, tell: Progress) -> list[list[str]]:
    """Rows of the manifest for the pictures of all splits, once they are there."""
    rows = []
    for done, item in enumerate((item for item in dataset.items if not item.made_from), 1):
        with atomic_write(folder / item.key) as temporary:
            shutil.copyfile(item.path, temporary)
        rows.append([item.key, item.cluster or "", item.item_id or item.key, item.split, item.source or "", *[""] * 5])
        tell("copying", done, len(dataset.items))
    return rows


@dataclass
class _State:
    """How far a folder is. Rows are appended to the manifest first; what the state does not count is made again."""

    folder: Path
    settings: dict[str, object]
    settled: bool = False  # the header and the originals are there
    originals: int = 0
    done: int = 0  # sources
    kept: int = 0
    bytes: int = 0  # of the manifest
    refused: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def opened(folder: Path, settings: dict[str, object]) -> _State:
        file = folder / STATE
        if file.is_file():
            try:
                known = json.loads(file.read_text(encoding="utf-8"))
                state = _State(folder, **known)
            except (ValueError, TypeError) as error:
                raise SareeError(f"{file}: damaged ({error}); choose another folder") from None
            for name, value in settings.items():
                if state.settings.get(name) != value:
                    theirs = state.settings.get(name)
                    raise SareeError(f"{folder}: made with {name} {theirs}, not {value}; choose another folder")
            return state
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise SareeError(f"{folder}: is there already, and holds no variants; choose another folder")
        state = _State(folder, settings)
        state.save()
        return state

    def begin(self, rows: Sequence[Sequence[str]]) -> None:
        self.append([COLUMNS, *rows])
        self.settled, self.originals = True, len(rows)
        self.save()

    def add(self, sources: int, rows: Sequence[Sequence[str]], refused: Counter) -> None:
        self.append(rows)
        self.done, self.kept = self.done + sources, self.kept + len(rows)
        self.refused = dict(Counter(self.refused) + refused)
        self.save()

    def append(self, rows: Sequence[Sequence[str]]) -> None:
        with atomic_write(self.folder / MANIFEST) as temporary, temporary.open("wb") as file:
            if self.bytes:
                shutil.copyfile(self.folder / MANIFEST, temporary)
                file.truncate(self.bytes)
                file.seek(self.bytes)
            file.write(_table(rows))
            self.bytes = file.tell()

    def save(self) -> None:
        about = {name: value for name, value in asdict(self).items() if name != "folder"}
        with atomic_write(self.folder / STATE) as temporary:
            temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    def made(self, per_image: int, bad: tuple[Bad, ...]) -> Made:
        return Made(self.originals, self.done, self.done * per_image, self.kept, self.refused, bad)
