"""An array, or a file that holds arrays, to `Images`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from morphospace.data.array_files import Arrays, read_arrays
from morphospace.data.images import Images
from morphospace.data.labels import positions
from morphospace.data.pixels import conform, known_pixels, to_pixels
from morphospace.data.sizes import default_size
from morphospace.data.split import PUBLISHED, describe, stratified
from morphospace.types import DataError, Progress, UsageError, silent

__all__ = ["SupportsArray", "load_array_file", "load_arrays"]


@runtime_checkable
class SupportsArray(Protocol):
    """Anything that numpy turns into an array, such as a tensor on the CPU."""

    def __array__(self) -> NDArray[Any]: ...


def load_array_file(
    path: Path,
    *,
    labels: NDArray[Any] | Sequence[Any] | None = None,
    classes: Sequence[str] | None = None,
    **rest: Any,
) -> Images:
    """Load a ``.npy``, ``.npz`` or IDX file; ``labels`` and ``classes`` replace those that the file has.

    Raises:
        DataError: a malformed file, or arrays that are no images; see `load_arrays` for ``rest``.
    """
    found = read_arrays(path)
    return load_arrays(
        Arrays(
            found.images,
            found.labels if labels is None else np.asarray(labels),
            found.classes if classes is None else tuple(classes),
            found.splits,
        ),
        where=str(path),
        **rest,
    )


def load_arrays(
    arrays: Arrays,
    *,
    where: str = "the array",
    size: tuple[int, int] | None = None,
    mode: str = "auto",
    keep_size: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> Images:
    """Make `Images` of ``arrays``.

    Args:
        arrays: images, with labels, class names and splits as far as there are any.
        where: what the arrays are, for messages.
        size: height and width in pixels; None keeps what networks take and resizes the rest to 64×64.
        mode: ``auto`` keeps grey and colour as they are.
        keep_size: keep any size.
        seed: of the split, when none is given.
        progress: called as images are resized.

    Raises:
        DataError: values, shapes or labels for which there is no rule.
        UsageError: class names without labels.
    """
    pixels, observed = to_pixels(arrays.images, where), known_pixels(arrays.images, where)
    if size is None and not keep_size:
        height, width = pixels.shape[2:]
        size = default_size([(height, width)])
    if observed is not None and size is not None and size != pixels.shape[2:]:
        raise DataError(
            f"{where}: some pixels are nan, which stands for not known, and the images are {pixels.shape[2]}×"
            f"{pixels.shape[3]}, to be brought to {size[0]}×{size[1]}; resize them before, since a pixel between "
            "known ones and others has no value"
        )
    pixels = conform(pixels, size, mode, progress)
    if arrays.labels is not None:
        labels, classes = positions(arrays.labels, arrays.classes, len(pixels), where)
    elif arrays.classes is None:
        labels, classes = None, ()
    else:
        raise UsageError(f"{where}: class names were given without labels; give labels, one per image, too")
    splits = arrays.splits
    return Images(
        pixels,
        stratified(len(pixels), labels, seed) if splits is None else splits,
        labels,
        classes,
        observed=observed,
        policy={
            "values": "uint8; bool, uint16 and floats from 0 to 1 scaled to it",
            "image_size": list(pixels.shape[2:]),
            "mode": "grey" if pixels.shape[1] == 1 else "rgb",
            "split": describe(seed) if splits is None else PUBLISHED,
        },
    )
