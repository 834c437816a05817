"""The audit of a model folder: its network with the weights of each fold, and the way of a case's files to it.

``audit`` has the checks; the command of that name prints what is found here.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from nnunet_missingmod.audit.finding import EVALUATION, FAIL, NOT_APPLICABLE, PASS, Audit, Finding, Result, worst
from nnunet_missingmod.audit.more_modalities import more_check
from nnunet_missingmod.audit.network import CONVENTIONS, audit_probe
from nnunet_missingmod.audit.probe import NAN, ZERO, Probe
from nnunet_missingmod.cases.files import find_cases
from nnunet_missingmod.evaluation.aggregation import CaseValues
from nnunet_missingmod.inference.device import choose_device
from nnunet_missingmod.inference.fold_labels import FoldLabelsPredictor
from nnunet_missingmod.inference.model_files import FINAL, Fold
from nnunet_missingmod.inference.model_folder import (
    ModelFolder,
    check_plans_are_complete,
    load_predictor,
    open_model_folder,
    plans_errors_explained,
)
from nnunet_missingmod.inference.predictor import Predictor
from nnunet_missingmod.networks.backbone import unwrapped
from nnunet_missingmod.training.weights import load_weights

_ORDER = "share of voxels whose label changes"
# What SimpleITK writes and every reader of these files reads as one channel.
_WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")
# Of the synthetic case, per axis; nnU-Net pads it to a patch.
_LARGEST_CASE = 32
_CASE = "audit"


def audit_model_folder(
    folder: str | os.PathLike[str],
    *,
    folds: Sequence[Fold] | None = None,
    checkpoint: str = FINAL,
    device: str | torch.device = "auto",
    images: Path | None = None,
    dice: CaseValues | None = None,
) -> Audit:
    """Check a trained model, stock nnU-Net's included, and return a finding per check.

    The network is given patches of noise, as small as it takes, and the checks of ``audit.network`` are made with the
    weights of each fold; the worst finding counts. The order of files is checked by predicting a case through
    `Predictor`. A stock model's network is audited by its own convention, which is zeros.

    Args:
        folder, folds, checkpoint, device: see ``Predictor.from_model_folder``.
        images: folder of cases CASE_XXXX, of which the first with several modalities is predicted; by default a
            synthetic one.
        dice: of this model, as it was measured, for the question whether more modalities hurt.

    Raises:
        ModelFolderError: the model cannot be used.
        ValueError: the device does not exist, or the network cannot be run.
        CaseRefusedError: the case of ``images`` cannot be predicted.
    """
    chosen = choose_device(device)
    with plans_errors_explained(folder):
        model = open_model_folder(folder, folds=folds, checkpoint_name=checkpoint)
        check_plans_are_complete(model)
        host = load_predictor(model, device=chosen, kind=FoldLabelsPredictor, use_mirroring=False)
    network = unwrapped(host.network).to(chosen)
    convention = NAN if model.is_ours else ZERO
    of_folds = {}
    for fold, weights in zip(model.folds, model.weights, strict=True):
        load_weights(network, weights)
        # The way of the files is the same for all folds, and is checked below.
        of_folds[f"fold {fold}"] = [each for each in _of_network(model, network, convention) if each.check != "order"]
    findings = [*worst(of_folds), _order(Predictor(model, host), images), more_check(dice)]
    return Audit(f"{Path(folder).name} ({model.taken_for})", CONVENTIONS[convention], tuple(findings))


def _of_network(model: ModelFolder, network: torch.nn.Module, convention: str) -> list[Finding]:
    """Return the findings on a network, with the smallest patch that it takes."""
    patch = [int(size) for size in model.configuration_manager.patch_size]
    shapes = [_smallest_patch(model, patch), patch]
    for shape in shapes:
        probe = Probe(
            network,
            num_modalities=len(model.modalities),
            input_shape=shape,
            absent=convention,
            extra_channels=_extra_channels(model),
            uses=None if model.trained_on is None else list(model.trained_on),
            names=model.modalities,
        )
        try:
            return audit_probe(probe)
        except ValueError:
            if shape == patch:
                raise
    raise AssertionError("a patch is the last shape")


def _smallest_patch(model: ModelFolder, patch: Sequence[int]) -> list[int]:
    """Return a patch whose deepest feature map has two voxels, which normalisation needs, or the plans' smaller one."""
    strides = model.configuration_manager.network_arch_init_kwargs.get("strides")
    if strides is None or np.ndim(strides) != 2:
        return list(patch)
    smallest = [int(stride) for stride in np.prod(strides, axis=0)]
    longest = patch.index(max(patch))
    smallest[longest] *= 2
    return [min(sizes) for sizes in zip(patch, smallest, strict=True)]


def _extra_channels(model: ModelFolder) -> int:
    has_previous = model.configuration_manager.previous_stage_name is not None
    return len(model.label_manager.foreground_labels) if has_previous else 0


def _order(predictor: Predictor, images: Path | None) -> Finding:
    """Predict one case with its files in two orders, and as lists as nnU-Net hands them over."""

    def found(result: Result, number: float | None, meaning: str) -> Finding:
        return Finding("order", EVALUATION, result, number, _ORDER, meaning)

    model = predictor.model
    if len(model.modalities) < 2:
        return found(NOT_APPLICABLE, None, "There is one modality alone.")
    if model.configuration_manager.previous_stage_name is not None:
        return found(NOT_APPLICABLE, None, "A second stage of a cascade needs the first stage's prediction of a case.")
    with tempfile.TemporaryDirectory() as folder:
        if images is None:
            if model.file_ending not in _WRITABLE:
                return found(
                    NOT_APPLICABLE, None, f"No case is made up of {model.file_ending} files: give a folder with -i."
                )
            images = Path(folder)
            _write_case(model, images)
        cases = find_cases(images, model.modalities, model.file_ending)
        usable = [case for case in cases if len(case.files) > 1 and not case.problems]
        if not usable:
            return found(NOT_APPLICABLE, None, f"{images} has no case with files of several modalities.")
        case = usable[0]
        named = {model.modalities[channel]: file for channel, file in case.files.items()}
        turned = dict(reversed(named.items()))
        one, other = (predictor.predict(given, case=case.case, probabilities=True) for given in (named, turned))
    changed = float(np.mean(one.array != other.array))
    assert one.probabilities is not None
    assert other.probabilities is not None
    apart = float(np.abs(one.probabilities - other.probabilities).max())
    limit = 0.0 if predictor.device.type == "cpu" else 1e-3
    if changed > limit or apart > limit:
        return found(FAIL, changed, "The same files given by name in another order get another segmentation.")
    return found(
        PASS,
        changed,
        "A file's channel comes from its name: the same files in another order get the same segmentation.",
    )


def _write_case(model: ModelFolder, folder: Path) -> None:
    """Write a case of noise with all modalities, of the plans' spacing, that fits into one patch."""
    manager, configuration = model.plans_manager, model.configuration_manager
    shape = [min(int(size), _LARGEST_CASE) for size in configuration.patch_size]
    spacing = [float(size) for size in configuration.spacing]
    if len(shape) == 2:
        shape, spacing = [2, *shape], [float(manager.original_median_spacing_after_transp[0]), *spacing]
    back = manager.transpose_backward
    rng = np.random.default_rng(0)
    for channel in range(len(model.modalities)):
        voxels = rng.uniform(1, 100, [shape[axis] for axis in back]).astype(np.float32)
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing([spacing[axis] for axis in back][::-1])
        sitk.WriteImage(image, str(folder / f"{_CASE}_{channel:04d}{model.file_ending}"))
