"""Images beside what the decoder makes of them, one by one and on average."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from morphospace.plots import Pair, picture_pairs
from morphospace.report.facts import Facts, means_by, unit
from morphospace.report.page import Drawing, Section, counted

__all__ = ["the_averages", "the_reconstructions"]

MOST_AVERAGES = 40
SHOWN = 10
"""Reconstructions in each of the two figures."""


def the_reconstructions(facts: Facts) -> Section:
    """Images beside what comes back: some drawn at random, and the worst."""
    split, _ = facts.shown_split
    index, nats = facts.compared
    rng = np.random.default_rng(facts.space.settings.seed)
    typical = np.sort(rng.permutation(len(index))[:SHOWN])
    worst = np.argsort(-nats, kind="stable")[:SHOWN]
    z, words = facts.latents.mean[index], f"{split.capitalize()} images"
    figures = []
    for title, rows in (
        (f"{words} drawn at random, and what comes back", typical),
        (f"The {split} images that come back worst", worst),
    ):
        decoded = facts.decode(z[rows], facts.labels(index[rows]))
        originals = unit(facts.images, index[rows])
        names = _names_of(facts, index[rows])
        notes = [f"{value:.0f} nats" for value in nats[rows]]
        pairs = [Pair(*parts) for parts in zip(originals, decoded, names, notes, strict=True)]
        figures.append(picture_pairs(pairs, title=title))
    drawings = [
        Drawing(
            "reconstructions",
            figures[0],
            f"{words} above their reconstructions.",
            _typical(facts, len(typical)),
        ),
        Drawing(
            "worst-reconstructions",
            figures[1],
            f"The worst of them: {words}, reconstructed.",
            _worst(facts, worst),
        ),
    ]
    return Section("reconstructions", "Reconstructions", drawings=drawings)


def _typical(facts: Facts, count: int) -> str:
    split, (_, nats) = facts.shown_split[0], facts.compared
    note = "" if split == "test" else f" The run has no test images, so these are {split} images."
    return (
        f"Above each image, below what the decoder makes of {_code(facts)}, and the distortion of that in "
        f"nats. {counted(count, 'image')} drawn at random; over {_among(facts)} the median is "
        f"{np.median(nats):.1f} nats.{note}"
    )


def _code(facts: Facts) -> str:
    """What of an image is decoded again."""
    return {"the codes": "its codes", "the point itself": "its point"}.get(
        facts.space.model.encoder.family.gives, "the mean of its q(z | x)"
    )


def _worst(facts: Facts, worst: NDArray[np.intp]) -> str:
    (index, nats), latents = facts.compared, facts.latents
    median = float(np.median(nats))
    # Of a density it may be negative, and its nought means nothing.
    beside = (
        f"{nats.max() / median:.1f} times the median"
        if nats.min() > 0
        else f"where the median is {median:.1f}"
    )
    words = f"The largest distortions among {_among(facts)}: up to {nats.max():.1f} nats, {beside}."
    if latents.labels is not None and len(worst) > 1:
        classes, counts = np.unique(latents.labels[index[worst]], return_counts=True)
        most = int(counts.argmax())
        if counts[most] > len(worst) / 3:
            words += f" {counts[most]} of the {len(worst)} are of the class {latents.classes[classes[most]]}."
    return words


def _among(facts: Facts) -> str:
    (split, every), (index, _) = facts.shown_split, facts.compared
    total = len(every)
    if len(index) < total:
        return f"{len(index):,} evenly spaced ones of the {total:,} {split} images"
    return counted(total, f"{split} image")


def _names_of(facts: Facts, index: NDArray[np.intp]) -> list[str]:
    labels = facts.latents.labels
    return [""] * len(index) if labels is None else [facts.latents.classes[c] for c in labels[index]]


def the_averages(facts: Facts) -> Section:
    """Each class's mean latent decoded, beside the mean of its pixels."""
    names, clusters = facts.prototypes.names, facts.prototypes.clusters
    what, many = ("cluster", "clusters") if clusters else ("class", "classes")
    sizes = np.bincount(facts.groups, minlength=len(names))
    chosen = np.arange(len(names))
    if len(names) > MOST_AVERAGES:
        chosen = np.sort(np.argsort(-sizes, kind="stable")[:MOST_AVERAGES])
    told = (
        np.array([facts.latents.classes.index(names[c]) for c in chosen]) if facts.space.conditional else None
    )
    decoded = facts.decode(facts.prototypes.points[chosen], told)
    pixels = means_by(facts.images, facts.train, facts.groups, len(names))[chosen].astype(np.float32)
    apart = np.abs(decoded - pixels).mean((1, 2, 3))
    pairs = [
        Pair(a, b, names[c], counted(int(sizes[c]), "image"))
        for a, b, c in zip(decoded, pixels, chosen, strict=True)
    ]
    title = f"The mean latent of each {what}, decoded"
    figure = picture_pairs(pairs, title=title, above="mean of z,\ndecoded", below="mean of\npixels")
    caption = (
        f"Above, the decoder's picture of the mean latent of each {what}; below, the mean of the same images' pixels. "
        "The mean of pixels blurs what differs; "
        + (
            "a mean of codes is no point of this space, which has nothing between its points, and what the decoder "
            "makes of it no picture that a code stands for. "
            if facts.space.model.encoder.family.gives == "the codes"
            else "the decoded mean is one form that lies in the middle of the others. "
        )
    )
    if clusters:
        caption = (
            f"The set has no classes; these are the prototypes of {counted(len(names), 'cluster')} that k-means found "
            f"in the latent space, largest first. {caption}"
        )
    if len(chosen) < len(names):
        caption += f"Shown are the {len(chosen)} largest of {len(names)} {many}. "
    if len(chosen) > 1:
        far, near = names[chosen[apart.argmax()]], names[chosen[apart.argmin()]]
        caption += (
            f"The two differ most for {far} (by {apart.max():.3f} a pixel on a scale from 0 to 1) and least for "
            f"{near} ({apart.min():.3f})."
        )
    slug, heading = ("clusters", "Cluster prototypes") if clusters else ("averages", "Class averages")
    listed = ", ".join(names[c] for c in chosen)
    alt = f"For each {what} the decoded mean latent above the mean of the pixels: {listed}."
    return Section(slug, heading, drawings=[Drawing("class-averages", figure, alt, caption.strip())])
