"""Morphs: the ends are the places asked for, the way between them is as asked and even, and is told truly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fixtures.small import make_images
from morphospace import recipes
from morphospace.atlas import make_atlas
from morphospace.fitting import fit
from morphospace.morphing import ground_of, locate, morph, nearest_classes
from morphospace.types import DataError, UnknownName, UsageError


@pytest.mark.parametrize("steps", [2, 3, 9])
def test_a_line_that_is_even_in_z(space, steps):
    made = morph(space, "dot", "blob", steps, even="z")
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


def test_by_default_the_line_is_straight_and_its_pictures_are_evenly_apart(space):
    far = [-3.0, -2.0], [2.5, 3.0]
    made = morph(space, *far, steps=9)
    line = made.z[-1] - made.z[0]
    across = (made.z - made.z[0]) @ np.array([-line[1], line[0]]) / np.linalg.norm(line)
    assert np.abs(across).max() < 1e-4
    steps = np.linalg.norm(np.diff(made.images.reshape(9, -1), axis=0), axis=1)
    assert steps.max() / steps.mean() < 1.1
    assert made.scores.length == pytest.approx(steps.sum(), rel=0.05)
    assert made.scores.smoothness < 1.1


def test_the_best_way_is_one_of_those_compared_and_says_why(space):
    made = morph(space, "dot", "blob", 5, "best", ground=ground_of(space, make_atlas(space, cells=48)))
    assert set(made.others) == {"straight", "great-circle", "geodesic", "clear", "dense"}
    assert "classifier" in made.refused["recognisable"]
    assert made.path in made.others
    assert made.why.startswith(f"{made.path}: ")
    assert made.way is made.others[made.path]
    assert made.others["geodesic"].scores.length <= made.others["straight"].scores.length * (1 + 1e-3)
    np.testing.assert_array_equal(made.z[[0, -1]], [made.start.z, made.end.z])


def test_paths_and_spacings_that_do_not_exist_are_refused(space):
    with pytest.raises(UnknownName, match="geodesic"):
        morph(space, "dot", "blob", path="geodesik", ground=ground_of(space, mapped=False))
    with pytest.raises(UsageError, match="not asked for"):
        morph(space, "dot", "blob", path="dense", ground=ground_of(space, mapped=False))
    with pytest.raises(UsageError, match="evenly in z"):
        morph(space, "dot", "blob", path="dense", even="z")
    with pytest.raises(UsageError, match="expected 'image' or 'z'"):
        morph(space, "dot", "blob", even="time")


# ---------------------------------------------------------------- spaces of other kinds


def trained(name: str, **arguments):
    images = make_images(40)
    recipe = recipes.get(name, images.spec, {"size": "tiny", **arguments})
    return fit(recipe, images, steps=20)


def test_in_more_dimensions_ways_are_found_through_the_data():
    space = trained("vae", latent=3)
    made = morph(space, "dot", "blob", 5, "best")
    assert set(made.others) == {"straight", "great-circle", "geodesic", "dense"}
    assert "this space has 3" in made.refused["clear"]
    lengths = {kind: way.scores.length for kind, way in made.others.items()}
    assert lengths["geodesic"] <= lengths["straight"] * (1 + 1e-3)
    assert all(way.scores.in_holes is not None for way in made.others.values())


def test_on_a_sphere_the_straight_way_is_the_great_circle():
    made = morph(trained("hyperspherical", latent=3), "dot", "blob", 5)
    np.testing.assert_allclose(np.linalg.norm(made.z, axis=1), 1, atol=1e-5)
    normal = np.cross(made.z[0], made.z[-1])
    np.testing.assert_allclose(made.z @ (normal / np.linalg.norm(normal)), 0, atol=1e-4)
    with pytest.raises(UsageError, match="sphere, whose own geodesic is 'straight'"):
        morph(trained("hyperspherical", latent=3), "dot", "blob", path="dense")


def test_in_the_poincare_ball_the_straight_way_is_hyperbolic():
    space = trained("poincare", latent=2)
    made = morph(space, [-0.6, 0.3], [0.6, 0.3], 5)
    ball = space.model.encoder.family.manifold
    z = torch.from_numpy(made.z).double()
    there = ball.distance(z[:1], z) + ball.distance(z, z[-1:])
    np.testing.assert_allclose(there, ball.distance(z[:1], z[-1:]).item(), rtol=1e-4)
    assert (made.z[1:-1, 1] < 0.3).all()  # it bends towards the middle of the ball
    with pytest.raises(UsageError, match="Poincaré ball"):
        morph(space, "dot", "blob", path="great-circle")


def test_between_choices_there_is_no_way():
    space = trained("gumbel-softmax", latent=20)
    with pytest.raises(UsageError, match="nothing lies between"):
        morph(space, "dot", "blob")


def test_in_one_dimension_there_is_one_way():
    space = trained("vae", latent=1)
    assert morph(space, "dot", "blob", 5, "best").path == "straight"
    with pytest.raises(UsageError, match="one dimension"):
        morph(space, "dot", "blob", path="dense")


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
