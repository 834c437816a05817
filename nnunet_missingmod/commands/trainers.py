"""``nnunet_missingmod trainers``: what may follow -tr, read from the menu's source so that torch is not imported."""

from __future__ import annotations

import argparse

from nnunet_missingmod.commands.options import print_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``trainers``: there are none."""


def run(_args: argparse.Namespace) -> int:
    """Print each group's trainers with what a step costs in relation to stock nnU-Net's, and their lines."""
    from nnunet_missingmod.reference import grouped_trainers

    groups = grouped_trainers()
    entries = [entry for group in groups.values() for entry in group]
    name_width = max(len(entry.name) for entry in entries)
    cost_width = max(len(entry.cost) for entry in entries)
    for number, (group, trainers) in enumerate(groups.items()):
        print_line(f"{chr(10) if number else ''}{group}")
        for entry in trainers:
            print_line(f"  {entry.name:{name_width}}  {entry.cost:{cost_width}}  {entry.line}")
    return 0
