"""Sentences on score rows whose means, differences and order are known."""

from __future__ import annotations

from dataclasses import replace

from evaluation.evaluation_rows import AB, row, rows_of
from evaluation.page_reports import QUICK, make_tables, summary_of

from nnunet_missingmod.evaluation.aggregation import pool, subset_columns
from nnunet_missingmod.evaluation.conventions import BRATS, NNUNET
from nnunet_missingmod.evaluation.intervals import Bootstrap
from nnunet_missingmod.evaluation.report.leading import leads
from nnunet_missingmod.evaluation.report.summary import summarise
from nnunet_missingmod.evaluation.report.tables import table_of

# Where all cases score nearly the same, an interval has no width that is shown, and every number is known.
FEW = ("In brackets: 95 % confidence intervals over 12 patients.",)


def scored(model, cases=12, *, a=0.4, b=0.5, ab=0.75, wave=0.0):
    """Rows of a model; ``wave`` is added to Dice and subtracted in turn. No two differences of cases are equal."""
    means = {"A": a, "B": b, "A+B": ab}
    scores = {
        name: [(mean + (wave, -wave)[case % 2]) * (1 + case * 1e-5) for case in range(cases)]
        for name, mean in means.items()
    }
    return rows_of(scores, model=model)


def told(*models, modalities=AB, convention=BRATS, patients=None):
    rows = [each for model in models for each in model]
    names = {each.model for each in rows}
    pairs = [("ours", "theirs")] if {"ours", "theirs"} <= names else []
    both = make_tables(rows, pairs=pairs, modalities=modalities, convention=convention)
    return summary_of(rows, both, modalities, patients=patients)


def test_one_model_is_told_in_three_sentences():
    summary = told(scored("ours"))
    assert summary.sentences == (
        "Over all 3 subsets, ours has a Dice of ET of 55.0 (55.0 to 55.0).",
        "The worst subset of ours is A: 40.0 (40.0 to 40.0), 35.0 points (35.0 to 35.0) less than with all 2 "
        "modalities, 75.0 (75.0 to 75.0).",
        "With all 2 modalities it reaches 75.0 (75.0 to 75.0), 20.0 points (20.0 to 20.0) more than the average over "
        "all 3 subsets.",
    )
    assert summary.cautions == (
        *FEW,
        "The worst subset is chosen on the cases that are measured, which makes a lead or a cost look a little larger "
        "than it is.",
    )


def test_a_lead_has_its_interval_and_the_next_best():
    summary = told(scored("ours"), scored("theirs", a=0.3), scored("third", a=0.1))
    assert summary.sentences[0] == (
        "Over all 3 subsets, ours has the highest Dice of ET: 55.0 (55.0 to 55.0); theirs, the next best, is "
        "3.3 points (3.3 to 3.3) behind."
    )
    assert summary.cautions[1].startswith("The leading model and the worst subset are chosen on the cases")


def test_a_lead_whose_interval_includes_zero_is_none():
    summary = told(scored("ours", a=0.41, wave=0.1), scored("theirs"), scored("third", a=0.39, wave=-0.1))
    first, *_ = summary.sentences
    assert "theirs, the next best, is 0.3 points (−" in first
    assert first.endswith("behind and cannot be told from it. third cannot be told from it either.")


def test_a_lead_that_no_test_confirms_is_said_with_p():
    # Five patients are 10 points better with A, one is a point worse: p = 4 / 2^6.
    theirs = [
        replace(each, dice=0.41) if (each.case, each.subset) == ("c0", "A") else each
        for each in scored("theirs", cases=6, a=0.3)
    ]
    summary = told(scored("ours", cases=6), theirs)
    first, *_ = summary.sentences
    assert "theirs, the next best, is 2.7 points (" in first
    assert first.endswith("behind and cannot be told from it (p after correction: 0.062).")
    assert summary.cautions[0] == (
        "In brackets: 95 % confidence intervals over 6 patients, a little too narrow with so few."
    )


def test_fewer_than_six_patients_have_no_interval_and_it_is_said_from_how_many_there_is_one():
    summary = told(scored("ours", cases=5), scored("theirs", cases=5, a=0.3))
    assert summary.sentences[0] == (
        "Over all 3 subsets, ours has the highest Dice of ET: 55.0; theirs, the next best, is 3.3 points behind and "
        "cannot be told from it."
    )
    assert summary.cautions[:2] == (
        "With 5 patients there are no confidence intervals: they are shown from 6 patients on, with which they held in "
        "simulations.",
        "No test of so few patients can tell two models apart.",
    )
    assert not any("interval that includes 0" in each for each in summary.sentences)


def test_equal_models_are_said_to_be_equal():
    summary = told(scored("ours"), scored("theirs"))
    assert summary.sentences[0].endswith("55.0 (55.0 to 55.0); theirs, the next best, has the same mean.")


def test_the_complete_case_has_an_order_of_its_own():
    summary = told(scored("ours"), scored("theirs", a=0.3, ab=0.8), scored("third", a=0.1, ab=0.78))
    assert summary.sentences[2] == (
        "With all 2 modalities, theirs has the highest Dice of ET: 80.0 (80.0 to 80.0); third, the next best, is 2.0 "
        "points (2.0 to 2.0) behind; ours is 5.0 points (5.0 to 5.0) behind."
    )


def test_without_the_complete_case_the_best_subset_is_the_measure():
    rows = [each for each in scored("ours") if each.subset != "A+B"]
    assert told(rows).sentences[1:] == (
        "The worst subset of ours is A: 40.0 (40.0 to 40.0), 10.0 points (10.0 to 10.0) less than with B, its best, "
        "50.0 (50.0 to 50.0).",
        "The case with all 2 modalities was not scored.",
    )


def test_a_cost_whose_interval_includes_zero_is_said_to():
    rows = scored("ours", a=0.74, b=0.9)
    rows = [
        replace(each, dice=each.dice + 0.2 * (int(each.case[1:]) % 2)) if each.subset == "A+B" else each
        for each in rows
    ]
    rows = [replace(each, dice=each.dice - 0.1) if each.subset == "A+B" else each for each in rows]
    assert told(rows).sentences[1].endswith(", an interval that includes 0.")


def test_no_subset_may_be_worse_than_the_complete_case():
    sentences = told(scored("ours", a=0.9, b=0.8, ab=0.7)).sentences
    assert sentences[1] == (
        "No subset of ours is worse than with all 2 modalities: the lowest Dice of ET is that of B."
    )
    assert "10.0 points (10.0 to 10.0) less than the average" in sentences[2]


def test_cost_and_gain_are_of_the_cases_that_have_both_and_say_so():
    """A has the lowest mean, of hard cases that have nothing else; on the cases that have both, B costs most."""
    hard = [replace(each, case=f"hard{each.case}") for each in scored("ours", a=0.2) if each.subset == "A"]
    sentences = told([*scored("ours", a=0.74, b=0.6), *hard]).sentences
    assert sentences[1] == (
        "The worst subset of ours is B: 60.0 (60.0 to 60.0), 15.0 points (15.0 to 15.0) less than with all 2 "
        "modalities, 75.0 (75.0 to 75.0)."
    )
    assert sentences[2].endswith(
        "5.3 points (5.3 to 5.3) more than the average over all 3 subsets, on the cases that have both."
    )
    hard = [replace(each, case=f"hard{each.case}") for each in scored("ours", a=0.2) if each.subset == "A"]
    costs = told([*scored("ours", a=0.74, b=0.9), *hard]).sentences[1]
    assert "1.0 point (1.0 to 1.0) less than with all 2 modalities, 75.0 (75.0 to 75.0), on the cases" in costs
    none = told([*scored("ours", a=0.8, b=0.9), *hard]).sentences[1]
    assert none == "No subset of ours is worse than with all 2 modalities, on the cases that have both."


def test_a_gain_without_a_case_of_both_is_not_told():
    apart = [each for each in scored("ours") if (each.subset == "A+B") == (int(each.case[1:]) < 6)]
    sentences = told(apart).sentences
    assert sentences[1:] == (
        "No case of ours was scored both with all 2 modalities and with another subset.",
        "With all 2 modalities it reaches 75.0 (75.0 to 75.0).",
    )


def test_one_modality_has_no_cost():
    rows = [each for each in scored("ours") if each.subset == "A"]
    summary = told(rows, modalities=("A",))
    assert summary.sentences == ("With A, ours has a Dice of ET of 40.0 (40.0 to 40.0).", "Nothing is absent from A.")


def test_one_scored_subset_has_no_known_cost():
    rows = [each for each in scored("ours") if each.subset == "A"]
    assert told(rows).sentences[1:] == (
        "No other subset was scored, so that the cost of absent modalities is not known.",
    )


def test_one_patient_has_no_intervals():
    summary = told(scored("ours", cases=2), scored("theirs", cases=2, a=0.3), patients={"c0": "p", "c1": "p"})
    assert summary.cautions[0] == "With one patient there are no intervals and no tests."


def test_the_mean_of_regions_names_them_and_undefined_ones_are_left():
    empty = [
        row(None, case=f"c{case}", subset=subset, region="WT") for case in range(12) for subset in ("A", "B", "A+B")
    ]
    groups = {"ET": ("ET",), "WT": ("WT",), "mean of regions": ("ET", "WT")}
    rows = [*scored("ours"), *empty]

    def of(convention):
        values = pool(rows, modalities=AB, convention=convention)
        table = table_of(values, subset_columns(AB), bootstrap=QUICK, regions=groups)
        return summarise(values, table, leads([table], []), regions=groups, bootstrap=QUICK)

    assert of(BRATS).region == "mean of regions"
    assert "ours has a mean Dice of ET and WT of 77.5 (77.5 to 77.5)" in of(BRATS).sentences[0]
    assert of(NNUNET).region == "ET"
    assert of(NNUNET).sentences[0] == "The mean of regions has no score over all subsets: this is about ET."
    assert len(of(NNUNET).sentences) == 4


def test_a_model_without_scores_is_named_and_nobody_may_have_one():
    empty = [replace(row(None, case=each.case, subset=each.subset), model="theirs") for each in scored("ours")]
    summary = told(scored("ours"), empty, convention=NNUNET)
    assert summary.sentences[0] == "Over all 3 subsets, ours has a Dice of ET of 55.0 (55.0 to 55.0). theirs has none."
    nobody = told(empty, [replace(each, model="ours") for each in empty], convention=NNUNET)
    assert nobody.sentences == ("Over all 3 subsets, no model has a Dice of ET.",)


def test_the_confidence_is_the_tables():
    rows = scored("ours")
    bootstrap = Bootstrap(resamples=100, confidence=0.9)
    both = make_tables(rows, pairs=(), bootstrap=bootstrap)
    assert summary_of(rows, both, bootstrap=bootstrap).cautions[0].startswith("In brackets: 90 % confidence")
