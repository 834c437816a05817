"""The process that segments for the viewer: a real one, its answers, its failures, its end."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest

from nnunet_missingmod import Predictor
from nnunet_missingmod.viewer.segmenting import Failed, Opened, Segmented, Segmenter


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


def test_it_opens_a_model_segments_and_says_why_it_cannot(segmenter, make_tiny_dataset, make_model):
    tiny = make_tiny_dataset(num_cases=1)
    model = make_model(tiny, "nnUNetTrainerModalityDropout")
    assert segmenter.answer() is None
    segmenter.segment({"T1": tiny.image("case_000", 1)})
    assert wait(segmenter) == Failed("Open a model first.")
    segmenter.open(model.parent / "none")
    assert "none" in wait(segmenter).why
    segmenter.open(model)
    assert wait(segmenter) == Opened(("FLAIR", "T1", "T1ce", "T2"))
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
    os.kill(segmenter._process.pid, signal.SIGKILL)
    segmenter.is_busy = True
    assert "has ended" in wait(segmenter).why
    assert not segmenter.is_busy
