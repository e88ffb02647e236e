"""``config.json``: what a run was made from, with nothing in it that differs between two equal runs."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

import morphospace
from morphospace.data.images import SPLITS, Images
from morphospace.files import write_text
from morphospace.recipes import Recipe
from morphospace.settings import Settings
from morphospace.types import RunError

__all__ = ["FORMAT", "config_sha256", "describe", "read_config", "require_same_images", "write_config"]

FORMAT = 1

SECTIONS = ("recipe", "images", "training", "machine")


def describe(recipe: Recipe, images: Images, settings: Settings) -> dict[str, Any]:
    """The configuration of a run, JSON-ready."""
    return {
        "format": FORMAT,
        "version": morphospace.__version__,
        "recipe": {"name": recipe.name, "arguments": recipe.arguments},
        "images": {
            "shape": list(recipe.spec.shape),
            "classes": list(images.classes),
            "counts": {name: int((images.splits == i).sum()) for i, name in enumerate(SPLITS)},
            "sha256": images.sha256,
            "source": images.source,
            "policy": images.policy,
            "skipped": [{"path": s.path, "reason": s.reason} for s in images.skipped],
        },
        "training": settings.to_json(),
        "machine": {
            "processor": _processor(),
            "system": f"{platform.system()} {platform.machine()}",
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name() if settings.device == "cuda" else None,
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write ``config.json`` into ``folder``."""
    write_text(folder / "config.json", _text(config))


def config_sha256(config: dict[str, Any]) -> str:
    """SHA-256 of ``config.json`` as `write_config` writes it; the weights' file carries it."""
    return hashlib.sha256(_text(config).encode()).hexdigest()


def read_config(folder: Path) -> dict[str, Any]:
    """A run's configuration.

    Raises:
        RunError: if the folder is not a run, or of a format that this version does not read.
    """
    path = folder / "config.json"
    if not path.is_file():
        what = "has no config.json" if folder.is_dir() else "does not exist"
        raise RunError(f"{folder} {what}, so it is not a run; expected a folder made by 'morphospace train'")
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = config["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read ({error}); restore it, or train again") from None
    if found != FORMAT:
        raise RunError(
            f"{path} has format {found}; this version reads format {FORMAT}. Train again, or update"
        )
    for section in SECTIONS:
        if not isinstance(config.get(section), dict):
            raise RunError(f"{path} is damaged (no section '{section}'); restore it, or train again")
    return config


def require_same_images(images: Images, config: dict[str, Any], folder: Path) -> None:
    """Refuse images that are not those a run was begun with.

    Raises:
        RunError: if their content hash is another.
    """
    expected = str(config["images"].get("sha256"))
    if images.sha256 != expected:
        raise RunError(
            f"the images are not those that {folder} was begun with (content hash {images.sha256[:12]}…, expected "
            f"{expected[:12]}…); bring the same images, or train afresh with --out"
        )


def _text(config: dict[str, Any]) -> str:
    return json.dumps(config, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _processor() -> str:
    """The processor's name, as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
