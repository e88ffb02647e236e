"""PyTorch as one would write it: the study's network in torch's own layers, and a plain loop.

Two variants: ``float32`` is the loop in its plainest form; ``bfloat16`` is what torch's manual recommends for speed on
a CPU, autocast to bfloat16 with channels-last memory, and a fused optimizer.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.machine import peak_memory
from benchmarks.session import Line, Pacer
from benchmarks.study import BATCH, images, torch_weights

__all__ = ["Decoder", "Encoder", "flops_per_image", "load_weights", "parameters", "train"]


class Encoder(nn.Module):
    """The study's encoder: (N, 1, 28, 28) -> mean and log-variance, (N, 2) each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 14)
        self.conv2 = nn.Conv2d(32, 64, 6)
        self.dense1 = nn.Linear(10 * 10 * 64, 168)
        self.dense2 = nn.Linear(168, 16)
        self.heads = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = F.relu(self.conv2(F.relu(self.conv1(x))))
        h = h.permute(0, 2, 3, 1).flatten(1)  # channels last, as Keras flattens
        mean, log_variance = self.heads(F.relu(self.dense2(F.relu(self.dense1(h))))).chunk(2, dim=1)
        return mean, log_variance


class Decoder(nn.Module):
    """The study's decoder: (N, 2) -> logits (N, 1, 28, 28), the usual way in torch.

    ``padding=1, output_padding=1`` drops the first row and column of a transposed convolution, where TensorFlow's
    ``same`` drops the last: this is the study's network for pictures turned round. Cropping by hand would cost copies.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(2, 7 * 7 * 128)
        self.deconv1 = nn.ConvTranspose2d(128, 128, 3, stride=2, padding=1, output_padding=1)
        self.deconv2 = nn.ConvTranspose2d(128, 32, 3, stride=2, padding=1, output_padding=1)
        self.deconv3 = nn.ConvTranspose2d(32, 1, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = F.relu(self.dense(z)).reshape(-1, 7, 7, 128).permute(0, 3, 1, 2)
        logits: Tensor = self.deconv3(F.relu(self.deconv2(F.relu(self.deconv1(h)))))
        return logits


def loss_of(encoder: Encoder, decoder: Decoder, x: Tensor, *, rough: bool = False) -> Tensor:
    """−ELBO in nats per image: cross-entropy and divergence, summed over an image, mean over the batch."""
    with torch.autocast("cpu", torch.bfloat16) if rough else nullcontext():
        mean, log_variance = encoder(x)
        mean, log_variance = mean.float(), log_variance.float()
        logits = decoder(mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)).float()
    distortion = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    rate = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum() / len(x)
    return distortion + rate


def load_weights(encoder: nn.Module, decoder: nn.Module) -> None:
    """Give both the weights that all subjects are compared with, for pictures that are turned round."""
    for network, state in zip((encoder, decoder), torch_weights(mirrored=True).values(), strict=True):
        network.load_state_dict({name: torch.tensor(value) for name, value in state.items()})


def parameters(encoder: nn.Module, decoder: nn.Module) -> dict[str, int]:
    """How many numbers each learns."""
    return {
        name: sum(p.numel() for p in network.parameters())
        for name, network in (("encoder", encoder), ("decoder", decoder))
    }


def unit_images(source: dict[str, Any]) -> Tensor:
    """The training images as float32 in [0, 1], all in memory."""
    return torch.from_numpy(images(source).train.pixels.copy()).float().div_(255)


def train(line: Line, source: dict[str, Any], variant: str = "float32", seed: int = 0) -> None:
    """Train for as long as the line asks for it."""
    imported = time.monotonic()
    rough = variant == "bfloat16"
    x = unit_images(source)
    loaded = time.monotonic()
    torch.manual_seed(seed)
    encoder, decoder = Encoder(), Decoder()
    check = _check(x[:BATCH], rough=rough)
    if rough:
        for network in (encoder, decoder):
            network.to(memory_format=torch.channels_last)
    weights = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(weights, lr=1e-3, eps=1e-7, fused=rough or None)

    def about() -> dict[str, Any]:
        how = "autocast to bfloat16, channels last, fused Adam" if rough else "float32"
        return {
            "imported": imported,
            "loaded": loaded,
            "threads": torch.get_num_threads(),
            "how": how,
            "batch": BATCH,
            "parameters": parameters(encoder, decoder),
            "loss": check,
        }

    pacer = Pacer(line, about, {"memory": lambda: {"mib": peak_memory()}})
    while True:
        for index in torch.randperm(len(x)).split(BATCH):
            if len(index) == BATCH:
                optimizer.zero_grad()
                loss_of(encoder, decoder, x[index], rough=rough).backward()
                optimizer.step()
                pacer.step_done()


def _check(x: Tensor, *, rough: bool) -> float:
    encoder, decoder = Encoder(), Decoder()
    load_weights(encoder, decoder)
    with torch.no_grad():
        return float(loss_of(encoder, decoder, x.flip(2, 3), rough=rough))


def flops_per_image() -> float:
    """Floating-point operations of one training step for each image of it, a product and a sum counted as two."""
    from torch.utils.flop_counter import FlopCounterMode

    encoder, decoder = Encoder(), Decoder()
    with FlopCounterMode(display=False) as counter:
        loss_of(encoder, decoder, torch.rand(BATCH, 1, 28, 28)).backward()
    return counter.get_total_flops() / BATCH
