"""The files of the page say what the space and its map say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fixtures.programs import run as run_program
from morphospace import cli, recipes
from morphospace.atlas.decoded import stretch
from morphospace.explorer import Site, export_site, make_site
from morphospace.explorer.contents import MOST_CLASSES, places_of, ways_refused
from morphospace.fitting import fit
from morphospace.morphing import Place, ground_of, scored
from morphospace.space import Space
from morphospace.types import RunError, UsageError

STATIC = Path(__file__).parents[2] / "src" / "morphospace" / "explorer" / "static"
PAGE = {
    "index.html",
    "style.css",
    "icon.svg",
    "main.js",
    "map.js",
    "data.js",
    "decoder.js",
    "path.js",
    "pictures.js",
}


def record_of(site: Site) -> dict:
    return json.loads(site.read("space.json"))


def arrays_of(site: Site) -> dict[str, np.ndarray]:
    content = site.read("map.bin")
    found = {}
    for name, entry in record_of(site)["arrays"].items():
        count = int(np.prod(entry["shape"]))
        found[name] = np.frombuffer(content, f"<{entry['kind']}", count, entry["at"]).reshape(entry["shape"])
    return found


def test_the_files_are_the_page_and_the_numbers(site):
    assert set(site.names) == PAGE | {"space.json", "map.bin", "decoder.bin", "paths.json"}
    for name in PAGE:
        assert site.read(name) == (STATIC / name).read_bytes()
    with pytest.raises(KeyError):
        site.read("../pyproject.toml")


def test_the_fields_are_those_of_the_map(site, mapped):
    space, atlas = mapped
    record, arrays = record_of(site), arrays_of(site)
    assert record["box"]["cells"] == [40, 40]
    np.testing.assert_allclose(record["box"]["low"], atlas.grid.low)
    np.testing.assert_array_equal(arrays["posterior"], atlas.posterior.astype(np.float32))
    np.testing.assert_array_equal(arrays["prior"], atlas.prior.astype(np.float32))
    np.testing.assert_allclose(arrays["stretch"], stretch(atlas.metric), rtol=1e-6)
    np.testing.assert_array_equal(arrays["first"][0], atlas.winners)
    some = atlas.posterior > 0
    share = atlas.by_class.max(0)[some] / atlas.posterior[some]
    np.testing.assert_allclose(arrays["shares"][0][some] / 255, share, atol=0.5001 / 255)
    assert (arrays["shares"][:, ~some] == 0).all()
    assert (arrays["shares"].sum(0, dtype=int) <= 256).all()
    assert "recognised" not in arrays
    np.testing.assert_array_equal(arrays["samples"], space.draw(512).numpy())
    low, high = np.array(record["view"]["low"]), np.array(record["view"]["high"])
    assert (low >= atlas.grid.low).all()
    assert (high <= atlas.grid.high).all()
    inside = atlas.grid.points[((atlas.grid.points >= low) & (atlas.grid.points <= high)).all(1)]
    assert atlas.grid.interpolate(atlas.posterior, inside).sum() * atlas.grid.cell > 0.99


def test_dots_are_training_images(site, mapped):
    space, _ = mapped
    arrays = arrays_of(site)
    train = space.known_latents().train
    np.testing.assert_array_equal(arrays["dots"], train.mean)
    np.testing.assert_array_equal(arrays["dot_classes"], train.labels)


def test_the_checks_are_torch_s_pictures_and_the_program_s(site, mapped):
    space, _ = mapped
    arrays, program = arrays_of(site), record_of(site)["decoder"]
    np.testing.assert_allclose(
        arrays["check_pictures"], space.decode(arrays["check_places"]).numpy(), atol=1e-6
    )
    for z, picture in zip(arrays["check_places"], arrays["check_pictures"], strict=True):
        np.testing.assert_allclose(
            run_program(program, site.read("decoder.bin"), z), picture.ravel(), atol=1e-5
        )


def test_paths_are_those_of_morphing(site, mapped):
    space, atlas = mapped
    made = json.loads(site.read("paths.json"))
    assert [(pair["start"], pair["end"]) for pair in made["pairs"]] == [
        ("dot", "bar"), ("dot", "blob"), ("bar", "blob"),
    ]  # fmt: skip
    assert set(made["refused"]) == {"recognisable"}
    first = made["pairs"][0]
    ends = tuple(place.z.astype(np.float64) for place in places_of(space)[:2])
    way = scored(ground_of(space, atlas), "dense", [ends])[0]
    np.testing.assert_allclose(first["ways"]["dense"]["z"], way.z[::2], atol=6e-5)
    assert first["ways"]["dense"]["in_holes"] == way.scores.record()["in_holes"]
    assert first["best"] in first["ways"]
    assert first["why"].startswith(first["best"])


def test_paths_are_made_once(site):
    calls = []
    once = Site({}, {"late": lambda told: calls.append(told) or b"made"})
    assert [once.read("late"), once.read("late")] == [b"made", b"made"]
    assert len(calls) == 1


def test_many_classes_have_no_paths_beforehand():
    places = [Place(str(i), np.zeros(2, np.float32)) for i in range(MOST_CLASSES + 1)]
    assert "78 pairs" in (ways_refused(places) or "")
    assert ways_refused(places[:-1]) is None
    assert ways_refused([])


def test_a_run_without_map_or_classes(tmp_path):
    from fixtures.small import make_images

    images = make_images(60, (3, 9, 8), classes=())
    space = fit(recipes.ae(images.spec, latent=2, size="tiny"), images, steps=10, out=tmp_path / "run")
    site = make_site(space)
    record, arrays = record_of(site), arrays_of(site)
    assert record["classes"] == []
    assert "first" not in arrays
    assert [place["name"] for place in record["places"]][:2] == ["cluster 1", "cluster 2"]
    assert not (tmp_path / "run" / "atlas.json").exists()


def test_a_run_whose_latents_are_gone(mapped, tmp_path):
    """The map and the sampler suffice; without the map, one line says what is missing."""
    folder = Path(shutil.copytree(mapped[0].folder, tmp_path / "run"))
    (folder / "latents.safetensors").unlink()
    site = make_site(Space.load(folder))
    assert "dots" not in arrays_of(site)
    assert record_of(site)["places"] == []
    assert "paths.json" not in site.names
    (folder / "atlas.json").unlink()
    with pytest.raises(RunError, match="latents"):
        make_site(Space.load(folder))


@pytest.mark.parametrize(
    ("name", "latent", "words"), [("vae", 3, "two dimensions"), ("hyperspherical", 3, "no plane")]
)
def test_other_spaces_are_refused_in_words(images, tmp_path, name, latent, words):
    recipe = recipes.get(name, images.spec, {"latent": latent, "size": "tiny"})
    space = fit(recipe, images, steps=2, out=tmp_path / "run")
    with pytest.raises(UsageError, match=words):
        make_site(space)


def test_export_writes_what_the_site_has(site, tmp_path):
    folder = tmp_path / "out"
    export_site(site, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name: site.read(name) for name in site.names
    }
    with pytest.raises(UsageError, match="new folder"):
        export_site(site, folder)


def test_nothing_is_asked_of_anywhere_else():
    """No address but that of a name space stands in the page, and nothing inline that the policy would refuse."""
    for path in STATIC.iterdir():
        text = path.read_text()
        assert set(
            re.findall(r"\b(?:https?:)?//[\w.]+", re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
        ) <= {"http://www.w3.org"}, path.name
    html = (STATIC / "index.html").read_text()
    assert "style=" not in html
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=", html)
    for target in re.findall(r'(?:src|href)="([^"]+)"', html):
        assert (STATIC / target).is_file()
    for module in STATIC.glob("*.js"):
        for target in re.findall(r'from "\./([^"]+)"', module.read_text()):
            assert (STATIC / target).is_file()


WITH_NODE = """
import { readFileSync } from "node:fs";
import { Fields } from "./data.js";
import { along, straight } from "./path.js";
const about = JSON.parse(readFileSync("space.json"));
const kinds = { f4: Float32Array, u2: Uint16Array, u1: Uint8Array };
const bytes = readFileSync("map.bin");
const map = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
const arrays = {};
for (const [name, { kind, shape, at }] of Object.entries(about.arrays))
  arrays[name] = new kinds[kind](map, at, shape.reduce((a, b) => a * b, 1));
const fields = new Fields({ about, arrays });
const places = JSON.parse(readFileSync("places.json")).map((z) => fields.place(z));
const line = await straight(([x, y]) => [x * x, y], fields, [0, 0], [2, 0]);
console.log(JSON.stringify({ places, line, middle: along(line.z, 0.5) }));
"""


def test_the_page_s_modules_read_the_fields_as_the_map_does(site, mapped, tmp_path):
    if shutil.which("node") is None:
        pytest.skip("node, which runs the page's modules here, is not installed")
    _, atlas = mapped
    for name in ("data.js", "path.js", "pictures.js", "space.json", "map.bin"):
        (tmp_path / name).write_bytes(site.read(name))
    low, high = atlas.grid.low, atlas.grid.high
    z = np.random.default_rng(0).uniform(low, high, (40, 2))
    (tmp_path / "places.json").write_text(json.dumps(z.tolist()))
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "run.js").write_text(WITH_NODE)
    done = subprocess.run(["node", "run.js"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    q, p = (atlas.grid.interpolate(field, z) for field in (atlas.posterior, atlas.prior))
    np.testing.assert_allclose([place["q"] for place in made["places"]], q, rtol=1e-4, atol=1e-12)
    assert [place["hole"] for place in made["places"]] == (q < 0.1 * p).tolist()
    rows = np.abs(atlas.grid.y[:, None] - z[:, 1]).argmin(0)
    columns = np.abs(atlas.grid.x[:, None] - z[:, 0]).argmin(0)
    assert [place["leading"][0]["c"] for place in made["places"]] == atlas.winners[rows, columns].tolist()
    # The picture at x is x², so that a line which is even in the picture is a root, and 4 long.
    assert made["line"]["length"] == pytest.approx(4)
    np.testing.assert_allclose(np.square(np.array(made["line"]["z"])[:, 0]), np.linspace(0, 4, 65), atol=0.02)
    assert made["middle"][0] == pytest.approx(2**0.5, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["{missing}"], 1, "{missing}"),
        (["{run}", "--port", "70000"], 2, "65535"),
        (["{run}", "--export", "{full}"], 2, "new folder"),
        (["{run}", "--export", "{missing}", "--port", "0"], 2, "--export"),
    ],
)
def test_wrong_input_ends_in_one_line(mapped, tmp_path, capsys, arguments, code, part):
    full = tmp_path / "full"
    full.mkdir()
    (full / "something").write_text("here")
    places = {"missing": tmp_path / "missing", "run": mapped[0].folder, "full": full}
    capsys.readouterr()
    assert cli.run(["explore", *(argument.format(**places) for argument in arguments)]) == code
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("error: ")
    assert part.format(**places) in said[-1]
    assert not places["missing"].exists()


def test_the_command_exports(mapped, tmp_path, capsys):
    folder = tmp_path / "page"
    assert cli.run(["explore", str(mapped[0].folder), "--export", str(folder)]) == 0
    assert (folder / "index.html").is_file()
    assert str(folder) in capsys.readouterr().out
