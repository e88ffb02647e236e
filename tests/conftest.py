"""What many test files share: a small image set, a space trained on it for a moment, and recipes made for one test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from fixtures.small import make_images
from morphospace import recipes
from morphospace.data import load
from morphospace.data.images import Images
from morphospace.evaluation import classifier, disentanglement
from morphospace.fitting import fit
from morphospace.recipes import Recipe, registry
from morphospace.space import Space
from morphospace.types import DataNotFound

# The networks of these tests are too small to share out, and threads that wait for one another on a busy machine
# make them many times slower.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def images() -> Images:
    return make_images()


@pytest.fixture(scope="session")
def fashion_mnist() -> Images:
    """The real set, for tests against published figures."""
    try:
        return load("fashion-mnist", download=False)
    except DataNotFound as error:  # a set that is there and damaged is a failure
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def recipe(images) -> Recipe:
    """One encoder all through; what the default does beside is tested where it is the subject."""
    return recipes.vae(images.spec, latent=2, size="tiny", anchors=0)


@pytest.fixture(scope="session")
def finished(images, recipe, tmp_path_factory) -> Path:
    """The folder of a finished run, to be looked at only."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    fit(recipe, images, steps=40, out=folder)
    return folder


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A finished run that a test may damage."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture(scope="session")
def space(finished) -> Space:
    return Space.load(finished)


@pytest.fixture
def quick_evaluation(monkeypatch, tmp_path) -> None:
    """A classifier of a few steps in a cache of its own, and few votes."""
    monkeypatch.setattr(classifier, "LEAST_STEPS", 20)
    monkeypatch.setattr(classifier, "EPOCHS", 1)
    monkeypatch.setattr(disentanglement, "VOTES", 36)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def register() -> Iterator[Callable[..., Callable[..., Recipe]]]:
    """Register a recipe for the length of one test, by the same decorator that the package's own recipes use."""
    before = dict(registry._FUNCTIONS)
    yield recipes.recipe
    registry._FUNCTIONS.clear()
    registry._FUNCTIONS.update(before)
