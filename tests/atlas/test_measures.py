"""Holes, divergence and overlap meet their closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from morphospace.atlas.density import aggregate
from morphospace.atlas.grid import Grid
from morphospace.atlas.measures import Holes, bayes_error, divergence, hole_mass, missed_mass, overlap


def density(grid: Grid, mean=(0.0, 0.0), scale=(1.0, 1.0)) -> np.ndarray:
    return np.outer(norm.pdf(grid.y, mean[1], scale[1]), norm.pdf(grid.x, mean[0], scale[0]))


def square(reach: float = 7.0, cells: int = 256) -> Grid:
    return Grid.over(np.array([-reach, -reach]), np.array([reach, reach]), cells)


def test_the_divergence_of_two_normals_is_that_of_the_closed_form():
    grid = square(9.0)
    q, p = density(grid, (0.5, -1.0), (0.6, 1.3)), density(grid)
    closed = sum(0.5 * (s * s + m * m - 1) - math.log(s) for m, s in ((0.5, 0.6), (-1.0, 1.3)))
    assert divergence(grid, q, p) == pytest.approx(closed, abs=1e-6)
    assert divergence(grid, p, p) == 0
    assert math.isinf(divergence(grid, q, 0 * p))


def test_a_gap_between_two_strips_has_the_mass_of_the_prior_in_it():
    """q is two heaps at ±a along z₁ and as the prior is along z₂; where q < p/10 is known from one dimension."""
    a, s = 2.0, 0.5
    mean = np.array([[-a, 0.0], [a, 0.0]], dtype=np.float32)
    scale = np.array([[s, 1.0], [s, 1.0]], dtype=np.float32)
    # In closed form: the edges of {q < p/10} are found to rounding error in one dimension, and Φ gives the mass.
    ratio = lambda x: 0.5 * (norm.pdf(x, a, s) + norm.pdf(x, -a, s)) - 0.1 * norm.pdf(x)  # noqa: E731
    from scipy.optimize import brentq

    inner, outer = brentq(ratio, 0, a), brentq(ratio, a, 6)
    closed = (2 * norm.cdf(inner) - 1) + 2 * norm.sf(outer)
    on = lambda grid: (aggregate(grid, mean, scale).sum(0), density(grid))  # noqa: E731
    grid = square(7.0, 512)
    q, p = on(grid)
    assert 0.3 < closed < 0.9
    assert hole_mass(grid, q, p) == pytest.approx(closed, rel=1e-3)
    assert hole_mass(grid.coarsened(4), *on(grid.coarsened(4))) == pytest.approx(closed, rel=0.01)
    holes = Holes(grid, q, p)
    assert grid.integral(np.where(holes.mask, p, 0)) == pytest.approx(closed, rel=0.03)
    # Three regions: the gap, and what lies beyond on both sides; the gap is the heaviest.
    gap = holes.regions[0]
    assert gap.mass == pytest.approx(2 * norm.cdf(inner) - 1, rel=0.03)
    assert gap.centre == pytest.approx((0, 0), abs=0.02)
    assert gap.area == pytest.approx(2 * inner * 14, rel=0.02)
    assert gap.outer
    ends = gap.outline[0]
    assert np.abs(ends[:, 0]).max() == pytest.approx(inner, abs=0.03)
    assert np.array_equal(ends[0], ends[-1])
    assert sum(region.mass for region in holes.regions) == pytest.approx(closed, rel=0.03)


def test_a_ring_has_a_hole_in_its_middle():
    angle = np.linspace(0, 2 * math.pi, 400, endpoint=False)
    mean = 2.5 * np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    grid = square()
    holes = Holes(grid, aggregate(grid, mean, np.full_like(mean, 0.3)).sum(0), density(grid))
    middle = holes.regions[0]
    assert not middle.outer
    assert len(middle.outline) == 1
    radius = np.hypot(*middle.outline[0].T)
    assert radius.std() < 0.01
    assert middle.area == pytest.approx(math.pi * radius.mean() ** 2, rel=0.02)
    assert middle.mass == pytest.approx(1 - math.exp(-0.5 * radius.mean() ** 2), rel=0.02)
    assert holes.labels[128, 128] == middle.number
    beyond = [region for region in holes.regions if region.outer]
    assert len(beyond) <= 1  # the tails hold next to nothing


def test_missed_mass_is_hole_mass_the_other_way_round():
    grid = square(10.0, 400)
    q, p = density(grid, scale=(2.0, 2.0)), density(grid)
    # p < q/10 where exp(−r²/2) < exp(−r²/8)/40.
    r2 = math.log(40) / (1 / 2 - 1 / 8)
    assert missed_mass(grid, q, p) == pytest.approx(math.exp(-r2 / 8), rel=0.01)
    assert missed_mass(grid, q, p) == hole_mass(grid, p, q)
    assert hole_mass(grid, q, p) == 0


@pytest.mark.parametrize(("apart", "share"), [(1.0, 0.5), (3.0, 0.5), (2.0, 0.2)])
def test_the_bayes_error_of_two_normals(apart, share):
    """Two normals of deviation one, ``apart`` from each other; the best border has equal π·q (Fukunaga 1990)."""
    grid = square(8.0, 300)
    classes = np.stack(
        [share * density(grid, (-apart / 2, 0.0)), (1 - share) * density(grid, (apart / 2, 0.0))]
    )
    border = math.log(share / (1 - share)) / apart
    closed = share * norm.sf(border + apart / 2) + (1 - share) * norm.cdf(border - apart / 2)
    assert bayes_error(grid, classes) == pytest.approx(closed, abs=1e-3)
    both = overlap(grid, classes)
    assert both[0, 1] == pytest.approx(2 * norm.sf(apart / 2), abs=1e-3)  # shares do not enter
    np.testing.assert_allclose(np.diag(both), 1, atol=1e-6)


def test_a_class_without_images_overlaps_with_none():
    grid = square(5.0, 50)
    found = overlap(grid, np.stack([density(grid), 0 * density(grid)]).astype(np.float32))
    assert np.isnan(found[1]).all()
    assert found[0, 0] == pytest.approx(1)
