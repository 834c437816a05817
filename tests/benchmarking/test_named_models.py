"""Models get names that tell them apart, and are compared only where that means something."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunet_missingmod.benchmarking.named_models import MARK, name_models, name_outside


def test_a_model_is_called_by_its_trainer():
    named = name_models([Path("r/nnUNetTrainerMedMAP__nnUNetPlans__2d"), "r/nnUNetTrainer__nnUNetPlans__2d"], None)
    assert [model.name for model in named] == ["nnUNetTrainerMedMAP", "nnUNetTrainer"]
    assert named[0].folder == Path("r/nnUNetTrainerMedMAP__nnUNetPlans__2d")
    assert named[0].folds is None


def test_by_its_folder_where_the_trainer_is_another_ones_too():
    named = name_models(["r/A__nnUNetPlans__2d", "r/A__nnUNetPlans__3d_fullres", "r/B__nnUNetPlans__2d"], [0, 1])
    assert [model.name for model in named] == ["A__nnUNetPlans__2d", "A__nnUNetPlans__3d_fullres", "B"]
    assert named[0].folds == (0, 1)


def test_by_the_name_before_the_equals_sign(tmp_path):
    named = name_models(["ours=r/A__P__2d", f"{tmp_path}/x=y/A__P__2d"], None)
    assert [(model.name, str(model.folder)) for model in named] == [
        ("ours", "r/A__P__2d"),
        ("A__P__2d", f"{tmp_path}/x=y/A__P__2d"),
    ]


def test_one_name_for_two_models_is_refused():
    with pytest.raises(ValueError, match=r"called 'A__P__2d'.*A=FOLDER"):
        name_models(["one/A__P__2d", "two/A__P__2d"], None)


@pytest.mark.parametrize(
    "name", ["..", ".", "", ".hidden", "a\\b", "a\nb", "a\u200bb", "\udcff", "x" * 201, "\u00e9" * 101]
)
def test_a_name_that_cannot_be_a_folders_is_refused(name):
    with pytest.raises(ValueError, match=r"^The model name .* give another, as in A=FOLDER"):
        name_models([f"{name}=M"], None)


@pytest.mark.parametrize("name", ["/", "a/b", "../x"])
def test_a_name_with_a_slash_before_a_folder_is_refused_and_not_taken_for_a_path(tmp_path, name):
    with pytest.raises(ValueError, match="holds a slash|starts with a dot"):
        name_models([f"{name}={tmp_path}"], None)


def test_a_folder_without_a_name_that_can_be_used_needs_one():
    with pytest.raises(ValueError, match="is empty"):
        name_models(["/"], None)
    assert name_models(["root=/"], None)[0].name == "root"


@pytest.mark.parametrize("other", ["OURS", "ours", "\ufb03x"])
def test_names_that_a_disk_does_not_tell_apart_are_refused(other):
    first = "ffix" if other.startswith("\ufb03") else "ours"
    with pytest.raises(ValueError, match="Two models are called"):
        name_models([f"{first}=M", f"{other}=N"], None)


def test_models_from_outside_are_marked_and_runs_of_one_name_are_one_model(tmp_path):
    for folder in ("RFNet", "x=y"):
        (tmp_path / folder).mkdir()
    files = [tmp_path / f"results_fold{fold}_per_subject.csv" for fold in (1, 3)]
    for file in files:
        file.touch()
    found = name_outside(
        [f"A={tmp_path / 'RFNet'}", str(tmp_path / "RFNet"), str(tmp_path / "x=y")],
        [f"MiMoSe={file}" for file in files],
    )
    assert [(model.name, model.given_name) for model in found] == [
        (f"{name}{MARK}", name) for name in ("A", "RFNet", "x=y", "MiMoSe")
    ]
    assert found[0].predictions == found[1].predictions == tmp_path / "RFNet"
    assert found[3].scores == tuple(files)
    assert "how they were made is not known here" in found[0].source
    assert str(files[1]) in found[3].source
    before = found[3].fingerprint()
    files[1].write_text("subject,modalities")  # by which parts of an evaluation tell that they read other scores
    assert found[3].fingerprint() != before


def test_what_is_not_there_or_called_as_another_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b.csv").touch()
    (tmp_path / "a" / "b.csv").touch()
    folder, file = f"A={tmp_path / 'a'}", f"A={tmp_path / 'b.csv'}"
    for predictions, scores, taken, message in (
        ([f"A={tmp_path / 'nowhere'}"], [], [], "there is no folder"),
        ([file], [], [], "there is no folder"),
        ([], [folder], [], "there is no file"),
        ([folder, folder], [], [], "Two models are called 'A'"),
        ([folder], [file], [], "Two models are called 'A'"),
        ([folder], [], ["a"], "which some disks do not tell apart"),
        ([folder], [], ["A (outside)"], "Two models are called 'A'"),
        ([f"../x={tmp_path / 'a'}"], [], [], "starts with a dot"),
        ([], [file, f"A={tmp_path / 'a' / 'b.csv'}"], [], "two files of 'A' have one name"),
    ):
        with pytest.raises(ValueError, match=message):
            name_outside(predictions, scores, taken=taken)
