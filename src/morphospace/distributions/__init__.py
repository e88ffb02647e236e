"""Distributions as torch has them, built for this use, those that torch lacks, and the divergence between two.

Torch's own classes serve: `Independent` sums ``log_prob`` over an event, `kl_divergence` knows the closed forms,
and `closed_form` adds one. Argument checks are switched off because they read every value back at every step; nothing
here reads a value back or branches on one, so that a training step can be captured as a whole.
"""

from morphospace.distributions.affine import Affine, affine_form, base_of
from morphospace.distributions.ball import WrappedNormal
from morphospace.distributions.base import Distribution, Law, closed_form, divergence
from morphospace.distributions.chain import Chain
from morphospace.distributions.codes import Alphabet, CodeLaw, Codes, UniformCodes
from morphospace.distributions.discrete import Concrete, Joint, OneHot
from morphospace.distributions.flows import Flowed, Map
from morphospace.distributions.maps import Flow, make_flow
from morphospace.distributions.normals import Dirac, LowRankNormal, Mixture, full_normal, normal
from morphospace.distributions.pixels import (
    ContinuousBernoulli,
    LevelCategorical,
    LogisticMixture,
    Masked,
    OptimalNormal,
    image_bernoulli,
    image_laplace,
    image_normal,
    log_prob_of_each,
)
from morphospace.distributions.sphere import PowerSpherical, UniformSphere, VonMisesFisher

__all__ = [
    "Affine",
    "Alphabet",
    "Chain",
    "CodeLaw",
    "Codes",
    "Concrete",
    "ContinuousBernoulli",
    "Dirac",
    "Distribution",
    "Flow",
    "Flowed",
    "Joint",
    "Law",
    "LevelCategorical",
    "LogisticMixture",
    "LowRankNormal",
    "Map",
    "Masked",
    "Mixture",
    "OneHot",
    "OptimalNormal",
    "PowerSpherical",
    "UniformCodes",
    "UniformSphere",
    "VonMisesFisher",
    "WrappedNormal",
    "affine_form",
    "base_of",
    "closed_form",
    "divergence",
    "full_normal",
    "image_bernoulli",
    "image_laplace",
    "image_normal",
    "log_prob_of_each",
    "make_flow",
    "normal",
]
