"""The verbs that go through a space: morph and blend."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from morphospace.cli.common import Flag, Json, open_run, own_images, say
from morphospace.cli.progress import shown
from morphospace.types import DataError, RunError, UsageError

if TYPE_CHECKING:
    from morphospace.morphing import Ground, Morph
    from morphospace.morphing.matrix import Matrix
    from morphospace.space import Space
    from morphospace.types import Progress

__all__ = ["VERBS", "ground_for"]

CELLS = 256
"""Along each side of the map that paths are found on."""


def morph(
    run: Path,
    start: str | None = None,
    end: str | None = None,
    /,
    *,
    path: Literal[
        "straight", "great-circle", "geodesic", "clear", "dense", "recognisable", "best"
    ] = "straight",
    compare: Flag = False,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    steps: int | None = None,
    out: Path | None = None,
    data_root: Path | None = None,
    json: Json = False,
) -> None:
    """Draw the way from one class to another, or from one image file to another.

    Args:
        run: the run's folder, or a space that comes with the package, by name (a folder of that name wins).
        start: a class name, or an image file.
        end: a class name, or an image file.
        path: straight; or by the map of the space: geodesic (shortest in image space), clear (shortest round the
            holes), dense (where the data are), recognisable (where a classifier is sure), great-circle; or best, which
            chooses among them and says why.
        compare: draw all of them on the map, with their films and scores.
        all_: all pairs of classes and all kinds of path, in one figure; the figures go into a .json beside it.
        steps: how many pictures; 9 by default.
        out: a .png of all pictures side by side, or a .gif or .mp4 film; morph.png by default, morphs.png with --all.
        data_root: a folder in which known sets are looked for first; the images tell what is recognisable.
        json: print the figures as JSON.
    """
    if all_:
        beside = {
            "START": start,
            "END": end,
            "--path": path != "straight",
            "--compare": compare,
            "--steps": steps,
        }
        given = [name for name, value in beside.items() if value]
        if given:
            raise UsageError(
                f"--all goes through all pairs and all kinds, so it does not go with {', '.join(given)}"
            )
        _all(run, out or Path("morphs.png"), data_root, json)
        return
    if start is None or end is None:
        raise UsageError(
            "name two places: morphospace morph RUN START END, such as Bag Sneaker; or use --all"
        )
    _one(
        run,
        start,
        end,
        path,
        compare,
        9 if steps is None else steps,
        out or Path("morph.png"),
        data_root,
        json,
    )


def _one(
    run: Path,
    start: str,
    end: str,
    path: str,
    compare: bool,
    steps: int,
    out: Path,
    data_root: Path | None,
    json: bool,
) -> None:
    from morphospace import pictures
    from morphospace.morphing import morph as make
    from morphospace.report import comparison_png, morph_figure_png

    target = pictures.check_target(out, (".png",) if compare else (".png", ".gif", ".mp4"))
    if target.suffix.lower() == ".mp4":
        pictures.need_ffmpeg()
    space = open_run(run)
    with shown() as progress:
        mapped = compare or path != "straight"
        ground = ground_for(space, data_root, progress) if mapped else None
        made = make(space, start, end, steps, path, ground=ground)
        if compare and ground is not None:
            made = _with_all(made, ground)
    if compare and ground is not None:
        comparison_png(space, made, ground, target)
    elif target.suffix.lower() == ".png":
        morph_figure_png(made, target)
    else:
        pictures.write_film(target, made.images)
    say(_record(made, target), [*_lines(made, space.conditional), f"wrote {target}"], json)


def _with_all(made: Morph, ground: Ground) -> Morph:
    """A morph that knows all other ways too, and which of them is best."""
    from dataclasses import replace

    from morphospace.morphing import best, compare

    found, refused = compare(ground, made.start, made.end)
    return replace(made, others=found, refused=refused, why=made.why or best(found)[1])


def _record(made: Morph, target: Path) -> dict[str, Any]:
    rows = [
        {
            "x": round(float(x), 4),
            "z": [round(float(v), 5) for v in z],
            "nearest": name,
            "share": None if share != share else round(float(share), 4),
        }
        for x, z, name, share in zip(made.x, made.z, made.nearest, made.shares, strict=True)
    ]
    return {
        "start": made.start.name,
        "end": made.end.name,
        "path": made.path,
        "why": made.why or None,
        "scores": None if made.scores is None else made.scores.record(),
        "steps": rows,
        "others": {kind: way.scores.record() for kind, way in made.others.items()},
        "refused": dict(made.refused),
        "out": str(target),
    }


def _lines(made: Morph, told: bool) -> list[str]:
    lines = []
    for x, name, share in zip(made.x, made.nearest, made.shares, strict=True):
        there = "" if share != share else f" ({share:.0%} of the images there)"
        lines.append(
            f"x = {x:.2f}  told {share:.0%} {name}" if told else f"x = {x:.2f}  nearest to {name}{there}"
        )
    ways = made.others or ({made.path: made.way} if made.way else {})
    lines += _table({kind: way.scores.record() for kind, way in ways.items()})
    lines += [f"no {kind} path: {words}" for kind, words in made.refused.items()]
    return [*lines, f"best is {made.why}"] if made.why else lines


COLUMNS = (
    ("length", "length"),
    ("energy", "energy"),
    ("in_holes", "in holes"),
    ("recognised", "least recognised"),
    ("smoothness", "largest/mean step"),
)


def _table(records: dict[str, dict[str, Any]]) -> list[str]:
    """Scores of ways, a line each."""
    lines = [f"{'path':14}" + "".join(f"{title:>{len(title) + 3}}" for _, title in COLUMNS)]
    for kind, record in records.items():
        cells = [_cell(key, record[key]).rjust(len(title) + 3) for key, title in COLUMNS]
        lines.append(f"{kind:14}" + "".join(cells))
    return lines


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if key == "in_holes" else f"{value:.2f}"


def ground_for(space: Space, data_root: Path | None, progress: Progress) -> Ground:
    """What is known of a space: its map, from its folder or made; without its images, all but what is recognisable."""
    from morphospace.atlas import make_atlas, read_atlas
    from morphospace.evaluation.classifier import classifier_for
    from morphospace.manifolds import Plane
    from morphospace.morphing import ground_of, manifold_of

    if not isinstance(manifold_of(space), Plane) or space.dimensions == 1 or space.conditional:
        return ground_of(space)
    stored = read_atlas(space.folder) if space.dimensions == 2 and space.folder is not None else None
    if stored is not None and stored.metric is not None:
        return ground_of(space, stored)
    images = classifier = None
    if len(space.classes) > 1:
        try:
            images = own_images(space, data_root, progress)
            classifier = classifier_for(images, progress)
        except (DataError, RunError) as error:
            print(
                f"what is recognisable stays unknown, since the run's images are needed: {error}",
                file=sys.stderr,
            )
    if space.dimensions > 2:
        return ground_of(space, classifier=classifier)
    parts = ("metric",) if images is None else ("metric", "recognition")
    return ground_of(space, make_atlas(space, images, parts=parts, cells=CELLS, progress=progress))


def _all(run: Path, out: Path, data_root: Path | None, json: bool) -> None:
    from morphospace import pictures
    from morphospace.files import write_text
    from morphospace.morphing.matrix import all_pairs
    from morphospace.report import matrix_png

    target = pictures.check_target(out, (".png",))
    space = open_run(run)
    with shown() as progress:
        found = all_pairs(space, ground_for(space, data_root, progress), progress)
    matrix_png(space, found, target)
    record = {**found.record(), "out": str(target)}
    beside = target.with_suffix(".json")
    write_text(beside, json_module.dumps(record, indent=1, ensure_ascii=False) + "\n")
    say(record, [*_matrix_lines(found), f"wrote {target} and {beside}"], json)


def _matrix_lines(found: Matrix) -> list[str]:
    """The kinds of path over all pairs."""
    lines = [
        f"{len(found.pairs)} pairs, {sum(found.seconds.values()):.1f} s after the map",
        f"{'path':14}   in holes   worst   least recognised   mean length   seconds",
    ]
    for kind, row in found.summary().items():
        holes, worst = (_cell("in_holes", row[key]) for key in ("in_holes", "in_holes_worst"))
        seen, length = _cell("recognised", row["recognised_least"]), _cell("length", row["length"])
        took = f"{found.seconds[kind]:.2f}" if kind in found.seconds else ""
        lines.append(f"{kind:14}{holes:>11}{worst:>8}{seen:>19}{length:>14}{took:>10}")
    lines += [f"no {kind} paths: {words}" for kind, words in found.refused.items()]
    counts = {kind: sum(pair.best == kind for pair in found.pairs) for kind in found.pairs[0].ways}
    chosen = ", ".join(f"{kind} {count}" for kind, count in counts.items() if count)
    return [*lines, f"best: {chosen}"]


def blend(
    run: Path,
    /,
    *places: str,
    weights: Annotated[Sequence[float] | None, Parameter(negative="", consume_multiple=True)] = None,
    out: Path = Path("blend.png"),
    json: Json = False,
) -> None:
    """Merge two or more classes or images into one picture.

    Args:
        run: the run's folder, or a space that comes with the package, by name (a folder of that name wins).
        places: class names or image files.
        weights: one for each, in order; equal ones by default.
        out: a .png of the merged picture, with what it was made of beside it.
        json: print the figures as JSON.
    """
    from morphospace import pictures
    from morphospace.morphing import blend as make
    from morphospace.report import blend_png

    target = pictures.check_target(out, (".png",))
    made = make(open_run(run), places, weights)
    blend_png(made, target)
    parts = [
        {"name": place.name, "weight": round(float(weight), 4)}
        for place, weight in zip(made.places, made.weights, strict=True)
    ]
    record = {"parts": parts, "z": [round(float(v), 5) for v in made.z], "out": str(target)}
    lines = [f"{part['weight']:.2f}  {part['name']}" for part in parts]
    say(record, [*lines, f"wrote {target}"], json)


VERBS = (morph, blend)
