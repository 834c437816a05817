"""File names that are not UTF-8 end the process in SimpleITK: they are refused before any reader sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk

from nnunet_missingmod.cases.image_file import read_grid
from nnunet_missingmod.cases.integrity import check_name, is_readable_name, printable
from nnunet_missingmod.inference.prediction import Prediction

ASCII_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
NOT_UTF8 = b"caf\xe9"
IN_UTF8 = "café".encode()


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nnunet_missingmod.cli", *map(str, command)],
        env={**os.environ, "PYTHONUTF8": "1", **environment},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        timeout=300,
    )


def copy(source: Path, folder: Path, name: bytes) -> None:
    with open(os.fsencode(folder) + b"/" + name, "wb") as stream:
        stream.write(source.read_bytes())


def test_paths_that_are_not_utf8_are_told_from_others():
    bad = os.fsdecode(b"/data/caf\xe9_0000.nii.gz")
    assert is_readable_name("/data/café_0000.nii.gz")
    assert not is_readable_name(bad)
    assert printable(bad) == r"/data/caf\xe9_0000.nii.gz"
    with pytest.raises(ValueError, match="its path is not UTF-8 in this locale: rename it"):
        check_name(bad)


@pytest.mark.parametrize(
    ("name", "environment", "shown"),
    [(NOT_UTF8, {}, r"caf\xe9"), (NOT_UTF8, ASCII_LOCALE, r"caf\xe9"), (IN_UTF8, ASCII_LOCALE, "caf")],
)
def test_predict_refuses_such_a_case_by_name_and_predicts_the_others(
    make_tiny_dataset, make_model, tmp_path, name, environment, shown
):
    tiny = make_tiny_dataset(num_cases=1)
    model = make_model(tiny, "nnUNetTrainerModalityDropout")
    given, out = tmp_path / "in", tmp_path / "out"
    given.mkdir()
    copy(tiny.image("case_000", 1), given, b"good_0001.nii.gz")
    copy(tiny.image("case_000", 1), given, name + b"_0001.nii.gz")
    done = run("predict", "-i", given, "-o", out, "-m", model, "--disable_tta", "-device", "cpu", **environment)
    assert done.returncode == 1, done.stdout + done.stderr
    assert (out / "good.nii.gz").is_file()
    assert shown in done.stdout
    rows = {row["case"]: row for row in map(json.loads, (out / "predictions.jsonl").read_text("utf-8").splitlines())}
    (refused,) = (row for row in rows.values() if row["status"] == "refused")
    assert f"{shown}" in refused["error"]
    assert "(T1) cannot be read: its path is not UTF-8 in this locale: rename it" in refused["error"]
    assert rows["good"]["status"] == "predicted"


@pytest.mark.parametrize("first", [True, False])
def test_inspect_lists_such_images_and_label_maps(make_tiny_dataset, first):
    tiny = make_tiny_dataset(num_cases=1)
    bad = b"a\xff" if first else b"z\xff"
    for channel in range(4):
        copy(tiny.image("case_000", channel), tiny.raw / "imagesTr", bad + b"_%04d.nii.gz" % channel)
    copy(tiny.label("case_000"), tiny.raw / "labelsTr", bad + b".nii.gz")
    done = run("inspect", tiny.raw)
    assert done.returncode == 1, done.stdout + done.stderr
    assert r"\xff_0002.nii.gz (T1ce) cannot be read: its path is not UTF-8" in done.stdout
    assert "case_000" in (tiny.raw / "presence.csv").read_text("utf-8")


def test_label_map_of_such_a_name_is_refused(make_tiny_dataset):
    tiny = make_tiny_dataset(num_cases=1)
    copy(tiny.label("case_000"), tiny.raw, b"label\xff.nii.gz")
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO\n"
        "from nnunet_missingmod.cases.labels import Grid, read_label_file\n"
        "try: read_label_file(Path(os.fsdecode(sys.argv[1].encode() + b'\\xff.nii.gz')), SimpleITKIO(), Grid((), {}))\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny.raw / "label")], capture_output=True, text=True, check=False
    )
    assert r"label\xff.nii.gz cannot be read: its path is not UTF-8" in done.stdout, done.stderr


def test_output_folder_of_such_a_name_is_refused_before_anything_is_read(tmp_path):
    done = run("predict", "-i", tmp_path, "-o", os.fsdecode(b"out\xff"), "-m", tmp_path)
    assert done.returncode == 2
    assert "it is not UTF-8 in this locale" in done.stderr


def test_prediction_is_not_given_to_a_writer_under_such_a_name(tmp_path):
    class Writer:
        supported_file_endings = (".nii.gz",)

        def write_seg(self, *_):
            raise AssertionError("the writer was called")

    prediction = Prediction("x", None, None, (), {}, None, {}, Writer(), {})  # type: ignore[arg-type]
    with pytest.raises(OSError, match="not UTF-8"):
        prediction.save(tmp_path / os.fsdecode(b"a\xff.nii.gz"))


def test_grid_of_a_good_name(tmp_path):
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    sitk.WriteImage(sitk.Image(4, 5, 6, sitk.sitkUInt8), str(tmp_path / "é.nii.gz"))
    assert read_grid(tmp_path / "é.nii.gz", SimpleITKIO()).shape == (6, 5, 4)
