"""What two or more densities on a grid say of each other: divergence, holes, overlap. Arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import rel_entr

from morphospace.atlas.grid import Grid

__all__ = ["HOLE", "Hole", "Holes"]
__all__ += ["bayes_error", "divergence", "hole_mass", "missed_mass", "overlap", "part_above"]

HOLE = 0.1
"""A place is in a hole where the one density is below this part of the other."""
LEAST_MASS = 1e-4
"""Of the prior, that a region must hold to be listed by itself."""

Field = Float[np.ndarray, "Gy Gx"]


def divergence(grid: Grid, q: Field, p: Field) -> float:
    """KL(q ‖ p) = ∫ q·log(q/p) over the box, nats; infinite where p is nought and q is not."""
    return float(grid.integral(rel_entr(q.astype(np.float64), p.astype(np.float64))))


def hole_mass(grid: Grid, q: Field, p: Field) -> float:
    """∫ p·1[q < 0.1·p]: how much of what is drawn from p lies where q hardly is.

    A cell that the border of a hole crosses counts in part, as it would if log q/p were linear within it; so the error
    falls with the square of the step, where that of counting centres falls with the step.
    """
    return float(grid.integral(p * _part_in_hole(q, p)))


def _part_in_hole(q: Field, p: Field) -> Field:
    """How much of each cell has q < 0.1·p."""
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.log(HOLE * p.astype(np.float64)) - np.log(q.astype(np.float64))
    # Where both are nought there is nothing to count.
    return part_above(np.clip(np.nan_to_num(depth, nan=-50.0), -50, 50))


def part_above(field: Field) -> Field:
    """How much of each cell has ``field`` above nought, as if it were linear within the cell."""
    across = sum(np.abs(np.gradient(field, axis=axis)) for axis in (0, 1))  # its change over a cell
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.clip(0.5 + field / across, 0, 1)
    return np.asarray(np.where(across > 0, part, field > 0))


def missed_mass(grid: Grid, q: Field, p: Field) -> float:
    """∫ q·1[p < 0.1·q]: how much of q lies where p hardly draws."""
    return hole_mass(grid, p, q)


def bayes_error(grid: Grid, by_class: Float[np.ndarray, "M Gy Gx"]) -> float:
    """1 − ∫ max_c π_c·q_c: how often the best guess of the class from z alone is wrong, π_c·q_c being ``by_class``."""
    return float(grid.integral(by_class.sum(0, dtype=np.float64) - by_class.max(0)))


def overlap(grid: Grid, by_class: Float[np.ndarray, "M Gy Gx"]) -> Float[np.ndarray, "M M"]:
    """∫ min(q_a, q_b) of every two classes, from 0 (apart) to 1 (alike), whatever their sizes (Weitzman 1970).

    Classes without images have nan.
    """
    shares = grid.integral(by_class)
    with np.errstate(invalid="ignore", divide="ignore"):
        each = by_class / shares[:, None, None].astype(np.float32)
    found = np.full((len(each), len(each)), np.nan)
    for a in np.flatnonzero(shares > 0):
        for b in np.flatnonzero(shares[: a + 1] > 0):
            found[a, b] = found[b, a] = grid.integral(np.minimum(each[a], each[b]))
    return found


@dataclass(frozen=True, eq=False)
class Hole:
    """A connected region of holes.

    Attributes:
        number: its label in `Holes.labels`.
        area: in units of the latent space squared.
        mass: of the prior in it.
        centre: the mean place of the prior's mass in it; of a ring, a place outside it.
        outer: whether it reaches the edge of the map, so that the area counts only what the map shows.
        outline: its borders, closed polygons (n, 2); the first is the longest.
    """

    number: int
    area: float
    mass: float
    centre: tuple[float, float]
    outer: bool
    outline: Sequence[Float[np.ndarray, "_ 2"]]


@dataclass(frozen=True, eq=False)
class Holes:
    """Where q < 0.1·p.

    Attributes:
        grid: of the fields.
        q: the aggregated posterior.
        p: the prior, or a sampler.
    """

    grid: Grid
    q: Field
    p: Field

    @cached_property
    def mask(self) -> Bool[np.ndarray, "Gy Gx"]:
        """Which points lie in holes."""
        return np.asarray(self.q < HOLE * self.p)

    @cached_property
    def labels(self) -> Int[np.ndarray, "Gy Gx"]:
        """The number of the connected region (by sides) that each point belongs to, 0 outside holes."""
        found, _ = ndimage.label(self.mask)
        return np.asarray(found, dtype=np.int64)

    @cached_property
    def regions(self) -> tuple[Hole, ...]:
        """Regions that hold at least 10⁻⁴ of p's mass, heaviest first."""
        labels, cell = self.labels, self.grid.cell
        count = int(labels.max()) + 1
        flat = labels.ravel()
        areas = np.bincount(flat, minlength=count) * cell
        weights = self.p.ravel().astype(np.float64) * cell
        masses = np.bincount(flat, weights, count)
        edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        chosen = [n for n in np.argsort(-masses, kind="stable") if n > 0 and masses[n] >= LEAST_MASS]
        points = self.grid.points
        moments = [np.bincount(flat, weights * points[:, axis], count) for axis in (0, 1)]
        return tuple(
            Hole(
                number=int(n),
                area=float(areas[n]),
                mass=float(masses[n]),
                centre=(float(moments[0][n] / masses[n]), float(moments[1][n] / masses[n])),
                outer=bool(n in edge),
                outline=self._outline(labels == n),
            )
            for n in chosen
        )

    def _outline(self, region: Bool[np.ndarray, "Gy Gx"]) -> list[NDArray[np.float64]]:
        """The closed lines along which q = 0.1·p around one region; along the map's edge where it reaches that.

        The region is framed by a ring of points outside it, half a step beyond the edge of the map.
        """
        from contourpy import contour_generator

        with np.errstate(divide="ignore", invalid="ignore"):
            depth = np.log(HOLE * self.p) - np.log(self.q)  # above nought within holes
        depth = np.clip(np.nan_to_num(depth, nan=-1.0, posinf=3.0, neginf=-3.0), -3, 3)
        # Points of other regions are outside of this one.
        depth = np.where(region, np.maximum(depth, 1e-9), np.minimum(depth, -1e-9))
        wide = np.pad(depth, 1, constant_values=-1e-9)
        x, y = (
            np.concatenate([[low], axis, [high]])
            for low, axis, high in zip(self.grid.low, (self.grid.x, self.grid.y), self.grid.high, strict=True)
        )
        lines = contour_generator(x, y, wide).lines(0.0)
        return sorted((np.asarray(line) for line in lines), key=lambda line: -len(line))
