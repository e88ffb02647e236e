"""Measuring a space: one record, `evaluation.json`, of figures with their definitions and errors.

* ``likelihood``, ``quadrature``, ``pairs``, ``binarised``: log p(x), estimated and, in two dimensions, exact;
* ``reconstruction``: MSE, PSNR, SSIM;
* ``aggregate``, ``doctor``: what the latent space is used for, and what is wrong with it;
* ``embedding``, ``disentanglement``: what latent means are good for;
* ``classifier``, ``samples``: how good samples are;
* ``measuring``: what each of these needs of a space; ``records``: figures and their errors.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import morphospace
from morphospace.data.images import Images
from morphospace.evaluation.binarised import DRAWS
from morphospace.evaluation.measuring import PARTS, Measured, Subject
from morphospace.files import write_text
from morphospace.fitting import encode_own
from morphospace.space import Space
from morphospace.training.checkpoint import sha256
from morphospace.training.config import require_same_images
from morphospace.types import Progress, UnknownName, UsageError, silent

__all__ = ["FILE", "ORDINARY", "Evaluation", "evaluate", "read_evaluation"]

FILE = "evaluation.json"
FORMAT = 1
MOST_IMAGES = 10_000
ORDINARY = tuple(name for name in PARTS if name != "binarised")
"""The parts measured unless others are asked for; the binarised protocol is for comparison with published figures."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A record of figures, as it lies in a run's folder.

    Attributes:
        record: JSON-ready; ``parts`` holds each part's figures, notes, seconds and settings.
    """

    record: dict[str, Any]

    @property
    def parts(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.record["parts"]
        return found

    def value(self, part: str, figure: str) -> float:
        """One figure's value, such as ``value("likelihood", "nll_exact")``."""
        for kind, name, known in (
            ("part", part, self.parts),
            ("figure", figure, self.parts.get(part, {}).get("figures", {})),
        ):
            if name not in known:
                raise UnknownName(kind, name, known)
        return float(self.parts[part]["figures"][figure]["value"])

    @property
    def findings(self) -> list[dict[str, str]]:
        """What the doctor found wrong; empty for a healthy space, and where the doctor was not asked."""
        found: list[dict[str, str]] = self.parts.get("doctor", {}).get("findings", [])
        return found


def evaluate(
    space: Space,
    images: Images,
    *,
    parts: Sequence[str] = ORDINARY,
    draws: int | None = None,
    count: int = MOST_IMAGES,
    seed: int = 0,
    progress: Progress = silent,
) -> Evaluation:
    """Measure a space on its own images; parts measured before, of the same weights, are kept.

    Args:
        space: trained; where it has a folder of its own, ``evaluation.json`` is written into it.
        images: those that it was trained on.
        parts: names among `PARTS`.
        draws: of z for each image where importance is weighted; 100, and 5,000 for the binarised protocol.
        count: how many images to measure on, at most; evenly spaced ones of more.
        seed: of everything random.
        progress: told of every stretch of work.

    Raises:
        UnknownName: for a part that does not exist.
        UsageError: for a count or draws that measure nothing; for a part that means nothing for this space, if no
            other was asked for. Among others, such a part says so in its notes.
        RunError: if the images are not those of the run.
    """
    for name in parts:
        if name not in PARTS:
            raise UnknownName("part of an evaluation", name, PARTS)
    if count < 2:
        raise UsageError(
            f"{count} images were asked for; expected at least 2, since one has no standard error"
        )
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed is {seed}; expected a whole number from 0 to below 2³²")
    if draws is not None and draws < 2:
        raise UsageError(
            f"{draws} draws were asked for; expected at least 2, since one has no standard error"
        )
    if space.folder is not None:
        require_same_images(images, space.config, space.folder)
    if space.latents is None:
        space.latents = encode_own(space, images, progress)
    record = _begun(space)
    for name in parts:
        title, measure = PARTS[name]
        used = draws if draws is not None else (DRAWS if name == "binarised" else 100)
        subject = Subject(space, images, count, used, seed, progress)
        begun = time.perf_counter()
        try:
            found = measure(subject)
        except UsageError as reason:  # a prior without density, say: what can be asked was checked above
            if len(parts) == 1:
                raise
            found = Measured({}, [f"Not measured: {reason}."])
        record["parts"][name] = {
            "title": title,
            "seconds": round(time.perf_counter() - begun, 2),
            "settings": {"split": subject.split, "images": len(subject.rows), "draws": used, "seed": seed},
            "figures": {key: figure.to_json() for key, figure in found.figures.items()},
            "notes": found.notes,
            **(found.more or {}),
        }
        record["parts"] = {key: record["parts"][key] for key in PARTS if key in record["parts"]}
        if (
            space.own_folder is not None
        ):  # after each part: what is measured is not lost if the next is stopped
            write_text(space.own_folder / FILE, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return Evaluation(record)


def read_evaluation(folder: Path) -> Evaluation | None:
    """The evaluation in a run's folder, if it is there, whole, and of its weights."""
    try:
        record = json.loads((folder / FILE).read_text(encoding="utf-8"))
        known = record["format"] == FORMAT and record["model_sha256"] == sha256(folder / "model.safetensors")
        return Evaluation(record) if known and isinstance(record["parts"], dict) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _begun(space: Space) -> dict[str, Any]:
    """A record to put parts into, with those that are there already."""
    known = read_evaluation(space.folder) if space.folder is not None else None
    return {
        "format": FORMAT,
        "morphospace": morphospace.__version__,
        "model_sha256": sha256(space.folder / "model.safetensors") if space.folder is not None else None,
        "data_sha256": space.config["images"]["sha256"],
        "recipe": space.config["recipe"],
        "latent": space.dimensions,
        "parts": dict(known.parts) if known is not None else {},
    }
