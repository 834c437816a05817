"""How long answers at once take: of every command's --help and of the import, each within the limit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nnunet_missingmod.cli import COMMANDS

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import_time = pytest.importorskip("import_time")


def measured(monkeypatch, slow: str = "") -> tuple[list[str], bool]:
    """The table of processes that take 0.1 s, one of them 0.31 s."""
    taken = {import_time.ANSWERING[slow]: 0.31} if slow else {}
    monkeypatch.setattr(import_time, "process", lambda *words: lambda: taken.get(words, 0.1))
    return import_time.measure(pairs=2)


def test_every_commands_help_and_the_import_have_a_row(monkeypatch):
    lines, kept = measured(monkeypatch)
    named = {line.split("`")[1] for line in lines if line.startswith("| `")}
    assert {f"{name} --help" for name in COMMANDS} <= named
    assert {"import nnunet_missingmod", "--help"} <= named
    assert kept


@pytest.mark.parametrize("slow", list(import_time.ANSWERING))
def test_the_limit_is_that_of_every_row(monkeypatch, slow):
    lines, kept = measured(monkeypatch, slow)
    assert not kept
    assert any(line.startswith(f"| `{slow}` | 0.310 |") for line in lines)


def test_a_process_that_fails_is_not_timed():
    with pytest.raises(import_time.subprocess.CalledProcessError):
        import_time.process("-c", "raise SystemExit(1)")()
