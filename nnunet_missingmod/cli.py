"""The ``nnunet_missingmod`` command: finds a command's module by name, runs it, and turns errors into exit codes.

Nothing but the command asked for is imported. What the exit codes mean is said in ``errors``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, TextIO

from nnunet_missingmod import __version__
from nnunet_missingmod.commands.options import add_verbose, lines_are_written, print_line
from nnunet_missingmod.commands.parser import Parser
from nnunet_missingmod.commands.table import COMMANDS, GROUPS, Command
from nnunet_missingmod.errors import FailedError, UsageError

_PACKAGE = "nnunet_missingmod"
_INTERRUPTED = 130  # as shells count it: 128 + SIGINT


def make_parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of a command of ``COMMANDS``."""
    command = COMMANDS[name]
    parser = Parser(prog=f"{_PACKAGE} {name}", description=command.line)
    _function(command, "add", "_arguments")(parser)
    add_verbose(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 if all is well, 1 if something failed, 2 if it could not start."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verbose = "--verbose" in arguments
    if arguments[:1] == ["--verbose"]:  # before the command, it means the same
        arguments = [*arguments[1:2], "--verbose", *arguments[2:]]
    _open_closed_streams()
    if argv is None and isinstance(sys.stdout, io.TextIOWrapper):
        # As standard error does: a terminal that lacks the ö of Hölder, or a file name that is no text, is no failure.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with lines_are_written():
            code = _run(arguments)
    except KeyboardInterrupt:
        code = _INTERRUPTED
        _complain(arguments, "stopped by Ctrl-C.", verbose=False)
    except UsageError as error:
        code = 2
        _complain(arguments, str(error), verbose=verbose)
    except (FailedError, OSError) as error:
        code, said = 1, str(error)
        if isinstance(error, FileNotFoundError) and "temporary directory" in said:
            said += " Set TMPDIR to a folder that can be written to."
        _complain(arguments, said, verbose=verbose)
    except Exception as error:
        code = 1
        _complain(arguments, f"{type(error).__name__}: {error}", verbose=verbose)
        if not verbose:
            _say("This is unexpected. Run again with --verbose for the traceback, and report it.\n")
    for stream in (sys.stdout, sys.stderr):
        _give_up_what_cannot_be_written(stream)
    return code


def _run(arguments: Sequence[str]) -> int:
    if not arguments or arguments == ["--verbose"]:
        _say(_usage())
        return 2
    if arguments[0] in ("-h", "--help"):
        print_line(_usage().removesuffix("\n"))
        return 0
    if arguments[0] == "--version":
        print_line(f"{_PACKAGE} {__version__}")
        return 0
    if arguments[0] not in COMMANDS:
        _say(f"{_PACKAGE}: unknown command {arguments[0]!r}\n\n{_usage()}")
        return 2
    try:
        args = make_parser(arguments[0]).parse_args(arguments[1:])
    except SystemExit:  # after --help: what is wrong is a UsageError
        return 0
    with _logging(verbose=args.verbose):
        code: int = _function(COMMANDS[arguments[0]], "run")(args)
    return code


def _usage() -> str:
    width = max(map(len, COMMANDS))
    listed = "".join(
        f"\n{group}:\n" + "".join(f"  {name:{width}}  {command.line}\n" for name, command in commands.items())
        for group, commands in GROUPS.items()
    )
    return (
        f"usage: {_PACKAGE} [-h] [--version] [--verbose] COMMAND ...\n\n"
        "nnU-Net v2 for cases with missing modalities. Each command takes --help.\n"
        f"{listed}\n"
        "exit codes: 0 all is well; 1 something failed after the start; 2 it could not start as it was called;\n"
        "130 stopped by Ctrl-C\n"
    )


def _function(command: Command, before: str, after: str = "") -> Callable[..., Any]:
    named = f"_{command.prefix}" if command.prefix else ""
    found: Callable[..., Any] = getattr(import_module(f"{_PACKAGE}.{command.module}"), f"{before}{named}{after}")
    return found


@contextlib.contextmanager
def _logging(*, verbose: bool) -> Iterator[None]:
    """Show this package's log on standard error; that of others, and their warnings, with --verbose alone.

    Afterwards logging is as it was: who calls ``main`` from Python keeps his own.
    """
    ours, everyone = logging.getLogger(_PACKAGE), logging.getLogger()
    level, propagate = ours.level, ours.propagate
    shown, dropped = logging.StreamHandler(), logging.NullHandler()
    shown.setFormatter(logging.Formatter("%(message)s"))
    ours.addHandler(shown)
    ours.setLevel(logging.DEBUG if verbose else logging.INFO)
    ours.propagate = False
    if not verbose:
        everyone.addHandler(dropped)
        logging.captureWarnings(True)
    try:
        yield
    finally:
        ours.removeHandler(shown)
        ours.setLevel(level)
        ours.propagate = propagate
        if not verbose:
            everyone.removeHandler(dropped)
            logging.captureWarnings(False)


def _complain(arguments: Sequence[str], message: str, *, verbose: bool) -> None:
    if verbose:
        import traceback

        _say(traceback.format_exc())
    _say(f"{' '.join([_PACKAGE, *arguments[:1]])}: {message}\n")


def _say(text: str) -> None:
    # Where standard error cannot be written to, the exit code is all that is left, and stays what it is.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _open_closed_streams() -> None:
    """Give a standard stream that was closed (``>&-``) its place back, before a file that is opened takes it.

    Writing to a closed standard output fails as it does on a full disk; what goes to a closed standard error is lost.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115  open until the end of the process
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def _give_up_what_cannot_be_written(stream: TextIO) -> None:
    # Python would try again at its exit, complain about what has been said already, and change the exit code.
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    sys.exit(main())
