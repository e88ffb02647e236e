"""The grid's integrals, interpolation and order of points."""

from __future__ import annotations

import math

import numpy as np
import pytest

from morphospace.atlas.grid import Grid
from morphospace.types import UsageError

GRID = Grid.over(np.array([-3.0, -1.0]), np.array([5.0, 2.0]), 40)


def test_the_cells_fill_the_box():
    assert GRID.shape == (40, 40)
    np.testing.assert_allclose(GRID.step, [0.2, 0.075])
    np.testing.assert_allclose([GRID.low, GRID.high], [[-3, -1], [5, 2]])
    assert GRID.integral(np.ones(GRID.shape)) == pytest.approx(24)
    assert GRID.cell * 1600 == pytest.approx(24)
    for other, cells in ((GRID.refined(), 80), (GRID.coarsened(3), 14)):
        assert other.shape == (cells, cells)
        np.testing.assert_allclose([other.low, other.high], [GRID.low, GRID.high], atol=1e-12)


def test_points_lie_in_the_order_of_a_field():
    field = GRID.x[None] + 100 * GRID.y[:, None]
    np.testing.assert_allclose(field.ravel(), GRID.points @ [1, 100])


def test_a_bilinear_field_is_met_exactly_between_the_points():
    x, y = GRID.points.reshape(*GRID.shape, 2).transpose(2, 0, 1)
    field = np.stack([1 + 2 * x - y + 0.5 * x * y, x])
    z = np.random.default_rng(0).uniform(GRID.low + GRID.step, GRID.high - GRID.step, (200, 2))
    expected = np.stack([1 + 2 * z[:, 0] - z[:, 1] + 0.5 * z[:, 0] * z[:, 1], z[:, 0]])
    np.testing.assert_allclose(GRID.interpolate(field, z), expected, atol=1e-12)
    # At the centres themselves, the corners' too, it is the field.
    np.testing.assert_allclose(GRID.interpolate(field[0], GRID.points), field[0].ravel())


def test_beyond_the_edge_it_is_the_edges_value_and_says_so():
    z = np.array([[-9.0, 0.0], [9.0, 9.0], [1.0, 0.0]])
    np.testing.assert_allclose(
        GRID.interpolate(np.broadcast_to(GRID.x, GRID.shape), z), [GRID.x[0], GRID.x[-1], 1.0]
    )
    assert GRID.outside(z).tolist() == [True, True, False]


def test_the_midpoint_rule_is_exact_for_a_normal():
    grid = Grid.over(np.array([-6.0, -6.0]), np.array([6.0, 6.0]), 24)  # a step of half a deviation
    p = np.exp(-0.5 * np.square(grid.points).sum(1)).reshape(grid.shape) / (2 * math.pi)
    assert grid.integral(p) == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize(
    ("low", "high", "cells"), [([0, 0], [1, 0], 9), ([0, 0], [1, 1], 1), ([0, 0], [1, math.nan], 9)]
)
def test_a_box_without_extent_is_refused(low, high, cells):
    with pytest.raises(UsageError, match="expected"):
        Grid.over(np.array(low, dtype=float), np.array(high, dtype=float), cells)
