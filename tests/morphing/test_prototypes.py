"""Prototypes: each is what its definition says, where that is known; and each tells how dense the data are there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from morphospace.atlas import make_atlas
from morphospace.manifolds import Ball, Plane, Sphere
from morphospace.morphing import ground_of, intrinsic_mean
from morphospace.morphing.fields import Field
from morphospace.morphing.graph import GridGraph
from morphospace.morphing.places import MOST_AVERAGED
from morphospace.morphing.prototypes import (
    density_mode,
    geodesic_mean_on_grid,
    medoid,
    nearest_image,
    prototypes,
)
from morphospace.types import UnknownName, UsageError


def test_the_medoid_is_a_point_of_the_set_with_the_least_sum_of_distances():
    points = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    sums = np.linalg.norm(points[:, None] - points[None], axis=2).sum(1)
    np.testing.assert_array_equal(medoid(Plane(), points), points[sums.argmin()])


def test_the_mode_is_where_the_mixture_is_densest():
    """Two thirds of the normals about one place, one third about another: a fine grid finds no higher place."""
    rng = np.random.default_rng(1)
    mean = np.concatenate([rng.normal((1.5, 0), 0.2, (40, 2)), rng.normal((-1.5, 1), 0.2, (20, 2))])
    scale = rng.uniform(0.2, 0.5, (60, 2))
    mode = density_mode(mean, scale)

    def density(z):
        return np.mean(
            [multivariate_normal(m, np.diag(s**2)).pdf(z) for m, s in zip(mean, scale, strict=True)], 0
        )

    grid = np.stack(np.meshgrid(np.linspace(-3, 3, 201), np.linspace(-2, 2, 201)), -1)
    assert density(mode) >= density(grid).max() * (1 - 1e-6)
    # Of one normal it is the mean.
    np.testing.assert_allclose(density_mode(mean[:1], scale[:1]), mean[0], atol=1e-5)


def test_on_flat_ground_the_geodesic_mean_is_the_mean():
    axis = np.linspace(-4, 4, 128)
    one = np.ones((128, 128))
    field = Field(axis, axis, np.stack([4 * one, 0 * one, one]))
    points = np.random.default_rng(2).normal((0.4, -0.7), (0.8, 1.1), (300, 2))
    np.testing.assert_allclose(
        geodesic_mean_on_grid(GridGraph.over(field, 64), points), points.mean(0), atol=0.03
    )


def test_on_a_swiss_roll_the_geodesic_mean_is_that_of_the_unrolled_sheet():
    t, h = np.linspace(2, 12, 200), np.linspace(0, 20, 200)
    T, _ = np.meshgrid(t, h)
    field = Field(t, h, np.stack([1 + T**2, 0 * T, 0 * T + 1]))
    rng = np.random.default_rng(3)
    points = np.stack([rng.uniform(3, 11, 300), rng.uniform(5, 15, 300)], 1)
    unrolled = 0.5 * (points[:, 0] * np.sqrt(1 + points[:, 0] ** 2) + np.arcsinh(points[:, 0]))
    s = 0.5 * (t * np.sqrt(1 + t**2) + np.arcsinh(t))
    expected = np.interp(unrolled.mean(), s, t), points[:, 1].mean()
    found = geodesic_mean_on_grid(GridGraph.over(field, 64), points)
    np.testing.assert_allclose(found, expected, atol=0.1)
    assert abs(found[0] - expected[0]) < 0.3 * abs(points[:, 0].mean() - expected[0])


@pytest.mark.parametrize("manifold", [Sphere(), Ball(1.0)])
def test_an_intrinsic_mean_is_where_the_steps_to_all_points_cancel(manifold):
    rng = np.random.default_rng(4)
    points = rng.normal((1, 0.5, 0), 0.3, (50, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True) * (1 if isinstance(manifold, Sphere) else 1.6)
    mean = torch.from_numpy(intrinsic_mean(manifold, points).astype(np.float64))
    steps = manifold.log(mean, torch.from_numpy(points))
    assert steps.mean(0).norm() < 1e-5
    apart = manifold.distance(mean, torch.from_numpy(points)).square().sum()
    for other in points[:10]:
        assert manifold.distance(torch.from_numpy(other), torch.from_numpy(points)).square().sum() > apart


def test_the_mean_of_a_plane_is_of_all_points_however_many():
    rng = np.random.default_rng(8)
    points = rng.normal(0, 1, (MOST_AVERAGED + 777, 2)).astype(np.float32)
    weights = rng.uniform(0, 1, len(points))
    np.testing.assert_allclose(intrinsic_mean(Plane(), points), points.mean(0, dtype=np.float64), atol=1e-7)
    expected = (weights[:, None] * points).sum(0) / weights.sum()
    np.testing.assert_allclose(intrinsic_mean(Plane(), points, weights), expected, atol=1e-7)


def test_prototypes_of_a_class_tell_how_dense_the_data_are(space):
    ground = ground_of(space, make_atlas(space, cells=48))
    found = {p.kind: p for p in prototypes(space, "Blob", ground)}
    assert list(found) == ["mean", "medoid", "mode", "geodesic mean"]
    train = space.latents.train
    own = train.mean[train.labels == 2]
    np.testing.assert_allclose(found["mean"].z, own.mean(0), atol=1e-6)
    assert (own == found["medoid"].z).all(1).any()
    for prototype in found.values():
        laws = torch.distributions.Normal(torch.from_numpy(train.mean), torch.from_numpy(train.scale))
        log_q = laws.log_prob(torch.from_numpy(prototype.z)).sum(1).logsumexp(0) - np.log(len(train))
        assert prototype.log_density == pytest.approx(log_q.item(), abs=1e-3)
        log_p = torch.distributions.Normal(0, 1).log_prob(torch.from_numpy(prototype.z)).sum()
        assert prototype.to_prior == pytest.approx((log_q - log_p).exp().item(), rel=1e-2)
        assert prototype.in_hole == (prototype.to_prior < 0.1)


def test_a_set_is_a_class_or_some_training_images(space):
    three = prototypes(space, [0, 5, 7])
    np.testing.assert_allclose(three[0].z, space.latents.train.mean[[0, 5, 7]].mean(0), atol=1e-6)
    with pytest.raises(UnknownName, match="Did you mean 'blob'"):
        prototypes(space, "blub")
    with pytest.raises(UsageError, match="at least one"):
        prototypes(space, [])
    with pytest.raises(UsageError, match="from 0 to 34"):
        prototypes(space, [99])


def test_the_nearest_image_is_the_nearest():
    pixels = np.random.default_rng(5).integers(0, 256, (50, 1, 6, 6), dtype=np.uint8)
    assert nearest_image(pixels[31].astype(np.float32) / 255 + 0.01, pixels) == 31
