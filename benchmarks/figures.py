"""What is made of measurements: medians with their spread, ratios within a round, when a curve passes a level."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

__all__ = ["percentile", "ratios", "seconds_to", "significant", "summary"]


def significant(value: float, digits: int = 5) -> float:
    """A number with as many digits as are worth keeping."""
    return float(f"{value:.{digits}g}")


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most.

    Raises:
        ValueError: if there are none.
    """
    if not values:
        raise ValueError("there are no values to sum up; expected at least one round")
    return {
        "median": significant(statistics.median(values)),
        "least": significant(min(values)),
        "most": significant(max(values)),
    }


def ratios(values: Sequence[float], to: Sequence[float]) -> dict[str, float]:
    """Median and spread of the ratios within each round: what slows a whole round slows both and cancels."""
    return summary([a / b for a, b in zip(values, to, strict=True)])


def percentile(values: Sequence[float], part: float) -> float:
    """The value that ``part`` (0 to 1) of the values do not exceed: the ⌈part·n⌉-th smallest."""
    ordered = sorted(values)
    rank = math.ceil(part * len(ordered) - 1e-9)  # 0.95 · 20 is a little more than 19 in binary
    return ordered[max(rank, 1) - 1]


def seconds_to(level: float, curve: Sequence[dict[str, Any]], x: str = "seconds") -> float | None:
    """When a curve of test −ELBO first passes down through ``level``: between two points on a straight line.

    Args:
        level: nats per image.
        curve: points in order, each with ``neg_elbo`` and ``x``; with ``anew`` where another encoder took the first
            one's place since the point before, so that no line leads here: then it is the point's own time.
        x: what is counted, "seconds" or "epoch".

    Returns:
        None if no point is at the level or below. If the first point is already there, its own time: nothing is known
        of what lies before it.
    """
    before: dict[str, Any] | None = None
    for point in curve:
        if point["neg_elbo"] <= level:
            if before is None or point.get("anew"):
                return float(point[x])
            part = (before["neg_elbo"] - level) / (before["neg_elbo"] - point["neg_elbo"])
            return float(before[x] + part * (point[x] - before[x]))
        before = point
    return None
