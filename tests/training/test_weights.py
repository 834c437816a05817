"""Weights that are no numbers, or of another network, are refused in few words; others are loaded."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnunet_missingmod.training.checkpoints import CheckpointError, read_checkpoint
from nnunet_missingmod.training.weights import WeightsError, check_finite, load_weights


@pytest.fixture
def network():
    return nn.Sequential(*(nn.Linear(2, 2) for _ in range(5)))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_no_numbers_are_refused_with_their_file(tmp_path, network, number, kind):
    weights = {name: value.to(kind) for name, value in network.state_dict().items()}
    check_finite({**weights, "count": torch.tensor(3)})
    weights["1.bias"][1] = number
    file = tmp_path / "checkpoint_final.pth"
    torch.save({"network_weights": weights, "trainer_name": "nnUNetTrainer", "init_args": {}}, file)
    with pytest.raises(CheckpointError, match=rf"{file}: weights are NaN or infinite \(1\.bias\), so the training"):
        read_checkpoint(file)
    read_checkpoint(file, mapped=True)


def test_right_weights_are_loaded(network):
    weights = {name: torch.randn_like(value) for name, value in network.state_dict().items()}
    load_weights(network, weights)
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_a_wrappers_prefix_is_said_with_the_fix(network, prefix):
    weights = {f"{prefix}{name}": value for name, value in network.state_dict().items()}
    with pytest.raises(WeightsError, match=rf'begin with "{prefix}".* Save the checkpoint again') as refusal:
        load_weights(network, weights)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (nn.Sequential(nn.Conv2d(1, 1, 1)), r"\(0\.weight has shape \(1, 1, 1, 1\) instead of \(2, 2\)"),
        (nn.ModuleDict({"a": nn.Linear(2, 2)}), r"0\.weight is not in the checkpoint, .* and 9 more\)"),
        (nn.Sequential(*(nn.Linear(3, 2) for _ in range(5))), r"shape \(2, 3\) instead of \(2, 2\), .* and 2 more\)"),
    ],
)
def test_weights_of_another_network_are_told_by_three_names_and_a_number(network, other, said):
    if isinstance(other, nn.Sequential) and len(other) == 1:
        network = network[:1]
    with pytest.raises(WeightsError, match=said) as refusal:
        load_weights(network, other.state_dict())
    assert str(refusal.value).endswith("Put plans.json and the checkpoint of one training and configuration together.")
    assert "\n" not in str(refusal.value)
