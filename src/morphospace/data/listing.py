"""Which files of a folder are images, of which class and in which split. Looks at names only, opens nothing.

The rules, also in docs/data.md:

- An image is a regular file with a suffix of images. Hidden files and folders do not count.
- A class is an immediate sub-folder with images anywhere below it. No such sub-folder, no classes.
- Sub-folders that are all named as splits (train, val or validation, test) are the publisher's split, and the
  classes are one level below.
- Images that lie beside class folders have no class: they are skipped and named, unless they are as many as
  those in class folders, when nobody can tell what is meant.
- Order: natural (2 before 10), folder by folder. A folder reached twice through links counts once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from morphospace.data.decode import IMAGE_SUFFIXES
from morphospace.data.images import Skipped
from morphospace.data.names import natural
from morphospace.types import DataError

__all__ = ["File", "Listing", "list_folder", "one_file"]

_SPLITS = {
    **dict.fromkeys(("train", "training"), 0),
    **dict.fromkeys(("val", "valid", "validation", "dev"), 1),
    **dict.fromkeys(("test", "testing"), 2),
}


@dataclass(frozen=True)
class File:
    """An image file: its name below the folder it was found in, with what tells whether it changed."""

    name: str
    path: Path
    size: int
    changed: int
    """Time of the last change, nanoseconds."""

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.name.split("/"))


@dataclass(frozen=True)
class Listing:
    """The images of a folder, in order.

    Attributes:
        files: N image files.
        classes: names of the classes; empty when the folder has none.
        labels: class name of each file; empty when the folder has no classes.
        splits: position in ``SPLITS`` of each file; empty when the folder brings no split.
        skipped: what is left out by its place, with reasons.
    """

    files: tuple[File, ...]
    classes: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[int, ...]
    skipped: tuple[Skipped, ...]


@dataclass
class _Found:
    files: list[File] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    visited: set[tuple[int, int]] = field(default_factory=set)


def one_file(path: Path, name: str) -> File:
    """The `File` at ``path`` under ``name``; a file that is not there is left for the decoder to name."""
    try:
        status = path.stat()
    except OSError:
        return File(name, path, 0, 0)
    return File(name, path, status.st_size, status.st_mtime_ns)


def list_folder(folder: Path) -> Listing:
    """List the images of ``folder`` by the rules above.

    Raises:
        DataError: no folder, no image in it, or as many images beside class folders as inside.
    """
    found = _Found()
    _walk(folder, "", found)
    if not found.files:
        raise DataError(_nothing(folder, found))
    depth = 1 if _is_split({file.parts[0] for file in found.files if len(file.parts) > 1}) else 0
    in_place, loose = _apart(found.files, depth)
    if len(loose) >= len(in_place) > 0:
        raise DataError(
            f"{folder}: {len(loose)} images lie beside folders with {len(in_place)} images, such as "
            f"{loose[0].name} beside {in_place[0].name}; a class is a sub-folder, so what are they? "
            "Move them into a sub-folder, or away."
        )
    files = tuple(in_place)
    classed = len(files[0].parts) > depth + 1
    labels = tuple(file.parts[depth] for file in files) if classed else ()
    classes = tuple(sorted(set(labels), key=natural))
    beside = (Skipped(file.name, "lies beside the class folders, so it has no class") for file in loose)
    empty = (
        Skipped(name, "holds no image, so it is no class")
        for name in found.folders
        if classed and name.count("/") == depth and name.split("/")[depth] not in classes
    )
    splits = tuple(_SPLITS[file.parts[0].casefold()] for file in files) if depth else ()
    return Listing(files, classes, labels, splits, (*found.skipped, *beside, *empty))


def _is_split(tops: set[str]) -> bool:
    """Whether sub-folders of these names are a split: training images and something to measure on."""
    kinds = {_SPLITS.get(top.casefold(), -1) for top in tops}
    return -1 not in kinds and 0 in kinds and len(kinds) > 1


def _apart(files: list[File], depth: int) -> tuple[list[File], list[File]]:
    """The files that lie where the deepest rule expects them, and those that lie beside."""
    deep = [file for file in files if len(file.parts) > depth + 1]
    # Without class folders, the images of a split lie directly in its folder.
    in_place = deep or [file for file in files if len(file.parts) == depth + 1]
    chosen = {file.name for file in in_place}
    return in_place, [file for file in files if file.name not in chosen]


def _walk(folder: Path, below: str, found: _Found) -> None:
    """Collect what lies in ``folder``, whose own name below the root is ``below``."""
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in found.visited:
            return  # a link back up, or a second link to the same folder
        found.visited.add((status.st_dev, status.st_ino))
        entries = list(_visible(folder))
    except OSError as error:
        if not below:
            raise DataError(f"{folder}: cannot be listed: {error.strerror}") from error
        found.skipped.append(Skipped(below, f"cannot be listed: {error.strerror}"))
        return
    for entry in entries:
        name = f"{below}/{entry.name}" if below else entry.name
        if _is_run(Path(entry.path)):
            continue
        if Path(entry.path).is_dir():  # unlike DirEntry.is_dir, False for a link to itself
            found.folders.append(name)
            _walk(Path(entry.path), name, found)
        elif Path(entry.name).suffix.lower() not in IMAGE_SUFFIXES:
            found.others.append(name)
        elif Path(entry.path).is_file():
            found.files.append(one_file(Path(entry.path), name))
        else:
            found.skipped.append(Skipped(name, "is a broken link, or not a regular file"))


def _is_run(folder: Path) -> bool:
    """Whether a run was written there, whose pictures are none of the set that it was made from."""
    return (folder / "config.json").is_file() and (
        (folder / "model.safetensors").is_file() or (folder / "checkpoints").is_dir()
    )


def _visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        shown = [entry for entry in entries if not entry.name.startswith((".", "__MACOSX"))]
    return iter(sorted(shown, key=lambda entry: natural(entry.name)))


def _nothing(folder: Path, found: _Found) -> str:
    message = f"{folder}: holds no image files"
    if found.others:
        message += f", only {len(found.others)} others such as {found.others[0]}"
    if found.skipped:
        message += f"; {found.skipped[0].path} {found.skipped[0].reason}"
    arrays = [name for name in found.others if name.endswith((".npy", ".npz", "ubyte", "ubyte.gz"))]
    if arrays:
        return f"{message}. To load an array file, give its own path: {folder / arrays[0]}"
    return f"{message}. Images are files such as .png and .jpg, in sub-folders named as their classes or directly."
