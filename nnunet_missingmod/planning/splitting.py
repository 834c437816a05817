"""Folds that hold: all visits of a patient in one, and every modality trained on and validated in each.

nnU-Net splits cases at random, whatever patient they are of and whatever modalities they have.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from nnunetv2.utilities.crossval_split import generate_crossval_split

HOST_FOLDS, HOST_SEED = 5, 12345
"""What nnU-Net splits by where there is no splits_final.json."""
Fold = dict[str, list[str]]
"""An entry of splits_final.json: cases under ``train`` and ``val``."""

# What may follow a patient in the name of a case, most telling first.
_VISITS = (
    r"[-_](?:19|20)\d{6}",
    r"[-_](?i:sess?|session|visit|scan|tp|timepoint|time|week|wk|month|mo|year|yr|fu|followup|v|t|m)[-_]?\d+",
    r"[-_](?i:baseline|bl|followup|fu|pre|post|preop|postop)",
    r"(?<=\d\d)[-_]\d{1,3}",
)
_MOST_VISITS = 12


class Visits(NamedTuple):
    """Cases that look like visits of the same patients.

    Attributes:
        pattern: the regular expression by which they do, for ``--patients``.
        of_patient: {patient: cases}, of the patients with several.
    """

    pattern: str
    of_patient: dict[str, list[str]]


def find_visits(cases: Sequence[str]) -> Visits | None:
    """Return cases whose names look like visits of one patient, or None.

    Names tell if they end as visits are called (a date, ``v2``, ``ses-01``, ``followup``, a short number after a longer
    one), if several agree in what is before it, and if no patient would have more than 12 visits.
    """
    for visit in _VISITS:
        pattern = rf"(.+?)(?:{visit})?$"
        of_patient: dict[str, list[str]] = {}
        for case in cases:
            found = re.match(pattern, case)
            of_patient.setdefault(found[1] if found else case, []).append(case)
        several = {patient: visits for patient, visits in of_patient.items() if len(visits) > 1}
        if several and max(map(len, several.values())) <= _MOST_VISITS and len(of_patient) > 1:
            return Visits(pattern, several)
    return None


def host_folds(cases: Sequence[str]) -> list[Fold]:
    """Return nnU-Net's folds of the cases, or fewer where there are fewer cases than folds."""
    folds = min(HOST_FOLDS, len(cases))
    if folds < 2:
        return []
    split = generate_crossval_split(sorted(cases), seed=HOST_SEED, n_splits=folds)
    return [{kind: [str(case) for case in part[kind]] for kind in ("train", "val")} for part in split]


def balanced_folds(
    present: Mapping[str, Sequence[int]], *, patients: Mapping[str, str], folds: int, seed: int
) -> list[Fold]:
    """Return folds with all cases of a patient in one, balanced by number of cases and by modality.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011) of patients, whose labels are the
    modalities of their cases, counted: the patients of the rarest modality are given out first, those with most cases
    of it before others, each to the fold that still wants most of it; then to the one that wants most cases, then by
    the seed. The same arguments give the same folds.

    Args:
        present: {case: channels that it has}.
        patients: the patient of each case; a case that is not in it is a patient of its own.
        folds: their number, 2 or more.
        seed: of what is left to chance.

    Raises:
        ValueError: there are fewer patients than folds, or fewer than 2 folds.
    """
    owner = {case: patients.get(case, case) for case in present}
    names = sorted(set(owner.values()))
    if not 2 <= folds <= len(names):
        raise ValueError(f"{len(names)} patients cannot be split into {folds} folds: give 2 to {len(names)} folds.")
    num_modalities = 1 + max((channel for channels in present.values() for channel in channels), default=-1)
    row_of = {name: row for row, name in enumerate(names)}
    counts = np.zeros((len(names), num_modalities + 1), dtype=np.int64)  # the last: cases
    for case, channels in present.items():
        row = counts[row_of[owner[case]]]
        row[list(channels)] += 1
        row[-1] += 1
    fold_of = _stratified(counts, folds, np.random.default_rng(seed))
    of_case = {case: fold_of[row_of[owner[case]]] for case in sorted(present)}
    return [
        {
            "train": [case for case, fold in of_case.items() if fold != number],
            "val": [case for case, fold in of_case.items() if fold == number],
        }
        for number in range(folds)
    ]


def _stratified(counts: np.ndarray, folds: int, rng: np.random.Generator) -> list[int]:
    """Return the fold of each patient (row); columns are what is balanced."""
    wanted = np.tile(counts.sum(0) / folds, (folds, 1))
    number = np.zeros(folds, dtype=np.int64)
    fold_of = [-1] * len(counts)
    left = list(rng.permutation(len(counts)))
    while left:
        having = (counts[left] > 0).sum(0)
        label = min((column for column in range(counts.shape[1]) if having[column]), key=lambda column: having[column])
        for patient in sorted((row for row in left if counts[row, label]), key=lambda row: -counts[row, label]):
            # No fold stays empty while others get a second patient that it could have had.
            empty = [fold for fold in range(folds) if not number[fold]]
            among = empty if len(left) <= len(empty) else list(range(folds))
            best = max(among, key=lambda fold: (wanted[fold, label], wanted[fold, -1], rng.random()))
            fold_of[patient] = best
            number[best] += 1
            wanted[best] -= counts[patient]
            left.remove(patient)
    return fold_of


def faults_of_folds(
    folds: Sequence[Fold],
    present: Mapping[str, Sequence[int]],
    names: Sequence[str],
    *,
    patients: Mapping[str, str] | None = None,
) -> list[str]:
    """Return, in words, which modality a fold does not train on or validate, and which patients it has on both sides.

    Args:
        present: {case: channels that it has}; cases of the folds that are not in it are left out.
        names: of the modalities.
        patients: the patient of each case, if they are known.
    """
    said = []
    every = sorted({channel for channels in present.values() for channel in channels})
    for number, fold in enumerate(folds):
        for kind, verb in (("train", "trains on"), ("val", "validates")):
            has = Counter(channel for case in fold[kind] for channel in present.get(case, ()))
            lacking = [names[channel] for channel in every if not has[channel]]
            if lacking:
                said.append(f"Fold {number} {verb} no case with {', '.join(lacking)}.")
        if patients:
            sides = [{patients[case] for case in fold[kind] if case in patients} for kind in ("train", "val")]
            both = sorted(sides[0] & sides[1])
            if both:
                shown = ", ".join(both[:5]) + (" ..." if len(both) > 5 else "")
                said.append(f"Fold {number} validates on {len(both)} patients that it trains on: {shown}.")
    return said
