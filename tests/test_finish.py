"""The last part of a run that teaches an encoder anew: the decoder is what it was, and a stop changes nothing."""

from __future__ import annotations

import pytest
import torch

from fixtures import runs
from fixtures.small import make_images
from fixtures.stopping import stop_at
from morphospace import Space, recipes
from morphospace.fitting import fit, refit
from morphospace.networks import Sight
from morphospace.report import write_report
from morphospace.training import schedule
from morphospace.training.loop import _Run, settled
from morphospace.types import ImageSpec, Interrupted, UsageError

STEPS, FROM = 20, 18


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Runs of a few steps, of which two are enough for an encoder."""
    monkeypatch.setattr(schedule, "LEAST_FINISH", 0)


def made(channels: int = 1, **arguments):
    images = make_images(shape=(channels, 8, 8))
    return recipes.vae(images.spec, size="tiny", anchors=32, **arguments), images


def begun(**settings) -> _Run:
    recipe, images = made()
    settings = settled(recipe, images, recipe.settings.changed(steps=STEPS, batch=16, **settings))
    return _Run(recipe, images, settings, {}, None)


def weights(module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_decoder_is_that_of_a_run_without_anchors_that_ends_where_the_finish_begins():
    recipe, images = made()
    plain = recipes.vae(images.spec, size="tiny", anchors=0)
    whole = fit(recipe, images, steps=STEPS, batch=16, precision="float32").model
    part = fit(plain, images, steps=FROM, batch=16, precision="float32").model
    assert equal(weights(whole.decoder), weights(part.decoder))
    assert whole.encoder.network.sight is not None
    assert part.encoder.network.sight is None


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_the_finish_teaches_the_encoder_alone_and_begins_with_what_was_kept(ema):
    run = begun(ema=ema)
    with torch.random.fork_rng():
        for _ in range(FROM):
            run.update()
        decoder, first = weights(run.kept.decoder), run.model.encoder
        run.update()
        between = weights(run.model.encoder)
        run.update()
    assert run.model.encoder is not first
    assert not equal(between, weights(run.model.encoder))
    assert equal(decoder, weights(run.model.decoder))
    assert equal(decoder, weights(run.kept.decoder))
    named = {id(p): name for name, p in run.model.named_parameters()}
    taught = [p for o in run.optimizers.values() for group in o.param_groups for p in group["params"]]
    assert all(named[id(p)].startswith("encoder.") for p in taught)
    assert len(taught) == len(list(run.model.encoder.parameters()))


def test_the_decoder_is_looked_at_once():
    run = begun()
    with torch.random.fork_rng():
        for _ in range(FROM + 1):
            run.update()
        (sight,) = (part for part in run.model.modules() if isinstance(part, Sight))
        seen = sight._all[1]
        run.update()
    assert sight._all[1] is seen
    assert len(list(sight.buffers())) == 1  # their places: nothing is kept from step to step


def test_the_learning_rate_goes_up_and_down_in_each_part():
    run, rates = begun(), []
    with torch.random.fork_rng():
        for _ in range(STEPS):
            run.update()
            rates.append(run.optimizers["rest"].param_groups[0]["lr"])
    assert max(rates[:FROM]) == pytest.approx(run.settings.lr, rel=0.05)
    assert rates[FROM - 1] < 0.02 * run.settings.lr
    assert rates[FROM] > 0.5 * run.settings.lr


@pytest.mark.parametrize("step", [FROM - 1, FROM, FROM + 1])
def test_stopped_before_at_and_after_the_change_it_ends_with_the_same_bytes(step, tmp_path):
    recipe, images = made()
    options = {"steps": STEPS, "batch": 16, "checkpoint_seconds": 0}
    fit(recipe, images, out=tmp_path / "whole", **options)
    with pytest.raises(Interrupted):
        fit(recipe, images, out=tmp_path / "broken", progress=stop_at(step), **options)
    refit(tmp_path / "broken", images)
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "broken"))
    assert one == other
    assert runs.curve(tmp_path / "whole") == runs.curve(tmp_path / "broken")


def test_a_run_comes_back_as_it_was(tmp_path):
    recipe, images = made()
    space = fit(recipe, images, steps=STEPS, batch=16, out=tmp_path / "run")
    other = Space.load(tmp_path / "run")
    one, two = (each.encode(images.pixels).mean for each in (space, other))
    assert torch.equal(one, two)
    assert torch.equal(space.encode(images).mean, one)


def test_of_colours_the_noise_rests_with_the_decoder():
    recipe, images = made(channels=3)
    settings = settled(recipe, images, recipe.settings.changed(steps=STEPS, batch=16))
    run = _Run(recipe, images, settings, {}, None)
    with torch.random.fork_rng():
        for _ in range(FROM):
            run.update()
        before = weights(run.kept.decoder)
        for _ in range(STEPS - FROM):
            run.update()
            run.prepared()
    assert "family.variance" in before
    assert equal(before, weights(run.kept.decoder))


@pytest.mark.parametrize(
    ("steps", "last"),
    [(1, 1), (2, 1), (16, 2), (235, 29), (800, 100), (900, 100), (1000, 100), (30000, 3000)],
)
def test_the_finish_is_a_tenth_of_a_run_and_long_enough_for_an_encoder(steps, last, monkeypatch):
    monkeypatch.undo()
    assert steps - schedule.finish_from(steps) == last


def test_of_a_single_step_a_space_is_had():
    recipe, images = made()
    space = fit(recipe, images, steps=1, batch=16)
    assert space.encode(images.test).mean.isfinite().all()


@pytest.mark.parametrize(
    ("shape", "arguments", "anchors"),
    [
        ((1, 28, 28), {}, 4096),
        ((1, 32, 32), {}, 4096),
        ((1, 28, 28), {"anchors": 7}, 7),
        ((3, 32, 32), {"anchors": 7}, 7),
        ((1, 28, 28), {"anchors": 0}, 0),
        ((1, 36, 36), {}, 0),  # so many would not fit
        ((3, 28, 28), {}, 0),
        ((1, 28, 28), {"latent": 3}, 0),
    ],
)
def test_small_grey_images_in_the_plane_have_anchors_unless_told_otherwise(shape, arguments, anchors):
    recipe = recipes.vae(ImageSpec(*shape), size="tiny", **arguments)
    assert recipe.arguments["anchors"] == anchors  # what a run says of itself
    assert recipe == recipes.get("vae", recipe.spec, {"size": "tiny", **arguments})
    parts = recipe.build()
    sight = parts.model.encoder.network.sight
    assert (0 if sight is None else len(sight.places)) == anchors
    assert (parts.first is not None) == (anchors > 0)


def test_what_was_held_for_training_is_held_no_more_after_it():
    """A decoder changed past torch is seen after ``eval()``, as that of a space that was loaded."""
    recipe, images = made()
    model, x = fit(recipe, images, steps=STEPS, batch=16).model, torch.rand(2, 1, 8, 8)
    before = model.encode(x).mean
    model.decoder.network.tiles.bias.data.add_(torch.linspace(-1, 1, 16))
    assert not torch.equal(model.eval().encode(x).mean, before)


def test_other_dimensions_and_numbers_are_refused():
    for arguments, words in (
        ({"latent": 5}, "2 latent dimensions; there are 5"),
        ({"anchors": -1}, "anchors is -1"),
    ):
        with pytest.raises(UsageError, match=words):
            recipes.vae(make_images().spec, **{"anchors": 32, **arguments})


def test_the_report_says_which_encoder_learned_when(tmp_path):
    recipe, images = made()
    assert recipe.finishes
    assert not recipes.vae(images.spec, size="tiny", anchors=0).finishes
    space = fit(recipe, images, steps=STEPS, batch=16, out=tmp_path / "run")
    text = write_report(space, images).read_text()
    assert "taught last, beside a decoder that rested" in text
    assert "At the dashed line a new encoder begins" in text
