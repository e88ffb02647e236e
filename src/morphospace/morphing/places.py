"""Places of a space by name: classes, image files, points; which kind of ground they stand on; what they are near."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

from morphospace.data import read_image
from morphospace.manifolds import Manifold, Plane
from morphospace.space import Space
from morphospace.types import UnknownName, UsageError

__all__ = [
    "Place",
    "class_place",
    "class_weights",
    "intrinsic_mean",
    "locate",
    "manifold_of",
    "nearest_classes",
]

MOST_AVERAGED = 4_000
"""Points that the intrinsic mean of a sphere or ball is taken of, at most, evenly spaced ones."""
ROUNDS = 100


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


def manifold_of(space: Space) -> Manifold:
    """The manifold that the points of a space are of.

    Raises:
        UsageError: for a space between whose points nothing lies: of categories, of code words.
    """
    family = space.model.encoder.family
    if family.manifold is None:
        raise UsageError(
            f"the points of this space ({type(family).__name__}) are choices among categories or code words: nothing "
            "lies between two of them, so there is no way from one to the other; train with a posterior over numbers, "
            "such as that of 'vae'"
        )
    return family.manifold


def locate(space: Space, what: str | os.PathLike[str] | ArrayLike | Place) -> Place:
    """The place that a class name, an image file or a point stands for. A class name wins over a file of that name.

    Raises:
        UnknownName: for a text that is neither.
        UsageError: for a point of another dimension.
        DataError: for a file that cannot be read as an image.
    """
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
        return Place(prototypes.names[row], class_place(space, row), label)
    if Path(name).is_file():
        if space.model.encoder.classes:
            raise UsageError(
                f"the encoder of this space is told the class of each image, which {name} does not say; expected the "
                f"name of a class, such as {prototypes.names[0]}"
            )
        pixels = read_image(name, space.spec, space.config["images"]["policy"])
        return Place(Path(name).name, space.encode(pixels[None]).mean[0].numpy())
    raise UnknownName("class or image file", name, prototypes.names)


def class_place(space: Space, row: int) -> Float[np.ndarray, " D"]:
    """The mean latent of a class, within the manifold that the space is of."""
    manifold, prototypes = manifold_of(space), space.prototypes
    if isinstance(manifold, Plane):
        return np.asarray(prototypes.points[row])
    latents = space.known_latents()
    train = latents.learned
    if prototypes.clusters or train.labels is None:
        members = train.mean[np.linalg.norm(train.mean - prototypes.points[row], axis=1).argsort()[:100]]
    else:
        members = train.mean[train.labels == space.classes.index(prototypes.names[row])]
    return intrinsic_mean(manifold, members)


def intrinsic_mean(
    manifold: Manifold,
    points: Float[np.ndarray, "N D"],
    weights: Float[np.ndarray, " N"] | None = None,
) -> Float[np.ndarray, " D"]:
    """The point with the least weighted sum of squared distances along the manifold (Fréchet 1948; Karcher 1977).

    Found by steps to the mean of the logarithms, from the point that is nearest to the mean of coordinates.
    """
    if isinstance(manifold, Plane):
        return np.asarray(np.average(np.asarray(points, np.float64), 0, weights), dtype=np.float32)
    every = np.unique(np.linspace(0, len(points) - 1, min(len(points), MOST_AVERAGED)).round().astype(int))
    y = torch.from_numpy(np.asarray(points, dtype=np.float64)[every])
    w = torch.ones(len(y), dtype=y.dtype) if weights is None else torch.from_numpy(np.array(weights)[every])
    w = (w / w.sum())[:, None]
    x = y[((w * y).sum(0) - y).square().sum(1).argmin()]
    for _ in range(ROUNDS):
        step = (w * manifold.log(x, y)).sum(0)
        x = manifold.exp(x, step)
        if float(step.abs().max()) < 1e-9:
            break
    return np.asarray(x.numpy(), dtype=np.float32)


def class_weights(
    space: Space, places: Sequence[Place], shares: Float[np.ndarray, "S N"]
) -> Float[np.ndarray, "S Y"]:
    """What a decoder that is told of classes is told at mixtures of places: the same mixtures of their classes.

    Raises:
        UsageError: for a place whose class is not known.
    """
    ends = np.zeros((len(places), len(space.classes)))
    for row, place in enumerate(places):
        if place.label is None:
            raise UsageError(
                f"this space is told of classes, and {place.name} has none that it knows; go between classes: "
                f"{', '.join(space.classes)}"
            )
        ends[row, space.classes.index(place.label)] = 1
    return np.asarray(shares @ ends, dtype=np.float32)


def nearest_classes(
    space: Space, z: Float[np.ndarray, "S D"]
) -> tuple[tuple[str, ...], Float[np.ndarray, " S"]]:
    """For each point the class that holds the largest share of the aggregated posterior there, and that share.

    In a space without classes, and in one that is no plane, it is the class or cluster whose place is nearest along the
    space's own manifold, and the shares are nan.
    """
    manifold, names = manifold_of(space), space.prototypes.names
    if space.classes and isinstance(manifold, Plane):
        shares = space.known_latents().class_shares(z)
        best = shares.argmax(1)
        return tuple(space.classes[c] for c in best), shares.max(1)
    places = np.stack([class_place(space, row) for row in range(len(names))])
    apart: NDArray[np.float64] = manifold.distance(
        torch.from_numpy(np.asarray(z, np.float64))[:, None], torch.from_numpy(places.astype(np.float64))
    ).numpy()
    return tuple(names[i] for i in apart.argmin(1)), np.full(len(z), np.nan)
