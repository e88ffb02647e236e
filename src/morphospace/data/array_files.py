"""Sets that come as one file: ``.npy``, ``.npz``, IDX. What is in them, before it is made into pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morphospace.data.idx import is_idx_name, labels_beside, read_idx
from morphospace.data.numpy_files import npz_keys, read_npy, read_npz
from morphospace.types import DataError

__all__ = ["LABEL_KEYS", "PIXEL_KEYS", "SPLIT_KEYS", "Arrays", "is_array_name", "read_arrays", "read_labels"]

PIXEL_KEYS = ("images", "x", "X", "imgs", "data", "arr_0")
"""Where the images of a ``.npz`` are looked for, in this order."""

LABEL_KEYS = ("labels", "y", "Y", "targets", "target", "label", "arr_1")

SPLIT_KEYS = (
    (("x_train", "y_train"), ("train_images", "train_labels")),
    (
        ("x_val", "y_val"),
        ("x_valid", "y_valid"),
        ("x_validation", "y_validation"),
        ("val_images", "val_labels"),
    ),
    (("x_test", "y_test"), ("test_images", "test_labels")),
)
"""Keys of images and labels in a ``.npz`` that brings its split: train, validation, test (Keras, MedMNIST)."""


@dataclass(frozen=True)
class Arrays:
    """What a file holds: images as they are, and labels, class names and splits if it has them."""

    images: NDArray[Any]
    labels: NDArray[Any] | None = None
    classes: tuple[str, ...] | None = None
    splits: NDArray[np.uint8] | None = None


def is_array_name(name: str) -> bool:
    """Whether a file of this name is read as ``.npy``, ``.npz`` or IDX."""
    return name.lower().endswith((".npy", ".npz")) or is_idx_name(name)


def read_arrays(path: Path) -> Arrays:
    """Read the set in a ``.npy``, ``.npz`` or IDX file.

    Raises:
        DataError: a malformed file, or a ``.npz`` without images under a known key.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return Arrays(read_npy(path))
    if suffix == ".npz":
        return _read_npz(path)
    beside = labels_beside(path)
    return Arrays(read_idx(path), None if beside is None else read_idx(beside))


def read_labels(path: str | PathLike[str]) -> NDArray[Any]:
    """Read labels from a ``.npy`` or IDX file of their own, or from a ``.npz`` under one of `LABEL_KEYS`."""
    path = Path(path).expanduser()
    if not is_array_name(path.name):
        raise DataError(f"{path}: labels are read from .npy, .npz and IDX files; this is none by its name")
    if path.suffix.lower() == ".npz":
        key = _first(LABEL_KEYS, npz_keys(path), path, "labels")
        return read_npz(path, [key])[key]
    return read_npy(path) if path.suffix.lower() == ".npy" else read_idx(path)


def _read_npz(path: Path) -> Arrays:
    keys = npz_keys(path)
    parts = [next((pair for pair in pairs if pair[0] in keys), None) for pairs in SPLIT_KEYS]
    classes = _classes(path) if "classes" in keys else None
    if parts[0] is not None:
        return _read_parts(path, keys, parts, classes)
    pixels = _first(PIXEL_KEYS, keys, path, "images")
    label = next((key for key in LABEL_KEYS if key in keys), None)
    read = read_npz(path, [pixels] if label is None else [pixels, label])
    return Arrays(read[pixels], None if label is None else read[label], classes)


def _read_parts(
    path: Path, keys: Sequence[str], parts: Sequence[tuple[str, str] | None], classes: tuple[str, ...] | None
) -> Arrays:
    present = [(split, *pair) for split, pair in enumerate(parts) if pair is not None]
    labelled = all(y in keys for _, _, y in present)
    read = read_npz(path, [key for _, x, y in present for key in ((x, y) if labelled else (x,))])
    images = [read[x] for _, x, _ in present]
    for (_, x, _), part in zip(present, images, strict=True):
        if (part.shape[1:], part.dtype) != (images[0].shape[1:], images[0].dtype) or not part.ndim:
            raise DataError(
                f"{path}: array '{x}' is {part.dtype} {part.shape}; expected images as in '{present[0][1]}', "
                f"{images[0].dtype} {images[0].shape}"
            )
        if labelled and read[_label_of(present, x)].shape[:1] != part.shape[:1]:
            y = _label_of(present, x)
            raise DataError(f"{path}: array '{y}' is of shape {read[y].shape} for {len(part)} images")
    labels = [np.reshape(read[y], -1) for _, _, y in present] if labelled else []
    splits = np.repeat(np.array([s for s, _, _ in present], np.uint8), [len(part) for part in images])
    return Arrays(np.concatenate(images), np.concatenate(labels) if labels else None, classes, splits)


def _label_of(present: Sequence[tuple[int, str, str]], pixels: str) -> str:
    return next(y for _, x, y in present if x == pixels)


def _classes(path: Path) -> tuple[str, ...]:
    names = read_npz(path, ["classes"])["classes"]
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise DataError(f"{path}: array 'classes' is {names.dtype} {names.shape}; expected a list of names")
    return tuple(np.char.decode(names, "utf-8", "replace") if names.dtype.kind == "S" else names.tolist())


def _first(known: Sequence[str], keys: Sequence[str], path: Path, what: str) -> str:
    found = next((key for key in known if key in keys), None)
    if found is None:
        raise DataError(
            f"{path}: no {what} under a known key. Found: {', '.join(keys) or 'nothing'}. Known: {', '.join(known)}"
            + (", or x_train and x_test." if what == "images" else ".")
        )
    return found
