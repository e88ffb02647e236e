"""The atlas of a run: its maps, and its figures under the prior and under the sampler."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np

from morphospace.atlas import Atlas, read_atlas, read_estimates
from morphospace.atlas.decoded import condition, stretch
from morphospace.evaluation.records import Figure
from morphospace.plots.maps import Sheet, class_map, density_map, recognition_map, scatter_map, stretch_map
from morphospace.report.page import Drawing, Section, Table, counted
from morphospace.space import Space

__all__ = ["the_atlas"]

TITLE = "The atlas"
SHOWN = 1e-4
"""A map shows where q(z) or p(z) is above this part of its highest."""
MOST_PAIRS = 6
MOST_DOTS = 100_000


def the_atlas(space: Space) -> Section:
    """The maps of ``atlas.json``; where there is none, how to have them drawn."""
    folder = space.folder
    assert folder is not None
    atlas = read_atlas(folder)
    if atlas is None:
        estimated = read_estimates(folder) if space.dimensions != 2 else None
        if estimated is not None:
            figures, notes = estimated
            return Section("atlas", TITLE, " ".join([_words(figures), *notes]), tables=[_beside(figures)])
        return Section(
            "atlas",
            TITLE,
            "This run has not been mapped. “morphospace map” with the run's folder finds its holes, the overlap of its "
            "classes, what is recognised and how far the decoder stretches the space.",
        )
    tables = [_beside(atlas.figures)]
    if atlas.overlap is not None:
        tables.append(_pairs(atlas))
    if atlas.holes.regions:
        tables.append(_holes(atlas))
    if atlas.notes:
        tables.append(Table([("note", note) for note in atlas.notes]))
    return Section("atlas", TITLE, _words(atlas.figures), _drawings(space, atlas), tables)


def _words(f: Mapping[str, Figure]) -> str:
    words = ""
    if "hole_mass" in f:
        words = (
            f"Of the prior's draws {_percent(f['hole_mass'])} fall into holes, places where q(z), the mean of the "
            f"encoder's normals over the training images, is below a tenth of p(z); KL(q ‖ p) is "
            f"{f['kl_to_prior'].value:.3f} nats. "
        )
    if "former_hole_mass" in f:
        words += (
            "This prior was fitted after training, and samples are drawn from it; of the draws of the one that the "
            f"model was trained with, {_percent(f['former_hole_mass'])} fall into holes, and its KL(q ‖ ·) is "
            f"{f['former_kl'].value:.3f} nats. "
        )
    if "sampler_hole_mass" in f:
        words += (
            f"Of the draws of the sampler that was fitted to q(z) after training, {_percent(f['sampler_hole_mass'])} "
            f"do, and KL(q ‖ s) is {f['sampler_kl'].value:.3f} nats: “morphospace sample” draws from it. "
        )
    if "bayes_error" in f:
        words += (
            f"The classes overlap: whoever knows z alone names the wrong one for {_percent(f['bayes_error'])} of the "
            "training images. "
        )
    return words + "Every figure, with its definition and error, stands in atlas.json."


def _percent(figure: Figure) -> str:
    return f"{100 * figure.value:.2f} %"


def _told(figure: Figure | None) -> str:
    """A value to as many places as its error has meaning."""
    if figure is None:
        return "—"
    if not figure.unit:
        return _share(figure.value, figure.error)
    places = _places(figure.error, 3)
    error = "" if figure.error is None else f" ± {figure.error:.{places}f}"
    return f"{figure.value:.{places}f}{error} {figure.unit}".replace("-", "−")


def _share(value: float, error: float | None) -> str:
    """A share and its error in percent."""
    places = _places(None if error is None else 100 * error, 2)
    told = "" if error is None else f" ± {100 * error:.{places}f}"
    return f"{100 * value:.{places}f}{told} %".replace("-", "−")


def _places(error: float | None, least: int) -> int:
    """Decimals at which an error has two figures, at least ``least`` and at most five."""
    return least if not error else min(5, max(least, 1 - math.floor(math.log10(error))))


def _beside(figures: Mapping[str, Figure]) -> Table:
    """What closing the holes did: the prior's figures beside the sampler's; those of a prior that was fitted after
    training beside those of the one that the model was trained with.
    """
    fitted = "former_hole_mass" in figures
    before, after = ("former", "prior") if fitted else ("prior", "sampler")
    rows = [
        ("KL(q ‖ ·)", {"prior": "kl_to_prior", "sampler": "sampler_kl", "former": "former_kl"}),
        ("in holes", _each("{}hole_mass")),
        ("missed: images where hardly a draw lies", _each("{}missed_mass")),
        (
            "not recognised, over the map",
            {law: f"unrecognised_{law}" for law in ("prior", "sampler", "former")},
        ),
        (
            "not recognised, beyond reconstructions",
            {law: f"excess_unrecognisable_{law}" for law in ("prior", "former")}
            | {"sampler": "excess_unrecognisable"},
        ),
    ]
    shown = [
        (words, _told(figures.get(names[before])), _told(figures.get(names[after])))
        for words, names in rows
        if names[before] in figures or names[after] in figures
    ]
    heads = ("prior it was trained with", "fitted prior p(z)") if fitted else ("prior p(z)", "sampler s(z)")
    return Table(shown, ("", *heads), "Holes, before and after", numbers=True)


def _each(name: str) -> dict[str, str]:
    return {"prior": name.format(""), "sampler": name.format("sampler_"), "former": name.format("former_")}


def _pairs(atlas: Atlas) -> Table:
    assert atlas.overlap is not None
    assert atlas.overlap_error is not None
    a, b = np.triu_indices(len(atlas.classes), 1)
    shares = np.nan_to_num(atlas.overlap[a, b], nan=-1.0)
    errors = atlas.overlap_error[a, b]
    order = np.argsort(-shares, kind="stable")[:MOST_PAIRS]
    rows = [
        (f"{atlas.classes[a[i]]} and {atlas.classes[b[i]]}", _share(shares[i], errors[i]))
        for i in order
        if shares[i] > 0
    ]
    return Table(rows, ("classes", "∫ min(q_a, q_b)"), "The classes that overlap most", numbers=True)


def _holes(atlas: Atlas) -> Table:
    rows = [
        (
            f"({hole.centre[0]:.2f}, {hole.centre[1]:.2f})".replace("-", "−"),
            f"{100 * hole.mass:.2f} %",
            "reaches the edge" if hole.outer else f"{hole.area:.3f}",
        )
        for hole in atlas.holes.regions[:MOST_PAIRS]
    ]
    return Table(rows, ("centre", "of the prior's mass", "area"), "The largest holes", numbers=True)


def _drawings(space: Space, atlas: Atlas) -> list[Drawing]:
    rows, columns = _shown(atlas)
    crop = partial(_cropped, rows=rows, columns=columns)
    train = space.known_latents().train
    some = np.arange(len(train))
    if len(some) > MOST_DOTS:
        some = np.sort(np.random.default_rng(space.settings.seed).permutation(len(some))[:MOST_DOTS])
    labels = train.labels[some] if train.labels is not None and atlas.classes else None
    outlines = [line for hole in atlas.holes.regions for line in hole.outline]
    sheet = Sheet(
        atlas.grid.x[columns], atlas.grid.y[rows], outlines, train.mean[some], labels, atlas.classes
    )
    q, p = crop(atlas.posterior), crop(atlas.prior)
    holes = f"{counted(len(atlas.holes.regions), 'region')} of holes outlined in red: "
    drawings = [
        Drawing(
            "atlas-scatter",
            scatter_map(
                sheet, title="The training images and the holes between them", seed=space.settings.seed
            ),
            "Scatter of the training images' latent means with the outlines of holes.",
            f"Each dot is the mean of q(z | x) of a training image. {holes}next to nothing is encoded there.",
        ),
        Drawing(
            "atlas-density",
            density_map(sheet, q, p, title="The density of the images, and the holes"),
            "Map of the aggregated posterior's density, dark where images lie, holes outlined and hatched in red.",
            "The darker, the more images. Hatched in red: holes, where q(z) is below a tenth of the prior's density. "
            "The dashed lines hold 50, 90 and 99 % of the prior.",
        ),
    ]
    if atlas.classes:
        drawings.append(
            Drawing(
                "atlas-classes",
                class_map(sheet, crop(atlas.by_class), title="Which class a place belongs to"),
                f"Map of the regions of {', '.join(atlas.classes[:24])}; hatched where classes overlap.",
                "Each place has the colour of the class with the largest π_c·q_c(z) there, paler where fewer images "
                "lie; hatched where more than a quarter of the images are of other classes.",
            )
        )
    if atlas.recognition is not None and atlas.classifier is not None:
        accuracy = atlas.classifier.get("test_accuracy")
        right = (
            "" if accuracy is None else f", which is right about {100 * accuracy:.1f} % of the test images"
        )
        drawings.append(
            Drawing(
                "atlas-recognition",
                recognition_map(
                    sheet, crop(atlas.recognised), q, title="Where the decoder draws what is recognised"
                ),
                "Map of how sure a classifier is of what the decoder draws at each place.",
                f"The top class probability that a frozen classifier{right} gives to the decoded image. Dark places "
                "are drawn, but as nothing in particular.",
            )
        )
    if atlas.metric is not None:
        metric = crop(atlas.metric)
        ratio = np.sqrt(np.median(condition(metric)[np.isfinite(condition(metric))]))
        drawings.append(
            Drawing(
                "atlas-stretch",
                stretch_map(sheet, stretch(metric), metric, title="How far the decoder stretches the space"),
                "Map of the area in image space that a unit of latent area becomes, with ellipses of the metric.",
                "Bright: a small step in z changes the picture much. The ellipses are latent steps that change it by "
                f"the same amount, long where it changes little; their axes differ by a factor of {ratio:.1f} at the "
                "median.",
            )
        )
    return drawings


def _shown(atlas: Atlas) -> tuple[slice, slice]:
    """The rows and columns of a map that have anything to show."""
    q, p = atlas.posterior, atlas.prior
    some = (q > SHOWN * q.max()) | (p > SHOWN * p.max())
    rows, columns = np.flatnonzero(some.any(1)), np.flatnonzero(some.any(0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _cropped(field: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    return np.asarray(field[..., rows, columns])
