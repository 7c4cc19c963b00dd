"""What somebody looks for, put together of pictures, parts of pictures and pieces of the catalogue; and what is found.

query = of_pictures(run, ["shop.jpg"], catalogue.crops)
find(catalogue, query, 24, slant=0.2)
find(catalogue, mixed([of_piece(catalogue, "a.jpg"), query], [of_piece(catalogue, "b.jpg")], catalogue.motif_dim))
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .catalogue import WHOLE, Box, Catalogue, Hit
from .checkpoint import Run
from .encoding import encode
from .errors import SareeError
from .images import ImageError, read_image, square
from .indexing import embed
from .latents import unit
from .verification import SIDE, small
from .where import Where

SLANT = 0.25  # from 0, the same design, to 1, the same colours: about `latents.WEIGHTS`, on a step of the app's slider
DISLIKED = 0.5  # a disliked piece's weight beside a liked one (Rocchio 1971: gamma over beta)
LONGEST = 4  # squares that a long part, such as a border, is looked at through
WIDER = 4  # times as many candidates are fetched where the other half must differ
SAMPLE = 300  # pieces whose own nearest neighbours tell what is near in a catalogue


@dataclass(frozen=True)
class Query:
    """One thing to look for: V embeddings (V, D), each half of length one, and the part of a picture that each saw.

    keys: the pieces of the catalogue that it is made of; they are not found again.
    pictures: that it is made of, (H, W, 3) uint8, where hits are to be verified by them.
    """

    embeddings: np.ndarray
    boxes: tuple[Box, ...] = (WHOLE,)
    keys: tuple[str, ...] = ()
    pictures: tuple[np.ndarray, ...] = ()

    def text(self) -> str:
        """The first embedding as text for a link, 3 characters for each number and a few more."""
        return base64.urlsafe_b64encode(self.embeddings[0].astype("<f2").tobytes()).decode().rstrip("=")

    @staticmethod
    def of_text(text: str, catalogue: Catalogue) -> Query:
        """What `text` wrote, to 3 digits.

        Raises:
            SareeError: of another catalogue's model, or no such text.
        """
        width = catalogue.motif_dim + catalogue.colour_dim
        try:
            values = np.frombuffer(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "<f2")
        except (ValueError, binascii.Error):
            values = np.zeros(0, np.float16)
        if values.shape != (width,) or not np.isfinite(values).all():
            raise SareeError("the link's query is damaged, or of another catalogue")
        return Query(_halves(values[None].astype(np.float32), catalogue.motif_dim))


def of_pictures(run: Run, sources: Sequence[str | Path | bytes], crops: int = 0) -> Query:
    """Pictures of one piece; see `indexing.embed`. Raises ImageError where one cannot be read."""
    embeddings, boxes = embed(run, sources, crops)
    pictures = tuple(small(read_image(source, min_side=SIDE)) for source in sources)
    return Query(embeddings, tuple(boxes), pictures=pictures)


def of_part(run: Run, source: str | Path | bytes, box: Box) -> Query:
    """A rectangle of a picture, such as its pallu or its border, through up to LONGEST squares along it.

    Args:
        box: (x0, y0, x1, y1) in [0, 1], x0 < x1 and y0 < y1.
    """
    picture = read_image(source, min_side=2 * run.read_size)
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = (round(value * side) for value, side in zip(box, (width, height, width, height), strict=True))
    part = picture[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    tall, wide = part.shape[:2]
    side, length = sorted((tall, wide))
    count = min(LONGEST, max(1, round(length / side)))
    starts = np.linspace(0, length - side, count).round().astype(int)
    parts = [part[at : at + side] if tall > wide else part[:, at : at + side] for at in starts]
    latents = encode(run, np.stack([square(one, run.read_size) for one in parts]))
    return Query(latents.embedding(), (box,) * count, pictures=(small(part),))


def of_piece(catalogue: Catalogue, key: str) -> Query:
    """A piece of the catalogue, as it is stored; verified by its thumbnail, if that can be read."""
    mu, boxes = catalogue.vectors(key)
    pictures: tuple[np.ndarray, ...] = ()
    with suppress(ImageError):
        pictures = (read_image(catalogue.thumbnail(key)),)
    return Query(_halves(mu, catalogue.motif_dim), tuple(boxes), (key,), pictures)


def mixed(liked: Sequence[Query], disliked: Sequence[Query], motif_dim: int) -> Query:
    """What is liked together, away from what is disliked: of each half the mean of wholes (Rocchio 1971).

    Raises:
        SareeError: nothing is liked.
    """
    if not liked:
        raise SareeError("nothing is liked yet; choose a piece or a picture to start from")
    keys = tuple(key for query in (*liked, *disliked) for key in query.keys)
    if len(liked) == 1 and not disliked:
        return liked[0]
    towards = np.mean([query.embeddings[0] for query in liked], 0)
    away = np.mean([query.embeddings[0] for query in disliked], 0) if disliked else 0
    return Query(_halves((towards - DISLIKED * away)[None], motif_dim), keys=keys)


def find(
    catalogue: Catalogue,
    query: Query,
    k: int = 10,
    *,
    slant: float = SLANT,
    differ: bool = False,
    kin: bool = False,
    where: str | Where | None = None,
    exclude: Collection[str] = (),
) -> list[Hit]:
    """The k pieces most like a query, best first.

    Args:
        slant: 0 compares the design alone, 1 the colours alone.
        differ: of the candidates leave out the half that is most alike in what counts less: the same design in *other*
            colours, or the other way about.
        kin: rank by kinship (`kin.kinship`).
    """
    weights = {"motif": 1 - slant, "colour": slant} if catalogue.colour_dim else {"motif": 1.0, "colour": 0.0}
    exclude = {*exclude, *query.keys}
    count = WIDER * k if differ else k
    asked = {"where": where, "exclude": exclude, "kin": kin, "pictures": query.pictures, **weights}
    hits = catalogue.search_one(query.embeddings, query.boxes, count, **asked)
    if differ and hits:
        other = np.array([hit.colour if slant <= 0.5 else hit.motif for hit in hits])
        hits = [hit for hit, alike in zip(hits, other, strict=True) if alike <= np.median(other)]
    return hits[:k]


class Nearness:
    """What near means in a catalogue: how like each of a sample of its pieces its nearest other piece is.

    Args:
        embedding: (N, D), halves of unit length.
    """

    def __init__(self, embedding: np.ndarray, motif_dim: int, seed: int = 0):
        rows = np.random.default_rng(seed).permutation(len(embedding))[:SAMPLE]
        asked, self._scores = embedding[rows], {}
        halves = (slice(motif_dim), slice(motif_dim, None))
        cosines = [asked[:, half] @ embedding[:, half].T for half in halves]
        for cosine in cosines:
            cosine[np.arange(len(rows)), rows] = -2
        self._cosines = cosines

    def beyond(self, score: float, slant: float) -> float:
        """The share of pieces whose nearest other piece is less like them than `score`, in [0, 1]."""
        if slant not in self._scores:
            motif, colour = self._cosines
            self._scores[slant] = np.sort(((1 - slant) * motif + slant * colour).max(1))
        nearest = self._scores[slant]
        return float(np.searchsorted(nearest, score) / max(1, len(nearest)))


def _halves(rows: np.ndarray, motif_dim: int) -> np.ndarray:
    return np.concatenate([unit(rows[:, :motif_dim]), unit(rows[:, motif_dim:])], 1)
