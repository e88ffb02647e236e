"""What a network is made of, to be told: its layers in order of use, and how many numbers it learns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from morphospace.networks.base import Network

__all__ = ["count_parameters", "layer_table"]


def count_parameters(module: nn.Module) -> int:
    """How many numbers a module learns."""
    return sum(p.numel() for p in module.parameters())


@torch.no_grad()
def layer_table(network: Network) -> list[tuple[str, tuple[int, ...], str]]:
    """Each layer of a network in order of use: its kind, the shape it puts out for one image, and its kernel.

    Found by running the network once on noughts, so that it is what the model does and not what somebody wrote down.
    """
    rows: list[tuple[str, tuple[int, ...], str]] = []

    def note(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        shape = tuple(output.shape[1:])
        if isinstance(layer, nn.Linear) and len(shape) == 3:
            # At each place of a grid; channels are last then.
            shape = (shape[2], *shape[:2])
        rows.append((_kind(layer), shape, _kernel(layer)))

    # Activations are modules in some networks and functions in others, so only layers with weights are told.
    leaves = [m for m in network.modules() if not list(m.children()) and list(m.parameters())]
    training = network.training
    network.eval()  # some parts remember what they are shown in training
    hooks = [leaf.register_forward_hook(note) for leaf in leaves]
    try:
        parameter = next(network.parameters())
        shapes = [network.input_shape, *([(network.classes,)] if network.classes else [])]
        network(*(torch.zeros(1, *s, device=parameter.device, dtype=parameter.dtype) for s in shapes))
    finally:
        for hook in hooks:
            hook.remove()
        network.train(training)
    return rows


def _kind(layer: nn.Module) -> str:
    if isinstance(layer, nn.ConvTranspose2d):
        return "transposed convolution"
    if isinstance(layer, nn.Linear):
        return "dense"
    return "convolution" if isinstance(layer, nn.Conv2d) else type(layer).__name__


def _kernel(layer: nn.Module) -> str:
    if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        return ""
    height, width = layer.kernel_size
    return f"{height}×{width}" + (f", stride {layer.stride[0]}" if layer.stride[0] > 1 else "")
