"""`fit`: from a recipe and images to a space; the one way that training is begun, from Python and from a terminal."""

from __future__ import annotations

import math
import os
import platform
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from morphospace.data.images import Images
from morphospace.files import remove_partial
from morphospace.latents import Latents
from morphospace.model import VAE
from morphospace.networks import count_parameters
from morphospace.recipes import Recipe
from morphospace.settings import Settings
from morphospace.space import Space, made_from
from morphospace.training import Trained, checkpoint, make_feed, resume, train
from morphospace.training.config import read_config, require_same_images
from morphospace.training.measure import measure
from morphospace.types import NumericalError, Progress, UsageError, silent

__all__ = ["encode_own", "fit", "measured", "refit"]

RUN_FILES = (
    "model.safetensors",  # first: without it the run counts as unfinished
    "latents.safetensors",
    "sampler.safetensors",
    "results.json",
    "metrics.jsonl",
    "evaluation.json",
    "report.html",
    "README.md",
    "config.json",
)
RUN_MARKS = ("config.json", "checkpoints", "model.safetensors")
"""Any of these is a run: checkpoints that lost their configuration would be taken for those of the new one."""


def fit(
    recipe: Recipe,
    images: Images,
    settings: Settings | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
    **changes: Any,
) -> Space:
    """Train a recipe on images.

    Args:
        recipe: from `morphospace.recipes`, made for images of this shape.
        images: from `morphospace.load`; the training split is learned from, the test split measured on.
        settings: how to train; the recipe's own settings by default.
        out: a folder for the run; without it nothing is written.
        overwrite: remove a run that is in ``out`` first, with all of its ``figures/`` and ``checkpoints/``.
        progress: told of every stretch of work.
        changes: single settings to change: ``epochs=3``, ``lr=1e-3``, ``seed=1``.

    Raises:
        UsageError: for settings or shapes that do not fit, images without the labels that the recipe needs, and for an
            ``out`` that holds a run already.
        NumericalError: at the first loss or gradient that is not finite.
        Interrupted: when SIGINT or SIGTERM asked for a stop, after a checkpoint.
    """
    if recipe.spec != images.spec:
        raise UsageError(f"the recipe was made for {recipe.spec} images; these are {images.spec}")
    recipe = recipe.met(images)
    settings = (settings or recipe.settings).changed(**changes)
    folder = Path(out) if out is not None else None
    if folder is not None and any((folder / name).exists() for name in RUN_MARKS):
        if not overwrite:
            raise UsageError(f"{folder} holds a run already; choose another out, or pass overwrite=True")
        _remove_run(folder)
    elif folder is not None and (
        theirs := [name for name in (*RUN_FILES, "figures") if (folder / name).exists()]
    ):
        raise UsageError(
            f"{folder} is no run but holds {' and '.join(theirs)}, which a run would replace; choose another out"
        )
    if folder is not None:
        remove_partial(folder)  # a run that was killed before its first file was whole leaves no other mark
    trained = train(recipe, images, settings, folder, progress)
    return _finish(trained, recipe, images, folder, progress)


def _remove_run(folder: Path) -> None:
    """Remove what a run is made of, and nothing else that may lie in its folder."""
    for name in RUN_FILES:
        (folder / name).unlink(missing_ok=True)
    for name in ("checkpoints", "figures"):
        shutil.rmtree(folder / name, ignore_errors=True)


def refit(folder: str | os.PathLike[str], images: Images, progress: Progress = silent) -> Space:
    """Continue an interrupted run to the end that it would have had; a finished one is loaded as it is.

    Raises:
        RunError: if the folder is not a run, or the images are not those that it was begun with.
    """
    path = Path(folder)
    config = read_config(path)
    require_same_images(images, config, path)
    remove_partial(path)
    if (path / "model.safetensors").is_file():
        return _tidied(Space.load(path), images, path, progress)
    recipe, settings = made_from(config, path)
    trained = resume(recipe, images, settings, config, path, progress)
    return _finish(trained, recipe, images, path, progress)


def _tidied(space: Space, images: Images, folder: Path, progress: Progress) -> Space:
    """A finished run, with what a stop after its weights were written had left to do."""
    if space.latents is None:
        space.latents = encode_own(space, images, progress)
        space.save_latents(folder)
    if space.sampler is None and space.fit_sampler(progress) is not None:
        space.save_sampler(folder)
    checkpoint.remove_all(folder / "checkpoints")
    return space


def _finish(
    trained: Trained, recipe: Recipe, images: Images, folder: Path | None, progress: Progress
) -> Space:
    """Measure, encode, fit the sampler and save what the loop gave."""
    space = Space(trained.model, recipe, trained.config, {})
    space.results = _results(trained, recipe, images, space.settings, progress)
    space.latents = encode_own(space, images, progress)
    space.fit_sampler(progress)
    if folder is not None:
        space.save(folder)
        checkpoint.remove_all(folder / "checkpoints")
    return space


def measured(
    model: VAE, recipe: Recipe, images: Images, settings: Settings, progress: Progress = silent
) -> dict[str, Any]:
    """−ELBO and its parts on the test and the training images, as far as there are any: a run's final figures.

    Raises:
        NumericalError: for a −ELBO that is not finite.
    """
    parts = recipe.build()
    splits: tuple[tuple[Literal["train", "test"], int], ...] = (("test", settings.test_draws), ("train", 1))
    found: dict[str, Any] = {}
    for name, draws in splits:
        feed = make_feed(parts, images, name, settings)
        if len(feed):
            elbo = measure(model, feed, draws, settings.seed, progress, f"measuring {name}")
            if not math.isfinite(elbo.neg_elbo):
                raise NumericalError(
                    f"the trained model's −ELBO on the {name} images is {elbo.neg_elbo}; expected a finite number. "
                    f"Try a lower --lr than {settings.lr:g}"
                )
            found[name] = elbo.to_json()
    return found


def _results(
    trained: Trained, recipe: Recipe, images: Images, settings: Settings, progress: Progress
) -> dict[str, Any]:
    return {
        **measured(trained.model, recipe, images, settings, progress),
        "steps": settings.steps,
        "epochs": round((settings.steps or 0) * settings.batch / len(images.train), 3),
        "seconds": round(trained.seconds, 2),
        "images_per_second": round(trained.images_per_second, 1),
        "parameters": {
            "encoder": count_parameters(trained.model.encoder),
            "decoder": count_parameters(trained.model.decoder),
            "prior": count_parameters(trained.model.prior),
            **(
                {}
                if trained.model.classifier is None
                else {"classifier": count_parameters(trained.model.classifier)}
            ),
        },
        "finished_on": {"torch": torch.__version__, "python": platform.python_version()},
    }


def encode_own(space: Space, images: Images, progress: Progress = silent) -> Latents:
    """The latents of the images that a space was trained and tested on."""
    q = space.encode(images, progress)
    return Latents(
        mean=q.mean.numpy().astype(np.float32),
        scale=q.stddev.numpy().astype(np.float32),
        splits=np.array(images.splits),
        labels=None if images.labels is None else np.array(images.labels),
        classes=images.classes,
    )
