"""Posteriors that quantise: numbers at each place of a grid -> the code that they become there.

`Codebooks`      codes that are learned, one for each place, or several in a row, each for what the one before left over
`FiniteScalar`   every number rounded to one of a few values

Both are an `Alphabet`: a point of the space is S = G·L symbols of K each, and its D = S·d numbers their vectors in a
row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

import morphospace.distributions as d
from morphospace.distributions import Distribution
from morphospace.families.base import Family, full
from morphospace.seeds import seeded
from morphospace.types import UsageError

__all__ = ["Codebooks", "FiniteScalar"]

DECAY = 0.99
"""Of the running means of codes and of their use, a step (van den Oord et al. 2017, appendix A.1)."""
LEAST_USE = 0.04
"""A code is dead whose share of the use falls below this part of an even one. Zeghidour et al. (2021), section III-C,
replace codes with a running count below 2 in a batch; 2 of the 49 that each of 512 codes has in 512 images of 7×7
places is this part, which no batch size changes."""
JITTER = 0.01
"""Noise on codes taken from images, in standard deviations of what was quantised, so that no two are one."""
STARTING_VECTORS = 16
"""For each code, for k-means to start from; of `MOST_STARTING_IMAGES` at most."""
MOST_STARTING_IMAGES = 1024
ROUNDS = 10
"""Of k-means: it only has to start well."""
AT_ONCE = 2**25
"""Distances that are held at once, where many points are looked up."""


class Codebooks(Family):
    """(…, G·d) -> G·L codes of K each: the nearest of a codebook, then the nearest to what is left, L times.

    With L = 1 this is vector quantisation (van den Oord et al. 2017, arXiv:1711.00937, eq. 1 and 2), with more it is
    residual (Zeghidour et al. 2021, arXiv:2107.03312; Lee et al. 2022, arXiv:2203.01941). A place's codes are to be
    summed by the decoder; in the space they lie in a row, so that each can be read off again.

    Codes begin as k-means of the encoder's outputs and a dead one is replaced by an output of the batch in hand, drawn
    by torch's current generator, as in Zeghidour et al. (2021), section III-C. While it is trained, every call learns:
    running means of the codes' use, and of the codes themselves where they learn so.

    Args:
        places: G.
        numbers: d, of a code.
        size: K, codes in a codebook.
        levels: L, codebooks.
        averaged: whether codes are running means of what was assigned to them (appendix A.1 of van den Oord et al.);
            otherwise they are weights, which the term `codebook` teaches.
    """

    plane = False
    reads, gives = "vectors, put to the nearest code", "the codes"
    use: Tensor
    sums: Tensor
    codebook: Tensor

    def __init__(
        self, places: int, numbers: int, size: int, levels: int = 1, *, averaged: bool = True
    ) -> None:
        super().__init__()
        self.places, self.numbers, self.size, self.levels = places, numbers, size, levels
        self.averaged, self.length = averaged, places * levels
        # As in the paper's published code, until begin_with: U(−1/K, 1/K). Three dimensions, so that no optimizer
        # takes it for a hidden matrix.
        start = (2 * torch.rand(levels, size, numbers) - 1) / size
        if averaged:
            self.register_buffer("codebook", start)
            self.register_buffer("sums", start / size)
        else:
            self.codebook = nn.Parameter(start)
        self.register_buffer("use", torch.full((levels, size), 1 / size))

    def outputs(self, values: int) -> int:
        if values != self.length * self.numbers:
            raise UsageError(
                f"latent is {values}; {self.length} codes of {self.numbers} have {self.length * self.numbers} numbers"
            )
        return values // self.levels

    def forward(self, h: Float[Tensor, "*batch P"]) -> d.Codes:
        left = full(h).unflatten(-1, (self.places, self.numbers))  # type: ignore[no-untyped-call]
        before, after, chosen = [], [], []
        for level in range(self.levels):
            symbols = self._nearest(left.detach(), level)
            before.append(left)
            after.append(self.codebook[level][symbols])
            chosen.append(symbols)
            if self.training:
                self._learn(level, left.detach().reshape(-1, self.numbers), symbols.reshape(-1))
            left = left - after[-1].detach()
        return d.Codes(torch.stack(before, -2), torch.stack(after, -2), torch.stack(chosen, -1), self.size)

    # ------------------------------------------------------------ as an alphabet

    def vectors(self, symbols: Int[Tensor, "*batch S"]) -> Float[Tensor, "*batch D"]:
        level = torch.arange(self.length, device=symbols.device) % self.levels
        return self.codebook.detach()[level, symbols].flatten(-2)

    def symbols(self, z: Float[Tensor, "*batch D"]) -> Int[Tensor, "*batch S"]:
        each = z.unflatten(-1, (self.places, self.levels, self.numbers))  # type: ignore[no-untyped-call]
        found = [self._nearest(each[..., level, :], level) for level in range(self.levels)]
        return torch.stack(found, -1).flatten(-2)

    @torch.no_grad()
    def _nearest(self, h: Float[Tensor, "*batch d"], level: int) -> Int[Tensor, "*batch"]:
        """The code nearest to each vector: ‖h‖² is the same for all of them."""
        codes = self.codebook[level].to(h.dtype)
        half = 0.5 * codes.square().sum(-1)
        parts = torch.split(h.reshape(-1, self.numbers), max(1, AT_ONCE // self.size))
        found = [torch.addmm(half, part, codes.T, alpha=-1).argmin(-1) for part in parts]
        return torch.cat(found).reshape(h.shape[:-1])

    # ------------------------------------------------------------ how it learns

    @torch.no_grad()
    def begin_with(self, pick: Callable[[int], Tensor], encode: Callable[[Tensor], Distribution]) -> None:
        """K-means of what the encoder makes of some images, level by level."""
        images = pick(min(MOST_STARTING_IMAGES, -(-STARTING_VECTORS * self.size // self.places)))
        mode = self.training
        self.eval()  # to be looked at and not to be learned from
        found = encode(images)
        self.train(mode)
        assert isinstance(found, d.Codes)
        left = found.before[..., 0, :].reshape(-1, self.numbers)
        with seeded(0, "codebook"):
            for level in range(self.levels):
                self.codebook[level] = self._means(left, level)
                left = left - self.codebook[level][self._nearest(left, level)]
        if self.averaged:
            self.sums.copy_(self.codebook / self.size)
        self.use.fill_(1 / self.size)

    def _means(self, points: Float[Tensor, "n d"], level: int) -> Float[Tensor, "K d"]:
        """K-means that begins with points drawn far from one another (Arthur & Vassilvitskii 2007)."""
        rows = [torch.randint(len(points), (1,), device=points.device)]
        away = (points - points[rows[0]]).square().sum(1)
        for _ in range(self.size - 1):
            rows.append(torch.multinomial(away + 1e-12, 1))
            away = away.minimum((points - points[rows[-1]]).square().sum(1))
        centres = self._jittered(points[torch.cat(rows)], points)
        for _ in range(ROUNDS):
            self.codebook[level] = centres
            counts, sums = self._counted(points, self._nearest(points, level))
            centres = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp_min(1), centres)
        return centres

    def _counted(self, x: Float[Tensor, "n d"], symbols: Int[Tensor, " n"]) -> tuple[Tensor, Tensor]:
        """How many vectors each code has, and their sum."""
        counts = x.new_zeros(self.size).index_add(0, symbols, x.new_ones(len(x)))
        return counts, x.new_zeros(self.size, self.numbers).index_add(0, symbols, x)

    def _jittered(self, some: Tensor, every: Tensor) -> Tensor:
        return some + JITTER * every.std(0, correction=0) * torch.randn_like(some)

    @torch.no_grad()
    def _learn(self, level: int, x: Float[Tensor, "n d"], symbols: Int[Tensor, " n"]) -> None:
        counts, sums = self._counted(x, symbols)
        use, codes = self.use[level], self.codebook[level]  # views: what is written to them is kept
        use.lerp_(counts / len(x), 1 - DECAY)
        if self.averaged:
            self.sums[level].lerp_(sums / len(x), 1 - DECAY)
            codes.copy_(self.sums[level] / use.clamp_min(1e-12)[:, None])
        dead = use < LEAST_USE / self.size
        others = self._jittered(x[torch.randint(len(x), (self.size,), device=x.device)], x)
        codes.copy_(torch.where(dead[:, None], others, codes))
        use.copy_(torch.where(dead, 1 / self.size, use))
        if self.averaged:
            self.sums[level].copy_(torch.where(dead[:, None], others / self.size, self.sums[level]))


class FiniteScalar(Family):
    """(…, G·d) -> G codes: each of d numbers is bounded, then rounded to one of a few values (Mentzer et al. 2023,
    arXiv:2309.15505, section 3.1).

    Nothing is learned here, and the codebook, K = Π levels, is the product of the values: so no code can lie where the
    encoder does not reach.

    The bound is (L − 1)/2 · tanh, drawn in by 0.1 %, so that exactly L whole numbers are met, and moved by a half for
    even L, as in the paper's code; there tan(offset / half) moves the argument so that nought stays about where it is,
    here artanh, its exact inverse.

    Args:
        places: G.
        levels: L of each of the d numbers, at least 3.

    Raises:
        UsageError: for fewer levels than 3, or more codes than can be counted.
    """

    plane = False
    reads, gives = "numbers, rounded to levels", "the codes"
    counts: Tensor
    most = 2**20

    def __init__(self, places: int, levels: Sequence[int]) -> None:
        super().__init__()
        self.size, self.length, self.numbers = math.prod(levels), places, len(levels)
        if not levels or min(levels) < 3 or self.size > self.most:
            raise UsageError(
                f"levels are {', '.join(map(str, levels)) or 'none'}, {self.size:,} codes; expected at least 3 for "
                f"each number, and {self.most:,} codes at most"
            )
        self.register_buffer("counts", torch.tensor(levels), persistent=False)

    def outputs(self, values: int) -> int:
        if values != self.length * self.numbers:
            raise UsageError(
                f"latent is {values}; {self.length} codes of {self.numbers} have {self.length * self.numbers} numbers"
            )
        return values

    def bound(self, h: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Numbers that round to −⌊L/2⌋, …, ⌊(L − 1)/2⌋."""
        half = 0.999 * (self.counts.to(h.dtype) - 1) / 2
        offset = 0.5 * (1 - self.counts % 2).to(h.dtype)
        return half * torch.tanh(h + torch.atanh(offset / half)) - offset

    def forward(self, h: Float[Tensor, "*batch P"]) -> d.Codes:
        bounded = self.bound(full(h).unflatten(-1, (self.length, self.numbers)))  # type: ignore[no-untyped-call]
        whole = bounded.detach().round()
        half, symbols = self.counts // 2, self._symbols(whole)
        return d.Codes(
            (bounded / half).unsqueeze(-2), (whole / half).unsqueeze(-2), symbols.unsqueeze(-1), self.size
        )

    # ------------------------------------------------------------ as an alphabet

    @property
    def _steps(self) -> Int[Tensor, " d"]:
        """What a step of each number adds to the symbol: numbers are the digits of a mixed radix, the first fastest."""
        return self.counts.cumprod(0) // self.counts

    def _symbols(self, whole: Float[Tensor, "*batch d"]) -> Int[Tensor, "*batch"]:
        digits = whole.long() + self.counts // 2
        return (digits.clamp_min(0).minimum(self.counts - 1) * self._steps).sum(-1)

    def vectors(self, symbols: Int[Tensor, "*batch S"]) -> Float[Tensor, "*batch D"]:
        digits = symbols.unsqueeze(-1) // self._steps % self.counts
        return ((digits - self.counts // 2) / (self.counts // 2)).flatten(-2)

    def symbols(self, z: Float[Tensor, "*batch D"]) -> Int[Tensor, "*batch S"]:
        each = z.unflatten(-1, (self.length, self.numbers))  # type: ignore[no-untyped-call]
        return self._symbols((each * (self.counts // 2)).round())
