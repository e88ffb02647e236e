"""Morphs: the pictures on the way from one place of a space to another."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from morphospace.data import read_image
from morphospace.space import Space
from morphospace.types import UnknownName, UsageError

__all__ = ["Morph", "Place", "locate", "morph"]


@dataclass(frozen=True, eq=False)
class Place:
    """A point of the latent space with the name that it was found by.

    Attributes:
        name: the name.
        z: the point.
        label: its class; None where the space is told of none, or none was said.
    """

    name: str
    z: Float[np.ndarray, " D"]
    label: str | None = None


@dataclass(frozen=True, eq=False)
class Morph:
    """The way from one place to another in a straight line.

    Attributes:
        start: where it begins.
        end: where it ends.
        x: (S,) the part of the way, from 0 at ``start`` to 1 at ``end``.
        z: (S, D) the points.
        images: (S, C, H, W) the decoded mean images, values in [0, 1].
        nearest: for each point the class with the largest share of the aggregated posterior there, or the nearest
            cluster in a space without classes; where the decoder is told of classes, the one that it is told most of.
        shares: (S,) that class's share, from 0 to 1, or its weight for a decoder that is told; nan for clusters.
    """

    start: Place
    end: Place
    x: Float[np.ndarray, " S"]
    z: Float[np.ndarray, "S D"]
    images: Float[np.ndarray, "S C H W"]
    nearest: tuple[str, ...]
    shares: Float[np.ndarray, " S"]


def morph(
    space: Space,
    start: str | os.PathLike[str] | ArrayLike | Place,
    end: str | os.PathLike[str] | ArrayLike | Place,
    steps: int = 9,
) -> Morph:
    """Decode ``steps`` points spaced evenly on the line from ``start`` to ``end``, both included.

    Args:
        space: a trained space.
        start: a class name (its mean latent), an image file (its posterior mean), a point (D,), or a `Place`.
        end: likewise.
        steps: how many pictures, at least 2.

    Raises:
        UsageError: for fewer than two steps, or a place that is not one.
        DataError: for a file that cannot be read as an image.
    """
    if steps < 2:
        raise UsageError(f"a morph of {steps} steps was asked for; expected at least 2, the two ends")
    a, b = locate(space, start), locate(space, end)
    x = np.linspace(0, 1, steps)
    z = ((1 - x)[:, None] * a.z + x[:, None] * b.z).astype(np.float32)
    if space.conditional:
        weights = _weights(space, a, b, x)
        best = weights.argmax(1)
        nearest, shares = tuple(space.classes[c] for c in best), weights.max(1).astype(float)
        return Morph(a, b, x, z, space.decode(z, labels=weights).numpy(), nearest, shares)
    nearest, shares = nearest_classes(space, z)
    return Morph(a, b, x, z, space.decode(z).numpy(), nearest, shares)


def _weights(space: Space, a: Place, b: Place, x: Float[np.ndarray, " S"]) -> Float[np.ndarray, "S Y"]:
    """The classes on the way, for a decoder that is told of them: from the one to the other, as z goes."""
    ends = []
    for place in (a, b):
        if place.label is None:
            raise UsageError(
                f"this space is told of classes, and {place.name} has none that it knows; go between classes: "
                f"{', '.join(space.classes)}"
            )
        ends.append(np.eye(len(space.classes), dtype=np.float32)[space.classes.index(place.label)])
    return np.asarray((1 - x)[:, None] * ends[0] + x[:, None] * ends[1], dtype=np.float32)


def locate(space: Space, what: str | os.PathLike[str] | ArrayLike | Place) -> Place:
    """The place that a class name, an image file or a point stands for. A class name wins over a file of that name."""
    if isinstance(what, Place):
        return what
    if not isinstance(what, str | os.PathLike):
        point = np.asarray(what, dtype=np.float32)
        if point.shape != (space.dimensions,):
            raise UsageError(f"the point has shape {point.shape}; this space takes ({space.dimensions},)")
        return Place(f"({', '.join(f'{v:.2f}' for v in point)})", point)
    name, prototypes = os.fspath(what), space.prototypes
    folded = [known.casefold() for known in prototypes.names]
    if name.casefold() in folded:
        row = folded.index(name.casefold())
        label = prototypes.names[row] if space.model.classes else None
        return Place(prototypes.names[row], prototypes.points[row], label)
    if Path(name).is_file():
        pixels = read_image(name, space.spec, space.config["images"]["policy"])
        return Place(Path(name).name, space.encode(pixels[None]).mean[0].numpy())
    raise UnknownName("class or image file", name, prototypes.names)


def nearest_classes(
    space: Space, z: Float[np.ndarray, "S D"]
) -> tuple[tuple[str, ...], Float[np.ndarray, " S"]]:
    """For each point the class that holds the largest share of the aggregated posterior there, and that share."""
    if space.classes:
        shares = space.known_latents().class_shares(z)
        best = shares.argmax(1)
        return tuple(space.classes[c] for c in best), shares.max(1)
    prototypes = space.prototypes
    distances = np.linalg.norm(z[:, None] - prototypes.points[None], axis=2)
    return tuple(prototypes.names[i] for i in distances.argmin(1)), np.full(len(z), np.nan)
