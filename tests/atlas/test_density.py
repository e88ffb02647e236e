"""The aggregated posterior is the mean of its normals, on a grid and at points, and integrates to one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from morphospace.atlas.density import aggregate, box_of
from morphospace.atlas.grid import Grid
from morphospace.distributions import normal
from morphospace.latents import Latents, at_points, with_spread
from morphospace.types import UsageError


def posteriors(
    count: int = 700, dimensions: int = 2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mean = rng.standard_normal((count, dimensions)) + 2 * (np.arange(count) % 3)[:, None]
    scale = rng.uniform(0.08, 0.4, (count, dimensions))
    return mean.astype(np.float32), scale.astype(np.float32), np.arange(count) % 3


def one_by_one(z: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The sum written out in float64, image by image."""
    law = normal(torch.from_numpy(mean).double(), torch.from_numpy(scale).double())
    return law.log_prob(torch.from_numpy(z)[:, None]).exp().sum(1).numpy() / len(mean)


def test_on_a_grid_it_is_the_sum_written_out(monkeypatch):
    monkeypatch.setattr("morphospace.atlas.density.AT_ONCE", 100)  # several parts, the last of them smaller
    mean, scale, groups = posteriors()
    grid = Grid.over(np.array([-4.0, -3.0]), np.array([8.0, 9.0]), 200)
    told = []
    by = aggregate(grid, mean, scale, groups, 4, lambda *a, **k: told.append(a))
    assert told[-1][1] == told[-1][2] == 700
    for group in range(3):
        mine = groups == group
        expected = one_by_one(grid.points, mean[mine], scale[mine]) * mine.mean()
        np.testing.assert_allclose(by[group].ravel(), expected, rtol=2e-5, atol=1e-9)
    assert not by[3].any()
    assert grid.integral(by.sum(0)) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(aggregate(grid, mean, scale)[0], by.sum(0), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("dimensions", [1, 2, 9])
def test_at_points_it_is_the_sum_written_out(dimensions):
    mean, scale, groups = posteriors(dimensions=dimensions)
    z = np.random.default_rng(1).uniform(-3, 7, (50, dimensions))
    found = at_points(z, mean, scale, groups, 4)
    assert np.isneginf(found[:, 3]).all()
    for group in range(3):
        mine = groups == group
        law = normal(torch.from_numpy(mean[mine]).double(), torch.from_numpy(scale[mine]).double())
        expected = law.log_prob(torch.from_numpy(z)[:, None]).logsumexp(1).numpy() - math.log(700)
        np.testing.assert_allclose(found[:, group], expected, rtol=1e-6, atol=1e-6)


def test_far_from_all_data_it_has_a_logarithm_still():
    mean, scale, _ = posteriors()
    far = at_points(np.array([[300.0, -300.0]]), mean, scale)
    assert -1e9 < far.item() < -1e4


def test_the_box_leaves_out_the_tails_it_says():
    mean, scale, _ = posteriors()
    low, high = box_of(mean, scale, tail=1e-3)
    for axis in range(2):
        beyond = norm.cdf(low[axis], mean[:, axis], scale[:, axis]).mean()
        above = norm.sf(high[axis], mean[:, axis], scale[:, axis]).mean()
        assert (beyond, above) == pytest.approx((1e-3, 1e-3), rel=1e-3)


def test_points_without_spread_get_a_kernel():
    mean, scale, _ = posteriors()
    latents = Latents(mean, 0 * scale, np.zeros(700, dtype=np.uint8))
    found = with_spread(latents).scale
    np.testing.assert_allclose(found, np.broadcast_to(mean.std(0) * 700 ** (-1 / 6), found.shape), rtol=1e-5)
    assert np.array_equal(with_spread(Latents(mean, scale, latents.splits)).scale, scale)


def test_what_has_no_density_on_a_plane_is_refused():
    mean, scale, _ = posteriors()
    grid = Grid.over(np.zeros(2), np.ones(2), 4)
    with pytest.raises(UsageError, match="no spread"):
        aggregate(grid, mean, 0 * scale)
    with pytest.raises(UsageError, match=r"\(700, 3\)"):
        aggregate(grid, *posteriors(dimensions=3)[:2])
