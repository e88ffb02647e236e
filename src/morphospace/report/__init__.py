"""A run's report: ``report.html``, ``figures/`` and the model card, made from the space and its images.

* ``facts``: what the report is about, and what is computed of it once;
* ``learning``, ``places``, ``mapped``, ``images``, ``prototypes``, ``transitions``, ``evaluated``, ``numbers``: the
  sections, each a figure or a table and the sentence that says how to read it and what was found;
* ``page``: sections as one HTML file;
* ``morphs``: figures of ways, which the command writes too;
* ``card``: the run's README.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from morphospace.data.images import Images
from morphospace.files import write_bytes, write_text
from morphospace.plots import render
from morphospace.report.card import card_text
from morphospace.report.evaluated import evaluated
from morphospace.report.facts import Facts, gather
from morphospace.report.images import the_averages, the_reconstructions
from morphospace.report.learning import the_learning, the_model
from morphospace.report.mapped import the_atlas
from morphospace.report.morphs import blend_png, comparison_png, matrix_png, morph_figure_png
from morphospace.report.numbers import numbers
from morphospace.report.page import Section, page, shown
from morphospace.report.places import the_manifold, the_scatter
from morphospace.report.prototypes import the_prototypes
from morphospace.report.transitions import hybrids, other_transitions
from morphospace.space import Space
from morphospace.types import Progress, UsageError, silent

__all__ = [
    "blend_png",
    "comparison_png",
    "matrix_png",
    "morph_figure_png",
    "write_card",
    "write_maps",
    "write_report",
]

SECTIONS: Sequence[tuple[str, Callable[[Facts], Section]]] = (
    ("the architecture", the_model),
    ("the learning curves", the_learning),
    ("the latent space", the_scatter),
    ("the manifold", the_manifold),
    ("the atlas", lambda facts: the_atlas(facts.space)),
    ("reconstructions", the_reconstructions),
    ("averages", the_averages),
    ("prototypes", the_prototypes),
    ("hybrids", hybrids),
    ("other transitions", other_transitions),
    ("the evaluation", evaluated),
    ("the numbers", numbers),
)


def write_report(space: Space, images: Images, progress: Progress = silent) -> Path:
    """Write ``figures/``, ``report.html`` and ``README.md`` into a run's folder; the same run gives the same bytes.

    Args:
        space: a space with a folder, loaded or trained with ``out``.
        images: those that it was trained on.
        progress: told of every figure.

    Returns:
        The path of ``report.html``.

    Raises:
        UsageError: if the space has no folder.
        RunError: if the images are not those of the run.
    """
    folder = _folder(space)
    facts = gather(space, images, progress)
    sections = []
    for done, (what, make) in enumerate(SECTIONS):
        progress(f"drawing {what}", done, len(SECTIONS))
        sections.append(_drawn(make(facts), folder / "figures"))
    path = folder / "report.html"
    write_text(path, page(facts, sections))
    write_card(space)
    progress("report written", len(SECTIONS), len(SECTIONS))
    return path


def write_maps(space: Space, figures: Path | None = None) -> list[Path]:
    """Draw the atlas that lies in a run's folder, without the rest of its report; the paths of the figures' PNGs.

    Args:
        space: a space with a folder.
        figures: the folder to draw into; ``figures/`` in the run's by default.

    Raises:
        UsageError: if the space has no folder to write into, and none was named.
        RunError: if its latents are gone.
    """
    target = _folder(space) / "figures" if figures is None else figures
    return [target / f"{drawing.name}.png" for drawing in _drawn(the_atlas(space), target).drawings]


def _drawn(section: Section, target: Path) -> Section:
    """A section with its figures written into a folder and put into its page."""
    for drawing in section.drawings:
        files = {kind: render(drawing.figure, kind) for kind in ("png", "svg")}
        for kind, content in files.items():
            write_bytes(target / f"{drawing.name}.{kind}", content)
        drawing.html = shown(drawing, files)
    return section


def write_card(space: Space) -> Path:
    """Write a run's model card, ``README.md``: what it is, how it was made, how it is loaded, and its limits.

    Raises:
        UsageError: if the space has no folder.
    """
    path = _folder(space) / "README.md"
    write_text(path, card_text(space))
    return path


def _folder(space: Space) -> Path:
    if space.own_folder is None:
        raise UsageError("this space has no folder to write into; save it first: space.save('runs/NAME')")
    return space.own_folder
