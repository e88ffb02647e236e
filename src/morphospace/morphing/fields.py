"""What a step costs at each place of a two-dimensional space, as numbers on a grid.

A `Field` is the decoder's pull-back metric G = JᵀJ (Arvanitidis et al. 2018, arXiv:1710.11379, section 2), under which
the length of a step is that of the change in the image, times a weight w ≥ 0 that makes some places dear:

    cost of a way z(t) = ∫ w(z) · √(żᵀ G(z) ż) dt

With w = 1 it is the length in image space. All ways are polylines of P points; integrals over their segments use the
middle of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

__all__ = ["Field", "respaced", "speeds"]

Ways = Float[np.ndarray, "*ways P 2"]


@dataclass(frozen=True, eq=False)
class Field:
    """A metric and a weight on a grid.

    Attributes:
        x: (Gx,) columns' coordinates, evenly spaced.
        y: (Gy,) rows' coordinates, evenly spaced.
        metric: (3, Gy, Gx) g₁₁, g₁₂, g₂₂ of G.
        weight: (Gy, Gx) w, positive; None for one everywhere. Its logarithm is interpolated, so that a weight that
            spans many orders of magnitude is followed from cell to cell.
    """

    x: Float[np.ndarray, " Gx"]
    y: Float[np.ndarray, " Gy"]
    metric: Float[np.ndarray, "3 Gy Gx"]
    weight: Float[np.ndarray, "Gy Gx"] | None = None

    @cached_property
    def _layers(self) -> NDArray[np.float64]:
        """(Gy·Gx, 4): g₁₁, g₁₂, g₂₂ and log w of each cell, together so that a look-up reads one line of memory."""
        log_weight = np.zeros_like(self.metric[0]) if self.weight is None else np.log(self.weight)
        stacked = np.concatenate([self.metric, log_weight[None]]).astype(np.float64)
        return np.ascontiguousarray(stacked.reshape(4, -1).T)

    @property
    def low(self) -> NDArray[np.float64]:
        return np.array([self.x[0], self.y[0]], dtype=np.float64)

    @property
    def high(self) -> NDArray[np.float64]:
        return np.array([self.x[-1], self.y[-1]], dtype=np.float64)

    @property
    def step(self) -> NDArray[np.float64]:
        """The cells' width and height."""
        return (self.high - self.low) / (len(self.x) - 1, len(self.y) - 1)

    def at(self, z: Float[np.ndarray, "*n 2"]) -> NDArray[np.float64]:
        """The layers at points, (*n, 4), bilinear; a point outside is taken at the edge."""
        (a, b, c, d), u, v = self._corners(z)
        lower, upper = a + u * (b - a), c + u * (d - c)
        return np.asarray(lower + v * (upper - lower))

    def slopes_at(self, z: Float[np.ndarray, "*n 2"]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The layers at points, and their slopes by each coordinate, (*n, 4, 2)."""
        (a, b, c, d), u, v = self._corners(z)
        lower, upper = a + u * (b - a), c + u * (d - c)
        across = ((b - a) * (1 - v) + (d - c) * v) / self.step[0]
        up = (upper - lower) / self.step[1]
        return lower + v * (upper - lower), np.stack([across, up], -1)

    def _corners(self, z: NDArray[np.float64]) -> tuple[list[NDArray[np.float64]], Any, Any]:
        """The layers at the four corners of each point's cell, and where in the cell it lies, both (*n, 1)."""
        wide = len(self.x)
        place = np.clip((z - self.low) / self.step, 0, np.array([wide - 1, len(self.y) - 1]) - 1e-9)
        corner = place.astype(np.intp)
        u, v = np.moveaxis(place - corner, -1, 0)[..., None]
        first = corner[..., 1] * wide + corner[..., 0]
        return [self._layers[first + shift] for shift in (0, 1, wide, wide + 1)], u, v

    def lengths(self, ways: Ways) -> NDArray[np.float64]:
        """(*ways, P − 1) the lengths in image space of the segments."""
        layers = self.at(0.5 * (ways[..., 1:, :] + ways[..., :-1, :]))
        return speeds(layers, np.diff(ways, axis=-2))

    def costs(self, ways: Ways) -> NDArray[np.float64]:
        """(*ways,) the cost of each way."""
        layers = self.at(0.5 * (ways[..., 1:, :] + ways[..., :-1, :]))
        each = np.exp(layers[..., 3]) * speeds(layers, np.diff(ways, axis=-2))
        return np.asarray(each.sum(-1))

    def slopes(self, ways: Ways) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The cost of each way (*ways,); its derivative by every point (*ways, P, 2); stiffness of segments.

        The stiffness (*ways, P − 1), w·tr G / 2 over the segment's length, is how strongly a segment draws its ends
        together: the part of the second derivative that the preconditioner of `refined` needs.
        """
        step = np.diff(ways, axis=-2)
        layers, slopes = self.slopes_at(0.5 * (ways[..., 1:, :] + ways[..., :-1, :]))
        g11, g12, g22, log_weight = np.moveaxis(layers, -1, 0)
        weight = np.exp(log_weight)
        length = np.maximum(speeds(layers, step), 1e-12)
        pulled = np.stack(
            [g11 * step[..., 0] + g12 * step[..., 1], g12 * step[..., 0] + g22 * step[..., 1]], -1
        )
        by_step = (weight / length)[..., None] * pulled
        dx, dy = step[..., 0, None], step[..., 1, None]
        bent = dx**2 * slopes[..., 0, :] + 2 * dx * dy * slopes[..., 1, :] + dy**2 * slopes[..., 2, :]
        by_middle = weight[..., None] * (
            length[..., None] * slopes[..., 3, :] + 0.5 * bent / length[..., None]
        )
        gradient = np.zeros_like(ways, dtype=np.float64)
        gradient[..., 1:, :] += by_step + 0.5 * by_middle
        gradient[..., :-1, :] += 0.5 * by_middle - by_step
        return np.asarray((weight * length).sum(-1)), gradient, weight * 0.5 * (g11 + g22) / length


def speeds(layers: Float[np.ndarray, "*n 4"], step: Float[np.ndarray, "*n 2"]) -> NDArray[np.float64]:
    """√(dzᵀ G dz) of steps (*n, 2), the layers' first three being G."""
    g11, g12, g22 = layers[..., 0], layers[..., 1], layers[..., 2]
    dx, dy = step[..., 0], step[..., 1]
    return np.asarray(np.sqrt(np.maximum(g11 * dx * dx + 2 * g12 * dx * dy + g22 * dy * dy, 0)))


def respaced(
    ways: Float[np.ndarray, "*ways P D"], lengths: Float[np.ndarray, "*ways P-1"], count: int
) -> NDArray[np.float64]:
    """``count`` points on each polyline, spaced evenly by the given lengths of its segments; the ends stay."""
    flat, each = ways.reshape(-1, *ways.shape[-2:]), lengths.reshape(-1, lengths.shape[-1])
    found = np.empty((len(flat), count, ways.shape[-1]))
    for row, (way, length) in enumerate(zip(flat, each, strict=True)):
        # A segment without length would make two points of one place on the way; the tiniest keeps them in order.
        walked = np.concatenate([[0.0], np.cumsum(length + 1e-12 * max(float(length.max()), 1e-300))])
        marks = np.linspace(0, walked[-1], count)
        for d in range(ways.shape[-1]):
            found[row, :, d] = np.interp(marks, walked, way[:, d])
    found[:, 0], found[:, -1] = flat[:, 0], flat[:, -1]
    return found.reshape(*ways.shape[:-2], count, ways.shape[-1])
