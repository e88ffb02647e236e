"""A prior fitted after training: samples lie where the latents do, and it is kept with its space."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fixtures.small import make_images, unit
from morphospace import priors, recipes
from morphospace.fitting import fit
from morphospace.space import Space
from morphospace.types import RunError, UnknownName, UsageError


def test_a_fitted_prior_puts_samples_where_the_latents_are(space):
    fitted = space.with_prior("mixture", components=3)
    latents = space.known_latents().train.mean
    z = fitted.draw(2000).numpy()
    np.testing.assert_allclose(z.mean(0), latents.mean(0), atol=4 * z.std(0).max() / 2000**0.5 + 0.1)
    assert not np.allclose(fitted.draw(20), space.draw(20))
    assert fitted.sample(3).shape == (3, *space.spec.shape)
    assert torch.equal(fitted.draw(5, seed=1), fitted.draw(5, seed=1))
    assert torch.equal(fitted.decode(z[:3]), space.decode(z[:3]))


def test_the_space_that_it_was_fitted_to_stays_as_it_was(space):
    before, config = space.draw(4), dict(space.config)
    space.with_prior("mixture", components=2)
    assert torch.equal(space.draw(4), before)
    assert space.config == config
    assert "prior" not in config


@pytest.mark.parametrize(
    ("name", "arguments"), [("mixture", {"components": 3}), ("flow", {"transforms": 1}), ("two-stage", {})]
)
def test_a_fitted_prior_is_saved_and_loaded_with_its_space(space, tmp_path, monkeypatch, name, arguments):
    make, fit, steps = priors.FITTED[name]
    monkeypatch.setitem(priors.FITTED, name, (make, fit, min(steps, 5)))
    fitted = space.with_prior(name, seed=3, **arguments)
    assert fitted.folder is None
    fitted.save(tmp_path / "run")
    again = Space.load(tmp_path / "run")
    assert torch.equal(again.draw(6), fitted.draw(6))
    assert again.config["prior"] == {"name": name, "arguments": arguments, "seed": 3}
    assert again.latents is not None  # the chain of hashes from config to weights to latents is whole
    assert np.array_equal(again.known_latents().mean, space.known_latents().mean)
    assert "test" not in again.results  # its figures were those of the old prior


def test_a_changed_prior_is_noticed(space, tmp_path):
    space.with_prior("mixture", components=3).save(tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    path.write_text(path.read_text().replace('"components": 3', '"components": 4'))
    with pytest.raises(RunError, match="does not belong"):
        Space.load(tmp_path / "run")


def test_a_prior_without_a_density_refuses_likelihoods(space, monkeypatch):
    make, fit, _ = priors.FITTED["two-stage"]
    monkeypatch.setitem(priors.FITTED, "two-stage", (make, fit, 2))
    fitted = space.with_prior("two-stage")
    with pytest.raises(UsageError, match="no density"):
        fitted.model.log_likelihood(unit(make_images(2)), 2)


def test_points_are_assigned_to_components(space):
    fitted = space.with_prior("mixture", components=3)
    shares = fitted.assign(space.known_latents().mean)
    assert shares.shape == (len(space.known_latents()), 3)
    torch.testing.assert_close(shares.sum(1), torch.ones(len(shares)))
    with pytest.raises(UsageError, match=r"no mixture.*with_prior"):
        space.assign([[0.0, 0.0]])


def test_a_prior_that_cannot_be_fitted_is_refused(space, images):
    with pytest.raises(UnknownName, match="Did you mean 'mixture'"):
        space.with_prior("mixtures")
    sphere = fit(recipes.hyperspherical(images.spec, size="tiny"), images, steps=1)
    with pytest.raises(UsageError, match=r"Spherical.*another posterior"):
        sphere.with_prior("mixture")
