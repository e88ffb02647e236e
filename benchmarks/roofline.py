"""Where the time of a training step of the original study's network goes, and what that allows at most.

    python -m benchmarks.roofline

Profiles the step as `morphospace.fit` makes it, in each precision: seconds in products (convolutions and dense layers,
forwards and backwards), in conversions and copies, in the optimizer, and in the rest; beside the machine's peak, timed
in the same process. From that follow two bounds: the fraction of the peak if the products were as slow as they are and
all else cost nothing, and if the products ran at the peak and all else stayed. Prints a table and keeps it in
``benchmarks/results/roofline.json``.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile

import morphospace as ms
from benchmarks.figures import significant
from benchmarks.machine import describe
from benchmarks.subjects.eager import flops_per_image
from benchmarks.subjects.matmul import PRECISIONS, SIDES, peak
from morphospace.training.loop import _Run, settled

RESULTS = Path(__file__).parent / "results" / "roofline.json"
KINDS = {
    "products": ("convolution", "addmm", "aten::mm", "bmm", "linear"),
    "conversions and copies": ("copy_", "_to_copy", "contiguous", "reorder", "clone"),
    "optimizer": ("_adam", "_foreach"),
}
"""What an operation counts as: the first kind that a part of its name belongs to; all others are the rest."""
PEAK_SECONDS = 1.0


def main(steps: int = 30) -> None:
    found = {**describe(), **measure(steps)}
    print(table(found))
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


def measure(steps: int) -> dict[str, Any]:
    """Both precisions, JSON-ready; seconds are of one step."""
    images = ms.load("garments", count=2048)
    return {
        "flops_per_image": significant(flops_per_image()),
        "peak_flops": {
            name: significant(max(peak(side, kind, PEAK_SECONDS) for side in SIDES))
            for name, kind in PRECISIONS.items()
        },
        "steps": {precision: step(images.train, precision, steps) for precision in PRECISIONS},
    }


def step(images: ms.Images, precision: str, steps: int) -> dict[str, Any]:
    """Seconds of one step, unwatched; and how they divide, by torch's profiler."""
    recipe = ms.recipes.reference(images.spec)
    settings = recipe.settings.changed(steps=10**6, device="cpu", precision=precision)
    run = _Run(recipe, images, settled(recipe, images, settings), {}, None)

    def some(count: int) -> float:
        begun = time.perf_counter()
        for _ in range(count):
            run.update()
        return (time.perf_counter() - begun) / count

    some(5)
    seconds = min(some(max(steps // 3, 1)) for _ in range(3))
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        some(steps)
    by_kind: dict[str, float] = {}
    for event in watched.key_averages():
        kind = next((kind for kind, parts in KINDS.items() if any(p in event.key for p in parts)), "the rest")
        by_kind[kind] = by_kind.get(kind, 0.0) + event.self_cpu_time_total / 1e6 / steps
    return {
        "batch": run.settings.batch,
        "seconds": significant(seconds),
        "by_kind": {kind: significant(spent) for kind, spent in by_kind.items()},
    }


def table(found: dict[str, Any]) -> str:
    """The figures for a person."""
    rows = ["| | float32 | bfloat16 |", "|---|---|---|"]
    told = {name: _told(found, name) for name in PRECISIONS}
    rows += [f"| {row} | {' | '.join(told[name][row] for name in PRECISIONS)} |" for row in told["float32"]]
    return "\n".join(rows)


def _told(found: dict[str, Any], precision: str) -> dict[str, str]:
    measured, top = found["steps"][precision], found["peak_flops"][precision]
    ideal = found["flops_per_image"] * measured["batch"] / top
    kinds = dict(measured["by_kind"])
    products = kinds.pop("products")
    return {
        "peak of matrix products": f"{top / 1e9:,.0f} GFLOP/s",
        "one step": f"{1e3 * measured['seconds']:.1f} ms",
        "… at the peak and nothing else": f"{1e3 * ideal:.1f} ms",
        "fraction of the peak": f"{ideal / measured['seconds']:.2f}",
        "products": f"{1e3 * products:.1f} ms",
        **{kind: f"{1e3 * spent:.1f} ms" for kind, spent in sorted(kinds.items())},
        "the fraction, if all but the products cost nothing": f"{ideal / products:.2f}",
        "the fraction, if the products ran at the peak": f"{ideal / (ideal + sum(kinds.values())):.2f}",
    }


if __name__ == "__main__":
    main()
