"""The service of examples/: real requests, bad input answered with words, the next request served."""

from __future__ import annotations

import importlib.util
import json
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from fastapi.testclient import TestClient
from skimage import io as pictures

from nnunet_missingmod import Predictor
from nnunet_missingmod.inference.prediction import Prediction

FILE = Path(__file__).parents[2] / "examples" / "service.py"


@pytest.fixture
def tiny(make_tiny_dataset):
    return make_tiny_dataset(num_cases=1)


@pytest.fixture
def model(tiny, make_model):
    return make_model(tiny, "nnUNetTrainerModalityDropout")


def load_service():
    spec = importlib.util.spec_from_file_location("service", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def serving(model):
    module = load_service()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MODEL", str(model))
        patched.setenv("DEVICE", "cpu")
        with TestClient(module.app) as client:
            yield client


@pytest.fixture
def client(model):
    with serving(model) as client:
        yield client


def send(client, **files):
    return client.post("/segment", files={name: (f"{name}.nii.gz", content) for name, content in files.items()})


def test_an_upload_is_segmented_as_its_file(client, model, tiny, tmp_path):
    assert client.get("/modalities").json() == ["FLAIR", "T1", "T1ce", "T2"]
    t1, t2 = (tiny.image("case_000", channel) for channel in (1, 3))
    answer = send(client, T1=t1.read_bytes(), t2=t2.read_bytes())
    assert answer.status_code == 200, answer.text
    (tmp_path / "got.nii.gz").write_bytes(answer.content)
    expected = Predictor.from_model_folder(model, device="cpu").predict({"T1": t1, "T2": t2})
    got = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "got.nii.gz")))
    np.testing.assert_array_equal(got, expected.array)
    described = json.loads(answer.headers["X-Prediction"])
    assert described == {"present": ["T1", "T2"], "volumes_ml": expected.volumes_ml(), "expected_dice": None}


def test_bad_input_is_answered_with_the_reason_and_the_next_is_served(client, tiny):
    good = tiny.image("case_000", 1).read_bytes()
    refused = {
        "truncated": send(client, T1=good[:-100]),
        "cannot be read": send(client, T1=b"no image"),
        "no modality 'PET'": send(client, PET=good),
        "No modality is given": client.post("/segment"),
        "T1 is the text 't1.nii.gz' and no file: send a file with its name (with curl, -F T1=@FILE)": client.post(
            "/segment", files={"FLAIR": ("f.nii.gz", good)}, data={"T1": "t1.nii.gz"}
        ),
        "case is the text '7' and no file": client.post(
            "/segment", files={"T1": ("f.nii.gz", good)}, data={"case": "7"}
        ),
        "T1 is given twice": client.post("/segment", files=[("T1", ("a.nii.gz", good)), ("T1", ("b.nii.gz", good))]),
        "both T1": send(client, T1=good, t1=good),
        "send a file that ends with .nii.gz, got 'a.exe'": client.post("/segment", files={"T1": ("a.exe", good)}),
    }
    for said, answer in refused.items():
        assert answer.status_code == 422, answer.text
        assert said in answer.json()["detail"]
        assert "/tmp" not in answer.json()["detail"]
    assert send(client, T1=good).status_code == 200


def test_an_upload_without_a_file_name_is_not_passed_over(client, tiny):
    good = tiny.image("case_000", 1).read_bytes()
    part = b'--X\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s\r\n'
    answer = client.post(
        "/segment",
        content=part % (b"FLAIR", b"a.nii.gz", good) + part % (b"T1", b"", good) + b"--X--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=X"},
    )
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"] == "T1: send a file that ends with .nii.gz, got ''."


def test_a_request_that_is_cut_off_is_not_served_with_less(client, tiny):
    good = tiny.image("case_000", 1).read_bytes()
    part = b'--X\r\nContent-Disposition: form-data; name="%s"; filename="a.nii.gz"\r\n\r\n%s\r\n'
    whole = part % (b"FLAIR", good) + part % (b"T1", good) + b"--X--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=X"}
    for lost in (len(b"--X--\r\n"), len(b"X--\r\n"), len(good) // 2, len(good) + 50):
        answer = client.post("/segment", content=whole[:-lost], headers=headers)
        assert answer.status_code == 422, answer.text
        assert answer.json()["detail"].startswith("The request is cut off")
    answer = client.post("/segment", content=whole, headers=headers)
    assert answer.status_code == 200, answer.text
    assert json.loads(answer.headers["X-Prediction"])["present"] == ["FLAIR", "T1"]


def test_an_upload_that_names_a_file_of_the_server_is_refused(make_tiny_dataset, make_model, tmp_path):
    tiny = make_tiny_dataset(file_ending=".nrrd", num_cases=0)
    (tmp_path / "secret.raw").write_bytes(bytes(range(256)) * 32)
    header = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 16 16 16\nencoding: raw\n"
    with serving(make_model(tiny, "nnUNetTrainerModalityDropout")) as client:
        for named in (tmp_path / "secret.raw", "/dev/urandom", "LIST\n/dev/zero"):
            upload = f"{header}data file: {named}\n".encode()
            answer = client.post("/segment", files={"T1": ("a.nrrd", upload)})
            assert answer.status_code == 422, answer.text
            assert "its voxels lie in another file" in answer.json()["detail"]


def test_a_picture_is_segmented_and_has_no_volume(make_tiny_dataset, make_model, tmp_path):
    tiny = make_tiny_dataset(names=("R", "G", "B"), file_ending=".png", reader="NaturalImage2DIO", num_cases=0)
    pixels = np.random.default_rng(0).integers(1, 255, (20, 24, 3)).astype(np.uint8)
    pictures.imsave(tmp_path / "scan.png", pixels, check_contrast=False)
    model = make_model(tiny, "nnUNetTrainerModalityDropout", configuration="2d")
    with serving(model) as client:
        answer = client.post("/segment", files={"R": ("scan.png", (tmp_path / "scan.png").read_bytes())})
    assert answer.status_code == 200, answer.text
    (tmp_path / "got.png").write_bytes(answer.content)
    expected = Predictor.from_model_folder(model, device="cpu").predict({"R": tmp_path / "scan.png"})
    np.testing.assert_array_equal(pictures.imread(tmp_path / "got.png"), expected.array[0])
    assert json.loads(answer.headers["X-Prediction"])["volumes_ml"] is None


def test_requests_at_once_are_all_served(client, tiny):
    contents = {channel: tiny.image("case_000", channel).read_bytes() for channel in range(4)}
    names = ("FLAIR", "T1", "T1ce", "T2")
    with ThreadPoolExecutor(8) as pool:
        answers = [
            pool.submit(send, client, **{names[number % 4]: contents[number % 4] if number != 5 else b"torn"})
            for number in range(8)
        ]
        answers = [answer.result() for answer in answers]
    assert [answer.status_code for answer in answers] == [200] * 5 + [422] + [200] * 2
    present = [json.loads(answer.headers["X-Prediction"])["present"] for answer in answers if answer.status_code == 200]
    assert present == [[names[number % 4]] for number in range(8) if number != 5]


def test_the_second_stage_of_a_cascade_is_refused_at_the_start(tiny, make_model):
    model = make_model(tiny, "nnUNetTrainerModalityDropout", configuration="3d_cascade_fullres")
    with pytest.raises(ValueError, match=r"is the second stage of a cascade \(3d_cascade_fullres\)"), serving(model):
        pass


def test_what_ends_all_predictions_answers_those_who_wait_and_those_who_ask_later():
    begun, more = Event(), 20  # more than the queue takes

    class Ends:
        def predict_many(self, cases):
            next(cases)
            begun.wait(60)
            raise RuntimeError("the driver is gone")

    service = load_service()
    queued = service.Queued(Ends())
    pool = ThreadPoolExecutor(more)
    asked = [pool.submit(queued.ask, {"T1": Path("t1.nii.gz")}) for _ in range(more)]
    assert not wait(asked, 0.1).done
    begun.set()
    assert not wait(asked, 60).not_done
    assert all(isinstance(answer.exception(), service.EndedError) for answer in asked)
    pool.shutdown()
    with pytest.raises(service.EndedError, match=r"any more \(RuntimeError: the driver is gone\)\. Start the service"):
        queued.ask({"T1": Path("t1.nii.gz")})
    queued.stop()


def test_a_file_without_a_name_is_told_so(client, tiny):
    image = tiny.image("case_000", 1).read_bytes()
    body = b'--x\r\nContent-Disposition: form-data; name="T1"\r\n\r\n' + image + b"\r\n--x--\r\n"
    answer = client.post("/segment", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("T1 is sent without a file's name: send a file with its name")


def test_a_case_that_fails_is_answered_with_words_and_the_next_is_served(model, tiny, monkeypatch):
    infer, fails = Predictor.infer, iter([True])

    def fails_once(self, prepared):
        if next(fails, False):
            raise torch.OutOfMemoryError("Tried to allocate 9 GiB")
        return infer(self, prepared)

    monkeypatch.setattr(Predictor, "infer", fails_once)
    with serving(model) as client:
        answers = [send(client, T1=tiny.image("case_000", 1).read_bytes()) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [500, 200]
    said = "This case failed, others may not (OutOfMemoryError: Tried to allocate 9 GiB)."
    assert answers[0].json()["detail"] == said


@pytest.mark.parametrize("fails_in", ["write_bytes", "save", "folder"])
def test_a_disk_that_is_full_is_answered_with_words(model, tiny, monkeypatch, fails_in):
    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    image = tiny.image("case_000", 1).read_bytes()
    with serving(model) as client:
        with monkeypatch.context() as patched:
            if fails_in == "folder":
                patched.setattr("tempfile.TemporaryDirectory", full)
            else:
                patched.setattr(Path if fails_in == "write_bytes" else Prediction, fails_in, full)
            answer = send(client, T1=image)
        assert answer.status_code == 500
        assert "This case failed, others may not (OSError: [Errno 28] No space left" in answer.json()["detail"]
        assert send(client, T1=image).status_code == 200


def test_a_request_after_the_end_of_all_predictions_is_answered_with_words(model, tiny, monkeypatch):
    def ends(self, cases):
        raise RuntimeError("the driver is gone")

    monkeypatch.setattr(Predictor, "predict_many", ends)
    with serving(model) as client:
        answers = [send(client, T1=tiny.image("case_000", 1).read_bytes()) for _ in range(2)]
    for answer in answers:
        assert answer.status_code == 503, answer.text
        assert "No case is predicted any more (RuntimeError: the driver is gone)" in answer.json()["detail"]
