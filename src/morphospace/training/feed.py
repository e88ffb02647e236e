"""Which images make a batch, and getting them to the device as numbers in [0, 1]."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from morphospace.seeds import generator

__all__ = ["Feed", "Order", "to_unit"]


class Order:
    """An endless stream of images: one permutation after another, each a function of (seed, epoch).

    Step s takes positions s·B to (s+1)·B of the stream, so every batch is full, no image is left out, and any step's
    batch can be told without those before it.
    """

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self.count, self.batch, self.seed = count, batch, seed
        self._known: dict[int, NDArray[np.int64]] = {}

    def __call__(self, step: int) -> NDArray[np.int64]:
        """Indices of the images in the batch of ``step``."""
        start, stop = step * self.batch, (step + 1) * self.batch
        first, last = start // self.count, (stop - 1) // self.count
        epochs = range(first, last + 1)
        self._known = {e: self._known[e] if e in self._known else self._permutation(e) for e in epochs}
        stream = np.concatenate([self._known[e] for e in epochs])
        return stream[start - first * self.count : stop - first * self.count]

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        permutation: NDArray[np.int64] = torch.randperm(
            self.count, generator=generator(self.seed, "order", epoch)
        ).numpy()
        return permutation


class Feed:
    """uint8 images, kept on the device where they fit, given out as floats in [0, 1]."""

    def __init__(self, pixels: NDArray[np.uint8], device: torch.device) -> None:
        self.device = device
        self._pixels = pixels
        self._resident: Tensor | None = None
        if device.type == "cuda" and pixels.nbytes < 0.5 * torch.cuda.mem_get_info(device)[0]:
            self._resident = torch.from_numpy(np.array(pixels)).to(device)

    def __len__(self) -> int:
        return len(self._pixels)

    def __call__(self, index: NDArray[np.int64] | slice) -> Float[Tensor, "B C H W"]:
        if self._resident is not None:
            rows = index if isinstance(index, slice) else torch.from_numpy(index).to(self.device)
            return to_unit(self._resident[rows])
        # A copy: torch refuses memory that it may not write to, and a memory map is such.
        return to_unit(torch.from_numpy(np.array(self._pixels[index])).to(self.device))


def to_unit(pixels: Tensor) -> Float[Tensor, "B C H W"]:
    """uint8 pixels as float32 in [0, 1], channels last in memory, which convolutions are fastest on."""
    return pixels.to(memory_format=torch.channels_last).float().div_(255)
