"""Ways between two places: their kinds, their scores, and which is best.

    straight      the straight line of the coordinates; on a sphere or in the Poincaré ball, the manifold's own geodesic
    great-circle  direction along a great circle about the origin, distance from the origin evenly (White 2016)
    geodesic      least length in image space
    clear         least length of which, before all else, the least lies in holes: goes round them
    dense         least ∫ ds / q(z)^(2/D): stays where the data are
    recognisable  least ∫ (ε + 1 − r) ds, r the probability of the likeliest class: stays where pictures show something

ds is length in image space: root summed squares of pixel values. A `Ground` knows such things of one space; this module
only asks it. All ways are strings of points spaced evenly by image-space length, so that a film moves at
constant speed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from morphospace.atlas.measures import HOLE
from morphospace.manifolds import Sphere
from morphospace.types import UnknownName, UsageError

__all__ = ["FRAMES", "HOLE", "KINDS", "POINTS", "Ground", "Scores", "Way", "best", "great_circle", "scored"]

KINDS = ("straight", "great-circle", "geodesic", "clear", "dense", "recognisable")
POINTS = 129
"""Of every way; shares of a way are shares of these."""
FRAMES = 33
"""Every fourth of the points is decoded, to see how even the steps between pictures are."""
DOUBT = 0.02
"""ε: what length costs `recognisable` where the classifier is certain, so that it takes no detours for nothing."""
AS_RECOGNISABLE = 0.05
"""Ways whose least recognisable pictures differ by less count as equally recognisable."""
AS_SHORT = 1e-3
"""Ways whose lengths differ by a smaller part count as equally short, and the plainer one is taken."""

Decode = Callable[[Float[np.ndarray, "N D"]], Float[np.ndarray, "N C H W"]]


@runtime_checkable
class Ground(Protocol):
    """What ways through one space need to know of it. None stands for what is not known there."""

    @property
    def kinds(self) -> tuple[str, ...]: ...

    def refusal(self, kind: str) -> str | None:
        """Why there is no way of this kind here, in words; None where there is."""

    def ways(
        self, kind: str, pairs: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]
    ) -> NDArray[np.float64]:
        """(B, POINTS, D) the way between each two places, evenly spaced."""

    def lengths(self, ways: Float[np.ndarray, "B P D"]) -> NDArray[np.float64]:
        """(B, P − 1) lengths of segments in image space."""

    def holes(self, z: Float[np.ndarray, "N D"]) -> Bool[np.ndarray, " N"] | None: ...
    def recognised(self, z: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " N"] | None: ...
    def nearest(self, z: Float[np.ndarray, "N D"]) -> Sequence[str]: ...
    def decode(self, z: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N C H W"]: ...


@dataclass(frozen=True)
class Scores:
    """What a way is like.

    Attributes:
        length: ∫ ds in image space, root summed squares of pixel values.
        energy: ∫ |ds/dt|² dt for t from 0 to 1 as the points are spaced; at constant speed the length squared.
        in_holes: the share of its points where q(z) < 0.1·p(z); None where that is not known.
        recognised: the least probability, along it, that the classifier gives to its likeliest class; None without one.
        classes: where on the way (from 0 to 1) it enters which class.
        smoothness: the largest step between neighbouring pictures over the mean step; 1 is perfectly even.
    """

    length: float
    energy: float
    in_holes: float | None
    recognised: float | None
    classes: tuple[tuple[float, str], ...]
    smoothness: float

    def record(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            "length": round(self.length, 4),
            "energy": round(self.energy, 4),
            "in_holes": None if self.in_holes is None else round(self.in_holes, 5),
            "recognised": None if self.recognised is None else round(self.recognised, 4),
            "classes": [{"from": round(x, 4), "class": name} for x, name in self.classes],
            "smoothness": round(self.smoothness, 4),
        }


@dataclass(frozen=True, eq=False)
class Way:
    """One way: its kind, its points (POINTS, D), and its scores."""

    kind: str
    z: NDArray[np.float64]
    scores: Scores


def scored(
    ground: Ground, kind: str, pairs: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]
) -> list[Way]:
    """The ways of one kind between pairs of places, with their scores.

    Raises:
        UnknownName: for a kind that does not exist.
        UsageError: for a kind that this ground has not, in words.
    """
    if kind not in KINDS:
        raise UnknownName("kind of path", kind, (*KINDS, "best"))
    refused = ground.refusal(kind)
    if refused is not None:
        raise UsageError(refused)
    z = ground.ways(kind, pairs)
    count, flat = len(z), z.reshape(-1, z.shape[-1])
    lengths = ground.lengths(z)
    holes, seen, names = ground.holes(flat), ground.recognised(flat), ground.nearest(flat)
    every = (z.shape[1] - 1) // (FRAMES - 1)
    frames = z[:, ::every]
    pictures = ground.decode(frames.reshape(-1, z.shape[-1])).reshape(count, frames.shape[1], -1)
    steps = np.linalg.norm(np.diff(pictures, axis=1), axis=2)
    found = []
    for row in range(count):
        own = slice(row * z.shape[1], (row + 1) * z.shape[1])
        found.append(
            Way(
                kind,
                z[row],
                Scores(
                    length=float(lengths[row].sum()),
                    energy=float(np.square(lengths[row]).sum() * lengths.shape[1]),
                    in_holes=None if holes is None else float(holes[own].mean()),
                    recognised=None if seen is None else float(seen[own].min()),
                    classes=_crossed(names[own]),
                    smoothness=float(steps[row].max() / steps[row].mean()) if steps[row].any() else 1.0,
                ),
            )
        )
    return found


def _crossed(names: Sequence[str]) -> tuple[tuple[float, str], ...]:
    """Where on the way each class begins: half way between the last point of one and the first of the next."""
    last, found, at = max(len(names) - 1, 1), [], 0
    for name, run in groupby(names):
        found.append((max(at - 0.5, 0) / last, name))
        at += len(list(run))
    return tuple(found)


def best(ways: Mapping[str, Way]) -> tuple[str, str]:
    """The best of some ways between the same places, and why.

    The rule: the fewest points in holes; of equal ones the highest least recognisability, where differences below
    `AS_RECOGNISABLE` do not count; of equal ones the shortest in image space, where differences below the part
    `AS_SHORT` do not count; of equal ones the first of `KINDS`. What is not known decides nothing.
    """
    left, reasons = list(ways.values()), []
    holes = [way.scores.in_holes for way in left]
    if len(left) > 1 and None not in holes:
        least = min(h for h in holes if h is not None)
        kept = [
            way
            for way, share in zip(left, holes, strict=True)
            if share is not None and share <= least + 1e-12
        ]
        most = max(h for h in holes if h is not None)
        head = "no point in a hole" if least == 0 else f"the fewest points in holes, {_percent(least)}"
        if len(kept) < len(left):
            head += f" (others up to {_percent(most)})"
        left, reasons = kept, [head]
    seen = [way.scores.recognised for way in left]
    if len(left) > 1 and None not in seen:
        highest = max(r for r in seen if r is not None)
        kept = [
            way for way, r in zip(left, seen, strict=True) if r is not None and r >= highest - AS_RECOGNISABLE
        ]
        if len(kept) < len(left):
            worst = min(r for r in seen if r is not None)
            reasons.append(
                f"of these recognisable throughout (least {highest:.2f}; others down to {worst:.2f})"
            )
        left = kept
    shortest = min(way.scores.length for way in left)
    chosen = next(way for way in left if way.scores.length <= shortest * (1 + AS_SHORT))
    if len(left) > 1:
        others = ", ".join(f"{way.kind} {way.scores.length:.2f}" for way in left if way is not chosen)
        reasons.append(f"of these the shortest in image space ({chosen.scores.length:.2f}; {others})")
    return chosen.kind, f"{chosen.kind}: " + ("; ".join(reasons) or "the only way there is")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def great_circle(a: NDArray[np.float64], b: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(count, D) points: the direction from the origin turns evenly along a great circle, the distance grows evenly.

    White (2016, arXiv:1609.04468) interpolates so, because a prior's draws lie near a sphere about the origin.

    Raises:
        UsageError: where no great circle is the shortest, or there is none: opposite directions, the origin, one
            dimension.
    """
    radii = np.linalg.norm([a, b], axis=1)
    if len(a) < 2 or radii.min() < 1e-9 or np.linalg.norm(a / radii[0] + b / radii[1]) < 1e-6:
        raise UsageError(
            "between these places there is no one great circle: they lie opposite each other about the origin, or at it"
        )
    t = torch.linspace(0, 1, count, dtype=torch.float64)[:, None]
    x, y = (torch.from_numpy(np.asarray(p, np.float64) / r) for p, r in zip((a, b), radii, strict=True))
    turned = Sphere().geodesic(x.expand(count, -1), y.expand(count, -1), t) * (
        radii[0] + t * (radii[1] - radii[0])
    )
    found: NDArray[np.float64] = turned.numpy()
    found[0], found[-1] = a, b
    return found
