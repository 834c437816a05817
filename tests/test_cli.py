"""The command line: help lists every command, wrong usage exits with 2, nothing heavy is imported for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nnunet_missingmod import __version__
from nnunet_missingmod.cli import COMMANDS, main


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["atach"], ["attach", "--nonsense"], ["phantom", "--cases", "many"]])
def test_wrong_usage_exits_with_2(arguments, capsys):
    assert main(arguments) == 2
    assert "usage: nnunet_missingmod" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: nnunet_missingmod {command}")


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"nnunet_missingmod {__version__}\n"


def test_attach_and_help_import_neither_torch_nor_the_host():
    code = (
        "import sys; from nnunet_missingmod.cli import main; main(['--help']); main(['attach', '--check']);"
        "assert not {'torch', 'numpy', 'nnunetv2'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_reader_who_leaves_gets_no_traceback():
    command = subprocess.Popen(
        [sys.executable, "-m", "nnunet_missingmod.cli", "trainers"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert command.stdout is not None
    command.stdout.close()
    _, said = command.communicate(timeout=100)
    assert command.returncode == 1
    assert b"Traceback" not in said
    assert b"BrokenPipe" not in said
