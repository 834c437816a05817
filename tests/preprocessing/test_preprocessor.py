"""The preprocessor: equal to the host's on complete cases, and the same for a missing file as for an absence mark."""

from __future__ import annotations

import pickle
from itertools import chain
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_missingmod.cases.files import CaseRefusedError
from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.preprocessing.preprocessor import MissingModPreprocessor

CONFIGURATIONS = ("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres")


def run_files(tiny, files, *, preprocessor=MissingModPreprocessor, configuration="3d_fullres", block=None, seg=None):
    manager = PlansManager(tiny.plans)
    chosen = manager.get_configuration(configuration)
    if block:
        chosen.configuration["missingmod"] = block
    return preprocessor(verbose=False).run_case(files, seg, manager, chosen, tiny.dataset_json)


def run_array(tiny, data, properties, *, configuration="3d_fullres"):
    manager = PlansManager(tiny.plans)
    chosen = manager.get_configuration(configuration)
    return MissingModPreprocessor(verbose=False).run_case_npy(
        data, None, properties, manager, chosen, tiny.dataset_json
    )


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
@pytest.mark.parametrize("factor", [1e-3, 1e3], ids=["metres", "micrometres"])
def test_a_voxel_size_in_another_unit_is_refused(make_tiny_dataset, configuration, factor):
    tiny = make_tiny_dataset()
    manager = PlansManager(tiny.plans)
    data, properties = manager.image_reader_writer_class().read_images(tiny.images("case_000"))
    run_array(tiny, data, properties, configuration=configuration)
    sizes = [mm * factor for mm in properties["spacing"]]
    with pytest.raises(CaseRefusedError, match=r"its voxels of .* mm make an image of .* another unit than mm"):
        run_array(tiny, data, properties | {"spacing": sizes}, configuration=configuration)


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_complete_case_equals_the_hosts(make_tiny_dataset, configuration):
    tiny = make_tiny_dataset(schemes=["ZScoreNormalization", "CTNormalization", "NoNormalization", "CTNormalization"])
    files, seg = tiny.images("case_000"), str(tiny.label("case_000"))
    ours = run_files(tiny, files, seg=seg, configuration=configuration)
    hosts = run_files(tiny, files, seg=seg, configuration=configuration, preprocessor=DefaultPreprocessor)
    np.testing.assert_array_equal(ours[0], hosts[0])
    np.testing.assert_array_equal(ours[1], hosts[1])
    assert ours[2]["bbox_used_for_cropping"] == hosts[2]["bbox_used_for_cropping"]


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_missing_files_equal_an_explicit_absence_mark_bit_for_bit_for_every_subset(make_tiny_dataset, configuration):
    tiny = make_tiny_dataset(
        schemes=["ZScoreNormalization", "CTNormalization", "ZScoreNormalization", "CTNormalization"]
    )
    files = tiny.images("case_000")
    reader = PlansManager(tiny.plans).image_reader_writer_class()
    complete, _ = reader.read_images(files)
    for subset in all_subsets(4):
        kept = [files[channel] for channel in subset]
        from_files = run_files(tiny, kept, configuration=configuration)
        marked = complete.copy()
        marked[[channel for channel in range(4) if channel not in subset]] = np.nan
        _, properties = reader.read_images(kept)
        from_mark = run_array(tiny, marked, properties, configuration=configuration)
        assert from_files[0].tobytes() == from_mark[0].tobytes()
        assert from_files[1].tobytes() == from_mark[1].tobytes()
        np.testing.assert_array_equal(np.isnan(from_files[0]).all((1, 2, 3)), [c not in subset for c in range(4)])
        assert np.isfinite(from_files[0][list(subset)]).all()


def test_present_channels_do_not_depend_on_absent_ones(make_tiny_dataset):
    tiny = make_tiny_dataset()
    files = tiny.images("case_000")
    complete = run_files(tiny, files)[0]
    # Every channel fills the same box here, so cropping is the same and so must be the values.
    for subset in all_subsets(4):
        partial = run_files(tiny, [files[channel] for channel in subset])[0]
        np.testing.assert_array_equal(partial[list(subset)], complete[list(subset)])


def test_channel_comes_from_the_suffix_whatever_the_order_of_the_list(make_tiny_dataset):
    tiny = make_tiny_dataset()
    files = tiny.images("case_000")
    np.testing.assert_array_equal(run_files(tiny, files[::-1])[0], run_files(tiny, files)[0])


def test_the_crop_is_that_of_the_present_channels(make_tiny_dataset):
    tiny = make_tiny_dataset(names=("A", "B"))
    files = tiny.images("case_000")
    reader = PlansManager(tiny.plans).image_reader_writer_class()
    data, properties = reader.read_images(files)
    data[0, :, :, 8:] = 0  # A fills half of what B fills
    data[1] = np.nan
    cropped = run_array(tiny, data, properties)
    assert cropped[2]["bbox_used_for_cropping"][2][1] == 8


def test_the_callers_array_is_not_changed(make_tiny_dataset):
    tiny = make_tiny_dataset()
    data, properties = PlansManager(tiny.plans).image_reader_writer_class().read_images(tiny.images("case_000"))
    before = data.copy()
    run_array(tiny, data, properties)
    np.testing.assert_array_equal(data, before)


def test_segmentation_of_the_previous_stage_is_cropped_with_the_case(make_tiny_dataset):
    tiny = make_tiny_dataset()
    files, seg = tiny.images("case_000")[1:2], str(tiny.label("case_000"))
    ours = run_files(tiny, files, seg=seg, configuration="3d_cascade_fullres")
    assert ours[1].shape[1:] == ours[0].shape[1:]
    assert set(np.unique(ours[1])) <= {-1, 0, 1, 2, 3}
    assert (ours[1] == 3).any()


def test_a_previous_stage_needs_no_raw_dataset_where_its_dataset_json_lists_files(make_tiny_dataset):
    """As on a machine that predicts: the model's dataset.json is there, what it lists is not."""
    tiny = make_tiny_dataset()
    files, seg = tiny.images("case_000")[1:2], str(tiny.label("case_000"))
    expected = run_files(tiny, files, seg=seg, configuration="3d_cascade_fullres")[0]
    tiny.dataset_json["dataset"] = {"a": {"images": ["x.nii.gz"], "label": "y.nii.gz"}}
    (tiny.raw / "dataset.json").unlink()
    found = run_files(tiny, files, seg=seg, configuration="3d_cascade_fullres")[0]
    np.testing.assert_array_equal(found, expected)


def test_properties_say_what_was_present(make_tiny_dataset):
    tiny = make_tiny_dataset()
    report = run_files(tiny, tiny.images("case_000")[2:])[2]["missingmod"]
    assert report == {
        "case": "case_000",
        "present": ["T1ce", "T2"],
        "blank": [],
        "nonfinite_zeroed": {},
        "grid_distance_voxels": {},
        "headers": {},
        "copies": {},
    }


def test_saved_training_case_keeps_the_mark(make_tiny_dataset, preprocess):
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    tiny = make_tiny_dataset()
    tiny.image("case_000", 0).unlink()
    folder = preprocess(tiny, "3d_fullres", preprocessor="MissingModPreprocessor")
    data = nnUNetDatasetBlosc2(str(folder), ["case_000"]).load_case("case_000")[0][:]
    np.testing.assert_array_equal(np.isnan(data).all((1, 2, 3)), [True, False, False, False])


def test_one_and_five_modalities(make_tiny_dataset, tmp_path):
    for count in (1, 5):
        tiny = make_tiny_dataset(names=[f"M{i}" for i in range(count)], num_cases=1)
        data = run_files(tiny, tiny.images("case_000")[-1:])[0]
        assert data.shape[0] == count
        assert np.isnan(data).all((1, 2, 3)).sum() == count - 1
        for folder in chain(tmp_path.iterdir()):
            folder.rename(tmp_path.parent / f"{folder.name}_{count}_{tmp_path.name}")


def test_no_file_at_all_is_refused(make_tiny_dataset):
    tiny = make_tiny_dataset()
    manager = PlansManager(tiny.plans)
    with pytest.raises(CaseRefusedError, match=r"no modality at all.*_0000.nii.gz FLAIR.*_0003.nii.gz T2"):
        MissingModPreprocessor(verbose=False).run_case(
            [], None, manager, manager.get_configuration("3d_fullres"), tiny.dataset_json
        )


def test_unknown_key_of_the_block_is_refused(make_tiny_dataset):
    tiny = make_tiny_dataset()
    with pytest.raises(ValueError, match="nonfinit.*nearest known one is 'nonfinite'"):
        run_files(tiny, tiny.images("case_000"), block={"nonfinit": "zero"})


def test_a_block_where_nothing_reads_it_is_refused_in_training_alone(make_tiny_dataset, tmp_path):
    tiny = make_tiny_dataset()
    files, manager = tiny.images("case_000"), PlansManager(tiny.plans)
    expected = run_files(tiny, files)[0]
    tiny.plans["missingmod"] = {"nonfinite": "zero"}
    tiny.plans["configurations"]["3d_fullres"]["num_epochs"] = 5  # in the plans of a finished model
    np.testing.assert_array_equal(run_files(tiny, files)[0], expected)
    arguments = (manager, manager.get_configuration("3d_fullres"), tiny.dataset_json)
    with pytest.raises(ValueError, match='"missingmod" at their top, where nothing reads it. Move it'):
        MissingModPreprocessor(verbose=False).run_case_save(
            str(tmp_path / "case"), files, str(tiny.label("case_000")), *arguments
        )


def test_a_model_of_some_modalities_is_shown_no_others_in_a_cascade_too(make_tiny_dataset):
    tiny = make_tiny_dataset()
    seg, block = str(tiny.label("case_000")), {"modality_subset": [1, 2]}
    files = tiny.images("case_000")
    expected = run_files(tiny, files[1:3], seg=seg, configuration="3d_cascade_fullres")[0]
    Path(files[0]).write_bytes(b"torn")  # not even read
    found = run_files(tiny, files, seg=seg, configuration="3d_cascade_fullres", block=block)
    np.testing.assert_array_equal(found[0], expected)
    assert found[2]["missingmod"]["present"] == ["T1", "T1ce"]
    with pytest.raises(CaseRefusedError, match="trained on T1, T1ce alone"):
        run_files(tiny, files[3:], seg=seg, configuration="3d_cascade_fullres", block=block)


def test_training_data_has_all_modalities_whatever_subset_is_trained_on(make_tiny_dataset, tmp_path):
    tiny = make_tiny_dataset()
    tiny.plans["configurations"]["3d_fullres"]["missingmod"] = {"modality_subset": [1]}
    manager = PlansManager(tiny.plans)
    preprocessor = MissingModPreprocessor(verbose=False)
    files, label = tiny.images("case_000"), str(tiny.label("case_000"))
    preprocessor.run_case_save(
        str(tmp_path / "case"), files, label, manager, manager.get_configuration("3d_fullres"), tiny.dataset_json
    )
    properties = pickle.loads((tmp_path / "case.pkl").read_bytes())
    assert properties["missingmod"]["present"] == ["FLAIR", "T1", "T1ce", "T2"]


def test_dataset_json_may_be_given_as_a_path(make_tiny_dataset):
    tiny = make_tiny_dataset()
    manager = PlansManager(tiny.plans)
    data, _, _ = MissingModPreprocessor(verbose=False).run_case(
        tiny.images("case_000"), None, manager, manager.get_configuration("2d"), str(Path(tiny.raw) / "dataset.json")
    )
    assert len(data) == 4


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_that_normalisation_makes_is_no_absence_mark(make_tiny_dataset):
    tiny = make_tiny_dataset(num_cases=1)
    _, properties = read_host(tiny)
    data = np.random.default_rng(0).uniform(1, 3e38, (4, 18, 20, 22)).astype(np.float32)
    with pytest.raises(
        CaseRefusedError, match="FLAIR has voxels so large or so far apart that normalisation overflows"
    ):
        run_array(tiny, data, properties)


def read_host(tiny):
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    return SimpleITKIO().read_images(tiny.images("case_000"))


def test_damaged_segmentation_of_a_case_is_refused_by_name(make_tiny_dataset):
    tiny = make_tiny_dataset(num_cases=1)
    label = tiny.label("case_000")
    label.write_bytes(label.read_bytes()[:-30])
    with pytest.raises(
        CaseRefusedError, match=r"'case_000' refused: its segmentation .*case_000.nii.gz cannot be read"
    ):
        run_files(tiny, tiny.images("case_000"), seg=str(label))


@pytest.mark.parametrize("shape", [(2, 18, 20, 22), (5, 18, 20, 22), (18, 20, 22)])
def test_an_array_with_other_channels_than_the_modalities_is_refused_with_their_names(make_tiny_dataset, shape):
    tiny = make_tiny_dataset(num_cases=0)
    with pytest.raises(
        CaseRefusedError, match=r"an array of shape .* wants \(4, X, Y, Z\).* FLAIR, T1, T1ce, T2\. Fill"
    ):
        run_array(tiny, np.ones(shape, np.float32), {"spacing": [1.0] * 3})


TURNING, OTHERS = ["NibabelIOWithReorient", "SimpleITKIOWithReorient"], ["NibabelIO", "SimpleITKIO"]


@pytest.fixture
def make_lopsided(make_tiny_dataset):
    """Return a function that writes a case by nibabel, bright where its label is; its images' sform is mirrored."""

    def make(reader, *, sform_of_label):
        tiny = make_tiny_dataset(("T1",), num_cases=1, reader=reader)
        image = np.random.default_rng(0).uniform(1, 2, (18, 20, 22)).astype(np.float32)
        label = np.zeros(image.shape, np.uint8)
        label[2:6, 3:9, 4:12] = 1
        sforms = {"mirrored": np.diag([-1.0, 1, 1, 1]), "straight": np.eye(4)}
        for array, file, sform in (
            (image + 50 * label, tiny.image("case_000", 0), "mirrored"),
            (label, tiny.label("case_000"), sform_of_label),
        ):
            written = nibabel.Nifti1Image(array, np.eye(4))
            written.set_sform(sforms[sform], 1)
            written.set_qform(np.eye(4), 1)
            nibabel.save(written, file)
        return tiny

    return make


@pytest.mark.parametrize("transform", ["sform", "qform"])
@pytest.mark.parametrize("reader", TURNING + OTHERS)
def test_a_label_map_is_turned_by_the_transform_that_turns_its_images(make_lopsided, reader, transform):
    tiny = make_lopsided(reader, sform_of_label="mirrored")
    block, label = {"nifti_transform": transform}, str(tiny.label("case_000"))
    data, seg, _ = run_files(tiny, tiny.images("case_000"), seg=label, block=block)
    assert data[0][seg[0] == 1].min() > data[0][seg[0] == 0].max()


@pytest.mark.parametrize("reader", TURNING + OTHERS)
def test_a_label_map_off_its_images_is_refused_where_the_reader_would_turn_it_apart_from_them(make_lopsided, reader):
    tiny = make_lopsided(reader, sform_of_label="straight")
    block, label = {"nifti_transform": "sform"}, str(tiny.label("case_000"))
    if reader in TURNING:
        with pytest.raises(CaseRefusedError, match=r"its segmentation .*case_000.nii.gz lies 17 voxels off the images"):
            run_files(tiny, tiny.images("case_000"), seg=label, block=block)
    else:  # voxels are paired as they are stored, as nnU-Net does
        data, seg, _ = run_files(tiny, tiny.images("case_000"), seg=label, block=block)
        assert data[0][seg[0] == 1].min() > data[0][seg[0] == 0].max()
