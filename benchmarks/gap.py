"""What −ELBO lies above −log p(x) for: the encoder, or the family that its posteriors come from.

    python -m benchmarks.gap runs/fashion-mnist
    python -m benchmarks.gap runs/fashion-mnist --split train

For some images of a run with two dimensions: the exact −log p(x) by quadrature; −ELBO with the encoder's own diagonal
normal; and with the best diagonal and the best full normal that gradient descent finds for each image, from where the
encoder put it. What the encoder loses against the best of its family is the amortisation gap, what the best loses
against the exact figure the approximation gap (Cremer, Li & Duvenaud 2018, arXiv:1801.03558).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

import morphospace as ms
from morphospace.distributions import Distribution
from morphospace.evaluation.quadrature import exact_log_likelihood
from morphospace.evaluation.records import evenly
from morphospace.families import FullNormal
from morphospace.model import VAE
from morphospace.refining import refine
from morphospace.training.feed import to_unit

DRAWS = 100
"""Of z, for each −ELBO."""
AT_ONCE = 25


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gap", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "run", type=Path, help="a run with two latent dimensions and diagonal normal posteriors"
    )
    parser.add_argument("--split", choices=("train", "test"), default="test")
    parser.add_argument("--images", type=int, default=400, help="how many, evenly spaced")
    given = parser.parse_args(arguments)
    space = ms.Space.load(given.run)
    images = getattr(ms.load(space.config["images"]["source"]["source"]), given.split)
    rows = evenly(len(images), given.images)
    print(table(measure(space.model, to_unit(torch.from_numpy(images.pixels[rows])))))


def measure(model: VAE, x: Tensor, draws: int = DRAWS) -> dict[str, Tensor]:
    """Nats of each image, (B,), by each posterior and exactly."""
    model.eval()
    torch.manual_seed(0)
    with torch.no_grad():
        h = model.encoder.parameters_of(x)
    best = refine(model, x)
    below = model.decoder.network.input_shape[0] * (model.decoder.network.input_shape[0] - 1) // 2
    wide = torch.nn.functional.pad(best, (0, below))  # a full factor with nothing below its diagonal yet
    full = refine(model, x, family=FullNormal(), start=wide)
    own = model.encoder.family
    return {
        "exact": -torch.from_numpy(exact_log_likelihood(model, x).log_p).to(x.dtype),
        "encoder": neg_elbo(model, x, own(h), draws),
        "best diagonal normal": neg_elbo(model, x, own(best), draws),
        "best full normal": neg_elbo(model, x, FullNormal()(full), draws),
    }


@torch.no_grad()
def neg_elbo(model: VAE, x: Tensor, q: Distribution, draws: int) -> Tensor:
    """−ELBO (B,) with these posteriors."""
    parts = []
    for done in range(0, draws, AT_ONCE):
        trace = model.around(x, q, min(AT_ONCE, draws - done))
        parts.append(trace.distortion + trace.rate)
    return torch.cat(parts).mean(0)


def table(found: dict[str, Tensor]) -> str:
    """The figures for a person."""
    exact = found["exact"]
    rows = ["| posterior | nats | above exact, mean | median | 90 % |", "|---|---|---|---|---|"]
    for name, nats in found.items():
        above = nats - exact
        rows.append(
            f"| {name} | {nats.mean():.2f} | {above.mean():.2f} | {above.median():.2f} | {above.quantile(0.9):.2f} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
