"""All pairs of classes at once: every kind of way between them, the best of each, and how the kinds compare."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from morphospace.morphing.places import Place, locate
from morphospace.morphing.ways import KINDS, Ground, Way, best, scored
from morphospace.space import Space
from morphospace.types import Progress, UsageError, silent

__all__ = ["Matrix", "Pair", "all_pairs"]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two places, the ways between them by kind, which of these is the best, and why."""

    start: Place
    end: Place
    ways: Mapping[str, Way]
    best: str
    why: str


@dataclass(frozen=True, eq=False)
class Matrix:
    """The ways between every two of some places.

    Attributes:
        places: in order.
        pairs: one for each two of them, in the order of `itertools.combinations`.
        refused: kinds that there are not here, and why.
        seconds: what each kind took, its scores included; "best" is the choice among them.
    """

    places: tuple[Place, ...]
    pairs: tuple[Pair, ...]
    refused: Mapping[str, str]
    seconds: Mapping[str, float]

    def summary(self) -> dict[str, dict[str, float | None]]:
        """Of each kind and of "best", over the pairs: shares in holes (mean, worst), recognisability, length."""
        kinds = {kind: [pair.ways[kind] for pair in self.pairs] for kind in self.pairs[0].ways}
        kinds["best"] = [pair.ways[pair.best] for pair in self.pairs]
        return {kind: _summed(ways) for kind, ways in kinds.items()}

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "places": [place.name for place in self.places],
            "summary": self.summary(),
            "seconds": {kind: round(value, 3) for kind, value in self.seconds.items()},
            "refused": dict(self.refused),
            "pairs": [
                {
                    "start": pair.start.name,
                    "end": pair.end.name,
                    "best": pair.best,
                    "why": pair.why,
                    "paths": {kind: way.scores.record() for kind, way in pair.ways.items()},
                }
                for pair in self.pairs
            ],
        }


def _summed(ways: Sequence[Way]) -> dict[str, float | None]:
    holes = [way.scores.in_holes for way in ways]
    seen = [way.scores.recognised for way in ways]
    known_holes = [h for h in holes if h is not None]
    known_seen = [r for r in seen if r is not None]
    return {
        "in_holes": round(float(np.mean(known_holes)), 5) if known_holes else None,
        "in_holes_worst": round(max(known_holes), 5) if known_holes else None,
        "paths_through_holes": sum(h > 0 for h in known_holes) if known_holes else None,
        "recognised_least": round(min(known_seen), 4) if known_seen else None,
        "recognised_mean": round(float(np.mean(known_seen)), 4) if known_seen else None,
        "length": round(float(np.mean([way.scores.length for way in ways])), 4),
        "energy": round(float(np.mean([way.scores.energy for way in ways])), 4),
        "smoothness_worst": round(max(way.scores.smoothness for way in ways), 4),
    }


def all_pairs(space: Space, ground: Ground, progress: Progress = silent) -> Matrix:
    """Every kind of way between every two classes (or clusters), each kind for all pairs together.

    Raises:
        UsageError: for a space with fewer than two classes or clusters.
    """
    places = tuple(locate(space, name) for name in space.prototypes.names)
    if len(places) < 2:
        raise UsageError("there are no two classes or clusters to go between; name two image files")
    couples = list(combinations(places, 2))
    ends = [(a.z.astype(np.float64), b.z.astype(np.float64)) for a, b in couples]
    found: dict[str, list[Way]] = {}
    refused: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for done, kind in enumerate(KINDS):
        progress(f"{kind} paths between {len(couples)} pairs", done, len(KINDS))
        begun = time.perf_counter()
        try:
            found[kind] = scored(ground, kind, ends)
        except UsageError as error:
            refused[kind] = str(error)
            continue
        seconds[kind] = time.perf_counter() - begun
    progress("choosing the best paths", len(KINDS), len(KINDS))
    pairs = []
    for row, (a, b) in enumerate(couples):
        ways = {kind: each[row] for kind, each in found.items()}
        chosen, why = best(ways)
        pairs.append(Pair(a, b, ways, chosen, why))
    return Matrix(places, tuple(pairs), refused, seconds)
