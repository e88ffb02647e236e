"""Published and measured figures, met on the real data set. Minutes long: `make test-published`."""

from __future__ import annotations

import pytest

import morphospace as ms
from morphospace.training.loop import read_metrics

pytestmark = [pytest.mark.published, pytest.mark.timeout(3600)]

KERAS = {1: 273.7, 2: 267.1, 3: 266.0}
"""Test −ELBO of the original study's model in Keras after one, two and three epochs, in nats, measured once."""


def test_the_reference_recipe_does_what_keras_does(fashion_mnist, tmp_path):
    """Two nats, since initial weights, order and noise are others."""
    ms.fit(ms.recipes.reference(fashion_mnist.spec), fashion_mnist, epochs=3, out=tmp_path / "run")
    found = {
        round(line["epoch"]): line["neg_elbo"]
        for line in read_metrics(tmp_path / "run")
        if line["split"] == "test"
    }
    assert found == pytest.approx(KERAS, abs=2.0)


def test_the_default_recipe_reaches_what_keras_needs_thirty_epochs_for(fashion_mnist):
    space = ms.fit(ms.recipes.vae(fashion_mnist.spec), fashion_mnist)
    assert space.results["test"]["neg_elbo"] <= 257.5
