"""A configuration that brings its preprocessor, so that nnU-Net's processes need not look for it."""

from __future__ import annotations

from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager

from nnunet_missingmod.host import PREPROCESSOR
from nnunet_missingmod.preprocessing.preprocessor import MissingModPreprocessor


class MissingModConfiguration(ConfigurationManager):
    """A configuration of plans that name ``MissingModPreprocessor``, which it returns itself.

    nnU-Net looks preprocessors up in its own folders alone. Its configuration travels to the workers that read cases;
    there, this class is imported as the configuration is unpickled.
    """

    @property
    def preprocessor_class(self) -> type[MissingModPreprocessor]:
        """The preprocessor."""
        return MissingModPreprocessor


def bring_preprocessor(configuration_manager: ConfigurationManager) -> None:
    """Make the configuration bring its preprocessor if that is ours; any other is left as it is.

    The object itself is changed: nnU-Net builds the network with the one that it preprocesses with.
    """
    if configuration_manager.preprocessor_name == PREPROCESSOR:
        configuration_manager.__class__ = MissingModConfiguration
