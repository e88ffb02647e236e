"""Embedding figures agree with scikit-learn, and with what is known of perfect, random and torn embeddings."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness as theirs

from morphospace.evaluation.embedding import (
    Embedded,
    accuracy,
    component_figures,
    continuity,
    embedding_figures,
    pca,
    trustworthiness,
)

rng = np.random.default_rng(0)


@pytest.mark.parametrize("k", [1, 5, 12])
def test_trustworthiness_is_that_of_scikit_learn(k):
    x, z = rng.normal(size=(300, 10)), rng.normal(size=(300, 2))
    z[:, 0] += 3 * x[:, 0]
    assert trustworthiness(x, z, k).mean() == pytest.approx(theirs(x, z, n_neighbors=k), abs=1e-12)
    assert continuity(x, z, k).mean() == pytest.approx(theirs(z, x, n_neighbors=k), abs=1e-12)


def test_an_isometry_is_perfect_and_noise_is_not():
    x = rng.normal(size=(200, 4))
    turned = x @ np.linalg.qr(rng.normal(size=(4, 4)))[0] + 3
    assert trustworthiness(x, turned).min() == 1
    assert continuity(x, turned).min() == 1
    assert trustworthiness(x, rng.normal(size=(200, 2))).mean() < 0.6


def test_folding_loses_trust_and_tearing_loses_continuity():
    line = np.sort(rng.uniform(-1, 1, (400, 1)), 0)
    folded = np.abs(line)
    assert trustworthiness(line, folded).mean() < continuity(line, folded).mean() - 0.05
    torn = line + 10 * (np.floor(line * 40) % 2)
    assert continuity(line, torn).mean() < trustworthiness(line, torn).mean() - 0.005


def test_too_many_neighbours_are_refused():
    with pytest.raises(ValueError, match="half"):
        trustworthiness(np.zeros((8, 2)), np.zeros((8, 2)), 4)


def test_pca_is_that_of_scikit_learn():
    x = rng.normal(size=(5000, 6)) * np.arange(1, 7) + 2
    ours, held = pca(x[:4500], x[4500:], 3)
    model = PCA(3, svd_solver="full").fit(x[:4500])
    assert np.abs(np.abs(ours) - np.abs(model.transform(x[:4500]))).max() < 1e-8
    assert np.abs(np.abs(held) - np.abs(model.transform(x[4500:]))).max() < 1e-8


def heaps(count=300, apart=8.0):
    labels = np.arange(count) % 3
    centres = apart * np.array([[0, 0], [1, 0], [0, 1]])
    return centres[labels] + rng.normal(size=(count, 2)), labels


def test_classes_far_apart_have_the_best_scores():
    z, labels = heaps(apart=30)
    held, held_labels = heaps(apart=30)
    found = embedding_figures(Embedded(z, held, labels, held_labels), z)
    for name in ("knn_1", "knn_5", "knn_10", "linear_probe", "kmeans_nmi", "trustworthiness", "continuity"):
        assert found[name].value == 1, name
    assert found["silhouette"].value > 0.9
    assert found["knn_5"].error == 0
    assert found["knn_5"].images == 300


def test_labels_without_meaning_score_as_chance():
    z, labels = rng.normal(size=(900, 2)), rng.integers(0, 3, 900)
    found = embedding_figures(
        Embedded(z, rng.normal(size=(600, 2)), labels, rng.integers(0, 3, 600)), z, "x_"
    )
    assert abs(found["x_knn_10"].value - 1 / 3) < 5 * found["x_knn_10"].error
    assert found["x_kmeans_nmi"].value < 0.02
    assert abs(found["x_silhouette"].value) < 0.05


def test_without_labels_only_neighbourhoods_are_judged():
    z, _ = heaps()
    assert set(embedding_figures(Embedded(z, z[:5], None, None), z)) == {"trustworthiness", "continuity"}


def test_an_accuracy_has_its_binomial_error():
    right = np.arange(400) % 4 != 0
    assert accuracy(right, "").value == 0.75
    assert accuracy(right, "").error == pytest.approx(np.sqrt(0.75 * 0.25 / 400))


def test_components_that_are_the_classes_tell_all_of_them_and_empty_ones_are_not_used():
    labels = np.repeat([0, 1, 2], 50)
    shares = np.zeros((150, 5))
    shares[np.arange(150), labels + 1] = 0.6  # the second to fourth component
    shares[:, 0] = 0.4
    found = component_figures(shares, labels)
    assert found["components_used"].value == 3
    assert found["components_used"].extra["largest share"] == pytest.approx(1 / 3)
    assert found["components_nmi"].value == pytest.approx(1)
    mixed = component_figures(shares, rng.permutation(labels))
    assert mixed["components_nmi"].value < 0.1
    assert set(component_figures(shares, None)) == {"components_used"}


def test_a_component_with_a_few_images_is_not_used():
    given = np.repeat([0, 1, 2], [500, 495, 5])  # a tenth of an even share of 1,000 images would be 33
    assert component_figures(np.eye(3)[given], None)["components_used"].value == 2


def test_a_set_that_is_sorted_by_class_is_judged_on_all_its_classes(monkeypatch):
    """Where not all images can be paired, those that are stand for the others."""
    monkeypatch.setattr("morphospace.evaluation.embedding.MOST_RANKED", 300)
    rng = np.random.default_rng(0)
    labels = np.arange(1200) // 200
    z = labels[:, None] + 0.4 * rng.normal(size=(1200, 2))
    x = z @ rng.normal(size=(2, 5))
    found = []
    for order in (np.arange(1200), rng.permutation(1200)):
        embedded = Embedded(z[order], z[order][:0], labels[order], labels[order][:0])
        found.append(embedding_figures(embedded, x[order]))
    for name in ("silhouette", "trustworthiness", "continuity"):
        plain, mixed = (each[name] for each in found)
        assert plain.value == pytest.approx(mixed.value, abs=5 * (plain.error + mixed.error))
