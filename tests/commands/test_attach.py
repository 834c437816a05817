"""``attach`` and ``detach`` say which files they wrote and removed, and fail where nnU-Net is not there."""

from __future__ import annotations

import pytest

from nnunet_missingmod import host
from nnunet_missingmod.cli import main


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    folder = tmp_path / "nnunetv2"
    for scanned in host.SCANNED_FOLDERS:
        (folder / scanned).mkdir(parents=True)
    monkeypatch.setattr(host, "host_folder", lambda: folder)
    return folder


def test_every_file_is_said(stand_in, capsys):
    files = [stand_in / scanned / host.BRIDGE_NAME for scanned in host.SCANNED_FOLDERS]
    assert main(["attach"]) == 0
    assert capsys.readouterr().out.splitlines() == [*(f"wrote {file}" for file in files), f"attached to {stand_in}"]
    assert main(["attach", "--check"]) == 0
    assert capsys.readouterr().out == f"attached to {stand_in}\n"
    assert main(["detach"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        *(f"removed {file}" for file in files),
        f"detached from {stand_in}",
    ]
    assert main(["attach", "--check"]) == 1
    assert capsys.readouterr().out == f"not attached: {', '.join(map(str, files))}\n"


@pytest.mark.parametrize("command", ["attach", "detach"])
def test_without_nnunet_it_fails_with_the_fix(command, monkeypatch, capsys):
    def missing():
        raise host.HostError("nnunetv2 is not installed. Run: pip install nnunetv2")

    monkeypatch.setattr(host, "host_folder", missing)
    assert main([command]) == 1
    said = f"nnunet_missingmod {command}: nnunetv2 is not installed. Run: pip install nnunetv2\n"
    assert capsys.readouterr() == ("", said)
