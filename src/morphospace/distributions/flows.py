"""Laws made of a simple one by an invertible map."""

from __future__ import annotations

from functools import cache, cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from morphospace.distributions.base import Distribution, Law
from morphospace.distributions.normals import normal

__all__ = ["Flowed", "Map"]

POINTS = 64
"""Points of the base that a flow's mean and deviation are taken over."""


@runtime_checkable
class Map(Protocol):
    """An invertible map as zuko's transforms are: the image of a point, and log |det ∂y/∂x| with it."""

    @property
    def inv(self) -> Map: ...
    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]: ...


class Flowed(Law):
    """The law of f(u), where u is normal and f invertible: log q(z) = log N(u) − log |det ∂f/∂u| (Rezende & Mohamed
    2015,
    arXiv:1505.05770, eq. 5).

    The density of its own last draw is known from drawing it; of any other point it needs the inverse, which an
    autoregressive map takes D passes for. ``mean`` and ``stddev`` have no closed form: they are taken over 64 fixed
    points that fill the base evenly (Sobol's), so that an embedding is the same every time.

    Args:
        loc: mean of the base, (*batch, D).
        scale: its standard deviations.
        f: from the base to the latent space.
    """

    def __init__(self, loc: Tensor, scale: Tensor, f: Map) -> None:
        super().__init__(loc)
        self.loc, self.scale, self.f = loc, scale, f
        self.base: Distribution = normal(loc, scale)
        self._known: tuple[Tensor, Tensor] | None = None

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u = self.base.rsample(torch.Size(sample_shape))
        z, log_det = self.f.call_and_ladj(u)
        self._known = z, self.base.log_prob(u) - log_det
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        if self._known is not None and value is self._known[0]:
            return self._known[1]
        u, log_det = self.f.inv.call_and_ladj(value)
        return self.base.log_prob(u) + log_det

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance; point by point, since a whole set of images may be asked about."""
        total = square = torch.zeros_like(self.loc)
        with self.as_made():
            for point in _even_points(self.loc.shape[-1], POINTS).to(self.loc):
                z, _ = self.f.call_and_ladj(self.loc + self.scale * point)
                total, square = total + z, square + z.square()
        mean = total / POINTS
        return mean, (square / POINTS - mean.square()).clamp_min(0)

    @property
    def mean(self) -> Tensor:
        return self._moments[0]

    @property
    def variance(self) -> Tensor:
        return self._moments[1]


@cache
def _even_points(dimensions: int, count: int) -> Tensor:
    """Points (count, D) that are spread as a standard normal is."""
    with torch.inference_mode(False):  # kept, so it must serve where gradients are wanted too
        cells = SobolEngine(dimensions, scramble=True, seed=0).draw(count, dtype=torch.float64)  # type: ignore[no-untyped-call]
        points = torch.special.ndtri(cells.clamp(1e-6, 1 - 1e-6))
        even: Tensor = (points - points.mean(0)) / points.std(0, correction=0)
        return even
