"""Likelihoods: what a pixel is taken to be, from black or white to one of 256 levels.

Their −ELBOs are not comparable with one another: each is of another law. Only those over the 256 levels give bits per
dimension of 8-bit images; a dequantised density bounds them.
"""

from __future__ import annotations

from morphospace import families
from morphospace.families import Likelihood
from morphospace.objective import Objective
from morphospace.recipes.common import conv_parts, positive, warmed_up
from morphospace.recipes.registry import Parts, recipe
from morphospace.types import ImageSpec

__all__ = [
    "binarised",
    "categorical_pixels",
    "continuous_bernoulli",
    "gaussian",
    "laplace",
    "logistic_mixture",
    "pixel_sigma",
    "sigma_vae",
]


def _with(likelihood: Likelihood, spec: ImageSpec, latent: int, size: str) -> Parts:
    return conv_parts(spec, latent, size, Objective(distortion=1, rate=1), likelihood=likelihood)


@recipe
def binarised(spec: ImageSpec, latent: int = 2, size: str = "small", warmup: float = 0.0) -> Parts:
    """The VAE of binary images that are drawn anew, by their grey values, whenever they are seen.

    That is dynamic binarisation, on which most published likelihoods of small grey images stand. `vae` takes grey
    values as they are, which has the same −ELBO on average but another encoder: here it sees binary images.

    Cost: as `vae`.

    Args:
        spec: the images' shape.
        latent: dimensions of the space; published figures have 40 or 50.
        size: tiny, small, medium or large.
        warmup: the part of the run over which the rate's weight grows from 0 to 1. Dimensions that a full weight would
            empty at the start are learned then (Sønderby et al. 2016, arXiv:1602.02282); published figures have one.

    References:
        Salakhutdinov & Murray (2008), On the Quantitative Analysis of Deep Belief Networks,
        doi:10.1145/1390156.1390266; Burda et al. (2016), Importance Weighted Autoencoders, arXiv:1509.00519.
    """
    objective = Objective(distortion=1, rate=warmed_up(warmup))
    return conv_parts(spec, latent, size, objective, likelihood=families.Bernoulli(binarise=True))


@recipe
def continuous_bernoulli(spec: ImageSpec, latent: int = 2, size: str = "small") -> Parts:
    """The Bernoulli's density on [0, 1], with the constant that makes it one.

    For grey images whose pixels crowd near black and white, and a −ELBO that is one: `vae`'s is a bound on the
    log-probability of binary images. It is of a density, so it may be negative.

    Cost: as `vae`.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.

    References:
        Loaiza-Ganem & Cunningham (2019), The continuous Bernoulli: fixing a pervasive error in variational
        autoencoders, arXiv:1907.06845.
    """
    return _with(families.ContinuousBernoulli(), spec, latent, size)


@recipe
def gaussian(
    spec: ImageSpec,
    latent: int = 2,
    size: str = "small",
    sigma: float = 0.1,
    learned: bool = False,
    dequantise: bool = False,
) -> Parts:
    """Normal pixels with one σ: squared error, at a weight that is a number of the model and not of the loss.

    A σ that is fixed sets how much detail is worth its rate; one that is learned finds it. The constant is kept, so
    that different σ can be compared.

    Cost: as `vae`.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        sigma: σ, or where it begins, in pixel values from 0 to 1; about as large as the errors to expect.
        learned: whether σ is learned.
        dequantise: whether noise of one level's width makes the 8-bit images a density's, whenever they are seen.

    References:
        Rybkin et al. (2021), Simple and Effective VAE Training with Calibrated Decoders, arXiv:2006.13202;
        Theis et al. (2016), A note on the evaluation of generative models, arXiv:1511.01844.
    """
    positive(sigma=sigma)
    return _with(
        families.Gaussian(sigma, learned=learned, squash=True, dequantise=dequantise), spec, latent, size
    )


@recipe
def sigma_vae(spec: ImageSpec, latent: int = 2, size: str = "small", dequantise: bool = False) -> Parts:
    """The σ-VAE: normal pixels with the σ that is best for each batch, which is the root of its mean squared error.

    Distortion and rate are balanced without a weight to search for. Recipes that say nothing of pixels take these for
    colour images. A running mean of σ² serves once training is over.

    Cost: as `vae`.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        dequantise: whether noise of one level's width makes the 8-bit images a density's, whenever they are seen.

    References:
        Rybkin et al. (2021), Simple and Effective VAE Training with Calibrated Decoders, arXiv:2006.13202.
    """
    return _with(families.OptimalGaussian(squash=True, dequantise=dequantise), spec, latent, size)


@recipe
def pixel_sigma(spec: ImageSpec, latent: int = 2, size: str = "small", dequantise: bool = True) -> Parts:
    """Normal pixels, each with a σ of its own from the decoder: where the model is unsure, it says so.

    Known problem: pixels that are always black draw σ to its floor, e⁻⁶, and the −ELBO to where it says little else. So
    the images are dequantised by default.

    Cost: as `vae`.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        dequantise: whether noise of one level's width is added whenever images are seen.

    References:
        Rybkin et al. (2021), Simple and Effective VAE Training with Calibrated Decoders, arXiv:2006.13202 (there a
        baseline); Theis et al. (2016), A note on the evaluation of generative models, arXiv:1511.01844.
    """
    return _with(families.PixelGaussian(squash=True, dequantise=dequantise), spec, latent, size)


@recipe
def laplace(
    spec: ImageSpec, latent: int = 2, size: str = "small", sigma: float = 0.1, learned: bool = True
) -> Parts:
    """Laplace pixels: absolute in place of squared error, so that a few far pixels count for less.

    Cost: as `vae`.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        sigma: the standard deviation, or where it begins, in pixel values from 0 to 1.
        learned: whether it is learned.

    References:
        Rybkin et al. (2021), Simple and Effective VAE Training with Calibrated Decoders, arXiv:2006.13202 (there for
        normal pixels).
    """
    positive(sigma=sigma)
    return _with(families.Laplace(sigma, learned=learned, squash=True), spec, latent, size)


@recipe
def logistic_mixture(spec: ImageSpec, latent: int = 2, size: str = "small", components: int = 5) -> Parts:
    """A mixture of logistics over the 256 levels of a pixel: a true log-probability of 8-bit images.

    Gives bits per dimension. The colours of a pixel depend on one another. A pixel may be black or grey, and not
    between.

    Cost: the decoder's last layer is 15 (grey) or 17 (colour) times as wide.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        components: of the mixture; "say 5, is enough" (section 2.1 of the paper).

    References:
        Salimans et al. (2017), PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and
        Other Modifications, arXiv:1701.05517.
    """
    positive(components=components)
    return _with(families.LogisticMixture(spec.channels, components), spec, latent, size)


@recipe
def categorical_pixels(spec: ImageSpec, latent: int = 2, size: str = "small") -> Parts:
    """A probability for each of the 256 levels of each pixel: nothing is assumed of how levels follow one another.

    Gives bits per dimension.

    Cost: the decoder's last layer is 256 times as wide, and batches are smaller for it.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.

    References:
        van den Oord et al. (2016), Pixel Recurrent Neural Networks, arXiv:1601.06759.
    """
    objective = Objective(distortion=1, rate=1)
    return conv_parts(spec, latent, size, objective, likelihood=families.LevelCategorical(), batch=128)
