"""``.npy`` and ``.npz`` without trust: no pickle, and no header believed beyond the bytes that are there.

The header is parsed here rather than by `numpy.load`, which allocates what a header claims and raises
whatever its parser happens to meet.
"""

from __future__ import annotations

import ast
import math
import re
import struct
import zipfile
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from morphospace.data.bounded import Reader, check_claim, read_exactly, refusing
from morphospace.types import DataError

__all__ = ["npz_keys", "read_npy", "read_npz"]

_MAGIC = b"\x93NUMPY"

_MAX_HEADER = 4096
"""Bytes; numpy writes 128 for an array of four dimensions."""

_PLAIN = re.compile(r"[<>|=]?([biuf](1|2|4|8)|[US]\d{1,4})$")
"""Types that hold values, not objects: bool, integers, floats, text of a fixed width."""


class _Header(NamedTuple):
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    length: int

    @property
    def claimed(self) -> int:
        """Bytes of values that the header claims."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_npy(path: str | PathLike[str]) -> NDArray[Any]:
    """Open a ``.npy`` file memory-mapped, read-only.

    Raises:
        DataError: not ``.npy``, an array of objects, or a length that is not what the header claims.
    """
    path = Path(path)
    with refusing(path, ".npy"):
        stored = path.stat().st_size
        with path.open("rb") as stream:
            header = _read_header(stream, str(path))
        _check_length(header, stored, str(path))
        if not header.claimed:
            return np.empty(header.shape, header.dtype)
        return np.memmap(path, header.dtype, "r", header.length, header.shape, "F" if header.fortran else "C")


def npz_keys(path: str | PathLike[str]) -> tuple[str, ...]:
    """Names of the arrays in a ``.npz`` file."""
    with refusing(path, ".npz"), zipfile.ZipFile(path) as archive:
        return tuple(name.removesuffix(".npy") for name in archive.namelist())


def read_npz(path: str | PathLike[str], keys: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Read the arrays named ``keys`` out of a ``.npz`` file.

    Raises:
        DataError: not ``.npz``, a key that is not there, or a member that is packed, sized or typed unsoundly.
    """
    path = Path(path)
    with refusing(path, ".npz"), zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy"): archive.getinfo(name) for name in archive.namelist()}
        wanted = {key: members[key] for key in keys}
        # Members that overlap let a small file claim much; together they cannot be larger than the file.
        stored, held = sum(m.compress_size for m in wanted.values()), path.stat().st_size
        if stored > held:
            raise DataError(
                f"{path}: the members of the .npz claim {stored:,} bytes; the file holds {held:,}"
            )
        return {key: _read_member(archive, info, f"{path}: array '{key}'") for key, info in wanted.items()}


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> NDArray[Any]:
    check_claim(where, "the .npz directory", info.file_size, info.compress_size)
    with refusing(where, ".npy"), archive.open(info) as stream:
        header = _read_header(stream, where)
        _check_length(header, info.file_size, where)
        content = read_exactly(stream, header.claimed, where, "the data")
    order: Any = "F" if header.fortran else "C"
    return np.frombuffer(content, header.dtype).reshape(header.shape, order=order)


def _read_header(stream: Reader, where: str) -> _Header:
    magic = stream.read(8)
    if len(magic) < 8 or magic[:6] != _MAGIC:
        raise DataError(f"{where}: .npy magic is {magic[:6]!r}; expected {_MAGIC!r}")
    if magic[6] not in (1, 2, 3):
        raise DataError(f"{where}: .npy format version is {magic[6]}; known are 1, 2 and 3")
    width, code = (2, "<H") if magic[6] == 1 else (4, "<I")
    (length,) = struct.unpack(code, stream.read(width).ljust(width, b"\0"))
    if length > _MAX_HEADER:
        raise DataError(f"{where}: .npy header claims {length:,} bytes; at most {_MAX_HEADER:,} are read")
    text = stream.read(length)
    if len(text) < length:
        raise DataError(f"{where}: .npy header ends after {len(text)} bytes; it claims {length}")
    return _parse_header(text, 8 + width + length, where)


def _parse_header(text: bytes, length: int, where: str) -> _Header:
    try:
        fields = ast.literal_eval(text.decode().strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        fields = None
    if not isinstance(fields, dict) or set(fields) != {"descr", "fortran_order", "shape"}:
        raise DataError(f"{where}: .npy header is not a dictionary of descr, fortran_order and shape")
    descr, shape, fortran = fields["descr"], fields["shape"], fields["fortran_order"]
    if not isinstance(descr, str) or not _PLAIN.match(descr):
        raise DataError(
            f"{where}: .npy descr is {str(descr)[:60]!r}; expected numbers or text of a fixed width "
            "(arrays of objects would need pickle, which can run any code and is never read)"
        )
    sound = isinstance(shape, tuple) and all(type(n) is int and 0 <= n < 2**63 for n in shape)
    if not sound or len(shape) > 8:
        raise DataError(f"{where}: .npy shape is {str(shape)[:60]}; expected up to 8 sizes")
    if not isinstance(fortran, bool):
        raise DataError(f"{where}: .npy fortran_order is {str(fortran)[:60]}; expected True or False")
    return _Header(np.dtype(descr), shape, fortran, length)


def _check_length(header: _Header, stored: int, where: str) -> None:
    found = stored - header.length
    if header.claimed != found:
        raise DataError(
            f"{where}: .npy shape {header.shape} of {header.dtype} claims {header.claimed:,} bytes of data; "
            f"there are {found:,}"
        )
