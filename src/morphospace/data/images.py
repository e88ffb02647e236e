"""`Images`: a set of pictures decoded once to uint8, with labels, names and splits kept in one order."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morphospace.types import ImageSpec

__all__ = ["SPLITS", "Images", "Skipped"]

SPLITS = ("train", "validation", "test")
"""Names of the splits; ``Images.splits`` holds positions in this tuple."""


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class Images:
    """N images of one shape, uint8, with everything that belongs to them in the same order.

    Attributes:
        pixels: (N, C, H, W) uint8, in memory or memory-mapped.
        splits: (N,) uint8, positions in `SPLITS`.
        labels: (N,) int64 positions in ``classes``, or None when the set has no classes.
        classes: class names; empty when the set has none.
        names: one name per image (a file's path below its folder), or None when images have only a position.
        factors: (N, F) float32 ground-truth factors of drawn images, or None.
        factor_names: the F names of ``factors``.
        observed: (N, 1, H, W) bool, which pixels are known, or None where all are. The others are black in ``pixels``.
        source: the arguments for `morphospace.load` that bring this set again; JSON-ready.
        policy: how files were turned into pixels; JSON-ready, stored in a run.
        skipped: files left out, with reasons.
    """

    pixels: NDArray[np.uint8]
    splits: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None
    factors: NDArray[np.float32] | None = None
    factor_names: tuple[str, ...] = ()
    source: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    observed: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        count = len(self.pixels)
        if self.pixels.ndim != 4 or self.pixels.dtype != np.uint8:
            raise ValueError(
                f"pixels are {self.pixels.dtype} of shape {self.pixels.shape}; expected uint8 (N, C, H, W)"
            )
        for name in ("splits", "labels", "names", "factors", "observed"):
            value = getattr(self, name)
            if value is not None and len(value) != count:
                raise ValueError(f"{name} has {len(value)} rows for {count} images")
        if self.labels is not None and not self.classes:
            raise ValueError("labels were given without class names")

    def __len__(self) -> int:
        return len(self.pixels)

    def __repr__(self) -> str:
        parts = ", ".join(f"{int((self.splits == i).sum())} {name}" for i, name in enumerate(SPLITS))
        return f"Images({len(self)} of {self.spec}: {parts}; {len(self.classes)} classes)"

    @property
    def spec(self) -> ImageSpec:
        """The shape of one image."""
        channels, height, width = self.pixels.shape[1:]
        return ImageSpec(channels, height, width)

    @property
    def train(self) -> Images:
        """The images to learn from."""
        return self.take(self.splits == 0)

    @property
    def validation(self) -> Images:
        """The images to choose settings by; may be empty."""
        return self.take(self.splits == 1)

    @property
    def test(self) -> Images:
        """The images to measure on."""
        return self.take(self.splits == 2)

    def take(self, index: NDArray[Any]) -> Images:
        """The images at ``index`` (positions or a mask), everything that belongs to them along."""
        index = np.asarray(index)
        if index.dtype == np.bool_:
            index = np.flatnonzero(index)
        first, count = (int(index[0]), len(index)) if len(index) else (0, 0)
        # A run of neighbours is a view: no copy of what may be gigabytes.
        whole = count > 0 and np.array_equal(index, np.arange(first, first + count))
        rows: Any = slice(first, first + count) if whole else index
        return replace(
            self,
            pixels=self.pixels[rows],
            splits=self.splits[rows],
            labels=None if self.labels is None else self.labels[rows],
            names=None if self.names is None else tuple(self.names[i] for i in index),
            factors=None if self.factors is None else self.factors[rows],
            observed=None if self.observed is None else self.observed[rows],
        )

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the content: shape, classes, splits, labels, pixels. Names and sources do not count."""
        digest = hashlib.sha256()
        digest.update(json.dumps([list(self.pixels.shape), list(self.classes)]).encode())
        digest.update(np.ascontiguousarray(self.splits).data)
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        if self.observed is not None:
            digest.update(np.packbits(self.observed).data)
        for start in range(0, len(self), 4096):
            digest.update(np.ascontiguousarray(self.pixels[start : start + 4096]).data)
        return digest.hexdigest()
