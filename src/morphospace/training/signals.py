"""SIGINT and SIGTERM ask a loop to stop at its next step; a second one stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StopFlag", "stop_flag"]


class StopFlag:
    """Truthy once a signal has asked for a stop."""

    def __init__(self) -> None:
        self.raised = False

    def __bool__(self) -> bool:
        return self.raised


@contextmanager
def stop_flag() -> Iterator[StopFlag]:
    """A flag that signals set while the block runs; the handlers before it come back afterwards."""
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag  # Python delivers signals to the main thread alone
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _frame: FrameType | None) -> None:
        flag.raised = True
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
