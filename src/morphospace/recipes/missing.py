"""Images of which not every pixel is known."""

from __future__ import annotations

from morphospace.families import Masked
from morphospace.model import VAE, Conditional
from morphospace.networks import ZeroImputed
from morphospace.objective import Objective
from morphospace.recipes.common import conv_parts, positive, usual_likelihood
from morphospace.recipes.registry import Parts, recipe
from morphospace.terms import ImportanceBound
from morphospace.types import ImageSpec, UsageError

__all__ = ["missing_pixels"]


@recipe
def missing_pixels(
    spec: ImageSpec, latent: int = 2, size: str = "small", hide: float = 0.5, draws: int = 1
) -> Parts:
    """Learning from images of which not every pixel is known, so that the others can be imputed.

    The distortion is summed over the pixels that are known, which bounds log p(x_known); the encoder sees noughts for
    the others, and these divided by their share, so that it knows images of more or fewer pixels too. Pixels that are
    nan in an array of floats are not known. Of the rest a part is hidden, ``hide``, so that the model learns to do
    without: the same pixels of an image throughout, a function of the seed and of its place in the set.
    ``space.impute`` then draws what is missing given what is there.

    Figures of the run are of the known pixels, and so lower than those of whole images. Cost: that of `vae`, times the
    draws. Known problem: what is missing must not depend on what it would have shown (missing at random).

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        hide: the part of the pixels to hide, from 0 to below 1. One half, as in the paper's experiment with MNIST; 0
            for images that lack pixels themselves.
        draws: of z for each image: the importance-weighted bound of so many, the paper's MIWAE; 1 is the ELBO, as
            Nazábal et al. have it.

    References:
        Mattei & Frellsen (2019), MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets,
        arXiv:1812.02633.
        Nazábal et al. (2020), Handling Incomplete Heterogeneous Data using VAEs, arXiv:1807.03653.
    """
    positive(latent=latent, draws=draws)
    if not 0 <= hide < 1:
        raise UsageError(f"hide is {hide}; expected a part of the pixels, from 0 to below 1")
    bound = Objective(distortion=1, rate=1) if draws == 1 else Objective((1, ImportanceBound(draws)))
    parts = conv_parts(spec, latent, size, bound, likelihood=Masked(usual_likelihood(spec)))
    plain = parts.model.encoder
    encoder = Conditional(ZeroImputed(plain.network), plain.family)
    model = VAE(encoder, parts.model.decoder, parts.model.prior)
    return Parts(model, parts.objective, parts.settings, hide)
