"""``python -m nnunet_missingmod`` is the command of that name."""

import sys

from nnunet_missingmod.cli import main

if __name__ == "__main__":
    sys.exit(main())
