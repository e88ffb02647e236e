"""The files with a space's numbers: ``space.json`` says what is in ``map.bin`` and ``decoder.bin``; ``paths.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import morphospace
from morphospace.atlas import Atlas, make_atlas
from morphospace.atlas.decoded import stretch
from morphospace.explorer.program import Program, program_of
from morphospace.model import VAE
from morphospace.morphing import Place, all_pairs, ground_of, locate
from morphospace.plots.style import PETROFF, colours
from morphospace.seeds import seed_of
from morphospace.space import Space
from morphospace.types import MorphospaceError, Progress, RunError

__all__ = ["MOST_CLASSES", "decoder_files", "map_file", "paths_file", "places_of", "ways_refused"]

FORMAT = 1
MOST_DOTS = 6000
SAMPLES = 512
MOST_CLASSES = 12
"""Between more, paths are not found beforehand: they would be more than 66 pairs."""
PATH_CELLS = 256
"""Along each side of the map that paths are found on where the run has none of its own, as in `morphospace morph`."""
TOP = 3
"""Classes that are told at each place."""
ASIDE = 5e-4
CHECKS = 6
"""Places whose images the page compares with its own before it shows any."""


@dataclass
class Blob:
    """Arrays one behind the other in one file, each beginning at a multiple of four bytes.

    Attributes:
        entries: by name the kind (f4, i4, u2, u1), shape, and where it begins.
    """

    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)
    length: int = 0

    def add(self, name: str, array: np.ndarray) -> None:
        """Put an array at the end; little-endian whatever the machine."""
        kind = array.dtype.newbyteorder("<")
        self.entries[name] = {"kind": kind.str.lstrip("<|"), "shape": list(array.shape), "at": self.length}
        content = np.ascontiguousarray(array, dtype=kind).tobytes()
        content += bytes(-len(content) % 4)
        self.parts.append(content)
        self.length += len(content)

    @property
    def content(self) -> bytes:
        """The file."""
        return b"".join(self.parts)


def decoder_files(model: VAE) -> tuple[dict[str, Any], bytes]:
    """The decoder's program as JSON has it, and the file with its numbers.

    Raises:
        UsageError: for a decoder that the page cannot compute.
    """
    program: Program = program_of(model)
    blob = Blob()
    for number, tensor in enumerate(program.tensors):
        blob.add(str(number), tensor)
    tensors = [
        {"kind": entry["kind"], "at": entry["at"], "count": entry["shape"][0]}
        for entry in blob.entries.values()
    ]
    record = {
        "buffers": program.buffers,
        "steps": program.steps,
        "output": program.output,
        "tensors": tensors,
        "weights": sum(p.numel() for p in model.decoder.parameters()),
    }
    return record, blob.content


def map_file(space: Space, atlas: Atlas) -> tuple[dict[str, Any], bytes]:
    """What the page knows of the map: as JSON has it, and the file with the fields, dots, samples and checks."""
    grid, blob = atlas.grid, Blob()
    blob.add("posterior", atlas.posterior.astype(np.float32))
    blob.add("prior", atlas.prior.astype(np.float32))
    if atlas.classes:
        first, shares = leading(atlas)
        blob.add("first", first)
        blob.add("shares", shares)
    if atlas.recognition is not None:
        blob.add("recognised", np.rint(255 * atlas.recognised).astype(np.uint8))
    if atlas.metric is not None:
        blob.add("stretch", stretch(atlas.metric).astype(np.float32))
    dots = _dots(space)
    for name, array in dots.items():
        blob.add(name, array)
    blob.add("samples", space.draw(SAMPLES).numpy().astype(np.float32))
    places, pictures = _checks(space)
    blob.add("check_places", places)
    blob.add("check_pictures", pictures)
    names = atlas.classes
    record: dict[str, Any] = {
        "box": {"low": grid.low.tolist(), "high": grid.high.tolist(), "cells": list(grid.shape)},
        "view": view_of(atlas),
        "classes": list(names),
        "colours": colours(len(names)) if names else [PETROFF[0]],
        "arrays": blob.entries,
        "holes": [[np.round(line, 3).tolist() for line in hole.outline] for hole in atlas.holes.regions],
        "ramps": {name: _ramp(name) for name in ("cividis", "magma")},
        "drawn_from": "prior" if space.draws_from_prior else "sampler",
        "notes": list(atlas.notes),
        "centres": _centres(atlas),
    }
    return record, blob.content


def view_of(atlas: Atlas) -> dict[str, list[float]]:
    """The part of the map to show: beyond each of its sides lies less than `ASIDE` of the images and of the prior."""
    low, high = [], []
    for axis, centres in enumerate((atlas.grid.x, atlas.grid.y)):
        ends = []
        for density in (atlas.posterior, atlas.prior):
            mass = density.sum(axis, dtype=np.float64)
            part = mass.cumsum() / mass.sum()
            ends.append(centres[[np.searchsorted(part, ASIDE), np.searchsorted(part, 1 - ASIDE)]])
        low.append(float(np.min(ends)))
        high.append(float(np.max(ends)))
    return {"low": low, "high": high}


def about(space: Space) -> dict[str, Any]:
    """What the space is."""
    config = space.config
    return {
        "format": FORMAT,
        "version": morphospace.__version__,
        "name": space.folder.name if space.folder else "space",
        "recipe": space.recipe.name,
        "images": config["images"]["counts"].get("train", 0),
        "image": {"channels": space.spec.channels, "height": space.spec.height, "width": space.spec.width},
    }


def leading(atlas: Atlas) -> tuple[np.ndarray, np.ndarray]:
    """(3, Gy, Gx) the classes with the largest shares of q(z) at each point, and these shares in 255ths.

    A share is nought where the density itself is, in float32.
    """
    count = min(TOP, len(atlas.classes))
    parts = atlas.by_class
    order = np.argsort(-parts, axis=0, kind="stable")[:count]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.nan_to_num(np.take_along_axis(parts, order, 0) / atlas.posterior, nan=0.0)
    return order.astype(np.uint16), np.rint(255 * shares).astype(np.uint8)


def _centres(atlas: Atlas) -> list[list[float]]:
    """For each class a place for its name: the mean of its own density over the places where it leads."""
    found = []
    x, y = np.meshgrid(atlas.grid.x, atlas.grid.y)
    for c in range(len(atlas.classes)):
        weight = atlas.by_class[c].astype(np.float64)
        own = np.where(atlas.winners == c, weight, 0)
        weight = own if own.sum() > 0 else weight
        total = weight.sum()
        # A class without images has no place; its name is left out.
        found.append([float((weight * v).sum() / total) for v in (x, y)] if total > 0 else [])
    return found


def _dots(space: Space) -> dict[str, np.ndarray]:
    """Some of the training images' places, and their classes; nothing where the cache of latents is gone."""
    if space.latents is None:
        return {}
    latents = space.latents.train if (space.latents.splits == 0).any() else space.latents
    if len(latents) > MOST_DOTS:
        rng = np.random.default_rng(seed_of(space.settings.seed, "dots"))
        latents = latents.take(rng.permutation(len(latents))[:MOST_DOTS])
    found: dict[str, np.ndarray] = {"dots": latents.mean.astype(np.float32)}
    if latents.labels is not None:
        found["dot_classes"] = latents.labels.astype(np.uint16)
    return found


def _checks(space: Space) -> tuple[np.ndarray, np.ndarray]:
    """Places, and what torch makes of them."""
    places = space.draw(CHECKS, seed=1)
    with torch.inference_mode():
        return places.numpy().astype(np.float32), space.decode(places).numpy().astype(np.float32)


def _ramp(name: str) -> list[list[int]]:
    """A colour map of matplotlib's as 256 colours."""
    from matplotlib import colormaps

    return [[round(255 * float(v)) for v in colour[:3]] for colour in colormaps[name](np.arange(256))]


# ---------------------------------------------------------------- paths


def places_of(space: Space) -> list[Place]:
    """What paths can lead between: the prototypes of classes or clusters; none where they are not known."""
    try:
        return [locate(space, name) for name in space.prototypes.names]
    except RunError:
        return []


def ways_refused(places: list[Place]) -> str | None:
    """Why no paths are found beforehand, in words; None where they are."""
    if len(places) < 2:
        return "The means of the classes are not known: the run's latents are gone."
    if len(places) > MOST_CLASSES:
        pairs = len(places) * (len(places) - 1) // 2
        return (
            f"{len(places)} classes make {pairs} pairs, too many to find every path beforehand; straight lines are "
            "shown. For one pair: morphospace morph RUN A B --path best"
        )
    return None


def paths_file(space: Space, atlas: Atlas, progress: Progress) -> dict[str, Any]:
    """Every kind of path between every two classes, with scores; each as every other of its points."""
    if atlas.metric is None:
        atlas = make_atlas(space, parts=("metric",), cells=PATH_CELLS, progress=progress)
    try:
        found = all_pairs(space, ground_of(space, atlas), progress)
    except MorphospaceError as error:
        return {"refused": {"all": str(error)}, "pairs": []}
    pairs = []
    for pair in found.pairs:
        ways: Mapping[str, Any] = {
            kind: {"z": np.round(way.z[::2], 4).tolist(), **way.scores.record()}
            for kind, way in pair.ways.items()
        }
        pairs.append(
            {"start": pair.start.name, "end": pair.end.name, "best": pair.best, "why": pair.why, "ways": ways}
        )
    return {"refused": dict(found.refused), "pairs": pairs}


def to_json(record: Mapping[str, Any]) -> bytes:
    """Compact, and the same bytes for the same record."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
