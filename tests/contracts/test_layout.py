"""The tree: tests mirror it, the package list is complete, names that land in users' files are frozen."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from nnunet_missingmod import cli, host, plans_block

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "nnunet_missingmod"

# Names that land in checkpoints, result folders or plans JSON are never renamed once released.
FROZEN_CLASSES = {
    "MissingModFingerprintExtractor",
    "MissingModPlanner",
    "MissingModPlannerResEncL",
    "MissingModPlannerResEncM",
    "MissingModPlannerResEncXL",
    "MissingModPreprocessor",
    "nnUNetTrainerHolderMI",
    "nnUNetTrainerHolderMIAnchorModality",
    "nnUNetTrainerHolderMIAnchorNone",
    "nnUNetTrainerHolderMIAnchorNormal",
    "nnUNetTrainerHolderMIEncoderNone",
    "nnUNetTrainerHolderMIEncoderSeparate",
    "nnUNetTrainerHolderMIHolderPseudo",
    "nnUNetTrainerHolderMIJensenShannon",
    "nnUNetTrainerHolderMIKullbackLeibler",
    "nnUNetTrainerHolderMINeymanChiSquared",
    "nnUNetTrainerHolderMIParallel",
    "nnUNetTrainerHolderMIRandomStart",
    "nnUNetTrainerHolderMISquaredHellinger",
    "nnUNetTrainerHolderMITotalVariation",
    "nnUNetTrainerHolderMIWithoutHolder",
    "nnUNetTrainerHolderMIWithoutMI",
    "nnUNetTrainerMedMAP",
    "nnUNetTrainerMedMAPTeacher",
    "nnUNetTrainerMedMAPTeacherParallel",
    "nnUNetTrainerModalityDropout",
    "nnUNetTrainerRDL",
    "nnUNetTrainerRDLAlpha105",
    "nnUNetTrainerRDLAlpha108",
    "nnUNetTrainerRDLAlpha115",
    "nnUNetTrainerRDLAlpha120",
    "nnUNetTrainerSharedBackbone",
    "nnUNetTrainerZeroFill",
}
FROZEN_KEYS = {
    "num_epochs",
    "num_iterations_per_epoch",
    "num_val_iterations_per_epoch",
    "save_every",
    "initial_lr",
    "momentum",
    "weight_decay",
    "oversample_foreground_percent",
    "modality_dropout",
    "modality_dropout_probability",
    "modality_dropout_seed",
    "validation_subsets",
    "blank_is_absent",
    "nonfinite",
    "geometry_tolerance_voxels",
    "network",
    "channel_encoder",
    "channel_encoder_width",
    "absent_fill",
    "presence_conditioning",
    "fused_at",
    "feature_fusion",
    "subset_objective",
    "alignment_anchor",
    "anchor_modality",
    "alignment_weight",
    "mixture_learning_rate_factor",
    "divergence",
    "divergence_target",
    "divergence_weight",
    "divergence_alpha",
    "divergence_gamma",
    "divergence_temperature",
    "mutual_information",
    "mutual_information_weight",
    "mutual_information_level_weights",
    "distillation_warmup_epochs",
    "teacher",
    "initial_weights",
}


def test_every_module_has_tests_in_the_same_place():
    without = []
    for file in PACKAGE.rglob("*.py"):
        folder = ROOT / "tests" / file.relative_to(PACKAGE).parent
        if file.name.startswith("_") or (folder / f"test_{file.name}").exists():
            continue
        if not list(folder.glob(f"test_{file.stem}_*.py")):
            without.append(str(file.relative_to(PACKAGE)))
    assert not without


def test_package_list_is_complete():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    folders = {file.parent for file in PACKAGE.rglob("*.py")}
    found = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert listed == found | {"nnunet_missingmod.trainers", "nnunet_missingmod.plans"}


@pytest.mark.parametrize("menu", ["trainers", "plans"])
def test_every_file_of_the_menu_holds_the_class_of_its_name_and_is_in_the_class_table(menu):
    files = {file.stem for file in (ROOT / menu).glob("*.py")} - {"__init__"}
    in_table = {name for name, module in host.CLASS_TABLE.items() if module.startswith(f"nnunet_missingmod.{menu}.")}
    assert files == in_table
    for name in files:
        assert host.CLASS_TABLE[name] == f"nnunet_missingmod.{menu}.{name}"


def test_persisted_names_are_frozen():
    assert set(host.CLASS_TABLE) >= FROZEN_CLASSES
    assert {key.name for key in plans_block.KEYS} >= FROZEN_KEYS
    assert plans_block.BLOCK == "missingmod"


def test_every_command_has_its_functions():
    from importlib import import_module

    for module_name, prefix, _ in cli.COMMANDS.values():
        module = import_module(f"nnunet_missingmod.{module_name}")
        named = f"_{prefix}" if prefix else ""
        assert callable(getattr(module, f"add{named}_arguments"))
        assert callable(getattr(module, f"run{named}"))
