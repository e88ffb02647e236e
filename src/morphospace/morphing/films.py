"""Morphs: the pictures on the way from one place of a space to another."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from morphospace.atlas import Atlas, make_atlas, read_atlas
from morphospace.latents import with_spread
from morphospace.manifolds import Plane, Sphere
from morphospace.morphing.chart import Chart
from morphospace.morphing.cloud import Cloud
from morphospace.morphing.fields import respaced
from morphospace.morphing.own import Own
from morphospace.morphing.places import Place, class_weights, locate, manifold_of, nearest_classes
from morphospace.morphing.ways import KINDS, POINTS, Ground, Scores, Way, best, scored
from morphospace.space import Space
from morphospace.types import UsageError

if TYPE_CHECKING:
    from morphospace.evaluation.classifier import Classifier

__all__ = ["Morph", "compare", "film", "ground_of", "morph"]


WHY_STRAIGHT = (
    "the decoder of this space is told of classes, and what it draws at a point hangs on what it is told there: it has "
    "straight paths only"
)


@dataclass(frozen=True, eq=False)
class Morph:
    """The way from one place to another.

    Attributes:
        start: where it begins.
        end: where it ends.
        x: (S,) the part of the way, from 0 at ``start`` to 1 at ``end``: of its length in image space, or, of a line
            that is spaced in z, of z.
        z: (S, D) the points.
        images: (S, C, H, W) the decoded mean images, values in [0, 1].
        nearest: for each point the class with the largest share of the aggregated posterior there, or the nearest
            cluster in a space without classes; where the decoder is told of classes, the one that it is told most of.
        shares: (S,) that class's share, from 0 to 1, or its weight for a decoder that is told; nan for clusters.
        path: the kind of the way.
        way: its points and scores; None for a line that is spaced in z.
        why: why it is the best, where the best was asked for.
        others: all ways that were compared, by kind, and in ``refused`` why others could not be.
    """

    start: Place
    end: Place
    x: Float[np.ndarray, " S"]
    z: Float[np.ndarray, "S D"]
    images: Float[np.ndarray, "S C H W"]
    nearest: tuple[str, ...]
    shares: Float[np.ndarray, " S"]
    path: str = "straight"
    way: Way | None = None
    why: str = ""
    others: Mapping[str, Way] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def scores(self) -> Scores | None:
        """Of the way."""
        return None if self.way is None else self.way.scores


def morph(
    space: Space,
    start: str | os.PathLike[str] | ArrayLike | Place,
    end: str | os.PathLike[str] | ArrayLike | Place,
    steps: int = 9,
    path: str = "straight",
    *,
    ground: Ground | None = None,
    even: str = "image",
) -> Morph:
    """Decode ``steps`` points of the way from ``start`` to ``end``, both included, spaced evenly.

    Args:
        space: a trained space.
        start: a class name (its mean latent), an image file (its posterior mean), a point (D,), or a `Place`.
        end: likewise.
        steps: how many pictures, at least 2.
        path: straight, great-circle, geodesic, clear, dense, recognisable; or best, chosen among them by a rule
            (`morphospace.morphing.ways.best`).
        ground: what is known of the space, from `ground_of`; made anew by default, which for a path that needs the map
            of a two-dimensional space takes most of a minute.
        even: "image": steps of equal length in image space, so that a film moves at constant speed; or "z": equal steps
            of the coordinates, for a straight path only.

    Raises:
        UsageError: for fewer than two steps, a place that is not one, or a path that this space has not, in words.
        DataError: for a file that cannot be read as an image.
    """
    if steps < 2:
        raise UsageError(f"a morph of {steps} steps was asked for; expected at least 2, the two ends")
    if even not in ("image", "z"):
        raise UsageError(f"even is '{even}'; expected 'image' or 'z'")
    manifold = manifold_of(space)
    a, b = locate(space, start), locate(space, end)
    if space.conditional:
        return _told(space, a, b, steps, path, even)
    if even == "z":
        if path != "straight" or not isinstance(manifold, Plane):
            raise UsageError("only a straight path through a plane is spaced evenly in z; leave out even='z'")
        z = np.linspace(0, 1, steps)[:, None] * (b.z - a.z) + a.z
        z[-1] = b.z
        return film(space, a, b, z)
    if ground is None:
        ground = ground_of(space, mapped=path != "straight")
    if path == "best":
        found, refused = compare(ground, a, b)
        path, why = best(found)
    else:
        found, refused, why = {path: scored(ground, path, [_ends(a, b)])[0]}, {}, ""
    way = found[path]
    z = respaced(way.z, ground.lengths(way.z[None])[0], steps)
    return film(space, a, b, z, way, why, found, refused)


def _told(space: Space, a: Place, b: Place, steps: int, path: str, even: str) -> Morph:
    """The straight way for a decoder that is told of classes: what it is told changes in step with z."""
    if path != "straight":
        raise UsageError(WHY_STRAIGHT)

    def made(
        x: NDArray[np.float64],
    ) -> tuple[Float[np.ndarray, "S D"], Float[np.ndarray, "S Y"], NDArray[np.float32]]:
        shares = np.stack([1 - x, x], 1)
        z = (shares @ np.stack([a.z, b.z])).astype(np.float32)
        weights = class_weights(space, (a, b), shares)
        return z, weights, space.decode(z, labels=weights).numpy()

    t = np.linspace(0, 1, steps)
    if even == "image":
        dense = np.linspace(0, 1, POINTS)
        images = made(dense)[2].reshape(POINTS, -1)
        lengths = np.linalg.norm(np.diff(images, axis=0), axis=1)
        t = respaced(dense[:, None], lengths, steps)[:, 0]
    z, weights, pictures = made(t)
    nearest = tuple(space.classes[c] for c in weights.argmax(1))
    return Morph(a, b, np.linspace(0, 1, steps), z, pictures, nearest, weights.max(1).astype(float))


def compare(ground: Ground, a: Place, b: Place) -> tuple[dict[str, Way], dict[str, str]]:
    """The ways of every kind between two places, and the reasons of those that there are not."""
    found, refused = {}, {}
    for kind in KINDS:
        try:
            found[kind] = scored(ground, kind, [_ends(a, b)])[0]
        except UsageError as error:
            refused[kind] = str(error)
    if not found:
        raise UsageError(refused["straight"])
    return found, refused


def _ends(a: Place, b: Place) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return a.z.astype(np.float64), b.z.astype(np.float64)


def film(
    space: Space,
    a: Place,
    b: Place,
    z: Float[np.ndarray, "S D"],
    way: Way | None = None,
    why: str = "",
    others: Mapping[str, Way] | None = None,
    refused: Mapping[str, str] | None = None,
) -> Morph:
    """The morph of points that are spaced already."""
    z = z.astype(np.float32)
    nearest, shares = nearest_classes(space, z)
    kind = "straight" if way is None else way.kind
    x = np.linspace(0, 1, len(z))
    images = space.decode(z).numpy()
    return Morph(a, b, x, z, images, nearest, shares, kind, way, why, others or {}, refused or {})


# ---------------------------------------------------------------- what is known of a space


def ground_of(
    space: Space,
    atlas: Atlas | None = None,
    classifier: Classifier | None = None,
    *,
    mapped: bool = True,
) -> Ground:
    """What ways through a space need to know of it.

    Args:
        space: trained.
        atlas: of a space of two dimensions, with its metric; by default the one in the run's folder, or else made.
        classifier: of the run's images, for spaces of more dimensions, where no atlas holds what it sees.
        mapped: whether a space of two dimensions is to be mapped; without a map there are straight paths only, and
            nothing is known of holes.

    Raises:
        UsageError: for a space between whose points nothing lies, or whose decoder is told of classes.
    """
    manifold = manifold_of(space)
    if space.conditional:
        raise UsageError(WHY_STRAIGHT)

    def decode(z: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N C H W"]:
        return space.decode(np.asarray(z, dtype=np.float32)).numpy()

    def name(z: NDArray[np.float64]) -> Sequence[str]:
        return nearest_classes(space, z.astype(np.float32))[0]

    if not isinstance(manifold, Plane):
        kinds = ("straight", "great-circle") if isinstance(manifold, Sphere) else ("straight",)
        what = "sphere" if isinstance(manifold, Sphere) else "Poincaré ball"
        return Own(
            manifold,
            decode,
            name,
            kinds,
            f"its points are those of a {what}, whose own geodesic is 'straight'",
        )
    if space.dimensions == 1:
        return Own(
            manifold, decode, name, ("straight",), "in one dimension there is one way between two points"
        )
    if not mapped:
        return Own(manifold, decode, name, ("straight",), "its map was not asked for")
    if space.dimensions == 2:
        if atlas is None and space.folder is not None:
            atlas = read_atlas(space.folder)
        if atlas is None or atlas.metric is None:
            atlas = make_atlas(space, parts=("metric",))
        return Chart(atlas, decode)
    return _cloud(space, decode, classifier)


def _cloud(space: Space, decode: object, classifier: Classifier | None) -> Cloud:
    latents = space.known_latents()
    train = with_spread(latents.learned)
    model = space.model
    device = next(model.parameters()).device
    with torch.inference_mode():
        prior = model.prior_of()

    def log_prior(z: NDArray[np.float64]) -> NDArray[np.float64]:
        with torch.inference_mode():
            found: NDArray[np.float64] = (
                prior.log_prob(torch.from_numpy(z).float().to(device)).double().cpu().numpy()
            )
        return found

    def see(images: Tensor) -> Tensor:
        assert classifier is not None
        seen: Tensor = classifier.network.head(
            classifier.network(images.view(-1, *space.spec.shape))
        ).softmax(1)
        return seen

    try:
        log_prior(train.mean[:1].astype(np.float64))
        density = log_prior
    except (NotImplementedError, UsageError):
        density = None  # such as a second VAE's, which can be drawn from and has no density
    return Cloud(
        decode,  # type: ignore[arg-type]
        lambda z: model.decode(z.to(device)).cpu(),
        train.mean,
        train.scale,
        train.labels,
        space.classes if train.labels is not None else (),
        density,
        None if classifier is None else see,
    )
