"""A small frozen classifier of a set's own classes: the eyes that samples are judged with.

It is trained by a command that anyone can run, `morphospace classifier fashion-mnist`, and kept in the per-user cache
under the hash of the images it learned from; the hash of its weights stands beside every figure made with it. Figures
in its features compare spaces of one set with each other. They are no FID: that has the features of an Inception
network trained on ImageNet, and other numbers.

    eyes = classifier_for(images)
    eyes.features(x)            # (N, 64): what distances are taken in
    eyes.probabilities(x)       # (N, classes): its top is how recognisable a picture is
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from morphospace.data.images import Images
from morphospace.data.places import user_cache
from morphospace.seeds import generator, seeded
from morphospace.training.checkpoint import load_tensors, save_tensors
from morphospace.training.feed import to_unit
from morphospace.types import ImageSpec, Progress, RunError, UsageError, silent

__all__ = ["Classifier", "cached", "classifier_for", "train_classifier"]

NAME = "morphospace classifier 2"
"""Of the network and the way it is trained; a change to either is another number."""
FEATURES = 64
EPOCHS, BATCH, RATE = 8, 128, 4e-3
"""Passes over the training images, images per step, AdamW's highest learning rate, which falls in a half cosine."""
LEAST_STEPS = 300
SMOOTHING = 0.05
"""Of the labels (Szegedy et al. 2016), so that probabilities of unlike pictures stay away from one."""
SHIFT = 1
"""Pixels that training images are moved by, at most, in each direction."""


class Network(nn.Module):
    """Three convolutions, means over places, and two linear layers; the features are what lies between these.

    Fine detail is left at once, since a map is looked at a quarter of a million times and a CPU spends its time on
    activations at full size.
    """

    def __init__(self, spec: ImageSpec, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_layer(spec.channels, 32, 5, 2), *_layer(32, 64, 3, 2), *_layer(64, 96, 3, 2)
        )
        # The mean over a 4×4 grid of places: where things are matters in pictures that are all laid out alike.
        self.features = nn.Linear(96 * 16, FEATURES)
        self.head = nn.Linear(FEATURES, classes)
        # Channels last in memory, which convolutions are fastest on.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        return F.relu(self.features(F.adaptive_avg_pool2d(self.body(x), 4).flatten(1)))


def _layer(before: int, after: int, side: int, stride: int) -> list[nn.Module]:
    """A convolution with batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167)."""
    convolution = nn.Conv2d(before, after, side, stride, padding=side // 2, bias=False)
    return [convolution, nn.BatchNorm2d(after), nn.ReLU()]


@dataclass(frozen=True, eq=False)
class Classifier:
    """A trained classifier.

    Attributes:
        network: frozen.
        spec: of the images it takes.
        classes: their names.
        accuracy: on the test images of its set; nan where there were none.
        data: SHA-256 of the images it learned from.
        sha256: of its weights.
    """

    network: Network
    spec: ImageSpec
    classes: tuple[str, ...]
    accuracy: float
    data: str
    sha256: str

    def features(self, x: Float[Tensor, "N C H W"]) -> Float[np.ndarray, "N F"]:
        """What it sees in images with values in [0, 1]; float64."""
        return self._each(x, self.network)

    def probabilities(self, x: Float[Tensor, "N C H W"]) -> Float[np.ndarray, "N classes"]:
        """The probability of each class."""
        return self._each(x, lambda part: self.network.head(self.network(part)).softmax(1))

    @torch.inference_mode()
    def _each(self, x: Tensor, ask: Callable[[Tensor], Tensor]) -> Float[np.ndarray, "N F"]:
        if tuple(x.shape[1:]) != self.spec.shape:
            raise UsageError(
                f"the images have shape {tuple(x.shape)}; this classifier takes {self.spec} images"
            )
        parts = [ask(x[i : i + 500].float().cpu()) for i in range(0, len(x), 500)]
        return np.asarray(torch.cat(parts).double().numpy())


def classifier_for(images: Images, progress: Progress = silent) -> Classifier:
    """The classifier of a set: from the cache, else trained and put there.

    Raises:
        UsageError: for a set without two classes.
    """
    found = cached(images)
    if found is None:
        found = train_classifier(images, progress)
        _remember(found)
    return found


def train_classifier(images: Images, progress: Progress = silent) -> Classifier:
    """Train on the training images; the same images give the same weights (on one machine kind and thread count).

    Raises:
        UsageError: for a set without two classes.
    """
    train = images.train
    if train.labels is None or len(np.unique(train.labels)) < 2:
        raise UsageError(
            "a classifier needs training images of at least two classes; this set has no such labels"
        )
    with seeded(0, NAME, "weights"):
        network = Network(images.spec, len(images.classes))
    steps = max(LEAST_STEPS, EPOCHS * len(train) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.05)
    labels = torch.from_numpy(np.array(train.labels))
    order: list[Tensor] = []
    for step in range(steps):
        draw = generator(0, NAME, step)
        while sum(map(len, order)) < BATCH:
            order.append(torch.randperm(len(train), generator=draw))
        rows, order = _cut(torch.cat(order))
        x = to_unit(torch.from_numpy(np.array(train.pixels[rows.numpy()])))
        loss = F.cross_entropy(
            network.head(network(_moved(x, draw))), labels[rows], label_smoothing=SMOOTHING
        )
        for group in optimizer.param_groups:
            group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        progress("training the classifier", step + 1, steps)
    network.eval().requires_grad_(False)
    made = Classifier(network, images.spec, images.classes, math.nan, images.sha256, _hash(network))
    test = images.test
    if not len(test):
        return made
    right = made.probabilities(to_unit(torch.from_numpy(np.array(test.pixels)))).argmax(1) == test.labels
    return Classifier(**{**made.__dict__, "accuracy": float(right.mean())})


def _cut(order: Tensor) -> tuple[Tensor, list[Tensor]]:
    return order[:BATCH], [order[BATCH:]]


def _moved(x: Tensor, draw: torch.Generator) -> Tensor:
    """A batch moved by up to `SHIFT` pixels, the same way for all of it; what comes in is the edge's."""
    down, right = torch.randint(0, 2 * SHIFT + 1, (2,), generator=draw).tolist()
    wide = F.pad(x, (SHIFT,) * 4, mode="replicate")
    return wide[:, :, down : down + x.shape[2], right : right + x.shape[3]]


def _hash(network: Network) -> str:
    """SHA-256 of the weights, whatever file they lie in."""
    digest = hashlib.sha256(NAME.encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    return digest.hexdigest()


# ---------------------------------------------------------------- the cache


def _place(images_sha256: str) -> Path:
    return user_cache() / "classifiers" / f"{images_sha256[:16]}-{NAME.split()[-1]}.safetensors"


def _remember(made: Classifier) -> None:
    """Keep it, if the cache can be written."""
    about = {
        "name": NAME,
        "shape": made.spec.shape,
        "classes": made.classes,
        "accuracy": made.accuracy if math.isfinite(made.accuracy) else None,
        "data": made.data,
        "sha256": made.sha256,
    }
    try:
        save_tensors(_place(made.data), made.network.state_dict(), {"about": json.dumps(about)})
    except OSError:
        return


def cached(images: Images) -> Classifier | None:
    """The classifier of a set, if the cache has it whole."""
    path = _place(images.sha256)
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            about: dict[str, Any] = json.loads(file.metadata()["about"])
        network = Network(images.spec, len(images.classes))
        network.load_state_dict(load_tensors(path))
        network.eval().requires_grad_(False)
        accuracy = math.nan if about["accuracy"] is None else float(about["accuracy"])
        whole = (about["data"], about["sha256"]) == (images.sha256, _hash(network))
    except (RunError, SafetensorError, RuntimeError, OSError, ValueError, TypeError, LookupError):
        return None  # a damaged one is as good as none: it is trained again
    if not whole:
        return None
    return Classifier(network, images.spec, images.classes, accuracy, about["data"], about["sha256"])
