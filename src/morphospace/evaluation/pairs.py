"""log p(x given z) of every image at every point: one matrix product, or one table of distances, where it can be."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Bernoulli, Laplace, Normal

from morphospace.distributions import ContinuousBernoulli, Distribution, Masked, base_of
from morphospace.model import VAE

__all__ = ["Pairs"]

MOST_VALUES = 2**18
"""Values of an array (images × points × pixels) that any other likelihood is asked for at once: as many as a
processor's own cache holds, with what is made of them on the way."""
POINTS = 4
"""Points that it is asked about at once, where there are many images; of few there is room for more."""


class Pairs:
    """log p(x_i given z_j), nats summed over pixels, for fixed images and any points.

    A likelihood whose log-density is affine in x (Bernoulli, continuous Bernoulli) is log p(0 given z) + x·logits(z):
    one product of a matrix of images with one of points. A normal is a quadratic form, two products, in float64 since
    its terms are large and cancel. A Laplace whose scales are the same at all points is a table of distances. Any other
    likelihood is asked for each pair, which takes a hundred times as long.

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
        found = _table(self._law(z), self.flat if rows is None else self.flat[rows])
        if found is not None:
            return found
        images = self.x if rows is None else self.x[rows]
        found = self.flat.new_empty((len(images), len(z)))
        points = max(POINTS, MOST_VALUES // max(1, images.numel()))
        many = max(1, MOST_VALUES // (points * self.flat.shape[1]))
        for j in range(0, len(z), points):
            px = self._law(z[j : j + points])
            for i in range(0, len(images), many):
                found[i : i + many, j : j + points] = px.log_prob(images[i : i + many, None])
        return found

    @torch.inference_mode()
    def asked_one_by_one(self) -> bool:
        """Whether the likelihood must be asked for each pair of an image and a point."""
        shape = self.model.decoder.network.input_shape
        two = torch.stack([self.x.new_zeros(shape), self.x.new_ones(shape)])
        return _table(self._law(two), self.flat[:1]) is None

    def _law(self, z: Tensor) -> Distribution:
        px = self.model.decoder(z)
        return px.whole if isinstance(px, Masked) and self.whole else px


def _table(px: Distribution, flat: Tensor) -> Tensor | None:
    """(R, M) all at once; None of a law without such a form."""
    base = base_of(px)
    if isinstance(base, Bernoulli | ContinuousBernoulli):
        logits = base.logits
        return torch.addmm(px.log_prob(torch.zeros_like(logits[:1]))[None], flat, logits.flatten(1).T)
    if isinstance(base, Normal):
        return _normal(base, flat)
    if isinstance(base, Laplace) and bool((base.scale == base.scale[:1]).all()):
        return _laplace(base, flat)
    return None


def _laplace(base: Laplace, flat: Tensor) -> Tensor:
    scale = base.scale[:1].flatten(1)
    return -torch.cdist(flat / scale, base.loc.flatten(1) / scale, p=1) - (2 * scale).log().sum()


def _normal(base: Normal, flat: Tensor) -> Tensor:
    mean, scale = base.loc.double().flatten(1), base.scale.double().flatten(1)
    precision = scale.pow(-2)
    constant = -(0.5 * mean.square() * precision + scale.log() + 0.5 * LOG_TWO_PI).sum(1)
    x = flat.double()
    return constant[None] + x @ (mean * precision).T - 0.5 * x.square() @ precision.T


LOG_TWO_PI = 1.8378770664093453
