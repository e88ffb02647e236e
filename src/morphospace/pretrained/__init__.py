"""Trained spaces that come with the package: a folder each, found by name, and only read.

They are made by ``make pretrained`` (docs/pretrained.md). A name stands for its space wherever a run's folder is asked
for; a folder of that name, where one is, wins.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from morphospace.types import RunError

__all__ = ["comes_with_the_package", "names", "place_of"]

HOME = Path(__file__).parent


def names() -> tuple[str, ...]:
    """The spaces there are."""
    return tuple(sorted(found.parent.name for found in HOME.glob("*/config.json")))


def comes_with_the_package(folder: Path) -> bool:
    """Whether a folder is one of them, in which nothing may be written."""
    return folder.resolve().is_relative_to(HOME.resolve())


def place_of(run: str | os.PathLike[str]) -> Path:
    """The folder that is meant by a path, or by the name of a space that comes with the package.

    Raises:
        RunError: for a name that stands for neither; for a folder that is no run and hides the space of its name.
    """
    path, known = Path(run), names()
    name = os.fspath(path)
    if path.is_dir():
        if name in known and not (path / "config.json").is_file():
            raise RunError(
                f"the folder {name} is not a run (it has no config.json), and it wins over the space of this name that "
                "comes with the package; call from another folder, or rename it"
            )
        return path
    if name in known:
        return HOME / name
    if path.name == name and not path.exists():
        close = difflib.get_close_matches(name.casefold(), known, n=1, cutoff=0.5)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise RunError(
            f"{name} does not exist, so it is not a run; expected a folder made by 'morphospace train', or a space "
            f"that comes with the package.{hint} These are: {', '.join(known) or 'none'}."
        )
    return path
