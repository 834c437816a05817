"""A configuration of plans that name our preprocessor brings it, into other processes too."""

from __future__ import annotations

import pickle

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_missingmod.preprocessing.configuration import bring_preprocessor
from nnunet_missingmod.preprocessing.preprocessor import MissingModPreprocessor


def test_a_configuration_brings_our_preprocessor_into_workers_and_leaves_others_alone(make_tiny_dataset):
    manager = PlansManager(make_tiny_dataset().plans)
    stock = manager.get_configuration("3d_fullres")
    kind = type(stock)
    bring_preprocessor(stock)
    assert type(stock) is kind
    ours = manager.get_configuration("3d_fullres")
    ours.configuration["preprocessor_name"] = "MissingModPreprocessor"
    bring_preprocessor(ours)
    bring_preprocessor(ours)
    assert isinstance(ours, kind)
    assert pickle.loads(pickle.dumps(ours)).preprocessor_class is MissingModPreprocessor
    assert ours.configuration == pickle.loads(pickle.dumps(ours)).configuration
