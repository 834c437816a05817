"""What a network makes of cases at the edge: the same case again, one without any modality, one with a blank modality.

``state``, ``none`` and ``zero`` of an audit.
"""

from __future__ import annotations

from nnunet_missingmod.audit.finding import EVALUATION, FAIL, NOT_APPLICABLE, NOTE, PASS, Finding, Result
from nnunet_missingmod.audit.outputs import all_finite, largest_difference
from nnunet_missingmod.audit.probe import ZERO, Probe, seed_everything

_LONGEST_MESSAGE = 200


def state_check(probe: Probe) -> Finding:
    """Predict case A twice, then another case B of another subset, then A again, and compare the outputs for A.

    Nothing is seeded or set back in between, as in a loop over patients.
    """

    def found(result: Result, number: float, meaning: str) -> Finding:
        unit = "largest change / largest value of a case's output"
        return Finding("state", EVALUATION, result, number, unit, meaning)

    again = after = 0.0
    smallest, largest = probe.subsets[0], probe.subsets[-1]
    for subset, other in ((smallest, largest), (largest, smallest)):
        present, present_b = probe.present([subset]), probe.present([other])
        a = probe.filled(probe.images(1), present, "reference")
        b = probe.filled(probe.images(1, case=2), present_b, "reference")
        seed_everything(probe.seed)
        with probe.buffers_restored():
            first, second, _, third = (
                probe.run(*case, restored=False) for case in ((a, present), (a, present), (b, present_b), (a, present))
            )
        again = max(again, largest_difference(first, second))
        after = max(after, largest_difference(second, third))
    if again > probe.tolerance:
        return found(
            FAIL,
            again,
            "The same case predicted twice in evaluation gives two outputs: an absent modality is filled at random, "
            "dropout stays on, or something is counted. Make evaluation free of chance.",
        )
    if after > probe.tolerance:
        return found(
            FAIL,
            after,
            "A case's output is another one after another case: something of a case is kept (a mask, features, running "
            "statistics). Hand it through forward, or set it back.",
        )
    return found(PASS, max(again, after), f"A case's output is the same twice and after another case, {probe.bits()}.")


def none_check(probe: Probe) -> Finding:
    """Run the network on a case without any modality: it refuses in words, or the output is finite."""

    def found(result: Result, meaning: str) -> Finding:
        return Finding("none", EVALUATION, result, None, "", meaning)

    present = probe.present([()])
    images = probe.filled(probe.images(1), present, "reference")
    try:
        output = probe.run(images, present)
    except ValueError as error:
        return found(PASS, f"It is refused: {_shortened(error)}")
    except Exception as error:
        return found(
            NOTE,
            f"The network stops with {type(error).__name__}: {_shortened(error)} Refuse such a case with a ValueError "
            "that names what is missing.",
        )
    if all_finite(output):
        return found(PASS, "The output is finite. It was made of no image: refuse such a case before it gets here.")
    return found(
        FAIL,
        "The output is not finite, and no error is raised: the largest of NaN is class 0, a segmentation without any "
        "finding. Do not divide by the number of present modalities where it is 0, or refuse the case.",
    )


def zero_check(probe: Probe) -> Finding:
    """Compare, for each modality, the output if it is there and zero everywhere with the output if it is absent."""

    def found(result: Result, number: float | None, meaning: str) -> Finding:
        return Finding("zero", EVALUATION, result, number, "share of modalities that are told apart", meaning)

    if len(probe.uses) < 2:
        return found(NOT_APPLICABLE, None, "There is one modality alone.")
    told = 0
    for channel in probe.uses:
        blank = probe.images(1)
        blank[:, channel] = 0
        outputs = []
        for subset in (probe.uses, tuple(other for other in probe.uses if other != channel)):
            present = probe.present([subset])
            outputs.append(probe.run(probe.filled(blank, present, "reference"), present))
        told += largest_difference(*outputs) > probe.tolerance
    if probe.convention == ZERO:
        return found(NOTE, 0.0, "By this convention an absent modality is one of zeros: the network cannot know.")
    if told == len(probe.uses):
        return found(NOTE, 1.0, "The network knows a modality that is zero everywhere from one that is absent.")
    return found(
        NOTE,
        told / len(probe.uses),
        "Where they are not told apart a modality that is zero everywhere (a blank file) is treated as an absent one.",
    )


def _shortened(error: Exception) -> str:
    text = " ".join(str(error).split()) or "(no message)"
    return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "..."
