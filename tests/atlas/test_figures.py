"""Figures come with what they may be off by, and that is honest."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from morphospace.atlas.density import aggregate
from morphospace.atlas.figures import (
    Densities,
    density_figures,
    excess_figure,
    recognised_figures,
    stretch_figures,
    weighted_quantiles,
)
from morphospace.atlas.grid import Grid

A, S = 2.0, 0.5
MEAN = np.array([[-A, 0.0], [A, 0.0]], dtype=np.float32)
SCALE = np.array([[S, 1.0], [S, 1.0]], dtype=np.float32)
FIRST = Grid.over(np.array([-7.0, -7.0]), np.array([7.0, 7.0]), 64)


def normal_of(grid: Grid, scale: float) -> np.ndarray:
    return np.outer(norm.pdf(grid.y, 0, scale), norm.pdf(grid.x, 0, scale))


def on(grid: Grid, sampler: bool = True) -> Densities:
    """Two classes, one on each side; the sampler is the aggregated posterior itself."""
    by_class = aggregate(grid, MEAN, SCALE, np.array([0, 1]), 2)
    return Densities(
        grid, normal_of(grid, 1.0), by_class, by_class.sum(0, dtype=np.float64) if sampler else None
    )


def test_they_are_refined_until_they_stand_and_lie_within_their_errors():
    asked = []

    def finer(grid: Grid) -> Densities:
        asked.append(grid.shape[0])
        return on(grid)

    found = density_figures(on(FIRST), finer)
    assert asked in ([128], [128, 256])
    best = on(FIRST.refined(16)).measured(tuple(found))
    for name, figure in found.items():
        assert figure.error is not None
        assert abs(figure.value - best[name]) <= max(2 * figure.error, 1e-6), name
        assert figure.error < 0.01
    assert found["bayes_error"].value == pytest.approx(norm.sf(A / S), abs=1e-5)
    assert found["sampler_kl"].value == pytest.approx(0, abs=1e-9)
    assert found["sampler_hole_mass"].value == 0
    assert found["hole_mass"].value > 0.3


def test_without_sampler_or_classes_nothing_is_said_of_them():
    one = Densities(FIRST, normal_of(FIRST, 1.0), on(FIRST).by_class.sum(0, keepdims=True), None)
    found = density_figures(
        one, lambda grid: Densities(grid, normal_of(grid, 1.0), on(grid).by_class.sum(0, keepdims=True), None)
    )
    assert set(found) == {"kl_to_prior", "hole_mass", "missed_mass"}


def test_mass_beyond_the_edge_counts_as_error():
    narrow = Grid.over(np.array([-7.0, -2.0]), np.array([7.0, 2.0]), 128)  # 4.6 % of both lie above and below
    found = density_figures(on(narrow), on)
    assert found["hole_mass"].error == pytest.approx(2 * norm.sf(2), rel=0.1)


def test_weighted_quantiles_are_those_of_repeated_values():
    values, weights = np.array([3.0, 1.0, 2.0]), np.array([1.0, 5.0, 4.0])
    np.testing.assert_array_equal(weighted_quantiles(values, weights, (0.05, 0.49, 0.51, 0.95)), [1, 1, 2, 3])


def test_the_stretch_is_told_where_the_images_lie():
    metric = np.zeros((3, *FIRST.shape), dtype=np.float32)
    left = FIRST.x < 0
    metric[0] = np.where(left, 4.0, 100.0)[None]
    metric[2] = 9.0
    found = stretch_figures(metric, np.where(left, 1.0, 0.0)[None] * np.ones(FIRST.shape))
    assert found["stretch"].value == pytest.approx(6)
    assert found["condition"].value == pytest.approx(9 / 4)
    assert found["stretch"].error == 0


def test_the_unrecognised_part_is_the_mass_where_nothing_is_sure():
    top = np.where(FIRST.x > 1, 0.5, 0.9)[None] * np.ones(FIRST.shape)
    p = normal_of(FIRST, 1.0)
    found = recognised_figures(
        FIRST, top, {"prior": p, "posterior": on(FIRST).posterior}, 2 * np.ones(FIRST.shape)
    )
    # The step's edge lies between two columns: within one step of 0.22 of the density there.
    assert found["unrecognised_prior"].value == pytest.approx(norm.sf(1), abs=0.5 * 0.22 * norm.pdf(1))
    assert found["nearest_prior"].value == pytest.approx(2)
    assert found["unrecognised_posterior"].error is not None


def test_the_excess_is_a_difference_of_two_shares():
    drawn, test = np.arange(1000) < 300, np.arange(500) < 50
    found = excess_figure(drawn, test, "somewhere")
    assert found.value == pytest.approx(0.2)
    assert found.error == pytest.approx(np.sqrt(0.3 * 0.7 / 1000 + 0.1 * 0.9 / 500))
    assert found.extra == {"samples": 0.3, "reconstructions": 0.1}
