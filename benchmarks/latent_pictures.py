"""Pictures of a latent space of two dimensions, learned on MNIST, as tutorials show them.

    PYTHONPATH=. python benchmarks/latent_pictures.py --data mnist --work mnist_work --out pictures

Trains configs/mnist.yaml with two latents (some minutes; used again if it is in --work) and draws into --out:

* latent_grid.png: what the decoder draws over the plane, at even quantiles of the prior;
* latent_scatter.png: where the posterior means of the test digits lie, coloured by digit;
* latent_density.png: the posteriors of all training digits taken together, q(z), beside the prior, as training goes on.

All of it is drawn by the model: no picture shows a digit of the data.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import mnist
import numpy as np
import study
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from saree_vae import checkpoint, config, sheets, train
from saree_vae.checkpoint import Run
from saree_vae.distributions import Normal
from saree_vae.encoding import decode, encode
from saree_vae.latents import Latents
from saree_vae.sheets import INK, MAT, PAPER, SOFT

TILES = 20  # a side of the grid
SIDE, PANEL, MARGIN = 1120, 400, 24  # pixels: of a picture, of one of three beside each other, around
SPAN, WIDE = 4.0, 6.0  # the plane is shown from -SPAN to SPAN; early in training, too, from -WIDE to WIDE
WARMUP = 0.25  # share of training over which beta rises to 1: so one sees what the KL does
SMOOTH = 3  # times larger everything is drawn first, for smooth edges
LETTER = 40  # pixels; legible where the picture is shown at a third of its size
DEEP = (28, 58, 100)
CIRCLES = "; circles: 1, 2, 3 sigma of the prior"
COLOURS = (
    *("#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f"),
    *("#d4b02c", "#b07aa1", "#f49aa5", "#9c755f", "#8f8a86"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    runs, out = learned(options), Path(options.out)
    last = runs[max(runs)]
    keep(grid(last), out / "latent_grid.png")
    pictures, labels = mnist.digits(options.data, "t10k")
    keep(scatter(encode(last, pictures).mu, labels), out / "latent_scatter.png")
    pictures = mnist.to_learn(options.data).train
    keep(densities({epoch: encode(run, pictures) for epoch, run in runs.items()}), out / "latent_density.png")
    study.say(f"{out}: latent_grid.png, latent_scatter.png, latent_density.png")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with the files of MNIST")
    parser.add_argument("--work", default="mnist_work", help="folder of what was trained, used again if it is there")
    parser.add_argument("--out", required=True, help="folder for the pictures")
    parser.add_argument("--epochs", type=int, default=40)
    return parser.parse_args(arguments)


def learned(options: argparse.Namespace) -> dict[int, Run]:
    """The model as it was early, a little later and at the end, by epoch."""
    changes = ["model.motif_dim=2", f"objective.kl_warmup={WARMUP}", f"train.epochs={options.epochs}"]
    settings = config.load("mnist", changes)
    folder = Path(options.work) / "two_latents"
    kept = {epoch: folder / f"epoch_{epoch}" for epoch in sorted({1, max(1, options.epochs // 8), options.epochs})}

    def watch(progress: train.Progress) -> None:
        if progress.row and progress.epoch in kept:
            mnist.say_epoch(folder, progress.row)
            checkpoint.save(kept[progress.epoch], settings, checkpoint.load(folder, "cpu").model.state_dict())

    train.train(settings, mnist.to_learn(options.data), folder, resume=True, watch=watch, tell=study.say)
    return {epoch: checkpoint.load(path) for epoch, path in kept.items()}


def keep(picture: Image.Image, path: Path) -> None:
    """Two thirds of the size and 64 colours: a quarter of the bytes, and it looks the same."""
    small = picture.resize((picture.width * 2 // 3, picture.height * 2 // 3), Image.Resampling.LANCZOS)
    sheets.save(small.convert("RGB").quantize(64), path)


def grid(run: Run) -> Image.Image:
    """What is drawn at even quantiles of the prior, first latent to the right, second upwards."""
    at = torch.special.ndtri((torch.arange(TILES) + 0.5) / TILES)
    z = torch.stack(torch.meshgrid(at.flip(0), at, indexing="ij")[::-1], -1).view(-1, 2)
    means = decode(run, z.numpy())[..., 0] / 255
    tiles = sheets.grid(_inked(means, INK), TILES, pad=0).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return _titled(tiles, "What the decoder draws over the latent plane", "at even quantiles of the prior")


def scatter(mu: np.ndarray, labels: np.ndarray) -> Image.Image:
    """Posterior means (N, 2), coloured by digit; the digit itself stands where many are and most its own."""
    plane = Image.new("RGB", (SMOOTH * SIDE, SMOOTH * SIDE), PAPER)
    draw, radius = ImageDraw.Draw(plane), SMOOTH * 2.8
    for place in np.random.default_rng(0).permutation(len(mu)):  # so that no digit lies above all others
        x, y = _at(mu[place], plane.width, SPAN)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=COLOURS[labels[place]])
    _circles(draw, plane.width, SPAN)
    font = ImageFont.load_default(SMOOTH * LETTER * 1.3)
    for digit, home in _homes(mu, labels).items():
        draw.text(_at(home, plane.width, SPAN), str(digit), INK, font, "mm", stroke_width=SMOOTH * 5, stroke_fill=PAPER)
    plane = plane.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return _titled(plane, "Where the encoder puts the test digits", "posterior means" + CIRCLES)


def _homes(mu: np.ndarray, labels: np.ndarray) -> dict[int, np.ndarray]:
    edges = np.linspace(-SPAN, SPAN, 81)
    counts = {d: gaussian_filter(np.histogram2d(*mu[labels == d].T, edges)[0], 3) for d in np.unique(labels)}
    everyone = sum(counts.values())
    cells = {d: np.unravel_index((own**3 / (everyone**2 + 1e-6)).argmax(), own.shape) for d, own in counts.items()}
    return {d: edges[list(cell)] + SPAN / 80 for d, cell in cells.items()}


def densities(found: dict[int, Latents]) -> Image.Image:
    """q(z) by epoch, each beside the circles of the prior."""
    row = Image.new("RGB", (len(found) * (PANEL + MARGIN) - MARGIN, PANEL + 3 * LETTER), PAPER)
    draw, font = ImageDraw.Draw(row), ImageFont.load_default(LETTER * 0.9)
    for number, (epoch, latents) in enumerate(found.items()):
        panel, away = _density(latents)
        left, beta = number * (PANEL + MARGIN), min(1, epoch / max(found) / WARMUP)
        row.paste(panel, (left, 0))
        draw.rectangle((left, 0, left + PANEL - 1, PANEL - 1), outline=MAT, width=2)
        middle = left + PANEL // 2
        draw.text((middle, PANEL + LETTER), f"epoch {epoch}, beta {beta:.1f}", INK, font, "mm")
        draw.text((middle, PANEL + 2 * LETTER), f"{away:.2f} nats away", SOFT, font, "mm")
    return _titled(row, "All posteriors together come to the prior", "density of q(z)" + CIRCLES)


def _density(latents: Latents) -> tuple[Image.Image, float]:
    """The mean of all posteriors over the plane, and its KL from the prior in nats, summed over twice that plane."""
    step = 2 * WIDE / PANEL
    axis = step * (torch.arange(2 * PANEL) + 0.5 - PANEL)
    mu, sigma = torch.from_numpy(latents.mu), torch.from_numpy(latents.sigma)
    across, up = (Normal(mu[:, d, None], sigma[:, d, None]).log_prob(axis).exp() for d in (0, 1))  # (N, 2 PANEL) each
    q = up.flip(1).T @ across / len(mu)
    standard = Normal(torch.zeros(()), torch.ones(())).log_prob(axis)
    log_p = standard[:, None] + standard
    away = float((torch.special.xlogy(q, q) - q * log_p).sum()) * step**2
    shown = slice(PANEL // 2, PANEL // 2 + PANEL)
    # The root shows what is faint, and however dense it is, some tone is left.
    shade = (1 - (-q[shown, shown] / log_p.exp().max()).exp()).sqrt()
    panel = Image.fromarray(_inked(shade.numpy(), DEEP))
    panel = panel.resize((SMOOTH * PANEL, SMOOTH * PANEL), Image.Resampling.BICUBIC)
    _circles(ImageDraw.Draw(panel), panel.width, WIDE)
    return panel.resize((PANEL, PANEL), Image.Resampling.LANCZOS), away


def _circles(draw: ImageDraw.ImageDraw, side: int, span: float) -> None:
    for radius in (1, 2, 3):
        left, top = _at((-radius, radius), side, span)
        draw.ellipse((left, top, side - left, side - top), outline=SOFT, width=SMOOTH * 2)


def _at(z: Sequence[float], side: int, span: float) -> tuple[float, float]:
    """Where z lies on a square of `side` pixels that shows the plane from -span to span."""
    return side / 2 * (1 + z[0] / span), side / 2 * (1 - z[1] / span)


def _inked(share: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """(...) in [0, 1] -> (..., 3) uint8, from paper to the colour."""
    return np.round(PAPER + share[..., None] * (np.array(colour) - PAPER)).astype(np.uint8)


def _titled(picture: Image.Image, title: str, below: str) -> Image.Image:
    """On paper, under two lines of words."""
    head = MARGIN + round(2.6 * LETTER)
    sheet = Image.new("RGB", (picture.width + 2 * MARGIN, picture.height + head + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), title, INK, ImageFont.load_default(LETTER))
    draw.text((MARGIN, MARGIN + 1.25 * LETTER), below, SOFT, ImageFont.load_default(0.8 * LETTER))
    sheet.paste(picture, (MARGIN, head))
    return sheet


if __name__ == "__main__":
    study.run(main)
