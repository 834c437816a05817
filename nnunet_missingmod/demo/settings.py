"""What a demo run is made of, where its files lie, and whether a folder holds the same demo."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from nnunet_missingmod import host
from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.storage import check_output, read_json_object, write_text

DATASET_ID = 501
DATASET = f"Dataset{DATASET_ID:03d}_Phantom"
CONFIGURATION = "2d"  # many cheap steps: on a CPU it learns in minutes what 3D learns in hours
PLANS = "DemoPlans"
BASELINE = "nnUNetTrainerZeroFill"
SHOWN = "nnUNetTrainerModalityDropout"
TRAINERS = {BASELINE: "zero fill", SHOWN: "modality dropout"}


@dataclass(frozen=True)
class DemoSettings:
    """The parameters of a demo; two runs with the same ones make the same data and train the same models.

    Attributes:
        size: voxels of the box that holds a phantom's brain.
        width: features of the U-Net's first stage; they double from stage to stage.
        batch_size: slices per training step.
        iterations: training steps per epoch, of ``epochs``.
    """

    cases: int = 48
    test_cases: int = 12
    size: tuple[int, int, int] = (40, 48, 40)
    width: int = 16
    batch_size: int = 12
    epochs: int = 10
    iterations: int = 150
    seed: int = 0

    def check(self) -> None:
        """Check that a demo can be made with these parameters.

        Raises:
            UsageError: one is too small, or too large.
        """
        # nnU-Net divides the training cases into five folds.
        least = {"cases": 5, "test_cases": 1, "width": 1, "batch_size": 1, "epochs": 1, "iterations": 1, "seed": 0}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                option = f"--{name.replace('_', '-')}"
                raise UsageError(f"{option} of the demo is {smallest} or more, got {getattr(self, name)}.")
        from nnunet_missingmod.demo.phantom_dataset import check_parameters

        try:
            check_parameters(cases=self.cases, test_cases=self.test_cases, size=self.size)
        except ValueError as error:
            raise UsageError(str(error)) from error


@dataclass(frozen=True)
class DemoFolder:
    """Where the files of a demo lie."""

    root: Path

    @property
    def dataset(self) -> Path:
        """The raw dataset."""
        return self.root / "nnUNet_raw" / DATASET

    @property
    def preprocessed(self) -> Path:
        """The preprocessed dataset."""
        return self.root / "nnUNet_preprocessed" / DATASET

    def model(self, trainer: str) -> Path:
        """The model folder of a trainer."""
        return self.root / "nnUNet_results" / DATASET / f"{trainer}__{PLANS}__{CONFIGURATION}"

    @property
    def test_images(self) -> Path:
        """Test cases as they come, most of which lack modalities."""
        return self.dataset / "imagesTs"

    @property
    def complete_test_images(self) -> Path:
        """The same test cases with all their modalities, from which every subset is made."""
        return self.dataset / "imagesTs_complete"

    @property
    def references(self) -> Path:
        """The label maps of the test cases."""
        return self.dataset / "labelsTs"

    @property
    def host_predictions(self) -> Path:
        """What ``nnUNetv2_predict`` makes of the test cases as they come; beside it lie those of the evaluation."""
        return self.root / "predictions" / "nnUNetv2_predict"

    def log(self, name: str) -> Path:
        """The log file of a command."""
        return self.root / "logs" / f"{name}.txt"

    def marker(self, step: str) -> Path:
        """A file that is there once a step is done."""
        return self.root / "logs" / f"{step}.done"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables for nnU-Net's commands."""
        cores = os.cpu_count() or 1
        return {
            "nnUNet_raw": str(self.root / "nnUNet_raw"),
            "nnUNet_preprocessed": str(self.root / "nnUNet_preprocessed"),
            "nnUNet_results": str(self.root / "nnUNet_results"),
            host.VARIABLE: host.external_value(),
            "nnUNet_n_proc_DA": str(min(6, cores)),
            "nnUNet_def_n_proc": str(min(4, cores)),
            "PYTHONUNBUFFERED": "1",
        }

    def claim(self, settings: DemoSettings) -> bool:
        """Record the settings in a new folder; return whether the folder held this very demo already.

        Raises:
            UsageError: the folder holds something else, or cannot be written to.
        """
        record = self.root / "demo.json"
        wanted = json.loads(json.dumps(asdict(settings)))
        check_output(self.root)
        if record.exists():
            try:
                found = read_json_object(record)
            except ValueError as error:
                raise UsageError(f"{record} is not that of a demo: {error}. Choose another -o.") from error
            if found != wanted:
                differing = ", ".join(
                    f"{key} {found.get(key)} there, {wanted.get(key)} asked for"
                    for key in sorted({*found, *wanted})
                    if found.get(key) != wanted.get(key)
                )
                raise UsageError(f"{self.root} holds another demo: {differing}. Choose another -o.")
            return True
        if self.root.is_dir() and any(self.root.iterdir()):
            raise UsageError(f"{self.root} holds other files. Choose an empty or new folder (-o).")
        self.root.mkdir(parents=True, exist_ok=True)
        write_text(record, json.dumps(wanted))
        return False
