"""Shared options are read in both spellings and in earlier ones; what is wrong before the start is wrong usage."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nnunet_missingmod.commands import options
from nnunet_missingmod.commands.parser import Parser
from nnunet_missingmod.errors import FailedError, UsageError


def parsed(*words):
    parser = Parser(prog="x")
    options.add_model_options(parser)
    options.add_output(parser, required=True)
    options.add_processes(parser, old=["--jobs"])
    options.add_device(parser)
    return parser.parse_args(["-o", "out", *words])


@pytest.mark.parametrize("words", [["-np", "3"], ["--processes", "3"], ["--jobs", "3"], ["--jobs=3"]])
def test_every_spelling_is_read(words):
    assert parsed(*words).processes == 3


def test_a_required_option_may_be_given_in_an_earlier_spelling():
    parser = Parser()
    options.add_dataset(parser, number=True, required=True)
    assert parser.parse_args(["--dataset-id", "7"]).dataset == 7
    assert parser.parse_args(["-d", "7"]).dataset == 7


def test_errors_name_the_option_as_help_does():
    with pytest.raises(UsageError, match="argument -np/--processes: invalid int value: 'many'\nusage: x "):
        parsed("--jobs", "many")


@pytest.mark.parametrize("words", [["--job", "3"], ["-dev", "cpu"], ["-n", "3"], ["-cx", "y"], ["-d5"], ["--nonsense"]])
def test_an_option_is_written_out_or_refused(words):
    with pytest.raises(UsageError, match=f"unrecognized arguments: {words[0]}"):
        parsed(*words)


@pytest.mark.parametrize("option", ["-m", "-d", "-c", "-tr", "-p", "-o"])
def test_an_empty_argument_is_refused(option):
    with pytest.raises(UsageError, match=f"argument {option}/--.*: it is empty; is a variable not set?"):
        parsed(option, "")


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "", "CPU"])
def test_a_device_that_cannot_be_is_refused_without_torch(device):
    assert [parsed("-device", each).device for each in ("auto", "cuda:1", "mps")] == ["auto", "cuda:1", "mps"]
    with pytest.raises(UsageError, match="give auto, cuda, cuda:1, mps or cpu"):
        parsed("-device", device)


def test_a_line_is_written_to_standard_output(capsys):
    options.print_line("one")
    options.print_line()
    assert capsys.readouterr() == ("one\n\n", "")


@pytest.mark.parametrize("error", [ValueError("odd"), OSError("no such disk")])
def test_what_is_wrong_before_the_start_is_wrong_usage(error):
    with pytest.raises(UsageError, match=str(error)), options.cannot_start():
        raise error


@pytest.mark.parametrize("error", [KeyError("x"), FailedError("y"), RuntimeError("z")])
def test_what_is_no_matter_of_usage_stays_what_it_is(error):
    with pytest.raises(type(error)) as raised, options.cannot_start():
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Give a model folder (-m), or -d and -c and -tr too."),
        (["-d", "1", "-tr", "T"], "or -c too."),
        (["-m", "X", "-c", "2d"], "not both."),
    ],
)
def test_one_model_is_named_in_one_way(words, said):
    with pytest.raises(UsageError) as raised:
        options.check_model_options(parsed(*words))
    assert said in str(raised.value)


def test_a_model_folder_is_there_or_it_is_wrong_usage(tmp_path):
    assert options.model_folder(parsed("-m", str(tmp_path))) == tmp_path
    with pytest.raises(UsageError, match="no model folder nowhere"):
        options.model_folder(parsed("-m", "nowhere"))


def test_processes_are_one_or_more():
    options.check_processes(1)
    with pytest.raises(UsageError, match="-np is 1 or more, got 0"):
        options.check_processes(0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", "A", "-m", "B"], "argument -m/--model: -m is given twice: give it once"),
        (["-o", "new"], "argument -o/--output: -o is given twice"),
        (["-np", "1", "--jobs", "2"], "argument -np/--processes: --jobs is given twice"),
        (["-device", "auto", "-device", "cpu"], "-device is given twice"),
    ],
)
def test_an_option_of_one_value_is_given_once(words, said):
    for _ in range(2):  # a parser may be asked again
        assert parsed("-np", "1").processes == 1
    with pytest.raises(UsageError, match=said):
        parsed(*words)


def test_an_option_of_several_values_is_given_once_or_declared_to_be_repeated():
    parser = Parser()
    options.add_folds(parser)
    options.add_model_options(parser, several=True)
    parser.add_argument("--image", action="append")
    words = ["-m", "A", "-m", "B", "--image", "a", "--image", "b"]
    read = parser.parse_args(words)
    assert (read.model, read.image) == (["A", "B"], ["a", "b"])
    with pytest.raises(UsageError, match="-f is given twice: give it once, with all its values"):
        parser.parse_args(["-f", "9", "-f", "0"])


@pytest.mark.parametrize("folds", [[0, 0], ["all", "all"], [1, 0, 1]])
def test_a_fold_is_given_once(folds):
    options.check_folds(None)
    options.check_folds([0, 1, "all"])
    with pytest.raises(UsageError, match=f"-f names fold {folds[0]} twice"):
        options.check_folds(folds)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_lines_that_cannot_be_written_stop_nothing_and_are_told_at_the_end(monkeypatch):
    done = []

    def work():
        with options.lines_are_written():
            for number in range(3):
                options.print_line("a line")
                done.append(number)

    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(FailedError, match="Standard output cannot be written to: No space left on device"):
            work()
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # what is left in its buffer
    assert done == [0, 1, 2]
    with options.lines_are_written():  # the next command's are its own
        options.print_line()
