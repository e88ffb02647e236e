"""Figures: arrays in, matplotlib `Figure`s out; no model, no state, no screen.

    figure = latent_scatter(points, labels, names)
    path.write_bytes(render(figure, "svg"))

Matplotlib is imported when a figure is drawn; its settings are changed only while one is (`style`).
"""

from morphospace.plots.architecture import Layer, architecture
from morphospace.plots.bars import paired_bars
from morphospace.plots.charts import Curve, latent_rows, latent_scatter, learning_curves
from morphospace.plots.paths import Cell, Ground, Line, path_comparison, picture_table
from morphospace.plots.pictures import (
    GRID_SIDE,
    Pair,
    Strip,
    decoded_grid,
    picture_pairs,
    picture_strips,
    signed,
)
from morphospace.plots.style import DPI, WIDTH, colours, render

__all__ = [
    "DPI",
    "GRID_SIDE",
    "WIDTH",
    "Cell",
    "Curve",
    "Ground",
    "Layer",
    "Line",
    "Pair",
    "Strip",
    "architecture",
    "colours",
    "decoded_grid",
    "latent_rows",
    "latent_scatter",
    "learning_curves",
    "paired_bars",
    "path_comparison",
    "picture_pairs",
    "picture_strips",
    "picture_table",
    "render",
    "signed",
]
