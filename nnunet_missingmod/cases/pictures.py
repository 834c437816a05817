"""What a picture (.png, .bmp, .tif) holds per pixel, which nnU-Net's readers do not say or take for something else.

``integrity`` and ``image_file`` look before a picture is read.
"""

from __future__ import annotations

from pathlib import Path

import tifffile
from PIL import Image, UnidentifiedImageError

_TIFF = (".tif", ".tiff")
ENDINGS = (".png", ".bmp", *_TIFF)
_COLOUR = ("RGB", "SEPARATED", "YCBCR", "CIELAB")


def check(file: Path) -> None:
    """Check that a pixel is a real number or a colour. A file that is no picture is left to its reader.

    Raises:
        ValueError: pixels are complex numbers, or grey values beside which lies an alpha channel.
    """
    if file.suffix.lower() in _TIFF:
        page = _first_page(file)
        if page is None:
            return
        if page.dtype is not None and page.dtype.kind == "c":
            raise ValueError("its pixels are complex numbers: save one real value per pixel, such as the magnitude")
        has_alpha = page.samplesperpixel == 2 and len(page.extrasamples) == 1  # the other one is grey
    else:
        try:
            with Image.open(file) as picture:
                has_alpha = picture.getbands() == ("L", "A")
        except (UnidentifiedImageError, OSError):
            return
    if has_alpha:
        raise ValueError("it is a grey picture with an alpha channel: save it in grey without alpha")


def check_slices(file: Path) -> None:
    """Check that a TIFF file that is to be read as a volume has grey slices: the colours of one would become slices.

    Raises:
        ValueError: it is a colour picture.
    """
    page = _first_page(file)
    # tifffile writes volumes of three or four slices as the planes of a colour picture.
    if page is None or getattr(page.planarconfig, "name", "") != "CONTIG":
        return
    if page.samplesperpixel > 1 and getattr(page.photometric, "name", "") in _COLOUR:
        raise ValueError("it is a colour picture, not a volume of grey slices")


def _first_page(file: Path) -> tifffile.TiffPage | None:
    try:
        with tifffile.TiffFile(file) as opened:
            page = opened.pages[0]
            return page if isinstance(page, tifffile.TiffPage) else None
    except Exception:  # whatever tifffile raises over a file that is none: its reader says so
        return None
