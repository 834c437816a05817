"""The plans' block: class attributes, then the block; what is unknown or out of range is refused by name."""

from __future__ import annotations

import json

import pytest

from nnunet_missingmod.plans_block import (
    COMMON_KEYS,
    KEYS,
    block_of,
    describe,
    differences,
    resolve,
    subset_channels,
)

REFUSED = {
    "num_epochs": [0, -1, 1.5, "3", True],
    "num_iterations_per_epoch": [0],
    "num_val_iterations_per_epoch": [0],
    "save_every": [0],
    "initial_lr": [0, -0.1, "fast", float("nan")],
    "momentum": [1, -0.1],
    "weight_decay": [-1],
    "oversample_foreground_percent": [1.1, -0.1],
    "modality_dropout": ["unifrom", None, 1, {}, {"T1": 1}, {"T1": "0.3"}],
    "modality_dropout_probability": [1, -0.1, "half"],
    "modality_dropout_seed": [-1, 0.5],
    "modality_subsets": ["", None, 3, {}, {"T1": 0}, {"T1+T2": -1}, ["T1"]],
    "validation_subsets": ["all"],
    "blank_is_absent": ["yes", 1, None],
    "nonfinite": ["keep"],
    "geometry_tolerance_voxels": [-1, float("inf")],
    "network": ["late", None],
    "channel_encoder": ["own"],
    "channel_encoder_width": [0],
    "absent_fill": ["mean"],
    "substitution": ["list", ["T1"]],
    "encoders": ["slimmer"],
    "bottleneck": [True],
    "auxiliary": ["low"],
    "segmentation_from": [1.5],
    "presence_conditioning": [1],
    "fused_at": ["both"],
    "feature_fusion": ["nonsense"],
    "subset_objective": ["all"],
    "alignment_anchor": ["flair"],
    "anchor_modality": [3],
    "alignment_weight": [-1],
    "mixture_learning_rate_factor": [-1, True],
    "divergence": ["holder", "kl"],
    "divergence_target": ["labels"],
    "divergence_weight": [-0.5, "one"],
    "divergence_alpha": [1, 0, -2],
    "divergence_gamma": [0],
    "divergence_temperature": [0],
    "mutual_information": [True],
    "mutual_information_weight": [-1],
    "mutual_information_level_weights": ["deep", [], [-1, 1], [0, 0], 3],
    "distillation_warmup_epochs": [-1, 0.5],
    "teacher": ["", None, 5],
    "initial_weights": ["zero", None, 1],
}
ACCEPTED = {
    "num_epochs": 1,
    "num_iterations_per_epoch": 1,
    "num_val_iterations_per_epoch": 1,
    "save_every": 1,
    "initial_lr": 1e-3,
    "momentum": 0.9,
    "weight_decay": 0,
    "oversample_foreground_percent": 0.5,
    "modality_dropout": "bernoulli",
    "modality_dropout_probability": 0,
    "modality_dropout_seed": 7,
    "modality_subsets": {"T1+T2": 3, "T1": 0.5},
    "validation_subsets": "cycle",
    "blank_is_absent": False,
    "nonfinite": "zero",
    "geometry_tolerance_voxels": 0,
    "network": "parallel",
    "channel_encoder": "shared",
    "channel_encoder_width": 2,
    "absent_fill": "learned",
    "presence_conditioning": True,
    "fused_at": "features",
    "feature_fusion": "attention",
    "subset_objective": "enumerate",
    "alignment_anchor": "mixture",
    "anchor_modality": "T1",
    "alignment_weight": 0,
    "mixture_learning_rate_factor": 1,
    "divergence": "holder_proper",
    "divergence_target": "label",
    "divergence_weight": 0.5,
    "divergence_alpha": 0.5,
    "divergence_gamma": 1,
    "divergence_temperature": 4,
    "mutual_information": "self",
    "mutual_information_weight": 2,
    "mutual_information_level_weights": [0, 1, 2.5],
    "distillation_warmup_epochs": 10,
    "teacher": "nnUNetTrainer",
    "initial_weights": "teacher",
}


def test_the_block_goes_before_the_class_and_the_class_before_the_key():
    assert resolve(None)["modality_dropout"] == "none"
    assert resolve({}, {"modality_dropout": "uniform"})["modality_dropout"] == "uniform"
    assert (
        resolve({"modality_dropout": "bernoulli"}, {"modality_dropout": "uniform"})["modality_dropout"] == "bernoulli"
    )


def test_what_was_resolved_is_json_and_resolves_to_itself():
    resolved = resolve(ACCEPTED)
    assert resolve(json.loads(json.dumps(resolved))) == resolved


def accepted(key):
    """A value that the key accepts: by hand, or any that its range does."""
    if key.name in ACCEPTED:
        return ACCEPTED[key.name]
    return next(filter(key.accepts, [*key.range.values, True, 1, 0.5, "auto", "learned", "all"]))


def test_a_line_for_the_log_leaves_out_what_is_nnunets_and_long_tables():
    weights = {f"T{number}": 1 for number in range(20)}
    assert describe({"num_epochs": None, "modality_dropout": {"T1": 0.2}, "modality_subsets": weights}) == (
        "modality_dropout={'T1': 0.2}, modality_subsets=20 of them"
    )


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_values_out_of_range_are_refused_with_what_is_allowed(key):
    assert resolve({key.name: accepted(key)})[key.name] == accepted(key)
    for value in REFUSED.get(key.name, [{}, float("nan")]):
        with pytest.raises(ValueError) as caught:
            resolve({key.name: value})
        assert f"{key.name} must be {key.allowed}, got" in str(caught.value)


def test_keys_that_a_trainer_does_not_use_are_left_out_but_not_refused():
    assert set(resolve({"network": "parallel"}, keys=COMMON_KEYS)) == {key.name for key in COMMON_KEYS}
    with pytest.raises(ValueError, match="the nearest known one is 'network'"):
        resolve({"netwrok": "parallel"}, keys=COMMON_KEYS)


def test_what_may_not_change_while_a_training_is_continued_is_listed_with_both_values():
    then = resolve({"modality_dropout_seed": 1, "divergence": "jensen_shannon", "num_epochs": 10})
    now = resolve({"modality_dropout_seed": 2, "num_epochs": 20, "nonfinite": "zero"})
    assert differences(then, now) == [
        "modality_dropout_seed was 1, is 2",
        "divergence was 'jensen_shannon', is 'none'",
    ]
    assert differences({}, now) == []


def test_null_keeps_nnunets_own_value():
    assert resolve({"num_epochs": None})["num_epochs"] is None


def test_unknown_key_is_refused_with_the_nearest_known_one():
    with pytest.raises(ValueError, match=r"unknown key 'modality_droput'; the nearest known one is 'modality_dropout'"):
        resolve({"modality_droput": "uniform"})


CONFIGURATION = {"preprocessor_name": "DefaultPreprocessor", "batch_size": 2, "spacing": [1.0, 1.0]}
# All of nnU-Net's own, those of former versions too.
HOST_PLANS = """dataset_name plans_name original_median_spacing_after_transp original_median_shape_after_transp
image_reader_writer transpose_forward transpose_backward configurations experiment_planner_used label_manager
foreground_intensity_properties_per_channel foreground_intensity_properties_by_modality"""
HOST_CONFIGURATION = """data_identifier preprocessor_name batch_size patch_size median_image_size_in_voxels spacing
normalization_schemes use_mask_for_norm resampling_fn_data resampling_fn_data_kwargs resampling_fn_seg
resampling_fn_seg_kwargs resampling_fn_probabilities resampling_fn_probabilities_kwargs architecture batch_dice
inherits_from previous_stage next_stage UNet_class_name UNet_base_num_features n_conv_per_stage_encoder
n_conv_per_stage_decoder num_pool_per_axis pool_op_kernel_sizes conv_kernel_sizes unet_max_num_features"""


def test_the_block_of_a_configuration_is_found_beside_all_of_nnunets_own_keys():
    configuration = {**dict.fromkeys(HOST_CONFIGURATION.split()), "missingmod": {"num_epochs": 5}}
    plans = dict.fromkeys(HOST_PLANS.split()) | {"configurations": {"2d": configuration}}
    assert block_of(plans, configuration) == {"num_epochs": 5}
    assert block_of({"configurations": {"2d": CONFIGURATION}}, CONFIGURATION) is None


def test_a_configuration_may_be_called_as_the_block_or_a_key():
    named = {"missingmod": {"inherits_from": "2d"}, "2d_missingmod": {"inherits_from": "2d"}, "teacher": CONFIGURATION}
    assert block_of({"configurations": {"2d": CONFIGURATION, **named}}, CONFIGURATION) is None


@pytest.mark.parametrize("name", ["missingmod", "MissingMod", "missing_mod", "Missing-Mod", "nnunet_missingmod"])
def test_a_block_that_nothing_would_read_is_refused_with_its_place(name):
    block = {name: {"num_epochs": 5}}
    with pytest.raises(ValueError, match=f'"{name}" at their top, where nothing reads it. Move it: "configurations"'):
        block_of({"configurations": {"2d": CONFIGURATION}, **block}, CONFIGURATION)
    with pytest.raises(ValueError, match=f'"{name}" directly under "configurations"'):
        block_of({"configurations": {"2d": CONFIGURATION, **block}}, CONFIGURATION)
    if name != "missingmod":
        spelt = CONFIGURATION | block
        with pytest.raises(ValueError, match=f'"{name}" directly in a configuration'):
            block_of({"configurations": {"2d": spelt}}, spelt)
    within = CONFIGURATION | {"architecture": block}
    with pytest.raises(ValueError, match=f'"{name}" in "architecture", where nothing reads it'):
        block_of({"configurations": {"2d": within}}, within)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_a_key_outside_of_the_block_is_refused_with_where_it_belongs(key):
    bare = {key.name: key.default}
    told = rf'"missingmod": \{{"{key.name}": \.\.\.\}}'
    for plans, configuration in (
        ({"configurations": {"2d": CONFIGURATION}, **bare}, CONFIGURATION),
        ({"configurations": {"2d": CONFIGURATION, **bare}}, CONFIGURATION),
        ({"configurations": {"2d": CONFIGURATION | bare}}, CONFIGURATION | bare),
    ):
        with pytest.raises(ValueError, match=told):
            block_of(plans, configuration)


def test_a_subset_of_names_or_numbers_becomes_numbers_in_channel_order():
    names = ("FLAIR", "T1", "T1ce")
    for chosen in (["T1ce", "FLAIR"], [2, 0], [0, 2]):
        assert subset_channels({"modality_subset": chosen}, names) == [0, 2]
    assert subset_channels({"modality_subset": "all"}, names) == "all"


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ([1, 3], "must name channels of FLAIR, T1, T1ce, got 3"),
        ([-1], "must name channels of FLAIR, T1, T1ce, got -1"),
        (["T1", "PET"], "must name channels of FLAIR, T1, T1ce, got 'PET'"),
        ([0, 0], "names FLAIR twice: name it once"),
        (["T1", "T1"], "names T1 twice: name it once"),
        (["T1", 1], "names T1 twice: name it once"),
    ],
)
def test_channels_that_are_none_or_occur_twice_are_refused_with_the_names(chosen, said):
    with pytest.raises(ValueError, match=f"modality_subset {said}"):
        subset_channels({"modality_subset": chosen}, ("FLAIR", "T1", "T1ce"))
