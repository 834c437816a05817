"""The split that a training used is kept, and validation never takes a case that was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from nnunetv2.run import run_training as host_run

from nnunet_missingmod.training.checkpoints import read_checkpoint
from nnunet_missingmod.training.split import Split, SplitError, read_split, write_split

CASES = [f"case_{index:03d}" for index in range(4)]
CPU = torch.device("cpu")


@pytest.fixture
def four_cases(make_tiny_dataset, preprocess):
    tiny = make_tiny_dataset(("T1", "T2"), num_cases=4)
    preprocess(tiny, "3d_fullres")
    return tiny


def set_split(tiny, train, val):
    (tiny.preprocessed / "splits_final.json").write_text(json.dumps([{"train": train, "val": val}]))


def resume(trainer):
    host_run.maybe_load_checkpoint(trainer, True, False)
    return trainer


@pytest.mark.parametrize("name", ["nnUNetTrainerModalityDropout", "nnUNetTrainerMedMAPTeacher"])
def test_a_training_writes_the_split_that_it_used_into_its_folder_and_checkpoint(four_cases, make_method, name):
    set_split(four_cases, CASES[1:3], CASES[3:])
    trainer = make_method(name, four_cases)
    trainer.run_training()
    folder = Path(trainer.output_folder)
    assert read_split(folder) == Split(tuple(CASES[1:3]), (CASES[3],))
    saved = read_checkpoint(folder / "checkpoint_final.pth")["init_args"]["missingmod_split"]
    assert saved == {"train": CASES[1:3], "val": CASES[3:]}


def test_nnunets_own_split_is_written_where_there_is_no_file(make_tiny_dataset, preprocess, make_method):
    tiny = make_tiny_dataset(("T1", "T2"), num_cases=5)
    preprocess(tiny, "3d_fullres")
    (tiny.preprocessed / "splits_final.json").unlink()
    trainer = make_method("nnUNetTrainerModalityDropout", tiny, fold=1)
    trainer.run_training()
    made = json.loads((tiny.preprocessed / "splits_final.json").read_text())[1]
    assert read_split(Path(trainer.output_folder)) == Split(tuple(made["train"]), tuple(made["val"]))
    read_checkpoint(Path(trainer.output_folder) / "checkpoint_final.pth")


def test_with_all_cases_each_is_trained_and_validated_on(four_cases, make_method):
    trainer = make_method("nnUNetTrainerModalityDropout", four_cases, fold="all")
    trainer.run_training()
    split = read_split(Path(trainer.output_folder))
    assert split == Split(tuple(CASES), tuple(CASES))
    assert split.trained_on(CASES) == []
    resume(make_method("nnUNetTrainerModalityDropout", four_cases, fold="all", num_epochs=2)).run_training()


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        (CASES[1:3], CASES[:1], "case_000 would be validated on, but the model was trained on them"),
        ([CASES[0], CASES[3]], CASES[2:3], "case_003 would be trained on, but the model was validated on them"),
    ],
    ids=["validated on", "trained on"],
)
def test_a_split_that_was_changed_is_refused_when_a_training_goes_on(four_cases, make_method, train, val, message):
    set_split(four_cases, CASES[:2], CASES[3:])
    trainer = make_method("nnUNetTrainerModalityDropout", four_cases)
    trainer.run_training()
    before = read_split(Path(trainer.output_folder))
    set_split(four_cases, train, val)
    again = resume(make_method("nnUNetTrainerModalityDropout", four_cases, num_epochs=2))
    with pytest.raises(SplitError, match=message) as refused:
        again.run_training()
    assert str(Path(trainer.output_folder) / "split.json") in str(refused.value)
    assert read_split(Path(trainer.output_folder)) == before


def test_the_final_validation_does_not_take_a_case_that_was_trained_on(four_cases, make_method):
    set_split(four_cases, CASES[:2], CASES[3:])
    trainer = make_method("nnUNetTrainerModalityDropout", four_cases)
    trainer.run_training()
    set_split(four_cases, CASES[1:3], CASES[:1])
    validated = make_method("nnUNetTrainerModalityDropout", four_cases)
    host_run.maybe_load_checkpoint(validated, False, True)
    for one in (trainer, validated):
        with pytest.raises(SplitError, match="case_000 would be validated on"):
            one.do_split()


def test_cases_may_be_added_and_those_that_were_trained_on_are_remembered(four_cases, make_method):
    set_split(four_cases, CASES[:2], CASES[3:])
    make_method("nnUNetTrainerModalityDropout", four_cases).run_training()
    set_split(four_cases, CASES[1:3], CASES[3:])
    goes_on = resume(make_method("nnUNetTrainerModalityDropout", four_cases, num_epochs=2))
    goes_on.run_training()
    assert read_split(Path(goes_on.output_folder)) == Split(tuple(CASES[:3]), (CASES[3],))
    set_split(four_cases, CASES[1:3], CASES[:1])
    with pytest.raises(SplitError, match="case_000 would be validated on"):
        resume(make_method("nnUNetTrainerModalityDropout", four_cases, num_epochs=3)).run_training()


def test_reading_what_is_not_there_or_no_split(tmp_path):
    assert read_split(tmp_path) is None
    write_split(tmp_path, ["a"], ["b", "c"])
    assert read_split(tmp_path) == Split(("a",), ("b", "c"))
    for content in ("[]", '{"train": ["a"]}', '{"train": [1], "val": []}', "[" * 100000, "{"):
        (tmp_path / "split.json").write_text(content)
        with pytest.raises(SplitError, match=r"split.json cannot be read .* Restore it, or delete it"):
            read_split(tmp_path)
