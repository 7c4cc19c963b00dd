"""The maths, against truth found another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from saree_vae.distributions import Bernoulli, Laplace, Normal, kl_divergence, standard_noise
from saree_vae.objective import Elbo, elbo, info_nce, supervised_contrast, total_correlation

FINITE = st.floats(-3, 3)
SCALE = st.floats(0.3, 2.0)
PRIOR = Normal(torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64))


def draw(q: Normal, seed: int) -> torch.Tensor:
    return q.draw(standard_noise(q.mu, torch.Generator().manual_seed(seed))).z


@given(mu=FINITE, sigma=SCALE)
def test_kl_is_the_mean_of_the_log_ratio_under_q(mu, sigma):
    q = Normal(torch.tensor(mu, dtype=torch.float64), torch.tensor(sigma, dtype=torch.float64))
    # Gauss-Hermite quadrature is exact here: the log ratio is a polynomial of degree two.
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    z = q.mu + q.sigma * torch.from_numpy(nodes)
    ratio = (q.log_prob(z) - PRIOR.log_prob(z)) * torch.from_numpy(weights / math.sqrt(2 * math.pi))
    assert kl_divergence(q, PRIOR).item() == pytest.approx(ratio.sum().item(), abs=1e-9)


def test_kl_agrees_with_monte_carlo():
    q = Normal(torch.tensor([0.7, -1.2]), torch.tensor([0.5, 1.6]))
    many = Normal(q.mu.expand(200_000, 2), q.sigma.expand(200_000, 2))
    z = draw(many, 0)
    log_ratio = many.log_prob(z) - PRIOR.log_prob(z)
    error = log_ratio.std(0) / math.sqrt(len(z))
    assert ((log_ratio.mean(0) - kl_divergence(q, PRIOR)).abs() < 4 * error).all()


@given(mu=FINITE, sigma=SCALE)
def test_kl_is_zero_only_at_the_prior(mu, sigma):
    kl = kl_divergence(Normal(torch.tensor(mu), torch.tensor(sigma)), PRIOR).item()
    assert kl >= -1e-6
    if abs(mu) > 0.05 or abs(sigma - 1) > 0.05:
        assert kl > 1e-4
    assert kl_divergence(PRIOR, PRIOR).item() == 0


@given(x=FINITE, s=SCALE)
def test_elbo_equals_the_evidence_when_q_is_the_true_posterior(x, s):
    # z ~ N(0, 1), x|z ~ N(z, s^2)  =>  x ~ N(0, 1 + s^2), z|x ~ N(x / (1 + s^2), s^2 / (1 + s^2)).
    variance = s * s / (1 + s * s)
    count = 40_000
    posterior = Normal(*(torch.full((count, 1), v, dtype=torch.float64) for v in (x / (1 + s * s), variance**0.5)))
    z = draw(posterior, 1)
    picture = torch.full((count, 1, 1, 1), x, dtype=torch.float64)
    likelihood = Normal(z.view(-1, 1, 1, 1), torch.tensor(s, dtype=torch.float64))
    values = elbo(picture, likelihood, {"motif": kl_divergence(posterior, PRIOR)}).value
    evidence = -0.5 * x * x / (1 + s * s) - 0.5 * math.log(2 * math.pi * (1 + s * s))
    assert values.mean().item() == pytest.approx(evidence, abs=5 * values.std().item() / math.sqrt(count) + 1e-9)


def test_a_wrong_posterior_gives_a_lower_bound():
    x, count = 1.5, 20_000
    picture = torch.full((count, 1, 1, 1), x)
    values = []
    for mu in (x / 2, 0.0):  # the true posterior mean for s = 1, and a wrong one
        posterior = Normal(torch.full((count, 1), mu), torch.full((count, 1), 0.5**0.5))
        likelihood = Normal(draw(posterior, 2).view(-1, 1, 1, 1), torch.tensor(1.0))
        kl = {"motif": kl_divergence(posterior, PRIOR)}
        values.append(elbo(picture, likelihood, kl).value.mean().item())
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
    terms = Elbo(recon=torch.tensor([-5.0, -7.0]), kl={"motif": kl[:, :1], "colour": kl[:, 1:]})
    assert terms.loss().item() == pytest.approx(6 + 2.2)
    assert terms.loss(free_bits=0.5).item() == pytest.approx(6 + 0.5 + 2.0)
    assert terms.loss(beta=4).item() == pytest.approx(6 + 4 * 2.2)
    assert terms.loss().item() == pytest.approx(-terms.value.mean().item())


def test_the_floor_of_what_is_known_as_a_whole_is_under_the_whole():
    kl = {"motif": torch.tensor([[0.1, 3.0], [0.3, 1.0]]), "level_2": torch.ones(2, 1)}
    terms = Elbo(recon=torch.zeros(2), kl=kl)
    assert terms.loss(free_bits=1.5).item() == pytest.approx(1.5 + 2.0 + 1.5)
    torch.testing.assert_close(terms.rate, torch.tensor([4.1, 2.3]))
    torch.testing.assert_close(terms.value, -terms.rate)


def test_without_latents_that_cost_the_elbo_is_the_reconstruction():
    terms = Elbo(recon=torch.tensor([-5.0, -7.0]), kl={})
    torch.testing.assert_close(terms.value, terms.recon)
    assert terms.loss(free_bits=3).item() == 6


@pytest.mark.parametrize(("capacity", "paid"), [(0.0, 3.2), (3.2, 0.0), (5.0, 1.8), (1.0, 2.2)])
def test_a_capacity_costs_how_far_the_kl_is_from_it_either_way(capacity, paid):
    kl = {"motif": torch.tensor([[0.0, 3.0], [0.4, 1.0]]), "colour": torch.tensor([[0.5], [1.5]])}
    terms = Elbo(recon=torch.tensor([-5.0, -7.0]), kl=kl)
    assert terms.loss(beta=10, capacity=capacity).item() == pytest.approx(6 + 10 * paid, abs=1e-5)


def test_total_correlation_is_that_of_the_aggregate_posterior_by_hand():
    mu, sigma = torch.tensor([[0.0, 1.0], [2.0, -1.0], [0.5, 0.3]]), torch.tensor([[0.5, 1.0], [1.5, 0.7], [0.4, 2.0]])
    z = torch.tensor([[0.2, 0.4], [1.0, -2.0], [0.6, 1.0]])

    def density(value, j, d):
        return math.exp(-0.5 * ((value - mu[j, d]) / sigma[j, d]) ** 2) / (sigma[j, d] * math.sqrt(2 * math.pi))

    whole = [sum(density(a, j, 0) * density(b, j, 1) for j in range(3)) / 3 for a, b in z]
    alone = [[sum(density(row[d], j, d) for j in range(3)) / 3 for d in range(2)] for row in z]
    by_hand = sum(math.log(w / (a * b)) for w, (a, b) in zip(whole, alone, strict=True)) / 3
    # A batch that is the data itself: the count of pictures adds a constant, that of one dimension less than there are.
    for pictures in (1, 1000):
        found = total_correlation(Normal(mu, sigma), z, pictures).item()
        assert found == pytest.approx(by_hand + math.log(pictures), rel=1e-5)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_total_correlation_is_nothing_for_independent_dimensions_and_known_for_normals(correlation):
    # mu ~ N(0, C) and z|mu ~ N(mu, s^2)  =>  z ~ N(0, C + s^2 I); on 2000 pictures the estimate is right to 0.05 nats.
    generator, s = torch.Generator().manual_seed(0), 0.5
    mu = torch.randn(2000, 2, generator=generator)
    mu[:, 1] = correlation * mu[:, 0] + math.sqrt(1 - correlation**2) * mu[:, 1]
    q = Normal(mu, torch.full_like(mu, s))
    truth = -0.5 * math.log(1 - (correlation / (1 + s * s)) ** 2)
    assert total_correlation(q, draw(q, 1), 1).item() == pytest.approx(truth, abs=0.05)


def test_total_correlation_of_one_posterior_for_all_is_nothing():
    q = Normal(torch.zeros(8, 3), torch.ones(8, 3))
    assert total_correlation(q, draw(q, 1), 1).item() == pytest.approx(0, abs=1e-5)


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
    with pytest.raises(ValueError, match="x is"):
        elbo(torch.zeros(2, 3, 4, 4), Normal(torch.zeros(2, 3, 8, 8), torch.tensor(1.0)), {})


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
