"""The section says what was measured, for every kind, region and number of modalities, and draws it."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_missingmod.evaluation.agreement_regression import Observations
from nnunet_missingmod.evaluation.conformal import held_out
from nnunet_missingmod.evaluation.report.reliability import reliability_plot, reliability_section


def measured(patients, *, informative=True, seed=0):
    rng = np.random.default_rng(seed)
    dice = rng.uniform(0.2, 1, patients)
    agreement = np.clip(dice + rng.normal(0, 0.02, patients), 0, 1) if informative else rng.uniform(0, 1, patients)
    entries = [(f"p{i:03d}", "S", float(a), float(d)) for i, (a, d) in enumerate(zip(agreement, dice, strict=True))]
    return held_out(Observations.of(entries))


def test_every_line_says_how_many_patients_which_coverage_and_how_wide(tmp_path):
    of_model = {(2, "WT"): measured(40), (3, "WT"): measured(8)}
    section = reliability_section({"a+b $x$": {"subsets": of_model}}, tmp_path)
    (table,) = section.tables
    assert table.caption == "a+b $x$, agreement with the predictions from one modality less"
    first, second = table.body
    each = of_model[2, "WT"]
    assert first[:5] == ("WT", "2", "40", "40", "95 %")
    assert first[5:7] == (f"{100 * each.coverage.share:.1f} %", f"{100 * each.width:.1f}")
    assert float(first[7]) > 3 * float(first[6])
    assert second == ("WT", "3", "8", "8", "none: 90 % needs 9 patients", "-", "-", "-")
    assert section.figures == ("figures/reliability_subsets_1.png",)
    assert (tmp_path / section.figures[0]).read_bytes()[1:4] == b"PNG"


def test_models_and_kinds_have_tables_of_their_own_and_figures_where_there_is_something_to_draw(tmp_path):
    kinds = {"folds": {(1, "WT"): measured(5)}, "subsets": {(2, "WT"): measured(5)}}
    section = reliability_section({"m": kinds, "n": {**kinds, "folds": {(1, "WT"): measured(20)}}}, tmp_path)
    captions = [table.caption for table in section.tables]
    assert captions[::2] == ["m, agreement of the folds", "n, agreement of the folds"]
    assert section.figures == ("figures/reliability_folds_2.png",)


def test_without_agreement_there_is_no_section(tmp_path):
    assert reliability_section({"m": {}}, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_nothing_expected_is_not_drawn(tmp_path):
    with pytest.raises(ValueError, match="no prediction"):
        reliability_plot({(2, "WT"): measured(3)}, tmp_path / "plot.png")
