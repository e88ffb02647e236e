"""Numbers out of fields, each with what it may be off by: how much it moves when the grid is made finer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from morphospace.atlas.decoded import condition, stretch
from morphospace.atlas.grid import Grid
from morphospace.atlas.measures import (
    HOLE,
    bayes_error,
    divergence,
    hole_mass,
    missed_mass,
    overlap,
    part_above,
)
from morphospace.evaluation.records import Figure

__all__ = ["SURE", "Densities", "Integrals", "excess_figure", "integrals", "nearest_figures"]
__all__ += ["recognised_figures", "stretch_figures"]

TOLERANCE = 1e-3
"""By how much a figure of the densities, in nats or as a share, may move when the grid is made twice as fine."""
FINEST = 2048
"""Cells a side of the finest grid that is tried."""
SURE = 0.7
"""A decoded image is recognised where the classifier gives some class this probability."""

Field = Float[np.ndarray, "Gy Gx"]


class Densities:
    """The densities of a map on one grid."""

    def __init__(
        self,
        grid: Grid,
        prior: Field,
        by_class: Float[np.ndarray, "M Gy Gx"],
        sampler: Field | None,
        former: Field | None = None,
    ) -> None:
        self.grid, self.prior, self.by_class, self.sampler, self.former = (
            grid,
            prior,
            by_class,
            sampler,
            former,
        )
        self.posterior: Field = by_class.sum(0, dtype=np.float64)

    def measured(self, names: tuple[str, ...]) -> dict[str, float]:
        """The figures ``names``, all of them integrals over the box."""
        found: dict[str, float] = {}
        for law, measures in self.laws():
            for name, measure in zip(measures, (divergence, hole_mass, missed_mass), strict=True):
                if name in names:
                    found[name] = measure(self.grid, self.posterior, law)
        if "bayes_error" in names:
            found["bayes_error"] = bayes_error(self.grid, self.by_class)
        return found

    def laws(self) -> list[tuple[Field, tuple[str, str, str]]]:
        """What q(z) is compared with, and the names of its divergence, holes and missed mass."""
        each = ((self.prior, OF_PRIOR), (self.sampler, OF_SAMPLER), (self.former, OF_FORMER))
        return [(law, names) for law, names in each if law is not None]

    @property
    def names(self) -> tuple[str, ...]:
        """All figures that can be had, in the order of their definitions."""
        some = {name for _, names in self.laws() for name in names}
        if len(self.by_class) > 1:
            some.add("bayes_error")
        return tuple(name for name in DEFINITIONS if name in some)

    def overlap(self) -> Float[np.ndarray, "M M"]:
        """The overlap of every two classes."""
        return overlap(self.grid, self.by_class)

    def edge(self, p: Field) -> float:
        """The mean of |log q/p| along the edge of the box, weighted by q: what lies beyond is like it."""
        ring = np.ones(self.grid.shape, dtype=bool)
        ring[1:-1, 1:-1] = False
        some = ring & (self.posterior > 0) & (p > 0)
        if not some.any():
            return 0.0
        q = self.posterior[some]
        return float(np.average(np.abs(np.log(q) - np.log(p[some])), weights=q))


OF_PRIOR = ("kl_to_prior", "hole_mass", "missed_mass")
OF_SAMPLER = ("sampler_kl", "sampler_hole_mass", "sampler_missed_mass")
OF_FORMER = ("former_kl", "former_hole_mass", "former_missed_mass")
_FORMER = "p₀(z) the prior that the model was trained with, before another was fitted"
DEFINITIONS = {
    "kl_to_prior": ("KL(q(z) ‖ p(z)), q(z) the aggregated posterior of the training images", "nats"),
    "hole_mass": (f"∫ p(z)·1[q(z) < {HOLE}·p(z)] dz: the part of the prior's draws that fall into holes", ""),
    "missed_mass": (
        f"∫ q(z)·1[p(z) < {HOLE}·q(z)] dz: the part of the images where the prior hardly draws",
        "",
    ),
    "bayes_error": (
        "1 − ∫ max_c π_c·q_c(z) dz: how often the best guess of a class from z is wrong; overlap of classes",
        "",
    ),
    "sampler_kl": ("KL(q(z) ‖ s(z)), s(z) the sampler fitted after training", "nats"),
    "sampler_hole_mass": (
        f"∫ s(z)·1[q(z) < {HOLE}·s(z)] dz: the part of the samples that fall into holes",
        "",
    ),
    "sampler_missed_mass": (
        f"∫ q(z)·1[s(z) < {HOLE}·q(z)] dz: the part of the images where hardly any sample lies",
        "",
    ),
    "former_kl": (f"KL(q(z) ‖ p₀(z)), {_FORMER}", "nats"),
    "former_hole_mass": (f"∫ p₀(z)·1[q(z) < {HOLE}·p₀(z)] dz, {_FORMER}", ""),
    "former_missed_mass": (f"∫ q(z)·1[p₀(z) < {HOLE}·q(z)] dz, {_FORMER}", ""),
}
MOVED = "how much it moved when the grid was last made twice as fine, and what may lie beyond the map's edge"


@dataclass(frozen=True, eq=False)
class Integrals:
    """What integrals over a map say.

    Attributes:
        figures: by name, each with its error.
        overlap: (M, M) ∫ min(q_a, q_b) of every two classes; nan for a class without images.
        overlap_error: (M, M), as the figures' errors.
        notes: where the tolerance was not met.
    """

    figures: dict[str, Figure]
    overlap: Float[np.ndarray, "M M"]
    overlap_error: Float[np.ndarray, "M M"]
    notes: tuple[str, ...]


def integrals(first: Densities, on: Callable[[Grid], Densities], classes: Sequence[str] = ()) -> Integrals:
    """The integrals over a map, on grids that are made finer until none moves by more than `TOLERANCE`.

    Args:
        first: the densities on the map's own grid.
        on: gives them on another.
        classes: names of the classes that the densities are of.
    """
    names = first.names
    last, values, both = first, first.measured(names), first.overlap()
    while True:
        last, before, pairs = on(last.grid.refined()), values, both
        values, both = last.measured(names), last.overlap()
        moved = {name: abs(values[name] - before[name]) for name in names}
        apart = np.abs(both - pairs)
        most = max(*moved.values(), float(np.nan_to_num(apart).max()))
        if most <= TOLERANCE or 2 * max(last.grid.shape) > FINEST:
            break
    off, beyond = _beyond(last)
    cells = last.grid.shape[1]
    figures = {
        name: Figure(
            values[name],
            *DEFINITIONS[name],
            moved[name] + off[name],
            MOVED,
            extra={"cells": float(cells), "moved": moved[name], "tolerance": TOLERANCE},
        )
        for name in names
    }
    # An overlap is of densities that each class is divided by its share for; so is what lies beyond.
    shares = np.minimum.outer(*[last.grid.integral(last.by_class)] * 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        overlap_error = apart + beyond / shares
    met = ~np.isnan(both) & ~np.eye(len(both), dtype=bool)  # of classes that no image has, all is nan
    if len(classes) > 1 and met.any():
        figures["largest_overlap"] = _largest(both, overlap_error, classes, cells)
    return Integrals(figures, both, overlap_error, _not_met(moved, apart, cells))


def _beyond(last: Densities) -> tuple[dict[str, float], float]:
    """By how much each integral may be off for what lies beyond the box, and the mass of q(z) there."""
    grid = last.grid
    q = abs(1 - float(grid.integral(last.posterior)))
    off = {"bayes_error": q}
    for law, names in last.laws():
        beyond = abs(1 - float(grid.integral(law)))
        off |= dict(zip(names, (q * last.edge(law), beyond, q), strict=True))
    return off, q


def _largest(
    both: Float[np.ndarray, "M M"], error: Float[np.ndarray, "M M"], classes: Sequence[str], cells: int
) -> Figure:
    """The two classes that overlap most."""
    apart = np.where(np.eye(len(both), dtype=bool) | np.isnan(both), -1, both)
    a, b = sorted(divmod(int(apart.argmax()), len(both)))
    return Figure(
        float(both[a, b]),
        f"∫ min(q_a(z), q_b(z)) dz of the two classes that overlap most, {classes[a]} and {classes[b]}",
        "",
        float(error[a, b]),
        MOVED,
        extra={"cells": float(cells), "tolerance": TOLERANCE},
    )


def _not_met(moved: dict[str, float], apart: Float[np.ndarray, "M M"], cells: int) -> tuple[str, ...]:
    """A sentence for figures that still moved by more than the tolerance; none where all stood."""
    some = {name: by for name, by in moved.items() if not by <= TOLERANCE}
    if (widest := float(np.nan_to_num(apart).max())) > TOLERANCE:
        some["overlap"] = widest
    if not some:
        return ()
    each = ", ".join(f"{name} by {by:.2g}" for name, by in some.items())
    return (
        f"The grid was made finer up to {cells} × {cells} cells, and still moved by more than the tolerance of "
        f"{TOLERANCE:g}: {each}.",
    )


def weighted_quantiles(
    values: Float[np.ndarray, " G"], weights: Float[np.ndarray, " G"], at: tuple[float, ...]
) -> Float[np.ndarray, " Q"]:
    """The values below which the parts ``at`` of the weight lie."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order], dtype=np.float64)
    rows = np.searchsorted(below, np.array(at) * below[-1])
    return np.asarray(values[order][np.minimum(rows, len(values) - 1)], dtype=np.float64)


def stretch_figures(metric: Float[np.ndarray, "3 Gy Gx"], posterior: Field) -> dict[str, Figure]:
    """Quantiles, over where the images lie, of √det G and of G's condition number."""
    figures = {}
    for name, field, words in (
        ("stretch", stretch(metric), "√det G: image-space area per latent area (pixels' values squared)"),
        ("condition", condition(metric), "condition number of G: larger over smaller squared stretch"),
    ):
        full = weighted_quantiles(field.ravel(), posterior.ravel(), (0.05, 0.5, 0.95))
        half = weighted_quantiles(field[::2, ::2].ravel(), posterior[::2, ::2].ravel(), (0.5,))
        figures[name] = Figure(
            full[1],
            f"median of {words}, G = JᵀJ the decoder's pull-back metric, weighted by q(z)",
            "",
            abs(full[1] - half[0]),
            "by how much it differs from that of every other point of the grid, each way",
            extra={"5 %": full[0], "95 %": full[2]},
        )
    return figures


LAWS = {
    "posterior": "q(z)",
    "prior": "the prior p(z)",
    "sampler": "the sampler s(z)",
    "former": "the prior p₀(z) that the model was trained with",
}


def recognised_figures(grid: Grid, top: Field, laws: dict[str, Field]) -> dict[str, Figure]:
    """How much of each law lies where the decoded image is not recognised: integrals over the map.

    A cell that the border of such places crosses counts in part, as it would if the top class's log-odds were linear
    within it.

    Args:
        grid: of the fields.
        top: the largest class probability of the decoded image at each point.
        laws: densities by the names in `LAWS`.
    """
    from scipy.special import logit

    depth = logit(SURE) - np.clip(logit(top.astype(np.float64)), -50, 50)
    part, rough = part_above(depth), part_above(depth[::2, ::2])
    figures = {}
    for name, law in laws.items():
        whole = float(grid.integral(part * law)) / float(grid.integral(law))
        half = float((rough * law[::2, ::2]).sum() / law[::2, ::2].sum())
        figures[f"unrecognised_{name}"] = Figure(
            whole,
            f"part of {LAWS[name]} where the classifier gives no class of the decoded image {SURE} or more",
            "",
            abs(whole - half),
            "by how much it differs from that of every other point of the grid, each way",
        )
    return figures


def nearest_figures(grid: Grid, nearest: Field, sparser: Field, laws: dict[str, Field]) -> dict[str, Figure]:
    """The mean over each law of the distance to the nearest training image: integrals over the map.

    Args:
        grid: of the fields.
        nearest: the distance, root summed squares of pixel values.
        sparser: the same, searched for at half as many points each way.
        laws: densities by the names in `LAWS`.
    """
    figures = {}
    for name, law in laws.items():
        whole, half = (float(grid.integral(d * law) / grid.integral(law)) for d in (nearest, sparser))
        figures[f"nearest_{name}"] = Figure(
            whole,
            f"mean over {LAWS[name]} of the distance from the decoded image to the nearest training image, root "
            "summed squares of pixels",
            "",
            abs(whole - half),
            "by how much it differs from that of distances searched for at half as many points each way",
        )
    return figures


def excess_figure(drawn: Bool[np.ndarray, " S"], test: Bool[np.ndarray, " T"], source: str) -> Figure:
    """The part of samples that are not recognised, minus that of reconstructions.

    Args:
        drawn: whether each sample is not recognised.
        test: whether each reconstruction is not.
        source: what was drawn from, in words.
    """
    shares = float(drawn.mean()), float(test.mean())
    error = float(np.sqrt(drawn.var() / len(drawn) + test.var() / len(test)))
    return Figure(
        shares[0] - shares[1],
        f"share of samples from {source} whose top class probability is below {SURE}, minus that of reconstructions of "
        "test images",
        "",
        error,
        "binomial standard error of the difference",
        len(test),
        len(drawn),
        {"samples": shares[0], "reconstructions": shares[1]},
    )
