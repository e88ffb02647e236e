"""The space that comes with the package works at once: without data, without training, and without being changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from morphospace import cli
from morphospace.atlas import read_atlas
from morphospace.fitting import measured
from morphospace.pretrained import HOME, names
from morphospace.space import Space
from morphospace.training.checkpoint import load_tensors, sha256
from morphospace.types import RunError, UsageError

ROOT = Path(__file__).parent.parent
NAME = "fashion-mnist"
FOLDER = HOME / NAME
MOST = 3_000_000


@pytest.fixture(scope="module")
def space() -> Space:
    return Space.load(FOLDER)


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine without data: an empty cache, no network, an empty folder to work in. What came with the package is
    the same afterwards, to the byte and the second."""

    def state() -> dict[str, tuple[str, int]]:
        return {
            str(file.relative_to(HOME)): (sha256(file), file.stat().st_mtime_ns)
            for file in sorted(HOME.rglob("*"))
            if file.is_file() and "__pycache__" not in file.parts
        }

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.delenv("MORPHOSPACE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    before = state()
    yield here
    assert state() == before


def call(capsys, *arguments: str) -> str:
    """What a command prints, that has to succeed."""
    capsys.readouterr()
    code = cli.run(list(arguments))
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def test_it_is_small_and_made_of_what_it_says():
    assert names() == (NAME,)
    files = list(FOLDER.iterdir())
    assert sum(file.stat().st_size for file in files) <= MOST
    assert {file.suffix for file in files} == {".json", ".md", ".safetensors"}
    weights = load_tensors(FOLDER / "model.safetensors")
    expected = Space.load(FOLDER).recipe.build().model.state_dict()
    assert {k: v.shape for k, v in weights.items()} == {k: v.shape for k, v in expected.items()}


def test_it_is_whole(space):
    """No array but the two on each axis of the map, and those of each image's place: nothing that has its pixels."""
    latents, atlas = space.latents, read_atlas(FOLDER)
    assert latents is not None
    assert latents.mean.shape == (70_000, 2)
    assert np.bincount(latents.labels[latents.splits == 0]).tolist() == [6000] * 10
    assert space.sampler is not None
    assert atlas is not None
    assert atlas.metric is not None
    assert atlas.recognition is not None
    assert atlas.recognition.shape == (10, *atlas.grid.shape)
    assert atlas.classifier is not None
    before, after = space.results["before_packing"]["test"], space.results["test"]
    assert after["images"] == 10_000
    assert after["neg_elbo"] == pytest.approx(before["neg_elbo"], abs=0.01)
    assert space.own_folder is None


def test_a_name_stands_for_it_and_a_folder_of_that_name_wins(bare, finished):
    assert Space.load(NAME).folder == FOLDER
    (bare / NAME).mkdir()
    with pytest.raises(RunError, match="wins over the space of this name"):
        Space.load(NAME)
    Space.load(finished).save(bare / NAME)
    assert Space.load(NAME).own_folder == Path(NAME)
    with pytest.raises(RunError, match=r"Did you mean 'fashion-mnist'\?"):
        Space.load("fashion-mnst")


def test_morph_takes_the_best_path(bare, capsys):
    said = call(capsys, "morph", NAME, "Bag", "Sneaker", "--path", "best", "--json")
    record = json.loads(said)
    others = record["others"]
    assert set(others) == {"straight", "great-circle", "geodesic", "clear", "dense", "recognisable"}
    assert record["refused"] == {}
    assert record["scores"]["in_holes"] == min(way["in_holes"] for way in others.values())
    assert others["geodesic"]["length"] == min(way["length"] for way in others.values())
    assert all(0 < way["recognised"] <= 1 for way in others.values())
    assert (bare / "morph.png").is_file()


def test_it_samples_decodes_encodes_and_blends(bare, capsys):
    assert "sampler" in call(capsys, "sample", NAME, "-n", "9", "--out", "nine.png")
    assert "test" in call(capsys, "info", NAME)
    assert "xiao2017fashion" in call(capsys, "cite", NAME)
    call(capsys, "blend", NAME, "Bag", "Sneaker", "--weights", ".7", ".3")
    (bare / "z.csv").write_text("0.5,-1\n0,0\n")
    call(capsys, "decode", NAME, "z.csv", "--out", "decoded")
    pictures = [np.asarray(Image.open(bare / "decoded" / f"{i}.png")) for i in (0, 1)]
    assert pictures[0].shape == (28, 28)
    expected = Space.load(NAME).decode([[0.5, -1.0], [0.0, 0.0]]).numpy()[:, 0]
    np.testing.assert_allclose(np.stack(pictures) / 255, expected, atol=0.5 / 255 + 1e-6)
    call(capsys, "encode", NAME, "decoded", "--out", "z2.csv")
    assert len((bare / "z2.csv").read_text().splitlines()) == 3
    call(capsys, "morph", NAME, "decoded/0.png", "decoded/1.png", "--out", "own.gif")
    assert (bare / "own.gif").is_file()


def test_its_map_is_told_and_drawn(bare, capsys):
    said = call(capsys, "map", NAME, "--out", "maps")
    assert "hole_mass" in said
    drawn = {file.name for file in (bare / "maps").iterdir()}
    assert {f"atlas-{n}.png" for n in ("scatter", "density", "classes", "recognition", "stretch")} <= drawn


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", NAME], "comes with the package and is only read"),
        (["map", NAME, "--cells", "64"], "comes with the package and is only read"),
        (["train", "--resume", NAME], "does not exist"),
        (["pack", NAME, "--out", "x"], "packed already"),
        (["info", "fashion-mnst"], "Did you mean 'fashion-mnist'?"),
        (["morph", NAME, "Bag", "Snaeker"], "Did you mean 'Sneaker'?"),
    ],
)
def test_what_it_cannot_do_is_said(arguments, words, bare, capsys, monkeypatch):
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    assert cli.run(arguments) != 0
    assert words in capsys.readouterr().err
    assert not list(bare.iterdir())


def test_nothing_is_written_into_it_from_python(bare, space):
    from morphospace.atlas import save_atlas
    from morphospace.report import write_card, write_maps

    atlas = read_atlas(FOLDER)
    assert atlas is not None
    for write in (lambda: save_atlas(atlas, space), lambda: write_card(space), lambda: write_maps(space)):
        with pytest.raises(UsageError, match="no folder to write into"):
            write()


def test_it_is_in_the_wheel_and_works_from_there(tmp_path):
    """The first command of somebody who has just installed the package, in a process and a place of its own."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    for file in FOLDER.iterdir():
        assert (tmp_path / "installed" / "morphospace" / "pretrained" / NAME / file.name).is_file()
    here = tmp_path / "here"
    here.mkdir()
    environment = {k: v for k, v in os.environ.items() if k not in ("MORPHOSPACE_DATA", "PYTHONPATH")}
    environment |= {"PYTHONPATH": str(tmp_path / "installed"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = "import morphospace, sys; print(morphospace.__file__); from morphospace.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "morph", NAME, "Bag", "Sneaker", "--path", "best"],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "installed"))
    assert "best is" in done.stdout
    assert [file.name for file in here.iterdir()] == ["morph.png"]


@pytest.mark.published
def test_its_figures_are_those_of_the_real_images(space, fashion_mnist):
    found = measured(space.model, space.recipe, fashion_mnist, space.settings)
    assert found["test"]["neg_elbo"] == pytest.approx(space.results["test"]["neg_elbo"], abs=1e-3)
    exact = space.encode(fashion_mnist.test)
    kept = space.latents.test
    assert np.abs(kept.mean - exact.mean.numpy()).max() < 0.002
    np.testing.assert_array_equal(kept.labels, fashion_mnist.test.labels)
