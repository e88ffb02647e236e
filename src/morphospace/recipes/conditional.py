"""Recipes that are told what an image is of, all of them or some: its class goes into encoder, decoder or prior."""

from __future__ import annotations

from morphospace.families import Choices, Gaussian
from morphospace.model import VAE, Conditional
from morphospace.networks import ConvEncoder
from morphospace.networks import size as dial
from morphospace.objective import Objective
from morphospace.priors import ClassNormals
from morphospace.recipes.common import conv_parts, positive, usual_likelihood
from morphospace.recipes.registry import Parts, recipe
from morphospace.terms import Classification, SemiSupervised
from morphospace.types import ImageSpec, UsageError

__all__ = ["class_prior", "cvae", "m2"]

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


@recipe
def m2(
    spec: ImageSpec,
    latent: int = 2,
    size: str = "small",
    classes: int | None = None,
    labelled: int = 100,
    alpha: float = 100.0,
) -> Parts:
    """Learning from few labels: a conditional VAE and a classifier, taught by one bound; other classes are summed over.

    Of each class ``labelled`` training images keep their label, and the rest are taken as images of no known class:
    what they cost is averaged over the classes as the classifier finds them likely. The space is then one of style, as
    that of `cvae`, and images without labels are encoded as what the classifier takes them for (``space.classify`` says
    what that is). How often it is right on the test images stands among the run's figures; the others are of log p(x
    given y), with the true class y of the test images.

    Cost: encoder and decoder run for every class, so about (1 + classes) times that of `vae`. Known problem: few labels
    decide which cluster is called what, and of classes that look alike the bound may prefer another division. With the
    paper's ``alpha`` short runs hear the labels too late, when the clusters are made; ours is larger
    (docs/experiments.md, "Codes, levels and few labels").

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        classes: how many; None takes the number that the images have.
        labelled: labels that are kept of each class, a function of the seed; the paper has 10 to 300 of each on MNIST.
        alpha: the weight of the classifier's loss on known labels, nats for each image of the set; the paper has 0.1.
            It is the mean over those of a batch, and nought in a batch that has none: with few it counts for less.

    References:
        Kingma et al. (2014), Semi-supervised Learning with Deep Generative Models, arXiv:1406.5298.
    """
    positive(latent=latent, labelled=labelled, alpha=alpha)
    count = _classes(classes)
    objective = Objective((1, SemiSupervised()), (alpha, Classification()))
    # The σ that is best for a batch would be that of all classes' pictures, the wrong ones too.
    likelihood = usual_likelihood(spec) if spec.channels == 1 else Gaussian(0.3, squash=True)
    parts = conv_parts(
        spec, latent, size, objective, likelihood=likelihood, encoder_classes=count, decoder_classes=count
    )
    classifier = Conditional(ConvEncoder(spec, count, dial(size)), Choices(count, temperature=1.0))
    model = VAE(parts.model.encoder, parts.model.decoder, parts.model.prior, classifier)
    return Parts(model, parts.objective, parts.settings, labelled=labelled)


def _classes(classes: int | None) -> int:
    if classes is None:
        return ON_PAPER
    positive(classes=classes)
    return classes
