"""A whole evaluation: what is measured, written, kept, refused and said."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures.small import make_images
from morphospace import cli, recipes
from morphospace.data.garments import garments
from morphospace.data.images import Images
from morphospace.evaluation import (
    FILE,
    ORDINARY,
    evaluate,
    measuring,
    read_evaluation,
)
from morphospace.families import Family, OptimalGaussian
from morphospace.fitting import fit
from morphospace.report import write_report
from morphospace.report.evaluated import evaluated
from morphospace.report.facts import gather
from morphospace.space import Space
from morphospace.types import RunError, UnknownName, UsageError

pytestmark = pytest.mark.usefixtures("quick_evaluation")
QUICK = {"draws": 4, "count": 200}


@pytest.fixture(scope="module")
def clothes():
    return garments(700, size=16)


@pytest.fixture(scope="module")
def trained(clothes, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    fit(
        recipes.vae(clothes.spec, latent=2, size="tiny", anchors=0),
        clothes,
        steps=60,
        test_draws=2,
        out=folder,
    )
    return folder


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def numbers(record):
    """Every number of a record but the seconds."""
    if isinstance(record, dict):
        return [n for key, value in record.items() if key != "seconds" for n in numbers(value)]
    if isinstance(record, list):
        return [n for value in record for n in numbers(value)]
    return [record] if isinstance(record, (int, float)) else []


def test_everything_is_measured_and_written(run, clothes):
    space = Space.load(run)
    told = []
    found = evaluate(space, clothes, **QUICK, progress=lambda what, *_: told.append(what))
    assert tuple(found.parts) == ORDINARY
    assert json.loads((run / FILE).read_text()) == found.record
    assert read_evaluation(run).record == found.record
    for name, part in found.parts.items():
        assert part["figures"], name
        assert part["seconds"] >= 0
        for figure in part["figures"].values():
            assert figure["definition"]
            assert figure["value"] is not None
            assert figure.get("error") is None or figure["error_is"]
    assert all(math.isfinite(n) for n in numbers(found.record))
    likelihood = found.parts["likelihood"]["figures"]
    assert likelihood["nll_exact"]["images"] == 100
    assert likelihood["nll_importance"]["draws"] == 4
    assert likelihood["nll_exact"]["extra"]["quadrature_error"] < 0.02
    assert likelihood["floor"]["value"] < likelihood["nll_exact"]["value"] < likelihood["neg_elbo"]["value"]
    assert "factor_vae_score" in found.parts["disentanglement"]["figures"]
    assert len(found.parts["samples"]["classifier"]["sha256"]) == 64
    assert len(set(told)) > 8


def test_the_same_seed_gives_the_same_figures(run, clothes):
    parts = ("doctor", "likelihood", "latents", "samples")
    first, again, other = (
        evaluate(Space.load(run), clothes, parts=parts, seed=seed, **QUICK).record for seed in (0, 0, 1)
    )
    assert numbers(first) == numbers(again)
    assert numbers(first) != numbers(other)


def test_parts_are_kept_while_the_weights_are_the_same(run, clothes):
    space = Space.load(run)
    evaluate(space, clothes, parts=("reconstruction",), **QUICK)
    both = evaluate(space, clothes, parts=("latents",), **QUICK)
    assert set(both.parts) == {"reconstruction", "latents"}
    assert both.value("reconstruction", "mse") > 0
    with pytest.raises(UnknownName, match="'mse'"):
        both.value("reconstruction", "mze")
    weights = run / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    assert read_evaluation(run) is None
    assert set(evaluate(Space.load(run), clothes, parts=("latents",), **QUICK).parts) == {"latents"}


def test_means_and_errors_are_of_the_images_asked_for(run, clothes):
    space = Space.load(run)
    figure = evaluate(space, clothes, parts=("reconstruction",), count=30).parts["reconstruction"]["figures"][
        "mse"
    ]
    rows = np.flatnonzero(clothes.splits == 2)[np.linspace(0, 99, 30).round().astype(int)]
    x = clothes.pixels[rows] / 255
    y = space.decode(space.latents.mean[rows]).numpy()
    each = np.square(x - y).mean((1, 2, 3))
    assert figure["images"] == 30
    assert figure["value"] == pytest.approx(each.mean(), rel=1e-5)
    assert figure["error"] == pytest.approx(each.std(ddof=1) / math.sqrt(30), rel=1e-5)


def test_the_binarised_protocol_is_a_part_of_its_own(run, clothes, monkeypatch):
    monkeypatch.setattr(
        measuring, "binarised_test", lambda images: (images.test.pixels > 127).astype(np.uint8)
    )
    found = evaluate(Space.load(run), clothes, parts=("binarised",), draws=3, count=20)
    figures = found.parts["binarised"]["figures"]
    bits = figures["nll_exact"]["value"] / (256 * math.log(2))
    assert figures["bits_per_dimension"]["value"] == pytest.approx(bits)
    assert any("50,000" in note for note in found.parts["binarised"]["notes"])


@pytest.mark.parametrize("latent", [1, 3])
def test_spaces_of_other_dimensions_without_labels_or_test_images(latent, tmp_path):
    images = make_images(60, classes=())
    images = replace(images, splits=np.zeros(60, np.uint8))
    space = fit(recipes.vae(images.spec, latent=latent, size="tiny"), images, steps=5)
    found = evaluate(space, images, **QUICK)
    assert "nll_exact" not in found.parts["likelihood"]["figures"]
    assert found.parts["likelihood"]["settings"]["split"] == "train"
    assert not found.parts["disentanglement"]["figures"]
    assert "knn_1" not in found.parts["embedding"]["figures"]
    assert found.parts["disentanglement"]["notes"]
    assert any("labels" in note for note in found.parts["samples"]["notes"])


def test_a_space_without_a_likelihood_says_so(run, clothes, monkeypatch):
    space = Space.load(run)
    monkeypatch.setattr(Family, "normalised", False)
    found = evaluate(space, clothes, parts=("likelihood", "latents", "doctor", "reconstruction"), **QUICK)
    assert not found.parts["likelihood"]["figures"]
    assert "no density" in found.parts["likelihood"]["notes"][0]
    assert set(found.parts["latents"]["figures"]) == {"active_units"}
    assert not found.parts["doctor"]["figures"]
    assert found.parts["reconstruction"]["figures"]


def test_what_measures_nothing_is_refused(run, clothes):
    space = Space.load(run)
    with pytest.raises(UnknownName, match="'samples'"):
        evaluate(space, clothes, parts=("sample",))
    with pytest.raises(UsageError, match="draws"):
        evaluate(space, clothes, draws=1)
    with pytest.raises(UsageError, match="images"):
        evaluate(space, clothes, count=1)
    with pytest.raises(RunError, match="content hash"):
        evaluate(space, garments(701, size=16))
    assert not (run / FILE).exists()


def test_a_damaged_record_is_as_good_as_none(run, clothes):
    evaluate(Space.load(run), clothes, parts=("reconstruction",), **QUICK)
    whole = (run / FILE).read_text()
    for damaged in (whole[:-20], "[]", "{}", whole.replace('"format": 1', '"format": 9')):
        (run / FILE).write_text(damaged)
        assert read_evaluation(run) is None


def test_the_report_shows_what_was_found(run, clothes):
    space = Space.load(run)
    before = evaluated(gather(space, clothes))
    assert "has not been evaluated" in before.words
    assert not before.drawings
    found = evaluate(space, clothes, **QUICK)
    page = write_report(space, clothes).read_text()
    assert 'id="figure-embedding"' in page
    assert (run / "figures" / "embedding.svg").exists()
    for finding in found.findings:
        assert finding["name"] in page
    value = found.value("likelihood", "nll_exact")
    assert f"{value:.2f}" in page
    assert "not an FID" in page


def test_the_verb(run, clothes, capsys, monkeypatch):
    monkeypatch.setattr("morphospace.cli.verbs._own_images", lambda *_: clothes)
    options = ["--only", "reconstruction", "doctor", "--images", "50", "--no-report", "--device", "cpu"]
    assert cli.run(["evaluate", str(run), *options]) == 0
    said = capsys.readouterr().out
    assert "ssim" in said
    assert "50 test images" in said
    assert str(run / FILE) in said.splitlines()[-1]
    assert not (run / "report.html").exists()
    assert cli.run(["evaluate", str(run), *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((run / FILE).read_text())


def test_torch_s_generator_is_left_alone(run, clothes):
    space = Space.load(run)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    evaluate(space, clothes, parts=("doctor", "likelihood", "latents", "samples"), **QUICK)
    assert torch.equal(torch.rand(2), expected)


def findings(name: str, images: Images) -> tuple[dict[str, dict[str, str]], list[str]]:
    space = fit(recipes.get(name, images.spec, {"size": "tiny"}), images, steps=40)
    doctor = evaluate(space, images, parts=("doctor",), **QUICK).parts["doctor"]
    return {f["name"]: f for f in doctor["findings"]}, doctor["notes"]


def test_the_doctor_weighs_no_distortion_that_nothing_learned_from():
    found, notes = findings("vae-gan", make_images(60, (3, 16, 16)))
    assert not found.keys() & set(measuring.OF_DISTORTION)
    assert "no likelihood" in notes[0]


def test_the_doctor_does_not_send_the_sigma_vae_to_the_sigma_vae(monkeypatch):
    """While the mean of the best σ still knows its start; the usual pixels of colour are these."""
    monkeypatch.setattr(OptimalGaussian, "memory", 0.01)
    found, notes = findings("vae", make_images(60, (3, 16, 16)))
    assert "running mean" in found["scale mismatch"]["remedy"]
    assert notes == []
