"""The rate taken apart: identities draw for draw, and analytic values where the aggregated posterior is known."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from morphospace.distributions import normal
from morphospace.model import Trace
from morphospace.terms import (
    CovarianceFromIdentity,
    CovarianceOffDiagonal,
    DimensionWiseKl,
    MutualInformation,
    TotalCorrelation,
    TotalCorrelationCritic,
)
from morphospace.terms.disentangling import aggregate

ESTIMATORS = pytest.mark.parametrize("estimator", ["stratified", "weighted"])


def traced(
    loc: Tensor, scale: Tensor, z: Tensor | None = None, images: int | None = None, draws: int = 1
) -> Trace:
    """Posteriors N(loc, scale²) (B, D), in a trace with a standard normal prior."""
    q = normal(loc, scale)
    z = q.rsample(torch.Size((draws,))) if z is None else z
    prior = normal(torch.zeros(loc.shape[1]).to(loc), torch.ones(loc.shape[1]).to(loc))
    return Trace(torch.zeros(len(loc), 1, 1, 1), q, z, q, prior, None, images)


def clusters(count: int = 3, dims: int = 2, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    loc = spread * torch.randn(count, dims, dtype=torch.float64)
    return loc, torch.rand(count, dims, dtype=torch.float64) + 0.2


# ---------------------------------------------------------------- the identity


@ESTIMATORS
@pytest.mark.parametrize("images", [None, 5, 1000])
def test_the_three_parts_add_up_to_the_rate_draw_for_draw(estimator, images):
    trace = traced(*clusters(5, 3), images=images, draws=4)
    parts = MutualInformation(estimator), TotalCorrelation(estimator), DimensionWiseKl(estimator)
    by_draws = (trace.q.log_prob(trace.z) - trace.pz.log_prob(trace.z)).mean()
    torch.testing.assert_close(sum(part(trace) for part in parts), by_draws)


@ESTIMATORS
def test_the_weights_make_a_mean_of_posteriors(estimator):
    """Where all posteriors are one, q(z) is it: the stratified shares sum to one, the weighted ones to 1/N."""
    loc, scale = clusters(1, 2)
    trace = traced(loc.expand(7, 2), scale.expand(7, 2), images=50)
    density = aggregate(trace, estimator)
    missing = 0.0 if estimator == "stratified" else math.log(50)
    torch.testing.assert_close(density.joint, density.own - missing)
    torch.testing.assert_close(density.product, density.own - 2 * missing)


# ---------------------------------------------------------------- q(z) without bias


def test_stratified_estimates_the_aggregate_without_bias_over_all_batches():
    """Every batch of 3 of 6 images that holds the draw's own: the mean of the estimates is q(z) to the last digit."""
    loc, scale = clusters(6, 2)
    own, z = 2, torch.randn(1, 1, 2, dtype=torch.float64)
    exact = normal(loc, scale).log_prob(z[0, 0]).exp().mean()
    found = []
    for others in itertools.combinations([i for i in range(6) if i != own], 2):
        batch = [own, *others]
        trace = traced(loc[batch], scale[batch], z.expand(1, 3, 2), images=6)
        found.append(aggregate(trace, "stratified").joint[0, 0].exp())
    torch.testing.assert_close(torch.stack(found).mean(), exact)


def test_with_the_whole_set_in_the_batch_stratified_is_exact():
    loc, scale = clusters(6, 3)
    trace = traced(loc, scale)
    each = normal(loc, scale).base_dist.log_prob(trace.z[0][:, None])  # (B, B, D)
    density = aggregate(trace, "stratified")
    torch.testing.assert_close(density.joint[0], each.sum(-1).exp().mean(1).log())
    torch.testing.assert_close(density.product[0], each.exp().mean(1).log().sum(-1))


def test_the_order_of_the_batch_does_not_matter():
    loc, scale = clusters(6, 3)
    z = normal(loc, scale).rsample(torch.Size((1,)))
    forwards = TotalCorrelation()(traced(loc, scale, z, images=40))
    backwards = TotalCorrelation()(traced(loc.flip(0), scale.flip(0), z.flip(1), images=40))
    torch.testing.assert_close(forwards, backwards)


# ---------------------------------------------------------------- analytic values


def on_a_grid(loc: Tensor, scale: Tensor) -> tuple[float, float, float]:
    """Mutual information, total correlation and dimension-wise KL of a mixture in the plane, by quadrature."""
    axis = torch.linspace(-9, 9, 901, dtype=torch.float64)
    step = (axis[1] - axis[0]).item()
    one = normal(loc, scale).base_dist.log_prob(axis[:, None, None])  # (G, N, D)
    x, y = one.unbind(-1)
    joint = (x[:, None] + y[None]).exp().mean(-1)  # (G, G)
    margins = [v.exp().mean(-1) for v in (x, y)]
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(axis)
    entropy = -(joint * joint.clamp_min(1e-300).log()).sum().item() * step**2
    marginal = [-(m * m.clamp_min(1e-300).log()).sum().item() * step for m in margins]
    conditional = (0.5 * (2 * math.pi * math.e * scale.square()).log()).sum(1).mean().item()
    cross = -sum((m * prior).sum().item() * step for m in margins)
    return entropy - conditional, sum(marginal) - entropy, cross - sum(marginal)


def test_on_a_known_mixture_the_estimates_are_the_analytic_values():
    """The whole set in the batch and many draws: what remains is the draws' own noise."""
    loc = torch.tensor([[-1.5, -1.0], [1.0, 1.5], [1.2, 0.8], [0.0, 0.3]], dtype=torch.float64)
    scale = torch.tensor([[0.4, 0.5], [0.3, 0.6], [0.7, 0.4], [0.5, 0.5]], dtype=torch.float64)
    exact = on_a_grid(loc, scale)
    assert exact[1] > 0.2  # it has something to find
    trace = traced(loc, scale, draws=20_000)
    for term, value in zip((MutualInformation(), TotalCorrelation(), DimensionWiseKl()), exact, strict=True):
        assert term(trace).item() == pytest.approx(value, abs=0.02)


def test_batches_converge_to_the_analytic_value():
    """A correlated normal made of N narrow posteriors: TC = −½·log(1 − ρ²), nearer the larger the batch."""
    rho, count = 0.8, 4000
    cov = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)
    noise = 0.25  # of each posterior; the means' covariance is what is left
    means = torch.distributions.MultivariateNormal(
        torch.zeros(2, dtype=torch.float64), cov - noise**2 * torch.eye(2, dtype=torch.float64)
    ).sample((count,))
    exact = -0.5 * math.log(1 - rho**2)
    errors = []
    for batch in (40, 800):
        found = [
            TotalCorrelation()(
                traced(means[i : i + batch], torch.full((batch, 2), noise).double(), images=count)
            )
            for i in range(0, count, batch)
        ]
        errors.append(abs(torch.stack(found).mean().item() - exact))
    assert errors[1] < 0.04
    assert errors[1] < errors[0]


def test_independent_dimensions_have_no_total_correlation():
    """All combinations of three places in each dimension: q(z) is a product to the last digit."""
    places = torch.tensor([-2.0, 0.1, 1.0], dtype=torch.float64)
    loc = torch.cartesian_prod(places, places)
    trace = traced(loc, torch.full_like(loc, 0.4), draws=3)
    density = aggregate(trace, "stratified")
    torch.testing.assert_close(density.joint, density.product)


# ---------------------------------------------------------------- the critic


def test_the_critic_learns_the_total_correlation():
    rho = 0.8
    chol = torch.linalg.cholesky(torch.tensor([[1.0, rho], [rho, 1.0]]))
    critic = TotalCorrelationCritic(2)
    optimizer = torch.optim.Adam(critic.parameters(), 2e-3)
    for _ in range(150):
        z = torch.randn(1, 256, 2) @ chol.T
        loss = critic.critic_loss(traced(z[0], torch.ones(256, 2), z))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    z = torch.randn(1, 20_000, 2) @ chol.T
    found = critic(traced(z[0], torch.ones_like(z[0]), z)).item()
    assert found == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.1)


def test_shuffling_keeps_each_dimension_and_breaks_what_binds_them():
    z = torch.arange(600.0).reshape(1, 200, 3)
    joint, shuffled = TotalCorrelationCritic(3).pair(traced(z[0], torch.ones(200, 3), z))
    assert torch.equal(joint, z[0])
    assert torch.equal(shuffled.sort(0).values, z[0])
    assert (shuffled[:, 1] - shuffled[:, 0] == 1).float().mean() < 0.1
    assert (shuffled[:, 2] - shuffled[:, 1] == 1).float().mean() < 0.1


# ---------------------------------------------------------------- covariances


def test_the_covariance_of_means_is_nought_and_one_for_white_ones():
    """An orthogonal design: means whose covariance, with B − 1, is the identity."""
    basis = torch.linalg.qr(torch.cat([torch.ones(8, 1), torch.randn(8, 3)], 1).double())[0][:, 1:]
    loc = basis * math.sqrt(7)
    trace = traced(loc, torch.full_like(loc, 0.5))
    torch.testing.assert_close(CovarianceOffDiagonal("means")(trace), torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(CovarianceFromIdentity("means")(trace), torch.zeros((), dtype=torch.float64))
    # Every posterior's variance of 0.25 comes on top.
    torch.testing.assert_close(CovarianceFromIdentity("draws")(trace).item(), 3 * 0.25**2)


def test_the_covariance_of_draws_is_that_of_the_draws():
    """The law of total covariance, against very many draws."""
    loc, scale = clusters(6, 3)
    many = normal(loc, scale).rsample(torch.Size((200_000,))).flatten(0, 1)
    cov = torch.cov(many.T)
    trace = traced(loc, scale)
    # The means' covariance has B − 1 in it, the draws' many more; compare with the same divisor.
    means = torch.cov(loc.T)
    expected = cov - means * (1 - 5 / 6) * -1
    off = (expected - expected.diag().diag()).square().sum()
    torch.testing.assert_close(CovarianceOffDiagonal("draws")(trace), off, rtol=0.02, atol=0.01)
    diagonal = (expected.diagonal() - 1).square().sum()
    torch.testing.assert_close(CovarianceFromIdentity("draws")(trace), diagonal, rtol=0.03, atol=0.01)


def test_both_covariances_are_the_batchs_own():
    loc, scale = clusters(9, 4)
    cov = torch.cov(loc.T)
    trace = traced(loc, scale)
    torch.testing.assert_close(
        CovarianceOffDiagonal("means")(trace), (cov - cov.diag().diag()).square().sum()
    )
    torch.testing.assert_close(CovarianceFromIdentity("means")(trace), (cov.diag() - 1).square().sum())
