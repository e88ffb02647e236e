"""Penalties, against linear decoders whose derivative is a matrix; and where the gradients of image critics go."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from fixtures.small import Linear, make_images, unit
from morphospace import recipes
from morphospace.families import Gaussian, Point
from morphospace.model import VAE, Conditional
from morphospace.priors import StandardNormal
from morphospace.terms import (
    DecoderGradient,
    ImageCritic,
    LearnedSimilarity,
    Perceptual,
    decoder_norm,
    latent_norm,
)
from morphospace.types import ImageSpec

SHAPE, D = (1, 3, 4), 2
SPEC = ImageSpec(1, 8, 8)


@pytest.fixture
def model() -> VAE:
    return VAE(
        Conditional(Linear(SHAPE, (D,)), Point()),
        Conditional(Linear((D,), SHAPE), Gaussian(math.sqrt(0.5), learned=False)),
        StandardNormal(D),
    ).double()


def test_the_distortion_of_squared_error_is_the_squared_error(model):
    x = torch.rand(5, *SHAPE, dtype=torch.float64)
    trace = model.trace(x)
    squares = (trace.px.mean[0] - x).square().flatten(1).sum(1).mean()
    torch.testing.assert_close(trace.distortion.mean() - 12 * 0.5 * math.log(math.pi), squares)


def test_latent_norm_is_the_priors_energy(model):
    trace = model.trace(torch.rand(5, *SHAPE, dtype=torch.float64))
    energy = -trace.pz.log_prob(trace.z).mean() - 0.5 * D * math.log(2 * math.pi)
    torch.testing.assert_close(latent_norm(trace), energy)


def test_decoder_norm_is_half_the_square_of_all_weights(model):
    trace = model.trace(torch.rand(5, *SHAPE, dtype=torch.float64))
    vector = nn.utils.parameters_to_vector(model.decoder.network.parameters())
    torch.testing.assert_close(decoder_norm(trace), 0.5 * vector @ vector)


def test_the_decoders_gradient_is_the_jacobians_norm_on_average(model):
    """For a linear decoder ‖J‖² = ‖W‖², wherever it is taken."""
    x = torch.rand(4, *SHAPE, dtype=torch.float64)
    found = torch.stack([DecoderGradient()(model.trace(x)) for _ in range(600)])
    exact = model.decoder.network.linear.weight.square().sum()
    assert abs(found.mean() - exact) < 4.5 * found.std() / len(found) ** 0.5


def test_opposite_changes_do_not_hide_one_another(model):
    with torch.no_grad():  # one half of the pixels brightens as the other darkens: the pixels' sum stays
        model.decoder.network.linear.weight.copy_(torch.tensor([[1.0] * 6 + [-1.0] * 6] * 2).T)
    found = torch.stack([DecoderGradient()(model.trace(torch.rand(4, *SHAPE).double())) for _ in range(500)])
    assert found.mean().item() == pytest.approx(24, rel=0.1)


def test_the_penalty_is_what_small_noise_costs(model):
    """E‖D(z + σε) − x‖² − ‖D(z) − x‖² = σ²·‖J‖², exactly so for a linear decoder."""
    x, sigma = torch.rand(1, *SHAPE, dtype=torch.float64), 0.1
    trace = model.trace(x)
    noisy = model.decode(trace.z + sigma * torch.randn(200_000, 1, D, dtype=torch.float64))
    more = (noisy - x).square().flatten(1).sum(1).mean() - (trace.px.mean[0] - x).square().sum()
    torch.testing.assert_close(
        more, sigma**2 * model.decoder.network.linear.weight.square().sum(), rtol=0.03, atol=0
    )


def test_the_penalty_teaches_the_decoder(model):
    term = DecoderGradient()(model.trace(torch.rand(4, *SHAPE, dtype=torch.float64)))
    (grad,) = torch.autograd.grad(term, model.decoder.network.linear.weight)
    assert grad.abs().min() > 0


def test_spectral_normalisation_bounds_every_layers_slope():
    model = recipes.rae_sn(ImageSpec(1, 28, 28), size="tiny").build().model
    layers = [m for m in model.decoder.network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert all(nn.utils.parametrize.is_parametrized(layer, "weight") for layer in layers)
    for layer in layers:
        for _ in range(30):  # the power iteration, in training mode
            weight = layer.weight
        assert torch.linalg.matrix_norm(weight.detach().flatten(1), 2).item() == pytest.approx(1, abs=0.05)


# ---------------------------------------------------------------- features


def gradient(loss: Tensor, part: nn.Module) -> float:
    found = torch.autograd.grad(loss, list(part.parameters()), retain_graph=True, allow_unused=True)
    return sum(float(g.abs().sum()) for g in found if g is not None)


def test_the_image_critic_teaches_the_decoder_and_not_the_encoder():
    parts = recipes.vae_gan(SPEC, size="tiny").build()
    critic = parts.objective.terms["image_critic"]
    trace = parts.model.trace(unit(make_images(10)))
    assert gradient(critic(trace), parts.model.encoder) == 0
    assert gradient(critic(trace), parts.model.decoder) > 0
    similar = parts.objective.terms["learned_similarity"](trace)
    assert gradient(similar, parts.model.encoder) > 0
    assert gradient(similar, parts.model.decoder) > 0
    lesson = critic.critic_loss(trace)
    assert gradient(lesson, parts.model.encoder) == gradient(lesson, parts.model.decoder) == 0
    assert gradient(lesson, critic) > 0


def test_the_critic_sees_images_from_codes_and_from_the_prior():
    parts = recipes.vae_gan(SPEC, size="tiny").build()
    critic: ImageCritic = parts.objective.terms["image_critic"]
    trace = parts.model.trace(unit(make_images(10)))
    real, made = critic.pair(trace)
    assert torch.equal(real, trace.x)
    torch.testing.assert_close(made[1::2], trace.px.mean[0, 1::2])
    assert not torch.allclose(made[::2], trace.px.mean[0, ::2])


def test_equal_images_have_equal_features_and_no_network_makes_all_distances_large():
    parts = recipes.vae_gan(SPEC, size="tiny").build()
    critic: ImageCritic = parts.objective.terms["image_critic"]
    trace = parts.model.trace(unit(make_images(10)), 2)
    before = LearnedSimilarity(critic)(trace)
    with torch.no_grad():
        critic.features.coarse.weight.mul_(100)
        critic.features.coarse.bias.mul_(100)
    torch.testing.assert_close(LearnedSimilarity(critic)(trace), before, rtol=1e-3, atol=0)
    same = parts.model.trace(trace.px.mean[0].detach())
    object.__setattr__(same, "px", trace.px)
    object.__setattr__(same, "z", trace.z)
    torch.testing.assert_close(
        critic.features(same.x), critic.features(trace.px.mean[0]), rtol=1e-4, atol=1e-4
    )


def test_a_perceptual_terms_features_do_not_learn():
    parts = recipes.perceptual(SPEC, size="tiny").build()
    term: Perceptual = parts.objective.terms["perceptual"]
    assert not any(p.requires_grad for p in term.parameters())
    trace = parts.model.trace(unit(make_images(10)))
    assert gradient(term(trace), parts.model.encoder) > 0


@pytest.mark.parametrize(
    ("name", "words"),
    [("vae-gan", "features"), ("perceptual", "features"), ("ae", "points"), ("wae-mmd", "points")],
)
def test_what_has_no_likelihood_says_why(name, words):
    assert words in recipes.get(name, SPEC).unnormalised


@pytest.mark.parametrize("name", ["vae", "beta-vae", "iwae", "beta-tc", "factor-vae", "info-vae"])
def test_what_has_a_likelihood_says_nothing(name):
    assert recipes.get(name, SPEC).unnormalised == ""
