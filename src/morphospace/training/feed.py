"""Which images make a batch, and getting them to the device as numbers in [0, 1]."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from morphospace.seeds import generator

__all__ = ["Batches", "Feed", "Order", "to_unit"]


class Order:
    """An endless stream of images: one permutation after another, each a function of (seed, epoch).

    Step s takes positions s·B to (s+1)·B of the stream, so every batch is full, no image is left out, and any step's
    batch can be told without those before it.
    """

    def __init__(self, count: int, batch: int, seed: int, device: torch.device | str = "cpu") -> None:
        self.count, self.batch, self.seed, self.device = count, batch, seed, device
        self._known: dict[int, Tensor] = {}

    def __call__(self, step: int) -> Int64[Tensor, " B"]:
        """Indices of the images in the batch of ``step``; an epoch's permutation goes to the device once."""
        start, stop = step * self.batch, (step + 1) * self.batch
        first, last = start // self.count, (stop - 1) // self.count
        epochs = range(first, last + 1)
        self._known = {e: self._known[e] if e in self._known else self._permutation(e) for e in epochs}
        stream = torch.cat([self._known[e] for e in epochs]) if last > first else self._known[first]
        return stream[start - first * self.count : stop - first * self.count]

    def _permutation(self, epoch: int) -> Tensor:
        return torch.randperm(self.count, generator=generator(self.seed, "order", epoch)).to(self.device)


class Feed:
    """uint8 images, kept on the device where they fit, given out as floats in [0, 1]."""

    def __init__(self, pixels: NDArray[np.uint8], device: torch.device) -> None:
        self.device = device
        self._pixels = pixels
        self.resident: Tensor | None = None
        if device.type == "cuda" and pixels.nbytes < 0.5 * torch.cuda.mem_get_info(device)[0]:
            self.resident = torch.from_numpy(np.array(pixels)).to(device)

    def __len__(self) -> int:
        return len(self._pixels)

    def __call__(self, index: Tensor | slice) -> Float[Tensor, "B C H W"]:
        return to_unit(self.take(index))

    def take(self, index: Tensor | slice) -> UInt8[Tensor, "B C H W"]:
        """The pixels of some images, on the device."""
        if self.resident is not None:
            return self.resident[index]
        # A copy: torch refuses memory that it may not write to, and a memory map is such.
        rows = index.numpy(force=True) if isinstance(index, Tensor) else index
        return torch.from_numpy(np.array(self._pixels[rows])).to(self.device)


class Batches:
    """The images of one step after another, at a place in memory that stays: a captured step reads them there.

    ``stage`` fetches those of a step, and `staged` gives them as numbers, which is all that the step itself does.
    """

    def __init__(self, feed: Feed, order: Order) -> None:
        self.feed, self.order = feed, order
        # Images on the device are picked there by their rows; others are brought as pixels.
        index = order(0)
        self._next = (index if feed.resident is not None else feed.take(index)).clone()

    def stage(self, step: int) -> None:
        index = self.order(step)
        self._next.copy_(index if self.feed.resident is not None else self.feed.take(index))

    def staged(self) -> Float[Tensor, "B C H W"]:
        return to_unit(self._next) if self.feed.resident is None else self.feed(self._next)


def to_unit(pixels: Tensor) -> Float[Tensor, "B C H W"]:
    """uint8 pixels as float32 in [0, 1], channels last in memory, which convolutions are fastest on."""
    return pixels.to(memory_format=torch.channels_last).float().div_(255)
