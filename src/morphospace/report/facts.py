"""What a report is about, and what several of its sections need, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from morphospace.atlas import make_atlas, read_atlas
from morphospace.data.images import Images
from morphospace.evaluation.classifier import cached
from morphospace.fitting import encode_own
from morphospace.latents import Latents, Plane, Prototypes
from morphospace.morphing.chart import Chart
from morphospace.space import Space
from morphospace.training.feed import to_unit, without
from morphospace.training.loop import read_metrics
from morphospace.training.measure import chunk_size
from morphospace.types import Progress, RunError, UsageError, silent

__all__ = ["Facts", "gather", "means_by", "unit"]

MOST_COMPARED = 10_000
"""Images among which the worst reconstruction is looked for: all of a common test set, evenly spaced ones of more."""

CELLS = 160
"""Along each side of the map that paths are found on."""


@dataclass(frozen=True, eq=False)
class Facts:
    """A space, the images that it was made from, and their latents.

    Attributes:
        space: the trained space.
        images: all images of the run.
        latents: of ``images``, in their order.
        metrics: the lines of ``metrics.jsonl``; empty if the run has none.
        progress: told of what takes long.
    """

    space: Space
    images: Images
    latents: Latents
    metrics: list[dict[str, Any]]
    progress: Progress

    @cached_property
    def train(self) -> NDArray[np.intp]:
        """Positions of the training images."""
        return np.flatnonzero(self.images.splits == 0)

    @cached_property
    def prototypes(self) -> Prototypes:
        return self.space.prototypes

    @cached_property
    def plane(self) -> Plane:
        return self.latents.train.plane()

    @cached_property
    def chart(self) -> Chart | None:
        """The map of a space of two dimensions, on which the best paths are found; None of others, and of those whose
        decoder is told of classes.

        It is the one in the run's folder, or else a coarser one, with what a classifier makes of it where the cache has
        a classifier of these images.
        """
        stored = None if self.space.folder is None else read_atlas(self.space.folder)
        if stored is not None and stored.metric is not None:
            return Chart(stored, self.decode)
        known = len(self.space.classes) > 1 and cached(self.images) is not None
        parts = ("metric", "recognition") if known else ("metric",)
        try:
            made = make_atlas(self.space, self.images, parts=parts, cells=CELLS, progress=self.progress)
        except UsageError:
            return None
        return Chart(made, self.decode)

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """For each training image the position of its class, or nearest cluster, in ``prototypes.names``."""
        z, names = self.latents.mean[self.train], self.prototypes.names
        if self.prototypes.clusters or self.latents.labels is None:
            return nearest(z, self.prototypes.points)
        row = {name: i for i, name in enumerate(names)}
        of_class = np.array([row.get(name, -1) for name in self.latents.classes])
        return of_class[self.latents.labels[self.train]]

    @cached_property
    def shown_split(self) -> tuple[str, NDArray[np.intp]]:
        """Where reconstructions are shown: the test images, or the training images where there are no others."""
        for name, position in (("test", 2), ("validation", 1)):
            found = np.flatnonzero(self.images.splits == position)
            if len(found):
                return name, found
        return "training", self.train

    @cached_property
    def compared(self) -> tuple[NDArray[np.intp], Float[np.ndarray, " N"]]:
        """Positions of at most `MOST_COMPARED` of the shown split, and −log p(x given its mean z) of each, in nats."""
        _, index = self.shown_split
        if len(index) > MOST_COMPARED:
            index = index[np.linspace(0, len(index) - 1, MOST_COMPARED).round().astype(int)]
        return index, self._distortion(index)

    @torch.inference_mode()
    def _distortion(self, index: NDArray[np.intp]) -> Float[np.ndarray, " N"]:
        decoder = self.space.model.decoder
        device = next(decoder.parameters()).device
        size, parts = chunk_size(self.space.spec.pixels), []
        for start in range(0, len(index), size):
            rows = index[start : start + size]
            x = to_unit(torch.from_numpy(np.array(self.images.pixels[rows])).to(device))
            if self.images.observed is not None:
                x = without(x, torch.from_numpy(self.images.observed[rows]).to(device))
            labels = self.labels(rows)
            y = None if labels is None else torch.from_numpy(labels).to(device)
            parts.append(-decoder(torch.from_numpy(self.latents.mean[rows]).to(device), y).log_prob(x).cpu())
            self.progress("comparing reconstructions", min(start + size, len(index)), len(index))
        return torch.cat(parts).double().numpy()

    def labels(self, index: NDArray[np.intp]) -> NDArray[np.int64] | None:
        """The classes of images, for a decoder that is told of them; None for any other."""
        labels = self.latents.labels if self.space.conditional else None
        return None if labels is None else labels[index]

    def decode(
        self, z: Float[np.ndarray, "N D"], labels: NDArray[np.int64] | None = None
    ) -> Float[np.ndarray, "N C H W"]:
        return self.space.decode(z.astype(np.float32), labels=labels).numpy()


def gather(space: Space, images: Images, progress: Progress = silent) -> Facts:
    """The facts of a run; its images are encoded anew if its cache of latents is gone.

    Raises:
        RunError: if the images are not those of the run.
    """
    expected = space.config["images"]["sha256"]
    if images.sha256 != expected:
        raise RunError(
            f"the images are not those that {space.folder} was made from (content hash {images.sha256[:12]}…, "
            f"expected {expected[:12]}…); bring the same images"
        )
    assert space.folder is not None
    if space.latents is None:
        space.latents = encode_own(space, images, progress)
        space.save_latents(space.folder)
    return Facts(space, images, space.latents, read_metrics(space.folder), progress)


def nearest(z: Float[np.ndarray, "N D"], points: Float[np.ndarray, "M D"]) -> NDArray[np.int64]:
    """The position of the nearest of ``points`` to each z."""
    # |z − p|² without |z|², which is the same for all p: no (N, M, D) array.
    away = np.square(points).sum(1) - 2 * (z @ points.T)
    return np.asarray(away.argmin(1), dtype=np.int64)


def means_by(
    images: Images, index: NDArray[np.intp], groups: NDArray[np.int64], count: int
) -> Float[np.ndarray, "M C H W"]:
    """The mean pixels of each group of the images at ``index``, values in [0, 1]."""
    sums = np.zeros((count, images.spec.pixels))
    for start in range(0, len(index), 4096):
        rows = slice(start, start + 4096)
        pixels = images.pixels[index[rows]].reshape(-1, images.spec.pixels).astype(np.float32)
        member = (groups[rows][None] == np.arange(count)[:, None]).astype(np.float32)
        sums += member @ pixels
    sizes = np.bincount(groups[groups >= 0], minlength=count)[:, None]
    return (sums / np.maximum(sizes, 1) / 255).reshape(count, *images.spec.shape)


def unit(images: Images, index: NDArray[np.intp]) -> Float[np.ndarray, "N C H W"]:
    """The pixels at ``index`` as values in [0, 1]."""
    return images.pixels[index].astype(np.float32) / 255
