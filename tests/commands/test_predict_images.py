"""``predict --image``: what the case is called, and that no prediction takes another case's place unasked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nnunet_missingmod import cli


@pytest.fixture
def tiny(make_tiny_dataset):
    return make_tiny_dataset(num_cases=2)


@pytest.fixture
def model(tiny, make_model):
    return make_model(tiny, "nnUNetTrainerModalityDropout")


@pytest.fixture
def patients(tiny, tmp_path):
    """Two patients' folders, whose files have the same names."""
    folders = [tmp_path / "PATIENT1", tmp_path / "PATIENT2"]
    for folder, case in zip(folders, tiny.cases, strict=True):
        folder.mkdir()
        for name, channel in (("t1", 1), ("t2", 3)):
            (folder / f"{name}.nii.gz").write_bytes(tiny.image(case, channel).read_bytes())
    return folders


@pytest.fixture
def predict(model, tmp_path):
    def run(*arguments):
        return cli.main(
            ["predict", *map(str, arguments), "-m", str(model), "-o", str(tmp_path / "out"), "-device", "cpu"]
        )

    return run


def images(folder, *names):
    return [word for name in names or ("t1", "t2") for word in ("--image", f"{name.upper()}={folder}/{name}.nii.gz")]


def content(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def content_of_all(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_files_called_as_every_patients_name_their_case_by_the_folder(predict, patients, tmp_path, capsys):
    for patient in patients:
        assert predict(*images(patient)) == 0
        assert f"The case is called {patient.name}; --case NAME calls it otherwise." in capsys.readouterr().out
        assert (tmp_path / "out" / f"{patient.name}.nii.gz").exists()


def test_another_patients_prediction_is_replaced_only_when_asked(predict, patients, tmp_path, capsys, monkeypatch):
    one, two = patients
    monkeypatch.chdir(one)  # recorded paths do not depend on where the command was called
    assert predict(*images("."), "--case", "x") == 0
    made = content(tmp_path / "out")
    monkeypatch.chdir(two)
    assert predict(*images("."), "--case", "x") == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'out' / 'x.nii.gz'} is the prediction of {one / 't1.nii.gz'}, {one / 't2.nii.gz'}: " in said
    assert "--case, choose another -o, or replace it with --overwrite" in said
    assert content(tmp_path / "out") == made
    assert predict(*images("."), "--case", "x", "--overwrite") == 0
    row = json.loads((tmp_path / "out" / "x.missingmod.json").read_text())
    assert row["made_from"]["files"]["T1"]["file"] == str(two / "t1.nii.gz")


def test_the_same_case_is_predicted_again_without_asking_also_with_more_modalities(predict, patients):
    assert predict(*images(patients[0], "t1")) == 0
    assert predict(*images(patients[0], "t1")) == 0
    assert predict(*images(patients[0], "t1", "t2")) == 0


def test_a_prediction_of_which_nothing_is_known_is_kept(predict, patients, tmp_path, capsys):
    assert predict(*images(patients[0])) == 0
    (tmp_path / "out" / "PATIENT1.missingmod.json").write_text("[]")
    assert predict(*images(patients[0])) == 2
    assert "PATIENT1.nii.gz is the prediction of files that are not known" in capsys.readouterr().err


def test_in_a_folder_files_of_which_nothing_is_known_are_kept(predict, patients, tiny, tmp_path, capsys):
    references = tmp_path / "out"
    references.mkdir()
    reference = references / f"{tiny.cases[0]}.nii.gz"
    reference.write_bytes(tiny.label(tiny.cases[0]).read_bytes())
    for _ in range(2):  # also where the first call has left rows and files of its own
        assert predict("-i", tiny.raw / "imagesTr") == 1
        said = capsys.readouterr().out
        assert (
            f"{tiny.cases[0]}: REFUSED. {reference} is there, and nothing says what it was made from: choose another "
            "output folder, or replace it (--overwrite).\n"
        ) in said
        assert f"{tiny.cases[1]}: predicted" in said
        assert reference.read_bytes() == tiny.label(tiny.cases[0]).read_bytes()
    assert predict("-i", tiny.raw / "imagesTr", "--overwrite") == 0
    assert reference.read_bytes() != tiny.label(tiny.cases[0]).read_bytes()


def test_other_models_and_datasets_keep_their_files(predict, patients, tiny, model, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(model, other)
    before = [content_of_all(folder) for folder in (other, tiny.raw)]
    for folder in (other, other / "fold_0", tiny.raw):
        assert cli.main(["predict", *images(patients[0]), "-m", str(model), "-o", str(folder)]) == 2
        assert f"-o {folder} is a" in capsys.readouterr().err
    assert [content_of_all(folder) for folder in (other, tiny.raw)] == before


def test_a_folder_is_predicted_again_but_takes_no_other_folders_place(predict, patients, tiny, tmp_path, capsys):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for case in tiny.cases:
            if (folder, case) != ("a", "case_001"):
                (tmp_path / folder / f"{case}_0001.nii.gz").write_bytes(tiny.image(case, 1).read_bytes())
    assert predict("-i", tmp_path / "a") == 0
    assert predict("-i", tmp_path / "a") == 0
    capsys.readouterr()
    assert predict("-i", tmp_path / "b") == 1
    said = capsys.readouterr().out
    assert (
        f"case_000: REFUSED. {tmp_path / 'out' / 'case_000.nii.gz'} is the prediction of "
        f"{tmp_path / 'a' / 'case_000_0001.nii.gz'}: choose another output folder, or replace it (--overwrite).\n"
    ) in said
    assert "case_001: predicted" in said
    assert predict("-i", tmp_path / "b", "--overwrite") == 0


def test_a_case_is_named_without_the_ending_of_its_file(make_tiny_dataset, make_model, tmp_path, capsys):
    tiny = make_tiny_dataset(num_cases=1, file_ending=".nrrd")
    words = [
        "predict",
        "-m",
        make_model(tiny, "nnUNetTrainerModalityDropout"),
        "-o",
        tmp_path / "out",
        "--case",
        "x.nrrd",
    ]
    assert cli.main([*map(str, words), "--image", f"T1={tiny.image('case_000', 1)}"]) == 2
    assert "'x.nrrd': leave out the ending .nrrd (--case)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("x" * 201, "is longer than 200 bytes"),
        ("\udcff", "holds a slash or a character that cannot be shown"),
        ("a/b", "holds a slash"),
        ("..", "starts with a dot"),
        ("a\nb", "character that cannot be shown"),
    ],
)
def test_a_name_that_no_file_can_have_is_wrong_usage(predict, patients, tmp_path, capsys, name, problem):
    assert predict(*images(patients[0]), "--case", name) == 2
    said = capsys.readouterr().err
    assert "--case is the name of a file without folder or ending" in said
    assert problem in said
    assert not (tmp_path / "out").exists()


def test_files_that_are_not_utf_8_need_a_name_for_their_case(predict, patients, tmp_path, capsys):
    odd = patients[0] / "patient\udcff.nii.gz"
    odd.write_bytes((patients[0] / "t1.nii.gz").read_bytes())
    assert predict("--image", f"T1={odd}") == 2
    assert "name it with --case" in capsys.readouterr().err


def test_a_part_without_cases_says_so(predict, tiny, tmp_path, capsys):
    given = tmp_path / "in"
    given.mkdir()
    (given / "case_000_0001.nii.gz").write_bytes(tiny.image("case_000", 1).read_bytes())
    assert predict("-i", given, "-num_parts", 5, "-part_id", 4) == 0
    assert capsys.readouterr().out == "No case for this part: there is 1, in 5 parts.\n"


def test_a_folder_that_may_not_be_read_is_wrong_usage(predict, tmp_path, capsys, monkeypatch):
    (tmp_path / "in").mkdir()

    def refused(*_args):
        raise PermissionError(13, "Permission denied", "in")

    monkeypatch.setattr("nnunet_missingmod.cases.files.find_cases", refused)
    assert predict("-i", tmp_path / "in") == 2
    assert f"Cannot read the folder {tmp_path / 'in'}: [Errno 13] Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["-i", "-prev_stage_predictions"])
def test_the_output_is_no_folder_that_is_read(predict, patients, tmp_path, capsys, option):
    (tmp_path / "out").mkdir()
    more = () if option == "-i" else ("-i", patients[0])
    assert predict(option, tmp_path / "out", *more) == 2
    assert f"-o must be another folder than {option}" in capsys.readouterr().err


def test_the_output_is_not_the_model(predict, model, patients, capsys):
    assert cli.main(["predict", *images(patients[0]), "-m", str(model), "-o", str(model)]) == 2
    assert "-o must be another folder than -m" in capsys.readouterr().err


def test_a_case_called_as_a_file_is_refused_before_it_is_predicted(predict, patients, tiny, tmp_path, capsys):
    assert predict(*images(patients[0]), "--case", "x.nii.gz") == 2
    assert "'x.nii.gz' ends with .nii.gz, an ending of image files" in capsys.readouterr().err
    given = tmp_path / "in"
    given.mkdir()
    for name in ("x.nii.gz_0001.nii.gz", "y_0001.nii.gz"):
        (given / name).write_bytes(tiny.image(tiny.cases[0], 1).read_bytes())
    assert predict("-i", given) == 1
    assert "x.nii.gz: REFUSED. The case's name ends with .nii.gz" in capsys.readouterr().out
    assert (tmp_path / "out" / "y.nii.gz").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_cannot_be_written_costs_no_prediction(predict, tiny, tmp_path, capsys, monkeypatch):
    given = tiny.image(tiny.cases[0], 1).parent
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        assert predict("-i", given) == 1
    assert "Standard output cannot be written to" in capsys.readouterr().err
    assert all((tmp_path / "out" / f"{case}.nii.gz").exists() for case in tiny.cases)


def test_a_fold_or_an_option_given_twice_is_wrong_usage(predict, patients, capsys):
    for arguments, reason in (
        (["-f", "0", "0"], "-f names fold 0 twice"),
        (["-f", "9", "-f", "0"], "-f is given twice"),
        (["-chk", "../fold_1/checkpoint_final.pth"], "name of a file in each fold's folder"),
        (["-step_size", "1e-9"], "at least 0.05"),
    ):
        assert predict(*images(patients[0]), *arguments) == 2
        assert reason in capsys.readouterr().err
