"""The paths between all classes of a two-dimensional run: how long they take, and how far a finer search gets.

    python -m benchmarks.paths RUN

One tree of the graph serves all paths from one place. The brute force is a graph with a node at every cell of the map
and neighbours up to four cells away; its paths, like all of a graph, are never shorter than the shortest there is.

Where holes part the data into islands, no path from one to another avoids them. "Crossing" is the shortest crossing
there is: of paths on which a step in a hole costs a thousand times one outside, what of their length lies in holes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy.ndimage import label

from benchmarks.plan import options
from morphospace.cli.paths import ground_for
from morphospace.morphing import all_pairs
from morphospace.morphing.chart import Chart
from morphospace.morphing.fields import Field, respaced
from morphospace.morphing.graph import GridGraph
from morphospace.morphing.matrix import Matrix
from morphospace.morphing.refine import refined
from morphospace.morphing.ways import HOLE, POINTS
from morphospace.space import Space
from morphospace.types import silent


def measured(space: Space, ground: Chart) -> dict[str, Any]:
    """All figures, from a map that is made already."""
    found = all_pairs(space, ground)
    field = ground.field("geodesic")
    begun = time.perf_counter()
    graph = GridGraph.over(field)
    made = time.perf_counter() - begun
    begun = time.perf_counter()
    start, end = (place.z.astype(float) for place in found.places[:2])
    graph.way(graph.tree(start), start, end)
    one = time.perf_counter() - begun
    ratios = against_brute_force(field, found)
    return {
        "all pairs and kinds, s": sum(found.seconds.values()),
        "each kind, s": dict(found.seconds),
        "a graph made, s": made,
        "one pair through it, s": one,
        "geodesic energy / brute force": {"median": float(np.median(ratios)), "worst": max(ratios)},
        "islands": islands(ground, found),
        "summary": found.summary(),
    }


def against_brute_force(field: Field, found: Matrix) -> list[float]:
    """The energy of each geodesic over that of the brute force's path."""
    fine = GridGraph.over(field, max(len(field.x), len(field.y)), reach=4)
    trees = [fine.tree(place.z.astype(float)) for place in found.places[:-1]]
    ratios = []
    for row, (i, j) in enumerate(combinations(range(len(found.places)), 2)):
        start, end = (found.places[k].z.astype(float) for k in (i, j))
        way = fine.way(trees[i], start, end)  # from place to place: nodes alone would be half a cell short
        brute = field.lengths(respaced(way, field.lengths(way), 16 * POINTS)).sum()
        ratios.append(found.pairs[row].ways["geodesic"].scores.energy / float(brute) ** 2)
    return ratios


def islands(ground: Chart, found: Matrix) -> dict[str, Any]:
    """Which classes lie on which side of holes, and how much of the best paths any crossing must take."""
    atlas = ground.atlas
    hole = atlas.posterior < HOLE * atlas.prior
    sides, _ = label(~hole, structure=np.ones((3, 3)))
    places = np.stack([place.z for place in found.places]).astype(float)
    cells = np.rint((places - [atlas.grid.x[0], atlas.grid.y[0]]) / atlas.grid.step).astype(int)
    side = sides[cells[:, 1], cells[:, 0]]
    field = Field(atlas.grid.x, atlas.grid.y, ground.field("geodesic").metric, np.where(hole, 1000.0, 1.0))
    graph = GridGraph.over(field)
    trees = [graph.tree(place) for place in places[:-1]]
    apart, crossing, best = 0, [], []
    for row, (i, j) in enumerate(combinations(range(len(places)), 2)):
        pair = found.pairs[row]
        if side[i] == side[j]:
            continue
        apart += 1
        way = refined(field, graph.way(trees[i], places[i], places[j])[None])[0]
        crossing.append(float(ground.lengths(way[None]).sum() * ground.holes(way).mean()))
        scores = pair.ways[pair.best].scores
        best.append(scores.length * (scores.in_holes or 0))
    names = {
        int(s): [p.name for p, t in zip(found.places, side, strict=True) if s == t] for s in np.unique(side)
    }
    return {
        "classes": list(names.values()),
        "pairs apart": apart,
        "crossing, mean length in holes": float(np.mean(crossing)) if crossing else 0.0,
        "best paths, mean length in holes": float(np.mean(best)) if best else 0.0,
        "best paths of the other pairs, in holes": float(
            np.mean([p.ways[p.best].scores.in_holes for p in found.pairs if not _apart(p, found, side)])
        ),
    }


def _apart(pair: Any, found: Matrix, side: np.ndarray) -> bool:
    rows = {place.name: i for i, place in enumerate(found.places)}
    return bool(side[rows[pair.start.name]] != side[rows[pair.end.name]])


def main(arguments: Sequence[str] | None = None) -> None:
    assert __doc__ is not None
    parser = options("benchmarks.paths", __doc__)
    parser.add_argument("run", help="a run's folder, or a space that comes with the package")
    space = Space.load(parser.parse_args(arguments).run)
    begun = time.perf_counter()
    ground = ground_for(space, None, silent)
    seconds = time.perf_counter() - begun
    if not isinstance(ground, Chart):
        sys.exit("this measures paths on a map; the run has no space of two dimensions")
    print(json.dumps({"map, s": seconds, **measured(space, ground)}, indent=1))


if __name__ == "__main__":
    main()
