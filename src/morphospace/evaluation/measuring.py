"""Each part of an evaluation: what it needs of a space and its images, and what it measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from morphospace.data.garments import CLASSES, FACTORS, draw_from
from morphospace.data.images import SPLITS, Images
from morphospace.distributions import Alphabet
from morphospace.evaluation.aggregate import MOST_PAIRED, active_units, code_figures, latent_figures
from morphospace.evaluation.binarised import VALIDATION, binarised_test
from morphospace.evaluation.classifier import classifier_for
from morphospace.evaluation.disentanglement import Sampler, disentanglement_figures
from morphospace.evaluation.doctor import Finding, diagnose, examine
from morphospace.evaluation.embedding import Embedded, component_figures, embedding_figures, pca
from morphospace.evaluation.likelihood import as_seen, measure_likelihood
from morphospace.evaluation.reconstruction import reconstruction_figures
from morphospace.evaluation.records import Figure, evenly
from morphospace.evaluation.samples import (
    COVERAGE_K,
    distance_to_nearest,
    memorisation_figures,
    sample_figures,
)
from morphospace.families import Codebooks, OptimalGaussian
from morphospace.space import Space
from morphospace.training.feed import to_unit, without
from morphospace.types import Progress, UsageError

__all__ = ["PARTS", "Measured", "NotMeasurable", "Subject", "why_no_likelihood"]

MOST_VALUES = 2**28
"""Pixel values that are held as floats at once: a gigabyte."""
MOST_TRAIN = 50_000
"""Training images that embeddings are judged on, as many as Sainburg et al. 2021 take: sets may be sorted by class, so
evenly spaced ones and not, as they do, the first."""
MOST_EXAMINED = 2_000
MOST_COMPARED = 1_000
"""Samples, and test images, whose nearest training image is looked for."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A space under evaluation.

    Attributes:
        space: the trained space.
        images: all of its own images.
        count: how many images to measure on, at most.
        draws: of z for each image, where importance is weighted.
        seed: of everything random.
        progress: told of every stretch of work.
    """

    space: Space
    images: Images
    count: int
    draws: int
    seed: int
    progress: Progress

    @property
    def device(self) -> torch.device:
        return next(self.space.model.parameters()).device

    @cached_property
    def split(self) -> str:
        """The images measured on: test images, or else validation, or else training images."""
        return next(
            name
            for i, name in ((2, "test"), (1, "validation"), (0, "train"))
            if (self.images.splits == i).any()
        )

    @cached_property
    def rows(self) -> NDArray[np.intp]:
        """Positions of the images measured on: evenly spaced where there are too many."""
        found = np.flatnonzero(self.images.splits == SPLITS.index(self.split))
        return found[evenly(len(found), min(self.count, max(1, MOST_VALUES // self.space.spec.pixels)))]

    @cached_property
    def train_rows(self) -> NDArray[np.intp]:
        """Positions of training images, evenly spaced where there are too many."""
        found = np.flatnonzero(self.images.splits == 0)
        return found[evenly(len(found), min(MOST_TRAIN, max(1, MOST_VALUES // self.space.spec.pixels)))]

    def pixels(self, rows: NDArray[np.intp]) -> Float[Tensor, "N C H W"]:
        """Images as floats in [0, 1], on the device; black where they are not known."""
        return to_unit(torch.from_numpy(np.array(self.images.pixels[rows])).to(self.device))

    def known(self, rows: NDArray[np.intp]) -> Float[Tensor, "N C H W"]:
        """The same as a model of incomplete images takes them: nan where they are not known."""
        x = self.pixels(rows)
        if self.images.observed is None:
            return x
        return without(x, torch.from_numpy(self.images.observed[rows]).to(self.device))

    @cached_property
    def x(self) -> Float[Tensor, "N C H W"]:
        return self.pixels(self.rows)

    def means(self, rows: NDArray[np.intp]) -> Float[np.ndarray, "N D"]:
        """The latent means of images at ``rows``."""
        return self.space.known_latents().mean[rows].astype(np.float64)

    def labels(self, rows: NDArray[np.intp]) -> NDArray[np.int64] | None:
        return None if self.images.labels is None else self.images.labels[rows]

    def told(self, rows: NDArray[np.intp]) -> Tensor | None:
        """The classes of images at ``rows``, on the device, for a model that is told of them; None for any other."""
        labels = self.labels(rows) if self.space.model.classes else None
        return None if labels is None else torch.from_numpy(labels).to(self.device)


@dataclass(frozen=True, eq=False)
class Measured:
    """What a part found.

    Attributes:
        figures: by name.
        notes: what must be known to read them, and what could not be measured.
        more: further JSON-ready entries of the part.
    """

    figures: dict[str, Figure]
    notes: list[str]
    more: Mapping[str, object] | None = None


class NotMeasurable(UsageError):
    """A part that means nothing for a space, and why."""


def why_no_likelihood(space: Space) -> str:
    """Why log p(x) of a space means nothing; empty if it does."""
    if not space.model.encoder.family.normalised:
        return "the encoder gives points, which have no density"
    if not space.model.decoder.family.normalised:
        return "the decoder's measure of likeness is no law of images"
    return space.recipe.build().objective.unnormalised


def _require_likelihood(space: Space) -> None:
    if reason := why_no_likelihood(space):
        raise NotMeasurable(f"this space has no likelihood: {reason}")


def _weighted(subject: Subject, x: Tensor, labels: Tensor | None) -> tuple[dict[str, Figure], list[str]]:
    """Likelihood of images, by as many draws as were asked for; of codes, whose draws are all alike, by two."""
    codes = isinstance(subject.space.model.encoder.family, Alphabet)
    draws = 2 if codes else subject.draws
    figures, notes = measure_likelihood(subject.space.model, x, draws, subject.seed, subject.progress, labels)
    if codes:
        notes.append(
            "The posterior is one row of codes, so all draws are alike and −ELBO is the length of a code for the "
            "image: its row under the prior, and what the row leaves open."
        )
    return figures, notes


def _likelihood(subject: Subject) -> Measured:
    _require_likelihood(subject.space)
    known, told = subject.known(subject.rows), subject.told(subject.rows)
    return Measured(*_weighted(subject, known, told))


def _binarised(subject: Subject) -> Measured:
    """The published protocol; see `morphospace.evaluation.binarised`."""
    _require_likelihood(subject.space)
    counts = subject.space.config["images"]["counts"]
    binary = torch.from_numpy(binarised_test(subject.images)).to(subject.device).float()
    kept = evenly(len(binary), subject.count)
    labels = subject.told(np.flatnonzero(subject.images.splits == SPLITS.index("test"))[kept])
    figures, notes = _weighted(subject, binary[kept], labels)
    notes.append(
        f"The protocol trains on 50,000 images, binarised anew at every step, and chooses by {VALIDATION:,} others; "
        f"this run has {counts.get('train', 0):,} training and {counts.get('validation', 0):,} validation images, and "
        "its recipe says what it did to them. It weights 5,000 draws."
    )
    return Measured(figures, notes)


def _reconstruction(subject: Subject) -> Measured:
    if subject.images.observed is not None:
        raise NotMeasurable(
            "some pixels are missing, so that a reconstruction of them has nothing to be compared with"
        )
    x = subject.x.cpu().numpy()
    means, labels = subject.means(subject.rows), subject.told(subject.rows)
    y = subject.space.decode(means, subject.progress, labels).numpy()
    return Measured(reconstruction_figures(x, y), [])


def _latents(subject: Subject) -> Measured:
    model = subject.space.model
    if not model.encoder.family.normalised:
        means = subject.means(subject.rows)
        units = Figure(
            active_units(means), "latent dimensions whose mean varies by more than 0.01", images=len(means)
        )
        return Measured(
            {"active_units": units}, ["The encoder gives points: there is no rate and no information."]
        )
    family = model.encoder.family
    levels = family.levels if isinstance(family, Codebooks) else 1
    if isinstance(family, Alphabet):
        z = torch.from_numpy(subject.space.known_latents().mean[subject.rows]).to(subject.device)
        return Measured(
            code_figures(family.symbols(z).cpu().numpy(), family.size, levels),
            ["The space is of codes: which are used is told in place of dimensions."],
        )
    some = slice(None, None, max(1, -(-len(subject.x) // MOST_PAIRED)))
    x, labels = subject.known(subject.rows[some]), subject.told(subject.rows[some])
    x = as_seen(model, x, subject.seed)
    with torch.inference_mode():
        q, p, marginal = model.encode(x, labels), model.prior_of(labels), model.prior_of()
    return Measured(*latent_figures(q, p, subject.seed, subject.progress, marginal))


def _doctor(subject: Subject) -> Measured:
    model, results = subject.space.model, subject.space.results
    if not model.encoder.family.normalised:
        raise NotMeasurable("the doctor weighs distortion against rate, and an encoder of points has none")
    rows = subject.train_rows
    rows = rows[evenly(len(rows), MOST_EXAMINED)]
    gap = cost = None
    if "test" in results and "train" in results:
        cost = results["train"]["neg_elbo"]
        gap = results["test"]["neg_elbo"] - cost
    labels = subject.told(rows)
    signs = examine(model, subject.known(rows), subject.seed, gap, cost, subject.progress, labels)
    found = diagnose(signs)
    if isinstance(model.encoder.family, Alphabet):
        found = [f for f in map(_of_codes, found) if f is not None]
    notes = []
    if reason := why_no_likelihood(subject.space):
        found = [f for f in found if f.name not in OF_DISTORTION]
        notes.append(f"The model has no likelihood ({reason}), so its distortion is weighed against nothing.")
    if isinstance(model.decoder.family, OptimalGaussian):
        found = [_of_best_sigma(f) for f in found]
    findings = [{"name": f.name, "words": f.words, "remedy": f.remedy} for f in found]
    definitions = {
        "balance": "β̂ = −∂distortion/∂rate as all posteriors widen together: the weight the rate was trained with",
        "residuals": "root mean square of (x − mean) / σ of the likelihood; 1 where σ is right",
        "spread": "standard deviation of the aggregated posterior over the prior's",
        "mismatch": "KL(q(z) ‖ p(z)), nats",
        "distortion": "with the image's own z, nats",
        "shuffled": "distortion with another image's z, nats",
        "average": "distortion of the best picture that knows nothing of z, nats",
    }
    figures = {
        name: Figure(value, f"{words}; training images", images=signs.images)
        for name, words in definitions.items()
        if (value := getattr(signs, name)) is not None
    }
    return Measured(figures, notes, {"findings": findings, "signs": signs.to_json()})


OF_DISTORTION = ("scale mismatch", "over-regularised", "under-regularised", "overfitted")
"""Findings that take the distortion for what the model learned from."""


def _of_best_sigma(finding: Finding) -> Finding:
    """A finding where σ is the best for each batch already, and a running mean of it is kept."""
    if not finding.words.startswith("The likelihood's σ"):
        return finding
    remedy = "Train longer: the σ that is kept is a running mean over the last twenty steps or so."
    return replace(finding, remedy=remedy)


def _of_codes(finding: Finding) -> Finding | None:
    """A finding in a space of codes, whose dimensions nobody chose one by one and whose prior is fitted afterwards."""
    if finding.name == "unused dimensions":
        return None  # a place that is the same in all images, such as a corner, is no fault
    if finding.name == "prior mismatch":
        return replace(finding, remedy='Fit a prior after training: space.with_prior("autoregressive").')
    return finding


def _embedding(subject: Subject) -> Measured:
    held_out = subject.rows if subject.split != "train" else subject.rows[:0]
    rows = subject.train_rows
    labels, held_labels = subject.labels(rows), subject.labels(held_out)
    pixels = [subject.pixels(some).flatten(1).cpu().numpy() for some in (rows, held_out)]
    dimensions = subject.space.dimensions
    own = Embedded(subject.means(rows), subject.means(held_out), labels, held_labels)
    figures = embedding_figures(own, pixels[0], "", subject.seed, subject.progress)
    notes = [] if labels is not None else ["The set has no labels: only neighbourhoods can be judged."]
    if subject.space.model.encoder.classes:
        notes.append(
            "The encoder is told each image's class: what its latents say of classes, it may have been told."
        )
    if dimensions <= min(pixels[0].shape):
        beside = Embedded(*pca(pixels[0], pixels[1], dimensions), labels, held_labels)
        figures |= embedding_figures(beside, pixels[0], "pca_", subject.seed, subject.progress)
    else:
        notes.append(f"PCA has no {dimensions} directions in these images.")
    with suppress(UsageError):  # a prior that is no mixture has no components
        figures |= component_figures(subject.space.assign(subject.means(rows)).numpy(), labels)
    return Measured(figures, notes)


def _disentanglement(subject: Subject) -> Measured:
    images, rows = subject.images, subject.rows
    columns, names, classes = [], [], []
    if images.factors is not None:
        columns.append(images.factors[rows].astype(np.float64))
        names += list(images.factor_names)
        classes += [False] * len(images.factor_names)
    if images.labels is not None and len(np.unique(images.labels[rows])) > 1:
        columns.append(images.labels[rows, None].astype(np.float64))
        names.append("class")
        classes.append(True)
    if not columns:
        raise NotMeasurable("there are neither factors nor labels to compare the latent dimensions with")
    return Measured(
        *disentanglement_figures(
            subject.means(rows),
            np.concatenate(columns, 1),
            names,
            classes,
            _drawer(subject),
            subject.seed,
            subject.progress,
        )
    )


def _drawer(subject: Subject) -> Sampler | None:
    """Codes of garments with given factors and any class; None for sets that cannot be drawn."""
    if subject.images.source.get("source") != "garments":
        return None
    spec = subject.space.spec

    def codes(values: NDArray[np.float64]) -> NDArray[np.float64]:
        labels = np.random.default_rng(subject.seed).integers(0, len(CLASSES), len(values))
        assert values.shape[1] == len(FACTORS)
        parts = []
        for start in range(0, len(values), 5_000):
            some = slice(start, start + 5_000)
            drawn = draw_from(labels[some], values[some].astype(np.float32), spec.height, spec.width)
            told = labels[some] if subject.space.model.classes else None
            parts.append(subject.space.encode(drawn, labels=told).mean.numpy().astype(np.float64))
            subject.progress("drawing with factors held", min(start + 5_000, len(values)), len(values))
        return np.concatenate(parts)

    return codes


def _samples(subject: Subject) -> Measured:
    figures: dict[str, Figure] = {}
    notes: list[str] = []
    more: dict[str, object] = {}
    count = len(subject.rows)
    told = subject.told(subject.rows)
    drawn = subject.space.sample(count, subject.seed, told, prior=True)
    notes.append("Samples are mean images at points drawn from the prior.")
    if told is not None:
        notes.append("They are of the classes that the images measured on are of, as many of each.")
    if subject.split == "train":
        notes.append("There are no test images: samples are compared with training images.")
    if subject.images.labels is None or len(np.unique(subject.images.labels[subject.train_rows])) < 2:
        notes.append("Without labels there is no classifier whose features could be compared.")
    elif count <= 2 * COVERAGE_K:
        notes.append(f"{count} images are too few to compare features of.")
    else:
        eyes = classifier_for(subject.images, subject.progress)
        train = subject.train_rows
        some = train[evenly(len(train), count)]
        figures |= sample_figures(
            eyes.features(drawn),
            eyes.features(subject.x),
            eyes.features(subject.pixels(some)) if subject.split != "train" else None,
            subject.progress,
        )
        sure = eyes.probabilities(drawn).max(1)
        own = eyes.probabilities(subject.x).max(1)
        figures["recognisable"] = Figure(
            float((sure >= 0.7).mean()),
            "share of samples to which the classifier gives some class a probability of 0.7 or more",
            "",
            float(np.sqrt((sure >= 0.7).var() / count)),
            "binomial standard error",
            draws=count,
            extra={"test images": float((own >= 0.7).mean())},
        )
        more = {
            "classifier": {"sha256": eyes.sha256, "data_sha256": eyes.data, "test_accuracy": eyes.accuracy}
        }
    if subject.split != "train":
        few = evenly(count, MOST_COMPARED)
        flat = [part[few].flatten(1).cpu().numpy().astype(np.float64) for part in (drawn, subject.x)]
        train = subject.train_rows
        pixels = subject.pixels(train).flatten(1).cpu().numpy()
        near = [distance_to_nearest(part, pixels, subject.progress)[0] for part in flat]
        figures |= memorisation_figures(*near)
    return Measured(figures, notes, more)


PARTS: dict[str, tuple[str, Callable[[Subject], Measured]]] = {
    "doctor": ("What the doctor says", _doctor),
    "likelihood": ("Likelihood", _likelihood),
    "reconstruction": ("Reconstruction", _reconstruction),
    "latents": ("Use of the latent space", _latents),
    "embedding": ("Embedding", _embedding),
    "disentanglement": ("Disentanglement", _disentanglement),
    "samples": ("Samples", _samples),
    "binarised": ("Binarised likelihood (published protocol)", _binarised),
}
"""The parts of an evaluation by name, in their order: title and function."""
