"""One run of `benchmarks.reproduce`: a recipe trained under its budget, and what is measured of it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from benchmarks import machine, study
from benchmarks.figures import significant
from morphospace import recipes
from morphospace.data.images import Images
from morphospace.evaluation import evaluate
from morphospace.evaluation.embedding import knn_accuracy
from morphospace.space import Space
from morphospace.training import make_feed, train
from morphospace.training.loop import settled
from morphospace.training.measure import measure as measure_elbo

__all__ = ["Line", "Run", "measure", "stamp"]

TRIAL = 0.05
"""The part of the budget that is spent, beforehand and in addition, on timing a step."""
LEAST_TRIAL = 5
"""Steps that are timed at least."""
NEIGHBOURS = 5
LEARNED = 50_000
"""The first training images, from which the neighbours are taken: as many as Sainburg et al. (2021) take."""

Line = dict[str, Any]
"""JSON-ready: what came of a run."""


@dataclass(frozen=True)
class Run:
    """One run, with all that decides on what comes out of it but the machine and the code.

    Attributes:
        recipe: its name.
        arguments: all of its arguments, defaults written out.
        seed: of everything random.
        minutes: of processor time in training; on a GPU, of the clock.
        threads: of the process.
        precision: "float32" or "bfloat16".
        device: "cpu" or "cuda".
        source: arguments of `morphospace.load`, see `benchmarks.study.images`.
        images: test images for what is costly: importance weighting, quadrature, reconstruction.
        draws: of z for each of them in importance weighting.
    """

    recipe: str
    arguments: dict[str, Any]
    seed: int
    minutes: float
    threads: int
    precision: str
    device: str
    source: dict[str, Any]
    images: int
    draws: int

    def key(self) -> str:
        """What tells one run from another."""
        return json.dumps(asdict(self), sort_keys=True)


def stamp() -> Line:
    """When, where and from what."""
    found = machine.describe()
    return {k: found[k] for k in ("date", "machine", "versions", "commit")}


class _Timed(Exception):
    """A trial that has run long enough."""


def measure(run: Run) -> Line:
    """Train and measure once, in this process: the figures, and all that is needed to get them again.

    Beside ``figures``, entries are ``unnormalised`` (why there is no likelihood, or nothing), ``told`` (whether
    the model is told of classes),
    ``settings`` (with the steps and the precision that were taken), ``seconds`` of processor time and of the clock,
    ``epochs``, ``images_per_second`` of the budget's clock, ``dimensions``, ``support`` and ``notes``.
    """
    torch.set_num_threads(run.threads)
    images = study.images(run.source)
    learned = images.train  # without test images, training tests nothing on the way
    recipe = recipes.get(run.recipe, images.spec, run.arguments).met(learned)
    settings = recipe.settings.changed(steps=10**6, seed=run.seed, precision=run.precision, device=run.device)
    settings = settled(recipe, learned, settings)
    budget = 60 * run.minutes
    step_seconds = _seconds_of_a_step(
        lambda progress: train(recipe, learned, settings, None, progress), TRIAL * budget, run.device
    )
    settings = settings.changed(steps=max(1, int(budget / step_seconds)))
    began, on_the_clock = _clock(run.device), time.monotonic()
    trained = train(recipe, learned, settings)
    spent, on_the_clock = _clock(run.device) - began, time.monotonic() - on_the_clock
    seen = (settings.steps or 0) * settings.batch
    begun = time.process_time()
    space = Space(trained.model, recipe, trained.config, {})
    figures, notes = evaluated(space, images, run)
    return {
        **stamp(),
        "unnormalised": recipe.unnormalised,
        "told": space.model.classes > 0,
        "settings": trained.config["training"],
        "seconds": {
            "budget": significant(spent),
            "clock": significant(on_the_clock),
            "evaluation": significant(time.process_time() - begun),
        },
        "epochs": significant(seen / len(learned)),
        "images_per_second": significant(seen / spent),
        "dimensions": space.dimensions,
        "support": getattr(space.model.decoder.family, "support", ""),
        "figures": {name: significant(value, 7) for name, value in figures.items()},
        "notes": notes,
        "peak_memory_mib": round(machine.peak_memory()),
    }


def _clock(device: str) -> float:
    """The budget's clock, in seconds: the process's own time, or the wall's where a GPU does the work."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def _seconds_of_a_step(train: Callable[[Callable[..., None]], object], seconds: float, device: str) -> float:
    """How long a step takes, by a run that is thrown away; the first step, which pays for set-up, is not counted."""
    began: tuple[float, float] | None = None
    found = 0.0

    def progress(what: str, done: float, *_: object) -> None:
        nonlocal began, found
        if what != "training":
            return
        now = _clock(device)
        if began is None:
            began = now, done
        elif now - began[0] >= seconds and done - began[1] >= LEAST_TRIAL:
            found = (now - began[0]) / (done - began[1])
            raise _Timed

    with suppress(_Timed):
        train(progress)
    return found


def evaluated(space: Space, images: Images, run: Run) -> tuple[dict[str, float], list[str]]:
    """The figures of one space, without those that mean nothing for it, and what must be known to read them.

    −ELBO is taken over all test images, with one draw of z each. log p(x) is measured on ``run.images`` of them, evenly
    spaced: how far it lies from the ELBO *there* is added to the ELBO of all. The error of that difference is
    ``nll_importance_error`` or ``nll_exact_error``: an estimate from the few alone would err by their choice.
    """
    found = evaluate(
        space,
        images,
        parts=("likelihood", "reconstruction", "latents"),
        draws=run.draws,
        count=run.images,
        seed=run.seed,
    )
    notes = [note for part in found.parts.values() for note in part["notes"]]
    figures = {
        name: found.value(part, name)
        for part, name in (("reconstruction", "mse"), ("latents", "active_units"))
        if name in found.parts[part]["figures"]
    }
    likelihood = found.parts["likelihood"]["figures"]
    if likelihood:
        figures |= _likelihood(space, images, run, likelihood)
    if images.labels is not None:
        figures["knn"] = _neighbours(space, images)
    return figures, notes


def _likelihood(space: Space, images: Images, run: Run, few: Mapping[str, Any]) -> dict[str, float]:
    """−ELBO of all test images, and −log p(x) by the distance that the two have on some of them."""
    whole = replace(
        space.recipe.build(), hide=0.0
    )  # whatever was hidden from training: here all pixels are known
    feed = make_feed(whole, images, "test", space.settings)
    bound = measure_elbo(space.model, feed, 1, run.seed)
    figures = {"neg_elbo": bound.neg_elbo, "distortion": bound.distortion, "rate": bound.rate}
    weighted = few["nll_importance"]
    figures["nll_importance"] = bound.neg_elbo - weighted["extra"]["elbo_gap"]
    figures["nll_importance_error"] = weighted["extra"]["elbo_gap_error"]
    figures["unreliable"] = weighted["extra"]["share_of_unreliable_images"]
    if "nll_exact" in few:
        figures["nll_exact"] = bound.neg_elbo - few["elbo_gap"]["value"]
        figures["nll_exact_error"] = few["elbo_gap"]["error"]
        figures["quadrature_error"] = few["nll_exact"]["extra"]["quadrature_error"]
    if "bits_per_dimension" in few and getattr(space.model.decoder.family, "support", "") == "levels":
        best = figures.get("nll_exact", figures["nll_importance"])
        figures["bits_per_dimension"] = best / (space.spec.pixels * math.log(2))
    return figures


def _neighbours(space: Space, images: Images) -> float:
    """5-NN accuracy of the latent means: learned from the first training images, scored on all test images."""
    latents = space.known_latents()
    learned, scored = np.flatnonzero(images.splits == 0)[:LEARNED], np.flatnonzero(images.splits == 2)
    labels = images.labels
    return knn_accuracy(
        latents.mean[learned], labels[learned], latents.mean[scored], labels[scored], NEIGHBOURS
    ).value
