"""How fast a function of many images is, and how long one image takes: the loop that all inference is timed in."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.session import Line

__all__ = ["MANY", "Call", "answer_calls"]

Call = Callable[[int, int], object]
"""Works on the inputs from one position to another."""
MANY = 10_000
"""Inputs in one call when many are worked on."""


def answer_calls(
    line: Line, calls: Mapping[str, tuple[Call, Call]], count: int, about: Mapping[str, Any]
) -> None:
    """Answer requests for as long as they come; each call is made once before the first answer.

    A request names one of ``calls``, each a function for many inputs and one for a single input. With ``seconds`` and
    ``single`` it asks for as many calls with `MANY` inputs as fit, and for ``single`` calls with one input; with
    ``count``, for one call with so many inputs.
    """
    many = min(MANY, count)
    for whole, one in calls.values():
        whole(0, many)
        one(0, 1)
    line.send(**about)
    while True:
        request = line.receive()
        whole, one = calls[request["do"]]
        if "count" in request:
            line.send(seconds=_timed(whole, 0, request["count"]))
            continue
        whole(0, min(many, 1024))  # not counted: caches hold what the subject before left there
        begun, done = time.perf_counter(), 0
        while done == 0 or time.perf_counter() - begun < request["seconds"]:
            whole(0, many)
            done += many
        seconds = time.perf_counter() - begun
        one(0, 1)
        singles = [_timed(one, i % count, i % count + 1) for i in range(request["single"])]
        line.send(inputs=done, seconds=seconds, singles=singles)


def _timed(call: Call, start: int, stop: int) -> float:
    begun = time.perf_counter()
    call(start, stop)
    return time.perf_counter() - begun
