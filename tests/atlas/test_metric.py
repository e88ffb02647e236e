"""The pull-back metric is the analytic one of surfaces that have one, and the finite differences of a network."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fixtures.small import make_images
from morphospace import recipes
from morphospace.atlas.decoded import condition, decode_points, pull_back, stretch

F64 = torch.float64
A = torch.tensor([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0], [0.0, 0.25]], dtype=F64)


def plane(z: Tensor) -> Tensor:
    return z @ A.T + 3


def sphere(z: Tensor) -> Tensor:
    """Latitude and longitude on a sphere of radius 2: G = 4·diag(1, cos² of the latitude)."""
    a, b = z.unbind(-1)
    return 2 * torch.stack([a.cos() * b.cos(), a.cos() * b.sin(), a.sin()], -1)


def swiss_roll(z: Tensor) -> Tensor:
    """A sheet rolled up, (t·cos t, h, t·sin t): G = diag(1 + t², 1)."""
    t, h = z.unbind(-1)
    return torch.stack([t * t.cos(), h, t * t.sin()], -1)


POINTS = torch.tensor([[0.3, -1.0], [1.2, 2.0], [-0.7, 0.4]], dtype=F64)


@pytest.mark.parametrize(
    ("decode", "analytic"),
    [
        (plane, lambda z: (A.T @ A).expand(len(z), 2, 2)),
        (sphere, lambda z: torch.diag_embed(torch.stack([4 + 0 * z[:, 0], 4 * z[:, 0].cos() ** 2], -1))),
        (swiss_roll, lambda z: torch.diag_embed(torch.stack([1 + z[:, 0] ** 2, 1 + 0 * z[:, 0]], -1))),
    ],
)
def test_it_is_the_analytic_one(decode, analytic):
    decoded, g = pull_back(decode, POINTS)
    assert torch.equal(decoded, decode(POINTS))
    torch.testing.assert_close(g, analytic(POINTS), rtol=1e-12, atol=1e-12)


def test_stretch_and_condition_are_those_of_the_matrix():
    g = np.array([[[4.0, 1.0]], [[1.0, 0.0]], [[2.0, 0.0]]])  # (3, 1, 2): a matrix, and one of rank one
    full = np.array([[4.0, 1.0], [1.0, 2.0]])
    np.testing.assert_allclose(stretch(g), [[math.sqrt(np.linalg.det(full)), 0]])
    np.testing.assert_allclose(condition(g), [[np.linalg.cond(full), np.inf]])


@pytest.mark.parametrize("recipe", ["vae", "reference", *recipes.themes()["likelihoods"]])
def test_forward_derivatives_are_those_of_finite_differences(recipe):
    """Through every layer that a decoder has; the network in float64, so that differences have digits."""
    spec = make_images(2, (1, 28, 28)).spec
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = recipes.get(recipe, spec, {"latent": "2"}).build().model.double().eval()
    z = POINTS
    _, g = pull_back(model.decode, z)
    step = 1e-5
    with torch.no_grad():
        columns = [
            ((model.decode(z + step * e) - model.decode(z - step * e)) / (2 * step)).flatten(1)
            for e in torch.eye(2, dtype=F64)
        ]
    j = torch.stack(columns, 1)
    torch.testing.assert_close(
        g.detach(), j @ j.mT, rtol=1e-4, atol=1e-9
    )  # a difference may cross a corner of a ReLU


def test_in_float32_they_are_those_of_finite_differences_and_points_are_decoded_once():
    """The network that maps are drawn with, against differences of the same one in float64."""
    spec = make_images(2, (1, 28, 28)).spec
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = recipes.get("vae", spec, {"latent": "2"}).build().model.eval()
    calls = []
    model.decoder.network.stem.register_forward_hook(lambda *_: calls.append(1))
    points = np.random.default_rng(0).standard_normal((40, 2))
    found = decode_points(
        model, points, lambda images: images.mean((1, 2, 3), keepdim=True)[..., 0, 0].numpy()
    )
    assert len(calls) == 2  # the first point by itself, and all others
    assert found.metric.dtype == np.float32
    exact, step, z = model.double(), 1e-5, torch.from_numpy(points)
    with torch.no_grad():
        columns = [
            ((exact.decode(z + step * e) - exact.decode(z - step * e)) / (2 * step)).flatten(1)
            for e in torch.eye(2, dtype=F64)
        ]
    g11, g12, g22 = ((a * b).sum(1).numpy() for a, b in ((columns[0],) * 2, columns, (columns[1],) * 2))
    np.testing.assert_allclose(found.metric[0], g11, rtol=1e-4)
    np.testing.assert_allclose(found.metric[2], g22, rtol=1e-4)
    np.testing.assert_allclose(found.metric[1], g12, atol=1e-4 * np.sqrt(g11 * g22).max())


def test_points_are_decoded_in_parts_as_all_at_once(monkeypatch):
    spec = make_images(2, (1, 28, 28)).spec
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = recipes.get("vae", spec, {"latent": "2", "size": "tiny"}).build().model.eval()
    points = np.random.default_rng(0).standard_normal((23, 2))
    seen = []

    def eyes(images: Tensor) -> np.ndarray:
        seen.append(images)
        return np.stack([images.mean((1, 2, 3)).numpy(), images.amax((1, 2, 3)).numpy()], 1)

    monkeypatch.setattr("morphospace.atlas.decoded.AT_ONCE", 5 * spec.pixels)
    parts = decode_points(model, points, eyes)
    decoded = model.decode(torch.from_numpy(points).float()).detach()
    torch.testing.assert_close(torch.cat(seen), decoded)
    assert parts.recognition is not None
    np.testing.assert_allclose(parts.recognition[0], decoded.mean((1, 2, 3)), rtol=1e-5)
    monkeypatch.undo()
    np.testing.assert_allclose(decode_points(model, points).metric, parts.metric, rtol=1e-4, atol=1e-7)
    assert decode_points(model, points).recognition is None
