"""Densities integrate to one, samples match them, and a closed-form KL is what its draws say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Tensor

from morphospace.distributions import (
    Chain,
    Concrete,
    Flowed,
    Joint,
    LowRankNormal,
    Mixture,
    OneHot,
    PowerSpherical,
    UniformSphere,
    VonMisesFisher,
    WrappedNormal,
    divergence,
    full_normal,
    image_bernoulli,
    image_normal,
    make_flow,
    normal,
)
from morphospace.distributions.sphere import log_bessel
from morphospace.families import Bernoulli, DiagonalNormal, Gaussian
from morphospace.manifolds import Ball

F64 = torch.float64


class Opaque:
    """A distribution that torch has never heard of, so that no closed form applies."""

    def __init__(self, inner):
        self.inner = inner
        self.mean, self.stddev = inner.mean, inner.stddev

    def rsample(self, sample_shape):
        return self.inner.rsample(sample_shape)

    def log_prob(self, value):
        return self.inner.log_prob(value)


def grid(low: float, high: float, points: int, dimensions: int) -> tuple[Tensor, float]:
    """All points of a cube's grid, (points^dimensions, dimensions), and the volume that each stands for."""
    axis = torch.linspace(low, high, points, dtype=F64)
    return torch.cartesian_prod(*[axis] * dimensions).reshape(-1, dimensions), float(
        axis[1] - axis[0]
    ) ** dimensions


def some_normals(seed: int = 0, batch: int = 5, dimensions: int = 3):
    generator = torch.Generator().manual_seed(seed)
    loc = torch.randn(batch, dimensions, dtype=F64, generator=generator)
    return normal(loc, torch.rand(batch, dimensions, dtype=F64, generator=generator) + 0.2)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_normal_integrates_to_one(dimensions):
    loc, scale = torch.tensor([0.3, -0.5, 0.1], dtype=F64), torch.tensor([0.7, 1.1, 0.9], dtype=F64)
    points, volume = grid(-8, 8, 121, dimensions)
    mass = normal(loc[:dimensions], scale[:dimensions]).log_prob(points).exp().sum() * volume
    assert mass.item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 1), (1, 1, 2)])
@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_gaussian_images_integrate_to_one(shape, sigma):
    """The likelihood keeps its constant: without it distortions of different σ could not be compared."""
    points, volume = grid(-4, 5, 401, math.prod(shape))
    images = points.reshape(-1, *shape)
    means = torch.full(shape, 0.4, dtype=F64)
    family = Gaussian(sigma).double()
    assert (family(means).log_prob(images).exp().sum() * volume).item() == pytest.approx(1, abs=1e-6)
    scale = torch.tensor(sigma, dtype=F64)
    direct = image_normal(means, scale).log_prob(images)
    torch.testing.assert_close(direct, family(means).log_prob(images), rtol=1e-6, atol=1e-6)


def every_binary_image(shape: tuple[int, int, int]) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=math.prod(shape))), dtype=F64).reshape(
        -1, *shape
    )


@pytest.mark.parametrize("shape", [(1, 2, 3), (3, 1, 2)])
def test_bernoulli_sums_to_one_over_all_binary_images(shape):
    logits = torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(1)) * 3
    assert image_bernoulli(logits).log_prob(every_binary_image(shape)).exp().sum().item() == pytest.approx(1)


def test_bernoulli_of_grey_is_the_expectation_over_binary_images():
    shape, generator = (1, 2, 4), torch.Generator().manual_seed(2)
    logits = torch.randn(shape, dtype=F64, generator=generator) * 2
    grey = torch.rand(shape, dtype=F64, generator=generator)
    binary = every_binary_image(shape)
    chance = torch.where(binary == 1, grey, 1 - grey).flatten(1).prod(1)
    expected = (chance * image_bernoulli(logits).log_prob(binary)).sum()
    torch.testing.assert_close(image_bernoulli(logits).log_prob(grey), expected)


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_bernoulli_from_logits_never_overflows(logit):
    """Sure of the wrong thing costs |logit| nats a pixel, and is not infinite."""
    logits = torch.full((1, 2, 2), logit, requires_grad=True)
    value = image_bernoulli(logits).log_prob(torch.full((1, 2, 2), float(logit < 0)))
    value.backward()
    assert value.item() == pytest.approx(-4e4)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("seed", range(4))
def test_closed_form_kl_is_its_monte_carlo_estimate(seed):
    q, p, draws = some_normals(seed), some_normals(seed + 100), 20_000
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        z = q.rsample(torch.Size((draws,)))
    exact, each = divergence(q, p, z), divergence(Opaque(q), p, z)
    assert exact.shape == each.shape == (draws, 5)
    assert (exact == exact[0]).all()
    error = each.std(0) / draws**0.5
    assert ((exact[0] - each.mean(0)).abs() < 4 * error).all()
    assert (exact > 0).all()


def test_kl_has_its_textbook_value():
    """½·Σ(σ² + μ² − 1 − log σ²): Kingma & Welling 2014, appendix B; summed over dimensions."""
    q = some_normals()
    mu, sigma = q.mean, q.stddev
    p = normal(torch.zeros(3, dtype=F64), torch.ones(3, dtype=F64))
    expected = 0.5 * (sigma**2 + mu**2 - 1 - (sigma**2).log()).sum(1)
    torch.testing.assert_close(divergence(q, p, torch.zeros(2, 5, 3, dtype=F64)), expected.expand(2, 5))
    assert divergence(p, p, torch.zeros(1, 1, 3, dtype=F64)).item() == 0


@pytest.mark.parametrize(
    ("distribution", "spread"),
    [
        (some_normals(), None),
        (image_normal(torch.tensor([[[0.2, 0.7]]], dtype=F64), torch.tensor(0.3, dtype=F64)), 0.3),
    ],
)
def test_samples_match_mean_and_deviation(distribution, spread):
    draws = 40_000
    with torch.random.fork_rng():
        torch.manual_seed(0)
        z = distribution.rsample(torch.Size((draws,)))
    error = distribution.stddev / draws**0.5
    assert ((z.mean(0) - distribution.mean).abs() < 4.5 * error).all()
    torch.testing.assert_close(z.std(0), distribution.stddev, rtol=0.03, atol=0)
    if spread is not None:
        assert (distribution.stddev == spread).all()


def test_draws_carry_gradients_to_their_parameters():
    loc, scale = torch.zeros(2, 3, requires_grad=True), torch.ones(2, 3, requires_grad=True)
    normal(loc, scale).rsample(torch.Size((4,))).sum().backward()
    assert (loc.grad == 4).all()
    assert scale.grad.abs().min() > 0


# ---------------------------------------------------------------- families


def test_diagonal_normal_reads_mean_then_log_variance():
    h = torch.tensor([[1.0, -2.0, math.log(4.0), 0.0]])
    q = DiagonalNormal()(h)
    torch.testing.assert_close(q.mean, torch.tensor([[1.0, -2.0]]))
    torch.testing.assert_close(q.stddev, torch.tensor([[2.0, 1.0]]))


@pytest.mark.parametrize("log_variance", [-1e6, 1e6])
def test_a_runaway_log_variance_stays_finite(log_variance):
    h = torch.tensor([[0.0, log_variance]], requires_grad=True)
    q = DiagonalNormal()(h)
    value = divergence(q, normal(torch.zeros(1), torch.ones(1)), torch.zeros(1, 1, 1)).sum()
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(h.grad).all()
    assert q.stddev.item() > 0


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("family", "shape"), [(Bernoulli(), (2, 1, 3, 3)), (Gaussian(), (2, 1, 3, 3)), (DiagonalNormal(), (2, 4))]
)
def test_probabilities_are_float32_whatever_the_network_ran_in(family, shape, kind):
    assert family(torch.zeros(shape, dtype=kind)).mean.dtype == torch.float32


def test_a_fixed_sigma_does_not_learn_and_a_learned_one_does():
    assert not Gaussian(0.5, learned=False).log_sigma.requires_grad
    family = Gaussian(0.5)
    family(torch.zeros(1, 2, 2)).log_prob(torch.ones(1, 2, 2)).backward()
    # d/d log σ of −½·(1/σ)² − log σ, over four pixels
    assert family.log_sigma.grad.item() == pytest.approx(4 * (1 / 0.25 - 1), rel=1e-5)


# ---------------------------------------------------------------- normals of every covariance


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def some_tril(batch: int, dimensions: int, seed: int = 0) -> Tensor:
    lower = random(batch, dimensions, dimensions, seed=seed, scale=0.4).tril(-1)
    return lower + torch.diag_embed(0.4 + random(batch, dimensions, seed=seed + 1).sigmoid())


def low_rank(batch: int = 4, dimensions: int = 3, rank: int = 2) -> LowRankNormal:
    variance = 0.2 + random(batch, dimensions, seed=5).sigmoid()
    return LowRankNormal(random(batch, dimensions), variance, random(batch, dimensions, rank, seed=6))


def test_a_low_rank_normal_is_the_normal_with_its_covariance():
    q = low_rank()
    covariance = torch.diag_embed(q.diagonal) + q.factor @ q.factor.mT
    whole = torch.distributions.MultivariateNormal(q.loc, covariance)
    z = random(7, 4, 3, seed=9)
    torch.testing.assert_close(q.log_prob(z), whole.log_prob(z))
    torch.testing.assert_close(q.entropy(), whole.entropy())
    torch.testing.assert_close(q.variance, whole.variance)
    torch.testing.assert_close(torch.cov(drawn(q, 40_000)[:, 0].T), covariance[0], rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    "q", [low_rank(), full_normal(random(4, 3), some_tril(4, 3))], ids=["low rank", "full"]
)
def test_the_rate_of_a_correlated_normal_is_what_its_draws_say(q):
    p = normal(random(3, seed=8), torch.tensor([0.7, 1.0, 1.6], dtype=F64))
    z = drawn(q, 20_000)
    each = q.log_prob(z) - p.log_prob(z)
    exact = divergence(q, p, z)
    assert (exact == exact[0]).all()
    assert ((exact[0] - each.mean(0)).abs() < 4 * each.std(0) / 20_000**0.5).all()


def drawn(law, count: int, seed: int = 0) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return law.rsample(torch.Size((count,)))


def some_mixture(full: bool) -> Mixture:
    loc = torch.tensor([[-2.0, 0.0], [1.0, 1.5], [0.5, -2.0]], dtype=F64)
    scale = some_tril(3, 2) if full else 0.3 + random(3, 2, seed=2).sigmoid()
    return Mixture(torch.tensor([0.5, -0.3, 0.1], dtype=F64), loc, scale)


@pytest.mark.parametrize("full", [False, True])
def test_a_mixture_integrates_to_one_and_its_draws_are_its_own(full):
    law = some_mixture(full)
    points, volume = grid(-9, 9, 361, 2)
    density = law.log_prob(points).exp() * volume
    assert density.sum().item() == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close((density[:, None] * points).sum(0), law.mean, rtol=1e-6, atol=1e-6)
    square = (density[:, None] * points.square()).sum(0)
    torch.testing.assert_close((square - law.mean.square()).sqrt(), law.stddev, rtol=1e-6, atol=0)
    z = drawn(law, 40_000)
    assert ((z.mean(0) - law.mean).abs() < 4.5 * law.stddev / 200).all()
    torch.testing.assert_close(z.std(0), law.stddev, rtol=0.03, atol=0)
    share = law.assignments(z).mean(0)
    torch.testing.assert_close(share, law.logits.exp(), rtol=0.03, atol=0)


def test_assignments_are_bayes_rule():
    law = some_mixture(full=False)
    z = random(5, 2)
    joint = torch.stack(
        [(law.logits[m] + normal(law.loc[m], law.scale[m]).log_prob(z)).exp() for m in range(3)], 1
    )
    torch.testing.assert_close(law.assignments(z), joint / joint.sum(1, keepdim=True))


# ---------------------------------------------------------------- the sphere

AXIAL = [PowerSpherical, VonMisesFisher]


def axial(law, dimensions: int, kappa: list[float]):
    loc = torch.nn.functional.normalize(random(len(kappa), dimensions, seed=3), dim=-1)
    return law(loc, torch.tensor(kappa, dtype=F64))


def area_elements(dimensions: int, steps: int = 200) -> tuple[Tensor, Tensor]:
    """Points of the sphere in 2 or 3 dimensions, and the area that each stands for."""
    around = torch.arange(2 * steps, dtype=F64) * math.pi / steps
    if dimensions == 2:
        return torch.stack([around.cos(), around.sin()], 1), torch.full_like(around, math.pi / steps)
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(steps))
    t, phi = (m.flatten() for m in torch.meshgrid(nodes, around, indexing="ij"))
    across = (1 - t**2).sqrt()
    area = weights[:, None].expand(-1, 2 * steps).flatten() * math.pi / steps
    return torch.stack([t, across * phi.cos(), across * phi.sin()], 1), area


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("law", AXIAL)
def test_laws_of_directions_integrate_to_one_over_the_sphere(law, dimensions):
    points, area = area_elements(dimensions)
    q = axial(law, dimensions, [0.5, 4.0, 30.0])
    mass = (q.log_prob(points[:, None]).exp() * area[:, None]).sum(0)
    torch.testing.assert_close(mass, torch.ones(3, dtype=F64), rtol=1e-4, atol=0)
    p = UniformSphere(torch.zeros(dimensions, dtype=F64))
    assert (p.log_prob(points).exp() * area).sum().item() == pytest.approx(1)


@pytest.mark.parametrize("dimensions", [2, 3, 7])
@pytest.mark.parametrize("law", AXIAL)
def test_draws_of_directions_match_their_density(law, dimensions):
    """They are unit vectors; their coordinates have the deviations that are told, their heights the density's law."""
    q = axial(law, dimensions, [0.7, 6.0, 60.0])
    z = drawn(q, 20_000)
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(20_000, 3, dtype=F64))
    torch.testing.assert_close(z.std(0), q.stddev, rtol=0.04, atol=0)
    angle = torch.linspace(1e-9, math.pi - 1e-9, 4001, dtype=F64)
    for i in range(3):
        t = (z[:, i] * q.loc[i]).sum(-1)
        along = q.loc[i] * angle.cos()[:, None] + _across(q.loc[i]) * angle.sin()[:, None]
        density = torch.exp(q.log_prob(along[:, None])[:, i]) * angle.sin() ** (dimensions - 2)
        total = torch.cumulative_trapezoid(density, angle)
        cdf = torch.cat([torch.zeros(1, dtype=F64), total]) / total[-1]
        found = torch.acos(t.clamp(-1, 1)).numpy()
        result = stats.kstest(found[:4000], lambda a, cdf=cdf: np.interp(a, angle.numpy(), cdf.numpy()))
        assert result.pvalue > 1e-3


@pytest.mark.parametrize("dimensions", [3, 20])
def test_sharp_laws_of_directions_are_as_exact_in_float32(dimensions):
    """The rate, and its gradient by κ: both are made of differences of numbers as large as κ."""
    p = UniformSphere(torch.zeros(dimensions))
    found = []
    for dtype in (torch.float32, F64):
        loc = torch.eye(dimensions, dtype=dtype)[:3]
        kappa = torch.tensor([100.0, 1e4, 1e5], dtype=dtype, requires_grad=True)
        rate = divergence(VonMisesFisher(loc, kappa), p, loc[None])[0]
        (slope,) = torch.autograd.grad(rate.sum(), kappa)
        found.append((rate.detach().double(), (slope * kappa).detach().double()))
    for narrow, wide in zip(*found, strict=True):
        torch.testing.assert_close(narrow, wide, rtol=1e-4, atol=1e-3)
    # Sharp, the law is a normal on the tangent plane: the rate grows by (D − 1)/2 for each e-fold of κ.
    torch.testing.assert_close(
        found[0][1][1:], torch.full((2,), (dimensions - 1) / 2).double(), rtol=0.02, atol=0
    )


def _across(axis: Tensor) -> Tensor:
    """A unit vector at a right angle to ``axis``."""
    other = torch.zeros_like(axis)
    other[axis.abs().argmin()] = 1
    return torch.nn.functional.normalize(other - (other * axis).sum() * axis, dim=0)


@pytest.mark.parametrize("dimensions", [2, 3, 10])
@pytest.mark.parametrize("law", AXIAL)
def test_the_rate_of_directions_is_what_their_draws_say(law, dimensions):
    q, p = axial(law, dimensions, [0.5, 5.0, 50.0]), UniformSphere(torch.zeros(dimensions, dtype=F64))
    z = drawn(q, 20_000)
    each = q.log_prob(z) - p.log_prob(z)
    exact = divergence(q, p, z)[0]
    assert ((exact - each.mean(0)).abs() < 4 * each.std(0) / 20_000**0.5).all()


@pytest.mark.parametrize("dimensions", [2, 3, 10])
@pytest.mark.parametrize("law", AXIAL)
def test_draws_carry_the_gradient_of_their_mean_to_the_concentration(law, dimensions):
    """The mean height is known in closed form; so is its slope, which the draws must agree with."""
    q = axial(law, dimensions, [0.5, 5.0, 50.0])
    q.concentration.requires_grad_()
    (expected,) = torch.autograd.grad(q._moments()[0].sum(), q.concentration)
    kappa = q.concentration.detach().expand(20_000, 3).clone().requires_grad_()
    each = law(q.loc.expand(20_000, 3, -1), kappa)
    t = (drawn(each, 1)[0] * q.loc).sum(-1)
    (slopes,) = torch.autograd.grad(t.sum(), kappa)
    assert ((slopes.mean(0) - expected).abs() < 4.5 * slopes.std(0) / 20_000**0.5).all()


@pytest.mark.parametrize("order", [0.0, 0.5, 1.0, 4.0, 19.0, 40.0])
def test_bessel_functions_agree_with_scipys(order):
    x = torch.tensor([1e-3, 0.1, 1.0, 10.0, 300.0, 1e4], dtype=F64, requires_grad=True)
    log_i, ratio = log_bessel(order, x)
    expected = np.log(special.ive(order, x.detach().numpy())) + x.detach().numpy()
    known = np.isfinite(expected)  # scipy's underflows where the argument is small and the order large
    np.testing.assert_allclose(log_i.detach().numpy()[known], expected[known], rtol=1e-7, atol=2e-7)
    (slope,) = torch.autograd.grad(log_i.sum(), x)
    torch.testing.assert_close(slope, ratio + order / x, rtol=1e-5, atol=1e-7)  # DLMF 10.29.2


# ---------------------------------------------------------------- the ball


@pytest.mark.parametrize("curvature", [1.0, 0.5])
def test_the_wrapped_normal_integrates_to_one_over_hyperbolic_volume(curvature):
    ball = Ball(curvature)
    q = WrappedNormal(ball, torch.tensor([0.3, -0.2], dtype=F64), torch.tensor([0.5, 0.8], dtype=F64))
    edge = curvature**-0.5
    points, volume = grid(-edge, edge, 1001, 2)
    points = points[points.norm(dim=-1) < edge * (1 - 1e-6)]
    mass = (q.log_prob(points).exp() * ball.factor(points).squeeze(-1) ** 2).sum() * volume
    assert mass.item() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("dimensions", [2, 5])
def test_draws_of_the_wrapped_normal_are_steps_of_its_deviations(dimensions):
    ball = Ball()
    loc = torch.full((dimensions,), 0.3, dtype=F64)
    scale = 0.3 + random(dimensions).sigmoid()
    q = WrappedNormal(ball, loc, scale)
    z = drawn(q, 20_000)
    steps = ball.factor(loc) * ball.log(loc, z)
    assert (steps.mean(0).abs() < 4.5 * scale / 20_000**0.5).all()
    torch.testing.assert_close(steps.std(0), scale, rtol=0.03, atol=0)
    # Importance weights against another law average to one: the densities are over one and the same volume.
    other = WrappedNormal(ball, loc * 0.5, scale * 1.3)
    z = drawn(other, 20_000)
    weight = (q.log_prob(z) - other.log_prob(z)).exp()
    assert abs(weight.mean().item() - 1) < 4.5 * weight.std().item() / 20_000**0.5


def test_small_spaces_are_flat():
    """A narrow wrapped normal's rate from a wide one is the plane's, with lengths twice the coordinates."""
    ball, z = Ball(), torch.zeros(1, 2, dtype=F64)
    scale = torch.full((1, 2), 1e-3, dtype=F64)
    q, p = WrappedNormal(ball, z, scale), WrappedNormal(ball, z, 2 * scale)
    draws = drawn(q, 4000)
    flat = divergence(normal(z, scale), normal(z, 2 * scale), draws)[0, 0]
    each = (q.log_prob(draws) - p.log_prob(draws)).flatten()
    assert abs(each.mean() - flat) < 4 * each.std() / 4000**0.5
    torch.testing.assert_close(q.stddev, scale / 2)


# ---------------------------------------------------------------- choices, and spaces side by side


def test_choices_sum_to_one_and_are_drawn_as_often_as_they_should():
    q = OneHot(random(2, 3), temperature=0.7)
    states = torch.eye(3, dtype=F64)
    every = torch.stack([torch.cat([a, b]) for a in states for b in states])
    assert q.log_prob(every).exp().sum().item() == pytest.approx(1)
    z = drawn(q, 20_000)
    assert set(z.unique().tolist()) == {0.0, 1.0}
    assert ((z.mean(0) - q.mean).abs() < 4.5 * q.stddev / 20_000**0.5).all()


def test_the_rate_of_choices_is_what_they_say_in_sum():
    q, p = OneHot(random(2, 3), 0.7), OneHot(torch.zeros(2, 3, dtype=F64), 0.7)
    states = torch.eye(3, dtype=F64)
    every = torch.stack([torch.cat([a, b]) for a in states for b in states])
    expected = (q.log_prob(every).exp() * (q.log_prob(every) - p.log_prob(every))).sum()
    torch.testing.assert_close(divergence(q, p, every[:, None])[0, 0], expected)


def test_a_relaxed_choice_integrates_to_one_over_the_simplex():
    law = Concrete(random(1, 3), temperature=0.9)
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(400))
    u, w = 0.5 * (1 + nodes), 0.5 * weights
    u, w = u**3, w * 3 * (0.5 * (1 + nodes)) ** 2  # finer towards the corners, where the density is steep
    first, rest = torch.meshgrid(u, u, indexing="ij")
    y = torch.stack([first, (1 - first) * rest, (1 - first) * (1 - rest)], -1)
    mass = (law.log_prob(y).exp() * (1 - first) * w[:, None] * w).sum()
    assert mass.item() == pytest.approx(1, abs=5e-3)


def test_the_largest_of_a_relaxed_draw_is_the_choice():
    law = Concrete(random(2, 3), temperature=0.7)
    z = drawn(law, 20_000).unflatten(-1, (2, 3))
    torch.testing.assert_close(z.sum(-1), torch.ones(20_000, 2, dtype=F64))
    largest = torch.nn.functional.one_hot(z.argmax(-1), 3).double().mean(0).flatten()
    assert ((largest - law.mean).abs() < 4.5 * law.stddev / 20_000**0.5).all()


def test_choices_carry_gradients_to_their_logits():
    for law in (OneHot, Concrete):
        logits = random(4, 2, 3).requires_grad_()
        (drawn(law(logits, 0.7), 5) * random(6)).sum().backward()
        assert logits.grad.abs().min() > 0


def test_spaces_side_by_side_are_independent():
    q = Joint([some_normals(batch=2), OneHot(random(2, 1, 3), 0.7)])
    p = Joint([normal(torch.zeros(3, dtype=F64), torch.ones(3, dtype=F64)),
               OneHot(torch.zeros(1, 3, dtype=F64), 0.7)])  # fmt: skip
    z = drawn(q, 20_000)
    assert q.mean.shape == q.stddev.shape == (2, 6)
    assert z.shape == (20_000, 2, 6)
    torch.testing.assert_close(
        q.log_prob(z), q.parts[0].log_prob(z[..., :3]) + q.parts[1].log_prob(z[..., 3:])
    )
    each = q.log_prob(z) - p.log_prob(z)
    assert ((divergence(q, p, z)[0] - each.mean(0)).abs() < 4 * each.std(0) / 20_000**0.5).all()


# ---------------------------------------------------------------- flows


class Sinh:
    """z = sinh(u): invertible, with a slope that is cosh(u); zuko's interface, written out."""

    def __init__(self, inverse: bool = False):
        self.inverse = inverse

    @property
    def inv(self):
        return Sinh(not self.inverse)

    def call_and_ladj(self, x):
        if self.inverse:
            return torch.asinh(x), -0.5 * torch.log1p(x**2).sum(-1)
        return torch.sinh(x), torch.cosh(x).log().sum(-1)


def test_a_flow_is_a_change_of_variables():
    """z = sinh(u) of a normal u integrates to one, and the density of its own draws is that of the same points."""
    q = Flowed(torch.tensor([0.2], dtype=F64), torch.tensor([0.4], dtype=F64), Sinh())
    points, volume = grid(-40, 40, 200_001, 1)
    assert (q.log_prob(points).exp().sum() * volume).item() == pytest.approx(1, abs=1e-5)
    z = drawn(q, 5000)
    torch.testing.assert_close(q.log_prob(z), q.log_prob(z.clone()))
    # E sinh(u) = e^(σ²/2)·sinh(μ)
    assert q.mean.item() == pytest.approx(math.exp(0.08) * math.sinh(0.2), rel=0.02)
    assert abs(z.mean() - q.mean) < 4.5 * z.std() / 5000**0.5
    assert q.stddev.item() == pytest.approx(z.std().item(), rel=0.06)


@pytest.mark.parametrize("law", ["chain", "flow"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_law_made_without_a_graph_has_a_mean_without_one_whenever_it_is_asked_for(law, mode):
    """Both compute it when it is asked for, by weights that learn."""
    layer, flow = torch.nn.Linear(2, 4), make_flow(2, 2, "iaf", 1)

    def made(h):
        if law == "flow":
            return Flowed(h, torch.ones_like(h), flow(h))
        step = lambda part, above: normal(layer(h)[:, :1] + above.sum(-1, keepdim=True), torch.ones(3, 1))  # noqa: E731
        return Chain(step, (1, 1), h)

    h = torch.randn(3, 2)
    with mode():
        q = made(h + 0)
    assert np.isfinite(q.mean.numpy()).all()
    assert np.isfinite(q.stddev.numpy()).all()
    assert made(h).mean.requires_grad
