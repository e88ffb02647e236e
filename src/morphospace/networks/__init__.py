"""Network bodies: deterministic maps from one tensor to another that know no probability.

ReferenceEncoder, ReferenceDecoder   the original study's networks, for 28×28×1 images: `study`
ConvEncoder, ConvDecoder             for any image from 8 to 128 pixels a side, sized by one dial: `conv`, `sizes`
GridEncoder, GridDecoder             likewise, by way of a coarse grid of vectors instead of one: `grid`
Sight                                what an encoder is shown of its decoder: `sight`

What they share is in `base`; `layers` tells what one is made of.
"""

from morphospace.networks.base import Network, OfClass, Precise, ZeroImputed, zero_imputed
from morphospace.networks.conv import ConvDecoder, ConvEncoder, Residual, dense_stem
from morphospace.networks.grid import GridDecoder, GridEncoder
from morphospace.networks.layers import count_parameters, layer_table
from morphospace.networks.sight import Sight
from morphospace.networks.sizes import SIZES, Size, grid_sides, size
from morphospace.networks.study import (
    ReferenceDecoder,
    ReferenceEncoder,
    SameConvTranspose2d,
    require_reference_shape,
)

__all__ = [
    "SIZES",
    "ConvDecoder",
    "ConvEncoder",
    "GridDecoder",
    "GridEncoder",
    "Network",
    "OfClass",
    "Precise",
    "ReferenceDecoder",
    "ReferenceEncoder",
    "Residual",
    "SameConvTranspose2d",
    "Sight",
    "Size",
    "ZeroImputed",
    "count_parameters",
    "dense_stem",
    "grid_sides",
    "layer_table",
    "require_reference_shape",
    "size",
    "zero_imputed",
]
