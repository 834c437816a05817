"""The report made anew with other options: from files alone, and only what needs no scores anew."""

from __future__ import annotations

import shutil

import pytest
from benchmarking.outside_world import CASES, evaluate, report, two_models

IN_TIME = "with the first call, before there were scores"


@pytest.fixture
def world(tmp_path):
    return two_models(tmp_path)


def test_the_report_is_made_anew_with_other_options_from_files_alone(world, tmp_path, numbers_only, capsys):
    out = tmp_path / "out"
    assert evaluate(world, out) == 0
    for name in ("A", "B", "imagesTs", "labelsTs", "scored"):
        shutil.rmtree((out if name == "scored" else tmp_path) / name)
    (tmp_path / "often.csv").write_text("subset,count\nT2,1\n")
    options = ("--baseline", "B", "--convention", "nnunet", "--least-size", "core=3", "--patients", "([ab]|[cd])")
    assert report(out, *options, "--prevalence", tmp_path / "often.csv") == 0
    before, after = numbers_only
    assert before["rows"] == after["rows"]
    assert (before["pairs"], after["pairs"]) == (
        [("B (outside)", "A (outside)")],
        [("A (outside)", "B (outside)")],
    )
    assert (after["convention"], after["least_size"], after["prevalence"]) == ("nnunet", {"core": 3}, {(1,): 1})
    assert after["patients"] == {case: case for case in CASES}
    # It changes nothing of what is stored.
    assert report(out) == 0
    assert numbers_only[2] == before


def test_what_a_report_cannot_do_is_wrong_usage(world, tmp_path, numbers_only, capsys):
    out = tmp_path / "out"
    assert report(out) == 2
    assert f"There is no evaluation in {out}: run" in capsys.readouterr().err
    assert not out.exists()
    assert evaluate(world, out, "--subsets", "T1") == 0
    for arguments, message in (
        (["-m", "x"], "--report makes the report of what is in -o anew, and takes no --model"),
        (["x"], "takes no model"),
        (["--subsets", "full"], "takes no --subsets"),
        (["--tolerance", "1"], "takes no --tolerance"),
        (["-part_id", "0"], "takes no --part-id"),
        (["-chk", "checkpoint_best.pth", "--disable_tta"], "takes no --checkpoint, --disable_tta: leave it out"),
        (["-step_size", "0.3"], "takes no --step-size"),
        (["-p", "OtherPlans"], "takes no --plans"),
        (["-device", "cuda"], "takes no --device"),
        (["-np", "9"], "takes no --processes"),
        (["--baseline", "C"], "'C' is none of the models: A (outside), B (outside)"),
        (["--least-size", "ET=5"], "no region 'ET', only whole, core"),
        (["--patients", "(x)"], "names no patient in case a"),
        (["--prevalence", "nowhere.csv"], "nowhere.csv cannot be read"),
        (["-num_parts", "3"], "There is no evaluation in 3 parts in"),
    ):
        assert report(out, *arguments) == 2
        assert message in capsys.readouterr().err
    assert len(numbers_only) == 1


def test_a_margin_is_in_time_only_if_it_came_before_the_scores(world, tmp_path, numbers_only, capsys):
    out = tmp_path / "out"

    def said():
        return numbers_only[-1]["margin"], numbers_only[-1]["provenance"]["margin of non-inferiority"]

    in_time, late = (f"{{}} points of Dice, given {when}" for when in (IN_TIME, "after the scores existed"))
    assert evaluate(world, out, "--subsets", "T1", "--margin", 5) == 0
    assert said() == (5, in_time.format(5))
    assert report(out, "--margin", "5") == 0
    assert said() == (5, in_time.format(5))
    capsys.readouterr()
    assert report(out, "--margin", "1") == 0
    assert said() == (1, late.format(1))
    assert "--margin 1 is given after the scores existed, and the report says so." in capsys.readouterr().err
    # Also by a call that could make scores, and finds them there.
    for _ in range(2):
        assert evaluate(world, out, "--subsets", "T1", "--margin", 1) == 0
        assert said() == (1, late.format(1))


def test_parts_called_with_other_patients_or_margin_are_joined_when_it_is_said_which(
    world, tmp_path, numbers_only, capsys
):
    out = tmp_path / "out"
    for number, options in enumerate((("--margin", 5), ("--margin", 1, "--patients", "([ab]|[cd])"))):
        assert evaluate(world, out, "--subsets", "T1", "-num_parts", 2, "-part_id", number, *options) == 0
    for more, message in (
        ((), "called with no --patients, part 1 with --patients '([ab]|[cd])'. Run one of them again as the other"),
        (("--patients", "(.)"), "called with --margin 5, part 1 with --margin 1."),
    ):
        assert report(out, *more) == 2
        assert message in capsys.readouterr().err
    assert not numbers_only
    assert report(out, "--patients", "(.)", "--margin", "5") == 0
    assert "given after the scores existed" in numbers_only[0]["provenance"]["margin of non-inferiority"]
