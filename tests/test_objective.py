"""The maths, against truth found another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saree_vae.distributions import Bernoulli, Laplace, Normal, kl_to_standard_normal
from saree_vae.objective import Elbo, elbo, info_nce, supervised_contrast

FINITE = st.floats(-3, 3)
SCALE = st.floats(0.3, 2.0)


@given(mu=FINITE, sigma=SCALE)
def test_kl_is_the_mean_of_the_log_ratio_under_q(mu, sigma):
    q = Normal(torch.tensor(mu, dtype=torch.float64), torch.tensor(sigma, dtype=torch.float64))
    # Gauss-Hermite quadrature is exact here: the log ratio is a polynomial of degree two.
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    z = q.mu + q.sigma * torch.from_numpy(nodes)
    prior = Normal(torch.zeros_like(z), torch.ones_like(z))
    ratio = (q.log_prob(z) - prior.log_prob(z)) * torch.from_numpy(weights / math.sqrt(2 * math.pi))
    assert kl_to_standard_normal(q).item() == pytest.approx(ratio.sum().item(), abs=1e-9)


def test_kl_agrees_with_monte_carlo():
    q = Normal(torch.tensor([0.7, -1.2]), torch.tensor([0.5, 1.6]))
    many = Normal(q.mu.expand(200_000, 2), q.sigma.expand(200_000, 2))
    z = many.sample(torch.Generator().manual_seed(0))
    prior = Normal(torch.zeros(2), torch.ones(2))
    log_ratio = many.log_prob(z) - prior.log_prob(z)
    error = log_ratio.std(0) / math.sqrt(len(z))
    assert ((log_ratio.mean(0) - kl_to_standard_normal(q)).abs() < 4 * error).all()


@given(mu=FINITE, sigma=SCALE)
def test_kl_is_zero_only_at_the_prior(mu, sigma):
    kl = kl_to_standard_normal(Normal(torch.tensor(mu), torch.tensor(sigma))).item()
    assert kl >= -1e-6
    if abs(mu) > 0.05 or abs(sigma - 1) > 0.05:
        assert kl > 1e-4
    assert kl_to_standard_normal(Normal(torch.zeros(()), torch.ones(()))).item() == 0


@given(x=FINITE, s=SCALE)
def test_elbo_equals_the_evidence_when_q_is_the_true_posterior(x, s):
    # z ~ N(0, 1), x|z ~ N(z, s^2)  =>  x ~ N(0, 1 + s^2), z|x ~ N(x / (1 + s^2), s^2 / (1 + s^2)).
    variance = s * s / (1 + s * s)
    count = 40_000
    posterior = Normal(*(torch.full((count, 1), v, dtype=torch.float64) for v in (x / (1 + s * s), variance**0.5)))
    z = posterior.sample(torch.Generator().manual_seed(1))
    picture = torch.full((count, 1, 1, 1), x, dtype=torch.float64)
    likelihood = Normal(z.view(-1, 1, 1, 1), torch.tensor(s, dtype=torch.float64))
    values = elbo(picture, posterior, likelihood).value
    evidence = -0.5 * x * x / (1 + s * s) - 0.5 * math.log(2 * math.pi * (1 + s * s))
    assert values.mean().item() == pytest.approx(evidence, abs=5 * values.std().item() / math.sqrt(count) + 1e-9)


def test_a_wrong_posterior_gives_a_lower_bound():
    x, count = 1.5, 20_000
    picture = torch.full((count, 1, 1, 1), x)
    values = []
    for mu in (x / 2, 0.0):  # the true posterior mean for s = 1, and a wrong one
        posterior = Normal(torch.full((count, 1), mu), torch.full((count, 1), 0.5**0.5))
        z = posterior.sample(torch.Generator().manual_seed(2)).view(-1, 1, 1, 1)
        values.append(elbo(picture, posterior, Normal(z, torch.tensor(1.0))).value.mean().item())
    assert values[1] < values[0] - 0.3


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Normal(torch.tensor(0.3), torch.tensor(0.7)), torch.distributions.Normal(0.3, 0.7)),
        (Laplace(torch.tensor(0.3), torch.tensor(0.7)), torch.distributions.Laplace(0.3, 0.7)),
        (Bernoulli(torch.full((2,), 0.4)), torch.distributions.Bernoulli(logits=torch.full((2,), 0.4))),
    ],
)
def test_densities_agree_with_torch_distributions(ours, theirs):
    x = torch.tensor([0.0, 1.0])
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x))
    torch.testing.assert_close(ours.mean, theirs.mean)


@pytest.mark.parametrize(
    "whole",
    [
        Normal(torch.arange(6.0).view(6, 1), torch.tensor(0.5)),
        Normal(torch.arange(6.0).view(6, 1), torch.arange(1.0, 7.0).view(6, 1)),
        Laplace(torch.arange(6.0).view(6, 1), torch.tensor(0.5)),
        Bernoulli(torch.arange(6.0).view(6, 1)),
    ],
)
def test_parts_of_a_distribution_have_the_densities_of_the_whole(whole):
    x = torch.rand(6, 1, generator=torch.Generator().manual_seed(0))
    parts = [part.log_prob(rows) for part, rows in zip(whole.split(2), x.split(2), strict=True)]
    torch.testing.assert_close(torch.cat(parts), whole.log_prob(x))


def test_free_bits_are_a_floor_on_the_batch_mean():
    kl = torch.tensor([[0.0, 3.0], [0.4, 1.0]])  # dimension means 0.2 and 2.0
    terms = Elbo(recon=torch.tensor([-5.0, -7.0]), kl=kl)
    assert terms.loss().item() == pytest.approx(6 + 2.2)
    assert terms.loss(free_bits=0.5).item() == pytest.approx(6 + 0.5 + 2.0)
    assert terms.loss(beta=4).item() == pytest.approx(6 + 4 * 2.2)
    assert terms.loss().item() == pytest.approx(-terms.value.mean().item())


def test_info_nce_knows_chance_and_certainty():
    rows = torch.eye(8)
    assert info_nce(rows, rows, 0.05).item() < 1e-6
    assert info_nce(torch.ones(8, 4), torch.ones(8, 4), 0.1).item() == pytest.approx(math.log(8), rel=1e-5)
    assert info_nce(rows, rows.roll(1, 0), 0.05).item() > 10


def test_info_nce_by_hand_on_two_rows():
    a, b = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[2.0, 0.0], [3.0, 0.0]])
    # Cosines: [[1, 1], [0, 0]]; temperature 1.
    forward = (math.log(2) + math.log(2)) / 2
    backward = (math.log(math.e + 1) - 1 + math.log(math.e + 1)) / 2
    assert info_nce(a, b, 1.0).item() == pytest.approx((forward + backward) / 2, rel=1e-5)


def test_a_likelihood_of_another_shape_is_refused():
    posterior = Normal(torch.zeros(2, 3), torch.ones(2, 3))
    with pytest.raises(ValueError, match="x is"):
        elbo(torch.zeros(2, 3, 4, 4), posterior, Normal(torch.zeros(2, 3, 8, 8), torch.tensor(1.0)))


def test_a_bernoulli_refuses_values_outside_zero_and_one():
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        Bernoulli(torch.zeros(2)).log_prob(torch.tensor([0.5, 1.5]))


def test_supervised_contrast_is_khoslas_by_hand_and_leaves_the_unknown_out():
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 0, 0, 1, 1, -1])
    unit = rows / rows.norm(dim=1, keepdim=True)
    losses = []
    for i in range(5):
        others = [j for j in range(6) if j != i]
        total = math.log(sum(math.exp(float(unit[i] @ unit[j]) / 0.2) for j in others))
        own = [j for j in others if labels[j] == labels[i]]
        losses.append(sum(total - float(unit[i] @ unit[j]) / 0.2 for j in own) / len(own))
    assert supervised_contrast(rows, labels, 0.2).item() == pytest.approx(sum(losses) / 5, rel=1e-5)


def test_supervised_contrast_without_partners_is_nothing_and_has_finite_gradients():
    rows = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    for labels in ([0, 1, 2, 3], [-1, -1, -1, -1]):
        loss = supervised_contrast(rows, torch.tensor(labels), 0.1)
        assert loss.item() == 0
        loss.backward()
    supervised_contrast(rows, torch.tensor([0, 0, 1, -1]), 0.1).backward()
    assert torch.isfinite(rows.grad).all()
