"""The report made anew with other options: from files alone, and only what needs no scores anew."""

from __future__ import annotations

import shutil

import pytest
from benchmarking.outside_world import CASES, evaluate, report, two_models


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
        (["x"], "takes no a model"),
        (["--subsets", "full"], "takes no --subsets"),
        (["--tolerance", "1"], "takes no --tolerance"),
        (["-part_id", "0"], "takes no --part-id"),
        (["--baseline", "C"], "'C' is none of the models: A (outside), B (outside)"),
        (["--least-size", "ET=5"], "no region 'ET', only whole, core"),
        (["--patients", "(x)"], "names no patient in case a"),
        (["--prevalence", "nowhere.csv"], "nowhere.csv cannot be read"),
        (["-num_parts", "3"], "There is no evaluation in 3 parts in"),
    ):
        assert report(out, *arguments) == 2
        assert message in capsys.readouterr().err
    assert len(numbers_only) == 1
