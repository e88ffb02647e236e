"""Prototypes of a class, ways from one place of a space to another, and what can be reckoned with places.

    morph(space, "Bag", "Sneaker")                        # a straight line, its pictures even in image space
    ground = ground_of(space)                             # the map of the space, once for many ways
    morph(space, "Bag", "Sneaker", path="best", ground=ground)

* ``places``: what a class name, a file or a point stands for;
* ``ways``: the kinds of way, their scores, the rule of the best; ``chart``, ``cloud``, ``own``: how they are found in
  spaces of two dimensions, of more, and in those that are no plane; ``fields``, ``graph``, ``refine``: the cheapest way
  through a field on a grid;
* ``films``: `morph`; ``matrix``: all pairs of classes at once;
* ``prototypes``: places that stand for a class; ``arithmetic``: attributes, traversals, blends.
"""

from morphospace.morphing.arithmetic import attribute, blend, traversals
from morphospace.morphing.films import Morph, compare, ground_of, morph
from morphospace.morphing.matrix import all_pairs
from morphospace.morphing.places import Place, intrinsic_mean, locate, manifold_of, nearest_classes
from morphospace.morphing.prototypes import Prototype, prototypes
from morphospace.morphing.ways import KINDS, Ground, Scores, Way, best, scored

__all__ = [
    "KINDS",
    "Ground",
    "Morph",
    "Place",
    "Prototype",
    "Scores",
    "Way",
    "all_pairs",
    "attribute",
    "best",
    "blend",
    "compare",
    "ground_of",
    "intrinsic_mean",
    "locate",
    "manifold_of",
    "morph",
    "nearest_classes",
    "prototypes",
    "scored",
    "traversals",
]
