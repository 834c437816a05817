"""Whoever builds a network of ours gets our preprocessor with the configuration, as nnU-Net's prediction does."""

from __future__ import annotations

import pytest
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager

from nnunet_missingmod.preprocessing.configuration import MissingModConfiguration


@pytest.mark.parametrize(
    "name",
    ["nnUNetTrainerZeroFill", "nnUNetTrainerModalityDropout", "nnUNetTrainerHolderMISelf", "nnUNetTrainerHeMIS"],
)
def test_who_builds_the_network_gets_the_preprocessor(name, make_method, make_tiny_dataset):
    trainer = make_method(name, make_tiny_dataset())
    manager = ConfigurationManager(trainer.configuration_manager.configuration)
    trainer.build_network_architecture(trainer.plans_manager, manager, 4, 2, False)
    assert isinstance(manager, MissingModConfiguration)
