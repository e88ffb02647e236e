"""Morphs: the ends are the places asked for, the way between them is straight and even, and is told truly."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fixtures.small import make_images
from morphospace import recipes
from morphospace.fitting import fit
from morphospace.morphing import locate, morph, nearest_classes
from morphospace.types import DataError, UnknownName, UsageError


@pytest.mark.parametrize("steps", [2, 3, 9])
def test_the_way_is_straight_even_and_ends_where_it_should(space, steps):
    made = morph(space, "dot", "blob", steps)
    first, last = (space.prototypes.points[space.classes.index(name)] for name in ("dot", "blob"))
    np.testing.assert_array_equal(made.z[0], first)
    np.testing.assert_array_equal(made.z[-1], last)
    np.testing.assert_allclose(made.x, np.arange(steps) / (steps - 1))
    np.testing.assert_allclose(
        np.diff(made.z, axis=0), np.tile((last - first) / (steps - 1), (steps - 1, 1)), atol=1e-5
    )
    assert made.images.shape == (steps, 1, 8, 8)
    np.testing.assert_allclose(made.images, space.decode(made.z).numpy())
    assert (made.start.name, made.end.name) == ("dot", "blob")
    assert len(made.nearest) == len(made.shares) == steps


def test_the_way_back_is_the_way_turned_round(space):
    there, back = morph(space, "dot", "bar", 5), morph(space, "bar", "dot", 5)
    np.testing.assert_allclose(there.z, back.z[::-1], atol=1e-6)
    np.testing.assert_allclose(there.images, back.images[::-1], atol=1e-5)
    assert there.nearest == back.nearest[::-1]


@pytest.mark.parametrize("steps", [1, 0, -3])
def test_a_way_has_two_ends(space, steps):
    with pytest.raises(UsageError, match="at least 2"):
        morph(space, "dot", "bar", steps)


# ---------------------------------------------------------------- places


@pytest.mark.parametrize("typed", ["blob", "Blob", "BLOB"])
def test_a_class_is_found_however_it_is_typed(space, typed):
    place = locate(space, typed)
    assert place.name == "blob"
    np.testing.assert_array_equal(place.z, space.prototypes.points[2])


def test_a_misspelt_class_is_refused_with_the_close_match(space):
    with pytest.raises(UnknownName, match="Did you mean 'blob'"):
        locate(space, "blub")


def test_an_image_file_is_its_embedding(space, images, tmp_path):
    Image.fromarray(images.pixels[4, 0]).save(tmp_path / "four.png")
    place = locate(space, tmp_path / "four.png")
    assert place.name == "four.png"
    np.testing.assert_allclose(place.z, space.encode(images.pixels[4:5]).mean[0], atol=1e-5)


def test_a_file_that_is_no_image_is_refused(space, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"bad\.png"):
        locate(space, tmp_path / "bad.png")


def test_a_class_wins_over_a_file_of_its_name(space, tmp_path, monkeypatch):
    (tmp_path / "dot").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert locate(space, "dot").name == "dot"


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_point_is_itself(space, kind):
    point = np.array([1, -2], dtype=kind)
    np.testing.assert_array_equal(locate(space, point).z, [1, -2])
    np.testing.assert_array_equal(morph(space, point, "dot").z[0], [1, -2])


@pytest.mark.parametrize("shape", [(3,), (1, 2), ()])
def test_a_point_of_another_dimension_is_refused(space, shape):
    with pytest.raises(UsageError, match=r"takes \(2,\)"):
        locate(space, np.zeros(shape))


def test_a_point_that_is_not_finite_is_refused(space):
    with pytest.raises(UsageError, match="finite"):
        morph(space, np.array([np.nan, 0.0]), "dot")


# ---------------------------------------------------------------- what is told on the way


def test_the_nearest_class_is_the_one_with_the_largest_share(space):
    z = space.latents.mean[:11]
    names, shares = nearest_classes(space, z)
    expected = space.latents.class_shares(z)
    assert list(names) == [space.classes[c] for c in expected.argmax(1)]
    np.testing.assert_allclose(shares, expected.max(1))
    assert (shares >= 1 / 3).all()


def test_a_space_without_classes_morphs_between_clusters():
    images = make_images(30, classes=())
    space = fit(recipes.vae(images.spec, size="tiny"), images, steps=5)
    made = morph(space, "cluster 1", "cluster 2", 5)
    assert made.nearest[0] == "cluster 1"
    assert made.nearest[-1] == "cluster 2"
    assert np.isnan(made.shares).all()
