"""The loop: what it learns, what it writes, when it stops, and that it is a function of its inputs alone."""

from __future__ import annotations

import json
import math
import signal
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from fixtures.small import make_images, unit
from morphospace import recipes
from morphospace.fitting import fit
from morphospace.model import Trace
from morphospace.objective import Objective
from morphospace.recipes import Parts
from morphospace.seeds import generator, seed_of, seeded
from morphospace.settings import Settings
from morphospace.space import Space
from morphospace.training import checkpoint, loop
from morphospace.training.device import fixed_threads, pick_device
from morphospace.training.feed import Feed, Order, to_unit
from morphospace.training.loop import _Run, read_metrics, settled
from morphospace.training.measure import measure
from morphospace.training.signals import stop_flag
from morphospace.types import NumericalError, UnknownName, UsageError, silent


def weights(space: Space) -> list[torch.Tensor]:
    return list(space.model.state_dict().values())


def same(a: Space, b: Space) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize("name", ["vae", "beta-vae"])
def test_the_loss_falls(images, name, tmp_path):
    recipe = recipes.get(name, images.spec, {"size": "tiny"})
    space = fit(recipe, images, steps=120, out=tmp_path / "run")
    lines = [line for line in read_metrics(tmp_path / "run") if line["split"] == "train"]
    assert lines[-1]["distortion"] < lines[0]["distortion"] - 3  # nats per image of 64 pixels
    assert lines[-1]["distortion"] + lines[-1]["rate"] < lines[0]["distortion"] + lines[0]["rate"] - 3
    assert space.results["test"]["neg_elbo"] < lines[0]["distortion"]


def test_a_larger_weight_on_the_rate_gives_a_smaller_rate(images):
    """The only thing that β does, and a rate that does not feel it is not in the loss."""

    def rate(beta: float) -> float:
        recipe = recipes.beta_vae(images.spec, size="tiny", beta=beta)
        return fit(recipe, images, steps=120).results["train"]["rate"]

    assert rate(20.0) < 0.7 * rate(0.1)


def test_only_the_training_split_is_learned_from(images, recipe):
    """Other validation and test images give the same weights."""
    pixels = images.pixels.copy()
    pixels[images.splits != 0] = 255 - pixels[images.splits != 0]
    other = type(images)(pixels, images.splits, images.labels, images.classes)
    assert same(fit(recipe, images, steps=4), fit(recipe, other, steps=4))


def test_the_kept_weights_are_a_running_mean_that_forgets_its_beginning(images, recipe):
    def run(ema: float) -> tuple[_Run, list[list[torch.Tensor]]]:
        settings = settled(
            recipe, images, recipe.settings.changed(steps=30, ema=ema, batch=16, schedule="constant")
        )
        made = _Run(recipe, images, settings, {}, None)
        path = []
        with torch.random.fork_rng():
            for _ in range(30):
                made.update()
                path.append([p.detach().clone() for p in made.model.parameters()])
        return made, path

    last, path = run(0.0)
    assert last.kept is last.model
    mean, same_path = run(0.5)
    assert all(
        torch.equal(a, b) for a, b in zip(path[-1], same_path[-1], strict=True)
    )  # it changes no learning
    for kept, *values in zip(mean.kept.parameters(), *path, strict=True):
        values = torch.stack(values)
        recent = values[15:]  # hardly any weight lies further back than a few windows of three
        assert (kept <= values.amax(0) + 1e-6).all()
        assert (kept >= values.amin(0) - 1e-6).all()
        if kept.dim() > 1:
            assert not torch.equal(kept, values[-1])
            assert (kept - recent.mean(0)).norm() < (kept - values[0]).norm()


def test_without_averaging_the_last_weights_are_kept(images, recipe):
    assert same(fit(recipe, images, steps=1, ema=0.0), fit(recipe, images, steps=1, ema=0.5))


# ---------------------------------------------------------------- randomness


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(images, recipe, tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        torch.rand(3)  # whatever was drawn before does not matter
        fit(recipe, images, steps=4, seed=seed, out=tmp_path / name)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert len(a) == len(c)
    assert a != c


def test_each_step_draws_noise_of_its_own_and_each_seed_another(images, register):
    """The same noise at every step would teach the decoder to count on it."""
    drawn: list[torch.Tensor] = []

    def noise(trace: Trace) -> torch.Tensor:
        drawn.append(((trace.z - trace.q.mean) / trace.q.stddev).detach().flatten())
        return trace.z.sum()

    def listening(spec) -> Parts:
        parts = recipes.vae(spec, size="tiny").build()
        return Parts(parts.model, Objective((0.0, noise), distortion=1, rate=1), parts.settings)

    recipe = register(listening)(images.spec)
    for seed in (0, 0, 1):
        fit(recipe, images, steps=3, batch=16, seed=seed)
    drawn = torch.stack(drawn)  # (3 runs · 3 steps, 16 images · 2 dimensions)
    torch.testing.assert_close(drawn[:3], drawn[3:6], rtol=1e-3, atol=1e-4)
    different = torch.corrcoef(drawn[[0, 1, 2, 6, 7, 8]]).fill_diagonal_(0)
    assert different.abs().max() < 0.7
    assert 0.7 < drawn.std() < 1.3


def test_nothing_global_is_touched(images, recipe):
    torch.manual_seed(123)
    np.random.seed(123)  # noqa: NPY002  # the old global state is what must be left alone
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()  # noqa: NPY002
    space = fit(recipe, images, steps=2)
    space.sample(2)
    _ = space.prototypes
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert torch.get_num_threads() == before[2]


def test_the_thread_count_comes_back_after_an_error_too():
    before = torch.get_num_threads()

    def fail() -> None:
        with fixed_threads(before + 1):
            assert torch.get_num_threads() == before + 1
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == before


def test_streams_are_unrelated_and_functions_of_their_place():
    places = [(0,), (1,), (-1,), (0, "noise"), (0, "order"), (0, "noise", 1), (0, "noise", 2), (1, "noise", 1),
              (0, "1"), (0, 1), (0, "noise", 1, 2), (0, "noise", 12)]  # fmt: skip
    seeds = [seed_of(*place) for place in places]
    assert len(set(seeds)) == len(places)
    assert all(0 <= s < 2**63 for s in seeds)
    assert seeds == [seed_of(*place) for place in places]
    first, second = (torch.randn(4000, generator=generator(0, "noise", step)) for step in (1, 2))
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 0.06


def test_a_seed_is_a_promise_across_versions():
    """Were it another number tomorrow, no run of today could be resumed or repeated."""
    assert seed_of(0, "noise", 3) == 6347807290990278987


def test_seeded_restores_the_generator_after_an_error():
    state = torch.get_rng_state()

    def fail() -> None:
        with seeded(1, "x"):
            torch.rand(1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.equal(torch.get_rng_state(), state)


# ---------------------------------------------------------------- the order of images


@pytest.mark.parametrize(("count", "batch"), [(10, 3), (10, 10), (7, 5), (3, 8), (1, 1), (64, 16)])
def test_every_epoch_is_a_permutation_and_every_batch_is_full(count, batch):
    order = Order(count, batch, seed=0)
    batches = [order(step) for step in range(count * 4)]
    assert all(len(b) == batch for b in batches)
    stream = np.concatenate(batches)
    epochs = stream[: len(stream) // count * count].reshape(-1, count)
    assert (np.sort(epochs, axis=1) == np.arange(count)).all()
    if count > 3:
        assert len({tuple(epoch) for epoch in epochs.tolist()}) > 1  # each with an order of its own


def test_a_batch_can_be_told_without_those_before_it():
    forwards = Order(10, 3, seed=4)
    expected = [forwards(step) for step in range(20)]
    for step in (19, 0, 7, 7, 18, 3):
        np.testing.assert_array_equal(Order(10, 3, seed=4)(step), expected[step])
        np.testing.assert_array_equal(forwards(step), expected[step])
    assert not np.array_equal(Order(10, 10, seed=5)(0), Order(10, 10, seed=4)(0))


def test_the_permutation_is_the_seeds_and_the_epochs_alone():
    """Not of the batch size: another one cuts the same stream elsewhere."""
    small, large = (np.concatenate([Order(12, b, 0)(s) for s in range(24 // b)]) for b in (3, 8))
    np.testing.assert_array_equal(small, large)


def test_the_feed_gives_the_images_asked_for_as_numbers_in_the_unit_range(images):
    feed = Feed(images.pixels, torch.device("cpu"))
    batch = feed(torch.tensor([3, 1, 3]))
    assert batch.dtype == torch.float32
    torch.testing.assert_close(batch, unit(images)[[3, 1, 3]])
    torch.testing.assert_close(feed(slice(2, 4)), unit(images)[2:4])
    assert len(feed) == len(images)
    ends = to_unit(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
    assert ends.flatten().tolist() == [0.0, 1.0]


def test_the_feed_takes_memory_that_cannot_be_written_to(images, tmp_path):
    np.save(tmp_path / "a.npy", images.pixels)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    batch = Feed(mapped, torch.device("cpu"))(torch.tensor([5]))
    torch.testing.assert_close(batch, unit(images)[5:6])
    assert (mapped == images.pixels).all()  # and dividing by 255 did not reach it


# ---------------------------------------------------------------- the learning rate


def rates(images, recipe, steps: int = 60, **changes) -> tuple[np.ndarray, np.ndarray]:
    """The learning rate at every step: as the optimizer used it, and as the metrics tell it."""
    used = []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: used.append({group["lr"] for group in optimizer.param_groups})
    )
    try:
        history = []
        settings = recipe.settings.changed(steps=steps, lr=4e-3, optimizer="adamw", **changes)
        settings = settled(recipe, images, settings)
        with torch.random.fork_rng():
            history = _Run(recipe, images, settings, {}, None).to_the_end(silent).history
    finally:
        hook.remove()
    assert all(len(rate) == 1 for rate in used)
    return np.array([rate.pop() for rate in used]), np.array(
        [x["lr"] for x in history if x["split"] == "train"]
    )


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "constant"])
def test_the_learning_rate_has_its_schedules_shape(images, recipe, schedule):
    used, told = rates(images, recipe, schedule=schedule, warmup=0.25)
    np.testing.assert_allclose(used, told, rtol=1e-12)
    assert used.min() > 0  # no step is wasted
    assert used.max() == pytest.approx(4e-3, rel=0.05)
    peak = {"one-cycle": 15, "cosine": 0, "constant": 0}[schedule]
    steps = np.diff(used)
    if schedule == "constant":
        assert (used == 4e-3).all()
    else:
        np.testing.assert_allclose(steps[: max(peak - 1, 0)], 4e-3 / 15)  # up in a straight line
        assert (steps[peak + 1 :] < 0).all()
        assert used[-1] < 0.01 * 4e-3
        middle = peak + (60 - peak) // 2
        assert used[middle] == pytest.approx(2e-3, rel=0.1)  # half of the way down at half of the time


def test_without_warmup_one_cycle_is_a_cosine(images, recipe):
    one_cycle, _ = rates(images, recipe, steps=10, schedule="one-cycle", warmup=0.0)
    cosine, _ = rates(images, recipe, steps=10, schedule="cosine")
    np.testing.assert_array_equal(one_cycle, cosine)


# ---------------------------------------------------------------- what is written


def test_metrics_have_one_shape(images, recipe, tmp_path):
    told = []
    fit(recipe, images, epochs=3, out=tmp_path / "run", progress=lambda *a: told.append(a))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    train, test = ([line for line in lines if line["split"] == split] for split in ("train", "test"))
    common = {"step", "epoch", "seconds", "split", "distortion", "rate"}
    assert all(line.keys() == common | {"terms", "weights", "lr", "images_per_second"} for line in train)
    assert all(line.keys() == common | {"neg_elbo", "draws", "images"} for line in test)
    steps = math.ceil(3 * 35 / 16)
    assert [line["step"] for line in train] == list(range(1, steps + 1))
    assert [line["step"] for line in test] == [round(steps * i / 3) for i in (1, 2, 3)]
    assert all(line["epoch"] == pytest.approx(line["step"] * 16 / 35, abs=1e-4) for line in lines)
    assert all(line["neg_elbo"] == pytest.approx(line["distortion"] + line["rate"]) for line in test)
    assert all(line["weights"] == {"distortion": 1, "rate": 1} for line in train)
    assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)
    # The progress ends where it said that it would.
    ends = {what: (done, total) for what, done, total, *_ in told}
    assert ends["training"] == (steps, steps)
    assert all(done == total for done, total in ends.values())


def test_a_long_run_writes_the_mean_of_the_steps_between_two_lines(images, recipe, tmp_path, monkeypatch):
    fit(recipe, images, steps=12, out=tmp_path / "every")
    monkeypatch.setattr(loop, "LOGS", 3)
    fit(recipe, images, steps=12, out=tmp_path / "few")
    every, few = ([x for x in read_metrics(tmp_path / n) if x["split"] == "train"] for n in ("every", "few"))
    assert [line["step"] for line in few] == [4, 8, 12]
    for i, line in enumerate(few):
        for term in ("distortion", "rate"):
            assert line[term] == pytest.approx(np.mean([x[term] for x in every[4 * i : 4 * i + 4]]), rel=1e-5)


def test_the_configuration_tells_what_the_run_was_made_from(images, recipe, tmp_path):
    fit(recipe, images, epochs=2, seed=9, out=tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["recipe"] == {
        "name": "vae",
        "arguments": {"latent": 2, "size": "tiny", "corrupted": 0.5, "anchors": 0},
    }
    training = Settings.from_json(config["training"])
    assert (training.epochs, training.seed, training.batch, training.steps) == (2, 9, 16, 5)
    assert training.device != "auto"  # what it stood for on that machine
    assert config["images"]["classes"] == list(images.classes)
    assert config["machine"]["threads"] == torch.get_num_threads()


@pytest.mark.parametrize("name", ["config.json", "checkpoints", "model.safetensors"])
def test_a_folder_that_holds_a_run_is_refused_and_left_alone(images, recipe, tmp_path, name):
    """Left-over checkpoints too: the new run would resume from the old one's weights."""
    (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match="holds a run already"):
        fit(recipe, images, steps=1, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_overwriting_removes_the_old_run_and_nothing_else(images, recipe, run):
    (run / "notes.txt").write_text("mine")
    (run / "checkpoints").mkdir()
    space = fit(recipe, images, steps=2, seed=3, out=run, overwrite=True)
    assert same(Space.load(run), space)
    assert max(line["step"] for line in read_metrics(run)) == 2
    assert (run / "notes.txt").read_text() == "mine"
    assert not (run / "checkpoints").exists()


def test_without_a_folder_nothing_is_written(images, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = fit(recipe, images, steps=2)
    assert space.folder is None
    assert list(tmp_path.iterdir()) == []
    assert space.latents is not None


# ---------------------------------------------------------------- what does not fit


def test_images_of_another_shape_than_the_recipes_are_refused(recipe):
    with pytest.raises(UsageError, match="8×8×1"):
        fit(recipe, make_images(shape=(1, 9, 8)))


def test_a_set_without_training_images_is_refused(images, recipe):
    with pytest.raises(UsageError, match="no training images"):
        fit(recipe, images.test)


@pytest.mark.parametrize("count", [1, 2])
def test_the_smallest_set_trains(recipe, count):
    images = make_images(count)
    space = fit(recipe, images, steps=2)
    assert "test" not in space.results
    assert math.isfinite(space.results["train"]["neg_elbo"])


def test_an_unknown_or_missing_device_is_told_in_words():
    with pytest.raises(UnknownName, match="Did you mean 'cuda'"):
        pick_device("cuba")
    assert pick_device("cpu") == "cpu"
    for name, here in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())):
        if not here:
            with pytest.raises(UsageError, match="sees none"):
                pick_device(name)


# ---------------------------------------------------------------- numbers that stop being numbers

STEP = 1
MARKED = int(Order(35, 16, seed=0)(STEP)[7])
"""The position in the training split of an image that breaks a term; it is first met at that step."""


def poisoned(kind: str):
    """A term that breaks on the image whose first pixel is 255, in its value or only in its gradient."""

    def poison(trace: Trace) -> torch.Tensor:
        broken = trace.x[:, 0, 0, 0] == 1
        if kind == "nan value":
            return torch.where(broken, math.nan, 0.0).sum() + 0 * trace.z.sum()
        if kind == "inf value":
            return torch.where(broken, math.inf, 0.0).sum() + 0 * trace.z.sum()
        # √ of nought is nought, and its slope infinite: 0 · ∞.
        return torch.sqrt(0 * trace.z.square().sum()) if broken.any() else 0 * trace.z.sum()

    return poison


@pytest.mark.parametrize("kind", ["nan value", "inf value", "nan gradient"])
@pytest.mark.parametrize("clip", [10.0, None])
def test_the_first_number_that_is_not_finite_stops_the_run_and_names_the_batch(
    kind, clip, images, register, tmp_path
):
    pixels = images.pixels.copy()
    pixels[:, 0, 0, 0] = 0
    row = np.flatnonzero(images.splits == 0)[MARKED]
    pixels[row, 0, 0, 0] = 255
    marked = type(images)(pixels, images.splits, images.labels, images.classes)

    def breaking(spec) -> Parts:
        parts = recipes.vae(spec, size="tiny").build()
        return Parts(parts.model, Objective((1.0, poisoned(kind)), distortion=1, rate=1), Settings(clip=clip))

    recipe = register(breaking)(images.spec)
    with pytest.raises(NumericalError) as caught:
        fit(recipe, marked, steps=9, batch=16, checkpoint_seconds=0, out=tmp_path / "run")
    message = str(caught.value)
    assert f"at step {STEP} " in message
    assert message.endswith(" " + ", ".join(map(str, Order(35, 16, seed=0)(STEP).tolist())))
    assert "nan" in message or "inf" in message
    # Nothing broken was kept: the newest checkpoint is of the last good step.
    assert not (tmp_path / "run" / "model.safetensors").exists()
    tensors, record = checkpoint.load_newest(tmp_path / "run" / "checkpoints")
    assert record["step"] == STEP
    assert all(torch.isfinite(t).all() for t in tensors.values())


def test_gradients_are_clipped_to_the_norm_asked_for(images, recipe):
    norms = []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: norms.append(
            torch.stack([p.grad.norm() for g in optimizer.param_groups for p in g["params"]]).norm().item()
        )
    )
    try:
        fit(recipe, images, steps=3, clip=0.5, optimizer="adam")
        clipped, norms[:] = list(norms), []
        fit(recipe, images, Settings(clip=None, optimizer="adam"), steps=3)
    finally:
        hook.remove()
    assert clipped == pytest.approx([0.5] * 3, rel=1e-4)
    assert min(norms) > 1


# ---------------------------------------------------------------- minutes


def test_minutes_become_a_number_of_steps_that_the_run_keeps(images, recipe, monkeypatch):
    """With a clock on which every step takes a second and each test of the set half of one."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def taking(seconds, function):
        def slow(*args, **kwargs):
            clock.now += seconds
            return function(*args, **kwargs)

        return slow

    monkeypatch.setattr(_Run, "update", taking(1.0, _Run.update))
    monkeypatch.setattr(loop, "measure", taking(0.5, loop.measure))
    space = fit(recipe, images, minutes=1.5)
    assert 80 <= clock.now <= 90
    assert space.settings.minutes == 1.5
    assert space.settings.steps == space.results["steps"]
    assert 60 < space.settings.steps < 90
    # What it was trained with is in the settings, so the same run can be had again without a clock.
    assert same(fit(recipe, images, steps=space.settings.steps), space)


@pytest.mark.parametrize("minutes", [1e-4, 0.03])
def test_hardly_any_time_is_at_least_one_step(images, recipe, minutes):
    assert fit(recipe, images, minutes=minutes).settings.steps >= 1


# ---------------------------------------------------------------- measuring


def test_measuring_is_the_mean_over_images_whatever_the_chunks(images, monkeypatch):
    """One image may not count twice because its chunk is short."""
    model = recipes.vae(images.spec, size="tiny").build().model
    nn.init.zeros_(
        model.decoder.network.get_parameter(next(iter(dict(model.decoder.network.named_parameters()))))
    )
    feed = Feed(images.pixels, torch.device("cpu"))
    whole = measure(model, feed, draws=1, seed=0)
    monkeypatch.setattr("morphospace.training.measure.CHUNK_VALUES", 64 * 16)
    chunked = measure(model, feed, draws=1, seed=0)
    assert chunked.rate == pytest.approx(whole.rate, rel=1e-5)  # no draws in it
    assert chunked.distortion == pytest.approx(whole.distortion, rel=0.02)
    assert (whole.images, whole.draws) == (50, 1)
    assert whole.neg_elbo == pytest.approx(whole.distortion + whole.rate)


def test_measuring_is_a_function_of_the_seed_and_leaves_no_trace(images, recipe):
    model, feed = recipe.build().model, Feed(images.pixels, torch.device("cpu"))
    state, training = torch.get_rng_state(), model.training
    first = measure(model, feed, draws=2, seed=1)
    assert measure(model, feed, draws=2, seed=1) == first
    assert measure(model, feed, draws=2, seed=2) != first
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training == training


# ---------------------------------------------------------------- signals


def test_outside_the_main_thread_there_are_no_signals_and_no_error(images, recipe):
    found = []
    thread = threading.Thread(target=lambda: found.append(fit(recipe, images, steps=1)))
    thread.start()
    thread.join()
    assert len(found) == 1


def test_a_flag_is_raised_once_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with stop_flag() as flag:
        assert not flag
        signal.raise_signal(signal.SIGTERM)
        assert flag
    assert signal.getsignal(signal.SIGTERM) is before
