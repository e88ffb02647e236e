"""What can be reckoned with places: attributes as directions, dimensions by what they tell, several images as one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

from morphospace.manifolds import Plane
from morphospace.morphing.places import Place, class_weights, intrinsic_mean, locate, manifold_of
from morphospace.space import Space
from morphospace.types import UsageError

__all__ = ["Attribute", "Blend", "Traversal", "attribute", "blend", "traversals"]

ROUNDS = 1000
"""Bootstrap samples (Efron & Tibshirani 1993 take as many for intervals)."""


@dataclass(frozen=True, eq=False)
class Attribute:
    """The direction in which an attribute lies: from the mean of the images without it to the mean of those with it.

    Attributes:
        vector: (D,) the difference of the two means; adding it to an image without gives one with.
        effect: Cohen's d along the direction: how many pooled standard deviations the groups' means lie apart, on
            images that the direction was not found from.
        interval: the 2.5 % and 97.5 % points of it over bootstrap samples.
        agreement: the 5 % point of the cosine between the directions of bootstrap samples and the direction: near one,
            the direction is well known; near nought, another sample would have given another one.
        counts: images without and with.
    """

    vector: Float[np.ndarray, " D"]
    effect: float
    interval: tuple[float, float]
    agreement: float
    counts: tuple[int, int]


def attribute(
    without: Float[np.ndarray, "N D"], having: Float[np.ndarray, "M D"], seed: int = 0, rounds: int = ROUNDS
) -> Attribute:
    """The direction from one group of latents to another, and how sure it is (Larsen et al. 2016, arXiv:1512.09300).

    In each bootstrap round the direction is found from rows drawn with replacement, and Cohen's d (1988) is measured
    along it on the rows that were not drawn: measured on the same rows, a direction flatters itself, the more so the
    more dimensions there are.

    Raises:
        UsageError: for a group of fewer than four, or latents that are all equal.
    """
    counts = len(without), len(having)
    if min(counts) < 4:
        raise UsageError(f"the groups have {counts[0]} and {counts[1]} images; expected at least 4 in each")
    a, b = (np.asarray(part, dtype=np.float64) for part in (without, having))
    vector = b.mean(0) - a.mean(0)
    if not np.linalg.norm(vector) > 0:
        raise UsageError("the two groups have the same mean: there is no direction from one to the other")
    rng = np.random.default_rng(seed)
    effects, cosines = [], []
    for _ in range(rounds):
        picked = [rng.integers(0, len(part), len(part)) for part in (a, b)]
        left = [np.setdiff1d(np.arange(len(part)), rows) for part, rows in zip((a, b), picked, strict=True)]
        way = b[picked[1]].mean(0) - a[picked[0]].mean(0)
        size = float(np.linalg.norm(way))
        if size == 0 or min(map(len, left)) < 2:
            continue
        cosines.append(float(way @ vector) / size / float(np.linalg.norm(vector)))
        effects.append(_cohen(a[left[0]] @ way, b[left[1]] @ way))
    if not effects:
        raise UsageError("the groups are too small, or too much alike, for an effect to be measured")
    low, high = np.quantile(effects, (0.025, 0.975))
    return Attribute(
        vector.astype(np.float32),
        float(np.mean(effects)),
        (float(low), float(high)),
        float(np.quantile(cosines, 0.05)),
        counts,
    )


def _cohen(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The difference of two means over the pooled standard deviation."""
    freedom = len(a) + len(b) - 2
    pooled = ((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / freedom
    return float((b.mean() - a.mean()) / np.sqrt(max(pooled, 1e-300)))


# ---------------------------------------------------------------- dimensions


@dataclass(frozen=True, eq=False)
class Traversal:
    """One dimension walked through while the others stay.

    Attributes:
        dimension: its position.
        rate: how much it tells of an image, nats: KL of its posterior from the normal with the moments of all of them,
            mean over the training images.
        values: (S,) of the dimension: even steps between quantiles of the training latents.
        images: (S, C, H, W) decoded.
    """

    dimension: int
    rate: float
    values: Float[np.ndarray, " S"]
    images: Float[np.ndarray, "S C H W"]


def traversals(
    space: Space,
    place: str | os.PathLike[str] | ArrayLike | None = None,
    steps: int = 9,
    most: int = 10,
    tails: float = 0.02,
) -> list[Traversal]:
    """Each dimension walked through from its quantile ``tails`` to 1 − ``tails``, those that tell most first.

    The rate of a dimension is taken against the normal with the mean and variance of its aggregated posterior, and not
    against the prior, which need not be a product of dimensions; a dimension that is not used has rate nought in both.

    Args:
        space: trained, a plane.
        place: where the other dimensions stay; by default the mean of the training latents.
        steps: pictures of each dimension.
        most: dimensions, at most.
        tails: the part of the latents beyond each end.

    Raises:
        UsageError: for a space that is no plane, or fewer than two steps.
    """
    if not isinstance(manifold_of(space), Plane):
        raise UsageError("this space is no plane: its coordinates cannot be changed one by one")
    if steps < 2:
        raise UsageError(f"{steps} steps were asked for; expected at least 2")
    latents = space.known_latents()
    train = latents.learned
    mean, scale = train.mean.astype(np.float64), train.scale.astype(np.float64)
    middle = mean.mean(0) if place is None else locate(space, place).z.astype(np.float64)
    rates = _rates(mean, scale)
    found = []
    for d in np.argsort(-rates, kind="stable")[:most]:
        z = np.tile(middle, (steps, 1))
        low, high = np.quantile(mean[:, d], (tails, 1 - tails))
        z[:, d] = np.linspace(low, high, steps)
        images = space.decode(z.astype(np.float32)).numpy()
        found.append(Traversal(int(d), float(rates[d]), z[:, d].astype(np.float32), images))
    return found


def _rates(mean: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D,) mean KL(N(mean, scale²) ‖ N(m, v)) in nats, m and v the moments of the mean of these normals.

    With these moments the squares cancel, and half the logarithm of v / scale² is left. A posterior without spread
    tells the more, the finer one looks; such dimensions are ordered by their variance.
    """
    variance = mean.var(0) + np.square(scale).mean(0)
    known = np.where(scale > 0, scale, 1.0)
    return np.asarray(0.5 * (np.log(np.maximum(variance, 1e-300)) - 2 * np.log(known).mean(0)))


# ---------------------------------------------------------------- several as one


@dataclass(frozen=True, eq=False)
class Blend:
    """Several places merged: weights (sum one), the place (D,) and picture (C, H, W) in the middle, and theirs."""

    places: tuple[Place, ...]
    weights: NDArray[np.float64]
    z: Float[np.ndarray, " D"]
    image: Float[np.ndarray, "C H W"]
    parts: Float[np.ndarray, "N C H W"]


def blend(
    space: Space,
    places: Sequence[str | os.PathLike[str] | ArrayLike],
    weights: Sequence[float] | None = None,
) -> Blend:
    """Merge two or more classes, image files or points, by their weighted mean along the space's manifold.

    Args:
        space: trained.
        places: what `locate` takes.
        weights: as many, nought or more, not all nought; they are divided by their sum. Equal ones by default.

    Raises:
        UsageError: for fewer than two places, or weights that are not as described.
    """
    if len(places) < 2:
        raise UsageError(f"a blend of {len(places)} place was asked for; expected at least two")
    share = np.ones(len(places)) if weights is None else np.asarray(weights, dtype=np.float64)
    if share.shape != (len(places),):
        raise UsageError(f"there are {share.size} weights for {len(places)} places; expected as many")
    if not (np.isfinite(share).all() and (share >= 0).all() and share.sum() > 0):
        raise UsageError(
            f"the weights are {', '.join(f'{w:g}' for w in share)}; expected nought or more, not all nought"
        )
    share = share / share.sum()
    manifold = manifold_of(space)
    found = tuple(locate(space, what) for what in places)
    z = np.stack([place.z for place in found])
    middle = intrinsic_mean(manifold, z, share)
    labels = None
    if space.conditional:
        labels = class_weights(space, found, np.concatenate([share[None], np.eye(len(found))]))
    images = space.decode(np.concatenate([middle[None], z]).astype(np.float32), labels=labels).numpy()
    return Blend(found, share, middle, images[0], images[1:])
