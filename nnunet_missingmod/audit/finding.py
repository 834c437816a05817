"""What an audit found: a finding per check, all of them as a table or as JSON.

The checks of this package return findings; ``network.audit`` and ``inference.model_audit`` collect them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from types import MappingProxyType
from typing import Any, Literal

Result = Literal["pass", "fail", "note", "does not apply"]
PASS: Result = "pass"
"""The network keeps the rule."""
FAIL: Result = "fail"
"""It breaks the rule."""
NOTE: Result = "note"
"""A number to know; nothing to pass or fail."""
NOT_APPLICABLE: Result = "does not apply"
"""It was not or could not be checked; the meaning says why."""
_WORST_FIRST = (FAIL, NOTE, PASS, NOT_APPLICABLE)

EVALUATION, TRAINING = "evaluation", "training"

CHECKS: Mapping[str, str] = MappingProxyType(
    {
        "content": "Does what an absent modality holds change the output?",
        "gradient": "Do absent modalities get gradient, and do all present ones get some?",
        "constant": "Do layers of an absent modality, which run on a filling, still reach the output?",
        "batch": "Does each sample of a batch follow its own subset, whatever the others are?",
        "state": "Does a prediction depend on chance, or on the case before it?",
        "none": "What comes out if no modality is there?",
        "zero": "Is a modality that is zero everywhere told apart from an absent one?",
        "order": "Does the order of the files matter?",
        "more": "Do more modalities hurt?",
    }
)
"""Every check by name, and the question that it answers. The names are keys of the JSON and stay."""
# Of every other check's number, the larger one is the worse.
_WORSE_IF_SMALLER = frozenset({"zero"})

_HEAD = ("check", "result", "number", "meaning")
_LEAST_WIDTH = 40


@dataclass(frozen=True)
class Finding:
    """The answer of one check.

    Attributes:
        check: of `CHECKS`.
        mode: ``"evaluation"`` or ``"training"``, the network's mode in the check; ``""`` if it has none.
        result: ``"pass"``, ``"fail"``, ``"note"`` or ``"does not apply"``.
        number: what was measured, or None.
        unit: what the number is.
        meaning: a sentence or two on what that means, and on how to mend it.
    """

    check: str
    mode: str
    result: Result
    number: float | None
    unit: str
    meaning: str

    @property
    def title(self) -> str:
        """The check, and its mode if that is training."""
        return f"{self.check} ({TRAINING})" if self.mode == TRAINING else self.check

    def cells(self) -> tuple[str, str, str, str]:
        """Return title, result, number and meaning as text; the unit of what is not 0 stands before it."""
        number = "" if self.number is None else f"{self.number:.3g}"
        unit = f"({self.unit}) " if self.number and self.unit else ""
        return self.title, self.result, number, unit + self.meaning


@dataclass(frozen=True)
class Audit:
    """The findings on one network or model.

    Attributes:
        subject: what was audited.
        convention: how it is told what is absent, in a sentence.
        findings: in the order of `CHECKS`.
    """

    subject: str
    convention: str
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The findings that fail; the audit is passed if there are none."""
        return tuple(finding for finding in self.findings if finding.result == FAIL)

    def verdict(self) -> str:
        """Return what it comes to, in a sentence."""
        if self.failed:
            return f"It leaks: {', '.join(finding.title for finding in self.failed)}."
        checked = sum(finding.result == PASS for finding in self.findings)
        return f"No leak found: {checked} checks passed." if checked else "Nothing could be checked."

    def as_text(self, *, width: int = 120) -> str:
        """Return a table for a terminal of ``width`` characters."""
        lines = [_HEAD, *(finding.cells() for finding in self.findings)]
        widths = [max(len(line[column]) for line in lines) for column in range(3)]
        before = "  ".join("{:{}}" for _ in widths) + "  "
        room = max(_LEAST_WIDTH, width - sum(widths) - 2 * len(widths))
        text = [f"Audit of {self.subject}", *textwrap.wrap(self.convention, width=max(width, _LEAST_WIDTH)), ""]
        for line in lines:
            cells = [item for cell, size in zip(line[:3], widths, strict=True) for item in (cell, size)]
            blank = [item for size in widths for item in ("", size)]
            first, *others = textwrap.wrap(line[3], width=room) or [""]
            text.append((before.format(*cells) + first).rstrip())
            text += [before.format(*blank) + other for other in others]
        return "\n".join([*text, "", self.verdict()])

    def as_markdown(self) -> str:
        """Return a document with the table and the questions that the checks answer."""

        def row(cells: Sequence[str]) -> str:
            return "| " + " | ".join(cell.replace("|", r"\|").replace("\n", " ") for cell in cells) + " |"

        named = {finding.check for finding in self.findings}
        lines = [f"# Audit of {self.subject}", "", self.convention, "", row(_HEAD), "| --- | --- | --: | --- |"]
        lines += [row(finding.cells()) for finding in self.findings]
        lines += ["", self.verdict(), ""]
        lines += [f"- {check}: {question}" for check, question in CHECKS.items() if check in named]
        return "\n".join(lines) + "\n"

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values; the keys are stable, and a number that is infinite is null."""
        return {
            "subject": self.subject,
            "convention": self.convention,
            "leaks": bool(self.failed),
            "verdict": self.verdict(),
            "findings": [
                {
                    **asdict(each),
                    "number": each.number if each.number is not None and isfinite(each.number) else None,
                    "question": CHECKS[each.check],
                }
                for each in self.findings
            ],
        }


def worst(of_parts: Mapping[str, Sequence[Finding]]) -> list[Finding]:
    """Return one finding per check of several parts (folds): the worst, and its part is named if there are several.

    Of one result, the worst has the largest number; of ``zero``, a share of what is told apart, the smallest.

    Args:
        of_parts: {part: its findings}, the same checks in the same order for every part.
    """
    chosen = []
    for findings in zip(*of_parts.values(), strict=True):
        ranked = sorted(
            zip(of_parts, findings, strict=True),
            key=lambda pair: (_WORST_FIRST.index(pair[1].result), -_badness(pair[1])),
        )
        part, found = ranked[0]
        alike = all(finding == found for finding in findings)
        chosen.append(found if alike else replace(found, meaning=f"{part}: {found.meaning}"))
    return chosen


def _badness(finding: Finding) -> float:
    """Return a number that is larger for the worse of two findings of one check and result."""
    number = finding.number or 0.0
    return -number if finding.check in _WORSE_IF_SMALLER else number
