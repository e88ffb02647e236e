"""Published and measured figures, met on the real data set. Minutes long: `make test-published`."""

from __future__ import annotations

import pytest

import morphospace as ms
from morphospace.training.loop import read_metrics

pytestmark = [pytest.mark.published, pytest.mark.timeout(3600)]

KERAS = {1: 273.7, 2: 267.1, 3: 266.0}
"""Test −ELBO of the original study's model in Keras after one, two and three epochs, in nats, measured once."""


@pytest.fixture(scope="module")
def images() -> ms.Images:
    try:
        return ms.load("fashion-mnist", download=False)
    except ms.MorphospaceError as error:
        pytest.skip(str(error))


def test_the_reference_recipe_does_what_keras_does(images, tmp_path):
    """Two nats, since initial weights, order and noise are others."""
    ms.fit(ms.recipes.reference(images.spec), images, epochs=3, out=tmp_path / "run")
    found = {
        round(line["epoch"]): line["neg_elbo"]
        for line in read_metrics(tmp_path / "run")
        if line["split"] == "test"
    }
    assert found == pytest.approx(KERAS, abs=2.0)


def test_the_default_recipe_reaches_what_keras_needs_thirty_epochs_for(images):
    space = ms.fit(ms.recipes.vae(images.spec), images)
    assert space.results["test"]["neg_elbo"] <= 257.5
