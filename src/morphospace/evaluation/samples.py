"""How good samples are, in the features of a frozen classifier; and whether they are copies of training images.

Every measure compares the features of N samples with those of M test images. They depend on the classifier (whose hash
is recorded) and on N and M, so they compare spaces of one set, and are given beside the same measure between training
and test images: what images of the very distribution reach.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from morphospace.evaluation.records import Figure
from morphospace.types import Progress, silent

__all__ = [
    "Manifold",
    "distance_to_nearest",
    "frechet_distance",
    "manifold_measures",
    "memorisation_figures",
    "sample_figures",
]

PRECISION_K = 3
"""Neighbours of precision and recall (Kynkäänniemi et al. 2019, section 3)."""
COVERAGE_K = 5
"""Neighbours of density and coverage (Naeem et al. 2020, section 3.3)."""
PARTS = 5
"""Into which samples are cut to tell how far a figure would differ with other samples."""


def frechet_distance(a: Float[np.ndarray, "N F"], b: Float[np.ndarray, "M F"]) -> float:
    """|μ_a − μ_b|² + tr(Σ_a + Σ_b − 2(Σ_a Σ_b)^½): the squared 2-Wasserstein distance of the fitted normals.

    Dowson & Landau (1982), The Fréchet distance between multivariate normal distributions. The trace of the root is
    that of the symmetric (Σ_a^½ Σ_b Σ_a^½)^½, whose eigenvalues are those of Σ_a Σ_b, negative by rounding alone.
    """
    mean = float(np.square(a.mean(0) - b.mean(0)).sum())
    cov_a, cov_b = (np.atleast_2d(np.cov(each, rowvar=False)) for each in (a, b))
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ cov_b @ root)
    return mean + float(np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(np.maximum(product, 0)).sum())


@dataclass(frozen=True)
class Manifold:
    """How samples lie among images: precision, recall (Kynkäänniemi et al. 2019, arXiv:1904.06991), density, coverage
    (Naeem et al. 2020, arXiv:2002.09797).
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifold_measures(real: Float[np.ndarray, "M F"], fake: Float[np.ndarray, "N F"]) -> Manifold:
    """The four measures; a ball around each point reaches to its k-th neighbour of the same set.

    Precision: samples within a ball of an image (k = 3). Recall: images within a ball of a sample. Density: how many
    image balls (k = 5) a sample lies in, over k. Coverage: images whose ball holds a sample.
    """
    most = max(PRECISION_K, COVERAGE_K)
    if min(len(real), len(fake)) <= most:
        raise ValueError(f"{len(real)} images and {len(fake)} samples; expected more than {most} of each")
    real_radii, fake_radii = _radii(real), _radii(fake)
    precise = np.zeros(len(fake), dtype=bool)
    dense = np.zeros(len(fake))
    recalled = np.zeros(len(real), dtype=bool)
    covered = np.zeros(len(real), dtype=bool)
    size = max(1, 2**23 // len(real))
    for start in range(0, len(fake), size):
        rows = slice(start, start + size)
        away = _squares(fake[rows], real)  # (samples, images)
        precise[rows] = (away <= real_radii[PRECISION_K]).any(1)
        within = away <= real_radii[COVERAGE_K]
        dense[rows] = within.sum(1) / COVERAGE_K
        covered |= within.any(0)
        recalled |= (away <= fake_radii[PRECISION_K][rows, None]).any(0)
    return Manifold(float(precise.mean()), float(recalled.mean()), float(dense.mean()), float(covered.mean()))


def _squares(a: Float[np.ndarray, "N F"], b: Float[np.ndarray, "M F"]) -> Float[np.ndarray, "N M"]:
    """Squared distances, never below nought."""
    found = np.einsum("ij,ij->i", a, a)[:, None] - 2 * a @ b.T + np.einsum("ij,ij->i", b, b)
    return np.asarray(np.maximum(found, 0))


def _radii(points: Float[np.ndarray, "N F"]) -> dict[int, Float[np.ndarray, " N"]]:
    """The squared distance of each point to its k-th other point, for the two k."""
    radii = {k: np.empty(len(points)) for k in (PRECISION_K, COVERAGE_K)}
    size = max(1, 2**23 // len(points))
    for start in range(0, len(points), size):
        rows = slice(start, start + size)
        away = np.partition(_squares(points[rows], points), (PRECISION_K, COVERAGE_K), axis=1)
        for k, found in radii.items():
            found[rows] = away[:, k]  # position 0 is the point itself
    return radii


def sample_figures(
    fake: Float[np.ndarray, "N F"],
    test: Float[np.ndarray, "M F"],
    train: Float[np.ndarray, "L F"] | None,
    progress: Progress = silent,
) -> dict[str, Figure]:
    """All figures of features: of samples, of test images, and of as many training images for comparison.

    ``train`` is None where there are no others to compare with.
    """
    figures = {}
    parts = np.array_split(np.arange(len(fake)), PARTS)
    enough = min(map(len, parts)) > max(2 * fake.shape[1], COVERAGE_K)
    progress("sample quality", 0, 3)
    spread = (
        float(np.std([frechet_distance(fake[p], test) for p in parts], ddof=1) / np.sqrt(PARTS))
        if enough
        else None
    )
    said = f"standard error from {PARTS} parts of the samples" if enough else ""
    figures["frechet_classifier"] = Figure(
        frechet_distance(fake, test),
        "Fréchet distance between samples and test images in the features of the set's own classifier; not an FID",
        "",
        spread,
        said,
        len(test),
        len(fake),
    )
    if train is not None:
        figures["frechet_classifier_train"] = Figure(
            frechet_distance(train, test),
            "the same between training and test images: the floor",
            images=len(test),
            draws=len(train),
        )
    progress("sample quality", 1, 3)
    whole = manifold_measures(test, fake)
    floor = None if train is None else manifold_measures(test, train)
    progress("sample quality", 2, 3)
    words = {
        "precision": f"share of samples within reach of test images, k = {PRECISION_K} (Kynkäänniemi et al. 2019)",
        "recall": f"share of test images within reach of samples, k = {PRECISION_K} (Kynkäänniemi et al. 2019)",
        "density": f"test images' balls that a sample lies in, over k = {COVERAGE_K} (Naeem et al. 2020)",
        "coverage": f"share of test images with a sample in their ball, k = {COVERAGE_K} (Naeem et al. 2020)",
    }
    for name, definition in words.items():
        value = float(getattr(whole, name))
        error = (
            None
            if name == "density"
            else float(np.sqrt(value * (1 - value) / len(fake if name == "precision" else test)))
        )
        figures[name] = Figure(
            value,
            definition,
            "",
            error,
            "binomial standard error" if error is not None else "",
            len(test),
            len(fake),
            {} if floor is None else {"training images": float(getattr(floor, name))},
        )
    progress("sample quality", 3, 3)
    return figures


def distance_to_nearest(
    some: Float[np.ndarray, "N P"], train: Float[np.ndarray, "M P"], progress: Progress = silent
) -> tuple[Float[np.ndarray, " N"], NDArray[np.int64]]:
    """The root mean square difference of pixel values to the nearest training image, and that image's position."""
    best = np.full(len(some), np.inf)
    place = np.zeros(len(some), dtype=np.int64)
    for start in range(0, len(train), 4096):
        away = _squares(some, train[start : start + 4096].astype(some.dtype))
        near = away.argmin(1)
        found = away[np.arange(len(some)), near]
        better = found < best
        best[better], place[better] = found[better], start + near[better]
        progress("looking for the nearest training images", min(start + 4096, len(train)), len(train))
    return np.sqrt(best / some.shape[1]), place


def memorisation_figures(fake: Float[np.ndarray, " N"], test: Float[np.ndarray, " M"]) -> dict[str, Figure]:
    """From distances to the nearest training image: of samples, and of test images, which are no copies.

    The share of pairs in which the sample is nearer is the U statistic of the data-copying test (Meehan et al. 2020,
    arXiv:2004.05675, section 3): above one half, samples lie nearer to training images than new images do.
    """
    from scipy.stats import mannwhitneyu

    nearer = float(mannwhitneyu(test, fake).statistic / (len(test) * len(fake)))
    error = float(np.sqrt((len(test) + len(fake) + 1) / (12 * len(test) * len(fake))))
    closest = float((fake < test.min()).mean())
    return {
        "nearest_training_image": Figure(
            float(np.median(fake)),
            "median root mean square pixel difference of a sample and the nearest training image",
            images=len(test),
            draws=len(fake),
            extra={"test images": float(np.median(test))},
        ),
        "nearer_than_test": Figure(
            nearer,
            "probability that a sample lies nearer to the training images than a test image does (Meehan et al. 2020); "
            "mean images are smooth and lie nearer without being copies",
            "",
            error,
            "standard error if both lay alike",
            len(test),
            len(fake),
            {"share of samples nearer than the nearest test image": closest},
        ),
    }
