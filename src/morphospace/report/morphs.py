"""Morphs as figures: one way, several ways compared, all pairs, prototypes, blends."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from morphospace import plots
from morphospace.files import write_bytes
from morphospace.morphing import Morph
from morphospace.morphing.arithmetic import Blend
from morphospace.morphing.chart import Chart
from morphospace.morphing.fields import respaced
from morphospace.morphing.matrix import Matrix
from morphospace.morphing.ways import HOLE, KINDS, Ground, Way
from morphospace.plots import Cell, Line, Strip, path_comparison, picture_strips, picture_table, render
from morphospace.space import Space

__all__ = [
    "at",
    "blend_png",
    "comparison_png",
    "matrix_png",
    "morph_figure_png",
    "percent",
    "strip_of",
    "way_words",
]

MOST_IN_ROW = 9
MOST_DOTS = 12_000
HEAD = ("length", "in\nholes", "least\nrecog-\nnised", "largest/\nmean\nstep")


def at(x: float) -> str:
    """A part of the way with the decimals that it needs, three at most."""
    return f"{x:.3f}".rstrip("0").rstrip(".")


def strip_of(way: Morph, title: str) -> Strip:
    """A morph's pictures with x above and the nearest class under each."""
    below = [
        name if np.isnan(share) else f"{name}\n{100 * share:.0f} %"
        for name, share in zip(way.nearest, way.shares, strict=True)
    ]
    return Strip(title, way.images, [f"x = {at(x)}" for x in way.x], below)


def way_words(kind: str) -> str:
    """A kind of way as a title names it."""
    return "along a straight line in z" if kind == "straight" else f"on the {kind} path"


def morph_figure_png(way: Morph, path: Path) -> None:
    """Write a morph as one picture: its images in rows, with x above and the nearest class under each."""
    strip = strip_of(way, "")
    rows = [
        Strip(
            "",
            strip.images[i : i + MOST_IN_ROW],
            strip.above[i : i + MOST_IN_ROW],
            strip.below[i : i + MOST_IN_ROW],
        )
        for i in range(0, len(way.x), MOST_IN_ROW)
    ]
    title = f"From {way.start.name} to {way.end.name}, {way_words(way.path)}"
    write_bytes(path, render(picture_strips(rows, title=title), "png"))


# ---------------------------------------------------------------- several ways


def comparison_png(space: Space, made: Morph, ground: Ground, path: Path) -> None:
    """Write all ways that a morph knows: on the map, with their films and scores, and why the best is the best."""
    latents = space.known_latents()
    train = latents.learned
    plane = train.plane()
    picked = np.random.default_rng(0).permutation(len(train))[:MOST_DOTS]
    names = ("z₁", "z₂") if plane.own else ("first direction of greatest variance", "second direction")
    under = plots.Ground(
        plane.project(train.mean[picked]),
        None if train.labels is None else train.labels[picked],
        train.classes,
        names,
        *_holes(ground),
    )
    best = made.why.partition(":")[0]
    lines = []
    for kind in (kind for kind in KINDS if kind in made.others):
        way = made.others[kind]
        z = respaced(way.z, ground.lengths(way.z[None])[0], len(made.x))
        images = space.decode(z.astype(np.float32)).numpy()
        flat = plane.project(way.z.astype(np.float32))
        lines.append(Line(kind, flat, images, ground.nearest(z), _cells(way), chosen=kind == best))
    title = f"From {made.start.name} to {made.end.name}: {len(lines)} ways"
    figure = path_comparison(under, lines, HEAD, title=title, note=_note(made, under.holes is not None))
    write_bytes(path, render(figure, "png"))


def _note(made: Morph, holes: bool) -> str:
    """What the table's words mean, and why the best is the best."""
    words = f"Best is {made.why}. Lengths are root summed squares of pixel values. "
    if holes:
        words += f"Hatched: holes, where the data are less than {HOLE:g} times as dense as the prior. "
    words += (
        "Dots: training images. Under each picture, the class that most training images near it belong to."
    )
    for kind, why in made.refused.items():
        words += f" No {kind} path: {why}."
    return words


def _holes(ground: Ground) -> tuple[Any, Any, Any]:
    """Columns, rows and mask of the holes; nothing where they are not mapped."""
    if not isinstance(ground, Chart):
        return None, None, None
    atlas = ground.atlas
    return atlas.grid.x, atlas.grid.y, atlas.posterior < HOLE * atlas.prior


def _cells(way: Way) -> tuple[str, ...]:
    """Scores as `HEAD` names them."""
    scores = way.scores
    return (
        f"{scores.length:.2f}",
        percent(scores.in_holes),
        "–" if scores.recognised is None else f"{scores.recognised:.2f}",
        f"{scores.smoothness:.2f}",
    )


def percent(share: float | None) -> str:
    """A share as a word."""
    return "–" if share is None else f"{100 * share:.1f} %"


# ---------------------------------------------------------------- all pairs


def matrix_png(space: Space, found: Matrix, path: Path) -> None:
    """Write the pictures half way between every two classes: on the best path above the diagonal, straight below."""
    names = [place.name for place in found.places]
    cells: list[list[Cell | None]] = [[None] * len(names) for _ in names]
    own = space.decode(np.stack([place.z for place in found.places])).numpy()
    best = _half_way(space, [pair.ways[pair.best] for pair in found.pairs])
    straight = _half_way(space, [pair.ways["straight"] for pair in found.pairs])
    for i, image in enumerate(own):
        cells[i][i] = Cell(image, "itself")
    for row, (i, j) in enumerate(combinations(range(len(names)), 2)):
        pair = found.pairs[row]
        cells[i][j] = Cell(best[row], pair.best, marked=bool(pair.ways[pair.best].scores.in_holes))
        share = pair.ways["straight"].scores.in_holes
        cells[j][i] = Cell(straight[row], "" if share is None else percent(share), marked=bool(share))
    figure = picture_table(
        cells,
        names,
        names,
        title="Half way between every two: best paths above the diagonal, straight lines below",
        subtitle=_matrix_words(found),
    )
    write_bytes(path, render(figure, "png"))


def _half_way(space: Space, ways: Sequence[Way]) -> Float[np.ndarray, "N C H W"]:
    return space.decode(np.stack([way.z[len(way.z) // 2] for way in ways]).astype(np.float32)).numpy()


def _matrix_words(found: Matrix) -> str:
    summary = found.summary()
    best, straight = (summary[kind]["in_holes"] for kind in ("best", "straight"))
    if best is None or straight is None:
        return "Above the diagonal the kind of path, where several were compared."
    return (
        f"Above, the kind of the best path: {percent(best)} of all points lie in holes; below, each line's share of "
        f"points in holes: {percent(straight)} in all. Framed: through a hole."
    )


# ---------------------------------------------------------------- blends


def blend_png(made: Blend, path: Path) -> None:
    """Write a blend: the merged picture, and what it was made of."""
    strip = Strip(
        "",
        np.concatenate([made.image[None], made.parts]),
        ["merged", *(f"{100 * weight:.0f} %" for weight in made.weights)],
        ["", *(place.name for place in made.places)],
    )
    write_bytes(path, render(picture_strips([strip], title=f"{len(made.places)} places merged"), "png"))
