"""A step and the way back; lengths that are distances; spaces that are curved as they say."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from morphospace.manifolds import Ball, Manifold, Plane, Sphere

F64 = torch.float64
MANIFOLDS = [Plane(), Sphere(), Ball(), Ball(0.3), Ball(2.0)]
ALL = pytest.mark.parametrize("manifold", MANIFOLDS, ids=str)


def some_points(manifold: Manifold, count: int = 20, dimensions: int = 3, seed: int = 0) -> torch.Tensor:
    x = torch.randn(count, dimensions, dtype=F64, generator=torch.Generator().manual_seed(seed))
    if isinstance(manifold, Sphere):
        return F.normalize(x, dim=-1)
    return (
        x / (1 + x.norm(dim=-1, keepdim=True)) * 0.95 / manifold.c**0.5 if isinstance(manifold, Ball) else x
    )


@ALL
def test_log_is_the_step_that_exp_walks(manifold):
    x, y = some_points(manifold), some_points(manifold, seed=1)
    step = manifold.log(x, y)
    torch.testing.assert_close(manifold.exp(x, step), y, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(manifold.log(x, manifold.exp(x, 0.3 * step)), 0.3 * step, rtol=1e-8, atol=1e-8)


@ALL
def test_a_steps_length_is_the_distance(manifold):
    x, y = some_points(manifold), some_points(manifold, seed=1)
    unit = manifold.factor(x).squeeze(-1) if isinstance(manifold, Ball) else 1.0
    torch.testing.assert_close(unit * manifold.log(x, y).norm(dim=-1), manifold.distance(x, y))


@ALL
def test_distances_are_a_metric(manifold):
    x, y, z = (some_points(manifold, seed=s) for s in range(3))
    d = manifold.distance
    torch.testing.assert_close(d(x, y), d(y, x))
    assert (d(x, z) <= d(x, y) + d(y, z) + 1e-9).all()
    assert (d(x, x) < 1e-6).all()
    assert (d(x, y) > 0).all()


@ALL
def test_a_geodesic_goes_evenly_from_end_to_end(manifold):
    x, y = some_points(manifold), some_points(manifold, seed=1)
    torch.testing.assert_close(manifold.geodesic(x, y, 0.0), x, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(manifold.geodesic(x, y, 1.0), y, rtol=1e-8, atol=1e-8)
    third = manifold.geodesic(x, y, 1 / 3)
    torch.testing.assert_close(manifold.distance(x, third), manifold.distance(x, y) / 3)
    torch.testing.assert_close(manifold.distance(third, y), manifold.distance(x, y) * 2 / 3)


def test_distances_have_their_textbook_values():
    sphere, ball = Sphere(), Ball()
    axes = torch.eye(3, dtype=F64)
    assert sphere.distance(axes[0], axes[1]).item() == pytest.approx(math.pi / 2)
    assert sphere.distance(axes[0], -axes[0]).item() == pytest.approx(math.pi)
    # From the origin 2·artanh(r) (Ganea et al. 2018, eq. 6), and by arcosh between any two points.
    x, y = some_points(ball), some_points(ball, seed=1)
    assert ball.distance(torch.zeros(3, dtype=F64), 0.5 * axes[0]).item() == pytest.approx(
        2 * math.atanh(0.5)
    )
    ratio = (x - y).square().sum(-1) / ((1 - x.square().sum(-1)) * (1 - y.square().sum(-1)))
    torch.testing.assert_close(ball.distance(x, y), torch.acosh(1 + 2 * ratio))


def test_curvature_is_a_change_of_scale():
    """A ball of curvature −c is one of −1 with all lengths over √c; and where c goes to nought, space is flat."""
    x, y = some_points(Ball()), some_points(Ball(), seed=1)
    torch.testing.assert_close(Ball(4.0).distance(x / 2, y / 2), Ball().distance(x, y) / 2)
    torch.testing.assert_close(Ball(1e-9).distance(x, y), 2 * (x - y).norm(dim=-1))


@pytest.mark.parametrize("manifold", [Sphere(), Ball()], ids=str)
def test_gradients_are_finite_even_at_a_step_of_nought(manifold):
    x = some_points(manifold).requires_grad_()
    v = torch.zeros(20, 3, dtype=F64, requires_grad=True)
    end = manifold.exp(x, v)
    (end.sum() + manifold.distance(x, end).sum() + manifold.log(x, end.detach()).sum()).backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(v.grad).all()


@pytest.mark.parametrize("kind", [torch.float32, F64])
def test_no_step_leaves_the_ball(kind):
    ball, x = Ball(), torch.zeros(3, 2, dtype=kind)
    v = torch.tensor([[1e3, 0.0], [30.0, 30.0], [0.0, -1e30]], dtype=kind)
    far = ball.exp(x, v)
    assert (far.norm(dim=-1) < 1).all()
    assert torch.isfinite(ball.distance(x, far)).all()
    assert torch.isfinite(ball.log(far, -far)).all()
