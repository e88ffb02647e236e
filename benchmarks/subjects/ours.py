"""This package, by its public functions, with its own automatic choices. The variant names the recipe."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import morphospace as ms
from benchmarks.calls import answer_calls
from benchmarks.machine import peak_memory
from benchmarks.session import Line, Pacer
from benchmarks.study import BATCH, images, torch_weights
from morphospace.networks import count_parameters
from morphospace.recipes import Recipe
from morphospace.settings import Settings
from morphospace.training.loop import _Run
from morphospace.training.schedule import finish_from

__all__ = ["curve", "infer", "train"]

NEVER = 1e9
"""Seconds between checkpoints: the peers write none either."""
LONG = 100
"""Epochs, so that no run ends within a turn."""


def train(line: Line, source: dict[str, Any], variant: str = "reference", seed: int = 0) -> None:
    """Train for as long as the line asks for it: `morphospace.fit`, in a folder, without checkpoints."""
    imported = time.monotonic()
    everything = images(source)
    learned_from = everything.train  # no test split, so no test falls into a turn
    loaded = time.monotonic()
    recipe = ms.recipes.get(variant, everything.spec)
    with tempfile.TemporaryDirectory() as folder:

        def about() -> dict[str, Any]:
            config = json.loads((Path(folder) / "run" / "config.json").read_text())
            training = config["training"]
            parts = recipe.build(seed).model
            answer = {
                "imported": imported,
                "loaded": loaded,
                "threads": config["machine"]["threads"],
                "how": _how(training),
                "batch": training["batch"],
                "parameters": {
                    "encoder": count_parameters(parts.encoder),
                    "decoder": count_parameters(parts.decoder),
                },
            }
            if variant == "reference":
                answer["loss"] = _check(recipe, learned_from, Settings.from_json(training))
            return answer

        pacer = Pacer(line, about, {"memory": lambda: {"mib": peak_memory()}})

        def progress(what: str, *_: object) -> None:
            if what == "training":
                pacer.step_done()

        ms.fit(
            recipe,
            learned_from,
            out=Path(folder) / "run",
            progress=progress,
            seed=seed,
            device="cpu",
            epochs=LONG,
            checkpoint_seconds=NEVER,
        )
        raise RuntimeError(f"{LONG} epochs ended before the turns did; ask for fewer or shorter rounds")


class _TrainingClock:
    """A progress that counts the seconds spent training, from when it is made, and notes them at each test."""

    def __init__(self) -> None:
        self.seconds, self.step = 0.0, 0
        self.tested: dict[int, float] = {}
        self._before = time.monotonic()

    def __call__(self, what: str, done: float, *_: object) -> None:
        now = time.monotonic()
        if what == "training":
            self.seconds, self.step = self.seconds + now - self._before, int(done)
        elif what == "testing":
            self.tested[self.step] = self.seconds
        self._before = now


def curve(
    line: Line, source: dict[str, Any], variant: str, epochs: float | None = None, seed: int = 0
) -> None:
    """Train as a user would, telling the test −ELBO that the run notes as it goes: one draw of z for each image."""
    everything = images(source)
    recipe = ms.recipes.get(variant, everything.spec)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        clock = _TrainingClock()
        space = ms.fit(recipe, everything, out=run, progress=clock, seed=seed, device="cpu", epochs=epochs)
        notes = [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]
    steps = space.settings.steps
    assert steps is not None
    anew, before = finish_from(steps) if recipe.finishes else steps, 0
    for note in notes:
        if note["split"] == "test":
            kept = {k: note[k] for k in ("epoch", "neg_elbo", "distortion", "rate")}
            mark = {"anew": True} if before <= anew < note["step"] else {}
            line.send(**kept, **mark, seconds=round(clock.tested[note["step"]], 3))
            before = note["step"]
    line.send(
        done=True,
        how=_how(space.config["training"]),
        threads=space.config["machine"]["threads"],
        images=len(everything.train),
        final=space.results["test"],
        mib=peak_memory(),
    )


def infer(line: Line, source: dict[str, Any], variant: str, seed: int = 0) -> None:
    """Encode and decode when asked, by a space's own methods; weights do not matter, so they are of one step."""
    everything = images(source)
    recipe = ms.recipes.get(variant, everything.spec)
    few = everything.take(np.flatnonzero(everything.splits == 0)[:512])
    space = ms.fit(recipe, few, steps=1, seed=seed, device="cpu")
    pixels = everything.pixels
    z = np.random.default_rng(seed).standard_normal((len(pixels), space.dimensions)).astype(np.float32)

    def encode(start: int, stop: int) -> object:
        return space.encode(pixels[start:stop]).mean

    def decode(start: int, stop: int) -> object:
        return space.decode(z[start:stop])

    about = {"threads": torch.get_num_threads(), "how": "float32"}
    answer_calls(line, {"encode": (encode, encode), "decode": (decode, decode)}, len(pixels), about)


def _how(training: dict[str, Any]) -> str:
    return f"{training['precision']}, {training['optimizer']}, batch {training['batch']}"


def _check(recipe: Recipe, learned_from: ms.Images, settings: Settings) -> float:
    """The loss of the loop's own first step on the first batch of images, with the weights that all are given."""
    first = learned_from.take(torch.arange(BATCH).numpy())
    with torch.random.fork_rng():
        run = _Run(recipe, first, replace(settings, batch=BATCH, steps=10), {}, None)
        for half, state in torch_weights().items():
            network = getattr(run.model, half).network
            network.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
        run.update()
    return float(run.sums["distortion"] + run.sums["rate"])
