"""The cheapest way through a field among all ways: shortest paths on a grid graph.

Every node is joined to its 32 neighbours, the nodes that lie up to three steps away in coprime directions, so that a
way may turn in small angles: between two of the directions lie at most 18.4°, and on flat ground the best of their
combinations is at most 1.3 % longer than the straight line. What is left of that error, `refined` takes away; the
graph's part is to find the right side of every hole. Dijkstra's algorithm (1959) gives from one source the ways to all
nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from morphospace.morphing.fields import Field, speeds

__all__ = ["NODES", "GridGraph", "Tree"]

NODES = 256
"""Along each side of the graph; the field itself may be finer, and edges are measured in it. With so many no
geodesic of Fashion-MNIST has more energy than a finer search finds (docs/morphs.md)."""
REACH = 3


@dataclass(frozen=True, eq=False)
class Tree:
    """The cheapest ways from one node to all others: their cost (nodes,), and the node before each (nodes,)."""

    cost: NDArray[np.float64]
    before: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class GridGraph:
    """Nodes on a grid over a field, and the costs of the edges between them.

    Attributes:
        x: (Nx,) the nodes' columns.
        y: (Ny,) the nodes' rows.
        edges: (nodes, nodes) costs, symmetric.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    edges: csr_array

    @classmethod
    def over(cls, field: Field, nodes: int = NODES, reach: int = REACH) -> GridGraph:
        """The graph of a field, with at most ``nodes`` along a side and neighbours up to ``reach`` nodes away."""
        x = np.linspace(field.x[0], field.x[-1], min(nodes, len(field.x)))
        y = np.linspace(field.y[0], field.y[-1], min(nodes, len(field.y)))
        step = np.array([x[1] - x[0], y[1] - y[0]])
        number = np.arange(len(y) * len(x)).reshape(len(y), len(x))
        starts, ends, costs = [], [], []
        for right, up in _directions(reach):
            rows = slice(0, len(y) - up)
            columns = slice(max(0, -right), len(x) - max(0, right))
            begin = np.stack(np.meshgrid(x[columns], y[rows]), -1).reshape(-1, 2)
            costs.append(_edge_costs(field, begin, step * (right, up), parts=2 * max(abs(right), up)))
            starts.append(number[rows, columns].ravel())
            shifted = slice(columns.start + right, columns.stop + right)
            ends.append(number[up:, shifted].ravel())
        a, b, cost = np.concatenate(starts), np.concatenate(ends), np.concatenate(costs)
        total = number.size
        both = (np.concatenate([cost, cost]), (np.concatenate([a, b]), np.concatenate([b, a])))
        return cls(x, y, csr_array(both, shape=(total, total)))

    @property
    def points(self) -> NDArray[np.float64]:
        """(nodes, 2) their places."""
        return np.stack(np.meshgrid(self.x, self.y), -1).reshape(-1, 2)

    def nearest(self, z: Float[np.ndarray, " 2"]) -> int:
        """The number of the node nearest to a point."""
        column, row = np.abs(self.x - z[0]).argmin(), np.abs(self.y - z[1]).argmin()
        return int(row * len(self.x) + column)

    def tree(self, start: Float[np.ndarray, " 2"]) -> Tree:
        """The cheapest ways from the node nearest to ``start``."""
        cost, before = dijkstra(self.edges, indices=self.nearest(start), return_predecessors=True)
        return Tree(cost, before)

    def way(
        self, tree: Tree, start: Float[np.ndarray, " 2"], end: Float[np.ndarray, " 2"]
    ) -> NDArray[np.float64]:
        """(P, 2) the cheapest way from the tree's root to ``end``, its first and last nodes set to the points."""
        node, found = self.nearest(end), []
        while node >= 0:
            found.append(node)
            node = int(tree.before[node])
        nodes = np.array(found[::-1])
        inner = np.stack([self.x[nodes % len(self.x)], self.y[nodes // len(self.x)]], 1)[1:-1]
        return np.concatenate([np.asarray(start)[None], inner, np.asarray(end)[None]]).astype(np.float64)


def _directions(reach: int) -> list[tuple[int, int]]:
    """Steps (right, up) of coprime numbers up to ``reach``, one of each two opposite ones."""
    return [
        (right, up)
        for up in range(reach + 1)
        for right in range(-reach, reach + 1)
        if gcd(abs(right), up) == 1 and (up > 0 or right > 0)
    ]


def _edge_costs(
    field: Field, begin: NDArray[np.float64], step: NDArray[np.float64], parts: int
) -> NDArray[np.float64]:
    """The costs of edges that all lead by the same step, from the middles of so many equal parts."""
    total = np.zeros(len(begin))
    part = step / parts
    for i in range(parts):
        layers = field.at(begin + (i + 0.5) * part)
        total += np.exp(layers[:, 3]) * speeds(layers, np.broadcast_to(part, begin.shape))
    return total
