"""What all figures share: ink, colours, resolution, and how a figure becomes a PNG file.

Figures are drawn with matplotlib's object interface on the Agg canvas: no window, no global state, safe in threads. A
figure ten inches wide at 200 dots per inch stays legible at the thousand pixels that a README shows.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nnunet_missingmod.evaluation.atomic_file import replacing

DOTS_PER_INCH = 200
INK = "#222222"
PALE = "#dcdcdc"
# Okabe and Ito's palette without black and yellow, safe for colour-blind readers; lines beyond the sixth begin anew.
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")


def line_colour(index: int) -> str:
    """Return the colour of the line of that number."""
    return LINE_COLOURS[index % len(LINE_COLOURS)]


def panels(figure: Figure, count: int, columns: int) -> list[Axes]:
    """Return so many axes in rows of ``columns`` with common scales, those that are left over switched off."""
    rows = -(-count // columns)
    axes: list[Axes] = list(figure.subplots(rows, min(columns, count), squeeze=False, sharey=True).ravel())
    for unused in axes[count:]:
        unused.axis("off")
    return axes[:count]


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file on a white ground; ``path`` holds the old file or all of the new one."""
    FigureCanvasAgg(figure)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH, facecolor="white")
