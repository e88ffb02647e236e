"""A folder, or a list of files, to `Images`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from morphospace.data import cache
from morphospace.data.batch import decode_all, survey
from morphospace.data.decode import POLICY, BadImage, quietly
from morphospace.data.images import Images, Skipped
from morphospace.data.listing import File, Listing, list_folder
from morphospace.data.split import PUBLISHED, describe, stratified
from morphospace.types import DataError, ImageSpec, Progress, silent

__all__ = ["load_files", "load_folder"]


def load_folder(
    folder: Path,
    *,
    size: tuple[int, int] | None = None,
    mode: str = "auto",
    strict: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> Images:
    """Load the images of ``folder``; classes, split and order as `morphospace.data.listing` says.

    Raises:
        DataError: nothing to load; or, if ``strict``, anything that would be skipped.
    """
    listing = list_folder(folder)
    if strict and listing.skipped:
        raise DataError(f"{folder / listing.skipped[0].path}: {listing.skipped[0].reason}")
    decoded, spec = _decoded(str(folder), listing.files, size, mode, strict, progress)
    labels, classes, unread = _labels(listing, decoded.kept)
    if listing.splits:
        splits = np.asarray(listing.splits, np.uint8)[decoded.kept]
    else:
        splits = stratified(len(decoded.kept), labels, seed)
    return Images(
        decoded.pixels,
        splits,
        labels,
        classes,
        names=tuple(listing.files[i].name for i in decoded.kept),
        policy=_policy(spec) | {"split": PUBLISHED if listing.splits else describe(seed)},
        skipped=(*listing.skipped, *_failed(listing.files, decoded), *unread),
    )


def load_files(paths: Sequence[Path], spec: ImageSpec, strict: bool, progress: Progress = silent) -> Images:
    """Load single image files in the order given, named as given, all of them as test images.

    Raises:
        DataError: none can be decoded; or, if ``strict``, one cannot.
    """
    with quietly():
        decoded = cache.in_memory(spec, decode_all(paths, spec, strict, progress))
    files = [File(str(path), path, 0, 0) for path in paths]
    if not len(decoded.kept):
        raise DataError(_none_decoded("the files given", files, decoded))
    names = tuple(files[i].name for i in decoded.kept)
    return Images(
        decoded.pixels,
        np.full(len(names), 2, np.uint8),
        names=names,
        policy=_policy(spec),
        skipped=_failed(files, decoded),
    )


def _decoded(
    where: str,
    files: Sequence[File],
    size: tuple[int, int] | None,
    mode: str,
    strict: bool,
    progress: Progress,
) -> tuple[cache.Decoded, ImageSpec]:
    """Decode ``files``, or recall them, and the shape that was asked for or found."""
    paths = [file.path for file in files]
    listed = [str(Path(where).resolve()), [[f.name, f.size, f.changed] for f in files], POLICY]
    asked = cache.key_of(listed, size, mode)
    with quietly():
        spec = cache.recall_spec(asked)
        if spec is None:
            spec = survey(paths, size, mode, progress)
            cache.remember_spec(asked, spec)
        key = cache.key_of(listed, spec.shape)
        decoded = cache.recall(key, spec) or cache.through_cache(
            key, spec, lambda: decode_all(paths, spec, strict, progress)
        )
    if not len(decoded.kept):
        raise DataError(_none_decoded(where, files, decoded))
    for position, reason in decoded.failures.items() if strict else ():  # as remembered from an earlier time
        raise BadImage(paths[position], reason)
    return decoded, spec


def _labels(
    listing: Listing, kept: NDArray[np.int64]
) -> tuple[NDArray[np.int64] | None, tuple[str, ...], list[Skipped]]:
    """Labels of the images that were kept, the classes that have any, and those that lost all of theirs."""
    if not listing.classes:
        return None, (), []
    names = [listing.labels[i] for i in kept]
    present = set(names)
    classes = tuple(name for name in listing.classes if name in present)
    place = {name: i for i, name in enumerate(classes)}
    reason = "none of its images could be decoded, so it is no class"
    unread = [Skipped(name, reason) for name in listing.classes if name not in present]
    return np.array([place[name] for name in names], np.int64), classes, unread


def _policy(spec: ImageSpec) -> dict[str, object]:
    return POLICY | {"image_size": [spec.height, spec.width], "mode": "grey" if spec.channels == 1 else "rgb"}


def _failed(files: Sequence[File], decoded: cache.Decoded) -> tuple[Skipped, ...]:
    return tuple(Skipped(files[i].name, reason) for i, reason in decoded.failures.items())


def _none_decoded(where: str, files: Sequence[File], decoded: cache.Decoded) -> str:
    first = next(iter(decoded.failures))
    return (
        f"{where}: none of {len(files)} image files can be decoded; the first, {files[first].name}, "
        f"{decoded.failures[first]}"
    )
