"""Prototypes: one place that stands for a class or for any set of images, in four ways, each with its own density.

    mean            the mean of the latents
    medoid          the latent whose distances to the others have the least sum
    mode            where the set's own aggregated posterior is densest
    geodesic mean   the place with the least sum of squared distances in image space, along the shortest ways (Fréchet)

An average may lie where none of what it averages does: in a hole. So each prototype says how dense the data are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from morphospace.latents import Latents, at_points, with_spread
from morphospace.manifolds import Manifold, Plane
from morphospace.morphing.chart import Chart
from morphospace.morphing.cloud import Cloud, neighbour_graph
from morphospace.morphing.graph import GridGraph
from morphospace.morphing.places import intrinsic_mean, manifold_of
from morphospace.morphing.ways import HOLE, Ground
from morphospace.space import Space
from morphospace.types import UnknownName, UsageError

__all__ = ["Prototype", "density_mode", "geodesic_mean_on_grid", "medoid", "nearest_image", "prototypes"]

MOST_MEMBERS = 4_000
"""Latents of a set among which distances are taken, at most; evenly spaced ones of more."""
MOST_CLIMBERS = 1_000
"""Means among which the densest are looked for, to climb from."""
NODES = 64
"""Along each side of the graph that the geodesic mean is looked for on."""


@dataclass(frozen=True, eq=False)
class Prototype:
    """A place that stands for a set of images.

    Attributes:
        kind: mean, medoid, mode or geodesic mean.
        z: (D,) the place.
        log_density: log q(z) there, nats, q the aggregated posterior of all training images; None off the plane.
        to_prior: q(z) / p(z); None where either is not known.
    """

    kind: str
    z: Float[np.ndarray, " D"]
    log_density: float | None = None
    to_prior: float | None = None

    @property
    def in_hole(self) -> bool | None:
        """Whether q(z) < 0.1·p(z) there."""
        return None if self.to_prior is None else self.to_prior < HOLE


def prototypes(
    space: Space, members: str | Sequence[int] | NDArray[np.intp], ground: Ground | None = None
) -> list[Prototype]:
    """The prototypes of a class, or of some of the training images.

    Args:
        space: trained, with its latents.
        members: a class name, or positions among the training images.
        ground: from `ground_of`; without it there is no geodesic mean, except where it is the mean.

    Raises:
        UnknownName: for a class that does not exist.
        UsageError: for a set of no images, or a space between whose points nothing lies.
    """
    manifold = manifold_of(space)
    latents = space.known_latents()
    train = with_spread(latents.learned)
    rows = _rows(space, train, members)
    own = train.take(rows)
    found = [
        ("mean", intrinsic_mean(manifold, own.mean)),
        ("medoid", medoid(manifold, own.mean)),
    ]
    if isinstance(manifold, Plane):
        found.append(("mode", density_mode(own.mean, own.scale)))
    if isinstance(ground, Chart):
        found.append(("geodesic mean", geodesic_mean_on_grid(ground.graph("geodesic", NODES), own.mean)))
    elif isinstance(ground, Cloud):
        found.append(("geodesic mean", _geodesic_medoid(ground, own.mean)))
    if not isinstance(manifold, Plane):
        return [Prototype(kind, z) for kind, z in found]
    log_q, log_p = _log_densities(space, train, np.stack([z for _, z in found]))
    return [
        Prototype(kind, z, float(q), None if log_p is None else float(np.exp(q - log_p[i])))
        for i, ((kind, z), q) in enumerate(zip(found, log_q, strict=True))
    ]


def _rows(space: Space, train: Latents, members: str | Sequence[int] | NDArray[np.intp]) -> NDArray[np.intp]:
    if isinstance(members, str):
        folded = [name.casefold() for name in space.classes]
        if members.casefold() not in folded or train.labels is None:
            raise UnknownName("class", members, space.classes)
        rows = np.flatnonzero(train.labels == folded.index(members.casefold()))
    else:
        rows = np.asarray(members, dtype=np.intp)
        if rows.size and not (rows.min() >= 0 and rows.max() < len(train)):
            raise UsageError(
                f"positions of training images go from 0 to {len(train) - 1}; found {rows.max()}"
            )
    if not len(rows):
        raise UsageError("a prototype of no images was asked for; expected at least one training image")
    return rows


def _log_densities(
    space: Space, train: Latents, z: Float[np.ndarray, "N D"]
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"] | None]:
    """log q and log p at points; None for a prior without a density."""
    q = at_points(z, train.mean, train.scale)[:, 0]
    model = space.model
    with torch.inference_mode():
        try:
            p = model.prior_of().log_prob(torch.from_numpy(z).to(next(model.parameters()).device))
        except (NotImplementedError, UsageError):
            return q, None
    return q, p.double().cpu().numpy()


def medoid(manifold: Manifold, points: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " D"]:
    """The point whose distances along the manifold to the others have the least sum (Kaufman & Rousseeuw 1987)."""
    some = _some(points)
    y = torch.from_numpy(some.astype(np.float64))

    def distances(part: torch.Tensor) -> torch.Tensor:
        if isinstance(manifold, Plane):  # at once, and from differences: a matrix product would lose digits
            return torch.cdist(part, y, compute_mode="donot_use_mm_for_euclid_dist")
        return manifold.distance(part[:, None], y)

    sums = torch.cat([distances(y[i : i + 256]).sum(1) for i in range(0, len(y), 256)])
    return np.asarray(some[int(sums.argmin())], dtype=np.float32)


def _some(points: Float[np.ndarray, "N D"], most: int = MOST_MEMBERS) -> NDArray[np.float32]:
    every = np.unique(np.linspace(0, len(points) - 1, min(len(points), most)).round().astype(int))
    return np.asarray(points[every], dtype=np.float32)


def density_mode(
    mean: Float[np.ndarray, "N D"], scale: Float[np.ndarray, "N D"], starts: int = 8
) -> Float[np.ndarray, " D"]:
    """Where the mean of N normals is densest, found by climbing from the densest of their means.

    Each round goes to the mean of the normals' means, weighted by their densities here and by their precisions: a fixed
    point of it is where the derivative is nought, and no round goes down (Carreira-Perpiñán 2000,
    doi:10.1109/34.888716). The highest of some starts is taken; in theory a higher mode might have none near it.
    """
    mean, scale = (np.asarray(part, dtype=np.float64) for part in (mean, scale))
    centre = mean.mean(0)  # differences of large squares lose digits; those about the middle are small
    away = mean - centre
    some = np.unique(np.linspace(0, len(mean) - 1, min(len(mean), MOST_CLIMBERS)).round().astype(int))
    height = at_points(away[some], away, scale)[:, 0]
    z = away[some[np.argsort(-height)[:starts]]]
    precision = scale**-2
    weights = np.concatenate([-0.5 * precision, away * precision], 1).T  # (2D, N)
    constant = -0.5 * (np.square(away) * precision).sum(1) - np.log(scale).sum(1)
    for _ in range(500):
        each = np.concatenate([np.square(z), z], 1) @ weights + constant  # (S, N)
        share = np.exp(each - each.max(1, keepdims=True))
        nxt = (share @ (precision * away)) / (share @ precision)
        moved = float(np.abs(nxt - z).max())
        z = nxt
        if moved < 1e-7:
            break
    return np.asarray(centre + z[at_points(z, away, scale)[:, 0].argmax()], dtype=np.float32)


def geodesic_mean_on_grid(graph: GridGraph, points: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, " 2"]:
    """The point with the least mean squared distance to N points, along the cheapest ways through a graph.

    The points are shared out among the nodes around them. Between the best node and its neighbours the least place of a
    parabola along each axis is taken.
    """
    weight = _shared_out(graph, _some(points))
    occupied = np.flatnonzero(weight)
    total = np.zeros(len(weight))
    for start in range(0, len(occupied), 256):
        rows = occupied[start : start + 256]
        total += weight[rows] @ np.square(dijkstra(graph.edges, indices=rows))
    mean = total.reshape(len(graph.y), len(graph.x))
    row, column = np.unravel_index(mean.argmin(), mean.shape)
    return np.array(
        [_lowest(graph.x, mean[row], int(column)), _lowest(graph.y, mean[:, column], int(row))],
        dtype=np.float32,
    )


def _shared_out(graph: GridGraph, points: Float[np.ndarray, "N 2"]) -> NDArray[np.float64]:
    """(nodes,) each point's part, divided among the four nodes around it as bilinear interpolation would."""
    weight = np.zeros((len(graph.y), len(graph.x)))
    places = []
    for axis, nodes in enumerate((graph.x, graph.y)):
        at = np.clip((points[:, axis] - nodes[0]) / (nodes[1] - nodes[0]), 0, len(nodes) - 1 - 1e-6)
        places.append((at.astype(np.intp), at - at.astype(np.intp)))
    (column, u), (row, v) = places
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        np.add.at(weight, (row + down, column + right), (v if down else 1 - v) * (u if right else 1 - u))
    return weight.ravel() / len(points)


def _lowest(axis: NDArray[np.float64], values: NDArray[np.float64], at: int) -> float:
    """Where a parabola through the lowest of some values and its two neighbours is lowest."""
    if not 0 < at < len(axis) - 1:
        return float(axis[at])
    before, here, after = values[at - 1 : at + 2]
    bend = before - 2 * here + after
    shift = 0.5 * (before - after) / bend if bend > 0 else 0.0
    return float(axis[at] + np.clip(shift, -1, 1) * (axis[1] - axis[0]))


def _geodesic_medoid(ground: Cloud, points: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " D"]:
    """In more dimensions: the latent with the least sum of squared distances through the graph of its neighbours."""
    some = _some(points, 1000)
    if len(some) < 3:
        return np.asarray(some[0])
    joined = neighbour_graph(some.astype(np.float64))
    images = ground.decode(some).reshape(len(some), -1)
    i, j = joined.nonzero()
    lengths = np.linalg.norm(images[i] - images[j], axis=1) + 1e-12
    apart = dijkstra(csr_array((lengths, (i, j)), shape=joined.shape))
    return np.asarray(some[int(np.square(apart).sum(1).argmin())])


def nearest_image(picture: Float[np.ndarray, "C H W"], pixels: NDArray[np.uint8]) -> int:
    """The position among images (N, C, H, W) of the one nearest to a picture, by root summed squares of pixels."""
    flat = (picture.reshape(-1) * 255).astype(np.float32)
    apart = np.empty(len(pixels))
    for start in range(0, len(pixels), 4096):
        part = pixels[start : start + 4096].reshape(-1, len(flat)).astype(np.float32)
        apart[start : start + 4096] = np.square(part - flat).sum(1)
    return int(apart.argmin())
