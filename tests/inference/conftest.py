"""What the tests of prediction share: model folders with random weights, as if training had ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import pytest
import torch

from nnunet_missingmod.host import CLASS_TABLE


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
    from nnunet_missingmod.inference import evaluate_report

    given: list[dict] = []

    def write_report(rows, folder, **more):
        given.append({"rows": rows, **more})
        return folder / "report.html"

    monkeypatch.setattr(evaluate_report, "write_report", write_report)
    monkeypatch.setattr(evaluate_report, "draw_cases", lambda *_: [])
    monkeypatch.setattr(evaluate_report, "find_latents", lambda *_: {})
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
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

        torch.manual_seed(seed)
        for fold in folds:
            plans = json.loads(json.dumps(tiny.plans)) | {"continue_training": False}
            if trainer == "nnUNetTrainer":
                kind = nnUNetTrainer
            else:
                plans["configurations"][configuration]["missingmod"] = block
                kind = getattr(import_module(CLASS_TABLE[trainer]), trainer)
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
