"""The exact map of a space of two dimensions: densities, holes, overlaps, the decoder's metric, what is recognised.

    atlas = make_atlas(space, images)                # everything
    atlas = make_atlas(space, parts=("metric",))     # the densities and the decoder's metric, which paths need
    atlas.posterior, atlas.prior, atlas.holes.mask

* ``grid``: points of the plane, and fields on them; ``density``: the aggregated posterior, exactly;
* ``measures``: divergence, holes and overlap of densities; ``decoded``: the decoder's metric;
* ``map``: `Atlas`.
"""

from morphospace.atlas.density import aggregate, at_points
from morphospace.atlas.grid import Grid
from morphospace.atlas.map import PARTS, Atlas, make_atlas
from morphospace.atlas.measures import Hole, Holes

__all__ = ["PARTS", "Atlas", "Grid", "Hole", "Holes", "aggregate", "at_points", "make_atlas"]
