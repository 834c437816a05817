"""nnU-Net's models: one that fails while it predicts ends no other."""

from __future__ import annotations

import shutil

import pytest
import torch

from nnunet_missingmod.benchmarking import own_models as module
from nnunet_missingmod.cli import main
from nnunet_missingmod.evaluation.model_card import FILE_NAME, read_card
from nnunet_missingmod.evaluation.scores import read_scores


@pytest.fixture
def tiny(two_fold_dataset):
    return two_fold_dataset


@pytest.fixture
def folder(tiny, make_model):
    return make_model(tiny, "nnUNetTrainerSharedBackbone", folds=(0, 1))


def evaluate(*arguments):
    return main(["evaluate", *map(str, arguments), "--device", "cpu", "--disable_tta"])


def test_a_model_of_some_modalities_is_evaluated_on_subsets_that_have_one_of_them(
    tiny, make_model, tmp_path, capsys, numbers_only
):
    names = list(tiny.dataset_json["channel_names"].values())
    folder = make_model(tiny, "nnUNetTrainerHeMIS", folds=(0,), modality_subset=names[:1])
    assert evaluate(folder, "-o", tmp_path / "all") == 0
    assert f"was trained on {names[0]} alone and has no scores with {names[1]}." in capsys.readouterr().err
    rows = read_scores(tmp_path / "all" / "scores.csv")
    assert {names[0] in row.subset.split("+") for row in rows} == {True}
    card = read_card(folder / FILE_NAME)
    assert card.expected(names[:1]).mean.count
    assert not card.expected(names[1:]).mean.count
    assert evaluate(folder, "-o", tmp_path / "none", "--subsets", names[1]) == 2
    said = capsys.readouterr().err
    assert f'it was trained on {names[0]} alone ("modality_subset"), which none of the subsets has' in said
    assert not (tmp_path / "none").exists()


def test_a_model_that_predicts_none_of_the_cases_is_named(tiny, folder, make_model, tmp_path, capsys, numbers_only):
    images, labels = tmp_path / "images", tmp_path / "labels"
    for place, file in ((images, tiny.image(tiny.cases[0], 1)), (labels, tiny.label(tiny.cases[0]))):
        place.mkdir()
        shutil.copy(file, place)
    of_first = make_model(tiny, "nnUNetTrainerHeMIS", folds=(0, 1), modality_subset=["T1"])
    assert evaluate(folder, of_first, "-i", images, "-ref", labels, "-o", tmp_path / "out") == 1
    said = "nnUNetTrainerHeMIS: nothing could be scored, as no case has a subset that it predicts."
    assert said in capsys.readouterr().err


def test_what_goes_wrong_later_in_a_model_ends_no_other(tiny, folder, make_model, tmp_path, capsys, numbers_only):
    stock = make_model(tiny, "nnUNetTrainer", folds=(0,))
    opened = module.open_model_folder
    calls = []

    def open_model_folder(path, **more):
        calls.append(path)
        if len(calls) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory") if path == stock else ValueError("unexpected")
        return opened(path, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "open_model_folder", open_model_folder)
        assert evaluate(stock, folder, "-o", tmp_path / "out", "--subsets", "full", "-f", "0") == 1
    error = capsys.readouterr().err
    assert "2 failed:\n  nnUNetTrainer, fold 0: CUDA out of memory" in error
    assert "Nothing could be scored" not in error
