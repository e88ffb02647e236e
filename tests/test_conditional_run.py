"""A run that is told of classes, from images to report: no room of the house breaks on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from morphospace import cli, recipes
from morphospace.data.garments import CLASSES, garments
from morphospace.evaluation import ORDINARY, evaluate
from morphospace.fitting import fit
from morphospace.report import write_report
from morphospace.space import Space

CLASS = CLASSES[3]


@pytest.fixture(scope="module")
def clothes():
    return garments(400, size=16)


@pytest.fixture(scope="module")
def run(clothes, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("told") / "run"
    recipe = recipes.cvae(clothes.spec, latent=3, size="tiny", prior=True)
    fit(recipe, clothes, steps=60, test_draws=2, out=folder)
    return folder


@pytest.mark.usefixtures("quick_evaluation")
def test_it_is_evaluated_in_every_part(run, clothes):
    found = evaluate(Space.load(run), clothes, draws=4, count=100)
    assert tuple(found.parts) == ORDINARY
    for name, part in found.parts.items():
        assert part["figures"], name
        assert all(np.isfinite(figure["value"]) for figure in part["figures"].values()), name
    notes = {name: " ".join(part["notes"]) for name, part in found.parts.items()}
    assert "p(x given y)" in notes["likelihood"]
    assert "it may have been told" in notes["embedding"]
    assert "of the classes that the images measured on are of" in notes["samples"]


def test_its_report_has_every_section(run, clothes):
    page = write_report(Space.load(run), clothes).read_text()
    for figure in ("latent-space", "manifold", "reconstructions", "class-averages", "hybrids", "transitions"):
        assert (run / "figures" / f"{figure}.png").stat().st_size > 1000
    assert "a row is one class, a column one style" in page
    assert "The decoder is told the class" in page
    assert f'labels="{CLASSES[0]}"' in (run / "README.md").read_text()


def said(capsys, *words: object) -> tuple[int, str]:
    code = cli.run([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out + err


def test_the_command_line_draws_a_class_or_all_by_turns(run, tmp_path, capsys):
    code, text = said(capsys, "sample", run, "-n", 4, "--label", CLASS.lower(), "--out", tmp_path / "a.png")
    assert (code, f"wrote 4 images of {CLASS.lower()}" in text) == (0, True)
    code, text = said(capsys, "sample", run, "-n", 20, "--out", tmp_path / "b.png")
    assert (code, f"of {', '.join(CLASSES)}" in text) == (0, True)
    code, text = said(capsys, "sample", run, "--label", "Trouserz", "--out", tmp_path / "c.png")
    assert (code, "Did you mean 'Trouser'" in text) == (2, True)


def test_the_command_line_encodes_and_decodes_with_a_label(run, clothes, tmp_path, capsys):
    np.save(tmp_path / "some.npy", clothes.pixels[:3])
    table = tmp_path / "z.csv"
    code, text = said(capsys, "encode", run, tmp_path / "some.npy", "--out", table)
    assert (code, "say labels" in text) == (2, True)
    code, text = said(capsys, "encode", run, tmp_path / "some.npy", "--out", table, "--label", CLASS)
    assert (code, "wrote 3 rows" in text) == (0, True)
    code, text = said(capsys, "decode", run, table, "--out", tmp_path / "pictures")
    assert (code, "say labels" in text) == (2, True)
    code, text = said(capsys, "decode", run, table, "--out", tmp_path / "pictures", "--label", CLASS)
    assert (code, len(list((tmp_path / "pictures").iterdir()))) == (0, 3)


def test_the_command_line_goes_from_class_to_class(run, tmp_path, capsys):
    code, text = said(capsys, "morph", run, "Bag", "Sneaker", "--steps", 3, "--out", tmp_path / "m.png")
    assert (code, "x = 1.00  told 100% Sneaker" in text) == (0, True)


def test_a_picture_alone_does_not_say_its_class(run, clothes, tmp_path, capsys):
    Image.fromarray(clothes.pixels[0, 0]).save(tmp_path / "mine.png")
    code, words = said(capsys, "morph", run, tmp_path / "mine.png", CLASS, "--out", tmp_path / "way.png")
    assert code == 2
    assert "told the class of each image, which" in words
    assert not (tmp_path / "way.png").exists()
