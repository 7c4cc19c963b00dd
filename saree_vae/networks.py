"""The networks: a motif encoder that sees structure, a colour encoder that cannot, a decoder that mixes a palette."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import config
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


class ConvFeatures(nn.Module):
    """(B, 3, H, W) -> maps at strides 4, 8 and 16 with 2, 4 and 8 times `width` channels."""

    def __init__(self, width: int):
        super().__init__()
        self.channels = [2 * width, 4 * width, 8 * width]
        first, second, third = self.channels
        # Straight to stride 4: on a CPU the maps at stride 2 cost more time than all that follows.
        self.stages = nn.ModuleList(
            [
                _conv(3, first, kernel=7, stride=4),
                nn.Sequential(_conv(first, second, stride=2), Residual(second)),
                nn.Sequential(_conv(second, third, stride=2), Residual(third)),
            ]
        )
        self.mean, self.std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class TimmFeatures(nn.Module):
    """The last three feature maps of any timm model that offers them."""

    def __init__(self, name: str, pretrained: bool | str, size: int):
        super().__init__()
        self.net = _timm_model(name, pretrained, size)
        self.channels = self.net.feature_info.channels()[-3:]
        self.mean, self.std = self.net.pretrained_cfg["mean"], self.net.pretrained_cfg["std"]

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.net(x)[-3:]
        # Some models (Swin) give (B, H, W, C).
        return [m if m.shape[1] == c else m.permute(0, 3, 1, 2) for m, c in zip(maps, self.channels, strict=True)]


class MotifEncoder(nn.Module):
    """Images (B, 3, H, W) in [0, 1] -> mu and raw log-variance of the motif half, (B, 2 * dim).

    Mean and standard deviation of three scales say what the cloth is made of, wherever it lies; a coarse grid of the
    last scale keeps where (pooling alone lost recoloured designs, flattening alone lost classes).
    """

    def __init__(self, features: ConvFeatures | TimmFeatures, dim: int):
        super().__init__()
        self.features = features
        last = features.channels[-1]
        self.register_buffer("mean", torch.tensor(features.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(features.std).view(1, 3, 1, 1))
        self.layout = nn.Conv2d(last, 32, 1)
        pooled = 2 * sum(features.channels) + 32 * GRID * GRID
        self.head = nn.Sequential(nn.BatchNorm1d(pooled), nn.Linear(pooled, 512), nn.SiLU(), nn.Linear(512, 2 * dim))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.features((x - self.mean) / self.std)
        pooled = [statistic for m in maps for statistic in _mean_and_std(m)]
        layout = F.adaptive_avg_pool2d(self.layout(maps[-1]), GRID).flatten(1)
        return self.head(torch.cat([*pooled, layout.float()], dim=1))  # (B, 2 * dim)


class ColourEncoder(nn.Module):
    """A set of pixels -> mu and raw log-variance of the colour half, (B, 2 * dim): blind to structure by construction.

    1x1 convolutions on a 32x32 reduction, then mean and standard deviation over the pixels, so any shuffling of the
    reduced pixels gives the same answer.
    """

    def __init__(self, dim: int, channels: int = 64):
        super().__init__()
        self.pixels = nn.Sequential(
            *(nn.Conv2d(3, channels, 1), nn.SiLU()),
            *(nn.Conv2d(channels, channels, 1), nn.SiLU()),
            nn.Conv2d(channels, channels, 1),
        )
        self.head = nn.Sequential(
            nn.BatchNorm1d(2 * channels), nn.Linear(2 * channels, 256), nn.SiLU(), nn.Linear(256, 2 * dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(x, 32)  # (B, 3, 32, 32)
        return self.head(torch.cat(_mean_and_std(self.pixels(4 * x - 2)), dim=1))


class Decoder(nn.Module):
    """z (B, motif_dim + colour_dim) -> mean image (B, 3, S, S) in (0, 1) and, if asked, raw scales of that shape.

    The motif half draws, for each pixel, how much of each palette entry it takes; the colour half fills the palette. So
    exchanging the colour halves of two pictures exchanges their palettes, and the drawing stays.
    """

    def __init__(self, size: int, width: int, motif_dim: int, colour_dim: int, palette: int, scales: bool):
        super().__init__()
        self.side, self.palette, self.motif_dim = size // 32, palette, motif_dim
        channels = [8 * width, 8 * width, 4 * width, 2 * width]
        self.first = nn.Linear(motif_dim, channels[0] * self.side**2)
        self.up = nn.ModuleList(_conv(i, o) for i, o in itertools.pairwise(channels))
        self.last = nn.Conv2d(2 * width, 16 * (palette + 3 * scales), 3, padding=1)
        self.colours = nn.Sequential(nn.Linear(colour_dim, 256), nn.SiLU(), nn.Linear(256, 3 * palette))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        motif, colour = z[:, : self.motif_dim], z[:, self.motif_dim :]
        x = self.first(motif).view(len(z), -1, self.side, self.side)
        for up in self.up:
            x = up(F.interpolate(x, scale_factor=2.0))
        x = F.pixel_shuffle(self.last(x), 4)  # (B, palette [+ 3], S, S)
        mix = x[:, : self.palette].softmax(1)  # (B, P, S, S)
        colours = self.colours(colour).view(len(z), self.palette, 3).sigmoid()  # (B, P, 3)
        mean = torch.einsum("bphw,bpc->bchw", mix, colours.to(mix.dtype)).float()
        return mean, x[:, self.palette :].float() if x.shape[1] > self.palette else None


def motif_features(cfg: config.Model) -> ConvFeatures | TimmFeatures:
    """The feature maps behind the motif encoder, by the config's name for them."""
    if cfg.encoder == "conv":
        return ConvFeatures(cfg.width)
    return TimmFeatures(cfg.encoder.removeprefix("timm:"), cfg.pretrained, cfg.image_size)


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


@torch.no_grad()
def _takes(net: nn.Module, size: int) -> bool:
    try:
        net.eval()(torch.zeros(1, 3, size, size))
    except (AssertionError, RuntimeError, ValueError):
        return False
    net.train()
    return True
