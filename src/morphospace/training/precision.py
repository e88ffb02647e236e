"""The precision of the networks' arithmetic: what a run computes in, and the probe that chooses it.

bfloat16 is the faster one on processors with matrix units for it, and slower or even wrong in some builds of torch's
libraries elsewhere. So nothing is taken on trust: a few training steps are made in both, timed, and compared.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from morphospace.model import VAE, Conditional, Labels
from morphospace.objective import Objective
from morphospace.seeds import seeded
from morphospace.training.device import synchronize

__all__ = ["DTYPES", "Probe", "probe", "set_precision"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LEAST_GAIN = 1.2
"""How much faster bfloat16 must be: less is not worth a change of arithmetic, nor told apart from noise."""
LOSS_TOLERANCE = 0.01
"""How far the loss may lie from float32's, as a part of it; one rounding to bfloat16 errs by 0.4 % at most."""
LEAST_COSINE = 0.9
"""How nearly each weight tensor's gradient must point where float32's does; a kernel that is wrong gives about 0."""


@dataclass(frozen=True)
class Probe:
    """What the probe found.

    Attributes:
        precision: the one to take.
        gain: seconds of a step in float32 over those in bfloat16.
        loss_error: |loss − float32's| as a part of float32's.
        cosine: of the angle between the two gradients of a weight tensor, the least over all of them.
    """

    precision: Literal["float32", "bfloat16"]
    gain: float
    loss_error: float
    cosine: float


def set_precision(model: nn.Module, precision: str) -> None:
    """Let the model's networks compute in ``precision``; its weights and probabilities stay as they are."""
    for part in model.modules():
        if isinstance(part, Conditional):
            part.dtype = DTYPES[precision]


def probe(
    model: VAE, objective: Objective, x: Tensor, labels: Labels | None = None, rounds: int = 3
) -> Probe:
    """Compare bfloat16 with float32 on training steps with the images ``x``; the model is left as it was."""
    trial = copy.deepcopy(model).train(), copy.deepcopy(objective)
    found: dict[str, tuple[Tensor, list[Tensor]]] = {}
    seconds: dict[str, list[float]] = {precision: [] for precision in DTYPES}
    for turn in range(rounds + 1):
        for precision in DTYPES:
            set_precision(trial[0], precision)
            _copy_into(trial[0], model)  # some parts learn by being called, such as a codebook
            begun = time.perf_counter()
            found[precision] = _loss_and_gradient(*trial, x, labels)
            spent = time.perf_counter() - begun
            if turn > 0:  # the first step also pays for set-up
                seconds[precision].append(spent)
    gain = min(seconds["float32"]) / min(seconds["bfloat16"])
    (loss, gradients), (rough_loss, rough_gradients) = found["float32"], found["bfloat16"]
    error = float((rough_loss - loss).abs() / loss.abs().clamp_min(1e-12))
    pairs = zip(gradients, rough_gradients, strict=True)
    cosine = min(float(torch.cosine_similarity(a, b, dim=0)) for a, b in pairs)
    # So written that nan counts as disagreement.
    agree = error <= LOSS_TOLERANCE and cosine >= LEAST_COSINE
    return Probe("bfloat16" if agree and gain >= LEAST_GAIN else "float32", gain, error, cosine)


@torch.no_grad()
def _copy_into(trial: nn.Module, model: nn.Module) -> None:
    """Weights and buffers, also those that are in no state dict."""
    for mine, given in zip(_tensors(trial), _tensors(model), strict=True):
        mine.copy_(given)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _loss_and_gradient(
    model: VAE, objective: Objective, x: Tensor, labels: Labels | None
) -> tuple[Tensor, list[Tensor]]:
    """The loss of one training step and each weight tensor's gradient; always with the same noise."""
    model.zero_grad(set_to_none=True)
    with seeded(0, "probe"):
        values = objective(model.trace(x, objective.draws, labels=labels))
    loss = objective.total(values, objective.weights(1.0))
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    synchronize(x.device)
    return loss.detach(), gradients
