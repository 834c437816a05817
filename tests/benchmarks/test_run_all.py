"""Scripts that are run have a time, end with it, and say so."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
run_all = pytest.importorskip("run_all")


@pytest.fixture
def folder(monkeypatch, tmp_path) -> Path:
    monkeypatch.setattr(run_all, "FOLDER", tmp_path)
    return tmp_path


def test_what_is_too_slow_is_stopped_with_what_it_started_and_its_lines_are_kept(folder):
    (folder / "slow.py").write_text(
        "import subprocess, sys, time\n"
        "print('a line')\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "time.sleep(60)\n"
    )
    section, good = run_all.run(run_all.Script("slow", 1.5 / 60), run_all.Budget(5))
    assert not good
    assert "its time was over" in section
    assert "a line" in section


def test_when_all_time_is_over_nothing_more_is_run(folder):
    (folder / "any.py").write_text("raise SystemExit")
    section, good = run_all.run(run_all.Script("any", 1), run_all.Budget(0))
    assert (good, "Not run" in section) == (False, True)


@pytest.mark.parametrize(("code", "kept", "said"), [(0, True, "limits kept"), (1, False, "a limit is exceeded")])
def test_the_exit_code_of_a_script_tells_whether_it_kept_its_limits(folder, code, kept, said):
    (folder / "any.py").write_text(f"import sys; print(sys.argv[1]); sys.exit({code})")
    section, good = run_all.run(run_all.Script("any", 1, ("given",)), run_all.Budget(5))
    assert good is kept
    assert said in section
    assert section.startswith("### `python benchmarks/any.py given`\n")
    assert section.endswith("given\n")


def test_every_script_exists_and_the_docstring_names_those_that_are_run_by_themselves():
    benchmarks = Path(run_all.__file__).parent
    assert all((benchmarks / f"{script.name}.py").is_file() for script in run_all.SCRIPTS)
    timing = {file.stem for file in benchmarks.glob("*.py") if "measuring" in _imported(file)}
    named = {name for name in timing if f"``{name}.py``" in run_all.__doc__}
    assert timing - named - {script.name for script in run_all.SCRIPTS} == {"run_all"}


def _imported(file: Path) -> set[str | None]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
