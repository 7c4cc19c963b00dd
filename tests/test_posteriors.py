"""Families of q(z|x): shapes, densities by the change of variables, and what a flow may and may not see."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from saree_vae.distributions import Normal
from saree_vae.posteriors import LOG_VARIANCE, POSTERIORS, Flow, Flowed, InverseAutoregressive, Masked

DIM, CONTEXT = 5, 6


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def trained(flows: torch.nn.Module) -> torch.nn.Module:
    """With weights that are no longer where they began."""
    generator = torch.Generator().manual_seed(1)
    for part in flows.parameters():
        torch.nn.init.normal_(part, std=0.5 / math.sqrt(part.shape[-1]), generator=generator)
    return flows.double()


def flowed(flows: int) -> Flowed:
    """Of a single picture."""
    family = trained(InverseAutoregressive(DIM, flows))
    return family(numbers(1, family.outputs))._replace(
        base=Normal(numbers(1, DIM, seed=2).double(), numbers(1, DIM, seed=3).double().exp()),
        context=numbers(1, 2 * DIM, seed=4).double(),
    )


def jacobian(function, at: Tensor) -> Tensor:
    """d function / d at for one row, (D, D)."""
    return torch.autograd.functional.jacobian(lambda row: function(row[None])[0], at[0])


@pytest.mark.parametrize("name", POSTERIORS)
def test_every_family_gives_mu_sigma_and_draws_of_the_dimension_asked(name):
    family = POSTERIORS[name](DIM, 3)
    q = family(numbers(7, family.outputs))
    drawn = q.draw(numbers(7, DIM, seed=1))
    assert q.mu.shape == q.sigma.shape == drawn.z.shape == (7, DIM)
    assert len(drawn.log_q) == 7 and drawn.log_q.shape[1] in (1, DIM)
    torch.testing.assert_close(q.draw().z, q.mu)


@pytest.mark.parametrize("name", ["gaussian", "full", "iaf"])
def test_a_variance_is_kept_within_its_bounds(name):
    family = POSTERIORS[name](DIM, 1)
    for raw, log_variance in zip((-1e3, 1e3), LOG_VARIANCE, strict=True):
        outputs = torch.zeros(1, family.outputs)
        outputs[:, DIM : 2 * DIM] = raw
        torch.testing.assert_close(family(outputs).sigma, torch.full((1, DIM), math.exp(log_variance / 2)))


def test_a_point_is_where_it_is_told_whatever_the_noise():
    q = POSTERIORS["point"](DIM, 1)(raw := numbers(3, DIM))
    assert torch.equal(q.draw(numbers(3, DIM, seed=1)).z, raw) and not q.sigma.any()


def test_the_full_family_reaches_any_covariance():
    family = POSTERIORS["full"](3, 1)
    wanted = torch.tensor([[0.7, 0, 0], [0.3, 1.2, 0], [-0.4, 0.5, 0.9]])
    below = torch.stack([wanted[1, 0], wanted[2, 0], wanted[2, 1]]) * math.sqrt(3)
    raw = torch.cat([torch.tensor([1.0, -2, 3]), 2 * wanted.diagonal().log(), below])
    q = family(raw[None])
    torch.testing.assert_close(q.tril[0], wanted)
    torch.testing.assert_close(q.mu[0], raw[:3])
    torch.testing.assert_close(q.sigma[0], (wanted @ wanted.T).diagonal().sqrt())


def test_a_masked_layer_hears_only_what_its_mask_lets_through():
    mask = torch.tensor([[1, 0, 0], [1, 1, 0]])
    layer = Masked(3, 2, mask)
    slopes = torch.autograd.functional.jacobian(layer, numbers(3))
    assert torch.equal(slopes != 0, mask.bool())


@pytest.mark.parametrize("dim", [2, 3, 5, 64])
def test_a_flow_shows_each_number_only_those_before_it(dim):
    flow, context = trained(Flow(dim, CONTEXT)), numbers(1, CONTEXT).double()
    slopes = jacobian(lambda z: flow(z, context)[0], numbers(1, dim, seed=1).double())
    assert (slopes.triu(1) == 0).all()
    # None is deaf either: each hears all before it.
    assert (slopes.tril(-1)[torch.tril_indices(dim, dim, -1).unbind()] != 0).all()


@pytest.mark.parametrize("dim", [2, 5])
def test_the_gain_of_a_flow_is_the_diagonal_of_its_jacobian_and_hears_only_what_came_before(dim):
    flow, context = trained(Flow(dim, CONTEXT)), numbers(1, CONTEXT).double()
    z = numbers(1, dim, seed=1).double()
    slopes = jacobian(lambda z: flow(z, context)[0], z)
    torch.testing.assert_close(slopes.diagonal().log(), flow(z, context)[1][0])
    assert (jacobian(lambda z: flow(z, context)[1], z).triu() == 0).all()


@pytest.mark.parametrize("flows", [1, 2, 3, 4])
def test_log_q_of_a_flowed_draw_is_that_of_the_change_of_variables(flows):
    q, noise = flowed(flows), numbers(1, DIM, seed=5).double()
    slopes = jacobian(lambda noise: q.draw(noise).z, noise)
    standard = Normal(torch.zeros(DIM), torch.ones(DIM))
    expected = standard.log_prob(noise).sum() - torch.linalg.slogdet(slopes).logabsdet
    torch.testing.assert_close(q.draw(noise).log_q.sum(), expected)


@pytest.mark.parametrize("flows", [1, 2, 3])
def test_flows_alone_at_initialisation_are_the_identity(flows):
    family = InverseAutoregressive(DIM, flows)
    q, noise = family(numbers(4, family.outputs)), numbers(4, DIM, seed=1)
    torch.testing.assert_close(q.draw(noise).z, q.base.draw(noise).z)
    torch.testing.assert_close(q.draw(noise).log_q, q.base.draw(noise).log_q)
    torch.testing.assert_close(q.mu, q.base.mu)


def test_of_two_flows_the_second_looks_from_the_other_end():
    q = flowed(2)
    # After the first alone the first number depends on no other; after both, it does.
    assert (jacobian(lambda noise: q.draw(noise).z, numbers(1, DIM, seed=5).double())[0, 1:] != 0).all()


def test_flows_see_the_picture_through_their_context():
    q, noise = flowed(2), numbers(1, DIM, seed=5).double()
    assert (q.draw(noise).z != q._replace(context=q.context + 1).draw(noise).z).all()
