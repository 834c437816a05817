"""What an argument cannot mean is refused where it is read, with what it may be."""

from __future__ import annotations

import pytest

from nnunet_missingmod.commands import options
from nnunet_missingmod.commands.parser import Parser
from nnunet_missingmod.errors import UsageError


@pytest.mark.parametrize(("given", "read"), [("0", 0), ("12", 12), ("all", "all")])
def test_a_fold_is_a_number_or_all(given, read):
    parser = Parser()
    options.add_folds(parser)
    assert parser.parse_args(["-f", given]).folds == [read]
    with pytest.raises(UsageError, match="a fold is a number or all, got 'one'"):
        parser.parse_args(["-f", "one"])


@pytest.mark.parametrize("share", ["0", "1e-9", "0.04", "1.5", "nan", "half"])
def test_a_step_is_a_share_of_the_patch(share):
    parser = Parser()
    options.add_window_options(parser)
    assert parser.parse_args(["-step_size", "1"]).step_size == 1
    with pytest.raises(UsageError, match=f"-step_size/--step-size: it is at least 0.05 and at most 1, got {share}"):
        parser.parse_args(["-step_size", share])


@pytest.mark.parametrize("text", ["../fold_1/checkpoint_final.pth", "/a.pth", "a/", ".", ".."])
def test_a_checkpoint_is_a_file_name_without_folder(text):
    parser = Parser()
    options.add_checkpoint(parser)
    assert parser.parse_args(["-chk", "checkpoint_best.pth"]).checkpoint == "checkpoint_best.pth"
    with pytest.raises(UsageError, match="it is the name of a file in each fold's folder, got"):
        parser.parse_args(["-chk", text])
