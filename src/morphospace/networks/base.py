"""What every network is, and what stands around one: missing pixels, one class for all, exact dense layers."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Network", "OfClass", "Precise", "ZeroImputed", "zero_imputed"]


class Network(nn.Module):
    """A body that maps (N, *input_shape) to (N, *output_shape).

    Attributes:
        classes: Y, the classes that it is told of, or 0. If any, it is called with (N, Y) weights of them too: a one
            and noughts for an image of one class, noughts alone where the class is not known.
    """

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    classes: int = 0


def zero_imputed(x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C H W"]:
    """Images with noughts for missing pixels, nan, and the others the larger the fewer there are.

    Noughts are Nazábal et al.'s (2020, arXiv:1807.03653). The others are divided by their share of the pixels, as
    dropout does (Srivastava et al. 2014): the sums of a network's first layer are then as large for few pixels as for
    all, on average, and images with more or fewer pixels than those that it learned from are within its experience.
    """
    known = ~x.isnan()
    share = known.to(x.dtype).mean((1, 2, 3), keepdim=True)
    return x.masked_fill(~known, 0.0) / share.clamp_min(1 / x[0].numel())


class ZeroImputed(Network):
    """A network of images of which pixels are missing, nan: it is given them `zero_imputed`."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.filled = network
        self.input_shape, self.output_shape, self.classes = (
            network.input_shape,
            network.output_shape,
            network.classes,
        )

    def forward(self, x: Float[Tensor, "N C H W"], *y: Tensor) -> Float[Tensor, "N P"]:
        out: Tensor = self.filled(zero_imputed(x), *y)
        return out


class OfClass(Network):
    """A network that is told of classes, with one class for all that it is given."""

    def __init__(self, network: Network, label: int) -> None:
        super().__init__()
        self.network, self.label = network, label
        self.input_shape, self.output_shape = network.input_shape, network.output_shape

    def forward(self, x: Tensor) -> Tensor:
        y = torch.zeros(len(x), self.network.classes, dtype=x.dtype, device=x.device)
        y[:, self.label] = 1
        out: Tensor = self.network(x, y)
        return out


class Precise(nn.Linear):
    """A dense layer that computes in its weights' own precision, whatever the rest of the network does.

    For what leads to and from the latents: bfloat16 keeps 8 bits, so a mean near 3 would be off by up to 0.008, a good
    part of a posterior's standard deviation in two dimensions.
    """

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype))
