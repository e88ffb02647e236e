"""A process that has imported one framework and done nothing: what the memory of the others is measured above."""

from __future__ import annotations

import importlib

from benchmarks.machine import peak_memory
from benchmarks.session import Line

__all__ = ["rest"]


def rest(line: Line, variant: str) -> None:
    """Import the framework that the variant names, and tell the memory that it took."""
    importlib.import_module(variant)
    line.send(mib=peak_memory())
    line.receive()
