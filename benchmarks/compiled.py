"""Whether ``torch.compile`` pays: its compile time beside what it saves.

    python -m benchmarks.compiled

For the default recipe and the original study's network, in each precision: the training step with its networks as they
are and with them compiled (``nn.Module.compile``), by turns, and the seconds that compiling took. From these: after how
many epochs of Fashion-MNIST it would have paid for itself, if ever. Prints a table and keeps it in
``benchmarks/results/compiled.json``. Needs a C++ compiler, as ``torch.compile`` does on a CPU.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import morphospace as ms
from benchmarks.figures import significant, summary
from benchmarks.machine import describe
from morphospace.training.loop import _Run, settled

RESULTS = Path(__file__).parent / "results" / "compiled.json"
RECIPES = ("vae", "reference")
PRECISIONS = ("float32", "bfloat16")
EPOCH = 60_000
"""Images of Fashion-MNIST that are learned from."""


def main() -> None:
    images = ms.load("garments", count=8192).train
    found: dict[str, Any] = {**describe(), "recipes": {}}
    for name in RECIPES:
        found["recipes"][name] = {precision: compare(images, name, precision) for precision in PRECISIONS}
    print(table(found))
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


def compare(
    images: ms.Images, name: str, precision: str, rounds: int = 5, seconds: float = 2.0
) -> dict[str, Any]:
    """Images per second of both, by turns, and what compiling cost beyond two plain steps."""
    plain, compiled = (begin(images, name, precision) for _ in range(2))
    for network in (compiled.model.encoder.network, compiled.model.decoder.network):
        network.compile()
    begun = time.perf_counter()
    for _ in range(2):
        compiled.update()
    cost = time.perf_counter() - begun
    plain.update()
    turns = [[speed(run, seconds) for run in (plain, compiled)] for _ in range(rounds)]
    return {
        "compile_seconds": significant(cost),
        "plain": summary([turn[0] for turn in turns]),
        "compiled": summary([turn[1] for turn in turns]),
        "ratio": summary([turn[1] / turn[0] for turn in turns]),
    }


def begin(images: ms.Images, name: str, precision: str) -> _Run:
    recipe = ms.recipes.get(name, images.spec)
    settings = recipe.settings.changed(steps=10**6, device="cpu", precision=precision)
    return _Run(recipe, images, settled(recipe, images, settings), {}, None)


def speed(run: _Run, seconds: float) -> float:
    """Images per second over some steps; the first is not counted."""
    run.update()
    begun, steps = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        run.update()
        steps += 1
    return steps * run.settings.batch / (time.perf_counter() - begun)


def epochs_to_pay(found: dict[str, Any]) -> float | None:
    """Epochs after which compiling is paid for; None if it makes nothing faster."""
    plain, compiled = (EPOCH / found[how]["median"] for how in ("plain", "compiled"))
    return found["compile_seconds"] / (plain - compiled) if compiled < plain else None


def table(found: dict[str, Any]) -> str:
    """The figures for a person."""
    rows = [
        "| network | precision | compiling | compiled against plain | pays after |",
        "|---|---|---|---|---|",
    ]
    for name, by_precision in found["recipes"].items():
        for precision, one in by_precision.items():
            ratio, epochs = one["ratio"], epochs_to_pay(one)
            pays = "never" if epochs is None else f"{epochs:.1f} epochs"
            rows.append(
                f"| {name} | {precision} | {one['compile_seconds']:.0f} s | {ratio['median']:.2f}× "
                f"({ratio['least']:.2f} to {ratio['most']:.2f}) | {pays} |"
            )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
