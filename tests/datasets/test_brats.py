"""A BraTS folder becomes a raw dataset: what its dataset.json declares, and who of its cases has what."""

from __future__ import annotations

import csv
import errno
import json
import os

import pytest

from nnunet_missingmod.datasets import brats
from nnunet_missingmod.datasets.brats_case import Conversion
from nnunet_missingmod.errors import FailedError, UsageError
from nnunet_missingmod.evaluation.conventions import brats_regions, dataset_regions


@pytest.fixture
def dataset(tmp_path):
    return tmp_path / "raw" / "Dataset007_BraTS"


@pytest.fixture
def convert(dataset):
    """Return a function that converts a folder into ``dataset``."""

    def run(source, *, regions=False, overwrite=False, jobs=1, **options):
        conversion = Conversion(dataset, **options)
        return brats.convert_folder(source, conversion, name="BraTS", regions=regions, overwrite=overwrite, jobs=jobs)

    return run


def read_json(dataset):
    return json.loads((dataset / "dataset.json").read_text())


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def test_a_folder_becomes_a_raw_dataset(make_source, convert, dataset):
    make_source("BraTS20_Training_001")
    make_source("BraTS20_Training_002", modalities=("FLAIR", "T2"))
    converted = convert(make_source("BraTS20_Validation_001", labels=None), jobs=2)
    assert (converted.num_cases, converted.refused) == (3, {})
    assert read_json(dataset) == {
        "name": "BraTS",
        "channel_names": {"0": "FLAIR", "1": "T1", "2": "T1ce", "3": "T2"},
        "labels": {"background": 0, "NCR": 1, "ED": 2, "ET": 3},
        "file_ending": ".nii.gz",
        "numTraining": 2,
    }
    assert files_below(dataset) == [
        "dataset.json",
        *[f"imagesTr/BraTS20_Training_001_000{channel}.nii.gz" for channel in range(4)],
        "imagesTr/BraTS20_Training_002_0000.nii.gz",
        "imagesTr/BraTS20_Training_002_0003.nii.gz",
        *[f"imagesTs/BraTS20_Validation_001_000{channel}.nii.gz" for channel in range(4)],
        "labelsTr/BraTS20_Training_001.nii.gz",
        "labelsTr/BraTS20_Training_002.nii.gz",
        "presence.csv",
    ]
    assert sorted(path.name for path in dataset.iterdir() if path.is_dir()) == ["imagesTr", "imagesTs", "labelsTr"]
    assert converted.presence["Tr", "BraTS20_Training_002"] == (0, 3)
    assert converted.presence["Ts", "BraTS20_Validation_001"] == (0, 1, 2, 3)


def test_the_presence_table_says_which_case_has_which_modality(make_source, convert, dataset):
    make_source("a", modalities=("T1ce",))
    convert(make_source("b", labels=None))
    with (dataset / "presence.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["case", "split", "FLAIR", "T1", "T1ce", "T2"],
            ["a", "Tr", "0", "0", "1", "0"],
            ["b", "Ts", "1", "1", "1", "1"],
        ]


def test_hidden_files_in_the_dataset_are_no_cases(make_source, convert, dataset):
    convert(make_source("a"))
    (dataset / "imagesTr" / "._a_0000.nii.gz").touch()
    assert list(brats.read_presence(dataset)) == [("Tr", "a")]


def test_one_bad_case_costs_no_other_and_all_are_named(make_source, convert, dataset):
    make_source("good")
    make_source("labels", labels=(0, 7))
    converted = convert(make_source("nothing", modalities=()))
    assert list(converted.refused) == ["labels", "nothing"]
    assert read_json(dataset)["numTraining"] == 1
    assert {path.name[:4] for path in (dataset / "imagesTr").iterdir()} == {"good"}


def test_nothing_is_left_where_every_case_is_refused(make_source, convert, dataset):
    converted = convert(make_source("labels", labels=(0, 7)))
    assert (list(converted.refused), converted.presence) == (["labels"], {})
    assert not dataset.exists()


@pytest.mark.parametrize("keep_cavity", [False, True])
def test_regions_are_those_that_evaluation_scores(keep_cavity):
    plain = brats.dataset_json(name="x", regions=False, keep_cavity=keep_cavity)
    regions = brats.dataset_json(name="x", regions=True, keep_cavity=keep_cavity)
    assert dataset_regions(regions) == brats_regions(plain)
    for label, region in zip(regions["regions_class_order"], dataset_regions(regions).values(), strict=True):
        assert label in region


def test_a_label_map_written_in_the_class_order_gives_the_regions_back():
    content = brats.dataset_json(name="x", regions=True, keep_cavity=True)
    regions = dataset_regions(content)
    for inside in (["WT"], ["WT", "TC"], ["WT", "TC", "ET"], ["RC"]):
        written = 0
        for label, name in zip(content["regions_class_order"], regions, strict=True):
            written = label if name in inside else written
        assert [name for name, region in regions.items() if written in region] == inside


def test_cases_that_are_there_are_replaced_only_when_asked(make_source, convert, dataset):
    source = make_source("a")
    convert(source)
    (dataset / "imagesTr" / "a_0000.nii.gz").write_bytes(b"mine")
    with pytest.raises(UsageError, match="--overwrite"):
        convert(source)
    assert (dataset / "imagesTr" / "a_0000.nii.gz").read_bytes() == b"mine"
    convert(source, overwrite=True)
    assert (dataset / "imagesTr" / "a_0000.nii.gz").read_bytes() != b"mine"


def test_more_cases_join_a_dataset_of_the_same_labels_only(make_source, convert, dataset):
    convert(make_source("a"))
    validation = make_source("b", folder="validation")
    with pytest.raises(UsageError, match="labels"):
        convert(validation, regions=True, test=True)
    convert(validation, test=True)
    assert read_json(dataset)["numTraining"] == 1
    assert (dataset / "labelsTs" / "b.nii.gz").exists()
    assert (dataset / "imagesTr" / "a_0000.nii.gz").exists()


def test_a_folder_without_cases_is_wrong_usage_and_says_what_was_expected(convert, tmp_path):
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        convert(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"BraTS20_Training_001_flair\.nii\.gz.*BraTS-GLI-00000-000-t2f\.nii\.gz"):
        convert(tmp_path / "empty")


def test_a_folder_that_may_not_be_read_is_not_passed_over(make_source, convert, dataset, monkeypatch):
    make_source("a")
    source = make_source("b")
    scandir = os.scandir

    def refused(place):
        if str(place).endswith("b"):
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr("os.scandir", refused)
    with pytest.raises(UsageError, match="A folder cannot be read: .*Permission denied: .*b'. Mend the access rights"):
        convert(source)
    assert not dataset.exists()


def test_images_of_other_names_are_told_once(make_source, convert, caplog):
    make_source("a")
    source = make_source("b", modalities=("FLAIR", "T1", "T2"))
    for case in ("a", "b"):
        (source / case / f"{case}_pc.nii.gz").write_bytes(b"")
    assert "b_pc.nii.gz lies beside it and may be its T1ce" in convert(source).refused["b"]
    assert "a_pc.nii.gz is passed over" in caplog.text
    assert "b_pc.nii.gz" not in caplog.text


def test_a_dataset_json_that_is_none_is_refused(make_source, convert, dataset):
    source = make_source("a")
    dataset.mkdir(parents=True)
    (dataset / "dataset.json").write_text("[]")
    with pytest.raises(UsageError, match=r"it holds \[\], not an object"):
        convert(source)


@pytest.mark.parametrize("number", [1, 25])
def test_where_no_case_is_found_the_images_that_are_there_are_named(convert, tmp_path, number):
    folder = tmp_path / "source"
    folder.mkdir()
    for index in range(number):
        (folder / f"p{index:02d}_t1.mha").touch()
    told = "p00_t1.mha." if number == 1 else "p09_t1.mha, and 15 others."
    with pytest.raises(UsageError, match=f"holds no BraTS case: .*; not recognised: .*{told}"):
        convert(folder)


@pytest.mark.parametrize("where", ["", "a"])
def test_a_dataset_among_its_sources_is_wrong_usage(make_source, where):
    source = make_source("a")
    before = files_below(source)
    for folder, dataset in ((source, source / where / "Dataset007_BraTS"), (source / "a", source)):
        with pytest.raises(UsageError, match="lie in each other: choose another -o"):
            brats.convert_folder(folder, Conversion(dataset), name="BraTS")
    assert files_below(source) == before


def test_a_full_disk_ends_the_conversion_and_leaves_nothing_unfinished(make_source, convert, dataset, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    make_source("a")
    source = make_source("b")
    with monkeypatch.context() as patched:
        patched.setattr("shutil.copyfile", full)
        with pytest.raises(FailedError, match="Dataset007_BraTS: No space left on device.*--overwrite"):
            convert(source)
    assert not dataset.exists()
    monkeypatch.setattr(brats, "write_text", full)
    with pytest.raises(FailedError, match="Dataset007_BraTS: No space left on device.*--overwrite"):
        convert(source)
