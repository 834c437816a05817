"""How a command ends: what its exit code means, and the two errors that decide it.

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


class UsageError(ValueError):
    """A command cannot start as it was called: exit code 2. The message names what was given and what to change."""


class FailedError(RuntimeError):
    """A command has started and cannot end as it should: exit code 1. The message says what happened and what to do."""
