"""The verb `map`: a space's atlas, its figures and its maps."""

from __future__ import annotations

import json as json_module
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from morphospace.cli.common import Flag, Json, own_images, require_own_folder, say
from morphospace.cli.progress import shown
from morphospace.cli.verbs import _write_report
from morphospace.types import RunError, UsageError

if TYPE_CHECKING:
    from morphospace.evaluation.records import Figure
    from morphospace.space import Space

__all__ = ["map_"]


def map_(
    run: Path,
    /,
    *,
    cells: int | None = None,
    seed: int | None = None,
    out: Path | None = None,
    data_root: Path | None = None,
    no_report: Flag = False,
    json: Json = False,
) -> None:
    """Map a run: its holes, the overlap of its classes, what is recognised, and how far the decoder stretches.

    A space of two dimensions is mapped exactly; of others the same questions are answered by sampling.

    Args:
        run: the run's folder; atlas.json and figures/atlas-*.png and .svg are written into it, and the report anew.
            Or a space that comes with the package, by name: its own map is told and drawn, without any data.
        cells: of the grid along each side, for a space of two dimensions; 512 by default.
        seed: of what is drawn; 0 by default.
        out: a folder for the figures of a space that comes with the package; NAME-atlas by default.
        data_root: a folder in which known sets are looked for first.
        no_report: leave the report as it is.
        json: print atlas.json.
    """
    from morphospace.atlas import FILE, make_atlas, record_of, save_atlas, save_estimates
    from morphospace.atlas.estimates import estimate_figures
    from morphospace.report import write_maps
    from morphospace.space import Space

    space = Space.load(run)
    if space.own_folder is None:
        given = {"--cells": cells, "--seed": seed, "--data-root": data_root, "--no-report": no_report or None}
        _packaged(space, out, [name for name, value in given.items() if value is not None], json)
        return
    if out is not None:
        raise UsageError(
            "--out is for a space that comes with the package; a run's maps lie in its own folder"
        )
    cells, seed = 512 if cells is None else cells, seed or 0
    with shown() as progress:
        images = own_images(space, data_root, progress)
        record: dict[str, Any]
        if space.dimensions == 2:
            atlas = make_atlas(space, images, cells=cells, seed=seed, progress=progress)
            save_atlas(atlas, space)
            figures, notes, record = atlas.figures, list(atlas.notes), record_of(atlas)
        else:
            figures, notes = estimate_figures(space, images, seed=seed, progress=progress)
            record = save_estimates(figures, notes, space)
        if space.sampler is not None and not (run / "sampler.safetensors").exists():
            space.save_sampler(run)  # a run of an earlier version had none
        if no_report:
            drawn = write_maps(space)
        else:
            drawn = []
            _write_report(space, images, progress)
    lines = [*_lines(figures), *notes, f"wrote {run / FILE}", *(f"wrote {path}" for path in drawn)]
    say(record, lines, json)


def _packaged(space: Space, out: Path | None, given: Sequence[str], json: bool) -> None:
    """Tell and draw the map that a space of the package brings."""
    from morphospace.atlas import FILE
    from morphospace.atlas.store import read_estimates
    from morphospace.report import write_maps

    if given:
        require_own_folder(space)
    assert space.folder is not None
    record = json_module.loads((space.folder / FILE).read_text(encoding="utf-8"))
    found = read_estimates(space.folder)
    if found is None:
        raise RunError(f"the map in {space.folder} is damaged; install the package again")
    with shown():
        drawn = write_maps(space, out or Path(f"{space.folder.name}-atlas"))
    say(record, [*_lines(found[0]), *found[1], *(f"wrote {path}" for path in drawn)], json)


def _lines(figures: Mapping[str, Figure]) -> list[str]:
    """A figure to a line, with its error."""
    width = max((len(name) for name in figures), default=0)
    lines = []
    for name, figure in figures.items():
        error = "" if figure.error is None else f" ± {figure.error:.2g}"
        lines.append(f"{name:{width}}  {figure.value:.5g}{error} {figure.unit}".rstrip())
    return lines
