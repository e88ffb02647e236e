"""Figures come with what they may be off by, and that is honest."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from morphospace.atlas.density import aggregate
from morphospace.atlas.figures import (
    TOLERANCE,
    Densities,
    excess_figure,
    integrals,
    nearest_figures,
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

    all_of_it = integrals(on(FIRST), finer, ("left", "right"))
    found = dict(all_of_it.figures)
    assert all_of_it.notes == ()
    assert asked == [128, 256, 512][: len(asked)]
    assert max(figure.extra.get("moved", 0) for figure in found.values()) <= TOLERANCE
    finest = on(FIRST.refined(16))
    largest = found.pop("largest_overlap")
    # Two normals side by side overlap in both tails beyond their middle.
    assert largest.value == all_of_it.overlap[0, 1] == pytest.approx(2 * norm.sf(A / S), abs=1e-5)
    assert "left and right" in largest.definition
    assert largest.error == all_of_it.overlap_error[0, 1]
    assert abs(finest.overlap()[0, 1] - largest.value) <= max(2 * largest.error, 1e-6)
    best = finest.measured(tuple(found))
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
    found = integrals(
        one, lambda grid: Densities(grid, normal_of(grid, 1.0), on(grid).by_class.sum(0, keepdims=True), None)
    ).figures
    assert set(found) == {"kl_to_prior", "hole_mass", "missed_mass"}


def test_mass_beyond_the_edge_counts_as_error():
    narrow = Grid.over(np.array([-7.0, -2.0]), np.array([7.0, 2.0]), 128)  # 4.6 % of both lie above and below
    found = integrals(on(narrow), on, ("left", "right"))
    assert found.figures["hole_mass"].error == pytest.approx(2 * norm.sf(2), rel=0.1)
    assert found.overlap_error[0, 1] >= 2 * norm.sf(2)  # of each class as much lies there


def test_a_tolerance_that_is_not_met_is_said():
    """Densities that are other ones on every grid never stand."""
    steps = iter(range(1, 9))

    def restless(grid: Grid) -> Densities:
        sigma = 1 + 0.1 * next(steps)
        by_class = on(grid).by_class
        return Densities(grid, normal_of(grid, sigma), by_class, None)

    found = integrals(on(FIRST, False), restless, ("left", "right"))
    assert found.figures["kl_to_prior"].extra["cells"] == 2048
    (note,) = found.notes
    assert "2048 × 2048" in note
    assert "kl_to_prior by" in note
    assert "bayes_error" not in note  # it stands
    assert found.figures["kl_to_prior"].error > TOLERANCE


def test_a_grid_finer_than_the_finest_is_refined_once():
    fine = Grid.over(FIRST.low, FIRST.high, 1200)
    found = integrals(on(fine, False), lambda grid: on(grid, False))
    assert found.figures["hole_mass"].extra["cells"] == 2400


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
    found = recognised_figures(FIRST, top, {"prior": p, "posterior": on(FIRST).posterior})
    # The step's edge lies between two columns: within one step of 0.22 of the density there.
    assert found["unrecognised_prior"].value == pytest.approx(norm.sf(1), abs=0.5 * 0.22 * norm.pdf(1))
    assert found["unrecognised_posterior"].error is not None


def test_a_smooth_border_of_what_is_recognised_is_met_within_the_error():
    """Log-odds that fall along z₁, so that the border lies where they are those of 0.7."""
    fall = 1 / (1 + np.exp(3 * FIRST.x - 1))
    top = np.broadcast_to(fall, FIRST.shape)
    border = (1 - np.log(0.7 / 0.3)) / 3
    found = recognised_figures(FIRST, top, {"prior": normal_of(FIRST, 1.0)})["unrecognised_prior"]
    assert found.error is not None
    assert abs(found.value - norm.sf(border)) <= found.error < 0.02
    assert found.value == pytest.approx(norm.sf(border), abs=1e-3)


def test_the_mean_distance_says_what_sparser_points_do_to_it():
    p = normal_of(FIRST, 1.0)
    x = np.broadcast_to(FIRST.x, FIRST.shape)
    found = nearest_figures(FIRST, 2 + x, 2.1 + x, {"prior": p})["nearest_prior"]
    assert found.value == pytest.approx(2)
    assert found.error == pytest.approx(0.1)


def test_the_excess_is_a_difference_of_two_shares():
    drawn, test = np.arange(1000) < 300, np.arange(500) < 50
    found = excess_figure(drawn, test, "somewhere")
    assert found.value == pytest.approx(0.2)
    assert found.error == pytest.approx(np.sqrt(0.3 * 0.7 / 1000 + 0.1 * 0.9 / 500))
    assert found.extra == {"samples": 0.3, "reconstructions": 0.1}


def test_a_class_alone_overlaps_with_none():
    """Of two classes only the second has images: there are no two that overlap most."""

    def only(grid: Grid) -> Densities:
        by_class = aggregate(grid, MEAN, SCALE, np.array([1, 1]), 2)
        return Densities(grid, normal_of(grid, 1.0), by_class, None)

    found = integrals(only(FIRST), only, ("left", "right")).figures
    assert "largest_overlap" not in found
    assert found
