"""Folds that hold: all visits of a patient in one, and every modality trained on and validated in each.

nnU-Net splits cases at random, whatever patient they are of and whatever modalities they have.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from nnunetv2.utilities.crossval_split import generate_crossval_split

from nnunet_missingmod.errors import counted, listed

HOST_FOLDS, HOST_SEED = 5, 12345
"""What nnU-Net splits by where there is no splits_final.json."""
Fold = dict[str, list[str]]
"""An entry of splits_final.json: cases under ``train`` and ``val``."""

_YEAR, _MONTH, _DAY = r"(?:19|20)\d\d", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
_DATE = rf"(?:{_YEAR}[-_.]?{_MONTH}[-_.]?{_DAY}|{_DAY}[-_.]?{_MONTH}[-_.]?{_YEAR})"
# What may follow a patient in the name of a case, most telling first. A date may be followed by a time or a number, the
# number of a visit by a letter. Only t, m, w, y and d need a separator before them: 3T1 is none. D001 is none either.
_DATED = rf"[-_. ]{_DATE}(?:[-_T. ]\d{{1,6}})?"
_VISITS = (
    _DATED,
    r"(?:[-_. ](?i:[tmwy])|[-_. ]d|[-_. ]D(?=\d{1,2}(?!\d))|(?:[-_. ]|(?<=\d))"
    r"(?i:v|visit|sess?|session|scan|tp|timepoint|time|day"
    r"|week|wk|month|mo|year|yr|fu|followup|run|exam|study))[-_. ]?\d+[A-Za-z]?",
    r"[-_. ](?i:baseline|bl|followup|fu|pre|post|preop|postop|first|second|third|last)",
    r"(?<=\d\d)[-_]\d{1,3}",
)
# What all names may end with: it tells nothing about visits, and may stand after them.
_SHARED_END = re.compile(r"(?:[-_. ][A-Za-z][A-Za-z0-9]*)*$")
_MOST_VISITS = 12

# How often folds are made anew where one lacks a modality.
_TRIES = 20


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
    one; what all names end with may follow), if several agree in what is before it, and if no patient would have more
    than 12 visits. The most telling ending by which that is so decides.
    """
    # Of each name the first character is left out: something has to be before its end.
    end = os.path.commonprefix([case[:0:-1] for case in cases])[::-1]  # noqa: RUF071 - letter by letter is meant
    found_end = _SHARED_END.search(end)
    shared = re.escape(found_end[0] if found_end else "")
    for visit in _VISITS:
        pattern = rf"(.+?)(?:{visit})?{shared}$"
        of_patient: dict[str, list[str]] = {}
        for case in cases:
            found = re.match(pattern, case)
            of_patient.setdefault(found[1] if found else case, []).append(case)
        several = {patient: visits for patient, visits in of_patient.items() if len(visits) > 1}
        if several and (len(of_patient) == 1 or visit is _DATED):
            # Whatever tells less would take visits of one patient for patients.
            return Visits(pattern, several) if _are_visits(of_patient) else None
        if several and _are_visits(of_patient):
            return Visits(pattern, several)
    return None


def _are_visits(of_patient: Mapping[str, Sequence[str]]) -> bool:
    return len(of_patient) > 1 and max(map(len, of_patient.values())) <= _MOST_VISITS


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
    the seed. Where a fold then lacks a modality that it might have, patients are moved and exchanged as long as that
    helps, then other seeds are tried, derived from this one. The same arguments give the same folds.

    Args:
        present: {case: channels that it has}.
        patients: the patient of each case; a case that is not in it is a patient of its own.
        folds: their number, 2 or more.
        seed: of what is left to chance.

    Raises:
        ValueError: there are fewer patients than folds, or fewer than 2 folds, or the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"The seed is a whole number from 0, got {seed}.")
    owner = {case: patients.get(case, case) for case in present}
    names = sorted(set(owner.values()))
    if len(names) < 2:
        alone = f"One patient alone ({names[0]})" if names else "No patient"
        raise ValueError(f"{alone} cannot be split into {folds} folds: at least 2 patients are needed.")
    if not 2 <= folds <= len(names):
        raise ValueError(f"{len(names)} patients cannot be split into {folds} folds: give 2 to {len(names)} folds.")
    num_modalities = 1 + max((channel for channels in present.values() for channel in channels), default=-1)
    row_of = {name: row for row, name in enumerate(names)}
    counts = np.zeros((len(names), num_modalities + 1), dtype=np.int64)  # the last: cases
    for case, channels in present.items():
        row = counts[row_of[owner[case]]]
        row[list(channels)] += 1
        row[-1] += 1
    fold_of = _best_folds(counts, folds, seed)
    of_case = {case: fold_of[row_of[owner[case]]] for case in sorted(present)}
    return [
        {
            "train": [case for case, fold in of_case.items() if fold != number],
            "val": [case for case, fold in of_case.items() if fold == number],
        }
        for number in range(folds)
    ]


def _best_folds(counts: np.ndarray, folds: int, seed: int) -> list[int]:
    """Return the fold of each patient (row), by which as few folds as may be lack a modality.

    Args:
        counts: (patients, columns) what is balanced: cases with a modality, and in the last column cases.
    """
    counts = counts[:, counts.sum(0) > 0]
    having = (counts[:, :-1] > 0).sum(0)
    # What one patient alone has is lacked by one fold's training, too.
    unavoidable = int(np.maximum(folds - having, 0).sum() + (having == 1).sum())
    best: list[int] = []
    least = counts.shape[1] * folds * 2
    for number in range(_TRIES):
        fold_of = _stratified(counts, folds, np.random.default_rng([seed, number] if number else seed))
        lacking = _repair(fold_of, counts, folds, unavoidable)
        if lacking < least:
            best, least = fold_of, lacking
        if least <= unavoidable:
            break
    return best


def _repair(fold_of: list[int], counts: np.ndarray, folds: int, unavoidable: int) -> int:
    """Move patients, or exchange two, as long as less is lacking then; return how much still is.

    Each time it is the change after which least is lacking, of several the one after which folds are most alike.
    """
    total = counts.sum(0)

    def rank(sums: np.ndarray) -> tuple[int, float]:
        lacking = (sums == 0).sum() + (sums == total).sum()  # in validation, in training
        return int(lacking), float(((sums - total / folds) ** 2).sum())

    sums = np.zeros((folds, len(total)), dtype=np.int64)
    np.add.at(sums, fold_of, counts)
    while rank(sums)[0] > unavoidable:
        best, best_rank = None, (rank(sums)[0], -1.0)
        for fold, column in np.argwhere(sums == 0).tolist():
            for comes in np.flatnonzero(counts[:, column]).tolist():
                for goes in (None, *(row for row, its in enumerate(fold_of) if its == fold)):
                    changed = sums.copy()
                    change = counts[comes] - (0 if goes is None else counts[goes])
                    changed[fold] += change
                    changed[fold_of[comes]] -= change
                    if (its_rank := rank(changed)) < best_rank:
                        best, best_rank = (fold, comes, goes, changed), its_rank
        if best is None:
            break
        fold, comes, goes, sums = best
        if goes is not None:
            fold_of[goes] = fold_of[comes]
        fold_of[comes] = fold
    return rank(sums)[0]


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
    """Return, in words, which modality a fold does not train on or validate, and what it has on both sides.

    Args:
        present: {case: channels that it has}; cases of the folds that are not in it have none.
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
        on_both = {"case": set(fold["train"]) & set(fold["val"])}
        if patients:
            train, val = ({patients[case] for case in fold[kind] if case in patients} for kind in ("train", "val"))
            on_both["patient"] = train & val
        for what, both in on_both.items():
            if both:
                shown = listed(sorted(both))
                said.append(f"Fold {number} validates on {counted(len(both), what)} that it trains on: {shown}.")
    return said
