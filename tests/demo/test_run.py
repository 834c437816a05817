"""The demo's steps up to nnU-Net's commands; the whole of it runs in tests/end_to_end/test_demo.py."""

from __future__ import annotations

import json

import pytest

from nnunet_missingmod import host
from nnunet_missingmod.demo import run
from nnunet_missingmod.demo.settings import CONFIGURATION, PLANS, DemoFolder, DemoSettings


@pytest.fixture
def planned(tmp_path):
    folder = DemoFolder(tmp_path)
    folder.preprocessed.mkdir(parents=True)
    folder.marker("plan_and_preprocess").parent.mkdir()
    folder.marker("plan_and_preprocess").touch()
    stock = {
        "plans_name": "nnUNetPlans",
        "configurations": {
            CONFIGURATION: {"architecture": {"arch_kwargs": {"n_stages": 3, "features_per_stage": [32, 64, 128]}}}
        },
    }
    (folder.preprocessed / "nnUNetPlans.json").write_text(json.dumps(stock))
    return folder


def test_demo_plans_are_the_stock_plans_with_other_widths_and_length(planned):
    run._plan_and_preprocess(planned, DemoSettings(width=4, batch_size=2, epochs=3, iterations=7))
    plans = json.loads((planned.preprocessed / f"{PLANS}.json").read_text())
    assert plans["plans_name"] == PLANS
    chosen = plans["configurations"][CONFIGURATION]
    assert chosen["architecture"]["arch_kwargs"] == {"n_stages": 3, "features_per_stage": [4, 8, 16]}
    assert chosen["batch_size"] == 2
    assert (chosen["missingmod"]["num_epochs"], chosen["missingmod"]["num_iterations_per_epoch"]) == (3, 7)


def test_finished_steps_start_no_command(planned, monkeypatch):
    def refuse(*_args):
        raise AssertionError("a command was started")

    monkeypatch.setattr(run, "run_command", refuse)
    settings = DemoSettings()
    for trainer in run.TRAINERS:
        (planned.model(trainer) / "fold_0" / "validation").mkdir(parents=True)
        (planned.model(trainer) / "fold_0" / "validation" / "summary.json").touch()
    planned.host_predictions.mkdir(parents=True)
    (planned.host_predictions / "case.nii.gz").touch()
    run._plan_and_preprocess(planned, settings)
    run._train(planned, settings, "cpu")
    run._predict(planned, ["case"], "cpu")


def test_training_that_was_cut_off_is_continued(planned, monkeypatch):
    seen = []
    monkeypatch.setattr(run, "run_command", lambda command, environment: seen.append(command.argv))
    monkeypatch.setattr(run, "program", lambda name: name)
    fold = planned.model("nnUNetTrainerZeroFill") / "fold_0"
    fold.mkdir(parents=True)
    (fold / "checkpoint_latest.pth").touch()
    run._train(planned, DemoSettings(), "cpu")
    assert [argv[-1] == "--c" for argv in seen] == [True, False]


@pytest.mark.parametrize(
    ("device", "seen", "shown", "visible"),
    [
        ("cpu", None, "cpu", None),
        ("cuda", None, "cuda", None),
        ("cuda:1", None, "cuda", "1"),
        ("cuda:1", "4,7", "cuda", "7"),
    ],
)
def test_nnunets_commands_which_take_no_number_see_the_chosen_gpu(planned, monkeypatch, device, seen, shown, visible):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if seen:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    calls = []
    monkeypatch.setattr(run, "run_command", lambda *call: calls.append(call))
    monkeypatch.setattr(run, "program", lambda name: name)
    run._train(planned, DemoSettings(), device)
    run._predict(planned, ["case"], device)
    assert len(calls) == 3
    for command, environment in calls:
        assert command.argv[command.argv.index("-device") + 1] == shown
        assert environment.get("CUDA_VISIBLE_DEVICES") == visible


def test_stock_prediction_gets_the_cases_as_they_come_with_the_model_made_for_them(planned, monkeypatch):
    seen = []
    monkeypatch.setattr(run, "run_command", lambda command, environment: seen.append(command))
    monkeypatch.setattr(run, "program", lambda name: name)
    planned.test_images.mkdir(parents=True)
    for name in ("one_0000", "one_0003", "two_0001", "two_0002", "two_0000", "two_0003"):
        (planned.test_images / f"{name}.nii.gz").touch()
    cases = run._count_files(planned.test_images)
    assert cases == {"one": 2, "two": 4}
    planned.host_predictions.mkdir(parents=True)
    (planned.host_predictions / "two.nii.gz").touch()
    run._predict(planned, cases, "cpu")
    ((argv, ticks),) = ((command.argv, command.ticks) for command in seen)
    assert argv[:5] == ["nnUNetv2_predict", "-i", str(planned.test_images), "-o", str(planned.host_predictions)]
    assert argv[argv.index("-tr") + 1] == "nnUNetTrainerModalityDropout"
    assert "--continue_prediction" in argv
    assert ticks == 1


def test_a_demo_without_nnunet_makes_nothing_and_reports_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(host.importlib.util, "find_spec", lambda name: None)
    said = []
    with pytest.raises(host.HostError, match="pip install nnunetv2"):
        run.run_demo(DemoFolder(tmp_path / "demo"), DemoSettings(), device="cpu", report=said.append)
    assert not said
    assert not (tmp_path / "demo").exists()
