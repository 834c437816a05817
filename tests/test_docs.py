"""What README and docs show is what there is: commands, options, trainers, links, figures."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from shown_commands import (
    DOCUMENTS,
    OURS,
    PASSED_ON,
    ROOT,
    blocks_of,
    commands_of,
    inline_commands,
    read_by_parser,
    shown_programs,
)

from nnunet_missingmod import host
from nnunet_missingmod.cli import COMMANDS, make_parser
from nnunet_missingmod.errors import UsageError

STOCK_TRAINERS = {"nnUNetTrainer", "nnUNetTrainerDA5"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_is_one_that_its_program_would_read(document):
    for words in shown_programs(document):
        try:
            read = read_by_parser(words)
        except SystemExit as end:
            raise AssertionError(f"refused: {words}") from end
        assert set(trainers_in(read)) <= set(host.CLASS_TABLE) | STOCK_TRAINERS, words


def trainers_in(read: Any) -> Iterator[str]:
    """Yield the values of -tr, one or several."""
    given = getattr(read, "tr", None) or getattr(read, "trainer", None)
    yield from [given] if isinstance(given, str) else given or []


@pytest.mark.parametrize(
    "words",
    [
        ["nnUNetv2_train", "123", "3d_fullres", "0", "--unknown"],
        ["nnUNetv2_train", "123", "3d_fullres"],
        ["nnUNetv2_plan_and_preprocess", "-d", "123", "--unknown"],
        ["nnunet_missingmod", "plan", "-d", "123", "--unknown"],
        ["nnunet_missingmod", "split", "123", "--patient", "x"],
        ["python", "benchmarks/memory.py", "--unknown"],
        ["nnUNetv2_nothing"],
        ["nnunet_missingmod", "nothing"],
        ["python", "benchmarks/nothing.py"],
        ["python", "docs/update_tables.py", "--unknown"],
    ],
    ids=" ".join,
)
def test_a_command_that_does_not_exist_would_be_found(words):
    with pytest.raises((SystemExit, LookupError, UsageError)):
        read_by_parser(words)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_running_text_exist_with_the_options_that_they_name(document):
    for words in inline_commands(document):
        if words[0] != OURS or (words[1] in PASSED_ON and words[2:]):
            read_by_parser(words)
            continue
        if words[1] == "-h":
            continue
        assert words[1] in COMMANDS, words
        options = make_parser(words[1]).format_help()
        assert all(re.search(rf"(?<!\S){re.escape(word)}\b", options) for word in words if word[0] == "-"), words


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_shell_blocks_are_ones_that_bash_can_read(document):
    for block in blocks_of(document):
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert done.returncode == 0, block + done.stderr


def test_commands_are_found_in_lists_loops_and_after_variables():
    found = [" ".join(words) for document in DOCUMENTS for words in commands_of(document)]
    assert "nnunet_missingmod path" in found  # within $(...)
    assert "nnunet_missingmod inspect 123" in found  # in a list
    assert any(words.startswith("nnUNetv2_train 123 3d_fullres 1 ") for words in found)  # after CUDA_VISIBLE_DEVICES=


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_trainers_named_exist(document):
    named = set(re.findall(r"\bnnUNetTrainer[A-Z]\w+", document.read_text(encoding="utf-8")))
    assert named <= set(host.CLASS_TABLE) | STOCK_TRAINERS


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_figures_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_every_trainer_is_documented():
    text = "".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    assert [name for name in host.CLASS_TABLE if name not in text] == []


def test_the_readmes_test_command_is_where_ci_looks_for_it():
    assert re.search(
        r"<!-- test command -->\n```bash\npip install .*\npytest -n 2 --dist loadfile --no-loadscope-reorder\n```",
        (ROOT / "README.md").read_text(),
    )
