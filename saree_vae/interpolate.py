"""From one picture to another through the latent space, and the pictures on the way.

Every thread comes from the photographs. Each is first brought to the colours of the place: a mixture of those of the
photographs (`retouch.repainted`) or, with no other photograph, what the decoder makes of its colours
(`retouch.recoloured`). Those whose designs take part are laid into each other (`retouch.fused`), and what the decoder
draws at the place beyond a mixture of what it draws at the ends is added; as that greys them, their colours are brought
to those of the place again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from . import retouch
from .catalogue import Catalogue, Hit
from .checkpoint import Run
from .distributions import NormalMixture
from .encoding import BATCH, decode, encode, shrunk, to_tensor
from .errors import SareeError
from .posteriors import Point
from .where import Where

ALONG = ("motif", "colour", "both")
WAYS = ("straight", "spherical", "geodesic")
STRONGEST = 3.0  # times the difference of two groups: there most photographs of one are nearest to the other
SIGMAS = 3.0  # a dimension is shown from so many below its mean to so many above
ROUNDS = 60  # of L-BFGS, a few seconds; ways that shorten at all gain most in the first 20
TUNING = 20  # looks of the encoder, by which a palette is tuned; 40 bring it 0.002 nearer
PALETTE, BLUR = 16, 0.03  # its colours, and how soft the borders between them are, in OKLab
STAY = (3.0, 3.0, 3.0)  # what moving them costs in L, a and b, by the mean square; 2 tints white grounds
SETTLE = (3.0, 100.0, 100.0)  # the same where photographs were laid into each other, which greys more than it tints
MOST = 225  # frames: nine seconds of film, or a square of 15
NAMES = ("first", "second", "third", "fourth")

Progress = Callable[[int, int], object]  # (done, total)


@dataclass(frozen=True)
class Path:
    """T latents on a way through the latent space, and the picture at each.

    z: (T, D), motif first.
    frames: (T, H, W, 3) uint8: in the size of the photographs with detail, else (T, S, S, 3) as the decoder draws.
    columns: how many make a row; T for a strip.
    places: where on the way each stands, T texts.
    ends: what the first and last picture are; of a square, its four corners row by row.
    weights: (T, P) share of each picture's design.
    lengths: (T,) how far the decoded mean picture moved since the one to the left: root mean square, of values in
        [0, 1], with the lower latents of a ladder as is usual; nan where a row begins.
    log_likelihood: (T,) log p(frame | z) in nats, the frame as the model sees it, lower latents as found in the frame.
    """

    z: np.ndarray
    frames: np.ndarray
    columns: int
    places: tuple[str, ...]
    ends: tuple[str, ...]
    weights: np.ndarray
    lengths: np.ndarray
    log_likelihood: np.ndarray

    @property
    def length(self) -> float:
        """Of the whole way under the decoder, all rows together."""
        return float(np.nansum(self.lengths))


def interpolate(
    run: Run,
    pictures: np.ndarray,
    *,
    along: str = "both",
    steps: int = 7,
    way: str = "straight",
    grid: bool = False,
    detail: bool = True,
    progress: Progress | None = None,
    painted: dict[tuple[int, int], np.ndarray] | None = None,
) -> Path:
    """A strip between two pictures, or a square between three or four.

    The ends are the photographs themselves (recoloured, where only one half moves) with `detail`, else what the decoder
    makes of them. Between three, the fourth corner is half-way between the second and the third.

    Args:
        pictures: (P, M, M, 3) uint8, 2 <= P <= 4; the first gives the half that does not move.
        along: which half of the latent moves: "motif" (the design), "colour" or "both".
        steps: frames of a strip, or of a side of a square; at least 2.
        way: "straight"; "spherical", turning each half evenly while its length changes evenly (Shoemake 1985); or
            "geodesic", the shortest way under the decoder's pull-back metric (Arvanitidis et al. 2018), found by
            minimising the energy of a strip and never longer than straight.
        grid: of two pictures, all designs in all colours: rows change the design, columns the palette.
        painted: picture i in the colours of picture j, by (i, j): taken from here where it is known, and else kept
            here. It is what takes longest, and the same for every way between the same pictures.

    Raises:
        SareeError: too few steps, a half that the run does not have, another number of pictures than this asks for, a
            run that draws no latents.
    """
    _check(run, len(pictures), along, steps, way, grid)
    along = along if run.config.model.colour_dim else "both"  # then colours are in the motif half
    plan = _plan(len(pictures), along, steps, grid)
    mu, cut = _encoded(run, pictures), run.config.model.motif_dim
    between = _slerp if way == "spherical" else _lerp
    z = np.concatenate([plan.at(plan.motif @ mu[:, :cut], between), plan.at(plan.colour @ mu[:, cut:], between)], 1)
    if way == "geodesic":
        z = _geodesic(run, z, slice(0 if along != "colour" else cut, cut if along == "motif" else None))
    shares = plan.at(plan.motif, _lerp), plan.at(plan.colour, _lerp)
    way_there = _Way(mu, z, *shares, plan.columns, plan.places, plan.ends)
    return _path(run, pictures, way_there, detail, progress, painted)


def moved(
    run: Run,
    picture: np.ndarray,
    direction: np.ndarray,
    *,
    along: str = "both",
    steps: int = 7,
    detail: bool = True,
    progress: Progress | None = None,
) -> Path:
    """One picture (M, M, 3), moved along a direction (D,) up to STRONGEST times its length; see `difference`."""
    _check(run, 1, along, steps, "straight", False)
    mu, cut = _encoded(run, picture[None]), run.config.model.motif_dim
    kept = np.arange(len(direction)) < cut if along == "motif" else np.arange(len(direction)) >= cut
    direction = direction if along == "both" else np.where(kept, direction, 0)
    strengths = np.linspace(0, STRONGEST, steps)
    places, ends = [f"x {s:.2g}" for s in strengths], ("the picture", f"{STRONGEST:g} times the difference away")
    z = mu + strengths[:, None] * direction
    return _path(run, picture[None], _of_one(mu, z, places, ends), detail, progress)


def traversed(
    run: Run,
    picture: np.ndarray,
    dimension: str,
    *,
    among: np.ndarray | None = None,
    steps: int = 7,
    detail: bool = True,
    progress: Progress | None = None,
) -> Path:
    """One picture (M, M, 3) with one number of its latent changed, from 3 sigma below its mean to 3 sigma above.

    Args:
        dimension: "motif:3" or "colour:0", counted from 0.
        among: latents (N, D) whose mean and sigma are meant; those of the prior, if not given.

    Raises:
        SareeError: no such dimension; no prior and no `among`.
    """
    _check(run, 1, "both", steps, "straight", False)
    place = _dimension(run, dimension)
    if among is None:
        mean, sigma, whose = *_of_prior(run, place), "the prior"
    else:
        mean, sigma, whose = among[:, place].mean(), among[:, place].std(), f"{len(among)} stored latents"
    mu, sigmas = _encoded(run, picture[None]), np.linspace(-SIGMAS, SIGMAS, steps)
    z = np.repeat(mu, steps, 0)
    z[:, place] = mean + sigmas * sigma
    ends = tuple(f"{dimension} at {z[i, place]:.2f}, {s:+g} sigma of {whose}" for i, s in ((0, -SIGMAS), (-1, SIGMAS)))
    return _path(run, picture[None], _of_one(mu, z, [f"{s:+.2g} sigma" for s in sigmas], ends), detail, progress)


def difference(catalogue: Catalogue, plus: str | Where, minus: str | Where | None = None) -> np.ndarray:
    """The mean latent of the stored pictures that match `plus` less that of those that match `minus`, (D,).

    Without `minus`, less that of all stored pictures.

    Raises:
        SareeError: nothing matches, or no such column.
    """
    keys, mu, _ = catalogue.latents()

    def mean(where: str | Where | None) -> np.ndarray:
        if where is None:
            return mu.mean(0)
        named = set(catalogue.matching(where))
        if not named:
            raise SareeError(f"{catalogue.folder} has no item with {where if isinstance(where, str) else where.text}")
        return mu[[key in named for key in keys]].mean(0)

    return mean(plus) - mean(minus)


def nearest(catalogue: Catalogue, z: np.ndarray, own: Collection[str] = ()) -> list[Hit]:
    """The nearest real piece of each latent (T, D), or none at all.

    Args:
        own: SHA-256 (hex) of the files of the pictures that the way is drawn from, which are not meant.
    """
    excluded = [key for key, sha256 in catalogue.keys().items() if sha256 in own]
    found = catalogue.search(z, 1, motif=1.0, colour=1.0, exclude=excluded)
    return [hits[0] for hits in found if hits]


# --- where the way goes ---


class _Way(NamedTuple):
    """Latents mu (P, D) of pictures, and of T places z (T, D), weights (T, P) and words, as in `Path`.

    colours: (T, P) share of each picture's palette; None where the decoder alone knows the colours.
    """

    mu: np.ndarray
    z: np.ndarray
    weights: np.ndarray
    colours: np.ndarray | None
    columns: int
    places: tuple[str, ...]
    ends: tuple[str, ...]

    def at_end(self, t: int) -> bool:
        """Whether nothing is mixed or changed at place t but, perhaps, the palette."""
        if self.colours is None:
            return bool((self.z[t] == self.mu[0]).all())
        return bool(self.weights[t].max() == self.colours[t].max() == 1)


def _of_one(mu: np.ndarray, z: np.ndarray, places: Sequence[str], ends: tuple[str, ...]) -> _Way:
    return _Way(mu, np.float32(z), np.ones((len(z), 1), np.float32), None, len(z), tuple(places), ends)


class _Plan(NamedTuple):
    """Four corners, row by row, as shares (4, P) of the pictures for each half, and T places (across, down) between."""

    motif: np.ndarray
    colour: np.ndarray
    across: np.ndarray
    down: np.ndarray
    columns: int
    places: tuple[str, ...]
    ends: tuple[str, ...]

    def at(self, corners: np.ndarray, between) -> np.ndarray:
        """Values (4, X) of the corners, carried to the places, (T, X) float32."""
        a, b, c, d = corners.astype(np.float64)
        across = self.across[:, None]
        return between(between(a, b, across), between(c, d, across), self.down[:, None]).astype(np.float32)


def _plan(count: int, along: str, steps: int, grid: bool) -> _Plan:
    own, t = np.eye(count), np.linspace(0, 1, steps)
    square = grid or count > 2
    across, down = np.tile(t, steps if square else 1), np.repeat(t, steps) if square else np.zeros(steps)
    last = own[3] if count == 4 else (own[1] + own[-1]) / 2
    corners = own[[0, 1, 0, 1]] if count == 2 else np.stack([*own[:3], last])
    motif = own[[0, 0, 1, 1]] if grid else corners if along != "colour" else own[[0] * 4]
    colour = corners if along != "motif" else own[[0] * 4]
    places = tuple(f"{x:.0%}" + (f", {y:.0%}" if square else "") for x, y in zip(across, down, strict=True))
    ends = tuple(_words(m, c) for m, c in zip(motif, colour, strict=True))
    return _Plan(motif, colour, across, down, steps, places, ends if square else ends[:2])


def _words(motif: np.ndarray, colour: np.ndarray) -> str:
    """What a corner is, of its shares (P,)."""

    def named(shares: np.ndarray) -> str:
        some = [NAMES[i] for i in np.flatnonzero(shares)]
        return f"the {some[0]} picture" if len(some) == 1 else f"half-way between the {' and the '.join(some)} picture"

    return named(motif) if (motif == colour).all() else f"{named(motif)} in the colours of {named(colour)}"


def _lerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    return (1 - t) * a + t * b


def _slerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Between rows (..., X) at t (T, 1): directions turn evenly, lengths change evenly."""
    long_a, long_b = (np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    unit_a, unit_b = a / np.maximum(long_a, 1e-12), b / np.maximum(long_b, 1e-12)
    angle = np.arccos((unit_a * unit_b).sum(-1, keepdims=True).clip(-1, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        turned = (np.sin((1 - t) * angle) * unit_a + np.sin(t * angle) * unit_b) / np.sin(angle)
    # Of one direction, of opposite ones, between which no way is the shortest, or of none.
    plain = (np.sin(angle) < 1e-6) | (long_a * long_b == 0)
    return np.where(plain, _lerp(a, b, t), _lerp(long_a, long_b, t) * turned)


def _geodesic(run: Run, z: np.ndarray, moving: slice) -> np.ndarray:
    """A strip's latents (T, D), those between its ends moved to where the decoded pictures make the shortest way.

    Energy is the sum of squared differences of successive mean pictures; where it is least, the way is shortest and all
    its steps are alike. Under a normal likelihood of one sigma that is the metric in which pictures are told apart.
    """
    straight = torch.from_numpy(z).to(run.device)
    inner = straight[1:-1, moving].clone().requires_grad_()
    first = float(_steps(run, straight).detach().square().sum())
    if len(z) < 3 or first == 0:
        return z

    def path() -> Tensor:
        found = straight.clone()
        found[1:-1, moving] = inner
        return found

    def energy() -> Tensor:
        value = _steps(run, path()).square().sum() / first
        [inner.grad] = torch.autograd.grad(value, inner)
        return value

    optimiser = torch.optim.LBFGS([inner], max_iter=ROUNDS, line_search_fn="strong_wolfe", tolerance_change=1e-7)
    with torch.enable_grad():
        optimiser.step(energy)
    with torch.inference_mode():
        found = path()
        return found.cpu().numpy() if _steps(run, found).sum() < _steps(run, straight).sum() else z


def _steps(run: Run, z: Tensor) -> Tensor:
    """Root mean square difference of each mean picture to the one before, (T - 1,)."""
    pictures = run.model.decode(z)
    return (pictures[1:] - pictures[:-1]).square().flatten(1).mean(1).clamp(min=1e-20).sqrt()


# --- what is seen on the way ---


def _path(
    run: Run,
    pictures: np.ndarray,
    way: _Way,
    detail: bool,
    progress: Progress | None,
    painted: dict[tuple[int, int], np.ndarray] | None = None,
) -> Path:
    """The pictures at the places of a way, and what there is to say of them."""
    frames = []
    for frame in _frames(run, pictures, way, detail, {} if painted is None else painted):
        frames.append(frame)
        if progress:
            progress(len(frames), len(way.z))
    lengths = np.full(len(way.z), np.nan, np.float32)
    with torch.inference_mode():
        for start in range(0, len(way.z), way.columns):
            row = torch.from_numpy(way.z[start : start + way.columns]).to(run.device)
            lengths[start + 1 : start + way.columns] = _steps(run, row).cpu()
    shown = np.stack(frames)
    return Path(
        way.z, shown, way.columns, way.places, way.ends, way.weights, lengths, log_likelihood(run, shown, way.z)
    )


def _frames(
    run: Run, pictures: np.ndarray, way: _Way, detail: bool, painted: dict[tuple[int, int], np.ndarray]
) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 each."""
    small, cut = shrunk(pictures, run.config.model.image_size), run.config.model.motif_dim
    looking = small if run.config.model.levels > 1 else small[:1]  # else all lower latents are the same: none
    drawn = [_drawn(run, way.z, picture) for picture in looking] * (len(small) // len(looking))
    coloured = None
    if detail and way.colours is None:
        coloured = _by_drawings(run, pictures, small, way)
    elif detail:
        coloured = _by_palettes(run, pictures, small, way, painted)
    for t, weights in enumerate(way.weights):
        shown = np.flatnonzero(weights > 0)
        drawing = sum(weights[i] * retouch.to_oklab(drawn[i][t]) for i in shown)
        if coloured is None:
            yield retouch.from_oklab(drawing)
        elif way.at_end(t):
            yield coloured(shown[0], t)[0]  # the decoder's rounding must not change a photograph
        else:
            parts, expected = zip(*(coloured(i, t) for i in shown), strict=True)
            shift = drawing - sum(weights[i] * lab for i, lab in zip(shown, expected, strict=True))
            frame = retouch.fused(np.stack(parts), weights[shown], shift)
            mixed = len(shown) > 1  # and grey with it
            yield _brought(run, frame, {"colour": way.z[t, cut:]}, SETTLE) if mixed else frame


Coloured = Callable[[int, int], tuple[np.ndarray, np.ndarray]]


def _by_palettes(
    run: Run, pictures: np.ndarray, small: np.ndarray, way: _Way, painted: dict[tuple[int, int], np.ndarray]
) -> Coloured:
    """Of picture i at place t: the photograph in a mixture of the photographs' colours, (H, W, 3) uint8, and the same
    mixture of what the decoder draws of its motif in the colours of each, (S, S, 3) in OKLab."""
    count, cut = len(pictures), run.config.model.motif_dim
    together = np.einsum("ti,tj->ij", way.weights > 0, way.colours > 0)
    pairs = [(int(i), int(j)) for i, j in np.argwhere(together)]
    for i, j in pairs:
        if (i, j) not in painted:
            painted[i, j] = in_colours_of(run, pictures[i], pictures[j])
    labs = {pair: retouch.to_oklab(painted[pair]) for pair in pairs}
    exchanged = [
        _drawn(run, np.c_[np.repeat(mu[None, :cut], count, 0), way.mu[:, cut:]], one)
        for mu, one in zip(way.mu, small, strict=True)
    ]

    def coloured(i: int, t: int) -> tuple[np.ndarray, np.ndarray]:
        shares = [(j, share) for j, share in enumerate(way.colours[t]) if share > 0]
        photograph = retouch.from_oklab(sum(share * labs[i, j] for j, share in shares))
        return photograph, sum(share * retouch.to_oklab(exchanged[i][j]) for j, share in shares)

    return coloured


def in_colours_of(run: Run, picture: np.ndarray, other: np.ndarray) -> np.ndarray:
    """A photograph (H, W, 3) uint8 in the colours of another (M, M, 3).

    First by `retouch.palette_change`, which knows pixels only; then each of a few colours is moved until the encoder
    sees the colour half of the other photograph, and still this one's motif.
    """
    if np.array_equal(picture, other):
        return picture
    mine, theirs = (shrunk(one[None], run.config.model.image_size)[0] for one in (picture, other))
    painted = retouch.repainted(picture, retouch.palette_change(mine, theirs))
    mu, cut = encode(run, np.stack([mine, theirs])).mu, run.config.model.motif_dim
    return _brought(run, painted, {"motif": mu[0, :cut], "colour": mu[1, cut:]}, STAY)


def _brought(run: Run, picture: np.ndarray, wanted: dict[str, np.ndarray], stay: Sequence[float]) -> np.ndarray:
    """A photograph (H, W, 3) uint8, each of a few colours moved until the encoder sees the latents that are wanted.

    As it is where the model knows no colours, or none apart.
    """
    cfg = run.config.model
    if not cfg.colour_dim or cfg.channels != 3:
        return picture
    colours, lab = _palette(picture), retouch.to_oklab(picture)
    moves = _tuned(run, shrunk(picture[None], cfg.image_size)[0], colours, wanted, stay)
    return retouch.from_oklab(lab + _shares(lab, colours) @ moves)


def _tuned(
    run: Run, painted: np.ndarray, colours: np.ndarray, wanted: dict[str, np.ndarray], stay: Sequence[float]
) -> np.ndarray:
    """By what to move each colour (K, 3) of a picture (S, S, 3) uint8, in OKLab, (K, 3).

    wanted: latents of "motif", "colour" or both; stay: what moving a colour costs, along each axis.
    """
    lab = retouch.to_oklab(painted)
    start, shares, dear = (
        torch.from_numpy(part).to(run.device) for part in (lab, _shares(lab, colours), np.float32(stay))
    )
    goals = [(run.model.encode_half(half), torch.from_numpy(z).to(run.device)) for half, z in wanted.items()]
    moves = torch.zeros(colours.shape, device=run.device, requires_grad=True)

    def cost() -> Tensor:
        picture = _srgb(start + shares @ moves).permute(2, 0, 1)[None]
        missed = sum(1 - F.cosine_similarity(encode_half(picture).mu[0], z, 0) for encode_half, z in goals)
        value = missed + (moves.square() @ dear).mean()
        [moves.grad] = torch.autograd.grad(value, moves)
        return value.detach()

    with torch.enable_grad():
        torch.optim.LBFGS([moves], max_iter=TUNING, max_eval=TUNING, line_search_fn="strong_wolfe").step(cost)
    return moves.detach().cpu().numpy()


def _palette(picture: np.ndarray) -> np.ndarray:
    """Some colours of a picture, (at most PALETTE, 3) in OKLab."""
    reduced = np.asarray(Image.fromarray(picture).quantize(PALETTE).convert("RGB"))
    return retouch.to_oklab(np.unique(reduced.reshape(-1, 3), axis=0))


def _shares(lab: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """How much of each colour (K, 3) a place (H, W, 3) has, (H, W, K), together 1."""
    away = np.square(lab[:, :, None] - colours).sum(-1)
    shares = np.exp((away.min(-1, keepdims=True) - away) / (2 * BLUR**2))
    return shares / shares.sum(-1, keepdims=True)


def _srgb(lab: Tensor) -> Tensor:
    """As `retouch.from_oklab`, (..., 3) in [0, 1], but with a slope beyond what a screen shows, to come back by."""
    lms, rgb = (torch.from_numpy(np.linalg.inv(part)).to(lab) for part in (retouch.LAB_OF_ROOTS, retouch.LMS_OF_RGB))
    linear = (lab @ lms.T) ** 3 @ rgb.T
    linear = linear.clamp(0, 1) + 0.01 * (linear - linear.clamp(0, 1))
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)


def _by_drawings(run: Run, pictures: np.ndarray, small: np.ndarray, way: _Way) -> Coloured:
    """The same of the only picture, its colours changed as those of its drawing change."""
    cut = run.config.model.motif_dim
    [before] = _drawn(run, way.mu, small[0])
    after = _drawn(run, np.c_[np.repeat(way.mu[:, :cut], len(way.z), 0), way.z[:, cut:]], small[0])

    def coloured(i: int, t: int) -> tuple[np.ndarray, np.ndarray]:
        moved = before if way.at_end(t) else after[t]
        return retouch.recoloured(pictures[i], before, moved), retouch.to_oklab(moved)

    return coloured


def _drawn(run: Run, z: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """What the decoder makes of latents (T, D) with the lower latents of one picture, (T, S, S, 3) uint8."""
    found = decode(run, np.float32(z), np.repeat(picture[None], len(z), 0))
    return found if found.shape[-1] == 3 else np.repeat(found, 3, -1)  # grey


@torch.inference_mode()
def log_likelihood(run: Run, frames: np.ndarray, z: np.ndarray) -> np.ndarray:
    """log p(frame | z) of frames (T, M, M, 3) as the model sees them, (T,) nats."""
    size, channels, cut = run.config.model.image_size, run.config.model.channels, run.config.model.motif_dim
    found = []
    for start in range(0, len(z), BATCH):
        rows = slice(start, start + BATCH)
        x = to_tensor(shrunk(frames[rows], size), run.device, channels)
        at = torch.from_numpy(z[rows]).to(run.device)
        posterior = {"motif": Point(at[:, :cut])} | ({"colour": Point(at[:, cut:])} if at.shape[1] > cut else {})
        likelihood = run.model.sampled(run.model.look(x), posterior=posterior).likelihood
        found.append(likelihood.log_prob(x).flatten(1).sum(1).cpu().numpy())
    return np.concatenate(found)


def _encoded(run: Run, pictures: np.ndarray) -> np.ndarray:
    """Posterior means (P, D), of pictures shrunk as a catalogue's are."""
    return encode(run, shrunk(pictures, run.read_size)).mu


# --- what can be asked ---


def _check(run: Run, count: int, along: str, steps: int, way: str, grid: bool) -> None:
    cfg = run.config.model
    for what, value, known in (("along", along, ALONG), ("way", way, WAYS)):
        if value not in known:
            raise SareeError(f"{what} is '{value}'; expected {', '.join(known)}")
    if steps < 2:
        raise SareeError(f"steps is {steps}; from one end to the other it takes at least 2")
    if (steps**2 if grid or count > 2 else steps) > MOST:
        raise SareeError(f"steps is {steps}; a strip has at most {MOST}, a side of a square {math.isqrt(MOST)}")
    if cfg.posterior == "vq":
        raise SareeError(f"{run.path} is a VQ-VAE: it draws from a map of codes, and between codes there is no way")
    if not cfg.colour_dim and (along == "colour" or grid):
        raise SareeError(f"{run.path} has no colour half (model.colour_dim is 0); go along motif")
    if not 1 <= count <= len(NAMES):
        raise SareeError(f"{count} pictures; expected two for a strip, three or four for a square")
    if grid and (count != 2 or along != "both"):
        raise SareeError(f"a grid shows two pictures' designs in their colours, along both; got {count}, along {along}")
    if way == "geodesic" and (count != 2 or grid):
        raise SareeError("a geodesic leads from one picture to another; give two, and no grid")


def _dimension(run: Run, name: str) -> int:
    """The place of "motif:3" or "colour:0" in z."""
    cfg = run.config.model
    half, _, number = name.partition(":")
    dims = {"motif": cfg.motif_dim, "colour": cfg.colour_dim}
    if not (number.isdecimal() and int(number) < dims.get(half, 0)):
        known = " or ".join(f"{one}:0 to {one}:{dim - 1}" for one, dim in dims.items() if dim)
        raise SareeError(f"{run.path} has no dimension '{name}'; expected {known}")
    return int(number) + (cfg.motif_dim if half == "colour" else 0)


@torch.inference_mode()
def _of_prior(run: Run, place: int) -> tuple[float, float]:
    """Mean and standard deviation of one dimension of p(z)."""
    means, squares = [], []
    for prior in run.model.prior().values():
        shares = prior.logits.softmax(0)[:, None] if isinstance(prior, NormalMixture) else 1
        mu, sigma = (torch.atleast_2d(part) for part in (prior.mu, prior.sigma))
        means.append((shares * mu).sum(0))
        squares.append((shares * (sigma**2 + mu**2)).sum(0))
    if not means:
        raise SareeError(f"{run.path} has no prior (posterior 'point'); give a catalogue, whose latents are then meant")
    mean, square = float(torch.cat(means)[place]), float(torch.cat(squares)[place])
    return mean, (square - mean**2) ** 0.5
