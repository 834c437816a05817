"""What README and docs show is what there is: commands, options, trainers, links, figures."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from nnunet_missingmod import host
from nnunet_missingmod.cli import COMMANDS, make_parser

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "plans/README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands_of(document):
    for block in re.findall(r"```bash\n(.*?)```", document.read_text(encoding="utf-8"), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip() and not line.startswith("#"):
                yield shlex.split(line, comments=True)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_our_commands_and_their_options_exist(document):
    for words in commands_of(document):
        if words[:1] != ["nnunet_missingmod"]:
            continue
        assert words[1] in COMMANDS, words
        make_parser(words[1]).parse_args(words[2:])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_trainers_named_exist(document):
    named = set(re.findall(r"\bnnUNetTrainer[A-Z]\w+", document.read_text(encoding="utf-8")))
    assert named <= set(host.CLASS_TABLE) | {"nnUNetTrainerDA5"}


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
