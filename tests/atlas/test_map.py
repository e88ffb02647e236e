"""An atlas of a trained space: its densities, its parts, and spaces that have no map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from morphospace import recipes
from morphospace.atlas import make_atlas
from morphospace.fitting import fit
from morphospace.types import RunError, UnknownName, UsageError


def test_its_densities_integrate_to_one(space):
    atlas = make_atlas(space, parts=(), cells=128)
    assert atlas.metric is None
    assert atlas.recognition is None
    assert atlas.grid.integral(atlas.prior) == pytest.approx(1, abs=1e-4)
    assert atlas.grid.integral(atlas.posterior) == pytest.approx(1, abs=1e-4)
    assert atlas.classes == space.classes
    labels = space.known_latents().train.labels
    shares = np.bincount(labels, minlength=3) / len(labels)
    np.testing.assert_allclose(atlas.grid.integral(atlas.by_class), shares, atol=1e-4)
    # What the space itself says of a point's class is what the map says.
    z = atlas.grid.points[:: 128 * 7 + 31]
    own = space.known_latents().class_shares(z.astype(np.float32))
    mine = atlas.by_class.reshape(3, -1)[:, :: 128 * 7 + 31]
    seen = mine.sum(0) > 1e-6
    np.testing.assert_allclose((mine / mine.sum(0))[:, seen].T, own[seen], atol=2e-3)


def test_the_metric_tells_how_far_decoded_images_lie_apart(space):
    atlas = make_atlas(space, parts=("metric",), cells=64)
    assert atlas.metric is not None
    z = np.array([[0.1, -0.2], [0.5, 0.5]])
    g = atlas.grid.interpolate(atlas.metric.astype(np.float64), z)
    for row, (g11, g12, g22) in zip(z, g.T, strict=True):
        for step in ([0.02, 0.0], [0.0, 0.02], [0.014, -0.014]):
            a, b = space.decode(np.stack([row - step, row + step]).astype(np.float32))
            length = (a - b).norm().item() / 2
            expected = step[0] ** 2 * g11 + 2 * step[0] * step[1] * g12 + step[1] ** 2 * g22
            assert length**2 == pytest.approx(expected, rel=0.05, abs=1e-8)


def test_a_fitted_mixture_is_the_prior_of_its_map(space):
    fitted = space.with_prior("mixture", components=3)
    atlas = make_atlas(fitted, parts=(), cells=96)
    assert atlas.grid.integral(atlas.prior) == pytest.approx(1, abs=1e-3)
    points = torch.from_numpy(atlas.grid.points[::37]).float()
    law = fitted.model.prior(fitted.model.encoder)
    np.testing.assert_allclose(
        atlas.prior.ravel()[::37], law.log_prob(points).detach().exp().numpy(), rtol=1e-3, atol=1e-7
    )


def test_spaces_without_a_map_are_refused_in_words(space, images):
    with pytest.raises(UnknownName, match="Did you mean 'metric'"):
        make_atlas(space, parts=("metrics",))
    sphere = fit(recipes.hyperspherical(images.spec, size="tiny"), images, steps=1)
    with pytest.raises(UsageError, match=r"Spherical.*no plane"):
        make_atlas(sphere)
    deep = fit(recipes.vae(images.spec, latent=3, size="tiny"), images, steps=1)
    with pytest.raises(UsageError, match="two dimensions; this space has 3"):
        make_atlas(deep)
    with pytest.raises(RunError, match="gone"):
        make_atlas(replace(space, latents=None))
