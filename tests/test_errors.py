"""The two errors by which a library function says how its command ends, and what an exit code means."""

from __future__ import annotations

import pytest

from nnunet_missingmod import cli, errors
from nnunet_missingmod.benchmarking.request import UsageError as of_requests
from nnunet_missingmod.cases.dataset import DatasetError
from nnunet_missingmod.commands.options import UsageError as of_commands
from nnunet_missingmod.commands.table import COMMANDS
from nnunet_missingmod.errors import counted, listed
from nnunet_missingmod.host import HostError


def test_there_is_one_usage_error():
    assert of_requests is of_commands is errors.UsageError
    assert issubclass(DatasetError, errors.UsageError)
    assert issubclass(HostError, errors.FailedError)


def test_it_is_a_value_error_and_a_failure_is_none():
    assert issubclass(errors.UsageError, ValueError)
    assert not issubclass(errors.FailedError, ValueError)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (errors.UsageError("say it so"), 2, ["say it so"]),
        (errors.FailedError("the disk burns"), 1, ["the disk burns"]),
        (OSError(28, "No space left on device", "f"), 1, ["[Errno 28] No space left on device: 'f'"]),
        (
            ValueError("odd"),
            1,
            ["ValueError: odd", "This is unexpected. Run again with --verbose for the traceback, and report it."],
        ),
        (MemoryError(), 1, ["MemoryError: ", "This is unexpected. Run again with"]),
        (KeyboardInterrupt(), 130, ["stopped by Ctrl-C."]),
    ],
)
def test_codes_mean_the_same_in_every_command(monkeypatch, capsys, command, error, code, said):
    def run(_args):
        raise error

    parser = cli.argparse.ArgumentParser()
    parser.add_argument("--verbose", action="store_true")
    monkeypatch.setattr(cli, "make_parser", lambda _name: parser)
    monkeypatch.setattr(cli, "_function", lambda *_: run)
    assert cli.main([command]) == code
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"nnunet_missingmod {command}: {said[0]}"
    assert [line.startswith(start) for line, start in zip(lines[1:], said[1:], strict=True)] == [True] * (len(said) - 1)


def test_the_codes_are_documented():
    documented = errors.__doc__ or ""
    assert all(f"\n{code} " in documented for code in (0, 1, 2, 130))


def test_things_are_counted_in_words():
    assert [counted(number, "case") for number in (0, 1, 2)] == ["0 cases", "1 case", "2 cases"]


def test_of_many_values_the_first_are_listed():
    assert listed([]) == ""
    assert listed(range(5)) == "0, 1, 2, 3, 4"
    assert listed(range(7)) == "0, 1, 2, 3, 4 and others"
    assert listed(["a", "b", "c"], most=1, rest="{} more") == "a and 2 more"
