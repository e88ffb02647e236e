"""The verb `pack`: a small copy of a run, to be handed on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from morphospace.cli.common import Flag, Json, open_run, own_images, say
from morphospace.cli.progress import shown

__all__ = ["pack"]


def pack(
    run: Path,
    /,
    *,
    out: Path,
    cells: int = 256,
    seed: int = 0,
    overwrite: Flag = False,
    data_root: Path | None = None,
    json: Json = False,
) -> None:
    """Make a small copy of a run to hand on: rounded weights, latents and map, and none of its images.

    Args:
        run: the run's folder.
        out: a new folder, whose name is the copy's; it is used like a run.
        cells: of its map along each side, for a space of two dimensions.
        seed: of the samples that the map is judged by.
        overwrite: replace a copy that is in that folder.
        data_root: a folder in which known sets are looked for first; the images measure what rounding did.
        json: print the figures as JSON.
    """
    from morphospace.packing import pack as make
    from morphospace.packing import require_packable

    space = open_run(run)
    require_packable(space, out, overwrite=overwrite)
    with shown() as progress:
        images = own_images(space, data_root, progress)
        made = make(space, images, out, cells=cells, seed=seed, overwrite=overwrite, progress=progress)
    record = {
        "out": str(out),
        "bytes": made.size,
        "compared": {name: {"run": a, "copy": b} for name, (a, b) in made.compared.items()},
        "notes": list(made.notes),
    }
    words = f"wrote {out}: {made.size / 1e6:.2f} MB"
    say(record, [*_lines(made.compared), *made.notes, words], json)


def _lines(compared: Mapping[str, tuple[float, float]]) -> list[str]:
    """A figure to a line: of the run, of the copy."""
    if not compared:
        return []
    width = max(map(len, compared))
    rows = [f"{name:{width}}{before:>12.5g}{after:>12.5g}" for name, (before, after) in compared.items()]
    return [f"{'':{width}}{'the run':>12}{'the copy':>12}", *rows]
