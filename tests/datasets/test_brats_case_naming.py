from __future__ import annotations

from pathlib import Path

import pytest

from nnunet_missingmod.datasets.brats_case import Conversion, convert_case
from nnunet_missingmod.datasets.brats_naming import CHANNELS, find_cases


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    "case",
    ["Brats17_2013_2_1", "Brats18_CBICA_AAB_1", "BraTS19_TCIA01_147_1", "BraTS20_Training_001", "BraTS2021_00000"],
)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("parent", ["", "HGG/", "LGG/"])
def test_the_naming_up_to_2021_is_understood_at_any_depth(tmp_path, case, ending, parent):
    suffixes = {"flair": "FLAIR", "t1": "T1", "t1ce": "T1ce", "t2": "T2"}
    touch(tmp_path, *[f"{parent}{case}/{case}_{suffix}{ending}" for suffix in (*suffixes, "seg")])
    cases, unknown = find_cases(tmp_path)
    assert list(cases) == [case]
    assert unknown == []
    assert not cases[case].from_2023
    folder = tmp_path / parent / case
    assert cases[case].images == {name: folder / f"{case}_{suffix}{ending}" for suffix, name in suffixes.items()}
    assert cases[case].segmentation == folder / f"{case}_seg{ending}"


@pytest.mark.parametrize("case", ["BraTS-GLI-00000-000", "BraTS-MET-00001-000", "BraTS-GLI-02066-103"])
def test_the_naming_from_2023_on_is_understood(tmp_path, case):
    suffixes = {"t2f": "FLAIR", "t1n": "T1", "t1c": "T1ce", "t2w": "T2"}
    touch(tmp_path, *[f"{case}/{case}-{suffix}.nii.gz" for suffix in (*suffixes, "seg")])
    cases, unknown = find_cases(tmp_path)
    assert list(cases) == [case]
    assert unknown == []
    assert cases[case].from_2023
    assert cases[case].images == {
        name: tmp_path / case / f"{case}-{suffix}.nii.gz" for suffix, name in suffixes.items()
    }
    assert cases[case].segmentation == tmp_path / case / f"{case}-seg.nii.gz"


def test_the_misnamed_segmentation_of_2020_belongs_to_its_folder(tmp_path):
    case = "BraTS20_Training_355"
    touch(tmp_path, f"{case}/{case}_t1.nii", f"{case}/W39_1998.09.19_Segm.nii")
    cases, unknown = find_cases(tmp_path)
    assert list(cases) == [case]
    assert unknown == []
    assert cases[case].segmentation == tmp_path / case / "W39_1998.09.19_Segm.nii"


def test_two_files_for_one_place_are_told_with_both_names(tmp_path):
    touch(tmp_path, "HGG/a/a_t1.nii", "LGG/a/a_t1.nii.gz", "HGG/a/a_seg.nii", "LGG/a/a_seg.nii")
    cases, _ = find_cases(tmp_path)
    clashes = " ".join(cases["a"].clashes)
    assert len(cases["a"].clashes) == 2
    assert "a_t1.nii and" in clashes
    assert "a_t1.nii.gz are both its T1" in clashes
    assert "its segmentation" in clashes


SPELLINGS = {
    "FLAIR": ("FLAIR", "flair", "T2f", "T2-FLAIR", "t2_flair", "T2FLAIR"),
    "T1": ("T1", "T1w", "T1n", "t1_pre", "T1-native"),
    "T1ce": (
        *("T1ce", "T1Gd", "T1c", "T1CE", "T1_GD", "t1ce", "T1gd", "T1post", "T1+C", "T1-ce", "T1_contrast", "t1km"),
        *("post_T1", "ce-gadolinium_T1w", "T1w_post"),
    ),
    "T2": ("T2", "T2w", "t2"),
    None: (
        "seg",
        "SEG",
        "Segm",
        "segmentation",
        "mask",
        "label",
        "tumor_segmentation",
        "GlistrBoost_ManuallyCorrected",
    ),
}


@pytest.mark.parametrize(("kind", "spelling"), [(kind, each) for kind, all_ in SPELLINGS.items() for each in all_])
@pytest.mark.parametrize("form", ["TCGA-02-0006_1996.08.23_{}.nii.gz", "{}.nii", "BraTS-GLI-00000-000-{}.nii.gz"])
def test_every_usual_spelling_of_a_sequence_is_recognised(tmp_path, kind, spelling, form):
    file = tmp_path / "P01" / form.format(spelling)
    touch(tmp_path / "P01", file.name)
    cases, unknown = find_cases(tmp_path)
    assert unknown == []
    (case,) = cases.values()
    assert case.name == {"T": "TCGA-02-0006_1996.08.23", "{": "P01", "B": "BraTS-GLI-00000-000"}[form[0]]
    assert (case.segmentation if kind is None else case.images[kind]) == file


@pytest.mark.parametrize(
    "stray",
    ["a_pc.nii.gz", "scan7.nii", "a_t1ce.mha", "a_T1ce.hdr", "a_t1ce_brain.nii.gz", "a_extra_t1ce.nii.gz", "im1.dcm"],
)
def test_a_case_that_lacks_something_is_refused_where_an_image_that_may_be_it_lies_beside_it(tmp_path, stray):
    touch(tmp_path, *[f"a/a_{kind}.nii.gz" for kind in ("flair", "t1", "t2", "seg")], f"a/{stray}", "b/b_t1.nii.gz")
    cases, unknown = find_cases(tmp_path)
    assert list(cases) == ["a", "b"]
    assert cases["a"].unknown == unknown == [tmp_path / "a" / stray]
    assert cases["b"].unknown == []
    with pytest.raises(ValueError, match=f"{stray} lies beside it and may be its T1ce: call it as BraTS does"):
        convert_case(cases["a"], Conversion(tmp_path / "raw"))


@pytest.mark.parametrize("stray", ["a_t1_seg.nii.gz", "weird_mask.nii.gz", "a_rater1.nii.gz"])
def test_a_case_without_segmentation_is_refused_where_a_file_that_may_be_it_lies_beside_it(tmp_path, stray):
    touch(tmp_path, *[f"a/a_{kind}.nii.gz" for kind in ("flair", "t1", "t1ce", "t2")], f"a/{stray}")
    cases, _ = find_cases(tmp_path)
    assert list(cases) == ["a"]
    with pytest.raises(ValueError, match=f"{stray} lies beside it and may be its segmentation"):
        convert_case(cases["a"], Conversion(tmp_path / "raw"))


@pytest.mark.parametrize("other", ["a_adc.nii.gz", "a_SWI.nii.gz", "a_brain_mask.nii.gz", "a_dti_fa.nii.gz"])
def test_what_is_no_sequence_of_brats_is_not_taken_for_one(tmp_path, other):
    touch(tmp_path, "a/a_t1.nii.gz", f"a/{other}")
    cases, unknown = find_cases(tmp_path)
    assert cases["a"].unknown == []
    assert unknown == [tmp_path / "a" / other]


def test_cases_in_one_folder_stay_apart_whether_one_is_called_after_the_other_or_not(tmp_path):
    kinds = ("flair", "t1", "t1ce", "t2", "seg")
    touch(tmp_path, *[f"{case}_{kind}.nii.gz" for case in ("P1", "P1_2", "P2") for kind in kinds])
    cases, unknown = find_cases(tmp_path)
    assert list(cases) == ["P1", "P1_2", "P2"]
    assert unknown == []


@pytest.mark.parametrize(
    ("kinds", "from_2023"),
    [
        (("flair", "t1", "t1Gd", "t2"), False),
        (("FLAIR", "T1", "T1c", "T2"), False),
        (("t2f", "t1n", "t1c", "t2w"), True),
        (("t1c",), True),
    ],
)
def test_what_label_4_means_follows_the_spellings(tmp_path, kinds, from_2023):
    touch(tmp_path, *[f"a/a_{kind}.nii.gz" for kind in (*kinds, "seg")])
    assert find_cases(tmp_path)[0]["a"].from_2023 is from_2023


def test_other_files_are_passed_over_and_images_among_them_named(tmp_path):
    touch(tmp_path, "a/a_t1.nii.gz", "a/._a_t2.nii.gz", "a/a_pc.nii.gz", "survival_info.csv", "a/a_t2.txt")
    cases, unknown = find_cases(tmp_path)
    assert list(cases["a"].images) == ["T1"]
    assert unknown == [tmp_path / "a" / "a_pc.nii.gz"]


def test_cases_come_in_order_and_linked_folders_count_once(tmp_path):
    store, folder = tmp_path / "store", tmp_path / "folder"
    touch(store, "b/b_t1.nii.gz", "a/a_t1.nii.gz")
    folder.mkdir()
    (folder / "linked").symlink_to(store)
    (store / "loop").symlink_to(folder)
    cases, _ = find_cases(folder)
    assert list(cases) == ["a", "b"]
    assert all(case.clashes == [] for case in cases.values())


def test_channels_are_in_the_order_of_this_package():
    assert CHANNELS == ("FLAIR", "T1", "T1ce", "T2")
