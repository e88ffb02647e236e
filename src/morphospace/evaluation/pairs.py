"""log p(x given z) of every image at every point: one matrix product where the likelihood allows it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from morphospace.distributions import ContinuousBernoulli, Distribution, Masked
from morphospace.model import VAE

__all__ = ["Pairs", "base_of"]

MOST_VALUES = 2**25
"""Values of an array (images × points × pixels) that a likelihood without a matrix form is asked for at once."""


class Pairs:
    """log p(x_i given z_j), nats summed over pixels, for fixed images and any points.

    A likelihood whose log-density is affine in x (Bernoulli, continuous Bernoulli) is log p(0 given z) + x·logits(z):
    one product of a matrix of images with one of points. A normal is a quadratic form, two products, in float64 since
    its terms are large and cancel. Any other likelihood is asked for each pair.

    Args:
        model: its decoder gives p(x given z).
        x: images, (N, C, H, W), values in [0, 1], on the model's device.
    """

    def __init__(self, model: VAE, x: Float[Tensor, "N C H W"]) -> None:
        self.model = model
        self.whole = not bool(x.isnan().any())
        self.x = x
        self.flat = x.flatten(1)

    @torch.inference_mode()
    def __call__(self, z: Float[Tensor, "M D"], rows: Tensor | None = None) -> Float[Tensor, "R M"]:
        """(R, M) for the images at ``rows``, or all of them."""
        px = self.model.decoder(z)
        if isinstance(px, Masked) and self.whole:
            px = px.whole
        base = base_of(px)
        flat = self.flat if rows is None else self.flat[rows]
        if isinstance(base, Bernoulli | ContinuousBernoulli):
            nothing = torch.zeros_like(self.x[:1])
            return torch.addmm(px.log_prob(nothing)[None], flat, base.logits.flatten(1).T)
        if isinstance(base, Normal):
            return _normal(base, flat)
        images = self.x if rows is None else self.x[rows]
        size = max(1, MOST_VALUES // (self.flat.shape[1] * len(z)))
        parts = [px.log_prob(images[i : i + size, None]) for i in range(0, len(images), size)]
        return torch.cat(parts) if parts else flat.new_zeros((0, len(z)))


def _normal(base: Normal, flat: Tensor) -> Tensor:
    mean, scale = base.loc.double().flatten(1), base.scale.double().flatten(1)
    precision = scale.pow(-2)
    constant = -(0.5 * mean.square() * precision + scale.log() + 0.5 * LOG_TWO_PI).sum(1)
    x = flat.double()
    return constant[None] + x @ (mean * precision).T - 0.5 * x.square() @ precision.T


LOG_TWO_PI = 1.8378770664093453


def base_of(distribution: Distribution) -> object:
    """What torch's `Independent` wraps, or the distribution itself; only an unchanged ``log_prob`` is seen through."""
    base: object = distribution
    while type(base) is torch.distributions.Independent:
        base = base.base_dist
    return base
