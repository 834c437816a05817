"""The scores of an evaluation on disk, by model and case, so that nothing is scored twice.

Scores are used again if prediction and reference hold the same bytes and are read and scored in the same way. So is the
agreement of a prediction with those from one modality less, if all of them hold the same bytes.
``scoring`` asks it case by case; each case has files of its own, so that several processes may do so at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from nnunet_missingmod.evaluation.agreement import Agreement
from nnunet_missingmod.evaluation.scoring import RegionScore
from nnunet_missingmod.storage import write_text

FOLDER = "scored"

Scores = dict[str, RegionScore]
"""{region: measurements} of one prediction."""


class Stored(NamedTuple):
    """What is known of one case.

    Attributes:
        scores: {fingerprint of a prediction: its scores}.
        agreement: {fingerprint of a prediction and those that it is compared with: their agreement}.
    """

    scores: dict[str, Scores]
    agreement: dict[str, Agreement]


@dataclass(frozen=True)
class ScoreStore:
    """The scores of one model: ``folder/CASE.json``."""

    folder: Path

    def read(self, case: str, origin: Mapping[str, Any]) -> Stored:
        """Return what is known of a case: nothing if it has another origin.

        Args:
            origin: JSON values of all that determines scores beside the prediction.
        """
        try:
            content = json.loads(self._file(case).read_text(encoding="utf-8"))
            if content["origin"] != origin:
                return Stored({}, {})
            return Stored(
                {
                    key: {region: RegionScore(**values) for region, values in regions.items()}
                    for key, regions in content["scores"].items()
                },
                {
                    key: {region: float(value) for region, value in regions.items()}
                    for key, regions in content.get("agreement", {}).items()
                },
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not there, or torn
            return Stored({}, {})

    def write(self, case: str, origin: Mapping[str, Any], stored: Stored) -> None:
        """Write what is known of a case in place of what was."""
        names = [field.name for field in fields(RegionScore)]
        content = {
            "case": case,
            "origin": dict(origin),
            "scores": {
                key: {region: {name: getattr(score, name) for name in names} for region, score in regions.items()}
                for key, regions in sorted(stored.scores.items())
            },
            "agreement": {key: dict(regions) for key, regions in sorted(stored.agreement.items())},
        }
        write_text(self._file(case), json.dumps(content, indent=1))

    def _file(self, case: str) -> Path:
        return self.folder / f"{case}.json"
