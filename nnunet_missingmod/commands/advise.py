"""``nnunet_missingmod advise``: which further modality would gain most, from what was measured."""

from __future__ import annotations

import argparse

from nnunet_missingmod.commands.options import (
    add_model_options,
    cannot_start,
    check_model_options,
    model_folder,
    print_line,
)
from nnunet_missingmod.commands.values import filled


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``advise``."""
    model = parser.add_argument_group("model (-m, or -d -c -tr)")
    add_model_options(model, help="model folder with the card that evaluate wrote, or a shared model")
    parser.add_argument(
        "--present", metavar="MODALITY", type=filled, nargs="+", required=True, help="what there is, as T1 T2"
    )


def run(args: argparse.Namespace) -> int:
    """Print the expected Dice and each further modality's gain."""
    with cannot_start():
        check_model_options(args)
        folder = model_folder(args)
    from nnunet_missingmod.choices import PRETRAINERS
    from nnunet_missingmod.errors import UsageError
    from nnunet_missingmod.evaluation.model_card import FILE_NAME, read_card
    from nnunet_missingmod.evaluation.report.text import interval_text
    from nnunet_missingmod.inference.advise import ExpectedAccuracy, conclusion
    from nnunet_missingmod.modalities import choose_subset, subset_name

    with cannot_start():
        trainer = folder.name.split("__")[0]
        if trainer in PRETRAINERS:
            raise UsageError(f"{folder} has no accuracy: {trainer} only pretrains. Ask the model that started from it.")
        card = read_card(folder / FILE_NAME)
        present = choose_subset(args.present, card.modalities)
    names = [card.modalities[channel] for channel in present]
    if not card.expected(present).mean.count:
        print_line(
            f"Nothing is known of {subset_name(present, card.modalities)}: no case of the evaluation has it, or the "
            "model was trained on none of it."
        )
        return 0
    print_line(ExpectedAccuracy(card).text(names))
    advice = card.advise(present)
    if not advice:
        print_line("Nothing is missing.")
        return 0
    print_line(f"Mean Dice over the regions would change, in points ({100 * card.confidence:g} % interval), with:")
    width = max(len(each.modality) for each in advice)
    for each in advice:
        print_line(f"  {each.modality:{width}}  {interval_text(each.gain, signed=True)}")
    print_line(conclusion(advice))
    number = len(card.cases)
    print_line(f"Measured on {number} case{'s' * (number != 1)}: {card.provenance.get('cases', 'unknown')}.")
    return 0
