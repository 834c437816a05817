"""The stages of a prediction, one by one: what each hands to the next."""

from __future__ import annotations

import numpy as np
import torch

from nnunet_missingmod import Predictor
from nnunet_missingmod.absence import read


def test_the_stages_together_are_a_prediction(make_tiny_dataset, make_model):
    tiny = make_tiny_dataset(num_cases=1)
    predictor = Predictor.from_model_folder(make_model(tiny, "nnUNetTrainerModalityDropout"), device="cpu")
    files = {1: tiny.image("case_000", 1), 3: tiny.image("case_000", 3)}
    prepared = predictor.prepare(files, case="a")
    assert (prepared.case, dict(prepared.files)) == ("a", files)
    assert read(prepared.data[None]).tolist() == [[False, True, False, True]]
    inferred = predictor.infer(prepared)
    assert inferred.logits.shape == (4, *prepared.data.shape[1:])
    assert torch.isfinite(inferred.logits).all()
    assert inferred.of_folds == ()
    made = predictor.finish(inferred, probabilities=True)
    whole = predictor.predict_files(files, case="a", probabilities=True)
    np.testing.assert_array_equal(made.array, whole.array)
    np.testing.assert_array_equal(made.probabilities, whole.probabilities)
    assert made.present == ("T1", "T2")
