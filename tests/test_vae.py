from __future__ import annotations

import pytest
import torch

from saree_vae import config
from saree_vae.distributions import Normal
from saree_vae.errors import SareeError
from saree_vae.networks import ColourEncoder
from saree_vae.vae import PIXEL_SIGMA_FLOOR, VAE

TINY = {"image_size": 64, "width": 8, "motif_dim": 6, "colour_dim": 4}


def model(**changes) -> VAE:
    torch.manual_seed(0)
    return VAE(config.Model(**(TINY | changes))).eval()


def pictures(count: int = 4, size: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def training_views(count: int = 4) -> dict[str, torch.Tensor]:
    return {name: pictures(count) for name in ("clean", "phone_photo", "recoloured", "shuffled")}


@pytest.mark.parametrize("size", config.IMAGE_SIZES)
def test_every_image_size_goes_in_and_comes_out(size):
    vae = model(image_size=size)
    with torch.no_grad():
        posterior = vae.encode(pictures(2, size))
        image = vae.decode(posterior.mu)
    assert posterior.mu.shape == posterior.sigma.shape == (2, 10)
    assert (posterior.sigma > 0).all()
    assert image.shape == (2, 3, size, size)
    assert image.min() >= 0
    assert image.max() <= 1


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_pixel", "laplace", "bernoulli"])
@pytest.mark.parametrize("sigma", ["analytic", "learned"])
def test_every_likelihood_learns(likelihood, sigma):
    vae = model(likelihood=likelihood, sigma=sigma).train()
    views, optimizer = training_views(), torch.optim.Adam(vae.parameters(), lr=3e-3)
    first = last = None
    for _ in range(25):
        out = vae(views, torch.Generator().manual_seed(0))
        last = out.elbo.loss() - out.swap.mean()
        first = first if first is not None else last.item()
        optimizer.zero_grad()
        last.backward()
        optimizer.step()
    assert last.item() < first - 100  # nats


def test_a_pixel_sigma_never_falls_below_its_floor():
    vae = model(likelihood="gaussian_pixel")
    with torch.no_grad():
        vae.decoder.last.bias.fill_(-100)
        likelihood = vae.likelihood(torch.zeros(1, 10))
    assert isinstance(likelihood, Normal)
    assert likelihood.sigma.shape == (1, 3, 64, 64)
    assert likelihood.sigma.min() >= PIXEL_SIGMA_FLOOR


def test_the_analytic_sigma_is_the_one_that_fits_the_batch_best():
    vae = model().train()
    x = pictures()
    likelihood = vae.likelihood(torch.zeros(4, 10), x)
    best = likelihood.log_prob(x).mean()
    for factor in (0.9, 1.1):
        assert Normal(likelihood.mu, likelihood.sigma * factor).log_prob(x).mean() < best


def test_the_colour_encoder_cannot_see_structure():
    encoder = ColourEncoder(4).eval()
    x = pictures(2, 32)  # at 32 pixels nothing is averaged away before the set of pixels
    shuffled = x.flatten(2)[:, :, torch.randperm(32 * 32, generator=torch.Generator().manual_seed(0))].view_as(x)
    recoloured = x.flip(1)
    with torch.no_grad():
        moved, turned = ((encoder(x) - encoder(other)).abs().max() for other in (shuffled, recoloured))
    assert moved < 1e-5
    assert turned > 1e-4


def test_the_drawing_comes_from_motif_and_the_palette_from_colour():
    vae = model(palette=2)
    z = torch.randn(2, 10, generator=torch.Generator().manual_seed(3))
    swapped = torch.cat([z[:, :6], z.flip(0)[:, 6:]], 1)
    with torch.no_grad():
        own, other = vae.decode(z), vae.decode(swapped)
        palettes = [vae.decoder.colours(latents[:, 6:]).view(2, 2, 3).sigmoid() for latents in (z, swapped)]
    assert not torch.allclose(own, other)
    # Of two palette entries a pixel takes one share: where each lies between them is the drawing, and it stays.
    shares = [
        ((image - p[:, 1, :, None, None]) / (p[:, 0] - p[:, 1])[:, :, None, None])
        for image, p in zip((own, other), palettes, strict=True)
    ]
    torch.testing.assert_close(shares[0], shares[1], rtol=1e-2, atol=1e-2)


def test_swap_asks_for_the_clean_picture_from_the_recoloured_motif_and_the_shuffled_colour():
    vae = model()
    with torch.no_grad():
        vae(views := training_views())
        moved = views | {"recoloured": 1 - views["recoloured"]}
        before, after = (vae(v, torch.Generator().manual_seed(0)) for v in (views, moved))
    torch.testing.assert_close(before.elbo.recon, after.elbo.recon)
    assert (before.swap != after.swap).any()


@pytest.mark.parametrize(
    "name",
    ["timm:mobilenetv3_small_100", "timm:resnet18", "timm:vit_tiny_patch16_224", "timm:swin_tiny_patch4_window7_224"],
)
def test_a_timm_model_serves_as_motif_encoder(name):
    vae = model(encoder=name)
    with torch.no_grad():
        assert vae.encode(pictures(2)).mu.shape == (2, 10)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"encoder": "timm:mobilnetv3"}, "not a timm model"),
        ({"encoder": "timm:resnet18", "pretrained": "/nowhere/weights.safetensors"}, "no such weights file"),
        ({"encoder": "timm:resnet18", "pretrained": True}, "could not be loaded"),
    ],
)
def test_a_backbone_that_cannot_be_had_is_told_in_one_sentence(changes, told):
    with pytest.raises(SareeError, match=told) as error:
        model(**changes)
    assert "\n" not in str(error.value)


def test_local_weights_are_loaded_into_a_timm_encoder(tmp_path):
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(5)
    weights = timm.create_model("resnet18").state_dict()
    save_file(weights, tmp_path / "resnet18.safetensors")
    vae = model(encoder="timm:resnet18", pretrained=str(tmp_path / "resnet18.safetensors"))
    torch.testing.assert_close(vae.motif_encoder.features.net.conv1.weight.data, weights["conv1.weight"])
