"""How good an embedding the latent means are: neighbours, clusters and classes, beside PCA of as many dimensions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from morphospace.evaluation.records import Figure, evenly, mean_over_images
from morphospace.types import Progress, silent

__all__ = [
    "Embedded",
    "component_figures",
    "continuity",
    "embedding_figures",
    "knn_accuracy",
    "pca",
    "trustworthiness",
]

NEIGHBOURS = (1, 5, 10)
"""Of the k-NN accuracies."""
AROUND = 5
"""Neighbours of trustworthiness and continuity, as in Sainburg et al. 2021."""
MOST_RANKED = 10_000
"""Images for trustworthiness, continuity and silhouette, which need every pair; Sainburg et al. take as many."""
USED = 0.1
"""The part of an even share of the images from which on a component counts as used."""
RESTARTS = 5
"""Of k-means, each from its own start: the figure's spread."""


@dataclass(frozen=True, eq=False)
class Embedded:
    """Images and where an embedding puts them.

    Attributes:
        train: (N, D) places of training images.
        test: (M, D) places of test images.
        train_labels: (N,) classes.
        test_labels: (M,) classes.
    """

    train: Float[np.ndarray, "N D"]
    test: Float[np.ndarray, "M D"]
    train_labels: Int[np.ndarray, " N"] | None
    test_labels: Int[np.ndarray, " M"] | None


def pca(
    train: Float[np.ndarray, "N P"], test: Float[np.ndarray, "M P"], dimensions: int
) -> tuple[Float[np.ndarray, "N D"], Float[np.ndarray, "M D"]]:
    """The projections on the directions of greatest variance of the training images, exact, in float64 sums."""
    mean = train.mean(0, dtype=np.float64)
    second = np.zeros((train.shape[1], train.shape[1]))
    for start in range(0, len(train), 4096):  # no float64 copy of a whole set
        centred = train[start : start + 4096] - mean
        second += centred.T @ centred
    _, directions = np.linalg.eigh(second)
    axes = directions[:, ::-1][:, :dimensions]
    return (train - mean) @ axes, (test - mean) @ axes


def trustworthiness(
    x: Float[np.ndarray, "N P"], z: Float[np.ndarray, "N D"], k: int = AROUND
) -> Float[np.ndarray, " N"]:
    """For each image, how far the k nearest in z are from being strangers in x; 1 is best.

    The mean over images is the trustworthiness of Venna & Kaski (2001), Neighborhood preservation in nonlinear
    projection methods, eq. 1: each of the k nearest in z that is not among the k nearest in x counts by its rank there.

    Raises:
        ValueError: if k is not below half the number of images, where the measure's scale ends.
    """
    n = len(x)
    if not 0 < k < n / 2:
        raise ValueError(f"{k} neighbours of {n} images; expected fewer than half")
    scale = 2 / (k * (2 * n - 3 * k - 1))
    penalty = np.empty(n)
    size = max(1, 2**24 // n)
    for start in range(0, n, size):
        rows = slice(start, min(start + size, n))
        near = _nearest(z, rows, k)
        away = _squares(x, rows)
        theirs = np.take_along_axis(away, near, 1)
        # The rank of a neighbour is one more than how many others are nearer; the image itself is not counted.
        ranks = np.stack([(away < theirs[:, j : j + 1]).sum(1) for j in range(k)], 1) + 1
        penalty[rows] = np.maximum(ranks - k, 0).sum(1)
    return 1 - scale * penalty


def continuity(
    x: Float[np.ndarray, "N P"], z: Float[np.ndarray, "N D"], k: int = AROUND
) -> Float[np.ndarray, " N"]:
    """For each image, how far the k nearest in x are from being torn away in z; 1 is best (Venna & Kaski, eq. 2)."""
    return trustworthiness(z, x, k)


def _squares(points: Float[np.ndarray, "N P"], rows: slice) -> Float[np.ndarray, "R N"]:
    """Squared distances from some points to all, those to themselves infinite."""
    some = points[rows]
    norms = np.einsum("ij,ij->i", points, points)
    away = norms[rows, None] - 2 * some @ points.T + norms
    away[np.arange(len(some)), np.arange(rows.start, rows.stop)] = np.inf
    return np.asarray(away)


def _nearest(points: Float[np.ndarray, "N P"], rows: slice, k: int) -> NDArray[np.intp]:
    away = _squares(points, rows)
    near: NDArray[np.intp] = np.argpartition(away, k - 1, axis=1)[:, :k]
    return near


def embedding_figures(
    embedded: Embedded,
    train_x: Float[np.ndarray, "N P"],
    prefix: str = "",
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Figure]:
    """All figures of an embedding, each name behind ``prefix``; those of classes only where there are labels.

    k-NN and the linear probe learn from the training images and are scored on the test images; the others are taken on
    training images, as Sainburg, McInnes & Gentner (2021, arXiv:2009.12981) do.
    """
    figures: dict[str, Figure] = {}
    picked = evenly(len(train_x), MOST_RANKED)
    x, z = train_x[picked], embedded.train[picked].astype(np.float64)
    progress(f"embedding quality {prefix}", 0, 3)
    if len(x) > 2 * AROUND:
        for name, measure, words in (
            ("trustworthiness", trustworthiness, "neighbours in z are neighbours in pixels"),
            ("continuity", continuity, "neighbours in pixels are neighbours in z"),
        ):
            definition = f"{name}, k = {AROUND}: {words} (Venna & Kaski 2001); training images"
            figures[prefix + name] = mean_over_images(measure(x.astype(np.float64), z), definition)
    progress(f"embedding quality {prefix}", 1, 3)
    labels, held_out = embedded.train_labels, embedded.test_labels
    if labels is not None and len(np.unique(labels)) > 1:
        figures |= _clusters(embedded.train, labels, prefix, seed)
        progress(f"embedding quality {prefix}", 2, 3)
        if held_out is not None and len(held_out):
            figures |= _classes(embedded, labels, held_out, prefix)
    progress(f"embedding quality {prefix}", 3, 3)
    return figures


def _clusters(
    z: Float[np.ndarray, "N D"], labels: Int[np.ndarray, " N"], prefix: str, seed: int
) -> dict[str, Figure]:
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score, silhouette_samples

    figures = {}
    picked = evenly(len(z), MOST_RANKED)
    few, theirs = z[picked], labels[picked]
    if 1 < len(np.unique(theirs)) < len(theirs):
        definition = "silhouette of the classes (Rousseeuw 1987); training images"
        values = np.asarray(silhouette_samples(few, theirs), dtype=np.float64)
        figures[f"{prefix}silhouette"] = mean_over_images(values, definition)
    count = len(np.unique(labels))
    runs = [KMeans(count, n_init=1, random_state=seed + i).fit(z) for i in range(RESTARTS)]
    scores = [float(normalized_mutual_info_score(labels, run.labels_)) for run in runs]
    best = int(np.argmin([run.inertia_ for run in runs]))
    figures[f"{prefix}kmeans_nmi"] = Figure(
        scores[best],
        f"normalised mutual information of classes and {count} k-means clusters, the tightest of {RESTARTS} starts",
        error=float(np.std(scores, ddof=1)),
        error_is=f"standard deviation over {RESTARTS} starts",
        images=len(z),
    )
    return figures


def _classes(
    embedded: Embedded, labels: Int[np.ndarray, " N"], held_out: Int[np.ndarray, " M"], prefix: str
) -> dict[str, Figure]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    figures = {}
    for k in NEIGHBOURS:
        if k <= len(labels):
            figures[f"{prefix}knn_{k}"] = knn_accuracy(embedded.train, labels, embedded.test, held_out, k)
    scaler = StandardScaler().fit(embedded.train)
    probe = LogisticRegression(max_iter=1000).fit(scaler.transform(embedded.train), labels)
    right = probe.predict(scaler.transform(embedded.test)) == held_out
    figures[f"{prefix}linear_probe"] = accuracy(
        right, "accuracy of a multinomial logistic regression on test images"
    )
    return figures


def component_figures(
    shares: Float[np.ndarray, "N M"], labels: Int[np.ndarray, " N"] | None
) -> dict[str, Figure]:
    """What clusters the components of a mixture prior make: each image is in the one that it most likely comes from.

    Args:
        shares: how likely each image is to come from each component.
        labels: the images' classes, if they have any.
    """
    from sklearn.metrics import normalized_mutual_info_score

    given, (count, components) = shares.argmax(1), shares.shape
    sizes = np.bincount(given, minlength=components) / count
    figures = {
        "components_used": Figure(
            float((sizes >= USED / components).sum()),
            f"components of the prior, of {components}, with at least a tenth of their even share of the images",
            images=count,
            extra={"largest share": float(sizes.max())},
        )
    }
    if labels is not None and len(np.unique(labels)) > 1:
        figures["components_nmi"] = Figure(
            float(normalized_mutual_info_score(labels, given)),
            f"normalised mutual information of classes and the prior's {components} components; training images",
            images=count,
        )
    return figures


def knn_accuracy(
    train: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    test: Float[np.ndarray, "M D"],
    held_out: Int[np.ndarray, " M"],
    k: int,
) -> Figure:
    """How often most of the k nearest training images are of a test image's class."""
    from sklearn.neighbors import KNeighborsClassifier

    right = KNeighborsClassifier(k).fit(train, labels).predict(test) == held_out
    return accuracy(right, f"{k}-NN accuracy on test images")


def accuracy(right: NDArray[np.bool_], definition: str) -> Figure:
    """A share of right answers with its binomial standard error."""
    share, count = float(right.mean()), len(right)
    error = math.sqrt(share * (1 - share) / count)
    return Figure(share, definition, "", error, "binomial standard error", count)
