"""Pictures whose pixels are not what the model was trained on: each gets the advice that mends it."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from PIL import Image

from nnunet_missingmod.cases.files import CaseRefusedError
from nnunet_missingmod.cases.labels import Grid, read_label_file
from nnunet_missingmod.cases.reading import read_files
from nnunet_missingmod.preprocessing.preprocessor import MissingModPreprocessor

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 255, (20, 24)).astype(np.uint8)
COLOUR = RNG.integers(0, 255, (20, 24, 3)).astype(np.uint8)
RGB = ("R", "G", "B")


def picture(mode: str) -> Image.Image:
    if mode in ("L", "1", "I;16"):
        return Image.fromarray(GREY.astype(np.uint16) * 200) if mode == "I;16" else Image.fromarray(GREY).convert(mode)
    if mode == "P":
        return Image.fromarray(COLOUR).quantize(16)
    if mode == "LA":
        return Image.fromarray(np.dstack([GREY, GREY]), "LA")
    if mode == "RGBA":
        return Image.fromarray(np.dstack([COLOUR, GREY]))
    return Image.fromarray(COLOUR).convert(mode)


def problems(folder, mode: str, names: tuple[str, ...], ending: str = ".png", reader=NaturalImage2DIO) -> list[str]:
    file = folder / f"scan_0000{ending}"
    picture(mode).save(file)
    read = read_files({0: file}, names, reader(), file_ending=ending, geometry_tolerance_voxels=0.1)
    return read.problems


@pytest.mark.parametrize("names", [RGB, ("red", "green", "blue"), ("rgb_to_0_1_0", "rgb_to_0_1_1", "rgb_to_0_1_2")])
@pytest.mark.parametrize("mode", ["L", "1", "I;16"])
def test_grey_picture_is_not_taken_for_the_red_channel(tmp_path, names, mode):
    (problem,) = problems(tmp_path, mode, names)
    assert problem == (
        f"scan_0000.png is a grey picture, but {', '.join(names)} are those of one picture in colour. Save it as RGB."
    )


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_alpha_channel_is_to_be_left_out(tmp_path, ending):
    (problem,) = problems(tmp_path, "RGBA", RGB, ending)
    assert "holds 4 channels, a picture in colour has 3. Save it as RGB, without an alpha channel." in problem
    for names in (RGB, ("A", "B")):
        (problem,) = problems(tmp_path, "LA", names, ending)
        assert "it is a grey picture with an alpha channel: save it in grey without alpha" in problem


def test_colours_of_another_space_are_to_be_saved_as_rgb(tmp_path):
    (problem,) = problems(tmp_path, "CMYK", RGB, ".tif")
    assert "holds 4 channels, a picture in colour has 3. Save it as RGB" in problem


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA"])
@pytest.mark.parametrize("names", [("A",), ("A", "B")])
def test_colour_picture_is_no_modality_of_its_own(tmp_path, mode, names):
    (problem,) = problems(tmp_path, mode, names)
    assert f"holds {len(picture(mode).convert('RGBA' if mode == 'RGBA' else 'RGB').getbands())} channels" in problem
    assert "a grey picture has one. Save each modality in grey, as its own file: _0000.png A" in problem


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_colour_picture_with_or_without_a_palette_is_a_complete_case_of_colours(tmp_path, mode):
    assert problems(tmp_path, mode, RGB) == []


def test_colour_picture_is_no_volume_of_three_slices(tmp_path):
    (problem,) = problems(tmp_path, "RGB", ("A", "B"), ".tif", Tiff3DIO)
    assert "it is a colour picture, not a volume of grey slices" in problem
    # What tifffile does by itself, and warns of: a volume of four slices becomes the planes of a picture in colour.
    file = tmp_path / "thin_0000.tif"
    tifffile.imwrite(
        file, RNG.integers(0, 255, (4, 20, 24)).astype(np.uint8), photometric="rgb", planarconfig="separate"
    )
    read = read_files({0: file}, ("A", "B"), Tiff3DIO(), file_ending=".tif", geometry_tolerance_voxels=0.1)
    assert read.problems == []


def test_16_bits_where_colours_are_normalised_from_8_are_refused(make_tiny_dataset):
    tiny = make_tiny_dataset(
        RGB, schemes=["RGBTo01Normalization"] * 3, num_cases=0, file_ending=".tif", reader="NaturalImage2DIO"
    )
    manager = PlansManager(tiny.plans)

    def run():
        return MissingModPreprocessor(verbose=False).run_case(
            [str(tiny.image("scan", 0))], None, manager, manager.get_configuration("2d"), tiny.dataset_json
        )

    tifffile.imwrite(tiny.image("scan", 0), COLOUR)
    assert run()[0].max() <= 1
    tifffile.imwrite(tiny.image("scan", 0), COLOUR.astype(np.uint16) * 200)
    with pytest.raises(
        CaseRefusedError, match="'scan' refused: R has values from .* normalised as a colour of 0 to 255"
    ):
        run()


def test_label_map_in_colour_is_refused_as_such(tmp_path):
    Image.fromarray(GREY % 3).save(tmp_path / "grey.png")
    picture("P").save(tmp_path / "palette.png")
    grid = Grid((1, 20, 24), {"spacing": (999, 1, 1)})
    np.testing.assert_array_equal(read_label_file(tmp_path / "grey.png", NaturalImage2DIO(), grid)[0, 0], GREY % 3)
    with pytest.raises(ValueError, match="palette.png holds 3 channels, a label map has one"):
        read_label_file(tmp_path / "palette.png", NaturalImage2DIO(), grid)
