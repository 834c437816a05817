"""The predictor of nnU-Net, in-process, with random weights, on files of incomplete cases in each format it reads."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from skimage import io

from nnunet_missingmod.trainers.nnUNetTrainerModalityDropout import nnUNetTrainerModalityDropout

NAMES = ("A", "B", "C")


def write(file, array, reader):
    file.parent.mkdir(parents=True, exist_ok=True)
    if reader == "NaturalImage2DIO":
        io.imsave(file, array, check_contrast=False)
    elif reader == "Tiff3DIO":
        tifffile.imwrite(file, array)
        (file.parent / "patient.json").write_text(json.dumps({"spacing": [1, 1, 1]}))
    else:
        sitk.WriteImage(sitk.GetImageFromArray(array), str(file))


def make_predictor(tiny, configuration, extra_channels=0):
    plans = nnUNetTrainerModalityDropout._with_choices(json.loads(json.dumps(tiny.plans)), configuration)
    manager = PlansManager(plans)
    chosen = manager.get_configuration(configuration)
    torch.manual_seed(0)
    num_channels = len(tiny.dataset_json["channel_names"]) + extra_channels
    network = nnUNetTrainerModalityDropout.build_network_architecture(manager, chosen, num_channels, 4, False)
    predictor = nnUNetPredictor(device=torch.device("cpu"), use_mirroring=False, allow_tqdm=False)
    predictor.manual_initialization(
        network, manager, chosen, [network.state_dict()], tiny.dataset_json, "nnUNetTrainerModalityDropout", None
    )
    return predictor


@pytest.mark.usefixtures("attached")
@pytest.mark.parametrize(
    ("file_ending", "reader", "configuration"),
    [
        (".nii.gz", "SimpleITKIO", "3d_fullres"),
        (".nii.gz", "NibabelIO", "3d_fullres"),
        (".nrrd", "SimpleITKIO", "3d_lowres"),
        (".mha", "SimpleITKIO", "2d"),
        (".png", "NaturalImage2DIO", "2d"),
        (".bmp", "NaturalImage2DIO", "2d"),
        (".tif", "NaturalImage2DIO", "2d"),
        (".tif", "Tiff3DIO", "3d_fullres"),
    ],
)
def test_a_case_without_its_first_file_is_segmented(make_tiny_dataset, tmp_path, file_ending, reader, configuration):
    schemes = ("ZScoreNormalization", "CTNormalization", "NoNormalization")
    tiny = make_tiny_dataset(names=NAMES, schemes=schemes, file_ending=file_ending, reader=reader, num_cases=0)
    shape = (24, 20) if reader == "NaturalImage2DIO" else (18, 20, 22)
    rng = np.random.default_rng(0)
    (tmp_path / "out").mkdir()
    files = []
    for channel in (1, 2):
        files.append(tmp_path / "in" / f"patient_{channel:04d}{file_ending}")
        write(files[-1], rng.integers(1, 255, shape).astype(np.uint8), reader)
    predictor = make_predictor(tiny, configuration)
    predictor.predict_from_files_sequential([[str(file) for file in files]], [str(tmp_path / "out" / "patient")])
    made = tmp_path / "out" / f"patient{file_ending}"
    kind = PlansManager(tiny.plans).image_reader_writer_class()
    predicted = kind.read_seg(str(made))[0]
    assert predicted.shape[-2:] == shape[-2:]
    assert set(np.unique(predicted)) <= {0, 1, 2, 3}


@pytest.mark.usefixtures("attached")
def test_a_cascade_segments_an_incomplete_case_from_the_previous_stage(make_tiny_dataset, tmp_path):
    tiny = make_tiny_dataset()
    case = tiny.cases[0]
    previous, out = tmp_path / "previous", tmp_path / "out"
    for folder in (previous, out):
        folder.mkdir()
    (previous / f"{case}.nii.gz").write_bytes(tiny.label(case).read_bytes())
    predictor = make_predictor(tiny, "3d_cascade_fullres", extra_channels=3)
    arguments = {"folder_with_segs_from_prev_stage": str(previous)}
    predictor.predict_from_files_sequential([tiny.images(case)[1:2]], [str(out / case)], **arguments)
    with_previous = sitk.GetArrayFromImage(sitk.ReadImage(str(out / f"{case}.nii.gz")))
    assert with_previous.shape == (18, 20, 22)
    empty = sitk.ReadImage(str(tiny.label(case))) * 0
    sitk.WriteImage(empty, str(previous / f"{case}.nii.gz"))
    predictor.predict_from_files_sequential([tiny.images(case)[1:2]], [str(out / case)], **arguments)
    without = sitk.GetArrayFromImage(sitk.ReadImage(str(out / f"{case}.nii.gz")))
    assert (with_previous != without).any(), "the previous stage must reach the network"
