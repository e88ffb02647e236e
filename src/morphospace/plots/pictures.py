"""Figures made of images: the decoded manifold, pairs, and strips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from morphospace.plots.style import BODY, DPI, MUTED, SMALL, TITLE, WIDTH, Canvas, shorten, style

if TYPE_CHECKING:
    import matplotlib.figure

__all__ = ["Pair", "Strip", "decoded_grid", "picture_pairs", "picture_strips", "signed"]

COLUMNS = 10
"""Pairs beside each other."""
GRID_SIDE = 7.0
"""Inches that the longer side of a grid may take."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two pictures that belong together, one above the other, with a word above and below."""

    above: Float[np.ndarray, "C H W"]
    below: Float[np.ndarray, "C H W"]
    name: str = ""
    note: str = ""


@dataclass(frozen=True, eq=False)
class Strip:
    """A row of pictures with a line above and under each."""

    title: str
    images: Float[np.ndarray, "S C H W"]
    above: Sequence[str]
    below: Sequence[str]


def pixel_scale(height: int, width: int, room: float, headroom: float | None = None) -> int:
    """How many of the figure's pixels one of an image's may take, to fit into ``room`` × ``headroom`` inches."""
    return max(1, min(int(room * DPI) // width, int((headroom or room) * DPI) // height))


# ---------------------------------------------------------------- the manifold


@style()
def decoded_grid(
    images: Float[np.ndarray, "R S C H W"],
    x: Float[np.ndarray, " S"],
    y: Float[np.ndarray, " R"] | None,
    *,
    title: str = "The decoded manifold",
    xlabel: str = "z₁",
    ylabel: str = "z₂",
) -> matplotlib.figure.Figure:
    """Images decoded on a grid: column s at ``x[s]``, row r at ``y[r]``, y growing upwards; one row if y is None."""
    rows, columns, _, high, wide = images.shape
    scale = pixel_scale(rows * high, columns * wide, GRID_SIDE)
    tile_wide, tile_high = wide * scale / DPI, high * scale / DPI
    left, top = (0.75 if y is not None else 0.2), 0.6
    width = left + columns * tile_wide + 0.2
    canvas = Canvas(max(width, 4.5), top + rows * tile_high + 0.62)
    canvas.text(0.1, 0.25, title, TITLE, weight="bold")
    for r in range(rows):
        for s in range(columns):
            canvas.picture(images[r, s], left + s * tile_wide, top + (rows - 1 - r) * tile_high, scale)
    foot = top + rows * tile_high
    for s in ticks(columns, tile_wide, 0.5):
        canvas.text(left + (s + 0.5) * tile_wide, foot + 0.12, signed(x[s]), SMALL, ha="center", color=MUTED)
    canvas.text(left + columns * tile_wide / 2, foot + 0.4, xlabel, BODY, ha="center")
    if y is not None:
        for r in ticks(rows, tile_high, 0.3):
            centre = top + (rows - 0.5 - r) * tile_high
            canvas.text(left - 0.07, centre, signed(y[r]), SMALL, ha="right", color=MUTED)
        canvas.text(0.17, top + rows * tile_high / 2, ylabel, BODY, ha="center", rotation=90)
    return canvas.finish()


def ticks(count: int, step: float, room: float) -> range:
    """Positions to label, as dense as ``room`` inches each allow, the middle one of an odd count among them."""
    every = max(1, int(np.ceil(room / step)))
    return range((count // 2) % every, count, every)


def signed(value: float) -> str:
    """A number with one decimal and a true minus."""
    text = f"{value:.1f}"
    return ("0.0" if text == "-0.0" else text).replace("-", "−")


# ---------------------------------------------------------------- pairs


@style()
def picture_pairs(
    pairs: Sequence[Pair], *, title: str, above: str = "image", below: str = "reconstruction"
) -> matplotlib.figure.Figure:
    """Pairs in rows of ten; ``above`` and ``below`` say at the left what the upper and the lower pictures are."""
    _, high, wide = pairs[0].above.shape
    cell, left = 0.8, 0.98
    scale = pixel_scale(high, wide, 0.76, 1.0)
    tile_wide, tile_high = wide * scale / DPI, high * scale / DPI
    named, noted = (any(getattr(p, key) for p in pairs) for key in ("name", "note"))
    head, foot = (0.2 if named else 0.04), (0.2 if noted else 0.04)
    band = head + 2 * tile_high + 0.06 + foot + 0.14
    rows = -(-len(pairs) // COLUMNS)
    canvas = Canvas(WIDTH, 0.5 + rows * band)
    canvas.text(0.1, 0.25, title, TITLE, weight="bold")
    for i, pair in enumerate(pairs):
        row, column = divmod(i, COLUMNS)
        middle, top = left + (column + 0.5) * cell, 0.5 + row * band + head
        lower = top + tile_high + 0.06
        canvas.picture(pair.above, middle - tile_wide / 2, top, scale)
        canvas.picture(pair.below, middle - tile_wide / 2, lower, scale)
        canvas.text(middle, top - 0.1, shorten(pair.name, cell - 0.04, SMALL), SMALL, ha="center")
        canvas.text(middle, lower + tile_high + 0.11, pair.note, SMALL, ha="center", color=MUTED)
        if column == 0:
            for words, y in ((above, top), (below, lower)):
                for n, line in enumerate(lines := words.split("\n")):
                    y_line = y + tile_high / 2 + (n - (len(lines) - 1) / 2) * 0.14
                    canvas.text(left - 0.08, y_line, line, SMALL, ha="right", color=MUTED)
    return canvas.finish()


# ---------------------------------------------------------------- strips


@style()
def picture_strips(strips: Sequence[Strip], *, title: str) -> matplotlib.figure.Figure:
    """Rows of pictures of the same number, such as the steps of morphs; a single row is drawn larger."""
    count = len(strips[0].images)
    high, wide = strips[0].images.shape[2:]
    alone = len(strips) == 1
    cell = (WIDTH - 0.2) / max(count, 6)
    room = (cell - 0.1) if alone else min(cell - 0.1, 1.15)
    scale = pixel_scale(high, wide, room, 1.3 * room)
    tile_wide, tile_high = wide * scale / DPI, high * scale / DPI
    deep = max(len(words.split("\n")) for strip in strips for words in strip.below)
    heading = 0.26 if any(strip.title for strip in strips) else 0.0
    band = heading + 0.22 + tile_high + 0.08 + 0.15 * deep + 0.2
    canvas = Canvas(WIDTH, 0.5 + len(strips) * band)
    canvas.text(0.1, 0.25, title, TITLE, weight="bold")
    for row, strip in enumerate(strips):
        top = 0.5 + row * band
        if strip.title:
            canvas.text(0.1, top + 0.1, shorten(strip.title, WIDTH - 0.3, BODY), BODY, weight="bold")
        top += heading + 0.22
        for i, image in enumerate(strip.images):
            middle = 0.1 + (i + 0.5) * cell
            canvas.picture(image, middle - tile_wide / 2, top, scale)
            canvas.text(middle, top - 0.11, strip.above[i], BODY if alone else SMALL, ha="center")
            for n, line in enumerate(strip.below[i].split("\n")):
                y = top + tile_high + 0.13 + 0.15 * n
                canvas.text(middle, y, shorten(line, cell - 0.06, SMALL), SMALL, ha="center", color=MUTED)
    return canvas.finish()
