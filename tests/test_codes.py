"""Vector-quantised codes: which are taken, how gradients pass, and how codes follow what they stand for."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from saree_vae.codes import CODE_CHANNELS, DEAD, Codebook, Quantised, UniformCodes

K, SIDE = 7, 4


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def book(count: int = K) -> Codebook:
    torch.manual_seed(0)
    return Codebook(count)


def around(codes: torch.Tensor, which: list[int], noise: float = 0.02) -> torch.Tensor:
    """A picture of one row, (1, channels, 1, cells), of which cell i lies near codes[which[i]]."""
    rows = 3 * codes[which] + noise * numbers(len(which), CODE_CHANNELS)
    return rows.T[None, :, None]


def taught(quantiser: Codebook, raw: torch.Tensor) -> Quantised:
    """The codes of a picture, which then move."""
    found = quantiser(raw)
    quantiser.learn(found)
    return found


def test_each_cell_takes_the_code_that_is_nearest_by_direction():
    quantiser = book().eval()
    raw = numbers(3, CODE_CHANNELS, SIDE, SIDE)
    found = quantiser(raw)
    rows = F.normalize(raw, dim=1).permute(0, 2, 3, 1).reshape(-1, CODE_CHANNELS)
    nearest = torch.cdist(rows, quantiser.codes).argmin(1)
    expected = quantiser.codes[nearest].view(3, SIDE, SIDE, -1).permute(0, 3, 1, 2)
    torch.testing.assert_close(found.z, expected)
    torch.testing.assert_close(found.draw(numbers(3, K)).z, found.z)  # there is no noise in a code
    each = torch.stack([nearest.view(3, -1).eq(code).float().mean(1) for code in range(K)], 1)
    torch.testing.assert_close(found.mu, each)
    torch.testing.assert_close(found.used, each.mean(0))
    unit = F.normalize(raw, dim=1)
    torch.testing.assert_close(found.away, (unit - expected).square().mean((1, 2, 3)))


def test_a_histogram_sums_to_one():
    torch.testing.assert_close(book()(numbers(5, CODE_CHANNELS, SIDE, SIDE)).mu.sum(1), torch.ones(5))


def test_gradients_pass_straight_through_the_codes_to_the_sphere():
    quantiser, raw = book(), numbers(2, CODE_CHANNELS, SIDE, SIDE).requires_grad_()
    slope = numbers(2, CODE_CHANNELS, SIDE, SIDE, seed=1)
    found = quantiser.eval()(raw).z
    (found * slope).sum().backward()
    # As if the codes were the raw, of which the sphere takes away what only makes it longer.
    unit = F.normalize(raw.detach(), dim=1)
    expected = (slope - unit * (slope * unit).sum(1, keepdim=True)) / raw.detach().norm(dim=1, keepdim=True)
    torch.testing.assert_close(raw.grad, expected)


@pytest.mark.parametrize("part", ["mu", "z", "away"])
def test_all_that_is_learned_from_reaches_the_encoder_while_the_codes_move(part):
    quantiser, raw = book().train(), numbers(2, CODE_CHANNELS, SIDE, SIDE).requires_grad_()
    (getattr(taught(quantiser, raw), part) * 2).square().sum().backward()
    assert raw.grad.abs().sum() > 0
    assert torch.isfinite(raw.grad).all()


def test_codes_that_have_moved_leave_earlier_gradients_as_they_were():
    grads = []
    for again in (False, True):
        quantiser, raw = book().train(), numbers(2, CODE_CHANNELS, SIDE, SIDE).requires_grad_()
        found = quantiser(raw)
        if again:
            taught(quantiser, numbers(2, CODE_CHANNELS, SIDE, SIDE, seed=1))
        (found.mu.square().sum() + found.z.sum() + found.away.sum()).backward()
        grads.append(raw.grad)
    torch.testing.assert_close(*grads)


def test_codes_move_to_what_they_stand_for():
    quantiser = book().train()
    goals = F.normalize(quantiser.codes + 0.1 * numbers(K, CODE_CHANNELS, seed=2), dim=1)
    before = (quantiser.codes * goals).sum(1)
    for _ in range(600):
        taught(quantiser, around(goals, list(range(K)) * 3))
    after = (quantiser.codes * goals).sum(1)
    assert (before < 0.95).all() and (after > 0.995).all()
    torch.testing.assert_close(quantiser.codes.norm(dim=1), torch.ones(K))


def test_a_dead_code_is_put_where_the_encoder_is():
    quantiser = book(2).train()
    quantiser.codes.copy_(F.normalize(numbers(2, CODE_CHANNELS), dim=1))
    taken, idle = quantiser.codes.clone()
    here = around(taken[None], [0] * 6)
    steps = math.ceil(math.log(DEAD / 2) / math.log(0.99)) + 200
    for _ in range(steps):
        taught(quantiser, here)
    # Nothing is near where the idle code was; now it lies among what is encoded.
    assert quantiser.codes[1] @ idle < 0.9
    assert quantiser.codes[1] @ taken > 0.95
    assert quantiser(here + 0.02 * numbers(*here.shape, seed=3)).used.min() > 0


def test_no_code_moves_by_being_taken():
    quantiser = book().train()
    before = {name: value.clone() for name, value in quantiser.named_buffers()}
    quantiser(numbers(2, CODE_CHANNELS, SIDE, SIDE))
    assert all(torch.equal(value, before[name]) for name, value in quantiser.named_buffers())


@pytest.mark.parametrize("half", [False, True])
def test_codes_learn_in_half_precision_too(half):
    quantiser = book().train()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        found = taught(quantiser, numbers(2, CODE_CHANNELS, SIDE, SIDE).to(torch.bfloat16 if half else torch.float32))
    assert found.z.dtype == found.mu.dtype == quantiser.codes.dtype == torch.float32
    torch.testing.assert_close(quantiser.codes.norm(dim=1), torch.ones(K))


@pytest.mark.parametrize(("taken", "expected"), [(range(8), 8), ([1] * 4, 1), ([0, 0, 1, 1], 2)])
def test_the_perplexity_is_how_many_codes_are_in_even_use(taken, expected):
    taken = torch.tensor(list(taken))
    found = Quantised(torch.zeros(1, 8), torch.zeros(1), torch.zeros(1), taken, torch.zeros(len(taken), 2))
    assert found.perplexity.item() == pytest.approx(expected, rel=1e-5)


def test_a_map_of_codes_costs_the_logarithm_of_the_choices_in_each_cell():
    quantiser = book().eval()
    found = quantiser(numbers(2, CODE_CHANNELS, SIDE, SIDE))
    prior = quantiser.prior(SIDE * SIDE)
    assert prior == UniformCodes(K, SIDE * SIDE)
    torch.testing.assert_close(prior.log_prob(found.z), torch.full((2, 1), -SIDE * SIDE * math.log(K)))
