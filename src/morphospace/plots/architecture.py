"""The networks, layer by layer: encoder left, decoder right, z between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from morphospace.plots.style import BODY, INK, MUTED, SMALL, TITLE, WIDTH, Canvas, style, text_width

if TYPE_CHECKING:
    import matplotlib.figure

__all__ = ["Layer", "architecture"]

Layer = tuple[str, tuple[int, ...], str]
"""A layer's kind, the shape (channels first) that it puts out for one image, and its kernel."""

NARROW, WIDE, TALL, GAP = 1.5, 3.95, 0.33, 0.15
MOST_BOXES = 18
"""A column of more layers draws runs of equal ones as one box with their number."""
_FILL = {"convolution": "#dbe9f8", "transposed convolution": "#d9f0ef", "dense": "#fdecc8"}


@style()
def architecture(
    encoder: Sequence[Layer],
    decoder: Sequence[Layer],
    image: tuple[int, int, int],
    latent: int,
    reads: str = "mean and log-variance",
    gives: str = "a draw, or the mean",
) -> matplotlib.figure.Figure:
    """Draw a model's layers as two columns that meet in z; a box is the wider, the more values it puts out.

    Args:
        encoder: its layers in order of use.
        decoder: likewise.
        image: (C, H, W) of an image.
        latent: dimensions of z.
        reads: what the encoder's outputs are: parameters of the posterior.
        gives: what of the posterior the decoder gets.
    """
    ends: list[Layer] = [("image x", image, "")]
    left, right = _boxes([*ends, *encoder]), _boxes([*reversed(decoder)])
    right = [("image, mean of p(x | z)", image, ""), *right]
    rows = max(len(left), len(right))
    bottom = 0.92 + rows * (TALL + GAP)
    canvas = Canvas(WIDTH, bottom + 0.82)
    canvas.text(0.1, 0.25, "The model: what each layer puts out", TITLE, weight="bold")
    most = math.log(max(math.prod(shape) for _, shape, _ in (*left, *right)))
    middles = (0.1 + WIDE / 2, WIDTH - 0.1 - WIDE / 2)
    for x, heading, boxes in (
        (middles[0], "Encoder  q(z | x)", left),
        (middles[1], "Decoder  p(x | z)", right),
    ):
        # Columns end together, above z; the shorter one begins lower.
        top = bottom - len(boxes) * (TALL + GAP)
        canvas.text(x, top - 0.2, heading, BODY, weight="bold", ha="center")
        for i, box in enumerate(boxes):
            y = top + i * (TALL + GAP)
            _box(canvas, x, y, box, most)
            if i + 1 < len(boxes):
                ends_at = (y + TALL, y + TALL + GAP)
                _arrow(canvas, [(x, ends_at[0]), (x, ends_at[1])][:: 1 if x == middles[0] else -1])
    _latent(canvas, middles, bottom - GAP, latent, (reads, gives))
    return canvas.finish()


def _boxes(layers: Sequence[Layer]) -> list[Layer]:
    """The layers, or in a long column runs of equal ones as one."""
    if len(layers) <= MOST_BOXES:
        return list(layers)
    runs = [(layer, len(list(run))) for layer, run in groupby(layers)]
    return [(f"{n} × {kind}" if n > 1 else kind, shape, kernel) for (kind, shape, kernel), n in runs]


def _box(canvas: Canvas, x: float, y: float, layer: Layer, most: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    kind, shape, kernel = layer
    what, size = f"{kind} {kernel}".strip(), "×".join(map(str, (*shape[1:], shape[0])))
    needed = text_width(what, SMALL) + 1.15 * text_width(size, SMALL) + 0.4
    width = max(needed, NARROW + (WIDE - NARROW) * math.log(math.prod(shape)) / max(most, 1e-9))
    fill = _FILL.get(kind.split(" × ")[-1], "#ffffff")
    canvas.axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y),
            width,
            TALL,
            boxstyle="round,pad=0,rounding_size=0.07",
            fc=fill,
            ec=MUTED,
            lw=0.7,
        )
    )
    middle = y + TALL / 2
    canvas.text(x - width / 2 + 0.1, middle, what, SMALL, color=INK)
    canvas.text(x + width / 2 - 0.1, middle, size, SMALL, ha="right", weight="bold")


def _latent(
    canvas: Canvas, middles: tuple[float, float], bottom: float, latent: int, words: tuple[str, str]
) -> None:
    """z below and between the columns, with the way from the one through it to the other."""
    from matplotlib.patches import FancyBboxPatch

    x, y = sum(middles) / 2, bottom + 0.33
    canvas.axes.add_patch(
        FancyBboxPatch(
            (x - 0.85, y), 1.7, 0.42, boxstyle="round,pad=0,rounding_size=0.2", fc=INK, ec=INK, lw=0.7
        )
    )
    what = f"z: {latent} dimension{'s' if latent != 1 else ''}"
    canvas.text(x, y + 0.21, what, BODY, ha="center", color="white", weight="bold")
    _arrow(canvas, [(middles[0], bottom), (middles[0], y + 0.21), (x - 0.85, y + 0.21)])
    _arrow(canvas, [(x + 0.85, y + 0.21), (middles[1], y + 0.21), (middles[1], bottom)])
    canvas.text(middles[0] + 0.1, y + 0.08, words[0], SMALL, color=MUTED)
    canvas.text(middles[1] - 0.1, y + 0.08, words[1], SMALL, color=MUTED, ha="right")


def _arrow(canvas: Canvas, way: Sequence[tuple[float, float]]) -> None:
    xs, ys = zip(*way, strict=True)
    canvas.axes.plot(xs[:-1], ys[:-1], color=MUTED, lw=0.9, solid_capstyle="butt")
    canvas.axes.annotate(
        "",
        way[-1],
        way[-2],
        arrowprops={
            "arrowstyle": "-|>",
            "color": MUTED,
            "lw": 0.9,
            "shrinkA": 0,
            "shrinkB": 0,
            "mutation_scale": 7,
        },
    )
