"""Segment uploaded scans: one process, one warm model, requests in a queue.

    pip install fastapi uvicorn python-multipart
    MODEL=path/to/nnUNetTrainerModalityDropout__nnUNetPlans__3d_fullres uvicorn service:app --app-dir examples
    curl -F T1=@t1.nii.gz -F FLAIR=@flair.nii.gz http://localhost:8000/segment -o segmentation.nii.gz

A request holds one file for each modality that the patient has, under the modality's name. The answer is the
segmentation; what was computed from which modalities, volumes (null for a slice) and the expected Dice are in its
header ``X-Prediction``.
"""

import json
import logging
import os
import tempfile
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Semaphore, Thread

from fastapi import FastAPI, HTTPException, Request, Response
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from nnunet_missingmod import Predictor
from nnunet_missingmod.cases.files import CaseRefusedError
from nnunet_missingmod.inference.named_images import assign_names
from nnunet_missingmod.inference.prediction import Prediction

LARGEST_QUEUE = 16

logger = logging.getLogger(__name__)


class EndedError(Exception):
    """No case is predicted any more."""


class Queued:
    """Predicts what is put into a queue; the next case is read while one is in the network."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._room = Semaphore(LARGEST_QUEUE)
        self._order = Lock()
        self._asked: SimpleQueue[dict[str, Path] | None] = SimpleQueue()
        self._answers: deque[Future[Prediction]] = deque()  # in the order of what was asked
        self._ended: EndedError | None = None
        self._thread = Thread(target=self._answer, daemon=True)
        self._thread.start()

    def ask(self, images: dict[str, Path]) -> Prediction:
        """Return the prediction, or raise what ended it; waits while the queue is full.

        Raises:
            EndedError: something has ended the prediction of all cases, now or earlier.
        """
        answer: Future[Prediction] = Future()
        with self._room:
            with self._order:
                if self._ended is not None:
                    raise self._ended
                self._answers.append(answer)
                self._asked.put(images)
            return answer.result()

    def stop(self) -> None:
        """Predict what was asked for, and end."""
        with self._order:
            self._ended = self._ended or EndedError("The service has ended.")
            self._asked.put(None)
        self._thread.join()

    def _answer(self) -> None:
        try:
            for made in self.predictor.predict_many(iter(self._asked.get, None)):
                answer = self._answers.popleft()
                if isinstance(made, Exception):
                    answer.set_exception(made)
                else:
                    answer.set_result(made)
        except Exception as error:  # whatever it is, nobody must wait for ever
            logger.exception("No case is predicted any more.")
            with self._order:
                self._ended = EndedError(
                    f"No case is predicted any more ({type(error).__name__}: {error}). Start the service again."
                )
                for answer in self._answers:
                    answer.set_exception(self._ended)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    if "MODEL" not in os.environ:
        raise ValueError("Set MODEL to the model's folder, or its zip: MODEL=path/to/model uvicorn service:app")
    predictor = Predictor.from_model_folder(os.environ["MODEL"], device=os.environ.get("DEVICE", "auto"))
    if predictor.model.configuration_manager.previous_stage_name is not None:
        raise ValueError(
            f"{os.environ['MODEL']} is the second stage of a cascade ({predictor.model.configuration}) and needs the "
            "first one's prediction of each case, which no request holds: serve the first stage, or another model."
        )
    app.state.queued = Queued(predictor)
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
    # The parser takes what has come for all; a request that is cut off would lack modalities.
    _, options = parse_options_header(request.headers.get("content-type"))
    if (mark := options.get(b"boundary")) and b"\r\n--" + mark + b"--" not in await request.body():
        raise HTTPException(422, "The request is cut off: the end of its last part is missing. Send it again.")
    async with request.form() as form:
        contents: dict[str, tuple[str, bytes]] = {}
        for name, value in form.multi_items():  # what is passed over here would be a modality less
            if not isinstance(value, UploadFile):
                what = f"the text {value[:100]!r} and no file" if value.isprintable() else "sent without a file's name"
                said = f"{name} is {what}: send a file with its name (with curl, -F {name}=@FILE)."
                raise HTTPException(422, said)
            if name in contents:
                raise HTTPException(422, f"{name} is given twice: send one file for it.")
            contents[name] = value.filename or "", await value.read()
    return await run_in_threadpool(_segment, request.app.state.queued, contents)


def _segment(queued: Queued, contents: dict[str, tuple[str, bytes]]) -> Response:
    try:
        return _answer(queued, contents)
    except HTTPException:
        raise
    except EndedError as error:
        raise HTTPException(503, str(error)) from error
    except Exception as error:  # out of memory or of disk, say: the next case may still work
        logger.exception("A case failed.")
        raise HTTPException(500, f"This case failed, others may not ({type(error).__name__}: {error}).") from error


def _answer(queued: Queued, contents: dict[str, tuple[str, bytes]]) -> Response:
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
