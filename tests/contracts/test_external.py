"""nnU-Net's search in the folders of nnUNet_extTrainer finds our classes, as its workers need them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from nnunet_missingmod import host

_FIND = """
import pickle, sys
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find
for name in sys.argv[1:]:
    found = find(name)
    print(f"FOUND {found.__module__}")
    assert find(name).__module__ == found.__module__
    if found.__module__.startswith("nnunet_missingmod"):
        assert pickle.loads(pickle.dumps(found)) is found is find(name)
"""
_OURS = "nnUNetTrainerModalityDropout"
_FAMILY = "nnUNetTrainerHeMIS"


def find(variables, folders, *names):
    """Search in a process of its own; return the modules that were found, or the last line of the error."""
    done = subprocess.run(
        [sys.executable, "-c", _FIND, *names],
        env={**os.environ, **variables, host.VARIABLE: os.pathsep.join(map(str, folders))},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return done.stderr.strip().splitlines()[-1]
    return [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FOUND ")]


@pytest.fixture
def plugin(tmp_path):
    """Another plugin's folder."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "nnUNetTrainerTheirs.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "class nnUNetTrainerTheirs(nnUNetTrainer):\n    pass\n"
    )
    return folder


@pytest.mark.slow
def test_ours_are_found_beside_another_plugin_in_either_order(untouched_host, plugin):
    ours = ["nnunet_missingmod.trainers.nnUNetTrainerModalityDropout", "nnunet_missingmod.trainers.families"]
    for folders in ([host.EXTERNAL_FOLDER, plugin], [plugin, host.EXTERNAL_FOLDER]):
        dropout, theirs, family = find(untouched_host, folders, _OURS, "nnUNetTrainerTheirs", _FAMILY)
        assert (dropout, theirs) == (ours[0], "nnUNetTrainerTheirs")
        assert family.startswith(ours[1])


@pytest.mark.slow
def test_a_plugin_that_cannot_be_imported_does_not_stop_ours_which_are_first(untouched_host, plugin, monkeypatch):
    (plugin / "aaa.py").write_text("import not_there_at_all")
    monkeypatch.setenv(host.VARIABLE, str(plugin))
    folders = host.external_value().split(os.pathsep)
    assert find(untouched_host, folders, _OURS) == ["nnunet_missingmod.trainers.nnUNetTrainerModalityDropout"]
    assert "not_there_at_all" in find(untouched_host, reversed(folders), _OURS)


@pytest.mark.slow
def test_a_wrong_folder_is_said_by_nnunet(untouched_host):
    assert "nnUNet_extTrainer=/nowhere" in find(untouched_host, ["/nowhere"], _OURS)
