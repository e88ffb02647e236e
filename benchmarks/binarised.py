"""log p(x) of binarised Fashion-MNIST by the published protocol: train on 50,000 images, weight 5,000 draws.

    python -m benchmarks.binarised                                     # `binarised` with 40 dimensions, 200 epochs
    python -m benchmarks.binarised --epochs 100 --lr 3e-3 --warmup 0.25
    python -m benchmarks.binarised --epochs 100 --lr 3e-3 --warmup 0.25 --prior flow    # that run, a prior fitted to it
    python -m benchmarks.binarised --draws 200 --images 1000           # a quick look; marked as such
    python -m benchmarks.binarised --table                             # all lines beside what is published

Training images are binarised anew at every step; the last 10,000 of them are held back, and settings, the length of
training among them, are to be chosen by the validation figure. The test images are those of
`morphospace.evaluation.binarised`. The run lies in ``runs/binarised-…``; called again, the command goes on with an
interrupted one, or measures a finished one again. Each adds a line to ``benchmarks/results/binarised.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import morphospace as ms
from benchmarks import machine, table
from benchmarks.plan import RESULTS, options
from morphospace.cli.progress import shown
from morphospace.data.images import Images
from morphospace.evaluation import evaluate
from morphospace.evaluation.binarised import DRAWS, VALIDATION
from morphospace.evaluation.likelihood import elbo
from morphospace.fitting import refit
from morphospace.seeds import seed_of
from morphospace.settings import Settings
from morphospace.space import Space
from morphospace.training.feed import to_unit

__all__ = ["main", "measure", "shown_lines"]

LINES = RESULTS / "binarised.jsonl"
PUBLISHED = (
    ("VAE, two dense layers of 300, 40-D", 228.70, 0.15),
    ("the same with a VampPrior", 227.35, 0.05),
    ("the same with the exemplar prior", 226.75, 0.07),
)
"""Norouzi, Fleet & Norouzi (2020), arXiv:2004.04795: nats, and the deviation over their runs."""
VALIDATION_DRAWS = 10
PRIORS = ("mixture", "flow")
"""Those with a density that need nothing but the latents."""


def main(
    arguments: Sequence[str] | None = None, lines: Path = LINES, source: dict[str, Any] | None = None
) -> None:
    given = _options(arguments)
    if not given.table:
        name = f"{given.recipe}-{given.latent}-{given.size}-{given.epochs:g}-{given.seed}"
        name += "".join(
            f"-{key}{value:g}" for key, value in (("lr", given.lr), ("warmup", given.warmup)) if value
        )
        folder = given.out or Path("runs") / f"binarised-{name}"
        images = ms.load(**(source or {"source": "fashion-mnist", "validation": VALIDATION}))
        line = measure(images, folder, given)
        lines.parent.mkdir(parents=True, exist_ok=True)
        with lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    print(shown_lines([json.loads(text) for text in lines.read_text(encoding="utf-8").splitlines()]))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    assert __doc__ is not None
    parser = options("benchmarks.binarised", __doc__)
    parser.add_argument("--recipe", default="binarised", help="one whose likelihood takes binary images")
    parser.add_argument("--latent", type=int, default=40, help="dimensions; the published models have 40")
    parser.add_argument("--size", default="small")
    parser.add_argument("--epochs", type=float, default=200.0, help="passes over the 50,000 images")
    parser.add_argument("--batch", type=int)
    parser.add_argument(
        "--lr", type=float, help="the highest learning rate; that of hidden matrices in proportion"
    )
    parser.add_argument(
        "--warmup", type=float, help="the part of the run over which the rate's weight grows to 1"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--prior", choices=PRIORS, help="fitted to the finished run's posteriors, and put in place"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--draws", type=int, default=DRAWS, help="of z for each test image")
    parser.add_argument("--images", type=int, default=10_000, help="test images, at most")
    parser.add_argument("--out", type=Path, help="the run's folder")
    parser.add_argument("--table", action="store_true", help="print the lines that there are")
    return parser.parse_args(arguments)


def measure(images: Images, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Train, or take up a run that is there, and evaluate it; the figures, and all that is needed to get them again."""
    with shown() as progress:
        if (folder / "config.json").is_file():
            space = refit(folder, images, progress)
        else:
            arguments = {"latent": given.latent, "size": given.size}
            if given.warmup is not None:
                arguments["warmup"] = given.warmup
            recipe = ms.recipes.get(given.recipe, images.spec, arguments)
            space = ms.fit(
                recipe,
                images,
                out=folder,
                progress=progress,
                epochs=given.epochs,
                batch=given.batch,
                seed=given.seed,
                device=given.device,
                **_rates(recipe.settings, given.lr),
            )
        space = Space.load(folder, space.config["training"]["device"])
        if given.prior is not None:
            space = _refitted(space, images, given, progress)
        device = next(space.model.parameters()).device
        held = to_unit(torch.from_numpy(np.array(images.validation.pixels)).to(device))
        distortion, rate = elbo(space.model, held, VALIDATION_DRAWS, given.seed, progress)
        begun = time.perf_counter()
        found = evaluate(
            space, images, parts=("binarised",), draws=given.draws, count=given.images, progress=progress
        )
    stamp = machine.describe()
    return {
        **{key: stamp[key] for key in ("date", "machine", "versions", "commit")},
        "recipe": space.config["recipe"],
        "prior": given.prior,
        "training": space.config["training"],
        "images": {key: space.config["images"][key] for key in ("source", "counts", "sha256")},
        "epochs": space.results["epochs"],
        "seconds": {
            "training": space.results["seconds"],
            "evaluation": round(time.perf_counter() - begun, 1),
        },
        "validation_neg_elbo": float((distortion + rate).mean()),
        "test": found.parts["binarised"],
    }


def _rates(settings: Settings, lr: float | None) -> dict[str, float]:
    return {} if lr is None else {"lr": lr, "matrix_lr": lr * settings.matrix_lr / settings.lr}


def _refitted(space: Space, images: Images, given: argparse.Namespace, progress: Progress) -> Space:
    """The space with a prior fitted to its posteriors of the training images, binarised once as in training."""
    train = images.train
    rng = np.random.default_rng(seed_of(given.seed, "binarised"))
    drawn = (rng.random(train.pixels.shape) < np.array(train.pixels) / 255).astype(np.float32)
    q = space.encode(drawn, progress)
    known = space.known_latents().learned
    space = replace(space, latents=replace(known, mean=q.mean.numpy(), scale=q.stddev.numpy()))
    return space.with_prior(given.prior, seed=given.seed, progress=progress)


def shown_lines(lines: Sequence[dict[str, Any]]) -> str:
    """All lines beside the published figures, lowest validation −ELBO first: by that a run may be chosen."""
    rows = [[name, "", "", f"{nll:.2f} ± {spread:.2f}", "", "", ""] for name, nll, spread in PUBLISHED]
    for line in sorted(lines, key=lambda line: line["validation_neg_elbo"]):
        test, recipe = line["test"], line["recipe"]
        weighted, bound = (test["figures"][name] for name in ("nll_importance", "neg_elbo"))
        whole = weighted["draws"] == DRAWS and weighted["images"] == line["images"]["counts"]["test"]
        of = "" if whole else f" ({weighted['images']:,} images, {weighted['draws']:,} draws)"
        arguments = ", ".join(f"{key}={value}" for key, value in recipe["arguments"].items())
        rows.append(
            [
                f"**{recipe['name']}**, {arguments}, lr={line['training']['lr']:g}, seed {line['training']['seed']}"
                + (f", {line['prior']} prior fitted afterwards" if line.get("prior") else ""),
                f"{line['epochs']:g}",
                f"{line['validation_neg_elbo']:.2f}",
                f"{weighted['value']:.2f}{of}",
                f"{weighted['error']:.2f}",
                f"{bound['value']:.2f}",
                f"{line['seconds']['training']:,.0f}",
            ]
        )
    head = ["", "epochs", "validation −ELBO", "test −log p(x)", "error", "test −ELBO", "seconds of training"]
    return table.rows(head, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
