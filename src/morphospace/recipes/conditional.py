"""Recipes that are told what an image is of: its class goes into the encoder, the decoder or the prior."""

from __future__ import annotations

from morphospace.objective import Objective
from morphospace.priors import ClassNormals
from morphospace.recipes.common import conv_parts, positive
from morphospace.recipes.registry import Parts, recipe
from morphospace.types import ImageSpec, UsageError

__all__ = ["class_prior", "cvae"]

ON_PAPER = 2
"""Classes of a recipe that has not met its images: enough to check every shape."""


@recipe
def cvae(
    spec: ImageSpec,
    latent: int = 2,
    size: str = "small",
    classes: int | None = None,
    encoder: bool = True,
    decoder: bool = True,
    prior: bool = False,
) -> Parts:
    """The conditional VAE: encoder and decoder are told the class of each image, so that z is what a class leaves open.

    A point of the space is a style, and one decoded as a bag and as a boot gives the two of a kind. It bounds log p(x
    given y). Samples are of a class that is asked for: ``space.sample(9, labels="Bag")``, or ``morphospace sample RUN
    --label Bag``. Begin here where classes are known and of no interest in themselves.

    Cost: that of `vae`. Images to be encoded need labels too, unless the encoder is not told (``encoder=no``). Known
    problem: where the class says nearly all that two dimensions could, little is left for z to say.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        classes: how many; None takes the number that the images have.
        encoder: whether the encoder is told, q(z given x, y) or q(z given x).
        decoder: whether the decoder is told, p(x given z, y) or p(x given z).
        prior: whether the prior is told: then it is a normal with mean and deviations of its own for each class,
            p(z given y), learned, in place of N(0, I). The paper has both: its prior network, of a class alone, can say
            no more than such normals.

    References:
        Sohn et al. (2015), Learning Structured Output Representation using Deep Conditional Generative Models,
        papers.nips.cc/paper/5775.
    """
    if not (encoder or decoder or prior):
        raise UsageError(
            "nobody is told of classes; expected encoder, decoder or prior to be, or the recipe 'vae'"
        )
    count = _classes(classes)
    positive(latent=latent)
    return conv_parts(
        spec,
        latent,
        size,
        Objective(distortion=1, rate=1),
        prior=ClassNormals(latent, count) if prior else None,
        encoder_classes=count if encoder else 0,
        decoder_classes=count if decoder else 0,
    )


@recipe
def class_prior(spec: ImageSpec, latent: int = 2, size: str = "small", classes: int | None = None) -> Parts:
    """A prior with a normal for each class, learned: classes get places of their own, and samples may be of one.

    Encoder and decoder are those of `vae` and are told nothing, so that images are encoded without labels, and the
    space is one space: between two classes lies what is between them. It is told of classes in training alone, and
    bounds log p(x given y); without labels its prior is the mixture of the classes.

    Cost: that of `vae`. Known problem: classes are drawn apart, so that what they share (a colour, a width) need not
    lie in the same direction in each.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        classes: how many; None takes the number that the images have.

    References:
        Sohn et al. (2015), Learning Structured Output Representation using Deep Conditional Generative Models,
        papers.nips.cc/paper/5775 (a prior that is told).
        Khemakhem et al. (2020), Variational Autoencoders and Nonlinear ICA: A Unifying Framework, arXiv:1907.04809 (a
        normal for each value of what is told, and a decoder that is told nothing).
    """
    positive(latent=latent)
    prior = ClassNormals(latent, _classes(classes))
    return conv_parts(spec, latent, size, Objective(distortion=1, rate=1), prior=prior)


def _classes(classes: int | None) -> int:
    if classes is None:
        return ON_PAPER
    positive(classes=classes)
    return classes
