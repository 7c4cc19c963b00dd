"""The networks: a motif encoder that sees edges, a colour encoder that cannot, a decoder that mixes a palette.

Beside these convolutional ones, small fully connected ones for small grey pictures (`encoder: mlp`).
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import config
from .distributions import Draw, Normal, kl_divergence
from .errors import SareeError

GRID = 4  # cells a side of the coarse layout that the motif head sees beside the pooled statistics


def _conv(inward: int, outward: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inward, outward, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outward), nn.SiLU()
    )


class Residual(nn.Module):
    """Two 3x3 convolutions beside an identity (He et al. 2016)."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            _conv(channels, channels), nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x + self.body(x))


class Edges(nn.Module):
    """Images (B, 3, H, W) in [0, 1] -> (B, 4, H, W): what is drawn, in whatever colours and light.

    Lightness less that of its surroundings, by their spread; and of the structure tensor of all colours together
    (Di Zenzo 1986) how strong an edge is beside those around it, and twice its angle. So which of red, green and blue
    is which makes no difference, a shadow little, and but for the first channel a negative none.
    """

    channels = 4
    FAINT = 1e-3  # squares of values: noise, below which a plain ground stays plain

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        light = x.mean(1, keepdim=True)
        middle = _around(light)
        spread = (_around(light.square()) - middle.square()).clamp(min=0)
        padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
        across, down = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2], padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
        xx, yy, xy = (part.sum(1, keepdim=True) for part in (across.square(), down.square(), across * down))
        energy = xx + yy
        scale = (energy * (_around(energy) + self.FAINT)).clamp(min=1e-8).rsqrt()
        maps = [(light - middle) / (spread + self.FAINT).sqrt(), energy * scale, (xx - yy) * scale, 2 * xy * scale]
        return torch.cat(maps, 1).contiguous(memory_format=torch.channels_last)


class Colours(nn.Module):
    """Images (B, 3, H, W) in [0, 1] less a mean colour, by its spread: as a network that sees colours wants them."""

    channels = 3

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class ConvFeatures(nn.Module):
    """Images (B, 3, H, W) in [0, 1] -> maps at strides 4, 8 and 16 with 2, 4 and 8 times `width` channels.

    Of their edges, or with `colours` of the pictures as they are.
    """

    def __init__(self, width: int, colours: bool = False):
        super().__init__()
        self.channels = [2 * width, 4 * width, 8 * width]
        self.eye = Colours((0.5,) * 3, (0.25,) * 3) if colours else Edges()
        first, second, third = self.channels
        # Straight to stride 4: on a CPU the maps at stride 2 cost more time than all that follows.
        self.stages = nn.ModuleList(
            [
                _conv(self.eye.channels, first, kernel=7, stride=4),
                nn.Sequential(_conv(first, second, stride=2), Residual(second)),
                nn.Sequential(_conv(second, third, stride=2), Residual(third)),
            ]
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        x, maps = self.eye(x), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class TimmFeatures(nn.Module):
    """Images (B, 3, H, W) in [0, 1] -> the last three feature maps of any timm model that offers them."""

    def __init__(self, name: str, pretrained: bool | str, size: int):
        super().__init__()
        self.net = _timm_model(name, pretrained, size)
        self.channels = self.net.feature_info.channels()[-3:]
        self.eye = Colours(self.net.pretrained_cfg["mean"], self.net.pretrained_cfg["std"])

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.net(self.eye(x))[-3:]
        # Some models (Swin) give (B, H, W, C).
        return [m if m.shape[1] == c else m.permute(0, 3, 1, 2) for m, c in zip(maps, self.channels, strict=True)]


class MotifEncoder(nn.Module):
    """Images (B, 3, H, W) in [0, 1] -> the raw numbers that the posterior of the motif half is made of, (B, outputs).

    Mean and standard deviation of three scales say what the cloth is made of, wherever it lies; a coarse grid of the
    last scale keeps where (pooling alone lost recoloured designs, flattening alone lost classes).
    """

    def __init__(self, features: ConvFeatures | TimmFeatures, outputs: int):
        super().__init__()
        self.features = features
        last = features.channels[-1]
        self.layout = nn.Conv2d(last, 32, 1)
        pooled = 2 * sum(features.channels) + 32 * GRID * GRID
        self.head = nn.Sequential(nn.BatchNorm1d(pooled), nn.Linear(pooled, 512), nn.SiLU(), nn.Linear(512, outputs))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.features(x)
        pooled = [statistic for m in maps for statistic in _mean_and_std(m)]
        layout = F.adaptive_avg_pool2d(self.layout(maps[-1]), GRID).flatten(1)
        return self.head(torch.cat([*pooled, layout.float()], dim=1))  # (B, outputs)


class CodeEncoder(nn.Module):
    """Images (B, 3, S, S) -> a map (B, outputs, side, side) to be quantised."""

    def __init__(self, features: ConvFeatures | TimmFeatures, outputs: int, side: int):
        super().__init__()
        self.features, self.side = features, side
        self.body = nn.Sequential(
            _conv(sum(features.channels), 256, kernel=1), Residual(256), nn.Conv2d(256, outputs, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        maps = self.features(x)
        return self.body(torch.cat([_resized(m, self.side) for m in maps], 1))


class ColourEncoder(nn.Module):
    """A set of pixels -> the raw numbers of the colour half's posterior, (B, outputs): blind to structure.

    1x1 convolutions on a 32x32 reduction, then mean and standard deviation over the pixels, so any shuffling of the
    reduced pixels gives the same answer.
    """

    def __init__(self, outputs: int, channels: int = 64):
        super().__init__()
        self.pixels = nn.Sequential(
            *(nn.Conv2d(3, channels, 1), nn.SiLU()),
            *(nn.Conv2d(channels, channels, 1), nn.SiLU()),
            nn.Conv2d(channels, channels, 1),
        )
        self.head = nn.Sequential(
            nn.BatchNorm1d(2 * channels), nn.Linear(2 * channels, 256), nn.SiLU(), nn.Linear(256, outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(x, 32)  # (B, 3, 32, 32)
        return self.head(torch.cat(_mean_and_std(self.pixels(4 * x - 2)), dim=1))


class MlpEncoder(nn.Module):
    """Images (B, C, S, S), less their mean -> (B, outputs), by two hidden layers (as in Burda et al. 2016)."""

    def __init__(self, picture: tuple[int, int, int], width: int, outputs: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(picture))
        self.body = nn.Sequential(nn.Flatten(), *_hidden(self.mean.numel(), width), nn.Linear(width, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x - self.mean)


class Detail(nn.Module):
    """What the lower latents of a ladder are inferred from: maps at a quarter of the side and coarser, finest last.

    An encoder of its own, so that drawing sharply does not change what search sees.
    """

    def __init__(self, width: int, maps: int):
        super().__init__()
        channels = [2 * width, *[4 * width] * (maps - 1)]
        steps = zip([3, *channels], channels, strict=False)
        self.stages = nn.ModuleList(
            _conv(i, o, kernel=7, stride=4) if i == 3 else _conv(i, o, stride=2) for i, o in steps
        )
        self.channels = channels[::-1]

    def forward(self, x: Tensor) -> list[Tensor]:
        x, maps = 4 * x - 2, []
        for stage in self.stages:
            x = stage(x)
            maps.insert(0, x)
        return maps


class MlpDetail(nn.Module):
    """The same for the fully connected networks: one row of features (B, width), for every level."""

    def __init__(self, picture: tuple[int, int, int], width: int, levels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(picture))
        self.body = nn.Sequential(nn.Flatten(), *_hidden(self.mean.numel(), width))
        self.channels = [width] * levels

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.body(x - self.mean)] * len(self.channels)


class Lower(NamedTuple):
    """One lower latent of a ladder, as drawn: q(z|above, x), p(z|above) and z."""

    posterior: Normal
    prior: Normal
    draw: Draw

    def kl(self) -> Tensor:
        """(B, 1) nats, in closed form."""
        return kl_divergence(self.posterior, self.prior).flatten(1).sum(1, keepdim=True)

    def log_ratio(self) -> Tensor:
        """log q - log p of what was drawn, (B, 1) nats: its mean is the KL."""
        return (self.draw.log_q - self.prior.log_prob(self.draw.z)).flatten(1).sum(1, keepdim=True)


class Level(nn.Module):
    """A lower latent: its prior given all above, its posterior as a change of that prior, its way into the drawing.

    The residual parameterisation of Vahdat & Kautz 2020 (arXiv:2007.03898): where the picture has nothing to add, the
    posterior is the prior, and costs nothing.
    """

    def __init__(self, layer: type[nn.Module], stream: int, detail: int, dim: int):
        super().__init__()
        size = () if layer is nn.Linear else (1,)  # or 1x1 convolutions
        self.prior = layer(stream, 2 * dim, *size)
        self.change = layer(stream + detail, 2 * dim, *size)
        self.into = layer(dim, stream, *size)
        nn.init.normal_(self.prior.weight, std=0.02)  # near the standard normal at first
        nn.init.zeros_(self.prior.bias)

    def forward(self, stream: Tensor, detail: Tensor | None, noise: Tensor | None) -> tuple[Tensor, Lower]:
        """The stream with this level in it, and the level; drawn from its prior where there is no `detail`."""
        mu, log_sigma = self.prior(stream).float().chunk(2, 1)
        prior = posterior = Normal(mu, log_sigma.clamp(-5, 2).exp())
        if detail is not None:
            shift, scale = self.change(torch.cat([stream, detail], 1)).float().chunk(2, 1)
            posterior = Normal(mu + prior.sigma * shift, prior.sigma * scale.clamp(-4, 2).exp())
        draw = posterior.draw(noise)
        return stream + self.into(draw.z.to(stream.dtype)), Lower(posterior, prior, draw)


@dataclass(frozen=True)
class Drawn:
    """What a decoder gives: a picture, as its mean in (0, 1) or the logits of that, each (B, C, S, S); raw maps (B,
    extra, S, S) for whatever else the likelihood needs; and the lower latents of a ladder, coarsest first."""

    palette_mean: Tensor | None
    raw: Tensor | None
    extra: Tensor
    lower: list[Lower]

    @property
    def mean(self) -> Tensor:
        return self.raw.sigmoid() if self.palette_mean is None else self.palette_mean

    @property
    def logits(self) -> Tensor:
        return torch.logit(self.palette_mean, eps=1e-4) if self.raw is None else self.raw


class Decoder(nn.Module):
    """z (B, motif_dim + colour_dim) -> a picture.

    The motif half draws, for each pixel, how much of each palette entry it takes; the colour half fills the palette. So
    exchanging the colour halves of two pictures exchanges their palettes, and the drawing stays. The lower latents of a
    ladder are part of the drawing. Without a colour half the channels themselves are drawn.
    """

    def __init__(self, cfg: config.Model, motif: int, extra: int, detail: Sequence[int]):
        """`motif` numbers draw, or of codes as many channels at an eighth of the side; `detail`: channels a level."""
        super().__init__()
        codes = cfg.posterior == "vq"
        self.side, self.channels, self.extra = cfg.image_size // 32, cfg.channels, extra
        self.palette = cfg.palette if cfg.colour_dim else 0
        width = cfg.width
        channels = [8 * width, 8 * width, 4 * width, 2 * width]
        self.skipped = 2 if codes else 0  # a map of codes begins at the third of these sizes
        self.first = _conv(motif, channels[2]) if codes else nn.Linear(motif, channels[0] * self.side**2)
        steps = itertools.pairwise(channels[self.skipped :])
        self.up = nn.ModuleList(_conv(i, o) for i, o in steps)
        streams = channels[len(channels) - len(detail) :]
        self.levels = nn.ModuleList(Level(nn.Conv2d, s, d, cfg.level_dim) for s, d in zip(streams, detail, strict=True))
        # What the finest lower latent adds is worked into the drawing; after the others come further layers anyway.
        self.refine = Residual(2 * width) if detail else nn.Identity()
        self.last = nn.Conv2d(2 * width, 16 * ((self.palette or self.channels) + extra), 3, padding=1)
        if self.palette:
            self.colours = nn.Sequential(nn.Linear(cfg.colour_dim, 256), nn.SiLU(), nn.Linear(256, 3 * self.palette))

    def forward(self, motif: Tensor, colour: Tensor, detail: Sequence[Tensor], noise: Sequence[Tensor]) -> Drawn:
        x = self.first(motif)
        x = x.view(len(motif), -1, self.side, self.side) if x.ndim == 2 else x
        plain = 1 + len(self.up) - len(self.levels)  # sizes that have no level
        lower: list[Lower] = []
        for place in range(1 + len(self.up)):
            if place:
                x = self.up[place - 1](F.interpolate(x, scale_factor=2.0))
            if place >= plain:
                number = place - plain
                x, level = self.levels[number](x, _of(detail, number), _of(noise, number))
                lower.append(level)
        x = F.pixel_shuffle(self.last(self.refine(x)), 4)  # (B, palette + extra, S, S)
        drawing, extra = x.split([self.palette or self.channels, self.extra], dim=1)
        if not self.palette:
            return Drawn(None, drawing.float(), extra.float(), lower)
        colours = self.colours(colour).view(len(x), self.palette, 3).sigmoid()  # (B, P, 3)
        mean = torch.einsum("bphw,bpc->bchw", drawing.softmax(1), colours.to(drawing.dtype)).float()
        return Drawn(mean, None, extra.float(), lower)

    def shapes(self, level_dim: int) -> list[tuple[int, ...]]:
        """Of the lower latents of one picture, coarsest first."""
        sides = [self.side * 2 ** (place + self.skipped) for place in range(1 + len(self.up))]
        return [(level_dim, side, side) for side in sides[len(sides) - len(self.levels) :]]


class MlpDecoder(nn.Module):
    """The same by hidden layers of `width`; those above a lower latent are half as wide (as in Burda et al. 2016)."""

    def __init__(self, cfg: config.Model, motif: int, extra: int, detail: Sequence[int]):
        super().__init__()
        self.shape, self.extra = (cfg.channels, cfg.image_size, cfg.image_size), extra
        inputs, half = motif + cfg.colour_dim, cfg.width // 2
        sizes = [inputs, *[half] * len(detail), cfg.width]
        steps = itertools.pairwise(sizes)
        self.stages = nn.ModuleList(nn.Sequential(*_hidden(i, o)) for i, o in steps)
        self.levels = nn.ModuleList(Level(nn.Linear, half, width, cfg.level_dim) for width in detail)
        self.last = nn.Linear(cfg.width, (cfg.channels + extra) * cfg.image_size**2)

    def forward(self, motif: Tensor, colour: Tensor, detail: Sequence[Tensor], noise: Sequence[Tensor]) -> Drawn:
        x, lower = torch.cat([motif, colour], 1), []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number < len(self.levels):
                x, level = self.levels[number](x, _of(detail, number), _of(noise, number))
                lower.append(level)
        channels, height, width = self.shape
        x = self.last(x).view(len(x), -1, height, width).float()
        logits, extra = x.split([channels, self.extra], dim=1)
        return Drawn(None, logits, extra, lower)

    def shapes(self, level_dim: int) -> list[tuple[int, ...]]:
        return [(level_dim,)] * len(self.levels)


def motif_features(cfg: config.Model) -> ConvFeatures | TimmFeatures:
    """The feature maps behind the motif encoder, by the config's name for them."""
    if cfg.encoder == "conv":
        # Where no colour half tells the decoder the colours, or codes draw all, the motif has to.
        return ConvFeatures(cfg.width, colours=not cfg.colour_dim or cfg.posterior == "vq")
    return TimmFeatures(cfg.encoder.removeprefix("timm:"), cfg.pretrained, cfg.image_size)


def _hidden(inputs: int, width: int) -> list[nn.Module]:
    layers = [nn.Linear(inputs, width), nn.Linear(width, width)]
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return [layers[0], nn.SiLU(), layers[1], nn.SiLU()]


def _resized(maps: Tensor, side: int) -> Tensor:
    return F.adaptive_avg_pool2d(maps, side) if maps.shape[-1] > side else F.interpolate(maps, size=(side, side))


def _around(values: Tensor) -> Tensor:
    """The mean over about a sixth of the side of 128 pixels around each place, (B, 1, H, W)."""
    coarse = F.avg_pool2d(F.avg_pool2d(values, 8), 3, 1, 1, count_include_pad=False)
    return F.interpolate(coarse, size=values.shape[-2:], mode="bilinear", align_corners=False)


def _of(parts: Sequence[Tensor], number: int) -> Tensor | None:
    return parts[number] if parts else None


def _mean_and_std(maps: Tensor) -> list[Tensor]:
    """Mean and standard deviation over space, two of (B, C) in float32.

    By matrix products with a row of 1/HW: on a CPU three times as fast as a reduction over channels-last maps.
    """
    pixels = maps.permute(0, 2, 3, 1).flatten(1, 2)  # (B, HW, C)
    share = pixels.new_full((1, 1, pixels.shape[1]), 1 / pixels.shape[1]).expand(len(pixels), -1, -1)
    mean = torch.bmm(share, pixels)  # (B, 1, C)
    # Centred first: in half precision the difference of two large means would lose the variance.
    variance = torch.bmm(share, (pixels - mean).square())
    return [mean.squeeze(1).float(), (variance.squeeze(1).float() + 1e-5).sqrt()]


def _timm_model(name: str, pretrained: bool | str, size: int) -> nn.Module:
    """A timm model that gives feature maps of pictures of this size; tried once, so that it fails here or never."""
    options: dict = {"pretrained": bool(pretrained), "features_only": True}
    if isinstance(pretrained, str):
        if not Path(pretrained).is_file():
            raise SareeError(f"model.pretrained: no such weights file: {pretrained}")
        options["pretrained_cfg_overlay"] = {"file": pretrained}
    net = _created(name, options)
    if not _takes(net, size):
        net = _created(name, options | {"img_size": size})  # transformers want to be told
    if not _takes(net, size):
        raise SareeError(f"timm:{name} does not take pictures of {size} x {size}; choose another model.image_size")
    return net


def _created(name: str, options: dict) -> nn.Module:
    import timm

    said = logging.getLogger("timm")
    level = said.level
    said.setLevel(logging.ERROR)  # it warns of the weights of the classifier, which nobody asked for
    try:
        return timm.create_model(name, **options)
    except RuntimeError as error:
        if "Unknown model" not in str(error):
            raise SareeError(f"timm:{name}: {str(error).splitlines()[0]}") from None
        near = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:5])
        raise SareeError(f"timm:{name} is not a timm model" + (f"; near names: {near}" if near else "")) from None
    except TypeError:
        raise SareeError(f"timm:{name} does not take pictures of {options.get('img_size', 'this size')}") from None
    except (OSError, AttributeError, KeyError) as error:
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise SareeError(
            f"timm:{name}: pretrained weights could not be loaded{offline}; give model.pretrained the path of a "
            f"weights file, or false to start from random weights ({type(error).__name__})"
        ) from None
    finally:
        said.setLevel(level)


@torch.no_grad()
def _takes(net: nn.Module, size: int) -> bool:
    try:
        net.eval()(torch.zeros(1, 3, size, size))
    except (AssertionError, RuntimeError, ValueError):
        return False
    net.train()
    return True
