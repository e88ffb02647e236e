"""Distances between sets of features meet closed forms; copies are found out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from morphospace.evaluation.samples import (
    distance_to_nearest,
    frechet_distance,
    manifold_measures,
    memorisation_figures,
    sample_figures,
)

rng = np.random.default_rng(0)


def test_the_frechet_distance_is_its_formula():
    a = rng.normal(size=(500, 5)) @ rng.normal(size=(5, 5))
    b = rng.normal(size=(400, 5)) @ rng.normal(size=(5, 5)) + 1
    one, two = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(one @ two).real
    by_hand = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(one + two - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(by_hand)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))


def test_a_set_moved_or_widened_is_as_far_as_it_was_moved_or_widened():
    a = rng.normal(size=(1000, 3))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + np.array([3, 0, 4])) == pytest.approx(25)
    spread = a.std(0, ddof=1)
    assert frechet_distance(a, 2 * (a - a.mean(0)) + a.mean(0)) == pytest.approx(
        np.square(spread).sum(), rel=0.01
    )


def test_features_of_one_kind_only_do_not_break_it():
    flat = np.concatenate([rng.normal(size=(50, 2)), np.zeros((50, 3))], 1)
    assert frechet_distance(flat, flat) == pytest.approx(0, abs=1e-9)


def test_the_same_distribution_is_precise_dense_and_covered():
    """In expectation density is one (Naeem et al. 2020, section 3.3), coverage 1 − 2^−5 or so of large sets."""
    found = manifold_measures(rng.normal(size=(3000, 4)), rng.normal(size=(3000, 4)))
    assert found.precision > 0.85
    assert found.recall > 0.85
    assert found.density == pytest.approx(1, abs=0.1)
    assert found.coverage == pytest.approx(1 - 2**-5, abs=0.03)


def test_samples_far_away_are_neither_precise_nor_covering():
    found = manifold_measures(rng.normal(size=(300, 4)), rng.normal(size=(300, 4)) + 100)
    assert (found.precision, found.recall, found.density, found.coverage) == (0, 0, 0, 0)


def test_samples_of_one_mode_are_precise_and_do_not_recall():
    """Two heaps, one of them sampled."""
    heap = rng.normal(size=(400, 3))
    both = np.concatenate([heap, rng.normal(size=(400, 3)) + 50])
    found = manifold_measures(both, rng.normal(size=(800, 3)))
    assert found.precision > 0.85
    assert found.recall == pytest.approx(0.5, abs=0.1)
    assert found.coverage == pytest.approx(0.5, abs=0.1)


def test_one_outlier_raises_precision_more_than_density():
    """What density was made for (Naeem et al. 2020, figure 3): a ball of one outlying image takes in much."""
    real = np.concatenate([rng.normal(size=(500, 2)), [[40.0, 0.0]]])
    fake = rng.normal(size=(500, 2)) + np.array([20, 0])
    found = manifold_measures(real, fake)
    assert found.precision > 0.9
    assert found.density < 0.3


def test_balls_by_brute_force():
    real, fake = rng.normal(size=(60, 2)), rng.normal(size=(50, 2)) + 0.7

    def radius(points, i, k):
        return np.sort(np.linalg.norm(points - points[i], axis=1))[k]

    away = np.linalg.norm(real[:, None] - fake, axis=2)
    three = np.array([radius(real, i, 3) for i in range(60)])
    five = np.array([radius(real, i, 5) for i in range(60)])
    other = np.array([radius(fake, j, 3) for j in range(50)])
    found = manifold_measures(real, fake)
    assert found.precision == pytest.approx((away <= three[:, None]).any(0).mean())
    assert found.recall == pytest.approx((away <= other).any(1).mean())
    assert found.density == pytest.approx((away <= five[:, None]).sum() / (5 * 50))
    assert found.coverage == pytest.approx((away <= five[:, None]).any(1).mean())


def test_figures_stand_beside_their_floor():
    test, train = rng.normal(size=(2, 800, 8))
    figures = sample_figures(rng.normal(size=(800, 8)) + 1, test, train)
    assert figures["frechet_classifier"].value > 5 > figures["frechet_classifier_train"].value
    assert "not an FID" in figures["frechet_classifier"].definition
    assert figures["frechet_classifier"].error > 0
    assert figures["density"].value < figures["density"].extra["training images"]


def test_without_others_to_compare_with_there_is_no_floor():
    figures = sample_figures(*rng.normal(size=(2, 200, 4)), None)
    assert "frechet_classifier_train" not in figures
    assert figures["precision"].extra == {}


def test_the_nearest_training_image_by_brute_force():
    some, train = rng.random((30, 12)), rng.random((9000, 12)).astype(np.float32)
    away, place = distance_to_nearest(some, train)
    each = np.sqrt(np.square(some[:, None] - train).mean(2))
    assert away == pytest.approx(each.min(1), abs=1e-6)
    assert (place == each.argmin(1)).all()


def test_copies_are_found_out():
    train = rng.random((500, 20))
    test = distance_to_nearest(rng.random((200, 20)), train)[0]
    honest = memorisation_figures(distance_to_nearest(rng.random((300, 20)), train)[0], test)
    copied = memorisation_figures(
        distance_to_nearest(train[:300] + 0.01 * rng.random((300, 20)), train)[0], test
    )
    fair = honest["nearer_than_test"]
    assert abs(fair.value - 0.5) < 4 * fair.error
    assert copied["nearer_than_test"].value == 1
    assert copied["nearer_than_test"].extra["share of samples nearer than the nearest test image"] == 1
    assert copied["nearest_training_image"].value < 0.02 < honest["nearest_training_image"].value
