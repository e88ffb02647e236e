"""One GPU: seconds to a test −ELBO, seconds of an epoch of the original study's network, and what bounds them.

    python -m benchmarks.gpu                    # Fashion-MNIST, everything; a minute or two
    python -m benchmarks.gpu --data-root DIR    # where fashion-mnist/ lies
    python -m benchmarks.gpu --device cpu --tiny

Needs torch, numpy, safetensors and pillow, and no package of the command line. Prints a short table and writes
``benchmarks/results/gpu.json``. Every time is taken with the device idle before and after. The first run in a process
also loads the device's libraries; so each thing is done twice, and both times are told: cold, then warm.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.figures import seconds_to, significant, summary
from benchmarks.machine import describe

if importlib.util.find_spec("jaxtyping") is None:
    # It only names shapes in annotations, which nothing reads here.
    class _Shape:
        def __class_getitem__(cls, _item: object) -> type:
            return object

    sys.modules["jaxtyping"] = module = types.ModuleType("jaxtyping")
    for name in ("Bool", "Float", "Float32", "Float64", "Int", "Int64", "Integer", "Shaped", "UInt8"):
        setattr(module, name, _Shape)

from morphospace import recipes
from morphospace.data import load
from morphospace.data.images import Images
from morphospace.settings import Settings
from morphospace.training.device import channels_last, fixed_threads, forked_random, synchronize
from morphospace.training.feed import Feed
from morphospace.training.loop import _Run, settled
from morphospace.training.measure import chunk_size, measure

RESULTS = Path(__file__).parent / "results" / "gpu.json"
LEVELS = (262.0, 260.0, 257.5)
POINTS = 40
"""Points of a test curve."""


def main(arguments: list[str]) -> None:
    options = _options(arguments)
    device = torch.device(options.device)
    with fixed_threads(torch.get_num_threads()), forked_random(options.device), _caught(device):
        found = study(load_images(options), device, tiny=options.tiny)
    print(table(found))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the harness")
    parser.add_argument("--data-root", help="the folder that fashion-mnist/ lies in")
    parser.add_argument(
        "--tiny", action="store_true", help="a few drawn images and steps, to see that it works"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the figures are written")
    options = parser.parse_args(arguments)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("torch sees no GPU here; try the harness with --device cpu --tiny")
    return options


@contextlib.contextmanager
def _caught(device: torch.device) -> Iterator[None]:
    """Tell plainly where the device had too little memory for what was measured."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise SystemExit(
            f"{device} has too little memory for this benchmark: {str(error).splitlines()[0]}"
        ) from None


def load_images(options: argparse.Namespace) -> Images:
    if options.tiny:
        return load("garments", count=600)
    return load("fashion-mnist", root=options.data_root) if options.data_root else load("fashion-mnist")


def study(images: Images, device: torch.device, *, tiny: bool) -> dict[str, Any]:
    """Everything that is measured, JSON-ready."""
    found: dict[str, Any] = {**describe(), "device": _name(device), "images": len(images.train), "tiny": tiny}
    found["matmul_tflops"] = {
        precision: matmul(device, dtype, 256 if tiny else 8192)
        for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
    }
    epochs = 1 if tiny else 5
    found["reference_epoch"] = {
        how: reference_epochs(images, device, epochs, **choice) for how, choice in _ways(device).items()
    }
    found["default"] = {
        when: curve(images, device, epochs=1.0 if tiny else None, seed=seed)
        for when, seed in (("cold", 0), ("warm", 1))
    }
    found["encode"] = encode(images, device)
    if device.type == "cuda":
        found["peak_memory_mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20)
    return found


def _ways(device: torch.device) -> dict[str, dict[str, Any]]:
    """How the same steps can be made: in each precision, captured or one operation after another."""
    ways = {
        "as chosen": {"precision": "auto"},
        "float32": {"precision": "float32"},
        "bfloat16": {"precision": "bfloat16"},
    }
    if device.type == "cuda":
        ways |= {f"{p}, not captured": {"precision": p, "captured": False} for p in ("float32", "bfloat16")}
    return ways


def matmul(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """The most TFLOP/s of a square matrix product: the machine's peak as torch reaches it."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = min(_seconds(lambda: a @ b, device) for _ in range(20))
    return significant(2 * side**3 / best / 1e12, 4)


def reference_epochs(
    images: Images, device: torch.device, epochs: int, precision: str, *, captured: bool = True
) -> dict[str, Any]:
    """Seconds of an epoch of the original study's training (batch 128), after one that is not counted."""
    recipe = recipes.reference(images.spec)
    run = _run(images, recipe.settings.changed(precision=precision, epochs=epochs + 1), device, "reference")
    if not captured:
        run.captured = None
    steps = len(run.feed) // run.settings.batch

    def epoch() -> None:
        for _ in range(steps):
            run.update()

    first, *rest = (_seconds(epoch, device) for _ in range(epochs + 1))
    run._require_finite()
    seen = steps * run.settings.batch
    return {
        "precision": run.settings.precision,
        "batch": run.settings.batch,
        "first_seconds": significant(first),
        "seconds": summary(rest),
        "images_per_second": significant(seen / statistics.median(rest)),
    }


def curve(images: Images, device: torch.device, epochs: float | None, seed: int) -> dict[str, Any]:
    """The default recipe from its start: seconds of training, without those of testing, beside the test −ELBO."""
    begun = time.perf_counter()
    recipe = recipes.vae(images.spec)
    run = _run(images, recipe.settings.changed(epochs=epochs, seed=seed), device, "vae")
    synchronize(device)
    seconds = time.perf_counter() - begun  # weights, the probe of the precision, images to the device
    points: list[dict[str, Any]] = []
    before = 0
    marks = sorted({round(run.steps * (i + 1) / POINTS) for i in range(POINTS)} - {0})
    for mark in marks:

        def to_mark(mark: int = mark) -> None:
            while run.step < mark:
                run.update()

        seconds += _seconds(to_mark, device)
        elbo = measure(run.kept, run.test, 1, seed)
        run.prepared()
        points.append(
            {
                "seconds": significant(seconds),
                "epoch": round(run.step * run.settings.batch / len(run.feed), 3),
                "neg_elbo": significant(elbo.neg_elbo, 6),
                **({"anew": True} if run.start > 0 and before <= run.start else {}),
            }
        )
        before = mark
    run._require_finite()
    return {
        "seed": seed,
        "precision": run.settings.precision,
        "steps": run.steps,
        "seconds": significant(seconds),
        "final": measure(run.kept, run.test, 10, seed).to_json(),
        "seconds_to": {str(level): seconds_to(level, points) for level in LEVELS},
        "points": points,
    }


def encode(images: Images, device: torch.device) -> dict[str, Any]:
    """Seconds to encode every image with the default's encoder, in float32: cold, then warm."""
    feed = Feed(images.pixels, device)
    encoder = channels_last(recipes.vae(images.spec).build(0).model.to(device)).eval().encoder
    size = chunk_size(images.spec.pixels)

    @torch.inference_mode()
    def everything() -> None:
        for start in range(0, len(feed), size):
            encoder(feed(slice(start, start + size))).mean.cpu()

    cold, warm = (_seconds(everything, device) for _ in range(2))
    return {"images": len(feed), "cold_seconds": significant(cold), "warm_seconds": significant(warm)}


def _run(images: Images, settings: Settings, device: torch.device, name: str) -> _Run:
    recipe = recipes.get(name, images.spec)
    made = settled(recipe, images, replace(settings, device=str(device)))
    return _Run(recipe, images, made, {}, None)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    synchronize(device)
    begun = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - begun


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def table(found: dict[str, Any]) -> str:
    """The figures for a person, with the bars that they were set beside."""
    rows = [f"| {found['device']}, torch {found['versions']['torch']}, {found['date']} | |", "|---|---|"]
    for precision, tflops in found["matmul_tflops"].items():
        rows.append(f"| matrix products, {precision} | {tflops:,.4g} TFLOP/s |")
    for how, epoch in found["reference_epoch"].items():
        spread = f"{epoch['seconds']['least']:.3g} to {epoch['seconds']['most']:.3g}"
        rows.append(
            f"| reference network, one epoch, {how} ({epoch['precision']}) | {epoch['seconds']['median']:.3g} s "
            f"({spread}); {epoch['images_per_second']:,.0f} images/s |"
        )
    for when, run in found["default"].items():
        for level, seconds in run["seconds_to"].items():
            reached = "not reached" if seconds is None else f"{seconds:.3g} s"
            rows.append(f"| default recipe to {level} nats, {when} | {reached} |")
        rows.append(
            f"| default recipe, whole run, {when} | {run['seconds']:.3g} s, {run['final']['neg_elbo']:.2f} nats |"
        )
    rows.append(
        f"| encode {found['encode']['images']:,} images, warm | {found['encode']['warm_seconds']:.3g} s |"
    )
    if "peak_memory_mib" in found:
        rows.append(f"| most memory held on the device | {found['peak_memory_mib']:,} MiB |")
    return "\n".join(rows)


if __name__ == "__main__":
    main(sys.argv[1:])
