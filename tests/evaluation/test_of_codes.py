"""A space of codes is evaluated and reported in terms that mean something of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from morphospace import priors, recipes
from morphospace.data.garments import garments
from morphospace.evaluation import evaluate
from morphospace.evaluation.aggregate import code_figures
from morphospace.fitting import fit
from morphospace.report import write_report
from morphospace.space import Space


@pytest.fixture(autouse=True)
def _quickly(monkeypatch, quick_evaluation):
    make, learn, _ = priors.FITTED["autoregressive"]
    monkeypatch.setitem(priors.FITTED, "autoregressive", (make, learn, 40))


def test_the_use_of_codes_is_counted():
    symbols = np.array([[0, 1, 2], [0, 2, 1], [0, 1, 2], [0, 2, 1]])
    found = {name: figure.value for name, figure in code_figures(symbols, 8).items()}
    assert found == {
        "perplexity": pytest.approx(3.0),
        "codes_used": 3,
        "places_changing": 2,
        "rows_different": 2,
    }


def test_codes_of_one_codebook_are_not_those_of_another():
    """Two codebooks of 8: the first has one code in use, the second four, though all are among 0, 1, 2, 3."""
    rows = np.arange(16).reshape(8, 2) % 4
    symbols = np.stack([np.zeros_like(rows), rows], -1).reshape(8, 4)  # place by place, level by level
    found = {name: figure.value for name, figure in code_figures(symbols, 8, levels=2).items()}
    assert found["codes_used"] == 5
    assert found["perplexity"] == pytest.approx(math.sqrt(1 * 4))
    assert found["places_changing"] == 2


def test_codes_are_evaluated_and_reported_as_codes(tmp_path):
    clothes = garments(240, size=16)
    given = {"size": "tiny", "codes": 24, "latent": 2}
    space = fit(recipes.get("vq", clothes.spec, given), clothes, steps=60, test_draws=2, out=tmp_path / "run")
    found = evaluate(space, clothes, count=60)
    assert 1 < found.value("latents", "perplexity") <= 24
    assert found.value("likelihood", "rate") == pytest.approx(16 * math.log(24), rel=1e-5)
    assert found.value("likelihood", "nll_importance") == pytest.approx(
        found.value("likelihood", "neg_elbo"), rel=1e-5
    )
    assert found.value("likelihood", "elbo_gap") == pytest.approx(0, abs=0.01)
    assert "unused dimensions" not in [finding["name"] for finding in found.findings]
    words = write_report(space, clothes).read_text()
    assert "a row of 16 codes, each one of 24" in words
    assert "quantiles" not in words
    assert (tmp_path / "run" / "figures" / "samples.png").is_file()

    fitted = space.with_prior("autoregressive", width=32, layers=1, heads=2)
    fitted.save(tmp_path / "fitted")
    fitted = Space.load(tmp_path / "fitted")
    again = evaluate(fitted, clothes, parts=("likelihood", "latents", "doctor"), count=60)
    assert again.value("likelihood", "rate") < found.value("likelihood", "rate") - 1
    assert again.value("likelihood", "distortion") == pytest.approx(found.value("likelihood", "distortion"))
    assert "each code is drawn given those before it" in write_report(fitted, clothes).read_text()
