"""Every row of docs/faults.md is backed by tests that inject the fault."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCUMENT = TESTS.parent / "docs" / "faults.md"


def rows():
    """(fault, what happens, tests) of each row of each table whose last column names tests."""
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 3 and "`" in cells[2]:
            yield cells[0], cells[1], re.findall(r"`([^`]+)`", cells[2])


def functions(file):
    return {
        node.name for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)
    }


@pytest.mark.parametrize(
    ("fault", "outcome", "tests"), list(rows()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_fault_is_injected_by_a_test_that_is_there(fault, outcome, tests):
    assert outcome
    assert tests
    for test in tests:
        file, _, name = test.partition("::")
        assert (TESTS / file).is_file(), test
        assert name in functions(TESTS / file), test


def test_the_table_is_there():
    assert len(list(rows())) >= 20
