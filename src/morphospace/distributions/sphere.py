"""Laws of unit vectors of R^D; densities are over the sphere's area, which for D = 3 is 4π in all."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Beta, Dirichlet
from torch.nn import functional as F

from morphospace.distributions.base import Law, closed_form, wide

__all__ = ["PowerSpherical", "UniformSphere", "VonMisesFisher", "log_bessel"]


class UniformSphere(Law):
    """The same density everywhere; ``like`` gives D, kind and device."""

    def __init__(self, like: Float[Tensor, " D"]) -> None:
        super().__init__(like)
        self._like = like

    @property
    def mean(self) -> Tensor:
        """The origin, which is the mean in R^D and no point of the sphere."""
        return torch.zeros_like(self._like)

    @property
    def variance(self) -> Tensor:
        return torch.full_like(self._like, 1 / self._like.shape[-1])

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return F.normalize(self._like.new_empty(*sample_shape, self._like.shape[-1]).normal_(), dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        return value.new_full(value.shape[:-1], -log_area(self._like.shape[-1]))


def log_area(dimensions: int) -> float:
    """log of the area of the unit sphere in R^D: 2·π^(D/2) / Γ(D/2)."""
    return math.log(2) + 0.5 * dimensions * math.log(math.pi) - math.lgamma(0.5 * dimensions)


class Axial(Law):
    """A law of unit vectors about an axis ``loc``, (*batch, D), that depends on t = loc·z alone.

    ``mean`` is the axis: the direction of the mean in R^D, and the intrinsic mean. ``stddev`` is that of the
    coordinates.
    """

    def __init__(self, loc: Float[Tensor, "*batch D"], concentration: Float[Tensor, "*batch"]) -> None:
        super().__init__(loc)
        self.loc, self.concentration, self.dimensions = loc, concentration, loc.shape[-1]

    def _heights(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Draws of t and of √(1 − t²), (*shape, *batch)."""
        raise NotImplementedError

    def _moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of t."""
        raise NotImplementedError

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        mean, variance = (moment.unsqueeze(-1) for moment in self._moments())
        across = (1 - variance - mean.square()) / (self.dimensions - 1)
        return variance * self.loc.square() + across * (1 - self.loc.square())

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        t, across = self._heights(tuple(sample_shape))
        aside = self.loc.new_empty(*t.shape, self.dimensions - 1).normal_()
        upright = torch.cat([t.unsqueeze(-1), across.unsqueeze(-1) * F.normalize(aside, dim=-1)], -1)
        # A reflection that takes the first axis to loc (De Cao & Aziz 2020, algorithm 1).
        first = torch.zeros_like(self.loc)
        first[..., 0] = 1
        mirror = F.normalize(first - self.loc, dim=-1)
        return upright - 2 * (upright * mirror).sum(-1, keepdim=True) * mirror


class PowerSpherical(Axial):
    """Density ∝ (1 + loc·z)^κ (De Cao & Aziz 2020, arXiv:2006.04437): drawn without rejection, gradients and all."""

    def _shape(self) -> tuple[Tensor, Tensor]:
        """α and β of the beta law of (1 + t)/2."""
        beta = torch.full_like(self.concentration, 0.5 * (self.dimensions - 1))
        return beta + self.concentration, beta

    def _heights(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        both = Dirichlet(torch.stack(self._shape(), -1), validate_args=False).rsample(torch.Size(shape))
        up, down = both.unbind(-1)  # (1 + t)/2 and (1 − t)/2, neither computed from the other
        return up - down, 2 * (up * down).clamp_min(1e-12).sqrt()

    def _moments(self) -> tuple[Tensor, Tensor]:
        alpha, beta = self._shape()
        total = alpha + beta
        return (alpha - beta) / total, 4 * alpha * beta / (total.square() * (total + 1))

    def _log_constant(self) -> Tensor:
        """Equation 5."""
        alpha, beta = self._shape()
        area = (alpha + beta) * math.log(2) + beta * math.log(math.pi)
        return torch.lgamma(alpha + beta) - torch.lgamma(alpha) - area

    def log_prob(self, value: Tensor) -> Tensor:
        t = (value * self.loc).sum(-1).clamp_min(-1 + 1e-6)
        return self._log_constant() + self.concentration * torch.log1p(t)

    def entropy(self) -> Tensor:
        """Equation 11."""
        alpha, beta = self._shape()
        mean_log = math.log(2) + torch.digamma(alpha) - torch.digamma(alpha + beta)
        return -self._log_constant() - self.concentration * mean_log


class VonMisesFisher(Axial):
    """Density ∝ e^(κ·loc·z), as the hyperspherical VAE has it (Davidson et al. 2018, arXiv:1804.00891).

    Heights are drawn by Wood's rejection (1994; the paper's algorithm 1) from a fixed number of proposals, so that
    nothing waits for an answer; their gradient is the implicit one, dt/dκ = −(∂F/∂κ) / p(t) with F the distribution
    function (Figurnov et al. 2018, arXiv:1805.08498), its integral taken with 64 nodes. It is of first order only.
    """

    proposals = (
        24  # each is taken with probability 0.65 or more (Wood 1994), so that all fail once in 10¹¹ draws
    )

    def _moments(self) -> tuple[Tensor, Tensor]:
        mean = self._wide_mean()
        variance = 1 - (self.dimensions - 1) * mean / wide(self.concentration) - mean.square()
        return mean.to(self.loc.dtype), variance.to(self.loc.dtype)

    def _wide_mean(self) -> Tensor:
        """The mean height in float64: it nears 1, and what is left to 1, times κ, is a part of the rate."""
        _, mean = log_bessel(0.5 * self.dimensions - 1, wide(self.concentration))
        return mean

    def _wide_constant(self) -> Tensor:
        """log of the density at the axis, in float64: a difference of numbers as large as κ."""
        order, kappa = 0.5 * self.dimensions - 1, wide(self.concentration)
        log_i, _ = log_bessel(order, kappa)
        return kappa + order * kappa.log() - 0.5 * self.dimensions * math.log(2 * math.pi) - log_i

    def log_prob(self, value: Tensor) -> Tensor:
        height = (value * self.loc).sum(-1)
        return (self._wide_constant() + self.concentration * (height - 1)).to(height.dtype)

    def entropy(self) -> Tensor:
        entropy = wide(self.concentration) * (1 - self._wide_mean()) - self._wide_constant()
        return entropy.to(self.loc.dtype)

    def _heights(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        t = self._drawn(shape)
        slope = self._slope(t)
        kappa = self.concentration
        t = t + slope * (kappa - kappa.detach())
        return t, (1 - t.square()).clamp_min(1e-12).sqrt()

    @torch.no_grad()
    def _drawn(self, shape: tuple[int, ...]) -> Tensor:
        kappa, rest = self.concentration, self.dimensions - 1
        b = rest / (2 * kappa + (4 * kappa.square() + rest**2).sqrt())
        x = (1 - b) / (1 + b)
        half = torch.full_like(kappa, 0.5 * rest)
        e = Beta(half, half, validate_args=False).sample(torch.Size((self.proposals, *shape)))
        t = (1 - (1 + b) * e) / (1 - (1 - b) * e)
        log_ratio = kappa * (t - x) + rest * (torch.log1p(-x * t) - torch.log1p(-x.square()))
        taken = log_ratio >= torch.rand_like(t).log()
        first = taken.to(torch.uint8).argmax(0, keepdim=True)
        return t.gather(0, first).squeeze(0)

    @torch.no_grad()
    def _slope(self, t: Tensor) -> Tensor:
        """dt/dκ at a fixed value of the distribution function."""
        nodes, weights = _quadrature(wide(t).dtype, t.device)
        narrow, t = t.dtype, wide(t).clamp(-1 + 1e-7, 1 - 1e-7).unsqueeze(-1)
        angle = torch.acos(t)
        theta = 0.5 * angle * (1 + nodes)  # from the axis to the draw
        mean = self._wide_mean().unsqueeze(-1)
        kappa = wide(self.concentration).unsqueeze(-1)
        power = (self.dimensions - 2) * (theta.sin().log() - angle.sin().log())
        density = torch.exp(kappa * (theta.cos() - t) + power) * angle.sin()
        return (0.5 * angle.squeeze(-1) * (weights * density * (theta.cos() - mean)).sum(-1)).to(narrow)


@cache
def _quadrature(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Gauss and Legendre's nodes on [−1, 1] and weights; kept, since a captured step can bring nothing to a device."""
    with torch.inference_mode(False):
        nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(64))
        return nodes.to(device, dtype), weights.to(device, dtype)


@closed_form(PowerSpherical, UniformSphere)
@closed_form(VonMisesFisher, UniformSphere)
def _from_entropy(q: PowerSpherical | VonMisesFisher, p: UniformSphere) -> Tensor:  # noqa: ARG001
    return log_area(q.dimensions) - q.entropy()


def log_bessel(
    order: float, x: Float[Tensor, "*batch"]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """log I_ν(x) and I_{ν+1}(x) / I_ν(x) of the modified Bessel function of the first kind, x > 0; both differentiable.

    Debye's expansion (DLMF 10.41.3) at an order of 25 or more, from which I_{ν−1} = I_{ν+1} + (2ν/x)·I_ν (DLMF
    10.29.1) leads
    down. The ratio is the exponential of a difference of numbers as large as x, so ask in float64.
    """
    steps = max(0, math.ceil(25 - order))
    log_i = _debye(order + steps, x)
    ratio = torch.exp(_debye(order + steps + 1, x) - log_i)
    for step in range(steps, 0, -1):
        lower = 2 * (order + step) / x + ratio  # I_{ν−1} / I_ν
        log_i, ratio = log_i + lower.log(), 1 / lower
    return log_i, ratio


def _debye(order: float, x: Tensor) -> Tensor:
    """log I_ν(x) for a large ν, by four terms of the expansion; the polynomials are those of DLMF 10.41.10."""
    z = x / order
    root = (1 + z.square()).sqrt()
    p = 1 / root
    u1 = (3 * p - 5 * p**3) / 24
    u2 = (81 * p**2 - 462 * p**4 + 385 * p**6) / 1152
    u3 = (30375 * p**3 - 369603 * p**5 + 765765 * p**7 - 425425 * p**9) / 414720
    series = torch.log1p(u1 / order + u2 / order**2 + u3 / order**3)
    eta = root + z.log() - torch.log1p(root)
    return order * eta - 0.5 * (2 * math.pi * order * root).log() + series
