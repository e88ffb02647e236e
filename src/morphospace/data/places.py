"""Where files may lie on this machine: the roots of known sets and the per-user cache."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from morphospace.types import UsageError

__all__ = ["data_roots", "user_cache"]


def user_cache() -> Path:
    """The per-user cache: ``$XDG_CACHE_HOME/morphospace``, or else where the system keeps caches."""
    name = "morphospace"
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen).expanduser() / name
    try:
        home = Path.home()
    except RuntimeError:  # a container's user may have no home
        return Path(tempfile.gettempdir()) / name
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / name / "Cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / name
    return home / ".cache" / name


def data_roots(root: str | os.PathLike[str] | None) -> list[Path]:
    """Folders in which known sets are looked for, in order: ``root``, ``$MORPHOSPACE_DATA``, the user's cache.

    Raises:
        UsageError: ``root`` was given and is no folder; going on without it would hide a misspelt option.
    """
    roots = []
    if root is not None:
        given = Path(root).expanduser()
        if not given.is_dir():
            raise UsageError(f"the data root {given} is not a folder")
        roots.append(given)
    if named := os.environ.get("MORPHOSPACE_DATA"):
        roots.append(Path(named).expanduser())
    return [*roots, user_cache()]
