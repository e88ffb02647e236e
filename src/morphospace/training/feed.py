"""Which images make a batch, and getting them to the device as numbers in [0, 1]."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from morphospace.seeds import generator

__all__ = ["Batches", "Feed", "Incomplete", "Order", "hidden", "some_of_each", "to_unit", "without"]


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
    """uint8 images, kept on the device where they fit, given out as floats in [0, 1].

    Attributes:
        labels: (N,) their classes, on the device, for a model that is told of them; None for any other.
        observed: (N, 1, H, W) bool, on the device, which pixels are known: the others are given out as nan. None: all.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        device: torch.device,
        labels: NDArray[np.int64] | None = None,
        observed: NDArray[np.bool_] | None = None,
    ) -> None:
        self.device = device
        self.observed = None if observed is None else torch.from_numpy(np.array(observed)).to(device)
        self.labels = None if labels is None else torch.from_numpy(np.array(labels)).to(device)
        self._pixels = pixels
        self.resident: Tensor | None = None
        if device.type == "cuda" and pixels.nbytes < 0.5 * torch.cuda.mem_get_info(device)[0]:
            self.resident = torch.from_numpy(np.array(pixels)).to(device)

    def __len__(self) -> int:
        return len(self._pixels)

    def __call__(self, index: Tensor | slice) -> Float[Tensor, "B C H W"]:
        x = to_unit(self.take(index))
        return x if self.observed is None else without(x, self.observed[index])

    def labels_of(self, index: Tensor | slice) -> Int64[Tensor, " B"] | None:
        """The classes of some images, on the device."""
        return None if self.labels is None else self.labels[index]

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

    Attributes:
        labels: (B,) the classes of the images that are staged, if the feed has labels.
    """

    def __init__(self, feed: Feed, order: Order) -> None:
        self.feed, self.order = feed, order
        # Images on the device are picked there by their rows; others are brought as pixels.
        index = order(0)
        self._next = (index if feed.resident is not None else feed.take(index)).clone()
        self._observed = None if feed.observed is None else feed.observed[index].clone()
        self.labels = None if feed.labels is None else feed.labels[index].clone()

    def stage(self, step: int) -> None:
        index = self.order(step)
        self._next.copy_(index if self.feed.resident is not None else self.feed.take(index))
        if self._observed is not None and self.feed.observed is not None:
            self._observed.copy_(self.feed.observed[index])
        if self.labels is not None and self.feed.labels is not None:
            self.labels.copy_(self.feed.labels[index])

    def staged(self) -> Float[Tensor, "B C H W"]:
        if self.feed.resident is not None:
            return self.feed(self._next)
        x = to_unit(self._next)
        return x if self._observed is None else without(x, self._observed)


def without(x: Float[Tensor, "B C H W"], observed: Bool[Tensor, "B 1 H W"]) -> Float[Tensor, "B C H W"]:
    """Images with nan for what was not observed."""
    return x.masked_fill(~observed, torch.nan)


class Incomplete:
    """uint8 images of which some pixels are not known, as floats with nan for those, a slice at a time."""

    def __init__(self, pixels: NDArray[np.uint8], observed: NDArray[np.bool_]) -> None:
        self._feed = Feed(pixels, torch.device("cpu"), observed=observed)
        self.shape = pixels.shape

    def __len__(self) -> int:
        return len(self._feed)

    def __getitem__(self, index: slice) -> Float[Tensor, "B C H W"]:
        return self._feed(index)


def hidden(
    observed: NDArray[np.bool_] | None, shape: tuple[int, ...], part: float, *place: str | int
) -> NDArray[np.bool_]:
    """Which pixels (N, 1, H, W) are observed once each of those known was hidden with probability ``part``.

    An image keeps what it has for as long as its set is the same: it is a function of ``place``, a seed and a name of
    the set, and of its position there.
    """
    seed, *path = place
    drawn = torch.rand(shape, generator=generator(int(seed), *path)).numpy() >= part
    return drawn if observed is None else drawn & observed


def some_of_each(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """The labels of ``count`` images of each class, and −1 for all others; a function of the seed."""
    order = torch.randperm(len(labels), generator=generator(seed, "labelled")).numpy()
    kept = np.full_like(labels, -1)
    for c in np.unique(labels):
        rows = order[labels[order] == c][:count]
        kept[rows] = c
    return kept


def to_unit(pixels: Tensor) -> Float[Tensor, "B C H W"]:
    """uint8 pixels as float32 in [0, 1], channels last in memory, which convolutions are fastest on."""
    return pixels.to(memory_format=torch.channels_last).float().div_(255)
