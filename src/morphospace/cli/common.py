"""What several verbs share: opening a run, finding its images, saying figures."""

from __future__ import annotations

import json as json_module
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from morphospace.data.images import Images
    from morphospace.space import Space
    from morphospace.types import Progress

__all__ = ["Flag", "Json", "images_of", "open_run", "own_images", "require_own_folder", "say"]

Json = Annotated[bool, Parameter(name="--json", negative="")]
Flag = Annotated[bool, Parameter(negative="")]


def open_run(run: Path) -> Space:
    """The space that a run's folder holds, or one that comes with the package, by its name."""
    from morphospace.space import Space

    return Space.load(run)


def require_own_folder(space: Space) -> None:
    """Refuse to write into a space that comes with the package, before any work is done.

    Raises:
        UsageError: saying how to make a run of one's own of it.
    """
    from morphospace.types import UsageError

    if space.own_folder is None:
        assert space.folder is not None
        name = space.folder.name
        raise UsageError(
            f"{name} comes with the package and is only read, and this command writes into a run's folder; make a run "
            f"of it first: python -c \"import morphospace as ms; ms.Space.load('{name}').save('runs/{name}')\""
        )


def own_images(space: Space, data_root: Path | None, progress: Progress) -> Images:
    """The images that a run was made from, if they are still the same."""
    from morphospace.types import RunError

    images = images_of(space.config, space.folder, data_root, progress)
    expected = space.config["images"]["sha256"]
    if images.sha256 != expected:
        raise RunError(
            f"the images of {space.folder} have changed since it was trained (content hash {images.sha256[:12]}…, "
            f"expected {expected[:12]}…); bring back the same images"
        )
    return images


def images_of(
    config: Mapping[str, Any], folder: Path | None, data_root: Path | None, progress: Progress
) -> Images:
    """The images that a run's configuration names, as they are now."""
    from morphospace.data import reload
    from morphospace.types import RunError, UsageError

    try:
        return reload(config["images"]["source"], data_root, progress)
    except UsageError as error:  # what was named when it was trained is not there
        raise RunError(f"the images of {folder} are not where they were: {error}") from None


def say(record: Mapping[str, Any], lines: Sequence[str], as_json: bool) -> None:
    """Print the figures: as JSON, or as lines."""
    print(json_module.dumps(record, indent=1, ensure_ascii=False) if as_json else "\n".join(lines))
