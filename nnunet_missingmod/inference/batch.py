"""Many cases through one ``Predictor``: all are checked first, one bad case stops no other, each gets a row."""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from nnunet_missingmod.cases.files import CaseFiles, CaseRefusedError
from nnunet_missingmod.cases.image_file import spacing_file
from nnunet_missingmod.cases.preflight import CaseCheck, check_case, check_cases
from nnunet_missingmod.choices import FILE_KEYS
from nnunet_missingmod.inference.prediction import FINGERPRINTS, SIDECAR_ENDING
from nnunet_missingmod.inference.predictor import Predictor
from nnunet_missingmod.inference.uncertainty import describe, warnings_of
from nnunet_missingmod.storage import ending_problem, file_fingerprint, read_json_object

logger = logging.getLogger(__name__)

STATUS_FILE = "predictions.jsonl"

Row = dict[str, Any]


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
    processes: int = 1,
    report: Callable[[str], object] = logger.info,
) -> Counter[str]:
    """Check all cases, then predict those that can be, and write a status row for each.

    Args:
        output: folder that is there; receives ``CASE`` + the model's file ending, ``CASE.missingmod.json``, and
            ``predictions.jsonl``.
        probabilities: whether to write them too.
        resume: whether to keep the predictions that were made from the same files, model and choices.
        uncertainty: whether each case is also predicted from one modality less, see `Predictor.predict`.
        overwrite: whether a prediction of another case that has the same name is replaced.
        processes: how many read the files for the check.
        report: is called with a line on each case, as soon as it is known what became of it.

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
        elif others:
            run.record(case, {"status": "refused", "error": _of_another_case(run.target(case), others)})
        elif problem := ending_problem(case.case):
            run.record(case, {"status": "refused", "error": f"The case's name {problem}: rename its files."})
        else:
            remaining.append(case)
    check_one = partial(
        check_case,
        names=predictor.modalities,
        reader=predictor.reader,
        file_ending=predictor.model.file_ending,
        choices=predictor.choices,
        labels=predictor.model.label_manager.all_labels,
        volumes_only=len(predictor.model.configuration_manager.patch_size) == 3,
    )
    checks = list(check_cases(remaining, check_one, processes=processes))
    for check in checks:
        if check.problems:
            run.record(check.case, {"status": "refused", "error": " ".join(check.problems)})
    for check in checks:
        if not check.problems:
            run.predict(check)
    return run.tally


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
        model = predictor.model
        self.model = {
            "folder": str(model.folder.resolve()),
            "folds": list(model.folds),
            "checkpoint": model.checkpoint_name,
            "fingerprint": model.fingerprint,
        }

    def predict(self, check: CaseCheck) -> None:
        """Predict and save one case that passed the checks; whatever goes wrong ends in its row."""
        case = check.case
        started = time.perf_counter()
        row: Row = {"status": "predicted"}
        try:
            prediction = self.predictor.predict_files(
                case.files,
                case=case.case,
                probabilities=self.probabilities,
                previous_stage=case.previous_stage,
                uncertainty=self.uncertainty,
            )
            row |= {
                "present": list(prediction.present),
                "absent": [name for name in self.predictor.modalities if name not in prediction.present],
                "blank": list(prediction.report["blank"]),
                "nonfinite_zeroed": dict(prediction.report["nonfinite_zeroed"]),
                "grid_distance_voxels": dict(prediction.report["grid_distance_voxels"]),
                "headers": dict(prediction.report["headers"]),
                "copies": dict(prediction.report["copies"]),
                "expected_dice": prediction.expected_dice,
                "seconds": round(time.perf_counter() - started, 3),
            }
            prediction.save(self.target(case), sidecar=self.completed(case, row))
        except CaseRefusedError as error:  # a file has changed since it was checked
            row |= {"status": "refused", "error": error.problem}
        except OSError as error:
            row |= {"status": "failed", "error": error.strerror or str(error)}
        except Exception as error:  # out of memory, a broken driver: the next case may still work
            logger.debug("Case %r", case.case, exc_info=True)
            row |= {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        self.record(case, row)

    def record(self, case: CaseFiles, row: Row) -> None:
        """Append the row of a case and report its line."""
        status = row["status"]
        target = self.target(case)
        if status in ("refused", "failed") and target.exists() and not replaced_files(case, target):
            row = {**row, "error": f"{row['error']} (An earlier prediction of it is still in the output folder.)"}
        try:
            append_row(self.output / STATUS_FILE, self.completed(case, row))
        except OSError as error:
            self.report(f"The row of {case.case} cannot be written to {self.output / STATUS_FILE}: {error}")
            status = "failed"
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
        dice = f" {expected.text(row['present'])}." if expected else ""
        this_case = (row["expected_dice"] or {}).get("this_case", {})
        own = f" {said}" if (said := describe(this_case)) else ""
        doubts = warnings_of(this_case)
        doubts += [f"{name} holds the same voxels as {other}" for name, other in row["copies"].items()]
        doubts += [f"{name}: {decided}" for name, decided in row["headers"].items()]
        warning = f" WARNING: {'. '.join(doubts)}." if doubts else ""
        return f"predicted from {'+'.join(row['present'])}{without} in {row['seconds']:.1f} s.{dice}{own}{warning}"

    def completed(self, case: CaseFiles, row: Row) -> Row:
        """The row with what is known of every case."""
        return {
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "case": case.case,
            **row,
            "prediction": self.target(case).name if row["status"] in ("predicted", "kept") else None,
            "made_from": self.made_from(case),
        }

    def made_from(self, case: CaseFiles) -> Row:
        """What a prediction depends on."""
        names = self.predictor.modalities
        files = {names[channel]: _identity(file) for channel, file in case.files.items()}
        first = next(iter(case.files.values()), None)
        spacing = None if first is None else spacing_file(first, self.predictor.model.file_ending)
        stage = _identity(case.previous_stage) if case.previous_stage is not None else None
        return {
            "files": files,
            "previous_stage": stage,
            **({} if spacing is None else {"spacing": _identity(spacing)}),
            "choices": self.file_choices(),
            "window": self.predictor.window,
            **({"uncertainty": True} if self.uncertainty else {}),
            "model": self.model,
        }

    def file_choices(self) -> Row:
        """How files are treated, and which of these choices were overridden for this run."""
        chosen = {key.name: self.predictor.choices[key.name] for key in FILE_KEYS}
        return {**chosen, "overridden": sorted(self.predictor.overrides)}

    def target(self, case: CaseFiles) -> Path:
        """Where the segmentation goes."""
        return self.output / f"{case.case}{self.predictor.model.file_ending}"

    def is_made(self, case: CaseFiles) -> bool:
        """Whether the case's prediction is there as it was written, made from what it would be made from now.

        Sidecars of earlier versions do not say how the files were written, and theirs are made again.
        """
        endings = (".npz", ".pkl") if self.probabilities else ()
        made = [self.target(case), *(self.output / f"{case.case}{ending}" for ending in endings)]
        try:
            sidecar = read_json_object(self.output / f"{case.case}{SIDECAR_ENDING}")
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


def replaced_files(case: CaseFiles, target: Path) -> list[str] | None:
    """Return which files of another case the prediction that is at ``target`` already was made from.

    It is another case's if it was made from none of the case's files. None if there is no prediction or it is the
    case's own; an empty list if there is one of which nothing is known.
    """
    if not target.exists():
        return None
    try:
        sidecar = read_json_object(target.with_name(f"{case.case}{SIDECAR_ENDING}"))
        made_from = [str(identity["file"]) for identity in sidecar["made_from"]["files"].values()]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    own = {file.resolve() for file in case.files.values()}
    return None if any(Path(file).resolve() in own for file in made_from) else made_from


def _of_another_case(target: Path, files: Sequence[str]) -> str:
    return (
        f"{target} is the prediction of {', '.join(files)}: choose another output folder, or replace it (--overwrite)."
    )


def _identity(file: Path) -> Row:
    file = file.absolute()
    try:
        stat = file.stat()
    except OSError:  # checked, and refused, elsewhere
        return {"file": str(file)}
    return {"file": str(file), "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}
