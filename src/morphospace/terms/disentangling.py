"""The rate taken apart, and what presses the aggregated posterior q(z) towards independent dimensions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from morphospace.model import Trace
from morphospace.terms.critics import Critic, mlp
from morphospace.terms.factors import factors

__all__ = [
    "CovarianceFromIdentity",
    "CovarianceOffDiagonal",
    "DimensionWiseKl",
    "MutualInformation",
    "TotalCorrelation",
    "TotalCorrelationCritic",
]

Estimator = Literal["stratified", "weighted"]


class Densities(NamedTuple):
    """Log densities of the draws, nats, (K, B): under their own posterior, under q(z), and under Π_d q(z_d)."""

    own: Tensor
    joint: Tensor
    product: Tensor


def aggregate(trace: Trace, estimator: Estimator) -> Densities:
    """log q(z) and Σ_d log q(z_d) of each draw, where q(z) is the mean of all N posteriors, from the batch's B of them.

    Chen et al. (2018), arXiv:1802.04942, appendix C. "weighted" gives each posterior of the batch 1/(B·N), which is
    biased. "stratified" gives the draw's own 1/N and the others together the rest, which estimates q(z) without bias;
    the paper puts the part that is left over on one of the others, here all share it evenly: the expectation is the
    same, the variance less, and the order of the batch does not matter. With N = B both hold the whole set, and
    "stratified" is exact.
    """
    z, batch = trace.z, len(trace.x)
    count = trace.images or batch
    # Draw i under the posterior of image j, one dimension at a time: (K, B, B, D).
    each = factors(trace.q, "posterior").log_prob(z.unsqueeze(2))
    if estimator == "weighted":
        log_share = z.new_full((batch, batch), -math.log(batch * count))
    else:
        own = torch.eye(batch, dtype=torch.bool, device=z.device)
        others = math.log(max(count - 1, 1) / (count * max(batch - 1, 1)))
        log_share = z.new_full((batch, batch), others).masked_fill(own, -math.log(count))
    return Densities(
        own=each.diagonal(dim1=1, dim2=2).sum(1),  # (K, D, B) -> (K, B)
        joint=(each.sum(-1) + log_share).logsumexp(2),
        product=(each + log_share.unsqueeze(-1)).logsumexp(2).sum(-1),
    )


@dataclass(frozen=True)
class OfAggregate(ABC):
    """A term of the densities that `aggregate` finds, by an ``estimator`` of q(z)."""

    estimator: Estimator = "stratified"
    pools = True

    def __call__(self, trace: Trace) -> Float[Tensor, ""]:
        return self.value(aggregate(trace, self.estimator), trace).mean()

    @abstractmethod
    def value(self, density: Densities, trace: Trace) -> Float[Tensor, "K B"]: ...


class MutualInformation(OfAggregate):
    """I(x; z) = E[log q(z given x) − log q(z)]: what the draws tell of which image they came from, nats."""

    def value(self, density: Densities, trace: Trace) -> Float[Tensor, "K B"]:  # noqa: ARG002
        return density.own - density.joint


class TotalCorrelation(OfAggregate):
    """TC = KL(q(z) ‖ Π_d q(z_d)): how far the dimensions are from independent of one another, nats."""

    def value(self, density: Densities, trace: Trace) -> Float[Tensor, "K B"]:  # noqa: ARG002
        return density.joint - density.product


class DimensionWiseKl(OfAggregate):
    """Σ_d KL(q(z_d) ‖ p(z_d)): how far each dimension is from the prior's, nats.

    I(x; z) + TC + this is the rate (Chen et al. 2018, arXiv:1802.04942, eq. 2), draw for draw.
    """

    def value(self, density: Densities, trace: Trace) -> Float[Tensor, "K B"]:
        return density.product - trace.pz.log_prob(trace.z)


class TotalCorrelationCritic(Critic):
    """TC by a critic that tells draws of q(z) from draws of Π_d q(z_d), whose dimensions are shuffled apart.

    Kim & Mnih (2018), arXiv:1802.05983, eq. 3 and algorithm 1; the critic has three layers of 256 in place of six of
    1000, which would cost more than the rest of the model.
    """

    def __init__(self, latent: int) -> None:
        super().__init__(mlp(latent))

    def pair(self, trace: Trace) -> tuple[Tensor, Tensor]:
        z = trace.z[0]
        order = torch.rand_like(z).argsort(0)  # a permutation of the batch for each dimension
        return z, z.gather(0, order)

    def forward(self, trace: Trace) -> Float[Tensor, ""]:
        """E log of the ratio that the critic has learned, with z from q(z): an estimate of TC in nats."""
        return self.log_ratio(trace.z[0]).mean()


@dataclass(frozen=True)
class CovarianceOffDiagonal:
    """Σ_{i≠j} Cov_ij², of the posteriors' means ("means") or of q(z) itself ("draws").

    Kumar et al. (2018), arXiv:1711.00848, eqs. 6 and 7: DIP-VAE-I takes the means, DIP-VAE-II adds the mean of the
    posteriors' covariances. The covariance is the batch's, with B − 1.
    """

    of: Literal["means", "draws"]
    pools = True

    def __call__(self, trace: Trace) -> Float[Tensor, ""]:
        covariance = _covariance(trace, self.of)
        return covariance.square().sum() - covariance.diagonal().square().sum()


@dataclass(frozen=True)
class CovarianceFromIdentity:
    """Σ_i (Cov_ii − 1)², of the same covariance as `CovarianceOffDiagonal`'s: no dimension dies, and none swells."""

    of: Literal["means", "draws"]
    pools = True

    def __call__(self, trace: Trace) -> Float[Tensor, ""]:
        return (_covariance(trace, self.of).diagonal() - 1).square().sum()


def _covariance(trace: Trace, of: Literal["means", "draws"]) -> Float[Tensor, "D D"]:
    mean = trace.q.mean
    centred = mean - mean.mean(0)
    covariance = centred.T @ centred / max(1, len(mean) - 1)
    if of == "draws":
        covariance = covariance + factors(trace.q, "posterior").stddev.square().mean(0).diag()
    return covariance
