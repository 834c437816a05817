"""Each validation case is predicted by the fold that has not seen it, and nothing else is let in."""

from __future__ import annotations

import json

import pytest
from benchmarking.folds import split

from nnunet_missingmod.benchmarking.cases import EvaluationCase, validation_sets
from nnunet_missingmod.benchmarking.cases import test_set as find_test_set
from nnunet_missingmod.inference.model_files import BEST, FINAL, ModelFolderError


@pytest.fixture
def tiny(make_tiny_dataset):
    tiny = make_tiny_dataset(("T1", "T2"), num_cases=4)
    split(tiny, tiny.cases[2:], tiny.cases[:2])
    return tiny


@pytest.fixture
def folder(tiny, make_model):
    return make_model(tiny, "nnUNetTrainer", folds=(0, 1))


def test_each_fold_has_its_own_validation_cases(tiny, folder):
    sets = validation_sets(folder, None, checkpoint_name=FINAL)
    assert [(each.folds, each.fold_name) for each in sets] == [((0,), "0"), ((1,), "1")]
    assert [[case.case for case in each.cases] for each in sets] == [tiny.cases[2:], tiny.cases[:2]]
    case = sets[0].cases[0]
    assert case.files == {0: tiny.image(case.case, 0), 1: tiny.image(case.case, 1)}
    assert case.reference == tiny.label(case.case)


def test_only_the_folds_asked_for(tiny, folder):
    (only,) = validation_sets(folder, [1], checkpoint_name=FINAL)
    assert [case.case for case in only.cases] == tiny.cases[:2]


def test_an_incomplete_case_has_what_it_has(tiny, folder):
    tiny.image(tiny.cases[3], 0).unlink()
    first, _ = validation_sets(folder, None, checkpoint_name=FINAL)
    assert {case.case: sorted(case.files) for case in first.cases} == {tiny.cases[2]: [0, 1], tiny.cases[3]: [1]}


def test_a_case_without_images_reference_or_channel_is_refused_by_name(tiny, folder):
    for channel in (0, 1):
        tiny.image(tiny.cases[0], channel).unlink()
    tiny.label(tiny.cases[1]).unlink()
    tiny.image(tiny.cases[2], 1).rename(tiny.raw / "imagesTr" / f"{tiny.cases[2]}_0007.nii.gz")
    first, second = validation_sets(folder, None, checkpoint_name=FINAL)
    assert [case.case for case in first.cases] == [tiny.cases[3]]
    assert "channel 7" in first.refused[tiny.cases[2]]
    assert second.cases == []
    assert "no image in the raw dataset" in second.refused[tiny.cases[0]]
    assert "case_001.nii.gz does not exist" in second.refused[tiny.cases[1]]


def test_a_checkpoint_selected_on_the_validation_cases_is_refused_for_them(tiny, make_model, tmp_path):
    folder = make_model(tiny, "nnUNetTrainer", checkpoint=BEST)
    with pytest.raises(ModelFolderError, match="selected on the validation cases"):
        validation_sets(folder, None, checkpoint_name=BEST)
    on_test = find_test_set(folder, None, tiny.raw / "imagesTr", tiny.raw / "labelsTr", checkpoint_name=BEST)
    assert len(on_test.cases) == 4


def test_fold_all_has_no_validation_cases(tiny, make_model):
    folder = make_model(tiny, "nnUNetTrainer", folds=("all",))
    with pytest.raises(ModelFolderError, match="trained on every case"):
        validation_sets(folder, None, checkpoint_name=FINAL)


def test_a_case_of_two_folds_is_refused(tiny, folder):
    split(tiny, tiny.cases[2:], tiny.cases[1:3])
    with pytest.raises(ModelFolderError, match="case_002 .* folds 0 and 1"):
        validation_sets(folder, None, checkpoint_name=FINAL)
    assert len(validation_sets(folder, [1], checkpoint_name=FINAL)) == 1


def test_a_fold_that_the_split_lacks_is_refused(tiny, folder):
    split(tiny, tiny.cases[2:])
    with pytest.raises(ModelFolderError, match="has 1 folds, no fold 1"):
        validation_sets(folder, None, checkpoint_name=FINAL)


def test_what_is_missing_of_the_dataset_is_named(tiny, folder, monkeypatch):
    (tiny.preprocessed / "splits_final.json").unlink()
    with pytest.raises(ModelFolderError, match=r"splits_final\.json.*test folder \(-i, -ref\)"):
        validation_sets(folder, None, checkpoint_name=FINAL)
    monkeypatch.delenv("nnUNet_preprocessed")
    with pytest.raises(ModelFolderError, match="nnUNet_preprocessed is not set"):
        validation_sets(folder, None, checkpoint_name=FINAL)
    split(tiny, tiny.cases[2:], tiny.cases[:2])
    monkeypatch.setenv("nnUNet_preprocessed", str(tiny.preprocessed.parent))
    monkeypatch.setenv("nnUNet_raw", str(tiny.raw / "elsewhere"))
    with pytest.raises(ModelFolderError, match="evaluating needs the raw dataset"):
        validation_sets(folder, None, checkpoint_name=FINAL)


def test_a_dataset_that_lists_its_files_is_read_as_listed(tiny, folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    listed = {}
    for case in tiny.cases:
        files = [tiny.image(case, channel).rename(elsewhere / f"{case}_{channel:04d}.nii.gz") for channel in (0, 1)]
        label = tiny.label(case).rename(elsewhere / f"{case}-label.nii.gz")
        listed[case] = {"images": [str(file) for file in files], "label": str(label)}
    (tiny.raw / "dataset.json").write_text(json.dumps({**tiny.dataset_json, "dataset": listed}))
    first, _ = validation_sets(folder, None, checkpoint_name=FINAL)
    assert first.refused == {}
    assert first.cases[0].reference == elsewhere / "case_002-label.nii.gz"
    assert first.cases[0].files[1] == elsewhere / "case_002_0001.nii.gz"


def test_listed_files_may_have_any_names_and_lack_modalities(tiny, folder):
    place = tiny.raw / "anywhere"
    place.mkdir()
    listed = {}
    for case in tiny.cases:
        files = [tiny.image(case, channel).rename(place / f"{case}-{channel}.nii.gz") for channel in (0, 1)]
        relative = [str(file.relative_to(tiny.raw)) for file in files]
        listed[case] = {"images": relative, "label": str(tiny.label(case))}
    listed["case_002"]["images"] = ["", "anywhere/case_002-1.nii.gz"]
    listed["case_003"]["images"] = {"T2": "anywhere/case_003-1.nii.gz", "T1": "anywhere/case_003-0.nii.gz"}
    listed["case_001"]["images"][0] = "anywhere/gone.nii.gz"
    (tiny.raw / "dataset.json").write_text(json.dumps({**tiny.dataset_json, "dataset": listed}))
    first, second = validation_sets(folder, None, checkpoint_name=FINAL)
    assert first.refused == {}
    assert {case.case: case.files for case in first.cases} == {
        "case_002": {1: place / "case_002-1.nii.gz"},
        "case_003": {channel: place / f"case_003-{channel}.nii.gz" for channel in (0, 1)},
    }
    assert [case.case for case in second.cases] == ["case_000"]
    assert "gone.nii.gz (T1), which dataset.json lists, does not exist" in second.refused["case_001"]


def test_a_listed_case_whose_name_leaves_the_output_folder_is_refused(tiny, folder):
    images = [str(tiny.image("case_002", channel)) for channel in (0, 1)]
    listed = {"../case_002": {"images": images, "label": str(tiny.label("case_002"))}}
    (tiny.raw / "dataset.json").write_text(json.dumps({**tiny.dataset_json, "dataset": listed}))
    split(tiny, ["../case_002"])
    with pytest.raises(ModelFolderError, match=r"the case '\.\./case_002', whose name is empty or starts with a dot"):
        validation_sets(folder, [0], checkpoint_name=FINAL)


def test_a_test_folder_is_predicted_by_all_folds_together(tiny, folder):
    found = find_test_set(folder, None, tiny.raw / "imagesTr", tiny.raw / "labelsTr", checkpoint_name=FINAL)
    assert found.folds == (0, 1)
    assert found.fold_name == "0+1"
    assert [case.case for case in found.cases] == tiny.cases


def test_an_empty_test_folder_is_refused_with_what_is_expected(tiny, folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no case .* CASE_0000\.nii\.gz"):
        find_test_set(folder, None, tmp_path, tmp_path, checkpoint_name=FINAL)


def test_folds_without_a_validation_case_are_refused_by_name(tiny, folder):
    split(tiny, (), tiny.cases[:2])
    with pytest.raises(ModelFolderError, match=r"Fold 0 of .* has no validation case: .* Evaluate other folds \(-f\)"):
        validation_sets(folder, [0], checkpoint_name=FINAL)
    assert [len(each.cases) for each in validation_sets(folder, None, checkpoint_name=FINAL)] == [0, 2]


def test_the_contents_of_a_case_are_those_of_its_files_wherever_they_lie(tmp_path):
    def contents(folder, *, image=b"image", reference=b"reference", channel=0):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "image").write_bytes(image)
        (tmp_path / folder / "reference").write_bytes(reference)
        return EvaluationCase("a", {channel: tmp_path / folder / "image"}, tmp_path / folder / "reference").contents()

    images, reference = contents("here")
    assert contents("there") == (images, reference)
    assert contents("here", reference=b"others") == (images, contents("here", reference=b"others")[1])
    for other in (contents("here", image=b"imagf"), contents("here", channel=1)):
        assert other[0] != images
        assert other[1] == reference
    # Of a large file, size, beginning, end and what lies between are looked at, but not every byte.
    large = bytes(10**6)
    known = contents("here", image=large)[0]
    places = (0, len(large) - 1, round(len(large) * 7 / 15))
    changed = [bytes(10**6 + 1), *(large[:at] + b"x" + large[at + 1 :] for at in places)]
    assert known not in [contents("here", image=each)[0] for each in changed]
    with pytest.raises(FileNotFoundError):
        EvaluationCase("a", {}, tmp_path / "nowhere").contents()
