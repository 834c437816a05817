"""Damaged and hostile plans are refused before a network is built; those that nnU-Net writes are accepted."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_missingmod import Predictor
from nnunet_missingmod.inference.model_files import ModelFolderError
from nnunet_missingmod.inference.model_folder import open_model_folder
from nnunet_missingmod.inference.plans_check import check_imported_names, check_values

NUMBER = 4


@pytest.fixture
def plans(make_tiny_dataset):
    return deepcopy(make_tiny_dataset(num_cases=0).plans)


def check(plans, folder, configuration="3d_fullres"):
    manager = PlansManager(deepcopy(plans))
    chosen = manager.get_configuration(configuration)
    check_imported_names(chosen, folder)
    check_values(manager, chosen, folder, num_modalities=NUMBER)


def change(plans, key, value):
    """Set an entry, given by its path, of the plans or else of the configuration."""
    *path, last = key.split(".")
    place = plans if (path or [last])[0] in plans else plans["configurations"]["3d_fullres"]
    for each in path:
        place = place[each]
    place[last] = value


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres", "3d_resenc", "3d_lowres", "3d_cascade_fullres"])
def test_what_nnunet_writes_is_accepted(plans, tmp_path, configuration):
    check(plans, tmp_path, configuration)


@pytest.mark.filterwarnings("ignore:Detected old nnU-Net plans format")
def test_plans_of_earlier_versions_are_accepted(plans, tmp_path):
    configuration = plans["configurations"]["3d_fullres"]
    arguments = configuration.pop("architecture")["arch_kwargs"]
    configuration |= {
        **{"UNet_class_name": "PlainConvUNet", "UNet_base_num_features": 4, "unet_max_num_features": 8},
        **{"n_conv_per_stage_encoder": [1, 1, 1], "n_conv_per_stage_decoder": [1, 1], "num_pool_per_axis": [2, 2, 2]},
        **{"conv_kernel_sizes": arguments["kernel_sizes"], "pool_op_kernel_sizes": arguments["strides"]},
    }
    key = "foreground_intensity_properties_per_channel"
    plans["foreground_intensity_properties_by_modality"] = plans.pop(key)
    del plans["label_manager"]
    check(plans, tmp_path)
    configuration |= {"UNet_class_name": "ResidualEncoderUNet"}
    check(plans, tmp_path)


def test_a_class_that_was_moved_and_other_layers_are_accepted(plans, tmp_path):
    name = "dynamic_network_architectures.architectures.moved.PlainConvUNet"
    change(plans, "architecture.network_class_name", name)
    change(plans, "architecture.arch_kwargs.nonlin", "torch.nn.modules.activation.GELU")
    check(plans, tmp_path)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("architecture.arch_kwargs.nonlin", "os.system"),
        ("architecture.arch_kwargs.norm_op", "subprocess.call"),
        ("architecture.arch_kwargs.conv_op", "torch.nn.functional.importlib.import_module"),
        ("architecture.arch_kwargs.nonlin", "torch.nn.init.calculate_gain"),
        ("architecture.arch_kwargs.nonlin", "torch.nn"),
        ("architecture.arch_kwargs.nonlin", "nnunet_missingmod.__main__"),
        ("architecture.arch_kwargs.nonlin", ["torch.nn.ReLU"]),
        ("architecture.network_class_name", "os.system"),
        ("architecture.network_class_name", "monai.networks.nets.UNet"),
        ("architecture.network_class_name", "torch.nn.Sequential"),
        ("architecture.network_class_name", "dynamic_network_architectures.architectures.unet.np"),
        ("architecture.network_class_name", None),
    ],
)
def test_names_of_anything_but_networks_are_refused(plans, tmp_path, key, name):
    change(plans, key, name)
    with pytest.raises(ModelFolderError, match=rf"plans\.json: {key} is .* nothing of it was") as refusal:
        check(plans, tmp_path)
    assert repr(name) in str(refusal.value)


def test_a_command_in_plans_is_not_executed(make_tiny_dataset, make_model, tmp_path):
    folder = make_model(make_tiny_dataset(num_cases=0), "nnUNetTrainerModalityDropout")
    plans = json.loads((folder / "plans.json").read_text())
    witness = tmp_path / "executed"
    change(plans, "architecture.arch_kwargs.nonlin", "os.system")
    change(plans, "architecture.arch_kwargs.nonlin_kwargs", {"command": f"touch {witness}"})
    (folder / "plans.json").write_text(json.dumps(plans))
    for opened in (open_model_folder, Predictor.from_model_folder):
        with pytest.raises(ModelFolderError, match=r"arch_kwargs\.nonlin is 'os\.system', which must be the name of"):
            opened(folder)
    assert not witness.exists()


INTENSITIES = "foreground_intensity_properties_per_channel"
NAN = float("nan")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("patch_size", value) for value in (None, 16, [16], [16] * 4, [16.0] * 3, [0, 16, 16], [True] * 3)),
        *(("patch_size", value) for value in ([16, 18, 16], ["16"] * 3)),
        *(("spacing", value) for value in (None, 1.0, [1.0] * 2, [1.0, 0, 1.0], [1.0, -1.0, 1.0], [1.0, NAN, 1.0])),
        *(("spacing", value) for value in ([1.0] * 4, ["1"] * 3, [1.0, float("inf"), 1.0])),
        *(("transpose_forward", value) for value in ([0, 1], [0, 1, 3], [0, 1, 1], "012", [0, 1, 2, 2])),
        *(("transpose_backward", value) for value in ([1, 0, 2], None, [0.0, 1.0, 2.0])),
        *(
            ("normalization_schemes", value)
            for value in (["ZScoreNormalization"] * 3, "ZScoreNormalization", ["np"] * 4)
        ),
        *(("normalization_schemes", value) for value in (["Nothing"] * 4, [None] * 4)),
        *(("use_mask_for_norm", value) for value in ([True] * 3, [1] * 4, ["true"] * 4, True)),
        *((INTENSITIES, value) for value in (None, {}, {"0": {}})),
        ("resampling_fn_data_kwargs", {"is_seg": False, "orders": 3}),
        ("resampling_fn_seg_kwargs", {"data": 1}),
        *(("resampling_fn_probabilities_kwargs", value) for value in (None, [1])),
        *(("resampling_fn_data_kwargs.order", value) for value in (6, -1, "3", 1.5, True)),
        ("resampling_fn_seg_kwargs.order_z", 9),
        ("resampling_fn_seg_kwargs.is_seg", "yes"),
        ("resampling_fn_data_kwargs.force_separate_z", 1),
        *(("label_manager", value) for value in ("NoManager", 3, "np")),
        ("architecture.arch_kwargs", None),
        ("architecture._kw_requires_import", ["no_key"]),
        ("architecture.arch_kwargs.kernel_sizes", [[3, 3]] * 3),
        ("architecture.arch_kwargs.strides", [[1, 1, 1], [2, 0, 2], [2, 2, 2]]),
    ],
)
def test_values_that_nnunet_cannot_use_are_refused_with_key_and_what_is_allowed(plans, tmp_path, key, value):
    change(plans, key, value)
    with pytest.raises(ModelFolderError, match=rf"plans\.json: {key}.* which must be .*Restore") as refusal:
        check(plans, tmp_path)
    assert "\n" not in str(refusal.value)


def test_ct_needs_the_intensities_of_its_own_channel(plans, tmp_path):
    change(plans, "normalization_schemes", ["ZScoreNormalization"] * 3 + ["CTNormalization"])
    check(plans, tmp_path)
    plans[INTENSITIES] = {str(channel): {} for channel in range(NUMBER)}
    with pytest.raises(ModelFolderError, match=rf"{INTENSITIES}\.3 is .*mean, std, percentile_00_5, percentile_99_5"):
        check(plans, tmp_path)


def test_axes_may_be_turned_if_they_are_turned_back(plans, tmp_path):
    change(plans, "transpose_forward", [2, 0, 1])
    change(plans, "transpose_backward", [1, 2, 0])
    check(plans, tmp_path)
    change(plans, "transpose_backward", [2, 0, 1])
    with pytest.raises(ModelFolderError, match=r"transpose_backward is \[2, 0, 1\], which must be \[1, 2, 0\]"):
        check(plans, tmp_path)


def test_damaged_values_are_refused_before_the_first_case(make_tiny_dataset, make_model):
    folder = make_model(make_tiny_dataset(num_cases=0), "nnUNetTrainer")
    plans = json.loads((folder / "plans.json").read_text())
    change(plans, "resampling_fn_probabilities_kwargs.order", 7)
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(ModelFolderError, match=r"resampling_fn_probabilities_kwargs\.order is 7, .* from 0 to 5"):
        Predictor.from_model_folder(folder, device="cpu")


@pytest.mark.parametrize("axes", ["x", (7,), (0, 0), [-1], 2, [[0]], (0.5,)])
def test_mirroring_along_what_is_no_axis_is_refused_before_the_first_case(make_tiny_dataset, make_model, axes):
    folder = make_model(make_tiny_dataset(num_cases=0), "nnUNetTrainer")
    file = folder / "fold_0" / "checkpoint_final.pth"
    torch.save(torch.load(file, weights_only=False) | {"inference_allowed_mirroring_axes": axes}, file)
    said = r"fold_0 has inference_allowed_mirroring_axes .*; allowed are the numbers 0 to 2, each once, or None"
    with pytest.raises(ModelFolderError, match=said):
        Predictor.from_model_folder(folder, device="cpu")


def test_weights_that_are_no_numbers_are_refused_with_fold_and_file(make_tiny_dataset, make_model):
    folder = make_model(make_tiny_dataset(num_cases=0), "nnUNetTrainer", folds=(0, 1))
    file = folder / "fold_1" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    next(iter(checkpoint["network_weights"].values()))[0] = NAN
    torch.save(checkpoint, file)
    with pytest.raises(ModelFolderError, match=rf"fold 1: {file}: weights are NaN or infinite"):
        Predictor.from_model_folder(folder, device="cpu")
