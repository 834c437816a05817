"""Draw the picture of the viewer's panel: a model, some volumes of one case, the segmentation from them.

    python docs/draw_viewer.py MODEL VOLUME [VOLUME ...] -o docs/figures/viewer.png

It needs the extra ``napari`` and a screen; ``xvfb-run`` stands in for one.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import napari
from qtpy.QtWidgets import QApplication

from nnunet_missingmod.viewer.panel import SegmentationPanel
from nnunet_missingmod.viewer.volumes import read_volumes


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("volumes", nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(argv)
    viewer = napari.Viewer(show=True, title="napari")
    viewer.window.resize(1250, 760)
    panel = SegmentationPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Segment with missing modalities", area="right")
    for data, described, _ in read_volumes(args.volumes):
        viewer.add_image(data, **described)
    panel.model.setText(args.model)
    panel.open_model()
    wait(panel)
    panel.segment()
    wait(panel)
    labels = viewer.layers[-1].data
    viewer.dims.set_current_step(0, int(labels.any((1, 2)).nonzero()[0].mean()))
    viewer.reset_view()
    for _ in range(20):
        QApplication.processEvents()
        time.sleep(0.05)
    viewer.screenshot(str(args.output), canvas_only=False, flash=False)
    panel.close()
    viewer.close()
    return 0


def wait(panel: SegmentationPanel) -> None:
    while panel.segmenter.is_busy:
        QApplication.processEvents()
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
