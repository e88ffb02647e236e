"""Tables of latents as files: CSV for people, NPZ for NumPy, Parquet for data frames; written and read."""

from __future__ import annotations

import csv
import io
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morphospace.files import atomic, write_bytes, write_text
from morphospace.types import DataError, MissingExtra, UsageError

__all__ = ["SUFFIXES", "need_parquet", "read_points", "write_table"]

SUFFIXES = (".csv", ".npz", ".parquet")

Column = NDArray[Any] | Sequence[str]


def write_table(path: Path, columns: Mapping[str, Column]) -> None:
    """Write named columns of equal length in the format that the suffix names.

    Raises:
        MissingExtra: for Parquet without pyarrow.
    """
    match path.suffix.lower():
        case ".csv":
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(columns)
            # The text of a float32 is the shortest that reads back as the same float32.
            writer.writerows(zip(*(_texts(column) for column in columns.values()), strict=True))
            write_text(path, text.getvalue())
        case ".npz":
            write_bytes(path, _archive(columns))
        case ".parquet":
            need_parquet()
            import pyarrow as pa
            import pyarrow.parquet as pq

            with atomic(path) as temporary:
                pq.write_table(
                    pa.table({name: _arrow(column) for name, column in columns.items()}), temporary
                )
        case _:
            raise UsageError(f"'{path}' should end in {' or '.join(SUFFIXES)}")


def _archive(columns: Mapping[str, Column]) -> bytes:
    """An NPZ. Not by `numpy.savez`, to which a column called ``file`` is its own argument."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, column in columns.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.asarray(column), allow_pickle=False)
    return buffer.getvalue()


def need_parquet() -> None:
    """Make sure that Parquet can be read and written.

    Raises:
        MissingExtra: if pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise MissingExtra("pyarrow", "parquet", "reading and writing Parquet") from None


def read_points(path: str | os.PathLike[str], dimensions: int) -> NDArray[np.float32]:
    """Points (N, D) of the latent space from a table.

    Taken are the columns ``mean_0 … mean_{D−1}``, as `write_table` writes an encoding, else ``z_0 … z_{D−1}``; a CSV
    file without such a header is read as bare numbers, D to a line; an NPZ may hold one array ``z`` or ``mean``.

    Raises:
        DataError: for a file that is not such a table, with the line where that shows.
    """
    file = Path(path)
    if file.suffix.lower() not in SUFFIXES:
        raise UsageError(f"'{file}' should end in {' or '.join(SUFFIXES)}")
    if not file.is_file():
        raise DataError(
            f"{file} does not exist; expected a table of points with {dimensions} numbers to a row"
        )
    match file.suffix.lower():
        case ".csv":
            points = _read_csv(file, dimensions)
        case ".npz":
            points = _read_npz(file, dimensions)
        case _:
            points = _read_parquet(file, dimensions)
    if not np.isfinite(points).all():
        raise DataError(
            f"{file}: row {int(np.argwhere(~np.isfinite(points))[0, 0]) + 1} has a value that is not finite"
        )
    if not len(points):
        raise DataError(f"{file} has no rows")
    return points


def _read_csv(file: Path, dimensions: int) -> NDArray[np.float32]:
    try:
        rows = [row for row in csv.reader(file.read_text(encoding="utf-8-sig").splitlines()) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is not a CSV file ({error})") from None
    if not rows:
        raise DataError(f"{file} is empty; expected {dimensions} numbers to a line")
    picked, first = list(range(dimensions)), 0
    if not all(map(_is_number, rows[0])):
        picked, first = _columns(file, rows[0], dimensions), 1
    elif len(rows[0]) != dimensions:
        raise DataError(
            f"{file} has {len(rows[0])} numbers in line 1; this space has {dimensions} dimensions"
        )
    points = np.empty((len(rows) - first, dimensions), np.float32)
    for i, row in enumerate(rows[first:]):
        try:
            points[i] = [float(row[c]) for c in picked]
        except (ValueError, IndexError):
            raise DataError(f"{file}: row {i + first + 1} is {row}; expected {dimensions} numbers") from None
    return points


def _read_npz(file: Path, dimensions: int) -> NDArray[np.float32]:
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            whole = next((archive[name] for name in ("z", "mean") if name in archive), None)
            if whole is None:
                names = _names(file, archive.files, dimensions)
                whole = np.stack([archive[name] for name in names], axis=1)
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} is not an NPZ file of numbers ({error})") from None
    if whole.ndim != 2 or whole.shape[1] != dimensions or whole.dtype.kind not in "fiu":
        raise DataError(
            f"{file} holds {whole.dtype} {whole.shape}; expected numbers of shape (N, {dimensions})"
        )
    return whole.astype(np.float32)


def _read_parquet(file: Path, dimensions: int) -> NDArray[np.float32]:
    need_parquet()
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
        names = _names(file, table.column_names, dimensions)
        return np.stack([table[name].to_numpy() for name in names], axis=1).astype(np.float32)
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"{file} is not a Parquet table of numbers ({error})") from None


def _names(file: Path, known: Sequence[str], dimensions: int) -> list[str]:
    return [known[c] for c in _columns(file, known, dimensions)]


def _columns(file: Path, header: Sequence[str], dimensions: int) -> list[int]:
    """Positions of the columns that hold the points."""
    for stem in ("mean", "z"):
        found = [i for i, name in enumerate(header) if re.fullmatch(rf"{stem}_\d+", name.strip())]
        if found:
            wanted = [f"{stem}_{d}" for d in range(dimensions)]
            positions = {header[i].strip(): i for i in found}
            if set(positions) != set(wanted):
                raise DataError(
                    f"{file} has columns {stem}_0 to {stem}_{len(found) - 1}; this space has {dimensions} dimensions"
                )
            return [positions[name] for name in wanted]
    raise DataError(
        f"{file} has the columns {', '.join(header)}; expected mean_0 to mean_{dimensions - 1}, or z_0 to "
        f"z_{dimensions - 1}"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _texts(column: Column) -> list[str]:
    return [str(value) for value in column]


def _arrow(column: Column) -> Any:
    return column if isinstance(column, np.ndarray) and column.dtype.kind in "fiu" else list(map(str, column))
