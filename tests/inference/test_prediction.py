"""A prediction gets onto the disk whole and as it was predicted, or what was there stays."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO

from nnunet_missingmod.inference.prediction import Prediction
from nnunet_missingmod.storage import file_fingerprint

GEOMETRY = {"spacing": (1.5, 1.0, 2.0), "origin": (1.0, -2.0, 3.0), "direction": (0.0, -1.0, 0, 1, 0, 0, 0, 0, 1)}


def make(*, reader=None, probabilities=False, shape=(6, 7, 8), properties=None, labels=None):
    rng = np.random.default_rng(0)
    return Prediction(
        case="patient",
        array=rng.integers(0, 4, shape).astype(np.uint8),
        probabilities=rng.random((4, *shape), dtype=np.float32) if probabilities else None,
        present=("T1",),
        report={},
        expected_dice=None,
        properties=properties or {"sitk_stuff": GEOMETRY, "spacing": [2.0, 1.0, 1.5]},
        reader=reader or SimpleITKIO(),
        dataset_json={"labels": labels or {"background": 0, "a": 1, "b": 2, "c": 3}},
    )


def test_saved_files_hold_segmentation_geometry_probabilities_and_sidecar(tmp_path):
    made = make(probabilities=True)
    made.save(tmp_path / "new" / "patient.nii.gz", sidecar={"present": ["T1"]})
    names = {file.name for file in (tmp_path / "new").iterdir()}
    assert names == {"patient.nii.gz", "patient.npz", "patient.pkl", "patient.missingmod.json"}
    image = sitk.ReadImage(str(tmp_path / "new" / "patient.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), made.array)
    for part in ("spacing", "origin", "direction"):
        np.testing.assert_allclose(getattr(image, f"Get{part.capitalize()}")(), GEOMETRY[part], atol=1e-6)
        assert getattr(made.to_simpleitk(), f"Get{part.capitalize()}")() == GEOMETRY[part]
    np.testing.assert_array_equal(np.load(tmp_path / "new" / "patient.npz")["probabilities"], made.probabilities)
    written = {name: file_fingerprint(tmp_path / "new" / name) for name in names if not name.endswith("json")}
    sidecar = json.loads((tmp_path / "new" / "patient.missingmod.json").read_text())
    assert sidecar == {"present": ["T1"], "sha256": written}


def test_two_dimensional_prediction_is_a_two_dimensional_image():
    geometry = {"spacing": (1.5, 1.0), "origin": (1.0, -2.0), "direction": (1.0, 0, 0, 1)}
    made = make(shape=(1, 7, 8), properties={"sitk_stuff": geometry, "spacing": [999, 1.0, 1.5]})
    assert made.to_simpleitk().GetSize() == (8, 7)


def test_files_that_a_writer_adds_get_their_final_names_too(tmp_path):
    made = make(reader=Tiff3DIO(), properties={"spacing": (2.0, 1.0, 1.5)})
    made.save(tmp_path / "patient.tif", sidecar={})
    assert {file.name for file in tmp_path.iterdir()} == {"patient.tif", "patient.json", "patient.missingmod.json"}
    assert json.loads((tmp_path / "patient.json").read_text()) == {"spacing": [2.0, 1.0, 1.5]}


def test_ending_that_the_writer_does_not_know_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"patient\.dcm must end with one of \.nii\.gz, \.nrrd"):
        make().save(tmp_path / "patient.dcm")


def full(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("probabilities", [False, True])
def test_full_disk_leaves_the_previous_file_and_names_path_and_free_space(tmp_path, monkeypatch, probabilities):
    target = tmp_path / "patient.nii.gz"
    target.write_text("previous")
    if probabilities:
        monkeypatch.setattr(np, "savez_compressed", full)
    else:
        monkeypatch.setattr(SimpleITKIO, "write_seg", full)
    with pytest.raises(OSError, match=r"Cannot write .*patient\.nii\.gz: No space left.* MiB are free") as caught:
        make(probabilities=probabilities).save(target)
    assert caught.value.errno == errno.ENOSPC
    assert target.read_text() == "previous"
    assert [file.name for file in tmp_path.iterdir()] == ["patient.nii.gz"]


@pytest.mark.parametrize("sidecar", [None, {"made_from": "the files of now"}])
def test_probabilities_of_the_prediction_that_is_replaced_do_not_stay(tmp_path, sidecar):
    target = tmp_path / "patient.nii.gz"
    make(probabilities=True).save(target, sidecar={})
    (tmp_path / "other.npz").touch()
    make().save(target, sidecar=sidecar)
    left = {"patient.nii.gz", "other.npz"} | ({"patient.missingmod.json"} if sidecar else set())
    assert {file.name for file in tmp_path.iterdir()} == left


@pytest.mark.parametrize("known", ["", "[1]", "{}", '{"sha256": null}', '{"sha256": {"patient.nii.gz": "0"}}'])
def test_files_that_no_sidecar_lists_are_not_removed(tmp_path, known):
    others = [tmp_path / "patient.npz", tmp_path / "patient.pkl"]
    for file in others:
        file.write_text("somebody's")
    if known:
        (tmp_path / "patient.missingmod.json").write_text(known)
    make().save(tmp_path / "patient.nii.gz", sidecar={})
    assert [file.read_text() for file in others] == ["somebody's"] * 2


def test_a_kill_while_probabilities_are_removed_leaves_the_sidecar_that_lists_them(tmp_path, monkeypatch):
    target, sidecar = tmp_path / "patient.nii.gz", tmp_path / "patient.missingmod.json"
    make(probabilities=True).save(target, sidecar={})
    before = {file.name: file.read_bytes() for file in (target, sidecar)}
    unlink = Path.unlink

    def killed(self, missing_ok=False):
        if self.name == "patient.pkl":
            raise KeyboardInterrupt
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        make().save(target, sidecar={})
    assert {file.name: file.read_bytes() for file in (target, sidecar)} == before
    monkeypatch.undo()
    make().save(target, sidecar={})
    assert {file.name for file in tmp_path.iterdir()} == set(before)


@pytest.mark.parametrize("moved", range(5))
def test_kill_between_two_files_never_leaves_a_segmentation_with_another_ones_sidecar(tmp_path, monkeypatch, moved):
    target = tmp_path / "patient.nii.gz"
    make(probabilities=True).save(target, sidecar={"made_from": "the files of before"})
    before = target.read_bytes()
    other = replace(make(probabilities=True), array=np.ones((6, 7, 8), np.uint8))
    place, calls = os.replace, []

    def killed(source, destination):
        calls.append(destination)
        if len(calls) > moved:
            raise KeyboardInterrupt
        place(source, destination)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        other.save(target, sidecar={"made_from": "the files of now"})
    assert len(calls) == moved + 1
    assert (target.read_bytes() == before) == (moved < 4), "the segmentation is the fourth of five files"
    said = json.loads((tmp_path / "patient.missingmod.json").read_text())
    assert said == {"status": "unfinished"} if moved else said["made_from"] == "the files of before"


def test_file_that_does_not_hold_what_was_written_is_no_prediction(tmp_path, monkeypatch):
    write = SimpleITKIO.write_seg

    def write_half(self, seg, file, properties):
        write(self, np.where(np.arange(seg.size).reshape(seg.shape) < seg.size // 2, seg, 0), file, properties)

    monkeypatch.setattr(SimpleITKIO, "write_seg", write_half)
    with pytest.raises(
        OSError, match=r"^Cannot write .*patient\.nii\.gz: the file does not hold what was written to it"
    ):
        make().save(tmp_path / "patient.nii.gz")
    assert list(tmp_path.iterdir()) == []


IN_A_CHILD = """
import resource, sys
sys.path[:0] = {path!r}
from test_prediction import make
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    make(shape=(60, 60, 60), probabilities={probabilities}).save({target!r})
except OSError as error:
    print(error)
    sys.exit(7)
"""


@pytest.mark.parametrize(("limit", "probabilities"), [(20_000, False), (100_000, True)])
def test_quota_that_ends_in_the_middle_of_a_file_leaves_no_half_of_it(tmp_path, limit, probabilities):
    (tmp_path / "patient.nii.gz").write_text("previous")
    code = IN_A_CHILD.format(
        path=[os.path.dirname(__file__)],
        limit=limit,
        target=str(tmp_path / "patient.nii.gz"),
        probabilities=probabilities,
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert "Cannot write" in done.stdout
    assert "MiB are free there" in done.stdout
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"patient.nii.gz": b"previous"}
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != limit


def test_volumes_are_voxels_times_their_size():
    made = make()
    voxels = np.bincount(made.array.ravel(), minlength=4)
    assert made.volumes_ml() == pytest.approx({"a": voxels[1] * 0.003, "b": voxels[2] * 0.003, "c": voxels[3] * 0.003})
    brats = make(labels={"background": 0, "NCR": 1, "ED": 2, "ET": 3}).volumes_ml()
    assert brats == pytest.approx(
        {"WT": voxels[1:].sum() * 0.003, "TC": (voxels[1] + voxels[3]) * 0.003, "ET": voxels[3] * 0.003}
    )


def test_a_direction_that_scales_voxels_counts_in_their_volume():
    plain = make()
    stuff = dict(plain.properties["sitk_stuff"])
    stuff["direction"] = tuple(2 * value for value in stuff["direction"])
    scaled = make(properties={**plain.properties, "sitk_stuff": stuff})
    assert scaled.volumes_ml() == pytest.approx({name: 8 * ml for name, ml in plain.volumes_ml().items()})


def test_slices_and_pictures_have_no_volume():
    flat = {"spacing": (1.5, 1.0), "origin": (1.0, 2.0), "direction": (1.0, 0.0, 0.0, 1.0)}
    of_slice = make(shape=(1, 7, 8), properties={"sitk_stuff": flat, "spacing": [1498.5, 1.0, 1.5]})
    of_picture = make(shape=(1, 7, 8), properties={"spacing": (999, 1, 1)}, reader=NaturalImage2DIO())
    for made in (of_slice, of_picture):
        with pytest.raises(ValueError, match="patient has two dimensions and no volume"):
            made.volumes_ml()


def test_an_affine_becomes_simpleitks_geometry(tmp_path):
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(1, 9, (6, 7, 8)).astype(np.uint8))
    image.SetSpacing(GEOMETRY["spacing"])
    image.SetOrigin(GEOMETRY["origin"])
    image.SetDirection(GEOMETRY["direction"])
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    properties = NibabelIO().read_images([str(tmp_path / "a.nii.gz")])[1]
    made = make(reader=NibabelIO(), properties=properties).to_simpleitk()
    for part in ("Spacing", "Origin", "Direction"):
        np.testing.assert_allclose(getattr(made, f"Get{part}")(), getattr(image, f"Get{part}")(), atol=1e-5)
