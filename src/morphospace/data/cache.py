"""Decoded images kept in the per-user cache, so that a folder is decoded once.

An entry is a folder ``decoded/KEY`` with ``pixels.npy`` (memory-mapped when read) and ``set.json``. The key is
a hash of all that decides the pixels: each file's path, size and time of change, the shape, and the policy.
An entry that is damaged in any way does not exist; one that cannot be written is done without. Deletable.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from morphospace.data.batch import Row
from morphospace.data.decode import BadImage
from morphospace.data.numpy_files import read_npy
from morphospace.data.places import user_cache
from morphospace.files import sync_folder, write_text
from morphospace.types import DataError, ImageSpec

__all__ = ["Decoded", "in_memory", "key_of", "recall", "recall_spec", "remember_spec", "through_cache"]


class Decoded(NamedTuple):
    """The images of a list of files that could be decoded.

    Attributes:
        pixels: (M, C, H, W) uint8.
        kept: (M,) positions of the images in the list of files.
        failures: reason by position, for the others.
    """

    pixels: NDArray[np.uint8]
    kept: NDArray[np.int64]
    failures: dict[int, str]


def key_of(*parts: Any) -> str:
    """A key for JSON-ready ``parts``."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def recall_spec(key: str) -> ImageSpec | None:
    """The shape that a survey found, if it is remembered under ``key``."""
    try:
        return ImageSpec(*json.loads((_folder() / f"{key}.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def remember_spec(key: str, spec: ImageSpec) -> None:
    """Remember what a survey found, if the cache can be written."""
    try:
        write_text(_folder() / f"{key}.json", json.dumps(spec.shape))
    except OSError:
        return


def recall(key: str, spec: ImageSpec) -> Decoded | None:
    """The entry under ``key``, or None if there is none that is whole."""
    entry = _folder() / key
    try:
        about = json.loads((entry / "set.json").read_text())
        pixels = read_npy(entry / "pixels.npy")
        kept = np.asarray(about["kept"], np.int64)
        failures = {int(position): str(reason) for position, reason in about["failures"].items()}
        whole = pixels.shape == (len(kept), *spec.shape) and pixels.dtype == np.uint8
        if whole and _digest(pixels) == about["sha256"]:
            return Decoded(pixels, kept, failures)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, DataError):
        pass
    return None


def through_cache(key: str, spec: ImageSpec, rows: Callable[[], Iterator[Row]]) -> Decoded:
    """Write the images of ``rows()`` to the cache as they come, and return them memory-mapped.

    A cache that cannot be written (read-only, full) is done without: the images are then kept in memory, for
    which ``rows`` is called once more.
    """
    try:
        decoded = _store(_folder() / key, spec, rows())
    except OSError:
        decoded = None
    return decoded or in_memory(spec, rows())


def _folder() -> Path:
    return user_cache() / "decoded"


def _store(entry: Path, spec: ImageSpec, rows: Iterator[Row]) -> Decoded | None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".new-", ignore_cleanup_errors=True) as name:
        beside = Path(name) / "entry"
        beside.mkdir()
        with (beside / "pixels.npy").open("xb") as file:
            kept, failures = _write_rows(file, spec, rows)
        digest = _digest(read_npy(beside / "pixels.npy"))
        about = {"kept": kept, "failures": failures, "sha256": digest}
        write_text(beside / "set.json", json.dumps(about))
        shutil.rmtree(entry, ignore_errors=True)  # a damaged one, or the same from another process
        beside.replace(entry)
    sync_folder(entry.parent)
    return Decoded(read_npy(entry / "pixels.npy"), np.asarray(kept, np.int64), failures)


def _write_rows(file: IO[bytes], spec: ImageSpec, rows: Iterator[Row]) -> tuple[list[int], dict[int, str]]:
    kept: list[int] = []
    failures: dict[int, str] = {}
    _write_header(file, (0, *spec.shape))
    for position, row in enumerate(rows):
        if isinstance(row, BadImage):
            failures[position] = row.reason
        else:
            kept.append(position)
            file.write(
                row.tobytes()
            )  # and not through a memory map, which a full disk would kill with SIGBUS
    file.seek(0)
    _write_header(file, (len(kept), *spec.shape))
    return kept, failures


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    # numpy leaves room for the first axis to grow, so the header is as long for any number of images.
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def in_memory(spec: ImageSpec, rows: Iterator[Row]) -> Decoded:
    """Collect ``rows`` without the cache."""
    images: list[NDArray[np.uint8]] = []
    kept: list[int] = []
    failures: dict[int, str] = {}
    for position, row in enumerate(rows):
        if isinstance(row, BadImage):
            failures[position] = row.reason
        else:
            kept.append(position)
            images.append(row)
    pixels = np.stack(images) if images else np.empty((0, *spec.shape), np.uint8)
    return Decoded(pixels, np.asarray(kept, np.int64), failures)


def _digest(pixels: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
