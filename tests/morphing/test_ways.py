"""Ways and their scores: what is known of a made-up map comes out, and the best goes by the rule that is stated."""

from __future__ import annotations

import numpy as np
import pytest

from morphospace.atlas import Atlas, Grid
from morphospace.morphing.chart import Chart
from morphospace.morphing.ways import KINDS, POINTS, Scores, Way, best, great_circle, scored
from morphospace.types import UnknownName, UsageError

HALF = 160


def ring(recognition: bool = True) -> Chart:
    """Data on a ring of radius 2 about a hole; images are the coordinates themselves, so that G is the identity."""
    grid = Grid.over(np.array([-4.0, -4]), np.array([4.0, 4]), HALF)
    x, y = grid.points.T.reshape(2, *grid.shape)
    radius = np.hypot(x, y)
    q = np.exp(-((radius - 2) ** 2) / (2 * 0.2**2))
    q /= q.sum() * grid.cell
    p = np.exp(-(radius**2) / 2) / (2 * np.pi)
    east = x > 0
    by_class = np.stack([np.where(east, 0, q), np.where(east, q, 0)])
    # The classifier is sure on the southern half of the plane only.
    sure = np.where(y < 0.3, 0.98, 0.5)
    seen = np.stack([np.where(east, 1 - sure, sure), np.where(east, sure, 1 - sure)])
    one = np.ones(grid.shape)
    atlas = Atlas(
        grid,
        p,
        by_class,
        ("west", "east"),
        recognition=seen if recognition else None,
        metric=np.stack([one, 0 * one, one]),
    )
    return Chart(atlas, lambda z: np.asarray(z)[:, :, None, None])


PAIR = [(np.array([-2.0, 0.0]), np.array([2.0, 0.01]))]


@pytest.fixture(scope="module")
def ways() -> dict[str, Way]:
    ground = ring()
    assert ground.kinds == KINDS
    return {kind: scored(ground, kind, PAIR)[0] for kind in KINDS if kind != "great-circle"}


def test_the_straight_line_is_scored_as_it_is(ways):
    scores = ways["straight"].scores
    assert scores.length == pytest.approx(4, rel=1e-4)
    assert scores.energy == pytest.approx(16, rel=1e-3)
    assert scores.smoothness == pytest.approx(1, abs=1e-3)
    # q < 0.1 p between the places where the two densities cross, by the formulas.
    t = np.linspace(-2, 2, 100_001)
    q = np.exp(-((np.abs(t) - 2) ** 2) / (2 * 0.2**2)) / (2 * np.pi * 2 * np.sqrt(2 * np.pi) * 0.2)
    share = (q < 0.1 * np.exp(-(t**2) / 2) / (2 * np.pi)).mean()
    assert scores.in_holes == pytest.approx(share, abs=2 / POINTS)
    assert [name for _, name in scores.classes] == ["west", "east"]
    assert scores.classes[1][0] == pytest.approx(0.5, abs=0.02)
    np.testing.assert_allclose(np.diff(ways["straight"].z[:, 0]), 4 / (POINTS - 1), rtol=1e-3)


def test_a_dense_way_goes_round_the_hole(ways):
    way = ways["dense"]
    assert way.scores.in_holes == 0
    assert np.abs(np.linalg.norm(way.z, axis=1) - 2).max() < 0.25
    assert way.scores.length == pytest.approx(2 * np.pi, rel=0.05)


def test_a_clear_way_is_the_shortest_round_the_hole(ways):
    """The hole of the ring is a disc, of a radius that its formula gives: two tangents from the ends, and an arc."""
    r = np.linspace(0, 2, 200_001)
    q = np.exp(-((r - 2) ** 2) / (2 * 0.2**2)) / (2 * np.pi * 2 * np.sqrt(2 * np.pi) * 0.2)
    radius = r[q < 0.1 * np.exp(-(r**2) / 2) / (2 * np.pi)].max()

    def round_a_disc(radius: float) -> float:
        return 2 * np.sqrt(4 - radius**2) + radius * (np.pi - 2 * np.arccos(radius / 2))

    cell = (
        8 / HALF
    )  # the weight is interpolated between cells, so that a hole reaches up to two of them further
    assert ways["clear"].scores.in_holes == 0
    assert round_a_disc(radius) <= ways["clear"].scores.length <= round_a_disc(radius + 2 * cell)
    assert ways["clear"].scores.length < ways["dense"].scores.length


def test_where_holes_cannot_be_avoided_a_clear_way_crosses_at_the_narrowest():
    """Two lumps of data, and a bridge between them at y = 2 with a gap of 0.5; elsewhere the hole is 2 wide."""
    grid = Grid.over(np.array([-4.0, -4]), np.array([4.0, 4]), HALF)
    x, y = grid.points.T.reshape(2, *grid.shape)
    data = (np.abs(x) > 1) | ((np.abs(y - 2) < 0.5) & (np.abs(x) > 0.25))
    one = np.ones(grid.shape)
    atlas = Atlas(grid, one, np.where(data, one, 1e-9)[None], metric=np.stack([one, 0 * one, one]))
    ends = [(np.array([-2.0, 0.0]), np.array([2.0, 0.0]))]
    way = scored(Chart(atlas, lambda z: np.asarray(z)[:, :, None, None]), "clear", ends)[0]
    assert way.scores.in_holes * way.scores.length == pytest.approx(0.5, abs=0.1)
    assert abs(way.z[POINTS // 2, 1] - 2) < 0.55


def test_a_recognisable_way_keeps_to_what_is_recognised(ways):
    assert ways["recognisable"].scores.recognised > 0.9
    assert ways["recognisable"].z[:, 1].max() < 0.31


def test_a_geodesic_is_no_longer_than_any_other(ways):
    assert ways["geodesic"].scores.length <= min(way.scores.length for way in ways.values()) * (1 + 1e-4)


def test_the_best_has_no_point_in_a_hole_and_says_so(ways):
    kind, why = best(ways)
    assert kind == "clear"
    assert "no point in a hole" in why


def test_without_a_classifier_there_is_no_recognisable_way():
    ground = ring(recognition=False)
    assert "recognisable" not in ground.kinds
    with pytest.raises(UsageError, match="classifier"):
        scored(ground, "recognisable", PAIR)
    assert scored(ground, "straight", PAIR)[0].scores.recognised is None


def test_a_place_outside_the_map_and_an_unknown_kind_are_refused():
    ground = ring()
    with pytest.raises(UsageError, match="outside the map"):
        scored(ground, "dense", [(np.array([-2.0, 0]), np.array([9.0, 0]))])
    with pytest.raises(UnknownName, match="Did you mean 'dense'"):
        scored(ground, "dens", PAIR)


def test_one_tree_serves_all_pairs_from_one_place():
    ground = ring()
    ends = [np.array([2.0, 0.0]), np.array([0.0, 2.0]), np.array([0.0, -2.0])]
    together = ground.ways("dense", [(PAIR[0][0], end) for end in ends])
    assert len(ground._trees) == 1
    alone = ring().ways("dense", [(PAIR[0][0], ends[1])])
    np.testing.assert_allclose(together[1], alone[0], atol=1e-9)


# ---------------------------------------------------------------- the rule of the best


def way(kind: str, holes: float | None, seen: float | None, length: float) -> Way:
    return Way(kind, np.zeros((2, 2)), Scores(length, length**2, holes, seen, ((0.0, "a"),), 1.0))


@pytest.mark.parametrize(
    ("ways", "chosen", "reason"),
    [
        ([("straight", 0.1, 0.9, 1.0), ("dense", 0.0, 0.4, 9.0)], "dense", "no point in a hole"),
        ([("straight", 0.2, 0.9, 1.0), ("dense", 0.1, 0.4, 9.0)], "dense", "10.0 %"),
        ([("straight", 0.0, 0.5, 1.0), ("recognisable", 0.0, 0.8, 2.0)], "recognisable", "least 0.80"),
        ([("straight", 0.0, 0.76, 1.0), ("recognisable", 0.0, 0.8, 2.0)], "straight", "shortest"),
        ([("dense", 0.0, 0.8, 2.0), ("geodesic", 0.0, 0.8, 1.0)], "geodesic", "shortest"),
        ([("straight", 0.0, 0.8, 1.0005), ("geodesic", 0.0, 0.8, 1.0)], "straight", "shortest"),
        ([("straight", None, None, 2.0), ("geodesic", None, None, 1.0)], "geodesic", "shortest"),
        ([("straight", 0.3, 0.2, 2.0)], "straight", "only way"),
    ],
)
def test_the_rule(ways, chosen, reason):
    kind, why = best({args[0]: way(*args) for args in ways})
    assert kind == chosen
    assert why.startswith(f"{chosen}: ")
    assert reason in why


# ---------------------------------------------------------------- great circles


def test_a_great_circle_turns_and_grows_evenly():
    a, b = np.array([2.0, 0, 0]), np.array([0, 4.0, 0])
    way = great_circle(a, b, 5)
    np.testing.assert_allclose(np.linalg.norm(way, axis=1), [2, 2.5, 3, 3.5, 4])
    np.testing.assert_allclose(
        np.degrees(np.arctan2(way[:, 1], way[:, 0])), [0, 22.5, 45, 67.5, 90], atol=1e-9
    )


@pytest.mark.parametrize(("a", "b"), [((1, 0), (-2, 0)), ((0, 0), (1, 1)), ((1,), (2,))])
def test_there_is_not_always_a_great_circle(a, b):
    with pytest.raises(UsageError, match="no one great circle"):
        great_circle(np.array(a, float), np.array(b, float), 5)
