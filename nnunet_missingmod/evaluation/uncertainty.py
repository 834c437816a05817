"""A model's calibrated uncertainty: for each kind of agreement what its evaluated cases tell of a new one, as JSON.

``evaluate`` makes it with ``conformal`` and puts it into the model card; ``predict`` takes the intervals of a case from
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

from nnunet_missingmod.evaluation.agreement import KINDS, Agreement
from nnunet_missingmod.evaluation.agreement_regression import AgreementRegression
from nnunet_missingmod.evaluation.conformal import Calibration, CaseInterval, Coverage
from nnunet_missingmod.evaluation.json_fields import Fields, ImpossibleError

KEY = "uncertainty"
VERSION = 1


@dataclass(frozen=True)
class CalibratedKind:
    """The calibrations on one kind of agreement, and how the predictions were made on which it was measured.

    They hold for predictions that are made in the same way.

    Attributes:
        folds: how many predicted together.
        tile_step_size, mirroring: of the sliding window.
        groups: {number of modalities present: {region: calibration}}.
    """

    folds: int
    tile_step_size: float
    mirroring: bool
    groups: Mapping[int, Mapping[str, Calibration]]

    def intervals(self, subset: str, number: int, agreement: Agreement) -> dict[str, CaseInterval | str]:
        """Return the interval of a case in each region, or why there is none, as a clause.

        Args:
            subset: `subset_name` of its modalities.
            number: of its modalities.
            agreement: of its predictions, by region.
        """
        found: dict[str, CaseInterval | str] = {}
        for region, calibration in self.groups.get(number, {}).items():
            reason = calibration.why_none(subset)
            if reason is None and region not in agreement:
                reason = "its agreement is not known"
            found[region] = calibration.interval(subset, agreement[region]) if reason is None else reason
        return found

    @property
    def has_any(self) -> bool:
        """Whether there are intervals for any number of modalities."""
        return any(each.regression is not None for group in self.groups.values() for each in group.values())


def uncertainty_as_json(kinds: Mapping[str, CalibratedKind]) -> dict[str, Any]:
    """Return the JSON values of a model's calibrations by kind; undefined numbers are null."""
    return {
        "version": VERSION,
        "metric": "Dice of one case, 0..1: interval = dice of the subset + f(agreement - agreement of the subset) +- "
        "half_width, f linear between its knots",
        "kinds": {
            kind: {
                "folds": each.folds,
                "tile_step_size": each.tile_step_size,
                "mirroring": each.mirroring,
                "by_number": {
                    str(number): {region: _calibration_as_json(calibration) for region, calibration in group.items()}
                    for number, group in each.groups.items()
                },
            }
            for kind, each in kinds.items()
        },
    }


def uncertainty_of(card: Fields, *, regions: Sequence[str]) -> dict[str, CalibratedKind]:
    """Return what `uncertainty_as_json` wrote into a card; nothing from a card without it.

    Raises:
        ImpossibleError: a value is missing or impossible, or the version is a later one.
    """
    if KEY not in card.content:
        return {}
    top = card.part(KEY)
    if top.number("version") > VERSION:
        raise ImpossibleError(f"'version' of {KEY} is {top.content['version']}, this package reads up to {VERSION}")
    kinds = {}
    for kind in top.mapping("kinds"):
        if kind not in KINDS:
            raise ImpossibleError(f"{KEY} has the kind {kind!r}, and there are {' and '.join(KINDS)}")
        of_kind = top.part("kinds").part(kind)
        groups: dict[int, dict[str, Calibration]] = {}
        by_number = of_kind.part("by_number")
        for number in by_number.content:
            if not str(number).isdecimal():
                raise ImpossibleError(f"{by_number.place} has the number {number!r}")
            group = by_number.part(number)
            groups[int(number)] = {region: _calibration_of(group.part(region)) for region in regions}
        kinds[kind] = CalibratedKind(
            folds=of_kind.whole("folds", least=1),
            tile_step_size=of_kind.number("tile_step_size"),
            mirroring=of_kind.truth("mirroring"),
            groups=groups,
        )
    return kinds


def _calibration_as_json(calibration: Calibration) -> dict[str, Any]:
    content: dict[str, Any] = {"patients": calibration.patients, "observations": calibration.observations}
    if calibration.regression is None:
        return content
    coverage = calibration.coverage
    return {
        **content,
        "confidence": calibration.confidence,
        "half_width": calibration.half_width,
        "subsets": {
            name: {"agreement": agreement, "dice": dice}
            for name, (agreement, dice) in calibration.regression.means.items()
        },
        "knots": {"agreement": list(calibration.regression.agreement), "dice": list(calibration.regression.dice)},
        "coverage": {
            "share": None if isnan(coverage.share) else coverage.share,
            "patients": coverage.patients,
            "observations": coverage.observations,
        },
    }


def _calibration_of(fields: Fields) -> Calibration:
    patients, observations = fields.whole("patients", least=0), fields.whole("observations", least=0)
    if "half_width" not in fields.content:
        return Calibration(patients, observations)
    subsets, knots, coverage = (fields.part(key) for key in ("subsets", "knots", "coverage"))
    each = {name: subsets.part(name) for name in subsets.content}
    means = {
        name: (of.number("agreement", least=0, most=1), of.number("dice", least=0, most=1)) for name, of in each.items()
    }
    agreement, dice = knots.ascending("agreement", strictly=True), knots.ascending("dice", strictly=False)
    if len(agreement) != len(dice):
        raise ImpossibleError(f"{knots.place} has {len(agreement)} values of agreement and {len(dice)} of Dice")
    return Calibration(
        patients=patients,
        observations=observations,
        confidence=fields.number("confidence", least=0, most=1),
        half_width=fields.number("half_width", least=0, most=1),
        regression=AgreementRegression(means, agreement, dice),
        coverage=Coverage(
            share=coverage.number_or_nan("share", least=0, most=1),
            patients=coverage.whole("patients", least=0),
            observations=coverage.whole("observations", least=0),
        ),
    )
