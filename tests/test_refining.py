"""Posteriors fitted to single images: better where the encoder's are poor, and refused where they mean nothing.

That the best of a family loses what algebra says, no more and no less, is tested beside `benchmarks.gap`.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fixtures.small import make_images
from morphospace import recipes
from morphospace.fitting import fit
from morphospace.refining import refine
from morphospace.seeds import seeded
from morphospace.space import Space
from morphospace.types import UsageError


def cost(space: Space, x: Tensor, h: Tensor) -> Tensor:
    """−ELBO of each image, by the same draws whatever the posteriors."""
    with seeded(1, "cost"), torch.no_grad():
        trace = space.model.around(x, space.model.encoder.family(h), 2000)
        return (trace.distortion + trace.rate).mean(0)


def test_images_are_better_off_or_as_they_were(images, space):
    x = torch.from_numpy(images.pixels).float() / 255
    weights = {name: value.clone() for name, value in space.model.state_dict().items()}
    with torch.no_grad():
        own = space.model.encoder.parameters_of(x)
    with seeded(0, "here"):
        found = refine(space.model, x, steps=60)
    gain = cost(space, x, own) - cost(space, x, found)
    assert gain.mean() > 0.05
    assert gain.min() > -0.2  # what 50 draws may misjudge
    assert (gain.abs() < 1e-9).logical_or((found != own).any(1)).all()
    assert all(torch.equal(value, weights[name]) for name, value in space.model.state_dict().items())
    assert all(p.grad is None for p in space.model.parameters())


def test_a_space_refines_by_its_seed(images, space):
    plain, first, second = (space.encode(images, refine=steps) for steps in (0, 20, 20))
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(first.stddev, second.stddev)
    assert not torch.equal(first.mean, plain.mean)
    assert torch.equal(space.encode(images).mean, plain.mean)


@pytest.mark.parametrize(
    "name",
    ["beta-vae", "class-prior", "cvae", "full-posterior", "ladder", "low-rank-posterior", "missing-pixels"],
)
def test_every_posterior_over_the_plane_can_be_refined(name):
    images = make_images(20, (1, 16, 16))
    space = fit(recipes.get(name, images.spec, {"size": "tiny"}), images, steps=2)
    found = space.encode(images, refine=5)
    assert found.mean.shape == (len(images), space.dimensions)
    assert found.mean.isfinite().all()


@pytest.mark.parametrize("name", ["ae", "hyperspherical", "poincare", "gumbel-softmax", "fsq", "vae-gan"])
def test_others_are_refused_in_words(name):
    images = make_images(20, (1, 16, 16))
    space = fit(recipes.get(name, images.spec, {"size": "tiny"}), images, steps=2)
    with pytest.raises(UsageError, match="cannot be refined"):
        space.encode(images, refine=5)


def test_fewer_than_no_steps_are_refused(images, space):
    with pytest.raises(UsageError, match="-1"):
        space.encode(images, refine=-1)
