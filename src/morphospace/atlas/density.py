"""The aggregated posterior q(z) = (1/N)·Σ N(z; mean_n, scale_n²): on a grid as one matrix product, and at points.

The density of a normal with independent dimensions is a product of one factor for each dimension. On a grid of Gy × Gx
points the sum over N images is therefore (Gy × N)·(N × Gx): exact, without a kernel or a sample.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from morphospace.atlas.grid import Grid
from morphospace.latents import Latents
from morphospace.types import Progress, UsageError, silent

__all__ = ["aggregate", "at_points", "box_of", "with_spread"]

AT_ONCE = 4096
"""Images whose factors are held at a time."""
TAIL = 2e-6
"""Mass of the aggregated posterior that may lie beyond each side of the box."""


def with_spread(latents: Latents) -> Latents:
    """Latents whose points without spread are normals of Scott's width (1992): the deviation times n^(−1/(D+4)).

    An autoencoder's encoder gives points, whose aggregate has no density; this is then a kernel estimate of one.
    """
    if (latents.scale > 0).all():
        return latents
    from dataclasses import replace

    kernel = latents.mean.std(0) * len(latents) ** (-1 / (latents.mean.shape[1] + 4))
    scale = np.where(latents.scale > 0, latents.scale, np.maximum(kernel, 1e-6)).astype(np.float32)
    return replace(latents, scale=scale)


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


def at_points(
    z: Float[np.ndarray, "S D"],
    mean: Float[np.ndarray, "N D"],
    scale: Float[np.ndarray, "N D"],
    groups: NDArray[np.int64] | None = None,
    count: int = 1,
    progress: Progress = silent,
) -> Float[np.ndarray, "S M"]:
    """log π_m·q_m(z) of each group at S points of a space of any dimension, in nats: exact, a sum over all images.

    The logarithm of a normal is a matrix product of (z², z) with what each image knows; the sums are taken relative to
    the largest term, so that they hold far from all data.
    """
    groups = np.zeros(len(mean), dtype=np.int64) if groups is None else groups
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups, minlength=count)
    mean, scale = (part[order].astype(np.float64) for part in (mean, scale))
    precision = scale**-2
    centre = mean.mean(0)  # differences of large squares lose digits; those about the middle are small
    away = mean - centre
    weights = np.concatenate([-0.5 * precision, away * precision], 1).T  # (2D, N)
    constant = -0.5 * (np.square(away) * precision).sum(1) - np.log(scale * math.sqrt(2 * math.pi)).sum(1)
    constant -= math.log(len(mean))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    present = sizes > 0
    found = np.full((len(z), count), -np.inf)
    step = max(1, 2**23 // len(mean))
    for start in range(0, len(z), step):
        some = z[start : start + step].astype(np.float64) - centre
        each = np.concatenate([np.square(some), some], 1) @ weights + constant  # (s, N)
        top = np.maximum.reduceat(
            each, starts[present], axis=1
        )  # (s, groups): each sum relative to its largest term
        each -= np.repeat(top, sizes[present], axis=1)
        mass = np.add.reduceat(np.exp(each, out=each), starts[present], axis=1)
        found[start : start + step, present] = np.log(mass) + top
        progress("densities at points", min(start + step, len(z)), len(z))
    return found


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
