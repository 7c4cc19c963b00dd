from __future__ import annotations

import math

import pytest
import torch

from saree_vae import config
from saree_vae.distributions import Normal
from saree_vae.errors import SareeError
from saree_vae.networks import ColourEncoder, Edges
from saree_vae.vae import PIXEL_SIGMA_FLOOR, VAE

TINY = {"image_size": 64, "width": 8, "motif_dim": 6, "colour_dim": 4}
MLP = {"encoder": "mlp", "image_size": 8, "channels": 1, "colour_dim": 0, "likelihood": "bernoulli"}


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


@pytest.mark.parametrize("encoder", ["conv", "mlp"])
def test_fitted_to_its_prior_it_draws_and_searches_the_same_for_less(encoder):
    vae, x = model(encoder=encoder), pictures(20)
    with torch.no_grad():
        for layer in (vae.motif_encoder, vae.colour_encoder):  # means grown long
            list(layer.modules())[-1].weight.mul_(100)
        before, noise = vae.sampled(vae.look(x)), vae.noise(20, torch.Generator().manual_seed(0))
        long, drawn = vae.encode(x), vae.sampled(vae.look(x), noise)
        vae.fit_to_prior(x)
        after, fitted, same = vae.sampled(vae.look(x)), vae.encode(x), vae.sampled(vae.look(x), noise)
    for half in (slice(0, 6), slice(6, 10)):
        assert (fitted.mu[:, half].square() + fitted.sigma[:, half].square()).mean() == pytest.approx(1, rel=1e-4)
        ratio = long.mu[:, half] / fitted.mu[:, half]
        torch.testing.assert_close(ratio, ratio[:1, :1].expand_as(ratio), rtol=1e-3, atol=0)  # so cosines are the same
    torch.testing.assert_close(after.likelihood.mean, before.likelihood.mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(same.likelihood.mean, drawn.likelihood.mean, atol=1e-5, rtol=0)
    assert all(after.kl[name].sum(1).mean() < 0.8 * kl.sum(1).mean() for name, kl in before.kl.items())
    spread = vae.spread.clone()
    vae.fit_to_prior(x)
    torch.testing.assert_close(vae.spread, spread)  # it is fitted already


@pytest.mark.parametrize("other", [{"prior": "mixture"}, {"posterior": "iaf"}, {"posterior": "vq"}])
def test_what_has_no_such_fit_is_left_as_it_is(other):
    vae = model(**other)
    with torch.no_grad():
        vae.fit_to_prior(pictures())
    assert vae.spread.tolist() == [1, 1]


def test_weights_from_before_there_was_a_spread_are_taken():
    vae, older = model(), model().state_dict()
    del older["spread"]
    vae.load_state_dict(older)
    assert vae.spread.tolist() == [1, 1]


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_pixel", "laplace", "bernoulli", "discretised_logistic"])
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
        likelihood = vae.sampled(vae.look(pictures(1))).likelihood
    assert isinstance(likelihood, Normal)
    assert likelihood.sigma.shape == (1, 3, 64, 64)
    assert likelihood.sigma.min() >= PIXEL_SIGMA_FLOOR


def test_the_analytic_sigma_is_the_one_that_fits_the_batch_best():
    vae = model().train()
    x = pictures()
    likelihood = vae.sampled(vae.look(x), vae.noise(4), x).likelihood
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


def test_edges_are_the_same_in_other_colours_and_all_but_one_channel_in_the_negative():
    edges, x = Edges(), pictures(4, 64)
    assert edges(x).shape == (4, 4, 64, 64)
    torch.testing.assert_close(edges(x[:, [2, 0, 1]]), edges(x))
    light, *drawn = edges(x).unbind(1)
    negative, *same = edges(1 - x).unbind(1)
    torch.testing.assert_close(negative, -light, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(torch.stack(same), torch.stack(drawn))


def test_edges_are_as_strong_in_the_shadow_and_tell_their_angle():
    edges = Edges()
    stripes = (torch.arange(64) // 4 % 2).float().expand(1, 3, 64, 64) * 0.6 + 0.2  # change from left to right
    assert (edges(0.5 * stripes) - edges(stripes)).abs().mean() < 0.03
    strength, upright, slanted = edges(stripes)[0, 1:]
    assert strength.amax() > 1 and (upright - strength).abs().max() < 1e-3 and slanted.abs().max() < 1e-4
    torch.testing.assert_close(edges(stripes.mT)[0, 2], -upright.mT)
    plain = 0.4 + 0.002 * (pictures(1) - 0.5)
    assert edges(plain)[0, 1].mean() < 0.4 * strength.mean(), "noise on a plain ground is no drawing"


def test_the_motif_half_is_blind_to_which_colour_is_which_unless_it_alone_has_to_tell_them():
    x = pictures(4, 64)
    other = x[:, [2, 0, 1]]
    for colour_dim, blind in ((4, True), (0, False)):
        vae = model(colour_dim=colour_dim)
        with torch.no_grad():
            one, two = (vae.encode(each).mu[:, : vae.cfg.motif_dim] for each in (x, other))
        assert ((one - two).abs().max() < 1e-4) == blind


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


# --- lower latents ---


@pytest.mark.parametrize("levels", [2, 3, 4, 5])
def test_lower_latents_are_maps_up_to_a_quarter_of_the_side(levels):
    vae = model(levels=levels, level_dim=3)
    noise = vae.noise(2)
    sides = [2, 4, 8, 16][5 - levels :]
    assert [tuple(noise[f"level_{i + 2}"].shape) for i in range(levels - 1)] == [(2, 3, s, s) for s in sides]
    with torch.no_grad():
        drawn = vae.sampled(vae.look(pictures(2)), noise)
    assert set(drawn.kl) == set(drawn.ratio) == set(drawn.draws) == set(noise)
    assert all(drawn.kl[name].shape == (2, 1) for name in noise if name.startswith("level"))


@pytest.mark.parametrize("network", [{}, MLP])
def test_the_kl_of_a_ladder_is_the_mean_of_its_log_ratio(network):
    vae, count = model(levels=3, level_dim=2, **network), 4000 if network else 400
    with torch.no_grad():
        for level in vae.decoder.levels:  # posteriors that are clearly another thing than their priors
            level.change.bias.copy_(torch.tensor([0.5, -1.0, -0.7, 0.4]))
        seen = vae.look(torch.rand(1, vae.cfg.channels, vae.cfg.image_size, vae.cfg.image_size)).repeat(count)
        drawn = vae.sampled(seen, vae.noise(count, torch.Generator().manual_seed(0)))
    for name, kl in drawn.kl.items():
        gap = (drawn.ratio[name] - kl).sum(1)
        assert gap.mean().abs() < 4.5 * gap.std() / math.sqrt(count), name
        if name.startswith("level"):
            assert kl.mean() > 10 * gap.std() / math.sqrt(count)  # these draws would show it if the two were not alike


@pytest.mark.parametrize("network", [{}, MLP])
def test_where_the_picture_changes_nothing_a_level_costs_nothing(network):
    vae = model(levels=3, **network)
    with torch.no_grad():
        for level in vae.decoder.levels:
            level.change.weight.zero_()
            level.change.bias.zero_()
        seen = vae.look(torch.rand(3, vae.cfg.channels, vae.cfg.image_size, vae.cfg.image_size))
        told, untold = (vae.sampled(s, noise) for noise in [vae.noise(3)] for s in (seen, seen._replace(detail=())))
    for name in ("level_2", "level_3"):
        torch.testing.assert_close(told.kl[name], torch.zeros(3, 1))
        torch.testing.assert_close(told.ratio[name], torch.zeros(3, 1))
        torch.testing.assert_close(told.draws[name].z, untold.draws[name].z)
    torch.testing.assert_close(told.likelihood.mean, untold.likelihood.mean)


def test_swap_pays_for_the_lower_latents_that_it_draws_with():
    vae = model(levels=2)
    with torch.no_grad():
        vae.decoder.levels[0].change.bias.fill_(1.0)
        out = vae(views := training_views(), torch.Generator().manual_seed(0))
        vae.decoder.levels[0].into.weight.zero_()  # nothing of it is drawn: only the price is left
        vae.decoder.levels[0].into.bias.zero_()
        dear = vae(views, torch.Generator().manual_seed(0))
        vae.decoder.levels[0].change.bias.zero_()
        vae.decoder.levels[0].change.weight.zero_()
        free = vae(views, torch.Generator().manual_seed(0))
    assert torch.isfinite(out.swap).all()
    assert (dear.swap < free.swap - 10).all()
    torch.testing.assert_close(dear.elbo.recon, free.elbo.recon)


# --- what is asked of a model beside training ---


@pytest.mark.parametrize("changes", [{}, {"levels": 3}, {"prior": "mixture"}, {"posterior": "iaf"}, {"colour_dim": 0}])
def test_draws_from_the_prior_follow_the_generator_and_differ_from_each_other(changes):
    vae = model(**changes)
    one, again = (vae.sample(3, torch.Generator().manual_seed(0)) for _ in range(2))
    torch.testing.assert_close(one, again)
    assert one.shape == (3, 3, 64, 64) and one.min() >= 0 and one.max() <= 1
    assert (one[0] - one[1]).abs().max() > 1e-4


@pytest.mark.parametrize(
    "changes", [{}, {"posterior": "full"}, {"posterior": "point"}, {"posterior": "vq"}, {"levels": 3}]
)
def test_a_reconstruction_is_the_same_every_time_and_takes_its_colours_from_elsewhere_if_asked(changes):
    vae, x = model(**changes), pictures(2)
    with torch.no_grad():
        own, again, other = vae.reconstruct(x), vae.reconstruct(x), vae.reconstruct(x, x.flip(0).square())
    torch.testing.assert_close(own, again)
    assert (own - other).abs().max() > 1e-5
    if changes in ({}, {"posterior": "full"}):
        torch.testing.assert_close(own, vae.decode(vae.encode(x).mu))


def test_codes_are_not_drawn_from_a_vector_or_a_prior():
    vae = model(posterior="vq")
    with pytest.raises(ValueError, match="map of codes"):
        vae.decode(torch.zeros(1, 10))
    for posterior in ("vq", "point"):
        with pytest.raises(ValueError, match="no prior"):
            model(posterior=posterior).sample(1)


def test_a_model_that_knows_no_cluster_of_a_picture_sees_it_as_unknown():
    vae, x = model(conditional=True, classes=("a", "b")), pictures(2)
    with torch.no_grad():
        none, one = torch.zeros(2).long(), torch.ones(2).long()
        untold, unknown, known = (vae.reconstruct(x, classes=told) for told in (None, none, one))
        drawn_as = vae.reconstruct(x, as_classes=one)
    torch.testing.assert_close(untold, unknown)
    for other in (known, drawn_as):
        assert (untold - other).abs().max() > 1e-5
    assert (known - drawn_as).abs().max() > 1e-6  # drawn as the other, but seen as unknown


@pytest.mark.parametrize("levels", [1, 3])
def test_fully_connected_networks_start_at_the_mean_picture(levels):
    vae, mean = model(levels=levels, **MLP), torch.rand(1, 8, 8)
    vae.centre(mean)
    with torch.no_grad():
        torch.testing.assert_close(vae.look(mean[None]).motif, vae.motif_encoder.body(torch.zeros(1, 1, 8, 8)))
        vae.decoder.last.weight.zero_()
        torch.testing.assert_close(vae.reconstruct(mean[None]), mean[None])


def test_binary_pictures_are_drawn_anew_at_every_look_and_others_stay():
    generator, x = torch.Generator().manual_seed(0), pictures(200, 8)
    seen = [model(**MLP | {"binary": True}).observed(x, generator) for _ in range(2)]
    assert set(seen[0].unique().tolist()) == {0, 1}
    assert not torch.equal(*seen)
    error = 4.5 * 0.5 / math.sqrt(2 * x.numel())
    assert (torch.stack(seen).mean() - x.mean()).abs() < error
    assert ((torch.stack(seen) - x) * x).mean().abs() < error
    assert model(**MLP).observed(x) is x


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
