"""Autoencoders without noise: points for codes, and something else that keeps the space whole."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from morphospace import terms
from morphospace.objective import Objective
from morphospace.recipes.common import conv_parts, positive, squared_error
from morphospace.recipes.registry import Parts, recipe
from morphospace.types import ImageSpec

__all__ = ["ae", "rae_gp", "rae_l2", "rae_sn"]


@recipe
def ae(spec: ImageSpec, latent: int = 2, size: str = "small") -> Parts:
    """The autoencoder: squared error, and nothing else.

    It says how well so many numbers can keep an image. Nothing gives its space a shape: the prior knows nothing of
    where the codes lie, so fit a density to them before drawing samples. It has no likelihood.

    Cost: a little less than `vae`.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.

    References:
        Hinton & Salakhutdinov (2006), Reducing the Dimensionality of Data with Neural Networks,
        doi:10.1126/science.1127647.
    """
    return conv_parts(spec, latent, size, Objective(distortion=1), **squared_error())


@recipe
def rae_l2(
    spec: ImageSpec, latent: int = 2, size: str = "small", beta: float = 0.013, weight: float = 2e-4
) -> Parts:
    """The regularised autoencoder with weight decay: short codes and a decoder of small weights.

    In place of a VAE's noise, a penalty on the decoder keeps near codes near in their images. Fit a density to the
    codes before drawing samples. It has no likelihood.

    Cost: a little less than `vae`.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        beta: the weight of ½·‖z‖². The authors' code has 1e-4 for MNIST, of means over 1,024 pixels and 16 dimensions;
            of sums, as here, that is 0.013.
        weight: the weight of ½·‖θ‖² of the decoder: 1e-7 in the authors' code, beside a mean over 1,024 pixels and
            without the half, so 2e-4 here. It comes on top of the settings' own weight decay.

    References:
        Ghosh et al. (2020), From Variational to Deterministic Autoencoders, arXiv:1903.12436.
    """
    positive(beta=beta, weight=weight)
    objective = Objective((beta, terms.latent_norm), (weight, terms.decoder_norm), distortion=1)
    return conv_parts(spec, latent, size, objective, **squared_error())


@recipe
def rae_gp(
    spec: ImageSpec, latent: int = 2, size: str = "small", beta: float = 0.013, weight: float = 0.01
) -> Parts:
    """The regularised autoencoder with a gradient penalty: short codes and a decoder that changes slowly.

    As `rae_l2`, with the squared norm of the decoder's Jacobian: to second order what noise of variance ``weight`` in
    the codes would add to the squared error.

    Cost: about twice `vae`, since the decoder's derivative is differentiated.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        beta: the weight of ½·‖z‖², as in `rae_l2`.
        weight: the weight of the Jacobian's squared norm: 0.01 is noise of standard deviation 0.1 in the codes. The
            authors' code penalises another derivative, that of the sum of squared pixels, so its number says nothing
            here.

    References:
        Ghosh et al. (2020), From Variational to Deterministic Autoencoders, arXiv:1903.12436.
    """
    positive(beta=beta, weight=weight)
    objective = Objective((beta, terms.latent_norm), (weight, terms.DecoderGradient()), distortion=1)
    return conv_parts(spec, latent, size, objective, **squared_error())


@recipe
def rae_sn(spec: ImageSpec, latent: int = 2, size: str = "small", beta: float = 1.2) -> Parts:
    """The regularised autoencoder with spectral normalisation: short codes and a decoder of bounded slope.

    As `rae_l2`, with each of the decoder's weight tensors divided by its largest singular value, found by one step of
    power iteration for each training step. A decoder of slope near one needs codes that lie far apart.

    Cost: a little less than `vae`. Known problem: in few dimensions the bound is too tight for sharp pictures.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        beta: the weight of ½·‖z‖². The authors' code has 9e-3 for MNIST, which is 1.2 of sums (see `rae_l2`).

    References:
        Ghosh et al. (2020), From Variational to Deterministic Autoencoders, arXiv:1903.12436.
        Miyato et al. (2018), Spectral Normalization for Generative Adversarial Networks, arXiv:1802.05957.
    """
    positive(beta=beta)
    parts = conv_parts(
        spec, latent, size, Objective((beta, terms.latent_norm), distortion=1), **squared_error()
    )
    for layer in parts.model.decoder.network.modules():
        # On paper there are no numbers to iterate on, and pretending costs a third of a second.
        if isinstance(layer, nn.Linear | nn.Conv2d) and not layer.weight.is_meta:
            spectral_norm(layer)
    return parts
