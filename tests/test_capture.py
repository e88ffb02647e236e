"""What a step must be for a GPU to capture it: nothing read back, and everything at its place in memory.

A GPU is not needed: on a CPU the same step is watched for what a capture would refuse or get wrong.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fixtures.small import make_images
from morphospace import recipes
from morphospace.training.loop import _Run, settled
from morphospace.types import ImageSpec

READ_BACK = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "unique", "masked_select")
"""Operations whose result decides, on the host, what comes next."""


class NothingReadBack(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name.startswith(READ_BACK):
            raise AssertionError(f"the step reads back from the device: {name}")
        return function(*args, **(kwargs or {}))


def run_of(name: str) -> _Run:
    images = make_images()
    recipe = recipes.get(name, images.spec, {"size": "tiny"} if name != "reference" else {})
    recipe = recipe.met(images)
    settings = settled(recipe, images, recipe.settings.changed(steps=20, batch=16, ema=0.1))
    return _Run(recipe, images, settings, {}, None)


def fits(name: str) -> bool:
    return name != "reference"  # 28×28 only; its networks are the tests' own matter


def state(run: _Run) -> dict[str, torch.Tensor]:
    """Every tensor that one step hands to the next."""
    found = {f"model.{k}": v for k, v in run.model.state_dict().items()}
    found |= {f"kept.{k}": v for k, v in run.kept.state_dict().items()}
    found |= {f"memory.{k}": v for k, v in run.memory.items()}
    found |= {f"objective.{k}": v for k, v in run.objective.state_dict().items()}
    found |= {f"sums.{k}": v for k, v in run.sums.items()}
    found |= {"failed": run.failed, "number": run.number, "average": run.average, "next": run.batches._next}
    found |= {} if run.batches.labels is None else {"labels": run.batches.labels}
    found |= {f"weights.{k}": v for k, v in run.weights.items() if isinstance(v, torch.Tensor)}
    for i, optimizer in enumerate(run._optimizers()):
        for j, entry in enumerate(optimizer.state.values()):
            found |= {f"{i}.{j}.{k}": v for k, v in entry.items() if isinstance(v, torch.Tensor)}
    return found


@pytest.mark.parametrize("name", [n for n in recipes.names() if fits(n)])
def test_a_step_reads_nothing_back_and_moves_nothing(name):
    watch(run_of(name))


def test_nor_does_a_step_of_the_encoder_that_is_taught_last():
    run = run_of("vae")
    run.step = run.stop
    watch(run)
    assert run.start > 0


def watch(run: _Run) -> None:
    with torch.random.fork_rng():
        for _ in range(2):  # optimizers make their state
            run.update()
        before = {k: v.data_ptr() for k, v in state(run).items()}
        run._prepare()
        with NothingReadBack():
            run._work()
        assert {k: v.data_ptr() for k, v in state(run).items()} == before


def test_what_is_prepared_is_all_that_differs_between_steps():
    """Two runs, one of which does its first step's work again with the second's preparation: a replay in small."""
    steps = []
    for _ in range(2):
        run = run_of("beta-vae")
        with torch.random.fork_rng():
            for _ in range(4):
                run._prepare()
                work = run._work if not steps else first_work(run)
                work()
                run.step += 1
        steps.append(state(run))
    for key, value in steps[0].items():
        torch.testing.assert_close(steps[1][key], value, rtol=0, atol=0)


def first_work(run: _Run):
    """The step as it was bound at the beginning: nothing of the host's state may have entered it."""
    number = run.step

    def work() -> None:
        run.step, now = 0, run.step
        try:
            run._work()
        finally:
            run.step = now

    assert number >= 0
    return work


def test_every_registered_recipe_was_watched():
    spec = ImageSpec(1, 12, 12)
    unfit = [n for n in recipes.names() if not fits(n)]
    assert unfit == ["reference"]
    assert all(
        recipes.get(n, spec, {"size": "tiny"}) for n in itertools.islice(recipes.names(), 3) if fits(n)
    )
