"""The hybrids between two classes, and other ways through the space."""

from __future__ import annotations

from itertools import combinations, groupby

import numpy as np

from morphospace.manifolds import Plane
from morphospace.morphing import Morph, Place, manifold_of, morph
from morphospace.morphing.places import class_place
from morphospace.morphing.ways import HOLE
from morphospace.plots import Strip, picture_strips
from morphospace.report.facts import Facts
from morphospace.report.morphs import at, percent, strip_of
from morphospace.report.page import Drawing, Section
from morphospace.types import UsageError

__all__ = ["choose_pairs", "hybrids", "other_transitions", "spans"]

STEPS = 6
STUDY = (
    ("Bag", "Sneaker"),
    ("Bag", "Sandal"),
    ("Sandal", "Sneaker"),
    ("Pullover", "T-shirt/top"),
    ("Pullover", "Dress"),
)
"""The transitions of the study that this project began with; the first is the one that it looks at closely."""
SEEN = "The study that this follows saw ankle boots at x\u00a0=\u00a00.4–0.6."


def choose_pairs(facts: Facts, count: int = len(STUDY)) -> tuple[list[tuple[str, str]], bool]:
    """The study's pairs where the set has their classes, else the most distant prototypes, each at most twice.

    Returns:
        The pairs, and whether they are the study's.
    """
    names, points = facts.prototypes.names, facts.prototypes.points
    if {name for pair in STUDY for name in pair} <= set(names):
        return list(STUDY[:count]), True
    away = {
        (i, j): float(np.linalg.norm(points[i] - points[j])) for i, j in combinations(range(len(names)), 2)
    }
    used = dict.fromkeys(range(len(names)), 0)
    pairs: list[tuple[str, str]] = []
    for i, j in sorted(away, key=lambda pair: -away[pair]):
        if max(used[i], used[j]) < 2 and len(pairs) < count:
            pairs.append((names[i], names[j]))
            used[i] += 1
            used[j] += 1
    return pairs, False


def hybrids(facts: Facts) -> Section:
    """The way from Bag to Sneaker, or between the two most distant classes or clusters: straight, and the best."""
    pairs, study = choose_pairs(facts)
    try:
        if pairs:
            places, (start, end) = _places(facts, pairs[0]), pairs[0]
        else:
            places, start, end = _widest(facts)
        way = _line(facts, places)
    except UsageError as error:  # between choices nothing lies
        return Section("hybrids", "Hybrids", f"There are none: {error}.")
    ends = f"the latent of {start} (x = 0) to that of {end} (x = 1)"
    if pairs:
        ends = f"{start} (x = 0) to {end} (x = 1), their mean latents"
    line = f"Six points on the {_line_name(facts)} from {ends}, decoded"
    if _plane(facts):
        line += f": z = (1 − x)·{start} + x·{end}" if pairs else ", evenly spaced in z"
    title = f"From {start} to {end}, along a {_line_name(facts)}" + (" in z" if _plane(facts) else "")
    figure = picture_strips([strip_of(way, "")], title=title)
    chosen = _chosen_words(facts, bool(pairs), study)
    caption = f"{line}. {_nearest_words(facts, way)} Found here: {spans(way)}. {chosen}"
    alt = f"Six pictures from {start} to {end}: {spans(way)}."
    drawings = [Drawing("hybrids", figure, alt, caption)]
    if facts.chart is not None:
        drawings.append(_best_drawing(facts, places, start, end))
    return Section("hybrids", f"Hybrids: {start} to {end}", drawings=drawings)


def _best_drawing(facts: Facts, places: Places, start: str, end: str) -> Drawing:
    """The best of all ways between two places, beside the straight one in numbers."""
    way = morph(facts.space, *places, steps=STEPS, path="best", ground=facts.chart)
    straight, scores = way.others["straight"].scores, way.others[way.path].scores
    figure = picture_strips(
        [strip_of(way, "")], title=f"From {start} to {end}, on the best path, which is the {way.path} one"
    )
    caption = (
        f"The best of the {len(way.others)} kinds of path between the same two places, its pictures evenly apart in "
        f"image space. Best is {way.why}. It is {scores.length:.2f} long in root summed squares of pixel values, with "
        f"{percent(scores.in_holes)} of its points in holes, where the data are less than {HOLE:g} times as dense as "
        f"the prior; the straight one {straight.length:.2f}, with {percent(straight.in_holes)}. "
        f"Found here: {spans(way)}."
    )
    return Drawing("hybrids-best", figure, f"Six pictures from {start} to {end}: {spans(way)}.", caption)


def _line_name(facts: Facts) -> str:
    return "straight line" if _plane(facts) else "geodesic of the space's own manifold"


def _plane(facts: Facts) -> bool:
    return isinstance(manifold_of(facts.space), Plane)


def _chosen_words(facts: Facts, any_pair: bool, study: bool) -> str:
    """Why the way leads from where to where."""
    if study:
        return SEEN
    if not any_pair:
        return (
            "There are no two classes or clusters to go between, so the ends are the two training images that lie "
            "farthest apart along the direction of greatest variance."
        )
    if facts.prototypes.clusters:
        return (
            "The set has no classes, so the ends are prototypes of clusters that k-means found: the two that lie "
            "farthest apart."
        )
    return "They are the two classes whose mean latents lie farthest apart in this space."


def other_transitions(facts: Facts) -> Section:
    """Four more ways, each straight and, where there is a map, the best beside it."""
    pairs, study = choose_pairs(facts)
    title = "Other transitions"
    if len(pairs) < 2:
        return Section("transitions", title, "There are not enough classes or clusters for further pairs.")
    strips: list[Strip] = []
    found = []
    try:
        for pair in pairs[1:]:
            more, words = _transition(facts, pair)
            strips += more
            found.append(words)
    except UsageError as error:
        return Section("transitions", title, f"There are none: {error}.")
    chosen = "" if study else "The pairs are those that lie farthest apart, each taken at most twice. "
    beside = ""
    if facts.chart is not None:
        beside = (
            "Under each straight line the best path between the same places, by the rule of the figure before, with "
            "the share of points in holes of both. "
        )
    caption = f"Read as the figures before. {chosen}{beside}{'; '.join(found)}."
    alt = f"Rows of six pictures each: {', '.join(strip.title for strip in strips)}."
    heading = f"Other {_line_name(facts)}s" + (", and the best paths" if facts.chart is not None else "")
    figure = picture_strips(strips, title=heading)
    return Section("transitions", title, drawings=[Drawing("transitions", figure, alt, caption)])


def _transition(facts: Facts, pair: tuple[str, str]) -> tuple[list[Strip], str]:
    """The strips of one pair, and what was found on the straight one."""
    places, (a, b) = _places(facts, pair), pair
    way = _line(facts, places)
    words = f"{a} to {b}: {spans(way)}"
    if facts.chart is None:
        return [strip_of(way, f"{a} to {b}")], words
    best = morph(facts.space, *places, steps=STEPS, path="best", ground=facts.chart)
    holes = [percent(best.others[kind].scores.in_holes) for kind in ("straight", best.path)]
    return [
        strip_of(way, f"{a} to {b}, straight: {holes[0]} in holes"),
        strip_of(best, f"{a} to {b}, best ({best.path}): {holes[1]} in holes"),
    ], words


Places = tuple[Place, Place]


def _places(facts: Facts, pair: tuple[str, str]) -> Places:
    """The places of two prototypes, by position: names may differ in their capitals only."""
    names = facts.prototypes.names
    told = facts.space.conditional
    a, b = (Place(name, class_place(facts.space, names.index(name)), name if told else None) for name in pair)
    return a, b


def _line(facts: Facts, places: Places) -> Morph:
    """The straight way: in a plane even in z, as the study has it."""
    return morph(facts.space, *places, steps=STEPS, even="z" if _plane(facts) else "image")


def _widest(facts: Facts) -> tuple[Places, str, str]:
    z = facts.latents.mean[facts.train]
    along = (z - z.mean(0)) @ facts.plane.axes[0]
    first, last = int(along.argmin()), int(along.argmax())
    labels, ends = facts.labels(facts.train), []
    for row in (first, last):
        label = None if labels is None else facts.latents.classes[labels[row]]
        ends.append(Place(f"image {facts.train[row]}", z[row], label))
    return (ends[0], ends[1]), ends[0].name, ends[1].name


def _nearest_words(facts: Facts, way: Morph) -> str:
    if facts.space.conditional:
        return (
            "The decoder is told the class: what it is told goes from the one to the other in step with z. Under each "
            "picture stands the class that it is told most of, and its weight."
        )
    if np.isnan(way.shares).all():
        return "Under each picture stands the class or cluster whose mean is nearest."
    return (
        "Under each picture stands the class that it lies nearest to: the one with the largest share of the training "
        "images' posteriors at that point, and that share."
    )


def spans(way: Morph) -> str:
    """Which parts of the way lie nearest to what: "x = 0–0.2 lie nearest to Bag, 0.4 to Dress"."""
    parts = []
    for name, run in groupby(zip(way.x, way.nearest, strict=True), key=lambda pair: pair[1]):
        xs = [at(x) for x, _ in run]
        parts.append((f"{xs[0]}–{xs[-1]}" if len(xs) > 1 else xs[0], name))
    verb = "lies" if "–" not in parts[0][0] else "lie"
    head = f"x\u00a0=\u00a0{parts[0][0]} {verb} nearest to {parts[0][1]}"
    return ", ".join([head, *(f"{place} to {name}" for place, name in parts[1:])])
