"""Commands of the demo: progress from the log, the end of the log where one fails, nothing left running."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from nnunet_missingmod.demo import host_commands as commands
from nnunet_missingmod.demo.host_commands import Command, CommandError, program, run_command


def python(tmp_path, code, ticks=3):
    return Command("step", [sys.executable, "-c", code], tmp_path / "logs" / "step.txt", "tick", ticks)


def test_output_and_environment_go_through(tmp_path):
    run_command(python(tmp_path, "import os; print('tick', os.environ['MARK'])"), {"MARK": "here"})
    assert (tmp_path / "logs/step.txt").read_text() == "tick here\n"


def test_failure_shows_the_end_of_the_log_and_where_it_is(tmp_path):
    code = "print('\\n'.join(f'line {i}' for i in range(50))); raise SystemExit(3)"
    with pytest.raises(CommandError, match=r"step failed \(exit 3\).*logs/step.txt\n(?s:.*)line 49") as caught:
        run_command(python(tmp_path, code), {})
    assert "line 10\n" not in str(caught.value)


def test_progress_counts_this_runs_matches_only(tmp_path, monkeypatch):
    command = python(tmp_path, "print('tick tick')")
    command.log.parent.mkdir()
    command.log.write_text("tick of an earlier run\n")
    counted = []
    real = commands._count_ticks
    monkeypatch.setattr(commands, "_count_ticks", lambda *args: counted.append(real(*args)) or counted[-1])
    run_command(command, {})
    assert real(command, len("tick of an earlier run\n")) == 2
    assert all(count <= 2 for count in counted)


def test_interruption_stops_the_command_and_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr(commands, "_POLL_S", 0.05)
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    calls = []

    def interrupt(*_args):
        calls.append(1)
        if len(calls) > 20:
            raise KeyboardInterrupt
        return 0

    monkeypatch.setattr(commands, "_count_ticks", interrupt)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_command(python(tmp_path, code), {})
    assert time.monotonic() - began < 30
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "import time; time.sleep(60)" not in listed


def test_missing_program_is_said_with_the_command_that_installs_it():
    with pytest.raises(CommandError, match="pip install nnunetv2"):
        program("nnUNetv2_no_such_command")
