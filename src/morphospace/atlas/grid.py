"""A regular grid over a box of the plane, and fields on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from morphospace.types import UsageError

__all__ = ["CELLS", "Grid"]

CELLS = 512
"""Cells along each side of the box."""


@dataclass(frozen=True, eq=False)
class Grid:
    """The centres of equal cells that fill a box; a field is an array (…, Gy, Gx) of a value at each centre.

    Sums of a field over the cells times ``cell`` are its integral by the midpoint rule, whose error for a smooth field
    that falls off within the box is smaller than any power of the step.

    Attributes:
        x: (Gx,) centres along the first latent dimension, evenly spaced.
        y: (Gy,) along the second.
    """

    x: Float[np.ndarray, " Gx"]
    y: Float[np.ndarray, " Gy"]

    @classmethod
    def over(cls, low: Float[np.ndarray, " 2"], high: Float[np.ndarray, " 2"], cells: int = CELLS) -> Grid:
        """The grid of ``cells`` × ``cells`` cells over a box.

        Raises:
            UsageError: for fewer than two cells a side, or a box without extent.
        """
        low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        if cells < 2:
            raise UsageError(f"a grid of {cells} cells a side was asked for; expected at least 2")
        if not (np.isfinite([low, high]).all() and (high > low).all()):
            raise UsageError(f"the box from {low} to {high} has no extent; expected low < high on both sides")
        steps = (np.arange(cells) + 0.5) / cells
        x, y = (a + (b - a) * steps for a, b in zip(low, high, strict=True))
        return cls(x, y)

    @property
    def shape(self) -> tuple[int, int]:
        """(Gy, Gx)."""
        return len(self.y), len(self.x)

    @property
    def step(self) -> Float[np.ndarray, " 2"]:
        """The sides of a cell."""
        return np.array([axis[-1] - axis[0] for axis in self._axes]) / [len(a) - 1 for a in self._axes]

    @property
    def cell(self) -> float:
        """The area of a cell."""
        return float(self.step.prod())

    @property
    def low(self) -> Float[np.ndarray, " 2"]:
        """The lower left corner of the box, half a step outside the first centre."""
        return np.array([axis[0] for axis in self._axes]) - self.step / 2

    @property
    def high(self) -> Float[np.ndarray, " 2"]:
        """The upper right corner of the box."""
        return np.array([axis[-1] for axis in self._axes]) + self.step / 2

    @cached_property
    def points(self) -> Float[np.ndarray, "G 2"]:
        """(Gy·Gx, 2) all centres, x fastest: the order in which a field is flattened."""
        across, up = np.meshgrid(self.x, self.y)
        return np.stack([across.ravel(), up.ravel()], 1)

    @property
    def _axes(self) -> tuple[Float[np.ndarray, " Gx"], Float[np.ndarray, " Gy"]]:
        return self.x, self.y

    def refined(self, by: int = 2) -> Grid:
        """The same box with ``by`` times as many cells a side."""
        return self._resized([by * len(axis) for axis in self._axes])

    def coarsened(self, by: int) -> Grid:
        """The same box with a ``by``-th of the cells a side, rounded upwards."""
        return self._resized([max(2, -(-len(axis) // by)) for axis in self._axes])

    def _resized(self, counts: list[int]) -> Grid:
        x, y = (
            a + (b - a) * (np.arange(n) + 0.5) / n
            for a, b, n in zip(self.low, self.high, counts, strict=True)
        )
        return Grid(x, y)

    def integral(self, field: Float[np.ndarray, "*lead Gy Gx"]) -> Float[np.ndarray, "*lead"]:
        """∫ of a field over the box, by the midpoint rule, summed in float64."""
        return np.asarray(field.sum((-2, -1), dtype=np.float64) * self.cell)

    def outside(self, z: Float[np.ndarray, "N 2"]) -> Bool[np.ndarray, " N"]:
        """Which points lie outside the box."""
        return np.asarray(((z < self.low) | (z > self.high)).any(1))

    def interpolate(
        self, field: Float[np.ndarray, "*lead Gy Gx"], z: Float[np.ndarray, "N 2"]
    ) -> Float[np.ndarray, "*lead N"]:
        """A field between the centres, bilinear; beyond the outermost centres its value at the nearest place there."""
        rows, down = _between(z[:, 1], self.y)
        columns, right = _between(z[:, 0], self.x)
        upper = field[..., rows, columns] * (1 - right) + field[..., rows, columns + 1] * right
        lower = field[..., rows + 1, columns] * (1 - right) + field[..., rows + 1, columns + 1] * right
        return np.asarray(upper * (1 - down) + lower * down)


def _between(
    values: Float[np.ndarray, " N"], axis: Float[np.ndarray, " G"]
) -> tuple[np.ndarray, Float[np.ndarray, " N"]]:
    """For each value the centre before it and the part of the way to the next one."""
    at = np.clip((values - axis[0]) / (axis[-1] - axis[0]), 0, 1) * (len(axis) - 1)
    first = np.minimum(at.astype(np.intp), len(axis) - 2)
    return first, at - first
