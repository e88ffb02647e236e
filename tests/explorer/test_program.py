"""The decoder as a program gives what torch gives: computed with numpy, and by the page's own module where node is."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.resources import files

import numpy as np
import pytest
import torch

from fixtures.programs import run
from morphospace import recipes
from morphospace.explorer.contents import decoder_files
from morphospace.explorer.program import program_of
from morphospace.model import VAE
from morphospace.recipes import registry
from morphospace.types import ImageSpec, UsageError

SPEC = ImageSpec(1, 28, 28)
NAMES = [name for theme in registry.themes().values() for name in theme]
OTHERS = ("class-prior", "cvae", "m2")
"""Recipes of models that are told of classes: they have no one map."""
Z = np.array([[0.0, 0.0], [0.7, -1.3], [-4.0, 3.0]], dtype=np.float32)


def model_of(name: str, spec: ImageSpec = SPEC) -> VAE:
    """An untrained model whose every weight, biases and noughts too, says something."""
    torch.manual_seed(0)
    model = (
        recipes.get(name, spec, {"latent": 2} if name not in ("vq", "fsq", "residual-vq") else {})
        .build()
        .model
    )
    with torch.no_grad():
        for weight in model.decoder.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    return model.eval().requires_grad_(False)


def torch_of(model: VAE) -> np.ndarray:
    with torch.no_grad():
        return model.decode(torch.from_numpy(Z)).flatten(1).numpy()


def test_every_recipe_of_a_plane_has_a_program():
    """In numpy, from the very files: no difference to torch but that of rounding."""
    seen = set()
    for name in NAMES:
        if name in OTHERS:
            continue
        model = model_of(name)
        if not model.encoder.family.plane or model.decoder.network.input_shape != (2,):
            continue
        record, content = decoder_files(model)
        made = np.stack([run(record, content, z) for z in Z])
        np.testing.assert_allclose(made, torch_of(model), atol=1e-4, err_msg=name)
        seen.add(name)
    assert {"vae", "reference", "gaussian", "ladder", "logistic-mixture", "categorical-pixels"} <= seen


@pytest.mark.parametrize("shape", [(3, 16, 24), (1, 9, 11), (3, 64, 40)])
def test_images_of_other_shapes(shape):
    model = model_of("vae", ImageSpec(*shape))
    record, content = decoder_files(model)
    made = np.stack([run(record, content, z) for z in Z])
    assert made.shape[1] == np.prod(shape)
    np.testing.assert_allclose(made, torch_of(model), atol=1e-4)


def test_what_the_page_cannot_compute_is_named(monkeypatch):
    model = model_of("vae")
    monkeypatch.setattr(model, "decode", lambda z: torch.linalg.det(z.T @ z))
    with pytest.raises(UsageError, match="cannot compute this space's decoder"):
        program_of(model)


def test_a_picture_that_does_not_depend_on_z_is_refused(monkeypatch):
    model = model_of("vae")
    monkeypatch.setattr(model, "decode", lambda z: torch.ones(len(z), *SPEC.shape))
    with pytest.raises(UsageError, match="does not depend on z"):
        program_of(model)


def test_checks_of_distributions_are_as_before():
    before = torch.distributions.Distribution._validate_args
    program_of(model_of("vae"))
    assert torch.distributions.Distribution._validate_args == before


WITH_NODE = """
import { readFileSync } from "node:fs";
import { makeDecoder } from "./decoder.js";
const found = JSON.parse(readFileSync("cases.json")).map(({ record, file, z }) => {
  const bytes = readFileSync(file);
  const decode = makeDecoder(record, bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  return z.map((place) => Array.from(decode(place)));
});
console.log(JSON.stringify(found));
"""


def test_the_page_s_module_decodes_as_torch_does(tmp_path):
    """Steps of every kind, by the module that the browser runs."""
    if shutil.which("node") is None:
        pytest.skip("node, which runs the page's module here, is not installed")
    names = [
        "vae",
        "reference",
        "ladder",
        "continuous-bernoulli",
        "logistic-mixture",
        "categorical-pixels",
        "pixel-sigma",
    ]
    cases, expected, kinds = [], [], set()
    for name in names:
        model = model_of(name)
        record, content = decoder_files(model)
        (tmp_path / f"{name}.bin").write_bytes(content)
        cases.append({"record": record, "file": f"{name}.bin", "z": Z.tolist()})
        expected.append(torch_of(model))
        kinds |= {step["op"] for step in record["steps"]}
    assert kinds == {"linear", "conv", "gather", "map", "pair", "where", "constant", "softmax", "sum"}
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "run.js").write_text(WITH_NODE)
    module = files("morphospace.explorer") / "static" / "decoder.js"
    (tmp_path / "decoder.js").write_bytes(module.read_bytes())
    done = subprocess.run(["node", "run.js"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, made, wanted in zip(names, json.loads(done.stdout), expected, strict=True):
        np.testing.assert_allclose(np.array(made), wanted, atol=1e-4, err_msg=name)
