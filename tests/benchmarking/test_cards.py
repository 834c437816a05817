"""The card of a model: of what it was not trained on, without paths, and no loss of one of more patients."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarking.some_evaluation import write
from benchmarking.some_rows import EVERY, some_rows

from nnunet_missingmod.benchmarking.cards import EARLIER
from nnunet_missingmod.evaluation.model_card import FILE_NAME, read_card


def test_a_card_leaves_out_what_the_model_may_have_been_trained_on(tmp_path, numbers_only, caplog):
    rows = [replace(each, dice=1.0) if each.case == "case0" else each for each in some_rows("a")]
    write(tmp_path, rows, EVERY, "a", seen={"a": ("case0",)})
    card = read_card(tmp_path / "a" / FILE_NAME)
    assert "case0" not in card.cases
    assert len(card.cases) == 4
    assert card.provenance["cases"] == "some cases, without those of training cases' names"
    assert card.expected(["T3"]).regions["tumour"].mean < 0.5
    (tmp_path / "a" / FILE_NAME).unlink()
    _, failures = write(tmp_path, rows, EVERY, "a", seen={"a": tuple(f"case{index}" for index in range(5))})
    assert failures == []
    assert not (tmp_path / "a" / FILE_NAME).exists()
    assert "No model card of a: every case has the name of one that it was trained on." in caplog.text


def test_a_card_that_cannot_be_written_is_a_failure_by_name(tmp_path, numbers_only):
    (tmp_path / "a" / FILE_NAME).mkdir(parents=True)
    _, failures = write(tmp_path, some_rows("a"), EVERY, "a")
    assert "a: its card cannot be written" in failures[0]


@pytest.mark.usefixtures("numbers_only")
def test_a_card_names_no_path_of_this_machine_and_is_named_by_a_line(tmp_path):
    rows = [*some_rows("a"), *some_rows("b (outside)")]
    lines, _ = write(tmp_path, rows, EVERY, "a", outside={"b (outside)": "/home/me/b"}, command="evaluate /home/me")
    assert f"Card of a, which goes with the model: {tmp_path / 'a' / FILE_NAME}" in lines
    assert "/home/me" not in (tmp_path / "a" / FILE_NAME).read_text()
    assert read_card(tmp_path / "a" / FILE_NAME).provenance["predicted"] == {
        "folds_together": [],
        "tile_step_size": 0.5,
        "mirroring": True,
    }


@pytest.mark.usefixtures("numbers_only")
def test_a_card_of_more_patients_is_kept_beside_the_new_one(tmp_path, caplog):
    card, earlier = tmp_path / "a" / FILE_NAME, tmp_path / "a" / EARLIER
    write(tmp_path, some_rows("a"), EVERY, "a")
    former = card.read_bytes()
    write(tmp_path, some_rows("a"), EVERY, "a")
    assert not earlier.exists()
    few = [each for each in some_rows("a") if each.case in ("case0", "case1")]
    write(tmp_path, few, EVERY, "a")
    assert earlier.read_bytes() == former
    assert len(read_card(card).cases) == 2
    assert "was measured on 5 patients, the new one on 2: one of 5 is kept beside it" in caplog.text
    one = [each for each in few if each.case == "case0"]
    write(tmp_path, one, EVERY, "a")
    assert earlier.read_bytes() == former  # not the one of 2
    assert "the new one on 1: one of 5 is kept" in caplog.text
    write(tmp_path, some_rows("a"), EVERY, "a", weights={"a": {"0": "weights of a", "1": "others"}})
    write(tmp_path, few, EVERY, "a")
    assert len(read_card(card).cases) == 2
    assert len(read_card(earlier).cases) == 5
    former = earlier.read_bytes()
    write(
        tmp_path, [each for each in few if each.case == "case0"], EVERY, "a", weights={"a": {"0": "of other weights"}}
    )
    assert earlier.read_bytes() == former


@pytest.mark.usefixtures("numbers_only")
def test_a_model_that_failed_is_not_said_to_have_seen_its_cases(tmp_path, caplog):
    write(tmp_path, some_rows("a"), EVERY, "a", "b", seen={"b": ("case0",)})
    assert "No model card of b" not in caplog.text
