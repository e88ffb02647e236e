"""Cheapest ways through fields whose answer is known: planes, a sphere, a swiss roll, refraction, a gap in a wall."""

from __future__ import annotations

import numpy as np
import pytest

from morphospace.morphing.fields import Field, respaced
from morphospace.morphing.graph import GridGraph
from morphospace.morphing.refine import refined

CELLS = 256


def cheapest(field: Field, a, b, nodes: int = 96) -> np.ndarray:
    """Global search, then refinement: as `Chart` does it."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    graph = GridGraph.over(field, nodes)
    rough = graph.way(graph.tree(a), a, b)
    return refined(field, rough[None])[0]


def cost(field: Field, way: np.ndarray) -> float:
    """With twelve times the points, so that what is tested is not also the ruler."""
    return float(field.costs(respaced(way, field.lengths(way), 1537)))


def field_on(x, y, metric, weight=None) -> Field:
    X, Y = np.meshgrid(x, y)
    g = np.stack([np.broadcast_to(part, X.shape) for part in metric(X, Y)]).astype(float)
    return Field(x, y, g, None if weight is None else weight(X, Y))


def test_a_plane_decoder_gives_the_length_of_its_images():
    """f(z) = A z: G = AᵀA everywhere, and the geodesic is the straight line."""
    A = np.random.default_rng(0).normal(size=(12, 2)) * [3.0, 0.5]
    G = A.T @ A
    axis = np.linspace(-3, 3, CELLS)
    field = field_on(axis, axis, lambda X, Y: (G[0, 0], G[0, 1], G[1, 1]))
    a, b = np.array([-2.3, 1.1]), np.array([1.9, -0.4])
    way = cheapest(field, a, b)
    exact = np.linalg.norm(A @ (b - a))
    assert cost(field, way) == pytest.approx(exact, rel=1e-3)
    line = a + np.linspace(0, 1, len(way))[:, None] * (b - a)
    assert np.linalg.norm((way - line) @ A.T, axis=1).max() < 0.01 * exact


def on_sphere(z):
    polar, around = np.moveaxis(np.asarray(z), -1, 0)
    return np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], -1)


@pytest.mark.parametrize(
    ("a", "b"), [((0.8, 0.3), (0.9, 2.8)), ((1.5, 0.2), (0.4, 2.0)), ((2.2, 0.5), (2.4, 2.9))]
)
def test_a_sphere_decoder_gives_arcs_of_great_circles(a, b):
    polar, around = np.linspace(0.1, np.pi - 0.1, CELLS), np.linspace(0, np.pi, CELLS)
    field = field_on(polar, around, lambda X, Y: (1.0, 0.0, np.sin(X) ** 2))
    way = cheapest(field, a, b)
    exact = np.arccos(on_sphere(a) @ on_sphere(b))
    assert cost(field, way) == pytest.approx(exact, rel=1e-3)
    pole = np.cross(on_sphere(a), on_sphere(b))
    assert np.abs(on_sphere(way) @ pole).max() < 0.02  # it lies in the plane of the great circle


def unrolled(t):
    """The length of the spiral (t cos t, t sin t) from 0 to t."""
    return 0.5 * (t * np.sqrt(1 + t * t) + np.arcsinh(t))


def test_a_swiss_roll_decoder_gives_straight_lines_of_the_unrolled_sheet():
    t, h = np.linspace(3, 12, CELLS), np.linspace(0, 20, CELLS)
    field = field_on(t, h, lambda X, Y: (1 + X**2, 0.0, 1.0))
    a, b = (3.7, 2.0), (11.3, 17.0)
    way = cheapest(field, a, b)
    assert cost(field, way) == pytest.approx(np.hypot(unrolled(b[0]) - unrolled(a[0]), b[1] - a[1]), rel=1e-3)


def test_a_weight_bends_a_way_as_light_is_bent():
    """Two media, w = 1 below and 2 above a smooth border: the cost is that of Snell's law."""
    axis = np.linspace(-2, 2, 512)
    field = field_on(
        axis,
        axis,
        lambda X, Y: (1.0, 0.0, 1.0),
        lambda X, Y: 1 + 1 / (1 + np.exp(np.clip(-Y / 0.01, -60, 60))),
    )
    a, b = np.array([-1.2, -1.0]), np.array([1.2, 1.0])
    at = np.linspace(-2, 2, 400_001)
    snell = (np.hypot(at - a[0], a[1]) + 2 * np.hypot(b[0] - at, b[1])).min()
    assert cost(field, cheapest(field, a, b)) == pytest.approx(snell, rel=5e-3)


def test_the_way_goes_through_the_gap_that_is_nearest():
    """A wall with two gaps: a local search from the straight line would stay in front of the wall."""
    axis = np.linspace(-2, 2, CELLS)

    def wall(X, Y):
        gap = np.minimum(np.abs(Y - 1.0), np.abs(Y + 1.7)) < 0.15
        return np.where((np.abs(X) < 0.1) & ~gap, 1000.0, 1.0)

    field = field_on(axis, axis, lambda X, Y: (1.0, 0.0, 1.0), wall)
    way = cheapest(field, (-1.0, 0.0), (1.0, 0.0))
    crossing = way[np.abs(way[:, 0]) < 0.1]
    assert np.abs(crossing[:, 1] - 1.0).max() < 0.17
    assert cost(field, way) < 10


@pytest.mark.parametrize("seed", range(2))
def test_refinement_never_makes_a_way_worse_and_meets_a_finer_grid(seed):
    """On a random smooth field: in energy at most 2 % above a graph of twice the nodes a side and longer reach."""
    rng = np.random.default_rng(seed)
    axis = np.linspace(-3, 3, CELLS)
    X, Y = np.meshgrid(axis, axis)
    bumps = sum(
        a * np.exp(-((X - x) ** 2 + (Y - y) ** 2) / 0.5)
        for a, x, y in rng.uniform((-2, -3, -3), (3, 3, 3), (12, 3))
    )
    g11, g22 = np.exp(bumps), np.exp(-0.5 * bumps)
    field = Field(axis, axis, np.stack([g11, 0.5 * np.sqrt(g11 * g22), g22]))
    a, b = np.array([-2.1, -1.7]), np.array([2.2, 1.5])
    graph = GridGraph.over(field, 96)
    rough = graph.way(graph.tree(a), a, b)
    way = refined(field, rough[None])[0]
    assert field.costs(way) <= field.costs(respaced(rough, field.lengths(rough), len(way))) * (1 + 1e-6)
    fine = GridGraph.over(field, 192, reach=4)
    brute = fine.tree(a).cost[fine.nearest(b)]
    assert cost(field, way) ** 2 <= 1.02 * brute**2


def test_points_are_even_in_image_space():
    t, h = np.linspace(3, 12, CELLS), np.linspace(0, 20, CELLS)
    field = field_on(t, h, lambda X, Y: (1 + X**2, 0.0, 1.0))
    way = cheapest(field, (3.7, 2.0), (11.3, 17.0))
    lengths = field.lengths(way)
    assert lengths.max() / lengths.mean() < 1.01
    np.testing.assert_array_equal(way[[0, -1]], [(3.7, 2.0), (11.3, 17.0)])


def test_slopes_are_the_derivatives_of_the_cost():
    rng = np.random.default_rng(3)
    axis = np.linspace(-1, 1, 12)
    X, Y = np.meshgrid(axis, axis)
    field = Field(axis, axis, np.stack([2 + X, 0.3 * Y, 1.5 + Y**2]), np.exp(X * Y))
    way = np.sort(rng.uniform(-0.8, 0.8, (7, 2)), axis=0)
    total, slopes, _ = field.slopes(way)
    assert total == pytest.approx(float(field.costs(way)))
    for i in range(7):
        for d in range(2):
            up, down = way.copy(), way.copy()
            up[i, d] += 1e-7
            down[i, d] -= 1e-7
            assert slopes[i, d] == pytest.approx(
                (field.costs(up) - field.costs(down)) / 2e-7, rel=1e-4, abs=1e-6
            )


def test_respaced_keeps_the_ends_and_spaces_evenly():
    way = np.array([[0.0, 0], [1, 0], [1, 0], [1, 3]])
    found = respaced(way, np.linalg.norm(np.diff(way, axis=0), axis=1), 5)
    np.testing.assert_allclose(found, [[0, 0], [1, 0], [1, 1], [1, 2], [1, 3]], atol=1e-9)
    same = respaced(np.zeros((4, 2)), np.zeros(3), 6)  # from a place to itself
    np.testing.assert_array_equal(same, np.zeros((6, 2)))
