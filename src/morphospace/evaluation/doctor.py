"""The collapse doctor: what is wrong with a space, in words, and what to change.

    signs = examine(model, x)        # measured on training images
    for finding in diagnose(signs):  # nothing, for a healthy space
        finding.words, finding.remedy

Each finding rests on a quantity that is known at a healthy optimum, not on looks:

* *Balance.* Where an encoder can make all its posteriors wider by a common factor, as a bias of its last layer does, a
  trained one is stationary in it: ∂distortion/∂log s + β·∂rate/∂log s = 0. So β̂ = −∂distortion/∂rate is the weight
  that the rate was in effect trained with, whatever the code calls it. One is the ELBO.
* *Residuals.* A normal likelihood's own σ is right if squared residuals are σ² on average.
* *Use of z.* Of what the decoder knows of an image beyond the average picture, at least as much is lost when it is
  given another image's z; a decoder that loses little knows it from elsewhere.
* *Surgery.* rate = mutual information + KL(q(z) ‖ p(z)) (Hoffman & Johnson 2016).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Laplace, Normal

from morphospace.distributions import Distribution, base_of, divergence, normal
from morphospace.evaluation.aggregate import active_units, information, rate_per_level
from morphospace.evaluation.likelihood import as_seen
from morphospace.families import Gaussian, Masked, PixelGaussian
from morphospace.families.likelihoods import LEAST_LOG_SIGMA
from morphospace.model import VAE, Labels
from morphospace.seeds import seeded
from morphospace.types import Progress, silent

__all__ = ["Finding", "Signs", "diagnose", "examine"]

DRAWS = 5
"""Of z for each image."""
NO_RATE = 0.1
"""Nats: with less, q(z given x) is the prior."""
BALANCE = 1.5
"""How far from one, as a factor, the balance may be. Early stopping and test images move it by a tenth or two."""
RESIDUALS = 2.0
"""How far from σ, as a factor, the residuals may be."""
FROM_Z = 0.1
"""The least part of what is known beyond the average picture that must be lost with another image's z."""
ROOM = 2.0
"""Nats that the information must stay below log N, its ceiling for N images, for the mismatch to be told from them."""
MISMATCH = 1.0
"""Nats of KL(q(z) ‖ p(z)), beyond a tenth of the rate, at which samples visibly differ from images."""
OVERFIT = 0.02
"""The part of −ELBO by which test images may cost more than training images, beyond five nats."""


@dataclass(frozen=True)
class Signs:
    """What was measured, in nats per image where nothing else is said; None where it cannot be.

    Attributes:
        images: how many.
        dimensions: of z.
        pixels: values in an image.
        active: active units (Burda et al. 2016).
        rate: KL(q(z given x) ‖ p(z)).
        information: the mutual information of image and z.
        distortion: with the image's own z.
        shuffled: the same with another image's z.
        mismatch: KL(q(z) ‖ p(z)); None where there are too few images to tell it from the rate.
        average: the distortion of the best picture that knows nothing of z.
        balance: β̂, the weight that the rate was in effect trained with.
        residuals: root mean square of (x − mean) / σ.
        spread: the aggregate's standard deviation over the prior's, the root mean square over dimensions.
        overfit: test −ELBO less train −ELBO.
        cost: train −ELBO.
        levels: the rate of each level of a ladder, from the top.
    """

    images: int
    dimensions: int
    pixels: int
    active: int
    rate: float
    information: float
    distortion: float
    shuffled: float
    mismatch: float | None = None
    average: float | None = None
    balance: float | None = None
    residuals: float | None = None
    spread: float | None = None
    overfit: float | None = None
    cost: float | None = None
    levels: tuple[float, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        name: "collapsed", "unused dimensions", "unused level", "over-regularised", "under-regularised",
            "scale mismatch", "decoder too strong", "prior mismatch" or "overfitted".
        words: what is wrong, and by which figures.
        remedy: what to change.
    """

    name: Literal[
        "collapsed",
        "unused dimensions",
        "unused level",
        "over-regularised",
        "under-regularised",
        "scale mismatch",
        "decoder too strong",
        "prior mismatch",
        "overfitted",
    ]
    words: str
    remedy: str


def examine(
    model: VAE,
    x: Tensor,
    seed: int = 0,
    overfit: float | None = None,
    cost: float | None = None,
    progress: Progress = silent,
    labels: Labels | None = None,
) -> Signs:
    """Take the signs of a model on (N, C, H, W) training images with values in [0, 1], on its device.

    Args:
        model: with a posterior that has a density.
        x: a few hundred to a few thousand images.
        seed: of the draws of z.
        overfit: test −ELBO less train −ELBO, if known.
        cost: train −ELBO, if known.
        progress: told how far it is.
        labels: the images' classes, for a model that is told of them.
    """
    with seeded(seed, "doctor", "order"):
        order = torch.randperm(len(x)).to(x.device)  # neighbours of a sorted set are of one class
    x, labels = x[order], None if labels is None else labels[order]
    with seeded(seed, "doctor"), torch.inference_mode():
        sums = np.zeros(4)
        size = max(2, 2**21 // (x[0].numel() * DRAWS))
        bounds = np.linspace(0, len(x), -(-len(x) // size) + 1).round().astype(int)
        for start, end in itertools.pairwise(bounds.tolist()):
            chunk, y = x[start:end], None if labels is None else labels[start:end]
            trace = model.trace(chunk, DRAWS, labels=y)
            shuffled = -model.decoder(trace.z.roll(1, 1), y).log_prob(trace.x)  # each with another image's z
            parts = (trace.distortion, trace.rate, shuffled, _residuals(trace.px, trace.x))
            sums += [float(part.double().mean(0).sum()) for part in parts]
            progress("examining", end, len(x))
        q, pz = model.encode(as_seen(model, x, seed), labels), model.prior_of()
        taken, levels = information(q, pz, seed), rate_per_level(q, pz, seed)
        mean = q.mean.double()
        total = mean.var(0, correction=0) + q.stddev.double().square().mean(0)
        prior = pz.rsample(torch.Size((10_000,))).double().var(0)  # not every prior knows its own
        spread = float((total / prior).mean().sqrt())
    distortion, rate, shuffled_mean, square = sums / len(x)
    told = float(taken.information.mean())
    return Signs(
        images=len(x),
        dimensions=mean.shape[1],
        pixels=x[0].numel(),
        active=active_units(mean.cpu().numpy()),
        rate=rate,
        information=told,
        mismatch=float(taken.mismatch.mean()) if told < math.log(len(x)) - ROOM else None,
        distortion=distortion,
        shuffled=shuffled_mean,
        average=_average(model, as_seen(model, x, seed), labels),
        balance=_balance(model, x, seed, labels),
        residuals=math.sqrt(square) if math.isfinite(square) else None,
        spread=spread,
        overfit=overfit,
        cost=cost,
        levels=None if levels is None else tuple(map(float, levels.mean(0))),
    )


def diagnose(signs: Signs) -> list[Finding]:
    """What is wrong; an empty list for a healthy space."""
    return [
        *_decoder(signs),
        *_levels(signs),
        *_balances(signs),
        *_widths(signs),
        *_prior(signs),
        *_fit(signs),
    ]


# ---------------------------------------------------------------- taking the signs


def _residuals(px: Distribution, x: Tensor) -> Tensor:
    """((x − mean) / σ)² of each draw and image, the mean over pixels; nan for a likelihood without a σ of its own."""
    base = base_of(px)
    if not isinstance(base, Normal | Laplace):
        return x.new_full((1, len(x)), torch.nan)
    return ((x - base.mean) / base.stddev).double().square().mean((2, 3, 4))


def _average(model: VAE, x: Tensor, labels: Labels | None) -> float | None:
    """The distortion, under the decoder's kind of likelihood, of the average picture with the best constants.

    A decoder that is told of classes has an average picture for each.
    """
    if x.isnan().any():  # which picture is the best of incomplete images is another question
        return None
    y = None if labels is None else labels[:1]
    with torch.inference_mode():
        base = base_of(model.decoder(model.encode(x[:1], y).mean, y))
    mean = x.double().mean(0, keepdim=True)
    if labels is not None and model.decoder.classes:
        mean = torch.empty_like(x, dtype=torch.float64)
        for c in range(model.decoder.classes):
            mean[labels == c] = x[labels == c].double().mean(0)
    if model.decoder.family.support == "binary" or isinstance(base, Bernoulli):
        entropy = torch.special.entr(mean) + torch.special.entr(1 - mean)
        return float(entropy.flatten(1).sum(1).mean())
    if isinstance(base, Normal):
        return _average_normal(model, (x.double() - mean).square())
    return None


def _average_normal(model: VAE, square: Tensor) -> float | None:
    """What squared distances (N, C, H, W) cost under a normal with the best σ that the decoder's family may have."""
    family = model.decoder.family
    family = family.whole if isinstance(family, Masked) else family
    mean = square.mean(0)
    if isinstance(family, PixelGaussian):
        variance = mean.clamp_min(math.exp(2 * LEAST_LOG_SIGMA))
    elif isinstance(family, Gaussian) and not family.learned:
        variance = torch.full_like(mean, float((2 * family.log_sigma.double()).exp()))
    else:
        variance = mean.mean().expand_as(mean)
    if not (variance > 0).all():
        return None
    return float(0.5 * (mean / variance + (2 * math.pi * variance).log()).sum())


def _balance(model: VAE, x: Tensor, seed: int, labels: Labels | None) -> float | None:
    """β̂ = −(∂distortion/∂log s) / (∂rate/∂log s), s a common factor of all posteriors' widths; exact derivatives."""
    with torch.no_grad():
        base = base_of(model.encode(x[:1], None if labels is None else labels[:1]))
    if not isinstance(base, Normal):
        return None
    slopes = torch.zeros(2, dtype=torch.float64)
    size = max(1, min(len(x), 2**20 // (x[0].numel() * DRAWS)))
    for start in range(0, len(x), size):
        chunk, y = x[start : start + size], None if labels is None else labels[start : start + size]
        with torch.no_grad(), seeded(seed, "balance", "seen", start):
            seen = model.trace(
                chunk, labels=y
            )  # binarised or dequantised, where that is part of the likelihood
        q, chunk = seen.q, seen.x
        log_s = torch.zeros((), dtype=chunk.dtype, device=chunk.device, requires_grad=True)
        wider = normal(q.mean, q.stddev * log_s.exp())
        with seeded(seed, "balance", start):
            z = wider.rsample(torch.Size((DRAWS,)))
        distortion = -model.decoder(z, y).log_prob(chunk).mean(0).sum()
        rate = divergence(wider, model.prior_of(y), z).mean(0).sum()
        for i, part in enumerate((distortion, rate)):
            (slope,) = torch.autograd.grad(part, log_s, retain_graph=i == 0)
            slopes[i] += slope.double().cpu()
    if abs(slopes[1]) < 1e-3 * len(x):  # posteriors as wide as the prior: nothing is weighed against anything
        return None
    return float(-slopes[0] / slopes[1])


# ---------------------------------------------------------------- reading them


def _decoder(signs: Signs) -> Iterator[Finding]:
    """Is z used, and does what is known of an image come through it?"""
    from_z = signs.shuffled - signs.distortion
    known = None if signs.average is None else signs.average - signs.distortion
    if known is not None and known > max(5.0, 0.02 * abs(signs.distortion)) and from_z < FROM_Z * known:
        yield Finding(
            "decoder too strong",
            f"The decoder's picture of an image is {known:.1f} nats better than the average picture, but only "
            f"{from_z:.1f} nats of that are lost with another image's z: the decoder knows images from elsewhere "
            "(their own pixels, a label), and leaves z unused.",
            "Weaken the decoder: fewer layers, no look at the image's other pixels, part of its input dropped; or make "
            "z cheap at first: free bits, or a warm-up of the rate.",
        )
    elif signs.active == 0 or signs.rate < NO_RATE:
        yield Finding(
            "collapsed",
            f"The posterior is the prior for every image (rate {signs.rate:.3f} nats, {signs.active} of "
            f"{signs.dimensions} dimensions active), so that the decoder draws one picture for all.",
            "Let the rate count little at first (warm-up, free bits), weigh it less (a lower beta), train longer, or "
            "lower the learning rate; check that distortion and rate are both sums and not means.",
        )
    elif signs.active < signs.dimensions:
        yield Finding(
            "unused dimensions",
            f"{signs.dimensions - signs.active} of {signs.dimensions} latent dimensions carry nothing: their posterior "
            "mean is the same for all images. This costs no likelihood.",
            f"Ask for {signs.active} dimensions, or, to have more used, for free bits or a lower beta.",
        )


def _levels(signs: Signs) -> Iterator[Finding]:
    """Does each level of a ladder carry something?"""
    if signs.levels is None or signs.rate < NO_RATE:
        return
    idle = [str(level) for level, rate in enumerate(signs.levels, 1) if rate < NO_RATE]
    if idle:
        rates = ", ".join(f"{rate:.2f}" for rate in signs.levels)
        yield Finding(
            "unused level",
            f"Of the ladder's {len(signs.levels)} levels, from the top, {' and '.join(idle)} carry nothing: the rates "
            f"are {rates} nats.",
            f"Ask for {max(1, len(signs.levels) - len(idle))} levels, or let the rate warm up for longer, which is "
            "when the levels are balanced.",
        )


def _balances(signs: Signs) -> Iterator[Finding]:
    """Was distortion weighed against rate as the ELBO does?"""
    balance = signs.balance
    if balance is None or signs.rate < NO_RATE or 1 / BALANCE <= balance <= BALANCE:
        return
    if balance > 0 and 1 / 1.3 < balance / signs.pixels < 1.3 and signs.pixels > 10:
        yield Finding(
            "scale mismatch",
            f"The posteriors are as wide as if the rate counted {balance:.0f} times, about the {signs.pixels} values "
            "of an image: the distortion was averaged over pixels where the ELBO sums them.",
            "Sum the distortion over pixels (the mean belongs over the batch only).",
        )
    elif balance > BALANCE:
        yield Finding(
            "over-regularised",
            f"The posteriors are as wide as if the rate counted {balance:.2g} times; the ELBO counts it once. Detail "
            "is given up for closeness to the prior: pictures are blurrier than they need be.",
            "Lower beta towards 1; if beta is 1, check that distortion is summed over pixels.",
        )
    else:
        hint = (
            f" That is about 1 / {signs.dimensions}, as if the rate were averaged over its dimensions."
            if signs.dimensions > 1 and 0.8 < balance * signs.dimensions < 1.25
            else ""
        )
        yield Finding(
            "under-regularised",
            f"The posteriors are as narrow as if the rate counted {balance:.2g} times; the ELBO counts it once.{hint}",
            "Raise beta towards 1; if beta is 1, sum the rate over dimensions, and stop earlier or use more images.",
        )


def _widths(signs: Signs) -> Iterator[Finding]:
    """Is the likelihood's σ that of the residuals?"""
    ratio = signs.residuals
    if ratio is None or 1 / RESIDUALS <= ratio <= RESIDUALS:
        return
    wide = ratio < 1
    yield Finding(
        "scale mismatch",
        f"The likelihood's σ is {1 / ratio if wide else ratio:.1f} times too {'large' if wide else 'small'} for the "
        f"residuals, which acts like a beta of {1 / ratio**2:.3g}.",
        "Let σ be learned (sigma-vae), or set it to the residuals' root mean square.",
    )


def _prior(signs: Signs) -> Iterator[Finding]:
    """Is the aggregate of the posteriors the prior?"""
    spread, mismatch = signs.spread, signs.mismatch
    off = spread is not None and not 1 / 1.5 < spread < 1.5
    if not (off if mismatch is None else mismatch > MISMATCH + 0.1 * signs.rate):
        return
    words = [f"The latents spread {spread:.1f} times as far as the prior"] if off else []
    if mismatch is not None:
        words.append(f"{'the' if off else 'The'} aggregated posterior is {mismatch:.1f} nats from the prior")
    yield Finding(
        "prior mismatch",
        f"{', and '.join(words)}: samples come from places where no image lies.",
        "Fit a prior after training, or train with a learned one (vamp, mixture); or raise beta.",
    )


def _fit(signs: Signs) -> Iterator[Finding]:
    """Do test images cost what training images cost?"""
    if signs.overfit is None or signs.cost is None:
        return
    if signs.overfit > 5.0 + OVERFIT * abs(signs.cost):
        yield Finding(
            "overfitted",
            f"A test image costs {signs.overfit:.1f} nats more than a training image.",
            "Train for fewer epochs, on more images, or with a smaller network; more weight decay.",
        )
