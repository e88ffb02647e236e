"""The command behind the published binarised protocol, on a few drawn clothes for a moment."""

from __future__ import annotations

import json

import pytest
from benchmarks import binarised

import morphospace as ms
from morphospace.evaluation import evaluate
from morphospace.space import Space

GARMENTS = {"source": "garments", "count": 60, "validation": 6}
OPTIONS = ["--size", "tiny", "--latent", "3", "--epochs", "1", "--images", "5", "--draws", "4"]


def test_it_trains_measures_and_keeps_a_line_and_does_not_train_twice(tmp_path, capsys):
    lines, run = tmp_path / "lines.jsonl", tmp_path / "run"
    options = [*OPTIONS, "--out", str(run)]
    binarised.main(options, lines, GARMENTS)
    (line,) = map(json.loads, lines.read_text().splitlines())
    images = ms.load(**GARMENTS)
    assert line["images"]["counts"] == {"train": 46, "validation": 6, "test": 8}
    assert line["recipe"] == {"name": "binarised", "arguments": {"latent": 3, "size": "tiny", "warmup": 0.0}}
    again = evaluate(Space.load(run), images, parts=("binarised",), draws=4, count=5)
    found = line["test"]["figures"]["nll_importance"]
    assert found["value"] == again.value("binarised", "nll_importance")
    assert (found["images"], found["draws"]) == (5, 4)
    assert 0 < found["value"] < 1000
    assert line["validation_neg_elbo"] == pytest.approx(line["test"]["figures"]["neg_elbo"]["value"], rel=0.5)

    said = capsys.readouterr().out
    assert "| VAE, two dense layers of 300, 40-D |  |  | 228.70 ± 0.15 |" in said
    assert "(5 images, 4 draws)" in said

    written = (run / "model.safetensors").stat().st_mtime_ns
    binarised.main(options, lines, GARMENTS)
    first, second = map(json.loads, lines.read_text().splitlines())
    assert (run / "model.safetensors").stat().st_mtime_ns == written
    assert second["test"]["figures"] == first["test"]["figures"]
    assert second["seconds"]["training"] == first["seconds"]["training"]


def test_a_prior_is_fitted_to_a_finished_run(tmp_path, capsys):
    lines, run = tmp_path / "lines.jsonl", tmp_path / "run"
    options = [*OPTIONS, "--lr", "0.004", "--out", str(run)]
    binarised.main(options, lines, GARMENTS)
    binarised.main([*options, "--prior", "mixture"], lines, GARMENTS)
    plain, fitted = map(json.loads, lines.read_text().splitlines())
    assert plain["training"]["lr"] == fitted["training"]["lr"] == 0.004
    assert plain["training"]["matrix_lr"] == pytest.approx(0.006)
    assert (plain["prior"], fitted["prior"]) == (None, "mixture")
    rates = [line["test"]["figures"]["rate"]["value"] for line in (plain, fitted)]
    assert rates[0] != rates[1]
    parts = [line["test"]["figures"]["distortion"]["value"] for line in (plain, fitted)]
    assert parts[0] == pytest.approx(parts[1])
    assert "mixture prior fitted afterwards" in capsys.readouterr().out


def test_the_table_is_in_the_order_of_the_validation_figure(tmp_path, capsys):
    lines = tmp_path / "lines.jsonl"
    binarised.main([*OPTIONS, "--out", str(tmp_path / "run")], lines, GARMENTS)
    (line,) = map(json.loads, lines.read_text().splitlines())
    whole = json.loads(json.dumps(line))
    whole["validation_neg_elbo"] = line["validation_neg_elbo"] - 1
    whole["test"]["figures"]["nll_importance"] |= {"value": 227.0, "error": 0.7, "draws": 5000, "images": 8}
    lines.write_text(json.dumps(line) + "\n" + json.dumps(whole) + "\n")
    capsys.readouterr()
    binarised.main(["--table"], lines)
    rows = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == len(binarised.PUBLISHED) + 2
    assert "| 227.00 | 0.70 |" in rows[-2]
    assert "(5 images, 4 draws)" in rows[-1]


def test_the_committed_lines_can_be_shown():
    texts = binarised.LINES.read_text().splitlines() if binarised.LINES.is_file() else []
    shown = binarised.shown_lines([json.loads(text) for text in texts])
    assert len(shown.splitlines()) == 2 + len(binarised.PUBLISHED) + len(texts)
