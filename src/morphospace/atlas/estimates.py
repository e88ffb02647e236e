"""The questions of a map where there is none to draw: spaces of any dimension, by sampling, with standard errors.

The aggregated posterior is a mixture of N normals in any dimension, so its density at a point is a sum that can be
formed exactly (`at_points`). Only the integrals over the space are estimated, each as a mean over draws.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from morphospace.atlas.figures import DEFINITIONS, OF_FORMER, OF_PRIOR, OF_SAMPLER, SURE, excess_figure
from morphospace.atlas.map import samples_of
from morphospace.atlas.measures import HOLE
from morphospace.data.images import Images
from morphospace.distributions import Distribution
from morphospace.evaluation.classifier import classifier_for
from morphospace.evaluation.records import Figure
from morphospace.families import DiagonalNormal, Point
from morphospace.latents import Latents, at_points, with_spread
from morphospace.seeds import seeded
from morphospace.space import Space
from morphospace.training.config import require_same_images
from morphospace.types import Progress, UsageError, silent

__all__ = ["estimate_figures"]

DRAWS = 10_000


def estimate_figures(
    space: Space,
    images: Images | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[dict[str, Figure], list[str]]:
    """Figures of a space of any dimension, marked as estimates, and what must be known to read them.

    Args:
        space: trained.
        images: those that it was trained on; without them nothing is said of what is recognised.
        draws: points that each mean is taken over.
        seed: of the draws.
        progress: told of the work.

    Raises:
        UsageError: for a space that is no R^D, or whose posteriors or prior have no density of the kinds needed.
        RunError: if the latents are gone, or the images are not those of the run.
    """
    family = space.model.encoder.family
    kind = type(family).__name__
    if not isinstance(family, DiagonalNormal | Point):
        reason = "no normals with independent dimensions" if family.plane else "no normals over R^D"
        raise UsageError(
            f"the posteriors of this space ({kind}) are {reason}, of which the aggregated posterior is made; there are "
            "no holes or overlaps to be told"
        )
    if space.conditional:
        raise UsageError(
            "the decoder of this space is told of classes, so that a place has a picture for each: there are no holes "
            "of all classes together"
        )
    if draws < 2:
        raise UsageError(
            f"{draws} draws were asked for; expected at least 2, since one has no standard error"
        )
    if images is not None and space.folder is not None:
        require_same_images(images, space.config, space.folder)
    latents = space.known_latents()
    train = with_spread(latents.learned)
    count = len(space.classes) if train.labels is not None else 1
    space.fit_sampler(progress)
    laws = _laws(space)

    def log_q(z: Float[np.ndarray, "S D"]) -> Float[np.ndarray, "S M"]:
        return at_points(z, train.mean, train.scale, train.labels, max(count, 1), progress)

    z = _draws_of(train, draws, seed)
    each = log_q(z)
    q = np.logaddexp.reduce(each, axis=1)
    figures: dict[str, Figure] = {}
    for law, names in laws:
        p = _log_prob(law, z)
        with seeded(seed, "sample"), torch.inference_mode():
            other = law.rsample(torch.Size((draws,))).double().cpu().numpy()
        there = np.logaddexp.reduce(log_q(other), axis=1)
        figures[names[0]] = _mean(names[0], q - p)
        figures[names[1]] = _mean(names[1], there < np.log(HOLE) + _log_prob(law, other))
        figures[names[2]] = _mean(names[2], p < np.log(HOLE) + q)
    if count > 1:
        figures["bayes_error"] = _mean("bayes_error", 1 - np.exp(each.max(1) - q))
    notes = [
        f"The space has {space.dimensions} dimensions, so these are estimates: means over {draws:,} draws, with their "
        "standard errors. Densities at the draws are exact."
    ]
    return figures | _excess(space, images, draws, seed, progress, notes), notes


@torch.inference_mode()
def _laws(space: Space) -> list[tuple[Distribution, tuple[str, str, str]]]:
    """What the aggregated posterior is compared with, and the names of the figures."""
    parts = ((space.model.prior, OF_PRIOR), (space.sampler, OF_SAMPLER), (space.former_prior, OF_FORMER))
    return [(part(space.model.encoder), names) for part, names in parts if part is not None]


def _draws_of(train: Latents, draws: int, seed: int) -> Float[np.ndarray, "S D"]:
    """Points drawn from the aggregated posterior."""
    with seeded(seed, "aggregate"):
        rows = torch.randint(len(train), (draws,)).numpy()
        noise = torch.randn(draws, train.mean.shape[1]).numpy()
    return np.asarray(train.mean[rows] + train.scale[rows] * noise, dtype=np.float64)


@torch.inference_mode()
def _log_prob(law: Distribution, z: Float[np.ndarray, "S D"]) -> Float[np.ndarray, " S"]:
    points = torch.from_numpy(z).float().to(law.mean.device)
    return np.concatenate([law.log_prob(part).double().cpu().numpy() for part in points.split(2**12)])  # type: ignore[no-untyped-call]


def _mean(name: str, values: np.ndarray) -> Figure:
    words, unit = DEFINITIONS[name]
    error = float(values.std(ddof=1, dtype=np.float64) / np.sqrt(len(values)))
    return Figure(
        float(values.mean(dtype=np.float64)),
        f"{words}; an estimate",
        unit,
        error,
        "standard error of the mean over draws",
        draws=len(values),
    )


def _excess(
    space: Space, images: Images | None, draws: int, seed: int, progress: Progress, notes: list[str]
) -> dict[str, Figure]:
    if images is None or images.train.labels is None or len(np.unique(images.train.labels)) < 2:
        notes.append("Without labelled images there is no classifier to recognise decoded images.")
        return {}
    eyes = classifier_for(images, progress)

    def unsure(z: torch.Tensor) -> np.ndarray:
        return np.asarray(eyes.probabilities(space.decode(z, progress)).max(1) < SURE)

    latents = space.known_latents()
    known = latents.test if (latents.splits == 2).any() else latents
    rows = np.linspace(0, len(known) - 1, min(draws, len(known))).round().astype(int)
    test = unsure(torch.from_numpy(known.mean[rows]))
    return {
        name: excess_figure(unsure(drawn), test, words)
        for name, drawn, words in samples_of(space, draws, seed)
    }
