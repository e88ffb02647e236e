"""Labels as people have them (numbers, names, a column) turned into positions among class names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morphospace.data.names import natural
from morphospace.types import DataError, UnknownName, UsageError

__all__ = ["chosen", "positions"]


def positions(
    labels: NDArray[Any] | Sequence[Any], classes: Sequence[str] | None, count: int, where: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Turn ``labels`` into positions in ``classes``.

    Without ``classes``, the classes are the values that occur: numbers in their order, names in natural order.
    With ``classes``, numbers are positions in them and names must be among them.

    Returns:
        (N,) int64 positions, and the class names.

    Raises:
        DataError: a label count, shape, type or value that does not fit; ``where`` begins the message.
    """
    values = np.asarray(labels)
    if values.ndim == 2 and values.shape[1] == 1:  # a column, as Keras gives CIFAR's labels
        values = values[:, 0]
    if values.shape != (count,):
        raise DataError(f"{where}: labels have shape {values.shape}; expected ({count},), one per image")
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind not in "biuU":
        raise DataError(f"{where}: labels are {values.dtype}; expected whole numbers or names")
    names = tuple(map(str, classes)) if classes is not None else None
    if names is not None and len(set(names)) < len(names):
        raise DataError(f"{where}: a class name occurs twice among {', '.join(names)}")
    if values.dtype.kind == "U":
        return _of_names(values, names, where)
    return _of_numbers(values, names, where)


def _of_names(
    values: NDArray[Any], names: tuple[str, ...] | None, where: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    found, inverse = np.unique(values, return_inverse=True)
    if names is None:
        names = tuple(sorted(map(str, found), key=natural))
    if unknown := [str(v) for v in found if str(v) not in names]:
        raise DataError(f"{where}: label '{unknown[0]}' is not among the classes {', '.join(names)}")
    place = {name: i for i, name in enumerate(names)}
    return np.array([place[str(v)] for v in found], np.int64)[inverse], names


def _of_numbers(
    values: NDArray[Any], names: tuple[str, ...] | None, where: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    if names is None:
        found, inverse = np.unique(values, return_inverse=True)
        return inverse.astype(np.int64), tuple(str(v) for v in found.tolist())
    if len(values) and not 0 <= int(values.min()) <= int(values.max()) < len(names):
        raise DataError(
            f"{where}: labels run from {values.min()} to {values.max()}; with {len(names)} classes they are "
            f"expected from 0 to {len(names) - 1}"
        )
    return values.astype(np.int64), names


def chosen(labels: Any, classes: Sequence[str], count: int) -> NDArray[Any]:
    """What a person chose among known classes, for each of ``count`` images.

    Args:
        labels: one class for all, or one for each: a name, however its letters are sized, or a position; or weights of
            all classes for each, which sum to one.
        classes: Y names.
        count: N.

    Returns:
        (N,) int64 positions, or (N, Y) float32 weights.

    Raises:
        UnknownName: a class that is not among them, with the close match.
        UsageError: another number of labels, positions that there are not, or weights that are none.
    """
    given = [labels] * count if isinstance(labels, str | int) else labels
    values = np.asarray(given)
    if values.dtype.kind == "f" and values.ndim == 2:
        even = values.shape == (count, len(classes)) and bool((values >= 0).all())
        if not (even and np.abs(values.sum(1) - 1).max(initial=0) < 1e-4):
            raise UsageError(
                f"the labels are numbers of shape {values.shape}; expected ({count}, {len(classes)}) weights from "
                "0, one for each class, in rows that sum to one"
            )
        return values.astype(np.float32)
    if values.shape != (count,) or values.dtype.kind not in "iuU":
        raise UsageError(
            f"the labels are {values.dtype} of shape {values.shape}; expected names or positions of classes: one for "
            f"all, or {count} of them"
        )
    if values.dtype.kind == "U":
        place = {name.casefold(): i for i, name in enumerate(classes)}
        for name in dict.fromkeys(values.tolist()):
            if name.casefold() not in place:
                raise UnknownName("class", name, classes)
        return np.array([place[name.casefold()] for name in values.tolist()], np.int64)
    if count and not 0 <= int(values.min()) <= int(values.max()) < len(classes):
        raise UsageError(
            f"the labels run from {values.min()} to {values.max()}; expected positions from 0 to {len(classes) - 1}"
        )
    return values.astype(np.int64)
