"""The prototypes of each class beside the nearest real images and the mean of the pixels."""

from __future__ import annotations

import numpy as np

from morphospace.morphing import Prototype, manifold_of, prototypes
from morphospace.morphing.prototypes import nearest_image
from morphospace.morphing.ways import HOLE
from morphospace.plots import Cell, picture_table
from morphospace.report.facts import Facts, means_by, unit
from morphospace.report.page import Drawing, Section
from morphospace.types import UsageError

__all__ = ["the_prototypes"]

MOST = 10
NAMES = {"mean": "mean of z", "medoid": "medoid", "mode": "density mode", "geodesic mean": "geodesic mean"}


def the_prototypes(facts: Facts) -> Section:
    """Mean, medoid, density mode and geodesic mean of each class, decoded."""
    title = "Prototypes"
    try:
        manifold_of(facts.space)
    except UsageError as error:
        return Section("prototypes", title, f"There are none: {error}.")
    if facts.prototypes.clusters or facts.latents.labels is None:
        return Section("prototypes", title, "The set has no classes whose prototypes could be shown.")
    sizes = np.bincount(facts.groups, minlength=len(facts.prototypes.names))
    chosen = np.sort(np.argsort(-sizes, kind="stable")[:MOST])
    names = [facts.prototypes.names[c] for c in chosen]
    found = [prototypes(facts.space, np.flatnonzero(facts.groups == c), facts.chart) for c in chosen]
    pixels = means_by(facts.images, facts.train, facts.groups, len(facts.prototypes.names))[chosen]
    told = (
        np.array([facts.latents.classes.index(name) for name in names]) if facts.space.conditional else None
    )
    rows: list[list[Cell | None]] = [[Cell(image.astype(np.float32)) for image in pixels]]
    labels = ["mean of pixels"]
    for i, kind in enumerate(p.kind for p in found[0]):
        z = np.stack([each[i].z for each in found])
        decoded = facts.decode(z, told)
        rows.append([_cell(each[i], image) for each, image in zip(found, decoded, strict=True)])
        rows.append([_nearest(facts, int(c), image) for c, image in zip(chosen, decoded, strict=True)])
        labels += [f"{NAMES[kind]},\ndecoded", "nearest\nreal image"]
    figure = picture_table(rows, labels, names, title="What stands for a class, in several ways")
    return Section(
        "prototypes",
        title,
        drawings=[Drawing("prototypes", figure, f"Prototypes of {', '.join(names)}.", _words(found, names))],
    )


def _cell(prototype: Prototype, image: np.ndarray) -> Cell:
    share = prototype.to_prior
    return Cell(image, "" if share is None else f"q/p {share:.2g}", marked=bool(prototype.in_hole))


def _nearest(facts: Facts, group: int, image: np.ndarray) -> Cell:
    """The training image of a class that is nearest to a picture in its pixels."""
    own = facts.train[facts.groups == group]
    row = nearest_image(image, facts.images.pixels[own])
    return Cell(unit(facts.images, own[[row]])[0])


def _words(found: list[list[Prototype]], names: list[str]) -> str:
    words = (
        "The mean averages the latents; the medoid is the latent nearest to all others; the mode is where the class is "
        "densest; the geodesic mean has the least squared distances in image space, along the shortest ways. Under "
        "each stands the training image of the class that is nearest in its pixels. "
    )
    if found[0][0].to_prior is None:
        return words
    words += f"q/p is how dense the data are there, against the prior: below {HOLE:g} it is in a hole, and framed. "
    holes = [
        f"the {NAMES[p.kind]} of {name}"
        for each, name in zip(found, names, strict=True)
        for p in each
        if p.in_hole
    ]
    return words + (f"In a hole: {', '.join(holes)}." if holes else "None of these does.")
