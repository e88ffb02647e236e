"""`Atlas`: a space of two dimensions as fields on a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch.distributions import Independent, Normal

from morphospace.atlas.decoded import decode_points
from morphospace.atlas.density import aggregate, box_of, with_spread
from morphospace.atlas.grid import CELLS, Grid
from morphospace.atlas.measures import Holes
from morphospace.data.images import Images
from morphospace.distributions import Distribution
from morphospace.evaluation.records import Figure
from morphospace.families import DiagonalNormal, Point
from morphospace.latents import Latents
from morphospace.space import Space
from morphospace.types import Progress, UnknownName, UsageError, silent

__all__ = ["PARTS", "Atlas", "make_atlas", "require_plane"]

PARTS = ("metric",)
"""What can be found out beside the densities."""

REACH = 4.75
"""Deviations of the prior that the box reaches at least, to each side: a normal has 4·10⁻⁶ of its mass beyond."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """A map of a space of two dimensions. What was not asked for is None.

    Attributes:
        grid: the points that all fields are given at.
        prior: (Gy, Gx) p(z), per unit of area.
        by_class: (M, Gy, Gx) π_c·q_c(z): the mean of the encoder's normals over the training images of each class,
            weighted by the class's part of them. One row in a space without classes.
        classes: names of the rows of ``by_class``; empty in a space without classes.
        sampler: (Gy, Gx) density of what samples are drawn from by default, where that is not the prior.
        recognition: (classes, Gy, Gx) probabilities that the set's frozen classifier gives to the decoded image.
        metric: (3, Gy, Gx) g₁₁, g₁₂, g₂₂ of the pull-back metric G = JᵀJ.
        nearest: (Gy, Gx) distance from the decoded image to the nearest training image, root summed squares of pixels.
        figures: numbers by name, each with its definition and error.
    """

    grid: Grid
    prior: Float[np.ndarray, "Gy Gx"]
    by_class: Float[np.ndarray, "M Gy Gx"]
    classes: tuple[str, ...] = ()
    sampler: Float[np.ndarray, "Gy Gx"] | None = None
    recognition: Float[np.ndarray, "C Gy Gx"] | None = None
    metric: Float[np.ndarray, "3 Gy Gx"] | None = None
    nearest: Float[np.ndarray, "Gy Gx"] | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)

    @cached_property
    def posterior(self) -> Float[np.ndarray, "Gy Gx"]:
        """q(z), the aggregated posterior of the training images, per unit of area; float64."""
        return np.asarray(self.by_class.sum(0, dtype=np.float64))

    @cached_property
    def holes(self) -> Holes:
        """Where q(z) < 0.1·p(z)."""
        return Holes(self.grid, self.posterior, self.prior)

    @cached_property
    def winners(self) -> np.ndarray:
        """(Gy, Gx) the position in ``classes`` of the class with the largest π_c·q_c(z)."""
        return np.asarray(self.by_class.argmax(0))

    def with_metric(self, space: Space, progress: Progress = silent) -> Atlas:
        """This map with ``metric``; itself if it has one."""
        if self.metric is not None:
            return self
        found = decode_points(space.model, self.grid.points, progress=progress)
        return replace(self, metric=found.metric.reshape(3, *self.grid.shape))


def require_plane(space: Space) -> None:
    """Refuse a space whose map is not one of the plane by normals with independent dimensions.

    Raises:
        UsageError: saying what the space is.
    """
    family = space.model.encoder.family
    kind = type(family).__name__
    if not family.plane:
        raise UsageError(
            f"the points of this space ({kind}) are not any {space.dimensions} numbers: it is no plane, and maps are "
            "drawn of planes only"
        )
    if space.dimensions != 2:
        raise UsageError(f"a map has two dimensions; this space has {space.dimensions}")
    if not isinstance(family, DiagonalNormal | Point):
        raise UsageError(
            f"the posteriors of this space ({kind}) are no normals with independent dimensions, of which the exact map "
            "is made"
        )


@torch.inference_mode()
def density_of(law: Distribution, grid: Grid) -> Float[np.ndarray, "Gy Gx"]:
    """The density of a law over the plane at the points of a grid, float64."""
    if isinstance(law, Independent) and isinstance(law.base_dist, Normal):
        mean, scale = (t.detach().double().cpu().numpy() for t in (law.mean, law.stddev))
        away = [np.square((axis - m) / s) for axis, m, s in zip((grid.x, grid.y), mean, scale, strict=True)]
        peak = 1 / (2 * np.pi * scale.prod())
        return np.asarray(peak * np.exp(-0.5 * (away[0][None] + away[1][:, None])))
    device = law.mean.device
    parts = []
    for start in range(0, len(grid.points), 2**14):
        z = torch.from_numpy(grid.points[start : start + 2**14]).float().to(device)
        parts.append(law.log_prob(z).double().exp().cpu().numpy())
    return np.asarray(np.concatenate(parts).reshape(grid.shape))


def box_around(latents: Latents, *laws: Distribution) -> tuple[np.ndarray, np.ndarray]:
    """The box that holds the aggregated posterior and the laws, but for tails of a few millionths."""
    low, high = box_of(latents.mean, latents.scale)
    for law in laws:
        mean, scale = (t.detach().double().cpu().numpy() for t in (law.mean, law.stddev))
        low, high = np.minimum(low, mean - REACH * scale), np.maximum(high, mean + REACH * scale)
    return low, high


def make_atlas(
    space: Space,
    images: Images | None = None,  # noqa: ARG001
    *,
    parts: Sequence[str] | None = None,
    cells: int = CELLS,
    progress: Progress = silent,
) -> Atlas:
    """Map a space of two dimensions.

    Args:
        space: trained.
        images: those that it was trained on; only ``recognition`` and ``nearest`` look at them.
        parts: what to find out beside the densities, names among `PARTS`; by default all that can be had with what
            was given. ``()`` is a second's work and suffices for holes and overlaps, ``("metric",)`` for paths.
        cells: of the grid along each side.
        progress: told of the work.

    Raises:
        UnknownName: for a part that does not exist.
        UsageError: for a space that is no plane, or whose prior has no density.
        RunError: if the cache of latents was deleted.
    """
    require_plane(space)
    wanted = PARTS if parts is None else tuple(parts)
    for name in wanted:
        if name not in PARTS:
            raise UnknownName("part of an atlas", name, PARTS)
    made = densities(space, cells, progress)
    return made.with_metric(space, progress) if "metric" in wanted else made


def densities(space: Space, cells: int = CELLS, progress: Progress = silent) -> Atlas:
    """The densities alone: p(z), and the aggregated posterior of each class."""
    latents = space.known_latents()
    train = with_spread(latents.train if (latents.splits == 0).any() else latents)
    with torch.inference_mode():
        prior = space.model.prior(space.model.encoder)
        grid = Grid.over(*box_around(train, prior), cells)
        p = density_of(prior, grid)
    names = space.classes if train.labels is not None else ()
    by_class = aggregate(grid, train.mean, train.scale, train.labels, max(len(names), 1), progress)
    return Atlas(grid, p, by_class, tuple(names))
