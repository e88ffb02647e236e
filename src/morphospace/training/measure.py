"""The ELBO's two terms over a whole set."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch

from morphospace.model import VAE
from morphospace.seeds import seeded
from morphospace.training.feed import Feed
from morphospace.types import Progress, silent

__all__ = ["Elbo", "chunk_size", "measure"]

CHUNK_VALUES = 2**21
"""Pixel values decoded at once: little enough to stay out of memory's way, enough to keep every core busy."""


@dataclass(frozen=True)
class Elbo:
    """Mean −ELBO, distortion and rate in nats per image, always with β = 1; ``draws`` of z for each image.

    ``accuracy`` is the share of images with labels whose class the model's classifier says; None without one.
    """

    neg_elbo: float
    distortion: float
    rate: float
    draws: int
    images: int
    accuracy: float | None = None

    def to_json(self) -> dict[str, float]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def chunk_size(pixels: int, draws: int = 1) -> int:
    """Images to take at once when each has ``pixels`` values and ``draws`` draws."""
    return max(1, min(2000, CHUNK_VALUES // (pixels * draws)))


@torch.inference_mode()
def measure(
    model: VAE, feed: Feed, draws: int, seed: int, progress: Progress = silent, what: str = "measuring"
) -> Elbo:
    """The mean ELBO terms of ``model`` over the images of ``feed``, each image with its own ``draws`` of z."""
    pixels = 1
    for side in model.encoder.network.input_shape:
        pixels *= side
    chunk = chunk_size(pixels, draws)
    distortion = rate = 0.0
    right = labelled = 0
    training = model.training
    model.eval()
    for start in range(0, len(feed), chunk):
        with seeded(seed, "measure", start):
            some = slice(start, start + chunk)
            trace = model.trace(feed(some), draws, labels=feed.labels_of(some))
        if model.classifier is not None and trace.labels is not None:
            right += int((model.classify(trace.x).argmax(-1) == trace.labels).sum())
            labelled += int((trace.labels >= 0).sum())
        distortion += float(trace.distortion.double().mean(0).sum())
        rate += float(trace.rate.double().mean(0).sum())
        progress(what, min(start + chunk, len(feed)), len(feed))
    model.train(training)
    n = len(feed)
    accuracy = right / labelled if labelled else None
    return Elbo((distortion + rate) / n, distortion / n, rate / n, draws, n, accuracy)
