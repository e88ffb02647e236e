"""Objectives: a weighted sum of named terms; a term turns a trace into nats.

    Objective(distortion=1, rate=4)                      # β-VAE with β = 4
    Objective(distortion=1, rate=Ramp(0, 1, until=0.1))  # KL warm-up over the first tenth of the run
    Objective(distortion=1, rate=Cycle(0, 1, cycles=4))  # … four times over
    Objective(distortion=1, rate=During(1, start=0.3))   # no rate for the first three tenths of the run
    Objective(distortion=1, rate=Towards(25, 1000))      # the rate held near 25 nats
    Objective((10, Mmd()), distortion=1)                 # a term that has no fixed name, with its weight

Terms are reported raw, by name, apart from their weights, so no hidden scale can exist. Reductions happen once,
inside the term: summed over an event by the distribution, then the mean over draws and images.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from morphospace.model import Trace
from morphospace.types import UnknownName, UsageError

__all__ = [
    "TERMS",
    "Adversary",
    "Cycle",
    "During",
    "Objective",
    "Ramp",
    "Schedule",
    "Term",
    "Towards",
    "Weight",
    "distortion",
    "rate",
]

Term = Callable[[Trace], Tensor]
"""A pure function of a trace, giving a scalar: nats, wherever it is part of a bound.

Attributes that a term may have:
    draws: how many draws per image it needs; 1 if it does not say.
    pools: True if its value belongs to the batch as a whole and is no mean over images (a covariance, an MMD). Such a
        value estimates a property of the whole set, and a larger batch only estimates it better.
    random: True if it draws numbers of its own beside the trace's.
    unnormalised: why a model that was trained with it has no likelihood to speak of; evaluation refuses with it.
"""

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


@dataclass(frozen=True)
class Cycle:
    """A weight that goes from ``start`` to ``stop`` again and again, ``cycles`` times over the run.

    Each cycle climbs linearly for its first part ``rising`` and stays (Fu et al. 2019, arXiv:1903.10145, eq. 6).
    """

    start: float
    stop: float
    cycles: int = 4
    rising: float = 0.5

    def __call__(self, done: float) -> float:
        part = done * self.cycles % 1.0 if done < 1 else 1.0
        return Ramp(self.start, self.stop, self.rising)(part)


@dataclass(frozen=True)
class During:
    """A weight that counts from the part ``start`` of the run on and until ``stop``, and is nought elsewhere."""

    weight: float | Schedule
    start: float = 0.0
    stop: float = math.inf

    def __call__(self, done: float) -> float:
        return _at(self.weight, done) if self.start <= done < self.stop else 0.0


@dataclass(frozen=True)
class Towards:
    """In place of a weight: hold a term at a ``target`` by a loss of ``strength`` · |value − target|."""

    target: float | Schedule
    strength: float | Schedule


Weight = float | Schedule | Towards
"""What may stand before a term."""


class Objective(nn.Module):
    """A weighted sum of terms.

    Args:
        extra: further terms as (weight, term). A term is reported by its ``__name__``, or by its class's name in
            snake_case.
        named: weights of the terms in `TERMS`; a number, a `Schedule`, or `Towards` a level.

    Raises:
        UnknownName: for a name that is not in `TERMS`.
        UsageError: for two terms of one name, and for weights in a term that nothing would teach.
    """

    def __init__(self, *extra: tuple[Weight, Term], **named: Weight) -> None:
        super().__init__()
        for name in named:
            if name not in TERMS:
                raise UnknownName("term", name, TERMS)
        self.terms: dict[str, Term] = {name: TERMS[name] for name in named}
        self._weights: dict[str, Weight] = dict(named)
        for weight, term in extra:
            name = getattr(term, "__name__", None) or _snake_case(type(term).__name__)
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

    @property
    def unnormalised(self) -> str:
        """Why a model trained with this objective has no likelihood to speak of; empty where it has one."""
        reasons = [getattr(term, "unnormalised", "") for term in self.terms.values()]
        return "; ".join(dict.fromkeys(filter(None, reasons)))

    def forward(self, trace: Trace) -> dict[str, Float[Tensor, ""]]:
        """The raw value of every term."""
        return {name: term(trace) for name, term in self.terms.items()}

    def weights(self, done: float) -> dict[str, float]:
        """The weight of every term when the part ``done`` of the run, 0 to 1, lies behind.

        A term that is held at a level has its strength here, and the level under its name with ``_target``.
        """
        found = {}
        for name, weight in self._weights.items():
            if isinstance(weight, Towards):
                found[f"{name}_target"] = _at(weight.target, done)
            found[name] = _at(weight.strength if isinstance(weight, Towards) else weight, done)
        return found

    @property
    def scheduled(self) -> set[str]:
        """The names in `weights` whose value changes in the course of a run."""
        found = set()
        for name, weight in self._weights.items():
            strength = weight.strength if isinstance(weight, Towards) else weight
            found |= {name} if callable(strength) else set()
            found |= {f"{name}_target"} if isinstance(weight, Towards) and callable(weight.target) else set()
        return found

    @staticmethod
    def total(values: Mapping[str, Tensor], weights: Mapping[str, float | Tensor]) -> Tensor:
        """Σ weight · value, or strength · |value − target|. A weight of nought leaves its term out: no 0 · inf.

        A weight may be a tensor, which is not looked at: a step that a GPU has captured reads it anew each time.
        """
        parts = []
        for name, value in values.items():
            if isinstance(weights[name], Tensor) or weights[name] != 0:
                target = weights.get(f"{name}_target")
                parts.append(weights[name] * (value if target is None else (value - target).abs()))
        return sum(parts[1:], parts[0])


def _at(weight: float | Schedule, done: float) -> float:
    return float(weight(done) if callable(weight) else weight)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
