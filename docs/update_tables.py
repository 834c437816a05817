"""Write the tables of the documents anew, from the package's choices and trainers: python docs/update_tables.py"""

from __future__ import annotations

import sys
from pathlib import Path

from nnunet_missingmod.reference import fill_tables

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Rewrite the documents whose tables have changed; return 0."""
    for document in (ROOT / "plans/README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = document.read_text(encoding="utf-8")
        filled = fill_tables(text)
        if filled != text:
            document.write_text(filled, encoding="utf-8")
            sys.stdout.write(f"updated {document.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
