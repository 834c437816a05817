"""What nnU-Net changes for the whole process is as before after a call, from several threads too."""

from __future__ import annotations

import sys
from threading import Barrier, Thread

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_missingmod import Predictor
from nnunet_missingmod.inference.host_settings import TIMED_ALGORITHMS
from nnunet_missingmod.inference.model_folder import load_predictor, open_model_folder

CPU = torch.device("cpu")


@pytest.fixture
def model(make_tiny_dataset, make_model):
    tiny = make_tiny_dataset(num_cases=1)
    return tiny, make_model(tiny, "nnUNetTrainerModalityDropout")


@pytest.fixture(params=[False, True])
def benchmark(request, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", request.param)
    return request.param


def test_loading_prints_nothing_and_leaves_cudnn_and_the_device_as_they_are(model, benchmark, capsys):
    predictor = load_predictor(open_model_folder(model[1]), device=CPU, kind=nnUNetPredictor)
    assert torch.backends.cudnn.benchmark == benchmark
    assert (predictor.device, predictor.perform_everything_on_device) == (CPU, False)
    assert capsys.readouterr().out == ""


def test_cudnn_is_set_back_when_the_last_thread_has_predicted(benchmark):
    entered, may_leave = Barrier(3), Barrier(3)

    def predict():
        with TIMED_ALGORITHMS.in_use():
            entered.wait()
            may_leave.wait()

    threads = [Thread(target=predict) for _ in range(2)]
    for thread in threads:
        thread.start()
    entered.wait()
    assert torch.backends.cudnn.benchmark
    with TIMED_ALGORITHMS.in_use():
        pass
    assert torch.backends.cudnn.benchmark
    may_leave.wait()
    for thread in threads:
        thread.join()
    assert torch.backends.cudnn.benchmark == benchmark


def test_what_nnunet_says_while_it_predicts_is_heard_and_the_output_stays_where_it_was(model, monkeypatch, capsys):
    tiny, folder = model
    predictor = Predictor.from_model_folder(folder, device="cpu")
    out, seen = sys.stdout, []
    predict = nnUNetPredictor.predict_sliding_window_return_logits

    def without_memory(self, data):
        seen.append(sys.stdout)
        print("Prediction on device was unsuccessful, probably due to a lack of memory.")  # noqa: T201 - as the host
        return predict(self, data)

    monkeypatch.setattr(nnUNetPredictor, "predict_sliding_window_return_logits", without_memory)
    predictor.predict({"T1": tiny.image("case_000", 1)})
    assert seen == [out]
    assert sys.stdout is out
    assert capsys.readouterr().out == "Prediction on device was unsuccessful, probably due to a lack of memory.\n"
