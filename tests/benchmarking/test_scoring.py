"""Predictions are scored case by case; one that cannot be read costs no other."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_missingmod.benchmarking import scoring
from nnunet_missingmod.benchmarking.cases import EvaluationCase
from nnunet_missingmod.benchmarking.references import check_references
from nnunet_missingmod.benchmarking.scoring import ToScore, score_all
from nnunet_missingmod.benchmarking.task import Task
from nnunet_missingmod.plans_block import resolve
from nnunet_missingmod.workers import Workers

TASK = Task(("T1", "T2"), {"WT": (1, 2), "TC": (2,)}, None, ".nii.gz", (0, 1, 2), "SimpleITKIO")


def write(file, array, spacing=1.0):
    image = sitk.GetImageFromArray(array.astype(np.uint8))
    image.SetSpacing([spacing] * 3)
    sitk.WriteImage(image, str(file))
    return file


@pytest.fixture
def world(tmp_path):
    reference = np.zeros((8, 8, 8))
    reference[2:6, 2:6, 2:6] = 1
    reference[2:4, 2:6, 2:6] = 2
    half = reference.copy()
    half[:, 4:] = 0
    references = {}
    for case in ("a", "b"):
        image = write(tmp_path / f"{case}_0000.nii.gz", reference)
        found = EvaluationCase(case, {0: image}, write(tmp_path / f"{case}.nii.gz", reference))
        with Workers(1) as workers:
            references |= check_references([found], TASK, {}, choices=resolve(None), workers=workers).usable
    whole = write(tmp_path / "whole.nii.gz", reference)
    part = write(tmp_path / "part.nii.gz", half)
    return references, whole, part, tmp_path


def score(predictions, references, *, jobs=1, store=None):
    with Workers(jobs) as workers:
        return score_all(predictions, references, TASK, label_map={}, tolerance_mm=1.0, workers=workers, store=store)


def test_rows_are_those_of_each_prediction_and_region(world):
    references, whole, part, _ = world
    predictions = [ToScore("m", "0", "b", (0,), part), ToScore("m", "0", "a", (0, 1), whole)]
    scored = score(predictions, references)
    assert scored.failed == {}
    rows = scored.rows[predictions[0]]
    assert [(row.model, row.fold, row.case, row.subset, row.num_present, row.region) for row in rows] == [
        ("m", "0", "b", "T1", 1, "WT"),
        ("m", "0", "b", "T1", 1, "TC"),
    ]
    assert rows[0].dice == pytest.approx(2 * 32 / (64 + 32))
    assert [row.dice for row in scored.rows[predictions[1]]] == [1.0, 1.0]


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_rows_of_a_case_are_in_the_order_of_its_predictions_whatever_the_jobs(world, jobs):
    references, whole, part, _ = world
    predictions = [
        ToScore("m", "0", case, subset, file)
        for case, subset, file in [("a", (0,), part), ("b", (1,), whole), ("a", (0, 1), whole), ("b", (0,), part)]
    ]
    scored = score(predictions, references, jobs=jobs)
    assert scored.failed == {}
    assert [(each.case, each.subset) for each in scored.rows] == [("a", (0,)), ("a", (0, 1)), ("b", (1,)), ("b", (0,))]
    for each, rows in scored.rows.items():
        assert [(row.case, row.subset, row.region) for row in rows] == [
            (each.case, "+".join(TASK.modalities[channel] for channel in each.subset), region)
            for region in TASK.regions
        ]
        assert rows[1].dice == (1.0 if each.file == whole else pytest.approx(2 * 16 / (32 + 16)))


def test_what_cannot_be_scored_is_named_and_costs_no_other(world):
    references, whole, _, folder = world
    (folder / "torn.nii.gz").write_bytes(whole.read_bytes()[:60])
    coarse = write(folder / "coarse.nii.gz", np.zeros((8, 8, 8)), spacing=2.0)
    good, torn, moved = (
        ToScore("m", "0", "a", (0,), whole),
        ToScore("m", "0", "a", (1,), folder / "torn.nii.gz"),
        ToScore("m", "0", "a", (0, 1), coarse),
    )
    scored = score([good, torn, moved], references)
    assert list(scored.rows) == [good]
    assert scored.agreement == {}
    assert "torn.nii.gz" in scored.failed[torn]
    assert "spacing" in scored.failed[moved]


def test_a_reference_that_cannot_be_read_costs_its_case_only(world):
    references, whole, _, _ = world
    references["a"].file.write_text("no image")
    of_a, of_b = ToScore("m", "0", "a", (0,), whole), ToScore("m", "0", "b", (0,), whole)
    scored = score([of_a, of_b], references)
    assert list(scored.rows) == [of_b]
    assert "its reference" in scored.failed[of_a]


def test_predictions_of_one_run_are_compared_with_those_of_a_modality_less(world):
    references, whole, part, _ = world
    runs = [("m", "0"), ("m", "1"), ("n", "0")]
    predictions = [
        ToScore(*run, "a", subset, part if (subset, run) == ((0,), ("m", "1")) else whole)
        for subset in ((0, 1), (0,), (1,))
        for run in runs[: 3 - (subset == (1,))]
    ]
    scored = score(predictions, references)
    assert {(each.model, each.fold, each.subset): found for each, found in scored.agreement.items()} == {
        ("m", "0", (0, 1)): {"WT": 1.0, "TC": 1.0},
        ("m", "1", (0, 1)): {"WT": pytest.approx((1 + 2 / 3) / 2), "TC": pytest.approx((1 + 2 / 3) / 2)},
    }


def test_agreement_is_kept_with_the_scores_until_one_of_its_predictions_changes(world, monkeypatch):
    references, whole, part, folder = world
    other = folder / "other.nii.gz"
    other.write_bytes(part.read_bytes())
    files = {(0,): other, (1,): whole, (0, 1): whole}
    predictions = [ToScore("m", "0", "a", subset, file) for subset, file in files.items()]
    store = folder / "scored"
    first = score(predictions, references, store=store)
    assert first.agreement[predictions[2]]["WT"] == pytest.approx((1 + 2 / 3) / 2)
    record = store / "m" / "a.json"
    written = record.read_bytes()

    read, scored_files = [], []
    read_labels, score_files = scoring.read_labels, scoring.score_files
    monkeypatch.setattr(scoring, "read_labels", lambda file, **more: read.append(file) or read_labels(file, **more))
    monkeypatch.setattr(scoring, "score_files", lambda p, *a, **m: scored_files.extend(p) or score_files(p, *a, **m))
    assert score(predictions, references, store=store) == first
    assert read == scored_files == []

    # A record of scores alone: these are kept, and agreement is computed and added.
    record.write_text(json.dumps({key: each for key, each in json.loads(written).items() if key != "agreement"}))
    assert score(predictions, references, store=store) == first
    assert (sorted(read), scored_files) == (sorted([other, whole]), [])
    assert record.read_bytes() == written

    other.write_bytes(whole.read_bytes())
    assert score(predictions, references, store=store).agreement == {predictions[2]: {"WT": 1.0, "TC": 1.0}}
