"""The normal of hyperbolic space, on the Poincaré ball."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from morphospace.distributions.base import Law, wide
from morphospace.manifolds import Ball

__all__ = ["WrappedNormal"]


class WrappedNormal(Law):
    """A normal step from ``loc`` along a geodesic (Mathieu et al. 2019, arXiv:1901.06033, eq. 4; Nagano et al. 2019).

    Steps have the deviations ``scale`` along the axes, in lengths of hyperbolic space, carried from the origin to
    ``loc`` in parallel. The density is over hyperbolic volume, λ^D·dz in coordinates.

    All is reckoned in float64, where the device has it: far from the origin the difference of two points near one
    another is lost in float32, and a draw then seems many deviations from where it was drawn.

    ``mean`` is ``loc``, the intrinsic mean; ``stddev`` is the deviation of small steps in coordinates, scale/λ(loc).

    Args:
        ball: the space.
        loc: points of the ball, (*batch, D).
        scale: (*batch, D).
    """

    def __init__(self, ball: Ball, loc: Float[Tensor, "*batch D"], scale: Float[Tensor, "*batch D"]) -> None:
        super().__init__(loc)
        self.ball, self.loc, self.scale = ball, loc, scale

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return self.scale / self.ball.factor(self.loc)

    @property
    def variance(self) -> Tensor:
        return self.stddev.square()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        noise = self.scale.new_empty(*sample_shape, *self.scale.shape).normal_()
        loc = wide(self.loc)
        z = self.ball.exp(loc, wide(self.scale * noise) / self.ball.factor(loc))
        return self.ball.inside(z.to(self.loc.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        loc, scale = wide(self.loc), wide(self.scale)
        v = self.ball.factor(loc) * self.ball.log(loc, wide(value))
        flat = -0.5 * ((v / scale).square() + (2 * math.pi * scale.square()).log()).sum(-1)
        # A sphere of radius r is sinh(√c·r)/(√c·r) as wide here as in the plane, in each of its D − 1 directions.
        r = self.ball.c**0.5 * v.square().sum(-1).clamp_min(1e-10).sqrt()
        log_wider = r + torch.log(-torch.expm1(-2 * r)) - math.log(2) - r.log()
        log_p: Tensor = flat - (v.shape[-1] - 1) * log_wider
        return log_p.to(value.dtype)
