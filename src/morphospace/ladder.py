"""A top-down ladder: latents in levels, each with a prior and a posterior that know the levels above it.

Written as its papers have it, with y_l for the latents of level l and h for what is known of those above,

    p(y_l given y_<l)    = N(μ_l(h), σ_l(h)²)
    q(y_l given y_<l, x) = N(μ_l(h) + Δμ_l, (σ_l(h)·Δσ_l)²)      a residual of it (Vahdat & Kautz 2020, section 3.2)

A point of the space is z with y_l = μ_l(h) + σ_l(h)·z_l: how far each level lies from what those above let one expect,
in deviations of that (the noncentred form of Kingma & Welling 2014, arXiv:1402.0480). The map from z to y is
invertible, so the likelihood, the rate and every importance weight are the same numbers, and in z the model falls into
parts that the package has:

* the prior is N(0, I);
* the posterior q(z_l given z_<l, x) = N(Δμ_l / σ_l, Δσ_l²) is a `Chain`, which `Ladder` makes: where both residuals are
  nought (and one), it is the prior, and its rate is nought;
* the decoder has `Descent` for its stem, which turns z into y level by level: the ladder's prior.

So a ladder is a VAE like the others. And z is what a space should be walked in: to move a level of z is to take those
below along, and a straight line does not leave the prior, as it would in y.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from morphospace.distributions import Chain, Distribution, normal
from morphospace.families import Family, full
from morphospace.networks import Precise, Residual, Size, dense_stem
from morphospace.types import UsageError

__all__ = ["Descent", "Ladder", "levels_of"]

LIMIT = 5.0
"""Logarithms of deviations are held softly within ± this, as in the code of Vahdat & Kautz (2020)."""


def levels_of(latent: int, levels: int) -> tuple[int, ...]:
    """``latent`` dimensions in levels from the top, each twice as large as the one above, as nearly as whole numbers
    allow (Sønderby et al. 2016, arXiv:1602.02282, have 4, 8, 16, 32 and 64).

    Raises:
        UsageError: for a space with fewer dimensions than levels.
    """
    if latent < levels:
        raise UsageError(f"latent is {latent}; expected at least one dimension for each of {levels} levels")
    whole = 2**levels - 1
    ends = [max(i, round(latent * (2**i - 1) / whole)) for i in range(levels + 1)]
    return tuple(end - start for start, end in pairwise(ends))


class Ladder(Family):
    """(…, L·width) features of an image, ``width`` for each level -> q(z given x), a `Chain` of normals.

    Args:
        levels: D_1 … D_L, from the top.
        width: of a level's hidden layer, which sums the image's features and what is drawn above.
    """

    reads = "features for each level"

    def __init__(self, levels: Sequence[int], width: int) -> None:
        super().__init__()
        self.levels, self.width = tuple(levels), width
        self.above = nn.ModuleList(
            nn.Linear(sum(levels[:i]), width, bias=False) for i in range(1, len(levels))
        )
        self.residuals = nn.ModuleList(nn.Linear(width, 2 * latent) for latent in levels)

    def outputs(self, values: int) -> int:
        if values != sum(self.levels):
            raise UsageError(
                f"latent is {values}; the levels of this space have {sum(self.levels)} dimensions together"
            )
        return len(self.levels) * self.width

    def forward(self, h: Float[Tensor, "*batch P"]) -> Distribution:
        features = full(h).chunk(len(self.levels), dim=-1)

        def step(level: int, above: Tensor) -> Distribution:
            hidden = features[level] + self.above[level - 1](above) if level else features[level]
            loc, log_scale = self.residuals[level](F.silu(hidden)).chunk(2, dim=-1)
            return normal(loc, _deviation(log_scale))

        return Chain(step, self.levels, h)


class Rung(nn.Module):
    """Where a level enters a decoder's stem.

    Args:
        width: of the stem.
        latent: D_l.
        blocks: residual blocks after it.
    """

    def __init__(self, width: int, latent: int, blocks: int) -> None:
        super().__init__()
        self.read, self.enter = Precise(width, 2 * latent), Precise(latent, width)
        self.blocks = nn.Sequential(*(Residual(width) for _ in range(blocks)))

    def prior(self, h: Float[Tensor, "*batch W"]) -> Distribution:
        """p(y_l given y_<l), from what the stem knows of those above."""
        loc, log_scale = self.read(F.silu(h)).chunk(2, dim=-1)
        return normal(loc, _deviation(log_scale))

    def forward(self, h: Float[Tensor, "N W"], z: Float[Tensor, "N D"]) -> Float[Tensor, "N W"]:
        prior = self.prior(h)
        out: Tensor = self.blocks(h + self.enter(prior.mean + prior.stddev * z))
        return out


class Descent(nn.Module):
    """A decoder's stem: (N, D) -> (N, size.stem), the levels one after the other from the top."""

    def __init__(self, levels: Sequence[int], size: Size) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.top = dense_stem(levels[0], size)
        self.rungs = nn.ModuleList(Rung(size.stem, latent, size.blocks) for latent in levels[1:])

    def forward(self, z: Float[Tensor, "N D"]) -> Float[Tensor, "N W"]:
        first, *others = z.split(self.levels, dim=-1)  # type: ignore[no-untyped-call]
        h: Tensor = self.top(first)
        for rung, part in zip(self.rungs, others, strict=True):
            h = rung(h, part)
        return h


def _deviation(log_scale: Tensor) -> Tensor:
    return torch.exp(LIMIT * torch.tanh(log_scale / LIMIT))
