"""``nnunet_missingmod plan`` and ``preprocess``: nnU-Net's own commands, which find this package's classes in memory.

nnU-Net looks for fingerprint extractors, planners and preprocessors in its own folders alone. Its commands are run in
this process, in which a module of each folder answers for our classes; its workers get functions of classes that they
import themselves. So nothing is written into nnU-Net.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from itertools import takewhile

from nnunet_missingmod import host
from nnunet_missingmod.commands.parser import Parser
from nnunet_missingmod.errors import FailedError, UsageError

_PLAN, _PREPROCESS = "nnUNetv2_plan_and_preprocess", "nnUNetv2_preprocess"
_EXTRACTOR = ("-fpe", "MissingModFingerprintExtractor")
_PREPROCESSOR = ("-preprocessor_name", host.PREPROCESSOR)


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
    """
    from nnunet_missingmod.planning.training_files import dataset_lacks_files

    datasets = _datasets(args.others, _PLAN)
    words = list(args.others)
    if not _is_given(_EXTRACTOR[0], words):
        words += _EXTRACTOR
    if not _is_given(_PREPROCESSOR[0], words) and any(map(dataset_lacks_files, datasets)):
        words += _PREPROCESSOR
    return _run(_PLAN, words, args)


def add_preprocess_arguments(parser: Parser) -> None:
    """Declare the arguments of ``preprocess``: nnU-Net reads them."""
    _pass_on(parser, _PREPROCESS, "")


def run_preprocess(args: argparse.Namespace) -> int:
    """Run ``nnUNetv2_preprocess``."""
    _datasets(args.others, _PREPROCESS)
    return _run(_PREPROCESS, list(args.others), args)


def _pass_on(parser: Parser, name: str, more: str) -> None:
    parser.passes_on = True
    parser.usage = f"{parser.prog} [-h] [--verbose] -d DATASET ..."
    parser.epilog = f"All options are those of {name} (see {name} -h){more}."


def _datasets(words: Sequence[str], name: str) -> list[int]:
    """Return the numbers after -d.

    Raises:
        UsageError: there are none.
    """
    after = list(words[words.index("-d") + 1 :]) if "-d" in words else []
    numbers = list(takewhile(lambda word: not word.startswith("-"), after))
    if not numbers:
        raise UsageError(f"Say which dataset, by its number: -d 123. All options are those of {name}: see {name} -h")
    if not all(number.isdecimal() for number in numbers):
        raise UsageError(f"-d takes the numbers of datasets, got {' '.join(numbers)}: -d 123")
    return [int(number) for number in numbers]


def _is_given(option: str, words: Sequence[str]) -> bool:
    return any(word == option or word.startswith(f"{option}=") for word in words)


def _run(name: str, words: Sequence[str], args: argparse.Namespace) -> int:
    host.host_folder()
    command = _command(name)
    from nnunet_missingmod.planning.in_memory import bridge_in_memory

    bridge_in_memory()
    before, sys.argv = sys.argv, [name, *words, *(["--verbose"] if args.verbose else [])]
    try:
        command.load()()
    except SystemExit as end:  # of nnU-Net's parser, which has said why
        if end.code:
            raise UsageError(f"{name} does not take {' '.join(args.others)}: see {name} -h") from end
    except FailedError:
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
