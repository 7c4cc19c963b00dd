"""Densities, draws and divergences, against torch.distributions or against sums done by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributions as truth

from saree_vae.distributions import (
    Bernoulli,
    DiscretisedLogistics,
    FullNormal,
    Laplace,
    Normal,
    NormalMixture,
    kl_divergence,
    standard_noise,
)
from saree_vae.objective import divergence, log_ratio

ERRORS = 4.5  # standard errors that a Monte Carlo mean may be away: one honest mean in 150,000 is further


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_mean(values: torch.Tensor, expected: torch.Tensor | float) -> None:
    """The mean over rows is what is expected, within its standard error."""
    assert ((values.mean(0) - expected).abs() <= ERRORS * values.std(0) / math.sqrt(len(values)) + 1e-12).all()


def full_normal(count: int = 5, dim: int = 3) -> FullNormal:
    below = numbers(count, dim, dim, seed=1).tril(-1)
    return FullNormal(numbers(count, dim), below + torch.diag_embed(numbers(count, dim, seed=2).exp()))


def mixture(components: int = 4, dim: int = 3) -> NormalMixture:
    mu, sigma = 2 * numbers(components, dim, seed=3), numbers(components, dim, seed=4).exp()
    return NormalMixture(numbers(components, seed=5), mu, sigma)


def torch_mixture(ours: NormalMixture) -> truth.MixtureSameFamily:
    parts = truth.Independent(truth.Normal(ours.mu, ours.sigma), 1)
    return truth.MixtureSameFamily(truth.Categorical(logits=ours.logits), parts)


def test_independent_normals_have_the_density_and_entropy_of_torchs():
    ours, x = Normal(numbers(5, 3), numbers(3, seed=1).exp()), numbers(5, 3, seed=2)
    theirs = truth.Normal(ours.mu, ours.sigma)
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x))
    torch.testing.assert_close(ours.entropy().expand(5, 3), theirs.entropy())


def test_a_full_normal_has_the_density_and_spread_of_torchs():
    ours, x = full_normal(), numbers(5, 3, seed=6)
    theirs = truth.MultivariateNormal(ours.mu, scale_tril=ours.tril)
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x)[:, None])
    torch.testing.assert_close(ours.sigma, theirs.variance.sqrt())


def test_draws_of_a_full_normal_have_its_mean_and_covariance():
    one = full_normal(count=1)
    many = FullNormal(one.mu.expand(200_000, -1), one.tril.expand(200_000, -1, -1))
    away = many.draw(numbers(200_000, 3, seed=7)).z - one.mu
    assert_mean(away, 0)
    assert_mean(away[:, :, None] * away[:, None], one.tril[0] @ one.tril[0].T)


@pytest.mark.parametrize("q", [Normal(numbers(5, 3), numbers(5, 3, seed=1).exp()), full_normal()])
def test_a_draw_tells_its_own_density_and_without_noise_is_the_mean(q):
    drawn = q.draw(numbers(5, 3, seed=8))
    torch.testing.assert_close(drawn.log_q, q.log_prob(drawn.z))
    assert not torch.equal(drawn.z, q.mu)
    torch.testing.assert_close(q.draw().z, q.mu)
    torch.testing.assert_close(q.draw().log_q, q.log_prob(q.mu))


@given(q=st.tuples(st.floats(-3, 3), st.floats(0.1, 3)), p=st.tuples(st.floats(-3, 3), st.floats(0.1, 3)))
def test_the_kl_of_two_normals_is_torchs(q, p):
    ours, theirs = ([kind(*(torch.tensor(v).double() for v in n)) for n in (q, p)] for kind in (Normal, truth.Normal))
    torch.testing.assert_close(kl_divergence(*ours), truth.kl_divergence(*theirs), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("posterior", ["full", "gaussian"])
@pytest.mark.parametrize("prior", ["normal", "mixture"])
def test_the_divergence_of_what_was_drawn_is_the_kl_in_the_mean(posterior, prior):
    count, p = 100_000, mixture() if prior == "mixture" else Normal(torch.zeros(3).double(), torch.ones(3).double())
    one = full_normal(count=1) if posterior == "full" else Normal(numbers(1, 3), numbers(1, 3, seed=1).exp())
    q = type(one)(*(part.expand(count, *part.shape[1:]) for part in one))
    found = divergence(q, p, q.draw(numbers(count, 3, seed=9)))
    assert found.shape == (count, 3 if (posterior, prior) == ("gaussian", "normal") else 1)
    tril = one.tril if posterior == "full" else torch.diag_embed(one.sigma)
    theirs = truth.MultivariateNormal(one.mu[0], scale_tril=tril[0])
    if prior == "normal":
        exact = truth.kl_divergence(theirs, truth.MultivariateNormal(p.mu, torch.eye(3).double()))
    else:  # no formula: a mean over draws of torch's own
        torch.manual_seed(0)
        z = theirs.sample((count,))
        exact = (theirs.log_prob(z) - torch_mixture(p).log_prob(z)).mean()
    error = found.sum(1).std() / math.sqrt(count)
    assert abs(found.sum(1).mean() - exact) <= 2 * ERRORS * error + 1e-9  # twice: there may be draws on either side


def test_a_log_ratio_keeps_dimensions_only_where_both_densities_do():
    q = Normal(numbers(5, 3), numbers(5, 3, seed=1).exp())
    drawn, standard = q.draw(numbers(5, 3, seed=2)), Normal(torch.zeros(3), torch.ones(3))
    by_dimension = log_ratio(standard, drawn)
    torch.testing.assert_close(by_dimension, q.log_prob(drawn.z) - standard.log_prob(drawn.z))
    alone = NormalMixture(torch.zeros(1).double(), torch.zeros(1, 3).double(), torch.ones(1, 3).double())
    torch.testing.assert_close(log_ratio(alone, drawn), by_dimension.sum(1, keepdim=True))


def test_a_mixture_has_the_density_of_torchs():
    ours, z = mixture(), 3 * numbers(50, 3, seed=10)
    torch.testing.assert_close(ours.log_prob(z), torch_mixture(ours).log_prob(z)[:, None])


def test_a_mixture_of_one_is_that_normal():
    one, z = mixture(components=1), numbers(50, 3, seed=11)
    expected = Normal(one.mu[0], one.sigma[0]).log_prob(z).sum(1, keepdim=True)
    torch.testing.assert_close(one.log_prob(z), expected)


@pytest.mark.parametrize("half", [False, True])
def test_a_narrow_mixture_loses_less_than_a_tenth_of_a_nat_to_rounding(half):
    generator = torch.Generator().manual_seed(0)
    narrow = NormalMixture(torch.zeros(8), torch.randn(8, 32, generator=generator), torch.full((8, 32), 0.05))
    z = narrow.sample(100, generator)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        found = narrow.log_prob(z)
    exact = NormalMixture(*(part.double() for part in narrow)).log_prob(z.double())
    assert (found - exact).abs().max() < 0.1


def test_a_mixture_draws_each_component_as_often_as_its_weight_says():
    shares = torch.tensor([0.1, 0.2, 0.7])
    mu, sigma = torch.tensor([[-100.0, 0], [0, 100], [100, 0]]), torch.tensor([[1.0, 2], [3, 4], [5, 6]])
    ours, count = NormalMixture(shares.log(), mu, sigma), 100_000
    z = ours.sample(count, torch.Generator().manual_seed(0))
    which = torch.cdist(z, mu).argmin(1)
    for component, share in enumerate(shares):
        rows = z[which == component]
        assert_mean((which == component).double(), float(share))
        assert_mean(rows, mu[component])
        assert_mean((rows - mu[component]).square(), sigma[component].square())
    assert torch.equal(z, ours.sample(count, torch.Generator().manual_seed(0)))


def test_laplace_and_bernoulli_have_the_densities_of_torchs():
    mu, b, x = numbers(5, 3), numbers(5, 3, seed=1).exp(), numbers(5, 3, seed=2)
    torch.testing.assert_close(Laplace(mu, b).log_prob(x), truth.Laplace(mu, b).log_prob(x))
    binary = (x > 0).double()
    torch.testing.assert_close(Bernoulli(mu).log_prob(binary), truth.Bernoulli(logits=mu).log_prob(binary))


def test_a_bernoulli_reads_a_grey_value_as_the_chance_of_a_one():
    logits, chance = numbers(5), torch.rand(5, generator=torch.Generator().manual_seed(0)).double()
    ours = Bernoulli(logits)
    expected = chance * ours.log_prob(torch.ones(5)) + (1 - chance) * ours.log_prob(torch.zeros(5))
    torch.testing.assert_close(ours.log_prob(chance), expected)


# --- the discretised logistic mixture ---

LEVELS = (torch.arange(256) / 255).view(-1, 1, 1, 1)


def of_levels(mu: float, scale: float) -> DiscretisedLogistics:
    """The same single logistic for each of 256 grey pictures of one pixel."""
    many = (256, 1, 1, 1, 1)
    return DiscretisedLogistics(torch.zeros(256, 1, 1, 1), torch.full(many, mu), torch.full(many, scale))


@pytest.mark.parametrize("mu", [-30.0, -1.0, -0.001, 0.0, 0.3, 0.501, 1.0, 1.002, 5.0, 30.0])
@pytest.mark.parametrize("scale", [1e-4, math.exp(-7), 0.01, 0.2, math.exp(1), 100.0])
def test_the_256_levels_share_a_probability_of_one(mu, scale):
    log_p = of_levels(mu, scale).log_prob(LEVELS)
    assert torch.isfinite(log_p).all()
    assert log_p.double().exp().sum().item() == pytest.approx(1, abs=1e-4)


def test_a_level_has_the_mass_between_its_edges_and_the_outermost_all_beyond():
    mu, scale = 0.2, 0.1
    edges = (torch.arange(1, 256).double() - 0.5) / 255
    cumulative = torch.cat([torch.zeros(1), ((edges - mu) / scale).sigmoid(), torch.ones(1)])
    mass = cumulative.diff().view(-1, 1, 1, 1)
    torch.testing.assert_close(of_levels(mu, scale).log_prob(LEVELS).double().exp(), mass, atol=1e-7, rtol=2e-3)


@pytest.mark.parametrize("scale", [math.exp(-7), 0.005, 0.1])
def test_a_level_far_out_has_its_own_small_probability(scale):
    """By log(s(b) - s(a)) = log(1 - e^(a - b)) + log s(b) + log s(-a), which is exact for the edges a < b."""
    mu = 0.2
    a, b = (((LEVELS.double() + side / 510 - mu) / scale)[1:-1] for side in (-1, 1))
    exact = torch.log(-torch.expm1(a - b)) + torch.nn.functional.logsigmoid(b) + torch.nn.functional.logsigmoid(-a)
    found = of_levels(mu, scale).log_prob(LEVELS)[1:-1]
    torch.testing.assert_close(found.double(), exact, atol=0.01, rtol=1e-4)


def test_the_channels_of_a_pixel_share_the_component_that_is_drawn():
    logits, scale = torch.tensor([0.5, -1.0]), 0.02
    mu = torch.tensor([[0.2, 0.9], [0.8, 0.1]])  # (K, C)
    pairs = torch.cartesian_prod(LEVELS.flatten(), LEVELS.flatten()).view(-1, 2, 1, 1)
    joint = DiscretisedLogistics(
        logits.view(1, 2, 1, 1), mu.view(1, 2, 2, 1, 1), torch.full((1, 2, 2, 1, 1), scale)
    ).log_prob(pairs)
    assert joint.shape == (256 * 256, 1, 1, 1)
    assert joint.double().exp().sum().item() == pytest.approx(1, abs=1e-3)
    alone = [[of_levels(float(value), scale).log_prob(LEVELS).flatten() for value in row] for row in mu]
    by_hand = torch.stack([a[:, None] + b[None] for a, b in alone]) + logits.log_softmax(0)[:, None, None]
    torch.testing.assert_close(joint.flatten(), by_hand.logsumexp(0).flatten(), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(("mu", "scale"), [(0.3, 0.005), (0.5, 0.05), (-4.0, 0.01), (7.0, 0.01)])
def test_the_mean_of_a_narrow_logistic_is_that_of_its_levels(mu, scale):
    one = of_levels(mu, scale)
    by_levels = (one.log_prob(LEVELS).exp() * LEVELS).sum().item()
    assert one.mean[0].item() == pytest.approx(by_levels, abs=1e-3)


def test_the_mean_of_a_mixture_weighs_its_components():
    logits, mu = torch.tensor([0.25, 0.75]).log(), torch.tensor([0.2, 0.6])
    two = DiscretisedLogistics(logits.view(1, 2, 1, 1), mu.view(1, 2, 1, 1, 1), torch.full((1, 2, 1, 1, 1), 0.01))
    assert two.shape == two.mean.shape == (1, 1, 1, 1)
    assert two.mean.item() == pytest.approx(0.5)


@pytest.mark.parametrize("mu", [-1e4, -5.0, 0.0, 0.5, 1.0, 5.0, 1e4])
@pytest.mark.parametrize("log_scale", [-12.0, -7.0, 0.0, 6.0])
def test_gradients_are_finite_far_out_too(mu, log_scale):
    parts = [torch.zeros(256, 1, 1, 1), torch.full((256, 1, 1, 1, 1), mu), torch.full((256, 1, 1, 1, 1), log_scale)]
    logits, centre, scale = (part.requires_grad_() for part in parts)
    log_p = DiscretisedLogistics(logits, centre, scale.exp()).log_prob(LEVELS)
    log_p.sum().backward()
    assert torch.isfinite(log_p).all()
    assert all(torch.isfinite(part.grad).all() for part in parts)


def test_parts_of_a_discretised_mixture_have_the_densities_of_the_whole():
    shape, generator = (6, 3, 2, 4, 4), torch.Generator().manual_seed(0)
    mu = torch.rand(shape, generator=generator)
    whole = DiscretisedLogistics(mu[:, :, 0], mu, 0.1 + mu)
    x = torch.randint(256, (6, 2, 4, 4), generator=generator) / 255
    parts = [part.log_prob(rows) for part, rows in zip(whole.split(4), x.split(4), strict=True)]
    torch.testing.assert_close(torch.cat(parts), whole.log_prob(x))


def test_noise_is_that_of_the_generator_in_the_shape_and_kind_asked():
    like = torch.zeros(3, 4, dtype=torch.float64)
    one, again = (standard_noise(like, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one, again) and one.shape == (3, 4) and one.dtype == torch.float64


def test_a_density_is_as_exact_where_training_takes_half_precision():
    generator = torch.Generator().manual_seed(0)
    mu = torch.randn(8, 16, generator=generator)
    mixture = NormalMixture(torch.zeros(8), mu, torch.full((8, 16), 0.05))
    full = FullNormal(mu, torch.eye(16).expand(8, 16, 16) * 0.3)
    noise = torch.randn(8, 16, generator=generator)
    z = mu + 0.05 * noise
    whole, drawn = mixture.log_prob(z), full.draw(noise)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(mixture.log_prob(z), whole)
        torch.testing.assert_close(full.draw(noise).z, drawn.z)
