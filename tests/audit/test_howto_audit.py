"""The Python of docs/howto_audit.md runs as it stands, and the document has every check."""

from __future__ import annotations

import re
from pathlib import Path

from audit.toys import MaskedMean, randomised

from nnunet_missingmod.audit.finding import CHECKS

TEXT = (Path(__file__).parents[2] / "docs" / "howto_audit.md").read_text(encoding="utf-8")


def test_the_documents_python_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    exec(code, {"network": randomised(MaskedMean())})
    assert "No leak found" in capsys.readouterr().out


def test_every_check_has_its_row():
    rows = re.findall(r"^\| (\w+) \| .* \|$", TEXT, flags=re.MULTILINE)
    assert [row for row in rows if row != "check"] == list(CHECKS)
