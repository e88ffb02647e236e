"""The seeded, stratified split: a pure function of the seed and the labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PUBLISHED", "describe", "stratified"]

PUBLISHED: dict[str, Any] = {"kind": "published"}
"""What ``Images.policy["split"]`` says of a set that came with its own split."""

_STREAM = 0x5917
"""Keeps these random numbers apart from those that other rooms draw from the same seed."""


def describe(seed: int) -> dict[str, Any]:
    """What ``Images.policy["split"]`` says of a split made here."""
    return {"kind": "stratified", "fractions": [0.8, 0.1, 0.1], "seed": seed}


def stratified(count: int, labels: NDArray[np.int64] | None, seed: int) -> NDArray[np.uint8]:
    """Split ``count`` images 80/10/10 within each class.

    Test and validation take a tenth of a class each, rounded. A class of two or more gives at least one image
    to test, one of five or more at least one to validation, and every class keeps at least one for training.

    Returns:
        (count,) uint8 positions in `morphospace.data.images.SPLITS`.
    """
    groups = np.zeros(count, np.int64) if labels is None else labels
    splits = np.zeros(count, np.uint8)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        shuffled = members[_order(len(members), seed, int(group))]
        test, validation = _shares(len(members))
        splits[shuffled[:test]] = 2
        splits[shuffled[test : test + validation]] = 1
    if labels is not None and count > 1 and not (splits == 2).any():
        return stratified(count, None, seed)  # one image per class: something must be left to measure on
    return splits


def _shares(size: int) -> tuple[int, int]:
    """Images that a class of ``size`` gives to test and to validation."""
    tenth = (size + 5) // 10
    return (max(1, tenth) if size > 1 else 0), tenth


def _order(size: int, seed: int, group: int) -> NDArray[np.intp]:
    # Raw bits and a stable sort: unlike Generator.permutation, these are promised never to change with numpy.
    bits = np.random.Philox(np.random.SeedSequence([seed, _STREAM, group])).random_raw(size)
    return np.argsort(np.asarray(bits), kind="stable")
