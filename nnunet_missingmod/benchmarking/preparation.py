"""Reads a case once, and preprocesses it once for all subsets of its modalities that share a non-zero mask.

nnU-Net crops a case to the voxels at which any of its images is non-zero, and normalises within that mask. Without a
modality the mask may be smaller. Subsets with the same mask have the same preprocessed images and are preprocessed
together; each different mask needs a preprocessing of its own. In a cascade each subset is preprocessed separately,
with the previous stage's prediction of it. The network's input is, bit for bit, the input it would get if the files of
the other modalities were missing. ``predictions`` calls `prepare_case` for each case.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from nnunetv2.preprocessing.cropping.cropping import create_nonzero_mask
from nnunetv2.utilities.label_handling.label_handling import convert_labelmap_to_one_hot

from nnunet_missingmod import absence, plans_block
from nnunet_missingmod.cases.files import CaseRefusedError
from nnunet_missingmod.cases.image_file import Image
from nnunet_missingmod.cases.labels import Grid
from nnunet_missingmod.cases.preflight import read_case_labels
from nnunet_missingmod.cases.reading import judge_channels, read_files
from nnunet_missingmod.inference.model_folder import ModelFolder
from nnunet_missingmod.modalities import Subset
from nnunet_missingmod.preprocessing.preprocessor import MissingModPreprocessor


class CaseGroup(NamedTuple):
    """Subsets of a case whose preprocessed images are the same.

    Attributes:
        images: {channel: (*spatial)}, preprocessed, of the modalities in any of the subsets.
        properties: of the case with these modalities, for nnU-Net's exporter.
        subsets: each a tuple of channels.
        previous: (E, *spatial), the previous stage's prediction of the subset as nnU-Net encodes it; E = 0 without one.
    """

    images: dict[int, Image]
    properties: dict[str, Any]
    subsets: list[Subset]
    previous: Image

    def data(self, num_channels: int) -> Image:
        """Return the network's input (J + E, *spatial), with the other channels marked absent."""
        num_previous, *shape = self.previous.shape
        data = np.full((num_channels + num_previous, *shape), absence.ABSENT, dtype=np.float32)
        for channel, image in self.images.items():
            data[channel] = image
        data[num_channels:] = self.previous
        return data


class PreparedCase(NamedTuple):
    """A case ready for prediction.

    Attributes:
        present: names of the modalities that it has; a blank file counts as absent.
        groups: of the requested subsets that the case has.
    """

    present: tuple[str, ...]
    groups: list[CaseGroup]


def prepare_case(
    model: ModelFolder,
    case: str,
    files: Mapping[int, Path],
    subsets: Sequence[Subset],
    previous: Mapping[Subset, Path] | None = None,
) -> PreparedCase:
    """Read a case and preprocess it, once for each group of subsets with the same preprocessing.

    Args:
        model: the model whose plans are used.
        case: its name, for messages.
        files: {channel: file} of the modalities that it has.
        subsets: the requested ones, each of a modality or more that the model was trained on; those that the case does
            not have are left out.
        previous: in a cascade, the previous stage's prediction of each subset.

    Raises:
        CaseRefusedError: a file is damaged, the modalities lie on different grids, or none is present.
    """
    choices = plans_block.resolve(model.configuration_manager.configuration.get(plans_block.BLOCK))
    reader = model.plans_manager.image_reader_writer_class()
    read = read_files(
        files,
        model.modalities,
        reader,
        file_ending=model.file_ending,
        geometry_tolerance_voxels=choices["geometry_tolerance_voxels"],
        volumes_only=len(model.configuration_manager.patch_size) == 3,
        nifti_transform=choices["nifti_transform"],
        headers=choices["headers"],
    )
    if read.problems:
        raise CaseRefusedError(case, " ".join(read.problems))
    data = _stack(read.images, len(model.modalities))
    present, _ = judge_channels(
        data,
        model.modalities,
        case=case,
        blank_is_absent=choices["blank_is_absent"],
        nonfinite=choices["nonfinite"],
        replaced=read.replaced,
    )
    available = [subset for subset in subsets if present[list(subset)].all()]
    # Headers may differ within the tolerance, or in the orientation that a reader turns round; a case has the header of
    # its first present file. Channels of one header are named by the first of them.
    first_of: dict[tuple[str, ...], int] = {}
    same_header = {c: first_of.setdefault(_header(properties), c) for c, properties in read.properties.items()}
    # A model of some modalities is shown no others.
    used = set(range(len(data)) if model.trained_on is None else model.trained_on)
    shown = {subset: tuple(channel for channel in subset if channel in used) for subset in available}
    owner = {subset: same_header.get(min(shown[subset]), min(same_header)) for subset in available}
    if previous is None:
        together = _group_by_mask(data, shown, owner)
    else:
        together = [(owner[subset], [subset]) for subset in available]
    groups = []
    for channel, members in together:
        union = np.zeros(len(data), dtype=bool)
        union[[c for subset in members for c in shown[subset]]] = True
        masked = data.copy()
        absence.mark_case(masked, union)
        properties = deepcopy(read.properties[channel])
        properties[plans_block.BLOCK] = {"case": case}
        seg = None
        if previous is not None:
            grid = Grid(data.shape[1:], properties)
            seg = read_case_labels(
                previous[members[0]], reader, grid, choices=choices, labels=model.label_manager.all_labels
            )
        preprocessed, seg, properties = MissingModPreprocessor(verbose=False).run_case_npy(
            masked, seg, properties, model.plans_manager, model.configuration_manager, model.dataset_json
        )
        images = {int(c): preprocessed[c].astype(np.float32, copy=False) for c in np.flatnonzero(union)}
        labels = [] if previous is None else model.label_manager.foreground_labels
        groups.append(CaseGroup(images, properties, members, convert_labelmap_to_one_hot(seg[0], labels, np.float32)))
    return PreparedCase(tuple(name for name, there in zip(model.modalities, present, strict=True) if there), groups)


def _stack(images: Mapping[int, Image], num_modalities: int) -> Image:
    first = next(iter(images.values()))
    if len(first) == num_modalities:
        return first.astype(np.float32)  # one file that holds all channels
    data = np.full((num_modalities, *first.shape[1:]), absence.ABSENT, dtype=np.float32)
    for channel, image in images.items():
        data[channel] = image[0]
    return data


def _group_by_mask(
    data: Image, shown: Mapping[Subset, Subset], owner: Mapping[Subset, int]
) -> list[tuple[int, list[Subset]]]:
    """Return (channel whose header is used, subsets) for each mask that nnU-Net would find, in the order of subsets.

    Args:
        data: (J, *spatial).
        shown: {subset: the channels of it that the network is shown}.
        owner: {subset: channel whose header is used}.
    """
    groups: defaultdict[tuple[int, bytes], list[Subset]] = defaultdict(list)
    filled: dict[bytes, bytes] = {}
    for subset, channels in shown.items():
        union = (data[list(channels)] != 0).any(axis=0)
        key = _digest(union)
        if key not in filled:
            # Filling holes is slow, and most subsets have the mask of an earlier one.
            filled[key] = _digest(create_nonzero_mask(union[None]))
        groups[owner[subset], filled[key]].append(subset)
    return [(channel, members) for (channel, _), members in groups.items()]


def _header(properties: Mapping[str, Any]) -> tuple[str, ...]:
    """Return all numbers and words of the geometry that nnU-Net's reader returned."""
    stuff = properties.get("sitk_stuff") or properties.get("nibabel_stuff") or {}
    parts = (properties["spacing"], *(stuff[key] for key in sorted(stuff)))
    return tuple(str(value) for part in parts for value in np.ravel(part))


def _digest(mask: np.ndarray) -> bytes:
    return hashlib.sha256(np.packbits(mask).tobytes()).digest()
