"""The exact log p(x) of a space of two dimensions, by quadrature over the plane, with its own error.

log p(x) = log ∫ p(z) p(x given z) dz. The plane is cut into square tiles, each with midpoints of a lattice of its own
fineness. For a smooth integrand the midpoint rule's error falls faster than any power of the spacing h: for a normal of
standard deviation s it is about 2·exp(−2π²s²/h²), so h = 2s already leaves 1.4 %, and h = s nothing. Each image's
tiles are made twice as fine until its own log p(x) moves by less than a tolerance, where they hold some of its mass.

The prior is integrated along with the images, as if it were an image that every point explains perfectly: its integral
must be 1, which tells a prior that is no density over the plane, or that reaches beyond the box, from one that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import Tensor

from morphospace.evaluation.pairs import Pairs
from morphospace.model import VAE, Labels
from morphospace.types import NumericalError, Progress, UsageError, silent

__all__ = ["Quadrature", "exact_log_likelihood"]

TILE = 0.25
"""Side of a tile: well under the prior's width, several times that of a narrow posterior."""
COARSE = 4
"""Midpoints along a side of a tile at first: h = 0.0625."""
FINEST = 6
"""How often a tile may be made twice as fine: to h = 0.001."""
SHARE = 1e-9
"""A tile with less than this share of an image's mass is left as it is."""
EDGE = 1e-6
"""The box grows until its outermost ring holds less than this share of every image's mass, and of the prior's."""
REACH = 6.0
"""How far the box reaches at first, in each direction; a standard normal has 4e-9 of its mass beyond."""
FURTHEST = 24.0
"""How far it may come to reach."""
MASS = 0.02
"""How far log ∫ p(z) dz may be from 0."""
AT_ONCE = 1024
"""Points decoded together, where tiles have fewer."""
BLOCK = 10_000
"""Images at a time: one float64 for each image and tile is kept."""


@dataclass(frozen=True, eq=False)
class Quadrature:
    """log p(x) of N images, and how exact it is.

    Attributes:
        log_p: (N,) nats.
        moved: (N,) by how much the last refinement moved each: more than its error, since refining converges.
        prior: log ∫ p(z) dz over the box, which is 0 for a density.
        edges: (N,) the share of each image's mass in the box's outermost ring: more than lies beyond, where it falls.
        spacing: the finest lattice's.
        points: how many points were decoded.
        reach: half the side of the box.
    """

    log_p: Float[np.ndarray, " N"]
    moved: Float[np.ndarray, " N"]
    prior: float
    edges: Float[np.ndarray, " N"]
    spacing: float
    points: int
    reach: float

    @property
    def error(self) -> float:
        """A bound on the error of the mean log p(x), in nats, as far as the refinements tell."""
        return float(np.abs(self.moved).mean() + self.edges.mean())

    @property
    def edge(self) -> float:
        """The largest share of an image's mass in the outermost ring."""
        return float(self.edges.max())


def exact_log_likelihood(
    model: VAE,
    x: Float[Tensor, "N C H W"],
    tolerance: float = 0.01,
    progress: Progress = silent,
    labels: Labels | None = None,
) -> Quadrature:
    """log p(x) of each image of a space with two dimensions.

    Args:
        model: with any prior that is a density over the plane, and any likelihood.
        x: (N, C, H, W), values in [0, 1], on the model's device.
        tolerance: nats; tiles are refined until no image moves by more.
        progress: told of every tile.
        labels: (N,) classes, for a model that is told of them: then it is log p(x given y), one class after another.

    Raises:
        UsageError: for a space of another dimension, or a prior that is no density over the plane.
        NumericalError: if the refinements do not settle.
    """
    if tuple(model.decoder.network.input_shape) != (2,):
        raise UsageError(
            "log p(x) is exact by quadrature in two dimensions; this space has "
            f"{model.decoder.network.input_shape[0]}: use importance weighting"
        )
    groups = [(model, torch.arange(len(x), device=x.device))]
    if labels is not None:
        groups = [
            (model.of_class(c), (labels == c).nonzero()[:, 0]) for c in np.unique(labels.cpu()).tolist()
        ]
    blocks = [
        _Plane(bound, x[rows[i : i + BLOCK]], progress).settle(tolerance)
        for bound, rows in groups
        for i in range(0, len(rows), BLOCK)
    ]
    back = torch.cat([rows for _, rows in groups]).argsort().cpu().numpy()  # to the images' own order
    return Quadrature(
        log_p=np.concatenate([b.log_p for b in blocks])[back],
        moved=np.concatenate([b.moved for b in blocks])[back],
        prior=max((b.prior for b in blocks), key=abs),
        edges=np.concatenate([b.edges for b in blocks])[back],
        spacing=min(b.spacing for b in blocks),
        points=sum(b.points for b in blocks),
        reach=max(b.reach for b in blocks),
    )


class _Plane:
    """The tiles of a box, and the log-integral of every row over every tile; the last row is the prior itself."""

    def __init__(self, model: VAE, x: Tensor, progress: Progress) -> None:
        self.progress = progress
        with torch.inference_mode():
            self.prior = model.prior(model.encoder)
            q = model.encode(x)
        self.pairs = Pairs(model, x)
        self.rows = len(x) + 1
        self.points = 0
        self.level = 0
        self.home = q.mean.double().cpu().numpy()
        self.width = q.stddev.double().cpu().numpy()
        self.side = round(REACH / TILE)  # the box has 2·side tiles a side
        self.tiles = self._box(self.side)
        self.mass = self._coarse(self.tiles)

    def settle(self, tolerance: float) -> Quadrature:
        """Grow and refine until nothing moves."""
        while self._edges().max() > EDGE and self.side * TILE < FURTHEST:
            self._grow()
        value = logsumexp(self.mass, axis=1)
        if not np.isfinite(value).all():
            raise UsageError("p(x, z) is not a finite number all over the plane; use importance weighting")
        moved = np.full(self.rows, np.inf)
        needed = self._at_first()
        for _ in range(FINEST):
            self._refine(needed)
            before, value = value, logsumexp(self.mass, axis=1)
            touched = needed.any(1)
            moved[touched] = (value - before)[touched]
            unsettled = np.abs(moved) > tolerance
            needed = (self.mass - value[:, None] > np.log(SHARE)) & unsettled[:, None]
            if not unsettled.any():
                break
        else:
            raise NumericalError(
                f"log p(x) of {int(unsettled.sum())} images still moves by up to {np.abs(moved).max():.3g} nats at a "
                f"spacing of {self.spacing:.2g}: their posteriors are too narrow for a grid; use importance weighting"
            )
        if abs(value[-1]) > MASS:
            raise UsageError(
                f"the prior's mass over the plane is exp({value[-1]:.3g}), expected 1: it is no density over the two "
                "dimensions, or reaches far beyond them; use importance weighting"
            )
        return Quadrature(
            value[:-1],
            moved[:-1],
            float(value[-1]),
            self._edges()[:-1],
            self.spacing,
            self.points,
            self.side * TILE,
        )

    @property
    def spacing(self) -> float:
        return float(TILE / (COARSE * 2**self.level))

    def _box(self, side: int) -> NDArray[np.int64]:
        """(T, 2) the tiles of a box, each named by its lower left corner in units of `TILE`."""
        steps = np.arange(-side, side)
        return np.stack([axis.ravel() for axis in np.meshgrid(steps, steps, indexing="ij")], 1)

    def _ring(self) -> NDArray[np.bool_]:
        ring: NDArray[np.bool_] = ((self.tiles == -self.side) | (self.tiles == self.side - 1)).any(1)
        return ring

    def _edges(self) -> Float[np.ndarray, " rows"]:
        """The share of each row's mass in the outermost ring."""
        total = logsumexp(self.mass, axis=1)
        return np.asarray(np.exp(logsumexp(self.mass[:, self._ring()], axis=1) - total))

    def _grow(self) -> None:
        """Four more rings of tiles."""
        self.side += 4
        known = {tuple(tile) for tile in self.tiles.tolist()}
        new = np.array([tile for tile in self._box(self.side).tolist() if tuple(tile) not in known])
        self.mass = np.concatenate([self.mass, self._coarse(new)], axis=1)
        self.tiles = np.concatenate([self.tiles, new])

    def _coarse(self, tiles: Int[np.ndarray, "T 2"]) -> Float[np.ndarray, "rows T"]:
        """The log-integrals of every row over ``tiles`` at the first fineness."""
        mass = np.empty((self.rows, len(tiles)))
        step = max(1, 2 * AT_ONCE // COARSE**2)
        for i in range(0, len(tiles), step):
            some = tiles[i : i + step]
            joint = self._joint(_midpoints(some, COARSE), None).reshape(self.rows, len(some), -1)
            mass[:, i : i + len(some)] = _log_mean(joint)
            self.progress("integrating over the plane", min(i + step, len(tiles)), len(tiles))
        return mass

    def _at_first(self) -> NDArray[np.bool_]:
        """Which tiles of which rows to refine first: those with mass, those where the encoder looks, and all around.

        A lattice much coarser than a posterior may see little of it, so what it saw is not enough.
        """
        place = np.full((2 * self.side, 2 * self.side), -1)
        place[tuple((self.tiles + self.side).T)] = np.arange(len(self.tiles))
        needed = self.mass - logsumexp(self.mass, axis=1)[:, None] > np.log(SHARE)
        low = np.floor((self.home - 5 * self.width) / TILE).astype(int) + self.side
        high = np.floor((self.home + 5 * self.width) / TILE).astype(int) + self.side
        low, high = (np.clip(corner, 0, 2 * self.side - 1) for corner in (low, high))
        for row in range(len(self.home)):
            near = place[low[row, 0] : high[row, 0] + 1, low[row, 1] : high[row, 1] + 1]
            needed[row, near.ravel()] = True
        grid = needed[:, place]  # (rows, 2·side, 2·side)
        wide = grid.copy()
        for axis in (1, 2):
            along = wide.copy()
            ahead: Any = [slice(None)] * 3
            behind: Any = [slice(None)] * 3
            ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
            wide[tuple(ahead)] |= along[tuple(behind)]
            wide[tuple(behind)] |= along[tuple(ahead)]
        found: NDArray[np.bool_] = np.empty_like(needed)
        found[:, place] = wide
        return found

    def _refine(self, needed: NDArray[np.bool_]) -> None:
        """Integrate the needed tiles of the needed rows with a lattice twice as fine."""
        self.level += 1
        fineness = COARSE * 2**self.level
        chosen = np.flatnonzero(needed.any(0))
        together = max(1, AT_ONCE // fineness**2)  # neighbours in the list are neighbours in the plane
        for start in range(0, len(chosen), together):
            tiles = chosen[start : start + together]
            rows = np.flatnonzero(needed[:, tiles].any(1))
            points = _midpoints(self.tiles[tiles], fineness)
            parts = [
                self._joint(points[i : i + 2 * AT_ONCE], rows) for i in range(0, len(points), 2 * AT_ONCE)
            ]
            joint = torch.cat(parts, 1).reshape(len(rows), len(tiles), -1)
            place = np.ix_(rows, tiles)
            self.mass[place] = np.where(needed[place], _log_mean(joint), self.mass[place])
            self.progress(f"refining, step {self.level}", min(start + together, len(chosen)), len(chosen))

    @torch.inference_mode()
    def _joint(
        self, points: Float[np.ndarray, "M 2"], rows: NDArray[np.int64] | None
    ) -> Float[Tensor, "R M"]:
        """log p(x, z) of the rows (all of them, if None) at points; the last row is the prior itself."""
        device = self.pairs.x.device
        z = torch.from_numpy(points).to(device, self.pairs.x.dtype)
        prior = self.prior.log_prob(z)
        self.points += len(points)
        if rows is None:
            joint, with_prior = self.pairs(z), True
        else:
            with_prior = bool(rows[-1] == self.rows - 1)
            images = torch.from_numpy(rows[:-1] if with_prior else rows).to(device)
            joint = self.pairs(z, images) if len(images) else self.pairs.flat.new_zeros((0, len(z)))
        joint = joint + prior
        return torch.cat([joint, prior[None].to(joint.dtype)]) if with_prior else joint


def _midpoints(tiles: Int[np.ndarray, "T 2"], fineness: int) -> Float[np.ndarray, "M 2"]:
    """The midpoints of a lattice in each tile, tile after tile."""
    within = (np.arange(fineness) + 0.5) / fineness
    lattice = np.stack([axis.ravel() for axis in np.meshgrid(within, within, indexing="ij")], 1)
    return np.asarray(((tiles[:, None] + lattice) * TILE).reshape(-1, 2))


def _log_mean(joint: Float[Tensor, "R T M"]) -> Float[np.ndarray, "R T"]:
    """The log-integral over a tile: the mean over its midpoints times its area, summed in float64."""
    top = joint.amax(-1, keepdim=True)
    total = (joint - top).exp().double().mean(-1).log() + top[..., 0].double()
    return np.asarray(total.cpu().numpy() + 2 * np.log(TILE))
