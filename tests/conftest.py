"""A tiny nnU-Net dataset with plans, made in-process: no worker pools, so that it costs milliseconds."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

BRATS_NAMES = ("FLAIR", "T1", "T1ce", "T2")


WORKER = "PYTEST_XDIST_WORKER"
WAS_ATTACHED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that runs what is left out, for the sake of time."""
    parser.addoption("--every", action="store_true", help="run what is marked so, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked ``every``, unless it is asked for."""
    if config.getoption("--every"):
        return
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        (left_out if item.get_closest_marker("every") else kept).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


def pytest_configure(config: pytest.Config) -> None:
    """Note whether nnU-Net finds our classes already; give each of several processes one thread."""
    from nnunet_missingmod import host

    if WORKER in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    else:
        config.stash[WAS_ATTACHED] = not host.unattached()


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Let every test of torch's draw the same numbers in each run; torch is not imported for those that need none."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nnU-Net as it was: not while another process of the same run still needs it."""
    from nnunet_missingmod import host

    if not config.stash.get(WAS_ATTACHED, True):
        host.detach()


@dataclass
class TinyDataset:
    """Folders and the contents of dataset.json and the plans file of a tiny dataset."""

    raw: Path
    preprocessed: Path
    results: Path
    dataset_json: dict[str, Any]
    plans: dict[str, Any]
    cases: list[str]

    def image(self, case: str, channel: int) -> Path:
        return self.raw / "imagesTr" / f"{case}_{channel:04d}{self.dataset_json['file_ending']}"

    def images(self, case: str) -> list[str]:
        return [str(self.image(case, channel)) for channel in range(len(self.dataset_json["channel_names"]))]

    def label(self, case: str) -> Path:
        return self.raw / "labelsTr" / f"{case}{self.dataset_json['file_ending']}"


@pytest.fixture(scope="session")
def attached() -> None:
    """Let nnU-Net find our classes; after all tests it is as it was."""
    from nnunet_missingmod import host

    host.attach()


@pytest.fixture(scope="session")
def untouched_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment variables of processes that find our classes in a copy of nnU-Net that cannot be written to.

    The copy is not attached, whatever other tests do to the installed one. At the end nothing has been added to it.
    """
    from nnunet_missingmod import host

    root = tmp_path_factory.mktemp("host")
    copy = root / host.HOST
    shutil.copytree(host.host_folder(), copy, ignore=shutil.ignore_patterns(f"{Path(host.BRIDGE_NAME).stem}*"))
    folders = [copy, *(folder for folder in copy.rglob("*") if folder.is_dir())]
    before = sorted(copy.rglob("*"))
    for folder in folders:
        folder.chmod(0o555)
    yield {
        "PYTHONPATH": str(root),
        "PYTHONDONTWRITEBYTECODE": "1",  # to root nothing is read-only
        host.VARIABLE: str(host.EXTERNAL_FOLDER),
    }
    assert sorted(copy.rglob("*")) == before
    for folder in folders:
        folder.chmod(0o755)


def make_architecture(dims: int, features: Sequence[int] = (4, 8, 8), kind: str = "plain") -> dict[str, Any]:
    stages = len(features)
    arguments = {
        "n_stages": stages,
        "features_per_stage": list(features),
        "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
        "kernel_sizes": [[3] * dims] * stages,
        "strides": [[1] * dims] + [[2] * dims] * (stages - 1),
        "n_conv_per_stage_decoder": [1] * (stages - 1),
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
        "n_conv_per_stage" if kind == "plain" else "n_blocks_per_stage": [1] * stages,
    }
    name = "PlainConvUNet" if kind == "plain" else "ResidualEncoderUNet"
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
        "arch_kwargs": arguments,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


@pytest.fixture
def backbone_in_plans() -> Callable[..., dict[str, Any]]:
    """Return the function that makes what plans say of a backbone."""
    return make_architecture


def make_configuration(
    name: str, *, dims: int, patch: Sequence[int], schemes: Sequence[str], kind: str = "plain", spacing: float = 1.0
) -> dict[str, Any]:
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    return {
        "data_identifier": f"nnUNetPlans_{name}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch),
        "median_image_size_in_voxels": [16.0] * dims,
        "spacing": [spacing] * dims,
        "normalization_schemes": list(schemes),
        "use_mask_for_norm": [scheme == "ZScoreNormalization" for scheme in schemes],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
        "architecture": make_architecture(dims, kind=kind),
        "batch_dice": False,
    }


def make_plans(names: Sequence[str], schemes: Sequence[str], *, reader: str = "SimpleITKIO") -> dict[str, Any]:
    """Plans with 2d, 3d_fullres (plain and residual), 3d_lowres and its cascade."""
    shared = {"schemes": schemes}
    intensities = {"mean": 50.0, "median": 50.0, "std": 20.0, "percentile_00_5": 1.0, "percentile_99_5": 99.0}
    fullres = make_configuration("3d_fullres", dims=3, patch=(16, 16, 16), **shared)
    return {
        "dataset_name": "Dataset901_Tiny",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.0] * 3,
        "original_median_shape_after_transp": [16] * 3,
        "image_reader_writer": reader,
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {
            "2d": make_configuration("2d", dims=2, patch=(16, 16), **shared),
            "3d_fullres": fullres,
            "3d_resenc": make_configuration("3d_fullres", dims=3, patch=(16, 16, 16), kind="residual", **shared),
            "3d_lowres": {
                **make_configuration("3d_lowres", dims=3, patch=(8, 8, 8), spacing=2.0, **shared),
                "next_stage": "3d_cascade_fullres",
            },
            "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
        },
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(c): intensities for c in range(len(names))},
    }


def write_image(path: Path, array: np.ndarray, spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(list(spacing)[: array.ndim])
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


@pytest.fixture
def make_tiny_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TinyDataset]:
    """Return a function that writes a raw dataset, its plans and nnU-Net's environment variables."""

    def make(
        names: Sequence[str] = BRATS_NAMES,
        *,
        schemes: Sequence[str] | None = None,
        labels: dict[str, Any] | None = None,
        regions_class_order: Sequence[int] | None = None,
        num_cases: int = 2,
        shape: Sequence[int] = (18, 20, 22),
        file_ending: str = ".nii.gz",
        reader: str = "SimpleITKIO",
    ) -> TinyDataset:
        folders = {
            variable: tmp_path / variable for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
        }
        for variable, folder in folders.items():
            folder.mkdir(exist_ok=True)
            monkeypatch.setenv(variable, str(folder))
        monkeypatch.setenv("nnUNet_n_proc_DA", "0")
        labels = labels or {"background": 0, "NCR": 1, "ED": 2, "ET": 3}
        dataset_json: dict[str, Any] = {
            "channel_names": {str(channel): name for channel, name in enumerate(names)},
            "labels": labels,
            "numTraining": num_cases,
            "file_ending": file_ending,
        }
        if regions_class_order:
            dataset_json["regions_class_order"] = list(regions_class_order)
        plans = make_plans(names, schemes or ["ZScoreNormalization"] * len(names), reader=reader)
        tiny = TinyDataset(
            raw=folders["nnUNet_raw"] / "Dataset901_Tiny",
            preprocessed=folders["nnUNet_preprocessed"] / "Dataset901_Tiny",
            results=folders["nnUNet_results"] / "Dataset901_Tiny",
            dataset_json=dataset_json,
            plans=plans,
            cases=[f"case_{index:03d}" for index in range(num_cases)],
        )
        rng = np.random.default_rng(0)
        for case in tiny.cases:
            inside = np.zeros(shape, dtype=bool)
            inside[2:-2, 2:-2, 2:-2] = True
            for channel in range(len(names)):
                image = (rng.uniform(1, 100, shape) * inside).astype(np.float32)
                write_image(tiny.image(case, channel), image)
            segmentation = (rng.integers(0, 4, shape) * inside).astype(np.uint8)
            write_image(tiny.label(case), segmentation)
        tiny.preprocessed.mkdir()
        (tiny.raw / "imagesTr").mkdir(parents=True, exist_ok=True)
        for folder, name, content in (
            (tiny.raw, "dataset.json", dataset_json),
            (tiny.preprocessed, "dataset.json", dataset_json),
            (tiny.preprocessed, "nnUNetPlans.json", plans),
            (tiny.preprocessed, "dataset_fingerprint.json", {}),
        ):
            (folder / name).write_text(json.dumps(content))
        return tiny

    return make


@pytest.fixture
def preprocess() -> Callable[..., Path]:
    """Return a function that preprocesses a tiny dataset for one configuration, in-process."""

    def run(tiny: TinyDataset, configuration: str, *, preprocessor: str = "DefaultPreprocessor") -> Path:
        from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        from nnunet_missingmod.preprocessing.preprocessor import MissingModPreprocessor

        classes = {"DefaultPreprocessor": DefaultPreprocessor, "MissingModPreprocessor": MissingModPreprocessor}
        plans_manager = PlansManager(tiny.plans)
        chosen = plans_manager.get_configuration(configuration)
        folder = tiny.preprocessed / chosen.data_identifier
        folder.mkdir(exist_ok=True)
        for case in tiny.cases:
            files = [file for file in tiny.images(case) if Path(file).exists()]
            classes[preprocessor](verbose=False).run_case_save(
                str(folder / case), files, str(tiny.label(case)), plans_manager, chosen, tiny.dataset_json
            )
        splits = [{"train": tiny.cases[:-1] or tiny.cases, "val": tiny.cases[-1:]}]
        (tiny.preprocessed / "splits_final.json").write_text(json.dumps(splits))
        return folder

    return run


@pytest.fixture
def two_fold_dataset(make_tiny_dataset):
    """A dataset of T1 and T2 with four cases, two of them in the validation set of each of two folds."""
    tiny = make_tiny_dataset(("T1", "T2"), num_cases=4)
    halves = (tiny.cases[2:], tiny.cases[:2])
    splits = [{"train": [case for case in tiny.cases if case not in half], "val": half} for half in halves]
    (tiny.preprocessed / "splits_final.json").write_text(json.dumps(splits))
    return tiny


@pytest.fixture
def numbers_only(monkeypatch) -> list[dict]:
    """Leave out the report and its pictures, which take most of a small evaluation's time; return what it was given."""
    from nnunet_missingmod.benchmarking import evaluate as evaluate_module
    from nnunet_missingmod.benchmarking import report as evaluate_report

    given: list[dict] = []

    def write_report(rows, folder, **more):
        given.append({"rows": rows, **more})
        return folder / "report.html"

    monkeypatch.setattr(evaluate_report, "write_report", write_report)
    monkeypatch.setattr(evaluate_report, "draw_cases", lambda *_: [])
    monkeypatch.setattr(evaluate_module, "find_latents", lambda *_: {})
    monkeypatch.setattr(evaluate_module, "find_costs", lambda *_: {})
    return given


@pytest.fixture
def make_model() -> Callable[..., Path]:
    """Return a function that writes the model folder of a trainer, its weights drawn at random, and returns it."""

    def make(
        tiny,
        trainer: str,
        *,
        configuration: str = "3d_fullres",
        folds: Sequence[int | str] = (0,),
        seed: int = 0,
        checkpoint: str = "checkpoint_final.pth",
        **block,
    ) -> Path:
        import torch

        from nnunet_missingmod.host import CLASS_TABLE
        from nnunet_missingmod.training.checkpoints import find_trainer

        torch.manual_seed(seed)
        for fold in folds:
            plans = json.loads(json.dumps(tiny.plans)) | {"continue_training": False}
            if trainer in CLASS_TABLE:
                plans["configurations"][configuration]["missingmod"] = block
            kind = find_trainer(trainer)
            made = kind(plans, configuration, fold, json.loads(json.dumps(tiny.dataset_json)), torch.device("cpu"))
            # By the files in it nnU-Net tells which dataset class to use.
            preprocessed = Path(made.preprocessed_dataset_folder)
            preprocessed.mkdir(parents=True, exist_ok=True)
            (preprocessed / "nothing.b2nd").touch()
            made.initialize()
            made.inference_allowed_mirroring_axes = (1,)
            with torch.no_grad():
                for parameter in made.network.parameters():
                    parameter += 0.1 * torch.randn_like(parameter)
            made.save_checkpoint(str(Path(made.output_folder) / checkpoint))
        folder = Path(made.output_folder_base)
        (folder / "plans.json").write_text(json.dumps(made.plans_manager.plans))
        (folder / "dataset.json").write_text(json.dumps(tiny.dataset_json))
        return folder

    return make
