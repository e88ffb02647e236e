"""Choices among categories as numbers of a latent space, and spaces put side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import kl_divergence

from morphospace.distributions.base import Distribution, Law, closed_form
from morphospace.distributions.normals import gumbel

__all__ = ["Concrete", "Joint", "OneHot"]


class _Choices(Law):
    """V choices among n categories each, as V·n numbers; ``mean`` is the probabilities.

    Args:
        logits: (*batch, V, n).
        temperature: of the relaxation.
    """

    def __init__(self, logits: Float[Tensor, "*batch V n"], temperature: float) -> None:
        super().__init__(logits.flatten(-2))
        self.logits, self.temperature = logits.log_softmax(-1), temperature

    @property
    def mean(self) -> Tensor:
        return self.logits.exp().flatten(-2)

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.mean)

    def _relaxed(self, shape: Any) -> Tensor:
        logits = self.logits.expand(*shape, *self.logits.shape)
        return ((logits + gumbel(logits)) / self.temperature).softmax(-1)

    def _unflat(self, value: Tensor) -> Tensor:
        return value.reshape(*value.shape[:-1], *self.logits.shape[-2:])


class OneHot(_Choices):
    """Draws are ones and noughts, so every figure is the discrete model's; gradients are those of the relaxed draw.

    That is the straight-through Gumbel-softmax (Jang et al. 2017, arXiv:1611.01144, section 2.2): exact values,
    gradients with a bias that grows as the temperature falls away from that of the choice.
    """

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        soft = self._relaxed(sample_shape)
        hard = (soft.argmax(-1, keepdim=True) == torch.arange(soft.shape[-1], device=soft.device)).to(soft)
        return (hard + (soft - soft.detach())).flatten(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        return (self._unflat(value) * self.logits).sum((-2, -1))


@closed_form(OneHot, OneHot)
def _categorical(q: OneHot, p: OneHot) -> Tensor:
    return (q.logits.exp() * (q.logits - p.logits)).sum((-2, -1))


class Concrete(_Choices):
    """Draws lie inside the simplex, with a density there (Maddison et al. 2017, arXiv:1611.00712, eq. 10).

    Its bound is that of a continuous model, at the temperature of both posterior and prior. ``mean`` is the
    probability that a category's number is the largest, which no temperature changes. The density is over n − 1 of the
    n numbers of a choice.
    """

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self._relaxed(sample_shape).flatten(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        n, t = self.logits.shape[-1], self.temperature
        log_y = self._unflat(value).clamp_min(torch.finfo(value.dtype).tiny).log()
        each = (self.logits - (t + 1) * log_y).sum(-1) - n * (self.logits - t * log_y).logsumexp(-1)
        return (each + math.lgamma(n) + (n - 1) * math.log(t)).sum(-1)


class Joint(Law):
    """Several laws side by side, independent of one another; a value is their values in a row."""

    def __init__(self, parts: Sequence[Distribution]) -> None:
        self.parts = tuple(parts)
        self.sizes = [part.mean.shape[-1] for part in parts]
        super().__init__(self.mean)

    @property
    def mean(self) -> Tensor:
        return torch.cat([part.mean for part in self.parts], -1)

    @property
    def stddev(self) -> Tensor:
        return torch.cat([part.stddev for part in self.parts], -1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return torch.cat([part.rsample(torch.Size(sample_shape)) for part in self.parts], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        values = value.split(self.sizes, -1)  # type: ignore[no-untyped-call]
        return torch.stack([p.log_prob(v) for p, v in zip(self.parts, values, strict=True)]).sum(0)


@closed_form(Joint, Joint)
def _sum(q: Joint, p: Joint) -> Tensor:
    pairs = zip(q.parts, p.parts, strict=True)
    each: list[Tensor] = [kl_divergence(a, b) for a, b in pairs]  # type: ignore[arg-type]
    return torch.stack(each).sum(0)
