"""The order in which people count: 2 before 10."""

from __future__ import annotations

import re

__all__ = ["natural"]

_NUMBER = re.compile(r"([0-9]+)")


def natural(name: str) -> tuple[tuple[str | tuple[int, str], ...], str]:
    """A sort key: numbers inside names by value, capitals as small letters; the name itself breaks ties."""
    parts = _NUMBER.split(name.casefold())  # text and numbers take turns, so like is compared with like
    return tuple(_value(p) if i % 2 else p for i, p in enumerate(parts)), name


def _value(digits: str) -> tuple[int, str]:
    # Compares as the number does, and has no limit on digits as int() has.
    significant = digits.lstrip("0")
    return len(significant), significant
