"""What the model asks of a distribution, the ground of those that torch lacks, and the divergence between two."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution as TorchDistribution
from torch.distributions import kl_divergence, register_kl

__all__ = ["Distribution", "InParts", "Law", "closed_form", "divergence", "wide"]

Rule = TypeVar("Rule", bound=Callable[..., Tensor])


@runtime_checkable
class Distribution(Protocol):
    """What the model asks of a distribution; the names are torch's, so torch's and zuko's objects fit."""

    @property
    def mean(self) -> Tensor: ...
    @property
    def stddev(self) -> Tensor: ...
    def rsample(self, sample_shape: torch.Size) -> Tensor: ...
    def log_prob(self, value: Tensor) -> Tensor: ...


@runtime_checkable
class InParts(Protocol):
    """A law whose divergence is known part by part, each at the draws of the parts before it."""

    def divergences(self, p: Distribution, z: Float[Tensor, "K B D"]) -> Float[Tensor, "L K B"]: ...


class Law(TorchDistribution):
    """The ground of our own distributions: torch's, so that ``register_kl`` and ``stddev`` work, and unchecked.

    ``value`` is the tensor that a shape and a device are taken from: one parameter, (*batch, *event).
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, value: Tensor, event: int = 1) -> None:
        batch = value.dim() - event
        super().__init__(value.shape[:batch], value.shape[batch:], validate_args=False)
        self._graph = torch.is_grad_enabled()

    def as_made(self) -> AbstractContextManager[None]:
        """For what is computed only when it is asked for: without a graph, if the law was made without one.

        A law that was made for looking at (``no_grad``, ``inference_mode``) then stays so outside of that block.
        """
        return torch.set_grad_enabled(self._graph and torch.is_grad_enabled())


def divergence(q: Distribution, p: Distribution, z: Float[Tensor, "K B D"]) -> Float[Tensor, "K B"]:
    """KL(q ‖ p) in nats for each image: in closed form where it is known, else log q(z) − log p(z) for each draw.

    Between the two, laws in parts have the closed form of each part, given the draws of those before it.
    """
    try:
        if isinstance(q, InParts):
            return q.divergences(p, z).sum(0)
        exact: Tensor = kl_divergence(q, p)  # type: ignore[arg-type]
    except NotImplementedError:
        return q.log_prob(z) - p.log_prob(z)
    return exact.expand(z.shape[:2])


def closed_form(q: type[TorchDistribution], p: type[TorchDistribution]) -> Callable[[Rule], Rule]:
    """Register a function (q, p) -> KL(q ‖ p) in nats for these two classes; it may raise NotImplementedError."""
    register: Callable[[Rule], Rule] = register_kl(q, p)  # type: ignore[no-untyped-call]
    return register


def wide(values: Tensor) -> Tensor:
    """In float64, where the device has it: Apple's GPUs have not."""
    return values if values.device.type == "mps" else values.double()
