"""Families: parameters that a network puts out, turned into a distribution. A family knows no pixels' meaning.

``factor`` says how many parameters one value of the event needs; parameters of an image lie along the channels.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from morphospace.distributions import Distribution, image_bernoulli, image_normal, normal

__all__ = ["Bernoulli", "DiagonalNormal", "Family", "Gaussian"]


class Family(nn.Module):
    """Parameters -> distribution."""

    factor: int = 1


class DiagonalNormal(Family):
    """(…, 2D) -> normal over D latents: the first half is the mean, the second the log-variance.

    The log-variance is clamped to ±``bound`` (standard deviations from e⁻¹⁰ to e¹⁰), where neither exp nor its
    gradient can overflow; a trained encoder stays far inside.
    """

    factor = 2
    bound = 20.0

    def forward(self, h: Float[Tensor, "*batch P"]) -> Distribution:
        loc, log_variance = _full(h).chunk(2, dim=-1)
        return normal(loc, torch.exp(0.5 * log_variance.clamp(-self.bound, self.bound)))


class Bernoulli(Family):
    """(…, C, H, W) logits -> independent Bernoulli pixels, for images with values in [0, 1]."""

    def forward(self, h: Float[Tensor, "*batch C H W"]) -> Distribution:
        return image_bernoulli(_full(h))


class Gaussian(Family):
    """(…, C, H, W) means -> independent normal pixels with one standard deviation σ, learned or fixed.

    The density keeps its full constant −½·log(2πσ²) for each pixel.

    Args:
        sigma: σ at the start, in units of pixel values (0 to 1).
        learned: whether σ is a parameter (Rybkin et al. 2021, arXiv:2006.13202).
    """

    def __init__(self, sigma: float = 1.0, *, learned: bool = True) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.tensor(math.log(sigma)), requires_grad=learned)

    def forward(self, h: Float[Tensor, "*batch C H W"]) -> Distribution:
        return image_normal(_full(h), self.log_sigma.exp())


def _full(h: Tensor) -> Tensor:
    """Probabilities are computed in float32 at least, whatever precision the network ran in."""
    return h.float() if h.dtype in (torch.bfloat16, torch.float16) else h
