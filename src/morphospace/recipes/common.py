"""What recipes share: the house's networks around the parts that a method picks; checks of arguments."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from morphospace.families import (
    Bernoulli,
    DiagonalNormal,
    Family,
    Gaussian,
    Likelihood,
    OptimalGaussian,
    Point,
)
from morphospace.model import VAE, Conditional
from morphospace.networks import ConvDecoder, ConvEncoder, Sight
from morphospace.networks import size as dial
from morphospace.objective import Objective, Ramp
from morphospace.priors import Prior, StandardNormal
from morphospace.recipes.registry import Parts
from morphospace.settings import Settings
from morphospace.types import ImageSpec, UsageError

__all__ = [
    "CRITIC_LR",
    "conv_parts",
    "part_of_run",
    "positive",
    "squared_error",
    "usual_likelihood",
    "warmed_up",
]

CRITIC_LR = 1e-3
"""The highest learning rate beside a critic, which is taught at the model's own: that of the configuration for MNIST
that Tolstikhin et al. (2018), arXiv:1711.01558, published with their code, where the critic has half of it."""


def conv_parts(
    spec: ImageSpec,
    latent: int,
    size: str,
    objective: Objective,
    *,
    posterior: Family | None = None,
    likelihood: Family | None = None,
    prior: Prior | None = None,
    stem: nn.Module | None = None,
    encoder_classes: int = 0,
    decoder_classes: int = 0,
    corrupted: float = 0.0,
    anchors: int = 0,
    first: bool = False,
    **settings: Any,
) -> Parts:
    """The conv networks of one ``size`` with an objective; `DiagonalNormal`, `usual_likelihood` and `StandardNormal`
    unless other parts are given, such as a ``stem`` of the decoder; ``settings`` beside the learning rates of the size.
    The networks are told of so many classes; ``corrupted`` and ``anchors`` are the encoder's, nought for neither. With
    ``first`` the decoder learns with an encoder that is shown no anchors, and the other one after it.
    """
    positive(latent=latent)
    width = dial(size)
    posterior = DiagonalNormal() if posterior is None else posterior
    likelihood = usual_likelihood(spec) if likelihood is None else likelihood

    def encoder_told(count: int) -> ConvEncoder:
        return ConvEncoder(spec, posterior.outputs(latent), width, encoder_classes, corrupted, count)

    encoder = encoder_told(Sight.features if anchors and not first else 0)
    decoder = ConvDecoder(spec, latent, width, likelihood.factor, stem, decoder_classes)
    beginner = Conditional(encoder, posterior) if anchors and first else None
    if beginner is not None:  # drawn last, so that a run begins as it would without anchors
        encoder = encoder_told(Sight.features)
    if anchors:
        encoder.sight = Sight(decoder, likelihood, anchors, in_turn=not first)
    return Parts(
        model=VAE(
            encoder=Conditional(encoder, posterior),
            decoder=Conditional(decoder, likelihood),
            prior=StandardNormal(latent) if prior is None else prior,
        ),
        objective=objective,
        settings=Settings(**{"lr": width.lr, "matrix_lr": width.matrix_lr, **settings}),
        first=beginner,
    )


def usual_likelihood(spec: ImageSpec) -> Likelihood:
    """What pixels are where a recipe leaves it open: Bernoulli for grey images, and for colour normal with the best σ.

    Grey values may be taken for probabilities of black and white, which small grey images nearly are; colours of
    photographs are no such thing. There the σ-VAE's pixels weigh distortion against rate without a weight to search for
    (Rybkin et al. 2021, arXiv:2006.13202).
    """
    return Bernoulli() if spec.channels == 1 else OptimalGaussian(squash=True)


def squared_error() -> dict[str, Any]:
    """Points for codes, and a distortion that is ‖x − x̂‖² and a constant: a normal of variance ½ for each pixel."""
    return {"posterior": Point(), "likelihood": Gaussian(math.sqrt(0.5), learned=False, squash=True)}


def positive(**values: float) -> None:
    """Refuse arguments that are not finite numbers greater than nought."""
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise UsageError(f"{name} is {value}; expected a number greater than nought")


def part_of_run(**values: float) -> None:
    """Refuse arguments that are no part of a run, from 0 to 1."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise UsageError(f"{name} is {value}; expected a part of the run, from 0 to 1")


def warmed_up(warmup: float, weight: float = 1.0) -> Ramp | float:
    """The rate's weight: all through, or growing from 0 over the part ``warmup`` of the run."""
    part_of_run(warmup=warmup)
    return Ramp(0, weight, until=warmup) if warmup > 0 else weight
