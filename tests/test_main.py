"""The package is a command of Python's, too."""

from __future__ import annotations

import subprocess
import sys

import nnunet_missingmod


def test_the_module_is_the_command():
    ran = subprocess.run(
        [sys.executable, "-m", "nnunet_missingmod", "--version"], capture_output=True, text=True, check=True
    )
    assert nnunet_missingmod.__version__ in ran.stdout
