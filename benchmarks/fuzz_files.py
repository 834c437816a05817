"""Mutations of files as such: no images, names, links, and the header of NIfTI."""

from __future__ import annotations

import gzip
import math
import os
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
from fuzz_truth import EITHER, Mutation, Truth, is_nifti
from tiny_model import NAMES, SPACING_MM


def rewrite_nifti(file: Path, change: Callable[[bytearray], None]) -> None:
    """Change the bytes of an (uncompressed) NIfTI file."""
    packed = file.name.endswith(".gz")
    content = bytearray(gzip.decompress(file.read_bytes()) if packed else file.read_bytes())
    change(content)
    file.write_bytes(gzip.compress(bytes(content)) if packed else bytes(content))


def no_image(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    contents = [
        b"",
        b"\x00" * 4000,
        b"<html><body>404 Not Found</body></html>",
        rng.bytes(5000),
        gzip.compress(b""),
        gzip.compress(rng.bytes(5000)),
        b"\x89PNG\r\n\x1a\n" + rng.bytes(500),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n",
    ]
    truth.file(channel).write_bytes(contents[int(rng.integers(0, len(contents)))])
    truth.refuse(channel)
    return True


def folder_or_broken_link(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    file = truth.file(channel)
    file.unlink()
    file.mkdir() if rng.random() < 0.5 else file.symlink_to("/nowhere/at/all")
    truth.refuse(channel)
    return True


def link(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    elsewhere = truth.folder.parent / f"elsewhere-{truth.name}-{channel}{truth.ending}"
    truth.file(channel).rename(elsewhere)
    truth.file(channel).symlink_to(elsewhere)
    return True


def wrong_name(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    if len(truth.arrays) < 2:
        return False
    name, ending = truth.name, truth.ending
    names = [
        f"{name}_{len(NAMES) + channel:04d}{ending}",
        f"{name}_9999{ending}",
        f"{name}_t2{ending}",
        f"{name}_{channel}{ending}",
        f"{name}_{channel:03d}{ending}",
        f"{name}_{channel:05d}{ending}",
        f"{name}_{channel:04d}{ending.upper()}",
        f"{name}-{channel:04d}{ending}",
        f"{name}{ending}",
        f"{name}_\u0660\u0660\u0660{chr(0x660 + channel)}{ending}",
        f"{name}_{channel:04d}.{'mhd' if is_nifti(truth) else 'nii'}",
        f"{name}_{channel:04d} (1){ending}",
    ]
    chosen = names[int(rng.integers(0, len(names)))]
    truth.file(channel).rename(truth.folder / chosen)
    truth.refuse(channel)
    truth.names[-1] = (chosen,)
    return True


def second_file_of_a_modality(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    other = truth.folder / f"{truth.name}_{channel:04d}{'_copy' if rng.random() < 0.5 else ' copy'}{truth.ending}"
    other.write_bytes(truth.file(channel).read_bytes())
    truth.refuse(channel)
    truth.names[-1] = (other.name,)
    return True


def files_that_are_none_of_ours(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    for name in (".DS_Store", f"._{truth.file(channel).name}", f"{truth.name}.json", "README.txt", "Thumbs.db"):
        (truth.folder / name).write_bytes(rng.bytes(300))
    return True


def bytes_after_the_end(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    with truth.file(channel).open("ab") as stream:
        stream.write(bytes(100) if rng.random() < 0.5 else rng.bytes(100))
    truth.refuse(channel, EITHER)
    return True


def big_endian_or_nifti2(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    if not is_nifti(truth):
        return False
    image = nibabel.load(truth.file(channel))
    voxels = np.array(image.dataobj)  # a copy: the file is mapped, and about to be overwritten
    if rng.random() < 0.5:
        header = image.header.as_byteswapped(">" if image.header.endianness == "<" else "<")
        changed = nibabel.Nifti1Image(voxels, image.affine, header=header)
    else:
        changed = nibabel.Nifti2Image(voxels, image.affine)
    nibabel.save(changed, truth.file(channel))
    truth.refuse(channel, EITHER)
    return True


def scaled_by_the_header(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    if not is_nifti(truth):
        return False
    slope, intercept = float(rng.choice([0.5, 2.0, -1.0])), float(rng.choice([0.0, 10.0]))
    rewrite_nifti(truth.file(channel), lambda content: struct.pack_into("<2f", content, 112, slope, intercept))
    truth.arrays[channel] = truth.arrays[channel] * np.float32(slope) + np.float32(intercept)
    return True


# offset, format and values that no NIfTI-1 header may have there
_BROKEN_FIELDS = {
    "sizeof_hdr": (0, "<i", (0, 347, -1)),
    "dim[0]": (40, "<h", (0, -1, 8, 100)),
    "dim[1]": (42, "<h", (0, -5, 17, 30000)),
    "dim[3]": (46, "<h", (0, -5, 13, 30000)),
    "datatype": (70, "<h", (0, 1, 3, 999)),
    "bitpix": (72, "<h", (0, 8, 64, -32)),
    "pixdim[1]": (80, "<f", (0.0, math.nan, math.inf, -math.inf, 1e30)),
    "pixdim[3]": (88, "<f", (0.0, math.nan, math.inf, -math.inf, 1e-30)),
    "vox_offset": (108, "<f", (math.nan, math.inf, -352.0, 1e30, 1e6, 356.0)),
    "scl_slope": (112, "<f", (math.nan, math.inf)),
    "qform": (256, "<3f", (math.nan, math.inf, 5.0)),
    "qoffset_x": (268, "<f", (math.nan, math.inf, 1e38)),
    "srow_x": (280, "<4f", (math.nan, math.inf, 0.0)),
    "magic": (344, "<i", (0, -1, 0x31696E)),
}


def name_not_utf8(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    if truth.mutations:  # the files of earlier mutations would be looked for under the old name
        return False
    files = {each: truth.file(each) for each in truth.arrays}
    truth.name = os.fsdecode(os.fsencode(truth.name) + rng.choice([b"\xff", b"\xe9\x20", b"\xc3"]))
    for each, file in files.items():
        file.rename(truth.file(each))
        truth.refuse(each)
    return True


def _with_other_codes(truth: Truth, channel: int, *, sform: int, qform: int, spoil: int) -> None:
    """Set the codes of both transforms, and spoil the position of the one that begins at an offset."""

    def change(content: bytearray) -> None:
        struct.pack_into("<2h", content, 252, qform, sform)
        struct.pack_into("<f", content, spoil, 999.0)

    rewrite_nifti(truth.file(channel), change)


def sform_and_qform_disagree(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    if not is_nifti(truth):
        return False
    voxels = float(rng.choice([rng.uniform(0.001, 0.02), rng.uniform(0.2, 1), rng.uniform(1, 50)]))
    at = 280 + 12 + 16 * int(rng.integers(0, 3))  # the last number of a row of the sform

    def change(content: bytearray) -> None:
        (position,) = struct.unpack_from("<f", content, at)
        struct.pack_into("<f", content, at, position + float(rng.choice([-1, 1])) * voxels * min(SPACING_MM))

    rewrite_nifti(truth.file(channel), change)
    if voxels > 0.1:
        truth.refuse(channel)
    return True


def one_transform_alone(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    if not is_nifti(truth):
        return False
    if rng.random() < 0.5:
        _with_other_codes(truth, channel, sform=1, qform=0, spoil=268)
    else:
        _with_other_codes(truth, channel, sform=0, qform=1, spoil=292)
    return True


def copy_of_another_modality(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    others = [each for each in truth.arrays if each != channel]
    if not others or truth.mutations:
        return False
    other = int(rng.choice(others))
    truth.file(channel).write_bytes(truth.file(other).read_bytes())
    truth.arrays[channel] = truth.arrays[other]
    first, second = sorted((channel, other))
    truth.copies = {NAMES[second]: NAMES[first]}
    return True


def broken_header_field(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    if not is_nifti(truth):
        return False
    name = list(_BROKEN_FIELDS)[int(rng.integers(0, len(_BROKEN_FIELDS)))]
    offset, form, values = _BROKEN_FIELDS[name]
    value = values[int(rng.integers(0, len(values)))]
    truth.details.append(f"{name} = {value}")
    number = int(form[1]) if form[1].isdigit() else 1
    rewrite_nifti(truth.file(channel), lambda content: struct.pack_into(form, content, offset, *[value] * number))
    truth.refuse(channel, EITHER)
    return True


MUTATIONS: dict[str, Mutation] = {
    "no_image": no_image,
    "folder_or_broken_link": folder_or_broken_link,
    "link": link,
    "wrong_name": wrong_name,
    "second_file_of_a_modality": second_file_of_a_modality,
    "files_that_are_none_of_ours": files_that_are_none_of_ours,
    "bytes_after_the_end": bytes_after_the_end,
    "big_endian_or_nifti2": big_endian_or_nifti2,
    "scaled_by_the_header": scaled_by_the_header,
    "broken_header_field": broken_header_field,
    "name_not_utf8": name_not_utf8,
    "sform_and_qform_disagree": sform_and_qform_disagree,
    "one_transform_alone": one_transform_alone,
    "copy_of_another_modality": copy_of_another_modality,
}
