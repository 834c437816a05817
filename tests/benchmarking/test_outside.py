"""Which file of a folder is which prediction of a model from outside, however its paths are laid out."""

from __future__ import annotations

import pytest

from nnunet_missingmod.benchmarking.outside import check_pattern, find_predictions

NAMES = ("FLAIR", "T1", "T1ce", "T2")
CASES = ("BraTS_1", "BraTS_10", "T1 scan")
EXPECTED = {("BraTS_1", (1, 3)), ("BraTS_10", (1, 3)), ("BraTS_1", (0,)), ("BraTS_10", (0,))}


@pytest.fixture
def find(tmp_path):
    def find(*paths, pattern=None, cases=CASES):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        return find_predictions(tmp_path, cases, NAMES, endings=(".nii.gz", ".nii"), pattern=pattern)

    return find


@pytest.mark.parametrize(
    ("layout", "subsets"),
    [
        ("{subset}/{case}.nii.gz", ("T1+T2", "FLAIR")),
        ("{case}/{subset}.nii.gz", ("t2_t1", "flair")),
        ("predictions/{subset}/{case}.nii", ("0001_0003", "0000")),
        ("{case}/run 7/{subset}.NII.GZ", ("0101", "1000")),
        ("{subset}/{case}/prediction.nii.gz", ("t1n,t2w", "t2f")),
    ],
)
def test_usual_layouts_are_found_without_a_pattern(find, layout, subsets):
    paths = [layout.format(subset=subset, case=case) for subset in subsets for case in CASES[:2]]
    found = find(*paths, "log.txt", ".hidden/T1/BraTS_1.nii.gz")
    assert set(found.files) == EXPECTED
    assert (found.notes, found.problems) == ((), ())
    assert found.files["BraTS_10", (0,)].name == paths[-1].split("/")[-1]


@pytest.mark.parametrize(
    ("layout", "pattern"),
    [
        ("{case}_{subset}.nii.gz", "{case}_{subset}"),
        ("{subset}/{case}_seg.nii.gz", "{subset}/{case}_seg"),
        ("out/{case}-{subset}-v2.nii.gz", "*/{case}-{subset}-*"),
    ],
)
def test_a_pattern_says_where_case_and_subset_stand(find, layout, pattern):
    check_pattern(pattern)
    paths = [layout.format(subset=subset, case=case) for subset in ("T1_T2", "FLAIR") for case in CASES[:2]]
    assert set(find(*paths, pattern=pattern).files) == EXPECTED


@pytest.mark.parametrize(
    "pattern", ["{subset}", "{case}", "{case}/{case}/{subset}", "{case}{subset}", "", "{subset}{case}"]
)
def test_a_pattern_that_does_not_say_it_is_refused(pattern):
    with pytest.raises(ValueError, match="--pattern has"):
        check_pattern(pattern)


@pytest.mark.parametrize("folders", [("0", "1"), ("1", "4"), ("fold_0", "fold_1"), ("2024", "2025"), ("0000", "1111")])
def test_numbers_of_folds_in_a_path_that_names_modalities_are_no_subset(find, folders):
    one, other = folders
    found = find(f"{one}/T1+T2/BraTS_1.nii.gz", f"{other}/flair/BraTS_10.nii.gz", f"{other}/T1+T2/BraTS_10.nii.gz")
    assert set(found.files) == {("BraTS_1", (1, 3)), ("BraTS_10", (0,)), ("BraTS_10", (1, 3))}
    assert (found.notes, found.problems) == ((), ())


def test_what_is_left_over_is_named(find):
    found = find("T1/BraTS_1.nii.gz", "T1/other.nii.gz", "old/BraTS_1.nii.gz", "BraTS_10.nii.gz", "T1/BraTS_10/T2.nii")
    assert set(found.files) == {("BraTS_1", (1,))}
    (note,), (unread, unclear) = found.notes, found.problems
    assert "1 file in" in note
    assert "of no case that is evaluated: T1/other.nii.gz." in note
    assert "names no subset of FLAIR, T1, T1ce, T2: BraTS_10.nii.gz, old/BraTS_1.nii.gz." in unread
    assert "names several cases or subsets: T1/BraTS_10/T2.nii." in unclear


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["a/T1/BraTS_1.nii.gz", "b/T1/BraTS_1.nii.gz"], r"are both case BraTS_1 with T1: give a folder"),
        (["T1/BraTS_1.nii.gz", "T1/BraTS_1.nii"], "are both case BraTS_1 with T1"),
        (["T1+T2/BraTS_1.nii.gz", "T2_T1/BraTS_1.nii.gz"], r"are both case BraTS_1 with T1\+T2"),
        ([], "holds no file that ends with .nii.gz or .nii"),
        (["BraTS_1_T1.nii.gz"], r"as SUBSET/CASE.nii.gz or CASE/SUBSET.nii.gz; there are BraTS_1_T1.nii.gz. Say by"),
        (["0001/BraTS_1.nii.gz"], "'0001' may be T1"),
    ],
)
def test_what_may_be_two_things_or_is_nothing_is_refused(find, paths, message):
    with pytest.raises(ValueError, match=message):
        find(*paths)


def test_a_case_that_is_called_as_a_modality_is_told_apart(find):
    found = find("T1+T2/T1.nii.gz", "T1/T1.nii.gz", cases=("T1",))
    assert set(found.files) == {("T1", (1, 3)), ("T1", (1,))}


def test_of_one_modality_there_is_one_subset_and_no_need_to_name_it(tmp_path):
    (tmp_path / "a.nii").touch()
    (tmp_path / "CT").mkdir()
    (tmp_path / "CT" / "b.nii").touch()
    found = find_predictions(tmp_path, ("a", "b"), ("CT",), endings=(".nii",))
    assert set(found.files) == {("a", (0,)), ("b", (0,))}


@pytest.mark.parametrize("layout", ["fold_0/{}.nii.gz", "0/{}.nii.gz", "{}/seg.nii.gz", "all/CT/{}.nii.gz"])
def test_of_one_modality_whatever_stands_beside_the_case_is_no_subset(tmp_path, layout):
    for case in CASES:
        (tmp_path / layout.format(case)).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / layout.format(case)).touch()
    found = find_predictions(tmp_path, CASES, ("CT",), endings=(".nii.gz",))
    assert set(found.files) == {(case, (0,)) for case in CASES}
