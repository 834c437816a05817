"""A process of its own in which a model segments, so that the viewer neither waits for it nor ends with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy.typing as npt

if TYPE_CHECKING:
    from nnunet_missingmod.inference.predictor import Predictor


class Opened(NamedTuple):
    """A model has been loaded.

    Attributes:
        modalities: that it takes, in channel order.
        used: those of them that it uses; others change nothing.
    """

    modalities: tuple[str, ...]
    used: tuple[str, ...]


class Segmented(NamedTuple):
    """A case has been segmented.

    Attributes:
        array: labels, along the axes of the first image in channel order; of a slice (1, Y, X).
        spacing_mm: of its axes.
        present: the modalities that were used.
        said: lines on the accuracy to expect, on volumes, and on which modality would gain most.
    """

    array: npt.NDArray[Any]
    spacing_mm: tuple[float, ...]
    present: tuple[str, ...]
    said: tuple[str, ...]


class Failed(NamedTuple):
    """What was asked for cannot be done, and why."""

    why: str


Answer = Opened | Segmented | Failed


class Segmenter:
    """Asks a process and gets its answers without waiting; the process starts with the first question.

    Args:
        device: as ``Predictor.from_model_folder`` takes it.
    """

    def __init__(self, device: str = "auto") -> None:
        self._device = device
        self._process: Any = None
        self._connection: Connection | None = None
        self.is_busy = False

    def open(self, model: str | os.PathLike[str]) -> None:
        """Ask for a model: a folder, a zip of ``share``, or ``hf://user/name@revision``."""
        if self._process is not None and not self._process.is_alive():
            self.stop()  # so that a new one opens it
        self._ask("open", str(model))

    def segment(self, images: Mapping[str, Any]) -> None:
        """Ask for the segmentation of a case by the model that was opened; ``images`` as ``Predictor.predict``."""
        self._ask("segment", dict(images))

    def answer(self) -> Answer | None:
        """Return the answer to what was asked, or None if there is none yet."""
        if self._connection is None or not self.is_busy:
            return None
        try:
            if not self._connection.poll():
                return None
            found: Answer = self._connection.recv()
        except (EOFError, OSError):
            self.stop()
            return Failed("The process that segments has ended, perhaps for want of memory. Open the model again.")
        self.is_busy = False
        return found

    def stop(self) -> None:
        """End the process; whatever it computes is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None
        self.is_busy = False

    def _ask(self, what: str, content: Any) -> None:
        if self._connection is None:
            context = get_context("spawn")
            self._connection, other = context.Pipe()
            self._process = context.Process(target=serve, args=(other, self._device), daemon=True)
            self._process.start()
            other.close()
        self.is_busy = True
        with suppress(OSError):  # of a process that has ended, which answer() tells
            self._connection.send((what, content))


def serve(connection: Connection, device: str) -> None:
    """Answer questions until the other side is gone; the target of the process."""
    predictor: Predictor | None = None
    while True:
        try:
            what, content = connection.recv()
        except EOFError:
            return
        answer: Answer
        try:
            if what == "open":
                from nnunet_missingmod.inference.predictor import Predictor

                predictor = None  # two models may not fit into memory
                predictor = Predictor.from_model_folder(content, device=device)
                used = predictor.model.used_of(dict(enumerate(predictor.modalities)))
                answer = Opened(predictor.modalities, tuple(used.values()))
            elif predictor is None:
                answer = Failed("Open a model first.")
            else:
                answer = _segmented(predictor, content)
        except Exception as error:  # whatever it is, the viewer says it
            answer = Failed(str(error) or type(error).__name__)
        connection.send(answer)


def _segmented(predictor: Predictor, images: Mapping[str, Any]) -> Segmented:
    from nnunet_missingmod.inference.advise import conclusion

    made = predictor.predict(images)
    said = []
    if predictor.expected:
        said.append(f"{predictor.expected.text(made.present)}.")
        advice = predictor.expected.card.advise(made.present)
        said += [conclusion(advice)] if advice else []
    try:
        volumes = ", ".join(f"{name} {volume:.1f} mL" for name, volume in made.volumes_ml().items())
        said.append(f"Volumes: {volumes}.")
    except ValueError:  # a slice has none
        pass
    return Segmented(made.array, made.spacing_mm, made.present, tuple(said))
