"""The tiny model of a dataset, and what it must score: segmentation and Dice from the bare network and numpy alone."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import torch
from fuzz_dataset_truth import DATASET, DatasetTruth, splits_of
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from tiny_model import CONFIGURATION, Array, make_plans

from nnunet_missingmod.trainers.nnUNetTrainerModalityDropout import nnUNetTrainerModalityDropout

_HAIR = 1e-3


class Oracle:
    """The true segmentation of a case, from its voxels and the bare network of the dataset's model."""

    def __init__(self, truth: DatasetTruth, *, with_split: bool) -> None:
        """Make the model and write its folder."""
        self.truth = truth
        plans = make_plans(reader=truth.reader)
        plans["dataset_name"] = DATASET
        configuration = plans["configurations"].pop(CONFIGURATION)
        count = len(truth.names)
        configuration["normalization_schemes"] = ["ZScoreNormalization"] * count
        configuration["use_mask_for_norm"] = [False] * count
        plans["foreground_intensity_properties_per_channel"] = {str(channel): {} for channel in range(count)}
        if truth.is_flat:
            configuration["patch_size"], configuration["spacing"] = [16, 16], [1.0, 1.0]
            arguments = configuration["architecture"]["arch_kwargs"]
            arguments |= {name: arguments[name].replace("3d", "2d") for name in ("conv_op", "norm_op")}
            for name in ("kernel_sizes", "strides"):
                arguments[name] = [each[:2] for each in arguments[name]]
        plans["configurations"][truth.configuration] = configuration
        trainer = nnUNetTrainerModalityDropout
        plans = trainer._with_choices(plans, truth.configuration)
        manager = PlansManager(plans)
        content = json.loads(json.dumps(truth.content))
        heads = len(truth.regions) if "whole" in truth.labels else len(truth.numbers)
        torch.manual_seed(0)
        chosen = manager.get_configuration(truth.configuration)
        network = trainer.build_network_architecture(manager, chosen, count, heads, False)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
        checkpoint = {
            "network_weights": network.state_dict(),
            "trainer_name": trainer.__name__,
            "init_args": {"configuration": truth.configuration, "fold": 0, "plans": plans, "dataset_json": content},
            "inference_allowed_mirroring_axes": None,
        }
        for fold in truth.folds:
            folder = truth.model / f"fold_{fold}"
            folder.mkdir(parents=True)
            torch.save(checkpoint, folder / "checkpoint_final.pth")
            if with_split:
                (folder / "split.json").write_text(json.dumps(splits_of(truth)[fold]))
        (truth.model / "plans.json").write_text(json.dumps(plans))
        (truth.model / "dataset.json").write_text(json.dumps(content))
        self.predictor = nnUNetPredictor(device=torch.device("cpu"), use_mirroring=False, allow_tqdm=False)
        parameters = [network.state_dict()]
        self.predictor.manual_initialization(network, manager, chosen, parameters, content, trainer.__name__, None)

    def segment(self, case: str, subset: Sequence[int]) -> tuple[Array, int]:
        """Return the label map that the network makes of these channels of a case, and in how many voxels by a hair.

        Logits are kept in half precision, so that what is nearly equal may be rounded either way.
        """
        truth = self.truth
        arrays = truth.arrays[case]
        data = np.zeros((len(truth.names), *next(iter(arrays.values())).shape), np.float32)
        for channel in subset:
            array = arrays[channel].astype(np.float32)
            data[channel] = (array - array.mean()) / max(array.std(), 1e-8)
        turned = truth.reader == "NibabelIOWithReorient"  # to RAS, from the LPS in which files are written here
        if turned:
            data = np.ascontiguousarray(data[:, :, ::-1, ::-1])
        logits = self.predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)).float().numpy()
        if "whole" in truth.labels:
            labels = np.zeros(logits.shape[1:], np.uint8)
            for head, label in enumerate([1, 2, 3]):
                labels[logits[head] > 0] = label
            margin = np.abs(logits).min(0)
        else:
            labels = logits.argmax(0).astype(np.uint8)
            margin = np.diff(np.sort(logits, 0)[-2:], axis=0)[0]
        undecided = int((margin < _HAIR).sum())
        return (labels[:, ::-1, ::-1] if turned else labels), undecided


def dice_of(
    predicted: Array, reference: Array, truth: DatasetTruth, *, undecided: int
) -> dict[str, tuple[float, float]]:
    """Return {region: (Dice, by how much undecided voxels may change it)}.

    The Dice is nan where both are empty; ignored voxels do not count.
    """
    counted = reference != truth.labels.get("ignore", -1)
    scores = {}
    for region, labels in truth.regions.items():
        one, other = np.isin(predicted, labels) & counted, np.isin(reference, labels) & counted
        total = int(one.sum()) + int(other.sum())
        dice = 2 * int((one & other).sum()) / total if total else float("nan")
        scores[region] = dice, 2 * undecided / max(total - undecided, 1)
    return scores
