"""The README.md of a shared model: the page that the Hugging Face Hub shows, with the front matter that it reads."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from itertools import islice

from nnunet_missingmod.errors import counted
from nnunet_missingmod.evaluation.conventions import evaluated_regions
from nnunet_missingmod.evaluation.report.text import interval_text
from nnunet_missingmod.inference.advise import ExpectedAccuracy
from nnunet_missingmod.inference.model_files import FINAL
from nnunet_missingmod.inference.model_folder import ModelFolder

UNKNOWN = "unknown"
_LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*", re.ASCII)
_TAGS = ("medical", "nnunet", "image-segmentation", "missing-modalities")
_CHECKED = (
    "The weights are safetensors and the rest is JSON. manifest.json has the size and SHA-256 of every file; they are "
    "checked before anything is loaded, and no code of the model is executed."
)
_FOR_NNUNET = (
    "The checkpoints are pickles, as nnU-Net reads them, without checksums. nnUNetv2_predict executes code that is in "
    "one, so use it only with models of people whom you trust; nnunet_missingmod executes none."
)
# Rows of the table: every subset of five modalities.
_MOST_ROWS = 31


def check_license(license: str) -> str:
    """Return the identifier of a license.

    Raises:
        ValueError: it is none.
    """
    if not _LICENSE.fullmatch(license):
        raise ValueError(f"--license is an identifier, as cc-by-4.0 or apache-2.0, got {license!r}.")
    return license


def license_of(page: str) -> str:
    """Return the license that a page of a shared model names in its front matter; ``unknown`` if it names none."""
    found = re.search(r"^license: *\"?([^\"\s]+)\"? *$", page.split("\n---", 1)[0], re.MULTILINE)
    return found[1] if found and _LICENSE.fullmatch(found[1]) else UNKNOWN


def page_of(
    model: ModelFolder,
    *,
    name: str,
    license: str,
    versions: Mapping[str, str | None],
    accuracy: ExpectedAccuracy | None,
    for_nnunet: bool = False,
) -> str:
    """Return the page.

    Args:
        name: of the model.
        license: identifier, as the Hub knows it.
        versions: {package: version} with which the model is packed.
        accuracy: of the model's card, if it has one.
        for_nnunet: whether the zip is the one that stock nnU-Net installs.
    """
    packed = ", ".join(f"{package} {version}" for package, version in versions.items())
    regions = evaluated_regions(model.dataset_json)
    terms = (
        "Nobody has said under which license it may be used: ask whoever gave it to you."
        if license == UNKNOWN
        else f"License: {license}."
    )
    return "\n".join(
        [
            "---",
            f'license: "{license.lower()}"',
            "library_name: nnunet_missingmod",
            "pipeline_tag: image-segmentation",
            "tags:",
            *(f"- {tag}" for tag in _TAGS),
            "---",
            "",
            f"# {name}",
            "",
            f"A model of nnU-Net v2 that segments {_plain(', '.join(regions))} in {_plain(_cases_of(model))}",
            "",
            f"- trainer: {_plain(model.taken_for)}",
            f"- dataset: {_plain(str(model.plans.get('dataset_name', 'unknown')))}",
            f"- configuration: {model.configuration}",
            f"- folds: {', '.join(map(str, model.folds))}",
            f"- packed with {packed}",
            f"- fingerprint: {model.fingerprint}",
            "",
            terms,
            "",
            "Research use only. This is no medical device.",
            "",
            *_accuracy_lines(accuracy),
            "## Use",
            "",
            "With nnunet_missingmod installed:",
            "",
            "```bash",
            *_commands(model, name, for_nnunet=for_nnunet),
            "```",
            "",
            *_stage_lines(model),
            _FOR_NNUNET if for_nnunet else _CHECKED,
            "",
        ]
    )


def _cases_of(model: ModelFolder) -> str:
    """Return for which cases the model was trained, as the end of a sentence and what is to be said after it."""
    names = ", ".join(model.modalities)
    if not model.is_ours:
        return (
            f"cases that have all of the modalities {names}. Zeros take the place of absent ones, which stock nnU-Net "
            "does not train for."
        )
    if model.trained_on is None:
        return f"cases that have any of the modalities {names}."
    used = ", ".join(model.modalities[channel] for channel in sorted(model.trained_on))
    return f"cases that have {used}. Of the modalities {names}, it was trained on {used} alone and uses no other."


def _stage_lines(model: ModelFolder) -> list[str]:
    stage = model.configuration_manager.previous_stage_name
    if stage is None:
        return []
    return [
        f"This is the second stage of a cascade: FOLDER holds what its first stage ({stage}) predicted of the same "
        "cases. The first stage is a model of its own, and is not in here.",
        "",
    ]


def _commands(model: ModelFolder, name: str, *, for_nnunet: bool) -> list[str]:
    """Return the commands that predict with the model; they name its checkpoint if it is another than they look for."""
    more = ["-i", "INPUT", "-o", "OUTPUT"]
    if model.configuration_manager.previous_stage_name is not None:
        more += ["-prev_stage_predictions", "FOLDER"]
    if model.checkpoint_name != FINAL:
        more = ["-chk", model.checkpoint_name, *more]
    if not for_nnunet:
        given = ["model.zip", "hf://USER/NAME@REVISION"]
        return [shlex.join(["nnunet_missingmod", "predict", "-m", each, *more]) for each in given]
    plans = name.removeprefix(f"{model.trainer}__").removesuffix(f"__{model.configuration}")
    named = ["-d", str(model.plans.get("dataset_name")), "-c", model.configuration, "-tr", model.trainer, "-p", plans]
    return [
        "nnUNetv2_install_pretrained_model_from_zip model.zip",
        shlex.join(["nnunet_missingmod", "predict", *named, *more]),
    ]


def _accuracy_lines(accuracy: ExpectedAccuracy | None) -> list[str]:
    if accuracy is None:
        return ["## Accuracy", "", "It has not been measured: the model has no card.", ""]
    card = accuracy.card
    rows = [
        f"| {' | '.join([_plain(expected.subset), *map(interval_text, (expected.mean, *expected.regions.values()))])} |"
        for expected in islice(card.subsets.values(), _MOST_ROWS)
    ]
    left = len(card.subsets) - len(rows)
    return [
        "## Accuracy",
        "",
        f"Dice in percent ({100 * card.confidence:g} % interval) by the modalities that a case has, on "
        f"{counted(len(card.cases), 'case')}: {_plain(str(card.provenance.get('cases', 'unknown')))}.",
        "",
        f"| modalities | {' | '.join(['mean', *map(_plain, card.regions)])} |",
        f"| --- |{' --: |' * (1 + len(card.regions))}",
        *rows,
        *(["", f"{left} other subsets are in the model's card."] if left else []),
        "",
    ]


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is, in a table too."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
