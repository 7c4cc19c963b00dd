"""The model: two encoders, two named halves of the latent space, one decoder.

Every variant is this one class; what differs are the parts that the config names: POSTERIORS, PRIORS, LIKELIHOODS, the
networks, and whether lower latents (`levels`) or a class take part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import config, networks
from .codes import CODE_CHANNELS, Codebook, Quantised
from .distributions import (
    Bernoulli,
    DiscretisedLogistics,
    Draw,
    Laplace,
    Likelihood,
    Normal,
    Posterior,
    Prior,
    standard_noise,
)
from .networks import Drawn
from .objective import Elbo, divergence, elbo, importance_bound, log_ratio
from .posteriors import POSTERIORS, Point
from .priors import PRIORS, sample

PIXEL_SIGMA_FLOOR = 0.03  # below this a per-pixel sigma explains flat grounds ever better and training breaks up
SHARED_SCALE = (0.01, 1.0)  # the shared sigma or b is kept in this range
LOGISTICS = 3  # components of a discretised logistic mixture
CLASS_NUMBERS = 32  # in which a class is told to the decoder

Noise = dict[str, Tensor]  # standard normal numbers for each part of z, by its name


class Seen(NamedTuple):
    """What the encoders say of B pictures: the raw outputs that posteriors are made of."""

    motif: Tensor  # (B, outputs), or a map for codes
    colour: Tensor  # (B, outputs); (B, 0) without a colour half
    detail: tuple[Tensor, ...] = ()  # for each lower latent, coarsest first
    classes: Tensor | None = None  # (B,) numbers of cluster, 0 where unknown; None for a model that knows none

    def each(self, change: Callable[[Tensor], Tensor]) -> Seen:
        detail = tuple(change(part) for part in self.detail)
        classes = None if self.classes is None else change(self.classes)
        return Seen(change(self.motif), change(self.colour), detail, classes)

    def repeat(self, times: int) -> Seen:
        """All pictures, then all again, and so on: (times * B) rows."""
        return self.each(lambda part: part.repeat(times, *[1] * (part.ndim - 1)))

    @staticmethod
    def join(first: Seen, second: Seen) -> Seen:
        detail = tuple(torch.cat(pair) for pair in zip(first.detail, second.detail, strict=True))
        classes = None if first.classes is None else torch.cat([first.classes, second.classes])
        motif, colour = torch.cat([first.motif, second.motif]), torch.cat([first.colour, second.colour])
        return Seen(motif, colour, detail, classes)


class Sampled(NamedTuple):
    """One z ~ q(z|x) for each picture and what follows from it."""

    likelihood: Likelihood  # p(x|z)
    draws: dict[str, Draw]  # of each part of z
    kl: dict[str, Tensor]  # KL(q||p) of each part, by formula where there is one
    ratio: dict[str, Tensor]  # log q - log p at z, of which the KL is the mean

    def split(self, size: int) -> list[Sampled]:
        """Parts of `size` rows."""
        likelihoods = self.likelihood.split(size)
        parts = [slice(start, start + size) for start in range(0, size * len(likelihoods), size)]
        return [
            Sampled(
                likelihood,
                {name: Draw(draw.z[rows], draw.log_q[rows]) for name, draw in self.draws.items()},
                {name: kl[rows] for name, kl in self.kl.items()},
                {name: ratio[rows] for name, ratio in self.ratio.items()},
            )
            for likelihood, rows in zip(likelihoods, parts, strict=True)
        ]

    def elbo(self, x: Tensor) -> Elbo:
        return elbo(x, self.likelihood, self.kl)

    def weighed(self, x: Tensor) -> Elbo:
        """The same with log q - log p in place of the KL: its value is the log weight log p(x, z) - log q(z|x)."""
        return elbo(x, self.likelihood, self.ratio)

    def lower(self, x: Tensor) -> Elbo:
        """As `elbo`, but only lower latents are paid for."""
        return elbo(x, self.likelihood, {name: kl for name, kl in self.kl.items() if name.startswith("level")})


class Encoded(NamedTuple):
    """What a training step needs of one batch of B views, of which the first N are decoded."""

    elbo: Elbo  # of the clean view, (N, ...); with more samples of the draw that their weights chose
    bound: Tensor | None  # the importance-weighted bound, (N,) nats, where there are more samples than one
    swap: Tensor | None  # log p(x | motif of the recoloured view, colour of the shuffled view), (N,) nats, less what
    # its lower latents cost: from these, too, the decoder is to draw the clean picture
    motif: dict[str, Tensor]  # posterior means by view, (B, motif_dim)
    colour: dict[str, Tensor]  # (B, colour_dim)
    draws: dict[str, Draw]  # of each part of the clean view
    posterior: dict[str, Posterior]  # of the clean view, by half; empty for codes
    codes: Quantised | None
    recon: Tensor  # mean image of the clean view, (N, C, H, W)


class VAE(nn.Module):
    """A VAE with latents z = (motif, colour), and below them the maps of a ladder if the config asks for levels.

    Images are (B, C, S, S) in [0, 1] with S = cfg.image_size; latents are (B, motif_dim + colour_dim).
    """

    def __init__(self, cfg: config.Model):
        super().__init__()
        self.cfg = cfg
        picture, codes = (cfg.channels, cfg.image_size, cfg.image_size), cfg.posterior == "vq"
        family = POSTERIORS["point" if codes else cfg.posterior]
        self.motif_posterior = Codebook(cfg.motif_dim) if codes else family(cfg.motif_dim, cfg.flows)
        self.motif_encoder = _motif_encoder(cfg, self.motif_posterior.outputs)
        if cfg.colour_dim:
            self.colour_posterior = family(cfg.colour_dim, cfg.flows)
            self.colour_encoder = networks.ColourEncoder(self.colour_posterior.outputs)
        if cfg.posterior not in ("point", "vq"):
            self.priors = nn.ModuleDict({n: PRIORS[cfg.prior](d, cfg.components, picture) for n, d in self.halves})
        self.detail_encoder = _detail_encoder(cfg) if cfg.levels > 1 else None
        self.decoder = _decoder(cfg, self.detail_encoder)
        if cfg.conditional:
            known = 1 + len(cfg.classes)  # the first stands for "unknown"
            self.class_seen = nn.Embedding(known, self.motif_posterior.outputs)
            self.class_drawn = nn.Embedding(known, CLASS_NUMBERS)
        log_scale = torch.tensor(math.log(0.2 if isinstance(cfg.sigma, str) else cfg.sigma))
        if cfg.sigma == "learned" and cfg.likelihood in ("gaussian", "laplace"):
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)
        self.register_buffer("spread", torch.ones(2))  # of motif and colour, by which `fit_to_prior` divides them

    def load_state_dict(self, state: Mapping[str, Tensor], *rest, **named) -> NamedTuple:
        """As ever; weights from before there was a `spread` have none."""
        return super().load_state_dict({"spread": torch.ones(2)} | dict(state), *rest, **named)

    @property
    def latent_dim(self) -> int:
        return self.cfg.motif_dim + self.cfg.colour_dim

    @property
    def halves(self) -> list[tuple[str, int]]:
        """Names and dimensions."""
        return [(name, dim) for name, dim in (("motif", self.cfg.motif_dim), ("colour", self.cfg.colour_dim)) if dim]

    @torch.no_grad()
    def centre(self, mean: Tensor) -> None:
        """Start fully connected networks at the mean picture (C, S, S) of the training set, as Burda et al. 2016 do;
        from anywhere else they take several times as long to learn. Others have normalisation for that."""
        if self.cfg.encoder == "mlp":
            for part in filter(None, (self.motif_encoder, self.detail_encoder)):
                part.mean.copy_(mean)
            bias = self.decoder.last.bias.view(-1, *mean.shape[1:])
            bias[: len(mean)] = torch.logit(mean, eps=1e-3)

    @torch.no_grad()
    def fit_to_prior(self, x: Tensor) -> None:
        """Divide each half by the number that leaves its KL to N(0, I) least on pictures (B, C, S, S).

        That is the root of the mean of mu^2 + sigma^2. The decoder multiplies by it again, so what is drawn stays the
        same, and so do cosines; only the price of z falls. For a contrast on cosines lets means grow as they like.
        Other posteriors than "gaussian", and priors that are learned, are left as they are.
        """
        if (self.cfg.posterior, self.cfg.prior) != ("gaussian", "normal"):
            return
        found = [self.posterior(self.look(part, detail=False)) for part in x.split(64)]
        for number, (name, _) in enumerate(self.halves):
            squares = torch.cat([q[name].mu.square() + q[name].sigma.square() for q in found])
            self.spread[number] *= squares.mean().sqrt()

    def observed(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Pictures as the likelihood looks at them: drawn anew, each value a 0 or 1, if `cfg.binary`."""
        return torch.bernoulli(x, generator=generator) if self.cfg.binary else x

    def encode(self, x: Tensor) -> Normal:
        """mu and sigma of q(z|x), (B, D), motif dimensions first: what search compares."""
        parts = self.posterior(self.look(x, detail=False)).values()
        return Normal(torch.cat([q.mu for q in parts], 1), torch.cat([q.sigma for q in parts], 1))

    def decode(self, z: Tensor, classes: Tensor | None = None, detail: Sequence[Tensor] = ()) -> Tensor:
        """The mean of p(x|z), (B, C, S, S) in [0, 1].

        Args:
            z: (B, D), motif first.
            classes: what to draw it as, for a conditional model; see `reconstruct`.
            detail: of `look`: lower latents are what they are in those pictures; the means of their priors without.

        Raises:
            ValueError: the model draws from a map of codes, which `z` is not.
        """
        if self.cfg.posterior == "vq":
            raise ValueError("a VQ-VAE draws from a map of codes, not from a latent vector; use `reconstruct`")
        motif, colour = z.split([self.cfg.motif_dim, self.cfg.colour_dim], dim=1)
        return self._draw(motif, colour, detail, {}, self._classes(classes, len(z))).mean

    def reconstruct(
        self,
        x: Tensor,
        colour_of: Tensor | None = None,
        classes: Tensor | None = None,
        as_classes: Tensor | None = None,
    ) -> Tensor:
        """The mean picture of x from the means of all its latents, (B, C, S, S).

        Args:
            colour_of: pictures (B, C, S, S) whose colour half is taken in place of x's own.
            classes: what x is, (B,) numbers of `cfg.classes` from 1 on, 0 unknown; for a conditional model.
            as_classes: as what it is drawn, if as another.
        """
        seen = self.look(x, classes)
        if colour_of is not None:
            seen = seen._replace(colour=self.look(colour_of, detail=False).colour)
        if as_classes is not None:
            posterior, seen = self.posterior(seen), seen._replace(classes=self._classes(as_classes, len(x)))
            return self.sampled(seen, posterior=posterior).likelihood.mean
        return self.sampled(seen).likelihood.mean

    def look(self, x: Tensor, classes: Tensor | None = None, *, detail: bool = True) -> Seen:
        """What the encoders say of pictures (B, C, S, S); `detail=False` leaves out what lower latents need."""
        motif, classes = self.motif_encoder(x), self._classes(classes, len(x))
        colour = self.colour_encoder(x) if self.cfg.colour_dim else motif.new_empty(len(x), 0)
        return Seen(motif, colour, self._detail(x) if detail else (), classes)

    def posterior(self, seen: Seen) -> dict[str, Posterior]:
        """q(z|x) of each half."""
        found = {"motif": self._motif_posterior(seen.motif, seen.classes)}
        found |= {"colour": self.colour_posterior(seen.colour)} if self.cfg.colour_dim else {}
        if self.cfg.posterior != "gaussian":
            return found
        parts = zip(found.items(), self.spread, strict=False)
        return {name: Normal(q.mu / spread, q.sigma / spread) for (name, q), spread in parts}

    def prior(self) -> dict[str, Prior]:
        """p(z) of each half."""
        if self.cfg.posterior == "vq":
            return {"motif": self.motif_posterior.prior((self.cfg.image_size // 8) ** 2)}
        if self.cfg.posterior == "point":
            return {}
        return {name: prior(self.encode_half(name)) for name, prior in self.priors.items()}

    def noise(self, count: int, generator: torch.Generator | None = None) -> Noise:
        """Standard normal numbers for one draw of z for each of `count` pictures."""
        shapes = {name: (dim,) for name, dim in self.halves if self.cfg.posterior not in ("point", "vq")}
        shapes |= {_level(i): shape for i, shape in enumerate(self.decoder.shapes(self.cfg.level_dim))}
        like = self.log_scale.new_empty(())
        return {name: standard_noise(like.expand(count, *shape), generator) for name, shape in shapes.items()}

    def sampled(
        self,
        seen: Seen,
        noise: Noise | None = None,
        x: Tensor | None = None,
        posterior: dict[str, Posterior] | None = None,
    ) -> Sampled:
        """One z of each picture, p(x|z) and what z costs; without noise the mean of every part.

        Args:
            x: the pictures, to which an analytic scale is fitted while training.
            posterior: of `seen`, if it is known already.
        """
        noise, posterior, prior = noise or {}, posterior or self.posterior(seen), self.prior()
        draws = {name: q.draw(noise.get(name)) for name, q in posterior.items()}
        colour = draws["colour"].z if "colour" in draws else seen.colour
        drawn = self._draw(draws["motif"].z, colour, seen.detail, noise, seen.classes)
        lower = {_level(i): level for i, level in enumerate(drawn.lower)}
        paid = {name: q for name, q in posterior.items() if not isinstance(q, Point)}  # a point has no density
        return Sampled(
            self._likelihood(drawn, x),
            draws | {name: level.draw for name, level in lower.items()},
            {name: divergence(q, prior[name], draws[name]) for name, q in paid.items()}
            | {name: level.kl() for name, level in lower.items()},
            {name: log_ratio(prior[name], draws[name]) for name in paid}
            | {name: level.log_ratio() for name, level in lower.items()},
        )

    def elbo(self, x: Tensor, generator: torch.Generator | None = None) -> Elbo:
        """The ELBO of images by one sample of z, in nats."""
        return self.sampled(self.look(x), self.noise(len(x), generator), x).elbo(x)

    def log_weights(self, x: Tensor, seen: Seen, samples: int, noise: Noise) -> Tensor:
        """log p(x, z) - log q(z|x) of some draws for each picture, (samples, B) nats; `noise` of samples * B rows."""
        many = self.sampled(seen.repeat(samples), noise)
        return many.weighed(x.repeat(samples, 1, 1, 1)).value.view(samples, -1)

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator | None = None, classes: Tensor | None = None) -> Tensor:
        """Mean pictures of draws from the prior, (count, C, S, S); lower latents are drawn from theirs."""
        if self.cfg.posterior in ("point", "vq"):
            raise ValueError(f"posterior '{self.cfg.posterior}' learns no prior that is worth drawing from")
        z = {name: sample(prior, count, generator) for name, prior in self.prior().items()}
        colour = z.get("colour", z["motif"].new_empty(count, 0))
        return self._draw(z["motif"], colour, (), self.noise(count, generator), self._classes(classes, count)).mean

    def forward(
        self,
        views: dict[str, Tensor],
        generator: torch.Generator | None = None,
        decode: float = 1.0,
        samples: int = 1,
        swap: bool = True,
        classes: Tensor | None = None,
    ) -> Encoded:
        """Everything a training step needs.

        Args:
            views: "clean" (B, C, S, S), and "phone_photo", "recoloured", "shuffled" and "kin" where these teach.
            decode: the share of the batch that is decoded: an unbiased estimate of the same ELBO, cheaper.
            samples: draws of z in the importance-weighted bound.
            swap: whether to draw the clean picture from other views, too.
            classes: numbers of `cfg.classes` from 1 on, (B,), 0 unknown; for a conditional model.
        """
        x, size = views["clean"], len(views["clean"])
        motif, motif_means, codes = self._of_views(
            self.motif_encoder, self._motif_posterior, views, "recoloured", "kin"
        )
        colour, colour_means = {}, {}
        if self.cfg.colour_dim:
            colour, colour_means, _ = self._of_views(self.colour_encoder, self.colour_posterior, views, "shuffled")
        x = x[: max(1, round(decode * size))]

        def seen_as(motif_view: str, colour_view: str) -> Seen:
            rows = slice(len(x))
            of_colour = colour[colour_view][rows] if colour else x.new_empty(len(x), 0)
            known = self._classes(classes, size)
            told = None if known is None else known[rows]
            return Seen(motif[motif_view][rows], of_colour, self._detail(views[motif_view][rows]), told)

        seen, bound, swapped = seen_as("clean", "clean"), None, None
        noise = self.noise(len(x), generator)
        if samples > 1:
            noise, bound = self._chosen(x, seen, samples, generator)
        if swap and colour and "recoloured" in motif:
            # Drawn from the motif of the *recoloured* view, a picture can get its colours only from the colour half.
            exchanged, more = seen_as("recoloured", "shuffled"), self.noise(len(x), generator)
            noise = {name: torch.cat([part, more[name]]) for name, part in noise.items()}
            clean, swapped = self.sampled(Seen.join(seen, exchanged), noise, torch.cat([x, x])).split(len(x))
        else:
            clean = self.sampled(seen, noise, x)
        if codes and self.training:
            self.motif_posterior.learn(codes)
        return Encoded(
            elbo=clean.weighed(x) if samples > 1 else clean.elbo(x),
            bound=bound,
            swap=swapped.lower(x).value if swapped else None,
            motif=motif_means,
            colour=colour_means,
            draws=clean.draws,
            posterior={} if codes else self.posterior(seen),
            codes=codes,
            recon=clean.likelihood.mean,
        )

    def _of_views(
        self, encoder: nn.Module, family: Callable, views: dict[str, Tensor], *changed: str
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Quantised | None]:
        """Of each view that a half learns from: raw outputs and posterior means; and the codes, if it has any."""
        names = [name for name in ("clean", "phone_photo", *changed) if name in views]
        raw = encoder(torch.cat([views[name] for name in names]))
        parts = dict(zip(names, raw.chunk(len(names)), strict=True))
        posterior = family(raw)
        codes = posterior if isinstance(posterior, Quantised) else None
        return parts, dict(zip(names, posterior.mu.chunk(len(names)), strict=True)), codes

    def _motif_posterior(self, raw: Tensor, classes: Tensor | None = None) -> Posterior:
        """q of the motif half; search knows no class, so contrast is taught without."""
        known = self._classes(classes, len(raw))
        if known is not None:
            raw = raw + _beside(self.class_seen(known), raw)
        return self.motif_posterior(raw)

    @torch.no_grad()
    def _chosen(self, x: Tensor, seen: Seen, samples: int, generator: torch.Generator | None) -> tuple[Noise, Tensor]:
        """The noise of one draw for each picture, chosen by its weight among many; and the bound by all of them.

        The gradient of the chosen one's log weight is an unbiased estimate of the bound's (Burda et al. 2016, section
        3): one pass backward in place of `samples`.
        """
        noise = self.noise(samples * len(x), generator)
        log_weights = self.log_weights(x, seen, samples, noise)
        which = torch.multinomial(log_weights.T.softmax(1), 1, generator=generator)[:, 0]
        rows = which * len(x) + torch.arange(len(x), device=x.device)
        return {name: part[rows] for name, part in noise.items()}, importance_bound(log_weights)

    def encode_half(self, name: str) -> Callable[[Tensor], Normal]:
        """q(z|x) of a half for pictures that are learned, measured with the running statistics of normalisation: else
        they would move those."""
        encoder = self.motif_encoder if name == "motif" else self.colour_encoder
        family = self._motif_posterior if name == "motif" else self.colour_posterior

        def encode(pictures: Tensor) -> Normal:
            was = encoder.training
            encoder.eval()
            found = family(encoder(pictures))
            encoder.train(was)
            return found

        return encode

    def _detail(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.detail_encoder(x)) if self.detail_encoder else ()

    def _classes(self, classes: Tensor | None, count: int) -> Tensor | None:
        if not self.cfg.conditional:
            return None
        return torch.zeros(count, dtype=torch.long, device=self.log_scale.device) if classes is None else classes

    def _draw(
        self, motif: Tensor, colour: Tensor, detail: Sequence[Tensor], noise: Noise, classes: Tensor | None
    ) -> Drawn:
        motif, colour = motif * self.spread[0], colour * self.spread[1]
        if classes is not None:
            told = self.class_drawn(classes)
            motif = torch.cat([motif, _beside(told, motif).expand(-1, -1, *motif.shape[2:])], 1)
        lower = [noise[_level(i)] for i in range(self.cfg.levels - 1)] if noise else []
        return self.decoder(motif, colour, detail, lower)

    def _likelihood(self, drawn: Drawn, x: Tensor | None) -> Likelihood:
        """p(x|z). With an analytic scale and `x` given while training, the scale fits this whole batch best."""
        return LIKELIHOODS[self.cfg.likelihood].make(drawn, partial(self._scale, drawn, x))

    def _scale(self, drawn: Drawn, x: Tensor | None) -> Tensor:
        """The shared sigma (or b), (): learned, or the closed-form optimum on this batch (Rybkin et al. 2021)."""
        if self.cfg.sigma == "analytic" and self.training and x is not None:
            gap = (x - drawn.mean).detach()
            best = gap.abs().mean() if self.cfg.likelihood == "laplace" else gap.square().mean().sqrt()
            best = best.clamp(*SHARED_SCALE)
            self.log_scale.lerp_(best.log(), 0.02)  # what evaluation will use
            return best
        return self.log_scale.exp().clamp(*SHARED_SCALE)


class Family(NamedTuple):
    """A likelihood: how many raw maps it wants beside the mean of C channels, and how it is made of what is drawn."""

    extra: Callable[[int], int]
    make: Callable[[Drawn, Callable[[], Tensor]], Likelihood]


def _logistics(drawn: Drawn, scale: Callable[[], Tensor]) -> DiscretisedLogistics:
    size, channels = drawn.extra.shape[0], drawn.mean.shape[1]
    logits, numbers = drawn.extra.split([LOGISTICS, 2 * LOGISTICS * channels], dim=1)
    offset, raw = numbers.view(size, 2, LOGISTICS, channels, *numbers.shape[2:]).unbind(1)
    return DiscretisedLogistics(logits, drawn.mean[:, None] + 0.1 * offset, (raw - 3).clamp(-7, 1).exp())


def _no_maps(channels: int) -> int:
    return 0


LIKELIHOODS = {
    "gaussian": Family(_no_maps, lambda drawn, scale: Normal(drawn.mean, scale())),
    "gaussian_pixel": Family(
        lambda channels: channels,
        lambda drawn, scale: Normal(drawn.mean, PIXEL_SIGMA_FLOOR + F.softplus(drawn.extra - 2)),
    ),
    "laplace": Family(_no_maps, lambda drawn, scale: Laplace(drawn.mean, scale())),
    "bernoulli": Family(_no_maps, lambda drawn, scale: Bernoulli(drawn.logits)),
    "discretised_logistic": Family(lambda channels: LOGISTICS * (1 + 2 * channels), _logistics),
}


def _motif_encoder(cfg: config.Model, outputs: int) -> nn.Module:
    if cfg.encoder == "mlp":
        return networks.MlpEncoder((cfg.channels, cfg.image_size, cfg.image_size), cfg.width, outputs)
    features = networks.motif_features(cfg)
    if cfg.posterior == "vq":
        return networks.CodeEncoder(features, outputs, cfg.image_size // 8)
    return networks.MotifEncoder(features, outputs)


def _detail_encoder(cfg: config.Model) -> nn.Module | None:
    if cfg.levels == 1:
        return None
    if cfg.encoder == "mlp":
        return networks.MlpDetail((cfg.channels, cfg.image_size, cfg.image_size), cfg.width, cfg.levels - 1)
    return networks.Detail(cfg.width, cfg.levels - 1)


def _decoder(cfg: config.Model, detail: nn.Module | None) -> nn.Module:
    channels = CODE_CHANNELS if cfg.posterior == "vq" else cfg.motif_dim
    motif = channels + (CLASS_NUMBERS if cfg.conditional else 0)
    kind = networks.MlpDecoder if cfg.encoder == "mlp" else networks.Decoder
    return kind(cfg, motif, LIKELIHOODS[cfg.likelihood].extra(cfg.channels), detail.channels if detail else ())


def _beside(numbers: Tensor, like: Tensor) -> Tensor:
    """(B, D) as (B, D, 1, 1) where `like` is a map."""
    return numbers.view(*numbers.shape, *[1] * (like.ndim - 2))


def _level(number: int) -> str:
    """The name of a lower latent, from 0, coarsest first: the first layer is motif and colour."""
    return f"level_{number + 2}"
