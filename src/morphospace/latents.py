"""`Latents`: a set of images encoded once; what can be said of them from their places alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

__all__ = ["Latents", "Plane", "Prototypes"]

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
        train = self.train if (self.splits == 0).any() else self
        if train.labels is not None:
            present = [c for c in range(len(self.classes)) if (train.labels == c).any()]
            points = np.stack([train.mean[train.labels == c].mean(0) for c in present])
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
        are of it. Computed from logarithms, so that it holds far from all data too. Where an image is a point without
        spread, its normal is a kernel of Scott's width (1992): the latents' deviation times n^(−1/(D+4)).
        """
        if self.labels is None:
            raise ValueError("these latents have no labels")
        train = self.train if (self.splits == 0).any() else self
        assert train.labels is not None
        kernel = train.mean.std(0) * len(train) ** (-1 / (train.mean.shape[1] + 4))
        scale = np.where(train.scale > 0, train.scale, np.maximum(kernel, 1e-6))
        shares = np.empty((len(points), len(self.classes)))
        for row, point in enumerate(points):
            parts = -0.5 * np.square((point - train.mean) / scale) - np.log(scale)
            log_q = parts.sum(1, dtype=np.float64)
            top = log_q.max()
            mass = np.bincount(train.labels, weights=np.exp(log_q - top), minlength=len(self.classes))
            shares[row] = mass / mass.sum()
        return shares
