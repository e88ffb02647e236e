"""Published figures met on the real data set, and promises about it. Minutes long: `make test-published`."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

import morphospace as ms
from morphospace.evaluation.embedding import Embedded, embedding_figures, pca
from morphospace.evaluation.quadrature import exact_log_likelihood

pytestmark = [pytest.mark.published, pytest.mark.timeout(3600)]


def test_pca_scores_what_sainburg_et_al_print(fashion_mnist):
    """Sainburg, McInnes & Gentner (2021), the notebooks' tables: first 50,000 to learn from, 10,000 to be scored on."""
    train, test = fashion_mnist.train.take(np.arange(50_000)), fashion_mnist.test
    flat = [part.pixels.reshape(len(part), -1).astype("float32") / 255 for part in (train, test)]
    z = Embedded(*pca(*flat, 2), train.labels, test.labels)
    found = embedding_figures(z, flat[0])
    printed = {"knn_1": 0.4467, "knn_5": 0.5055, "trustworthiness": 0.9126, "silhouette": -0.033}
    assert {name: found[name].value for name in printed} == pytest.approx(printed, abs=0.002)


def test_log_p_of_all_test_images_is_exact_in_minutes(fashion_mnist):
    space = ms.fit(ms.recipes.vae(fashion_mnist.spec), fashion_mnist, epochs=1)
    begun = time.process_time()  # of all cores together: a machine with other work must not fail this
    found = exact_log_likelihood(space.model, torch.from_numpy(fashion_mnist.test.pixels).float() / 255)
    assert time.process_time() - begun < 300
    assert found.error < 0.02
    assert abs(found.prior) < 1e-3
    assert -found.log_p.mean() < space.results["test"]["neg_elbo"]
