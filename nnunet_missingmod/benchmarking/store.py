"""The predictions of an evaluation on disk, and the records that tell whether a prediction can be used again.

A prediction is used again if the model's weights and settings, the case's images and the file itself are unchanged. All
of this is compared by content, with one record per case.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_missingmod.modalities import Subset, subset_name
from nnunet_missingmod.storage import file_fingerprint, write_text

FOLDER = "predictions"
_RECORDS = "records"
_LONGEST_NAME = 200  # bytes of a folder's name; file systems take 255


@dataclass(frozen=True)
class PredictionSettings:
    """The settings of the sliding window; two evaluations of one model may differ in them."""

    tile_step_size: float = 0.5
    mirroring: bool = True


@dataclass(frozen=True)
class Origin:
    """All that determines the predictions of a case: the model, its settings, and the fingerprints of the images."""

    model: str
    settings: Mapping[str, Any]
    images: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return the JSON values that the record holds."""
        return {"model": self.model, "settings": dict(self.settings), "images": dict(self.images)}


@dataclass(frozen=True)
class PredictionStore:
    """The predictions of one model: ``folder/SUBSET/CASE.nii.gz``, and ``folder/records/CASE.json``.

    Args:
        folder: it is created when the first file is written.
        names: the modality names in channel order.
        file_ending: of the predictions.
    """

    folder: Path
    names: Sequence[str]
    file_ending: str

    def file(self, case: str, subset: Subset) -> Path:
        """Return the path of the prediction of a case under a subset."""
        return self.folder / self._subset_folder(subset) / f"{case}{self.file_ending}"

    def usable(self, case: str, origin: Origin, subsets: Sequence[Subset]) -> list[Subset]:
        """Return the subsets whose predictions exist, are complete, and have this origin."""
        record = self._read(case)
        if record.get("origin") != origin.as_json():
            return []
        known = record.get("predictions", {})
        return [subset for subset in subsets if self._is_whole(case, subset, known)]

    def present(self, case: str, origin: Origin) -> tuple[str, ...] | None:
        """Return the modalities that the case had when it was predicted from this origin, or None if it was not."""
        record = self._read(case)
        return tuple(record["present"]) if record.get("origin") == origin.as_json() else None

    def fold_agreement(self, case: str, origin: Origin) -> dict[str, dict[str, float]]:
        """Return {name of a subset: {region: agreement of the folds}} of predictions of this origin, where known."""
        record = self._read(case)
        known = record.get("fold_agreement") if record.get("origin") == origin.as_json() else None
        return known if isinstance(known, dict) else {}

    def record(
        self,
        case: str,
        origin: Origin,
        done: Sequence[Subset],
        *,
        present: Sequence[str],
        fold_agreement: Mapping[Subset, Mapping[str, float]] | None = None,
    ) -> None:
        """Record that the predictions of these subsets are complete, and keep the records of earlier ones.

        Args:
            present: names of the modalities that the case has.
            fold_agreement: of these subsets, if several folds predicted.
        """
        earlier = self._read(case)
        known = earlier.get("predictions", {}) if earlier.get("origin") == origin.as_json() else {}
        agreement = {
            **self.fold_agreement(case, origin),
            **{subset_name(subset, self.names): dict(each) for subset, each in (fold_agreement or {}).items()},
        }
        content = {
            "case": case,
            "origin": origin.as_json(),
            "present": list(present),
            # `usable` compares the fingerprints of earlier files, so that they need not be read here.
            "predictions": {
                **known,
                **{subset_name(subset, self.names): file_fingerprint(self.file(case, subset)) for subset in done},
            },
            **({"fold_agreement": agreement} if agreement else {}),
        }
        write_text(self.folder / _RECORDS / f"{case}.json", json.dumps(content, indent=2, sort_keys=True))

    def _is_whole(self, case: str, subset: Subset, known: Mapping[str, str]) -> bool:
        file = self.file(case, subset)
        return file.is_file() and known.get(subset_name(subset, self.names)) == file_fingerprint(file)

    def _read(self, case: str) -> dict[str, Any]:
        try:
            content = json.loads((self.folder / _RECORDS / f"{case}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _subset_folder(self, subset: Subset) -> str:
        safe_names = [re.sub(r"[^\w.-]", "_", name) for name in self.names]
        if len("+".join(safe_names).encode()) > _LONGEST_NAME:
            return f"channels {sum(1 << channel for channel in subset):x}"
        not_folders = any(name.casefold() == _RECORDS or not name.strip(".") for name in safe_names)
        if len({name.casefold() for name in safe_names}) < len(safe_names) or not_folders:
            return "-".join(map(str, subset))
        return "+".join(safe_names[channel] for channel in subset)
