"""``nnunet_missingmod share`` as a user calls it, and what every command that takes a model does with its zip."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from nnunetv2.model_sharing.model_import import install_model_from_zip_file

from nnunet_missingmod import cli
from nnunet_missingmod.evaluation.model_card import FILE_NAME
from nnunet_missingmod.storage import file_fingerprint

TRAINER = "nnUNetTrainerModalityDropout"


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def model(two_fold_dataset, make_model):
    return make_model(two_fold_dataset, TRAINER, folds=(0, 1))


def share(*arguments):
    return cli.main(["share", *map(str, arguments)])


def segmentations(folder):
    return {file.name: file.read_bytes() for file in folder.glob("*.nii.gz")}


def test_it_says_what_it_wrote(model, tmp_path, capsys):
    file = tmp_path / "new" / "model.zip"
    assert share(model, "-o", file, "-f", 1, "--license", "cc-by-4.0") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{file}: {TRAINER} on T1, T2, fold 1, ")
    assert f"SHA-256 {file_fingerprint(file)}.\n" in said
    assert "Names of cases" not in said
    with zipfile.ZipFile(file) as archive:
        assert b'license: "cc-by-4.0"' in archive.read("README.md")
        assert "fold_1/checkpoint_final.safetensors" in archive.namelist()


def test_a_shared_model_that_is_packed_again_keeps_its_license(model, tmp_path):
    first, again = tmp_path / "first.zip", tmp_path / "again.zip"
    assert share(model, "-o", first, "--license", "cc-by-4.0") == 0
    assert share(first, "-o", again) == 0
    assert again.read_bytes() == first.read_bytes()
    with zipfile.ZipFile(first) as archive:
        archive.extractall(tmp_path / "copy")
    (tmp_path / "copy" / "README.md").unlink()  # as in the copy of a model of the Hub
    assert share(tmp_path / "copy", "-o", again) == 0
    assert share(first, "-o", again, "--license", "mit") == 0
    with zipfile.ZipFile(again) as archive:
        assert b'license: "mit"' in archive.read("README.md")


def test_only_a_zip_of_a_model_is_replaced(model, tmp_path, capsys):
    file = tmp_path / "data.zip"
    for content in (b"no zip", b""):
        file.write_bytes(content)
        assert share(model, "-o", file) == 2
        assert f"-o {file} is there and no zip of a model: choose another name." in capsys.readouterr().err
        assert file.read_bytes() == content
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("patients.csv", "a")
    assert share(model, "-o", file) == 2
    file.unlink()
    for kind in ([], ["--for-nnunet"], []):
        assert share(model, "-o", file, *kind) == 0


def test_a_model_by_nnunets_names_for_nnunet(model, tmp_path):
    file = tmp_path / "model.zip"
    assert share("-d", 901, "-c", "3d_fullres", "-tr", TRAINER, "-o", file, "--for-nnunet") == 0
    with zipfile.ZipFile(file) as archive:
        folder = f"Dataset901_Tiny/{TRAINER}__nnUNetPlans__3d_fullres"
        assert {f"{folder}/plans.json", f"{folder}/fold_0/checkpoint_final.pth"} <= set(archive.namelist())


@pytest.mark.parametrize("checkpoint", ["checkpoint_final.pth", "checkpoint_best.pth"])
@pytest.mark.parametrize("kind", [[], ["--for-nnunet"]], ids=["ours", "for nnU-Net"])
def test_the_commands_on_the_page_in_the_zip_predict(
    two_fold_dataset, make_model, tmp_path, monkeypatch, checkpoint, kind
):
    model = make_model(two_fold_dataset, TRAINER, checkpoint=checkpoint)
    monkeypatch.chdir(tmp_path)
    assert share(model, "-chk", checkpoint, "-o", "model.zip", *kind) == 0
    with zipfile.ZipFile("model.zip") as archive:
        page = next(archive.read(name) for name in archive.namelist() if name.endswith("README.md")).decode()
    if kind:
        shutil.rmtree(model)
        monkeypatch.setattr("nnunetv2.model_sharing.model_import.nnUNet_results", str(model.parents[1]))
        install_model_from_zip_file("model.zip")
    Path("INPUT").mkdir()
    source = two_fold_dataset.image("case_000", 0)
    shutil.copy(source, Path("INPUT", source.name))
    shown = re.findall(r"^nnunet_missingmod (predict .*)$", page, flags=re.MULTILINE)
    (here,) = [line for line in shown if "hf://" not in line]
    assert cli.main([*shlex.split(here), "-device", "cpu", "--disable_tta"]) == 0
    assert segmentations(Path("OUTPUT"))


def test_a_zip_without_the_last_checkpoint_says_which_it_has(two_fold_dataset, make_model, tmp_path, capsys):
    file = tmp_path / "model.zip"
    model = make_model(two_fold_dataset, TRAINER, checkpoint="checkpoint_best.pth")
    assert share(model, "-chk", "checkpoint_best.pth", "-o", file) == 0
    images = two_fold_dataset.raw / "imagesTr"
    assert cli.main(["predict", "-m", str(file), "-i", str(images), "-o", str(tmp_path / "out")]) == 2
    assert "has checkpoint_final.pth: it has checkpoint_best.pth (-chk checkpoint_best.pth)" in capsys.readouterr().err


def test_the_zip_for_nnunet_is_none_for_m(model, tmp_path, capsys):
    file = tmp_path / "model.zip"
    assert share(model, "-o", file, "--for-nnunet") == 0
    capsys.readouterr()
    assert cli.main(["audit", str(file)]) == 2
    assert "Unzip it, and give the folder in it that holds plans.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["-o", "model"], "-o is the zip's file, as model.zip, got model"),
        (["-o", "o" * 240 + ".zip"], "the name is longer than 200 bytes"),
        (["-o", "taken.zip"], "-o taken.zip is a folder, or the model itself"),
        (["-o", "x.zip", "--license", "no license"], "--license is an identifier"),
        (["-o", "x.zip", "-f", "7"], "of fold 7"),
        (["-o", "x.zip", "-f", "1", "1"], "names fold 1 twice"),
        (["-o", "x.zip", "-m", "."], "Give one model"),
    ],
)
def test_exit_2_with_the_fix_where_it_cannot_start(model, tmp_path, monkeypatch, capsys, arguments, match):
    monkeypatch.chdir(tmp_path)
    Path("taken.zip").mkdir()
    assert share(model, *arguments) == 2
    assert match in capsys.readouterr().err
    assert not Path("x.zip").exists()


def test_a_zip_does_not_take_its_own_place(model, tmp_path, capsys):
    file = tmp_path / "model.zip"
    assert share(model, "-o", file) == 0
    before = file.read_bytes()
    assert share("-m", file, "-o", file) == 2
    assert file.read_bytes() == before


def test_what_cannot_be_packed_is_exit_1(two_fold_dataset, make_model, tmp_path, capsys):
    folder = make_model(two_fold_dataset, TRAINER, checkpoint="my checkpoint.pth")
    assert share(folder, "-chk", "my checkpoint.pth", "-o", tmp_path / "model.zip") == 1
    assert "my checkpoint.safetensors" in capsys.readouterr().err
    assert not (tmp_path / "model.zip").exists()


def test_every_command_takes_the_zip_as_the_folder(two_fold_dataset, model, tmp_path, numbers_only, capsys):
    file, images = tmp_path / "model.zip", tmp_path / "images"
    assert share(model, "-o", file) == 0
    fast = ["-device", "cpu", "--disable_tta"]
    assert cli.main(["evaluate", f"ours={file}", "-o", str(tmp_path / "evaluation"), *fast]) == 0
    card = next((tmp_path / "cache").rglob(FILE_NAME))
    capsys.readouterr()
    assert cli.main(["advise", "-m", str(file), "--present", "T2"]) == 0
    assert "T1 " in capsys.readouterr().out
    assert cli.main(["audit", str(file)]) == 0
    images.mkdir()
    for channel in (0, 1):
        source = two_fold_dataset.image("case_000", channel)
        (images / source.name).write_bytes(source.read_bytes())
    (model / FILE_NAME).write_bytes(card.read_bytes())
    for given, out in ((file, "zip"), (model, "folder")):
        assert cli.main(["predict", "-m", str(given), "-i", str(images), "-o", str(tmp_path / out), *fast]) == 0
    assert segmentations(tmp_path / "zip") == segmentations(tmp_path / "folder")
    rows = [json.loads((tmp_path / out / "case_000.missingmod.json").read_text()) for out in ("zip", "folder")]
    assert rows[0]["expected_dice"] == rows[1]["expected_dice"]
    assert rows[0]["expected_dice"]["subset"] == "T1+T2"
    assert share(file, "-o", tmp_path / "again.zip") == 0
    assert "Names of cases are in it, in missingmod_card.json (4)" in capsys.readouterr().out


def test_a_prediction_that_the_folder_began_is_continued_with_the_zip(two_fold_dataset, model, tmp_path, capsys):
    file, images, out = tmp_path / "model.zip", tmp_path / "images", tmp_path / "out"
    assert share(model, "-o", file) == 0
    images.mkdir()
    source = two_fold_dataset.image("case_000", 0)
    (images / source.name).write_bytes(source.read_bytes())
    arguments = ["-i", str(images), "-o", str(out), "-device", "cpu", "--disable_tta"]
    assert cli.main(["predict", "-m", str(model), *arguments]) == 0
    capsys.readouterr()
    assert cli.main(["predict", "-m", str(file), *arguments, "--continue_prediction"]) == 0
    assert "1 kept" in capsys.readouterr().out


def test_a_torn_zip_is_exit_2_and_predicts_nothing(two_fold_dataset, model, tmp_path, capsys):
    file = tmp_path / "model.zip"
    assert share(model, "-o", file) == 0
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    images = two_fold_dataset.raw / "imagesTr"
    capsys.readouterr()
    assert cli.main(["predict", "-m", str(file), "-i", str(images), "-o", str(tmp_path / "out")]) == 2
    assert "is no zip of a model, or is torn" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_zip_predicts_in_a_process_of_its_own_that_opens_no_pickle(two_fold_dataset, model, tmp_path):
    """The command in a process that ends when a pickle is opened, as it does with the folder."""
    file, images = tmp_path / "model.zip", tmp_path / "images"
    assert share(model, "-o", file) == 0
    images.mkdir()
    source = two_fold_dataset.image("case_000", 1)
    (images / source.name).write_bytes(source.read_bytes())

    def arguments(given, out):
        return ["predict", "-i", str(images), "-o", str(tmp_path / out), "-device", "cpu", "-m", str(given)]

    def in_a_process(given, out):
        code = (
            "import os, sys; from nnunet_missingmod.cli import main\n"
            "def hook(event, arguments):\n"
            "    opened = event == 'open' and str(arguments[0]).endswith(('.pth', '.pkl'))\n"
            "    if opened or event == 'pickle.find_class': print('a pickle was opened', flush=True); os._exit(7)\n"
            "sys.addaudithook(hook)\n"
            f"sys.exit(main({arguments(given, out)}))"
        )
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    done = in_a_process(file, "zip")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 predicted" in done.stdout
    assert in_a_process(model, "nothing").returncode == 7
    assert cli.main(arguments(model, "folder")) == 0
    assert segmentations(tmp_path / "zip") == segmentations(tmp_path / "folder") != {}
