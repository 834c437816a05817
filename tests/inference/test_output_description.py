from __future__ import annotations

import json

import pytest

from nnunet_missingmod.errors import UsageError
from nnunet_missingmod.inference.model_folder import open_model_folder
from nnunet_missingmod.inference.output_description import write_description


@pytest.fixture
def model(make_tiny_dataset, make_model):
    return open_model_folder(make_model(make_tiny_dataset(num_cases=2), "nnUNetTrainerModalityDropout"))


def test_predictions_lie_beside_the_models_own_description(model, tmp_path):
    write_description(tmp_path / "out", model)
    assert json.loads((tmp_path / "out" / "plans.json").read_text()) == model.plans
    assert json.loads((tmp_path / "out" / "dataset.json").read_text()) == model.dataset_json
    (tmp_path / "out" / "dataset.json").write_text(json.dumps(model.dataset_json))  # as nnU-Net's command writes it
    write_description(tmp_path / "out", model)


@pytest.mark.parametrize("text", ["{}", "not JSON"])
@pytest.mark.parametrize("name", ["plans.json", "dataset.json"])
def test_another_description_is_kept_unless_it_lies_beside_predictions(model, tmp_path, name, text):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text(text)
    with pytest.raises(UsageError, match=rf"{name} is there and not this model's: .* \(--overwrite\)"):
        write_description(out, model)
    assert [file.name for file in out.iterdir()] == [name]
    assert (out / name).read_text() == text
    write_description(out, model, overwrite=True)
    assert (out / name).read_text() != text
    (out / name).write_text(text)
    (out / "predictions.jsonl").write_text("")  # the folder of an earlier model's predictions
    write_description(out, model)
    assert (out / name).read_text() != text


def test_a_folder_of_such_a_name_is_wrong_usage(model, tmp_path):
    (tmp_path / "plans.json").mkdir()
    with pytest.raises(UsageError, match=r"plans.json: it is a folder"):
        write_description(tmp_path, model)
