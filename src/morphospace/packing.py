"""A small copy of a run, to be handed on: a few megabytes, none of its images, and all that a space is used with.

    packed = pack(Space.load("runs/fashion-mnist"), images, "fashion-mnist")

It is a run's folder like any other, held together by the same hashes, with everything rounded:

* weights as float16; whoever loads them computes in float32;
* latents by steps of an eighth of a narrow posterior, deviations to within 0.8 %;
* of the atlas what the latents do not tell, on a coarser grid (`morphospace.atlas.store.COARSE`).

Every figure in it, −ELBO and those of the atlas, is measured anew, of the rounded weights and latents. Metrics, report
and figures stay behind.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from morphospace.atlas import make_atlas, read_atlas, read_estimates, save_atlas
from morphospace.atlas.map import require_plane
from morphospace.coarse import Steps
from morphospace.data.images import Images
from morphospace.files import write_text
from morphospace.fitting import encode_own, measured
from morphospace.latents import Latents
from morphospace.report import write_card
from morphospace.report.card import compared_with_run
from morphospace.space import Space
from morphospace.training.checkpoint import save_tensors, sha256
from morphospace.training.config import config_sha256, read_config, require_same_images, write_config
from morphospace.types import Progress, RunError, UsageError, silent

__all__ = ["CELLS", "Packed", "pack", "require_packable"]

CELLS = 256
"""Of the packed atlas along each side: as many as paths are looked for on."""
SPLITS = ("test", "train")
NARROW = 0.05
"""The quantile of the posteriors' deviations that the step of their means is an eighth of: rounding then adds 0.13 %
to the variance of a posterior that is so narrow, and less to others."""


@dataclass(frozen=True, eq=False)
class Packed:
    """What was packed.

    Attributes:
        space: as it is loaded from its folder.
        size: bytes of the folder.
        compared: of each figure that was known of the run, its value there and here.
        notes: what is not in it, and why.
    """

    space: Space
    size: int
    compared: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...]


def pack(
    space: Space,
    images: Images,
    out: str | os.PathLike[str],
    *,
    cells: int = CELLS,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Packed:
    """Write a small copy of a run into a new folder.

    Args:
        space: a finished run, whose points are any numbers: a plane of any dimension.
        images: those that it was trained on, to measure the copy by.
        out: the folder; it appears when all of it is written, and its name is the space's.
        cells: of the atlas along each side, for a space that has a map.
        seed: of the samples that the atlas is judged by.
        overwrite: replace a packed space that is there.
        progress: told of the work.

    Raises:
        UsageError: for a space that is no plane, is packed already, or has no folder; for an ``out`` that is taken.
        RunError: if the images are not those of the run.
    """
    target = Path(out)
    require_same_images(images, space.config, require_packable(space, target, overwrite=overwrite))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / (target.resolve().name or "space")
        _write(space, images, folder, progress)
        packed, notes = Space.load(folder), []
        if packed.fit_sampler(progress) is not None:
            packed.save_sampler(folder)
        try:
            require_plane(packed)
        except UsageError as reason:
            notes.append(f"without an atlas: {reason}")
        else:
            save_atlas(
                make_atlas(packed, images, cells=cells, seed=seed, progress=progress), packed, packed=True
            )
        write_card(packed)
        compared = compared_with_run(_checked(folder, mapped=not notes))
        _put(folder, target)
    size = sum(file.stat().st_size for file in target.iterdir())
    return Packed(Space.load(target), size, compared, tuple(notes))


def require_packable(space: Space, out: Path, *, overwrite: bool = False) -> Path:
    """The folder of a space that can be packed, to a place that is free; what `pack` refuses before it needs images.

    Raises:
        UsageError: saying why it cannot.
    """
    _require_room(out, overwrite)
    holders = [n for n, t in space.model.state_dict().items() if tuple(t.shape[-3:]) == space.spec.shape]
    if space.folder is None:
        reason = "it has no folder; save it first: space.save('runs/NAME')"
    elif "packed" in space.config:
        reason = "it is packed already; copy its folder"
    elif not space.model.encoder.family.plane:
        reason = "its points are not any numbers, and rounded ones would be none of them"
    elif holders:
        reason = f"it is made of images ({', '.join(holders)}), and a copy would hold them"
    else:
        return space.folder
    raise UsageError(f"this space cannot be packed: {reason}")


def _write(space: Space, images: Images, folder: Path, progress: Progress) -> None:
    """The rounded space, but for what is made of its latents."""
    assert space.folder is not None
    folder.mkdir()
    weights = {name: _halved(name, tensor) for name, tensor in space.model.state_dict().items()}
    run = {"weights": "float16", "run_sha256": sha256(space.folder / "model.safetensors")}
    config = {**space.config, "packed": run}
    write_config(folder, config)
    save_tensors(folder / "model.safetensors", weights, {"config_sha256": config_sha256(config)})
    write_text(folder / "results.json", "{}\n")
    packed = Space.load(folder)
    before = {name: space.results[name] for name in SPLITS if name in space.results}
    after = measured(packed.model, packed.recipe, images, packed.settings, progress) if before else {}
    rest = {name: value for name, value in space.results.items() if name not in SPLITS}
    mapped = read_estimates(space.folder)
    if mapped is not None:
        before["atlas"] = {name: figure.value for name, figure in mapped[0].items()}
    write_text(
        folder / "results.json", json.dumps({**after, **rest, "before_packing": before}, indent=1) + "\n"
    )
    packed.latents = encode_own(packed, images, progress)
    packed.save_latents(folder, _steps(packed.latents))


def _halved(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    if not torch.isfinite(half).all():
        raise UsageError(f"the weights {name} go up to {tensor.abs().max():g}, which float16 cannot hold")
    return half


def _steps(latents: Latents) -> dict[str, Steps]:
    """How latents are rounded: see the module."""
    scale, span = latents.scale, float(np.ptp(latents.mean))
    narrow = float(np.quantile(scale, NARROW)) if (scale > 0).all() else 0.0
    mean = max(narrow / 8, span / 65_000) or 1.0  # of points without spread, as finely as two bytes tell
    spread = Steps(1 / 64, log=True) if narrow else Steps(max(float(scale.max()) / 65_000, 1e-9))
    return {"mean": Steps(mean), "scale": spread, "splits": Steps(), "labels": Steps()}


def _checked(folder: Path, mapped: bool) -> Space:
    """The space as whoever gets it will load it."""
    found = Space.load(folder)
    if found.latents is None or (mapped and read_atlas(folder) is None):
        raise RunError(f"{folder} was packed and cannot be read again; this is a defect of the package")
    return found


def _require_room(target: Path, overwrite: bool) -> None:
    """Refuse a place that is taken by anything but a packed space that may be replaced."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    try:
        packed = "packed" in read_config(target)
    except RunError:
        packed = False
    if not packed:
        raise UsageError(f"{target} is there already, and is no packed space; choose another --out")
    if not overwrite:
        raise UsageError(f"{target} holds a packed space already; replace it with --overwrite")


def _put(folder: Path, target: Path) -> None:
    """Bring a folder to its place, whole: copied beside it and renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
    try:
        shutil.copytree(folder, beside / "new")
        if target.exists():
            target.rename(beside / "old")
        (beside / "new").rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
