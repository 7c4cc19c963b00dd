"""How probable pictures are under a model: bounds on log p(x), and what the latents carry."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from . import config
from .distributions import FullNormal, Normal, standard_noise
from .errors import SareeError
from .objective import Elbo, importance_bound
from .posteriors import Point
from .vae import VAE

ROWS = 5000  # pictures times draws that are decoded at a time, of 28 x 28 values; larger pictures, fewer
PAIRS = 4_000_000  # numbers of a table of pictures by pictures by dimensions that are held at a time: 32 MB
ACTIVE = 0.02  # nats of KL, averaged over pictures, above which a latent dimension is counted as used
VARIES = 0.01  # variance of mu over pictures above which it is, too (Burda et al. 2016)
LITTLE = 1.0  # nats a picture below which a whole map of a ladder tells next to nothing
LEAPS, ACCEPTED, FIRST_STEP = 10, 0.65, 0.1  # of the Hamiltonian moves: as in Wu et al. 2017; the step is then adapted
ADVICE = "lower objective.beta, raise objective.free_bits, or lengthen objective.kl_warmup"


class Measured(NamedTuple):
    """What one draw of z for each of N pictures tells, on the CPU in float64."""

    elbo: Elbo
    mu: dict[str, Tensor]  # of each half, (N, D): means of q(z|x), or how often a picture takes each code
    information: dict[str, Tensor]  # as `information` gives; empty where q(z|x) has no formula at another picture's z

    @property
    def left(self) -> Tensor:
        """What is left of the rate of the halves once `information` is taken away, (N,) nats: its mean is how far all
        z together are from the prior, KL(q(z) || p(z))."""
        return sum(self.elbo.kl[name].sum(1) for name in self.mu) - self.information["z"]


@torch.inference_mode()
def measured(model: VAE, batches: Iterable[Tensor], generator: torch.Generator | None = None) -> Measured:
    """Measure pictures (B, C, S, S) as `model.observed` gives them, a batch at a time; `Measured` holds no picture."""
    terms, posteriors, draws = [], [], []
    for x in batches:
        seen = model.look(x)
        posterior = model.posterior(seen)
        drawn = model.sampled(seen, model.noise(len(x), generator), posterior=posterior)
        terms.append(drawn.elbo(x))
        posteriors.append(posterior)
        draws.append({name: draw.z for name, draw in drawn.draws.items() if name in posterior})

    def joined(parts: Iterable[Tensor]) -> Tensor:
        return torch.cat([part.double().cpu() for part in parts])

    elbo = Elbo(
        joined(part.recon for part in terms),
        {name: joined(part.kl[name] for part in terms) for name in terms[0].kl},
    )
    mu = {name: joined(part[name].mu for part in posteriors) for name in posteriors[0]}
    known = {}
    if all(isinstance(q, Normal | FullNormal) for q in posteriors[0].values()):
        whole = {
            name: type(q)(*map(joined, zip(*(part[name] for part in posteriors), strict=True)))
            for name, q in posteriors[0].items()
        }
        known = information(whole, {name: joined(part[name] for part in draws) for name in whole})
    return Measured(elbo, mu, known)


@torch.inference_mode()
def bound(model: VAE, x: Tensor, samples: int, generator: torch.Generator | None = None) -> Tensor:
    """The importance-weighted lower bound on log p(x) of each picture, (B,) nats in float64 (Burda et al. 2016).

    Args:
        x: pictures (B, C, S, S), as `model.observed` gives them.
        samples: K, draws of z for each; 1 gives a draw of the ELBO, and the bound rises with K. Chunked: any K fits.
    """
    rows = _rows(x)
    found = []
    for part in x.split(max(1, rows // samples)):
        seen, left, log_weights = model.look(part), samples, []
        while left:
            draws = min(left, max(1, rows // len(part)))
            noise = model.noise(draws * len(part), generator)
            log_weights.append(model.log_weights(part, seen, draws, noise).double())
            left -= draws
        found.append(importance_bound(torch.cat(log_weights)))
    return torch.cat(found)


def information(posterior: dict[str, Normal | FullNormal], z: dict[str, Tensor]) -> dict[str, Tensor]:
    """log q(z|x) - log q(z) of each picture's own z, (N,) nats: its mean is the mutual information I(x; z).

    q(z) is the mean of q(z|x) over the same N pictures (Hoffman & Johnson 2016; Dieng et al. 2019, arXiv:1807.04863),
    so none is above log N: where all z are told apart it is log N, however much more they could tell.

    Args:
        posterior: of each half; z: one draw of each, (N, D).

    Returns:
        By half, and of both together as "z".
    """
    count, widest = len(next(iter(z.values()))), max(part.shape[1] for part in z.values())
    found: dict[str, list[Tensor]] = {name: [] for name in (*z, "z")}
    for rows in torch.arange(count).split(max(1, PAIRS // (count * widest))):
        pairs = {name: _log_pairs(q, z[name][rows]) for name, q in posterior.items()}  # (n, N) each
        for name, pair in (pairs | {"z": sum(pairs.values())}).items():
            found[name].append(pair[range(len(rows)), rows] - pair.logsumexp(1) + math.log(count))
    return {name: torch.cat(parts) for name, parts in found.items()}


def active_units(kl: Tensor) -> Tensor:
    """Which dimensions cost something, (D,): KL (N, D) above ACTIVE on average."""
    return kl.mean(0) > ACTIVE


def moving_units(mu: Tensor) -> Tensor:
    """Which dimensions differ between pictures, (D,): variance of mu (N, D) above VARIES (Burda et al. 2016, 5.2)."""
    return mu.var(0, correction=0) > VARIES


def perplexity(shares: Tensor) -> float:
    """How many codes are in use, as exp of the entropy of their mean shares (N, K)."""
    mean = shares.mean(0)
    return float((-(mean * mean.clamp(min=1e-12).log()).sum()).exp())


def verdict(found: Measured, cfg: config.Model) -> list[str]:
    """For each part of z a sentence: is it used, or has its posterior collapsed onto the prior, and what then to do."""
    told = []
    for name, mu in found.mu.items():
        size, kl = mu.shape[1], found.elbo.kl.get(name)
        if kl is None:
            told.append(f"{name}: a point has no rate, so it cannot collapse.")
        elif cfg.posterior == "vq":
            told.append(_judged(name, perplexity(mu), size, "codes are in use (perplexity)", "take fewer codes"))
        else:
            # A KL that is the same for all pictures costs something and tells nothing.
            used = moving_units(mu) & (active_units(kl) if kl.shape[1] == size else True)
            told.append(_judged(name, int(used.sum()), size, "dimensions carry something", ADVICE))
    for name, kl in found.elbo.kl.items():
        if name not in found.mu:
            nats = float(kl.sum(1).mean())
            told.append(
                f"{name} healthy: {nats:.1f} nats a picture."
                if nats > LITTLE
                else f"{name} collapsed: {nats:.2f} nats a picture; {ADVICE}, or take fewer model.levels."
            )
    return told


def annealed(model: VAE, x: Tensor, chains: int, steps: int, generator: torch.Generator | None = None) -> Tensor:
    """log p(x) of each picture by annealed importance sampling, (B,) nats in float64: a lower bound on average.

    Each chain starts at z ~ p(z) and comes to p(z|x) over p(z) p(x|z)^t, t rising from 0 to 1, by Hamiltonian moves
    (Neal 2001; Wu et al. 2017, arXiv:1611.04273). It asks nothing of q(z|x), so it checks `bound`; but it decodes 20
    times a step and chain, which only small models are quick enough for. A first pass finds, for each picture and step,
    how large a move is accepted 65 times in 100; the second, which counts, keeps to that, so its weights are unbiased.

    Args:
        x: pictures (B, C, S, S), as `model.observed` gives them.

    Raises:
        SareeError: z has more levels than one, or another prior than a standard normal.
    """
    cfg = model.cfg
    if not can_anneal(cfg):
        raise SareeError(
            "annealed importance sampling is for models of one level with prior 'normal' and a density q(z|x); "
            f"this has levels {cfg.levels}, prior '{cfg.prior}' and posterior '{cfg.posterior}'"
        )
    found = []
    for part in x.split(max(1, _rows(x) // chains)):
        pull = _pull(model, part.repeat(chains, 1, 1, 1))
        rows = chains * len(part)
        start = standard_noise(model.log_scale.new_empty(rows, model.latent_dim), generator)
        sizes, _ = _annealed(pull, start, chains, [None] * steps, generator)
        start = standard_noise(start, generator)
        _, log_weights = _annealed(pull, start, chains, sizes, generator)
        found.append(importance_bound(log_weights.view(chains, -1)))
    return torch.cat(found)


def can_anneal(cfg: config.Model) -> bool:
    """Whether `annealed` knows the way from p(z) to p(z|x)."""
    return cfg.levels == 1 and cfg.prior == "normal" and cfg.posterior not in ("point", "vq")


class _At(NamedTuple):
    """A place in the latent space: z (n, D), log p(x|z) (n,) in float64, and its gradient (n, D)."""

    z: Tensor
    log_p: Tensor
    gradient: Tensor

    def energy(self, warmth: float, momentum: Tensor) -> Tensor:
        """-log of p(z) p(x|z)^t p(momentum), (n,) but for a constant."""
        return 0.5 * (self.z.double().square() + momentum.double().square()).sum(1) - warmth * self.log_p

    def slope(self, warmth: float) -> Tensor:
        """Gradient of log p(z) p(x|z)^t, (n, D)."""
        return warmth * self.gradient - self.z


def _annealed(
    pull: Callable[[Tensor], _At],
    z: Tensor,
    chains: int,
    sizes: list[Tensor | None],
    generator: torch.Generator | None,
) -> tuple[list[Tensor], Tensor]:
    """The size of each step's moves, found on the way where it is None, and the log weights of chains from z, (n,)."""
    steps, at = len(sizes), pull(z)
    log_weights = torch.zeros_like(at.log_p)
    size = z.new_full((len(z) // chains,), FIRST_STEP)
    used, before = [], 0.0
    for number, given in enumerate(sizes, 1):
        warmth = _warmth(number / steps)
        log_weights += (warmth - before) * at.log_p
        used.append(size if given is None else given)
        at, accepted = _moved(pull, at, warmth, used[-1].repeat(chains)[:, None], generator)
        size = size * (0.5 * (accepted.view(chains, -1).mean(0) - ACCEPTED)).exp().to(size.dtype)
        before = warmth
    return used, log_weights


def _moved(
    pull: Callable[[Tensor], _At], at: _At, warmth: float, size: Tensor, generator: torch.Generator | None
) -> tuple[_At, Tensor]:
    """One Hamiltonian move by leapfrog, taken or not (Neal 2011, section 2.3), and how likely it was taken, (n,)."""
    momentum = standard_noise(at.z, generator)
    start = at.energy(warmth, momentum)
    new, moving = at, momentum + 0.5 * size * at.slope(warmth)
    for leap in range(1, LEAPS + 1):
        new = pull(new.z + size * moving)
        moving = moving + (size if leap < LEAPS else 0.5 * size) * new.slope(warmth)
    chance = (start - new.energy(warmth, moving)).clamp(max=0).exp().nan_to_num(0.0)
    taken = torch.rand(chance.shape, generator=generator, device=chance.device) < chance
    return _At(*(torch.where(_like(taken, one), one, other) for one, other in zip(new, at, strict=True))), chance


def _pull(model: VAE, x: Tensor) -> Callable[[Tensor], _At]:
    """z (n, D) -> where it is, for the pictures x (n, C, S, S)."""
    names, sizes = zip(*model.halves, strict=True)
    with torch.no_grad():
        seen = model.look(x)

    def pull(z: Tensor) -> _At:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            parts = dict(zip(names, map(Point, z.split(sizes, dim=1)), strict=True))
            log_p = model.sampled(seen, posterior=parts).elbo(x).recon
            (gradient,) = torch.autograd.grad(log_p.sum(), z)
        return _At(z.detach(), log_p.detach().double(), gradient)

    return pull


def _warmth(share: float) -> float:
    """t, after this share of the steps: slow at both ends, where most is gained (the sigmoid of Wu et al. 2017)."""
    low, high, here = (1 / (1 + math.exp(-4 * (2 * place - 1))) for place in (0.0, 1.0, share))
    return (here - low) / (high - low)


def _log_pairs(q: Normal | FullNormal, z: Tensor) -> Tensor:
    """Each z (n, D) under the posterior of each of N pictures, (n, N) nats."""
    if isinstance(q, Normal):
        return q.log_prob(z[:, None]).sum(2)
    noise = torch.linalg.solve_triangular(q.tril, z.T - q.mu[..., None], upper=False)  # (N, D, n)
    log_scale = q.tril.diagonal(dim1=-2, dim2=-1).log().sum(1)
    return Normal(z.new_zeros(()), z.new_ones(())).log_prob(noise).sum(1).T - log_scale


def _judged(name: str, used: float, of: int, what: str, advice: str) -> str:
    state = "healthy" if used >= of / 2 else "partly collapsed" if used >= of / 10 else "collapsed"
    return f"{name} {state}: {used:.0f} of {of} {what}" + ("." if state == "healthy" else f"; {advice}.")


def _like(taken: Tensor, part: Tensor) -> Tensor:
    return taken.view(-1, *[1] * (part.ndim - 1))


def _rows(x: Tensor) -> int:
    return max(1, ROWS * 784 // x[0].numel())
