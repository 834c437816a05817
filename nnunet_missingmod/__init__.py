"""nnU-Net v2 plugin for segmentation with missing modalities."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from nnunet_missingmod._version import __version__

if TYPE_CHECKING:
    from nnunet_missingmod.inference.predictor import Predictor

__all__ = ["Predictor", "__version__"]

_folder = os.path.dirname(os.path.abspath(__file__))


def _is_checkout(package: str) -> bool:
    """Whether the menu (trainers, plans) stands beside the package, as in the repository; installed, it is inside."""
    menu = [os.path.join(name, "__init__.py") for name in ("trainers", "plans")]
    beside = all(os.path.isfile(os.path.join(package, os.pardir, file)) for file in menu)
    return beside and not any(os.path.isfile(os.path.join(package, file)) for file in menu)


if _is_checkout(_folder):
    # Python started in a checkout imports its source folder, whether or not another copy is installed.
    __path__.append(os.path.dirname(_folder))


def __getattr__(name: str) -> Any:
    # nnU-Net's workers and our own commands import this package all the time; torch comes in when it is asked for.
    if name == "Predictor":
        from nnunet_missingmod.inference.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
