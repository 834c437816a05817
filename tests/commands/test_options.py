"""Shared options are read in both spellings and in earlier ones; what is wrong before the start is wrong usage."""

from __future__ import annotations

import pytest

from nnunet_missingmod.commands import options
from nnunet_missingmod.errors import FailedError, UsageError


def parsed(*words):
    parser = options.Parser(prog="x")
    options.add_model_options(parser)
    options.add_output(parser, required=True)
    options.add_processes(parser, old=["--jobs"])
    options.add_device(parser)
    return parser.parse_args(["-o", "out", *words])


@pytest.mark.parametrize("words", [["-np", "3"], ["--processes", "3"], ["--jobs", "3"], ["--jobs=3"]])
def test_every_spelling_is_read(words):
    assert parsed(*words).processes == 3


def test_a_required_option_may_be_given_in_an_earlier_spelling():
    parser = options.Parser()
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


@pytest.mark.parametrize(("given", "read"), [("0", 0), ("12", 12), ("all", "all")])
def test_a_fold_is_a_number_or_all(given, read):
    parser = options.Parser()
    options.add_folds(parser)
    assert parser.parse_args(["-f", given]).folds == [read]
    with pytest.raises(UsageError, match="a fold is a number or all, got 'one'"):
        parser.parse_args(["-f", "one"])


@pytest.mark.parametrize("share", ["0", "1.5", "nan", "half"])
def test_a_step_is_a_share_of_the_patch(share):
    parser = options.Parser()
    options.add_window_options(parser)
    assert parser.parse_args(["-step_size", "1"]).step_size == 1
    with pytest.raises(UsageError, match=f"-step_size/--step-size: it is above 0 and at most 1, got {share}"):
        parser.parse_args(["-step_size", share])


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
