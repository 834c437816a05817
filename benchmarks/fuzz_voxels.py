"""Mutations of what a file holds: missing files, damage, and other voxels."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from fuzz_truth import EITHER, REFUSE, Mutation, Truth, put
from tiny_model import write_image

LARGE = 1e38


def compressed_part(file: Path) -> tuple[bytes, int]:
    """The content of a file and where its compressed data begin; its end if they are not compressed."""
    content = file.read_bytes()
    if content[:2] == b"\x1f\x8b":
        return content, 0
    for mark, end in ((b"encoding: gzip", b"\n\n"), (b"CompressedData = True", b"ElementDataFile = LOCAL\n")):
        if mark in content[:4000]:
            return content, content.index(end) + len(end)
    return content, len(content)


def deleted(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    if len(truth.arrays) < 2 or truth.relations:  # what only shows beside this file would no longer show
        return False
    truth.file(channel).unlink()
    del truth.arrays[channel]
    return True


def truncated(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    file = truth.file(channel)
    content = file.read_bytes()
    keep = int(rng.integers(0, len(content)))
    file.write_bytes(content[:keep])
    # The last bytes of a compressed file are its checksum: a reader may do without.
    truth.refuse(channel, REFUSE if keep < len(content) - 16 else EITHER)
    return True


def truncated_by_a_byte(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    file = truth.file(channel)
    file.write_bytes(file.read_bytes()[:-1])
    truth.refuse(channel, EITHER if truth.ending in (".nrrd", ".mha") else REFUSE)
    return True


def truncated_before_compression(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    if truth.ending != ".nii.gz":
        return False
    file = truth.file(channel)
    content = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(content[: int(rng.integers(0, len(content)))]))
    truth.refuse(channel)
    return True


def flipped_bit_of_compressed_data(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    file = truth.file(channel)
    content, start = compressed_part(file)
    if start == len(content):
        return False
    changed = bytearray(content)
    changed[int(rng.integers(start, len(content)))] ^= 1 << int(rng.integers(0, 8))
    file.write_bytes(changed)
    truth.refuse(channel, EITHER)  # some bits of a header or checksum mean nothing
    return True


def changed_voxel(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    array = truth.arrays[channel].copy()
    array.flat[int(rng.integers(0, array.size))] = np.float32(rng.uniform(-1e4, 1e4))
    put(truth, channel, array)
    return True


def overwritten_part(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    """A block of the compressed file is zero, as after a crash of a file system."""
    file = truth.file(channel)
    content, data = compressed_part(file)
    if len(content) - data < 700:
        return False
    start = int(rng.integers(data + 10, len(content) - 600))
    file.write_bytes(content[:start] + bytes(512) + content[start + 512 :])
    truth.refuse(channel)
    return True


def nonfinite(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    array = truth.arrays[channel].copy()
    number = int(rng.choice([1, 3, 50, array.size - 1, array.size]))
    value = rng.choice([np.nan, np.inf, -np.inf])
    array.flat[rng.permutation(array.size)[:number]] = value
    write_image(truth.file(channel), array, compress=truth.ending.endswith("gz"))
    truth.refuse(channel)
    return True


def nonfinite_in_float64(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    array = truth.arrays[channel].astype(np.float64)
    array.flat[int(rng.integers(0, array.size))] = rng.choice([np.nan, np.inf, 1e300])
    write_image(truth.file(channel), array, compress=truth.ending.endswith("gz"))
    truth.refuse(channel)
    return True


def blank(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    write_image(truth.file(channel), np.full_like(truth.arrays[channel], rng.choice([0, 7, -3.5])))
    del truth.arrays[channel]
    if not truth.arrays:
        truth.refuse(channel)
    return True


def almost_blank(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    array = np.full_like(truth.arrays[channel], 5)
    array.flat[int(rng.integers(0, array.size))] = 6
    put(truth, channel, array)
    return True


def other_voxel_type(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    kinds = [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.float64]
    put(truth, channel, truth.arrays[channel].astype(rng.choice(np.array(kinds, dtype=object))))
    return True


def huge_values(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    put(truth, channel, truth.arrays[channel] * np.float32(LARGE / 50))
    truth.refuse(channel, EITHER)
    return True


def tiny_values(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    put(truth, channel, truth.arrays[channel] * np.float32(1e-3))
    return True


def complex_voxels(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    kind = rng.choice(np.array([np.complex64, np.complex128], dtype=object))
    image = sitk.GetImageFromArray((truth.arrays[channel] * (1 + 1j)).astype(kind))
    image.CopyInformation(sitk.ReadImage(str(truth.file(channel))))
    sitk.WriteImage(image, str(truth.file(channel)))
    truth.refuse(channel)
    return True


MUTATIONS: dict[str, Mutation] = {
    "deleted": deleted,
    "truncated": truncated,
    "truncated_by_a_byte": truncated_by_a_byte,
    "truncated_before_compression": truncated_before_compression,
    "flipped_bit_of_compressed_data": flipped_bit_of_compressed_data,
    "changed_voxel": changed_voxel,
    "overwritten_part": overwritten_part,
    "nonfinite": nonfinite,
    "nonfinite_in_float64": nonfinite_in_float64,
    "blank": blank,
    "almost_blank": almost_blank,
    "other_voxel_type": other_voxel_type,
    "huge_values": huge_values,
    "tiny_values": tiny_values,
    "complex_voxels": complex_voxels,
}
