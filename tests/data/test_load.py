"""The entry `load`: what it dispatches to, what it refuses, and that `reload` brings the same set again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from making import save

from morphospace.data import load, reload
from morphospace.data.places import user_cache
from morphospace.types import DataError, UnknownName, UsageError

GREY = np.random.default_rng(0).integers(0, 256, (20, 10, 12), dtype=np.uint8)


def folder(root: Path) -> Path:
    for i in range(6):
        save(root / f"{'ab'[i % 2]}/{i}.png")
    return root


def array_file(root: Path) -> Path:
    np.save(root / "x.npy", GREY)
    np.save(root / "y.npy", np.arange(20) % 3)
    return root / "x.npy"


def with_its_split(root: Path) -> Path:
    """Fourteen training and six test images, and none to choose by."""
    np.savez(
        root / "x.npz",
        x_train=GREY[:14],
        y_train=np.arange(14) % 3,
        x_test=GREY[14:],
        y_test=np.arange(6) % 3,
    )
    return root / "x.npz"


CASES = {
    "folder": lambda d: load(folder(d)),
    "folder, options": lambda d: load(folder(d), image_size="16x12", mode="grey", seed=5),
    "npy": lambda d: load(array_file(d)),
    "npy, options": lambda d: load(
        array_file(d), labels=d / "y.npy", classes=["a", "b", "c"], image_size=9, seed=3
    ),
    "npz, validation": lambda d: load(with_its_split(d), validation=4),
    "garments": lambda d: load("garments", count=50),
    "garments, options": lambda d: load("garments", count=50, image_size=(16, 12), mode="rgb", seed=3),
}


@pytest.mark.parametrize("case", CASES)
def test_reload_brings_the_same_set_again(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    images = CASES[case](Path())
    monkeypatch.chdir("/")
    again = reload(json.loads(json.dumps(images.source)))
    assert again.sha256 == images.sha256
    assert (again.names, again.source, again.policy) == (images.names, images.source, images.policy)
    json.dumps(images.policy)


def test_the_last_training_images_are_held_back(tmp_path):
    plain, held = load(with_its_split(tmp_path)), load(with_its_split(tmp_path), validation=4)
    assert np.array_equal(held.validation.pixels, plain.train.pixels[-4:])
    assert np.array_equal(held.train.pixels, plain.train.pixels[:-4])
    assert np.array_equal(held.test.pixels, plain.test.pixels)
    assert held.sha256 != plain.sha256
    assert held.policy["split"] == {**plain.policy["split"], "held_back": 4}


@pytest.mark.parametrize("count", [-1, 14])
def test_too_many_to_hold_back_are_refused(tmp_path, count):
    with pytest.raises(UsageError, match=f"{count} training images were to be held back.*from 1 to 13"):
        load(with_its_split(tmp_path), validation=count)


def test_a_set_with_validation_images_holds_none_back(tmp_path):
    with pytest.raises(UsageError, match="2 validation images of its own"):
        load(array_file(tmp_path), validation=3)


@pytest.mark.parametrize("options", [{}, {"labels": list(range(20))}])
def test_arrays_cannot_be_loaded_again(tmp_path, options):
    images = load(GREY, **options)
    assert images.source == {"source": "array"}
    with pytest.raises(DataError, match="pass them"):
        reload(images.source)
    assert load(array_file(tmp_path), labels=list(range(20))).source == {"source": "array"}


def test_garments_have_their_truth():
    images = load("garments", count=30, image_size=20)
    assert images.pixels.shape == (30, 1, 20, 20)
    assert images.factors.shape == (30, len(images.factor_names))
    assert images.source["source"] == "garments"


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("fashion-mnits", UnknownName, "no set or path 'fashion-mnits'. Did you mean 'fashion-mnist'"),
        ("Garments", UnknownName, "Did you mean 'garments'"),
        ("photographs", UnknownName, "Known: fashion-mnist, garments"),
        ("missing/folder", UsageError, "no file or folder missing/folder, and no set of this name"),
        ("missing.npy", UsageError, r"no file or folder missing\.npy"),
        (Path("missing.npz"), UsageError, r"no file or folder missing\.npz"),
        ("one.png", UsageError, "expected a folder, or a file"),
        ("notes.txt", UsageError, "expected a folder, or a file"),
    ],
)
def test_sources_that_are_none(tmp_path, monkeypatch, source, error, words):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "one.png")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(error, match=words) as caught:
        load(source)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("fashion-mnist", {"labels": [1]}),
        ("fashion-mnist", {"count": 10}),
        ("garments", {"classes": ["a"]}),
        ("garments", {"count": 0}),
        (".", {"labels": [1]}),
        (".", {"count": 10}),
        (GREY, {"count": 10}),
        (GREY, {"mode": "gray"}),
        (GREY, {"image_size": "big"}),
    ],
)
def test_options_that_mean_nothing_are_refused(tmp_path, monkeypatch, source, options):
    monkeypatch.chdir(folder(tmp_path))
    with pytest.raises(UsageError, match=next(iter(options)).replace("_", " ")):
        load(source, **options)


def test_a_near_miss_of_a_mode_is_named():
    with pytest.raises(UnknownName, match="Did you mean 'grey'"):
        load(GREY, mode="gray")


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/morphospace"),
        ("linux", {}, "/home/me/.cache/morphospace"),
        ("darwin", {}, "/home/me/Library/Caches/morphospace"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/morphospace/Cache"),
        ("win32", {}, "/home/me/AppData/Local/morphospace/Cache"),
    ],
)
def test_the_cache_of_each_system(monkeypatch, platform, variables, expected):
    monkeypatch.setattr(sys, "platform", platform)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", "USERPROFILE": "/home/me", **variables}.items():
        monkeypatch.setenv(name, value)
    assert user_cache() == Path(expected)
