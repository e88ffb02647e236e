"""Bounds: identities in float64, on a linear model whose posterior and evidence are known."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from fixtures.small import Linear
from morphospace import recipes
from morphospace.distributions import normal
from morphospace.families import DiagonalNormal, Gaussian, OptimalGaussian
from morphospace.model import VAE, Conditional, Trace
from morphospace.objective import Objective
from morphospace.priors import StandardNormal
from morphospace.terms import (
    DoublyReparameterized,
    FreeBits,
    FreeNats,
    ImportanceBound,
    PartiallyImportant,
    sticking_the_landing,
)
from morphospace.types import ImageSpec, UsageError

SHAPE, D, SIGMA = (1, 2, 3), 2, 0.7


@pytest.fixture
def model() -> VAE:
    """x = W·z + b + σ·ε with p(z) standard normal; the encoder is affine too."""
    family = DiagonalNormal()
    made = VAE(
        Conditional(Linear(SHAPE, (2 * D,)), family),
        Conditional(Linear((D,), SHAPE), Gaussian(SIGMA, learned=False)),
        StandardNormal(D),
    ).double()
    torch.nn.init.constant_(made.decoder.family.log_sigma, math.log(SIGMA))  # to float64's last digit
    return made


@pytest.fixture
def x() -> Tensor:
    return torch.rand(5, *SHAPE, dtype=torch.float64)


def evidence(model: VAE, x: Tensor) -> Tensor:
    """log p(x): x is normal with mean b and covariance W·Wᵀ + σ²·I."""
    layer = model.decoder.network.linear
    cov = layer.weight @ layer.weight.T + SIGMA**2 * torch.eye(6, dtype=torch.float64)
    return torch.distributions.MultivariateNormal(layer.bias, cov).log_prob(x.flatten(1))


@torch.no_grad()
def make_exact(model: VAE) -> None:
    """Columns of W made orthogonal, so that the true posterior is diagonal, and the encoder made to give it."""
    decoder, encoder = model.decoder.network.linear, model.encoder.network.linear
    w = torch.linalg.qr(decoder.weight)[0]  # (6, 2), orthonormal
    decoder.weight.copy_(w)
    precision = 1 + 1 / SIGMA**2
    encoder.weight[:D] = w.T / SIGMA**2 / precision
    encoder.bias[:D] = -encoder.weight[:D] @ decoder.bias
    encoder.weight[D:] = 0
    encoder.bias[D:] = -math.log(precision)


def gradients(model: VAE, loss: Tensor) -> tuple[Tensor, Tensor]:
    """The encoder's and the decoder's gradient, each as one vector."""
    parts = [list(model.encoder.parameters()), [p for p in model.decoder.parameters() if p.requires_grad]]
    found = []
    for part in parts:
        grads = torch.autograd.grad(loss, part, retain_graph=True, allow_unused=True)
        found.append(
            torch.cat(
                [
                    torch.zeros_like(p).flatten() if g is None else g.flatten()
                    for p, g in zip(part, grads, strict=True)
                ]
            )
        )
    return found[0], found[1]


# ---------------------------------------------------------------- values


def test_with_one_draw_it_is_the_elbo_by_draws(model, x):
    trace = model.trace(x, 1)
    by_hand = trace.distortion - trace.pz.log_prob(trace.z) + trace.q.log_prob(trace.z)
    torch.testing.assert_close(ImportanceBound(1)(trace), by_hand.mean())
    torch.testing.assert_close(sticking_the_landing(trace), by_hand.mean())


def test_its_mean_over_noise_is_the_elbo_in_closed_form(model, x):
    trace = model.trace(x, 40_000)
    each = trace.log_weight.mean(1)  # the draws are independent
    error = each.std() / len(each) ** 0.5
    assert abs(-each.mean() - (trace.distortion.mean() + trace.rate.mean())) < 4 * error


def test_with_one_bound_miwae_is_iwae_and_with_one_draw_it_is_the_elbo(model, x):
    trace = model.trace(x, 12)
    iwae = -(trace.log_weight.exp().mean(0).log()).mean()
    torch.testing.assert_close(ImportanceBound(12, 1)(trace), iwae)
    torch.testing.assert_close(ImportanceBound(1, 12)(trace), -trace.log_weight.mean())
    torch.testing.assert_close(PartiallyImportant(12, 1)(trace), iwae)
    assert ImportanceBound(3, 4).draws == PartiallyImportant(3, 4).draws == 12


def test_ciwae_with_beta_one_is_the_elbo_and_with_nought_it_is_iwae(model, x):
    trace = model.trace(x, 6)

    def value(beta: float) -> Tensor:
        objective = Objective((1 - beta, ImportanceBound(6)), distortion=beta, rate=beta)
        return objective.total(objective(trace), objective.weights(0.5))

    elbo = trace.distortion.mean() + trace.rate.mean()
    torch.testing.assert_close(value(1.0), elbo)
    torch.testing.assert_close(value(0.0), ImportanceBound(6)(trace))
    torch.testing.assert_close(value(0.3), 0.3 * elbo + 0.7 * ImportanceBound(6)(trace))


def test_the_bound_grows_with_the_draws_up_to_the_evidence(model, x):
    """Averages of the same 4,096 draws in groups: each group's bound is at least its parts' mean (Jensen)."""
    trace = model.trace(x, 4096)
    bounds = [-ImportanceBound(k, 4096 // k)(trace).item() for k in (1, 4, 16, 64, 1024)]
    assert all(a < b for a, b in pairwise(bounds))
    exact = evidence(model, x).mean().item()
    assert bounds[-1] < exact + 0.01
    assert bounds[-1] == pytest.approx(exact, abs=0.05)


def test_at_the_exact_posterior_every_bound_is_the_evidence_for_any_noise(model, x):
    make_exact(model)
    trace, exact = model.trace(x, 6), -evidence(model, x).mean()
    for term in (
        ImportanceBound(6),
        ImportanceBound(2, 3),
        PartiallyImportant(2, 3),
        DoublyReparameterized(6),
    ):
        torch.testing.assert_close(term(trace), exact)
    torch.testing.assert_close(sticking_the_landing(trace), exact)


# ---------------------------------------------------------------- gradients


def test_piwae_gives_the_decoder_iwaes_gradient_and_the_encoder_miwaes(model, x):
    trace = model.trace(x, 12)
    encoder, decoder = gradients(model, PartiallyImportant(4, 3)(trace))
    torch.testing.assert_close(encoder, gradients(model, ImportanceBound(4, 3)(trace))[0])
    torch.testing.assert_close(decoder, gradients(model, ImportanceBound(12)(trace))[1])
    assert not torch.allclose(decoder, gradients(model, ImportanceBound(4, 3)(trace))[1])


def test_piwae_keeps_a_gradient_where_weights_are_hundreds_of_nats_apart(model, x):
    """As they are when training begins; a ratio of weights would be 0/0 there."""
    q = model.encode(x)
    z = 40 * q.rsample(torch.Size((6,)))
    trace = Trace(x, q, z, model.decoder(z), model.prior(model.encoder))
    assert (trace.log_weight.amax(0) - trace.log_weight.amin(0)).min() > 800
    encoder, decoder = gradients(model, PartiallyImportant(2, 3)(trace))
    torch.testing.assert_close(encoder, gradients(model, ImportanceBound(2, 3)(trace))[0])
    torch.testing.assert_close(decoder, gradients(model, ImportanceBound(6)(trace))[1])


def test_dreg_has_iwaes_gradient_in_expectation_and_less_noise(model, x):
    iwae, dreg = [], []
    for _ in range(300):
        trace = model.trace(x, 8)
        iwae.append(gradients(model, ImportanceBound(8)(trace)))
        dreg.append(gradients(model, DoublyReparameterized(8)(trace)))
    for a, b in zip(iwae[:5], dreg[:5], strict=True):  # the decoder's is the same, draw for draw
        torch.testing.assert_close(a[1], b[1])
    plain, double = torch.stack([a for a, _ in iwae]), torch.stack([b for b, _ in dreg])
    error = (plain - double).std(0) / len(plain) ** 0.5
    assert ((plain.mean(0) - double.mean(0)).abs() < 4.5 * error).all()
    assert double.var(0).sum() < 0.7 * plain.var(0).sum()


def plain_and_stuck(model, x, times: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of as many draws, (times, …): the ELBO's, and that of sticking the landing."""
    plain, stuck = [], []
    for _ in range(times):
        trace = model.trace(x, 1)
        plain.append(gradients(model, -trace.log_weight.mean())[0])
        stuck.append(gradients(model, sticking_the_landing(trace))[0])
    return torch.stack(plain), torch.stack(stuck)


def test_sticking_the_landing_has_the_elbos_gradient_in_expectation(model, x):
    plain, stuck = plain_and_stuck(model, x, 300)
    error = (plain - stuck).std(0) / len(plain) ** 0.5
    assert ((plain.mean(0) - stuck.mean(0)).abs() < 4.5 * error).all()


def test_at_the_exact_posterior_the_landing_is_without_noise(model, x):
    make_exact(model)
    trace = model.trace(x, 3)
    stuck, _ = gradients(model, sticking_the_landing(trace))
    plain, _ = gradients(model, -trace.log_weight.mean())
    assert stuck.abs().max() < 1e-12
    assert plain.abs().max() > 1e-3
    doubly, _ = gradients(model, DoublyReparameterized(3)(trace))
    assert doubly.abs().max() < 1e-12


def test_a_routed_gradient_leaves_other_terms_theirs(model, x):
    """Beside another term on the same trace, each contributes exactly what it does alone."""
    trace = model.trace(x, 4)
    alone = [gradients(model, term(trace)) for term in (DoublyReparameterized(4), lambda t: t.rate.mean())]
    both = gradients(model, DoublyReparameterized(4)(trace) + trace.rate.mean())
    for part in (0, 1):
        if part == 0:
            torch.testing.assert_close(both[0], alone[0][0] + alone[1][0])
        else:
            torch.testing.assert_close(both[1], alone[0][1])


@torch.no_grad()
def test_values_can_be_had_without_gradients(model, x):
    trace = model.trace(x, 4)
    torch.testing.assert_close(DoublyReparameterized(4)(trace), ImportanceBound(4)(trace))


# ---------------------------------------------------------------- free bits


def collapsed(rates: list[float]) -> Trace:
    """Posteriors N(m, 1) with m²/2 the rate of each dimension, in two images whose mean rates are those."""
    m = torch.tensor(rates, dtype=torch.float64).mul(2).sqrt().requires_grad_()
    q = normal(torch.stack([m, m]), torch.ones(2, len(rates), dtype=torch.float64))
    z, one = q.mean[None], torch.ones(len(rates), dtype=torch.float64)
    return Trace(torch.zeros(2, *SHAPE, dtype=torch.float64), q, z, q, normal(0 * one, one))


def test_free_bits_count_what_lies_above_them_in_each_dimension():
    trace = collapsed([0.2, 0.7, 2.0])
    torch.testing.assert_close(FreeBits(0.5)(trace).item(), 0.5 + 0.7 + 2.0)
    (grad,) = torch.autograd.grad(FreeBits(0.5)(trace), trace.q.mean)
    assert (grad.abs().sum(0) > 0).tolist() == [False, True, True]


def test_free_nats_count_what_lies_above_them_in_the_sum():
    trace = collapsed([0.2, 0.7, 2.0])
    torch.testing.assert_close(FreeNats(1.0)(trace).item(), 2.9)
    torch.testing.assert_close(FreeNats(4.0)(trace).item(), 4.0)


def test_without_anything_free_they_are_the_rate():
    trace = collapsed([0.2, 0.7, 2.0])
    torch.testing.assert_close(FreeBits(0.0)(trace), trace.rate.mean())
    torch.testing.assert_close(FreeNats(0.0)(trace), trace.rate.mean())


def test_free_bits_refuse_dimensions_that_are_not_independent():
    trace = collapsed([0.2, 0.7])
    whole = torch.distributions.MultivariateNormal(trace.q.mean, torch.eye(2, dtype=torch.float64))
    with pytest.raises(UsageError, match=r"MultivariateNormal.*independent"):
        FreeBits(0.1)(Trace(trace.x, whole, trace.z, trace.px, trace.pz))


def test_the_landing_sticks_where_the_posterior_is_a_flow_too(x):
    """A flow knows the density of its own draws by heart; the gradient by way of the draw is there all the same."""
    made = recipes.get("flow-posterior", ImageSpec(1, 8, 8), {"size": "tiny"}).build().model.double()
    image = torch.rand(6, 1, 8, 8, dtype=torch.float64)
    plain, stuck = plain_and_stuck(made, image, 200)
    apart, error = (plain - stuck).mean(0), (plain - stuck).std(0) / len(plain) ** 0.5
    # Of many entries some are far off by chance; without −log q all of them would be.
    assert apart.square().sum() < 2 * error.square().sum()


def test_dreg_has_iwaes_gradient_where_sigma_is_the_batchs(x):
    made = VAE(
        Conditional(Linear(SHAPE, (2 * D,)), DiagonalNormal()),
        Conditional(Linear((D,), SHAPE), OptimalGaussian()),
        StandardNormal(D),
    ).double()
    apart = []
    for _ in range(400):
        trace = made.trace(x, 8)
        iwae, dreg = (
            gradients(made, term(trace))[0] for term in (ImportanceBound(8), DoublyReparameterized(8))
        )
        apart.append(iwae - dreg)
    apart = torch.stack(apart)
    error = apart.std(0) / len(apart) ** 0.5
    assert (apart.mean(0).abs() < 4.5 * error).all()
