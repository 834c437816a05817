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
    section, ending = run_all.run(run_all.Script("slow", 1.5 / 60), run_all.Budget(5))
    assert ending is run_all.Ending.STOPPED
    assert "its time was over" in section
    assert "a line" in section


def test_when_all_time_is_over_nothing_more_is_run(folder):
    (folder / "any.py").write_text("raise SystemExit")
    section, ending = run_all.run(run_all.Script("any", 1), run_all.Budget(0))
    assert (ending, "Not run" in section) == (run_all.Ending.NOT_RUN, True)


@pytest.mark.parametrize(("code", "name", "said"), [(0, "KEPT", "limits kept"), (1, "FAILED", "a limit is exceeded")])
def test_the_exit_code_of_a_script_tells_whether_it_kept_its_limits(folder, code, name, said):
    (folder / "any.py").write_text(f"import sys; print(sys.argv[1]); sys.exit({code})")
    section, ending = run_all.run(run_all.Script("any", 1, ("given",)), run_all.Budget(5))
    assert ending is run_all.Ending[name]
    assert said in section
    assert section.startswith("### `python benchmarks/any.py given`\n")
    assert section.endswith("given\n")


@pytest.mark.parametrize("ending", list(run_all.Ending))
def test_everything_has_to_run_to_its_end_and_keep_its_limits(monkeypatch, tmp_path, ending):
    monkeypatch.setattr(run_all, "run", lambda script, budget: (ending.value, ending))
    monkeypatch.setattr(sys, "argv", ["run_all.py", "--output", str(tmp_path / "report.md")])
    assert run_all.main() == (ending is not run_all.Ending.KEPT)
    assert ending.value in (tmp_path / "report.md").read_text()


def test_every_script_exists_and_the_docstring_names_those_that_are_run_by_themselves():
    benchmarks = Path(run_all.__file__).parent
    assert all((benchmarks / f"{script.name}.py").is_file() for script in run_all.SCRIPTS)
    timing = {file.stem for file in benchmarks.glob("*.py") if "measuring" in _imported(file) and _is_run(file)}
    named = {name for name in timing if f"``{name}.py``" in run_all.__doc__}
    assert timing - named - {script.name for script in run_all.SCRIPTS} == {"run_all"}


def _imported(file: Path) -> set[str | None]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}


def _is_run(file: Path) -> bool:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)
