"""Many cases through one ``Predictor``: their stages overlap, one bad case stops no other, each gets a row."""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from nnunet_missingmod.cases.files import CaseFiles, CaseRefusedError
from nnunet_missingmod.cases.image_file import spacing_file
from nnunet_missingmod.choices import FILE_KEYS
from nnunet_missingmod.inference.check_ahead import Check, CheckAhead, check_of
from nnunet_missingmod.inference.overlap import overlapped
from nnunet_missingmod.inference.prediction import FINGERPRINTS, SIDECAR_ENDING, UNFINISHED, Prediction
from nnunet_missingmod.inference.predictor import Predictor
from nnunet_missingmod.inference.stages import InferredCase, PreparedCase
from nnunet_missingmod.inference.uncertainty import describe, warnings_of
from nnunet_missingmod.storage import ending_problem, file_fingerprint, read_json_object

logger = logging.getLogger(__name__)

STATUS_FILE = "predictions.jsonl"

Row = dict[str, Any]
Content = TypeVar("Content")


def append_row(file: Path, row: Mapping[str, Any]) -> None:
    """Append one row, in a single write, so that processes may share the file.

    A row that a full disk cut off is closed by the next one's line break and stays the only unreadable line.

    Raises:
        OSError: the row could not be written as a whole.
    """
    # A file name that is not UTF-8 is written as JSON's own escapes.
    content = (json.dumps(row, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
    with file.open("a+b", buffering=0) as stream:
        if stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                content = b"\n" + content
        written = stream.write(content)
    if written != len(content):
        raise OSError(f"Only {written} of {len(content)} bytes could be appended to {file}.")


def predict_cases(
    predictor: Predictor,
    cases: Sequence[CaseFiles],
    output: Path,
    *,
    probabilities: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    uncertainty: bool = False,
    preparing: int = 2,
    exporting: int = 2,
    check_ahead: bool = False,
    report: Callable[[str], object] = logger.info,
) -> Counter[str]:
    """Predict the cases that can be, and write a status row for each.

    While one case is in the network, the next ones are read and preprocessed and the last ones written. Rows are in the
    order of the cases, after those of the cases that are kept or whose names or earlier predictions refuse them.

    Args:
        output: folder that is there; receives ``CASE`` + the model's file ending, ``CASE.missingmod.json``, and
            ``predictions.jsonl``.
        probabilities: whether to write them too.
        resume: whether to keep the predictions that were made from the same files, model and choices.
        uncertainty: whether each case is also predicted from one modality less, see `Predictor.predict`.
        overwrite: whether a file that has the name of a case's prediction is replaced though it is another case's, or
            nothing says what it was made from.
        preparing: how many cases are read and preprocessed at once, each by a thread.
        exporting: how many are brought to their own grid and written at once, each by a thread.
        check_ahead: whether a process of its own, which yields to everything else, reads the files of the cases that
            are not begun yet, so that what is wrong with them is reported before their turn. It is spawned: a script
            must call this below ``if __name__ == "__main__"``.
        report: is called with a line on each case, as soon as it is known what became of it; and before that with one
            on each case that was found ahead to be unusable.

    Returns:
        How many cases have which status: ``predicted``, ``kept``, ``refused`` (their files cannot be used) or
        ``failed`` (anything else).
    """
    run = _Run(predictor, output, probabilities=probabilities, uncertainty=uncertainty, total=len(cases), report=report)
    remaining = []
    for case in cases:
        others = None if overwrite else replaced_files(case, run.target(case))
        if resume and run.is_made(case):
            run.record(case, {"status": "kept"})
        elif others or (others is not None and not run.sidecar(case).exists()):
            run.record(case, {"status": "refused", "error": _of_another_case(run.target(case), others)})
        elif problem := ending_problem(case.case):
            run.record(case, {"status": "refused", "error": f"The case's name {problem}: rename its files."})
        else:
            remaining.append(case)
    check = check_of(predictor)
    with CheckAhead(remaining[preparing:] if check_ahead else (), check, report=report) as ahead:
        try:
            for case, row in overlapped(
                remaining,
                prepare=partial(run.prepare, check=check, ahead=ahead),
                run=run.infer,
                finish=run.finish,
                preparing=preparing,
                finishing=exporting,
            ):
                run.record(case, _row_of(case, row))
        finally:  # of an interrupted run, too, every prediction that is written has its row
            for case in remaining:
                if case.case in run.written:
                    run.record(case, run.written[case.case])
    return run.tally


class _Timed(NamedTuple, Generic[Content]):
    """A case on its way, and how many seconds its stages took so far."""

    case: CaseFiles
    seconds: float
    content: Content


class _Run:
    """The rows of one run and how they come about."""

    def __init__(
        self,
        predictor: Predictor,
        output: Path,
        *,
        probabilities: bool,
        uncertainty: bool,
        total: int,
        report: Callable[[str], object],
    ) -> None:
        self.predictor = predictor
        self.output = output
        self.probabilities = probabilities
        self.uncertainty = uncertainty
        self.total = total
        self.report = report
        self.tally: Counter[str] = Counter()
        self.written: dict[str, Row] = {}  # of each case whose prediction is written and has no row yet
        self.read_from: dict[str, Row] = {}  # `made_from` as each case on its way is read
        model = predictor.model
        self.model = {
            "folder": str(model.folder.resolve()),
            "folds": list(model.folds),
            "checkpoint": model.checkpoint_name,
            "fingerprint": model.fingerprint,
        }

    def prepare(self, case: CaseFiles, *, check: Check, ahead: CheckAhead) -> _Timed[PreparedCase]:
        """Read and preprocess a case.

        Raises:
            CaseRefusedError: with all problems of its files.
        """
        started = time.perf_counter()
        self.read_from[case.case] = self.made_from(case)
        problems = check(case).problems if ahead.take(case) or case.problems or not case.files else ()
        if not problems:
            try:
                prepared = self.predictor.prepare(case.files, case=case.case, previous_stage=case.previous_stage)
                return _Timed(case, time.perf_counter() - started, prepared)
            except CaseRefusedError as error:
                problems = check(case).problems or (error.problem,)
        raise CaseRefusedError(case.case, " ".join(problems))

    def infer(self, timed: _Timed[PreparedCase]) -> _Timed[InferredCase | Prediction]:
        """Let the network segment a case; everything that the network has a part in."""
        started = time.perf_counter()
        inferred = self.predictor.infer(timed.content)
        result: InferredCase | Prediction = inferred
        if self.uncertainty:
            result = self.predictor.finish(inferred, probabilities=self.probabilities, uncertainty=True)
        return _Timed(timed.case, timed.seconds + time.perf_counter() - started, result)

    def finish(self, timed: _Timed[InferredCase | Prediction]) -> Row:
        """Bring a case to its own grid and save it; return its row."""
        case, started = timed.case, time.perf_counter()
        prediction = timed.content
        if isinstance(prediction, InferredCase):
            prediction = self.predictor.finish(prediction, probabilities=self.probabilities)
        row = {
            "status": "predicted",
            "present": list(prediction.present),
            "absent": [name for name in self.predictor.modalities if name not in prediction.present],
            "blank": list(prediction.report["blank"]),
            "nonfinite_zeroed": dict(prediction.report["nonfinite_zeroed"]),
            "grid_distance_voxels": dict(prediction.report["grid_distance_voxels"]),
            "headers": dict(prediction.report["headers"]),
            "copies": dict(prediction.report["copies"]),
            "expected_dice": prediction.expected_dice,
            "unmeasured": prediction.report.get("unmeasured"),
            "seconds": round(timed.seconds + time.perf_counter() - started, 3),
        }
        prediction.save(self.target(case), sidecar=self.completed(case, row))
        self.written[case.case] = row
        return row

    def record(self, case: CaseFiles, row: Row) -> None:
        """Append the row of a case and report its line."""
        status = row["status"]
        target = self.target(case)
        if status in ("refused", "failed") and target.exists() and replaced_files(case, target) is None:
            row = {**row, "error": f"{row['error']} (An earlier prediction of it is still in the output folder.)"}
        try:
            append_row(self.output / STATUS_FILE, self.completed(case, row))
        except OSError as error:
            self.report(f"The row of {case.case} cannot be written to {self.output / STATUS_FILE}: {error}")
            status = "failed"
        self.written.pop(case.case, None)
        self.read_from.pop(case.case, None)
        self.tally[status] += 1
        self.report(f"[{self.tally.total()}/{self.total}] {case.case}: {self.described(row)}")

    def described(self, row: Row) -> str:
        """What became of a case, in words."""
        if row["status"] == "kept":
            return "kept, it has been predicted from these files already"
        if row["status"] != "predicted":
            return f"{row['status'].upper()}. {row['error']}"
        without = f" (without {', '.join(row['absent'])})" if row["absent"] else ""
        expected = self.predictor.expected
        dice = f" {expected.text(row['present'])}." if expected and row["expected_dice"] else ""
        this_case = (row["expected_dice"] or {}).get("this_case", {})
        own = f" {said}" if (said := describe(this_case)) else ""
        doubts = warnings_of(this_case)
        doubts += [f"{name} holds the same voxels as {other}" for name, other in row["copies"].items()]
        doubts += [f"{name}: {decided}" for name, decided in row["headers"].items()]
        doubts += [f"no Dice to expect: {row['unmeasured']}"] if row["unmeasured"] else []
        warning = f" WARNING: {'. '.join(doubts)}." if doubts else ""
        return f"predicted from {'+'.join(row['present'])}{without} in {row['seconds']:.1f} s.{dice}{own}{warning}"

    def completed(self, case: CaseFiles, row: Row) -> Row:
        """The row with what is known of every case."""
        return {
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "case": case.case,
            **row,
            "prediction": self.target(case).name if row["status"] in ("predicted", "kept") else None,
            "made_from": self.read_from.get(case.case) or self.made_from(case),
        }

    def made_from(self, case: CaseFiles) -> Row:
        """What a prediction depends on."""
        files = {self.predictor.modalities[channel]: _identity(file) for channel, file in case.files.items()}
        first = next(iter(case.files.values()), None)
        spacing = None if first is None else spacing_file(first, self.predictor.model.file_ending)
        return {
            "files": files,
            "previous_stage": None if case.previous_stage is None else _identity(case.previous_stage),
            **({} if spacing is None else {"spacing": _identity(spacing)}),
            "choices": {key.name: self.predictor.choices[key.name] for key in FILE_KEYS}
            | {"overridden": sorted(self.predictor.overrides)},  # for this run
            "window": self.predictor.window,
            **({"uncertainty": True} if self.uncertainty else {}),
            "model": self.model,
        }

    def target(self, case: CaseFiles) -> Path:
        """Where the segmentation goes."""
        return self.output / f"{case.case}{self.predictor.model.file_ending}"

    def sidecar(self, case: CaseFiles) -> Path:
        """What says how the segmentation was made."""
        return self.output / f"{case.case}{SIDECAR_ENDING}"

    def is_made(self, case: CaseFiles) -> bool:
        """Whether the case's prediction is there as it was written, made from what it would be made from now.

        Sidecars of earlier versions do not say how the files were written, and theirs are made again.
        """
        endings = (".npz", ".pkl") if self.probabilities else ()
        made = [self.target(case), *(self.output / f"{case.case}{ending}" for ending in endings)]
        try:
            sidecar = read_json_object(self.sidecar(case))
            is_whole = all(sidecar[FINGERPRINTS][file.name] == file_fingerprint(file) for file in made)
            made_from = sidecar["made_from"]
            if not self.uncertainty:
                made_from.pop("uncertainty", None)  # it says more than is asked for
            # A choice that there was not yet was as its default is.
            made_from["choices"] = {key.name: key.default for key in FILE_KEYS} | made_from["choices"]
            # The fingerprint is the model; where it lies does not matter.
            made_from["model"]["folder"] = self.model["folder"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return is_whole and made_from == json.loads(json.dumps(self.made_from(case)))


def _row_of(case: CaseFiles, made: Future[Row]) -> Row:
    """Return a case's row; whatever went wrong with it is in there."""
    try:
        return made.result()
    except CaseRefusedError as error:
        return {"status": "refused", "error": error.problem}
    except OSError as error:
        return {"status": "failed", "error": error.strerror or str(error)}
    except Exception as error:  # out of memory, a broken driver: the next case may still work
        logger.debug("Case %r", case.case, exc_info=True)
        return {"status": "failed", "error": f"{type(error).__name__}: {error}"}


def replaced_files(case: CaseFiles, target: Path) -> list[str] | None:
    """Return which files of another case the prediction that is at ``target`` already was made from.

    It is another case's if it was made from none of the case's files. None if there is no prediction, or it is the
    case's own or was being replaced when the program was killed; an empty list if there is one of which nothing is
    known.
    """
    if not target.exists():
        return None
    try:
        sidecar = read_json_object(target.with_name(f"{case.case}{SIDECAR_ENDING}"))
        if sidecar.get("status") == UNFINISHED:
            return None
        made_from = [str(identity["file"]) for identity in sidecar["made_from"]["files"].values()]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    own = {file.resolve() for file in case.files.values()}
    return None if any(Path(file).resolve() in own for file in made_from) else made_from


def _of_another_case(target: Path, files: Sequence[str]) -> str:
    known = f"is the prediction of {', '.join(files)}" if files else "is there, and nothing says what it was made from"
    return f"{target} {known}: choose another output folder, or replace it (--overwrite)."


def _identity(file: Path) -> Row:
    file = file.absolute()
    try:
        stat = file.stat()
    except OSError:  # checked, and refused, elsewhere
        return {"file": str(file)}
    return {"file": str(file), "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}
