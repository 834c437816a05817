"""Models that are not nnU-Net's in the evaluation: found, checked, scored by the same code, marked, scored once."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from benchmarking.outside_world import CASES, SUBSETS, make_world, reference, write

from nnunet_missingmod.benchmarking import scoring
from nnunet_missingmod.cli import main
from nnunet_missingmod.evaluation.model_card import FILE_NAME
from nnunet_missingmod.evaluation.scores import UNKNOWN_VOXELS, read_scores


@pytest.fixture
def world(tmp_path):
    return make_world(tmp_path)


def evaluate(*arguments):
    return main(["evaluate", *map(str, arguments)])


@pytest.fixture
def scored(monkeypatch):
    """The files that are scored, not those whose scores are known."""
    files = []
    score_files = scoring.score_files

    def counting(predictions, *rest, **more):
        files.extend(predictions.values())
        return score_files(predictions, *rest, **more)

    monkeypatch.setattr(scoring, "score_files", counting)
    return files


def test_folders_alone_are_scored_and_marked_and_get_no_card(world, tmp_path, numbers_only, capsys):
    first, second = world.predict("A"), world.predict("B", "{case}/{subset}.nii.gz", shift=0)
    (tmp_path / "often.csv").write_text("subset,count\nT1,3\nT2+T1,1\n")
    out = tmp_path / "out"
    assert evaluate("--predictions", first, second, *world.arguments, "-o", out, "--prevalence", "often.csv") == 2
    arguments = (*world.arguments, "-o", out, "--prevalence", tmp_path / "often.csv", "--baseline", "B")
    assert evaluate("--predictions", first, second, *arguments) == 0
    rows = read_scores(out / "scores.csv")
    assert {(row.model, row.fold, row.case, row.subset, row.region) for row in rows} == {
        (model, "", case, subset, region)
        for model in ("A (outside)", "B (outside)")
        for case in CASES
        for subset in SUBSETS
        for region in ("whole", "core")
    }
    assert {row.dice for row in rows if row.model == "B (outside)" or row.subset == "T1+T2"} == {1.0}
    # Shifted by one of two slices, half of it overlaps.
    assert {row.dice for row in rows if (row.model, row.case, row.subset) == ("A (outside)", "a", "T1")} == {0.5}
    given = numbers_only[0]
    assert given["pairs"] == [("A (outside)", "B (outside)")]
    assert given["prevalence"] == {(0,): 3, (0, 1): 1}
    assert given["provenance"]["A (outside) is from outside"].startswith(f"predictions that lie in {tmp_path / 'A'}")
    assert given["provenance"]["prevalence"] == "T1 3, T1+T2 1"
    assert not list(tmp_path.rglob(FILE_NAME))
    said = capsys.readouterr().out
    mean = np.mean([row.dice for row in rows if (row.model, row.subset, row.region) == ("A (outside)", "T1", "whole")])
    assert f"| {100 * (0.75 * mean + 0.25):.2f} |\n" in said
    assert "average weighted by prevalence" in said
    head, line, *_ = (out / "per_subject.csv").read_text().splitlines()
    assert head == "subject,modalities,whole_dice,core_dice,whole_hd95,core_hd95,model,fold"
    assert line == "a,T1,0.5,0.5,1.0,1.0,A (outside),"


def test_what_is_missing_is_named_by_subset_and_by_case(world, tmp_path, numbers_only, capsys):
    given = world.predict("A")
    shutil.rmtree(tmp_path / "A" / "T2")
    (tmp_path / "A" / "T1" / "b.nii.gz").unlink()
    (tmp_path / "A" / "T1" / "old").mkdir()
    (tmp_path / "A" / "T1" / "b.nii.gz.part").touch()
    shutil.copy(tmp_path / "A" / "T1" / "a.nii.gz", tmp_path / "A" / "c.nii.gz")
    # What a case does not have cannot be missing, and is not scored.
    (world.folder("imagesTs") / "d_0001.nii.gz").unlink()
    assert evaluate("--predictions", given, *world.arguments, "-o", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "3 failed:" in error
    assert "A (outside) has no prediction of any case with T2; --subsets says" in error
    assert "A (outside), case b: there is no prediction with T1." in error
    assert f"A (outside): 1 file in {tmp_path / 'A'} whose path names no subset of T1, T2: c.nii.gz." in error
    rows = read_scores(tmp_path / "out" / "scores.csv")
    assert {(row.case, row.subset) for row in rows} == {
        ("a", "T1"),
        ("c", "T1"),
        ("d", "T1"),
        ("a", "T1+T2"),
        ("b", "T1+T2"),
        ("c", "T1+T2"),
    }


def test_predictions_of_another_grid_or_with_other_labels_are_named(world, tmp_path, numbers_only, capsys):
    given = world.predict("A")
    write(tmp_path / "A" / "T1" / "a.nii.gz", reference("a"), spacing=2.0)
    write(tmp_path / "A" / "T1" / "b.nii.gz", reference("b")[:4])
    write(tmp_path / "A" / "T1" / "c.nii.gz", reference("c") * 3)
    (tmp_path / "A" / "T1" / "d.nii.gz").write_bytes(b"torn")
    assert evaluate("--predictions", given, *world.arguments, "-o", tmp_path / "out", "--subsets", "alone") == 1
    error = capsys.readouterr().err
    assert "4 failed:" in error
    assert "A (outside), case a with T1: " in error
    assert "voxels off the images' grid" in error
    assert "has shape (4, 8, 8), the images have (8, 8, 8)" in error
    assert "c.nii.gz holds 3, 6, and the dataset's labels are 0, 1, 2: write these, or say by --map-labels" in error
    assert "d.nii.gz cannot be read" in error
    assert {row.subset for row in read_scores(tmp_path / "out" / "scores.csv")} == {"T2"}


def test_labels_of_predictions_are_mapped_as_those_of_references(world, tmp_path, numbers_only):
    given = world.predict("A", label=4)
    assert evaluate("--predictions", given, *world.arguments, "-o", tmp_path / "out", "--map-labels", "4=2") == 0
    rows = read_scores(tmp_path / "out" / "scores.csv")
    assert {row.dice for row in rows if row.subset == "T1+T2"} == {1.0}


def test_nothing_is_scored_twice_and_what_has_changed_is_scored_again(world, tmp_path, numbers_only, scored):
    given, out = world.predict("A"), tmp_path / "out"
    arguments = ("--predictions", given, *world.arguments, "-o", out)
    assert evaluate(*arguments) == 0
    assert len(scored) == len(CASES) * len(SUBSETS)
    files = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    scored.clear()
    assert evaluate(*arguments) == 0
    assert scored == []
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == files
    changed = tmp_path / "A" / "T1" / "b.nii.gz"
    write(changed, reference("b"))
    assert evaluate(*arguments) == 0
    # Its bytes are those of the prediction from both modalities, which is known.
    assert scored == []
    write(changed, np.zeros((8, 8, 8)))
    assert evaluate(*arguments) == 0
    assert scored == [changed]
    scored.clear()
    write(world.folder("labelsTs") / "c.nii.gz", reference("a"))
    assert evaluate(*arguments) == 0
    assert {file.name for file in scored} == {"c.nii.gz"}
    scored.clear()
    assert evaluate(*arguments, "--tolerance", "2") == 0
    assert len(scored) == len(CASES) * len(SUBSETS)
    record = next((out / "scored").rglob("a.json"))
    record.write_text(record.read_text()[:50])
    scored.clear()
    assert evaluate(*arguments, "--tolerance", "2") == 0
    assert {file.name for file in scored} == {"a.nii.gz"}


def test_scores_alone_are_compared_without_images(world, tmp_path, numbers_only, capsys):
    lines = "subject,modalities,whole_dice,core_dice\np1,T1,0.5,0.25\np1,T2,0.5,\np1,T1_T2,0.75,0.5\n"
    (tmp_path / "one.csv").write_text(lines)
    (tmp_path / "two.csv").write_text(lines.replace("0.25", "0.5").replace("p1", "p2") + lines.split("\n", 1)[1])
    named = (f"One={tmp_path / 'one.csv'}", f"Two={tmp_path / 'two.csv'}")
    assert evaluate("--scores", *named, "-o", tmp_path / "out", "--device", "cpu") == 1
    captured = capsys.readouterr()
    assert "1 failed:\n  One (outside): there are no scores of p2." in captured.err
    rows = read_scores(tmp_path / "out" / "scores.csv")
    assert {row.reference_voxels for row in rows} == {UNKNOWN_VOXELS}
    assert [row.dice for row in rows if (row.model, row.region) == ("One (outside)", "core")][::2] == [0.25, 0.5]
    assert {row.case for row in rows if row.model == "Two (outside)"} == {"p1", "p2"}
    assert numbers_only[0]["provenance"]["cases"] == "those that the files of scores name"
    assert "no surface Dice, no volumes" in numbers_only[0]["provenance"]["note on One (outside)"]
    assert "| whole | One (outside) | 50.00 |" in captured.out


def _scores(file, cases, *, without=()):
    lines = [f"{case},{subset},0.5,0.25" for case in cases for subset in ("T1", "T2", "T1+T2")]
    kept = [line for line in lines if not line.startswith(tuple(without))]
    file.write_text("\n".join(["subject,modalities,whole_dice,core_dice", *kept, ",,,"]) + "\n")
    return file


def test_scores_that_lack_what_other_scores_have_are_named_once_for_each_subset(world, tmp_path, numbers_only, capsys):
    lacking = ["p3,T1,", "p4,T1,", "p5,T1+", "p5,T2", "p6"]
    one = _scores(tmp_path / "one.csv", ["p1", "p2", "p3", "p4", "p5", "p6"], without=lacking)
    two = _scores(tmp_path / "two.csv", ["p1", "p2", "p3", "p4", "p5", "p6"], without=["p5"])
    arguments = ("--scores", one, two, "-o", tmp_path / "out", "--device", "cpu")
    assert evaluate(*arguments) == 1
    said = capsys.readouterr().err
    assert "one (outside): there are no scores of p6." in said
    assert "one (outside): there are no scores with T1 of p3, p4." in said
    assert "p5" not in said.replace("two (outside): there are no scores of p5.", "")  # no file has T2 of it


def test_a_baseline_without_scores_is_not_replaced_in_silence(world, tmp_path, capsys):
    files = [_scores(tmp_path / f"{name}.csv", [f"p{number}" for number in range(8)]) for name in "ABC"]
    files[2].write_text("x,y\n1,2\n")
    arguments = ("-o", tmp_path / "out", "--device", "cpu", "--baseline", "C", "--margin", "5")
    assert evaluate("--scores", *files, *arguments) == 1
    said = capsys.readouterr().err
    assert "C (outside), the baseline, has no scores, so that nothing is compared with it" in said
    assert "--report --baseline 'A (outside)'" in said
    report = (tmp_path / "out" / "report.md").read_text()
    assert "non-inferior if" not in report
    assert "No answer: it needs the scores of the baseline" in report
    assert "−" not in report.split("## ")[1]
    assert evaluate("-o", tmp_path / "out", "--report", "--baseline", "A (outside)") == 1
    assert "B (outside) − A (outside)" in (tmp_path / "out" / "report.md").read_text()


def test_scores_beside_predictions_are_those_of_the_evaluated_cases(world, tmp_path, numbers_only, capsys):
    given = world.predict("A")
    (tmp_path / "S.csv").write_text("subject,modalities,whole_dice\na,T1,0.5\nelsewhere,T1,0.1\n")
    arguments = ("--predictions", given, "--scores", tmp_path / "S.csv", *world.arguments)
    assert evaluate(*arguments, "-o", tmp_path / "out", "--subsets", "T1") == 1
    said = capsys.readouterr().err
    assert "S (outside): scores of cases that are not evaluated: elsewhere." in said
    assert "S (outside): there are no scores of b, c, d." in said
    rows = read_scores(tmp_path / "out" / "scores.csv")
    assert [(row.case, row.dice) for row in rows if row.model == "S (outside)"] == [("a", 0.5)]


def test_models_from_outside_stand_beside_nnunets_on_its_validation_cases(
    two_fold_dataset, make_model, tmp_path, numbers_only
):
    tiny = two_fold_dataset
    folder = make_model(tiny, "nnUNetTrainerModalityDropout", folds=(0,))
    for subset in ("t1", "T2", "t2-t1"):
        (tmp_path / "A" / subset).mkdir(parents=True)
        for case in tiny.cases:
            shutil.copy(tiny.label(case), tmp_path / "A" / subset)
    out = tmp_path / "out"
    given = (f"ours={folder}", "--predictions", f"A={tmp_path / 'A'}", "-f", "0", "--device", "cpu", "--disable_tta")
    assert evaluate(*given, "-o", out) == 0
    rows = read_scores(out / "scores.csv")
    assert [row.model for row in rows] == ["ours"] * 18 + ["A (outside)"] * 18
    assert {row.case for row in rows} == set(tiny.cases[2:])
    assert {row.dice for row in rows if row.model == "A (outside)"} == {1.0}
    assert numbers_only[0]["pairs"] == [("A (outside)", "ours")]
    assert json.loads((folder / FILE_NAME).read_text())["model"] == "ours"
    assert not (tmp_path / "A" / FILE_NAME).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--predictions", "A"], "give the cases' images (-i) and references (-ref)"),
        (["--predictions", "nowhere", "CASES"], "--predictions: there is no folder nowhere"),
        (["--scores", "nowhere.csv"], "--scores: there is no file nowhere.csv"),
        (["--pattern", "{case}_{subset}", "--scores", "dataset.json"], "there are none"),
        (["--predictions", "A", "--pattern", "{case}", "CASES"], "--pattern has {case} and {subset} once each"),
        (["--predictions", "imagesTs", "CASES"], "holds no prediction of an evaluated case under a subset, as SUBSET/"),
        (["--predictions", "A", "CASES", "-d", "123"], "nnUNet_raw is not set"),
        (["--predictions", "A", "CASES", "-d", "other/"], "cannot be read: No such file"),
        (["--predictions", "A", "CASES", "-c", "2d"], "or -d and -tr"),
        (["--predictions", "A", "CASES", "--baseline", "B"], "'B' is none of the models: A (outside)"),
        (["--scores", "dataset.json"], "dataset (outside): dataset.json has "),
        (["--predictions", "A", "CASES", "-o", "A/out"], "lies in A, which is read"),
        (["--predictions", "A", "CASES", "-num_parts", "2", "-part_id", "2"], "-part_id below it, from 0; got 2 and 2"),
    ],
)
def test_wrong_usage_starts_nothing(world, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("nnUNet_raw", raising=False)
    world.predict("A")
    given = [word for each in arguments for word in (world.arguments if each == "CASES" else [each])]
    assert evaluate(*given, *([] if "-o" in arguments else ["-o", "out"])) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_a_description_it_is_said_where_it_was_looked_for(world, tmp_path, numbers_only, capsys):
    given = world.predict("A")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "dataset.json").rename(tmp_path / "elsewhere" / "dataset.json")
    assert evaluate("--predictions", given, *world.arguments, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "a dataset.json says what modalities and labels are (channel_names, labels and file_ending)" in error
    assert f"There is none in {tmp_path / 'labelsTs'}, {tmp_path}, {tmp_path / 'imagesTs'}." in error
    arguments = ("--predictions", given, *world.arguments, "-o", tmp_path / "out", "--subsets", "full")
    assert evaluate(*arguments, "-d", tmp_path / "elsewhere") == 0
