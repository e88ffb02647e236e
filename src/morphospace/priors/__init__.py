"""Priors: the encoder in, a distribution over the latent space out; learned with the model, or fitted to it later."""

from morphospace.priors.base import Encode, Prior, PriorOfClass, StandardNormal
from morphospace.priors.fitted import (
    FITTED,
    OF_CODES,
    OF_IMAGES,
    SAMPLER,
    Fitted,
    TwoStage,
    fit_prior,
    fitted_prior,
    sampler_arguments,
)
from morphospace.priors.learned import (
    Beside,
    ClassNormals,
    Exemplars,
    FlowPrior,
    Mixture,
    Uniform,
    UniformChoices,
    UniformCodes,
    VampPrior,
    WrappedStandard,
)
from morphospace.priors.pseudo import Encoded
from morphospace.priors.sequences import Autoregressive

__all__ = [
    "FITTED",
    "OF_CODES",
    "OF_IMAGES",
    "SAMPLER",
    "Autoregressive",
    "Beside",
    "ClassNormals",
    "Encode",
    "Encoded",
    "Exemplars",
    "Fitted",
    "FlowPrior",
    "Mixture",
    "Prior",
    "PriorOfClass",
    "StandardNormal",
    "TwoStage",
    "Uniform",
    "UniformChoices",
    "UniformCodes",
    "VampPrior",
    "WrappedStandard",
    "fit_prior",
    "fitted_prior",
    "sampler_arguments",
]
