"""What the latent space is used for: active units, rate per dimension, mutual information, aggregate against prior."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Normal

from morphospace.distributions import Chain, Distribution, base_of
from morphospace.evaluation.records import Figure, mean_over_images
from morphospace.seeds import seeded
from morphospace.types import Progress, silent

__all__ = [
    "ACTIVE",
    "Information",
    "active_units",
    "code_figures",
    "information",
    "latent_figures",
    "rate_per_dimension",
    "rate_per_level",
]

ACTIVE = 0.01
"""A unit is active if its posterior mean varies by more than this over the images (Burda et al. 2016, section 5.2)."""
LEVEL_DRAWS = 10
MOST_PAIRED = 5_000
"""Images whose posteriors are set against each other: every draw needs the density of every posterior."""


def active_units(mean: Float[np.ndarray, "N D"]) -> int:
    """How many latent dimensions have Var_x(E[z_d given x]) > 0.01 (Burda et al. 2016, arXiv:1509.00519)."""
    return int((mean.var(0, dtype=np.float64) > ACTIVE).sum())


def rate_per_dimension(q: Distribution, p: Distribution) -> Float[np.ndarray, "N D"] | None:
    """KL(q(z_d given x) ‖ p(z_d)) in nats of each image and dimension; None unless both are diagonal normals."""
    a, b = base_of(q), base_of(p)
    if not (isinstance(a, Normal) and isinstance(b, Normal)):
        return None
    return np.asarray(torch.distributions.kl_divergence(a, b).double().cpu().numpy())


@torch.inference_mode()
def rate_per_level(q: Distribution, p: Distribution, seed: int = 0) -> Float[np.ndarray, "N L"] | None:
    """KL(q(z_l given z_<l, x) ‖ p(z_l)) in nats of each image and level, the mean over `LEVEL_DRAWS` draws of the
    levels above; None unless the posterior is a ladder's and the prior a normal with independent dimensions.
    """
    if not isinstance(q, Chain):
        return None
    with seeded(seed, "levels"):
        z = q.rsample(torch.Size((LEVEL_DRAWS,)))
    try:
        return np.asarray(q.divergences(p, z).mean(1).T.double().cpu().numpy())
    except NotImplementedError:
        return None


@dataclass(frozen=True, eq=False)
class Information:
    """The rate taken apart (Hoffman & Johnson 2016, ELBO surgery): rate = information + mismatch, for each image.

    Attributes:
        information: (N,) log q(z given x) − log q(z): its mean is the mutual information of image and z, in nats.
        mismatch: (N,) log q(z) − log p(z): its mean is KL(q(z) ‖ p(z)), in nats.
    """

    information: Float[np.ndarray, " N"]
    mismatch: Float[np.ndarray, " N"]


@torch.inference_mode()
def information(q: Distribution, p: Distribution, seed: int = 0, progress: Progress = silent) -> Information:
    """One draw of z from each of N posteriors, against q(z) = (1/N)·Σ q(z given x_n), the aggregate of these N images.

    For this aggregate the estimate has no bias. As N different images cannot tell more than log N nats apart, the
    information is at most log N; an information near it says that more images are needed.
    """
    with seeded(seed, "information"):
        z: Tensor = q.rsample(torch.Size((1,)))[0]
    count = len(z)
    own, prior = q.log_prob(z).double(), p.log_prob(z).double()
    size = max(1, 2**24 // (count * z.shape[1]))
    parts = []
    for start in range(0, count, size):
        each = q.log_prob(z[start : start + size, None]).double()  # (size, N)
        parts.append(each.logsumexp(1) - math.log(count))
        progress("setting the aggregate against the prior", min(start + size, count), count)
    aggregate = torch.cat(parts)
    return Information(*(np.asarray(t.cpu().numpy()) for t in (own - aggregate, aggregate - prior)))


def latent_figures(
    q: Distribution,
    p: Distribution,
    seed: int = 0,
    progress: Progress = silent,
    marginal: Distribution | None = None,
) -> tuple[dict[str, Figure], list[str]]:
    """All figures of how the latent space is used, from the posteriors of N images; at most `MOST_PAIRED` are best.

    ``p`` is the prior, or that of each image's class, and then ``marginal`` the one of all classes together.
    """
    mean = q.mean.double().cpu().numpy()
    count, dimensions = mean.shape
    variance = mean.var(0)
    figures, notes = {}, []
    figures["active_units"] = Figure(
        active_units(mean),
        f"latent dimensions of {dimensions} whose posterior mean has a variance above {ACTIVE} (Burda et al. 2016)",
        images=count,
        extra={f"variance of z{d + 1}": float(v) for d, v in enumerate(variance)},
    )
    each, levels = rate_per_dimension(q, p), rate_per_level(q, p, seed)
    if levels is not None:
        for level in range(levels.shape[1]):
            figures[f"rate_level{level + 1}"] = mean_over_images(
                levels[:, level],
                f"KL(q(z given x) ‖ p(z)) of level {level + 1} from the top, given those above",
                "nats",
                draws=LEVEL_DRAWS,
            )
    elif each is None:
        notes.append(
            "The rate is not given for each dimension: that needs a diagonal normal posterior and prior."
        )
    if each is not None:
        for d in range(dimensions):
            figures[f"rate_z{d + 1}"] = mean_over_images(
                each[:, d], f"KL(q(z given x) ‖ p(z)) of dimension {d + 1}", "nats"
            )
    taken = information(q, p if marginal is None else marginal, seed, progress)
    figures["mutual_information"] = mean_over_images(
        taken.information,
        f"mutual information of image and z under q, at most log {count} = {math.log(count):.2f} "
        "(Hoffman & Johnson 2016)",
        "nats",
        draws=1,
    )
    figures["aggregate_to_prior"] = mean_over_images(
        taken.mismatch, "KL(q(z) ‖ p(z)), q(z) the aggregated posterior of these images", "nats", draws=1
    )
    if figures["mutual_information"].value > math.log(count) - 1:
        notes.append(
            f"The mutual information is near its ceiling of log {count}: it and KL(q(z) ‖ p(z)) are limited by the "
            "number of images."
        )
    return figures, notes


def code_figures(symbols: Int[np.ndarray, "N S"], size: int, levels: int = 1) -> dict[str, Figure]:
    """How the codes of a quantised space are used, from the rows of N images.

    Args:
        symbols: of each image; position s is of codebook s modulo L.
        size: K, codes in a codebook.
        levels: L, codebooks; the codes of one are not those of another.
    """
    count, length = symbols.shape
    used, entropies = 0, []
    for level in range(levels):
        of_level = symbols[:, level::levels]
        shares = np.bincount(of_level.ravel(), minlength=size) / of_level.size
        shares = shares[shares > 0]
        used += len(shares)
        entropies.append(-float((shares * np.log(shares)).sum()))
    changing = int((symbols != symbols[0]).any(0).sum())
    different = len(np.unique(symbols, axis=0))
    mean = "" if levels == 1 else f", the geometric mean over {levels} codebooks"
    return {
        "perplexity": Figure(
            math.exp(sum(entropies) / levels),
            f"e to the entropy of the codes' shares, at most the {size} that there are{mean}",
            images=count,
        ),
        "codes_used": Figure(
            used, f"codes of {size * levels} that some place of some image has", images=count
        ),
        "places_changing": Figure(
            changing, f"places of {length} whose code is not the same for all images", images=count
        ),
        "rows_different": Figure(
            different,
            f"different rows of codes among {count} images: two with one row are decoded alike",
            images=count,
        ),
    }
