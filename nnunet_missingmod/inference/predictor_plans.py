"""A model folder's plans, checked before the first case: what the host would miss in the middle is missed here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from nnunet_missingmod.inference.model_files import ModelFolderError
from nnunet_missingmod.inference.model_folder import ModelFolder


@contextlib.contextmanager
def naming_the_plans(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what the host raises over plans that lack something into a message that names them.

    Raises:
        ModelFolderError: in place of what is no ValueError.
    """
    try:
        yield
    except ValueError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, AssertionError, ImportError) as error:
        raise ModelFolderError(
            f"plans.json or dataset.json of {folder} cannot be used ({type(error).__name__}: {error}). Restore what "
            "the training wrote."
        ) from error


def touch_plans(model: ModelFolder) -> None:
    """Read what prediction will need of the plans, so that what is missing is missed before the first case."""
    manager, configuration = model.plans_manager, model.configuration_manager
    for holder, names in (
        (manager, ("image_reader_writer_class", "transpose_forward", "transpose_backward")),
        (manager, ("foreground_intensity_properties_per_channel",)),
        (configuration, ("patch_size", "spacing", "normalization_schemes", "use_mask_for_norm")),
        (configuration, ("resampling_fn_data", "resampling_fn_seg", "resampling_fn_probabilities")),
        (configuration, ("previous_stage_name", "network_arch_class_name")),
        (model, ("label_manager", "file_ending")),
    ):
        for name in names:
            getattr(holder, name)
