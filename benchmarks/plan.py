"""How much is measured, and how subjects are started."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.session import Subject

__all__ = ["PLANS", "RESULTS", "Plan", "Unequal", "environment", "options"]

RESULTS = Path(__file__).parent / "results"

NEEDS = {"keras": ("keras", "tensorflow"), "pythae": ("pythae",)}
"""Packages, beyond our own dependencies, that a subject needs."""


class Unequal(Exception):
    """Subjects that are to be compared do not do the same thing."""


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        name: full, quick or tiny.
        source: arguments of `morphospace.load`, see `benchmarks.study.images`.
        rounds: turns of each subject.
        seconds: length of a turn.
        starts: how often each subject is started to time its first result.
        single: calls with one image in each turn, for latencies.
        encoded: how many images the whole encoding is timed on.
        default_epochs: length of the default recipe's run whose memory is read; None for the recipe's own.
        curves: the runs that are made for seconds to an ELBO, a subject and its epochs (None: its own), one after
            another; without any, seconds are computed from the curves of the kept full plan. What follows an @ tells
            its short runs from its long ones.
        seed: of everything random.
        folder: where the results go.
        kept: where the results of the full plan are.
        only: the subjects whose curves are measured, where not all are.
    """

    name: str
    source: dict[str, Any]
    rounds: int
    seconds: float
    starts: int
    single: int
    encoded: int
    default_epochs: float | None
    curves: tuple[tuple[str, float | None], ...]
    seed: int = 0
    folder: Path = Path()
    kept: Path = RESULTS
    only: tuple[str, ...] = ()
    left_out: list[str] = field(default_factory=list, compare=False)

    def installed(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of the subjects whose packages are installed; the others are noted and named aloud."""
        found = []
        for name in names:
            if all(find_spec(package) for package in NEEDS.get(name.split(":")[0], ())):
                found.append(name)
            elif name not in self.left_out:
                self.left_out.append(name)
                self.say(f"NOT MEASURED: {name}, since it is not installed; pip install 'morphospace[bench]'")
        return tuple(found)

    def start(self, name: str, task: str, options: Mapping[str, Any]) -> Subject:
        """A subject in a process of its own."""
        return Subject(name, task, options, environment())

    def say(self, text: str) -> None:
        """Tell people how far it is; results go elsewhere."""
        print(text, file=sys.stderr, flush=True)


def options(module: str, words: str) -> argparse.ArgumentParser:
    """A parser whose help is what the module says of itself."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}", description=words, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def environment() -> dict[str, str]:
    """A subject's environment: threads as whoever began us set them, and waiting threads as each library has them.

    Compiled modules are kept, as they are for everybody else, or starting would be measured with the compiler in it.
    """
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "PYTHONDONTWRITEBYTECODE")}
    kept |= {"TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": "tensorflow", "PYTHONUNBUFFERED": "1"}
    return kept


FASHION = {"source": "fashion-mnist"}

PLANS = {
    "full": Plan(
        name="full",
        source=FASHION,
        rounds=9,
        seconds=4.0,
        starts=5,
        single=200,
        encoded=70_000,
        default_epochs=None,
        # The default again and again, between the long ones: its runs show how far the machine drifted meanwhile.
        curves=(
            ("morphospace:vae", None),
            ("morphospace:vae@3.5", 3.5),
            ("keras", 30),
            ("morphospace:vae", None),
            ("morphospace:vae@3.5", 3.5),
            ("morphospace:reference", None),
            ("morphospace:vae", None),
            ("morphospace:vae@3.5", 3.5),
        ),
    ),
    "quick": Plan(
        name="quick",
        source=FASHION,
        rounds=5,
        seconds=2.5,
        starts=3,
        single=100,
        encoded=70_000,
        default_epochs=1,
        curves=(),
    ),
    # Ends in a minute or three: shows that everything runs, and nothing about speed.
    "tiny": Plan(
        name="tiny",
        source={"source": "garments", "count": 1300},
        rounds=2,
        seconds=0.1,
        starts=1,
        single=3,
        encoded=1300,
        default_epochs=2,
        curves=(("keras", 1), ("morphospace:reference", 1), ("morphospace:vae", 2)),
    ),
}
