"""Curves and scatters: figures with axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from morphospace.plots.style import BODY, DPI, INK, SMALL, TITLE, WIDTH, colours, shorten, style, text_width

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

__all__ = ["Curve", "latent_rows", "latent_scatter", "learning_curves"]

MOST_IN_LEGEND = 24
ANEW = 0.04
"""The part of a run in which an encoder that begins once more comes down from where it begins."""


@dataclass(frozen=True)
class Curve:
    """The two terms of the ELBO along a run, in nats per image; ``epoch`` counts passes over the training images."""

    name: str
    epoch: Float[np.ndarray, " T"]
    distortion: Float[np.ndarray, " T"]
    rate: Float[np.ndarray, " T"]

    @property
    def neg_elbo(self) -> Float[np.ndarray, " T"]:
        return np.asarray(self.distortion + self.rate)


# ---------------------------------------------------------------- learning curves


@style()
def learning_curves(
    curves: Sequence[Curve],
    terms: Sequence[str] = ("neg_elbo", "distortion", "rate"),
    anew: float | None = None,
) -> matplotlib.figure.Figure:
    """−ELBO, distortion and rate, or those of them named in ``terms``, against epochs; one line per split.

    ``anew`` is the epoch at which an encoder began once more: marked, and its way down may leave the frame.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 3.3), dpi=DPI)
    figure.text(
        0.1 / WIDTH,
        1 - 0.25 / 3.3,
        "Learning curves: −ELBO and its two terms" if "neg_elbo" in terms else "Learning curves",
        size=TITLE,
        weight="bold",
        va="center",
    )
    titles = {"neg_elbo": "−ELBO = distortion + rate", "distortion": "Distortion", "rate": "Rate"}
    hues = dict(zip((c.name for c in curves), ("#3f90da", "#e76300", "#832db6"), strict=False))
    apart = 8.85 / len(terms)
    for i, key in enumerate(terms):
        axes = figure.add_axes(((0.85 + apart * i) / WIDTH, 0.5 / 3.3, (apart - 0.8) / WIDTH, 2.05 / 3.3))
        axes.set_title(titles[key], pad=8)
        axes.grid(axis="y")
        for curve in curves:
            few = len(curve.epoch) <= 40
            values = getattr(curve, key)
            axes.plot(
                curve.epoch, values, color=hues[curve.name], lw=1.5 if few else 1.1, label=curve.name,
                marker="o" if few else "", ms=3.5, zorder=3 if few else 2,
            )  # fmt: skip
        if max(float(getattr(c, key).max()) for c in curves) >= 10_000:
            axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set_ylim(*settled([getattr(c, key)[~_beginning(c, anew)] for c in curves]))
        if anew is not None:
            axes.axvline(anew, color="#94a4a2", lw=1, ls="--", zorder=1)
        axes.set(xlabel="epochs", ylabel="nats per image" if i == 0 else "")
        axes.set_xlim(0, 1.02 * max(float(c.epoch[-1]) for c in curves))
        if i == 0:
            axes.legend(loc="upper right" if anew is None else "upper center")
    return figure


def _beginning(curve: Curve, anew: float | None) -> Bool[np.ndarray, " _"]:
    """The points at which an encoder that began at ``anew`` is still on its way down."""
    begun = math.inf if anew is None else anew
    return np.asarray((curve.epoch > begun) & (curve.epoch < begun + ANEW * curve.epoch[-1]))


def settled(curves: Sequence[Float[np.ndarray, " _"]]) -> tuple[float, float]:
    """Limits that show where curves go rather than where they start from: the first tenth may lie outside."""
    later = np.concatenate([c[len(c) // 10 :] if len(c) >= 20 else c for c in curves])
    low, high = float(later.min()), float(later.max())
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


# ---------------------------------------------------------------- the latent space


@style()
def latent_scatter(
    points: Float[np.ndarray, "N 2"],
    labels: Int[np.ndarray, " N"] | None = None,
    names: Sequence[str] = (),
    *,
    title: str = "The latent space",
    xlabel: str = "z₁",
    ylabel: str = "z₂",
    seed: int = 0,
) -> matplotlib.figure.Figure:
    """Points in the plane, coloured by class, drawn in random order, each class's name at its median."""
    from matplotlib.figure import Figure

    side, listed = 6.9, labels is not None and len(names) <= MOST_IN_LEGEND
    across, up = np.ptp(points, axis=0) if len(points) else (1.0, 1.0)
    tall = side * float(np.clip(up / max(across, 1e-9), 0.55, 1))  # a flat cloud needs no square
    height = tall + 0.9
    figure = Figure(figsize=(WIDTH if listed else side + 1.0, height), dpi=DPI)
    wide = figure.get_figwidth()
    figure.text(0.1 / wide, 1 - 0.25 / height, title, size=TITLE, weight="bold", va="center")
    axes = figure.add_axes((0.7 / wide, 0.45 / height, side / wide, tall / height))
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid()
    axes.set_aspect("equal", adjustable="datalim")
    draw_dots(axes, points, labels, len(names), seed)
    if labels is not None:
        axes.apply_aspect()
        axes.set(
            xlim=axes.get_xlim(), ylim=axes.get_ylim()
        )  # names may not move the limits that they depend on
        place_names(axes, points, labels, names, np.array([side, tall]))
        if listed:
            _legend(axes, names, WIDTH - side - 1.15)
    return figure


@style()
def latent_rows(
    values: Float[np.ndarray, " N"],
    labels: Int[np.ndarray, " N"] | None = None,
    names: Sequence[str] = (),
    *,
    title: str = "The latent space",
    xlabel: str = "z",
    seed: int = 0,
) -> matplotlib.figure.Figure:
    """A space of one dimension: a row of points for each class, spread in height so that they can be seen."""
    from matplotlib.figure import Figure

    rows = list(names) if labels is not None else ["all images"]
    row = labels if labels is not None else np.zeros(len(values), dtype=np.int64)
    height = 1.1 + 0.42 * len(rows)
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    figure.text(0.1 / WIDTH, 1 - 0.25 / height, title, size=TITLE, weight="bold", va="center")
    axes = figure.add_axes((1.6 / WIDTH, 0.5 / height, (WIDTH - 1.8) / WIDTH, (height - 1.0) / height))
    spread = np.random.default_rng(seed).uniform(-0.36, 0.36, len(values))
    draw_dots(axes, np.stack([values, row + spread], 1), labels, len(names), seed)
    axes.set_yticks(range(len(rows)), [shorten(name, 1.4, SMALL) for name in rows])
    axes.set(xlabel=xlabel, ylim=(len(rows) - 0.5, -0.5))
    axes.grid(axis="x")
    return figure


def draw_dots(
    axes: matplotlib.axes.Axes,
    points: Float[np.ndarray, "N 2"],
    labels: Int[np.ndarray, " N"] | None,
    classes: int,
    seed: int,
) -> None:
    from matplotlib.colors import to_rgb

    # In order of class the last class would hide the others.
    order = np.random.default_rng(seed).permutation(len(points))
    palette = np.array([to_rgb(c) for c in colours(max(classes, 1))])
    hue = palette[labels[order]] if labels is not None else palette[:1].repeat(len(points), 0)
    size = float(np.clip(60_000 / max(len(points), 1), 1.8, 22))
    alpha = 0.55 if len(points) > 5000 else 0.85
    x, y = points[order].T
    axes.scatter(x, y, s=size, c=hue, alpha=alpha, linewidths=0, rasterized=True)


def place_names(
    axes: matplotlib.axes.Axes,
    points: Float[np.ndarray, "N 2"],
    labels: Int[np.ndarray, " N"],
    names: Sequence[str],
    frame: Float[np.ndarray, " 2"],
) -> None:
    """Each class's name at the median of its points, moved aside where names would overlap, or left out if many."""
    from matplotlib.patheffects import withStroke

    counts = np.bincount(labels, minlength=len(names))
    shown = [int(c) for c in np.argsort(-counts, kind="stable") if counts[c]]
    if not shown:
        return
    medians = np.stack([np.median(points[labels == c], axis=0) for c in shown])
    to_inches = axes.transAxes.inverted()
    centres = to_inches.transform(axes.transData.transform(medians)) * frame
    size = BODY if len(shown) <= 12 else SMALL
    words = [shorten(names[c], 1.6, size) for c in shown]
    boxes = np.array([(1.1 * text_width(w, size) + 0.06, size / 72 * 1.45) for w in words])
    if len(shown) <= MOST_IN_LEGEND:
        places, kept = apart(centres, boxes, frame), np.ones(len(shown), dtype=bool)
    else:
        places, kept = centres, first_come(centres, boxes)
    halo, ring = (
        [withStroke(linewidth=2.6, foreground="white")],
        [withStroke(linewidth=1.6, foreground="white")],
    )
    common: dict[str, Any] = {"transform": axes.transAxes, "zorder": 6}
    for word, place, centre, keep in zip(words, places, centres, kept, strict=True):
        if not keep:
            continue
        if np.abs(place - centre).max() > 0.1:
            way = (np.stack([centre, place]) / frame).T
            axes.plot(*way, color=INK, lw=0.8, path_effects=ring, **{**common, "zorder": 4})
            axes.plot(
                *way[:, :1], color=INK, marker="o", ms=2.5, path_effects=ring, **{**common, "zorder": 4}
            )
        x, y = place / frame
        axes.text(x, y, word, size=size, weight="bold", ha="center", va="center", path_effects=halo, **common)


def apart(
    centres: Float[np.ndarray, "M 2"], boxes: Float[np.ndarray, "M 2"], frame: Float[np.ndarray, " 2"]
) -> Float[np.ndarray, "M 2"]:
    """Places near ``centres`` in a frame at which no two boxes overlap, found by pushing overlapping ones apart."""
    places = np.array(centres, dtype=np.float64)
    for _ in range(300):
        moved = False
        for i in range(len(places)):
            for j in range(i):
                gap = places[i] - places[j]
                overlap = (boxes[i] + boxes[j]) / 2 - np.abs(gap)
                if (overlap > 1e-6).all():
                    axis = int(overlap.argmin())
                    push = overlap[axis] / 2 * (1.0 if gap[axis] >= 0 else -1.0)
                    places[i, axis] += push
                    places[j, axis] -= push
                    moved = True
        places = np.clip(places, boxes / 2, frame - boxes / 2)
        if not moved:
            break
    return places


def first_come(centres: Float[np.ndarray, "M 2"], boxes: Float[np.ndarray, "M 2"]) -> Bool[np.ndarray, " M"]:
    """Which boxes may stay at their centres so that none overlap, earlier ones first."""
    kept = np.zeros(len(centres), dtype=bool)
    for i in range(len(centres)):
        overlap = (boxes[i] + boxes) / 2 - np.abs(centres[i] - centres)
        kept[i] = not ((overlap > 0).all(1) & kept).any()
    return kept


def class_handles(names: Sequence[str], room: float) -> list[Any]:
    """A dot of each class's colour with its name, in at most ``room`` inches, for a legend."""
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], ls="", marker="o", ms=6, color=hue, label=shorten(name, room - 0.3, SMALL))
        for name, hue in zip(names, colours(len(names)), strict=True)
    ]


def _legend(axes: matplotlib.axes.Axes, names: Sequence[str], room: float) -> None:
    axes.legend(
        handles=class_handles(names, room),
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0,
        labelcolor=INK,
    )
