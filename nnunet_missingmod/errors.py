"""How a command ends: what its exit code means, the two errors that decide it, and lists for their messages.

====  ============================================================================================================
code  meaning
====  ============================================================================================================
0     all is well
1     something failed after the command had started: a case, a model, the disk; what was done until then is kept
2     the command could not start as it was called; nothing was written
130   stopped by Ctrl-C
====  ============================================================================================================

``cli.main`` alone turns errors into these codes.
"""

from __future__ import annotations

from collections.abc import Collection


class UsageError(ValueError):
    """A command cannot start as it was called: exit code 2. The message names what was given and what to change."""


class FailedError(RuntimeError):
    """A command has started and cannot end as it should: exit code 1. The message says what happened and what to do."""


def counted(number: int, noun: str) -> str:
    """Return ``1 case`` or ``2 cases``, of a noun whose plural ends in s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(values: Collection[object], *, most: int = 5, rest: str = "others") -> str:
    """Return values for a message, separated by commas; of many, the first ones ``and`` the rest.

    Args:
        values: in their order.
        most: how many are shown.
        rest: what the others are called; ``{}`` in it stands for their number.
    """
    left = len(values) - most
    return ", ".join(map(str, list(values)[:most])) + (f" and {rest.format(left)}" if left > 0 else "")
