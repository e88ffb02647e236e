"""Manifolds that a latent space can be: points are rows of numbers, and a step is a tangent vector in the same numbers.

    Plane()    R^D
    Sphere()   unit vectors of R^D
    Ball()     the Poincaré ball: hyperbolic space of curvature −c as the points of R^D with |x| < 1/√c

``exp(x, v)`` walks from x along v for as long as v is; ``log(x, y)`` is the step that leads to y; ``distance`` is its
length; ``geodesic(x, y, t)`` the point after the part t of the way. All take (…, D) and broadcast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Ball", "Manifold", "Plane", "Sphere"]

Points = Float[Tensor, "*batch D"]
EDGE = 1e-3
"""How near the edge of the unit ball points come, as a part of its radius, where floats are of 32 bits."""


@runtime_checkable
class Manifold(Protocol):
    """What all of them do."""

    def exp(self, x: Tensor, v: Tensor) -> Tensor: ...
    def log(self, x: Tensor, y: Tensor) -> Tensor: ...
    def distance(self, x: Tensor, y: Tensor) -> Tensor: ...

    def geodesic(self, x: Tensor, y: Tensor, t: Tensor | float) -> Tensor:
        """The point after the part ``t``, 0 to 1, of the shortest way from x to y."""
        return self.exp(x, t * self.log(x, y))


def _length(v: Tensor) -> Tensor:
    """|v| with a last dimension of one; a nought has gradient nought, where a root's would be infinite."""
    return (v * v).sum(-1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny ** 0.5).sqrt()


@dataclass(frozen=True)
class Plane(Manifold):
    """R^D: steps are differences."""

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        return x + v

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        return y - x

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        return (y - x).square().sum(-1).sqrt()


@dataclass(frozen=True)
class Sphere(Manifold):
    """Unit vectors: steps lie across the point, x·v = 0. Between opposite points no way is the shortest."""

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        angle = _length(v)
        return torch.cos(angle) * x + torch.sin(angle) / angle * v

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        across = y - (x * y).sum(-1, keepdim=True) * x
        return self.distance(x, y).unsqueeze(-1) * across / _length(across)

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """The angle in radians, from both chords, which is exact where the cosine is flat."""
        return 2 * torch.atan2(_length(x - y), _length(x + y)).squeeze(-1)


@dataclass(frozen=True)
class Ball(Manifold):
    """The Poincaré ball (Ganea et al. 2018, arXiv:1805.09112, section 2; there c is curvature's negative too).

    Lengths are those of hyperbolic space: near x a step of coordinates v is λ·|v| long, λ = 2 / (1 − c·|x|²). Points
    are kept below 1 − 10⁻³ (float32) or 1 − 10⁻⁶ (float64) of the radius, lengths of 7.6 and 14.5 from the origin:
    beyond, (1 − |x|²)², which sums of two points divide by, is not told from nought.
    """

    c: float = 1.0

    def factor(self, x: Points) -> Float[Tensor, "*batch 1"]:
        """λ: how long the unit of the coordinates is at x."""
        return 2 / (1 - self.c * (x * x).sum(-1, keepdim=True))

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """Möbius addition x ⊕ y (eq. 2): where y lies, seen from the origin, when the origin is moved to x."""
        c, xy = self.c, (x * y).sum(-1, keepdim=True)
        xx, yy = (x * x).sum(-1, keepdim=True), (y * y).sum(-1, keepdim=True)
        return self.inside(
            ((1 + 2 * c * xy + c * yy) * x + (1 - c * xx) * y) / (1 + 2 * c * xy + c * c * xx * yy)
        )

    @property
    def reach(self) -> float:
        """How far from the origin float32 can tell points, in lengths of the space."""
        return 2 / math.sqrt(self.c) * math.atanh(1 - EDGE)

    def inside(self, x: Tensor) -> Tensor:
        """x, or the point below it at the edge of what floats can tell."""
        edge = (1 - (EDGE if x.dtype == torch.float32 else 1e-6)) / self.c**0.5
        near: Tensor = x * (edge / _length(x)).clamp_max(1)
        return near

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        length, root = _length(v), self.c**0.5
        return self.add(x, torch.tanh(root * self.factor(x) * length / 2) * v / (root * length))

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        step = self.add(-x, y)
        length, root = _length(step), self.c**0.5
        walk: Tensor = 2 / (root * self.factor(x)) * torch.atanh(root * length) * step / length
        return walk

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        root = self.c**0.5
        far: Tensor = 2 / root * torch.atanh(root * _length(self.add(-x, y)).squeeze(-1))
        return far
