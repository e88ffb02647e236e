"""A space is used and kept: what goes in comes out in order, and a damaged folder is told in words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fixtures.small import make_images, unit
from morphospace import recipes
from morphospace.fitting import fit, refit
from morphospace.space import Space
from morphospace.training import checkpoint
from morphospace.training.device import pick_device
from morphospace.types import RunError, UnknownName, UsageError

# The same image in a batch of another size: convolutions add the same numbers in another order.
ORDER_OF_SUMMATION = {"rtol": 1e-5, "atol": 1e-6}


# ---------------------------------------------------------------- encoding


def test_rows_in_are_rows_out_in_order(space, images):
    q = space.encode(images)
    assert q.mean.shape == q.stddev.shape == (len(images), 2)
    shuffled = np.random.default_rng(0).permutation(len(images))
    again = space.encode(images.take(shuffled))
    torch.testing.assert_close(again.mean, q.mean[shuffled], **ORDER_OF_SUMMATION)
    torch.testing.assert_close(again.stddev, q.stddev[shuffled], **ORDER_OF_SUMMATION)


@pytest.mark.parametrize("row", [0, 17, 49])
def test_an_embedding_does_not_depend_on_the_other_rows(space, images, row):
    whole = space.encode(images.pixels)
    alone = space.encode(images.pixels[row : row + 1])
    among_others = space.encode(np.concatenate([images.pixels[row : row + 1], 255 - images.pixels[:7]]))
    for q in (alone, among_others):
        torch.testing.assert_close(q.mean[0], whole.mean[row], **ORDER_OF_SUMMATION)
        torch.testing.assert_close(q.stddev[0], whole.stddev[row], **ORDER_OF_SUMMATION)


def test_chunks_are_put_together_in_order(space, images, monkeypatch):
    """Many more images than fit one chunk, the last chunk being short."""
    seen = []
    whole, points = space.encode(images), space.encode(images).mean
    decoded = space.decode(points)
    monkeypatch.setattr("morphospace.space.chunk_size", lambda *_: 7)
    q = space.encode(images, lambda what, done, total, figures=None: seen.append((what, done, total)))
    torch.testing.assert_close(q.mean, whole.mean, **ORDER_OF_SUMMATION)
    torch.testing.assert_close(space.decode(points), decoded, **ORDER_OF_SUMMATION)
    assert seen == [("encoding", min(7 * i, 50), 50) for i in range(1, 9)]


def test_the_same_embedding_each_time_and_for_each_kind_of_array(space, images):
    expected = space.encode(images).mean
    assert torch.equal(space.encode(images).mean, expected)
    floats = unit(images)
    for same in (
        torch.from_numpy(images.pixels),
        floats,
        floats.double(),
        floats.numpy(),
        floats.double().numpy(),
    ):
        torch.testing.assert_close(space.encode(same).mean, expected, **ORDER_OF_SUMMATION)
    upside_down = space.encode(images.pixels[::-1]).mean  # a view with a negative stride
    torch.testing.assert_close(upside_down.flip(0), expected, **ORDER_OF_SUMMATION)


def test_no_images_are_no_rows(space, images):
    assert space.encode(images.pixels[:0]).mean.shape == (0, 2)
    assert space.decode(np.zeros((0, 2))).shape == (0, 1, 8, 8)


@pytest.mark.parametrize("shape", [(5, 1, 8, 9), (5, 3, 8, 8), (5, 8, 8), (1, 8, 8), (8, 8)])
def test_images_of_another_shape_are_refused(space, shape):
    with pytest.raises(UsageError, match=r"\(N, 1, 8, 8\)"):
        space.encode(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    ("value", "kind", "told"),
    [(200, np.int64, "int64"), (1, bool, "bool"), (200, np.float32, "to 200"), (-0.5, np.float32, "from -0.5"),
     (np.nan, np.float32, "nan"), (np.inf, np.float64, "inf")],
)  # fmt: skip
def test_values_that_are_no_pixels_are_refused(space, value, kind, told):
    """0 to 255 as floats is the mistake that everybody makes; silence would give a wrong embedding."""
    with pytest.raises(UsageError, match=told):
        space.encode(np.full((2, 1, 8, 8), value, kind))


# ---------------------------------------------------------------- decoding and sampling


def test_decoded_images_are_means_in_the_unit_range(space):
    images = space.decode(np.array([[0.0, 0.0], [100.0, -100.0]]))
    assert images.shape == (2, 1, 8, 8)
    assert images.dtype == torch.float32
    assert images.is_contiguous()
    assert images.min() >= 0
    assert images.max() <= 1
    with torch.no_grad():
        expected = torch.sigmoid(space.model.decoder.network(torch.zeros(1, 2)))
    torch.testing.assert_close(images[:1], expected, **ORDER_OF_SUMMATION)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_points_may_be_any_array_of_numbers(space, kind):
    z = np.arange(6).reshape(3, 2).astype(kind)
    expected = space.decode(torch.tensor(z, dtype=torch.float32))
    fixed = z.copy()
    fixed.setflags(write=False)
    for same, rows in ((z, slice(None)), (fixed, slice(None)), (np.broadcast_to(z[:1], (3, 2)), [0, 0, 0])):
        torch.testing.assert_close(space.decode(same), expected[rows], **ORDER_OF_SUMMATION)
    torch.testing.assert_close(space.decode(z[::-1]), expected.flip(0), **ORDER_OF_SUMMATION)


@pytest.mark.parametrize("shape", [(2,), (5, 3), (5, 1), (2, 2, 2), ()])
def test_points_of_another_dimension_are_refused(space, shape):
    with pytest.raises(UsageError, match=r"\(N, 2\)"):
        space.decode(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])  # the last is beyond float32
def test_points_that_are_not_finite_are_refused(space, value):
    with pytest.raises(UsageError, match="finite"):
        space.decode(np.array([[0.0, value]]))


def test_samples_are_a_function_of_the_seed(space):
    state = torch.get_rng_state()
    first = space.sample(5, seed=1)
    torch.manual_seed(99)
    assert torch.equal(first, space.sample(5, seed=1))
    assert not torch.equal(first, space.sample(5, seed=2))
    assert torch.equal(first, space.decode(space.draw(5, seed=1)))
    torch.set_rng_state(state)


def test_sampling_leaves_the_global_generator_alone(space):
    state = torch.get_rng_state()
    space.sample(3)
    assert torch.equal(torch.get_rng_state(), state)


def test_points_are_drawn_from_the_prior_where_it_is_asked_for(space):
    z = space.draw(20_000, prior=True)
    assert z.shape == (20_000, 2)
    assert z.mean(0).abs().max() < 0.03
    torch.testing.assert_close(torch.cov(z.T), torch.eye(2), rtol=0, atol=0.04)


@pytest.mark.parametrize("n", [0, -1])
def test_no_samples_are_refused(space, n):
    with pytest.raises(UsageError, match="at least 1"):
        space.sample(n)


# ---------------------------------------------------------------- what it knows


def test_a_space_knows_what_it_was_made_from(space, images, recipe):
    assert space.spec == images.spec
    assert space.dimensions == 2
    assert space.classes == images.classes
    assert space.recipe == recipe
    assert space.settings.steps == 40
    assert space.config["images"]["sha256"] == images.sha256
    assert space.config["images"]["counts"] == {"train": 35, "validation": 5, "test": 10}


def test_the_results_hold_the_elbo_of_both_splits(space):
    for split, count in (("train", 35), ("test", 10)):
        figures = space.results[split]
        assert figures["neg_elbo"] == pytest.approx(figures["distortion"] + figures["rate"])
        assert figures["images"] == count
    assert space.results["test"]["draws"] == space.settings.test_draws


def test_the_results_are_the_elbo_that_the_model_has(space, images):
    """Measured again with many draws by hand: the mean over images of sums over pixels."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        trace = space.model.trace(unit(images.test), draws=2000)
    error = trace.distortion.mean(1).std() * (1 / space.results["test"]["draws"]) ** 0.5
    assert space.results["test"]["distortion"] == pytest.approx(
        trace.distortion.mean().item(), abs=4 * error.item()
    )
    assert space.results["test"]["rate"] == pytest.approx(trace.rate.mean().item(), rel=1e-4)


def test_the_latents_are_the_encoded_images(space, images):
    q = space.encode(images)
    np.testing.assert_allclose(space.latents.mean, q.mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(space.latents.scale, q.stddev, rtol=1e-5, atol=1e-6)
    assert (space.latents.labels == images.labels).all()
    assert (space.latents.splits == images.splits).all()
    assert space.latents.classes == images.classes


# ---------------------------------------------------------------- as a folder


def test_a_folder_gives_the_same_space_again(images, recipe, tmp_path):
    made = fit(recipe, images, steps=3, out=tmp_path / "run")
    again = Space.load(tmp_path / "run")
    again.save(tmp_path / "copy")
    for space in (again, Space.load(tmp_path / "copy")):
        assert torch.equal(space.encode(images).mean, made.encode(images).mean)
        assert torch.equal(space.sample(4, seed=3), made.sample(4, seed=3))
        assert (space.config, space.results, space.recipe) == (made.config, made.results, made.recipe)
        np.testing.assert_array_equal(space.latents.mean, made.latents.mean)
        np.testing.assert_array_equal(space.prototypes.points, made.prototypes.points)
    kept = ("config.json", "results.json", "model.safetensors", "latents.safetensors", "sampler.safetensors")
    for name in kept:
        assert (tmp_path / "copy" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_a_device_is_named_as_for_training(finished):
    there = next(Space.load(finished, "auto").model.parameters()).device.type
    assert there == pick_device("auto")
    with pytest.raises(UnknownName, match="Did you mean 'cpu'"):
        Space.load(finished, "cpuu")


def test_a_folder_holds_these_files_and_no_others(finished):
    """No checkpoints, no half-written files, and nothing that only Python's pickle can read."""
    names = {"config.json", "metrics.jsonl", "results.json"}
    names |= {f"{name}.safetensors" for name in ("latents", "model", "sampler")}
    assert {path.name for path in finished.iterdir()} == names
    for path in finished.glob("*.json"):
        json.loads(path.read_text())
    for path in finished.glob("*.safetensors"):
        load_file(path)


def test_no_module_uses_pickle():
    """Not in checkpoints, not in caches, not by numpy's or torch's back door."""
    import morphospace

    source = Path(morphospace.__file__).parent
    for path in source.rglob("*.py"):
        text = path.read_text()
        for forbidden in (
            "import pickle",
            "torch.load(",
            "torch.save(",
            "allow_pickle=True",
            "import joblib",
            "shelve",
        ):
            assert forbidden not in text, f"{path.relative_to(source)} has {forbidden}"


def flip(path: Path, where: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(where * (len(content) - 1))] ^= 0x10
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_tensors(path: Path) -> None:
    with_header = {"config_sha256": checkpoint.sha256(path.parent / "config.json")}
    save_file({"a": torch.zeros(2)}, path, with_header)


DAMAGE = {
    "config.json: cut": lambda run: cut(run / "config.json"),
    "config.json: empty": lambda run: (run / "config.json").write_text(""),
    "config.json: not text": lambda run: (run / "config.json").write_bytes(b"\xff\xfe\x00"),
    "config.json: a list": lambda run: (run / "config.json").write_text("[1]"),
    "config.json: a bare format": lambda run: (run / "config.json").write_text('{"format": 1}'),
    "config.json: missing": lambda run: (run / "config.json").unlink(),
    "model.safetensors: cut": lambda run: cut(run / "model.safetensors"),
    "model.safetensors: empty": lambda run: (run / "model.safetensors").write_bytes(b""),
    "model.safetensors: header": lambda run: flip(run / "model.safetensors", 0.0),
    "model.safetensors: other tensors": lambda run: other_tensors(run / "model.safetensors"),
    "model.safetensors: missing": lambda run: (run / "model.safetensors").unlink(),
    "results.json: cut": lambda run: cut(run / "results.json"),
    "results.json: missing": lambda run: (run / "results.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_is_refused_in_words(run, damage):
    DAMAGE[damage](run)
    with pytest.raises(RunError, match=str(run)) as caught:
        Space.load(run)
    assert (
        caught.value.__suppress_context__ or caught.value.__context__ is None
    )  # words, and no chain of tracebacks


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        Space.load(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"no config\.json"):
        Space.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["images"].update(classes=["x", "y", "z"]),
        lambda config: config["recipe"]["arguments"].update(latent=3),
        lambda config: config["training"].update(seed=7),
        lambda config: config["images"].pop("shape"),
    ],
)
def test_weights_belong_to_their_configuration(run, change):
    """The header of the weights holds the configuration's hash, so neither can be exchanged unnoticed."""
    config = json.loads((run / "config.json").read_text())
    change(config)
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match="does not belong"):
        Space.load(run)


def test_a_configuration_of_another_format_is_refused(run):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"format": 99}))
    with pytest.raises(RunError, match="format 99"):
        Space.load(run)


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["recipe"].update(name="vea"),
        lambda config: config["recipe"].pop("arguments"),
        lambda config: config["recipe"]["arguments"].update(sizzle="tiny"),
        lambda config: config["images"].update(shape=[8, 8]),
        lambda config: config["training"].update(speed=3),
        lambda config: config["training"].pop("betas"),
        lambda config: config.pop("machine"),
        lambda config: config.update(training=None),
    ],
)
def test_a_damaged_configuration_of_an_unfinished_run_is_refused_in_words(run, images, change):
    (run / "model.safetensors").unlink()
    config = json.loads((run / "config.json").read_text())
    change(config)
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=r"config\.json"):
        refit(run, images)


def without_mean(path: Path) -> None:
    tensors = load_file(path)
    tensors.pop("mean")
    save_file(tensors, path, {"model_sha256": checkpoint.sha256(path.parent / "model.safetensors")})


@pytest.mark.parametrize(
    "damage",
    [Path.unlink, cut, without_mean, lambda path: path.write_bytes(b""), lambda path: flip(path, 0.0)],
    ids=["missing", "cut", "without mean", "empty", "header"],
)
def test_without_its_cache_of_latents_a_space_works_and_refit_makes_it_anew(run, images, damage):
    before = (run / "latents.safetensors").read_bytes()
    damage(run / "latents.safetensors")
    space = Space.load(run)
    assert space.latents is None
    assert space.sample(1).shape == (1, 1, 8, 8)
    with pytest.raises(RunError, match="latents"):
        _ = space.prototypes
    refit(run, images)
    assert (run / "latents.safetensors").read_bytes() == before


def test_latents_of_other_weights_are_not_taken_for_its_own(images, recipe, run, tmp_path):
    fit(recipe, images, steps=1, out=tmp_path / "other")
    shutil.copy(tmp_path / "other" / "latents.safetensors", run / "latents.safetensors")
    assert Space.load(run).latents is None


def test_colour_images_of_an_odd_size_make_a_space_too(tmp_path):
    images = make_images(30, (3, 9, 11), classes=())
    fit(recipes.vae(images.spec, latent=3, size="tiny"), images, steps=2, out=tmp_path / "run")
    space = Space.load(tmp_path / "run")
    assert space.sample(2).shape == (2, 3, 9, 11)
    assert space.classes == ()
    assert space.latents.labels is None
    assert space.prototypes.clusters
