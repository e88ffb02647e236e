"""How probable a space finds images: the ELBO, importance-weighted log p(x), and the exact one in two dimensions."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from morphospace.evaluation.pairs import Pairs
from morphospace.evaluation.quadrature import exact_log_likelihood
from morphospace.evaluation.records import Figure, mean_over_images
from morphospace.model import VAE, Labels
from morphospace.seeds import seeded
from morphospace.terms import cost_of_classes, marginal_cost
from morphospace.training.measure import chunk_size
from morphospace.types import NumericalError, Progress, UsageError, silent

__all__ = ["as_seen", "bits_per_dimension", "elbo", "importance_weighted", "measure_likelihood", "scale_of"]

AT_ONCE = 25
"""Draws of an image that are decoded together."""
ONE_BY_ONE = 10
"""Images at most whose exact log p(x) is found where the likelihood must be asked for each pair of image and point."""
UNRELIABLE = 0.5
"""Nats: with a larger standard error, the delta method's own premise (few weights do not decide the sum) fails."""


@torch.inference_mode()
def as_seen(model: VAE, x: Float[Tensor, "N C H W"], seed: int) -> Float[Tensor, "N C H W"]:
    """Images as the likelihood takes them: themselves, or binarised or dequantised once, where that is part of it."""
    size = chunk_size(x[0].numel())
    parts = []
    for start in range(0, len(x), size):
        with seeded(seed, "seen", start):
            parts.append(model.seen(x[start : start + size]))
    return torch.cat(parts)


def elbo(
    model: VAE,
    x: Float[Tensor, "N C H W"],
    draws: int,
    seed: int,
    progress: Progress = silent,
    labels: Labels | None = None,
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Distortion and rate of each image in nats, the mean over ``draws``; −ELBO is their sum."""
    parts = []
    size = chunk_size(x[0].numel(), draws)
    for start in range(0, len(x), size):
        with seeded(seed, "elbo", start), torch.inference_mode():
            trace = model.trace(x[start : start + size], draws, labels=_some(labels, start, size))
            parts.append(torch.stack([trace.distortion.double().mean(0), trace.rate.double().mean(0)]).cpu())
        progress("measuring the ELBO", min(start + size, len(x)), len(x))
    distortion, rate = torch.cat(parts, 1).numpy()
    return distortion, rate


def _some(labels: Labels | None, start: int, size: int) -> Labels | None:
    return None if labels is None else labels[start : start + size]


def importance_weighted(
    model: VAE,
    x: Float[Tensor, "N C H W"],
    draws: int,
    seed: int,
    progress: Progress = silent,
    labels: Labels | None = None,
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """log p(x) of each image by importance weighting with exactly ``draws`` draws, and its standard error, in nats.

    The estimate is a lower bound in expectation (Burda et al. 2016, arXiv:1509.00519, theorem 1); its bias is about
    −½·error² for each image where the error is small.
    """
    if draws < 2:
        raise UsageError(
            f"{draws} draws were asked for; expected at least 2, since one has no standard error"
        )
    at_once = min(AT_ONCE, draws)
    size = chunk_size(x[0].numel(), at_once)
    parts = []
    for start in range(0, len(x), size):
        with seeded(seed, "importance", start):
            found = model.log_likelihood(x[start : start + size], draws, at_once, _some(labels, start, size))
            parts.append(torch.stack(found).cpu())
        progress("importance weighting", min(start + size, len(x)), len(x))
    log_p, error = torch.cat(parts, 1).double().numpy()
    return log_p, error


def scale_of(model: VAE, x: Tensor) -> str:
    """What log p(x given z) of these images is: "probability", "density", or "cross-entropy".

    A law of binary images gives a probability to binary ones only; of grey ones it gives the mean log-probability of
    binary images drawn with these greys (Loaiza-Ganem & Cunningham 2019, arXiv:1907.06845).
    """
    support = model.decoder.family.support
    if support == "binary":
        return "probability" if bool(((x == 0) | (x == 1) | x.isnan()).all()) else "cross-entropy"
    return "probability" if support == "levels" else "density"


def bits_per_dimension(nats: Figure, dimensions: int) -> Figure:
    """−log₂ p(x) for each pixel value; only of a probability."""
    per = 1 / (dimensions * math.log(2))
    return Figure(
        nats.value * per,
        f"bits per dimension: −log p(x) / ({dimensions} · ln 2), from {nats.definition}",
        "bits",
        None if nats.error is None else nats.error * per,
        nats.error_is,
        nats.images,
        nats.draws,
    )


def measure_likelihood(
    model: VAE,
    x: Float[Tensor, "N C H W"],
    draws: int,
    seed: int = 0,
    progress: Progress = silent,
    labels: Labels | None = None,
) -> tuple[dict[str, Figure], list[str]]:
    """All figures of likelihood for images on the model's device, and what must be known to read them.

    Labels are for a model that is told of classes: all is then of log p(x given y).
    """
    figures, notes = {}, []
    if labels is not None:
        notes.append(
            "The model is told each image's class y, and p(x) stands for p(x given y): compare it only with models "
            "that are told as much."
        )
    few = min(draws, 10)
    distortion, rate = elbo(model, x, few, seed, progress, labels)
    bound = -(distortion + rate)
    figures["neg_elbo"] = mean_over_images(-bound, "−ELBO = distortion + rate, β = 1", "nats", draws=few)
    figures["distortion"] = mean_over_images(distortion, "E over q of −log p(x given z)", "nats", draws=few)
    figures["rate"] = mean_over_images(rate, "KL(q(z given x) ‖ p(z))", "nats", draws=few)
    log_p, error = importance_weighted(model, x, draws, seed, progress, labels)
    gap = mean_over_images(log_p - bound, "")
    figures["nll_importance"] = mean_over_images(
        -log_p,
        f"−log p(x), importance weighted with {draws} draws (Burda et al. 2016): an upper bound in expectation",
        "nats",
        draws=draws,
        extra={
            "monte_carlo_error": float(np.sqrt(np.square(error).sum()) / len(error)),
            "bias_estimate": float(0.5 * np.square(error).mean()),
            "share_of_unreliable_images": float((error > UNRELIABLE).mean()),
            "elbo_gap": gap.value,
            "elbo_gap_error": math.nan if gap.error is None else gap.error,
        },
    )
    best, words = log_p, "importance-weighted"
    seen = as_seen(model, x, seed)
    if tuple(model.decoder.network.input_shape) == (2,):
        kept = _integrated(model if labels is None else model.of_class(int(labels[0])), seen)
        told = None if labels is None else labels[torch.from_numpy(kept).to(labels.device)]
        try:
            exact = exact_log_likelihood(model, seen[kept], progress=progress, labels=told)
        except (UsageError, NumericalError) as reason:
            notes.append(f"No exact log p(x): {reason}.")
        else:
            best, words, bound = exact.log_p, "exact", bound[kept]
            if len(kept) < len(seen):
                notes.append(
                    f"The exact log p(x), and so the ELBO gap, is of {len(kept)} of the images, evenly spaced: this "
                    "likelihood must be asked for each pair of an image and a point of the plane."
                )
            figures["nll_exact"] = mean_over_images(
                -exact.log_p,
                "−log p(x), exact by quadrature over the plane",
                "nats",
                extra={
                    "quadrature_error": exact.error,
                    "most_that_an_image_moved": float(np.abs(exact.moved).max()),
                    "log_mass_of_the_prior": exact.prior,
                    "mass_at_the_edge": exact.edge,
                    "finest_spacing": exact.spacing,
                    "points": float(exact.points),
                },
            )
    figures["elbo_gap"] = mean_over_images(best - bound, f"{words} log p(x) − ELBO", "nats", draws=few)
    if model.classifier is not None and labels is not None:
        cost, hits = _unlabelled(model, x, labels, seed, progress)
        words = "the same with the class summed over, as the classifier finds it likely: bounds −log p(x)"
        figures["neg_elbo_unlabelled"] = mean_over_images(cost, words, "nats", draws=1)
        figures["accuracy"] = mean_over_images(hits, "share of images whose class the classifier says", "")
    kind = scale_of(model, seen)
    if kind == "probability" and x.isnan().any():
        notes.append("Some pixels are missing, so there is no number of them to give bits per dimension by.")
    elif kind == "probability":
        whole = len(bound) == len(x)  # where the exact one is of a few, their choice would be in the figure
        nats = figures.get("nll_exact", figures["nll_importance"]) if whole else figures["nll_importance"]
        figures["bits_per_dimension"] = bits_per_dimension(nats, x[0].numel())
    elif kind == "cross-entropy":
        floor = _grey_entropy(x)
        figures["floor"] = mean_over_images(
            floor,
            "entropy of pixel values as Bernoulli probabilities: no Bernoulli model gets below it",
            "nats",
        )
        notes.append(
            "The images are not binary but the likelihood is Bernoulli: −log p(x) is a mean over binary images drawn "
            "with their values, and no density; bits per dimension are therefore not given."
        )
    else:
        notes.append("The likelihood is a density, not a probability: bits per dimension are not given.")
    return figures, notes


def _integrated(model: VAE, x: Tensor) -> Int[np.ndarray, " K"]:
    """Which images' log p(x) is found by quadrature: all of them, where that takes seconds."""
    most = ONE_BY_ONE if Pairs(model, x).asked_one_by_one() else len(x)
    return np.linspace(0, len(x) - 1, min(most, len(x))).round().astype(int)


def _unlabelled(
    model: VAE, x: Tensor, labels: Labels, seed: int, progress: Progress
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """What images cost whose class is not known, and whether the classifier knows it, 1 or 0."""
    parts = []
    size = chunk_size(x[0].numel(), model.classes)
    for start in range(0, len(x), size):
        some = slice(start, start + size)
        with seeded(seed, "unlabelled", start), torch.inference_mode():
            trace = model.trace(x[some], labels=torch.full_like(labels[some], -1))
            log_q = model.classify(trace.x)
            cost = marginal_cost(log_q, cost_of_classes(trace)).double()
            parts.append(torch.stack([cost, (log_q.argmax(-1) == labels[some]).double()]).cpu())
        progress("summing over classes", min(start + size, len(x)), len(x))
    found, hits = torch.cat(parts, 1).numpy()
    return found, hits


def _grey_entropy(x: Tensor) -> Float[np.ndarray, " N"]:
    grey = x.double().flatten(1)
    entropy = torch.special.entr(grey) + torch.special.entr(1 - grey)
    return np.asarray(entropy.nansum(1).cpu().numpy())  # of the pixels that are known
