"""The importance-weighted bound, on a model so small that log p(x) is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from saree_vae import config, likelihood
from saree_vae.distributions import Normal, standard_noise
from saree_vae.objective import importance_bound
from saree_vae.vae import VAE, Noise

PIXELS, DIM, NOISE = 4, 2, 0.5


class Linear(nn.Module):
    """z ~ N(0, I), x|z ~ N(W z + b, NOISE^2 I), so x ~ N(b, W W^T + NOISE^2 I); q is the true posterior, or too wide.

    Each picture (1, 2, 2) is told by its first value, and takes its own row of one table of noise, draw after draw.
    """

    def __init__(self, pictures: int, draws: int, wide: float):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.w, self.b = (torch.randn(PIXELS, d, generator=generator).double() for d in (DIM, 1))
        covariance = torch.linalg.inv(torch.eye(DIM) + self.w.T @ self.w / NOISE**2)
        self.tril = wide * torch.linalg.cholesky(covariance)
        self.mean = covariance @ self.w.T / NOISE**2  # of x - b
        z, e = (torch.randn(pictures, d, generator=generator).double() for d in (DIM, PIXELS))
        self.x = (z @ self.w.T + self.b[:, 0] + NOISE * e).view(-1, 1, 2, 2)
        self.table = torch.randn(draws, pictures, DIM, generator=generator).double()
        self.taken, self.calls = torch.zeros(pictures, dtype=torch.long), 0

    def evidence(self) -> Tensor:
        covariance = self.w @ self.w.T + NOISE**2 * torch.eye(PIXELS)
        return torch.distributions.MultivariateNormal(self.b[:, 0], covariance).log_prob(self.x.flatten(1))

    def look(self, x: Tensor) -> Tensor:
        return (x[:, None, 0, 0, 0] == self.x[None, :, 0, 0, 0]).float().argmax(1)  # which pictures they are

    def noise(self, count: int, generator: torch.Generator | None = None) -> Noise:
        return {"count": torch.tensor(count)}

    def log_weights(self, x: Tensor, seen: Tensor, samples: int, noise: Noise) -> Tensor:
        assert noise["count"] == samples * len(x)
        rows = self.taken[seen] + torch.arange(samples)[:, None]  # (samples, B)
        self.taken[seen] += samples
        self.calls += 1
        q = torch.distributions.MultivariateNormal((x.flatten(1) - self.b[:, 0]) @ self.mean.T, scale_tril=self.tril)
        z = q.mean + self.table[rows, seen] @ self.tril.T
        p_x = Normal(z @ self.w.T + self.b[:, 0], torch.tensor(NOISE)).log_prob(x.flatten(1)).sum(-1)
        p_z = Normal(torch.zeros(DIM), torch.ones(DIM)).log_prob(z).sum(-1)
        return p_x + p_z - q.log_prob(z)


@pytest.mark.parametrize("samples", [1, 3, 20])
def test_from_the_true_posterior_every_draw_is_the_evidence(samples):
    model = Linear(pictures=7, draws=samples, wide=1.0)
    torch.testing.assert_close(likelihood.bound(model, model.x, samples), model.evidence())


def test_the_bound_rises_with_draws_and_ends_at_the_evidence():
    """The mean over 400 pictures; its standard error is below 0.01 nats but for the ELBO, where it is 0.05."""
    gaps = []
    for samples in (1, 5, 50, 2000):
        model = Linear(pictures=400, draws=samples, wide=2.0)
        gaps.append((model.evidence() - likelihood.bound(model, model.x, samples)).mean().item())
    assert gaps[0] > gaps[1] + 0.2 > gaps[2] + 0.25
    assert gaps[2] > gaps[3] + 0.01
    assert gaps[3] == pytest.approx(0, abs=0.01)
    # KL(q || p(z|x)) of q with twice the spread in each of DIM directions.
    assert gaps[0] == pytest.approx(DIM * (2**2 / 2 - 1 / 2 - math.log(2)), abs=0.25)


@pytest.mark.parametrize("samples", [500, 60, 1])  # of one picture at a time in three parts; of 3 at a time; of all
def test_the_bound_does_not_depend_on_how_it_is_cut_up(monkeypatch, samples):
    whole, parts = Linear(25, samples, wide=2.0), Linear(25, samples, wide=2.0)
    expected = likelihood.bound(whole, whole.x, samples)
    monkeypatch.setattr(likelihood, "ROWS", 1)  # 196 pictures of 4 values
    torch.testing.assert_close(likelihood.bound(parts, parts.x, samples), expected)
    assert (parts.taken == samples).all()
    assert whole.calls == 1 and parts.calls == {500: 75, 60: 9, 1: 1}[samples]


def test_the_bound_is_the_logarithm_of_the_mean_weight():
    weights = torch.tensor([[1.0, 2], [3, 4], [5, 9]])
    torch.testing.assert_close(importance_bound(weights.log()), weights.double().mean(0).log())
    assert importance_bound(torch.tensor([[-2e5], [-1e5]])).item() == pytest.approx(-1e5 - math.log(2))


# --- of a real model ---


def tiny(**changes) -> VAE:
    settings = {"image_size": 4, "channels": 1, "encoder": "mlp", "width": 8, "motif_dim": 2, "colour_dim": 0}
    torch.manual_seed(3)
    model = VAE(config.Model(**(settings | {"likelihood": "bernoulli"} | changes)))
    for name, part in model.named_parameters():  # wide posteriors of different means, decoded in strong contrasts
        if name.startswith("decoder.last") or name.startswith("motif_encoder.body.5"):
            part.data.mul_(4)
    return model


def pictures(count: int, channels: int = 1) -> Tensor:
    return (torch.rand(count, channels, 4, 4, generator=torch.Generator().manual_seed(1)) > 0.5).float()


def test_a_log_weight_is_the_joint_density_over_that_of_the_draw():
    model, x = tiny(prior="mixture", components=3).eval(), pictures(5)
    with torch.no_grad():
        seen, noise = model.look(x), model.noise(15, torch.Generator().manual_seed(0))
        found = model.log_weights(x, seen, 3, noise)
        q = model.posterior(seen)["motif"]
        for draw in range(3):
            z = q.mu + q.sigma * noise["motif"][5 * draw : 5 * draw + 5]
            logits = model.decoder(z, torch.empty(5, 0), (), []).logits
            p_x = torch.distributions.Bernoulli(logits=logits).log_prob(x).flatten(1).sum(1)
            p_z = model.prior()["motif"].log_prob(z)[:, 0]
            torch.testing.assert_close(found[draw], p_x + p_z - q.log_prob(z).sum(1))


@pytest.mark.parametrize("changes", [{}, {"posterior": "iaf"}, {"posterior": "full"}, {"levels": 3}, {"prior": "vamp"}])
def test_the_bound_of_every_family_rises_from_its_elbo(changes):
    model, x = tiny(**changes).eval(), pictures(1).expand(300, -1, -1, -1)
    by_draws = [likelihood.bound(model, x, k, torch.Generator().manual_seed(0)) for k in (1, 5, 50)]
    with torch.no_grad():
        elbo = model.elbo(x, torch.Generator().manual_seed(1)).value.double()
    error = math.hypot(*((values.std() / math.sqrt(len(x))).item() for values in (elbo, by_draws[0])))
    assert elbo.mean().item() == pytest.approx(by_draws[0].mean().item(), abs=4.5 * error + 1e-6)
    assert by_draws[0].mean() < by_draws[1].mean() < by_draws[2].mean()
    assert by_draws[0].std() > by_draws[1].std() > by_draws[2].std()


def gradients(model: VAE, loss: Tensor) -> Tensor:
    slopes = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([slope.flatten() for slope in slopes])


@pytest.mark.parametrize("changes", [{}, {"levels": 2, "level_dim": 2}])
def test_the_gradient_of_the_chosen_draw_is_that_of_the_whole_bound_in_the_mean(changes):
    """Over 60 rounds of 400 draws of one picture; within 4.5 standard errors in each of ten random directions."""
    model, x, samples, rounds = tiny(**changes).train(), pictures(1).expand(400, -1, -1, -1), 4, 60
    count = sum(p.numel() for p in model.parameters())
    directions = standard_noise(torch.zeros(count, 10), torch.Generator().manual_seed(2))
    chosen, whole, plain = [], [], []
    for number in range(rounds):
        generator = torch.Generator().manual_seed(number)
        out = model({"clean": x}, generator, samples=samples, swap=False)
        chosen.append(gradients(model, -out.elbo.loss()) @ directions)
        weights = model.log_weights(x, model.look(x), samples, model.noise(samples * len(x), generator))
        whole.append(gradients(model, importance_bound(weights).mean()) @ directions)
        one = model({"clean": x}, generator, samples=1, swap=False)
        plain.append(gradients(model, -one.elbo.loss()) @ directions)
    chosen, whole, plain = torch.stack(chosen), torch.stack(whole), torch.stack(plain)  # (rounds, 10)

    def apart(one: Tensor, other: Tensor) -> Tensor:
        error = ((one.var(0) + other.var(0)) / rounds).sqrt()
        return (one.mean(0) - other.mean(0)).abs() / error

    assert apart(chosen, whole).max() < 4.5
    assert apart(plain, whole).max() > 10  # these draws are enough to tell that the ELBO's gradient is another


def test_training_chooses_a_draw_as_often_as_it_weighs_and_tells_the_bound_of_them_all():
    model, x, samples = tiny().train(), pictures(4000), 3
    out = model({"clean": x}, torch.Generator().manual_seed(0), samples=samples, swap=False)
    generator = torch.Generator().manual_seed(0)
    model.noise(len(x), generator)  # what a single draw would take
    with torch.no_grad():
        weights = model.log_weights(x, model.look(x), samples, model.noise(samples * len(x), generator))
    torch.testing.assert_close(out.bound, importance_bound(weights))
    away, chosen = (out.elbo.value - weights).abs().min(0)
    assert away.max() < 1e-4
    shares = weights.softmax(0)
    gap = shares.gather(0, chosen[None])[0] - shares.square().sum(0)  # nothing in the mean
    assert gap.mean().abs() < 4.5 * gap.std() / math.sqrt(len(x))
    assert shares.max(0).values.mean() > 1 / samples + 0.1  # some do weigh more
