"""Settings are checked when they are made, changed by name, and made certain for a set of images."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace

import pytest

from morphospace.settings import LEAST_STEPS, Settings
from morphospace.types import UnknownName, UsageError


@pytest.mark.parametrize("name", ["epochs", "minutes", "steps", "batch", "lr", "eps", "test_draws"])
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
def test_amounts_are_greater_than_nought(name, value):
    # A whole number cannot be inf or nan; the type checker of the tests says so before the settings do.
    if not math.isfinite(value) and name in ("steps", "batch", "test_draws"):
        return
    with pytest.raises(UsageError, match=f"{name} is {value}"):
        Settings(**{name: value})


@pytest.mark.parametrize("name", ["warmup", "ema"])
@pytest.mark.parametrize("value", [-0.1, 1, 1.5, math.nan])
def test_parts_of_the_run_are_parts(name, value):
    with pytest.raises(UsageError, match=f"{name} is {value}"):
        Settings(**{name: value})


@pytest.mark.parametrize("value", [0, -3, math.nan])
def test_a_clip_is_a_norm_or_none(value):
    with pytest.raises(UsageError, match="clip"):
        Settings(clip=value)
    assert Settings(clip=None).clip is None


@pytest.mark.parametrize(
    ("name", "value", "close"), [("schedule", "one_cycle", "one-cycle"), ("optimizer", "adamww", "adamw")]
)
def test_names_are_known_ones(name, value, close):
    settings = Settings()
    object.__setattr__(
        settings, name, value
    )  # past the type checker of the tests, which a user does not have
    with pytest.raises(UnknownName, match=f"Did you mean '{close}'"):
        settings.__post_init__()


def test_changes_that_are_none_change_nothing():
    settings = Settings(epochs=3, lr=1e-4)
    assert settings.changed() == settings.changed(lr=None, epochs=None) == settings
    assert settings.changed(lr=0.5, seed=7) == replace(settings, lr=0.5, seed=7)


def test_an_unknown_setting_is_refused_with_the_close_match():
    with pytest.raises(UnknownName, match="Did you mean 'epochs'"):
        Settings().changed(epoch=3)


@pytest.mark.parametrize("given", [{"epochs": 3}, {"minutes": 2}, {"steps": 50}])
@pytest.mark.parametrize("before", [{"epochs": 9}, {"minutes": 9}, {"steps": 9}, {}])
def test_the_length_asked_for_last_replaces_the_others(before, given):
    changed = Settings(**before).changed(**given)
    length = {name: getattr(changed, name) for name in ("epochs", "minutes", "steps")}
    assert length == {"epochs": None, "minutes": None, "steps": None} | given


def test_two_lengths_at_once_are_refused():
    with pytest.raises(UsageError, match="epochs and minutes were given"):
        Settings().changed(epochs=3, minutes=2)


@pytest.mark.parametrize(
    ("count", "batch"),
    [(60_000, 256), (2048, 256), (1600, 200), (100, 16), (20, 16), (16, 16), (5, 5), (1, 1)],
)
def test_a_small_set_gets_smaller_batches(count, batch):
    assert Settings(batch=256).fixed(count).batch == batch


def test_a_batch_that_is_small_already_stays():
    assert Settings(batch=4).fixed(60_000).batch == 4


@pytest.mark.parametrize(("count", "epochs"), [(60_000, 3), (1000, 3), (100, 0.5), (37, 1)])
def test_epochs_become_the_steps_that_show_every_image_so_often(count, epochs):
    fixed = Settings(epochs=epochs).fixed(count)
    seen = fixed.steps * fixed.batch
    assert epochs * count <= seen < epochs * count + fixed.batch


def test_without_a_length_a_small_set_gets_steps_enough():
    assert Settings().fixed(50).steps == LEAST_STEPS
    assert Settings().fixed(600_000).steps > LEAST_STEPS
    assert Settings(epochs=1).fixed(50).steps < LEAST_STEPS  # whoever asks for little gets little


def test_given_steps_stay_and_minutes_leave_them_open():
    assert Settings(steps=17).fixed(60_000).steps == 17
    assert Settings(minutes=2).fixed(60_000).steps is None


@pytest.mark.parametrize(
    "settings", [Settings(), Settings(epochs=2.5), Settings(steps=3), Settings(minutes=1)]
)
@pytest.mark.parametrize("count", [3, 50, 5000])
def test_fixing_twice_is_fixing_once(settings, count):
    once = settings.fixed(count)
    assert once.fixed(count) == once


def test_they_survive_json():
    settings = Settings(epochs=2.5, clip=None, betas=(0.5, 0.75), schedule="cosine")
    record = json.loads(json.dumps(settings.to_json()))
    assert Settings.from_json(record) == settings
    assert set(record) == {f.name for f in fields(Settings)}
