"""IDX, the format of MNIST and its descendants: plain or gzipped, parsed here, believed only as far as it is true.

Four bytes (two zeros, a type code, the number of dimensions), one big-endian uint32 per dimension, the values.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import struct
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morphospace.data.bounded import Reader, check_claim, read_exactly, refusing
from morphospace.types import DataError

__all__ = ["is_idx_name", "labels_beside", "parse_idx", "read_idx"]

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 4
_NAME = re.compile(r"(\.idx\d?|[-.]ubyte)(\.gz)?$", re.IGNORECASE)


def is_idx_name(name: str) -> bool:
    """Whether a file of this name is read as IDX: ``*.idx``, ``*.idx3``, ``*-ubyte``, each also with ``.gz``."""
    return _NAME.search(name) is not None


def read_idx(path: str | PathLike[str]) -> NDArray[Any]:
    """Read an IDX file, gzipped or not (told by its content).

    Returns:
        The array, with the type and the dimensions that the header gives.

    Raises:
        DataError: not IDX, or its length is not what the header claims; names the file and the field.
    """
    path = Path(path)
    with refusing(path, "IDX"):
        stored = path.stat().st_size
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not packed:
                return _read(file, path, stored, packed=False)
            with gzip.GzipFile(fileobj=file) as stream:
                return _read(stream, path, stored, packed=True)


def parse_idx(content: bytes, name: str) -> NDArray[Any]:
    """`read_idx` of unpacked ``content``; ``name`` is for messages."""
    return _read(io.BytesIO(content), name, len(content), packed=False)


def labels_beside(path: Path) -> Path | None:
    """The label file that belongs to an image file by MNIST's naming, if it exists.

    ``train-images-idx3-ubyte`` goes with ``train-labels-idx1-ubyte``, either of them gzipped or not.
    """
    name = path.name.removesuffix(".gz")
    wanted = re.sub(r"idx\d", "idx1", name.replace("images", "labels"))
    if "images" not in name or wanted == name:
        return None
    beside = (path.with_name(wanted + suffix) for suffix in ("", ".gz"))
    return next((p for p in beside if p.is_file()), None)


def _read(stream: Reader, path: str | PathLike[str], stored: int, *, packed: bool) -> NDArray[Any]:
    dtype, shape = _header(stream, path)
    claimed = math.prod(shape) * dtype.itemsize
    if packed:
        check_claim(path, f"IDX dimensions {shape}", claimed, stored)
    elif claimed != (found := stored - 4 - 4 * len(shape)):
        raise DataError(
            f"{path}: IDX dimensions {shape} of {dtype.itemsize}-byte values claim {claimed:,} bytes of data; "
            f"the file holds {found:,}"
        )
    content = read_exactly(stream, claimed, path, "IDX data")
    return np.frombuffer(content, dtype).reshape(shape)


def _header(stream: Reader, path: str | PathLike[str]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(f"{path}: IDX magic is {magic.hex(' ') or 'missing'}; expected 00 00, a type, a rank")
    code, rank = magic[2], magic[3]
    if code not in _TYPES:
        known = ", ".join(f"{c:#04x}" for c in _TYPES)
        raise DataError(f"{path}: IDX type code is {code:#04x}; known are {known}")
    if not 1 <= rank <= _MAX_DIMENSIONS:
        raise DataError(f"{path}: IDX number of dimensions is {rank}; expected 1 to {_MAX_DIMENSIONS}")
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise DataError(
            f"{path}: IDX dimensions end after {len(sizes)} bytes; {rank} of them take {4 * rank}"
        )
    return np.dtype(_TYPES[code]), struct.unpack(f">{rank}I", sizes)
