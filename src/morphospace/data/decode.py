"""One image file to pixels, by one policy. What the policy is, and why, stands in docs/data.md.

Every decision that changes a pixel is made here; `POLICY` is its record, kept in each run, and its version
("decoder") must grow with any change that would decode a file to other bytes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from morphospace.data.sizes import cover
from morphospace.types import DataError, ImageSpec

__all__ = [
    "IMAGE_SUFFIXES",
    "POLICY",
    "BadImage",
    "Header",
    "check_policy",
    "decode",
    "quietly",
    "read_header",
]

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
"""Formats that are read, by content; others are not even tried, which keeps old parsers away from strange files."""

MAX_PIXELS = 80_000_000
"""Refused above; Pillow warns of decompression bombs from 89 million on."""

POLICY: dict[str, Any] = {
    "decoder": 1,
    "formats": list(FORMATS),
    "max_pixels": MAX_PIXELS,
    "orientation": "EXIF applied",
    "frame": "first",
    "alpha": "over white",
    "depth": "scaled to 8 bits, never clipped",
    "colour": "profiles ignored; grey is BT.601 luma",
    "resize": "cover, centre crop, Lanczos",
}

_READ = ".png .apng .jpg .jpeg .jpe .jfif .mpo .gif .bmp .dib .tif .tiff .webp .ppm .pgm .pbm .pnm .pfm"
_NAMED = ".avif .heic .heif .jp2 .j2k .jxl .ico .icns .tga .psd .svg .eps .pcx .dds .exr .hdr .cr2 .nef .dng"
"""Not read, but pictures to a person: they are named among the skipped instead of missing without a word."""

IMAGE_SUFFIXES = frozenset(f"{_READ} {_NAMED}".split())
"""Files with other suffixes in a folder are not taken for images."""

_ORIENTATION = 0x0112
_DRAFT = 3
"""A JPEG may be decoded smaller when still 3 times what is wanted; Lanczos then gives nearly the same pixels."""


class BadImage(DataError):
    """An image file that cannot be used; ``reason`` says why without the path."""

    def __init__(self, path: str | PathLike[str], reason: str) -> None:
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class Header(NamedTuple):
    """What a file says of itself: (height, width) after orientation, and whether it is stored in colour."""

    size: tuple[int, int]
    colour: bool


def check_policy(policy: dict[str, Any]) -> None:
    """Refuse a stored policy that this version cannot repeat; an empty one (a set not decoded here) is fine.

    Raises:
        DataError: the policy is of another version than `POLICY`.
    """
    if policy.get("decoder", POLICY["decoder"]) != POLICY["decoder"]:
        raise DataError(
            f"the run decoded its images by policy {policy['decoder']}; this version of morphospace knows "
            f"policy {POLICY['decoder']}. Use the version that made the run."
        )


@contextmanager
def quietly() -> Iterator[None]:
    """Silence Pillow's warnings of odd files: what matters about a file is decided by whether it decodes.

    Enter it once, around all threads: the filters it changes belong to the process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_header(path: str | PathLike[str]) -> Header:
    """Read a file's size and colour without decoding it.

    Raises:
        BadImage: as `decode`, as far as the header tells.
    """
    with _opened(path) as image:
        # Asking a PNG without EXIF in its header for EXIF would decode it all, in search of a later chunk.
        known = image.format != "PNG" or "exif" in image.info
        turned = known and image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
        width, height = _stored_size(image)
        size = (width, height) if turned else (height, width)
        return Header(size, _in_colour(image))


def decode(path: str | PathLike[str], spec: ImageSpec) -> NDArray[np.uint8]:
    """Decode one file under the policy.

    Returns:
        (C, H, W) uint8 of the shape that ``spec`` gives.

    Raises:
        BadImage: missing, damaged, of another format, too large, or of a depth without a known white.
    """
    size = spec.height, spec.width
    with _opened(path) as opened:
        if opened.format in ("JPEG", "MPO"):
            opened.draft(None, _draft_size(opened, size))
        depth = _depth(opened)
        image = ImageOps.exif_transpose(opened)
        image = _over_white(_in_eight_bits(image, depth))
        image = cover(image.convert("L" if spec.channels == 1 else "RGB"), size)
        pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0))


@contextmanager
def _opened(path: str | PathLike[str]) -> Iterator[Image.Image]:
    # Pillow raises nearly anything on a malformed file; whatever it is, the file is bad and the reason is kept.
    try:
        if not Path(path).is_file():
            raise BadImage(path, "there is no such file" if not Path(path).exists() else "is not a file")
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise BadImage(path, _too_large(f"{image.width * image.height:,} pixels"))
            yield image
    except BadImage:
        raise
    except UnidentifiedImageError as error:
        empty = Path(path).stat().st_size == 0
        known = ", ".join(FORMATS)
        raise BadImage(
            path, "is empty" if empty else f"is no image of a format that is read ({known})"
        ) from error
    except Image.DecompressionBombError as error:
        raise BadImage(path, _too_large("more pixels than Pillow opens")) from error
    except Image.DecompressionBombWarning as error:
        raise BadImage(path, _too_large("more pixels than Pillow opens")) from error
    except OSError as error:
        raise BadImage(path, f"cannot be decoded: {error.strerror or error}") from error
    except Exception as error:
        raise BadImage(path, f"cannot be decoded: {error or type(error).__name__}") from error


def _too_large(found: str) -> str:
    return f"has {found}; at most {MAX_PIXELS:,} are decoded"


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) before orientation, which Pillow has already applied to the size of a TIFF."""
    tags = getattr(image, "tag_v2", None)
    return image.size if tags is None else (int(tags[256]), int(tags[257]))


def _draft_size(image: Image.Image, size: tuple[int, int]) -> tuple[int, int]:
    """The (width, height) that covers ``size`` three times over, however the image is turned."""
    shorter, longer = min(image.size), max(size)
    scale = _DRAFT * longer / shorter
    return math.ceil(image.width * scale), math.ceil(image.height * scale)


def _in_colour(image: Image.Image) -> bool:
    if image.mode != "P":
        return image.mode not in ("1", "L", "LA", "La", "I", "F") and not image.mode.startswith("I;16")
    palette = image.palette
    if palette is None or palette.palette is None:
        return True
    entries = np.frombuffer(bytes(palette.palette), np.uint8)
    planar = palette.rawmode == "RGB;L"  # TIFF stores all reds, then all greens, then all blues
    width = len(palette.rawmode or "RGB")
    if entries.size % (3 if planar else width):
        return True
    rgb = entries.reshape(3, -1).T if planar else entries.reshape(-1, width)[:, :3]
    return bool((rgb != rgb[:, :1]).any())


class _Depth(NamedTuple):
    """How integers deeper than 8 bits are meant."""

    white: int | None
    """The greatest value; None if the file does not say."""
    inverted: bool = False
    """Whether 0 is white: TIFF can have it so, and Pillow leaves it so beyond 8 bits."""


def _depth(image: Image.Image) -> _Depth:
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return _Depth(0xFFFF)  # PNG and PPM: Pillow scales them to 16 bits by the depth that they declare
    bits, signed = int(tags.get(258, (16,))[0]), int(tags.get(339, (1,))[0]) != 1
    return _Depth(None if signed or bits > 16 else (1 << bits) - 1, tags.get(262) == 0)


def _in_eight_bits(image: Image.Image, depth: _Depth) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        values, white = np.asarray(image).astype(np.int64), depth.white
        if white is None or values.min() < 0 or values.max() > white:
            raise DataError(f"integer pixels from {values.min()} to {values.max()} have no known white")
        scaled = Image.fromarray(((values * 255 + white // 2) // white).astype(np.uint8))
        return ImageOps.invert(scaled) if depth.inverted else scaled
    if image.mode == "F":
        values = np.asarray(image)
        least, greatest = float(values.min()), float(values.max())
        if not (least >= 0 and greatest <= 1):
            raise DataError(f"float pixels run from {least:g} to {greatest:g}; expected 0 to 1")
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    return image


def _over_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data and image.mode not in ("La", "RGBa"):
        return image.convert("RGB") if image.mode == "P" else image
    grey = image.mode in ("1", "L", "LA", "La")
    image = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, "LA" if grey else "RGBA"))
    paper = Image.new("L" if grey else "RGB", image.size, "white")
    paper.paste(image.convert(paper.mode), mask=image.getchannel("A"))
    return paper
