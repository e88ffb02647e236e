"""In more dimensions the figures are estimates that agree with closed forms, and with the map in two."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from morphospace import recipes
from morphospace.atlas import make_atlas
from morphospace.atlas.estimates import estimate_figures
from morphospace.fitting import fit
from morphospace.latents import Latents
from morphospace.types import RunError, UsageError


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("morphospace.evaluation.classifier.LEAST_STEPS", 10)


def test_in_two_dimensions_they_agree_with_the_map(space):
    exact = make_atlas(space, parts=None, cells=128).figures
    found, notes = estimate_figures(space, draws=4000)
    assert "estimates" in notes[0]
    for name in ("kl_to_prior", "hole_mass", "missed_mass", "bayes_error", "sampler_kl", "sampler_hole_mass"):
        assert found[name].error is not None
        assert (
            abs(found[name].value - exact[name].value) < 4.5 * found[name].error + exact[name].error + 1e-3
        ), name


def test_in_five_dimensions_they_meet_the_closed_form(images):
    """Posteriors all alike, so that q is one normal: KL and the overlap of its two classes are known."""
    space = fit(recipes.vae(images.spec, latent=5, size="tiny"), images, steps=1)
    mean = np.zeros((40, 5), dtype=np.float32)
    mean[:, 0] = np.where(np.arange(40) % 2, 1.0, -1.0)
    latents = Latents(
        mean, np.full((40, 5), 0.5, np.float32), np.zeros(40, np.uint8), np.arange(40) % 2, ("a", "b", "c")
    )
    space = replace(space, latents=latents, sampler=None)
    found, _ = estimate_figures(space, draws=4000)
    from scipy.stats import norm

    assert found["bayes_error"].value == pytest.approx(norm.sf(2), abs=4.5 * found["bayes_error"].error)
    other = 4 * (0.5 * (0.25 - 1) - math.log(0.5))  # the four dimensions without classes
    x = np.linspace(-6, 6, 4001)
    q = 0.5 * (norm.pdf(x, 1, 0.5) + norm.pdf(x, -1, 0.5))
    first = (q * (np.log(q) - norm.logpdf(x))).sum() * (x[1] - x[0])
    assert found["kl_to_prior"].value == pytest.approx(first + other, abs=4.5 * found["kl_to_prior"].error)


def test_labelled_images_tell_what_is_recognised(images):
    space = fit(recipes.vae(images.spec, latent=3, size="tiny"), images, steps=5)
    found, _ = estimate_figures(space, images, draws=50)
    assert -1 <= found["excess_unrecognisable"].value <= 1
    assert found["excess_unrecognisable"].draws == 50
    for name, figure in found.items():
        assert figure.error is not None, name
        assert "standard error" in figure.error_is, name
    again, _ = estimate_figures(space, images, draws=50)
    assert {k: f.value for k, f in again.items()} == {k: f.value for k, f in found.items()}


def test_what_has_no_aggregate_of_normals_is_refused(space, images):
    sphere = fit(recipes.hyperspherical(images.spec, size="tiny"), images, steps=1)
    with pytest.raises(UsageError, match=r"Spherical.*no holes"):
        estimate_figures(sphere)
    with pytest.raises(UsageError, match="at least 2"):
        estimate_figures(space, draws=1)
    with pytest.raises(RunError, match="gone"):
        estimate_figures(replace(space, latents=None))
    torch.manual_seed(0)
