"""The theorems of a ladder: its posterior is a density, its rate a divergence, its bound meets the exact evidence."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import morphospace as ms
from fixtures.small import Linear, make_images
from fixtures.stopping import whole_and_stopped
from morphospace import recipes, terms
from morphospace.distributions import Chain, divergence, normal
from morphospace.evaluation import evaluate
from morphospace.families import Family, Gaussian
from morphospace.fitting import fit
from morphospace.ladder import Descent, Ladder, levels_of
from morphospace.model import VAE, Conditional, Trace
from morphospace.networks import SIZES
from morphospace.priors import StandardNormal
from morphospace.report import write_report
from morphospace.space import Space
from morphospace.types import ImageSpec, UsageError

SPEC = ImageSpec(1, 8, 8)


@pytest.fixture(autouse=True)
def _noise():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def family(levels: tuple[int, ...], width: int = 6, wild: float = 2.0) -> Ladder:
    """A ladder's posterior in float64 whose levels depend on one another strongly."""
    made = Ladder(levels, width).double()
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(wild)
    return made


def posterior(levels: tuple[int, ...], batch: int = 3) -> Chain:
    made = family(levels)
    q = made(torch.randn(batch, made.outputs(sum(levels)), dtype=torch.float64))
    assert isinstance(q, Chain)
    return q


def standard(latent: int):
    return normal(torch.zeros(latent, dtype=torch.float64), torch.ones(latent, dtype=torch.float64))


# ---------------------------------------------------------------- the posterior is a law


@torch.no_grad()
def test_its_density_integrates_to_one_and_its_draws_follow_it():
    q = posterior((1, 1), batch=1)
    axis = torch.linspace(-9, 9, 1801, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    mass = q.log_prob(grid[:, None])[:, 0].exp() * (axis[1] - axis[0]) ** 2
    assert mass.sum().item() == pytest.approx(1, abs=1e-6)
    z = q.rsample(torch.Size((100_000,)))[:, 0]
    for of in (
        lambda z: z,
        torch.square,
        lambda z: z.prod(-1, keepdim=True),
        lambda z: (z[:, :1] > z[:, 1:]).double(),
    ):
        found = of(z)
        error = found.std(0) / len(z) ** 0.5
        assert ((found.mean(0) - mass @ of(grid)).abs() < 5 * error + 1e-3).all()
    # The second part's law hangs on the first: no product of two laws would pass.
    assert (q.laws(grid)[1].mean[:, 0].max() - q.laws(grid)[1].mean[:, 0].min()).abs() > 0.1


@torch.no_grad()
def test_its_mean_is_the_pass_without_noise_and_no_draw():
    q = posterior((2, 3, 1))
    assert torch.equal(q.mean, q.mean)
    for start, stop, law in zip((0, 2, 5), (2, 5, 6), q.laws(q.mean), strict=True):
        torch.testing.assert_close(law.mean.expand(3, -1), q.mean[:, start:stop])
        torch.testing.assert_close(law.stddev.expand(3, -1), q.stddev[:, start:stop])


@torch.no_grad()
def test_every_point_against_every_image_is_each_pair_alone():
    """What the aggregated posterior asks for."""
    q, z = posterior((2, 3)), torch.randn(5, 5, dtype=torch.float64)
    pairs = q.log_prob(z[:, None])
    assert pairs.shape == (5, 3)
    for i in range(5):
        torch.testing.assert_close(pairs[i], q.log_prob(z[i].expand(3, 5)))


# ---------------------------------------------------------------- the rate


@torch.no_grad()
def test_the_rate_is_its_monte_carlo_estimate_with_less_noise():
    q, p, draws = posterior((2, 3, 1)), standard(6), 40_000
    z = q.rsample(torch.Size((draws,)))
    rate = divergence(q, p, z)
    plain = q.log_prob(z) - p.log_prob(z)
    torch.testing.assert_close(rate, q.divergences(p, z).sum(0))
    difference = rate - plain
    assert (difference.mean(0).abs() < 4.5 * difference.std(0) / draws**0.5).all()
    assert (rate.var(0) < plain.var(0)).all()


@torch.no_grad()
def test_where_there_are_no_residuals_the_posterior_is_the_prior():
    made = family((2, 3, 1))
    for layer in made.residuals:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    q, p = made(torch.randn(4, 18, dtype=torch.float64)), standard(6)
    z = q.rsample(torch.Size((7,)))
    assert (q.divergences(p, z) == 0).all()
    assert (divergence(q, p, z) == 0).all()
    torch.testing.assert_close(q.log_prob(z), p.log_prob(z), rtol=0, atol=1e-12)


@torch.no_grad()
def test_in_deviations_of_the_prior_it_is_the_ladder_of_the_papers():
    """y_l = μ_l + σ_l·z_l changes neither p's mass nor KL(q_l ‖ p_l), NVAE's ½·(Δμ²/σ² + Δσ² − log Δσ² − 1)."""
    stem, q = Descent((2, 3, 1), SIZES["tiny"]).double(), posterior((2, 3, 1), batch=4)
    z = torch.randn(4, 6, dtype=torch.float64)
    parts, laws = z.split((2, 3, 1), -1), q.laws(z)
    h, log_p = stem.top(parts[0]), standard(2).log_prob(parts[0])
    for level, rung in enumerate(stem.rungs, 1):
        prior = rung.prior(h)
        y = prior.mean + prior.stddev * parts[level]
        log_p = log_p + prior.log_prob(y) + prior.stddev.log().sum(-1)  # log |det ∂y/∂z|
        shift, factor = prior.stddev * laws[level].mean, laws[level].stddev
        in_y = normal(prior.mean + shift, prior.stddev * factor)
        kl = torch.distributions.kl_divergence(in_y, prior)
        by_hand = 0.5 * (shift.square() / prior.stddev.square() + factor**2 - (factor**2).log() - 1).sum(-1)
        torch.testing.assert_close(kl, by_hand)
        torch.testing.assert_close(kl, q.divergences(standard(6), z[None])[level, 0])
        h = rung(h, parts[level])
    torch.testing.assert_close(log_p, standard(6).log_prob(z))
    torch.testing.assert_close(h, stem(z))


# ---------------------------------------------------------------- the bound, where the evidence is known

SHAPE, SIGMA, SLOPE, SPREAD = (1, 2, 3), 0.6, 1.3, 0.5


class ExactPosterior(Family):
    """Means of the exact posterior of a linear-Gaussian model -> it, as a chain of two."""

    def __init__(self, precision: Tensor) -> None:
        super().__init__()
        self.precision, self.covariance = precision, torch.linalg.inv(precision)

    def forward(self, h: Tensor) -> Chain:
        first, second = h.split(1, -1)
        slope = self.covariance[1, 0] / self.covariance[0, 0]

        def step(level: int, above: Tensor):
            if level == 0:
                return normal(first, self.covariance[0, 0].sqrt().expand_as(first))
            mean = second + slope * (above - first)
            return normal(mean, self.precision[1, 1].rsqrt().expand_as(mean))

        return Chain(step, (1, 1), h)


def two_levels() -> tuple[VAE, Tensor, Tensor]:
    """y_1 ~ N(0, 1), y_2 ~ N(1.3·y_1, 0.5²), x = W·y + b + noise: the model with its exact posterior, W, and b."""
    generator = torch.Generator().manual_seed(5)
    W = torch.randn(6, 2, dtype=torch.float64, generator=generator)
    b = torch.randn(6, dtype=torch.float64, generator=generator)
    M = W @ torch.tensor([[1.0, 0.0], [SLOPE, SPREAD]], dtype=torch.float64)  # from z
    precision = torch.eye(2, dtype=torch.float64) + M.T @ M / SIGMA**2
    encoder = Conditional(Linear(SHAPE, (2,)), ExactPosterior(precision))
    decoder = Conditional(Linear((2,), SHAPE), Gaussian(SIGMA, learned=False))
    model = VAE(encoder, decoder, StandardNormal(2)).double().requires_grad_(False)
    decoder.family.log_sigma.fill_(math.log(SIGMA))
    decoder.network.linear.weight.copy_(M)
    decoder.network.linear.bias.copy_(b)
    to_mean = torch.linalg.solve(precision, M.T) / SIGMA**2
    encoder.network.linear.weight.copy_(to_mean)
    encoder.network.linear.bias.copy_(-to_mean @ b)
    return model, W, b


def evidence(W: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """From the covariance of y itself, so that the way through z is tested too."""
    y = torch.tensor([[1.0, SLOPE], [SLOPE, SLOPE**2 + SPREAD**2]], dtype=torch.float64)
    covariance = W @ y @ W.T + SIGMA**2 * torch.eye(6, dtype=torch.float64)
    return torch.distributions.MultivariateNormal(b, covariance).log_prob(x.flatten(1))


def drawn(model: VAE, count: int) -> Tensor:
    """Images of the model."""
    return model.decoder(torch.randn(count, 2, dtype=torch.float64)).rsample(torch.Size())


def test_with_the_exact_posterior_every_weight_and_the_bound_are_the_evidence():
    model, W, b = two_levels()
    x = drawn(model, 7)
    exact = evidence(W, b, x)
    torch.testing.assert_close(model.trace(x, 11).log_weight, exact.expand(11, 7), rtol=0, atol=1e-9)
    # Points at which the mean of any quadratic function is its expectation under q.
    q = model.encode(x)
    root = torch.linalg.cholesky(model.encoder.family.covariance) * 2**0.5
    z = q.mean + torch.cat([root.T, -root.T])[:, None]
    trace = Trace(x, q, z, model.decoder(z), model.prior(model.encoder))
    torch.testing.assert_close(-(trace.distortion + trace.rate).mean(0), exact, rtol=0, atol=1e-9)


def test_it_learns_a_posterior_that_no_independent_dimensions_have_and_weighted_it_meets_the_evidence():
    model, W, b = two_levels()
    precision, x = model.encoder.family.precision, drawn(model, 300)
    # What the best normal with independent dimensions falls short by, for every image.
    independent = 0.5 * (precision.diagonal().log().sum() - torch.logdet(precision)).item()
    assert independent > 0.2
    model.encoder = Conditional(Linear(SHAPE, (2 * 16,)), Ladder((1, 1), 16)).double()
    steps = 250
    optimizer = torch.optim.Adam(model.encoder.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        trace = model.trace(x, 2)
        (trace.distortion + trace.rate).mean().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        trace, exact = model.trace(x, 200), evidence(W, b, x)
        gap = (exact + (trace.distortion + trace.rate).mean(0)).mean().item()
        assert -0.01 < gap < 0.4 * independent
        short = [(exact - model.log_likelihood(x, draws)[0]).mean().item() for draws in (1, 100)]
        assert abs(short[1]) < 0.3 * short[0]  # the bound grows with the draws
        estimate, error = model.log_likelihood(x[:100], 2000, 500)
        z = (estimate - exact[:100]) / error
        assert z.abs().max() < 5
        assert error.max() < 0.2


# ---------------------------------------------------------------- the terms


def ladder_trace(levels: int = 3, latent: int = 7) -> Trace:
    parts = recipes.ladder(SPEC, latent=latent, size="tiny", levels=levels).build()
    return parts.model.trace(torch.rand(6, *SPEC.shape), 2)


def test_the_levels_rates_sum_to_the_rate():
    trace = ladder_trace()
    each = [terms.LevelRate(level)(trace) for level in (1, 2, 3)]
    torch.testing.assert_close(torch.stack(each).sum(), trace.rate.mean())
    assert min(each) > 0


class Rates(Chain):
    """Levels with rates of our choice."""

    def __init__(self, rates: Tensor, sizes: tuple[int, ...]) -> None:
        super().__init__(
            lambda part, _: normal(torch.zeros(1, sizes[part]), torch.ones(1, sizes[part])),
            sizes,
            torch.zeros(1, 1),
        )
        self.rates = rates

    def divergences(self, p, z):
        return self.rates


def balanced(rates: Tensor, sizes: tuple[int, ...]) -> Tensor:
    z = torch.zeros(1, 2, sum(sizes))
    q = Rates(rates[:, None, None].expand(-1, 1, 2), sizes)
    return terms.balanced_rate(Trace(torch.zeros(2, 1, 1, 1), q, z, standard(1), standard(1)))


def test_balancing_lets_those_pay_that_carry_more_for_their_size():
    # As much for each dimension: nothing to balance.
    assert balanced(torch.tensor([3.0, 6.0, 12.0]) - 0.01, (1, 2, 4)).item() == pytest.approx(20.97, rel=1e-6)
    # By hand: for each dimension 4 and 1 nats, which brought to a mean of one are 1.6 and 0.4.
    rates = torch.tensor([4.0, 2.0], requires_grad=True)
    value = balanced(rates - 0.01, (1, 2))
    assert value.item() == pytest.approx(1.6 * 3.99 + 0.4 * 1.99, abs=0.02)
    (gradient,) = torch.autograd.grad(value, rates)
    torch.testing.assert_close(
        gradient, torch.tensor([1.6, 0.4]), rtol=0, atol=0.01
    )  # none through the shares
    # Nothing anywhere, or all in one level: numbers still.
    assert balanced(torch.zeros(2), (3, 5)).item() == 0
    assert balanced(torch.tensor([0.0, 5.0]), (1, 1)).item() == pytest.approx(10, rel=0.01)


def test_levels_are_asked_of_a_ladder_alone():
    trace = recipes.vae(SPEC, size="tiny").build().model.trace(torch.rand(2, *SPEC.shape))
    with pytest.raises(UsageError, match="'ladder'"):
        terms.balanced_rate(trace)
    with pytest.raises(UsageError, match="standard normal"):
        terms.LevelRate(1)(
            Trace(trace.x, posterior((1, 1), 2), trace.z.double(), trace.px, posterior((1, 1), 2))
        )


def test_the_rate_is_balanced_while_it_warms_up_and_the_elbo_afterwards():
    objective = recipes.ladder(SPEC, size="tiny", warmup=0.5).build().objective
    seen = {"rate_of_level_1": 0.0, "rate_of_level_2": 0.0}
    assert objective.weights(0.25) == {"distortion": 1, "rate": 0, "balanced_rate": 0.5, **seen}
    for done in (0.5, 0.75, 1.0):
        assert objective.weights(done) == {"distortion": 1, "rate": 1, "balanced_rate": 0, **seen}
    plain = recipes.ladder(SPEC, size="tiny", warmup=0.0).build().objective
    assert plain.weights(0.0) == {"distortion": 1, "rate": 1, **seen}


# ---------------------------------------------------------------- the recipe


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_each_level_has_twice_the_dimensions_of_the_one_above(levels):
    assert levels_of(2**levels - 1, levels) == tuple(2**i for i in range(levels))
    for latent in range(levels, 70):
        found = levels_of(latent, levels)
        assert len(found) == levels
        assert sum(found) == latent
        assert list(found) == sorted(found)
        assert min(found) > 0
    with pytest.raises(UsageError, match="latent"):
        levels_of(levels - 1, levels)


@pytest.mark.parametrize(
    "wrong",
    [
        {"levels": 1},
        {"levels": 5},
        {"latent": 1},
        {"latent": 3, "levels": 4},
        {"warmup": 1.5},
        {"warmup": -1},
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        recipes.get("ladder", SPEC, wrong)


def test_a_space_of_another_number_of_dimensions_than_its_levels_is_refused():
    with pytest.raises(UsageError, match="6 dimensions together"):
        Ladder((2, 4), 8).outputs(5)


@pytest.mark.parametrize("levels", [2, 3, 4])
@pytest.mark.parametrize("spec", [ImageSpec(1, 28, 28), ImageSpec(3, 9, 31), ImageSpec(1, 128, 70)], ids=str)
def test_every_level_tells_in_the_picture_and_is_told_by_it(spec, levels):
    model = recipes.ladder(spec, latent=11, size="tiny", levels=levels).build().model
    x = torch.rand(2, *spec.shape)
    trace = model.trace(x)
    assert trace.px.mean.shape == (1, 2, *spec.shape)
    z = torch.zeros(1, 11, requires_grad=True)
    (pull,) = torch.autograd.grad(model.decode(z)[0, 0, spec.height // 2, spec.width // 2], z)
    assert (pull != 0).all()
    moved = (model.encode(x).mean - model.encode(1 - x).mean).abs()
    assert (moved > 0).all()


# ---------------------------------------------------------------- as a space


@pytest.fixture(scope="module")
def garments():
    return ms.load("garments", count=150)


@pytest.fixture(scope="module")
def run(garments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ladder") / "run"
    recipe = recipes.ladder(garments.spec, latent=7, size="tiny", levels=3)
    fit(recipe, garments, steps=60, out=folder, seed=1)
    return folder


def test_a_run_of_it_is_a_space_like_any_other(run, garments):
    space = Space.load(run)
    q = space.encode(garments)
    assert torch.equal(q.mean, space.encode(garments).mean)
    np.testing.assert_allclose(space.latents.mean, q.mean.numpy(), atol=1e-5)
    np.testing.assert_allclose(space.latents.scale, q.stddev.numpy(), rtol=1e-4)
    assert not q.mean.requires_grad
    assert space.decode(q.mean[:3]).shape == (3, *garments.spec.shape)
    assert torch.equal(space.sample(4, seed=2), space.sample(4, seed=2))
    assert ms.morph(space, *space.classes[:2], steps=5).images.shape == (5, *garments.spec.shape)
    fitted = space.with_prior("mixture", components=3)
    assert torch.isfinite(fitted.sample(2)).all()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["split"] == "train"][-1]
    levels = [last["terms"][f"rate_of_level_{level}"] for level in (1, 2, 3)]
    assert sum(levels) == pytest.approx(last["rate"], rel=1e-4)


def test_it_is_measured_level_by_level(run, garments):
    record = evaluate(Space.load(run), garments, parts=("doctor", "likelihood", "latents"), draws=50)
    rates = [record.value("latents", f"rate_level{level}") for level in (1, 2, 3)]
    assert sum(rates) == pytest.approx(record.value("likelihood", "rate"), rel=0.1)
    assert record.value("likelihood", "nll_importance") < record.value("likelihood", "neg_elbo")
    assert record.parts["doctor"]["signs"]["levels"] == pytest.approx(rates, rel=0.3)


def test_its_report_is_written(run, garments):
    write_report(Space.load(run), garments)
    assert "residual" in (run / "report.html").read_text()


def test_interrupted_in_the_warm_up_it_ends_with_the_same_bytes(tmp_path):
    images = make_images(40)
    recipe = recipes.ladder(images.spec, latent=7, size="tiny", levels=3)
    whole_and_stopped(recipe, images, tmp_path, steps=8, at=2)
