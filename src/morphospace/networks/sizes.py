"""The one dial of the house's networks, and the sides of their grids."""

from __future__ import annotations

from dataclasses import dataclass

from morphospace.types import ImageSpec, UnknownName, UsageError

__all__ = ["SIZES", "Size", "divided", "grid_sides", "require_conv_shape", "sides_of", "size"]


@dataclass(frozen=True)
class Size:
    """What the dial `size` sets, together: widths, depth and learning rates.

    Attributes:
        encoder: channels of the encoder's first convolution.
        hidden: width of the encoder's residual blocks.
        stem: width of the decoder's residual stem.
        blocks: residual blocks in each of the two.
        grid: channels of the decoder's coarse grid.
        lr: the highest learning rate.
        matrix_lr: that of hidden matrices under Muon.
    """

    encoder: int
    hidden: int
    stem: int
    blocks: int
    grid: int
    lr: float
    matrix_lr: float


SIZES = {
    "tiny": Size(encoder=16, hidden=128, stem=128, blocks=2, grid=16, lr=8e-3, matrix_lr=12e-3),
    "small": Size(encoder=32, hidden=256, stem=192, blocks=3, grid=16, lr=8e-3, matrix_lr=12e-3),
    "medium": Size(encoder=32, hidden=256, stem=256, blocks=3, grid=16, lr=8e-3, matrix_lr=12e-3),
    "large": Size(encoder=48, hidden=384, stem=384, blocks=4, grid=32, lr=5e-3, matrix_lr=8e-3),
}


def size(name: str) -> Size:
    """The dial's setting by name."""
    if name not in SIZES:
        raise UnknownName("size", name, SIZES)
    return SIZES[name]


def grid_sides(spec: ImageSpec) -> tuple[int, int]:
    """Height and width of the coarse grid of an image: a quarter of its sides, halved until none is above 8."""
    return sides_of(spec)[0]


def sides_of(spec: ImageSpec) -> list[tuple[int, int]]:
    """The sides of every grid between the coarse one and a quarter of the image's, coarsest first."""
    sides = [divided((spec.height, spec.width), 4)]
    while max(sides[0]) > 8:
        sides.insert(0, divided(sides[0], 2))
    return sides


def divided(sides: tuple[int, int], by: int) -> tuple[int, int]:
    """Both sides divided, rounded upwards: what a convolution of that stride makes of them."""
    return -(-sides[0] // by), -(-sides[1] // by)


def require_conv_shape(spec: ImageSpec) -> None:
    """Refuse images that are too small or too large for the conv networks."""
    if not all(8 <= side <= 128 for side in (spec.height, spec.width)):
        raise UsageError(
            f"the conv network takes images of 8 to 128 pixels a side; these are {spec.height}×{spec.width}. "
            "Load them with another --image-size."
        )
