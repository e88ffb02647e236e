"""Laws of points in parts, the law of each part given those before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Independent, Normal

from morphospace.distributions.base import Distribution, Law, divergence
from morphospace.distributions.normals import normal

__all__ = ["Chain"]


class Chain(Law):
    """q(z) = Π_l q(z_l given z_<l), where the parts z_1 … z_L lie in a row: z is (*batch, D), D = ΣD_l.

    ``rsample`` draws the parts one after the other, and ``log_prob`` gives each part's law the parts of the point
    before it, so that importance weights are exact. ``mean`` and ``stddev`` are those of one pass without noise, in
    which each part is its law's mean: not the moments of q, which have no closed form, but the same at every call.

    Args:
        step: l from 0, and points (…, D_1 + … + D_l) of the parts before -> the law of the next part. Its batch is
            ``batch``, or what that and the points' leading dimensions broadcast to.
        sizes: D_1 … D_L.
        like: a tensor (*batch, anything), for its shape, type and device.
    """

    def __init__(
        self,
        step: Callable[[int, Tensor], Distribution],
        sizes: Sequence[int],
        like: Float[Tensor, "*batch P"],
    ) -> None:
        super().__init__(like[..., :1].expand(*like.shape[:-1], sum(sizes)))
        self.step, self.sizes = step, tuple(sizes)
        self._none = like[..., :0]  # (*batch, 0): the parts before the first

    def laws(self, z: Float[Tensor, "*points D"]) -> list[Distribution]:
        """The law of each part, given the parts of z before it."""
        starts = [sum(self.sizes[:part]) for part in range(len(self.sizes))]
        return [self.step(part, z[..., :start]) for part, start in enumerate(starts)]

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        z = self._none.expand(*sample_shape, *self._none.shape)
        for part in range(len(self.sizes)):
            law = self.step(part, z)
            missing = z.dim() - law.mean.dim()  # the first part's law knows nothing of the draws' dimensions
            z = torch.cat([z, law.rsample(z.shape[:missing])], -1)
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        parts = value.split(self.sizes, -1)  # type: ignore[no-untyped-call]
        each = [law.log_prob(part) for law, part in zip(self.laws(value), parts, strict=True)]
        return sum(each[1:], each[0])

    @cached_property
    def _noiseless(self) -> tuple[Tensor, Tensor]:
        z = scale = self._none
        with self.as_made():
            for part in range(len(self.sizes)):
                law = self.step(part, z)
                z, scale = torch.cat([z, law.mean], -1), torch.cat([scale, law.stddev], -1)
        return z, scale

    @property
    def mean(self) -> Tensor:
        return self._noiseless[0]

    @property
    def stddev(self) -> Tensor:
        return self._noiseless[1]

    def divergences(self, p: Distribution, z: Float[Tensor, "K B D"]) -> Float[Tensor, "L K B"]:
        """KL(q(z_l given z_<l) ‖ p(z_l)) in nats at each draw's own z_<l: their sum is KL(q ‖ p) on average.

        Less noise than log q − log p, since each part is integrated over and only those before it are drawn.

        Raises:
            NotImplementedError: unless p is a normal with independent dimensions.
        """
        if not (isinstance(p, Independent) and isinstance(p.base_dist, Normal)):
            raise NotImplementedError
        loc, scale, points = (t.split(self.sizes, -1) for t in (p.base_dist.loc, p.base_dist.scale, z))  # type: ignore[no-untyped-call]
        each = zip(self.laws(z), map(normal, loc, scale), points, strict=True)
        return torch.stack([divergence(own, other, point) for own, other, point in each])
