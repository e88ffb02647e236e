"""Arrays as people have them turned into uint8 (N, C, H, W), by rules that are written down here.

Layout. (N, H, W) is grey. Of four axes, the channels are the last if it has 1, 3 or 4 entries, otherwise the
second if that has; where both have, the last. Four channels are RGB and alpha.

Values. uint8 as it is; bool as 0 and 255; uint16 by its depth, 65535 becoming 255; floats from 0 to 1, of which nan
stands for a pixel that is not known. Nothing is clipped and nothing is guessed: other types and ranges are refused,
with what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from morphospace.data.sizes import cover
from morphospace.types import DataError, Progress, silent

__all__ = ["MODES", "conform", "known_pixels", "to_pixels"]

MODES = ("auto", "grey", "rgb")

_CHUNK = 4096
"""Images converted at a time, so that a memory-mapped set never has to fit in memory twice."""


def to_pixels(array: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Bring ``array`` into uint8 (N, C, H, W) with C of 1, 3 or 4; uint8 arrays are viewed, not copied.

    Args:
        array: (N, H, W), (N, H, W, C) or (N, C, H, W); uint8, bool, uint16, or floats from 0 to 1. What is nan
            becomes nought; see `known_pixels`.
        where: what the array is, for messages.

    Raises:
        DataError: a shape, type or range for which there is no rule.
    """
    laid_out = _channels_first(array, where)
    if not laid_out.size:
        raise DataError(f"{where}: shape {array.shape} holds no images")
    if laid_out.dtype == np.uint8:
        _refuse_zero_one(laid_out, where)
        return laid_out
    if laid_out.dtype.kind not in "bf" and laid_out.dtype.newbyteorder("=") != np.uint16:
        raise DataError(
            f"{where}: values are {array.dtype}; expected uint8, bool, uint16 or floats from 0 to 1. "
            "Integers that run from 0 to 255 can be given as array.astype('uint8')."
        )
    pixels = np.empty(laid_out.shape, np.uint8)
    for rows in _chunks(len(pixels)):
        pixels[rows] = _eight_bit(laid_out[rows], where)
    return pixels


def known_pixels(array: NDArray[Any], where: str) -> NDArray[np.bool_] | None:
    """Which pixels of ``array`` are known, (N, 1, H, W): those that are nan in no channel; None if all are.

    Raises:
        DataError: an image of which nothing is known.
    """
    laid_out = _channels_first(array, where)
    if laid_out.dtype.kind != "f":
        return None
    known = np.empty((len(laid_out), 1, *laid_out.shape[2:]), np.bool_)
    for rows in _chunks(len(known)):
        known[rows] = ~np.isnan(laid_out[rows]).any(1, keepdims=True)
    if known.all():
        return None
    empty = np.flatnonzero(~known.any((1, 2, 3)))
    if len(empty):
        raise DataError(
            f"{where}: every pixel of image {empty[0]} is nan; leave out images of which nothing is known"
        )
    return known


def conform(
    pixels: NDArray[np.uint8], size: tuple[int, int] | None, mode: str, progress: Progress = silent
) -> NDArray[np.uint8]:
    """Bring pixels to ``size`` (None: as they are) and ``mode`` (``auto``: as they are), alpha over white.

    Args:
        pixels: (N, C, H, W) uint8 with C of 1, 3 or 4.
        size: height and width in pixels.
        mode: one of `MODES`.
        progress: called as images are resized.
    """
    count, channels, height, width = pixels.shape
    wanted = {"auto": min(channels, 3), "grey": 1, "rgb": 3}[mode]
    size = size or (height, width)
    if (channels, height, width) == (wanted, *size):
        return pixels
    result = np.empty((count, wanted, *size), np.uint8)
    for rows in _chunks(count):
        progress("converting images", float(rows.start), float(count))
        coloured = _recolour(pixels[rows], wanted)
        result[rows] = coloured if size == (height, width) else [_resize(image, size) for image in coloured]
    progress("converting images", float(count), float(count))
    return result


def _channels_first(array: NDArray[Any], where: str) -> NDArray[Any]:
    if array.ndim == 3:
        return array[:, None]
    if array.ndim == 4 and array.shape[3] in (1, 3, 4):
        return np.moveaxis(array, 3, 1)
    if array.ndim == 4 and array.shape[1] in (1, 3, 4):
        return array
    raise DataError(
        f"{where}: shape is {array.shape}; expected (N, H, W), (N, H, W, C) or (N, C, H, W) with C of 1, 3 or 4"
    )


def _refuse_zero_one(pixels: NDArray[np.uint8], where: str) -> None:
    """Masks stored as 0 and 1 would be images of black on black."""
    greatest = 0
    for rows in _chunks(len(pixels)):
        greatest = max(greatest, int(pixels[rows].max()))
        if greatest > 1:
            return
    if greatest == 1:
        raise DataError(
            f"{where}: values are uint8 but never above 1; give 0 and 1 as array.astype(bool), or scale to 255"
        )


def _eight_bit(values: NDArray[Any], where: str) -> NDArray[np.uint8]:
    if values.dtype == np.bool_:
        return np.where(values, np.uint8(255), np.uint8(0))
    if values.dtype.kind == "u":
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    values = np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf)
    least, greatest = float(values.min()), float(values.max())
    if not (least >= 0 and greatest <= 1):
        raise DataError(
            f"{where}: values are {values.dtype} from {least:g} to {greatest:g}; floats are expected from 0 to 1. "
            "Divide by the greatest value that they can have."
        )
    return np.rint(values.astype(np.float32) * 255).astype(np.uint8)


def _recolour(pixels: NDArray[np.uint8], wanted: int) -> NDArray[np.uint8]:
    if pixels.shape[1] == 4:
        alpha = pixels[:, 3:].astype(np.uint32)
        pixels = ((pixels[:, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    if pixels.shape[1] == 3 and wanted == 1:
        # ITU-R BT.601 luma in the fixed point that Pillow uses, so that files and arrays agree.
        weights = np.array([19595, 38470, 7471], np.uint32)[:, None, None]
        luma: NDArray[np.uint32] = (pixels * weights).sum(1, keepdims=True, dtype=np.uint32)
        return ((luma + 0x8000) >> 16).astype(np.uint8)
    return np.broadcast_to(pixels, (len(pixels), wanted, *pixels.shape[2:]))


def _resize(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    planes = [np.asarray(cover(Image.fromarray(plane), size)) for plane in image]
    return np.stack(planes)


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK))
