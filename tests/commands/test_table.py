"""Every command is in one group, and its module has its two functions."""

from __future__ import annotations

import pytest

from nnunet_missingmod.cli import main, make_parser
from nnunet_missingmod.commands.table import COMMANDS, GROUPS


def test_a_command_is_in_one_group():
    assert len(COMMANDS) == sum(map(len, GROUPS.values()))


def test_help_groups_the_commands_by_what_a_user_wants_to_do(capsys):
    main(["--help"])
    blocks = [block.splitlines() for block in capsys.readouterr().out.split("\n\n")]
    shown = {block[0].removesuffix(":"): [line.split()[0] for line in block[1:]] for block in blocks}
    expected = {
        "set up": ["path", "attach", "detach", "doctor", "trainers", "info"],
        "prepare data": ["inspect", "split", "plan", "preprocess", "convert-brats", "phantom"],
        "use a model": ["predict", "evaluate", "audit", "advise", "share"],
        "try it": ["demo"],
    }
    assert {group: shown.get(group) for group in expected} == expected


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_the_table_is_what_its_help_says(name):
    assert make_parser(name).description == COMMANDS[name].line
