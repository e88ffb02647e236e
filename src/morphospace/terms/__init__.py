"""Terms: what a trace is worth, beyond its distortion and its rate. One module for each theme, as for the recipes.

A term is a pure function of a `Trace` that gives one number. Those that need arguments are small frozen classes;
those that learn are modules with a ``critic_loss``. Nothing here reads a value back from the device.
"""

from morphospace.terms.bounds import (
    DoublyReparameterized,
    FreeBits,
    FreeNats,
    ImportanceBound,
    PartiallyImportant,
    sticking_the_landing,
)
from morphospace.terms.classes import Classification, SemiSupervised, cost_of_classes, marginal_cost
from morphospace.terms.codes import codebook, commitment, perplexity
from morphospace.terms.critics import Critic
from morphospace.terms.disentangling import (
    CovarianceFromIdentity,
    CovarianceOffDiagonal,
    DimensionWiseKl,
    MutualInformation,
    TotalCorrelation,
    TotalCorrelationCritic,
)
from morphospace.terms.levels import LevelRate, balanced_rate
from morphospace.terms.matching import Mmd, PriorCritic, SlicedWasserstein, mmd, sliced_wasserstein
from morphospace.terms.perceptual import ImageCritic, ImageFeatures, LearnedSimilarity, Perceptual
from morphospace.terms.regularised import DecoderGradient, decoder_norm, latent_norm

__all__ = [
    "Classification",
    "CovarianceFromIdentity",
    "CovarianceOffDiagonal",
    "Critic",
    "DecoderGradient",
    "DimensionWiseKl",
    "DoublyReparameterized",
    "FreeBits",
    "FreeNats",
    "ImageCritic",
    "ImageFeatures",
    "ImportanceBound",
    "LearnedSimilarity",
    "LevelRate",
    "Mmd",
    "MutualInformation",
    "PartiallyImportant",
    "Perceptual",
    "PriorCritic",
    "SemiSupervised",
    "SlicedWasserstein",
    "TotalCorrelation",
    "TotalCorrelationCritic",
    "balanced_rate",
    "codebook",
    "commitment",
    "cost_of_classes",
    "decoder_norm",
    "latent_norm",
    "marginal_cost",
    "mmd",
    "perplexity",
    "sliced_wasserstein",
    "sticking_the_landing",
]
