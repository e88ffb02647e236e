"""Arrays in few bytes: rounded to equal steps, differenced where they are smooth, and deflated.

What is brought back lies within half a step of what was given: of the values, or, where they span powers of ten, of
their logarithms. So the error that a coarse array has is a number that was chosen.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morphospace.types import UsageError

__all__ = ["Steps", "coarsened", "restored"]

MOST = 2**16
"""Different values, at most: two bytes of each."""


@dataclass(frozen=True)
class Steps:
    """How an array is made coarse.

    Attributes:
        size: of a step, in the array's units, or in nats of their logarithms; 1 keeps whole numbers exactly.
        log: whether logarithms are rounded, so that the error is a part of the value.
        differences: how many of the last axes are stored as differences of neighbours, which are small in a smooth
            field; nothing is lost by it.
    """

    size: float = 1.0
    log: bool = False
    differences: int = 0


def coarsened(values: NDArray[Any], steps: Steps) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """An array as bytes, and what `restored` needs to know of them, JSON-ready.

    Raises:
        UsageError: for values that are not finite, or logarithms of what is not above nought; for more steps than two
            bytes can tell apart.
    """
    found = values.astype(np.float64)
    if not np.isfinite(found).all() or (steps.log and not (found > 0).all()):
        expected = "numbers above nought" if steps.log else "finite numbers"
        raise UsageError(
            f"an array to be rounded holds other values than {expected}, as no trained space's does"
        )
    found = np.rint((np.log(found) if steps.log else found) / steps.size)
    first = int(found.min()) if found.size else 0
    found -= first
    if found.size and found.max() >= MOST:
        raise UsageError(
            f"an array to be rounded spans {found.max():,.0f} steps of {steps.size:g}; expected fewer than {MOST:,}"
        )
    kind = np.uint8 if not found.size or found.max() < 256 else np.uint16
    whole = found.astype(kind)
    for axis in range(1, steps.differences + 1):
        whole = np.diff(whole, axis=-axis, prepend=kind(0))  # wraps round, and so does the sum that undoes it
    # All low bytes, then all high ones: these repeat, and those do not.
    planes = whole.astype(f"<u{whole.itemsize}").reshape(-1, 1).view(np.uint8).T
    content = np.frombuffer(zlib.compress(planes.tobytes(), 9), dtype=np.uint8)
    about = {
        "shape": list(values.shape),
        "dtype": values.dtype.name,
        "step": steps.size,
        "log": steps.log,
        "differences": steps.differences,
        "first": first,
        "bytes": whole.itemsize,
    }
    return content, about


def restored(content: NDArray[np.uint8], about: Mapping[str, Any]) -> NDArray[Any]:
    """The array that `coarsened` gave as bytes.

    Raises:
        ValueError: if they are damaged, or of another size than they should be.
    """
    shape, size = tuple(about["shape"]), about["bytes"]
    count = math.prod(shape) * size
    reader = zlib.decompressobj()
    try:
        raw = reader.decompress(content.tobytes(), count + 1)
    except zlib.error as error:
        raise ValueError(f"a coarse array is damaged ({error})") from None
    if len(raw) != count or not (reader.eof or not count):
        raise ValueError(f"a coarse array has {len(raw)} bytes or more; expected {count}")
    planes = np.frombuffer(raw, dtype=np.uint8).reshape(size, -1)
    whole = np.ascontiguousarray(planes.T).view(f"<u{size}").reshape(shape)
    for axis in range(1, about["differences"] + 1):
        whole = np.cumsum(whole, axis=-axis, dtype=whole.dtype)
    found = (whole.astype(np.float64) + about["first"]) * about["step"]
    return np.asarray(np.exp(found) if about["log"] else found).astype(about["dtype"])
