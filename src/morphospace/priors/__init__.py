"""Priors: the encoder in, a distribution over the latent space out; learned with the model, or fitted to it later."""

from morphospace.priors.base import Encode, Prior, StandardNormal
from morphospace.priors.fitted import FITTED, Fitted, TwoStage, fit_prior, fitted_prior
from morphospace.priors.learned import (
    Beside,
    Exemplars,
    FlowPrior,
    Mixture,
    Uniform,
    UniformChoices,
    VampPrior,
    WrappedStandard,
)

__all__ = [
    "FITTED",
    "Beside",
    "Encode",
    "Exemplars",
    "Fitted",
    "FlowPrior",
    "Mixture",
    "Prior",
    "StandardNormal",
    "TwoStage",
    "Uniform",
    "UniformChoices",
    "VampPrior",
    "WrappedStandard",
    "fit_prior",
    "fitted_prior",
]
