"""The hybrids between two classes, and other ways through the space."""

from __future__ import annotations

from itertools import combinations, groupby
from pathlib import Path

import numpy as np

from morphospace.files import write_bytes
from morphospace.morphing import Morph, Place, morph
from morphospace.plots import Strip, picture_strips, render
from morphospace.report.facts import Facts
from morphospace.report.page import Drawing, Section

__all__ = ["choose_pairs", "hybrids", "morph_figure_png", "other_transitions", "spans"]

STEPS = 6
MOST_IN_ROW = 9
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
    """The way from Bag to Sneaker, or between the two most distant classes or clusters."""
    pairs, study = choose_pairs(facts)
    if pairs:
        way, start, end = _between(facts, pairs[0]), *pairs[0]
        line = f"from {start} (x = 0) to {end} (x = 1), decoded: z = (1 − x)·{start} + x·{end}, their mean latents."
    else:
        way, start, end = _widest(facts)
        line = f"from the latent of {start} (x = 0) to that of {end} (x = 1), decoded."
    figure = picture_strips([_strip(way, "")], title=f"From {start} to {end}, along a straight line in z")
    caption = (
        f"Six points on the straight line {line} {_nearest_words(facts)} Found here: {spans(way)}. "
        f"{_chosen_words(facts, bool(pairs), study)}"
    )
    alt = f"Six pictures from {start} to {end}: {spans(way)}."
    return Section(
        "hybrids", f"Hybrids: {start} to {end}", drawings=[Drawing("hybrids", figure, alt, caption)]
    )


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
    """Four more ways."""
    pairs, study = choose_pairs(facts)
    title = "Other transitions"
    if len(pairs) < 2:
        return Section("transitions", title, "There are not enough classes or clusters for further pairs.")
    ways = [_between(facts, pair) for pair in pairs[1:]]
    strips = [_strip(way, f"{a} to {b}") for way, (a, b) in zip(ways, pairs[1:], strict=True)]
    found = "; ".join(f"{a} to {b}: {spans(way)}" for way, (a, b) in zip(ways, pairs[1:], strict=True))
    chosen = "" if study else "The pairs are those that lie farthest apart, each taken at most twice. "
    caption = f"Read as the figure before. {chosen}{found}."
    alt = f"Rows of six pictures each: {', '.join(strip.title for strip in strips)}."
    figure = picture_strips(strips, title="Other straight lines through the space")
    return Section("transitions", title, drawings=[Drawing("transitions", figure, alt, caption)])


def morph_figure_png(way: Morph, path: Path) -> None:
    """Write a morph as one picture: its images in rows, with x above and the nearest class under each."""
    strip = _strip(way, "")
    rows = [
        Strip(
            "",
            strip.images[i : i + MOST_IN_ROW],
            strip.above[i : i + MOST_IN_ROW],
            strip.below[i : i + MOST_IN_ROW],
        )
        for i in range(0, len(way.x), MOST_IN_ROW)
    ]
    title = f"From {way.start.name} to {way.end.name}, along a straight line in z"
    write_bytes(path, render(picture_strips(rows, title=title), "png"))


def _between(facts: Facts, pair: tuple[str, str]) -> Morph:
    """The way between two prototypes, by their points: names may differ in their capitals only."""
    names, points = facts.prototypes.names, facts.prototypes.points
    start, end = (
        Place(name, points[names.index(name)], name if facts.space.conditional else None) for name in pair
    )
    return morph(facts.space, start, end, steps=STEPS)


def _widest(facts: Facts) -> tuple[Morph, str, str]:
    z = facts.latents.mean[facts.train]
    along = (z - z.mean(0)) @ facts.plane.axes[0]
    first, last = int(along.argmin()), int(along.argmax())
    labels, ends = facts.labels(facts.train), []
    for row in (first, last):
        label = None if labels is None else facts.latents.classes[labels[row]]
        ends.append(Place(f"image {facts.train[row]}", z[row], label))
    return morph(facts.space, ends[0], ends[1], steps=STEPS), ends[0].name, ends[1].name


def _strip(way: Morph, title: str) -> Strip:
    below = [
        name if np.isnan(share) else f"{name}\n{100 * share:.0f} %"
        for name, share in zip(way.nearest, way.shares, strict=True)
    ]
    return Strip(title, way.images, [f"x = {at(x)}" for x in way.x], below)


def at(x: float) -> str:
    """A part of the way with the decimals that it needs, three at most."""
    return f"{x:.3f}".rstrip("0").rstrip(".")


def _nearest_words(facts: Facts) -> str:
    if facts.space.conditional:
        return (
            "The decoder is told the class: what it is told goes from the one to the other in step with z. Under each "
            "picture stands the class that it is told most of, and its weight."
        )
    if facts.space.classes:
        return (
            "Under each picture stands the class that it lies nearest to: the one with the largest share of the "
            "training images' posteriors at that point, and that share."
        )
    return "Under each picture stands the cluster whose prototype is nearest."


def spans(way: Morph) -> str:
    """Which parts of the way lie nearest to what: "x = 0–0.2 lie nearest to Bag, 0.4 to Dress"."""
    parts = []
    for name, run in groupby(zip(way.x, way.nearest, strict=True), key=lambda pair: pair[1]):
        xs = [at(x) for x, _ in run]
        parts.append((f"{xs[0]}–{xs[-1]}" if len(xs) > 1 else xs[0], name))
    verb = "lies" if "–" not in parts[0][0] else "lie"
    head = f"x\u00a0=\u00a0{parts[0][0]} {verb} nearest to {parts[0][1]}"
    return ", ".join([head, *(f"{place} to {name}" for place, name in parts[1:])])
