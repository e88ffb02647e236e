"""The original study's networks, for 28×28×1 images."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from morphospace.networks.base import Network, Precise
from morphospace.types import ImageSpec, UsageError

__all__ = ["ReferenceDecoder", "ReferenceEncoder", "SameConvTranspose2d", "require_reference_shape"]

REFERENCE_SPEC = ImageSpec(1, 28, 28)


def require_reference_shape(spec: ImageSpec) -> None:
    """Refuse any image shape but the original study's."""
    if spec != REFERENCE_SPEC:
        raise UsageError(
            f"the reference network is the original study's and takes {REFERENCE_SPEC} images; these are {spec}. "
            "Use a recipe with the conv network, such as 'vae', for other shapes."
        )


class ReferenceEncoder(Network):
    """The original study's encoder: (N, 1, 28, 28) -> (N, 2·latent), mean and log-variance; 1,158,236 weights for 2-D.

    Activations are flattened with the channels last, as Keras does, so that Keras' weights fit when transposed.
    """

    input_shape = REFERENCE_SPEC.shape

    def __init__(self, latent: int = 2) -> None:
        super().__init__()
        self.output_shape = (2 * latent,)
        self.conv1 = nn.Conv2d(1, 32, 14)
        self.conv2 = nn.Conv2d(32, 64, 6)
        self.dense1 = nn.Linear(10 * 10 * 64, 168)
        self.dense2 = Precise(168, 16)
        self.heads = Precise(16, 2 * latent)
        _keras_initialisation(self)
        # Mean and log-variance are two layers in Keras: each has `latent` outputs, and so its own fan.
        _glorot_uniform_(self.heads.weight, fan_in=16, fan_out=latent)

    def forward(self, x: Float[Tensor, "N 1 28 28"]) -> Float[Tensor, "N P"]:
        h = F.relu(self.conv2(F.relu(self.conv1(x))))
        h = h.permute(0, 2, 3, 1).flatten(1)  # (N, 10·10·64), channels last
        out: Tensor = self.heads(F.relu(self.dense2(F.relu(self.dense1(h)))))
        return out


class ReferenceDecoder(Network):
    """The original study's decoder: (N, latent) -> logits (N, 1, 28, 28); 203,585 weights for 2-D."""

    output_shape = REFERENCE_SPEC.shape

    def __init__(self, latent: int = 2) -> None:
        super().__init__()
        self.input_shape = (latent,)
        self.dense = Precise(latent, 7 * 7 * 128)
        self.deconv1 = SameConvTranspose2d(128, 128)
        self.deconv2 = SameConvTranspose2d(128, 32)
        self.deconv3 = nn.ConvTranspose2d(32, 1, 3, padding=1)
        _keras_initialisation(self)

    def forward(self, z: Float[Tensor, "N D"]) -> Float[Tensor, "N 1 28 28"]:
        h = F.relu(self.dense(z)).reshape(-1, 7, 7, 128).permute(0, 3, 1, 2)
        out: Tensor = self.deconv3(F.relu(self.deconv2(F.relu(self.deconv1(h)))))
        return out


class SameConvTranspose2d(nn.ConvTranspose2d):
    """A 3×3 transposed convolution of stride 2 with TensorFlow's ``same`` padding: n pixels become 2n.

    The full result has 2n + 1 pixels a side, and TensorFlow drops the last; ``padding=1, output_padding=1`` would
    drop the first, which shifts every picture by one pixel.

    It is computed as one 2×2 convolution that puts out the four pixels (even or odd row, even or odd column) of each
    place, which are then set side by side (Shi et al. 2016, arXiv:1609.07009): faster in bfloat16 on a CPU than the
    transposed convolution, whose backward pass is far from the machine's peak. The weights are the plain layer's.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=2)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:  # noqa: ARG002
        w = _even_and_odd(_even_and_odd(self.weight, 2), 4)  # (I, O, phase, tap, phase, tap)
        w = w.permute(2, 4, 1, 0, 3, 5).flatten(0, 2)  # (4·O, I, 2, 2)
        assert self.bias is not None
        y = F.conv2d(
            F.pad(x, (1, 0, 1, 0)), w.contiguous(memory_format=torch.channels_last), self.bias.repeat(4)
        )
        n, _, height, width = y.shape
        y = y.permute(0, 2, 3, 1).reshape(n, height, width, 2, 2, -1).transpose(2, 3)
        return y.reshape(n, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


def _even_and_odd(w: Tensor, dim: int) -> Tensor:
    """Three taps along ``dim`` as (2 phases, 2 taps): an even pixel 2i is w₂·x[i−1] + w₀·x[i], an odd one w₁·x[i]."""
    first, second, third = w.unbind(dim)
    taps = torch.stack([third, first, torch.zeros_like(first), second], dim)
    halves: Tensor = torch.unflatten(taps, dim, (2, 2))
    return halves


def _keras_initialisation(module: nn.Module) -> None:
    """Glorot-uniform weights and zero biases, fans counted as Keras counts them."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            taps = math.prod(layer.weight.shape[2:])
            fans = layer.weight.shape[0] * taps, layer.weight.shape[1] * taps
            _glorot_uniform_(layer.weight, *fans)  # their order does not matter: only the sum enters
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _glorot_uniform_(weight: Tensor, fan_in: int, fan_out: int) -> None:
    """U(−a, a), a = √(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 16)."""
    bound = math.sqrt(6 / (fan_in + fan_out))
    nn.init.uniform_(weight, -bound, bound)
