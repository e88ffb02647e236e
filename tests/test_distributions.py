"""Densities integrate to one, samples match them, and a closed-form KL is what its draws say."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from morphospace.distributions import divergence, image_bernoulli, image_normal, normal
from morphospace.families import Bernoulli, DiagonalNormal, Gaussian

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
