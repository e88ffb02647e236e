"""`Atlas`: a space of two dimensions as fields on a grid, and how it is made."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Independent, Normal

from morphospace.atlas.decoded import decode_points
from morphospace.atlas.density import aggregate, box_of
from morphospace.atlas.figures import (
    LAWS,
    SURE,
    Densities,
    excess_figure,
    integrals,
    nearest_figures,
    recognised_figures,
    stretch_figures,
)
from morphospace.atlas.grid import CELLS, Grid
from morphospace.atlas.measures import Holes
from morphospace.atlas.nearest import nearest_images, sparseness
from morphospace.data.images import Images
from morphospace.distributions import Distribution
from morphospace.evaluation.classifier import Classifier, classifier_for
from morphospace.evaluation.records import Figure
from morphospace.families import DiagonalNormal, Point
from morphospace.latents import Latents, with_spread
from morphospace.priors import Prior
from morphospace.seeds import seeded
from morphospace.space import Space
from morphospace.training.config import require_same_images
from morphospace.types import Progress, UnknownName, UsageError, silent

__all__ = ["PARTS", "Atlas", "densities_on", "make_atlas", "require_plane"]

PARTS = ("metric", "recognition", "nearest")
"""What can be found out beside the densities."""
REACH = 4.75
"""Deviations of the prior that the box reaches at least, to each side: a normal has 4·10⁻⁶ of its mass beyond."""
LEAST_LOG = -700.0
"""Of a density, nats: float64 has numbers down to e⁻⁷⁴⁵."""
SAMPLES = 10_000
"""Samples and test images that the excess of unrecognisable ones is told from."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """A map of a space of two dimensions. What was not asked for, or cannot be had, is None.

    Attributes:
        grid: the points that all fields are given at.
        prior: (Gy, Gx) p(z), per unit of area.
        by_class: (M, Gy, Gx) π_c·q_c(z): the mean of the encoder's normals over the training images of each class,
            weighted by the class's part of them. One row in a space without classes.
        classes: names of the rows of ``by_class``; empty in a space without classes.
        sampler: (Gy, Gx) density of what samples are drawn from by default, where that is not the prior.
        former: (Gy, Gx) density of the prior that the model was trained with, where another was fitted since.
        recognition: (M, Gy, Gx) probabilities that the set's frozen classifier gives to the decoded image.
        metric: (3, Gy, Gx) g₁₁, g₁₂, g₂₂ of the pull-back metric G = JᵀJ.
        nearest: (Gy, Gx) distance from the decoded image to the nearest training image, root summed squares of pixels;
            searched for at every ``nearest_step``-th point each way, bilinear between these.
        nearest_step: see ``nearest``.
        overlap: (M, M) ∫ min(q_a, q_b) of every two classes.
        overlap_error: (M, M), as the errors of ``figures``.
        figures: numbers by name, each with its definition and error.
        notes: what must be known to read them.
        classifier: whose probabilities ``recognition`` holds: hashes of its weights and images, test accuracy.
    """

    grid: Grid
    prior: Float[np.ndarray, "Gy Gx"]
    by_class: Float[np.ndarray, "M Gy Gx"]
    classes: tuple[str, ...] = ()
    sampler: Float[np.ndarray, "Gy Gx"] | None = None
    former: Float[np.ndarray, "Gy Gx"] | None = None
    recognition: Float[np.ndarray, "M Gy Gx"] | None = None
    metric: Float[np.ndarray, "3 Gy Gx"] | None = None
    nearest: Float[np.ndarray, "Gy Gx"] | None = None
    nearest_step: int = 1
    overlap: Float[np.ndarray, "M M"] | None = None
    overlap_error: Float[np.ndarray, "M M"] | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    classifier: Mapping[str, Any] | None = None

    @cached_property
    def posterior(self) -> Float[np.ndarray, "Gy Gx"]:
        """q(z), the aggregated posterior of the training images, per unit of area; float64."""
        return np.asarray(self.by_class.sum(0, dtype=np.float64))

    @cached_property
    def holes(self) -> Holes:
        """Where q(z) < 0.1·p(z)."""
        return Holes(self.grid, self.posterior, self.prior)

    @cached_property
    def winners(self) -> np.ndarray:
        """(Gy, Gx) the position in ``classes`` of the class with the largest π_c·q_c(z)."""
        return np.asarray(self.by_class.argmax(0))

    @property
    def recognised(self) -> Float[np.ndarray, "Gy Gx"]:
        """(Gy, Gx) the top class probability of the decoded image.

        Raises:
            UsageError: if nobody looked at the decoded images.
        """
        if self.recognition is None:
            raise UsageError(
                "this map does not tell what is recognised; make it with the part 'recognition', which needs the "
                "images and their labels"
            )
        return np.asarray(self.recognition.max(0))


def require_plane(space: Space) -> None:
    """Refuse a space whose map is not one of the plane by normals with independent dimensions.

    Raises:
        UsageError: saying what the space is.
    """
    family = space.model.encoder.family
    kind = type(family).__name__
    if not family.plane:
        raise UsageError(
            f"the points of this space ({kind}) are not any {space.dimensions} numbers: it is no plane, and maps are "
            "drawn of planes only"
        )
    if space.dimensions != 2:
        raise UsageError(f"a map has two dimensions; this space has {space.dimensions}")
    if space.conditional:
        raise UsageError(
            "the decoder of this space is told of classes, so that a place has a picture for each: it has no one map"
        )
    if not isinstance(family, DiagonalNormal | Point):
        raise UsageError(
            f"the posteriors of this space ({kind}) are no normals with independent dimensions, of which the exact map "
            "is made"
        )


def make_atlas(
    space: Space,
    images: Images | None = None,
    *,
    parts: Sequence[str] | None = None,
    cells: int = CELLS,
    seed: int = 0,
    progress: Progress = silent,
) -> Atlas:
    """Map a space of two dimensions.

    Args:
        space: trained.
        images: those that it was trained on; only ``recognition`` and ``nearest`` look at them.
        parts: what to find out beside the densities, names among `PARTS`; by default all that can be had with what
            was given. ``()`` takes a second and suffices for holes and overlaps, ``("metric",)`` for paths. Figures
            with their errors are found where parts are not named.
        cells: of the grid along each side.
        seed: of the samples that are drawn.
        progress: told of the work.

    Raises:
        UnknownName: for a part that does not exist.
        UsageError: for a space that is no plane, or whose prior has no density; for a part that needs the images.
        RunError: if the cache of latents was deleted, or the images are not those of the run.
    """
    require_plane(space)
    wanted = (PARTS if images is not None else PARTS[:1]) if parts is None else tuple(parts)
    for name in wanted:
        if name not in PARTS:
            raise UnknownName("part of an atlas", name, PARTS)
        if name != "metric" and images is None:
            raise UsageError(f"the part '{name}' of an atlas looks at the images; pass them")
    if images is not None and space.folder is not None:
        require_same_images(images, space.config, space.folder)
    maker = _Maker(space, images, seed, progress)
    atlas = maker.densities(cells)
    if parts is None:
        atlas = maker.measured(atlas)
    if "metric" in wanted or "recognition" in wanted:
        atlas = maker.decoded(atlas, "recognition" in wanted)
    if "nearest" in wanted:
        atlas = maker.with_nearest(atlas)
    return maker.judged(atlas) if parts is None else atlas


def densities_on(space: Space, grid: Grid) -> Densities:
    """p(z), π_c·q_c(z) of each class, and the sampler's density, at the points of a grid.

    Raises:
        UsageError: for a space that is no plane, or whose prior has no density.
        RunError: if the latents are gone.
    """
    require_plane(space)
    space.fit_sampler()
    return _Maker(space, None, 0, silent).on(grid)


class _Maker:
    """The steps, and what several of them need."""

    def __init__(self, space: Space, images: Images | None, seed: int, progress: Progress) -> None:
        self.space, self.images, self.seed, self.progress = space, images, seed, progress
        latents = space.known_latents()
        self.train = with_spread(latents.learned)
        self.classes = space.classes if self.train.labels is not None else ()
        self.notes: list[str] = []
        self.sparser: Float[np.ndarray, "Gy Gx"]
        if not space.model.encoder.family.normalised:
            self.notes.append(
                "The encoder gives points without spread; their density is that of normals of Scott's width about them."
            )

    def densities(self, cells: int) -> Atlas:
        self.space.fit_sampler(self.progress)
        laws = (
            self._law(part) for part in (self.space.model.prior, self.space.sampler, self.space.former_prior)
        )
        grid = Grid.over(*box_around(self.train, *(law for law in laws if law is not None)), cells)
        made = self.on(grid)
        return Atlas(grid, made.prior, made.by_class, tuple(self.classes), made.sampler, made.former)

    @torch.inference_mode()
    def _law(self, part: Prior | None) -> Distribution | None:
        law: Distribution | None = None if part is None else part(self.space.model.encoder)
        return law

    def on(self, grid: Grid) -> Densities:
        """The densities on any grid."""
        train, count = self.train, max(len(self.classes), 1)
        by_class = aggregate(grid, train.mean, train.scale, train.labels, count, self.progress)
        prior, sampler, former = (
            None if (law := self._law(part)) is None else density_of(law, grid)
            for part in (self.space.model.prior, self.space.sampler, self.space.former_prior)
        )
        assert prior is not None
        return Densities(grid, prior, by_class, sampler, former)

    def measured(self, atlas: Atlas) -> Atlas:
        """With the figures of the densities, and the classes' overlaps."""
        first = Densities(atlas.grid, atlas.prior, atlas.by_class, atlas.sampler, atlas.former)
        found = integrals(first, self.on, self.classes)
        self.notes += found.notes
        if len(self.classes) < 2:
            return replace(atlas, figures=found.figures, notes=tuple(self.notes))
        return replace(
            atlas,
            figures=found.figures,
            overlap=found.overlap,
            overlap_error=found.overlap_error,
            notes=tuple(self.notes),
        )

    def _eyes(self) -> Classifier | None:
        assert self.images is not None
        labels = self.images.train.labels
        if labels is None or len(np.unique(labels)) < 2:
            self.notes.append("Without labels there is no classifier to recognise decoded images.")
            return None
        return classifier_for(self.images, self.progress)

    @cached_property
    def eyes(self) -> Classifier | None:
        """The set's classifier; None where there are no classes to tell apart."""
        return self._eyes()

    def decoded(self, atlas: Atlas, recognise: bool) -> Atlas:
        """With the decoder's metric and, if asked, what the classifier makes of the decoded images."""
        eyes = self.eyes if recognise else None
        look = None if eyes is None else eyes.probabilities
        found = decode_points(self.space.model, atlas.grid.points, look, self.progress)
        shape = atlas.grid.shape
        recognition = None if found.recognition is None else found.recognition.reshape(-1, *shape)
        about = None
        if eyes is not None:
            accuracy = None if math.isnan(eyes.accuracy) else eyes.accuracy  # of a set without test images
            about = {"sha256": eyes.sha256, "data_sha256": eyes.data, "test_accuracy": accuracy}
        return replace(
            atlas,
            metric=found.metric.reshape(3, *shape),
            recognition=recognition,
            classifier=about,
            notes=tuple(self.notes),
        )

    def with_nearest(self, atlas: Atlas) -> Atlas:
        """With the distance to the nearest training image."""
        assert self.images is not None
        pixels = self.images.train.pixels
        step = sparseness(len(atlas.grid.points), len(pixels), self.space.spec.pixels)
        coarse = atlas.grid.coarsened(step)
        decoded = self.space.decode(coarse.points.astype(np.float32), self.progress)
        distance, _ = nearest_images(decoded, pixels, self.progress)
        field = distance.reshape(coarse.shape)
        full, self.sparser = (
            grid.interpolate(some, atlas.grid.points).reshape(atlas.grid.shape)
            for grid, some in ((coarse, field), (Grid(coarse.x[::2], coarse.y[::2]), field[::2, ::2]))
        )
        return replace(atlas, nearest=full.astype(np.float32), nearest_step=step)

    def judged(self, atlas: Atlas) -> Atlas:
        """With the figures of what was found by decoding."""
        figures = dict(atlas.figures)
        if atlas.metric is not None:
            figures |= stretch_figures(atlas.metric, atlas.posterior)
        laws = {"posterior": atlas.posterior, "prior": atlas.prior}
        laws |= {name: law for name in ("sampler", "former") if (law := getattr(atlas, name)) is not None}
        if atlas.recognition is not None:
            figures |= recognised_figures(atlas.grid, atlas.recognised, laws)
            figures |= self._excess()
        if atlas.nearest is not None:
            figures |= nearest_figures(atlas.grid, atlas.nearest, self.sparser, laws)
        return replace(atlas, figures=figures)

    def _excess(self) -> dict[str, Figure]:
        """How many samples are not recognised, beyond what reconstructions already are."""
        latents = self.space.known_latents()
        known = latents.test if (latents.splits == 2).any() else latents
        means = known.mean[np.linspace(0, len(known) - 1, min(SAMPLES, len(known))).round().astype(int)]
        test = self._unsure(torch.from_numpy(means))
        return {
            name: excess_figure(self._unsure(z), test, words)
            for name, z, words in samples_of(self.space, SAMPLES, self.seed)
        }

    def _unsure(self, z: Tensor) -> np.ndarray:
        assert self.eyes is not None
        return np.asarray(self.eyes.probabilities(self.space.decode(z, self.progress)).max(1) < SURE)


def samples_of(space: Space, count: int, seed: int) -> Iterator[tuple[str, Tensor, str]]:
    """Points drawn from the space's sampler and its prior, and the one before if there is one; the name of the figure
    that is made of them, and what they were drawn from, in words.
    """
    yield "excess_unrecognisable", space.draw(count, seed), "the space's own sampler"
    yield "excess_unrecognisable_prior", space.draw(count, seed, prior=True), LAWS["prior"]
    if space.former_prior is not None:
        with seeded(seed, "sample"), torch.inference_mode():
            law = space.former_prior(space.model.encoder)
            yield "excess_unrecognisable_former", law.rsample(torch.Size((count,))).cpu(), LAWS["former"]


@torch.inference_mode()
def density_of(law: Distribution, grid: Grid) -> Float[np.ndarray, "Gy Gx"]:
    """The density of a law over the plane at the points of a grid, float64."""
    if isinstance(law, Independent) and isinstance(law.base_dist, Normal):
        mean, scale = (t.detach().double().cpu().numpy() for t in (law.mean, law.stddev))
        away = [np.square((axis - m) / s) for axis, m, s in zip((grid.x, grid.y), mean, scale, strict=True)]
        peak = 1 / (2 * np.pi * scale.prod())
        return np.asarray(peak * np.exp(-0.5 * (away[0][None] + away[1][:, None])))
    device = law.mean.device
    parts = []
    for start in range(0, len(grid.points), 2**14):
        z = torch.from_numpy(grid.points[start : start + 2**14]).float().to(device)
        # Held above nought: where a flow says e⁻⁹⁰⁰ and q(z) is not nought, no divergence is infinite.
        parts.append(law.log_prob(z).double().clamp_min(LEAST_LOG).exp().cpu().numpy())
    return np.asarray(np.concatenate(parts).reshape(grid.shape))


def box_around(latents: Latents, *laws: Distribution) -> tuple[np.ndarray, np.ndarray]:
    """The box that holds the aggregated posterior and the laws, but for tails of a few millionths."""
    low, high = box_of(latents.mean, latents.scale)
    for law in laws:
        mean, scale = (t.detach().double().cpu().numpy() for t in (law.mean, law.stddev))
        low, high = np.minimum(low, mean - REACH * scale), np.maximum(high, mean + REACH * scale)
    return low, high
