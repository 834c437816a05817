"""The doctor names each problem with the command that mends it, and its exit code says whether all is well."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

import nnunet_missingmod
from nnunet_missingmod import host
from nnunet_missingmod.cli import main
from nnunet_missingmod.commands import doctor

ROOT = Path(__file__).parents[2]


@pytest.fixture
def healthy(tmp_path, monkeypatch):
    """An environment in which every check passes, without starting a process."""
    for variable, _ in doctor.NNUNET_FOLDERS:
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
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


def test_who_only_predicts_needs_no_folder(healthy, monkeypatch):
    for variable, _ in doctor.NNUNET_FOLDERS:
        monkeypatch.delenv(variable)
    (found,) = doctor.check_folders()
    assert found.fix is None
    assert "training and -d need them" in found.text


def test_no_folder_for_temporary_files(healthy, monkeypatch):
    def none(*_args):
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(doctor.tempfile, "mkdtemp", none)
    assert list(problems(doctor.check_class_search).values()) == ["export TMPDIR=/a/folder/of/yours"]


def test_little_space_left(healthy, monkeypatch):
    monkeypatch.setattr(doctor, "_LOW_DISK_BYTES", 2**80)
    assert any("only" in text for text in problems(doctor.check_folders))


def test_neither_attached_nor_in_the_variable(healthy, monkeypatch, tmp_path):
    monkeypatch.setattr(host, "unattached", lambda: [tmp_path / host.BRIDGE_NAME] * 3)
    export = f'export nnUNet_extTrainer="{host.EXTERNAL_FOLDER}"'
    said = "nnU-Net does not find this package, which its own commands need, and predict does not"
    assert problems(doctor.check_mode) == {said: export}
    monkeypatch.setattr(host, "unattached", lambda: [tmp_path / host.BRIDGE_NAME])
    assert problems(doctor.check_mode) == {
        "partly attached, or by another version": f"run nnunet_missingmod attach again, or: {export}"
    }
    monkeypatch.setenv("nnUNet_extTrainer", str(host.EXTERNAL_FOLDER))
    assert problems(doctor.check_mode) == {}


def test_the_mode_is_said(healthy, monkeypatch, tmp_path):
    assert "attached: all of nnU-Net's commands find this package" in [*doctor.check_mode()][-1].text
    monkeypatch.setattr(host, "unattached", lambda: [tmp_path / host.BRIDGE_NAME])
    monkeypatch.setenv("nnUNet_extTrainer", str(host.EXTERNAL_FOLDER))
    assert "through nnUNet_extTrainer; nothing is written into nnunetv2" in [*doctor.check_mode()][-1].text


def test_folders_in_the_variable_that_do_not_work(healthy, monkeypatch, tmp_path):
    nowhere, trainers, theirs = tmp_path / "nowhere", tmp_path / "trainers", tmp_path / "theirs"
    trainers.mkdir()
    (trainers / "nnUNetTrainerModalityDropout.py").write_text("from nnunet_missingmod.training import trainer")
    theirs.mkdir()
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join(map(str, ["", nowhere, trainers, theirs])))
    export = f'export nnUNet_extTrainer="{host.EXTERNAL_FOLDER}{os.pathsep}{theirs}"'
    assert problems(doctor.check_mode) == {
        f"nnUNet_extTrainer names {nowhere}, which is no folder": export,
        f"nnUNet_extTrainer names {trainers}: trainers that nnU-Net imports from there cannot be pickled": export,
    }


def test_host_that_is_not_installed(healthy, monkeypatch):
    def missing():
        raise host.HostError("nnunetv2 is not installed")

    monkeypatch.setattr(host, "host_folder", missing)
    assert list(problems(doctor.check_mode)) == ["nnunetv2 is not installed"]


@pytest.mark.parametrize(
    ("found", "good"),
    [
        ("2.8.0", False),
        ("2.8.1", True),
        ("2.8.7", True),
        ("2.8.10", True),
        ("2.8.2.dev1", True),
        ("2.8.1rc1", False),
        ("2.9.0", False),
        ("2.9.0rc1", False),
        ("2.8", False),
        ("unknown", False),
    ],
)
def test_version_of_the_host(healthy, monkeypatch, found, good):
    monkeypatch.setattr(doctor, "version", lambda package: found)
    assert bool(problems(doctor.check_versions)) is not good


def test_the_range_of_the_host_is_that_of_the_installation():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert f"nnunetv2{doctor.HOST_RANGE}" in config["options"]["install_requires"].split()


def test_an_installation_that_is_shadowed_is_named(healthy, monkeypatch):
    def found(folder):
        done = subprocess.CompletedProcess([], 0, f"{folder}\n", "")
        monkeypatch.setattr(doctor.subprocess, "run", lambda *args, **kwargs: done)
        return problems(doctor.check_class_search)

    ours = Path(nnunet_missingmod.__file__).parent
    assert found(ours.resolve()) == {}
    ((text, fix),) = found("/site-packages/nnunet_missingmod").items()
    assert text == f"this command is of {ours}, but nnU-Net's commands import the package in " + (
        "/site-packages/nnunet_missingmod"
    )
    assert f"start it elsewhere than in {Path.cwd()}" in fix
    assert f"pip install -e {ours.parent}" in fix


def test_a_package_that_is_not_installed_is_named(healthy, monkeypatch):
    done = subprocess.CompletedProcess([], 1, "", "ModuleNotFoundError: No module named 'nnunet_missingmod'")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *args, **kwargs: done)
    ((text, fix),) = problems(doctor.check_class_search).items()
    assert text.endswith("No module named 'nnunet_missingmod'")
    assert fix.endswith(f"-m pip install {ROOT}")


@pytest.mark.slow
def test_the_search_itself_in_a_process_of_its_own(untouched_host, monkeypatch, tmp_path):
    """Wherever the doctor is called: a folder that holds a broken copy of the package is not what nnU-Net imports."""
    broken = tmp_path / "nnunet_missingmod"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise RuntimeError('broken')")
    monkeypatch.chdir(tmp_path)
    for name, value in untouched_host.items():
        monkeypatch.setenv(name, value)
    found = [(finding.text, finding.fix) for finding in doctor.check_class_search()]
    assert found[-1] == ("nnU-Net's class search finds its own classes and ours", None)
    # Beside that, at most that the tests are run from a checkout which is not what is installed.
    assert all(text.startswith("this command is of ") for text, _ in found[:-1])


@pytest.mark.slow
def test_the_search_itself_where_nothing_is_attached(monkeypatch, tmp_path):
    with_nothing = textwrap.dedent(
        """
        import nnunet_missingmod.host
        nnunet_missingmod.host.CLASS_TABLE.clear()
        """
    )
    monkeypatch.setattr(doctor, "_SEARCH", with_nothing + doctor._SEARCH)
    assert any("class search fails" in text for text in problems(doctor.check_class_search))


def test_failing_class_search_tells_a_broken_torchvision_from_other_reasons(healthy, monkeypatch):
    def fail(message):
        done = subprocess.CompletedProcess([], 1, "", message)
        monkeypatch.setattr(doctor.subprocess, "run", lambda *args, **kwargs: done)
        return next(iter(problems(doctor.check_class_search).items()))

    text, fix = fail("File torchvision/__init__.py\nRuntimeError: operator torchvision::nms does not exist")
    assert text.endswith("operator torchvision::nms does not exist")
    assert "torch torchvision (both from one source)" in fix
    assert fail("ImportError: something else")[1] == "mend what the message names, then run: nnunet_missingmod doctor"
    monkeypatch.setattr(host, "unattached", lambda: [Path(host.BRIDGE_NAME)])
    assert fail("RuntimeError: Could not find")[1] == f'export nnUNet_extTrainer="{host.EXTERNAL_FOLDER}"'


_FOREIGN = """
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
class nnUNetTrainerModalityDropout(nnUNetTrainer):
    pass
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "content", ["raise RuntimeError('their plugin is broken')", _FOREIGN], ids=["broken", "foreign"]
)
def test_a_plugin_before_ours_that_stops_the_search_is_put_after_it(untouched_host, monkeypatch, tmp_path, content):
    (tmp_path / "nnUNetTrainerModalityDropout.py").write_text(content)
    for name, value in untouched_host.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(host, "unattached", lambda: [Path(host.BRIDGE_NAME)] * 3)
    monkeypatch.setenv(host.VARIABLE, os.pathsep.join(map(str, [tmp_path, host.EXTERNAL_FOLDER])))
    (fix,) = (fix for text, fix in problems(doctor.check_class_search).items() if "class search fails" in text)
    assert fix == f'export {host.VARIABLE}="{host.EXTERNAL_FOLDER}{os.pathsep}{tmp_path}"'


@pytest.fixture
def own_host(tmp_path, monkeypatch):
    """A copy of nnU-Net that only this test's processes find, not attached."""
    copy = tmp_path / "site" / host.HOST
    shutil.copytree(host.host_folder(), copy, ignore=shutil.ignore_patterns(f"{Path(host.BRIDGE_NAME).stem}*"))
    monkeypatch.setenv("PYTHONPATH", str(copy.parent))
    monkeypatch.setattr(host, "host_folder", lambda: copy)
    return copy


@pytest.mark.slow
def test_a_foreign_class_in_nnunet_that_is_found_in_place_of_ours_is_named(own_host, monkeypatch):
    variants = own_host / "training" / "nnUNetTrainer" / "variants"
    (variants / "foreign.py").write_text(_FOREIGN)
    monkeypatch.setenv(host.VARIABLE, str(host.EXTERNAL_FOLDER))
    ((text, fix),) = ((t, f) for t, f in problems(doctor.check_class_search).items() if "class search fails" in t)
    assert "not ours, but that of module nnunetv2.training.nnUNetTrainer.variants.foreign: rename or remove" in text
    assert fix.startswith("mend what the message names")


@pytest.mark.slow
def test_planners_are_looked_up_where_the_host_is_attached(own_host, monkeypatch):
    monkeypatch.delenv(host.VARIABLE, raising=False)
    host.attach()
    assert not any("class search fails" in text for text in problems(doctor.check_class_search))
    (own_host / "experiment_planning" / "foreign.py").write_text("class MissingModPlanner: ...")
    assert any(
        "the MissingModPlanner that is found is not ours, but that of module nnunetv2.experiment_planning.foreign"
        in text
        for text in problems(doctor.check_class_search)
    )
