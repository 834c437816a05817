"""Text for LaTeX: every character that LaTeX would read as a command, made harmless."""

from __future__ import annotations

_COMMANDS = {
    "\\": "\\textbackslash{}",
    "&": "\\&",
    "%": "\\%",
    "$": "\\$",
    "#": "\\#",
    "_": "\\_",
    "{": "\\{",
    "}": "\\}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "−": "$-$",
    "†": "\\textdagger{}",
    "±": "$\\pm$",
    "≥": "$\\geq$",
    "≤": "$\\leq$",
    "×": "$\\times$",
    "\n": " ",
}


def escape_latex(text: str) -> str:
    """Return text that LaTeX prints as it is; other characters than these are left, as UTF-8."""
    return "".join(_COMMANDS.get(character, character) for character in text)
