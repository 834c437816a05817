"""An evaluation in parts: real processes at once, joined as if one had done it all, with what is missing named."""

from __future__ import annotations

import multiprocessing

import pytest
from benchmarking.outside_world import CASES, SUBSETS, evaluate, report, two_models

from nnunet_missingmod.benchmarking import scoring
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


def test_a_part_without_cases_is_whole(world, tmp_path, numbers_only, capsys):
    for number in range(5):
        assert evaluate(world, tmp_path / "out", "--subsets", "T1", "-num_parts", 5, "-part_id", number) == 0
    assert "Part 4 of 5 is done: 0 of 4 cases." in capsys.readouterr().out
    assert report(tmp_path / "out") == 0
