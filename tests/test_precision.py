"""The precision of training: chosen by a probe that is fast and right, kept in the run, never in what is measured."""

from __future__ import annotations

import json

import pytest
import torch

from fixtures.small import make_images
from morphospace import recipes
from morphospace.fitting import fit
from morphospace.model import Conditional
from morphospace.networks import SameConvTranspose2d
from morphospace.training import loop, precision
from morphospace.training.precision import Probe, probe, set_precision


@pytest.fixture
def parts(recipe):
    return recipe.build(0)


@pytest.fixture
def x(images):
    return torch.from_numpy(images.train.pixels[:16]).float() / 255


class Clock:
    """Time that passes at each reading as a test says: so many seconds for a step in float32 and in bfloat16."""

    def __init__(self, full: float, half: float) -> None:
        self.now, self.steps, self.turn = 0.0, (0.0, full, 0.0, half), 0

    def perf_counter(self) -> float:
        self.now += self.steps[self.turn % 4]
        self.turn += 1
        return self.now


def networks(model) -> list[Conditional]:
    return [m for m in model.modules() if isinstance(m, Conditional)]


@pytest.mark.parametrize(("gain", "taken"), [(2.0, "bfloat16"), (1.05, "float32"), (0.1, "float32")])
def test_bfloat16_is_taken_where_it_is_clearly_faster(parts, x, monkeypatch, gain, taken):
    monkeypatch.setattr(precision, "time", Clock(gain, 1.0))
    found = probe(parts.model, parts.objective, x)
    assert found.gain == pytest.approx(gain)
    assert found.precision == taken


def test_bfloat16_is_refused_where_one_layer_of_it_is_wrong(parts, x, monkeypatch):
    """As convolutions have been in some builds of torch's libraries: fast, finite and false."""
    monkeypatch.setattr(precision, "time", Clock(10.0, 1.0))
    plain = torch.nn.functional.conv2d

    def wrong(x, w, *args, **kwargs):
        if torch.is_autocast_enabled("cpu") and w.shape[1] == 1:
            w = w.flip(-1)
        return plain(x, w, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "conv2d", wrong)
    assert probe(parts.model, parts.objective, x).precision == "float32"


def test_bfloat16_that_gives_nan_is_refused(parts, x, monkeypatch):
    monkeypatch.setattr(precision, "time", Clock(10.0, 1.0))
    plain = torch.nn.functional.linear

    def broken(*args):
        return plain(*args) * (torch.nan if torch.is_autocast_enabled("cpu") else 1)

    monkeypatch.setattr(torch.nn.functional, "linear", broken)
    found = probe(parts.model, parts.objective, x)
    assert found.precision == "float32"


def test_the_probe_leaves_everything_as_it_was(parts, x):
    before = {k: v.clone() for k, v in parts.model.state_dict().items()}
    state = torch.get_rng_state()
    probe(parts.model, parts.objective, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in parts.model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in parts.model.state_dict().items())
    assert all(c.dtype == torch.float32 for c in networks(parts.model))


@pytest.mark.parametrize("name", ["vq", "sighted"])
def test_what_learns_by_being_called_is_the_same_at_every_step(name, images, monkeypatch):
    """A codebook moves with each batch, and anchors are looked at in turn; two steps in one and the same precision must
    agree to the last digit."""
    monkeypatch.setitem(precision.DTYPES, "bfloat16", torch.float32)
    given = {"latent": 2, "size": "tiny", **({"codes": 8} if name == "vq" else {})}
    parts = recipes.get(name, images.spec, given).build(0)
    found = probe(parts.model, parts.objective, torch.from_numpy(images.train.pixels[:16]).float() / 255)
    assert found.loss_error == 0
    assert found.cosine == pytest.approx(1)


def test_networks_compute_in_bfloat16_and_what_touches_latents_in_float32(parts, x):
    set_precision(parts.model, "bfloat16")
    seen = {"Precise": set(), "Linear": set(), "Conv2d": set()}
    for layer in parts.model.modules():
        if type(layer).__name__ in seen:
            layer.register_forward_hook(lambda m, _i, out: seen[type(m).__name__].add(out.dtype))
    trace = parts.model.trace(x)
    assert seen == {"Precise": {torch.float32}, "Linear": {torch.bfloat16}, "Conv2d": {torch.bfloat16}}
    assert {trace.z.dtype, trace.distortion.dtype, trace.rate.dtype} == {torch.float32}
    encoder, decoder = parts.model.encoder.network, parts.model.decoder.network
    assert type(encoder.heads).__name__ == type(decoder.stem[0]).__name__ == "Precise"
    (trace.distortion + trace.rate).mean().backward()
    assert {p.grad.dtype for p in parts.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("ema", [0.0, 0.1])
def test_a_run_keeps_its_precision_and_measures_in_float32(images, recipe, tmp_path, monkeypatch, ema):
    seen = []

    def watched(model, *args):
        seen.append({c.dtype for c in networks(model)})
        return plain(model, *args)

    plain = loop.measure
    monkeypatch.setattr(loop, "measure", watched)
    monkeypatch.setattr(loop, "PROBE_PAYS", 0)
    monkeypatch.setattr(loop, "probe", lambda *_: Probe("bfloat16", 2.0, 0.0, 1.0))
    space = fit(recipe, images, steps=6, ema=ema, out=tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["training"]["precision"] == "bfloat16"
    assert seen
    assert all(dtypes == {torch.float32} for dtypes in seen)
    assert {c.dtype for c in networks(space.model)} == {torch.float32}


def test_bfloat16_learns_what_float32_learns(images, recipe):
    full, half = (
        fit(recipe, images, steps=120, precision=p).results["test"]["neg_elbo"]
        for p in ("float32", "bfloat16")
    )
    assert full != half  # else nothing was computed in another precision
    assert half == pytest.approx(full, abs=0.5)


def test_a_short_run_is_not_probed(images, recipe, monkeypatch):
    monkeypatch.setattr(loop, "probe", lambda *_: pytest.fail("a probe"))
    space = fit(recipe, images, steps=5)
    assert space.config["training"]["precision"] == "float32"


def test_the_four_phases_are_the_transposed_convolution():
    """Values and gradients in float64, against torch's own transposed convolution without its last pixels."""
    torch.manual_seed(0)
    layer = SameConvTranspose2d(3, 5).double()
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.conv_transpose2d(x, layer.weight, layer.bias, stride=2)[..., :-1, :-1]
    found = layer(x)
    torch.testing.assert_close(found, expected)
    g = torch.randn_like(found)
    inputs = (x, layer.weight, layer.bias)
    for a, b in zip(
        torch.autograd.grad(found, inputs, g), torch.autograd.grad(expected, inputs, g), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_a_probe_compares_real_steps():
    """Unwatched, on this machine: whatever it takes, the two precisions agree and the gain is a number."""
    images = make_images()
    parts = recipes.vae(images.spec, size="tiny").build(0)
    found = probe(parts.model, parts.objective, torch.from_numpy(images.train.pixels[:8]).float() / 255)
    assert found.gain > 0
    assert found.loss_error < 0.01
    assert found.cosine > 0.9
