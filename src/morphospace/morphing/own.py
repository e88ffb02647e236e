"""The ground of a space that is no plane, or has one dimension: the manifold's own straightest way, and no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from morphospace.manifolds import Manifold, Sphere
from morphospace.morphing.fields import respaced
from morphospace.morphing.ways import POINTS, Decode
from morphospace.types import UsageError

__all__ = ["Own", "decoded_lengths"]


@dataclass(frozen=True, eq=False)
class Own:
    """Ways that only the manifold and the decoder decide.

    Args:
        manifold: that the points are of.
        decode: points (N, D) to images.
        name: points (N, D) to what they are nearest to.
        kinds: that there are: the names of the manifold's geodesic.
        why: the reason that there are no other kinds of way here.
    """

    manifold: Manifold
    decode: Decode
    name: Callable[[NDArray[np.float64]], Sequence[str]]
    kinds: tuple[str, ...]
    why: str

    def refusal(self, kind: str) -> str | None:
        """Everything but what the manifold itself gives."""
        return None if kind in self.kinds else f"there is no {kind} path in this space: {self.why}"

    def ways(
        self,
        kind: str,  # noqa: ARG002 - all kinds that there are name the manifold's geodesic
        pairs: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    ) -> NDArray[np.float64]:
        """(B, POINTS, D) geodesics of the manifold, evenly spaced by image-space length."""
        even = np.linspace(0, 1, POINTS)
        first = np.stack([self._line(a, b, even) for a, b in pairs])
        times = respaced(np.repeat(even[None, :, None], len(first), 0), self.lengths(first), POINTS)[..., 0]
        return np.stack([self._line(a, b, t) for (a, b), t in zip(pairs, times, strict=True)])

    def _line(
        self, a: NDArray[np.float64], b: NDArray[np.float64], t: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        x, y = (torch.from_numpy(np.asarray(p, np.float64)) for p in (a, b))
        if isinstance(self.manifold, Sphere):
            x, y = x / x.norm(), y / y.norm()
            if float((x + y).norm()) < 1e-6:
                raise UsageError(
                    "these places lie opposite each other on the sphere, where no way is the shortest"
                )
        part = torch.from_numpy(t)[:, None]
        line: NDArray[np.float64] = self.manifold.geodesic(
            x.expand(len(t), -1), y.expand(len(t), -1), part
        ).numpy()
        return line

    def lengths(self, ways: Float[np.ndarray, "B P D"]) -> NDArray[np.float64]:
        """(B, P − 1) distances between decoded neighbours."""
        return decoded_lengths(self.decode, ways)

    def holes(self, z: Float[np.ndarray, "N D"]) -> None:
        """Not known: densities are mapped in planes only."""

    def recognised(self, z: Float[np.ndarray, "N D"]) -> None:
        """Not looked at."""

    def nearest(self, z: Float[np.ndarray, "N D"]) -> Sequence[str]:
        """What each point is nearest to."""
        return self.name(z)


def decoded_lengths(decode: Decode, ways: Float[np.ndarray, "B P D"]) -> NDArray[np.float64]:
    """(B, P − 1) distances between decoded neighbours on each way: root summed squares of pixel values."""
    images = decode(ways.reshape(-1, ways.shape[-1])).reshape(*ways.shape[:2], -1)
    return np.asarray(np.linalg.norm(np.diff(images.astype(np.float64), axis=1), axis=2))
