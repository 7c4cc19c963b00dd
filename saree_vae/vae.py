"""The model: two encoders, two named halves of the latent space, one decoder."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import config
from .distributions import Bernoulli, Laplace, Likelihood, Normal
from .networks import ColourEncoder, Decoder, MotifEncoder, motif_features
from .objective import Elbo, elbo

LOG_VARIANCE = (-9.0, 4.0)  # posterior log-variances are clamped to this: sigma between 0.011 and 7.4
PIXEL_SIGMA_FLOOR = 0.03  # below this a per-pixel sigma explains flat grounds ever better and training breaks up
SHARED_SCALE = (0.01, 1.0)  # the shared sigma or b is kept in this range


class Encoded(NamedTuple):
    """What a training step needs of one batch of B views, of which the first N are decoded."""

    elbo: Elbo  # of the clean view, (N, ...)
    swap: Tensor  # log p(x | motif of the recoloured view, colour of the shuffled view), (N,) nats
    motif: dict[str, Tensor]  # posterior means by view, (B, motif_dim)
    colour: dict[str, Tensor]  # (B, colour_dim)
    recon: Tensor  # mean image of the clean view, (N, 3, H, W)


class VAE(nn.Module):
    """A convolutional VAE with latents z = (motif, colour).

    Images are (B, 3, S, S) in [0, 1] with S = cfg.image_size; latents are (B, motif_dim + colour_dim).
    """

    def __init__(self, cfg: config.Model):
        super().__init__()
        self.cfg = cfg
        pixel_scales = cfg.likelihood == "gaussian_pixel"
        self.motif_encoder = MotifEncoder(motif_features(cfg), cfg.motif_dim)
        self.colour_encoder = ColourEncoder(cfg.colour_dim)
        self.decoder = Decoder(cfg.image_size, cfg.width, cfg.motif_dim, cfg.colour_dim, cfg.palette, pixel_scales)
        log_scale = torch.tensor(math.log(0.2))
        if cfg.sigma == "learned" and cfg.likelihood in ("gaussian", "laplace"):
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    @property
    def latent_dim(self) -> int:
        return self.cfg.motif_dim + self.cfg.colour_dim

    def encode(self, x: Tensor) -> Normal:
        """q(z|x), (B, D): motif dimensions first."""
        return Normal.join(_normal(self.motif_encoder(x)), _normal(self.colour_encoder(x)))

    def decode(self, z: Tensor) -> Tensor:
        """The mean of p(x|z), (B, 3, S, S) in [0, 1]."""
        return self.decoder(z)[0]

    def likelihood(self, z: Tensor, x: Tensor | None = None) -> Likelihood:
        """p(x|z). With an analytic scale and `x` given while training, the scale fits this whole batch best."""
        mean, scales = self.decoder(z)
        if self.cfg.likelihood == "bernoulli":
            return Bernoulli(torch.logit(mean, eps=1e-4))
        if self.cfg.likelihood == "gaussian_pixel":
            return Normal(mean, PIXEL_SIGMA_FLOOR + F.softplus(scales - 2))
        scale = self._scale(mean, x)
        return Normal(mean, scale) if self.cfg.likelihood == "gaussian" else Laplace(mean, scale)

    def elbo(self, x: Tensor, generator: torch.Generator | None = None) -> Elbo:
        """The ELBO of images by one sample of z, in nats."""
        posterior = self.encode(x)
        return elbo(x, posterior, self.likelihood(posterior.sample(generator)))

    def forward(
        self, views: dict[str, Tensor], generator: torch.Generator | None = None, decode: float = 1.0
    ) -> Encoded:
        """Everything a training step needs; `views` holds "clean", "phone_photo", "recoloured" and "shuffled".

        Only the first pictures are decoded, that share of the batch: an unbiased estimate of the same ELBO, cheaper.
        """
        x = views["clean"]
        motif = self.motif_encoder(torch.cat([x, views["phone_photo"], views["recoloured"]]))
        colour = self.colour_encoder(torch.cat([x, views["phone_photo"], views["shuffled"]]))
        motif, colour = _normal(motif).split(len(x)), _normal(colour).split(len(x))
        x = x[: max(1, round(decode * len(x)))]
        posterior = Normal.join(motif[0], colour[0]).split(len(x))[0]
        # Drawn from the motif of the *recoloured* view, a picture can get its colours only from the colour half.
        exchanged = Normal.join(motif[2], colour[2]).split(len(x))[0]
        z = torch.cat([posterior.sample(generator), exchanged.sample(generator)])
        clean, swapped = self.likelihood(z, torch.cat([x, x])).split(len(x))
        return Encoded(
            elbo=elbo(x, posterior, clean),
            swap=swapped.log_prob(x).flatten(1).sum(1),
            motif={"clean": motif[0].mu, "phone_photo": motif[1].mu, "recoloured": motif[2].mu},
            colour={"clean": colour[0].mu, "phone_photo": colour[1].mu, "shuffled": colour[2].mu},
            recon=clean.mean,
        )

    def _scale(self, mean: Tensor, x: Tensor | None) -> Tensor:
        """The shared sigma (or b), (): learned, or the closed-form optimum on this batch (Rybkin et al. 2021)."""
        if self.cfg.sigma == "analytic" and self.training and x is not None:
            gap = (x - mean).detach()
            best = gap.square().mean().sqrt() if self.cfg.likelihood == "gaussian" else gap.abs().mean()
            best = best.clamp(*SHARED_SCALE)
            self.log_scale.lerp_(best.log(), 0.02)  # what evaluation will use
            return best
        return self.log_scale.exp().clamp(*SHARED_SCALE)


def _normal(raw: Tensor) -> Normal:
    mu, log_variance = raw.float().chunk(2, dim=1)
    return Normal(mu, (0.5 * log_variance.clamp(*LOG_VARIANCE)).exp())
