"""The values of a model's plans, checked before a network is built from them and before the first case is read.

What nnU-Net itself writes is accepted: 2d, 3d, cascades, residual encoders, and plans of earlier versions.
"""

from __future__ import annotations

import inspect
import math
import pydoc
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import dynamic_network_architectures
import nnunetv2
from nnunetv2.preprocessing.normalization.default_normalization_schemes import CTNormalization, ImageNormalization
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnunet_missingmod.inference.model_files import ModelFolderError

_PACKAGES_OF_NETWORKS = ("dynamic_network_architectures.", "nnunet_missingmod.")
_PACKAGES_OF_PARTS = ("torch.nn.", *_PACKAGES_OF_NETWORKS)
_RESAMPLING = ("resampling_fn_data", "resampling_fn_seg", "resampling_fn_probabilities")
_INTENSITIES = ("mean", "std", "percentile_00_5", "percentile_99_5")
_ORDERS = range(6)  # of scipy's splines


def check_imported_names(configuration: ConfigurationManager, folder: Path) -> None:
    """Check that the names that nnU-Net imports and calls to build the network are those of networks and their parts.

    nnU-Net calls whatever the plans name with whatever arguments they give, a command of the system included.

    Args:
        configuration: the model's.
        folder: of the model, for messages.

    Raises:
        ModelFolderError: a name is of another package, or of something else than a module of torch.
    """
    architecture = configuration.configuration["architecture"]
    _check_name(architecture["network_class_name"], _PACKAGES_OF_NETWORKS, "architecture.network_class_name", folder)
    arguments, imported = architecture["arch_kwargs"], architecture["_kw_requires_import"]
    if not isinstance(arguments, Mapping):
        raise _refusal(folder, "architecture.arch_kwargs", arguments, "an object")
    if not _is_list(imported) or not all(isinstance(key, str) and key in arguments for key in imported):
        raise _refusal(folder, "architecture._kw_requires_import", imported, "a list of keys of arch_kwargs")
    for key in imported:
        if arguments[key] is not None:
            _check_name(arguments[key], _PACKAGES_OF_PARTS, f"architecture.arch_kwargs.{key}", folder)


def _check_name(name: Any, packages: tuple[str, ...], key: str, folder: Path) -> None:
    allowed = f"the name of a network or a layer of {' or '.join(each.rstrip('.') for each in packages)}"
    parts = name.split(".") if isinstance(name, str) else ()
    if not (parts and name.startswith(packages)) or any(part.startswith("_") or not part for part in parts):
        raise _refusal(folder, key, name, f"{allowed}; nothing of it was imported or executed")
    # A module of these packages has others as attributes (torch.nn.functional.importlib), so that a prefix is too
    # little. A class that was moved is looked for as nnU-Net does.
    try:
        found = pydoc.locate(name)
    except pydoc.ErrorDuringImport:
        found = None
    if found is None:
        architectures = Path(dynamic_network_architectures.__path__[0], "architectures")
        found = recursive_find_python_class(
            str(architectures), name.split(".")[-1], "dynamic_network_architectures.architectures"
        )
    if not (isinstance(found, type) and issubclass(found, nn.Module) and found.__module__.startswith(packages)):
        raise _refusal(folder, key, name, f"{allowed}; nothing of it was executed")


def check_values(
    plans: PlansManager, configuration: ConfigurationManager, folder: Path, *, num_modalities: int
) -> None:
    """Check the values of the plans that prediction uses.

    Args:
        plans, configuration: the model's.
        folder: of the model, for messages.
        num_modalities: how many channels dataset.json names.

    Raises:
        ModelFolderError: names plans.json, the key, its value, and what is allowed.
        KeyError and others: as nnU-Net raises them for a missing entry.
    """
    _check_geometry(configuration, folder)
    _check_transpositions(plans, folder)
    _check_normalisation(plans, configuration, folder, num_modalities=num_modalities)
    for name in _RESAMPLING:
        _check_resampling(configuration, name, folder)
    label_manager = plans.plans.get("label_manager")
    if label_manager is not None:
        found = plans.label_manager_class if isinstance(label_manager, str) else None
        if not (isinstance(found, type) and issubclass(found, LabelManager)):
            raise _refusal(folder, "label_manager", label_manager, "one that nnU-Net knows, as LabelManager")


def check_mirroring_axes(axes: Any, configuration: ConfigurationManager, fold: Path) -> tuple[int, ...] | None:
    """Return the axes along which a prediction may be mirrored, as a fold's checkpoint has them; None are none.

    Raises:
        ModelFolderError: they are no axes of the patch, or one is there twice; names the fold, the key and the values.
    """
    if axes is None:
        return None
    dimensions = len(configuration.patch_size)
    given = list(axes) if _is_list(axes) else [None]
    if not all(axis in range(dimensions) for axis in given) or len(set(given)) != len(given):
        raise ModelFolderError(
            f"The checkpoint in {fold} has inference_allowed_mirroring_axes {axes!r}; allowed are the numbers 0 to "
            f"{dimensions - 1}, each once, or None. Use the checkpoint as the training wrote it, or another one (-chk)."
        )
    return tuple(int(axis) for axis in axes)


def _check_geometry(configuration: ConfigurationManager, folder: Path) -> None:
    patch, spacing = configuration.patch_size, configuration.spacing
    if not _is_list(patch) or len(patch) not in (2, 3) or not all(_is_whole(size) and size >= 1 for size in patch):
        raise _refusal(folder, "patch_size", patch, "2 or 3 whole numbers from 1")
    dimensions = len(patch)
    if not _is_list(spacing) or len(spacing) != dimensions or not all(_is_number(s) and s > 0 for s in spacing):
        raise _refusal(folder, "spacing", spacing, f"{dimensions} numbers above 0, as many as patch_size {patch} has")
    arguments = configuration.network_arch_init_kwargs
    for key in ("kernel_sizes", "strides"):
        for stage in _stages(arguments.get(key)):
            sizes = stage if _is_list(stage) else [stage] * dimensions
            if len(sizes) != dimensions or not all(_is_whole(size) and size >= 1 for size in sizes):
                allowed = f"{dimensions} whole numbers from 1 for each stage, as many as patch_size has"
                raise _refusal(folder, f"architecture.arch_kwargs.{key}", arguments[key], allowed)
    strides = [stage if _is_list(stage) else [stage] * dimensions for stage in _stages(arguments.get("strides"))]
    divisors = [math.prod(stage[axis] for stage in strides) for axis in range(dimensions)]
    if any(size % divisor for size, divisor in zip(patch, divisors, strict=True)):
        allowed = f"multiples of the product of the strides along each axis, {divisors}"
        raise _refusal(folder, "patch_size", patch, allowed)


def _check_transpositions(plans: PlansManager, folder: Path) -> None:
    forward, backward = plans.transpose_forward, plans.transpose_backward
    for key, axes in (("transpose_forward", forward), ("transpose_backward", backward)):
        if not _is_list(axes) or not all(_is_whole(axis) for axis in axes) or sorted(axes) != [0, 1, 2]:
            raise _refusal(folder, key, axes, "0, 1 and 2 in some order")
    inverse = [list(forward).index(axis) for axis in range(3)]
    if list(backward) != inverse:
        raise _refusal(folder, "transpose_backward", backward, f"{inverse}, which undoes transpose_forward {forward}")


def _check_normalisation(
    plans: PlansManager, configuration: ConfigurationManager, folder: Path, *, num_modalities: int
) -> None:
    schemes, masks = configuration.normalization_schemes, configuration.use_mask_for_norm
    many = f"{num_modalities}, one for each channel of dataset.json"
    if not _is_list(schemes) or len(schemes) != num_modalities:
        raise _refusal(folder, "normalization_schemes", schemes, f"{many}, of nnU-Net's normalisations")
    if not _is_list(masks) or len(masks) != num_modalities or not all(isinstance(mask, bool) for mask in masks):
        raise _refusal(folder, "use_mask_for_norm", masks, f"{many}, each true or false")
    intensities = plans.foreground_intensity_properties_per_channel
    key = "foreground_intensity_properties_per_channel"
    if not isinstance(intensities, Mapping):
        raise _refusal(folder, key, intensities, "an object with an entry for each channel")
    place = str(Path(nnunetv2.__path__[0], "preprocessing", "normalization"))
    for channel, scheme in enumerate(schemes):
        found = None
        if isinstance(scheme, str):
            found = recursive_find_python_class(place, scheme, "nnunetv2.preprocessing.normalization")
        if not (isinstance(found, type) and issubclass(found, ImageNormalization)):
            raise _refusal(folder, "normalization_schemes", scheme, "normalisations of nnU-Net, as ZScoreNormalization")
        known = intensities.get(str(channel))
        if not isinstance(known, Mapping):
            raise _refusal(folder, f"{key}.{channel}", known, "an object, as the planner wrote it")
        if issubclass(found, CTNormalization) and not all(_is_number(known.get(name)) for name in _INTENSITIES):
            raise _refusal(folder, f"{key}.{channel}", dict(known), f"numbers for {', '.join(_INTENSITIES)} ({scheme})")


def _check_resampling(configuration: ConfigurationManager, name: str, folder: Path) -> None:
    key = f"{name}_kwargs"
    given = configuration.configuration[key]
    if not isinstance(given, Mapping):
        raise _refusal(folder, key, given, "an object")
    resample = getattr(configuration, name)
    assert isinstance(resample, partial)
    try:
        signature = inspect.signature(resample.func)
        signature.bind(None, None, None, None, **given)  # data, new shape, current and new spacing
    except (TypeError, ValueError) as error:
        allowed = f"arguments of {configuration.configuration[name]} ({error})"
        raise _refusal(folder, key, dict(given), allowed) from error
    for order in ("order", "order_z"):
        if order in given and not (_is_whole(given[order]) and given[order] in _ORDERS):
            raise _refusal(folder, f"{key}.{order}", given[order], f"a whole number from 0 to {_ORDERS[-1]}")
    for flag in ("is_seg", "force_separate_z"):
        if not isinstance(given.get(flag), bool | None):
            raise _refusal(folder, f"{key}.{flag}", given[flag], "true, false or null")


def _refusal(folder: Path, key: str, value: Any, allowed: str) -> ModelFolderError:
    shown = repr(value) if len(repr(value)) <= 200 else f"{repr(value)[:200]}..."
    return ModelFolderError(
        f"{folder / 'plans.json'}: {key} is {shown}, which must be {allowed}. Restore what the training wrote."
    )


def _stages(value: Any) -> list[Any]:
    """Return the entries of a list with one for each stage; a single number, for all stages, is no list."""
    return list(value) if _is_list(value) else []


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
