"""Commands of README and the how-to pages, as they stand there, on a tiny dataset: paths are files and folders here.

Not run are those of ``RUN_ELSEWHERE``; ``tests/test_docs.py`` gives every command to its program's own parser. Reports,
which take most of a small evaluation's time, are left out here.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from itertools import combinations
from pathlib import Path

import pytest
from conftest import BRATS_NAMES
from hub_server import environment_of, serving
from shown_commands import DOCUMENTS, OURS, ROOT, commands_of, shown_programs

from nnunet_missingmod import host
from nnunet_missingmod.cli import main
from nnunet_missingmod.modalities import subset_name

PAGES = [page for page in DOCUMENTS if page == ROOT / "README.md" or page.name.startswith("howto_")]
SUBSETS = [subset for size in range(1, 5) for subset in combinations(range(4), size)]
STOCK, DROPOUT = "nnUNetTrainer", "nnUNetTrainerModalityDropout"
STOCK_COMMANDS = "end_to_end/test_stock_commands.py"

# What a command begins with: the test that runs it on real folders, or why nothing does.
ONLY_READ = "only read by its parser: "
ANOTHERS = "end_to_end/test_shown_commands.py"
TRAIN = "nnUNetv2_train 123 3d_fullres"
RUN_ELSEWHERE = {
    "nnunet_missingmod demo": "end_to_end/test_demo.py",
    "nnunet_missingmod plan": "end_to_end/test_planning_commands.py",
    "nnUNetv2_install_pretrained_model_from_zip": STOCK_COMMANDS,
    "nnUNetv2_plan_and_preprocess -d 123 --no_pp": ANOTHERS,
    "nnUNetv2_plan_and_preprocess": STOCK_COMMANDS,
    "nnUNetv2_move_plans_between_datasets": ANOTHERS,
    "nnUNetv2_preprocess": ANOTHERS,
    "nnUNetv2_predict": STOCK_COMMANDS,
    f"{TRAIN} 0 -p nnUNetPlans201": ANOTHERS,
    f"{TRAIN} 0 -tr nnUNetTrainerModalityDropout -num_gpus": f"{ONLY_READ}needs two GPUs",
    f"{TRAIN} 0 -tr nnUNetTrainerMedMAPTeacher": STOCK_COMMANDS,
    f"{TRAIN} 0 -tr nnUNetTrainerHolderMI": STOCK_COMMANDS,
    "nnUNetv2_train 137": STOCK_COMMANDS,
}
# Commands that a page takes for done by the reader.
BEFORE = {
    "howto_audit.md": ["evaluate", "-m", "ours=MODEL", "-f", "0"],
    "howto_predict.md": ["evaluate", "-m", "MODEL", "-f", "0", "-i", "imagesTs", "-ref", "labelsTs"],
}
# In the place of the pages' words: the tiny dataset's number, and one process in the place of four.
FOLDERS = ("nnUNet_raw", "nnUNet_results")
# nnU-Net's own options beside what the pages show: this machine has no GPU, and processes take seconds to start.
BESIDES = {"nnUNetv2_train": ("-device", "cpu"), "nnUNetv2_plan_and_preprocess": ("-npfp", "1")}
HERE = {"123": "901", "4": "1", "hf://USER/NAME@REVISION": "hf://user/name@v1"}


def elsewhere(words: list[str]) -> str | None:
    """Return where a command is run, or why it is not; None if it is run here."""
    found = [where for begin, where in RUN_ELSEWHERE.items() if shlex.join(words).startswith(begin)]
    return found[0] if found else None


def commands_to_run(page: Path) -> list[list[str]]:
    return [words for words in shown_programs(page) if elsewhere(words) is None]


def test_what_is_run_elsewhere_is_run_there():
    for begin, where in RUN_ELSEWHERE.items():
        if not where.startswith(ONLY_READ):
            words = begin.split()
            text = (ROOT / "tests" / where).read_text(encoding="utf-8")
            assert words[0 if words[0].startswith("nnUNetv2_") else 1] in text, begin
    shown = [shlex.join(words) for page in PAGES for words in commands_of(page)]
    for begin in RUN_ELSEWHERE:
        assert any(words.startswith(begin) for words in shown), f"no page shows {begin}"


@pytest.fixture
def world(make_tiny_dataset, make_model, preprocess, numbers_only, tmp_path, monkeypatch):
    """Files and folders under the names that the pages give them, in the working directory."""
    tiny = make_tiny_dataset(
        labels={"background": 0, "WT": [1, 2, 3], "TC": [2, 3], "ET": [3]},
        regions_class_order=(1, 2, 3),
        num_cases=6,
        shape=(16, 16, 16),
    )
    named = ["a-p0_v1", "a-p0_v2", "a-p1_v1", "b-p2_v1", "b-p3_v1", "c-p4_v1"]
    for file in [*(tiny.raw / "imagesTr").iterdir(), *(tiny.raw / "labelsTr").iterdir()]:
        file.rename(file.with_name(named[int(file.name[5:8])] + file.name[8:]))
    tiny.cases[:] = named
    short = {"num_epochs": 1, "num_iterations_per_epoch": 1, "num_val_iterations_per_epoch": 1}
    tiny.plans["configurations"]["3d_fullres"]["missingmod"] = short
    (tiny.preprocessed / "nnUNetPlans.json").write_text(json.dumps(tiny.plans))
    preprocess(tiny, "3d_fullres")
    shutil.copytree(tiny.raw / "labelsTr", tiny.preprocessed / "gt_segmentations")  # as nnU-Net's command leaves them
    splits = tiny.preprocessed / "splits_final.json"
    halves = [{"train": named[:2], "val": named[2:]}, {"train": named[2:], "val": named[:2]}]
    splits.write_text(json.dumps(halves))

    here = tmp_path / "here"
    (here / "PATIENT").mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setattr("nnunetv2.training.nnUNetTrainer.nnUNetTrainer.default_num_processes", 1)
    monkeypatch.setenv(host.VARIABLE, str(host.EXTERNAL_FOLDER))
    for name, trainer in (("MODEL", DROPOUT), ("STOCK_MODEL", STOCK)):
        Path(name).symlink_to(make_model(tiny, trainer))
    Path("MODEL_FOLDER").symlink_to("STOCK_MODEL")
    Path("OTHER_MODEL_FOLDER").symlink_to("MODEL")
    for folder in ("INPUT", "IMAGES", "imagesTs", "labelsTs"):
        Path(folder).mkdir()
        for case in [f"patient{number}" for number in range(1, 10)]:
            if folder == "labelsTs":
                shutil.copy(tiny.label(named[0]), f"{folder}/{case}.nii.gz")
                continue
            for channel in range(4):
                shutil.copy(tiny.image(named[0], channel), f"{folder}/{case}_{channel:04d}.nii.gz")
    for name in ("RFNET_PREDICTIONS", "SYNTHESIS_PREDICTIONS"):
        for subset in SUBSETS:
            shutil.copytree("labelsTs", f"{name}/{subset_name(subset, BRATS_NAMES)}")
    for fold in (1, 3):
        columns = "subject,modalities,WT_dice,TC_dice,ET_dice,WT_hd95,TC_hd95,ET_hd95"
        names = [subset_name(subset, ("FLAIR", "t1n", "t1c", "t2w")).replace("+", "_") for subset in SUBSETS]
        rows = "".join(f"\n{named[0]},{name},0.9,0.8,0.8,3.2,4.1,2.0" for name in names)
        Path(f"fold{fold}_per_subject.csv").write_text(columns + rows)
    for name in ("SE000004", "scan_a", "PATIENT/t1"):
        shutil.copy(tiny.image(named[0], 1), f"{name}.nii.gz")
    for name in ("ax_flair", "scan_b", "PATIENT/flair"):
        shutil.copy(tiny.image(named[0], 0), f"{name}.nii.gz")
    for kind in ("images", "labels"):
        shutil.copytree(f"{kind}Ts", f"HOSPITAL_A/{kind}")
    for folder, number in (("FOLDER", 0), ("TEST_FOLDER", 5)):
        for case in [f"BraTS-GLI-{patient:05d}-000" for patient in range(number, number + 5)]:
            (Path(folder) / case).mkdir(parents=True)
            shutil.copy(tiny.label(named[0]), f"{folder}/{case}/{case}-seg.nii.gz")
            for channel, sequence in enumerate(("t2f", "t1n", "t1c", "t2w")):
                shutil.copy(tiny.image(named[0], channel), f"{folder}/{case}/{case}-{sequence}.nii.gz")
    assert main(["inspect", "901", "--prevalence", "prevalence.csv"]) == 0
    return splits


def calls_of(words: list[str]) -> list[list[str]]:
    """Return the calls that a command stands for: where it is one of several parts, all of them."""
    if "-num_parts" not in words:
        return [[HERE.get(word, word) for word in words]]
    here = [word if word == "4" else HERE.get(word, word) for word in words]
    place, parts = here.index("-part_id") + 1, int(here[here.index("-num_parts") + 1])
    return [[*here[:place], str(part), *here[place + 1 :]] for part in range(parts)]


def run(words: list[str]) -> int:
    program, *rest = words
    if any(word.startswith("hf://") for word in words):
        return run_with_hub(rest)
    if program == OURS:
        return main(rest)
    if not program.startswith("nnUNetv2_"):
        return subprocess.run([sys.executable, *rest], cwd=ROOT, check=False).returncode
    (command,) = entry_points(group="console_scripts", name=program)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [*words, *BESIDES.get(program, ())])
        command.load()()
    return 0


def run_with_hub(words: list[str]) -> int:
    """Run in a process that finds the files of the zip on the Hub."""
    with zipfile.ZipFile("model.zip") as shared:
        files = {name: shared.read(name) for name in shared.namelist()}
    with serving(files) as hub:
        command = [sys.executable, "-m", "nnunet_missingmod.cli", *words]
        return subprocess.run(command, env=environment_of(hub, Path.cwd()), check=False).returncode


def make_room(words: list[str], splits: Path) -> None:
    """Take away what an earlier command left where this one writes."""
    if "--report" not in words and "-o" in words and words[1] in ("predict", "evaluate"):
        shutil.rmtree(words[words.index("-o") + 1], ignore_errors=True)
    if words[1] == "split" and "123" in words:
        splits.unlink(missing_ok=True)


@pytest.mark.slow
def test_the_commands_of_the_pages_run(world, capfd):
    done: list[list[str]] = []
    for page in PAGES:
        if page.name in BEFORE:
            shutil.rmtree("EVALUATION")
            assert main([*BEFORE[page.name], "-o", "EVALUATION"]) == 0, capfd.readouterr().err
        for words in commands_to_run(page):
            if words in done:
                continue
            done.append(words)
            make_room(words, world)
            for call in calls_of(words):
                code = run(call)
                said = capfd.readouterr()
                assert code == 0, f"{page.name}: {shlex.join(call)}\n{said.out[-2000:]}{said.err[-2000:]}"


@pytest.mark.slow
def test_the_steps_of_starting_from_another_datasets_model_run(world):
    raw, results = (Path(os.environ[variable]) for variable in FOLDERS)
    shutil.copytree(raw / "Dataset901_Tiny", raw / "Dataset902_Other")
    page = ROOT / "docs" / "howto_stock_start.md"
    here = HERE | {"123": "902", "201": "901"}
    steps = [[here.get(word, word) for word in words] for words in shown_programs(page) if elsewhere(words) == ANOTHERS]
    assert [words[0].removeprefix("nnUNetv2_") for words in steps] == [
        "plan_and_preprocess",
        "move_plans_between_datasets",
        "preprocess",
        "train",
    ]
    # In processes of their own: nnU-Net's search for a reader leaves files open. Its planner takes so many threads.
    environment = os.environ | {"nnUNet_n_proc_DA": "1"}
    for program, *options in steps:
        command = [Path(sys.executable).with_name(program), *options, *BESIDES.get(program, ())]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{shlex.join([program, *options])}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        said = done.stdout
    assert "Loading pretrained weights from file" in said
    (model,) = (results / "Dataset902_Other").iterdir()
    assert model.name == f"{DROPOUT}__nnUNetPlans201__3d_fullres"
    assert (model / "fold_0" / "checkpoint_final.pth").is_file()
