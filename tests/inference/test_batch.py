"""Many cases: one bad case stops no other, each has its row, what is bad is told before its turn."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import struct
import time
from threading import Event

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from known_card import write_known_card

from nnunet_missingmod import Predictor
from nnunet_missingmod.cases.files import CaseFiles, find_cases
from nnunet_missingmod.inference import batch as module
from nnunet_missingmod.inference.batch import predict_cases
from nnunet_missingmod.inference.check_ahead import CheckAhead
from nnunet_missingmod.inference.prediction import Prediction
from nnunet_missingmod.storage import file_fingerprint

NAMES = ("FLAIR", "T1", "T1ce", "T2")


@pytest.fixture
def tiny(make_tiny_dataset):
    return make_tiny_dataset(num_cases=3)


@pytest.fixture
def predictor(tiny, make_model):
    return Predictor.from_model_folder(make_model(tiny, "nnUNetTrainerModalityDropout"), device="cpu")


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def given(tiny, tmp_path):
    """Three cases: complete, T1 and T2, and one whose T1ce is torn."""
    folder = tmp_path / "in"
    folder.mkdir()
    for case, channels in (("case_000", (0, 1, 2, 3)), ("case_001", (1, 3)), ("case_002", (0, 2))):
        for channel in channels:
            file = tiny.image(case, channel)
            (folder / file.name).write_bytes(file.read_bytes())
    torn = folder / "case_002_0002.nii.gz"
    torn.write_bytes(torn.read_bytes()[:-100])
    return folder


def predict(predictor, given, out, **options):
    options = {"report": print, **options}
    tally = predict_cases(predictor, find_cases(given, NAMES, ".nii.gz"), out, **options)
    return dict(tally), {
        row["case"]: row for row in map(json.loads, (out / "predictions.jsonl").read_text().splitlines())
    }


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("last", ["case_000.nii.gz", "case_000.missingmod.json"])
def test_a_kill_while_files_take_their_places_costs_no_later_prediction(
    predictor, given, out, monkeypatch, last, is_first
):
    if not is_first:
        predict(predictor, given, out)
    replace = os.replace

    def killed(source, target):
        if os.path.basename(source) == last:  # from the hidden folder in which the files were written
            raise SystemExit
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(SystemExit):
            predict(predictor, given, out)
    if (sidecar := out / "case_000.missingmod.json").exists():
        assert json.loads(sidecar.read_text()) == {"status": "unfinished"}
    for resume in (True, False):
        tally, rows = predict(predictor, given, out, resume=resume)
        assert tally["refused"] == 1
        assert rows["case_000"]["status"] == "predicted"
    assert json.loads(sidecar.read_text())["status"] == "predicted"


def test_each_case_gets_prediction_or_reason_and_a_row(predictor, given, out, capsys):
    tally, rows = predict(predictor, given, out)
    assert tally == {"predicted": 2, "refused": 1}
    assert {file.name for file in out.glob("*.nii.gz")} == {"case_000.nii.gz", "case_001.nii.gz"}
    assert not list(out.glob(".*"))
    row = rows["case_001"]
    assert (row["status"], row["present"], row["absent"]) == ("predicted", ["T1", "T2"], ["FLAIR", "T1ce"])
    assert (row["prediction"], row["expected_dice"]) == ("case_001.nii.gz", None)
    assert 0 < row["seconds"] < 600
    assert row["made_from"]["model"]["fingerprint"] == predictor.model.fingerprint
    assert row["made_from"]["files"]["T2"]["file"] == str(given / "case_001_0003.nii.gz")
    sidecar = json.loads((out / "case_001.missingmod.json").read_text())
    fingerprint = file_fingerprint(out / "case_001.nii.gz")
    assert sidecar == {**row, "time": sidecar["time"], "sha256": {"case_001.nii.gz": fingerprint}}
    refused = rows["case_002"]
    assert (refused["status"], refused["prediction"]) == ("refused", None)
    assert "case_002_0002.nii.gz (T1ce) cannot be read: the file is truncated" in refused["error"]
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("[1/3] case_000: predicted from FLAIR+T1+T1ce+T2 in ")
    assert said[1].startswith("[2/3] case_001: predicted from T1+T2 (without FLAIR, T1ce) in ")
    assert said[2].startswith("[3/3] case_002: REFUSED. ")


def test_without_a_callback_the_lines_go_to_the_log_and_nothing_is_printed(predictor, given, out, capsys, caplog):
    with caplog.at_level("INFO"):
        predict_cases(predictor, find_cases(given, NAMES, ".nii.gz"), out)
    assert "[3/3] case_002: REFUSED. " in caplog.text
    assert capsys.readouterr() == ("", "")


def test_what_is_bad_is_told_before_its_turn_and_refused_then(predictor, tiny, tmp_path, out, monkeypatch):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(9):
        content = tiny.image("case_000", 1).read_bytes()
        (folder / f"a{number}_0001.nii.gz").write_bytes(content[: -100 if number == 8 else None])
    said, infer = [], predictor.infer

    def infer_once_told(prepared):
        deadline = time.monotonic() + 120
        while not any("a8, whose turn" in line for line in said) and time.monotonic() < deadline:
            time.sleep(0.05)
        return infer(prepared)

    monkeypatch.setattr(predictor, "infer", infer_once_told)
    tally, rows = predict(predictor, folder, out, check_ahead=True, report=said.append)
    assert tally == {"predicted": 8, "refused": 1}
    assert list(rows) == [f"a{number}" for number in range(9)]
    assert said[0].startswith("a8, whose turn comes later, cannot be used. ")
    assert said[-1] == f"[9/9] a8: REFUSED. {rows['a8']['error']}"
    assert said[0].endswith(rows["a8"]["error"])
    assert len(said) == 10


@pytest.mark.parametrize("is_mended", [True, False])
def test_what_was_found_bad_ahead_is_decided_when_its_turn_comes(predictor, given, out, monkeypatch, is_mended):
    torn, whole = given / "case_002_0002.nii.gz", (given / "case_000_0002.nii.gz").read_bytes()

    class FoundBad(CheckAhead):
        def take(self, case):
            if case.case == "case_002" and is_mended:
                torn.write_bytes(whole)
            return True

    monkeypatch.setattr(module, "CheckAhead", FoundBad)
    tally, rows = predict(predictor, given, out, check_ahead=True)
    assert tally == ({"predicted": 3} if is_mended else {"predicted": 2, "refused": 1})
    assert is_mended or "(T1ce) cannot be read: the file is truncated" in rows["case_002"]["error"]


@pytest.mark.parametrize("where", ["infer", "report"])
def test_an_interrupted_run_has_a_row_for_every_prediction_that_is_written(predictor, tiny, tmp_path, out, where):
    given = tmp_path / "whole"
    given.mkdir()
    for number in range(5):
        (given / f"a{number}_0001.nii.gz").write_bytes(tiny.image("case_000", 1).read_bytes())
    infer, finish, said, three_are_inferred = predictor.infer, predictor.finish, [], Event()

    def interrupted_infer(prepared):
        inferred = infer(prepared)
        if prepared.case == {"infer": "a3", "report": "a2"}[where]:
            three_are_inferred.set()
            if where == "infer":
                raise KeyboardInterrupt
        return inferred

    def late_finish(inferred, **options):
        assert three_are_inferred.wait(120)
        return finish(inferred, **options)

    def interrupted_report(line):
        said.append(line)
        if where == "report" and len(said) == 1:
            raise KeyboardInterrupt

    predictor.infer, predictor.finish = interrupted_infer, late_finish
    with pytest.raises(KeyboardInterrupt):
        predict(predictor, given, out, exporting=3, report=interrupted_report)
    rows = [json.loads(line)["case"] for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert rows == sorted(file.name.removesuffix(".nii.gz") for file in out.glob("*.nii.gz"))
    assert rows[:3] == ["a0", "a1", "a2"]
    assert [line.split(" ")[1] for line in said] == [f"{case}:" for case in rows]


def test_all_problems_of_a_case_are_in_its_row(predictor, given, out):
    (given / "case_002_0000.nii.gz").write_bytes(b"")
    error = predict(predictor, given, out)[1]["case_002"]["error"]
    assert all(f"case_002_{channel:04d}" in error for channel in (0, 2))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("CUDA out of memory"), "RuntimeError: CUDA out of memory"),
        (MemoryError(), "MemoryError: "),
        (AssertionError("host"), "AssertionError: host"),
    ],
)
@pytest.mark.parametrize("stage", ["prepare", "infer", "finish"])
def test_failure_of_one_case_stops_no_other(predictor, given, out, monkeypatch, error, said, stage):
    original = getattr(predictor, stage)

    def fail_at_the_first(of_case, **more):
        if more.get("case", getattr(of_case, "case", None)) == "case_000":
            raise error
        return original(of_case, **more)

    monkeypatch.setattr(predictor, stage, fail_at_the_first)
    tally, rows = predict(predictor, given, out)
    assert tally == {"predicted": 1, "refused": 1, "failed": 1}
    assert (rows["case_000"]["status"], rows["case_000"]["error"]) == ("failed", said)
    assert rows["case_001"]["status"] == "predicted"


def test_full_disk_fails_the_case_by_name_and_leaves_no_half_of_it(predictor, given, out, monkeypatch):
    write = Prediction._write_checked

    def full_at_the_first(self, path):
        if self.case == "case_000":
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, path)

    monkeypatch.setattr(Prediction, "_write_checked", full_at_the_first)
    tally, rows = predict(predictor, given, out)
    assert tally == {"predicted": 1, "refused": 1, "failed": 1}
    assert rows["case_000"]["error"].startswith(f"Cannot write {out / 'case_000.nii.gz'}: No space left on device. ")
    assert "MiB are free there" in rows["case_000"]["error"]
    assert [file.name for file in sorted(out.glob("*case_000*"))] == []
    assert not [file for file in out.iterdir() if file.name.startswith(".")]


def test_row_that_cannot_be_written_is_said_and_counted(predictor, given, out, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "append_row", full)
    tally = predict_cases(predictor, find_cases(given, NAMES, ".nii.gz"), out, report=print)
    assert tally == {"failed": 3}
    assert "The row of case_001 cannot be written" in capsys.readouterr().out
    assert (out / "case_001.nii.gz").is_file()


def test_continuing_keeps_what_was_made_from_the_same_files_model_and_choices(predictor, given, out, make_model, tiny):
    predict(predictor, given, out)
    first = (out / "case_001.nii.gz").stat().st_mtime_ns
    tally, rows = predict(predictor, given, out, resume=True)
    assert tally == {"kept": 2, "refused": 1}
    assert rows["case_001"]["status"] == "kept"
    assert (out / "case_001.nii.gz").stat().st_mtime_ns == first

    (given / "case_001_0000.nii.gz").write_bytes((given / "case_000_0000.nii.gz").read_bytes())
    (given / "case_002_0002.nii.gz").write_bytes((given / "case_000_0002.nii.gz").read_bytes())
    tally, rows = predict(predictor, given, out, resume=True)
    assert tally == {"kept": 1, "predicted": 2}
    assert rows["case_001"]["present"] == ["FLAIR", "T1", "T2"]

    (out / "case_000.nii.gz").unlink()
    assert predict(predictor, given, out, resume=True)[0] == {"kept": 2, "predicted": 1}
    assert predict(predictor, given, out, resume=True, probabilities=True)[0] == {"predicted": 3}
    lenient = Predictor(predictor.model, predictor._host, overrides={"nonfinite": "zero"})
    assert predict(lenient, given, out, resume=True)[0] == {"predicted": 3}
    faster = Predictor.from_model_folder(predictor.model.folder, device="cpu", tile_step_size=1, mirroring=False)
    assert predict(faster, given, out, resume=True)[0] == {"predicted": 3}
    assert predict(faster, given, out, resume=True)[0] == {"kept": 3}
    other = Predictor.from_model_folder(make_model(tiny, "nnUNetTrainerModalityDropout", seed=1), device="cpu")
    assert predict(other, given, out, resume=True)[0] == {"predicted": 3}
    (out / "case_000.missingmod.json").write_text("{")
    assert predict(other, given, out, resume=True)[0] == {"kept": 2, "predicted": 1}


def test_a_file_that_is_replaced_meanwhile_is_predicted_again(predictor, tiny, tmp_path, out, monkeypatch):
    """The sidecar names the file as it was read, so that resuming does not keep what is of an older one."""
    file = tmp_path / "case_0001.nii.gz"
    shutil.copy(tiny.image("case_000", 1), file)
    infer = predictor.infer

    def replaced_meanwhile(prepared):
        time.sleep(0.02)
        shutil.copy(tiny.image("case_001", 1), file)
        return infer(prepared)

    with monkeypatch.context() as patch:
        patch.setattr(predictor, "infer", replaced_meanwhile)
        predict_cases(predictor, [CaseFiles("case", {1: file})], out)
    tally = predict_cases(predictor, [CaseFiles("case", {1: file})], out, resume=True)
    assert tally == {"predicted": 1}
    made = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "case.nii.gz")))
    np.testing.assert_array_equal(made, predictor.predict({"T1": file}).array)


def test_earlier_prediction_of_a_case_that_is_now_refused_is_told(predictor, given, out):
    predict(predictor, given, out)
    (given / "case_001_0003.nii.gz").write_bytes(b"")
    rows = predict(predictor, given, out)[1]
    assert rows["case_001"]["prediction"] is None
    assert rows["case_001"]["error"].endswith("(An earlier prediction of it is still in the output folder.)")
    assert "earlier prediction" not in rows["case_002"]["error"]
    assert (out / "case_001.nii.gz").exists()


def test_what_was_done_to_the_files_is_in_the_row(tiny, predictor, given, out):
    image = sitk.ReadImage(str(given / "case_001_0001.nii.gz"))
    array = sitk.GetArrayFromImage(image)
    array[4, 4, 4:6] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(array), str(given / "case_001_0001.nii.gz"))
    image = sitk.ReadImage(str(given / "case_001_0003.nii.gz"))
    image.SetOrigin((2.5, 0, 0))
    sitk.WriteImage(image, str(given / "case_001_0003.nii.gz"))
    sitk.WriteImage(image * 0 + 4, str(given / "case_001_0002.nii.gz"))
    assert predict(predictor, given, out)[1]["case_001"]["status"] == "refused"
    overrides = {"nonfinite": "zero", "geometry_tolerance_voxels": 3}
    row = predict(Predictor(predictor.model, predictor._host, overrides=overrides), given, out)[1]["case_001"]
    assert row["status"] == "predicted"
    assert row["nonfinite_zeroed"] == {"T1": 2}
    assert row["blank"] == ["T1ce"]
    assert row["grid_distance_voxels"] == {"T1ce": 2.5, "T2": 2.5}
    assert row["made_from"]["choices"] == {
        "nonfinite": "zero",
        "blank_is_absent": True,
        "geometry_tolerance_voxels": 3,
        "nifti_transform": "refuse",
        "headers": "strict",
        "overridden": ["geometry_tolerance_voxels", "nonfinite"],
    }


def test_expected_accuracy_of_the_models_card_is_in_row_sidecar_and_line(predictor, given, out, capsys):
    model = predictor.model
    write_known_card(model)
    found = predict(Predictor.from_model_folder(model.folder, device="cpu"), given, out)[1]
    expected = found["case_001"]["expected_dice"]
    assert expected["subset"] == "T1+T2"
    assert expected["regions"]["WT"]["mean"] == pytest.approx(0.4)
    assert json.loads((out / "case_001.missingmod.json").read_text())["expected_dice"] == expected
    assert "T1+T2: expected Dice WT 40.0 (39.3 to 40.7)." in capsys.readouterr().out


def test_what_was_decided_about_headers_and_copies_are_in_row_and_line(tiny, make_model, tmp_path, out, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    content = bytearray(gzip.decompress(tiny.image("case_000", 1).read_bytes()))
    struct.pack_into("<f", content, 292, 40.0)  # where the sform puts the first voxel
    for channel in (1, 2):
        (folder / f"a_{channel:04d}.nii.gz").write_bytes(gzip.compress(bytes(content)))
    model = make_model(tiny, "nnUNetTrainerModalityDropout")
    tally, rows = predict(Predictor.from_model_folder(model, device="cpu"), folder, out)
    assert tally == {"refused": 1}
    assert "(T1): its sform and its qform lie 40 mm (40 voxels) apart" in rows["a"]["error"]
    trusting = Predictor.from_model_folder(model, device="cpu", overrides={"nifti_transform": "sform"})
    tally, rows = predict(trusting, folder, out)
    assert tally == {"predicted": 1}
    assert rows["a"]["headers"]["T1"].endswith("the sform was trusted")
    assert rows["a"]["copies"] == {"T1ce": "T1"}
    assert rows["a"]["made_from"]["choices"]["nifti_transform"] == "sform"
    assert "WARNING: T1ce holds the same voxels as T1. T1: its sform" in capsys.readouterr().out
    assert sitk.ReadImage(str(out / "a.nii.gz")).GetOrigin()[0] == -40  # ITK's axis points the other way


def test_predictions_of_a_version_with_fewer_choices_are_kept(predictor, given, out):
    predict(predictor, given, out)
    sidecar = out / "case_000.missingmod.json"
    written = json.loads(sidecar.read_text("utf-8"))
    for name in ("nifti_transform", "headers"):
        del written["made_from"]["choices"][name]
    sidecar.write_text(json.dumps(written), "utf-8")
    assert predict(predictor, given, out, resume=True)[0] == {"kept": 2, "refused": 1}


@pytest.mark.parametrize("ending", [".nii.gz", ".npz", ".pkl"])
@pytest.mark.parametrize("change", ["damaged", "foreign", "of an earlier version"])
def test_continuing_keeps_only_files_as_they_were_written(predictor, given, out, ending, change):
    predict(predictor, given, out, probabilities=True)
    file, sidecar = out / f"case_000{ending}", out / "case_000.missingmod.json"
    written = file.read_bytes()
    if change == "of an earlier version":
        content = json.loads(sidecar.read_text())
        del content["sha256"]
        sidecar.write_text(json.dumps(content))
    else:
        file.write_bytes(b"x" if change == "damaged" else (out / f"case_001{ending}").read_bytes())
    tally, rows = predict(predictor, given, out, probabilities=True, resume=True)
    assert tally == {"kept": 1, "predicted": 1, "refused": 1}
    assert rows["case_000"]["status"] == "predicted"
    assert file.read_bytes() == written


def test_another_spacing_of_a_3d_tiff_is_predicted_again(make_tiny_dataset, make_model, tmp_path, out):
    tiny = make_tiny_dataset(("T1", "T2"), num_cases=1, file_ending=".tif", reader="Tiff3DIO")
    predictor = Predictor.from_model_folder(make_model(tiny, "nnUNetTrainerModalityDropout"), device="cpu")
    given = tmp_path / "tiff"
    given.mkdir()
    for channel in (0, 1):
        image = np.random.default_rng(channel).uniform(1, 100, (12, 20, 22)).astype(np.float32)
        tifffile.imwrite(given / f"case_{channel:04d}.tif", image, photometric="minisblack")

    def statuses(spacing):
        (given / "case.json").write_text(json.dumps({"spacing": spacing}))
        return predict_cases(predictor, find_cases(given, ("T1", "T2"), ".tif"), out, resume=True)

    assert statuses([1, 1, 1]) == {"predicted": 1}
    kept = json.loads((out / "case.missingmod.json").read_text())
    assert statuses([3, 2, 2]) == {"predicted": 1}
    assert json.loads((out / "case.missingmod.json").read_text())["sha256"] != kept["sha256"]
    assert predict_cases(predictor, find_cases(given, ("T1", "T2"), ".tif"), out, resume=True) == {"kept": 1}
