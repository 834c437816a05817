"""What every model of the study has in common: data, folders, plans, length of training."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DATASET_ID = 502
DATASET = f"Dataset{DATASET_ID:03d}_Phantom"
CONFIGURATION = "2d"
PLANS = "StudyPlans"
FOLD = 0
CASES, TEST_CASES = 60, 20  # fold 0: 48 cases to train on, 12 to choose methods on
SIZE = (40, 48, 40)
REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
BLOCK = {
    "num_epochs": 10,
    "num_iterations_per_epoch": 150,
    "num_val_iterations_per_epoch": 1,
    "save_every": 1000,
    # nnU-Net's own 0.99 and 0.01 are made for a hundred times as many steps.
    "momentum": 0.9,
    "initial_lr": 0.03,
}
WIDTH, BATCH_SIZE = 8, 8
RUNS = Path(__file__).parent / "runs"  # scores
LOGS = Path(__file__).parent / "logs"  # what nnU-Net printed


@dataclass(frozen=True)
class StudyFolder:
    """Where the study's data and models lie; its scores are written to ``RUNS``, logs to ``LOGS``."""

    root: Path

    @property
    def dataset(self) -> Path:
        """The raw dataset."""
        return self.root / "nnUNet_raw" / DATASET

    @property
    def preprocessed(self) -> Path:
        """The preprocessed dataset."""
        return self.root / "nnUNet_preprocessed" / DATASET

    def results(self, arm: str, seed: int) -> Path:
        """nnUNet_results of one training."""
        return self.root / "results" / f"{arm}-{seed}"

    def model(self, arm: str, seed: int, trainer: str) -> Path:
        """The model folder of one training."""
        return self.results(arm, seed) / DATASET / f"{trainer}__{PLANS}__{CONFIGURATION}"

    def set_environment(self, results: Path) -> None:
        """Set nnU-Net's variables; call it before nnunetv2 is imported."""
        results.mkdir(parents=True, exist_ok=True)
        os.environ["nnUNet_raw"] = str(self.root / "nnUNet_raw")  # noqa: SIM112
        os.environ["nnUNet_preprocessed"] = str(self.root / "nnUNet_preprocessed")  # noqa: SIM112
        os.environ["nnUNet_results"] = str(results)  # noqa: SIM112
        os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112  in this process, so that its seeds decide
