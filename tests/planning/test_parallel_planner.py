"""Plans for parallel networks: memory counted for all branches, stock backbones, no surprise in the plans."""

from __future__ import annotations

import itertools
import json
import logging
from importlib import import_module

import pytest
import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
    nnUNetPlannerResEncM,
    nnUNetPlannerResEncXL,
)
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import nn

from nnunet_missingmod import plans_block
from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.planning.parallel_planner import ParallelPlanner, parallel_width
from nnunet_missingmod.training.building import build_network

HOSTS = {
    "MissingModPlanner": ExperimentPlanner,
    "MissingModPlannerResEncM": nnUNetPlannerResEncM,
    "MissingModPlannerResEncL": nnUNetPlannerResEncL,
    "MissingModPlannerResEncXL": nnUNetPlannerResEncXL,
}
ANISOTROPIC = ([20, 400, 400], [5.0, 0.5, 0.5])
FLAT = ([1, 400, 400], [1.0, 1.0, 1.0])
SMALL = ([40, 48, 40], [1.0, 1.0, 1.0])
LARGE = ([400, 400, 400], [1.0, 1.0, 1.0])


def count_convolution_outputs(network: nn.Module, batch: torch.Tensor) -> int:
    """The oracle: what every convolution really puts out."""
    counted = 0

    def count(_module, _inputs, output):
        nonlocal counted
        counted += output.numel()

    hooks = [
        module.register_forward_hook(count)
        for module in network.modules()
        if isinstance(module, nn.modules.conv._ConvNd)
    ]
    with torch.inference_mode():
        network(batch)
    for hook in hooks:
        hook.remove()
    return counted


def trained_network(plans, configuration, num_modalities, **choices):
    """The network that a trainer of the parallel network builds from these plans."""
    manager = PlansManager(plans)
    resolved = plans_block.resolve({"network": "parallel", "channel_encoder": "shared", **choices})
    return build_network(
        resolved,
        manager,
        manager.get_configuration(configuration),
        num_input_channels=num_modalities,
        num_output_channels=4,
        deep_supervision=False,
    )


def configurations_of(plans):
    return {name: entry for name, entry in plans["configurations"].items() if "patch_size" in entry}


@pytest.mark.parametrize("num_modalities", [1, 2, 5])
@pytest.mark.parametrize(
    ("kind", "dims", "patch"), [("plain", 3, (8, 12, 16)), ("plain", 2, (16, 24)), ("residual", 3, (8, 16, 8))]
)
def test_estimate_is_the_count_of_one_samples_convolution_outputs(backbone_in_plans, num_modalities, kind, dims, patch):
    # Each level wider than the last: where two are alike, the host counts a residual block's convolution too many.
    architecture = backbone_in_plans(dims, (4, 8, 12), kind)
    estimate = ParallelPlanner.static_estimate_VRAM_usage(
        ParallelPlanner.__new__(ParallelPlanner),
        patch,
        num_modalities,
        4,
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
    )
    plans = {
        "image_reader_writer": "SimpleITKIO",
        "configurations": {
            "any": {"architecture": architecture, "normalization_schemes": ["ZScoreNormalization"] * num_modalities}
        },
    }
    network = trained_network(plans, "any", num_modalities).eval()
    assert estimate == count_convolution_outputs(network, torch.randn(1, num_modalities, *patch))


@pytest.mark.parametrize(("fused_at", "feature_fusion"), [("features", "mean"), ("features", "attention")])
def test_a_planner_of_another_fusion_counts_that_fusion(backbone_in_plans, fused_at, feature_fusion):
    class OtherFusion(ParallelPlanner):
        pass

    OtherFusion.fused_at, OtherFusion.feature_fusion = fused_at, feature_fusion
    architecture = backbone_in_plans(3)
    estimate = OtherFusion.__new__(OtherFusion).static_estimate_VRAM_usage(
        (8, 8, 8),
        3,
        4,
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
    )
    plans = {
        "image_reader_writer": "SimpleITKIO",
        "configurations": {"any": {"architecture": architecture, "normalization_schemes": ["ZScoreNormalization"] * 3}},
    }
    network = trained_network(plans, "any", 3, fused_at=fused_at, feature_fusion=feature_fusion).eval()
    assert estimate == count_convolution_outputs(network, torch.randn(1, 3, 8, 8, 8))


@pytest.mark.parametrize(
    ("planner", "num_modalities", "image", "target"),
    [
        ("MissingModPlanner", 4, None, None),
        ("MissingModPlanner", 5, None, None),
        ("MissingModPlanner", 4, ANISOTROPIC, None),
        ("MissingModPlanner", 4, FLAT, None),
        ("MissingModPlanner", 4, LARGE, None),
        ("MissingModPlanner", 4, None, 1.0),
        ("MissingModPlannerResEncM", 4, None, None),
        ("MissingModPlannerResEncL", 4, None, None),
        ("MissingModPlannerResEncXL", 4, None, None),
    ],
)
def test_the_smallest_batch_of_the_parallel_network_meets_the_hosts_memory_target(
    make_plans_of, planner, num_modalities, image, target
):
    arguments = {} if target is None else {"gpu_memory_target_in_gb": target}
    planned = make_plans_of(planner, num_modalities, *([image] if image else []), **arguments)
    for name, entry in configurations_of(planned.plans).items():
        network = trained_network(planned.plans, name, num_modalities)
        count = network.compute_conv_feature_map_size(entry["patch_size"])
        flat = len(entry["patch_size"]) == 2
        reference = planned.UNet_reference_val_2d if flat else planned.UNet_reference_val_3d
        samples = planned.UNet_reference_val_corresp_bs_2d if flat else planned.UNet_reference_val_corresp_bs_3d
        most = reference * samples * planned.UNet_vram_target_GB / planned.UNet_reference_val_corresp_GB
        # The host rounds the batch size to the nearest number.
        assert count * max(entry["batch_size"] - 0.5, planned.UNet_min_batch_size) <= most
        if not flat and image in (None, LARGE):  # images large enough to fill the target
            assert count * entry["batch_size"] > 0.6 * most


@pytest.mark.parametrize("planner", HOSTS)
def test_one_modality_is_planned_as_the_host_plans_it(make_plans_of, planner):
    ours = make_plans_of(planner, 1).plans["configurations"]
    hosts = make_plans_of(HOSTS[planner], 1).plans["configurations"]
    assert set(ours) == set(hosts)
    for name, entry in ours.items():
        # The channel encoder has one feature map more.
        assert entry["batch_size"] == pytest.approx(hosts[name]["batch_size"], rel=0.01)
        assert {**entry, "batch_size": 0} == {**hosts[name], "batch_size": 0}


def test_width_and_patch_share_the_branches_memory(make_plans_of):
    assert [parallel_width(32, number) for number in (1, 2, 3, 4, 5, 9)] == [32, 24, 16, 16, 16, 16]
    assert parallel_width(8, 4) == 8
    ours = make_plans_of("MissingModPlanner", 4).plans["configurations"]["3d_fullres"]
    hosts = make_plans_of(ExperimentPlanner, 4).plans["configurations"]["3d_fullres"]
    assert ours["architecture"]["arch_kwargs"]["features_per_stage"][0] == 16
    assert all(mine <= stock for mine, stock in zip(ours["patch_size"], hosts["patch_size"], strict=True))
    assert tuple(ours["patch_size"]) != tuple(hosts["patch_size"])


@pytest.mark.parametrize("planner", HOSTS)
def test_plans_hold_a_stock_backbone_and_no_choices(make_plans_of, planner):
    planned = make_plans_of(planner)
    hosts = make_plans_of(HOSTS[planner])
    assert plans_block.BLOCK not in json.dumps(planned.plans)
    assert set(planned.plans) == set(hosts.plans)
    for name, entry in configurations_of(planned.plans).items():
        stock = hosts.plans["configurations"][name]
        assert set(entry) == set(stock)
        assert entry["architecture"]["network_class_name"] == stock["architecture"]["network_class_name"]


def test_large_images_get_a_cascade(make_plans_of):
    planned = make_plans_of("MissingModPlanner", image=LARGE)
    assert set(planned.plans["configurations"]) == {"2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres"}
    lowres = planned.plans["configurations"]["3d_lowres"]
    assert lowres["data_identifier"] == "nnUNetMissingModPlans_3d_lowres"
    assert lowres["next_stage"] == "3d_cascade_fullres"


def test_flat_images_are_planned_in_two_dimensions_only(make_plans_of):
    assert set(make_plans_of("MissingModPlanner", image=FLAT).plans["configurations"]) == {"2d"}


def test_thick_slices_keep_flat_kernels(make_plans_of):
    entry = make_plans_of("MissingModPlanner", image=ANISOTROPIC).plans["configurations"]["3d_fullres"]
    assert tuple(entry["architecture"]["arch_kwargs"]["kernel_sizes"][0]) == (1, 3, 3)
    assert entry["patch_size"][0] < entry["patch_size"][1] / 8


@pytest.mark.parametrize("planner", HOSTS)
def test_plans_have_names_of_their_own(make_plans_of, planner):
    planned = make_plans_of(planner)
    folder = planned.folder
    names = {getattr(import_module(CLASS_TABLE[name]), name).default_plans_name for name in HOSTS}
    assert len(names) == len(HOSTS)
    assert planned.plans_identifier in names
    assert [file.stem for file in folder.glob("*Plans.json")] == [planned.plans_identifier]
    written = json.loads((folder / f"{planned.plans_identifier}.json").read_text())
    assert (written["plans_name"], written["experiment_planner_used"]) == (planned.plans_identifier, planner)


def test_an_overwritten_name_is_taken(make_plans_of):
    assert make_plans_of("MissingModPlanner", image=SMALL, plans_name="mine").plans["plans_name"] == "mine"


def test_a_larger_target_never_gives_smaller_patches(make_plans_of):
    voxels = []
    for target in (1.0, 8.0, 16.0):
        arguments = {} if target == 8 else {"gpu_memory_target_in_gb": target}
        plans = make_plans_of("MissingModPlanner", **arguments).plans
        entry = plans["configurations"]["3d_fullres"]
        x, y, z = entry["patch_size"]
        voxels.append(int(x) * int(y) * int(z) * entry["batch_size"])
    assert all(less < more for less, more in itertools.pairwise(voxels))


def test_a_target_too_small_to_train_is_said(make_plans_of, caplog):
    with caplog.at_level(logging.WARNING):
        make_plans_of("MissingModPlanner", image=SMALL, gpu_memory_target_in_gb=0.01)
    assert any("3d_fullres" in text and "Raise -gpu_memory_target (0.01 GB)" in text for text in caplog.messages)
    caplog.clear()
    make_plans_of("MissingModPlanner", image=SMALL)
    assert not caplog.messages


def test_a_training_case_without_a_file_asks_for_the_preprocessor_that_takes_it(make_plans_of):
    def preprocessor(**arguments):
        plans = make_plans_of("MissingModPlanner", image=SMALL, **arguments).plans
        (name,) = {entry["preprocessor_name"] for entry in configurations_of(plans).values()}
        return name

    complete, incomplete = [(0, 1, 2, 3)] * 2, [(0, 1, 2, 3), (0, 3)]
    assert preprocessor(files=complete) == "DefaultPreprocessor"
    assert preprocessor(files=incomplete) == "MissingModPreprocessor"
    assert preprocessor(files=[(0,), (0,)]) == "DefaultPreprocessor"  # one file holds all channels
    assert preprocessor(files=incomplete, preprocessor_name="Mine") == "Mine"
