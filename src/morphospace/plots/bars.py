"""Bars: measures of the same kind beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from morphospace.plots.style import BODY, DPI, SMALL, TITLE, WIDTH, shorten, style

if TYPE_CHECKING:
    import matplotlib.figure

__all__ = ["paired_bars"]

HUES = ("#3f90da", "#94a4a2")


@style()
def paired_bars(
    names: Sequence[str],
    values: Float[np.ndarray, "M 2"],
    errors: Float[np.ndarray, "M 2"],
    sides: tuple[str, str],
    *,
    title: str,
) -> matplotlib.figure.Figure:
    """A pair of horizontal bars for each name, a line at each end for the error, the value beside it.

    Values lie between −1 and 1; an error that is not a number is not drawn.
    """
    from matplotlib.figure import Figure

    height = 0.95 + 0.42 * len(names)
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    figure.text(0.1 / WIDTH, 1 - 0.25 / height, title, size=TITLE, weight="bold", va="center")
    left, right = 2.3, 0.8
    axes = figure.add_axes(
        (left / WIDTH, 0.35 / height, (WIDTH - left - right) / WIDTH, (height - 1.1) / height)
    )
    rows = np.arange(len(names))
    for side in range(2):
        at = rows + 0.4 * (side - 0.5)
        known = np.where(np.isfinite(errors[:, side]), errors[:, side], 0)
        axes.barh(
            at, values[:, side], 0.36, color=HUES[side], label=sides[side], xerr=known, ecolor="#1b2430"
        )
        for y, value, error in zip(at, values[:, side], known, strict=True):
            axes.text(
                max(value + error, 0) + 0.012, y, f"{value:.3f}".replace("-", "−"), size=SMALL, va="center"
            )
    axes.set_yticks(rows, [shorten(name, left - 0.3) for name in names], fontsize=BODY)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlim(min(0.0, float(values.min()) - 0.05), 1.0)
    axes.grid(axis="x")
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="upper right",
        bbox_to_anchor=(1 - 0.1 / WIDTH, 1 - 0.08 / height),
        ncols=2,
    )
    return figure
