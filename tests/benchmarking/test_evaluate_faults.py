"""What a stranger may meet: damaged models beside good ones, other labels, formats, orientations, many modalities."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

from nnunet_missingmod.cli import main
from nnunet_missingmod.evaluation.model_card import FILE_NAME, read_card
from nnunet_missingmod.evaluation.scores import read_scores


@pytest.fixture
def tiny(two_fold_dataset):
    return two_fold_dataset


@pytest.fixture
def folder(tiny, make_model):
    return make_model(tiny, "nnUNetTrainerSharedBackbone", folds=(0, 1))


def evaluate(*arguments):
    return main(["evaluate", *map(str, arguments), "--device", "cpu", "--disable_tta"])


def rewrite(file, edit):
    """Change the voxels of an image, its geometry kept."""
    image = sitk.ReadImage(str(file))
    changed = sitk.GetImageFromArray(edit(sitk.GetArrayFromImage(image)))
    changed.CopyInformation(image)
    sitk.WriteImage(changed, str(file))


def brats_of_2021(labels):
    return np.where(labels == 3, 4, labels).astype(np.uint8)


DAMAGES = {
    "checkpoint of noise": ("fold_0/checkpoint_final.pth", b"\x80garbage"),
    "plans without configurations": ("plans.json", b'{"dataset_name": "Dataset901_Tiny", "configurations": {}}'),
    "plans that are a list": ("plans.json", b"[]"),
    "plans that are torn": ("plans.json", b'{"dataset_name": "Data'),
    "labels null": (
        "dataset.json",
        b'{"channel_names": {"0": "T1", "1": "T2"}, "labels": null, "file_ending": ".nii.gz"}',
    ),
    "labels that are words": (
        "dataset.json",
        b'{"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "ET": "x"}, "file_ending": ".nii.gz"}',
    ),
    "no channels": ("dataset.json", b'{"labels": {"background": 0, "ET": 1}, "file_ending": ".nii.gz"}'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_alone_does_not_start_and_beside_another_is_a_failure(
    tiny, folder, make_model, tmp_path, capsys, numbers_only, damage
):
    stock = make_model(tiny, "nnUNetTrainer", folds=(0,))
    name, content = DAMAGES[damage]
    (stock / name).write_bytes(content)
    assert evaluate(stock, "-o", tmp_path / "out", "--subsets", "full") == 2
    error = capsys.readouterr().err
    assert str(stock) in error
    assert "unexpected" not in error
    assert not (tmp_path / "out").exists()
    assert evaluate(stock, folder, "-o", tmp_path / "out", "--subsets", "full", "-f", "0") == 1
    error = capsys.readouterr().err
    assert "1 failed:\n  nnUNetTrainer" in error
    assert {row.model for row in read_scores(tmp_path / "out" / "scores.csv")} == {"nnUNetTrainerSharedBackbone"}


@pytest.mark.parametrize("entry", ["patch_size", "resampling_fn_probabilities", "normalization_schemes"])
def test_plans_that_lack_an_entry_end_no_other_model(tiny, folder, make_model, tmp_path, capsys, numbers_only, entry):
    stock = make_model(tiny, "nnUNetTrainer", folds=(0,))
    plans = json.loads((stock / "plans.json").read_text())
    del plans["configurations"]["3d_fullres"][entry]
    (stock / "plans.json").write_text(json.dumps(plans))
    assert evaluate(stock, "-o", tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()
    assert evaluate(stock, folder, "-o", tmp_path / "out", "--subsets", "full", "-f", "0") == 1
    assert f"nnUNetTrainer, fold 0: plans.json or dataset.json of {stock} cannot be used" in capsys.readouterr().err


def test_subsets_that_no_case_has_are_said_and_counted_as_no_failure(tiny, folder, tmp_path, capsys):
    for case in tiny.cases:
        tiny.image(case, 0).unlink()
    assert evaluate(folder, "-o", tmp_path / "out", "--subsets", "full") == 1
    error = capsys.readouterr().err
    assert "Nothing could be scored: no case has the modalities of any subset" in error
    assert "failed:" not in error


def test_references_of_an_older_numbering_are_refused_before_anything_is_predicted(tiny, folder, tmp_path, capsys):
    for case in tiny.cases[1:]:
        rewrite(tiny.label(case), brats_of_2021)
    assert evaluate(folder, "-o", tmp_path / "out") == 2
    # case_000 has a 3, too, so that this is not BraTS's habit.
    assert "case_001 holds 4; case_002 holds 4; case_003 holds 4. Correct these" in capsys.readouterr().err
    rewrite(tiny.label(tiny.cases[0]), brats_of_2021)
    assert evaluate(folder, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "case_000 holds 4" in error
    assert "add --map-labels 4=3" in error
    assert not (tmp_path / "out").exists()
    assert not (folder / FILE_NAME).exists()


def test_mapped_labels_give_the_scores_pictures_and_card_of_the_labels_themselves(tiny, folder, tmp_path, monkeypatch):
    assert evaluate(folder, "-o", tmp_path / "plain") == 0
    expected = read_card(folder / FILE_NAME)
    for case in tiny.cases:
        rewrite(tiny.label(case), brats_of_2021)
    assert evaluate(folder, "-o", tmp_path / "mapped", "--map-labels", "4=3") == 0
    for name in ("scores.csv", "figures/cases.png", "figures/latents.png", "tables/dice_by_subset.csv"):
        assert (tmp_path / "mapped" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes(), name
    card = read_card(folder / FILE_NAME)
    assert card.expected(["T1"]) == expected.expected(["T1"])
    assert card.provenance["labels of references"] == "read 4 as 3 (--map-labels)"
    assert "read 4 as 3" in (tmp_path / "mapped" / "report.html").read_text()


def test_a_reference_that_is_none_costs_its_case_and_all_of_them_the_start(
    tiny, folder, tmp_path, capsys, numbers_only
):
    tiny.label(tiny.cases[0]).write_text("no image")
    assert evaluate(folder, "-o", tmp_path / "out", "--subsets", "full") == 1
    assert "1 failed:\n  case case_000: its reference: " in capsys.readouterr().err
    assert {row.case for row in read_scores(tmp_path / "out" / "scores.csv")} == set(tiny.cases[1:])
    for case in tiny.cases:
        tiny.label(case).write_text("no image")
    assert evaluate(folder, "-o", tmp_path / "all") == 2
    assert "There is no case to evaluate on.\ncase case_000: its reference: " in capsys.readouterr().err
    assert not (tmp_path / "all").exists()


def test_a_case_that_splits_final_took_from_the_training_is_not_scored(tiny, make_model, tmp_path, capsys):
    from nnunet_missingmod.training.split import write_split

    folder = make_model(tiny, "nnUNetTrainer", folds=(0,))
    write_split(folder / "fold_0", tiny.cases[:2], tiny.cases[2:])
    (tiny.preprocessed / "splits_final.json").write_text(json.dumps([{"train": tiny.cases[1:], "val": tiny.cases[:1]}]))
    assert evaluate(folder, "-o", tmp_path / "out") == 2
    assert "was trained on case_000" in capsys.readouterr().err
    assert not (folder / FILE_NAME).exists()


def test_what_could_not_be_checked_is_on_the_screen_and_in_the_report(tiny, make_model, tmp_path, capsys):
    folder = make_model(tiny, "nnUNetTrainer", folds=(0,))
    for file in (folder / "fold_0").glob("[!c]*"):
        file.unlink()
    assert evaluate(folder, "-o", tmp_path / "out", "--subsets", "full") == 0
    assert "nnUNetTrainer: fold_0 has no split.json and no finished validation" in capsys.readouterr().err
    assert "could not be checked" in (tmp_path / "out" / "report.html").read_text()


def test_a_test_folder_is_read_as_predict_reads_one(tiny, folder, tmp_path, capsys, numbers_only):
    images, labels = tmp_path / "images", tmp_path / "labels"
    shutil.copytree(tiny.raw / "imagesTr", images)
    shutil.copytree(tiny.raw / "labelsTr", labels)
    first, second, third, fourth = tiny.cases
    image = sitk.ReadImage(str(images / f"{first}_0001.nii.gz"))
    sitk.WriteImage(image, str(images / f"{first}_0001.nii"))
    (images / f"{first}_0001.nii.gz").unlink()
    (images / f"._{second}_0000.nii.gz").write_bytes(b"\0\5\x16\7")
    (labels / f"._{second}.nii.gz").write_bytes(b"\0\5\x16\7")
    (images / f"{third}_t1ce.nii.gz").write_bytes((images / f"{third}_0000.nii.gz").read_bytes())
    (labels / f"{fourth}.nii.gz").rename(labels / f"{fourth}.nii")
    shutil.copy(labels / f"{second}.nii.gz", labels / "lonely.nii.gz")
    assert evaluate(folder, "-i", images, "-ref", labels, "-o", tmp_path / "out", "--subsets", "full") == 1
    error = capsys.readouterr().err
    assert "3 failed:" in error
    assert f"case {first}: {first}_0001.nii: not called as a channel's file" in error
    assert f"case {third}: {third}_t1ce.nii.gz: not called as a channel's file" in error
    assert f"{fourth}.nii.gz does not exist. {fourth}.nii is not called so: rename or convert." in error
    assert "References without images" in error
    assert "lonely." in error
    assert {row.case for row in read_scores(tmp_path / "out" / "scores.csv")} == {second}
    assert "lonely" in numbers_only[0]["provenance"]["note on nnUNetTrainerSharedBackbone"]


def test_3d_tiff_has_the_spacing_of_its_json_and_leaves_nothing_behind(make_tiny_dataset, make_model, tmp_path):
    tiny = make_tiny_dataset(("T1", "T2"), num_cases=2, file_ending=".tif", reader="Tiff3DIO")
    rng = np.random.default_rng(0)
    places = []
    for spacing in ([1, 1, 1], [3, 2, 2]):
        place = tmp_path / f"spacing{spacing[0]}"
        for name in ("images", "labels"):
            (place / name).mkdir(parents=True)
        for case in tiny.cases:
            label = np.zeros((12, 20, 22), np.uint8)
            label[4:8, 5:12, 6:14] = rng.integers(1, 4, (4, 7, 8))
            for channel in (0, 1):
                image = rng.uniform(1, 100, label.shape).astype(np.float32)
                tifffile.imwrite(place / "images" / f"{case}_{channel:04d}.tif", image)
            tifffile.imwrite(place / "labels" / f"{case}.tif", label)
            for name in ("images", "labels"):
                (place / name / f"{case}.json").write_text(json.dumps({"spacing": spacing}))
        places.append(place)
        rng = np.random.default_rng(0)
    folder = make_model(tiny, "nnUNetTrainerSharedBackbone")
    for place in places:
        out = place / "out"
        assert evaluate(folder, "-i", place / "images", "-ref", place / "labels", "-o", out) == 0
        files = {str(file.relative_to(out / "predictions")) for file in (out / "predictions").rglob("*.*")}
        model = "nnUNetTrainerSharedBackbone"
        assert files == {
            *(f"{model}/records/{case}.json" for case in tiny.cases),
            *(
                f"{model}/{subset}/{case}{ending}"
                for subset in ("T1", "T2", "T1+T2")
                for case in tiny.cases
                for ending in (".tif", ".json")
            ),
        }
        spacing = json.loads((place / "images" / f"{tiny.cases[0]}.json").read_text())["spacing"]
        written = out / "predictions" / model / "T1" / f"{tiny.cases[0]}.json"
        assert json.loads(written.read_text())["spacing"] == spacing
        rows = read_scores(out / "scores.csv")
        expected = np.linalg.norm(np.multiply((12, 20, 22), spacing))
        assert [row.diagonal_mm for row in rows] == pytest.approx([expected] * len(rows))


def test_modalities_of_different_orientations_are_scored_for_every_subset(make_tiny_dataset, make_model, tmp_path):
    tiny = make_tiny_dataset(("T1", "T2"), num_cases=2, reader="NibabelIOWithReorient")
    (tiny.preprocessed / "splits_final.json").write_text(json.dumps([{"train": tiny.cases[:1], "val": tiny.cases[1:]}]))
    folder = make_model(tiny, "nnUNetTrainerSharedBackbone", folds=(0,))
    case = tiny.cases[1]
    assert evaluate(folder, "-o", tmp_path / "straight") == 0
    turned = nibabel.load(tiny.image(case, 1)).as_reoriented(np.array([[0, -1], [1, 1], [2, -1]]))
    data = turned.get_fdata().astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, turned.affine), tiny.image(case, 1))
    assert evaluate(folder, "-o", tmp_path / "turned") == 0
    straight, scores = (read_scores(tmp_path / name / "scores.csv") for name in ("straight", "turned"))
    assert {row.subset for row in scores} == {"T1", "T2", "T1+T2"}
    assert scores == straight
    predictions = tmp_path / "turned" / "predictions" / "nnUNetTrainerSharedBackbone"
    for subset, channel in (("T1", 0), ("T2", 1), ("T1+T2", 0)):
        written = nibabel.load(predictions / subset / f"{case}.nii.gz").affine
        np.testing.assert_allclose(written, nibabel.load(tiny.image(case, channel)).affine, err_msg=subset)


def test_one_modality_is_evaluated_from_end_to_end(make_tiny_dataset, make_model, tmp_path):
    tiny = make_tiny_dataset(("CT",), num_cases=4)
    splits = [{"train": tiny.cases[:2], "val": tiny.cases[2:]}]
    (tiny.preprocessed / "splits_final.json").write_text(json.dumps(splits))
    ours = make_model(tiny, "nnUNetTrainerSharedBackbone")
    stock = make_model(tiny, "nnUNetTrainer")
    assert evaluate(ours, stock, "-o", tmp_path / "out") == 0
    rows = read_scores(tmp_path / "out" / "scores.csv")
    assert {(row.subset, row.num_present) for row in rows} == {("CT", 1)}
    for name in ("report.html", "figures/cases.png", "figures/dice_by_subset.png", "tables/comparisons.csv"):
        assert (tmp_path / "out" / name).stat().st_size > 0, name
    assert read_card(ours / FILE_NAME).modalities == ("CT",)


def test_many_modalities_are_evaluated_on_the_subsets_that_are_named(make_tiny_dataset, make_model, tmp_path, capsys):
    names = [f"b{index}" for index in range(26)]
    tiny = make_tiny_dataset(names, num_cases=2)
    (tiny.preprocessed / "splits_final.json").write_text(json.dumps([{"train": tiny.cases[:1], "val": tiny.cases[1:]}]))
    folder = make_model(tiny, "nnUNetTrainerSharedBackbone")
    assert evaluate(folder, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "26 modalities have 67,108,863 subsets: say with --subsets which of them to evaluate: alone" in error
    assert not (tmp_path / "out").exists()
    assert evaluate(folder, "-o", tmp_path / "out", "--subsets", "full", "random:3", "b3+b4") == 0
    rows = read_scores(tmp_path / "out" / "scores.csv")
    assert len({row.subset for row in rows}) == 5
    assert {"b3+b4", "+".join(names)} <= {row.subset for row in rows}


def test_colour_pictures_are_evaluated(make_tiny_dataset, make_model, tmp_path):
    from skimage import io

    tiny = make_tiny_dataset(("R", "G", "B"), num_cases=2, reader="NaturalImage2DIO")
    tiny.dataset_json["file_ending"] = ".png"
    rng = np.random.default_rng(0)
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    for case in tiny.cases:
        picture = rng.integers(0, 255, (24, 26, 3), dtype=np.uint8)
        label = np.zeros((24, 26), np.uint8)
        label[4:12, 5:15] = rng.integers(1, 4, (8, 10))
        io.imsave(images / f"{case}_0000.png", picture, check_contrast=False)
        io.imsave(labels / f"{case}.png", label, check_contrast=False)
    folder = make_model(tiny, "nnUNetTrainerSharedBackbone", configuration="2d")
    assert evaluate(folder, "-i", images, "-ref", labels, "-o", tmp_path / "out") == 0
    rows = read_scores(tmp_path / "out" / "scores.csv")
    assert [row.diagonal_mm for row in rows] == pytest.approx([np.hypot(24, 26)] * len(rows))
    assert len({row.subset for row in rows}) == 7
    assert (tmp_path / "out" / "figures" / "cases.png").stat().st_size > 0
