"""Families: parameters that a network puts out, turned into a distribution. A family knows no pixels' meaning."""

from morphospace.families.base import Family, Likelihood, full
from morphospace.families.codes import Codebooks, FiniteScalar
from morphospace.families.likelihoods import (
    Bernoulli,
    ContinuousBernoulli,
    Gaussian,
    Laplace,
    LevelCategorical,
    LogisticMixture,
    Masked,
    OptimalGaussian,
    PixelGaussian,
)
from morphospace.families.posteriors import (
    Beside,
    Choices,
    DiagonalNormal,
    FlowNormal,
    FullNormal,
    Hyperbolic,
    LowRankNormal,
    Point,
    Spherical,
)

__all__ = [
    "Bernoulli",
    "Beside",
    "Choices",
    "Codebooks",
    "ContinuousBernoulli",
    "DiagonalNormal",
    "Family",
    "FiniteScalar",
    "FlowNormal",
    "FullNormal",
    "Gaussian",
    "Hyperbolic",
    "Laplace",
    "LevelCategorical",
    "Likelihood",
    "LogisticMixture",
    "LowRankNormal",
    "Masked",
    "OptimalGaussian",
    "PixelGaussian",
    "Point",
    "Spherical",
    "full",
]
