"""What is missing from an image, given what is there: by importance weighting, as the model has it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

import morphospace.distributions as d
from morphospace.families import Masked
from morphospace.model import VAE, Labels
from morphospace.networks import zero_imputed
from morphospace.types import ImageSpec, UsageError

__all__ = ["AT_ONCE", "Imputed", "as_mask", "impute"]

AT_ONCE = 50
"""Points decoded together for each image."""


@dataclass(frozen=True, eq=False)
class Imputed:
    """Images made whole. Pixels that were observed are as they were.

    Attributes:
        mean: (N, C, H, W) what is missing, on average: E(x_missing given x_observed).
        draws: (S, N, C, H, W) ways in which it could be: mean images at draws of z given x_observed.
        effective: (N,) how many draws the weights amount to, 1 / Σ w̃². Of an image with few, one or two draws decide.
    """

    mean: Float[Tensor, "N C H W"]
    draws: Float[Tensor, "S N C H W"]
    effective: Float[Tensor, " N"]


@torch.no_grad()
def impute(
    model: VAE,
    x: Float[Tensor, "N C H W"],
    draws: int,
    ways: int,
    labels: Labels | None = None,
    chunk: int = AT_ONCE,
) -> Imputed:
    """Impute the pixels of ``x`` that are nan, by torch's current generator.

    K points z are drawn from q(z given x_observed), the encoder seeing them as `zero_imputed` has them, and weighted by
    w = p(x_observed given z)·p(z) / q(z given x_observed), brought to sum to one (Mattei & Frellsen 2019,
    arXiv:1812.02633, section 2.3): an encoder that is wrong costs draws and not truth. Of any model whose pixels are
    independent given z.

    Args:
        model: with a posterior that has a density.
        x: values in [0, 1], nan where not observed, on the model's device.
        draws: K.
        ways: S, of the K points how many are drawn anew, with their weights as probabilities.
        labels: the images' classes, for a model that is told of them.
        chunk: points decoded at once for each image.

    Raises:
        UsageError: for a model without a likelihood, or one whose pixels hang on one another.
    """
    if not (model.encoder.family.normalised and model.decoder.family.normalised):
        raise UsageError(
            "this space has no likelihood to weigh by; train a recipe that has one, such as 'missing-pixels'"
        )
    if not len(x):
        return Imputed(x, x.expand(ways, *x.shape), x.new_zeros(0))
    likelihood = model.decoder.family
    if isinstance(likelihood, Masked):
        likelihood = likelihood.whole
    missing = x.isnan()
    q, p = model.encode(zero_imputed(x), labels), model.prior_of(labels)
    z = q.rsample(torch.Size((draws,)))  # (K, N, D)
    log_w, total = [], torch.zeros_like(x, dtype=torch.float64)
    top = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
    for some in torch.split(z, chunk):
        px = likelihood(model.decoder.parameters_of(some, labels))
        found = (d.Masked(px).log_prob(x) + p.log_prob(some) - q.log_prob(some)).double()
        log_w.append(found)
        # Sums are kept relative to the greatest weight so far, so that none overflows.
        higher = torch.maximum(top, found.amax(0))
        total = total * _by_image(top - higher).exp()
        total += torch.einsum("kn,knchw->nchw", (found - higher).exp(), px.mean.double())
        top = higher
    w = torch.cat(log_w).softmax(0)  # (K, N)
    mean = total / _by_image(torch.cat(log_w).logsumexp(0) - top).exp()
    chosen = torch.multinomial(w.T, ways, replacement=True).T  # (S, N)
    again = likelihood(model.decoder.parameters_of(z[chosen, torch.arange(len(x))], labels)).mean
    return Imputed(
        torch.where(missing, mean.to(x.dtype), x),
        torch.where(missing, again, x),
        (1 / w.square().sum(0)).to(x.dtype),
    )


def as_mask(
    observed: NDArray[np.bool_] | Tensor, count: int, spec: ImageSpec
) -> Bool[Tensor, "{count} channels H W"]:
    """Which pixels of ``count`` images are known, as a tensor with one channel or all.

    Raises:
        UsageError: for a mask of another kind or shape than (N, H, W), (N, 1, H, W) or (N, C, H, W).
    """
    known = torch.as_tensor(np.asarray(observed))
    known = known[:, None] if known.dim() == 3 else known
    sides = (spec.height, spec.width)
    if known.dtype != torch.bool or known.shape not in ((count, 1, *sides), (count, *spec.shape)):
        raise UsageError(
            f"observed is {known.dtype} of shape {tuple(known.shape)}; expected bool, ({count}, {spec.height}, "
            f"{spec.width})"
        )
    return known


def _by_image(values: Float[Tensor, " N"]) -> Float[Tensor, "N 1 1 1"]:
    return values[:, None, None, None]
