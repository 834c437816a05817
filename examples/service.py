"""Segment uploaded scans: one process, one warm model, requests in a queue.

    pip install fastapi uvicorn python-multipart
    MODEL=path/to/nnUNetTrainerModalityDropout__nnUNetPlans__3d_fullres uvicorn service:app --app-dir examples
    curl -F T1=@t1.nii.gz -F FLAIR=@flair.nii.gz http://localhost:8000/segment -o segmentation.nii.gz

A request holds one file for each modality that the patient has, under the modality's name. The answer is the
segmentation; what was computed from which modalities, volumes (null for a slice) and the expected Dice are in its
header ``X-Prediction``.
"""

import json
import os
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from queue import Queue
from threading import Thread

from fastapi import FastAPI, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from nnunet_missingmod import Predictor
from nnunet_missingmod.cases.files import CaseRefusedError
from nnunet_missingmod.inference.named_images import assign_names
from nnunet_missingmod.inference.prediction import Prediction

LARGEST_QUEUE = 16


class Queued:
    """Predicts what is put into a queue; the next case is read while one is in the network."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._asked: Queue[tuple[dict[str, Path], Future[Prediction]] | None] = Queue(LARGEST_QUEUE)
        self._answers: deque[Future[Prediction]] = deque()
        self._thread = Thread(target=self._answer, daemon=True)
        self._thread.start()

    def ask(self, images: dict[str, Path]) -> Prediction:
        """Return the prediction, or raise what ended it; waits while the queue is full."""
        answer: Future[Prediction] = Future()
        self._asked.put((images, answer))
        return answer.result()

    def stop(self) -> None:
        """Predict what was asked for, and end."""
        self._asked.put(None)
        self._thread.join()

    def _cases(self) -> Iterator[dict[str, Path]]:
        while (asked := self._asked.get()) is not None:
            images, answer = asked
            self._answers.append(answer)
            yield images

    def _answer(self) -> None:
        for made in self.predictor.predict_many(self._cases()):
            answer = self._answers.popleft()
            if isinstance(made, Exception):
                answer.set_exception(made)
            else:
                answer.set_result(made)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.queued = Queued(Predictor.from_model_folder(os.environ["MODEL"], device=os.environ.get("DEVICE", "auto")))
    yield
    app.state.queued.stop()


app = FastAPI(lifespan=lifespan)


@app.get("/modalities")
def modalities(request: Request) -> list[str]:
    """Return the names under which images can be sent."""
    return list(request.app.state.queued.predictor.modalities)


@app.post("/segment")
async def segment(request: Request) -> Response:
    """Return the segmentation of a case, as a file of the model's format."""
    async with request.form() as form:
        contents: dict[str, tuple[str, bytes]] = {}
        for name, value in form.multi_items():  # what is passed over here would be a modality less
            if not isinstance(value, UploadFile):
                said = f"{name} is the text {value[:100]!r} and no file: send one (with curl, -F {name}=@FILE)."
                raise HTTPException(422, said)
            if name in contents:
                raise HTTPException(422, f"{name} is given twice: send one file for it.")
            contents[name] = value.filename or "", await value.read()
    return await run_in_threadpool(_segment, request.app.state.queued, contents)


def _segment(queued: Queued, contents: dict[str, tuple[str, bytes]]) -> Response:
    ending = queued.predictor.model.file_ending
    with tempfile.TemporaryDirectory() as name:
        folder, images = Path(name), {}
        for number, (modality, (filename, content)) in enumerate(contents.items()):
            if not filename.lower().endswith(ending):
                raise HTTPException(422, f"{modality}: send a file that ends with {ending}, got {filename!r}.")
            images[modality] = folder / f"image{number}{ending}"  # never a name that came from outside
            images[modality].write_bytes(content)
        try:
            assign_names(images, queued.predictor.modalities)
            prediction = queued.ask(images)
        except ValueError as error:  # a name that is none, a file that cannot be used
            message = error.problem if isinstance(error, CaseRefusedError) else str(error)
            raise HTTPException(422, message.replace(f"{folder}/", "")) from error
        prediction.save(folder / f"segmentation{ending}")
        content = (folder / f"segmentation{ending}").read_bytes()
    described = {
        "present": prediction.present,
        "volumes_ml": _volumes_ml(prediction),
        "expected_dice": prediction.expected_dice,
    }
    return Response(content, media_type="application/octet-stream", headers={"X-Prediction": json.dumps(described)})


def _volumes_ml(prediction: Prediction) -> dict[str, float] | None:
    try:
        return prediction.volumes_ml()
    except ValueError:  # a slice or a picture has none
        return None
