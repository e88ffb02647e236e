"""A decoder as a program: a list of steps of nine kinds between buffers of numbers, for a page to compute.

What torch does is watched once (`make_fx`) and said again in these steps. Whatever does not depend on z is computed
here. Whatever only moves numbers about (views, transpositions, pixel shuffles, slices, padding with noughts,
broadcasting) is told by letting torch move their positions instead: one kind of step, ``gather``, stands for all of it,
so that no meaning of an operation is written down a second time.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.distributions import Distribution
from torch.fx import Graph, Node

from morphospace.model import VAE
from morphospace.types import UsageError

__all__ = ["Program", "program_of"]

Step = dict[str, Any]


@dataclass
class Program:
    """What turns z into an image.

    Attributes:
        buffers: how many numbers each holds; the first is z.
        steps: in order; each names its kind, the buffers that it reads and the one that it fills; tensors by number.
        tensors: float32 numbers, or int32 positions, −1 standing for a nought.
        output: the buffer with the mean image (C·H·W).
    """

    buffers: list[int] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    tensors: list[np.ndarray] = field(default_factory=list)
    output: int = 0


MOVES = frozenset({
    "_to_copy", "_unsafe_view", "alias", "clone", "contiguous", "detach", "expand", "permute", "pixel_shuffle",
    "repeat", "select", "slice", "split", "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unsqueeze",
    "view",
})  # fmt: skip
"""Operations that only move numbers about."""
PLAIN = frozenset({"silu", "relu", "sigmoid", "tanh", "exp", "sqrt", "abs", "reciprocal", "neg", "log"})
"""Functions of one number, without parameters."""
PAIRS = frozenset({"add", "sub", "mul", "div"})


@torch.no_grad()
def program_of(model: VAE) -> Program:
    """The decoder of a model: from a point (D,) to its mean image.

    Raises:
        UsageError: for a decoder that computes something else than these steps can say, naming it.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    weight = next(model.decoder.parameters())
    latent = int(model.decoder.network.input_shape[0])
    z = torch.zeros(1, latent, dtype=weight.dtype, device=weight.device)
    checked = Distribution._validate_args  # their checks branch on values, which a program cannot
    Distribution.set_default_validate_args(False)
    try:
        traced = make_fx(lambda points: model.decode(points))(z)
    finally:
        Distribution.set_default_validate_args(checked)
    return _Writer(traced, z).program


@dataclass(frozen=True, eq=False)
class _Live:
    """A value that depends on z: which number of which buffer each of its entries is; −1 is a nought."""

    buffer: int
    positions: Int[Tensor, "*shape"]

    @property
    def shape(self) -> torch.Size:
        return self.positions.shape


class _Writer:
    """Goes through a traced graph and writes the program."""

    def __init__(self, traced: torch.fx.GraphModule, z: Tensor) -> None:
        self.program = Program()
        self.traced = traced
        self.values: dict[Node, Any] = {}
        needed = _needed(traced.graph)
        for node in traced.graph.nodes:
            if node not in needed:
                continue
            if node.op == "placeholder":
                self.values[node] = self._filled(z.shape, self._buffer(z.numel()))
            elif node.op == "get_attr":
                self.values[node] = getattr(traced, str(node.target))
            elif node.op == "call_function":
                self.values[node] = self._call(node)
            else:
                (result,) = node.args
                found = self._value(result[0] if isinstance(result, tuple | list) else result)
                if not isinstance(found, _Live):
                    raise UsageError("what this decoder draws does not depend on z")
                self.program.output = self._solid(found)

    # ------------------------------------------------------------ values

    def _value(self, argument: Any) -> Any:
        if isinstance(argument, Node):
            return self.values[argument]
        if isinstance(argument, list | tuple):
            return type(argument)(self._value(part) for part in argument)
        return argument

    def _buffer(self, count: int) -> int:
        self.program.buffers.append(count)
        return len(self.program.buffers) - 1

    @staticmethod
    def _filled(shape: Sequence[int], buffer: int) -> _Live:
        count = int(np.prod(shape))
        return _Live(buffer, torch.arange(count).reshape(tuple(shape)))

    def _tensor(self, value: Tensor | np.ndarray) -> int:
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        kind = np.int32 if array.dtype.kind in "iu" else np.float32
        self.program.tensors.append(np.ascontiguousarray(array, dtype=kind).ravel())
        return len(self.program.tensors) - 1

    def _solid(self, live: _Live) -> int:
        """A buffer with the value's numbers in order: its own, or a copy."""
        flat = live.positions.reshape(-1)
        if len(flat) == self.program.buffers[live.buffer] and bool((flat == torch.arange(len(flat))).all()):
            return live.buffer
        to = self._buffer(len(flat))
        self._step("gather", to, of=live.buffer, at=self._tensor(flat.numpy()))
        return to

    def _step(self, kind: str, to: int, **more: Any) -> None:
        self.program.steps.append({"op": kind, "to": to, **more})

    # ------------------------------------------------------------ operations

    def _call(self, node: Node) -> Any:
        args = self._value(node.args)
        keywords = {key: self._value(value) for key, value in node.kwargs.items()}
        if not _depends(args) and not _depends(list(keywords.values())):
            return node.target(*args, **keywords)  # type: ignore[operator]
        if node.target is operator.getitem:
            return args[0][args[1]]
        name = str(getattr(node.target, "_opname", node.target))
        if name in MOVES:
            return self._moved(node.target, args, keywords)  # type: ignore[arg-type]
        writers: dict[str, Callable[..., _Live]] = {
            "constant_pad_nd": self._padded,
            "addmm": self._affine,
            "mm": self._product,
            "bmm": self._product,
            "convolution": self._convolved,
            "_softmax": self._softmax,
            "sum": self._summed,
            "clamp": self._clamped,
            "softplus": self._softplus,
            "pow": lambda x, by: self._mapped("pow", x, by),
            "lt": lambda x, than: self._mapped("lt", x, than),
            "where": self._where,
        }
        if name in PLAIN:
            return self._mapped(name, *args)
        if name in PAIRS:
            return self._paired(name, *args, **keywords)
        if name not in writers:
            raise _unknown(name)
        return writers[name](*args, **keywords)

    def _moved(self, target: Callable[..., Any], args: Sequence[Any], keywords: dict[str, Any]) -> Any:
        live, *others = args
        if not isinstance(live, _Live) or _depends(others):
            raise _unknown(str(target))
        kind = keywords.pop("dtype", None)
        if kind is not None and not kind.is_floating_point:
            raise _unknown(f"rounding to {kind}")
        moved = target(live.positions, *others, **keywords)
        if isinstance(moved, Tensor):
            return _Live(live.buffer, moved)
        return [_Live(live.buffer, part) for part in moved]

    def _padded(self, live: _Live, pads: Sequence[int], value: float = 0.0) -> _Live:
        if value != 0:
            raise _unknown(f"padding with {value}")
        moved = torch.nn.functional.pad(live.positions + 1, list(pads)) - 1
        return _Live(live.buffer, moved)

    def _product(self, a: Any, b: Any) -> _Live:
        """A matrix product of which one side is the same for all z."""
        if _depends([a]) and _depends([b]):
            raise _unknown("a product of two things that depend on z")
        if isinstance(a, _Live):
            return self._dense(None, a, b)
        found = self._dense(None, _Live(b.buffer, b.positions.mT), a.mT)
        return _Live(found.buffer, found.positions.mT)

    def _affine(self, bias: Any, x: Any, weight: Any) -> _Live:
        if not isinstance(x, _Live) or _depends([bias, weight]):
            raise _unknown("a layer whose weights depend on z")
        return self._dense(bias, x, weight)

    def _dense(self, bias: Tensor | None, x: _Live, weight: Tensor) -> _Live:
        """x·W + b: (…, R, n)·(n, m)."""
        if weight.dim() == 3 and len(weight) > 1:
            raise _unknown("a product of several matrices")
        inner = weight.reshape(weight.shape[-2:]).T
        shape = (*x.shape[:-1], len(inner))
        to = self._buffer(int(np.prod(shape)))
        more = {} if bias is None else {"bias": self._tensor(bias.expand(len(inner)))}
        self._step("linear", to, of=self._solid(x), weight=self._tensor(inner), outputs=len(inner), **more)
        return self._filled(shape, to)

    def _convolved(
        self, x: Any, weight: Any, bias: Any, stride: Sequence[int], padding: Sequence[int],
        dilation: Sequence[int], transposed: bool, _output_padding: Sequence[int], groups: int,
    ) -> _Live:  # fmt: skip
        if groups != 1 or set(dilation) != {1} or not isinstance(x, _Live) or _depends([weight, bias]):
            raise _unknown("a convolution in groups, or dilated")
        if transposed:
            if set(stride) != {1} or any(_output_padding):
                raise _unknown("a transposed convolution with strides")
            # With steps of one it is a convolution with the kernel turned round.
            weight = weight.transpose(0, 1).flip(2, 3)
            padding = [k - 1 - p for k, p in zip(weight.shape[2:], padding, strict=True)]
        sides = [
            (n + 2 * p - k) // s + 1
            for n, p, k, s in zip(x.shape[2:], padding, weight.shape[2:], stride, strict=True)
        ]
        shape = (1, len(weight), *sides)
        to = self._buffer(int(np.prod(shape)))
        more = {} if bias is None else {"bias": self._tensor(bias)}
        self._step(
            "conv", to, of=self._solid(x), weight=self._tensor(weight), kernel=list(weight.shape),
            stride=list(stride), padding=list(padding), sides=list(x.shape[2:]), **more,
        )  # fmt: skip
        return self._filled(shape, to)

    def _mapped(self, name: str, x: _Live, *numbers: float) -> _Live:
        to = self._buffer(x.positions.numel())
        self._step("map", to, of=self._solid(x), f=name, numbers=[float(v) for v in numbers])
        return self._filled(x.shape, to)

    def _clamped(self, x: _Live, low: float | None = None, high: float | None = None) -> _Live:
        most = float(np.finfo(np.float32).max)
        return self._mapped("clamp", x, -most if low is None else low, most if high is None else high)

    def _softplus(self, x: _Live, beta: float = 1, threshold: float = 20) -> _Live:
        if beta != 1 or threshold != 20:
            raise _unknown("softplus of another sharpness")
        return self._mapped("softplus", x)

    def _paired(self, name: str, a: Any, b: Any, alpha: float = 1) -> _Live:
        """Two values entry by entry, either of which may be the same for all z."""
        if alpha != 1:
            raise _unknown(f"{name} with a factor")
        a, b = self._alike(a, b)
        to = self._buffer(a.positions.numel())
        self._step("pair", to, f=name, of=[self._solid(a), self._solid(b)])
        return self._filled(a.shape, to)

    def _where(self, condition: Any, a: Any, b: Any) -> _Live:
        condition, a, b = self._alike(condition, a, b)
        to = self._buffer(a.positions.numel())
        self._step("where", to, of=[self._solid(v) for v in (condition, a, b)])
        return self._filled(a.shape, to)

    def _alike(self, *values: Any) -> list[_Live]:
        """Values broadcast to one shape, each in a buffer."""
        live = [self._constant(v) if not isinstance(v, _Live) else v for v in values]
        shape = np.broadcast_shapes(*(tuple(v.shape) for v in live))
        return [_Live(v.buffer, v.positions.expand(shape)) for v in live]

    def _constant(self, value: Tensor | float) -> _Live:
        tensor = torch.as_tensor(value, dtype=torch.float32)
        to = self._buffer(tensor.numel())
        self._step("constant", to, value=self._tensor(tensor.reshape(-1)))
        return self._filled(tensor.shape, to)

    def _softmax(self, x: _Live, dim: int, _half_to_float: bool) -> _Live:
        last = _Live(x.buffer, x.positions.movedim(dim, -1))
        to = self._buffer(last.positions.numel())
        self._step("softmax", to, of=self._solid(last), width=last.shape[-1])
        found = self._filled(last.shape, to)
        return _Live(to, found.positions.movedim(-1, dim))

    def _summed(self, x: _Live, dims: Sequence[int], keepdim: bool = False) -> _Live:
        dims = [d % x.positions.dim() for d in dims]
        last = x.positions.movedim(dims, list(range(-len(dims), 0))).flatten(-len(dims))
        to = self._buffer(last.shape[:-1].numel())
        self._step("sum", to, of=self._solid(_Live(x.buffer, last)), width=last.shape[-1])
        shape = [n if d not in dims else 1 for d, n in enumerate(x.shape) if keepdim or d not in dims]
        return self._filled(shape, to)


def _needed(graph: Graph) -> set[Node]:
    """What the output hangs on. Distributions reckon more than their mean, sometimes in place.

    Raises:
        UsageError: if something that the output hangs on is written to, which the steps could not say.
    """
    needed: set[Node] = set()
    left = [node for node in graph.nodes if node.op == "output"]
    while left:
        node = left.pop()
        if node not in needed:
            needed.add(node)
            left.extend(node.all_input_nodes)
    for node in graph.nodes:
        name = str(getattr(node.target, "_opname", ""))
        if not name.endswith("_") or name.endswith("__"):
            continue
        written = node.args[0]
        while isinstance(written, Node):  # a view's numbers are those of what it is a view of
            if written in needed:
                raise _unknown(name)
            moved = str(getattr(written.target, "_opname", "")) in MOVES
            written = written.args[0] if moved else None
    return needed


def _depends(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_depends(part) for part in value)
    return isinstance(value, _Live)


def _unknown(what: str) -> UsageError:
    return UsageError(f"the page cannot compute this space's decoder: it does not know '{what}'")
