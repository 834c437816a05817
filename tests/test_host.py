"""Attach, check, detach on a stand-in host; what the bridge answers, also when this package is broken or gone."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from nnunet_missingmod import host
from nnunet_missingmod.cli import main

ROOT = Path(__file__).parents[1]


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A folder laid out like nnunetv2's."""
    folder = tmp_path / "nnunetv2"
    for scanned in host.SCANNED_FOLDERS:
        (folder / scanned).mkdir(parents=True)
    monkeypatch.setattr(host, "host_folder", lambda: folder)
    return folder


def test_attach_check_detach_leave_nothing(stand_in, capsys):
    before = sorted(stand_in.rglob("*"))
    assert main(["attach", "--check"]) == 1
    assert main(["attach"]) == 0
    assert main(["attach", "--check"]) == 0
    written = [file for file in stand_in.rglob("*") if file.is_file()]
    assert sorted(written) == sorted(host.bridge_files())
    assert {file.read_text() for file in written} == {host.bridge()}
    assert main(["attach"]) == 0
    assert main(["detach"]) == 0
    assert sorted(stand_in.rglob("*")) == before
    assert "detached" in capsys.readouterr().out


def test_what_an_uninstalled_host_left_behind_is_named(tmp_path, monkeypatch):
    leftover = tmp_path / host.HOST / host.SCANNED_FOLDERS[0] / host.BRIDGE_NAME
    leftover.parent.mkdir(parents=True)
    leftover.write_text(host.bridge())
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, host.HOST, raising=False)
    with pytest.raises(host.HostError, match=rf"{tmp_path / host.HOST} is what an uninstalled nnunetv2 has left"):
        host.host_folder()


def test_a_bridge_of_another_version_is_replaced(stand_in):
    host.attach()
    host.bridge_files()[0].write_text("old")
    assert host.unattached() == [host.bridge_files()[0]]
    assert host.attach() == [host.bridge_files()[0]]


def test_compiled_bridges_are_removed_too(stand_in):
    host.attach()
    cache = host.bridge_files()[0].parent / "__pycache__"
    cache.mkdir()
    (cache / "missingmod_bridge.cpython-311.pyc").touch()
    (cache / "other.cpython-311.pyc").touch()
    host.detach()
    assert [file.name for file in cache.iterdir()] == ["other.cpython-311.pyc"]


def test_a_host_that_cannot_be_written_to_is_refused_with_the_ways_out(stand_in, monkeypatch, capsys):
    def refuse(*_args, **_kwargs):
        raise PermissionError("Permission denied")

    monkeypatch.setattr(host.tempfile, "mkstemp", refuse)
    assert main(["attach"]) == 1
    message = capsys.readouterr().err
    assert "Permission denied" in message
    assert f'export nnUNet_extTrainer="{host.EXTERNAL_FOLDER}"' in message
    assert "rights of the folder's owner" in message
    assert not host.bridge_files()[0].exists()


def test_a_failed_write_leaves_no_half_file(stand_in, monkeypatch):
    def fail(*_args, **_kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(host.Path, "replace", fail)
    with pytest.raises(host.HostError, match="No space left"):
        host.attach()
    assert not [file for file in stand_in.rglob("*") if file.is_file()]


def test_missing_host_is_said_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(host.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(host.HostError, match="pip install nnunetv2"):
        host.host_folder()


@pytest.fixture
def variable(monkeypatch):
    """Set nnUNet_extTrainer to folders."""
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    return lambda *folders: monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join(map(str, folders)))


def test_path_prints_what_the_variable_has_to_be(variable, tmp_path, capsys):
    theirs, ours = tmp_path / "theirs", host.EXTERNAL_FOLDER
    theirs.mkdir()
    for given, wanted in (
        ((), (ours,)),
        ((theirs,), (ours, theirs)),
        ((theirs, ours), (ours, theirs)),
        ((tmp_path / "nowhere", "", ours), (ours,)),
        ((Path(host.__file__).parents[1] / "trainers",), (ours,)),
    ):
        variable(*given)
        assert main(["path"]) == 0
        assert capsys.readouterr().out == os.pathsep.join(map(str, wanted)) + "\n"


def test_a_plugin_with_a_file_called_as_ours_stays_in_the_variable(variable, tmp_path):
    (tmp_path / "nnUNetTrainerModalityDropout.py").write_text("class nnUNetTrainerModalityDropout: ...")
    variable(tmp_path)
    assert host.external_value() == os.pathsep.join(map(str, (host.EXTERNAL_FOLDER, tmp_path)))
    assert host.holds_trainers(Path(host.__file__).parents[1] / "trainers")
    (tmp_path / "nnUNetTrainerModalityDropout.py").write_bytes(b"\xff")
    assert not host.holds_trainers(tmp_path)


def test_another_installation_s_bridge_is_as_good(variable, tmp_path, stand_in):
    assert not host.is_found()
    variable(tmp_path)
    assert not host.is_found()
    (tmp_path / host.BRIDGE_NAME).write_text(host.bridge())
    assert host.is_found()
    assert host.external_value() == str(host.EXTERNAL_FOLDER)
    (tmp_path / host.BRIDGE_NAME).write_bytes(b"\xff")
    assert not host.is_found()
    host.attach()
    assert host.is_found()


def test_the_folder_for_the_variable_holds_the_bridge_and_no_other_module(variable):
    modules = [module.name for module in pkgutil.iter_modules([str(host.EXTERNAL_FOLDER)])]
    assert modules == [Path(host.BRIDGE_NAME).stem]


_SEARCH = """
import sys
import nnunetv2
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class as find
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find_trainer
assert nnunetv2.__path__[0] == sys.argv[1], nnunetv2.__path__
for name in ("nnUNetTrainer", "nnUNetTrainerDA5"):
    assert find_trainer(name).__module__.startswith("nnunetv2."), name
def preprocessor(name):
    return find(nnunetv2.__path__[0] + "/preprocessing", name, "nnunetv2.preprocessing")
assert preprocessor("DefaultPreprocessor").__module__.startswith("nnunetv2.")
print("FOUND", preprocessor("MissingModPreprocessor"))
"""


@pytest.mark.slow
def test_stock_classes_are_found_before_during_and_after_attach_and_with_a_broken_plugin(tmp_path):
    import shutil

    folder = tmp_path / "site" / "nnunetv2"
    source = host.host_folder()
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__", host.BRIDGE_NAME))
    broken = tmp_path / "broken" / "nnunet_missingmod"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('broken')")

    def run(*argv, path=(), **variables):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, folder.parent])), **variables}
        done = subprocess.run(
            [sys.executable, *argv], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    search = ("-c", _SEARCH, str(folder))
    assert "FOUND None" in run(*search)
    run("-m", "nnunet_missingmod.cli", "attach")
    assert "FOUND <class 'nnunet_missingmod" in run(*search)
    assert "FOUND None" in run(*search, path=[broken.parent])
    run("-m", "nnunet_missingmod.cli", "detach")
    assert "FOUND None" in run(*search)
    assert not list(folder.rglob("*missingmod*"))
