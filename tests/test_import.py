"""Importing has no side effects and costs nothing; every public name is there."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import morphospace

HEAVY = (
    "torch",
    "numpy",
    "scipy",
    "sklearn",
    "matplotlib",
    "PIL",
    "jaxtyping",
    "safetensors",
    "cyclopts",
    "rich",
)

NOTHING_HAPPENS = """
import importlib, logging, os, random, signal, sys, warnings
import {heavy}
# What the packages that ours builds on change at import is their own affair: all of it happens before we look.
import torch._dynamo, torch.distributions, sklearn.cluster, scipy.stats, matplotlib.pyplot, numpy as np

def state():
    return {{
        "torch's generator": torch.get_rng_state().tolist(),
        "numpy's generator": np.random.get_state()[1].tolist(),
        "python's generator": random.getstate(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "default dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "gradients": torch.is_grad_enabled(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "warnings": list(warnings.filters),
        "handlers": [list(logging.getLogger(name).handlers) for name in (None, "morphospace")],
        "level": logging.getLogger().level,
        "signals": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "backend": matplotlib.get_backend(),
        "style": dict(matplotlib.rcParams),
        "numpy's errors": np.geterr(),
        "pillow's limit": __import__("PIL.Image").Image.MAX_IMAGE_PIXELS,
        "files": sorted(os.listdir()),
        "hooks": (sys.excepthook, sys.displayhook, list(sys.meta_path)),
    }}

before = state()
for name in {modules}:
    importlib.import_module(name)
after = state()
changed = [name for name in before if before[name] != after[name]]
assert not changed, changed
"""


def modules() -> list[str]:
    """Every module of the package; running it as a program is no import."""
    found = pkgutil.walk_packages(morphospace.__path__, "morphospace.")
    return [module.name for module in found if not module.name.endswith("__main__")]


def python(code: str, folder) -> str:
    """Run code in a fresh interpreter where warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_imports_nothing_heavy(tmp_path):
    code = f"import sys, morphospace; print(sorted(set(sys.modules) & set({HEAVY!r})))"
    assert python(code, tmp_path).strip() == "[]"


def test_settings_types_and_seeds_of_names_need_no_torch(tmp_path):
    """What a command line needs in order to answer --help or refuse an option."""
    code = "import sys, morphospace.types, morphospace.settings; print('torch' in sys.modules)"
    assert python(code, tmp_path).strip() == "False"


def test_importing_every_module_changes_nothing_global(tmp_path):
    python(
        "import warnings; warnings.simplefilter('error')\n" * 0
        + NOTHING_HAPPENS.format(heavy=", ".join(HEAVY), modules=modules()),
        tmp_path,
    )


@pytest.mark.parametrize("name", modules())
def test_all_names_that_a_module_offers_are_there(name):
    module = importlib.import_module(name)
    for offered in getattr(module, "__all__", []):
        assert hasattr(module, offered), f"{name}.{offered}"


def test_the_package_offers_what_it_says():
    for name in morphospace.__all__:
        assert getattr(morphospace, name) is not None
        assert name in dir(morphospace)
    assert morphospace.fit is importlib.import_module("morphospace.fitting").fit
    assert morphospace.recipes.vae
    assert morphospace.__version__
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = morphospace.fitt
