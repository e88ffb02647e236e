"""What is missing from an image, given what is there: by importance weighting, as the model has it.

An encoder proposes z well for images like those that it has learned from, and badly for others: halves of pictures,
say, if it has seen whole ones. So proposals are fitted to each image as the draws come in.
"""

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

__all__ = ["Imputed", "as_mask", "impute"]

ROUNDS = 10
"""In which the draws are made, at most, each but the first by proposals that were fitted to those before it."""
LEAST_ROUND = 50
"""Draws in each: to fewer there is nothing to be fitted."""
KEPT = 0.1
"""The share of each round that the encoder and the prior keep, each."""
FITTED_TO = 20.0
"""The effective draws that proposals are fitted to, at least: weights of fewer are flattened until they are so many."""
WIDER = 1.2
"""How much wider proposals are than what they are fitted to: if their tails are too light, weights have no bound."""
NARROWEST = 1e-4
HALVINGS = 30
"""By which the power is found that flattens weights."""
ENCODER, PRIOR = 0, 1
"""The first two of the laws that points are drawn from, by number."""
AT_ONCE = 50
"""Points decoded together for each image."""


@dataclass(frozen=True, eq=False)
class Imputed:
    """Images made whole. Pixels that were observed are as they were.

    Attributes:
        mean: (N, C, H, W) what is missing, on average: E(x_missing given x_observed).
        draws: (S, N, C, H, W) ways in which it could be: mean images at draws of z given x_observed.
        effective: (N,) how many draws the weights amount to, 1 / Σ w̃². Of an image with few, one or two draws decide.
            Many are no proof: of what no draw has met, the weights know nothing.
    """

    mean: Float[Tensor, "N C H W"]
    draws: Float[Tensor, "S N C H W"]
    effective: Float[Tensor, " N"]


@torch.no_grad()
def impute(
    model: VAE, x: Float[Tensor, "N C H W"], draws: int, ways: int, labels: Labels | None = None
) -> Imputed:
    """Impute the pixels of ``x`` that are nan, by torch's current generator.

    K points z are weighted by w = p(x_observed given z)·p(z) / r(z), brought to sum to one (Mattei & Frellsen 2019,
    arXiv:1812.02633, section 2.3). There r is q(z given x_observed); here it is the mixture of all that z was drawn
    from (adaptive multiple importance sampling: Cornuet et al. 2012, arXiv:0907.1254): in the first round the encoder,
    which sees images `zero_imputed`, and the prior, and then normals with the moments of all draws so far, by weights
    that are flattened where few draws have them all (Koblents & Míguez 2015, arXiv:1208.5600). On spheres, in balls and
    among codes, where a normal is no proposal, there is the first round alone. Of any model whose pixels are
    independent given z.

    Args:
        model: with a posterior that has a density.
        x: values in [0, 1], nan where not observed, on the model's device.
        draws: K.
        ways: S, of the K points how many are drawn anew, with their weights as probabilities.
        labels: the images' classes, for a model that is told of them.

    Raises:
        UsageError: for a model without a likelihood, or one whose pixels hang on one another.
    """
    if not (model.encoder.family.normalised and model.decoder.family.normalised):
        raise UsageError(
            "this space has no likelihood to weigh by; train a recipe that has one, such as 'missing-pixels'"
        )
    if not len(x):
        return Imputed(x, x.expand(ways, *x.shape), x.new_zeros(0))
    pool = _Pool(model, x, labels)
    first, *others = _in_rounds(draws, ROUNDS if model.encoder.family.plane else 1)
    pool.draw(ENCODER, first - first // 2)
    pool.draw(PRIOR, first // 2)
    for count in others:
        kept = int(KEPT * count)
        pool.draw(ENCODER, kept)
        pool.draw(PRIOR, kept)
        pool.draw(pool.propose(), count - 2 * kept)
    w = pool.log_w().softmax(0)  # (K, N)
    chosen = torch.multinomial(w.T, ways, replacement=True).T  # (S, N)
    mean = torch.einsum("kn,knchw->nchw", w.to(x.dtype), pool.images)
    missing = x.isnan()
    return Imputed(
        torch.where(missing, mean, x),
        torch.where(missing, pool.images[chosen, torch.arange(len(x), device=x.device)], x),
        (1 / w.square().sum(0)).to(x.dtype),
    )


def _in_rounds(draws: int, rounds: int) -> list[int]:
    """So many draws, in as many parts, as equal as can be; in fewer, if there are not so many draws."""
    rounds = max(1, min(rounds, draws // LEAST_ROUND))
    return [draws // rounds + (i < draws % rounds) for i in range(rounds)]


class _Pool:
    """Points of the space for each image, K so far, by several laws, and how well each explains what is observed.

    Attributes:
        z: (K, N, D) the points.
        images: (K, N, C, H, W) the mean images there.
    """

    def __init__(self, model: VAE, x: Tensor, labels: Labels | None) -> None:
        self._model, self._x, self._labels = model, x, labels
        family = model.decoder.family
        self._likelihood = family.whole if isinstance(family, Masked) else family
        self._laws = [model.encode(zero_imputed(x), labels), model.prior_of(labels)]
        self._counts = [0, 0]
        self.z = self._laws[ENCODER].mean[None][:0]
        self.images = x.new_zeros(0, *x.shape)
        self._log_px = x.new_zeros(0, len(x), dtype=torch.float64)
        self._log_r = x.new_zeros(2, 0, len(x), dtype=torch.float64)  # (J, K, N): of each law, at all points

    def draw(self, which: int, count: int) -> None:
        """``count`` more points for each image, by the law of this number."""
        if not count:
            return
        apiece = which != PRIOR or (self._model.prior.classes and self._labels is not None)
        z = self._laws[which].rsample(torch.Size((count,) if apiece else (count, len(self._x))))
        self._counts[which] += count
        self.z = torch.cat([self.z, z])
        self._log_r = torch.cat(
            [self._log_r, torch.stack([law.log_prob(z).double() for law in self._laws])], 1
        )
        for some in torch.split(z, AT_ONCE):
            px = self._likelihood(self._model.decoder.parameters_of(some, self._labels))
            self._log_px = torch.cat([self._log_px, d.Masked(px).log_prob(self._x).double()])
            self.images = torch.cat([self.images, px.mean])

    def log_w(self) -> Float[Tensor, "K N"]:
        """log p(x_observed, z) − log r(z), where r is the mixture of all laws, each by the draws that it made."""
        shares = torch.tensor(self._counts, dtype=torch.float64, device=self._x.device) / len(self.z)
        r = (self._log_r + shares.log()[:, None, None]).logsumexp(0)
        return self._log_px + self._log_r[PRIOR] - r

    def propose(self) -> int:
        """The number of a new law: for each image a normal with the moments of its draws so far."""
        w = flattened(self.log_w(), min(FITTED_TO, len(self.z) / 4)).to(self.z.dtype)
        mean = torch.einsum("kn,knd->nd", w, self.z)
        variance = torch.einsum("kn,knd->nd", w, (self.z - mean).square())
        self._laws.append(d.normal(mean, (WIDER * variance.sqrt()).clamp_min(NARROWEST)))
        self._counts.append(0)
        self._log_r = torch.cat([self._log_r, self._laws[-1].log_prob(self.z).double()[None]])
        return len(self._laws) - 1


def flattened(log_w: Float[Tensor, "K N"], effective: float) -> Float[Tensor, "K N"]:
    """Weights to the power, at most 1, at which they amount to so many draws, brought to sum to one."""
    log_w = (log_w - log_w.amax(0)).clamp_min(-1e9)  # none is −∞, which has no power of nought
    low, high = torch.zeros_like(log_w[0]), torch.ones_like(log_w[0])
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = 1 / (middle * log_w).softmax(0).square().sum(0) >= effective
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    return (low * log_w).softmax(0)


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
