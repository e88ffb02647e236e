"""An atlas in a run's folder: ``atlas.json``, its figures, and ``atlas.safetensors``, its fields; both deletable.

A packed space (`morphospace.packing`) keeps of its fields only what is dear to find, rounded: the metric, what is
recognised, and the distances to the nearest images. Densities are functions of its latents, its prior and its sampler,
and are computed when the atlas is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

import morphospace
from morphospace.atlas.grid import Grid
from morphospace.atlas.map import Atlas, densities_on
from morphospace.coarse import Steps
from morphospace.evaluation.records import Figure
from morphospace.files import write_text
from morphospace.space import Space
from morphospace.training.checkpoint import load_arrays, save_arrays, sha256
from morphospace.types import UsageError

__all__ = ["FIELDS", "FILE", "read_atlas", "read_estimates", "record_of", "save_atlas", "save_estimates"]

FILE, FIELDS = "atlas.json", "atlas.safetensors"
FORMAT = 1
STORED = ("prior", "by_class", "sampler", "former", "recognition", "metric", "nearest")
COARSE = {
    "recognition": Steps(1 / 255, differences=2),  # probabilities to within 0.002
    "nearest": Steps(0.02, differences=2),  # to within 0.01 of root summed squares of pixels
    "metric_size": Steps(0.01, log=True, differences=2),  # g₁₁, g₂₂ to within 0.5 %: lengths to 0.25 %
    "metric_turn": Steps(0.01, differences=2),  # artanh of their correlation
}
FLATTEST = 1e-9
"""Of g₁₁ and g₂₂, below which a coarse metric does not go."""


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


def save_atlas(atlas: Atlas, space: Space, *, packed: bool = False) -> Path:
    """Write an atlas into its space's folder, tied to the hash of the weights; the path of ``atlas.json``.

    Args:
        atlas: of the space.
        space: with a folder, that is not one of the package's own.
        packed: keep only what the space's latents do not tell, rounded as `COARSE` says, and no outlines of holes.

    Raises:
        UsageError: if the space has no folder to write into.
    """
    folder = _folder(space)
    weights = sha256(folder / "model.safetensors")
    arrays: dict[str, NDArray[Any]] = {"x": atlas.grid.x, "y": atlas.grid.y}
    arrays |= {name: value for name in STORED if (value := getattr(atlas, name)) is not None}
    record = record_of(atlas)
    if packed:
        for name in STORED[:4]:
            arrays.pop(name, None)
        if "metric" in arrays:
            arrays["metric_size"], arrays["metric_turn"] = _apart(arrays.pop("metric"))
        for hole in record["holes"]:
            del hole["outline"]
    save_arrays(folder / FIELDS, arrays, weights, COARSE if packed else None)
    _write(folder, weights, record)
    return folder / FILE


def _apart(
    metric: Float[np.ndarray, "3 Gy Gx"],
) -> tuple[Float[np.ndarray, "2 Gy Gx"], Float[np.ndarray, "Gy Gx"]]:
    """g₁₁ and g₂₂, and artanh of g₁₂ / √(g₁₁·g₂₂): however these are rounded, they make a metric again."""
    g11, g12, g22 = metric.astype(np.float64)
    size = np.maximum([g11, g22], FLATTEST)
    turn = np.arctanh(np.clip(g12 / np.sqrt(size.prod(0)), -1 + 1e-9, 1 - 1e-9))
    return size.astype(np.float32), turn.astype(np.float32)


def _together(
    size: Float[np.ndarray, "2 Gy Gx"], turn: Float[np.ndarray, "Gy Gx"]
) -> Float[np.ndarray, "3 Gy Gx"]:
    """The metric that `_apart` took apart."""
    g11, g22 = size.astype(np.float64)
    return np.stack([g11, np.tanh(turn.astype(np.float64)) * np.sqrt(g11 * g22), g22]).astype(np.float32)


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
    if space.own_folder is None:
        raise UsageError("this space has no folder to write into; save it first: space.save('runs/NAME')")
    return space.own_folder


def _write(folder: Path, weights: str, record: Mapping[str, Any]) -> None:
    head = {"format": FORMAT, "morphospace": morphospace.__version__, "model_sha256": weights}
    write_text(folder / FILE, json.dumps({**head, **record}, indent=1, ensure_ascii=False) + "\n")


def read_atlas(folder: Path) -> Atlas | None:
    """The atlas in a run's folder, if it is there, whole, and of its weights; a packed one with its densities."""
    try:
        record = json.loads((folder / FILE).read_text(encoding="utf-8"))
        weights = sha256(folder / "model.safetensors")
        owner, arrays = load_arrays(folder / FIELDS)
        if not (record["format"] == FORMAT and record["model_sha256"] == owner == weights):
            return None
        grid = Grid(arrays.pop("x"), arrays.pop("y"))
        if "metric_size" in arrays:
            arrays["metric"] = _together(arrays.pop("metric_size"), arrays.pop("metric_turn"))
        if "by_class" not in arrays:
            found = densities_on(Space.load(folder), grid)
            arrays |= {name: v for name in STORED[:4] if (v := getattr(found, name)) is not None}
        return Atlas(
            grid=grid,
            classes=tuple(record["classes"]),
            nearest_step=record["nearest_step"],
            overlap=_matrix(record["overlap"]),
            overlap_error=_matrix(record.get("overlap_error")),
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
