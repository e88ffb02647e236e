"""Networks by their contract: shapes for any image, sizes that grow, gradients everywhere, refusals in words."""

from __future__ import annotations

import pytest
import torch

from morphospace.networks import (
    SIZES,
    ConvDecoder,
    ConvEncoder,
    GridEncoder,
    ReferenceDecoder,
    ReferenceEncoder,
    count_parameters,
    layer_table,
    require_reference_shape,
    size,
)
from morphospace.types import ImageSpec, UnknownName, UsageError

SIDES = [(28, 28), (32, 32), (48, 40), (9, 31), (8, 8), (8, 128), (13, 8), (17, 33)]


def pair(spec: ImageSpec, latent: int = 3, name: str = "tiny", factor: int = 1):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ConvEncoder(spec, 2 * latent, size(name)), ConvDecoder(spec, latent, size(name), factor)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sides", SIDES)
def test_conv_networks_take_images_of_any_shape(channels, sides):
    spec = ImageSpec(channels, *sides)
    encoder, decoder = pair(spec)
    x = torch.rand(2, *spec.shape)
    h, image = encoder(x), decoder(torch.randn(2, 3))
    assert h.shape == (2, *encoder.output_shape) == (2, 6)
    assert image.shape == (2, *decoder.output_shape) == (2, *spec.shape)
    assert encoder.input_shape == spec.shape
    assert decoder.input_shape == (3,)
    assert torch.isfinite(h).all()
    assert torch.isfinite(image).all()


@pytest.mark.parametrize("factor", [1, 2])
def test_parameters_of_an_image_lie_along_the_channels(factor):
    _, decoder = pair(ImageSpec(3, 9, 11), factor=factor)
    assert decoder(torch.zeros(1, 3)).shape[1:] == decoder.output_shape == (3 * factor, 9, 11)


@pytest.mark.parametrize("sides", [(7, 28), (28, 7), (129, 28), (28, 129), (1, 1)])
def test_sides_that_are_too_short_or_too_long_are_refused(sides):
    with pytest.raises(UsageError, match=rf"8 to 128.*{sides[0]}×{sides[1]}"):
        pair(ImageSpec(1, *sides))


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("spec", [ImageSpec(1, 28, 28), ImageSpec(3, 9, 31)], ids=str)
def test_every_weight_feels_every_network(name, spec):
    """No layer is left out of the sum, nor dead from the start."""
    for network, x in zip(
        pair(spec, name=name), (torch.rand(8, *spec.shape), torch.randn(8, 3)), strict=True
    ):
        network(x).square().sum().backward()
        for weight, p in network.named_parameters():
            assert torch.isfinite(p.grad).all(), weight
            assert p.grad.abs().max() > 0, weight


@pytest.mark.parametrize("sides", SIDES)
def test_every_pixel_reaches_the_code_and_is_reached_by_it(sides):
    """The borders of odd sides are the ones that get lost."""
    spec = ImageSpec(1, *sides)
    encoder, decoder = pair(spec)
    x = torch.rand(4, *spec.shape, requires_grad=True)
    encoder(x).square().sum().backward()
    assert (x.grad.abs().amax(0) > 0).all()
    assert (decoder(torch.randn(64, 3)).std(0) > 0).all()


def test_the_dial_grows_the_networks():
    spec = ImageSpec(1, 28, 28)
    counts = [sum(count_parameters(network) for network in pair(spec, name=name)) for name in SIZES]
    assert counts == sorted(set(counts))
    assert all(size(name).lr > 0 for name in SIZES)


def test_an_unknown_size_is_refused_with_the_close_match():
    with pytest.raises(UnknownName, match="Did you mean 'small'"):
        size("smal")


@pytest.mark.parametrize("name", SIZES)
def test_rows_do_not_feel_one_another(name):
    """No normalisation over the batch: an embedding would depend on the company that it was made in."""
    spec = ImageSpec(1, 12, 10)
    encoder, decoder = pair(spec, name=name)
    x, z = torch.rand(5, *spec.shape), torch.randn(5, 3)
    for network, inputs in ((encoder, x), (decoder, z)):
        assert network.training  # in the mode where such a layer would show itself
        whole = network(inputs)
        for i in range(5):
            torch.testing.assert_close(network(inputs[i : i + 1])[0], whole[i], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(network(inputs), whole, rtol=0, atol=0)  # and nothing is drawn


@pytest.mark.parametrize("name", SIZES)
def test_at_the_start_codes_and_pixels_are_moderate(name):
    """Posteriors near the prior and pixels near grey: a first step from which any optimizer can walk."""
    spec = ImageSpec(1, 28, 28)
    encoder, decoder = pair(spec, name=name)
    with torch.no_grad():
        assert encoder(torch.rand(16, *spec.shape)).abs().max() < 5
        assert decoder(torch.randn(16, 3)).abs().max() < 10


@pytest.mark.parametrize("spec", [ImageSpec(3, 28, 28), ImageSpec(1, 28, 27), ImageSpec(1, 14, 14)], ids=str)
def test_the_reference_takes_its_own_shape_and_names_the_way_out(spec):
    with pytest.raises(UsageError, match="conv"):
        require_reference_shape(spec)
    require_reference_shape(ImageSpec(1, 28, 28))


def test_the_layer_table_is_what_the_reference_does():
    """Shapes and kernels as the original study prints them."""
    shapes = [(kind, shape) for kind, shape, _ in layer_table(ReferenceEncoder(2))]
    assert shapes == [
        ("convolution", (32, 15, 15)),
        ("convolution", (64, 10, 10)),
        ("dense", (168,)),
        ("dense", (16,)),
        ("dense", (4,)),
    ]
    decoder = layer_table(ReferenceDecoder(2))
    assert [shape for _, shape, _ in decoder] == [(6272,), (128, 14, 14), (32, 28, 28), (1, 28, 28)]
    assert [kernel for _, _, kernel in decoder] == ["", "3×3, stride 2", "3×3, stride 2", "3×3"]


def test_layers_at_each_place_of_a_grid_are_told_of_as_grids():
    """A dense layer has its channels last there, where convolutions have them first; the table has them first."""
    rows = layer_table(GridEncoder(ImageSpec(1, 28, 20), 6, size("tiny")))
    assert {shape[1:] for _, shape, _ in rows} == {(7, 5)}
    assert ("dense", (6, 7, 5), "") in rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_layer_table_leaves_the_network_as_it_was(dtype):
    encoder, decoder = pair(ImageSpec(3, 9, 11))
    for network in (encoder.to(dtype), decoder.to(dtype)):
        rows = layer_table(network)
        assert len(rows) > 1
        assert all(
            isinstance(kind, str) and shape and isinstance(kernel, str) for kind, shape, kernel in rows
        )
        assert not any(module._forward_hooks for module in network.modules())
        assert all(p.grad is None for p in network.parameters())


def test_a_corrupted_encoder_sees_binary_draws_in_training_and_the_image_itself_otherwise():
    encoder = ConvEncoder(ImageSpec(1, 28, 28), 4, size("tiny"), corrupted=1.0)
    seen = []
    encoder.convolutions.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.rand(64, 1, 28, 28)
    for step in range(400):
        torch.manual_seed(step)
        encoder(x)
    drawn = torch.stack(seen)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    # The mean of 400 draws is the image, to within five standard errors.
    assert (drawn.mean(0) - x).abs().max() < 5 * 0.5 / 400**0.5
    encoder.eval()
    encoder(x)
    assert torch.equal(seen[-1], x)


def test_a_part_of_the_images_is_corrupted():
    encoder = ConvEncoder(ImageSpec(1, 28, 28), 4, size("tiny"), corrupted=0.25)
    seen = []
    encoder.convolutions.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.rand(4000, 1, 28, 28)
    torch.manual_seed(0)
    encoder(x)
    whole = (seen[0] == x).flatten(1).all(1)
    assert 1 - whole.float().mean() == pytest.approx(0.25, abs=0.03)
