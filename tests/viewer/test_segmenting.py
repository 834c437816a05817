"""The process that segments for the viewer: a real one, its answers, its failures, its end."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_missingmod import Predictor
from nnunet_missingmod.viewer.segmenting import Failed, Opened, Segmented, Segmenter, _segmented
from nnunet_missingmod.viewer.volumes import read_volumes


@pytest.fixture
def segmenter():
    made = Segmenter(device="cpu")
    yield made
    made.stop()


def wait(segmenter, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (answer := segmenter.answer()) is not None:
            return answer
        time.sleep(0.02)
    raise TimeoutError


def kill(segmenter):
    os.kill(segmenter._process.pid, signal.SIGKILL)
    segmenter._process.join()


def test_it_opens_a_model_segments_and_says_why_it_cannot(segmenter, make_tiny_dataset, make_model):
    tiny = make_tiny_dataset(num_cases=1)
    model = make_model(tiny, "nnUNetTrainerModalityDropout")
    assert segmenter.answer() is None
    segmenter.segment({"T1": tiny.image("case_000", 1)})
    assert wait(segmenter) == Failed("Open a model first.")
    segmenter.open(model.parent / "none")
    assert "none" in wait(segmenter).why
    segmenter.open(model)
    assert wait(segmenter) == Opened(("FLAIR", "T1", "T1ce", "T2"), ("FLAIR", "T1", "T1ce", "T2"))
    files = {"T1": tiny.image("case_000", 1), "T2": tiny.image("case_000", 3)}
    segmenter.segment(files)
    assert segmenter.is_busy
    answer = wait(segmenter)
    expected = Predictor.from_model_folder(model, device="cpu").predict(files)
    assert isinstance(answer, Segmented)
    np.testing.assert_array_equal(answer.array, expected.array)
    assert (answer.spacing_mm, answer.present) == (expected.spacing_mm, ("T1", "T2"))
    assert answer.said[-1].startswith("Volumes: WT ")
    segmenter.segment({"PET": tiny.image("case_000", 1)})
    assert "no modality 'PET'" in wait(segmenter).why
    kill(segmenter)
    segmenter.is_busy = True
    assert "has ended" in wait(segmenter).why
    assert not segmenter.is_busy


def test_a_process_that_ended_while_nothing_was_asked_is_told_and_replaced(segmenter, tmp_path):
    segmenter.open(tmp_path / "none")
    wait(segmenter)
    kill(segmenter)
    segmenter.segment({"T1": "t1.nii.gz"})
    assert segmenter.is_busy
    assert "has ended" in wait(segmenter).why
    assert not segmenter.is_busy
    segmenter.open(tmp_path / "none")
    assert "none" in wait(segmenter).why
    kill(segmenter)
    segmenter.open(tmp_path / "other")  # which needs nothing of what was lost
    assert "other" in wait(segmenter).why


@pytest.mark.parametrize("reader", ["SimpleITKIOWithReorient", "NibabelIOWithReorient"])
def test_labels_have_the_axes_of_the_volume_that_was_given(make_tiny_dataset, make_model, tmp_path, reader):
    tiny = make_tiny_dataset(num_cases=1, reader=reader)
    predictor = Predictor.from_model_folder(make_model(tiny, "nnUNetTrainerModalityDropout"), device="cpu")
    sitk.WriteImage(
        sitk.PermuteAxes(sitk.ReadImage(str(tiny.image("case_000", 1))), [1, 2, 0]), str(tmp_path / "t1.nii.gz")
    )
    ((shown, _, _),) = read_volumes(str(tmp_path / "t1.nii.gz"))
    found = _segmented(predictor, {"T1": tmp_path / "t1.nii.gz"})
    predictor.predict({"T1": tmp_path / "t1.nii.gz"}).save(tmp_path / "made.nii.gz")
    assert found.array.shape == shown.shape
    ((saved, _, _),) = read_volumes(str(tmp_path / "made.nii.gz"))
    np.testing.assert_array_equal(found.array, saved)
