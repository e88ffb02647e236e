"""An atlas comes back from its folder as it was, for the same weights and no others; and all of its parts are made."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fixtures.small import make_images
from morphospace.atlas import FIELDS, FILE, PARTS, make_atlas, read_atlas, save_atlas
from morphospace.fitting import fit
from morphospace.recipes import vae
from morphospace.space import Space
from morphospace.types import RunError, UsageError


@pytest.fixture(scope="module")
def mapped(finished, images, tmp_path_factory):
    """A small atlas with everything, made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("morphospace.evaluation.classifier.LEAST_STEPS", 10)
        return make_atlas(Space.load(finished), images, cells=32)


def test_everything_is_made(mapped, images):
    for name in PARTS:
        assert getattr(mapped, name) is not None
    assert mapped.recognition.shape == (3, 32, 32)
    np.testing.assert_allclose(mapped.recognition.sum(0), 1, rtol=1e-5)
    assert mapped.nearest.shape == (32, 32)
    assert mapped.nearest_step == 4
    assert mapped.nearest.min() > 0
    assert mapped.overlap.shape == (3, 3)
    assert mapped.classifier["data_sha256"] == images.sha256
    assert {"hole_mass", "sampler_kl", "stretch", "excess_unrecognisable", "nearest_prior"} <= set(
        mapped.figures
    )
    assert all(figure.definition for figure in mapped.figures.values())
    for name, figure in mapped.figures.items():
        assert figure.error is not None, name
        assert figure.error_is, name
    assert mapped.overlap_error.shape == (3, 3)
    assert (mapped.overlap_error >= 0).all()
    assert mapped.figures["nearest_prior"].error > 0


def test_it_comes_back_as_it_was(mapped, run):
    space = Space.load(run)
    path = save_atlas(mapped, space)
    assert path == run / FILE
    again = read_atlas(run)
    assert again is not None
    for name in (
        "prior",
        "by_class",
        "sampler",
        "recognition",
        "metric",
        "nearest",
        "overlap",
        "overlap_error",
    ):
        np.testing.assert_allclose(getattr(again, name), getattr(mapped, name), atol=1e-6)
    np.testing.assert_array_equal(again.grid.points, mapped.grid.points)
    assert {k: f.to_json() for k, f in again.figures.items()} == {
        k: f.to_json() for k, f in mapped.figures.items()
    }
    assert again.classes == mapped.classes
    record = json.loads(path.read_text())
    assert sum(hole["mass"] for hole in record["holes"]) <= record["figures"]["hole_mass"]["value"] + 0.01
    for hole in record["holes"]:
        assert hole["outline"][0][0] == hole["outline"][0][-1]


def test_of_other_weights_or_damaged_it_is_as_good_as_none(mapped, run):
    space = Space.load(run)
    assert read_atlas(run) is None
    save_atlas(mapped, space)
    (run / FIELDS).write_bytes((run / FIELDS).read_bytes()[:-9])
    assert read_atlas(run) is None
    save_atlas(mapped, space)
    (run / FIELDS).unlink()
    assert read_atlas(run) is None
    save_atlas(mapped, space)
    space.with_prior("mixture", components=2).save(run)
    assert read_atlas(run) is None


def test_images_that_do_not_fit_are_refused(run, images):
    space = Space.load(run)
    with pytest.raises(UsageError, match="looks at the images"):
        make_atlas(space, parts=("recognition",))
    with pytest.raises(RunError, match="not those"):
        make_atlas(space, make_images(50, seed=4), cells=8)
    with pytest.raises(UsageError, match="no folder"):
        save_atlas(make_atlas(space, parts=(), cells=8), space.with_prior("mixture", components=2))


def test_a_set_without_labels_has_a_map_without_classes(tmp_path):
    images = make_images(classes=())
    space = fit(vae(images.spec, latent=2, size="tiny"), images, steps=3)
    atlas = make_atlas(space, images, cells=16)
    assert atlas.classes == ()
    assert atlas.recognition is None
    assert atlas.overlap is None
    assert len(atlas.by_class) == 1
    assert "bayes_error" not in atlas.figures
    assert any("labels" in note for note in atlas.notes)
    with pytest.raises(UsageError, match="recognition"):
        _ = atlas.recognised
