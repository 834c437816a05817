"""``nnunet_missingmod info``: versions, commands, trainers and choices, to read or, with ``--json``, for scripts.

The keys of the JSON are stable: later versions add some and rename none. Neither torch nor nnU-Net is imported.
"""

from __future__ import annotations

import argparse
import json
import platform
from typing import Any

from nnunet_missingmod import __version__
from nnunet_missingmod.commands.options import print_line
from nnunet_missingmod.commands.table import GROUPS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``info``."""
    parser.add_argument("--json", action="store_true", help="as JSON, whose keys are stable")


def run(args: argparse.Namespace) -> int:
    """Print everything that ``collect`` returns."""
    collected = collect()
    print_line(json.dumps(collected, indent=2) if args.json else _as_text(collected))
    return 0


def collect() -> dict[str, Any]:
    """Return what this installation is and offers.

    Returns:
        ``version`` of this package; ``python``, ``nnunetv2``, ``torch``: versions, None where a package is not
        installed; ``commands``: {name: {``group``, ``line``}}; ``trainers``: {name: {``group``, ``line``, ``like``,
        ``sets``}}; ``choices``: {name: {``default``, ``allowed``, ``values``, ``meaning``, ``used_by``}}, a default of
        None being nnU-Net's own.
    """
    from nnunet_missingmod.reference import describe_choices, trainer_entries

    return {
        "version": __version__,
        "python": platform.python_version(),
        "nnunetv2": _version_of("nnunetv2"),
        "torch": _version_of("torch"),
        "commands": {
            name: {"group": group, "line": command.line}
            for group, commands in GROUPS.items()
            for name, command in commands.items()
        },
        "trainers": {
            entry.name: {"group": entry.group, "line": entry.line, "like": entry.like, "sets": dict(entry.sets)}
            for entry in trainer_entries()
        },
        "choices": {
            choice["name"]: {key: value for key, value in choice.items() if key != "name"}
            for choice in describe_choices()
        },
    }


def _version_of(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _as_text(collected: dict[str, Any]) -> str:
    lines = [f"nnunet_missingmod {collected['version']}, Python {collected['python']}"]
    lines += [f"{package} {collected[package] or 'is not installed'}" for package in ("nnunetv2", "torch")]
    for title, listed in (("commands", collected["commands"]), ("trainers (-tr)", collected["trainers"])):
        lines += ["", f"{title}:"]
        width = max(map(len, listed))
        lines += [f"  {name:{width}}  {entry['line']}" for name, entry in listed.items()]
    lines += ["", 'choices (keys of "missingmod" in a configuration of the plans):']
    for name, choice in collected["choices"].items():
        default = "nnU-Net's" if choice["default"] is None else json.dumps(choice["default"])
        lines.append(f"  {name}: {choice['allowed']}; default {default}; {choice['used_by']}. {choice['meaning']}")
    return "\n".join(lines)
