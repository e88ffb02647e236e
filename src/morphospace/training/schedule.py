"""What a step is of its run: its learning rate, and the step from which another encoder learns."""

from __future__ import annotations

import math

from morphospace.settings import Settings

__all__ = ["FINISH", "finish_from", "rate_factor"]

FINISH = 0.1
"""The last part of a run, where a recipe's own encoder takes the place of the one that the decoder learned with."""
LEAST_FINISH = 100
"""Steps that it should have at least, for an encoder begins anew in it..."""
MOST_FINISH = 1 / 8
"""...but in a short run no more than this part, which at two epochs of Fashion-MNIST costs nothing."""


def finish_from(steps: int) -> int:
    """The step from which a recipe's own encoder learns, where the decoder learns with another one first."""
    return steps - max(1, round(FINISH * steps), min(LEAST_FINISH, int(MOST_FINISH * steps)))


def rate_factor(settings: Settings, step: int, steps: int) -> float:
    """The part of its peak that the learning rate of a step is, a pure function of the step."""
    if settings.schedule == "constant":
        return 1.0
    done = (step + 0.5) / steps
    warmup = settings.warmup if settings.schedule == "one-cycle" else 0.0
    if done < warmup:
        return done / warmup
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))
