"""Reading a checkpoint: what is not whole, or more than weights, is refused by name, and nothing in it is executed."""

from __future__ import annotations

import os
import re
import zipfile

import numpy as np
import pytest
import torch

from nnunet_missingmod.training.checkpoints import (
    CheckpointError,
    TornCheckpointError,
    find_trainer,
    read_checkpoint,
)

CONTENT = {
    "network_weights": {"weight": torch.arange(5000.0)},
    "trainer_name": "nnUNetTrainer",
    "init_args": {"fold": 0, "device": torch.device("cpu")},
    "logging": {"train_losses": [np.float32(0.5)], "dice_per_class_or_region": [[np.float64(0.25)]]},
    "_best_ema": np.float64(0.1),
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "checkpoint_final.pth"
    torch.save(CONTENT, path)
    return path


@pytest.mark.parametrize("mapped", [False, True])
def test_a_whole_checkpoint_is_read_as_it_was_saved(file, mapped):
    read = read_checkpoint(file, mapped=mapped)
    assert torch.equal(read["network_weights"]["weight"], CONTENT["network_weights"]["weight"])
    assert {name: value for name, value in read.items() if name != "network_weights"} == {
        name: value for name, value in CONTENT.items() if name != "network_weights"
    }


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_a_checkpoint_of_numpy_1_and_of_numpy_2_is_read(tmp_path, module):
    content = {**CONTENT, "array": np.arange(3.0)}
    written, renamed = tmp_path / "written.pth", tmp_path / "renamed.pth"
    torch.save(content, written)
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(renamed, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("data.pkl"):
                data, replaced = re.subn(rb"cnumpy\._?core\.multiarray\n", f"c{module}\n".encode(), data)
                assert replaced == 2  # a scalar and an array
            target.writestr(name, data)
    read = read_checkpoint(renamed)
    assert read["_best_ema"] == 0.1
    assert read["array"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("kept", [0, 1, 1000, 0.5, 0.99, -1])
def test_a_truncated_checkpoint_is_refused_by_name(file, kept):
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(TornCheckpointError, match=r"checkpoint_final\.pth cannot be read, perhaps .* killed"):
        read_checkpoint(file)


def test_one_flipped_bit_is_found_where_torch_hands_it_out(file):
    content = bytearray(file.read_bytes())
    content[content.index(torch.arange(5000.0).numpy().tobytes()) + 10_000] ^= 1
    file.write_bytes(content)
    flipped = torch.load(file, weights_only=False)
    assert not torch.equal(flipped["network_weights"]["weight"], CONTENT["network_weights"]["weight"])
    with pytest.raises(TornCheckpointError, match="the checksum of .* is wrong"):
        read_checkpoint(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TornCheckpointError, match=r"absent\.pth cannot be read"):
        read_checkpoint(tmp_path / "absent.pth")


class Hostile:
    """What unpickles by running a command."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("mapped", [False, True])
def test_a_hostile_checkpoint_is_refused_and_not_executed(file, tmp_path, mapped):
    marker = tmp_path / "executed"
    torch.save({**CONTENT, "logging": Hostile(marker)}, file)
    with pytest.raises(CheckpointError, match=r"was not executed: it names \w+\.system\.$") as caught:
        read_checkpoint(file, mapped=mapped)
    assert not isinstance(caught.value, TornCheckpointError)
    assert not marker.exists()
    torch.load(file, weights_only=False)
    assert marker.exists(), "it does execute where it is let"


def test_something_else_than_a_checkpoint_says_what_it_lacks(file):
    torch.save({"network_weights": {}}, file)
    with pytest.raises(CheckpointError, match="it has no init_args, trainer_name"):
        read_checkpoint(file)


def test_trainers_are_found_without_attaching_and_others_are_named():
    assert find_trainer("nnUNetTrainerModalityDropout").__name__ == "nnUNetTrainerModalityDropout"
    assert find_trainer("nnUNetTrainer").__module__ == "nnunetv2.training.nnUNetTrainer.nnUNetTrainer"


# nnU-Net's search imports every variant of its trainers, and what they import is not ours to mend.
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_trainer_that_is_not_installed_is_named():
    with pytest.raises(CheckpointError, match="nnUNetTrainerOfSomebody, which is not installed"):
        find_trainer("nnUNetTrainerOfSomebody")
