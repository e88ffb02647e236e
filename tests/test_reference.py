"""The reference networks are the original study's: Keras' weights, merely transposed, give Keras' outputs.

``fixtures/keras_reference.npz`` holds what Keras itself answered; ``fixtures/keras_reference.py`` tells how.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fixtures.keras_weights import Layer, glorot_limit, keras_weights
from morphospace.networks import ReferenceDecoder, ReferenceEncoder

TOLERANCE = 1e-4  # absolute; the largest error of float32 in another order of summation is some 1e-6
TO_TORCH = {"conv": (3, 2, 0, 1), "dense": (1, 0), "conv_transpose": (3, 2, 0, 1)}


@pytest.fixture(scope="module")
def answers() -> dict[str, NDArray]:
    with np.load(Path(__file__).parent / "fixtures" / "keras_reference.npz") as archive:
        return {name: archive[name] for name in archive.files}


def to_torch(layers: list[Layer]) -> list[tuple[Tensor, Tensor]]:
    """(weight, bias) of each module in order, the two heads z_mean and z_log_var stacked into one."""
    pairs = [(torch.tensor(k.transpose(TO_TORCH[kind])), torch.tensor(b)) for _, kind, k, b in layers]
    if layers[-1].name == "z_log_var":
        mean, log_var = pairs[-2:]
        pairs[-2:] = [(torch.cat([mean[0], log_var[0]]), torch.cat([mean[1], log_var[1]]))]
    return pairs


def weighted(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if hasattr(module, "weight")]


def filled(network: nn.Module, layers: list[Layer]) -> nn.Module:
    with torch.no_grad():
        for module, (weight, bias) in zip(weighted(network), to_torch(layers), strict=True):
            assert module.weight.shape == weight.shape  # copy_ would broadcast
            module.weight.copy_(weight)
            module.bias.copy_(bias)
    return network.eval()


def channels_first(images: NDArray) -> Tensor:
    return torch.tensor(images.transpose(0, 3, 1, 2).copy())


@torch.no_grad()
def test_encoder_gives_the_outputs_of_keras(answers):
    encoder = filled(ReferenceEncoder(2), keras_weights()["encoder"])
    got = encoder(channels_first(answers["images"]))
    expected = torch.tensor(np.concatenate([answers["z_mean"], answers["z_log_var"]], axis=1))
    torch.testing.assert_close(got, expected, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_decoder_gives_the_outputs_of_keras(answers):
    decoder = filled(ReferenceDecoder(2), keras_weights()["decoder"])
    got = torch.sigmoid(decoder(torch.tensor(answers["z"])))
    torch.testing.assert_close(got, channels_first(answers["decoded"]), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(("make", "count"), [(ReferenceEncoder, 1_158_236), (ReferenceDecoder, 203_585)])
def test_parameter_counts_are_those_of_the_study(make, count):
    assert sum(parameter.numel() for parameter in make(2).parameters()) == count


def initial_weights(make: type[nn.Module], latent: int) -> list[list[tuple[Tensor, Tensor]]]:
    """(weight, bias) of each module of eight fresh networks; the global generator is left as it was."""
    networks = []
    with torch.random.fork_rng(devices=[]):
        for seed in range(8):
            torch.manual_seed(seed)
            modules = weighted(make(latent))
            networks.append([(module.weight.detach(), module.bias.detach()) for module in modules])
    return networks


@pytest.mark.parametrize("latent", [2, 10])
@pytest.mark.parametrize(("make", "name"), [(ReferenceEncoder, "encoder"), (ReferenceDecoder, "decoder")])
def test_initial_weights_are_glorot_uniform_and_biases_zero(make, name, latent):
    """Within the bound, up to the bound, and spread as a uniform is, for each layer as Keras counts its fans.

    Each head counts as a layer of its own, with fan_out = latent, though the two share one Linear here.
    """
    networks = initial_weights(make, latent)
    layers = keras_weights(latent)[name]
    heads = sum(layer.name.startswith("z_") for layer in layers)
    for index, layer in enumerate(layers):
        is_head = layer.name.startswith("z_")
        module = len(layers) - heads if is_head else index
        half = slice(latent, None) if layer.name == "z_log_var" else slice(latent) if is_head else slice(None)
        weights = torch.stack([network[module][0][half] for network in networks])
        biases = torch.stack([network[module][1][half] for network in networks])

        assert weights[0].numel() == layer.kernel.size, layer.name
        limit, reach = glorot_limit(layer), weights.abs().max().item()
        assert 0.97 * limit < reach <= limit * (1 + 1e-6), layer.name
        assert weights.std().item() == pytest.approx(limit / 3**0.5, rel=0.1), layer.name
        assert not biases.any(), layer.name


def test_each_seed_and_each_head_draws_its_own_weights():
    first, second, *_ = initial_weights(ReferenceEncoder, 2)
    assert not any(torch.equal(a, b) for (a, _), (b, _) in zip(first, second, strict=True))
    mean, log_var = first[-1][0].chunk(2)
    assert not torch.equal(mean, log_var)
