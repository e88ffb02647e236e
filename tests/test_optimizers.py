"""Muon makes its updates orthogonal, and takes the matrices that are its own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from morphospace import recipes
from morphospace.settings import Settings
from morphospace.training.optimizers import Muon, make_optimizers, orthogonalized
from morphospace.types import ImageSpec

SHAPES = [(96, 96), (64, 300), (300, 64)]


@pytest.mark.parametrize("shape", SHAPES)
def test_singular_values_come_near_one(shape):
    torch.manual_seed(0)
    matrices = torch.randn(3, *shape)
    before, after = torch.linalg.svdvals(matrices), torch.linalg.svdvals(orthogonalized(matrices))
    assert before.amax() / before.amin() > 2
    # The quintic's range (Jordan et al. 2024); the smallest values of a square matrix may not have come up yet.
    assert after.amax() < 1.3
    assert after.median() > 0.65


@pytest.mark.parametrize("shape", SHAPES)
def test_directions_are_kept(shape):
    """Orthogonalisation changes singular values and no singular vectors: UᵀO·V is diagonal."""
    torch.manual_seed(0)
    matrix = torch.randn(*shape, dtype=torch.float64)
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    turned = u.T @ orthogonalized(matrix[None])[0] @ vt.T
    assert (turned - turned.diagonal().diag()).abs().amax() < 1e-9


def test_a_matrix_does_not_depend_on_those_beside_it():
    torch.manual_seed(0)
    matrices = torch.randn(4, 64, 80)
    together, alone = orthogonalized(matrices), torch.cat([orthogonalized(m[None]) for m in matrices])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_one_step_goes_against_the_gradient_by_the_stated_scale():
    torch.manual_seed(0)
    p = nn.Parameter(torch.zeros(64, 100))
    p.grad = torch.randn(64, 100)
    Muon([p], lr=0.1, momentum=0.9).step()
    # Momentum begins at nought, so the first step's direction is the gradient's own.
    expected = -0.1 * 0.2 * math.sqrt(100) * orthogonalized(p.grad[None])[0]
    torch.testing.assert_close(p.detach(), expected, rtol=1e-4, atol=1e-6)


def test_muon_takes_hidden_matrices_and_nothing_else():
    network = nn.Sequential(nn.Linear(2, 128), nn.Linear(128, 128), nn.Conv2d(64, 64, 3), nn.Linear(128, 4))
    optimizers = make_optimizers(network.parameters(), Settings(optimizer="muon"))
    (hidden,) = optimizers["hidden"].param_groups[0]["params"]
    assert hidden is network[1].weight
    rest = [p for group in optimizers["rest"].param_groups for p in group["params"]]
    assert len(rest) + 1 == len(list(network.parameters()))
    decayed = {
        group["weight_decay"]: {p.dim() > 1 for p in group["params"]}
        for group in optimizers["rest"].param_groups
    }
    assert decayed == {0.01: {True}, 0.0: {False}}


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_without_muon_there_is_one_optimizer(name):
    assert list(make_optimizers(nn.Linear(128, 128).parameters(), Settings(optimizer=name))) == ["rest"]


def test_tables_are_no_matrices():
    """The means of a prior's components are neither turned nor drawn to nought."""
    model = recipes.get("mixture-prior", ImageSpec(1, 8, 8), {"latent": 64, "components": 80}).build().model
    optimizers = make_optimizers(model.parameters(), Settings(optimizer="muon"), model.tables())
    decays = {
        id(p): g["weight_decay"] for o in optimizers.values() for g in o.param_groups for p in g["params"]
    }
    own = dict(model.prior.named_parameters())
    assert own["loc"].shape == (80, 64)
    assert all(decays[id(p)] == 0 for p in own.values())
    taken = {id(p) for g in optimizers["hidden"].param_groups for p in g["params"]}
    assert taken
    assert not taken & {id(p) for p in own.values()}
