"""An atlas in a run's folder: ``atlas.json``, its figures, and ``atlas.safetensors``, its fields; both deletable."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

import morphospace
from morphospace.atlas.grid import Grid
from morphospace.atlas.map import Atlas
from morphospace.evaluation.records import Figure
from morphospace.files import write_text
from morphospace.space import Space
from morphospace.training.checkpoint import save_tensors, sha256
from morphospace.types import UsageError

__all__ = ["FIELDS", "FILE", "read_atlas", "read_estimates", "record_of", "save_atlas", "save_estimates"]

FILE, FIELDS = "atlas.json", "atlas.safetensors"
FORMAT = 1
STORED = ("prior", "by_class", "sampler", "former", "recognition", "metric", "nearest")


def record_of(atlas: Atlas) -> dict[str, Any]:
    """What ``atlas.json`` says: the figures with definitions and errors, the holes, and the classes' overlaps."""
    regions = atlas.grid.integral(atlas.by_class)
    return {
        "box": {
            "low": atlas.grid.low.tolist(),
            "high": atlas.grid.high.tolist(),
            "cells": list(atlas.grid.shape),
        },
        "classes": list(atlas.classes),
        "class_shares": [round(float(v), 6) for v in regions] if atlas.classes else [],
        "figures": {name: figure.to_json() for name, figure in atlas.figures.items()},
        "overlap": _rows(atlas.overlap, 6),
        "overlap_error": _rows(atlas.overlap_error, 8),
        "holes": [
            {
                "mass": round(hole.mass, 7),
                "area": round(hole.area, 5),
                "centre": [round(v, 4) for v in hole.centre],
                "reaches_the_edge": hole.outer,
                "outline": [np.round(line, 3).tolist() for line in hole.outline],
            }
            for hole in atlas.holes.regions
        ],
        "nearest_step": atlas.nearest_step,
        "classifier": atlas.classifier,
        "notes": list(atlas.notes),
    }


def _rows(matrix: np.ndarray | None, places: int) -> list[list[float | None]] | None:
    """As JSON has it: null where there is no number."""
    if matrix is None:
        return None
    return [[round(v, places) if math.isfinite(v) else None for v in row] for row in matrix.tolist()]


def _matrix(rows: list[list[float | None]] | None) -> np.ndarray | None:
    return None if rows is None else np.array(rows, dtype=np.float64)


def save_atlas(atlas: Atlas, space: Space) -> Path:
    """Write an atlas into its space's folder, tied to the hash of the weights; the path of ``atlas.json``.

    Raises:
        UsageError: if the space has no folder.
    """
    folder = _folder(space)
    weights = sha256(folder / "model.safetensors")
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(value))
        for name in STORED
        if (value := getattr(atlas, name)) is not None
    }
    tensors |= {"x": torch.from_numpy(atlas.grid.x), "y": torch.from_numpy(atlas.grid.y)}
    save_tensors(folder / FIELDS, tensors, {"model_sha256": weights})
    _write(folder, weights, record_of(atlas))
    return folder / FILE


def save_estimates(figures: Mapping[str, Figure], notes: Sequence[str], space: Space) -> dict[str, Any]:
    """Write the figures of a space that has no map into its folder's ``atlas.json``; its record.

    Raises:
        UsageError: if the space has no folder.
    """
    folder = _folder(space)
    record = {
        "figures": {name: figure.to_json() for name, figure in figures.items()},
        "notes": list(notes),
    }
    (folder / FIELDS).unlink(missing_ok=True)
    _write(folder, sha256(folder / "model.safetensors"), record)
    return record


def read_estimates(folder: Path) -> tuple[dict[str, Figure], list[str]] | None:
    """The figures in a run's ``atlas.json``, of a map or estimates, and notes; None if it is not of its weights."""
    try:
        record = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if record["format"] != FORMAT or record["model_sha256"] != sha256(folder / "model.safetensors"):
            return None
        figures = {name: _figure(entry) for name, entry in record["figures"].items()}
        return figures, list(record["notes"])
    except Exception:  # a damaged one is as good as none: it is made again
        return None


def _folder(space: Space) -> Path:
    if space.folder is None:
        raise UsageError("this space has no folder to write into; save it first: space.save('runs/NAME')")
    return space.folder


def _write(folder: Path, weights: str, record: Mapping[str, Any]) -> None:
    head = {"format": FORMAT, "morphospace": morphospace.__version__, "model_sha256": weights}
    write_text(folder / FILE, json.dumps({**head, **record}, indent=1, ensure_ascii=False) + "\n")


def read_atlas(folder: Path) -> Atlas | None:
    """The atlas in a run's folder, if it is there, whole, and of its weights."""
    try:
        record = json.loads((folder / FILE).read_text(encoding="utf-8"))
        weights = sha256(folder / "model.safetensors")
        with safe_open(folder / FIELDS, "np") as file:
            owner = (file.metadata() or {}).get("model_sha256")
            if not (record["format"] == FORMAT and record["model_sha256"] == owner == weights):
                return None
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        grid = Grid(arrays.pop("x"), arrays.pop("y"))
        return Atlas(
            grid=grid,
            classes=tuple(record["classes"]),
            nearest_step=record["nearest_step"],
            overlap=_matrix(record["overlap"]),
            overlap_error=_matrix(record["overlap_error"]),
            figures={name: _figure(entry) for name, entry in record["figures"].items()},
            notes=tuple(record["notes"]),
            classifier=record["classifier"],
            **arrays,
        )
    except Exception:  # a damaged one is as good as none: it is made again
        return None


def _figure(entry: dict[str, Any]) -> Figure:
    value = entry["value"]
    return Figure(**{**entry, "value": math.nan if value is None else value})
