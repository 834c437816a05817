"""The parser of every command: strict, and its complaints are this package's errors."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from nnunet_missingmod.commands.options import print_line
from nnunet_missingmod.errors import UsageError


class _StoreOnce(argparse.Action):
    """Stores the value of an option, which argparse would silently replace by that of a second time."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if option_string is not None and self in parser.given:
            with_all = ", with all its values" if self.nargs == "+" else ""
            raise argparse.ArgumentError(self, f"{option_string} is given twice: give it once{with_all}")
        parser.given.add(self)
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """A parser that reads only options that are declared, and whose complaints are this package's errors.

    Attributes:
        passes_on: what is not declared is no error but ``others`` among the arguments, for another program.
    """

    passes_on = False

    def __init__(self, **more: Any) -> None:
        super().__init__(allow_abbrev=False, **more)
        for name in (None, "store"):
            self.register("action", name, _StoreOnce)

    def _get_option_tuples(self, _option_string: str) -> list[Any]:
        # What an option may be short for. allow_abbrev leaves -dev for -device, and -device for -d evice.
        return []

    def parse_known_args(self, *words: Any, **more: Any) -> tuple[Any, list[str]]:
        """As argparse's, each time with no option given yet."""
        self.given: set[argparse.Action] = set()
        return super().parse_known_args(*words, **more)

    def parse_args(self, *words: Any, **more: Any) -> Any:
        """As argparse's, if nothing is passed on."""
        if not self.passes_on:
            return super().parse_args(*words, **more)
        args, others = self.parse_known_args(*words, **more)
        args.others = others
        return args

    def print_help(self, file: Any = None) -> None:
        """Write the help; argparse would be silent about output that cannot be written."""
        print_line(self.format_help().removesuffix("\n"))

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{message}\n{self.format_usage().rstrip()}")
