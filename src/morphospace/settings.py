"""`Settings`: how a run is trained. A recipe gives its defaults; a person may change any of them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from morphospace.types import UnknownName, UsageError

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """How a run is trained.

    The defaults are those of the recipe `vae`, found by the measurements in ``docs/experiments.md``.

    Attributes:
        epochs: passes over the training images; None lets the set's size decide (see `Settings.fixed`).
        minutes: time to train for, in place of epochs; turned into ``steps`` by timing the first ones.
        steps: the number of updates. It decides in the end: it follows from epochs or minutes and is kept in the run.
        batch: images per step.
        lr: the highest learning rate.
        matrix_lr: the highest learning rate of hidden matrices, where the optimizer is "muon".
        optimizer: "adamw" (Loshchilov & Hutter 2019, arXiv:1711.05101), "adam" (Kingma & Ba 2015, arXiv:1412.6980), or
            "muon" for hidden matrices with adamw for the rest (Jordan et al. 2024).
        betas: decay of the optimizer's first and second moments.
        eps: the optimizer's ε.
        weight_decay: decoupled weight decay of weight matrices (adamw).
        schedule: "one-cycle" (linear up, cosine down to nought; Smith & Topin 2017, arXiv:1708.07120), "cosine"
            (no way up) or "constant".
        warmup: the part of the run that a one-cycle schedule goes up for.
        clip: the largest norm of the whole gradient, or None.
        ema: the averaging window of the weights that are kept, as a part of the run; 0 keeps the last weights.
        seed: of everything random.
        device: "auto", "cpu", "cuda" or "mps".
        precision: of the networks' arithmetic in training: "float32", "bfloat16" (by autocast; weights, probabilities
            and losses stay float32), or "auto", which takes bfloat16 where a probe on this machine finds it clearly
            faster and in agreement. What was taken is kept in the run. A trained space computes in float32.
        test_draws: draws of z per image in the final figures.
        checkpoint_seconds: the longest time between two checkpoints.
    """

    epochs: float | None = None
    minutes: float | None = None
    steps: int | None = None
    batch: int = 512
    lr: float = 8e-3
    matrix_lr: float = 1e-2
    optimizer: Literal["adamw", "adam", "muon"] = "muon"
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.01
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    warmup: float = 0.15
    clip: float | None = 2.0
    ema: float = 0.02
    seed: int = 0
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    test_draws: int = 10
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name in ("epochs", "minutes", "steps", "batch", "lr", "matrix_lr", "eps", "test_draws"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name} is {value}; expected a number greater than nought")
        for name, known in (
            ("optimizer", ("adamw", "adam", "muon")),
            ("schedule", ("one-cycle", "cosine", "constant")),
            ("precision", ("auto", "float32", "bfloat16")),
        ):
            if getattr(self, name) not in known:
                raise UnknownName(name, getattr(self, name), known)
        for name in ("warmup", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(
                    f"{name} is {getattr(self, name)}; expected a part of the run, from 0 to below 1"
                )
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"seed is {self.seed}; expected a whole number from 0 to below 2³²")
        if self.clip is not None and not self.clip > 0:
            raise UsageError(f"clip is {self.clip}; expected a norm greater than nought, or none")

    def changed(self, **changes: Any) -> Settings:
        """These settings with those of ``changes`` that are not None in their place.

        A setting that may be None is made so by ``dataclasses.replace(settings, clip=None)``.
        """
        given = {name: value for name, value in changes.items() if value is not None}
        known = [f.name for f in fields(self)]
        for name in given:
            if name not in known:
                raise UnknownName("training setting", name, known)
        lengths = [name for name in ("epochs", "minutes", "steps") if name in given]
        if len(lengths) > 1:
            raise UsageError(
                f"{' and '.join(lengths)} were given; only one of them can set how long to train"
            )
        if lengths:  # one way of saying how long replaces the others
            given = {"epochs": None, "minutes": None, "steps": None, **given}
        return replace(self, **given)

    def fixed(self, count: int) -> Settings:
        """With batch and steps made certain for ``count`` training images; steps stay open if minutes decide.

        A small set gets smaller batches, an eighth of it at most, so that an epoch has several steps; and where no
        length was asked for, at least `LEAST_STEPS` steps, since a few epochs of few images teach nothing.
        """
        batch = max(1, min(self.batch, max(count // 8, 16), count))
        steps = self.steps
        if steps is None and self.minutes is None:
            steps = math.ceil((self.epochs or DEFAULT_EPOCHS) * count / batch)
            if self.epochs is None:
                steps = max(steps, LEAST_STEPS)
        return replace(self, batch=batch, steps=steps)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "betas": list(self.betas)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Settings:
        return cls(**{**record, "betas": tuple(record["betas"])})


DEFAULT_EPOCHS = 10.0
LEAST_STEPS = 1000
