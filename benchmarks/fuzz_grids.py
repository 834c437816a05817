"""Mutations of where a file's voxels lie, and of how many dimensions and channels it has."""

from __future__ import annotations

import math

import numpy as np
import SimpleITK as sitk
from fuzz_truth import EITHER, Mutation, Truth
from tiny_model import DIRECTION, ORIGIN_MM, SPACING_MM, write_image

TOLERANCE_VOXELS = 0.1


def other_shape(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    if len(truth.arrays) < 2:
        return False
    array = truth.arrays[channel]
    axis = int(rng.integers(0, 3))
    changed = [np.delete(array, 0, axis), np.concatenate([array, array], axis), array.transpose(2, 1, 0)]
    write_image(truth.file(channel), changed[int(rng.integers(0, 3))])
    truth.refuse(channel, beside_another=True)
    return True


def moved_grid(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    if len(truth.arrays) < 2:
        return False
    image = sitk.ReadImage(str(truth.file(channel)))
    # 0.1 voxels is the tolerance; what lies near it is left out, since formats round.
    voxels = float(rng.choice([rng.uniform(0.001, 0.09), rng.uniform(0.11, 0.3), rng.uniform(1, 50)]))
    axis = int(rng.integers(0, 3))
    origin = list(ORIGIN_MM)
    origin[axis] += voxels * min(SPACING_MM) * float(rng.choice([-1, 1]))
    image.SetOrigin(origin)
    sitk.WriteImage(image, str(truth.file(channel)), True)
    if voxels > TOLERANCE_VOXELS:
        truth.refuse(channel, beside_another=True)
    return True


def other_spacing(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    if len(truth.arrays) < 2:
        return False
    image = sitk.ReadImage(str(truth.file(channel)))
    factor = float(rng.choice([1 + 1e-6, rng.uniform(1.05, 4), rng.uniform(0.1, 0.9)]))
    axis = int(rng.integers(0, 3))
    image.SetSpacing([mm * (factor if index == axis else 1) for index, mm in enumerate(SPACING_MM)])
    sitk.WriteImage(image, str(truth.file(channel)), True)
    if abs(factor - 1) > 1e-3:
        truth.refuse(channel, beside_another=True)
    return True


def other_direction(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    if len(truth.arrays) < 2:
        return False
    image = sitk.ReadImage(str(truth.file(channel)))
    angle = float(rng.choice([1e-5, rng.uniform(0.1, 1.5), math.pi]))
    turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    image.SetDirection((turn @ np.array(DIRECTION).reshape(3, 3)).ravel().tolist())
    sitk.WriteImage(image, str(truth.file(channel)), True)
    if angle > 1e-3:
        truth.refuse(channel, beside_another=True)
    return True


def several_channels(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    array = truth.arrays[channel]
    number = int(rng.integers(2, 6))
    if rng.random() < 0.5:
        image = sitk.JoinSeries([sitk.ReadImage(str(truth.file(channel)))] * number)
        sitk.WriteImage(image, str(truth.file(channel)))
    else:
        write_image(truth.file(channel), np.stack([array] * number, axis=-1), vector=True)
    truth.refuse(channel)
    return True


def four_dimensional_with_one_volume(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    sitk.WriteImage(sitk.JoinSeries([sitk.ReadImage(str(truth.file(channel)))]), str(truth.file(channel)))
    truth.refuse(channel, EITHER)
    return True


def one_slice_in_two_dimensions(truth: Truth, channel: int, rng: np.random.Generator) -> bool:
    if len(truth.arrays) < 2:
        return False
    sitk.WriteImage(sitk.GetImageFromArray(truth.arrays[channel][0]), str(truth.file(channel)))
    truth.refuse(channel, beside_another=True)
    return True


MUTATIONS: dict[str, Mutation] = {
    "other_shape": other_shape,
    "moved_grid": moved_grid,
    "other_spacing": other_spacing,
    "other_direction": other_direction,
    "several_channels": several_channels,
    "four_dimensional_with_one_volume": four_dimensional_with_one_volume,
    "one_slice_in_two_dimensions": one_slice_in_two_dimensions,
}
