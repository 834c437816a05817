"""CASE.json, in which 3-D TIFF files have their spacing, is named where it is not right."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO

from nnunet_missingmod.cases.image_file import read_grid, read_image


def read(file):
    return read_image(file, "T1", Tiff3DIO(), transform="refuse", strict=True, tolerance_voxels=0.1)


@pytest.fixture
def volume(tmp_path):
    file = tmp_path / "case_0000.tif"
    tifffile.imwrite(file, np.arange(60, dtype=np.float32).reshape(3, 4, 5), photometric="minisblack")
    return file


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{}", "three numbers above 0, got null"),
        ("[1, 1, 1]", "not an object"),
        ("null", "not an object"),
        ('{"spacing": [1, 1]}', r"got \[1, 1\]"),
        ('{"spacing": ["1", "1", "1"]}', "three numbers above 0"),
        ('{"spacing": [true, true, true]}', "three numbers above 0"),
        ('{"spacing": [0, 1, 1]}', "three numbers above 0"),
        ('{"spacing": [NaN, 1, 1]}', "three numbers above 0"),
        ('\ufeff{"spacing": [3, 1, 1]}', "without a byte-order mark"),
        ("x", "it is no JSON"),
        ("", "it is empty"),
    ],
)
def test_a_spacing_file_that_holds_no_spacing_is_named_with_the_right_form(volume, content, reason):
    volume.with_name("case.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=reason) as error:
        read(volume)
    assert str(volume.with_name("case.json")) in str(error.value)
    assert '{"spacing": [3.0, 1.0, 1.0]}' in str(error.value)


def test_the_spacing_of_a_volume_is_that_of_its_file(volume):
    volume.with_name("case.json").write_text(json.dumps({"spacing": [3, 1, 0.5]}))
    assert list(read(volume).properties["spacing"]) == [3, 1, 0.5]
    assert list(read_grid(volume, Tiff3DIO()).properties["spacing"]) == [3, 1, 0.5]
