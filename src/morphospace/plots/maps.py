"""A space of two dimensions as maps: fields on a grid, drawn to one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from morphospace.plots.charts import MOST_IN_LEGEND, class_handles, draw_dots, place_names
from morphospace.plots.style import DPI, INK, MUTED, SMALL, TITLE, WIDTH, colours, style

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import matplotlib.image

__all__ = ["Sheet", "class_map", "density_map", "recognition_map", "scatter_map", "stretch_map"]

SIDE = 6.6
"""Inches: the longer side of a map."""
HOLE_COLOUR = "#bd1f01"
FAINT = 1e-3
"""Of the highest density: what is less is left white where a map says something of images."""

Field = Float[np.ndarray, "Gy Gx"]


@dataclass(frozen=True, eq=False)
class Sheet:
    """Where the fields of a map lie.

    Attributes:
        x: (Gx,) centres of the cells along the first axis.
        y: (Gy,) along the second.
        holes: outlines of the holes, closed lines (n, 2).
        points: (N, 2) places of images, which class names are put among; or none.
        labels: (N,) their classes.
        names: the classes' names.
    """

    x: Float[np.ndarray, " Gx"]
    y: Float[np.ndarray, " Gy"]
    holes: Sequence[Float[np.ndarray, "_ 2"]] = ()
    points: Float[np.ndarray, "N 2"] | None = None
    labels: Int[np.ndarray, " N"] | None = None
    names: Sequence[str] = ()

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """The edges of the outermost cells: left, right, bottom, top."""
        half = (self.x[1] - self.x[0]) / 2, (self.y[1] - self.y[0]) / 2
        left, right = float(self.x[0] - half[0]), float(self.x[-1] + half[0])
        return left, right, float(self.y[0] - half[1]), float(self.y[-1] + half[1])


def _axes(
    sheet: Sheet, title: str
) -> tuple[matplotlib.figure.Figure, matplotlib.axes.Axes, Float[np.ndarray, " 2"]]:
    """A figure with an empty map on its left and room for a legend on its right; and the map's size in inches."""
    from matplotlib.figure import Figure

    left, right, bottom, top = sheet.extent
    size = np.array([right - left, top - bottom])
    frame = SIDE * size / size.max()
    height = float(frame[1]) + 0.95
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    figure.text(0.1 / WIDTH, 1 - 0.25 / height, title, size=TITLE, weight="bold", va="center")
    axes = figure.add_axes((0.6 / WIDTH, 0.45 / height, frame[0] / WIDTH, frame[1] / height))
    axes.set(xlim=(left, right), ylim=(bottom, top), xlabel="z₁", ylabel="z₂")
    return figure, axes, frame


def _bar(axes: matplotlib.axes.Axes, shown: matplotlib.image.AxesImage, label: str) -> None:
    """The colours' meaning, beside the upper part of the map."""
    inset = axes.inset_axes((1.04, 0.45, 0.035, 0.55))
    bar = axes.figure.colorbar(shown, cax=inset)
    bar.set_label(label, size=SMALL)
    bar.outline.set_visible(False)


def _field(
    axes: matplotlib.axes.Axes, sheet: Sheet, values: np.ndarray, **how: Any
) -> matplotlib.image.AxesImage:
    return axes.imshow(
        values, extent=sheet.extent, origin="lower", aspect="auto", interpolation="nearest", zorder=0, **how
    )


def _outlines(axes: matplotlib.axes.Axes, sheet: Sheet, *, hatched: bool = False) -> None:
    """The borders of holes; hatched, the holes themselves too."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    if not sheet.holes:
        return
    path = Path.make_compound_path(*(Path(line, closed=True) for line in sheet.holes))
    hatch = "////" if hatched else None
    axes.add_patch(PathPatch(path, fill=False, hatch=hatch, edgecolor=HOLE_COLOUR, lw=1.0, zorder=3))


def _words(axes: matplotlib.axes.Axes, sheet: Sheet, frame: Float[np.ndarray, " 2"]) -> None:
    """The classes' names at the middle of their images."""
    if sheet.points is not None and sheet.labels is not None:
        place_names(axes, sheet.points, sheet.labels, sheet.names, frame)


def _classes(sheet: Sheet, frame: Float[np.ndarray, " 2"]) -> list[object]:
    """The classes' colours for a legend; of many classes only the names on the map are left."""
    some = sheet.labels is not None and len(sheet.names) <= MOST_IN_LEGEND
    return class_handles(sheet.names, WIDTH - float(frame[0]) - 1.1) if some else []


def _legend(axes: matplotlib.axes.Axes, handles: list[object], top: float = 0.38) -> None:
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.02, top), borderaxespad=0, labelcolor=INK,
        handlelength=1.8,
    )  # fmt: skip


@style()
def scatter_map(sheet: Sheet, *, title: str, seed: int = 0) -> matplotlib.figure.Figure:
    """The images' places, coloured by class, and the outlines of holes.

    Raises:
        ValueError: for a sheet without points.
    """
    from matplotlib.lines import Line2D

    if sheet.points is None:
        raise ValueError("this sheet has no points to draw")
    figure, axes, frame = _axes(sheet, title)
    axes.grid()
    draw_dots(axes, sheet.points, sheet.labels, len(sheet.names), seed)
    _outlines(axes, sheet)
    _words(axes, sheet, frame)
    _legend(
        axes,
        [*_classes(sheet, frame), Line2D([], [], color=HOLE_COLOUR, lw=1.0, label="outline of holes")],
        1.0,
    )
    return figure


@style()
def density_map(sheet: Sheet, posterior: Field, prior: Field, *, title: str) -> matplotlib.figure.Figure:
    """log₁₀ of the aggregated posterior's density, the prior's levels, and the outlines of holes."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure, axes, frame = _axes(sheet, title)
    peak = float(np.log10(posterior.max()))
    with np.errstate(divide="ignore"):
        logs = np.clip(np.log10(posterior), peak - 5, peak)
    _bar(
        axes,
        _field(axes, sheet, logs, cmap="Blues", vmin=peak - 5, vmax=peak),
        "log₁₀ q(z), per unit of area",
    )
    _outlines(axes, sheet, hatched=True)
    # Levels within which 50, 90 and 99 % of the prior lie.
    order = np.sort(prior.ravel())[::-1]
    below = np.cumsum(order) / order.sum()
    levels = sorted({float(order[np.searchsorted(below, share)]) for share in (0.5, 0.9, 0.99)})
    axes.contour(sheet.x, sheet.y, prior, levels=levels, colors=INK, linewidths=0.8, linestyles="dashed")
    _words(axes, sheet, frame)
    handles: list[object] = [
        Patch(fill=False, hatch="////", edgecolor=HOLE_COLOUR, label="hole: q(z) < 0.1·p(z)"),
        Line2D([], [], color=INK, lw=0.8, ls="dashed", label="50, 90, 99 % of p(z)"),
    ]
    _legend(axes, handles)
    return figure


@style()
def class_map(
    sheet: Sheet, by_class: Float[np.ndarray, "M Gy Gx"], *, title: str, contested: float = 0.25
) -> matplotlib.figure.Figure:
    """Which class each place belongs to, fainter where fewer images lie, hatched where a second class has a good part.

    Args:
        sheet: of the map.
        by_class: π_c·q_c(z).
        title: of the figure.
        contested: the share of all other classes from which a place is hatched.
    """
    from matplotlib.colors import to_rgb
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure, axes, frame = _axes(sheet, title)
    total = by_class.sum(0, dtype=np.float64)
    winner = by_class.argmax(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        strength = np.clip(1 + np.log10(total / total.max()) / 4, 0, 1)
        others = np.where(total > FAINT * total.max(), 1 - by_class.max(0) / total, 0.0)
    palette = np.array([to_rgb(c) for c in colours(len(by_class))])
    picture = 1 - strength[..., None] * 0.85 * (1 - palette[winner])
    _field(axes, sheet, picture)
    if (others > contested).any():
        axes.contourf(
            sheet.x, sheet.y, others, levels=[contested, 1.01], colors="none", hatches=["xxxx"], zorder=2,
        ).set(edgecolor="#3a4450", linewidth=0.0)  # fmt: skip
    borders = np.where(total > FAINT * total.max(), winner, -1)
    for c in np.unique(winner):
        axes.contour(sheet.x, sheet.y, borders == c, levels=[0.5], colors="white", linewidths=0.7, zorder=2)
    _words(axes, sheet, frame)
    share = f"{contested:.0%}".replace("%", " %")
    handles: list[object] = [
        Patch(
            fill=False, hatch="xxxx", edgecolor="#3a4450", lw=0.5, label=f"over {share} are of\nother classes"
        ),
        Line2D([], [], ls="", marker="s", ms=7, color="#c9ced4", label="paler: fewer images"),
    ]
    _legend(axes, [*_classes(sheet, frame), *handles], 1.0)
    return figure


@style()
def recognition_map(
    sheet: Sheet, top: Field, posterior: Field, *, title: str, sure: float = 0.7
) -> matplotlib.figure.Figure:
    """The top class probability of each decoded image, the line where it is ``sure``, and that of few images."""
    from matplotlib.lines import Line2D

    figure, axes, frame = _axes(sheet, title)
    shown = _field(axes, sheet, top, cmap="cividis", vmin=min(0.3, float(top.min())), vmax=1.0)
    _bar(axes, shown, "top class probability of the decoded image")
    axes.contour(sheet.x, sheet.y, top, levels=[sure], colors="white", linewidths=0.9)
    axes.contour(
        sheet.x,
        sheet.y,
        posterior,
        levels=[FAINT * float(posterior.max())],
        colors=HOLE_COLOUR,
        linewidths=1.2,
    )
    _words(axes, sheet, frame)
    handles: list[object] = [
        Line2D([], [], color="#9aa3ad", lw=0.9, label=f"top probability {sure:g}\n(white line)"),
        Line2D([], [], color=HOLE_COLOUR, lw=1.2, label="a thousandth of the\nhighest q(z)"),
    ]
    _legend(axes, handles)
    return figure


@style()
def stretch_map(
    sheet: Sheet, stretch: Field, metric: Float[np.ndarray, "3 Gy Gx"], *, title: str, across: int = 22
) -> matplotlib.figure.Figure:
    """log₁₀ √det G, and ellipses of latent steps that change the image by the same amount.

    Args:
        sheet: of the map.
        stretch: √det G.
        metric: g₁₁, g₁₂, g₂₂.
        title: of the figure.
        across: ellipses along the longer side.
    """
    from matplotlib.collections import EllipseCollection
    from matplotlib.lines import Line2D

    figure, axes, frame = _axes(sheet, title)
    with np.errstate(divide="ignore"):
        logs = np.log10(stretch)
    finite = logs[np.isfinite(logs)]
    low, high = np.quantile(finite, [0.02, 0.995]) if len(finite) else (0.0, 1.0)
    _bar(axes, _field(axes, sheet, logs, cmap="magma", vmin=low, vmax=max(high, low + 0.1)), "log₁₀ √det G")
    left, right, bottom, top = sheet.extent
    gap = max(right - left, top - bottom) / across
    columns = np.searchsorted(sheet.x, np.arange(left + gap / 2, right, gap)).clip(0, len(sheet.x) - 1)
    rows = np.searchsorted(sheet.y, np.arange(bottom + gap / 2, top, gap)).clip(0, len(sheet.y) - 1)
    at = np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2)
    g11, g12, g22 = metric[:, at[:, 1], at[:, 0]].astype(np.float64)
    values, vectors = np.linalg.eigh(np.stack([np.stack([g11, g12], -1), np.stack([g12, g22], -1)], -2))
    # The longer axis lies along the direction in which the image changes least.
    reach = 1 / np.sqrt(np.maximum(values, 1e-12))
    scale = 0.5 * gap / np.median(reach[:, 0])
    reach = np.minimum(reach * scale, 0.98 * gap)
    angles = np.degrees(np.arctan2(vectors[:, 1, 0], vectors[:, 0, 0]))
    ellipses = EllipseCollection(
        reach[:, 0].tolist(), reach[:, 1].tolist(), angles.tolist(), units="xy", transOffset=axes.transData,
        offsets=np.stack([sheet.x[at[:, 0]], sheet.y[at[:, 1]]], 1), facecolors="none", edgecolors="white",
        linewidths=0.6, zorder=2,
    )  # fmt: skip
    axes.add_collection(ellipses)
    _outlines(axes, sheet)
    _words(axes, sheet, frame)
    handles: list[object] = [
        Line2D(
            [],
            [],
            ls="",
            marker="o",
            mfc="none",
            mec=MUTED,
            ms=8,
            label="latent steps of one\nlength in image space",
        ),
        Line2D([], [], color=HOLE_COLOUR, lw=1.0, label="outline of holes"),
    ]
    _legend(axes, handles)
    return figure
