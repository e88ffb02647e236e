"""The ground of a space of more than two dimensions, which no grid can fill: its data, as a graph, and its decoder.

A way is a natural cubic spline with `KNOTS` free knots. Its cost is made least by gradients through the decoder, from
several starts: the straight line, the great circle, and the cheapest way through the graph that joins each of some
training latents to its nearest neighbours. What comes out is the best that was found, which need not be the best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import dijkstra, minimum_spanning_tree
from scipy.spatial.distance import cdist
from torch import Tensor

from morphospace.latents import at_points
from morphospace.morphing.fields import respaced
from morphospace.morphing.own import decoded_lengths
from morphospace.morphing.ways import DOUBT, HOLE, KINDS, POINTS, Decode, great_circle
from morphospace.types import UsageError

__all__ = ["Cloud", "neighbour_graph"]

NODES = 1500
"""Training latents in the graph, evenly spaced ones of the set."""
NEIGHBOURS = 12
KNOTS = 7
SAMPLES = 33
"""Points at which the cost of a spline is summed while it is made less."""
STEPS = 100
MOST_NORMALS = 8_000
"""Training posteriors whose mean stands for q(z) while a spline is bent; holes are told by all of them."""


@dataclass(eq=False)
class Cloud:
    """Ways through a cloud of data.

    Args:
        decode: points (N, D) to images, as arrays.
        draw: the same, differentiable: float32 tensors (N, D) to (N, C, H, W).
        mean: (N, D) of the training posteriors.
        scale: (N, D) their deviations, above nought.
        labels: (N,) positions in ``classes``, or None.
        classes: names.
        log_prior: points (N, D) to log p(z); None where the prior has no density.
        see: images to class probabilities, differentiable; None without a classifier.
    """

    decode: Decode
    draw: Callable[[Tensor], Tensor]
    mean: Float[np.ndarray, "N D"]
    scale: Float[np.ndarray, "N D"]
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...]
    log_prior: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None
    see: Callable[[Tensor], Tensor] | None

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(kind for kind in KINDS if self.refusal(kind) is None)

    def refusal(self, kind: str) -> str | None:
        """A hole has no edge here that could be followed, and what a classifier would have to see may be missing."""
        if kind == "clear":
            return (
                f"a clear path follows the edges of holes on a map of two dimensions; this space has "
                f"{self.mean.shape[1]}. 'dense' stays where the data are"
            )
        if kind == "recognisable" and self.see is None:
            return (
                "a recognisable path needs a classifier of the run's classes, and there is none; bring the run's "
                "images (--data-root), or choose another path"
            )
        return None

    def ways(
        self, kind: str, pairs: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]
    ) -> NDArray[np.float64]:
        """(B, POINTS, D) the way between each two places, evenly spaced by image-space length."""
        found = np.stack([self._way(kind, np.asarray(a, float), np.asarray(b, float)) for a, b in pairs])
        return self._even(found)

    def _even(self, ways: NDArray[np.float64]) -> NDArray[np.float64]:
        for _ in range(2):
            ways = respaced(ways, self.lengths(ways), POINTS)
        return ways

    def _way(self, kind: str, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        t = np.linspace(0, 1, POINTS)[:, None]
        line = (1 - t) * a + t * b
        if kind == "straight":
            return line
        if kind == "great-circle":
            return great_circle(a, b, POINTS)
        starts = [line, self._through_data(kind, a, b)]
        with suppress(UsageError):  # between opposite places there is none, and it is one start of several
            starts.append(great_circle(a, b, POINTS))
        starts += list(self._bent(kind, np.stack(starts)))
        costs = [self.cost(kind, start) for start in starts]
        return starts[int(np.argmin(costs))]

    # ------------------------------------------------------------ what a way costs

    def cost(self, kind: str, way: Float[np.ndarray, "P D"]) -> float:
        """∫ w ds of a way, summed over `POINTS` points that are even in image space."""
        even = self._even(way[None])[0]
        z = torch.from_numpy(even).float()
        with torch.no_grad():
            images = self.draw(z).flatten(1).double()
            weight = self._weights(kind, z, images.float())
        lengths = (images[1:] - images[:-1]).norm(dim=1)
        return float((0.5 * (weight[1:] + weight[:-1]) * lengths).sum())

    def _weights(
        self, kind: str, z: Float[Tensor, "P D"], images: Float[Tensor, "P V"]
    ) -> Float[Tensor, " P"]:
        """w at each point; differentiable."""
        if kind == "dense":
            # Relative to the densest data, and not beyond e³⁰: far from all data 1/q would overflow.
            return ((self._densest - self._log_q(z)) * (2 / z.shape[1])).clamp_max(30).exp()
        if kind == "recognisable":
            assert self.see is not None
            return DOUBT + 1 - self.see(images).amax(1).double()
        return torch.ones(len(z), dtype=torch.float64)

    @cached_property
    def _normals(self) -> tuple[Tensor, Tensor, Tensor]:
        """What is needed for log q at any point: the middle, (2D, N) weights of (z², z), and (N,) constants."""
        some = np.unique(
            np.linspace(0, len(self.mean) - 1, min(MOST_NORMALS, len(self.mean))).round().astype(int)
        )
        mean, scale = (torch.from_numpy(np.asarray(p[some], np.float64)) for p in (self.mean, self.scale))
        centre, precision = mean.mean(0), scale**-2
        away = mean - centre
        weights = torch.cat([-0.5 * precision, away * precision], 1).T.contiguous()
        constant = -0.5 * (away.square() * precision).sum(1) - (scale * (2 * np.pi) ** 0.5).log().sum(1)
        return centre, weights, constant - np.log(len(mean))

    def _log_q(self, z: Float[Tensor, "P D"]) -> Float[Tensor, " P"]:
        centre, weights, constant = self._normals
        away = z.double() - centre
        return (torch.cat([away.square(), away], 1) @ weights + constant).logsumexp(1)

    @cached_property
    def _densest(self) -> float:
        return float(self._log_q(torch.from_numpy(self.mean[self._nodes])).max())

    # ------------------------------------------------------------ starts, and what is made of them

    @cached_property
    def _nodes(self) -> NDArray[np.intp]:
        return np.unique(
            np.linspace(0, len(self.mean) - 1, min(NODES, len(self.mean))).round().astype(np.intp)
        )

    @cached_property
    def _graph(self) -> tuple[NDArray[np.float64], csr_array, NDArray[np.float32]]:
        """The nodes' places, which of them are joined (at their latent distances), and their decoded images."""
        places = self.mean[self._nodes].astype(np.float64)
        return places, neighbour_graph(places), self.decode(places).reshape(len(places), -1)

    def _through_data(self, kind: str, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        """The cheapest way from node to node, where an edge costs w · the distance of its ends' images."""
        places, joined, images = self._graph
        edges = coo_array(joined)
        z = torch.from_numpy(places).float()
        with torch.no_grad():
            weight = self._weights(kind, z, torch.from_numpy(images)).numpy()
        i, j = edges.row, edges.col
        apart = np.linalg.norm(images[i] - images[j], axis=1)
        costs = csr_array((0.5 * (weight[i] + weight[j]) * apart + 1e-12, (i, j)), shape=edges.shape)
        first, last = (int(np.linalg.norm(places - end, axis=1).argmin()) for end in (a, b))
        _, before = dijkstra(costs, indices=first, return_predecessors=True)
        node, found = last, []
        while node >= 0:
            found.append(node)
            node = int(before[node])
        way = np.concatenate([a[None], places[found[::-1]], b[None]])
        return respaced(way, np.linalg.norm(np.diff(way, axis=0), axis=1), POINTS)

    def _bent(self, kind: str, starts: Float[np.ndarray, "B P D"]) -> NDArray[np.float64]:
        """Splines begun at ways and made cheaper: ∫ (w ds/dt)² dt falls, which is least where ∫ w ds is."""
        basis = CubicSpline(np.linspace(0, 1, KNOTS + 2), np.eye(KNOTS + 2), bc_type="natural")
        at = torch.from_numpy(basis(np.linspace(0, 1, SAMPLES))).float()  # (T, KNOTS + 2)
        walked = np.linalg.norm(np.diff(starts, axis=1), axis=2)
        even = torch.from_numpy(respaced(starts, walked, KNOTS + 2)).float()  # (B, KNOTS + 2, D)
        first, last = even[:, :1], even[:, -1:]
        inner = even[:, 1:-1].clone().requires_grad_()
        rate = 0.02 * float(walked.sum(1).mean())
        optimizer = torch.optim.Adam([inner], rate)
        least, kept = torch.full((len(even),), torch.inf, dtype=torch.float64), inner.detach().clone()
        for step in range(STEPS):
            z = (at @ torch.cat([first, inner, last], 1)).flatten(0, 1)
            images = self.draw(z).flatten(1)
            weight = self._weights(kind, z, images).view(len(even), SAMPLES)
            images = images.view(len(even), SAMPLES, -1)
            each = 0.5 * (weight[:, 1:] + weight[:, :-1]) * (images[:, 1:] - images[:, :-1]).norm(dim=2)
            energy = each.square().sum(1).log()  # the logarithm: steps of one size for every space
            now = energy.detach()
            kept = torch.where((now < least)[:, None, None], inner.detach(), kept)
            least = torch.minimum(now, least)
            (inner.grad,) = torch.autograd.grad(energy.sum(), inner)
            for group in optimizer.param_groups:
                group["lr"] = rate * (1 - step / STEPS)
            optimizer.step()
        knots = torch.cat([first, kept, last], 1).double().numpy()
        found: NDArray[np.float64] = basis(np.linspace(0, 1, POINTS)) @ knots
        found[:, 0], found[:, -1] = starts[:, 0], starts[:, -1]
        return found

    # ------------------------------------------------------------ scores

    def lengths(self, ways: Float[np.ndarray, "B P D"]) -> NDArray[np.float64]:
        """(B, P − 1) distances between decoded neighbours."""
        return decoded_lengths(self.decode, ways)

    def holes(self, z: Float[np.ndarray, "N D"]) -> Bool[np.ndarray, " N"] | None:
        """Where q(z) < 0.1·p(z), q the exact aggregated posterior of the training images."""
        if self.log_prior is None:
            return None
        q = at_points(z, self.mean, self.scale)[:, 0]
        return np.asarray(q < self.log_prior(z) + np.log(HOLE))

    def recognised(self, z: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " N"] | None:
        """The probability of the likeliest class of each decoded image."""
        if self.see is None:
            return None
        with torch.no_grad():
            parts = [
                self.see(self.draw(torch.from_numpy(z[i : i + 500]).float())) for i in range(0, len(z), 500)
            ]
        return np.asarray(torch.cat(parts).amax(1).double().numpy())

    def nearest(self, z: Float[np.ndarray, "N D"]) -> Sequence[str]:
        """The class with the largest part of the aggregated posterior at each point."""
        if self.labels is None:
            return ["all images"] * len(z)
        parts = at_points(z, self.mean, self.scale, self.labels, len(self.classes))
        return [self.classes[c] for c in parts.argmax(1)]


def neighbour_graph(places: Float[np.ndarray, "N D"], neighbours: int = NEIGHBOURS) -> csr_array:
    """(N, N) distances between each point and its nearest, both ways; in one piece.

    The edges of the least spanning tree are among them, so that from every point a way leads to every other.
    """
    apart = cdist(places, places)
    count = min(neighbours, len(places) - 1)
    near = np.argpartition(apart, count, axis=1)[:, : count + 1]
    joined = np.zeros_like(apart, dtype=bool)
    np.put_along_axis(joined, near, True, axis=1)
    # An edge of length nought is none to scipy: equal places are held apart by next to nothing.
    tree = minimum_spanning_tree(np.maximum(apart, 1e-9 * max(float(apart.max()), 1e-300))).tocoo()
    joined[tree.row, tree.col] = True
    joined |= joined.T
    np.fill_diagonal(joined, False)
    i, j = np.nonzero(joined)
    return csr_array((apart[i, j], (i, j)), shape=apart.shape)
