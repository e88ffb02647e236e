"""What every family has, and what a likelihood declares of itself."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from morphospace.manifolds import Manifold, Plane
from morphospace.types import UsageError

__all__ = ["Family", "Likelihood", "full"]


class Family(nn.Module):
    """Parameters -> distribution.

    Attributes:
        factor: how many parameters one value of the event needs; parameters of an image lie along the channels.
        normalised: whether ``log_prob`` is the logarithm of a law that sums or integrates to one over its support. A
            model with a family that is not has no likelihood.
        plane: whether its values may be any numbers, rather than points of a sphere, a ball or a simplex.
        manifold: what its values are points of; None if nothing lies between two of them.
        reads: what its parameters are, in few words, for figures.
        gives: what of its distribution is handed on, likewise.
    """

    factor: int = 1
    normalised: bool = True
    plane: bool = True
    reads: str = "parameters of q(z | x)"
    gives: str = "a draw, or the mean"

    @property
    def manifold(self) -> Manifold | None:
        return Plane() if self.plane else None

    def outputs(self, values: int) -> int:
        """How many parameters a network puts out for an event of so many values."""
        return self.factor * values


class Likelihood(Family):
    """Parameters -> p(x given z).

    Attributes:
        support: the pixel values over which ``log_prob`` sums or integrates to one: "binary" {0, 1}, "levels"
            {0, 1/255, …, 1}, "unit" the interval [0, 1], or "real" the line. Only "levels" gives bits per dimension of
            8-bit images. The last two are densities.
        missing: whether pixels may be missing, which are nan then.
    """

    support: Literal["binary", "levels", "unit", "real"] = "real"
    missing: bool = False

    def data(self, x: Tensor) -> Tensor:
        """What the model sees in place of images ``x``: themselves, or with noise by torch's current generator."""
        return x

    @property
    def unlimited(self) -> bool:
        """Whether training could raise ``log_prob`` of binary images without end: of a density whose width learns."""
        return self.support in ("unit", "real")

    def require(self, x: Tensor) -> None:
        """Refuse images that this law is not of; ``x`` is a sample of those to be learned from.

        Raises:
            UsageError: with the recipes that suit them.
        """
        binary = bool(((x == 0) | (x == 1)).all())
        if binary and self.unlimited:
            raise UsageError(
                f"these images are binary: every value is 0 or 255. {type(self).__name__} is a density, which grows "
                "without limit on them and measures nothing; use a recipe of binary pixels, 'binarised', or of levels, "
                "'logistic-mixture'"
            )


def full(h: Tensor) -> Tensor:
    """Probabilities are computed in float32 at least, whatever precision the network ran in."""
    return h.float() if h.dtype in (torch.bfloat16, torch.float16) else h
