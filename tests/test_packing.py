"""A packed space is a small run without images, whose figures are those of the run to within what rounding may do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from fixtures.small import make_images
from morphospace import cli, recipes
from morphospace.atlas import make_atlas, read_atlas, save_atlas
from morphospace.data import load
from morphospace.data.images import Images
from morphospace.fitting import fit
from morphospace.morphing import ground_of, locate, scored
from morphospace.packing import pack
from morphospace.space import Space
from morphospace.training.checkpoint import load_tensors, sha256
from morphospace.types import RunError, UsageError

CELLS = 40


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of classifiers for these tests alone, which are trained for a moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("morphospace.evaluation.classifier.LEAST_STEPS", 10)
        patch.setattr("morphospace.atlas.map.SAMPLES", 200)
        yield


@pytest.fixture(scope="module")
def clothes() -> Images:
    return load("garments", count=200)


@pytest.fixture(scope="module")
def trained(clothes, cache, tmp_path_factory) -> Path:
    """A mapped run on drawn clothes."""
    folder = tmp_path_factory.mktemp("packing") / "run"
    space = fit(recipes.vae(clothes.spec, latent=2, size="tiny"), clothes, steps=150, out=folder)
    save_atlas(make_atlas(space, clothes, cells=CELLS), space)
    return folder


@pytest.fixture(scope="module")
def packed(trained, clothes, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "clothes"
    made = pack(Space.load(trained), clothes, folder, cells=CELLS)
    assert made.notes == ()
    assert made.size == sum(file.stat().st_size for file in folder.iterdir())
    for name, (before, after) in made.compared.items():
        assert np.isfinite([before, after]).all(), name
    assert {"test_neg_elbo", "train_rate", "hole_mass", "stretch"} <= set(made.compared)
    return folder


def test_its_figures_are_those_of_the_run(trained, packed):
    before, after = Space.load(trained), Space.load(packed)
    assert after.results["before_packing"]["test"] == before.results["test"]
    assert after.results["test"]["neg_elbo"] == pytest.approx(before.results["test"]["neg_elbo"], abs=0.02)
    assert after.results["test"]["neg_elbo"] != before.results["test"]["neg_elbo"]  # measured, not copied
    whole, small = read_atlas(trained), read_atlas(packed)
    assert whole is not None
    assert small is not None
    for name in ("hole_mass", "missed_mass", "bayes_error", "kl_to_prior", "sampler_hole_mass"):
        assert small.figures[name].value == pytest.approx(whole.figures[name].value, abs=0.01), name
    for name in ("stretch", "condition", "nearest_posterior"):
        assert small.figures[name].value == pytest.approx(whole.figures[name].value, rel=0.02), name


def test_its_latents_are_rounded_as_said_and_keep_their_order(packed, clothes):
    space = Space.load(packed)
    assert space.latents is not None
    exact = space.encode(clothes)
    scale = exact.stddev.numpy()
    step = np.quantile(scale, 0.05) / 8
    assert np.abs(space.latents.mean - exact.mean.numpy()).max() <= 0.51 * step
    assert np.abs(np.log(space.latents.scale / scale)).max() <= 0.5 / 64 + 1e-4
    np.testing.assert_array_equal(space.latents.labels, clothes.labels)
    np.testing.assert_array_equal(space.latents.splits, clothes.splits)


def test_its_map_is_one_made_anew_to_within_what_was_said(packed, clothes):
    space, small = Space.load(packed), read_atlas(packed)
    assert small is not None
    exact = make_atlas(space, clothes, cells=CELLS, parts=("metric", "recognition", "nearest"))
    for name in ("prior", "by_class", "sampler"):
        np.testing.assert_allclose(getattr(small, name), getattr(exact, name), rtol=1e-5, atol=1e-12)
    assert np.abs(small.recognition - exact.recognition).max() <= 0.5 / 255 + 1e-6
    assert np.abs(small.nearest - exact.nearest).max() <= 0.0101
    direction = np.array([np.cos(0.7), np.sin(0.7)])
    for a in (direction, direction[::-1] * (1, -1)):
        lengths = [
            np.sqrt(m[0] * a[0] ** 2 + 2 * m[1] * a[0] * a[1] + m[2] * a[1] ** 2)
            for m in (small.metric.astype(float), exact.metric.astype(float))
        ]
        np.testing.assert_allclose(lengths[0], lengths[1], rtol=0.01)
    assert (small.metric[0] * small.metric[2] >= small.metric[1] ** 2).all()


def test_its_paths_are_those_of_the_run(trained, packed):
    found = []
    for folder in (trained, packed):
        space = Space.load(folder)
        a, b = (locate(space, name).z.astype(np.float64) for name in ("Bag", "Trouser"))
        ground = ground_of(space, read_atlas(folder))
        found.append({kind: scored(ground, kind, [(a, b)])[0].scores for kind in ("geodesic", "dense")})
    for kind, whole in found[0].items():
        small = found[1][kind]
        assert small.length == pytest.approx(whole.length, rel=0.01)
        assert small.recognised == pytest.approx(whole.recognised, abs=0.02)


def test_it_holds_no_image(packed, clothes):
    names = {file.name for file in packed.iterdir()}
    assert names == {
        "README.md",
        "atlas.json",
        "atlas.safetensors",
        "config.json",
        "latents.safetensors",
        "model.safetensors",
        "results.json",
        "sampler.safetensors",
    }
    weights = load_tensors(packed / "model.safetensors")
    expected = Space.load(packed).recipe.build().model.state_dict()
    assert {k: v.shape for k, v in weights.items()} == {k: v.shape for k, v in expected.items()}
    assert all(v.dtype == torch.float16 for v in weights.values() if v.is_floating_point())
    rest = sum(
        v.nbytes for n in ("latents", "sampler") for v in load_file(packed / f"{n}.safetensors").values()
    )
    assert rest < 0.05 * clothes.pixels.nbytes
    fields = load_file(packed / "atlas.safetensors")
    assert {"x", "y", "metric_size", "metric_turn", "recognition", "nearest"} == set(fields)
    assert "no image" not in (packed / "README.md").read_text()
    assert "without any image" in (packed / "README.md").read_text()


def test_the_same_run_packs_to_the_same_bytes(trained, packed, clothes, tmp_path):
    again = tmp_path / "clothes"
    pack(Space.load(trained), clothes, again, cells=CELLS)
    for file in packed.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes(), file.name


def test_its_files_belong_together(packed, trained, tmp_path):
    own = Path(shutil.copytree(packed, tmp_path / "copy"))
    config = json.loads((own / "config.json").read_text())
    assert config["packed"] == {"weights": "float16", "run_sha256": sha256(trained / "model.safetensors")}
    config["packed"]["weights"] = "float32"
    (own / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match="does not belong"):
        Space.load(own)
    shutil.copy(packed / "config.json", own / "config.json")
    for name in ("latents.safetensors", "atlas.safetensors"):  # a byte of the content, not of the header
        content = bytearray((own / name).read_bytes())
        content[-40] ^= 0xFF
        (own / name).write_bytes(bytes(content))
    assert Space.load(own).latents is None
    assert read_atlas(own) is None
    shutil.copy(trained / "latents.safetensors", own / "latents.safetensors")
    assert Space.load(own).latents is None  # of other weights


def test_saved_it_is_a_run_again(packed, clothes, tmp_path):
    space = Space.load(packed)
    space.save(tmp_path / "run")
    again = Space.load(tmp_path / "run")
    assert all(
        v.dtype == torch.float32 for v in load_tensors(tmp_path / "run" / "model.safetensors").values()
    )
    assert again.latents is not None
    np.testing.assert_array_equal(again.latents.mean, space.latents.mean)
    assert again.own_folder == tmp_path / "run"


def test_what_cannot_be_packed_is_refused(trained, packed, clothes, tmp_path):
    space = Space.load(trained)
    with pytest.raises(UsageError, match="packed already"):
        pack(Space.load(packed), clothes, tmp_path / "x")
    with pytest.raises(UsageError, match="no packed space"):
        pack(space, clothes, trained)
    with pytest.raises(UsageError, match="--overwrite"):
        pack(space, clothes, packed)
    with pytest.raises(RunError, match="not those"):
        pack(space, load("garments", count=200, seed=1), tmp_path / "x")
    with pytest.raises(UsageError, match="no folder"):
        pack(space.with_prior("mixture", components=2), clothes, tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("name", "words"), [("hyperspherical", "any numbers"), ("vamp", "made of images")])
def test_a_space_that_is_no_plane_or_holds_images_is_refused(name, words, images, tmp_path):
    fit(recipes.get(name, images.spec, {"size": "tiny"}), images, steps=2, out=tmp_path / "run")
    with pytest.raises(UsageError, match=words):
        pack(Space.load(tmp_path / "run"), images, tmp_path / "x")


def test_spaces_without_a_map_or_spread_or_classes(cache, tmp_path):
    images = make_images(classes=())
    fit(recipes.vae(images.spec, latent=3, size="tiny"), images, steps=3, out=tmp_path / "three")
    made = pack(Space.load(tmp_path / "three"), images, tmp_path / "small-three")
    assert made.space.dimensions == 3
    assert any("two dimensions" in note for note in made.notes)
    assert made.space.latents is not None
    assert made.space.latents.labels is None
    fit(
        recipes.get("ae", images.spec, {"size": "tiny", "latent": 3}),
        images,
        steps=3,
        out=tmp_path / "points",
    )
    made = pack(Space.load(tmp_path / "points"), images, tmp_path / "small-points")
    assert made.space.latents is not None
    assert (made.space.latents.scale == 0).all()
    means = made.space.encode(images).mean.numpy()
    assert np.abs(made.space.latents.mean - means).max() <= np.ptp(means) / 65_000


def test_the_verb(trained, tmp_path, capsys):
    out = tmp_path / "small"
    assert cli.run(["pack", str(trained), "--out", str(out), "--cells", "32"]) == 0
    said = capsys.readouterr().out
    assert "test_neg_elbo" in said
    assert f"wrote {out}: " in said
    assert cli.run(["pack", str(trained), "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert cli.run(["pack", str(trained), "--out", str(out), "--cells", "16", "--overwrite", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["bytes"] == sum(file.stat().st_size for file in out.iterdir())
    assert json.loads((out / "atlas.json").read_text())["box"]["cells"] == [16, 16]
    assert [file.name for file in tmp_path.iterdir()] == ["small"]
