"""What the benchmarks measure: datasets without images, their plans, and trainers on them."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_missingmod.choices import CONVENTIONAL_TEACHER
from nnunet_missingmod.host import CLASS_TABLE
from nnunet_missingmod.networks.backbone import unwrapped
from nnunet_missingmod.training.building import taught_terms
from nnunet_missingmod.training.method_trainer import MethodTrainer
from nnunet_missingmod.training.teacher import Teacher

NUM_MODALITIES = 4
NUM_CLASSES = 4
DATASET = "Dataset900_Benchmark"
CONFIGURATION = "3d_fullres"
IMAGE_SIZE = [140, 170, 137]  # voxels of 1 mm: a brain after cropping
# GB. nnU-Net's own on a GPU; on a CPU what leaves a network that it steps in a second or two.
MEMORY_TARGET = {"cuda": 8.0, "cpu": 0.12}


@contextlib.contextmanager
def dataset_without_images() -> Iterator[Path]:
    """Make nnU-Net's folders with a dataset.json and a fingerprint, and yield ``nnUNet_preprocessed/DATASET``."""
    before = dict(os.environ)
    with TemporaryDirectory() as folder:
        for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ[variable] = str(Path(folder) / variable)
        os.environ.setdefault("nnUNet_n_proc_DA", "1")
        raw, preprocessed = (Path(os.environ[name]) / DATASET for name in ("nnUNet_raw", "nnUNet_preprocessed"))
        raw.mkdir(parents=True)
        preprocessed.mkdir(parents=True)
        images = [f"imagesTr/case_{channel:04d}.nii.gz" for channel in range(NUM_MODALITIES)]
        listed = {"case": {"images": images, "label": "labelsTr/case.nii.gz"}}
        described = {**dataset_json(), "numTraining": 1000, "dataset": listed}
        (raw / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
        fingerprint = {
            "shapes_after_crop": [IMAGE_SIZE],
            "spacings": [[1.0] * 3],
            "median_relative_size_after_cropping": 0.5,
            "foreground_intensity_properties_per_channel": {str(channel): {} for channel in range(NUM_MODALITIES)},
        }
        (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint), encoding="utf-8")
        try:
            yield preprocessed
        finally:
            os.environ.clear()
            os.environ.update(before)


def hooks_guarded() -> contextlib.AbstractContextManager[None]:
    """Inside, what is compiled of a network is not used for another of the same class that has other hooks.

    Torch does not look at hooks by default, so that stock nnU-Net's network beside one whose features are read by hooks
    would be run in its place.
    """
    return torch._dynamo.config.patch(skip_nnmodule_hook_guards=False)


def compiled_side_by_side() -> contextlib.AbstractContextManager[None]:
    """Inside, many networks of one class may be compiled and used in turn, whatever hooks they have.

    Torch counts them together, and leaves what is beyond its limit uncompiled, which in a training with one of them
    does not happen. Where one is measured after the other, ``torch._dynamo.reset`` is better: it keeps the limit.
    """
    return torch._dynamo.config.patch(recompile_limit=100, skip_nnmodule_hook_guards=False)


def dataset_json() -> dict[str, Any]:
    return {
        "channel_names": {str(channel): f"M{channel}" for channel in range(NUM_MODALITIES)},
        "labels": {"background": 0, **{f"class {label}": label for label in range(1, NUM_CLASSES)}},
        "file_ending": ".nii.gz",
    }


def find_class(name: str) -> Any:
    """Return a class of the menu, or stock nnU-Net's trainer or planner."""
    stock = {kind.__name__: kind for kind in (nnUNetTrainer, ExperimentPlanner)}
    return stock[name] if name in stock else getattr(import_module(CLASS_TABLE[name]), name)


def make_plans(planner: str, preprocessed: Path, *, memory_target_gb: float) -> dict[str, Any]:
    """Return the plans of ``dataset_without_images`` by a planner's name."""
    found = find_class(planner)

    class WithoutImages(found):  # type: ignore[misc,valid-type]
        def determine_reader_writer(self) -> Any:
            return SimpleITKIO

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the host's, about the memory target
        plans: dict[str, Any] = WithoutImages(900, gpu_memory_target_in_gb=memory_target_gb).plan_experiment()
    folder = preprocessed / plans["configurations"][CONFIGURATION]["data_identifier"]
    folder.mkdir(exist_ok=True)
    (folder / "case.b2nd").touch()  # nnU-Net tells the kind of a dataset by its files' endings
    return plans


def make_trainer(name: str, plans: dict[str, Any], device: torch.device, **block: Any) -> nnUNetTrainer:
    """Return a trainer ready to step, with an untrained teacher where it needs one.

    Args:
        block: the configuration's ``"missingmod"`` block.
    """
    own = copy.deepcopy(plans) | {"continue_training": False}
    if block:
        own["configurations"][CONFIGURATION]["missingmod"] = block
    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = find_class(name)(own, CONFIGURATION, 0, dataset_json(), device)
        trainer.initialize()
        trainer.set_deep_supervision_enabled(trainer.enable_deep_supervision)
        trainer.network.train()
        if isinstance(trainer, MethodTrainer) and trainer.average is not None:
            trainer.frozen_teacher = trainer.average
        elif isinstance(trainer, MethodTrainer) and (taught := taught_terms(trainer.choices)):
            chosen = trainer.choices["teacher"]
            teacher = make_trainer(CONVENTIONAL_TEACHER if chosen == "auto" else chosen, plans, device)
            teacher.set_deep_supervision_enabled(False)
            terms = [trainer.terms.term(term) for term in taught]
            trainer.frozen_teacher = Teacher(
                unwrapped(teacher.network),
                "untrained",
                returns_logits=any(term.uses_teacher_logits for term in terms),
                returns_decoded=any(term.uses_decoded for term in terms),
            )
        if isinstance(trainer, MethodTrainer):
            trainer._compile_teacher()
    return trainer


def make_batch(trainer: nnUNetTrainer) -> dict[str, Any]:
    """Return a batch of random complete cases: a step's time does not depend on what it shows."""
    patch = trainer.configuration_manager.patch_size
    size = trainer.configuration_manager.batch_size
    scales = trainer._get_deep_supervision_scales()
    targets = [
        torch.randint(0, NUM_CLASSES, (size, 1, *[round(n * s) for n, s in zip(patch, scale, strict=True)])).float()
        for scale in scales or [[1] * len(patch)]
    ]
    return {"data": torch.randn(size, NUM_MODALITIES, *patch), "target": targets if scales else targets[0]}


def fresh(batch: dict[str, Any]) -> dict[str, Any]:
    """Return a batch as the loader would have made a new one: a step may write into its own."""
    target = batch["target"]
    return {"data": batch["data"].clone(), "target": target if isinstance(target, torch.Tensor) else list(target)}
