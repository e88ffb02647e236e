"""The rate of a posterior in levels, level by level."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from morphospace.distributions import Chain
from morphospace.model import Trace
from morphospace.types import UsageError

__all__ = ["LevelRate", "balanced_rate"]

LEAST = 0.01
"""Nats added to each level's rate before shares are taken, so that they are numbers at a rate of nought."""


def rates_of(trace: Trace) -> tuple[Float[Tensor, "L K B"], tuple[int, ...]]:
    """KL of each level at each draw, nats, and the levels' dimensions.

    Raises:
        UsageError: if the posterior has no levels, or the prior is no normal.
    """
    if not isinstance(trace.q, Chain):
        raise UsageError(
            f"the posterior is a {type(trace.q).__name__}, which has no levels; use the recipe 'ladder'"
        )
    try:
        return trace.q.divergences(trace.pz, trace.z), trace.q.sizes
    except NotImplementedError:
        raise UsageError(
            f"the prior is a {type(trace.pz).__name__}; the rate of a level needs a standard normal one"
        ) from None


@dataclass(frozen=True)
class LevelRate:
    """KL(q(z_l given z_<l, x) ‖ p(z_l)) of one level, from 1 at the top: nats, the mean over draws and images."""

    level: int

    @property
    def __name__(self) -> str:
        return f"rate_of_level_{self.level}"

    def __call__(self, trace: Trace) -> Float[Tensor, ""]:
        rates, _ = rates_of(trace)
        return rates[self.level - 1].mean()


def balanced_rate(trace: Trace) -> Float[Tensor, ""]:
    """Σ γ_l·KL_l, where γ_l is a level's share of all nats for each dimension, brought to a mean of one: KL balancing.

    A level that carries more than others for its size pays more for it, and one that carries little pays little, so
    that none is given up early; no gradient goes through γ. Vahdat et al. (2018), arXiv:1802.04920, appendix H;
    Vahdat & Kautz (2020), arXiv:2007.03898, appendix A, where "proportional" to the size stands for inversely so (as
    the first author says in issue 26 of their code, and as that does).
    """
    rates, sizes = rates_of(trace)
    each = rates.mean((1, 2)).unbind(0)
    share = torch.stack([(rate.detach() + LEAST) / size for rate, size in zip(each, sizes, strict=True)])
    return (share / share.mean() * torch.stack(each)).sum()


balanced_rate.pools = True  # type: ignore[attr-defined]  # shares are the batch's
