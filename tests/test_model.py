"""The theorems of the model: most on a linear-Gaussian VAE, whose evidence has a closed form.

p(z) = N(0, I) and p(x|z) = N(Wz + b, σ²I) give p(x) = N(b, WWᵀ + σ²I), and the posterior is normal with precision
I + WᵀW/σ²: diagonal where W's columns are orthogonal (Tipping & Bishop 1999, doi:10.1111/1467-9868.00196).
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from fixtures.small import Linear, make_images, unit
from morphospace import recipes
from morphospace.distributions import image_bernoulli, normal
from morphospace.families import DiagonalNormal, Gaussian
from morphospace.model import VAE, Conditional, Trace
from morphospace.objective import Objective, distortion, rate
from morphospace.priors import StandardNormal
from morphospace.types import ImageSpec

SHAPE, LATENT, SIGMA = (1, 2, 3), 2, 0.5
PIXELS = math.prod(SHAPE)


def linear_vae(sigma: float = SIGMA, *, learned: bool = False) -> VAE:
    model = VAE(
        encoder=Conditional(Linear(SHAPE, (2 * LATENT,)), DiagonalNormal()),
        decoder=Conditional(Linear((LATENT,), SHAPE), Gaussian(sigma, learned=learned)),
        prior=StandardNormal(LATENT),
    )
    return model.double()


def exact_vae(seed: int = 0) -> VAE:
    """A linear-Gaussian VAE whose encoder is the exact posterior."""
    generator = torch.Generator().manual_seed(seed)
    model = linear_vae()
    model.decoder.family.log_sigma.fill_(
        math.log(SIGMA)
    )  # in float64: the constructor's is rounded to float32
    directions, _ = torch.linalg.qr(torch.randn(PIXELS, LATENT, dtype=torch.float64, generator=generator))
    W = directions * torch.tensor([1.5, 0.7])
    b = torch.randn(PIXELS, dtype=torch.float64, generator=generator)
    precision = 1 + (W**2).sum(0) / SIGMA**2
    with torch.no_grad():
        decoder, encoder = model.decoder.network.linear, model.encoder.network.linear
        decoder.weight.copy_(W)
        decoder.bias.copy_(b)
        to_mean = W.T / SIGMA**2 / precision[:, None]
        encoder.weight.copy_(torch.cat([to_mean, torch.zeros_like(to_mean)]))
        encoder.bias.copy_(torch.cat([-to_mean @ b, -precision.log()]))
    return model


def inexact_vae() -> VAE:
    """The same with an encoder that is somewhat too wide and somewhat beside."""
    model = exact_vae()
    with torch.no_grad():
        model.encoder.network.linear.bias.add_(torch.tensor([0.1, -0.2, 0.4, 0.6]))
    return model


def evidence(model: VAE, x: Tensor) -> Tensor:
    """log N(x; b, WWᵀ + σ²I), by torch's multivariate normal."""
    W, b = (p.detach() for p in model.decoder.network.linear.parameters())
    sigma = model.decoder.family.log_sigma.detach().exp()
    covariance = W @ W.T + sigma**2 * torch.eye(PIXELS, dtype=torch.float64)
    return torch.distributions.MultivariateNormal(b, covariance).log_prob(x.flatten(1))


def some_images(batch: int, seed: int = 0) -> Tensor:
    return torch.randn(batch, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def trace_at(model: VAE, x: Tensor, z: Tensor) -> Trace:
    """A trace with points of our choice in place of draws."""
    return Trace(x, model.encode(x), z, model.decoder(z), model.prior(model.encoder))


def sigma_points(model: VAE, x: Tensor) -> Tensor:
    """μ ± √D·σᵢ·eᵢ: the mean of any quadratic function over them is its expectation under q, exactly."""
    q = model.encode(x)
    steps = torch.cat([torch.eye(LATENT), -torch.eye(LATENT)]).double() * LATENT**0.5
    return q.mean + steps[:, None, :] * q.stddev


@pytest.fixture(autouse=True)
def fixed_seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# ---------------------------------------------------------------- evidence


@torch.no_grad()
def test_elbo_with_the_exact_posterior_is_the_evidence():
    model, x = exact_vae(), some_images(7)
    trace = trace_at(model, x, sigma_points(model, x))
    elbo = -(trace.distortion.mean(0) + trace.rate.mean(0))
    torch.testing.assert_close(elbo, evidence(model, x), rtol=0, atol=1e-9)


@torch.no_grad()
def test_with_the_exact_posterior_every_single_weight_is_the_evidence():
    model, x = exact_vae(), some_images(7)
    log_weight = model.trace(x, draws=11).log_weight
    torch.testing.assert_close(log_weight, evidence(model, x).expand(11, 7), rtol=0, atol=1e-9)


@torch.no_grad()
def test_an_inexact_posterior_costs_its_divergence_from_the_exact_one():
    """log p(x) = ELBO + KL(q ‖ p(z|x)): what the ELBO is short of is known too."""
    model, exact, x = inexact_vae(), exact_vae(), some_images(7)
    trace = trace_at(model, x, sigma_points(model, x))
    gap = torch.distributions.kl_divergence(model.encode(x), exact.encode(x))
    assert gap.min() > 0.01
    torch.testing.assert_close(
        evidence(model, x), -(trace.distortion + trace.rate).mean(0) + gap, rtol=0, atol=1e-9
    )


@torch.no_grad()
def test_log_likelihood_is_the_evidence_within_its_standard_error():
    model, x = inexact_vae(), some_images(40)
    estimate, error = model.log_likelihood(x, draws=4000, chunk=300)
    z = (estimate - evidence(model, x)) / error
    assert z.abs().max() < 4.5
    # The errors are honest: neither as wide as to let anything pass nor narrower than the truth.
    assert 0.6 < z.std() < 1.5
    assert error.max() < 0.1


@torch.no_grad()
def test_the_standard_error_falls_with_the_root_of_the_draws():
    model, x = inexact_vae(), some_images(40)
    few, many = (model.log_likelihood(x, draws=k)[1].mean() for k in (500, 8000))
    assert few / many == pytest.approx(4, rel=0.2)


@pytest.mark.parametrize(("draws", "chunk"), [(1, 50), (7, 50), (50, 50), (120, 50), (5, 2)])
def test_log_likelihood_takes_exactly_the_draws_asked(draws, chunk):
    model, seen = exact_vae(), []
    model.decoder.network.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    estimate, error = model.log_likelihood(some_images(3), draws, chunk)
    assert sum(seen) == 3 * draws
    assert max(seen) <= 3 * chunk
    assert estimate.shape == error.shape == (3,)
    assert torch.isinf(error).all() == (draws == 1)  # one draw tells nothing of its own spread
    assert not estimate.requires_grad


@torch.no_grad()
def test_log_likelihood_survives_weights_that_exp_cannot_hold():
    model = exact_vae()
    estimate, _ = model.log_likelihood(some_images(2) * 1e3, draws=3)
    torch.testing.assert_close(estimate, evidence(model, some_images(2) * 1e3), rtol=1e-9, atol=0)
    assert (estimate < -1e4).all()


# ---------------------------------------------------------------- bounds


@torch.no_grad()
def test_one_importance_weight_has_the_elbo_as_its_expectation():
    model, x, draws = inexact_vae(), some_images(5), 20_000
    trace = model.trace(x, draws)
    # Draw by draw: log w = −distortion − (log q − log p) ...
    by_hand = -trace.distortion - (trace.q.log_prob(trace.z) - trace.pz.log_prob(trace.z))
    torch.testing.assert_close(trace.log_weight, by_hand, rtol=0, atol=1e-12)
    # ... and in the mean the last bracket is the rate.
    difference = trace.log_weight + trace.distortion + trace.rate
    assert (difference.mean(0).abs() < 4 * difference.std(0) / draws**0.5).all()


@torch.no_grad()
def test_the_bound_grows_with_the_draws_up_to_the_evidence():
    model, x = inexact_vae(), some_images(5).repeat(400, 1, 1, 1)
    truth = evidence(model, x).mean()
    bounds = [model.log_likelihood(x, draws=k)[0].mean() for k in (1, 3, 10, 100)]
    assert all(a < b for a, b in pairwise(bounds))
    assert truth - bounds[0] > 0.05
    assert abs(truth - bounds[-1]) < 0.01


def test_trained_it_reaches_probabilistic_pca():
    """The ELBO's optimum is the likelihood's maximum of probabilistic PCA (Lucas et al. 2019, arXiv:1911.02469)."""
    data = torch.Generator().manual_seed(3)
    loadings = torch.randn(PIXELS, LATENT, dtype=torch.float64, generator=data)
    n = 200
    x = torch.randn(n, LATENT, dtype=torch.float64, generator=data) @ loadings.T
    x = (x + 0.4 * torch.randn(n, PIXELS, dtype=torch.float64, generator=data)).reshape(n, *SHAPE)

    # Tipping & Bishop 1999, eq. 3.7 and 3.8: all from the eigenvalues of the sample covariance.
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.flatten(1).T, correction=0)).flip(0)
    noise = eigenvalues[LATENT:].mean()
    log_determinant = eigenvalues[:LATENT].log().sum() + (PIXELS - LATENT) * noise.log()
    best = -0.5 * (PIXELS * math.log(2 * math.pi) + log_determinant + PIXELS)

    model = linear_vae(sigma=1.0, learned=True)
    objective, steps = Objective(distortion=1, rate=1), 500
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        optimizer.zero_grad()
        objective.total(objective(model.trace(x, draws=2)), objective.weights(step / steps)).backward()
        optimizer.step()
        schedule.step()

    with torch.no_grad():
        reached = evidence(model, x).mean()
        elbo = -(trace_at(model, x, sigma_points(model, x)).distortion.mean() + rate(model.trace(x)))
    assert reached <= best + 1e-9
    assert reached == pytest.approx(best.item(), abs=0.01)
    assert elbo == pytest.approx(best.item(), abs=0.02)
    assert model.decoder.family.log_sigma.exp().item() ** 2 == pytest.approx(noise.item(), rel=0.05)


# ---------------------------------------------------------------- sums, means and rows


@torch.no_grad()
def test_the_loss_does_not_depend_on_the_batch_size():
    """Twice the same images is the same mean: nothing is summed over the batch or over the draws."""
    model, x = inexact_vae(), some_images(4)
    z = model.encode(x).rsample(torch.Size((3,)))
    once = trace_at(model, x, z)
    for again in (
        trace_at(model, x.repeat(5, 1, 1, 1), z.repeat(1, 5, 1)),
        trace_at(model, x, z.repeat(5, 1, 1)),
    ):
        for term in (distortion, rate):
            torch.testing.assert_close(term(again), term(once), rtol=1e-12, atol=0)


@torch.no_grad()
def test_the_batch_mean_is_the_mean_of_the_images_alone():
    model, x = inexact_vae(), some_images(6)
    z = model.encode(x).rsample(torch.Size((2,)))
    for term in (distortion, rate):
        alone = [term(trace_at(model, x[i : i + 1], z[:, i : i + 1])) for i in range(6)]
        torch.testing.assert_close(term(trace_at(model, x, z)), torch.stack(alone).mean())


@pytest.mark.parametrize("channels", [1, 3])
def test_distortion_sums_over_pixels_and_channels(channels):
    """An image with every channel twice has twice the distortion; with a mean it would have the same."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 4, channels, 3, 5, dtype=torch.float64, generator=generator)
    x = torch.rand(4, channels, 3, 5, dtype=torch.float64, generator=generator)
    q = normal(torch.zeros(4, 2, dtype=torch.float64), torch.ones(4, 2, dtype=torch.float64))

    def of(copies: int) -> Tensor:
        px = image_bernoulli(logits.repeat(1, 1, copies, 1, 1))
        return Trace(x.repeat(1, copies, 1, 1), q, q.rsample(torch.Size((2,))), px, q).distortion

    assert of(1).shape == (2, 4)
    torch.testing.assert_close(of(2), 2 * of(1))
    cross_entropy = nn.functional.binary_cross_entropy_with_logits(
        logits, x.expand_as(logits), reduction="none"
    )
    torch.testing.assert_close(of(1), cross_entropy.sum((2, 3, 4)))


@pytest.mark.parametrize("draws", [1, 4])
def test_a_trace_leads_with_draws_then_images(draws):
    spec = ImageSpec(3, 8, 9)
    model = recipes.vae(spec, latent=5, size="tiny").build().model
    trace = model.trace(torch.rand(6, *spec.shape), draws)
    assert trace.z.shape == (draws, 6, 5)
    assert trace.px.mean.shape == (draws, 6, 3, 8, 9)
    assert trace.distortion.shape == trace.rate.shape == trace.log_weight.shape == (draws, 6)


def test_draws_differ_from_one_another_and_between_images():
    trace = exact_vae().trace(some_images(1).repeat(2, 1, 1, 1), draws=2)
    assert len(trace.z.flatten(0, 1).unique(dim=0)) == 4


@torch.no_grad()
def test_a_conditional_keeps_all_leading_dimensions_in_order():
    decoder = exact_vae().decoder
    z = torch.randn(2, 3, 4, LATENT, dtype=torch.float64)
    h = decoder.parameters_of(z)
    assert h.shape == (2, 3, 4, *SHAPE)
    torch.testing.assert_close(h[1, 2, 3], decoder.network(z[1, 2, 3][None])[0])
    assert decoder.parameters_of(z[0, 0, 0]).shape == SHAPE


@torch.no_grad()
def test_an_embedding_is_no_random_draw_and_a_decoded_image_is_a_mean():
    images = make_images()
    model, x = recipes.vae(images.spec, latent=2, size="tiny").build().model.eval(), unit(images)
    assert torch.equal(model.encode(x).mean, model.encode(x).mean)
    z = model.encode(x).mean
    torch.testing.assert_close(model.decode(z), torch.sigmoid(model.decoder.network(z)))


@torch.no_grad()
def test_samples_are_decoded_draws_from_the_prior():
    model, n = exact_vae(), 20_000
    x = model.sample(n).flatten(1)
    W, b = model.decoder.network.linear.parameters()
    # Mean images carry no pixel noise: their covariance is WWᵀ alone.
    torch.testing.assert_close(x.mean(0), b.detach(), rtol=0, atol=0.05)
    torch.testing.assert_close(torch.cov(x.T), (W @ W.T).detach(), rtol=0, atol=0.08)


def test_the_terms_carry_gradients_to_every_part():
    model = linear_vae(learned=True)
    trace = model.trace(some_images(3))
    (distortion(trace) + rate(trace)).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())
