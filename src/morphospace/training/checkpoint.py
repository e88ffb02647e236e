"""Checkpoints that are whole or not there: tensors in safetensors, the rest in JSON, a manifest last, no pickle.

A checkpoint is a folder ``checkpoints/step-00001200``. It is written beside its place under another name, every file
fsynced, with ``manifest.json`` (the SHA-256 of each file) last, and then renamed. A reader takes the newest one whose
manifest verifies.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from morphospace.coarse import Steps, coarsened, restored
from morphospace.files import sync_folder, write_bytes
from morphospace.types import RunError

__all__ = [
    "load_arrays",
    "load_newest",
    "load_tensors",
    "remove_all",
    "save_arrays",
    "save_checkpoint",
    "save_tensors",
    "sha256",
]

KEPT = 2
"""How many checkpoints stay: the newest, and one more should its disk fail it."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str] | None = None) -> None:
    """Write tensors to a safetensors file, whole or not at all; equal content gives equal bytes."""
    # safetensors writes several entries of a header in an order that differs from one call to the next.
    assert header is None or len(header) == 1
    # Plain row-major copies: a file's bytes then depend on the values alone, not on how a device laid them out.
    plain = {name: t.detach().cpu().contiguous() for name, t in sorted(tensors.items())}
    write_bytes(path, save(plain, dict(header) if header else None))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        RunError: if it is missing or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise RunError(f"{path} is missing; train again, or continue with --resume") from None
    except Exception as error:  # safetensors raises its own type, undocumented as to kinds
        raise RunError(f"{path} is damaged ({error}); train again, or restore it from a copy") from None


def save_arrays(
    path: Path, arrays: Mapping[str, NDArray[Any]], owner: str, coarse: Mapping[str, Steps] | None = None
) -> None:
    """Write what was made of some weights, with their SHA-256, ``owner``; arrays named in ``coarse`` by their steps."""
    about, tensors = {}, {}
    for name, values in arrays.items():
        if coarse and name in coarse:
            values, about[name] = coarsened(values, coarse[name])
        tensors[name] = torch.from_numpy(np.array(values, order="C"))
    header = {"model_sha256": owner}
    if about:
        header = {"about": json.dumps({**header, "coarse": about}, sort_keys=True)}
    save_tensors(path, tensors, header)


def load_arrays(path: Path) -> tuple[str | None, dict[str, NDArray[Any]]]:
    """What `save_arrays` wrote: the hash of the weights that it was made of, and the arrays.

    Raises:
        Exception: of several kinds, if the file is missing or damaged.
    """
    with safe_open(path, "np") as file:
        header = file.metadata() or {}
        about = json.loads(header["about"]) if "about" in header else header
        coarse = about.get("coarse", {})
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    arrays = {name: restored(v, coarse[name]) if name in coarse else v for name, v in found.items()}
    return about.get("model_sha256"), arrays


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Tensor], record: Mapping[str, Any]
) -> None:
    """Commit a checkpoint of ``step`` below ``folder`` and drop those older than the last two."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(".writing-*"):
        shutil.rmtree(stale, ignore_errors=True)
    final = folder / f"step-{step:08d}"
    temporary = folder / f".writing-{final.name}"
    temporary.mkdir()
    try:
        save_tensors(temporary / "state.safetensors", tensors)
        write_bytes(temporary / "state.json", json.dumps({"step": step, **record}).encode())
        sums = {file.name: sha256(file) for file in sorted(temporary.iterdir())}
        write_bytes(temporary / "manifest.json", json.dumps(sums).encode())
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        sync_folder(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in _steps(folder)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def load_newest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and record of the newest checkpoint that verifies, or None if there is none."""
    for candidate in _steps(folder):
        if _verifies(candidate):
            record = json.loads((candidate / "state.json").read_text())
            return load_tensors(candidate / "state.safetensors"), record
    return None


def remove_all(folder: Path) -> None:
    """Remove every checkpoint: the run is finished."""
    shutil.rmtree(folder, ignore_errors=True)


def _steps(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _verifies(checkpoint: Path) -> bool:
    try:
        sums = json.loads((checkpoint / "manifest.json").read_text())
        return bool(sums) and all(sha256(checkpoint / name) == digest for name, digest in sums.items())
    except (OSError, ValueError, AttributeError):
        return False


def sha256(file: Path) -> str:
    """SHA-256 of a file's bytes."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def flatten_optimizer(prefix: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state as named tensors."""
    state = optimizer.state_dict()["state"]
    return {f"{prefix}.{i}.{name}": value for i, entry in state.items() for name, value in entry.items()}


def restore_optimizer(prefix: str, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put tensors of `flatten_optimizer` back, each in the memory layout of the parameter that it belongs to."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(prefix + "."):
            number, name = key[len(prefix) + 1 :].split(".", 1)
            parameter = parameters[int(number)]
            # Fused updates walk through memory, so a moment must be laid out as its parameter is.
            like = value.shape == parameter.shape and value.dim() > 0
            state.setdefault(int(number), {})[name] = (
                torch.empty_like(parameter).copy_(value) if like else value
            )
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
