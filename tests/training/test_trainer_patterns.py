"""Known patterns of missingness inside nnU-Net's loop: what steps are shown, what is logged, and what ``--c`` keeps."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_missingmod import absence
from nnunet_missingmod.prevalence import PrevalenceError

DROPOUT = "nnUNetTrainerModalityDropout"
FILE = "subset,count\nt2+flair,3\nT2,1\n"
OF_FILE = {"T2": 1, "FLAIR+T2": 3}


@pytest.fixture
def tiny(make_tiny_dataset):
    """The plans of a dataset of FLAIR, T1, T1ce and T2, with a prevalence file beside them and no case."""
    tiny = make_tiny_dataset(num_cases=0)
    (tiny.preprocessed / "prevalence.csv").write_text(FILE)
    (tiny.preprocessed / "nnUNetPlans_2d").mkdir()
    (tiny.preprocessed / "nnUNetPlans_2d" / "nothing.b2nd").touch()
    return tiny


@pytest.fixture
def make(tiny, make_method):
    """Return a function that makes a trainer of the tiny plans."""

    def make_trainer(subsets="prevalence.csv", name=DROPOUT, **block):
        return make_method(name, tiny, configuration="2d", modality_subsets=subsets, **block)

    return make_trainer


def drawn(trainer):
    trainer.dropout.start_epoch(3)
    return trainer.dropout.sample(np.ones((40, 4), dtype=bool))


def resumed(trainer, file, capsys):
    """Load a checkpoint as --c does, and return what was logged."""
    capsys.readouterr()
    trainer.load_checkpoint(file)
    return capsys.readouterr().out


@pytest.mark.usefixtures("attached")
@pytest.mark.parametrize("name", [DROPOUT, "nnUNetTrainerM3AE", "nnUNetTrainerMaskedPretraining"])
def test_training_and_validation_show_subsets_of_the_pattern(
    make_tiny_dataset, preprocess, make_method, monkeypatch, capsys, name
):
    tiny = make_tiny_dataset()
    tiny.image("case_000", 3).unlink()  # the training case has no T2
    preprocess(tiny, "2d", preprocessor="MissingModPreprocessor")
    subsets = {"T2+flair": 3, "T1ce+T1": 1}
    more = {"modality_subsets": subsets, "validation_subsets": "cycle"}
    trainer = make_method(name, tiny, configuration="2d", **more)
    trainer.on_train_start()
    log = capsys.readouterr().out
    assert "  75.00 %  FLAIR+T2" in log
    assert "  25.00 %  T1+T1ce" in log
    written = json.loads((Path(trainer.output_folder_base) / "plans.json").read_text())
    block = written["configurations"]["2d"]["missingmod"]
    assert block["modality_subsets"] == {"FLAIR+T2": 3, "T1+T1ce": 1}
    seen = []
    keep = type(trainer)._keep
    monkeypatch.setattr(type(trainer), "_keep", lambda self, batch, kept: seen.append(kept) or keep(self, batch, kept))
    trainer.on_train_epoch_start()
    for _ in range(2):
        trainer.train_step(next(trainer.dataloader_train))
    shown = {tuple(row) for row in torch.cat(seen).tolist()}
    assert shown <= {(True, False, False, False), (False, True, True, False)}
    seen.clear()
    trainer.network.eval()
    trainer.on_validation_epoch_start()
    with torch.no_grad():
        for _ in range(8):
            trainer.validation_step(next(trainer.dataloader_val))
    of_batches = Counter(tuple(kept[0].tolist()) for kept in seen)
    assert of_batches == {(True, False, False, True): 6, (False, True, True, False): 2}


@pytest.mark.usefixtures("attached")
def test_a_table_of_probabilities_never_drops_the_others(make_tiny_dataset, preprocess, make_method, monkeypatch):
    tiny = make_tiny_dataset()
    preprocess(tiny, "2d")
    trainer = make_method(DROPOUT, tiny, configuration="2d", modality_dropout={"flair": 0.5, "T1": 0.4})
    assert trainer.choices["modality_dropout"] == {"FLAIR": 0.5, "T1": 0.4}
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    seen = []
    monkeypatch.setattr(
        nnUNetTrainer, "train_step", lambda self, batch: seen.append(absence.read(batch["data"])) or {"loss": 0}
    )
    for _ in range(20):
        trainer.train_step(next(trainer.dataloader_train))
    kept = torch.cat(seen)
    assert kept[:, 2:].all()
    assert 0.2 < kept[:, 0].float().mean() < 0.8
    assert len({tuple(row) for row in kept.tolist()}) == 4


def test_a_file_becomes_the_table_that_is_saved_and_drawn_from(make, tiny):
    trainer = make()
    assert trainer.choices["modality_subsets"] == OF_FILE
    saved = trainer.my_init_kwargs["plans"]["configurations"]["2d"]["missingmod"]["modality_subsets"]
    assert saved == OF_FILE
    np.testing.assert_array_equal(drawn(trainer), drawn(make({"FLAIR+T2": 30, "T2": 10})))
    assert set(map(tuple, drawn(trainer).tolist())) == {(False, False, False, True), (True, False, False, True)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r'"modality_subsets" of the plans: .*prevalence\.csv cannot be read: No such file'),
        ("subset,count\nT9,1\n", r"prevalence\.csv, line 2: 'T9' is no modality"),
    ],
)
def test_a_file_that_cannot_be_used_stops_a_new_training_at_once(make, tiny, text, message):
    file = tiny.preprocessed / "prevalence.csv"
    file.unlink() if text is None else file.write_text(text)
    with pytest.raises(PrevalenceError, match=message):
        make()


@pytest.mark.usefixtures("attached")
def test_a_continued_training_draws_as_it_began_whatever_became_of_the_file(make, tiny, capsys):
    first = make()
    first.initialize()
    expected = drawn(first)
    file = f"{first.output_folder}/checkpoint_latest.pth"
    first.save_checkpoint(file)
    assert "goes on with" not in resumed(make(), file, capsys)

    prevalence = tiny.preprocessed / "prevalence.csv"
    prevalence.write_text("subset,count\nFLAIR+T2,9\nT1,1\n")
    changed = make()
    assert f"WARNING: {prevalence} says something else than when this training began" in resumed(changed, file, capsys)
    prevalence.unlink()
    gone = make()
    assert f"{prevalence} cannot be read: No such file or directory" in resumed(gone, file, capsys)
    for trainer in (changed, gone):
        assert trainer.choices["modality_subsets"] == OF_FILE
        np.testing.assert_array_equal(drawn(trainer), expected)
        plans = trainer.plans_manager.plans["configurations"]["2d"]["missingmod"]
        assert plans["modality_subsets"] == OF_FILE

    # Without --c nothing remembers it, even though the folder has a checkpoint of before.
    with pytest.raises(PrevalenceError, match="cannot be read"):
        make().on_train_start()
    # Without the file the same table may stand in the plans, and no other.
    resumed(make({"T2": 1, "T2+FLAIR": 3, "T1": 0}), file, capsys)
    with pytest.raises(ValueError, match="trained with other choices: modality_subsets was .*, is {'T2': 1}"):
        resumed(make({"T2": 1}), file, capsys)
    with pytest.raises(ValueError, match="modality_subsets was .*, is 'none'"):
        resumed(make("none"), file, capsys)


@pytest.mark.usefixtures("attached")
def test_a_training_that_began_without_a_pattern_gets_none(make, tiny, capsys):
    first = make("none")
    first.initialize()
    file = f"{first.output_folder}/checkpoint_latest.pth"
    first.save_checkpoint(file)
    with pytest.raises(ValueError, match="modality_subsets was 'none', is {"):
        resumed(make(), file, capsys)
    content = torch.load(file, weights_only=False)
    del content["init_args"]["plans"]["configurations"]["2d"]["missingmod"]["modality_subsets"]
    torch.save(content, file)  # as of a version that had no such key
    with pytest.raises(ValueError, match="modality_subsets was 'none', is {"):
        resumed(make(), file, capsys)


@pytest.mark.parametrize(
    ("name", "block", "message"),
    [
        ("nnUNetTrainerRDL", {}, 'modality_subsets to "none", or choose a trainer that draws one'),
        ("nnUNetTrainerGGMD", {}, 'modality_subsets to "none", or choose a trainer that draws one'),
        ("nnUNetTrainerZeroFill", {}, 'modality_subsets does nothing, because modality_dropout is "none"'),
        (DROPOUT, {"modality_dropout": {"T1": 0.2}}, "both say which subsets are drawn"),
        (DROPOUT, {"modality_subset": ["T1"]}, 'set modality_subset to "all"'),
    ],
)
def test_what_draws_otherwise_refuses_subsets_before_anything_starts(make, name, block, message):
    with pytest.raises(ValueError, match=message):
        make({"T2": 1}, name, **block)


def test_a_teacher_leaves_them_to_the_students_with_whom_it_shares_its_plans(make):
    teacher = make({"T2": 1}, "nnUNetTrainerMedMAPTeacher")
    assert (teacher.pattern, teacher.dropout, teacher.subset_cycle) == (None, None, None)
