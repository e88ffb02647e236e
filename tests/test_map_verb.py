"""`morphospace map` as people use it: figures, files and maps; and where there is no map to draw."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from morphospace import cli
from morphospace.plots import render
from morphospace.plots.maps import Sheet, class_map, density_map, recognition_map, scatter_map, stretch_map
from morphospace.space import Space

MAPS = ("atlas-scatter", "atlas-density", "atlas-classes", "atlas-recognition", "atlas-stretch")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run on drawn clothes."""
    folder = tmp_path_factory.mktemp("map") / "garments"
    command = [
        "train",
        "garments",
        "--count",
        "200",
        "--size",
        "tiny",
        "--epochs",
        "1",
        "--no-report",
        "--out",
    ]
    assert cli.run([*command, str(folder)]) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("morphospace.evaluation.classifier.LEAST_STEPS", 10)
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_it_writes_figures_and_maps(run, capsys):
    capsys.readouterr()
    assert cli.run(["map", str(run), "--cells", "48", "--no-report"]) == 0
    said = capsys.readouterr().out
    for name in ("hole_mass", "sampler_kl", "bayes_error", "excess_unrecognisable", "stretch"):
        assert f"\n{name} " in f"\n{said}"
    record = json.loads((run / "atlas.json").read_text())
    assert record["box"]["cells"] == [48, 48]
    assert len(record["overlap"]) == len(record["classes"]) == 10
    for name in MAPS:
        assert str(run / "figures" / f"{name}.png") in said
        assert (run / "figures" / f"{name}.svg").is_file()
        with Image.open(run / "figures" / f"{name}.png") as picture:
            assert min(picture.size) > 500
    assert not (run / "report.html").exists()
    # The report written afterwards has them, and says what closing the holes did.
    assert cli.run(["report", str(run)]) == 0
    html = (run / "report.html").read_text()
    for name in MAPS:
        assert f'id="figure-{name}"' in html
    assert "Holes, before and after" in html
    assert "sampler s(z)" in html


def test_a_space_of_three_dimensions_gets_estimates(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("morphospace.evaluation.classifier.LEAST_STEPS", 10)
    folder = tmp_path / "deep"
    train = [
        "train",
        "garments",
        "--count",
        "100",
        "--size",
        "tiny",
        "--epochs",
        "1",
        "--latent",
        "3",
        "--no-report",
    ]
    assert cli.run([*train, "--out", str(folder)]) == 0
    capsys.readouterr()
    assert cli.run(["map", str(folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert "an estimate" in said["figures"]["hole_mass"]["definition"]
    assert said["figures"]["hole_mass"]["error_is"].startswith("standard error")
    assert any("3 dimensions" in note for note in said["notes"])
    html = (folder / "report.html").read_text()
    assert "3 dimensions, so these are estimates" in html
    assert 'id="figure-atlas' not in html


def test_wrong_input_is_told_in_one_line(run, tmp_path, capsys):
    for arguments, code, part in (
        (["map", str(tmp_path / "none")], 1, "does not exist"),
        (["map", str(run), "--cells", "1"], 2, "at least 2"),
    ):
        capsys.readouterr()
        assert cli.run(arguments) == code
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert said.startswith("error: ")
        assert part in said
    (run / "latents.safetensors").unlink()
    assert cli.run(["map", str(run)]) == 1
    assert "morphospace report" in capsys.readouterr().err


def test_an_earlier_version_s_run_gets_its_sampler(run):
    (run / "sampler.safetensors").unlink()
    assert cli.run(["map", str(run), "--cells", "16", "--no-report"]) == 0
    assert Space.load(run).sampler is not None


# ---------------------------------------------------------------- the maps themselves


def sheet(classes: int = 3) -> tuple[Sheet, np.ndarray, np.ndarray]:
    """A map of normals side by side, wider than it is high, with one hole."""
    x, y = np.linspace(-4, 4, 60), np.linspace(-2, 2, 40)
    centres = np.linspace(-3, 3, classes)
    by_class = np.stack([np.exp(-2 * (x[None] - c) ** 2 - 2 * y[:, None] ** 2) for c in centres])
    angle = np.linspace(0, 2 * np.pi, 50)
    ring = 0.5 * np.stack([np.cos(angle), np.sin(angle)], 1) + 1
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 300)
    points = np.stack([centres[labels], np.zeros(300)], 1) + 0.4 * rng.standard_normal((300, 2))
    names = tuple(f"class {c}" for c in range(classes))
    return (
        Sheet(x, y, [ring], points, labels, names),
        by_class,
        np.exp(-0.5 * (x[None] ** 2 + y[:, None] ** 2)),
    )


@pytest.mark.parametrize("classes", [1, 3, 30])
def test_every_map_is_drawn_with_names_and_legend(classes):
    where, by_class, p = sheet(classes)
    q = by_class.sum(0)
    metric = np.stack([1 + q, 0.2 * q, 2 + q])
    figures = [
        scatter_map(where, title="a"),
        density_map(where, q, p, title="b"),
        class_map(where, by_class, title="c"),
        recognition_map(where, np.clip(q, 0.1, 1), q, title="d"),
        stretch_map(where, np.sqrt(1 + q), metric, title="e"),
    ]
    for figure in figures:
        texts = [t.get_text() for t in figure.findobj(Text)]
        if classes == 3:
            assert {"class 0", "class 2"} <= set(texts)
        legends = [a for axes in figure.axes for a in axes.get_children() if type(a).__name__ == "Legend"]
        assert legends
        assert render(figure, "png")[:4] == b"\x89PNG"
    assert render(class_map(where, by_class, title="c"), "svg") == render(
        class_map(where, by_class, title="c"), "svg"
    )


def test_a_map_without_holes_or_classes_is_drawn():
    where, by_class, p = sheet(1)
    bare = Sheet(where.x, where.y)
    assert render(density_map(bare, by_class[0], p, title="b"), "png")
    assert render(stretch_map(bare, 0 * p, np.stack([p, 0 * p, 0 * p]), title="e"), "png")
    with pytest.raises(ValueError, match="no points"):
        scatter_map(bare, title="a")
