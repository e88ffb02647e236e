"""From files, arrays or drawings to `Images`: the entry `load`, and what a run folder needs to load again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morphospace.data.array_files import Arrays, is_array_name, read_labels
from morphospace.data.arrays import SupportsArray, load_array_file, load_arrays
from morphospace.data.folder import load_folder
from morphospace.data.images import SPLITS, Images, Skipped
from morphospace.data.pixels import MODES, conform
from morphospace.data.reading import read_image, read_images
from morphospace.data.sizes import ImageSize, parse_size
from morphospace.types import DataError, Progress, UnknownName, UsageError, silent

__all__ = ["SETS", "SPLITS", "Images", "Skipped", "load", "read_image", "read_images", "reload"]

SETS = ("fashion-mnist", "garments")
"""Sets that are known by name."""

Labels = NDArray[Any] | Sequence[Any] | str | os.PathLike[str]


def load(
    source: str | os.PathLike[str] | NDArray[Any] | SupportsArray,
    *,
    labels: Labels | None = None,
    classes: Sequence[str] | None = None,
    root: str | os.PathLike[str] | None = None,
    image_size: ImageSize | None = None,
    mode: str = "auto",
    strict: bool = False,
    seed: int = 0,
    count: int | None = None,
    validation: int = 0,
    download: bool = True,
    progress: Progress = silent,
) -> Images:
    """Load a set of images.

    Args:
        source: ``"fashion-mnist"``, ``"garments"``; a folder of images (class = sub-folder); a ``.npy``, ``.npz``
            or IDX file; or an array, (N, H, W), (N, H, W, C) or (N, C, H, W).
        labels: one per image, numbers or names, or a file of them; for arrays and array files.
        classes: the class names that the labels count through; for arrays and array files.
        root: a folder in which sets known by name are looked for first.
        image_size: side, ``"HEIGHTxWIDTH"`` or (height, width) in pixels. None keeps a size that all images
            share if it lies between 8 and 128 pixels, and else resizes to 64×64.
        mode: ``"grey"``, ``"rgb"``, or ``"auto"``: RGB if any image is in colour.
        strict: stop at the first bad file of a folder instead of skipping and naming it.
        seed: of the split, where the set brings none, and of drawn sets.
        count: number of images; for drawn sets.
        validation: how many training images, the last ones, to hold back for choosing settings by; for sets that come
            without any, such as Fashion-MNIST.
        download: whether a set that is not on this machine may be downloaded.
        progress: called as long work advances.

    Returns:
        The images, whose ``source`` holds what `reload` needs to bring them again.

    Raises:
        UnknownName: neither a known set nor an existing path.
        UsageError: an option that does not fit.
        DataNotFound: a known set that is neither on this machine nor to be had from the network.
        DataError: files or arrays that cannot be read as images.
    """
    size = parse_size(image_size)
    if count is not None and count < 1:
        raise UsageError(f"the count is {count}; expected at least one image")
    if mode not in MODES:
        raise UnknownName("mode", mode, MODES)
    named = str(source) if isinstance(source, (str, os.PathLike)) else None
    given = {"labels": labels, "classes": classes, "count": count}
    if named == "fashion-mnist":
        _refuse(named, given)
        from morphospace.data.fashion_mnist import fashion_mnist  # here, or its name would hide its module

        images = fashion_mnist(root=root, download=download, progress=progress)
        images = _conformed(images, size, mode, progress)
    elif named == "garments":
        _refuse(named, {**given, "count": None})
        images = _garments(count, size, mode, seed, progress)
    elif named is not None:
        named = str(_existing(named).resolve())
        images = _from_path(Path(named), given, size, mode, strict, seed, progress)
    else:
        _refuse("an array", {"count": count})
        arrays = Arrays(
            np.asarray(source), _label_values(labels), None if classes is None else tuple(classes)
        )
        images = load_arrays(arrays, size=size, mode=mode, seed=seed, progress=progress)
    images = _held_back(images, validation)
    asked = _source(named, labels, classes, image_size=size, mode=mode, seed=seed, validation=validation)
    return replace(images, source=images.source | asked)


def reload(
    source: Mapping[str, Any], root: str | os.PathLike[str] | None = None, progress: Progress = silent
) -> Images:
    """Load again the images whose ``Images.source`` is ``source``.

    Raises:
        DataError: they were made from an array in memory; and as `load`.
    """
    if source.get("source") == "array":
        raise DataError(
            "these images were given as arrays in Python, which a run does not keep; load them again and pass them"
        )
    return load(**source, root=root, progress=progress)


def _existing(name: str) -> Path:
    path = Path(name).expanduser()
    if path.exists():
        return path
    if path.name != name or path.suffix:
        raise UsageError(
            f"there is no file or folder {path}, and no set of this name. Known sets: {', '.join(SETS)}."
        )
    raise UnknownName("set or path", name, SETS)


def _from_path(
    path: Path,
    given: dict[str, Any],
    size: tuple[int, int] | None,
    mode: str,
    strict: bool,
    seed: int,
    progress: Progress,
) -> Images:
    if path.is_dir():
        _refuse(f"the folder {path}", given)
        return load_folder(path, size=size, mode=mode, strict=strict, seed=seed, progress=progress)
    if not is_array_name(path.name):
        raise UsageError(
            f"{path} is not a set of images by its name; expected a folder, or a file .npy, .npz, .idx or -ubyte"
        )
    _refuse(str(path), {"count": given["count"]})
    labels = _label_values(given["labels"])
    return load_array_file(
        path, labels=labels, classes=given["classes"], size=size, mode=mode, seed=seed, progress=progress
    )


def _garments(
    count: int | None, size: tuple[int, int] | None, mode: str, seed: int, progress: Progress
) -> Images:
    from morphospace.data.garments import garments  # here, as only this set needs its tables

    options: dict[str, Any] = {} if count is None else {"count": count}
    if size is not None:
        options["size"] = size
    return _conformed(garments(seed=seed, progress=progress, **options), None, mode, progress)


def _conformed(images: Images, size: tuple[int, int] | None, mode: str, progress: Progress) -> Images:
    """``images`` in another size or mode than they come in."""
    pixels = conform(images.pixels, size, mode, progress)
    policy = {"image_size": list(pixels.shape[2:]), "mode": "grey" if pixels.shape[1] == 1 else "rgb"}
    return replace(images, pixels=pixels, policy=images.policy | policy)


def _held_back(images: Images, count: int) -> Images:
    """``images`` with the last ``count`` training images made validation images."""
    if count == 0:
        return images
    train, own = np.flatnonzero(images.splits == 0), int((images.splits == 1).sum())
    if own:
        raise UsageError(f"the set has {own} validation images of its own; leave validation at 0")
    if not 0 < count < len(train):
        raise UsageError(
            f"{count} training images were to be held back for validation; expected from 1 to {len(train) - 1}, "
            f"since the set has {len(train)} and some must be left to learn from"
        )
    splits = images.splits.copy()
    splits[train[-count:]] = SPLITS.index("validation")
    split = {"split": {**images.policy.get("split", {}), "held_back": count}}
    return replace(images, splits=splits, policy=images.policy | split)


def _label_values(labels: Labels | None) -> NDArray[Any] | None:
    if labels is None:
        return None
    return read_labels(labels) if isinstance(labels, (str, os.PathLike)) else np.asarray(labels)


def _refuse(what: str, options: Mapping[str, Any]) -> None:
    """Refuse options that mean nothing for ``what``, as ignoring them would hide a mistake."""
    applies = {"count": "drawn sets", "labels": "arrays and array files", "classes": "arrays and array files"}
    for name, value in options.items():
        if value is not None:
            raise UsageError(f"{name} is for {applies[name]}; it means nothing for {what}")


def _source(
    named: str | None, labels: Labels | None, classes: Sequence[str] | None, **options: Any
) -> dict[str, Any]:
    """The arguments that bring a set again, JSON-ready; only those that differ from the defaults."""
    on_file = labels is None or isinstance(labels, (str, os.PathLike))
    if named is None or not on_file:
        return {"source": "array"}
    source: dict[str, Any] = {"source": named}
    if isinstance(labels, (str, os.PathLike)):
        source["labels"] = str(Path(labels).expanduser().resolve())
    if classes is not None:
        source["classes"] = [str(name) for name in classes]
    defaults = {"image_size": None, "mode": "auto", "seed": 0, "validation": 0}
    source |= {name: value for name, value in options.items() if value != defaults[name]}
    if "image_size" in source:
        source["image_size"] = list(source["image_size"])
    return source
