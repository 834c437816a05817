"""``inspect`` prints and saves who has which modality, and everything that is wrong with the files."""

from __future__ import annotations

import csv
import errno
import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_missingmod import cli
from nnunet_missingmod.commands import inspect as command
from nnunet_missingmod.prevalence import read_prevalence


@pytest.fixture
def tiny(make_tiny_dataset):
    return make_tiny_dataset(num_cases=4)


def inspect(*arguments):
    return cli.main(["inspect", *map(str, arguments)])


def table(folder):
    with (folder / "presence.csv").open(newline="") as stream:
        return list(csv.reader(stream))


def test_complete_dataset_has_nothing_wrong(tiny, capsys):
    assert inspect(901) == 0
    said = capsys.readouterr().out
    assert "     4  Tr     FLAIR+T1+T1ce+T2\n" in said
    assert "Nothing is wrong with the files." in said
    assert table(tiny.raw) == [
        ["case", "split", "FLAIR", "T1", "T1ce", "T2"],
        *([case, "Tr", "1", "1", "1", "1"] for case in tiny.cases),
    ]
    assert said.startswith((tiny.raw / "inspection.txt").read_text().rstrip())


def test_incomplete_cases_are_counted_by_subset_and_are_not_wrong(tiny, capsys):
    for case, channel in (("case_000", 1), ("case_001", 1), ("case_001", 3)):
        tiny.image(case, channel).unlink()
    (tiny.raw / "imagesTs").mkdir()
    (tiny.raw / "imagesTs" / "new_0002.nii.gz").write_bytes(tiny.image("case_002", 2).read_bytes())
    blank = sitk.ReadImage(str(tiny.image("case_003", 0))) * 0
    sitk.WriteImage(blank, str(tiny.image("case_003", 0)))
    assert inspect("Dataset901_Tiny") == 0
    said = capsys.readouterr().out
    for line in (
        "case_000  Tr       x    .    x    x",
        "case_001  Tr       x    .    x    .",
        "case_003  Tr       b    x    x    x",
        "new       Ts       .    .    x    .",
        "     1  Tr     FLAIR+T1ce",
        "     1  Tr     T1+T1ce+T2",
        "     1  Ts     T1ce",
    ):
        assert line in said.splitlines()
    assert table(tiny.raw)[1:3] == [["case_000", "Tr", "1", "0", "1", "1"], ["case_001", "Tr", "1", "0", "1", "0"]]
    assert table(tiny.raw)[4] == ["case_003", "Tr", "0", "1", "1", "1"]


def test_everything_that_is_wrong_is_listed_with_case_modality_and_fix(tiny, capsys, tmp_path):
    tiny.image("case_000", 2).write_bytes(b"")
    label = sitk.ReadImage(str(tiny.label("case_001"))) * 3
    sitk.WriteImage(label, str(tiny.label("case_001")))
    tiny.label("case_002").unlink()
    image = sitk.ReadImage(str(tiny.image("case_003", 1)))
    array = sitk.GetArrayFromImage(image)
    array[5, 5, 5] = np.inf
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tiny.image("case_003", 1)))
    (tiny.raw / "imagesTr" / "case_003_seg.nii.gz").touch()
    assert inspect(tiny.raw, "-o", tmp_path / "report") == 1
    said = capsys.readouterr().out
    assert not (tiny.raw / "presence.csv").exists()
    assert "case_000  Tr       x    x    !    x" in said.splitlines()
    assert "\n5 problems:\n" in said
    for problem in (
        "- case_000: " + f"{tiny.image('case_000', 2)} (T1ce) cannot be read: the file is empty (0 bytes). Replace",
        f"- case_001: The label map {tiny.label('case_001')} holds 6, 9, but the dataset's labels are [0, 1, 2, 3].",
        f"- case_002: The label map {tiny.label('case_002')} is not there. Replace it, or remove the case.",
        "- case_003: case_003_seg.nii.gz: not called as a channel's file",
        "- case_003: T1 has 1 NaN or infinite voxels of 7920.",
    ):
        assert problem in said
    assert "5 problems:" in (tmp_path / "report" / "inspection.txt").read_text()


@pytest.mark.parametrize("is_there", [False, True], ids=["no file", "blank files"])
def test_a_modality_that_no_training_case_has_is_a_problem(tiny, capsys, is_there):
    (tiny.raw / "imagesTs").mkdir()
    (tiny.raw / "imagesTs" / "new_0003.nii.gz").write_bytes(tiny.image("case_000", 3).read_bytes())
    for case in tiny.cases:
        if is_there:
            sitk.WriteImage(sitk.ReadImage(str(tiny.image(case, 3))) * 0, str(tiny.image(case, 3)))
        else:
            tiny.image(case, 3).unlink()
    assert inspect(901) == 1
    said = capsys.readouterr().out
    assert "\n1 problem:\n- No training case has T2 (channel 3); a blank file counts as absent. Remove from" in said


def test_a_modality_of_files_that_cannot_be_read_is_no_further_problem(tiny, capsys):
    for case in tiny.cases:
        tiny.image(case, 3).write_bytes(b"")
    assert inspect(901) == 1
    said = capsys.readouterr().out
    assert "\n4 problems:\n" in said
    assert "No training case has" not in said


def test_the_dataset_is_given_by_d_too(tiny, capsys):
    assert inspect("-d", 901) == 0
    assert "Nothing is wrong with the files." in capsys.readouterr().out


def test_the_first_file_being_broken_does_not_hide_the_others(tiny, capsys):
    tiny.image("case_000", 0).write_bytes(b"no image")
    assert inspect(901) == 1
    captured = capsys.readouterr()
    assert "\n1 problem:\n" in captured.out
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("has_problems", [False, True])
def test_the_report_of_a_read_only_dataset_is_shown_and_said_not_to_be_saved(tiny, capsys, monkeypatch, has_problems):
    def read_only(path, _text):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(command, "write_text", read_only)
    if has_problems:
        tiny.label("case_002").unlink()
    assert inspect(901) == int(has_problems)
    said = capsys.readouterr().out
    assert "     4  Tr     FLAIR+T1+T1ce+T2\n" in said
    assert said.endswith(
        f"Not saved: {tiny.raw} cannot be written to (Read-only file system). Give a folder with -o.\n"
    )


def test_wrong_usage_is_2(tiny, capsys, tmp_path):
    assert inspect(902) == 2
    assert "There is no dataset Dataset902_*" in capsys.readouterr().err
    assert inspect(tmp_path / "none") == 2
    assert "cannot be read" in capsys.readouterr().err
    assert inspect() == 2
    assert inspect(901, "-d", 901) == 2
    assert "Give one dataset: inspect -d DATASET" in capsys.readouterr().err
    assert inspect(901, "-np", 0) == 2
    assert "-np is 1 or more, got 0" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert inspect(901, "-o", tmp_path / "file") == 2
    captured = capsys.readouterr()
    assert f"Cannot write into {tmp_path / 'file'}: Not a directory. Choose another -o" in captured.err
    assert captured.out == "", "nothing was read"
    unknown = {**tiny.dataset_json, "file_ending": ".xyz"}
    (tiny.raw / "dataset.json").write_text(json.dumps(unknown))
    assert inspect(901) == 2
    assert "no reader of nnU-Net knows \"file_ending\" '.xyz'" in capsys.readouterr().err


def test_names_that_occur_twice_are_told_apart_and_that_is_said(make_tiny_dataset, capsys):
    tiny = make_tiny_dataset(("MR", "MR", "CT"), num_cases=2)
    tiny.image("case_001", 1).unlink()
    assert inspect(901) == 0
    said = capsys.readouterr().out
    assert "Channels of one name are told apart by their number: MR, MR, CT are called MR_0, MR_1, CT.\n" in said
    assert table(tiny.raw)[::2] == [["case", "split", "MR_0", "MR_1", "CT"], ["case_001", "Tr", "1", "0", "1"]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[" * 10_000, "nested too deeply"),
        (b"", "it is empty"),
        (
            b'{"labels": {"0": "background"}, "file_ending": ".nii.gz", "channel_names": {"0": "A"}}',
            "the wrong way round",
        ),
    ],
)
def test_a_dataset_json_that_cannot_be_used_is_one_sentence(tiny, capsys, content, said):
    (tiny.raw / "dataset.json").write_bytes(content)
    assert inspect(901) == 2
    assert capsys.readouterr().err.count(said) == 1


def test_a_byte_order_mark_is_a_problem_beside_the_table(tiny, capsys):
    file = tiny.raw / "dataset.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert inspect(901) == 1
    printed = capsys.readouterr().out
    assert "     4  Tr     FLAIR+T1+T1ce+T2\n" in printed
    assert "1 problem:\n- dataset.json: it begins with a byte-order mark, which nnU-Net refuses" in printed


def test_how_often_subsets_occur_is_written_for_evaluate(tiny, tmp_path, capsys):
    tiny.image("case_001", 1).unlink()
    tiny.image("case_002", 1).unlink()
    file = tmp_path / "new" / "prevalence.csv"
    assert inspect(901, "--prevalence", file) == 0
    assert file.read_text() == "subset,count\nFLAIR+T1ce+T2,2\nFLAIR+T1+T1ce+T2,2\n"
    assert f"Saved as {file}: how often each subset of modalities occurs." in capsys.readouterr().out
    assert read_prevalence(file, ("FLAIR", "T1", "T1ce", "T2")) == {(0, 2, 3): 2, (0, 1, 2, 3): 2}


def test_another_folder_of_images_is_inspected_and_the_dataset_left_alone(tiny, tmp_path, capsys):
    (tmp_path / "clinic").mkdir()
    for channel in (0, 3):
        shutil.copy(tiny.image("case_000", channel), tmp_path / "clinic" / f"p7_{channel:04d}.nii.gz")
    file = tmp_path / "prevalence.csv"
    assert inspect(901, "-i", tmp_path / "clinic", "--prevalence", file) == 0
    assert file.read_text() == "subset,count\nFLAIR+T2,1\n"
    assert not (tiny.raw / "presence.csv").exists()
    assert inspect(901, "-i", tmp_path / "clinic", "-o", tmp_path / "table") == 0
    assert table(tmp_path / "table")[1] == ["p7", "-", "1", "0", "0", "1"]
    (tmp_path / "clinic" / "p7_0000.nii.gz").write_bytes(b"torn")
    assert inspect(901, "-i", tmp_path / "clinic", "--prevalence", file) == 1
    assert file.read_text() == "subset,count\nT2,1\n"
    capsys.readouterr()
    (tmp_path / "empty").mkdir()
    (tmp_path / "dataset.json").write_text("{}")
    for arguments, message in (
        (["-i", tmp_path / "nowhere"], "There is no folder"),
        (["-i", tmp_path / "empty"], "is empty"),
        (["--prevalence", tmp_path], "--prevalence is a file to write"),
        (["--prevalence", tmp_path / "prevalence.csv" / "x"], "x cannot be written: Not a directory"),
        (["--prevalence", tmp_path / "dataset.json"], "dataset.json, which is there and no prevalence file"),
    ):
        assert inspect(901, *arguments) == 2
        assert message in capsys.readouterr().err
