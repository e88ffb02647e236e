"""The training image nearest to a decoded one, exactly, by matrix products."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphospace.training.feed import to_unit
from morphospace.types import Progress, silent

__all__ = ["nearest_images", "sparseness"]

AT_ONCE = 2**24
"""Distances that are held at a time: 64 MiB."""
MOST_PRODUCTS = 1e12
"""Multiplications that a map's search may take: ten seconds on two cores. Above, fewer points are searched for."""


def sparseness(points: int, images: int, pixels: int) -> int:
    """Every how many-th point of a grid is searched for, each way: 4, or a greater power of two if 4 is too dear."""
    step = 4
    while points / step**2 * images * pixels > MOST_PRODUCTS:
        step *= 2
    return step


@torch.inference_mode()
def nearest_images(
    decoded: Float[Tensor, "S ..."], pixels: np.ndarray, progress: Progress = silent
) -> tuple[Float[np.ndarray, " S"], Int[np.ndarray, " S"]]:
    """For each of S images the distance to the nearest of N others, and its position among them.

    All S·N distances are formed, |x|² − 2·x·y in float32; the distance to the one that is nearest is computed again in
    float64. Where two images are as near to within rounding, either may be named.

    Args:
        decoded: values in [0, 1].
        pixels: (N, C, H, W) uint8.
        progress: told of each part.
    """
    y = decoded.flatten(1).float().cpu()
    best = torch.full((len(y),), torch.inf)
    which = torch.zeros(len(y), dtype=torch.int64)
    step = max(1, AT_ONCE // len(y))
    for start in range(0, len(pixels), step):
        x = to_unit(torch.from_numpy(np.array(pixels[start : start + step]))).flatten(1)
        away = torch.addmm(x.square().sum(1), y, x.T, alpha=-2)  # |y|² is the same for all x
        least, row = away.min(1)
        better = least < best
        best = torch.where(better, least, best)
        which = torch.where(better, row + start, which)
        progress("looking for the nearest images", min(start + step, len(pixels)), len(pixels))
    distance = np.empty(len(y))
    for start in range(0, len(y), 4096):
        rows = which[start : start + 4096].numpy()
        found = torch.from_numpy(np.array(pixels[rows])).double().flatten(1) / 255
        distance[start : start + 4096] = (y[start : start + 4096].double() - found).square().sum(1).sqrt()
    return distance, which.numpy()
