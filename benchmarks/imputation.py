"""How well what is missing is imputed, by what is missing.

    python -m benchmarks.imputation fashion-mnist
    python -m benchmarks.imputation runs/missing --images 500

Of some test images, evenly spaced, parts are taken away, and the space imputes them. *Error* is the mean square between
the mean of what it finds and what was there, over the pixels that were taken; *by the average image* the same for the
mean of the training images. *Effective draws* are what the 1,000 draws' weights amount to, and *under 20* the share of
images with so few that one or two draws may decide (`morphospace.imputation`).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import morphospace as ms
from morphospace.evaluation.records import evenly
from morphospace.space import Space
from morphospace.training.feed import to_unit

FEW = 20
Found = dict[str, dict[str, float]]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.imputation", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "run", type=Path, help="a run whose pixels are independent given z, or a packaged space"
    )
    parser.add_argument("--images", type=int, default=200, help="how many test images, evenly spaced")
    given = parser.parse_args(arguments)
    space = ms.Space.load(given.run)
    images = ms.load(space.config["images"]["source"]["source"])
    rows = evenly(len(images.test), given.images)
    average = torch.from_numpy(images.train.pixels.mean(0, dtype=np.float64) / 255).float()
    print(table(measure(space, to_unit(torch.from_numpy(images.test.pixels[rows])), average)))


def taken(shape: torch.Size) -> dict[str, Tensor]:
    """What is taken away, by name: (N, 1, H, W) each, true where a pixel is missing."""
    count, _, high, wide = shape
    random = torch.rand((count, 1, high, wide), generator=torch.Generator().manual_seed(0))
    row, column = torch.arange(high)[:, None], torch.arange(wide)[None]
    square = (row - high // 2).abs() <= high // 6
    places = {
        "the lower half": (row >= high // 2).expand(high, wide),
        "the left half": (column < wide // 2).expand(high, wide),
        "a square in the middle": square & ((column - wide // 2).abs() <= wide // 6),
    }
    return {
        "each pixel by chance, a half": random < 0.5,
        "each pixel by chance, nine tenths": random < 0.9,
    } | {name: place.expand(count, 1, high, wide) for name, place in places.items()}


def measure(space: Space, x: Tensor, average: Tensor) -> Found:
    """The figures of each way to take pixels away from images (N, C, H, W), beside those of one image for all."""
    found = {}
    for name, missing in taken(x.shape).items():
        gone = missing.expand_as(x)
        began = time.perf_counter()
        imputed = space.impute(x, (~missing).numpy())
        seconds = time.perf_counter() - began
        found[name] = {
            "average": float((average - x)[gone].square().mean()),
            "error": float((imputed.mean - x)[gone].square().mean()),
            "effective": float(imputed.effective.median()),
            "few": float((imputed.effective < FEW).double().mean()),
            "seconds": seconds / len(x),
        }
    return found


def table(found: Found) -> str:
    """The figures for a person."""
    rows = [
        "| missing | error by the average image | error | effective draws, median | under 20 | seconds an image |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, of in found.items():
        rows.append(
            f"| {name} | {of['average']:.4f} | {of['error']:.4f} | {of['effective']:.0f} | {of['few']:.0%} | "
            f"{of['seconds']:.3f} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
