"""The questions of a map where there is none to draw: spaces of any dimension, by sampling, with standard errors.

The aggregated posterior is a mixture of N normals in any dimension, so its density at a point is a sum that can be
formed exactly (`at_points`). Only the integrals over the space are estimated, each as a mean over draws.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from morphospace.atlas.figures import DEFINITIONS, SURE, excess_figure
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
    with torch.inference_mode():
        prior = space.model.prior(space.model.encoder)
        fitted = space.fit_sampler(progress)
        sampler = None if fitted is None else fitted(space.model.encoder)

    def log_q(z: Float[np.ndarray, "S D"]) -> Float[np.ndarray, "S M"]:
        return at_points(z, train.mean, train.scale, train.labels, max(count, 1), progress)

    z = _draws_of(train, draws, seed)
    each = log_q(z)
    q = np.logaddexp.reduce(each, axis=1)
    figures: dict[str, Figure] = {}
    for law, from_prior, names in (
        (prior, True, ("kl_to_prior", "hole_mass", "missed_mass")),
        (sampler, False, ("sampler_kl", "sampler_hole_mass", "sampler_missed_mass")),
    ):
        if law is None:
            continue
        p = _log_prob(law, z)
        other = space.draw(draws, seed, prior=from_prior).numpy().astype(np.float64)
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
        name: excess_figure(unsure(space.draw(draws, seed, prior=prior)), test, words)
        for name, prior, words in (
            ("excess_unrecognisable", False, "the space's own sampler"),
            ("excess_unrecognisable_prior", True, "the prior p(z)"),
        )
    }
