"""The fingerprint: the host's on complete data, bit for bit; per channel over the cases that have it otherwise."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.pool import ThreadPool

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor

from nnunet_missingmod.cases.dataset import DatasetError
from nnunet_missingmod.cases.files import CaseRefusedError
from nnunet_missingmod.planning import fingerprint
from nnunet_missingmod.planning.fingerprint import analyse_case, combine
from nnunet_missingmod.plans.MissingModFingerprintExtractor import MissingModFingerprintExtractor
from nnunet_missingmod.workers import end_with_parent

FEW = 2e4  # foreground voxels, for speed
NAMES = ("FLAIR", "T1", "T1ce", "T2")


def write(path, array):
    image = sitk.GetImageFromArray(array)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def extract(*, processes=1, overwrite=True):
    extractor = MissingModFingerprintExtractor(901, processes)
    extractor.show_progress_bar = False
    extractor.num_foreground_voxels_for_intensitystats = FEW
    return extractor.run(overwrite_existing=overwrite)


def read(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.fixture
def varied(make_tiny_dataset):
    """Five cases that differ in size; one has no foreground, which changes the host's number format."""
    tiny = make_tiny_dataset(num_cases=5)
    rng = np.random.default_rng(1)
    for index, case in enumerate(tiny.cases):
        shape = (12 + index, 16, 14)
        inside = np.zeros(shape, dtype=bool)
        inside[1:-2, 2 : 9 + index, 3:-1] = True
        for channel in range(4):
            # One channel reaches further than the others: crops must be by all of them.
            reach = inside if channel else np.roll(inside, 2, axis=1) | inside
            write(tiny.image(case, channel), (rng.normal(80 + channel, 20, shape) * reach).astype(np.float32))
        labels = rng.integers(0, 4, shape) * inside * (index != 2)
        write(tiny.label(case), labels.astype(np.uint8))
    return tiny


class ThreadContext:
    """What the host asks of multiprocessing, with threads: starting processes takes seconds."""

    Pool = ThreadPool


def test_complete_data_have_the_hosts_fingerprint_bit_for_bit(varied, monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: ThreadContext)
    file = varied.preprocessed / "dataset_fingerprint.json"
    host = DatasetFingerprintExtractor(901, 2)
    host.show_progress_bar = False
    host.num_foreground_voxels_for_intensitystats = FEW
    host.run(overwrite_existing=True)
    hosts = file.read_bytes()
    ours = extract()
    assert file.read_bytes() == hosts
    assert json.loads(json.dumps(ours)) == json.loads(hosts)


class InProcess:
    """A pool without processes; ``dies`` as one whose worker was killed."""

    dies = False

    def __init__(self, processes, mp_context, initializer):
        assert processes == 2
        assert initializer is end_with_parent

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def map(self, function, jobs):
        if self.dies:
            raise BrokenProcessPool
        return map(function, pickle.loads(pickle.dumps(jobs)))


def test_the_number_of_processes_does_not_change_the_fingerprint(varied, monkeypatch):
    alone = extract()
    monkeypatch.setattr(fingerprint, "ProcessPoolExecutor", InProcess)
    assert extract(processes=2) == alone


def test_a_process_that_dies_is_said_with_what_to_do(varied, monkeypatch):
    monkeypatch.setattr(fingerprint, "ProcessPoolExecutor", InProcess)
    monkeypatch.setattr(InProcess, "dies", True)
    with pytest.raises(RuntimeError, match=r"want of memory.*-np"):
        extract(processes=2)


def test_intensities_are_those_of_the_cases_that_have_the_channel(make_tiny_dataset):
    tiny = make_tiny_dataset(num_cases=4)
    present = {0: (0, 1, 2, 3), 1: (0, 2), 2: (1, 2), 3: (3,)}
    shape = (10, 12, 14)
    foreground = np.zeros(shape, dtype=np.uint8)
    foreground[3:6, 3:6, 3:6] = 2
    values = {}
    for index, case in enumerate(tiny.cases):
        write(tiny.label(case), foreground)
        for channel in range(4):
            tiny.image(case, channel).unlink()
            if channel in present[index]:
                # Constant within the foreground, so that the mean does not depend on which voxels are drawn.
                values[index, channel] = 10.0 * channel + index + 1
                image = np.where(foreground > 0, values[index, channel], 0.5).astype(np.float32)
                write(tiny.image(case, channel), image)
    found = extract()["foreground_intensity_properties_per_channel"]
    assert list(found) == [0, 1, 2, 3]
    for channel in range(4):
        having = [values[index, channel] for index in range(4) if channel in present[index]]
        assert found[channel]["mean"] == pytest.approx(np.mean(having), rel=1e-6)
        assert found[channel]["std"] == pytest.approx(np.std(having), rel=1e-4, abs=1e-4)
        assert (found[channel]["min"], found[channel]["max"]) == (min(having), max(having))


def test_shapes_are_those_of_the_channels_present(make_tiny_dataset):
    tiny = make_tiny_dataset(num_cases=2)
    shape = read(tiny.label(tiny.cases[0])).shape
    rng = np.random.default_rng(0)
    extents = {0: slice(4, 8), 1: slice(2, 12), 2: slice(4, 8), 3: slice(4, 8)}
    for case in tiny.cases:
        for channel, extent in extents.items():
            image = np.zeros(shape, dtype=np.float32)
            image[extent, 3:13, 3:13] = rng.uniform(1, 2, image[extent, 3:13, 3:13].shape)
            write(tiny.image(case, channel), image)
    tiny.image(tiny.cases[1], 1).unlink()
    found = extract()
    assert found["shapes_after_crop"] == [(10, 10, 10), (4, 10, 10)]
    assert found["spacings"] == [[1.0] * 3] * 2
    assert found["median_relative_size_after_cropping"] == pytest.approx((1000 + 400) / 2 / np.prod(shape))


def test_a_blank_file_counts_as_absent(make_tiny_dataset):
    tiny = make_tiny_dataset()
    write(tiny.image("case_000", 1), np.full_like(read(tiny.image("case_000", 1)), 7))
    blank = extract()
    tiny.image("case_000", 1).unlink()
    assert extract() == blank


def test_nan_voxels_count_as_zero_and_leave_the_verdict_to_preprocessing(make_tiny_dataset):
    tiny = make_tiny_dataset()
    image = read(tiny.image("case_000", 1))
    image[5, 5, 5] = 0
    write(tiny.image("case_000", 1), image)
    with_zero = extract()
    image[5, 5, 5] = np.nan
    write(tiny.image("case_000", 1), image)
    assert extract() == with_zero


def test_all_refused_cases_are_listed_with_their_modality(make_tiny_dataset):
    tiny = make_tiny_dataset(num_cases=3)
    tiny.image("case_000", 2).write_bytes(b"nothing")
    write(tiny.image("case_002", 1), np.ones((4, 4, 4), dtype=np.float32))
    with pytest.raises(ValueError) as caught:
        extract()
    message = str(caught.value)
    assert "2 of 3 training cases" in message
    assert "'case_000'" in message
    assert "T1ce" in message
    assert "'case_002'" in message
    assert "different voxel grids" in message


def test_a_segmentation_of_another_shape_is_refused(make_tiny_dataset):
    tiny = make_tiny_dataset()
    write(tiny.label("case_001"), np.ones((4, 4, 4), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"'case_001'.*segmentation has shape \(4, 4, 4\)"):
        extract()


def test_an_unreadable_segmentation_is_refused(make_tiny_dataset):
    tiny = make_tiny_dataset()
    tiny.label("case_001").unlink()
    with pytest.raises(ValueError, match=r"'case_001'.*segmentation .* cannot be read"):
        extract()


def test_a_channel_that_no_case_has_is_refused(make_tiny_dataset):
    tiny = make_tiny_dataset()
    for case in tiny.cases:
        tiny.image(case, 3).unlink()
    with pytest.raises(ValueError, match=r"No training case has T2 \(channel 3\)"):
        extract()
    assert (tiny.preprocessed / "dataset_fingerprint.json").read_text() == "{}"


def test_a_channel_without_foreground_is_refused(make_tiny_dataset):
    tiny = make_tiny_dataset()
    for case in tiny.cases:
        write(tiny.label(case), np.zeros_like(read(tiny.label(case))))
    with pytest.raises(ValueError, match="FLAIR has a labelled voxel"):
        extract()


def test_a_dataset_without_cases_is_refused(make_tiny_dataset):
    tiny = make_tiny_dataset()
    for case in tiny.cases:
        for channel in range(4):
            tiny.image(case, channel).unlink()
    with pytest.raises(ValueError, match="has no training cases"):
        extract()


def test_an_existing_fingerprint_is_kept_unless_it_is_to_be_overwritten(make_tiny_dataset):
    tiny = make_tiny_dataset()
    (tiny.preprocessed / "dataset_fingerprint.json").write_text('{"kept": 1}')
    assert extract(overwrite=False) == {"kept": 1}
    assert "spacings" in extract(overwrite=True)


def test_an_existing_fingerprint_of_other_channels_is_refused(make_tiny_dataset):
    tiny = make_tiny_dataset()
    extract()
    more = {**tiny.dataset_json, "channel_names": {**tiny.dataset_json["channel_names"], "4": "CT"}}
    (tiny.raw / "dataset.json").write_text(json.dumps(more))
    said = r"fingerprint.json is of 4 channels, but Dataset901_Tiny has 5 now: FLAIR, .*, CT\. Add --clean, .*plan -d"
    with pytest.raises(ValueError, match=said):
        extract(overwrite=False)


def test_the_log_warns_of_an_existing_fingerprint_of_other_cases(make_tiny_dataset, caplog):
    tiny = make_tiny_dataset()
    before = json.loads(json.dumps(extract()))
    assert json.loads(json.dumps(extract(overwrite=False))) == before
    assert not caplog.messages
    shutil.copy(tiny.image("case_000", 1), tiny.image("joined", 1))
    assert extract(overwrite=False) == before
    (message,) = caplog.messages
    assert "fingerprint.json is of 2 training cases, but Dataset901_Tiny has 3 now. " in message
    assert "nnunet_missingmod plan -d DATASET --clean" in message


def test_the_case_in_the_message_is_the_hosts(make_tiny_dataset):
    tiny = make_tiny_dataset()
    with pytest.raises(CaseRefusedError) as caught:
        analyse_case(
            [],
            str(tiny.label("case_000")),
            case="case_000",
            names=NAMES,
            file_ending=".nii.gz",
            reader_class=object,
            num_samples=1,
        )
    assert "no modality at all" in str(caught.value)


def test_combining_no_case_names_the_first_channel():
    with pytest.raises(ValueError, match="FLAIR"):
        combine([], NAMES)


def test_listed_files_of_any_name_have_the_fingerprint_of_files_in_the_folder(make_tiny_dataset):
    tiny = make_tiny_dataset(num_cases=3)
    tiny.image("case_000", 0).unlink()
    tiny.image("case_001", 2).unlink()
    expected = extract()
    listed = {}
    for case in tiny.cases:
        files = {}
        for channel, name in enumerate(NAMES):
            if tiny.image(case, channel).exists():
                files[name] = f"{case} {name}.nii.gz"
                tiny.image(case, channel).rename(tiny.raw / files[name])
        images = files if case == "case_001" else [files.get(name, "") for name in NAMES]
        listed[case] = {"images": images, "label": f"labelsTr/{case}.nii.gz"}
    (tiny.raw / "dataset.json").write_text(json.dumps({**tiny.dataset_json, "dataset": listed}))
    assert extract() == expected
    (tiny.raw / "case_002 T1.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"1 of 3 training cases were refused:\n.*case_002 T1.nii.gz \(T1\), which"):
        extract()


def test_a_dataset_json_that_cannot_be_planned_from_is_refused_before_a_case_is_read(make_tiny_dataset):
    tiny = make_tiny_dataset(num_cases=1)
    tiny.image("case_000", 0).write_bytes(b"")
    (tiny.raw / "dataset.json").write_text(json.dumps({**tiny.dataset_json, "dataset": [1]}))
    with pytest.raises(DatasetError, match='dataset.json: "dataset" must list at least one case, as'):
        MissingModFingerprintExtractor(901, 1)


def test_a_stray_file_is_refused_as_everywhere(make_tiny_dataset):
    tiny = make_tiny_dataset(num_cases=2)
    tiny.image("case_001", 1).rename(tiny.raw / "imagesTr" / "case_001_0001.nii")
    with pytest.raises(ValueError, match=r"1 of 2 training cases were refused:\n.*case_001_0001\.nii: not called as"):
        extract()


def test_a_hidden_file_that_nnunet_would_take_for_a_case_is_refused_with_the_command(make_tiny_dataset):
    tiny = make_tiny_dataset(num_cases=2)
    (tiny.raw / "imagesTr" / "._case_000_0000.nii.gz").touch()
    with pytest.raises(DatasetError, match=r"hidden files.*: \._case_000_0000\.nii\.gz\. .* -name '\._\*' -delete"):
        extract()
