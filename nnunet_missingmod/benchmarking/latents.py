"""Computes a network's latents of each modality at the same voxels, for the report's modality gap and t-SNE figure.

``network_store`` keeps them in a file per model, so that the report can be made again without the networks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import nn

from nnunet_missingmod import absence
from nnunet_missingmod.benchmarking.cases import EvaluationCase, EvaluationSet, first_with_cases
from nnunet_missingmod.benchmarking.request import Request
from nnunet_missingmod.evaluation.modality_gap import Latents
from nnunet_missingmod.inference.model_folder import ModelFolder, load_predictor, open_model_folder
from nnunet_missingmod.networks.backbone import subset_only, unwrapped
from nnunet_missingmod.networks.multimodal import MultimodalNetwork, encoder_features
from nnunet_missingmod.preprocessing.preprocessor import MissingModPreprocessor

logger = logging.getLogger(__name__)

VOXELS_PER_CASE = 200
_CASES = 4
# Points of the t-SNE figure, whose time grows with them: 200 voxels of each case at four modalities.
_POINTS = 3200


def find_latents(request: Request, sets: Mapping[str, Sequence[EvaluationSet]]) -> dict[str, Latents]:
    """Return the latents of each model that has any, from the first cases of its first fold that has cases.

    Args:
        request: its models are opened.
        sets: the cases of each model.
    """
    found = {}
    for model in request.models:
        first = first_with_cases(sets.get(model.name, ()))
        if first is None:
            continue
        try:
            opened = open_model_folder(model.folder, folds=first.folds[:1], checkpoint_name=request.checkpoint_name)
            latents = model_latents(
                opened,
                first.cases,
                device=request.device,
                most_cases=_CASES,
                voxels_per_case=min(VOXELS_PER_CASE, _POINTS // (_CASES * len(opened.modalities)) + 1),
            )
        except Exception as error:  # a network without encoder, want of memory: the scores are there all the same
            logger.warning("No latents of %s: %s", model.name, error)
            continue
        if latents is not None:
            found[model.name] = latents
    return found


def model_latents(
    model: ModelFolder,
    cases: Sequence[EvaluationCase],
    *,
    device: torch.device,
    most_cases: int,
    voxels_per_case: int = VOXELS_PER_CASE,
    seed: int = 0,
) -> Latents | None:
    """Return the latents of every modality at voxels of the cases that have all of them.

    None if there is no such case, or the model was trained on some modalities alone.

    One patch of each case is used, centred on its foreground. Half of the voxels are drawn from the foreground, the
    others from the rest of the voxels at which the images are not zero. The second stage of a cascade gets an empty
    previous segmentation.

    Args:
        model: the weights of its first fold are used.
        cases: cases with references.
        device: the device on which the network runs.
        most_cases: the largest number of cases; the first ones that have all modalities are used.
        voxels_per_case: the number of voxels, or all voxels of a patch that has fewer.
        seed: of the random draws.
    """
    complete = [case for case in cases if len(case.files) == len(model.modalities)][:most_cases]
    if not complete or len(model.modalities) < 2:
        return None
    predictor = load_predictor(model, device=device, kind=nnUNetPredictor)
    network = unwrapped(predictor.network).to(device).eval()
    if subset_only(network) is not None:
        return None
    rng = np.random.default_rng(seed)
    values, owners = [], []
    for owner, case in enumerate(complete):
        patch, labels = _central_patch(model, case)
        if model.configuration_manager.previous_stage_name is not None:
            nothing = np.zeros((len(model.label_manager.foreground_labels), *labels.shape), patch.dtype)
            patch = np.concatenate([patch, nothing])
        chosen = _draw_voxels(labels, voxels_per_case, rng)
        with torch.inference_mode():
            latents = patch_latents(network, torch.from_numpy(patch)[None].to(device), len(model.modalities))
        # If the network's first stage has a stride, the latents have fewer voxels than the patch.
        scaled = [
            index * size // whole for index, size, whole in zip(chosen, latents.shape[2:], labels.shape, strict=True)
        ]
        at_voxels = latents[(slice(None), slice(None), *scaled)]  # (J, C, N)
        values.append(at_voxels.float().cpu().numpy().transpose(0, 2, 1))
        owners.append(np.full(len(chosen[0]), owner))
    return Latents(np.concatenate(values, axis=1), model.modalities, np.concatenate(owners))


def patch_latents(network: nn.Module, patch: torch.Tensor, num_modalities: int) -> torch.Tensor:
    """Return (J, C, *spatial): each modality's latent of a complete patch (1, J + E, *spatial).

    If the network has a channel encoder, it is that one's output; otherwise it is the first level of the encoder, with
    the modality as the only present one.
    """
    if isinstance(network, MultimodalNetwork) and network.channel_encoder.kind != "none":
        present = torch.ones(1, num_modalities, dtype=torch.bool, device=patch.device)
        latents: torch.Tensor = network.channel_encoder(patch[:, :num_modalities], present)[0]
        return latents
    return torch.cat([encoder_features(network, single)[0] for single in _single_modalities(patch, num_modalities)])


def _single_modalities(patch: torch.Tensor, num_modalities: int) -> Iterator[torch.Tensor]:
    """Yield the patch with all modalities but one marked absent, for each modality."""
    for kept in torch.eye(num_modalities, dtype=torch.bool):
        marked = patch.clone()
        absence.mark(marked, kept[None])
        yield marked


def _central_patch(model: ModelFolder, case: EvaluationCase) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return images (J, *patch) and labels (*patch), -1 where all images are zero; for a 2D configuration, a slice."""
    data, seg, _ = MissingModPreprocessor(verbose=False).run_assigned_case(
        case.files,
        str(case.reference),
        model.plans_manager,
        model.configuration_manager,
        model.dataset_json,
        case=case.case,
    )
    labels = seg[0]
    size: Sequence[int] = model.configuration_manager.patch_size
    foreground = np.argwhere(labels > 0)
    centre = foreground.mean(axis=0).round().astype(int) if len(foreground) else np.array(labels.shape) // 2
    if len(size) < labels.ndim:
        data, labels, centre = data[:, centre[0]], labels[centre[0]], centre[1:]
    padding = [(0, max(0, want - have)) for want, have in zip(size, labels.shape, strict=True)]
    data = np.pad(data, [(0, 0), *padding])
    labels = np.pad(labels, padding, constant_values=-1)
    start = [min(max(0, c - s // 2), have - s) for c, s, have in zip(centre, size, labels.shape, strict=True)]
    window = tuple(slice(at, at + s) for at, s in zip(start, size, strict=True))
    return np.ascontiguousarray(data[(slice(None), *window)]), labels[window]


def _draw_voxels(labels: npt.NDArray[Any], number: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.intp], ...]:
    foreground, others = np.flatnonzero(labels > 0), np.flatnonzero(labels == 0)
    of_foreground = min(len(foreground), max(number // 2, number - len(others)))
    of_others = min(len(others), number - of_foreground)
    chosen = np.concatenate(
        [rng.choice(foreground, of_foreground, replace=False), rng.choice(others, of_others, replace=False)]
    )
    return np.unravel_index(chosen, labels.shape)
