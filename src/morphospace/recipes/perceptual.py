"""Methods that compare images by the features of a network: sharper pictures, and no likelihood."""

from __future__ import annotations

from morphospace import terms
from morphospace.objective import Objective
from morphospace.recipes.common import CRITIC_LR, conv_parts, positive
from morphospace.recipes.registry import Parts, recipe
from morphospace.types import ImageSpec

__all__ = ["perceptual", "vae_gan"]


@recipe
def vae_gan(spec: ImageSpec, latent: int = 2, size: str = "small", weight: float = 10.0) -> Parts:
    """The VAE-GAN: images are alike as far as a critic of images finds them so, and the decoder learns to deceive it.

    The critic learns to tell images from what the decoder makes. The distance of its features takes the place of the
    distortion, and the decoder, not the encoder, also learns to make it err. Pictures are sharper and details invented.
    It has no likelihood: figures that need one are refused.

    Cost: about twice `vae`: two more passes of the decoder and those of the critic. Known problem: it is a game, and
    may not settle.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        weight: of the critic's belief beside the distance of features (1/γ in the paper, which gives no number).

    References:
        Larsen et al. (2016), Autoencoding beyond pixels using a learned similarity metric, arXiv:1512.09300.
    """
    positive(weight=weight)
    critic = terms.ImageCritic(spec)
    objective = Objective((weight, critic), (1, terms.LearnedSimilarity(critic)), rate=1)
    return conv_parts(spec, latent, size, objective, lr=CRITIC_LR)


@recipe
def perceptual(spec: ImageSpec, latent: int = 2, size: str = "small", weight: float = 0.5) -> Parts:
    """A VAE with a perceptual term: beside the pixels, features of a fixed random network should agree.

    A stand-in for the published method, which takes the features of a classifier trained on photographs; those of a
    random network need no download and still see edges and textures. With a classifier of your own make the term by
    `morphospace.terms.Perceptual`. It has no likelihood: figures that need one are refused.

    Cost: that of `vae`, and two passes of a small network.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        weight: of the distance of features, summed over them. The paper's 0.5 is of means, so ours weighs more, by the
            number of features.

    References:
        Hou et al. (2017), Deep Feature Consistent Variational Autoencoder, arXiv:1610.00291.
        He, Wang & Hopcroft (2016), A Powerful Generative Model Using Random Weights for the Deep Image Representation,
        arXiv:1606.04801.
    """
    positive(weight=weight)
    features = terms.ImageFeatures(spec.channels)
    return conv_parts(
        spec, latent, size, Objective((weight, terms.Perceptual(features)), distortion=1, rate=1)
    )
