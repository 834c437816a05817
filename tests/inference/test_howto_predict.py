"""The Python of docs/howto_predict.md runs as it stands."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import SimpleITK as sitk

DOCUMENT = Path(__file__).parents[2] / "docs" / "howto_predict.md"


def test_the_documents_python_runs(make_tiny_dataset, make_model, tmp_path, monkeypatch):
    tiny = make_tiny_dataset(num_cases=1)
    shutil.copytree(make_model(tiny, "nnUNetTrainerModalityDropout"), tmp_path / "MODEL")
    for name, channel in (("scan_a", 1), ("scan_b", 0)):
        shutil.copy(tiny.image("case_000", channel), tmp_path / f"{name}.nii.gz")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL)
    defined: dict[str, object] = {}
    exec(code, defined)
    assert defined["prediction"].present == ("FLAIR", "T1")
    assert sitk.ReadImage(str(tmp_path / "OUTPUT" / "patient7.nii.gz")).GetSize() == (22, 20, 18)
