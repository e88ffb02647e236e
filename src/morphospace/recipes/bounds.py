"""Other bounds than the ELBO, gradients for them with less noise, and ways to keep the rate from falling to nought."""

from __future__ import annotations

from morphospace import terms
from morphospace.objective import Cycle, Objective, Ramp, Towards
from morphospace.recipes.common import conv_parts, part_of_run, positive
from morphospace.recipes.registry import Parts, recipe
from morphospace.types import ImageSpec, UsageError

__all__ = [
    "capacity",
    "ciwae",
    "cyclical",
    "dreg",
    "free_bits",
    "free_nats",
    "iwae",
    "miwae",
    "piwae",
    "sticking_the_landing",
]


@recipe
def iwae(spec: ImageSpec, latent: int = 2, size: str = "small", draws: int = 5) -> Parts:
    """The importance-weighted autoencoder: a tighter bound from several draws of z for each image.

    Maximises E log (1/K)·Σ p(x, z_k) / q(z_k given x). More draws bring the bound nearer to log p(x), let the posterior
    be less simple than its family, and use more latent dimensions.

    Cost: the decoder runs K times. Known problem: the encoder's gradient drowns in noise as K grows (Rainforth et al.);
    `dreg`, `miwae` and `piwae` are answers to that.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        draws: K. 5 is the lesser of the two numbers above 1 in the paper's table 1; the other is 50.

    References:
        Burda, Grosse & Salakhutdinov (2016), Importance Weighted Autoencoders, arXiv:1509.00519.
        Rainforth et al. (2018), Tighter Variational Bounds Are Not Necessarily Better, arXiv:1802.04537.
    """
    positive(draws=draws)
    return conv_parts(spec, latent, size, Objective((1, terms.ImportanceBound(draws))))


@recipe
def miwae(spec: ImageSpec, latent: int = 2, size: str = "small", draws: int = 4, bounds: int = 2) -> Parts:
    """The multiply importance-weighted autoencoder: the mean of several importance-weighted bounds.

    M bounds of K draws each: between the ELBO (K = 1) and `iwae` (M = 1), with less noise for the encoder than the
    bound of all M·K draws.

    Cost: the decoder runs M·K times.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        draws: K, the draws of a bound. The paper has M·K = 64, eight by eight among others; eight in all keep the cost
            near that of `iwae`.
        bounds: M, the bounds whose mean is taken.

    References:
        Rainforth et al. (2018), Tighter Variational Bounds Are Not Necessarily Better, arXiv:1802.04537.
    """
    positive(draws=draws, bounds=bounds)
    return conv_parts(spec, latent, size, Objective((1, terms.ImportanceBound(draws, bounds))))


@recipe
def ciwae(spec: ImageSpec, latent: int = 2, size: str = "small", draws: int = 5, beta: float = 0.5) -> Parts:
    """The combination importance-weighted autoencoder: β of the ELBO and 1 − β of the importance-weighted bound.

    β = 1 is the VAE and β = 0 is `iwae`; between them the encoder keeps a clear gradient and the bound is tighter than
    the ELBO.

    Cost: the decoder runs K times.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        draws: K, as in `iwae`.
        beta: the ELBO's part, from 0 to 1; the paper shows 0.05 and 0.5.

    References:
        Rainforth et al. (2018), Tighter Variational Bounds Are Not Necessarily Better, arXiv:1802.04537.
    """
    positive(draws=draws)
    if not 0 <= beta <= 1:
        raise UsageError(f"beta is {beta}; expected the ELBO's part, from 0 to 1")
    objective = Objective((1 - beta, terms.ImportanceBound(draws)), distortion=beta, rate=beta)
    return conv_parts(spec, latent, size, objective)


@recipe
def piwae(spec: ImageSpec, latent: int = 2, size: str = "small", draws: int = 4, bounds: int = 2) -> Parts:
    """The partially importance-weighted autoencoder: a tight bound for the decoder, a clear gradient for the encoder.

    The decoder learns from the bound of all M·K draws, as in `iwae`; the encoder from the mean of M bounds of K draws,
    as in `miwae`. The value that is reported is the encoder's bound.

    Cost: the decoder runs M·K times, and once more backwards for the encoder.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        draws: K, the draws of one of the encoder's bounds; as in `miwae`.
        bounds: M, how many of them there are.

    References:
        Rainforth et al. (2018), Tighter Variational Bounds Are Not Necessarily Better, arXiv:1802.04537.
    """
    positive(draws=draws, bounds=bounds)
    return conv_parts(spec, latent, size, Objective((1, terms.PartiallyImportant(draws, bounds))))


@recipe
def dreg(spec: ImageSpec, latent: int = 2, size: str = "small", draws: int = 5) -> Parts:
    """The doubly reparameterised gradient for `iwae`: the same bound, with less noise for the encoder.

    The encoder's gradient has the same expectation as `iwae`'s, and its signal does not drown as the draws grow more.
    Take it wherever `iwae` would be taken.

    Cost: the decoder runs K times, and once more backwards for the encoder.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        draws: K, as in `iwae`.

    References:
        Tucker et al. (2019), Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives, arXiv:1810.04152.
    """
    positive(draws=draws)
    return conv_parts(spec, latent, size, Objective((1, terms.DoublyReparameterized(draws))))


@recipe
def sticking_the_landing(spec: ImageSpec, latent: int = 2, size: str = "small") -> Parts:
    """Sticking the landing: the VAE, with an encoder's gradient whose noise vanishes as the posterior becomes exact.

    The rate is estimated by draws, and of its gradient the part that is nought on average is left out. Worth its while
    where the posterior can come near to the true one; with the closed-form rate of `vae` the noise is another, and
    which of them is less has to be measured.

    Cost: that of `vae`, and the decoder once more backwards.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.

    References:
        Roeder, Wu & Duvenaud (2017), Sticking the Landing, arXiv:1703.09194.
    """
    return conv_parts(spec, latent, size, Objective((1, terms.sticking_the_landing)))


@recipe
def free_bits(spec: ImageSpec, latent: int = 2, size: str = "small", nats: float = 0.5) -> Parts:
    """Free bits: each latent dimension may carry some nats for nothing, so that none is switched off early.

    The rate of a dimension counts only above ``nats``, by the mean over the batch. A remedy where many of a space's
    dimensions carry nothing. The reported −ELBO has the whole rate in it.

    Cost: that of `vae`. Known problem: a dimension that lies below its free nats feels no pull towards the prior, so
    samples from the prior may be worse.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        nats: what each dimension may carry for nothing; the paper finds 0.125 to 2 for a group of dimensions to help.

    References:
        Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow, arXiv:1606.04934.
    """
    positive(nats=nats)
    return conv_parts(spec, latent, size, Objective((1, terms.FreeBits(nats)), distortion=1))


@recipe
def free_nats(spec: ImageSpec, latent: int = 2, size: str = "small", nats: float = 3.0) -> Parts:
    """Free nats: the space as a whole may carry some nats for nothing; what posterior does it is left open.

    As `free_bits`, for the sum over the dimensions, and so for posteriors whose dimensions are not independent.

    Cost: that of `vae`.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        nats: what the space may carry for nothing; 3 is the number of Hafner et al.

    References:
        Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow, arXiv:1606.04934.
        Hafner et al. (2019), Learning Latent Dynamics for Planning from Pixels, arXiv:1811.04551.
    """
    positive(nats=nats)
    return conv_parts(spec, latent, size, Objective((1, terms.FreeNats(nats)), distortion=1))


@recipe
def capacity(
    spec: ImageSpec,
    latent: int = 10,
    size: str = "small",
    nats: float = 25.0,
    strength: float = 1000.0,
    until: float = 1.0,
) -> Parts:
    """Controlled capacity: the rate is held at a level that rises with the run.

    The loss is distortion + γ·|rate − C|, where C goes from nought to ``nats``. The factors of variation come into the
    space one after another, those that save most distortion first, and tend to lie along dimensions of their own.

    Cost: that of `vae`. Known problem: a level above what the images need is filled with noise; look at the rate that
    `vae` finds with as many dimensions first.

    Args:
        spec: the images' shape.
        latent: dimensions of the space; 10 in the paper.
        size: tiny, small, medium or large.
        nats: the level of the rate in the end; 25 in the paper, for dSprites.
        strength: γ; 1000 in the paper.
        until: the part of the run over which the level rises.

    References:
        Burgess et al. (2018), Understanding disentangling in β-VAE, arXiv:1804.03599.
    """
    positive(nats=nats, strength=strength)
    part_of_run(until=until)
    objective = Objective(distortion=1, rate=Towards(Ramp(0, nats, until), strength))
    return conv_parts(spec, latent, size, objective)


@recipe
def cyclical(
    spec: ImageSpec,
    latent: int = 2,
    size: str = "small",
    beta: float = 1.0,
    cycles: int = 4,
    rising: float = 0.5,
) -> Parts:
    """Cyclical annealing: the rate's weight climbs from nought again and again.

    Each cycle lets the space be used freely before the rate presses on it; later cycles begin from the better space of
    those before. A remedy where a strong decoder ignores the space. For a single climb see `beta_vae`'s ``warmup``.

    Cost: that of `vae`.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        beta: the weight at the top of a cycle.
        cycles: how many there are; 4 in the paper.
        rising: the part of a cycle in which the weight climbs; 0.5 in the paper.

    References:
        Fu et al. (2019), Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing, arXiv:1903.10145.
    """
    positive(beta=beta, cycles=cycles)
    part_of_run(rising=rising)
    return conv_parts(spec, latent, size, Objective(distortion=1, rate=Cycle(0, beta, cycles, rising)))
