"""A prior over rows of codes, fitted after training: which code follows which.

van den Oord et al. (2017, arXiv:1711.00937, section 3.3) fit a PixelCNN to the codes of a trained VQ-VAE, Esser et al.
(2021, arXiv:2012.09841, section 3.2) a transformer.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

import morphospace.distributions as d
from morphospace.distributions import Alphabet, Distribution
from morphospace.priors.base import Encode, Prior, alphabet_of
from morphospace.seeds import seeded
from morphospace.types import Progress, UsageError

__all__ = ["Autoregressive", "fit_autoregressive"]

BATCH = 64
LR = 3e-3
HELD_OUT = 0.1
"""The part of the rows that the fit is judged by; its best state is kept, since few rows are soon known by heart."""
MOST_HELD_OUT = 1000
JUDGEMENTS = 20
DROPOUT = 0.1
AT_ONCE = 2**16
"""Symbols that the network looks at together outside of the fit."""


class Autoregressive(Prior):
    """p(k₁, …, k_S) = Π p(k_s given those before it), by a causal transformer (Vaswani et al. 2017, arXiv:1706.03762).

    Draws are made symbol by symbol; what the layers made of earlier symbols is kept, so that each costs one step of the
    network and not all that came before.

    Args:
        alphabet: of the space.
        width: of the network's layers, a multiple of ``heads``.
        layers: blocks of attention and of a network for each place.
        heads: of each attention.

    Raises:
        UsageError: for sizes that make no network.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, alphabet: Alphabet, width: int = 128, layers: int = 4, heads: int = 4) -> None:
        super().__init__()
        if min(width, layers, heads) < 1 or width % heads:
            raise UsageError(
                f"width is {width}, layers {layers}, heads {heads}; expected numbers of at least 1, and a width that "
                "the heads divide"
            )
        self.length, self.size = alphabet.length, alphabet.size
        self.symbols = nn.Embedding(alphabet.size + 1, width)  # the last stands before the first
        self.places = nn.Parameter(0.02 * torch.randn(alphabet.length, width))
        self.blocks = nn.ModuleList(_Block(width, heads, layers) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, alphabet.size)
        nn.init.normal_(self.symbols.weight, std=0.02)
        nn.init.zeros_(self.head.weight)  # so that every code is alike at the start
        nn.init.zeros_(self.head.bias)
        numbers = alphabet.vectors(torch.zeros(alphabet.length, dtype=torch.long))  # of one point, (D,)
        self.register_buffer("loc", torch.zeros_like(numbers))
        self.register_buffer("scale", torch.ones_like(numbers))

    def logits(self, symbols: Int[Tensor, "B S"]) -> Float[Tensor, "B S K"]:
        """Of each symbol given those before it, for whole rows at once."""
        before = F.pad(symbols[:, :-1], (1, 0), value=self.size)
        h = self.symbols(before) + self.places
        for block in self.blocks:
            h, _, _ = block(h)
        out: Tensor = self.head(self.norm(h))
        return out

    @torch.no_grad()
    def draw(self, n: int) -> Int[Tensor, "{n} S"]:
        """``n`` rows, by torch's current generator."""
        rows = [self._drawn(min(n - i, most)) for most in [self._most] for i in range(0, n, most)]
        return torch.cat(rows) if rows else self._drawn(0)

    def _drawn(self, n: int) -> Int[Tensor, "{n} S"]:
        found = [torch.full((n,), self.size, device=self.places.device)]
        kept: list[Any] = [None] * len(self.blocks)
        for place in range(self.length):
            logits, kept = self.next(found[-1], place, kept)
            noise = (
                -torch.empty_like(logits).exponential_().log()
            )  # the largest of logits + noise is a draw (Gumbel)
            found.append((logits + noise).argmax(-1))
        return torch.stack(found[1:], 1)

    def next(
        self, before: Int[Tensor, " B"], place: int, kept: list[Any]
    ) -> tuple[Float[Tensor, "B K"], list[Any]]:
        """Logits of the symbol at ``place``, given the one before it and what was ``kept`` of those before that.

        Args:
            before: the symbol before it; K before the first.
            place: from 0.
            kept: each block's keys and values so far, or None for each.
        """
        h = (self.symbols(before) + self.places[place])[:, None]
        now = []
        for block, past in zip(self.blocks, kept, strict=True):
            h, keys, values = block(h, past)
            now.append((keys, values))
        return self.head(self.norm(h))[:, 0], now

    @property
    def _most(self) -> int:
        """Rows to take at once."""
        return max(1, AT_ONCE // self.length)

    def forward(self, encode: Encode) -> Distribution:
        return _Rows(alphabet_of(encode), self)


class _Block(nn.Module):
    """Causal attention and a network for each place, each beside a way past it, after normalisation."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.three, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(DROPOUT)
        for layer in (
            self.out,
            self.down,
        ):  # what 2·layers ways add up keeps its size (Radford et al. 2019, section 2.3)
            nn.init.normal_(layer.weight, std=0.02 / (2 * layers) ** 0.5)

    def forward(
        self, h: Float[Tensor, "B T width"], past: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, ...]:
        """h, and the keys and values of all places so far, (B, heads, T, width/heads); those ``past`` come before."""
        three = self.three(self.first(h)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, keys, values = three
        if past is not None:
            keys, values = torch.cat([past[0], keys], 2), torch.cat([past[1], values], 2)
        # A single query is the latest place, and may look at all of them.
        seen = F.scaled_dot_product_attention(query, keys, values, is_causal=query.shape[2] > 1)
        h = h + self.dropout(self.out(seen.transpose(1, 2).flatten(2)))
        return h + self.dropout(self.down(F.silu(self.up(self.second(h))))), keys, values


class _Rows(d.CodeLaw):
    """The law of rows that an `Autoregressive` prior gives; mean and deviation are those of what it was fitted to."""

    def __init__(self, alphabet: Alphabet, prior: Autoregressive) -> None:
        super().__init__(alphabet, torch.zeros(prior.length, dtype=torch.long, device=prior.places.device))
        self.prior = prior

    @property
    def mean(self) -> Tensor:
        return self.prior.loc

    @property
    def stddev(self) -> Tensor:
        return self.prior.scale

    def log_prob_of(self, symbols: Tensor) -> Tensor:
        rows = symbols.reshape(-1, symbols.shape[-1])
        parts = []
        for some in torch.split(rows, self.prior._most):
            log_p = self.prior.logits(some).log_softmax(-1)
            parts.append(log_p.gather(-1, some[..., None]).squeeze(-1).sum(-1))
        return torch.cat(parts).reshape(symbols.shape[:-1])

    def draw(self, n: int) -> Tensor:
        return self.prior.draw(n)


def fit_autoregressive(
    prior: Autoregressive, symbols: Int[Tensor, "N S"], seed: int, steps: int, progress: Progress
) -> None:
    """Maximum likelihood by AdamW with a rate that rises and falls; batches are functions of (seed, step).

    A tenth of the rows is held out, and the state that gives these the highest probability is kept.
    """
    with seeded(seed, "prior", "split"):
        symbols = symbols[torch.randperm(len(symbols))]
    held = min(MOST_HELD_OUT, int(HELD_OUT * len(symbols)))
    judged, learned = (symbols[:held], symbols[held:]) if held else (symbols, symbols)
    weights = [p for p in prior.parameters() if p.dim() > 1]
    others = [p for p in prior.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": weights, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        LR,
        betas=(0.9, 0.95),
    )
    best, kept = _nats(prior.eval(), judged), copy.deepcopy(prior.state_dict())
    for step in range(steps):
        prior.train()
        with seeded(seed, "prior", step):
            batch = learned[torch.randint(len(learned), (min(BATCH, len(learned)),))]
            for group in optimizer.param_groups:
                group["lr"] = LR * min(1.0, 10 * (step + 1) / steps) * (1 - step / steps)
            optimizer.zero_grad()
            F.cross_entropy(prior.logits(batch).flatten(0, 1), batch.flatten()).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
            optimizer.step()
        if (step + 1) % max(1, steps // JUDGEMENTS) == 0 or step + 1 == steps:
            nats = _nats(prior.eval(), judged)
            if nats < best:
                best, kept = nats, copy.deepcopy(prior.state_dict())
            progress("fitting the prior", step + 1, steps, {"nats": best})
    prior.load_state_dict(kept)
    prior.eval()


@torch.no_grad()
def _nats(prior: Autoregressive, symbols: Int[Tensor, "N S"]) -> float:
    """−log p of a row, the mean."""
    total = 0.0
    for some in torch.split(symbols, prior._most):
        total += float(F.cross_entropy(prior.logits(some).flatten(0, 1), some.flatten(), reduction="sum"))
    return total / len(symbols)
