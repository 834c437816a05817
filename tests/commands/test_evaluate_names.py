"""``evaluate`` with channel names that occur twice or have characters of the notation in them."""

from __future__ import annotations

import json

import pytest

from nnunet_missingmod.cli import main
from nnunet_missingmod.evaluation.model_card import FILE_NAME, read_card
from nnunet_missingmod.evaluation.scores import read_scores


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("names", "subsets"),
    [
        (("MR", "MR"), {"MR_0", "MR_1", "MR_0+MR_1"}),
        (("all", "T1+C"), {"\\all", "T1\\+C", "all+T1\\+C"}),
    ],
)
def test_every_name_goes_through_scores_card_and_advice(
    make_tiny_dataset, make_model, tmp_path, names, subsets, capsys
):
    tiny = make_tiny_dataset(names, num_cases=2)
    splits = [{"train": tiny.cases[:1], "val": tiny.cases[1:]}]
    (tiny.preprocessed / "splits_final.json").write_text(json.dumps(splits))
    folder = make_model(tiny, "nnUNetTrainerModalityDropout")
    out = tmp_path / "out"
    shared = ("-m", folder, "-o", out, "-device", "cpu", "--disable_tta")
    assert run("evaluate", *shared) == 0
    assert {row.subset for row in read_scores(out / "scores.csv")} == subsets
    assert set(read_card(folder / FILE_NAME).subsets) == subsets
    for subset in subsets:
        assert run("advise", "-m", folder, "--present", subset) == 0
    one = min(subsets)
    assert run("evaluate", *shared, "--subsets", one) == 0
    assert {row.subset for row in read_scores(out / "scores.csv")} == {one}
