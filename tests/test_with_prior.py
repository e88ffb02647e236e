"""A prior fitted after training: samples lie where the latents do, and it is kept with its space."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fixtures.small import make_images, unit
from morphospace import priors, recipes
from morphospace.atlas import make_atlas
from morphospace.atlas.measures import divergence, hole_mass
from morphospace.data import load
from morphospace.distributions import normal
from morphospace.fitting import fit
from morphospace.priors import pseudo
from morphospace.space import Space
from morphospace.types import RunError, UnknownName, UsageError


def test_a_fitted_prior_puts_samples_where_the_latents_are(space):
    fitted = space.with_prior("mixture", components=3)
    latents = space.known_latents().train.mean
    z = fitted.draw(2000).numpy()
    np.testing.assert_allclose(z.mean(0), latents.mean(0), atol=4 * z.std(0).max() / 2000**0.5 + 0.1)
    assert not np.allclose(fitted.draw(20), space.draw(20))
    assert fitted.sample(3).shape == (3, *space.spec.shape)
    assert torch.equal(fitted.draw(5, seed=1), fitted.draw(5, seed=1))
    assert torch.equal(fitted.decode(z[:3]), space.decode(z[:3]))


def test_the_space_that_it_was_fitted_to_stays_as_it_was(space):
    before, config = space.draw(4), dict(space.config)
    space.with_prior("mixture", components=2)
    assert torch.equal(space.draw(4), before)
    assert space.config == config
    assert "prior" not in config


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("mixture", {"components": 3}),
        ("flow", {"transforms": 1}),
        ("two-stage", {}),
        ("vamp", {"components": 4}),
    ],
)
def test_a_fitted_prior_is_saved_and_loaded_with_its_space(
    space, images, tmp_path, monkeypatch, name, arguments
):
    make, fit, steps = priors.FITTED[name]
    monkeypatch.setitem(priors.FITTED, name, (make, fit, min(steps, 5)))
    given = {"images": images} if name in priors.OF_IMAGES else {}
    fitted = space.with_prior(name, seed=3, **given, **arguments)
    assert fitted.folder is None
    fitted.save(tmp_path / "run")
    again = Space.load(tmp_path / "run")
    assert torch.equal(again.draw(6), fitted.draw(6))
    assert again.config["prior"] == {"name": name, "arguments": arguments, "seed": 3}
    assert again.latents is not None  # the chain of hashes from config to weights to latents is whole
    assert np.array_equal(again.known_latents().mean, space.known_latents().mean)
    assert "test" not in again.results  # its figures were those of the old prior


def test_a_changed_prior_is_noticed(space, tmp_path):
    space.with_prior("mixture", components=3).save(tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    path.write_text(path.read_text().replace('"components": 3', '"components": 4'))
    with pytest.raises(RunError, match="does not belong"):
        Space.load(tmp_path / "run")


def test_a_prior_without_a_density_refuses_likelihoods(space, monkeypatch):
    make, fit, _ = priors.FITTED["two-stage"]
    monkeypatch.setitem(priors.FITTED, "two-stage", (make, fit, 2))
    fitted = space.with_prior("two-stage")
    with pytest.raises(UsageError, match="no density"):
        fitted.model.log_likelihood(unit(make_images(2)), 2)


def test_points_are_assigned_to_components(space):
    fitted = space.with_prior("mixture", components=3)
    shares = fitted.assign(space.known_latents().mean)
    assert shares.shape == (len(space.known_latents()), 3)
    torch.testing.assert_close(shares.sum(1), torch.ones(len(shares)))
    with pytest.raises(UsageError, match=r"no mixture.*with_prior"):
        space.assign([[0.0, 0.0]])


def test_a_prior_that_cannot_be_fitted_is_refused(space, images):
    with pytest.raises(UnknownName, match="Did you mean 'mixture'"):
        space.with_prior("mixtures")
    sphere = fit(recipes.hyperspherical(images.spec, size="tiny"), images, steps=1)
    with pytest.raises(UsageError, match=r"Spherical.*another posterior"):
        sphere.with_prior("mixture")


# ---------------------------------------------------------------- pseudo-inputs


def steps_of_vamp(monkeypatch, steps: int) -> None:
    make, learn, _ = priors.FITTED["vamp"]
    monkeypatch.setitem(priors.FITTED, "vamp", (make, learn, steps))


def posteriors(space: Space) -> torch.distributions.Distribution:
    latents = space.known_latents().train
    return normal(torch.from_numpy(latents.mean).double(), torch.from_numpy(latents.scale).double())


@torch.no_grad()
def test_of_all_training_images_alike_it_is_the_aggregated_posterior(space, images):
    each = posteriors(space)
    fitted = space.with_prior("vamp", images=images, components=len(images.train), learned=False)
    z = torch.cat([each.sample((5,)).flatten(0, 1), 3 * torch.randn(50, 2).double()])
    aggregated = each.log_prob(z[:, None]).logsumexp(1) - np.log(len(images.train))
    found = fitted.model.prior(fitted.model.encoder).log_prob(z.float())
    torch.testing.assert_close(found.double(), aggregated, rtol=1e-4, atol=1e-3)


def test_the_density_of_pseudo_inputs_integrates_to_one(space, images, monkeypatch):
    steps_of_vamp(monkeypatch, 10)
    fitted = space.with_prior("vamp", images=images, components=5)
    atlas = make_atlas(fitted, parts=(), cells=128)
    assert atlas.grid.integral(atlas.prior) == pytest.approx(1, abs=1e-3)
    points = torch.from_numpy(atlas.grid.points[::37]).float()
    law = fitted.model.prior(fitted.model.encoder)
    np.testing.assert_allclose(
        atlas.prior.ravel()[::37], law.log_prob(points).detach().exp().numpy(), rtol=1e-3, atol=1e-7
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_learned_is_never_worse_than_where_it_begins(space, images, monkeypatch, seed):
    """By the points that it is judged by, and, where it learned for a while, by any others of the posteriors."""
    z = posteriors(space).sample((500,)).flatten(0, 1).float()
    start = space.with_prior("vamp", images=images, components=4, seed=seed, learned=False).model
    assert (start.prior.logits == 0).all()
    steps_of_vamp(monkeypatch, 60)
    learned = space.with_prior("vamp", images=images, components=4, seed=seed).model
    with torch.no_grad():
        gain = learned.prior(learned.encoder).log_prob(z) - start.prior(start.encoder).log_prob(z)
    assert gain.mean() > 3 * gain.std() / len(gain) ** 0.5
    assert not torch.equal(learned.prior.images, start.prior.images)
    assert learned.prior.images.min() >= 0
    assert learned.prior.images.max() <= 1


def test_a_fit_that_goes_wrong_leaves_the_start(space, images, monkeypatch):
    monkeypatch.setattr(pseudo, "LR", {"images": 50.0, "logits": 50.0})
    steps_of_vamp(monkeypatch, 3)
    wrong = space.with_prior("vamp", images=images, components=20).model.prior
    start = space.with_prior("vamp", images=images, components=20, learned=False).model.prior
    assert torch.equal(wrong.images, start.images)
    assert torch.equal(wrong.logits, start.logits)


def test_pseudo_inputs_close_holes(monkeypatch):
    """Of an encoder that is shown no anchors: see docs/atlas.md."""
    drawn = load("garments", count=420)
    space = fit(recipes.vae(drawn.spec, size="tiny", anchors=0), drawn, steps=300, batch=64)
    steps_of_vamp(monkeypatch, 200)
    fitted = space.with_prior("vamp", images=drawn, components=60)
    maps = [make_atlas(each, parts=(), cells=64) for each in (space, fitted)]
    before, after = (hole_mass(a.grid, a.posterior, a.prior) for a in maps)
    assert before > 0.02
    assert after < 0.5 * before
    far, near = (divergence(a.grid, a.posterior, a.prior) for a in maps)
    assert near < far


def test_fitting_pseudo_inputs_leaves_the_encoder_alone(space, images, monkeypatch):
    steps_of_vamp(monkeypatch, 3)
    before = {name: value.clone() for name, value in space.model.state_dict().items()}
    fitted = space.with_prior("vamp", images=images, components=4)
    for model in (space.model, fitted.model):
        for name, value in before.items():
            assert torch.equal(model.state_dict()[name], value), name
        assert all(p.grad is None for p in model.parameters())


def test_pseudo_inputs_that_cannot_be_had_are_refused(space, images):
    with pytest.raises(UsageError, match=r"'vamp' is made of the images.*images="):
        space.with_prior("vamp")
    with pytest.raises(UsageError, match=r"latents alone.*'vamp'"):
        space.with_prior("mixture", images=images)
    with pytest.raises(UnknownName, match="Did you mean 'vamp'"):
        space.with_prior("vampprior", images=images)
    with pytest.raises(RunError, match="not those"):
        space.with_prior("vamp", images=make_images(50, seed=1))
    for components in (0, len(images.train) + 1):
        with pytest.raises(UsageError, match=f"{components} components.*1 to {len(images.train)}"):
            space.with_prior("vamp", images=images, components=components)
    with pytest.raises(UsageError, match="pseudo"):
        space.with_prior("vamp", images=images, pseudo_inputs=3)
    told = fit(recipes.cvae(images.spec, size="tiny"), images, steps=1)
    with pytest.raises(UsageError, match=r"told the class.*'mixture'"):
        told.with_prior("vamp", images=images)
    full = fit(recipes.full_posterior(images.spec, size="tiny"), images, steps=1)
    with pytest.raises(UsageError, match=r"normals.*DiagonalNormal"):
        full.with_prior("vamp", images=images, components=3)
