"""Faults of docs/faults.md that concern a whole prediction: subsets, hostile and torn models, locked machines."""

from __future__ import annotations

import json
import multiprocessing.process
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_missingmod import Predictor, cli, storage
from nnunet_missingmod.inference.model_folder import load_predictor
from nnunet_missingmod.modalities import all_subsets

TRAINER = "nnUNetTrainerModalityDropout"
NAMES = ("FLAIR", "T1", "T1ce", "T2")


@pytest.fixture
def tiny(make_tiny_dataset):
    return make_tiny_dataset(num_cases=2)


@pytest.fixture
def model(tiny, make_model):
    return make_model(tiny, TRAINER)


@pytest.fixture
def given(tiny, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for channel in (1, 3):
        (folder / f"p_{channel:04d}.nii.gz").write_bytes(tiny.image("case_000", channel).read_bytes())
    return folder


def predict(model, given, out):
    return cli.main(["predict", "-i", str(given), "-o", str(out), "-m", str(model), "-device", "cpu"])


@pytest.mark.usefixtures("attached")
def test_every_subset_of_files_equals_the_same_case_with_an_explicit_absence_mark(tiny, model):
    predictor = Predictor.from_model_folder(model, device="cpu")
    files = {channel: tiny.image("case_000", channel) for channel in range(4)}
    data, properties = predictor.reader.read_images([str(file) for file in files.values()])
    stock = load_predictor(predictor.model, device=torch.device("cpu"), kind=nnUNetPredictor)
    segmentations = set()
    for subset in all_subsets(4):
        marked = data.copy()
        marked[[channel for channel in range(4) if channel not in subset]] = np.nan
        expected = stock.predict_single_npy_array(marked, dict(properties), None, None, False)
        made = predictor.predict({NAMES[channel]: files[channel] for channel in subset})
        np.testing.assert_array_equal(made.array, expected)
        segmentations.add(made.array.tobytes())
    assert len(segmentations) == 15, "each subset must lead to something else"


class Bomb:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


def test_hostile_checkpoint_is_refused_and_not_executed(model, given, tmp_path, capsys):
    checkpoint = torch.load(model / "fold_0" / "checkpoint_final.pth", weights_only=False)
    checkpoint["logging"] = Bomb(tmp_path / "executed")
    torch.save(checkpoint, model / "fold_0" / "checkpoint_final.pth")
    assert predict(model, given, tmp_path / "out") == 2
    assert not (tmp_path / "executed").exists()
    said = capsys.readouterr().err
    assert "checkpoint_final.pth" in said
    assert "was not executed" in said
    assert not (tmp_path / "out").exists()
    pickle.loads(pickle.dumps(Bomb(tmp_path / "executed")))
    assert (tmp_path / "executed").exists(), "the bomb works where it is let"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_torn_checkpoint_is_refused_by_name(model, given, tmp_path, capsys, share):
    file = model / "fold_0" / "checkpoint_final.pth"
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    assert predict(model, given, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "fold 0" in said
    assert str(file) in said


@pytest.mark.parametrize("text", ["", "{", "[]", '{"configurations": {}}'])
@pytest.mark.parametrize("name", ["plans.json", "dataset.json"])
def test_damaged_plans_and_dataset_are_refused_by_name(model, given, tmp_path, capsys, name, text):
    (model / name).write_text(text)
    assert predict(model, given, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert str(model) in said
    assert name in said


def test_weights_of_another_network_are_refused(tiny, model, given, tmp_path, capsys):
    plans = json.loads((model / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 8, 16]
    (model / "plans.json").write_text(json.dumps(plans))
    assert predict(model, given, tmp_path / "out") == 2
    assert f"The network of {model} cannot be built" in capsys.readouterr().err


def test_locked_container_in_which_no_process_can_be_started(model, given, tmp_path, monkeypatch):
    def locked(*_):
        raise PermissionError("no process may be started")

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", locked)
    monkeypatch.setattr(subprocess, "Popen", locked)
    assert predict(model, given, tmp_path / "out") == 0
    assert (tmp_path / "out" / "p.nii.gz").exists()


def test_model_and_images_are_only_read(model, given, tmp_path):
    def state(folder):
        return {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in Path(folder).rglob("*")}

    before = {**state(model), **state(given)}
    assert predict(model, given, tmp_path / "out") == 0
    assert {**state(model), **state(given)} == before


def test_no_write_access_is_said_before_any_image_is_read(model, given, tmp_path, capsys, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(storage, "replaced_when_complete", denied)
    assert predict(model, given, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert f"Cannot write into {tmp_path / 'out'}: Permission denied" in said
    assert "Choose another -o" in said


KILLED = """
import sys, time
from nnunet_missingmod import cli
from nnunet_missingmod.inference.prediction import Prediction
write = Prediction._write_checked
def slowly(self, path):
    write(self, path)
    print("written", flush=True)
    time.sleep(60)
Prediction._write_checked = slowly
cli.main(sys.argv[1:])
"""


def test_killed_while_writing_leaves_the_previous_prediction_and_continues(model, given, tmp_path):
    out = tmp_path / "out"
    command = ["predict", "-i", given, "-o", out, "-m", model, "-device", "cpu"]
    assert cli.main([*map(str, command)]) == 0
    (out / "p.nii.gz").write_text("previous")
    child = subprocess.Popen([sys.executable, "-c", KILLED, *map(str, command)], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while "written" not in child.stdout.readline():
        assert time.monotonic() < deadline
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert (out / "p.nii.gz").read_text() == "previous"
    assert cli.main([*map(str, command), "--continue_prediction"]) == 0
    assert (out / "p.nii.gz").read_bytes()[:2] == b"\x1f\x8b"
