"""The doctor names each problem with the command that mends it, and its exit code says whether all is well."""

from __future__ import annotations

import subprocess

import pytest

from nnunet_missingmod import host
from nnunet_missingmod.cli import main
from nnunet_missingmod.commands import doctor


@pytest.fixture
def healthy(tmp_path, monkeypatch):
    """An environment in which every check passes, without starting a process."""
    for variable, _ in doctor.NNUNET_FOLDERS:
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(host, "unattached", list)
    done = subprocess.CompletedProcess([], 0, "", "")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *args, **kwargs: done)
    monkeypatch.setattr(doctor, "_LOW_DISK_BYTES", 0)


def problems(check):
    return {finding.text: finding.fix for finding in check() if finding.fix}


def test_all_is_well_exits_with_0(healthy, capsys):
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert shown.endswith("All is well.\n")
    assert "PROBLEM" not in shown


def test_unset_missing_and_locked_folders(healthy, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("nnUNet_raw")
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "nowhere"))
    monkeypatch.setattr(doctor.os, "access", lambda *args: False)
    found = problems(doctor.check_folders)
    assert found["nnUNet_raw is not set"] == "export nnUNet_raw=/a/folder/of/yours"
    assert any(fix == f"mkdir -p {tmp_path / 'nowhere'}" for fix in found.values())
    assert any("cannot be written to" in text for text in found)
    assert main(["doctor"]) == 1
    assert "3 problems found." in capsys.readouterr().out


def test_little_space_left(healthy, monkeypatch):
    monkeypatch.setattr(doctor, "_LOW_DISK_BYTES", 2**80)
    assert any("only" in text for text in problems(doctor.check_folders))


def test_not_attached(healthy, monkeypatch, tmp_path):
    monkeypatch.setattr(host, "unattached", lambda: [tmp_path / host.BRIDGE_NAME])
    assert problems(doctor.check_attached) == {"not attached": "nnunet_missingmod attach"}
    monkeypatch.setattr(doctor.os, "access", lambda *args: False)
    assert "nnUNet_extTrainer" in problems(doctor.check_attached)["not attached"]


def test_host_that_is_not_installed(healthy, monkeypatch):
    def missing():
        raise host.HostError("nnunetv2 is not installed")

    monkeypatch.setattr(host, "host_folder", missing)
    assert list(problems(doctor.check_attached)) == ["nnunetv2 is not installed"]


@pytest.mark.parametrize(("found", "good"), [("2.8.0", False), ("2.8.1", True), ("2.8.7", True), ("2.9.0", False)])
def test_version_of_the_host(healthy, monkeypatch, found, good):
    monkeypatch.setattr(doctor, "version", lambda package: found)
    assert bool(problems(doctor.check_versions)) is not good


def test_failing_class_search_tells_a_broken_torchvision_from_other_reasons(healthy, monkeypatch):
    def fail(message):
        done = subprocess.CompletedProcess([], 1, "", message)
        monkeypatch.setattr(doctor.subprocess, "run", lambda *args, **kwargs: done)
        return next(iter(problems(doctor.check_class_search).items()))

    text, fix = fail("File torchvision/__init__.py\nRuntimeError: operator torchvision::nms does not exist")
    assert text.endswith("operator torchvision::nms does not exist")
    assert "torch torchvision (both from one source)" in fix
    assert "attach" in fail("ImportError: something else")[1]
