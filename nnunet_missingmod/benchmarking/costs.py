"""Measures each model's cost on the first case of an evaluation; ``network_store`` keeps it for the report."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_missingmod.benchmarking.cases import EvaluationSet, first_with_cases
from nnunet_missingmod.benchmarking.named_models import NamedModel
from nnunet_missingmod.benchmarking.preparation import prepare_case
from nnunet_missingmod.benchmarking.request import Request
from nnunet_missingmod.inference.cost import measure_cost
from nnunet_missingmod.inference.model_folder import load_predictor, open_model_folder

logger = logging.getLogger(__name__)


def find_costs(
    request: Request, sets: Mapping[str, Sequence[EvaluationSet]], earlier: Mapping[str, Any]
) -> dict[str, Any]:
    """Return {model: record} of each model that could be measured, its cost in ``"cost"``.

    The second stage of a cascade is not measured, since it is not all of its model.

    Args:
        request: its models are opened.
        sets: the cases of each model; the first one of those with the most modalities is predicted.
        earlier: records of an earlier run, which are kept where weights, case, settings and device are the same.
    """
    found = {}
    for model in request.models:
        first = first_with_cases(sets.get(model.name, ()))
        if first is None:
            continue
        try:
            record = _measured(request, model, first, earlier.get(model.name))
        except Exception as error:  # want of memory, a case that cannot be read: the scores are there all the same
            logger.warning("The cost of %s was not measured: %s", model.name, error)
            continue
        if record is not None:
            found[model.name] = record
    return found


def _measured(
    request: Request, model: NamedModel, cases: EvaluationSet, earlier: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    opened = open_model_folder(model.folder, folds=cases.folds, checkpoint_name=request.checkpoint_name)
    if opened.configuration_manager.previous_stage_name is not None:
        return None
    case = max(sorted(cases.cases, key=lambda each: each.case), key=lambda each: len(each.files))
    made_from = {
        "weights": opened.fingerprint,
        "case": case.case,
        "modalities": sorted(case.files),
        "settings": asdict(request.settings),
        "device": str(request.device),
        "threads": torch.get_num_threads(),
    }
    if earlier is not None and earlier.get("made_from") == json.loads(json.dumps(made_from)):
        return dict(earlier)
    prepared = prepare_case(opened, case.case, case.files, [tuple(sorted(case.files))])
    (group,) = prepared.groups
    predictor = load_predictor(
        opened,
        device=request.device,
        kind=nnUNetPredictor,
        tile_step_size=request.settings.tile_step_size,
        use_mirroring=request.settings.mirroring,
    )
    cost = measure_cost(predictor, torch.from_numpy(group.data(len(opened.modalities))))
    return {"made_from": made_from, "cost": asdict(cost)}
