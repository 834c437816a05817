"""``nnunet_missingmod path``, ``attach`` and ``detach``: how nnU-Net finds this package's classes."""

from __future__ import annotations

import argparse

from nnunet_missingmod import host
from nnunet_missingmod.commands.options import print_line


def add_path_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``path``: there are none."""
    parser.epilog = f'export {host.VARIABLE}="$(nnunet_missingmod path)"'


def run_path(_args: argparse.Namespace) -> int:
    """Print the bridge's folder, and the others that the variable names already."""
    print_line(host.external_value())
    return 0


def add_attach_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``attach``."""
    parser.add_argument("--check", action="store_true", help="change nothing; exit 0 if attached, 1 if not")


def run_attach(args: argparse.Namespace) -> int:
    """Run ``attach`` or ``attach --check``; return 1 if ``--check`` finds that nnU-Net is not attached."""
    if args.check:
        missing = host.unattached()
        print_line(f"not attached: {', '.join(map(str, missing))}" if missing else f"attached to {host.host_folder()}")
        return 1 if missing else 0
    for file in host.attach():
        print_line(f"wrote {file}")
    print_line(f"attached to {host.host_folder()}")
    return 0


def add_detach_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``detach``: there are none."""


def run_detach(_args: argparse.Namespace) -> int:
    """Run ``detach``."""
    for file in host.detach():
        print_line(f"removed {file}")
    print_line(f"detached from {host.host_folder()}")
    return 0
