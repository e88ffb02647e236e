"""Stopped at any moment, in any way, a run ends as it would have ended: with the same bytes."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch

from fixtures import runs
from fixtures.small import make_images
from fixtures.stopping import stop_at
from morphospace.fitting import refit
from morphospace.settings import Settings
from morphospace.training import checkpoint, loop
from morphospace.training.loop import _Run, settled
from morphospace.types import Interrupted, RunError

FINAL_FILES = {
    "config.json",
    "latents.safetensors",
    "metrics.jsonl",
    "model.safetensors",
    "results.json",
    "sampler.safetensors",
}

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    runs.begin(folder)
    return folder


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """The same run, stopped at step 5, to be copied."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Interrupted):
        runs.begin(folder, progress=stop_at(5))
    return folder


@pytest.fixture
def broken(stopped, tmp_path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def assert_same_end(folder: Path, expected: Path) -> None:
    weights, truth = (path / "model.safetensors" for path in (folder, expected))
    assert weights.read_bytes() == truth.read_bytes()
    assert runs.curve(folder) == runs.curve(expected)
    # ... and the folder is as tidy.
    assert {path.name for path in folder.iterdir()} == FINAL_FILES


# ---------------------------------------------------------------- killed


@pytest.fixture(scope="module")
def processes():
    """Children of a server that has imported torch once, so that each begins at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["morphospace.fitting", "torch._dynamo", "pytest"])
    return context


def life(processes, folder: Path, steps: int = runs.STEPS, **options):
    """Begin one life of a run, and return when it is about to touch its folder."""
    ready = processes.Event()
    process = processes.Process(target=runs.live, args=(str(folder), steps, ready), kwargs=options)
    process.start()
    assert ready.wait(60)
    return process


def live_out(processes, folder: Path, steps: int = runs.STEPS, **options) -> float:
    """A life that nobody ends; returns how long it lasted."""
    process, begun = life(processes, folder, steps, **options), time.monotonic()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - begun


@pytest.mark.timeout(280)
def test_killed_at_twenty_random_moments_it_ends_with_the_same_bytes(processes, whole, tmp_path):
    lasted = live_out(processes, tmp_path / "whole")
    assert_same_end(tmp_path / "whole", whole)  # another process agrees to begin with
    moments = random.Random(0)
    for i in range(20):
        folder = tmp_path / f"run-{i}"
        # Somewhere in each twentieth of the run, from before its first file to the last ones.
        moment = (i + moments.random()) / 20 * lasted
        while True:
            process = life(processes, folder)
            time.sleep(moment)
            process.kill()
            process.join()
            if process.exitcode == -signal.SIGKILL:
                break
            moment *= 0.8  # the machine was faster this time, and the run had finished
            shutil.rmtree(folder)
        live_out(processes, folder)
        assert_same_end(folder, whole)


def test_killed_while_it_wrote_its_first_file_it_leaves_no_trace(whole, tmp_path):
    """Then the folder is no run yet, and what begins there anew is not a resumption."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".partial-config-abc.json").write_text('{"form')
    runs.begin(folder)
    assert_same_end(folder, whole)


@pytest.mark.timeout(280)
def test_killed_before_any_of_its_last_file_operations_it_ends_with_the_same_bytes(processes, tmp_path):
    """From the last checkpoint on: the moments that a random kill seldom meets."""
    touched = processes.Value("i", 0)
    live_out(processes, tmp_path / "whole", steps=2, events=touched)
    truth = tmp_path / "whole"
    assert touched.value > 40
    for die_at in range(touched.value - 30, touched.value, 3):
        folder = tmp_path / f"run-{die_at}"
        process = life(processes, folder, steps=2, die_at=die_at)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        live_out(processes, folder, steps=2)
        assert_same_end(folder, truth)
        for name in ("latents.safetensors", "sampler.safetensors"):
            assert (folder / name).read_bytes() == (truth / name).read_bytes()


def test_terminated_it_says_so_and_resumes_to_the_same_bytes(processes, whole, tmp_path):
    process = life(processes, tmp_path / "run")
    while not list(tmp_path.glob("run/checkpoints/step-*")):
        time.sleep(0.001)
    process.terminate()
    process.join()
    assert process.exitcode == Interrupted.exit_code
    assert not (tmp_path / "run" / "model.safetensors").exists()
    live_out(processes, tmp_path / "run")
    assert_same_end(tmp_path / "run", whole)


# ---------------------------------------------------------------- stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 6, runs.STEPS])
def test_a_signal_stops_after_a_checkpoint_and_its_handler_comes_back(whole, tmp_path, number, step):
    heard = []
    before = signal.signal(number, lambda *_: heard.append(number))
    handler = signal.getsignal(number)
    try:
        with pytest.raises(Interrupted, match=f"step {step} of {runs.STEPS}") as caught:
            runs.begin(tmp_path / "run", progress=stop_at(step, number))
        assert signal.getsignal(number) is handler
        assert heard == []
    finally:
        signal.signal(number, before)
    assert str(tmp_path / "run") in str(caught.value)
    _, record = checkpoint.load_newest(tmp_path / "run" / "checkpoints")
    assert record["step"] == step
    refit(tmp_path / "run", make_images())
    assert_same_end(tmp_path / "run", whole)


def test_a_second_signal_is_not_swallowed(tmp_path):
    def twice(what, done, total, figures=None):
        if what == "training" and done == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background may ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            runs.begin(tmp_path / "run", progress=twice)
    finally:
        signal.signal(signal.SIGINT, before)


def test_stopped_again_and_again(broken, whole):
    for step in (6, 7):
        with pytest.raises(Interrupted):
            refit(broken, make_images(), stop_at(step))
    refit(broken, make_images())
    assert_same_end(broken, whole)


def test_a_finished_run_is_loaded_as_it_is(whole, tmp_path):
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    refit(folder, make_images())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("finished", [False, True])
def test_other_images_are_refused(broken, whole, finished):
    folder = whole if finished else broken
    other = make_images()
    other.pixels[0, 0, 0, 0] ^= 1
    with pytest.raises(RunError, match="not those"):
        refit(folder, other)
    assert finished or not (folder / "model.safetensors").exists()


def test_what_a_lost_part_of_the_run_wrote_is_left_out(broken, whole):
    """Metrics of steps after the checkpoint, and a line that a crash cut short."""
    lines = (whole / "metrics.jsonl").read_text().splitlines(keepends=True)
    assert json.loads(lines[8])["step"] > 5
    (broken / "metrics.jsonl").write_text("".join(lines[:9]) + lines[9][:40])
    refit(broken, make_images())
    assert_same_end(broken, whole)


def test_a_full_disk_at_the_start_of_a_resume_loses_no_metrics(broken, whole, monkeypatch):
    before = (broken / "metrics.jsonl").read_text()

    def full(path, content):
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_text", full)
        with pytest.raises(OSError, match="no space"):
            refit(broken, make_images())
    assert (broken / "metrics.jsonl").read_text() == before
    refit(broken, make_images())
    assert_same_end(broken, whole)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_runs_own_thread_count_holds_whatever_the_users_is(broken, whole, threads):
    used = set()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        refit(
            broken,
            make_images(),
            lambda what, *_: used.add(torch.get_num_threads()) if what == "training" else None,
        )
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert used == {json.loads((whole / "config.json").read_text())["machine"]["threads"]}
    assert_same_end(broken, whole)


# ---------------------------------------------------------------- damaged checkpoints


def flip(path: Path, where: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(where * (len(content) - 1))] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a flipped bit in the tensors": lambda c: flip(c / "state.safetensors", 0.7),
    "a flipped bit in their header": lambda c: flip(c / "state.safetensors", 0.001),
    "a flipped bit in the record": lambda c: flip(c / "state.json", 0.5),
    "cut tensors": lambda c: os.truncate(c / "state.safetensors", 1000),
    "an empty record": lambda c: os.truncate(c / "state.json", 0),
    "missing tensors": lambda c: (c / "state.safetensors").unlink(),
    "missing manifest": lambda c: (c / "manifest.json").unlink(),
    "an empty manifest": lambda c: (c / "manifest.json").write_text("{}"),
    "a manifest of another kind": lambda c: (c / "manifest.json").write_text("[1, 2]"),
    "a cut manifest": lambda c: os.truncate(c / "manifest.json", 20),
    "a folder that lost everything": lambda c: [path.unlink() for path in c.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(broken, damage):
    newest, before = sorted((broken / "checkpoints").iterdir(), reverse=True)
    assert checkpoint.load_newest(broken / "checkpoints")[1]["step"] == 5
    DAMAGE[damage](newest)
    assert before.name == "step-00000004"
    tensors, record = checkpoint.load_newest(broken / "checkpoints")
    assert record["step"] == 4
    assert tensors


@pytest.mark.parametrize("damaged", [1, 2], ids=["newest", "both"])
def test_with_damaged_checkpoints_it_still_ends_with_the_same_bytes(broken, whole, damaged):
    for folder in sorted((broken / "checkpoints").iterdir(), reverse=True)[:damaged]:
        flip(folder / "state.safetensors", 0.7)
    refit(broken, make_images())
    assert_same_end(broken, whole)


def test_a_half_written_checkpoint_is_none_and_goes_away(broken, whole):
    stale = broken / "checkpoints" / ".writing-step-00000006"
    shutil.copytree(broken / "checkpoints" / "step-00000005", stale)
    assert checkpoint.load_newest(broken / "checkpoints")[1]["step"] == 5
    refit(broken, make_images())
    assert_same_end(broken, whole)


def test_two_checkpoints_are_kept_and_none_of_them_is_a_pickle(broken):
    folders = sorted((broken / "checkpoints").iterdir())
    assert [folder.name for folder in folders] == ["step-00000004", "step-00000005"]
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {
            "manifest.json",
            "state.json",
            "state.safetensors",
        }


# ---------------------------------------------------------------- state


def optimizers(run: _Run) -> list[torch.optim.Optimizer]:
    held = [
        v for value in vars(run).values() for v in (value.values() if isinstance(value, dict) else [value])
    ]
    return [value for value in held if isinstance(value, torch.optim.Optimizer)]


def state_of(run: _Run) -> dict[str, torch.Tensor]:
    """Every tensor that decides how a run goes on."""
    state = {
        f"{i}.{p}.{name}": value
        for i, optimizer in enumerate(optimizers(run))
        for p, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }
    parts = {"model": run.model, "kept": run.kept, "objective": run.objective}
    state |= {f"{name}.{k}": v for name, part in parts.items() for k, v in part.state_dict().items()}
    return state | {f"sums.{k}": v for k, v in run.sums.items()} | {"summed": torch.tensor(run.summed)}


@pytest.mark.parametrize("optimizer", get_args(get_type_hints(Settings)["optimizer"]))
@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_all_state_comes_back_value_for_value_and_stride_for_stride(tmp_path, optimizer, ema):
    """A moment in another memory layout than its weight would be walked through in another order."""
    made, images = runs.recipe(), make_images()
    settings = settled(made, images, made.settings.changed(steps=8, ema=ema, optimizer=optimizer, batch=16))
    first, second = (_Run(made, images, settings, {}, tmp_path) for _ in range(2))
    with torch.random.fork_rng():
        for _ in range(4):
            first.update()
        first.save()
        second.load()
        assert_same_state(first, second)
        for run in (first, second):
            run.update()  # and once more, since equal state that acts differently is of no use
            assert run.step == 5
    assert_same_state(first, second)


def assert_same_state(first: _Run, second: _Run) -> None:
    a, b = state_of(first), state_of(second)
    assert a.keys() == b.keys()
    learned = sum(p.requires_grad for p in first.model.parameters())
    assert sum(len(o.state_dict()["state"]) for o in optimizers(second)) == learned
    kernels = [t for t in a.values() if t.dim() == 4 and t.shape[1] > 1 and t.shape[2] > 1]
    assert kernels
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in kernels)
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name
        assert tensor.stride() == b[name].stride(), name
        assert tensor.dtype == b[name].dtype, name
