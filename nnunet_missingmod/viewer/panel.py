"""The panel in napari: a model, which modality each layer is, and a button; the answer is a layer of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from nnunet_missingmod.viewer.segmenting import Opened, Segmented, Segmenter
from nnunet_missingmod.viewer.volumes import given_of, guess_modality, place_problem

if TYPE_CHECKING:
    import napari

_NOT_USED = "not used"
_ASKED_EVERY_MS = 100


class SegmentationPanel(QWidget):
    """Takes the image layers of the viewer, asks which modality each is, and segments.

    Args:
        napari_viewer: napari passes it by this name.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.segmenter = Segmenter()
        self.modalities: tuple[str, ...] = ()
        self.used: tuple[str, ...] = ()
        self.choices: dict[Any, QComboBox] = {}
        self._first: Any = None

        self.model = QLineEdit(placeholderText="model folder, zip, or hf://user/name@revision")
        browse, self.open_button = QPushButton("..."), QPushButton("Open model")
        browse.clicked.connect(self._browse)
        self.open_button.clicked.connect(self.open_model)
        line = QHBoxLayout()
        for part in (self.model, browse, self.open_button):
            line.addWidget(part)
        self.layers = QFormLayout()
        self.segment_button = QPushButton("Segment")
        self.segment_button.clicked.connect(self.segment)
        self.said = QLabel("Open a model, and the volumes that you have.", wordWrap=True)
        whole = QVBoxLayout()
        whole.addLayout(line)
        whole.addLayout(self.layers)
        whole.addWidget(self.segment_button)
        whole.addWidget(self.said)
        whole.addStretch()
        self.setLayout(whole)

        self._timer = QTimer(self)
        self._timer.timeout.connect(self._look_for_answer)
        self._timer.start(_ASKED_EVERY_MS)
        self.viewer.layers.events.inserted.connect(self._list_layers)
        self.viewer.layers.events.removed.connect(self._list_layers)
        self._list_layers()
        self._show_what_can_be_done()

    def open_model(self) -> None:
        """Load the model that is named."""
        self.segmenter.open(self.model.text().strip())
        self.said.setText("Loading the model ...")
        self._show_what_can_be_done()

    def segment(self) -> None:
        """Segment the layers that have a modality."""
        chosen = {layer: box.currentText() for layer, box in self.choices.items() if box.currentText() != _NOT_USED}
        twice = {name for name in chosen.values() if list(chosen.values()).count(name) > 1}
        if twice or not chosen:
            self.said.setText(
                f"Two layers are {', '.join(sorted(twice))}: choose one of them."
                if twice
                else "Say which modality a layer is, for one at least."
            )
            return
        used = [layer for layer in chosen if chosen[layer] in self.used] or list(chosen)
        if problem := place_problem(used):
            self.said.setText(problem)
            return
        self._first = min(used, key=lambda layer: self.modalities.index(chosen[layer]))
        self.segmenter.segment({name: given_of(layer) for layer, name in chosen.items()})
        self.said.setText(f"Segmenting from {', '.join(chosen.values())} ...")
        self._show_what_can_be_done()

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt calls it so
        """End the process with the panel."""
        self._timer.stop()
        self.segmenter.stop()
        super().closeEvent(event)

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Model folder")
        if folder:
            self.model.setText(folder)

    def _list_layers(self, _event: Any = None) -> None:
        """Show a choice for each image layer; what was chosen stays."""
        before = {layer: box.currentText() for layer, box in self.choices.items()}
        while self.layers.rowCount():
            self.layers.removeRow(0)
        self.choices = {}
        for layer in self.viewer.layers:
            if type(layer).__name__ != "Image":
                continue
            box = QComboBox()
            box.addItems([_NOT_USED, *self.modalities])
            kept = before.get(layer, _NOT_USED)
            guessed = guess_modality(layer.name, self.modalities)
            box.setCurrentText(kept if kept in self.modalities else guessed or _NOT_USED)
            self.choices[layer] = box
            self.layers.addRow(layer.name, box)

    def _look_for_answer(self) -> None:
        answer = self.segmenter.answer()
        if answer is None:
            return
        if isinstance(answer, Opened):
            self.modalities, self.used = answer
            self._list_layers()
            self.said.setText(f"The model takes {', '.join(self.used)}, or any of them.")
        elif isinstance(answer, Segmented):
            self.said.setText(self._add(answer))
        else:
            self.said.setText(answer.why)
        self._show_what_can_be_done()

    def _add(self, answer: Segmented) -> str:
        """Lay the labels onto the layer that they have the axes of, wherever that is now; return what to say."""
        first = self._first
        labels = answer.array[0] if first.data.ndim == 2 else answer.array
        if labels.shape != first.data.shape:
            return (
                f"The segmentation has the shape {labels.shape}, the layer {first.name} {first.data.shape}: it is no "
                "longer what its file holds. Open the file again."
            )
        self.viewer.add_labels(
            labels.astype(int),
            name=f"segmentation ({'+'.join(answer.present)})",
            scale=first.scale,
            translate=first.translate,
            rotate=first.rotate,
            shear=first.shear,
            affine=first.affine,
        )
        return "\n".join([f"Segmented from {', '.join(answer.present)}.", *answer.said])

    def _show_what_can_be_done(self) -> None:
        self.open_button.setEnabled(not self.segmenter.is_busy)
        self.segment_button.setEnabled(not self.segmenter.is_busy and bool(self.modalities))
