"""Convolutional networks for any image from 8 to 128 pixels a side, sized by one dial."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from morphospace.networks.base import Network, Precise
from morphospace.networks.sizes import Size, divided, require_conv_shape, sides_of
from morphospace.types import ImageSpec

__all__ = ["ConvDecoder", "ConvEncoder", "Residual", "dense_stem"]


class ConvEncoder(Network):
    """(N, C, H, W) -> (N, outputs): a convolution of stride 4, some of stride 2 down to a 4×4 grid, residual blocks.

    Fine detail is left at once, since activations at full size, not products, are what a CPU spends its time on. Depth
    after that is cheap, and is what lets the encoder find the posterior of images that it has not seen. Classes, if
    there are any, join what the convolutions found.

    Args:
        spec: the images' shape.
        outputs: P.
        size: widths and depth.
        classes: how many classes it is told of.
        corrupted: the part of the images that it sees, while it is trained, only as a binary draw: each value is 1 with
            itself for probability, else 0 (a denoising criterion: Im et al. 2017, arXiv:1511.06406). An encoder so
            taught errs less on images that it has not seen (Shu et al. 2018, arXiv:1805.08913).
        told: how many numbers its ``sight`` tells it of each image, which enter in full precision: some are places.

    Attributes:
        sight: what it is shown beside the images, (N, C, H, W) -> (N, told), or None; see `networks.sight`.
    """

    widest = 128

    def __init__(
        self,
        spec: ImageSpec,
        outputs: int,
        size: Size,
        classes: int = 0,
        corrupted: float = 0.0,
        told: int = 0,
    ) -> None:
        super().__init__()
        require_conv_shape(spec)
        self.corrupted = corrupted
        self.input_shape, self.output_shape, self.classes = spec.shape, (outputs,), classes
        sides, width = divided((spec.height, spec.width), 4), size.encoder
        layers: list[nn.Module] = [nn.Conv2d(spec.channels, width, 6, stride=4, padding=1), nn.SiLU()]
        while max(sides) > 4 or len(layers) < 4:
            wider = min(width * 2, self.widest)
            layers += [nn.Conv2d(width, wider, 3, stride=2, padding=1), nn.SiLU()]
            sides, width = divided(sides, 2), wider
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Linear(width * math.prod(sides) + classes, size.hidden)
        self.told = Precise(told, size.hidden, bias=False) if told else None
        self.blocks = nn.Sequential(*(Residual(size.hidden) for _ in range(size.blocks)))
        self.heads = Precise(size.hidden, outputs)
        self.sight: nn.Module | None = None

    def forward(
        self, x: Float[Tensor, "N C H W"], y: Float[Tensor, "N Y"] | None = None
    ) -> Float[Tensor, "N P"]:
        if self.training and self.corrupted > 0:
            chosen = torch.rand(len(x), 1, 1, 1, device=x.device) < self.corrupted
            x = torch.where(chosen, torch.bernoulli(x), x)
        # Sides that are no multiple of four get noughts at their far end, so that the strides reach the last pixel.
        padded = F.pad(x, (0, -x.shape[3] % 4, 0, -x.shape[2] % 4))
        h = self.hidden(_joined(self.convolutions(padded).flatten(1), y))
        if self.told is not None and self.sight is not None:
            h = h + self.told(self.sight(x))
        out: Tensor = self.heads(self.blocks(F.silu(h)))
        return out


class ConvDecoder(Network):
    """(N, latent) -> (N, factor·C, H, W): a residual stem, a coarse grid, and sub-pixel convolutions up to the image.

    The last convolution puts out a tile of 4×4 pixels for each place of its grid (Shi et al. 2016, arXiv:1609.05158),
    so that no activation but the image itself has full size. Another ``stem`` may stand in its place: (N, latent) ->
    (N, size.stem). Classes, if there are any, stand beside the latents.
    """

    def __init__(
        self,
        spec: ImageSpec,
        latent: int,
        size: Size,
        factor: int = 1,
        stem: nn.Module | None = None,
        classes: int = 0,
    ) -> None:
        super().__init__()
        require_conv_shape(spec)
        self.input_shape, self.output_shape = (latent,), (factor * spec.channels, spec.height, spec.width)
        self.classes = classes
        self.sides = sides_of(spec)
        self.base = (size.grid, *self.sides[0])
        self.stem = dense_stem(latent + classes, size) if stem is None else stem
        self.spread = nn.Linear(size.stem, math.prod(self.base))
        self.stages = nn.ModuleList(nn.Conv2d(size.grid, 4 * size.grid, 3, padding=1) for _ in self.sides[1:])
        self.tiles = nn.Conv2d(size.grid, 16 * self.output_shape[0], 3, padding=1)

    def forward(
        self, z: Float[Tensor, "N D"], y: Float[Tensor, "N Y"] | None = None
    ) -> Float[Tensor, "N P H W"]:
        h: Tensor = F.silu(self.spread(self.stem(_joined(z, y)))).reshape(-1, *self.base)
        for stage, (height, width) in zip(self.stages, self.sides[1:], strict=True):
            # Sides were divided upwards, so the way back may overshoot by a pixel or three.
            h = F.silu(F.pixel_shuffle(stage(h), 2)[..., :height, :width])
        _, height, width = self.output_shape
        return F.pixel_shuffle(self.tiles(h), 4)[..., :height, :width]


def dense_stem(latent: int, size: Size) -> nn.Sequential:
    """(N, latent) -> (N, size.stem): a dense layer and residual blocks."""
    return nn.Sequential(Precise(latent, size.stem), *(Residual(size.stem) for _ in range(size.blocks)))


class Residual(nn.Module):
    """h + W₂·silu(W₁·h), with W₂ small at the start, so that a block begins near the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        with torch.no_grad():
            self.second.weight.mul_(0.1)
            self.second.bias.zero_()

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = h + self.second(F.silu(self.first(h)))
        return out


def _joined(h: Tensor, y: Tensor | None) -> Tensor:
    """What is known of each row and, where a network is told of classes, of its class."""
    return h if y is None else torch.cat([h, y.to(h.dtype)], 1)
