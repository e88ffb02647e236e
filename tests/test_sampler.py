"""The sampler: fitted to where the training images lie, kept with the space, drawn from unless the prior is asked."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from morphospace import recipes
from morphospace.fitting import fit, refit
from morphospace.priors import fit_prior, sampler_arguments
from morphospace.priors.em import fit_normals
from morphospace.space import Space
from morphospace.types import RunError, UsageError

F64 = torch.float64


# ---------------------------------------------------------------- expectation maximisation


def heaps(count: int = 3000, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    which = torch.arange(count) % 3
    centres = torch.tensor([[-1.5, 0.0], [1.0, 1.2], [1.0, -1.2]], dtype=F64)
    noise = torch.randn(count, 2, generator=draw, dtype=F64) * torch.tensor([0.3, 0.15], dtype=F64)
    noise[:, 1] += torch.where(which == 1, 1.5, 0.0) * noise[:, 0]  # one of them leans
    return centres[which] + noise


def mean_log_density(found, z: torch.Tensor) -> float:
    law = torch.distributions.MultivariateNormal(found.mean, found.covariance)
    return float((found.weight.log() + law.log_prob(z[:, None])).logsumexp(1).mean())


def test_it_finds_the_normals_that_the_points_are_of():
    z = heaps()
    found = fit_normals(z, 3)
    for group in range(3):
        mine = z[group::3]
        near = int((found.mean - mine.mean(0)).norm(dim=1).argmin())
        torch.testing.assert_close(found.mean[near], mine.mean(0), rtol=0, atol=1e-3)
        torch.testing.assert_close(
            found.covariance[near], torch.cov(mine.T, correction=0), rtol=0.02, atol=1e-4
        )
        assert float(found.weight[near]) == pytest.approx(1 / 3, abs=1e-3)
    assert mean_log_density(found, z) >= found.log_likelihood - 1e-9


def test_one_normal_has_the_points_moments():
    z = heaps() @ torch.tensor([[1.0, 0.4], [0.0, 0.7]], dtype=F64)
    found = fit_normals(z, 1)
    torch.testing.assert_close(found.mean[0], z.mean(0))
    torch.testing.assert_close(found.covariance[0], torch.cov(z.T, correction=0), rtol=0, atol=2e-6)


def test_no_round_makes_it_worse_and_more_components_fit_better():
    from morphospace.priors import em

    z = heaps(900)
    start = em.Normals(
        torch.full((6,), 1 / 6, dtype=F64),
        em._seeds(z, 6, 0),
        torch.eye(2, dtype=F64).expand(6, 2, 2),
        -math.inf,
    )
    likelihoods = []
    for _ in range(30):
        start = em._round(z, start)
        likelihoods.append(start.log_likelihood)
    assert all(b >= a - 1e-6 for a, b in pairwise(likelihoods))
    fits = [mean_log_density(fit_normals(z, m), z) for m in (1, 3, 12)]
    assert fits[0] < fits[1] - 0.5 < fits[2] - 0.5


def test_it_works_in_many_dimensions_in_parts(monkeypatch):
    z = torch.randn(400, 12, dtype=F64, generator=torch.Generator().manual_seed(0))
    whole = fit_normals(z, 2)
    monkeypatch.setattr("morphospace.priors.em.AT_ONCE", 91 * 37)
    parts = fit_normals(z, 2)
    torch.testing.assert_close(parts.covariance, whole.covariance)
    assert (torch.linalg.eigvalsh(parts.covariance) > 0).all()


def test_points_that_lie_on_one_another_are_no_trouble():
    z = torch.zeros(20, 2, dtype=F64)
    z[10:] = 1
    found = fit_normals(z, 5)
    assert torch.isfinite(found.mean).all()
    assert torch.isfinite(torch.linalg.cholesky(found.covariance)).all()
    with pytest.raises(UsageError, match="expected 1 to 20"):
        fit_normals(z, 21)


def test_a_mixture_of_many_comes_within_a_twentieth_of_a_nat_of_a_ring():
    """A shape that no single normal has: a thin ring, whose entropy is known."""
    rng = np.random.default_rng(0)
    angle, radius = rng.uniform(0, 2 * math.pi, 20_000), 3 + 0.1 * rng.standard_normal(20_000)
    z = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(np.float32)
    arguments = sampler_arguments(2, len(z))
    assert arguments == {"components": 128}
    law = fit_prior("mixture", z, np.zeros_like(z), arguments)(lambda x: pytest.fail("nothing to encode"))
    # −E log q of the ring: r is normal, the angle even; log r is taken over the same draws.
    log_q = (
        -0.5 * ((radius - 3) / 0.1) ** 2 - np.log(0.1 * math.sqrt(2 * math.pi)) - np.log(2 * math.pi * radius)
    )
    log_p = law.log_prob(torch.from_numpy(z)).numpy()
    assert abs((log_q - log_p).mean()) < 0.05
    drawn = law.rsample(torch.Size((5000,))).norm(dim=1)
    assert ((drawn - 3).abs() < 0.6).float().mean() > 0.99


@pytest.mark.parametrize(
    ("latent", "points", "components"),
    [(2, 35, 1), (2, 6000, 50), (2, 60_000, 128), (16, 60_000, 19), (64, 500, 1)],
)
def test_a_sampler_has_as_many_components_as_its_points_can_tell(latent, points, components):
    assert sampler_arguments(latent, points) == {"components": components}


# ---------------------------------------------------------------- with a space


def test_samples_come_from_where_the_images_lie(space):
    z, prior = space.draw(4000), space.draw(4000, prior=True)
    train = space.known_latents().train
    expected = np.sqrt(train.mean.var(0) + np.square(train.scale).mean(0))
    np.testing.assert_allclose(z.mean(0), train.mean.mean(0), atol=0.1)
    np.testing.assert_allclose(z.std(0), expected, rtol=0.06)
    torch.testing.assert_close(prior.std(0), torch.ones(2), rtol=0.05, atol=0)
    assert torch.equal(space.sample(3, seed=2), space.decode(space.draw(3, seed=2)))
    assert torch.equal(space.sample(3, seed=2, prior=True), space.decode(space.draw(3, seed=2, prior=True)))


def test_it_is_kept_with_the_run_and_belongs_to_its_weights(run):
    space = Space.load(run)
    assert space.sampler is not None
    assert space.sampler.arguments == {"components": 1}
    # Fitted again it is the same, to the byte: a function of latents and seed.
    before = (run / "sampler.safetensors").read_bytes()
    space.sampler = None
    space.fit_sampler()
    space.save_sampler(run)
    assert (run / "sampler.safetensors").read_bytes() == before
    config = json.loads((run / "config.json").read_text())
    assert "sampler" not in config  # it is made of the latents; the weights' hash tells whose


def test_a_run_of_an_earlier_version_has_one_fitted_when_it_is_needed(run, images):
    expected = Space.load(run).draw(5)
    (run / "sampler.safetensors").unlink()
    space = Space.load(run)
    assert space.sampler is None
    assert torch.equal(space.draw(5), expected)
    refit(run, images)
    assert (run / "sampler.safetensors").is_file()


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-9], lambda b: b"", lambda b: b.replace(b"mixture", b"mixtura")]
)
def test_a_damaged_one_is_fitted_again(run, damage):
    expected = Space.load(run).draw(5)
    path = run / "sampler.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    space = Space.load(run)
    assert space.sampler is None
    assert torch.equal(space.draw(5), expected)


def test_without_sampler_and_latents_it_says_what_to_do(run):
    for name in ("sampler", "latents"):
        (run / f"{name}.safetensors").unlink()
    space = Space.load(run)
    with pytest.raises(RunError, match="report"):
        space.draw(3)
    assert space.draw(3, prior=True).shape == (3, 2)


def test_a_fitted_prior_is_its_own_sampler(space):
    fitted = space.with_prior("mixture", components=2)
    assert fitted.draws_from_prior
    assert fitted.fit_sampler() is None
    assert torch.equal(fitted.draw(4), fitted.draw(4, prior=True))


def test_other_spaces_than_a_plane_draw_from_their_prior(images, tmp_path):
    sphere = fit(recipes.hyperspherical(images.spec, size="tiny"), images, steps=1, out=tmp_path / "run")
    assert not (tmp_path / "run" / "sampler.safetensors").exists()
    assert sphere.draws_from_prior
    z = sphere.draw(5)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(5))
    assert torch.equal(z, sphere.draw(5, prior=True))
