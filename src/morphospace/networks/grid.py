"""Convolutional networks with a coarse grid of vectors between encoder and decoder, instead of one vector."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from morphospace.networks.base import Network, Precise
from morphospace.networks.sizes import Size, require_conv_shape, sides_of
from morphospace.types import ImageSpec

__all__ = ["GridDecoder", "GridEncoder"]


class GridEncoder(Network):
    """(N, C, H, W) -> (N, h·w·outputs): a convolution of stride 4, some of stride 2 down to the coarse grid (h, w) of
    `grid_sides`, residual blocks there, and ``outputs`` numbers for each place, place by place.
    """

    def __init__(self, spec: ImageSpec, outputs: int, size: Size) -> None:
        super().__init__()
        require_conv_shape(spec)
        sides, width = sides_of(spec), 2 * size.encoder
        self.input_shape, self.output_shape = spec.shape, (math.prod(sides[0]) * outputs,)
        layers: list[nn.Module] = [nn.Conv2d(spec.channels, width, 6, stride=4, padding=1), nn.SiLU()]
        for _ in sides[1:]:
            layers += [nn.Conv2d(width, width, 3, stride=2, padding=1), nn.SiLU()]
        self.convolutions = nn.Sequential(*layers)
        self.blocks = nn.Sequential(*(ConvResidual(width) for _ in range(size.blocks)))
        self.heads = Precise(width, outputs)
        # What is quantised must differ from place to place and image to image from the start, or all becomes one code:
        # variance is kept from layer to layer (He et al. 2015, arXiv:1502.01852, eq. 10), and no bias drowns it.
        for layer in (*self.convolutions, self.heads):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N P"]:
        x = F.pad(
            2 * x - 1, (0, -x.shape[3] % 4, 0, -x.shape[2] % 4)
        )  # as in `ConvEncoder`, with grey for nought
        h = F.silu(self.blocks(self.convolutions(x))).permute(0, 2, 3, 1)  # (N, h, w, width)
        out: Tensor = self.heads(h)
        return out.flatten(1)


class GridDecoder(Network):
    """(N, h·w·layers·numbers) -> (N, factor·C, H, W): residual blocks on the coarse grid, then sub-pixel convolutions.

    Where a place has several ``layers`` of numbers, it begins with their sum.
    """

    def __init__(self, spec: ImageSpec, numbers: int, size: Size, factor: int = 1, layers: int = 1) -> None:
        super().__init__()
        require_conv_shape(spec)
        self.sides, width = sides_of(spec), 2 * size.encoder
        self.places = (*self.sides[0], layers, numbers)
        self.input_shape = (math.prod(self.places),)
        self.output_shape = (factor * spec.channels, spec.height, spec.width)
        self.stem = Precise(numbers, width)
        self.blocks = nn.Sequential(*(ConvResidual(width) for _ in range(size.blocks)))
        self.stages = nn.ModuleList(nn.Conv2d(width, 4 * width, 3, padding=1) for _ in self.sides[1:])
        self.tiles = nn.Conv2d(width, 16 * self.output_shape[0], 3, padding=1)

    def forward(self, z: Float[Tensor, "N D"]) -> Float[Tensor, "N P H W"]:
        h: Tensor = self.stem(z.reshape(-1, *self.places).sum(3)).permute(0, 3, 1, 2)  # (N, width, h, w)
        h = F.silu(self.blocks(h))
        for stage, (height, width) in zip(self.stages, self.sides[1:], strict=True):
            h = F.silu(F.pixel_shuffle(stage(h), 2)[..., :height, :width])
        _, height, width = self.output_shape
        return F.pixel_shuffle(self.tiles(h), 4)[..., :height, :width]


class ConvResidual(nn.Module):
    """h + W₂·silu(W₁∗h) on a grid, W₁ a 3×3 convolution and W₂ one of 1×1 (van den Oord et al. 2017, section 4.1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width // 2, 3, padding=1)
        self.second = nn.Conv2d(width // 2, width, 1)
        with torch.no_grad():
            self.second.weight.mul_(0.1)
            assert self.second.bias is not None
            self.second.bias.zero_()

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = h + self.second(F.silu(self.first(h)))
        return out
