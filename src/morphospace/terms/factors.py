"""Distributions over independent dimensions, looked at one dimension at a time."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Independent, kl_divergence

from morphospace.distributions import Distribution
from morphospace.model import Trace
from morphospace.types import UsageError

__all__ = ["factors", "rate_of_each"]


def factors(distribution: Distribution, what: str) -> Distribution:
    """The same distribution with its dimensions apart: ``log_prob`` of points (…, D) is (…, D), not (…).

    Raises:
        UsageError: if its dimensions are not independent.
    """
    if not (isinstance(distribution, Independent) and distribution.reinterpreted_batch_ndims == 1):
        raise UsageError(
            f"the {what} is a {type(distribution).__name__}, whose dimensions are not independent; a term that looks "
            "at one dimension at a time needs a diagonal normal posterior and a standard normal prior"
        )
    apart: Distribution = distribution.base_dist
    return apart


def rate_of_each(trace: Trace) -> Float[Tensor, " D"]:
    """KL of each latent dimension, nats, the mean over images (and draws, where it has no closed form)."""
    q, p = factors(trace.q, "posterior"), factors(trace.pz, "prior")
    try:
        exact: Tensor = kl_divergence(q, p)  # type: ignore[arg-type]
    except NotImplementedError:
        return (q.log_prob(trace.z) - p.log_prob(trace.z)).mean((0, 1))
    return exact.mean(0)
