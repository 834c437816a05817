"""CONTRIBUTING.md walks through adding a loss term; the walk is made here, in a copy, and its tests are run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_FILES = 8
_BLOCK = re.compile(
    r"<!-- (?P<what>new file|in (?P<place>\S+), (?P<where>before|after)): (?P<rest>.*?) -->\n"
    r" *```\w+\n(?P<code>.*?)\n *```\n",
    re.DOTALL,
)


def walk(root: Path) -> set[str]:
    """Make the changes that the document shows; return the files that were touched."""
    touched = set()
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for block in _BLOCK.finditer(text):
        # The blocks stand in a numbered list, three spaces to the right.
        code = "".join(line[3:] or "\n" for line in f"{block['code']}\n".splitlines(keepends=True))
        if block["what"] == "new file":
            place = block["rest"]
            (root / place).write_text(textwrap.dedent(code), encoding="utf-8")
        else:
            place, anchor = block["place"], block["rest"].replace("\\n", "\n")
            content = (root / place).read_text(encoding="utf-8")
            assert content.count(anchor) == 1, f"{place} has {anchor!r} {content.count(anchor)} times"
            changed = code + anchor if block["where"] == "before" else anchor + code
            (root / place).write_text(content.replace(anchor, changed), encoding="utf-8")
        touched.add(place)
    return touched


@pytest.mark.slow
@pytest.mark.every
def test_the_walkthrough_works_and_touches_few_files(tmp_path):
    copy = tmp_path / "copy"
    hidden = [path.name for path in ROOT.glob(".*") if path.is_dir() and path.name != ".github"]
    ignored = shutil.ignore_patterns(*hidden, "*.egg-info", "build", "__pycache__", "site")
    shutil.copytree(ROOT, copy, ignore=ignored)
    before = {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()}
    touched = walk(copy)
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    updated = run(sys.executable, "docs/update_tables.py")
    assert "plans/README.md" in updated
    assert "docs/trainers.md" in updated
    files = [file for file in copy.rglob("*") if file.is_file() and before.get(file) != file.read_bytes()]
    changed = {file.relative_to(copy).as_posix() for file in files}
    assert changed == touched | {"plans/README.md", "docs/trainers.md"}
    assert len(changed) <= MOST_FILES
    sources = [file for file in sorted(changed) if file.endswith(".py")]
    run(sys.executable, "-m", "ruff", "check", *sources)
    run(sys.executable, "-m", "ruff", "format", "--check", *sources)
    of_the_new = "entropy or Entropy or contracts or docs"
    tests = ["tests/losses", "tests/contracts", "tests/training/test_method_trainer.py", "tests/test_docs.py"]
    tests += [f"tests/test_{name}.py" for name in ("choices", "reference", "plans_block", "keys")]
    pytest_options = ["-q", "-p", "no:cacheprovider", "-m", "not slow", "-k", of_the_new]
    said = run(sys.executable, "-m", "pytest", *pytest_options, *tests)
    assert re.search(r"\d+ passed", said)
    assert run(sys.executable, "-m", "nnunet_missingmod.cli", "trainers").count("nnUNetTrainerDropoutEntropy") == 1
