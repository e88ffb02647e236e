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

import numpy as np
import torch
from torch import Tensor

import morphospace as ms
from morphospace.evaluation.quadrature import exact_log_likelihood
from morphospace.model import VAE
from morphospace.training.feed import to_unit

STEPS = 150
DRAWS = 100
"""Draws for each −ELBO, in pairs z = μ ± Lε."""


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
    rows = np.linspace(0, len(images) - 1, min(given.images, len(images))).astype(int)
    print(table(measure(space.model, to_unit(torch.from_numpy(images.pixels[rows])))))


def measure(model: VAE, x: Tensor, draws: int = DRAWS) -> dict[str, Tensor]:
    """Nats of each image, (B,), by each posterior and exactly."""
    model.eval().requires_grad_(requires_grad=False)
    torch.manual_seed(0)
    q = model.encode(x)
    factor = torch.diag_embed(q.stddev)
    return {
        "exact": -torch.from_numpy(exact_log_likelihood(model, x).log_p).to(x.dtype),
        "encoder": neg_elbo(model, x, q.mean, factor, draws),
        "best diagonal normal": refined(model, x, q.mean, factor, draws, full=False),
        "best full normal": refined(model, x, q.mean, factor, draws, full=True),
    }


def neg_elbo(model: VAE, x: Tensor, mean: Tensor, factor: Tensor, draws: int) -> Tensor:
    """−ELBO (B,) with the posterior N(mean, factor·factorᵀ) against a standard normal prior."""
    noise = torch.randn(draws // 2, *mean.shape, dtype=mean.dtype)
    shift = torch.einsum("bij,kbj->kbi", factor, noise)
    z = torch.cat([mean + shift, mean - shift])
    distortion = -model.decoder(z).log_prob(x).mean(0)
    log_det = factor.diagonal(dim1=1, dim2=2).log().sum(1)
    return distortion + 0.5 * (factor.square().sum((1, 2)) + mean.square().sum(1) - mean.shape[1]) - log_det


def refined(model: VAE, x: Tensor, mean: Tensor, factor: Tensor, draws: int, *, full: bool) -> Tensor:
    """−ELBO (B,) after each image's own posterior was fitted to it."""
    mean = mean.clone().requires_grad_()
    logs = factor.diagonal(dim1=1, dim2=2).log().clone().requires_grad_()
    below = torch.zeros(len(x), dtype=mean.dtype, requires_grad=full)

    def built() -> Tensor:
        made = torch.diag_embed(logs.exp())
        return made + torch.nn.functional.pad(below[:, None, None], (0, 1, 1, 0))

    optimizer = torch.optim.Adam([t for t in (mean, logs, below) if t.requires_grad], lr=0.03)
    fall = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    for _ in range(STEPS):
        optimizer.zero_grad()
        neg_elbo(model, x, mean, built(), 8).sum().backward()
        optimizer.step()
        fall.step()
    with torch.no_grad():
        return neg_elbo(model, x, mean, built(), draws)


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
