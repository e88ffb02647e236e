"""What is said of places alone: planes, prototypes, and which class a place belongs to."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from morphospace.latents import MOST_CLUSTERS, Latents


def some(
    count: int = 60, dimensions: int = 2, classes: tuple[str, ...] = ("a", "b", "c"), seed: int = 0
) -> Latents:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % max(len(classes), 1)
    centres = 3 * rng.standard_normal((max(len(classes), 1), dimensions))
    return Latents(
        mean=(centres[labels] + rng.standard_normal((count, dimensions))).astype(np.float32),
        scale=rng.uniform(0.2, 1.5, (count, dimensions)).astype(np.float32),
        splits=(np.arange(count) % 4 // 2 * 2).astype(np.uint8),  # train, train, test, test, …
        labels=labels.astype(np.int64) if classes else None,
        classes=classes,
    )


# ---------------------------------------------------------------- rows


def test_taking_keeps_everything_together():
    latents = some()
    index = np.array([5, 2, 2])
    taken = latents.take(index)
    for name in ("mean", "scale", "splits", "labels"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(latents, name)[index])
    assert taken.classes == latents.classes
    assert len(latents.train) + len(latents.test) == len(latents)
    assert (latents.train.splits == 0).all()
    assert (latents.test.splits == 2).all()


# ---------------------------------------------------------------- planes


def test_two_dimensions_are_their_own_plane():
    latents = some()
    plane = latents.plane()
    assert plane.own
    np.testing.assert_array_equal(plane.project(latents.mean), latents.mean)
    np.testing.assert_array_equal(plane.lift(latents.mean), latents.mean)
    assert sum(plane.shares) == pytest.approx(1)
    variance = latents.mean.var(0)
    np.testing.assert_allclose(plane.shares, variance / variance.sum(), rtol=1e-4)


@pytest.mark.parametrize("dimensions", [3, 5, 20])
def test_more_dimensions_are_seen_from_where_they_spread_most(dimensions):
    """The shares are the two largest eigenvalues of the covariance; no other two directions hold more."""
    latents = some(400, dimensions)
    plane = latents.plane()
    assert not plane.own
    np.testing.assert_allclose(plane.axes @ plane.axes.T, np.eye(2), atol=1e-5)
    eigenvalues = np.linalg.eigvalsh(np.cov(latents.mean.T))[::-1]
    np.testing.assert_allclose(plane.shares, eigenvalues[:2] / eigenvalues.sum(), rtol=1e-4)
    flat = plane.project(latents.mean)
    np.testing.assert_allclose(flat.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(flat.var(0) / latents.mean.var(0).sum(), plane.shares, rtol=1e-4)
    # What lies in the plane comes back from it.
    np.testing.assert_allclose(plane.project(plane.lift(flat)), flat, atol=1e-4)


def test_a_direction_and_its_opposite_are_one():
    latents = some(100, 4)
    turned = Latents(-latents.mean, latents.scale, latents.splits)
    np.testing.assert_allclose(latents.plane().axes, turned.plane().axes, atol=1e-5)


def test_one_dimension_has_a_plane_too():
    latents = some(30, 1)
    plane = latents.plane()
    flat = plane.project(latents.mean)
    assert flat.shape == (30, 2)
    np.testing.assert_allclose(flat[:, 1], 0)
    assert plane.shares == pytest.approx((1, 0))
    np.testing.assert_allclose(plane.lift(flat), latents.mean, atol=1e-5)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_images_that_all_lie_in_one_place_have_a_plane(dimensions):
    latents = some(10, dimensions)
    same = Latents(np.ones_like(latents.mean), latents.scale, latents.splits)
    plane = same.plane()
    assert np.isfinite(plane.shares).all()
    assert np.isfinite(plane.project(same.mean)).all()


# ---------------------------------------------------------------- prototypes


def test_a_prototype_is_the_mean_of_its_class_in_the_training_images():
    latents = some()
    prototypes = latents.prototypes()
    assert prototypes.names == ("a", "b", "c")
    assert not prototypes.clusters
    train = latents.splits == 0
    for row in range(3):
        expected = latents.mean[train & (latents.labels == row)].mean(0)
        np.testing.assert_allclose(prototypes.points[row], expected, rtol=1e-5)


def test_a_class_without_training_images_has_no_prototype():
    latents = some()
    latents.splits[latents.labels == 1] = 2
    assert latents.prototypes().names == ("a", "c")


def test_without_classes_clusters_stand_in_largest_first():
    latents = some(200, classes=())
    prototypes = latents.prototypes(seed=1)
    assert prototypes.clusters
    assert prototypes.names == tuple(f"cluster {i + 1}" for i in range(MOST_CLUSTERS))
    train = latents.train.mean
    nearest = np.linalg.norm(train[:, None] - prototypes.points[None], axis=2).argmin(1)
    sizes = np.bincount(nearest, minlength=MOST_CLUSTERS)
    assert (np.diff(sizes) <= 0).all()
    for row in range(MOST_CLUSTERS):  # a fixed point of k-means
        np.testing.assert_allclose(prototypes.points[row], train[nearest == row].mean(0), atol=1e-3)
    np.testing.assert_array_equal(latents.prototypes(seed=1).points, prototypes.points)


@pytest.mark.parametrize("distinct", [1, 3])
def test_fewer_places_than_clusters(distinct):
    latents = some(40, classes=())
    few = Latents(latents.mean[np.arange(40) % distinct], latents.scale, latents.splits)
    assert len(few.prototypes().names) == len(np.unique(few.train.mean, axis=0))


# ---------------------------------------------------------------- shares of classes


def test_shares_are_bayes_rule_over_the_aggregated_posterior():
    """p(c|z) = π_c·q_c(z) / Σ π_c·q_c(z), each q_c the mean of the encoder's normals, by scipy's densities."""
    latents = some(40)
    points = latents.mean[:7] + 0.3
    train = latents.train
    density = np.array(
        [
            [
                multivariate_normal(m, np.diag(s**2)).pdf(p)
                for m, s in zip(train.mean, train.scale, strict=True)
            ]
            for p in points
        ]
    )
    mass = np.stack([density[:, train.labels == c].sum(1) for c in range(3)], axis=1)
    np.testing.assert_allclose(
        latents.class_shares(points), mass / mass.sum(1, keepdims=True), rtol=1e-4, atol=1e-9
    )


def test_shares_hold_far_from_all_data():
    shares = some().class_shares(np.array([[1e4, -1e4]], dtype=np.float32))
    assert np.isfinite(shares).all()
    assert shares.sum() == pytest.approx(1)


def test_narrow_posteriors_keep_their_digits_far_away():
    """At thousands of deviations a square has lost its nats in float32; shares are exact there as anywhere."""
    rng = np.random.default_rng(0)
    mean = np.float32(rng.normal(0, 1e-6, (60, 2)))
    scale = np.full((60, 2), 2e-3, np.float32)
    labels = np.arange(60) % 3
    latents = Latents(mean, scale, np.zeros(60, np.uint8), labels, ("a", "b", "c"))
    away = (np.array([[5.0, 3.0]]) - mean.astype(np.float64)) / scale.astype(np.float64)
    logs = -0.5 * np.square(away).sum(1)
    mass = np.bincount(labels, np.exp(logs - logs.max()), 3)
    found = latents.class_shares(np.array([[5.0, 3.0]], dtype=np.float32))[0]
    np.testing.assert_allclose(found, mass / mass.sum(), atol=1e-6)


def test_test_images_have_no_share():
    latents = some()
    moved = Latents(latents.mean.copy(), latents.scale, latents.splits, latents.labels, latents.classes)
    moved.mean[latents.splits == 2] += 100
    points = latents.mean[:5]
    np.testing.assert_array_equal(moved.class_shares(points), latents.class_shares(points))


def test_without_labels_there_are_no_shares():
    with pytest.raises(ValueError, match="no labels"):
        some(classes=()).class_shares(np.zeros((1, 2), np.float32))
