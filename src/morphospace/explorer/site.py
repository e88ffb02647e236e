"""The page and the space's numbers as files: what a server gives and what an export writes is the same."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from morphospace.atlas import make_atlas, read_atlas
from morphospace.atlas.map import require_plane
from morphospace.explorer import contents
from morphospace.files import write_bytes
from morphospace.space import Space
from morphospace.types import Progress, UsageError, silent

__all__ = ["Site", "export_site", "make_site"]

Late = Callable[[Progress], bytes]


@dataclass(eq=False)
class Site:
    """Files by name.

    Attributes:
        ready: their contents.
        late: those that take long, made when they are first asked for.
    """

    ready: dict[str, bytes]
    late: Mapping[str, Late] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.ready, *self.late)))

    def read(self, name: str, progress: Progress = silent) -> bytes:
        """A file's content; whoever asks while it is being made waits.

        Raises:
            KeyError: for a file that there is not.
        """
        if name not in self.ready:
            make = self.late[name]
            with self._lock:
                if name not in self.ready:
                    self.ready[name] = make(progress)
        return self.ready[name]


def make_site(space: Space, progress: Progress = silent) -> Site:
    """The page of a space of two dimensions.

    The map is the one in the run's folder, with all that `morphospace map` found; where there is none, densities,
    classes and holes are found here.

    Raises:
        UsageError: for a space that has no map, or whose decoder the page cannot compute, in words.
        RunError: where map and latents are both gone.
    """
    require_plane(space)
    program, weights = contents.decoder_files(space.model)
    atlas = read_atlas(space.folder) if space.folder is not None else None
    if atlas is None:
        atlas = make_atlas(space, parts=(), progress=progress)
    fields, arrays = contents.map_file(space, atlas)
    places = contents.places_of(space)
    refused = contents.ways_refused(places)
    record = {
        **contents.about(space),
        **fields,
        "decoder": program,
        "places": [{"name": place.name, "z": [float(v) for v in place.z]} for place in places],
        "paths_refused": refused,
    }
    ready = {
        **page_files(),
        "space.json": contents.to_json(record),
        "map.bin": arrays,
        "decoder.bin": weights,
    }
    late: dict[str, Late] = {}
    if refused is None:
        late["paths.json"] = lambda told: contents.to_json(contents.paths_file(space, atlas, told))
    return Site(ready, late)


def page_files() -> dict[str, bytes]:
    """The files of the page itself, as the package has them."""
    folder = files("morphospace.explorer") / "static"
    return {
        entry.name: entry.read_bytes() for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
    }


def export_site(site: Site, folder: Path, progress: Progress = silent) -> None:
    """Write every file into a new folder, ``index.html`` last.

    Raises:
        UsageError: if the folder holds something already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} holds something already; name a new folder")
    for name in sorted(site.names, key=lambda name: name == "index.html"):
        write_bytes(folder / name, site.read(name, progress))
