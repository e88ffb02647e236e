"""The verb `map`: a space's atlas, its figures and its maps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from morphospace.cli.common import Flag, Json, own_images, say
from morphospace.cli.progress import shown
from morphospace.cli.verbs import _write_report

if TYPE_CHECKING:
    from morphospace.evaluation.records import Figure

__all__ = ["map_"]


def map_(
    run: Path,
    /,
    *,
    cells: int = 512,
    seed: int = 0,
    data_root: Path | None = None,
    no_report: Flag = False,
    json: Json = False,
) -> None:
    """Map a run: its holes, the overlap of its classes, what is recognised, and how far the decoder stretches.

    A space of two dimensions is mapped exactly; of others the same questions are answered by sampling.

    Args:
        run: the run's folder; atlas.json and figures/atlas-*.png and .svg are written into it, and the report anew.
        cells: of the grid along each side, for a space of two dimensions.
        seed: of what is drawn.
        data_root: a folder in which known sets are looked for first.
        no_report: leave the report as it is.
        json: print atlas.json.
    """
    from morphospace.atlas import FILE, make_atlas, record_of, save_atlas, save_estimates
    from morphospace.atlas.estimates import estimate_figures
    from morphospace.report import write_maps
    from morphospace.space import Space

    space = Space.load(run)
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
            drawn = write_maps(space, images, progress)
        else:
            drawn = []
            _write_report(space, images, progress)
    lines = [*_lines(figures), *notes, f"wrote {run / FILE}", *(f"wrote {path}" for path in drawn)]
    say(record, lines, json)


def _lines(figures: Mapping[str, Figure]) -> list[str]:
    """A figure to a line, with its error."""
    width = max((len(name) for name in figures), default=0)
    lines = []
    for name, figure in figures.items():
        error = "" if figure.error is None else f" ± {figure.error:.2g}"
        lines.append(f"{name:{width}}  {figure.value:.5g}{error} {figure.unit}".rstrip())
    return lines
