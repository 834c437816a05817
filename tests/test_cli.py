"""The command line: help lists every command, wrong usage exits with 2, nothing heavy is imported for it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

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


def test_version_of_a_command_that_is_unknown_is_not_asked_for(capsys):
    assert main(["atach"]) == 2
    assert capsys.readouterr().err.startswith("nnunet_missingmod: unknown command 'atach'\n")


@pytest.fixture
def command(monkeypatch):
    """Let ``attach`` do something else."""

    def replace(run):
        monkeypatch.setattr("nnunet_missingmod.commands.attach.run_attach", run)

    return replace


def unexpected(_args):
    raise LookupError("deep inside")


def test_no_traceback_for_what_nobody_expected(command, capsys):
    command(unexpected)
    assert main(["attach"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "nnunet_missingmod attach: LookupError: deep inside",
        "This is unexpected. Run again with --verbose for the traceback, and report it.",
    ]


def test_verbose_shows_the_traceback(command, capsys):
    command(unexpected)
    assert main(["attach", "--verbose"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last):\n")
    assert "in unexpected" in said
    assert said.endswith("nnunet_missingmod attach: LookupError: deep inside\n")


def test_a_module_that_cannot_be_imported_gives_no_traceback(monkeypatch, capsys):
    def broken(name):
        raise ImportError(f"libtorch of {name} is gone")

    monkeypatch.setattr("nnunet_missingmod.cli.import_module", broken)
    assert main(["predict"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("nnunet_missingmod predict: ImportError: libtorch of nnunet_missingmod.commands.predict")


def speaking(_args):
    ours = logging.getLogger("nnunet_missingmod.cases.somewhere")
    ours.info("ours, at work")
    ours.debug("ours, in detail")
    logging.getLogger("numexpr.utils").info("NumExpr defaulting to 2 threads.")
    logging.getLogger("someone").warning("a warning of someone else")
    warnings.showwarning("a warning by warnings", UserWarning, "file.py", 1)
    return 0


def test_the_log_shown_is_this_packages(command, capsys):
    command(speaking)
    assert main(["attach"]) == 0
    assert capsys.readouterr() == ("", "ours, at work\n")


def test_verbose_shows_details_and_the_warnings_of_others(command, capsys):
    command(speaking)
    with pytest.warns(UserWarning, match="a warning by warnings"):
        assert main(["attach", "--verbose"]) == 0
    assert "ours, at work\nours, in detail\n" in capsys.readouterr().err


def test_logging_is_afterwards_as_it_was(command):
    ours, everyone = logging.getLogger("nnunet_missingmod"), logging.getLogger()

    def state():
        return [ours.level, ours.propagate, list(ours.handlers), list(everyone.handlers), warnings.showwarning]

    for run in (speaking, unexpected):
        command(run)
        before = state()
        main(["attach"])
        assert state() == before


def test_ctrl_c_ends_with_130_and_a_line(command, capsys):
    def stopped(_args):
        raise KeyboardInterrupt

    command(stopped)
    assert main(["attach"]) == 130
    assert capsys.readouterr().err == "nnunet_missingmod attach: stopped by Ctrl-C.\n"


def test_a_terminal_that_lacks_a_letter_is_no_failure():
    done = subprocess.run(
        [sys.executable, "-m", "nnunet_missingmod.cli", "trainers"],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert rb"H\xf6lder" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [["trainers"], ["--help"], ["info", "--help"], ["predict", "--help"]])
def test_output_onto_a_full_disk_fails_without_traceback(arguments):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "nnunet_missingmod.cli", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONUNBUFFERED": ""},
        )
    assert done.returncode == 1
    assert (
        done.stderr
        == f"nnunet_missingmod {arguments[0]}: Standard output cannot be written to: No space left on device.\n"
    )


# How a command ends whose standard output, or error, was closed or is full.
STREAMS = [
    ("trainers", ">&-", 1),
    ("trainers", ">/dev/full", 1),
    ("predict --help", ">&-", 1),
    ("--version", ">&-", 1),
    ("trainers", "2>&-", 0),
    ("trainers", "<&- 2>&-", 0),
    *((wrong, closed, 2) for wrong in ("", "atach", "inspect", "predict -o x", "attach --nonsense")
      for closed in ("2>&-", "2>/dev/full", ">&-", ">/dev/full", ">&- 2>&-")),
]  # fmt: skip


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_streams_that_cannot_be_written_give_no_traceback_and_change_no_code(tmp_path):
    script = "\n".join(
        f"{{ {sys.executable} -m nnunet_missingmod.cli {arguments} {streams}; }} 2>&1; echo END $?"
        for arguments, streams, _ in STREAMS
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "Traceback" not in done.stdout
    assert "unexpected" not in done.stdout
    codes = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("END ")]
    assert list(zip(STREAMS, codes, strict=True)) == [(each, each[2]) for each in STREAMS]
    assert list(tmp_path.iterdir()) == []


def test_a_file_does_not_take_the_place_of_a_closed_stream(tmp_path):
    code = f"""
import sys
from nnunet_missingmod.cli import main
main(['nothing'])
sys.exit(0 if open({str(tmp_path / "file")!r}, 'w').fileno() > 2 else 9)
"""
    done = subprocess.run(["bash", "-c", f'{sys.executable} -c "{code}" <&- >&- 2>&-'], check=False)
    assert done.returncode == 0


def test_verbose_may_stand_before_the_command(command, capsys):
    command(unexpected)
    assert main(["--verbose", "attach"]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert main(["--verbose"]) == 2
    assert main(["--verbose", "--version"]) == 0


def test_the_help_of_a_command_imports_nothing_heavy():
    code = (
        f"import sys; from nnunet_missingmod.cli import main; [main([name, '--help']) for name in {list(COMMANDS)}];"
        "assert not {'torch', 'numpy', 'SimpleITK', 'nnunetv2'} & set(sys.modules)"
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
