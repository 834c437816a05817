"""Whose a case is, where patients were scanned more than once: by the case's name."""

from __future__ import annotations

import re
from collections.abc import Iterable


def compile_pattern(text: str) -> re.Pattern[str]:
    """Return the regular expression whose one group is the patient, to be matched from the start of a case's name.

    Raises:
        ValueError: it is no regular expression, or has not exactly one group.
    """
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}.") from error
    if pattern.groups != 1:
        raise ValueError(f"{text!r} must have one group in round brackets, the patient; it has {pattern.groups}.")
    return pattern


def name_patients(cases: Iterable[str], pattern: re.Pattern[str]) -> dict[str, str]:
    """Return the patient of each case.

    Raises:
        ValueError: the pattern does not name a patient in some case.
    """
    patients = {}
    for case in cases:
        found = pattern.match(case)
        if found is None or not found[1]:
            raise ValueError(f"{pattern.pattern!r} names no patient in case {case}, matched from its start.")
        patients[case] = found[1]
    return patients
