"""Where images lie in the space, and what lies at each place."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import ndtri

from morphospace.distributions import Alphabet
from morphospace.plots import (
    DPI,
    GRID_SIDE,
    Strip,
    decoded_grid,
    latent_rows,
    latent_scatter,
    picture_strips,
    signed,
)
from morphospace.priors import StandardNormal
from morphospace.report.facts import Facts, nearest
from morphospace.report.page import Drawing, Section, counted

__all__ = ["the_manifold", "the_scatter"]

MOST_DOTS = 100_000
MOST_ROWS = 12
STYLES = 9
"""Points for each class of a decoder that is told of it."""


def the_scatter(facts: Facts) -> Section:
    """The latents of the training images, by class or cluster."""
    z, groups, names = facts.latents.mean[facts.train], facts.groups, facts.prototypes.names
    total = len(z)
    if total > MOST_DOTS:
        picked = np.sort(np.random.default_rng(facts.space.settings.seed).permutation(total)[:MOST_DOTS])
        z, groups = z[picked], groups[picked]
    seed, what = facts.space.settings.seed, "cluster" if facts.prototypes.clusters else "class"
    title = f"Where the training images lie, coloured by {what}"
    if facts.space.dimensions == 1:
        figure = latent_rows(z[:, 0], groups, names, title=title, seed=seed)
        how = "Each row is one, spread in height only so that its dots can be seen. "
    else:
        x, y = axis_labels(facts)
        points = facts.plane.project(z)
        figure = latent_scatter(points, groups, names, title=title, xlabel=x, ylabel=y, seed=seed)
        how = f"The name of each {what} stands at the median of its dots, or near it where names would overlap. "
    caption = (
        f"Each dot is the mean of q(z | x) of a training image: {_count_of(len(z), total)}, drawn in random order. "
        + how + _plane_words(facts) + _palette_words(facts) + _overlap(facts)
    )  # fmt: skip
    listed = ", ".join(names[:24]) + (", …" if len(names) > 24 else "")
    alt = f"Scatter of {len(z):,} latent means, coloured by {what}: {listed}."
    return Section("latents", "The latent space", drawings=[Drawing("latent-space", figure, alt, caption)])


def _count_of(shown: int, total: int) -> str:
    return f"{shown:,} of {total:,}, picked at random" if shown < total else f"all {total:,}"


def axis_labels(facts: Facts) -> tuple[str, str]:
    """What the two axes of the plane are."""
    if facts.plane.own:
        return "z₁", "z₂"
    first, second = (
        f"{nth} direction of greatest variance ({100 * share:.0f} % of the variance of z)"
        for nth, share in zip(("first", "second"), facts.plane.shares, strict=True)
    )
    return first, second


def _plane_words(facts: Facts) -> str:
    if facts.space.dimensions <= 2:
        return ""
    return (
        f"The space has {facts.space.dimensions} dimensions; this is the plane of the two directions in which the "
        f"latents vary most, which holds {100 * sum(facts.plane.shares):.0f} % of their variance. "
    )


def _palette_words(facts: Facts) -> str:
    names = facts.prototypes.names
    words = ""
    if facts.prototypes.clusters:
        words = f"The set has no classes: the colours are {counted(len(names), 'cluster')} that k-means found in z. "
    if len(names) > 10:
        words += "After ten colours the same come again, darker and lighter. "
    if len(names) > 24:
        words += "Names are written only where there is room. "
    return words


def _overlap(facts: Facts) -> str:
    """What can be said in numbers of how the classes lie to each other."""
    if facts.prototypes.clusters or len(facts.prototypes.names) < 2:
        return ""
    own = float((nearest(facts.latents.mean[facts.train], facts.prototypes.points) == facts.groups).mean())
    names, away = facts.prototypes.names, distances(facts.prototypes.points)
    a, b = np.unravel_index(np.where(np.eye(len(names), dtype=bool), np.inf, away).argmin(), away.shape)
    return (
        f"{100 * own:.0f} % of the images lie nearer to the mean of their own class than to any other's; the two means "
        f"nearest to each other are those of {names[a]} and {names[b]}, {away[a, b]:.3g} apart."
    )


def distances(points: Float[np.ndarray, "M D"]) -> Float[np.ndarray, "M M"]:
    """The distance from each point to each."""
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(points, points))


def the_manifold(facts: Facts) -> Section:
    """A grid over the quantiles of a standard normal prior, or else of the latents, decoded; of a decoder that is told
    of classes, a row of it for each class; of codes, which have no directions, draws from the prior.
    """
    if facts.space.conditional:
        return _styles(facts)
    if isinstance(facts.space.model.encoder.family, Alphabet):
        return _draws(facts, facts.space.model.encoder.family)
    spec, dimensions = facts.space.spec, facts.space.dimensions
    most = 15 if dimensions > 1 else 9
    n = max(5, min(most, int(GRID_SIDE * DPI) // max(spec.height, spec.width)))
    n -= (n + 1) % 2  # odd, so that the middle is among them
    title = "What the decoder makes of each z"
    xs, ys = _steps(facts, n)
    if dimensions == 1:
        images = facts.decode(xs[:, None])[None]
        figure = decoded_grid(images, xs, None, title=title, xlabel="z")
    else:
        across, up = np.meshgrid(xs, ys)
        coordinates = np.stack([across.ravel(), up.ravel()], 1).astype(np.float32)
        images = facts.decode(facts.plane.lift(coordinates)).reshape(n, n, *spec.shape)
        x, y = axis_labels(facts)
        figure = decoded_grid(images, xs, ys, title=title, xlabel=x, ylabel=y)
    caption = (
        f"{counted(images.shape[0] * n, 'point')} of the space, decoded. The steps are even in the quantiles of "
        f"{_quantiles_of(facts)}, from {50 / n:.1f} % to {100 - 50 / n:.1f} % along each axis"
    )
    if _standard(facts) and dimensions <= 2:
        span = f"z from {signed(xs[0])} to {signed(xs[-1])}"
        caption += f" ({span}), so that every picture stands for the same share of the prior"
    caption += f". Neighbours should differ little; a picture that is like nothing marks a hole. {_plane_words(facts)}"
    if not facts.space.model.encoder.family.plane:
        caption += (
            "The points of this space are not any numbers: what lies beside them is drawn as well, though no image is "
            "ever encoded there."
        )
    alt = f"A grid of {images.shape[0]} by {n} decoded images, changing smoothly from one to the next."
    return Section(
        "manifold", "The decoded manifold", drawings=[Drawing("manifold", figure, alt, caption.strip())]
    )


def _standard(facts: Facts) -> bool:
    """Whether images were held to N(0, I), so that its quantiles are where they lie."""
    model = facts.space.model
    return type(model.prior) is StandardNormal and model.encoder.family.normalised


def _steps(facts: Facts, count: int) -> tuple[Float[np.ndarray, " {count}"], Float[np.ndarray, " {count}"]]:
    """Places along the two axes of the plane, even in quantiles."""
    parts = (np.arange(count) + 0.5) / count
    if _standard(facts):
        return ndtri(parts), ndtri(parts)
    z = facts.latents.mean[facts.train]
    points = np.repeat(z, 2, 1) if facts.space.dimensions == 1 else facts.plane.project(z)
    xs, ys = np.quantile(points.astype(np.float64), parts, axis=0).T
    return xs, ys


def _quantiles_of(facts: Facts) -> str:
    if not _standard(facts):
        return "the training images' latents"
    if facts.space.dimensions <= 2:
        return "the prior"
    return "a standard normal along each direction, counted from the mean of the latents"


def _styles(facts: Facts) -> Section:
    """The same points of the space, decoded as each class."""
    model, dimensions = facts.space.model, facts.space.dimensions
    places = ndtri((np.arange(STYLES) + 0.5) / STYLES)
    coordinates = np.stack([places, np.zeros_like(places)], 1).astype(np.float32)
    z = coordinates[:, :1] if dimensions == 1 else facts.plane.lift(coordinates)
    told = bool(model.prior.classes)
    shown = facts.space.classes[:MOST_ROWS]
    strips = []
    for c, name in enumerate(shown):
        label = torch.tensor(c, device=next(model.parameters()).device)
        points = z
        if told:
            with torch.no_grad():
                p = model.prior_of(label)
                place, width = (part.detach().cpu().numpy() for part in (p.mean, p.stddev))
            points = (place + z * width).astype(np.float32)
        images = facts.decode(points, np.full(STYLES, c))
        above = [signed(v) for v in places] if c == 0 else [""] * STYLES
        strips.append(Strip(name, images, above, [""] * STYLES))
    axis = "z" if dimensions == 1 else axis_labels(facts)[0]
    of = "its class's prior, in its deviations" if told else "the prior"
    caption = (
        f"{STYLES} points of the space along its axis {axis}, at even steps of the quantiles of {of}, each decoded as "
        f"{counted(len(shown), 'class', 'classes')}: a row is one class, a column one style. The decoder is told the "
        "class, so that z holds what the class leaves open. Columns that look alike in every way but the class are "
        "what one hopes for; a row of like pictures says that z does nothing there."
    )
    if len(shown) < len(facts.space.classes):
        caption += f" Shown are the first {len(shown)} of {len(facts.space.classes)} classes."
    alt = f"Rows of {STYLES} decoded images, one row for each of {', '.join(shown)}."
    figure = picture_strips(strips, title="What the decoder makes of the same z in each class")
    return Section("manifold", "The decoded manifold", drawings=[Drawing("manifold", figure, alt, caption)])


def _draws(facts: Facts, alphabet: Alphabet) -> Section:
    rows, columns = 4, 8
    images = facts.space.sample(rows * columns, facts.space.settings.seed).numpy()
    strips = [
        Strip("", part, [""] * columns, [""] * columns)
        for part in images.reshape(rows, columns, *images.shape[1:])
    ]
    title = "What the prior draws"
    caption = (
        f"{rows * columns} draws from the prior, decoded. A point of this space is a row of {alphabet.length} codes, "
        f"each one of {alphabet.size:,}, so there are no directions to walk in. "
    )
    if "prior" in facts.space.config:
        caption += "The prior was fitted after training: each code is drawn given those before it."
    else:
        caption += (
            "Under this prior every code is as likely as every other at each place, whatever stands beside it, so that "
            "the pictures need not look like anything; a prior fitted after training, "
            'space.with_prior("autoregressive"), knows which codes go together.'
        )
    alt = f"{rows} rows of {columns} pictures, decoded from draws of the prior."
    return Section(
        "samples", title, drawings=[Drawing("samples", picture_strips(strips, title=title), alt, caption)]
    )
