"""Network bodies: deterministic maps from one tensor to another that know no probability.

ReferenceEncoder, ReferenceDecoder   the original study's networks, for 28×28×1 images
ConvEncoder, ConvDecoder             for any image from 8 to 128 pixels a side, sized by one dial
GridEncoder, GridDecoder             likewise, by way of a coarse grid of vectors instead of one
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from morphospace.types import ImageSpec, UnknownName, UsageError

__all__ = [
    "SIZES",
    "ConvDecoder",
    "ConvEncoder",
    "GridDecoder",
    "GridEncoder",
    "Network",
    "NoughtForMissing",
    "OfClass",
    "ReferenceDecoder",
    "ReferenceEncoder",
    "Size",
    "grid_sides",
    "size",
]

REFERENCE_SPEC = ImageSpec(1, 28, 28)


class Network(nn.Module):
    """A body that maps (N, *input_shape) to (N, *output_shape).

    Attributes:
        classes: Y, the classes that it is told of, or 0. If any, it is called with (N, Y) weights of them too: a one
            and noughts for an image of one class, noughts alone where the class is not known.
    """

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    classes: int = 0


class NoughtForMissing(Network):
    """A network of images whose missing pixels, nan, are noughts to it (Nazábal et al. 2020, arXiv:1807.03653)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.input_shape, self.output_shape, self.classes = (
            network.input_shape,
            network.output_shape,
            network.classes,
        )

    def forward(self, x: Float[Tensor, "N C H W"], *y: Tensor) -> Float[Tensor, "N P"]:
        out: Tensor = self.network(x.masked_fill(x.isnan(), 0.0), *y)
        return out


class OfClass(Network):
    """A network that is told of classes, with one class for all that it is given."""

    def __init__(self, network: Network, label: int) -> None:
        super().__init__()
        self.network, self.label = network, label
        self.input_shape, self.output_shape = network.input_shape, network.output_shape

    def forward(self, x: Tensor) -> Tensor:
        y = torch.zeros(len(x), self.network.classes, dtype=x.dtype, device=x.device)
        y[:, self.label] = 1
        out: Tensor = self.network(x, y)
        return out


class Precise(nn.Linear):
    """A dense layer that computes in its weights' own precision, whatever the rest of the network does.

    For what leads to and from the latents: bfloat16 keeps 8 bits, so a mean near 3 would be off by up to 0.008, a good
    part of a posterior's standard deviation in two dimensions.
    """

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype))


# ---------------------------------------------------------------- the original study's networks


class ReferenceEncoder(Network):
    """The original study's encoder: (N, 1, 28, 28) -> (N, 2·latent), mean and log-variance; 1,158,236 weights for 2-D.

    Activations are flattened with the channels last, as Keras does, so that Keras' weights fit when transposed.
    """

    input_shape = REFERENCE_SPEC.shape

    def __init__(self, latent: int = 2) -> None:
        super().__init__()
        self.output_shape = (2 * latent,)
        self.conv1 = nn.Conv2d(1, 32, 14)
        self.conv2 = nn.Conv2d(32, 64, 6)
        self.dense1 = nn.Linear(10 * 10 * 64, 168)
        self.dense2 = Precise(168, 16)
        self.heads = Precise(16, 2 * latent)
        _keras_initialisation(self)
        # Mean and log-variance are two layers in Keras: each has `latent` outputs, and so its own fan.
        _glorot_uniform_(self.heads.weight, fan_in=16, fan_out=latent)

    def forward(self, x: Float[Tensor, "N 1 28 28"]) -> Float[Tensor, "N P"]:
        h = F.relu(self.conv2(F.relu(self.conv1(x))))
        h = h.permute(0, 2, 3, 1).flatten(1)  # (N, 10·10·64), channels last
        out: Tensor = self.heads(F.relu(self.dense2(F.relu(self.dense1(h)))))
        return out


class ReferenceDecoder(Network):
    """The original study's decoder: (N, latent) -> logits (N, 1, 28, 28); 203,585 weights for 2-D."""

    output_shape = REFERENCE_SPEC.shape

    def __init__(self, latent: int = 2) -> None:
        super().__init__()
        self.input_shape = (latent,)
        self.dense = Precise(latent, 7 * 7 * 128)
        self.deconv1 = SameConvTranspose2d(128, 128)
        self.deconv2 = SameConvTranspose2d(128, 32)
        self.deconv3 = nn.ConvTranspose2d(32, 1, 3, padding=1)
        _keras_initialisation(self)

    def forward(self, z: Float[Tensor, "N D"]) -> Float[Tensor, "N 1 28 28"]:
        h = F.relu(self.dense(z)).reshape(-1, 7, 7, 128).permute(0, 3, 1, 2)
        out: Tensor = self.deconv3(F.relu(self.deconv2(F.relu(self.deconv1(h)))))
        return out


class SameConvTranspose2d(nn.ConvTranspose2d):
    """A 3×3 transposed convolution of stride 2 with TensorFlow's ``same`` padding: n pixels become 2n.

    The full result has 2n + 1 pixels a side, and TensorFlow drops the last; ``padding=1, output_padding=1`` would
    drop the first, which shifts every picture by one pixel.

    It is computed as one 2×2 convolution that puts out the four pixels (even or odd row, even or odd column) of each
    place, which are then set side by side (Shi et al. 2016, arXiv:1609.07009): faster in bfloat16 on a CPU than the
    transposed convolution, whose backward pass is far from the machine's peak. The weights are the plain layer's.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=2)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:  # noqa: ARG002
        w = _even_and_odd(_even_and_odd(self.weight, 2), 4)  # (I, O, phase, tap, phase, tap)
        w = w.permute(2, 4, 1, 0, 3, 5).flatten(0, 2)  # (4·O, I, 2, 2)
        assert self.bias is not None
        y = F.conv2d(
            F.pad(x, (1, 0, 1, 0)), w.contiguous(memory_format=torch.channels_last), self.bias.repeat(4)
        )
        n, _, height, width = y.shape
        y = y.permute(0, 2, 3, 1).reshape(n, height, width, 2, 2, -1).transpose(2, 3)
        return y.reshape(n, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


def _even_and_odd(w: Tensor, dim: int) -> Tensor:
    """Three taps along ``dim`` as (2 phases, 2 taps): an even pixel 2i is w₂·x[i−1] + w₀·x[i], an odd one w₁·x[i]."""
    first, second, third = w.unbind(dim)
    taps = torch.stack([third, first, torch.zeros_like(first), second], dim)
    halves: Tensor = torch.unflatten(taps, dim, (2, 2))
    return halves


def _keras_initialisation(module: nn.Module) -> None:
    """Glorot-uniform weights and zero biases, fans counted as Keras counts them."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            taps = math.prod(layer.weight.shape[2:])
            fans = layer.weight.shape[0] * taps, layer.weight.shape[1] * taps
            _glorot_uniform_(layer.weight, *fans)  # their order does not matter: only the sum enters
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _glorot_uniform_(weight: Tensor, fan_in: int, fan_out: int) -> None:
    """U(−a, a), a = √(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 16)."""
    bound = math.sqrt(6 / (fan_in + fan_out))
    nn.init.uniform_(weight, -bound, bound)


# ---------------------------------------------------------------- convolutional networks for any image shape


@dataclass(frozen=True)
class Size:
    """What the dial `size` sets, together: widths, depth and learning rates.

    Attributes:
        encoder: channels of the encoder's first convolution.
        hidden: width of the encoder's residual blocks.
        stem: width of the decoder's residual stem.
        blocks: residual blocks in each of the two.
        grid: channels of the decoder's coarse grid.
        lr: the highest learning rate.
        matrix_lr: that of hidden matrices under Muon.
    """

    encoder: int
    hidden: int
    stem: int
    blocks: int
    grid: int
    lr: float
    matrix_lr: float


SIZES = {
    "tiny": Size(encoder=16, hidden=128, stem=128, blocks=2, grid=16, lr=8e-3, matrix_lr=12e-3),
    "small": Size(encoder=32, hidden=256, stem=192, blocks=3, grid=16, lr=8e-3, matrix_lr=12e-3),
    "medium": Size(encoder=32, hidden=256, stem=256, blocks=3, grid=16, lr=8e-3, matrix_lr=12e-3),
    "large": Size(encoder=48, hidden=384, stem=384, blocks=4, grid=32, lr=5e-3, matrix_lr=8e-3),
}


def size(name: str) -> Size:
    """The dial's setting by name."""
    if name not in SIZES:
        raise UnknownName("size", name, SIZES)
    return SIZES[name]


class ConvEncoder(Network):
    """(N, C, H, W) -> (N, outputs): a convolution of stride 4, some of stride 2 down to a 4×4 grid, residual blocks.

    Fine detail is left at once, since activations at full size, not products, are what a CPU spends its time on. Depth
    after that is cheap, and is what lets the encoder find the posterior of images that it has not seen. Classes, if
    there are any, join what the convolutions found.

    Args:
        spec: the images' shape.
        outputs: P.
        size: widths and depth.
        classes: how many classes it is told of.
        corrupted: the part of the images that it sees, while it is trained, only as a binary draw: each value is 1 with
            itself for probability, else 0 (a denoising criterion: Im et al. 2017, arXiv:1511.06406). An encoder so
            taught errs less on images that it has not seen (Shu et al. 2018, arXiv:1805.08913).
    """

    widest = 128

    def __init__(
        self, spec: ImageSpec, outputs: int, size: Size, classes: int = 0, corrupted: float = 0.0
    ) -> None:
        super().__init__()
        _require_conv_shape(spec)
        self.corrupted = corrupted
        self.input_shape, self.output_shape, self.classes = spec.shape, (outputs,), classes
        sides, width = _divided((spec.height, spec.width), 4), size.encoder
        layers: list[nn.Module] = [nn.Conv2d(spec.channels, width, 6, stride=4, padding=1), nn.SiLU()]
        while max(sides) > 4 or len(layers) < 4:
            wider = min(width * 2, self.widest)
            layers += [nn.Conv2d(width, wider, 3, stride=2, padding=1), nn.SiLU()]
            sides, width = _divided(sides, 2), wider
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Linear(width * math.prod(sides) + classes, size.hidden)
        self.blocks = nn.Sequential(*(Residual(size.hidden) for _ in range(size.blocks)))
        self.heads = Precise(size.hidden, outputs)

    def forward(
        self, x: Float[Tensor, "N C H W"], y: Float[Tensor, "N Y"] | None = None
    ) -> Float[Tensor, "N P"]:
        if self.training and self.corrupted > 0:
            chosen = torch.rand(len(x), 1, 1, 1, device=x.device) < self.corrupted
            x = torch.where(chosen, torch.bernoulli(x), x)
        # Sides that are no multiple of four get noughts at their far end, so that the strides reach the last pixel.
        x = F.pad(x, (0, -x.shape[3] % 4, 0, -x.shape[2] % 4))
        h = _joined(self.convolutions(x).flatten(1), y)
        out: Tensor = self.heads(self.blocks(F.silu(self.hidden(h))))
        return out


class ConvDecoder(Network):
    """(N, latent) -> (N, factor·C, H, W): a residual stem, a coarse grid, and sub-pixel convolutions up to the image.

    The last convolution puts out a tile of 4×4 pixels for each place of its grid (Shi et al. 2016, arXiv:1609.05158),
    so that no activation but the image itself has full size. Another ``stem`` may stand in its place: (N, latent) ->
    (N, size.stem). Classes, if there are any, stand beside the latents.
    """

    def __init__(
        self,
        spec: ImageSpec,
        latent: int,
        size: Size,
        factor: int = 1,
        stem: nn.Module | None = None,
        classes: int = 0,
    ) -> None:
        super().__init__()
        _require_conv_shape(spec)
        self.input_shape, self.output_shape = (latent,), (factor * spec.channels, spec.height, spec.width)
        self.classes = classes
        self.sides = _sides(spec)
        self.base = (size.grid, *self.sides[0])
        self.stem = dense_stem(latent + classes, size) if stem is None else stem
        self.spread = nn.Linear(size.stem, math.prod(self.base))
        self.stages = nn.ModuleList(nn.Conv2d(size.grid, 4 * size.grid, 3, padding=1) for _ in self.sides[1:])
        self.tiles = nn.Conv2d(size.grid, 16 * self.output_shape[0], 3, padding=1)

    def forward(
        self, z: Float[Tensor, "N D"], y: Float[Tensor, "N Y"] | None = None
    ) -> Float[Tensor, "N P H W"]:
        h: Tensor = F.silu(self.spread(self.stem(_joined(z, y)))).reshape(-1, *self.base)
        for stage, (height, width) in zip(self.stages, self.sides[1:], strict=True):
            # Sides were divided upwards, so the way back may overshoot by a pixel or three.
            h = F.silu(F.pixel_shuffle(stage(h), 2)[..., :height, :width])
        _, height, width = self.output_shape
        return F.pixel_shuffle(self.tiles(h), 4)[..., :height, :width]


def dense_stem(latent: int, size: Size) -> nn.Sequential:
    """(N, latent) -> (N, size.stem): a dense layer and residual blocks."""
    return nn.Sequential(Precise(latent, size.stem), *(Residual(size.stem) for _ in range(size.blocks)))


class Residual(nn.Module):
    """h + W₂·silu(W₁·h), with W₂ small at the start, so that a block begins near the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        with torch.no_grad():
            self.second.weight.mul_(0.1)
            self.second.bias.zero_()

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = h + self.second(F.silu(self.first(h)))
        return out


def _joined(h: Tensor, y: Tensor | None) -> Tensor:
    """What is known of each row and, where a network is told of classes, of its class."""
    return h if y is None else torch.cat([h, y.to(h.dtype)], 1)


# ---------------------------------------------------------------- with a grid of vectors between them


class GridEncoder(Network):
    """(N, C, H, W) -> (N, h·w·outputs): a convolution of stride 4, some of stride 2 down to the coarse grid (h, w) of
    `grid_sides`, residual blocks there, and ``outputs`` numbers for each place, place by place.
    """

    def __init__(self, spec: ImageSpec, outputs: int, size: Size) -> None:
        super().__init__()
        _require_conv_shape(spec)
        sides, width = _sides(spec), 2 * size.encoder
        self.input_shape, self.output_shape = spec.shape, (math.prod(sides[0]) * outputs,)
        layers: list[nn.Module] = [nn.Conv2d(spec.channels, width, 6, stride=4, padding=1), nn.SiLU()]
        for _ in sides[1:]:
            layers += [nn.Conv2d(width, width, 3, stride=2, padding=1), nn.SiLU()]
        self.convolutions = nn.Sequential(*layers)
        self.blocks = nn.Sequential(*(ConvResidual(width) for _ in range(size.blocks)))
        self.heads = Precise(width, outputs)
        # What is quantised must differ from place to place and image to image from the start, or all becomes one code:
        # variance is kept from layer to layer (He et al. 2015, arXiv:1502.01852, eq. 10), and no bias drowns it.
        for layer in (*self.convolutions, self.heads):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N P"]:
        x = F.pad(
            2 * x - 1, (0, -x.shape[3] % 4, 0, -x.shape[2] % 4)
        )  # as in `ConvEncoder`, with grey for nought
        h = F.silu(self.blocks(self.convolutions(x))).permute(0, 2, 3, 1)  # (N, h, w, width)
        out: Tensor = self.heads(h)
        return out.flatten(1)


class GridDecoder(Network):
    """(N, h·w·layers·numbers) -> (N, factor·C, H, W): residual blocks on the coarse grid, then sub-pixel convolutions.

    Where a place has several ``layers`` of numbers, it begins with their sum.
    """

    def __init__(self, spec: ImageSpec, numbers: int, size: Size, factor: int = 1, layers: int = 1) -> None:
        super().__init__()
        _require_conv_shape(spec)
        self.sides, width = _sides(spec), 2 * size.encoder
        self.places = (*self.sides[0], layers, numbers)
        self.input_shape = (math.prod(self.places),)
        self.output_shape = (factor * spec.channels, spec.height, spec.width)
        self.stem = Precise(numbers, width)
        self.blocks = nn.Sequential(*(ConvResidual(width) for _ in range(size.blocks)))
        self.stages = nn.ModuleList(nn.Conv2d(width, 4 * width, 3, padding=1) for _ in self.sides[1:])
        self.tiles = nn.Conv2d(width, 16 * self.output_shape[0], 3, padding=1)

    def forward(self, z: Float[Tensor, "N D"]) -> Float[Tensor, "N P H W"]:
        h: Tensor = self.stem(z.reshape(-1, *self.places).sum(3)).permute(0, 3, 1, 2)  # (N, width, h, w)
        h = F.silu(self.blocks(h))
        for stage, (height, width) in zip(self.stages, self.sides[1:], strict=True):
            h = F.silu(F.pixel_shuffle(stage(h), 2)[..., :height, :width])
        _, height, width = self.output_shape
        return F.pixel_shuffle(self.tiles(h), 4)[..., :height, :width]


class ConvResidual(nn.Module):
    """h + W₂·silu(W₁∗h) on a grid, W₁ a 3×3 convolution and W₂ one of 1×1 (van den Oord et al. 2017, section 4.1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width // 2, 3, padding=1)
        self.second = nn.Conv2d(width // 2, width, 1)
        with torch.no_grad():
            self.second.weight.mul_(0.1)
            assert self.second.bias is not None
            self.second.bias.zero_()

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = h + self.second(F.silu(self.first(h)))
        return out


def grid_sides(spec: ImageSpec) -> tuple[int, int]:
    """Height and width of the coarse grid of an image: a quarter of its sides, halved until none is above 8."""
    return _sides(spec)[0]


def _sides(spec: ImageSpec) -> list[tuple[int, int]]:
    """The sides of every grid between the coarse one and a quarter of the image's, coarsest first."""
    sides = [_divided((spec.height, spec.width), 4)]
    while max(sides[0]) > 8:
        sides.insert(0, _divided(sides[0], 2))
    return sides


def _divided(sides: tuple[int, int], by: int) -> tuple[int, int]:
    """Both sides divided, rounded upwards: what a convolution of that stride makes of them."""
    return -(-sides[0] // by), -(-sides[1] // by)


def _require_conv_shape(spec: ImageSpec) -> None:
    if not all(8 <= side <= 128 for side in (spec.height, spec.width)):
        raise UsageError(
            f"the conv network takes images of 8 to 128 pixels a side; these are {spec.height}×{spec.width}. "
            "Load them with another --image-size."
        )


def require_reference_shape(spec: ImageSpec) -> None:
    """Refuse any image shape but the original study's."""
    if spec != REFERENCE_SPEC:
        raise UsageError(
            f"the reference network is the original study's and takes {REFERENCE_SPEC} images; these are {spec}. "
            "Use a recipe with the conv network, such as 'vae', for other shapes."
        )


def count_parameters(module: nn.Module) -> int:
    """How many numbers a module learns."""
    return sum(p.numel() for p in module.parameters())


@torch.no_grad()
def layer_table(network: Network) -> list[tuple[str, tuple[int, ...], str]]:
    """Each layer of a network in order of use: its kind, the shape it puts out for one image, and its kernel.

    Found by running the network once on noughts, so that it is what the model does and not what somebody wrote down.
    """
    rows: list[tuple[str, tuple[int, ...], str]] = []

    def note(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        shape = tuple(output.shape[1:])
        if (
            isinstance(layer, nn.Linear) and len(shape) == 3
        ):  # at each place of a grid, whose channels are last then
            shape = (shape[2], *shape[:2])
        rows.append((_kind(layer), shape, _kernel(layer)))

    # Activations are modules in some networks and functions in others, so only layers with weights are told.
    leaves = [m for m in network.modules() if not list(m.children()) and list(m.parameters())]
    hooks = [leaf.register_forward_hook(note) for leaf in leaves]
    try:
        parameter = next(network.parameters())
        shapes = [network.input_shape, *([(network.classes,)] if network.classes else [])]
        network(*(torch.zeros(1, *s, device=parameter.device, dtype=parameter.dtype) for s in shapes))
    finally:
        for hook in hooks:
            hook.remove()
    return rows


def _kind(layer: nn.Module) -> str:
    if isinstance(layer, nn.ConvTranspose2d):
        return "transposed convolution"
    if isinstance(layer, nn.Linear):
        return "dense"
    return "convolution" if isinstance(layer, nn.Conv2d) else type(layer).__name__


def _kernel(layer: nn.Module) -> str:
    if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        return ""
    height, width = layer.kernel_size
    return f"{height}×{width}" + (f", stride {layer.stride[0]}" if layer.stride[0] > 1 else "")
