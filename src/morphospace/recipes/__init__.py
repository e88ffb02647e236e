"""Recipes: each published method is a short function that picks parts and weights.

    recipe = beta_vae(images.spec, latent=2, beta=4.0)   # a Recipe: checked, not yet built
    parts = recipe.build(seed=0)                         # model, objective and settings

`get` finds a recipe by the name that people type, and checks arguments against the function's signature. The
methods lie in one module for each theme; `themes` lists them so.
"""

from morphospace.recipes.basic import beta_vae, reference, vae
from morphospace.recipes.bounds import (
    capacity,
    ciwae,
    cyclical,
    dreg,
    free_bits,
    free_nats,
    iwae,
    miwae,
    piwae,
    sticking_the_landing,
)
from morphospace.recipes.conditional import class_prior, cvae, m2
from morphospace.recipes.disentangling import beta_tc, dip_i, dip_ii, factor_vae
from morphospace.recipes.hierarchical import ladder
from morphospace.recipes.likelihoods import (
    binarised,
    categorical_pixels,
    continuous_bernoulli,
    gaussian,
    laplace,
    logistic_mixture,
    pixel_sigma,
    sigma_vae,
)
from morphospace.recipes.matching import aae, info_vae, sliced_wasserstein, wae_gan, wae_mmd
from morphospace.recipes.missing import missing_pixels
from morphospace.recipes.perceptual import perceptual, vae_gan
from morphospace.recipes.posteriors import (
    concrete,
    flow_posterior,
    full_posterior,
    gumbel_softmax,
    hyperspherical,
    joint,
    low_rank_posterior,
    poincare,
    sighted,
)
from morphospace.recipes.priors import exemplar, flow_prior, mixture_prior, vade, vamp
from morphospace.recipes.quantised import fsq, residual_vq, vq
from morphospace.recipes.registry import Parts, Recipe, get, names, page, recipe, themes
from morphospace.recipes.regularised import ae, rae_gp, rae_l2, rae_sn

__all__ = [
    "Parts",
    "Recipe",
    "aae",
    "ae",
    "beta_tc",
    "beta_vae",
    "binarised",
    "capacity",
    "categorical_pixels",
    "ciwae",
    "class_prior",
    "concrete",
    "continuous_bernoulli",
    "cvae",
    "cyclical",
    "dip_i",
    "dip_ii",
    "dreg",
    "exemplar",
    "factor_vae",
    "flow_posterior",
    "flow_prior",
    "free_bits",
    "free_nats",
    "fsq",
    "full_posterior",
    "gaussian",
    "get",
    "gumbel_softmax",
    "hyperspherical",
    "info_vae",
    "iwae",
    "joint",
    "ladder",
    "laplace",
    "logistic_mixture",
    "low_rank_posterior",
    "m2",
    "missing_pixels",
    "miwae",
    "mixture_prior",
    "names",
    "page",
    "perceptual",
    "piwae",
    "pixel_sigma",
    "poincare",
    "rae_gp",
    "rae_l2",
    "rae_sn",
    "recipe",
    "reference",
    "residual_vq",
    "sighted",
    "sigma_vae",
    "sliced_wasserstein",
    "sticking_the_landing",
    "themes",
    "vade",
    "vae",
    "vae_gan",
    "vamp",
    "vq",
    "wae_gan",
    "wae_mmd",
]
