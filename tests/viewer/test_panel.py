"""The panel, without a screen: layers get modalities, a real model segments them, the answer is a layer.

It needs the extra ``napari`` and skips without it; napari warns of much that is not ours, so call pytest with
``-o filterwarnings=default``.
"""

from __future__ import annotations

import os
import time
from importlib import import_module
from importlib.resources import files

import numpy as np
import pytest
import SimpleITK as sitk
from known_card import write_known_card

from nnunet_missingmod import Predictor
from nnunet_missingmod.viewer.volumes import find_reader

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
pytest.importorskip("napari")
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def panel():
    from napari.components import ViewerModel
    from qtpy.QtWidgets import QApplication

    from nnunet_missingmod.viewer.panel import SegmentationPanel

    application = QApplication.instance() or QApplication([])
    made = SegmentationPanel(ViewerModel())
    made.process_events = application.processEvents
    made.segmenter._device = "cpu"
    yield made
    made.close()


@pytest.fixture
def model(make_tiny_dataset, make_model):
    tiny = make_tiny_dataset(num_cases=1)
    folder = make_model(tiny, "nnUNetTrainerModalityDropout")
    write_known_card(Predictor.from_model_folder(folder, device="cpu").model)
    return tiny, folder


def wait(panel, seconds=120):
    deadline = time.monotonic() + seconds
    while panel.segmenter.is_busy and time.monotonic() < deadline:
        panel.process_events()
        time.sleep(0.02)
    assert not panel.segmenter.is_busy


def add(panel, file, **more):
    ((data, described, _),) = find_reader(str(file))(str(file))
    return panel.viewer.add_image(data, **{**described, **more})


def chosen(panel):
    return {layer.name: box.currentText() for layer, box in panel.choices.items()}


def test_volumes_are_segmented_and_what_to_expect_is_said(panel, model):
    tiny, folder = model
    assert not panel.segment_button.isEnabled()
    t1 = add(panel, tiny.image("case_000", 1))
    panel.model.setText(str(folder))
    panel.open_model()
    assert not panel.open_button.isEnabled()
    wait(panel)
    assert panel.said.text() == "The model takes FLAIR, T1, T1ce, T2, or any of them."
    t2 = add(panel, tiny.image("case_000", 3), name="of unknown kind")
    assert chosen(panel) == {"case_000_0001": "T1", "of unknown kind": "not used"}
    panel.choices[t2].setCurrentText("T1")
    panel.segment()
    assert panel.said.text() == "Two layers are T1: choose one of them."
    panel.choices[t2].setCurrentText("T2")
    panel.segment()
    assert not panel.segment_button.isEnabled()
    wait(panel)
    labels = panel.viewer.layers["segmentation (T1+T2)"]
    expected = Predictor.from_model_folder(folder, device="cpu").predict(
        {"T1": tiny.image("case_000", 1), "T2": tiny.image("case_000", 3)}
    )
    np.testing.assert_array_equal(labels.data, expected.array)
    np.testing.assert_array_equal(labels.scale, t1.scale)
    said = panel.said.text().splitlines()
    assert said[0] == "Segmented from T1, T2."
    assert said[1].startswith("T1+T2: expected Dice WT 40.0")
    assert "would gain most" in said[2]
    assert said[3].startswith("Volumes: WT ")
    assert chosen(panel) == {"case_000_0001": "T1", "of unknown kind": "T2"}


def test_what_cannot_be_done_is_said(panel, model):
    _, folder = model
    panel.model.setText(str(folder / "none"))
    panel.open_model()
    wait(panel)
    assert "none" in panel.said.text()
    panel.model.setText(str(folder))
    panel.open_model()
    wait(panel)
    panel.segment()
    assert panel.said.text() == "Say which modality a layer is, for one at least."
    layer = panel.viewer.add_image(np.full((18, 20, 22), np.nan, np.float32), name="t1")
    assert chosen(panel) == {"t1": "T1"}
    panel.segment()
    wait(panel)
    assert "no voxel is finite" in panel.said.text()
    panel.viewer.layers.remove(layer)
    assert chosen(panel) == {}
    layer = panel.viewer.add_image(np.random.default_rng(0).normal(size=(18, 20, 22)), name="t2", scale=(2, 1, 1))
    panel.segment()
    wait(panel)
    np.testing.assert_array_equal(panel.viewer.layers[-1].scale, (2, 1, 1))


def test_arrays_that_lie_differently_are_refused_and_named(panel, model):
    _, folder = model
    values = np.random.default_rng(0).normal(size=(18, 20, 22))
    panel.viewer.add_image(values, name="t1", scale=(2, 1, 1))
    t2 = panel.viewer.add_image(values + 1, name="t2", scale=(2, 1, 1), translate=(0, 7, 0))
    panel.model.setText(str(folder))
    panel.open_model()
    wait(panel)
    panel.segment()
    assert panel.said.text().startswith("The layers t1 and t2 lie differently (7 voxels apart)")
    t2.translate = (0, 0, 0)
    t2.affine = np.diag([1, 1, -1, 1])
    panel.segment()
    assert panel.said.text().startswith("The layers t1 and t2 lie differently (42 voxels apart)")
    t2.affine = np.eye(4)
    panel.segment()
    wait(panel)
    assert panel.said.text().startswith("Segmented from T1, T2.")


def test_labels_lie_on_the_layer_of_the_first_channel_whatever_the_reader_did(
    panel, make_tiny_dataset, make_model, tmp_path
):
    tiny = make_tiny_dataset(num_cases=1, reader="NibabelIOWithReorient")
    folder = make_model(tiny, "nnUNetTrainerModalityDropout")
    image = sitk.ReadImage(str(tiny.image("case_000", 1)))
    sitk.WriteImage(sitk.PermuteAxes(image, [1, 2, 0]), str(tmp_path / "t1.nii.gz"))
    add(panel, tiny.image("case_000", 3), name="t2")  # its axes are others, its place is not
    t1 = add(panel, tmp_path / "t1.nii.gz", translate=(1, 2, 3), affine=np.diag([2, 2, 2, 1]))
    panel.model.setText(str(folder))
    panel.open_model()
    wait(panel)
    panel.segment()
    wait(panel)
    labels = panel.viewer.layers["segmentation (T1+T2)"]
    files = {"T1": tmp_path / "t1.nii.gz", "T2": tiny.image("case_000", 3)}
    Predictor.from_model_folder(folder, device="cpu").predict(files).save(tmp_path / "made.nii.gz")
    np.testing.assert_array_equal(labels.data, sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "made.nii.gz"))))
    for place in ("scale", "translate", "rotate", "shear"):
        np.testing.assert_array_equal(getattr(labels, place), getattr(t1, place))
    np.testing.assert_array_equal(labels.affine.affine_matrix, t1.affine.affine_matrix)


def test_a_layer_that_is_not_what_its_file_holds_gets_no_labels(panel, model):
    tiny, folder = model
    layer = add(panel, tiny.image("case_000", 1), name="t1")
    layer.data = layer.data.swapaxes(0, 2)
    panel.model.setText(str(folder))
    panel.open_model()
    wait(panel)
    panel.segment()
    wait(panel)
    assert "shape (18, 20, 22), the layer t1 (22, 20, 18)" in panel.said.text()
    assert list(panel.viewer.layers) == [layer]


def test_a_slice_is_segmented(panel, make_tiny_dataset, make_model, tmp_path):
    tiny = make_tiny_dataset(num_cases=1)
    folder = make_model(tiny, "nnUNetTrainerModalityDropout", configuration="2d")
    sitk.WriteImage(sitk.ReadImage(str(tiny.image("case_000", 1)))[:, :, 9], str(tmp_path / "t1.mha"))
    t1 = add(panel, tmp_path / "t1.mha")
    panel.model.setText(str(folder))
    panel.open_model()
    wait(panel)
    panel.segment()
    wait(panel)
    assert panel.said.text() == "Segmented from T1."
    assert panel.viewer.layers["segmentation (T1)"].data.shape == t1.data.shape


def test_napari_finds_what_the_manifest_names():
    from npe2 import PluginManifest

    manifest = PluginManifest.from_file(str(files("nnunet_missingmod.viewer") / "napari.yaml"))
    assert manifest.name == "nnunet_missingmod"
    for command in manifest.contributions.commands:
        module, name = command.python_name.split(":")
        assert callable(getattr(import_module(module), name))
