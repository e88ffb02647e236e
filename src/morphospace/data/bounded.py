"""Reading no more than a file can justify: what a header claims is checked before anything is allocated."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Protocol, runtime_checkable

from morphospace.types import DataError

__all__ = ["Reader", "check_claim", "read_exactly", "refusing"]

_SMALL = 64 << 20
"""A claim of up to this many bytes is harmless, however small the file."""

_RATIO = 256
"""Expansion that image sets reach (dSprites, two colours, is packed 115 to 1); a deflate bomb has 1000 to 1."""

_CHUNK = 1 << 20


@runtime_checkable
class Reader(Protocol):
    """A stream of bytes, plain or unpacking as it is read."""

    def read(self, size: int, /) -> bytes: ...


def check_claim(path: str | PathLike[str], field: str, claimed: int, stored: int) -> None:
    """Refuse a packed file that claims to unpack to more than its ``stored`` bytes can plausibly hold.

    Raises:
        DataError: the claim is more than 64 MiB and more than 256 times what is stored.
    """
    if claimed > max(_SMALL, _RATIO * stored):
        raise DataError(
            f"{path}: {field} claims {claimed:,} bytes, packed into {stored:,}; at most {_RATIO} times as much "
            "is believed. If the file is sound, save it unpacked."
        )


def read_exactly(stream: Reader, count: int, path: str | PathLike[str], field: str) -> bytearray:
    """Read ``count`` bytes, after which ``stream`` must end.

    The buffer grows with what is really there, so a false ``count`` costs no memory.

    Raises:
        DataError: the stream ends before, or goes on.
    """
    content = bytearray()
    while len(content) < count:
        chunk = stream.read(min(_CHUNK, count - len(content)))
        if not chunk:
            raise DataError(f"{path}: {field} ends after {len(content):,} bytes; the header claims {count:,}")
        content += chunk
    if stream.read(1):
        raise DataError(f"{path}: {field} goes on after the {count:,} bytes that the header claims")
    return content


@contextmanager
def refusing(path: str | PathLike[str], kind: str) -> Iterator[None]:
    """Turn whatever a malformed container makes the standard library raise into a DataError with the path."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be read as {kind}: {error.strerror or error}") from error
    except (EOFError, ValueError, ArithmeticError, NotImplementedError, RuntimeError, LookupError) as error:
        raise DataError(f"{path}: cannot be read as {kind}: {error}") from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as {kind}: {error}") from error
