"""Numbers out of fields, each with what it may be off by: how much it moves when the grid is made finer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from morphospace.atlas.decoded import condition, stretch
from morphospace.atlas.grid import Grid
from morphospace.atlas.measures import HOLE, bayes_error, divergence, hole_mass, missed_mass
from morphospace.evaluation.records import Figure

__all__ = ["SURE", "Densities", "density_figures", "excess_figure", "recognised_figures", "stretch_figures"]

TOLERANCE = 1e-3
"""By how much a figure of the densities, in nats or as a share, may move when the grid is made twice as fine."""
FINEST = 2
"""How often the grid is made twice as fine, at most."""
SURE = 0.7
"""A decoded image is recognised where the classifier gives some class this probability."""

Field = Float[np.ndarray, "Gy Gx"]


class Densities:
    """The densities of a map on one grid."""

    def __init__(
        self, grid: Grid, prior: Field, by_class: Float[np.ndarray, "M Gy Gx"], sampler: Field | None
    ) -> None:
        self.grid, self.prior, self.by_class, self.sampler = grid, prior, by_class, sampler
        self.posterior: Field = by_class.sum(0, dtype=np.float64)

    def measured(self, names: tuple[str, ...]) -> dict[str, float]:
        """The figures ``names``, all of them integrals over the box."""
        grid, q, p, s = self.grid, self.posterior, self.prior, self.sampler
        found = {
            "kl_to_prior": lambda: divergence(grid, q, p),
            "hole_mass": lambda: hole_mass(grid, q, p),
            "missed_mass": lambda: missed_mass(grid, q, p),
            "bayes_error": lambda: bayes_error(grid, self.by_class),
        }
        if s is not None:
            found |= {
                "sampler_kl": lambda: divergence(grid, q, s),
                "sampler_hole_mass": lambda: hole_mass(grid, q, s),
                "sampler_missed_mass": lambda: missed_mass(grid, q, s),
            }
        return {name: found[name]() for name in names}

    def edge(self, p: Field) -> float:
        """The largest |log q/p| along the edge of the box, where both are above nought; what lies beyond is like it."""
        ring = np.ones(self.grid.shape, dtype=bool)
        ring[1:-1, 1:-1] = False
        some = ring & (self.posterior > 0) & (p > 0)
        return float(np.abs(np.log(self.posterior[some] / p[some])).max()) if some.any() else 0.0


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
}
MOVED = "how much it moved when the grid was last made twice as fine, and what may lie beyond the map's edge"


def density_figures(first: Densities, on: Callable[[Grid], Densities]) -> dict[str, Figure]:
    """The integrals over a map, on grids that are made finer until no figure moves by more than `TOLERANCE`.

    Args:
        first: the densities on the map's own grid.
        on: gives them on another.
    """
    names = tuple(
        name
        for name in DEFINITIONS
        if (first.sampler is not None or not name.startswith("sampler"))
        and (len(first.by_class) > 1 or name != "bayes_error")
    )
    finest, values, moved = first, first.measured(names), dict.fromkeys(names, np.inf)
    for level in range(1, FINEST + 1):
        finest = on(first.grid.refined(2**level))
        before, values = values, finest.measured(names)
        moved = {name: abs(values[name] - before[name]) for name in names}
        if max(moved.values()) <= TOLERANCE:
            break
    grid = finest.grid
    beyond = {
        "q": abs(1 - float(grid.integral(finest.posterior))),
        "p": abs(1 - float(grid.integral(finest.prior))),
        "s": 0.0 if finest.sampler is None else abs(1 - float(grid.integral(finest.sampler))),
    }
    off = {
        "kl_to_prior": beyond["q"] * finest.edge(finest.prior),
        "hole_mass": beyond["p"],
        "missed_mass": beyond["q"],
        "bayes_error": beyond["q"],
        "sampler_hole_mass": beyond["s"],
        "sampler_missed_mass": beyond["q"],
    }
    if finest.sampler is not None:
        off["sampler_kl"] = beyond["q"] * finest.edge(finest.sampler)
    return {
        name: Figure(
            values[name],
            DEFINITIONS[name][0],
            DEFINITIONS[name][1],
            moved[name] + off[name],
            MOVED,
            extra={"cells": float(grid.shape[1]), "moved": moved[name], "tolerance": TOLERANCE},
        )
        for name in names
    }


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


def recognised_figures(
    grid: Grid, top: Field, laws: dict[str, Field], nearest: Field | None = None
) -> dict[str, Figure]:
    """How much of each law lies where the decoded image is not recognised: integrals over the map.

    Args:
        grid: of the fields.
        top: the largest class probability of the decoded image at each point.
        laws: densities by name: q, p and s.
        nearest: unused where None; else the distance to the nearest training image is averaged as well.
    """
    words = {"posterior": "q(z)", "prior": "the prior p(z)", "sampler": "the sampler s(z)"}
    figures = {}
    for name, law in laws.items():
        lost = np.where(top < SURE, law, 0)
        whole = float(grid.integral(lost)) / float(grid.integral(law))
        half = float(lost[::2, ::2].sum() / law[::2, ::2].sum())
        figures[f"unrecognised_{name}"] = Figure(
            whole,
            f"part of {words[name]} where the classifier gives no class of the decoded image {SURE} or more",
            "",
            abs(whole - half),
            "by how much it differs from that of every other point of the grid, each way",
        )
        if nearest is not None:
            mean = float(grid.integral(nearest * law)) / float(grid.integral(law))
            figures[f"nearest_{name}"] = Figure(
                mean,
                f"mean over {words[name]} of the distance from the decoded image to the nearest training image, root "
                "summed squares of pixels",
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
