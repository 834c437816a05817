"""Every command of ``nnunet_missingmod``, grouped by what a user wants to do."""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """Where a command is.

    Attributes:
        module: within this package.
        prefix: of its two functions, ``add_PREFIX_arguments`` and ``run_PREFIX``; empty if the module has one command.
        line: what --help says of it.
    """

    module: str
    prefix: str
    line: str


# What a user wants to do: the commands for it, in the order in which they are needed.
GROUPS = {
    "set up": {
        "path": Command(
            "commands.attach",
            "path",
            "print what nnUNet_extTrainer has to be, so that nnU-Net finds this package's trainers",
        ),
        "attach": Command(
            "commands.attach", "attach", "the same by files in nnU-Net's own folders, once per environment"
        ),
        "detach": Command("commands.attach", "detach", "undo attach"),
        "doctor": Command("commands.doctor", "", "say what is wrong with the installation and how to mend it"),
        "trainers": Command("commands.trainers", "", "list what may follow -tr, with one line each"),
        "info": Command("commands.info", "", "versions, commands, trainers and choices; --json for scripts"),
    },
    "prepare data": {
        "inspect": Command(
            "commands.inspect", "", "say which case of a dataset has which modalities, and what is wrong with files"
        ),
        "split": Command("commands.split", "", "write folds: all visits of a patient in one, every modality in each"),
        "plan": Command(
            "commands.planning", "plan", "plan and preprocess a dataset whose training cases may lack modalities"
        ),
        "preprocess": Command("commands.planning", "preprocess", "preprocess such a dataset by plans that exist"),
        "convert-brats": Command(
            "commands.convert_brats", "", "convert a BraTS folder (2017-2021, 2023+) into an nnU-Net raw dataset"
        ),
        "phantom": Command("commands.phantom", "", "write a synthetic BraTS-like nnU-Net raw dataset"),
    },
    "use a model": {
        "predict": Command(
            "commands.predict", "", "segment cases, whatever modalities they have; one bad case stops no other"
        ),
        "evaluate": Command(
            "commands.evaluate", "", "score models on every subset of modalities: tables, figures, report, model card"
        ),
        "audit": Command(
            "commands.audit", "", "say whether a model leaks what is absent: content, gradient, batch, order of files"
        ),
        "advise": Command(
            "commands.advise", "", "say which further modality would gain most, from a model's measured accuracy"
        ),
        "share": Command(
            "commands.share", "", "pack a model for others: a zip without code, every file of it with its checksum"
        ),
    },
    "try it": {
        "demo": Command("commands.demo", "", "phantom, training, prediction, table and figures, in one folder"),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
