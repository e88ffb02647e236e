"""Distributions as torch has them, built for this use, and the divergence between two of them.

Torch's own classes serve: `Independent` sums ``log_prob`` over an event, `kl_divergence` knows the closed forms,
and ``register_kl`` adds one. Argument checks are switched off because they read every value back at every step.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

__all__ = ["Distribution", "divergence", "image_bernoulli", "image_normal", "normal"]


@runtime_checkable
class Distribution(Protocol):
    """What the model asks of a distribution; the names are torch's, so torch's and zuko's objects fit."""

    @property
    def mean(self) -> Tensor: ...
    @property
    def stddev(self) -> Tensor: ...
    def rsample(self, sample_shape: torch.Size) -> Tensor: ...
    def log_prob(self, value: Tensor) -> Tensor: ...


def normal(loc: Float[Tensor, "*batch D"], scale: Float[Tensor, "*batch D"]) -> Distribution:
    """A normal with independent latent dimensions; one event is a point of the space, shape (D,)."""
    return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)


def image_bernoulli(logits: Float[Tensor, "*batch C H W"]) -> Distribution:
    """Independent Bernoulli pixels; one event is an image, shape (C, H, W).

    ``log_prob`` of a grey value x in [0, 1] is the negative cross-entropy x·log p + (1 − x)·log(1 − p): the mean
    log-probability over binary images drawn with probabilities x. It is not a density on [0, 1]
    (Loaiza-Ganem & Cunningham 2019, arXiv:1907.06845).
    """
    return Independent(Bernoulli(logits=logits, validate_args=False), 3, validate_args=False)


def image_normal(loc: Float[Tensor, "*batch C H W"], scale: Float[Tensor, ...]) -> Distribution:
    """Independent normal pixels; one event is an image, shape (C, H, W)."""
    return Independent(Normal(loc, scale.expand_as(loc), validate_args=False), 3, validate_args=False)


def divergence(q: Distribution, p: Distribution, z: Float[Tensor, "K B D"]) -> Float[Tensor, "K B"]:
    """KL(q ‖ p) in nats for each image: in closed form where it is known, else log q(z) − log p(z) for each draw."""
    try:
        exact: Tensor = kl_divergence(q, p)  # type: ignore[arg-type]
    except NotImplementedError:
        return q.log_prob(z) - p.log_prob(z)
    return exact.expand(z.shape[:2])
