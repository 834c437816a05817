"""Preprocessing once for all subsets gives the images of the case whose files are missing, bit for bit."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_missingmod.benchmarking.preparation import prepare_case
from nnunet_missingmod.cases.files import CaseRefusedError
from nnunet_missingmod.modalities import all_subsets
from nnunet_missingmod.preprocessing.preprocessor import MissingModPreprocessor

SCHEMES = ["ZScoreNormalization", "CTNormalization", "NoNormalization", "RescaleTo01Normalization"]


@pytest.fixture
def tiny(make_tiny_dataset):
    return make_tiny_dataset(num_cases=1, schemes=SCHEMES)


def model_of(tiny, configuration="3d_fullres", trained_on=None, **block):
    """What prepare_case needs of a model folder; no network is involved."""
    tiny.plans["configurations"][configuration]["missingmod"] = block
    plans_manager = PlansManager(tiny.plans)
    return SimpleNamespace(
        plans_manager=plans_manager,
        configuration_manager=plans_manager.get_configuration(configuration),
        dataset_json=tiny.dataset_json,
        modalities=tuple(tiny.dataset_json["channel_names"].values()),
        file_ending=tiny.dataset_json["file_ending"],
        trained_on=trained_on,
    )


def change(file, edit):
    """Rewrite an image with its array edited in place, its geometry kept."""
    image = sitk.ReadImage(str(file))
    array = sitk.GetArrayFromImage(image)
    edit(array)
    edited = sitk.GetImageFromArray(array)
    edited.CopyInformation(image)
    sitk.WriteImage(edited, str(file))


def files_of(tiny):
    return {channel: tiny.image(tiny.cases[0], channel) for channel in range(4)}


def check_all(tiny, model, prepared):
    """Each subset's images and properties are those of the host on its files alone."""
    seen = []
    for group in prepared.groups:
        for subset in group.subsets:
            seen.append(subset)
            data, _, properties = MissingModPreprocessor(verbose=False).run_case(
                [str(files_of(tiny)[channel]) for channel in subset],
                None,
                model.plans_manager,
                model.configuration_manager,
                model.dataset_json,
            )
            ours = group.data(4)
            ours[[c for c in range(4) if c not in subset]] = np.nan
            np.testing.assert_array_equal(ours, data)
            stuff = "sitk_stuff" if "sitk_stuff" in properties else "nibabel_stuff"
            for key in ("spacing", "shape_before_cropping", "bbox_used_for_cropping", stuff):
                np.testing.assert_equal(group.properties[key], properties[key])
    return seen


@pytest.mark.parametrize("configuration", ["3d_fullres", "3d_lowres", "2d"])
def test_one_mask_means_one_preprocessing(tiny, configuration):
    model = model_of(tiny, configuration)
    prepared = prepare_case(model, "c", files_of(tiny), all_subsets(4))
    assert len(prepared.groups) == 1
    assert prepared.present == ("FLAIR", "T1", "T1ce", "T2")
    assert check_all(tiny, model, prepared) == all_subsets(4)


def test_each_further_mask_means_one_more(tiny):
    def cut(array):
        array[:, :, :9] = 0

    change(tiny.image(tiny.cases[0], 1), cut)
    model = model_of(tiny)
    prepared = prepare_case(model, "c", files_of(tiny), all_subsets(4))
    assert [group.subsets for group in prepared.groups if (1,) in group.subsets] == [[(1,)]]
    assert len(prepared.groups) == 2
    assert sorted(check_all(tiny, model, prepared)) == sorted(all_subsets(4))


def test_a_model_of_some_modalities_is_grouped_by_these(tiny):
    """FLAIR is larger than all others, and hides nothing of how the others differ from a model that does not see it."""

    def cut(array):
        array[:, :, :9] = 0

    for channel in (1, 2, 3):
        change(tiny.image(tiny.cases[0], channel), cut if channel == 3 else lambda array: array[:, :, :4].fill(0))
    model = model_of(tiny, trained_on=(1, 3), modality_subset=[1, 3])
    subsets = [subset for subset in all_subsets(4) if set(subset) & {1, 3}]
    prepared = prepare_case(model, "c", files_of(tiny), subsets)
    assert sorted(check_all(tiny, model, prepared)) == sorted(subsets)
    assert {frozenset(group.images) for group in prepared.groups} == {frozenset({1, 3}), frozenset({3})}


def test_holes_inside_the_head_make_no_difference(tiny):
    def hollow(array):
        array[8:10, 8:10, 8:10] = 0

    change(tiny.image(tiny.cases[0], 2), hollow)
    model = model_of(tiny)
    prepared = prepare_case(model, "c", files_of(tiny), all_subsets(4))
    assert len(prepared.groups) == 1
    check_all(tiny, model, prepared)


def test_two_modalities_that_only_together_have_the_mask_of_a_third(tiny):
    def left(array):
        array[:, :, :11] = 0

    def right(array):
        array[:, :, 11:] = 0

    change(tiny.image(tiny.cases[0], 0), left)
    change(tiny.image(tiny.cases[0], 1), right)
    model = model_of(tiny)
    prepared = prepare_case(model, "c", files_of(tiny), all_subsets(4))
    assert len(prepared.groups) == 3  # the left half, the right half, everything
    check_all(tiny, model, prepared)


def test_headers_that_differ_within_the_tolerance_go_with_their_files(tiny):
    for channel in (1, 2, 3):
        file = tiny.image(tiny.cases[0], channel)
        image = sitk.ReadImage(str(file))
        image.SetOrigin((0.01 * channel, 0.0, 0.0))
        sitk.WriteImage(image, str(file))
    model = model_of(tiny)
    prepared = prepare_case(model, "c", files_of(tiny), all_subsets(4))
    assert len(prepared.groups) == 4
    assert sorted(check_all(tiny, model, prepared)) == sorted(all_subsets(4))


@pytest.mark.parametrize("reader", ["NibabelIOWithReorient", "SimpleITKIOWithReorient"])
def test_modalities_in_other_orientations_go_with_their_files(make_tiny_dataset, reader):
    tiny = make_tiny_dataset(num_cases=1, schemes=SCHEMES, reader=reader)
    for channel, orientation in ((1, "RAS"), (2, "PIR")):
        file = str(tiny.image("case_000", channel))
        sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(file), orientation), file)
    model = model_of(tiny)
    check_all(tiny, model, prepare_case(model, "case_000", files_of(tiny), all_subsets(4)))


def test_an_incomplete_case_has_the_subsets_of_what_is_there(tiny):
    files = files_of(tiny)
    del files[1]
    prepared = prepare_case(model_of(tiny), "c", files, all_subsets(4))
    assert prepared.present == ("FLAIR", "T1ce", "T2")
    assert sorted(s for g in prepared.groups for s in g.subsets) == sorted(s for s in all_subsets(4) if 1 not in s)


def test_a_blank_file_counts_as_absent(tiny):
    def blank(array):
        array[:] = 7

    change(tiny.image(tiny.cases[0], 3), blank)
    prepared = prepare_case(model_of(tiny), "c", files_of(tiny), all_subsets(4))
    assert prepared.present == ("FLAIR", "T1", "T1ce")
    assert all(3 not in subset for group in prepared.groups for subset in group.subsets)


def test_only_the_subsets_asked_for_are_prepared(tiny):
    prepared = prepare_case(model_of(tiny), "c", files_of(tiny), [(2,), (0, 2)])
    (group,) = prepared.groups
    assert group.subsets == [(2,), (0, 2)]
    assert sorted(group.images) == [0, 2]
    assert prepared.present == ("FLAIR", "T1", "T1ce", "T2")


def test_a_slice_refuses_the_case_of_a_model_of_volumes(tiny):
    for channel in (1, 3):
        file = tiny.image(tiny.cases[0], channel)
        sitk.WriteImage(sitk.ReadImage(str(file))[:, :, 9], str(file))
    files = {channel: tiny.image(tiny.cases[0], channel) for channel in (1, 3)}
    assert prepare_case(model_of(tiny, "2d"), tiny.cases[0], files, [(1, 3)]).groups
    with pytest.raises(CaseRefusedError, match="two dimensions, but the model works on volumes"):
        prepare_case(model_of(tiny), tiny.cases[0], files, [(1, 3)])


def test_a_damaged_file_refuses_the_case_by_name(tiny):
    file = tiny.image(tiny.cases[0], 2)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(CaseRefusedError, match=r"'c' refused: .*case_000_0002\.nii\.gz \(T1ce\) cannot be read"):
        prepare_case(model_of(tiny), "c", files_of(tiny), all_subsets(4))
