"""Progress for people: a bar on a terminal, plain lines elsewhere, nothing for work that is done in a moment."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from morphospace.types import Progress

__all__ = ["shown"]

PATIENCE = 2.0
"""Seconds that a stretch of work may take before a plain line says something of it."""
BETWEEN = 5.0
"""Seconds between two plain lines."""


@contextmanager
def shown() -> Iterator[Progress]:
    """A progress that writes to the error stream, so that what a command prints stays clean."""
    if sys.stderr.isatty():
        with _bars() as progress:
            yield progress
    else:
        yield _Lines()


class _Lines:
    """One line each few seconds, for logs."""

    def __init__(self) -> None:
        self.begun: dict[str, tuple[float, float]] = {}
        self.said: dict[str, float] = {}

    def __call__(
        self, what: str, done: float, total: float, figures: Mapping[str, float] | None = None
    ) -> None:
        now = time.monotonic()
        # What was done before, in a run that is resumed, says nothing of the speed now.
        begun, first = self.begun.setdefault(what, (now, done))
        said = self.said.setdefault(what, begun + PATIENCE - BETWEEN)
        ended = done >= total
        if ended:  # what comes again under this name is another stretch of work
            del self.begun[what], self.said[what]
        if now - said < BETWEEN and not (ended and said > begun):
            return
        if not ended:
            self.said[what] = now
        ending = f", {now - begun:.0f} s" if ended else ""
        if first < done < total:
            ending = f", {(now - begun) * (total - done) / (done - first):.0f} s left"
        numbers = "".join(f", {name} {value}" for name, value in _written(figures).items())
        print(f"{what}: {done:.0f} of {total:.0f}{numbers}{ending}", file=sys.stderr, flush=True)


@contextmanager
def _bars() -> Iterator[Progress]:
    """A bar for each stretch of work, with the time left and the figures."""
    from rich.console import Console
    from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    bars = Bars(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:3.0f} %"),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
    )
    tasks: dict[str, TaskID] = {}

    def progress(what: str, done: float, total: float, figures: Mapping[str, float] | None = None) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(what, figures="")
        task = tasks[what]
        if figures:
            bars.update(task, figures="  ".join(f"{k} {v}" for k, v in _written(figures).items()))
        bars.update(task, completed=done, total=total)

    with bars:
        yield progress


def _written(figures: Mapping[str, float] | None) -> dict[str, str]:
    """Figures as people read them: nats to a hundredth, speeds whole."""
    names = {"images_per_second": "images/s"}
    return {
        names.get(name, name): f"{value:,.0f}" if name.endswith("per_second") else f"{value:.2f}"
        for name, value in (figures or {}).items()
    }
