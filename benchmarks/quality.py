"""What a setting reaches: trains on Fashion-MNIST and keeps the final figures.

    python -m benchmarks.quality epochs=8 seed=0
    python -m benchmarks.quality epochs=8 seed=0 optimizer=adamw
    python -m benchmarks.quality --table

``NAME=VALUE`` changes a training setting (`morphospace.Settings`) or an argument of the recipe ``vae``. Each run adds
a line to ``benchmarks/results/quality.jsonl``; ``--table`` prints the lines, seeds of one setting together. Seconds are
those of a machine that may have been busy: only the ELBO compares between lines.
"""

from __future__ import annotations

import inspect
import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import morphospace as ms

RESULTS = Path(__file__).parent / "results" / "quality.jsonl"


def main(arguments: list[str]) -> None:
    if arguments == ["--table"]:
        print(table([json.loads(line) for line in RESULTS.read_text().splitlines()]))
        return
    line = measure(dict(argument.split("=", 1) for argument in arguments))
    print(json.dumps(line, indent=1))
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


def measure(changes: dict[str, str]) -> dict[str, Any]:
    """Train once with changed settings; the figures, and all that is needed to get them again."""
    images = ms.load("fashion-mnist")
    known = inspect.signature(ms.recipes.vae).parameters
    recipe = ms.recipes.get("vae", images.spec, {k: v for k, v in changes.items() if k in known})
    space = ms.fit(recipe, images, **{k: number(v) for k, v in changes.items() if k not in known})
    return {
        "changes": changes,
        "results": space.results,
        "training": space.config["training"],
        "machine": space.config["machine"],
        "versions": {**space.config["versions"], "morphospace": space.config["version"]},
    }


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
        what = " ".join(f"{k}={v}" for k, v in line["changes"].items() if k != "seed")
        groups[what].append(line["results"])
    rows = ["| setting | seeds | test −ELBO | spread | train −ELBO |", "|---|---|---|---|---|"]
    for what, found in groups.items():
        test = [results["test"]["neg_elbo"] for results in found]
        train = statistics.mean(results["train"]["neg_elbo"] for results in found)
        spread = f"{min(test):.2f} to {max(test):.2f}" if len(test) > 1 else "one seed"
        rows.append(
            f"| {what or 'defaults'} | {len(test)} | {statistics.mean(test):.2f} | {spread} | {train:.2f} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main(sys.argv[1:])
