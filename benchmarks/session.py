"""Subjects in processes of their own that take turns: A B A B in one session, so that all meet the same machine.

A subject's process stays from its first turn to its last; between its turns it waits for a line on its standard input
and does nothing. Both ends speak one JSON object a line.

The parent's end is `Subject`, the child's `Line`. A training loop that is not ours to write (Keras' ``fit``, pythae's
trainer, our own) is held by a `Pacer`, which every loop calls after each of its steps: there the loop waits for its
next turn, so that what is timed is the loop that a user runs, and not a copy of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

__all__ = ["Line", "Pacer", "Subject", "SubjectFailed", "take_turns"]

ROOT = Path(__file__).parent.parent

WARM_STEPS = 3
"""Steps before the first turn: the first pays for tracing, allocation and primitives, which no later one does."""
SETTLING_STEPS = 1
"""Steps at the start of each turn that are not counted: caches hold what the subject before left there."""


class SubjectFailed(Exception):
    """A subject's process ended before it was asked to; the message holds the end of what it said."""


# ---------------------------------------------------------------- the parent's end


class Subject:
    """A process that runs ``python -m benchmarks.subjects NAME TASK``, and the line to it.

    Attributes:
        spawned: when the process was begun, by `time.monotonic`.
    """

    def __init__(
        self, name: str, task: str, options: Mapping[str, Any], environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by `end`)
        command = [sys.executable, "-m", "benchmarks.subjects", name, task, json.dumps(options)]
        self.spawned = time.monotonic()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env=dict(environment),
            cwd=ROOT,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            SubjectFailed: if the process ended instead.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # answer() says why
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next thing that the process has to say."""
        assert self._process.stdout is not None
        text = self._process.stdout.readline()
        if not text:
            code = self._process.wait()
            self._said.seek(0)
            tail = "".join(self._said.readlines()[-15:])
            raise SubjectFailed(f"'{self.name}' ended with code {code} instead of answering:\n{tail}")
        answer: dict[str, Any] = json.loads(text)
        return answer

    def end(self) -> None:
        """Close the line, upon which the process ends."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._said.close()

    def __enter__(self) -> Subject:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def take_turns(
    names: Sequence[str], rounds: int, turn: Callable[[str, int], dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """``rounds`` times, every subject once; the order turns round after each round, so that none is always first."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for i in range(rounds):
        for name in names if i % 2 == 0 else reversed(names):
            found[name].append(turn(name, i))
    return found


# ---------------------------------------------------------------- the child's end


class Line:
    """The child's end: requests come by standard input, answers leave by what was standard output.

    Whatever libraries print goes to standard error instead.
    """

    def __init__(self, source: TextIO | None = None, sink: TextIO | None = None) -> None:
        self._source = source or sys.stdin
        if sink is None:
            sink = os.fdopen(os.dup(1), "w")
            os.dup2(2, 1)
        self._sink = sink

    def send(self, **answer: Any) -> None:
        self._sink.write(json.dumps(answer) + "\n")
        self._sink.flush()

    def receive(self) -> dict[str, Any]:
        """The next request; the process ends if there is none."""
        text = self._source.readline()
        if not text:
            raise SystemExit(0)
        request: dict[str, Any] = json.loads(text)
        return request


class Pacer:
    """Holds a training loop between its turns: the loop calls `step_done` after each of its steps.

    The first answer, after `WARM_STEPS` steps, holds the times (`time.monotonic`) at which these were done and what
    ``about`` tells. Then ``{"seconds": s}`` asks for at least s seconds of steps and is answered by their number and
    their exact time; ``{"do": name}`` asks for one of ``others``.
    """

    def __init__(
        self,
        line: Line,
        about: Callable[[], dict[str, Any]],
        others: Mapping[str, Callable[[], dict[str, Any]]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._line, self._about, self._others, self._clock = line, about, dict(others or {}), clock
        self._first: list[float] = []
        self._settling = 0
        self._seconds = 0.0
        self._begun: float | None = None
        self._steps = 0

    def step_done(self) -> None:
        """Note that the loop has done a step; wait here if its turn is over."""
        now = self._clock()
        if len(self._first) < WARM_STEPS:
            self._first.append(now)
            if len(self._first) == WARM_STEPS:
                self._wait({"first_steps": self._first, **self._about()})
        elif self._begun is None:
            self._settling -= 1
            if self._settling <= 0:
                self._begun, self._steps = self._clock(), 0
        else:
            self._steps += 1
            if now - self._begun >= self._seconds:
                self._wait({"steps": self._steps, "seconds": now - self._begun})

    def _wait(self, answer: dict[str, Any]) -> None:
        self._line.send(**answer)
        request = self._line.receive()
        while "do" in request:
            self._line.send(**self._others[request["do"]]())
            request = self._line.receive()
        self._seconds, self._settling, self._begun = request["seconds"], SETTLING_STEPS, None
