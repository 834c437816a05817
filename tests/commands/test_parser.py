"""A parser refuses what it does not know, or keeps it for another program."""

from __future__ import annotations

import pytest

from nnunet_missingmod.commands.parser import Parser
from nnunet_missingmod.errors import UsageError


@pytest.fixture
def parser():
    made = Parser(prog="x")
    made.add_argument("--verbose", action="store_true")
    return made


def test_what_is_not_declared_is_refused(parser):
    with pytest.raises(UsageError, match="unrecognized arguments: -d 5"):
        parser.parse_args(["-d", "5", "--verbose"])


def test_what_is_not_declared_is_kept_in_order_for_whom_it_is_passed_on_to(parser):
    parser.passes_on = True
    words = ["-d", "5", "6", "--verbose", "-c", "2d", "--clean", "-x=-1", "-t", "-1.5"]
    read = parser.parse_args(words)
    assert read.verbose
    assert read.others == [word for word in words if word != "--verbose"]


def test_a_complaint_is_wrong_usage_with_the_usage(parser):
    parser.add_argument("-a")
    with pytest.raises(UsageError, match=r"given twice: give it once\nusage: x "):
        parser.parse_args(["-a", "1", "-a", "2"])
