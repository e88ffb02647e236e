"""Laws whose log-density is affine in x, but for a part that is x's own: one matrix product serves all images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from morphospace.distributions.base import Distribution
from morphospace.distributions.pixels import ContinuousBernoulli, OptimalNormal

__all__ = ["Affine", "affine_form", "base_of"]


@dataclass(frozen=True)
class Affine:
    """M laws with log p(x) = precision·(slope·x + offset) + what x alone says: exponential families of x itself.

    Attributes:
        slope: the natural parameters but for the precision, (M, P).
        offset: (M,).
        mean: of x, (M, P).
        rise: by how much the mean rises with the slope, (M, P).
        precision: 1/σ² of normals, which is the same for all; 1 of others.
    """

    slope: Float[Tensor, "M P"]
    offset: Float[Tensor, " M"]
    mean: Float[Tensor, "M P"]
    rise: Float[Tensor, "M P"]
    precision: Float[Tensor, ""]


def affine_form(px: Distribution) -> Affine | None:
    """Laws of images (M, C, H, W) in that form: (continuous) Bernoulli, normals of one σ; None of any other."""
    base = base_of(px)
    if isinstance(base, Bernoulli | ContinuousBernoulli):
        offset = px.log_prob(torch.zeros_like(base.logits))
        mean, rise = base.mean.flatten(1), base.variance.flatten(1)
        return Affine(base.logits.flatten(1), offset, mean, rise, torch.ones_like(offset[0]))
    # A σ that was expanded is the same for all points: told by its strides, since values are not read back here.
    if isinstance(base, OptimalNormal) or (isinstance(base, Normal) and not any(base.scale.stride())):
        mean, variance = base.mean.flatten(1), base.variance.flatten(1)[0, 0]
        return Affine(mean, -0.5 * mean.square().sum(1), mean, torch.ones_like(mean), 1 / variance)
    return None


def base_of(distribution: Distribution) -> object:
    """What torch's `Independent` wraps, or the distribution itself; only an unchanged ``log_prob`` is seen through."""
    base: object = distribution
    while type(base) is torch.distributions.Independent:
        base = base.base_dist
    return base
