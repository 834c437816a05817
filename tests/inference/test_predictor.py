"""``Predictor`` gives what nnU-Net's own command gives, bit for bit, and says what it cannot use."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stdout

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from skimage import io as pictures

from nnunet_missingmod import Predictor
from nnunet_missingmod.cases.files import CaseRefusedError

TRAINER = "nnUNetTrainerModalityDropout"
NAMES = ("FLAIR", "T1", "T1ce", "T2")


def allow_mirroring(folder, axes):
    for file in folder.glob("fold_*/checkpoint_final.pth"):
        checkpoint = torch.load(file, weights_only=False)
        torch.save({**checkpoint, "inference_allowed_mirroring_axes": axes}, file)


def stock(folder, files, out, *, previous=None):
    """What ``nnUNetv2_predict -npp 0 -nps 0`` does with one case, whose model folder it reads itself."""
    out.mkdir(exist_ok=True)
    with redirect_stdout(io.StringIO()):
        predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(str(folder), None)
        predictor.predict_from_files_sequential(
            [[str(file) for file in files]],
            [str(out / "case")],
            save_probabilities=True,
            folder_with_segs_from_prev_stage=previous and str(previous),
        )
    return out / "case.nii.gz"


def place_oddly(tiny, case):
    """Give the files a position in space that no default has."""
    for channel in range(4):
        image = sitk.ReadImage(str(tiny.image(case, channel)))
        image.SetSpacing((1.5, 1.0, 2.5))
        image.SetOrigin((-30.5, 11.0, 4.25))
        image.SetDirection((0, -1, 0, 1, 0, 0, 0, 0, 1))
        sitk.WriteImage(image, str(tiny.image(case, channel)))


@pytest.fixture
def without_variables(monkeypatch):
    """Unset the folders of nnU-Net, which prediction from a model's folder does not need."""

    def unset():
        for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            monkeypatch.delenv(variable, raising=False)

    return unset


@pytest.mark.usefixtures("attached")
@pytest.mark.parametrize(
    ("configuration", "channels", "regions"),
    [("3d_fullres", (1, 3), False), ("2d", (0, 1, 2, 3), False), ("3d_lowres", (2,), True)],
)
def test_prediction_equals_the_stock_commands_bit_for_bit(
    make_tiny_dataset, make_model, tmp_path, without_variables, configuration, channels, regions
):
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3} if regions else None
    tiny = make_tiny_dataset(num_cases=1, labels=labels, regions_class_order=[1, 2, 3] if regions else None)
    case = tiny.cases[0]
    place_oddly(tiny, case)
    folder = make_model(tiny, TRAINER, configuration=configuration, folds=(0, 1))
    allow_mirroring(folder, (0, 1) if configuration == "2d" else (0, 1, 2))
    files = {channel: tiny.image(case, channel) for channel in channels}
    without_variables()
    expected = stock(folder, files.values(), tmp_path / "stock")

    predictor = Predictor.from_model_folder(folder, device="cpu")
    assert predictor.model.folds == (0, 1)
    made = predictor.predict({NAMES[channel]: file for channel, file in files.items()}, probabilities=True)
    assert len(np.unique(made.array)) > 1, "an empty prediction would be equal whatever happened"
    made.save(tmp_path / "ours" / "case.nii.gz")
    assert (tmp_path / "ours" / "case.nii.gz").read_bytes() == expected.read_bytes()
    ours, theirs = (np.load(folder / "case.npz")["probabilities"] for folder in (tmp_path / "ours", tmp_path / "stock"))
    np.testing.assert_array_equal(ours, theirs)

    image, reference = made.to_simpleitk(), sitk.ReadImage(str(expected))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(reference))
    for part in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(image, part)(), getattr(reference, part)(), atol=1e-6)
    assert made.spacing_mm == (2.5, 1.0, 1.5)
    assert made.present == tuple(NAMES[channel] for channel in channels)


@pytest.mark.usefixtures("attached")
def test_second_stage_of_a_cascade_equals_the_stock_command(make_tiny_dataset, make_model, tmp_path, without_variables):
    tiny = make_tiny_dataset(num_cases=1)
    case = tiny.cases[0]
    folder = make_model(tiny, TRAINER, configuration="3d_cascade_fullres")
    previous = tmp_path / "previous"
    previous.mkdir()
    (previous / f"{case}.nii.gz").write_bytes(tiny.label(case).read_bytes())
    without_variables()
    expected = stock(folder, [tiny.image(case, 2)], tmp_path / "stock", previous=previous)
    predictor = Predictor.from_model_folder(folder, device="cpu")
    made = predictor.predict({"T1ce": tiny.image(case, 2)}, previous_stage=previous / f"{case}.nii.gz")
    np.testing.assert_array_equal(made.array, sitk.GetArrayFromImage(sitk.ReadImage(str(expected))))
    with pytest.raises(CaseRefusedError, match="second stage of a cascade and needs the prediction of 3d_lowres"):
        predictor.predict({"T1ce": tiny.image(case, 2)})
    other = sitk.ReadImage(str(tiny.label(case)))[:-1]
    sitk.WriteImage(other, str(previous / f"{case}.nii.gz"))
    with pytest.raises(CaseRefusedError, match=r"has shape \(18, 20, 21\), the images have \(18, 20, 22\)"):
        predictor.predict({"T1ce": tiny.image(case, 2)}, previous_stage=previous / f"{case}.nii.gz")


def test_a_previous_stage_in_memory_is_refused_in_words(make_tiny_dataset, make_model):
    tiny = make_tiny_dataset(num_cases=1)
    predictor = Predictor.from_model_folder(make_model(tiny, TRAINER, configuration="3d_cascade_fullres"), device="cpu")
    with pytest.raises(ValueError, match="previous_stage is the path of a file, got ndarray: save it first"):
        predictor.predict({"T1ce": tiny.image("case_000", 2)}, previous_stage=np.zeros((18, 20, 22)))


def test_a_previous_stage_of_other_values_than_labels_is_refused(make_tiny_dataset, make_model, tmp_path):
    tiny = make_tiny_dataset()
    predictor = Predictor.from_model_folder(make_model(tiny, TRAINER, configuration="3d_cascade_fullres"), device="cpu")
    label = sitk.ReadImage(str(tiny.label("case_000")))
    sitk.WriteImage(sitk.Cast(label > 0, sitk.sitkUInt8) * 255, str(tmp_path / "white.nii.gz"))
    with pytest.raises(CaseRefusedError, match="255"):
        predictor.predict({"T1ce": tiny.image("case_000", 2)}, previous_stage=tmp_path / "white.nii.gz")


def test_a_model_of_some_modalities_is_shown_no_others(make_tiny_dataset, make_model, tmp_path):
    tiny = make_tiny_dataset()
    folder = make_model(tiny, TRAINER, modality_subset=["T1"])
    predictor = Predictor.from_model_folder(folder, device="cpu")
    t1 = tiny.image("case_000", 1)
    alone = predictor.predict({"T1": t1})
    # Of other extent than T1: cropping and the mask of normalisation would follow it.
    flair = sitk.ReadImage(str(tiny.image("case_000", 0)))
    sitk.WriteImage(flair * 0 + sitk.Cast(flair, sitk.sitkFloat32) + 7, str(tmp_path / "flair.nii.gz"))
    torn = tmp_path / "torn.nii.gz"
    torn.write_bytes(tiny.image("case_000", 3).read_bytes()[:-50])
    both = predictor.predict({"FLAIR": tmp_path / "flair.nii.gz", "T1": t1, "T2": torn})
    assert both.present == ("T1",)
    np.testing.assert_array_equal(both.array, alone.array)
    with pytest.raises(CaseRefusedError, match=r'trained on T1 alone \("modality_subset"\). Give these'):
        predictor.predict({"FLAIR": tmp_path / "flair.nii.gz"})
    stock = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    stock.initialize_from_trained_model_folder(str(folder), (0,), "checkpoint_final.pth")
    preprocessor = stock.configuration_manager.preprocessor_class(verbose=False)
    for files in ([t1], [tiny.image("case_000", 0), t1]):
        data, _, properties = preprocessor.run_case(
            [str(file) for file in files], None, stock.plans_manager, stock.configuration_manager, stock.dataset_json
        )
        assert properties["missingmod"]["present"] == ["T1"]
        assert np.isnan(data[[0, 2, 3]]).all()


def test_a_previous_stage_that_the_model_does_not_have_is_refused(make_tiny_dataset, make_model):
    tiny = make_tiny_dataset(num_cases=1)
    predictor = Predictor.from_model_folder(make_model(tiny, TRAINER), device="cpu")
    with pytest.raises(CaseRefusedError, match="3d_fullres has no previous stage"):
        predictor.predict({"T2": tiny.image("case_000", 3)}, previous_stage=tiny.label("case_000"))


def test_names_decide_the_channel_and_file_names_do_not(make_tiny_dataset, make_model, tmp_path, capsys):
    tiny = make_tiny_dataset(num_cases=1)
    predictor = Predictor.from_model_folder(make_model(tiny, TRAINER), device="cpu")
    named_otherwise = tmp_path / "anything_0000.nii.gz"
    named_otherwise.write_bytes(tiny.image("case_000", 2).read_bytes())
    made = predictor.predict({"T1ce": named_otherwise})
    np.testing.assert_array_equal(made.array, predictor.predict({"T1ce": tiny.image("case_000", 2)}).array)
    assert (made.array != predictor.predict({"FLAIR": named_otherwise}).array).any()
    capsys.readouterr()
    predictor.predict({"T1ce": named_otherwise})
    assert capsys.readouterr().out == "", "a library prints nothing"


def test_stock_models_are_given_zeros_in_place_of_absent_modalities(make_tiny_dataset, make_model):
    tiny = make_tiny_dataset(num_cases=1)
    predictor = Predictor.from_model_folder(make_model(tiny, "nnUNetTrainer"), device="cpu")
    made = predictor.predict({"T1": tiny.image("case_000", 1)}, probabilities=True)
    assert made.present == ("T1",)
    assert np.isfinite(made.probabilities).all()


def test_weights_so_large_that_the_output_is_no_number_predict_nothing(make_tiny_dataset, make_model):
    tiny = make_tiny_dataset(num_cases=1)
    folder = make_model(tiny, "nnUNetTrainer")
    file = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    for value in checkpoint["network_weights"].values():
        value.mul_(1e7)  # of a layer that has several names, several times
    torch.save(checkpoint, file)
    predictor = Predictor.from_model_folder(folder, device="cpu")
    with pytest.raises(CaseRefusedError, match=r"'case_000' refused: the network's output is not finite.*initial_lr"):
        predictor.predict({"T1": tiny.image("case_000", 1)}, case="case_000")


def test_rgb_image_in_one_file_is_predicted_and_saved(make_tiny_dataset, make_model, tmp_path):
    tiny = make_tiny_dataset(names=("R", "G", "B"), file_ending=".png", reader="NaturalImage2DIO", num_cases=0)
    pixels = np.random.default_rng(0).integers(1, 255, (20, 24, 3)).astype(np.uint8)
    pictures.imsave(tmp_path / "scan.png", pixels, check_contrast=False)
    predictor = Predictor.from_model_folder(make_model(tiny, TRAINER, configuration="2d"), device="cpu")
    made = predictor.predict({"R": tmp_path / "scan.png"})
    assert made.present == ("R", "G", "B")
    assert made.array.shape == (1, 20, 24)
    made.save(tmp_path / "out" / "scan.png")
    np.testing.assert_array_equal(pictures.imread(tmp_path / "out" / "scan.png"), made.array[0])
    with pytest.raises(ValueError, match="keeps no geometry"):
        made.to_simpleitk()


def test_3d_tiff_whose_spacing_would_not_be_found_is_refused(make_tiny_dataset, make_model, tmp_path):
    tiny = make_tiny_dataset(file_ending=".tif", reader="Tiff3DIO", num_cases=0)
    predictor = Predictor.from_model_folder(make_model(tiny, TRAINER), folds=0, device="cpu")
    voxels = np.random.default_rng(0).integers(1, 255, (18, 20, 22)).astype(np.uint8)
    (tmp_path / "scan.json").write_text(json.dumps({"spacing": [2, 1, 1]}))
    for name in ("scan.tif", "scan_0007.tif"):
        tifffile.imwrite(tmp_path / name, voxels)
    with pytest.raises(CaseRefusedError, match=r"scan\.tif \(T1\) must be called CASE_0001\.tif"):
        predictor.predict({"T1": tmp_path / "scan.tif"})
    assert predictor.predict({"T1": tmp_path / "scan_0007.tif"}).spacing_mm == (2.0, 1.0, 1.0)


def test_overrides_change_what_is_accepted_and_not_the_model(make_tiny_dataset, make_model, tmp_path):
    tiny = make_tiny_dataset(num_cases=1)
    folder = make_model(tiny, TRAINER)
    image = sitk.ReadImage(str(tiny.image("case_000", 0)))
    array = sitk.GetArrayFromImage(image)
    array[9, 10, 11] = np.nan
    spoilt = tmp_path / "spoilt.nii.gz"
    changed = sitk.GetImageFromArray(array)
    changed.CopyInformation(image)
    sitk.WriteImage(changed, str(spoilt))
    strict = Predictor.from_model_folder(folder, device="cpu")
    with pytest.raises(CaseRefusedError, match=r"Case 'spoilt' refused: FLAIR has 1 NaN"):
        strict.predict({"FLAIR": spoilt})
    lenient = Predictor.from_model_folder(folder, device="cpu", overrides={"nonfinite": "zero"})
    assert lenient.predict({"FLAIR": spoilt}).report["nonfinite_zeroed"] == {"FLAIR": 1}
    assert lenient.model.fingerprint == strict.model.fingerprint
    with pytest.raises(ValueError, match="Only blank_is_absent, nonfinite, .* can be overridden, not num_epochs"):
        Predictor.from_model_folder(folder, device="cpu", overrides={"num_epochs": 3})
    with pytest.raises(ValueError, match="geometry_tolerance_voxels must be number, at least 0, got -1"):
        Predictor.from_model_folder(folder, device="cpu", overrides={"geometry_tolerance_voxels": -1})


def test_the_package_offers_it_without_importing_torch():
    code = (
        "import sys, nnunet_missingmod\n"
        "assert 'Predictor' in nnunet_missingmod.__all__\n"
        "assert not {'torch', 'numpy', 'nnunetv2'} & set(sys.modules)\n"
        "try:\n    nnunet_missingmod.Preditcor\nexcept AttributeError as error:\n    assert 'Preditcor' in str(error)\n"
        "else:\n    raise AssertionError\n"
        "assert nnunet_missingmod.Predictor.__module__ == 'nnunet_missingmod.inference.predictor'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
