"""Priors that are learned, so that they lie where the encoder puts the images."""

from __future__ import annotations

from typing import Literal

from morphospace import priors
from morphospace.objective import Objective
from morphospace.recipes.common import conv_parts, positive, warmed_up
from morphospace.recipes.registry import Parts, recipe
from morphospace.types import ImageSpec

__all__ = ["exemplar", "flow_prior", "mixture_prior", "vade", "vamp"]


@recipe
def mixture_prior(spec: ImageSpec, latent: int = 2, size: str = "small", components: int = 50) -> Parts:
    """A prior of several normals, learned with the rest: the plainest cure for a prior that does not fit.

    Cost: hardly more than `vae`. Known problem: components that start far from all images may stay unused; `vamp`
    starts at images.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        components: how many normals.

    References:
        Tomczak & Welling (2018), VAE with a VampPrior, arXiv:1705.07120 (there "mixture of Gaussians").
    """
    positive(latent=latent, components=components)
    prior = priors.Mixture(latent, components)
    return conv_parts(spec, latent, size, Objective(distortion=1, rate=1), prior=prior)


@recipe
def vamp(spec: ImageSpec, latent: int = 2, size: str = "small", pseudo_inputs: int = 100) -> Parts:
    """The VampPrior: the prior is the mean of the posteriors of pseudo-inputs, which are learned.

    They begin as training images, and can be looked at. The prior fits the aggregated posterior, the bound is closer,
    and fewer dimensions go unused.

    Cost: each step encodes the pseudo-inputs too.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        pseudo_inputs: how many; the paper has 500 for batches of 100, which cost more than the batch.

    References:
        Tomczak & Welling (2018), VAE with a VampPrior, arXiv:1705.07120.
    """
    positive(pseudo_inputs=pseudo_inputs)
    prior = priors.VampPrior(spec, pseudo_inputs)
    return conv_parts(spec, latent, size, Objective(distortion=1, rate=1), prior=prior)


@recipe
def exemplar(spec: ImageSpec, latent: int = 2, size: str = "small", exemplars: int = 500) -> Parts:
    """The exemplar VAE: the prior is normals of one learned width about training images.

    Nothing is learned but the width: the images themselves say where the prior lies, and a draw is a variation on one
    of them. The exemplars are a fixed sample; the paper retrieves the nearest of the whole set for each batch.

    Cost: each step encodes the exemplars too. The model's file holds their pixels: do not share it where you would not
    share the pictures.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        exemplars: how many training images.

    References:
        Norouzi et al. (2020), Exemplar VAE: Linking Generative Models, Nearest Neighbor Retrieval, and Data
        Augmentation, arXiv:2004.04795.
    """
    positive(latent=latent, exemplars=exemplars)
    prior = priors.Exemplars(spec, latent, exemplars)
    return conv_parts(spec, latent, size, Objective(distortion=1, rate=1), prior=prior)


@recipe
def flow_prior(
    spec: ImageSpec,
    latent: int = 2,
    size: str = "small",
    kind: Literal["maf", "spline"] = "maf",
    transforms: int = 3,
) -> Parts:
    """A prior of any shape: a standard normal pushed through invertible maps, learned with the rest.

    Cost: a few small networks more for each draw; samples from it take a pass for each dimension. Needs the extra
    `flows`.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        kind: "maf" for masked affine maps, "spline" for rational-quadratic splines in their place.
        transforms: maps in a row.

    References:
        Chen et al. (2017), Variational Lossy Autoencoder, arXiv:1611.02731;
        Papamakarios et al. (2017), Masked Autoregressive Flow for Density Estimation, arXiv:1705.07057;
        Durkan et al. (2019), Neural Spline Flows, arXiv:1906.04032.
    """
    positive(latent=latent, transforms=transforms)
    prior = priors.FlowPrior(latent, kind, transforms)
    return conv_parts(spec, latent, size, Objective(distortion=1, rate=1), prior=prior)


@recipe
def vade(
    spec: ImageSpec, latent: int = 10, size: str = "small", clusters: int = 10, warmup: float = 0.2
) -> Parts:
    """Clustering: a mixture prior with one component for each cluster, whose assignments are read off.

    An image's cluster is the component that its latent most likely comes from, q(c given x) = p(c given z): with it the
    paper's bound is the one of a mixture prior. The paper first trains an autoencoder and places the components by a
    mixture fitted to its codes, lest the rate win while reconstructions are still poor and hold the model in a bad
    optimum. Here the rate's weight grows over the first part of the run, to the same end: a run stays one loop, in
    which nothing happens at a certain step. ``with_prior("mixture")`` fits a mixture to the codes afterwards.

    Cost: as `vae`. Known problem: components may die, more so without ``warmup``, and seeds differ in which classes
    share one; ``evaluate`` tells how many hold images.

    Args:
        spec: the images' shape.
        latent: dimensions of the space; 10 as in the paper.
        size: tiny, small, medium or large.
        clusters: components.
        warmup: the part of the run over which the rate's weight grows from 0 to 1.

    References:
        Jiang et al. (2017), Variational Deep Embedding: An Unsupervised and Generative Approach to Clustering,
        arXiv:1611.05148.
    """
    positive(latent=latent, clusters=clusters)
    objective = Objective(distortion=1, rate=warmed_up(warmup))
    return conv_parts(spec, latent, size, objective, prior=priors.Mixture(latent, clusters))
