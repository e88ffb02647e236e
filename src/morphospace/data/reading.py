"""Images for a space that exists already: brought to its shape and read by its policy."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morphospace.data.array_files import is_array_name
from morphospace.data.arrays import load_array_file
from morphospace.data.decode import check_policy, decode, quietly
from morphospace.data.folder import load_files, load_folder
from morphospace.data.images import Images
from morphospace.types import DataError, ImageSpec, Progress, UsageError, silent

__all__ = ["read_image", "read_images"]


def read_image(
    path: str | os.PathLike[str], spec: ImageSpec, policy: Mapping[str, Any] | None = None
) -> NDArray[np.uint8]:
    """Read one image file as images of shape ``spec`` were read.

    Args:
        path: the file.
        spec: the shape to bring it to.
        policy: the ``policy`` of the images that a run was trained on.

    Returns:
        (C, H, W) uint8.

    Raises:
        DataError: a file that cannot be decoded, or a policy that this version cannot repeat.
    """
    check_policy(dict(policy or {}))
    with quietly():
        return decode(Path(path).expanduser(), spec)


def read_images(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    spec: ImageSpec,
    policy: Mapping[str, Any] | None = None,
    *,
    strict: bool = False,
    progress: Progress = silent,
) -> Images:
    """Read a folder, a ``.npy``, ``.npz`` or IDX file, or image files, as images of shape ``spec``.

    Image files are resized to ``spec``; arrays must have its shape already, as resizing them silently would
    hide a set that was prepared in another way.

    Args:
        paths: one of the above, or several image files.
        spec: the shape to bring them to.
        policy: the ``policy`` of the images that a run was trained on.
        strict: stop at the first bad file instead of skipping it.
        progress: called as files are read.

    Raises:
        DataError: nothing can be read, arrays have another shape, or, if ``strict``, a file is bad.
        UsageError: a path that does not exist, or several paths that are not all image files.
    """
    check_policy(dict(policy or {}))
    listed = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    found = [Path(path).expanduser() for path in listed]
    if not found:
        raise UsageError("no image files were given")
    if len(found) > 1:
        for path in found:
            if path.is_dir() or is_array_name(path.name):
                raise UsageError(
                    f"{path} is one of {len(found)} paths; several paths must all be image files"
                )
        return load_files(found, spec, strict, progress)
    path = found[0]
    if not path.exists():
        raise UsageError(f"there is no file or folder {path}")
    if path.is_dir():
        mode = "grey" if spec.channels == 1 else "rgb"
        return load_folder(path, size=(spec.height, spec.width), mode=mode, strict=strict, progress=progress)
    if not is_array_name(path.name):
        return load_files(found, spec, strict, progress)
    images = load_array_file(path, keep_size=True, progress=progress)
    if images.spec != spec:
        raise DataError(
            f"{path}: its images are {images.spec}; expected {spec}, which the space was trained on"
        )
    return images
