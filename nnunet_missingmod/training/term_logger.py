"""nnU-Net's log and progress figure, with every term of the loss in them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from nnunetv2.training.logging.nnunet_logger import LocalLogger
from PIL import Image

logger = logging.getLogger(__name__)

_INCHES = (30, 18)  # one of the three panels of the host's figure, at its default resolution


class TermLogger(LocalLogger):
    """nnU-Net's log with more series: one value per epoch each, in the checkpoint and in progress.png.

    Args:
        names: of the series; a value is a number, or a list of them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.my_fantastic_logging |= {name: [] for name in names}

    def plot_progress_png(self, output_folder: str) -> None:
        """Write nnU-Net's progress.png with one more panel below; no training ends for want of the panel."""
        super().plot_progress_png(output_folder)
        series = {name: self.my_fantastic_logging[name] for name in self.names}
        if series:
            file = Path(output_folder) / "progress.png"
            try:
                append_panel(file, series)
            except (OSError, SyntaxError) as error:  # what Pillow raises for a file that something else wrote to
                logger.warning("%s has no panel of the loss terms: %s", file, error)


def append_panel(file: Path, series: Mapping[str, Sequence[Any]]) -> None:
    """Append a panel with the series, one value or list of values per epoch, below the image in ``file``."""
    with Image.open(file) as figure:
        above = figure.convert("RGB")
    panel = Image.fromarray(_draw(series)).resize((above.width, round(above.width * _INCHES[1] / _INCHES[0])))
    joined = Image.new("RGB", (above.width, above.height + panel.height), "white")
    joined.paste(above, (0, 0))
    joined.paste(panel, (0, above.height))
    joined.save(file)


def _draw(series: Mapping[str, Sequence[Any]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    figure, axis = plt.subplots(figsize=_INCHES, dpi=100)
    for name, values in series.items():
        array = np.asarray(values, dtype=float).reshape(len(values), -1)  # (epochs, values)
        for column in range(array.shape[1]):
            label = name if array.shape[1] == 1 else f"{name}[{column}]"
            axis.plot(range(len(array)), array[:, column], label=label, linewidth=4)
    axis.set_xlabel("epoch")
    axis.set_ylabel("terms of the training loss, before their weights")
    axis.legend(loc=(0, 1), ncols=4)
    figure.tight_layout()
    canvas: Any = figure.canvas
    canvas.draw()
    drawn = np.array(canvas.buffer_rgba())[..., :3]
    plt.close(figure)
    return drawn
