"""The options that several commands have, each declared once: nnU-Net's short spelling and one long one.

Spellings of earlier versions (``--jobs``, ``--dataset-id``) are still read but no longer shown. What a command prints
and how it refuses to start is here too, so that every command does both in one way.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from nnunet_missingmod.commands.values import device, file_name, filled, fold, named_path, path, share_of_patch
from nnunet_missingmod.errors import FailedError, UsageError

# Why lines of the command that runs could not be written to standard output.
_unwritten: list[OSError] = []


class Arguments(Protocol):
    """A parser, or a group of one."""

    @property
    def add_argument(self) -> Callable[..., argparse.Action]:
        """As argparse's."""


def print_line(line: str = "") -> None:
    """Write a line to standard output at once, so that progress is seen through a pipe too.

    Where it cannot be written the work goes on, and `lines_are_written` tells it at the end.
    """
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError as error:
        _unwritten.append(error)


@contextlib.contextmanager
def lines_are_written() -> Iterator[None]:
    """Around a command: when it has ended, its lines have been written to standard output.

    Raises:
        FailedError: they have not; the work is done nevertheless.
    """
    _unwritten.clear()
    yield
    if _unwritten:
        raise FailedError(f"Standard output cannot be written to: {_unwritten[0].strerror}.")


@contextlib.contextmanager
def cannot_start() -> Iterator[None]:
    """Around everything that a command checks and opens before its work: what is wrong there means exit code 2.

    Raises:
        UsageError: in place of a ValueError or OSError, with its message.
    """
    try:
        yield
    except UsageError:
        raise
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error


def add_option(parser: Arguments, short: str, long: str, *, old: Sequence[str] = (), **more: Any) -> None:
    """Declare an option by its short and its long spelling; the long one, as an identifier, is its name in ``args``.

    Args:
        parser: or a group of one.
        short: nnU-Net's spelling, as ``-np``.
        long: as ``--processes``.
        old: spellings that are still read but not shown.
        more: as for ``add_argument``.
    """
    dest = long.removeprefix("--").replace("-", "_")
    action = parser.add_argument(short, long, *old, dest=dest, **more)
    # Help and errors name an option by these; argparse reads by a table of its own.
    action.option_strings = [short, long]


def add_input(parser: Arguments, *, help: str) -> None:
    """Declare ``-i``, ``--input``: a folder of images."""
    add_option(parser, "-i", "--input", metavar="FOLDER", type=path, help=help)


def add_output(
    parser: Arguments,
    *,
    help: str = "output folder, made if need be",
    required: bool = False,
    default: Path | None = None,
) -> None:
    """Declare ``-o``, ``--output``: the folder that is written to."""
    add_option(parser, "-o", "--output", metavar="FOLDER", type=path, required=required, default=default, help=help)


def raw_folder(args: argparse.Namespace) -> Path:
    """Return the folder of raw datasets: ``-o``, else nnU-Net's variable.

    Raises:
        UsageError: there is neither.
    """
    raw = args.output or os.environ.get("nnUNet_raw")  # noqa: SIM112 - the host's name
    if not raw:
        raise UsageError("There is no folder to write to: give -o (--output) FOLDER, or set the variable nnUNet_raw.")
    return Path(raw)


def add_dataset(
    parser: Arguments,
    *,
    help: str = "dataset name or id",
    number: bool = False,
    required: bool = False,
    default: int | str | None = None,
) -> None:
    """Declare ``-d``, ``--dataset``: a dataset by id or name; with ``number``, the id of one that is made."""
    more: dict[str, Any] = {"metavar": "DATASET", "type": filled}
    if number:
        more = {"metavar": "ID", "type": int, "old": ["--dataset-id"]}
    add_option(parser, "-d", "--dataset", required=required, default=default, help=help, **more)


def add_processes(
    parser: Arguments, *, default: int = 1, help: str = "number of processes", old: Sequence[str] = ()
) -> None:
    """Declare ``-np``, ``--processes``; commands that called it ``--jobs`` pass that as ``old``."""
    shown = f"{help} (default: {default})"
    add_option(parser, "-np", "--processes", old=old, type=int, default=default, metavar="N", help=shown)


def check_folds(folds: Sequence[int | str] | None) -> None:
    """Check that no fold is asked for twice.

    Raises:
        UsageError: one is.
    """
    twice = sorted({str(fold) for fold in folds or () if list(folds or ()).count(fold) > 1})
    if twice:
        raise UsageError(f"-f names fold {', '.join(twice)} twice.")


def check_processes(number: int, option: str = "-np") -> None:
    """Check the number of processes, or of threads.

    Raises:
        UsageError: it is below 1.
    """
    if number < 1:
        raise UsageError(f"{option} is 1 or more, got {number}.")


def check_folders(*folders: Path | None) -> None:
    """Check that the folders that were given are there.

    Raises:
        UsageError: one is not.
    """
    for folder in folders:
        if folder is not None and not folder.is_dir():
            raise UsageError(f"There is no folder {folder}.")


def add_parts(parser: Arguments, *, help: str = "number of calls that share the cases", default: bool = True) -> None:
    """Declare ``-num_parts`` and ``-part_id``, for several machines; without ``default``, what is not given is None."""
    shown = " (default: %(default)s)" if default else ""
    one, first = (1, 0) if default else (None, None)
    add_option(
        parser,
        "-num_parts",
        "--num-parts",
        old=["--num_parts"],
        metavar="N",
        type=int,
        default=one,
        help=help + shown,
    )
    add_option(
        parser,
        "-part_id",
        "--part-id",
        old=["--part_id"],
        metavar="N",
        type=int,
        default=first,
        help=f"which of them this is, from 0{shown}",
    )


def add_device(parser: Arguments, *, default: str = "auto") -> None:
    """Declare ``-device``, ``--device``: where networks run."""
    shown = f"auto (the GPU where there is one), cuda, cuda:1, mps, cpu (default: {default})"
    add_option(parser, "-device", "--device", metavar="DEVICE", type=device, default=default, help=shown)


def add_model_options(
    parser: Arguments,
    *,
    several: bool = False,
    help: str = "model folder TRAINER__PLANS__CONFIGURATION, model.zip of share, or hf://USER/NAME@REVISION",
) -> None:
    """Declare ``-m``, and what finds a model folder by nnU-Net's names: ``-d -c -tr -p``.

    Args:
        parser: or a group of one.
        several: whether ``-m`` and ``-tr`` take one or more, the folders as ``[NAME=]FOLDER``.
        help: of ``-m``.
    """
    if several:
        taken: dict[str, Any] = {"type": named_path, "nargs": "+", "action": "extend", "default": []}
        add_option(parser, "-m", "--model", metavar="[NAME=]FOLDER", help=help, **taken)
    else:
        add_option(parser, "-m", "--model", metavar="FOLDER", type=path, help=help)
    add_dataset(parser, help="instead of -m: dataset name or id")
    shown = "instead of -m: configuration, as 3d_fullres"
    add_option(parser, "-c", "--configuration", metavar="CONFIGURATION", type=filled, help=shown)
    add_option(
        parser,
        "-tr",
        "--trainer",
        metavar="TRAINER",
        type=filled,
        **({"nargs": "+", "action": "extend"} if several else {}),
        help=f"instead of -m: {'one or more trainers' if several else 'trainer'}, as nnUNetTrainerModalityDropout",
    )
    shown = "with -d: plans (default: nnUNetPlans)"
    add_option(parser, "-p", "--plans", metavar="PLANS", type=filled, default="nnUNetPlans", help=shown)


def check_model_options(args: argparse.Namespace) -> None:
    """Check that one model is named: by its folder, or by dataset, configuration and trainer.

    Raises:
        UsageError: it is named in both ways, or in neither.
    """
    named = {"-d": args.dataset, "-c": args.configuration, "-tr": args.trainer}
    missing = [option for option, value in named.items() if value is None]
    if args.model is None and missing:
        raise UsageError(f"Give a model folder (-m), or {' and '.join(missing)} too.")
    if args.model is not None and len(missing) < len(named):
        raise UsageError("Give a model folder (-m) or its dataset, configuration and trainer (-d -c -tr), not both.")


def one_dataset(args: argparse.Namespace, command: str) -> str:
    """Return the dataset that is given, with or without ``-d``.

    Raises:
        UsageError: there is none, or one is given in both ways.
    """
    given = [dataset for dataset in (args.positional, args.dataset) if dataset is not None]
    if len(given) != 1:
        raise UsageError(f"Give one dataset: {command} -d DATASET, its id, its name (Dataset123_Name), or its folder.")
    return str(given[0])


def take_positional_model(args: argparse.Namespace) -> None:
    """Let the model that is given without ``-m`` be that of ``-m``.

    Raises:
        UsageError: one is given in both ways.
    """
    if args.positional is not None and args.model is not None:
        raise UsageError("Give one model folder: FOLDER or -m FOLDER.")
    args.model = args.model or args.positional


def model_folder(args: argparse.Namespace) -> Path:
    """Return the folder of the one model that ``add_model_options`` read, unpacked if it is a shared one.

    Raises:
        ValueError: nnU-Net knows no such dataset, or a shared model is torn or was changed.
        UsageError: there is no such folder.
    """
    if args.model is not None:
        from nnunet_missingmod.sharing.local import local_folder

        folder = local_folder(args.model)
    else:
        from nnunet_missingmod.inference.model_files import find_model_folder

        folder = find_model_folder(args.dataset, args.configuration, args.trainer, args.plans)
    if not folder.is_dir():
        raise UsageError(f"There is no model folder {folder}.")
    return folder


def add_folds(parser: Arguments, *, help: str = "folds (default: all that are trained)") -> None:
    """Declare ``-f``, ``--folds``."""
    add_option(parser, "-f", "--folds", metavar="FOLD", type=fold, nargs="+", help=help)


def add_checkpoint(parser: Arguments) -> None:
    """Declare ``-chk``, ``--checkpoint``."""
    add_option(
        parser,
        "-chk",
        "--checkpoint",
        metavar="FILE",
        type=file_name,
        default="checkpoint_final.pth",
        help="checkpoint of each fold (default: %(default)s)",
    )


def add_window_options(parser: Arguments) -> None:
    """Declare ``-step_size`` and ``--disable_tta`` of nnU-Net's sliding window."""
    add_option(
        parser,
        "-step_size",
        "--step-size",
        metavar="SHARE",
        type=share_of_patch,
        default=0.5,
        help="step of the sliding window, as a share of the patch (default: %(default)s)",
    )
    parser.add_argument("--disable_tta", action="store_true", help="do not average over mirrored images: faster")


def add_verbose(parser: Arguments) -> None:
    """Declare ``--verbose``, which every command has."""
    parser.add_argument(
        "--verbose", action="store_true", help="say more, warnings of other packages and tracebacks included"
    )
