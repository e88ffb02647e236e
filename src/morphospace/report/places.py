"""Where images lie in the space, and what lies at each place."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from morphospace.plots import DPI, GRID_SIDE, decoded_grid, latent_rows, latent_scatter, signed
from morphospace.report.facts import Facts, nearest
from morphospace.report.page import Drawing, Section, counted

__all__ = ["the_manifold", "the_scatter"]

MOST_DOTS = 100_000


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
    """A grid over the prior's quantiles, decoded."""
    spec, dimensions = facts.space.spec, facts.space.dimensions
    most = 15 if dimensions > 1 else 9
    n = max(5, min(most, int(GRID_SIDE * DPI) // max(spec.height, spec.width)))
    n -= (n + 1) % 2  # odd, so that the middle of the prior is among them
    title = "What the decoder makes of each z"
    places = ndtri((np.arange(n) + 0.5) / n)
    if dimensions == 1:
        images = facts.decode(places[:, None])[None]
        figure = decoded_grid(images, places, None, title=title, xlabel="z")
    else:
        xs, ys = np.meshgrid(places, places)
        coordinates = np.stack([xs.ravel(), ys.ravel()], 1).astype(np.float32)
        images = facts.decode(facts.plane.lift(coordinates)).reshape(n, n, *spec.shape)
        x, y = axis_labels(facts)
        figure = decoded_grid(images, places, places, title=title, xlabel=x, ylabel=y)
    caption = (
        f"{counted(images.shape[0] * n, 'point')} of the space, decoded. The steps are even in the prior's quantiles, "
        f"from {50 / n:.1f} % to {100 - 50 / n:.1f} % along each axis (z from {signed(places[0])} to "
        f"{signed(places[-1])}), so that every picture stands for the same share of the prior. Neighbours should "
        "differ little; a picture that is like nothing marks a hole. "
    )
    if dimensions > 2:
        caption += (
            f"{_plane_words(facts)}The quantiles are those of a standard normal along each direction, counted from the "
            "mean of the latents."
        )
    alt = f"A grid of {images.shape[0]} by {n} decoded images, changing smoothly from one to the next."
    return Section(
        "manifold", "The decoded manifold", drawings=[Drawing("manifold", figure, alt, caption.strip())]
    )
