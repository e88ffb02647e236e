"""What an evaluation is made of: figures with their definitions and errors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

__all__ = ["Figure", "evenly", "mean_over_images"]


@dataclass(frozen=True)
class Figure:
    """One number, with what is needed to say what it is.

    Attributes:
        value: the number.
        definition: what it is, in the field's terms, with the source.
        unit: nats, bits, pixels squared and the like; empty for a pure number.
        error: the standard error of ``value``, or what else ``error_is`` says.
        error_is: what ``error`` and ``spread`` are.
        images: how many images it was taken over.
        draws: how many draws of z for each image, or how many samples.
        extra: further numbers that belong to it.
    """

    value: float
    definition: str
    unit: str = ""
    error: float | None = None
    error_is: str = ""
    images: int | None = None
    draws: int | None = None
    extra: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Without what is not known; a number that is not finite becomes null, as JSON has none."""
        record: dict[str, Any] = {"value": _finite(self.value), "definition": self.definition}
        optional = {
            "unit": self.unit,
            "error": None if self.error is None else _finite(self.error),
            "error_is": self.error_is,
            "images": self.images,
            "draws": self.draws,
            "extra": {name: _finite(value) for name, value in self.extra.items()},
        }
        return record | {name: value for name, value in optional.items() if value not in (None, "", {})}


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """Positions of at most ``most`` of ``count`` images, evenly spaced: the first of a sorted set are of one class."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def mean_over_images(values: Float[np.ndarray, " N"], definition: str, unit: str = "", **more: Any) -> Figure:
    """The mean of one value for each image, with its standard error sd/√N."""
    count = len(values)
    error = float(np.std(values, ddof=1) / math.sqrt(count)) if count > 1 else None
    return Figure(
        float(np.mean(values)),
        definition,
        unit,
        error,
        "standard error of the mean over images" if error is not None else "",
        count,
        **more,
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
