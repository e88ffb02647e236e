"""Likelihoods meet closed forms; what is no probability is given no bits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from test_quadrature import evidence, linear_gaussian, pictures

from morphospace import recipes
from morphospace.evaluation.likelihood import (
    ONE_BY_ONE,
    as_seen,
    elbo,
    importance_weighted,
    measure_likelihood,
    scale_of,
)
from morphospace.evaluation.pairs import Pairs
from morphospace.families import Bernoulli
from morphospace.types import ImageSpec, UsageError


def test_with_the_exact_posterior_every_weight_is_the_evidence():
    """Orthogonal columns make the true posterior diagonal: the ELBO is log p(x), and one draw tells all."""
    model = orthogonal()
    x = pictures(model, 0.3)
    truth = evidence(model, x, 0.3).detach().numpy()
    log_p, error = importance_weighted(model, x, 8, seed=0)
    assert np.abs(log_p - truth).max() < 1e-9
    assert error.max() < 1e-9
    distortion, rate = elbo(model, x, 4000, seed=0)
    gap = truth + distortion + rate  # not nought draw by draw, since the rate is in closed form
    assert np.abs(gap).max() < 0.2


def orthogonal(sigma: float = 0.3):
    """A linear-Gaussian model whose true posterior is diagonal."""
    model = linear_gaussian(sigma)
    with torch.no_grad():
        linear, back = model.decoder.network.linear, model.encoder.network.linear
        u, _, _ = torch.linalg.svd(linear.weight, full_matrices=False)
        weight = u * torch.tensor([1.0, 0.6])
        linear.weight.copy_(weight)
        precision = torch.eye(2) + weight.T @ weight / sigma**2
        mean = torch.linalg.solve(precision, weight.T) / sigma**2
        back.weight[:2], back.bias[:2] = mean, -mean @ linear.bias
        back.bias[2:] = torch.linalg.inv(precision).diagonal().log()
    return model


def test_figures_of_a_density():
    model = linear_gaussian(0.3)
    x = pictures(model, 0.3, 40)
    truth = -evidence(model, x, 0.3).detach().numpy()
    figures, notes = measure_likelihood(model, x, draws=500)
    exact, weighted, bound = (figures[name] for name in ("nll_exact", "nll_importance", "neg_elbo"))
    assert exact.value == pytest.approx(truth.mean(), abs=1e-3)
    assert exact.error == pytest.approx(truth.std(ddof=1) / math.sqrt(40), rel=1e-3)
    assert abs(weighted.value - exact.value) < 5 * weighted.extra["monte_carlo_error"] + 0.02
    assert bound.value > exact.value
    assert figures["elbo_gap"].value == pytest.approx(bound.value - exact.value, abs=1e-6)
    assert figures["distortion"].value + figures["rate"].value == pytest.approx(bound.value, rel=1e-9)
    assert (weighted.draws, weighted.images) == (500, 40)
    assert "bits_per_dimension" not in figures
    assert any("density" in note for note in notes)


def test_what_is_asked_one_by_one_is_integrated_for_some_images(monkeypatch):
    monkeypatch.setattr(Pairs, "asked_one_by_one", lambda _: True)
    model = linear_gaussian(0.3)
    x = pictures(model, 0.3, 60)
    truth = -evidence(model, x, 0.3).detach().numpy()[np.linspace(0, 59, ONE_BY_ONE).round().astype(int)]
    figures, notes = measure_likelihood(model, x, draws=50)
    assert figures["nll_exact"].images == figures["elbo_gap"].images == ONE_BY_ONE
    assert figures["nll_exact"].value == pytest.approx(truth.mean(), abs=1e-3)
    assert 0 < figures["elbo_gap"].value < 5
    assert figures["neg_elbo"].images == 60
    assert any(f"{ONE_BY_ONE} of the images" in note for note in notes)


def test_bits_are_given_for_binary_images_only():
    model = linear_gaussian(3.0, family=Bernoulli())
    torch.manual_seed(0)
    grey = torch.rand(12, 1, 3, 4, dtype=torch.float64)
    binary = grey.round()
    assert scale_of(model, grey) == "cross-entropy"
    figures, notes = measure_likelihood(model, grey, draws=10)
    assert "bits_per_dimension" not in figures
    assert any("mean over binary images" in note for note in notes)
    floor = -(grey * grey.log() + (1 - grey) * (1 - grey).log()).flatten(1).sum(1).mean()
    assert figures["floor"].value == pytest.approx(float(floor))
    assert figures["floor"].value < figures["nll_exact"].value
    figures, _ = measure_likelihood(model, binary, draws=10)
    bits = figures["bits_per_dimension"].value
    assert bits == pytest.approx(figures["nll_exact"].value / (12 * math.log(2)))


def test_probabilities_of_all_binary_images_sum_to_one():
    """Exact log p(x) of all 2⁴ images of four pixels: a likelihood that is normalised, and integrated as it is."""
    from test_quadrature import Linear

    from morphospace.evaluation.quadrature import exact_log_likelihood
    from morphospace.families import DiagonalNormal
    from morphospace.model import VAE, Conditional
    from morphospace.priors import StandardNormal

    torch.manual_seed(0)
    shape = (1, 2, 2)
    encoder, decoder = Linear(shape, (4,)), Linear((2,), shape)
    model = VAE(
        Conditional(encoder, DiagonalNormal()), Conditional(decoder, Bernoulli()), StandardNormal(2)
    ).double()
    x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 4).reshape(16, *shape)
    assert np.exp(exact_log_likelihood(model, x).log_p).sum() == pytest.approx(1, abs=1e-6)


def test_images_are_measured_as_the_likelihood_sees_them():
    """Binarised once, where that is part of it, by the seed; as they are, where nothing is done to them."""
    torch.manual_seed(0)
    grey = torch.rand(50, 1, 3, 4, dtype=torch.float64)
    plain = linear_gaussian(3.0, family=Bernoulli())
    assert torch.equal(as_seen(plain, grey, seed=0), grey)
    noisy = linear_gaussian(3.0, family=Bernoulli(binarise=True))
    seen = as_seen(noisy, grey, seed=0)
    assert set(seen.unique().tolist()) == {0, 1}
    assert torch.equal(as_seen(noisy, grey, seed=0), seen)
    assert seen.mean().item() == pytest.approx(grey.mean().item(), abs=0.1)
    figures, _ = measure_likelihood(noisy, grey, draws=50)
    assert "bits_per_dimension" in figures
    weighted, exact = figures["nll_importance"], figures["nll_exact"]
    assert abs(weighted.value - exact.value) < 4 * (weighted.error + exact.error)


def test_more_draws_tighten_the_bound():
    model = linear_gaussian(1.0)
    with torch.no_grad():
        model.encoder.network.linear.bias[2:] += 1.0  # too wide, so that weights differ
    x = pictures(model, 1.0, 30)
    means = [importance_weighted(model, x, draws, seed=0)[0].mean() for draws in (2, 20, 2000)]
    assert means[0] < means[1] < means[2]
    assert means[2] == pytest.approx(evidence(model, x, 1.0).mean().item(), abs=0.01)


def test_draws_are_exact_and_a_function_of_the_seed():
    model = linear_gaussian(0.5)
    x = pictures(model, 0.5, 5)
    taken = []
    watch = model.decoder.register_forward_hook(lambda module, inputs, output: taken.append(len(inputs[0])))
    first = importance_weighted(model, x, 61, seed=3)
    watch.remove()
    assert sum(taken) == 61
    assert np.array_equal(first[0], importance_weighted(model, x, 61, seed=3)[0])
    assert not np.array_equal(first[0], importance_weighted(model, x, 61, seed=4)[0])
    with pytest.raises(UsageError, match="at least 2"):
        importance_weighted(model, x, 1, seed=0)


def test_binary_images_are_binary_whatever_is_missing():
    model = recipes.missing_pixels(ImageSpec(1, 8, 8), size="tiny").build().model.eval()
    x = (torch.rand(12, 1, 8, 8) > 0.5).float()
    x[:, :, 2] = torch.nan
    assert scale_of(model, x) == "probability"
    figures, notes = measure_likelihood(model, x, draws=5)
    assert "bits_per_dimension" not in figures
    assert any("missing" in note for note in notes)
    grey = torch.full_like(x, 0.5).masked_fill(x.isnan(), torch.nan)
    found, _ = measure_likelihood(model, grey, draws=5)
    assert found["floor"].value == pytest.approx(56 * math.log(2))
