"""What the decoder makes of the points of a grid, in one pass: its metric, and what a classifier sees."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.func import jvp, vmap

from morphospace.model import VAE
from morphospace.types import Progress, silent

__all__ = ["Decoded", "condition", "decode_points", "pull_back", "stretch"]

AT_ONCE = 2**21
"""Pixel values that are decoded together, with their derivatives: 8 MiB of each."""

Eyes = Callable[[Tensor], Float[np.ndarray, "n M"]]
"""Images (n, C, H, W) to the probability of each class."""


def pull_back(
    decode: Callable[[Tensor], Tensor], z: Float[Tensor, "n D"]
) -> tuple[Float[Tensor, "n ..."], Float[Tensor, "n D D"]]:
    """Decoded points and the metric G = JᵀJ at each, J the derivative of all pixel values by z.

    √(vᵀGv) is the length in image space, in root summed squares of pixel values, of a small step v (Arvanitidis et al.
    2018, arXiv:1710.11379). J is found in forward mode, in one pass for the points and all D directions.
    """
    directions = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)

    def along(direction: Tensor) -> tuple[Tensor, Tensor]:
        return jvp(decode, (z,), (direction.expand_as(z),))  # type: ignore[return-value]

    with warnings.catch_warnings():
        # The first derivative of a process makes torch load a part of itself by a function that it deprecates.
        warnings.filterwarnings("ignore", "`torch.jit.script`", DeprecationWarning)
        # The points themselves do not differ from direction to direction, so they are decoded once.
        decoded, columns = vmap(along, out_dims=(None, 0))(directions)  # type: ignore[arg-type]
    jacobian = columns.flatten(2).transpose(0, 1)  # (n, D, pixels)
    return decoded, jacobian @ jacobian.mT


@dataclass(frozen=True, eq=False)
class Decoded:
    """What was found at N points.

    Attributes:
        metric: (3, N) g₁₁, g₁₂, g₂₂ of G, float32.
        recognition: (M, N) class probabilities of the decoded images, float32; None where nobody looked.
    """

    metric: Float[np.ndarray, "3 N"]
    recognition: Float[np.ndarray, "M N"] | None


@torch.no_grad()
def decode_points(
    model: VAE, points: Float[np.ndarray, "N 2"], eyes: Eyes | None = None, progress: Progress = silent
) -> Decoded:
    """Decode N points of a plane once, in float32.

    Args:
        model: its decoder's mean images are looked at.
        points: (N, 2).
        eyes: a classifier's ``probabilities``, if the images are to be recognised.
        progress: told of each part.
    """
    weight = next(model.decoder.parameters())
    metric = np.empty((3, len(points)), dtype=np.float32)
    seen: list[Float[np.ndarray, "n M"]] = []
    step = 0
    start = 0
    while start < len(points):
        z = torch.from_numpy(points[start : start + max(step, 1)]).to(weight.device, weight.dtype)
        images, g = pull_back(model.decode, z)
        metric[:, start : start + len(z)] = torch.stack([g[:, 0, 0], g[:, 0, 1], g[:, 1, 1]]).cpu().numpy()
        if eyes is not None:
            seen.append(eyes(images).astype(np.float32))
        start += len(z)
        step = max(1, AT_ONCE // images[0].numel())  # the first point tells how large an image is
        progress("decoding the grid", start, len(points))
    return Decoded(metric, np.concatenate(seen).T if seen else None)


def stretch(metric: Float[np.ndarray, "3 ..."]) -> NDArray[np.float64]:
    """√det G: the area in image space that a unit of latent area becomes."""
    g11, g12, g22 = metric.astype(np.float64)
    return np.asarray(np.sqrt(np.maximum(g11 * g22 - g12**2, 0)))


def condition(metric: Float[np.ndarray, "3 ..."]) -> NDArray[np.float64]:
    """The condition number of G: its larger eigenvalue over its smaller one; infinite where G is singular."""
    g11, g12, g22 = metric.astype(np.float64)
    middle, apart = (g11 + g22) / 2, np.hypot((g11 - g22) / 2, g12)
    with np.errstate(divide="ignore", invalid="ignore"):
        # The smaller one as determinant over the larger loses fewer digits than a difference.
        larger = middle + apart
        found = np.where(larger > 0, larger**2 / np.maximum(g11 * g22 - g12**2, 0), np.inf)
    return np.asarray(found)
