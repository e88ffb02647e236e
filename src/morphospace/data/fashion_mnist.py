"""Fashion-MNIST: found on this machine or downloaded, and checked to be the publisher's, bit by bit.

Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
arXiv:1708.07747 (2017); https://github.com/zalandoresearch/fashion-mnist. MIT licence.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from morphospace.data.bounded import refusing
from morphospace.data.download import fetch
from morphospace.data.idx import parse_idx
from morphospace.data.images import Images
from morphospace.data.places import data_roots, user_cache
from morphospace.data.split import PUBLISHED
from morphospace.types import DataError, DataNotFound, Progress, silent

__all__ = ["CLASSES", "MIRRORS", "fashion_mnist"]

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
"""The publisher's class names, in the order of the labels."""

MIRRORS = (
    "https://fashion-mnist.s3.eu-central-1.amazonaws.com",  # the publisher's store, over TLS
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",  # and repository
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets",  # the copy that Keras downloads
)

_LAYOUTS = ("", "fashion-mnist", "FashionMNIST/raw")
"""Where the files may lie below a root; the last is torchvision's way."""


class _File(NamedTuple):
    name: str
    size: int
    """Bytes, unpacked."""
    sha256: str
    """Of the unpacked content: packing differs between mirrors, what is packed does not."""


_TRAIN = (
    _File(
        "train-images-idx3-ubyte",
        47_040_016,
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    _File(
        "train-labels-idx1-ubyte", 60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
    ),
)
_TEST = (
    _File(
        "t10k-images-idx3-ubyte",
        7_840_016,
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    _File(
        "t10k-labels-idx1-ubyte", 10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    ),
)


def fashion_mnist(
    *,
    root: str | os.PathLike[str] | None = None,
    download: bool = True,
    mirrors: Sequence[str] = MIRRORS,
    progress: Progress = silent,
) -> Images:
    """Load Fashion-MNIST: 70,000 grey images of 28×28 pixels, ten classes, the publisher's split.

    Each file is looked for in ``root``, ``$MORPHOSPACE_DATA`` and the per-user cache, as it is or gzipped, also
    below ``fashion-mnist/`` and ``FashionMNIST/raw/``; then it is downloaded into the cache.

    Raises:
        DataNotFound: the files are nowhere, and cannot or may not be downloaded.
        DataError: a file that is not the publisher's.
    """
    roots = data_roots(root)
    images: list[NDArray[Any]] = []
    labels: list[NDArray[Any]] = []
    for part in (_TRAIN, _TEST):
        for file, arrays in zip(part, (images, labels), strict=True):
            path = _find(file, roots)
            if path is None:
                path = _download(file, roots, mirrors if download else (), progress)
            content = _verified(path.read_bytes(), file, str(path), " Delete it to have it downloaded again.")
            arrays.append(parse_idx(content, str(path)))
    return Images(
        np.concatenate(images)[:, None],
        np.repeat(np.array([0, 2], np.uint8), [len(part) for part in images]),
        np.concatenate(labels).astype(np.int64),
        CLASSES,
        policy={"image_size": [28, 28], "mode": "grey", "split": PUBLISHED},
    )


def _find(file: _File, roots: Sequence[Path]) -> Path | None:
    places = (
        root / layout / (file.name + suffix)
        for root in roots
        for layout in _LAYOUTS
        for suffix in ("", ".gz")
    )
    return next((path for path in places if path.is_file()), None)


def _verified(content: bytes, file: _File, where: str, remedy: str = "") -> bytes:
    """Unpack ``content``, no further than the file can be long, and check its hash."""
    if content[:2] == b"\x1f\x8b":
        with refusing(where, "gzip"), gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            content = stream.read(file.size + 1)
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        longer = "more than " if len(content) > file.size else ""
        raise DataError(
            f"{where}: not the publisher's {file.name}: its content is {longer}{min(len(content), file.size):,} "
            f"bytes with SHA-256 {found}; expected {file.size:,} bytes with SHA-256 {file.sha256}.{remedy}"
        )
    return content


def _download(file: _File, roots: Sequence[Path], mirrors: Sequence[str], progress: Progress) -> Path:
    target = user_cache() / "fashion-mnist" / f"{file.name}.gz"
    try:
        if not mirrors:
            raise DataNotFound(f"{file.name} was not downloaded, as downloads are switched off")
        fetch(
            target.name,
            mirrors,
            target,
            lambda content: _verified(content, file, "what it sent"),
            limit=file.size + (1 << 16),  # packing makes nothing much longer
            progress=progress,
        )
    except DataNotFound as error:
        raise DataNotFound(_nowhere(roots, error)) from error
    return target


def _nowhere(roots: Sequence[Path], error: DataNotFound) -> str:
    searched = "".join(f"\n  {root}{'' if root.is_dir() else ' (no such folder)'}" for root in roots)
    names = ", ".join(f"{file.name}.gz" for file in (*_TRAIN, *_TEST))
    return (
        f"Fashion-MNIST is not on this machine, and {error}\n"
        f"Looked in:{searched}\n"
        f"To get it: fetch {names} from https://github.com/zalandoresearch/fashion-mnist into a folder and name "
        "that folder by --data-root or $MORPHOSPACE_DATA.\n"
        "The set 'garments' needs no files: it is drawn here."
    )
