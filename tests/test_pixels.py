"""Laws of pixels: each sums or integrates to one over what it says it is a law of, and its draws are its own."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from fixtures.small import make_images, unit
from morphospace import families
from morphospace.distributions import (
    ContinuousBernoulli,
    LevelCategorical,
    LogisticMixture,
    OptimalNormal,
    image_laplace,
)
from morphospace.families import Likelihood
from morphospace.types import UsageError

F64 = torch.float64


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def made(name: str, channels: int = 1) -> Likelihood:
    family = getattr(families, name)
    given = {"LogisticMixture": (channels,), "Masked": (families.Bernoulli(),)}
    return family(*given.get(name, ()))


LIKELIHOODS = [
    name
    for name in families.__all__
    if isinstance(found := getattr(families, name), type)
    and issubclass(found, Likelihood)
    and found is not Likelihood
]


# ---------------------------------------------------------------- on [0, 1]


def quadrature(low: float, high: float, n: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    nodes, weights = np.polynomial.legendre.leggauss(n)
    half = 0.5 * (high - low)
    return torch.from_numpy(low + half * (1 + nodes)), torch.from_numpy(half * weights)


LOGITS = torch.tensor([-30.0, -5.0, -0.11, -0.0999, -1e-9, 0.0, 0.05, 0.0999, 0.11, 2.0, 30.0], dtype=F64)


def continuous(logits: torch.Tensor) -> ContinuousBernoulli:
    """One pixel for each logit."""
    return ContinuousBernoulli(logits.reshape(-1, 1, 1, 1))


def test_continuous_bernoulli_integrates_to_one_with_the_moments_that_it_tells():
    x, w = quadrature(0, 1)
    law = continuous(LOGITS)
    density = torch.stack([law.log_prob(v.expand(len(LOGITS), 1, 1, 1)) for v in x], 1).exp()  # (logits, x)
    torch.testing.assert_close(density @ w, torch.ones(len(LOGITS), dtype=F64), rtol=1e-7, atol=0)
    mean = density @ (w * x)
    torch.testing.assert_close(law.mean.flatten(), mean, rtol=1e-6, atol=0)
    square = density @ (w * x**2)
    torch.testing.assert_close(law.variance.flatten(), square - mean**2, rtol=1e-5, atol=0)


def test_continuous_bernoulli_agrees_with_torchs():
    logits = LOGITS[LOGITS.abs() < 10]  # beyond, torch cuts its probabilities off
    x = torch.rand(len(logits), 1, 1, 1, dtype=F64)
    torchs = torch.distributions.ContinuousBernoulli(logits=logits.reshape(-1, 1, 1, 1)).log_prob(x).flatten()
    torch.testing.assert_close(continuous(logits).log_prob(x), torchs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("logit", [-25.0, -2.0, 0.04, 3.0])
def test_continuous_bernoulli_draws_are_its_own(logit):
    law = continuous(torch.tensor([logit], dtype=F64))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draws = law.rsample(torch.Size((2000,))).flatten().numpy()
    expected = np.expm1(logit * np.linspace(0, 1, 5)) / np.expm1(logit)  # the distribution function
    assert stats.kstest(draws, lambda x: np.expm1(logit * x) / np.expm1(logit)).pvalue > 0.01
    assert expected[0] == 0
    assert expected[-1] == pytest.approx(1)


@pytest.mark.parametrize("logit", [-1e4, -90.0, 0.0, 1e-30, 90.0, 1e4])
def test_continuous_bernoulli_stays_finite_in_float32(logit):
    logits = torch.full((1, 1, 1, 1), logit, requires_grad=True)
    law = ContinuousBernoulli(logits)
    (
        law.log_prob(torch.full_like(logits, 0.3)) + law.mean.sum() + law.rsample().sum() + law.stddev.sum()
    ).backward()
    assert torch.isfinite(logits.grad).all()


# ---------------------------------------------------------------- on the line


def test_laplace_integrates_to_one():
    x, w = quadrature(0.4, 12)
    loc, scale = torch.full((1, 1, 1), 0.4, dtype=F64), torch.tensor(0.3, dtype=F64)
    half = torch.stack([image_laplace(loc, scale).log_prob(v.reshape(1, 1, 1)) for v in x]).exp() @ w
    assert 2 * half.item() == pytest.approx(1, abs=1e-9)
    assert families.Laplace(0.3).double()(loc).stddev.item() == pytest.approx(0.3, rel=1e-6)


def test_the_optimal_sigma_maximises_the_gaussian_likelihood():
    """Rybkin et al. 2021, eq. 6: no other σ gives the batch more."""
    x, mean = random(6, 1, 4, 4, seed=1), random(6, 1, 4, 4, seed=2)
    noted = []
    best = OptimalNormal(mean, torch.ones((), dtype=F64), noted.append).log_prob(x).sum()
    sigmas = noted[0].sqrt() * torch.linspace(0.5, 2, 301, dtype=F64)
    others = torch.stack([families.Gaussian(float(s)).double()(mean).log_prob(x).sum() for s in sigmas])
    assert others.argmax() == 100  # where the factor is one
    assert best >= others.max() - 1e-3
    assert best.item() == pytest.approx(-x.numel() / 2 * (math.log(2 * math.pi * noted[0].item()) + 1))


def test_the_optimal_sigma_teaches_the_mean_as_a_fixed_one_of_its_size_would():
    """At the optimum the derivative in σ is nought, so the gradient is that of the normal with this σ."""
    x, mean = random(6, 1, 4, 4, seed=1), random(6, 1, 4, 4, seed=2).requires_grad_()
    noted = []
    (found,) = torch.autograd.grad(
        OptimalNormal(mean, torch.ones((), dtype=F64), noted.append).log_prob(x).sum(), mean
    )
    torch.testing.assert_close(found, (x - mean).detach() / noted[0])


def test_the_kept_sigma_comes_from_training_and_serves_images_alone():
    family = families.OptimalGaussian().double()
    x, mean = random(8, 1, 4, 4, seed=1, scale=0.1), torch.zeros(8, 1, 4, 4, dtype=F64)
    for _ in range(2000):
        family(mean).log_prob(x)
    torch.testing.assert_close(family.variance, x.square().mean(), rtol=1e-3, atol=0)
    family.eval()
    before = family.variance.clone()
    together = family(mean).log_prob(x)
    alone = torch.cat([family(mean[i : i + 1]).log_prob(x[i : i + 1]) for i in range(8)])
    torch.testing.assert_close(together, alone)
    assert torch.equal(family.variance, before)


def test_the_start_is_forgotten_after_a_hundred_steps():
    family = families.OptimalGaussian()
    x = random(8, 1, 4, 4, seed=1, scale=0.1).float()
    for _ in range(100):
        family(torch.zeros_like(x)).log_prob(x)
    torch.testing.assert_close(family.variance, x.square().mean(), rtol=0.05, atol=0)


def test_each_pixel_has_its_own_sigma_held_above_a_floor():
    h = torch.tensor([0.3, 0.3, -1.0, -1e4]).reshape(2, 1, 2)
    law = families.PixelGaussian()(h)
    assert torch.equal(law.mean, h[:1])
    expected = torch.tensor([math.exp(-6 + math.log1p(math.exp(5))), math.exp(-6)])
    torch.testing.assert_close(law.stddev.flatten(), expected)


# ---------------------------------------------------------------- on the 256 levels

LEVELS = torch.linspace(0, 1, 256, dtype=F64)


@pytest.mark.parametrize("scale", [-6.0, -3.0, 0.0])
def test_the_cut_logistic_sums_to_one_over_the_levels(scale):
    law = LogisticMixture(
        random(5, 3, 1, 1), random(5, 3, 1, 1, 1, seed=1) + 0.5, random(5, 3, 1, 1, 1, seed=2) + scale,
        torch.zeros(5, 3, 0, 1, 1, dtype=F64),
    )  # fmt: skip
    mass = law.log_prob(LEVELS.reshape(-1, 1, 1, 1, 1)).exp().sum(0)
    torch.testing.assert_close(mass, torch.ones(5, dtype=F64))


def small_colours() -> LogisticMixture:
    return LogisticMixture(
        random(2, 1, 1), random(2, 3, 1, 1, seed=1, scale=0.2) + 0.5,
        torch.full((2, 3, 1, 1), -3.5, dtype=F64), random(2, 3, 1, 1, seed=3, scale=0.3),
    )  # fmt: skip


def test_the_colours_together_sum_to_one():
    """Over a lattice of every eighth level in each colour, the mass lost between them made up by its spacing."""
    law = small_colours()
    axis = torch.arange(0, 256, 4, dtype=F64) / 255
    colours = torch.cartesian_prod(axis[1:], axis[1:], axis[1:]).reshape(-1, 3, 1, 1)
    assert (law.log_prob(colours).exp().sum() * 64).item() == pytest.approx(1, abs=0.02)
    # And exactly, one colour at a time: the last given the others sums to the mass of the others.
    others = torch.tensor([[0.2, 0.6]], dtype=F64).expand(256, 2)
    blue = torch.cat([others, LEVELS[:, None]], 1).reshape(-1, 3, 1, 1)
    pair = LogisticMixture(law.logits, law.loc[:, :2], law.log_scale[:, :2], law.slope[:, :1])
    torch.testing.assert_close(law.log_prob(blue).exp().sum(), pair.log_prob(blue[0, :2]).exp())


def test_draws_of_the_mixture_have_its_mean_and_its_probabilities():
    law = small_colours()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draws = law.sample(torch.Size((20_000,)))
    assert torch.equal(torch.round(draws * 255) / 255, draws)
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - law.mean).abs() < 4.5 * error + 0.002).all()  # the mean is that before the cut
    torch.testing.assert_close(draws.std(0), law.stddev, rtol=0.03, atol=0)
    red = LogisticMixture(law.logits, law.loc[:, :1], law.log_scale[:, :1], law.slope[:, :0])
    expected = red.log_prob(LEVELS.reshape(-1, 1, 1, 1)).exp()
    found = torch.bincount((draws[:, 0] * 255).round().long().flatten(), minlength=256) / len(draws)
    coarse = expected.reshape(16, 16).sum(1), found.reshape(16, 16).sum(1)
    assert ((coarse[0] - coarse[1]).abs() < 4.5 * (coarse[0] / len(draws)).sqrt() + 1e-4).all()


def test_one_probability_for_each_level():
    logits = random(2, 256, 1, 2)
    law = LevelCategorical(logits)
    assert law.mean.shape == (2, 1, 2)
    first = logits.log_softmax(1)[0, :, 0, 0]
    mean = (first.exp() * LEVELS).sum()
    torch.testing.assert_close(law.mean[0, 0, 0], mean)
    one = LevelCategorical(logits[:1, :, :, :1])
    each = one.log_prob(LEVELS.reshape(-1, 1, 1, 1))
    torch.testing.assert_close(each, first)
    assert each.exp().sum().item() == pytest.approx(1)


# ---------------------------------------------------------------- what is true of all


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("channels", [1, 3])
def test_its_slopes_are_those_of_its_values(name, channels):
    """log_prob is differentiable in the network's output, and right: against finite differences, in float64."""
    family = made(name, channels).double()
    h = random(1, family.factor * channels, 1, 1, scale=0.5).requires_grad_()
    x = torch.tensor(np.random.default_rng(0).integers(0, 256, (1, channels, 1, 1)) / 255)
    assert torch.autograd.gradcheck(lambda h: family(h).log_prob(x), h, atol=1e-6)


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("channels", [1, 3])
def test_leading_dimensions_are_draws(name, channels):
    """p(x given z) of K draws for B images, as a trace asks for it."""
    family = made(name, channels).eval()
    h, x = torch.randn(3, 2, family.factor * channels, 4, 5), torch.rand(2, channels, 4, 5)
    together = family(h).log_prob(x)
    assert together.shape == (3, 2)
    assert family(h).mean.shape == (3, 2, channels, 4, 5)
    alone = torch.stack([torch.stack([family(h[k, b]).log_prob(x[b]) for b in range(2)]) for k in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_what_it_says_of_itself_is_so(name):
    """Over one pixel's support its law sums or integrates to one, and over another it does not count."""
    family = made(name).double().eval()
    law = family(random(1, family.factor, 1, 1, scale=0.3))
    points, weights = {
        "binary": lambda: (torch.tensor([0.0, 1.0], dtype=F64), torch.ones(2, dtype=F64)),
        "levels": lambda: (LEVELS, torch.ones(256, dtype=F64)),
        "unit": lambda: quadrature(0, 1),
        "real": lambda: tuple(map(torch.cat, zip(quadrature(-60, 0.0), quadrature(0.0, 60), strict=True))),
    }[family.support]()
    mass = law.log_prob(points.reshape(-1, 1, 1, 1, 1)).exp().flatten() @ weights
    assert mass.item() == pytest.approx(1, abs=0.02 if name == "Laplace" else 1e-6)
    assert family.normalised


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_density_refuses_images_of_black_and_white(name):
    grey, binary = unit(make_images(4)), unit(make_images(4)).round()
    family = made(name)
    family.require(grey)
    if family.support in ("binary", "levels"):
        family.require(binary)
    else:
        with pytest.raises(UsageError, match=r"binary.*binarised"):
            family.require(binary)


@pytest.mark.parametrize("name", ["Gaussian", "Laplace"])
def test_a_density_of_one_width_has_a_limit_on_black_and_white(name):
    """Its height at the mean, and no more, whatever the decoder learns."""
    binary = unit(make_images(4)).round()
    fixed = getattr(families, name)(0.1, learned=False)
    fixed.require(binary)
    assert torch.equal(fixed(binary).log_prob(binary), fixed(0 * binary).log_prob(0 * binary))


@pytest.mark.parametrize("name", ["Gaussian", "Laplace", "OptimalGaussian", "PixelGaussian"])
def test_noise_of_a_level_gives_black_and_white_a_limit(name):
    """The mean log-density of a law over a bin of width 1/256 is log 256 at most (Theis et al. 2016, eq. 5)."""
    family = getattr(families, name)(dequantise=True).double().eval()
    family.require(unit(make_images(4)).round())
    u = (torch.arange(1000, dtype=F64) + 0.5).reshape(-1, 1, 1, 1) / 1000 / 256
    for log_sigma in (-9.0, -6.5, -6.0, -5.0, -3.0):
        h = torch.full((1, family.factor, 1, 1), log_sigma, dtype=F64)
        h[:, :1] = 0.5 / 256
        if hasattr(family, "log_sigma"):
            family.log_sigma.data.fill_(log_sigma)
        if hasattr(family, "variance"):
            family.variance.fill_(math.exp(2 * log_sigma))
        assert family(h).log_prob(u).mean() < math.log(256)


def test_binarised_images_are_binary_with_their_grey_values_as_probabilities():
    family = families.Bernoulli(binarise=True)
    x = unit(make_images(1)).expand(4000, 1, 8, 8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = family.data(x)
    assert set(drawn.unique().tolist()) <= {0.0, 1.0}
    error = (x[0] * (1 - x[0]) / 4000).sqrt()
    assert ((drawn.mean(0) - x[0]).abs() <= 4.5 * error + 1e-6).all()
    assert torch.equal(family.data(drawn), drawn)
    assert families.Bernoulli().data(x) is x


def test_dequantised_images_lie_in_their_levels_bins():
    """(255·x + u)/256: the 256 levels share [0, 1) evenly, and rounding down gives them back."""
    family = families.Gaussian(dequantise=True)
    x = unit(make_images(6))
    noisy = family.data(x)
    assert torch.equal(torch.floor(noisy * 256), torch.round(x * 255))
    rest = noisy * 256 - torch.round(x * 255)
    assert rest.mean().item() == pytest.approx(0.5, abs=0.08)
    assert families.Gaussian().data(x) is x


def test_every_combination_of_levels_is_counted_once():
    """Two pixels are independent: the law of the pair is the product."""
    family = made("LogisticMixture").double()
    h = random(1, family.factor, 1, 2)
    few = LEVELS[::51]
    for a, b in itertools.product(few, few):
        x = torch.stack([a, b]).reshape(1, 1, 2)
        alone = [family(h[..., i : i + 1]).log_prob(x[..., i : i + 1]) for i in range(2)]
        torch.testing.assert_close(family(h).log_prob(x), alone[0] + alone[1])
