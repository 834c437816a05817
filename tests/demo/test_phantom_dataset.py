"""Raw dataset of phantoms: layout, presence, resuming, refusals, and files that do not depend on the processes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from nnunet_missingmod.demo import phantom_dataset
from nnunet_missingmod.demo.phantom_dataset import modalities_of_test_cases, write_dataset
from nnunet_missingmod.modalities import all_subsets, channel_names

SMALL: dict[str, Any] = {"cases": 2, "test_cases": 3, "size": (24, 24, 24)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("raw"), **SMALL)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _presence(folder: Path) -> dict[str, list[int]]:
    with (folder / "imagesTs_presence.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["case", "FLAIR", "T1", "T1ce", "T2"]
    return {case: [int(value) for value in values] for case, *values in rows}


def test_dataset_has_nnunets_layout(dataset: Path) -> None:
    description = json.loads((dataset / "dataset.json").read_text())
    assert dataset.name == "Dataset501_Phantom"
    assert channel_names(description) == ("FLAIR", "T1", "T1ce", "T2")
    assert description["labels"] == {"background": 0, "NCR": 1, "ED": 2, "ET": 3}
    assert description["numTraining"] == 2
    assert "ynthetic" in description["description"]
    assert "ynthetic" in description["licence"]
    labels = sorted(path.name for path in (dataset / "labelsTr").iterdir())
    images = sorted(path.name for path in (dataset / "imagesTr").iterdir())
    cases = [name.removesuffix(".nii.gz") for name in labels]
    assert len(cases) == 2
    assert images == sorted(f"{case}_{channel:04d}.nii.gz" for case in cases for channel in range(4))
    assert not (dataset / ".partial").exists()


def test_presence_table_tells_which_test_files_exist(dataset: Path) -> None:
    presence = _presence(dataset)
    assert len(presence) == 3
    for case, present in presence.items():
        assert (dataset / "labelsTs" / f"{case}.nii.gz").is_file()
        for channel, there in enumerate(present):
            name = f"{case}_{channel:04d}.nii.gz"
            complete = dataset / "imagesTs_complete" / name
            assert (dataset / "imagesTs" / name).is_file() == bool(there)
            assert complete.is_file()
            if there:
                assert (dataset / "imagesTs" / name).read_bytes() == complete.read_bytes()


def test_images_and_labels_share_geometry_and_the_tumour_lies_in_the_brain(dataset: Path) -> None:
    label = SimpleITK.ReadImage(str(dataset / "labelsTr" / "phantom-train-001.nii.gz"))
    labels = SimpleITK.GetArrayFromImage(label)
    assert set(np.unique(labels)) <= {0, 1, 2, 3}
    for channel in range(4):
        image = SimpleITK.ReadImage(str(dataset / "imagesTr" / f"phantom-train-001_{channel:04d}.nii.gz"))
        assert image.GetSpacing() == label.GetSpacing()
        assert image.GetDirection() == label.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
        assert image.GetPixelID() == SimpleITK.sitkInt16
        assert (SimpleITK.GetArrayFromImage(image)[labels > 0] > 0).all()


def test_files_do_not_depend_on_the_number_of_processes(dataset: Path, tmp_path: Path) -> None:
    assert _files(write_dataset(tmp_path, jobs=2, **SMALL)) == _files(dataset)


def test_case_does_not_depend_on_the_number_of_cases(dataset: Path, tmp_path: Path) -> None:
    other = write_dataset(tmp_path, cases=1, test_cases=0, size=SMALL["size"])
    for name, content in _files(other / "imagesTr").items():
        assert (dataset / "imagesTr" / name).read_bytes() == content


def test_training_and_test_cases_differ(dataset: Path) -> None:
    labels = [path.read_bytes() for folder in ("labelsTr", "labelsTs") for path in (dataset / folder).iterdir()]
    assert len(set(labels)) == 5


def test_interrupted_dataset_is_completed_and_finished_cases_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_volume, written = phantom_dataset._write_volume, 0

    def stop_in_the_second_case(*args: Any) -> None:
        nonlocal written
        written += 1
        if written == 8:
            raise OSError("No space left on device")
        write_volume(*args)

    monkeypatch.setattr(phantom_dataset, "_write_volume", stop_in_the_second_case)
    with pytest.raises(OSError, match="No space"):
        write_dataset(tmp_path, **SMALL)
    folder = tmp_path / "Dataset501_Phantom"
    assert not (folder / "dataset.json").exists()
    monkeypatch.setattr(phantom_dataset, "_write_volume", write_volume)
    first = folder / "imagesTr" / "phantom-train-001_0000.nii.gz"
    before = first.stat().st_mtime_ns
    resumed = write_dataset(tmp_path, **SMALL)
    assert first.stat().st_mtime_ns == before
    (tmp_path / "fresh").mkdir()
    assert _files(resumed) == _files(write_dataset(tmp_path / "fresh", **SMALL))


def test_other_parameters_are_refused_with_the_difference_and_overwritten_on_demand(tmp_path: Path) -> None:
    only: dict[str, Any] = {"cases": 1, "test_cases": 1, "size": (24, 24, 24)}
    folder = write_dataset(tmp_path, seed=1, **only)
    before = _files(folder)
    with pytest.raises(ValueError, match=r"seed 1 there and 2 asked for.*--overwrite"):
        write_dataset(tmp_path, seed=2, **only)
    assert _files(folder) == before
    write_dataset(tmp_path, seed=2, overwrite=True, **only)
    after = _files(folder)
    assert after.keys() != before.keys() or after != before
    assert json.loads(after["phantom.json"])["seed"] == 2


def test_foreign_folder_is_never_touched(tmp_path: Path) -> None:
    foreign = tmp_path / "Dataset501_Phantom" / "imagesTr" / "patient_0000.nii.gz"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"precious")
    with pytest.raises(ValueError, match="not written by this command"):
        write_dataset(tmp_path, overwrite=True, **SMALL)
    assert foreign.read_bytes() == b"precious"


def test_number_taken_by_another_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Dataset501_BraTS").mkdir()
    with pytest.raises(ValueError, match="Dataset501_BraTS"):
        write_dataset(tmp_path, **SMALL)


def test_regions_decode_to_the_same_labels(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, cases=1, test_cases=0, size=(24, 24, 24), regions=True)
    description = json.loads((folder / "dataset.json").read_text())
    file = folder / "labelsTr" / "phantom-train-001.nii.gz"
    labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))
    regions = [members for name, members in description["labels"].items() if name != "background"]
    decoded = np.zeros_like(labels)
    for members, value in zip(regions, description["regions_class_order"], strict=True):
        decoded[np.isin(labels, members)] = value
    assert labels.any()
    assert np.array_equal(decoded, labels)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 15, 31])
def test_first_test_case_is_complete_and_sizes_and_subsets_are_spread(count: int) -> None:
    for seed in range(5):
        kept = modalities_of_test_cases(count, 4, seed=seed)
        assert len(kept) == count
        assert kept[0] == (0, 1, 2, 3)
        assert len({len(subset) for subset in kept}) == min(count, 4)
        assert len(set(kept)) == min(count, 15)
        assert set(kept) <= set(all_subsets(4))


def test_single_test_case_lacks_a_modality() -> None:
    assert [len(subset) for subset in modalities_of_test_cases(1, 4, seed=0)] == [3]
    assert modalities_of_test_cases(0, 4, seed=0) == []


def test_seed_decides_who_lacks_what() -> None:
    drawn = {tuple(modalities_of_test_cases(8, 4, seed=seed)) for seed in range(5)}
    assert len(drawn) == 5
    assert modalities_of_test_cases(8, 4, seed=3) == modalities_of_test_cases(8, 4, seed=3)


@pytest.mark.parametrize(
    "wrong",
    [{"dataset_id": 0}, {"dataset_id": 1000}, {"name": "a/b"}, {"name": ""}, {"cases": 0}, {"test_cases": -1},
     {"jobs": 0}, {"seed": -1}, {"spacing_mm": 1.0}],
)  # fmt: skip
def test_wrong_number_is_refused_before_anything_is_written(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_dataset(tmp_path, **{**SMALL, **wrong})
    assert not list(tmp_path.iterdir())
