"""Families: what a network's numbers become, and what a family says of itself."""

from __future__ import annotations

import sys

import pytest
import torch

from morphospace.distributions import (
    Concrete,
    Law,
    OneHot,
    PowerSpherical,
    UniformSphere,
    VonMisesFisher,
    WrappedNormal,
    divergence,
    make_flow,
    normal,
)
from morphospace.families import (
    Beside,
    Choices,
    DiagonalNormal,
    Family,
    FlowNormal,
    FullNormal,
    Gaussian,
    Hyperbolic,
    LowRankNormal,
    Point,
    Spherical,
)
from morphospace.manifolds import Ball
from morphospace.types import MissingExtra, UnknownName, UsageError

F64 = torch.float64

LATENT = 6
POSTERIORS: dict[str, Family] = {
    "diagonal": DiagonalNormal(),
    "low rank": LowRankNormal(2),
    "full": FullNormal(),
    "iaf": FlowNormal(LATENT, "iaf"),
    "spline": FlowNormal(LATENT, "spline"),
    "point": Point(),
    "power spherical": Spherical(),
    "von mises-fisher": Spherical("von-mises-fisher"),
    "hyperbolic": Hyperbolic(Ball()),
    "one hot": Choices(3, 0.7),
    "concrete": Choices(3, 0.7, hard=False),
    "beside": Beside([(DiagonalNormal(), 2), (Choices(4, 0.7), 4)]),
}
ALL = pytest.mark.parametrize("name", POSTERIORS)
WITH_DENSITY = pytest.mark.parametrize("name", [n for n in POSTERIORS if n != "point"])


def parameters(name: str, batch: int, kind: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, POSTERIORS[name].outputs(LATENT), dtype=kind, generator=generator)


# ---------------------------------------------------------------- every posterior


@ALL
def test_it_speaks_the_latent_vocabulary(name):
    q = POSTERIORS[name](parameters(name, 5))
    z = q.rsample(torch.Size((3,)))
    assert z.shape == (3, 5, LATENT)
    assert q.mean.shape == q.stddev.shape == (5, LATENT)
    assert torch.isfinite(q.mean).all()
    assert torch.isfinite(q.stddev).all()
    assert (q.stddev >= 0).all()
    assert q.mean.std(0).min() > 0


@WITH_DENSITY
def test_its_density_takes_draws_and_points_alike(name):
    q = POSTERIORS[name](parameters(name, 5))
    z = q.rsample(torch.Size((3,)))
    assert q.log_prob(z).shape == (3, 5)
    torch.testing.assert_close(q.log_prob(z.detach().clone()), q.log_prob(z), rtol=1e-3, atol=2e-3)
    assert q.log_prob(z[0]).shape == (5,)


@ALL
def test_every_parameter_matters_to_the_draws_or_the_density(name):
    h = parameters(name, 5).requires_grad_()
    q = POSTERIORS[name](h)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        z = q.rsample(torch.Size((4,)))
        value = (z * torch.randn_like(z)).sum()
        if name != "point":
            value = value + q.log_prob(z).sum()
    value.backward()
    assert torch.isfinite(h.grad).all()
    assert (h.grad.abs().sum(0) > 0).all()


@ALL
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_probabilities_are_float32_whatever_the_network_ran_in(name, kind):
    assert POSTERIORS[name](parameters(name, 2).to(kind)).mean.dtype == torch.float32


@ALL
def test_large_parameters_stay_finite(name):
    """An encoder early in training, or one whose learning rate is too high, gives a loss that can be told."""
    h = (30 * parameters(name, 64)).requires_grad_()
    q = POSTERIORS[name](h)
    z = q.rsample(torch.Size((2,)))
    (z.sum() if name == "point" else z.sum() + q.log_prob(z).clamp(-1e9, 1e9).sum()).backward()
    assert torch.isfinite(h.grad).all()


@pytest.mark.parametrize("name", ["diagonal", "low rank", "full", "iaf", "spline"])
def test_its_slopes_are_those_of_its_values(name):
    latent = 2 if name in ("iaf", "spline") else LATENT
    family = FlowNormal(latent, name).double() if latent == 2 else POSTERIORS[name]
    generator = torch.Generator().manual_seed(3)
    h = torch.randn(1, family.outputs(latent), dtype=F64, generator=generator).requires_grad_()
    z = torch.randn(1, latent, dtype=F64, generator=generator)
    assert torch.autograd.gradcheck(lambda h, z: family(h).log_prob(z), (h, z.requires_grad_()), atol=1e-5)


@pytest.mark.parametrize("name", ["power spherical", "von mises-fisher", "hyperbolic", "one hot", "concrete"])
def test_its_slopes_in_the_parameters_are_those_of_its_values(name):
    """At points of its own space, which are not moved out of it."""
    h = parameters(name, 2, F64).requires_grad_()
    z = POSTERIORS[name](h).rsample().detach()
    assert torch.autograd.gradcheck(lambda h: POSTERIORS[name](h).log_prob(z), h, atol=1e-5)


# ---------------------------------------------------------------- single ones


def test_a_point_is_itself_without_spread_or_rate():
    h = torch.randn(4, 3, requires_grad=True)
    q = Point()(h)
    z = q.rsample(torch.Size((2,)))
    assert torch.equal(z, h.expand(2, 4, 3))
    assert torch.equal(q.mean, h)
    assert not q.stddev.any()
    rate = divergence(q, normal(torch.zeros(3), torch.ones(3)), z)
    assert rate.shape == (2, 4)
    assert not rate.any()


def test_a_point_has_no_density():
    with pytest.raises(UsageError, match=r"no density.*no likelihood"):
        Point()(torch.zeros(1, 2)).log_prob(torch.zeros(1, 2))


def test_squashed_means_are_pixel_values():
    h = torch.linspace(-50, 50, 16).reshape(1, 4, 4)
    mean = Gaussian(squash=True)(h).mean
    assert mean.min() >= 0
    assert mean.max() <= 1
    torch.testing.assert_close(mean, h.sigmoid())
    assert torch.equal(Gaussian()(h).mean, h)


@pytest.mark.parametrize("latent", [1, 2, 5])
def test_a_full_normal_reads_its_factor_row_by_row(latent):
    family = FullNormal()
    h = torch.randn(2, family.outputs(latent), dtype=F64)
    q = family(h)
    tril = q.scale_tril
    assert torch.equal(q.loc, h[:, :latent])
    torch.testing.assert_close(tril.diagonal(dim1=1, dim2=2), torch.exp(h[:, latent : 2 * latent] / 2))
    below = [(i, j) for i in range(latent) for j in range(i)]
    assert all(torch.equal(tril[:, i, j], h[:, 2 * latent + n]) for n, (i, j) in enumerate(below))


@pytest.mark.parametrize("family", [LowRankNormal(1), FullNormal()])
def test_without_correlations_it_is_the_diagonal_normal(family):
    h = torch.zeros(4, family.outputs(3), dtype=F64)
    h[:, :6] = torch.randn(4, 6, dtype=F64)
    plain, z = DiagonalNormal()(h[:, :6]), torch.randn(4, 3, dtype=F64)
    torch.testing.assert_close(family(h).log_prob(z), plain.log_prob(z))
    prior = normal(torch.zeros(3, dtype=F64), torch.ones(3, dtype=F64))
    torch.testing.assert_close(divergence(family(h), prior, z[None]), divergence(plain, prior, z[None]))


@pytest.mark.parametrize(
    ("law", "kind"), [("power-spherical", PowerSpherical), ("von-mises-fisher", VonMisesFisher)]
)
def test_directions_have_unit_length_and_a_rate_of_their_own(law, kind):
    q = Spherical(law)(torch.randn(5, 4))
    assert isinstance(q, kind)
    torch.testing.assert_close(q.mean.norm(dim=-1), torch.ones(5))
    rate = divergence(q, UniformSphere(torch.zeros(3)), q.rsample(torch.Size((2,))))
    assert (rate > 0).all()
    assert torch.equal(rate[0], rate[1])


def test_a_sphere_of_one_dimension_is_refused():
    with pytest.raises(UsageError, match="at least 2"):
        Spherical().outputs(1)


def test_choices_need_a_latent_that_their_categories_divide():
    assert isinstance(Choices(5, 0.7)(torch.zeros(1, 10)), OneHot)
    assert isinstance(Choices(5, 0.7, hard=False)(torch.zeros(1, 10)), Concrete)
    with pytest.raises(UsageError, match=r"latent is 7.*multiple of the 5"):
        Choices(5, 0.7).outputs(7)
    with pytest.raises(UsageError, match=r"latent is 7.*6 dimensions"):
        POSTERIORS["beside"].outputs(7)


# ---------------------------------------------------------------- flows


@pytest.mark.parametrize("fast", ["draw", "density"])
@pytest.mark.parametrize("kind", ["maf", "spline"])
@pytest.mark.parametrize(("latent", "context"), [(1, 0), (1, 2), (3, 0), (3, 2)])
def test_a_flow_is_invertible_and_knows_its_volume(kind, fast, latent, context):
    """The logarithm of the volume is that of the Jacobian's determinant, and the way back leads back."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = make_flow(latent, context, kind, 3, fast).double()
        x = torch.randn(latent, dtype=F64)
        f = flow(torch.randn(context, dtype=F64) if context else None)
    y, log_det = f.call_and_ladj(x)
    back, log_det_back = f.inv.call_and_ladj(y)
    torch.testing.assert_close(back, x, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(log_det_back, -log_det, rtol=1e-6, atol=1e-6)
    jacobian = torch.autograd.functional.jacobian(lambda x: f.call_and_ladj(x)[0], x)
    torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], log_det, rtol=1e-6, atol=1e-6)
    if context:
        other, _ = flow(torch.randn(context, dtype=F64)).call_and_ladj(x)
        assert not torch.equal(other, y)


def test_an_unknown_flow_is_refused():
    with pytest.raises(UnknownName, match="Did you mean 'spline'"):
        make_flow(2, 0, "splines", 1)
    with pytest.raises(UnknownName, match="Did you mean 'power-spherical'"):
        Spherical("powerspherical")


def test_without_zuko_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko", None)
    monkeypatch.setitem(sys.modules, "zuko.flows", None)
    with pytest.raises(MissingExtra, match=r"zuko.*morphospace\[flows\]"):
        FlowNormal(2)


def test_ours_are_torchs_distributions_so_that_closed_forms_can_be_registered():
    assert issubclass(Law, torch.distributions.Distribution)


@pytest.mark.parametrize("latent", [2, 10])
def test_no_hyperbolic_posterior_has_a_negative_rate(latent):
    """KL(q ‖ p) ≥ 0 however far out, narrow or wide: what float32 cannot tell must not look like a gain."""
    torch.manual_seed(0)
    ball = Ball()
    far = torch.tensor([0.0, 1.0, 3.0, 10.0, 1e3]).repeat_interleave(5)
    log_variance = torch.tensor([-30.0, -8.0, 0.0, 5.0, 30.0]).repeat(5)
    step = torch.nn.functional.normalize(torch.randn(25, latent), dim=-1) * far[:, None]
    q = Hyperbolic(ball)(torch.cat([step, log_variance[:, None].expand(25, latent)], 1))
    p = WrappedNormal(ball, torch.zeros(latent), torch.ones(latent))
    z = q.rsample(torch.Size((4000,)))
    assert z.dtype == torch.float32
    each = q.log_prob(z) - p.log_prob(z)
    assert (each.mean(0) > -5 * each.std(0) / 4000**0.5).all()
