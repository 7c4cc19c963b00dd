"""Bounds on log p(x), against models so small that the answer is known."""

import math

import pytest
import torch
from torch import Tensor, nn

from saree_vae import config, likelihood
from saree_vae.distributions import FullNormal, Normal
from saree_vae.errors import SareeError
from saree_vae.networks import Drawn
from saree_vae.objective import Elbo
from saree_vae.vae import VAE

SIDE, LATENTS, SIGMA = 4, 3, 0.3
TINY = {"image_size": 64, "width": 8, "motif_dim": 6, "colour_dim": 4}


class LinearDecoder(nn.Module):
    """A picture as 0.5 + W z."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)  # (values, D)

    def forward(self, motif, colour, detail, noise) -> Drawn:
        mean = (0.5 + motif @ self.weight.T).view(-1, 1, SIDE, SIDE)
        return Drawn(mean, None, mean[:, :0], [])

    def shapes(self, level_dim):
        return []


class LinearEncoder(nn.Module):
    """The true mean of p(z|x), and its true standard deviations times `width`."""

    def __init__(self, weight: Tensor, width: float):
        super().__init__()
        covariance = true_covariance(weight)
        self.register_buffer("weight", covariance @ weight.T / SIGMA**2)
        self.register_buffer("log_variance", (covariance.diagonal() * width**2).log())

    def forward(self, x: Tensor) -> Tensor:
        mu = (x.flatten(1) - 0.5) @ self.weight.T
        return torch.cat([mu, self.log_variance.expand_as(mu)], 1)


def true_covariance(weight: Tensor) -> Tensor:
    return torch.linalg.inv(torch.eye(LATENTS) + weight.T @ weight / SIGMA**2)


def linear(width: float = 1.0, strength: float = 0.4) -> tuple[VAE, Tensor, Tensor]:
    """A VAE with z ~ N(0, I), x|z ~ N(0.5 + W z, SIGMA^2), pictures of it, (7, 1, 4, 4), and their log p(x)."""
    random = torch.Generator().manual_seed(0)
    weight = strength * torch.randn(SIDE * SIDE, LATENTS, generator=random)
    vae = VAE(
        config.Model(
            image_size=SIDE, channels=1, encoder="mlp", width=8, motif_dim=LATENTS, colour_dim=0, sigma=SIGMA
        )
    ).eval()  # fmt: skip
    vae.decoder, vae.motif_encoder = LinearDecoder(weight), LinearEncoder(weight, width)
    z = torch.randn(7, LATENTS, generator=random)
    x = 0.5 + z @ weight.T + SIGMA * torch.randn(7, SIDE * SIDE, generator=random)
    whole = torch.distributions.MultivariateNormal(
        torch.full((SIDE * SIDE,), 0.5), weight @ weight.T + SIGMA**2 * torch.eye(SIDE * SIDE)
    )
    return vae, x.view(-1, 1, SIDE, SIDE), whole.log_prob(x)


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_annealed_importance_sampling_finds_the_evidence_of_a_linear_model_whatever_the_encoder_says():
    vae, x, evidence = linear()
    vae.motif_encoder.weight.zero_()
    vae.motif_encoder.log_variance.zero_()
    # So few steps that each chain is far off: only the mean of their weights is right.
    found = likelihood.annealed(vae, x[:3], chains=400, steps=20, generator=noise())
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, evidence[:3].double(), atol=0.2, rtol=0)


def test_annealing_tightens_with_its_steps():
    vae, x, evidence = linear(strength=1.0)
    few, more = (likelihood.annealed(vae, x, 4, steps, noise()).mean() for steps in (5, 80))
    assert few < more - 1 < evidence.mean()


def test_annealed_importance_sampling_and_the_importance_weighted_bound_agree():
    vae, x, evidence = linear(width=1.5, strength=0.25)
    bound = likelihood.bound(vae, x, 5000, noise())
    torch.testing.assert_close(bound, evidence.double(), atol=0.05, rtol=0)
    torch.testing.assert_close(likelihood.annealed(vae, x, 100, 40, noise(1)), bound, atol=0.3, rtol=0)


@pytest.mark.parametrize(
    "changes", [{"levels": 2}, {"prior": "mixture"}, {"posterior": "point"}, {"posterior": "vq", "colour_dim": 0}]
)
def test_annealing_refuses_what_it_knows_no_way_through(changes):
    with pytest.raises(SareeError, match="annealed importance sampling is for"):
        likelihood.annealed(VAE(config.Model(**(TINY | changes))).eval(), torch.rand(2, 3, 64, 64), 2, 2)


def test_the_elbo_is_the_evidence_less_what_the_posterior_is_off():
    vae, x, evidence = linear(width=3.0)
    found = likelihood.measured(vae, [x.repeat(200, 1, 1, 1)], noise())
    weight = vae.decoder.weight.detach()
    true = torch.distributions.MultivariateNormal(torch.zeros(LATENTS), true_covariance(weight))
    wide = torch.distributions.Normal(torch.zeros(LATENTS), true.covariance_matrix.diagonal().sqrt() * 3)
    ours = torch.distributions.MultivariateNormal(torch.zeros(LATENTS), wide.variance.diag())
    gap = torch.distributions.kl_divergence(ours, true)
    assert gap > 5
    assert found.elbo.value.mean().item() == pytest.approx((evidence.mean() - gap).item(), abs=0.5)
    torch.testing.assert_close(found.elbo.value, found.elbo.recon - found.elbo.rate)


def test_measuring_in_batches_is_measuring_at_once():
    vae = VAE(config.Model(**TINY, levels=2)).eval()
    x = torch.rand(5, 3, 64, 64, generator=noise())
    once, parts = likelihood.measured(vae, [x], noise()), likelihood.measured(vae, x.split(2), noise())
    for name in ("motif", "colour"):
        torch.testing.assert_close(once.elbo.kl[name], parts.elbo.kl[name])
        torch.testing.assert_close(once.mu[name], parts.mu[name])
    assert list(once.elbo.kl) == ["motif", "colour", "level_2"]
    assert once.information["z"].shape == parts.information["z"].shape == (5,)


@pytest.mark.parametrize("posterior", ["gaussian", "full", "iaf", "point", "vq"])
@pytest.mark.parametrize("colour_dim", [0, 4])
def test_every_posterior_can_be_measured(posterior, colour_dim):
    vae = VAE(config.Model(**(TINY | {"posterior": posterior, "colour_dim": colour_dim}))).eval()
    found = likelihood.measured(vae, torch.rand(4, 3, 64, 64, generator=noise()).split(3), noise())
    halves = ["motif", "colour"] if colour_dim else ["motif"]
    assert list(found.mu) == halves
    assert set(found.information) == ({*halves, "z"} if posterior in ("gaussian", "full") else set())
    assert found.elbo.value.isfinite().all()
    assert len(likelihood.verdict(found, vae.cfg)) == len(halves)
    if posterior == "vq":
        torch.testing.assert_close(found.elbo.rate, torch.full((4,), 64 * math.log(6), dtype=torch.float64))


def posteriors(count: int, apart: float) -> tuple[Normal, Tensor]:
    mu = apart * torch.randn(count, 4, generator=noise(), dtype=torch.float64)
    q = Normal(mu, torch.rand(count, 4, generator=noise(1), dtype=torch.float64) + 0.5)
    return q, q.draw(torch.randn(count, 4, generator=noise(2), dtype=torch.float64)).z


def test_information_is_nothing_where_all_posteriors_are_one_and_log_n_where_they_lie_apart():
    q, z = posteriors(30, apart=100.0)
    assert likelihood.information({"motif": q}, {"motif": z})["z"].mean().item() == pytest.approx(math.log(30))
    same = Normal(q.mu[:1].expand(30, -1), q.sigma[:1].expand(30, -1))
    told = likelihood.information({"motif": same}, {"motif": same.draw(z).z})
    assert told["z"].mean().item() == pytest.approx(0, abs=1e-9)


def test_information_is_that_of_a_sum_over_all_pairs(monkeypatch):
    monkeypatch.setattr(likelihood, "PAIRS", 200)  # a few rows at a time
    (q, z), (r, w) = posteriors(12, apart=1.0), posteriors(12, apart=0.3)
    told = likelihood.information({"motif": q, "colour": r}, {"motif": z, "colour": w})
    for i in range(12):
        motif, colour = (p.log_prob(a[i]).sum(1) for p, a in ((q, z), (r, w)))
        for name, pairs in (("motif", motif), ("colour", colour), ("z", motif + colour)):
            expected = pairs[i] - (pairs.exp().mean()).log()
            assert told[name][i].item() == pytest.approx(expected.item())
    assert told["z"].max() <= math.log(12)


def test_information_of_any_covariance_is_that_of_independent_normals_where_it_is_diagonal():
    q, z = posteriors(9, apart=1.0)
    full = FullNormal(q.mu, torch.diag_embed(q.sigma))
    torch.testing.assert_close(
        likelihood.information({"motif": full}, {"motif": z})["z"],
        likelihood.information({"motif": q}, {"motif": z})["z"],
    )
    tril = full.tril + torch.randn(9, 4, 4, generator=noise(), dtype=torch.float64).tril(-1)
    full = FullNormal(q.mu, tril)
    pairs = torch.cat(
        [FullNormal(m.expand(9, -1), t.expand(9, -1, -1)).log_prob(z) for m, t in zip(*full, strict=True)], 1
    )
    expected = pairs.diagonal() - pairs.logsumexp(1) + math.log(9)
    torch.testing.assert_close(likelihood.information({"motif": full}, {"motif": z})["z"], expected)


def test_information_and_what_is_left_make_up_the_rate_of_the_halves():
    vae = VAE(config.Model(**TINY, levels=2)).eval()
    found = likelihood.measured(vae, [torch.rand(6, 3, 64, 64, generator=noise())], noise())
    halves = found.elbo.kl["motif"].sum(1) + found.elbo.kl["colour"].sum(1)
    torch.testing.assert_close(found.information["z"] + found.left, halves)


def test_units_are_counted_by_what_they_cost_and_by_whether_their_means_move():
    assert likelihood.active_units(torch.tensor([[0.5, 0.0, 0.03], [0.5, 0.03, 0.03]])).tolist() == [True, False, True]
    assert likelihood.moving_units(torch.tensor([[3.0, 0.0, 0.05], [3.0, 0.4, 0.0]])).tolist() == [False, True, False]


def test_perplexity_is_how_many_codes_are_taken_alike():
    assert likelihood.perplexity(torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]])) == pytest.approx(4)
    assert likelihood.perplexity(torch.tensor([[1.0, 0.0], [1.0, 0.0]])) == pytest.approx(1)


def told(used: int, of: int = 64, kl: float = 1.0, moves: float = 1.0, level: float = 5.0) -> list[str]:
    """Of a motif half of which some dimensions cost `kl` and have means that move so far."""
    on = (torch.arange(of) < used).double()
    sign = torch.tensor([[1.0], [-1.0]]).double()
    parts = {"motif": kl * on.expand(2, -1), "level_2": torch.full((2, 1), level)}
    found = likelihood.Measured(Elbo(torch.zeros(2).double(), parts), {"motif": moves * sign * on}, {})
    return likelihood.verdict(found, config.Model(**TINY))


def test_the_verdict_says_healthy_partly_collapsed_or_collapsed_and_what_to_do():
    assert told(64)[0] == "motif healthy: 64 of 64 dimensions carry something."
    assert told(20)[0].startswith("motif partly collapsed: 20 of 64")
    assert told(3)[0] == (
        "motif collapsed: 3 of 64 dimensions carry something; lower objective.beta, raise objective.free_bits, or "
        "lengthen objective.kl_warmup."
    )


def test_a_cost_that_all_pictures_share_carries_nothing():
    assert told(64, moves=0.0)[0].startswith("motif collapsed: 0 of 64")


def test_the_verdict_of_a_lower_level_goes_by_its_nats():
    assert told(64)[1] == "level_2 healthy: 5.0 nats a picture."
    assert told(64, level=0.2)[1].startswith("level_2 collapsed: 0.20 nats a picture; lower objective.beta")
