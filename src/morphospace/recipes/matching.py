"""Methods that bring the aggregated posterior q(z) to the prior, in place of each posterior or beside them."""

from __future__ import annotations

from typing import Literal

from morphospace import terms
from morphospace.objective import Objective
from morphospace.recipes.common import CRITIC_LR, conv_parts, positive, squared_error
from morphospace.recipes.registry import Parts, recipe
from morphospace.types import ImageSpec, UsageError

__all__ = ["aae", "info_vae", "sliced_wasserstein", "wae_gan", "wae_mmd"]


@recipe
def info_vae(
    spec: ImageSpec,
    latent: int = 2,
    size: str = "small",
    alpha: float = 0.0,
    weight: float = 10.0,
    kernel: Literal["imq", "rbf"] = "rbf",
) -> Parts:
    """The InfoVAE: the rate counts less, and a distance of q(z) from the prior is added.

    The loss is distortion + (1 − α)·rate + (α + λ − 1)·MMD². α = 1 leaves the mutual information of image and code
    alone altogether (the MMD-VAE); α = 0 keeps the whole rate. Take it where the prior's samples should be good and the
    codes still tell much.

    Cost: that of `vae`, and B² kernels for a batch of B.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        alpha: α, at most 1; 0 keeps the whole rate.
        weight: λ. Ours: with seven kernels added up, 1000 let every posterior collapse in short runs on `garments`.
        kernel: of the MMD, "imq" or "rbf"; the paper's is Gaussian.

    References:
        Zhao, Song & Ermon (2019), InfoVAE: Balancing Learning and Inference in Variational Autoencoders,
        arXiv:1706.02262.
    """
    if not (alpha <= 1 and weight > 1 - alpha):
        raise UsageError(f"alpha is {alpha} and weight {weight}; expected alpha ≤ 1 and alpha + weight > 1")
    named = {"rate": 1 - alpha} if alpha != 1 else {}
    objective = Objective((alpha + weight - 1, terms.Mmd(kernel)), distortion=1, **named)
    return conv_parts(spec, latent, size, objective)


@recipe
def wae_mmd(
    spec: ImageSpec,
    latent: int = 2,
    size: str = "small",
    weight: float = 200.0,
    kernel: Literal["imq", "rbf"] = "imq",
) -> Parts:
    """The Wasserstein autoencoder with MMD: points for codes, whose aggregate is brought to the prior by kernels.

    Squared error and no noise in the codes, so pictures are sharper than a VAE's; what is brought to the prior is q(z)
    as a whole. It has no likelihood.

    Cost: that of `vae`, and B² kernels for a batch of B. Known problem: an MMD over a batch says little in many
    dimensions.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        weight: of the MMD beside the squared error. The configuration for MNIST that was published with the paper has
            10, and its code multiplies the squared error by 0.05, which makes it 200.
        kernel: "imq", the inverse multiquadratic of the paper, or "rbf", Gaussian; both of seven scales.

    References:
        Tolstikhin et al. (2018), Wasserstein Auto-Encoders, arXiv:1711.01558.
        Gretton et al. (2012), A Kernel Two-Sample Test, jmlr.org/papers/v13/gretton12a.html.
    """
    positive(weight=weight)
    objective = Objective((weight, terms.Mmd(kernel)), distortion=1)
    return conv_parts(spec, latent, size, objective, **squared_error())


@recipe
def sliced_wasserstein(
    spec: ImageSpec, latent: int = 2, size: str = "small", weight: float = 10.0, directions: int = 50
) -> Parts:
    """The sliced-Wasserstein autoencoder: q(z) is brought to the prior along random directions.

    On a line the best transport pairs points by rank, so no kernel and no critic are needed. As `wae_mmd` otherwise.

    Cost: that of `vae`, and a sort of the batch along each direction.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        weight: of the distance beside the squared error; 10 in the paper.
        directions: how many are drawn at each step; 50 in the paper.

    References:
        Kolouri et al. (2019), Sliced-Wasserstein Auto-Encoders, arXiv:1804.01947.
    """
    positive(weight=weight, directions=directions)
    objective = Objective((weight, terms.SlicedWasserstein(directions)), distortion=1)
    return conv_parts(spec, latent, size, objective, **squared_error())


@recipe
def aae(spec: ImageSpec, latent: int = 2, size: str = "small", weight: float = 10.0) -> Parts:
    """The adversarial autoencoder: a critic tells codes from the prior, and the encoder learns to make it err.

    The posterior keeps its noise here, as one of the paper's three encoders does; nothing but the critic holds it to
    the prior. Pixels are as in `vae`.

    Cost: that of `vae`, and a small critic. Known problem: it is a game, and may not settle; look at the critic's
    belief in the metrics, which is ln 2 where it cannot tell.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        weight: of the critic's belief beside the distortion. The paper takes turns with the two and has no weight.

    References:
        Makhzani et al. (2016), Adversarial Autoencoders, arXiv:1511.05644.
    """
    positive(latent=latent, weight=weight)
    objective = Objective((weight, terms.PriorCritic(latent)), distortion=1)
    return conv_parts(spec, latent, size, objective, lr=CRITIC_LR)


@recipe
def wae_gan(spec: ImageSpec, latent: int = 2, size: str = "small", weight: float = 1.0) -> Parts:
    """The Wasserstein autoencoder with a critic: as `wae_mmd`, with a critic in place of kernels.

    Cost: that of `vae`, and a small critic. Known problem: as `aae`; the paper finds it less stable than `wae_mmd`, and
    better where it works.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        weight: of the critic's belief beside the squared error. Ours, and small: 20 and 200 drove the codes away from
            the prior in short runs on `garments`.

    References:
        Tolstikhin et al. (2018), Wasserstein Auto-Encoders, arXiv:1711.01558.
    """
    positive(latent=latent, weight=weight)
    objective = Objective((weight, terms.PriorCritic(latent)), distortion=1)
    return conv_parts(spec, latent, size, objective, lr=CRITIC_LR, **squared_error())
