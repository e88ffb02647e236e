"""The exact map of a space of two dimensions: densities, holes, overlaps, the decoder's metric, what is recognised.

    atlas = make_atlas(space, images)                # everything
    atlas = make_atlas(space, parts=("metric",))     # the densities and the decoder's metric, which paths need
    atlas.posterior, atlas.prior, atlas.holes.mask

* ``grid``: points of the plane, and fields on them; ``density``: the aggregated posterior, exactly;
* ``measures``: divergence, holes and overlap of densities;
* ``decoded``, ``nearest``: what the decoder makes of the grid;
* ``figures``: numbers with their errors; ``map``: `Atlas`; ``store``: an atlas in a run's folder;
* ``estimates``: the same figures by sampling, for spaces of more dimensions.
"""

from morphospace.atlas.density import aggregate
from morphospace.atlas.grid import Grid
from morphospace.atlas.map import PARTS, Atlas, make_atlas
from morphospace.atlas.measures import Hole, Holes
from morphospace.atlas.store import (
    FIELDS,
    FILE,
    read_atlas,
    read_estimates,
    record_of,
    save_atlas,
    save_estimates,
)
from morphospace.latents import at_points

__all__ = ["FIELDS", "FILE", "PARTS", "Atlas", "Grid", "Hole", "Holes"]
__all__ += [
    "aggregate",
    "at_points",
    "make_atlas",
    "read_atlas",
    "read_estimates",
    "record_of",
    "save_atlas",
    "save_estimates",
]
