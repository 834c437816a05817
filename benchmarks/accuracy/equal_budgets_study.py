"""The second study: every arm has the same number of steps in all, teachers and pretraining counted."""

from __future__ import annotations

from typing import Any

from settings import Arm, Group, Study

from nnunet_missingmod.modalities import all_subsets

NO_ENCODER = {"channel_encoder": "none", "alignment_anchor": "none"}
EPOCHS = 20


def _medmap(*, step: str | None = None, pretrained: str | None = None, **block: Any) -> Arm:
    return Arm("nnUNetTrainerMedMAP", {"presence_conditioning": True, **block}, step=step, pretrained=pretrained)


def _average(
    *,
    step: str | None = None,
    presence: str | None = None,
    by_average: bool = False,
    pretrained: str | None = None,
    **block: Any,
) -> Arm:
    """A training that its own average teaches, with presence conditioning."""
    return Arm(
        "nnUNetTrainerHolderMISelf",
        block,
        step=step,
        presence=presence,
        scored_by_average=by_average,
        pretrained=pretrained,
    )


def _pretraining(epochs: int, **block: Any) -> Arm:
    return Arm("nnUNetTrainerMaskedPretraining", {"num_epochs": epochs, **block}, segments=False)


def _probe(pretrained: str | None) -> Arm:
    """The output's layers alone, 300 steps."""
    return _medmap(step="probe", pretrained=pretrained, alignment_anchor="none", num_epochs=2)


def _flagship(length: int = 1) -> Arm:
    """Half of the steps are its teacher's."""
    block = {"num_epochs": length * EPOCHS // 2}
    return Arm("nnUNetTrainerHolderMI", block, teacher="teacher_half" if length == 1 else f"teacher_half_x{length}")


def _teacher(length: int = 1) -> Arm:
    return Arm("nnUNetTrainerMedMAPTeacher", {"num_epochs": length * EPOCHS // 2})


METHODS = {
    "dropout": Arm("nnUNetTrainerModalityDropout"),
    "zero_fill": Arm("nnUNetTrainerZeroFill"),
    "medmap": _medmap(presence_conditioning=False),
    "teacher_half": _teacher(),
    "flagship": _flagship(),
    "average": _average(presence_conditioning=False, by_average=True),
    "average_presence": _average(by_average=True),
    "medmap_presence": _medmap(),
    "dropout_presence": _medmap(**NO_ENCODER),
}
CANDIDATES = {
    # Parts of MedMAP
    "average_presence_anchor_none": _average(alignment_anchor="none"),
    "average_presence_encoder_none": _average(**NO_ENCODER),
    # Parts of what the average teaches
    "average_presence_divergence_none": _average(divergence="none"),
    "average_presence_mutual_information_none": _average(mutual_information="none"),
    # The average, relative to the default: a memory of a fifteenth of the steps
    "average_presence_decay_0.98": _average(average_decay=0.98, by_average=True),
    "average_presence_decay_0.99": _average(average_decay=0.99, by_average=True),
    "average_presence_decay_0.999": _average(average_decay=0.999, by_average=True),
    "average_presence_late": _average(distillation_warmup_epochs=EPOCHS // 4),
    # Complete cases first
    "average_presence_curriculum": _average(modality_dropout_until=0.5),
    "medmap_presence_curriculum": _medmap(modality_dropout_until=0.5),
    "average_presence_curriculum_late": _average(modality_dropout_from=0.25, modality_dropout_until=0.5),
    # Wider
    "average_presence_width_2": _average(channel_encoder_width=2),
    "medmap_presence_width_2": _medmap(channel_encoder_width=2),
    # Forms of presence conditioning
    "average_presence_subset": _average(presence="subset"),
    "average_presence_in_encoder": _average(presence="encoder"),
    "average_presence_in_decoder": _average(presence="decoder"),
    # Two subsets of a case in one batch
    "average_presence_ranking": _average(step="ranking"),
    "average_presence_consistency": _average(step="consistency"),
    "medmap_presence_ranking": _medmap(step="ranking"),
    "medmap_presence_consistency": _medmap(step="consistency"),
}
BY_AVERAGE = tuple(f"{name}_by_average" for name, arm in (METHODS | CANDIDATES).items() if arm.scored_by_average)
# Masked pretraining for a part of the steps, and what is in its features.
PRETRAINING = {
    "pretraining_half": _pretraining(10),
    "pretraining_half_adam": _pretraining(10, optimizer_kind="adam", initial_lr=1e-3),
    "pretraining_quarter": _pretraining(5),
    "average_presence_half": _average(num_epochs=10),
    "pretrained_half": _average(pretrained="pretraining_half", num_epochs=10),
    "pretrained_half_rate_0.01": _average(pretrained="pretraining_half", num_epochs=10, initial_lr=0.01),
    "pretrained_half_adam": _average(pretrained="pretraining_half_adam", num_epochs=10),
    "pretrained_quarter": _average(pretrained="pretraining_quarter", num_epochs=15),
    "probe_random": _probe(None),
    "probe_pretrained": _probe("pretraining_half"),
    "probe_pretrained_adam": _probe("pretraining_half_adam"),
    "probe_average_presence": _probe("average_presence_half"),
}
DEDICATED = {
    "dedicated_" + "_".join(map(str, subset)): Arm("nnUNetTrainerZeroFill", dedicated_to=subset)
    for subset in all_subsets(4)
}
LENGTHS = (2, 4, 8)
SCALING = {
    f"{name}_x{length}": Arm(arm.trainer, {**arm.block, "num_epochs": length * EPOCHS})
    for length in LENGTHS
    for name, arm in METHODS.items()
    if name in {"dropout", "zero_fill", "average", "average_presence"}
} | {
    f"{name}_x{length}": build(length)
    for length in LENGTHS
    for name, build in (("teacher_half", _teacher), ("flagship", _flagship))
}
STUDY = Study(
    "equal_budgets",
    cases=84,
    first_cases=60,
    test_cases=100,
    num_epochs=EPOCHS,
    suffix=".csv.gz",
    arms=METHODS | CANDIDATES | PRETRAINING | DEDICATED | SCALING,
    groups={
        "equal budgets": Group((*METHODS, *BY_AVERAGE, "dedicated"), "dropout"),
        "pretraining": Group(
            ("average_presence", *(name for name, arm in PRETRAINING.items() if arm.segments)), "average_presence"
        ),
        "candidates": Group(("average_presence", "medmap_presence", *CANDIDATES), "average_presence"),
    },
    shown=("zero_fill", "dropout", "average_presence", "dedicated"),
    interval_over_seeds=True,
)
