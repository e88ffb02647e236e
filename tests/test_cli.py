"""The command as people use it, with right and with wrong input."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from morphospace import cli, recipes
from morphospace.cli.progress import _Lines
from morphospace.cli.verbs import ANY_SHAPE
from morphospace.files import atomic

TINY = ["--size", "tiny", "--epochs", "0.5", "--no-report"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run on drawn clothes, trained through the command."""
    folder = tmp_path_factory.mktemp("cli") / "runs" / "garments"
    assert cli.run(["train", "garments", "--count", "300", "--out", str(folder), *TINY]) == 0
    return folder


@pytest.fixture
def call(capsys):
    """Run a command; its exit code, what it printed, and what it said on the error stream."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def photographs(folder: Path, count: int = 200) -> Path:
    """Colour photographs of odd sizes, PNG and JPEG; two of them corrupt."""
    rng = np.random.default_rng(0)
    for i in range(count):
        kind = ("cats", "dogs")[i % 2]
        (folder / kind).mkdir(parents=True, exist_ok=True)
        height, width = rng.integers(9, 60, 2)
        ramp = np.linspace(0, 255, int(height * width * 3)).reshape(height, width, 3)
        Image.fromarray(ramp.astype(np.uint8)).save(folder / kind / f"{i:03}.{('png', 'jpg')[i // 2 % 2]}")
    (folder / "cats" / "000.png").write_bytes(b"not a picture")
    whole = (folder / "dogs" / "003.jpg").read_bytes()
    (folder / "dogs" / "003.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


# ---------------------------------------------------------------- as it is meant


def test_train_ends_with_the_report_and_the_elbo(call, tmp_path):
    out = tmp_path / "run"
    code, said, _ = call(
        "train",
        "garments",
        "--count",
        200,
        "--size",
        "tiny",
        "--epochs",
        "0.5",
        "--image-size",
        16,
        "--out",
        out,
    )
    assert code == 0
    last = said.strip().splitlines()[-1]
    assert str(out / "report.html") in last
    assert "test −ELBO" in last
    assert "nats" in last
    assert (out / "report.html").stat().st_size > 10_000
    assert list((out / "figures").glob("*.png"))
    assert not (out / "checkpoints").exists()


def test_info_as_json_holds_what_is_promised(call, run):
    code, said, _ = call("info", run, "--json")
    facts = json.loads(said)
    assert code == 0
    promised = (
        "recipe latent classes parameters test seconds images_per_second precision seed data_sha256 version"
    )
    assert set(promised.split()) <= set(facts)
    assert facts["test"]["neg_elbo"] == pytest.approx(facts["test"]["distortion"] + facts["test"]["rate"])
    assert len(facts["data_sha256"]) == 64
    assert len(facts["classes"]) == 10


@pytest.mark.parametrize("name", ["bag.png", "bag.gif"])
def test_morph_between_two_classes(call, run, tmp_path, name):
    out = tmp_path / name
    code, said, _ = call("morph", run, "Bag", "sneaker", "--steps", 5, "--out", out, "--json")
    made = json.loads(said)
    assert code == 0
    assert [step["x"] for step in made["steps"]] == [0, 0.25, 0.5, 0.75, 1]
    assert made["end"] == "Sneaker"
    with Image.open(out) as picture:
        assert picture.format == name[-3:].upper()
        assert getattr(picture, "n_frames", 1) == (8 if name.endswith("gif") else 1)  # five there, three back


def test_morph_between_two_files(call, run, tmp_path):
    for name, level in (("dark.png", 10), ("light.png", 240)):
        Image.fromarray(np.full((40, 30), level, np.uint8)).save(tmp_path / name)
    code, said, _ = call(
        "morph", run, tmp_path / "dark.png", tmp_path / "light.png", "--out", tmp_path / "m.png", "--json"
    )
    assert code == 0
    assert json.loads(said)["start"] == "dark.png"


@pytest.fixture
def small_map(tmp_path, monkeypatch):
    """A coarse map, and a classifier that learned for a moment, in a cache of its own."""
    monkeypatch.setattr("morphospace.cli.paths.CELLS", 48)
    monkeypatch.setattr("morphospace.evaluation.classifier.LEAST_STEPS", 8)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_morph_on_the_best_path_beside_all_others(call, run, tmp_path, small_map):
    """`garments` are drawn anew, so that the classifier has its images."""
    out = tmp_path / "ways.png"
    code, said, _ = call(
        "morph", run, "Bag", "Sneaker", "--path", "best", "--compare", "--out", out, "--json"
    )
    made = json.loads(said)
    assert code == 0
    assert set(made["others"]) == {"straight", "great-circle", "geodesic", "clear", "dense", "recognisable"}
    assert made["why"].startswith(f"{made['path']}: ")
    assert made["scores"] == made["others"][made["path"]]
    assert made["others"]["geodesic"]["length"] <= made["others"]["straight"]["length"] * 1.001
    with Image.open(out) as picture:
        assert picture.width == 1800


def test_all_pairs_in_one_figure(call, run, tmp_path, small_map):
    out = tmp_path / "all.png"
    code, said, _ = call("morph", run, "--all", "--out", out)
    assert code == 0
    assert "45 pairs" in said
    made = json.loads((tmp_path / "all.json").read_text())
    assert len(made["pairs"]) == 45
    assert made["summary"]["dense"]["in_holes"] <= made["summary"]["straight"]["in_holes"]
    assert {pair["best"] for pair in made["pairs"]} <= set(made["summary"])
    with Image.open(out) as picture:
        assert picture.format == "PNG"


def test_a_film_is_an_mp4_or_says_what_is_missing(call, run, tmp_path, monkeypatch):
    out = tmp_path / "bag.mp4"
    code, _, said = call("morph", run, "Bag", "Sneaker", "--out", out)
    if shutil.which("ffmpeg"):
        assert code == 0
        assert b"ftyp" in out.read_bytes()[:32]
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, said = call("morph", run, "Bag", "Sneaker", "--out", tmp_path / "none.mp4")
    assert code == 2
    one_line(said, "ffmpeg")
    assert not (tmp_path / "none.mp4").exists()


def test_blend(call, run, tmp_path):
    Image.fromarray(np.full((28, 28), 200, np.uint8)).save(tmp_path / "light.png")
    out = tmp_path / "blend.png"
    arguments = ("blend", run, "Bag", "Sneaker", tmp_path / "light.png", "--out", out, "--json")
    code, said, _ = call(*arguments, "--weights", 5, 3, 2)
    assert code == 0
    assert [part["weight"] for part in json.loads(said)["parts"]] == [0.5, 0.3, 0.2]
    assert out.is_file()
    assert json.loads(call(*arguments)[1])["parts"][0]["weight"] == 0.3333


def test_samples_are_a_function_of_the_seed(call, run, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert call("sample", run, "-n", 9, "--seed", seed, "--out", tmp_path / f"{name}.png")[0] == 0
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b
    assert a != c
    told = [call("sample", run, "--out", tmp_path / "d.png", *more)[1] for more in ((), ("--from-prior",))]
    assert [line.split()[-1] for line in told] == ["sampler", "prior"]


@pytest.mark.parametrize("suffix", ["csv", "npz", "parquet"])
def test_what_encode_writes_decode_reads(call, run, tmp_path, suffix):
    table = tmp_path / f"z.{suffix}"
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (7, 28, 28), dtype=np.uint8))
    assert call("encode", run, tmp_path / "x.npy", "--out", table)[0] == 0
    code, _, _ = call("decode", run, table, "--out", tmp_path / "pictures")
    assert code == 0
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == [f"{i}.png" for i in range(7)]


def test_a_folder_of_photographs_with_two_corrupt_ones(call, tmp_path):
    folder, out = photographs(tmp_path / "photographs"), tmp_path / "run"
    code, _, said = call("train", folder, "--out", out, "--size", "tiny", "--epochs", "0.1", "--no-report")
    assert code == 0
    assert "left out 2 files" in said
    assert "000.png" in said
    assert "003.jpg" in said
    code, _, said = call("encode", out, folder, "--out", tmp_path / "z.csv")
    assert code == 0
    rows = list(csv.DictReader((tmp_path / "z.csv").read_text().splitlines()))
    assert len(rows) == 198
    assert "000.png" in said
    assert all(row["label"] == Path(row["file"]).parent.name for row in rows)
    assert {"mean_0", "mean_1", "std_0", "std_1"} <= set(rows[0])
    code, said, _ = call("info", out, "--json")
    assert json.loads(said)["skipped"] == 2


def test_a_run_inside_the_images_is_none_of_them(call, tmp_path, monkeypatch):
    """`train .` writes its run below the images; its own pictures are no class of the next one."""
    folder = photographs(tmp_path / "photos.v2", 24)
    monkeypatch.chdir(folder)
    small = ("--size", "tiny", "--epochs", "0.2", "--image-size", 16)
    assert call("train", ".", *small)[0] == 0
    out = folder / "runs" / "photos.v2"
    assert (out / "report.html").is_file()
    assert call("map", out, "--cells", 16)[0] == 0  # its images are what they were
    assert json.loads(call("info", out, "--json")[1])["classes"] == ["cats", "dogs"]
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert call("train", "..", *small, "--no-report")[0] == 0
    assert [p.name for p in (folder / "below" / "runs").iterdir()] == ["photos.v2"]


def test_images_that_are_gone_are_named_as_the_runs(call, tmp_path):
    folder, out = photographs(tmp_path / "photographs", 24), tmp_path / "run"
    assert call("train", folder, "--out", out, "--image-size", 16, *TINY)[0] == 0
    shutil.rmtree(folder)
    code, _, said = call("report", out)
    assert code == 1
    assert "the images of" in said
    assert "not where they were" in said
    code, _, said = call("train", "--resume", out)
    assert code == 1
    assert "not where they were" in said
    code, _, said = call("morph", out, "cats", "dogs", "--path", "dense", "--out", tmp_path / "way.png")
    assert code == 0
    assert "stays unknown" in said


def test_nobodys_files_are_written_over(call, tmp_path):
    (tmp_path / "README.md").write_text("my thesis")
    code, _, said = call("train", "garments", "--count", 200, "--out", tmp_path, *TINY)
    assert code == 2
    assert "README.md" in said
    assert (tmp_path / "README.md").read_text() == "my thesis"


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_that_none_of_the_libraries_take_are_refused(call, run, seed):
    for words in (("train", "garments", "--count", 200), ("evaluate", run)):
        code, _, said = call(*words, "--seed", seed)
        assert code == 2
        assert "seed" in said


def test_resume_takes_no_other_images(call, run):
    for option in (
        ("--count", 5),
        ("--image-size", 64),
        ("--strict",),
        ("--recipe", "vae"),
        ("--mode", "grey"),
    ):
        code, _, said = call("train", "--resume", run, *option)
        assert code == 2
        assert str(option[0]) in said


def test_an_argument_is_given_once(call):
    code, _, said = call("train", "garments", "--latent", 5, "--set", "latent=3")
    assert code == 2
    assert "latent was given twice, as 5 and as 3" in said


def test_results_without_their_figures_are_refused(call, run, tmp_path):
    damaged = shutil.copytree(run, tmp_path / "run")
    for content in ("{}", "[]"):
        (damaged / "results.json").write_text(content)
        code, _, said = call("info", damaged)
        assert code == 1
        assert "results.json" in said


def test_points_beyond_numbers_are_refused(call, run, tmp_path):
    (tmp_path / "z.csv").write_text("z_0,z_1\n3e38,3e38\n")
    code, _, said = call("decode", run, tmp_path / "z.csv", "--out", tmp_path / "pictures")
    assert code == 2
    assert "3e+38" in said


def test_a_table_as_spreadsheets_write_it(call, run, tmp_path):
    (tmp_path / "z.csv").write_text("\ufeffz_0,z_1\n0.5,1\n", encoding="utf-8")
    assert call("decode", run, tmp_path / "z.csv", "--out", tmp_path / "pictures")[0] == 0
    np.save(tmp_path / "array.npy", np.zeros((2, 2)))
    (tmp_path / "array.npy").rename(tmp_path / "fake.npz")
    (tmp_path / "half.npz").write_bytes(b"PK\x03\x04 half of a file")
    for name in ("fake.npz", "half.npz"):
        code, _, said = call("decode", run, tmp_path / name, "--out", tmp_path / "others")
        assert code == 1
        assert name in said


def test_from_a_place_to_itself(call, run, tmp_path):
    name = json.loads(call("info", run, "--json")[1])["classes"][0]
    code, said, warned = call("morph", run, name, name, "--out", tmp_path / "still.png", "--json")
    assert code == 0
    assert "NaN" not in said
    assert "Warning" not in warned


def test_strict_stops_at_the_corrupt_one(call, tmp_path):
    folder = photographs(tmp_path / "photographs", 12)
    code, _, said = call("train", folder, "--strict", "--out", tmp_path / "run", *TINY)
    assert code == 1
    assert "000.png" in said
    assert not (tmp_path / "run").exists()


def test_resume_continues_an_interrupted_run_to_the_same_bytes(call, tmp_path):
    options = ["train", "garments", "--count", "200", "--size", "tiny", "--epochs", "60", "--no-report"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    command = [sys.executable, "-m", "morphospace", *options, "--out", str(broken)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (broken / "metrics.jsonl").exists() or (broken / "metrics.jsonl").stat().st_size < 300:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"--resume {broken}" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert call("train", "--resume", broken, "--no-report")[0] == 0
    # Another process, with threads of its own: the run says how many it was begun with.
    assert subprocess.run([*command[:-1], str(whole)], check=False, capture_output=True).returncode == 0
    assert (whole / "model.safetensors").read_bytes() == (broken / "model.safetensors").read_bytes()


def test_a_second_run_needs_overwrite(call, run):
    arguments = ["train", "garments", "--count", 200, "--out", run, *TINY]
    code, _, said = call(*arguments)
    assert code == 2
    assert "--overwrite" in said
    assert call(*arguments, "--seed", 1, "--overwrite")[0] == 0
    assert json.loads(call("info", run, "--json")[1])["seed"] == 1


def test_recipes_are_listed_by_theme_and_shown(call):
    listed = call("recipes")[1]
    assert listed.index("basic:") < listed.index("  beta-vae ") < listed.index("disentangling:")
    assert listed.index("disentangling:") < listed.index("  beta-tc ")
    assert "vae" in json.loads(call("recipes", "--json")[1])["basic"]
    assert "Kingma" in call("recipes", "vae")[1]


def test_a_run_says_what_to_cite(call, run):
    said = call("cite", run)[1]
    assert [line for line in said.splitlines() if line.startswith("@")] == [
        "@software{morphospace,",
        "@inproceedings{kingma2014auto,",
        "@inproceedings{im2017denoising,",
        "@inproceedings{shu2018amortized,",
        "@misc{jordan2024muon,",
        "@inproceedings{loshchilov2019decoupled,",
    ]
    assert json.loads(call("cite", run, "--json")[1])["bibtex"][1].startswith(
        "@inproceedings{kingma2014auto,"
    )


def test_recipe_arguments_by_set(call, tmp_path):
    out = tmp_path / "run"
    arguments = [
        "train",
        "garments",
        "--count",
        100,
        "--recipe",
        "beta-vae",
        "--set",
        "beta=2.5",
        "--latent",
        3,
    ]
    assert call(*arguments, "--out", out, *TINY)[0] == 0
    facts = json.loads(call("info", out, "--json")[1])
    assert facts["arguments"]["beta"] == 2.5
    assert facts["latent"] == 3


def test_help_is_quick_and_imports_no_torch():
    code = "import sys; from morphospace import cli; cli.run(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


OPTIONS = {
    "train": "latent size recipe set epochs minutes batch lr seed device precision out overwrite resume data-root "
    "image-size mode count validation strict no-report json",
    "report": "data-root json",
    "evaluate": "only protocol draws images seed device data-root no-report json",
    "classifier": "data-root json",
    "info": "json",
    "map": "cells seed out data-root no-report json",
    "morph": "path compare all steps out data-root json",
    "blend": "weights out json",
    "sample": "count seed label from-prior out json",
    "decode": "out label json",
    "encode": "out label refine data-root strict json",
    "recipes": "json",
    "cite": "json",
    "explore": "port no-browser export",
    "pack": "out cells seed overwrite data-root json",
}


@pytest.mark.parametrize("verb", OPTIONS)
def test_options_are_frozen(call, verb):
    """Another option, or one less, is a decision: change this list in the same commit."""
    code, said, _ = call(verb, "--help")
    assert code == 0
    # An option stands at the margin, behind a star where it must be given; what is wrapped stands further in.
    listed = "".join(re.findall(r"^│ [* ]{0,3}((?:-[\w-]+ )+)", said, re.MULTILINE))
    found = {word[2:] for word in listed.split() if word.startswith("--")}
    assert found == set(OPTIONS[verb].split())


# ---------------------------------------------------------------- as it is not meant


def one_line(said: str, *parts: object) -> None:
    """The error stream ends in one clear line, and holds no traceback."""
    lines = said.strip().splitlines()
    assert lines[-1].startswith("error: "), said
    assert sum(line.startswith("error: ") for line in lines) == 1
    assert "Traceback" not in said
    for part in parts:
        assert str(part) in lines[-1], said


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        (["--recipe", "vea"], "'vae'"),
        (["--set", "bata=2"], "bata"),
        (["--set", "corrupted=2"], "corrupted"),
        (["--latent", "0"], "latent"),
        (["--lr", "-1"], "lr"),
        (["--epochs", "1", "--minutes", "1"], "minutes"),
    ],
)
def test_a_wrong_option_is_refused_before_images_are_drawn(call, monkeypatch, wrong, part):
    def drawn(*_, **__):
        raise AssertionError("images were drawn")

    monkeypatch.setattr("morphospace.data.load", drawn)
    code, _, err = call("train", "garments", *wrong)
    assert code == 2
    assert part in err


def test_every_recipe_takes_the_shape_that_options_are_checked_on():
    for name in recipes.names():
        assert recipes.get(name, ANY_SHAPE).spec == ANY_SHAPE


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["train"], 2, "fashion-mnist"),
        (["train", "fashion-mnits"], 2, "fashion-mnist"),
        (["train", "no/such/folder"], 2, "no/such/folder"),
        (["train", "{empty}"], 1, "{empty}"),
        (["train", "garments", "--recipe", "vea"], 2, "'vae'"),
        (["train", "garments", "--count", "50", "--set", "bata=2"], 2, "bata"),
        (["train", "garments", "--count", "50", "--recipe", "beta-vae", "--set", "bata=2"], 2, "'beta'"),
        (["train", "garments", "--count", "50", "--recipe", "beta-vae", "--set", "beta=much"], 2, "much"),
        (["train", "garments", "--count", "50", "--set", "beta"], 2, "NAME=VALUE"),
        (["train", "garments", "--count", "50", "--size", "huge"], 2, "huge"),
        (["train", "garments", "--count", "50", "--lr", "-1"], 2, "lr"),
        (["train", "garments", "--count", "50", "--epochs", "1", "--minutes", "1"], 2, "minutes"),
        (["train", "garments", "--count", "50", "--latent", "0"], 2, "latent"),
        (["train", "garments", "--count", "50", "--image-size", "4"], 2, "8"),
        (["train", "garments", "--count", "50", "--image-size", "32", "--recipe", "reference"], 2, "28×28"),
        (["train", "garments", "--count", "50", "--device", "cuda"], 2, "cuda"),
        (["train", "garments", "--count", "0"], 2, "0"),
        (["train", "garments", "--epochs", "many"], 2, "epochs"),
        (["train", "garments", "--epoch", "1"], 2, "--epoch"),
        (["train", "--resume", "{missing}"], 1, "{missing}"),
        (["train", "garments", "--resume", "{run}"], 2, "--resume"),
        (["train", "--resume", "{run}", "--lr", "1"], 2, "--lr"),
        (["info", "{missing}"], 1, "{missing}"),
        (["info", "{empty}"], 1, "config.json"),
        (["info", "{picture}"], 1, "{picture}"),
        (["report", "{missing}"], 1, "{missing}"),
        (["evaluate", "{missing}"], 1, "{missing}"),
        (["evaluate", "{run}", "--only", "likelyhood"], 2, "'likelihood'"),
        (["evaluate", "{run}", "--draws", "1"], 2, "draws"),
        (["evaluate", "{run}", "--images", "1"], 2, "images"),
        (["evaluate", "{run}", "--protocol", "binary"], 2, "binarised"),
        (["evaluate", "{run}", "--protocol", "binarised", "--only", "samples"], 2, "--only"),
        (["evaluate", "{run}", "--protocol", "binarised"], 2, "10000"),
        (["classifier", "fashion-mnits"], 2, "fashion-mnist"),
        (["morph", "{run}", "Bog", "Sneaker", "--out", "{new}.png"], 2, "'Bag'"),
        (["morph", "{run}", "Bag", "{missing}.png", "--out", "{new}.png"], 2, "{missing}.png"),
        (["morph", "{run}", "Bag", "{corrupt}", "--out", "{new}.png"], 1, "{corrupt}"),
        (["morph", "{run}", "Bag", "Sneaker", "--steps", "1", "--out", "{new}.png"], 2, "2"),
        (["morph", "{run}", "Bag", "Sneaker", "--out", "{new}.jpg"], 2, ".gif"),
        (["morph", "{run}", "Bag"], 2, "END"),
        (["sample", "{run}", "-n", "0", "--out", "{new}.png"], 2, "0"),
        (["sample", "{missing}", "--out", "{new}.png"], 1, "{missing}"),
        (["sample", "{run}", "--out", "{empty}"], 2, "{empty}"),
        (["morph", "{run}", "Bag", "--out", "{new}.png"], 2, "START END"),
        (["morph", "{run}", "Bag", "Sneaker", "--all"], 2, "--all"),
        (["morph", "{run}", "Bag", "Sneaker", "--path", "dens", "--out", "{new}.png"], 2, "dens"),
        (["morph", "{run}", "Bag", "Sneaker", "--compare", "--out", "{new}.gif"], 2, ".png"),
        (["blend", "{run}", "Bag", "--out", "{new}.png"], 2, "at least two"),
        (["blend", "{run}", "Bag", "Coat", "--weights", "1", "--out", "{new}.png"], 2, "as many"),
        (["blend", "{run}", "Bag", "Coat", "--weights", "-1", "1", "--out", "{new}.png"], 2, "nought"),
        (["decode", "{run}", "{missing}.csv", "--out", "{new}"], 1, "{missing}.csv"),
        (["decode", "{run}", "{words}", "--out", "{new}"], 1, "{words}"),
        (["decode", "{run}", "{three}", "--out", "{new}"], 1, "3"),
        (["decode", "{run}", "{nan}", "--out", "{new}"], 1, "finite"),
        (["decode", "{run}", "{picture}", "--out", "{new}"], 2, ".csv"),
        (["decode", "{run}", "{two}", "--out", "{full}"], 2, "{full}"),
        (["encode", "{run}", "{missing}", "--out", "{new}.csv"], 2, "{missing}"),
        (["encode", "{run}", "{empty}", "--out", "{new}.csv"], 1, "{empty}"),
        (["encode", "{run}", "{corrupt}", "--out", "{new}.csv"], 1, "{corrupt}"),
        (["encode", "{run}", "{other_size}", "--out", "{new}.csv"], 1, "28"),
        (["encode", "{run}", "{picture}", "--out", "{new}.xls"], 2, ".csv"),
        (["encode", "{run}", "{picture}", "--out", "{new}.csv", "--refine", "-1"], 2, "-1"),
        (["encode", "{run}", "{picture}", "--out", "{picture}/z.csv"], 1, "{picture}"),
        (["recipes", "vea"], 2, "'vae'"),
        (["trian", "garments"], 2, "train"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_input_ends_in_one_line(call, run, tmp_path, arguments, code, part, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = wrong_places(tmp_path, run)
    before = everything(tmp_path)
    found, _, said = call(*(argument.format(**places) for argument in arguments))
    assert found == code, said
    one_line(said, part.format(**places))
    assert everything(tmp_path) == before, "something was left behind"


def wrong_places(folder: Path, run: Path) -> dict[str, Path]:
    """Files and folders that a command cannot use, and some that it can."""
    places = {name: folder / name for name in ("missing", "empty", "new", "full")}
    places |= {name: folder / f"{name}.csv" for name in ("words", "three", "two", "nan")}
    places |= {"run": run, "picture": folder / "picture.png", "corrupt": folder / "corrupt.png"}
    places["other_size"] = folder / "other.npy"
    places["empty"].mkdir()
    places["full"].mkdir()
    (places["full"] / "something").write_text("here")
    places["words"].write_text("a,b\nc,d\n")
    places["three"].write_text("1,2,3\n")
    places["two"].write_text("0.5,-0.5\n1,1\n")
    places["nan"].write_text("0.5,nan\n")
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(places["picture"])
    places["corrupt"].write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    np.save(places["other_size"], np.zeros((3, 20, 20), np.uint8))
    return places


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_a_table_without_pyarrow_names_the_extra(call, run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    np.save(tmp_path / "x.npy", np.zeros((2, 28, 28), np.uint8))
    code, _, said = call("encode", run, tmp_path / "x.npy", "--out", tmp_path / "z.parquet")
    assert code == 1
    one_line(said, "morphospace[parquet]")


def test_no_data_and_no_network_has_an_exit_code_of_its_own(call, tmp_path, monkeypatch):
    """`make demo` goes on with `garments` on this code alone."""
    monkeypatch.setenv("MORPHOSPACE_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    code, _, said = call("train", "fashion-mnist", "--out", tmp_path / "run", *TINY)
    assert code == 3
    assert said.startswith("error: ")
    assert "Traceback" not in said
    assert str(tmp_path) in said
    assert "'garments' needs no files" in said


def test_a_run_of_another_format_is_refused(call, run, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"format": 99}))
    code, _, said = call("info", tmp_path)
    assert code == 1
    one_line(said, "99")


HARD_PLACES = """
import sys, subprocess
from pathlib import Path
from morphospace import cli, recipes
from morphospace.cli.progress import _Lines
from morphospace.cli.verbs import ANY_SHAPE
folder, run = Path(sys.argv[1]), sys.argv[2]
mount = lambda *options: subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)], check=True)
table = folder.parent / "z.csv"
table.write_text("0,0\\n" * 400)
pixels = folder.parent / "x.npy"
import numpy as np
np.save(pixels, np.zeros((900, 28, 28), np.uint8))
commands = [
    ["train", "garments", "--count", "300", "--size", "tiny", "--epochs", "0.5", "--out", str(folder / "run")],
    ["morph", run, "Bag", "Sneaker", "--out", str(folder / "m.png")],
    ["morph", run, "Bag", "Sneaker", "--out", str(folder / "m.gif")],
    ["sample", run, "--out", str(folder / "s.png")],
    ["decode", run, str(table), "--out", str(folder / "d")],
    ["encode", run, str(pixels), "--out", str(folder / "z.csv")],
]
for options in (["-o", "ro"], ["-o", "size=4k"]):
    mount(*options)
    for command in commands:
        print(options[1], command[0], cli.run(command), *sorted(p.name for p in folder.iterdir()), flush=True)
        subprocess.run(f"rm -rf {folder}/run", shell=True)
    subprocess.run(["umount", str(folder)], check=True)
"""


def test_read_only_targets_and_full_disks(run, tmp_path):
    """On real file systems: one that may only be read, and one of a single page."""
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system of his own")
    (tmp_path / "place").mkdir()
    command = [
        "unshare",
        "-rm",
        sys.executable,
        "-c",
        HARD_PLACES,
        str(tmp_path / "place"),
        str(run.resolve()),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr
    results = [line.split() for line in done.stdout.splitlines() if line.startswith(("ro ", "size="))]
    assert len(results) == 12, done.stdout
    assert all(code == "1" for _, _, code, *_ in results), done.stdout
    # Nothing half-written: a run that could not begin may have left its folder, and whole files in it.
    assert all(set(left) <= {"run"} for _, _, _, *left in results), done.stdout
    said = done.stderr
    assert said.count("error: ") == 12
    assert "may only be read" in said
    assert "the disk is full" in said


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def interrupted() -> None:
        with atomic(path) as temporary:
            temporary.write_text("new, but not w")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [left.name for left in tmp_path.iterdir()] == ["table.csv"]


def test_lines_are_few_and_only_for_long_work(monkeypatch, capsys):
    clock = iter(range(1000))
    now = [0.0]
    monkeypatch.setattr("morphospace.cli.progress.time.monotonic", lambda: now[0])
    lines = _Lines()
    for _ in clock:  # a thousand steps of 20 ms, with a test of half a second now and then
        now[0] += 0.02
        done = round(now[0] / 0.02)
        lines("training", done, 1000, {"rate": 6.5})
        if done % 100 == 0:
            lines("testing", 1, 2)
            lines("testing", 2, 2)
    said = capsys.readouterr().err.splitlines()
    assert all(line.startswith("training") for line in said)
    assert 4 <= len(said) <= 6  # twenty seconds, after two of patience one line in five
    assert "18 s left" in said[0]
    assert said[-1] == "training: 1000 of 1000, rate 6.50, 20 s"


def test_the_precision_is_chosen_and_kept(call, tmp_path):
    out = tmp_path / "run"
    options = ("--count", 60, "--size", "tiny", "--epochs", 1, "--no-report")
    assert call("train", "garments", *options, "--out", out, "--precision", "bfloat16")[0] == 0
    assert json.loads(call("info", out, "--json")[1])["precision"] == "bfloat16"
    code, _, said = call("train", "garments", *options, "--out", tmp_path / "other", "--precision", "float16")
    assert code == 2
    assert "bfloat16" in said
