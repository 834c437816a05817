"""nnU-Net v2 plugin for segmentation with missing modalities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnunet_missingmod._version import __version__

if TYPE_CHECKING:
    from nnunet_missingmod.inference.predictor import Predictor

__all__ = ["Predictor", "__version__"]


def __getattr__(name: str) -> Any:
    # nnU-Net's workers and our own commands import this package all the time; torch comes in when it is asked for.
    if name == "Predictor":
        from nnunet_missingmod.inference.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
