"""An evaluation in parts: real processes at once, joined as if one had done it all, with what is missing named."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal

import pytest
from benchmarking.outside_world import CASES, SUBSETS, evaluate, reference, report, two_models, write

from nnunet_missingmod.benchmarking import scoring
from nnunet_missingmod.cli import main
from nnunet_missingmod.evaluation.agreement import read_agreement
from nnunet_missingmod.evaluation.scores import read_scores


@pytest.fixture
def world(tmp_path):
    return two_models(tmp_path)


def run_part(world, out, number, gate, codes):
    gate.wait()
    codes.put((number, evaluate(world, out, "--num_parts", 2, "--part_id", number)))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_at_once_leave_what_one_alone_does(world, tmp_path, numbers_only, capfd):
    # Forked, since to import nnU-Net in each would take longer than all else.
    context = multiprocessing.get_context("fork")
    # Each part twice: a job that was started again while the first one still runs.
    gate, codes = context.Barrier(4), context.Queue()
    out = tmp_path / "parts"
    started = [context.Process(target=run_part, args=(world, out, each % 2, gate, codes)) for each in range(4)]
    for process in started:
        process.start()
    assert sorted(codes.get(timeout=60) for _ in started) == [(0, 0), (0, 0), (1, 0), (1, 0)]
    for process in started:
        process.join()
    assert "Part 1 of 2 is done: 2 of 4 cases." in capfd.readouterr().out
    assert not (out / "scores.csv").exists()
    assert report(out) == 0
    assert evaluate(world, tmp_path / "whole") == 0
    for name in ("scores.csv", "agreement.csv"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    agreed = read_agreement(out / "agreement.csv")
    assert [(each.model, each.case) for each in agreed[::2]] == [(f"{m} (outside)", c) for m in "AB" for c in CASES]
    assert {(each.subset, each.kind) for each in agreed} == {("T1+T2", "subsets")}
    for file in (tmp_path / "whole" / "scored").rglob("*.json"):
        assert (out / file.relative_to(tmp_path / "whole")).read_bytes() == file.read_bytes()
    assert not [file for file in out.rglob(".*") if file.is_file()]
    joined, whole = numbers_only[0], numbers_only[1]
    assert joined["failures"] == whole["failures"] == []
    assert joined["pairs"] == whole["pairs"]
    assert joined["provenance"]["cases"] == whole["provenance"]["cases"]


def test_a_part_that_was_killed_goes_on_and_until_then_is_named(world, tmp_path, numbers_only, capsys, monkeypatch):
    out, scored = tmp_path / "out", []
    score_files = scoring.score_files

    def interrupted(predictions, *rest, **more):
        if len(scored) == 1:
            raise KeyboardInterrupt
        scored.append(more["case"])
        return score_files(predictions, *rest, **more)

    assert evaluate(world, out, "-num_parts", 2, "-part_id", 1) == 0
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "score_files", interrupted)
        assert evaluate(world, out, "-num_parts", 2, "-part_id", 0) == 130
    assert scored == ["a"]
    capsys.readouterr()
    assert report(out) == 1
    error = capsys.readouterr().err
    assert "part 0 of 2 has not finished; its 2 cases: a, c. Run it: -num_parts 2 -part_id 0." in error
    assert {row.case for row in read_scores(out / "scores.csv")} == {"b", "d"}
    scored.clear()
    scored.append("")
    monkeypatch.setattr(scoring, "score_files", lambda *a, **m: scored.append(m["case"]) or score_files(*a, **m))
    assert evaluate(world, out, "-num_parts", 2, "-part_id", 0) == 0
    assert scored == ["", "c"]
    assert report(out) == 0
    assert len(read_scores(out / "scores.csv")) == 2 * len(CASES) * len(SUBSETS) * 2


def killed_at_the_second_case(world, out):
    score_files = scoring.score_files
    scored = []

    def score(predictions, *rest, **more):
        if scored:
            os.kill(os.getpid(), signal.SIGKILL)
        scored.append(more["case"])
        return score_files(predictions, *rest, **more)

    scoring.score_files = score
    evaluate(world, out, "-num_parts", 2, "-part_id", 0)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_that_is_killed_outright_goes_on_where_it_was(world, tmp_path, numbers_only, capfd, monkeypatch):
    out, whole = tmp_path / "out", tmp_path / "whole"
    process = multiprocessing.get_context("fork").Process(target=killed_at_the_second_case, args=(world, out))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert evaluate(world, out, "-num_parts", 2, "-part_id", 1) == 0
    assert report(out) == 1
    assert "part 0 of 2 has not finished; its 2 cases: a, c." in capfd.readouterr().err
    scored, score_files = [], scoring.score_files
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "score_files", lambda *a, **m: scored.append(m["case"]) or score_files(*a, **m))
        assert evaluate(world, out, "-num_parts", 2, "-part_id", 0) == 0
    assert scored == ["c"]
    assert report(out) == 0
    assert evaluate(world, whole) == 0
    for name in ("scores.csv", "agreement.csv", "per_subject.csv"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(("changed", "message"), [("imagesTs", "images of c."), ("labelsTs", "references of c.")])
def test_parts_of_other_files_of_the_same_names_are_refused_and_of_a_copy_joined(
    world, tmp_path, numbers_only, capsys, changed, message
):
    folder, elsewhere = world.folder(changed), tmp_path / "elsewhere"
    out = tmp_path / "out"

    def part_of_elsewhere():
        cases = [str(elsewhere) if each == str(folder) else each for each in world.arguments]
        models = ("--predictions", *(f"{name}={world.folder(name)}" for name in ("A", "B")))
        return main(["evaluate", *models, *cases, "-o", str(out), "-num_parts", "2", "-part_id", "1"])

    assert evaluate(world, out, "-num_parts", 2, "-part_id", 0) == 0
    # As on a machine that mounts the same files elsewhere.
    shutil.copytree(folder, elsewhere)
    assert part_of_elsewhere() == 0
    assert report(out) == 0
    assert len(numbers_only) == 1
    ending = "_0001.nii.gz" if changed == "imagesTs" else ".nii.gz"
    write(elsewhere / f"c{ending}", reference("d"))  # not a case of part 1
    assert part_of_elsewhere() == 0
    capsys.readouterr()
    assert report(out) == 2
    assert f"Parts 0 and 1 of 2 are not of one evaluation: they differ in {message} Run" in capsys.readouterr().err
    assert len(numbers_only) == 1


def test_parts_of_other_folds_or_checkpoints_are_refused(make_tiny_dataset, make_model, tmp_path, numbers_only, capsys):
    tiny = make_tiny_dataset(("T1", "T2"), num_cases=3, shape=(10, 12, 12))
    folder = make_model(tiny, "nnUNetTrainerSharedBackbone", folds=(0, 1))
    for fold in (0, 1):
        weights = folder / f"fold_{fold}" / "checkpoint_final.pth"
        shutil.copy(weights, weights.with_name("checkpoint_best.pth"))

    def part(number, *more):
        cases = ("-i", tiny.raw / "imagesTr", "-ref", tiny.raw / "labelsTr", "--subsets", "full")
        given = (f"ours={folder}", *cases, "-o", tmp_path / "out", "-num_parts", 2, "-part_id", number, *more)
        return main(["evaluate", *map(str, given), "--device", "cpu", "--disable_tta"])

    assert part(0, "-f", 0) == part(1, "-f", 0, 1) == 0
    assert report(tmp_path / "out") == 2
    assert "they differ in folds of ours (0 against 0+1). Run one" in capsys.readouterr().err
    assert part(1, "-f", 0, "-chk", "checkpoint_best.pth") == 0
    assert report(tmp_path / "out") == 2
    assert "in checkpoint (checkpoint_final.pth against checkpoint_best.pth). Run" in capsys.readouterr().err
    # All that are trained are the same folds as these, by name.
    assert part(0) == part(1, "-f", 1, 0) == 0
    assert report(tmp_path / "out") == 0
    assert len(numbers_only) == 1


def test_a_part_without_cases_is_whole(world, tmp_path, numbers_only, capsys):
    for number in range(5):
        assert evaluate(world, tmp_path / "out", "--subsets", "T1", "-num_parts", 5, "-part_id", number) == 0
    assert "Part 4 of 5 is done: 0 of 4 cases." in capsys.readouterr().out
    assert report(tmp_path / "out") == 0
