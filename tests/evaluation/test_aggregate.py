"""The rate taken apart, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from morphospace.distributions import divergence, normal
from morphospace.evaluation.aggregate import active_units, information, latent_figures, rate_per_dimension


def posteriors(mean, scale):
    mean = torch.as_tensor(mean, dtype=torch.float64)
    return normal(mean, torch.as_tensor(scale, dtype=torch.float64).expand_as(mean))


STANDARD = posteriors(torch.zeros(2), 1.0)
rng = np.random.default_rng(0)


def test_information_and_mismatch_add_up_to_the_rate():
    q = posteriors(rng.normal(size=(3000, 2)), 0.5)
    found = information(q, STANDARD)
    total = found.information + found.mismatch  # log q(z|x) − log p(z), draw by draw
    rate = divergence(q, STANDARD, torch.zeros(1, 3000, 2)).mean().item()
    assert total.mean() == pytest.approx(rate, abs=4 * total.std() / math.sqrt(3000))


def test_a_normal_channel_has_its_capacity():
    """x ~ N(0, 1 − s²), z = x + s·ε: the information is −log s for each dimension, and the aggregate the prior."""
    s = 0.5
    q = posteriors(rng.normal(size=(4000, 2)) * math.sqrt(1 - s**2), s)
    found = information(q, STANDARD)
    assert found.information.mean() == pytest.approx(-2 * math.log(s), abs=0.08)
    assert found.mismatch.mean() == pytest.approx(0, abs=0.03)


def test_images_wholly_told_apart_give_log_n():
    q = posteriors(rng.normal(size=(500, 2)) * 1000, 1e-3)
    assert information(q, STANDARD).information.mean() == pytest.approx(math.log(500), abs=1e-6)


def test_images_not_told_apart_give_nothing():
    found = information(posteriors(np.zeros((200, 2)), 1.0), STANDARD)
    assert np.abs(found.information).max() < 1e-9
    assert np.abs(found.mismatch).max() < 1e-9


def test_active_units_are_those_that_vary():
    mean = np.stack([rng.normal(size=1000), 0.05 * rng.normal(size=1000), np.full(1000, 7.0)], 1)
    assert active_units(mean) == 1


def test_rates_of_dimensions_add_up_to_the_rate():
    q = posteriors(rng.normal(size=(40, 3)), 0.3)
    p = posteriors(torch.zeros(3), 1.0)
    each = rate_per_dimension(q, p)
    assert each.sum(1) == pytest.approx(divergence(q, p, torch.zeros(1, 40, 3))[0].numpy())
    full = torch.distributions.MultivariateNormal(torch.zeros(3), torch.eye(3))
    assert rate_per_dimension(full, p) is None


def test_figures_say_when_images_are_too_few():
    q = posteriors(rng.normal(size=(50, 2)) * 100, 0.01)
    figures, notes = latent_figures(q, STANDARD)
    assert any("ceiling" in note for note in notes)
    assert figures["rate_z1"].value > 1000
    assert figures["active_units"].value == 2
