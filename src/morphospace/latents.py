"""`Latents`: a set of images encoded once; what can be said of them from their places alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from morphospace.types import Progress, silent

__all__ = ["Latents", "Plane", "Prototypes", "at_points", "with_spread"]

MOST_CLUSTERS = 10
"""Clusters in a set without classes, where it has images enough."""


@dataclass(frozen=True)
class Prototypes:
    """One place for each class: the mean latent of its training images; or of each cluster, where there are no classes.

    Attributes:
        names: class names, or "cluster 1", "cluster 2", …
        points: (M, D) places.
        clusters: whether they are clusters that k-means found rather than classes.
    """

    names: tuple[str, ...]
    points: NDArray[np.float32]
    clusters: bool


@dataclass(frozen=True)
class Plane:
    """Two directions to draw a space in: its own axes if it has two, else those of greatest variance.

    Attributes:
        origin: (D,) the mean of the latents.
        axes: (2, D) orthonormal directions.
        shares: the part of the latents' variance along each.
        own: whether the directions are the space's own two dimensions.
    """

    origin: NDArray[np.float32]
    axes: NDArray[np.float32]
    shares: tuple[float, float]
    own: bool

    def project(self, points: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N 2"]:
        """Coordinates of points in the plane."""
        shift = 0.0 if self.own else self.origin
        return np.asarray((points - shift) @ self.axes.T, dtype=np.float32)

    def lift(self, coordinates: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N D"]:
        """Points of the space at coordinates in the plane."""
        shift = 0.0 if self.own else self.origin
        return np.asarray(coordinates @ self.axes + shift, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Latents:
    """The posteriors of N images as arrays, in the images' order.

    Attributes:
        mean: (N, D) posterior means: the embedding.
        scale: (N, D) posterior standard deviations.
        splits: (N,) positions in `morphospace.data.images.SPLITS`.
        labels: (N,) positions in ``classes``, or None.
        classes: class names, empty if there are none.
    """

    mean: Float[np.ndarray, "N D"]
    scale: Float[np.ndarray, "N D"]
    splits: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.mean)

    def take(self, index: NDArray[Any]) -> Latents:
        """Those at ``index``, positions or a mask."""
        return replace(
            self,
            mean=self.mean[index],
            scale=self.scale[index],
            splits=self.splits[index],
            labels=None if self.labels is None else self.labels[index],
        )

    @property
    def train(self) -> Latents:
        return self.take(self.splits == 0)

    @property
    def learned(self) -> Latents:
        """Those of the training images; all of them, where none are for training."""
        return self.train if (self.splits == 0).any() else self

    @property
    def test(self) -> Latents:
        return self.take(self.splits == 2)

    def plane(self) -> Plane:
        """Two directions to draw in."""
        dimensions = self.mean.shape[1]
        origin = self.mean.mean(0, dtype=np.float64)
        centred = self.mean - origin
        variance = float(np.square(centred).sum()) or 1.0
        if dimensions == 2:
            shares = np.square(centred).sum(0) / variance
            return Plane(
                origin.astype(np.float32), np.eye(2, dtype=np.float32), (shares[0], shares[1]), own=True
            )
        _, sizes, directions = np.linalg.svd(centred.T @ centred)
        axes = np.zeros((2, dimensions), dtype=np.float32)
        axes[: len(directions)] = directions[:2]
        # A direction and its opposite are one axis: the larger entry is made positive, so that runs agree.
        axes *= np.sign(axes[np.arange(2), np.abs(axes).argmax(1)] + 1e-12)[:, None]
        shares = np.append(sizes / variance, 0.0)
        return Plane(origin.astype(np.float32), axes, (float(shares[0]), float(shares[1])), own=False)

    def prototypes(self, seed: int = 0) -> Prototypes:
        """The mean training latent of each class; without classes, the centres of k-means clusters, largest first."""
        train = self.learned
        if train.labels is not None:
            present = [c for c in range(len(self.classes)) if (train.labels == c).any()]
            points = np.stack([train.mean[train.labels == c].mean(0, dtype=np.float64) for c in present])
            return Prototypes(
                tuple(self.classes[c] for c in present), points.astype(np.float32), clusters=False
            )
        from sklearn.cluster import KMeans

        distinct = len(np.unique(train.mean, axis=0))
        means = KMeans(min(MOST_CLUSTERS, distinct), n_init=4, random_state=seed).fit(train.mean)
        order = np.argsort(-np.bincount(means.labels_, minlength=len(means.cluster_centers_)), kind="stable")
        names = tuple(f"cluster {i + 1}" for i in range(len(order)))
        return Prototypes(names, means.cluster_centers_[order].astype(np.float32), clusters=True)

    def class_shares(self, points: Float[np.ndarray, "M D"]) -> Float[np.ndarray, "M classes"]:
        """The share of each class in the aggregated posterior at each point: π_c·q_c(z) / Σ π_c·q_c(z).

        q_c is the mean of the encoder's normals over the training images of class c, π_c the part of the images that
        are of it. It is found from logarithms, so that it holds far from all data too.
        """
        if self.labels is None:
            raise ValueError("these latents have no labels")
        train = with_spread(self.learned)
        logs = at_points(points, train.mean, train.scale, train.labels, len(self.classes))
        shares = np.exp(logs - logs.max(1, keepdims=True))
        return np.asarray(shares / shares.sum(1, keepdims=True))


def with_spread(latents: Latents) -> Latents:
    """Latents whose points without spread are normals of Scott's width (1992): the deviation times n^(−1/(D+4)).

    An autoencoder's encoder gives points, whose aggregate has no density; this is then a kernel estimate of one.
    """
    if (latents.scale > 0).all():
        return latents
    kernel = latents.mean.std(0) * len(latents) ** (-1 / (latents.mean.shape[1] + 4))
    scale = np.where(latents.scale > 0, latents.scale, np.maximum(kernel, 1e-6)).astype(np.float32)
    return replace(latents, scale=scale)


def at_points(
    z: Float[np.ndarray, "S D"],
    mean: Float[np.ndarray, "N D"],
    scale: Float[np.ndarray, "N D"],
    groups: NDArray[np.int64] | None = None,
    count: int = 1,
    progress: Progress = silent,
) -> Float[np.ndarray, "S M"]:
    """log π_m·q_m(z) of each group at S points of a space of any dimension, in nats: exact, a sum over all images.

    The logarithm of a normal is a matrix product of (z², z) with what each image knows; the sums are taken relative to
    the largest term, so that they hold far from all data.
    """
    groups = np.zeros(len(mean), dtype=np.int64) if groups is None else groups
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups, minlength=count)
    mean, scale = (part[order].astype(np.float64) for part in (mean, scale))
    precision = scale**-2
    centre = mean.mean(0)  # differences of large squares lose digits; those about the middle are small
    away = mean - centre
    weights = np.concatenate([-0.5 * precision, away * precision], 1).T  # (2D, N)
    constant = -0.5 * (np.square(away) * precision).sum(1) - np.log(scale * math.sqrt(2 * math.pi)).sum(1)
    constant -= math.log(len(mean))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    present = sizes > 0
    found = np.full((len(z), count), -np.inf)
    step = max(1, 2**23 // len(mean))
    for start in range(0, len(z), step):
        some = z[start : start + step].astype(np.float64) - centre
        each = np.concatenate([np.square(some), some], 1) @ weights + constant  # (s, N)
        top = np.maximum.reduceat(
            each, starts[present], axis=1
        )  # (s, groups): each sum relative to its largest term
        each -= np.repeat(top, sizes[present], axis=1)
        mass = np.add.reduceat(np.exp(each, out=each), starts[present], axis=1)
        found[start : start + step, present] = np.log(mass) + top
        progress("densities at points", min(start + step, len(z)), len(z))
    return found
