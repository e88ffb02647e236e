"""Objectives: a weighted sum of named terms; a term turns a trace into nats.

    Objective(distortion=1, rate=4)                      # β-VAE with β = 4
    Objective(distortion=1, rate=Ramp(0, 1, until=0.1))  # KL warm-up over the first tenth of the run

Terms are reported raw, by name, apart from their weights, so no hidden scale can exist. Reductions happen once,
inside the term: summed over an event by the distribution, then the mean over draws and images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from morphospace.model import Trace
from morphospace.types import UnknownName, UsageError

__all__ = ["TERMS", "Adversary", "Objective", "Ramp", "Schedule", "Term", "distortion", "rate"]

Term = Callable[[Trace], Tensor]
"""A pure function of a trace, giving a scalar in nats. An attribute ``draws`` asks for more than one draw."""

Schedule = Callable[[float], float]
"""The weight of a term as a function of the part of the run that is done, from 0 to 1."""


@runtime_checkable
class Adversary(Protocol):
    """A term with a critic of its own, which learns by ``critic_loss`` on what the model just made."""

    def __call__(self, trace: Trace) -> Tensor: ...
    def critic_loss(self, trace: Trace) -> Tensor: ...


def distortion(trace: Trace) -> Float[Tensor, ""]:
    """−log p(x given z): the mean over draws and images."""
    return trace.distortion.mean()


def rate(trace: Trace) -> Float[Tensor, ""]:
    """KL(q(z given x) ‖ p(z)): the mean over images (and draws, where it has no closed form)."""
    return trace.rate.mean()


TERMS: dict[str, Term] = {"distortion": distortion, "rate": rate}
"""The terms that an objective knows by name."""


@dataclass(frozen=True)
class Ramp:
    """A weight that goes linearly from ``start`` to ``stop`` over the first part ``until`` of the run."""

    start: float
    stop: float
    until: float

    def __call__(self, done: float) -> float:
        part = 1.0 if self.until <= 0 else min(done / self.until, 1.0)
        return self.start + (self.stop - self.start) * part


class Objective(nn.Module):
    """A weighted sum of terms.

    Args:
        extra: further terms as (weight, term); they are reported by the term's ``__name__``, or its class's.
        named: weights of the terms in `TERMS`; a number or a `Schedule`.

    Raises:
        UnknownName: for a name that is not in `TERMS`.
        UsageError: for two terms of one name, and for weights in a term that nothing would teach.
    """

    def __init__(self, *extra: tuple[float | Schedule, Term], **named: float | Schedule) -> None:
        super().__init__()
        for name in named:
            if name not in TERMS:
                raise UnknownName("term", name, TERMS)
        self.terms: dict[str, Term] = {name: TERMS[name] for name in named}
        self._weights: dict[str, float | Schedule] = dict(named)
        for weight, term in extra:
            name = getattr(term, "__name__", type(term).__name__)
            if name in self.terms:
                raise UsageError(
                    f"two terms are called '{name}'; give one another __name__, as both are reported by it"
                )
            self.terms[name], self._weights[name] = term, weight
        # Terms with parameters (critics) are registered, so that checkpoints and devices know of them.
        self.parts = nn.ModuleDict({n: t for n, t in self.terms.items() if isinstance(t, nn.Module)})
        for name, part in self.parts.items():
            if not isinstance(part, Adversary) and any(p.requires_grad for p in part.parameters()):
                raise UsageError(
                    f"the term '{name}' has weights that nothing teaches; give it a critic_loss or freeze them"
                )

    @property
    def draws(self) -> int:
        """How many draws per image the terms ask for."""
        return max((int(getattr(term, "draws", 1)) for term in self.terms.values()), default=1)

    @property
    def adversaries(self) -> list[Adversary]:
        return [term for term in self.terms.values() if isinstance(term, Adversary)]

    def forward(self, trace: Trace) -> dict[str, Float[Tensor, ""]]:
        """The raw value of every term, in nats."""
        return {name: term(trace) for name, term in self.terms.items()}

    def weights(self, done: float) -> dict[str, float]:
        """The weight of every term when the part ``done`` of the run, 0 to 1, lies behind."""
        return {name: float(w(done) if callable(w) else w) for name, w in self._weights.items()}

    @property
    def scheduled(self) -> set[str]:
        """The names in `weights` whose value changes in the course of a run."""
        return {name for name, weight in self._weights.items() if callable(weight)}

    @staticmethod
    def total(values: Mapping[str, Tensor], weights: Mapping[str, float | Tensor]) -> Tensor:
        """Σ weight · value. A weight of nought leaves its term out, so that 0 · inf is not nan.

        A weight may be a tensor, which is not looked at: a step that a GPU has captured reads it anew each time.
        """
        parts = [w * value for name, value in values.items() if isinstance(w := weights[name], Tensor) or w != 0]
        return sum(parts[1:], parts[0])
