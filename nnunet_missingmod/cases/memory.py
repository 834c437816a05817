"""Images that are in memory: SimpleITK's, or arrays with a spacing, in the place of files.

``reading`` takes them beside paths, and ``Predictor`` from its callers. They become what nnU-Net's reader would have
returned of them, so that everything after it is the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO

if TYPE_CHECKING:
    from nnunet_missingmod.cases.image_file import ImageReader

_NUMBERS = ("UInt8", "Int8", "UInt16", "Int16", "UInt32", "Int32", "UInt64", "Int64", "Float32", "Float64")
# SimpleITK's types of voxels that are real numbers. It ends the process where the values of a label map are asked for.
_REAL = {getattr(sitk, f"sitk{vector}{number}") for vector in ("", "Vector") for number in _NUMBERS}

# An array (Z, Y, X) or (Y, X) and the size of a voxel along its axes in mm.
SpacedArray: TypeAlias = tuple[npt.NDArray[Any], Sequence[float]]


class MemoryImage:
    """One image that is in memory.

    Args:
        content: a SimpleITK image of one value per voxel, or an array with its spacing. An array's first voxel lies at
            the origin and its axes are those of SimpleITK, of which the array is ``GetArrayFromImage``.

    Raises:
        ValueError: it is neither, has no voxels, voxels that are no real numbers or are masked, another number of
            dimensions, or a spacing that is none.
    """

    # What messages call it, in the place of a file's name; files without ending are no pictures.
    name = "an image in memory"
    suffix = ""

    def __init__(self, content: sitk.Image | SpacedArray) -> None:
        # SimpleITK copies the voxels of an image's copy once one of the two is written to.
        self._image = sitk.Image(content) if isinstance(content, sitk.Image) else _as_image(content)
        if self._image.GetPixelID() not in _REAL:
            raise ValueError(
                f"An image is made of real numbers, and these are {self._image.GetPixelIDTypeAsString()}: convert it "
                "(a label map by sitk.Cast, a complex image by sitk.ComplexToModulus, say)."
            )
        if self._image.GetNumberOfComponentsPerPixel() != 1:
            raise ValueError(
                f"An image has {self._image.GetNumberOfComponentsPerPixel()} values per voxel, one is expected: give "
                "each modality as its own image."
            )
        if self._image.GetDimension() not in (2, 3):
            raise ValueError(f"An image has {self._image.GetDimension()} dimensions; give a volume, or a slice.")
        if not self._image.GetNumberOfPixels():
            raise ValueError(f"An image has no voxels: its size is {self._image.GetSize()}.")

    def __str__(self) -> str:
        return self.name

    def read(self, reader: ImageReader) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Return the image (1, X, Y, Z) and its properties as ``reader`` would return those of its file.

        Readers that turn images or keep an affine are given it as a file in a temporary folder, which is deleted then.
        """
        if type(reader) not in (SimpleITKIO, NaturalImage2DIO, Tiff3DIO):
            with tempfile.TemporaryDirectory(prefix="nnunet_missingmod_") as folder:
                file = Path(folder, "image.nii")
                sitk.WriteImage(self._image, str(file))
                return reader.read_images([str(file)])
        array = sitk.GetArrayFromImage(self._image).astype(np.float32)
        if isinstance(reader, NaturalImage2DIO) and array.ndim == 3 and len(array) > 1:
            raise ValueError(
                f"its shape is {array.shape}, and the model segments pictures, which are (Y, X): give each colour as "
                "the image of its own modality"
            )
        spacing = [abs(mm) for mm in reversed(self._image.GetSpacing())]
        is_flat = array.ndim == 2
        image = array[None, None] if is_flat else array[None]
        if isinstance(reader, SimpleITKIO):
            geometry = {
                "spacing": self._image.GetSpacing(),
                "origin": self._image.GetOrigin(),
                "direction": self._image.GetDirection(),
            }
            return image, {"sitk_stuff": geometry, "spacing": [999 * max(spacing), *spacing] if is_flat else spacing}
        # Pictures have no spacing.
        return image, {"spacing": (999, 1, 1) if isinstance(reader, NaturalImage2DIO) else tuple(spacing)}


def _as_image(content: SpacedArray) -> sitk.Image:
    try:
        array, spacing = content
        if isinstance(spacing, str):
            raise TypeError("its spacing is a text")
        values, extents = np.asarray(array), [float(mm) for mm in np.atleast_1d(spacing)]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"An image is a path, a SimpleITK image, or (array, spacing in mm); got {type(content).__name__}."
        ) from error
    if values.ndim not in (2, 3) or values.dtype.kind not in "biuf":
        raise ValueError(
            "An array of an image is (Z, Y, X) or (Y, X) and made of real numbers; "
            f"got {values.dtype} of shape {values.shape}."
        )
    if np.ma.is_masked(array):
        raise ValueError(
            "An array of an image is masked, and nothing is known of what a mask hides: give array.filled(value), with "
            "the value that the masked voxels are to have."
        )
    if len(extents) != values.ndim or not all(0 < mm < float("inf") for mm in extents):
        raise ValueError(
            f"The spacing of an array of {values.ndim} axes is as many numbers above 0, in mm and in the order of the "
            f"axes; got {tuple(extents)}."
        )
    # As nnU-Net's readers do in the end; SimpleITK knows neither truth values nor another machine's order of bytes.
    image = sitk.GetImageFromArray(values.astype(np.float32))
    image.SetSpacing(extents[::-1])
    return image
