"""Scores, tables and figures of the demo, from predictions of known quality."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_missingmod.demo.host_commands import CommandError
from nnunet_missingmod.demo.report import write_report
from nnunet_missingmod.demo.settings import TRAINERS, DemoFolder
from nnunet_missingmod.evaluation.scores import read_scores
from nnunet_missingmod.modalities import all_subsets, subset_name

NAMES = ("FLAIR", "T1", "T1ce", "T2")


def write(file, array):
    file.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(file))


@pytest.fixture
def finished(tmp_path):
    """Zero filling predicts nothing, modality dropout everything."""
    folder = DemoFolder(tmp_path)
    folder.dataset.mkdir(parents=True)
    labels = {"background": 0, "NCR": 1, "ED": 2, "ET": 3}
    channel_names = {str(channel): name for channel, name in enumerate(NAMES)}
    dataset_json = {"channel_names": channel_names, "labels": labels, "file_ending": ".nii.gz"}
    (folder.dataset / "dataset.json").write_text(json.dumps(dataset_json))
    reference = np.zeros((8, 9, 10), np.uint8)
    reference[2:6, 2:6, 2:6], reference[3:5, 3:5, 3:5], reference[3, 3, 3] = 2, 3, 1
    stems = {}
    for case in ("a", "b"):
        write(folder.dataset / "labelsTs" / f"{case}.nii.gz", reference)
        image = np.random.default_rng(0).normal(size=reference.shape).astype(np.float32)
        write(folder.dataset / "imagesTs_complete" / f"{case}_0000.nii.gz", image)
        for subset in all_subsets(4):
            stem = f"{case}__{'-'.join(map(str, subset))}"
            stems[case, subset_name(subset, NAMES)] = stem
            for trainer, right in zip(TRAINERS, (False, True), strict=True):
                write(folder.predictions(trainer) / f"{stem}.nii.gz", reference * np.uint8(right))
    return folder, stems


def test_report_holds_every_score_and_draws_both_figures(finished):
    folder, stems = finished
    shown = write_report(folder, stems, jobs=1)
    rows = read_scores(folder.root / "scores.csv")
    assert len(rows) == 2 * 2 * 15 * 3
    assert {row.dice for row in rows if row.model == "zero fill"} == {0.0}
    assert {row.dice for row in rows if row.model == "modality dropout"} == {1.0}
    assert "100.0" in shown
    assert shown in (folder.root / "table.md").read_text()
    for name in ("table.png", "cases.png"):
        assert (folder.root / name).read_bytes().startswith(b"\x89PNG")
    assert "FLAIR" in (folder.root / "table.csv").read_text()


def test_missing_prediction_is_named(finished):
    folder, stems = finished
    (folder.predictions("nnUNetTrainerModalityDropout") / f"{stems['b', 'T1+T2']}.nii.gz").unlink()
    with pytest.raises(CommandError, match=r"1 predictions of nnUNetTrainerModalityDropout, first b T1\+T2"):
        write_report(folder, stems, jobs=1)
