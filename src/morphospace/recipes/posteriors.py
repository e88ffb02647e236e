"""Posteriors that are more, or other, than a normal with independent dimensions."""

from __future__ import annotations

from typing import Literal

from morphospace import priors
from morphospace.families import (
    Beside,
    Choices,
    DiagonalNormal,
    FlowNormal,
    FullNormal,
    Hyperbolic,
    LowRankNormal,
    Spherical,
)
from morphospace.manifolds import Ball
from morphospace.objective import Objective
from morphospace.recipes.common import conv_parts, positive
from morphospace.recipes.registry import Parts, recipe
from morphospace.types import ImageSpec, UsageError

__all__ = [
    "concrete",
    "flow_posterior",
    "full_posterior",
    "gumbel_softmax",
    "hyperspherical",
    "joint",
    "low_rank_posterior",
    "poincare",
    "sighted",
]


def _elbo() -> Objective:
    return Objective(distortion=1, rate=1)


@recipe
def full_posterior(spec: ImageSpec, latent: int = 2, size: str = "small") -> Parts:
    """A normal posterior with every correlation between latent dimensions.

    Where what an image says of one dimension depends on another, the bound is closer than `vae`'s. The rate keeps its
    closed form.

    Cost: the encoder puts out D·(D+3)/2 numbers; for many dimensions use `low-rank-posterior`.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.

    References:
        Kingma & Welling (2019), An Introduction to Variational Autoencoders, arXiv:1906.02691.
    """
    return conv_parts(spec, latent, size, _elbo(), posterior=FullNormal())


@recipe
def low_rank_posterior(spec: ImageSpec, latent: int = 2, size: str = "small", rank: int = 1) -> Parts:
    """A normal posterior with the covariance of a diagonal and a few directions.

    Cost: 2 + ``rank`` numbers for each dimension, where `full-posterior` takes their square.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        rank: directions; the paper has one.

    References:
        Rezende et al. (2014), Stochastic Backpropagation and Approximate Inference in Deep Generative Models,
        arXiv:1401.4082.
    """
    positive(rank=rank)
    return conv_parts(spec, latent, size, _elbo(), posterior=LowRankNormal(rank))


@recipe
def flow_posterior(
    spec: ImageSpec,
    latent: int = 2,
    size: str = "small",
    kind: Literal["iaf", "spline"] = "iaf",
    transforms: int = 2,
) -> Parts:
    """A posterior of any shape: a normal pushed through invertible maps that know the image.

    The rate is log q − log p of each draw. An embedding is the mean over 64 fixed points of the normal.

    Cost: a few small networks more for each draw. Needs the extra `flows`.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        kind: "iaf" for inverse autoregressive maps, "spline" for rational-quadratic splines in their place.
        transforms: maps in a row; 2 is the least that lets each dimension depend on every other.

    References:
        Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow, arXiv:1606.04934;
        Rezende & Mohamed (2015), Variational Inference with Normalizing Flows, arXiv:1505.05770;
        Durkan et al. (2019), Neural Spline Flows, arXiv:1906.04032.
    """
    positive(latent=latent, transforms=transforms)
    return conv_parts(spec, latent, size, _elbo(), posterior=FlowNormal(latent, kind, transforms))


@recipe
def hyperspherical(
    spec: ImageSpec,
    latent: int = 3,
    size: str = "small",
    law: Literal["power-spherical", "von-mises-fisher"] = "power-spherical",
) -> Parts:
    """A space of directions: latents are unit vectors, and the prior has no centre to collapse into.

    Suits what is periodic or has no middle. An embedding is the direction of the posterior; distances are angles.

    Cost: as `vae`. Known problem: one concentration for all directions, so with many dimensions the bound falls behind.

    Args:
        spec: the images' shape.
        latent: numbers of a unit vector; 3 are the sphere that can be looked at, 2 a circle, and fewer none.
        size: tiny, small, medium or large.
        law: "power-spherical", or "von-mises-fisher" as first published, which is slower.

    References:
        Davidson et al. (2018), Hyperspherical Variational Auto-Encoders, arXiv:1804.00891;
        De Cao & Aziz (2020), The Power Spherical Distribution, arXiv:2006.04437.
    """
    positive(latent=latent)
    prior = priors.Uniform(latent)
    return conv_parts(spec, latent, size, _elbo(), posterior=Spherical(law), prior=prior)


@recipe
def poincare(
    spec: ImageSpec, latent: int = 2, size: str = "small", curvature: float = 1.0, sigma: float = 1.0
) -> Parts:
    """A hyperbolic space, the Poincaré ball: room grows exponentially with the distance, as it does in trees.

    Suits images with a hierarchy of kinds. The decoder reads the ball's coordinates, an embedding is the posterior's
    intrinsic mean, and the rate is log q − log p of each draw, over hyperbolic volume.

    Cost: as `vae`.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        curvature: c, for a curvature of −c; the paper tries 0.1 to 1.4.
        sigma: the prior's deviation, in lengths of the space; the paper's is 1.

    References:
        Mathieu et al. (2019), Continuous Hierarchical Representations with Poincaré Variational Auto-Encoders,
        arXiv:1901.06033.
    """
    positive(latent=latent, curvature=curvature, sigma=sigma)
    ball = Ball(curvature)
    prior = priors.WrappedStandard(latent, ball, sigma)
    return conv_parts(spec, latent, size, _elbo(), posterior=Hyperbolic(ball), prior=prior)


def _categories(latent: int, choices: int | None) -> int:
    """Categories of each choice; choices of ten categories where nothing else is asked for."""
    positive(latent=latent, **({} if choices is None else {"choices": choices}))
    choices = max(1, latent // 10) if choices is None else choices
    if latent % choices:
        raise UsageError(f"latent is {latent}; expected a multiple of the {choices} choices")
    return latent // choices


@recipe
def gumbel_softmax(
    spec: ImageSpec,
    latent: int = 200,
    size: str = "small",
    choices: int | None = None,
    temperature: float = 1.0,
) -> Parts:
    """A discrete space: choices among categories, as ones and noughts, with the gradient of a relaxed choice.

    Draws are exact and so is the rate, against categories that are all alike: every figure is the discrete model's.
    Gradients are biased, the less the lower the temperature, and the noisier. An embedding is the probabilities.

    Cost: as `vae`.

    Args:
        spec: the images' shape.
        latent: numbers of the space, categories of all choices together; 200 as in the paper's 20 choices of 10.
        size: tiny, small, medium or large.
        choices: how many; none for one for every ten numbers.
        temperature: of the relaxation; 1 is where the paper's schedule begins.

    References:
        Jang et al. (2017), Categorical Reparameterization with Gumbel-Softmax, arXiv:1611.01144.
    """
    return _chosen(spec, latent, size, choices, temperature, hard=True)


@recipe
def concrete(
    spec: ImageSpec,
    latent: int = 200,
    size: str = "small",
    choices: int | None = None,
    temperature: float = 0.667,
) -> Parts:
    """Relaxed choices as a model of their own: draws inside the simplex, with a density, and a bound that holds.

    Unlike `gumbel-softmax` its gradients are exact, for a model whose choices are not quite made.

    Cost: as `vae`.

    Args:
        spec: the images' shape.
        latent: numbers of the space, categories of all choices together.
        size: tiny, small, medium or large.
        choices: how many; none for one for every ten numbers.
        temperature: of posterior and prior; the paper finds two thirds good for few categories.

    References:
        Maddison et al. (2017), The Concrete Distribution: A Continuous Relaxation of Discrete Random Variables,
        arXiv:1611.00712.
    """
    return _chosen(spec, latent, size, choices, temperature, hard=False)


def _chosen(
    spec: ImageSpec, latent: int, size: str, choices: int | None, temperature: float, *, hard: bool
) -> Parts:
    categories = _categories(latent, choices)
    positive(temperature=temperature)
    posterior = Choices(categories, temperature, hard=hard)
    prior = priors.UniformChoices(latent, categories, temperature, hard=hard)
    return conv_parts(spec, latent, size, _elbo(), posterior=posterior, prior=prior)


@recipe
def joint(
    spec: ImageSpec,
    latent: int = 20,
    size: str = "small",
    categories: int | None = None,
    temperature: float = 0.67,
) -> Parts:
    """A space of numbers and one choice: what kind it is, and how it varies.

    The last ``categories`` numbers are the choice, as in `gumbel-softmax`; those before are normal. The paper holds
    both rates to growing capacities; this is its plain bound.

    Cost: as `vae`. Known problem: the choice may go unused, since numbers alone can say the kind.

    Args:
        spec: the images' shape.
        latent: numbers of the space, both parts together; 20 as in the paper's 10 and a choice of 10.
        size: tiny, small, medium or large.
        categories: of the choice; none for half of the numbers.
        temperature: of the relaxed choice; 0.67 as in the paper.

    References:
        Dupont (2018), Learning Disentangled Joint Continuous and Discrete Representations, arXiv:1804.00104.
    """
    categories = (latent + 1) // 2 if categories is None else categories
    if not 0 < categories < latent:
        raise UsageError(
            f"latent is {latent} and categories is {categories}; expected categories, and more numbers than they"
        )
    positive(temperature=temperature)
    choice = Choices(categories, temperature)
    posterior = Beside([(DiagonalNormal(), latent - categories), (choice, categories)])
    uniform = priors.UniformChoices(categories, categories, temperature)
    prior = priors.Beside([priors.StandardNormal(latent - categories), uniform])
    return conv_parts(spec, latent, size, _elbo(), posterior=posterior, prior=prior)


@recipe
def sighted(spec: ImageSpec, latent: int = 2, size: str = "small", anchors: int = 512) -> Parts:
    """A VAE whose encoder is shown its decoder: how well it explains the image at points all over the plane.

    An encoder must find each image's posterior at a glance, and errs most on images that it has not seen. This one is
    told, beside the image, where among the anchors the decoder explains it, and the Laplace approximation of its
    posterior from the best of them (`morphospace.networks.sight`). −ELBO falls by nats, and so does −log p(x) itself.

    Cost: a step decodes five points more for each of a sixteenth of the anchors. Known problem: the plane falls into
    tiles with holes between them. To walk in, take `vae`; this one where log p(x) in two dimensions counts.

    Args:
        spec: the images' shape.
        latent: dimensions of the space, 2.
        size: tiny, small, medium or large.
        anchors: how many points of the plane; fewer for large images.

    References:
        Cremer et al. (2018), Inference Suboptimality in Variational Autoencoders, arXiv:1801.03558.
        Park et al. (2019), Variational Laplace Autoencoders, proceedings.mlr.press/v97/park19a.html (the approximation;
        anchors, and its use as features, are this package's own).
    """
    positive(anchors=anchors)
    return conv_parts(spec, latent, size, _elbo(), anchors=anchors)
