"""What every subject is given: the images, and one set of weights for the original study's network.

The weights are in Keras' layouts, since the study was made in Keras. Given the same weights and images every subject
must find the same loss, which `benchmarks.throughput` checks before it times anything. So that the loss has nothing
random in it, the posterior's log-variance is `LOG_VARIANCE` for every image: its draws differ from its mean by 1e-4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import morphospace as ms

__all__ = ["BATCH", "PARAMETERS", "Layer", "decoder_layers", "encoder_layers", "images", "torch_weights"]

BATCH = 128
"""The study's batch."""
PARAMETERS = {"encoder": 1_158_236, "decoder": 203_585}
"""How many numbers each half of the study's network learns."""
LOG_VARIANCE = -18.0

Kind = Literal["conv", "dense", "conv_transpose"]


@dataclass(frozen=True)
class Layer:
    """A layer's weights as Keras holds them; ``name`` is that of the layer in the networks written in torch."""

    name: str
    kind: Kind
    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]


def images(source: dict[str, Any]) -> ms.Images:
    """The images, from the arguments of `morphospace.load`; ``few`` in place of them takes so many of each split."""
    few = source.get("few")
    loaded = ms.load(**{k: v for k, v in source.items() if k != "few"})
    if few is None:
        return loaded
    index = np.concatenate([np.flatnonzero(loaded.splits == split)[:few] for split in (0, 2)])
    return loaded.take(index)


def encoder_layers() -> list[Layer]:
    """The encoder's layers in order, the heads for mean and log-variance last."""
    draw = np.random.default_rng(0)
    log_variance = Layer(
        "heads", "dense", np.zeros((16, 2), np.float32), np.full(2, LOG_VARIANCE, np.float32)
    )
    return [
        _layer(draw, "conv1", "conv", 14, 14, 1, 32),
        _layer(draw, "conv2", "conv", 6, 6, 32, 64),
        _layer(draw, "dense1", "dense", 6400, 168),
        _layer(draw, "dense2", "dense", 168, 16),
        _layer(draw, "heads", "dense", 16, 2),
        log_variance,
    ]


def decoder_layers() -> list[Layer]:
    """The decoder's layers in order."""
    draw = np.random.default_rng(1)
    return [
        _layer(draw, "dense", "dense", 2, 7 * 7 * 128),
        _layer(draw, "deconv1", "conv_transpose", 3, 3, 128, 128),
        _layer(draw, "deconv2", "conv_transpose", 3, 3, 32, 128),
        _layer(draw, "deconv3", "conv_transpose", 3, 3, 1, 32),
    ]


def torch_weights(*, mirrored: bool = False) -> dict[str, dict[str, NDArray[np.float32]]]:
    """The same weights as state dictionaries of networks in torch, where both heads are one layer.

    Args:
        mirrored: for a network that sees and makes pictures turned round, last row and last column first.
    """
    found: dict[str, dict[str, NDArray[np.float32]]] = {}
    for half, layers in (("encoder", encoder_layers()), ("decoder", decoder_layers())):
        state = found[half] = {}
        for layer in map(_mirrored, layers) if mirrored else layers:
            axes = (1, 0) if layer.kind == "dense" else (3, 2, 0, 1)
            for name, value in (("weight", layer.kernel.transpose(axes)), ("bias", layer.bias)):
                key = f"{layer.name}.{name}"
                state[key] = (
                    np.concatenate([state[key], value]) if key in state else np.ascontiguousarray(value)
                )
    return found


def _mirrored(layer: Layer) -> Layer:
    """A layer that does to pictures turned round what ``layer`` does to them as they are."""
    if layer.kind != "dense":
        return replace(layer, kernel=layer.kernel[::-1, ::-1])
    if layer.name == "dense1":  # from the encoder's grid of 10×10 places with 64 channels
        return replace(
            layer, kernel=layer.kernel.reshape(10, 10, 64, -1)[::-1, ::-1].reshape(layer.kernel.shape)
        )
    if layer.name == "dense":  # to the decoder's grid of 7×7 places with 128 channels
        kernel, bias = (
            values.reshape(-1, 7, 7, 128)[:, ::-1, ::-1].reshape(values.shape)
            for values in (layer.kernel, layer.bias)
        )
        return replace(layer, kernel=kernel, bias=bias)
    return layer


def _layer(draw: np.random.Generator, name: str, kind: Kind, *shape: int) -> Layer:
    """Weights large enough that every layer matters to the loss, and a bias that is not nought."""
    taps = float(np.prod(shape[:-2]))
    if kind == "conv_transpose":
        taps /= 4  # of a stride of two, a quarter meets each pixel
    fan_in = taps * shape[-1 if kind == "conv_transpose" else -2]
    outputs = shape[-2 if kind == "conv_transpose" else -1]
    kernel = draw.normal(0, (2 / fan_in) ** 0.5, shape).astype(np.float32)
    return Layer(name, kind, kernel, draw.normal(0, 0.1, outputs).astype(np.float32))
