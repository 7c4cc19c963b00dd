"""Priors p(z): what they are mixtures of, how they are drawn from, and that learning them disturbs nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from saree_vae import config
from saree_vae.distributions import Normal, NormalMixture
from saree_vae.priors import PRIORS, fit_mixture, sample
from saree_vae.vae import VAE

PICTURE = (3, 64, 64)
TINY = {"image_size": 64, "width": 8, "motif_dim": 6, "colour_dim": 4}


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def nobody(_: torch.Tensor) -> Normal:
    raise AssertionError("this prior has no pictures to encode")


def vamp(**changes) -> VAE:
    torch.manual_seed(0)
    return VAE(config.Model(**(TINY | {"prior": "vamp", "components": 3} | changes)))


def test_a_mixture_of_one_begins_as_the_standard_normal():
    one, standard = (PRIORS[name](5, 1, PICTURE)(nobody) for name in ("mixture", "normal"))
    z = numbers(20, 5)
    torch.testing.assert_close(one.log_prob(z), standard.log_prob(z).sum(1, keepdim=True))


@pytest.mark.parametrize("name", PRIORS)
def test_every_prior_can_be_drawn_from_and_weighs_its_draws(name):
    prior = PRIORS[name](5, 3, PICTURE)(lambda pictures: Normal(numbers(3, 5), numbers(3, 5, seed=1).exp()))
    z = sample(prior, 7, torch.Generator().manual_seed(0))
    assert z.shape == (7, 5)
    assert torch.equal(z, sample(prior, 7, torch.Generator().manual_seed(0)))
    assert torch.isfinite(prior.log_prob(z)).all()


def test_draws_from_the_standard_normal_have_its_mean_and_spread():
    z = sample(PRIORS["normal"](4, 1, PICTURE)(nobody), 50_000, torch.Generator().manual_seed(0))
    assert z.mean(0).abs().max() < 4.5 / math.sqrt(len(z))
    assert (z.var(0) - 1).abs().max() < 4.5 * math.sqrt(2 / len(z))


@pytest.mark.parametrize("half", ["motif", "colour"])
def test_the_vampprior_is_the_mean_of_the_posteriors_of_its_pictures(half):
    model = vamp().eval()
    with torch.no_grad():
        model.priors[half].raw.mul_(torch.tensor([1.0, -3, 5]).view(-1, 1, 1, 1))  # pictures far apart, and
        # posteriors, too; of noise, edges are hardly stronger or weaker.
        list(model.get_submodule(f"{half}_encoder").parameters())[-2].mul_(100 if half == "motif" else 10)
        pictures = model.priors[half].pictures
        assert pictures.shape == (3, *PICTURE) and pictures.min() > 0 and pictures.max() < 1
        q = model.posterior(model.look(pictures))[half]
        z = numbers(20, q.mu.shape[1])
        each = torch.stack([Normal(*row).log_prob(z).sum(1) for row in zip(*q, strict=True)])  # (K, B)
        assert each.std(0).mean() > 0.1
        expected = each.logsumexp(0) - math.log(3)
        torch.testing.assert_close(model.prior()[half].log_prob(z)[:, 0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("conditional", [False, True])
def test_learning_a_vampprior_leaves_the_running_statistics_of_normalisation_alone(conditional):
    model = vamp(conditional=conditional).train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    prior = model.prior()
    sum(-part.log_prob(numbers(4, part.mu.shape[1])).sum() for part in prior.values()).backward()
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert all(part.training for part in model.modules())
    for half in ("motif", "colour"):
        assert model.priors[half].raw.grad.abs().sum() > 0
    model.look(torch.rand(4, *PICTURE))  # as pictures do that are no part of a prior
    assert any(not torch.equal(value, before[name]) for name, value in model.named_buffers())


def test_a_mixture_fitted_afterwards_finds_two_clusters_far_apart():
    rng = np.random.default_rng(0)
    left = rng.random(900) < 1 / 3
    mu = np.where(left[:, None], [-5.0, 0], [5.0, 2]) + rng.normal(size=(900, 2)) * [0.3, 0.4]
    found = fit_mixture(mu, np.full_like(mu, 0.4), 2, seed=1)
    assert isinstance(found, NormalMixture)
    order = found.mu[:, 0].argsort()
    np.testing.assert_allclose(found.logits.exp()[order], [left.mean(), 1 - left.mean()], atol=0.01)
    np.testing.assert_allclose(found.mu[order], [[-5, 0], [5, 2]], atol=0.1)
    # What is fitted is the aggregate posterior: the spread of the means and of each posterior about its mean.
    np.testing.assert_allclose(found.sigma, np.sqrt([[0.3**2 + 0.4**2, 0.4**2 + 0.4**2]] * 2), atol=0.05)


def test_a_mixture_is_fitted_to_fewer_pictures_than_components():
    found = fit_mixture(np.random.default_rng(0).normal(size=(3, 2)), np.full((3, 2), 0.1), 10)
    assert len(found.mu) == 3 and torch.isfinite(found.sample(5)).all()
