"""Many image files to one array: surveyed by their headers, decoded by threads, kept in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from morphospace.data.decode import BadImage, decode, read_header
from morphospace.data.sizes import default_size
from morphospace.types import ImageSpec, Progress

__all__ = ["Row", "decode_all", "survey"]

Row = NDArray[np.uint8] | BadImage
"""One image, (C, H, W), or why there is none."""

Result = TypeVar("Result")

_CHUNK = 256
"""Files in flight; bounds what waits in memory."""


def survey(paths: Sequence[Path], size: tuple[int, int] | None, mode: str, progress: Progress) -> ImageSpec:
    """Settle the shape of a set from the headers of its files.

    ``auto`` is RGB if any file is stored in colour, by its header: a palette is in colour if any of its entries
    is; a grey picture saved as RGB counts as colour.
    """
    if size is None or mode == "auto":
        rows = _each(read_header, paths, "looking at images", progress)
        headers = [header for header in rows if not isinstance(header, BadImage)]
        size = size or default_size({header.size for header in headers})
        mode = "rgb" if mode == "rgb" or (mode == "auto" and any(h.colour for h in headers)) else "grey"
    return ImageSpec(3 if mode == "rgb" else 1, *size)


def decode_all(paths: Sequence[Path], spec: ImageSpec, strict: bool, progress: Progress) -> Iterator[Row]:
    """Decode ``paths`` in their order, one row for each.

    Raises:
        BadImage: the first bad file, if ``strict``.
    """
    for row in _each(lambda path: decode(path, spec), paths, "reading images", progress):
        if strict and isinstance(row, BadImage):
            raise row
        yield row


def _each(
    function: Callable[[Path], Result], paths: Sequence[Path], what: str, progress: Progress
) -> Iterator[Result | BadImage]:
    def attempt(path: Path) -> Result | BadImage:
        try:
            return function(path)
        except BadImage as bad:
            return bad

    # Threads suffice: Pillow lets go of the interpreter while it decodes and resizes.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(paths), _CHUNK):
            progress(what, float(start), float(len(paths)))
            yield from pool.map(attempt, paths[start : start + _CHUNK])
    progress(what, float(len(paths)), float(len(paths)))
