import copy

import pytest
import torch
from torch import nn

from saree_vae.optimizer import LEARNT, OPTIMIZERS, Muon, orthogonal


@pytest.mark.parametrize("shape", [(32, 200), (200, 32), (64, 64)])
def test_a_matrix_is_turned_towards_the_orthogonal_one_beside_it(shape):
    torch.manual_seed(0)
    left, values, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    found = orthogonal(left * values.clamp(min=0.2 * values.max()) @ right)
    stretched = torch.linalg.svdvals(found)
    assert stretched.min() > 0.6 and stretched.max() < 1.3
    assert torch.cosine_similarity(found.flatten(), (left @ right).flatten(), dim=0) > 0.97
    assert not orthogonal(torch.zeros(shape)).any()


def test_weights_of_layers_step_alike_in_every_direction_and_all_else_as_by_adamw():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(4, 32, 3), nn.BatchNorm2d(32), nn.Conv2d(32, 32, 3, groups=32), nn.Flatten())
    layers.append(nn.Linear(32, 16))
    others = copy.deepcopy(layers)
    x = torch.randn(64, 4, 5, 5) * torch.tensor([10.0, 1.0, 1.0, 1.0])[:, None, None]  # one channel outweighs the rest
    before = {name: value.clone() for name, value in layers.named_parameters()}
    for net, optimizer in ((layers, Muon(layers, 1e-3, 0.1)), (others, OPTIMIZERS["adamw"](others, 1e-3, 0.1))):
        net(x).square().mean().backward()
        optimizer.step()
    turned = {"0.weight", "4.weight"}
    for name, value in layers.named_parameters():
        assert torch.equal(value, dict(others.named_parameters())[name]) == (name not in turned), name
    for name in turned:
        decay = 1 - 4e-3 * 0.1
        step = torch.linalg.svdvals((dict(layers.named_parameters())[name] - decay * before[name]).flatten(1))
        assert step.min() > 0.3 * step.max()
        assert 0.1 < step.square().sum().sqrt() / before[name].numel() ** 0.5 / 4e-3 / 0.2 < 1.3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_learnt_elsewhere_are_a_group_of_a_slower_pace(name):
    net = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 8))
    known = {id(p) for p in net[0].parameters()}
    groups = OPTIMIZERS[name](net, 1e-3, 0.1, net[0].parameters()).param_groups
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(map(id, net.parameters()))
    for group in groups:
        assert {id(p) in known for p in group["params"]} == {group["pace"] == LEARNT}
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] > 0}
    assert {group["pace"] for group in OPTIMIZERS[name](net, 1e-3, 0.1).param_groups} == {1.0}
