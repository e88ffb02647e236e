"""Methods that press the dimensions of the space to vary independently of one another."""

from __future__ import annotations

from typing import Literal

from morphospace import terms
from morphospace.objective import Objective, Term
from morphospace.recipes.common import CRITIC_LR, conv_parts, positive
from morphospace.recipes.registry import Parts, recipe
from morphospace.types import ImageSpec

__all__ = ["beta_tc", "dip_i", "dip_ii", "factor_vae"]


@recipe
def beta_tc(
    spec: ImageSpec,
    latent: int = 10,
    size: str = "small",
    beta: float = 6.0,
    alpha: float = 1.0,
    gamma: float = 1.0,
    estimator: Literal["stratified", "weighted"] = "stratified",
) -> Parts:
    """The β-TCVAE: of the rate's three parts, the total correlation alone counts β times.

    The rate is the mutual information of image and code, plus the total correlation of the dimensions, plus each
    dimension's divergence from the prior. Only the middle one says that dimensions depend on one another, so it is
    pressed on without making the code say less: a better bargain than `beta_vae` of factors against blur. The rate
    itself enters in closed form, and each part by how far its weight lies from 1.

    Cost: that of `vae`, and B² densities of each dimension for a batch of B. Known problem: log q(z) is estimated from
    the batch; the bias of its logarithm grows with the dimensions and falls with the batch.

    Args:
        spec: the images' shape.
        latent: dimensions of the space; 10 in the paper.
        size: tiny, small, medium or large.
        beta: the weight of the total correlation; 6 in the paper, for dSprites.
        alpha: the weight of the mutual information; 1 in the paper.
        gamma: the weight of the dimensions' divergences; 1 in the paper.
        estimator: of q(z) from a batch, "stratified" or "weighted"; the paper's main text takes the second, which is
            biased.

    References:
        Chen et al. (2018), Isolating Sources of Disentanglement in Variational Autoencoders, arXiv:1802.04942.
    """
    positive(beta=beta, alpha=alpha, gamma=gamma)
    parts: tuple[tuple[float, Term], ...] = (
        (alpha - 1, terms.MutualInformation(estimator)),
        (beta - 1, terms.TotalCorrelation(estimator)),
        (gamma - 1, terms.DimensionWiseKl(estimator)),
    )
    objective = Objective(*[part for part in parts if part[0] != 0], distortion=1, rate=1)
    return conv_parts(spec, latent, size, objective)


@recipe
def factor_vae(spec: ImageSpec, latent: int = 10, size: str = "small", gamma: float = 35.0) -> Parts:
    """The FactorVAE: the total correlation, estimated by a critic, is added to the ELBO's loss γ times.

    As `beta_tc`, with a critic in place of a batch's densities: it learns to tell codes from codes whose dimensions
    were shuffled among images, and what it can tell is the total correlation.

    Cost: that of `vae`, and a small critic. Known problem: the critic must keep up with the encoder.

    Args:
        spec: the images' shape.
        latent: dimensions of the space; 10 in the paper.
        size: tiny, small, medium or large.
        gamma: the weight of the total correlation; 35 is the paper's for dSprites.

    References:
        Kim & Mnih (2018), Disentangling by Factorising, arXiv:1802.05983.
    """
    positive(latent=latent, gamma=gamma)
    objective = Objective((gamma, terms.TotalCorrelationCritic(latent)), distortion=1, rate=1)
    return conv_parts(spec, latent, size, objective, lr=CRITIC_LR)


@recipe
def dip_i(
    spec: ImageSpec,
    latent: int = 10,
    size: str = "small",
    off_diagonal: float = 10.0,
    diagonal: float = 100.0,
) -> Parts:
    """The DIP-VAE-I: the covariance of the posteriors' means is brought to the identity.

    Dimensions whose means do not co-vary, each with variance 1: second moments alone, so it is cheap and asks for no
    critic. An embedding is these means: take it where its coordinates are to be used one by one. It does not see the
    noise of the posteriors, which `dip-ii` does.

    Cost: that of `vae`. Known problem: means of variance 1 and noise beside them are more than the prior's variance, so
    the rate pulls the other way, and a dimension that has nothing to tell is made to vary all the same.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        off_diagonal: the weight of squared covariances; the paper tries 1 to 500.
        diagonal: the weight of squared variances less 1; ten times ``off_diagonal`` in the paper.

    References:
        Kumar, Sattigeri & Balakrishnan (2018), Variational Inference of Disentangled Latent Concepts from Unlabeled
        Observations, arXiv:1711.00848.
    """
    return _dip(spec, latent, size, "means", off_diagonal, diagonal)


@recipe
def dip_ii(
    spec: ImageSpec, latent: int = 10, size: str = "small", off_diagonal: float = 10.0, diagonal: float = 10.0
) -> Parts:
    """The DIP-VAE-II: the covariance of the aggregated posterior is brought to the identity.

    The covariance is that of draws: of the means, as in `dip-i`, and the mean of the posteriors' own. So q(z) gets the
    prior's second moments, and a dimension may carry nothing, since noise of variance 1 meets the penalty too. Take it
    where draws matter: samples, or codes that are to be decoded.

    Cost: that of `vae`. Known problem: what is held is the covariance of draws; the means of an embedding may co-vary.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        off_diagonal: the weight of squared covariances, as in `dip-i`.
        diagonal: the weight of squared variances less 1; equal to ``off_diagonal`` in the paper.

    References:
        Kumar, Sattigeri & Balakrishnan (2018), Variational Inference of Disentangled Latent Concepts from Unlabeled
        Observations, arXiv:1711.00848.
    """
    return _dip(spec, latent, size, "draws", off_diagonal, diagonal)


def _dip(
    spec: ImageSpec,
    latent: int,
    size: str,
    of: Literal["means", "draws"],
    off_diagonal: float,
    diagonal: float,
) -> Parts:
    positive(off_diagonal=off_diagonal, diagonal=diagonal)
    objective = Objective(
        (off_diagonal, terms.CovarianceOffDiagonal(of)),
        (diagonal, terms.CovarianceFromIdentity(of)),
        distortion=1,
        rate=1,
    )
    return conv_parts(spec, latent, size, objective)
