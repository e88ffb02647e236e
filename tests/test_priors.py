"""Priors: densities that integrate to one, draws that are theirs, and fits that find what is there."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fixtures.small import Linear, make_images, unit
from morphospace import priors
from morphospace.distributions import divergence, normal
from morphospace.families import Bernoulli, DiagonalNormal, Gaussian, Point, Spherical
from morphospace.manifolds import Ball
from morphospace.model import VAE, Conditional
from morphospace.priors import (
    Beside,
    Exemplars,
    FlowPrior,
    Mixture,
    Prior,
    StandardNormal,
    Uniform,
    UniformChoices,
    VampPrior,
    WrappedStandard,
    fit_prior,
    fitted_prior,
)
from morphospace.types import ImageSpec, UnknownName, UsageError

F64 = torch.float64
SPEC = ImageSpec(1, 8, 8)


def encoder(latent: int = 2, family=None) -> Conditional:
    family = family or DiagonalNormal()
    return Conditional(Linear(SPEC.shape, (family.outputs(latent),)), family)


def nothing(x: Tensor):
    raise AssertionError("this prior encodes nothing")


def grid(edge: float, points: int) -> tuple[Tensor, float]:
    axis = torch.linspace(-edge, edge, points, dtype=F64)
    return torch.cartesian_prod(axis, axis), float(axis[1] - axis[0]) ** 2


PLANE: dict[str, Prior] = {
    "standard": StandardNormal(2),
    "mixture": Mixture(2, 5),
    "full mixture": Mixture(2, 5, full=True),
    "vamp": VampPrior(SPEC, 5),
    "exemplars": Exemplars(SPEC, 2, 5),
    "maf": FlowPrior(2, "maf"),
    "spline": FlowPrior(2, "spline"),
}


@pytest.mark.parametrize("name", PLANE)
def test_it_integrates_to_one_with_the_moments_that_it_tells(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encode = encoder().double()
        law = PLANE[name].double()(encode)
    points, volume = grid(9, 301)
    density = law.log_prob(points).exp() * volume
    assert density.sum().item() == pytest.approx(1, abs=2e-3)
    mean = (density[:, None] * points).sum(0)
    rough = 0.05 if name in ("maf", "spline") else 1e-3  # a flow's are taken over 64 points
    torch.testing.assert_close(mean, law.mean, rtol=0, atol=rough)
    variance = (density[:, None] * (points - mean).square()).sum(0)
    torch.testing.assert_close(variance.sqrt(), law.stddev, rtol=2 * rough, atol=0)


@pytest.mark.parametrize("name", PLANE)
def test_its_draws_are_its_own(name):
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        law = PLANE[name].double()(encoder().double())
        z = law.rsample(torch.Size((20_000,)))
    assert z.shape == (20_000, 2)
    # By quarters of the plane, against the density.
    points, volume = grid(9, 300)
    density = law.log_prob(points).exp() * volume
    for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        sign = torch.tensor(signs, dtype=F64)
        expected = density[((points * sign) > 0).all(1)].sum().item()
        found = ((z * sign) > 0).all(1).double().mean().item()
        assert abs(found - expected) < 4.5 * math.sqrt(expected * (1 - expected) / 20_000) + 2e-3


@pytest.mark.parametrize("name", [n for n in PLANE if n != "standard"])
def test_everything_in_it_is_taught_by_the_rate(name):
    prior = PLANE[name].float()
    encode = encoder()
    q = encode(unit(make_images(16)))
    z = q.rsample(torch.Size((2,)))
    prior.zero_grad()
    divergence(q, prior(encode), z).mean().backward()
    for weight, p in prior.named_parameters():
        assert torch.isfinite(p.grad).all(), weight
        assert p.grad.abs().max() > 0, weight


# ---------------------------------------------------------------- made of images


@pytest.mark.parametrize("prior", [VampPrior(SPEC, 4), Exemplars(SPEC, 2, 4)])
def test_it_begins_with_images_of_the_training_set(prior):
    x = unit(make_images(9))
    model = VAE(encoder(), Conditional(Linear((2,), SPEC.shape), Bernoulli()), prior)
    asked = []

    def pick(n: int) -> Tensor:
        asked.append(n)
        return x[torch.arange(n) % 9]

    model.begin(pick)
    assert 4 in asked
    assert torch.equal(prior.images, x[:4])


def test_pseudo_inputs_that_leave_the_range_of_pixels_can_return():
    """They begin as images that are half exact noughts: a first step the wrong way may not be the last."""
    prior = VampPrior(ImageSpec(1, 4, 4), 3)
    with torch.no_grad():
        prior.images.fill_(-0.2)
    weight = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))

    def encode(x):
        h = x.flatten(1) @ weight
        return normal(h[:, :2], h[:, 2:].exp())

    law = prior(encode)
    (slope,) = torch.autograd.grad(law.log_prob(torch.ones(5, 2)).sum(), prior.images)
    assert (slope != 0).all()
    blank = normal(torch.zeros(2), torch.ones(2))  # as an image of noughts is encoded
    torch.testing.assert_close(law.log_prob(torch.ones(2)), blank.log_prob(torch.ones(2)))


def test_a_vamp_prior_is_the_mean_of_its_posteriors():
    prior, encode, z = VampPrior(SPEC, 3).double(), encoder().double(), torch.randn(7, 2, dtype=F64)
    each = torch.stack([encode(prior.images[i : i + 1]).log_prob(z).exp() for i in range(3)])
    torch.testing.assert_close(prior(encode).log_prob(z), each.mean(0).log())


def test_exemplars_are_normals_of_one_width_about_their_means():
    prior, encode, z = Exemplars(SPEC, 2, 3).double(), encoder().double(), torch.randn(7, 2, dtype=F64)
    prior.images.uniform_()
    with torch.no_grad():
        prior.log_scale.fill_(math.log(0.4))
    means = encode(prior.images).mean
    each = torch.stack([normal(m, torch.full_like(m, 0.4)).log_prob(z).exp() for m in means])
    torch.testing.assert_close(prior(encode).log_prob(z), each.mean(0).log())


def test_it_refuses_an_encoder_whose_posteriors_are_not_normal():
    with pytest.raises(UsageError, match=r"VampPrior.*PowerSpherical.*DiagonalNormal"):
        VampPrior(SPEC, 3)(encoder(family=Spherical()))
    with pytest.raises(UsageError, match="Dirac"):
        Exemplars(SPEC, 2, 3)(encoder(family=Point()))


def test_a_density_is_not_shown_binary_images():
    model = VAE(encoder(), Conditional(Linear((2,), SPEC.shape), Gaussian()), StandardNormal(2))
    with pytest.raises(UsageError, match="are binary"):
        model.begin(lambda n: unit(make_images(9)).round())


def test_binarised_images_are_what_encoder_and_likelihood_see():
    model = VAE(encoder(), Conditional(Linear((2,), SPEC.shape), Bernoulli(binarise=True)), StandardNormal(2))
    x = unit(make_images(9))
    trace = model.trace(x)
    assert set(trace.x.unique().tolist()) <= {0.0, 1.0}
    torch.testing.assert_close(trace.q.mean, model.encode(trace.x).mean)
    # All draws of a likelihood are of the same binary images: without that, images would be averaged over too.
    fixed = model.seen(x)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        several = model.log_likelihood(fixed, draws=400, chunk=50)[0]
        torch.manual_seed(0)
        again = model.log_likelihood(fixed, draws=400, chunk=50)[0]
    assert torch.equal(several, again)


# ---------------------------------------------------------------- spaces that are no plane


def test_other_spaces_have_priors_of_their_own():
    ball = Ball()
    z = Uniform(3)(nothing).rsample(torch.Size((100,)))
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(100))
    p = WrappedStandard(2, ball, 0.5)(nothing)
    away = ball.distance(torch.zeros(2), p.rsample(torch.Size((20_000,))))
    assert away.square().mean().item() == pytest.approx(
        2 * 0.25, rel=0.04
    )  # the squared length of a normal step
    c = UniformChoices(6, 3, 0.7)(nothing)
    torch.testing.assert_close(c.mean, torch.full((6,), 1 / 3))
    both = Beside([StandardNormal(2), UniformChoices(6, 3, 0.7)])(nothing)
    assert both.mean.shape == (8,)
    assert both.rsample(torch.Size((5,))).shape == (5, 8)


# ---------------------------------------------------------------- fitted afterwards


def latents(n: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three clusters away from the origin, one of them correlated; posteriors of 0.1."""
    rng = np.random.default_rng(seed)
    centres = np.array([[3.0, 0.0], [5.0, 4.0], [8.0, -2.0]])
    spread = np.array([[[0.5, 0.0], [0.0, 0.5]], [[0.8, 0.0], [0.7, 0.2]], [[0.3, 0.0], [0.0, 1.0]]])
    which = rng.integers(3, size=n)
    z = centres[which] + np.einsum("nij,nj->ni", spread[which], rng.standard_normal((n, 2)))
    return z.astype(np.float32), np.full((n, 2), 0.1, dtype=np.float32)


def cheap_flows(monkeypatch) -> None:
    """Checking a flow's type asks for its mean (on Python 3.11), which would be 64 passes at every step."""
    monkeypatch.setattr("morphospace.distributions.flows.POINTS", 2)


def test_a_fitted_mixture_finds_the_clusters():
    means, scales = latents()
    law = fit_prior("mixture", means, scales, {"components": 3})(nothing)
    other = torch.from_numpy(latents(seed=1)[0]) + 0.1 * torch.randn(4000, 2)
    best = normal(torch.from_numpy(means.mean(0)), torch.from_numpy(means.std(0)))
    assert law.log_prob(other).mean() > best.log_prob(other).mean() + 1.0
    at = law.assignments(torch.tensor([[3.0, 0.0], [5.0, 4.0], [8.0, -2.0]]))
    assert sorted(at.argmax(1).tolist()) == [0, 1, 2]
    assert at.max(1).values.min() > 0.95
    torch.testing.assert_close(law.mean, torch.from_numpy(means.mean(0)), rtol=0, atol=0.02)
    torch.testing.assert_close(law.stddev, torch.from_numpy(np.sqrt(means.var(0) + 0.01)), rtol=0.02, atol=0)


@pytest.mark.parametrize("name", ["flow", "two-stage"])
def test_fitted_draws_lie_where_the_latents_do(name, monkeypatch):
    cheap_flows(monkeypatch)
    make, fit, _ = priors.FITTED[name]
    monkeypatch.setitem(priors.FITTED, name, (make, fit, 400))
    means, scales = latents()
    told = []
    prior = fit_prior(name, means, scales, {}, progress=lambda *a, **k: told.append(a))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        z = prior(nothing).rsample(torch.Size((4000,))).numpy()
    assert told[-1][1] == told[-1][2] == 400
    assert not any(p.requires_grad for p in prior.parameters())
    np.testing.assert_allclose(z.mean(0), means.mean(0), atol=0.4)
    np.testing.assert_allclose(z.std(0), means.std(0), rtol=0.25)
    # Nearly nothing between the clusters, where a normal of the same moments has much.
    hole = lambda z: (np.square(z - [5.6, 0.8]).sum(1) < 1).mean()  # noqa: E731
    rng = np.random.default_rng(0)
    assert hole(z) < 0.6 * hole(means.mean(0) + means.std(0) * rng.standard_normal((4000, 2)))


def test_a_flow_fits_better_than_a_normal(monkeypatch):
    cheap_flows(monkeypatch)
    make, fit, _ = priors.FITTED["flow"]
    monkeypatch.setitem(priors.FITTED, "flow", (make, fit, 300))
    means, scales = latents()
    law = fit_prior("flow", means, scales, {"kind": "spline"})(nothing)
    z = torch.from_numpy(latents(seed=1)[0])
    plain = normal(torch.from_numpy(means.mean(0)), torch.from_numpy(means.std(0)))
    with torch.no_grad():
        assert law.log_prob(z).mean() > plain.log_prob(z).mean() + 0.3


def test_two_stages_have_no_density():
    with pytest.raises(UsageError, match=r"no density.*'mixture' or 'flow'"):
        fitted_prior("two-stage", 2, {})(nothing).log_prob(torch.zeros(1, 2))


def test_the_same_seed_fits_the_same_prior_and_touches_no_other_generator():
    means, scales = latents(500)
    state = torch.get_rng_state()
    first, again, other = (fit_prior("mixture", means, scales, {"components": 3}, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    a, b, c = first.state_dict(), again.state_dict(), other.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not all(torch.equal(a[k], c[k]) for k in a)


def test_an_unknown_prior_or_argument_is_refused():
    with pytest.raises(UnknownName, match="Did you mean 'mixture'"):
        fitted_prior("mixtur", 2, {})
    with pytest.raises(UsageError, match="component"):
        fitted_prior("mixture", 2, {"component": 3})
