"""Normals of every covariance, their mixtures, and the point that is none."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution as TorchDistribution
from torch.distributions import Independent, MultivariateNormal, Normal

from morphospace.distributions.base import Distribution, Law, closed_form
from morphospace.types import UsageError

__all__ = ["Dirac", "LowRankNormal", "Mixture", "full_normal", "gumbel", "normal"]


def normal(loc: Float[Tensor, "*batch D"], scale: Float[Tensor, "*batch D"]) -> Distribution:
    """A normal with independent latent dimensions; one event is a point of the space, shape (D,)."""
    return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)


def full_normal(loc: Float[Tensor, "*batch D"], tril: Float[Tensor, "*batch D D"]) -> Distribution:
    """A normal with covariance L·Lᵀ, where L is lower triangular with a positive diagonal."""
    return MultivariateNormal(loc, scale_tril=tril, validate_args=False)


class LowRankNormal(Law):
    """A normal with covariance diag(v) + W·Wᵀ, with W (*batch, D, R); v > 0.

    Torch's own factors a matrix by a routine that reads back whether it worked; I + Wᵀ·v⁻¹·W always can be factored.
    """

    def __init__(
        self,
        loc: Float[Tensor, "*batch D"],
        variance: Float[Tensor, "*batch D"],
        factor: Float[Tensor, "*batch D R"],
    ) -> None:
        super().__init__(loc)
        self.loc, self.diagonal, self.factor = loc, variance, factor
        inner = (factor / variance.unsqueeze(-1)).mT @ factor
        eye = torch.eye(inner.shape[-1], dtype=inner.dtype, device=inner.device)
        self._tril = torch.linalg.cholesky_ex(inner + eye).L
        self._log_det = variance.log().sum(-1) + 2 * self._tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return self.diagonal + self.factor.square().sum(-1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        own = torch.randn(*sample_shape, *self.loc.shape, dtype=self.loc.dtype, device=self.loc.device)
        shape = (*sample_shape, *self.loc.shape[:-1], self.factor.shape[-1], 1)
        shared = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + self.diagonal.sqrt() * own + (self.factor @ shared).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        white = (value - self.loc) / self.diagonal
        inner = torch.linalg.solve_triangular(
            self._tril, (self.factor.mT @ white.unsqueeze(-1)), upper=False
        ).squeeze(-1)
        square = (white * (value - self.loc)).sum(-1) - inner.square().sum(-1)
        log_p: Tensor = -0.5 * (square + self._log_det + value.shape[-1] * math.log(2 * math.pi))
        return log_p

    def entropy(self) -> Tensor:
        nats: Tensor = 0.5 * (self._log_det + self.loc.shape[-1] * (1 + math.log(2 * math.pi)))
        return nats


@closed_form(LowRankNormal, Independent)
@closed_form(MultivariateNormal, Independent)
def _from_moments(q: LowRankNormal | MultivariateNormal, p: Independent[Any]) -> Tensor:
    """−H(q) − E_q log p, of which the second needs q's first two moments alone when p's dimensions are independent."""
    if not isinstance(p.base_dist, Normal):
        raise NotImplementedError
    loc, scale = p.base_dist.loc, p.base_dist.scale
    square = (q.variance + (q.mean - loc).square()) / scale.square()
    cross = 0.5 * (square + (2 * math.pi * scale.square()).log()).sum(-1)
    result: Tensor = cross - q.entropy()
    return result


class Mixture(Law):
    """Σ w_m·N(z; μ_m, Σ_m) over M components.

    Args:
        logits: of the weights, (M,).
        loc: (M, D).
        scale: standard deviations (M, D), or lower triangular factors (M, D, D).
    """

    def __init__(
        self, logits: Float[Tensor, " M"], loc: Float[Tensor, "M D"], scale: Float[Tensor, "M D *D"]
    ) -> None:
        super().__init__(loc[0])
        self.logits, self.loc, self.scale = logits.log_softmax(-1), loc, scale
        self._law = normal if scale.dim() == 2 else full_normal

    @property
    def mean(self) -> Tensor:
        return self.logits.exp() @ self.loc

    @property
    def variance(self) -> Tensor:
        own = self.scale.square() if self.scale.dim() == 2 else self.scale.square().sum(-1)
        return self.logits.exp() @ (own + (self.loc - self.mean).square())

    def _each(self, value: Tensor) -> Tensor:
        """log w_m + log p(z given m), (…, M)."""
        return self.logits + self._law(self.loc, self.scale).log_prob(value.unsqueeze(-2))

    def log_prob(self, value: Tensor) -> Tensor:
        return self._each(value).logsumexp(-1)

    def assignments(self, value: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch M"]:
        """The probability of each component at each point."""
        return self._each(value).softmax(-1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Gradients reach the components that were drawn, but not the choice among them."""
        chosen = (self.logits + gumbel(self.logits.expand(*sample_shape, -1))).argmax(-1)
        return self._law(self.loc[chosen], self.scale[chosen]).rsample(torch.Size())


def gumbel(like: Tensor) -> Tensor:
    """Standard Gumbel noise of the shape of ``like``: the largest of logits + noise is a draw from their softmax."""
    return -torch.empty_like(like, memory_format=torch.contiguous_format).exponential_().log()


class Dirac(Law):
    """All mass in one point ``loc``, (*batch, D): what an encoder without noise puts out.

    It has no density, so its divergence from any prior with one is infinite. Where a rate is asked for, nought is
    given: the objectives that use points have no rate, and are no bound on a likelihood.
    """

    def __init__(self, loc: Float[Tensor, "*batch D"]) -> None:
        super().__init__(loc)
        self.loc = loc

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return torch.zeros_like(self.loc)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.loc.expand(*sample_shape, *self.loc.shape)

    def log_prob(self, value: Tensor) -> Tensor:  # noqa: ARG002
        raise UsageError(
            "the encoder gives a point without spread, which has no density: this model has no likelihood, no ELBO and "
            "no importance weights. Use a recipe with a posterior, such as 'vae'"
        )


@closed_form(Dirac, TorchDistribution)
def _no_rate(q: Dirac, p: TorchDistribution) -> Tensor:  # noqa: ARG001
    return q.loc.new_zeros(q.loc.shape[:-1])
