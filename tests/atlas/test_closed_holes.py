"""Holes can be closed: by a prior that is fitted after training, or learned with the model; and the figures show it."""

from __future__ import annotations

import numpy as np
import pytest

from morphospace import priors, recipes
from morphospace.atlas import make_atlas, read_atlas, save_atlas
from morphospace.atlas.estimates import estimate_figures
from morphospace.fitting import fit
from morphospace.report.mapped import _beside, _words
from morphospace.types import UsageError


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    # A flow takes its time over millions of points.
    monkeypatch.setattr("morphospace.atlas.figures.FINEST", 128)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("morphospace.evaluation.classifier.LEAST_STEPS", 10)
    make, fit_it, _ = priors.FITTED["flow"]
    monkeypatch.setitem(priors.FITTED, "flow", (make, fit_it, 100))


@pytest.mark.parametrize(("name", "arguments"), [("mixture", {"components": 3}), ("flow", {"transforms": 2})])
def test_a_fitted_prior_is_told_beside_the_one_before(space, name, arguments):
    before = make_atlas(space, parts=None, cells=64).figures
    closed = space.with_prior(name, **arguments)
    atlas = make_atlas(closed, parts=None, cells=64)
    after = atlas.figures
    assert atlas.sampler is None  # its prior is what samples are drawn from
    assert atlas.former is not None
    for kind in ("kl", "hole_mass", "missed_mass"):
        was = before["kl_to_prior" if kind == "kl" else kind]
        again = after[f"former_{kind}"]
        assert again.value == pytest.approx(was.value, abs=was.error + again.error + 1e-3), kind
    # The flow has had a hundred steps.
    part = 0.5 if name == "mixture" else 0.95
    assert after["kl_to_prior"].value < part * after["former_kl"].value
    assert after["hole_mass"].value < after["former_hole_mass"].value
    table = _beside(after)
    assert table.head == ("", "prior it was trained with", "fitted prior p(z)")
    assert [row[0] for row in table.rows][:2] == ["KL(q ‖ ·)", "in holes"]
    assert "model was trained with" in _words(after)
    assert "model was trained with" not in _words(before)
    # By sampling the same is found.
    found, _ = estimate_figures(closed, draws=2000)
    for key in ("kl_to_prior", "hole_mass", "former_kl", "former_hole_mass"):
        off = 4.5 * found[key].error + after[key].error + 1e-3
        assert found[key].value == pytest.approx(after[key].value, abs=off), key


def test_what_is_not_recognised_is_told_of_both(space, images, tmp_path):
    closed = space.with_prior("mixture", components=3)
    closed.save(tmp_path / "run")
    closed.folder = tmp_path / "run"
    atlas = make_atlas(closed, images, cells=24)
    drawn = {name: atlas.figures[f"excess_unrecognisable{name}"] for name in ("", "_prior", "_former")}
    # Its sampler is its prior: the same points.
    assert drawn[""].extra == drawn["_prior"].extra
    assert drawn["_former"].draws == drawn[""].draws == 10_000
    assert "unrecognised_former" in atlas.figures
    assert "not recognised, beyond reconstructions" in [row[0] for row in _beside(atlas.figures).rows]
    save_atlas(atlas, closed)
    again = read_atlas(tmp_path / "run")
    assert again is not None
    np.testing.assert_allclose(again.former, atlas.former)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("mixture-prior", {"components": 3}),
        ("vamp", {"pseudo_inputs": 5}),
        ("exemplar", {"exemplars": 10}),
        ("flow-prior", {}),
    ],
)
def test_a_learned_prior_has_its_own_holes_and_those_of_its_sampler(images, name, arguments):
    recipe = recipes.get(name, images.spec, {"latent": 2, "size": "tiny", **arguments})
    space = fit(recipe, images, steps=20)
    atlas = make_atlas(space, parts=None, cells=64)
    assert atlas.former is None
    law = atlas.figures
    assert atlas.grid.integral(atlas.prior) == pytest.approx(1, abs=0.01)
    assert 0 <= law["hole_mass"].value <= 1
    assert law["kl_to_prior"].value > -law["kl_to_prior"].error
    # What is computed from the map is what draws from the learned prior meet.
    z = space.draw(4000, prior=True).numpy()
    q, p = (atlas.grid.interpolate(field, z) for field in (atlas.posterior, atlas.prior))
    share = float((q < 0.1 * p).mean())
    off = 4.5 * np.sqrt(max(share * (1 - share), 1e-3) / 4000) + 0.01
    assert law["hole_mass"].value == pytest.approx(share, abs=off)
    assert _beside(law).head == ("", "prior p(z)", "sampler s(z)")
    # A learned prior that another took the place of is gone.
    assert make_atlas(space.with_prior("mixture", components=2), parts=(), cells=16).former is None


def test_a_prior_without_a_density_is_refused_in_words(space, monkeypatch):
    make, fit_it, _ = priors.FITTED["two-stage"]
    monkeypatch.setitem(priors.FITTED, "two-stage", (make, fit_it, 2))
    generated = space.with_prior("two-stage")
    for look in (lambda: make_atlas(generated, parts=()), lambda: estimate_figures(generated)):
        with pytest.raises(UsageError, match="no density"):
            look()


def test_a_space_that_is_told_of_classes_is_refused_in_words(images):
    space = fit(recipes.get("cvae", images.spec, {"latent": 2, "size": "tiny"}), images, steps=1)
    for look in (lambda: make_atlas(space), lambda: estimate_figures(space)):
        with pytest.raises(UsageError, match="told of classes"):
            look()
