"""``nnunet_missingmod plan`` and ``preprocess``: nnU-Net's own commands, which find this package's classes in memory.

nnU-Net looks for fingerprint extractors, planners and preprocessors in its own folders alone. Its commands are run in
this process, in which a module of each folder answers for our classes; its workers get functions of classes that they
import themselves. So nothing is written into nnU-Net.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from nnunet_missingmod import host
from nnunet_missingmod.commands.options import cannot_start
from nnunet_missingmod.commands.parser import Parser
from nnunet_missingmod.errors import FailedError, UsageError, listed

_PLAN, _PREPROCESS = "nnUNetv2_plan_and_preprocess", "nnUNetv2_preprocess"
_EXTRACTOR = ("-fpe", "MissingModFingerprintExtractor")
_PREPROCESSOR = ("-preprocessor_name", host.PREPROCESSOR)
_CONFIGURATIONS = ("2d", "3d_fullres", "3d_lowres")  # of nnU-Net's commands, unless -c names others


def add_plan_arguments(parser: Parser) -> None:
    """Declare the arguments of ``plan``: nnU-Net reads them."""
    _pass_on(
        parser,
        _PLAN,
        f". Unless given, {' '.join(_EXTRACTOR)} is added, and where a training case lacks files "
        f"{' '.join(_PREPROCESSOR)}",
    )


def run_plan(args: argparse.Namespace) -> int:
    """Run ``nnUNetv2_plan_and_preprocess`` with our fingerprint extractor, and our preprocessor where it is needed.

    Plans of complete cases name nnU-Net's preprocessor, so that stock nnU-Net can use them without this package.

    Raises:
        UsageError: there is no such dataset, a folder of nnU-Net is not set, or nnU-Net's preprocessor is asked for,
            though a training case lacks files.
    """
    host.host_folder()
    from nnunet_missingmod.planning.training_files import dataset_lacks_files

    words = list(args.others)
    if not _is_given(_EXTRACTOR[0], words):
        words += _EXTRACTOR
    given = _read(words)
    _check_datasets(given.d)
    if given.preprocessor_name in (None, host.HOST_PREPROCESSOR):
        lacking = [number for number in given.d if dataset_lacks_files(number)]
        if lacking and given.preprocessor_name:
            raise UsageError(
                f"Training cases of dataset {lacking[0]} lack files, and {given.preprocessor_name} would take their "
                f"images for the first channels. Leave out {_PREPROCESSOR[0]}."
            )
        words += _PREPROCESSOR if lacking else ()
    return _run(_PLAN, words, args)


def add_preprocess_arguments(parser: Parser) -> None:
    """Declare the arguments of ``preprocess``: nnU-Net reads them."""
    _pass_on(parser, _PREPROCESS, "")


def run_preprocess(args: argparse.Namespace) -> int:
    """Run ``nnUNetv2_preprocess``.

    Raises:
        UsageError: as `run_plan`; or the plans name nnU-Net's preprocessor, though a training case lacks files.
    """
    host.host_folder()
    from nnunet_missingmod.planning.training_files import dataset_lacks_files, planned_without_absence

    given = _read(args.others)
    _check_datasets(given.d)
    for number in given.d:
        unfit = planned_without_absence(number, given.plans_name, given.c)
        if unfit and dataset_lacks_files(number):
            raise UsageError(
                f"Training cases of dataset {number} lack files, and {given.plans_name} lets {host.HOST_PREPROCESSOR} "
                f"take their images for the first channels ({listed(unfit)}). Plan again (nnunet_missingmod plan -d "
                f'{number}), or set "preprocessor_name": "{host.PREPROCESSOR}" in these configurations.'
            )
    return _run(_PREPROCESS, list(args.others), args)


def _pass_on(parser: Parser, name: str, more: str) -> None:
    parser.passes_on = True
    parser.usage = f"{parser.prog} [-h] [--verbose] -d DATASET ..."
    parser.epilog = f"All options are those of {name} (see {name} -h){more}."


def _read(words: Sequence[str]) -> argparse.Namespace:
    """Return the options of nnU-Net's commands that are looked at here; what it will refuse names no dataset."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    _refuse_abbreviations(parser)
    parser.add_argument("-d", nargs="+", type=int, default=[])
    parser.add_argument("-preprocessor_name")
    parser.add_argument("-plans_name", default="nnUNetPlans")
    parser.add_argument("-c", nargs="+", default=_CONFIGURATIONS)
    try:
        return parser.parse_known_args(words)[0]
    except argparse.ArgumentError:
        return parser.parse_args([])


def _check_datasets(numbers: Sequence[int]) -> None:
    from nnunet_missingmod.cases.dataset import find_dataset

    with cannot_start():
        for number in numbers:
            find_dataset(str(number))
    if numbers and not os.environ.get("nnUNet_preprocessed"):  # noqa: SIM112 - the host's name
        raise UsageError("nnUNet_preprocessed is not set, where nnU-Net keeps plans and preprocessed data: set it.")


def _refuse_abbreviations(parser: Any) -> None:
    """Let a parser take no short form of an option; argparse's own switch is for options of two hyphens alone."""
    parser._get_option_tuples = lambda _option: []  # what an option may be short for


@contextmanager
def _strictly() -> Iterator[None]:
    """Inside, the first parser refuses what it does not know and abbreviations, and wants a dataset.

    nnU-Net's own passes over what it does not know.

    Raises:
        UsageError: in the place of the exit of an argparse parser.
    """
    parse = argparse.ArgumentParser.parse_known_args

    def parse_strictly(parser: Any, *words: Any) -> tuple[Any, list[str]]:
        argparse.ArgumentParser.parse_known_args = parse  # type: ignore[method-assign]
        _refuse_abbreviations(parser)
        known, unknown = parse(parser, *words)
        if unknown:
            raise UsageError(f"unrecognized arguments: {' '.join(unknown)}\n{parser.format_usage().rstrip()}")
        if not known.d:
            raise UsageError(f"Say which dataset, by its number: -d 123\n{parser.format_usage().rstrip()}")
        return known, []

    # Its commands make their parsers themselves.
    argparse.ArgumentParser.parse_known_args = parse_strictly  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        argparse.ArgumentParser.parse_known_args = parse  # type: ignore[method-assign]


def _is_given(option: str, words: Sequence[str]) -> bool:
    return any(word == option or word.startswith(f"{option}=") for word in words)


def _run(name: str, words: Sequence[str], args: argparse.Namespace) -> int:
    command = _command(name)
    from nnunet_missingmod.planning.in_memory import bridge_in_memory

    bridge_in_memory()
    before, sys.argv = sys.argv, [name, *words, *(["--verbose"] if args.verbose else [])]
    try:
        with _strictly():
            command.load()()
    except SystemExit as end:  # of nnU-Net's parser, which has said why
        if end.code:
            raise UsageError(f"{name} does not take {' '.join(args.others)}: see {name} -h") from end
    except (FailedError, UsageError):
        raise
    except Exception as error:
        raise FailedError(f"{name} failed: {type(error).__name__}: {error}") from error
    finally:
        sys.argv = before
    return 0


def _command(name: str) -> EntryPoint:
    """Return nnU-Net's command.

    Raises:
        HostError: the installed nnU-Net has no such command.
    """
    for found in entry_points(group="console_scripts", name=name):
        return found
    raise host.HostError(
        f"The installed {host.HOST} has no command {name}. Run: {sys.executable} -m pip install {host.HOST}"
    )
