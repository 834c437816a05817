"""Images from memory and many cases: the same segmentations as from files, in order, one bad case among them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from queue import Queue

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_missingmod import Predictor
from nnunet_missingmod.cases.files import CaseRefusedError

TRAINER = "nnUNetTrainerModalityDropout"
DOCUMENT = Path(__file__).parents[2] / "docs" / "howto_service.md"


@pytest.fixture
def tiny(make_tiny_dataset):
    return make_tiny_dataset(num_cases=2)


@pytest.fixture
def predictor(tiny, make_model):
    return Predictor.from_model_folder(make_model(tiny, TRAINER), device="cpu")


def read(tiny, case, channel):
    return sitk.ReadImage(str(tiny.image(case, channel)))


def test_images_from_memory_are_predicted_as_their_files(tiny, predictor):
    from_files = predictor.predict({"T1": tiny.image("case_000", 1), "T2": tiny.image("case_000", 3)})
    t1, t2 = read(tiny, "case_000", 1), read(tiny, "case_000", 3)
    made = predictor.predict({"t1": t1, "T2": tiny.image("case_000", 3)})
    np.testing.assert_array_equal(made.array, from_files.array)
    assert (made.present, made.report) == (from_files.present, {**from_files.report, "case": made.case})
    image = made.to_simpleitk()
    assert (image.GetSpacing(), image.GetOrigin(), image.GetDirection()) == (
        t1.GetSpacing(),
        t1.GetOrigin(),
        t1.GetDirection(),
    )
    spacing = t1.GetSpacing()[::-1]
    arrays = {name: (sitk.GetArrayFromImage(each), spacing) for name, each in (("T1", t1), ("T2", t2))}
    alone = predictor.predict(arrays)
    np.testing.assert_array_equal(alone.array, from_files.array)
    assert alone.case == "case"


def test_what_is_wrong_with_an_image_in_memory_is_said(tiny, predictor):
    t1 = read(tiny, "case_000", 1)
    spoilt = sitk.GetArrayFromImage(t1).astype(np.float32)
    spoilt[3, 3, 3] = np.nan
    spacing = t1.GetSpacing()[::-1]
    with pytest.raises(CaseRefusedError, match="T1 has 1 NaN or infinite voxels"):
        predictor.predict({"T1": (spoilt, spacing)})
    with pytest.raises(CaseRefusedError, match="an image in memory .T1. cannot be read: no voxel is finite"):
        predictor.predict({"T1": (np.full_like(spoilt, np.nan), spacing)})
    with pytest.raises(CaseRefusedError, match=r"different voxel grids.*in memory \(T2\): shape \(4, 20, 22\)"):
        predictor.predict({"T1": t1, "T2": (sitk.GetArrayFromImage(t1)[:4], spacing)})
    with pytest.raises(CaseRefusedError, match="T1 blank, the others absent"):
        predictor.predict({"T1": t1 * 0})
    with pytest.raises(CaseRefusedError, match="has two dimensions, but the model works on volumes"):
        predictor.predict({"T1": t1[:, :, 3]})
    predictor.predict({"T1": t1})


def test_many_come_in_order_and_errors_in_their_places(tiny, predictor):
    good = {"T1": read(tiny, "case_000", 1)}
    cases = [good, {"T1": good["T1"] * 0}, {"PET": good["T1"]}, {"T2": tiny.image("case_001", 3)}]
    made = list(predictor.predict_many(iter(cases), probabilities=True))
    for index, images in ((0, cases[0]), (3, cases[3])):
        alone = predictor.predict(images, probabilities=True)
        np.testing.assert_array_equal(made[index].array, alone.array)
        np.testing.assert_array_equal(made[index].probabilities, alone.probabilities)
    assert made[3].case == "case_001"
    assert isinstance(made[1], CaseRefusedError)
    assert "no modality 'PET'" in str(made[2])


def test_cases_may_come_from_a_queue_one_by_one(tiny, predictor):
    queue = Queue()
    made = predictor.predict_many(iter(queue.get, None))
    for channel, name in ((1, "T1"), (3, "T2")):
        queue.put({name: tiny.image("case_000", channel)})
        assert next(made).present == (name,)
    queue.put(None)
    assert list(made) == []


def test_an_array_that_is_used_again_for_the_next_case_is_copied_before(tiny, predictor):
    images = [read(tiny, "case_000", 1), read(tiny, "case_001", 1), read(tiny, "case_000", 3)]
    spacing = images[0].GetSpacing()[::-1]
    expected = [predictor.predict({"T1": image}).array for image in images]
    buffer, reused = np.empty_like(sitk.GetArrayFromImage(images[0])), sitk.Image(images[0])

    def arrays():
        for image in images:
            buffer[...] = sitk.GetArrayFromImage(image)
            yield {"T1": (buffer, spacing)}

    def of_simpleitk():
        for image in images:
            for index in np.ndindex(*image.GetSize()):
                reused[tuple(map(int, index))] = image[tuple(map(int, index))]
            yield {"T1": reused}

    for cases in (arrays(), of_simpleitk()):
        for made, array in zip(predictor.predict_many(cases), expected, strict=True):
            np.testing.assert_array_equal(made.array, array)


@pytest.mark.parametrize("error", [SystemExit("row 2 is broken"), KeyboardInterrupt(), ValueError("row 2 is broken")])
def test_whatever_ends_the_cases_is_raised_after_those_before_it(tiny, predictor, error):
    def cases():
        yield {"T1": tiny.image("case_000", 1)}
        raise error

    made = predictor.predict_many(cases())
    assert next(made).present == ("T1",)
    with pytest.raises(type(error)) as caught:
        next(made)
    assert caught.value is error


def test_at_least_one_case_is_prepared_and_finished_at_once(predictor):
    for numbers in ({"preparing": 0}, {"finishing": 0}, {"preparing": -1}):
        with pytest.raises(ValueError, match="preparing and finishing are 1 or more"):
            next(predictor.predict_many([], **numbers))


def test_a_cascades_second_stage_is_asked_for_one_by_one(make_tiny_dataset, make_model):
    model = make_model(make_tiny_dataset(num_cases=0), TRAINER, configuration="3d_cascade_fullres")
    with pytest.raises(RuntimeError, match="needs a previous stage's prediction: use predict"):
        next(Predictor.from_model_folder(model, device="cpu").predict_many([{}]))


def test_the_documents_python_runs(tiny, predictor, tmp_path, monkeypatch, capsys):
    shutil.copytree(predictor.model.folder, tmp_path / "MODEL")
    for name, channel in (("scan_a", 1), ("scan_b", 0)):
        shutil.copy(tiny.image("case_000", channel), tmp_path / f"{name}.nii.gz")
    monkeypatch.chdir(tmp_path)
    defined: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL)
    for block in blocks:
        exec(block, defined)
    assert len(blocks) == 3
    said = capsys.readouterr().out
    assert "('FLAIR', 'T1') {'WT'" in said
    assert "['PET'] The model has no modality 'PET'" in said
