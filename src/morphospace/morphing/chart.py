"""The ground of a space of two dimensions: its atlas, on which the cheapest of all ways can be found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from morphospace.atlas import Atlas
from morphospace.morphing.fields import Field, respaced
from morphospace.morphing.graph import NODES, GridGraph, Tree
from morphospace.morphing.refine import refined
from morphospace.morphing.ways import DOUBT, HOLE, KINDS, POINTS, Decode, great_circle
from morphospace.types import UsageError

__all__ = ["Chart"]

DEAR = 1000.0
"""How many steps round a hole a `clear` way takes rather than one through it: any detour that a map has room for."""

THINNEST = 1e-6
"""Of the highest density: what 1/q is taken of where there are no data at all."""


@dataclass(eq=False)
class Chart:
    """Ways through an atlas. Graphs and trees are kept: one tree leads from one place to all others.

    Args:
        atlas: with its metric; without its recognition there is no `recognisable` way.
        decode: points (N, 2) to images.
    """

    atlas: Atlas
    decode: Decode
    _fields: dict[str, Field] = field(default_factory=dict)
    _graphs: dict[tuple[str, int], GridGraph] = field(default_factory=dict)
    _trees: dict[tuple[str, int], Tree] = field(default_factory=dict)

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(kind for kind in KINDS if self.refusal(kind) is None)

    def refusal(self, kind: str) -> str | None:
        """Only what a classifier would have to see is ever missing."""
        if kind == "recognisable" and self.atlas.recognition is None:
            return (
                "a recognisable path needs a classifier of the run's classes, and this map was made without one; "
                "bring the run's images (--data-root), or choose another path"
            )
        return None

    def field(self, kind: str) -> Field:
        """What steps cost a way of some kind; for those that minimise nothing, their length."""
        if kind not in self._fields:
            grid, metric = self.atlas.grid, self.atlas.metric
            if metric is None:
                raise UsageError("this map has no metric, which paths need; make it with parts=('metric',)")
            weight = None
            if kind == "clear":
                weight = np.where(self.atlas.posterior < HOLE * self.atlas.prior, DEAR, 1.0)
            elif kind == "dense":
                q = self.atlas.posterior / self.atlas.posterior.max()
                weight = 1 / np.maximum(q, THINNEST)
            elif kind == "recognisable":
                assert self.atlas.recognition is not None
                weight = DOUBT + 1 - self.atlas.recognition.max(0)
            self._fields[kind] = Field(grid.x, grid.y, metric, weight)
        return self._fields[kind]

    def ways(
        self, kind: str, pairs: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]
    ) -> NDArray[np.float64]:
        """(B, POINTS, 2) the way between each two places, evenly spaced by image-space length.

        Raises:
            UsageError: for places outside the map.
        """
        ends = np.asarray(pairs, dtype=np.float64).reshape(-1, 2)
        outside = self.atlas.grid.outside(ends)
        if outside.any():
            x, y = ends[outside.argmax()]
            low, high = self.atlas.grid.low, self.atlas.grid.high
            raise UsageError(
                f"the point ({x:.2f}, {y:.2f}) lies outside the map, which reaches from "
                f"({low[0]:.2f}, {low[1]:.2f}) to ({high[0]:.2f}, {high[1]:.2f}): there are no data anywhere near"
            )
        if kind in ("straight", "great-circle"):
            t = np.linspace(0, 1, POINTS)[:, None]
            lines = [
                (1 - t) * a + t * b if kind == "straight" else great_circle(a, b, POINTS) for a, b in pairs
            ]
            ruler = self.field("straight")
            found = np.stack(lines)
            for _ in range(2):  # the second time lengths are measured where the points then are
                found = respaced(found, ruler.lengths(found), POINTS)
            return found
        ground, graph = self.field(kind), self.graph(kind)
        rough = []
        for a, b in pairs:
            way = graph.way(self._tree(kind, a), a, b)
            rough.append(respaced(way, ground.lengths(way), POINTS))
        return refined(ground, np.stack(rough), POINTS)

    def graph(self, kind: str, nodes: int = NODES) -> GridGraph:
        """The graph of a kind's field, made once."""
        if (kind, nodes) not in self._graphs:
            self._graphs[kind, nodes] = GridGraph.over(self.field(kind), nodes)
        return self._graphs[kind, nodes]

    def _tree(self, kind: str, start: NDArray[np.float64]) -> Tree:
        graph = self.graph(kind)
        key = (kind, graph.nearest(start))
        if key not in self._trees:
            self._trees[key] = graph.tree(start)
        return self._trees[key]

    def lengths(self, ways: Float[np.ndarray, "B P 2"]) -> NDArray[np.float64]:
        """(B, P − 1) of segments, by the metric."""
        return self.field("straight").lengths(ways)

    def holes(self, z: Float[np.ndarray, "N 2"]) -> Bool[np.ndarray, " N"]:
        """Where q(z) < 0.1·p(z)."""
        q, p = (self.atlas.grid.interpolate(f, z) for f in (self.atlas.posterior, self.atlas.prior))
        return np.asarray(q < HOLE * p)

    def recognised(self, z: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, " N"] | None:
        """The probability of the likeliest class."""
        if self.atlas.recognition is None:
            return None
        return np.asarray(self.atlas.grid.interpolate(self.atlas.recognition.max(0), z))

    def nearest(self, z: Float[np.ndarray, "N 2"]) -> Sequence[str]:
        """The class with the largest part of the aggregated posterior at each point."""
        names = self.atlas.classes or ("all images",)
        parts = self.atlas.grid.interpolate(self.atlas.by_class, z)
        return [names[c] for c in parts.argmax(0)]
