"""Figures of ways: several on one map with their films and scores; tables of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from morphospace.plots.charts import place_names
from morphospace.plots.pictures import pixel_scale
from morphospace.plots.style import (
    BODY,
    DPI,
    INK,
    MUTED,
    SMALL,
    TITLE,
    WIDTH,
    Canvas,
    colours,
    shorten,
    style,
)

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

__all__ = ["Cell", "Ground", "Line", "path_comparison", "picture_table"]

LINES = {
    "straight": "#1b2430",
    "great-circle": "#94a4a2",
    "geodesic": "#3f90da",
    "clear": "#ffa90e",
    "dense": "#bd1f01",
    "recognisable": "#832db6",
}
"""The colour of each kind of way."""
WARNING = "#bd1f01"


@dataclass(frozen=True, eq=False)
class Ground:
    """What lies under the ways: dots with their classes, and where holes are.

    Attributes:
        points: (N, 2) dots.
        labels: (N,) positions in ``names``, or None.
        names: of classes.
        axes: names of the two axes.
        x: (Gx,) columns of ``holes``; None without holes.
        y: (Gy,) its rows.
        holes: (Gy, Gx) where they are.
    """

    points: Float[np.ndarray, "N 2"]
    labels: Int[np.ndarray, " N"] | None
    names: Sequence[str]
    axes: tuple[str, str] = ("z₁", "z₂")
    x: Float[np.ndarray, " Gx"] | None = None
    y: Float[np.ndarray, " Gy"] | None = None
    holes: Bool[np.ndarray, "Gy Gx"] | None = None


@dataclass(frozen=True, eq=False)
class Line:
    """One way: name, points on the map, film, a word under each picture, scores, and whether it is the one chosen."""

    name: str
    points: Float[np.ndarray, "P 2"]
    images: Float[np.ndarray, "S C H W"]
    below: Sequence[str]
    scores: Sequence[str]
    chosen: bool = False


@style()
def path_comparison(
    ground: Ground, lines: Sequence[Line], head: Sequence[str], *, title: str, note: str = "", seed: int = 0
) -> matplotlib.figure.Figure:
    """All ways on the map, the table of their scores beside it, and the film of each under them.

    Args:
        ground: the map.
        lines: the ways, each with as many scores as ``head`` has names.
        head: names of the scores; a line break is kept.
        title: of the figure.
        note: a sentence under the table.
        seed: of the order of the dots.
    """
    count = len(lines[0].images)
    high, wide = lines[0].images.shape[2:]
    label, cell = 1.05, (WIDTH - 0.1 - 1.05) / max(count, 6)
    scale = pixel_scale(high, wide, min(cell - 0.06, 1.0), 1.0)
    tile_wide, tile_high = wide * scale / DPI, high * scale / DPI
    side, top = 4.9, 0.5
    band = tile_high + 0.32
    films = top + side + 0.62
    canvas = Canvas(WIDTH, films + len(lines) * band + 0.05)
    canvas.text(0.1, 0.25, shorten(title, WIDTH - 0.2, TITLE), TITLE, weight="bold")
    axes = canvas.figure.add_axes(
        (0.5 / canvas.width, 1 - (top + side) / canvas.height, side / canvas.width, side / canvas.height)
    )
    _map(axes, ground, lines, side, seed)
    _scores(canvas, 0.5 + side + 0.3, top + 0.05, lines, head, note)
    for row, line in enumerate(lines):
        y = films + row * band
        mark = "best: " if line.chosen else ""
        hue = LINES.get(line.name, INK)
        canvas.text(
            0.1, y + tile_high / 2, shorten(mark + line.name, label, BODY), BODY, color=hue, weight="bold"
        )
        for i, image in enumerate(line.images):
            middle = 0.1 + label + (i + 0.5) * cell
            canvas.picture(image, middle - tile_wide / 2, y, scale)
            words = shorten(line.below[i], cell - 0.04, SMALL)
            canvas.text(middle, y + tile_high + 0.11, words, SMALL, ha="center", color=MUTED)
    return canvas.finish()


def _map(axes: matplotlib.axes.Axes, ground: Ground, lines: Sequence[Line], side: float, seed: int) -> None:
    """The dots, the holes, the classes' names and the ways."""
    from matplotlib.colors import to_rgb
    from matplotlib.patheffects import withStroke

    axes.set(xlabel=ground.axes[0], ylabel=ground.axes[1])
    order = np.random.default_rng(seed).permutation(len(ground.points))
    palette = np.array([to_rgb(c) for c in colours(max(len(ground.names), 1))])
    hue = palette[ground.labels[order]] if ground.labels is not None else palette[:1].repeat(len(order), 0)
    dots = ground.points[order]
    axes.scatter(dots[:, 0], dots[:, 1], s=2.0, c=0.45 * hue + 0.55, linewidths=0, rasterized=True, zorder=1)
    every = np.concatenate([line.points for line in lines])
    # A few dots far away may not make the map small: what matters are the data's bulk and the ways.
    bulk = np.quantile(ground.points, [0.002, 0.998], axis=0)
    low, high = np.minimum(bulk[0], every.min(0)), np.maximum(bulk[1], every.max(0))
    middle, half = (low + high) / 2, 0.53 * float((high - low).max())
    axes.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half))
    axes.set_aspect("equal")
    if ground.holes is not None and ground.x is not None and ground.y is not None and ground.holes.any():
        drawn = axes.contourf(
            ground.x, ground.y, ground.holes.astype(float), levels=[0.5, 1.5], colors="none", hatches=["////"]
        )
        drawn.set(edgecolor="#8d97a3", linewidth=0, zorder=0.5)
        axes.contour(
            ground.x,
            ground.y,
            ground.holes.astype(float),
            levels=[0.5],
            colors=["#8d97a3"],
            linewidths=0.6,
            zorder=1.5,
        )
    if ground.labels is not None:
        place_names(axes, ground.points, ground.labels, ground.names, np.array([side, side]))
    halo = [withStroke(linewidth=3.2, foreground="white")]
    for line in lines:
        axes.plot(
            *line.points.T, color=LINES.get(line.name, INK), lw=2.6 if line.chosen else 1.5, zorder=6,
            path_effects=halo, solid_capstyle="round", ls=(0, (4, 2)) if line.name == "great-circle" else "-",
        )  # fmt: skip
    ends = lines[0].points[[0, -1]]
    axes.plot(*ends.T, ls="", marker="o", ms=6, mfc="white", mec=INK, mew=1.4, zorder=7)


def _scores(
    canvas: Canvas, x: float, y: float, lines: Sequence[Line], head: Sequence[str], note: str
) -> None:
    """The table of scores, its columns set to the right, and the note wrapped under it."""
    from textwrap import wrap

    room = WIDTH - x - 0.1
    first = 0.98
    step = (room - first) / max(len(head), 1)
    for column, name in enumerate(head):
        for n, part in enumerate(name.split("\n")):
            canvas.text(x + first + (column + 1) * step, y + 0.13 * n, part, SMALL, ha="right", color=MUTED)
    top = y + 0.13 * max(len(name.split("\n")) for name in head) + 0.12
    for row, line in enumerate(lines):
        at = top + 0.24 * row
        weight = "bold" if line.chosen else "normal"
        hue = LINES.get(line.name, INK)
        canvas.text(x, at, shorten(line.name, first, SMALL), SMALL, color=hue, weight="bold")
        for column, value in enumerate(line.scores):
            canvas.text(x + first + (column + 1) * step, at, value, SMALL, ha="right", weight=weight)
    under = top + 0.24 * len(lines) + 0.14
    for n, part in enumerate(wrap(note, round(room / 0.068))):
        canvas.text(x, under + 0.16 * n, part, SMALL, color=MUTED)


# ---------------------------------------------------------------- tables of pictures


@dataclass(frozen=True, eq=False)
class Cell:
    """A picture with a note under it; ``marked`` draws the eye to it."""

    image: Float[np.ndarray, "C H W"]
    note: str = ""
    marked: bool = False


@style()
def picture_table(
    cells: Sequence[Sequence[Cell | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    subtitle: str = "",
) -> matplotlib.figure.Figure:
    """Pictures in named rows and columns; None leaves a place empty. A line break in a row's name is kept."""
    from matplotlib.patches import Rectangle

    _, high, wide = next(cell.image.shape for row in cells for cell in row if cell is not None)
    left = 1.12
    step = (WIDTH - left - 0.1) / max(len(columns), 8)
    scale = pixel_scale(high, wide, step - 0.08, 1.2 * step)
    tile_wide, tile_high = wide * scale / DPI, high * scale / DPI
    noted = [any(cell is not None and cell.note for cell in row) for row in cells]
    bands = [tile_high + (0.26 if note else 0.08) for note in noted]
    top = 0.5 + (0.2 if subtitle else 0) + 0.22
    canvas = Canvas(WIDTH, top + sum(bands) + 0.06)
    canvas.text(0.1, 0.25, title, TITLE, weight="bold")
    if subtitle:
        canvas.text(0.1, 0.49, shorten(subtitle, WIDTH - 0.2, SMALL), SMALL, color=MUTED)
    for c, name in enumerate(columns):
        canvas.text(
            left + (c + 0.5) * step, top - 0.11, shorten(name, step - 0.03, SMALL), SMALL, ha="center"
        )
    y = top
    for name, row, band in zip(rows, cells, bands, strict=True):
        lines = name.split("\n")
        for n, line in enumerate(lines):
            at = y + tile_high / 2 + 0.14 * (n - (len(lines) - 1) / 2)
            canvas.text(left - 0.08, at, shorten(line, left - 0.15, SMALL), SMALL, ha="right")
        for c, cell in enumerate(row):
            if cell is None:
                continue
            middle = left + (c + 0.5) * step
            canvas.picture(cell.image, middle - tile_wide / 2, y, scale)
            hue = WARNING if cell.marked else MUTED
            if cell.marked:
                frame = Rectangle(
                    (middle - tile_wide / 2, y), tile_wide, tile_high, fill=False, ec=WARNING, lw=1.6
                )
                canvas.axes.add_patch(frame)
            canvas.text(
                middle,
                y + tile_high + 0.1,
                shorten(cell.note, step - 0.02, SMALL),
                SMALL,
                ha="center",
                color=hue,
            )
        y += band
    return canvas.finish()
