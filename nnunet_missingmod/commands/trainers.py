"""``nnunet_missingmod trainers``: what may follow -tr, read from the menu's source so that torch is not imported."""

from __future__ import annotations

import argparse

from nnunet_missingmod.commands.options import print_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``trainers``: there are none."""


def run(_args: argparse.Namespace) -> int:
    """Print each trainer and its line."""
    from nnunet_missingmod.reference import describe_trainers

    trainers = describe_trainers()
    width = max(map(len, trainers))
    for name, line in trainers.items():
        print_line(f"{name:{width}}  {line}")
    return 0
