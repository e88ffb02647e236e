"""Attributes, traversals and blends: what was put in comes out."""

from __future__ import annotations

import numpy as np
import pytest

from morphospace.morphing import attribute, blend, traversals
from morphospace.types import UnknownName, UsageError


def groups(shift: float, count: int = 200, dimensions: int = 10, seed: int = 0):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, count, dimensions))
    b[:, 3] += shift
    return a, b


def test_an_attribute_is_found_with_its_size():
    """Two normals two deviations apart along one axis: Cohen's d is 2."""
    a, b = groups(2.0)
    found = attribute(a, b, rounds=300)
    np.testing.assert_allclose(found.vector, b.mean(0) - a.mean(0), rtol=1e-6)
    assert np.abs(found.vector).argmax() == 3
    assert found.interval[0] < 2 < found.interval[1]
    assert found.effect == pytest.approx(2, abs=0.3)
    assert found.agreement > 0.9


def test_an_attribute_that_is_none_has_no_effect():
    """Of equal groups the difference of means is large along itself, but not on images that it was not found from."""
    a, b = groups(0.0, count=30)
    found = attribute(a, b, rounds=300)
    assert found.interval[0] < 0 < found.interval[1]
    way = found.vector / np.linalg.norm(found.vector)
    flattered = ((b @ way).mean() - (a @ way).mean()) / np.sqrt(((a @ way).var() + (b @ way).var()) / 2)
    assert found.effect < 0.5 * flattered
    assert found.agreement < 0.8


def test_an_attribute_is_a_function_of_the_seed_and_needs_images():
    a, b = groups(1.0, count=20)
    assert attribute(a, b, seed=3, rounds=50).effect == attribute(a, b, seed=3, rounds=50).effect
    with pytest.raises(UsageError, match="at least 4"):
        attribute(a[:3], b)
    with pytest.raises(UsageError, match="same mean"):
        attribute(a, a)


def test_traversals_go_by_what_a_dimension_tells(space):
    found = traversals(space, steps=5)
    assert sorted(t.dimension for t in found) == [0, 1]
    assert found[0].rate >= found[1].rate
    train = space.latents.train
    for walk in found:
        assert walk.images.shape == (5, 1, 8, 8)
        low, high = np.quantile(train.mean[:, walk.dimension], (0.02, 0.98))
        np.testing.assert_allclose(walk.values[[0, -1]], (low, high), rtol=1e-5)
        # KL to the normal with the moments of the aggregate, by the closed form of two normals.
        m, s = (part[:, walk.dimension].astype(float) for part in (train.mean, train.scale))
        v = m.var() + (s**2).mean()
        kl = 0.5 * ((s**2 + (m - m.mean()) ** 2) / v - 1 - np.log(s**2 / v))
        assert walk.rate == pytest.approx(kl.mean(), rel=1e-6)
    first = traversals(space, "dot", steps=3, most=1)[0]
    other = 1 - first.dimension
    place = space.prototypes.points[0].copy()
    place[first.dimension] = first.values[1]
    np.testing.assert_allclose(first.images[1], space.decode(place[None])[0], atol=1e-5)
    assert other in (0, 1)


def test_a_blend_lies_in_the_weighted_middle(space):
    made = blend(space, ["dot", "bar", [1.0, 2.0]], [5, 3, 2])
    places = np.stack([*space.prototypes.points[:2], [1, 2]])
    np.testing.assert_allclose(made.z, np.array([0.5, 0.3, 0.2]) @ places, atol=1e-6)
    np.testing.assert_allclose(made.image, space.decode(made.z[None])[0], atol=1e-5)
    np.testing.assert_allclose(made.parts[0], space.decode(places[:1].astype(np.float32))[0], atol=1e-5)
    np.testing.assert_allclose(blend(space, ["dot", "bar"]).z, places[:2].mean(0), atol=1e-6)


@pytest.mark.parametrize(
    ("places", "weights", "words"),
    [
        (["dot"], None, "at least two"),
        (["dot", "bar"], [1.0], "as many"),
        (["dot", "bar"], [1.0, -1.0], "nought or more"),
        (["dot", "bar"], [0.0, 0.0], "not all nought"),
        (["dot", "bar"], [float("nan"), 1.0], "nought or more"),
    ],
)
def test_blends_that_are_none_are_refused(space, places, weights, words):
    with pytest.raises(UsageError, match=words):
        blend(space, places, weights)
    with pytest.raises(UnknownName):
        blend(space, ["dot", "baz"])
