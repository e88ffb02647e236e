"""The aggregated posterior q(z) = (1/N)·Σ N(z; mean_n, scale_n²) on a grid, as one matrix product.

The density of a normal with independent dimensions is a product of one factor for each dimension. On a grid of Gy × Gx
points the sum over N images is therefore (Gy × N)·(N × Gx): exact, without a kernel or a sample.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from morphospace.atlas.grid import Grid
from morphospace.types import Progress, UsageError, silent

__all__ = ["aggregate", "box_of"]

AT_ONCE = 4096
"""Images whose factors are held at a time."""
TAIL = 2e-6
"""Mass of the aggregated posterior that may lie beyond each side of the box."""


def _factors(
    axis: Float[np.ndarray, " G"], mean: Float[np.ndarray, " n"], scale: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "G n"]:
    """N(axis; mean, scale²) of one dimension, float32; exponents are formed in float64."""
    away = ((axis[:, None] - mean.astype(np.float64)) / scale).astype(np.float32)
    peak = (1 / (math.sqrt(2 * math.pi) * scale)).astype(np.float32)
    return np.asarray(np.exp(np.float32(-0.5) * np.square(away)) * peak)


def aggregate(
    grid: Grid,
    mean: Float[np.ndarray, "N D"],
    scale: Float[np.ndarray, "N D"],
    groups: NDArray[np.int64] | None = None,
    count: int = 1,
    progress: Progress = silent,
) -> Float[np.ndarray, "M Gy Gx"]:
    """The aggregated posterior of each group of images, weighted by its part of all images; the sum is q(z).

    Args:
        grid: where.
        mean: (N, 2) posterior means.
        scale: (N, 2) posterior standard deviations, above nought.
        groups: (N,) the group of each image, from 0 to ``count`` − 1; one group by default.
        count: M.
        progress: told of each part.

    Returns:
        π_m·q_m(z) at each point of the grid: densities per unit of area, float32.

    Raises:
        UsageError: if the latents are not of the plane, or have no spread.
    """
    if mean.ndim != 2 or mean.shape[1] != 2:
        raise UsageError(f"the latents have shape {mean.shape}; a map of the plane takes (N, 2)")
    if not (scale > 0).all():
        raise UsageError("some posteriors have no spread, so their mean has no density")
    groups = np.zeros(len(mean), dtype=np.int64) if groups is None else groups
    total = np.zeros((count, *grid.shape))
    done = 0
    for group in range(count):
        rows = np.flatnonzero(groups == group)
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            across = _factors(grid.x, mean[some, 0], scale[some, 0])  # (Gx, n)
            up = _factors(grid.y, mean[some, 1], scale[some, 1])  # (Gy, n)
            total[group] += up @ across.T
            done += len(some)
            progress("adding up posteriors", done, len(mean))
    return (total / len(mean)).astype(np.float32)


def box_of(
    mean: Float[np.ndarray, "N 2"], scale: Float[np.ndarray, "N 2"], tail: float = TAIL
) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]]:
    """The box beyond each of whose sides the aggregated posterior has the mass ``tail``, by bisection."""
    from scipy.special import ndtr

    sides = np.empty((2, 2))
    for axis in range(2):
        m, s = mean[:, axis].astype(np.float64), scale[:, axis].astype(np.float64)
        for end, sign in enumerate((1.0, -1.0)):
            # From far outside, where nothing lies beyond, to the median of the means.
            outer, inner = (sign * m - 9 * s).min(), np.median(sign * m)
            for _ in range(50):
                middle = (outer + inner) / 2
                if ndtr((middle - sign * m) / s).mean() > tail:
                    inner = middle
                else:
                    outer = middle
            sides[end, axis] = sign * outer
    return sides[0], sides[1]
