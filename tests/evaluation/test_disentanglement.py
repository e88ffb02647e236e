"""Ideal codes have the greatest scores, turned and mixed ones fall by what can be told beforehand."""

from __future__ import annotations

import numpy as np
import pytest

from morphospace.evaluation.disentanglement import (
    beta_vae_score,
    dci,
    discretised,
    disentanglement_figures,
    factor_vae_score,
    mig,
    modularity,
    mutual_informations,
    sap,
)

rng = np.random.default_rng(0)
FACTORS = rng.random((6000, 3))
NAMES, AMOUNTS = ("a", "b", "c"), (False, False, False)


def turn(degrees: float) -> np.ndarray:
    a = np.deg2rad(degrees)
    return np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])


def ideal(values):
    """One dimension for each factor, with a sign and scale of its own, and one that says nothing."""
    noise = np.random.default_rng(1).normal(size=(len(values), 1))
    return np.concatenate([values * [-2.0, 1.0, 5.0], noise], 1)


def test_information_of_bins():
    table, entropy = mutual_informations(FACTORS, FACTORS)
    assert entropy == pytest.approx(np.full(3, np.log(20)), abs=1e-6)
    assert table.diagonal() == pytest.approx(entropy)
    assert (table[~np.eye(3, dtype=bool)] < 0.05).all()
    assert len(np.unique(discretised(FACTORS[:, :1]))) == 20
    few = rng.integers(0, 4, (100, 1)) * 2.5
    assert set(discretised(few).ravel()) == {0, 1, 2, 3}


def test_an_ideal_code_has_all_the_best():
    codes = ideal(FACTORS)
    assert mig(codes, FACTORS).min() > 0.97
    assert modularity(codes, FACTORS).min() > 0.999
    assert sap(codes, FACTORS, AMOUNTS).min() > 0.99
    found = dci(codes, FACTORS, AMOUNTS)
    assert found.disentanglement > 0.98
    assert found.completeness > 0.98
    assert found.informativeness.min() > 0.99
    assert factor_vae_score(codes, 3, ideal).mean() == 1
    assert beta_vae_score(3, ideal).mean() == 1


def test_two_dimensions_turned_by_45_degrees_share_two_factors():
    """Each then knows both alike: no gap is left, though all is still told."""

    def code(values):
        return (values - 0.5) @ turn(45)

    codes = code(FACTORS)
    assert mig(codes, FACTORS)[:2] == pytest.approx([0, 0], abs=0.02)
    assert mig(codes, FACTORS)[2] > 0.97
    assert sap(codes, FACTORS, AMOUNTS)[:2] == pytest.approx([0, 0], abs=0.05)
    kept = modularity(codes, FACTORS)
    assert kept[:2] == pytest.approx([0.5, 0.5], abs=0.05)  # 1 − m²/(m²·(3 − 1))
    assert kept[2] > 0.999
    found = dci(codes, FACTORS, AMOUNTS)
    # Two of three factors have their importance halved between two of three dimensions: entropy ln 2 / ln 3.
    assert found.completeness == pytest.approx(1 - 2 / 3 * np.log(2) / np.log(3), abs=0.05)
    assert found.disentanglement == pytest.approx(1 - 2 / 3 * np.log(2) / np.log(3), abs=0.05)
    assert found.informativeness.min() > 0.9
    assert factor_vae_score(codes, 3, code).mean() < 0.9


@pytest.mark.parametrize("degrees", [0, 10, 20, 45])
def test_sap_falls_with_the_cosine_of_the_turn(degrees):
    """Squared correlations of a turned pair are cos² and sin²: the gap is cos 2a."""
    gap = sap((FACTORS - 0.5) @ turn(degrees), FACTORS, AMOUNTS)[:2]
    assert gap == pytest.approx(np.full(2, np.cos(2 * np.deg2rad(degrees))), abs=0.05)


def test_one_factor_in_two_dimensions_is_modular_but_has_no_gap():
    codes = np.concatenate([FACTORS, FACTORS[:, :1]], 1)
    assert mig(codes, FACTORS)[0] == pytest.approx(0, abs=1e-9)
    assert sap(codes, FACTORS, AMOUNTS)[0] == pytest.approx(0, abs=1e-9)
    assert modularity(codes, FACTORS).min() > 0.999


def test_noise_scores_nothing():
    codes = rng.normal(size=(6000, 4))
    assert mig(codes, FACTORS).max() < 0.02
    assert sap(codes, FACTORS, AMOUNTS).max() < 0.01
    assert dci(codes, FACTORS, AMOUNTS).informativeness.max() < 0.05

    def code(values):
        return np.random.default_rng(2).normal(size=(len(values), 4))

    assert factor_vae_score(codes, 3, code).mean() < 0.5
    assert beta_vae_score(3, code).mean() < 0.5


def test_classes_are_told_by_lines():
    labels = rng.integers(0, 3, 4000)
    codes = np.stack([labels + 0.01 * rng.normal(size=4000), rng.normal(size=4000)], 1)
    factors = labels[:, None].astype(float)
    assert sap(codes, factors, [True])[0] == pytest.approx(1, abs=0.05)
    assert dci(codes, factors, [True]).informativeness[0] == pytest.approx(1, abs=0.01)
    figures, notes = disentanglement_figures(codes, factors, ["class"], [True])
    assert not {"modularity", "dci_disentanglement"} & set(figures)
    assert len(notes) == 2
    with pytest.raises(ValueError, match="two factors"):
        modularity(codes, factors)


def test_a_space_of_one_dimension_has_a_gap_to_nought():
    figures, _ = disentanglement_figures(FACTORS[:, :1], FACTORS, NAMES, AMOUNTS)
    assert figures["mig"].extra["a"] == pytest.approx(1, abs=1e-6)
    assert figures["mig"].extra["b"] < 0.02
    assert figures["mig"].error == pytest.approx(np.std(list(figures["mig"].extra.values()), ddof=1))


def test_a_set_that_is_sorted_by_class_has_the_figures_of_one_that_is_not():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 2000)
    codes = np.stack([labels + 0.3 * rng.normal(size=2000), rng.normal(size=2000)], 1)
    order = labels.argsort(kind="stable")
    found = []
    for some in (np.arange(2000), order):
        factors = np.stack([labels, codes[:, 1] + 0.1 * rng.normal(size=2000)], 1)[some]
        figures, _ = disentanglement_figures(codes[some], factors, ["class", "amount"], [True, False])
        found.append({name: figure.value for name, figure in figures.items()})
    assert found[1] == pytest.approx(found[0], abs=0.05)
    assert found[0]["dci_informativeness"] > 0.6


def test_few_images_are_said_to_be_too_few_for_histograms():
    rng = np.random.default_rng(0)
    for count, said in ((200, True), (10_000, False)):
        codes = rng.normal(size=(count, 2))
        notes = disentanglement_figures(codes, codes, ["a", "b"], [False, False])[1]
        assert any("histograms" in note for note in notes) == said
