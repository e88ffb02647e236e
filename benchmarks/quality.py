"""What a setting reaches: trains on Fashion-MNIST and keeps the final figures.

    python -m benchmarks.quality epochs=8 seed=0
    python -m benchmarks.quality epochs=8 seed=0 optimizer=adamw
    python -m benchmarks.quality --held-out epochs=8 batch=256
    python -m benchmarks.quality --exact minutes=30
    python -m benchmarks.quality --table

``NAME=VALUE`` changes a training setting (`morphospace.Settings`) or an argument of the recipe, which is ``vae`` unless
``recipe=NAME`` says another. Settings are chosen by ``--held-out``: trained on the first 50,000 training images and
measured on the other 10,000, so that the test images have no part in the choice. ``--exact`` also finds the exact log
p(x) by quadrature: what −ELBO lies above it is what the encoder costs; and what is left of that where posteriors are
refined, by the gain on some of the images. Each run adds a line to ``benchmarks/results/quality.jsonl``; ``--table``
prints the lines, seeds of one setting together. Seconds are those of a machine that may have been busy: only the ELBO
compares between lines.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import morphospace as ms
from benchmarks.gap import DRAWS, neg_elbo
from morphospace.data.images import SPLITS, Images
from morphospace.evaluation.quadrature import exact_log_likelihood
from morphospace.evaluation.records import evenly
from morphospace.refining import STEPS
from morphospace.space import Space
from morphospace.training.feed import to_unit

REFINED = 1_000
"""Images whose posteriors are refined: a hundred and fifty steps of eight draws each."""
HELD_OUT = 10_000
"""Training images, the last ones, that settings are chosen by."""
RESULTS = Path(__file__).parent / "results" / "quality.jsonl"


def main(arguments: list[str]) -> None:
    if arguments == ["--table"]:
        print(table([json.loads(line) for line in RESULTS.read_text().splitlines()]))
        return
    flags = [argument for argument in arguments if argument.startswith("--")]
    if unknown := set(flags) - {"--held-out", "--exact"}:
        raise SystemExit(
            f"there is no option {', '.join(sorted(unknown))}; known: --held-out, --exact, --table"
        )
    changes = dict(argument.split("=", 1) for argument in arguments if argument not in flags)
    line = measure(changes, held_out="--held-out" in flags, exact="--exact" in flags)
    print(json.dumps(line, indent=1))
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


def measure(changes: dict[str, str], *, held_out: bool = False, exact: bool = False) -> dict[str, Any]:
    """Train once with changed settings; the figures, and all that is needed to get them again."""
    images = ms.load("fashion-mnist")
    if held_out:
        images = without_test(images, HELD_OUT)
    name = changes.get("recipe", "vae")
    known = ms.recipes.get(name, images.spec).arguments
    recipe = ms.recipes.get(name, images.spec, {k: v for k, v in changes.items() if k in known})
    settings = {k: number(v) for k, v in changes.items() if k not in {*known, "recipe"}}
    space = ms.fit(recipe, images, **settings)
    results = dict(space.results)
    if exact:
        x = to_unit(torch.from_numpy(np.array(images.test.pixels)))
        found = exact_log_likelihood(space.model, x)
        results["test"] |= {"nll_exact": -float(found.log_p.mean()), "nll_exact_error": found.error}
        gained = refined_gain(space, x[evenly(len(x), REFINED)])
        results["test"] |= {
            "neg_elbo_refined": results["test"]["neg_elbo"] - float(gained.mean()),
            "neg_elbo_refined_error": float(gained.std() / len(gained) ** 0.5),
            "refined_images": len(gained),
        }
    return {
        "changes": changes,
        "measured_on": "held-out" if held_out else "test",
        "results": results,
        "training": space.config["training"],
        "machine": space.config["machine"],
        "versions": {**space.config["versions"], "morphospace": space.config["version"]},
    }


def refined_gain(space: Space, x: Tensor) -> Tensor:
    """By how many nats each image's −ELBO is lower when its posterior is refined, (B,)."""
    own, refined = (neg_elbo(space.model, x, space.encode(x, refine=steps), DRAWS) for steps in (0, STEPS))
    return own - refined


def without_test(images: Images, count: int) -> Images:
    """The training images alone, the last ``count`` of them to measure on."""
    train = images.train
    splits = np.full(len(train), SPLITS.index("train"), np.uint8)
    splits[-count:] = SPLITS.index("test")
    return replace(train, splits=splits)


def number(text: str) -> int | float | str:
    """A value as the command line gives it."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def table(lines: list[dict[str, Any]]) -> str:
    """One row for each setting: mean and spread over its seeds."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        what = " ".join(f"{k}={v}" for k, v in line["changes"].items() if k != "seed") or "defaults"
        where = line.get("measured_on", "test")
        groups[what if where == "test" else f"{what}, {where}"].append(line["results"])
    rows = ["| setting | seeds | −ELBO | spread | train −ELBO |", "|---|---|---|---|---|"]
    for what, found in groups.items():
        test = [results["test"]["neg_elbo"] for results in found]
        train = statistics.mean(results["train"]["neg_elbo"] for results in found)
        spread = f"{min(test):.2f} to {max(test):.2f}" if len(test) > 1 else "one seed"
        rows.append(f"| {what} | {len(test)} | {statistics.mean(test):.2f} | {spread} | {train:.2f} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main(sys.argv[1:])
