"""Where to begin: the VAE, one weight for its rate, and the model that the original study trained."""

from __future__ import annotations

from dataclasses import replace

from morphospace.families import Bernoulli, DiagonalNormal
from morphospace.model import VAE, Conditional
from morphospace.networks import ReferenceDecoder, ReferenceEncoder, Sight, require_reference_shape
from morphospace.objective import Objective
from morphospace.priors import StandardNormal
from morphospace.recipes.common import conv_parts, positive, warmed_up
from morphospace.recipes.registry import Parts, recipe
from morphospace.settings import Settings
from morphospace.types import ImageSpec, UsageError

__all__ = ["beta_vae", "reference", "vae"]

CORRUPTED = 0.5
"""By docs/experiments.md, "What the encoder costs"."""
ANCHORS = 4096
"""By docs/experiments.md, "An encoder that is taught last"."""


@recipe
def vae(
    spec: ImageSpec,
    latent: int = 2,
    size: str = "small",
    corrupted: float = CORRUPTED,
    anchors: int | None = None,
) -> Parts:
    """The variational autoencoder.

    Maximises the ELBO, E log p(x given z) − KL(q(z given x) ‖ p(z)), with a diagonal normal posterior and a standard
    normal prior. Pixels are Bernoulli in grey images, and in colour ones normal with the σ that is best for them, as in
    `sigma-vae`: so they are in every recipe that says nothing of pixels. Begin here: every other method is measured
    against it.

    Small grey images in the plane get a second encoder: over the last tenth of the run the decoder rests, and one that
    is told where on anchors, points of the plane, the decoder explains an image (`morphospace.networks.sight`) is
    taught in the first one's place. Its posteriors lie nearer the exact ones: −ELBO is nearer −log p(x), and there are
    fewer holes.

    Cost: one pass of a small convolutional network; beside anchors, to encode an image takes a product with all of them
    too. Known problem: with many latent dimensions some carry nothing.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large; sets width, depth and learning rate together.
        corrupted: the part of the images that the encoder sees as binary draws of themselves while it is trained, so
            that it finds better posteriors for images it has not seen; nought for the plain VAE. Of grey images alone:
            colours are no probabilities of black and white, and are always seen as they are.
        anchors: how many; nought for none, and for one encoder all through. Where they are few, the map shows their
            pattern. Unless given they are 4096 in two dimensions, of grey images of up to 32×32 pixels, and none
            elsewhere; more than two dimensions can have none.

    References:
        Kingma & Welling (2014), Auto-Encoding Variational Bayes, arXiv:1312.6114.
        Im et al. (2017), Denoising Criterion for Variational Auto-Encoding Framework, arXiv:1511.06406.
        Shu et al. (2018), Amortized Inference Regularization, arXiv:1805.08913.
    """
    if anchors is None:
        many = latent == 2 and spec.channels == 1 and Sight.most(spec.height * spec.width) >= ANCHORS
        anchors = ANCHORS if many else 0
    if anchors < 0:
        raise UsageError(f"anchors is {anchors}; expected a number of points, or nought for none")
    parts = beta_parts(spec, latent, size, beta=1.0, warmup=0.0, corrupted=corrupted, anchors=anchors)
    return replace(parts, decided={"anchors": anchors})


@recipe
def beta_vae(
    spec: ImageSpec,
    latent: int = 2,
    size: str = "small",
    beta: float = 4.0,
    warmup: float = 0.0,
    corrupted: float = CORRUPTED,
) -> Parts:
    """The β-VAE: the rate counts β times.

    β > 1 presses the posterior towards the prior and tends to separate factors of variation, at the price of
    blurrier pictures; β < 1 does the reverse. The reported −ELBO stays the one with β = 1. At β = 1 it is `vae` without
    anchors.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        beta: the weight of the rate. 4 is the least value in the paper's experiments on natural images.
        warmup: the part of the run over which the weight grows from 0 to β (Bowman et al. 2016, arXiv:1511.06349).
        corrupted: as in `vae`.

    References:
        Higgins et al. (2017), β-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework, ICLR,
        openreview.net/forum?id=Sy2fzU9gl.
        Bowman et al. (2016), Generating Sentences from a Continuous Space, arXiv:1511.06349.
    """
    return beta_parts(spec, latent, size, beta, warmup, corrupted)


@recipe
def reference(spec: ImageSpec, latent: int = 2) -> Parts:
    """The original study's model: its networks, its initial weights, Adam at 1e-3, batches of 128, 30 epochs.

    For comparison: it is slower than `vae` and ends higher. It takes 28×28 grey images and no others.

    Args:
        spec: the images' shape, 28×28×1.
        latent: dimensions of the space; the study used 2.

    References:
        Kingma & Welling (2014), Auto-Encoding Variational Bayes, arXiv:1312.6114.
        Kingma & Ba (2015), Adam: A Method for Stochastic Optimization, arXiv:1412.6980 (here with Keras' ε = 1e-7).
    """
    require_reference_shape(spec)
    positive(latent=latent)
    return Parts(
        model=VAE(
            encoder=Conditional(ReferenceEncoder(latent), DiagonalNormal()),
            decoder=Conditional(ReferenceDecoder(latent), Bernoulli()),
            prior=StandardNormal(latent),
        ),
        objective=Objective(distortion=1, rate=1),
        settings=Settings(
            epochs=30,
            batch=128,
            lr=1e-3,
            optimizer="adam",
            betas=(0.9, 0.999),
            eps=1e-7,
            schedule="constant",
            weight_decay=0.0,
            clip=None,
            ema=0.0,
        ),
    )


def beta_parts(
    spec: ImageSpec, latent: int, size: str, beta: float, warmup: float, corrupted: float, anchors: int = 0
) -> Parts:
    """What `vae` and `beta_vae` share: a weighted rate."""
    positive(beta=beta)
    if not 0 <= corrupted <= 1:
        raise UsageError(f"corrupted is {corrupted}; expected a part of the images, from 0 to 1")
    objective = Objective(distortion=1, rate=warmed_up(warmup, beta))
    seen = corrupted if spec.channels == 1 else 0.0
    return conv_parts(spec, latent, size, objective, corrupted=seen, anchors=anchors, first=True)
