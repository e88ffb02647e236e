"""A way through a field made cheaper, point by point, and never dearer.

The way is a string of points that are kept evenly spaced by image-space length while it descends (the string method:
E, Ren & Vanden-Eijnden 2007, doi:10.1063/1.2720838). Each step is the derivative of the cost across the way, smoothed
by the inverse of the string's stiffness, so that long bends straighten as fast as short ones; a step is taken only
where the cost falls.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from morphospace.morphing.fields import Field, respaced

__all__ = ["refined"]

POINTS = 129
ROUNDS = 100
ENOUGH = 1e-6
"""The part of its cost that a step must save to be taken."""


def refined(
    field: Field, ways: Float[np.ndarray, "B P 2"], points: int = POINTS, rounds: int = ROUNDS
) -> NDArray[np.float64]:
    """(B, points, 2) ways between the same ends that cost no more, evenly spaced by image-space length.

    "No more" is meant against the way given, as a string of ``points``.
    """
    z = respaced(ways, field.lengths(ways), points)
    z = respaced(z, field.lengths(z), points)
    size = np.ones(len(z))
    cost, downhill = _descent(field, z)
    for _ in range(rounds):
        (still,) = np.nonzero(size > 1e-3)
        if not len(still):
            break
        trial = z[still] + size[still, None, None] * downhill[still]
        trial = np.clip(trial, field.low, field.high)
        trial = respaced(trial, field.lengths(trial), points)
        fell = field.costs(trial) < cost[still] * (1 - ENOUGH)
        size[still] = np.where(fell, np.minimum(1.5 * size[still], 2), 0.4 * size[still])
        better = still[fell]
        z[better] = trial[fell]
        cost[better], downhill[better] = _descent(field, z[better])
    return z


def _descent(field: Field, z: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The cost of each way and the step by which it should fall; the ends do not move."""
    cost, slope, stiffness = field.slopes(z)
    # Along the way there is nothing to be gained: only the spacing would change, which is made even again.
    along = z[:, 2:] - z[:, :-2]
    along /= np.maximum(np.linalg.norm(along, axis=2, keepdims=True), 1e-12)
    inner = slope[:, 1:-1]
    inner = inner - (inner * along).sum(2, keepdims=True) * along
    step = np.zeros_like(z)
    step[:, 1:-1] = -_solved(stiffness, inner)
    return cost, step


def _solved(k: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """x with K x = b, where K (of interior points) has k_i + k_{i+1} on its diagonal and −k_{i+1} beside it.

    Thomas' algorithm, for all ways at once: k (B, n + 1), b (B, n, 2).
    """
    count = b.shape[1]
    above, right = np.empty((len(k), count)), np.empty_like(b)
    above[:, 0] = -k[:, 1] / (k[:, 0] + k[:, 1])
    right[:, 0] = b[:, 0] / (k[:, 0] + k[:, 1])[:, None]
    for i in range(1, count):
        pivot = k[:, i] + k[:, i + 1] + k[:, i] * above[:, i - 1]
        above[:, i] = -k[:, i + 1] / pivot
        right[:, i] = (b[:, i] + k[:, i, None] * right[:, i - 1]) / pivot[:, None]
    for i in range(count - 2, -1, -1):
        right[:, i] -= above[:, i, None] * right[:, i + 1]
    return right
